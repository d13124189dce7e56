//! Fields of requests: what HTTP/2 forbids, what HTTP/1 behind keygate could read in another way, and what must not be
//! smuggled from one into the other. Whatever is refused, the upstream hears nothing of it.

use serde_json::Value;

use crate::harness::frames::Http2;
use crate::harness::frames::bare;
use crate::harness::frames::code::COMPRESSION_ERROR;
use crate::harness::frames::code::PROTOCOL_ERROR;
use crate::harness::frames::data;
use crate::harness::frames::flag;
use crate::harness::frames::good;
use crate::harness::frames::headers;
use crate::harness::frames::hpack;
use crate::harness::frames::others_are_served;
use crate::harness::keygate::Keygate;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::upstream::Seen;
use crate::harness::upstream::Upstream;
use crate::http2::Sees;
use crate::http2::Sees::GoAway;
use crate::http2::Sees::Reset;
use crate::http2::Sees::Status;
use crate::http2::echo;
use crate::http2::is_counted;
use crate::http2::judge;
use crate::http2::protocol_errors;

type Fields<'a> = Vec<(&'a str, &'a str)>;

/// A good request with this instead of the field of the same name; `None`: without it.
fn with<'a>(name: &'a str, value: Option<&'a str>) -> Fields<'a> {
    let mut fields = good("GET", "/bad");
    match value {
        Some(value) => {
            for field in fields.iter_mut().filter(|field| field.0 == name) {
                field.1 = value;
            }
        }
        None => fields.retain(|field| field.0 != name),
    }
    fields
}

/// A good request and one field more.
fn and<'a>(name: &'a str, value: &'a str) -> Fields<'a> {
    let mut fields = good("GET", "/bad");
    fields.push((name, value));
    fields
}

/// A good request and one field before all others.
fn first<'a>(name: &'a str, value: &'a str) -> Fields<'a> {
    let mut fields = good("GET", "/bad");
    fields.insert(0, (name, value));
    fields
}

/// A good request with these fields in the place of its authority.
fn authority<'a>(fields: &[(&'a str, &'a str)]) -> Fields<'a> {
    let mut all = with(":authority", None);
    let (pseudo, usual): (Fields<'a>, Fields<'a>) =
        fields.iter().partition(|field| field.0.starts_with(':'));
    all.splice(0..0, pseudo);
    all.extend(usual);
    all
}

/// CONNECT as RFC 8441 has it, for this protocol.
fn extended(protocol: &str) -> Fields<'_> {
    let mut fields = good("CONNECT", "/bad");
    fields.insert(1, (":protocol", protocol));
    fields
}

const RESET: Sees = Reset(PROTOCOL_ERROR);
const GOAWAY: Sees = GoAway(PROTOCOL_ERROR);
const BAD: Sees = Status(400);

