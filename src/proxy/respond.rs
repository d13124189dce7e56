//! keygate's own answers, and the only place with status codes: one row for each reason, no row for "any
//! other". A caller learns the code, never the true reason behind `invalid_key`.
//! Not for: whether the connection goes on afterwards, which is `connection`.

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Response;
use http::StatusCode;
use http::header;
use percent_encoding::AsciiSet;
use percent_encoding::CONTROLS;
use percent_encoding::utf8_percent_encode;

use crate::refusal::Reason;
use crate::refusal::Refusal;

/// What a gRPC message may not hold: all but visible ASCII and space, and the per cent sign itself.
const GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// After how many seconds it is worth trying again when keygate is draining or full.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What of a request shapes the answer to it.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// HEAD gets no body.
    pub method: &'a Method,
    /// Whether it speaks gRPC ([`is_grpc`]).
    pub grpc: bool,
    /// For the body, so that a caller can name the request.
    pub request_id: &'a str,
    /// For a 401 (`Policy::challenges`).
    pub challenges: &'a [HeaderValue],
}

/// Whether a request expects its answer in the form of gRPC.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let prefix = content_type.and_then(|value| value.get(..b"application/grpc".len()));
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"application/grpc"))
}

/// The status that goes with a reason, before gRPC hides it.
#[must_use]
pub const fn status(reason: Reason) -> StatusCode {
    row(reason).status
}

/// The answer to a request that stops here. `detail` tells the caller more than the reason's own sentence:
/// where to send the key, which timeout passed. It may hold nothing that the caller does not know already
/// or may not know.
#[must_use]
pub fn answer(reason: Reason, detail: Option<&str>, asker: &Asker<'_>) -> Response<Bytes> {
    let row = row(reason);
    let detail = detail.unwrap_or(row.detail);
    match row.grpc {
        Some(code) if asker.grpc => grpc(code, public_code(reason), detail),
        Some(_) | None => problem(reason, &row, detail, asker),
    }
}

/// One line of the refusal table, as the README shows it.
struct Row {
    status: StatusCode,
    /// The same in digits, for the body.
    digits: &'static str,
    /// The code that gRPC clients get; none: they get what everybody gets.
    grpc: Option<&'static str>,
    title: &'static str,
    detail: &'static str,
}

const fn row(reason: Reason) -> Row {
    match reason {
        Reason::Refused(refusal) => refusal_row(refusal),
        Reason::UpstreamFailed => Row {
            status: StatusCode::BAD_GATEWAY,
            digits: "502",
            grpc: Some("14"),
            title: "Upstream failed",
            detail: "the upstream could not be reached or broke its answer",
        },
        Reason::UpstreamTimeout => Row {
            status: StatusCode::GATEWAY_TIMEOUT,
            digits: "504",
            grpc: Some("4"),
            title: "Upstream timeout",
            detail: "the upstream did not answer in time",
        },
    }
}

const fn refusal_row(refusal: Refusal) -> Row {
    let (status, digits, grpc, title, detail) = match refusal {
        Refusal::MissingKey => (
            StatusCode::UNAUTHORIZED,
            "401",
            Some("16"),
            "API key missing",
            "this request carries no API key",
        ),
        // One row: whoever tells these apart tells callers which tokens exist.
        Refusal::UnknownKey
        | Refusal::MalformedKey
        | Refusal::DuplicateKey
        | Refusal::ConflictingKeys
        | Refusal::Disabled
        | Refusal::Expired
        | Refusal::NotYetValid => (
            StatusCode::UNAUTHORIZED,
            "401",
            Some("16"),
            "API key invalid",
            "this API key is not valid",
        ),
        Refusal::MethodNotAllowed | Refusal::PathNotAllowed | Refusal::NetworkNotAllowed => (
            StatusCode::FORBIDDEN,
            "403",
            Some("7"),
            "Not allowed",
            "this API key may not be used for this request",
        ),
        Refusal::BadRequest => (
            StatusCode::BAD_REQUEST,
            "400",
            None,
            "Bad request",
            "the request is malformed",
        ),
        Refusal::MethodNotSupported => (
            StatusCode::METHOD_NOT_ALLOWED,
            "405",
            None,
            "Method not supported",
            "this method is not supported",
        ),
        Refusal::HeadTooLarge => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "431",
            Some("8"),
            "Request head too large",
            "the request head is too large",
        ),
        Refusal::BodyTooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "413",
            Some("8"),
            "Request body too large",
            "the request body is too large",
        ),
        Refusal::RequestTimeout => (
            StatusCode::REQUEST_TIMEOUT,
            "408",
            None,
            "Request timeout",
            "the request did not arrive in time",
        ),
        Refusal::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "503",
            Some("14"),
            "Unavailable",
            "keygate cannot take this request now",
        ),
    };
    Row {
        status,
        digits,
        grpc,
        title,
        detail,
    }
}

