//! What crosses and what does not, whatever the other side sends.

use std::net::SocketAddr;

use http::Request;
use proptest::prelude::*;

use super::*;
use crate::config::Auth;
use crate::config::Identity;
use crate::config::Mode;
use crate::config::OnConflict;
use crate::config::OnRevoke;
use crate::config::Preflight;
use crate::config::Source;
use crate::config::Speech;
use crate::key::KeyFields;
use crate::key::KeyId;
use crate::key::token::Digest;
use crate::proxy::forwarded::Scheme;

fn policy(hide: bool) -> Policy {
    let sources = vec![
        Source::Header(HeaderName::from_static("x-api-key")),
        Source::Query("api_key".into()),
        Source::Cookie("key".into()),
        Source::Bearer,
    ];
    let identity = Identity {
        id: HeaderName::from_static("x-keygate-key-id"),
        name: HeaderName::from_static("x-keygate-key-name"),
    };
    Policy::new(&Auth {
        sources,
        on_conflict: OnConflict::First,
        mode: Mode::Enforce,
        public: Vec::new(),
        preflight: Preflight::Authenticate,
        hide,
        identity,
        realm: "keygate".into(),
        on_revoke: OnRevoke::Cut,
    })
    .unwrap()
}

fn key(name: &str) -> Key {
    Key::new(KeyFields {
        id: KeyId::parse("k_1").unwrap(),
        ..KeyFields::new(name, Digest::of(b"token"))
    })
}

fn host(target: Target, host: UpstreamHost) -> HostRule {
    HostRule::new(&Upstream {
        speech: Speech::Http,
        target,
        host,
    })
    .unwrap()
}

fn keep() -> HostRule {
    host(Target::Unix("/run/app.sock".into()), UpstreamHost::Keep)
}

type Fields<'a> = &'a [(&'a str, &'a str)];

fn request(target: &str, fields: Fields<'_>) -> Parts {
    let mut parts = Request::get(target).body(()).unwrap().into_parts().0;
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        parts
            .headers
            .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    parts
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    let mut lines: Vec<String> = headers.iter().map(line).collect();
    lines.sort();
    lines
}

/// Sends a request on without a key, from an untrusted peer, and drops what is always added.
fn sent(mut parts: Parts) -> Vec<String> {
    let (policy, rule) = (policy(true), keep());
    to_upstream(&mut parts, &context(&policy, &rule, false));
    let mut lines = lines(&parts.headers);
    lines.retain(|line| !line.starts_with("x-forwarded-") && !line.starts_with("host:"));
    lines
}

