//! Covers "upstream down, slow, resetting, lying": the client gets 502 or 504 or a visibly broken answer,
//! within the timeouts; what can be retried without harm is retried once; keygate recovers at once.

use std::fs;
use std::io;
use std::time::Duration;
use std::time::Instant;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::gate::OpenOnDrop;
use crate::harness::keygate::Keygate;
use crate::harness::requests::get;
use crate::harness::requests::post;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;
use crate::harness::wire::Broken;

#[track_caller]
fn expect_failure(keygate: &Keygate, name: &str, status: u16, code: &str) {
    let mut client = keygate.connect();
    let response = client.ask(get("/failing"));
    assert_eq!(response.status, status, "{name}: {response:?}");
    assert_eq!(
        response.head.one("content-type"),
        Some("application/problem+json"),
        "{name}"
    );
    assert_eq!(response.code(), code, "{name}: {response:?}");
    let id = response.json()["request_id"].as_str().unwrap().to_owned();
    let record = keygate.transaction(name, |record| record["request_id"] == id.as_str());
    assert_eq!(
        (&record["decision"], &record["reason"]),
        (&"allowed".into(), &code.into()),
        "{name}: {record}"
    );
    assert_eq!(record["status"], status, "{name}: {record}");
}

#[test]
fn an_upstream_that_is_down_is_502_until_it_is_up() {
    let address = Upstream::nowhere();
    let keygate = Setup::in_front_of(&format!("http://{address}")).spawn();
    expect_failure(&keygate, "nobody listens", 502, "upstream_failed");
    let refused = keygate.ask("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    assert_eq!(
        refused.status, 401,
        "strangers are refused whether the upstream is up or not"
    );
}

#[test]
fn an_upstream_that_breaks_its_head_is_502() {
    for (name, answer) in [
        ("closes at once", ""),
        ("half a status line", "HTTP/1.1 20"),
        ("half a head", "HTTP/1.1 200 OK\r\nx-a: 1\r\n"),
        ("not HTTP", "220 mail.example ESMTP\r\n\r\n"),
        ("a status that is none", "HTTP/1.1 abc OK\r\n\r\n"),
        ("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"),
        ("HTTP/0.9", "<html></html>"),
        ("HTTP/2", "HTTP/2 200 OK\r\n\r\n"),
        (
            "a name with a space",
            "HTTP/1.1 200 OK\r\nx a: 1\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "a space before the colon",
            "HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n",
        ),
        (
            "a NUL",
            "HTTP/1.1 200 OK\r\nx-a: \0\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            "two different lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        ),
        (
            "a length that is none",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nxx",
        ),
        (
            "a negative length",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nxx",
        ),
        (
            "length and chunked",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "a coding that is not ours",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nxx",
        ),
        (
            "101 without being asked",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        ),
    ] {
        let upstream = Upstream::raw(answer);
        let keygate = Setup::of(&upstream).spawn();
        expect_failure(&keygate, name, 502, "upstream_failed");
    }
}

#[test]
fn an_upstream_whose_head_never_ends_is_502() {
    let endless = |line: &'static str| {
        Upstream::scripted(move |turn| {
            turn.body()?;
            turn.send("HTTP/1.1 200 OK\r\n")?;
            for _ in 0..200_000 {
                turn.send(line)?;
            }
            Ok(Next::Close)
        })
    };
    for (name, upstream) in [
        (
            "fields",
            endless("x-a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
        ),
        ("one field", endless("aaaaaaaaaaaaaaaaaaaaaaaa")),
    ] {
        let keygate = Setup::of(&upstream).spawn();
        expect_failure(&keygate, name, 502, "upstream_failed");
    }
}

#[test]
fn a_flood_of_interim_answers_ends() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        for _ in 0..1_000_000 {
            turn.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream)
        .set("timeouts", "{response: 5s}")
        .spawn();
    let response = keygate.ask(get("/flood"));
    assert!(matches!(response.status, 502 | 504), "{response:?}");
}

