//! The ways in which keys change, whoever changes them: API, UI and command line all make [`KeyEdit`]s, and
//! the store makes all of them or none. Not for: what they do to the text of a file, which is `format::edit`.

use std::io;
use std::path::PathBuf;

use crate::key::KeyFields;
use crate::key::KeyId;
use crate::key::table::Revision;
use crate::problem::Problem;

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEdit {
    /// A key that is not there yet; it goes to the end of the file.
    Add(KeyFields),
    /// The key with this id becomes this one. Only the fields that differ are written.
    Change(KeyFields),
    /// The key with this id goes.
    Remove(KeyId),
}

/// Why no edit was made. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The keys are no longer those that the caller looked at.
    #[error("the keys have changed in the meantime: they are at revision {current}")]
    Stale {
        /// What they are at now.
        current: Revision,
    },
    /// The file as somebody has left it is no key file; the last good keys are in force, and the file stays as it is.
    #[error("the key file has errors, so it cannot be edited: {}", problems.first().map(ToString::to_string).unwrap_or_default())]
    Broken {
        /// What is wrong, each with its place.
        problems: Vec<Problem>,
    },
    /// There is no key with this id.
    #[error("there is no key with the id {id}")]
    Unknown {
        /// The id.
        id: KeyId,
    },
    /// Something that must be unique is another key's.
    #[error("the {what} is taken by the key {holder}")]
    Taken {
        /// What it is.
        what: Taken,
        /// Whose it is.
        holder: KeyId,
    },
    /// The store cannot be written by design: a mounted secret, a read-only volume.
    #[error("the key file cannot be written: {}: {source}", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// The entry as it would have been written, for whoever edits the file where it comes from.
        entry: Option<String>,
    },
    /// Writing failed: disk full, I/O error.
    #[error("cannot write the key file: {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text has a shape in which this entry cannot be changed without touching others.
    #[error("cannot edit the key file: {what}")]
    Shape {
        /// What is in the way, and where.
        what: String,
    },
    /// Another process held the lock for too long.
    #[error("another process is editing the key file: {}", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The program is stopping.
    #[error("keygate is stopping")]
    Stopping,
}

/// What two keys cannot share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The id.
    Id,
    /// The name.
    Name,
    /// The token, or an old one that still passes.
    Token,
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Id => "id",
            Self::Name => "name",
            Self::Token => "token",
        })
    }
}
