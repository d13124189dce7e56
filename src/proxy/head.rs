//! The grammar of an HTTP/1 request head, strictly: RFC 9112 without its tolerances. A head is checked line by
//! line as it arrives, so that the first wrong byte is refused when its line ends and no work is done twice.
//!
//! The invariant: what passes here is read the same way by every parser behind us; what two parsers could read
//! differently is refused. hyper alone is not enough: it folds equal Content-Lengths, lets a
//! Transfer-Encoding override a Content-Length, takes bare LF, and cuts a target at `#`.
//! Not for: waiting for bytes and handing them on, which is `reader`.

use http::Method;

use crate::proxy::framing::is_token;
use crate::proxy::framing::is_value;
use crate::refusal::Refusal;

/// The longest target that hyper's URI type can hold.
const TARGET_BYTES_MAX: usize = 65_534;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// All of it, bytes.
    pub(crate) bytes: usize,
    /// Fields.
    pub(crate) fields: usize,
}

/// A head being checked. Feed it the same bytes and more, from the head's first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadCheck {
    /// The first byte of the first line that is not checked yet.
    at: usize,
    /// Bytes behind `at` in which no line end was found.
    searched: usize,
    line: Option<RequestLine>,
    fields: usize,
    host: Option<Range>,
    content_length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

#[derive(Clone, Copy, Debug)]
struct RequestLine {
    method: Range,
    target: Range,
    http11: bool,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    from: usize,
    to: usize,
}

impl Range {
    fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.from..self.to]
    }
}

/// How far a head has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are needed.
    Partial,
    /// The head is whole and clean.
    Whole(Head),
    /// The head is refused, for this reason.
    Refused(Refusal, &'static str),
}

/// What the reader needs to know of a clean head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its length with the empty line, bytes.
    pub(crate) bytes: usize,
    /// What follows it.
    pub(crate) body: BodyKind,
    /// Whether it asks for another protocol.
    pub(crate) upgrade: bool,
}

/// How the body of a request is framed (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// This many bytes, perhaps none.
    Length(u64),
    /// Chunked.
    Chunked,
}

