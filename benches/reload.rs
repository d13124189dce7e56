//! Protects the promise that an edit of a 10,000-key file is live within 50 ms: reading the file at the start
//! (`load`), reading it again after one entry changed (`edit`), both from bytes to a table that can be published,
//! and from the rename of the changed file to the first look-up in the new table (`live`).
//!
//! Last seen on 2026-11-23, 10,000 keys, two idle cores of a virtual EPYC, ms: load: YAML 33 (both cores), JSON 9.2,
//! NDJSON 7.3; edit: YAML 3.9, JSON 5.0, NDJSON 2.8; live: YAML 7.9, JSON 7.6, NDJSON 6.2.
//!
//! `cargo bench --bench reload`; `KEYGATE_BENCH_KEYS=1000000 cargo bench --bench reload -- ndjson` for more keys.

use std::fmt::Write as _;
use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use criterion::BatchSize;
use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use keygate::clock::Clock;
use keygate::health::Health;
use keygate::key::table::Revision;
use keygate::key::token::Digest;
use keygate::metrics::Metrics;
use keygate::store::format::Memory;
use keygate::store::format::parse;
use keygate::store::reload::Reloader;
use keygate::store::reload::load_initial;

/// A file of keys as keygate would write them; `edited` is the entry that is switched off.
fn text(format: &str, count: usize, edited: Option<usize>) -> String {
    let mut text = match format {
        "yaml" => "version: 1\nkeys:\n".to_owned(),
        "json" => "{\"version\": 1, \"keys\": [\n".to_owned(),
        _ => String::new(),
    };
    for number in 0..count {
        let digest = Digest::of(format!("token {number}").as_bytes());
        let (name, enabled) = (format!("customer {number}"), Some(number) != edited);
        let date = "2026-11-23T10:00:00Z";
        if format == "yaml" {
            writeln!(
                text,
                "  - id: k_{number:010}\n    name: {name}\n    digest: {digest}\n    mask: kg_3fA9…x7Q2\n    \
                 enabled: {enabled}\n    created_at: {date}\n    tags: {{team: billing}}"
            )
        } else {
            let comma = if format == "json" && number + 1 < count { "," } else { "" };
            writeln!(
                text,
                "{{\"id\": \"k_{number:010}\", \"name\": \"{name}\", \"digest\": \"{digest}\", \"mask\": \"kg_3fA9…x7Q2\", \
                 \"enabled\": {enabled}, \"created_at\": \"{date}\", \"tags\": {{\"team\": \"billing\"}}}}{comma}"
            )
        }
        .expect("a string takes what is written");
    }
    if format == "json" {
        text.push_str("]}\n");
    }
    text
}

fn reload(criterion: &mut Criterion) {
    let count = std::env::var("KEYGATE_BENCH_KEYS")
        .map_or(10_000, |count| count.parse().expect("a number of keys"));
    for format in ["yaml", "json", "ndjson"] {
        let name = format!("keys.{format}");
        let file = Path::new(&name);
        let (old, new) = (
            text(format, count, None),
            text(format, count, Some(count / 2)),
        );
        let mut group = criterion.benchmark_group(format);
        group.sample_size(10).throughput(Throughput::Elements(
            u64::try_from(count).expect("a number of keys"),
        ));
        group.bench_function("load", |bench| {
            bench.iter_with_large_drop(|| {
                parse(file, black_box(old.as_bytes()), &mut Memory::default()).expect("a good file")
            });
        });
        let mut memory = Memory::default();
        let before = parse(file, old.as_bytes(), &mut memory).expect("a good file");
        group.bench_function("edit", |bench| {
            bench.iter_batched_ref(
                || memory.clone(),
                |memory| parse(file, black_box(new.as_bytes()), memory).expect("a good file"),
                BatchSize::PerIteration,
            );
        });
        drop(before);
        group.finish();
    }
}

/// What an operator waits for: the whole way from the rename to a worker that finds the new table.
fn live(criterion: &mut Criterion) {
    for format in ["yaml", "json", "ndjson"] {
        let folder = tempfile::tempdir().expect("a folder for the key file");
        let (file, aside) = (
            folder.path().join(format!("keys.{format}")),
            folder.path().join("aside"),
        );
        let texts = [
            text(format, 10_000, None),
            text(format, 10_000, Some(5_000)),
        ];
        put(&file, &texts[0]);
        let initial = load_initial(&file, true).expect("a good file");
        let clock = Clock::system();
        let (reloader, handle, reader) =
            Reloader::new(initial, Metrics::new(1), Health::new(), clock.clone());
        let control = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            runtime.expect("a runtime").block_on(reloader.run());
        });
        let mut group = criterion.benchmark_group(format);
        group.sample_size(20);
        let mut edits = 0;
        group.bench_function("live", |bench| {
            bench.iter_custom(|rounds| {
                let mut total = Duration::ZERO;
                for _ in 0..rounds {
                    edits += 1;
                    let text = &texts[edits % 2];
                    let revision = Revision::of(text.as_bytes());
                    put(&aside, text);
                    let start = clock.now();
                    std::fs::rename(&aside, &file).expect("a rename in one folder");
                    while *reader.snapshot().revision() != revision {
                        std::thread::sleep(Duration::from_micros(100));
                    }
                    total += clock.now() - start;
                }
                total
            });
        });
        group.finish();
        drop(handle);
        control
            .join()
            .expect("the reloader ends with its last handle");
    }
}

fn put(path: &Path, text: &str) {
    let mut file = File::create(path).expect("a file in a temporary folder");
    file.write_all(text.as_bytes())
        .expect("room for a key file");
}

criterion_group!(benches, reload, live);
criterion_main!(benches);
