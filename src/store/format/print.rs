//! Keys as text: a key taken apart into the fields that a file has for it, one entry to paste, and a whole key
//! file, one piece at a time. A token is never among it, only digests and sealed copies. What is printed reads
//! back as the same key. Not for: how a value is spelt, which is `text`; changing a file that is there, which
//! is `edit`.

mod text;

use std::borrow::Cow;

use crate::clock::Timestamp;
use crate::document::Entry;
use crate::document::Node;
use crate::document::Value;
use crate::key::KeyFields;
use crate::key::PreviousDigest;
use crate::key::rules::Rules;
use crate::store::format::Format;

pub(super) use crate::store::format::print::text::Style;
pub(super) use crate::store::format::print::text::block;
pub(super) use crate::store::format::print::text::fields_block;
pub(super) use crate::store::format::print::text::inline;
pub(super) use crate::store::format::print::text::name;

/// The entry of a key as keygate writes it, without a line end: in YAML with the indentation of a list under
/// `keys:`, in JSON and NDJSON an object on one line.
#[must_use]
pub fn entry(format: Format, key: &KeyFields) -> String {
    let fields = printed(key);
    match format {
        Format::Yaml => {
            let mut out = "  - ".to_owned();
            fields_block(&mut out, &fields, 4, "\n", Style::BLOCK);
            out
        }
        Format::Json | Format::Ndjson => inline(&Value::Map(fields), Style::JSON),
    }
}

/// A whole key file of these keys, in pieces of about one key each: written one after the other they are the
/// file, however many keys there are.
pub fn whole(
    format: Format,
    keys: impl IntoIterator<Item = KeyFields>,
) -> impl Iterator<Item = String> {
    let mut keys = keys.into_iter().peekable();
    let (head, empty, tail) = match format {
        Format::Yaml => ("version: 1\nkeys:\n", "version: 1\nkeys: []\n", ""),
        Format::Json => (
            "{\"version\": 1, \"keys\": [\n",
            "{\"version\": 1, \"keys\": []}\n",
            "]}\n",
        ),
        Format::Ndjson => ("", "\n", ""),
    };
    let (head, tail) = match keys.peek() {
        Some(_) => (head, tail),
        None => (empty, ""),
    };
    let mut tail = Some(tail.to_owned());
    let entries = std::iter::from_fn(move || match keys.next() {
        Some(key) => {
            let mut text = entry(format, &key);
            if format == Format::Json && keys.peek().is_some() {
                text.push(',');
            }
            text.push('\n');
            Some(text)
        }
        None => tail.take(),
    });
    std::iter::once(head.to_owned())
        .chain(entries)
        .filter(|piece| !piece.is_empty())
}

/// The fields of a new entry: what is so without being said is left out, but for `enabled`, the switch that
/// people look for.
pub(super) fn printed(key: &KeyFields) -> Vec<Entry<'_>> {
    let mut fields = described(key);
    fields.retain(|field| field.name != "record" || !key.record);
    fields
}

/// All that a key file can say of the key, in the order of its fields, without the token.
pub(super) fn described(key: &KeyFields) -> Vec<Entry<'_>> {
    let switch = |on| {
        Some(Value::Plain(Cow::Borrowed(if on {
            "true"
        } else {
            "false"
        })))
    };
    let fields = [
        ("id", text(Some(key.id.as_str()))),
        ("name", text(Some(&key.name))),
        ("description", text(key.description.as_deref())),
        (
            "digest",
            Some(Value::Quoted(Cow::Owned(key.digest.to_string()))),
        ),
        ("sealed", text(key.sealed.as_deref())),
        ("mask", text(key.mask.as_deref())),
        ("enabled", switch(key.enabled)),
        ("created_at", key.created_at.map(date)),
        ("not_before", key.not_before.map(date)),
        ("expires_at", key.expires_at.map(date)),
        ("tags", key.tags.as_deref().map(tags)),
        ("record", switch(key.record)),
        ("allow", key.rules.as_deref().and_then(allow)),
        ("previous", previous(key)),
    ];
    let fields = fields.into_iter();
    fields
        .filter_map(|(name, value)| value.map(|value| field(name, value)))
        .collect()
}

fn text(text: Option<&str>) -> Option<Value<'_>> {
    text.map(|text| Value::Quoted(Cow::Borrowed(text)))
}

/// A field without a place.
pub(super) fn field<'a>(name: &'a str, value: Value<'a>) -> Entry<'a> {
    Entry {
        place: None,
        name: Cow::Borrowed(name),
        node: node(value),
    }
}

const fn node(value: Value<'_>) -> Node<'_> {
    Node { place: None, value }
}

/// `2026-11-23T10:00:00Z`, with a fraction only if there is one.
fn date(date: Timestamp) -> Value<'static> {
    Value::Plain(Cow::Owned(date.to_short()))
}

fn tags(tags: &[(Box<str>, Box<str>)]) -> Value<'_> {
    Value::Map(
        tags.iter()
            .map(|(name, text)| field(name, Value::Quoted(Cow::Borrowed(text))))
            .collect(),
    )
}

/// None: everything is allowed.
fn allow(rules: &Rules) -> Option<Value<'static>> {
    let list = |texts: Vec<String>| {
        let items = texts.into_iter();
        Value::List(
            items
                .map(|text| node(Value::Quoted(Cow::Owned(text))))
                .collect(),
        )
    };
    let strings = |texts: &[_]| texts.iter().map(ToString::to_string).collect();
    let networks = rules.networks().map(|networks| {
        let networks = networks.iter();
        networks
            .map(|network| {
                // An address alone is what a person writes for a network of one.
                if network.prefix_len() == network.max_prefix_len() {
                    network.addr().to_string()
                } else {
                    network.to_string()
                }
            })
            .collect()
    });
    let fields = [
        ("methods", rules.methods().map(strings)),
        (
            "paths",
            rules
                .paths()
                .map(|paths| paths.iter().map(ToString::to_string).collect()),
        ),
        ("networks", networks),
    ];
    let fields: Vec<_> = fields
        .into_iter()
        .filter_map(|(name, texts)| texts.map(|texts| field(name, list(texts))))
        .collect();
    (!fields.is_empty()).then_some(Value::Map(fields))
}

fn previous(key: &KeyFields) -> Option<Value<'static>> {
    let item = |old: &PreviousDigest| {
        node(Value::Map(vec![
            field("digest", Value::Quoted(Cow::Owned(old.digest.to_string()))),
            field("expires_at", date(old.expires_at)),
        ]))
    };
    let items: Vec<_> = key.previous.iter().map(item).collect();
    (!items.is_empty()).then_some(Value::List(items))
}

#[cfg(test)]
mod tests;
