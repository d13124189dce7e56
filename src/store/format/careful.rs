//! The careful way through a key file: the whole text with places, and words for everything that is wrong.
//! Some ten times slower than `quick`, which has given up by then.

use std::path::Path;

use crate::document;
use crate::document::Malformed;
use crate::document::Node;
use crate::document::Value;
use crate::key::table::Duplicate;
use crate::key::table::DuplicateField;
use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::problem::Problem;
use crate::store::format::Format;
use crate::store::format::KeyFile;
use crate::store::format::Memory;
use crate::store::format::entry::Checked;
use crate::store::format::entry::Checker;
use crate::store::format::entry::Places;
use crate::store::format::entry::index_path;
use crate::store::format::json;
use crate::store::format::split::lines;

/// The careful way: every problem, with its place.
pub(super) fn read(
    file: &Path,
    text: &str,
    revision: Revision,
    memory: &Memory,
) -> Result<KeyFile, Vec<Problem>> {
    let mut checker = Checker::new(file);
    let mut found = Vec::new();
    match Format::of(file) {
        Format::Yaml => check_file(&mut checker, document::yaml(text), &mut found),
        Format::Json => check_file(&mut checker, json::placed(text, 1), &mut found),
        Format::Ndjson => {
            for (index, piece) in lines(text).into_iter().enumerate() {
                let (node, malformed) = json::placed(piece.text, piece.line);
                note_malformed(&mut checker, malformed, &index_path(index));
                found.extend(node.and_then(|node| checker.entry(index, &node)));
            }
        }
    }
    let (mut keys, mut places, mut token_files) = (Vec::new(), Vec::new(), Vec::new());
    for checked in found {
        keys.push(memory.carry_over(checked.key));
        places.push(checked.places);
        token_files.extend(checked.token_file);
    }
    let table = match KeyTable::build(keys, revision) {
        Ok(table) => Some(table),
        Err(duplicates) => {
            // Equal names without ids make equal ids: that is one mistake.
            let same_name = |id: &Duplicate| {
                duplicates.contains(&Duplicate {
                    field: DuplicateField::Name,
                    ..*id
                })
            };
            let implied = |id: &&Duplicate| {
                id.field == DuplicateField::Id && places[id.second].id.is_none() && same_name(id)
            };
            duplicates
                .iter()
                .filter(|duplicate| !implied(duplicate))
                .for_each(|duplicate| {
                    note_duplicate(&mut checker, duplicate, &places);
                });
            None
        }
    };
    match table {
        Some(table) if checker.problems.is_empty() => Ok(KeyFile {
            table,
            token_files,
            warnings: checker.warnings,
        }),
        _ => {
            checker.problems.sort_by_key(|problem| problem.place);
            Err(checker.problems)
        }
    }
}

/// `version` and `keys`.
fn check_file(
    checker: &mut Checker<'_>,
    read: (Option<Node<'_>>, Vec<Malformed>),
    found: &mut Vec<Checked>,
) {
    let (root, malformed) = read;
    let unreadable = root.is_none() && !malformed.is_empty();
    note_malformed(checker, malformed, "");
    if unreadable {
        return;
    }
    let none = Node {
        place: None,
        value: Value::Map(Vec::new()),
    };
    let root = root.unwrap_or(none);
    let Value::Map(fields) = &root.value else {
        let hint = "the file consists of `version: 1` and a list `keys`";
        let what = format!(
            "expected a map with version and keys, found {}",
            root.kind()
        );
        return checker.note(root.place, String::new(), what, Some(hint.to_owned()));
    };
    for field in fields {
        match (&*field.name, &field.node.value) {
            ("version", Value::Plain(version)) if version == "1" => {}
            ("version", _) => {
                let hint = "this keygate reads key files with `version: 1`";
                checker.note(
                    field.node.place,
                    "version".to_owned(),
                    "expected 1".to_owned(),
                    Some(hint.to_owned()),
                );
            }
            ("keys", Value::List(entries)) => {
                for (index, entry) in entries.iter().enumerate() {
                    found.extend(checker.entry(index, entry));
                }
            }
            ("keys", _) => {
                let hint = "a file that lets no one in says so: keys: []";
                let what = format!("expected a list, found {}", field.node.kind());
                checker.note(
                    field.node.place,
                    "keys".to_owned(),
                    what,
                    Some(hint.to_owned()),
                );
            }
            _ => checker.unknown(String::new(), field, &["version", "keys"]),
        }
    }
    for (name, hint) in [
        ("version", "begin the file with `version: 1`"),
        ("keys", "a file that lets no one in says so: keys: []"),
    ] {
        if !fields.iter().any(|field| field.name == name) {
            checker.note(
                root.place,
                String::new(),
                format!("`{name}` is missing"),
                Some(hint.to_owned()),
            );
        }
    }
}

fn note_malformed(checker: &mut Checker<'_>, malformed: Vec<Malformed>, path: &str) {
    for Malformed { place, what, hint } in malformed {
        checker.note(Some(place), path.to_owned(), what, hint);
    }
}

/// Names both lines of two entries that share what must be unique.
fn note_duplicate(checker: &mut Checker<'_>, duplicate: &Duplicate, places: &[Places]) {
    let (first, second) = (&places[duplicate.first], &places[duplicate.second]);
    let (field, what, old, new, hint) = match duplicate.field {
        DuplicateField::Id => (
            "id".to_owned(),
            "id",
            first.id,
            second.id,
            "give one of them another id",
        ),
        DuplicateField::Name => (
            "name".to_owned(),
            "name",
            first.name,
            second.name,
            "give one of them another name",
        ),
        DuplicateField::Digest => (
            "digest".to_owned(),
            "token",
            first.digest,
            second.digest,
            "a token has one key: remove one of the two",
        ),
        DuplicateField::Previous(number) => (
            format!("previous[{number}]"),
            "token",
            first.digest,
            second.previous.get(number).copied().flatten(),
            "a token has one key: remove one of the two",
        ),
    };
    let old_line = old.or(first.entry).map_or(0, |place| place.line);
    let what = format!("the same {what} as the key in line {old_line}");
    let path = format!("{}.{field}", index_path(second.index));
    checker.note(new.or(second.entry), path, what, Some(hint.to_owned()));
}
