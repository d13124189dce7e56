//! Rows of answers: what is to come of each, whether hyper's client agrees, and if not, why we are stricter.

use super::Ending::*;
use super::Extent::*;
use super::*;

struct Row {
    name: &'static str,
    method: Method,
    answer: Vec<u8>,
    ending: Ending,
    extent: Extent,
    body: &'static [u8],
    /// Why hyper lets more of it through than we do.
    stricter: Option<&'static str>,
}

impl Row {
    fn head(mut self) -> Self {
        self.method = Method::HEAD;
        self
    }

    const fn stricter(mut self, why: &'static str) -> Self {
        self.stricter = Some(why);
        self
    }
}

fn row(
    name: &'static str,
    ending: Ending,
    answer: impl Into<Vec<u8>>,
    extent: Extent,
    body: &'static str,
) -> Row {
    Row {
        name,
        method: Method::GET,
        answer: answer.into(),
        ending,
        extent,
        body: body.as_bytes(),
        stricter: None,
    }
}

const ONE_FRAMING: &str = "an answer that could be framed in two ways is malformed: whoever reads it next may choose the other";
const ONE_SPELLING: &str =
    "chunk sizes have one spelling, also where RFC 9112 lets a recipient be kind";
const NO_KEEP_ALIVE_10: &str =
    "HTTP/1.0 connections are not kept: too few servers get it right for the one request saved";
const UNKNOWN_CODING: &str =
    "a coding that was not asked for cannot be undone, and read to the end it would lose its name";

