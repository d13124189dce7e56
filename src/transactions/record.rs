//! What is known of one request: begun with its head, filled in as it goes, recorded at its end. The token is
//! never among it: whoever sets [`Record::target`] has taken the credentials out. Not for: how it is spelt in
//! the log, which is `line`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use http::HeaderValue;
use http::Method;
use http::Uri;

use crate::clock::Timestamp;
use crate::key::Key;
use crate::refusal::Decision;
use crate::refusal::Reason;

/// One request, as the transaction log will have it.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the head began, for the duration.
    pub started: Instant,
    /// When the head began, for people.
    pub time: Timestamp,
    /// The `x-request-id` that client, upstream and log share.
    pub request_id: HeaderValue,
    /// The trace that the request belongs to.
    pub trace_id: Option<TraceId>,
    /// Whether it was let through.
    pub decision: Decision,
    /// Why it did not end as an ordinary answer of the upstream.
    pub reason: Option<Reason>,
    /// What its sender should look at.
    pub hint: Option<&'static str>,
    /// The key that was recognised, also when it was refused.
    pub key: Option<Arc<Key>>,
    /// Tells one unknown token from another, and nothing else about it.
    pub fingerprint: Option<u32>,
    /// Who asked; a Unix socket has no address.
    pub client: Option<IpAddr>,
    /// The subject of the certificate that the client has shown.
    pub client_subject: Option<Arc<str>>,
    /// Absent when the head was too broken to have one.
    pub method: Option<Method>,
    /// `http` or `https`, as the client spoke to us.
    pub scheme: &'static str,
    /// The `Host` that the client sent.
    pub host: Option<HeaderValue>,
    /// What was asked for.
    pub target: Target,
    /// `HTTP/1.1`.
    pub protocol: &'static str,
    /// The answer's status; absent when none was sent.
    pub status: Option<u16>,
    /// The `grpc-status` of the answer.
    pub grpc_status: Option<u8>,
    /// Body bytes from the client.
    pub request_bytes: u64,
    /// Body bytes to the client.
    pub response_bytes: u64,
    /// From sending the head to the upstream to the head of its answer.
    pub upstream_time: Option<Duration>,
    /// The upstream's address that was used.
    pub upstream: Option<Arc<str>>,
    /// What the client calls itself.
    pub user_agent: Option<HeaderValue>,
    /// How it ended.
    pub end: End,
    /// What went wrong, in words.
    pub error: Option<Cow<'static, str>>,
}

impl Record {
    /// What is known when a head begins. The rest is set as it becomes known; until somebody says otherwise
    /// the request was refused without an answer to a client that went away, which is what a request that
    /// is dropped half-way looks like.
    #[must_use]
    pub const fn begin(started: Instant, time: Timestamp, request_id: HeaderValue) -> Self {
        Self {
            started,
            time,
            request_id,
            trace_id: None,
            decision: Decision::Refused,
            reason: None,
            hint: None,
            key: None,
            fingerprint: None,
            client: None,
            client_subject: None,
            method: None,
            scheme: "http",
            host: None,
            target: Target::None,
            protocol: "HTTP/1.1",
            status: None,
            grpc_status: None,
            request_bytes: 0,
            response_bytes: 0,
            upstream_time: None,
            upstream: None,
            user_agent: None,
            end: End::ClientGone,
            error: None,
        }
    }
}

/// What was asked for.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// A target without its credentials.
    Uri(Uri),
    /// The target of a malformed head, as it came. What looks like the value of a query parameter is never
    /// recorded of it: where nothing can be parsed, any of them may be a token.
    Raw(Box<[u8]>),
    /// The head had none.
    None,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => uri.fmt(f),
            Self::Raw(target) => write!(f, "Raw({} bytes)", target.len()), // a token may be among them
            Self::None => f.write_str("None"),
        }
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The answer was sent whole.
    Complete,
    /// The client went away.
    ClientGone,
    /// The upstream broke its answer.
    UpstreamCut,
    /// A body or stream paused for too long.
    Timeout,
    /// The key was revoked while the stream was open.
    Revoked,
}

impl End {
    /// All ends.
    pub const ALL: [Self; 5] = [
        Self::Complete,
        Self::ClientGone,
        Self::UpstreamCut,
        Self::Timeout,
        Self::Revoked,
    ];

    /// The word in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::UpstreamCut => "upstream_cut",
            Self::Timeout => "timeout",
            Self::Revoked => "revoked",
        }
    }
}

/// The trace id of a W3C `traceparent`: 32 lower-case hexadecimal digits, not all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    /// Takes the id out of a `traceparent` field; none when the field is not valid.
    #[must_use]
    pub fn of_traceparent(field: &[u8]) -> Option<Self> {
        let is_hex = |text: &[u8]| {
            text.iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_zero = |text: &[u8]| text.iter().all(|byte| *byte == b'0');
        // Version 00 is exactly this long; a later one may go on after another dash.
        let (head, rest) = field.split_at_checked(55)?;
        let (version, trace, parent, flags) =
            (&head[..2], &head[3..35], &head[36..52], &head[53..]);
        let dashes = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
        let digits = is_hex(version) && is_hex(trace) && is_hex(parent) && is_hex(flags);
        let ending = rest.is_empty() || (version != b"00" && rest[0] == b'-');
        (dashes && digits && ending && version != b"ff" && !is_zero(trace) && !is_zero(parent))
            .then(|| Self(trace.try_into().expect("32 bytes were taken")))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_a_raw_target() {
        let target = Target::Raw(b"/?key=CANARY".to_vec().into());
        assert_eq!(format!("{target:?}"), "Raw(12 bytes)");
    }

    #[test]
    fn a_trace_id_is_taken_from_valid_fields_only() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let valid = format!("00-{id}-00f067aa0ba902b7-01");
        let cases: &[(&str, String, bool)] = &[
            ("valid", valid.clone(), true),
            ("later version", format!("cc{}", &valid[2..]), true),
            (
                "later version that goes on",
                format!("cc{}-what", &valid[2..]),
                true,
            ),
            (
                "later version that goes on without a dash",
                format!("cc{}what", &valid[2..]),
                false,
            ),
            ("version 00 that goes on", format!("{valid}-what"), false),
            ("version ff", format!("ff{}", &valid[2..]), false),
            ("upper case", valid.to_uppercase(), false),
            ("short", valid[..54].to_owned(), false),
            ("empty", String::new(), false),
            (
                "zero trace",
                format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
                false,
            ),
            (
                "zero parent",
                format!("00-{id}-{}-01", "0".repeat(16)),
                false,
            ),
            ("no dash", valid.replacen('-', "0", 1), false),
            ("not hexadecimal", valid.replacen('f', "g", 1), false),
        ];
        for (name, field, is_valid) in cases {
            let found = TraceId::of_traceparent(field.as_bytes());
            assert_eq!(found.is_some(), *is_valid, "{name}: {field}");
            assert!(found.is_none_or(|found| found.as_str() == id), "{name}");
        }
    }
}
