//! What five formats come to, what is wrong with them and where, and which names and ids new keys get.

use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;

use super::plan::OnConflict;
use super::plan::Plan;
use super::plan::plan;
use super::spreadsheet::Table;
use super::*;
use crate::clock::Timestamp;
use crate::key::Key;
use crate::key::PreviousDigest;
use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::key::token::Digest;
use crate::store::edit::KeyEdit;
use crate::store::seal::SecretFile;

const ONE: &str = "canary-token-of-one";
const TWO: &str = "canary-token-of-two";

fn read(format: ImportFormat, text: &str) -> Result<Read, Vec<Problem>> {
    let mut import = Import::new(format, Path::new("keys.in"), false);
    import.push(text.as_bytes());
    import.finish()
}

/// Each problem as it is printed, without its hint.
fn problems(format: ImportFormat, text: &str) -> Vec<String> {
    let problems = read(format, text).unwrap_err();
    let lines = problems.iter().map(|problem| {
        let text = problem.to_string();
        assert!(!text.contains("canary"), "{text}");
        text.lines().next().unwrap().to_owned()
    });
    lines.collect()
}

fn table(keys: Vec<KeyFields>) -> KeyTable {
    let keys = keys.into_iter().map(|fields| Arc::new(Key::new(fields)));
    KeyTable::build(keys.collect(), Revision::of(b"")).unwrap()
}

fn fields(name: &str, token: &str) -> KeyFields {
    KeyFields::new(name, Digest::of(token.as_bytes()))
}

fn candidates(list: Vec<KeyFields>) -> Vec<Candidate> {
    let candidate = |fields| Candidate {
        fields,
        token: None,
        place: Some(Place { line: 7, column: 1 }),
        named: true,
    };
    list.into_iter().map(candidate).collect()
}

fn planned(
    list: Vec<Candidate>,
    table: &KeyTable,
    on_conflict: OnConflict,
) -> Result<Plan, Vec<Problem>> {
    let now = Timestamp::from_micros(5);
    plan(list, table, on_conflict, Path::new("keys.in"), now)
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.add
        .iter()
        .map(|(candidate, _)| &*candidate.fields.name)
        .collect()
}

#[test]
fn the_same_two_keys_come_out_of_every_format() {
    let digest = Digest::of(TWO.as_bytes());
    let rows = [
        (
            ImportFormat::Ndjson,
            format!(
                "{{\"name\":\"one\",\"token\":\"{ONE}\",\"tags\":{{\"team\":\"a\"}}}}\n\n\
                 {{\"name\":\"two\",\"digest\":\"{digest}\",\"enabled\":false}}"
            ),
        ),
        (
            ImportFormat::Json,
            format!(
                "{{\"version\":1,\"keys\":[{{\"name\":\"one\",\"token\":\"{ONE}\",\"tags\":{{\"team\":\"a\"}}}},\n\
                 {{\"name\":\"two\",\"digest\":\"{digest}\",\"enabled\":false}}]}}"
            ),
        ),
        (
            ImportFormat::Yaml,
            format!(
                "version: 1\nkeys:\n  - name: one\n    token: {ONE} # a comment\n    tags: {{team: a}}\n  \
                 - {{name: two, digest: '{digest}', enabled: false}}\n"
            ),
        ),
        (
            ImportFormat::Csv,
            format!(
                "name,token,digest,enabled,tags\r\none,{ONE},,,team=a\r\n\"two\",,{digest},FALSE,\r\n"
            ),
        ),
    ];
    for (format, text) in rows {
        for text in [text.clone(), format!("\u{feff}{text}")] {
            let read =
                read(format, &text).unwrap_or_else(|problems| panic!("{format:?}: {problems:?}"));
            let [one, two] = &read.candidates[..] else {
                panic!("{format:?}: {:?}", read.candidates);
            };
            assert_eq!(one.token.as_ref().unwrap().expose(), ONE, "{format:?}");
            assert_eq!(one.fields.digest, Digest::of(ONE.as_bytes()), "{format:?}");
            assert!(one.fields.mask.is_some(), "{format:?}");
            assert_eq!(one.fields.source, crate::key::TokenSource::Digest);
            assert_eq!(
                one.fields.tags.as_deref().unwrap()[0],
                ("team".into(), "a".into())
            );
            assert!(
                two.token.is_none() && two.fields.digest == digest && !two.fields.enabled,
                "{format:?}"
            );
            assert!(one.named && two.named);
            assert!(one.place.is_some() && two.place.is_some(), "{format:?}");
        }
    }
}

