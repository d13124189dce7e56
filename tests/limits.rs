//! Covers "everything has a bound": connections beyond the limit wait and are served later, used-up file
//! descriptors are survived, slow clients hold nobody up, and sizes are what the configuration says.

use std::fs;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::gate::OpenOnDrop;
use crate::harness::keygate::Keygate;
use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::requests::with_token;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::throughout;
use crate::harness::upstream::Next;
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
    let before = cpu_time(&keygate);
    throughout("it rests between its tries", Duration::from_secs(2), || {
        cpu_time(&keygate) - before < Duration::from_secs(1)
    });
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
    let failures = keygate.metrics().total("keygate_accept_failures_total");
    assert!(failures > 0.0, "{failures}");
}

/// How long the process has used a processor so far.
fn cpu_time(keygate: &Keygate) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", keygate.pid())).unwrap();
    let behind_name = stat.rsplit(')').next().unwrap();
    let ticks: u64 = behind_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10) // 100 a second, on every Linux
}

#[test]
fn there_are_no_more_connections_than_descriptors() {
    let upstream = Upstream::echo();
    let mut setup = Setup::of(&upstream);
    setup.mounts = "ulimit -n 300".to_owned(); // (300 - 256) / 2 connections
    let keygate = setup.spawn();
    let mut clients: Vec<Client> = (0..22).map(|_| keygate.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(get("/in")).status, 200);
    }
    let mut waiting: Vec<Client> = (0..300).map(|_| keygate.connect()).collect();
    let last = waiting.last_mut().unwrap();
    last.send(get("/waits"));
    assert!(last.is_silent_for(Duration::from_millis(300)));
    assert_eq!(
        keygate.metrics().total("keygate_accept_failures_total"),
        0.0,
        "they wait, and nothing fails"
    );
    drop(clients);
    waiting.drain(..299);
    assert_eq!(waiting[0].read("GET").status, 200);
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

/// A request that opens a tunnel.
fn websocket(target: &str) -> String {
    request(
        &format!("GET {target}"),
        "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    )
}

#[test]
fn requests_beyond_the_limit_are_told_to_come_again() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::slow(gate.clone());
    for mode in ["enforce", "shadow"] {
        let keygate = Setup::of(&upstream)
            .set("limits", "{requests_in_flight: 3}")
            .set("auth", format!("{{mode: {mode}}}"))
            .set("workers", "4")
            .spawn();
        let before = upstream.count();
        let mut held: Vec<Client> = (0..3)
            .map(|_| {
                let mut client = keygate.connect();
                client.send(get("/held"));
                client
            })
            .collect();
        eventually("three are at the upstream", SOON, || {
            upstream.count() == before + 3
        });
        let response = keygate.ask(get("/more"));
        assert_eq!(
            (response.status, response.code().as_str()),
            (503, "unavailable"),
            "{response:?}"
        );
        assert_eq!(response.head.one("retry-after"), Some("1"));
        let record = keygate.transaction_of("/more");
        assert_eq!(record["decision"], "refused", "{record}");
        assert_eq!(record["reason"], "unavailable");
        assert_eq!(record["key_name"], "good");
        let error = record["error"].as_str().unwrap();
        assert!(error.contains("limits.requests_in_flight"), "{error}");
        let grpc = keygate.ask(request("POST /grpc", "content-type: application/grpc\r\n"));
        assert_eq!(
            (grpc.status, grpc.head.one("grpc-status")),
            (200, Some("14"))
        );
        // A body that nobody reads does not stand in the way, and the connection of a small request goes on.
        let mut client = keygate.connect();
        assert_eq!(client.ask(get("/one")).status, 503);
        assert_eq!(client.ask(get("/two")).status, 503);
        let upload = client.ask(request("POST /upload", "content-length: 100000\r\n"));
        assert_eq!(upload.status, 503);
        assert!(upload.head.lists("connection", "close"), "{upload:?}");
        let wrong = keygate.ask(with_token("/wrong", "kg_test_unknown"));
        let expected = if mode == "shadow" { 503 } else { 401 };
        assert_eq!(wrong.status, expected, "a wrong key is a wrong key");
        assert_eq!(upstream.count(), before + 3);
        if mode == "shadow" {
            gate.open();
            for client in &mut held {
                assert_eq!(client.read("GET").status, 200);
            }
            assert_eq!(keygate.ask(get("/after")).status, 200);
        }
    }
}

