//! What a client may send for nothing: too much of it ends its connection, is counted, costs no memory, and nobody else
//! waits. Where the rules set no end to it, it is at least bounded, and others are served meanwhile.

use std::time::Duration;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::frames::Http2;
use crate::harness::frames::code;
use crate::harness::frames::data;
use crate::harness::frames::flag;
use crate::harness::frames::frame;
use crate::harness::frames::good;
use crate::harness::frames::headers;
use crate::harness::frames::hpack;
use crate::harness::frames::kind;
use crate::harness::frames::memory_peak;
use crate::harness::frames::others_are_served;
use crate::harness::frames::ping;
use crate::harness::frames::priority;
use crate::harness::frames::reset;
use crate::harness::frames::setting;
use crate::harness::frames::settings;
use crate::harness::frames::settings_ack;
use crate::harness::frames::window_update;
use crate::harness::gate::Gate;
use crate::harness::gate::OpenOnDrop;
use crate::harness::keygate::Keygate;
use crate::harness::setup::Setup;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;
use crate::http2::Sees::Fine;
use crate::http2::Sees::GoAway;
use crate::http2::echo;
use crate::http2::is_counted;
use crate::http2::play;
use crate::http2::protocol_errors;

/// No attack on one connection may cost more memory than this.
const MEMORY_MAX: u64 = 48 * 1024 * 1024;

/// Sends what `unit` makes for each number until keygate has had enough; how often it was sent.
fn flood(client: &mut Http2, times: u32, unit: impl Fn(u32) -> Vec<u8>) -> u32 {
    for number in 0..times {
        if client.try_send(unit(number)).is_err() {
            return number;
        }
    }
    times
}

/// Floods a connection of its own while everybody else asks, and is served; the connection afterwards.
#[track_caller]
fn flooded(
    keygate: &Keygate,
    name: &str,
    opening: &[u8],
    times: u32,
    unit: impl Fn(u32) -> Vec<u8> + Send,
) -> Http2 {
    let before = memory_peak(keygate);
    let mut client = Http2::connect(keygate.address());
    let client = std::thread::scope(|scope| {
        let flooding = scope.spawn(move || {
            client.send(opening);
            flood(&mut client, times, unit);
            client
        });
        while !flooding.is_finished() {
            others_are_served(keygate);
        }
        flooding.join().unwrap()
    });
    others_are_served(keygate);
    let grown = memory_peak(keygate).saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{name}: {grown} bytes of memory");
    client
}

/// Floods must end the connection, be counted, and leave everybody else and the memory alone.
#[track_caller]
fn is_cut(
    keygate: &Keygate,
    name: &str,
    opening: &[u8],
    times: u32,
    unit: impl Fn(u32) -> Vec<u8> + Send,
) {
    let before = protocol_errors(keygate);
    let mut client = flooded(keygate, name, opening, times, unit);
    let ended = client.until(|this| this.ended.clone());
    assert!(
        ended.is_some(),
        "{name}: the connection is not closed: {client:?}"
    );
    assert!(is_counted(keygate, before, true), "{name}: not counted");
}

/// Floods that no rule forbids must leave everybody else and the memory alone.
#[track_caller]
fn is_harmless(
    keygate: &Keygate,
    name: &str,
    opening: &[u8],
    times: u32,
    unit: impl Fn(u32) -> Vec<u8> + Send,
) {
    flooded(keygate, name, opening, times, unit);
}

fn get(stream: u32) -> Vec<u8> {
    headers(
        stream,
        flag::END_STREAM,
        &hpack::block(&good("GET", "/flood")),
    )
}

fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let block = hpack::block(&[good("POST", "/flood"), more.to_vec()].concat());
    headers(stream, flag::NONE, &block)
}

const fn nth(number: u32) -> u32 {
    2 * number + 1
}

#[test]
fn resets_of_the_client_end() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::scripted(move |turn| {
        if turn.head.second() == "/flood" {
            gate.wait();
        }
        turn.answer("200 OK", "", b"x")
    });
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    is_cut(&keygate, "rapid reset", b"", 10_000, |number| {
        [get(nth(number)), reset(nth(number), code::CANCEL)].concat()
    });
    is_cut(&keygate, "rapid reset of uploads", b"", 10_000, |number| {
        [
            post(nth(number), &[]),
            data(nth(number), flag::NONE, b"x"),
            reset(nth(number), code::CANCEL),
        ]
        .concat()
    });
    is_cut(&keygate, "resets of what is over", &get(1), 10_000, |_| {
        reset(1, code::CANCEL)
    });
    let upstream_connections = upstream.connections();
    assert!(
        upstream_connections < 1_000,
        "{upstream_connections} connections to the upstream"
    );
}

