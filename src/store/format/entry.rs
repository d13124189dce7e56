//! One entry of the key file, from its tree to a [`Key`]: the one place that knows the fields, for all
//! formats. Every problem is noted and the walk goes on, so that a person sees them all at once.
//! Problems name fields and shapes, never what was written: a token may stand in any field by mistake.

use std::path::Path;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::is_nfc;

use crate::clock::Timestamp;
use crate::document::Entry;
use crate::document::Node;
use crate::document::Value;
use crate::key::Key;
use crate::key::KeyFields;
use crate::key::KeyId;
use crate::key::PreviousDigest;
use crate::key::Tags;
use crate::key::TokenSource;
use crate::key::rules::Rules;
use crate::key::token::Digest;
use crate::problem::Place;
use crate::problem::Problem;
use crate::problem::nearest;
use crate::store::format::scalar::date;
use crate::store::format::scalar::digest;
use crate::store::format::scalar::mask;
use crate::store::format::scalar::sealed;
use crate::store::format::token_file::TokenFile;

/// All fields of an entry.
pub(super) const FIELDS: [&str; 16] = [
    "id",
    "name",
    "description",
    "digest",
    "token",
    "token_file",
    "sealed",
    "mask",
    "enabled",
    "created_at",
    "not_before",
    "expires_at",
    "tags",
    "record",
    "allow",
    "previous",
];
/// The longest name, characters.
const NAME_CHARS_MAX: usize = 100;

/// A key, and what is known of where it came from.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) key: Key,
    pub(super) places: Places,
    pub(super) token_file: Option<TokenFile>,
}

/// Where the fields stand that must be unique.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The position of the entry in the file, where other entries may be wrong.
    pub(super) index: usize,
    pub(super) entry: Option<Place>,
    pub(super) id: Option<Place>,
    pub(super) name: Option<Place>,
    pub(super) digest: Option<Place>,
    pub(super) previous: Vec<Option<Place>>,
}

/// Checks entries of one file, and collects what is wrong.
pub(super) struct Checker<'f> {
    pub(super) file: &'f Path,
    pub(super) problems: Vec<Problem>,
    /// What works and should be better.
    pub(super) warnings: Vec<Problem>,
}

/// What is known of an entry so far.
#[derive(Default)]
pub(super) struct Draft<'n> {
    id: Option<KeyId>,
    name: Option<Box<str>>,
    description: Option<Box<str>>,
    pub(super) digest: Option<Digest>,
    /// The field that the digest comes from, even if its value is wrong.
    pub(super) secret: Option<(&'n str, Option<Place>)>,
    pub(super) token_file: Option<TokenFile>,
    sealed: Option<Box<str>>,
    pub(super) mask: Option<Box<str>>,
    enabled: Option<bool>,
    created_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    tags: Option<Tags>,
    record: Option<bool>,
    rules: Option<Box<Rules>>,
    previous: Vec<PreviousDigest>,
    pub(super) places: Places,
}

