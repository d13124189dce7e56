//! "A truncated answer never looks complete": over TLS an orderly end is announced (`close_notify`), a cut is not.

use crate::harness::message::Ended;
use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::tls::AUTHORITY;
use crate::harness::tls::Dialer;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;
use crate::harness::wire::Broken;
use crate::tls::secured;

fn http10(target: &str) -> String {
    format!("GET {target} HTTP/1.0\r\nhost: app\r\nx-api-key: {GOOD}\r\n\r\n")
}

#[test]
fn an_orderly_end_is_announced() {
    let upstream = Upstream::every_end();
    let keygate = secured(&upstream, &AUTHORITY.server(&["a.example"])).spawn();
    let dialer = Dialer::trusting(&AUTHORITY);
    let close = "connection: close\r\n";
    for (name, bytes, ended) in [
        ("a length", request("GET /x", close), Ended::Length),
        ("chunks", request("GET /chunked", close), Ended::Chunked),
        ("until the end", http10("/closed"), Ended::Close),
        (
            "a refusal",
            get("/")
                .replace(GOOD, "wrong")
                .replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"),
            Ended::Length,
        ),
    ] {
        let mut secured = dialer.connect(keygate.address(), None);
        let answer = secured.client.ask(bytes);
        assert_eq!(answer.ended, ended, "{name}: {answer:?}");
        // Only `close_notify` reads as an end; without it this is `Truncated`.
        let end = secured.client.reader().fill();
        assert_eq!(end, Ok(0), "{name}");
    }
}

#[test]
fn a_cut_is_not_announced() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        let head = match turn.head.second() {
            "/chunked" => "transfer-encoding: chunked\r\n\r\n100\r\nhalf",
            _ => "content-length: 100\r\n\r\nhalf",
        };
        turn.send(format!("HTTP/1.1 200 OK\r\n{head}"))?;
        Ok(Next::Close)
    });
    let keygate = secured(&upstream, &AUTHORITY.server(&["a.example"])).spawn();
    let dialer = Dialer::trusting(&AUTHORITY);
    for (name, bytes, expected) in [
        ("a length", get("/length"), Broken::Truncated),
        ("chunks", get("/chunked"), Broken::Truncated),
        (
            "chunks for an old client",
            http10("/chunked"),
            Broken::Reset,
        ),
    ] {
        let mut secured = dialer.connect(keygate.address(), None);
        secured.client.send(bytes);
        let failed = secured.client.try_read("GET").unwrap_err();
        assert_eq!(failed.why, expected, "{name}: {failed:?}");
    }
}
