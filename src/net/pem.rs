//! Certificates, private keys and authorities from PEM files. A file that cannot be read whole and understood whole is
//! an error that names it; nothing is ever skipped. Not for: what they are used for, and following changes of the files.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::OFlags;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::problem::Problem;

/// More than the bundle of every public authority, bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why a PEM file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", file.display())]
pub struct PemError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub what: PemProblem,
}

/// What is wrong with a PEM file.
#[derive(Debug, thiserror::Error)]
pub enum PemProblem {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[source] io::Error),
    /// It is no such file.
    #[error("larger than {} MiB: not a file of certificates", FILE_BYTES_MAX / (1024 * 1024))]
    TooLarge,
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// A section has no end: the file was not copied to its end, or is still being written.
    #[error("not PEM: a section does not end")]
    Torn,
    /// A section is broken.
    #[error("not PEM: {0}")]
    Malformed(&'static str),
    /// Nothing in it is a certificate.
    #[error("no certificate in it")]
    NoCertificate,
    /// Nothing in it is a private key.
    #[error("no private key in it")]
    NoKey,
    /// There is no telling which one is meant.
    #[error("more than one private key in it")]
    ManyKeys,
    /// Its key needs a pass phrase.
    #[error("its private key is encrypted")]
    EncryptedKey,
    /// A certificate cannot stand for an authority.
    #[error("certificate {number} of it cannot be an authority: {why}")]
    NoAuthority {
        /// Which one, from 1.
        number: usize,
        /// Why not.
        why: rustls::Error,
    },
}

impl PemError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self.what {
            PemProblem::Unreadable(_) => {
                "name a file that is there and that keygate's user may read"
            }
            PemProblem::TooLarge | PemProblem::Torn | PemProblem::Malformed(_) => {
                "it has to be text in PEM: -----BEGIN CERTIFICATE-----, base64, -----END CERTIFICATE-----"
            }
            PemProblem::Empty => "write what belongs into it, in PEM",
            PemProblem::NoCertificate => "name the file that has -----BEGIN CERTIFICATE----- in it",
            PemProblem::NoKey | PemProblem::ManyKeys => {
                "name the file that has the one -----BEGIN PRIVATE KEY----- in it"
            }
            PemProblem::EncryptedKey => {
                "nobody can be asked for its pass phrase: decrypt it with `openssl pkey -in FILE -out FILE`, \
                 and let only keygate's user read it"
            }
            PemProblem::NoAuthority { .. } => {
                "name the certificates of authorities, and only those"
            }
        }
    }
}

impl PemError {
    /// Whether a file looks like that while it is exchanged for another, so that it may be over in a moment.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(
            self.what,
            PemProblem::Unreadable(_) | PemProblem::Empty | PemProblem::Torn
        )
    }
}

impl From<PemError> for Problem {
    fn from(error: PemError) -> Self {
        Self {
            hint: Some(error.hint().to_owned()),
            what: error.what.to_string(),
            file: error.file,
            place: None,
            path: String::new(),
        }
    }
}

/// The certificates of a file, in its order; at least one.
///
/// # Errors
/// When the file cannot be read, is broken, or has none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    PemText::read(file)?.certificates()
}

/// The one private key of a file, which may hold certificates too.
///
/// # Errors
/// When the file cannot be read, is broken, has no key or several, or an encrypted one.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PemText::read(file)?.private_key()
}

/// The authorities of a file; at least one.
///
/// # Errors
/// When the file cannot be read, is broken, or has something that cannot be an authority.
pub fn roots(file: &Path) -> Result<RootCertStore, PemError> {
    PemText::read(file)?.roots()
}

/// What a file held at one moment. It may be a private key, so it is wiped, and never shown.
pub struct PemText {
    file: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
    mode: u32,
}

impl PemText {
    /// Reads a file in one go. Never waits: a pipe under a configured name is refused.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, or too large.
    pub fn read(file: &Path) -> Result<Self, PemError> {
        let (bytes, mode) =
            read(file).map_err(|error| failed(file, PemProblem::Unreadable(error)))?;
        if bytes.is_empty() {
            return Err(failed(file, PemProblem::Empty));
        }
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(failed(file, PemProblem::TooLarge));
        }
        Ok(Self {
            file: file.to_owned(),
            bytes,
            mode,
        })
    }

    /// For comparing it with what it is later.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Who may read the file, as `chmod` has it.
    #[must_use]
    pub const fn mode(&self) -> u32 {
        self.mode & 0o7777
    }

    /// See [`certificates`].
    ///
    /// # Errors
    /// When it is broken, or has none.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| self.failed(malformed(&error)))?;
        if certificates.is_empty() {
            return Err(self.failed(PemProblem::NoCertificate));
        }
        Ok(certificates)
    }

    /// See [`private_key`].
    ///
    /// # Errors
    /// When it is broken, has no key or several, or an encrypted one.
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, PemError> {
        if is_encrypted(&self.bytes) {
            return Err(self.failed(PemProblem::EncryptedKey));
        }
        let mut keys = PrivateKeyDer::pem_slice_iter(&self.bytes);
        let key = keys.next().ok_or_else(|| self.failed(PemProblem::NoKey))?;
        if keys.next().is_some() {
            return Err(self.failed(PemProblem::ManyKeys));
        }
        key.map_err(|error| self.failed(malformed(&error)))
    }

    /// See [`roots`].
    ///
    /// # Errors
    /// When it is broken, or has something that cannot be an authority.
    pub fn roots(&self) -> Result<RootCertStore, PemError> {
        let mut roots = RootCertStore::empty();
        for (index, certificate) in self.certificates()?.into_iter().enumerate() {
            roots.add(certificate).map_err(|why| {
                let number = index + 1;
                self.failed(PemProblem::NoAuthority { number, why })
            })?;
        }
        Ok(roots)
    }

    fn failed(&self, what: PemProblem) -> PemError {
        failed(&self.file, what)
    }
}

