//! Tests of the key file's text: each field and each problem, and the quick way against the careful one.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::key::Key;
use crate::key::KeyState;
use crate::key::token::Digest;
use crate::key::token::Token;

fn yaml(text: &str) -> Result<KeyFile, Vec<Problem>> {
    parse(
        Path::new("keys.yaml"),
        text.as_bytes(),
        &mut Memory::default(),
    )
}

fn messages(result: Result<KeyFile, Vec<Problem>>) -> Vec<String> {
    result
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// All that a file comes to, in a form that can be compared.
fn outcome(
    result: Result<KeyFile, Vec<Problem>>,
) -> Result<(Vec<Key>, Vec<Problem>), Vec<Problem>> {
    result.map(|file| {
        (
            file.table
                .keys()
                .iter()
                .map(|key| Key::new(key.to_fields()))
                .collect(),
            file.warnings,
        )
    })
}

const EVERYTHING: &str = include_str!("../../../config/keys.yaml");

#[test]
fn the_example_shows_every_field() {
    let file = yaml(EVERYTHING).unwrap();
    let key = &file.table.keys()[0];
    assert_eq!(key.id().as_str(), "k_7Qm2x9");
    assert_eq!(key.name(), "default");
    assert!(
        key.description().is_some()
            && key.sealed().is_some()
            && key.mask().is_some()
            && key.rules().is_some()
    );
    assert!(key.created_at().is_some() && key.not_before().is_some() && key.expires_at().is_some());
    assert_eq!(key.tags(), [("team".into(), "billing".into())]);
    assert_eq!(key.previous().len(), 1);
    let now = Timestamp::parse("2026-12-01T00:00:00Z").unwrap();
    assert_eq!(key.state(now), KeyState::Active);
    assert!(file.table.find(key.digest(), now).is_some());
    assert!(file.table.find(&key.previous()[0].digest, now).is_some());
    assert_eq!(file.warnings, []);
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../config/keys.schema.json")).unwrap();
    let known = schema["$defs"]["key"]["properties"].as_object().unwrap();
    for field in entry::FIELDS {
        assert!(
            EVERYTHING.contains(&format!("{field}:")),
            "{field} is not in the example"
        );
        assert!(known.contains_key(field), "{field} is not in the schema");
    }
    assert_eq!(known.len(), entry::FIELDS.len());
}

#[test]
fn all_formats_read_the_same() {
    let digest = Digest::of(b"test");
    let body = format!(
        r#"{{"name": "a", "digest": "{digest}", "enabled": false, "tags": {{"x": "y"}},
           "allow": {{"methods": ["GET"], "paths": ["/v1/**"], "networks": ["10.0.0.0/8"]}}}}"#
    );
    let line = body.replace('\n', " ");
    let json = format!("{{\"version\": 1, \"keys\": [{body}]}}");
    let in_yaml = format!(
        "version: 1\nkeys:\n- name: a\n  digest: {digest}\n  enabled: false\n  tags: {{x: y}}\n  \
         allow:\n    methods: [GET]\n    paths: [/v1/**]\n    networks: [10.0.0.0/8]\n"
    );
    let expected = outcome(yaml(&in_yaml)).unwrap();
    for (name, text) in [
        ("keys.json", &json),
        ("keys.ndjson", &line),
        ("keys.yml", &json),
    ] {
        let read = parse(Path::new(name), text.as_bytes(), &mut Memory::default());
        assert_eq!(outcome(read).as_ref(), Ok(&expected), "{name}");
    }
}

#[test]
fn an_empty_list_is_valid_and_an_empty_file_is_not() {
    for (name, text) in [
        ("keys.yaml", "version: 1\nkeys: []\n"),
        ("keys.json", "{\"version\": 1, \"keys\": []}"),
        ("keys.json", "\u{feff}{\"version\": 1, \"keys\": []}"),
        ("keys.ndjson", "\n"),
    ] {
        let file = parse(Path::new(name), text.as_bytes(), &mut Memory::default()).unwrap();
        assert!(file.table.is_empty(), "{name}");
    }
    for name in ["keys.yaml", "keys.json", "keys.ndjson"] {
        let found = messages(parse(Path::new(name), b"", &mut Memory::default()));
        assert!(found[0].contains("the file is empty"), "{found:?}");
    }
    for text in [
        "version: 1\n",
        "# nothing\n",
        "version: 1\nkeys:\n",
        "keys\n",
        "- name: a\n",
    ] {
        assert!(yaml(text).is_err(), "{text:?}");
    }
}

