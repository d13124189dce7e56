//! A million keys in one NDJSON file, in this process, through the library: loading it, editing it, listing it.
//!
//! Protects: load ≤ 1.5 s on one core; resident ≤ 400 MiB; a page of the list and a search ≤ 50 ms; creating,
//! changing and deleting a key ≤ 1 s, from the call until the new table is live and the file is on disk.
//!
//! Last seen on 2026-11-23, 200 MiB of keys, two cores of a virtual EPYC, nothing else running, medians in ms:
//!
//! | | two cores | one core (`taskset -c 0`) |
//! |---|---|---|
//! | load | 1,050 | 1,180 |
//! | reload after a hand edit | 410 | 480 |
//! | create, change, delete | 730 to 780, 740 to 750, 770 (the slowest 1,260) | 830, 900, 1,260 |
//! | first page by name; page 10,000 | 10; 13 | 11; 14 |
//! | search: none, one, some, all match | 18, 17, 19, 30 | |
//!
//! Resident: 243 MiB after loading (452 at the peak), 346 to 391 after edits (760 at the peak). An edit takes the time of
//! writing 200 MiB to the disk and reading them back, so a slow disk shows there.
//!
//! `cargo bench --bench million`, or `taskset -c 0 cargo bench --bench million` for one core; `MILLION_KEYS` and
//! `MILLION_ROUNDS` for other sizes. `cargo test --benches` runs a small one of it.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use keygate::clock::Clock;
use keygate::health::Health;
use keygate::key::KeyFields;
use keygate::key::list::Order;
use keygate::key::list::Position;
use keygate::key::list::Query;
use keygate::key::list::page;
use keygate::key::table::KeyTable;
use keygate::key::table::Revision;
use keygate::key::token::Digest;
use keygate::metrics::Metrics;
use keygate::store::edit::KeyEdit;
use keygate::store::reload::Reloader;
use keygate::store::reload::load_initial;

fn main() -> Result<(), Box<dyn Error>> {
    // The convention of cargo and criterion: `cargo bench` says `--bench`, `cargo test` does not.
    let bench = env::args().any(|argument| argument == "--bench")
        && !env::args().any(|argument| argument == "--test");
    let number = |name: &str, usual: usize| -> Result<usize, Box<dyn Error>> {
        env::var(name).map_or(Ok(usual), |text| Ok(text.parse()?))
    };
    let keys = number("MILLION_KEYS", if bench { 1_000_000 } else { 1_000 })?;
    let rounds = number("MILLION_ROUNDS", if bench { 5 } else { 1 })?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("keys.ndjson");
    write_keys(&file, keys, None)?;
    let clock = Clock::system();
    let mut report = Report {
        out: io::stdout().lock(),
        begin: clock.now(),
        clock,
        rounds,
    };
    writeln!(
        report.out,
        "{keys} keys, {} MiB, {} cores, {rounds} rounds\n",
        fs::metadata(&file)?.len() >> 20,
        std::thread::available_parallelism()?
    )?;
    let initial = {
        let watch = report.start()?;
        let initial = load_initial(&file, true).map_err(|problems| format!("{problems:?}"))?;
        let took = report.stop(watch)?;
        report.line("load", &[took])?;
        initial
    };
    report.resident("after load")?;
    let (reloader, handle, reader) = Reloader::new(
        initial,
        Metrics::new(1),
        Health::new(),
        report.clock.clone(),
    );
    let control = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.expect("a runtime").block_on(reloader.run());
    });
    let caller = tokio::runtime::Builder::new_current_thread().build()?;
    let mut edits = Vec::new();
    for round in 0..rounds {
        let aside = folder.path().join("aside");
        let revision = write_keys(&aside, keys, Some(keys / 2 + round))?;
        let watch = report.start()?;
        fs::rename(&aside, &file)?;
        let live = caller
            .block_on(handle.reload())
            .map_err(|problems| format!("{problems:?}"))?;
        edits.push(report.stop(watch)?);
        assert_eq!(live, revision);
    }
    report.line("reload after a hand edit", &edits)?;
    report.resident("after hand edits")?;
    for (name, edit) in [
        ("create", create as fn(usize, &KeyTable) -> KeyEdit),
        ("change", change),
        ("delete", delete),
    ] {
        let mut times = Vec::new();
        for round in 0..rounds {
            let table = reader.load_full();
            let (edits, expected) = (vec![edit(round, &table)], *table.revision());
            drop(table);
            let watch = report.start()?;
            let live = caller.block_on(handle.apply(edits, expected))?;
            times.push(report.stop(watch)?);
            assert_eq!(live, *reader.snapshot().revision());
        }
        report.line(name, &times)?;
    }
    report.resident("after edits")?;
    list(&mut report, &reader.load_full())?;
    report.resident("at the end")?;
    drop(handle);
    control
        .join()
        .expect("the reloader ends with its last handle");
    Ok(())
}

/// A new key, at the end of the file.
fn create(round: usize, _: &KeyTable) -> KeyEdit {
    let name = format!("new customer {round}");
    KeyEdit::Add(KeyFields::new(&name, Digest::of(name.as_bytes())))
}

