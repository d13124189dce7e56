//! Covers `durability` and `when_full` on a disk that hangs or fails: what an answer waits for, in every way in which
//! an answer can end, and that it does not wait where nobody asked for that. Not for: a full disk, see `disk`.

use std::sync::mpsc::Receiver;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use serde_json::Value;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::disk::Disk;
use crate::harness::disk::Fault;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::message::Failed;
use crate::harness::message::Response;
use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::requests::with_token;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

/// Long enough for an answer to come that should not.
const A_WHILE: Duration = Duration::from_millis(400);

fn start(upstream: &Upstream, transactions: &str) -> (Keygate, Disk) {
    let (setup, disk) = Setup::of(upstream).with_disk();
    let keygate = setup
        .set("transactions", format!("{{{transactions}}}"))
        .spawn();
    (keygate, disk)
}

/// Sends a request; its answer comes through the channel when it is whole, or broken.
fn ask_aside(keygate: &Keygate, request: String) -> Receiver<Result<Response, Failed>> {
    let mut client = keygate.connect();
    let (tell, answer) = sync_channel(1);
    client.send(&request);
    std::thread::spawn(move || {
        let method = request.split(' ').next().unwrap_or_default().to_owned();
        let _ = tell.send(client.try_read(&method));
    });
    answer
}

#[track_caller]
fn comes(answer: &Receiver<Result<Response, Failed>>, what: &str) -> Response {
    match answer.recv_timeout(SOON) {
        Ok(Ok(response)) => response,
        Ok(Err(failed)) => panic!("{what}: a broken answer: {failed:?}"),
        Err(error) => panic!("{what}: no answer: {error}"),
    }
}

fn degraded(keygate: &Keygate) -> String {
    keygate.telemetry("/readyz").text()
}

fn lines_for(keygate: &Keygate, path: &str) -> Vec<Value> {
    let of_path = |line: &Value| line["path"] == path;
    keygate.transactions().into_iter().filter(of_path).collect()
}

#[test]
fn the_end_of_every_kind_of_answer_waits_for_its_record() {
    let upstream = Upstream::every_end();
    let http_10 = |target: &str| get(target).replace("HTTP/1.1", "HTTP/1.0");
    let rows = [
        ("a length", get("/length")),
        ("chunks", get("/chunked")),
        ("trailers", request("GET /trailers", "te: trailers\r\n")),
        ("no body", get("/empty")),
        ("HEAD", request("HEAD /head", "")),
        ("chunks for HTTP/1.0", http_10("/chunked/old")),
        ("the end of the connection", http_10("/closed/old")),
        (
            "an upload",
            request("POST /upload", "content-length: 2\r\n") + "ab",
        ),
        ("a refusal", with_token("/refused", "kg_test_unknown_1rR2")),
        (
            "HEAD refused",
            "HEAD /head/refused HTTP/1.1\r\nhost: app\r\n\r\n".to_owned(),
        ),
        (
            "a malformed head",
            get("/malformed").replace("host:", "host :"),
        ),
    ];
    for (mode, fault) in [
        ("durability: written", Fault::HangWrite),
        ("durability: synced", Fault::HangSync),
    ] {
        let (keygate, disk) = start(&upstream, &format!("{mode}, when_full: wait"));
        disk.break_with(fault);
        let answers: Vec<_> = rows
            .iter()
            .map(|(name, request)| (name, ask_aside(&keygate, request.clone())))
            .collect();
        let (_, first) = &answers[0];
        assert!(
            first.recv_timeout(A_WHILE).is_err(),
            "{mode}: an answer did not wait"
        );
        for (name, answer) in &answers {
            assert!(
                answer.try_recv().is_err(),
                "{mode}, {name}: the answer did not wait"
            );
        }
        disk.mend(fault);
        for (name, answer) in &answers {
            comes(answer, &format!("{mode}, {name}"));
        }
        // Not "eventually": with the answers in hand, the lines are there.
        assert_eq!(keygate.transaction_lines().len(), rows.len(), "{mode}");
        keygate.finish();
    }
}

#[test]
fn the_head_and_all_but_the_end_do_not_wait() {
    let upstream = Upstream::scripted(|turn| {
        turn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")?;
        turn.send("3\r\ntwo\r\n0\r\n\r\n")?;
        Ok(crate::harness::upstream::Next::Keep)
    });
    let (keygate, disk) = start(&upstream, "durability: written, when_full: wait");
    disk.break_with(Fault::HangWrite);
    let mut client = keygate.connect();
    client.send(get("/stream"));
    let failed = client
        .try_read_within("GET", Duration::from_secs(2))
        .unwrap_err();
    assert_eq!(
        failed.body, b"one",
        "the rest came with the end: {failed:?}"
    );
    disk.mend(Fault::HangWrite);
    keygate.finish();
}

