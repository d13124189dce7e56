//! Fields that belong to one connection (RFC 9110 §7.6.1): by their names, and those that `Connection`
//! names. One pass over the names finds them; most heads have at most `Connection` itself. Names that some
//! upstreams would take for one of these or for ours, with `_` for `-`, go with them.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::auth::look_alike;

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the upstream.
    Up,
    /// To the client.
    Down,
}

/// Which of [`FIELDS`] a head has: bit n stands for the n-th.
#[derive(Clone, Copy)]
pub(super) struct Found(u32);

impl Found {
    pub(super) const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// What is removed, in the order of [`bit`]. The proxy fields apply to the next hop only (RFC 9110 §11.7),
/// and that is us. Content-Length and Expect belong to no hop; those of a request end here all the same,
/// because the upstream side frames it anew.
static FIELDS: [HeaderName; 13] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::CONTENT_LENGTH,
    header::EXPECT,
];

/// Not in [`FIELDS`]: some name has `_` where one of ours has `-`.
const LOOK_ALIKE: u32 = 1 << 31;

/// What of [`FIELDS`] an answer keeps: Content-Length says how long it is, also to HEAD.
const KEPT_DOWN: u32 = bit("content-length") | bit("expect");

const fn bit(name: &str) -> u32 {
    match name.as_bytes() {
        b"connection" => 1,
        b"keep-alive" => 1 << 1,
        b"proxy-connection" => 1 << 2,
        b"te" => 1 << 3,
        b"trailer" => 1 << 4,
        b"transfer-encoding" => 1 << 5,
        b"upgrade" => 1 << 6,
        b"http2-settings" => 1 << 7,
        b"proxy-authorization" => 1 << 8,
        b"proxy-authenticate" => 1 << 9,
        b"proxy-authentication-info" => 1 << 10,
        b"content-length" => 1 << 11,
        b"expect" => 1 << 12,
        _ => 0,
    }
}

/// Fields that keygate writes or routes by. `Connection` cannot have them removed, a trailer cannot bring
/// them, and what looks like them does not reach the upstream.
const OURS: [&str; 6] = [
    "host",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

/// Bit n: a name with `-` in [`FIELDS`] or [`OURS`] is n bytes long.
const LENGTHS: u32 = 1 << "x-request-id".len()
    | 1 << "keep-alive".len()
    | 1 << "content-length".len()
    | 1 << "x-forwarded-for".len()
    | 1 << "proxy-connection".len()
    | 1 << "transfer-encoding".len()
    | 1 << "proxy-authenticate".len()
    | 1 << "proxy-authorization".len()
    | 1 << "proxy-authentication-info".len();

/// Looks through the names once.
pub(super) fn scan(headers: &HeaderMap, direction: Direction) -> Found {
    let mut found = 0;
    for name in headers.keys() {
        let name = name.as_str();
        found |= bit(name);
        if name.len() < 32 && LENGTHS >> name.len() & 1 != 0 && name.contains('_') {
            found |= LOOK_ALIKE;
        }
    }
    match direction {
        Direction::Up => Found(found),
        Direction::Down => Found(found & !KEPT_DOWN & !LOOK_ALIKE),
    }
}

/// Removes what [`scan`] found.
pub(super) fn remove(headers: &mut HeaderMap, Found(mut found): Found) {
    if found & LOOK_ALIKE != 0 {
        found &= !LOOK_ALIKE;
        remove_all(headers, |name| name.contains('_') && is_special(name));
    }
    while found != 0 {
        headers.remove(&FIELDS[found.trailing_zeros() as usize]);
        found &= found - 1;
    }
}

/// Removes the fields that `Connection` names, except what keygate owns, frames or routes by.
pub(super) fn remove_listed(headers: &mut HeaderMap, owns: impl Fn(&HeaderName) -> bool) {
    let known = |token: &[u8]| {
        let options: [&[u8]; 4] = [b"keep-alive", b"close", b"upgrade", b"te"];
        options
            .iter()
            .any(|option| token.eq_ignore_ascii_case(option))
    };
    if list(headers, &header::CONNECTION).all(known) {
        return;
    }
    let names: Vec<HeaderName> = list(headers, &header::CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !is_special(name.as_str()) && !owns(name))
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// `Trailer` as it may be announced to the next hop: without fields that [`remove_from_trailers`] or the
/// owner takes out.
pub(super) fn announced(
    headers: &HeaderMap,
    owns: impl Fn(&HeaderName) -> bool,
) -> Option<HeaderValue> {
    let mut kept = String::new();
    for name in
        list(headers, &header::TRAILER).filter_map(|token| HeaderName::from_bytes(token).ok())
    {
        if !is_special(name.as_str()) && !owns(&name) {
            kept.push_str(if kept.is_empty() { "" } else { ", " });
            kept.push_str(name.as_str());
        }
    }
    HeaderValue::try_from(kept)
        .ok()
        .filter(|value| !value.is_empty())
}

/// Removes what a trailer cannot bring after the head was judged: framing, routing and forwarding.
pub(super) fn remove_from_trailers(trailers: &mut HeaderMap) {
    remove_all(trailers, is_special);
}

/// The elements of a comma-separated field, without the empty ones.
pub(super) fn list<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).iter();
    let elements = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    elements
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Whether a name is, or looks like, one of [`FIELDS`] or [`OURS`].
fn is_special(name: &str) -> bool {
    FIELDS
        .iter()
        .map(HeaderName::as_str)
        .chain(OURS)
        .any(|special| look_alike(special, name))
}

fn remove_all(headers: &mut HeaderMap, mut goes: impl FnMut(&str) -> bool) {
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| goes(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_lengths_agree_with_the_fields() {
        for (index, field) in FIELDS.iter().enumerate() {
            assert_eq!(bit(field.as_str()), 1 << index, "{field}");
        }
        for name in FIELDS.iter().map(HeaderName::as_str).chain(OURS) {
            assert_eq!(
                name.contains('-'),
                LENGTHS >> name.len() & 1 != 0 && name.contains('-'),
                "{name}"
            );
        }
    }
}
