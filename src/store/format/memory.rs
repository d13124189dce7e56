//! What was read last time: the keys of a file by the text of their entries, so that an edit costs what it
//! changes. 16 bytes a key: texts are told apart by 128 bits of a hash with random keys, which no text can be
//! made to collide in.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Arc;

use crate::key::Key;
use crate::store::format::parts::in_parts;

/// Below this many texts, a thread costs more than it saves.
const TEXTS_A_THREAD_MIN: usize = 5_000;

/// The keys of the last good reading, in the order of the file.
#[derive(Clone, Default)]
pub struct Memory {
    hashers: (RandomState, RandomState),
    texts: Vec<TextHash>,
    keys: Vec<Arc<Key>>,
}

/// The hash of an entry's text; none for an entry whose text does not say all about its key.
type TextHash = Option<std::num::NonZeroU128>;

impl Memory {
    /// Looks up the keys for these texts. An edit touches a few entries, so what is the same at the beginning and
    /// at the end is found by comparing; only the middle needs a map.
    pub(super) fn recall(&self, texts: &[&str]) -> Recalled {
        let texts = in_parts(texts, TEXTS_A_THREAD_MIN, |part| -> Vec<TextHash> {
            part.iter().map(|text| self.hash(text)).collect()
        })
        .concat();
        let same = |(old, new): &(&TextHash, &TextHash)| old.is_some() && old == new;
        let front = self.texts.iter().zip(&texts).take_while(same).count();
        let back = self.texts[front..]
            .iter()
            .rev()
            .zip(texts[front..].iter().rev())
            .take_while(same)
            .count();
        let mut keys = Vec::with_capacity(texts.len());
        keys.extend(self.keys[..front].iter().cloned().map(Some));
        let middle = front..self.texts.len() - back;
        let known: HashMap<_, _> = middle
            .map(|index| (self.texts[index], &self.keys[index]))
            .collect();
        let changed = &texts[front..texts.len() - back];
        keys.extend(
            changed
                .iter()
                .map(|text| text.and_then(|_| known.get(text).map(|key| Arc::clone(key)))),
        );
        keys.extend(
            self.keys[self.keys.len() - back..]
                .iter()
                .cloned()
                .map(Some),
        );
        Recalled {
            hashers: self.hashers.clone(),
            texts,
            keys,
        }
    }

    fn hash(&self, text: &str) -> TextHash {
        let (high, low) = (self.hashers.0.hash_one(text), self.hashers.1.hash_one(text));
        std::num::NonZeroU128::new(u128::from(high) << 64 | u128::from(low))
    }
}

/// How many keys it knows: a million are not for printing.
impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// The keys of a file, as far as they are known.
pub(super) struct Recalled {
    hashers: (RandomState, RandomState),
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

    /// All keys, and what is known next time.
    pub(super) fn finish(self) -> (Vec<Arc<Key>>, Memory) {
        let keys: Vec<Arc<Key>> = self
            .keys
            .into_iter()
            .map(|key| key.expect("every missing key was put"))
            .collect();
        (
            keys.clone(),
            Memory {
                hashers: self.hashers,
                texts: self.texts,
                keys,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::tests::key;

    /// Reads `texts` with a parser that makes a key of that name; returns what it had to parse.
    fn read(memory: &mut Memory, texts: &[u8]) -> Vec<u8> {
        let words: Vec<String> = texts.iter().map(u8::to_string).collect();
        let mut recalled = memory.recall(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let missing: Vec<usize> = recalled.missing().collect();
        for index in &missing {
            recalled.put(
                *index,
                Arc::new(key(&words[*index], "unused")),
                texts[*index] != 0,
            );
        }
        let (keys, new) = recalled.finish();
        *memory = new;
        assert!(
            keys.iter()
                .zip(&words)
                .all(|(key, word)| *key.name == **word)
        );
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
        assert_eq!(read(&mut memory, &[0, 1, 0]), [0, 1, 0]);
        assert_eq!(read(&mut memory, &[0, 1, 0]), [0, 0]);
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
