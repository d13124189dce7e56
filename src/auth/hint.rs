//! What probably went wrong on the caller's side, for the transaction and never for the caller. Fixed
//! sentences: nothing of the request can get into them. Only refusals pay for this.

use http::HeaderMap;
use http::HeaderName;
use http::header;

use crate::auth::Asked;
use crate::auth::credential;
use crate::auth::credential::Credential;
use crate::auth::form;
use crate::auth::strip::look_alike;
use crate::config::Source;

pub(super) const REPEATED: &str =
    "the key was sent more than once: does a proxy in front add it as well?";
pub(super) const CONFLICTING: &str =
    "two sources hold different keys and auth.on_conflict is reject";

/// Where clients put a key when nobody tells them.
const USUAL_HEADERS: [&str; 4] = ["x-api-key", "api-key", "apikey", "x-auth-token"];
const USUAL_PARAMETERS: [&str; 5] = ["api_key", "apikey", "api-key", "access_token", "key"];

/// For a request without a token.
pub(super) fn missing(sources: &[Source], asked: &Asked<'_>) -> Option<&'static str> {
    let parts = asked.parts;
    let headers = &parts.headers;
    let bearer_on = sources.contains(&Source::Bearer);
    let is_source = |name: &str| {
        sources
            .iter()
            .any(|source| matches!(source, Source::Header(header) if header.as_str() == name))
    };
    for source in sources {
        if let Some(hint) = nearly(source, asked) {
            return Some(hint);
        }
    }
    if has_ws_protocol(headers) && !sources.contains(&Source::WsProtocol) {
        return Some("a sub-protocol keygate.… is present but the ws_protocol source is off");
    }
    let authorization = headers.get(header::AUTHORIZATION);
    if authorization.is_some_and(|value| credential::bearer_value(value.as_bytes()).is_some())
        && !bearer_on
    {
        return Some("Authorization: Bearer is present but the bearer source is off");
    }
    if authorization.is_some() && bearer_on {
        return Some("Authorization is present with another scheme than Bearer");
    }
    if USUAL_HEADERS
        .iter()
        .any(|name| !is_source(name) && headers.contains_key(*name))
    {
        return Some("a header that usually carries a key is present but is no source");
    }
    let is_usual = |pair: form::Pair<'_>| USUAL_PARAMETERS.iter().any(|name| pair.is(name));
    let mut pairs = parts.uri.query().into_iter().flat_map(form::pairs);
    pairs
        .any(is_usual)
        .then_some("a query parameter that usually carries a key is present but is no source")
}

/// What stands where the token should be.
fn nearly(source: &Source, asked: &Asked<'_>) -> Option<&'static str> {
    let parts = asked.parts;
    match source {
        Source::Header(name) if parts.headers.contains_key(name) => {
            Some("the key header is present but empty")
        }
        Source::Header(name) if has_look_alike(&parts.headers, name) => {
            Some("a header that differs from the key header in _ and - is present; it never counts")
        }
        Source::Query(name) if form::pairs(parts.uri.query()?).any(|pair| pair.is(name)) => {
            Some("the key parameter is present but empty")
        }
        Source::WsProtocol if !has_ws_protocol(&parts.headers) => None,
        Source::WsProtocol if !asked.websocket => Some(
            "a sub-protocol keygate.… is present, and counts only where a WebSocket is asked for",
        ),
        Source::WsProtocol if credential::ws_protocols(&parts.headers).next().is_some() => {
            Some("the sub-protocol keygate. is present but nothing follows its dot")
        }
        Source::WsProtocol => {
            Some("a sub-protocol that differs from keygate. in case is present; it never counts")
        }
        Source::Header(_) | Source::Query(_) | Source::Cookie(_) | Source::Bearer => None,
    }
}

fn has_ws_protocol(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    values.any(|value| {
        let mut elements = value.as_bytes().split(|byte| *byte == b',');
        elements.any(credential::is_ws_protocol)
    })
}

fn has_look_alike(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .keys()
        .any(|other| look_alike(name.as_str(), other.as_str()))
}

/// For a credential that cannot be a token.
pub(super) fn malformed(credential: Credential<'_>) -> Option<&'static str> {
    let text = credential.text();
    if let Credential::Base64(text) = credential {
        return malformed_base64(text);
    }
    if credential::bearer_value(text).is_some() {
        return Some(
            "the value begins with Bearer: only the key belongs there, or the bearer source is meant",
        );
    }
    if text.windows(3).any(|bytes| bytes == "…".as_bytes()) {
        return Some("this looks like the mask that lists show, not like a key");
    }
    if text.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'+')) {
        return Some("there is white space inside the key");
    }
    None
}

fn malformed_base64(text: &[u8]) -> Option<&'static str> {
    if text.starts_with(b"kg_") {
        return Some("the key follows keygate. as it is: base64url of it belongs there");
    }
    (!credential::is_base64(text))
        .then_some("what follows keygate. is not base64url without padding")
}

/// For a token that no key has.
pub(super) fn unknown(credential: Credential<'_>) -> Option<&'static str> {
    let text = credential.text();
    match text {
        [b's', b'h', b'a', b'2', b'5', b'6', b':', ..] => {
            Some("this looks like a digest from the key file: clients send the key itself")
        }
        [b'"' | b'\'', .., b'"' | b'\''] => {
            Some("the key is in quotes, which count as a part of it")
        }
        [b'k', b'g', b'_', ..] if text.len() != 41 => Some(
            "this begins like a key that keygate made and has another length: it was cut or extended",
        ),
        _ => None,
    }
}
