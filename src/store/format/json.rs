//! JSON as a document tree, in two speeds. [`placeless`] is what a correct file goes through; [`placed`] is
//! much slower and knows every place, for when something is to be said about the file. A property test
//! holds them together.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;

use crate::document::Entry;
use crate::document::Malformed;
use crate::document::Node;
use crate::document::Value;
use crate::document::repeated;
use crate::problem::Place;

/// Deeper nesting than any key file has is refused, since the reader recurses.
const DEPTH_MAX: usize = 32;

/// Reads `text` without places; none when it is not JSON, repeats a name, or has a number that its text
/// does not survive in.
pub(super) fn placeless(text: &str) -> Option<Node<'_>> {
    serde_json::from_str(text).ok()
}

impl<'de: 'a, 'a> Deserialize<'de> for Node<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(ValueVisitor)?;
        Ok(Self { place: None, value })
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Empty)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Plain(Cow::Borrowed(if value {
            "true"
        } else {
            "false"
        })))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Plain(value.to_string().into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Plain(value.to_string().into()))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Quoted(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Quoted(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        let mut items = Vec::with_capacity(list.size_hint().unwrap_or(0));
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut entries: Vec<Entry<'de>> = Vec::with_capacity(8);
        while let Some(Name(name)) = map.next_key()? {
            if entries.iter().any(|entry| entry.name == name) {
                return Err(A::Error::custom("a name is repeated"));
            }
            entries.push(Entry {
                place: None,
                name,
                node: map.next_value()?,
            });
        }
        Ok(Value::Map(entries))
    }
}

/// A name, borrowed where it has no escapes (serde's own `Cow` always copies).
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(ValueVisitor)? {
            Value::Quoted(name) => Ok(Self(name)),
            _ => Err(D::Error::custom("a name is text")),
        }
    }
}

/// Reads `text`, which begins in line `first_line` of its file, with places. No node: it is not JSON.
pub(super) fn placed(text: &str, first_line: u64) -> (Option<Node<'_>>, Vec<Malformed>) {
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return (None, vec![syntax_error(text, first_line, &error)]);
    }
    let mut reader = Reader {
        text,
        at: 0,
        counted: 0,
        place: Place {
            line: first_line,
            column: 1,
        },
        malformed: Vec::new(),
    };
    let root = reader.value(DEPTH_MAX);
    (root, reader.malformed)
}

fn syntax_error(text: &str, first_line: u64, error: &serde_json::Error) -> Malformed {
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or_default();
    let line = text
        .split('\n')
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let before = line
        .as_bytes()
        .get(..error.column().saturating_sub(1))
        .unwrap_or(line.as_bytes());
    let column = String::from_utf8_lossy(before).chars().count() + 1;
    Malformed {
        place: Place {
            line: first_line + u64::try_from(error.line().saturating_sub(1)).unwrap_or(0),
            column: u64::try_from(column).unwrap_or(u64::MAX),
        },
        what: format!("not readable as JSON: {what}"),
        hint: None,
    }
}

/// Walks text that is known to be JSON.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// How far lines and columns are counted: each byte once, or a file on one line would take for ever.
    counted: usize,
    /// The place of `counted`.
    place: Place,
    malformed: Vec<Malformed>,
}

