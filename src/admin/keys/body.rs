//! The bodies about keys: JSON as a tree, so that every wrong field is named at once, with its pointer. Types and
//! names are checked here, strictly (a number is no text); what values mean is checked by the rules of the key file.
//! Not for: what the document says of bodies, see `openapi`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::error::FIELD_ERRORS_MAX;
use crate::admin::error::FieldError;
use crate::document::Entry;
use crate::document::Node;
use crate::document::Value;
use crate::key::KeyFields;
use crate::problem::Problem;
use crate::problem::nearest;
use crate::store::format::check_fields;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Shape {
    /// Text.
    Text,
    /// Text, or null for none.
    OptionalText,
    /// `true` or `false`, or null for the default.
    Switch,
    /// Names with text, or null for none.
    Texts,
    /// `allow`, or null for none.
    Rules,
    /// A list of names and values; whoever reads it looks at each.
    Pairs,
}

/// The fields of a body.
pub(in crate::admin) type Shapes = &'static [(&'static str, Shape)];

/// `POST /keys`.
pub(in crate::admin) const CREATE: Shapes = &[
    ("name", Shape::Text),
    ("description", Shape::OptionalText),
    ("id", Shape::Text),
    ("token", Shape::Text),
    ("digest", Shape::Text),
    ("mask", Shape::Text),
    ("enabled", Shape::Switch),
    ("not_before", Shape::OptionalText),
    ("expires_at", Shape::OptionalText),
    ("tags", Shape::Texts),
    ("record", Shape::Switch),
    ("allow", Shape::Rules),
    ("recoverable", Shape::Switch),
];
/// `PUT /keys/{id}`: the same, but for the id.
pub(in crate::admin) const PUT: Shapes = &[
    CREATE[0], CREATE[1], CREATE[3], CREATE[4], CREATE[5], CREATE[6], CREATE[7], CREATE[8],
    CREATE[9], CREATE[10], CREATE[11], CREATE[12],
];
/// `PATCH /keys/{id}`.
pub(in crate::admin) const CHANGE: Shapes = &[
    CREATE[0], CREATE[1], CREATE[6], CREATE[7], CREATE[8], CREATE[9], CREATE[10], CREATE[11],
];
/// `POST /keys/{id}/rotate`.
pub(in crate::admin) const ROTATE: Shapes = &[
    ("overlap", Shape::Text),
    ("token", Shape::Text),
    ("digest", Shape::Text),
    ("mask", Shape::Text),
    ("recoverable", Shape::Switch),
];

/// The lists of `allow`.
const RULE_LISTS: [&str; 3] = ["methods", "paths", "networks"];

/// JSON, borrowed from its text where it stands there as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Json<'a> {
    Null,
    Switch(bool),
    Number,
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Map(Fields<'a>),
}

/// Names and values, each name once.
pub(in crate::admin) type Fields<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// Reads a body that is an object.
///
/// # Errors
/// `malformed_body` when it is no JSON, `invalid_field` when it is something else than an object.
pub(in crate::admin) fn read(body: &[u8]) -> Result<Fields<'_>, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Json::Map(fields)) => Ok(fields),
        Ok(other) => Err(ApiError::fields(vec![wrong(
            "#",
            format!("expected an object, found {}", other.kind()),
        )])),
        // The message quotes nothing of the body but names of fields.
        Err(error) => {
            let place = format!("line {}, column {}", error.line(), error.column());
            let what = match error.classify() {
                serde_json::error::Category::Data => "a name stands in one object twice",
                serde_json::error::Category::Eof => "it ends too early",
                serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
                    "it is not JSON"
                }
            };
            Err(ApiError::new(
                Code::MalformedBody,
                format!("the body cannot be read: {what}: {place}"),
            ))
        }
    }
}

/// Notes fields that are unknown, or hold another kind of thing. Null where it means "none" is taken out.
pub(in crate::admin) fn check_shapes(
    fields: &mut Fields<'_>,
    shapes: Shapes,
    errors: &mut Vec<FieldError>,
) {
    fields.retain(|(name, value)| {
        let known = shapes.iter().find(|(known, _)| known == name);
        let Some((_, shape)) = known else {
            note_unknown(name, shapes, errors);
            return false;
        };
        let before = errors.len();
        check_shape(name, value, *shape, errors);
        errors.len() == before && (*value != Json::Null)
    });
}