type Checked<T> = Result<T, (Refusal, &'static str)>;

const fn bad<T>(what: &'static str) -> Checked<T> {
    Err((Refusal::BadRequest, what))
}

impl HeadCheck {
    /// Before the first byte.
    pub(crate) const NEW: Self = Self {
        at: 0,
        searched: 0,
        line: None,
        fields: 0,
        host: None,
        content_length: None,
        chunked: false,
        upgrade: false,
    };

    /// Checks what of `bytes` is new. After `Whole` or `Refused` the check is over.
    pub(crate) fn advance(&mut self, bytes: &[u8], limits: HeadLimits) -> Progress {
        match self.lines(bytes, limits) {
            Ok(Some(head)) => Progress::Whole(head),
            Ok(None) => Progress::Partial,
            Err((refusal, what)) => Progress::Refused(refusal, what),
        }
    }

    /// What can be told of a refused head for the record: its method and its target as sent.
    pub(crate) fn first_line(&self, bytes: &[u8]) -> (Option<Method>, Option<Box<[u8]>>) {
        if let Some(line) = self.line {
            return (
                Method::from_bytes(line.method.of(bytes)).ok(),
                Some(line.target.of(bytes).into()),
            );
        }
        let end = memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
        let mut words = bytes[..end].splitn(3, |byte| *byte == b' ');
        let method = words
            .next()
            .and_then(|method| Method::from_bytes(method).ok());
        (method, words.next().map(Into::into))
    }

    fn lines(&mut self, bytes: &[u8], limits: HeadLimits) -> Checked<Option<Head>> {
        while let Some(found) = memchr::memchr(b'\n', &bytes[self.searched.max(self.at)..]) {
            let end = self.searched.max(self.at) + found;
            if end >= limits.bytes {
                return Err((
                    Refusal::HeadTooLarge,
                    "the head is larger than limits.header_bytes",
                ));
            }
            let line = Range {
                from: self.at,
                to: end,
            };
            let Some(line) = without_cr(line, bytes) else {
                return bad("a line ends in LF without CR");
            };
            if line.from == line.to {
                if self.line.is_some() {
                    return self.whole(bytes, end + 1).map(Some);
                }
                if self.at > 0 {
                    return bad("more than one empty line before the request line");
                }
                // RFC 9112 §2.2: one empty line before a request line is forgiven.
            } else if self.line.is_none() {
                self.line = Some(request_line(line, bytes)?);
            } else {
                self.field(line, bytes, limits)?;
            }
            self.at = end + 1;
        }
        self.searched = bytes.len();
        if bytes.len() >= limits.bytes {
            return Err((
                Refusal::HeadTooLarge,
                "the head is larger than limits.header_bytes",
            ));
        }
        match bytes.get(self.at) {
            // Not worth waiting for the rest of the line: TLS on a plain port, for one.
            Some(first) if self.line.is_none() && !is_token(*first) && *first != b'\r' => {
                bad("the request line begins with a byte that no method has")
            }
            Some(b' ' | b'\t') => bad("a folded header line"),
            _ => Ok(None),
        }
    }

    fn field(&mut self, line: Range, bytes: &[u8], limits: HeadLimits) -> Checked<()> {
        self.fields += 1;
        if self.fields > limits.fields {
            return Err((
                Refusal::HeadTooLarge,
                "the head has more fields than limits.headers",
            ));
        }
        let text = line.of(bytes);
        if matches!(text[0], b' ' | b'\t') {
            return bad("a folded header line");
        }
        let Some(colon) = text.iter().position(|byte| !is_token(*byte)) else {
            return bad("a header line without a colon");
        };
        if text[colon] != b':' || colon == 0 {
            return bad("a header name with a byte that is not allowed there");
        }
        if !text[colon + 1..].iter().copied().all(is_value) {
            return bad("a control character in a header value");
        }
        let (name, value) = (
            &text[..colon],
            trimmed(
                Range {
                    from: line.from + colon + 1,
                    to: line.to,
                },
                bytes,
            ),
        );
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value, bytes),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.content_length(value.of(bytes))
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.transfer_encoding(value.of(bytes))
            }
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: Range, bytes: &[u8]) -> Checked<()> {
        if self.host.replace(value).is_some() {
            return bad("more than one Host");
        }
        let host = value.of(bytes);
        if is_host(host) {
            Ok(())
        } else {
            bad("an invalid Host")
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Checked<()> {
        if self.content_length.is_some() {
            return bad("more than one Content-Length");
        }
        let canonical = value.iter().all(u8::is_ascii_digit)
            && (value.len() == 1 || value.first() != Some(&b'0'));
        let length = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok());
        match length {
            Some(length) if canonical && length <= i64::MAX as u64 => {
                self.content_length = Some(length);
                Ok(())
            }
            _ => bad("Content-Length is not a plain decimal number"),
        }
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Checked<()> {
        if self.chunked {
            return bad("more than one Transfer-Encoding");
        }
        self.chunked = value.eq_ignore_ascii_case(b"chunked");
        if self.chunked {
            Ok(())
        } else {
            bad("a Transfer-Encoding other than chunked")
        }
    }

    /// Rules that need the whole head.
    fn whole(&self, bytes: &[u8], end: usize) -> Checked<Head> {
        let line = self
            .line
            .expect("the empty line is only taken for the end behind a request line");
        let body = match (self.content_length, self.chunked) {
            (Some(_), true) => return bad("both Content-Length and Transfer-Encoding"),
            (None, true) if !line.http11 => return bad("Transfer-Encoding in HTTP/1.0"),
            (None, true) => BodyKind::Chunked,
            (length, false) => BodyKind::Length(length.unwrap_or(0)),
        };
        let method = line.method.of(bytes);
        if method == b"CONNECT" || method == b"TRACE" {
            return Err((
                Refusal::MethodNotSupported,
                "CONNECT and TRACE are not passed on",
            ));
        }
        match self.host {
            None if line.http11 => return bad("no Host"),
            None => {}
            Some(host) => agrees(line.target.of(bytes), host.of(bytes))?,
        }
        target_form(line.target.of(bytes), method)?;
        Ok(Head {
            bytes: end,
            body,
            upgrade: self.upgrade && line.http11,
        })
    }
}

/// The line without its CR; none if it has none.
fn without_cr(line: Range, bytes: &[u8]) -> Option<Range> {
    let to = line.to.checked_sub(1).filter(|to| *to >= line.from)?;
    (bytes[to] == b'\r').then_some(Range {
        from: line.from,
        to,
    })
}

fn trimmed(value: Range, bytes: &[u8]) -> Range {
    let Range { mut from, mut to } = value;
    while from < to && matches!(bytes[from], b' ' | b'\t') {
        from += 1;
    }
    while from < to && matches!(bytes[to - 1], b' ' | b'\t') {
        to -= 1;
    }
    Range { from, to }
}

fn request_line(line: Range, bytes: &[u8]) -> Checked<RequestLine> {
    let text = line.of(bytes);
    let method = text
        .iter()
        .position(|byte| !is_token(*byte))
        .unwrap_or(text.len());
    if method == 0 || text.get(method) != Some(&b' ') {
        return bad("the request line does not begin with a method and one space");
    }
    let rest = &text[method + 1..];
    let Some(space) = memchr::memchr(b' ', rest) else {
        return bad("the request line has no HTTP version");
    };
    let http11 = match &rest[space + 1..] {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return bad("the HTTP version is neither 1.0 nor 1.1"),
    };
    let target = &rest[..space];
    if target.len() > TARGET_BYTES_MAX {
        return Err((Refusal::HeadTooLarge, "the request target is too long"));
    }
    if target.is_empty() || !valid_target(target) {
        return bad("a byte in the request target that must be percent-encoded");
    }
    let from = line.from + method + 1;
    Ok(RequestLine {
        method: Range {
            from: line.from,
            to: line.from + method,
        },
        target: Range {
            from,
            to: from + space,
        },
        http11,
    })
}

/// Visible ASCII without the characters that `http::Uri` refuses, so that hyper never answers in our place.
/// RFC 3986 allows none of those unencoded.
pub(crate) fn valid_target(target: &[u8]) -> bool {
    let path = memchr::memchr(b'?', target).unwrap_or(target.len());
    let visible = |byte: u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'#' | b'<' | b'>');
    target[..path]
        .iter()
        .all(|byte| visible(*byte) && *byte != b'`')
        && target[path..]
            .iter()
            .all(|byte| visible(*byte) && *byte != b'"')
}