#[test]
fn a_slow_upstream_is_504_and_names_the_timeout() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::slow(gate);
    let keygate = Setup::of(&upstream)
        .set("timeouts", "{response: 300ms}")
        .spawn();
    let begun = Instant::now();
    let response = keygate.ask(get("/slow"));
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "not before its time"
    );
    assert_eq!(
        (response.status, response.code().as_str()),
        (504, "upstream_timeout"),
        "{response:?}"
    );
    assert!(
        response.text().contains("timeouts.response"),
        "the timeout is named: {response:?}"
    );
    let record = keygate.transaction_of("/slow");
    assert_eq!(
        (&record["reason"], &record["end"]),
        (&"upstream_timeout".into(), &"timeout".into()),
        "{record}"
    );
}

#[test]
fn an_upstream_that_stalls_in_its_answer_is_cut() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::scripted(move |turn| {
        turn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")?;
        gate.wait();
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream)
        .set("timeouts", "{body: 400ms}")
        .spawn();
    let mut client = keygate.connect();
    client.send(get("/stall"));
    let failed = client
        .try_read("GET")
        .expect_err("half an answer must not look whole");
    assert_eq!(failed.body, b"hello");
    assert_eq!(keygate.transaction_of("/stall")["end"], "timeout");
}

#[test]
fn an_answer_that_breaks_off_looks_broken() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (name, answer, reset) in [
        (
            "short of its length",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_owned(),
            false,
        ),
        (
            "short of its length, by reset",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_owned(),
            true,
        ),
        (
            "without a last chunk",
            format!("{chunked}5\r\nhello\r\n"),
            false,
        ),
        (
            "without a last chunk, by reset",
            format!("{chunked}5\r\nhello\r\n"),
            true,
        ),
        (
            "in the middle of a chunk",
            format!("{chunked}a\r\nhello"),
            false,
        ),
        (
            "with a bad chunk size",
            format!("{chunked}5\r\nhello\r\nzz\r\nhello\r\n0\r\n\r\n"),
            false,
        ),
        (
            "with a chunk that is too long",
            format!("{chunked}5\r\nhello!!\r\n0\r\n\r\n"),
            false,
        ),
        (
            "in its trailers",
            format!("{chunked}5\r\nhello\r\n0\r\nx-a: 1\r\n"),
            false,
        ),
        (
            "without a length, by reset",
            "HTTP/1.1 200 OK\r\n\r\nhello".to_owned(),
            true,
        ),
    ] {
        let gate = Gate::new();
        let go = gate.clone();
        let upstream = Upstream::scripted(move |turn| {
            turn.body()?;
            turn.send(&answer)?;
            go.wait();
            Ok(if reset { Next::Reset } else { Next::Close })
        });
        let keygate = Setup::of(&upstream).spawn();
        let mut client = keygate.connect();
        client.send(get("/broken"));
        let reader = client.reader();
        match reader.head() {
            // The break comes after the client has the first bytes: they must not be taken back.
            Ok(head) => {
                assert_eq!(head.second(), "200", "{name}");
                gate.open();
                let ended_well = if head.has("content-length") {
                    reader.exactly(10).is_ok()
                } else {
                    reader.chunked(|_| {}).is_ok()
                };
                assert!(!ended_well, "{name}: a cut answer looks whole");
                reader.buffer.clear();
                client.expect_closed();
            }
            // Where it comes with the first bytes, nothing of the answer may come at all.
            Err(broken) => {
                assert!(name.starts_with("with a"), "{name}: {broken:?}");
                gate.open();
            }
        }
        let record = keygate.transaction_of("/broken");
        assert_eq!(record["end"], "upstream_cut", "{name}: {record}");
        assert_eq!(record["status"], 200, "{name}: {record}");
    }
}

#[test]
fn a_broken_answer_to_an_old_client_is_a_reset() {
    for (name, answer) in [
        (
            "short of its length",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
        ),
        (
            "without a last chunk",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ),
    ] {
        let gate = Gate::new();
        let go = gate.clone();
        let upstream = Upstream::scripted(move |turn| {
            turn.send(answer)?;
            go.wait();
            Ok(Next::Close)
        });
        let keygate = Setup::of(&upstream).spawn();
        let mut client = keygate.connect();
        client.send(format!(
            "GET /old HTTP/1.0\r\nhost: app\r\nx-api-key: {GOOD}\r\n\r\n"
        ));
        let reader = client.reader();
        let head = reader.head().unwrap();
        assert_eq!(reader.exactly(5).unwrap(), b"hello", "{name}");
        gate.open();
        let end = reader.fill();
        if head.has("content-length") {
            assert!(matches!(end, Ok(0) | Err(Broken::Reset)), "{name}: {end:?}");
        } else {
            assert_eq!(
                end,
                Err(Broken::Reset),
                "{name}: a close would look like the end"
            );
        }
    }
}