#[test]
fn a_list_is_a_token_a_line() {
    let text = format!("# old keys\n\n  {ONE}  \r\n{TWO}");
    let read = read(ImportFormat::Text, &text).unwrap();
    let tokens = read
        .candidates
        .iter()
        .map(|one| one.token.as_ref().unwrap().expose());
    assert_eq!(tokens.collect::<Vec<_>>(), [ONE, TWO]);
    assert!(read.candidates.iter().all(|one| !one.named));
    let taken = table(vec![fields("imported-2", "another-token")]);
    let plan = planned(read.candidates, &taken, OnConflict::Fail).unwrap();
    assert_eq!(names(&plan), ["imported-1", "imported-3"]);
    assert_eq!(plan.renamed, []);
    assert_eq!(plan.add[0].0.fields.id, KeyId::derive("imported-1"));
}

#[test]
fn a_table_may_have_few_columns_or_all_of_them() {
    let text = format!(
        "description;token;allow_methods;allow_paths;allow_networks;expires_at\n\
         \"a \"\"b\"\";\nc\";{ONE};\"GET; POST\";/a/**;10.0.0.0/8;2030-01-01T00:00:00Z\n"
    );
    let read = read(ImportFormat::Csv, &text).unwrap();
    let one = &read.candidates[0];
    assert_eq!(one.fields.description.as_deref(), Some("a \"b\";\nc"));
    let rules = one.fields.rules.as_deref().unwrap();
    assert_eq!(
        rules.methods().unwrap(),
        [http::Method::GET, http::Method::POST]
    );
    assert_eq!(rules.paths().unwrap()[0].as_str(), "/a/**");
    assert!(rules.networks().is_some() && one.fields.expires_at.is_some() && !one.named);
}

#[test]
fn every_problem_is_named_with_its_place_and_without_the_token() {
    for (format, text, expected) in [
        (
            ImportFormat::Text,
            "# fine\n canary token\nshort\n",
            &[
                "keys.in:2:2: a token has no white space, this one has some at character 7",
                "keys.in:3:1: a token has 8 to 512 characters, this one has 5",
            ][..],
        ),
        (
            ImportFormat::Ndjson,
            "\n{\"name\":\"a\",\"token\":\"canary\"}\n{\"name\":\"b\", \"token\":\"canary-token\", \"colour\":1}\n{]\n",
            &[
                "keys.in:2:21: keys[0].token: a token has 8 to 512 characters, this one has 6",
                "keys.in:3:38: keys[1]: unknown field `colour`",
                "keys.in:4:2: keys[2]: not readable as JSON: key must be a string",
            ],
        ),
        (
            ImportFormat::Yaml,
            "version: 2\nkeys:\n  - name: a\n    token: canary x\n  - token_file: /etc/canary\n",
            &[
                "keys.in:1:10: expected version 1",
                "keys.in:4:12: keys[0].token: a token has no white space, this one has some at character 7",
                "keys.in:5:5: keys[1].token_file: files of this machine are not read for an import",
            ],
        ),
        (
            ImportFormat::Yaml,
            "- a\n",
            &["keys.in:1:1: expected a map with version and keys, found a list"],
        ),
        (ImportFormat::Yaml, "", &["keys.in: the file is empty"]),
        (
            ImportFormat::Json,
            "{\"version\":1}",
            &["keys.in:1:1: `keys` is missing"],
        ),
        (
            ImportFormat::Csv,
            "name,tokn\n",
            &[
                "keys.in:1:1: there is no column token or digest",
                "keys.in:1:6: column 2 has an unknown name",
            ],
        ),
        (
            ImportFormat::Csv,
            "canary-token-of-one\ncanary-token-of-two\n",
            &[
                "keys.in:1:1: there is no column token or digest",
                "keys.in:1:1: column 1 has an unknown name",
            ],
        ),
        (
            ImportFormat::Csv,
            "name,token,enabled\na,canary-token,yes\nb,canary\n\"c\nd\",\"canary\"x,\ne,canary-token-5,true,\n",
            &[
                "keys.in:2:16: keys[0].enabled: expected true or false, without quotes",
                "keys.in:3:1: expected 3 cells, found 2",
                "keys.in:5:4: the quotes of a cell are not closed, or something follows them",
                "keys.in:6:1: expected 3 cells, found 4",
            ],
        ),
        (
            ImportFormat::Csv,
            "name,token\na,\"canary-token",
            &["keys.in:2:3: the quotes of a cell are not closed, or something follows them"],
        ),
    ] {
        let mut found = problems(format, text);
        found.sort();
        let mut expected: Vec<_> = expected.iter().map(|line| (*line).to_owned()).collect();
        expected.sort();
        assert_eq!(found, expected, "{format:?}: {text:?}");
    }
    let mut import = Import::new(ImportFormat::Text, Path::new("keys.in"), false);
    import.push(b"canary-token-1\n\xffcanary-token\n");
    assert_eq!(
        import.finish().unwrap_err()[0].place,
        Some(Place { line: 2, column: 1 })
    );
}

