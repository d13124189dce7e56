//! Frames and the streams that they are on: which may come when, and what of a frame may be wrong.

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::frames::Http2;
use crate::harness::frames::code::CANCEL;
use crate::harness::frames::code::FRAME_SIZE_ERROR;
use crate::harness::frames::code::NO_ERROR;
use crate::harness::frames::code::PROTOCOL_ERROR;
use crate::harness::frames::code::REFUSED_STREAM;
use crate::harness::frames::code::STREAM_CLOSED;
use crate::harness::frames::data;
use crate::harness::frames::flag;
use crate::harness::frames::frame;
use crate::harness::frames::good;
use crate::harness::frames::headers;
use crate::harness::frames::hpack;
use crate::harness::frames::kind;
use crate::harness::frames::lying_frame;
use crate::harness::frames::others_are_served;
use crate::harness::frames::priority;
use crate::harness::frames::reset;
use crate::harness::frames::window_update;
use crate::harness::gate::Gate;
use crate::harness::gate::OpenOnDrop;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;
use crate::http2::Sees::Fine;
use crate::http2::Sees::GoAway;
use crate::http2::Sees::Reset;
use crate::http2::Sees::Status;
use crate::http2::echo;
use crate::http2::play;

fn get(stream: u32) -> Vec<u8> {
    headers(
        stream,
        flag::END_STREAM,
        &hpack::block(&good("GET", "/alive")),
    )
}

fn post(stream: u32) -> Vec<u8> {
    headers(stream, flag::NONE, &hpack::block(&good("POST", "/alive")))
}

#[test]
#[rustfmt::skip] // a row a line
fn frames_on_the_wrong_stream_end_it_or_the_connection() {
    let (_upstream, keygate) = echo();
    let block = hpack::block(&good("GET", "/alive"));
    let protocol = GoAway(PROTOCOL_ERROR);
    play(&keygate, &[
        ("an even stream", get(2), protocol),
        ("stream 0", get(0), protocol),
        ("a stream behind the last one", [get(5), get(3)].concat(), protocol),
        ("the same stream again", [get(1), get(1)].concat(), protocol),
        ("DATA on stream 0", data(0, flag::NONE, b"x"), protocol),
        ("DATA on an idle stream", data(1, flag::NONE, b"x"), protocol),
        ("DATA on an even stream", data(2, flag::NONE, b"x"), protocol),
        ("DATA behind the end", [post(1), data(1, flag::END_STREAM, b"x"), data(1, flag::NONE, b"y")].concat(), protocol),
        ("HEADERS behind the end", [get(1), headers(1, flag::END_STREAM, &hpack::block(&[("x", "y")]))].concat(), protocol),
        ("WINDOW_UPDATE on an idle stream", window_update(1, 1), protocol),
        ("WINDOW_UPDATE on an even stream", window_update(2, 1), protocol),
        ("RST_STREAM on an idle stream", reset(1, CANCEL), protocol),
        ("RST_STREAM on an even stream", reset(2, CANCEL), protocol),
        ("RST_STREAM on stream 0", reset(0, CANCEL), protocol),
        ("PING on a stream", frame(kind::PING, flag::NONE, 1, &[0; 8]), protocol),
        ("PRIORITY on stream 0", priority(0, 1), protocol),
        ("GOAWAY on a stream", frame(kind::GOAWAY, flag::NONE, 1, &[0; 8]), protocol),
        ("PUSH_PROMISE", [get(1), frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[&[0, 0, 0, 2], &block[..]].concat())].concat(), protocol),
        ("CONTINUATION behind nothing", frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block), protocol),
        ("CONTINUATION behind a whole block", [get(1), frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block)].concat(), protocol),
        ("CONTINUATION on another stream", [frame(kind::HEADERS, flag::END_STREAM, 1, &block), frame(kind::CONTINUATION, flag::END_HEADERS, 3, b"")].concat(), protocol),
        ("PING in a block", [frame(kind::HEADERS, flag::END_STREAM, 1, &block), frame(kind::PING, flag::NONE, 0, &[0; 8])].concat(), protocol),
        ("DATA in a block", [frame(kind::HEADERS, flag::NONE, 1, &block), data(1, flag::END_STREAM, b"x")].concat(), protocol),
        ("HEADERS in a block", [frame(kind::HEADERS, flag::END_STREAM, 1, &block), get(3)].concat(), protocol),
        ("a type that nobody knows in a block", [frame(kind::HEADERS, flag::END_STREAM, 1, &block), frame(0xfe, flag::NONE, 0, b"x")].concat(), protocol),
        ("trailers that are not the end", [post(1), headers(1, flag::NONE, &hpack::block(&[("x", "y")]))].concat(), Reset(PROTOCOL_ERROR)),
        ("HEADERS that depend on themselves", frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM | flag::PRIORITY, 1, &[&[0, 0, 0, 1, 15], &block[..]].concat()), Reset(PROTOCOL_ERROR)),
        ("PRIORITY that depends on itself", priority(1, 1), Reset(PROTOCOL_ERROR)),
        ("PRIORITY on an idle stream", priority(7, 0), Fine),
        ("PRIORITY on a closed stream", [get(1), reset(1, CANCEL), priority(1, 3)].concat(), Fine),
        ("RST_STREAM twice", [post(1), reset(1, CANCEL), reset(1, CANCEL)].concat(), Fine),
        ("WINDOW_UPDATE on a closed stream", [post(1), reset(1, CANCEL), window_update(1, 1)].concat(), Fine),
        ("types that nobody knows", (10..=255).flat_map(|kind| frame(kind, 0xff, u32::from(kind), b"payload")).collect(), Fine),
        ("flags that nobody knows", frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM | 0xd2, 1, &block), Status(200)),
        ("the reserved bit", frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1 | 1 << 31, &block), Status(200)),
        ("a priority", frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM | flag::PRIORITY, 1, &[&[0x80, 0, 0, 0, 255], &block[..]].concat()), Status(200)),
        ("gaps between streams", [get(1), get(101), get(1_000_001)].concat(), Status(200)),
    ]);
}

