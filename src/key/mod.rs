//! What an API key is: the record that the key file holds and the request path looks up.
//! A `Key` is checked when it is read and never changes afterwards; an edit makes a new one.
//! Not for: where keys are kept (`store`), whether a request may pass (`auth`).

mod fields;
mod id;
pub mod list;
pub mod live;
pub mod rules;
pub mod table;
pub mod token;
pub mod usage;

use std::fmt;
use std::sync::Arc;

pub use crate::key::fields::KeyFields;
pub use crate::key::fields::PreviousDigest;
pub use crate::key::fields::Tags;
pub use crate::key::fields::TokenSource;
pub use crate::key::id::KEY_ID_CHARS_MAX;
pub use crate::key::id::KeyId;
pub use crate::key::id::KeyIdError;

use crate::clock::Timestamp;
use crate::key::rules::Rules;
use crate::key::token::Digest;
use crate::key::usage::Usage;

/// One API key, checked, as the table holds it. It never changes: an edit makes a new one from its
/// [`KeyFields`]. Keys are equal when their fields are.
///
/// There may be a million of them, so it is packed: 104 bytes and one text for a usual key. With the two counts of
/// its `Arc` that is what an allocation of 128 bytes holds; a test keeps it so.
pub struct Key {
    id: KeyId,
    digest: Digest,
    /// Name, mask, description and sealed copy, one after the other.
    text: Box<str>,
    shape: Shape,
    created_at: OptionalDate,
    usage: Usage,
    rare: Option<Box<Rare>>,
}

/// How long the parts of a key's text are (the description is what is left), and the switches beside them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    sealed: u32,
    name: u16,
    mask: u8,
    switches: Switches,
}

/// Yes or no, bit by bit.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Switches(u8);

impl Switches {
    const ENABLED: u8 = 1;
    const RECORD: u8 = 1 << 1;
    const MASK: u8 = 1 << 2;
    const SEALED: u8 = 1 << 3;
    const DESCRIPTION: u8 = 1 << 4;
    const TOKEN: u8 = 1 << 5;
    const TOKEN_FILE: u8 = 1 << 6;

    const fn has(self, switch: u8) -> bool {
        self.0 & switch != 0
    }

    const fn with(self, switch: u8, on: bool) -> Self {
        if on { Self(self.0 | switch) } else { self }
    }
}

/// A date or none, in 8 bytes. The first moment of all means none.
#[derive(Clone, Copy, PartialEq, Eq)]
struct OptionalDate(i64);

impl OptionalDate {
    const NONE: Self = Self(i64::MIN);

    fn new(date: Option<Timestamp>) -> Self {
        date.map_or(Self::NONE, |date| Self(date.as_micros().max(i64::MIN + 1)))
    }

    const fn date(self) -> Option<Timestamp> {
        match self {
            Self::NONE => None,
            Self(micros) => Some(Timestamp::from_micros(micros)),
        }
    }
}

/// What most keys have not.
#[derive(PartialEq, Eq)]
struct Rare {
    not_before: OptionalDate,
    expires_at: OptionalDate,
    previous: Box<[PreviousDigest]>,
    common: Option<Arc<Common>>,
}

/// What many keys have alike, and then share.
#[derive(PartialEq, Eq, Hash)]
struct Common {
    tags: Option<Tags>,
    rules: Option<Box<Rules>>,
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
    /// The key with these fields, used by nobody yet.
    ///
    /// # Panics
    /// With a name, mask or sealed copy that no key file can have: 64 KiB, 256 bytes, 4 GiB.
    #[must_use]
    pub fn new(fields: KeyFields) -> Self {
        let mask = fields.mask.as_deref().unwrap_or_default();
        let sealed = fields.sealed.as_deref().unwrap_or_default();
        let description = fields.description.as_deref().unwrap_or_default();
        let shape = Shape {
            sealed: u32::try_from(sealed.len()).expect("a key file is smaller than 4 GiB"),
            name: u16::try_from(fields.name.len()).expect("a name has at most 100 characters"),
            mask: u8::try_from(mask.len()).expect("a mask has at most 32 characters"),
            switches: Switches(0)
                .with(Switches::ENABLED, fields.enabled)
                .with(Switches::RECORD, fields.record)
                .with(Switches::MASK, fields.mask.is_some())
                .with(Switches::SEALED, fields.sealed.is_some())
                .with(Switches::DESCRIPTION, fields.description.is_some())
                .with(Switches::TOKEN, fields.source == TokenSource::Token)
                .with(
                    Switches::TOKEN_FILE,
                    fields.source == TokenSource::TokenFile,
                ),
        };
        let whole = fields.name.len() + mask.len() + sealed.len() + description.len();
        let mut text = String::with_capacity(whole);
        for part in [&*fields.name, mask, description, sealed] {
            text.push_str(part);
        }
        Self {
            text: text.into_boxed_str(),
            shape,
            created_at: OptionalDate::new(fields.created_at),
            usage: Usage::default(),
            rare: Rare::of(
                fields.not_before,
                fields.expires_at,
                fields.previous,
                Common {
                    tags: fields.tags,
                    rules: fields.rules,
                },
            ),
            id: fields.id,
            digest: fields.digest,
        }
    }

