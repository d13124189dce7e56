//! Reads the log's past into the book, once, in the background: oldest file first, each line as the request that it
//! records, with the key that has its id now. Whatever cannot be read is skipped, counted, and named; nobody waits for
//! the end of it. Not for: which files these are, which is `past`; the arithmetic, which is `book`.

use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use crate::key::KeyId;
use crate::key::live::KeyReader;
use crate::key::table::KeyTable;
use crate::refusal::Decision;
use crate::refusal::Reason;
use crate::transactions::read::Entry;
use crate::transactions::totals::Shared;
use crate::transactions::totals::Totals;
use crate::transactions::totals::event::Event;
use crate::transactions::totals::past::Past;

/// How much is asked of the system at once.
const READ_BYTES: usize = 256 * 1024;
/// A longer line was not written by keygate.
const LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Lines that are added up at once: the book is locked for a fraction of a millisecond.
const LINES_AT_ONCE: usize = 1_024;
/// The lowest priority that there is.
const NICE: i32 = 19;
/// Files that are named, of those that something is wrong with.
const PROBLEMS_MAX: usize = 100;

/// How far the log is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuild {
    /// It is being read.
    pub running: bool,
    /// What there was to read at the start.
    pub bytes_total: u64,
    /// Of that, what is read, or will never be.
    pub bytes_done: u64,
    /// Requests whose records it counted.
    pub records: u64,
    /// Records that are missing in it, by its own account.
    pub lost: u64,
    /// What could not be read; at most 100 files.
    pub problems: Vec<LogProblem>,
}

/// What is wrong with a file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProblem {
    /// The file's name.
    pub file: String,
    /// What is wrong.
    pub what: String,
    /// Lines that were skipped, as far as they are known.
    pub lines: u64,
}

impl Past {
    /// Reads it, in a thread of its own. `keys` says whose records they are.
    pub(in crate::transactions) fn rebuild(self, totals: &Totals, keys: KeyReader) {
        if self.bytes() == 0 && self.unreadable.is_none() {
            return; // a first start needs no thread for it
        }
        let shared = &totals.shared;
        {
            let mut rebuild = shared.rebuild();
            rebuild.bytes_total = self.bytes();
            rebuild.running = true;
        }
        let reading = Arc::clone(shared);
        let spawned = thread::Builder::new()
            .name("keygate-rebuild".to_owned())
            .spawn(move || {
                // Of this thread only, on Linux. Where it is not allowed, the work is done all the same.
                let _ = rustix::process::setpriority_process(None, NICE);
                Reading::new(&reading, keys).run(self);
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "the totals begin empty: the log cannot be read without a thread");
            shared.rebuild().running = false;
        }
    }
}

/// The log while it is read.
struct Reading<'s> {
    shared: &'s Shared,
    keys: KeyReader,
    /// Requests for the book.
    read: Vec<Request>,
    /// Bytes behind them, and lines among those that are none.
    bytes: u64,
    skipped: u64,
}

/// A request of the past.
struct Request {
    event: Event,
    /// Its key, if that is gone: id and name.
    former: Option<(KeyId, Box<str>)>,
    /// Records that are missing before it.
    lost: u64,
}

impl<'s> Reading<'s> {
    fn new(shared: &'s Shared, keys: KeyReader) -> Self {
        Self {
            shared,
            keys,
            read: Vec::with_capacity(LINES_AT_ONCE),
            bytes: 0,
            skipped: 0,
        }
    }

    fn run(mut self, past: Past) {
        if let Some((path, error)) = past.unreadable {
            self.problem(&path, &error, 0);
        }
        for (path, bytes) in past.closed {
            match File::open(&path) {
                Ok(file) => self.file(&path, &file, bytes),
                // It was pruned since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.problem(&path, &error, 0),
            }
            if self.is_over() {
                return;
            }
        }
        if let Some((path, file, bytes)) = past.current {
            self.file(&path, &file, bytes);
        }
        let mut rebuild = self.shared.rebuild();
        rebuild.running = false;
        rebuild.bytes_done = rebuild.bytes_total;
        let (records, bytes) = (rebuild.records, rebuild.bytes_total);
        drop(rebuild);
        tracing::debug!(records, bytes, "the log's totals are in memory");
    }

    fn is_over(&self) -> bool {
        self.shared.closing.load(Ordering::Relaxed)
    }

