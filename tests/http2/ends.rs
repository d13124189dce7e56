//! How requests end: as they should, by a drain, by a revoked key, by whoever goes first; and what the record of each
//! says.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::frames::Http2;
use crate::harness::frames::bare;
use crate::harness::frames::code;
use crate::harness::frames::data;
use crate::harness::frames::flag;
use crate::harness::frames::good;
use crate::harness::frames::others_are_served;
use crate::harness::frames::reset;
use crate::harness::frames::setting;
use crate::harness::frames::window_update;
use crate::harness::gate::Gate;
use crate::harness::gate::OpenOnDrop;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;
use crate::http2::echo;
use crate::http2::protocol_errors;

#[test]
fn sigterm_says_goaway_and_finishes_what_runs() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::slow(gate.clone());
    let mut keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut busy = Http2::connect(keygate.address());
    let stream = busy.request(&good("GET", "/running"));
    let upload = busy.open(&good("POST", "/uploading"));
    let mut idle = Http2::connect(keygate.address());
    idle.settle();
    eventually("both are at the upstream", SOON, || upstream.count() == 2);
    keygate.signal(Signal::TERM);
    for client in [&mut busy, &mut idle] {
        let told = client.until(|this| this.goaways.first().copied());
        assert!(
            told.is_some_and(|(_, told)| told == code::NO_ERROR),
            "{client:?}"
        );
    }
    idle.expect_closed();
    busy.settle();
    let late = busy.request(&good("GET", "/late"));
    busy.last_data(upload, b"hello");
    gate.open();
    assert_eq!(busy.expect_response(stream).text(), "slow");
    assert_eq!(busy.expect_response(upload).text(), "slow");
    busy.expect_closed();
    let late = busy.answer(late);
    assert!(!late.ended, "{late:?}");
    let (last, told) = *busy.goaways.last().unwrap();
    assert_eq!(
        (last, told),
        (upload, code::NO_ERROR),
        "what will not be served is said"
    );
    assert!(keygate.wait().success());
    assert_eq!(upstream.count(), 2, "nothing new was begun");
    let paths: Vec<_> = keygate
        .transactions()
        .iter()
        .map(|record| record["path"].clone())
        .collect();
    assert_eq!(paths.len(), 2, "{paths:?}");
}

#[test]
fn a_drain_waits_for_an_end_that_its_client_takes_slowly() {
    let (_upstream, mut keygate) = echo();
    let mut client = Http2::with(keygate.address(), &[(setting::INITIAL_WINDOW_SIZE, 20)]);
    client.gives_back = false;
    let stream = client.open(&good("POST", "/slowly"));
    client.last_data(stream, &[b'x'; 80]);
    keygate.transaction_of("/slowly"); // whoever worked for it is done
    keygate.signal(Signal::TERM);
    let length = client.until(|this| {
        let length = this.answer(stream).one("content-length")?.to_owned();
        length.parse::<usize>().ok()
    });
    for taken in 1..=length.unwrap().div_ceil(20).min(4) {
        let come =
            client.until(|this| (this.answer(stream).body.len() >= 20 * taken).then_some(()));
        assert!(come.is_some(), "{client:?}");
        // Nearly as long as a connection without requests may stay, and that several times.
        let ended = client.until_within(Duration::from_millis(1_200), &mut |this| {
            this.answer(stream).reset
        });
        assert_eq!(ended, None, "cut although it takes what it can");
        client.send(window_update(stream, 20));
    }
    client.send(window_update(stream, 100_000));
    client.expect_response(stream);
    assert!(keygate.wait().success());
}

#[test]
fn what_does_not_finish_is_cut_when_the_drain_is_over() {
    let upstream = streaming();
    let mut keygate = Setup::of(&upstream)
        .set("workers", "1")
        .set("timeouts", "{drain: 1s}")
        .spawn();
    let mut client = Http2::connect(keygate.address());
    let stream = client.request(&good("GET", "/endless"));
    let come = client.until(|this| (this.answer(stream).body == b"hello").then_some(()));
    assert!(come.is_some(), "{client:?}");
    let begun = Instant::now();
    keygate.signal(Signal::TERM);
    client.expect_closed();
    assert!(!client.answer(stream).ended, "a cut answer looks whole");
    keygate.wait();
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(900),
        "not before its time: {took:?}"
    );
    assert!(
        took < Duration::from_secs(10),
        "long after its time: {took:?}"
    );
    assert_eq!(keygate.transactions().len(), 1);
}