/// Notes and takes out fields of a patch that are unknown, also where they are null and would change nothing.
pub(in crate::admin) fn check_patch(
    patch: &mut Fields<'_>,
    shapes: Shapes,
    errors: &mut Vec<FieldError>,
) {
    patch.retain_mut(|(name, value)| {
        let Some((_, shape)) = shapes.iter().find(|(known, _)| known == name) else {
            note_unknown(name, shapes, errors);
            return false;
        };
        if let (Shape::Rules, Json::Map(lists)) = (shape, value) {
            lists.retain(|(list, _)| {
                let known = RULE_LISTS.contains(&&**list);
                if !known {
                    errors.push(unknown(&[name], list, RULE_LISTS));
                }
                known
            });
        }
        true
    });
}

fn check_shape(name: &str, value: &Json<'_>, shape: Shape, errors: &mut Vec<FieldError>) {
    let mut expected = |what: &str, value: &Json<'_>| {
        let what = format!("expected {what}, found {}", value.kind());
        errors.push(wrong(&pointer(&[name]), what));
    };
    match (shape, value) {
        (Shape::Text | Shape::OptionalText, Json::Text(_))
        | (Shape::OptionalText | Shape::Switch | Shape::Texts | Shape::Rules, Json::Null)
        | (Shape::Switch, Json::Switch(_))
        | (Shape::Pairs, Json::List(_)) => {}
        (Shape::Texts, Json::Map(tags)) => {
            for (tag, value) in tags {
                if !matches!(value, Json::Text(_)) {
                    let what = format!("expected text, found {}", value.kind());
                    errors.push(wrong(&pointer(&[name, tag]), what));
                }
            }
        }
        (Shape::Rules, Json::Map(lists)) => check_lists(name, lists, errors),
        (Shape::Text | Shape::OptionalText, _) => expected("text", value),
        (Shape::Switch, _) => expected("true or false", value),
        (Shape::Texts, _) => expected("an object of texts", value),
        (Shape::Rules, _) => expected("an object with methods, paths or networks", value),
        (Shape::Pairs, _) => expected("a list of names and values", value),
    }
}

fn check_lists(name: &str, lists: &Fields<'_>, errors: &mut Vec<FieldError>) {
    for (list, value) in lists {
        if !RULE_LISTS.contains(&&**list) {
            errors.push(unknown(&[name], list, RULE_LISTS));
            continue;
        }
        let Json::List(items) = value else {
            let what = format!("expected a list of texts, found {}", value.kind());
            errors.push(wrong(&pointer(&[name, list]), what));
            continue;
        };
        for (number, item) in items.iter().enumerate() {
            if !matches!(item, Json::Text(_)) {
                let what = format!("expected text, found {}", item.kind());
                errors.push(wrong(&pointer(&[name, list, &number.to_string()]), what));
            }
        }
    }
}

/// The key that the fields describe, by the rules of the key file.
pub(in crate::admin) fn check_key(
    fields: Fields<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<KeyFields> {
    let node = Json::Map(fields).into_node();
    match check_fields(&node) {
        Ok(fields) => Some(fields),
        Err(problems) => {
            errors.extend(problems.iter().map(told));
            None
        }
    }
}

/// A problem of an entry as one of a body.
fn told(problem: &Problem) -> FieldError {
    let missing = problem
        .what
        .strip_suffix("` is missing")
        .and_then(|what| what.strip_prefix('`'));
    let mut pointer = String::from("#");
    for step in problem.path.split(['.', '[', ']']).chain(missing) {
        if !step.is_empty() {
            pointer.push('/');
            pointer.push_str(step);
        }
    }
    let detail = match &problem.hint {
        Some(hint) => format!("{}: {hint}", problem.what),
        None => problem.what.clone(),
    };
    wrong(&pointer, detail)
}

/// Takes a field out.
pub(in crate::admin) fn take<'a>(fields: &mut Fields<'a>, name: &str) -> Option<Json<'a>> {
    let at = fields.iter().position(|(found, _)| found == name)?;
    Some(fields.swap_remove(at).1)
}