    /// The same key, going on with the counters of `old`: an edit is no new life. Requests that still hold `old` are
    /// counted here as well.
    #[must_use]
    pub fn continuing(self, old: &Self) -> Self {
        Self {
            usage: old.usage.shared(),
            ..self
        }
    }

    /// The key taken apart, to be changed.
    #[must_use]
    pub fn to_fields(&self) -> KeyFields {
        let common = self.common();
        KeyFields {
            id: self.id.clone(),
            name: self.name().into(),
            description: self.description().map(Into::into),
            digest: self.digest,
            source: self.source(),
            sealed: self.sealed().map(Into::into),
            mask: self.mask().map(Into::into),
            enabled: self.enabled(),
            created_at: self.created_at(),
            not_before: self.not_before(),
            expires_at: self.expires_at(),
            tags: common.and_then(|common| common.tags.clone()),
            record: self.record(),
            rules: common.and_then(|common| common.rules.clone()),
            previous: self.previous().to_vec(),
        }
    }

    /// Stable; transactions carry it.
    #[must_use]
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    /// Unique, 1–100 characters, NFC.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[..self.shape.name()]
    }

    /// What the key is for, in its maker's words.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        let before = self.shape.name() + self.shape.mask();
        let behind = self.text.len() - self.shape.sealed();
        self.part(Switches::DESCRIPTION, before, behind)
    }

    /// SHA-256 of the token.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether the key file has only the digest, or the token as well.
    #[must_use]
    pub const fn source(&self) -> TokenSource {
        if self.shape.switches.has(Switches::TOKEN) {
            TokenSource::Token
        } else if self.shape.switches.has(Switches::TOKEN_FILE) {
            TokenSource::TokenFile
        } else {
            TokenSource::Digest
        }
    }

    /// The token under the secret file.
    #[must_use]
    pub fn sealed(&self) -> Option<&str> {
        let before = self.text.len() - self.shape.sealed();
        self.part(Switches::SEALED, before, self.text.len())
    }

    /// A hint at the token for lists.
    #[must_use]
    pub fn mask(&self) -> Option<&str> {
        let before = self.shape.name();
        self.part(Switches::MASK, before, before + self.shape.mask())
    }

    /// Name, mask and description without a gap, for who wants to know quickly what is in none of them.
    fn texts(&self) -> &str {
        &self.text[..self.text.len() - self.shape.sealed()]
    }

    fn part(&self, switch: u8, from: usize, to: usize) -> Option<&str> {
        self.shape
            .switches
            .has(switch)
            .then(|| &self.text[from..to])
    }

    /// Whether the key is switched on; see [`Key::state`] for whether it is in force.
    #[must_use]
    pub const fn enabled(&self) -> bool {
        self.shape.switches.has(Switches::ENABLED)
    }

    /// When the key was made.
    #[must_use]
    pub const fn created_at(&self) -> Option<Timestamp> {
        self.created_at.date()
    }

    /// Refused before.
    #[must_use]
    pub fn not_before(&self) -> Option<Timestamp> {
        self.rare.as_ref()?.not_before.date()
    }

    /// Refused from then on.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.rare.as_ref()?.expires_at.date()
    }

    /// Names and values in the order of the names; empty: none.
    #[must_use]
    pub fn tags(&self) -> &[(Box<str>, Box<str>)] {
        self.common()
            .and_then(|common| common.tags.as_deref())
            .unwrap_or_default()
    }

    /// Whether requests with this key are written to the transaction log.
    #[must_use]
    pub const fn record(&self) -> bool {
        self.shape.switches.has(Switches::RECORD)
    }

    /// What the key may do; none: everything.
    #[must_use]
    pub fn rules(&self) -> Option<&Rules> {
        self.common()?.rules.as_deref()
    }

    fn common(&self) -> Option<&Common> {
        self.rare.as_ref()?.common.as_deref()
    }

    /// Old tokens that still pass for a while after a rotation.
    #[must_use]
    pub fn previous(&self) -> &[PreviousDigest] {
        self.rare.as_ref().map_or(&[], |rare| &rare.previous)
    }

    /// How the key has been used.
    #[must_use]
    pub const fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Whether the key is in force at `now`. A switched off key is that, whatever its dates.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> KeyState {
        if !self.enabled() {
            KeyState::Disabled
        } else if self.not_before().is_some_and(|date| now < date) {
            KeyState::NotYetValid
        } else if self.expires_at().is_some_and(|date| now >= date) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let packed = |key: &Self| (key.digest, key.shape, key.created_at);
        packed(self) == packed(other)
            && self.id == other.id
            && self.text == other.text
            && self.rare == other.rare
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.to_fields()).finish()
    }
}

