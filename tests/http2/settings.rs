//! SETTINGS: what may be said, what may not, and that what was said holds at once.

use crate::harness::frames::Http2;
use crate::harness::frames::code::FLOW_CONTROL_ERROR;
use crate::harness::frames::code::PROTOCOL_ERROR;
use crate::harness::frames::flag;
use crate::harness::frames::frame;
use crate::harness::frames::good;
use crate::harness::frames::kind;
use crate::harness::frames::others_are_served;
use crate::harness::frames::setting;
use crate::harness::frames::settings;
use crate::harness::frames::settings_ack;
use crate::harness::frames::window_update;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;
use crate::http2::Sees::Fine;
use crate::http2::Sees::GoAway;
use crate::http2::echo;
use crate::http2::play;

#[test]
#[rustfmt::skip] // a row a line
fn settings_that_break_the_rules_end_the_connection() {
    let (upstream, keygate) = echo();
    let bad = |name, payload: &[u8]| (name, frame(kind::SETTINGS, flag::NONE, 0, payload), GoAway(PROTOCOL_ERROR));
    let value = |name, setting: u16, value: u32| (name, settings(&[(setting, value)]), GoAway(PROTOCOL_ERROR));
    // RFC 9113 has codes of their own for a length and a window that are wrong; the library has one for all.
    play(&keygate, &[
        bad("five bytes", b"\0\x03\0\0\0"),
        bad("seven bytes", b"\0\x03\0\0\0\0\x64"),
        ("on a stream", frame(kind::SETTINGS, flag::NONE, 1, b""), GoAway(PROTOCOL_ERROR)),
        ("an acknowledgement with a payload", frame(kind::SETTINGS, flag::ACK, 0, b"\0\x03\0\0\0\x64"), GoAway(PROTOCOL_ERROR)),
        ("an acknowledgement of nothing", [settings_ack(), settings_ack()].concat(), GoAway(PROTOCOL_ERROR)),
        value("ENABLE_PUSH 2", setting::ENABLE_PUSH, 2),
        value("INITIAL_WINDOW_SIZE of 32 bits", setting::INITIAL_WINDOW_SIZE, 1 << 31),
        value("INITIAL_WINDOW_SIZE, all bits", setting::INITIAL_WINDOW_SIZE, u32::MAX),
        value("MAX_FRAME_SIZE too small", setting::MAX_FRAME_SIZE, 16_383),
        value("MAX_FRAME_SIZE zero", setting::MAX_FRAME_SIZE, 0),
        value("MAX_FRAME_SIZE too large", setting::MAX_FRAME_SIZE, 1 << 24),
        value("ENABLE_CONNECT_PROTOCOL 2", setting::ENABLE_CONNECT_PROTOCOL, 2),
        ("nothing", settings(&[]), Fine),
        ("unknown names", settings(&[(0, 7), (7, 7), (0x0a0a, 1), (u16::MAX, u32::MAX)]), Fine),
        ("one name a hundred times", settings(&[(setting::MAX_CONCURRENT_STREAMS, 1); 100]), Fine),
        ("no pushes, no streams", settings(&[(setting::ENABLE_PUSH, 0), (setting::MAX_CONCURRENT_STREAMS, 0)]), Fine),
        ("the largest window", settings(&[(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1)]), Fine),
        ("the largest frames", settings(&[(setting::MAX_FRAME_SIZE, (1 << 24) - 1)]), Fine),
        ("no dynamic table", settings(&[(setting::HEADER_TABLE_SIZE, 0)]), Fine),
        ("the largest dynamic table", settings(&[(setting::HEADER_TABLE_SIZE, u32::MAX)]), Fine),
        ("fields of no size", settings(&[(setting::MAX_HEADER_LIST_SIZE, 0)]), Fine),
    ]);
    let strangers = upstream.seen().iter().filter(|seen| !["/alive", "/others"].contains(&seen.head.second())).count();
    assert_eq!(strangers, 0);
}

#[test]
fn settings_that_are_never_acknowledged_are_no_reason_not_to_serve() {
    let (_upstream, keygate) = echo();
    let mut client = Http2::connect(keygate.address());
    client.polite = false;
    for _ in 0..3 {
        client.expect_alive();
    }
}

/// Answers with this many bytes.
fn large(bytes: usize) -> Upstream {
    Upstream::scripted(move |turn| {
        turn.body()?;
        turn.answer("200 OK", "", &vec![b'x'; bytes])
    })
}

#[test]
fn a_window_of_settings_holds_for_the_streams_that_are_open() {
    let upstream = large(100_000);
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::with(keygate.address(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    client.gives_back = false;
    let stream = client.request(&good("GET", "/large"));
    assert!(
        client
            .until(|this| (this.answer(stream).status() == 200).then_some(()))
            .is_some()
    );
    client.settle();
    assert_eq!(client.answer(stream).body.len(), 0, "no window, no data");
    let mut length = 0;
    for window in [1, 10, 1_000, 30_000] {
        client.send(settings(&[(setting::INITIAL_WINDOW_SIZE, window)]));
        client.settle();
        length = window as usize;
        let come = client.until(|this| (this.answer(stream).body.len() >= length).then_some(()));
        assert!(come.is_some(), "{client:?}");
        client.settle();
        assert_eq!(
            client.answer(stream).body.len(),
            length,
            "a window of {window}"
        );
    }
    // A smaller window makes what is left of it negative (RFC 9113 §6.9.2): more has to be given than was taken.
    client.send(settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]));
    client.send(window_update(stream, 30_000));
    client.settle();
    assert_eq!(
        client.answer(stream).body.len(),
        length,
        "a negative window"
    );
    client.send(window_update(stream, 7));
    let come = client.until(|this| (this.answer(stream).body.len() > length).then_some(()));
    assert!(come.is_some(), "{client:?}");
    client.settle();
    assert_eq!(client.answer(stream).body.len(), length + 7);
    client.send(settings(&[(setting::INITIAL_WINDOW_SIZE, 1_000_000)]));
    client.send(window_update(0, 1_000_000));
    let answer = client.expect_response(stream);
    assert_eq!(answer.body.len(), 100_000);
}

#[test]
fn a_window_that_settings_make_too_large_is_an_error() {
    let upstream = large(100_000);
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::with(keygate.address(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    let stream = client.request(&good("GET", "/large"));
    client.send(window_update(stream, (1 << 31) - 1));
    client.send(settings(&[(setting::INITIAL_WINDOW_SIZE, 1_000)]));
    client.expect_goaway(FLOW_CONTROL_ERROR);
    others_are_served(&keygate);
}

#[test]
fn frames_to_the_client_are_as_small_as_it_says() {
    let upstream = large(300_000);
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    for size in [16_384, 20_000, (1 << 24) - 1] {
        let mut client = Http2::with(
            keygate.address(),
            &[
                (setting::MAX_FRAME_SIZE, size),
                (setting::INITIAL_WINDOW_SIZE, 1 << 20),
            ],
        );
        let stream = client.request(&good("GET", "/large"));
        assert_eq!(client.expect_response(stream).body.len(), 300_000);
        assert!(
            client.largest_frame <= size as usize,
            "{size}: {}",
            client.largest_frame
        );
    }
}
