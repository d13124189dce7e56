//! Flow control both ways: nothing is sent that a window does not allow, nothing is held that nobody takes, and whoever
//! takes nothing for too long is cut while the others are served.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::frames::Http2;
use crate::harness::frames::code::FLOW_CONTROL_ERROR;
use crate::harness::frames::code::PROTOCOL_ERROR;
use crate::harness::frames::data;
use crate::harness::frames::flag;
use crate::harness::frames::good;
use crate::harness::frames::memory_peak;
use crate::harness::frames::others_are_served;
use crate::harness::frames::setting;
use crate::harness::frames::settings;
use crate::harness::frames::window_update;
use crate::harness::gate::Gate;
use crate::harness::gate::OpenOnDrop;
use crate::harness::keygate::Keygate;
use crate::harness::noise;
use crate::harness::setup::Setup;
use crate::harness::sha256;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;

/// What a connection may make keygate hold.
const MEMORY_MAX: u64 = 48 * 1024 * 1024;

/// Answers with this many bytes of noise.
fn large(bytes: usize) -> Upstream {
    let body = noise(bytes);
    Upstream::scripted(move |turn| {
        turn.body()?;
        if turn.head.second() == "/others" {
            return turn.answer("200 OK", "", b"x");
        }
        turn.answer("200 OK", "", &body)
    })
}

#[test]
fn a_window_of_nothing_lets_the_head_pass_and_nothing_more() {
    let upstream = large(50_000);
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::with(keygate.address(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    let stream = client.request(&good("GET", "/a"));
    let head = client.until(|this| (this.answer(stream).status() == 200).then_some(()));
    assert!(head.is_some(), "{client:?}");
    client.settle();
    assert!(client.answer(stream).body.is_empty());
    client.send(window_update(stream, 50_000));
    let answer = client.expect_response(stream);
    assert_eq!(sha256(&answer.body), sha256(&noise(50_000)));
}

#[test]
fn windows_of_one_byte_carry_an_answer_byte_by_byte() {
    let upstream = large(200);
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::with(keygate.address(), &[(setting::INITIAL_WINDOW_SIZE, 1)]);
    let stream = client.request(&good("GET", "/a"));
    let answer = client.expect_response(stream);
    assert_eq!(answer.body, noise(200));
    assert_eq!(client.answer(stream).pieces, 200, "a frame a byte");
}

#[test]
fn a_window_of_the_connection_is_shared() {
    let upstream = large(100_000);
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::with(
        keygate.address(),
        &[(setting::INITIAL_WINDOW_SIZE, 1_000_000)],
    );
    client.gives_back = false;
    let streams = [
        client.request(&good("GET", "/a")),
        client.request(&good("GET", "/b")),
    ];
    let total = |this: &Http2| -> usize {
        streams
            .iter()
            .map(|stream| this.answer(*stream).body.len())
            .sum()
    };
    let come = client.until(|this| (total(this) == 65_535).then_some(()));
    assert!(come.is_some(), "{client:?}");
    client.settle();
    assert_eq!(
        total(&client),
        65_535,
        "no more than the connection's window"
    );
    client.send(window_update(0, 1_000_000));
    for stream in streams {
        assert_eq!(client.expect_response(stream).body.len(), 100_000);
    }
}

#[test]
fn windows_that_overflow_or_do_not_grow_are_errors() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::scripted(move |turn| {
        if turn.head.second() != "/others" && turn.head.second() != "/alive" {
            gate.wait();
        }
        turn.answer("200 OK", "", b"x")
    });
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let most = (1 << 31) - 1;
    for (name, on_stream, increment, code) in [
        ("of a stream, too large", true, most, FLOW_CONTROL_ERROR),
        (
            "of the connection, too large",
            false,
            most,
            FLOW_CONTROL_ERROR,
        ),
        ("of a stream, by nothing", true, 0, PROTOCOL_ERROR),
        ("of the connection, by nothing", false, 0, PROTOCOL_ERROR),
    ] {
        let mut client = Http2::connect(keygate.address());
        let stream = client.request(&good("GET", "/held"));
        client.send(window_update(if on_stream { stream } else { 0 }, increment));
        let told = client.until(|this| {
            let goaway = this.goaways.iter().map(|(_, code)| *code).next();
            this.answer(stream).reset.or(goaway)
        });
        assert_eq!(told, Some(code), "{name}: {client:?}");
        if on_stream && increment > 0 {
            client.expect_alive();
        } else {
            client.expect_closed();
        }
    }
    others_are_served(&keygate);
}

/// An upstream that reads no body before the gate opens; then it answers with the body's length.
fn reads_late(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::scripted(move |turn| {
        if turn.head.second() == "/upload" {
            gate.wait();
        }
        let length = turn.body()?.len().to_string();
        turn.answer("200 OK", "", length.as_bytes())
    })
}

#[test]
fn data_beyond_the_window_is_an_error_and_is_not_kept() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = reads_late(&gate);
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let before = memory_peak(&keygate);
    let mut client = Http2::connect(keygate.address());
    let stream = client.open(&good("POST", "/upload"));
    let frame = data(stream, flag::NONE, &[b'x'; 16_384]);
    for _ in 0..4_000 {
        if client.try_send(&frame).is_err() {
            break;
        }
    }
    let told = client.until(|this| {
        let goaway = this.goaways.iter().map(|(_, code)| *code).next();
        this.answer(stream).reset.or(goaway)
    });
    assert_eq!(told, Some(FLOW_CONTROL_ERROR), "{client:?}");
    let grown = memory_peak(&keygate).saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{grown} bytes of memory");
    others_are_served(&keygate);
    let record = keygate.transaction_of("/upload");
    assert_eq!(record["end"], "client_gone", "{record}");
}

