//! Tests of edits: tables of text, edit and text, and generated files with random edits, held against the plain model.

mod generated;

use std::path::Path;

use super::*;
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::key::PreviousDigest;
use crate::key::rules::PathPattern;
use crate::key::rules::Rules;
use crate::key::rules::parse_method;
use crate::key::token::Digest;
use crate::store::edit::Taken;
use crate::store::format::Memory;
use crate::store::format::parse;

/// What a row does to a key.
type Deed<'d> = &'d dyn Fn(&mut KeyFields);

fn digest(word: &str) -> Digest {
    Digest::of(word.as_bytes())
}

/// `text` with `A` to `F` between `@`s replaced by digests.
fn filled(text: &str) -> String {
    let mut text = text.to_owned();
    for word in ["A", "B", "C", "D", "E", "F"] {
        text = text.replace(&format!("@{word}"), &digest(word).to_string());
    }
    text
}

fn table(file: &str, text: &str) -> KeyTable {
    match parse(Path::new(file), text.as_bytes(), &mut Memory::default()) {
        Ok(file) => file.table,
        Err(problems) => panic!("{}\n{text}", problems[0]),
    }
}

/// The text after the edits, which reads back as what was intended.
fn after(file: &str, text: &str, edits: &[KeyEdit]) -> String {
    let table = table(file, text);
    let bytes = edit(Path::new(file), text.as_bytes(), &table, edits)
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let new = String::from_utf8(bytes).unwrap();
    let read = self::table(file, &new);
    assert_eq!(
        read.keys(),
        intended(&table, edits).unwrap(),
        "\n{text}\n-- became\n{new}"
    );
    new
}

/// The edit that does `deed` to the key called `name`.
fn changing(file: &str, text: &str, name: &str, deed: Deed<'_>) -> KeyEdit {
    let table = table(file, text);
    let key = table.keys().iter().find(|key| key.name() == name).unwrap();
    let mut fields = key.to_fields();
    deed(&mut fields);
    KeyEdit::Change(fields)
}

fn removing(name: &str) -> KeyEdit {
    KeyEdit::Remove(KeyId::derive(name))
}

fn adding(name: &str, token: &str) -> KeyEdit {
    KeyEdit::Add(KeyFields::new(name, digest(token)))
}

