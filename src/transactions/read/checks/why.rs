//! What is said of a check that failed: why, and what to do about it, with what the record knows.

use crate::refusal::Refusal;
use crate::transactions::read::entry::Entry;

/// Why it was refused, and what to do.
pub(super) fn sentence(refusal: Refusal, entry: &Entry<'_>) -> String {
    let key = key(entry);
    let or = |found: Option<&str>, other: &str| found.unwrap_or(other).to_owned();
    let hint = entry.hint.as_deref();
    match refusal {
        Refusal::MissingKey => said(
            "no place of auth.sources holds a token: send one there",
            hint,
        ),
        Refusal::UnknownKey => {
            let print = entry
                .token_fingerprint
                .as_deref()
                .map_or_else(String::new, |print| {
                    format!(
                        " (fingerprint {print}: search for it to see who else sends this token)"
                    )
                });
            let what = format!(
                "no key has this token{print}: it was rotated, deleted or mistyped; give the client a token that is valid"
            );
            said(&what, hint)
        }
        Refusal::MalformedKey => said(
            "the token has white space or other bytes that no token has, or is longer than 512: send it as it was made",
            hint,
        ),
        Refusal::DuplicateKey => said(
            "the token was sent more than once in one place: send it once",
            hint,
        ),
        Refusal::ConflictingKeys => said(
            "two places of auth.sources hold different tokens: send one of them",
            hint,
        ),
        Refusal::Disabled => format!("{key} is switched off: enable it, or use another key"),
        Refusal::Expired => {
            format!("{key} has expired: give it a later expires_at, or use another key")
        }
        Refusal::NotYetValid => {
            format!("{key} is not valid yet: wait for its not_before, or set an earlier one")
        }
        Refusal::NetworkNotAllowed => {
            let from = or(entry.client_ip.as_deref(), "this address");
            format!(
                "{key} may not be used from {from}: add its network to allow.networks, or check forwarded.trusted_proxies if that is a proxy"
            )
        }
        Refusal::MethodNotAllowed => {
            let method = or(entry.method.as_deref(), "this method");
            format!("{key} may not use {method}: add it to allow.methods")
        }
        Refusal::PathNotAllowed => {
            let path = or(entry.path.as_deref(), "this path");
            format!(
                "{key} may not use {path}: add a pattern to allow.paths that it matches when it is normalised"
            )
        }
        Refusal::BadRequest => said(
            "the request is malformed: the client has to be corrected",
            entry.error.as_deref(),
        ),
        Refusal::MethodNotSupported => {
            let method = or(entry.method.as_deref(), "this method");
            format!("{method} is never forwarded: CONNECT and TRACE have no place behind a gate")
        }
        Refusal::HeadTooLarge => said(
            "the head is larger than limits.header_bytes, or has more fields than limits.headers",
            entry.error.as_deref(),
        ),
        Refusal::BodyTooLarge => {
            "the body is larger than limits.body_bytes: send less, or raise the limit".to_owned()
        }
        Refusal::RequestTimeout => said(
            "the request did not arrive in time: see timeouts.header and timeouts.body",
            entry.error.as_deref(),
        ),
        Refusal::Unavailable => said(
            "keygate was stopping or had no room: try again",
            entry.error.as_deref(),
        ),
    }
}

pub(super) fn upstream_failed(entry: &Entry<'_>) -> String {
    let upstream = entry.upstream.as_deref().unwrap_or("the upstream");
    let what = format!(
        "{upstream} refused the connection or broke its answer: look whether the service runs, and into its log"
    );
    said(&what, entry.error.as_deref())
}

pub(super) fn upstream_timeout(entry: &Entry<'_>) -> String {
    let upstream = entry.upstream.as_deref().unwrap_or("the upstream");
    let what = format!(
        "{upstream} was too slow: look why, or raise timeouts.connect or timeouts.response"
    );
    said(&what, entry.error.as_deref())
}

/// What there is to say, and what the record says besides.
pub(super) fn said(what: &str, more: Option<&str>) -> String {
    more.map_or_else(|| what.to_owned(), |more| format!("{what} ({more})"))
}

/// `the key "billing" (k_1)`
pub(super) fn key(entry: &Entry<'_>) -> String {
    match (entry.key_name.as_deref(), entry.key_id.as_deref()) {
        (Some(name), Some(id)) => format!("the key {name:?} ({id})"),
        (Some(one), None) | (None, Some(one)) => format!("the key {one:?}"),
        (None, None) => "the key".to_owned(),
    }
}
