//! Covers "bodies stream both ways": whole and unchanged whatever their size and framing, trailers
//! included, `Expect: 100-continue` honoured, refused uploads answered at once.

use std::time::Duration;
use std::time::Instant;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::message::Ended;
use crate::harness::noise;
use crate::harness::requests::get;
use crate::harness::requests::post;
use crate::harness::requests::request;
use crate::harness::setup::Setup;
use crate::harness::sha256;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;

const SIZES: [usize; 9] = [
    0, 1, 4095, 4096, 8192, 65_535, 65_536, 1_000_003, 12_000_000,
];

/// A body in chunks of growing size.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut rest, mut size) = (body, 1);
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        bytes.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
        (rest, size) = (after, (size * 3).min(100_000));
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[test]
fn uploads_of_every_size_arrive_whole() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    for size in SIZES {
        let body = noise(size);
        let expected = sha256(&body);
        assert_eq!(
            client.ask(post("/length", &body)).json()["body_sha256"],
            expected,
            "{size} by length"
        );
        let mut bytes = request("POST /chunked", "transfer-encoding: chunked\r\n").into_bytes();
        bytes.extend(chunked(&body));
        assert_eq!(
            client.ask(bytes).json()["body_sha256"],
            expected,
            "{size} by chunks"
        );
    }
    for seen in upstream.seen() {
        let by_length = seen.head.second() == "/length";
        assert_eq!(
            seen.head.has("content-length"),
            by_length,
            "the framing is kept: {:?}",
            seen.head
        );
        assert_eq!(
            seen.head.has("transfer-encoding"),
            !by_length,
            "the framing is kept: {:?}",
            seen.head
        );
    }
    let records = keygate.finish().transactions;
    let sizes = SIZES.iter().flat_map(|size| [*size, *size]);
    for (record, size) in records.iter().zip(sizes) {
        assert_eq!(record["request_bytes"], size, "{record}");
    }
}

#[test]
fn downloads_of_every_size_arrive_whole() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        let (framing, size) = turn.head.second()[1..].split_once('/').unwrap();
        let body = noise(size.parse().unwrap());
        match framing {
            "length" => turn.answer("200 OK", "", &body),
            "chunked" => {
                turn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                turn.send(chunked(&body))?;
                Ok(Next::Keep)
            }
            _ => {
                turn.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                turn.send(&body)?;
                Ok(Next::Close)
            }
        }
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    for size in SIZES {
        for (framing, ended) in [
            ("length", Ended::Length),
            ("chunked", Ended::Chunked),
            ("close", Ended::Chunked),
        ] {
            let response = client.ask(get(&format!("/{framing}/{size}")));
            assert!(
                response.body == noise(size),
                "{size} by {framing}: got {} bytes",
                response.body.len()
            );
            assert_eq!(response.ended, ended, "{size} by {framing}");
        }
    }
    for record in keygate.finish().transactions {
        let size: u64 = record["path"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(record["response_bytes"], size, "{record}");
    }
}

