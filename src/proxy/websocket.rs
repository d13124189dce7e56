//! The opening handshake of WebSocket where keygate is one side of it: over HTTP/2 it is a CONNECT (RFC 8441), over
//! HTTP/1 a GET with a key that the server has to answer for (RFC 6455 §4). Between two sides of HTTP/1 it passes as it
//! is. Not for: the bytes behind it (`upgrade`).

use aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
use aws_lc_rs::digest::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::Version;
use http::header;
use http::request::Parts;

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

static SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
static SEC_WEBSOCKET_ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// Whether a request of HTTP/2 opens a WebSocket.
pub(crate) fn is_extended_connect(parts: &Parts) -> bool {
    let protocol = parts.extensions.get::<hyper::ext::Protocol>();
    parts.method == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Makes an extended CONNECT into the GET that it stands for, with a key of our own: from here on it is judged,
/// forwarded and answered like one.
pub(crate) fn as_upgrade(parts: &mut Parts) {
    let mut nonce = [0; 16];
    // Where it fails there is no randomness for anything; a fixed nonce harms nobody (RFC 6455 §10.3 is about caches).
    let _ = getrandom::fill(&mut nonce);
    let key = HeaderValue::try_from(STANDARD.encode(nonce)).expect("base64 is visible ASCII");
    parts.method = Method::GET;
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(SEC_WEBSOCKET_KEY.clone(), key);
}

/// What proves that a server has understood this request's key.
pub(crate) fn accept(request: &HeaderMap) -> Option<HeaderValue> {
    let key = request.get(&SEC_WEBSOCKET_KEY)?.as_bytes();
    let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    HeaderValue::try_from(STANDARD.encode(proof)).ok()
}

/// Whether an upstream of HTTP/1 has proved it.
pub(crate) fn accepts(request: &HeaderMap, answer: &HeaderMap) -> bool {
    let proof = answer.get(&SEC_WEBSOCKET_ACCEPT);
    proof.is_some() && proof == accept(request).as_ref()
}

/// Makes the 101 into what a client of HTTP/2 expects: 200, and none of what belongs to HTTP/1.
pub(crate) fn answer_to_connect(status: &mut StatusCode, fields: &mut HeaderMap) {
    *status = StatusCode::OK;
    fields.remove(header::UPGRADE);
    fields.remove(header::CONNECTION);
    fields.remove(&SEC_WEBSOCKET_ACCEPT);
    fields.remove(header::CONTENT_LENGTH);
}

/// Adds the proof to the answer of an upstream of HTTP/2, which knows none, for a client of HTTP/1.
pub(crate) fn add_proof(request: &HeaderMap, answer: &mut HeaderMap) {
    if let Some(proof) = accept(request) {
        answer.insert(SEC_WEBSOCKET_ACCEPT.clone(), proof);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_rfc() {
        let mut request = HeaderMap::new();
        request.insert(
            &SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        assert_eq!(accept(&request).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); // RFC 6455 §1.3
        let mut answer = HeaderMap::new();
        assert!(!accepts(&request, &answer));
        add_proof(&request, &mut answer);
        assert!(accepts(&request, &answer));
    }
}
