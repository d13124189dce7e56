//! What makes a search fast: bytes that the line of a wanted record must have, looked for in whole blocks at once. The
//! needles are spelt as `line` spells them; lines without them are never parsed. A sieve lets through too much, never
//! too little: what passes is still asked of the [`Filter`]. Not for: which records are wanted.

use memchr::memmem::Finder;

use crate::clock::Timestamp;
use crate::transactions::line::LINE_START;
use crate::transactions::line::TIME_END;
use crate::transactions::line::text;
use crate::transactions::read::entry::Entry;
use crate::transactions::read::filter::Filter;
use crate::transactions::read::filter::Status;

/// The lines that a filter wants, out of blocks of lines.
#[derive(Debug)]
pub(super) struct Sieve {
    filter: Filter,
    /// The first is looked for in whole blocks, so it is the one that is probably the rarest.
    needles: Vec<Needle>,
    since: Option<String>,
    until: Option<String>,
    /// A block in lower case, where that is needed.
    folded: Vec<u8>,
}

/// Bytes that must be in a line.
#[derive(Debug)]
struct Needle {
    finder: Finder<'static>,
    /// In any mixture of cases; the needle is in lower case.
    is_folded: bool,
}

/// Where a line stands in its block, without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'l> {
    /// A record that is wanted.
    Wanted(&'l str),
    /// Another record.
    Other,
    /// No line of this log: torn, zeroes, somebody else's.
    Odd,
}

impl Sieve {
    pub(super) fn new(filter: Filter) -> Self {
        Self {
            needles: needles(&filter),
            since: filter.since.map(|time| time.to_string()),
            until: filter.until.map(|time| time.to_string()),
            filter,
            folded: Vec::new(),
        }
    }

    pub(super) const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The lines of a block of whole lines that are worth a look, in their order: those that may be wanted, and those
    /// that are obviously no records, which are to be counted.
    pub(super) fn sift(&mut self, block: &[u8], found: &mut Vec<Line>) {
        found.clear();
        let Some(first) = self.needles.first() else {
            found.extend(lines(block));
            return;
        };
        let haystack = if first.is_folded {
            fold(block, &mut self.folded)
        } else {
            block
        };
        let mut hits = first.finder.find_iter(haystack);
        let mut hit = hits.next();
        for line in lines(block) {
            while hit.is_some_and(|hit| hit < line.start) {
                hit = hits.next();
            }
            if hit.is_some_and(|hit| hit < line.end) || !is_shaped(&block[line.start..line.end]) {
                found.push(line);
            }
        }
    }

    /// What a line is, which is known for sure here.
    pub(super) fn judge<'l>(&self, line: &'l [u8]) -> Verdict<'l> {
        if !is_shaped(line) {
            return Verdict::Odd;
        }
        if !self.may_be_wanted(line) {
            return Verdict::Other;
        }
        let text = str::from_utf8(line).ok();
        match text.and_then(|text| Some((text, Entry::of(text)?))) {
            Some((text, entry)) if self.filter.matches(&entry) => Verdict::Wanted(text),
            Some(_) => Verdict::Other,
            None => Verdict::Odd,
        }
    }

    /// Whether a line has all needles and is in time.
    fn may_be_wanted(&self, line: &[u8]) -> bool {
        let has = |needle: &Needle| {
            if needle.is_folded {
                needle.finder.find(&line.to_ascii_lowercase()).is_some()
            } else {
                needle.finder.find(line).is_some()
            }
        };
        let Some(time) = time_of(line) else {
            return true; // spelt by another version: parsing it tells
        };
        self.since
            .as_ref()
            .is_none_or(|since| time >= since.as_bytes())
            && self
                .until
                .as_ref()
                .is_none_or(|until| time < until.as_bytes())
            && self.needles.iter().all(has)
    }
}

/// The lines of a block that ends with a newline.
fn lines(block: &[u8]) -> impl Iterator<Item = Line> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', block).map(move |end| {
        let line = Line { start, end };
        start = end + 1;
        line
    })
}

/// Whether a line begins and ends as a record does.
fn is_shaped(line: &[u8]) -> bool {
    line.len() > TIME_END && line.starts_with(LINE_START.as_bytes()) && line.ends_with(b"}")
}

/// The text of the time, where it has the usual width: such texts are in the order of their times.
fn time_of(line: &[u8]) -> Option<&[u8]> {
    let (time, quote) = line
        .get(LINE_START.len()..TIME_END)?
        .split_at(TIME_END - LINE_START.len() - 1);
    (line.starts_with(LINE_START.as_bytes()) && quote == b"\"" && time.ends_with(b"Z"))
        .then_some(time)
}

