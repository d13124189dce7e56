//! Tests of the replacement: what is kept of the old file, and what becomes of hand edits at every step of it.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::store::file::aside::remove_leftovers;
use crate::store::file::read::regular;

/// Both steps.
fn replace(locked: &Locked, seen: &Seen, text: &[u8]) -> Result<(), ReplaceError> {
    super::replace(locked, seen, text, prepare(locked, seen, text)?).map(drop)
}

/// The new text, between the steps.
fn aside(locked: &Locked, seen: &Seen) -> Aside {
    match prepare(locked, seen, b"new") {
        Ok(Prepared::Aside(aside)) => aside,
        other => panic!("{other:?}"),
    }
}

struct Place {
    folder: TempDir,
    file: PathBuf,
}

fn place(text: &str) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.yaml");
    put(&file, text);
    Place { folder, file }
}

fn put(file: &Path, text: &str) {
    use std::io::Write as _;
    File::create(file)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

fn rename_over(file: &Path, text: &str) {
    let aside = file.with_extension("hand");
    put(&aside, text);
    std::fs::rename(aside, file).unwrap();
}

impl Place {
    fn lock(&self) -> (Locked, Seen) {
        let locked = Locked::try_now(&self.file).unwrap();
        let (_, seen) = Seen::read(&locked).unwrap();
        (locked, seen)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap()
    }

    #[track_caller]
    fn holds_only(&self, names: &[&str]) {
        let mut found: Vec<_> = self
            .folder
            .path()
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found, names);
    }
}

#[test]
fn the_new_text_takes_the_place_with_the_mode_of_the_old() {
    for mode in [0o600, 0o640, 0o604] {
        let at = place("old");
        std::fs::set_permissions(&at.file, Permissions::from_mode(mode)).unwrap();
        let (locked, seen) = at.lock();
        replace(&locked, &seen, b"the new text").unwrap();
        assert_eq!(at.text(), "the new text");
        assert_eq!(at.file.metadata().unwrap().mode() & 0o777, mode);
        at.holds_only(&["keys.yaml"]);
        let next = Locked::try_now(&at.file).unwrap();
        assert_ne!(
            identity(&next.file().metadata().unwrap()),
            identity(&locked.file().metadata().unwrap()),
            "never written in place where that can be helped"
        );
    }
}

#[test]
fn the_owner_of_the_old_is_that_of_the_new() {
    let at = place("old");
    if std::os::unix::fs::chown(&at.file, Some(12_345), Some(54_321)).is_err() {
        return; // only root can give files away
    }
    let (locked, seen) = at.lock();
    replace(&locked, &seen, b"new").unwrap();
    let metadata = at.file.metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (12_345, 54_321));
    assert_eq!(at.text(), "new");
}

#[test]
fn a_link_stays_a_link_and_its_target_is_replaced() {
    let at = place("old");
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    symlink(&at.file, &first).unwrap();
    symlink("first", &second).unwrap();
    let locked = Locked::try_now(&second).unwrap();
    let (_, seen) = Seen::read(&locked).unwrap();
    replace(&locked, &seen, b"new").unwrap();
    assert!(first.is_symlink() && second.is_symlink());
    assert_eq!(at.text(), "new");
    at.holds_only(&["keys.yaml"]);
    assert_eq!(folder.path().read_dir().unwrap().count(), 2);
}

#[test]
fn a_link_that_is_turned_meanwhile_is_a_hand_edit() {
    let (at, other) = (place("old"), place("another"));
    let link = at.folder.path().join("link");
    symlink(&at.file, &link).unwrap();
    let locked = Locked::try_now(&link).unwrap();
    let (_, seen) = Seen::read(&locked).unwrap();
    std::fs::remove_file(&link).unwrap();
    symlink(&other.file, &link).unwrap();
    let outcome = replace(&locked, &seen, b"new");
    assert!(matches!(outcome, Err(ReplaceError::Moved)));
    assert_eq!((at.text(), other.text()), ("old".into(), "another".into()));
}

#[test]
fn a_hand_edit_before_the_exchange_stays() {
    for (name, hand) in [
        ("renamed over", rename_over as fn(&Path, &str)),
        ("in place", put),
    ] {
        for text in ["a hand edit", "OLD"] {
            let at = place("old");
            let (locked, seen) = at.lock();
            hand(&at.file, text);
            let outcome = replace(&locked, &seen, b"new");
            assert!(
                matches!(outcome, Err(ReplaceError::Moved)),
                "{name}: {text}"
            );
            assert_eq!(at.text(), text, "{name}");
            at.holds_only(&["keys.yaml"]);
        }
    }
    let at = place("old");
    let (locked, seen) = at.lock();
    std::fs::remove_file(&at.file).unwrap();
    let outcome = replace(&locked, &seen, b"new");
    assert!(matches!(outcome, Err(ReplaceError::Moved)));
    at.holds_only(&[]);
}

/// Between the last look and the exchange there is no stopping anybody: what came out is looked at.
#[test]
fn a_hand_edit_at_the_moment_of_the_exchange_is_put_back() {
    for (name, hand) in [
        ("renamed over", rename_over as fn(&Path, &str)),
        ("in place", put),
    ] {
        let at = place("old");
        let (locked, seen) = at.lock();
        let aside = aside(&locked, &seen);
        hand(&at.file, "HND");
        exchange(aside.path(), locked.path()).unwrap();
        let outcome = settle(&locked, &seen, aside);
        assert!(matches!(outcome, Err(ReplaceError::Moved)), "{name}");
        assert_eq!(at.text(), "HND", "{name}");
        at.holds_only(&["keys.yaml"]);
    }
}