/// What `patch` makes of `target` (RFC 7396): null removes, objects merge, everything else replaces.
pub(in crate::admin) fn merge<'a>(target: &mut Fields<'a>, patch: Fields<'a>) {
    for (name, value) in patch {
        let old = take(target, &name);
        let new = match (old, value) {
            (_, Json::Null) => continue,
            (Some(Json::Map(mut old)), Json::Map(patch)) => {
                merge(&mut old, patch);
                Json::Map(old)
            }
            (_, Json::Map(patch)) => {
                let mut new = Vec::new();
                merge(&mut new, patch);
                Json::Map(new)
            }
            (_, value) => value,
        };
        target.push((name, new));
    }
}

pub(in crate::admin) fn wrong(pointer: &str, detail: impl Into<String>) -> FieldError {
    FieldError {
        pointer: pointer.to_owned(),
        detail: detail.into(),
    }
}

/// The first of them; looking for what was meant takes its time, and more than these are not told.
fn note_unknown(name: &str, shapes: Shapes, errors: &mut Vec<FieldError>) {
    if errors.len() < FIELD_ERRORS_MAX {
        errors.push(unknown(&[], name, shapes.iter().map(|(known, _)| *known)));
    }
}

fn unknown<'k>(
    above: &[&str],
    name: &str,
    known: impl IntoIterator<Item = &'k str> + Clone,
) -> FieldError {
    let detail = match nearest(name, known.clone()) {
        Some(near) => format!("unknown field: did you mean `{near}`?"),
        None => {
            let known: Vec<_> = known.into_iter().collect();
            format!("unknown field: known are {}", known.join(", "))
        }
    };
    let steps: Vec<_> = above.iter().copied().chain([shortened(name)]).collect();
    wrong(&pointer(&steps), detail)
}

/// Names of fields may be anything, also long.
fn shortened(name: &str) -> &str {
    let end = name.char_indices().nth(64).map_or(name.len(), |(at, _)| at);
    &name[..end]
}

/// A JSON pointer as a fragment (RFC 6901 §6).
pub(in crate::admin) fn pointer(steps: &[&str]) -> String {
    const ESCAPED: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'%')
        .add(b'<')
        .add(b'>')
        .add(b'[')
        .add(b'\\')
        .add(b']')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}');
    let mut pointer = String::from("#");
    for step in steps {
        let step = step.replace('~', "~0").replace('/', "~1");
        pointer.push('/');
        pointer.extend(percent_encoding::utf8_percent_encode(&step, ESCAPED));
    }
    pointer
}

impl<'a> Json<'a> {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Switch(_) => "true or false",
            Self::Number => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }

    /// As a document that somebody wrote.
    fn into_node(self) -> Node<'a> {
        let value = match self {
            Self::Null => Value::Empty,
            Self::Switch(on) => Value::Plain(if on { "true" } else { "false" }.into()),
            Self::Number => Value::Plain("a number".into()),
            Self::Text(text) => Value::Quoted(text),
            Self::List(items) => Value::List(items.into_iter().map(Self::into_node).collect()),
            Self::Map(fields) => Value::Map(
                fields
                    .into_iter()
                    .map(|(name, value)| Entry {
                        place: None,
                        name,
                        node: value.into_node(),
                    })
                    .collect(),
            ),
        };
        Node { place: None, value }
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, on: bool) -> Result<Json<'de>, E> {
        Ok(Json::Switch(on))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let mut fields: Fields<'de> = Vec::new();
        while let Some(name) = map.next_key::<Json<'de>>()? {
            let Json::Text(name) = name else {
                return Err(A::Error::custom("a name is text"));
            };
            fields.push((name, map.next_value()?));
        }
        // Sorted, since comparing each with each takes a hostile body's thousands a second.
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(A::Error::custom("a name is repeated"));
        }
        Ok(Json::Map(fields))
    }
}

#[cfg(test)]
mod tests;
