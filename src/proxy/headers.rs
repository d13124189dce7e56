//! Fields on their way through, in both directions. What belongs to one connection stays there, what
//! `Connection` names goes, but never what is ours; credentials and forged identities go next, and our own
//! fields come last, so that nothing in the request can have them removed. The upstream side frames the
//! message anew: Content-Length and Transfer-Encoding of a request end here.
//! Not for: the framing of bodies (`upstream`, hyper), or what counts as a credential (`auth`).

mod hop;

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::Uri;
use http::Version;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;
use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

use crate::auth::Policy;
use crate::config::Target;
use crate::config::Upstream;
use crate::config::UpstreamHost;
use crate::key::Key;
use crate::proxy::forwarded;
use crate::proxy::forwarded::Client;
use crate::proxy::forwarded::X_FORWARDED_FOR;
use crate::proxy::forwarded::X_FORWARDED_HOST;
use crate::proxy::forwarded::X_FORWARDED_PROTO;
use crate::proxy::headers::hop::Direction;

/// Names a request in both logs.
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is kept.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What `encodeURIComponent` leaves alone, so that its inverse reads a key's name everywhere.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The `Host` that the upstream sees, made once from `upstream_host`.
#[derive(Clone, Debug)]
pub struct HostRule {
    value: HeaderValue,
    keep: bool,
}

impl HostRule {
    /// From the `upstream` section; none when the configured name cannot stand in a field.
    #[must_use]
    pub fn new(upstream: &Upstream) -> Option<Self> {
        let text = match &upstream.host {
            UpstreamHost::Name(name) => Cow::Borrowed(name.as_str()),
            UpstreamHost::Keep | UpstreamHost::Upstream => match &upstream.target {
                Target::Address(address) if address.port() == upstream.speech.port() => {
                    let text = address.to_string();
                    let end = text.rfind(':').unwrap_or(text.len());
                    text[..end].to_owned().into()
                }
                Target::Address(address) => address.to_string().into(),
                Target::Name { name, port } if *port == upstream.speech.port() => {
                    Cow::Borrowed(name.as_str())
                }
                Target::Name { name, port } => format!("{name}:{port}").into(),
                Target::Unix(_) => Cow::Borrowed("localhost"),
            },
        };
        HeaderValue::from_str(&text)
            .ok()
            .filter(|_| text.is_ascii())?;
        // Leaked, once in the life of the process: workers clone it without counting in one place.
        let value = HeaderValue::from_static(text.into_owned().leak());
        Some(Self {
            value,
            keep: upstream.host == UpstreamHost::Keep,
        })
    }
}

/// What has to be known to send a request on.
#[derive(Clone, Copy)]
pub struct Upstreamward<'a> {
    /// What a credential is, and where the identity goes.
    pub policy: &'a Policy,
    /// The key to tell the upstream about (`Verdict::identity`).
    pub identity: Option<&'a Key>,
    /// Who sent it.
    pub client: Client,
    /// The peer of the connection (`forwarded::peer_value`); none on a Unix socket.
    pub peer: Option<&'a HeaderValue>,
    /// The id of the request when the client's own is not kept ([`request_id`]).
    pub made_request_id: Option<&'a HeaderValue>,
    /// Which `Host` to send.
    pub host: &'a HostRule,
}

/// The request id that the client chose, if it is well-formed: one field of 1 to 128 of
/// `A-Z a-z 0-9 . _ : / + = @ -`.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(&X_REQUEST_ID).iter();
    let id = values.next()?.to_str().ok()?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/+=@-".contains(&byte);
    let well_formed = (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(allowed);
    (well_formed && values.next().is_none()).then_some(id)
}

/// Whether a request asks for a WebSocket: a GET of HTTP/1.1 without a body, with `Connection: upgrade` and
/// `websocket` among its upgrades. Every other upgrade is left out on the way, so it never happens.
#[must_use]
pub fn asks_for_websocket(parts: &Parts) -> bool {
    let headers = &parts.headers;
    headers.contains_key(header::UPGRADE)
        && parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && !headers.contains_key(header::TRANSFER_ENCODING)
        && headers
            .get(header::CONTENT_LENGTH)
            .is_none_or(|length| length == "0")
        && hop::list(headers, &header::CONNECTION)
            .any(|token| token.eq_ignore_ascii_case(b"upgrade"))
        && hop::list(headers, &header::UPGRADE)
            .any(|token| token.eq_ignore_ascii_case(b"websocket"))
}

/// Makes a client's request head into the one that the upstream gets. Framing fields and `Expect` are gone
/// afterwards; the caller knows the body and adds what it needs.
pub fn to_upstream(parts: &mut Parts, context: &Upstreamward<'_>) {
    let websocket = asks_for_websocket(parts);
    let headers = &mut parts.headers;
    let found = hop::scan(headers, Direction::Up);
    let mut trailers_accepted = false;
    let mut trailer = None;
    if !found.is_none() {
        trailers_accepted = reads_trailers(headers);
        if headers.contains_key(header::TRANSFER_ENCODING) {
            trailer = hop::announced(headers, |name| context.policy.owns(name));
        }
        hop::remove_listed(headers, |name| context.policy.owns(name));
        hop::remove(headers, found);
    }
    context.policy.strip_headers(headers);
    if websocket {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else if trailers_accepted {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te")); // RFC 9110 §10.1.4
    }
    if let Some(trailer) = trailer {
        headers.insert(header::TRAILER, trailer);
    }
    add_ours(headers, context);
    rewrite_target(parts, context.policy);
    parts.version = Version::HTTP_11;
}

/// Whether an element of `TE` is `trailers`, with or without a weight.
fn accepts_trailers(element: &[u8]) -> bool {
    let name = element
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or(element);
    name.trim_ascii().eq_ignore_ascii_case(b"trailers")
}

fn add_ours(headers: &mut HeaderMap, context: &Upstreamward<'_>) {
    if let Some(key) = context.identity {
        let names = context.policy.identity();
        let id = HeaderValue::from_str(key.id().as_str()).expect("an id is visible ASCII");
        headers.insert(names.id.clone(), id);
        headers.insert(names.name.clone(), encoded_name(key.name()));
    }
    if let Some(id) = context.made_request_id {
        headers.insert(X_REQUEST_ID.clone(), id.clone());
    }
    add_forwarded(headers, context);
    if !context.host.keep || !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, context.host.value.clone());
    }
}