#[rustfmt::skip] // a row a line
fn pseudo_fields() -> Vec<(&'static str, Fields<'static>, Sees)> {
    vec![
        ("no :method", with(":method", None), RESET),
        ("no :scheme", with(":scheme", None), RESET),
        ("no :path", with(":path", None), RESET),
        ("no pseudo field at all", vec![("x-api-key", GOOD)], RESET),
        (":method twice", first(":method", "GET"), RESET),
        (":scheme twice", first(":scheme", "http"), RESET),
        (":path twice", first(":path", "/bad"), RESET),
        (":authority twice", first(":authority", "app"), RESET),
        (":path behind a field", { let mut fields = with(":path", None); fields.push((":path", "/bad")); fields }, RESET),
        ("a pseudo field again, behind a field", and(":path", "/bad"), RESET),
        ("a pseudo field that nobody knows", first(":version", "HTTP/1.1"), GOAWAY),
        ("a pseudo field without a name", first(":", "x"), GOAWAY),
        (":status", first(":status", "200"), RESET),
        (":protocol without CONNECT", first(":protocol", "websocket"), RESET),
        ("an empty :method", with(":method", Some("")), GOAWAY),
        ("a space in :method", with(":method", Some("GET /evil HTTP/1.1")), GOAWAY),
        ("a line end in :method", with(":method", Some("GET\r\nx: y")), GOAWAY),
        ("NUL in :method", with(":method", Some("GET\0")), GOAWAY),
        ("a comma in :method", with(":method", Some("GET,POST")), GOAWAY),
        ("CONNECT without :path and :scheme", vec![(":method", "CONNECT"), (":authority", "app:80"), ("x-api-key", GOOD)], Status(405)),
        ("CONNECT without an authority", vec![(":method", "CONNECT"), ("x-api-key", GOOD)], Status(405)),
        ("CONNECT with a path", good("CONNECT", "/bad"), RESET),
        ("TRACE", good("TRACE", "/bad"), Status(405)),
        ("a space in :scheme", with(":scheme", Some("ht tp")), RESET),
        ("a line end in :scheme", with(":scheme", Some("http\r\nx: y")), RESET),
        ("an authority in :scheme", with(":scheme", Some("http://evil")), RESET),
        ("an empty :path", with(":path", Some("")), RESET),
        ("* with GET", with(":path", Some("*")), BAD),
        ("an absolute :path", with(":path", Some("http://evil/bad")), RESET),
        ("a :path without a slash", with(":path", Some("bad")), RESET),
        ("a :path of a query alone", with(":path", Some("?bad")), BAD),
        ("a space in :path", with(":path", Some("/bad HTTP/1.1")), RESET),
        ("a tab in :path", with(":path", Some("/bad\tx")), RESET),
        ("a line end in :path", with(":path", Some("/bad HTTP/1.1\r\nhost: evil\r\n\r\nGET /evil")), RESET),
        ("a CR in :path", with(":path", Some("/bad\rx")), RESET),
        ("a LF in :path", with(":path", Some("/bad\nx")), RESET),
        ("a LF in the query", with(":path", Some("/bad?x=\ny")), RESET),
        ("NUL in :path", with(":path", Some("/bad\0")), RESET),
        ("DEL in :path", with(":path", Some("/bad\x7f")), RESET),
        ("bytes beyond ASCII in :path", with(":path", Some("/b\u{e4}d")), BAD),
        ("bytes beyond ASCII in the query", with(":path", Some("/bad?\u{e4}")), BAD),
        ("< in :path", with(":path", Some("/bad<")), RESET),
        ("a backtick in :path", with(":path", Some("/bad`")), RESET),
        ("a quotation mark in the query", with(":path", Some("/bad?\"")), RESET),
        ("a tunnel for an unknown protocol", extended("connect-udp"), Status(405)),
        ("a tunnel for a protocol that begins like websocket", extended("websocket2"), Status(405)),
        ("a tunnel for a protocol in capitals", extended("WEBSOCKET"), Status(405)),
        ("a tunnel for nothing", extended(""), Status(405)),
    ]
}