#[test]
fn of_two_hand_edits_around_the_exchange_the_later_stays() {
    let at = place("old");
    let (locked, seen) = at.lock();
    let aside = aside(&locked, &seen);
    rename_over(&at.file, "the first");
    exchange(aside.path(), locked.path()).unwrap();
    rename_over(&at.file, "the second"); // its writer has seen the new text, or does not care
    let outcome = settle(&locked, &seen, aside);
    assert!(matches!(outcome, Err(ReplaceError::Moved)));
    assert_eq!(at.text(), "the second");
    at.holds_only(&["keys.yaml"]);
}

/// One hand wrote into the old text, the other into ours: one of them is in place, and the other beside it.
#[test]
fn of_two_hand_edits_in_two_files_neither_is_lost() {
    let at = place("old");
    let (locked, seen) = at.lock();
    let aside = aside(&locked, &seen);
    put(&at.file, "the first");
    exchange(aside.path(), locked.path()).unwrap();
    put(&at.file, "the second");
    let outcome = settle(&locked, &seen, aside);
    assert!(matches!(outcome, Err(ReplaceError::Moved)));
    assert_eq!(at.text(), "the first");
    let beside = at.folder.path().read_dir().unwrap();
    let beside = beside.map(|entry| entry.unwrap().path());
    let rescued: Vec<_> = beside.filter(|path| *path != at.file).collect();
    assert_eq!(rescued.len(), 1, "{rescued:?}");
    assert_eq!(std::fs::read_to_string(&rescued[0]).unwrap(), "the second");
}

#[test]
fn a_touch_is_no_edit() {
    let at = place("old");
    let (locked, seen) = at.lock();
    put(&at.file, "old");
    replace(&locked, &seen, b"new").unwrap();
    assert_eq!(at.text(), "new");
}

#[test]
fn in_place_means_the_same_file_and_looks_before_it_writes() {
    let at = place("a longer old text");
    for text in ["new", "a new text that is longer than the old"] {
        let (locked, seen) = at.lock();
        let before = identity(&at.file.metadata().unwrap());
        in_place(&locked, &seen, text.as_bytes()).unwrap();
        assert_eq!(at.text(), text);
        assert_eq!(identity(&at.file.metadata().unwrap()), before);
    }
    let (locked, seen) = at.lock();
    put(&at.file, "a hand edit");
    let outcome = in_place(&locked, &seen, b"new");
    assert!(matches!(outcome, Err(ReplaceError::Moved)));
    assert_eq!(at.text(), "a hand edit");
}

#[test]
fn whoever_waits_for_the_lock_gets_the_file_that_is_there_then() {
    let at = place("old");
    let (locked, seen) = at.lock();
    let early = regular(&at.file);
    assert!(Locked::try_now(&at.file).is_err(), "locked");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let locked = Locked::wait(&at.file).unwrap();
            read_open(locked.file()).unwrap().0
        });
        replace(&locked, &seen, b"new").unwrap();
        drop(locked);
        assert_eq!(waiting.join().unwrap(), b"new");
    });
    drop(early);
}

#[test]
fn leftovers_are_removed_and_nothing_else_is() {
    let at = place("old");
    let beside = |name: &str| at.folder.path().join(name);
    let names = [
        ".keys.yaml.keygate-0123456789abcdef", // left
        ".keys.yaml.keygate-1111111111111111", // held by a living process
        ".keys.yaml.keygate-2222222222222222", // a link: not made by us
        ".keys.yaml.keygate-short",
        ".keys.yaml.swp",
        ".other.yaml.keygate-0123456789abcdef",
    ];
    for name in names {
        put(&beside(name), "left");
    }
    std::fs::remove_file(beside(names[2])).unwrap();
    symlink("keys.yaml", beside(names[2])).unwrap();
    let held = File::open(beside(names[1])).unwrap();
    held.lock().unwrap();
    remove_leftovers(&at.lock().0);
    at.holds_only(&[
        names[1],
        names[2],
        names[3],
        names[4],
        names[5],
        "keys.yaml",
    ]);
    drop(held);
    remove_leftovers(&at.lock().0);
    at.holds_only(&[names[2], names[3], names[4], names[5], "keys.yaml"]);
}

#[test]
fn of_many_hand_edits_while_one_is_put_back_the_last_stays() {
    let at = place("old");
    let (locked, seen) = at.lock();
    let mut aside = aside(&locked, &seen);
    rename_over(&at.file, "the first");
    exchange(aside.path(), locked.path()).unwrap();
    // The file that was put there last is gone, so it never comes out: as if others came in every time.
    rename_over(&at.file, "the second");
    std::fs::remove_file(&at.file).unwrap();
    give_back(&locked, &mut aside);
    drop(aside);
    let left: Vec<_> = at.folder.path().read_dir().unwrap().collect();
    assert_eq!(left.len(), 1, "what cannot be put back is kept");
    let left = left[0].as_ref().unwrap().path();
    let name = left.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("keys.yaml.rescued-"), "{name}");
    assert_eq!(std::fs::read_to_string(left).unwrap(), "the first");
}
