//! Covers "HTTP/2 to the upstream": what was asked over HTTP/1.1 arrives there in HTTP/2's words, bodies and trailers pass
//! both ways, requests share connections as far as the upstream allows, and an upstream that breaks, stalls or lies is
//! 502 or 504 or a visibly broken answer.

mod broken;
mod retries;

use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::frames::settings;
use crate::harness::keygate::Keygate;
use crate::harness::noise;
use crate::harness::requests::get;
use crate::harness::requests::post;
use crate::harness::requests::request;
use crate::harness::settled;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::sha256;
use crate::harness::throughout;
use crate::harness::upstream_frames::FrameUpstream;
use crate::harness::upstream_frames::headers;
use crate::harness::upstream_h2::H2Upstream;
use crate::harness::upstream_h2::Manners;
use crate::harness::wire::Broken;

fn in_front_of(upstream: &H2Upstream) -> Setup {
    Setup::in_front_of(&upstream.url()).set("workers", "1")
}

#[test]
fn a_request_of_http1_arrives_as_one_of_http2() {
    let upstream = H2Upstream::h2c();
    let keygate = in_front_of(&upstream).spawn();
    let rows = [
        (
            "GET /a/b?c=%20d&&e HTTP/1.1",
            "",
            "GET",
            "http://app/a/b?c=%20d&&e",
            None,
        ),
        ("DELETE /a HTTP/1.1", "", "DELETE", "http://app/a", None),
        ("POST /a HTTP/1.1", "", "POST", "http://app/a", Some("0")),
        (
            "POST /a HTTP/1.1",
            "content-length: 0\r\n",
            "POST",
            "http://app/a",
            Some("0"),
        ),
        (
            "PATCH /?x HTTP/1.1",
            "content-length: 0\r\n",
            "PATCH",
            "http://app/?x",
            Some("0"),
        ),
        ("OPTIONS /a HTTP/1.1", "", "OPTIONS", "http://app/a", None),
        ("BREW /pot HTTP/1.1", "", "BREW", "http://app/pot", None),
    ];
    for (line, fields, method, uri, length) in rows {
        let line = line.trim_end_matches(" HTTP/1.1");
        let response = keygate.ask(request(
            line,
            &format!(
                "connection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nx-end: 2\r\n{fields}"
            ),
        ));
        assert_eq!(response.status, 200, "{line}: {response:?}");
        let asked = upstream.asked().pop().unwrap();
        assert_eq!((asked.method.as_str(), asked.uri.as_str()), (method, uri));
        assert_eq!(asked.version, "HTTP/2.0");
        assert_eq!(
            asked.all("content-length").first().copied(),
            length,
            "{line}"
        );
        assert_eq!(asked.all("x-end"), ["2"], "{line}");
        assert_eq!(asked.all("x-keygate-key-id"), ["k_good"]);
        assert_eq!(asked.all("x-forwarded-host"), ["app"]);
        for gone in [
            "host",
            "connection",
            "x-hop",
            "keep-alive",
            "x-api-key",
            "te",
            "upgrade",
        ] {
            assert_eq!(asked.all(gone), [""; 0], "{line}: {gone}");
        }
    }
    let asterisk = keygate.ask(request("OPTIONS *", ""));
    assert_eq!(asterisk.status, 200, "{asterisk:?}");
    assert_eq!(upstream.connections(), 1, "requests share a connection");
    let record = keygate.transaction_of("/pot");
    assert_eq!(
        record["upstream"],
        upstream.url().trim_start_matches("h2c://")
    );
    assert_eq!(
        (&record["end"], &record["status"]),
        (&"complete".into(), &200.into())
    );
    keygate.finish();
}

