//! Covers "people go on editing the same file by hand, and nobody loses anything": clients of the API, commands at
//! a shell and hands with an editor change one file at the same time. What was answered with success is there at the
//! end, every loser was told, and the file is a whole key file at every moment.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use keygate::store::format::Memory;
use keygate::store::format::parse;
use rustix::fs::CWD;
use rustix::fs::RenameFlags;
use rustix::fs::renameat_with;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::SOON;
use crate::harness::admin::Admin;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::keygate::binary;
use crate::harness::keygate::command;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::setup::write_in_place;
use crate::harness::sha256;
use crate::harness::upstream::Upstream;

/// What the ids begin with of keys made over the API, at a shell, and by hand.
const KINDS: [&str; 3] = ["k_api_", "k_cli_", "k_appended_"];
const EDITS_MIN: usize = 5;
/// In the names of files that hold what a hand wrote and no program may throw away.
const RESCUED: &str = ".rescued-";

/// How long everybody edits, at least.
const SPAN: Duration = Duration::from_secs(8);

/// The key whose tag everybody counts up: the proof that no update is lost.
const COUNTER: &str = "k_counter";

/// What everybody did, as they were told.
#[derive(Default)]
struct Done {
    /// Keys that were answered as made, with their tokens.
    made: Mutex<BTreeMap<String, String>>,
    /// Keys that were answered as deleted.
    deleted: Mutex<BTreeSet<String>>,
    /// Counts that were answered with success.
    counted: AtomicU64,
    /// Counts that were told to be stale.
    lost: AtomicU64,
    /// Comments written by hand.
    comments: Mutex<Vec<String>>,
    /// What a hand overwrote because it had read an older file: nobody but the hand can be blamed for it.
    overwritten: Mutex<Overwritten>,
    stop: AtomicBool,
}

/// What was in a file that a hand replaced, but not in the one that it had read.
#[derive(Debug, Default)]
struct Overwritten {
    made: BTreeSet<String>,
    deleted: BTreeSet<String>,
    counted: u64,
    times: u64,
}

