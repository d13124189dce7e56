//! Once and only once, in whole lines, and never lost where that was promised.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Instant;

use http::HeaderValue;
use http::Uri;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::config::Durability;
use crate::config::RecordedClientIp;
use crate::config::RecordedQuery;
use crate::config::WhenFull;
use crate::key::Key;
use crate::key::KeyFields;
use crate::key::KeyId;
use crate::key::token::Digest;
use crate::metrics::KeyCounts;
use crate::refusal::Decision;
use crate::transactions::record::End;

use super::*;

/// A key in force.
pub(super) fn key(id: &str, name: &str, record: bool) -> Arc<Key> {
    Arc::new(Key::new(KeyFields {
        id: KeyId::parse(id).unwrap(),
        record,
        ..KeyFields::new(name, Digest::of(b"token-of-a-test"))
    }))
}

pub(super) fn config(folder: &Path) -> config::Transactions {
    config::Transactions {
        enabled: true,
        dir: folder.join("transactions"),
        stdout: false,
        query: RecordedQuery::Names,
        client_ip: RecordedClientIp::Full,
        skip_paths: Vec::new(),
        durability: Durability::Buffered,
        when_full: WhenFull::Drop,
        rotate_size: 64 * 1024 * 1024,
        rotate_age: Duration::from_secs(86_400),
        keep_size: 256 * 1024 * 1024,
        keep_age: Duration::from_secs(30 * 86_400),
    }
}

struct Setup {
    folder: tempfile::TempDir,
    metrics: Arc<Metrics>,
    clock: Clock,
    log: Log,
}

fn setup(workers: usize, change: impl FnOnce(&mut config::Transactions)) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    change(&mut config);
    let clock = Clock::by_hand(Timestamp::parse("2026-11-23T10:00:00Z").unwrap());
    let metrics = Metrics::new(workers);
    let log = Log::start(&config, &metrics, &Health::new(), clock.clone()).unwrap();
    Setup {
        folder,
        metrics,
        clock,
        log,
    }
}

impl Setup {
    fn recorder(&self, worker: usize) -> Rc<Recorder> {
        Rc::new(self.log.recorder(self.metrics.worker(worker)))
    }

    fn lines(&self) -> Vec<Value> {
        lines(self.folder.path())
    }

    fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render(KeyCounts::default());
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
            .parse()
            .unwrap()
    }
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("transactions/transactions.ndjson")).unwrap();
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "a torn line at the end"
    );
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

fn record(clock: &Clock, id: &str) -> Record {
    Record::begin(
        clock.now(),
        clock.wall(),
        HeaderValue::from_str(id).unwrap(),
    )
}

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

#[test]
fn a_transaction_is_recorded_once_when_it_is_dropped() {
    let setup = setup(1, |_| {});
    let recorder = setup.recorder(0);
    let mut transaction = recorder.open(record(&setup.clock, "r1"));
    assert_eq!(setup.metric("keygate_requests_in_flight"), 1.0);
    assert!(!recorder.has_pending());
    transaction.decision = Decision::Allowed;
    transaction.status = Some(204);
    transaction.end = End::Complete;
    setup.clock.advance(Duration::from_micros(1_234));
    drop(transaction);
    assert!(recorder.has_pending());
    assert_eq!(setup.metric("keygate_requests_in_flight"), 0.0);
    recorder.flush();
    assert!(!recorder.has_pending());
    eventually("the line is in the file without a close", || {
        setup.lines().len() == 1
    });
    drop(recorder);
    let series = r#"keygate_requests_total{decision="allowed",reason="",code_class="2xx"}"#;
    assert_eq!(setup.metric(series), 1.0);
    assert_eq!(setup.metric("keygate_transactions_total"), 1.0);
    let folder = setup.folder;
    setup.log.close();
    let [line] = &lines(folder.path())[..] else {
        panic!("one line was recorded")
    };
    assert_eq!(
        (&line["request_id"], &line["duration_us"]),
        (&"r1".into(), &1_234.into())
    );
    assert_eq!(
        (&line["status"], &line["end"]),
        (&204.into(), &"complete".into())
    );
}

#[test]
fn a_panic_while_serving_is_recorded() {
    let setup = setup(1, |_| {});
    let recorder = setup.recorder(0);
    let transaction = recorder.open(record(&setup.clock, "r1"));
    drop(recorder);
    let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _transaction = transaction;
        panic!("a fault in a test");
    }));
    assert!(served.is_err());
    let folder = setup.folder;
    setup.log.close();
    let [line] = &lines(folder.path())[..] else {
        panic!("one line was recorded")
    };
    assert_eq!(line["error"], "keygate panicked while serving this request");
    assert_eq!(
        (line.get("status"), &line["end"]),
        (None, &"client_gone".into())
    );
}