#[rustfmt::skip] // a row a line
fn authorities() -> Vec<(&'static str, Fields<'static>, Sees)> {
    let one = |value| authority(&[(":authority", value)]);
    vec![
        ("neither :authority nor host", authority(&[]), BAD),
        ("an empty :authority", one(""), RESET),
        ("an empty host", authority(&[("host", "")]), BAD),
        (":authority and another host", authority(&[(":authority", "app"), ("host", "evil")]), BAD),
        (":authority and host with a port", authority(&[(":authority", "app"), ("host", "app:8080")]), BAD),
        (":authority and an empty host", authority(&[(":authority", "app"), ("host", "")]), BAD),
        (":authority and host twice", authority(&[(":authority", "app"), ("host", "app"), ("host", "app")]), BAD),
        ("host twice", authority(&[("host", "app"), ("host", "app")]), BAD),
        ("two hosts", authority(&[("host", "app"), ("host", "evil")]), BAD),
        ("somebody at a host", one("me@app"), BAD),
        ("somebody with a password", one("me:secret@app"), BAD),
        ("nobody at a host", one("@app"), BAD),
        ("two hosts in one", one("app,evil"), BAD),
        ("a path in :authority", one("app/evil"), RESET),
        ("a query in :authority", one("app?evil"), RESET),
        ("a fragment in :authority", one("app#evil"), RESET),
        ("a space in :authority", one("app evil"), RESET),
        ("a line end in :authority", one("app\r\nx: y"), RESET),
        ("NUL in :authority", one("app\0"), RESET),
        ("a port in letters", one("app:http"), BAD),
        ("two ports", one("app:80:80"), RESET),
        ("an open bracket", one("[::1"), RESET),
        ("bytes beyond ASCII in :authority", one("\u{e4}pp"), RESET),
        ("a space in host", authority(&[("host", "app evil")]), BAD),
        ("a path in host", authority(&[("host", "app/evil")]), BAD),
        ("somebody at host", authority(&[("host", "me@app")]), BAD),
        ("a list in host", authority(&[("host", "app, evil")]), BAD),
    ]
}

#[rustfmt::skip] // a row a line
fn other_fields() -> Vec<(&'static str, Fields<'static>, Sees)> {
    vec![
        ("a name with capitals", and("X-A", "1"), GOAWAY),
        ("a name of capitals", and("HOST", "app"), GOAWAY),
        ("a name without letters", and("", "1"), GOAWAY),
        ("a space in a name", and("x a", "1"), GOAWAY),
        ("a colon in a name", and("x:a", "1"), GOAWAY),
        ("a line end in a name", and("x-a: 1\r\nx-b", "1"), GOAWAY),
        ("NUL in a name", and("x\0", "1"), GOAWAY),
        ("bytes beyond ASCII in a name", and("x-\u{e4}", "1"), GOAWAY),
        ("a line end in a value", and("x-a", "1\r\nx-b: 2"), GOAWAY),
        ("a request in a value", and("x-a", "1\r\n\r\nGET /evil HTTP/1.1\r\nhost: app\r\n\r\n"), GOAWAY),
        ("a CR in a value", and("x-a", "1\r2"), GOAWAY),
        ("a LF in a value", and("x-a", "1\n2"), GOAWAY),
        ("a LF at the end of a value", and("x-a", "1\n"), GOAWAY),
        ("NUL in a value", and("x-a", "1\x002"), GOAWAY),
        ("DEL in a value", and("x-a", "1\x7f"), GOAWAY),
        ("connection", and("connection", "close"), RESET),
        ("connection that names a field", and("connection", "x-api-key"), RESET),
        ("keep-alive", and("keep-alive", "timeout=5"), RESET),
        ("proxy-connection", and("proxy-connection", "keep-alive"), RESET),
        ("upgrade", and("upgrade", "websocket"), RESET),
        ("upgrade to h2c", and("upgrade", "h2c"), RESET),
        ("transfer-encoding: chunked", and("transfer-encoding", "chunked"), RESET),
        ("transfer-encoding: identity", and("transfer-encoding", "identity"), RESET),
        ("an empty transfer-encoding", and("transfer-encoding", ""), RESET),
        ("te: gzip", and("te", "gzip"), RESET),
        ("te: trailers and more", and("te", "trailers, deflate"), RESET),
        ("te: trailers in capitals", and("te", "TRAILERS"), RESET),
        ("a length without a body", and("content-length", "5"), RESET),
        ("a list of lengths", and("content-length", "0, 0"), RESET),
        ("a negative length", and("content-length", "-1"), RESET),
        ("a length with a plus", and("content-length", "+0"), RESET),
        ("a length in hexadecimal", and("content-length", "0x0"), RESET),
        ("a length with a space", and("content-length", "0 0"), RESET),
        ("an empty length", and("content-length", ""), BAD),
        ("a length beyond 64 bits", and("content-length", "18446744073709551616"), RESET),
        ("two lengths", { let mut fields = and("content-length", "0"); fields.push(("content-length", "5")); fields }, RESET),
        ("the same length twice", { let mut fields = and("content-length", "0"); fields.push(("content-length", "0")); fields }, BAD),
        ("the key twice", and("x-api-key", GOOD), Status(401)),
        ("an unknown key", { let mut fields = bare("GET", "/bad"); fields.push(("x-api-key", "kg_unknown")); fields }, Status(401)),
        ("a key with NUL", { let mut fields = bare("GET", "/bad"); fields.push(("x-api-key", "kg_\0")); fields }, GOAWAY),
        ("no key", bare("GET", "/bad"), Status(401)),
    ]
}

