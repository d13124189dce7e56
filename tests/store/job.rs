//! A process that edits a key file: this test binary again, told by an environment variable what to do. It says on
//! stdout what it did, a line each, so that whoever kills it knows how far it came.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use keygate::key::KeyFields;
use keygate::key::KeyId;
use keygate::key::table::Revision;
use keygate::key::token::Digest;
use keygate::store::FileStore;
use keygate::store::KeyStore;
use keygate::store::Keys;
use keygate::store::Loaded;
use keygate::store::edit::EditError;
use keygate::store::edit::KeyEdit;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::setrlimit;

/// `loop FILE`, `add FILE NAME COUNT`, `once FILE` or `die FILE BYTES`.
const JOB: &str = "KEYGATE_TEST_STORE_JOB";
/// In front of every line that is meant, since the test runner prints some of its own.
const MARK: &str = "job: ";
/// How many keys the loop keeps.
pub(crate) const KEPT: usize = 12;

/// A running job; killed when dropped.
pub(crate) struct Job {
    pub(crate) child: Child,
    lines: BufReader<ChildStdout>,
}

impl Job {
    /// Starts one.
    pub(crate) fn start(job: &str) -> Self {
        Self::start_in(Command::new(std::env::current_exe().unwrap()), job)
    }

    /// Starts one by a command that ends with this binary.
    pub(crate) fn start_in(mut command: Command, job: &str) -> Self {
        let mut child = command
            .args(["store::job::does_what_it_is_told", "--exact", "--nocapture"])
            .env(JOB, job)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line; none: it has ended.
    pub(crate) fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            // The runner's own words may stand in front, without a line end.
            if let Some((_, said)) = line.split_once(MARK)
                && said.ends_with('\n')
            {
                return Some(said.trim_end().to_owned());
            }
            line.clear();
        }
        None
    }

    /// All lines up to its end.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(line: &str) {
    // One write: a line is said whole or not at all.
    let line = format!("{MARK}{line}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

pub(crate) fn key(name: &str) -> KeyFields {
    KeyFields::new(name, Digest::of(name.as_bytes()))
}

/// The keys as they are in the file now.
pub(crate) fn load(store: &mut FileStore) -> Keys {
    match store.load(None).unwrap() {
        Loaded::Keys { keys, .. } => keys,
        Loaded::Unchanged => panic!("nothing was known"),
    }
}

/// What the loop's file holds after edit `number`: the last keys, and all but the newest described.
pub(crate) fn after(number: usize) -> Vec<KeyFields> {
    let first = (number + 1).saturating_sub(KEPT).max(1);
    (first..=number)
        .map(|index| match index {
            _ if index == number => key(&format!("key {index}")),
            _ => described(index),
        })
        .collect()
}

fn described(index: usize) -> KeyFields {
    KeyFields {
        description: Some(format!("edited by {}", index + 1).into()),
        ..key(&format!("key {index}"))
    }
}

/// The edit that leads to [`after`] of this number: three at once, so that half of them would show.
fn step(number: usize) -> Vec<KeyEdit> {
    let mut edits = vec![KeyEdit::Add(key(&format!("key {number}")))];
    if number > 1 {
        edits.push(KeyEdit::Change(described(number - 1)));
    }
    if number > KEPT {
        let old = KeyId::derive(&format!("key {}", number - KEPT));
        edits.push(KeyEdit::Remove(old));
    }
    edits
}

/// The number of the edit that left these keys.
pub(crate) fn number_of(keys: &Keys) -> usize {
    keys.table.keys().last().map_or(0, |key| {
        let (_, number) = key.name().split_once(' ').unwrap();
        number.parse().unwrap()
    })
}

/// Edits until it is killed.
fn edit_for_ever(file: &Path) {
    let mut store = FileStore::new(file.to_owned());
    let mut keys = load(&mut store);
    loop {
        let number = number_of(&keys) + 1;
        say(&format!("begin {number}"));
        keys = store.apply(&step(number), keys.table.revision()).unwrap();
        say(&format!("done {number}"));
    }
}

/// Adds keys, and looks again whenever somebody else was quicker.
fn add(file: &Path, name: &str, count: usize) {
    let mut store = FileStore::new(file.to_owned());
    let mut stale = 0;
    for number in 0..count {
        let new = key(&format!("{name}-{number}"));
        let mut seen = revision_of(&mut store);
        loop {
            match store.apply(&[KeyEdit::Add(new.clone())], &seen) {
                Ok(_) => break,
                Err(EditError::Stale { .. } | EditError::Broken { .. }) => stale += 1,
                Err(error) => panic!("{error}"),
            }
            seen = revision_of(&mut store);
        }
        say(&format!("added {}", new.name));
    }
    say(&format!("stale {stale}"));
}

/// The revision, as soon as the file is whole: hand editors write in place.
fn revision_of(store: &mut FileStore) -> Revision {
    crate::harness::found("the file is whole", crate::harness::SOON, || {
        match store.load(None) {
            Ok(Loaded::Keys { keys, .. }) => Some(*keys.table.revision()),
            Ok(Loaded::Unchanged) => panic!("nothing was known"),
            Err(_) => None,
        }
    })
}

/// One edit, and what came of it.
fn once(file: &Path) {
    let mut store = FileStore::new(file.to_owned());
    let keys = load(&mut store);
    let new = key("a new key");
    match store.apply(&[KeyEdit::Add(new)], keys.table.revision()) {
        Ok(_) => {
            assert!(!store.is_read_only(), "it knows");
            say("done");
        }
        Err(EditError::ReadOnly { source, entry, .. }) => {
            let entry = entry.unwrap_or_default();
            let whole = entry.contains("a new key") && entry.contains("sha256:");
            assert!(store.is_read_only(), "it knows");
            say(&format!("read-only, entry {whole}: {source}"));
        }
        Err(EditError::Unwritable { source, .. }) => say(&format!("unwritable: {source}")),
        Err(error) => say(&format!("otherwise: {error}")),
    }
    let same = *load(&mut store).table.revision() == *keys.table.revision();
    say(if same { "as before" } else { "changed" });
}

#[test]
fn does_what_it_is_told() {
    let Ok(job) = std::env::var(JOB) else {
        return; // an ordinary test run
    };
    match *job.split(' ').collect::<Vec<_>>() {
        ["loop", file] => edit_for_ever(Path::new(file)),
        ["add", file, name, count] => add(Path::new(file), name, count.parse().unwrap()),
        ["once", file] => once(Path::new(file)),
        ["die", file, bytes] => {
            // Whoever writes a file beyond this is ended by SIGXFSZ in the middle of the writing.
            let limit = Rlimit {
                current: Some(bytes.parse().unwrap()),
                maximum: None,
            };
            setrlimit(Resource::Fsize, limit).unwrap();
            once(Path::new(file));
        }
        _ => panic!("no such job: {job}"),
    }
}
