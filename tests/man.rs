//! Covers "the manual comes with the program": `keygate man` is one page about every command, `--dir` writes a page a
//! command, and the tools that show and check such pages have nothing to say against them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::config::Place;

/// What mandoc says to a page; that there is no date is meant so, since the program has none.
#[track_caller]
fn check(page: &Path) {
    let output = Command::new("mandoc")
        .args(["-T", "lint", "-W", "warning"])
        .arg(page)
        .output()
        .expect("mandoc is installed by tests/run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong: Vec<_> = said
        .lines()
        .filter(|line| !line.contains("missing date"))
        .collect();
    assert!(wrong.is_empty(), "{}: {wrong:#?}", page.display());
}

#[test]
fn one_page_tells_of_every_command() {
    let place = Place::new();
    let said = place.keygate(&["man"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let page = said.stdout;
    assert!(
        page.starts_with(".TH \"KEYGATE\" \"1\" \"\" \"keygate "),
        "{page}"
    );
    assert!(page.is_ascii(), "not every roff reads UTF-8");
    for section in [
        ".SH \"KEYGATE RUN\"",
        ".SH \"KEYGATE DOCTOR\"",
        ".SH \"KEYGATE KEYS ROTATE\"",
        ".SH \"KEYGATE ADMIN RESET-PASSWORD\"",
        ".SH \"EXIT STATUS\"",
    ] {
        assert!(page.contains(section), "{section}");
    }
    place.write("keygate.1", &page);
    check(&place.path().join("keygate.1"));
}

#[test]
fn each_command_has_a_page_of_its_own() {
    let place = Place::new();
    fs::create_dir(place.path().join("man1")).unwrap();
    let said = place.keygate(&["man", "--dir", "man1"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let pages: Vec<_> = fs::read_dir(place.path().join("man1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    for name in [
        "keygate.1",
        "keygate-run.1",
        "keygate-doctor.1",
        "keygate-keys-create.1",
    ] {
        assert!(
            pages.iter().any(|page| page.ends_with(name)),
            "{name}: {pages:?}"
        );
    }
    for page in &pages {
        check(page);
    }
    let said = place.keygate(&["man", "--dir", "nowhere"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains("nowhere/") && said.stderr.contains("hint: "),
        "{}",
        said.stderr
    );
}
