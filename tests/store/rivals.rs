//! Covers "people go on editing the same file by hand, and nobody loses anything": several processes and hand editors
//! at one file at once. Whatever was answered is there in the end, whoever came too late was told.

use std::fs;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use keygate::store::FileStore;

use crate::harness::sha256;
use crate::store::job::Job;
use crate::store::job::load;

const PROCESSES: usize = 3;
const EDITS: usize = 30;
const HAND_EDITS_MAX: usize = 300;

fn line(name: &str) -> String {
    format!(
        "{{\"name\": \"{name}\", \"digest\": \"sha256:{}\"}}\n",
        sha256(name.as_bytes())
    )
}

/// Appends a key in place, as `echo >>` does: one write, which never meets the middle of an edit, since edits come by
/// exchange. Whether the file was still in its place afterwards; if not, the append went to the one that was there.
fn append(file: &Path, name: &str) -> bool {
    let mut open = OpenOptions::new().append(true).open(file).unwrap();
    open.write_all(line(name).as_bytes()).unwrap();
    fs::read_to_string(file).unwrap().contains(&line(name))
}

/// Reads, edits a copy, and renames it over the file if that is still what was read, as a careful editor does.
fn rename_over(file: &Path, name: &str) -> bool {
    let read = fs::read_to_string(file).unwrap();
    let aside = file.with_extension("edited");
    fs::write(&aside, format!("{read}{}", line(name))).unwrap();
    if fs::read_to_string(file).unwrap() != read {
        return false;
    }
    fs::rename(aside, file).unwrap();
    true
}

/// No hand edit: processes only.
#[test]
fn of_several_processes_none_loses_an_edit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.ndjson");
    fs::write(&file, line("first")).unwrap();
    let (added, stale) = compete(&file, || {});
    expect(&file, &added);
    assert!(stale > 0, "they never met: this shows nothing");
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
}

/// The editor's rename is a rename over whatever is there: what it overwrites within the microseconds between its look
/// and its rename is its own doing. So only its own edits are counted on, and every key that was there when it looked.
#[test]
fn hand_edits_among_those_of_processes_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.ndjson");
    fs::write(&file, line("first")).unwrap();
    let mut by_hand = Vec::new();
    let mut number = 0;
    let (added, _) = compete(&file, || {
        number += 1;
        let name = format!("hand-{number}");
        if append(&file, &name) {
            by_hand.push(name);
        }
        std::thread::sleep(Duration::from_millis(3));
    });
    expect(&file, &added);
    // Two hands may have been at two files while one was being exchanged for the other: then one of the texts is beside.
    let beside: String = folder
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for name in by_hand {
        assert!(beside.contains(&line(&name)), "lost: {name}");
    }
}

#[test]
fn a_rename_over_the_file_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.ndjson");
    fs::write(&file, line("first")).unwrap();
    let mut by_hand = Vec::new();
    let mut number = 0;
    compete(&file, || {
        number += 1;
        let name = format!("hand-{number}");
        if rename_over(&file, &name) {
            by_hand.push(name);
        }
        std::thread::sleep(Duration::from_millis(3));
    });
    assert!(!by_hand.is_empty());
    expect(&file, &by_hand);
}

/// Runs several processes that add keys, and `by_hand` again and again meanwhile; what was answered, and how often
/// somebody came too late.
fn compete(file: &Path, mut by_hand: impl FnMut()) -> (Vec<String>, usize) {
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..PROCESSES)
            .map(|process| {
                let job = format!("add {} p{process} {EDITS}", file.display());
                scope.spawn(move || Job::start(&job).rest())
            })
            .collect();
        // So many and no more: on a busy machine a hand that never rests would leave the processes no turn.
        for _ in 0..HAND_EDITS_MAX {
            if jobs.iter().all(|job| job.is_finished()) {
                break;
            }
            by_hand();
        }
        let (mut added, mut stale) = (Vec::new(), 0);
        for job in jobs {
            for said in job.join().unwrap() {
                match said.split_once(' ').unwrap() {
                    ("added", name) => added.push(name.to_owned()),
                    ("stale", count) => stale += count.parse::<usize>().unwrap(),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(added.len(), PROCESSES * EDITS, "all were answered");
        (added, stale)
    })
}

#[track_caller]
fn expect(file: &Path, names: &[String]) {
    let keys = load(&mut FileStore::new(file.to_owned()));
    for name in names {
        let there = keys.table.keys().iter().any(|key| key.name() == name);
        assert!(there, "lost: {name}");
    }
}
