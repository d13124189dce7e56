//! Covers "everything has a bound": connections beyond the limit wait and are served later, used-up file
//! descriptors are survived, slow clients hold nobody up, and sizes are what the configuration says.

use std::process::Command;
use std::time::Duration;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

#[test]
fn connections_beyond_the_limit_wait_for_room() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("limits", "{connections: 4}")
        .spawn();
    let mut first: Vec<Client> = (0..4).map(|_| keygate.connect()).collect();
    for client in &mut first {
        assert_eq!(client.ask(get("/a")).status, 200);
    }
    let mut fifth = keygate.connect();
    fifth.send(get("/b"));
    assert!(
        fifth.is_silent_for(Duration::from_millis(300)),
        "there is no room yet"
    );
    assert_eq!(keygate.telemetry("/livez").status, 200);
    drop(first.pop());
    assert_eq!(fifth.read("GET").status, 200, "served when there is room");
    for client in &mut first {
        assert_eq!(
            client.ask(get("/c")).status,
            200,
            "the others never noticed"
        );
    }
}

#[test]
fn an_idle_listener_keeps_no_room_from_another() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("listen", "[127.0.0.1:0, 127.0.0.1:0]")
        .set("limits", "{connections: 1}")
        .spawn();
    assert_eq!(keygate.addresses.len(), 2);
    // Each in turn, so that whichever listener was first in the room waits while the other is asked.
    for round in 0..3 {
        for address in &keygate.addresses {
            let mut client = Client::connect(*address);
            assert_eq!(
                client.ask(get("/a")).status,
                200,
                "{address}, round {round}"
            );
        }
    }
}

#[test]
fn used_up_file_descriptors_are_survived() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("limits", "{connections: 10000}")
        .spawn();
    // Fewer than there will be connections; keygate has what it needs open already.
    let limited = Command::new("prlimit")
        .args(["--pid", &keygate.pid().to_string(), "--nofile=60:60"])
        .status();
    assert!(limited.unwrap().success());
    let mut clients: Vec<Client> = (0..100).map(|_| keygate.connect()).collect();
    eventually("accepting fails", SOON, || keygate.log().contains("accept"));
    clients.truncate(10);
    eventually("it serves again", SOON, || {
        let mut client = keygate.connect();
        client.send(get("/again"));
        client
            .try_read_within("GET", Duration::from_millis(500))
            .is_ok_and(|response| response.status == 200)
    });
    for client in &mut clients {
        assert_eq!(
            client.ask(get("/first")).status,
            200,
            "the first ones live on"
        );
    }
}

#[test]
fn slow_heads_hold_nobody_up() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("timeouts", "{header: 2s}")
        .set("workers", "1")
        .spawn();
    let mut slow: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = keygate.connect();
            client.send("GET /slow HTTP/1.1\r\nhost: a");
            client
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(keygate.ask(get("/quick")).status, 200);
    }
    for client in &mut slow {
        assert_eq!(client.read("GET").status, 408);
    }
    assert_eq!(keygate.finish().transactions.len(), 220);
}

#[test]
fn the_size_of_a_head_is_what_is_configured() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("limits", "{header_bytes: 4KiB, headers: 10}")
        .spawn();
    let with_size = |size: usize| {
        let base = request("GET /s", "x-pad: \r\n").len();
        request("GET /s", &format!("x-pad: {}\r\n", "x".repeat(size - base)))
    };
    assert_eq!(with_size(4_096).len(), 4_096);
    assert_eq!(
        keygate.ask(with_size(4_096)).status,
        200,
        "exactly the limit"
    );
    assert_eq!(keygate.ask(with_size(4_097)).status, 431, "one byte more");
    let with_fields = |count: usize| {
        let more: String = (2..count)
            .map(|index| format!("x-{index}: 1\r\n"))
            .collect();
        request("GET /f", &more)
    };
    assert_eq!(
        keygate.ask(with_fields(10)).status,
        200,
        "exactly the limit"
    );
    assert_eq!(keygate.ask(with_fields(11)).status, 431, "one field more");
    let record = keygate.transaction("the large head", |record| {
        record["reason"] == "head_too_large" && record["path"] == "/s"
    });
    assert_eq!(
        record["method"], "GET",
        "what can be told is told: {record}"
    );
}

#[test]
fn a_limit_far_above_the_usual_works() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("limits", "{header_bytes: 512KiB, headers: 1000}")
        .spawn();
    let many: String = (0..900)
        .map(|index| format!("x-{index}: {}\r\n", "v".repeat(400)))
        .collect();
    let mut client = keygate.connect();
    for _ in 0..2 {
        let response = client.ask(request("GET /many", &many));
        assert_eq!(response.status, 200, "{response:?}");
    }
    let seen = &upstream.seen()[0];
    assert_eq!(
        seen.head
            .fields
            .iter()
            .filter(|(_, value)| value.len() == 400)
            .count(),
        900
    );
    assert_eq!(keygate.status(GOOD), 200);
}
