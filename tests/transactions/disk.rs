//! Covers "disk full, read-only, log folder deleted: traffic goes on by `when_full`; counted; recovers by itself", on a
//! small tmpfs that keygate mounts in a namespace of its own. Where that cannot be had, these tests fail.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::found;
use crate::harness::keygate::Keygate;
use crate::harness::requests::get;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

/// What the disk holds, and how much of it is taken until the test gives it back. Some 300 lines fit beside that.
const MOUNT: &str = "mkdir -p data/transactions && mount -t tmpfs -o size=256k tmpfs data/transactions && \
                     head -c 131072 /dev/zero > data/transactions/ballast";

/// Long enough for an answer to come that should not.
const A_WHILE: Duration = Duration::from_millis(400);

/// Lines of about 400 bytes.
fn long_request(number: u32) -> String {
    let path = format!("/length/{number}/{}", "x".repeat(120));
    get(&path)
}

struct Small(Keygate);

impl Small {
    fn start(mode: &str) -> Self {
        let upstream = Upstream::every_end();
        let mut setup = Setup::of(&upstream).set("transactions", format!("{{{mode}}}"));
        MOUNT.clone_into(&mut setup.mounts);
        let keygate = setup.spawn();
        std::mem::forget(upstream); // it serves as long as the process
        let small = Self(keygate);
        let mounted = small.file("ballast").metadata();
        assert!(
            mounted.is_ok_and(|ballast| ballast.len() == 131_072),
            "no tmpfs in a namespace of its own on this machine: this test needs one"
        );
        small
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.inside("data/transactions").join(name)
    }

    /// Makes room.
    fn give_back(&self) {
        fs::remove_file(self.file("ballast")).unwrap();
    }

    /// All whole lines of the log.
    fn lines(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.file("transactions.ndjson")).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        whole.lines().map(parse).collect()
    }

    fn metric(&self, name: &str) -> u64 {
        let total = self.0.metrics().total(name);
        format!("{total}").parse().unwrap()
    }

    fn dropped(&self) -> u64 {
        self.metric("keygate_transactions_dropped_total")
    }

    fn says(&self, what: &str) -> bool {
        self.0.telemetry("/readyz").text().contains(what)
    }

    /// lines + counted drops = requests
    fn adds_up(&self, mode: &str) {
        let requests = self.metric("keygate_requests_total");
        eventually(
            &format!("{mode}: lines and drops are all requests"),
            SOON,
            || self.lines().len() as u64 + self.dropped() == requests,
        );
    }
}

#[test]
fn on_a_full_disk_records_are_dropped_and_counted_until_there_is_room() {
    for mode in [
        "durability: buffered",
        "durability: written",
        "durability: synced",
    ] {
        let small = Small::start(mode);
        let mut client = small.0.connect();
        let mut number = 0;
        eventually(&format!("{mode}: the disk is full"), SOON, || {
            for _ in 0..50 {
                number += 1;
                assert_eq!(client.ask(long_request(number)).status, 200, "{mode}");
            }
            small.dropped() > 0
        });
        assert!(small.says("cannot write transactions"), "{mode}");
        small.give_back();
        eventually(&format!("{mode}: it is written again"), SOON, || {
            assert_eq!(client.ask(get("/length/probe")).status, 200, "{mode}");
            !small.says("cannot write transactions")
        });
        small.adds_up(mode);
        let told: u64 = small
            .lines()
            .iter()
            .filter_map(|line| line["lost"].as_u64())
            .sum();
        assert_eq!(
            told,
            small.dropped(),
            "{mode}: the lines say how many are missing"
        );
    }
}