#[test]
fn reading_stops_when_it_is_the_wrong_file() {
    for format in [ImportFormat::Text, ImportFormat::Ndjson] {
        let found = problems(format, &"short\n".repeat(10_000));
        assert_eq!(found.len(), 101, "{format:?}");
        assert!(found[100].contains("stopped reading"), "{}", found[100]);
    }
}

#[test]
fn equal_names_get_numbers() {
    let there = table(vec![fields("a", "token-1-1"), fields("b-2", "token-1-2")]);
    let long = "é".repeat(100);
    let list = ["a", "b", "b", "b", "a", &long, &long];
    let list = list.iter().enumerate();
    let list = list
        .map(|(index, name)| fields(name, &format!("token-2-{index}")))
        .collect();
    let plan = planned(candidates(list), &there, OnConflict::Rename).unwrap();
    let cut = format!("{}-2", "é".repeat(98));
    assert_eq!(names(&plan), ["a-2", "b", "b-3", "b-4", "a-3", &long, &cut]);
    assert_eq!(plan.renamed.len(), 5);
    for (candidate, _) in &plan.add {
        assert!(
            plan::is_derived(&candidate.fields),
            "{:?}",
            candidate.fields
        );
        assert_eq!(candidate.fields.created_at, Some(Timestamp::from_micros(5)));
    }
}

#[test]
fn taken_names_and_ids_are_skipped_or_refused_when_that_is_asked_for() {
    let chosen = |name: &str, id: &str, token: &str| KeyFields {
        id: KeyId::parse(id).unwrap(),
        ..fields(name, token)
    };
    let there = table(vec![chosen("a", "one", "token-1-1")]);
    let list = || {
        candidates(vec![
            fields("a", "token-2-1"),
            chosen("b", "one", "token-2-2"),
            chosen("c", "two", "token-2-3"),
        ])
    };
    let skipped = planned(list(), &there, OnConflict::Skip).unwrap();
    assert_eq!((names(&skipped), skipped.taken), (vec!["c"], 2));
    assert_eq!(skipped.add[0].0.fields.id.as_str(), "two");
    let renamed = planned(list(), &there, OnConflict::Rename).unwrap();
    assert_eq!(names(&renamed), ["a-2", "b", "c"]);
    assert_eq!(renamed.add[1].0.fields.id, KeyId::derive("b"));
    let refused = planned(list(), &there, OnConflict::Fail).unwrap_err();
    let refused: Vec<_> = refused.iter().map(|problem| &*problem.what).collect();
    assert_eq!(
        refused,
        ["the name of \"a\" is taken", "the id of \"b\" is taken"]
    );
}