/// Every row on a connection of its own; the upstream must not hear of any.
#[track_caller]
fn refuse(rows: &[(&str, Fields<'_>, Sees)]) {
    let (upstream, keygate) = echo();
    let mut failures = Vec::new();
    for (name, fields, sees) in rows {
        let before = protocol_errors(&keygate);
        let mut client = Http2::connect(keygate.address());
        client.request(fields);
        if let Err(what) = judge(&mut client, *sees) {
            failures.push(format!("{name}: {sees:?}, but {what}"));
        }
        let breaks = !matches!(sees, Status(401));
        if breaks != is_counted(&keygate, before, breaks) {
            failures.push(format!("{name}: counted: {}", !breaks));
        }
    }
    others_are_served(&keygate);
    let heard: Vec<Seen> = upstream
        .seen()
        .into_iter()
        .filter(|seen| !matches!(seen.head.second(), "/alive" | "/others"))
        .collect();
    let answered = rows.iter().filter(|row| matches!(row.2, Status(_))).count();
    let records = refused_records(keygate);
    if records.len() != answered {
        failures.push(format!(
            "{} records of {answered}: {records:?}",
            records.len()
        ));
    }
    assert!(
        failures.is_empty() && heard.is_empty(),
        "{} of {} rows:\n{}\n{heard:?}",
        failures.len(),
        rows.len(),
        failures.join("\n")
    );
}

/// Ends keygate; the records of what it has refused, each of which must be of HTTP/2.
fn refused_records(keygate: Keygate) -> Vec<Value> {
    let mut records = keygate.finish().transactions;
    records.retain(|record| record["decision"] == "refused");
    for record in &records {
        assert_eq!(record["protocol"], "HTTP/2", "{record}");
        assert_eq!(record["end"], "complete", "{record}");
    }
    records
}

#[test]
fn rows_are_many_and_distinct() {
    let rows = [pseudo_fields(), authorities(), other_fields()].concat();
    assert!(rows.len() >= 100, "{}", rows.len());
    let mut names: Vec<&str> = rows.iter().map(|row| row.0).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rows.len(), "two rows have the same name");
}

#[test]
fn pseudo_fields_that_are_wrong_are_refused() {
    refuse(&pseudo_fields());
}

#[test]
fn an_authority_that_is_not_one_host_is_refused() {
    refuse(&authorities());
}

#[test]
fn fields_that_are_wrong_are_refused() {
    refuse(&other_fields());
}

#[test]
#[rustfmt::skip] // a row a line
fn what_is_good_reaches_the_upstream_as_http1() {
    let (upstream, keygate) = echo();
    let rows: Vec<(&str, Fields<'_>, &str, &str, &str)> = vec![
        ("usual", good("GET", "/a/b?c=d"), "GET /a/b?c=d HTTP/1.1", "host", "app"),
        ("a method of one's own", good("MKCALENDAR", "/a"), "MKCALENDAR /a HTTP/1.1", "host", "app"),
        ("methods have case", good("get", "/a"), "get /a HTTP/1.1", "host", "app"),
        ("OPTIONS *", good("OPTIONS", "*"), "OPTIONS * HTTP/1.1", "host", "app"),
        ("two slashes are no authority", good("GET", "//evil/a"), "GET //evil/a HTTP/1.1", "host", "app"),
        ("dots", good("GET", "/a/../b/./c"), "GET /a/../b/./c HTTP/1.1", "host", "app"),
        ("what is encoded stays so", good("GET", "/%0d%0a%20%00?%0a"), "GET /%0d%0a%20%00?%0a HTTP/1.1", "host", "app"),
        ("an empty query", good("GET", "/a?"), "GET /a? HTTP/1.1", "host", "app"),
        ("host alone", authority(&[("host", "other")]), "GET /bad HTTP/1.1", "host", "other"),
        (":authority and the same host", authority(&[(":authority", "app"), ("host", "APP")]), "GET /bad HTTP/1.1", "host", "app"),
        ("a port", authority(&[(":authority", "app:8080")]), "GET /bad HTTP/1.1", "host", "app:8080"),
        ("an address of IPv6", authority(&[(":authority", "[::1]:80")]), "GET /bad HTTP/1.1", "host", "[::1]:80"),
        ("bytes beyond ASCII in a value", and("x-a", "\u{e4}"), "GET /bad HTTP/1.1", "x-a", "\u{c3}\u{a4}"),
        ("an empty value", and("x-a", ""), "GET /bad HTTP/1.1", "x-a", ""),
        ("white space around a value", and("x-a", " 1 "), "GET /bad HTTP/1.1", "x-a", "1"),
        ("te: trailers", and("te", "trailers"), "GET /bad HTTP/1.1", "te", "trailers"),
        ("a length of nothing", and("content-length", "0"), "GET /bad HTTP/1.1", "host", "app"),
        ("https is what the client says", with(":scheme", Some("https")), "GET /bad HTTP/1.1", "x-forwarded-proto", "http"),
        ("another scheme", with(":scheme", Some("ftp")), "GET /bad HTTP/1.1", "x-forwarded-proto", "http"),
        ("an empty scheme", with(":scheme", Some("")), "GET /bad HTTP/1.1", "x-forwarded-proto", "http"),
        ("a cookie in crumbs", [good("GET", "/a"), vec![("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3; d=4")]].concat(), "GET /a HTTP/1.1", "cookie", "a=1; b=2; c=3; d=4"),
        ("two values of one name", [good("GET", "/a"), vec![("x-a", "1"), ("cookie", "b=2")]].concat(), "GET /a HTTP/1.1", "cookie", "b=2"),
    ];
    let mut client = Http2::connect(keygate.address());
    for (name, fields, start, field, value) in rows {
        let before = upstream.count();
        let answer = client.expect_status(&fields, 200);
        let seen = &upstream.seen()[before];
        assert_eq!(seen.head.start, start, "{name}: {answer:?}");
        assert_eq!(seen.head.one(field), Some(value), "{name}: {seen:?}");
        assert!(!seen.head.has("x-api-key") && !seen.head.has("transfer-encoding"), "{name}: {seen:?}");
        assert!(seen.head.fields.iter().all(|(name, _)| !name.starts_with(':')), "{name}: {seen:?}");
        assert_eq!(seen.head.one("connection"), (field == "te").then_some("te"), "{name}: {seen:?}");
    }
    assert_eq!(protocol_errors(&keygate), 0.0);
}

#[test]
fn a_fragment_in_the_path_reaches_nobody() {
    let (upstream, keygate) = echo();
    let mut client = Http2::connect(keygate.address());
    let stream = client.request(&good("GET", "/a#b"));
    client.outcome(stream);
    // The library cuts it off before anybody could see it: what is judged, recorded and sent is the same path.
    assert!(
        upstream
            .seen()
            .iter()
            .all(|seen| seen.head.second() == "/a")
    );
    keygate.transaction_of("/a");
}

#[test]
fn an_expectation_is_removed_and_the_body_read() {
    let (upstream, keygate) = echo();
    let mut client = Http2::connect(keygate.address());
    let mut fields = good("POST", "/expect");
    fields.push(("expect", "100-continue"));
    let stream = client.open(&fields);
    client.last_data(stream, b"hello");
    assert_eq!(client.expect_response(stream).status(), 200);
    let seen = upstream.seen_at("/expect");
    assert!(!seen.head.has("expect"), "{seen:?}");
    assert_eq!(seen.body, b"hello");
}

#[test]
fn a_body_that_is_not_as_long_as_its_length_breaks_the_request() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    for (name, length, pieces, status) in [
        ("as long", "10", vec!["hello", "world"], 200),
        ("too short", "11", vec!["hello", "world"], 0),
        ("too long", "9", vec!["hello", "world"], 0),
        ("too long by far", "1", vec!["hello", "world"], 0),
        ("none of it", "10", vec![""], 0),
        ("a body, and a length of nothing", "0", vec!["hello"], 0),
    ] {
        for trailers in [false, true] {
            let mut client = Http2::connect(keygate.address());
            let before = upstream.count();
            let mut fields = good("POST", "/length");
            fields.push(("content-length", length));
            let stream = client.open(&fields);
            for (index, piece) in pieces.iter().enumerate() {
                let end = index + 1 == pieces.len() && !trailers;
                let flags = if end { flag::END_STREAM } else { flag::NONE };
                client.send(data(stream, flags, piece.as_bytes()));
            }
            if trailers {
                let block = hpack::block(&[("x-sum", "1")]);
                client.send(headers(stream, flag::END_STREAM, &block));
            }
            let answer = client.outcome(stream);
            assert_eq!(answer.status(), status, "{name}: {answer:?}");
            if status == 0 {
                assert_eq!(answer.reset, Some(PROTOCOL_ERROR), "{name}: {answer:?}");
                client.expect_alive();
                let whole = upstream
                    .seen()
                    .split_off(before)
                    .into_iter()
                    .find(|seen| seen.head.second() == "/length" && seen.complete);
                assert!(whole.is_none(), "{name}: {whole:?}");
            }
        }
    }
    others_are_served(&keygate);
}