#[test]
fn problems_say_nothing_of_tokens() {
    let canary = "CANARY-kg_3fA9";
    for text in [
        format!("token: '{canary} x'"),
        format!("digest: {canary}"),
        format!("{canary}: x"),
        format!("id: '{canary}!'"),
        format!("created_at: {canary}"),
        format!("sealed: {canary}"),
        format!("enabled: {canary}"),
        format!("allow: {canary}"),
        format!("previous: [{canary}]"),
        format!("tags: [{canary}]"),
        format!("token: {canary}\n    digest: {canary}"),
    ] {
        for text in [
            format!("version: 1\nkeys:\n  - {text}\n"),
            format!("version: 1\nkeys: {canary}\n"),
            canary.to_owned(),
        ] {
            let found = messages(yaml(&text)).join("\n");
            assert!(!found.contains("CANARY"), "{found}");
        }
    }
}

#[test]
fn a_token_file_is_read_from_the_key_files_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.yaml");
    let write = |name: &str, text: &str| {
        File::create(folder.path().join(name))
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap()
    };
    let token = Token::make();
    write("secret", &format!("{}\n", token.expose()));
    let text = "version: 1\nkeys:\n  - name: a\n    token_file: secret\n";
    let mut memory = Memory::default();
    let read = parse(&file, text.as_bytes(), &mut memory).unwrap();
    assert_eq!(read.table.keys()[0].digest(), &token.digest());
    assert_eq!(read.table.keys()[0].mask(), Some(&*token.mask()));
    assert!(!read.token_files[0].has_changed());
    let other = Token::make();
    write("secret", other.expose());
    assert!(read.token_files[0].has_changed());
    let read = parse(&file, text.as_bytes(), &mut memory).unwrap();
    assert_eq!(
        read.table.keys()[0].digest(),
        &other.digest(),
        "never from memory"
    );
    write("secret", "with a space\n");
    let found = messages(parse(&file, text.as_bytes(), &mut memory));
    assert!(
        found[0].ends_with(
            "keys[0].token_file: a token has no white space, this one has some at character 5"
        ),
        "{found:?}"
    );
    write("secret", &"x".repeat(5000));
    assert!(parse(&file, text.as_bytes(), &mut memory).is_err());
}

/// Each file in `tests/cases/keys/` and all that is said about it. `UPDATE_CASES=1` writes the answers anew.
#[test]
fn every_problem_is_named_with_its_place() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/keys");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.retain(|case| {
        case.extension()
            .is_some_and(|extension| extension != "expected")
    });
    cases.sort();
    assert!(cases.len() >= 20, "the cases are gone");
    for case in cases {
        let bytes = std::fs::read(&case).unwrap();
        let name = Path::new(case.file_name().unwrap());
        let mut found = String::new();
        match parse(name, &bytes, &mut Memory::default()) {
            Ok(file) => {
                writeln!(found, "{} keys", file.table.len()).unwrap();
                file.warnings
                    .iter()
                    .for_each(|warning| writeln!(found, "warning: {warning}").unwrap());
            }
            Err(problems) => problems
                .iter()
                .for_each(|problem| writeln!(found, "{problem}").unwrap()),
        }
        let expected = case.with_file_name(format!("{}.expected", name.display()));
        if std::env::var_os("UPDATE_CASES").is_some() {
            File::create(&expected)
                .unwrap()
                .write_all(found.as_bytes())
                .unwrap();
        }
        assert_eq!(
            found,
            std::fs::read_to_string(&expected).unwrap_or_default(),
            "{}",
            case.display()
        );
    }
}

