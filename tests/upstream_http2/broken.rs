//! Answers that are malformed, odd, or break off: what comes of each is an error, or an answer that is visibly broken, or
//! where nothing is wrong a whole one; and it comes soon.

use std::time::Duration;

use crate::harness::frames::data;
use crate::harness::frames::frame;
use crate::harness::frames::reset;
use crate::harness::frames::settings;
use crate::harness::requests::get;
use crate::harness::setup::Setup;
use crate::harness::upstream_frames::FrameUpstream;
use crate::harness::upstream_frames::go_away;
use crate::harness::upstream_frames::headers;
use crate::harness::upstream_frames::long_headers;

/// What comes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    /// 502 and a problem body.
    Nothing,
    /// Its head and perhaps some of its body, and a break that can be seen.
    Broken,
    /// All of it.
    Whole(u16, &'static str),
}

use Comes::Broken;
use Comes::Nothing;
use Comes::Whole;

const OK: (&str, &str) = (":status", "200");

fn ok(stream: u32) -> Vec<u8> {
    headers(stream, 0, &[OK])
}

type Row = (&'static str, fn(u32) -> Vec<u8>, Comes);

const ROWS: [Row; 42] = [
    ("no :status", |s| headers(s, 1, &[("x-a", "1")]), Nothing),
    ("no fields at all", |s| headers(s, 1, &[]), Nothing),
    (":status twice", |s| headers(s, 1, &[OK, OK]), Nothing),
    (
        ":status behind a field",
        |s| headers(s, 1, &[("x-a", "1"), OK]),
        Nothing,
    ),
    (
        ":status that is none",
        |s| headers(s, 1, &[(":status", "abc")]),
        Nothing,
    ),
    (
        ":status of two digits",
        |s| headers(s, 1, &[(":status", "20")]),
        Nothing,
    ),
    (
        "a pseudo field of requests",
        |s| headers(s, 1, &[OK, (":path", "/")]),
        Whole(200, ""), // h2 drops it, and so it goes nowhere
    ),
    (
        "an unknown pseudo field",
        |s| headers(s, 1, &[OK, (":x", "1")]),
        Nothing,
    ),
    (
        "an uppercase name",
        |s| headers(s, 1, &[OK, ("X-A", "1")]),
        Nothing,
    ),
    (
        "a name with a space",
        |s| headers(s, 1, &[OK, ("x a", "1")]),
        Nothing,
    ),
    (
        "an empty name",
        |s| headers(s, 1, &[OK, ("", "1")]),
        Nothing,
    ),
    (
        "a line break in a value",
        |s| headers(s, 1, &[OK, ("x-a", "1\r\nx-b: 2")]),
        Nothing,
    ),
    (
        "a NUL in a value",
        |s| headers(s, 1, &[OK, ("x-a", "\0")]),
        Nothing,
    ),
    (
        "connection",
        |s| headers(s, 1, &[OK, ("connection", "close")]),
        Nothing,
    ),
    (
        "transfer-encoding",
        |s| headers(s, 0, &[OK, ("transfer-encoding", "chunked")]),
        Nothing,
    ),
    (
        "upgrade",
        |s| headers(s, 1, &[OK, ("upgrade", "websocket")]),
        Nothing,
    ),
    ("101", |s| headers(s, 0, &[(":status", "101")]), Nothing),
    (
        "an interim answer that is the end",
        |s| headers(s, 1, &[(":status", "103")]),
        Nothing,
    ),
    (
        "seventeen interim answers",
        |s| {
            [
                headers(s, 0, &[(":status", "103")]).repeat(17),
                headers(s, 1, &[OK]),
            ]
            .concat()
        },
        Nothing,
    ),
    (
        "sixteen interim answers",
        |s| {
            [
                headers(s, 0, &[(":status", "103")]).repeat(16),
                headers(s, 1, &[OK]),
            ]
            .concat()
        },
        Whole(200, ""),
    ),
    (
        "data before a head",
        |s| [data(s, 0, b"x"), headers(s, 1, &[OK])].concat(),
        Nothing,
    ),
    ("a reset in place of a head", |s| reset(s, 2), Nothing),
    (
        "lengths that differ",
        |s| {
            headers(
                s,
                0,
                &[OK, ("content-length", "1"), ("content-length", "2")],
            )
        },
        Nothing,
    ),
    (
        "a length that is none",
        |s| headers(s, 0, &[OK, ("content-length", "x")]),
        Nothing,
    ),
    (
        "a negative length",
        |s| headers(s, 0, &[OK, ("content-length", "-1")]),
        Nothing,
    ),
    (
        "a length and no body",
        |s| headers(s, 1, &[OK, ("content-length", "5")]),
        Nothing,
    ),
    (
        "too long a head",
        |s| long_headers(s, 1, &[OK, ("x-a", &"a".repeat(70_000))]),
        Nothing,
    ),
    (
        "a length and too little",
        |s| {
            [
                headers(s, 0, &[OK, ("content-length", "5")]),
                data(s, 1, b"four"),
            ]
            .concat()
        },
        Broken,
    ),
    (
        "a length and too much",
        |s| {
            [
                headers(s, 0, &[OK, ("content-length", "3")]),
                data(s, 1, b"four"),
            ]
            .concat()
        },
        Broken,
    ),
    (
        "a length and too little, with trailers",
        |s| {
            [
                headers(s, 0, &[OK, ("content-length", "5")]),
                data(s, 0, b"four"),
                headers(s, 1, &[("x-a", "1")]),
            ]
            .concat()
        },
        Broken,
    ),
    (
        "a reset in the middle",
        |s| [ok(s), data(s, 0, b"half"), reset(s, 8)].concat(),
        Broken,
    ),
    (
        "a reset without an error in the middle",
        |s| [ok(s), data(s, 0, b"half"), reset(s, 0)].concat(),
        Broken,
    ),
    (
        "trailers that are not the end",
        |s| [ok(s), data(s, 0, b"half"), headers(s, 0, &[("x-a", "1")])].concat(),
        Broken,
    ),
    (
        "trailers with a pseudo field",
        |s| [ok(s), data(s, 0, b"half"), headers(s, 1, &[OK])].concat(),
        Whole(200, "half"), // h2 drops it, and so it goes nowhere
    ),
    (
        "a frame that is too large in the middle",
        |s| [ok(s), data(s, 0, b"half"), frame(0, 0, s, &vec![0; 20_000])].concat(),
        Broken,
    ),
    (
        "more than the window in the middle",
        |s| [ok(s), data(s, 0, &[b'x'; 16_384]).repeat(17)].concat(),
        Broken,
    ),
    (
        "a push in the middle",
        |s| {
            [
                ok(s),
                data(s, 0, b"half"),
                frame(5, 4, s, &2_u32.to_be_bytes()),
            ]
            .concat()
        },
        Broken,
    ),
    (
        "GOAWAY with an error below, in the middle",
        |s| [ok(s), data(s, 0, b"half"), go_away(0, 1)].concat(),
        Broken,
    ),
    (
        "settings on a stream, in the middle",
        |s| [ok(s), data(s, 0, b"half"), frame(4, 0, s, b"")].concat(),
        Broken,
    ),
    (
        "unknown frames",
        |s| {
            [
                frame(99, 255, s, b"?"),
                ok(s),
                frame(99, 0, 0, b""),
                data(s, 1, b"whole"),
            ]
            .concat()
        },
        Whole(200, "whole"),
    ),
    (
        "data behind the end",
        |s| [ok(s), data(s, 1, b"whole"), data(s, 1, b"more")].concat(),
        Whole(200, "whole"),
    ),
    (
        "padding, empty data, empty trailers",
        |s| {
            [
                ok(s),
                frame(0, 8, s, b"\x03whole\0\0\0"),
                data(s, 0, b""),
                headers(s, 1, &[]),
            ]
            .concat()
        },
        Whole(200, "whole"),
    ),
];

#[test]
fn what_is_wrong_with_an_answer_is_never_passed_on_as_right() {
    let upstream = FrameUpstream::scripted(|peer, _| {
        peer.send(settings(&[]))?;
        loop {
            let stream = peer.request()?;
            let fields = &peer.came[&stream].fields;
            let path = fields.iter().find(|(name, _)| name == ":path").unwrap();
            let row: usize = path.1.trim_start_matches('/').parse().unwrap();
            peer.send(ROWS[row].1(stream))?;
        }
    });
    let keygate = Setup::in_front_of(&upstream.url())
        .set("timeouts", "{response: 5s, body: 5s}")
        .set("workers", "1")
        .spawn();
    for (row, (name, _, comes)) in ROWS.into_iter().enumerate() {
        let mut client = keygate.connect();
        client.send(get(&format!("/{row}")));
        let answered = client.try_read_within("GET", Duration::from_secs(4));
        match (comes, &answered) {
            (Nothing, Ok(response)) => {
                assert_eq!(response.status, 502, "{name}: {response:?}");
                assert_eq!(response.code(), "upstream_failed", "{name}: {response:?}");
            }
            (Broken, Err(failed)) => {
                let head = failed.head.as_ref();
                assert_eq!(
                    head.map(|head| head.second()),
                    Some("200"),
                    "{name}: {failed:?}"
                );
            }
            (Broken, Ok(response)) => {
                // The break came before the head was passed on.
                assert_eq!(response.status, 502, "{name}: {response:?}");
            }
            (Whole(status, body), Ok(response)) => {
                assert_eq!(
                    (response.status, response.text().as_str()),
                    (status, body),
                    "{name}"
                );
            }
            (Nothing | Whole(..), Err(failed)) => panic!("{name}: {failed:?}"),
        }
        let record = keygate.transaction_of(&format!("/{row}"));
        let fine = matches!(comes, Whole(..));
        assert_eq!(record["error"].is_null(), fine, "{name}: {record}");
    }
    assert_eq!(keygate.metrics().total("keygate_panics_total"), 0.0);
}

#[test]
fn a_connection_that_ends_breaks_the_answers_on_it() {
    for (name, last, goes) in [
        ("in the middle", &b"half"[..], false),
        ("behind GOAWAY that takes it", b"half", true),
        ("without data", b"", false),
    ] {
        let upstream = FrameUpstream::scripted(move |peer, _| {
            peer.send(settings(&[]))?;
            let stream = peer.request()?;
            peer.send([ok(stream), data(stream, 0, last)].concat())?;
            if goes {
                peer.send(go_away(stream, 0))?;
            }
            peer.close()
        });
        let keygate = Setup::in_front_of(&upstream.url()).spawn();
        let mut client = keygate.connect();
        client.send(get("/answer"));
        let failed = client.try_read("GET").expect_err(name);
        assert_eq!(failed.body, last, "{name}: what has come is the client's");
        let record = keygate.transaction_of("/answer");
        assert_eq!(record["end"], "upstream_cut", "{name}: {record}");
    }
}

#[test]
fn what_is_no_http2_at_all_is_502() {
    for (name, greeting) in [
        (
            "HTTP/1.1",
            &b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"[..],
        ),
        ("nonsense", b"220 mail.example ESMTP\r\n"),
        ("nothing", b""),
        (
            "another frame than SETTINGS",
            &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
        ),
    ] {
        let upstream = FrameUpstream::scripted(move |peer, _| {
            peer.send(greeting)?;
            peer.close()
        });
        let keygate = Setup::in_front_of(&upstream.url())
            .set("timeouts", "{connect: 2s}")
            .spawn();
        let response = keygate.ask(get("/answer"));
        assert_eq!(
            (response.status, response.code().as_str()),
            (502, "upstream_failed"),
            "{name}"
        );
        let error = keygate.transaction_of("/answer")["error"].to_string();
        assert!(
            error.contains("cannot connect to 127.0.0.1:"),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_flood_of_pings_harms_nobody() {
    let upstream = FrameUpstream::scripted(|peer, number| {
        peer.send(settings(&[]))?;
        let stream = peer.request()?;
        if number == 0 {
            let ping = frame(6, 0, 0, &[0; 8]).repeat(1000);
            loop {
                peer.send(&ping)?;
            }
        }
        peer.send(headers(stream, 1, &[OK]))?;
        peer.until_closed();
        Ok(())
    });
    let keygate = Setup::in_front_of(&upstream.url())
        .set("timeouts", "{response: 1s}")
        .set("workers", "1")
        .spawn();
    let mut client = keygate.connect();
    client.send(get("/flooded"));
    let status = client.read("GET").status;
    assert!(matches!(status, 502 | 504), "{status}");
    assert_eq!(keygate.ask(get("/other")).status, 200);
}

#[test]
fn interim_answers_without_end_end() {
    let upstream = FrameUpstream::scripted(|peer, _| {
        peer.send(settings(&[]))?;
        let stream = peer.request()?;
        let interim = headers(stream, 0, &[(":status", "103"), ("x-a", "1")]).repeat(1000);
        loop {
            peer.send(&interim)?;
        }
    });
    let keygate = Setup::in_front_of(&upstream.url()).spawn();
    assert_eq!(keygate.ask(get("/flooded")).status, 502);
}

#[test]
fn an_answer_of_known_length_is_whole_with_its_end_and_not_before() {
    const LENGTH: (&str, &str) = ("content-length", "5");
    type Row = (&'static str, fn(u32) -> Vec<u8>, bool, &'static str);
    let rows: [Row; 4] = [
        (
            "/end-behind",
            |s| {
                [
                    headers(s, 0, &[OK, LENGTH]),
                    data(s, 0, b"hello"),
                    data(s, 1, b""),
                ]
                .concat()
            },
            true,
            "complete",
        ),
        (
            "/trailers-behind",
            |s| {
                let trailers = headers(s, 1, &[("x-a", "1")]);
                [headers(s, 0, &[OK, LENGTH]), data(s, 0, b"hello"), trailers].concat()
            },
            true,
            "complete",
        ),
        (
            "/empty",
            |s| {
                [
                    headers(s, 0, &[OK, ("content-length", "0")]),
                    data(s, 1, b""),
                ]
                .concat()
            },
            true,
            "complete",
        ),
        (
            "/reset-behind",
            |s| {
                [
                    headers(s, 0, &[OK, LENGTH]),
                    data(s, 0, b"hello"),
                    reset(s, 2),
                ]
                .concat()
            },
            false,
            "upstream_cut",
        ),
    ];
    let upstream = FrameUpstream::scripted(move |peer, _| {
        peer.send(settings(&[]))?;
        loop {
            let stream = peer.request()?;
            let fields = &peer.came[&stream].fields;
            let path = fields.iter().find(|(name, _)| name == ":path").unwrap();
            let row = rows.iter().find(|row| row.0 == path.1).unwrap();
            peer.send(row.1(stream))?;
        }
    });
    let keygate = Setup::in_front_of(&upstream.url())
        .set("workers", "1")
        .spawn();
    for (path, _, whole, end) in rows {
        let mut client = keygate.connect();
        client.send(get(path));
        let answered = client.try_read_within("GET", Duration::from_secs(4));
        assert_eq!(answered.is_ok(), whole, "{path}: {answered:?}");
        let record = keygate.transaction_of(path);
        assert_eq!(record["end"], end, "{record}");
    }
    let resets: Vec<_> = upstream
        .requests()
        .iter()
        .filter_map(|(_, came)| came.reset)
        .collect();
    assert!(
        resets.is_empty(),
        "an answer that was taken is cancelled: {resets:?}"
    );
}
