//! What it costs to decide whether a request may pass. Protects two promises: the cost does not grow from 10
//! keys to 1,000,000, and no source of tokens is out of line.
//!
//! Last seen on 2026-11-23, `cargo bench --bench decide`, two idle cores of a virtual EPYC: 10 keys 126 ns, 10,000 keys
//! 133 ns, 1,000,000 keys 164 ns (what is added are cache misses); header 107 ns, bearer 103 ns, query 150 ns, encoded
//! query 292 ns, cookie 150 ns, the fourth of four sources 139 ns; refused as missing 102 ns, unknown 168 ns,
//! malformed 82 ns.

use std::hint::black_box;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::Arc;

use criterion::Criterion;
use http::HeaderName;
use http::HeaderValue;
use http::Request;
use http::request::Parts;
use keygate::auth::Asked;
use keygate::auth::Policy;
use keygate::clock::Timestamp;
use keygate::config::Auth;
use keygate::config::Identity;
use keygate::config::Mode;
use keygate::config::OnConflict;
use keygate::config::OnRevoke;
use keygate::config::Preflight;
use keygate::config::Source;
use keygate::key::Key;
use keygate::key::KeyFields;
use keygate::key::table::KeyTable;
use keygate::key::table::Revision;
use keygate::key::token::Digest;
use keygate::refusal::Decision;

/// So many different keys are asked for in turn, so that large tables do not live in the nearest cache.
const ASKED_FOR: usize = 4096;
const NOW: Timestamp = Timestamp::from_micros(0);
const CLIENT: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    by_number_of_keys(&mut criterion);
    by_source(&mut criterion);
    refusals(&mut criterion);
    criterion.final_summary();
}

fn by_number_of_keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide/keys");
    for keys in [10, 10_000, 1_000_000] {
        let table = table(keys);
        let step = (keys / ASKED_FOR).max(1);
        let values: Vec<HeaderValue> = (0..keys.min(ASKED_FOR))
            .map(|index| HeaderValue::try_from(token(index * step)).expect("visible ASCII"))
            .collect();
        let policy = policy(vec![Source::Header(HeaderName::from_static("x-api-key"))]);
        // One head with another token each time: heads of real requests are in the cache as well.
        let mut parts = request("/v1/items?page=2", &[("x-api-key", "")]);
        let mut values = values.iter().cycle();
        group.bench_function(keys.to_string(), |bencher| {
            bencher.iter(|| {
                let value = values.next().expect("a cycle does not end");
                *parts.headers.get_mut("x-api-key").expect("it is there") = value.clone();
                let verdict = policy.decide(asked(black_box(&parts)), &table, NOW);
                assert_eq!(verdict.decision, Decision::Allowed);
                verdict
            });
        });
    }
    group.finish();
}

fn by_source(criterion: &mut Criterion) {
    let table = table(10);
    let token = token(3);
    let escaped: String = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let header = Source::Header(HeaderName::from_static("x-api-key"));
    let query = || Source::Query("api_key".to_owned());
    let all = vec![
        header.clone(),
        query(),
        Source::Cookie("key".to_owned()),
        Source::Bearer,
    ];
    let bearer = format!("Bearer {token}");
    let cookie = format!("theme=dark; key={token}; lang=en");
    let rows = [
        (
            "header",
            vec![header],
            request("/v1/items?page=2", &[("x-api-key", &token)]),
        ),
        (
            "bearer",
            vec![Source::Bearer],
            request("/v1/items?page=2", &[("authorization", &bearer)]),
        ),
        (
            "query",
            vec![query()],
            request(&format!("/v1/items?page=2&api_key={token}"), &[]),
        ),
        (
            "query encoded",
            vec![query()],
            request(&format!("/v1/items?page=2&api_key={escaped}"), &[]),
        ),
        (
            "cookie",
            vec![Source::Cookie("key".to_owned())],
            request("/v1/items", &[("cookie", &cookie)]),
        ),
        (
            "fourth of four",
            all,
            request("/v1/items?page=2", &[("authorization", &bearer)]),
        ),
    ];
    let mut group = criterion.benchmark_group("decide/source");
    for (name, sources, parts) in rows {
        let policy = policy(sources);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let verdict = policy.decide(asked(black_box(&parts)), &table, NOW);
                assert_eq!(verdict.decision, Decision::Allowed);
                verdict
            });
        });
    }
    group.finish();
}

fn refusals(criterion: &mut Criterion) {
    let table = table(10);
    let rows = [
        ("missing", request("/v1/items?page=2", &[])),
        (
            "unknown",
            request("/v1/items?page=2", &[("x-api-key", &token(11))]),
        ),
        (
            "malformed",
            request("/v1/items?page=2", &[("x-api-key", "two words")]),
        ),
    ];
    let policy = policy(vec![Source::Header(HeaderName::from_static("x-api-key"))]);
    let mut group = criterion.benchmark_group("decide/refused");
    for (name, parts) in rows {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let verdict = policy.decide(asked(black_box(&parts)), &table, NOW);
                assert_eq!(verdict.decision, Decision::Refused);
                verdict
            });
        });
    }
    group.finish();
}

const fn asked(parts: &Parts) -> Asked<'_> {
    Asked {
        parts,
        client: CLIENT,
        websocket: false,
    }
}

fn token(index: usize) -> String {
    format!("kg_{index:038}")
}

fn table(keys: usize) -> KeyTable {
    let key = |index| {
        let digest = Digest::of(token(index).as_bytes());
        Arc::new(Key::new(KeyFields::new(&format!("key-{index}"), digest)))
    };
    let keys = (0..keys).map(key).collect();
    KeyTable::build(keys, Revision::of(b"bench")).expect("the keys differ")
}

fn policy(sources: Vec<Source>) -> Policy {
    let auth = Auth {
        sources,
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
    };
    Policy::new(&auth).expect("the section is sound")
}

/// A request as an ordinary client sends it, with these fields besides.
fn request(target: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::get(target)
        .header("host", "api.example.org")
        .header("user-agent", "curl/8.5.0")
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, deflate, br")
        .header("content-type", "application/json")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("the head is sound").into_parts().0
}
