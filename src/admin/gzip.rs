//! Answers that travel compressed, to whoever takes that. Only what holds no secret may: the size of a compressed
//! answer tells something of what is in it. Not for: which answers those are.

use std::io::Write;

use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::header;
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::admin::keys::json_bytes;

/// What is shorter fits in a packet as it is.
const SHORT_BYTES: usize = 1_024;

/// An answer of this value, compressed if that helps and `asked`, the head of the request, lets it.
pub(super) fn json(asked: &HeaderMap, value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("answers are made of text and numbers");
    let mut response = if text.len() > SHORT_BYTES && is_taken(asked) {
        let mut response = json_bytes(zipped(&text, Compression::default()).into());
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, GZIP);
        response
    } else {
        json_bytes(text.into())
    };
    response.headers_mut().insert(header::VARY, BY_ENCODING);
    response
}

/// For `Content-Encoding`.
pub(super) const GZIP: HeaderValue = HeaderValue::from_static("gzip");
/// For `Vary`.
pub(super) const BY_ENCODING: HeaderValue = HeaderValue::from_static("accept-encoding");

/// The bytes, compressed.
pub(super) fn zipped(bytes: &[u8], effort: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), effort);
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("memory takes what is written")
}

/// Whether `Accept-Encoding` lets gzip in (RFC 9110 §12.5.3); without the field, nothing but the plain bytes.
pub(super) fn is_taken(asked: &HeaderMap) -> bool {
    let lines = asked.get_all(header::ACCEPT_ENCODING).iter();
    let items = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    let mut any = false;
    for item in items {
        let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
        let taken = !is_zero(weight);
        match coding.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => return taken,
            "*" => any = taken,
            _ => {}
        }
    }
    any
}

/// `q=0`, `q=0.000`: not at all.
fn is_zero(weight: &str) -> bool {
    let weight = weight.trim().to_ascii_lowercase();
    let number = weight.strip_prefix("q=");
    number.is_some_and(|number| {
        number.starts_with('0') && number.bytes().all(|byte| b"0.".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn gzip_is_sent_to_whoever_takes_it() {
        for (accepted, taken) in [
            (&[][..], false),
            (&["gzip"], true),
            (&["br, GZip;q=0.5"], true),
            (&["br", "gzip"], true),
            (&["gzip;q=0, *"], false),
            (&["gzip; Q=0.000"], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["br, deflate, identity"], false),
            (&["gzipped"], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in accepted {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(is_taken(&headers), taken, "{accepted:?}");
        }
    }

    #[test]
    fn what_is_compressed_is_the_same_behind_it() {
        let (text, mut found) = (b"let a = 1;".repeat(99), Vec::new());
        for effort in [Compression::fast(), Compression::best()] {
            let zipped = zipped(&text, effort);
            assert!(zipped.len() < text.len() / 2);
            found.clear();
            GzDecoder::new(&*zipped).read_to_end(&mut found).unwrap();
            assert_eq!(found, text);
        }
    }
}