impl Done {
    /// How many keys this kind of editor has made.
    fn edits_of(&self, kind: &str) -> usize {
        let made = self.made.lock().unwrap();
        made.keys().filter(|id| id.starts_with(kind)).count()
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Ids in a key file, and the counter; it must be whole.
#[track_caller]
fn look(path: &Path, bytes: &[u8]) -> (BTreeSet<String>, u64) {
    let file = parse(path, bytes, &mut Memory::default()).unwrap_or_else(|problems| {
        panic!(
            "not whole: {problems:#?}\n{}",
            String::from_utf8_lossy(bytes)
        )
    });
    let keys = file.table.keys();
    let count = keys
        .iter()
        .filter(|key| key.id().as_str() == COUNTER)
        .flat_map(|key| key.tags())
        .find(|(tag, _)| &**tag == "count")
        .map_or(0, |(_, count)| count.parse().unwrap());
    let ids = keys
        .iter()
        .map(|key| key.id().as_str().to_owned())
        .collect();
    (ids, count)
}

/// Makes keys, deletes every third again, and counts.
fn api_client(index: u64, admin: &Admin, done: &Done) {
    let mut round = 0_u64;
    while done.goes_on() {
        round += 1;
        let id = format!("k_api_{index}_{round}");
        let token = format!("token-of-api-{index}-{round}-0123");
        let body = json!({"name": id, "id": id, "token": token});
        count(admin, done);
        let answer = admin.post("/keys").json(&body).ask();
        if answer.status == 412 {
            done.lost.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        assert_eq!(answer.status, 201, "{answer:?}");
        done.made.lock().unwrap().insert(id.clone(), token);
        if round.is_multiple_of(3) {
            let path = format!("/keys/{id}");
            match admin.delete(&path).if_match("*").ask().status {
                204 => drop(done.deleted.lock().unwrap().insert(id)),
                412 => drop(done.lost.fetch_add(1, Ordering::SeqCst)),
                // The editor had overwritten it.
                status => assert_eq!(status, 404),
            }
        }
    }
}

/// Reads the counter and writes it one higher, if nobody else did so in between.
fn count(admin: &Admin, done: &Done) {
    let (key, etag) = admin.key(COUNTER);
    let next = key["tags"]["count"]
        .as_str()
        .unwrap()
        .parse::<u64>()
        .unwrap()
        + 1;
    let answer = admin
        .patch(&format!("/keys/{COUNTER}"))
        .if_match(&etag)
        .json(&json!({"tags": {"count": next.to_string()}}))
        .ask();
    match answer.status {
        200 => {
            assert_eq!(answer.json()["tags"]["count"], next.to_string());
            done.counted.fetch_add(1, Ordering::SeqCst);
        }
        412 => {
            assert_ne!(
                answer.json()["current"],
                etag,
                "stale, and says what it is now"
            );
            done.lost.fetch_add(1, Ordering::SeqCst);
        }
        _ => panic!("{answer:?}"),
    }
}

fn keys_command(keygate: &Keygate, arguments: &[&str]) -> Output {
    command(binary())
        .arg("keys")
        .args(arguments)
        .arg("--config")
        .arg(keygate.config())
        .output()
        .unwrap()
}

/// Whether a command did what it was asked; else it lost too often against others, and says so.
#[track_caller]
fn won(output: &Output, done: &Done) -> bool {
    if output.status.success() {
        return true;
    }
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && error.contains("changed in the meantime")
            || error.contains("no key"),
        "{output:?}"
    );
    done.lost.fetch_add(1, Ordering::SeqCst);
    false
}

/// The same at a shell: a process for each edit.
fn shell(index: u64, keygate: &Keygate, done: &Done) {
    let mut round = 0_u64;
    while done.goes_on() {
        round += 1;
        let id = format!("k_cli_{index}_{round}");
        let output = keys_command(keygate, &["create", &id, "--id", &id]);
        if !won(&output, done) {
            continue;
        }
        let token = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        assert!(token.starts_with("kg_") && !token.contains(char::is_whitespace));
        done.made.lock().unwrap().insert(id.clone(), token);
        if round.is_multiple_of(3) && won(&keys_command(keygate, &["delete", &id, "--yes"]), done) {
            done.deleted.lock().unwrap().insert(id);
        }
    }
}

/// An editor that knows nothing of locks: reads, adds a comment, and renames over the file. What it overwrites is
/// seen, because it exchanges the two files.
fn editor(path: &Path, done: &Done) {
    let aside = path.with_extension("editor");
    let mut round = 0;
    while done.goes_on() {
        round += 1;
        let comment = format!("# by hand, {round}\n");
        let read = fs::read_to_string(path).unwrap();
        let at = read.rfind("  - ").unwrap();
        write_in_place(&aside, format!("{}  {comment}{}", &read[..at], &read[at..]));
        renameat_with(CWD, &aside, CWD, path, RenameFlags::EXCHANGE).unwrap();
        done.comments.lock().unwrap().push(comment);
        let replaced = fs::read(&aside).unwrap();
        if replaced != read.as_bytes() {
            let (new, old) = (look(path, read.as_bytes()), look(path, &replaced));
            let mut overwritten = done.overwritten.lock().unwrap();
            overwritten.made.extend(old.0.difference(&new.0).cloned());
            overwritten
                .deleted
                .extend(new.0.difference(&old.0).cloned());
            overwritten.counted += old.1 - new.1;
            overwritten.times += 1;
        }
        fs::remove_file(&aside).unwrap();
        pause(Duration::from_millis(40));
    }
}

/// `cat >> keys.yaml`: whole entries, written at once at the end of whatever file is there.
fn appender(path: &Path, done: &Done) {
    let mut round = 0;
    while done.goes_on() {
        round += 1;
        let id = format!("k_appended_{round}");
        let token = format!("token-appended-{round}-0123");
        let text = format!(
            "  - {{id: {id}, name: {id}, digest: \"sha256:{}\"}}\n",
            sha256(token.as_bytes())
        );
        loop {
            let mut file = OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            // Whoever appends to a file that has just been replaced has written to the old one.
            let kept = || {
                fs::metadata(path).unwrap().ino() == file.metadata().unwrap().ino()
                    || fs::read_to_string(path).unwrap().contains(&text)
            };
            // As long as that one has a name it may still come back: an edit that sees the new text gives way to it.
            let pending = || file.metadata().unwrap().nlink() > 0;
            let patience = Instant::now() + SOON;
            while !kept() && pending() && Instant::now() < patience {
                std::thread::yield_now();
            }
            if kept() {
                break;
            }
        }
        done.made.lock().unwrap().insert(id, token);
        pause(Duration::from_millis(55));
    }
}

/// A hand is slower than a program: this is no waiting for anything.
fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// The file is a whole key file whenever somebody looks, but for the moment in which a hand appends to it.
fn reader(path: &Path, done: &Done) -> u64 {
    let mut looks = 0;
    while done.goes_on() {
        let bytes = fs::read(path).unwrap();
        if parse(path, &bytes, &mut Memory::default()).is_err() {
            let again = fs::read(path).unwrap();
            let appended = again.len() > bytes.len() && again.starts_with(&bytes);
            look(path, if appended { &again } else { &bytes });
        }
        looks += 1;
    }
    looks
}

/// Stops everybody when the test ends, however it ends.
struct Stop<'a>(&'a Done);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

#[track_caller]
fn started(upstream: &Upstream) -> Keygate {
    let counter = format!(
        "  - id: {COUNTER}\n    name: counter   # everybody counts here\n    digest: sha256:{}\n    tags: {{count: \"0\"}}\n",
        sha256(b"token-of-the-counter")
    );
    Setup::of(upstream)
        .admin("")
        .keys(key_file(&[
            counter,
            entry("good", GOOD, ""),
            entry("other", OTHER, ""),
        ]))
        .spawn()
}

/// What was answered is what is there.
/// Two hands may have been at two files while one was being exchanged for the other. Then the text of one is kept
/// beside the key file, and the log names it: what was appended there is not lost, and not in force.
fn leave_out_rescued(path: &Path, done: &Done) {
    let beside: String = path
        .parent()
        .unwrap()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(RESCUED))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let text = fs::read_to_string(path).unwrap();
    done.made.lock().unwrap().retain(|id, _| {
        let entry = format!("id: {id},");
        !id.starts_with("k_appended_") || text.contains(&entry) || !beside.contains(&entry)
    });
}

