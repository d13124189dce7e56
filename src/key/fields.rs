//! A key taken apart: plain fields for whoever reads, builds or edits one. What is in them is checked by whoever fills
//! them in. Not for: holding a million of them, which is what [`Key`](crate::key::Key) is packed for.

use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::key::rules::Rules;
use crate::key::token::Digest;

/// A key taken apart: what a reader fills in and an edit changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFields {
    /// Stable; where the file has none, derived from the name, the same everywhere.
    pub id: KeyId,
    /// Unique, 1–100 characters, NFC.
    pub name: Box<str>,
    /// What the key is for, in its maker's words.
    pub description: Option<Box<str>>,
    /// SHA-256 of the token: what requests are checked against.
    pub digest: Digest,
    /// Whether the key file has only the digest, or the token as well.
    pub source: TokenSource,
    /// The token under the secret file, as the file has it; only the admin side can open it.
    pub sealed: Option<Box<str>>,
    /// A hint at the token for lists: `kg_3fA9…x7Q2`.
    pub mask: Option<Box<str>>,
    /// Switched off keys are refused.
    pub enabled: bool,
    /// When the key was made.
    pub created_at: Option<Timestamp>,
    /// Refused before.
    pub not_before: Option<Timestamp>,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
    /// Searchable, forwarded nowhere.
    pub tags: Option<Tags>,
    /// Whether requests with this key are written to the transaction log.
    pub record: bool,
    /// What the key may do; none: everything.
    pub rules: Option<Box<Rules>>,
    /// Old tokens that still pass for a while after a rotation.
    pub previous: Vec<PreviousDigest>,
}

impl KeyFields {
    /// A key in force that nothing restricts, with the id that its name gives. `name` is checked by its reader.
    #[must_use]
    pub fn new(name: &str, digest: Digest) -> Self {
        Self {
            id: KeyId::derive(name),
            name: name.into(),
            description: None,
            digest,
            source: TokenSource::Digest,
            sealed: None,
            mask: None,
            enabled: true,
            created_at: None,
            not_before: None,
            expires_at: None,
            tags: None,
            record: true,
            rules: None,
            previous: Vec::new(),
        }
    }
}

/// Where the digest of a key comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenSource {
    /// The file has the digest.
    #[default]
    Digest,
    /// A person wrote the token itself into the file, as `token`.
    Token,
    /// The file names another one that holds the token, as `token_file`.
    TokenFile,
}

/// Names and values, in the order of the names. No map: the smallest one takes half a kilobyte.
pub type Tags = Box<[(Box<str>, Box<str>)]>;

/// A token that was rotated out and passes until `expires_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousDigest {
    /// SHA-256 of the old token.
    pub digest: Digest,
    /// Refused from then on.
    pub expires_at: Timestamp,
}
