//! What somebody wants to send, from JSON to a request that can be sent. Whatever says where a message ends, or is
//! about one connection only, is ours to say; everything else is sent as it was asked for, also where the proxy will
//! refuse it: to see that is what Try it is for.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::Request;
use axum::http::Uri;
use axum::http::header;
use http_body_util::Full;
use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

use crate::admin::error::ApiError;
use crate::admin::error::FieldError;
use crate::admin::keys::body;
use crate::admin::keys::body::Fields;
use crate::admin::keys::body::Json;
use crate::admin::keys::body::Shape;
use crate::admin::keys::body::Shapes;
use crate::admin::keys::body::wrong;
use crate::admin::request::no_such_key;
use crate::config::Address;
use crate::config::Source;
use crate::key::KeyId;
use crate::key::token::Token;

pub(crate) const TRY: Shapes = &[
    ("key_id", Shape::OptionalText),
    ("method", Shape::Text),
    ("path", Shape::Text),
    ("headers", Shape::Pairs),
    ("body", Shape::OptionalText),
];

/// Longer than any head that the proxy takes.
const PATH_BYTES_MAX: usize = 16 << 10;

/// Fields that are not sent on: what they say is about our own connection, or is said by us.
const OURS: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    header::CONTENT_LENGTH,
    header::EXPECT,
    X_REQUEST_ID,
];
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is not encoded in a query (RFC 3986 §2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A request to send, without a token and without a `Host` of ours.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) key: Option<KeyId>,
    pub(super) method: Method,
    /// With its query.
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Wanted {
    /// Reads the body of `POST /try`.
    ///
    /// # Errors
    /// `malformed_body`, `invalid_field` with everything that is wrong, `key_not_found` for what can be no key's id.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let mut fields = body::read(bytes)?;
        body::check_shapes(&mut fields, TRY, &mut errors);
        let method = text(&mut fields, "method").map_or(Ok(Method::GET), |text| method(&text));
        let method = noted(method, Method::GET, &mut errors);
        let target = match text(&mut fields, "path") {
            Some(text) => target(&text),
            None if errors.iter().any(|error| error.pointer == "#/path") => Ok(String::new()),
            None => Err(wrong("#/path", "`path` is missing")),
        };
        let target = noted(target, String::new(), &mut errors);
        let headers = headers(&mut fields, &mut errors);
        if !errors.is_empty() {
            return Err(ApiError::fields(errors));
        }
        let key =
            text(&mut fields, "key_id").map(|id| KeyId::parse(&id).map_err(|_| no_such_key()));
        Ok(Self {
            key: key.transpose()?,
            method,
            target,
            headers,
            body: text(&mut fields, "body")
                .map_or_else(Bytes::new, |text| text.into_owned().into()),
        })
    }

    /// Without the query, which may hold what is nobody's business.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The request as the proxy gets it, with the token where `source` has it.
    ///
    /// # Errors
    /// `invalid_field` when the path is no path after all, or when no place of a plain request takes a token.
    pub(super) fn request(
        mut self,
        proxy: &Address,
        source: &Source,
        token: Option<&Token>,
        request_id: &str,
    ) -> Result<Request<Full<Bytes>>, ApiError> {
        if let Some(token) = token {
            self.carry(token.expose(), source)?;
        }
        self.headers
            .entry(header::HOST)
            .or_insert_with(|| host(proxy));
        self.headers.insert(X_REQUEST_ID, value(request_id));
        let uri: Uri = self
            .target
            .parse()
            .map_err(|_| ApiError::fields(vec![no_path()]))?;
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        Ok(request)
    }

    /// Beside what is there already: two tokens are for the proxy to refuse.
    fn carry(&mut self, token: &str, source: &Source) -> Result<(), ApiError> {
        match source {
            Source::Header(name) => {
                self.headers.append(name, secret(token));
            }
            Source::Bearer => {
                self.headers
                    .append(header::AUTHORIZATION, secret(&format!("Bearer {token}")));
            }
            Source::Cookie(name) => {
                self.headers
                    .append(header::COOKIE, secret(&format!("{name}={token}")));
            }
            Source::Query(name) => {
                let joint = if self.target.contains('?') { '&' } else { '?' };
                self.target.push(joint);
                self.target.push_str(&encoded(name));
                self.target.push('=');
                self.target.push_str(&encoded(token));
            }
            Source::WsProtocol => {
                return Err(ApiError::fields(vec![wrong(
                    "#/key_id",
                    "only a WebSocket carries a key here (auth.sources is ws_protocol alone), and this sends none: \
                     leave the key out, or add another source",
                )]));
            }
        }
        Ok(())
    }
}