#[test]
fn a_connection_that_broke_the_rules_is_gone_soon_whatever_its_client_does() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::slow(gate.clone());
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::connect(keygate.address());
    for index in 0..10 {
        client.request(&good("GET", &format!("/running/{index}")));
    }
    eventually("all are at the upstream", SOON, || upstream.count() == 10);
    client.send(data(0, flag::NONE, b"x"));
    client.expect_goaway(code::PROTOCOL_ERROR);
    // It is told, and neither reads on nor goes.
    eventually("the connection is gone", Duration::from_secs(5), || {
        keygate.metrics().total("keygate_connections") == 0.0
    });
    assert_eq!(protocol_errors(&keygate), 1.0);
    eventually("all are recorded", SOON, || {
        let records = keygate.transactions();
        records.len() == 10 && records.iter().all(|record| record["end"] == "client_gone")
    });
    drop(client);
}

/// Sends a piece of an answer and no more of it, until keygate goes.
fn streaming() -> Upstream {
    Upstream::scripted(|turn| {
        if turn.head.second() == "/others" || turn.head.second() == "/alive" {
            return turn.answer("200 OK", "", b"x");
        }
        if turn.head.second() == "/upload" {
            turn.body()?;
            return turn.answer("200 OK", "", b"x");
        }
        turn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")?;
        turn.waits_for_close(SOON);
        Ok(Next::Close)
    })
}

#[test]
fn a_revoked_key_cuts_its_open_streams_and_no_others() {
    let upstream = streaming();
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::connect(keygate.address());
    let cut = client.request(&good("GET", "/cut"));
    let upload = client.open(&good("POST", "/upload"));
    client.data(upload, b"hello");
    let mut others = bare("GET", "/kept");
    others.push(("x-api-key", OTHER));
    let kept = client.request(&others);
    for stream in [cut, kept] {
        let come = client.until(|this| (this.answer(stream).body == b"hello").then_some(()));
        assert!(come.is_some(), "{client:?}");
    }
    eventually("the upload is at the upstream", SOON, || {
        upstream.count() == 3
    });
    keygate.replace_keys(key_file(&[entry("other", OTHER, "")]));
    let begun = Instant::now();
    let answer = client.outcome(cut);
    assert!(answer.reset.is_some() && !answer.ended, "{answer:?}");
    // A second for the cut; the rest is for the reload on a machine that is busy.
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    let upload = client.outcome(upload);
    assert!(
        upload.reset.is_some() || upload.status() == 401,
        "{upload:?}"
    );
    assert_eq!(
        client.answer(kept).reset,
        None,
        "the other key's stream goes on"
    );
    let stream = client.request(&good("GET", "/refused"));
    assert_eq!(client.expect_response(stream).status(), 401);
    for path in ["/cut", "/upload"] {
        let record = keygate.transaction_of(path);
        assert_eq!(
            (&record["end"], &record["protocol"]),
            (&"revoked".into(), &"HTTP/2".into()),
            "{record}"
        );
    }
}

