//! Which records somebody wants to see: read from texts, and asked of an [`Entry`]. This is what decides; `sieve` only
//! saves work. Not for: how far back to look, which is `search`.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

use crate::clock::Timestamp;
use crate::key::rules::parse_method;
use crate::key::rules::parse_network;
use crate::problem::nearest;
use crate::refusal::Decision;
use crate::refusal::Reason;
use crate::transactions::read::entry::Entry;
use crate::units::parse_duration;

/// Longer texts are in no record.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Which records; what is not set matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The id or the name of the key, at the time of the request.
    pub(super) key: Option<String>,
    pub(super) decision: Option<Decision>,
    pub(super) reason: Option<Reason>,
    pub(super) status: Option<Status>,
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) client: Option<IpNet>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) request_id: Option<String>,
    /// In lower case, as far as ASCII goes.
    pub(super) search: Option<String>,
}

/// One status, or a hundred of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// `404`
    Exact(u16),
    /// `4xx`
    Class(u16),
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {what}")]
pub struct FilterError {
    /// The parameter.
    pub name: String,
    /// What is allowed.
    pub what: String,
}

impl Filter {
    /// The parameters that there are.
    pub const NAMES: [&str; 11] = [
        "key",
        "decision",
        "reason",
        "status",
        "method",
        "path",
        "client",
        "since",
        "until",
        "request_id",
        "search",
    ];

    /// Reads parameters and their values. An empty value counts as none, durations count back from `now`.
    ///
    /// # Errors
    /// The first parameter that is unknown or cannot be read.
    pub fn parse<'a>(
        given: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: Timestamp,
    ) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for (name, text) in given {
            if !text.is_empty() {
                filter.set(name, text, now).map_err(|what| FilterError {
                    name: name.to_owned(),
                    what,
                })?;
            }
        }
        Ok(filter)
    }

    /// Only the record of this request.
    #[must_use]
    pub fn request(id: &str) -> Self {
        Self {
            request_id: Some(id.to_owned()),
            ..Self::default()
        }
    }

    fn set(&mut self, name: &str, text: &str, now: Timestamp) -> Result<(), String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("expected {TEXT_BYTES_MAX} bytes at most"));
        }
        match name {
            "key" => self.key = Some(text.to_owned()),
            "decision" => self.decision = Some(decision(text)?),
            "reason" => self.reason = Some(reason(text)?),
            "status" => self.status = Some(Status::parse(text)?),
            "method" => self.method = Some(said(parse_method(text))?.to_string()),
            "path" => self.path = Some(text.to_owned()),
            "client" => self.client = Some(said(parse_network(text))?),
            "since" => self.since = Some(moment(text, now)?),
            "until" => self.until = Some(moment(text, now)?),
            "request_id" => self.request_id = Some(text.to_owned()),
            "search" => self.search = Some(text.to_ascii_lowercase()),
            _ => return Err(format!("expected one of {}", Self::NAMES.join(", "))),
        }
        Ok(())
    }

    /// Whether this is a record that is wanted.
    #[must_use]
    pub fn matches(&self, entry: &Entry<'_>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        let key =
            is(&self.key, entry.key_id.as_deref()) || is(&self.key, entry.key_name.as_deref());
        key && is(&self.request_id, Some(&entry.request_id))
            && is(&self.method, entry.method.as_deref())
            && self
                .decision
                .is_none_or(|wanted| wanted.as_str() == &*entry.decision)
            && self
                .reason
                .is_none_or(|wanted| entry.reason.as_deref() == Some(wanted.as_str()))
            && self
                .status
                .is_none_or(|wanted| wanted.matches(entry.status))
            && self.path.as_ref().is_none_or(|wanted| {
                entry
                    .path
                    .as_deref()
                    .is_some_and(|path| path_matches(wanted, path))
            })
            && self.client.is_none_or(|wanted| {
                entry
                    .client_ip
                    .as_deref()
                    .is_some_and(|found| may_be_in(wanted, found))
            })
            && self.is_in_time(entry)
            && self
                .search
                .as_ref()
                .is_none_or(|wanted| is_found(wanted, entry))
    }

    fn is_in_time(&self, entry: &Entry<'_>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Some(began) = entry.began() else {
            return false;
        };
        self.since.is_none_or(|since| began >= since)
            && self.until.is_none_or(|until| began < until)
    }
}

impl Status {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "expected a status such as 404, or a class such as 4xx".to_owned();
        let bytes: [u8; 3] = text.as_bytes().try_into().map_err(|_| wrong())?;
        let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
        let first = digit(bytes[0]).filter(|first| (1..=5).contains(first));
        let first = first.ok_or_else(wrong)?;
        if bytes[1..].eq_ignore_ascii_case(b"xx") {
            return Ok(Self::Class(first));
        }
        let (second, third) = digit(bytes[1]).zip(digit(bytes[2])).ok_or_else(wrong)?;
        Ok(Self::Exact(first * 100 + second * 10 + third))
    }

    fn matches(self, found: Option<u16>) -> bool {
        match self {
            Self::Exact(wanted) => found == Some(wanted),
            Self::Class(wanted) => found.is_some_and(|status| status / 100 == wanted),
        }
    }
}

fn decision(text: &str) -> Result<Decision, String> {
    let words = Decision::ALL.map(Decision::as_str);
    Decision::parse(text).ok_or_else(|| one_of(text, &words))
}

