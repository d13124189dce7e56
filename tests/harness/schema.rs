//! As much of JSON Schema as the repository's schemas use. A keyword that this file does not know is a
//! failure, so that a schema never promises more than is checked.

use std::fs;

use serde_json::Value;

/// Every record must be as the published schema says.
#[track_caller]
pub(crate) fn check_schema<'a>(records: impl IntoIterator<Item = &'a Value>) {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/config/transaction.schema.json"
    );
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for record in records {
        assert_eq!(
            violations(&schema, record),
            Vec::<String>::new(),
            "{record}"
        );
    }
}

/// Every way in which `value` breaks `schema`; empty if it is valid.
pub(crate) fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "$", &mut found);
    found
}

/// Keywords that say nothing about validity (`format` is an annotation).
const ANNOTATIONS: [&str; 11] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "title",
    "description",
    "examples",
    "default",
    "format",
    "deprecated",
    "$anchor",
];

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let rules = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return found.push(format!("{at}: not allowed")),
        Value::Object(rules) => rules,
        _ => {
            return found.push(format!(
                "{at}: the schema is neither an object nor a boolean"
            ));
        }
    };
    for (keyword, rule) in rules {
        if let Some(broken) = check_rule(root, (keyword, rule), rules, value, at, found) {
            found.push(format!("{at}: {broken}: {value}"));
        }
    }
}

fn check_rule(
    root: &Value,
    (keyword, rule): (&str, &Value),
    rules: &serde_json::Map<String, Value>,
    value: &Value,
    at: &str,
    found: &mut Vec<String>,
) -> Option<String> {
    let text_length = value.as_str().map(|text| text.chars().count() as f64);
    let bound = || rule.as_f64().unwrap_or(f64::NAN);
    let holds = match keyword {
        "type" => match rule {
            Value::Array(types) => types.iter().any(|name| has_type(value, name)),
            name => has_type(value, name),
        },
        "const" => value == rule,
        "enum" => rule.as_array().is_some_and(|all| all.contains(value)),
        "minimum" => value.as_f64().is_none_or(|number| number >= bound()),
        "maximum" => value.as_f64().is_none_or(|number| number <= bound()),
        "minLength" => text_length.is_none_or(|length| length >= bound()),
        "maxLength" => text_length.is_none_or(|length| length <= bound()),
        "pattern" => value
            .as_str()
            .is_none_or(|text| matches_pattern(rule.as_str().unwrap_or_default(), text)),
        "required" => {
            let missing = rule.as_array().into_iter().flatten().find(|name| {
                value
                    .as_object()
                    .is_some_and(|object| !object.contains_key(name.as_str().unwrap_or_default()))
            });
            if let Some(name) = missing {
                return Some(format!("{name} is missing"));
            }
            true
        }
        "properties" => {
            for (name, schema) in rule.as_object().into_iter().flatten() {
                if let Some(inner) = value.get(name) {
                    check(root, schema, inner, &format!("{at}.{name}"), found);
                }
            }
            true
        }
        "additionalProperties" => {
            let known = rules.get("properties").and_then(Value::as_object);
            for (name, inner) in value.as_object().into_iter().flatten() {
                if known.is_none_or(|known| !known.contains_key(name)) {
                    check(root, rule, inner, &format!("{at}.{name}"), found);
                }
            }
            true
        }
        "items" => {
            for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
                check(root, rule, inner, &format!("{at}[{index}]"), found);
            }
            true
        }
        "anyOf" => rule
            .as_array()
            .is_some_and(|all| all.iter().any(|one| is_valid(root, one, value, at))),
        "oneOf" => rule.as_array().is_some_and(|all| {
            all.iter()
                .filter(|one| is_valid(root, one, value, at))
                .count()
                == 1
        }),
        "allOf" => rule
            .as_array()
            .is_some_and(|all| all.iter().all(|one| is_valid(root, one, value, at))),
        "not" => !is_valid(root, rule, value, at),
        "if" => {
            let branch = if is_valid(root, rule, value, at) {
                "then"
            } else {
                "else"
            };
            rules
                .get(branch)
                .is_none_or(|schema| is_valid(root, schema, value, at))
        }
        "then" | "else" => true,
        "$ref" => {
            let target = rule
                .as_str()
                .and_then(|name| root.pointer(name.strip_prefix('#')?));
            target.is_some_and(|schema| is_valid(root, schema, value, at))
        }
        other => ANNOTATIONS.contains(&other),
    };
    (!holds).then(|| format!("breaks {keyword} {rule}"))
}

