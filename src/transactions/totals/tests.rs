//! From a record to the totals and, over the log, to those of the next process.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use http::HeaderValue;

use crate::health::Health;
use crate::key::KeyFields;
use crate::key::live::KeyReader;
use crate::key::live::publish;
use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::metrics::Metrics;
use crate::refusal::Decision;
use crate::refusal::Reason;
use crate::transactions::Log;
use crate::transactions::Recorder;
use crate::transactions::record::Record;
use crate::transactions::tests::config;
use crate::transactions::tests::key;

use super::*;

const CLOSED: &str = "transactions-20261101T000000.000000Z.ndjson";

fn eventually(what: &str, check: impl Fn() -> bool) {
    let clock = Clock::system();
    let start: Instant = clock.now();
    while !check() {
        assert!(
            clock.now() - start < Duration::from_secs(20),
            "not within 20 s: {what}"
        );
        std::thread::yield_now();
    }
}

fn clock() -> Clock {
    Clock::by_hand(Timestamp::parse("2026-11-23T10:00:00Z").unwrap())
}

fn start(folder: &Path, clock: &Clock) -> (Log, Rc<Recorder>) {
    let metrics = Metrics::new(1);
    let log = Log::start(&config(folder), &metrics, &Health::new(), clock.clone()).unwrap();
    let recorder = Rc::new(log.recorder(metrics.worker(0)));
    (log, recorder)
}

fn reader(keys: &[&Arc<Key>]) -> KeyReader {
    let keys = keys.iter().map(|key| Arc::clone(key)).collect();
    publish(KeyTable::build(keys, Revision::of(b"1")).unwrap()).1
}

fn rebuilt(log: &mut Log, keys: &[&Arc<Key>]) -> Totals {
    log.rebuild(reader(keys));
    let totals = log.totals().clone();
    eventually("the log is read", || !totals.rebuild().running);
    totals
}

/// Some minutes of requests of all kinds.
fn busy(recorder: &Rc<Recorder>, clock: &Clock, keys: &[&Arc<Key>]) {
    for number in 0..500usize {
        let id = HeaderValue::try_from(format!("r{number}")).unwrap();
        let mut transaction = recorder.open(Record::begin(clock.now(), clock.wall(), id));
        transaction.decision = Decision::ALL[number % 5];
        transaction.reason = Reason::from_index(number % 40);
        transaction.key = keys.get(number % 3).map(|key| Arc::clone(key));
        transaction.status = [None, Some(200), Some(500)][number % 3];
        transaction.request_bytes = number as u64;
        transaction.response_bytes = 3 * number as u64;
        clock.advance(Duration::from_millis(700));
    }
    recorder.flush();
}

#[test]
fn what_the_log_holds_adds_up_to_what_was_counted_live() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let (one, two) = (key("k_1", "one", true), key("k_2", "two", true));
    let (log, recorder) = start(folder.path(), &clock);
    busy(&recorder, &clock, &[&one, &two]);
    let live = log.totals().clone();
    drop(recorder);
    log.close();
    assert_eq!(live.all(1_440).counters.requests, 500);
    let last_used = one.usage().totals();
    assert_eq!(last_used.requests, 167);

    // Of the two keys, one is there at the next start.
    let again = key("k_1", "one", true);
    let (mut log, _recorder) = start(folder.path(), &clock);
    let found = rebuilt(&mut log, &[&again]);
    assert_eq!(
        found.key(&again, 1_440).counters,
        live.key(&one, 1_440).counters
    );
    assert_eq!(
        found.key(&again, 1_440).minutes,
        live.key(&one, 1_440).minutes
    );
    let (found_all, live_all) = (found.all(1_440), live.all(1_440));
    assert_eq!(found_all.counters, live_all.counters);
    assert_eq!(found_all.decisions, live_all.decisions);
    assert_eq!(found_all.minutes, live_all.minutes);
    assert_eq!(
        found_all.top, live_all.top,
        "deleted keys too, with their names"
    );
    assert_eq!(again.usage().totals(), last_used);
    assert_eq!(
        found.days(&[Arc::clone(&again)]),
        live.days(&[Arc::clone(&one)])
    );
    assert_eq!(
        found.since(),
        Timestamp::parse("2026-11-23T10:00:00Z").unwrap()
    );
    let rebuild = found.rebuild();
    assert_eq!(
        (rebuild.records, rebuild.lost, &rebuild.problems[..]),
        (500, 0, &[][..])
    );
    assert!(rebuild.bytes_total > 50_000 && rebuild.bytes_done == rebuild.bytes_total);
    log.close();
}