#[test]
fn an_upload_stops_where_the_upstream_stops_reading() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = reads_late(&gate);
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let before = memory_peak(&keygate);
    let mut client = Http2::connect(keygate.address());
    client.settle();
    let stream = client.open(&good("POST", "/upload"));
    let total = 64 * 1024 * 1024;
    let mut sent = 0;
    let mut stopped = false;
    while sent < total {
        let room = client.room(stream, sent);
        if room == 0 && stopped {
            let more = client.until(|this| (this.room(stream, sent) > 0).then_some(()));
            assert!(more.is_some(), "no window although it is read");
            continue;
        }
        if room == 0 {
            let more = &mut |this: &Http2| (this.room(stream, sent) > 0).then_some(());
            if client.until_within(Duration::from_secs(1), more).is_none() {
                stopped = true;
                others_are_served(&keygate);
                let grown = memory_peak(&keygate).saturating_sub(before);
                assert!(grown < MEMORY_MAX, "{grown} bytes of memory");
                assert!(
                    sent < total / 2,
                    "{sent} bytes went to one who does not read"
                );
                gate.open();
            }
            continue;
        }
        let piece = room.min(16_384).min(total - sent);
        client.data(stream, &vec![b'x'; piece]);
        sent += piece;
    }
    assert!(stopped, "nothing has stopped it");
    client.last_data(stream, b"");
    assert_eq!(client.expect_response(stream).text(), total.to_string());
}

/// Waits until the request for `path` is recorded as one that took too long.
#[track_caller]
fn is_timed_out(keygate: &Keygate, path: &str) {
    let record = keygate.transaction_of(path);
    assert_eq!(record["end"], "timeout", "{record}");
    assert_eq!(record["protocol"], "HTTP/2", "{record}");
}

