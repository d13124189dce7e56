//! Covers "what we build on is known": every package of the lock file has a licence that may be shipped, no
//! banned package comes in by a side door, and none is there in two versions without a reason.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Licences that ask for no more than being named.
const ALLOWED: [&str; 12] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
    "CC0-1.0",
    "0BSD",
    // Of data, not of code: the list of authorities in webpki-roots.
    "CDLA-Permissive-2.0",
];

/// Packages that must not come in, each with its reason.
const BANNED: [(&str, &str); 6] = [
    ("serde_yaml", "archived; we use serde-saphyr"),
    ("serde_yml", "unsound; we use serde-saphyr"),
    (
        "openssl",
        "a C library to ship and to patch; we use rustls where TLS is wanted",
    ),
    ("rustls-pemfile", "archived; rustls-pki-types reads PEM"),
    ("anyhow", "errors are enums that name what failed"),
    ("reqwest", "we have a client of our own"),
];

/// Packages that are there in two versions, each with the reason why that is borne.
const TOLERATED: [(&str, &str); 5] = [
    (
        "getrandom",
        "an old one behind `ring` in the resolver, the new one is ours",
    ),
    (
        "syn",
        "at build time only: derive macros on their way to syn 3",
    ),
    (
        "synstructure",
        "at build time only: derive macros, as above",
    ),
    (
        "untrusted",
        "some hundred lines; an old one behind what makes the tests' certificates",
    ),
    ("windows-sys", "not built on the systems that we ship for"),
];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let Value::Array(packages) = metadata["packages"].take() else {
        panic!("no packages")
    };
    packages
}

fn text<'a>(package: &'a Value, field: &str) -> &'a str {
    package[field].as_str().unwrap_or_default()
}

/// Whether the licence expression can be satisfied with allowed ones.
fn may_be_shipped(expression: &str) -> bool {
    // AND binds stronger than OR; brackets here only ever hold an OR of what is all allowed or not.
    let flat = expression
        .replace(['(', ')'], "")
        .replace('/', " OR ")
        .replace("  ", " ");
    let allowed = |one: &str| ALLOWED.contains(&one.trim());
    if expression.contains('(') {
        return flat
            .split(" AND ")
            .all(|part| part.split(" OR ").any(allowed));
    }
    flat.split(" OR ")
        .any(|part| part.split(" AND ").all(allowed))
}

#[test]
fn every_licence_may_be_shipped() {
    for package in packages() {
        let licence = text(&package, "license");
        assert!(
            may_be_shipped(licence),
            "{}: {licence:?}",
            text(&package, "name")
        );
    }
}

#[test]
fn no_banned_package_comes_in() {
    for package in packages() {
        let banned = BANNED
            .iter()
            .find(|(name, _)| *name == text(&package, "name"));
        assert!(banned.is_none(), "{banned:?}");
    }
}

#[test]
fn no_package_is_there_twice_without_a_reason() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        versions
            .entry(text(&package, "name").to_owned())
            .or_default()
            .insert(text(&package, "version").to_owned());
    }
    versions.retain(|_, versions| versions.len() > 1);
    let tolerated: BTreeMap<&str, &str> = TOLERATED.into();
    for (name, versions) in &versions {
        assert!(
            tolerated.contains_key(name.as_str()),
            "{name} is there in {versions:?}"
        );
    }
    for name in tolerated.keys() {
        assert!(
            versions.contains_key(*name),
            "{name} is there once only: take it off the list"
        );
    }
}

#[test]
fn all_packages_come_from_the_registry() {
    for package in packages() {
        let source = package["source"].as_str().unwrap_or("here");
        let ours = source == "here" && text(&package, "name") == "keygate";
        assert!(
            ours || source.starts_with("registry+"),
            "{}: {source}",
            text(&package, "name")
        );
    }
}

#[test]
fn licence_expressions_are_read() {
    for (expression, expected) in [
        ("MIT", true),
        ("MIT OR GPL-3.0", true),
        ("MIT/Apache-2.0", true),
        ("Apache-2.0 / MIT", true),
        ("GPL-3.0", false),
        ("MIT AND GPL-3.0", false),
        ("Apache-2.0 AND ISC", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
        ("", false),
    ] {
        assert_eq!(may_be_shipped(expression), expected, "{expression}");
    }
}