#[test]
fn records_from_before_a_key_was_made_are_of_another_that_had_its_id() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let old = key("k_1", "one", true);
    let (log, recorder) = start(folder.path(), &clock);
    busy(&recorder, &clock, &[&old]);
    let made = clock.wall();
    let new = KeyFields {
        created_at: Some(made),
        ..old.to_fields()
    };
    let new = Arc::new(Key::new(new));
    busy(&recorder, &clock, &[&new]);
    let live = log.totals().clone();
    drop(recorder);
    log.close();
    assert_eq!(live.key(&new, 1_440).counters.first_at, Some(made));

    let again = Arc::new(Key::new(new.to_fields()));
    let (mut log, _recorder) = start(folder.path(), &clock);
    let found = rebuilt(&mut log, &[&again]);
    assert_eq!(
        found.key(&again, 1_440).counters,
        live.key(&new, 1_440).counters
    );
    assert_eq!(again.usage().totals(), new.usage().totals());
    assert_eq!(found.all(1).counters.requests, 1_000);
    log.close();
}

#[test]
fn lines_of_this_process_are_counted_once_also_when_the_file_is_closed_meanwhile() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let one = key("k_1", "one", true);
    let (log, recorder) = start(folder.path(), &clock);
    busy(&recorder, &clock, &[&one]);
    drop(recorder);
    log.close();
    let (mut log, recorder) = start(folder.path(), &clock);
    busy(&recorder, &clock, &[&one]);
    let files = config(folder.path()).dir;
    eventually("all are written", || {
        let text = fs::read_to_string(files.join("transactions.ndjson")).unwrap();
        text.lines().count() == 1_000
    });
    fs::rename(files.join("transactions.ndjson"), files.join(CLOSED)).unwrap();
    let totals = rebuilt(&mut log, &[&one]);
    eventually("both halves are counted", || {
        totals.all(1).counters.requests >= 1_000
    });
    assert_eq!(totals.all(1).counters.requests, 1_000);
    drop(recorder);
    log.close();
}

#[test]
fn what_is_no_record_is_skipped_counted_and_named() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let (log, recorder) = start(folder.path(), &clock);
    busy(&recorder, &clock, &[]);
    drop(recorder);
    log.close();
    let files = config(folder.path()).dir;
    let good = fs::read(files.join("transactions.ndjson")).unwrap();
    let line = &good[..=memchr::memchr(b'\n', &good).unwrap()];
    let told = String::from_utf8(line.to_vec())
        .unwrap()
        .replacen(",", ",\"lost\":7,", 1);
    let mut mixed = Vec::new();
    for part in [
        line,
        b"no json\n",
        b"\0\0\0\0\n\n",
        b"{\"time\":\"yesterday\",\"request_id\":\"r\",\"decision\":\"allowed\",\"end\":\"complete\"}\n",
        &[&[b'x'; 3 * 1024 * 1024][..], b"\n"].concat(),
        told.as_bytes(),
        &line[..line.len() / 2],
    ] {
        mixed.extend_from_slice(part);
    }
    put(&files.join(CLOSED), &mixed);
    let (mut log, _recorder) = start(folder.path(), &clock);
    let totals = rebuilt(&mut log, &[]);
    let rebuild = totals.rebuild();
    let [problem] = &rebuild.problems[..] else {
        panic!("one file is not whole: {rebuild:?}")
    };
    assert_eq!((&*problem.file, problem.lines), (CLOSED, 5));
    assert_eq!((rebuild.records, rebuild.lost), (502, 7));
    assert_eq!(totals.lost(), 7);
    log.close();
}

