//! A key as the admin API shows it, for programs, and as lines of text, for people. Never a token, a digest in
//! full, or a sealed copy. Not for: tables, which are `print`.

use serde_json::Value;

use crate::admin::keys::view::copy;
use crate::admin::keys::view::view;
use crate::cli::print;
use crate::clock::Timestamp;
use crate::key::Key;
use crate::transactions::totals::Day;

/// What only the running keygate knows.
const USE: [&str; 5] = [
    "last_used_at",
    "requests_total",
    "refused_total",
    "requests_24h",
    "hours",
];

/// The key object of the admin API. What only the running keygate knows is null.
pub(super) fn json(key: &Key, now: Timestamp) -> Value {
    let mut object = serde_json::to_value(view(key, now, Day::default()))
        .expect("a key is text, numbers and lists");
    for name in USE {
        object[name] = Value::Null;
    }
    object
}

/// What can be said of a key, field by field; empty ones are left out.
pub(super) fn fields(key: &Key) -> Vec<(&'static str, String)> {
    let date = |date: Option<Timestamp>| date.map(Timestamp::to_short).unwrap_or_default();
    let rules = key.rules();
    let joined = |list: Option<Vec<String>>| list.map(|list| list.join(", ")).unwrap_or_default();
    let tags = key.tags().iter();
    let tags: Vec<_> = tags
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let previous = key.previous().iter();
    let previous: Vec<_> = previous
        .map(|old| format!("until {}", old.expires_at.to_short()))
        .collect();
    let all = [
        ("id", key.id().to_string()),
        ("name", key.name().to_owned()),
        (
            "description",
            key.description().unwrap_or_default().to_owned(),
        ),
        ("token", token(key)),
        ("copy", copy(key).to_owned()),
        ("enabled", key.enabled().to_string()),
        ("created_at", date(key.created_at())),
        ("not_before", date(key.not_before())),
        ("expires_at", date(key.expires_at())),
        ("tags", tags.join(", ")),
        ("record", key.record().to_string()),
        (
            "allow.methods",
            joined(rules.and_then(|rules| rules.methods()).map(texts)),
        ),
        (
            "allow.paths",
            joined(rules.and_then(|rules| rules.paths()).map(texts)),
        ),
        (
            "allow.networks",
            joined(rules.and_then(|rules| rules.networks()).map(texts)),
        ),
        ("old tokens", previous.join(", ")),
    ];
    all.into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name, print::seen(&text).into_owned()))
        .collect()
}

/// The hint at the token, and the beginning of its digest: enough to see that it is another one.
fn token(key: &Key) -> String {
    let digest = key.digest().to_string();
    let digest = &digest[..digest.len().min("sha256:".len() + 12)];
    match key.mask() {
        Some(mask) => format!("{mask} ({digest}…)"),
        None => format!("{digest}…"),
    }
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(T::to_string).collect()
}
