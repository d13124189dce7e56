//! Covers "a revoked key stops at once": when the API has answered, no request whose head is sent afterwards passes,
//! on any worker and on any connection, and what is open of that key is cut within a second. For hand edits,
//! `keygate_revocation_lag_seconds` says how long it took.

use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::harness::SOON;
use crate::harness::admin::Admin;
use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::gate::OpenOnDrop;
use crate::harness::keygate::Keygate;
use crate::harness::requests::with_token;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;

const CONNECTIONS: usize = 32;

/// So many requests go on every connection after the answer, and none may pass.
const AFTERWARDS: u64 = 25;

/// A second, and what a machine with other tests on it may add.
const CUT: Duration = Duration::from_millis(1_500);

/// Asks on many connections while `revoke` runs, and afterwards.
#[track_caller]
fn none_passes_after(name: &str, keygate: &Keygate, token: &str, revoke: impl FnOnce()) {
    let (answered, ready) = (AtomicBool::new(false), Barrier::new(CONNECTIONS + 1));
    let (passed, late) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for index in 0..CONNECTIONS {
            let (answered, ready, passed, late) = (&answered, &ready, &passed, &late);
            scope.spawn(move || {
                let mut client = keygate.connect();
                let request = with_token(&format!("/{index}"), token);
                let first = client.ask(&request).status;
                ready.wait();
                assert_eq!(first, 200);
                let mut left = AFTERWARDS;
                let begun = Instant::now();
                while left > 0 && begun.elapsed() < SOON {
                    // Read before the head is sent: so the head is sent after the answer.
                    let afterwards = answered.load(Ordering::SeqCst);
                    let status = client.ask(&request).status;
                    match (afterwards, status) {
                        (false, 200) => {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                        (false, 401) => {}
                        (true, 401) => left -= 1,
                        (true, 200) => {
                            late.fetch_add(1, Ordering::Relaxed);
                            left -= 1;
                        }
                        (_, status) => panic!("status {status}"),
                    }
                }
                assert_eq!(left, 0, "the revocation was answered");
            });
        }
        ready.wait();
        eventually("every connection is in use", SOON, || {
            passed.load(Ordering::Relaxed) >= CONNECTIONS as u64
        });
        revoke();
        answered.store(true, Ordering::SeqCst);
    });
    let late = late.load(Ordering::Relaxed);
    assert_eq!(late, 0, "{name}: requests that passed after the answer");
    assert_eq!(
        keygate.status(token),
        401,
        "{name}: nor on a new connection"
    );
}

fn token_of(key: &Value) -> String {
    key["token"].as_str().unwrap().to_owned()
}

#[test]
fn no_request_passes_once_the_revocation_is_answered() {
    let upstream = Upstream::fast();
    let keygate = Setup::of(&upstream)
        .admin("")
        .set("workers", "4")
        .set("transactions", "{enabled: false}")
        .spawn();
    let admin = keygate.admin();
    for (name, revoke) in [
        (
            "deleted",
            (|admin, path| drop(admin.delete(path).if_match("*").expect(204))) as fn(&Admin, &str),
        ),
        ("disabled", |admin, path| {
            let disabled = json!({"enabled": false});
            admin.patch(path).if_match("*").json(&disabled).expect(200);
        }),
        ("rotated", |admin, path| {
            admin
                .post(&format!("{path}/rotate"))
                .if_match("*")
                .json(&json!({}))
                .expect(200);
        }),
        ("expired", |admin, path| {
            let expired = json!({"expires_at": "2020-01-01T00:00:00Z"});
            admin.patch(path).if_match("*").json(&expired).expect(200);
        }),
    ] {
        for round in 0..2 {
            let key = admin.create(&json!({"name": format!("{name} {round}")}));
            let path = format!("/keys/{}", key["id"].as_str().unwrap());
            none_passes_after(name, &keygate, &token_of(&key), || revoke(&admin, &path));
        }
    }
    assert_eq!(keygate.status(GOOD), 200, "other keys go on");
}

/// A new key, on the other hand, passes on every connection as soon as it is answered.
#[test]
fn a_new_key_passes_on_every_open_connection() {
    let upstream = Upstream::fast();
    let keygate = Setup::of(&upstream).admin("").set("workers", "4").spawn();
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| keygate.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(with_token("/a", GOOD)).status, 200);
    }
    for round in 0..5 {
        let key = keygate
            .admin()
            .create(&json!({"name": format!("round {round}")}));
        let request = with_token("/b", &token_of(&key));
        for client in &mut clients {
            assert_eq!(client.ask(&request).status, 200);
        }
    }
}

