//! The keys before anything runs: read once, with all that is wrong with them; there is no last good table yet to
//! fall back on. Not for: following them, which is the reload task's.

use std::path::Path;

use crate::key::table::KeyTable;
use crate::problem::Problem;
use crate::store::FileStore;
use crate::store::KeyChanges;
use crate::store::KeyStore;
use crate::store::Keys;
use crate::store::Loaded;
use crate::store::file::make_if_absent;
use crate::store::file::read_whole;
use crate::store::file::unusable;
use crate::store::format;
use crate::store::format::KeyFile;
use crate::store::format::Memory;

/// A store as it was at the start.
#[derive(Debug)]
pub struct Initial<S: KeyStore = FileStore> {
    pub(super) store: S,
    pub(super) changes: S::Changes,
    pub(super) keys: Keys,
}

impl<S: KeyStore> Initial<S> {
    /// Reads the keys of `store`.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(mut store: S) -> Result<Self, Vec<Problem>> {
        // Before reading: a change in between is told, not missed.
        let mut changes = store.changes();
        loop {
            // A new store has given out nothing, so it has no reason to say that nothing changed.
            if let Loaded::Keys { keys, .. } = store.load(None)? {
                changes.follow(&keys);
                return Ok(Self {
                    store,
                    changes,
                    keys,
                });
            }
        }
    }

    /// The keys that were read.
    #[must_use]
    pub fn table(&self) -> &KeyTable {
        &self.keys.table
    }

    /// What works and should be better.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.keys.warnings
    }
}

/// Reads the key file at the start. One that nobody `configured` and that is absent is made, empty.
///
/// # Errors
/// All that is wrong with the file, so nothing may start.
pub fn load_initial(file: &Path, configured: bool) -> Result<Initial, Vec<Problem>> {
    if !configured {
        make_if_absent(file)
            .map_err(|error| vec![unusable(file, "cannot make the key file", &error)])?;
    }
    Initial::load(FileStore::new(file.to_owned()))
}

/// Reads and checks the key file, for whoever only wants to know whether it is right.
///
/// # Errors
/// All that is wrong with the file.
pub fn check(file: &Path) -> Result<KeyFile, Vec<Problem>> {
    let (bytes, _) = read_whole(file)
        .map_err(|error| vec![unusable(file, "cannot read the key file", &error)])?;
    format::parse(file, &bytes, &mut Memory::default())
}
