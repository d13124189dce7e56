//! The document says what the program does: each row of the table is in it, bodies are as they are read, the
//! checked-in copy is the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::admin::keys::body;
use crate::admin::keys::body::Shapes;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/openapi.json");

#[test]
fn the_checked_in_document_is_this_one() {
    let wanted = text();
    if std::env::var_os("UPDATE_CASES").is_some() {
        rewrite(Path::new(FILE), &wanted);
    }
    let found = fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        found == wanted,
        "config/openapi.json is old: run the tests with UPDATE_CASES=1"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a golden file of the repository, not a file of a user"
)]
fn rewrite(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
}

#[test]
fn the_document_has_each_row_of_the_table_and_no_other() {
    let document = document();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            described.insert(format!("{} {path}", method.to_uppercase()));
            assert!(operation["operationId"].is_string(), "{method} {path}");
        }
    }
    let rows: BTreeSet<_> = ENDPOINTS
        .iter()
        .map(|endpoint| format!("{} {}", endpoint.method, endpoint.path))
        .collect();
    assert_eq!(described, rows);
    assert_eq!(rows.len(), ENDPOINTS.len(), "a row is there twice");
}

#[test]
fn names_of_operations_are_unique() {
    let names: BTreeSet<_> = ENDPOINTS.iter().map(|row| operation(row).id).collect();
    assert_eq!(names.len(), ENDPOINTS.len());
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    match value {
                        Value::String(text) if name == "$ref" => {
                            found.insert(text.clone());
                        }
                        _ => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn bodies_are_described_as_they_are_read() {
    let schemas = schemas();
    let rows: [(&str, Shapes); 8] = [
        ("NewKey", body::CREATE),
        ("NewKeyWithId", body::PUT),
        ("KeyPatch", body::CHANGE),
        ("Rotation", body::ROTATE),
        ("Setup", session::SETUP),
        ("Login", session::LOGIN),
        ("NewPassword", session::PASSWORD),
        ("TryRequest", try_it::wanted::TRY),
    ];
    for (name, shapes) in rows {
        let schema = &schemas[name];
        assert_eq!(schema["additionalProperties"], json!(false), "{name}");
        let described: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().collect();
        let read: BTreeSet<_> = shapes.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(described, read.iter().collect(), "{name}");
    }
}

#[test]
fn examples_of_bodies_are_accepted() {
    for (name, shapes) in [
        ("NewKey", body::CREATE),
        ("NewKeyWithId", body::PUT),
        ("Rotation", body::ROTATE),
        ("Setup", session::SETUP),
        ("Login", session::LOGIN),
        ("NewPassword", session::PASSWORD),
        ("TryRequest", try_it::wanted::TRY),
        ("KeyPatch", body::CHANGE),
    ] {
        let row = ENDPOINTS
            .iter()
            .find(|row| operation(row).body == Some(name));
        let example = operation(row.unwrap()).example.unwrap().to_string();
        let mut errors = Vec::new();
        let mut fields = body::read(example.as_bytes()).unwrap();
        body::check_shapes(&mut fields, shapes, &mut errors);
        assert_eq!(errors, [], "{name}");
    }
}

#[test]
fn a_view_is_described_as_it_is_written() {
    let key = crate::key::Key::new(crate::key::tests::fields("a", "token-of-a"));
    let view =
        crate::admin::keys::view::view(&key, crate::clock::Timestamp::from_micros(0), [0; 24]);
    let written = serde_json::to_value(&view).unwrap();
    let schema = &schemas()["Key"];
    let names: BTreeSet<_> = written.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        schema["properties"].as_object().unwrap().keys().collect()
    );
    let required = schema["required"].as_array().unwrap().len();
    assert_eq!(required, names.len(), "a view leaves nothing out");
}