fn encoded_name(name: &str) -> HeaderValue {
    let encoded: Cow<'_, str> = utf8_percent_encode(name, NAME).into();
    HeaderValue::from_str(&encoded).expect("percent-encoded text is visible ASCII")
}

/// Says for whom we forward. What a trusted proxy said stays, with its own address added; the rest is ours. What it said
/// in `Forwarded` only is said in our words as well.
fn add_forwarded(headers: &mut HeaderMap, context: &Upstreamward<'_>) {
    let Client {
        trusted, scheme, ..
    } = context.client;
    let proto = HeaderValue::from_static(scheme.as_str());
    let host = headers.get(header::HOST).cloned();
    if !trusted {
        headers.remove(header::FORWARDED);
        replace(headers, &X_FORWARDED_FOR, context.peer.cloned());
        replace(headers, &X_FORWARDED_PROTO, Some(proto));
        replace(headers, &X_FORWARDED_HOST, host);
        return;
    }
    let told_host = forwarded::told_host(headers);
    let chain = joined(headers, context.peer);
    replace(headers, &X_FORWARDED_FOR, chain);
    if !headers.contains_key(&X_FORWARDED_PROTO) {
        replace(headers, &X_FORWARDED_PROTO, Some(proto));
    }
    if !headers.contains_key(&X_FORWARDED_HOST) {
        replace(headers, &X_FORWARDED_HOST, told_host.or(host));
    }
}

fn replace(headers: &mut HeaderMap, name: &HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(name.clone(), value)),
        None => drop(headers.remove(name)),
    }
}

/// All `X-Forwarded-For` fields as one, or what `Forwarded` says in their place, with the peer at the end.
fn joined(headers: &HeaderMap, peer: Option<&HeaderValue>) -> Option<HeaderValue> {
    let mut chain = Vec::with_capacity(64);
    let mut add = |element: &[u8]| {
        if !chain.is_empty() {
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(element);
    };
    for ip in forwarded::told_otherwise(headers) {
        add(ip.to_string().as_bytes());
    }
    for value in headers.get_all(&X_FORWARDED_FOR).iter().chain(peer) {
        add(value.as_bytes());
    }
    HeaderValue::from_maybe_shared(Bytes::from(chain))
        .ok()
        .filter(|value| !value.is_empty())
}

/// Only path and query go out, whatever form the target came in, so that it cannot choose the upstream.
fn rewrite_target(parts: &mut Parts, policy: &Policy) {
    let Some(target) = parts.uri.path_and_query() else {
        parts.uri = Uri::from_static("/");
        return;
    };
    let stripped = policy.strip_query(target.as_str());
    let rooted = stripped.starts_with(['/', '*']);
    let text = match stripped {
        Cow::Borrowed(_) if rooted && parts.uri.authority().is_none() => return,
        text if rooted => text.into_owned(),
        text => format!("/{text}"), // `http://host?query` has no path of its own
    };
    let target = PathAndQuery::from_maybe_shared(Bytes::from(text))
        .expect("a target without some of its pairs is a target");
    parts.uri = Uri::from(target);
}

/// Makes the upstream's answer head into the one that the client gets. `trailers`: whether the client reads
/// trailers, so that their announcement may stay.
pub fn to_client(status: StatusCode, headers: &mut HeaderMap, trailers: bool) {
    if status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_LENGTH); // RFC 9110 §8.6; there are clients that wait for what it promises
    }
    let found = hop::scan(headers, Direction::Down);
    if found.is_none() {
        return;
    }
    let trailer = if trailers {
        hop::announced(headers, |_| false)
    } else {
        None
    };
    let switching = status == StatusCode::SWITCHING_PROTOCOLS;
    let upgrade = if switching {
        headers.get(header::UPGRADE).cloned()
    } else {
        None
    };
    hop::remove_listed(headers, |_| false);
    hop::remove(headers, found);
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if let Some(trailer) = trailer {
        headers.insert(header::TRAILER, trailer);
    }
}

/// Takes out of a request's trailers what may not be in them, and what may not reach the upstream.
pub fn trailers_to_upstream(trailers: &mut HeaderMap, policy: &Policy) {
    hop::remove_from_trailers(trailers);
    policy.strip_trailers(trailers);
}

/// Takes out of an answer's trailers what may not be in them.
pub fn trailers_to_client(trailers: &mut HeaderMap) {
    hop::remove_from_trailers(trailers);
}

/// Whether a client reads trailers: it said `TE: trailers`.
#[must_use]
pub fn reads_trailers(headers: &HeaderMap) -> bool {
    hop::list(headers, &header::TE).any(accepts_trailers)
}

#[cfg(test)]
mod tests;
