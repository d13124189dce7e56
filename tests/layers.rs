//! Covers "modules import downward only": reads every source file and fails on an import of a higher row or
//! of a sibling, and on a file that does not open by saying what it is for.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// From the top; a module imports lower rows only.
const ROWS: [&[&str]; 9] = [
    &["cli"],
    &["server"],
    &["proxy", "admin", "telemetry"],
    &["audit", "auth", "limits", "store", "transactions"],
    &["net"],
    &["config", "watch", "metrics", "health", "drain"],
    &["key"],
    &["document"],
    &[
        "units", "secret", "clock", "refusal", "problem", "peer", "parts", "cell",
    ],
];

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

fn sources() -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The part of a file that is not tests, line by line, without comments and without what is in quotes.
fn code(source: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    for (index, line) in source.lines().enumerate() {
        if line.trim() == "#[cfg(test)]" {
            break; // unit tests are at the bottom
        }
        let mut quoted = false;
        let bare: String = line
            .chars()
            .filter(|c| {
                quoted ^= *c == '"';
                !quoted
            })
            .collect();
        lines.push((
            index + 1,
            bare.split("//").next().unwrap_or_default().to_owned(),
        ));
    }
    lines
}

/// Imports of `module` that its row does not allow.
fn wrong_imports(module: &str, at_top: bool, source: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(own) = row_of(module) else {
        return vec![format!("{module} has no row in tests/layers.rs")];
    };
    for (line, text) in code(source) {
        if at_top && text.contains("super::") {
            wrong.push(format!(
                "{line}: `super::` of a top module is a way around `crate::`"
            ));
        }
        for (at, _) in text.match_indices("crate::") {
            let rest = &text[at + "crate::".len()..];
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            match row_of(&name) {
                _ if name == module => {}
                Some(row) if row > own => {}
                Some(row) if row == own => {
                    wrong.push(format!("{line}: {module} imports its sibling {name}"))
                }
                Some(_) => wrong.push(format!(
                    "{line}: {module} imports {name}, which is above it"
                )),
                None => wrong.push(format!(
                    "{line}: {module} imports {name:?}, which has no row"
                )),
            }
        }
    }
    wrong
}

/// The top-level module that a file belongs to, and whether the file is that module's own; none for the
/// crate's roots and for files of unit tests.
fn module_of(path: &Path) -> Option<(String, bool)> {
    let inner = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    let parts: Vec<&str> = inner.iter().map(|part| part.to_str().unwrap()).collect();
    match parts.as_slice() {
        ["lib.rs" | "main.rs"] => None,
        [.., "tests.rs"] => None,
        [file] => Some((file.trim_end_matches(".rs").to_owned(), true)),
        [module, "mod.rs"] => Some(((*module).to_owned(), true)),
        [module, inside @ ..] if inside.contains(&"tests") => {
            assert!(row_of(module).is_some(), "{path:?}");
            None
        }
        [module, ..] => Some(((*module).to_owned(), false)),
        [] => None,
    }
}

#[test]
fn modules_import_downward_only() {
    let mut wrong = Vec::new();
    for path in sources() {
        if let Some((module, at_top)) = module_of(&path) {
            let source = fs::read_to_string(&path).unwrap();
            wrong.extend(
                wrong_imports(&module, at_top, &source)
                    .into_iter()
                    .map(|what| format!("{}:{what}", path.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for path in sources() {
        let source = fs::read_to_string(&path).unwrap();
        assert!(
            source.starts_with("//! "),
            "{} does not open with `//!`",
            path.display()
        );
    }
}

#[test]
fn a_wrong_import_is_found() {
    for (name, module, at_top, source, found) in [
        ("down", "auth", true, "use crate::key::Key;", 0),
        (
            "down, deep inside",
            "cli",
            false,
            "fn f() { crate::units::parse(); }",
            0,
        ),
        ("its own", "auth", false, "use crate::auth::Policy;", 0),
        ("up", "auth", true, "use crate::proxy::Worker;", 1),
        ("sideways", "proxy", false, "use crate::telemetry::Page;", 1),
        (
            "two in a line",
            "key",
            false,
            "fn f(a: crate::auth::A, b: crate::net::B) {}",
            2,
        ),
        ("unknown", "auth", false, "use crate::helpers::x;", 1),
        ("no row", "helpers", true, "", 1),
        ("around", "auth", true, "use super::transactions::Log;", 1),
        ("its parent", "auth", false, "use super::Policy;", 0),
        ("in a comment", "auth", true, "// see crate::proxy", 0),
        ("in quotes", "auth", true, "let a = \"crate::proxy\";", 0),
        (
            "in tests",
            "auth",
            true,
            "#[cfg(test)]\nmod tests { use crate::proxy::X; }",
            0,
        ),
    ] {
        assert_eq!(
            wrong_imports(module, at_top, source).len(),
            found,
            "{name}: {:?}",
            wrong_imports(module, at_top, source)
        );
    }
}