fn fold<'f>(block: &[u8], folded: &'f mut Vec<u8>) -> &'f [u8] {
    folded.clear();
    folded.extend_from_slice(block);
    folded.make_ascii_lowercase();
    folded
}

/// The needles of a filter, the rarest first as far as one can know.
fn needles(filter: &Filter) -> Vec<Needle> {
    let mut needles = Vec::new();
    let mut add = |bytes: Vec<u8>| needles.push(Needle::of(&bytes, false));
    if let Some(id) = &filter.request_id {
        add(whole("\"request_id\":\"", id));
    }
    if let Some(key) = &filter.key {
        add(whole("\":\"", key)); // behind `key_id` or `key_name`
    }
    if let Some(path) = &filter.path {
        let mut pieces = path.split('*');
        let first = pieces.next().unwrap_or_default();
        let longest = pieces.map(plainest).max_by_key(|piece| piece.len());
        let longest = longest.filter(|piece| piece.len() > first.len());
        longest.into_iter().for_each(|piece| add(spelt(piece)));
        add(start("\"path\":\"", first));
    }
    if let Some(client) = filter.client {
        add(format!("\"client_ip\":\"{}", common_start(client)).into_bytes());
    }
    if let Some(reason) = filter.reason {
        add(whole("\"reason\":\"", reason.as_str()));
    }
    match filter.status {
        Some(Status::Exact(status)) => add(format!("\"status\":{status},").into_bytes()),
        Some(Status::Class(class)) => add(format!("\"status\":{class}").into_bytes()),
        None => {}
    }
    if let Some(method) = &filter.method {
        add(whole("\"method\":\"", method));
    }
    if let Some(decision) = filter.decision {
        add(whole("\"decision\":\"", decision.as_str()));
    }
    if let Some(text) = filter
        .search
        .as_deref()
        .map(plainest)
        .filter(|text| !text.is_empty())
    {
        let bytes = spelt(text).to_ascii_lowercase();
        // A request id or a key is rarer than any text.
        let behind = usize::from(filter.request_id.is_some()) + usize::from(filter.key.is_some());
        needles.insert(behind, Needle::of(&bytes, true));
    }
    needles
}

impl Needle {
    fn of(bytes: &[u8], is_folded: bool) -> Self {
        Self {
            finder: Finder::new(bytes).into_owned(),
            is_folded,
        }
    }
}

/// A field that has this text and no other.
fn whole(field: &str, value: &str) -> Vec<u8> {
    let mut bytes = start(field, value);
    if !value.contains(is_spelt_in_two_ways) {
        bytes.push(b'"');
    }
    bytes
}

/// A field whose text begins so.
fn start(field: &str, value: &str) -> Vec<u8> {
    let plain = value.split(is_spelt_in_two_ways).next().unwrap_or_default();
    [field.as_bytes(), &spelt(plain)].concat()
}

/// The longest part of a text that has one spelling.
fn plainest(value: &str) -> &str {
    let parts = value.split(is_spelt_in_two_ways);
    parts.max_by_key(|part| part.len()).unwrap_or_default()
}

/// Characters that stand in the log as they are, or as `\u00e9` where the client sent a byte that is no UTF-8.
const fn is_spelt_in_two_ways(c: char) -> bool {
    matches!(c, '\u{a0}'..='\u{ff}')
}

fn spelt(value: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    text(&mut bytes, value.as_bytes(), usize::MAX);
    bytes
}

/// How the addresses of a network all begin, those of a wider network that is recorded instead included.
fn common_start(network: ipnet::IpNet) -> String {
    match network {
        ipnet::IpNet::V4(network) => {
            let octets = usize::from(network.prefix_len() / 8).min(3);
            let shown = network.addr().octets();
            shown[..octets]
                .iter()
                .map(|octet| format!("{octet}."))
                .collect()
        }
        ipnet::IpNet::V6(network) => match network.addr().segments()[0] {
            // Where zeroes are, `::` may begin.
            first if first != 0 && network.prefix_len() >= 16 => format!("{first:x}:"),
            _ => String::new(),
        },
    }
}

/// The time of the line that these bytes begin with.
pub(super) fn moment(line: &[u8]) -> Option<Timestamp> {
    Timestamp::parse(str::from_utf8(time_of(line)?).ok()?).ok()
}