#[test]
fn bodies_pass_both_ways_byte_for_byte() {
    let upstream = H2Upstream::h2c();
    let keygate = in_front_of(&upstream).spawn();
    for size in [1, 16_383, 16_384, 65_535, 65_536, 1_000_003] {
        let body = noise(size);
        let response = keygate.ask(post("/echo", &body));
        assert_eq!(response.status, 200, "{size}: {response:?}");
        let seen = response.json();
        assert_eq!(seen["body_bytes"], size);
        assert_eq!(seen["body_sha256"], sha256(&body), "{size}");
        let chunked = format!("{size:x}\r\n").into_bytes();
        let head = request("PUT /echo", "transfer-encoding: chunked\r\n").into_bytes();
        let response =
            keygate.ask([head, chunked, body.clone(), b"\r\n0\r\n\r\n".to_vec()].concat());
        assert_eq!(
            response.json()["body_sha256"],
            sha256(&body),
            "{size}, in chunks"
        );
        assert_eq!(
            upstream.asked().pop().unwrap().all("content-length"),
            [""; 0]
        );
        for length in ["", "/length"] {
            let response = keygate.ask(get(&format!("/big/{size}{length}")));
            assert_eq!(response.body.len(), size, "{length}");
            assert_eq!(
                sha256(&response.body),
                sha256(&noise(size)),
                "{size}{length}"
            );
            assert_eq!(
                response.head.one("content-length").is_some(),
                !length.is_empty()
            );
        }
    }
    let record = keygate.transaction("the largest upload", |record| {
        record["request_bytes"] == 1_000_003 && record["method"] == "POST"
    });
    assert_eq!(record["end"], "complete");
    keygate.finish();
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = H2Upstream::h2c();
    let keygate = in_front_of(&upstream).spawn();
    let response = keygate.ask(
        request(
            "POST /trailers",
            "te: trailers\r\nconnection: te\r\ntransfer-encoding: chunked\r\ntrailer: x-check\r\n",
        ) + "4\r\nbody\r\n0\r\nx-check: abc\r\nx-api-key: kg_test_forged\r\n\r\n",
    );
    assert_eq!(response.body, b"before the trailers", "{response:?}");
    assert!(
        response.trailers.contains(&("x-sum".into(), "1".into())),
        "{response:?}"
    );
    let asked = upstream.asked().pop().unwrap();
    assert_eq!(asked.all("te"), ["trailers"]);
    assert_eq!(asked.trailers, [("x-check".to_owned(), "abc".to_owned())]);
    assert_eq!(keygate.transaction_of("/trailers")["grpc_status"], 0);
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let upstream = H2Upstream::h2c();
    let keygate = in_front_of(&upstream).spawn();
    let mut client = keygate.connect();
    for round in 0..2 {
        let head = client.ask(request("HEAD /big/1000/length", ""));
        assert_eq!(
            (head.status, head.head.one("content-length")),
            (200, Some("1000")),
            "{round}"
        );
        for status in [204, 304, 200, 404] {
            let response = client.ask(get(&format!("/status/{status}")));
            assert_eq!(
                (response.status, response.body.len()),
                (status, 0),
                "{round}"
            );
        }
    }
    let ends: Vec<_> = keygate.finish().transactions;
    assert!(
        ends.iter().all(|record| record["end"] == "complete"),
        "{ends:#?}"
    );
}

#[test]
fn an_expectation_is_answered_here_and_not_sent_on() {
    let upstream = H2Upstream::h2c();
    let keygate = in_front_of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(request(
        "PUT /echo",
        "expect: 100-continue\r\ncontent-length: 5\r\n",
    ));
    let interim = client.reader().head().unwrap();
    assert_eq!(interim.second(), "100", "{interim:?}");
    client.send("hello");
    assert_eq!(client.read("PUT").json()["body_sha256"], sha256(b"hello"));
    assert_eq!(upstream.asked().pop().unwrap().all("expect"), [""; 0]);
}

#[test]
fn requests_that_come_together_share_one_new_connection() {
    let upstream = H2Upstream::h2c();
    let keygate = in_front_of(&upstream).spawn();
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(keygate.ask(get("/gate")).status, 200));
        }
        eventually("all are there", SOON, || upstream.waiting() == 20);
        assert_eq!(upstream.connections(), 1);
        upstream.open_gate();
    });
    eventually("a connection without requests is closed", SOON, || {
        upstream.open() == 0
    });
    assert_eq!(keygate.ask(get("/again")).status, 200);
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn an_upstream_gets_no_more_streams_than_it_allows() {
    for allowed in [1, 3] {
        let upstream = H2Upstream::h2c_with(Manners {
            streams_max: Some(allowed),
            ..Manners::default()
        });
        let keygate = in_front_of(&upstream).spawn();
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| assert_eq!(keygate.ask(get("/gate")).status, 200));
            }
            eventually("all are there", SOON, || upstream.waiting() == 20);
            let least = 20_usize.div_ceil(allowed as usize);
            assert_eq!(upstream.connections(), least, "at {allowed} streams each");
            upstream.open_gate();
        });
    }
}

