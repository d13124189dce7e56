//! Tests of printing: what is safe without quotes, and that everything printed reads back.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::document;
use crate::key::Key;
use crate::key::TokenSource;
use crate::key::rules::PathPattern;
use crate::key::rules::parse_method;
use crate::key::rules::parse_network;
use crate::key::token::Digest;
use crate::store::format::Memory;
use crate::store::format::parse;

const FORMATS: [Format; 3] = [Format::Yaml, Format::Json, Format::Ndjson];

fn key(name: &str) -> KeyFields {
    KeyFields::new(name, Digest::of(name.as_bytes()))
}

fn full(name: &str, words: &str) -> KeyFields {
    let rules = Rules::new(
        Some(vec![parse_method("GET").unwrap()]),
        Some(vec![PathPattern::parse("/v1/**").unwrap()]),
        Some(vec![
            parse_network("10.0.0.0/8").unwrap(),
            parse_network("::1").unwrap(),
        ]),
    );
    KeyFields {
        description: Some(words.into()),
        source: TokenSource::Token,
        sealed: Some("v1:bm90IHJlYWxseSBzZWFsZWQ=".into()),
        mask: Some("kg_3fA9…x7Q2".into()),
        enabled: false,
        created_at: Some(Timestamp::from_micros(1_795_420_800_000_000)),
        not_before: Some(Timestamp::from_micros(1_795_420_800_000_001)),
        expires_at: Some(Timestamp::from_micros(253_402_300_799_000_000)),
        tags: Some([(words.into(), words.into())].into()),
        record: false,
        rules: Some(Box::new(rules.unwrap())),
        previous: vec![PreviousDigest {
            // No key's name begins so, which is what their digests are made of.
            digest: Digest::of(format!("\0{words}").as_bytes()),
            expires_at: Timestamp::from_micros(0),
        }],
        ..key(name)
    }
}

fn printed_whole(format: Format, keys: &[KeyFields]) -> String {
    whole(format, keys.iter().cloned()).collect()
}

fn read(format: Format, text: &str) -> Vec<KeyFields> {
    let name = match format {
        Format::Yaml => "keys.yaml",
        Format::Json => "keys.json",
        Format::Ndjson => "keys.ndjson",
    };
    match parse(Path::new(name), text.as_bytes(), &mut Memory::default()) {
        Ok(file) => file
            .table
            .keys()
            .iter()
            .map(|key| key.to_fields())
            .collect(),
        Err(problems) => panic!("{}\n{text}", problems[0]),
    }
}

#[test]
fn an_entry_can_be_pasted_below_keys() {
    let digest = Digest::of(b"a");
    let id = key("a").id;
    assert_eq!(
        entry(Format::Yaml, &key("a")),
        format!("  - id: {id}\n    name: a\n    digest: {digest}\n    enabled: true")
    );
    for format in [Format::Json, Format::Ndjson] {
        assert_eq!(
            entry(format, &key("a")),
            format!(
                "{{\"id\": \"{id}\", \"name\": \"a\", \"digest\": \"{digest}\", \"enabled\": true}}"
            )
        );
    }
    let text = entry(Format::Yaml, &full("b", "x"));
    let below = format!("version: 1\nkeys:\n{text}\n");
    let mut expected = full("b", "x");
    expected.source = TokenSource::Digest;
    assert_eq!(read(Format::Yaml, &below), [expected]);
}

#[test]
fn a_whole_file_is_made_of_its_pieces() {
    let (a, b) = (key("a"), key("b"));
    assert_eq!(printed_whole(Format::Yaml, &[]), "version: 1\nkeys: []\n");
    assert_eq!(printed_whole(Format::Ndjson, &[]), "\n");
    assert_eq!(
        printed_whole(Format::Json, &[a.clone(), b.clone()]),
        format!(
            "{{\"version\": 1, \"keys\": [\n{},\n{}\n]}}\n",
            entry(Format::Json, &a),
            entry(Format::Json, &b)
        )
    );
    for format in FORMATS {
        for keys in [vec![], vec![a.clone()], vec![a.clone(), b.clone()]] {
            assert_eq!(read(format, &printed_whole(format, &keys)), keys);
        }
        // One key at a time, however many there are.
        let endless = (0_u64..).map(|number| key(&number.to_string()));
        assert_eq!(whole(format, endless).take(1_000).count(), 1_000);
    }
}

#[test]
fn text_is_plain_only_where_every_reader_takes_it_for_that() {
    for text in [
        "billing",
        "two words",
        "größe",
        "/v1/**",
        "sha256:ab",
        "10.0.0.0/8",
        "it's",
        "nobody",
    ] {
        assert_eq!(name(text, Style::BLOCK), text);
    }
    for text in [
        "",
        " ",
        "a ",
        " a",
        "yes",
        "No",
        "ON",
        "off",
        "y",
        "N",
        "null",
        "NULL",
        "~",
        "true",
        "1",
        "1_000",
        "0x1F",
        "+1",
        "-1",
        ".5",
        ".inf",
        "1e9",
        "190:20:30",
        "2026-11-23",
        "=",
        "<<",
        "a: b",
        "a:",
        "a #b",
        "#a",
        "- a",
        "-",
        "? a",
        "[a",
        "{a",
        "a, b",
        "a]",
        "\"a",
        "'a",
        "`a",
        "@a",
        "%a",
        "!a",
        "&a",
        "*a",
        "|",
        ">",
        "---",
        "...",
        "a\tb",
        "::1",
        "\u{e9}\u{301}",
    ] {
        assert!(name(text, Style::BLOCK).starts_with('"'), "{text:?}");
    }
    let flow = Style {
        flow: true,
        ..Style::BLOCK
    };
    assert_eq!(name("sha256:ab", flow), "\"sha256:ab\"");
    assert_eq!(
        name("\n\u{1}\u{85}\u{2028}\u{feff}\u{202e}\"\\é😀", flow),
        "\"\\n\\u0001\\u0085\\u2028\\ufeff\\u202e\\\"\\\\é😀\""
    );
}

proptest! {
    #[test]
    fn everything_printed_reads_back(words in any::<String>(), more in "[ -~\n\t\u{80}-\u{ff}…😀]{0,90}") {
        for words in [&words, &more] {
            let keys = [full("a", words), key("b")];
            let mut expected = keys.to_vec();
            expected[0].source = TokenSource::Digest;
            for format in FORMATS {
                prop_assert_eq!(&read(format, &printed_whole(format, &keys)), &expected);
            }
            let (node, malformed) = document::yaml(words);
            // A word that YAML takes for itself is printed plain at most.
            if name(words, Style::BLOCK) == **words {
                prop_assert_eq!(malformed, Vec::new());
                prop_assert_eq!(node.map(|node| node.value), Some(Value::Plain(words.as_str().into())));
            }
        }
    }
}

#[test]
fn keys_are_the_same_in_every_format() {
    let fields = full("a", "x");
    let expected = Key::new(KeyFields {
        source: TokenSource::Digest,
        ..fields.clone()
    });
    for format in FORMATS {
        let read = read(
            format,
            &printed_whole(format, std::slice::from_ref(&fields)),
        );
        assert_eq!(Key::new(read[0].clone()), expected, "{format:?}");
    }
}