fn reason(text: &str) -> Result<Reason, String> {
    let words: Vec<_> = Reason::all().map(Reason::as_str).collect();
    Reason::parse(text).ok_or_else(|| one_of(text, &words))
}

fn one_of(text: &str, words: &[&str]) -> String {
    let near = nearest(text, words.iter().copied());
    let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    format!("expected one of {}{near}", words.join(", "))
}

fn said<T, E: fmt::Display>(read: Result<T, E>) -> Result<T, String> {
    read.map_err(|error| error.to_string())
}

/// `2026-11-25T10:00:00Z`, `2026-11-25` (its first moment in UTC), or `1h` before `now`.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let back = |text| parse_duration(text).map(|back: Duration| now.minus(back));
    Timestamp::parse(text)
        .or_else(|_| Timestamp::parse(&format!("{text}T00:00:00Z")))
        .or_else(|_| back(text))
        .map_err(|_| {
            "expected a date such as 2026-11-25T10:00:00Z or 2026-11-25, or a duration back from now such as 1h"
                .to_owned()
        })
}

/// A beginning of the path; with a `*` in it, the whole path with any text for each `*`.
fn path_matches(wanted: &str, path: &str) -> bool {
    let Some((start, rest)) = wanted.split_once('*') else {
        return path.starts_with(wanted);
    };
    let Some(mut path) = path.strip_prefix(start) else {
        return false;
    };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return path.ends_with(piece);
        }
        // The first place is as good as any: what follows then has most room.
        let Some(at) = path.find(piece) else {
            return false;
        };
        path = &path[at + piece.len()..];
    }
    true
}

/// Whether the recorded address, or one of the recorded network, is in the network that is wanted.
fn may_be_in(wanted: IpNet, found: &str) -> bool {
    parse_network(found).is_ok_and(|found| wanted.contains(&found) || found.contains(&wanted))
}

fn is_found(wanted: &str, entry: &Entry<'_>) -> bool {
    entry.texts().any(|text| {
        memchr::memmem::find(text.to_ascii_lowercase().as_bytes(), wanted.as_bytes()).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"time":"2026-11-25T10:00:00.000000Z","request_id":"r-1","decision":"refused","reason":"path_not_allowed","key_id":"k_1","key_name":"billing","client_ip":"10.1.2.0/24","method":"GET","scheme":"http","host":"app","path":"/v1/users/7","protocol":"HTTP/1.1","status":403,"request_bytes":0,"response_bytes":1,"duration_us":5,"user_agent":"Curl/8","end":"complete"}"#;

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-25T11:00:00Z").unwrap()
    }

    fn matches(name: &str, text: &str) -> bool {
        let filter = Filter::parse([(name, text)], now()).unwrap();
        filter.matches(&Entry::of(LINE).unwrap())
    }

    #[test]
    fn every_parameter_tells_what_is_wanted_from_what_is_not() {
        for (name, wanted, unwanted) in [
            ("key", &["k_1", "billing", ""][..], &["k_", "Billing"][..]),
            ("decision", &["refused"], &["allowed"]),
            ("reason", &["path_not_allowed"], &["missing_key"]),
            ("status", &["403", "4xx", "4XX"], &["404", "5xx"]),
            ("method", &["GET"], &["HEAD"]),
            (
                "path",
                &[
                    "/v1/users/7",
                    "/v1/",
                    "/",
                    "/v1/*/7",
                    "*",
                    "*users*",
                    "/v1*7",
                    "/*/*/7",
                ],
                &[
                    "/v2",
                    "/v1/users/77",
                    "/v1/*/8",
                    "*user",
                    "/*7*7",
                    "/v1/users/7*7",
                ],
            ),
            (
                "client",
                &["10.1.2.9", "10.1.0.0/16", "10.1.2.128/25"],
                &["10.1.3.1", "10.2.0.0/16", "::1"],
            ),
            (
                "since",
                &["2026-11-25", "1h", "2026-11-25T12:00:00+02:00"],
                &["59m"],
            ),
            (
                "until",
                &["59m", "2026-11-26"],
                &["1h", "2026-11-25T10:00:00Z"],
            ),
            ("request_id", &["r-1"], &["r-"]),
            (
                "search",
                &["USERS/7", "curl", "r-1", "ILL"],
                &["duration_us", "users/8"],
            ),
        ] {
            for text in wanted {
                assert!(matches(name, text), "{name}={text}");
            }
            for text in unwanted {
                assert!(!matches(name, text), "{name}={text}");
            }
        }
    }

    #[test]
    fn what_nobody_can_mean_is_refused_with_what_is_allowed() {
        for (name, text, said) in [
            ("decision", "refuse", "did you mean refused?"),
            ("reason", "nope", "expected one of missing_key"),
            ("status", "99", "such as 4xx"),
            ("status", "6xx", "such as 4xx"),
            ("status", "40x", "such as 4xx"),
            ("method", "get", "in capitals"),
            ("client", "10.0.0.1/8", "10.0.0.0/8"),
            ("since", "yesterday", "such as 1h"),
            ("colour", "red", "expected one of key, decision"),
        ] {
            let error = Filter::parse([(name, text)], now()).unwrap_err();
            assert_eq!(error.name, name);
            assert!(error.what.contains(said), "{name}={text}: {}", error.what);
        }
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert!(Filter::parse([("search", &*long)], now()).is_err());
    }
}
