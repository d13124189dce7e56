//! Covers "a reverse proxy for HTTP/1.1": good traffic of every shape passes unchanged, connections are
//! kept, answers come in order and as they are made. What is malformed is in `malformed`, bodies in `bodies`.

mod bodies;
mod malformed;
mod pieces;

use std::time::Duration;

use crate::harness::gate::Gate;
use crate::harness::message::Ended;
use crate::harness::requests::get;
use crate::harness::requests::post;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;

#[test]
fn method_path_and_query_reach_the_upstream_unchanged() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    for (name, line) in [
        ("usual", "GET /a/b?c=d"),
        ("root", "GET /"),
        ("doubled slashes", "GET //a//b//"),
        ("dot segments", "GET /a/./b/../c"),
        ("encoded letters", "GET /%61%2f%2F%00?%zz"),
        ("empty query", "GET /a?"),
        ("two question marks", "GET /a?b?c"),
        ("every mark", "GET /-._~!$&'()*+,;=:@/?-._~!$&'()*+,;=:@/?"),
        (
            "a long path",
            "GET /0123456789/0123456789/0123456789/0123456789/0123456789?x=0123456789",
        ),
        ("PUT", "PUT /a"),
        ("DELETE", "DELETE /a"),
        ("PATCH", "PATCH /a"),
        ("OPTIONS", "OPTIONS /a"),
        ("asterisk", "OPTIONS *"),
        ("a method of one's own", "MKCALENDAR /a"),
        ("methods have case", "get /a"),
    ] {
        let before = upstream.count();
        let response = client.ask(request(line, "content-length: 0\r\n"));
        assert_eq!(response.status, 200, "{name}: {response:?}");
        let seen = &upstream.seen()[before];
        assert_eq!(seen.head.start, format!("{line} HTTP/1.1"), "{name}");
    }
}

#[test]
fn absolute_form_is_sent_on_as_a_path() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    for (name, target, host, seen_target) in [
        ("usual", "http://app/a?b", "app", "/a?b"),
        ("with a port", "http://app:8080/b", "app:8080", "/b"),
        ("host in another case", "http://APP/c", "app", "/c"),
        ("no path", "http://app", "app", "/"),
    ] {
        let response = keygate.ask(format!(
            "GET {target} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {GOOD}\r\n\r\n"
        ));
        assert_eq!(response.status, 200, "{name}: {response:?}");
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.head.second(), seen_target, "{name}");
        assert_eq!(
            seen.head.one("host").unwrap().to_lowercase(),
            host,
            "{name}"
        );
    }
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send_bytewise(&post("/pieces", b"hello"));
    let response = client.read("POST");
    assert_eq!(response.json()["body_bytes"], 5);
    client.send_bytewise(request("POST /chunks", "transfer-encoding: chunked\r\n").as_bytes());
    client.send_bytewise(b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n");
    assert_eq!(
        client.read("POST").json()["body_sha256"],
        crate::harness::sha256(b"hello world")
    );
}

#[test]
fn connections_are_kept_on_both_sides() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = keygate.connect();
    for index in 0..50 {
        let response = client.ask(post(&format!("/{index}"), b"body"));
        assert_eq!(response.status, 200);
        assert!(!response.head.lists("connection", "close"), "{response:?}");
    }
    assert_eq!(
        upstream.connections(),
        1,
        "the upstream connection is used again"
    );
    assert_eq!(keygate.finish().transactions.len(), 50);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    let mut bytes = Vec::new();
    for index in 0..20 {
        match index % 4 {
            0 => bytes.extend_from_slice(get(&format!("/{index}")).as_bytes()),
            1 => bytes.extend_from_slice(&post(&format!("/{index}"), b"hello")),
            2 => bytes.extend_from_slice(
                format!(
                    "{}3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n",
                    request(&format!("PUT /{index}"), "transfer-encoding: chunked\r\n")
                )
                .as_bytes(),
            ),
            _ => bytes.extend_from_slice(
                format!("GET /{index} HTTP/1.1\r\nhost: app\r\n\r\n").as_bytes(),
            ),
        }
    }
    client.send(&bytes);
    for index in 0..20 {
        let response = client.read("GET");
        if index % 4 == 3 {
            assert_eq!(response.status, 401, "{index}: {response:?}");
        } else {
            assert_eq!(
                response.json()["target"],
                format!("/{index}"),
                "{response:?}"
            );
        }
    }
    assert_eq!(keygate.finish().transactions.len(), 20);
}

