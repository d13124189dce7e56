//! Covers "however the bytes are cut": the same messages, divided at every place, sent together and apart,
//! are read the same way, on the client's side and on the upstream's.

use std::time::Duration;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::message::Response;
use crate::harness::noise;
use crate::harness::requests::get;
use crate::harness::requests::post;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::sha256;
use crate::harness::upstream::Next;
use crate::harness::upstream::Turn;
use crate::harness::upstream::Upstream;

/// Long enough that what was sent before is read by itself as a rule, short enough for every place.
const APART: Duration = Duration::from_micros(300);

fn apart() {
    std::thread::sleep(APART);
}

/// Requests of every shape, one behind the other, with method and the status that each must get.
fn conversation() -> (Vec<u8>, Vec<(&'static str, u16)>) {
    let mut bytes = get("/0").into_bytes();
    bytes.extend(post("/1", b"hello"));
    bytes.extend(
        format!(
            "{}3;a=b\r\nabc\r\n0A\r\n0123456789\r\n0\r\nx-end: 1\r\n\r\n",
            request("PUT /2", "transfer-encoding: chunked\r\n")
        )
        .into_bytes(),
    );
    bytes.extend(b"GET /3 HTTP/1.1\r\nhost: app\r\n\r\n");
    bytes.extend(request("HEAD /4", "").into_bytes());
    bytes.extend(b"\r\n"); // one empty line before a request is forgiven
    bytes.extend(request("DELETE /5", "content-length: 0\r\n").into_bytes());
    bytes.extend(
        get("/6?a=b")
            .replace(GOOD, "kg_test_wrong_5vV6")
            .into_bytes(),
    );
    bytes.extend(request("GET /7", "connection: close\r\n").into_bytes());
    let expected = vec![
        ("GET", 200),
        ("POST", 200),
        ("PUT", 200),
        ("GET", 401),
        ("HEAD", 200),
        ("DELETE", 200),
        ("GET", 401),
        ("GET", 200),
    ];
    (bytes, expected)
}

#[track_caller]
fn check_conversation(client: &mut Client, expected: &[(&str, u16)], name: &str) {
    for (index, (method, status)) in expected.iter().enumerate() {
        let response = client
            .try_read(method)
            .unwrap_or_else(|failed| panic!("{name}, {index}: {failed:?}"));
        assert_eq!(response.status, *status, "{name}, {index}: {response:?}");
        if *status == 200 && *method != "HEAD" {
            let target = response.json()["target"].clone();
            assert!(
                target.as_str().unwrap().starts_with(&format!("/{index}")),
                "{name}: {target}"
            );
        }
    }
    client.expect_closed();
}

#[test]
fn a_conversation_cut_anywhere_is_the_same_conversation() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let (bytes, expected) = conversation();
    for cut in 0..bytes.len() {
        let mut client = keygate.connect();
        client.send(&bytes[..cut]);
        apart();
        client.send(&bytes[cut..]);
        check_conversation(&mut client, &expected, &format!("cut at {cut}"));
    }
    for size in [1, 2, 3, 5, 7, 16, 61, 256] {
        let mut client = keygate.connect();
        for piece in bytes.chunks(size) {
            client.send(piece);
            if size > 16 {
                apart();
            }
        }
        check_conversation(&mut client, &expected, &format!("pieces of {size}"));
    }
    for seen in upstream.seen() {
        let body: &[u8] = match seen.head.first() {
            "POST" => b"hello",
            "PUT" => b"abc0123456789",
            _ => b"",
        };
        assert!(seen.complete && seen.body == body, "{seen:?}");
    }
    let records = keygate.finish().transactions.len();
    assert_eq!(
        records,
        (bytes.len() + 8) * expected.len(),
        "one line a request"
    );
}