impl<'f> Checker<'f> {
    pub(super) const fn new(file: &'f Path) -> Self {
        Self {
            file,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The key of entry `index`; none if its essentials are missing. It is only to be used when no problem
    /// was noted.
    pub(super) fn entry(&mut self, index: usize, node: &Node<'_>) -> Option<Checked> {
        let Value::Map(fields) = &node.value else {
            let what = format!(
                "expected a map with a name and a digest, found {}",
                node.kind()
            );
            self.note(node.place, index_path(index), what, None);
            return None;
        };
        let mut draft = Draft {
            places: Places {
                index,
                entry: node.place,
                ..Places::default()
            },
            ..Draft::default()
        };
        for field in fields {
            self.field(
                At {
                    index,
                    field: &field.name,
                },
                field,
                &mut draft,
            );
        }
        if draft.name.is_none() && !fields.iter().any(|field| field.name == "name") {
            self.note(
                node.place,
                index_path(index),
                "`name` is missing".to_owned(),
                None,
            );
        }
        if draft.secret.is_none() {
            let hint = "write the token's digest (printf %s TOKEN | sha256sum), or the token itself as `token`";
            let what = "expected one of `digest`, `token` and `token_file`".to_owned();
            self.note(node.place, index_path(index), what, Some(hint.to_owned()));
        }
        if let (Some(from), Some(to)) = (draft.not_before, draft.expires_at)
            && from >= to
        {
            let place = fields
                .iter()
                .find(|field| field.name == "expires_at")
                .and_then(|field| field.node.place);
            self.note(
                place,
                At {
                    index,
                    field: "expires_at",
                }
                .path(),
                "expected a date after `not_before`".to_owned(),
                None,
            );
        }
        draft.finish()
    }

    /// Notes what is wrong.
    pub(super) fn note(
        &mut self,
        place: Option<Place>,
        path: String,
        what: String,
        hint: Option<String>,
    ) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            place,
            path,
            what,
            hint,
        });
    }

    fn field<'n>(&mut self, at: At<'_>, field: &'n Entry<'_>, draft: &mut Draft<'n>) {
        let node = &field.node;
        match &*field.name {
            "id" => {
                draft.places.id = node.place;
                draft.id = self.parsed(at, node, |text| {
                    KeyId::parse(text).map_err(|error| error.to_string())
                });
            }
            "name" => {
                draft.places.name = node.place;
                draft.name = self.name(at, node);
            }
            "description" => draft.description = self.text(at, node).map(Into::into),
            "digest" | "token" | "token_file" => self.secret(at, field, draft),
            "sealed" => draft.sealed = self.parsed(at, node, sealed),
            "mask" => draft.mask = self.parsed(at, node, mask),
            "enabled" => draft.enabled = self.switch(at, node),
            "record" => draft.record = self.switch(at, node),
            "created_at" => draft.created_at = self.parsed(at, node, date),
            "not_before" => draft.not_before = self.parsed(at, node, date),
            "expires_at" => draft.expires_at = self.parsed(at, node, date),
            "tags" => draft.tags = self.tags(at, node),
            "allow" => draft.rules = self.rules(at, node),
            "previous" => self.previous(at, node, draft),
            "rate" | "quota" => {
                let hint = format!(
                    "remove it: keys are not limited yet, and a `{}` that does nothing would mislead",
                    at.field
                );
                self.note(
                    field.place,
                    at.path(),
                    "not in this version of keygate".to_owned(),
                    Some(hint),
                );
            }
            _ => self.unknown(index_path(at.index), field, &FIELDS),
        }
    }

    /// A field that nobody knows. Its name is repeated only if it looks like one.
    pub(super) fn unknown(&mut self, path: String, field: &Entry<'_>, known: &[&str]) {
        let name = &*field.name;
        let is_word = name.len() <= 24
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || b"_-".contains(&byte));
        let what = if is_word {
            format!("unknown field `{name}`")
        } else {
            "unknown field".to_owned()
        };
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        self.note(field.place, path, what, Some(hint));
    }

    pub(super) fn text<'n>(&mut self, at: At<'_>, node: &'n Node<'_>) -> Option<&'n str> {
        match &node.value {
            Value::Plain(text) | Value::Quoted(text) => Some(text),
            Value::Empty | Value::List(_) | Value::Map(_) => {
                self.note(
                    node.place,
                    at.path(),
                    format!("expected text, found {}", node.kind()),
                    None,
                );
                None
            }
        }
    }

    /// Text that `parse` makes something of, or says what is wrong with it.
    pub(super) fn parsed<T>(
        &mut self,
        at: At<'_>,
        node: &Node<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(at, node)?;
        parse(text)
            .map_err(|what| self.note(node.place, at.path(), what, None))
            .ok()
    }

    fn switch(&mut self, at: At<'_>, node: &Node<'_>) -> Option<bool> {
        match &node.value {
            Value::Plain(text) if text == "true" => Some(true),
            Value::Plain(text) if text == "false" => Some(false),
            _ => {
                self.note(
                    node.place,
                    at.path(),
                    "expected true or false, without quotes".to_owned(),
                    None,
                );
                None
            }
        }
    }

    fn name(&mut self, at: At<'_>, node: &Node<'_>) -> Option<Box<str>> {
        let text = self.text(at, node)?;
        let chars = text.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&chars) {
            let what = format!("a name has 1 to {NAME_CHARS_MAX} characters, this one has {chars}");
            self.note(node.place, at.path(), what, None);
        } else if text.chars().any(char::is_control) {
            self.note(
                node.place,
                at.path(),
                "a name has no control characters".to_owned(),
                None,
            );
        } else if !is_nfc(text) {
            let normal: String = text.nfc().collect();
            let hint = format!(
                "write {normal:?} with composed characters, or two names that look the same could differ"
            );
            self.note(
                node.place,
                at.path(),
                "a name is in Unicode form NFC, this one is not".to_owned(),
                Some(hint),
            );
        } else {
            return Some(text.into());
        }
        None
    }

    fn tags(&mut self, at: At<'_>, node: &Node<'_>) -> Option<Tags> {
        let Value::Map(entries) = &node.value else {
            self.note(
                node.place,
                at.path(),
                format!("expected a map of text, found {}", node.kind()),
                None,
            );
            return None;
        };
        let mut tags: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(text) = self.text(at, &entry.node) {
                tags.push((Box::from(&*entry.name), text.into()));
            }
        }
        tags.sort_unstable();
        Some(tags.into())
    }

    fn previous(&mut self, at: At<'_>, node: &Node<'_>, draft: &mut Draft<'_>) {
        let Value::List(items) = &node.value else {
            self.note(
                node.place,
                at.path(),
                format!("expected a list, found {}", node.kind()),
                None,
            );
            return;
        };
        for (number, item) in items.iter().enumerate() {
            let field = format!("{}[{number}]", at.field);
            let at = At {
                index: at.index,
                field: &field,
            };
            let Value::Map(fields) = &item.value else {
                let what = format!(
                    "expected a map with digest and expires_at, found {}",
                    item.kind()
                );
                self.note(item.place, at.path(), what, None);
                continue;
            };
            let (mut old, mut expires_at) = (None, None);
            for field in fields {
                match &*field.name {
                    "digest" => {
                        old = self
                            .parsed(at, &field.node, digest)
                            .map(|digest| (digest, field.node.place))
                    }
                    "expires_at" => expires_at = self.parsed(at, &field.node, date),
                    _ => self.unknown(at.path(), field, &["digest", "expires_at"]),
                }
            }
            for name in ["digest", "expires_at"] {
                if !fields.iter().any(|field| field.name == name) {
                    self.note(item.place, at.path(), format!("`{name}` is missing"), None);
                }
            }
            if let (Some((digest, place)), Some(expires_at)) = (old, expires_at) {
                draft.previous.push(PreviousDigest { digest, expires_at });
                draft.places.previous.push(place);
            }
        }
    }
}

