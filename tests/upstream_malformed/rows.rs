//! The rows: what an upstream sends, and what must come of it.

/// How an answer goes on behind its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// The connection stays, for the next request too.
    Keeps,
    /// The connection stays until keygate closes it, which it must before another request.
    Waits,
    /// An orderly end.
    Closes,
    /// A reset.
    Resets,
    /// The same again and again, until keygate goes.
    Floods(&'static str),
}

/// What the client sees.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sees {
    /// 502, whole.
    Failure,
    /// A message that is visibly broken, with no more than this of a body.
    Cut(&'static str),
    /// This answer, whole.
    Whole(u16, &'static str),
}

/// An answer.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) method: &'static str,
    /// What is good of it, or all of it.
    pub(crate) first: Vec<u8>,
    /// What breaks it.
    pub(crate) late: Vec<u8>,
    pub(crate) ending: Ending,
    pub(crate) sees: Sees,
}

use Ending::Closes;
use Ending::Floods;
use Ending::Keeps;
use Ending::Resets;
use Ending::Waits;
use Sees::Cut;
use Sees::Failure;
use Sees::Whole;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const TEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
const EVIL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";

fn row(
    name: &'static str,
    first: impl Into<Vec<u8>>,
    late: impl Into<Vec<u8>>,
    ending: Ending,
    sees: Sees,
) -> Row {
    Row {
        name,
        method: "GET",
        first: first.into(),
        late: late.into(),
        ending,
        sees,
    }
}

/// A head that is no head of an answer: 502, and its connection is never used again.
fn bad(name: &'static str, head: impl Into<Vec<u8>>) -> Row {
    row(name, head, "", Waits, Failure)
}

/// A head with one bad field line in it.
fn field(name: &'static str, line: &str) -> Row {
    bad(
        name,
        format!("HTTP/1.1 200 OK\r\n{line}\r\ncontent-length: 2\r\n\r\nok"),
    )
}

/// A head with one bad line of framing, and a body that some reading of it would take.
fn framing(name: &'static str, lines: &str) -> Row {
    bad(
        name,
        format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    )
}

/// Chunks that go wrong behind a good one.
fn chunks(name: &'static str, late: impl Into<Vec<u8>>, ending: Ending) -> Row {
    row(
        name,
        format!("{CHUNKED}5\r\nhello\r\n"),
        late,
        ending,
        Cut("hello"),
    )
}

