//! Covers "WebSocket is joined after the check and the upstream's 101": no byte crosses before, every byte
//! after, a refused client never reaches the upstream, a revoked key's tunnel is cut.

mod http2;

use std::time::Duration;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::gate::Gate;
use crate::harness::gate::OpenOnDrop;
use crate::harness::keygate::Keygate;
use crate::harness::noise;
use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;
use crate::harness::wire::Broken;

const ASK: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Switches, greets, then sends back what it gets.
fn websocket() -> Upstream {
    Upstream::scripted(|turn| {
        turn.send(SWITCH)?;
        turn.send("greeting")?;
        echo_tunnel(turn)
    })
}

fn echo_tunnel(turn: &mut crate::harness::upstream::Turn<'_>) -> std::io::Result<Next> {
    turn.reader.within(Duration::from_secs(60));
    while let Ok(piece) = turn.reader.some(64 * 1024) {
        turn.send(piece)?;
    }
    Ok(Next::Close)
}

#[track_caller]
fn join(keygate: &Keygate, target: &str) -> Client {
    let mut client = keygate.connect();
    client.send(request(&format!("GET {target}"), ASK));
    let head = client.reader().head().unwrap();
    assert_eq!(head.second(), "101", "{head:?}");
    assert!(head.lists("connection", "upgrade"), "{head:?}");
    assert_eq!(head.one("upgrade"), Some("websocket"));
    assert_eq!(
        head.one("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(client.reader().exactly(8).unwrap(), b"greeting");
    client
}

#[track_caller]
fn exchange(client: &mut Client, bytes: &[u8]) {
    client.send(bytes);
    assert!(
        client.reader().exactly(bytes.len()).unwrap() == bytes,
        "the tunnel changed bytes"
    );
}

#[test]
fn a_websocket_is_joined_after_the_101() {
    let upstream = websocket();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = join(&keygate, "/chat?room=1");
    exchange(&mut client, b"\x81\x05hello");
    exchange(&mut client, &noise(100_000));
    exchange(&mut client, b"GET / HTTP/1.1\r\n\r\n");
    let seen = upstream.seen_at("/chat?room=1");
    assert!(
        seen.head.lists("connection", "upgrade") && seen.head.one("upgrade") == Some("websocket"),
        "{seen:?}"
    );
    assert_eq!(
        seen.head.one("sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    assert!(
        !seen.head.has("x-api-key") && seen.head.one("x-keygate-key-id") == Some("k_good"),
        "{seen:?}"
    );
    drop(client);
    let record = keygate.transaction_of("/chat");
    assert_eq!(
        (&record["status"], &record["decision"]),
        (&101.into(), &"allowed".into()),
        "{record}"
    );
    let sent = 7 + 100_000 + 18;
    assert_eq!(record["request_bytes"], sent, "{record}");
    assert_eq!(record["response_bytes"], sent + 8, "{record}");
}

#[test]
fn the_end_of_either_side_ends_the_tunnel() {
    let upstream = Upstream::scripted(|turn| {
        turn.send(SWITCH)?;
        turn.send("greeting")?;
        turn.reader.within(SOON);
        let _ = turn.reader.exactly(3);
        turn.send("bye")?;
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = join(&keygate, "/a");
    client.send("end");
    assert_eq!(client.reader().exactly(3).unwrap(), b"bye");
    client.expect_closed();
    drop(client);
    assert_eq!(keygate.transaction_of("/a")["end"], "complete");

    let gate = Gate::new();
    let closed = gate.clone();
    let upstream = Upstream::scripted(move |turn| {
        turn.send(SWITCH)?;
        turn.send("greeting")?;
        if turn.waits_for_close(SOON) {
            closed.open();
        }
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream).spawn();
    drop(join(&keygate, "/b"));
    gate.wait();
    let end = keygate.transaction_of("/b")["end"].clone();
    assert!(end == "complete" || end == "client_gone", "{end}");
}

#[test]
fn a_refused_upgrade_never_reaches_the_upstream() {
    let upstream = websocket();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    let response = client.ask(format!("GET /chat HTTP/1.1\r\nhost: app\r\n{ASK}\r\n"));
    assert_eq!(response.status, 401, "{response:?}");
    assert_eq!(upstream.bytes(), 0);
}

#[test]
fn an_upstream_that_does_not_switch_answers_as_usual() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    let response = client.ask(request("GET /chat", ASK));
    assert_eq!(response.status, 200, "{response:?}");
    assert!(
        !response.head.lists("connection", "upgrade"),
        "{response:?}"
    );
    if !response.head.lists("connection", "close") {
        assert_eq!(
            client.ask(get("/next")).status,
            200,
            "the connection is still in step"
        );
    }
}

#[test]
fn bytes_sent_early_wait_for_the_101() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let go = gate.clone();
    let upstream = Upstream::scripted(move |turn| {
        // Nothing may come behind the head before the 101.
        turn.reader.within(Duration::from_millis(500));
        if turn.reader.some(1) != Err(Broken::Timeout) {
            turn.send("HTTP/1.1 500 Early Bytes\r\ncontent-length: 0\r\n\r\n")?;
            return Ok(Next::Close);
        }
        go.wait();
        turn.send(SWITCH)?;
        turn.send("greeting")?;
        echo_tunnel(turn)
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(format!("{}early", request("GET /chat", ASK)));
    gate.open();
    let head = client.reader().head().unwrap();
    assert_eq!(head.second(), "101", "{head:?}");
    assert_eq!(client.reader().exactly(13).unwrap(), b"greetingearly");
}

#[test]
fn bytes_behind_a_refused_switch_are_a_request() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        turn.answer("200 OK", "", turn.head.second().to_owned().as_bytes())
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(format!(
        "{}GET /smuggled HTTP/1.1\r\nhost: app\r\n\r\n",
        request("GET /chat", ASK)
    ));
    assert_eq!(client.read("GET").text(), "/chat");
    // Judged like every request, or not read at all: never passed on unjudged.
    if let Ok(response) = client.try_read_within("GET", Duration::from_secs(3)) {
        assert_eq!(response.status, 401, "{response:?}");
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_101_that_nobody_asked_for_is_502() {
    let upstream = websocket();
    let keygate = Setup::of(&upstream).spawn();
    for (name, fields) in [
        ("no upgrade at all", ""),
        ("upgrade without connection", "upgrade: websocket\r\n"),
        ("connection without upgrade", "connection: upgrade\r\n"),
        (
            "another protocol",
            "connection: upgrade\r\nupgrade: h2c\r\n",
        ),
    ] {
        let mut client = keygate.connect();
        let response = client.ask(request("GET /x", fields));
        assert_eq!(
            (response.status, response.code().as_str()),
            (502, "upstream_failed"),
            "{name}: {response:?}"
        );
    }
}

#[test]
fn an_answer_that_switches_to_something_else_is_502() {
    let upstream = Upstream::raw(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: Upgrade\r\n\r\n",
    );
    let keygate = Setup::of(&upstream).spawn();
    assert_eq!(keygate.ask(request("GET /x", ASK)).status, 502);
}

#[test]
fn the_tunnel_of_a_revoked_key_is_cut_within_a_second() {
    let upstream = websocket();
    let keygate = Setup::of(&upstream).spawn();
    let mut revoked = join(&keygate, "/revoked");
    let mut stays = keygate.connect();
    stays.send(request("GET /stays", ASK).replace(GOOD, OTHER));
    assert_eq!(stays.reader().head().unwrap().second(), "101");
    assert_eq!(stays.reader().exactly(8).unwrap(), b"greeting");
    exchange(&mut revoked, b"still there");

    keygate.replace_keys(key_file(&[entry("other", OTHER, "")]));
    // The span counts from the moment when the key is refused elsewhere.
    crate::harness::eventually("the key is revoked", SOON, || keygate.status(GOOD) == 401);
    let begun = Instant::now();
    revoked.expect_closed();
    assert!(
        begun.elapsed() < Duration::from_millis(1_500),
        "cut after {:?}",
        begun.elapsed()
    );
    exchange(&mut stays, b"another key's tunnel lives on");
    let record = keygate.transaction_of("/revoked");
    assert_eq!(
        (&record["end"], &record["request_bytes"]),
        (&"revoked".into(), &11.into()),
        "{record}"
    );
}

#[test]
fn a_disabled_key_loses_its_tunnel_and_a_renamed_one_does_not() {
    let upstream = websocket();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = join(&keygate, "/a");
    let renamed = entry("good", GOOD, "").replace("name: good", "name: another");
    keygate.replace_keys(key_file(&[
        renamed,
        entry("other", OTHER, ", enabled: false"),
    ]));
    crate::harness::eventually("the edit is live", SOON, || keygate.status(OTHER) == 401);
    exchange(&mut client, b"a name is not a token");
    keygate.replace_keys(key_file(&[entry("good", GOOD, ", enabled: false")]));
    client.expect_closed();
    assert_eq!(keygate.transaction_of("/a")["end"], "revoked");
}

#[test]
fn a_key_that_expires_loses_its_tunnel() {
    let upstream = websocket();
    let soon = keygate::clock::Clock::system()
        .wall()
        .plus(Duration::from_secs(3));
    let keys = key_file(&[entry("good", GOOD, &format!(", expires_at: {soon}"))]);
    let keygate = Setup::of(&upstream).keys(keys).spawn();
    let mut client = join(&keygate, "/expires");
    exchange(&mut client, b"not yet");
    client.expect_closed();
    let record = keygate.transaction_of("/expires");
    assert_eq!(record["end"], "revoked", "{record}");
    assert_eq!(keygate.status(GOOD), 401);
}

#[test]
fn an_open_stream_of_a_revoked_key_is_cut_too() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::scripted(move |turn| {
        turn.body()?;
        if turn.head.second() != "/events" {
            return turn.answer("200 OK", "", b"x");
        }
        turn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n4\r\none\n\r\n")?;
        gate.wait();
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(get("/events"));
    assert_eq!(client.reader().head().unwrap().second(), "200");
    assert_eq!(client.reader().exactly(9).unwrap(), b"4\r\none\n\r\n");
    keygate.replace_keys(key_file(&[entry("other", OTHER, "")]));
    client.expect_closed();
    assert_eq!(keygate.transaction_of("/events")["end"], "revoked");
}

#[test]
fn a_tunnel_may_finish_where_that_is_configured() {
    let upstream = websocket();
    let keygate = Setup::of(&upstream)
        .set("auth", "{on_revoke: finish}")
        .spawn();
    let mut client = join(&keygate, "/finish");
    keygate.replace_keys(key_file(&[entry("other", OTHER, "")]));
    crate::harness::eventually("the key is revoked", SOON, || keygate.status(GOOD) == 401);
    assert!(
        client.is_silent_for(Duration::from_secs(2)),
        "the tunnel was cut"
    );
    exchange(&mut client, b"and still there");
}

#[test]
fn an_idle_tunnel_ends_in_time() {
    let upstream = websocket();
    let keygate = Setup::of(&upstream)
        .set("timeouts", "{stream: 700ms}")
        .spawn();
    let mut client = join(&keygate, "/idle");
    exchange(&mut client, b"not idle");
    client.expect_closed();
    assert_eq!(keygate.transaction_of("/idle")["end"], "timeout");
}

#[test]
fn only_websocket_is_offered_to_the_upstream() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    for (name, fields) in [
        (
            "beside another",
            "connection: upgrade\r\nupgrade: h2c, websocket\r\n",
        ),
        (
            "in two fields",
            "connection: upgrade\r\nupgrade: h2c\r\nupgrade: websocket\r\n",
        ),
        (
            "in another case",
            "Connection: UPGRADE\r\nUpgrade: WebSocket\r\n",
        ),
    ] {
        let before = upstream.count();
        assert_eq!(
            keygate.ask(request("GET /ws", fields)).status,
            200,
            "{name}"
        );
        let seen = &upstream.seen()[before];
        let offered = seen.head.all("upgrade").join(", ").to_ascii_lowercase();
        assert!(
            offered.is_empty() || offered == "websocket",
            "{name}: {offered:?}"
        );
    }
}

#[test]
fn an_old_client_cannot_upgrade() {
    let upstream = websocket();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    let response = client.ask(request("GET /ws", ASK).replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(
        response.status, 502,
        "a 101 that nobody asked for: {response:?}"
    );
    assert!(!upstream.seen_at("/ws").head.has("upgrade"));
}

#[test]
fn the_body_of_an_upgrade_is_a_body() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(format!(
        "{}hello{}",
        request("POST /ws", &format!("{ASK}content-length: 5\r\n")),
        get("/behind")
    ));
    let response = client.read("POST");
    // Refused or passed on as what it is; never taken for a tunnel's first bytes.
    if response.status == 200 {
        assert_eq!(response.json()["body_bytes"], 5, "{response:?}");
    } else {
        assert_eq!(response.status, 400, "{response:?}");
    }
}

/// An upload is an open stream as much as a tunnel is.
#[test]
fn the_upload_of_a_revoked_key_is_cut() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(format!(
        "{}5\r\nhello\r\n",
        request("POST /endless", "transfer-encoding: chunked\r\n")
    ));
    upstream.wait_for("the upload has begun", 0, |_| true);
    keygate.replace_keys(key_file(&[]));
    client.expect_closed();
    let record = keygate.transaction_of("/endless");
    assert_eq!(record["end"], "revoked", "{record}");
    assert_eq!(record["request_bytes"], 5, "{record}");
}

/// What browsers can do, which set no fields of a WebSocket: offer the key as a sub-protocol beside a real one.
#[test]
fn a_sub_protocol_may_carry_the_key_and_is_never_chosen() {
    let upstream = Upstream::scripted(|turn| {
        let offered = turn.head.one("sec-websocket-protocol").map(str::to_owned);
        // A bad one chooses what it was not offered.
        let chosen = match turn.head.second() {
            "/bad" => Some(format!("keygate.{}", BASE64_URL_SAFE_NO_PAD.encode(GOOD))),
            _ => offered,
        };
        let field = chosen.map(|chosen| format!("\r\nsec-websocket-protocol: {chosen}\r\n\r\n"));
        turn.send(SWITCH.replace("\r\n\r\n", field.as_deref().unwrap_or("\r\n\r\n")))?;
        turn.send("greeting")?;
        echo_tunnel(turn)
    });
    for (name, hide, target, offered, seen, told) in [
        (
            "beside another",
            true,
            "/a",
            "chat, $KEY",
            Some("chat"),
            Some("chat"),
        ),
        ("alone", true, "/b", "$KEY", None, None),
        (
            "a bad upstream",
            true,
            "/bad",
            "$KEY, chat",
            Some("chat"),
            None,
        ),
        (
            "not hidden, and chosen",
            false,
            "/d",
            "$KEY",
            Some("$KEY"),
            None,
        ),
    ] {
        let key = format!("keygate.{}", BASE64_URL_SAFE_NO_PAD.encode(GOOD));
        let keygate = Setup::of(&upstream)
            .set("auth", format!("{{sources: [ws_protocol], hide: {hide}}}"))
            .spawn();
        let mut client = keygate.connect();
        client.send(format!(
            "GET {target} HTTP/1.1\r\nhost: app\r\n{ASK}sec-websocket-protocol: {}\r\n\r\n",
            offered.replace("$KEY", &key)
        ));
        let head = client.reader().head().unwrap();
        assert_eq!(head.second(), "101", "{name}: {head:?}");
        assert_eq!(head.one("sec-websocket-protocol"), told, "{name}: {head:?}");
        assert_eq!(client.reader().exactly(8).unwrap(), b"greeting", "{name}");
        exchange(&mut client, b"joined");
        let arrived = upstream.seen_at(target).head;
        assert_eq!(
            arrived.one("sec-websocket-protocol"),
            seen.map(|seen| seen.replace("$KEY", &key)).as_deref(),
            "{name}"
        );
        assert_eq!(arrived.one("x-keygate-key-id"), Some("k_good"), "{name}");
        drop(client);
        assert_eq!(keygate.transaction_of(target)["decision"], "allowed");
    }
}

#[test]
fn the_tunnel_of_a_revoked_sub_protocol_key_is_cut() {
    let upstream = websocket();
    let keygate = Setup::of(&upstream)
        .set("auth", "{sources: [ws_protocol]}")
        .spawn();
    let mut client = keygate.connect();
    client.send(format!(
        "GET /ws HTTP/1.1\r\nhost: app\r\n{ASK}sec-websocket-protocol: chat, keygate.{}\r\n\r\n",
        BASE64_URL_SAFE_NO_PAD.encode(GOOD)
    ));
    assert_eq!(client.reader().head().unwrap().second(), "101");
    assert_eq!(client.reader().exactly(8).unwrap(), b"greeting");
    keygate.replace_keys(key_file(&[]));
    client.expect_closed();
    assert_eq!(keygate.transaction_of("/ws")["end"], "revoked");
}
