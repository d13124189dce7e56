//! A record's spelling in the log: one flat JSON object a line, fields that are absent left out. This is most
//! of what recording costs, so it is written by hand, into a buffer that is there already; what is worth an
//! allocation is nothing. No byte from outside gets into a line without passing [`text`].
//!
//! Text is UTF-8. Control characters (the C1 set too: terminals obey them) are written as `\u00XX`, and so is
//! each byte that is not part of valid UTF-8: its Latin-1 reading, which is what HTTP once said such bytes are,
//! and which unlike U+FFFD keeps them apart. `config/transaction.schema.json` describes the line.

use std::io::Write as _;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::RecordedClientIp;
use crate::config::RecordedQuery;
use crate::transactions::record::Record;
use crate::transactions::record::Target;

/// Longer paths are cut here, bytes before escaping.
pub(super) const PATH_MAX: usize = 8 * 1024;
/// Other text is cut here, bytes before escaping.
pub(super) const TEXT_MAX: usize = 2 * 1024;
/// What every line begins with; the time has a fixed length and [`TIME_END`] is where it ends.
pub(super) const LINE_START: &str = "{\"time\":\"";
/// Where the second field of a line begins: behind the time and its quotation mark.
pub(super) const TIME_END: usize = LINE_START.len() + "2026-11-23T10:00:00.000000Z\"".len();

/// How much of a request the operator wants in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spelling {
    pub(super) query: RecordedQuery,
    pub(super) client_ip: RecordedClientIp,
}

/// The spelling of the last second that was written: most lines share it with the one before.
#[derive(Debug)]
pub(super) struct Second {
    number: i64,
    text: [u8; 20],
}

impl Default for Second {
    fn default() -> Self {
        Self {
            number: 0,
            text: *b"1970-01-01T00:00:00.",
        }
    }
}

impl Spelling {
    /// Appends one line, its newline included.
    pub(super) fn write(
        self,
        record: &Record,
        duration: Duration,
        second: &mut Second,
        out: &mut Vec<u8>,
    ) {
        let mut cut = false;
        out.extend_from_slice(LINE_START.as_bytes());
        second.write(record.time, out);
        out.extend_from_slice(b"\",\"request_id\":\"");
        cut |= text(out, record.request_id.as_bytes(), TEXT_MAX);
        if let Some(trace) = &record.trace_id {
            out.extend_from_slice(b"\",\"trace_id\":\"");
            out.extend_from_slice(trace.as_str().as_bytes());
        }
        out.extend_from_slice(b"\",\"decision\":\"");
        out.extend_from_slice(record.decision.as_str().as_bytes());
        if let Some(reason) = record.reason {
            out.extend_from_slice(b"\",\"reason\":\"");
            out.extend_from_slice(reason.as_str().as_bytes());
        }
        if let Some(hint) = record.hint {
            out.extend_from_slice(b"\",\"hint\":\"");
            cut |= text(out, hint.as_bytes(), TEXT_MAX);
        }
        if let Some(key) = &record.key {
            out.extend_from_slice(b"\",\"key_id\":\"");
            cut |= text(out, key.id().as_str().as_bytes(), TEXT_MAX);
            out.extend_from_slice(b"\",\"key_name\":\"");
            cut |= text(out, key.name().as_bytes(), TEXT_MAX);
        }
        if let Some(fingerprint) = record.fingerprint {
            out.extend_from_slice(b"\",\"token_fingerprint\":\"");
            out.extend(
                (0..8)
                    .rev()
                    .map(|digit| HEX[(fingerprint >> (4 * digit)) as usize & 15]),
            );
        }
        if let Some(client) = record.client {
            self.client(client, out);
        }
        if let Some(subject) = &record.client_subject {
            out.extend_from_slice(b"\",\"client_subject\":\"");
            cut |= text(out, subject.as_bytes(), TEXT_MAX);
        }
        cut |= self.request(record, out);
        cut |= outcome(record, duration, out);
        if cut {
            out.extend_from_slice(b",\"truncated\":true");
        }
        out.extend_from_slice(b"}\n");
    }

