//! What an API key is: the record that the key file holds and the request path looks up.
//! A `Key` is checked when it is read and never changes afterwards; an edit makes a new one.
//! Not for: where keys are kept (`store`), whether a request may pass (`auth`).

pub mod live;
pub mod rules;
pub mod table;
pub mod token;

use std::fmt;

use crate::clock::Timestamp;
use crate::key::rules::Rules;
use crate::key::token::Digest;
use crate::key::token::base62;

/// The stable name of a key: it survives a rename, and transactions carry it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Box<str>);

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
}

impl KeyId {
    /// Takes an id that somebody wrote: 1 to 64 of `A-Z a-z 0-9 _ . -`.
    ///
    /// # Errors
    /// When it has another length or other characters.
    pub fn parse(text: &str) -> Result<Self, KeyIdError> {
        let bad =
            |character: char| !(character.is_ascii_alphanumeric() || "_.-".contains(character));
        if let Some(index) = text.chars().position(bad) {
            return Err(KeyIdError::Character(index + 1));
        }
        if !(1..=KEY_ID_CHARS_MAX).contains(&text.len()) {
            return Err(KeyIdError::Length(text.len()));
        }
        Ok(Self(text.into()))
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
        let mut text = String::with_capacity(12);
        text.push_str("k_");
        text.extend(base62::<10>(u64::from_be_bytes(*prefix)).map(char::from));
        Self(text.into())
    }

    /// The id as text.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Stable; where the file has none, derived from the name, the same everywhere.
    pub id: KeyId,
    /// Unique, 1–100 characters, NFC.
    pub name: Box<str>,
    /// What the key is for, in its maker's words.
    pub description: Option<Box<str>>,
    /// SHA-256 of the token: what requests are checked against.
    pub digest: Digest,
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

/// Whether a key is in force at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// In force.
    Active,
    /// Switched off.
    Disabled,
    /// `not_before` is still to come.
    NotYetValid,
    /// `expires_at` has passed.
    Expired,
}

impl Key {
    /// Whether the key is in force at `now`. A switched off key is that, whatever its dates.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> KeyState {
        if !self.enabled {
            KeyState::Disabled
        } else if self.not_before.is_some_and(|date| now < date) {
            KeyState::NotYetValid
        } else if self.expires_at.is_some_and(|date| now >= date) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }
}

impl KeyState {
    /// The word for it in metrics, lists and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A key in force that nothing restricts.
    pub(crate) fn key(name: &str, token: &str) -> Key {
        Key {
            id: KeyId::derive(name),
            name: name.into(),
            description: None,
            digest: Digest::of(token.as_bytes()),
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
        ] {
            assert_eq!(KeyId::parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn a_key_is_in_force_between_its_dates() {
        let at = Timestamp::from_micros;
        let plain = key("a", "token-of-a");
        let bounded = Key {
            not_before: Some(at(10)),
            expires_at: Some(at(20)),
            ..plain.clone()
        };
        let disabled = Key {
            enabled: false,
            ..bounded.clone()
        };
        for (name, key, now, expected) in [
            ("no dates", &plain, 0, KeyState::Active),
            ("before", &bounded, 9, KeyState::NotYetValid),
            ("at the first moment", &bounded, 10, KeyState::Active),
            ("at the last moment", &bounded, 19, KeyState::Active),
            ("after", &bounded, 20, KeyState::Expired),
            ("disabled before", &disabled, 9, KeyState::Disabled),
            ("disabled within", &disabled, 10, KeyState::Disabled),
            ("disabled after", &disabled, 20, KeyState::Disabled),
        ] {
            assert_eq!(key.state(at(now)), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn derived_ids_are_ids(name in any::<String>()) {
            let id = KeyId::derive(&name);
            prop_assert_eq!(KeyId::parse(id.as_str()), Ok(id.clone()));
            prop_assert_eq!(id.as_str().len(), 12);
        }
    }
}