impl Shape {
    fn name(self) -> usize {
        usize::from(self.name)
    }

    fn mask(self) -> usize {
        usize::from(self.mask)
    }

    fn sealed(self) -> usize {
        usize::try_from(self.sealed).expect("32 bits fit")
    }
}

impl Rare {
    /// None when there is nothing to hold.
    fn of(
        not_before: Option<Timestamp>,
        expires_at: Option<Timestamp>,
        previous: Vec<PreviousDigest>,
        common: Common,
    ) -> Option<Box<Self>> {
        let bare = common.tags.is_none() && common.rules.is_none();
        if bare && not_before.is_none() && expires_at.is_none() && previous.is_empty() {
            return None;
        }
        Some(Box::new(Self {
            not_before: OptionalDate::new(not_before),
            expires_at: OptionalDate::new(expires_at),
            previous: previous.into(),
            common: (!bare).then(|| Arc::new(common)),
        }))
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
        Key::new(fields(name, token))
    }

    /// Its fields.
    pub(crate) fn fields(name: &str, token: &str) -> KeyFields {
        KeyFields::new(name, Digest::of(token.as_bytes()))
    }

    #[test]
    fn a_key_is_in_force_between_its_dates() {
        let at = Timestamp::from_micros;
        let plain = fields("a", "token-of-a");
        let bounded = KeyFields {
            not_before: Some(at(10)),
            expires_at: Some(at(20)),
            ..plain.clone()
        };
        let disabled = KeyFields {
            enabled: false,
            ..bounded.clone()
        };
        let [plain, bounded, disabled] = [plain, bounded, disabled].map(Key::new);
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

    #[test]
    fn a_usual_key_is_small() {
        assert_eq!(size_of::<KeyId>(), 16);
        assert_eq!(size_of::<Key>(), 104);
        let fields = KeyFields {
            mask: Some("kg_3fA9…x7Q2".into()),
            created_at: Some(Timestamp::from_micros(1)),
            ..fields("a", "token-of-a")
        };
        assert!(Key::new(fields).rare.is_none());
    }

    #[test]
    fn counters_go_on_after_an_edit_for_whoever_holds_the_old_key_too() {
        let time = Timestamp::from_micros(7);
        let old = key("a", "token-of-a");
        old.usage().note(time, false);
        let new = key("a", "token-of-a").continuing(&old);
        old.usage().note(time, true);
        new.usage().note(time, false);
        let newest = key("a", "other").continuing(&new);
        old.usage().note(time, false);
        for key in [old, new, newest] {
            let totals = key.usage().totals();
            assert_eq!((totals.requests, totals.refused), (4, 1));
            assert_eq!(totals.last_used_at, Some(time));
        }
    }

    fn any_date() -> impl Strategy<Value = Option<Timestamp>> {
        proptest::option::of((i64::MIN + 1..).prop_map(Timestamp::from_micros))
    }

    fn any_text() -> impl Strategy<Value = Option<Box<str>>> {
        proptest::option::of("[a…ü]{0,9}".prop_map(Into::into))
    }

    proptest! {
        #[test]
        fn a_key_taken_apart_and_put_together_is_the_same(
            name in "[a…ü]{1,9}",
            (description, sealed, mask) in (any_text(), any_text(), any_text()),
            (enabled, record) in any::<(bool, bool)>(),
            (created_at, not_before, expires_at) in (any_date(), any_date(), any_date()),
            tags in proptest::option::of(proptest::collection::vec(("[ab]", "[ab]"), 0..3)),
            source in proptest::sample::select(vec![TokenSource::Digest, TokenSource::Token, TokenSource::TokenFile]),
            (ruled, old) in any::<(bool, bool)>(),
        ) {
            let digest = Digest::of(name.as_bytes());
            let pair = |(name, value): (String, String)| (name.into(), value.into());
            let fields = KeyFields {
                description, source, sealed, mask, enabled, created_at, not_before, expires_at, record,
                tags: tags.map(|tags| tags.into_iter().map(pair).collect()),
                rules: ruled.then(|| Box::new(Rules::new(Some(vec![http::Method::GET]), None, None).unwrap())),
                previous: if old { vec![PreviousDigest { digest, expires_at: Timestamp::from_micros(1) }] } else { vec![] },
                ..KeyFields::new(&name, digest)
            };
            let key = Key::new(fields.clone());
            prop_assert_eq!(key.to_fields(), fields.clone());
            prop_assert_eq!(&key, &Key::new(fields.clone()));
            let switched = Key::new(KeyFields { enabled: !enabled, ..fields });
            prop_assert_ne!(key, switched);
        }
    }
}