#[test]
fn both_directions_stream_at_once() {
    let upstream = Upstream::scripted(|turn| {
        turn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        // Each line of the request is answered before the next one is sent.
        loop {
            let size = turn
                .reader
                .line()
                .map_err(|broken| std::io::Error::other(format!("{broken:?}")))?;
            let line = turn
                .reader
                .line()
                .map_err(|broken| std::io::Error::other(format!("{broken:?}")))?;
            if size == b"0" {
                turn.send("0\r\n\r\n")?;
                return Ok(Next::Close);
            }
            turn.send([size.as_slice(), b"\r\n", &line, b"\r\n"].concat())?;
        }
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(request("POST /duplex", "transfer-encoding: chunked\r\n"));
    let head = client
        .reader()
        .head()
        .expect("the answer begins before the request ends");
    assert_eq!(head.second(), "200");
    for index in 0..10 {
        let line = format!("line {index}");
        client.send(format!("{:x}\r\n{line}\r\n", line.len()));
        let reader = client.reader();
        assert_eq!(
            reader.line().unwrap(),
            format!("{:x}", line.len()).as_bytes()
        );
        assert_eq!(reader.line().unwrap(), line.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.reader().line().unwrap(), b"0");
    assert_eq!(client.reader().line().unwrap(), b"");
}

#[test]
fn a_slow_reader_holds_the_upstream_back() {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    const SIZE: usize = 64 * 1024 * 1024;
    let sent = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&sent);
    let upstream = Upstream::scripted(move |turn| {
        turn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n"))?;
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..SIZE / piece.len() {
            turn.send(&piece)?;
            counting.fetch_add(piece.len(), Ordering::SeqCst);
        }
        Ok(Next::Keep)
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(get("/flood"));
    let mut last = usize::MAX;
    let mut since = Instant::now();
    eventually("the upstream is held back", SOON, || {
        let now = sent.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    assert!(
        last < SIZE / 2,
        "{last} bytes were taken from the upstream while nobody read"
    );
    let response = client.read("GET");
    assert_eq!(response.body.len(), SIZE);
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        turn.send(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
             5\r\nhello\r\n0\r\nx-sum: down\r\n\r\n",
        )?;
        Ok(Next::Keep)
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(request(
        "POST /t",
        "te: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n",
    ));
    client.send("5\r\nhello\r\n0\r\nx-sum: up\r\n\r\n");
    let response = client.read("POST");
    assert_eq!(
        response.trailers,
        [("x-sum".to_owned(), "down".to_owned())],
        "{response:?}"
    );
    assert_eq!(response.text(), "hello");
    let seen = upstream.seen_at("/t");
    assert_eq!(seen.trailers, [("x-sum".to_owned(), "up".to_owned())]);
    assert!(seen.head.lists("te", "trailers"), "{:?}", seen.head);
}

#[test]
fn no_credential_and_no_identity_hides_in_trailers() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(request(
        "POST /t",
        "te: trailers\r\ntrailer: x-api-key, x-keygate-key-id, x_keygate_key_id, x-fine\r\ntransfer-encoding: chunked\r\n",
    ));
    client.send(
        "0\r\nx-api-key: kg_test_in-a-trailer_4nN5\r\nx-keygate-key-id: root\r\nx_keygate_key_id: root\r\nx-fine: 1\r\n\r\n",
    );
    assert_eq!(client.read("POST").status, 200);
    let seen = upstream.seen_at("/t");
    assert_eq!(seen.trailers, [("x-fine".to_owned(), "1".to_owned())]);
}

#[test]
fn an_expected_100_comes_from_the_upstream() {
    let gate = Gate::new();
    let go = gate.clone();
    let upstream = Upstream::scripted(move |turn| {
        go.wait();
        turn.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        let body = turn.body()?;
        turn.answer("200 OK", "", &body)
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(request(
        "POST /e",
        "expect: 100-continue\r\ncontent-length: 5\r\n",
    ));
    let seen = upstream.wait_for("the head is at the upstream", 0, |_| true);
    assert_eq!(
        seen.head.one("expect"),
        Some("100-continue"),
        "{:?}",
        seen.head
    );
    gate.open();
    let interim = client.reader().head().unwrap();
    assert_eq!(interim.second(), "100");
    client.send("hello");
    let response = client.read("POST");
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    assert_eq!(
        client.ask(get("/next")).status,
        200,
        "the connection is still in step"
    );
}

#[test]
fn an_upstream_without_100_gets_the_body_after_a_second() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    let begun = Instant::now();
    client.send(request(
        "POST /e",
        "expect: 100-continue\r\ncontent-length: 5\r\n",
    ));
    let interim = client.reader().head().unwrap();
    assert_eq!(interim.second(), "100");
    assert!(
        begun.elapsed() > Duration::from_millis(700),
        "not before the upstream had its second"
    );
    client.send("hello");
    assert_eq!(client.read("POST").json()["body_bytes"], 5);
}

#[test]
fn a_body_that_is_sent_without_waiting_is_taken_all_the_same() {
    let upstream = Upstream::scripted(|turn| {
        turn.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        let body = turn.body()?;
        turn.answer("200 OK", "", &body)
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(format!(
        "{}hello",
        request("POST /e", "expect: 100-continue\r\ncontent-length: 5\r\n")
    ));
    assert_eq!(client.read("POST").text(), "hello");
}

#[test]
fn a_final_answer_first_means_that_the_body_is_never_read() {
    let upstream = Upstream::scripted(|turn| {
        turn.answer("413 Too Large", "", b"no")?;
        turn.waits_for_close(SOON);
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(request(
        "POST /e",
        "expect: 100-continue\r\ncontent-length: 5\r\n",
    ));
    let response = client.read("POST");
    assert_eq!(
        (response.status, response.interim.len()),
        (413, 0),
        "{response:?}"
    );
    let seen = upstream.seen_at("/e");
    assert!(seen.body.is_empty(), "{seen:?}");
    client.expect_closed();
}

#[test]
fn an_unknown_expectation_is_not_waited_for() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let response = keygate.ask(request("GET /e", "expect: 100-continue\r\n"));
    assert_eq!(
        response.status, 200,
        "without a body there is nothing to wait for: {response:?}"
    );
}

#[test]
fn a_refused_upload_is_answered_at_once() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    for (name, fields, body) in [
        (
            "waits for 100",
            "expect: 100-continue\r\ncontent-length: 1000000\r\n",
            0,
        ),
        ("sends nothing yet", "content-length: 1000000\r\n", 0),
        ("has begun to send", "content-length: 10000000\r\n", 30_000),
        ("sends chunks", "transfer-encoding: chunked\r\n", 0),
    ] {
        let mut client = keygate.connect();
        client.send(format!("POST /up HTTP/1.1\r\nhost: app\r\n{fields}\r\n"));
        client.send(noise(body));
        let response = client.read("POST");
        assert_eq!(
            (response.status, response.interim.len()),
            (401, 0),
            "{name}: {response:?}"
        );
        assert!(
            response.head.lists("connection", "close"),
            "{name}: {response:?}"
        );
        client.expect_closed();
    }
    assert_eq!(upstream.bytes(), 0);
}

#[test]
fn the_answer_to_a_big_refused_upload_can_be_read() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    // The client writes as curl does: on and on until it is told to stop.
    let mut client = keygate.connect();
    client.send("POST /up HTTP/1.1\r\nhost: app\r\ncontent-length: 60000\r\n\r\n");
    client.send(noise(60_000));
    let response = client.read("POST");
    assert_eq!(response.status, 401, "{response:?}");
    client.expect_closed();
    // Beyond 64 KiB keygate stops reading: the connection ends instead of being drained for ever.
    let mut client = keygate.connect();
    client.send("POST /up HTTP/1.1\r\nhost: app\r\ncontent-length: 1000000000\r\n\r\n");
    let piece = noise(64 * 1024);
    let begun = Instant::now();
    while client.try_send(&piece).is_ok() {
        assert!(
            begun.elapsed() < SOON,
            "keygate reads a refused body for ever"
        );
    }
}

/// A client that looks for an answer between two writes must not find its connection reset by then: curl gives up at
/// the failed write. Also where it asks for another protocol, whose connections hyper does not close itself.
#[test]
fn a_refused_upload_is_not_reset_while_its_client_still_writes() {
    let keygate = Setup::of(&Upstream::echo()).spawn();
    let piece = noise(1024 * 1024);
    for fields in ["", "connection: upgrade\r\nupgrade: h2c\r\n"] {
        let mut client = keygate.connect();
        let blocked = Duration::from_millis(200);
        client.reader().wire.set_write_timeout(blocked).unwrap();
        client.send(format!(
            "POST /up HTTP/1.1\r\nhost: app\r\n{fields}content-length: 1000000000\r\n\r\n"
        ));
        let stopped = loop {
            if let Err(error) = client.try_send(&piece) {
                break error.kind();
            }
        };
        assert_eq!(stopped, std::io::ErrorKind::WouldBlock, "{fields}");
        assert_eq!(client.read("POST").status, 401, "{fields}");
        let begun = Instant::now();
        let mut end = [0];
        let _ = std::io::Read::read(&mut client.reader().wire, &mut end);
        assert!(begun.elapsed() < Duration::from_secs(5), "{fields}: kept");
    }
}

#[test]
fn a_small_refused_body_costs_no_one_the_next_answer() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send("POST /up HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.read("POST").status, 401);
    // Closed, or still in step: anything but the body taken for a request.
    client.send(get("/next"));
    if let Ok(response) = client.try_read("GET") {
        assert_eq!(response.status, 200, "{response:?}");
    }
    let records = keygate.finish().transactions;
    assert!(
        records
            .iter()
            .all(|record| record["reason"] != "bad_request"),
        "{records:#?}"
    );
}

#[test]
fn bodies_beyond_the_limit_are_refused() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("limits", "{body_bytes: 1000B}")
        .spawn();
    assert_eq!(keygate.ask(post("/fits", &noise(1000))).status, 200);
    let mut client = keygate.connect();
    client.send(post("/length", &noise(1001)));
    let response = client.read("POST");
    assert_eq!(
        (response.status, response.code().as_str()),
        (413, "body_too_large"),
        "{response:?}"
    );
    client.expect_closed();
    assert_eq!(
        upstream.count(),
        1,
        "what says that it is too large is not begun"
    );

    let mut client = keygate.connect();
    client.send(request("POST /chunked", "transfer-encoding: chunked\r\n"));
    client.send("3e8\r\n");
    client.send(noise(1000));
    client.send("\r\n");
    upstream.wait_for("the first thousand bytes", 1, |seen| {
        seen.body.len() == 1000
    });
    client.send("1\r\nx\r\n0\r\n\r\n");
    assert_eq!(client.read("POST").status, 413);
    client.expect_closed();
    let seen = upstream.wait_for("the request is aborted", 1, |seen| {
        seen.broken || seen.complete
    });
    assert!(!seen.complete, "a body that was cut must not look whole");
    let record = keygate.transaction_of("/chunked");
    assert_eq!(record["reason"], "body_too_large", "{record}");
}

#[test]
fn a_stalled_upload_times_out() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("timeouts", "{body: 500ms}")
        .spawn();
    let mut client = keygate.connect();
    client.send(request("POST /stall", "content-length: 10\r\n"));
    client.send("hello");
    let seen = upstream.wait_for("the request is aborted", 0, |seen| seen.broken);
    assert_eq!(seen.body, b"hello");
    assert_eq!(client.read("POST").status, 408, "the client is told");
    client.expect_closed();
    let record = keygate.transaction_of("/stall");
    assert_eq!(record["reason"], "request_timeout", "{record}");
}