#[test]
fn an_id_that_a_renamed_key_took_along_is_not_given_again() {
    let mut renamed = fields("a", "token-1-1");
    renamed.name = "b".into();
    let plan = planned(
        candidates(vec![fields("a", "token-2-1")]),
        &table(vec![renamed]),
        OnConflict::Fail,
    );
    let plan = plan.unwrap();
    assert_eq!(names(&plan), ["a"]);
    assert_ne!(plan.add[0].0.fields.id, KeyId::derive("a"));
}

#[test]
fn tokens_that_have_a_key_are_left_out_and_counted() {
    let rotated = KeyFields {
        previous: vec![PreviousDigest {
            digest: Digest::of(b"token-0-0"),
            expires_at: Timestamp::from_micros(0),
        }],
        ..fields("a", "token-1-1")
    };
    let list = vec![
        fields("x", "token-1-1"),
        fields("y", "token-0-0"),
        fields("z", "token-2-1"),
        fields("zz", "token-2-1"),
    ];
    let there = table(vec![rotated.clone()]);
    let plan = planned(candidates(list), &there, OnConflict::Fail).unwrap();
    assert_eq!((names(&plan), plan.known), (vec!["z"], 3));
    let other = KeyFields {
        name: "b".into(),
        digest: Digest::of(b"token-3-3"),
        ..rotated
    };
    let problems = planned(candidates(vec![other]), &there, OnConflict::Rename).unwrap_err();
    assert_eq!(problems[0].place, Some(Place { line: 7, column: 1 }));
}

#[test]
fn tokens_are_sealed_for_the_key_that_they_end_up_with() {
    let folder = tempfile::tempdir().unwrap();
    let file = SecretFile::new(folder.path().join("secret"));
    file.make_if_absent(false).unwrap();
    let secrets = file.open().unwrap();
    let sealed_as = |name: &str, token: &str| {
        let token = Token::parse(token.to_owned()).unwrap();
        let mut fields = fields(name, token.expose());
        fields.sealed = Some(secrets.seal(&fields.id, &token));
        fields
    };
    let there = table(vec![fields("a", "token-1-1")]);
    let mut list = candidates(vec![sealed_as("a", ONE), sealed_as("b", TWO)]);
    list.extend(
        read(ImportFormat::Text, "token-of-three\n")
            .unwrap()
            .candidates,
    );
    let untouched = list[1].fields.sealed.clone();
    let plan = planned(list, &there, OnConflict::Rename).unwrap();
    for (edit, token) in plan
        .edits(Some(&secrets))
        .iter()
        .zip([ONE, TWO, "token-of-three"])
    {
        let KeyEdit::Add(fields) = edit else {
            panic!("{edit:?}");
        };
        let sealed = fields.sealed.as_deref().unwrap();
        assert_eq!(secrets.unseal(&fields.id, sealed).unwrap().expose(), token);
        assert!(*fields.name != *"b" || fields.sealed == untouched);
    }
    let list = candidates(vec![sealed_as("a", ONE)]);
    let plan = planned(list, &there, OnConflict::Rename).unwrap();
    let edits = plan.edits(None);
    assert!(
        matches!(&edits[0], KeyEdit::Add(fields) if fields.sealed.is_none()),
        "it could never open"
    );
}

#[test]
fn formats_are_known_by_name_and_by_their_first_bytes() {
    for (text, expected) in [
        ("version: 1\nkeys: []\n", ImportFormat::Yaml),
        ("# ours\n---\nkeys: []\n", ImportFormat::Yaml),
        ("{\"version\":1,\"keys\":[]}", ImportFormat::Json),
        ("{\n  \"version\": 1", ImportFormat::Json),
        (
            "\n{\"name\":\"a\",\"token\":\"canary-token\"}\n{\"name\"",
            ImportFormat::Ndjson,
        ),
        ("name,token\n", ImportFormat::Csv),
        ("\u{feff}\"token\";\"name\"\r\n", ImportFormat::Csv),
        ("token\n", ImportFormat::Csv),
        ("canary-token,x\ncanary", ImportFormat::Text),
        ("", ImportFormat::Text),
    ] {
        assert_eq!(ImportFormat::guess(text.as_bytes()), expected, "{text:?}");
    }
    assert_eq!(
        ImportFormat::of(Path::new("a/b.YML")),
        Some(ImportFormat::Yaml)
    );
    assert_eq!(ImportFormat::of(Path::new("a/b.yaml.bak")), None);
    for (name, format) in ImportFormat::ALL {
        assert_eq!(ImportFormat::parse(name), Some(format));
    }
}

