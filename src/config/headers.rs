//! Header fields that have a purpose of their own: the one table of what can carry neither a token nor an
//! identity. `check` names them with their line; `auth` asks here again, for whoever builds a section by hand.

use http::HeaderName;
use http::header;

/// Fields that frame or route a message, describe its body, or are written by keygate itself.
const RESERVED: [&str; 22] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// Whether the whole value of this field may be a token. A cookie is a source of its own kind.
#[must_use]
pub fn may_carry_token(name: &HeaderName) -> bool {
    *name != header::COOKIE && !RESERVED.contains(&name.as_str())
}

/// Whether this field may tell the upstream who called. What holds credentials may not: it is the client's.
#[must_use]
pub fn may_carry_identity(name: &HeaderName) -> bool {
    may_carry_token(name) && *name != header::AUTHORIZATION
}