impl Draft<'_> {
    fn finish(self) -> Option<Checked> {
        let name = self.name?;
        let source = match self.secret {
            Some(("token", _)) => TokenSource::Token,
            Some(("token_file", _)) => TokenSource::TokenFile,
            Some(_) | None => TokenSource::Digest,
        };
        let key = Key::new(KeyFields {
            id: self.id.unwrap_or_else(|| KeyId::derive(&name)),
            name,
            description: self.description,
            digest: self.digest?,
            source,
            sealed: self.sealed,
            mask: self.mask,
            enabled: self.enabled.unwrap_or(true),
            created_at: self.created_at,
            not_before: self.not_before,
            expires_at: self.expires_at,
            tags: self.tags,
            record: self.record.unwrap_or(true),
            rules: self.rules,
            previous: self.previous,
        });
        Some(Checked {
            key,
            places: self.places,
            token_file: self.token_file,
        })
    }
}

/// A field of an entry; its path is spelt out only for a problem.
#[derive(Clone, Copy)]
pub(super) struct At<'p> {
    pub(super) index: usize,
    pub(super) field: &'p str,
}

impl At<'_> {
    pub(super) fn path(self) -> String {
        format!("keys[{}].{}", self.index, self.field)
    }
}

pub(super) fn index_path(index: usize) -> String {
    format!("keys[{index}]")
}
