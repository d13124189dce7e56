//! The stable name of a key. Up to 14 characters, as made and derived ones have, take no memory of their own.
//! Not for: the name that people give a key, which may change.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;

use crate::key::token::Digest;
use crate::key::token::base62;

/// The stable name of a key: it survives a rename, and transactions carry it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyId(Characters);

/// ASCII. A text has one form: `Short` when it fits, and zeros behind its end.
#[derive(Clone, PartialEq, Eq)]
enum Characters {
    Short {
        length: u8,
        bytes: [u8; SHORT_CHARS_MAX],
    },
    Long {
        length: u8,
        bytes: Box<[u8; KEY_ID_CHARS_MAX]>,
    },
}

/// With its length and the form, 16 bytes.
const SHORT_CHARS_MAX: usize = 14;

/// The longest id.
pub const KEY_ID_CHARS_MAX: usize = 64;

/// Why a text is not a key's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyIdError {
    /// Empty or too long.
    #[error("an id has 1 to 64 characters, this one has {0}")]
    Length(usize),
    /// Not one of the characters that URLs, logs and headers carry unchanged.
    #[error(
        "an id consists of letters, digits, \"_\", \".\" and \"-\", character {0} of this one is none"
    )]
    Character(usize),
    /// URLs take `.` and `..` for folders.
    #[error("an id does not begin with a dot")]
    Dot,
}

impl KeyId {
    /// Takes an id that somebody wrote: 1 to 64 of `A-Z a-z 0-9 _ . -`, the first of them no dot.
    ///
    /// # Errors
    /// When it has another length or other characters, or begins with a dot.
    pub fn parse(text: &str) -> Result<Self, KeyIdError> {
        let bad = |byte: u8| !(byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if let Some(index) = text.bytes().position(bad) {
            return Err(KeyIdError::Character(index + 1)); // all in front of it is ASCII
        }
        if !(1..=KEY_ID_CHARS_MAX).contains(&text.len()) {
            return Err(KeyIdError::Length(text.len()));
        }
        if text.starts_with('.') {
            return Err(KeyIdError::Dot);
        }
        Ok(Self::new(text.as_bytes()))
    }

    /// The id of a key that was written without one: the same for the same name on every machine, and for
    /// different names different but for one chance in 2⁵⁹. `name` is in NFC.
    #[must_use]
    pub fn derive(name: &str) -> Self {
        let digest = Digest::of(name.as_bytes());
        let (prefix, _) = digest
            .as_bytes()
            .split_first_chunk::<8>()
            .expect("a digest has 32 bytes");
        let mut bytes = [0; 12];
        bytes[..2].copy_from_slice(b"k_");
        bytes[2..].copy_from_slice(&base62::<10>(u64::from_be_bytes(*prefix)));
        Self::new(&bytes)
    }

    /// `text` is ASCII and not too long.
    fn new(text: &[u8]) -> Self {
        let length = u8::try_from(text.len()).expect("an id has at most 64 characters");
        Self(if text.len() <= SHORT_CHARS_MAX {
            let mut bytes = [0; SHORT_CHARS_MAX];
            bytes[..text.len()].copy_from_slice(text);
            Characters::Short { length, bytes }
        } else {
            let mut bytes = Box::new([0; KEY_ID_CHARS_MAX]);
            bytes[..text.len()].copy_from_slice(text);
            Characters::Long { length, bytes }
        })
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).expect("an id is ASCII")
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Characters::Short { length, bytes } => &bytes[..usize::from(*length)],
            Characters::Long { length, bytes } => &bytes[..usize::from(*length)],
        }
    }
}

impl Ord for KeyId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for KeyId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyId").field(&self.as_str()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_derived_id_never_changes() {
        assert_eq!(KeyId::derive("default").as_str(), "k_mH87Fd6bW9");
        assert_ne!(KeyId::derive("default"), KeyId::derive("Default"));
    }

    #[test]
    fn ids_are_what_urls_logs_and_headers_carry_unchanged() {
        for text in ["k_7Qm2x9", "a", "billing.eu-1", &"x".repeat(64)] {
            assert_eq!(KeyId::parse(text).unwrap().as_str(), text);
        }
        for (text, expected) in [
            ("", KeyIdError::Length(0)),
            (&*"x".repeat(65), KeyIdError::Length(65)),
            ("a b", KeyIdError::Character(2)),
            ("a/b", KeyIdError::Character(2)),
            ("schlüssel", KeyIdError::Character(5)),
            ("line\n", KeyIdError::Character(5)),
            ("..", KeyIdError::Dot),
            (".a", KeyIdError::Dot),
        ] {
            assert_eq!(KeyId::parse(text), Err(expected), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn derived_ids_are_ids(name in any::<String>()) {
            let id = KeyId::derive(&name);
            prop_assert_eq!(KeyId::parse(id.as_str()), Ok(id.clone()));
            prop_assert_eq!(id.as_str().len(), 12);
        }

        #[test]
        fn ids_sort_and_compare_like_their_texts(a in "[ab]{1,2}|[ab]{13,16}", b in "[ab]{1,2}|[ab]{13,16}") {
            let (one, other) = (KeyId::parse(&a).unwrap(), KeyId::parse(&b).unwrap());
            prop_assert_eq!((one.as_str(), other.as_str()), (&*a, &*b));
            prop_assert_eq!(one.cmp(&other), a.cmp(&b));
            prop_assert_eq!(one == other, a == b);
        }
    }
}