#[test]
#[rustfmt::skip] // a row a line
fn frames_of_a_wrong_length_end_the_connection() {
    let (_upstream, keygate) = echo();
    let block = hpack::block(&good("POST", "/alive"));
    let protocol = GoAway(PROTOCOL_ERROR);
    let padded = |padding: u8, payload: &[u8]| [&[padding], payload].concat();
    play(&keygate, &[
        // RFC 9113 wants FRAME_SIZE_ERROR for these; the library says PROTOCOL_ERROR, and the end is the same.
        ("RST_STREAM of three bytes", [post(1), frame(kind::RST_STREAM, flag::NONE, 1, &[0; 3])].concat(), protocol),
        ("RST_STREAM of five bytes", [post(1), frame(kind::RST_STREAM, flag::NONE, 1, &[0; 5])].concat(), protocol),
        ("PING of seven bytes", frame(kind::PING, flag::NONE, 0, &[0; 7]), protocol),
        ("PING of nine bytes", frame(kind::PING, flag::NONE, 0, &[0; 9]), protocol),
        ("PRIORITY of four bytes", frame(kind::PRIORITY, flag::NONE, 1, &[0; 4]), protocol),
        ("WINDOW_UPDATE of three bytes", frame(kind::WINDOW_UPDATE, flag::NONE, 0, &[0; 3]), protocol),
        ("WINDOW_UPDATE of five bytes", frame(kind::WINDOW_UPDATE, flag::NONE, 0, &[0; 5]), protocol),
        ("GOAWAY of seven bytes", frame(kind::GOAWAY, flag::NONE, 0, &[0; 7]), protocol),
        ("DATA larger than a frame may be", [post(1), data(1, flag::NONE, &[b'x'; 16_385])].concat(), GoAway(FRAME_SIZE_ERROR)),
        ("HEADERS larger than a frame may be", headers(1, flag::NONE, &[0; 16_385]), GoAway(FRAME_SIZE_ERROR)),
        ("SETTINGS larger than a frame may be", frame(kind::SETTINGS, flag::NONE, 0, &[0; 16_386]), GoAway(FRAME_SIZE_ERROR)),
        ("a type that nobody knows, larger than a frame may be", frame(0xfe, flag::NONE, 0, &[0; 16_385]), GoAway(FRAME_SIZE_ERROR)),
        ("a length of 24 bits", lying_frame((1 << 24) - 1, kind::DATA, flag::NONE, 1, b""), GoAway(FRAME_SIZE_ERROR)),
        ("a second preface", crate::harness::frames::PREFACE.to_vec(), GoAway(FRAME_SIZE_ERROR)),
        ("HTTP/1 behind the preface", format!("GET / HTTP/1.1\r\nhost: app\r\nx-api-key: {GOOD}\r\n\r\n").into_bytes(), GoAway(FRAME_SIZE_ERROR)),
        ("DATA with more padding than there is", [post(1), frame(kind::DATA, flag::PADDED, 1, &padded(10, b"x"))].concat(), protocol),
        ("DATA of padding that is one too long", [post(1), frame(kind::DATA, flag::PADDED, 1, &padded(2, b"x"))].concat(), protocol),
        ("padded DATA without anything", [post(1), frame(kind::DATA, flag::PADDED, 1, b"")].concat(), protocol),
        ("HEADERS with more padding than there is", frame(kind::HEADERS, flag::END_HEADERS | flag::PADDED, 1, &padded(255, &block)), protocol),
        ("padded HEADERS without anything", frame(kind::HEADERS, flag::END_HEADERS | flag::PADDED, 1, b""), protocol),
        ("HEADERS without room for their priority", frame(kind::HEADERS, flag::END_HEADERS | flag::PRIORITY, 1, &[0; 4]), protocol),
        ("HEADERS whose padding takes their priority", frame(kind::HEADERS, flag::END_HEADERS | flag::PADDED | flag::PRIORITY, 1, &[3, 0, 0, 0, 0, 0, 0]), protocol),
        ("HEADERS without a field", headers(1, flag::END_STREAM, b""), Reset(PROTOCOL_ERROR)),
        ("padded HEADERS", frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM | flag::PADDED, 1, &[padded(100, &block), vec![0; 100]].concat()), Status(200)),
        ("padded DATA", [post(1), frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, &[padded(255, b"x"), vec![0; 255]].concat())].concat(), Status(200)),
        ("DATA of padding alone", [post(1), frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, &[padded(255, b""), vec![0; 255]].concat())].concat(), Status(200)),
        ("empty DATA as the end", [post(1), data(1, flag::END_STREAM, b"")].concat(), Status(200)),
        ("empty DATA before the end", [post(1), data(1, flag::NONE, b""), data(1, flag::NONE, b""), data(1, flag::END_STREAM, b"x")].concat(), Status(200)),
        ("a block in many pieces", [
            frame(kind::HEADERS, flag::END_STREAM, 1, &block[..1]),
            frame(kind::CONTINUATION, flag::NONE, 1, &block[1..20]),
            frame(kind::CONTINUATION, flag::NONE, 1, b""),
            frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block[20..]),
        ].concat(), Status(200)),
    ]);
}

