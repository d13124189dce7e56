//! A line of the log, read back: the fields that `line` writes, borrowed from the line wherever its text has no
//! escapes. What is missing or unknown makes no error beyond what a record cannot be without, so that lines of other
//! versions can be read. Not for: finding lines, see `search` and
//! `follow`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde::de::Visitor;

use crate::clock::Timestamp;

/// One transaction as it stands in the log. `config/transaction.schema.json` says what the fields mean.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry<'l> {
    /// When the request's head began: RFC 3339 in UTC with microseconds, always 27 characters.
    #[serde(borrow)]
    pub time: Text<'l>,
    /// How many records are missing before this one.
    #[serde(default)]
    pub lost: u64,
    /// The `x-request-id` that client, upstream and log share.
    #[serde(borrow)]
    pub request_id: Text<'l>,
    /// The trace that the request belongs to.
    #[serde(borrow)]
    pub trace_id: Option<Text<'l>>,
    /// A word of [`Decision`](crate::refusal::Decision).
    #[serde(borrow)]
    pub decision: Text<'l>,
    /// A word of [`Reason`](crate::refusal::Reason).
    #[serde(borrow)]
    pub reason: Option<Text<'l>>,
    /// What the sender should look at.
    #[serde(borrow)]
    pub hint: Option<Text<'l>>,
    /// The key that was recognised.
    #[serde(borrow)]
    pub key_id: Option<Text<'l>>,
    /// Its name at the time.
    #[serde(borrow)]
    pub key_name: Option<Text<'l>>,
    /// Tells unknown tokens apart within one run of keygate.
    #[serde(borrow)]
    pub token_fingerprint: Option<Text<'l>>,
    /// An address, or its network where only that is recorded.
    #[serde(borrow)]
    pub client_ip: Option<Text<'l>>,
    /// The subject of the certificate that the client has shown.
    #[serde(borrow)]
    pub client_subject: Option<Text<'l>>,
    /// The method.
    #[serde(borrow)]
    pub method: Option<Text<'l>>,
    /// `http` or `https`, as the client spoke to keygate.
    #[serde(borrow)]
    pub scheme: Option<Text<'l>>,
    /// The `Host` that the client sent.
    #[serde(borrow)]
    pub host: Option<Text<'l>>,
    /// The path as it was sent.
    #[serde(borrow)]
    pub path: Option<Text<'l>>,
    /// The query, or its names.
    #[serde(borrow)]
    pub query: Option<Text<'l>>,
    /// `HTTP/1.1`.
    #[serde(borrow)]
    pub protocol: Option<Text<'l>>,
    /// The answer's status; absent when none was sent.
    pub status: Option<u16>,
    /// The `grpc-status` of the answer.
    pub grpc_status: Option<u64>,
    /// Body bytes from the client.
    #[serde(default)]
    pub request_bytes: u64,
    /// Body bytes to the client.
    #[serde(default)]
    pub response_bytes: u64,
    /// From the head's begin to the end, microseconds.
    #[serde(default)]
    pub duration_us: u64,
    /// Until the head of the upstream's answer, microseconds.
    pub upstream_us: Option<u64>,
    /// The upstream's address.
    #[serde(borrow)]
    pub upstream: Option<Text<'l>>,
    /// What the client calls itself.
    #[serde(borrow)]
    pub user_agent: Option<Text<'l>>,
    /// How it ended.
    #[serde(borrow)]
    pub end: Text<'l>,
    /// What went wrong, in words.
    #[serde(borrow)]
    pub error: Option<Text<'l>>,
    /// Whether a text was too long and is cut.
    #[serde(default)]
    pub truncated: bool,
}

impl<'l> Entry<'l> {
    /// Reads a line; none if it is no line of this log.
    #[must_use]
    pub fn parse(line: &'l [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// Reads a line that is text already.
    #[must_use]
    pub fn of(line: &'l str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// Every text of the record.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let always = [&self.time, &self.request_id, &self.decision, &self.end];
        let sometimes = [
            &self.trace_id,
            &self.reason,
            &self.hint,
            &self.key_id,
            &self.key_name,
            &self.token_fingerprint,
            &self.client_ip,
            &self.client_subject,
            &self.method,
            &self.scheme,
            &self.host,
            &self.path,
            &self.query,
            &self.protocol,
            &self.upstream,
            &self.user_agent,
            &self.error,
        ];
        let sometimes = sometimes.into_iter().flatten();
        always.into_iter().chain(sometimes).map(|text| &**text)
    }

    /// When the request's head began; none where the text is no date.
    #[must_use]
    pub fn began(&self) -> Option<Timestamp> {
        Timestamp::parse(&self.time).ok()
    }
}

/// Text that is borrowed from the line unless it had escapes. (serde borrows a `Cow` only outside of an `Option`.)
#[derive(Clone, PartialEq, Eq)]
pub struct Text<'l>(Cow<'l, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de: 'l, 'l> Deserialize<'de> for Text<'l> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrowing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_borrowed_unless_they_have_escapes() {
        let line = br#"{"time":"2026-11-23T10:00:00.000001Z","request_id":"r-1","decision":"allowed","key_name":"a\"b","path":"/x","status":200,"end":"complete","something_new":[1]}"#;
        let entry = Entry::parse(line).unwrap();
        assert!(matches!(entry.path, Some(Text(Cow::Borrowed("/x")))));
        assert_eq!(entry.key_name.as_deref(), Some("a\"b"));
        assert_eq!(entry.status, Some(200));
        assert_eq!(
            entry.began(),
            Timestamp::parse("2026-11-23T10:00:00.000001Z").ok()
        );
    }

    #[test]
    fn what_is_no_record_is_none() {
        for line in [
            "",
            "{}",
            "null",
            "[]",
            "{\"time\":1}",
            "\0\0\0",
            "{\"time\":\"2026",
        ] {
            assert!(Entry::parse(line.as_bytes()).is_none(), "{line:?}");
        }
    }
}
