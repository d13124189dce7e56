//! Requests as tests write them most often.

use crate::harness::setup::GOOD;

/// `GET target` with the good key.
pub(crate) fn get(target: &str) -> String {
    with_token(target, GOOD)
}

/// `GET target` with this token in `x-api-key`.
pub(crate) fn with_token(target: &str, token: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: app\r\nx-api-key: {token}\r\n\r\n")
}

/// A request with the good key: first line without the version, and more field lines (each with CR LF).
pub(crate) fn request(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: app\r\nx-api-key: {GOOD}\r\n{fields}\r\n")
}

/// A POST with the good key and a body of known length.
pub(crate) fn post(target: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = request(
        &format!("POST {target}"),
        &format!("content-length: {}\r\n", body.len()),
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