fn put(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    fs::File::create_new(path)
        .unwrap()
        .write_all(bytes)
        .unwrap();
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_others_count() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let (log, recorder) = start(folder.path(), &clock);
    busy(&recorder, &clock, &[]);
    drop(recorder);
    log.close();
    let files = config(folder.path()).dir;
    put(&files.join(CLOSED), b"x");
    let (mut log, _recorder) = start(folder.path(), &clock);
    // Gone since it was seen: pruned, and no problem.
    fs::remove_file(files.join(CLOSED)).unwrap();
    let totals = rebuilt(&mut log, &[]);
    assert_eq!(totals.all(1).counters.requests, 500);
    assert_eq!(totals.rebuild().problems, []);
    assert_eq!(totals.rebuild().bytes_done, totals.rebuild().bytes_total);
    log.close();
    // There, and no file that can be opened.
    put(&files.join(CLOSED), b"x");
    let (mut log, _recorder) = start(folder.path(), &clock);
    fs::remove_file(files.join(CLOSED)).unwrap();
    fs::create_dir(files.join(CLOSED)).unwrap();
    let totals = rebuilt(&mut log, &[]);
    assert_eq!(totals.all(1).counters.requests, 500);
    assert_eq!(totals.rebuild().problems[0].file, CLOSED);
    log.close();
}

#[test]
fn a_log_that_is_off_counts_and_reads_nothing() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let (log, recorder) = start(folder.path(), &clock);
    busy(&recorder, &clock, &[]);
    drop(recorder);
    log.close();
    let mut config = config(folder.path());
    config.enabled = false;
    let metrics = Metrics::new(1);
    let mut log = Log::start(&config, &metrics, &Health::new(), clock.clone()).unwrap();
    log.rebuild(reader(&[]));
    assert!(!log.totals().rebuild().running);
    let recorder = Rc::new(log.recorder(metrics.worker(0)));
    let quiet = key("k_1", "one", false);
    busy(&recorder, &clock, &[&quiet]);
    let totals = log.totals().clone();
    drop(recorder);
    log.close();
    assert_eq!(totals.all(1).counters.requests, 500);
    assert_eq!(totals.key(&quiet, 1).counters.requests, 167);
}

/// Hands over far more than there is room for, while the book is held; how many.
fn overrun(recorder: &Recorder, clock: &Clock) -> u64 {
    let all = 64 * 1_024 + 1_024 + 8 * 1_024 + 5_000;
    for _ in 0..all {
        let id = HeaderValue::from_static("r");
        let mut record = Record::begin(clock.now(), clock.wall(), id);
        recorder.totals.note(Event::of(&mut record, Duration::ZERO));
    }
    all
}

#[test]
fn more_than_the_thread_can_take_is_counted_as_lost_and_nobody_waits() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let (log, recorder) = start(folder.path(), &clock);
    let totals = log.totals().clone();
    let reading = totals.shared.book();
    let all = overrun(&recorder, &clock);
    let lost = totals.lost();
    assert!((5_000..=6_024).contains(&lost), "{lost}");
    drop(reading);
    eventually("there is room", || {
        recorder.flush();
        !recorder.has_pending()
    });
    drop(recorder);
    log.close();
    assert_eq!(totals.all(1).counters.requests + totals.lost(), all);
    assert_eq!(totals.lost(), lost);
}

#[test]
fn what_a_worker_cannot_hand_over_at_its_end_is_counted_as_lost() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
    let (log, recorder) = start(folder.path(), &clock);
    let totals = log.totals().clone();
    let reading = totals.shared.book();
    let all = overrun(&recorder, &clock);
    let lost = totals.lost();
    drop(recorder);
    assert_eq!(totals.lost(), lost + 8 * 1_024);
    drop(reading);
    log.close();
    assert_eq!(totals.all(1).counters.requests + totals.lost(), all);
}
