//! Reads the log back, newest first, a page at a time. A cursor names a line by its file and its place there: it stays
//! right while lines are added and when the file is closed, because both are kept. What is no line of this log is
//! skipped and counted. Not for: writing (`file`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;

use crate::audit::AuditError;
use crate::audit::file;
use crate::key::token::Digest;
use crate::key::token::hex;

/// The most events in a page.
pub const PAGE_EVENTS_MAX: usize = 200;

/// How much of the log one page reads at most: a filter that nothing matches must not hold a thread for minutes.
const PAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How much is read at once.
const BLOCK_BYTES: u64 = 64 * 1024;

/// A longer line was not written by keygate.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Enough of a file's first line to tell files apart: it holds the moment to the microsecond.
const HEAD_BYTES: usize = 128;

/// Which events; empty: all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The actor's kind or name.
    pub actor: Option<String>,
    /// `key.created`
    pub action: Option<String>,
    /// The key's id or name.
    pub key: Option<String>,
}

/// A page of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The lines as they are written, newest first.
    pub events: Vec<Value>,
    /// Where the next page begins; none: this is the last.
    pub next: Option<String>,
    /// How many lines were none on the way.
    pub skipped: u64,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log cannot be read.
    #[error(transparent)]
    Unreadable(#[from] AuditError),
    /// It was not made by this log, or its file was moved away.
    #[error("the cursor names no place in the audit log")]
    Cursor,
}

pub(super) fn page(
    folder: &Path,
    filter: &Filter,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page, ReadError> {
    let unreadable = |source| ReadError::Unreadable(file::failed("read", folder)(source));
    let mut files = file::files(folder).map_err(unreadable)?;
    let mut end = None;
    if let Some(cursor) = cursor {
        let (id, place) = parse(cursor).ok_or(ReadError::Cursor)?;
        let ids = files.iter().map(id_of).collect::<io::Result<Vec<_>>>();
        let ids = ids.map_err(unreadable)?;
        let start = ids.iter().position(|found| *found == id);
        files.drain(..start.ok_or(ReadError::Cursor)?);
        end = Some(place);
    }
    let mut search = Search {
        filter,
        limit: limit.clamp(1, PAGE_EVENTS_MAX),
        bytes_left: PAGE_BYTES_MAX,
        page: Page::default(),
    };
    for file in &files {
        if search.file(file, end.take()).map_err(unreadable)? {
            break;
        }
    }
    Ok(search.page)
}

/// A page that is being filled.
struct Search<'a> {
    filter: &'a Filter,
    limit: usize,
    bytes_left: u64,
    page: Page,
}

impl Search<'_> {
    /// Looks through one file, from its end or from `end`, back to its beginning. Returns whether the page is done.
    fn file(&mut self, file: &File, end: Option<u64>) -> io::Result<bool> {
        let size = file.metadata()?.len();
        let mut lines = Backward::new(file, end.unwrap_or(size).min(size));
        while let Some(line) = lines.next()? {
            if self.page.events.len() == self.limit || self.bytes_left == 0 {
                self.page.next = Some(format!("{}.{}", id_of(file)?, line.end));
                return Ok(true);
            }
            self.bytes_left = self.bytes_left.saturating_sub(line.end - line.start);
            match line.bytes.as_deref().map(parse_line) {
                Some(Some(event)) if self.filter.matches(&event) => self.page.events.push(event),
                Some(Some(_)) => {}
                Some(None) | None => self.page.skipped += 1,
            }
        }
        Ok(false)
    }
}

impl Filter {
    fn matches(&self, event: &Value) -> bool {
        let any = |wanted: &Option<String>, found: [&Value; 2]| {
            let wanted = wanted.as_deref();
            wanted.is_none() || found.into_iter().any(|value| value.as_str() == wanted)
        };
        any(
            &self.actor,
            [&event["actor"]["name"], &event["actor"]["kind"]],
        ) && any(&self.action, [&event["action"], &Value::Null])
            && any(&self.key, [&event["key_id"], &event["key_name"]])
    }
}