#[test]
fn an_upstream_that_allows_no_stream_is_502_at_once() {
    let upstream = FrameUpstream::scripted(|peer, _| {
        peer.send(settings(&[(3, 0)]))?;
        peer.until_closed();
        Ok(())
    });
    let keygate = Setup::in_front_of(&upstream.url()).spawn();
    let response = keygate.ask(get("/none"));
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "upstream_failed")
    );
    let error = keygate.transaction_of("/none")["error"].to_string();
    assert!(
        error.contains("SETTINGS_MAX_CONCURRENT_STREAMS 0"),
        "{error}"
    );
    assert!(upstream.connections() <= 2, "{}", upstream.connections());
}

#[test]
fn a_client_that_does_not_read_holds_back_its_answer_and_nobody_else() {
    const BIG: usize = 64 * 1024 * 1024;
    let upstream = H2Upstream::h2c();
    let keygate = in_front_of(&upstream).spawn();
    let mut stalled: Vec<_> = (0..8).map(|_| keygate.connect()).collect();
    for client in &mut stalled {
        client.send(get(&format!("/big/{BIG}")));
    }
    let given = || upstream.given() as u64;
    eventually("the answers have begun", SOON, || given() > 0);
    let before = settled(
        "the upstream gets no more room",
        Duration::from_millis(300),
        given,
    );
    // The kernel holds up to some megabytes for each of the two sockets of a client.
    assert!(
        before < 8 * (12 * 1024 * 1024),
        "{before} bytes for 8 clients"
    );
    let begun = Instant::now();
    for _ in 0..20 {
        let response = keygate.ask(get("/big/3000000/length"));
        assert_eq!(response.body.len(), 3_000_000);
    }
    assert!(begun.elapsed() < SOON, "others go on");
    assert_eq!(upstream.connections(), 1);
    let mut first = stalled.remove(0);
    let whole = first
        .try_read_within("GET", Duration::from_secs(60))
        .unwrap();
    assert_eq!(whole.body.len(), BIG, "a slow client gets all of it");
}

#[test]
fn a_client_that_goes_takes_its_stream_with_it() {
    let upstream = H2Upstream::h2c();
    let keygate = in_front_of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(get("/gate"));
    eventually("it waits", SOON, || upstream.waiting() == 1);
    client.reset();
    eventually("its stream is reset", SOON, || upstream.cancelled() == 1);
    let mut client = keygate.connect();
    client.send(request("PUT /gate", "content-length: 100\r\n") + "half");
    eventually("it waits", SOON, || upstream.waiting() == 1);
    drop(client);
    eventually("its stream is reset", SOON, || upstream.cancelled() == 2);
    assert_eq!(keygate.ask(get("/other")).status, 200);
    assert_eq!(upstream.connections(), 1, "the connection goes on");
    let gone = |record: &serde_json::Value| record["end"] == "client_gone";
    eventually("both are recorded", SOON, || {
        keygate
            .transactions()
            .iter()
            .filter(|record| gone(record))
            .count()
            == 2
    });
}

#[test]
fn an_event_stream_is_passed_on_as_it_comes() {
    let upstream = H2Upstream::h2c();
    let keygate = in_front_of(&upstream)
        .set("timeouts", "{body: 500ms}")
        .spawn();
    let mut client = keygate.connect();
    client.send(get("/events"));
    let head = client.reader().head().unwrap();
    assert_eq!(head.second(), "200");
    let first = client.reader().exactly(3 + 9 + 2).unwrap();
    assert_eq!(first, b"9\r\ndata: 1\n\n\r\n", "before there is a second");
    throughout(
        "a pause longer than of bodies is borne",
        Duration::from_secs(1),
        || client.reader().buffer.is_empty(),
    );
    upstream.open_gate();
    assert_eq!(
        client.reader().exactly(14 + 5).unwrap(),
        b"9\r\ndata: 2\n\n\r\n0\r\n\r\n"
    );
}

#[test]
fn a_body_that_is_too_large_resets_its_stream() {
    let upstream = H2Upstream::h2c();
    let keygate = in_front_of(&upstream)
        .set("limits", "{body_bytes: 1KiB}")
        .spawn();
    let response = keygate.ask(
        request("PUT /gate", "transfer-encoding: chunked\r\n")
            + "800\r\n"
            + &"x".repeat(0x800)
            + "\r\n0\r\n\r\n",
    );
    assert_eq!(response.status, 413, "{response:?}");
    eventually("the stream is reset", SOON, || {
        upstream.waiting() == 0 && upstream.cancelled() <= 1
    });
    assert!(upstream.taken() <= 1024);
}