/// A name or address with or without a port (RFC 9110 §7.2), and not empty.
pub(crate) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => match memchr::memchr(b']', rest) {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => return false,
        },
        _ => host.split_at(memchr::memchr(b':', host).unwrap_or(host.len())),
    };
    let in_brackets = host.first() == Some(&b'[');
    let name_fine = |byte: &u8| is_name(*byte) || (in_brackets && *byte == b':');
    let port_fine = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !name.is_empty() && name.iter().all(name_fine) && port_fine
}

/// `unreserved`, `sub-delims` without the comma, and `%` of RFC 3986 §3.2.2.
const fn is_name(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'%' | b'~'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
    )
}

/// Which of the forms of RFC 9112 §3.2 may be used with which method.
fn target_form(target: &[u8], method: &[u8]) -> Checked<()> {
    match target {
        [b'/', ..] => Ok(()),
        b"*" if method == b"OPTIONS" => Ok(()),
        _ if http::Uri::try_from(target).is_ok_and(|uri| uri.scheme().is_some()) => Ok(()),
        _ => bad("the request target is neither a path nor an absolute URI"),
    }
}

/// RFC 9112 §3.2.2 lets an absolute target win over Host; where they differ, somebody behind us may choose the
/// other one.
fn agrees(target: &[u8], host: &[u8]) -> Checked<()> {
    if target.first() == Some(&b'/') || target == b"*" {
        return Ok(());
    }
    let Some((rest, port)) = without_scheme(target) else {
        return bad("the request target is neither a path nor an absolute URI");
    };
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let without_port = |authority: &'_ [u8]| {
        authority
            .strip_suffix(port)
            .unwrap_or(authority)
            .to_ascii_lowercase()
    };
    if without_port(&rest[..end]) == without_port(host) {
        Ok(())
    } else {
        bad("the absolute target disagrees with Host")
    }
}

/// What follows `http://` or `https://`, and the port that goes without saying there.
fn without_scheme(target: &[u8]) -> Option<(&[u8], &'static [u8])> {
    let strip = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    strip(b"http://")
        .map(|rest| (rest, &b":80"[..]))
        .or_else(|| strip(b"https://").map(|rest| (rest, &b":443"[..])))
}

#[cfg(test)]
#[path = "head/tests.rs"]
mod tests;