#[rustfmt::skip] // a row a line
fn lengths() -> Vec<Row> {
    vec![
        row("a length", Open, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Reused, "hello"),
        row("no body", Open, "HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", Reused, ""),
        row("a length with white space", Open, "HTTP/1.1 200 OK\r\nContent-Length: \t5 \r\n\r\nhello", Reused, "hello"),
        row("a length with leading zeros", Open, "HTTP/1.1 200 OK\r\nContent-Length: 0005\r\n\r\nhello", Reused, "hello"),
        row("equal lengths twice", Open, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", Reused, "hello"),
        row("a length that asks to close", Open, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", Whole, "hello"),
        row("close in a list", Open, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: a, Close\r\n\r\nhello", Whole, "hello"),
        row("close, then keep-alive", Open, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", Whole, ""),
        row("keep-alive said aloud", Open, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello", Reused, "hello"),
        row("empty reason", Open, "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", Reused, ""),
        row("no reason at all", Open, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Reused, ""),
        row("a status that nobody has named", Open, "HTTP/1.1 799 What\r\nContent-Length: 0\r\n\r\n", Reused, ""),
        row("empty lines first", Open, "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Reused, ""),
        row("line feeds alone", Open, "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", Reused, "hello"),
        row("bytes above 0x7f in a value", Open, b"HTTP/1.1 200 OK\r\nx: \xff\xe9\r\nContent-Length: 0\r\n\r\n", Reused, ""),
        row("values of one name, and an empty one", Open, "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nset-cookie: c\r\nX:\r\nContent-Length: 0\r\n\r\n", Reused, ""),
        row("a length list", Open, "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", NoAnswer, "").stricter(ONE_FRAMING),
        row("different lengths", Open, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", NoAnswer, ""),
        row("a negative length", Open, "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", NoAnswer, ""),
        row("a length with a sign", Open, "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", NoAnswer, ""),
        row("an empty length", Open, "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello", NoAnswer, ""),
        row("a length beyond 64 bits", Open, "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nhello", NoAnswer, ""),
        row("a body that is too short", Close, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", Broken, "hell"),
        row("a body that is too short, and a reset", Reset, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", Broken, "hell"),
        row("nothing of a body", Close, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Broken, ""),
        row("a body that is too long", Open, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", Whole, "hello"),
        row("an answer behind the answer", Open, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Whole, "hello"),
    ]
}

#[rustfmt::skip] // a row a line
fn chunks() -> Vec<Row> {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = |name, ending, body: &str, extent, expected| {
        row(name, ending, [HEAD, body].concat(), extent, expected)
    };
    let many = |count: usize| format!("0\r\n{}\r\n", "x: y\r\n".repeat(count));
    vec![
        chunked("chunks", Open, "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", Reused, "hello!"),
        chunked("no chunk", Open, "0\r\n\r\n", Reused, ""),
        chunked("sizes in both cases, with zeros", Open, "00a\r\n0123456789\r\nA\r\n0123456789\r\n000\r\n\r\n", Reused, "01234567890123456789"),
        chunked("extensions", Open, "5;a;b=c;d=\"e f\"\r\nhello\r\n0;z\r\n\r\n", Reused, "hello"),
        chunked("trailers", Open, "5\r\nhello\r\n0\r\nX-Sum: 12\r\nx-b: \r\n\r\n", Reused, "hello"),
        chunked("trailers alone", Open, "0\r\ngrpc-status: 0\r\n\r\n", Reused, ""),
        chunked("chunks that look like framing", Open, "7\r\n0\r\n\r\n0\r\r\n2\r\n\r\n\r\n0\r\n\r\n", Reused, "0\r\n\r\n0\r\r\n"),
        row("the coding in capitals", Open, "HTTP/1.1 200 OK\r\nTRANSFER-ENCODING: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", Reused, "a"),
        row("chunked and asks to close", Open, "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", Whole, "a"),
        chunked("bytes behind the last chunk", Open, "1\r\na\r\n0\r\n\r\n\r\n", Whole, "a"),
        chunked("no last chunk", Close, "5\r\nhello\r\n", Broken, "hello"),
        chunked("cut in a size", Close, "5\r\nhello\r\n1", Broken, "hello"),
        chunked("cut in the data", Close, "5\r\nhel", Broken, "hel"),
        chunked("cut in the data by a reset", Reset, "5\r\nhel", Broken, "hel"),
        chunked("cut before the last line end", Close, "5\r\nhello\r\n0\r\n", Broken, "hello"),
        chunked("cut in the last line end", Close, "5\r\nhello\r\n0\r\n\r", Broken, "hello"),
        chunked("cut in a trailer", Close, "5\r\nhello\r\n0\r\nx: y\r\n", Broken, "hello"),
        chunked("no body at all", Close, "", Broken, ""),
        chunked("a size that is no number", Close, "xyz\r\nhello\r\n0\r\n\r\n", Broken, ""),
        chunked("a size with a prefix", Close, "0x5\r\nhello\r\n0\r\n\r\n", Broken, ""),
        chunked("a negative size", Close, "-5\r\nhello\r\n0\r\n\r\n", Broken, ""),
        chunked("an empty size", Close, "\r\nhello\r\n0\r\n\r\n", Broken, ""),
        chunked("a size beyond 64 bits", Close, "10000000000000005\r\nhello\r\n0\r\n\r\n", Broken, ""),
        chunked("data longer than its size", Close, "4\r\nhello\r\n0\r\n\r\n", Broken, "hell"),
        chunked("a size behind which a line feed stands alone", Close, "5\nhello\r\n0\r\n\r\n", Broken, ""),
        chunked("a line feed in an extension", Close, "5;a\nb\r\nhello\r\n0\r\n\r\n", Broken, ""),
        chunked("a trailer without a colon", Close, "0\r\nx\r\n\r\n", Broken, ""),
        chunked("too many trailers", Close, &many(FIELDS_MAX + 1), Broken, ""),
        chunked("white space behind a size", Open, "5 \r\nhello\r\n0\r\n\r\n", Broken, "").stricter(ONE_SPELLING),
        chunked("seventeen digits", Open, "00000000000000005\r\nhello\r\n0\r\n\r\n", Broken, "").stricter(ONE_SPELLING),
        chunked("a long extension", Open, &format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(2_000)), Broken, "").stricter("1 KiB of an extension that nobody reads is enough"),
        chunked("NUL in an extension", Open, "5;\0\r\nhello\r\n0\r\n\r\n", Broken, "").stricter(ONE_SPELLING),
        chunked("a line feed alone behind a trailer", Close, "0\r\nx: y\n\r\n", Broken, ""),
    ]
}

#[rustfmt::skip] // a row a line
fn codings() -> Vec<Row> {
    vec![
        row("length and chunked", Open, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NoAnswer, "").stricter(ONE_FRAMING),
        row("chunked and length", Open, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", NoAnswer, "").stricter(ONE_FRAMING),
        row("chunked twice", Open, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NoAnswer, "").stricter(ONE_FRAMING),
        row("gzip", Close, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", NoAnswer, "").stricter(UNKNOWN_CODING),
        row("gzip, chunked", Open, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", NoAnswer, "").stricter(UNKNOWN_CODING),
        row("identity", Close, "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello", NoAnswer, "").stricter(UNKNOWN_CODING),
        row("a coding in quotes", Close, "HTTP/1.1 200 OK\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", NoAnswer, "").stricter(UNKNOWN_CODING),
        row("chunked in HTTP/1.0", Close, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NoAnswer, ""),
        row("until the end", Close, "HTTP/1.1 200 OK\r\n\r\nhello", Whole, "hello"),
        row("until the end, which comes at once", Close, "HTTP/1.1 200 OK\r\n\r\n", Whole, ""),
        row("until a reset", Reset, "HTTP/1.1 200 OK\r\n\r\nhello", Broken, "hello"),
        row("HTTP/1.0 until the end", Close, "HTTP/1.0 200 OK\r\n\r\nhello", Whole, "hello"),
        row("HTTP/1.0 with a length", Open, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", Whole, "hello"),
        row("HTTP/1.0 with a length, too short", Close, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhell", Broken, "hell"),
        row("HTTP/1.0 that keeps alive", Open, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", Whole, "hello")
            .stricter(NO_KEEP_ALIVE_10),
        row("HEAD with a length", Open, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Reused, "").head(),
        row("HEAD of chunks", Open, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Reused, "").head(),
        row("HEAD without framing", Open, "HTTP/1.1 200 OK\r\n\r\n", Reused, "").head(),
        row("HEAD with a body all the same", Open, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Whole, "").head(),
        row("204", Open, "HTTP/1.1 204 No Content\r\n\r\n", Reused, ""),
        row("204 that announces a length", Open, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Whole, "").stricter("what is announced may still come, and would be the next answer"),
        row("204 that announces chunks and sends them", Open, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Whole, ""),
        row("304 with a length", Open, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n", Reused, ""),
        row("304 with a body", Open, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", Whole, ""),
    ]
}

#[rustfmt::skip] // a row a line
fn heads() -> Vec<Row> {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let fields = |count: usize| {
        let filler = "x: y\r\n".repeat(count - 1);
        format!("HTTP/1.1 200 OK\r\n{filler}Content-Length: 2\r\n\r\nok")
    };
    let large = |bytes: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nx: {}\r\nContent-Length: 2\r\n\r\nok",
            "y".repeat(bytes)
        )
    };
    vec![
        row("100 first", Open, format!("HTTP/1.1 100 Continue\r\n\r\n{good}"), Reused, "ok"),
        row("several interim answers", Open, format!("{early}HTTP/1.1 102 Processing\r\n\r\n{early}{good}"), Reused, "ok"),
        row("an interim answer that announces a body", Open, format!("HTTP/1.1 103 Hints\r\nContent-Length: 9\r\n\r\n{good}"), Reused, "ok"),
        row("interim answers without end", Close, early.repeat(40), NoAnswer, ""),
        row("more interim answers than anybody needs", Open, [&early.repeat(INTERIM_MAX + 1), good].concat(), NoAnswer, "").stricter("an upstream may not hold a request for ever by interim answers"),
        row("as many interim answers as may be", Open, [&early.repeat(INTERIM_MAX), good].concat(), Reused, "ok"),
        row("closed behind an interim answer", Close, early, NoAnswer, ""),
        row("101 unasked", Open, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", Whole, ""),
        row("closed without an answer", Close, "", NoAnswer, ""),
        row("reset without an answer", Reset, "", NoAnswer, ""),
        row("closed in the status line", Close, "HTTP/1.1 20", NoAnswer, ""),
        row("closed in a field", Close, "HTTP/1.1 200 OK\r\nContent-Le", NoAnswer, ""),
        row("closed before the empty line", Close, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", NoAnswer, ""),
        row("reset in the head", Reset, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", NoAnswer, ""),
        row("HTTP/0.9", Close, "hello", NoAnswer, ""),
        row("HTTP/2", Close, "\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64", NoAnswer, ""),
        row("another version", Close, "HTTP/1.2 200 OK\r\n\r\n", NoAnswer, ""),
        row("a version of two digits", Close, "HTTP/1.10 200 OK\r\n\r\n", NoAnswer, ""),
        row("a status of two digits", Close, "HTTP/1.1 20 OK\r\n\r\n", NoAnswer, ""),
        row("a status of four digits", Close, "HTTP/1.1 2000 OK\r\n\r\n", NoAnswer, ""),
        row("a status below 100", Close, "HTTP/1.1 099 OK\r\n\r\n", NoAnswer, ""),
        row("no status", Close, "HTTP/1.1 OK\r\n\r\n", NoAnswer, ""),
        row("a request", Close, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", NoAnswer, ""),
        row("NUL in a value", Close, "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n", NoAnswer, ""),
        row("a CR alone in a value", Close, "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n", NoAnswer, ""),
        row("a folded value", Close, "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n", NoAnswer, ""),
        row("a space before a colon", Close, "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", NoAnswer, ""),
        row("a field without a name", Close, "HTTP/1.1 200 OK\r\n: x\r\n\r\n", NoAnswer, ""),
        row("a field without a colon", Close, "HTTP/1.1 200 OK\r\nx\r\n\r\n", NoAnswer, ""),
        row("as many fields as may be", Open, fields(FIELDS_MAX), Reused, "ok"),
        row("one field more", Close, fields(FIELDS_MAX + 1), NoAnswer, ""),
        row("a large head", Open, large(60_000), Reused, "ok"),
        row("a head that is too large", Close, large(200_000), NoAnswer, ""),
    ]
}

/// At once, byte by byte, and in two uneven ways; large ones not by the byte.
fn ways(answer: &[u8]) -> Vec<Vec<usize>> {
    let mut ways = vec![vec![answer.len().max(1)], vec![1_021, 7, 4_093]];
    if answer.len() < 1_500 {
        ways.extend([vec![1], vec![3, 1, 17, 2, 5]]);
    }
    ways
}

#[test]
fn answers_are_read_as_hyper_reads_them_or_more_strictly() {
    let rows = [lengths(), chunks(), codings(), heads()];
    for row in rows.into_iter().flatten() {
        for writes in ways(&row.answer) {
            let place = format!("{}, in writes of {writes:?}", row.name);
            let script = Script {
                answer: row.answer.clone(),
                writes,
                ending: row.ending,
            };
            let (ours, hypers) = run(async {
                let ours = ours(&row.method, script.clone()).await;
                (ours, hypers(&row.method, script).await)
            });
            assert_eq!(
                ours.extent(),
                row.extent,
                "{place}: {ours:?}; hyper: {hypers:?}"
            );
            if row.extent >= Whole {
                assert_eq!(ours.body(), row.body, "{place}");
            } else {
                assert!(row.body.starts_with(ours.body()), "{place}: {ours:?}");
            }
            match row.stricter {
                None => assert!(ours.agrees(&hypers), "{place}: {ours:?}; hyper: {hypers:?}"),
                Some(_) => assert!(ours.extent() < hypers.extent(), "{place}: {hypers:?}"),
            }
        }
    }
}