#[test]
fn resets_that_the_client_provokes_end() {
    let (_upstream, keygate) = echo();
    is_cut(&keygate, "windows that overflow", b"", 10_000, |number| {
        [
            post(nth(number), &[]),
            window_update(nth(number), (1 << 31) - 1),
        ]
        .concat()
    });
    is_cut(&keygate, "more data than was said", b"", 10_000, |number| {
        [
            post(nth(number), &[("content-length", "1")]),
            data(nth(number), flag::NONE, b"xx"),
        ]
        .concat()
    });
    is_cut(&keygate, "less data than was said", b"", 10_000, |number| {
        [
            post(nth(number), &[("content-length", "1")]),
            data(nth(number), flag::END_STREAM, b""),
        ]
        .concat()
    });
    is_cut(&keygate, "fields of a connection", b"", 10_000, |number| {
        post(nth(number), &[("connection", "close")])
    });
    is_cut(
        &keygate,
        "trailers that are not the end",
        b"",
        10_000,
        |number| {
            [
                post(nth(number), &[]),
                headers(nth(number), flag::NONE, &hpack::block(&[("x", "y")])),
            ]
            .concat()
        },
    );
    is_cut(
        &keygate,
        "streams that depend on themselves",
        b"",
        10_000,
        |number| priority(nth(number), nth(number)),
    );
    is_cut(
        &keygate,
        "data on what is over",
        &[post(1, &[]), reset(1, code::CANCEL)].concat(),
        10_000,
        |_| data(1, flag::NONE, b"x"),
    );
}

#[test]
fn blocks_without_an_end_end() {
    let (_upstream, keygate) = echo();
    let block = hpack::block(&good("GET", "/flood"));
    let begun = frame(kind::HEADERS, flag::END_STREAM, 1, &block);
    let more = |payload: Vec<u8>| move |_| frame(kind::CONTINUATION, flag::NONE, 1, &payload);
    is_cut(&keygate, "empty", &begun, 10_000, more(Vec::new()));
    is_cut(
        &keygate,
        "of one byte",
        &begun,
        10_000,
        more(vec![0x80 | 2]),
    );
    is_cut(
        &keygate,
        "of a field each",
        &begun,
        10_000,
        more(hpack::literal(b"x", b"y")),
    );
    is_cut(
        &keygate,
        "as large as may be",
        &begun,
        10_000,
        more(hpack::literal(b"x", &[b'y'; 16_000])),
    );
    let endless = [
        &begun[..],
        &frame(
            kind::CONTINUATION,
            flag::NONE,
            1,
            &[0, 1, b'x', 0x7f, 0xff, 0xff, 0xff, 0x07],
        ),
    ]
    .concat();
    is_cut(
        &keygate,
        "one value over all",
        &endless,
        10_000,
        more(vec![b'y'; 16_000]),
    );
}

#[test]
fn frames_that_carry_nothing_end() {
    let (_upstream, keygate) = echo();
    is_cut(&keygate, "PING", b"", 10_000, |number| {
        ping(u64::from(number).to_be_bytes())
    });
    is_cut(&keygate, "answers to no PING", b"", 10_000, |_| {
        frame(kind::PING, flag::ACK, 0, &[0; 8])
    });
    is_cut(&keygate, "SETTINGS", b"", 10_000, |_| {
        settings(&[(setting::INITIAL_WINDOW_SIZE, 1)])
    });
    is_cut(&keygate, "empty SETTINGS", b"", 10_000, |_| settings(&[]));
    is_cut(&keygate, "acknowledgements", b"", 10_000, |_| {
        settings_ack()
    });
    is_cut(&keygate, "PRIORITY", b"", 10_000, |number| {
        priority(nth(number), 0)
    });
    is_cut(&keygate, "empty DATA", &post(1, &[]), 10_000, |_| {
        data(1, flag::NONE, b"")
    });
    is_cut(
        &keygate,
        "DATA of padding alone",
        &post(1, &[]),
        100_000,
        |_| frame(kind::DATA, flag::PADDED, 1, &[0]),
    );
}