#[test]
fn a_close_is_told_and_kept() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    let response = client.ask(request("GET /last", "connection: close\r\n"));
    assert!(response.head.lists("connection", "close"), "{response:?}");
    client.expect_closed();
    assert!(
        !upstream.seen_at("/last").head.has("connection"),
        "the upstream's connection is another matter"
    );
}

#[test]
fn old_clients_are_served() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        match turn.head.second() {
            "/length" => turn.answer("200 OK", "", b"hello"),
            _ => {
                turn.send(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                )?;
                Ok(Next::Keep)
            }
        }
    });
    let keygate = Setup::of(&upstream).spawn();
    let key = format!("x-api-key: {GOOD}\r\n");

    let mut client = keygate.connect();
    let response = client.ask(format!("GET /length HTTP/1.0\r\n{key}host: app\r\n\r\n"));
    assert_eq!(
        (response.status, response.text().as_str(), response.ended),
        (200, "hello", Ended::Length)
    );
    client.expect_closed();

    let mut client = keygate.connect();
    let response = client.ask(format!("GET /chunked HTTP/1.0\r\n{key}host: app\r\n\r\n"));
    assert_eq!(
        (response.text().as_str(), response.ended),
        ("hello", Ended::Close),
        "no chunks for HTTP/1.0"
    );

    let mut client = keygate.connect();
    for _ in 0..2 {
        let response = client.ask(format!(
            "GET /length HTTP/1.0\r\n{key}host: app\r\nconnection: keep-alive\r\n\r\n"
        ));
        assert!(
            response.head.lists("connection", "keep-alive"),
            "{response:?}"
        );
    }
    // To the upstream everybody is a client of HTTP/1.1.
    assert!(
        upstream
            .seen()
            .iter()
            .all(|seen| seen.head.start.ends_with(" HTTP/1.1")),
        "{:?}",
        upstream.seen()
    );
}

#[test]
fn an_old_client_needs_no_host() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let response = keygate.ask(format!(
        "GET /hostless HTTP/1.0\r\nx-api-key: {GOOD}\r\n\r\n"
    ));
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(
        upstream.seen_at("/hostless").head.all("host").len(),
        1,
        "HTTP/1.1 wants a Host"
    );
}

#[test]
fn answers_without_a_body_have_none() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        turn.send(match turn.head.second() {
            "/204" => "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 7\r\n\r\n",
            "/head" => "HTTP/1.1 200 OK\r\ncontent-length: 12345\r\n\r\n",
            "/head-chunked" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        })?;
        Ok(Next::Keep)
    });
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = keygate.connect();
    for (method, target, status, length) in [
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, Some("7")),
        ("HEAD", "/head", 200, Some("12345")),
        ("HEAD", "/head-chunked", 200, None),
        ("GET", "/empty", 200, Some("0")),
    ] {
        let response = client.ask(request(&format!("{method} {target}"), ""));
        assert_eq!(response.status, status, "{target}: {response:?}");
        if target == "/304" {
            // A length may be told or left out, never changed.
            assert!(
                matches!(response.head.one("content-length"), None | Some("7")),
                "{response:?}"
            );
        } else {
            assert_eq!(
                response.head.one("content-length"),
                length,
                "{target}: {response:?}"
            );
        }
    }
    assert_eq!(
        client.ask(get("/again")).status,
        200,
        "the connection is still in step"
    );
    assert_eq!(
        upstream.connections(),
        1,
        "the upstream connection is still in step"
    );
}

#[test]
fn every_status_passes() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        let status = format!("{} Own Words", &turn.head.second()[1..]);
        turn.answer(&status, "", b"x")
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    for status in [
        200, 201, 202, 206, 301, 302, 400, 401, 403, 404, 418, 429, 500, 502, 503, 504, 599,
    ] {
        assert_eq!(client.ask(get(&format!("/{status}"))).status, status);
    }
    let records = keygate.finish().transactions;
    assert_eq!(records.len(), 17);
    for record in records {
        assert_eq!(
            record["decision"], "allowed",
            "the upstream's own 401 is not ours: {record}"
        );
        assert!(record["reason"].is_null(), "{record}");
    }
}