/// Rows of (what it shows, before, the key called `a` afterwards, after).
fn check_changes(file: &str, rows: &[(&str, &str, Deed<'_>, &str)]) {
    for (name, before, deed, expected) in rows {
        let (before, expected) = (filled(before), filled(expected));
        let edit = changing(file, &before, "a", deed);
        let found = after(file, &before, &[edit]);
        let expected = expected.replace("@ID", KeyId::derive("a").as_str());
        assert_eq!(found, expected, "{name}:\n{found}");
    }
}

#[test]
fn only_the_fields_that_differ_are_written() {
    let disable: Deed<'_> = &|key| key.enabled = false;
    let enable: Deed<'_> = &|key| key.enabled = true;
    let describe: Deed<'_> = &|key| key.description = Some("on: 1".into());
    let forget: Deed<'_> = &|key| key.description = None;
    let rows: &[(&str, &str, Deed<'_>, &str)] = &[
        (
            "a new field comes behind the one before it in order, and an id that was derived in front",
            "# top\nversion: 1\nkeys:\n  # of a\n  - name: a  # the name\n    # the digest\n    digest: @A\n    created_at: 2026-01-01T00:00:00Z\n\n  - name: b\n    digest: @B\n",
            disable,
            "# top\nversion: 1\nkeys:\n  # of a\n  - id: @ID\n    name: a  # the name\n    # the digest\n    digest: @A\n    enabled: false\n    created_at: 2026-01-01T00:00:00Z\n\n  - name: b\n    digest: @B\n",
        ),
        (
            "a value is replaced where it stands",
            "version: 1\nkeys:\n- id: x\n  name: a\n  enabled: false   # for now\n  digest: @A\n",
            enable,
            "version: 1\nkeys:\n- id: x\n  name: a\n  enabled: true   # for now\n  digest: @A\n",
        ),
        (
            "a dash on its own line, other line ends, no last one",
            "version: 1\r\nkeys:\r\n  -\r\n      name: a\r\n      digest: @A",
            disable,
            "version: 1\r\nkeys:\r\n  -\r\n      id: @ID\r\n      name: a\r\n      digest: @A\r\n      enabled: false",
        ),
        (
            "a comment behind the dash, quoted names, a byte order mark",
            "\u{feff}keys:\n  - # mine\n    \"name\": 'a'\n    \"digest\": @A\nversion: 1",
            disable,
            "\u{feff}keys:\n  - # mine\n    \"id\": \"@ID\"\n    \"name\": 'a'\n    \"digest\": @A\n    \"enabled\": false\nversion: 1",
        ),
        (
            "an entry in brackets",
            "version: 1\nkeys:\n  - {name: a, digest: \"@A\"} # x\n",
            disable,
            "version: 1\nkeys:\n  - {id: @ID, name: a, digest: \"@A\", enabled: false} # x\n",
        ),
        (
            "brackets over several lines, with comments and a last comma",
            "version: 1\nkeys:\n  - {\n      id: x, # the id\n      name: a, # the name\n      digest: \"@A\", # the digest\n    }\n",
            disable,
            "version: 1\nkeys:\n  - {\n      id: x, # the id\n      name: a, # the name\n      digest: \"@A\", # the digest\n      enabled: false\n    }\n",
        ),
        (
            "the whole list in brackets",
            "version: 1\nkeys: [ {id: x, name: a, digest: '@A'}, {name: b, digest: '@B'} ] # all\n",
            describe,
            "version: 1\nkeys: [ {id: x, name: a, description: \"on: 1\", digest: '@A'}, {name: b, digest: '@B'} ] # all\n",
        ),
        (
            "JSON in a YAML file",
            "{\"keys\":[{\"id\":\"x\",\"name\":\"a\",\"digest\":\"@A\"}],\"version\":1}",
            disable,
            "{\"keys\":[{\"id\":\"x\",\"name\":\"a\",\"digest\":\"@A\",\"enabled\":false}],\"version\":1}",
        ),
        (
            "a block of text becomes a line, and the comment at its head stays",
            "version: 1\nkeys:\n- id: x\n  description: |  # why\n    one\n\n    # two\n  # next\n  name: a\n  digest: @A\n",
            describe,
            "version: 1\nkeys:\n- id: x\n  description: \"on: 1\"  # why\n  # next\n  name: a\n  digest: @A\n",
        ),
        (
            "text over several lines",
            "version: 1\nkeys:\n- id: x\n  description: one\n    two # why\n  name: a\n  digest: @A\n",
            describe,
            "version: 1\nkeys:\n- id: x\n  description: \"on: 1\" # why\n  name: a\n  digest: @A\n",
        ),
        (
            "a field that goes takes its lines, and nobody's comments",
            "version: 1\nkeys:\n- id: x\n  name: a\n  # what for\n  description: >+\n    one\n\n  # the digest\n  digest: @A\n",
            forget,
            "version: 1\nkeys:\n- id: x\n  name: a\n  # what for\n  # the digest\n  digest: @A\n",
        ),
        (
            "the first field goes, and the next one moves up",
            "version: 1\nkeys:\n  - description: one\n      two\n\n    id: x\n    name: a\n    digest: @A\n",
            forget,
            "version: 1\nkeys:\n  - id: x\n    name: a\n    digest: @A\n",
        ),
        (
            "the first field goes, and the comment below it stays",
            "version: 1\nkeys:\n  - description: one # one\n    # the id\n    id: x\n    name: a\n    digest: @A\n",
            forget,
            "version: 1\nkeys:\n  -  # one\n    # the id\n    id: x\n    name: a\n    digest: @A\n",
        ),
        (
            "names with a question mark",
            "version: 1\nkeys:\n  - ? id\n    : x\n    ? name\n    : a\n    ? digest\n    : @A\n",
            disable,
            "version: 1\nkeys:\n  - ? id\n    : x\n    ? name\n    : a\n    ? digest\n    : @A\n    enabled: false\n",
        ),
        (
            "a text that keeps its empty lines",
            "version: 1\nkeys:\n  - id: x\n    digest: @A\n    name: a\n    description: |+\n      one\n\n  - name: b\n    digest: @B\n",
            &|key| key.mask = Some("a…b".into()),
            "version: 1\nkeys:\n  - id: x\n    digest: @A\n    mask: a…b\n    name: a\n    description: |+\n      one\n\n  - name: b\n    digest: @B\n",
        ),
    ];
    check_changes("keys.yaml", rows);
}

#[test]
fn lists_and_maps_keep_their_style() {
    let allow: Deed<'_> = &|key| {
        let methods = vec![parse_method("GET").unwrap(), parse_method("PUT").unwrap()];
        let paths = vec![PathPattern::parse("/v1/**").unwrap()];
        key.rules = Some(Box::new(
            Rules::new(Some(methods), Some(paths), None).unwrap(),
        ));
    };
    let tags: Deed<'_> =
        &|key| key.tags = Some([("a".into(), "b".into()), ("on".into(), "no".into())].into());
    let rotate: Deed<'_> = &|key| {
        let expires_at = Timestamp::parse("2027-01-01T00:00:00Z").unwrap();
        let digest = std::mem::replace(&mut key.digest, digest("F"));
        key.previous.push(PreviousDigest { digest, expires_at });
    };
    let rows: &[(&str, &str, Deed<'_>, &str)] = &[
        (
            "new ones",
            "version: 1\nkeys:\n  - id: x\n    name: a\n    digest: @A\n",
            &|key| {
                allow(key);
                tags(key);
                rotate(key);
            },
            "version: 1\nkeys:\n  - id: x\n    name: a\n    digest: @F\n    tags: {a: b, \"on\": \"no\"}\n    allow:\n      methods: [GET, PUT]\n      paths: [/v1/**]\n    previous:\n      - digest: @A\n        expires_at: 2027-01-01T00:00:00Z\n",
        ),
        (
            "within a map, only what differs",
            "version: 1\nkeys:\n  - id: x\n    name: a\n    digest: @A\n    allow: # all\n      # which\n      methods: # these\n      - GET # one\n      networks: [10.0.0.1]\n      paths: ['/v1/**']  # where\n",
            allow,
            "version: 1\nkeys:\n  - id: x\n    name: a\n    digest: @A\n    allow: # all\n      # which\n      methods: # these\n      - GET\n      - PUT # one\n      paths: ['/v1/**']  # where\n",
        ),
        (
            "in brackets they stay in brackets",
            "version: 1\nkeys:\n  - id: x\n    name: a\n    digest: @A\n    tags: { a: b, c: d } # t\n    allow: {networks: [10.0.0.1], methods: [GET]} # a\n",
            &|key| {
                allow(key);
                tags(key);
            },
            "version: 1\nkeys:\n  - id: x\n    name: a\n    digest: @A\n    tags: { a: b, \"on\": \"no\" } # t\n    allow: {methods: [GET, PUT], paths: [/v1/**]} # a\n",
        ),
        (
            "a list of old tokens grows",
            "version: 1\nkeys:\n  - id: x\n    name: a\n    digest: @A # sum\n    previous: # old\n    - digest: @B\n      expires_at: 2026-12-24T00:00:00Z\n    record: true\n",
            rotate,
            "version: 1\nkeys:\n  - id: x\n    name: a\n    digest: @F # sum\n    previous: # old\n    - digest: @B\n      expires_at: 2026-12-24T00:00:00Z\n    - digest: @A\n      expires_at: 2027-01-01T00:00:00Z\n    record: true\n",
        ),
    ];
    check_changes("keys.yaml", rows);
}

#[test]
fn a_token_gives_way_to_its_digest() {
    let seal: Deed<'_> = &|key| {
        key.source = TokenSource::Digest;
        key.sealed = Some("v1:bm90IHJlYWxseSBzZWFsZWQ=".into());
    };
    let token = "correct-horse-battery-staple";
    let sum = digest(token);
    let rows: &[(&str, &str, Deed<'_>, &str)] = &[
        (
            "sealed",
            &format!("version: 1\nkeys:\n  - token: {token}   # mine\n    name: a\n"),
            seal,
            &format!(
                "version: 1\nkeys:\n  - id: @ID\n    digest: {sum}   # mine\n    sealed: v1:bm90IHJlYWxseSBzZWFsZWQ=\n    mask: cor…ple\n    name: a\n"
            ),
        ),
        (
            "rotated, in brackets",
            &format!("version: 1\nkeys:\n  - {{id: x, name: a, \"token\": \"{token}\"}}\n"),
            &|key| {
                key.digest = digest("F");
                key.mask = Some("new…one".into());
            },
            "version: 1\nkeys:\n  - {id: x, name: a, \"digest\": \"@F\", mask: new…one}\n",
        ),
        (
            "a change of something else leaves it alone",
            &format!("version: 1\nkeys:\n  - token: {token}   # mine\n    name: a\n    id: x\n"),
            &|key| key.enabled = false,
            &format!(
                "version: 1\nkeys:\n  - token: {token}   # mine\n    name: a\n    enabled: false\n    id: x\n"
            ),
        ),
    ];
    check_changes("keys.yaml", rows);
}

#[test]
fn json_keeps_its_layout() {
    let rows: &[(&str, &str, Deed<'_>, &str)] = &[
        (
            "over several lines",
            "{\n  \"version\": 1,\n  \"keys\": [\n    {\n      \"id\": \"x\",\n      \"name\": \"a\",\n      \"digest\": \"@A\"\n    }\n  ]\n}\n",
            &|key| {
                key.enabled = false;
                key.description = Some("é \"\n".into());
            },
            "{\n  \"version\": 1,\n  \"keys\": [\n    {\n      \"id\": \"x\",\n      \"name\": \"a\",\n      \"description\": \"é \\\"\\n\",\n      \"digest\": \"@A\",\n      \"enabled\": false\n    }\n  ]\n}\n",
        ),
        (
            "compact",
            "{\"keys\":[{\"name\":\"\\u0061\",\"enabled\":true,\"digest\":\"@A\"}],\"version\":1}",
            &|key| key.enabled = false,
            "{\"keys\":[{\"id\":\"@ID\",\"name\":\"\\u0061\",\"enabled\":false,\"digest\":\"@A\"}],\"version\":1}",
        ),
    ];
    check_changes("keys.json", rows);
}

#[test]
fn entries_come_and_go() {
    let (c, d) = (KeyId::derive("c"), KeyId::derive("d"));
    let (remove_a, remove_b) = (removing("a"), removing("b"));
    let (add_c, add_d) = (adding("c", "C"), adding("d", "D"));
    let entry = |pad: &str, id: &KeyId, name: &str, digest: &str| {
        format!(
            "{pad}- id: {id}\n{pad}  name: {name}\n{pad}  digest: @{digest}\n{pad}  enabled: true\n"
        )
    };
    let two = "version: 1\nkeys:\n  # a's\n  - name: a\n    digest: @A\n    # more of a\n  # b's\n  - name: b\n    digest: @B\n  # - name: z\n# end\n";
    let spaced = "keys:\n\n- name: a\n  digest: @A\n\n- name: b\n  digest: @B\n\n# on the version\nversion: 1\n";
    let flow =
        "version: 1\nkeys: [ {name: a, digest: '@A'},\n  {name: b, digest: '@B'} # b's\n ]\n";
    let rows: &[(&str, &str, &[&KeyEdit], &str)] = &[
        (
            "comments above an entry are somebody's and stay",
            two,
            &[&remove_a],
            "version: 1\nkeys:\n  # a's\n  # b's\n  - name: b\n    digest: @B\n  # - name: z\n# end\n",
        ),
        (
            "the last ones leave an empty list",
            two,
            &[&remove_a, &remove_b],
            "version: 1\nkeys: []\n  # a's\n  # b's\n  # - name: z\n# end\n",
        ),
        (
            "new ones stand behind the comments of the list",
            two,
            &[&add_c, &add_d],
            &two.replace(
                "# end\n",
                &(entry("  ", &c, "c", "C") + &entry("  ", &d, "d", "D") + "# end\n"),
            ),
        ),
        (
            "all are replaced",
            "version: 1\nkeys: # all\n  - name: a\n    digest: @A",
            &[&remove_a, &add_c],
            &format!(
                "version: 1\nkeys: # all\n{}",
                entry("  ", &c, "c", "C").trim_end()
            ),
        ),
        (
            "with an empty line between entries",
            spaced,
            &[&add_c],
            &spaced.replace("\n# on", &format!("\n{}\n# on", entry("", &c, "c", "C"))),
        ),
        (
            "of two empty lines, one goes",
            spaced,
            &[&remove_a],
            "keys:\n\n- name: b\n  digest: @B\n\n# on the version\nversion: 1\n",
        ),
        (
            "an empty list gets dashes",
            "version: 1\nkeys: []  # none",
            &[&add_c],
            &format!(
                "version: 1\nkeys:  # none\n{}",
                entry("  ", &c, "c", "C").trim_end()
            ),
        ),
        (
            "in brackets, with a comment that stays with its entry",
            flow,
            &[&add_c],
            &format!(
                "version: 1\nkeys: [ {{name: a, digest: '@A'}},\n  {{name: b, digest: '@B'}}, # b's\n  {{id: {c}, name: c, digest: \"@C\", enabled: true}}\n ]\n"
            ),
        ),
        (
            "the last of the brackets goes",
            flow,
            &[&remove_b],
            "version: 1\nkeys: [ {name: a, digest: '@A'} # b's\n ]\n",
        ),
        (
            "the first of the brackets goes",
            flow,
            &[&remove_a],
            "version: 1\nkeys: [ {name: b, digest: '@B'} # b's\n ]\n",
        ),
        (
            "below an entry in brackets, a new one is in brackets too",
            "version: 1\nkeys:\n- {name: a, digest: '@A'}\n...\n",
            &[&add_c],
            &format!(
                "version: 1\nkeys:\n- {{name: a, digest: '@A'}}\n- {{id: {c}, name: c, digest: \"@C\", enabled: true}}\n...\n"
            ),
        ),
    ];
    for (name, before, edits, expected) in rows {
        let edits: Vec<KeyEdit> = edits.iter().map(|edit| (*edit).clone()).collect();
        let found = after("keys.yaml", &filled(before), &edits);
        assert_eq!(found, filled(expected), "{name}:\n{found}");
        let found = after("keys.yaml", &filled(before).replace('\n', "\r\n"), &edits);
        assert_eq!(
            found,
            filled(expected).replace('\n', "\r\n"),
            "{name}, CRLF:\n{found}"
        );
    }
}

#[test]
fn what_is_added_and_removed_again_leaves_no_trace() {
    for text in [
        "version: 1\nkeys:\n  - name: a\n    digest: @A\n\n  - name: b\n    digest: @B\n\n# end\n",
        "version: 1\nkeys:\n- name: a\n  digest: @A\n- name: b\n  digest: @B",
        "version: 1\nkeys: [{name: a, digest: '@A'}, {name: b, digest: '@B'}]\n",
    ] {
        let text = filled(text);
        let longer = after("keys.yaml", &text, &[adding("c", "C")]);
        assert_eq!(after("keys.yaml", &longer, &[removing("c")]), text);
    }
}

#[test]
fn objects_of_json_come_and_go() {
    let c = KeyId::derive("c");
    let new =
        format!("{{\"id\": \"{c}\", \"name\": \"c\", \"digest\": \"@C\", \"enabled\": true}}");
    let both = [removing("a"), adding("c", "C")];
    for (before, edits, expected) in [
        (
            "{\"version\": 1, \"keys\": []}",
            &both[1..],
            format!("{{\"version\": 1, \"keys\": [\n{new}\n]}}"),
        ),
        (
            "{\"version\":1,\"keys\":[{\"name\":\"a\",\"digest\":\"@A\"}]}",
            &both[..],
            format!("{{\"version\":1,\"keys\":[\n{new}\n]}}"),
        ),
        (
            "{\"version\":1,\"keys\":[{\"name\":\"a\",\"digest\":\"@A\"}]}",
            &both[..1],
            "{\"version\":1,\"keys\":[]}".to_owned(),
        ),
        (
            "{\"version\":1,\"keys\":[\n{\"name\":\"a\",\"digest\":\"@A\"},\n{\"name\":\"b\",\"digest\":\"@B\"}\n]}",
            &both[..],
            format!(
                "{{\"version\":1,\"keys\":[\n{{\"name\":\"b\",\"digest\":\"@B\"}},\n{new}\n]}}"
            ),
        ),
    ] {
        assert_eq!(
            after("keys.json", &filled(before), edits),
            filled(&expected)
        );
    }
}

#[test]
fn lines_of_ndjson_come_and_go() {
    let two = filled("{\"name\":\"a\",\"digest\":\"@A\"}\n\n{\"name\": \"b\", \"digest\": \"@B\"}");
    assert_eq!(
        after("keys.ndjson", &two, &[removing("b")]),
        filled("{\"name\":\"a\",\"digest\":\"@A\"}\n")
    );
    let (a, c) = (KeyId::derive("a"), KeyId::derive("c"));
    let disable = changing("keys.ndjson", &two, "a", &|key| key.enabled = false);
    assert_eq!(
        after("keys.ndjson", &two, &[disable, adding("c", "C")]),
        filled(&format!(
            "{{\"id\":\"{a}\",\"name\":\"a\",\"digest\":\"@A\",\"enabled\":false}}\n\n{{\"name\": \"b\", \"digest\": \"@B\"}}\n\
             {{\"id\": \"{c}\", \"name\": \"c\", \"digest\": \"@C\", \"enabled\": true}}"
        ))
    );
    assert_eq!(
        after("keys.ndjson", &two, &[removing("a"), removing("b")]),
        "\n"
    );
}

#[test]
fn edits_that_do_not_fit_the_keys_are_refused() {
    let text = filled(
        "version: 1\nkeys:\n  - name: a\n    digest: @A\n    previous: [{digest: \"@E\", expires_at: 2026-01-01T00:00:00Z}]\n  - name: b\n    digest: @B\n",
    );
    let table = table("keys.yaml", &text);
    let change = |name: &str, deed: Deed<'_>| changing("keys.yaml", &text, name, deed);
    let refused = |edits: &[KeyEdit]| {
        let bytes = text.as_bytes();
        let error = edit(Path::new("keys.yaml"), bytes, &table, edits).unwrap_err();
        assert_eq!(
            error.to_string(),
            intended(&table, edits).unwrap_err().to_string()
        );
        error
    };
    for edits in [
        vec![removing("c")],
        vec![removing("a"), removing("a")],
        vec![removing("a"), change("a", &|_| {})],
    ] {
        assert!(
            matches!(refused(&edits), EditError::Unknown { .. }),
            "{edits:?}"
        );
    }
    let other_id = |name: &str, token: &str| {
        let mut key = KeyFields::new(name, digest(token));
        key.id = KeyId::parse("other").unwrap();
        KeyEdit::Add(key)
    };
    for (edits, expected, of) in [
        (vec![adding("a", "C")], Taken::Id, "a"),
        (vec![adding("c", "C"), adding("c", "D")], Taken::Id, "c"),
        (vec![other_id("a", "C")], Taken::Name, "a"),
        (
            vec![change("b", &|key| key.name = "a".into())],
            Taken::Name,
            "a",
        ),
        (vec![adding("c", "B")], Taken::Token, "b"),
        (vec![adding("c", "E")], Taken::Token, "a"),
        (
            vec![change("b", &|key| key.digest = digest("E"))],
            Taken::Token,
            "a",
        ),
        (vec![adding("c", "C"), adding("d", "C")], Taken::Token, "c"),
    ] {
        let error = refused(&edits);
        let EditError::Taken { what, holder } = &error else {
            panic!("{error}")
        };
        assert_eq!((*what, holder), (expected, &KeyId::derive(of)), "{edits:?}");
    }
}

#[test]
fn names_can_be_swapped_in_one_go() {
    let text = filled(
        "version: 1\nkeys:\n- {id: x, name: a, digest: '@A'}\n- {id: y, name: b, digest: '@B'}\n",
    );
    let edits = [
        changing("keys.yaml", &text, "a", &|key| key.name = "b".into()),
        changing("keys.yaml", &text, "b", &|key| key.name = "a".into()),
    ];
    let found = after("keys.yaml", &text, &edits);
    assert_eq!(
        found,
        filled(
            "version: 1\nkeys:\n- {id: x, name: b, digest: '@A'}\n- {id: y, name: a, digest: '@B'}\n"
        )
    );
}

#[test]
fn later_edits_see_earlier_ones() {
    let text = filled("version: 1\nkeys:\n- name: a\n  digest: @A\n");
    let changed = KeyFields {
        enabled: false,
        ..KeyFields::new("c", digest("C"))
    };
    let edits = [
        adding("c", "C"),
        adding("d", "D"),
        KeyEdit::Change(changed),
        KeyEdit::Remove(KeyId::derive("d")),
        removing("a"),
        adding("a", "E"),
    ];
    let found = after("keys.yaml", &text, &edits);
    let (a, c) = (KeyId::derive("a"), KeyId::derive("c"));
    assert_eq!(
        found,
        filled(&format!(
            "version: 1\nkeys:\n- id: {c}\n  name: c\n  digest: @C\n  enabled: false\n- id: {a}\n  name: a\n  digest: @E\n  enabled: true\n"
        ))
    );
}

#[test]
fn what_cannot_be_edited_is_refused_with_its_line() {
    for (text, line, what) in [
        (
            "version: 1\nkeys: a\n",
            1,
            "the list of keys cannot be found in this text",
        ),
        (
            "version: 1\nkeys: []\n",
            1,
            "this text is not the one that the keys were read from",
        ),
        (
            "version: 1\rkeys:\r  - name: a\r    digest: @A\r",
            1,
            "a line of this file ends with a carriage return alone",
        ),
        (
            "# one\nversion: 1\n? keys\n: - name: a\n    digest: @A\n",
            4,
            "this entry shares its line with something else",
        ),
    ] {
        let text = filled(text);
        let good = filled("version: 1\nkeys:\n- name: a\n  digest: @A\n");
        let read = parse(
            Path::new("keys.yaml"),
            text.as_bytes(),
            &mut Memory::default(),
        );
        let read = read.ok().filter(|read| !read.table.is_empty());
        let table = read.map_or_else(|| table("keys.yaml", &good), |read| read.table);
        let error = edit(
            Path::new("keys.yaml"),
            text.as_bytes(),
            &table,
            &[removing("a")],
        );
        let error = error.unwrap_err().to_string();
        let expected = format!("cannot edit the key file: keys.yaml:{line}: {what}\nhint: ");
        assert!(error.starts_with(&expected), "{error}");
    }
}

/// Two thousand keys more, and as many switched off, in a file of twenty thousand: this takes long if the time grows
/// with the product of the two.
#[test]
fn many_edits_of_a_large_file_are_one_pass() {
    use std::fmt::Write as _;
    let mut text = "version: 1\nkeys:\n".to_owned();
    for number in 0..20_000 {
        let sum = digest(&number.to_string());
        write!(
            text,
            "  - id: k{number}\n    name: n{number} # {number}\n    digest: {sum}\n"
        )
        .unwrap();
    }
    let table = table("keys.yaml", &text);
    let mut edits: Vec<KeyEdit> = (0..2_000)
        .map(|number| adding(&format!("added {number}"), &format!("added {number}")))
        .collect();
    for key in table.keys().iter().step_by(10) {
        let mut fields = key.to_fields();
        fields.enabled = false;
        edits.push(KeyEdit::Change(fields));
    }
    let found = after("keys.yaml", &text, &edits);
    assert_eq!(found.matches("    enabled: false\n").count(), 2_000);
    assert_eq!(found.matches(" # ").count(), 20_000);
}