/// One entry in one of the ways that people write them; some are wrong on purpose.
fn entry_text(number: usize, style: u8, indent: usize, words: &str) -> String {
    let pad = " ".repeat(indent);
    let digest = Digest::of(format!("token {number} {}", style % 13).as_bytes());
    let quoted = serde_json::to_string(words).unwrap();
    let inner = match style % 17 {
        0 => format!("- name: key {number}\n{pad}  digest: {digest}\n"),
        1 => format!("- {{name: key {number}, digest: \"{digest}\"}}\n"),
        2 => format!(
            "-\n{pad}    name: 'key {number}'   # {words}\n{pad}    digest: \"{digest}\"\n\n"
        ),
        3 => format!(
            "- name: key {number}\n{pad}  description: |\n{pad}    {words}\n\n{pad}    - not: an entry\n{pad}  digest: {digest}\n"
        ),
        4 => format!(
            "- name: key {number}\n{pad}  description: >-\n{pad}     folded\n{pad}     # not a comment\n{pad}  digest: {digest}\n"
        ),
        5 => {
            format!("- name: key {number}\n{pad}  description: {quoted}\n{pad}  digest: {digest}\n")
        }
        6 => format!(
            "- name: key {number}\n{pad}  description: \"over\n{pad}    - two lines\"\n{pad}  digest: {digest}\n"
        ),
        7 => format!(
            "- name: key {number}\n{pad}  allow:\n{pad}    methods:\n{pad}    - GET\n{pad}    - POST\n{pad}  digest: {digest}\n"
        ),
        8 => format!(
            "- name: key {number}\n# {words}\n{pad}  digest: {digest}\n{pad}# - name: out\n"
        ),
        9 => format!(
            "- digest: {digest}\n{pad}  tags: {{a: b, \"{number}\": {quoted}}}\n{pad}  name: n{number}\n"
        ),
        10 => format!("- ? name\n{pad}  : key {number}\n{pad}  ? digest\n{pad}  : {digest}\n"),
        11 => format!(
            "- name: key {number}\n{pad}  digest: {digest}\n{pad}  description: plain\n{pad}    over lines - {words}\n"
        ),
        12 => format!("- name: key {number}\n{pad}  token: weak-token-{number}\n"),
        13 => format!("- name: &x key {number}\n{pad}  digest: {digest}\n"),
        14 => format!(
            "- name: key {number}\n{pad}  description: \"odd\n{pad}- quote\"\n{pad}  digest: {digest}\n"
        ),
        15 => format!("- name: key {number}\n{pad}  nmae: {words}\n{pad}  digest: {digest}\n"),
        _ => format!("- [{words}\n{pad}- name: x]\n"),
    };
    format!("{pad}{inner}")
}

fn yaml_file() -> impl Strategy<Value = String> {
    let words = "[ a-zé:#'\"\\[\\]{},!&*|>%@`-]{0,12}";
    let good = proptest::collection::vec((0..12_u8, words), 1..6);
    let all = proptest::collection::vec((any::<u8>(), words), 0..6);
    (prop_oneof![good, all], 0..4_usize, any::<u8>()).prop_map(|(entries, indent, style)| {
        let mut text = match style % 8 {
            0 => "# ours\n\nversion: 1 # one\nkeys: # all\n".to_owned(),
            1 => "---\nversion: 1\nkeys:\n\n".to_owned(),
            2 => "keys:\n".to_owned(),
            _ => "version: 1\nkeys:\n".to_owned(),
        };
        for (number, (style, words)) in entries.iter().enumerate() {
            text.push_str(&entry_text(number, *style, indent, words));
        }
        match style % 8 {
            2 => text.push_str("version: 1\n"),
            3 => text.push_str("# end"),
            4 => text.push_str("...\n"),
            5 => text = text.replace('\n', "\r\n"),
            6 => text.push_str("---\n"),
            _ => {}
        }
        text
    })
}

/// The careful way alone.
fn only_carefully(file: &str, text: &str) -> Result<KeyFile, Vec<Problem>> {
    careful::read(
        Path::new(file),
        text,
        Revision::of(text.as_bytes()),
        &Memory::default(),
    )
}