#[test]
fn more_than_was_promised_is_not_passed_on() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        turn.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")?;
        Ok(Next::Keep)
    });
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = keygate.connect();
    for _ in 0..5 {
        assert_eq!(client.ask(get("/more")).text(), "hello");
    }
}

#[test]
fn stray_bytes_on_an_idle_connection_drop_it() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = keygate.connect();
    assert_eq!(client.ask(get("/a")).status, 200);
    upstream.send_unasked(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
    let response = client.ask(get("/b"));
    assert_eq!(
        response.json()["target"],
        "/b",
        "an answer that nobody asked for is nobody's answer"
    );
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn a_connection_that_the_upstream_closed_is_not_used() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = keygate.connect();
    for index in 0..10 {
        let bytes = if index % 2 == 0 {
            get("/get").into_bytes()
        } else {
            post("/post", b"hello")
        };
        assert_eq!(client.ask(bytes).status, 200, "{index}");
        upstream.close_connections();
    }
    assert_eq!(upstream.count(), 10, "nothing was sent twice");
}

/// Answers the first request of a connection and breaks off at the second, without a byte of an answer.
fn breaks_when_used_again(reset: bool) -> Upstream {
    Upstream::scripted(move |turn| {
        if turn.earlier > 0 {
            return Ok(if reset { Next::Reset } else { Next::Close });
        }
        turn.body()?;
        turn.answer("200 OK", "", turn.head.second().to_owned().as_bytes())
    })
}

#[test]
fn a_dead_pooled_connection_is_retried_once_where_that_is_safe() {
    for reset in [false, true] {
        for (method, fields, body, status) in [
            ("GET", "", "", 200),
            ("HEAD", "", "", 200),
            ("OPTIONS", "", "", 200),
            ("POST", "content-length: 0\r\n", "", 502),
            ("POST", "content-length: 5\r\n", "hello", 502),
            ("PUT", "content-length: 5\r\n", "hello", 502),
            ("DELETE", "", "", 502),
            ("GET", "content-length: 5\r\n", "hello", 502),
        ] {
            let name = format!("{method} {fields:?}, reset {reset}");
            let upstream = breaks_when_used_again(reset);
            let keygate = Setup::of(&upstream).set("workers", "1").spawn();
            let mut client = keygate.connect();
            assert_eq!(client.ask(get("/first")).status, 200, "{name}");
            client.send(format!(
                "{}{body}",
                request(&format!("{method} /second"), fields)
            ));
            let response = client.read(method);
            assert_eq!(response.status, status, "{name}: {response:?}");
            let tries = upstream
                .seen()
                .iter()
                .filter(|seen| seen.head.second() == "/second")
                .count();
            assert_eq!(tries, if status == 200 { 2 } else { 1 }, "{name}");
            keygate.transaction_of("/second");
        }
    }
}