    /// One file, up to `bytes` of it.
    fn file(&mut self, path: &Path, file: &File, bytes: u64) {
        let mut skipped = 0;
        let mut reader = BufReader::with_capacity(READ_BYTES, file.take(bytes));
        let result = loop {
            let more = self.lines(&mut reader);
            skipped += self.skipped;
            self.add_up();
            match more {
                Ok(true) if !self.is_over() => {}
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        match result {
            Err(error) => self.problem(path, &error, skipped),
            Ok(()) if skipped > 0 => self.problem(path, &"lines that are no records", skipped),
            Ok(()) => {}
        }
    }

    /// Reads as many lines as are added up at once; whether there may be more.
    fn lines(&mut self, reader: &mut impl BufRead) -> io::Result<bool> {
        // A table that is held is a table that cannot be dropped: only for a moment.
        let table = self.keys.load_full();
        let mut line = Vec::new();
        while self.read.len() < LINES_AT_ONCE {
            line.clear();
            let bytes = reader
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)?;
            self.bytes += bytes as u64;
            if bytes == 0 {
                return Ok(false);
            }
            if line.last() != Some(&b'\n') && bytes as u64 == LINE_BYTES_MAX {
                self.bytes += skip_line(reader)?;
                self.skipped += 1;
                // However many there are of these, progress is shown and an end is noticed.
                return Ok(true);
            }
            match request(line.trim_ascii_end(), &table) {
                Some(request) => self.read.push(request),
                None => self.skipped += u64::from(!line.trim_ascii().is_empty()),
            }
        }
        Ok(true)
    }

    /// Into the book with what was read.
    fn add_up(&mut self) {
        let now = self.shared.clock.wall();
        let mut lost: u64 = 0;
        let mut book = self.shared.book();
        for request in &self.read {
            lost = request.lost.saturating_add(lost);
            match &request.former {
                Some((id, name)) => book.note_former(&request.event, id, name, now),
                None => book.note(&request.event, now),
            }
        }
        drop(book);
        let mut rebuild = self.shared.rebuild();
        rebuild.records += self.read.len() as u64;
        rebuild.lost = rebuild.lost.saturating_add(lost);
        rebuild.bytes_done += std::mem::take(&mut self.bytes);
        drop(rebuild);
        self.skipped = 0;
        self.read.clear();
    }

    fn problem(&self, path: &Path, what: &dyn ToString, lines: u64) {
        let file = path.file_name().unwrap_or(path.as_os_str());
        let problem = LogProblem {
            file: file.to_string_lossy().into_owned(),
            what: what.to_string(),
            lines,
        };
        tracing::warn!(
            file = problem.file,
            what = problem.what,
            lines,
            "a file of the transaction log is not whole"
        );
        let problems = &mut self.shared.rebuild().problems;
        if problems.len() < PROBLEMS_MAX {
            problems.push(problem);
        }
    }
}

/// Reads to the end of a line that is too long.
fn skip_line(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let there = reader.fill_buf()?;
        let newline = memchr::memchr(b'\n', there);
        let length = newline.map_or(there.len(), |place| place + 1);
        reader.consume(length);
        skipped += length as u64;
        if newline.is_some() || length == 0 {
            return Ok(skipped);
        }
    }
}

/// The request of a line; none if it is no line of this log.
fn request(line: &[u8], table: &KeyTable) -> Option<Request> {
    let entry = Entry::parse(line)?;
    let decision = Decision::ALL
        .into_iter()
        .find(|decision| decision.as_str() == &*entry.decision)?;
    let reason = entry.reason.as_deref().and_then(|word| {
        let mut all = (0..).map_while(Reason::from_index);
        all.find(|reason| reason.as_str() == word)
    });
    let began = entry.began()?;
    let mut id = entry.key_id.as_deref().and_then(|id| KeyId::parse(id).ok());
    let mut key = id.as_ref().and_then(|id| table.get(id)).map(Arc::clone);
    if key.as_ref().and_then(|key| key.created_at()) > Some(began) {
        // Of a key that had this id before: it counts among all requests only.
        (id, key) = (None, None);
    }
    let event = Event {
        began,
        request_bytes: entry.request_bytes,
        response_bytes: entry.response_bytes,
        took_micros: entry.duration_us,
        status: entry.status.unwrap_or(0),
        decision,
        reason,
        key,
    };
    let name = || entry.key_name.as_deref().unwrap_or_default().into();
    let former = id.filter(|_| event.key.is_none()).map(|id| (id, name()));
    Some(Request {
        event,
        former,
        lost: entry.lost,
    })
}