/// The event of a line; none if it is no line of this log. Empty lines are none either.
fn parse_line(bytes: &[u8]) -> Option<Value> {
    let event: Value = serde_json::from_slice(bytes).ok()?;
    let known =
        event["time"].is_string() && event["action"].is_string() && event["actor"].is_object();
    known.then_some(event)
}

/// What a file keeps when it grows and when it is renamed: its first line.
fn id_of(file: &File) -> io::Result<String> {
    let mut head = [0; HEAD_BYTES];
    let mut filled = 0;
    while filled < head.len() {
        match file.read_at(&mut head[filled..], filled as u64)? {
            0 => break,
            more => filled += more,
        }
    }
    let line = memchr::memchr(b'\n', &head[..filled]).unwrap_or(filled);
    Ok(hex(&Digest::of(&head[..line]).as_bytes()[..8]))
}

fn parse(cursor: &str) -> Option<(String, u64)> {
    let (id, place) = cursor.split_once('.')?;
    let digits = !place.is_empty() && place.bytes().all(|b| b.is_ascii_digit());
    (digits && id.len() == 16).then_some(())?;
    Some((id.to_owned(), place.parse().ok()?))
}

/// The lines of a file, the last one first. Text behind the last newline is being written, or torn: no line yet.
struct Backward<'a> {
    file: &'a File,
    /// The part of the file from `start` that is read and not yet given away; ends with a newline.
    buffer: Vec<u8>,
    start: u64,
    begun: bool,
}

/// A line without its newline; `bytes` is none where it is too long to be one.
struct FoundLine {
    start: u64,
    end: u64,
    bytes: Option<Vec<u8>>,
}

impl<'a> Backward<'a> {
    const fn new(file: &'a File, end: u64) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            start: end,
            begun: false,
        }
    }

    fn next(&mut self) -> io::Result<Option<FoundLine>> {
        if !self.begun {
            self.begun = true;
            self.skip_torn()?;
        }
        let end = self.start + self.buffer.len() as u64;
        // The newline at the buffer's end belongs to the line that is looked for.
        let mut dropped = false;
        loop {
            let inner = self.buffer.len().saturating_sub(usize::from(!dropped));
            if let Some(newline) = memchr::memrchr(b'\n', &self.buffer[..inner]) {
                let tail = self.buffer.split_off(newline + 1);
                return Ok(Some(self.found(tail, end, dropped)));
            }
            if self.start == 0 {
                let tail = std::mem::take(&mut self.buffer);
                return Ok((end > 0).then(|| FoundLine {
                    start: 0,
                    ..self.found(tail, end, dropped)
                }));
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                self.buffer.clear();
                dropped = true;
            }
            self.read_more()?;
        }
    }

    fn found(&self, mut line: Vec<u8>, end: u64, dropped: bool) -> FoundLine {
        line.pop();
        FoundLine {
            start: self.start + self.buffer.len() as u64,
            end,
            bytes: (!dropped).then_some(line),
        }
    }

    /// Leaves out what stands behind the last newline.
    fn skip_torn(&mut self) -> io::Result<()> {
        while self.start > 0 {
            self.read_more()?;
            if let Some(newline) = memchr::memrchr(b'\n', &self.buffer) {
                self.buffer.truncate(newline + 1);
                return Ok(());
            }
            self.buffer.clear();
        }
        Ok(())
    }

    /// Reads the block in front of the buffer.
    fn read_more(&mut self) -> io::Result<()> {
        let from = self.start.saturating_sub(BLOCK_BYTES);
        let length = usize::try_from(self.start - from).expect("a block fits");
        let mut block = vec![0; length];
        self.file.read_exact_at(&mut block, from)?;
        block.append(&mut self.buffer);
        self.buffer = block;
        self.start = from;
        Ok(())
    }
}
