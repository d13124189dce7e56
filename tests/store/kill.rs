//! Covers "SIGKILL at any moment during admin edits: the key file is the old or the new one, whole". A process edits
//! in a loop and is killed hundreds of times, each time at another moment.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use keygate::key::KeyFields;
use keygate::store::FileStore;
use keygate::store::KeyStore;
use keygate::store::edit::KeyEdit;
use rustix::process::Signal;

use crate::harness::setup::write_in_place;
use crate::harness::sha256;
use crate::store::job::Job;
use crate::store::job::after;
use crate::store::job::load;
use crate::store::job::number_of;

/// Kills per format, and the time after which fewer will do.
const KILLS: u32 = 100;
const KILLS_MIN: u32 = 30;
const PATIENCE: Duration = Duration::from_secs(6);

#[test]
fn a_kill_at_any_moment_leaves_a_yaml_file_whole() {
    survives_kills("keys.yaml", "version: 1 # ours\n\n# none yet\nkeys: []\n");
}

#[test]
fn a_kill_at_any_moment_leaves_a_json_file_whole() {
    survives_kills("keys.json", "{\"version\": 1, \"keys\": []}\n");
}

#[test]
fn a_kill_at_any_moment_leaves_an_ndjson_file_whole() {
    survives_kills("keys.ndjson", "\n");
}

fn survives_kills(name: &str, empty: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    write_in_place(&file, empty);
    let begun = Instant::now();
    let (mut kills, mut within, mut left) = (0, 0, 0);
    while kills < KILLS && (kills < KILLS_MIN || begun.elapsed() < PATIENCE) {
        let (begun, done) = kill_once(&file, kills);
        let keys = load(&mut FileStore::new(file.clone()));
        let found: Vec<KeyFields> = keys
            .table
            .keys()
            .iter()
            .map(|key| key.to_fields())
            .collect();
        let number = number_of(&keys);
        assert_eq!(found, after(number), "{name}, kill {kills}: half an edit");
        assert!(
            (done..=begun).contains(&number),
            "{name}, kill {kills}: at {number}, where {done} was answered and {begun} begun"
        );
        kills += 1;
        within += u32::from(begun > done);
        let beside = folder.path().read_dir().unwrap().count() - 1;
        assert!(beside <= 1, "{name}, kill {kills}: leftovers pile up");
        left += u32::from(beside > 0);
    }
    assert!(
        within > kills / 4,
        "{name}: only {within} of {kills} kills met an edit"
    );
    eprintln!("{name}: {kills} kills, {within} within an edit, {left} left a file behind");
    // Whatever they left behind goes at the next edit.
    let mut store = FileStore::new(file);
    let keys = load(&mut store);
    let last = match keys.table.keys().first() {
        Some(key) => KeyEdit::Remove(key.id().clone()),
        None => KeyEdit::Add(after(1)[0].clone()),
    };
    store.apply(&[last], keys.table.revision()).unwrap();
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "{name}");
}

/// The same without chance: the kernel ends the process at a byte of our choice, as it writes that byte.
#[test]
fn a_death_at_any_byte_of_the_writing_leaves_the_old_file() {
    let digest = sha256(b"x");
    for (name, text) in [
        (
            "keys.yaml",
            format!("version: 1\nkeys:\n  - name: old # ours\n    digest: sha256:{digest}\n"),
        ),
        (
            "keys.json",
            format!(
                "{{\"version\": 1, \"keys\": [{{\"name\": \"old\", \"digest\": \"sha256:{digest}\"}}]}}\n"
            ),
        ),
        (
            "keys.ndjson",
            format!("{{\"name\": \"old\", \"digest\": \"sha256:{digest}\"}}\n"),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        write_in_place(&file, &text);
        for bytes in (0..=text.len()).step_by(text.len() / 12) {
            let mut job = Job::start(&format!("die {} {bytes}", file.display()));
            assert_eq!(
                job.rest(),
                [""; 0],
                "{name}, byte {bytes}: it ends in the middle"
            );
            let ended = job.child.wait().unwrap();
            assert_eq!(
                ended.signal(),
                Some(Signal::XFSZ.as_raw()),
                "{name}, byte {bytes}"
            );
            assert_eq!(
                std::fs::read_to_string(&file).unwrap(),
                text,
                "{name}, byte {bytes}"
            );
        }
        let mut job = Job::start(&format!("once {}", file.display()));
        assert_eq!(job.rest(), ["done", "changed"]);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "{name}");
    }
}

/// Kills a process that edits, at a moment that is another one each time; the last edits that were begun and answered.
fn kill_once(file: &Path, round: u32) -> (usize, usize) {
    let mut job = Job::start(&format!("loop {}", file.display()));
    let first = job.next().expect("the loop begins");
    // Edits take a millisecond or a few, according to the disk: this spreads over several of them.
    std::thread::sleep(Duration::from_micros(u64::from(round * 379 % 9_973)));
    job.child.kill().unwrap();
    job.child.wait().unwrap();
    let number = |line: &str| line.split_once(' ').unwrap().1.parse().unwrap();
    let (mut begun, mut done) = (number(&first), number(&first) - 1);
    for line in job.rest() {
        if line.starts_with("begin") {
            begun = number(&line);
        } else {
            done = number(&line);
        }
    }
    (begun, done)
}