/// As it stands in a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

fn noted<T>(read: Result<T, FieldError>, otherwise: T, errors: &mut Vec<FieldError>) -> T {
    read.unwrap_or_else(|error| {
        errors.push(error);
        otherwise
    })
}

fn text<'a>(fields: &mut Fields<'a>, name: &str) -> Option<Cow<'a, str>> {
    match body::take(fields, name)? {
        Json::Text(text) => Some(text),
        Json::Null | Json::Switch(_) | Json::Number | Json::List(_) | Json::Map(_) => None,
    }
}

fn method(text: &str) -> Result<Method, FieldError> {
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT) => Err(wrong(
            "#/method",
            "CONNECT asks for a tunnel, which no answer comes from",
        )),
        Ok(method) => Ok(method),
        Err(_) => Err(wrong("#/method", "expected a method such as GET")),
    }
}

fn no_path() -> FieldError {
    wrong(
        "#/path",
        "expected a path such as /v1/items?page=2: it begins with a slash, and other characters than those of \
         addresses are percent-encoded, as %20 for a space",
    )
}

/// Path and query in the characters of RFC 3986, and those that browsers send besides.
fn target(text: &str) -> Result<String, FieldError> {
    let of_path =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/?[]{}|".contains(&byte);
    if text.len() > PATH_BYTES_MAX {
        return Err(wrong(
            "#/path",
            format!("expected {PATH_BYTES_MAX} characters at most"),
        ));
    }
    if text.starts_with('/') && text.bytes().all(of_path) {
        return Ok(text.to_owned());
    }
    Err(no_path())
}

fn headers(fields: &mut Fields<'_>, errors: &mut Vec<FieldError>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(Json::List(items)) = body::take(fields, "headers") else {
        return headers;
    };
    for (index, item) in items.iter().enumerate() {
        let pair = match item {
            Json::List(pair) => match &pair[..] {
                [Json::Text(name), Json::Text(text)] => Some((name, text)),
                _ => None,
            },
            Json::Null | Json::Switch(_) | Json::Number | Json::Text(_) | Json::Map(_) => None,
        };
        let at = format!("#/headers/{index}");
        let Some((name, text)) = pair else {
            errors.push(wrong(
                &at,
                "expected a name and a value, as in [\"accept\", \"text/plain\"]",
            ));
            continue;
        };
        let wrong = |place: &str, what| wrong(&format!("{at}/{place}"), what);
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| wrong("0", "expected a name of letters, digits and hyphens"));
        let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
            wrong(
                "1",
                "expected text without line ends and control characters",
            )
        });
        match (name, value) {
            (Ok(name), Ok(value)) => {
                if !OURS.contains(&name) && headers.try_append(name, value).is_err() {
                    errors.push(wrong("0", "these are more fields than anybody takes"));
                    break;
                }
            }
            (name, value) => errors.extend(name.err().into_iter().chain(value.err())),
        }
    }
    headers
}

