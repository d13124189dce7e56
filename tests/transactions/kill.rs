//! Covers the promises of `durability` and of stopping: after SIGKILL in `written` and `synced`, every request whose
//! answer somebody has whole is in the log; after SIGTERM, in every mode, every request is, once.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;
use crate::transactions::load;
use crate::transactions::load::Seen;

const CLIENTS: usize = 8;

/// Under load: `end` is called when some 100 answers and `more` have come.
fn under_load(keygate: &mut Keygate, more: usize, end: Signal) -> Seen {
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = keygate.address();
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| load::run(address, CLIENTS, &stop, &answered));
        eventually("answers come", SOON, || {
            answered.load(Ordering::Relaxed) >= 100 + more
        });
        keygate.signal(end);
        keygate.wait();
        stop.store(true, Ordering::Relaxed);
        clients.join().unwrap()
    })
}

/// The least that the kernel copies of a write before it looks for a fatal signal, bytes.
const PAGE: usize = 4096;

/// The request ids in the log, each once; how many bytes stand behind the last whole line.
fn recorded(keygate: &Keygate) -> (HashSet<String>, usize) {
    let lines = keygate.transactions();
    let ids: HashSet<String> = lines
        .iter()
        .map(|line| line["request_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), lines.len(), "a request was recorded twice");
    let text = fs::read(keygate.transactions_folder().join("transactions.ndjson")).unwrap();
    let whole = text.iter().rposition(|byte| *byte == b'\n');
    let torn = text.len() - whole.map_or(0, |at| at + 1);
    // Linux looks for a fatal signal between the pages of a write, and nowhere else.
    assert!(
        torn == 0 || text.len().is_multiple_of(PAGE),
        "{torn} bytes of a line at {}: not what a kill leaves",
        text.len()
    );
    (ids, torn)
}

/// Kills a keygate under load, this often; every answer that was seen whole must have its line. With `drop`, a disk that is
/// very slow would not be waited for, as is promised.
fn survives_kills(durability: &str, kills: usize) {
    let upstream = Upstream::every_end();
    let (mut answered, mut asked, mut cut) = (0, 0, 0);
    for kill in 0..kills {
        let mut keygate = Setup::of(&upstream)
            .set("workers", "2")
            .set(
                "transactions",
                format!("{{durability: {durability}, when_full: wait}}"),
            )
            .spawn();
        let seen = under_load(&mut keygate, kill * 7, Signal::KILL);
        let (recorded, torn) = recorded(&keygate);
        let missing: Vec<_> = seen.answered.difference(&recorded).collect();
        assert!(
            missing.is_empty(),
            "kill {kill}: {} of {} answers are not in the log: {missing:?}",
            missing.len(),
            seen.answered.len()
        );
        // What was cut nobody was told of: no answer is missing.
        cut += usize::from(torn > 0);
        answered += seen.answered.len();
        asked += seen.asked.len();
    }
    assert!(asked > answered, "some kill met a request on its way");
    eprintln!(
        "{durability}: {kills} kills, {answered} answers seen whole, none without its line; {cut} cut a write"
    );
}

#[test]
fn sigkill_in_written_mode_loses_no_answer_that_somebody_has() {
    survives_kills("written", 50);
}

#[test]
fn sigkill_in_synced_mode_loses_no_answer_that_somebody_has() {
    survives_kills("synced", 5);
}

#[test]
fn sigterm_under_load_loses_no_request_in_any_mode() {
    let upstream = Upstream::every_end();
    for durability in ["buffered", "written", "synced"] {
        for when_full in ["drop", "wait", "refuse"] {
            let mode = format!("durability: {durability}, when_full: {when_full}");
            let mut keygate = Setup::of(&upstream)
                .set("workers", "2")
                .set("transactions", format!("{{{mode}}}"))
                .spawn();
            let seen = under_load(&mut keygate, 0, Signal::TERM);
            let (recorded, torn) = recorded(&keygate);
            let missing = seen.answered.difference(&recorded).count();
            assert_eq!((missing, torn), (0, 0), "{mode}");
            let unasked = recorded.difference(&seen.asked).count();
            assert_eq!(unasked, 0, "{mode}");
        }
    }
}

#[test]
fn sigkill_in_buffered_mode_loses_at_most_the_last_moment() {
    let upstream = Upstream::every_end();
    let keygate = Setup::of(&upstream).spawn();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let clients = scope.spawn(|| load::run(keygate.address(), 2, &stop, &answered));
        eventually("answers come", SOON, || {
            answered.load(Ordering::Relaxed) >= 100
        });
        stop.store(true, Ordering::Relaxed);
        let seen = clients.join().unwrap();
        // Without any request after it, the last line gets into the file by itself, and soon.
        eventually("all lines are there", Duration::from_secs(5), || {
            keygate.transaction_lines().len() == seen.answered.len()
        });
        keygate.signal(Signal::KILL);
        let (recorded, _) = recorded(&keygate);
        assert_eq!(recorded, seen.answered);
    });
}
