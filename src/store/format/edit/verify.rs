//! Reads an edited entry back and compares it with what was wanted, field by field: the ones that were not to be
//! touched are what they were, the others what they were to become. The last word before an edit leaves the house;
//! it knows nothing of how the edit was made.

use crate::document;
use crate::document::Entry;
use crate::document::Node;
use crate::document::Value;
use crate::store::format::Format;
use crate::store::format::edit::fields::Change;
use crate::store::format::edit::fields::find;
use crate::store::format::json;

/// Whether `new` is the entry `old` after the change.
pub(super) fn is_changed(old: &str, new: &str, format: Format, change: Change<'_>) -> bool {
    match (read(old, format), read(new, format)) {
        (Some(old), Some(new)) => map_is_changed(&old, &new, change),
        _ => false,
    }
}

/// The fields of an entry.
fn read(text: &str, format: Format) -> Option<Vec<Entry<'_>>> {
    let (root, malformed) = match format {
        Format::Yaml => document::yaml(text),
        Format::Json | Format::Ndjson => json::placed(text, 1),
    };
    let mut value = root.filter(|_| malformed.is_empty())?.value;
    if let Value::List(items) = &mut value {
        let item = items.pop().filter(|_| items.is_empty())?;
        value = item.value;
    }
    match value {
        Value::Map(fields) => Some(fields),
        Value::Empty | Value::Plain(_) | Value::Quoted(_) | Value::List(_) => None,
    }
}

fn map_is_changed(old: &[Entry<'_>], new: &[Entry<'_>], change: Change<'_>) -> bool {
    let mut count = 0;
    for field in old {
        let name = change.name(&field.name);
        let (had, wanted) = (find(change.had, name), find(change.wanted, name));
        let found = find(new, name);
        let fits = match (had, wanted, found) {
            (Some(_), None, None) => continue, // it went
            (_, None, Some(found)) if had.is_none() => same(&field.node.value, found),
            (had, Some(wanted), Some(found)) if had == Some(wanted) => {
                same(&field.node.value, found)
            }
            (had, Some(wanted), Some(found)) => {
                value_is_changed(&field.node.value, found, had, wanted)
            }
            (_, None, Some(_)) | (_, _, None) => false,
        };
        if !fits {
            return false;
        }
        count += 1;
    }
    let is_there = |name: &str| old.iter().any(|field| change.name(&field.name) == name);
    for (_, field) in change.missing(is_there) {
        if !find(new, &field.name).is_some_and(|found| same(&field.node.value, found)) {
            return false;
        }
        count += 1;
    }
    count == new.len()
}

/// A map that was changed in parts keeps what was not touched in the words of the file.
fn value_is_changed(
    old: &Value<'_>,
    new: &Value<'_>,
    had: Option<&Value<'_>>,
    wanted: &Value<'_>,
) -> bool {
    match (old, new, had, wanted) {
        (Value::Map(old), Value::Map(new), Some(Value::Map(had)), Value::Map(wanted)) => {
            let change = Change {
                had,
                wanted,
                renamed: None,
            };
            map_is_changed(old, new, change)
        }
        _ => same(wanted, new),
    }
}

/// Whether two values mean the same: quotes and the order of names do not matter.
fn same(one: &Value<'_>, other: &Value<'_>) -> bool {
    match (one, other) {
        (Value::Empty, Value::Empty) => true,
        (Value::Plain(one) | Value::Quoted(one), Value::Plain(other) | Value::Quoted(other)) => {
            one == other
        }
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other): (&Node<'_>, _)| same(&one.value, &other.value))
        }
        (Value::Map(one), Value::Map(other)) => {
            one.len() == other.len()
                && one.iter().all(|field| {
                    find(other, &field.name).is_some_and(|found| same(&field.node.value, found))
                })
        }
        _ => false,
    }
}
