//! Whatever a request carries: what is a credential before the stripping is none behind it, and stripping twice
//! is stripping once. The first line is the target, each further one a field.
#![no_main]

use std::sync::LazyLock;

use http::HeaderName;
use http::HeaderValue;
use http::Request;
use http::request::Parts;
use keygate::auth::Asked;
use keygate::auth::Policy;
use keygate::clock::Timestamp;
use keygate::config;
use keygate::config::Source;
use keygate::key::table::KeyTable;
use keygate::key::table::Revision;
use keygate::refusal::Refusal;
use libfuzzer_sys::fuzz_target;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let auth = config::Auth {
        sources: vec![
            Source::Header(HeaderName::from_static("x-api-key")),
            Source::Bearer,
            Source::Query("key".to_owned()),
            Source::Query("a b".to_owned()),
            Source::Cookie("key".to_owned()),
            Source::WsProtocol,
        ],
        on_conflict: config::OnConflict::Reject,
        mode: config::Mode::Enforce,
        public: Vec::new(),
        preflight: config::Preflight::Authenticate,
        hide: true,
        identity: config::Identity {
            id: HeaderName::from_static("x-keygate-key-id"),
            name: HeaderName::from_static("x-keygate-key-name"),
        },
        realm: "keygate".to_owned(),
        on_revoke: config::OnRevoke::Cut,
    };
    Policy::new(&auth).expect("a section without faults")
});

static NOBODY: LazyLock<KeyTable> = LazyLock::new(|| {
    KeyTable::build(Vec::new(), Revision::of(b"")).expect("nothing is there twice")
});

const fn asked(parts: &Parts) -> Asked<'_> {
    Asked {
        parts,
        client: None,
        websocket: true,
    }
}

fuzz_target!(|text: &[u8]| {
    let mut lines = text.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let Ok(request) = Request::builder().uri(target).body(()) else {
        return;
    };
    let (mut parts, ()) = request.into_parts();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(&line[colon + 1..]);
        if let (Ok(name), Ok(value)) = (name, value) {
            parts.headers.append(name, value);
        }
    }
    let now = Timestamp::from_micros(0);
    let before = POLICY.decide(asked(&parts), &NOBODY, now);
    assert!(
        before.refusal.is_some() && before.key.is_none(),
        "nobody has a key"
    );

    POLICY.strip_headers(&mut parts.headers);
    if let Some(target) = parts.uri.path_and_query() {
        let stripped = POLICY.strip_query(target.as_str()).into_owned();
        assert_eq!(POLICY.strip_query(&stripped), stripped);
        assert!(stripped.len() <= target.as_str().len());
        parts.uri = stripped.parse().expect("what is left of a target is one");
    }
    let once = parts.headers.clone();
    POLICY.strip_headers(&mut parts.headers);
    assert_eq!(parts.headers, once);
    let behind = POLICY.decide(asked(&parts), &NOBODY, now);
    assert_eq!(behind.refusal, Some(Refusal::MissingKey), "{parts:?}");
});
