//! Where a request carries its token. A source is present when it holds something other than white space;
//! a field, parameter or cookie that comes twice is told apart, even if one of the two is empty, because
//! whoever stands behind us may read the other one. The token is not copied, except to decode a query, and
//! that copy is wiped. Not for: removing credentials before the upstream, which is `strip`.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header;
use zeroize::Zeroizing;

use crate::auth::Asked;
use crate::auth::form;
use crate::config::Source;
use crate::key::token::Digest;

/// The longest token.
const TOKEN_BYTES_MAX: usize = 512;

/// As long in base64url, without padding.
const ENCODED_BYTES_MAX: usize = (TOKEN_BYTES_MAX * 4).div_ceil(3);

/// What a WebSocket sub-protocol begins with that carries a token.
const WS_PROTOCOL: &[u8] = b"keygate.";

/// What a source holds.
pub(super) enum Presented<'a> {
    /// One credential.
    Once(Credential<'a>),
    /// More than one, or one and an empty one.
    Repeated,
}

/// A credential as it stands in the request; not empty, and perhaps not a token.
#[derive(Clone, Copy)]
pub(super) enum Credential<'a> {
    /// The token itself, without white space around it.
    Plain(&'a [u8]),
    /// Form-encoded.
    Encoded(&'a str),
    /// In base64url without padding (RFC 4648 §5): what a sub-protocol may hold.
    Base64(&'a [u8]),
}

impl<'a> Credential<'a> {
    /// The digest of the token; none when the text is not a token.
    pub(super) fn digest(self) -> Option<Digest> {
        match self {
            Self::Plain(token) => digest_of(token),
            Self::Encoded(text) => {
                let mut decoded = Zeroizing::new([0; TOKEN_BYTES_MAX]);
                let mut length = 0;
                for byte in form::decode(text) {
                    *decoded.get_mut(length)? = byte;
                    length += 1;
                }
                digest_of(trim(&decoded[..length]))
            }
            Self::Base64(text) => {
                let mut decoded = Zeroizing::new([0; TOKEN_BYTES_MAX]);
                let length = from_base64(text, &mut *decoded)?;
                digest_of(&decoded[..length])
            }
        }
    }

    /// The text as it stands in the request.
    pub(super) fn text(self) -> &'a [u8] {
        match self {
            Self::Plain(token) => token,
            Self::Encoded(text) => text.as_bytes(),
            Self::Base64(text) => text,
        }
    }
}

/// How many bytes this text stands for, which are in `decoded` then; none when it stands for nothing, or for more.
fn from_base64(text: &[u8], decoded: &mut [u8]) -> Option<usize> {
    if text.len() > ENCODED_BYTES_MAX {
        return None;
    }
    BASE64_URL_SAFE_NO_PAD.decode_slice(text, decoded).ok()
}

/// Whether this is base64url as a sub-protocol may hold it.
pub(super) fn is_base64(text: &[u8]) -> bool {
    let mut decoded = Zeroizing::new([0; TOKEN_BYTES_MAX]);
    from_base64(text, &mut *decoded).is_some()
}

fn digest_of(token: &[u8]) -> Option<Digest> {
    let is_token = token.len() <= TOKEN_BYTES_MAX && token.iter().all(u8::is_ascii_graphic);
    is_token.then(|| Digest::of(token))
}

/// What this source holds in this request; none when it is absent or empty.
pub(super) fn find<'a>(source: &Source, asked: &Asked<'a>) -> Option<Presented<'a>> {
    let parts = asked.parts;
    match source {
        Source::Header(name) => {
            let values = parts.headers.get_all(name).iter();
            only(values.map(|value| plain(value.as_bytes())))
        }
        Source::Bearer => only(bearer_values(&parts.headers).map(|token| {
            (!token.is_empty()).then_some(Credential::Plain(token)) // not trimmed again: see `bearer_value`
        })),
        Source::Query(name) => {
            let pairs = form::pairs(parts.uri.query()?).filter(|pair| pair.is(name));
            only(pairs.map(|pair| encoded(pair.value)))
        }
        Source::Cookie(name) => {
            let cookies = parts.headers.get_all(header::COOKIE).iter();
            let pairs = cookies.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
            only(pairs.filter_map(|pair| cookie_value(pair, name)).map(plain))
        }
        Source::WsProtocol if !asked.websocket => None,
        Source::WsProtocol => only(
            ws_protocols(&parts.headers)
                .map(|token| (!token.is_empty()).then_some(Credential::Base64(token))),
        ),
    }
}

/// The one value that is not empty; `Repeated` when it has company.
fn only<'a>(mut values: impl Iterator<Item = Option<Credential<'a>>>) -> Option<Presented<'a>> {
    let first = values.next()?;
    let Some(second) = values.next() else {
        return first.map(Presented::Once);
    };
    let filled = first.is_some() || second.is_some() || values.any(|value| value.is_some());
    filled.then_some(Presented::Repeated)
}

fn plain(value: &[u8]) -> Option<Credential<'_>> {
    let token = trim(value);
    (!token.is_empty()).then_some(Credential::Plain(token))
}

fn encoded(value: &str) -> Option<Credential<'_>> {
    if form::is_plain(value) {
        return plain(value.as_bytes());
    }
    let blank = form::decode(value).all(|byte| matches!(byte, b' ' | b'\t'));
    (!blank).then_some(Credential::Encoded(value))
}

/// Optional white space around field values, RFC 9110 §5.6.3: space and tab, nothing else.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// What stands behind `Bearer` in the `Authorization` fields that have this scheme.
fn bearer_values(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .filter_map(|value| bearer_value(value.as_bytes()))
}

/// The credentials of a `Bearer` field; none for other schemes. Only spaces may stand between the two: a
/// tab is taken for a part of the token, which makes it malformed.
pub(super) fn bearer_value(value: &[u8]) -> Option<&[u8]> {
    let value = trim(value);
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return None;
    }
    match rest {
        [] | [b' ' | b'\t', ..] => Some(trim_spaces(rest)),
        _ => None,
    }
}

/// What the sub-protocols hold that are there to carry a token.
pub(super) fn ws_protocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|element| trim(element).strip_prefix(WS_PROTOCOL))
}

/// Whether a sub-protocol is there to carry a token, or somebody could think so: names of sub-protocols have
/// case, and not everybody knows.
pub(super) fn is_ws_protocol(element: &[u8]) -> bool {
    let start = trim(element).get(..WS_PROTOCOL.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(WS_PROTOCOL))
}

fn trim_spaces(mut text: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    text
}

/// The value of a cookie pair that has this name; a bare name has an empty value.
pub(super) fn cookie_value<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let rest = trim(pair).strip_prefix(name.as_bytes())?;
    match trim(rest) {
        [] => Some(&[]),
        [b'=', value @ ..] => Some(value),
        _ => None,
    }
}