#[test]
fn a_refused_upload_is_answered_at_once_and_stopped() {
    let (upstream, keygate) = echo();
    let mut client = Http2::connect(keygate.address());
    client.settle();
    let stream = client.open(&bare("POST", "/refused"));
    let begun = Instant::now();
    let answer = client.expect_response(stream);
    assert_eq!(
        (answer.status(), answer.code().as_str()),
        (401, "missing_key")
    );
    assert!(
        begun.elapsed() < Duration::from_millis(900),
        "the answer waits for no body"
    );
    // Whoever sends on is stopped, politely.
    let mut sent = 0;
    while sent < 10_000_000 && client.answer(stream).reset.is_none() {
        let room = client.room(stream, sent).min(16_384);
        if room == 0 {
            let more = client.until(|this| {
                (this.room(stream, sent) > 0 || this.answer(stream).reset.is_some()).then_some(())
            });
            assert!(more.is_some(), "neither a window nor an end: {client:?}");
            continue;
        }
        client.data(stream, &vec![b'x'; room]);
        sent += room;
    }
    assert_eq!(
        client.answer(stream).reset,
        Some(code::NO_ERROR),
        "{sent} bytes"
    );
    assert!(sent < 1_000_000, "{sent} bytes of a refused body were read");
    client.expect_alive();
    let uploads = upstream
        .seen()
        .iter()
        .filter(|seen| seen.head.second() == "/refused")
        .count();
    assert_eq!(uploads, 0);
    let record = keygate.transaction_of("/refused");
    assert_eq!(
        (&record["status"], &record["end"]),
        (&401.into(), &"complete".into()),
        "{record}"
    );
}

#[test]
fn a_refused_upload_that_ends_by_itself_is_no_error() {
    let (_upstream, keygate) = echo();
    let mut client = Http2::connect(keygate.address());
    for _ in 0..50 {
        let stream = client.open(&bare("POST", "/refused"));
        client.data(stream, b"hello");
        client.last_data(stream, b"world");
        let answer = client.expect_response(stream);
        assert_eq!(answer.status(), 401);
    }
    client.settle();
    client.expect_alive();
    assert_eq!(protocol_errors(&keygate), 0.0);
}