#[test]
fn frames_that_cost_nothing_are_harmless() {
    let (_upstream, keygate) = echo();
    is_harmless(&keygate, "windows of one byte", b"", 50_000, |_| {
        window_update(0, 1)
    });
    is_harmless(
        &keygate,
        "windows of what is over",
        &[post(1, &[]), reset(1, code::CANCEL)].concat(),
        50_000,
        |_| window_update(1, 1),
    );
    is_harmless(&keygate, "types that nobody knows", b"", 50_000, |_| {
        frame(0xfe, 0xff, 1, b"")
    });
    is_harmless(
        &keygate,
        "large frames that nobody knows",
        b"",
        2_000,
        |_| frame(0xfe, 0xff, 1, &[0; 16_384]),
    );
    is_harmless(&keygate, "GOAWAY", b"", 50_000, |_| {
        frame(kind::GOAWAY, flag::NONE, 0, &[0; 8])
    });
    is_harmless(&keygate, "GOAWAY with much to say", b"", 2_000, |_| {
        frame(kind::GOAWAY, flag::NONE, 0, &[0; 16_000])
    });
    is_harmless(&keygate, "data of one byte", &post(1, &[]), 50_000, |_| {
        data(1, flag::NONE, b"x")
    });
    is_harmless(&keygate, "requests without a key", b"", 5_000, |number| {
        headers(
            nth(number),
            flag::END_STREAM,
            &hpack::block(&crate::harness::frames::bare("GET", "/flood")),
        )
    });
}