#[test]
fn a_fresh_connection_that_breaks_is_not_retried() {
    let upstream = Upstream::raw("");
    let keygate = Setup::of(&upstream).spawn();
    assert_eq!(keygate.ask(get("/once")).status, 502);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn an_answer_that_has_begun_is_not_retried() {
    let upstream = Upstream::scripted(|turn| {
        if turn.earlier > 0 {
            turn.send("HTTP/1.1")?;
            return Ok(Next::Close);
        }
        turn.answer("200 OK", "", b"first")
    });
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = keygate.connect();
    assert_eq!(client.ask(get("/first")).status, 200);
    assert_eq!(client.ask(get("/second")).status, 502);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn an_upstream_that_says_close_is_not_used_again() {
    for (name, answer) in [
        (
            "close",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx",
        ),
        ("HTTP/1.0", "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx"),
    ] {
        let upstream = Upstream::scripted(move |turn| {
            turn.body()?;
            turn.send(answer)?;
            // The connection stays open: not to use it is keygate's to know.
            Ok(Next::Keep)
        });
        let keygate = Setup::of(&upstream).set("workers", "1").spawn();
        let mut client = keygate.connect();
        for _ in 0..3 {
            assert_eq!(client.ask(get("/x")).text(), "x", "{name}");
        }
        assert_eq!(upstream.connections(), 3, "{name}");
    }
}

#[test]
fn an_idle_upstream_connection_is_closed_in_time() {
    let gate = Gate::new();
    let closed = gate.clone();
    let upstream = Upstream::scripted(move |turn| {
        turn.answer("200 OK", "", b"x")?;
        if turn.waits_for_close(SOON) {
            closed.open();
        }
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream)
        .set("timeouts", "{upstream_idle: 300ms}")
        .spawn();
    let begun = Instant::now();
    assert_eq!(keygate.ask(get("/x")).status, 200);
    gate.wait();
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "closed long after its time: {:?}",
        begun.elapsed()
    );
}

#[test]
fn an_early_answer_to_an_upload_reaches_the_client() {
    let upstream = Upstream::scripted(|turn| {
        turn.answer("403 Forbidden", "", b"too much")?;
        turn.waits_for_close(SOON);
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(request("POST /early", "content-length: 50000\r\n"));
    client.send("begin");
    let response = client.read("POST");
    assert_eq!(
        (response.status, response.text().as_str()),
        (403, "too much"),
        "{response:?}"
    );
}

#[test]
fn a_client_that_goes_ends_its_request_at_the_upstream() {
    let gate = Gate::new();
    let closed = gate.clone();
    let upstream = Upstream::scripted(move |turn| {
        if turn.waits_for_close(SOON) {
            closed.open();
        }
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(get("/gone"));
    upstream.wait_for("the request is at the upstream", 0, |_| true);
    client.reset();
    let record = keygate.transaction_of("/gone");
    assert_eq!(record["end"], "client_gone", "{record}");
    gate.wait();
}

#[test]
fn a_unix_socket_can_be_the_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let upstream = Upstream::echo_unix(&path);
    let keygate = Setup::of(&upstream)
        .set("upstream_host", "upstream")
        .spawn();
    let mut client = keygate.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(post("/u", b"hello")).text(), "unix 5");
    }
    assert_eq!(upstream.seen()[0].head.one("host"), Some("localhost"));
    drop(upstream);
    fs::remove_file(&path).unwrap();
    eventually("502 while the socket is gone", SOON, || {
        keygate.ask(get("/gone")).status == 502
    });
    let again = Upstream::echo_unix(&path);
    assert_eq!(keygate.ask(get("/back")).status, 200, "it recovers at once");
    drop(again);
}

#[test]
fn a_name_is_resolved() {
    let upstream = Upstream::echo();
    let port = upstream.authority().rsplit(':').next().unwrap().to_owned();
    let keygate = Setup::in_front_of(&format!("http://localhost:{port}")).spawn();
    assert_eq!(keygate.status(GOOD), 200);
    let keygate = Setup::in_front_of("http://no-such-host.invalid:80")
        .set("timeouts", "{connect: 2s}")
        .spawn();
    let response = keygate.ask(get("/x"));
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "upstream_failed"),
        "{response:?}"
    );
}

#[test]
fn many_requests_at_once_wait_for_nobody() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let held = gate.clone();
    let upstream = Upstream::scripted(move |turn| -> io::Result<Next> {
        if turn.head.second() == "/held" {
            held.wait();
        }
        turn.answer("200 OK", "", b"x")
    });
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut held: Vec<_> = (0..50)
        .map(|_| {
            let mut client = keygate.connect();
            client.send(get("/held"));
            client
        })
        .collect();
    eventually("all are at the upstream", SOON, || upstream.count() == 50);
    assert_eq!(
        keygate.ask(get("/quick")).status,
        200,
        "one slow answer holds nobody up"
    );
    gate.open();
    for client in &mut held {
        assert_eq!(client.read("GET").status, 200);
    }
}

#[test]
fn the_promise_of_a_length_that_is_broken_is_counted_and_recorded() {
    let upstream = Upstream::broken_after(50_000);
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(get("/half"));
    let failed = client
        .try_read("GET")
        .expect_err("half an answer must not look whole");
    assert!(failed.body.len() <= 50_000, "{failed:?}");
    assert_ne!(failed.why, Broken::Timeout, "{failed:?}");
    let record = keygate.transaction_of("/half");
    assert_eq!(record["end"], "upstream_cut", "{record}");
    assert!(
        record["response_bytes"].as_u64().unwrap() <= 50_000,
        "{record}"
    );
}