/// Another description of a key in the middle.
fn change(round: usize, table: &KeyTable) -> KeyEdit {
    KeyEdit::Change(KeyFields {
        description: Some(format!("round {round}").into()),
        ..table.keys()[table.len() / 2 + round].to_fields()
    })
}

/// A key near the beginning.
fn delete(round: usize, table: &KeyTable) -> KeyEdit {
    KeyEdit::Remove(table.keys()[table.len() / 10 + round].id().clone())
}

/// Pages and searches.
fn list<W: Write>(report: &mut Report<W>, table: &KeyTable) -> Result<(), Box<dyn Error>> {
    let query = |search: &str, order, after| Query {
        search: Some(search.to_owned()),
        order,
        after,
        limit: 50,
        ..Query::default()
    };
    let middle = table.keys().get(table.len() / 2).map(|key| Position {
        by: key.name().to_lowercase(),
        id: key.id().clone(),
    });
    for (name, query) in [
        ("first page by name", query("", Order::Name, None)),
        ("page 10,000 by name", query("", Order::Name, middle)),
        ("first page by date", query("", Order::CreatedAt, None)),
        ("first page by use", query("", Order::LastUsedAt, None)),
        ("search, all match", query("customer", Order::Name, None)),
        ("search, some match", query("99", Order::Name, None)),
        (
            "search, one matches",
            query("customer 4711 ", Order::Name, None),
        ),
        ("search, none matches", query("zzz", Order::Name, None)),
        ("search beyond ASCII", query("ü", Order::Name, None)),
    ] {
        let now = report.clock.wall();
        let mut times = Vec::new();
        for _ in 0..report.rounds {
            let watch = report.start()?;
            let found = page(table, &query, now);
            times.push(report.stop(watch)?);
            assert!(found.keys.len() <= 50);
        }
        report.line(name, &times)?;
    }
    Ok(())
}

/// The processor time of this process, ms: what counts where other programs use the processor as well.
fn worked() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: Vec<f64> = fields
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() * 10.0) // a tick is a hundredth of a second on Linux
}

/// How long something took, and how long the processor worked for it, ms.
#[derive(Clone, Copy)]
struct Took {
    time: Duration,
    worked: f64,
}

/// What was found, a line each.
struct Report<W> {
    out: W,
    clock: Clock,
    begin: Instant,
    rounds: usize,
}

impl<W: Write> Report<W> {
    fn start(&self) -> Result<Took, Box<dyn Error>> {
        let worked = worked()?;
        Ok(Took {
            time: self.clock.now() - self.begin,
            worked,
        })
    }

    fn stop(&self, from: Took) -> Result<Took, Box<dyn Error>> {
        let to = self.start()?;
        Ok(Took {
            time: to.time - from.time,
            worked: to.worked - from.worked,
        })
    }

    fn line(&mut self, name: &str, rounds: &[Took]) -> io::Result<()> {
        let mut times: Vec<f64> = rounds
            .iter()
            .map(|took| took.time.as_secs_f64() * 1e3)
            .collect();
        times.sort_by(f64::total_cmp);
        let (median, max) = (times[times.len() / 2], times[times.len() - 1]);
        let worked: f64 = rounds.iter().map(|took| took.worked).sum();
        let each = rounds.iter().map(|_| 1.0).sum::<f64>();
        writeln!(
            self.out,
            "{name:<28} median {median:>8.1} ms, max {max:>8.1} ms, on the processor {:>8.1} ms",
            worked / each
        )
    }

    fn resident(&mut self, when: &str) -> io::Result<()> {
        let status = fs::read_to_string("/proc/self/status")?;
        let mib = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kib.unwrap_or(0) / 1024
        };
        writeln!(
            self.out,
            "resident {when:<19} {:>8} MiB, peak {:>8} MiB",
            mib("VmRSS:"),
            mib("VmHWM:")
        )
    }
}

/// Keys as keygate writes them, a sealed copy in every tenth; `edited` is switched off.
fn write_keys(path: &Path, count: usize, edited: Option<usize>) -> io::Result<Revision> {
    let mut text = String::with_capacity(count * 256);
    for number in 0..count {
        let digest = Digest::of(format!("token {number}").as_bytes());
        let sealed = if number % 10 == 0 {
            format!(", \"sealed\": \"v1:{}\"", "k9Qz".repeat(25))
        } else {
            String::new()
        };
        let enabled = if Some(number) == edited {
            ", \"enabled\": false"
        } else {
            ""
        };
        let (hour, minute) = (number / 60 % 24, number % 60);
        writeln!(
            text,
            "{{\"id\": \"k_{number:010}\", \"name\": \"customer {number}\", \"digest\": \"{digest}\", \
             \"mask\": \"kg_3fA9…x7Q2\"{sealed}{enabled}, \"created_at\": \"2026-11-23T{hour:02}:{minute:02}:00Z\"}}"
        )
        .expect("a string takes what is written");
    }
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(text.as_bytes())?;
    file.flush()?;
    Ok(Revision::of(text.as_bytes()))
}