#[test]
#[rustfmt::skip] // a row a line
fn answers_without_a_body_have_none() {
    let rows = [
        ("HEAD", "/head", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", 200, Some("9")),
        ("HEAD", "/chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 200, None),
        ("GET", "/204", "HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        ("GET", "/204/length", "HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\n", 204, None),
        ("GET", "/304", "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n", 304, None),
        ("GET", "/304/length", "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, Some("9")),
        ("GET", "/empty", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, Some("0")),
        ("GET", "/chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 200, None),
        ("GET", "/closed", "HTTP/1.1 200 OK\r\n\r\n", 200, None),
        ("GET", "/interim", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, Some("0")),
        ("GET", "/connection", "HTTP/1.1 200 OK\r\nconnection: close, x-a\r\nkeep-alive: timeout=5\r\nx-a: 1\r\nupgrade: h2\r\nproxy-connection: close\r\ncontent-length: 0\r\n\r\n", 200, Some("0")),
    ];
    let upstream = Upstream::scripted(move |turn| {
        let target = turn.head.second().to_owned();
        let Some(row) = rows.iter().find(|row| row.1 == target) else {
            return turn.answer("200 OK", "", b"x");
        };
        turn.send(row.2)?;
        Ok(if row.2.contains("length") { Next::Keep } else { Next::Close })
    });
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::connect(keygate.address());
    for (method, path, _, status, length) in rows {
        let stream = client.request(&good(method, path));
        let answer = client.expect_response(stream);
        assert_eq!(answer.status(), status, "{path}: {answer:?}");
        assert!(answer.body.is_empty() && answer.reset.is_none(), "{path}: {answer:?}");
        assert_eq!(answer.one("content-length"), length, "{path}: {answer:?}");
        assert_eq!(answer.one("x-a"), None, "{path}: {answer:?}");
        let record = keygate.transaction_of(path);
        assert_eq!((&record["end"], &record["status"]), (&"complete".into(), &status.into()), "{path}: {record}");
    }
    others_are_served(&keygate);
}

#[test]
fn trailers_of_an_answer_reach_the_client() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        turn.send("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ngrpc-status: 7\r\nx-sum: 1\r\ncontent-length: 3\r\nconnection: close\r\n\r\n")?;
        Ok(Next::Keep)
    });
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::connect(keygate.address());
    for te in [true, false] {
        let path = format!("/trailers/{te}");
        let mut fields = good("POST", &path);
        if te {
            fields.push(("te", "trailers"));
        }
        let stream = client.open(&fields);
        client.last_data(stream, b"");
        let answer = client.expect_response(stream);
        assert_eq!(answer.text(), "hello");
        let expected = [("grpc-status", "7"), ("x-sum", "1")];
        let expected: Vec<_> = expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(answer.trailers, expected, "te: {te}");
        assert_eq!(keygate.transaction_of(&path)["grpc_status"], 7);
    }
}

#[test]
fn an_answer_that_breaks_off_is_reset() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (name, answer, resets) in [
        (
            "short of its length",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello".to_owned(),
            false,
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
            "with a bad size",
            format!("{chunked}5\r\nhello\r\nzz\r\n"),
            false,
        ),
        (
            "without a length, by reset",
            "HTTP/1.1 200 OK\r\n\r\nhello".to_owned(),
            true,
        ),
    ] {
        let gate = Gate::new();
        let _open = OpenOnDrop(gate.clone());
        let go = gate.clone();
        let upstream = Upstream::scripted(move |turn| {
            if turn.head.second() != "/broken" {
                return turn.answer("200 OK", "", b"x");
            }
            turn.send(&answer)?;
            go.wait();
            Ok(if resets { Next::Reset } else { Next::Close })
        });
        let keygate = Setup::of(&upstream).set("workers", "1").spawn();
        let mut client = Http2::connect(keygate.address());
        let stream = client.request(&good("GET", "/broken"));
        if name != "with a bad size" {
            let come = client.until(|this| (this.answer(stream).body == b"hello").then_some(()));
            assert!(come.is_some(), "{name}: {client:?}");
        }
        gate.open();
        let answer = client.outcome(stream);
        assert!(
            !answer.ended,
            "{name}: a cut answer looks whole: {answer:?}"
        );
        assert!(
            answer.reset.is_some_and(|told| told != code::NO_ERROR),
            "{name}: {answer:?}"
        );
        client.expect_alive();
        let record = keygate.transaction_of("/broken");
        assert_eq!(
            (&record["end"], &record["status"]),
            (&"upstream_cut".into(), &200.into()),
            "{name}: {record}"
        );
    }
}

#[test]
fn a_client_that_resets_a_stream_ends_its_request_at_the_upstream() {
    let gate = Gate::new();
    let closed = gate.clone();
    let upstream = Upstream::scripted(move |turn| {
        if turn.head.second() != "/gone" {
            return turn.answer("200 OK", "", b"x");
        }
        if turn.waits_for_close(SOON) {
            closed.open();
        }
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::connect(keygate.address());
    let stream = client.request(&good("GET", "/gone"));
    upstream.wait_for("the request is at the upstream", 0, |_| true);
    client.send(reset(stream, code::CANCEL));
    let record = keygate.transaction_of("/gone");
    assert_eq!(
        (&record["end"], &record["protocol"]),
        (&"client_gone".into(), &"HTTP/2".into()),
        "{record}"
    );
    gate.wait();
    client.expect_alive();
}

#[test]
fn an_upload_that_is_reset_never_looks_whole() {
    let (whole, broken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = [Arc::clone(&broken), Arc::clone(&whole)];
    let upstream = Upstream::scripted(move |turn| {
        let came = usize::from(turn.body().is_ok());
        counts[came].fetch_add(1, Ordering::SeqCst);
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::connect(keygate.address());
    for (path, told) in [("/cancel", code::CANCEL), ("/no-error", code::NO_ERROR)] {
        let stream = client.open(&good("POST", path));
        client.data(stream, b"hello");
        eventually("some of it is at the upstream", SOON, || {
            let seen = upstream.seen();
            seen.iter()
                .any(|seen| seen.head.second() == path && seen.body == b"hello")
        });
        client.send(reset(stream, told));
        let record = keygate.transaction_of(path);
        assert_eq!(record["end"], "client_gone", "{record}");
    }
    eventually("the upstream has both ends", SOON, || {
        whole.load(Ordering::SeqCst) + broken.load(Ordering::SeqCst) == 2
    });
    assert_eq!(whole.load(Ordering::SeqCst), 0);
}

#[test]
fn a_revoked_key_cuts_a_stream_whose_client_takes_nothing() {
    let upstream = streaming();
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::with(keygate.address(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    let stream = client.request(&good("GET", "/stalled"));
    let head = client.until(|this| (this.answer(stream).status() == 200).then_some(()));
    assert!(head.is_some(), "{client:?}");
    keygate.replace_keys(key_file(&[entry("other", OTHER, "")]));
    let answer = client.outcome(stream);
    assert!(answer.reset.is_some() && !answer.ended, "{answer:?}");
    assert_eq!(keygate.transaction_of("/stalled")["end"], "revoked");
}

#[test]
fn a_client_that_goes_ends_all_its_requests() {
    let upstream = streaming();
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    for (index, resets) in [false, true].into_iter().enumerate() {
        let mut client = Http2::connect(keygate.address());
        let paths: Vec<String> = (0..10)
            .map(|number| format!("/gone/{index}/{number}"))
            .collect();
        for path in &paths {
            let stream = client.request(&good("GET", path));
            let come = client.until(|this| (this.answer(stream).body == b"hello").then_some(()));
            assert!(come.is_some(), "{client:?}");
        }
        if resets {
            client.go();
        } else {
            drop(client);
        }
        for path in &paths {
            let record = keygate.transaction_of(path);
            assert_eq!(record["end"], "client_gone", "{record}");
            assert_eq!(record["response_bytes"], 5, "{record}");
        }
    }
    eventually("no connection is left", SOON, || {
        keygate.metrics().total("keygate_connections") == 0.0
    });
    others_are_served(&keygate);
}

#[test]
fn every_request_has_its_record() {
    let (_upstream, keygate) = echo();
    let mut client = Http2::connect(keygate.address());
    let mut unknown = bare("GET", "/unknown");
    unknown.push(("x-api-key", "kg_unknown"));
    for (path, fields, body, status, decision, reason) in [
        ("/good", good("GET", "/good"), 0, 200, "allowed", None),
        (
            "/upload",
            good("POST", "/upload"),
            1_000,
            200,
            "allowed",
            None,
        ),
        (
            "/missing",
            bare("GET", "/missing"),
            0,
            401,
            "refused",
            Some("missing_key"),
        ),
        ("/unknown", unknown, 0, 401, "refused", Some("unknown_key")),
        (
            "/trace",
            good("TRACE", "/trace"),
            0,
            405,
            "refused",
            Some("method_not_supported"),
        ),
    ] {
        let mut fields = fields;
        fields.push(("user-agent", "frames"));
        let stream = if body > 0 {
            client.open(&fields)
        } else {
            client.request(&fields)
        };
        if body > 0 {
            client.last_data(stream, &vec![b'x'; body]);
        }
        let answer = client.expect_response(stream);
        assert_eq!(answer.status(), status, "{path}: {answer:?}");
        let record = keygate.transaction_of(path);
        assert_eq!(record["protocol"], "HTTP/2", "{record}");
        assert_eq!(record["decision"], decision, "{record}");
        assert_eq!(record["reason"].as_str(), reason, "{record}");
        assert_eq!(record["status"], status, "{record}");
        assert_eq!(record["request_bytes"], body, "{record}");
        assert_eq!(record["response_bytes"], answer.body.len(), "{record}");
        assert_eq!(record["end"], "complete", "{record}");
        assert_eq!(record["host"], "app", "{record}");
        assert_eq!(record["scheme"], "http", "{record}");
        assert_eq!(record["user_agent"], "frames", "{record}");
        assert_eq!(record["method"], fields[0].1, "{record}");
        if status >= 400 {
            assert_eq!(answer.one("content-type"), Some("application/problem+json"));
            assert_eq!(
                answer.json()["request_id"],
                record["request_id"],
                "{record}"
            );
        }
    }
    assert_eq!(keygate.finish().transactions.len(), 5);
}