#[test]
fn a_worker_that_ends_or_panics_loses_no_line() {
    let setup = setup(1, |_| {});
    let recorder = setup.log.recorder(setup.metrics.worker(0));
    let clock = setup.clock.clone();
    let worker = std::thread::spawn(move || {
        let recorder = Rc::new(recorder);
        for number in 0..10 {
            drop(recorder.open(record(&clock, &number.to_string())));
        }
        panic!("a fault in a test");
    });
    assert!(worker.join().is_err());
    let folder = setup.folder;
    setup.log.close();
    assert_eq!(lines(folder.path()).len(), 10);
}

#[test]
fn lines_of_two_workers_stay_whole_and_in_order_and_none_is_lost_at_close() {
    const EACH: usize = 20_000;
    let setup = setup(2, |_| {});
    let start = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..2)
        .map(|worker| {
            let recorder = setup.log.recorder(setup.metrics.worker(worker));
            let (clock, start) = (setup.clock.clone(), Arc::clone(&start));
            std::thread::spawn(move || {
                let recorder = Rc::new(recorder);
                while !start.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
                for number in 0..EACH {
                    drop(recorder.open(record(&clock, &format!("{worker}-{number}"))));
                    if number % 1_000 == 0 {
                        recorder.flush();
                    }
                }
            })
        })
        .collect();
    start.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap();
    }
    let dropped = setup.metrics.dropped_so_far(Sink::File);
    let folder = setup.folder;
    setup.log.close();
    assert_eq!(dropped, 0, "the queue holds more than this test makes");
    let mut next = [0, 0];
    for line in lines(folder.path()) {
        let (worker, number) = line["request_id"]
            .as_str()
            .unwrap()
            .split_once('-')
            .unwrap();
        let worker: usize = worker.parse().unwrap();
        assert_eq!(
            number.parse::<usize>().unwrap(),
            next[worker],
            "worker {worker}"
        );
        next[worker] += 1;
    }
    assert_eq!(next, [EACH, EACH]);
}

#[test]
fn what_is_not_recorded_is_counted_all_the_same() {
    let setup = setup(1, |config| {
        config.skip_paths = vec!["/healthz".to_owned(), "/static/**".to_owned()]
    });
    let recorder = setup.recorder(0);
    let open = |id: &str, path: &'static str, key_records: bool| {
        let mut transaction = recorder.open(record(&setup.clock, id));
        transaction.target = Target::Uri(Uri::from_static(path));
        transaction.key = Some(key("k_1", "one", key_records));
    };
    open("recorded", "/health", true);
    open("skipped path", "/healthz?x=1", true);
    open("skipped tree", "/static/a/b.css", true);
    open("quiet key", "/", false);
    drop(recorder);
    let series = r#"keygate_requests_total{decision="refused",reason="",code_class="none"}"#;
    assert_eq!(setup.metric(series), 4.0);
    assert_eq!(setup.metric("keygate_transactions_total"), 1.0);
    let folder = setup.folder;
    setup.log.close();
    let [line] = &lines(folder.path())[..] else {
        panic!("one line was recorded")
    };
    assert_eq!(line["request_id"], "recorded");
}

#[test]
fn a_log_that_is_off_makes_no_file_and_counts() {
    let setup = setup(1, |config| config.enabled = false);
    let recorder = setup.recorder(0);
    drop(recorder.open(record(&setup.clock, "r1")));
    assert!(recorder.has_pending(), "for the totals");
    recorder.flush();
    assert!(!recorder.has_pending());
    drop(recorder);
    setup.log.reopener()();
    let series = r#"keygate_requests_total{decision="refused",reason="",code_class="none"}"#;
    assert_eq!(
        (
            setup.metric(series),
            setup.metric("keygate_transactions_total")
        ),
        (1.0, 0.0)
    );
    assert_eq!(fs::read_dir(setup.folder.path()).unwrap().count(), 0);
    setup.log.close();
}

#[test]
fn a_log_that_cannot_be_written_is_an_error_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    fs::File::create_new(&config.dir).unwrap(); // a file where the folder should be
    let error = Log::start(&config, &Metrics::new(1), &Health::new(), Clock::system()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot write the transaction log: "),
        "{text}"
    );
    assert!(
        text.contains("transactions.ndjson: ") && text.contains("\n  hint: "),
        "{text}"
    );
}

#[test]
fn a_moved_file_is_written_anew_after_reopen() {
    let setup = setup(1, |_| {});
    let recorder = setup.recorder(0);
    let current = setup.folder.path().join("transactions/transactions.ndjson");
    drop(recorder.open(record(&setup.clock, "before")));
    recorder.flush();
    eventually("the first line is written", || setup.lines().len() == 1);
    let moved = current.with_extension("1");
    fs::rename(&current, &moved).unwrap();
    setup.log.reopener()();
    eventually("the file is there again", || current.exists());
    drop(recorder.open(record(&setup.clock, "after")));
    drop(recorder);
    let folder = setup.folder;
    setup.log.close();
    assert!(fs::read_to_string(moved).unwrap().contains("before"));
    assert_eq!(lines(folder.path())[0]["request_id"], "after");
}