#[test]
fn an_upload_waits_for_room_and_ends_when_none_comes() {
    let upstream = FrameUpstream::scripted(|peer, _| {
        peer.gives_back = false;
        peer.send(settings(&[(4, 100)]))?; // SETTINGS_INITIAL_WINDOW_SIZE
        peer.request()?;
        peer.until_closed();
        Ok(())
    });
    let keygate = Setup::in_front_of(&upstream.url())
        .set("timeouts", "{body: 500ms}")
        .spawn();
    let begun = Instant::now();
    let response = keygate.ask(post("/upload", &noise(10_000)));
    assert_eq!(
        (response.status, response.code().as_str()),
        (504, "upstream_timeout")
    );
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert!(response.text().contains("timeouts.body"), "{response:?}");
}

#[test]
fn an_upload_goes_on_with_the_room_that_comes() {
    let upstream = FrameUpstream::scripted(|peer, _| {
        peer.send(settings(&[(4, 1000)]))?;
        loop {
            let stream = peer.request()?;
            let came = peer.whole(stream)?;
            let sum = sha256(&came.body);
            peer.send(headers(stream, 1, &[(":status", "200"), ("x-sum", &sum)]))?;
        }
    });
    let keygate = Setup::in_front_of(&upstream.url()).spawn();
    let body = noise(300_000);
    let response = keygate.ask(post("/upload", &body));
    assert_eq!(
        response.head.one("x-sum"),
        Some(sha256(&body).as_str()),
        "{response:?}"
    );
}

#[test]
fn an_upstream_that_is_slow_at_something_is_504_or_502_and_says_at_what() {
    let rows: [(&str, FrameUpstream, &str, u16, &str); 3] = [
        (
            "no settings",
            FrameUpstream::scripted(|peer, _| {
                peer.until_closed();
                Ok(())
            }),
            "{connect: 400ms}",
            502,
            "timeouts.connect",
        ),
        (
            "no answer",
            FrameUpstream::answering(|_| Vec::new()),
            "{response: 400ms}",
            504,
            "timeouts.response",
        ),
        (
            "interim answers only",
            FrameUpstream::answering(|stream| headers(stream, 0, &[(":status", "103")])),
            "{response: 400ms}",
            504,
            "timeouts.response",
        ),
    ];
    for (name, upstream, timeouts, status, setting) in rows {
        let keygate = Setup::in_front_of(&upstream.url())
            .set("timeouts", timeouts)
            .spawn();
        let begun = Instant::now();
        let response = keygate.ask(get("/slow"));
        assert!(
            begun.elapsed() >= Duration::from_millis(400),
            "{name}: too early"
        );
        assert_eq!(response.status, status, "{name}: {response:?}");
        let error = keygate.transaction_of("/slow")["error"].to_string();
        assert!(error.contains(setting), "{name}: {error}");
    }
}

#[test]
fn a_connection_on_which_an_answer_took_too_long_gets_no_more_requests() {
    let upstream = FrameUpstream::scripted(|peer, number| {
        peer.send(settings(&[]))?;
        loop {
            let stream = peer.request()?;
            if number > 0 {
                peer.send(headers(stream, 1, &[(":status", "200")]))?;
            }
        }
    });
    let keygate = Setup::in_front_of(&upstream.url())
        .set("timeouts", "{response: 400ms}")
        .set("workers", "1")
        .spawn();
    assert_eq!(keygate.ask(get("/")).status, 504);
    assert_eq!(keygate.ask(get("/")).status, 200);
    assert_eq!(upstream.connections(), 2);
}

const ASK: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-protocol: chat\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[track_caller]
pub(crate) fn echo_over_websocket(keygate: &Keygate) {
    let mut client = keygate.connect();
    client.send(request("GET /socket", ASK));
    let head = client.reader().head().unwrap();
    assert_eq!(head.second(), "101", "{head:?}");
    assert!(head.lists("connection", "upgrade"), "{head:?}");
    assert_eq!(head.one("upgrade"), Some("websocket"));
    let proof = head.one("sec-websocket-accept");
    assert_eq!(proof, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for size in [1, 1000, 300_000] {
        let bytes = noise(size);
        client.send(&bytes);
        let back = client.reader().exactly(size).unwrap();
        assert!(back == bytes, "the tunnel changed bytes");
    }
    client.half_close();
    assert_eq!(client.reader().fill(), Ok(0), "the other side ends too");
    let record = keygate.transaction_of("/socket");
    assert_eq!(
        (
            &record["request_bytes"],
            &record["response_bytes"],
            &record["end"]
        ),
        (&301_001.into(), &301_001.into(), &"complete".into()),
        "{record}"
    );
}

#[test]
fn a_websocket_goes_through_an_extended_connect() {
    let upstream = H2Upstream::h2c();
    let keygate = in_front_of(&upstream).spawn();
    echo_over_websocket(&keygate);
    let asked = upstream.asked().pop().unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.uri.as_str()),
        ("CONNECT", "http://app/socket")
    );
    assert_eq!(asked.all("sec-websocket-protocol"), ["chat"]);
    assert_eq!(asked.all("sec-websocket-version"), ["13"]);
    for gone in ["sec-websocket-key", "connection", "upgrade", "x-api-key"] {
        assert_eq!(asked.all(gone), [""; 0], "{gone}");
    }
}

