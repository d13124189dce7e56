//! How a connection begins: what is HTTP/2, what only begins like it, and how long keygate waits for the rest.

use std::time::Duration;
use std::time::Instant;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::frames::Http2;
use crate::harness::frames::PREFACE;
use crate::harness::frames::code;
use crate::harness::frames::flag;
use crate::harness::frames::good;
use crate::harness::frames::headers;
use crate::harness::frames::hpack;
use crate::harness::frames::others_are_served;
use crate::harness::frames::setting;
use crate::harness::frames::settings;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;
use crate::harness::wire::Broken;
use crate::http2::echo;
use crate::http2::protocol_errors;

/// Preface, SETTINGS, and a good request on stream 1.
fn opening(path: &str) -> Vec<u8> {
    let request = headers(1, flag::END_STREAM, &hpack::block(&good("GET", path)));
    [PREFACE, &settings(&[]), &request].concat()
}

#[test]
fn a_preface_in_any_pieces_begins_http2() {
    let (upstream, keygate) = echo();
    let mut client = Http2::silent(keygate.address());
    client.send(opening("/whole"));
    assert_eq!(client.expect_response(1).status(), 200);
    let mut client = Http2::silent(keygate.address());
    client.send_bytewise(&opening("/bytes"));
    assert_eq!(client.expect_response(1).status(), 200);
    for cut in 1..=PREFACE.len() + 9 {
        let bytes = opening(&format!("/cut/{cut}"));
        let mut client = Http2::silent(keygate.address());
        client.send(&bytes[..cut]);
        client.send(&bytes[cut..]);
        assert_eq!(client.expect_response(1).status(), 200, "cut at {cut}");
    }
    assert_eq!(upstream.count(), 2 + PREFACE.len() + 9);
}

#[test]
fn keygate_says_its_limits_first() {
    let (_upstream, keygate) = echo();
    let mut client = Http2::connect(keygate.address());
    client.settle();
    for (name, value) in [
        (setting::MAX_CONCURRENT_STREAMS, 100),
        (setting::INITIAL_WINDOW_SIZE, 64 * 1024),
        (setting::MAX_HEADER_LIST_SIZE, 16 * 1024),
        (setting::ENABLE_CONNECT_PROTOCOL, 1),
    ] {
        assert_eq!(client.settings.get(&name), Some(&value), "setting {name}");
    }
    let max_frame_size = client.settings.get(&setting::MAX_FRAME_SIZE);
    assert!(max_frame_size.is_none_or(|size| *size == 16 * 1024));
    let window = client.until(|this| this.windows.get(&0).copied());
    assert_eq!(
        window,
        Some(1024 * 1024 - 65_535),
        "the window of the connection"
    );
    assert_eq!(client.acknowledged, 1);
}

#[test]
fn what_only_begins_like_http2_is_http1() {
    let (upstream, keygate) = echo();
    let key = format!("host: app\r\nx-api-key: {GOOD}\r\n\r\n");
    for (name, bytes, status) in [
        (
            "the preface's line in HTTP/1.1",
            format!("PRI * HTTP/1.1\r\n{key}"),
            400,
        ),
        ("without fields", "PRI * HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "the preface's line with fields",
            format!("PRI * HTTP/2.0\r\n{key}"),
            400,
        ),
        (
            "another word behind it",
            "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_owned(),
            400,
        ),
        (
            "the last byte is another",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r".to_owned(),
            400,
        ),
        (
            "HTTP/2.1",
            "PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n".to_owned(),
            400,
        ),
        (
            "line feeds alone",
            "PRI * HTTP/2.0\n\nSM\n\n".to_owned(),
            400,
        ),
        (
            "in small letters",
            "pri * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            400,
        ),
        ("PRI as a method", format!("PRI /a HTTP/1.1\r\n{key}"), 200),
        (
            "a method that begins like it",
            format!("PRINT /b HTTP/1.1\r\n{key}"),
            200,
        ),
        (
            "another method with P",
            format!("PUT /c HTTP/1.1\r\ncontent-length: 0\r\n{key}"),
            200,
        ),
        ("one letter", format!("P /d HTTP/1.1\r\n{key}"), 200),
    ] {
        for bytewise in [false, true] {
            let mut client = keygate.connect();
            if bytewise {
                client.send_bytewise(bytes.as_bytes());
            } else {
                client.send(&bytes);
            }
            let response = client.read("PRI");
            assert_eq!(response.status, status, "{name}, {bytewise}: {response:?}");
            if status == 400 {
                client.expect_closed();
            }
        }
    }
    assert_eq!(upstream.count(), 8, "nothing else reached the upstream");
    others_are_served(&keygate);
}

#[test]
fn a_beginning_that_does_not_go_on_ends_in_its_time() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("timeouts", "{handshake: 1s, header: 1s, idle: 60s}")
        .spawn();
    let whole = opening("/never");
    let cuts = [1, 3, 16, 20, 23, 24, 25, 32];
    let begun = Instant::now();
    let mut clients: Vec<_> = cuts
        .iter()
        .map(|cut| {
            let mut client = keygate.connect();
            client.send(&whole[..*cut]);
            client
        })
        .collect();
    for (client, cut) in clients.iter_mut().zip(cuts) {
        // One that could still become HTTP/1 may be told so in its words.
        let reader = client.reader();
        let ended = loop {
            match reader.fill() {
                Ok(0) => break true,
                Ok(_) => {}
                Err(broken) => break broken == Broken::Reset,
            }
        };
        assert!(ended, "{cut} bytes of a preface");
    }
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(900),
        "not before its time: {took:?}"
    );
    assert!(
        took < Duration::from_secs(10),
        "long after its time: {took:?}"
    );
    assert_eq!(upstream.count(), 0);
    others_are_served(&keygate);
}

#[test]
fn a_connection_without_requests_is_idle_and_ends_with_goaway() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).set("timeouts", "{idle: 1s}").spawn();
    let begun = Instant::now();
    let mut fresh = Http2::connect(keygate.address());
    let mut used = Http2::connect(keygate.address());
    used.expect_status(&good("GET", "/used"), 200);
    // Half a head is no request, and what drips is none either.
    let mut half = Http2::connect(keygate.address());
    half.polite = false; // nothing else may come in the middle of a head
    half.send(crate::harness::frames::frame(
        crate::harness::frames::kind::HEADERS,
        flag::END_STREAM,
        1,
        &hpack::block(&good("GET", "/half")),
    ));
    for client in [&mut fresh, &mut used, &mut half] {
        client.expect_goaway(code::NO_ERROR);
    }
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(900),
        "not before its time: {took:?}"
    );
    assert!(
        took < Duration::from_secs(10),
        "long after its time: {took:?}"
    );
    assert_eq!(upstream.count(), 1);
    eventually("no connection is left", SOON, || {
        keygate.metrics().total("keygate_connections") == 0.0
    });
    assert_eq!(protocol_errors(&keygate), 0.0, "to be idle breaks no rule");
}