    /// What was asked. Begins inside a string and ends inside one, like [`Spelling::client`].
    fn request(self, record: &Record, out: &mut Vec<u8>) -> bool {
        let mut cut = false;
        if let Some(method) = &record.method {
            out.extend_from_slice(b"\",\"method\":\"");
            cut |= text(out, method.as_str().as_bytes(), TEXT_MAX);
        }
        out.extend_from_slice(b"\",\"scheme\":\"");
        out.extend_from_slice(record.scheme.as_bytes());
        if let Some(host) = &record.host {
            out.extend_from_slice(b"\",\"host\":\"");
            cut |= text(out, host.as_bytes(), TEXT_MAX);
        }
        let (path, query, is_raw) = match &record.target {
            Target::Uri(uri) => (uri.path().as_bytes(), uri.query().map(str::as_bytes), false),
            Target::Raw(target) => {
                let (path, query) = split_raw(target);
                (path, query, true)
            }
            Target::None => (&[][..], None, false),
        };
        if !path.is_empty() {
            out.extend_from_slice(b"\",\"path\":\"");
            cut |= text(out, path, PATH_MAX);
        }
        match (query, self.query) {
            (None, _) | (_, RecordedQuery::None) => {}
            (Some(query), RecordedQuery::Full) if !is_raw => {
                out.extend_from_slice(b"\",\"query\":\"");
                cut |= text(out, query, TEXT_MAX);
            }
            (Some(query), RecordedQuery::Full | RecordedQuery::Names) => {
                out.extend_from_slice(b"\",\"query\":\"");
                cut |= query_names(query, is_raw, out);
            }
        }
        out.extend_from_slice(b"\",\"protocol\":\"");
        out.extend_from_slice(record.protocol.as_bytes());
        cut
    }

    fn client(self, client: IpAddr, out: &mut Vec<u8>) {
        if self.client_ip == RecordedClientIp::None {
            return;
        }
        let is_whole = self.client_ip == RecordedClientIp::Full;
        out.extend_from_slice(b"\",\"client_ip\":\"");
        match client {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                for part in [a, b, c] {
                    number(out, u64::from(part));
                    out.push(b'.');
                }
                number(out, if is_whole { u64::from(d) } else { 0 });
            }
            IpAddr::V6(address) => {
                let [a, b, c, ..] = address.segments();
                let shown = if is_whole {
                    address
                } else {
                    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)
                };
                write!(out, "{shown}").expect("a Vec takes every write");
            }
        }
        if !is_whole {
            out.extend_from_slice(if client.is_ipv4() { b"/24" } else { b"/48" });
        }
    }
}

/// What came of it. Begins inside a string and ends outside one.
fn outcome(record: &Record, duration: Duration, out: &mut Vec<u8>) -> bool {
    let mut cut = false;
    if let Some(status) = record.status {
        out.extend_from_slice(b"\",\"status\":");
        number(out, u64::from(status));
    } else {
        out.push(b'"');
    }
    if let Some(status) = record.grpc_status {
        out.extend_from_slice(b",\"grpc_status\":");
        number(out, u64::from(status));
    }
    out.extend_from_slice(b",\"request_bytes\":");
    number(out, record.request_bytes);
    out.extend_from_slice(b",\"response_bytes\":");
    number(out, record.response_bytes);
    out.extend_from_slice(b",\"duration_us\":");
    number(out, micros(duration));
    if let Some(upstream) = record.upstream_time {
        out.extend_from_slice(b",\"upstream_us\":");
        number(out, micros(upstream));
    }
    if let Some(upstream) = &record.upstream {
        out.extend_from_slice(b",\"upstream\":\"");
        cut |= text(out, upstream.as_bytes(), TEXT_MAX);
        out.push(b'"');
    }
    if let Some(agent) = &record.user_agent {
        out.extend_from_slice(b",\"user_agent\":\"");
        cut |= text(out, agent.as_bytes(), TEXT_MAX);
        out.push(b'"');
    }
    out.extend_from_slice(b",\"end\":\"");
    out.extend_from_slice(record.end.as_str().as_bytes());
    out.push(b'"');
    if let Some(error) = &record.error {
        out.extend_from_slice(b",\"error\":\"");
        cut |= text(out, error.as_bytes(), TEXT_MAX);
        out.push(b'"');
    }
    cut
}