fn is_valid(root: &Value, schema: &Value, value: &Value, at: &str) -> bool {
    let mut found = Vec::new();
    check(root, schema, value, at, &mut found);
    found.is_empty()
}

fn has_type(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        _ => false,
    }
}

/// Patterns of the kind `^[0-9a-f]{8}$`: classes, escapes `\d` and `\.`, `{n}`, `{n,m}`, `+`, `*`, `?`.
/// Anything else is a failure.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let Some(inner) = pattern
        .strip_prefix('^')
        .and_then(|rest| rest.strip_suffix('$'))
    else {
        return false;
    };
    match_here(
        &inner.chars().collect::<Vec<_>>(),
        &text.chars().collect::<Vec<_>>(),
    )
}

fn match_here(pattern: &[char], text: &[char]) -> bool {
    let Some(length) = atom_length(pattern) else {
        return pattern.is_empty() && text.is_empty();
    };
    let (atom, rest) = pattern.split_at(length);
    let (least, most, rest) = repetition(rest);
    let mut count = 0;
    while count < most && count < text.len() && atom_matches(atom, text[count]) {
        count += 1;
    }
    (least..=count)
        .rev()
        .any(|taken| match_here(rest, &text[taken..]))
}

fn atom_length(pattern: &[char]) -> Option<usize> {
    match pattern.first()? {
        '[' => pattern.iter().position(|c| *c == ']').map(|end| end + 1),
        '\\' => Some(2.min(pattern.len())),
        _ => Some(1),
    }
}

fn repetition(rest: &[char]) -> (usize, usize, &[char]) {
    match rest.first() {
        Some('+') => (1, usize::MAX, &rest[1..]),
        Some('*') => (0, usize::MAX, &rest[1..]),
        Some('?') => (0, 1, &rest[1..]),
        Some('{') => {
            let end = rest
                .iter()
                .position(|c| *c == '}')
                .expect("a closed repetition");
            let inside: String = rest[1..end].iter().collect();
            let (least, most) = inside.split_once(',').unwrap_or((&inside, &inside));
            let most = if most.is_empty() {
                usize::MAX
            } else {
                most.parse().expect("a number")
            };
            (least.parse().expect("a number"), most, &rest[end + 1..])
        }
        _ => (1, 1, rest),
    }
}

fn atom_matches(atom: &[char], c: char) -> bool {
    match atom {
        ['\\', 'd'] => c.is_ascii_digit(),
        ['\\', literal] => c == *literal,
        ['.'] => true,
        ['[', class @ .., ']'] => {
            let (negated, class) = match class {
                ['^', rest @ ..] => (true, rest),
                all => (false, all),
            };
            let mut at = 0;
            let mut inside = false;
            while at < class.len() {
                if at + 2 < class.len() && class[at + 1] == '-' {
                    inside |= (class[at]..=class[at + 2]).contains(&c);
                    at += 3;
                } else {
                    inside |= class[at] == c;
                    at += 1;
                }
            }
            inside != negated
        }
        [literal] => *literal == c,
        _ => false,
    }
}

#[test]
fn a_schema_refuses_what_it_does_not_allow() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"type": "string", "pattern": "^[0-9a-f]{2,3}-\\d+$"}, "b": {"enum": [1, null]}},
    });
    for (name, value, valid) in [
        (
            "all there",
            serde_json::json!({"a": "0f-12", "b": null}),
            true,
        ),
        (
            "only what is required",
            serde_json::json!({"a": "0ff-1"}),
            true,
        ),
        ("a missing", serde_json::json!({"b": 1}), false),
        ("wrong type", serde_json::json!({"a": 7}), false),
        ("pattern too short", serde_json::json!({"a": "0-1"}), false),
        (
            "pattern too long",
            serde_json::json!({"a": "0fff-1"}),
            false,
        ),
        (
            "pattern with more",
            serde_json::json!({"a": "0f-1 "}),
            false,
        ),
        (
            "not in the list",
            serde_json::json!({"a": "0f-1", "b": 2}),
            false,
        ),
        (
            "unknown field",
            serde_json::json!({"a": "0f-1", "c": 2}),
            false,
        ),
    ] {
        assert_eq!(
            violations(&schema, &value).is_empty(),
            valid,
            "{name}: {:?}",
            violations(&schema, &value)
        );
    }
    let unknown = serde_json::json!({"dependentSchemas": {}});
    assert!(
        !violations(&unknown, &serde_json::json!(1)).is_empty(),
        "an unknown keyword is a failure"
    );
}