#[test]
fn the_size_of_what_each_request_carries_is_known() {
    // It moves with the request's future and its body; a surprise here costs every request.
    assert!(
        size_of::<Transaction>() <= 520,
        "{}",
        size_of::<Transaction>()
    );
}

/// Takes the folder away from the log and puts a file in its place; `mend` takes that away again.
fn break_folder(setup: &Setup) -> impl FnOnce() + use<> {
    let folder = setup.folder.path().join("transactions");
    fs::remove_dir_all(&folder).unwrap();
    fs::File::create_new(&folder).unwrap();
    move || fs::remove_file(folder).unwrap()
}

#[test]
fn lines_that_are_kept_are_bounded_and_the_rest_of_them_is_written_later() {
    let setup = setup(1, |config| config.when_full = WhenFull::Wait);
    let recorder = setup.recorder(0);
    let mend = break_folder(&setup);
    drop(recorder.open(record(&setup.clock, "first")));
    recorder.flush();
    let file = recorder.file.as_ref().unwrap();
    eventually("the sink is stuck", || file.is_stuck());

    let mut recorded = 1;
    while setup.metrics.dropped_so_far(Sink::File) < 3 {
        drop(recorder.open(record(&setup.clock, "its client is gone")));
        recorded += 1;
        recorder.flush();
    }
    let kept = recorder.pending.borrow().bytes.len();
    assert!(
        (KEPT_UNWAITED_BYTES_MAX..KEPT_UNWAITED_BYTES_MAX + 4_096).contains(&kept),
        "{kept} bytes"
    );

    // Those have not taken the place of a request that waits.
    recorded += 1;
    let receipt = recorder.open(record(&setup.clock, "waits")).record();
    assert!(receipt.is_some());

    mend();
    eventually("the kept lines are handed over", || {
        recorder.flush();
        !recorder.has_pending()
    });
    drop(recorder);
    let Setup {
        folder,
        metrics,
        log,
        ..
    } = setup;
    log.close();
    let lines = lines(folder.path());
    assert_eq!(lines.len() as u64, recorded - 3);
    assert_eq!(metrics.dropped_so_far(Sink::File), 3);
    assert_eq!(lines[1]["lost"], 3, "the first line after the loss tells");
}

#[test]
fn requests_are_refused_while_their_records_cannot_be_written_and_they_would_have_one() {
    let setup = setup(1, |config| {
        config.when_full = WhenFull::Refuse;
        config.skip_paths = vec!["/health".into()];
    });
    let recorder = setup.recorder(0);
    let target = |path: &'static str| Record {
        target: Target::Uri(Uri::from_static(path)),
        ..record(&setup.clock, "r")
    };
    assert!(!recorder.refuses(&target("/")));
    let mend = break_folder(&setup);
    drop(recorder.open(target("/")));
    recorder.flush();
    eventually("the sink is stuck", || recorder.refuses(&target("/")));
    assert!(!recorder.refuses(&target("/health")));
    let unrecorded = Record {
        key: Some(key("k_1", "one", false)),
        ..target("/")
    };
    assert!(!recorder.refuses(&unrecorded));
    mend();
    eventually("it is over", || !recorder.refuses(&target("/")));
}

/// A disk that is slower than the traffic: the queue fills up, and goes on when there is room.
#[test]
fn a_full_queue_makes_requests_wait_until_there_is_room() {
    let setup = setup(1, |config| config.when_full = WhenFull::Wait);
    let (full, intake) = queue::queue(Sink::File, Arc::clone(&setup.metrics));
    let mut recorder = setup.log.recorder(setup.metrics.worker(0));
    recorder.file = Some(Arc::new(full));
    let recorder = Rc::new(recorder);
    let mut recorded = 0;
    let receipt = loop {
        recorded += 1;
        let receipt = recorder.open(record(&setup.clock, "r")).record();
        recorder.flush();
        if let Some(receipt) = receipt {
            break receipt;
        }
        assert!(recorded < 10_000, "the queue takes everything");
    };
    let mut receipt = std::pin::pin!(receipt);
    let mut context = Context::from_waker(Waker::noop());
    assert!(receipt.as_mut().poll(&mut context).is_pending());
    assert!(
        !recorder.refuses(&record(&setup.clock, "new")),
        "that was not asked for"
    );

    let mut taken = 0;
    while let queue::Next::Batch(batch) = intake.next(Duration::ZERO) {
        taken += batch.lines;
        recorder.flush();
    }
    assert!(receipt.as_mut().poll(&mut context).is_ready());
    assert_eq!(taken, recorded, "nothing is lost");
    assert_eq!(setup.metrics.dropped_so_far(Sink::File), 0);
}
