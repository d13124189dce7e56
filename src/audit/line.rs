//! An event as a line of JSON. It shows of a key what a list shows, and of a change only the fields that differ; of
//! a token only that it changed. Not for: where lines go (`file`).

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::audit::Event;
use crate::clock::Timestamp;
use crate::key::Key;
use crate::key::TokenSource;

/// More of a detail tells nobody more.
const DETAIL_BYTES_MAX: usize = 2048;

/// The fields in the order in which they are written.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    actor: Who<'a>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Who<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

/// Appends the line of `event`, with its newline.
pub(super) fn append(lines: &mut Vec<u8>, event: &Event<'_>, now: Timestamp) {
    let (kind, name) = event.actor.parts();
    let key = event.after.or(event.before);
    let (before, after) = difference(event.before, event.after);
    let line = Line {
        time: now.to_string(),
        actor: Who { kind, name },
        action: event.action.as_str(),
        client: event.client.map(|client| client.to_canonical().to_string()),
        request_id: event.request_id,
        key_id: key.map(|key| key.id().as_str()),
        key_name: key.map(Key::name),
        before,
        after,
        revision_before: event.revisions.map(|(before, _)| before.to_string()),
        revision: event.revisions.map(|(_, after)| after.to_string()),
        detail: event.detail.as_deref().map(shortened),
    };
    serde_json::to_writer(&mut *lines, &line).expect("a line is text and maps with text as names");
    lines.push(b'\n');
}

type Fields = Option<Map<String, Value>>;

/// What was and what is: everything of a key that came or went, and of one that changed what differs, `null` where it
/// has no such field.
fn difference(before: Option<&Key>, after: Option<&Key>) -> (Fields, Fields) {
    let (Some(old), Some(new)) = (before, after) else {
        return (before.map(fields), after.map(fields));
    };
    let (mut was, mut is) = (fields(old), fields(new));
    let names: BTreeSet<String> = was.keys().chain(is.keys()).cloned().collect();
    for name in names {
        if was.get(&name) == is.get(&name) {
            was.remove(&name);
            is.remove(&name);
        } else {
            was.entry(&*name).or_insert(Value::Null);
            is.entry(name).or_insert(Value::Null);
        }
    }
    if old.digest() != new.digest() {
        is.insert("token".to_owned(), json!("changed"));
    }
    let some = |fields: Map<String, Value>| (!fields.is_empty()).then_some(fields);
    (some(was), some(is))
}

/// What may be seen of a key; what it does not have is left out, so that a line stays short.
fn fields(key: &Key) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    let date = |date: Option<Timestamp>| date.map(|date| json!(date.to_string()));
    put("name", Some(json!(key.name())));
    put("description", key.description().map(|text| json!(text)));
    put("mask", key.mask().map(|text| json!(text)));
    put("enabled", Some(json!(key.enabled())));
    put("created_at", date(key.created_at()));
    put("not_before", date(key.not_before()));
    put("expires_at", date(key.expires_at()));
    let tags = || {
        let tags = key.tags().iter();
        tags.map(|(name, value)| (name.to_string(), json!(value)))
            .collect()
    };
    put(
        "tags",
        (!key.tags().is_empty()).then(|| Value::Object(tags())),
    );
    put("record", Some(json!(key.record())));
    put("allow", allow(key));
    let previous = || {
        let previous = key.previous().iter();
        previous
            .map(|old| json!({"expires_at": old.expires_at.to_string()}))
            .collect()
    };
    put(
        "previous",
        (!key.previous().is_empty()).then(|| Value::Array(previous())),
    );
    put("recoverable", Some(json!(key.sealed().is_some())));
    let written_as = match key.source() {
        TokenSource::Digest => None,
        TokenSource::Token => Some(json!("token")),
        TokenSource::TokenFile => Some(json!("token_file")),
    };
    put("written_as", written_as);
    fields
}

fn allow(key: &Key) -> Option<Value> {
    let rules = key.rules()?;
    let mut allow = Map::new();
    let mut put = |name: &str, list: Option<Vec<Value>>| {
        if let Some(list) = list {
            allow.insert(name.to_owned(), Value::Array(list));
        }
    };
    put(
        "methods",
        rules
            .methods()
            .map(|list| list.iter().map(|method| json!(method.as_str())).collect()),
    );
    put(
        "paths",
        rules
            .paths()
            .map(|list| list.iter().map(|path| json!(path.as_str())).collect()),
    );
    put(
        "networks",
        rules.networks().map(|list| {
            list.iter()
                .map(|network| json!(network.to_string()))
                .collect()
        }),
    );
    Some(Value::Object(allow))
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(DETAIL_BYTES_MAX)]
}
