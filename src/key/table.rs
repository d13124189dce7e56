//! All keys of one revision: immutable, built whole, found by digest or by id. A table never holds two keys
//! with the same id, name or digest. Not for: how it reaches the workers, which is `live`.
//!
//! The two indexes are open-addressed arrays of 8-byte slots, at most half full: a look-up touches one slot
//! and one key whether there are ten keys or a million, and a million keys cost 16 MiB an index, where a
//! map that owns its digests costs 77 MB.

use std::fmt;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Arc;

use sha2::Digest as _;
use sha2::Sha256;

use crate::clock::Timestamp;
use crate::key::Key;
use crate::key::KeyId;
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

/// All keys of one revision.
pub struct KeyTable {
    keys: Vec<Arc<Key>>,
    digests: Index,
    ids: Index,
    id_hasher: RandomState,
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
        let digest_count = keys.len() + keys.iter().map(|key| key.previous.len()).sum::<usize>();
        assert!(digest_count <= KEYS_MAX, "a key file is limited in size");
        let hasher = RandomState::new();
        let mut digests = Index::with_room_for(digest_count);
        let mut ids = Index::with_room_for(keys.len());
        let mut names = Index::with_room_for(keys.len());
        let mut duplicates = Vec::new();
        for (second, key) in keys.iter().enumerate() {
            let mut note = |first: Option<usize>, field| {
                duplicates.extend(first.map(|first| Duplicate {
                    first,
                    second,
                    field,
                }));
            };
            let same_id = |first: usize| keys[first].id == key.id;
            note(
                ids.insert(hasher.hash_one(&key.id), second, same_id),
                DuplicateField::Id,
            );
            let same_name = |first: usize| keys[first].name == key.name;
            note(
                names.insert(hasher.hash_one(&key.name), second, same_name),
                DuplicateField::Name,
            );
            let same_digest =
                |first: usize| first < second && has_digest(&keys[first], &key.digest);
            note(
                digests.insert(spread(&key.digest), second, same_digest),
                DuplicateField::Digest,
            );
            for (position, previous) in key.previous.iter().enumerate() {
                let earlier = &key.previous[..position];
                let repeated = key.digest == previous.digest
                    || earlier
                        .iter()
                        .any(|earlier| earlier.digest == previous.digest);
                let same_digest = |first: usize| {
                    if first == second {
                        repeated
                    } else {
                        has_digest(&keys[first], &previous.digest)
                    }
                };
                let first = digests.insert(spread(&previous.digest), second, same_digest);
                note(first, DuplicateField::Previous(position));
            }
        }
        drop(names);
        if duplicates.is_empty() {
            Ok(Self {
                keys,
                digests,
                ids,
                id_hasher: hasher,
                revision,
            })
        } else {
            Err(duplicates)
        }
    }

    /// The key whose token has this digest, in force or not. The digest of a token that was rotated out
    /// counts until its `expires_at`.
    #[must_use]
    pub fn find(&self, digest: &Digest, now: Timestamp) -> Option<&Arc<Key>> {
        let position = self.digests.find(spread(digest), |position| {
            has_digest(&self.keys[position], digest)
        })?;
        let key = &self.keys[position];
        let counts = key.digest == *digest
            || key
                .previous
                .iter()
                .any(|previous| previous.digest == *digest && now < previous.expires_at);
        counts.then_some(key)
    }

    /// The key with this id.
    #[must_use]
    pub fn get(&self, id: &KeyId) -> Option<&Arc<Key>> {
        let position = self.ids.find(self.id_hasher.hash_one(id), |position| {
            self.keys[position].id == *id
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
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no one gets in.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
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

fn has_digest(key: &Key, digest: &Digest) -> bool {
    key.digest == *digest
        || key
            .previous
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

/// Positions of keys by the hash of one of their fields. Never more than half full, so a search ends.
struct Index {
    /// As many as a power of two.
    slots: Box<[Slot]>,
}

/// A position, and 32 bits of the hash, so that a search seldom looks at a key in vain.
#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    position: u32,
}

const EMPTY: Slot = Slot {
    tag: 0,
    position: u32::MAX,
};

impl Index {
    fn with_room_for(count: usize) -> Self {
        Self {
            slots: vec![EMPTY; (2 * count).next_power_of_two().max(2)].into(),
        }
    }

    /// Puts `position` in, unless one for which `same` holds is there already: then returns that one.
    fn insert(
        &mut self,
        hash: u64,
        position: usize,
        same: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match self.search(hash, same) {
            Ok(found) => Some(found),
            Err(free) => {
                let position = u32::try_from(position).expect("a table has at most KEYS_MAX keys");
                self.slots[free] = Slot {
                    tag: tag(hash),
                    position,
                };
                None
            }
        }
    }

    fn find(&self, hash: u64, same: impl Fn(usize) -> bool) -> Option<usize> {
        self.search(hash, same).ok()
    }

    /// The position for which `same` holds, or the number of the free slot where it would be put.
    fn search(&self, hash: u64, same: impl Fn(usize) -> bool) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut number = usize::try_from(hash >> 32).expect("32 bits fit") & mask;
        loop {
            let slot = self.slots[number];
            if slot.position == EMPTY.position {
                return Err(number);
            }
            let position = usize::try_from(slot.position).expect("32 bits fit");
            if slot.tag == tag(hash) && same(position) {
                return Ok(position);
            }
            number = (number + 1) & mask;
        }
    }
}

/// The half of the hash that does not choose the slot.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is wanted"
)]
const fn tag(hash: u64) -> u32 {
    hash as u32
}

#[cfg(test)]
mod tests;
