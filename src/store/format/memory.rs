//! What was read last time: the keys of a file by the text of their entries, so that an edit costs what it changes.
//! 8 bytes a key beside the table itself: texts are told apart by 64 bits of a hash with a random key, so nobody can
//! make two that collide, and two that do by chance are one pair in 2⁶⁴. A key whose text is new goes on with the
//! counters of the key that had its id.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::key::Key;
use crate::key::table::Duplicate;
use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::parts::in_parts;
use crate::parts::short_lived;
use crate::store::format::split::Piece;

/// Below this many texts, a thread costs more than it saves.
const TEXTS_A_THREAD_MIN: usize = 5_000;

/// The keys of the last good reading, and the hashes of their texts, in the order of the file.
#[derive(Clone, Default)]
pub struct Memory {
    hasher: RandomState,
    texts: Box<[TextHash]>,
    table: Option<KeyTable>,
}

/// The hash of an entry's text; none for an entry whose text does not say all about its key.
pub(super) type TextHash = Option<NonZeroU64>;

impl Memory {
    /// Looks up the keys for these texts. An edit touches a few entries, so what is the same at the beginning and
    /// at the end is found by comparing; only the middle needs a map.
    pub(super) fn recall(&self, pieces: &[Piece<'_>]) -> Recalled {
        let mut texts = short_lived(pieces.len());
        in_parts(pieces, TEXTS_A_THREAD_MIN, |part| {
            let mut hashes = short_lived(part.len());
            hashes.extend(part.iter().map(|piece| self.hash(piece.text)));
            hashes
        })
        .iter()
        .for_each(|part| texts.extend_from_slice(part));
        let old = self.table.as_ref().map_or(&[][..], KeyTable::keys);
        let same = |(old, new): &(&TextHash, &TextHash)| old.is_some() && old == new;
        let front = self.texts.iter().zip(&texts).take_while(same).count();
        let back = self.texts[front..]
            .iter()
            .rev()
            .zip(texts[front..].iter().rev())
            .take_while(same)
            .count();
        let mut keys = short_lived(texts.len());
        keys.extend(old[..front].iter().cloned().map(Some));
        let middle = front..self.texts.len() - back;
        let known: HashMap<_, _> = middle
            .map(|index| (self.texts[index], &old[index]))
            .collect();
        let changed = &texts[front..texts.len() - back];
        keys.extend(
            changed
                .iter()
                .map(|text| text.and_then(|_| known.get(text).map(|key| Arc::clone(key)))),
        );
        keys.extend(old[old.len() - back..].iter().cloned().map(Some));
        Recalled { texts, keys }
    }

    /// The key that an entry says, as the one that was there before if it is the same, and with the counters of the
    /// one that had its id if it is not.
    pub(super) fn carry_over(&self, key: Key) -> Arc<Key> {
        match self.table.as_ref().and_then(|table| table.get(key.id())) {
            Some(old) if **old == key => Arc::clone(old),
            Some(old) => Arc::new(key.continuing(old)),
            None => Arc::new(key),
        }
    }

    /// A table of these keys, out of the last one if there is one.
    pub(super) fn table(
        &self,
        keys: Vec<Arc<Key>>,
        revision: Revision,
    ) -> Result<KeyTable, Vec<Duplicate>> {
        match &self.table {
            Some(table) => table.rebuild(keys, revision),
            None => KeyTable::build(keys, revision),
        }
    }

    /// From now on, `table` is the last reading; `texts` are those of its keys.
    pub(super) fn learn(&mut self, texts: &[TextHash], table: &KeyTable) {
        debug_assert_eq!(texts.len(), table.len(), "each key has its text");
        self.texts = texts.into(); // without the room that it has besides
        self.table = Some(table.clone());
    }

    fn hash(&self, text: &str) -> TextHash {
        NonZeroU64::new(self.hasher.hash_one(text))
    }
}

/// How many keys it knows: a million are not for printing.
impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("keys", &self.texts.len())
            .finish_non_exhaustive()
    }
}

/// The keys of a file, as far as they are known.
pub(super) struct Recalled {
    texts: Vec<TextHash>,
    keys: Vec<Option<Arc<Key>>>,
}

