//! What a transaction costs. Protects: recording stays a small fraction of a request (target: at most 2 µs of
//! the worker, aim 0.5), and one writer thread keeps up with every worker (target: at least 500,000 records
//! a second).
//!
//! Last seen on 2026-11-25, two cores of a virtual EPYC, rustc 1.95, `cargo bench --bench record`: worker 0.56 µs a
//! record, of which 0.23 µs are left with the log off (making the record, three looks at the clock, metrics, an event for
//! the totals); into the file 1.7 million records a second, worker and writer together; read back into the totals
//! 0.69 million a second. (Two days before, without the totals' thread on the other core: 0.32, 0.17, 2.6 million.)

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use http::HeaderValue;
use http::Method;
use http::Uri;
use keygate::clock::Clock;
use keygate::config::Durability;
use keygate::config::RecordedClientIp;
use keygate::config::RecordedQuery;
use keygate::config::Transactions;
use keygate::config::WhenFull;
use keygate::health::Health;
use keygate::key::Key;
use keygate::key::KeyFields;
use keygate::key::live::publish;
use keygate::key::table::KeyTable;
use keygate::key::table::Revision;
use keygate::key::token::Digest;
use keygate::metrics::Metrics;
use keygate::metrics::Sink;
use keygate::refusal::Decision;
use keygate::transactions::Log;
use keygate::transactions::Recorder;
use keygate::transactions::record::End;
use keygate::transactions::record::Record;
use keygate::transactions::record::Target;

/// What one round hands to the writer: less than its queue holds, so that nothing is dropped.
const RECORDS: u64 = 20_000;

/// What the log holds at a start: some 50 MiB.
const PAST_RECORDS: u64 = 100_000;

fn key() -> Arc<Key> {
    let digest = Digest::of(b"token-of-a-bench");
    Arc::new(Key::new(KeyFields::new("billing", digest)))
}

/// A usual request.
fn usual(clock: &Clock, key: &Arc<Key>, upstream: &Arc<str>) -> Record {
    Record {
        decision: Decision::Allowed,
        key: Some(Arc::clone(key)),
        client: Some([10, 1, 2, 3].into()),
        method: Some(Method::GET),
        host: Some(HeaderValue::from_static("api.example.com")),
        target: Target::Uri(Uri::from_static(
            "/v1/invoices/2026-11-23/items?page=2&limit=50",
        )),
        status: Some(200),
        response_bytes: 1_024,
        upstream_time: Some(Duration::from_micros(840)),
        upstream: Some(Arc::clone(upstream)),
        user_agent: Some(HeaderValue::from_static(
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101",
        )),
        end: End::Complete,
        ..Record::begin(
            clock.now(),
            clock.wall(),
            HeaderValue::from_static("3fA9x7Q2k0LmZp4RbV8s1T"),
        )
    }
}

struct Setup {
    folder: tempfile::TempDir,
    metrics: Arc<Metrics>,
    log: Log,
    recorder: Rc<Recorder>,
    clock: Clock,
}

fn config(folder: &Path, enabled: bool) -> Transactions {
    Transactions {
        enabled,
        dir: folder.to_owned(),
        stdout: false,
        query: RecordedQuery::Names,
        client_ip: RecordedClientIp::Full,
        skip_paths: Vec::new(),
        durability: Durability::Buffered,
        when_full: WhenFull::Drop,
        rotate_size: 64 * 1024 * 1024,
        rotate_age: Duration::from_secs(86_400),
        keep_size: 64 * 1024 * 1024,
        keep_age: Duration::from_secs(86_400),
    }
}

fn setup(enabled: bool) -> Setup {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let config = config(folder.path(), enabled);
    let (metrics, clock) = (Metrics::new(1), Clock::system());
    let log = Log::start(&config, &metrics, &Health::new(), clock.clone())
        .expect("the folder is writable");
    let recorder = Rc::new(log.recorder(metrics.worker(0)));
    Setup {
        folder,
        metrics,
        log,
        recorder,
        clock,
    }
}

/// The worker's share: begin, fill in, drop, line into the buffer, handover now and then.
fn worker(c: &mut Criterion) {
    let (key, upstream) = (key(), Arc::from("127.0.0.1:3000"));
    let mut group = c.benchmark_group("record");
    group.throughput(Throughput::Elements(1));
    for (name, enabled) in [("worker", true), ("worker, log off", false)] {
        let setup = setup(enabled);
        group.bench_function(name, |b| {
            b.iter(|| {
                drop(black_box(setup.recorder.open(usual(
                    &setup.clock,
                    &key,
                    &upstream,
                ))))
            });
        });
    }
    group.finish();
}

/// Everything from the first record to the file being whole: worker and writer at once.
fn writer(c: &mut Criterion) {
    let (key, upstream) = (key(), Arc::from("127.0.0.1:3000"));
    let mut group = c.benchmark_group("record");
    group
        .throughput(Throughput::Elements(RECORDS))
        .sample_size(20);
    group.bench_function("into the file", |b| {
        b.iter_batched(
            || setup(true),
            |Setup {
                 folder,
                 metrics,
                 log,
                 recorder,
                 clock,
             }| {
                for _ in 0..RECORDS {
                    drop(recorder.open(usual(&clock, &key, &upstream)));
                }
                drop(recorder);
                log.close();
                assert_eq!(
                    metrics.dropped_so_far(Sink::File),
                    0,
                    "the queue holds a round"
                );
                folder // deleted outside of what is measured
            },
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// The log's past into the totals, as after a restart.
fn rebuild(c: &mut Criterion) {
    let (key, upstream) = (key(), Arc::from("127.0.0.1:3000"));
    let table = KeyTable::build(vec![Arc::clone(&key)], Revision::of(b"1")).expect("one key");
    let keys = publish(table).1;
    let Setup {
        folder,
        metrics,
        log,
        recorder,
        clock,
    } = setup(true);
    for number in 1..=PAST_RECORDS {
        drop(recorder.open(usual(&clock, &key, &upstream)));
        if number % RECORDS == 0 {
            recorder.flush();
            std::thread::sleep(Duration::from_millis(100)); // for the writer
        }
    }
    drop(recorder);
    log.close();
    assert_eq!(
        metrics.dropped_so_far(Sink::File),
        0,
        "the queue holds a round"
    );
    let config = config(folder.path(), true);
    let mut group = c.benchmark_group("record");
    group
        .throughput(Throughput::Elements(PAST_RECORDS))
        .sample_size(10);
    group.bench_function("read into the totals", |b| {
        b.iter(|| {
            let mut log = Log::start(&config, &metrics, &Health::new(), clock.clone())
                .expect("the folder is writable");
            log.rebuild(keys.clone());
            while log.totals().rebuild().running {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(log.totals().rebuild().records, PAST_RECORDS);
            log.close();
        });
    });
    group.finish();
}

criterion_group!(benches, worker, writer, rebuild);
criterion_main!(benches);
