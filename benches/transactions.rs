//! A gibibyte of the transaction log, read back: the first page of several filters, on one thread.
//!
//! Protects: a filtered first page over 1 GiB of log (about 3 million lines) ≤ 1 s on one core and ≤ 64 MiB of extra
//! memory, over a key that occurs rarely as well.
//!
//! Last seen on 2026-11-25, 2,380,000 lines, two cores of a virtual EPYC with other work on them, the log in the page cache,
//! medians in ms (the slowest in brackets):
//!
//! | | |
//! |---|---|
//! | no filter; a common key | 0.1 (0.2) |
//! | a key with 3 lines, at the other end | 233 (249) |
//! | status 5xx; a path prefix, 3 lines | 189 (203); 192 (213) |
//! | free text in any case: 3 lines, none | 285 (318), 314 (355) |
//! | nothing matches: an id, three filters, a time before all of it | 327 (335), 247 (309), 229 (241) |
//!
//! Extra memory: at most 172 KiB beyond what the process had before, for two blocks of 256 KiB and a page.
//!
//! `cargo bench --bench transactions`; `TRANSACTIONS_MIB` for other sizes, and TMPDIR for another disk.
//! `cargo test --benches` runs a small one of it.

use std::env;
use std::error::Error;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::Method;
use http::Uri;
use keygate::clock::Clock;
use keygate::clock::Timestamp;
use keygate::config::Durability;
use keygate::config::RecordedClientIp;
use keygate::config::RecordedQuery;
use keygate::config::Transactions;
use keygate::config::WhenFull;
use keygate::health::Health;
use keygate::key::Key;
use keygate::key::KeyFields;
use keygate::key::token::Digest;
use keygate::metrics::Metrics;
use keygate::refusal::Decision;
use keygate::refusal::Reason;
use keygate::refusal::Refusal;
use keygate::transactions::Log;
use keygate::transactions::read::Filter;
use keygate::transactions::read::page;
use keygate::transactions::record::End;
use keygate::transactions::record::Record;
use keygate::transactions::record::Target;

/// What is made and closed at once: less than the writer's queue holds.
const ROUND: u64 = 20_000;
/// Each filter is asked so often; the median counts.
const ROUNDS: usize = 5;

/// A name, the filter, and how many records a page of 50 must have.
type Question = (&'static str, &'static [(&'static str, &'static str)], usize);

/// What is asked for.
const QUESTIONS: [Question; 10] = [
    ("no filter", &[], 50),
    ("common key", &[("key", "key-1")], 50),
    ("rare key, 3 lines", &[("key", "rare")], 3),
    ("status 5xx, 3 lines", &[("status", "5xx")], 3),
    ("path prefix, 3 lines", &[("path", "/rare/")], 3),
    ("free text, 3 lines", &[("search", "RARE/12")], 3),
    (
        "free text, none",
        &[("search", "jumps over the lazy dog")],
        0,
    ),
    ("nothing matches, by id", &[("request_id", "nobody")], 0),
    (
        "nothing matches, in three filters",
        &[
            ("decision", "allowed"),
            ("status", "200"),
            ("client", "10.9.9.9"),
        ],
        0,
    ),
    ("before all of it", &[("until", "2026-11-01")], 0),
];

fn main() -> Result<(), Box<dyn Error>> {
    let bench = env::args().any(|argument| argument == "--bench")
        && !env::args().any(|argument| argument == "--test");
    let mebibytes: u64 = match env::var("TRANSACTIONS_MIB") {
        Ok(text) => text.parse()?,
        Err(_) => {
            if bench {
                1_024
            } else {
                1
            }
        }
    };
    let folder = tempfile::tempdir()?;
    let lines = write(folder.path(), mebibytes << 20)?;
    let file = folder.path().join("transactions.ndjson");
    let bytes = fs::metadata(&file)?.len();
    io::copy(&mut File::open(&file)?, &mut io::sink())?; // into the page cache, as far as it goes
    let (clock, mut out) = (Clock::system(), io::stdout().lock());
    writeln!(out, "{lines} lines, {} MiB", bytes >> 20)?;
    for (name, filter, expected) in QUESTIONS {
        let filter = Filter::parse(filter.iter().copied(), clock.wall())?;
        let before = forget_peak()?;
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let begun = clock.now();
            let page = page(folder.path(), &filter, None, 50, &clock);
            took.push(clock.now().saturating_duration_since(begun));
            assert_eq!(page.lines.len(), expected, "{name}");
            assert!(
                page.next.is_none() || expected == 50,
                "{name}: not all of it was searched"
            );
        }
        took.sort_unstable();
        let (median, most) = (
            took[ROUNDS / 2].as_secs_f64() * 1e3,
            took[ROUNDS - 1].as_secs_f64() * 1e3,
        );
        let more = peak()?.saturating_sub(before);
        writeln!(
            out,
            "{name:<36} {median:>7.1} ms (at most {most:.1}), {more} KiB more"
        )?;
    }
    Ok(())
}