#[test]
fn the_pieces_of_plain_files_are_used() {
    let text: String = (0..12_u8)
        .map(|style| entry_text(usize::from(style), style, 2, "words"))
        .collect();
    let text = format!("version: 1\nkeys:\n{text}");
    let mut memory = Memory::default();
    let quick = quick::read(Path::new("keys.yaml"), &text, &memory).expect("a plain file");
    assert_eq!(quick.keys.len(), 12);
    let table = memory.table(quick.keys, Revision::of(b"")).unwrap();
    memory.learn(&quick.texts, &table);
    let pieces = split::split(&text).expect("a plain file");
    assert_eq!(memory.recall(&pieces).missing().count(), 0);
}

/// Whatever way the file is read: an edit in the middle, in a shape that only the careful way reads, and back.
#[test]
fn counters_go_on_after_every_kind_of_edit() {
    let entry =
        |name: &str, rest: &str| format!("- {{name: {name}, token: token-of-{name}{rest}}}\n");
    let whole = |first: &str| format!("version: 1\nkeys:\n{}{}", entry("a", first), entry("b", ""));
    let odd = "keys: [{name: a, token: another-token}, {name: b, token: token-of-b}]\nversion: 1\n";
    let mut memory = Memory::default();
    let texts = [
        whole(""),
        whole(", enabled: false"),
        odd.to_owned(),
        whole(""),
    ];
    for (round, text) in texts.iter().enumerate() {
        let found = parse(Path::new("keys.yaml"), text.as_bytes(), &mut memory).unwrap();
        for key in found.table.keys() {
            let totals = key.usage().totals();
            assert_eq!(
                totals.requests,
                u64::try_from(round).unwrap(),
                "{round}: {key:?}"
            );
            key.usage().note(Timestamp::from_micros(1), false);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_pieces_equal_the_whole(text in yaml_file(), edited in yaml_file()) {
        let mut memory = Memory::default();
        for text in [&text, &edited, &text] {
            let pieces = parse(Path::new("keys.yaml"), text.as_bytes(), &mut memory);
            prop_assert_eq!(outcome(pieces), outcome(only_carefully("keys.yaml", text)), "{}", text);
        }
    }

    #[test]
    fn cut_files_are_never_read_otherwise(text in yaml_file(), at in 0..400_usize) {
        let cut = text.chars().take(at).collect::<String>();
        if !cut.is_empty() {
            let pieces = parse(Path::new("keys.yaml"), cut.as_bytes(), &mut Memory::default());
            prop_assert_eq!(outcome(pieces), outcome(only_carefully("keys.yaml", &cut)), "{}", cut);
        }
    }

    #[test]
    fn json_is_read_alike_at_both_speeds(
        fields in proptest::collection::vec(
            prop_oneof![
                Just("\"name\": \"a\""), Just("\"name\": 7"), Just("\"name\": null"), Just("\"n\\u0061me\": \"b\""),
                Just("\"token\": \"correct horse\""), Just("\"token\": \"kg_some-long-random-looking-text\""),
                Just("\"token\": 1e9"), Just("\"token\": 1234567890123"), Just("\"enabled\": true"),
                Just("\"enabled\": \"true\""), Just("\"rate\": {}"), Just("\"tags\": {\"a\": \"b\"}"),
            ],
            0..4,
        ),
        version in prop_oneof![Just("1"), Just("1"), Just("1.0"), Just("\"1\""), Just("2")],
        others in prop_oneof![
            Just(""), Just(""), Just(","), Just(", 1"), Just(" , {\"name\": \"} ]\\\"\", \"token\": \"another-long-token-4f1b2b0b\"}"),
            Just("], \"keys\": ["), Just("]"), Just(" {}"),
        ],
        keys_first: bool,
    ) {
        let entry = format!("{{{}}}", fields.join(", "));
        let json = if keys_first {
            format!("{{ \"keys\" :\n[ {entry}{others} ] ,\"version\": {version}}}\n")
        } else {
            format!("{{\"version\": {version}, \"keys\": [{entry}{others}]}}")
        };
        for (name, text) in [("keys.json", &json), ("keys.ndjson", &entry)] {
            let read = parse(Path::new(name), text.as_bytes(), &mut Memory::default());
            prop_assert_eq!(outcome(read), outcome(only_carefully(name, text)), "{}", text);
        }
    }
}
