//! Covers "keys are managed while it runs": every endpoint of the admin API, with every status and header that it
//! promises, from outside. What it does to the key file is here too; several editors at once are in `edits`,
//! how soon a revoked key stops in `revocation`.

mod access;
mod attacks;
mod audit;
mod change;
mod conditions;
mod copy;
mod create;
mod disk;
mod export;
mod file;
mod import;
mod list;
mod openapi;
mod pages;
mod rotate;
pub(crate) mod session;
mod status;
mod tokens;
mod transactions;
mod try_it;
mod usage;

use serde_json::Value;
use serde_json::json;

use crate::harness::admin::Admin;
use crate::harness::keygate::Keygate;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

/// A keygate with the usual keys, whose admin API knows the token of `ops`.
struct Running {
    /// Gone last: keygate may be asked until the end.
    keygate: Keygate,
    admin: Admin,
    _upstream: Upstream,
}

impl Running {
    #[track_caller]
    fn start() -> Self {
        Self::with(|setup| setup)
    }

    /// `change` sees the setup before the start; it has `admin("")` already.
    #[track_caller]
    fn with(change: impl FnOnce(Setup) -> Setup) -> Self {
        let upstream = Upstream::fast();
        let keygate = change(Setup::of(&upstream).admin("")).spawn();
        Self {
            admin: keygate.admin(),
            keygate,
            _upstream: upstream,
        }
    }
}

/// A key file with these lines as its entries.
fn keys(entries: &str) -> String {
    format!("version: 1\nkeys:\n{entries}")
}

/// Every member of a key, in alphabetical order.
const MEMBERS: [&str; 19] = [
    "allow",
    "copy",
    "created_at",
    "description",
    "enabled",
    "expires_at",
    "hours",
    "id",
    "last_used_at",
    "mask",
    "name",
    "not_before",
    "previous",
    "record",
    "refused_total",
    "requests_24h",
    "requests_total",
    "status",
    "tags",
];

/// A key has exactly the members that a key has, and none of them is a secret; with `token` only where it was made.
#[track_caller]
fn check_key(key: &Value, with_token: bool) {
    let mut expected: Vec<&str> = MEMBERS.to_vec();
    if with_token {
        expected.push("token");
        expected.sort_unstable();
    }
    let mut members: Vec<&str> = key
        .as_object()
        .unwrap_or_else(|| panic!("a key is an object: {key}"))
        .keys()
        .map(String::as_str)
        .collect();
    members.sort_unstable();
    assert_eq!(members, expected, "{key}");
    for member in ["id", "name"] {
        assert!(key[member].is_string(), "{member}: {key}");
    }
    for member in [
        "description",
        "mask",
        "created_at",
        "not_before",
        "expires_at",
        "last_used_at",
    ] {
        assert!(
            key[member].is_null() || key[member].is_string(),
            "{member}: {key}"
        );
    }
    for member in ["enabled", "record"] {
        assert!(key[member].is_boolean(), "{member}: {key}");
    }
    for member in ["requests_total", "refused_total", "requests_24h"] {
        assert!(key[member].is_u64(), "{member}: {key}");
    }
    let hours = key["hours"].as_array().unwrap().iter();
    let hours: Vec<u64> = hours.map(|hour| hour.as_u64().unwrap()).collect();
    assert_eq!(hours.len(), 24, "{key}");
    assert_eq!(hours.iter().sum::<u64>(), key["requests_24h"], "{key}");
    assert!(
        ["active", "disabled", "not_yet_valid", "expired"]
            .contains(&key["status"].as_str().unwrap()),
        "{key}"
    );
    assert!(
        ["sealed", "file", "none"].contains(&key["copy"].as_str().unwrap()),
        "{key}"
    );
    assert!(key["tags"].is_object(), "{key}");
    assert!(key["previous"].is_array(), "{key}");
    assert!(key["allow"].is_null() || key["allow"].is_object(), "{key}");
}

/// The same with dates of whole seconds as people write them.
fn plain(value: &Value) -> Value {
    serde_json::from_str(&value.to_string().replace(".000000Z\"", "Z\"")).unwrap()
}

/// A key without how it was used, which is counted a moment after the request.
fn without_use(key: &Value) -> Value {
    let mut key = key.clone();
    for member in [
        "hours",
        "last_used_at",
        "refused_total",
        "requests_24h",
        "requests_total",
    ] {
        key[member].take();
    }
    key
}

/// The names of the keys in a list.
fn names(list: &Value) -> Vec<&str> {
    list["keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|key| key["name"].as_str())
        .collect()
}

/// A token that keygate made.
#[track_caller]
fn made_token(key: &Value) -> String {
    let token = key["token"]
        .as_str()
        .unwrap_or_else(|| panic!("no token: {:?}", key["id"]));
    let random = token.strip_prefix("kg_").unwrap_or_default();
    assert!(
        random.len() == 38 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "kg_ and 38 base62 characters"
    );
    token.to_owned()
}

/// The body that makes a key of this name.
fn named(name: &str) -> Value {
    json!({ "name": name })
}