/// All rows.
pub(crate) fn all() -> Vec<Row> {
    [
        status_lines(),
        fields(),
        lengths_and_codings(),
        floods(),
        interim(),
        early_ends(),
        bad_chunks(),
        bodies_where_none_may_be(),
        whole_after_all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[rustfmt::skip] // a row a line
fn status_lines() -> Vec<Row> {
    vec![
        bad("another protocol", "220 mail.example ESMTP\r\n\r\n"),
        bad("a request", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        bad("frames of HTTP/2", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64"),
        bad("an alert of TLS", b"\x15\x03\x01\0\x02\x02\x46"),
        bad("HTTP/2.0 in words", "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("HTTP/2 in words", "HTTP/2 200 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("HTTP/1.2", "HTTP/1.2 200 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("HTTP/1.10", "HTTP/1.10 200 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("HTTP/0.9 in words", "HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("a protocol in small letters", "http/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("a space in the version", "HTTP/ 1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("a status of two digits", "HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("a status of four digits", "HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("a status in letters", "HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n"),
        bad("a status below 100", "HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("a status of zero", "HTTP/1.1 000 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("a negative status", "HTTP/1.1 -20 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("a status with a sign", "HTTP/1.1 +20 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("no status", "HTTP/1.1 OK\r\ncontent-length: 0\r\n\r\n"),
        bad("NUL in the reason", b"HTTP/1.1 200 O\0K\r\ncontent-length: 0\r\n\r\n"),
        bad("a CR alone in the reason", "HTTP/1.1 200 O\rK\r\ncontent-length: 0\r\n\r\n"),
        row("a page without a head", "<html>hello</html>", "", Closes, Failure),
    ]
}

#[rustfmt::skip] // a row a line
fn fields() -> Vec<Row> {
    vec![
        field("NUL in a value", "x-a: a\0b"),
        field("a CR alone in a value", "x-a: a\rset-cookie: evil=1"),
        field("DEL in a value", "x-a: a\x7fb"),
        field("a bell in a value", "x-a: a\x07b"),
        field("NUL in a name", "x\0a: 1"),
        field("a space in a name", "x a: 1"),
        field("a space before the colon", "x-a : 1"),
        field("a tab before the colon", "x-a\t: 1"),
        field("bytes beyond ASCII in a name", "x-\u{e4}: 1"),
        field("a name of a pseudo field", ":status: 204"),
        field("no name", ": 1"),
        field("no colon", "x-a"),
        field("a folded value", "x-a: 1\r\n x-b: 2"),
        field("a value folded by a tab", "x-a: 1\r\n\tx-b: 2"),
        field("a first line that is folded", " x-a: 1"),
        field("129 fields", "x: y\r\n".repeat(128).trim_end()),
        field("a field of 70 KB", &format!("x: {}", "y".repeat(70_000))),
        field("a name of 70 KB", &format!("{}: y", "x".repeat(70_000))),
    ]
}

#[rustfmt::skip] // a row a line
fn lengths_and_codings() -> Vec<Row> {
    vec![
        framing("two different lengths", "content-length: 5\r\ncontent-length: 6"),
        framing("a length and an empty one", "content-length: 5\r\ncontent-length:"),
        framing("a list of equal lengths", "content-length: 5, 5"),
        framing("a list of different lengths", "content-length: 5, 6"),
        framing("a negative length", "content-length: -5"),
        framing("a length with a plus", "content-length: +5"),
        framing("a length in hexadecimal", "content-length: 0x5"),
        framing("a length with a fraction", "content-length: 5.0"),
        framing("a length with an exponent", "content-length: 1e1"),
        framing("a length with a space in it", "content-length: 1 5"),
        framing("a length with an underscore", "content-length: 1_5"),
        framing("a length in words", "content-length: five"),
        framing("an empty length", "content-length:"),
        framing("a length beyond 64 bits", "content-length: 18446744073709551621"),
        framing("a length of a hundred digits", &format!("content-length: {}", "9".repeat(100))),
        framing("length, then chunked", "content-length: 15\r\ntransfer-encoding: chunked"),
        framing("chunked, then length", "transfer-encoding: chunked\r\ncontent-length: 15"),
        framing("chunked twice, in a list", "transfer-encoding: chunked, chunked"),
        framing("chunked twice, in two lines", "transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
        framing("gzip", "transfer-encoding: gzip"),
        framing("gzip, then chunked", "transfer-encoding: gzip, chunked"),
        framing("gzip and chunked in two lines", "transfer-encoding: gzip\r\ntransfer-encoding: chunked"),
        framing("identity", "transfer-encoding: identity"),
        framing("a coding that begins like chunked", "transfer-encoding: chunkedx"),
        framing("chunked with a parameter", "transfer-encoding: chunked;q=1"),
        framing("chunked in quotes", "transfer-encoding: \"chunked\""),
        framing("chunked with a comma", "transfer-encoding: chunked,"),
        framing("an empty coding", "transfer-encoding:"),
        bad("chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        row("the largest length that there is", "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\nhello", "", Closes, Cut("hello")),
        row("a length of 63 bits", "HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\nhello", "", Resets, Cut("hello")),
    ]
}

#[rustfmt::skip] // a row a line
fn floods() -> Vec<Row> {
    vec![
        row("an endless reason", "HTTP/1.1 200 ", "", Floods("y"), Failure),
        row("endless empty lines", "", "", Floods("\r\n"), Failure),
        row("endless fields", "HTTP/1.1 200 OK\r\n", "", Floods("x: y\r\n"), Failure),
        row("endless empty fields", "HTTP/1.1 200 OK\r\n", "", Floods("x:\r\n"), Failure),
        row("an endless value", "HTTP/1.1 200 OK\r\nx: ", "", Floods("y"), Failure),
        row("an endless name", "HTTP/1.1 200 OK\r\n", "", Floods("x"), Failure),
        row("endless 100s", "", "", Floods("HTTP/1.1 100 Continue\r\n\r\n"), Failure),
        row("endless hints", "", "", Floods("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"), Failure),
        row("an endless extension of a chunk", format!("{CHUNKED}5\r\nhello\r\n"), "5;", Floods("a"), Cut("hello")),
        row("endless digits of a size", format!("{CHUNKED}5\r\nhello\r\n"), "", Floods("0"), Cut("hello")),
        row("endless trailers", format!("{CHUNKED}5\r\nhello\r\n"), "0\r\n", Floods("x: y\r\n"), Cut("hello")),
        row("an endless trailer", format!("{CHUNKED}5\r\nhello\r\n"), "0\r\nx: ", Floods("y"), Cut("hello")),
        row("answers without end behind the answer", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "", Floods(EVIL), Whole(200, "hello")),
    ]
}

#[rustfmt::skip] // a row a line
fn interim() -> Vec<Row> {
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let good = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    vec![
        bad("seventeen interim answers", [&hint.repeat(17), good].concat()),
        bad("an interim answer with a body", format!("HTTP/1.1 103 Hints\r\ncontent-length: 4\r\n\r\nbody{good}")),
        bad("a broken head behind an interim answer", format!("{hint}HTTP/1.1 20\r\n\r\n")),
        bad("101 unasked", "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nevil"),
        bad("101 unasked, behind a 100", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"),
        row("closed behind an interim answer", hint, "", Closes, Failure),
        row("reset behind an interim answer", hint, "", Resets, Failure),
        row("sixteen interim answers", [&hint.repeat(16), good].concat(), "", Keeps, Whole(200, "hello")),
        row("an interim answer that says chunked", format!("HTTP/1.1 103 Hints\r\ntransfer-encoding: chunked\r\n\r\n{good}"), "", Keeps, Whole(200, "hello")),
    ]
}

#[rustfmt::skip] // a row a line
fn early_ends() -> Vec<Row> {
    let half = format!("{CHUNKED}5\r\nhello\r\n");
    vec![
        row("closed without an answer", "", "", Closes, Failure),
        row("reset without an answer", "", "", Resets, Failure),
        row("closed in the status line", "HTTP/1.1 20", "", Closes, Failure),
        row("reset in the status line", "HTTP/1.1 20", "", Resets, Failure),
        row("closed in a field", "HTTP/1.1 200 OK\r\ncontent-le", "", Closes, Failure),
        row("reset in a field", "HTTP/1.1 200 OK\r\ncontent-le", "", Resets, Failure),
        row("closed before the empty line", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", "", Closes, Failure),
        row("closed in the empty line", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r", "", Closes, Failure),
        row("reset in the empty line", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r", "", Resets, Failure),
        row("closed between head and body", TEN, "", Closes, Cut("")),
        row("reset between head and body", TEN, "", Resets, Cut("")),
        row("closed in the body", format!("{TEN}hello"), "", Closes, Cut("hello")),
        row("reset in the body", format!("{TEN}hello"), "", Resets, Cut("hello")),
        row("closed one byte before the end", format!("{TEN}hello"), "worl", Closes, Cut("helloworl")),
        row("closed before the first chunk", CHUNKED, "", Closes, Cut("")),
        row("reset before the first chunk", CHUNKED, "", Resets, Cut("")),
        row("closed in a size", half.clone(), "1", Closes, Cut("hello")),
        row("reset in a size", half.clone(), "1", Resets, Cut("hello")),
        row("closed behind a size", half.clone(), "5\r\n", Closes, Cut("hello")),
        row("closed in the data of a chunk", half.clone(), "a\r\nworld", Closes, Cut("helloworld")),
        row("reset in the data of a chunk", half.clone(), "a\r\nworld", Resets, Cut("helloworld")),
        row("closed between data and line end", half.clone(), "5\r\nworld", Closes, Cut("helloworld")),
        row("closed in a chunk's line end", half.clone(), "5\r\nworld\r", Closes, Cut("helloworld")),
        row("closed before the last chunk", half.clone(), "", Closes, Cut("hello")),
        row("reset before the last chunk", half.clone(), "", Resets, Cut("hello")),
        row("closed in the last chunk", half.clone(), "0", Closes, Cut("hello")),
        row("closed behind the last chunk", half.clone(), "0\r\n", Closes, Cut("hello")),
        row("reset behind the last chunk", half.clone(), "0\r\n", Resets, Cut("hello")),
        row("closed in a trailer", half.clone(), "0\r\nx-sum: 1", Closes, Cut("hello")),
        row("closed behind a trailer", half.clone(), "0\r\nx-sum: 1\r\n", Closes, Cut("hello")),
        row("reset behind a trailer", half.clone(), "0\r\nx-sum: 1\r\n", Resets, Cut("hello")),
        row("closed in the last line end", half, "0\r\n\r", Closes, Cut("hello")),
        row("without a length, and a reset", "HTTP/1.1 200 OK\r\n\r\nhello", "", Resets, Cut("hello")),
        row("without a length, and a reset later", "HTTP/1.1 200 OK\r\n\r\nhello", "world", Resets, Cut("helloworld")),
        row("HTTP/1.0 without a length, and a reset", "HTTP/1.0 200 OK\r\n\r\nhello", "", Resets, Cut("hello")),
        row("HTTP/1.0, short of its length", "HTTP/1.0 200 OK\r\ncontent-length: 10\r\n\r\nhello", "", Closes, Cut("hello")),
    ]
}

#[rustfmt::skip] // a row a line
fn bad_chunks() -> Vec<Row> {
    vec![
        chunks("a size that is no number", "xyz\r\nworld\r\n0\r\n\r\n", Waits),
        chunks("a size with 0x", "0x5\r\nworld\r\n0\r\n\r\n", Waits),
        chunks("a negative size", "-5\r\nworld\r\n0\r\n\r\n", Waits),
        chunks("a size with a plus", "+5\r\nworld\r\n0\r\n\r\n", Waits),
        chunks("an empty size", "\r\nworld\r\n0\r\n\r\n", Waits),
        chunks("a space before a size", " 5\r\nworld\r\n0\r\n\r\n", Waits),
        chunks("a space behind a size", "5 \r\nworld\r\n0\r\n\r\n", Waits),
        chunks("a size beyond 64 bits", "10000000000000005\r\nworld\r\n0\r\n\r\n", Waits),
        chunks("a size of 64 bits", "ffffffffffffffff\r\nworld\r\n0\r\n\r\n", Waits),
        chunks("a size of seventeen digits", "00000000000000005\r\nworld\r\n0\r\n\r\n", Waits),
        chunks("a size and a line feed alone", "5\nworld\r\n0\r\n\r\n", Waits),
        chunks("a size and a CR alone", "5\rworld\r\n0\r\n\r\n", Waits),
        chunks("an extension that is too long", format!("5;{}\r\nworld\r\n0\r\n\r\n", "a".repeat(2_000)), Waits),
        chunks("NUL in an extension", "5;\0\r\nworld\r\n0\r\n\r\n", Waits),
        chunks("a line feed in an extension", "5;a\nb\r\nworld\r\n0\r\n\r\n", Waits),
        row("data longer than its size", format!("{CHUNKED}5\r\nhello\r\n"), "5\r\nworld!\r\n0\r\n\r\n", Waits, Cut("helloworld")),
        row("data without a line end", format!("{CHUNKED}5\r\nhello\r\n"), "5\r\nworld0\r\n\r\n", Waits, Cut("helloworld")),
        row("data and a line feed alone", format!("{CHUNKED}5\r\nhello\r\n"), "5\r\nworld\n0\r\n\r\n", Waits, Cut("helloworld")),
        chunks("a head in the place of a size", EVIL, Waits),
        chunks("a trailer without a colon", "0\r\nx\r\n\r\n", Waits),
        chunks("a trailer without a name", "0\r\n: x\r\n\r\n", Waits),
        chunks("a space in a trailer's name", "0\r\nx y: z\r\n\r\n", Waits),
        chunks("a space before a trailer's colon", "0\r\nx : z\r\n\r\n", Waits),
        chunks("a folded trailer", "0\r\nx: y\r\n z\r\n\r\n", Waits),
        chunks("NUL in a trailer", "0\r\nx: \0\r\n\r\n", Waits),
        chunks("a line feed alone behind a trailer", "0\r\nx: y\n\r\n", Waits),
        chunks("a CR alone in a trailer", "0\r\nx: y\rset-cookie: evil=1\r\n\r\n", Waits),
        chunks("a trailer with the name of a pseudo field", "0\r\n:status: 204\r\n\r\n", Waits),
        chunks("too many trailers", format!("0\r\n{}\r\n", "x: y\r\n".repeat(129)), Waits),
        chunks("trailers of 70 KB", format!("0\r\nx: {}\r\n\r\n", "y".repeat(70_000)), Waits),
    ]
}

#[rustfmt::skip] // a row a line
fn bodies_where_none_may_be() -> Vec<Row> {
    let head = |row: Row| Row { method: "HEAD", ..row };
    vec![
        head(row("HEAD with a length and a body", format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{EVIL}", EVIL.len()), "", Waits, Whole(200, ""))),
        head(row("HEAD with chunks", format!("{CHUNKED}4\r\nevil\r\n0\r\n\r\n"), "", Waits, Whole(200, ""))),
        head(row("HEAD until the end", "HTTP/1.1 200 OK\r\n\r\nevil", "", Closes, Whole(200, ""))),
        head(row("HEAD with two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n", "", Waits, Failure)),
        row("204 with a body", format!("HTTP/1.1 204 No Content\r\n\r\n{EVIL}"), "", Waits, Whole(204, "")),
        row("204 with a length", "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil", "", Waits, Whole(204, "")),
        row("204 with a length and nothing", "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\n", "", Waits, Whole(204, "")),
        row("204 with chunks", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n", "", Waits, Whole(204, "")),
        row("304 with a body", format!("HTTP/1.1 304 Not Modified\r\ncontent-length: {}\r\n\r\n{EVIL}", EVIL.len()), "", Waits, Whole(304, "")),
        row("304 with chunks", "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n", "", Waits, Whole(304, "")),
        row("a body behind a length of zero", format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n{EVIL}"), "", Waits, Whole(200, "")),
        row("a body longer than its length", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloworld", "", Waits, Whole(200, "hello")),
        row("an answer behind the answer", format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello{EVIL}"), "", Waits, Whole(200, "hello")),
        row("an answer behind the last chunk", format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n{EVIL}"), "", Waits, Whole(200, "hello")),
        row("an empty line behind the last chunk", format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n\r\n"), "", Waits, Whole(200, "hello")),
        row("205 with a body", "HTTP/1.1 205 Reset Content\r\ncontent-length: 4\r\n\r\nevil", "", Keeps, Whole(205, "evil")),
    ]
}

#[rustfmt::skip] // a row a line
fn whole_after_all() -> Vec<Row> {
    vec![
        row("until the end", "HTTP/1.1 200 OK\r\n\r\nhello", "", Closes, Whole(200, "hello")),
        row("an HTTP/1.0 answer until the end", "HTTP/1.0 200 OK\r\n\r\nhello", "", Closes, Whole(200, "hello")),
        row("equal lengths twice", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", "", Keeps, Whole(200, "hello")),
        row("line feeds alone", "HTTP/1.1 200 OK\nx-a: 1\ncontent-length: 5\n\nhello", "", Keeps, Whole(200, "hello")),
        row("Connection that names the length", "HTTP/1.1 200 OK\r\nconnection: content-length\r\ncontent-length: 5\r\n\r\nhello", "", Keeps, Whole(200, "hello")),
        row("Connection that names the coding", format!("{}5\r\nhello\r\n0\r\n\r\n", CHUNKED.replace("\r\n\r\n", "\r\nconnection: transfer-encoding\r\n\r\n")), "", Keeps, Whole(200, "hello")),
        row("trailers that speak of framing", format!("{}5\r\nhello\r\n0\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\nhost: evil\r\nconnection: close\r\ntrailer: x\r\nx-sum: 1\r\n\r\n", CHUNKED.replace("\r\n\r\n", "\r\ntrailer: x-sum, content-length, transfer-encoding, host\r\n\r\n")), "", Keeps, Whole(200, "hello")),
        row("a status that nobody has named", "HTTP/1.1 799 What\r\ncontent-length: 5\r\n\r\nhello", "", Keeps, Whole(799, "hello")),
        row("bytes beyond ASCII in a value", b"HTTP/1.1 200 OK\r\nx-a: \xff\xe9\r\ncontent-length: 5\r\n\r\nhello", "", Keeps, Whole(200, "hello")),
    ]
}

/// Answers that stop in every phase: 504 before the head is whole, cut after it.
#[rustfmt::skip] // a row a line
pub(crate) fn stalls() -> Vec<Row> {
    vec![
        row("nothing at all", "", "", Closes, Failure),
        row("in the status line", "HTTP/1.1 20", "", Closes, Failure),
        row("in a field", "HTTP/1.1 200 OK\r\nx-a", "", Closes, Failure),
        row("before the empty line", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", "", Closes, Failure),
        row("behind an interim answer", "HTTP/1.1 100 Continue\r\n\r\n", "", Closes, Failure),
        row("between head and body", TEN, "", Closes, Cut("")),
        row("in the body", format!("{TEN}hello"), "", Closes, Cut("hello")),
        row("before the first chunk", CHUNKED, "", Closes, Cut("")),
        row("in a chunk", format!("{CHUNKED}a\r\nhello"), "", Closes, Cut("hello")),
        row("in a size", format!("{CHUNKED}5\r\nhello\r\n1"), "", Closes, Cut("hello")),
        row("before the last chunk", format!("{CHUNKED}5\r\nhello\r\n"), "", Closes, Cut("hello")),
        row("in the trailers", format!("{CHUNKED}5\r\nhello\r\n0\r\nx: y\r\n"), "", Closes, Cut("hello")),
        row("in a body until the end", "HTTP/1.1 200 OK\r\n\r\nhello", "", Closes, Cut("hello")),
    ]
}
