//! Covers "what the upstream and the client see of each other's fields": hop-by-hop fields end at keygate,
//! everything else passes in order and unchanged, forwarding fields say who the client is, Host is what
//! the configuration says.

use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::upstream::Next;
use crate::harness::upstream::Seen;
use crate::harness::upstream::Upstream;

/// Sends the fields with a good key; what the upstream saw.
#[track_caller]
fn seen_with(auth: &str, fields: &str) -> Seen {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).set("auth", auth).spawn();
    let response = keygate.ask(request("GET /h", fields));
    assert_eq!(response.status, 200, "{response:?}");
    upstream.seen_at("/h")
}

#[test]
fn hop_by_hop_fields_of_requests_end_here() {
    let seen = seen_with(
        "{}",
        "connection: keep-alive, x-secret, X-Other ,,\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\n\
         x-secret: 1\r\nx-other: 2\r\nproxy-authorization: Basic x\r\nproxy-authenticate: x\r\nte: gzip\r\n\
         upgrade: foo\r\nx-stays: 3\r\n",
    );
    for field in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "x-secret",
        "x-other",
        "te",
        "upgrade",
    ] {
        assert!(!seen.head.has(field), "{field} passed: {:?}", seen.head);
    }
    assert_eq!(seen.head.all("x-stays"), ["3"]);
}

#[test]
fn connection_cannot_remove_what_must_stay() {
    let seen = seen_with(
        "{}",
        "connection: host, content-length, x-forwarded-for, x-request-id, x-keygate-key-id, x-api-key\r\n\
         x-request-id: mine-1\r\n",
    );
    assert_eq!(seen.head.one("host"), Some("app"));
    for field in ["x-forwarded-for", "x-request-id", "x-keygate-key-id"] {
        assert!(seen.head.has(field), "{field} is missing: {:?}", seen.head);
    }
    assert!(!seen.head.has("x-api-key"));
}

#[test]
fn connection_cannot_change_the_framing_of_a_body() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(request(
        "POST /a",
        "connection: content-length\r\ncontent-length: 5\r\n",
    ));
    client.send("hello");
    assert_eq!(client.read("POST").json()["body_bytes"], 5);
    client.send(request(
        "POST /b",
        "connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n",
    ));
    client.send("5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(client.read("POST").json()["body_bytes"], 5);
}

#[test]
fn hop_by_hop_fields_of_answers_end_here() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        turn.answer(
            "200 OK",
            "connection: keep-alive, x-secret\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\n\
             x-secret: 1\r\nupgrade: h2c\r\nx-stays: 2\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n",
            b"x",
        )
    });
    let keygate = Setup::of(&upstream).spawn();
    let response = keygate.ask(get("/h"));
    for field in ["keep-alive", "proxy-connection", "x-secret", "upgrade"] {
        assert!(!response.head.has(field), "{field} passed: {response:?}");
    }
    assert!(
        !response.head.lists("connection", "x-secret"),
        "{response:?}"
    );
    assert_eq!(response.head.all("x-stays"), ["2"]);
    assert_eq!(
        response.head.all("set-cookie"),
        ["a=1", "b=2"],
        "each cookie keeps its line"
    );
}

#[test]
fn other_fields_pass_unchanged() {
    let seen = seen_with(
        "{}",
        "accept: a/b;q=0.5,  c/d\r\nx-twice: 1\r\nX-Twice: 2\r\nx-empty:\r\nx-latin: \r\nuser-agent: curl/8 (x; \"y\")\r\n\
         traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n\
         if-none-match: \"e\"\r\nrange: bytes=0-1\r\nx-api-keys: not-a-key\r\n",
    );
    for (field, values) in [
        ("accept", vec!["a/b;q=0.5,  c/d"]),
        ("x-twice", vec!["1", "2"]),
        ("x-empty", vec![""]),
        ("user-agent", vec!["curl/8 (x; \"y\")"]),
        (
            "traceparent",
            vec!["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
        ),
        ("tracestate", vec!["a=b"]),
        ("if-none-match", vec!["\"e\""]),
        ("range", vec!["bytes=0-1"]),
        ("x-api-keys", vec!["not-a-key"]),
    ] {
        assert_eq!(seen.head.all(field), values, "{field}");
    }
}

#[test]
fn values_beyond_ascii_pass_unchanged() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut bytes =
        format!("GET /h HTTP/1.1\r\nhost: app\r\nx-api-key: {GOOD}\r\nx-name: ").into_bytes();
    bytes.extend_from_slice(b"B\xfccher \xc3\xa4\r\n\r\n");
    assert_eq!(keygate.ask(bytes).status, 200);
    assert_eq!(
        upstream.seen_at("/h").head.one("x-name"),
        Some("B\u{fc}cher \u{c3}\u{a4}")
    );
}