/// The listener's own; behind a socket of the file system everything is local.
fn host(proxy: &Address) -> HeaderValue {
    match proxy {
        Address::Tcp(address) => value(&address.to_string()),
        Address::Unix(_) => HeaderValue::from_static("localhost"),
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("addresses, ids and tokens are visible ASCII")
}

fn secret(text: &str) -> HeaderValue {
    let mut value = value(text);
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &serde_json::Value) -> Result<Wanted, ApiError> {
        Wanted::read(body.to_string().as_bytes())
    }

    fn sent(body: &serde_json::Value, source: &Source) -> Request<Full<Bytes>> {
        let token = Token::parse("a-token&more".to_owned()).unwrap();
        let proxy = Address::Tcp("127.0.0.1:8080".parse().unwrap());
        read(body)
            .unwrap()
            .request(&proxy, source, Some(&token), "r1")
            .unwrap()
    }

    #[test]
    fn the_token_goes_where_the_first_source_has_it() {
        let body =
            json!({"path": "/a?b=1", "headers": [["cookie", "c=d"], ["Authorization", "Basic x"]]});
        let all = |request: &Request<Full<Bytes>>, name: &str| {
            let values = request.headers().get_all(name).iter();
            values
                .map(|value| value.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let request = sent(&body, &Source::Header(HeaderName::from_static("x-api-key")));
        assert_eq!(all(&request, "x-api-key"), ["a-token&more"]);
        assert_eq!(request.uri(), "/a?b=1");
        let request = sent(&body, &Source::Bearer);
        assert_eq!(
            all(&request, "authorization"),
            ["Basic x", "Bearer a-token&more"]
        );
        let request = sent(&body, &Source::Cookie("k".to_owned()));
        assert_eq!(all(&request, "cookie"), ["c=d", "k=a-token&more"]);
        let request = sent(&body, &Source::Query("api key".to_owned()));
        assert_eq!(request.uri(), "/a?b=1&api%20key=a-token%26more");
        let request = sent(&json!({"path": "/a"}), &Source::Query("k".to_owned()));
        assert_eq!(request.uri(), "/a?k=a-token%26more");
        for secret in [
            sent(&body, &Source::Bearer),
            sent(&body, &Source::Cookie("k".to_owned())),
        ] {
            assert!(!format!("{:?}", secret.headers()).contains("a-token"));
        }
    }

    #[test]
    fn a_key_that_only_a_websocket_carries_cannot_be_tried() {
        let request = |token: Option<&Token>| {
            let proxy = Address::Tcp("127.0.0.1:8080".parse().unwrap());
            let wanted = read(&json!({"path": "/a"})).unwrap();
            wanted.request(&proxy, &Source::WsProtocol, token, "r1")
        };
        assert!(request(None).is_ok(), "without a key");
        let token = Token::parse("a-token&more".to_owned()).unwrap();
        let refused = request(Some(&token)).unwrap_err();
        assert!(format!("{refused:?}").contains("#/key_id"));
    }

    #[test]
    fn what_says_where_messages_end_is_not_sent_on() {
        let smuggled: Vec<_> = OURS
            .iter()
            .map(|name| [name.to_string(), "5".to_owned()])
            .collect();
        let body = json!({"method": "POST", "path": "/", "headers": smuggled, "body": "text"});
        let request = sent(&body, &Source::Bearer);
        let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "host", "x-request-id"]);
        assert_eq!(request.headers()["x-request-id"], "r1");
        assert_eq!(request.headers()["host"], "127.0.0.1:8080");
        let body = json!({"path": "/", "headers": [["Host", "app.example"]]});
        assert_eq!(
            sent(&body, &Source::Bearer).headers()["host"],
            "app.example"
        );
    }

    #[test]
    fn everything_that_cannot_be_sent_is_named() {
        for (body, pointers) in [
            (json!({}), &["#/path"][..]),
            (json!({"path": 1}), &["#/path"]),
            (json!({"path": "v1"}), &["#/path"]),
            (json!({"path": "/a b"}), &["#/path"]),
            (json!({"path": "/a#b"}), &["#/path"]),
            (json!({"path": "/a\r\nx: y"}), &["#/path"]),
            (json!({"path": "/é"}), &["#/path"]),
            (json!({"path": "http://evil.example/"}), &["#/path"]),
            (
                json!({"path": format!("/{}", "a".repeat(PATH_BYTES_MAX))}),
                &["#/path"],
            ),
            (json!({"path": "/", "method": "CONNECT"}), &["#/method"]),
            (json!({"path": "/", "method": "G T"}), &["#/method"]),
            (json!({"path": "/", "method": ""}), &["#/method"]),
            (
                json!({"path": "/", "body": 1, "key_id": []}),
                &["#/body", "#/key_id"],
            ),
            (json!({"path": "/", "headers": {}}), &["#/headers"]),
            (
                json!({"path": "/", "headers": [["a"], "b", ["c", "d"]]}),
                &["#/headers/0", "#/headers/1"],
            ),
            (
                json!({"path": "/", "headers": [["a b", "c"], ["d", "e\r\nf: g"], ["", "\u{0}"]]}),
                &[
                    "#/headers/0/0",
                    "#/headers/1/1",
                    "#/headers/2/0",
                    "#/headers/2/1",
                ],
            ),
        ] {
            let error = read(&body).unwrap_err();
            let mut found: Vec<_> = error.errors.iter().map(|error| &*error.pointer).collect();
            found.sort_unstable();
            assert_eq!(found, pointers, "{body}");
        }
    }

    #[test]
    fn paths_stay_as_they_were_written() {
        for path in [
            "/",
            "/a//b/../c;d=e",
            "/a%2fb?x=[1]&y={2}|3&q=a?b",
            "//evil.example/",
            "/?",
            "/a:b@c",
        ] {
            let request = sent(&json!({"path": path}), &Source::Bearer);
            assert_eq!(request.uri(), path);
            assert!(request.uri().authority().is_none(), "{path}");
        }
        assert_eq!(read(&json!({"path": "/a?secret=1"})).unwrap().path(), "/a");
    }
}
