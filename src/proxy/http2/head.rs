//! The head of an HTTP/2 request, made into one that could have come over HTTP/1 and means the same to everybody
//! behind: one authority, a path that needs no guess, one Content-Length, one Cookie. h2 has seen to pseudo fields,
//! names in lower case, fields that belong to a connection, and bytes that end a line; what it lets pass and
//! HTTP/1 could read in two ways is refused here. Not for: credentials and what the upstream gets (`headers`).

use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::header;
use http::request::Parts;

use crate::proxy::head::HeadLimits;
use crate::proxy::head::is_host;
use crate::proxy::head::valid_target;
use crate::proxy::reader::RefusedHead;
use crate::proxy::websocket;
use crate::refusal::Refusal;

type Checked = Result<(), (Refusal, &'static str)>;

const fn bad(what: &'static str) -> Checked {
    Err((Refusal::BadRequest, what))
}

/// Checks a head, and writes it as HTTP/1 would have it.
pub(crate) fn check(parts: &mut Parts, limits: HeadLimits) -> Result<(), Box<RefusedHead>> {
    rules(parts, limits).map_err(|(refusal, detail)| {
        Box::new(RefusedHead {
            refusal,
            detail,
            method: Some(parts.method.clone()),
            target: parts
                .uri
                .path_and_query()
                .map(|target| target.as_str().as_bytes().into()),
            waited: std::time::Duration::ZERO,
        })
    })
}

fn rules(parts: &mut Parts, limits: HeadLimits) -> Checked {
    if parts.headers.len() > limits.fields {
        return Err((Refusal::HeadTooLarge, "too many fields"));
    }
    if websocket::is_extended_connect(parts) {
        websocket::as_upgrade(parts);
    }
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err((
            Refusal::MethodNotSupported,
            "CONNECT and TRACE are not passed on",
        ));
    }
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    match target.as_bytes() {
        [b'/', ..] => {}
        b"*" if parts.method == Method::OPTIONS => {}
        _ => return bad(":path is not a path"),
    }
    if !valid_target(target.as_bytes()) {
        return bad("a byte in :path that must be percent-encoded");
    }
    one_content_length(&parts.headers)?;
    one_authority(parts)?;
    join_cookies(&mut parts.headers);
    Ok(())
}

/// h2 compares the first one with the body's length.
fn one_content_length(headers: &HeaderMap) -> Checked {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(()),
        (Some(length), None) if is_number(length) => Ok(()),
        (Some(_), None) => bad("Content-Length is not a plain decimal number"),
        (Some(_), Some(_)) => bad("more than one Content-Length"),
    }
}

fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit)
}

/// `:authority`, or Host, or both if they are the same (RFC 9113 §8.3.1); from here on it is Host.
fn one_authority(parts: &mut Parts) -> Checked {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return bad("more than one Host");
    }
    let authority = match (parts.uri.authority(), host) {
        (None, None) => return bad("neither :authority nor Host"),
        (None, Some(host)) => host.clone(),
        (Some(authority), host) => {
            let text = authority.as_str();
            if host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(text.as_bytes())) {
                return bad(":authority disagrees with Host");
            }
            HeaderValue::from_str(text).map_err(|_| (Refusal::BadRequest, "a bad :authority"))?
        }
    };
    if !is_host(authority.as_bytes()) {
        return bad("the authority is no host, or more than one");
    }
    parts.headers.insert(header::HOST, authority);
    Ok(())
}

/// HTTP/2 may send a cookie in crumbs; HTTP/1 has one field (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.nth(1).is_none() {
        return;
    }
    let mut joined = Vec::with_capacity(256);
    for crumb in headers.get_all(header::COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(crumb.as_bytes());
    }
    let joined = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined));
    headers.insert(
        header::COOKIE,
        joined.expect("values with something between them are a value"),
    );
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 65_536,
        fields: 5,
    };

    fn checked(
        method: &str,
        uri: &str,
        fields: &[(&str, &str)],
    ) -> Result<HeaderMap, &'static str> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        check(&mut parts, LIMITS)
            .map(|()| parts.headers)
            .map_err(|refused| refused.detail)
    }

    #[test]
    #[rustfmt::skip] // a table: one row a line
    fn the_authority_is_one_host() {
        type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Result<&'a str, &'static str>);
        let rows: [Row<'_>; 10] = [
            ("https://a.example/", &[], Ok("a.example")),
            ("https://a.example:8443/x?y", &[], Ok("a.example:8443")),
            ("https://a.example/", &[("host", "A.example")], Ok("a.example")),
            ("/", &[("host", "b")], Ok("b")),
            ("/", &[], Err("neither :authority nor Host")),
            ("https://a/", &[("host", "b")], Err(":authority disagrees with Host")),
            ("https://a/", &[("host", "a"), ("host", "a")], Err("more than one Host")),
            ("/", &[("host", "a"), ("host", "b")], Err("more than one Host")),
            ("https://me@a/", &[], Err("the authority is no host, or more than one")),
            ("/", &[("host", "a,b")], Err("the authority is no host, or more than one")),
        ];
        for (uri, fields, expected) in rows {
            let found = checked("GET", uri, fields).map(|headers| headers[header::HOST].clone());
            assert_eq!(found.as_ref().map(|host| host.to_str().unwrap()), expected.as_ref().map(|host| *host), "{uri} {fields:?}");
        }
    }

    #[test]
    #[rustfmt::skip] // a table: one row a line
    fn what_could_be_read_in_two_ways_is_refused() {
        type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'static str);
        let rows: [Row<'_>; 8] = [
            ("CONNECT", "https://a/", &[], "CONNECT and TRACE are not passed on"),
            ("TRACE", "https://a/", &[], "CONNECT and TRACE are not passed on"),
            ("GET", "*", &[("host", "a")], ":path is not a path"),
            ("GET", "https://a/é", &[], "a byte in :path that must be percent-encoded"),
            ("POST", "https://a/", &[("content-length", "5"), ("content-length", "5")], "more than one Content-Length"),
            ("POST", "https://a/", &[("content-length", "")], "Content-Length is not a plain decimal number"),
            ("POST", "https://a/", &[("content-length", "5, 5")], "Content-Length is not a plain decimal number"),
            ("GET", "https://a/", &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1"), ("f", "1")], "too many fields"),
        ];
        for (method, uri, fields, expected) in rows {
            assert_eq!(checked(method, uri, fields).unwrap_err(), expected, "{method} {uri} {fields:?}");
        }
    }

    #[test]
    fn crumbs_of_a_cookie_are_joined() {
        let fields = [
            ("cookie", "a=1"),
            ("x", "y"),
            ("cookie", "b=2"),
            ("cookie", "c=3; d=4"),
        ];
        let headers = checked("GET", "https://a/", &fields).unwrap();
        let cookies: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=4"]);
    }
}