#[test]
fn data_on_a_stream_that_is_over_is_an_error_of_the_stream() {
    let (_upstream, keygate) = echo();
    let mut client = Http2::connect(keygate.address());
    client.expect_alive();
    client.settle();
    client.send(data(1, flag::NONE, b"late"));
    let answer = client.until(|this| this.answer(1).reset);
    // The stream may be remembered or forgotten; it is never served again.
    assert!(
        answer == Some(STREAM_CLOSED)
            || client
                .goaways
                .iter()
                .any(|(_, code)| *code == PROTOCOL_ERROR),
        "{client:?}"
    );
    others_are_served(&keygate);
}

#[test]
fn a_hundred_requests_at_once_and_no_more() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::slow(gate.clone());
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::connect(keygate.address());
    let streams: Vec<u32> = (0..100)
        .map(|index| client.request(&good("GET", &format!("/{index}"))))
        .collect();
    eventually("all are at the upstream", SOON, || upstream.count() == 100);
    for _ in 0..3 {
        let stream = client.request(&good("GET", "/more"));
        client.expect_reset(stream, REFUSED_STREAM);
    }
    gate.open();
    for stream in streams {
        assert_eq!(client.expect_response(stream).text(), "slow");
    }
    assert_eq!(upstream.count(), 100, "a refused stream reaches nobody");
    for _ in 0..3 {
        client.expect_status(&good("GET", "/after"), 200);
    }
}

