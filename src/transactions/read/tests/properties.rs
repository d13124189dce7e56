//! Whatever is recorded, and whatever is asked for: a search finds what a plain look at every line finds.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::Method;
use proptest::prelude::*;
use proptest::sample::select;

use super::Log;
use crate::clock::Timestamp;
use crate::config::RecordedClientIp;
use crate::config::RecordedQuery;
use crate::key::Key;
use crate::key::KeyFields;
use crate::key::KeyId;
use crate::key::token::Digest;
use crate::refusal::Decision;
use crate::refusal::Reason;
use crate::transactions::line::Second;
use crate::transactions::line::Spelling;
use crate::transactions::read::Entry;
use crate::transactions::read::Event;
use crate::transactions::read::Filter;
use crate::transactions::read::Follow;
use crate::transactions::record::Record;
use crate::transactions::record::Target;

/// Texts with everything that has more than one spelling, or looks like syntax.
const TEXTS: [&str; 10] = [
    "billing",
    "BILLING",
    "caf\u{e9}",
    "k_1",
    "a\"b\\c",
    "\u{85}\u{7f}x",
    "\":\"billing\"",
    "n",
    "u00",
    "\u{1f980}\u{ff}ab",
];
const PATHS: [&[u8]; 8] = [
    b"/v1/users/7",
    b"/v1/Users/*",
    b"/caf\xe9/x",
    b"/caf\xc3\xa9/x",
    b"/a\"b\\c\x01",
    b"/v2",
    b"/",
    b"*",
];
const FILTERS: [(&str, &[&str]); 11] = [
    ("key", &TEXTS),
    ("decision", &["allowed", "refused", "would_refuse"]),
    ("reason", &["missing_key", "upstream_failed"]),
    ("status", &["200", "404", "4xx", "5xx"]),
    ("method", &["GET", "POST"]),
    (
        "path",
        &[
            "/v1/",
            "/v1/users*",
            "*users*",
            "/caf\u{e9}",
            "*\u{e9}/x",
            "/a\"b\\c",
            "/*/*",
            "/",
            "\u{1}",
        ],
    ),
    (
        "client",
        &[
            "10.0.0.1",
            "10.0.0.0/30",
            "10.0.0.0/8",
            "10.0.1.0/24",
            "2001:db8::1",
            "2001:db8::/32",
            "::1",
            "::/0",
        ],
    ),
    ("since", &["2026-11-25T10:00:03Z"]),
    ("until", &["2026-11-25T10:00:05Z"]),
    ("request_id", &["r-1", "r-2"]),
    (
        "search",
        &[
            "Billing",
            "caf\u{e9}",
            "\u{e9}/",
            "B\\C",
            "\"b",
            "R-1",
            "\u{85}",
            "curl/8",
            "N",
            "http",
            "\u{1f980}",
        ],
    ),
];

fn record() -> impl Strategy<Value = Record> {
    let parts = (
        (
            select(&[Decision::Allowed, Decision::Refused, Decision::WouldRefuse][..]),
            0..8i64,
        ),
        proptest::option::of(select(&["missing_key", "upstream_failed"][..])),
        proptest::option::of((select(&TEXTS[..]), select(&["k_1", "k_2", "billing"][..]))),
        proptest::option::of(select(
            &[
                "10.0.0.1",
                "10.0.1.77",
                "2001:db8::1",
                "::1",
                "2001:db8:0:1::2",
            ][..],
        )),
        proptest::option::of(select(&["GET", "POST"][..])),
        select(&PATHS[..]),
        proptest::option::of(select(&[200u16, 204, 404, 500][..])),
        select(&["r-1", "r-2", "R-1x"][..]),
        proptest::option::of(select(&["Curl/8", "caf\u{e9}"][..])),
    );
    parts.prop_map(
        |((decision, second), reason, key, client, method, path, status, id, agent)| {
            let time = Timestamp::parse("2026-11-25T10:00:00Z").unwrap();
            let time = Timestamp::from_micros(time.as_micros() + second * 1_000_000);
            let start = crate::clock::Clock::system().now();
            Record {
                decision,
                reason: reason.and_then(Reason::parse),
                key: key.map(|(name, id)| {
                    let mut fields = KeyFields::new(name, Digest::of(b"x"));
                    fields.id = KeyId::parse(id).unwrap();
                    Arc::new(Key::new(fields))
                }),
                client: client.map(|text| text.parse::<IpAddr>().unwrap()),
                method: method.map(|text| Method::from_bytes(text.as_bytes()).unwrap()),
                target: Target::Raw(path.into()),
                status,
                user_agent: agent.map(|text| HeaderValue::from_bytes(text.as_bytes()).unwrap()),
                ..Record::begin(start, time, HeaderValue::from_static(id))
            }
        },
    )
}

fn filter() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let one = select(&FILTERS[..]).prop_flat_map(|(name, texts)| (Just(name), select(texts)));
    proptest::collection::vec(one, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_search_finds_what_a_plain_look_finds(
        records in proptest::collection::vec(record(), 1..40),
        whole in any::<bool>(),
        given in filter(),
    ) {
        let log = Log::new();
        let client_ip = if whole { RecordedClientIp::Full } else { RecordedClientIp::Prefix };
        let spelling = Spelling { query: RecordedQuery::Names, client_ip };
        let (mut second, mut bytes) = (Second::default(), Vec::new());
        for record in &records {
            spelling.write(record, Duration::from_millis(1), &mut second, &mut bytes);
        }
        log.append(&bytes);
        let filter = Filter::parse(given.iter().copied(), log.clock.wall()).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let mut plain: Vec<&str> = text
            .lines()
            .filter(|line| filter.matches(&Entry::of(line).unwrap()))
            .collect();
        plain.reverse();
        let found = crate::transactions::read::page(log.folder(), &filter, None, 200, &log.clock);
        prop_assert_eq!(found.lines, plain);
        prop_assert_eq!(found.skipped, 0);
    }

    #[test]
    fn whatever_stands_in_a_file_is_read_to_its_end(
        pieces in proptest::collection::vec(piece(), 0..30),
        given in filter(),
        closed in any::<bool>(),
    ) {
        let log = Log::new();
        log.append(pieces.concat());
        log.clock.advance(Duration::from_secs(60)); // a file is closed after its records
        if closed {
            log.rotate();
            log.append("");
        }
        let filter = Filter::parse(given.iter().copied(), log.clock.wall()).unwrap();
        let found = crate::transactions::read::page(log.folder(), &filter, None, 200, &log.clock);
        prop_assert_eq!(found.next, None);
        let mut follow = Follow::from_beginning(log.folder(), filter);
        let mut events = Vec::new();
        while follow.read(&mut events).unwrap() {}
        let mut followed: Vec<String> = events
            .into_iter()
            .filter_map(|event| match event {
                Event::Record { line, .. } => Some(line),
                Event::Gap => None,
            })
            .collect();
        followed.reverse();
        prop_assert_eq!(found.lines, followed, "forwards as backwards");
    }
}

/// A line, or what is nearly one.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let line = r#"{"time":"2026-11-25T10:00:04.000000Z","request_id":"r-1","decision":"allowed","key_id":"k_1","path":"/v1/users","status":200,"end":"complete"}"#;
    let whole = Just([line.as_bytes(), b"\n"].concat());
    let half = (0..line.len()).prop_map(move |at| line.as_bytes()[..at].to_vec());
    prop_oneof![
        whole,
        half,
        Just(b"\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
        Just(vec![0; 300_000]),
    ]
}