/// Answers `/tunnel` with a WebSocket that sends back what it gets, and `/events` with an endless stream.
fn streams(gate: Gate) -> Upstream {
    Upstream::scripted(move |turn| {
        if turn.head.second() == "/tunnel" {
            turn.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n")?;
            turn.reader.within(Duration::from_secs(60));
            while let Ok(piece) = turn.reader.some(1024) {
                turn.send(piece)?;
            }
            return Ok(Next::Close);
        }
        turn.body()?;
        if turn.head.second() != "/events" {
            return turn.answer("200 OK", "", b"");
        }
        turn.send(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n4\r\none\n\r\n",
        )?;
        gate.wait();
        turn.send("4\r\ntwo\n\r\n0\r\n\r\n")?;
        Ok(Next::Close)
    })
}

#[track_caller]
fn tunnel(keygate: &Keygate, token: &str) -> Client {
    let mut client = keygate.connect();
    client.send(format!(
        "GET /tunnel HTTP/1.1\r\nhost: app\r\nx-api-key: {token}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ));
    assert_eq!(client.reader().head().unwrap().second(), "101");
    client
}

#[track_caller]
fn events(keygate: &Keygate, token: &str) -> Client {
    let mut client = keygate.connect();
    client.send(with_token("/events", token));
    assert_eq!(client.reader().head().unwrap().second(), "200");
    assert_eq!(client.reader().exactly(9).unwrap(), b"4\r\none\n\r\n");
    client
}

#[test]
fn open_streams_of_a_revoked_key_are_cut_and_others_are_not() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = streams(gate.clone());
    let keygate = Setup::of(&upstream).admin("").set("workers", "4").spawn();
    let admin = keygate.admin();
    let mut others = (tunnel(&keygate, OTHER), events(&keygate, OTHER));
    for (name, revoke) in [
        (
            "deleted",
            (|admin, path| drop(admin.delete(path).if_match("*").expect(204))) as fn(&Admin, &str),
        ),
        ("disabled", |admin, path| {
            let disabled = json!({"enabled": false});
            admin.patch(path).if_match("*").json(&disabled).expect(200);
        }),
        ("rotated", |admin, path| {
            admin
                .post(&format!("{path}/rotate"))
                .if_match("*")
                .json(&json!({}))
                .expect(200);
        }),
    ] {
        let key = admin.create(&json!({ "name": name }));
        let token = token_of(&key);
        let mut open: Vec<Client> = (0..4)
            .flat_map(|_| [tunnel(&keygate, &token), events(&keygate, &token)])
            .collect();
        let path = format!("/keys/{}", key["id"].as_str().unwrap());
        // A change that takes nothing away cuts nothing.
        let renamed = json!({"description": "still the same token"});
        admin.patch(&path).if_match("*").json(&renamed).expect(200);
        open[0].send(b"still there");
        assert_eq!(
            open[0].reader().exactly(11).unwrap(),
            b"still there",
            "{name}"
        );
        revoke(&admin, &path);
        let begun = Instant::now();
        for client in &mut open {
            client.expect_closed();
        }
        assert!(
            begun.elapsed() < CUT,
            "{name}: cut after {:?}",
            begun.elapsed()
        );
    }
    others.0.send(b"another key's tunnel");
    assert_eq!(
        others.0.reader().exactly(20).unwrap(),
        b"another key's tunnel"
    );
    gate.open();
    assert_eq!(others.1.reader().exactly(9).unwrap(), b"4\r\ntwo\n\r\n");
    // Else they would be waited for.
    drop(others);
    let records = keygate.finish().transactions;
    let revoked = records
        .iter()
        .filter(|record| record["end"] == "revoked")
        .count();
    assert_eq!(revoked, 3 * 8, "{records:#?}");
}

#[test]
fn during_an_overlap_nothing_is_cut() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = streams(gate);
    let keygate = Setup::of(&upstream).admin("").spawn();
    let mut open = tunnel(&keygate, GOOD);
    keygate
        .admin()
        .post("/keys/k_good/rotate")
        .if_match("*")
        .json(&json!({"overlap": "1h"}))
        .expect(200);
    assert_eq!(keygate.status(OTHER), 200);
    open.send(b"still there");
    assert_eq!(open.reader().exactly(11).unwrap(), b"still there");
}

#[test]
fn the_lag_of_hand_edits_is_measured() {
    let upstream = Upstream::fast();
    let keygate = Setup::of(&upstream).admin("").spawn();
    let lag = || {
        let metrics = keygate.metrics();
        (
            metrics.total("keygate_revocation_lag_seconds_count"),
            metrics.total("keygate_revocation_lag_seconds_sum"),
        )
    };
    let (before, _) = lag();
    for round in 0..3 {
        let enabled = round % 2 == 1;
        keygate.replace_keys(key_file(&[
            entry("good", GOOD, &format!(", enabled: {enabled}")),
            entry("other", OTHER, ""),
        ]));
        let status = if enabled { 200 } else { 401 };
        eventually("the edit is live", SOON, || keygate.status(GOOD) == status);
    }
    eventually("the hand edits are measured", SOON, || {
        lag().0 >= before + 2.0
    });
    let (count, sum) = lag();
    assert!(
        sum > 0.0 && sum < count * SOON.as_secs_f64(),
        "{count} {sum}"
    );
}
