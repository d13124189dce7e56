//! All keys of one revision: immutable, built whole, found by digest or by id. A table never holds two keys
//! with the same id, name or digest. Not for: how it reaches the workers, which is `live`.
//!
//! Keys are found through arrays of 8-byte slots, about half full: a look-up touches one slot and one key
//! whether there are ten keys or a million, and a million keys cost 16 MiB for each of digest, id and name, where
//! a map that owns its digests costs 77 MB. The next revision's table is made out of the one before, since most
//! edits touch a few keys: copying the slots and changing some takes a tenth of filling them anew.

mod index;

use std::fmt;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::ops::Range;
use std::sync::Arc;

use sha2::Digest as _;
use sha2::Sha256;

use crate::clock::Timestamp;
use crate::key::Key;
use crate::key::KeyId;
use crate::key::table::index::Column;
use crate::key::table::index::Index;
use crate::key::token::Digest;
use crate::key::token::hex;

/// The most keys in one table: positions are 32 bits wide, and one value means "empty".
pub const KEYS_MAX: usize = 1 << 30;

/// Which text a table was made from: the SHA-256 of the key file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision([u8; 32]);

impl Revision {
    /// The revision of a key file with these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// The first 12 hex characters: enough to tell revisions of one file apart.
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0[..6]))
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Two keys that cannot be in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The position of the key that came first.
    pub first: usize,
    /// The position of the key that came later; the same as `first` when a key repeats its own digest.
    pub second: usize,
    /// What they share.
    pub field: DuplicateField,
}

/// What two keys share that must be unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicateField {
    /// The id.
    Id,
    /// The name.
    Name,
    /// The digest, and so the token.
    Digest,
    /// A digest under `previous`, with this position there in the later key.
    Previous(usize),
}

/// All keys of one revision. Cheap to clone: clones share what they hold.
#[derive(Clone)]
pub struct KeyTable {
    keys: Arc<[Arc<Key>]>,
    indexes: Arc<Indexes>,
    revision: Revision,
}

impl KeyTable {
    /// A table of `keys`.
    ///
    /// # Errors
    /// All pairs of keys that share what must be unique, in the order of the later key.
    ///
    /// # Panics
    /// With more than [`KEYS_MAX`] keys; a file that large is refused before it is read.
    pub fn build(keys: Vec<Arc<Key>>, revision: Revision) -> Result<Self, Vec<Duplicate>> {
        let mut indexes = Indexes::with_room_for(&keys);
        let duplicates = indexes.enter(&keys, 0..keys.len());
        if !duplicates.is_empty() {
            return Err(duplicates);
        }
        Ok(Self {
            keys: keys.into(),
            indexes: Arc::new(indexes),
            revision,
        })
    }

    /// The same as [`KeyTable::build`], at the cost of what is different from `self`, as long as that is little: keys
    /// in one stretch of the list that came, went or changed.
    ///
    /// # Errors
    /// As with [`KeyTable::build`].
    ///
    /// # Panics
    /// As with [`KeyTable::build`].
    pub fn rebuild(&self, keys: Vec<Arc<Key>>, revision: Revision) -> Result<Self, Vec<Duplicate>> {
        let Some((gone, new)) = self.difference(&keys) else {
            return Self::build(keys, revision);
        };
        let mut indexes = Indexes::clone(&self.indexes);
        indexes.leave(&self.keys, gone.clone());
        indexes.index.shift(gone.end, new.end);
        if !indexes.enter(&keys, new).is_empty() {
            // Which of two keys comes later in the file is only known to whoever goes through all of them.
            return Self::build(keys, revision);
        }
        Ok(Self {
            keys: keys.into(),
            indexes: Arc::new(indexes),
            revision,
        })
    }

    /// The stretch of the old list that is replaced, and the stretch of the new one that replaces it; none: it is
    /// quicker to begin anew.
    fn difference(&self, keys: &[Arc<Key>]) -> Option<(Range<usize>, Range<usize>)> {
        let same = |(old, new): &(&Arc<Key>, &Arc<Key>)| Arc::ptr_eq(old, new);
        let front = self.keys.iter().zip(keys).take_while(same).count();
        let (old, new) = (self.keys[front..].iter(), keys[front..].iter());
        let back = old.rev().zip(new.rev()).take_while(same).count();
        let gone = front..self.keys.len() - back;
        let new = front..keys.len() - back;
        let little = gone.len() + new.len() <= keys.len() / 16 + 4;
        let room = little
            && self
                .indexes
                .index
                .has_room_for(digest_count(&keys[new.clone()]));
        room.then_some((gone, new))
    }

    /// The key whose token has this digest, in force or not. The digest of a token that was rotated out
    /// counts until its `expires_at`.
    #[must_use]
    pub fn find(&self, digest: &Digest, now: Timestamp) -> Option<&Arc<Key>> {
        let key = self.holder(digest)?;
        let counts = key.digest() == digest
            || key
                .previous()
                .iter()
                .any(|previous| previous.digest == *digest && now < previous.expires_at);
        counts.then_some(key)
    }

    /// The key with this id.
    #[must_use]
    pub fn get(&self, id: &KeyId) -> Option<&Arc<Key>> {
        Some(&self.keys[self.position(id)?])
    }

