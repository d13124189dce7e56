//! The malformed requests: name, bytes, verdict. Each must be refused however it is sent; see `malformed`.

use crate::harness::setup::GOOD;

/// What must come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// 400 before the upstream sees a byte, and the connection closed.
    Bad,
    /// The head is good, the body is not: 400 if nothing was answered yet, closed; the upstream may have
    /// seen the beginning of it, but never an end.
    BadBody,
    /// 431 before the upstream sees a byte, and the connection closed.
    TooLarge,
    /// 405 before the upstream sees a byte.
    Method,
}

use self::Verdict::Bad;
use self::Verdict::BadBody;
use self::Verdict::Method;
use self::Verdict::TooLarge;

impl Verdict {
    pub(super) fn status(self) -> u16 {
        match self {
            Bad | BadBody => 400,
            TooLarge => 431,
            Method => 405,
        }
    }

    pub(super) fn code(self) -> &'static str {
        match self {
            Bad | BadBody => "bad_request",
            TooLarge => "head_too_large",
            Method => "method_not_supported",
        }
    }
}

/// Name, bytes and verdict. In the bytes `$K` stands for the line of a good key, `$H` for that of a host.
pub(super) type Row = (&'static str, Vec<u8>, Verdict);

/// A row with its short forms written out.
fn row(name: &'static str, bytes: &str, verdict: Verdict) -> Row {
    let text = bytes
        .replace("$K", &format!("x-api-key: {GOOD}\r\n"))
        .replace("$H", "Host: app\r\n");
    // One `char` a byte, so that rows can hold bytes above 0x7F.
    (
        name,
        text.chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect(),
        verdict,
    )
}

/// Both ways to tell a length, and wrong ones.
fn lengths() -> Vec<Row> {
    let post = |name, fields: &str, body: &str| {
        row(
            name,
            &format!("POST /bad HTTP/1.1\r\n$H$K{fields}\r\n{body}"),
            Bad,
        )
    };
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    vec![
        post(
            "length before chunked",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            chunked,
        ),
        post(
            "chunked before length",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            chunked,
        ),
        post(
            "chunked before a length that is none",
            "Transfer-Encoding: chunked\r\nContent-Length: zz\r\n",
            chunked,
        ),
        post(
            "a length that is none before chunked",
            "Content-Length: zz\r\nTransfer-Encoding: chunked\r\n",
            chunked,
        ),
        post(
            "length 0 and chunked",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            chunked,
        ),
        post(
            "chunked in two fields",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            chunked,
        ),
        post(
            "chunked and identity in two fields",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            chunked,
        ),
        post(
            "chunked twice in a field",
            "Transfer-Encoding: chunked, chunked\r\n",
            chunked,
        ),
        post(
            "gzip before chunked",
            "Transfer-Encoding: gzip, chunked\r\n",
            chunked,
        ),
        post(
            "chunked before gzip",
            "Transfer-Encoding: chunked, gzip\r\n",
            chunked,
        ),
        post("identity", "Transfer-Encoding: identity\r\n", ""),
        post(
            "an unknown coding",
            "Transfer-Encoding: xchunked\r\n",
            chunked,
        ),
        post(
            "chunked in quotes",
            "Transfer-Encoding: \"chunked\"\r\n",
            chunked,
        ),
        post(
            "chunked with a parameter",
            "Transfer-Encoding: chunked;q=1\r\n",
            chunked,
        ),
        post(
            "chunked with a comma after it",
            "Transfer-Encoding: chunked,\r\n",
            chunked,
        ),
        post(
            "chunked with a comma before it",
            "Transfer-Encoding: ,chunked\r\n",
            chunked,
        ),
        post(
            "chunked after a vertical tab",
            "Transfer-Encoding: \x0bchunked\r\n",
            chunked,
        ),
        post(
            "chunked with a gap",
            "Transfer-Encoding: chun ked\r\n",
            chunked,
        ),
        post("an empty coding", "Transfer-Encoding:\r\n", chunked),
        row(
            "chunked in HTTP/1.0",
            &format!("POST /bad HTTP/1.0\r\n$H$KTransfer-Encoding: chunked\r\n\r\n{chunked}"),
            Bad,
        ),
        post(
            "equal lengths",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "hello",
        ),
        post(
            "different lengths",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "hello!",
        ),
        post(
            "equal lengths in a field",
            "Content-Length: 5, 5\r\n",
            "hello",
        ),
        post(
            "different lengths in a field",
            "Content-Length: 5,6\r\n",
            "hello!",
        ),
        post("a length with a plus", "Content-Length: +5\r\n", "hello"),
        post("a negative length", "Content-Length: -1\r\n", ""),
        post("a hexadecimal length", "Content-Length: 0x5\r\n", "hello"),
        post("a length with a gap", "Content-Length: 5 5\r\n", "hello"),
        post("an empty length", "Content-Length:\r\n", "hello"),
        post(
            "a length with a fraction",
            "Content-Length: 5.0\r\n",
            "hello",
        ),
        post(
            "a length with an exponent",
            "Content-Length: 1e1\r\n",
            "hello",
        ),
        post("a length in quotes", "Content-Length: \"5\"\r\n", "hello"),
        post(
            "a length beyond 64 bits",
            "Content-Length: 18446744073709551616\r\n",
            "hello",
        ),
        post(
            "a length that wraps to 5",
            "Content-Length: 36893488147419103237\r\n",
            "hello",
        ),
    ]
}

/// Field lines that are none.
fn fields() -> Vec<Row> {
    let get =
        |name, fields: &str| row(name, &format!("GET /bad HTTP/1.1\r\n$H$K{fields}\r\n"), Bad);
    vec![
        get("a space before the colon", "X-A : 1\r\n"),
        get("a tab before the colon", "X-A\t: 1\r\n"),
        get(
            "a space before the colon of a length",
            "Content-Length : 5\r\n",
        ),
        get("a folded line, by a space", "X-A: 1\r\n 2\r\n"),
        get("a folded line, by a tab", "X-A: 1\r\n\t2\r\n"),
        get("a folded coding", "Transfer-Encoding:\r\n chunked\r\n"),
        row(
            "white space before the first field",
            "GET /bad HTTP/1.1\r\n X-A: 1\r\n$H$K\r\n",
            Bad,
        ),
        get("no colon", "X-A\r\n"),
        get("no name", ": 1\r\n"),
        get("NUL in a name", "X\0A: 1\r\n"),
        get("a control character in a name", "X\x01A: 1\r\n"),
        get("a space in a name", "X A: 1\r\n"),
        get("a byte above 0x7F in a name", "X\u{e4}A: 1\r\n"),
        get("an at sign in a name", "X@A: 1\r\n"),
        get("a parenthesis in a name", "X(A): 1\r\n"),
        get("a quote in a name", "\"XA\": 1\r\n"),
        get("a slash in a name", "X/A: 1\r\n"),
        get("NUL in a value", "X-A: 1\x002\r\n"),
        get("NUL after the key", &format!("X-Api-Key: {GOOD}\0x\r\n")),
        get("a control character in a value", "X-A: 1\x012\r\n"),
        get("an escape in a value", "X-A: \x1b[31m\r\n"),
        get("DEL in a value", "X-A: 1\x7f\r\n"),
        get("a bare CR in a value", "X-A: 1\r2\r\n"),
        get(
            "a bare CR before a smuggled field",
            "X-A: 1\rContent-Length: 5\r\n",
        ),
        get("a bare LF between fields", "X-A: 1\nX-B: 2\r\n"),
        get(
            "a bare LF before a smuggled coding",
            "X-A: 1\nTransfer-Encoding: chunked\r\n",
        ),
        get("CR CR LF", "X-A: 1\r\r\n"),
        row(
            "a bare LF after the first line",
            "GET /bad HTTP/1.1\n$H$K\r\n",
            Bad,
        ),
        row(
            "a bare LF for the empty line",
            "GET /bad HTTP/1.1\r\n$H$K\n",
            Bad,
        ),
        row(
            "bare LFs alone",
            &format!("GET /bad HTTP/1.1\nHost: app\nx-api-key: {GOOD}\n\n"),
            Bad,
        ),
        row(
            "a bare CR after the first line",
            "GET /bad HTTP/1.1\r$H$K\r\n",
            Bad,
        ),
        row("no Host", "GET /bad HTTP/1.1\r\n$K\r\n", Bad),
        row(
            "two Hosts",
            "GET /bad HTTP/1.1\r\n$HHost: evil\r\n$K\r\n",
            Bad,
        ),
        row("two equal Hosts", "GET /bad HTTP/1.1\r\n$H$K$H\r\n", Bad),
        row(
            "a Host with a space",
            "GET /bad HTTP/1.1\r\nHost: app evil\r\n$K\r\n",
            Bad,
        ),
        row(
            "a Host with a path",
            "GET /bad HTTP/1.1\r\nHost: app/evil\r\n$K\r\n",
            Bad,
        ),
        row(
            "a Host with a user",
            "GET /bad HTTP/1.1\r\nHost: user@app\r\n$K\r\n",
            Bad,
        ),
        row(
            "a Host with a comma",
            "GET /bad HTTP/1.1\r\nHost: app,evil\r\n$K\r\n",
            Bad,
        ),
        row(
            "a Host with a query",
            "GET /bad HTTP/1.1\r\nHost: app?x\r\n$K\r\n",
            Bad,
        ),
        row(
            "a Host with a fragment",
            "GET /bad HTTP/1.1\r\nHost: app#x\r\n$K\r\n",
            Bad,
        ),
        row(
            "a Host with a port that is none",
            "GET /bad HTTP/1.1\r\nHost: app:http\r\n$K\r\n",
            Bad,
        ),
        row(
            "a Host beyond ASCII",
            "GET /bad HTTP/1.1\r\nHost: \u{e4}pp\r\n$K\r\n",
            Bad,
        ),
    ]
}

/// First lines that are none.
fn first_lines() -> Vec<Row> {
    let line = |name, line: &str| row(name, &format!("{line}\r\n$H$K\r\n"), Bad);
    vec![
        row("HTTP/0.9", "GET /bad\r\n\r\n", Bad),
        line("no version, with fields", "GET /bad"),
        line("HTTP/1.2", "GET /bad HTTP/1.2"),
        line("HTTP/2.0", "GET /bad HTTP/2.0"),
        line("HTTP/9.9", "GET /bad HTTP/9.9"),
        line("HTTP/0.9 in words", "GET /bad HTTP/0.9"),
        row(
            "nearly the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r ",
            Bad,
        ),
        line("a protocol in lower case", "GET /bad http/1.1"),
        line("another protocol", "GET /bad ICAP/1.1"),
        line("a version without a dot", "GET /bad HTTP/11"),
        line("a version without an end", "GET /bad HTTP/1."),
        line("a version with more digits", "GET /bad HTTP/1.10"),
        line("a version with more after it", "GET /bad HTTP/1.1x"),
        line("a space after the version", "GET /bad HTTP/1.1 "),
        line("two spaces before the target", "GET  /bad HTTP/1.1"),
        line("two spaces before the version", "GET /bad  HTTP/1.1"),
        line("a space in the target", "GET /bad worse HTTP/1.1"),
        line("tabs for spaces", "GET\t/bad\tHTTP/1.1"),
        line("a space before the method", " GET /bad HTTP/1.1"),
        line("a parenthesis in the method", "GE(T /bad HTTP/1.1"),
        line("a colon in the method", "GET: /bad HTTP/1.1"),
        line("NUL in the method", "G\0ET /bad HTTP/1.1"),
        line("a byte above 0x7F in the method", "G\u{e4}T /bad HTTP/1.1"),
        line("a target without a slash", "GET bad HTTP/1.1"),
        line("no target", "GET HTTP/1.1"),
        line("an authority for a target", "GET app:80 HTTP/1.1"),
        line("a fragment", "GET /bad#x HTTP/1.1"),
        line("a fragment that hides a path", "GET #/bad HTTP/1.1"),
        line("a fragment in the query", "GET /bad?x#y HTTP/1.1"),
        line("a byte above 0x7F in the target", "GET /b\u{e4}d HTTP/1.1"),
        line("UTF-8 in the target", "GET /b\u{c3}\u{a4}d HTTP/1.1"),
        line("a byte above 0x7F in the query", "GET /bad?\u{ff} HTTP/1.1"),
        line("NUL in the target", "GET /bad\0 HTTP/1.1"),
        line("a control character in the target", "GET /bad\x01 HTTP/1.1"),
        line("DEL in the target", "GET /bad\x7f HTTP/1.1"),
        line("a bare CR in the target", "GET /bad\r HTTP/1.1"),
        line(
            "an absolute form that names another host",
            "GET http://evil/bad HTTP/1.1",
        ),
        line(
            "an absolute form that names another port",
            "GET http://app:81/bad HTTP/1.1",
        ),
        line(
            "an absolute form with a user",
            "GET http://user@app/bad HTTP/1.1",
        ),
        line(
            "an absolute form of another scheme",
            "GET ftp://app/bad HTTP/1.1",
        ),
        line(
            "an absolute form without a host",
            "GET http:///bad HTTP/1.1",
        ),
        row(
            "an absolute form and no Host",
            "GET http://app/bad HTTP/1.1\r\n$K\r\n",
            Bad,
        ),
        row(
            "TLS",
            "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03\r\n\r\n",
            Bad,
        ),
    ]
}

/// Chunked bodies that are none, after a good head.
fn chunks() -> Vec<Row> {
    let body = |name, body: &str| {
        row(
            name,
            &format!("POST /bad HTTP/1.1\r\n$H$KTransfer-Encoding: chunked\r\n\r\n{body}"),
            BadBody,
        )
    };
    let end = "0\r\n\r\n";
    vec![
        body(
            "a chunk size that is none",
            &format!("zz\r\nhello\r\n{end}"),
        ),
        body("an empty chunk size", &format!("\r\nhello\r\n{end}")),
        body("a negative chunk size", &format!("-1\r\nhello\r\n{end}")),
        body("a chunk size with a plus", &format!("+5\r\nhello\r\n{end}")),
        body("a chunk size with 0x", &format!("0x5\r\nhello\r\n{end}")),
        body(
            "a chunk size after a space",
            &format!(" 5\r\nhello\r\n{end}"),
        ),
        body("a chunk size with a gap", &format!("5 5\r\nhello\r\n{end}")),
        body(
            "a chunk size beyond 64 bits",
            &format!("10000000000000005\r\nhello\r\n{end}"),
        ),
        body(
            "a chunk longer than its size",
            &format!("5\r\nhello!\r\n{end}"),
        ),
        body(
            "a chunk shorter than its size",
            &format!("6\r\nhello\r\n{end}"),
        ),
        body("a chunk without a line end", &format!("5\r\nhello{end}")),
        body(
            "a bare LF after a chunk size",
            &format!("5\nhello\r\n{end}"),
        ),
        body(
            "a bare CR after a chunk size",
            &format!("5\rhello\r\n{end}"),
        ),
        body("a bare LF after a chunk", &format!("5\r\nhello\n{end}")),
        body("a bare CR after a chunk", &format!("5\r\nhello\r{end}")),
        body(
            "a bare LF in an extension",
            &format!("5;a\nb\r\nhello\r\n{end}"),
        ),
        body(
            "a bare CR in an extension",
            &format!("5;a\rb\r\nhello\r\n{end}"),
        ),
        body("NUL in an extension", &format!("5;a\0\r\nhello\r\n{end}")),
        body(
            "an extension without an end",
            &format!("5;{}", "a".repeat(80 * 1024)),
        ),
        body(
            "a bad second chunk",
            &format!("5\r\nhello\r\nzz\r\nhello\r\n{end}"),
        ),
        body("a bare LF after the last chunk", "5\r\nhello\r\n0\n\r\n"),
        body("a bare LF for the last empty line", "5\r\nhello\r\n0\r\n\n"),
        body(
            "a trailer without a colon",
            "5\r\nhello\r\n0\r\nX-A\r\n\r\n",
        ),
        body(
            "a trailer with a space before the colon",
            "5\r\nhello\r\n0\r\nX-A : 1\r\n\r\n",
        ),
        body(
            "a folded trailer",
            "5\r\nhello\r\n0\r\nX-A: 1\r\n 2\r\n\r\n",
        ),
        body("NUL in a trailer", "5\r\nhello\r\n0\r\nX-A: \0\r\n\r\n"),
        body(
            "a bare LF in trailers",
            "5\r\nhello\r\n0\r\nX-A: 1\nX-B: 2\r\n\r\n",
        ),
        body(
            "trailers without an end",
            &format!("5\r\nhello\r\n0\r\n{}", "X-A: 1\r\n".repeat(10 * 1024)),
        ),
    ]
}

/// Heads beyond the limits, and methods that no proxy for a service may pass.
fn limits() -> Vec<Row> {
    let long = "a".repeat(66 * 1024);
    let many = |count: usize| {
        (0..count)
            .map(|index| format!("X-{index}: 1\r\n"))
            .collect::<String>()
    };
    vec![
        row(
            "a long value",
            &format!("GET /bad HTTP/1.1\r\n$H$KX-A: {long}\r\n\r\n"),
            TooLarge,
        ),
        row(
            "a long name",
            &format!("GET /bad HTTP/1.1\r\n$H$K{long}: 1\r\n\r\n"),
            TooLarge,
        ),
        row(
            "a long target",
            &format!("GET /{long} HTTP/1.1\r\n$H$K\r\n"),
            TooLarge,
        ),
        row(
            "a long method",
            &format!("{long} /bad HTTP/1.1\r\n$H$K\r\n"),
            TooLarge,
        ),
        row(
            "too many fields",
            &format!("GET /bad HTTP/1.1\r\n$H$K{}\r\n", many(127)),
            TooLarge,
        ),
        row(
            "far too many fields",
            &format!("GET /bad HTTP/1.1\r\n$H$K{}\r\n", many(3_000)),
            TooLarge,
        ),
        row("CONNECT", "CONNECT app:443 HTTP/1.1\r\n$H$K\r\n", Method),
        row(
            "CONNECT with a path",
            "CONNECT /bad HTTP/1.1\r\n$H$K\r\n",
            Method,
        ),
        row("TRACE", "TRACE /bad HTTP/1.1\r\n$H$K\r\n", Method),
        row(
            "TRACE with a body",
            "TRACE /bad HTTP/1.1\r\n$H$KContent-Length: 5\r\n\r\nhello",
            Method,
        ),
    ]
}

/// Every row.
pub(super) fn all() -> Vec<Row> {
    // Bodies last: what the upstream sees of them may come late, and must not be taken for another row's.
    [lengths(), fields(), first_lines(), limits(), chunks()].concat()
}