#[track_caller]
fn settle(keygate: &Keygate, done: &Done) {
    let admin = keygate.admin();
    admin.post("/reload").expect(200);
    let text = keygate.key_text();
    let (ids, counter) = look(keygate.key_path(), text.as_bytes());
    let made = done.made.lock().unwrap();
    let deleted = done.deleted.lock().unwrap();
    let overwritten = done.overwritten.lock().unwrap();
    let expected: BTreeSet<String> = made
        .keys()
        .filter(|id| !deleted.contains(*id))
        .cloned()
        .chain(["k_good", "k_other", COUNTER].map(str::to_owned))
        .collect();
    let missing: Vec<_> = expected
        .difference(&ids)
        .filter(|id| !overwritten.made.contains(*id))
        .collect();
    let back: Vec<_> = ids
        .difference(&expected)
        .filter(|id| !overwritten.deleted.contains(*id))
        .collect();
    assert!(
        missing.is_empty(),
        "made, and gone: {missing:?}; {overwritten:?}"
    );
    assert!(
        back.is_empty(),
        "deleted, and back: {back:?}; {overwritten:?}"
    );
    let counted = done.counted.load(Ordering::SeqCst);
    assert_eq!(counter + overwritten.counted, counted, "counts were lost");
    for comment in done.comments.lock().unwrap().iter() {
        assert!(
            text.contains(comment.as_str()),
            "a comment is lost: {comment}"
        );
    }
    assert!(text.contains("# everybody counts here"));
    // And the process agrees with the file.
    let total = admin.get("/keys?limit=1").expect(200).json()["total"].clone();
    assert_eq!(total, ids.len());
    for (id, token) in made.iter().rev().take(200) {
        let status = if ids.contains(id) { 200 } else { 401 };
        assert_eq!(keygate.status(token), status, "{id}");
    }
    assert_eq!(
        keygate.failed_reloads(),
        0.0,
        "the file was whole all the time"
    );
    let left: Vec<String> = fs::read_dir(keygate.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("keys") && !name.contains(RESCUED))
        .collect();
    assert_eq!(
        left,
        ["keys.yaml"],
        "nothing of ours is left beside the file"
    );
}

#[test]
fn clients_commands_and_hands_lose_nothing() {
    let upstream = Upstream::fast();
    let keygate = started(&upstream);
    let done = Done::default();
    std::thread::scope(|scope| {
        let stop = Stop(&done);
        let (keygate, done) = (&keygate, &done);
        let path = keygate.key_path();
        for index in 0..3 {
            scope.spawn(move || {
                let _stop = Stop(done);
                api_client(index, &keygate.admin(), done);
            });
        }
        for index in 0..2 {
            scope.spawn(move || {
                let _stop = Stop(done);
                shell(index, keygate, done);
            });
        }
        scope.spawn(move || {
            let _stop = Stop(done);
            editor(path, done);
        });
        scope.spawn(move || {
            let _stop = Stop(done);
            appender(path, done);
        });
        let looks = scope.spawn(move || reader(path, done));
        let begun = Instant::now();
        // On a busy machine some get few turns: it goes on until each kind has had its share.
        eventually("all kinds have edited", SPAN + 2 * SOON, || {
            let enough = KINDS.iter().all(|kind| done.edits_of(kind) >= EDITS_MIN);
            begun.elapsed() > SPAN && enough || !done.goes_on()
        });
        drop(stop);
        assert!(looks.join().unwrap() > 100, "the file was looked at");
    });
    leave_out_rescued(keygate.key_path(), &done);
    settle(&keygate, &done);
    for kind in KINDS {
        let edits = done.edits_of(kind);
        assert!(edits >= EDITS_MIN, "{kind} got to edit: {edits}");
    }
    assert!(done.comments.lock().unwrap().len() > 10);
    let times = done.overwritten.lock().unwrap().times;
    assert!(times < 100, "the editor overwrote others {times} times");
}

