//! Every line is one line of JSON that says what went in.

use http::HeaderValue;
use http::Method;
use http::Uri;
use proptest::prelude::*;
use serde_json::Value;

use crate::clock::Clock;
use crate::refusal::Decision;
use crate::refusal::Reason;
use crate::refusal::Refusal;
use crate::transactions::record::End;
use crate::transactions::record::TraceId;
use crate::transactions::tests::key;

use super::*;

const FULL: Spelling = Spelling {
    query: RecordedQuery::Full,
    client_ip: RecordedClientIp::Full,
};
const NAMES: Spelling = Spelling {
    query: RecordedQuery::Names,
    ..FULL
};

fn plain() -> Record {
    let time = Timestamp::parse("2026-11-23T10:00:00.000042Z").unwrap();
    Record::begin(Clock::system().now(), time, HeaderValue::from_static("r1"))
}

/// Every field is there.
fn full() -> Record {
    Record {
        trace_id: TraceId::of_traceparent(
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        decision: Decision::WouldRefuse,
        reason: Some(Reason::Refused(Refusal::Expired)),
        hint: Some("ask for a new key"),
        key: Some(key("k_7Qm2x9", "invoices \"new\"", true)),
        fingerprint: Some(0x00c0_ffee),
        client: Some("10.1.2.3".parse().unwrap()),
        client_subject: Some("CN=billing,O=\"Acme\"".into()),
        method: Some(Method::PATCH),
        host: Some(HeaderValue::from_static("api.example:8080")),
        target: Target::Uri(Uri::from_static("/v1/a%20b?page=2&limit=9&flag")),
        status: Some(200),
        grpc_status: Some(7),
        request_bytes: 3,
        response_bytes: u64::MAX,
        upstream_time: Some(Duration::from_micros(1_500)),
        upstream: Some("127.0.0.1:3000".into()),
        user_agent: Some(HeaderValue::from_static("curl/8")),
        end: End::Complete,
        error: Some("none really".into()),
        ..plain()
    }
}

fn line_bytes(spelling: Spelling, record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    spelling.write(
        record,
        Duration::from_micros(2_500),
        &mut Second::default(),
        &mut out,
    );
    out
}

/// The line as JSON, once it is sure that it is one line.
fn line(spelling: Spelling, record: &Record) -> Value {
    let bytes = line_bytes(spelling, record);
    assert_eq!(
        memchr::memchr_iter(b'\n', &bytes).count(),
        1,
        "one line: {}",
        bytes.escape_ascii()
    );
    assert_eq!(bytes.last(), Some(&b'\n'));
    let text = std::str::from_utf8(&bytes).expect("a line is UTF-8");
    assert!(!text.trim_end().contains(char::is_control), "{text:?}");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_full_record_has_every_field() {
    let expected = r#"{"time":"2026-11-23T10:00:00.000042Z","request_id":"r1","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","decision":"would_refuse","reason":"expired","hint":"ask for a new key","key_id":"k_7Qm2x9","key_name":"invoices \"new\"","token_fingerprint":"00c0ffee","client_ip":"10.1.2.3","client_subject":"CN=billing,O=\"Acme\"","method":"PATCH","scheme":"http","host":"api.example:8080","path":"/v1/a%20b","query":"page=2&limit=9&flag","protocol":"HTTP/1.1","status":200,"grpc_status":7,"request_bytes":3,"response_bytes":18446744073709551615,"duration_us":2500,"upstream_us":1500,"upstream":"127.0.0.1:3000","user_agent":"curl/8","end":"complete","error":"none really"}"#;
    assert_eq!(
        String::from_utf8(line_bytes(FULL, &full())).unwrap(),
        format!("{expected}\n")
    );
}

#[test]
fn absent_fields_are_left_out() {
    let expected = r#"{"time":"2026-11-23T10:00:00.000042Z","request_id":"r1","decision":"refused","scheme":"http","protocol":"HTTP/1.1","request_bytes":0,"response_bytes":0,"duration_us":2500,"end":"client_gone"}"#;
    assert_eq!(
        String::from_utf8(line_bytes(FULL, &plain())).unwrap(),
        format!("{expected}\n")
    );
}

#[test]
fn the_schema_knows_every_field_and_every_word() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../config/transaction.schema.json")).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    let mut written = line(FULL, &full());
    let fields = written.as_object_mut().unwrap();
    fields.insert("truncated".into(), true.into());
    fields.insert("lost".into(), 1.into());
    for (field, value) in fields.iter() {
        let kind = match value {
            Value::String(_) => "string",
            Value::Bool(_) => "boolean",
            _ => "integer",
        };
        assert_eq!(
            properties.get(field).map(|property| &property["type"]),
            Some(&kind.into()),
            "{field}"
        );
    }
    assert_eq!(
        properties.len(),
        fields.len(),
        "the schema has a field that no line has"
    );
    let required: Vec<&str> = schema["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f.as_str().unwrap())
        .collect();
    let least: Vec<String> = line(FULL, &plain())
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(
        required
            .iter()
            .copied()
            .collect::<std::collections::BTreeSet<_>>(),
        least.iter().map(String::as_str).collect()
    );

    let words = |field: &str| properties[field]["enum"].as_array().unwrap().clone();
    assert_eq!(words("decision"), Decision::ALL.map(Decision::as_str));
    assert_eq!(words("end"), End::ALL.map(End::as_str));
    let reasons =
        (0..Reason::COUNT).map(|index| Value::from(Reason::from_index(index).unwrap().as_str()));
    assert_eq!(words("reason"), reasons.collect::<Vec<_>>());
}

#[test]
fn queries_are_spelt_as_the_operator_wants() {
    let names = "page=&limit=&flag";
    let none = Spelling {
        query: RecordedQuery::None,
        ..FULL
    };
    let uri = |text: &str| Target::Uri(text.parse().unwrap());
    let raw = |text: &str| Target::Raw(text.as_bytes().into());
    type Case = (
        &'static str,
        Spelling,
        Target,
        Option<&'static str>,
        Option<&'static str>,
    );
    let cases: &[Case] = &[
        (
            "full",
            FULL,
            uri("/a?page=2&limit=9&flag"),
            Some("/a"),
            Some("page=2&limit=9&flag"),
        ),
        (
            "names",
            NAMES,
            uri("/a?page=2&limit=9&flag"),
            Some("/a"),
            Some(names),
        ),
        (
            "none",
            none,
            uri("/a?page=2&limit=9&flag"),
            Some("/a"),
            None,
        ),
        ("no query", NAMES, uri("/a"), Some("/a"), None),
        ("an empty query", NAMES, uri("/a?"), Some("/a"), Some("")),
        (
            "odd pairs",
            NAMES,
            uri("/a?&&=v&a==b&"),
            Some("/a"),
            Some("&&=&a=&"),
        ),
        (
            "an absolute target",
            FULL,
            uri("http://host/a?b=c"),
            Some("/a"),
            Some("b=c"),
        ),
        ("an asterisk", FULL, uri("*"), Some("*"), None),
        (
            "raw, full",
            FULL,
            raw("/a b?key=TOKEN&TOKEN"),
            Some("/a b"),
            Some("key=&"),
        ),
        (
            "raw, names",
            NAMES,
            raw("/a b?key=TOKEN;x=TOKEN"),
            Some("/a b"),
            Some("key="),
        ),
        ("raw, none", none, raw("/a b?key=TOKEN"), Some("/a b"), None),
        (
            "raw with a fragment",
            FULL,
            raw("/a#key=TOKEN"),
            Some("/a"),
            None,
        ),
        (
            "raw with a fragment first",
            FULL,
            raw("/a#b?key=TOKEN"),
            Some("/a"),
            Some("key="),
        ),
        (
            "raw with a password",
            FULL,
            raw("http://me:TOKEN@host/a?b=TOKEN"),
            Some("/a"),
            Some("b="),
        ),
        (
            "raw without a path",
            FULL,
            raw("http://me:TOKEN@host?b"),
            None,
            Some(""),
        ),
        (
            "an address in a path",
            FULL,
            raw("/go/http://host/a"),
            Some("/go/http://host/a"),
            None,
        ),
        ("nothing", FULL, Target::None, None, None),
    ];
    for (name, spelling, target, path, query) in cases {
        let line = line(
            *spelling,
            &Record {
                target: target.clone(),
                ..plain()
            },
        );
        assert_eq!(line.get("path").and_then(Value::as_str), *path, "{name}");
        assert_eq!(line.get("query").and_then(Value::as_str), *query, "{name}");
        assert!(!line.to_string().contains("TOKEN"), "{name}");
    }
}

#[test]
fn addresses_are_spelt_as_the_operator_wants() {
    let prefix = Spelling {
        client_ip: RecordedClientIp::Prefix,
        ..FULL
    };
    let none = Spelling {
        client_ip: RecordedClientIp::None,
        ..FULL
    };
    let cases = [
        (FULL, "192.0.2.255", Some("192.0.2.255")),
        (prefix, "192.0.2.255", Some("192.0.2.0/24")),
        (FULL, "2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2:3:4:5:6")),
        (prefix, "2001:db8:1:2:3:4:5:6", Some("2001:db8:1::/48")),
        (none, "192.0.2.255", None),
    ];
    for (spelling, address, expected) in cases {
        let line = line(
            spelling,
            &Record {
                client: Some(address.parse().unwrap()),
                ..plain()
            },
        );
        assert_eq!(
            line.get("client_ip").and_then(Value::as_str),
            expected,
            "{address}"
        );
    }
}

#[test]
fn long_text_is_cut_between_characters_and_says_so() {
    let agent = |text: &str| Record {
        user_agent: Some(HeaderValue::from_bytes(text.as_bytes()).unwrap()),
        ..plain()
    };
    let exact = "x".repeat(TEXT_MAX);
    let uncut = line(FULL, &agent(&exact));
    assert_eq!(
        (uncut["user_agent"].as_str(), uncut.get("truncated")),
        (Some(&*exact), None)
    );
    for (long, kept) in [
        ("x".repeat(TEXT_MAX + 1), TEXT_MAX),
        (format!("{}é", "x".repeat(TEXT_MAX - 1)), TEXT_MAX - 1),
        (format!("{}😀", "x".repeat(TEXT_MAX - 3)), TEXT_MAX - 3),
    ] {
        let cut = line(FULL, &agent(&long));
        assert_eq!(cut["user_agent"], "x".repeat(kept));
        assert_eq!(cut["truncated"], true);
    }
    let target = |length: usize| Target::Raw("/".repeat(length).into_bytes().into());
    let path = |length| {
        line(
            FULL,
            &Record {
                target: target(length),
                ..plain()
            },
        )
    };
    assert_eq!(path(PATH_MAX).get("truncated"), None);
    assert_eq!(
        (
            path(PATH_MAX + 1)["path"].as_str().unwrap().len(),
            &path(PATH_MAX + 1)["truncated"]
        ),
        (PATH_MAX, &true.into())
    );
    let many = format!("/?{}", "name=value&".repeat(1_000));
    let cut = line(
        NAMES,
        &Record {
            target: Target::Raw(many.into_bytes().into()),
            ..plain()
        },
    );
    assert!((TEXT_MAX - 20..TEXT_MAX + 20).contains(&cut["query"].as_str().unwrap().len()));
    assert_eq!(cut["truncated"], true);
}

#[test]
fn seconds_are_cached_and_right_all_the_same() {
    let mut second = Second::default();
    for micros in [
        0,
        1,
        999_999,
        1_000_000,
        999_999,
        -1,
        1_795_000_000_123_456,
        253_402_300_799_999_999,
        5,
    ] {
        let mut out = Vec::new();
        second.write(Timestamp::from_micros(micros), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            Timestamp::from_micros(micros).to_string()
        );
    }
}

/// What a reader finds of `bytes`: UTF-8 as it is, each other byte as the character of its number.
fn as_read(bytes: &[u8]) -> String {
    let chunks = bytes.utf8_chunks();
    chunks
        .flat_map(|chunk| {
            chunk
                .valid()
                .chars()
                .chain(chunk.invalid().iter().map(|b| char::from(*b)))
        })
        .collect()
}

#[test]
fn every_byte_is_judged_alike_alone_and_among_eight() {
    for byte in 0..=u8::MAX {
        for (length, place) in
            (1..=17).flat_map(|length| (0..length).map(move |place| (length, place)))
        {
            let mut text = vec![b'~'; length];
            text[place] = byte;
            assert_eq!(
                is_all_plain(&text),
                is_plain(byte),
                "byte {byte:#x} at {place} of {length}"
            );
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_come_back_from_a_line(
        agent in proptest::collection::vec(any::<u8>(), 0..64),
        path in proptest::collection::vec(any::<u8>(), 0..64),
        name in any::<String>(),
        error in any::<Option<String>>(),
        address in any::<IpAddr>(),
        numbers in any::<[u64; 2]>(),
        status in proptest::option::of(100u16..1000),
    ) {
        let path: Vec<u8> = path.into_iter().filter(|byte| !matches!(byte, b'?' | b'#' | b':')).collect();
        let key = key("k_1", &name, true);
        let record = Record {
            user_agent: HeaderValue::from_bytes(&agent).ok(),
            target: Target::Raw(path.clone().into()),
            key: Some(key),
            error: error.clone().map(Into::into),
            client: Some(address),
            request_bytes: numbers[0],
            response_bytes: numbers[1],
            status,
            ..plain()
        };
        let agent = record.user_agent.as_ref().map(|agent| as_read(agent.as_bytes()));
        let found = line(FULL, &record);
        let text = |field: &str| found.get(field).and_then(Value::as_str).map(str::to_owned);
        prop_assert_eq!(text("user_agent"), agent);
        prop_assert_eq!(text("path"), (!path.is_empty()).then(|| as_read(&path)));
        prop_assert_eq!(text("key_name"), Some(name));
        prop_assert_eq!(text("error"), error);
        prop_assert_eq!(text("client_ip"), Some(address.to_string()));
        prop_assert_eq!(found["request_bytes"].as_u64(), Some(numbers[0]));
        prop_assert_eq!(found["response_bytes"].as_u64(), Some(numbers[1]));
        prop_assert_eq!(found.get("status").and_then(Value::as_u64), status.map(u64::from));
    }

    #[test]
    fn no_value_of_a_raw_query_gets_into_a_line(prefix in "[a-z/&?;=%#]{0,12}", separator in "[?&]") {
        let target = format!("/{prefix}?{separator}key=CANARY");
        let record = Record { target: Target::Raw(target.into_bytes().into()), ..plain() };
        for spelling in [FULL, NAMES] {
            prop_assert!(!line(spelling, &record).to_string().contains("CANARY"));
        }
    }
}