#[test]
fn a_websocket_to_an_upstream_that_knows_none_is_502() {
    let upstream = H2Upstream::h2c_with(Manners {
        connect: false,
        ..Manners::default()
    });
    let keygate = in_front_of(&upstream).spawn();
    let response = keygate.ask(request("GET /socket", ASK));
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "upstream_failed")
    );
    let error = keygate.transaction_of("/socket")["error"].to_string();
    assert!(error.contains("RFC 8441"), "{error}");
    assert_eq!(keygate.ask(get("/others")).status, 200);
}

#[test]
fn a_websocket_that_is_refused_is_an_answer() {
    let upstream = FrameUpstream::scripted(|peer, _| {
        peer.send(settings(&[(8, 1)]))?; // SETTINGS_ENABLE_CONNECT_PROTOCOL
        let stream = peer.request()?;
        peer.send(headers(stream, 1, &[(":status", "403"), ("x-why", "no")]))?;
        let stream = peer.request()?;
        peer.send(headers(stream, 0, &[(":status", "200")]))?;
        let came = peer.until(|peer| {
            let came = peer.came.get(&stream)?;
            (!came.body.is_empty()).then(|| came.clone())
        })?;
        peer.send(crate::harness::frames::data(stream, 0, &came.body))?;
        peer.send(crate::harness::frames::reset(stream, 8))?;
        peer.until_closed();
        Ok(())
    });
    let keygate = Setup::in_front_of(&upstream.url())
        .set("workers", "1")
        .spawn();
    let response = keygate.ask(request("GET /socket", ASK));
    assert_eq!(
        (response.status, response.head.one("x-why")),
        (403, Some("no"))
    );
    let mut client = keygate.connect();
    client.send(request("GET /cut", ASK));
    assert_eq!(client.reader().head().unwrap().second(), "101");
    client.send("hello");
    assert_eq!(client.reader().exactly(5).unwrap(), b"hello");
    assert!(matches!(client.reader().fill(), Ok(0) | Err(Broken::Reset)));
    assert_eq!(keygate.transaction_of("/cut")["end"], "upstream_cut");
}

#[test]
fn every_address_of_a_name_is_used_and_one_that_is_down_is_passed_over() {
    let first = H2Upstream::h2c_at("127.0.0.1:0");
    let port = first.port();
    let second = H2Upstream::h2c_at(&format!("[::1]:{port}"));
    let keygate = Setup::in_front_of(&format!("h2c://localhost:{port}"))
        .set("workers", "1")
        .spawn();
    eventually("both are asked", SOON, || {
        assert_eq!(keygate.ask(get("/")).status, 200);
        !first.asked().is_empty() && !second.asked().is_empty()
    });
    drop(second);
    let only = H2Upstream::h2c();
    let keygate = Setup::in_front_of(&format!("h2c://localhost:{}", only.port())).spawn();
    for _ in 0..10 {
        assert_eq!(keygate.ask(get("/")).status, 200, "nobody listens at [::1]");
    }
}

#[test]
fn a_revoked_key_ends_an_upload() {
    let upstream = H2Upstream::h2c();
    let keygate = in_front_of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(request("PUT /echo", "content-length: 100000\r\n"));
    client.send("begin");
    eventually("it has begun", SOON, || upstream.taken() > 0);
    let keys = keygate.key_text();
    let good = crate::harness::setup::entry("good", GOOD, "");
    keygate.replace_keys(keys.replace(&good, ""));
    client.reader().within(SOON);
    assert!(
        client.reader().closed().is_ok(),
        "the client's connection ends"
    );
    assert_eq!(keygate.transaction_of("/echo")["end"], "revoked");
}