#[test]
fn requests_that_end_together_share_a_sync() {
    let upstream = Upstream::every_end();
    let (keygate, disk) = start(&upstream, "durability: synced");
    disk.break_with(Fault::HangSync);
    let answers: Vec<_> = (0..40)
        .map(|number| ask_aside(&keygate, get(&format!("/length/{number}"))))
        .collect();
    eventually("all have been answered by the upstream", SOON, || {
        keygate.metrics().total("keygate_transactions_total") >= 40.0
    });
    disk.mend(Fault::HangSync);
    for answer in &answers {
        comes(answer, "one of many");
    }
    let syncs = disk.syncs();
    assert!((1..=6).contains(&syncs), "{syncs} syncs for 40 requests");
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_who_did_not_ask_for_that() {
    let upstream = Upstream::every_end();
    for mode in ["durability: written", "durability: buffered"] {
        let (keygate, disk) = start(&upstream, mode);
        disk.break_with(Fault::HangWrite);
        for number in 0..20 {
            let answer = ask_aside(&keygate, get(&format!("/length/{number}")));
            comes(&answer, mode);
        }
        if mode.ends_with("written") {
            let said = degraded(&keygate);
            assert!(
                said.contains("answers leave before their records"),
                "{said}"
            );
        }
        disk.mend(Fault::HangWrite);
        eventually("it has caught up", SOON, || {
            keygate.transaction_lines().len() == 20 && !degraded(&keygate).contains("transactions")
        });
    }
}

#[test]
fn a_disk_that_hangs_makes_requests_wait_or_be_refused_where_that_was_asked_for() {
    let upstream = Upstream::every_end();
    let (keygate, disk) = start(&upstream, "durability: written, when_full: refuse");
    disk.break_with(Fault::HangWrite);
    let running = ask_aside(&keygate, get("/length/running"));
    eventually("it is noticed", SOON, || degraded(&keygate).contains("503"));
    let refused = comes(&ask_aside(&keygate, get("/length/new")), "a new request");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "unavailable")
    );
    assert_eq!(refused.head.one("retry-after"), Some("1"));
    let malformed = get("/malformed").replace("host:", "host :");
    assert_eq!(
        comes(&ask_aside(&keygate, malformed), "a bad head").status,
        503
    );
    assert!(running.try_recv().is_err(), "what runs waits");
    disk.mend(Fault::HangWrite);
    assert_eq!(comes(&running, "what was running").status, 200);
    eventually("requests are served again", SOON, || {
        keygate.status(crate::harness::setup::GOOD) == 200
    });
    assert_eq!(
        lines_for(&keygate, "/length/new").len(),
        1,
        "the refusal is recorded too"
    );
    keygate.finish();
}

#[test]
fn a_write_that_fails_is_dropped_or_waited_for() {
    let upstream = Upstream::every_end();
    for (durability, fault) in [
        ("written", Fault::FailWrite),
        ("synced", Fault::FailSync),
        ("buffered", Fault::FailWrite),
    ] {
        let (keygate, disk) = start(&upstream, &format!("durability: {durability}"));
        disk.break_with(fault);
        for number in 0..3 {
            comes(
                &ask_aside(&keygate, get(&format!("/length/{number}"))),
                durability,
            );
        }
        let dropped = || {
            keygate
                .metrics()
                .total("keygate_transactions_dropped_total")
        };
        eventually("all three are counted", SOON, || dropped() >= 3.0);
        assert!(
            degraded(&keygate).contains("they are dropped and counted"),
            "{durability}"
        );
        disk.mend(fault);
        eventually("it is tried again", SOON, || {
            keygate.status(crate::harness::setup::GOOD);
            !keygate.transaction_lines().is_empty()
        });
        let first = &keygate.transactions()[0];
        assert!(first["lost"].as_u64() >= Some(3), "{durability}: {first}");
        let requests = keygate.metrics().total("keygate_requests_total");
        eventually("lines and drops are the requests", SOON, || {
            let lines = keygate.transaction_lines().len();
            f64::from(u32::try_from(lines).unwrap()) + dropped() == requests
        });

        let (keygate, disk) = start(
            &upstream,
            &format!("durability: {durability}, when_full: wait"),
        );
        disk.break_with(fault);
        if durability == "buffered" {
            // That the disk is broken is known when the first line gets there.
            comes(&ask_aside(&keygate, get("/length/first")), durability);
            eventually("it is noticed", SOON, || {
                degraded(&keygate).contains("requests wait")
            });
        }
        let answer = ask_aside(&keygate, get("/length/held"));
        assert!(
            answer.recv_timeout(A_WHILE).is_err(),
            "{durability}: it did not wait"
        );
        eventually("it is said", SOON, || {
            degraded(&keygate).contains("requests wait")
        });
        disk.mend(fault);
        comes(&answer, durability);
        eventually("there is one line", SOON, || {
            lines_for(&keygate, "/length/held").len() == 1
        });
        assert_eq!(
            keygate
                .metrics()
                .total("keygate_transactions_dropped_total"),
            0.0
        );
        let lost = keygate
            .transactions()
            .iter()
            .any(|line| !line["lost"].is_null());
        assert!(!lost, "{durability}: nothing was lost");
        keygate.finish();
    }
}

/// What nobody waits for must not pile up in memory for ever either, nor be lost for want of patience.
#[test]
fn clients_that_go_while_the_disk_hangs_are_recorded_when_it_does_not() {
    let upstream = Upstream::every_end();
    let (keygate, disk) = start(&upstream, "durability: written, when_full: wait");
    disk.break_with(Fault::HangWrite);
    for number in 0..50 {
        let mut client: Client = keygate.connect();
        client.send(get(&format!("/length/{number}")));
        client.half_close();
    }
    eventually("all are recorded", SOON, || {
        keygate.metrics().total("keygate_transactions_total") >= 50.0
    });
    disk.mend(Fault::HangWrite);
    eventually("all are in the log", SOON, || {
        keygate.transaction_lines().len() == 50
    });
    keygate.finish();
}
