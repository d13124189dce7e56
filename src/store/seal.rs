//! Copies of tokens that only the secret file opens, so that Copy works later while a key file that leaks alone
//! tells nothing. AES-256-GCM; format version, purpose and key id are associated data, so that copies cannot be
//! swapped between keys. The secret file is read when it is needed: there is nothing to reload, and nothing stays
//! in memory. Not for: the secret file itself, which is `seal::file`, and who may copy, which is `admin`.

mod file;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;

use aes_gcm::AeadInOut;
use aes_gcm::Aes256Gcm;
use aes_gcm::KeyInit;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroize;
use zeroize::Zeroizing;

pub use crate::store::seal::file::RewriteError;
pub use crate::store::seal::file::SecretFile;

use crate::key::KeyId;
use crate::key::token::Token;
use crate::key::token::hex;
use crate::problem::Problem;

/// What a sealed copy begins with; the rest is base64 of secret id, nonce, ciphertext and tag.
const PREFIX: &str = "v1:";
/// What a copy is bound to, before the id of its key.
const PURPOSE: &str = "keygate:v1:token:";
const ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

/// The secrets of the file at one moment; wiped when dropped. There is at least one: the first one seals, all of
/// them open.
pub struct Secrets {
    secrets: Vec<Sealer>,
    warning: Option<Problem>,
}

/// One secret: 256 bits, and a name for them that tells nothing.
struct Sealer {
    id: [u8; ID_BYTES],
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

/// Why a copy cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// There is no secret file.
    #[error("there is no secret file: {}", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read the secret file: {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not one that keygate wrote.
    #[error("the secret file is malformed: {}: line {line}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
    },
    /// The copy was sealed under a secret that is not in the file.
    #[error("the secret that this copy was sealed under is not in the secret file: {wanted}")]
    SecretMissing {
        /// The id of the secret that is wanted.
        wanted: String,
    },
    /// The copy was changed, or belongs to another key.
    #[error("the sealed copy of the key {id} is damaged, or is another key's")]
    Damaged {
        /// The key.
        id: KeyId,
    },
}

impl Secrets {
    /// The token under the first secret: `v1:` and base64.
    ///
    /// # Panics
    /// When the kernel has no randomness to give: there is no safe way to go on.
    #[must_use]
    pub fn seal(&self, id: &KeyId, token: &Token) -> Box<str> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the kernel gives random bytes");
        let first = self.current();
        // With room for the tag: a buffer that grew would leave the token behind where it was.
        let text = token.expose().as_bytes();
        let mut body = Zeroizing::new(Vec::with_capacity(text.len() + TAG_BYTES));
        body.extend_from_slice(text);
        first
            .cipher()
            .encrypt_in_place(&nonce.into(), &bound_to(id), &mut *body)
            .expect("a token is far shorter than what the cipher takes");
        let mut sealed = Vec::with_capacity(ID_BYTES + NONCE_BYTES + body.len());
        sealed.extend_from_slice(&first.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        format!("{PREFIX}{}", BASE64_STANDARD.encode(sealed)).into()
    }

    /// The token of a sealed copy.
    ///
    /// # Errors
    /// `SecretMissing`, `Damaged`.
    pub fn unseal(&self, id: &KeyId, sealed: &str) -> Result<Token, SealError> {
        let damaged = || SealError::Damaged { id: id.clone() };
        let (wanted, rest) = taken_apart(sealed).ok_or_else(damaged)?;
        let secret = self.secrets.iter().find(|secret| secret.id == wanted);
        let secret = secret.ok_or_else(|| SealError::SecretMissing {
            wanted: hex(&wanted),
        })?;
        let (nonce, body) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(damaged)?;
        let mut body = body.to_vec();
        // The tag is checked first: what is in the buffer after an error is no clear text.
        secret
            .cipher()
            .decrypt_in_place(&(*nonce).into(), &bound_to(id), &mut body)
            .map_err(|_| damaged())?;
        let text = String::from_utf8(body).map_err(|error| {
            error.into_bytes().zeroize();
            damaged()
        })?;
        Token::parse(text).map_err(|_| damaged())
    }

    /// Whether the copy is under the first secret, and so needs no resealing.
    #[must_use]
    pub fn is_current(&self, sealed: &str) -> bool {
        taken_apart(sealed).is_some_and(|(id, _)| id == self.current().id)
    }

    /// The id of the first secret, as `SecretMissing` would name it.
    #[must_use]
    pub fn current_id(&self) -> String {
        hex(&self.current().id)
    }

    /// The ids of all secrets, in the order of the file.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.secrets.iter().map(|secret| hex(&secret.id)).collect()
    }

    /// What works and should be better: others may read the file.
    #[must_use]
    pub const fn warning(&self) -> Option<&Problem> {
        self.warning.as_ref()
    }

    fn current(&self) -> &Sealer {
        self.secrets
            .first()
            .expect("a secret file without secrets is not opened")
    }
}

/// The ids of the secrets, and nothing else of them.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("ids", &self.ids()).finish()
    }
}

impl Sealer {
    /// Expanding the secret takes less than a microsecond; the cipher wipes what it expanded.
    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new_from_slice(self.secret.as_slice()).expect("a secret has 32 bytes")
    }
}

/// The id of the secret that a copy was sealed under; none when it is no copy at all.
#[must_use]
pub fn sealed_under(sealed: &str) -> Option<String> {
    taken_apart(sealed).map(|(id, _)| hex(&id))
}

/// The secret's id, and all that follows it.
fn taken_apart(sealed: &str) -> Option<([u8; ID_BYTES], Vec<u8>)> {
    let bytes = BASE64_STANDARD.decode(sealed.strip_prefix(PREFIX)?).ok()?;
    let (id, rest) = bytes.split_first_chunk::<ID_BYTES>()?;
    (rest.len() > NONCE_BYTES + TAG_BYTES).then(|| (*id, rest.to_vec()))
}

/// The associated data: a copy opens as this, of this key, and as nothing else.
fn bound_to(id: &KeyId) -> Vec<u8> {
    format!("{PURPOSE}{id}").into_bytes()
}
