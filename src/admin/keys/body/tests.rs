//! Bodies: what is read, what is named when it is wrong, and how a patch merges.

use super::*;

fn fields(text: &str) -> Fields<'_> {
    read(text.as_bytes()).unwrap()
}

fn pointers(text: &str, shapes: Shapes) -> Vec<String> {
    let mut errors = Vec::new();
    check_shapes(&mut fields(text), shapes, &mut errors);
    errors.into_iter().map(|error| error.pointer).collect()
}

#[test]
fn every_field_of_another_kind_is_named_at_once() {
    let body = r#"{"name": 5, "descripton": "x", "enabled": "true", "tags": {"a/b": 1, "ok": "1"},
        "allow": {"paths": ["/a", 1], "method": [], "networks": "10.0.0.0/8"}, "expires_at": null, "id": null}"#;
    assert_eq!(
        pointers(body, CREATE),
        [
            "#/name",
            "#/descripton",
            "#/enabled",
            "#/tags/a~1b",
            "#/allow/paths/1",
            "#/allow/method",
            "#/allow/networks",
            "#/id"
        ]
    );
    assert_eq!(
        pointers(r#"{"id": "a", "token": "b"}"#, CHANGE),
        ["#/id", "#/token"]
    );
}

#[test]
fn values_follow_the_rules_of_the_key_file() {
    let digest = format!("\"sha256:{}\"", "0".repeat(64));
    let body = format!(
        r#"{{"name": "a\u0000", "digest": {digest}, "expires_at": "tomorrow", "allow": {{"paths": ["/a", "b"]}}}}"#
    );
    let mut errors = Vec::new();
    assert_eq!(check_key(fields(&body), &mut errors), None);
    let pointers: Vec<_> = errors.iter().map(|error| &*error.pointer).collect();
    assert_eq!(pointers, ["#/name", "#/expires_at", "#/allow/paths/1"]);
    errors.clear();
    assert_eq!(
        check_key(fields(&format!("{{\"digest\": {digest}}}")), &mut errors),
        None
    );
    assert_eq!(errors, [wrong("#/name", "`name` is missing")]);
}

#[test]
fn what_is_no_object_is_refused() {
    for (body, code) in [
        ("", Code::MalformedBody),
        ("{", Code::MalformedBody),
        ("{} x", Code::MalformedBody),
        ("{'a': 1}", Code::MalformedBody),
        ("{\"a\": 1, \"a\": 2}", Code::MalformedBody),
        ("\u{feff}{}", Code::MalformedBody),
        ("[]", Code::InvalidField),
        ("null", Code::InvalidField),
        ("1.5", Code::InvalidField),
    ] {
        assert_eq!(read(body.as_bytes()).unwrap_err().code, code, "{body}");
    }
    assert_eq!(
        read(b"{\"a\": \"\xff\"}").unwrap_err().code,
        Code::MalformedBody
    );
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(read(deep.as_bytes()).unwrap_err().code, Code::MalformedBody);
}

/// Sorted, since objects have no order.
fn sorted(mut fields: Fields<'_>) -> Fields<'_> {
    for (_, value) in &mut fields {
        if let Json::Map(inner) = value {
            *inner = sorted(std::mem::take(inner));
        }
    }
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields
}

#[test]
fn patches_merge_as_rfc_7396_says() {
    for (target, patch, merged) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (
            r#"{"a":{"b":"c"}}"#,
            r#"{"a":{"b":"d","c":null}}"#,
            r#"{"a":{"b":"d"}}"#,
        ),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ] {
        let mut found = fields(target);
        merge(&mut found, fields(patch));
        assert_eq!(sorted(found), sorted(fields(merged)), "{target} {patch}");
    }
}

#[test]
fn pointers_are_fragments() {
    for (step, expected) in [
        ("a/b~c", "#/a~1b~0c"),
        ("ä %", "#/%C3%A4%20%25"),
        ("", "#/"),
    ] {
        assert_eq!(pointer(&[step]), expected);
    }
}

#[test]
fn a_hostile_body_is_answered_shortly() {
    let names: Vec<_> = (0..7_000).map(|n| format!("\"{n:x}\":1")).collect();
    let text = format!("{{{}}}", names.join(","));
    let mut errors = Vec::new();
    check_shapes(&mut fields(&text), CREATE, &mut errors);
    let error = ApiError::fields(errors);
    assert_eq!(error.errors.len(), 100);
    let lists = format!(
        "{{\"name\":\"a\",\"allow\":{{\"paths\":[{}1]}}}}",
        "1,".repeat(9_000)
    );
    let mut errors = Vec::new();
    check_shapes(&mut fields(&lists), CREATE, &mut errors);
    assert_eq!(ApiError::fields(errors).errors.len(), 100);
    assert!(read(b"{\"a\":1,\"c\":2,\"b\":{\"x\":1,\"y\":2,\"x\":3}}").is_err());
}