impl fmt::Debug for PemText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemText")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// At most one byte more than a file may have, and its mode.
fn read(file: &Path) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2) fits an int");
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(file)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let kind = io::ErrorKind::InvalidInput;
        return Err(io::Error::new(kind, "it is not a regular file"));
    }
    let length = metadata.len().min(FILE_BYTES_MAX);
    // Nothing that was read is left behind by a buffer that grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(length).unwrap_or(0) + 32,
    ));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok((bytes, metadata.permissions().mode()))
}

/// By the section's name, or in the old form by what stands in it.
fn is_encrypted(text: &[u8]) -> bool {
    let marks: [&[u8]; 2] = [
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
        b"Proc-Type: 4,ENCRYPTED",
    ];
    marks
        .iter()
        .any(|mark| memchr::memmem::find(text, mark).is_some())
}

fn failed(file: &Path, what: PemProblem) -> PemError {
    PemError {
        file: file.to_owned(),
        what,
    }
}

/// Never the text itself, which may be a key's.
const fn malformed(error: &pem::Error) -> PemProblem {
    PemProblem::Malformed(match error {
        pem::Error::MissingSectionEnd { .. } => return PemProblem::Torn,
        pem::Error::IllegalSectionStart { .. } => "a section begins badly",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "a section cannot be read",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(file: &Path, text: &str) {
        use std::io::Write as _;
        fs::File::create(file)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn authority() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["app.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn certificates_and_key_may_share_a_file() {
        let (certificate, key) = authority();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("both.pem");
        write(
            &file,
            &format!("text before\n{certificate}\n{key}{certificate}"),
        );
        assert_eq!(certificates(&file).unwrap().len(), 2);
        assert_eq!(roots(&file).unwrap().len(), 2);
        private_key(&file).unwrap();
    }

    #[test]
    fn what_cannot_be_used_is_an_error_that_names_the_file_and_never_less_than_asked_for() {
        let (certificate, key) = authority();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.pem");
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let old = key.replacen("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n\n", 1);
        let torn = &certificate[..certificate.len() / 2];
        let not_one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let not_base64 = certificate.replacen("MII", "M!I", 1);
        for (text, certificates_say, key_says) in [
            ("", "the file is empty", "the file is empty"),
            ("garbage", "no certificate in it", "no private key in it"),
            (
                torn,
                "not PEM: a section does not end",
                "not PEM: a section does not end",
            ),
            (&not_base64, "not PEM: a section is not base64", ""),
            (
                &format!("{certificate}{torn}"),
                "not PEM: a section does not end",
                "",
            ),
            (
                &format!("{certificate}{not_one}"),
                "certificate 2 of it cannot be an authority",
                "",
            ),
            (
                &format!("{certificate}{key}{key}"),
                "",
                "more than one private key in it",
            ),
            (
                &format!("{certificate}{encrypted}"),
                "",
                "its private key is encrypted",
            ),
            (
                &format!("{certificate}{old}"),
                "not PEM: a section is not base64",
                "its private key is encrypted",
            ),
        ] {
            write(&file, text);
            let shown = file.display().to_string();
            let roots = roots(&file).err().map(|error| error.to_string());
            let roots = roots.unwrap_or_default();
            assert_eq!(
                roots.is_empty(),
                certificates_say.is_empty(),
                "{text:?}: {roots}"
            );
            if !certificates_say.is_empty() {
                assert!(
                    roots.starts_with(&format!("{shown}: {certificates_say}")),
                    "{roots}"
                );
            }
            let key = private_key(&file).expect_err("no row has a key that can be used");
            assert!(
                key.to_string().starts_with(&format!("{shown}: {key_says}")),
                "{key}"
            );
            assert!(!key.hint().is_empty());
        }
        fs::remove_file(&file).unwrap();
        let missing = roots(&file).unwrap_err();
        assert!(
            missing
                .to_string()
                .ends_with("No such file or directory (os error 2)")
        );
    }
}