#[test]
fn forwarding_fields_say_who_the_client_is() {
    let seen = seen_with(
        "{}",
        "x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil\r\nX_Forwarded_For: 1.2.3.4\r\n",
    );
    assert_eq!(
        seen.head.all("x-forwarded-for"),
        ["127.0.0.1"],
        "what the client says is replaced"
    );
    assert_eq!(seen.head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.head.all("x-forwarded-host"), ["app"]);
}

#[test]
fn a_trusted_proxy_is_believed_and_appended_to() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("forwarded", "{trusted_proxies: [127.0.0.0/8]}")
        .spawn();
    let fields = "x-forwarded-for: 198.51.100.4, 192.0.2.7\r\nx-forwarded-proto: https\r\nx-forwarded-host: shop.example\r\n";
    assert_eq!(keygate.ask(request("GET /h", fields)).status, 200);
    let seen = upstream.seen_at("/h");
    let chain: Vec<String> = seen
        .head
        .all("x-forwarded-for")
        .join(",")
        .split(',')
        .map(|hop| hop.trim().to_owned())
        .collect();
    assert_eq!(chain, ["198.51.100.4", "192.0.2.7", "127.0.0.1"]);
    assert_eq!(seen.head.all("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.head.all("x-forwarded-host"), ["shop.example"]);
    assert_eq!(keygate.transaction_of("/h")["client_ip"], "192.0.2.7");
}

#[test]
fn a_request_id_is_kept_if_well_formed_and_made_if_not() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    for (name, fields, kept) in [
        (
            "usual",
            "x-request-id: 0af76519-16cd-43dd\r\n",
            Some("0af76519-16cd-43dd"),
        ),
        ("none", "", None),
        ("empty", "x-request-id:\r\n", None),
        ("with a space", "x-request-id: a b\r\n", None),
        ("with markup", "x-request-id: <b>\"x\"</b>\r\n", None),
        ("twice", "x-request-id: one\r\nx-request-id: two\r\n", None),
    ] {
        let before = upstream.count();
        assert_eq!(
            keygate.ask(request("GET /id", fields)).status,
            200,
            "{name}"
        );
        let seen = &upstream.seen()[before];
        let id = seen.head.one("x-request-id").unwrap().to_owned();
        match kept {
            Some(kept) => assert_eq!(id, kept, "{name}"),
            None => assert!(
                id.len() >= 16 && id.is_ascii() && !id.contains(' '),
                "{name}: {id:?}"
            ),
        }
        keygate.transaction(name, |record| record["request_id"] == id.as_str());
    }
    let long = "x".repeat(5_000);
    assert_eq!(
        keygate
            .ask(request("GET /long", &format!("x-request-id: {long}\r\n")))
            .status,
        200
    );
    assert_ne!(
        upstream.seen_at("/long").head.one("x-request-id"),
        Some(long.as_str())
    );
}

#[test]
fn the_trace_id_is_recorded() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let fields = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    assert_eq!(keygate.ask(request("GET /t", fields)).status, 200);
    assert_eq!(
        keygate.transaction_of("/t")["trace_id"],
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(
        keygate
            .ask(request("GET /u", "traceparent: 00-zz-xx-01\r\n"))
            .status,
        200
    );
    assert!(
        keygate.transaction_of("/u")["trace_id"].is_null(),
        "what is no trace is not recorded as one"
    );
}

#[test]
fn host_is_what_the_configuration_says() {
    for (setting, expected) in [
        ("keep", "shop.example:8080"),
        ("upstream", "$AUTHORITY"),
        ("inner.example", "inner.example"),
    ] {
        let upstream = Upstream::echo();
        let keygate = Setup::of(&upstream).set("upstream_host", setting).spawn();
        let response = keygate.ask(format!(
            "GET /h HTTP/1.1\r\nhost: shop.example:8080\r\nx-api-key: {GOOD}\r\n\r\n"
        ));
        assert_eq!(response.status, 200, "{setting}");
        let seen = upstream.seen_at("/h");
        assert_eq!(
            seen.head.one("host"),
            Some(
                expected
                    .replace("$AUTHORITY", &upstream.authority())
                    .as_str()
            ),
            "{setting}"
        );
        assert_eq!(
            seen.head.one("x-forwarded-host"),
            Some("shop.example:8080"),
            "{setting}"
        );
    }
}

#[test]
fn an_answer_to_a_stranger_has_no_fields_of_the_upstream() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        turn.answer("200 OK", "server: secret/1.0\r\n", b"x")
            .map(|_| Next::Keep)
    });
    let keygate = Setup::of(&upstream).spawn();
    let response = keygate.ask("GET /h HTTP/1.1\r\nhost: app\r\n\r\n");
    assert!(!response.head.has("server"), "{response:?}");
    assert_eq!(
        keygate.ask(get("/h")).head.one("server"),
        Some("secret/1.0")
    );
}