#[test]
fn nobody_without_a_key_takes_a_place() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::slow(gate.clone());
    let keygate = Setup::of(&upstream)
        .set("limits", "{requests_in_flight: 1}")
        .spawn();
    // Refused, with a body that is still on its way.
    let _uploads: Vec<Client> = (0..5)
        .map(|_| {
            let mut client = keygate.connect();
            client.send("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 100\r\n\r\n");
            assert_eq!(client.read("POST").status, 401);
            client
        })
        .collect();
    let mut good = keygate.connect();
    good.send(get("/good"));
    upstream.wait_for("there was a place", 0, |_| true);
    gate.open();
    assert_eq!(good.read("GET").status, 200);
}

#[test]
fn a_place_is_given_back_however_a_request_ends() {
    let upstream = Upstream::every_end();
    let keygate = Setup::of(&upstream)
        .set("limits", "{requests_in_flight: 1, body_bytes: 10B}")
        .set("workers", "1")
        .spawn();
    let endings: [(&str, String); 12] = [
        ("a length", get("/length")),
        ("chunks", get("/chunked")),
        ("trailers", get("/trailers")),
        ("no body", get("/empty")),
        ("the end of the connection", get("/closed")),
        ("HEAD", request("HEAD /head", "")),
        (
            "an old client",
            get("/closed").replace("HTTP/1.1", "HTTP/1.0"),
        ),
        ("cut", get("/cut")),
        ("broken", get("/broken")),
        ("a tunnel", websocket("/socket")),
        (
            "a body with a broken chunk",
            request("POST /a", "transfer-encoding: chunked\r\n") + "zz\r\n",
        ),
        (
            "a body that is too large",
            request("POST /b", "transfer-encoding: chunked\r\n")
                + "14\r\n01234567890123456789\r\n0\r\n\r\n",
        ),
    ];
    for (name, bytes) in &endings {
        let mut client = keygate.connect();
        client.send(bytes);
        let _ = client.try_read(bytes.split(' ').next().unwrap());
        eventually(&format!("{name}: its place is free"), SOON, || {
            keygate.status(GOOD) == 200
        });
    }
    // Clients that go: before the answer, in the middle of it, in the middle of their own body, out of a tunnel.
    let gate = Gate::new();
    let open = OpenOnDrop(gate.clone());
    let held = gate.clone();
    let upstream = Upstream::scripted(move |turn| {
        match turn.head.second() {
            "/before" => held.wait(),
            "/middle" => turn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")?,
            "/tunnel" => turn.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhi")?,
            "/body" => {}
            _ => return turn.answer("200 OK", "", b""),
        }
        turn.waits_for_close(SOON);
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream)
        .set("limits", "{requests_in_flight: 1}")
        .set("workers", "1")
        .spawn();
    for (index, bytes) in [
        get("/before"),
        get("/middle"),
        request("POST /body", "content-length: 10\r\n") + "half",
        websocket("/tunnel"),
    ]
    .iter()
    .enumerate()
    {
        let before = upstream.count();
        let mut client = keygate.connect();
        client.send(bytes);
        upstream.wait_for("it is there", before, |_| true);
        assert_eq!(keygate.status(GOOD), 503, "{bytes}");
        client.reset();
        eventually(&format!("the place of {index} is free"), SOON, || {
            keygate.status(GOOD) == 200
        });
    }
    drop(open);
}

#[test]
fn streams_of_one_connection_share_the_places() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let held = gate.clone();
    let upstream = Upstream::scripted(move |turn| {
        if turn.head.second() == "/held" {
            held.wait();
        }
        turn.answer("200 OK", "", b"done")
    });
    let keygate = Setup::of(&upstream)
        .set("limits", "{requests_in_flight: 1}")
        .set("workers", "1")
        .spawn();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(keygate.address()).await;
        let (mut client, connection) = h2::client::handshake(stream.unwrap()).await.unwrap();
        tokio::spawn(connection);
        let mut ask = |path: &str| {
            let request = http::Request::get(format!("http://app{path}"))
                .header("x-api-key", GOOD)
                .body(());
            client.send_request(request.unwrap(), true).unwrap()
        };
        let (held, mut stream) = ask("/held");
        while upstream.count() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (more, _) = ask("/more");
        let more = more.await.unwrap();
        assert_eq!(
            (more.status(), &more.headers()["retry-after"]),
            (
                http::StatusCode::SERVICE_UNAVAILABLE,
                &http::HeaderValue::from_static("1")
            )
        );
        // A stream that is reset gives its place back, while the connection goes on.
        stream.send_reset(h2::Reason::CANCEL);
        assert!(held.await.is_err());
        let begun = Instant::now();
        loop {
            let (again, _) = ask("/again");
            if again.await.unwrap().status() == 200 {
                break;
            }
            assert!(begun.elapsed() < SOON, "the place is still taken");
        }
    });
}