/// Every field that a table has a column for.
fn any_key() -> impl Strategy<Value = KeyFields> {
    let text = "[=+@'a-zé ,;\"\n\r\t-]{1,12}";
    let words = || proptest::option::of("[a-z=+-]{1,5}");
    (
        text,
        proptest::option::of(text),
        any::<bool>(),
        words(),
        words(),
        any::<[u8; 4]>(),
    )
        .prop_map(|(name, description, enabled, tag, path, digest)| {
            let name: String = name.chars().filter(|one| !one.is_control()).collect();
            let name = plan::name(&format!("{name}x")).unwrap();
            let tag = tag.map(|tag| -> crate::key::Tags {
                [(tag.replace('=', "").into_boxed_str(), "v".into())].into()
            });
            let rules = path.map(|path| {
                let path = crate::key::rules::PathPattern::parse(&format!("/{path}")).unwrap();
                Box::new(crate::key::rules::Rules::new(None, Some(vec![path]), None).unwrap())
            });
            KeyFields {
                description: description.filter(|text| !text.is_empty()).map(Into::into),
                enabled,
                tags: tag.filter(|tags| !tags[0].0.is_empty()),
                rules,
                created_at: Some(Timestamp::from_micros(1_000_000)),
                ..KeyFields::new(&name, Digest::of(&digest))
            }
        })
}

proptest! {
    #[test]
    fn a_table_that_was_written_reads_back_as_it_was(keys in proptest::collection::vec(any_key(), 0..5)) {
        let mut bytes = Vec::new();
        let mut table = Table::new(&mut bytes, false).unwrap();
        for key in &keys {
            table.row(&Key::new(key.clone()), None).unwrap();
        }
        table.finish().unwrap();
        let mut import = Import::new(ImportFormat::Csv, Path::new("keys.in"), false);
        import.push(&bytes);
        let read: Vec<_> = import.finish().unwrap().candidates.into_iter().map(|one| one.fields).collect();
        prop_assert_eq!(read, keys);
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_arrive(
        cuts in proptest::collection::vec(0..200_usize, 0..6),
        which in 0..ImportFormat::ALL.len(),
    ) {
        let (_, format) = ImportFormat::ALL[which];
        let mut text = String::new();
        for number in 0..6 {
            match format {
                ImportFormat::Ndjson => writeln!(text, "{{\"name\":\"é{number}\",\"token\":\"token-{number}-é\"}}"),
                _ => writeln!(text, "token-{number}-é"),
            }
            .unwrap();
        }
        let mut cuts: Vec<_> = cuts.into_iter().map(|at| at.min(text.len())).collect();
        cuts.sort_unstable();
        let mut import = Import::new(format, Path::new("keys.in"), false);
        let mut from = 0;
        for at in cuts.into_iter().chain([text.len()]) {
            import.push(&text.as_bytes()[from..at]);
            from = at;
        }
        let pieces = import.finish().map(|read| read.candidates.len());
        prop_assert_eq!(pieces, read(format, &text).map(|read| read.candidates.len()));
    }

    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..60), text in "[\"',;=\n\r{}:\\[\\] a-]{0,60}") {
        for (_, format) in ImportFormat::ALL {
            for bytes in [&bytes[..], text.as_bytes(), format!("name,token\n{text}").as_bytes()] {
                let mut import = Import::new(format, Path::new("keys.in"), false);
                import.push(bytes);
                let _ = import.finish();
            }
            let _ = ImportFormat::guess(&bytes);
        }
    }
}
