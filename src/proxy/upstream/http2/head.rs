//! The head of a request as HTTP/2 has it (RFC 9113 §8.3): what HTTP/1 says in its first line and in Host goes into
//! pseudo fields, and what belongs to a connection of HTTP/1 stays behind. Pure.

use h2::ext::Protocol;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Uri;
use http::header;
use http::uri::Authority;
use http::uri::PathAndQuery;
use http::uri::Scheme;

use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::message::Outgoing;

/// Of no use where the tunnel is the answer itself (RFC 8441 §5).
const SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");

/// What stays behind. `TE: trailers`, the one that HTTP/2 knows, does not.
const OF_HTTP1: [HeaderName; 4] = [
    header::HOST,
    header::CONNECTION,
    header::UPGRADE,
    header::EXPECT,
];

/// `length`: of the body, if it has a known one.
pub(super) fn of(
    outgoing: &Outgoing<'_>,
    scheme: &Scheme,
    length: Option<u64>,
) -> Result<Request<()>, UpstreamFailure> {
    let unsendable = UpstreamFailure::Unsendable;
    let host = outgoing.headers.get(header::HOST);
    let host = host.ok_or_else(|| unsendable("it has no Host"))?;
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(scheme.clone());
    uri.authority = Some(
        Authority::try_from(host.as_bytes())
            .map_err(|_| unsendable("its Host cannot be an :authority"))?,
    );
    uri.path_and_query = Some(
        PathAndQuery::try_from(outgoing.target)
            .map_err(|_| unsendable("its target cannot be a :path"))?,
    );
    let uri = Uri::from_parts(uri).map_err(|_| unsendable("its target cannot be a URI"))?;
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    request.method_mut().clone_from(outgoing.method);
    let headers = request.headers_mut();
    headers.clone_from(outgoing.headers);
    if asks_for_websocket(outgoing) {
        headers.remove(SEC_WEBSOCKET_KEY);
    }
    for name in &OF_HTTP1 {
        headers.remove(name);
    }
    announce(headers, outgoing.method, length);
    if asks_for_websocket(outgoing) {
        *request.method_mut() = Method::CONNECT;
        let websocket = Protocol::from_static("websocket");
        request.extensions_mut().insert(websocket);
    }
    Ok(request)
}

/// Whether a request asks for a WebSocket; nobody else keeps its `Upgrade`.
pub(super) fn asks_for_websocket(outgoing: &Outgoing<'_>) -> bool {
    outgoing.headers.contains_key(header::UPGRADE)
}

/// RFC 9110 §8.6: where a body could be expected, its absence is said.
fn announce(headers: &mut HeaderMap, method: &Method, length: Option<u64>) {
    match length {
        None => {}
        Some(0) if !matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {}
        Some(length) => drop(headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length))),
    }
}