fn context<'a>(policy: &'a Policy, host: &'a HostRule, trusted: bool) -> Upstreamward<'a> {
    static PEER: HeaderValue = HeaderValue::from_static("192.0.2.1");
    let client = Client {
        ip: Some([192, 0, 2, 1].into()),
        scheme: Scheme::Http,
        trusted,
    };
    Upstreamward {
        policy,
        identity: None,
        client,
        peer: Some(&PEER),
        made_request_id: None,
        host,
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn fields_of_the_connection_stay_behind() {
    let rows: [(&str, Fields<'_>, &[&str]); 22] = [
        ("nothing to do", &[("accept", "*/*")], &["accept: */*"]),
        ("keep-alive", &[("connection", "keep-alive"), ("keep-alive", "timeout=5")], &[]),
        ("close", &[("connection", "Close")], &[]),
        ("named", &[("connection", "x-a, X-B"), ("x-a", "1"), ("x-b", "2"), ("x-c", "3")], &["x-c: 3"]),
        ("named in two fields", &[("connection", "close"), ("connection", ",x-a,"), ("x-a", "1")], &[]),
        ("named and broken", &[("connection", "x a, \"x-a\", x-b"), ("x-a", "1"), ("x-b", "2")], &["x-a: 1"]),
        ("proxy fields", &[("proxy-connection", "x"), ("proxy-authorization", "x"), ("proxy-authenticate", "x")], &[]),
        ("framing", &[("content-length", "0"), ("expect", "100-continue")], &[]),
        ("chunked", &[("transfer-encoding", "chunked")], &[]),
        ("h2c", &[("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "x")], &[]),
        ("websocket", &[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"), ("sec-websocket-key", "x")],
            &["connection: upgrade", "sec-websocket-key: x", "upgrade: websocket"]),
        ("websocket or h2c", &[("connection", "upgrade"), ("upgrade", "h2c, websocket")], &["connection: upgrade", "upgrade: websocket"]),
        ("upgrade that is not named", &[("upgrade", "websocket")], &[]),
        ("websocket with a body", &[("connection", "upgrade"), ("upgrade", "websocket"), ("content-length", "5")], &[]),
        ("te", &[("te", "Trailers")], &["connection: te", "te: trailers"]),
        ("te with more", &[("te", "gzip, trailers;q=0.5")], &["connection: te", "te: trailers"]),
        ("te without trailers", &[("te", "gzip")], &[]),
        ("trailer", &[("transfer-encoding", "chunked"), ("trailer", "X-Sum, x-api-key, te,x_keygate_key-id, x-b")], &["trailer: x-sum, x-b"]),
        ("trailer without chunks", &[("trailer", "x-sum")], &[]),
        ("look-alikes", &[("transfer_encoding", "chunked"), ("content_length", "5"), ("x_forwarded_for", "::1"), ("x_a", "1")], &["x_a: 1"]),
        ("credentials", &[("x-api-key", "t"), ("authorization", "Bearer t"), ("cookie", "key=t; a=1")], &["cookie: a=1"]),
        ("forwarded", &[("forwarded", "for=127.0.0.1")], &[]),
    ];
    for (name, fields, expected) in rows {
        assert_eq!(sent(request("/", fields)), expected, "{name}");
    }
}

#[test]
fn connection_cannot_name_what_is_ours() {
    let (policy, rule, key) = (policy(false), keep(), key("name"));
    let listed = "host, x-api-key, x-keygate-key-id, x-keygate-key-name, x-forwarded-for, x-request-id, cookie, \
                  authorization, content-length, x-forwarded-proto, x-forwarded-host";
    let fields = [
        ("connection", listed),
        ("host", "h"),
        ("x-api-key", "t"),
        ("x-request-id", "r"),
        ("cookie", "a=1"),
        ("authorization", "Basic x"),
        ("x-keygate-key-id", "forged"),
    ];
    let mut parts = request("/", &fields);
    to_upstream(
        &mut parts,
        &Upstreamward {
            identity: Some(&key),
            ..context(&policy, &rule, false)
        },
    );
    let expected = [
        "authorization: Basic x",
        "cookie: a=1",
        "host: h",
        "x-api-key: t",
        "x-forwarded-for: 192.0.2.1",
        "x-forwarded-host: h",
        "x-forwarded-proto: http",
        "x-keygate-key-id: k_1",
        "x-keygate-key-name: name",
        "x-request-id: r",
    ];
    assert_eq!(lines(&parts.headers), expected);
}

#[test]
fn only_trusted_peers_speak_for_others() {
    let policy = policy(true);
    let rule = keep();
    let fields = [
        ("host", "inner"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outer"),
        ("forwarded", "for=x"),
    ];
    let mut parts = request("/", &fields);
    to_upstream(&mut parts, &context(&policy, &rule, true));
    let expected = [
        "forwarded: for=x",
        "host: inner",
        "x-forwarded-for: 203.0.113.9, 10.0.0.2, 192.0.2.1",
        "x-forwarded-host: outer",
        "x-forwarded-proto: https",
    ];
    assert_eq!(lines(&parts.headers), expected);

    let mut parts = request("/", &fields);
    to_upstream(&mut parts, &context(&policy, &rule, false));
    let expected = [
        "host: inner",
        "x-forwarded-for: 192.0.2.1",
        "x-forwarded-host: inner",
        "x-forwarded-proto: http",
    ];
    assert_eq!(lines(&parts.headers), expected);

    let mut parts = request("/", &fields);
    to_upstream(
        &mut parts,
        &Upstreamward {
            peer: None,
            ..context(&policy, &rule, false)
        },
    );
    assert!(
        !parts.headers.contains_key("x-forwarded-for"),
        "a Unix socket has no address to tell"
    );
}

#[test]
fn names_of_keys_arrive_percent_encoded() {
    let rows = [
        ("billing-2_a.b~", "billing-2_a.b~"),
        ("a b/c,d%\"", "a%20b%2Fc%2Cd%25%22"),
        ("Schlüssel", "Schl%C3%BCssel"),
        ("x\r\ny: z", "x%0D%0Ay%3A%20z"),
    ];
    let (policy, rule) = (policy(true), keep());
    for (name, expected) in rows {
        let key = key(name);
        let mut parts = request(
            "/",
            &[
                ("X_Keygate_Key_Name", "forged"),
                ("x-keygate-key-name", "forged"),
            ],
        );
        to_upstream(
            &mut parts,
            &Upstreamward {
                identity: Some(&key),
                ..context(&policy, &rule, false)
            },
        );
        let values: Vec<_> = parts.headers.get_all("x-keygate-key-name").iter().collect();
        assert_eq!(values, [expected], "{name}");
        assert!(!parts.headers.contains_key("x_keygate_key_name"));
    }
}

#[test]
fn request_ids_are_kept_only_if_well_formed() {
    let (long, longest) = ("x".repeat(129), "x".repeat(128));
    let rows: [(&str, Fields<'_>, Option<&str>); 8] = [
        ("none", &[], None),
        (
            "good",
            &[("x-request-id", "aZ0._:/+=@-")],
            Some("aZ0._:/+=@-"),
        ),
        ("longest", &[("x-request-id", &longest)], Some(&longest)),
        ("too long", &[("x-request-id", &long)], None),
        ("empty", &[("x-request-id", "")], None),
        ("space", &[("x-request-id", "a b")], None),
        ("quotes", &[("x-request-id", "\"")], None),
        (
            "twice",
            &[("x-request-id", "a"), ("x-request-id", "a")],
            None,
        ),
    ];
    let (policy, rule, made) = (policy(true), keep(), HeaderValue::from_static("made"));
    for (name, fields, expected) in rows {
        let mut parts = request("/", fields);
        let kept = request_id(&parts.headers).map(str::to_owned);
        assert_eq!(kept.as_deref(), expected, "{name}");
        let made_request_id = kept.is_none().then_some(&made);
        to_upstream(
            &mut parts,
            &Upstreamward {
                made_request_id,
                ..context(&policy, &rule, false)
            },
        );
        let values: Vec<_> = parts.headers.get_all("x-request-id").iter().collect();
        assert_eq!(values, [expected.unwrap_or("made")], "{name}");
    }
}

#[test]
fn the_upstream_sees_the_host_that_was_chosen() {
    let address = |text: &str| Target::Address(text.parse::<SocketAddr>().unwrap());
    let name = |port| Target::Name {
        name: "app".into(),
        port,
    };
    let rows = [
        (host(name(3000), UpstreamHost::Keep), "client:8080"),
        (host(name(3000), UpstreamHost::Upstream), "app:3000"),
        (host(name(80), UpstreamHost::Upstream), "app"),
        (
            host(address("127.0.0.1:3000"), UpstreamHost::Upstream),
            "127.0.0.1:3000",
        ),
        (host(address("[::1]:80"), UpstreamHost::Upstream), "[::1]"),
        (
            host(Target::Unix("/x".into()), UpstreamHost::Upstream),
            "localhost",
        ),
        (
            host(name(80), UpstreamHost::Name("api.example".into())),
            "api.example",
        ),
    ];
    for wrong in ["b\u{fc}cher.example", "a\r\nb"] {
        let upstream = Upstream {
            speech: Speech::Http,
            target: name(80),
            host: UpstreamHost::Name(wrong.into()),
        };
        assert!(HostRule::new(&upstream).is_none(), "{wrong:?}");
    }
    let policy = policy(true);
    for (rule, expected) in rows {
        let mut parts = request("/", &[("host", "client:8080")]);
        to_upstream(&mut parts, &context(&policy, &rule, false));
        assert_eq!(parts.headers["host"], expected);
        assert_eq!(
            parts.headers["x-forwarded-host"], "client:8080",
            "{expected}"
        );
    }
    let rule = host(name(3000), UpstreamHost::Keep);
    let mut parts = request("/", &[]);
    to_upstream(&mut parts, &context(&policy, &rule, false));
    assert_eq!(parts.headers["host"], "app:3000", "HTTP/1.0 without a host");
}

#[test]
fn only_path_and_query_go_out() {
    let rows = [
        ("/a%2fb/../c?x=%7e", "/a%2fb/../c?x=%7e"),
        ("/a?x=1&api_key=t&y=2", "/a?x=1&y=2"),
        ("/a?api_key=t", "/a"),
        ("/a?", "/a?"),
        ("http://evil.example/a?b", "/a?b"),
        ("http://evil.example", "/"),
        ("http://evil.example?api_key=t", "/"),
        ("http://evil.example?b&api_key=t", "/?b"),
        ("http://evil.example?b", "/?b"),
        ("/?a=1&api_key=%zz&{}", "/?a=1&{}"),
        ("*", "*"),
    ];
    let (policy, rule) = (policy(true), keep());
    for (target, expected) in rows {
        let mut parts = request(target, &[]);
        parts.version = Version::HTTP_10;
        to_upstream(&mut parts, &context(&policy, &rule, false));
        assert_eq!(
            parts.uri.path_and_query().unwrap().as_str(),
            expected,
            "{target}"
        );
        assert_eq!(
            (parts.uri.authority(), parts.version),
            (None, Version::HTTP_11),
            "{target}"
        );
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn answers_lose_the_fields_of_the_connection() {
    let rows: [(&str, u16, bool, Fields<'_>, &[&str]); 9] = [
        ("nothing to do", 200, false, &[("x-a", "1"), ("content-length", "3")], &["content-length: 3", "x-a: 1"]),
        ("named", 200, false, &[("connection", "x-a, content-length"), ("x-a", "1"), ("content-length", "3")], &["content-length: 3"]),
        ("framing", 200, false, &[("transfer-encoding", "chunked"), ("keep-alive", "x"), ("connection", "close")], &[]),
        ("proxy fields", 407, false, &[("proxy-authenticate", "Basic"), ("proxy-authentication-info", "x")], &[]),
        ("switching", 101, false, &[("connection", "Upgrade"), ("upgrade", "websocket")], &["connection: upgrade", "upgrade: websocket"]),
        ("not switching", 426, false, &[("connection", "Upgrade"), ("upgrade", "h2c")], &[]),
        ("trailers wanted", 200, true, &[("trailer", "X-Sum, content-length")], &["trailer: x-sum"]),
        ("trailers not wanted", 200, false, &[("trailer", "x-sum")], &[]),
        ("underscores are the upstream's", 200, false, &[("x_request_id", "1")], &["x_request_id: 1"]),
    ];
    for (name, status, trailers, fields, expected) in rows {
        let mut headers = request("/", fields).headers;
        to_client(StatusCode::from_u16(status).unwrap(), &mut headers, trailers);
        assert_eq!(lines(&headers), expected, "{name}");
    }
}

#[test]
fn trailers_cannot_bring_what_the_head_may_not() {
    let fields = [
        ("x-sum", "1"),
        ("x-api-key", "t"),
        ("authorization", "Bearer t"),
        ("X_Keygate_Key_Id", "forged"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("host", "h"),
        ("x-forwarded-for", "::1"),
    ];
    let mut trailers = request("/", &fields).headers;
    trailers_to_upstream(&mut trailers, &policy(true));
    assert_eq!(lines(&trailers), ["x-sum: 1"]);
    let mut trailers = request("/", &[("grpc-status", "0"), ("content-length", "5")]).headers;
    trailers_to_client(&mut trailers);
    assert_eq!(lines(&trailers), ["grpc-status: 0"]);
}

/// Names that matter in spellings that matter, and values that name them.
fn heads() -> impl Strategy<Value = Vec<(String, String)>> {
    let names = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "proxy-authorization",
        "content-length",
        "expect",
        "host",
        "x-api-key",
        "x-keygate-key-id",
        "x-keygate-key-name",
        "x-forwarded-for",
        "x-request-id",
        "authorization",
        "cookie",
        "x-other",
        "forwarded",
    ];
    let name = (proptest::sample::select(names.to_vec()), any::<u32>()).prop_map(|(name, bits)| {
        let spell = |(index, letter): (usize, char)| match (letter, bits >> (index % 32) & 3) {
            ('-', 0) => '_',
            (letter, 1) => letter.to_ascii_uppercase(),
            (letter, _) => letter,
        };
        name.chars().enumerate().map(spell).collect::<String>()
    });
    let element = prop_oneof![
        proptest::sample::select(names.to_vec()).prop_map(str::to_owned),
        Just("close".to_owned()),
        Just("websocket".to_owned()),
        Just("trailers".to_owned()),
        Just("Bearer t".to_owned()),
        Just("key=t".to_owned()),
        "[ -~]{0,6}",
    ];
    let value = proptest::collection::vec(element, 0..4).prop_map(|elements| elements.join(", "));
    proptest::collection::vec((name, value), 0..12)
}

proptest! {
    #[test]
    fn every_target_that_parses_goes_out_in_origin_form(
        front in prop_oneof![Just("/"), Just("*"), Just("http://h"), Just("http://h/"), Just("/a")],
        rest in "[?&=%a+#*/:@]{0,4}(api_key)?[ -~é]{0,6}",
    ) {
        let Ok(uri) = format!("{front}{rest}").parse::<Uri>() else { return Ok(()) };
        let mut parts = request("/", &[]);
        parts.uri = uri;
        let (policy, rule) = (policy(true), keep());
        to_upstream(&mut parts, &context(&policy, &rule, false));
        prop_assert!(parts.uri.path_and_query().unwrap().as_str().starts_with(['/', '*']));
        prop_assert!(parts.uri.authority().is_none());
    }

    #[test]
    fn no_field_of_the_connection_crosses_and_no_identity_is_forged(head in heads(), trusted: bool, known: bool) {
        let fields: Vec<_> = head.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut parts = request("/?api_key=t", &fields);
        let inbound = parts.headers.clone();
        let (policy, rule, key) = (policy(true), keep(), key("name"));
        let identity = known.then_some(&key);
        to_upstream(&mut parts, &Upstreamward { identity, ..context(&policy, &rule, trusted) });

        let named = |name: &HeaderName| {
            hop::list(&inbound, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case(name.as_str().as_bytes()))
        };
        for (name, value) in &parts.headers {
            let folded = name.as_str().replace('_', "-");
            match folded.as_str() {
                "connection" => prop_assert!(value == "upgrade" || value == "te", "{:?}", value),
                "upgrade" => prop_assert_eq!(value, "websocket"),
                "te" => prop_assert_eq!(value, "trailers"),
                "trailer" => {
                    prop_assert!(inbound.contains_key("transfer-encoding"));
                    for token in value.to_str().unwrap().split(", ") {
                        prop_assert!(!inbound.is_empty() && token != "transfer-encoding" && token != "x-api-key");
                    }
                }
                "keep-alive" | "proxy-connection" | "transfer-encoding" | "http2-settings" | "content-length"
                | "proxy-authorization" | "expect" | "x-api-key" => prop_assert!(false, "{} crossed", name),
                "x-keygate-key-id" => prop_assert!(known && value == "k_1" && name == "x-keygate-key-id"),
                "x-keygate-key-name" => prop_assert!(known && value == "name" && name == "x-keygate-key-name"),
                "x-other" => prop_assert!(!named(name) , "{} crossed", name),
                "authorization" => prop_assert!(!value.as_bytes().to_ascii_lowercase().starts_with(b"bearer ")),
                "x-forwarded-for" if !trusted => prop_assert_eq!(value, "192.0.2.1"),
                "forwarded" => prop_assert!(trusted),
                _ => {}
            }
        }
        prop_assert!(parts.headers.contains_key("host") && parts.headers.contains_key("x-forwarded-for"));
        prop_assert_eq!(parts.headers.contains_key("x-keygate-key-id"), known);
        prop_assert_eq!(parts.uri.query(), None);
    }

    #[test]
    fn no_field_of_the_connection_comes_back(head in heads(), status in prop_oneof![Just(101_u16), Just(200)], trailers: bool) {
        let fields: Vec<_> = head.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut headers = request("/", &fields).headers;
        let inbound = headers.clone();
        to_client(StatusCode::from_u16(status).unwrap(), &mut headers, trailers);
        for (name, value) in &headers {
            match name.as_str() {
                "connection" => prop_assert!(status == 101 && value == "upgrade"),
                "upgrade" => prop_assert_eq!(status, 101),
                "trailer" => prop_assert!(trailers),
                "keep-alive" | "proxy-connection" | "transfer-encoding" | "te" | "http2-settings" => {
                    prop_assert!(false, "{} came back", name);
                }
                _ => prop_assert!(inbound.contains_key(name)),
            }
        }
        prop_assert_eq!(headers.get_all("content-length").iter().count(), inbound.get_all("content-length").iter().count());
    }
}