#[test]
fn whoever_opens_no_window_is_cut_in_its_time() {
    let upstream = large(8_000_000);
    let keygate = Setup::of(&upstream)
        .set("workers", "1")
        .set("timeouts", "{body: 1s}")
        .spawn();
    let before = memory_peak(&keygate);
    for (name, path, windows) in [
        (
            "no window of the stream",
            "/stream",
            [(setting::INITIAL_WINDOW_SIZE, 0)],
        ),
        (
            "no window of the connection",
            "/connection",
            [(setting::INITIAL_WINDOW_SIZE, 10_000_000)],
        ),
    ] {
        let mut client = Http2::with(keygate.address(), &windows);
        client.gives_back = false;
        let begun = Instant::now();
        let stream = client.request(&good("GET", path));
        let answer = client.outcome(stream);
        assert!(
            answer.reset.is_some() && !answer.ended,
            "{name}: {answer:?}"
        );
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(900),
            "{name}: not before its time: {took:?}"
        );
        assert!(
            took < Duration::from_secs(8),
            "{name}: long after its time: {took:?}"
        );
        is_timed_out(&keygate, path);
        // The connection is not to blame.
        client.send(settings(&[(setting::INITIAL_WINDOW_SIZE, 1_000)]));
        client.send(window_update(0, 100_000));
        client.gives_back = true;
        client.expect_status(&good("GET", "/others"), 200);
    }
    let grown = memory_peak(&keygate).saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{grown} bytes of memory");
}

#[test]
fn whoever_takes_a_little_is_not_cut() {
    let upstream = large(100);
    let keygate = Setup::of(&upstream)
        .set("workers", "1")
        .set("timeouts", "{body: 2s}")
        .spawn();
    let mut client = Http2::with(keygate.address(), &[(setting::INITIAL_WINDOW_SIZE, 20)]);
    client.gives_back = false;
    let stream = client.request(&good("GET", "/slowly"));
    let begun = Instant::now();
    for taken in 1..=5_usize {
        let come =
            client.until(|this| (this.answer(stream).body.len() >= 20 * taken).then_some(()));
        assert!(come.is_some(), "{client:?}");
        // Nearly as long as may be, and that several times.
        let nothing = client.until_within(Duration::from_millis(1_200), &mut |this| {
            this.answer(stream).reset
        });
        assert_eq!(nothing, None, "cut although it takes what it can");
        client.send(window_update(stream, 20));
    }
    assert!(begun.elapsed() > Duration::from_secs(3));
    assert_eq!(client.expect_response(stream).body.len(), 100);
}

#[test]
fn whoever_does_not_read_its_socket_is_cut_and_leaves_nothing() {
    let upstream = large(20_000_000); // more than the kernel holds
    let keygate = Setup::of(&upstream)
        .set("workers", "1")
        .set("timeouts", "{body: 1s}")
        .spawn();
    let before = memory_peak(&keygate);
    let mut client = Http2::with(
        keygate.address(),
        &[(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1)],
    );
    client.send(window_update(0, (1 << 31) - 1 - 65_535));
    for index in 0..10 {
        client.request(&good("GET", &format!("/unread/{index}")));
    }
    // The stream whose time is over first ends by that, and with it the connection and all the others.
    eventually("all are recorded", SOON, || {
        keygate.transactions().len() == 10
    });
    for record in keygate.transactions() {
        let broken = record["end"] == "timeout" || record["end"] == "client_gone";
        assert!(broken, "{record}");
    }
    others_are_served(&keygate);
    eventually("the connection is closed", SOON, || {
        keygate.metrics().total("keygate_connections") == 0.0
    });
    let grown = memory_peak(&keygate).saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{grown} bytes of memory");
    drop(client);
}

#[test]
fn an_upload_that_stops_is_told_and_recorded() {
    let (upstream, gone) = {
        let gone = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&gone);
        let upstream = Upstream::scripted(move |turn| {
            if turn.body().is_err() {
                count.fetch_add(1, Ordering::SeqCst);
                return Ok(Next::Close);
            }
            turn.answer("200 OK", "", b"x")
        });
        (upstream, gone)
    };
    let keygate = Setup::of(&upstream)
        .set("workers", "1")
        .set("timeouts", "{body: 1s}")
        .spawn();
    let mut client = Http2::connect(keygate.address());
    let stream = client.open(&good("POST", "/stops"));
    client.data(stream, b"hello");
    let answer = client.outcome(stream);
    assert!(
        answer.status() == 408 || answer.reset.is_some(),
        "{answer:?}"
    );
    is_timed_out(&keygate, "/stops");
    client.expect_alive();
    eventually("the upstream is told", SOON, || {
        gone.load(Ordering::SeqCst) == 1
    });
}
