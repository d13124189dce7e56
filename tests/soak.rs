//! Covers "no wrong answer under load": 64 connections while the key file is edited again and again. Each
//! verdict must fit a set of keys that was in force between question and answer; nothing fails, and every
//! request has exactly one line. `KEYGATE_SOAK` is the number of requests.

mod mixed;

use std::collections::HashSet;
use std::env;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use std::time::Instant;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::keygate::Keygate;
use crate::harness::requests::with_token;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::setup::write_by_rename;
use crate::harness::setup::write_in_place;
use crate::harness::upstream::Upstream;

const CONNECTIONS: u64 = 64;

/// Enough for a second of every minute of a day.
const REQUESTS: u64 = 200_000;

/// The pause between two edits.
const PACE: Duration = Duration::from_millis(100);

const SOMETIMES: &str = "kg_test_sometimes-a-key_8wW9";
const NEVER: &str = "kg_test_never-a-key_9xX0";

/// The key file number `edit`. `other` is in all, `sometimes` in every second, `good` in all but every third.
fn keys(edit: u64) -> String {
    let mut entries = vec![entry("other", OTHER, "")];
    if has(edit, GOOD) {
        entries.push(entry("good", GOOD, ""));
    }
    if has(edit, SOMETIMES) {
        entries.push(entry("sometimes", SOMETIMES, ""));
    }
    key_file(&entries)
}

/// Whether a token passes while the key file number `edit` is in force.
fn has(edit: u64, token: &str) -> bool {
    match token {
        OTHER => true,
        GOOD => edit % 3 != 2,
        SOMETIMES => edit % 2 == 1,
        _ => false,
    }
}

/// How far the edits are: requests are judged by the sets from `live` (before the question) to `written`
/// (after the answer).
struct Edits {
    written: AtomicU64,
    live: AtomicU64,
    stop: AtomicBool,
}

#[test]
fn no_answer_is_wrong_while_keys_change() {
    let requests = env::var("KEYGATE_SOAK").map_or(REQUESTS, |count| {
        count.parse().expect("KEYGATE_SOAK is a number")
    });
    let upstream = Upstream::fast();
    let keygate = Setup::of(&upstream)
        .keys(keys(0))
        .set("transactions", "{keep: {size: 2GiB}}")
        .spawn();
    let edits = Edits {
        written: AtomicU64::new(0),
        live: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let asked = AtomicU64::new(0);
    let (done, is_done) = sync_channel::<()>(0);
    let (probes, edit_count) = std::thread::scope(|scope| {
        let _stop = StopOnDrop(&edits.stop);
        let (on, through) = (&keygate, &edits);
        let editor = scope.spawn(move || edit_keys(on, through, &is_done));
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|index| {
                let (keygate, edits, asked) = (&keygate, &edits, &asked);
                scope.spawn(move || play_client(keygate, edits, asked, index, requests))
            })
            .collect();
        let failed: Vec<_> = clients
            .into_iter()
            .filter_map(|client| client.join().err())
            .collect();
        drop(done);
        let edited = editor.join();
        assert!(
            failed.is_empty(),
            "{} clients saw something wrong",
            failed.len()
        );
        edited.unwrap()
    });
    let asked = asked.load(Ordering::SeqCst);
    assert!(asked >= requests, "{asked} requests");
    assert!(edit_count >= 3, "only {edit_count} edits");

    let metrics = keygate.metrics();
    assert_eq!(
        metrics.sum("keygate_requests_total", |labels| labels.contains("5xx")),
        0.0
    );
    assert_eq!(
        metrics.total("keygate_requests_total"),
        (asked + probes) as f64
    );
    assert_eq!(metrics.total("keygate_transactions_dropped_total"), 0.0);
    let records = keygate.finish().transactions;
    assert_eq!(records.len() as u64, asked + probes, "one line a request");
    let ids: HashSet<&str> = records
        .iter()
        .map(|record| record["request_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), records.len(), "no id twice");
}

/// One connection's requests, until all connections together have asked enough.
fn play_client(keygate: &Keygate, edits: &Edits, asked: &AtomicU64, index: u64, requests: u64) {
    let mut client = keygate.connect();
    let mut turn = index;
    while asked.load(Ordering::Relaxed) < requests && !edits.stop.load(Ordering::Relaxed) {
        let token = [GOOD, SOMETIMES, OTHER, NEVER][usize::try_from(turn % 4).unwrap()];
        let target = format!("/{index}/{turn}");
        let from = edits.live.load(Ordering::SeqCst);
        let response = client.ask(with_token(&target, token));
        let to = edits.written.load(Ordering::SeqCst);
        asked.fetch_add(1, Ordering::Relaxed);
        match response.status {
            200 => {
                assert!(
                    (from..=to).any(|edit| has(edit, token)),
                    "{token} passed, edits {from}..={to}"
                );
                assert_eq!(response.text(), target, "the answer to another request");
            }
            401 => assert!(
                (from..=to).any(|edit| !has(edit, token)),
                "{token} was refused, edits {from}..={to}"
            ),
            _ => panic!("{token}, edits {from}..={to}: {response:?}"),
        }
        if response.head.lists("connection", "close") {
            client = keygate.connect();
        }
        turn += 1;
    }
}

/// Edits the key file every [`PACE`], and finds out when each edit is live. The probes made, and the edits.
fn edit_keys(keygate: &Keygate, edits: &Edits, is_done: &Receiver<()>) -> (u64, u64) {
    let _stop = StopOnDrop(&edits.stop);
    let mut client = keygate.connect();
    let (mut probes, mut edit) = (0, 0);
    while is_done.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
        edit += 1;
        edits.written.store(edit, Ordering::SeqCst);
        if edit % 10 == 0 {
            rename_away_and_back(keygate, edit);
        } else {
            write_by_rename(keygate.key_path(), keys(edit));
        }
        // `sometimes` is in every second file: its verdict tells whether this one is live.
        probes += wait_until_live(&mut client, has(edit, SOMETIMES));
        edits.live.store(edit, Ordering::SeqCst);
    }
    (probes, edit)
}

/// As vim with a backup does: the old file moves aside, the new one is written whole under its name.
fn rename_away_and_back(keygate: &Keygate, edit: u64) {
    let (path, backup) = (keygate.key_path(), keygate.folder().join("backup"));
    let next = keygate.folder().join("next");
    write_in_place(&next, keys(edit));
    std::fs::rename(path, backup).unwrap();
    std::fs::rename(next, path).unwrap();
}

fn wait_until_live(client: &mut Client, passes: bool) -> u64 {
    let begun = Instant::now();
    let mut probes = 0;
    loop {
        probes += 1;
        let status = client.ask(with_token("/probe", SOMETIMES)).status;
        if status == if passes { 200 } else { 401 } {
            return probes;
        }
        assert!(begun.elapsed() < SOON, "an edit is not followed");
    }
}

/// Stops everybody when one of them ends, however it ends.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