#[test]
fn a_head_that_is_too_large_is_431_or_the_end() {
    let (upstream, keygate) = echo();
    let long = "y".repeat(15_000);
    let longer = "y".repeat(20_000);
    let crumb = "y".repeat(8_200);
    for (name, fields, sees) in [
        (
            "as many fields as may be",
            vec![("x", "y"); 99],
            Status(200),
        ),
        ("too many fields", vec![("x", "y"); 100], Status(431)),
        ("as much as may be", vec![("x", &*long)], Status(200)),
        ("too much", vec![("x", &*longer)], Status(431)),
        (
            "too much of many",
            vec![("x-a", &*crumb), ("x-b", &*crumb), ("cookie", "a")],
            Status(431),
        ),
        ("too much by names alone", vec![("x", ""); 500], Status(431)),
        (
            "far too much",
            vec![("x", &*longer); 4],
            GoAway(COMPRESSION_ERROR),
        ),
    ] {
        let before = upstream.count();
        let mut client = Http2::connect(keygate.address());
        let block = hpack::block(&[good("GET", "/large"), fields].concat());
        let mut pieces = block.chunks(16_000).peekable();
        let mut kind = crate::harness::frames::kind::HEADERS;
        let mut flags = flag::END_STREAM;
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                flags |= flag::END_HEADERS;
            }
            client.send(crate::harness::frames::frame(kind, flags, 1, piece));
            (kind, flags) = (crate::harness::frames::kind::CONTINUATION, flag::NONE);
        }
        let judged = judge(&mut client, sees);
        assert!(judged.is_ok(), "{name}: {judged:?}");
        let large = upstream.seen().split_off(before);
        let reached = large.iter().any(|seen| seen.head.second() == "/large");
        assert_eq!(reached, sees == Status(200), "{name}");
    }
    others_are_served(&keygate);
}