#[test]
fn on_a_full_disk_requests_wait_where_that_was_asked_for() {
    for mode in [
        "durability: buffered, when_full: wait",
        "durability: written, when_full: wait",
        "durability: synced, when_full: wait",
    ] {
        let small = Small::start(mode);
        let mut client = small.0.connect();
        let mut number = 0;
        loop {
            number += 1;
            client.send(long_request(number));
            // A disk that others keep busy is slow before it is full.
            let answer = found(
                &format!("{mode}: an answer, or a reason"),
                SOON,
                || match client.try_read_within("GET", A_WHILE) {
                    Ok(response) => Some(Some(response)),
                    Err(_) => small.says("requests wait").then_some(None),
                },
            );
            let Some(response) = answer else { break };
            assert_eq!(response.status, 200, "{mode}");
            assert!(number < 5_000, "{mode}: the disk does not fill up");
        }
        let mut second = small.0.connect();
        second.send(long_request(number + 1));
        assert!(
            second.try_read_within("GET", A_WHILE).is_err(),
            "{mode}: it did not wait"
        );
        small.give_back();
        let waiting = |line: &serde_json::Value| {
            let path = line["path"].as_str().unwrap_or_default();
            path.starts_with(&format!("/length/{number}/"))
                || path.starts_with(&format!("/length/{}/", number + 1))
        };
        eventually(&format!("{mode}: both are in the log"), SOON, || {
            small.lines().iter().filter(|line| waiting(line)).count() == 2
        });
        assert_eq!(small.0.status(GOOD), 200, "{mode}");
        small.adds_up(mode);
        assert_eq!(small.dropped(), 0, "{mode}: nothing is lost");
        assert!(!small.says("transactions"), "{mode}");
    }
}

#[test]
fn on_a_full_disk_new_requests_are_refused_where_that_was_asked_for() {
    for mode in [
        "durability: buffered, when_full: refuse",
        "durability: written, when_full: refuse",
        "durability: synced, when_full: refuse",
    ] {
        let small = Small::start(mode);
        let mut number = 0;
        let refused = loop {
            number += 1;
            assert!(number < 5_000, "{mode}: the disk does not fill up");
            let mut client = small.0.connect();
            client.send(long_request(number));
            match client.try_read_within("GET", A_WHILE) {
                Ok(response) if response.status == 503 => break response,
                Ok(response) => assert_eq!(response.status, 200, "{mode}"),
                Err(_) => {} // it was running when the disk was full
            }
        };
        assert_eq!(refused.code(), "unavailable", "{mode}");
        assert_eq!(refused.head.one("retry-after"), Some("1"), "{mode}");
        assert!(small.says("new requests are answered 503"), "{mode}");
        small.give_back();
        eventually(&format!("{mode}: requests are served again"), SOON, || {
            small.0.status(GOOD) == 200
        });
        small.adds_up(mode);
        assert_eq!(small.dropped(), 0, "{mode}: nothing is lost");
    }
}

/// Not even a request that has no record is refused for want of one.
#[test]
fn what_is_not_recorded_does_not_wait_and_is_not_refused() {
    for when_full in ["wait", "refuse"] {
        let mode =
            format!("durability: written, when_full: {when_full}, skip_paths: [/length/skipped]");
        let small = Small::start(&mode);
        let filled = (1..5_000).any(|number| {
            let mut client = small.0.connect();
            client.send(long_request(number));
            let answer = client.try_read_within("GET", A_WHILE);
            answer.map_or(true, |answer| answer.status == 503)
        });
        assert!(filled, "{mode}: the disk does not fill up");
        let answer = small.0.ask(get("/length/skipped"));
        assert_eq!(answer.status, 200, "{mode}");
    }
}

#[test]
fn a_folder_that_gives_way_to_a_file_is_waited_for_and_made_again() {
    let upstream = Upstream::every_end();
    let keygate = Setup::of(&upstream)
        .set("transactions", "{durability: written, when_full: wait}")
        .spawn();
    let folder = keygate.transactions_folder();
    fs::remove_dir_all(&folder).unwrap();
    crate::harness::setup::write_in_place(&folder, "in the way");
    let mut client = keygate.connect();
    client.send(get("/length/held"));
    assert!(
        client.try_read_within("GET", A_WHILE).is_err(),
        "it did not wait"
    );
    fs::remove_file(&folder).unwrap();
    let held = |keygate: &Keygate| {
        let lines = keygate.transactions();
        lines
            .iter()
            .filter(|line| line["path"] == "/length/held")
            .count()
    };
    eventually("it is recorded", SOON, || held(&keygate) == 1);
    assert_eq!(keygate.status(GOOD), 200);
    keygate.finish();
}