    /// Where in [`KeyTable::keys`] the key with this id is.
    #[must_use]
    pub fn position(&self, id: &KeyId) -> Option<usize> {
        let hash = self.indexes.hasher.hash_one(id);
        let same = |position: usize| self.keys[position].id() == id;
        self.indexes.index.find(Column::Id, hash, same)
    }

    /// The key with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Key>> {
        let hash = self.indexes.hasher.hash_one(name);
        let same = |position: usize| self.keys[position].name() == name;
        let position = self.indexes.index.find(Column::Name, hash, same)?;
        Some(&self.keys[position])
    }

    /// The key that this digest belongs to, be it that of an old token that no longer passes.
    #[must_use]
    pub fn holder(&self, digest: &Digest) -> Option<&Arc<Key>> {
        let position = self
            .indexes
            .index
            .find(Column::Digest, spread(digest), |position| {
                has_digest(&self.keys[position], digest)
            })?;
        Some(&self.keys[position])
    }

    /// All keys, in the order of the file.
    #[must_use]
    pub fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no one gets in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What the table was made from.
    #[must_use]
    pub const fn revision(&self) -> &Revision {
        &self.revision
    }
}

/// How many keys and which revision: a table of a million keys is not for printing.
impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable")
            .field("keys", &self.keys.len())
            .field("revision", &self.revision)
            .finish()
    }
}

fn digest_count(keys: &[Arc<Key>]) -> usize {
    keys.len() + keys.iter().map(|key| key.previous().len()).sum::<usize>()
}

fn has_digest(key: &Key, digest: &Digest) -> bool {
    key.digest() == digest
        || key
            .previous()
            .iter()
            .any(|previous| previous.digest == *digest)
}

/// The hash of a digest, for the cost of a few adds. That needs no secret and no mixing worth the name:
/// digests are as good as random, only the operator's file decides which are *in* the table, and a client
/// that searches for tokens whose digests share bits finds nothing, since looking up inserts nothing.
/// All words count, so that digests made up by hand (`sha256:00…01`) spread as well.
fn spread(digest: &Digest) -> u64 {
    let (words, _) = digest.as_bytes().as_chunks::<8>();
    let sum = words.iter().fold(0_u64, |sum, word| {
        sum.rotate_left(17) ^ u64::from_le_bytes(*word)
    });
    let product = u128::from(sum) * u128::from(0x9E37_79B9_7F4A_7C15_u64);
    tail(product >> 64) ^ tail(product)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is wanted"
)]
const fn tail(number: u128) -> u64 {
    number as u64
}

/// The positions of all keys by what is unique in them.
#[derive(Clone)]
struct Indexes {
    index: Index,
    hasher: RandomState,
}

impl Indexes {
    fn with_room_for(keys: &[Arc<Key>]) -> Self {
        let count = digest_count(keys);
        assert!(count <= KEYS_MAX, "a key file is limited in size");
        Self {
            index: Index::with_room_for(count),
            hasher: RandomState::new(),
        }
    }

    /// Takes the keys at these positions out.
    fn leave(&mut self, keys: &[Arc<Key>], positions: Range<usize>) {
        for position in positions {
            let key = &keys[position];
            self.index
                .remove(Column::Id, self.hasher.hash_one(key.id()), position);
            self.index
                .remove(Column::Name, self.hasher.hash_one(key.name()), position);
            self.index
                .remove(Column::Digest, spread(key.digest()), position);
            for previous in key.previous() {
                self.index
                    .remove(Column::Digest, spread(&previous.digest), position);
            }
        }
    }

    /// Puts the keys at these positions in; returns all pairs that share what must be unique.
    fn enter(&mut self, keys: &[Arc<Key>], positions: Range<usize>) -> Vec<Duplicate> {
        let mut duplicates = Vec::new();
        for second in positions {
            let key = &keys[second];
            let mut note = |first: Option<usize>, field| {
                duplicates.extend(first.map(|first| Duplicate {
                    first,
                    second,
                    field,
                }));
            };
            let hash = self.hasher.hash_one(key.id());
            let same = |first: usize| keys[first].id() == key.id();
            note(
                self.index.insert(Column::Id, hash, second, same),
                DuplicateField::Id,
            );
            let hash = self.hasher.hash_one(key.name());
            let same = |first: usize| keys[first].name() == key.name();
            note(
                self.index.insert(Column::Name, hash, second, same),
                DuplicateField::Name,
            );
            let hash = spread(key.digest());
            let same = |first: usize| first != second && has_digest(&keys[first], key.digest());
            note(
                self.index.insert(Column::Digest, hash, second, same),
                DuplicateField::Digest,
            );
            for (number, previous) in key.previous().iter().enumerate() {
                let mut earlier = key.previous()[..number].iter();
                let repeated = *key.digest() == previous.digest
                    || earlier.any(|earlier| earlier.digest == previous.digest);
                let same = |first: usize| {
                    if first == second {
                        repeated
                    } else {
                        has_digest(&keys[first], &previous.digest)
                    }
                };
                let first =
                    self.index
                        .insert(Column::Digest, spread(&previous.digest), second, same);
                note(first, DuplicateField::Previous(number));
            }
        }
        duplicates
    }
}

#[cfg(test)]
mod tests;