impl Second {
    fn write(&mut self, time: Timestamp, out: &mut Vec<u8>) {
        let (number, fraction) = (
            time.as_micros().div_euclid(1_000_000),
            time.as_micros().rem_euclid(1_000_000),
        );
        if number != self.number {
            let whole = time.to_string();
            let Some(text) = whole
                .as_bytes()
                .first_chunk()
                .filter(|_| whole.ends_with('Z'))
            else {
                // Beyond the year 9999: no date has a name there.
                out.extend_from_slice(whole.as_bytes());
                return;
            };
            *self = Self {
                number,
                text: *text,
            };
        }
        out.extend_from_slice(&self.text);
        let mut digits = *b"000000Z";
        let mut rest = fraction;
        for digit in digits[..6].iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).expect("one digit");
            rest /= 10;
        }
        out.extend_from_slice(&digits);
    }
}

/// Path and query of a target that no parser takes. An authority goes: it may hold a password. A fragment
/// goes: what a client hides there is nobody's business.
fn split_raw(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let target = match memchr::memmem::find(target, b"://") {
        Some(at) if !target.starts_with(b"/") => {
            let rest = &target[at + 3..];
            &rest[rest
                .iter()
                .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
                .unwrap_or(rest.len())..]
        }
        _ => target,
    };
    let (before, query) = match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    };
    (
        &before[..memchr::memchr(b'#', before).unwrap_or(before.len())],
        query,
    )
}

/// `page=2&limit=9` as `page=&limit=`. Of a raw target a pair without `=` loses its text as well: where
/// nothing could be parsed it may be a token with a broken separator in front.
fn query_names(query: &[u8], is_raw: bool, out: &mut Vec<u8>) -> bool {
    let (mut cut, mut rest, mut left) = (false, query, TEXT_MAX);
    loop {
        let end = memchr::memchr(b'&', rest).unwrap_or(rest.len());
        let pair = &rest[..end];
        let name = match memchr::memchr(b'=', pair) {
            Some(at) => &pair[..=at],
            None if is_raw => &[],
            None => pair,
        };
        cut |= text(out, name, left);
        left = left.saturating_sub(name.len() + 1);
        if end == rest.len() {
            return cut;
        }
        if left == 0 {
            return true;
        }
        out.push(b'&');
        rest = &rest[end + 1..];
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether a byte stands for itself in a JSON string: visible ASCII and the space, but not `"` and `\`.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\'
}

/// Whether all bytes stand for themselves, as nearly always they do. Eight are looked at together: one by one,
/// this was a third of what a line costs.
fn is_all_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let Some(last) = text.last_chunk() else {
        return text.iter().all(|byte| is_plain(*byte));
    };
    // A byte that is looked for sets its high bit. Another may get it too, by a borrow, but only if there is
    // one that is looked for already: the question "any?" is answered exactly.
    let special = |eight: [u8; 8]| {
        let word = u64::from_ne_bytes(eight);
        let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
        word | below(word, 0x20)
            | below(word ^ (ONES * 0x22), 1)
            | below(word ^ (ONES * 0x5c), 1)
            | below(word ^ (ONES * 0x7f), 1)
    };
    let eights = text
        .chunks_exact(8)
        .map(|eight| special(eight.try_into().expect("eight bytes")));
    // The last eight overlap those before: looking at some twice is cheaper than one by one.
    (eights.fold(0, |any, special| any | special) | special(*last)) & HIGHS == 0
}

/// Appends `text`, escaped, at most `max` bytes of it; true when something was cut off. Never cuts inside a
/// character.
pub(super) fn text(out: &mut Vec<u8>, text: &[u8], max: usize) -> bool {
    let (shown, cut) = if text.len() > max {
        (&text[..character_start(text, max)], true)
    } else {
        (text, false)
    };
    if is_all_plain(shown) {
        out.extend_from_slice(shown);
    } else {
        escaped(out, shown);
    }
    cut
}

/// The last place at or before `at` where a character starts; `at` itself where the bytes are not UTF-8.
fn character_start(text: &[u8], at: usize) -> usize {
    (at.saturating_sub(3)..=at)
        .rev()
        .find(|place| !matches!(text[*place], 0x80..=0xbf))
        .unwrap_or(at)
}

#[cold]
fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\0'..='\x1f' | '\x7f'..='\u{9f}' => {
                    code_point(
                        out,
                        u8::try_from(u32::from(character)).expect("below 0x100"),
                    );
                }
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            code_point(out, *byte);
        }
    }
}

fn code_point(out: &mut Vec<u8>, number: u8) {
    out.extend_from_slice(b"\\u00");
    out.extend_from_slice(&[HEX[usize::from(number >> 4)], HEX[usize::from(number & 15)]]);
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
