//! Who passes and who does not, and why: every rule of the README's chapter on tokens, told in rows.

mod sources;
mod stripping;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Request;
use proptest::prelude::*;

use super::*;
use crate::config::Identity;
use crate::config::OnRevoke;
use crate::key::KeyFields;
use crate::key::PreviousDigest;
use crate::key::rules::Rules;
use crate::key::rules::parse_network;
use crate::key::table::Revision;

/// The token of the key that may do everything.
const GOOD: &str = "kg_0123456789abcdefghijklmnopqrstuv012345";
const LIMITED: &str = "limited-token";
const DISABLED: &str = "disabled-token";
const EXPIRED: &str = "expired-token";
const EARLY: &str = "early-token";
const ROTATED: &str = "rotated-token";
const OLD: &str = "old-rotated-token";
const NOW: Timestamp = Timestamp::from_micros(1_000_000);

pub(super) fn section(sources: &[Source]) -> config::Auth {
    config::Auth {
        sources: sources.to_vec(),
        on_conflict: OnConflict::First,
        mode: Mode::Enforce,
        public: Vec::new(),
        preflight: Preflight::Authenticate,
        hide: true,
        identity: Identity {
            id: HeaderName::from_static("x-keygate-key-id"),
            name: HeaderName::from_static("x-keygate-key-name"),
        },
        realm: "keygate".to_owned(),
        on_revoke: OnRevoke::Cut,
    }
}

pub(super) fn header_source(name: &'static str) -> Source {
    Source::Header(HeaderName::from_static(name))
}

fn query_source() -> Source {
    Source::Query("api_key".to_owned())
}

fn cookie_source() -> Source {
    Source::Cookie("key".to_owned())
}

fn fields(name: &str, token: &str) -> KeyFields {
    KeyFields::new(name, Digest::of(token.as_bytes()))
}

fn table() -> KeyTable {
    let rules = Rules::new(
        Some(vec![Method::GET]),
        Some(vec![PathPattern::parse("/v1/**").unwrap()]),
        Some(vec![parse_network("10.0.0.0/8").unwrap()]),
    );
    let previous = |expires_at| PreviousDigest {
        digest: Digest::of(OLD.as_bytes()),
        expires_at: Timestamp::from_micros(expires_at),
    };
    let keys = vec![
        Key::new(fields("good", GOOD)),
        Key::new(KeyFields {
            rules: Some(Box::new(rules.unwrap())),
            ..fields("limited", LIMITED)
        }),
        Key::new(KeyFields {
            enabled: false,
            ..fields("disabled", DISABLED)
        }),
        Key::new(KeyFields {
            expires_at: Some(NOW),
            ..fields("expired", EXPIRED)
        }),
        Key::new(KeyFields {
            not_before: Some(NOW.plus(std::time::Duration::from_micros(1))),
            ..fields("early", EARLY)
        }),
        Key::new(KeyFields {
            previous: vec![previous(1_000_001)],
            ..fields("rotated", ROTATED)
        }),
    ];
    KeyTable::build(keys.into_iter().map(Arc::new).collect(), Revision::of(b"")).unwrap()
}

/// A request as its first line and its fields.
pub(super) fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in fields {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

/// What names a WebSocket as its upgrade asks for one.
fn asked(parts: &Parts, client: Option<IpAddr>) -> Asked<'_> {
    Asked {
        parts,
        client,
        websocket: parts.headers.contains_key(header::UPGRADE),
    }
}

fn decide(auth: &config::Auth, parts: &Parts, client: Option<&str>) -> Verdict {
    let client = client.map(|ip| ip.parse().unwrap());
    Policy::new(auth)
        .unwrap()
        .decide(asked(parts, client), &table(), NOW)
}

/// The outcome in one word: the key's name or the reason.
fn outcome(verdict: &Verdict) -> &str {
    match (verdict.refusal, &verdict.key) {
        (Some(refusal), _) => refusal.reason(),
        (None, Some(key)) => key.name(),
        (None, None) => verdict.decision.as_str(),
    }
}

type PreflightRow<'a> = (
    &'a str,
    &'a str,
    &'a [(&'a str, &'a str)],
    Preflight,
    Decision,
);
type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);