#[test]
#[rustfmt::skip] // a row a line
fn fields_that_are_coded_badly_end_the_connection() {
    let (_upstream, keygate) = echo();
    let request = |bytes: &[u8]| {
        let block = [bytes, &hpack::block(&good("GET", "/alive"))].concat();
        headers(1, flag::END_STREAM, &block)
    };
    let behind = |bytes: &[u8]| {
        let block = [&hpack::block(&good("GET", "/alive")), bytes].concat();
        headers(1, flag::END_STREAM, &block)
    };
    let protocol = GoAway(code::PROTOCOL_ERROR);
    // RFC 7541 wants COMPRESSION_ERROR for these; the library says PROTOCOL_ERROR, and the end is the same.
    play(&keygate, &[
        ("field zero", request(&[0x80]), protocol),
        ("a field beyond the table", request(&hpack::indexed(62)), protocol),
        ("a field far beyond the table", request(&hpack::indexed(1 << 30)), protocol),
        ("a name beyond the table", request(&[0x7f, 0xff, 0x10, 0]), protocol),
        ("a number without an end", request(&[0xff; 20]), protocol),
        ("a number of 64 bits", request(&[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), protocol),
        ("a name longer than the block", headers(1, flag::END_STREAM, &[0, 0x7f, 0xff, 0x10, b'x']), protocol),
        ("a value longer than the block", headers(1, flag::END_STREAM, &[0, 1, b'x', 10, b'y']), protocol),
        ("half a field", headers(1, flag::END_STREAM, &[0, 1]), protocol),
        ("a code that is none", request(&[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'y']), protocol),
        ("a code with the end in it", request(&[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xfc]), protocol),
        ("a code with too much at its end", behind(&[0, 1, b'x', 0x82, 0x1f, 0xff]), protocol),
        ("a table larger than was said", request(&hpack::table_size(4_097)), protocol),
        ("a table of 32 bits", request(&hpack::table_size(u32::MAX as usize)), protocol),
        ("a new size behind a field", headers(1, flag::END_STREAM, &[hpack::block(&good("GET", "/alive")), hpack::table_size(0)].concat()), protocol),
        ("no table", request(&hpack::table_size(0)), Fine),
        ("two new sizes", request(&[hpack::table_size(0), hpack::table_size(4_096)].concat()), Fine),
    ]);
}

/// A request whose last field was kept by the table: one byte stands for all of it from now on.
fn keeping(stream: u32, value: &[u8]) -> Vec<u8> {
    let block = [
        hpack::block(&good("GET", "/kept")),
        hpack::kept(b"x", value),
    ]
    .concat();
    headers(stream, flag::END_STREAM, &block)
}

/// A request with this many fields of one byte each.
fn bomb(stream: u32, count: usize) -> Vec<u8> {
    let block = [
        hpack::block(&good("GET", "/bomb")),
        hpack::indexed(62).repeat(count),
    ]
    .concat();
    let mut pieces = block.chunks(16_384);
    let mut bytes = frame(
        kind::HEADERS,
        flag::END_STREAM,
        stream,
        pieces.next().unwrap(),
    );
    for piece in pieces {
        bytes.extend(frame(kind::CONTINUATION, flag::NONE, stream, piece));
    }
    bytes.extend(frame(kind::CONTINUATION, flag::END_HEADERS, stream, b""));
    bytes
}

#[test]
fn a_byte_that_stands_for_kilobytes_is_counted_as_kilobytes() {
    let (upstream, keygate) = echo();
    let before = memory_peak(&keygate);
    let value = [b'y'; 4_000];
    for (count, status) in [(3, 200), (5, 431), (14, 431)] {
        let mut client = Http2::connect(keygate.address());
        client.send([keeping(1, &value), bomb(3, count)].concat());
        assert_eq!(client.outcome(3).status(), status, "{count} fields");
    }
    for count in [100, 16_000, 60_000] {
        let mut client = Http2::connect(keygate.address());
        let errors = protocol_errors(&keygate);
        client.send([keeping(1, &value), bomb(3, count)].concat());
        client.expect_goaway(code::ENHANCE_YOUR_CALM);
        assert!(
            protocol_errors(&keygate) > errors,
            "{count} fields: not counted"
        );
    }
    // Fields that are small for themselves, and many.
    let mut client = Http2::connect(keygate.address());
    client.send([keeping(1, b""), bomb(3, 300)].concat());
    assert_eq!(client.outcome(3).status(), 431);
    let bombs = upstream
        .seen()
        .iter()
        .filter(|seen| seen.head.second() == "/bomb")
        .count();
    assert_eq!(bombs, 1);
    let grown = memory_peak(&keygate).saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{grown} bytes of memory");
    others_are_served(&keygate);
}

#[test]
fn new_sizes_of_the_table_without_end_are_harmless() {
    let (_upstream, keygate) = echo();
    let sizes = [hpack::table_size(0), hpack::table_size(4_096)]
        .concat()
        .repeat(3_000);
    is_harmless(&keygate, "sizes", b"", 300, |number| {
        let block = [&sizes[..], &hpack::block(&good("GET", "/flood"))].concat();
        headers(nth(number), flag::END_STREAM, &block)
    });
    // And a table that is emptied and filled again with each request.
    let value = [b'y'; 4_000];
    is_harmless(&keygate, "fillings", b"", 300, |number| {
        let block = [
            hpack::table_size(0),
            hpack::table_size(4_096),
            hpack::block(&good("GET", "/flood")),
            hpack::kept(b"x", &value),
        ]
        .concat();
        headers(nth(number), flag::END_STREAM, &block)
    });
}

#[test]
fn large_heads_that_are_held_by_closed_windows_are_bounded() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        turn.answer("200 OK", "", &vec![b'x'; 1_000_000])
    });
    let keygate = Setup::of(&upstream)
        .set("workers", "1")
        .set("timeouts", "{body: 2s}")
        .spawn();
    let before = memory_peak(&keygate);
    let mut client = Http2::with(keygate.address(), &[(setting::INITIAL_WINDOW_SIZE, 0)]);
    client.send(keeping(1, &[b'y'; 4_000]));
    for number in 1..100 {
        client.send(bomb(nth(number), 3));
    }
    eventually("all are at the upstream", SOON, || upstream.count() == 100);
    others_are_served(&keygate);
    for number in 0..100 {
        let answer = client.outcome(nth(number));
        assert!(
            answer.reset.is_some() && answer.body.is_empty(),
            "{number}: {answer:?}"
        );
    }
    let grown = memory_peak(&keygate).saturating_sub(before);
    assert!(grown < 2 * MEMORY_MAX, "{grown} bytes of memory");
    eventually("every request is recorded", SOON, || {
        let records = keygate.transactions();
        records
            .iter()
            .filter(|record| record["end"] == "timeout")
            .count()
            == 100
    });
}

#[test]
fn many_connections_that_do_nothing_are_closed_and_leave_nothing() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        turn.answer("200 OK", "", b"x")?;
        Ok(Next::Keep)
    });
    let keygate = Setup::of(&upstream)
        .set("workers", "1")
        .set("timeouts", "{handshake: 1s, header: 1s, idle: 1s}")
        .spawn();
    let before = memory_peak(&keygate);
    let mut clients: Vec<Http2> = (0..300)
        .map(|_| Http2::connect(keygate.address()))
        .collect();
    others_are_served(&keygate);
    for client in &mut clients {
        client.expect_closed();
    }
    let grown = memory_peak(&keygate).saturating_sub(before);
    assert!(grown < MEMORY_MAX, "{grown} bytes of memory");
    eventually("no connection is left", Duration::from_secs(5), || {
        keygate.metrics().total("keygate_connections") == 0.0
    });
}