#[test]
fn interim_answers_before_the_answer_do_no_harm() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        turn.send(
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
        )?;
        turn.answer("200 OK", "", b"final")
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    for _ in 0..2 {
        let response = client.ask(get("/hints"));
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "final"),
            "{response:?}"
        );
    }
}

#[test]
fn events_arrive_as_they_are_sent() {
    let gate = Gate::new();
    let second = gate.clone();
    let upstream = Upstream::scripted(move |turn| {
        turn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
        turn.send("d\r\ndata: first\n\n\r\n")?;
        second.wait();
        turn.send("e\r\ndata: second\n\n\r\n0\r\n\r\n")?;
        Ok(Next::Keep)
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(get("/events"));
    let reader = client.reader();
    let head = reader.head().unwrap();
    assert!(head.lists("transfer-encoding", "chunked"), "{head:?}");
    let first = reader.line().and_then(|_| reader.line()).unwrap();
    assert!(
        first.starts_with(b"data: first"),
        "the first event comes before the second is made"
    );
    gate.open();
    let mut rest = Vec::new();
    reader
        .chunked(|piece| rest.extend_from_slice(piece))
        .unwrap();
    assert_eq!(rest, b"data: second\n\n");
}

#[test]
fn an_answer_without_a_length_ends_with_its_connection() {
    let upstream = Upstream::raw("HTTP/1.1 200 OK\r\n\r\nto the end");
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    for _ in 0..2 {
        let response = client.ask(get("/close"));
        assert_eq!(
            (response.text().as_str(), response.ended),
            ("to the end", Ended::Chunked)
        );
    }
    let response = keygate.ask(format!(
        "GET /old HTTP/1.0\r\nhost: app\r\nx-api-key: {GOOD}\r\n\r\n"
    ));
    assert_eq!(
        (response.text().as_str(), response.ended),
        ("to the end", Ended::Close)
    );
    assert_eq!(upstream.connections(), 3);
}

#[test]
fn an_idle_connection_is_closed_in_time_and_not_before() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("timeouts", "{idle: 500ms, header: 10s}")
        .spawn();
    let mut client = keygate.connect();
    assert_eq!(client.ask(get("/a")).status, 200);
    assert!(
        client.is_silent_for(Duration::from_millis(250)),
        "not closed before its time"
    );
    client.expect_closed();
    let mut fresh = keygate.connect();
    fresh.expect_closed();
    assert_eq!(
        keygate.finish().transactions.len(),
        1,
        "a connection without a request is no transaction"
    );
}

#[test]
fn clients_come_over_unix_sockets_too() {
    let upstream = Upstream::echo();
    let setup = Setup::of(&upstream);
    let path = setup.folder.path().join("keygate.sock");
    let listen = format!("[\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let keygate = setup.set("listen", listen).spawn();
    let mut client = crate::harness::client::Client::connect_unix(&path);
    assert_eq!(client.ask(get("/unix")).status, 200);
    assert_eq!(keygate.status(GOOD), 200);
    let record = keygate.transaction_of("/unix");
    assert!(
        record["client_ip"].is_null(),
        "a Unix socket has no address: {record}"
    );
}

#[test]
fn every_worker_serves() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).set("workers", "2").spawn();
    let mut clients: Vec<_> = (0..8).map(|_| keygate.connect()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            assert_eq!(client.ask(get("/w")).status, 200);
        }
    }
    assert!(
        upstream.connections() >= 2,
        "each worker has a pool of its own"
    );
    assert_eq!(keygate.finish().transactions.len(), 24);
}

/// Some old clients end a body with an empty line that nothing announced (RFC 9112 §2.2).
#[test]
fn an_empty_line_behind_a_body_begins_no_request() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("timeouts", "{idle: 2s, header: 200ms}")
        .spawn();
    let mut client = keygate.connect();
    client.send([&post("/stray", b"hello")[..], b"\r\n"].concat());
    assert_eq!(client.read("POST").status, 200);
    assert!(
        client.is_silent_for(Duration::from_millis(600)),
        "no head has begun, so none can be late"
    );
    assert_eq!(client.ask(get("/next")).status, 200);
    drop(client);
    assert_eq!(keygate.finish().transactions.len(), 2);
}