#[test]
fn bodies_of_every_length_leave_the_connection_in_step() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let body = noise(70_000);
    let mut client = keygate.connect();
    let near = |size: usize| (size - 3)..(size + 4);
    let lengths = (0..300)
        .chain(near(4_096))
        .chain(near(8_192))
        .chain(near(16_384))
        .chain(near(65_536));
    for length in lengths {
        let body = &body[..length];
        // Both framings and a GET behind them in one write.
        let mut bytes = post("/a", body);
        bytes.extend(request("POST /b", "transfer-encoding: chunked\r\n").into_bytes());
        if length > 0 {
            bytes.extend(format!("{length:x}\r\n").into_bytes());
            bytes.extend_from_slice(body);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        bytes.extend(get("/c").into_bytes());
        client.send(&bytes);
        let expected = sha256(body);
        for target in ["/a", "/b"] {
            let answer = client.read("POST").json();
            assert_eq!(
                (&answer["target"], &answer["body_sha256"]),
                (&target.into(), &expected.as_str().into()),
                "{length}"
            );
        }
        assert_eq!(client.read("GET").json()["target"], "/c", "{length}");
    }
}

/// The answers that an upstream gives in pieces.
const ANSWERS: [(&str, &str, &str); 7] = [
    (
        "length",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello",
        "hello",
    ),
    ("empty", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
    (
        "chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\ntrailer: x-t\r\n\r\n3;x=y\r\nhel\r\n02\r\nlo\r\n0\r\nx-t: 1\r\n\r\n",
        "hello",
    ),
    (
        "interim",
        "HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "hello",
    ),
    ("bodyless", "HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n", ""),
    (
        "close",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello",
        "hello",
    ),
    (
        "folded",
        "HTTP/1.1 200 \r\ncontent-length:5 \r\nx-a:\t b \r\n\r\nhello",
        "hello",
    ),
];

fn answer_in_pieces(turn: &mut Turn<'_>) -> std::io::Result<Next> {
    turn.body()?;
    let target = turn.head.second().to_owned();
    let (name, cut) = target[1..].split_once('/').unwrap();
    let (_, answer, _) = ANSWERS.iter().find(|(known, ..)| *known == name).unwrap();
    let (first, second) = answer.as_bytes().split_at(cut.parse().unwrap());
    turn.send(first)?;
    apart();
    turn.send(second)?;
    Ok(if name == "close" {
        Next::Close
    } else {
        Next::Keep
    })
}

#[test]
fn an_answer_cut_anywhere_is_the_same_answer() {
    let upstream = Upstream::scripted(answer_in_pieces);
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = keygate.connect();
    for (name, answer, body) in ANSWERS {
        for cut in 0..answer.len() {
            let response: Response =
                client.ask(request(&format!("GET /{name}/{cut}"), "te: trailers\r\n"));
            assert_eq!(response.text(), body, "{name} cut at {cut}: {response:?}");
            assert_eq!(
                response.status,
                if name == "bodyless" { 204 } else { 200 },
                "{name} cut at {cut}"
            );
            if name == "chunked" {
                assert_eq!(
                    response.trailers,
                    [("x-t".to_owned(), "1".to_owned())],
                    "{name} cut at {cut}"
                );
            }
            if answer.contains("x-a:") {
                assert_eq!(response.head.one("x-a"), Some("b"), "{name} cut at {cut}");
            }
        }
    }
    let closing = ANSWERS
        .iter()
        .find(|(name, ..)| *name == "close")
        .unwrap()
        .1
        .len();
    assert!(
        upstream.connections() <= closing + 3,
        "only a close costs a connection: {}",
        upstream.connections()
    );
}

/// Clients that leave at every place of a conversation: nothing stays behind.
#[test]
fn a_client_that_leaves_anywhere_leaves_nothing_behind() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let (bytes, _) = conversation();
    for cut in (0..bytes.len()).step_by(3) {
        let mut client = keygate.connect();
        client.send(&bytes[..cut]);
        if cut % 2 == 0 {
            client.reset();
        } else {
            client.half_close();
            client.reader().fill().ok();
        }
    }
    eventually("all are gone", SOON, || {
        let metrics = keygate.metrics();
        metrics.total("keygate_connections") == 0.0
            && metrics.total("keygate_requests_in_flight") == 0.0
    });
    let metrics = keygate.metrics();
    let counted = metrics.total("keygate_requests_total");
    assert_eq!(metrics.total("keygate_panics_total"), 0.0);
    assert_eq!(
        keygate.finish().transactions.len() as f64,
        counted,
        "what is counted is recorded"
    );
}