/// Without any hand there is nothing to excuse: all clients and processes agree on every count.
#[test]
fn clients_and_commands_count_without_a_gap() {
    let upstream = Upstream::fast();
    let keygate = started(&upstream);
    let done = Done::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (keygate, done) = (&keygate, &done);
            scope.spawn(move || {
                let admin = keygate.admin();
                for _ in 0..25 {
                    count(&admin, done);
                }
            });
        }
        let (keygate, done) = (&keygate, &done);
        scope.spawn(move || {
            for round in 0..6 {
                let id = format!("k_cli_{round}");
                let output = keys_command(keygate, &["create", &id, "--id", &id]);
                assert!(output.status.success(), "{output:?}");
                let token = String::from_utf8(output.stdout).unwrap().trim().to_owned();
                done.made.lock().unwrap().insert(id, token);
            }
        });
    });
    settle(&keygate, &done);
    let (counted, lost) = (
        done.counted.load(Ordering::SeqCst),
        done.lost.load(Ordering::SeqCst),
    );
    assert_eq!(counted + lost, 100);
    assert!(counted >= 25, "somebody wins each time: {counted}");
}

/// Two processes and the API change the same key, a field each: nobody's field is lost.
#[test]
fn edits_of_one_key_by_different_ways_all_count() {
    let upstream = Upstream::fast();
    let keygate = started(&upstream);
    let admin = keygate.admin();
    for round in 0..4 {
        let tag = round.to_string();
        std::thread::scope(|scope| {
            let keygate = &keygate;
            let description = format!("described {round}");
            scope.spawn(move || {
                let output =
                    keys_command(keygate, &["edit", "k_good", "--description", &description]);
                assert!(output.status.success(), "{output:?}");
            });
            let switch = if round % 2 == 0 { "disable" } else { "enable" };
            scope.spawn(move || {
                let output = keys_command(keygate, &[switch, "k_good"]);
                assert!(output.status.success(), "{output:?}");
            });
            let (admin, tag) = (&admin, &tag);
            scope.spawn(move || {
                admin
                    .patch("/keys/k_good")
                    .if_match("*")
                    .json(&json!({"tags": {"round": tag}}))
                    .expect(200);
            });
        });
        eventually("all three are live", SOON, || {
            let (key, _) = admin.key("k_good");
            key["description"] == format!("described {round}")
                && key["enabled"] == (round % 2 == 1)
                && key["tags"]["round"] == tag.as_str()
        });
    }
}

/// Whether keygate is asked to stop or killed in the middle of edits: what it has answered is in the file, and the file
/// is whole.
#[test]
fn what_was_answered_survives_a_stop_and_a_kill() {
    let upstream = Upstream::fast();
    for (round, signal) in [
        Signal::TERM,
        Signal::KILL,
        Signal::KILL,
        Signal::TERM,
        Signal::KILL,
    ]
    .into_iter()
    .enumerate()
    {
        let mut keygate = started(&upstream);
        let answered = Mutex::new(BTreeSet::new());
        std::thread::scope(|scope| {
            for client in 0..3 {
                let (admin, answered) = (keygate.admin(), &answered);
                scope.spawn(move || {
                    for number in 0.. {
                        let id = format!("k_{client}_{number}");
                        let body = json!({"name": id, "id": id});
                        let Some(answer) = admin.post("/keys").json(&body).try_ask() else {
                            return;
                        };
                        match answer.status {
                            201 => drop(answered.lock().unwrap().insert(id)),
                            // It is stopping, or lost against the others too often.
                            412 | 503 => {}
                            _ => panic!("{answer:?}"),
                        }
                    }
                });
            }
            let enough = 5 + 4 * round;
            eventually("keys are made", SOON, || {
                answered.lock().unwrap().len() >= enough
            });
            keygate.signal(signal);
        });
        let status = keygate.wait();
        assert_eq!(status.success(), signal == Signal::TERM, "{status}");
        let (ids, _) = look(keygate.key_path(), keygate.key_text().as_bytes());
        let answered = answered.into_inner().unwrap();
        let lost: Vec<_> = answered.difference(&ids).collect();
        assert!(lost.is_empty(), "{signal:?}: answered, and gone: {lost:?}");
        let more = ids.len() - answered.len();
        assert!(
            more <= 3 + 3,
            "{signal:?}: at most one for each client was not answered: {more}"
        );
    }
}
