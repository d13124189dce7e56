//! Rows of heads and what becomes of them; the same heads in pieces.

use super::*;
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 1024,
    fields: 8,
};

fn check(bytes: &[u8], step: usize) -> Progress {
    let mut check = HeadCheck::NEW;
    let mut given = 0;
    while given < bytes.len() {
        given = bytes.len().min(given + step);
        match check.advance(&bytes[..given], LIMITS) {
            Progress::Partial => {}
            over => return over,
        }
    }
    Progress::Partial
}

fn whole(bytes: usize, body: BodyKind, upgrade: bool) -> Progress {
    Progress::Whole(Head {
        bytes,
        body,
        upgrade,
    })
}

#[test]
fn clean_heads_pass_however_they_arrive() {
    let rows: [(&str, BodyKind, bool); 12] = [
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            BodyKind::Length(0),
            false,
        ),
        (
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            BodyKind::Length(0),
            false,
        ),
        ("GET / HTTP/1.0\r\n\r\n", BodyKind::Length(0), false),
        (
            "POST /a?b=c HTTP/1.1\r\nhost:a:80\r\nCONTENT-LENGTH: 12\r\n\r\n",
            BodyKind::Length(12),
            false,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tChunked \r\n\r\n",
            BodyKind::Chunked,
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            BodyKind::Length(0),
            true,
        ),
        (
            "GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            BodyKind::Length(0),
            false,
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            BodyKind::Length(0),
            false,
        ),
        (
            "GET http://a/b HTTP/1.1\r\nHost: A\r\n\r\n",
            BodyKind::Length(0),
            false,
        ),
        (
            "GET HTTP://a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            BodyKind::Length(0),
            false,
        ),
        (
            "PURGE /%C3%A9?q=a|b{}^` HTTP/1.1\r\nHost: [::1]:80\r\nX:\r\n\r\n",
            BodyKind::Length(0),
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\t~\r\n\r\n",
            BodyKind::Length(0),
            false,
        ),
    ];
    for (head, body, upgrade) in rows {
        for step in 1..=head.len() {
            let bytes = [head.as_bytes(), b"GET"].concat();
            assert_eq!(
                check(&bytes, step),
                whole(head.len(), body, upgrade),
                "{head:?} in steps of {step}"
            );
        }
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let rows: [(&str, &[u8]); 52] = [
        ("bare LF behind the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
        ("bare LF behind a field", b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
        ("bare LF for the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
        ("bare LF before the request line", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("two empty lines first", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("bare CR in the request line", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
        ("CR CR LF", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
        ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
        ("DEL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n"),
        ("NUL in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n"),
        ("space before a colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        ("tab before a colon", b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n"),
        ("no name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
        ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n"),
        ("folded by a space", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
        ("folded by a tab", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n"),
        ("space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        ("no Host", b"GET / HTTP/1.1\r\nX: a\r\n\r\n"),
        ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        ("empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        ("Host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("Host with a user", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
        ("Host with a list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
        ("Host that is a port", b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n"),
        ("CL and TE", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("TE and CL", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"),
        ("two equal CLs", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"),
        ("CL list", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"),
        ("CL with a sign", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"),
        ("CL negative", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
        ("CL hexadecimal", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n"),
        ("CL with a leading zero", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 01\r\n\r\n"),
        ("CL empty", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
        ("CL beyond 63 bits", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n"),
        ("two TEs", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("TE gzip, chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        ("TE identity", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
        ("TE quoted", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n"),
        ("TE in HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HTTP/0.9", b"GET /\r\n\r\n"),
        ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("lower-case version", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("high byte in the target", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("authority form", b"GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
        ("absolute form of another host", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("asterisk with GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
    ];
    for (name, head) in rows {
        for step in 1..=head.len() {
            let refused = check(head, step);
            assert!(
                matches!(refused, Progress::Refused(Refusal::BadRequest, _)),
                "{name} in steps of {step}: {refused:?}"
            );
        }
    }
}

#[test]
fn large_heads_and_unsupported_methods_have_reasons_of_their_own() {
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(8));
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "y".repeat(1024)
    );
    let endless = format!("GET /{}", "y".repeat(1024));
    let rows: [(&str, &[u8], Refusal); 5] = [
        ("too many fields", many.as_bytes(), Refusal::HeadTooLarge),
        ("too many bytes", long.as_bytes(), Refusal::HeadTooLarge),
        (
            "too many bytes in one line",
            endless.as_bytes(),
            Refusal::HeadTooLarge,
        ),
        (
            "CONNECT",
            b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
            Refusal::MethodNotSupported,
        ),
        (
            "TRACE",
            b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
            Refusal::MethodNotSupported,
        ),
    ];
    for (name, head, expected) in rows {
        for step in [1, 7, head.len()] {
            let refused = check(head, step);
            assert!(
                matches!(refused, Progress::Refused(refusal, _) if refusal == expected),
                "{name}: {refused:?}"
            );
        }
    }
}

#[test]
fn the_first_line_of_a_refused_head_is_known_as_far_as_it_came() {
    type Row = (&'static [u8], Option<&'static str>, Option<&'static [u8]>);
    let rows: [Row; 4] = [
        (
            b"POST /a HTTP/1.1\r\nHost : a\r\n",
            Some("POST"),
            Some(b"/a"),
        ),
        (b"GET /a#b HTTP/1.1\r\n", Some("GET"), Some(b"/a#b")),
        (b"GET /half", Some("GET"), Some(b"/half")),
        (b"\x16\x03", None, None),
    ];
    for (bytes, method, target) in rows {
        let mut check = HeadCheck::NEW;
        check.advance(bytes, LIMITS);
        let (known_method, known_target) = check.first_line(bytes);
        assert_eq!(known_method.as_ref().map(Method::as_str), method);
        assert_eq!(known_target.as_deref(), target);
    }
}

/// Text that is often nearly a head.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let pieces = proptest::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /a?b HTTP/1.1\r\n",
        "GET http://a/ HTTP/1.0\r\n",
        "Host: a\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Upgrade: x\r\n",
        "X: y\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        ":",
        "\0",
        "\u{ff}",
        "a",
        "%41",
        "<",
        "\"",
    ]);
    proptest::collection::vec(pieces, 1..10).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_how_the_bytes_arrive(bytes in nearly(), step in 1_usize..20) {
        let at_once = check(&bytes, bytes.len());
        let in_steps = check(&bytes, step);
        // In pieces a fault may be found in an earlier line first; the verdict is the same kind.
        prop_assert_eq!(std::mem::discriminant(&at_once), std::mem::discriminant(&in_steps));
        if let Progress::Whole(_) = at_once {
            prop_assert_eq!(at_once, in_steps);
        }
    }

    /// hyper parses heads with httparse and `http::Uri`: what passes here must pass there, alike.
    #[test]
    fn what_passes_is_read_alike_by_hypers_parser(bytes in nearly()) {
        if let Progress::Whole(head) = check(&bytes, bytes.len()) {
            let mut fields = [httparse::EMPTY_HEADER; 16];
            let mut request = httparse::Request::new(&mut fields);
            prop_assert_eq!(request.parse(&bytes), Ok(httparse::Status::Complete(head.bytes)));
            prop_assert!(http::Uri::try_from(request.path.unwrap()).is_ok());
        }
    }
}
