//! Where keys are kept: the contract of every store ([`KeyStore`]), the file that is the one there is ([`FileStore`]),
//! its text (`format`), the edits (`edit`), and the one task that follows a store and publishes (`reload`). Control
//! plane and command line only: workers see the published table in `key::live` and nothing of this.

mod difference;
pub mod edit;
mod file;
pub mod format;
pub mod import;
pub mod reload;
pub mod seal;

#[cfg(test)]
mod conformance;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

pub use crate::store::difference::KeyChange;
pub use crate::store::difference::difference;
pub use crate::store::file::FileChanges;
pub use crate::store::file::FileStore;

use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::key::token::Token;
use crate::problem::Problem;
use crate::store::edit::EditError;
use crate::store::edit::KeyEdit;
use crate::store::format::TokenFile;

/// Keys at one place that several processes read and change: a file, or one day a service that a fleet shares.
///
/// All calls block. A store has one user at a time (`&mut self`); any number of stores, in this process and in others,
/// may be open on the same place. What callers may rely on, from every implementation:
///
/// 1. **Revisions name texts.** Two loads with equal revisions saw the same records. Whoever changes anything, the
///    revision changes.
/// 2. **All or nothing.** [`apply`](Self::apply) makes all of its edits, in their order, or none. Names and tokens have to
///    be unique when all of them are made, so that two keys can swap theirs; ids at every step. Nobody ever reads a
///    part of them, and neither a crash nor a kill at any moment leaves one behind.
/// 3. **Nothing is overwritten unseen.** `apply` succeeds only if the place was at `expected` until the moment at
///    which the edits went in. Otherwise it is [`EditError::Stale`] with the revision that is there now: of several
///    that compete at one revision, at most one wins.
/// 4. **Answered is kept.** When `apply` returns `Ok`, the next load anywhere sees the edits, and so does one after a
///    power failure, as far as the disk keeps its word.
/// 5. **An error has changed nothing**, neither the place nor what this store gives out next.
/// 6. **What does not make sense is refused, not mended.** Contents with problems are no keys at all: `load` names
///    every problem, `apply` answers [`EditError::Broken`], and the contents stay as they are.
/// 7. **Changes are told**, whoever made them, the store's own edits included: [`KeyChanges::changed`] may wake its
///    caller for nothing, but after the last change it wakes it at least once more.
pub trait KeyStore: Send + 'static {
    /// Who tells about changes.
    type Changes: KeyChanges;

    /// Where the keys are, for people.
    fn place(&self) -> &Path;

    /// Tells about changes from now on: what happens between this call and a later `load` is told or loaded.
    fn changes(&self) -> Self::Changes;

    /// Reads the keys. [`Loaded::Unchanged`] if they are those of the revision `known` that this store gave out last;
    /// a store that has given out nothing never says so.
    ///
    /// # Errors
    /// Everything that is wrong with what is there.
    fn load(&mut self, known: Option<&Revision>) -> Result<Loaded, Vec<Problem>>;

    /// Makes all of the edits, or none, if the keys are at `expected`. Returns the keys as they are then, read back
    /// from what was written, so that nobody need load them. Edits that change nothing succeed and write nothing.
    ///
    /// # Errors
    /// See [`EditError`].
    fn apply(&mut self, edits: &[KeyEdit], expected: &Revision) -> Result<Keys, EditError>;

    /// The token of a key whose [`TokenSource`](crate::key::TokenSource) says that there is one in clear. The caller
    /// shows it to one person and drops it.
    ///
    /// # Errors
    /// [`EditError::Broken`] for contents that are no keys; [`EditError::Unknown`] where there is no such key, or none
    /// with a token in clear. Never says anything of a token.
    fn reveal(&mut self, id: &KeyId) -> Result<Token, EditError>;

    /// Whether every edit would be [`EditError::ReadOnly`], as far as can be told without one.
    fn is_read_only(&self) -> bool;

    /// Removes what a killed process may have left behind. Called once at the start; never waits, never fails.
    fn tidy(&mut self);
}

/// Tells about changes of a [`KeyStore`].
pub trait KeyChanges: Send + 'static {
    /// Follows what these keys were made from as well: the token files that they name.
    fn follow(&mut self, keys: &Keys);

    /// Returns when the keys may have changed since the last return. Can be dropped and called again without missing
    /// anything.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}

/// Keys that a store gave out.
#[derive(Clone, Debug)]
pub struct Keys {
    /// All of them, of one revision.
    pub table: Arc<KeyTable>,
    /// The files that tokens were read from: when one changes, so do the keys, at the same revision.
    pub token_files: Vec<TokenFile>,
    /// What works and should be better.
    pub warnings: Vec<Problem>,
}

/// What a load brings.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// The keys are those that were given out last.
    Unchanged,
    /// Others.
    Keys {
        /// They.
        keys: Keys,
        /// When they changed, as far as the store knows.
        changed: Timestamp,
    },
}