impl<'a> Reader<'a> {
    /// The value that begins here. None when reading cannot go on; then something was noted.
    fn value(&mut self, depth: usize) -> Option<Node<'a>> {
        let place = self.next_place();
        if depth == 0 {
            self.refuse(place, "nested too deep");
            return None;
        }
        let value = match self.peek() {
            b'"' => Value::Quoted(self.string(place)?),
            b'[' => {
                let mut items = Vec::new();
                while self.another(b']') {
                    items.push(self.value(depth - 1)?);
                }
                Value::List(items)
            }
            b'{' => Value::Map(self.entries(depth)?),
            _ => {
                let rest = &self.text[self.at..];
                let end = rest
                    .find([',', ']', '}', ' ', '\t', '\r', '\n'])
                    .unwrap_or(rest.len());
                self.at += end;
                Value::plain(Cow::Borrowed(&rest[..end]))
            }
        };
        Some(Node {
            place: Some(place),
            value,
        })
    }

    fn entries(&mut self, depth: usize) -> Option<Vec<Entry<'a>>> {
        let mut entries: Vec<Entry<'a>> = Vec::new();
        while self.another(b'}') {
            let place = self.next_place();
            let name = self.string(place)?;
            self.next_place();
            self.at += 1; // the colon
            let node = self.value(depth - 1)?;
            if let Some(first) = entries.iter().find(|entry| entry.name == name) {
                self.malformed.push(repeated(place, &name, first.place));
            } else {
                entries.push(Entry {
                    place: Some(place),
                    name,
                    node,
                });
            }
        }
        Some(entries)
    }

    /// Steps over the opening bracket, a comma, or the closing bracket; whether there is another item.
    fn another(&mut self, close: u8) -> bool {
        self.next_place();
        let stepped_over = self.peek();
        self.at += 1;
        if stepped_over == close {
            return false;
        }
        self.next_place();
        let more = self.peek() != close;
        if !more {
            self.at += 1;
        }
        more
    }

    fn string(&mut self, place: Place) -> Option<Cow<'a, str>> {
        let start = self.at;
        let mut escaped = false;
        self.at += 1;
        while self.peek() != b'"' {
            let escape = self.peek() == b'\\';
            escaped |= escape;
            self.at += if escape { 2 } else { 1 };
        }
        self.at += 1;
        let text = &self.text[start..self.at];
        if !escaped {
            return Some(Cow::Borrowed(&text[1..text.len() - 1]));
        }
        let decoded = serde_json::from_str(text).ok().map(Cow::Owned);
        if decoded.is_none() {
            self.refuse(place, "an escape in this text stands for no character");
        }
        decoded
    }

    /// Goes to the next character that is not white space; its place.
    fn next_place(&mut self) -> Place {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
        for character in self.text[self.counted..self.at].chars() {
            if character == '\n' {
                self.place = Place {
                    line: self.place.line + 1,
                    column: 1,
                };
            } else {
                self.place.column += 1;
            }
        }
        self.counted = self.at;
        self.place
    }

    /// The byte here; 0 at the end, where known JSON has been read.
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn refuse(&mut self, place: Place, what: &str) {
        self.malformed.push(Malformed {
            place,
            what: what.to_owned(),
            hint: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The tree without its places.
    fn strip(mut node: Node<'_>) -> Node<'_> {
        node.place = None;
        node.value = match node.value {
            Value::List(items) => Value::List(items.into_iter().map(strip).collect()),
            Value::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|entry| Entry {
                        place: None,
                        node: strip(entry.node),
                        ..entry
                    })
                    .collect(),
            ),
            value => value,
        };
        node
    }

    #[test]
    fn places_are_counted_in_characters() {
        let (node, malformed) = placed("{\"é\\u00e9\": [1,\n  \"ü\", true ] }", 7);
        assert_eq!(malformed, []);
        let Value::Map(entries) = node.unwrap().value else {
            panic!("a map")
        };
        assert_eq!(entries[0].name, "éé");
        assert_eq!(entries[0].place, Some(Place { line: 7, column: 2 }));
        let Value::List(items) = &entries[0].node.value else {
            panic!("a list")
        };
        let places: Vec<_> = items
            .iter()
            .map(|item| item.place.map(|place| (place.line, place.column)))
            .collect();
        assert_eq!(places, [Some((7, 14)), Some((8, 3)), Some((8, 8))]);
    }

    #[test]
    fn what_is_malformed_is_named_with_its_place() {
        let deep = "[".repeat(40) + &"]".repeat(40);
        for (text, line, column, what) in [
            ("[1 2]", 1, 4, "not readable as JSON: expected `,` or `]`"),
            (
                "{\n \"é\": x}",
                2,
                7,
                "not readable as JSON: expected value",
            ),
            (
                "{\"a\": 1, \"a\": 2}",
                1,
                10,
                "`a` is here twice, first in line 1",
            ),
            (
                "[\"\\ud800\"]",
                1,
                2,
                "an escape in this text stands for no character",
            ),
            (&deep, 1, 33, "nested too deep"),
        ] {
            let (_, malformed) = placed(text, 1);
            assert_eq!(malformed.len(), 1, "{text:?}: {malformed:?}");
            assert_eq!(
                (malformed[0].place, &*malformed[0].what),
                (Place { line, column }, what),
                "{text:?}"
            );
            assert_eq!(
                placeless(text).is_some(),
                what == "nested too deep",
                "{text:?}"
            );
        }
    }

    /// Text that is often JSON.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<u64>().prop_map(|number| number.to_string()),
            Just("-7".to_owned()),
            Just("1.50".to_owned()),
            "[ -~é]{0,6}".prop_map(|text| serde_json::to_string(&text).unwrap()),
            Just("\"\\u00e9\\n\\/\"".to_owned()),
            Just("\"\\ud83d\\ude00\"".to_owned()),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(", "))),
                proptest::collection::vec(("[abc]{1,2}", inner), 0..4).prop_map(|entries| {
                    let entries: Vec<_> = entries
                        .iter()
                        .map(|(name, value)| format!("\n\"{name}\" : {value}"))
                        .collect();
                    format!("{{{} }}", entries.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn both_speeds_read_the_same(text in json()) {
            let (slow, malformed) = placed(&text, 1);
            if let Some(fast) = placeless(&text) {
                prop_assert_eq!(&malformed, &[]);
                prop_assert_eq!(slow.map(strip), Some(fast));
            } else {
                prop_assert!(!malformed.is_empty() || text.contains("1.50"), "{:?}", slow);
            }
        }

        #[test]
        fn any_text_gets_an_answer(text in "[{}\\[\\]\",:\\\\ué0-9truefalsn \n\t-]{0,40}") {
            let (node, malformed) = placed(&text, 1);
            prop_assert!(node.is_some() || !malformed.is_empty());
        }
    }
}