impl Recalled {
    /// The positions whose text is new.
    pub(super) fn missing(&self) -> impl Iterator<Item = usize> {
        self.keys
            .iter()
            .enumerate()
            .filter(|(_, key)| key.is_none())
            .map(|(index, _)| index)
    }

    /// Fills a position. Only a `lasting` one is known next time.
    pub(super) fn put(&mut self, index: usize, key: Arc<Key>, lasting: bool) {
        self.keys[index] = Some(key);
        if !lasting {
            self.texts[index] = None;
        }
    }

    /// All keys, and what is to be known of their texts next time.
    pub(super) fn finish(self) -> (Vec<Arc<Key>>, Vec<TextHash>) {
        let keys = self
            .keys
            .into_iter()
            .map(|key| key.expect("every missing key was put"))
            .collect();
        (keys, self.texts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;
    use crate::key::tests::key;

    /// Reads `texts` with a parser that makes a key of that name; returns what it had to parse. A text that is there
    /// twice makes a file that is not to be used.
    fn read(memory: &mut Memory, texts: &[u8]) -> Vec<u8> {
        let words: Vec<String> = texts.iter().map(u8::to_string).collect();
        let piece = |text| Piece { text, line: 0 };
        let pieces: Vec<_> = words.iter().map(|word| piece(word.as_str())).collect();
        let mut recalled = memory.recall(&pieces);
        let missing: Vec<usize> = recalled.missing().collect();
        for index in &missing {
            let word = &words[*index];
            let key = memory.carry_over(key(word, word));
            recalled.put(*index, key, texts[*index] != 0);
        }
        let (keys, hashes) = recalled.finish();
        assert!(
            keys.iter()
                .zip(&words)
                .all(|(key, word)| key.name() == *word)
        );
        if let Ok(table) = memory.table(keys, Revision::of(texts)) {
            memory.learn(&hashes, &table);
        }
        missing.into_iter().map(|index| texts[index]).collect()
    }

    #[test]
    fn only_what_changed_is_read_again() {
        let mut memory = Memory::default();
        assert_eq!(read(&mut memory, &[1, 2, 3, 4]), [1, 2, 3, 4]);
        assert_eq!(read(&mut memory, &[1, 2, 3, 4]), [0; 0]);
        assert_eq!(read(&mut memory, &[1, 9, 3, 4]), [9]);
        assert_eq!(read(&mut memory, &[4, 3, 9, 1]), [0; 0]);
        assert_eq!(read(&mut memory, &[4, 3]), [0; 0]);
        assert_eq!(read(&mut memory, &[5, 4, 3, 6]), [5, 6]);
        assert_eq!(read(&mut memory, &[]), [0; 0]);
    }

    #[test]
    fn what_does_not_last_is_read_every_time() {
        let mut memory = Memory::default();
        assert_eq!(read(&mut memory, &[0, 1]), [0, 1]);
        assert_eq!(read(&mut memory, &[0, 1]), [0]);
        assert_eq!(read(&mut memory, &[2, 0, 1]), [2, 0]);
    }

    #[test]
    fn a_key_goes_on_with_the_counters_of_the_one_that_had_its_id() {
        let mut memory = Memory::default();
        read(&mut memory, &[1, 2]);
        let [one, two] = memory.table.as_ref().unwrap().keys() else {
            panic!("two keys")
        };
        one.usage().note(Timestamp::from_micros(1), false);
        assert!(Arc::ptr_eq(&memory.carry_over(key("1", "1")), one));
        let changed = memory.carry_over(key("1", "another token"));
        assert!(!Arc::ptr_eq(&changed, one));
        one.usage().note(Timestamp::from_micros(2), true);
        assert_eq!(changed.usage().totals().requests, 2);
        assert_eq!(two.usage().totals().requests, 0);
        assert_eq!(
            memory.carry_over(key("3", "3")).usage().totals().requests,
            0
        );
    }

    proptest! {
        #[test]
        fn whatever_the_edits_the_keys_are_those_of_the_texts(edits in proptest::collection::vec(proptest::collection::vec(0..6_u8, 0..8), 1..6)) {
            let mut memory = Memory::default();
            for texts in edits {
                read(&mut memory, &texts);
            }
        }
    }
}