#[test]
fn answers_come_in_the_order_in_which_they_are_ready() {
    let gates: Vec<Gate> = (0..8).map(|_| Gate::new()).collect();
    let waits = gates.clone();
    let upstream = Upstream::scripted(move |turn| {
        let index: usize = turn.head.second()[1..].parse().unwrap();
        waits[index].wait();
        turn.answer("200 OK", "", index.to_string().as_bytes())
    });
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::connect(keygate.address());
    let streams: Vec<u32> = (0..8)
        .map(|index| client.request(&good("GET", &format!("/{index}"))))
        .collect();
    for index in (0..8).rev() {
        gates[index].open();
        assert_eq!(
            client.expect_response(streams[index]).text(),
            index.to_string()
        );
        let early = streams[..index]
            .iter()
            .any(|stream| client.answer(*stream).status() != 0);
        assert!(!early, "an answer before its time");
    }
}

#[test]
fn trailers_of_a_request_reach_the_upstream_without_what_is_not_theirs() {
    let (upstream, keygate) = echo();
    let mut client = Http2::connect(keygate.address());
    let mut fields = good("POST", "/trailers");
    fields.push(("trailer", "x-sum"));
    let stream = client.open(&fields);
    client.data(stream, b"hello");
    let trailers = hpack::block(&[
        ("x-sum", "12"),
        ("content-length", "3"),
        ("host", "evil"),
        ("x-api-key", OTHER),
        ("x-keygate-key-id", "k_other"),
        ("trailer", "x"),
    ]);
    client.send(headers(stream, flag::END_STREAM, &trailers));
    assert_eq!(client.expect_response(stream).status(), 200);
    let seen = upstream.seen_at("/trailers");
    assert_eq!(seen.body, b"hello");
    assert_eq!(seen.trailers, [("x-sum".to_owned(), "12".to_owned())]);
}

#[test]
fn pseudo_fields_in_trailers_mean_nothing() {
    let (upstream, keygate) = echo();
    for (name, fields) in [
        ("a path", [(":path", "/evil"), ("x-sum", "1")]),
        ("a status", [(":status", "204"), ("x-sum", "1")]),
        ("behind a field", [("x-sum", "1"), (":method", "PUT")]),
    ] {
        let mut client = Http2::connect(keygate.address());
        let before = upstream.count();
        let stream = client.open(&good("POST", "/pseudo"));
        client.data(stream, b"hello");
        client.send(headers(stream, flag::END_STREAM, &hpack::block(&fields)));
        let answer = client.outcome(stream);
        assert!(
            answer.status() == 200 || answer.reset == Some(PROTOCOL_ERROR),
            "{name}: {answer:?}"
        );
        let seen = upstream.seen().split_off(before);
        for seen in seen {
            assert!(
                seen.trailers.iter().all(|(name, _)| !name.starts_with(':')),
                "{name}: {seen:?}"
            );
            assert_eq!(seen.head.start, "POST /pseudo HTTP/1.1", "{name}");
        }
    }
}

#[test]
fn a_client_that_says_goodbye_gets_what_it_asked_for() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::slow(gate.clone());
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    let mut client = Http2::connect(keygate.address());
    let stream = client.request(&good("GET", "/last"));
    client.send(frame(kind::GOAWAY, flag::NONE, 0, &[0; 8]));
    client.settle();
    gate.open();
    assert_eq!(client.expect_response(stream).text(), "slow");
    client.expect_closed();
    assert!(
        client.goaways.iter().all(|(_, code)| *code == NO_ERROR),
        "{client:?}"
    );
}