fn check(sources: &[Source], rows: &[Row<'_>]) {
    for (name, target, fields, expected) in rows {
        let verdict = decide(&section(sources), &request("GET", target, fields), None);
        assert_eq!(outcome(&verdict), *expected, "{name}");
        assert_eq!(
            verdict.refusal.is_some(),
            verdict.decision == Decision::Refused,
            "{name}"
        );
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn rules_of_the_key_are_applied() {
    let auth = section(&[header_source("x-api-key")]);
    let rows = [
        ("all fit", "GET", "/v1/x", Some("10.1.2.3"), "limited"),
        ("path decoded", "GET", "/%761/x", Some("10.1.2.3"), "limited"),
        ("network", "PUT", "/v2", Some("192.0.2.1"), "network_not_allowed"),
        ("no address", "GET", "/v1/x", None, "network_not_allowed"),
        ("method", "PUT", "/v2", Some("10.1.2.3"), "method_not_allowed"),
        ("path", "GET", "/v2", Some("10.1.2.3"), "path_not_allowed"),
        ("dots out", "GET", "/v1/../v2", Some("10.1.2.3"), "path_not_allowed"),
        ("encoded dots", "GET", "/v1/%2e%2e/v2", Some("10.1.2.3"), "path_not_allowed"),
        ("asterisk form", "OPTIONS", "*", Some("10.1.2.3"), "method_not_allowed"),
    ];
    for (name, method, target, client, expected) in rows {
        let verdict = decide(&auth, &request(method, target, &[("x-api-key", LIMITED)]), client);
        assert_eq!(outcome(&verdict), expected, "{name}");
        assert!(verdict.key.is_some(), "{name}: the key was recognised");
        assert_eq!(verdict.digest, Some(Digest::of(LIMITED.as_bytes())), "{name}");
        assert_eq!(verdict.identity().is_some(), expected == "limited", "{name}");
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn optional_lets_strangers_in_and_wrong_tokens_out() {
    let auth = config::Auth { mode: Mode::Optional, ..section(&[header_source("x-api-key")]) };
    for (token, expected) in [
        ("", Decision::Anonymous),
        (GOOD, Decision::Allowed),
        ("wrong", Decision::Refused),
        ("a b", Decision::Refused),
        (DISABLED, Decision::Refused),
        (LIMITED, Decision::Refused),
    ] {
        let verdict = decide(&auth, &request("GET", "/", &[("x-api-key", token)]), None);
        assert_eq!(verdict.decision, expected, "{token:?}");
        assert_eq!(verdict.refusal.is_some(), expected == Decision::Refused, "{token:?}");
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn shadow_refuses_nobody_and_says_whom_it_would() {
    let auth = config::Auth { mode: Mode::Shadow, ..section(&[header_source("x-api-key")]) };
    for (token, expected) in [
        ("", Some(Refusal::MissingKey)),
        (GOOD, None),
        ("wrong", Some(Refusal::UnknownKey)),
        ("a b", Some(Refusal::MalformedKey)),
        (DISABLED, Some(Refusal::Disabled)),
        (LIMITED, Some(Refusal::NetworkNotAllowed)),
    ] {
        let verdict = decide(&auth, &request("GET", "/", &[("x-api-key", token)]), None);
        let decision = if expected.is_some() { Decision::WouldRefuse } else { Decision::Allowed };
        assert_eq!((verdict.decision, verdict.refusal), (decision, expected), "{token:?}");
        assert!(verdict.passes(), "{token:?}");
        assert_eq!(verdict.identity().is_some(), expected.is_none(), "{token:?}");
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn public_paths_need_no_token_and_recognise_a_valid_one() {
    let public = vec!["/health".to_owned(), "/public/**".to_owned()];
    for mode in [Mode::Enforce, Mode::Optional, Mode::Shadow] {
        let auth =
            config::Auth { mode, public: public.clone(), ..section(&[header_source("x-api-key")]) };
        for (token, known) in
            [("", false), (GOOD, true), ("wrong", false), (DISABLED, false), ("a b", false)]
        {
            let verdict =
                decide(&auth, &request("GET", "/public/x", &[("x-api-key", token)]), None);
            assert_eq!((verdict.decision, verdict.refusal), (Decision::Public, None), "{token:?}");
            assert_eq!((verdict.key.is_some(), verdict.hint), (known, None), "{token:?}");
            assert_eq!(verdict.identity().is_some(), known, "{token:?}");
        }
    }
    let auth = config::Auth { public, ..section(&[header_source("x-api-key")]) };
    for (target, expected) in [
        ("/health", Decision::Public),
        ("/health?x=/admin", Decision::Public),
        ("/%68ealth", Decision::Public),
        ("//health", Decision::Public),
        ("/health/", Decision::Refused),
        ("/Health", Decision::Refused),
        ("/public/../admin", Decision::Refused),
        ("/admin/../public/x", Decision::Refused),
        ("/public/%2e%2e/admin", Decision::Refused),
        ("/public/..%2fadmin", Decision::Refused),
        ("/public%2f..%2fadmin", Decision::Refused),
        ("/public/..;/admin", Decision::Refused),
        ("/public/%5c../admin", Decision::Refused),
        ("/public/x%00", Decision::Refused),
        ("/admin?x=/public/", Decision::Refused),
    ] {
        let verdict = decide(&auth, &request("GET", target, &[]), None);
        assert_eq!(verdict.decision, expected, "{target}");
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn only_a_real_preflight_passes_and_only_where_it_may() {
    let origin = ("origin", "https://example.org");
    let asks = ("access-control-request-method", "PUT");
    let rows: [PreflightRow<'_>; 5] = [
        ("preflight", "OPTIONS", &[origin, asks], Preflight::Pass, Decision::Public),
        ("not by default", "OPTIONS", &[origin, asks], Preflight::Authenticate, Decision::Refused),
        ("no origin", "OPTIONS", &[asks], Preflight::Pass, Decision::Refused),
        ("no question", "OPTIONS", &[origin], Preflight::Pass, Decision::Refused),
        ("another method", "GET", &[origin, asks], Preflight::Pass, Decision::Refused),
    ];
    for (name, method, fields, preflight, expected) in rows {
        let auth = config::Auth { preflight, ..section(&[header_source("x-api-key")]) };
        assert_eq!(decide(&auth, &request(method, "/", fields), None).decision, expected, "{name}");
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn hints_tell_what_went_wrong() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let rows: [Row<'_>; 11] = [
        ("bearer is off", "/", &[("authorization", "bearer x")], "the bearer source is off"),
        ("look-alike", "/", &[("x_api_key", "x")], "never counts"),
        ("empty", "/", &[("x-api-key", "")], "present but empty"),
        ("usual header", "/", &[("api-key", "x")], "is no source"),
        ("usual parameter", "/?api_key=x", &[], "is no source"),
        ("scheme inside", "/", &[("x-api-key", "Bearer x")], "begins with Bearer"),
        ("mask", "/", &[("x-api-key", "kg_3fA9…x7Q2")], "the mask"),
        ("digest", "/", &[("x-api-key", &digest)], "a digest"),
        ("quotes", "/", &[("x-api-key", "\"x\"")], "in quotes"),
        ("cut", "/", &[("x-api-key", &GOOD[..40])], "another length"),
        ("twice", "/", &[("x-api-key", "x"), ("x-api-key", "x")], "more than once"),
    ];
    let auth = section(&[header_source("x-api-key")]);
    for (name, target, fields, expected) in rows {
        let hint = decide(&auth, &request("GET", target, fields), None)
            .hint
            .unwrap_or_else(|| panic!("{name}"));
        assert!(hint.contains(expected), "{name}: {hint}");
    }
    assert_eq!(decide(&auth, &request("GET", "/", &[]), None).hint, None);
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn hints_tell_what_went_wrong_with_a_sub_protocol() {
    let socket = ("upgrade", "websocket");
    let protocol = |value| ("sec-websocket-protocol", value);
    let on = section(&[Source::WsProtocol]);
    let off = section(&[header_source("x-api-key")]);
    type ProtocolRow<'a> = (&'a str, &'a config::Auth, &'a [(&'a str, &'a str)], &'a str);
    let rows: [ProtocolRow<'_>; 7] = [
        ("off", &off, &[protocol("chat, keygate.eA"), socket], "the ws_protocol source is off"),
        ("no WebSocket", &on, &[protocol("keygate.eA")], "only where a WebSocket is asked for"),
        ("empty", &on, &[protocol("keygate., chat"), socket], "nothing follows its dot"),
        ("another case", &on, &[protocol("Keygate.eA"), socket], "it never counts"),
        ("as it is", &on, &[protocol("keygate.kg_0123"), socket], "base64url of it belongs there"),
        ("padded", &on, &[protocol("keygate.eA=="), socket], "not base64url without padding"),
        ("twice", &on, &[protocol("keygate.eA,keygate.eA"), socket], "more than once"),
    ];
    for (name, auth, fields, expected) in rows {
        let hint = decide(auth, &request("GET", "/", fields), None)
            .hint
            .unwrap_or_else(|| panic!("{name}"));
        assert!(hint.contains(expected), "{name}: {hint}");
    }
    assert_eq!(decide(&on, &request("GET", "/", &[protocol("chat"), socket]), None).hint, None);
}

#[test]
fn fingerprints_tell_unknown_tokens_apart_in_one_process_only() {
    let auth = section(&[header_source("x-api-key")]);
    let (one, other) = (Policy::new(&auth).unwrap(), Policy::new(&auth).unwrap());
    let print = |policy: &Policy, token| {
        policy
            .decide(
                asked(&request("GET", "/", &[("x-api-key", token)]), None),
                &table(),
                NOW,
            )
            .fingerprint
    };
    assert_eq!(print(&one, "wrong"), print(&one, "wrong"));
    assert_ne!(print(&one, "wrong"), print(&one, "wrong2"));
    assert_ne!(print(&one, "wrong"), print(&other, "wrong"));
    assert_eq!(print(&one, GOOD), None);
    assert_eq!(print(&one, "a b"), None);
    assert_eq!(print(&one, "wrong").unwrap().to_string().len(), 8);
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn contradictory_sections_are_refused() {
    let good = section(&[header_source("x-api-key")]);
    let identity = |id, name| Identity {
        id: HeaderName::from_static(id),
        name: HeaderName::from_static(name),
    };
    let rows = [
        ("no source", section(&[]), "at least one"),
        ("twice", section(&[Source::Bearer, Source::Bearer]), "sources[1]"),
        ("host", section(&[header_source("host")]), "host"),
        ("cookie as a header", section(&[header_source("cookie")]), "cookie"),
        ("no name", section(&[Source::Query(String::new())]), "a name"),
        ("pattern", config::Auth { public: vec!["x".into()], ..good.clone() }, "public[0]"),
        ("realm", config::Auth { realm: "a\"b".into(), ..good.clone() }, "realm"),
        (
            "one header for both",
            config::Auth { identity: identity("x-a", "x_a"), ..good.clone() },
            "same",
        ),
        (
            "identity is source",
            config::Auth { identity: identity("x_api_key", "x-b"), ..good.clone() },
            "x_api",
        ),
        (
            "identity is host",
            config::Auth { identity: identity("x-a", "host"), ..good.clone() },
            "host",
        ),
    ];
    for (name, auth, expected) in rows {
        let error = Policy::new(&auth).err().unwrap_or_else(|| panic!("{name}")).to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    assert_eq!(Policy::new(&good).unwrap().challenges(), ["ApiKey realm=\"keygate\""]);
    let both = section(&[header_source("x-api-key"), Source::Bearer]);
    let challenges = ["ApiKey realm=\"keygate\"", "Bearer realm=\"keygate\""];
    assert_eq!(Policy::new(&both).unwrap().challenges(), challenges);
}

proptest! {
    #[test]
    fn one_changed_character_is_refused(position in 0..GOOD.len(), byte in b'!'..=b'~', mode in 0..3) {
        let mut token = GOOD.as_bytes().to_vec();
        match mode {
            0 => token[position] = byte,
            1 => token.insert(position, byte),
            _ => drop(token.remove(position)),
        }
        let mut parts = request("GET", "/", &[]);
        parts.headers.insert("x-api-key", HeaderValue::from_bytes(&token).unwrap());
        let verdict = decide(&section(&[header_source("x-api-key")]), &parts, None);
        prop_assert_eq!(verdict.decision == Decision::Allowed, token == GOOD.as_bytes());
    }

    #[test]
    fn a_token_passes_in_every_encoding_of_a_query(escapes in proptest::collection::vec(0..3, GOOD.len())) {
        let encode = |(byte, escape): (u8, &i32)| match escape {
            0 => char::from(byte).to_string(),
            1 => format!("%{byte:02x}"),
            _ => format!("%{byte:02X}"),
        };
        let value: String = GOOD.bytes().zip(&escapes).map(encode).collect();
        let parts = request("GET", &format!("/?api_key={value}"), &[]);
        let verdict = decide(&section(&[query_source()]), &parts, None);
        prop_assert_eq!(verdict.decision, Decision::Allowed);
    }

    #[test]
    fn any_head_gets_a_verdict(value in proptest::collection::vec(32..=255_u8, 0..40), query in "[ -\"$-~]{0,30}") {
        let Ok(target) = format!("/?{}", query.replace(' ', "&api_key=")).parse::<http::Uri>() else {
            return Ok(());
        };
        let sources = [header_source("x-api-key"), query_source(), cookie_source(), Source::Bearer];
        for name in ["x-api-key", "cookie", "authorization"] {
            let mut parts = request("GET", "/", &[]);
            parts.uri = target.clone();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                parts.headers.insert(name, value);
            }
            let verdict = decide(&section(&sources), &parts, None);
            prop_assert_eq!(verdict.decision, Decision::Refused);
        }
    }
}