/// The log, as its own writer writes it, with three rare lines at its beginning; how many lines that are.
fn write(folder: &Path, bytes: u64) -> Result<u64, Box<dyn Error>> {
    let clock = Clock::by_hand(Timestamp::parse("2026-11-25T00:00:00Z")?);
    let (mut lines, mut number) = (0, 0);
    while fs::metadata(folder.join("transactions.ndjson")).map_or(0, |file| file.len()) < bytes {
        let (metrics, health) = (Metrics::new(1), Health::new());
        let log = Log::start(&config(folder), &metrics, &health, clock.clone())?;
        let recorder = Rc::new(log.recorder(metrics.worker(0)));
        for _ in 0..ROUND {
            let record = if (1..=3).contains(&number) {
                rare(&clock, number)
            } else {
                usual(&clock, number)
            };
            drop(recorder.open(record));
            clock.advance(Duration::from_micros(700));
            number += 1;
        }
        drop(recorder);
        log.close();
        lines += ROUND;
    }
    Ok(lines)
}

fn usual(clock: &Clock, number: u64) -> Record {
    let path = format!("/v1/invoices/{number}?page=2");
    let refused = number % 50 == 7;
    let key = format!("key-{}", number % 20);
    Record {
        decision: if refused {
            Decision::Refused
        } else {
            Decision::Allowed
        },
        reason: refused.then_some(Reason::Refused(Refusal::PathNotAllowed)),
        key: Some(named(&key)),
        client: Some([10, 1, 2, u8::try_from(number % 250).unwrap_or(0)].into()),
        method: Some(if number.is_multiple_of(3) {
            Method::POST
        } else {
            Method::GET
        }),
        host: Some(HeaderValue::from_static("api.example.com")),
        target: Target::Uri(Uri::try_from(path).unwrap_or_default()),
        status: Some(if refused { 403 } else { 200 }),
        response_bytes: 1_024 + number % 5_000,
        upstream_time: Some(Duration::from_micros(500 + number % 900)),
        upstream: Some("127.0.0.1:3000".into()),
        user_agent: Some(HeaderValue::from_static("okhttp/4.12.0")),
        end: End::Complete,
        ..Record::begin(clock.now(), clock.wall(), id(number))
    }
}

fn rare(clock: &Clock, number: u64) -> Record {
    let path = format!("/rare/12{number}");
    Record {
        key: Some(named("rare")),
        target: Target::Uri(Uri::try_from(path).unwrap_or_default()),
        status: Some(502),
        ..usual(clock, number)
    }
}

fn named(name: &str) -> Arc<Key> {
    Arc::new(Key::new(KeyFields::new(name, Digest::of(name.as_bytes()))))
}

/// As long as those that keygate makes.
fn id(number: u64) -> HeaderValue {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    HeaderValue::try_from(format!("{mixed:016x}{:06x}", number & 0xff_ffff))
        .unwrap_or(HeaderValue::from_static("none"))
}

fn config(folder: &Path) -> Transactions {
    Transactions {
        enabled: true,
        dir: folder.to_owned(),
        stdout: false,
        query: RecordedQuery::Names,
        client_ip: RecordedClientIp::Full,
        skip_paths: Vec::new(),
        durability: Durability::Buffered,
        when_full: WhenFull::Drop,
        rotate_size: u64::MAX,
        rotate_age: Duration::from_secs(86_400 * 365),
        keep_size: u64::MAX,
        keep_age: Duration::from_secs(86_400 * 365),
    }
}

/// The memory that this process has, in KiB; its peak is counted from here on.
fn forget_peak() -> Result<u64, Box<dyn Error>> {
    let mut refs = OpenOptions::new()
        .write(true)
        .open("/proc/self/clear_refs")?;
    refs.write_all(b"5")?;
    memory("VmRSS:")
}

/// The most memory that this process has had, in KiB.
fn peak() -> Result<u64, Box<dyn Error>> {
    memory("VmHWM:")
}

fn memory(field: &str) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    Ok(line
        .ok_or("no such field")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?)
}