const fn public_code(reason: Reason) -> &'static str {
    match reason {
        Reason::Refused(refusal) => refusal.code(),
        Reason::UpstreamFailed | Reason::UpstreamTimeout => reason.as_str(),
    }
}

/// RFC 9457. The pieces are constants; only id and detail are new each time.
fn problem(reason: Reason, row: &Row, detail: &str, asker: &Asker<'_>) -> Response<Bytes> {
    let code = public_code(reason);
    let mut body = Vec::with_capacity(256);
    for piece in [
        "{\"type\":\"urn:keygate:problem:",
        code,
        "\",\"title\":\"",
        row.title,
    ] {
        body.extend_from_slice(piece.as_bytes());
    }
    for piece in ["\",\"status\":", row.digits, ",\"detail\":"] {
        body.extend_from_slice(piece.as_bytes());
    }
    push_json(&mut body, detail);
    for piece in [",\"code\":\"", code, "\",\"request_id\":"] {
        body.extend_from_slice(piece.as_bytes());
    }
    push_json(&mut body, asker.request_id);
    body.extend_from_slice(b"}\n");

    let length = body.len();
    let head = *asker.method == Method::HEAD;
    let body = if head {
        Bytes::new()
    } else {
        Bytes::from(body)
    };
    let mut response = Response::new(body);
    *response.status_mut() = row.status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if row.status == StatusCode::UNAUTHORIZED {
        for challenge in asker.challenges {
            headers.append(header::WWW_AUTHENTICATE, challenge.clone());
        }
    }
    match reason {
        Reason::Refused(Refusal::Unavailable) => {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        Reason::Refused(Refusal::MethodNotSupported) => {
            let all = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
            headers.insert(header::ALLOW, HeaderValue::from_static(all)); // RFC 9110 §15.5.6
        }
        Reason::Refused(_) | Reason::UpstreamFailed | Reason::UpstreamTimeout => {}
    }
    response
}

fn push_json(body: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(body, text).expect("text can always be written as JSON into memory");
}

/// Trailers-only: gRPC reads its status from the head of an answer without a body.
fn grpc(status: &'static str, code: &str, detail: &str) -> Response<Bytes> {
    let text = format!("{code}: {detail}");
    let message = utf8_percent_encode(&text, GRPC_MESSAGE).to_string();
    let message = HeaderValue::try_from(message).expect("percent-encoded text is visible ASCII");
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert("grpc-status", HeaderValue::from_static(status));
    headers.insert("grpc-message", message);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(method: &Method) -> Asker<'_> {
        static CHALLENGES: [HeaderValue; 2] = [
            HeaderValue::from_static("ApiKey realm=\"keygate\""),
            HeaderValue::from_static("Bearer realm=\"keygate\""),
        ];
        Asker {
            method,
            grpc: false,
            request_id: "id-1",
            challenges: &CHALLENGES,
        }
    }

    fn body(response: Response<Bytes>) -> Bytes {
        response.into_body()
    }

    fn reasons() -> impl Iterator<Item = Reason> {
        (0..Reason::COUNT).filter_map(Reason::from_index)
    }

    #[test]
    #[rustfmt::skip] // the refusal table of the README, one row a line
    fn every_reason_has_its_status_and_code() {
        let expected = [
            ("missing_key", "missing_key", 401, "16"), ("unknown_key", "invalid_key", 401, "16"),
            ("malformed_key", "invalid_key", 401, "16"), ("duplicate_key", "invalid_key", 401, "16"),
            ("conflicting_keys", "invalid_key", 401, "16"), ("disabled", "invalid_key", 401, "16"),
            ("expired", "invalid_key", 401, "16"), ("not_yet_valid", "invalid_key", 401, "16"),
            ("method_not_allowed", "not_allowed", 403, "7"), ("path_not_allowed", "not_allowed", 403, "7"),
            ("network_not_allowed", "not_allowed", 403, "7"), ("bad_request", "bad_request", 400, ""),
            ("method_not_supported", "method_not_supported", 405, ""),
            ("head_too_large", "head_too_large", 431, "8"), ("body_too_large", "body_too_large", 413, "8"),
            ("request_timeout", "request_timeout", 408, ""), ("unavailable", "unavailable", 503, "14"),
            ("upstream_failed", "upstream_failed", 502, "14"), ("upstream_timeout", "upstream_timeout", 504, "4"),
        ];
        assert_eq!(expected.len(), Reason::COUNT);
        for (reason, (word, code, status, grpc)) in reasons().zip(expected) {
            assert_eq!(reason.as_str(), word);
            let response = answer(reason, None, &asker(&Method::GET));
            assert_eq!(response.status(), status, "{word}");
            assert_eq!(super::status(reason), status, "{word}");
            assert_eq!(response.headers()["cache-control"], "no-store", "{word}");
            assert_eq!(response.headers()["content-type"], "application/problem+json", "{word}");
            assert_eq!(response.headers().get_all("www-authenticate").iter().count(), if status == 401 { 2 } else { 0 });
            assert_eq!(response.headers().contains_key("retry-after"), status == 503, "{word}");
            assert_eq!(response.headers().contains_key("allow"), status == 405, "{word}");
            let length = response.headers()["content-length"].to_str().unwrap().parse::<usize>().unwrap();
            let bytes = body(response);
            assert_eq!(bytes.len(), length, "{word}");
            let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(json["type"], format!("urn:keygate:problem:{code}"));
            assert_eq!((&json["code"], &json["status"]), (&code.into(), &status.into()));
            assert_eq!(json["request_id"], "id-1");
            assert!(json["title"].is_string() && json["detail"].is_string(), "{word}");
            assert_eq!(json.as_object().unwrap().len(), 6, "{word}");

            let response = answer(reason, None, &Asker { grpc: true, ..asker(&Method::POST) });
            let code = response.headers().get("grpc-status").map_or("", |code| code.to_str().unwrap());
            assert_eq!(code, grpc, "{word}");
            assert_eq!(response.status(), if grpc.is_empty() { status } else { 200 }, "{word}");
            assert_eq!(body(response).is_empty(), !grpc.is_empty(), "{word}");
        }
    }

    #[test]
    fn wrong_tokens_get_equal_answers() {
        let show = |refusal| {
            let response = answer(Reason::Refused(refusal), None, &asker(&Method::GET));
            (format!("{:?}", response.headers()), body(response))
        };
        let first = show(Refusal::UnknownKey);
        for refusal in Refusal::ALL
            .into_iter()
            .filter(|refusal| refusal.code() == "invalid_key")
        {
            assert_eq!(show(refusal), first, "{refusal}");
        }
    }

    #[test]
    fn head_gets_the_fields_of_get_and_no_body() {
        for reason in reasons() {
            let get = answer(reason, Some("why"), &asker(&Method::GET));
            let head = answer(reason, Some("why"), &asker(&Method::HEAD));
            assert_eq!(head.headers(), get.headers(), "{}", reason.as_str());
            assert_eq!(head.status(), get.status(), "{}", reason.as_str());
            assert!(body(head).is_empty(), "{}", reason.as_str());
        }
    }

    #[test]
    fn texts_cannot_break_out_of_the_answer() {
        let detail = "100 % \"quoted\" \\ \r\nx: y é";
        let asker = Asker {
            request_id: "a\"b",
            ..asker(&Method::GET)
        };
        let response = answer(Reason::UpstreamTimeout, Some(detail), &asker);
        let json: serde_json::Value = serde_json::from_slice(&body(response)).unwrap();
        assert_eq!(
            (&json["detail"], &json["request_id"]),
            (&detail.into(), &"a\"b".into())
        );
        let response = answer(
            Reason::UpstreamTimeout,
            Some(detail),
            &Asker {
                grpc: true,
                ..asker
            },
        );
        let message = response.headers()["grpc-message"].to_str().unwrap();
        assert_eq!(
            message,
            "upstream_timeout: 100 %25 \"quoted\" \\ %0D%0Ax: y %C3%A9"
        );
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC; x=y", true),
            ("application/json", false),
            ("application/grp", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(is_grpc(&headers), expected, "{value}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