#[test]
fn a_body_where_none_may_be_is_nobody_elses_answer() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    for (name, method, answer) in [
        (
            "to HEAD",
            "HEAD",
            format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{evil}",
                evil.len()
            ),
        ),
        (
            "of a 204",
            "GET",
            format!("HTTP/1.1 204 No Content\r\n\r\n{evil}"),
        ),
        (
            "of a 204 with a length",
            "GET",
            format!(
                "HTTP/1.1 204 No Content\r\ncontent-length: {}\r\n\r\n{evil}",
                evil.len()
            ),
        ),
        (
            "of a 304",
            "GET",
            format!(
                "HTTP/1.1 304 Not Modified\r\ncontent-length: {}\r\n\r\n{evil}",
                evil.len()
            ),
        ),
        (
            "behind a length",
            "GET",
            format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n{evil}"),
        ),
        (
            "behind the last chunk",
            "GET",
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{evil}"),
        ),
    ] {
        let upstream = Upstream::scripted(move |turn| {
            turn.body()?;
            if turn.head.second() == "/first" {
                turn.send(&answer)?;
                return Ok(Next::Keep);
            }
            turn.answer("200 OK", "", b"good")
        });
        let keygate = Setup::of(&upstream).set("workers", "1").spawn();
        let mut client = keygate.connect();
        client.send(request(&format!("{method} /first"), ""));
        // 204 and 304 have no body whatever they say, so what comes next must be the next answer.
        let first = client.try_read(method);
        if let Ok(response) = &first {
            assert!(response.body.is_empty(), "{name}: {response:?}");
            if response.head.lists("connection", "close") {
                client = keygate.connect();
            }
        } else {
            client = keygate.connect();
        }
        for index in 0..3 {
            let response = client.ask(get(&format!("/later/{index}")));
            assert_eq!(response.text(), "good", "{name}: {response:?}");
        }
    }
}

#[test]
fn an_upstream_that_answers_before_the_body_is_read_keeps_in_step() {
    let upstream = Upstream::scripted(|turn| {
        if turn.head.second() == "/early" {
            // Answers at once, and takes whatever comes after for its next request, as a careless server does.
            return turn.answer("200 OK", "", b"early");
        }
        let target = turn.head.second().to_owned();
        turn.answer("200 OK", "", target.as_bytes())
    });
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    for index in 0..5 {
        let mut client = keygate.connect();
        client.send(request("POST /early", "content-length: 60\r\n"));
        client.send("GET /smuggled HTTP/1.1\r\nhost: a\r\n");
        let response = client.read("POST");
        assert_eq!(response.text(), "early", "{response:?}");
        client.send("x-pad: 1234567890123456\r\n\r\n");
        drop(client);
        let target = format!("/after/{index}");
        assert_eq!(keygate.ask(get(&target)).text(), target);
    }
}

#[test]
fn a_folded_field_of_an_answer_is_not_passed_on() {
    let upstream =
        Upstream::raw("HTTP/1.1 200 OK\r\nx-a: 1\r\n x-b: 2\r\ncontent-length: 2\r\n\r\nok");
    let keygate = Setup::of(&upstream).spawn();
    let response = keygate.ask(get("/folded"));
    let raw = String::from_utf8_lossy(&response.head.raw).into_owned();
    assert!(!raw.contains("\r\n ") && !raw.contains("\r\n\t"), "{raw:?}");
    assert!(matches!(response.status, 200 | 502), "{response:?}");
}

#[test]
fn fields_of_an_answer_cannot_split_it() {
    for (name, line) in [
        ("a bare CR", "x-a: 1\rset-cookie: evil=1"),
        ("a bare LF", "x-a: 1\nset-cookie: evil=1"),
        ("NUL", "x-a: 1\0"),
    ] {
        let upstream = Upstream::raw(format!(
            "HTTP/1.1 200 OK\r\n{line}\r\ncontent-length: 2\r\n\r\nok"
        ));
        let keygate = Setup::of(&upstream).spawn();
        let response = keygate.ask(get("/split"));
        let raw = String::from_utf8_lossy(&response.head.raw).replace("\r\n", "|");
        assert!(!raw.contains(['\r', '\n', '\0']), "{name}: {raw:?}");
    }
}
