//! The log read backwards: from the newest line to the oldest, block by block, through all files. Memory is a block,
//! however large the log. Lines that are none are counted and files that cannot be read are named; neither ends a
//! search. Not for: which lines are wanted (`filter`), how much of it makes a page (`page`).

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::clock::Timestamp;
use crate::transactions::read::files::FileId;
use crate::transactions::read::files::LogFile;
use crate::transactions::read::files::Place;
use crate::transactions::read::files::Unreadable;
use crate::transactions::read::files::list;
use crate::transactions::read::filter::Filter;
use crate::transactions::read::sieve::Line;
use crate::transactions::read::sieve::Sieve;
use crate::transactions::read::sieve::Verdict;
use crate::transactions::read::sieve::moment;

/// How much is read at once. A line that is longer was not written by keygate.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;

/// A search on its way back.
#[derive(Debug)]
pub(super) struct Search {
    sieve: Sieve,
    files: VecDeque<LogFile>,
    open: Option<Open>,
    block: Vec<u8>,
    /// Those of the block that are worth a look.
    lines: Vec<Line>,
    /// Lines that are none.
    pub(super) skipped: u64,
    pub(super) unreadable: Vec<Unreadable>,
    /// The time of the oldest line that was looked at.
    pub(super) oldest: Option<Timestamp>,
    /// Bytes that were read.
    pub(super) bytes: u64,
}

/// The file that is being read.
#[derive(Debug)]
struct Open {
    file: File,
    about: LogFile,
    id: Option<FileId>,
    /// What is before this is still to be read.
    end: u64,
    /// What stands there.
    edge: Edge,
}

/// What stands in front of the place that has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    /// The end of a line.
    LineEnd,
    /// Perhaps a line that is still being written.
    Unfinished,
    /// The inside of a line that is too long.
    TooLong,
}

impl Search {
    /// From the end of the log, or from a place on.
    pub(super) fn new(folder: &Path, filter: Filter, from: Option<&Place>) -> Self {
        let (files, unreadable) = list(folder);
        let mut search = Self {
            files: files.into(),
            open: None,
            block: vec![0; BLOCK_BYTES],
            lines: Vec::new(),
            skipped: 0,
            unreadable,
            oldest: None,
            bytes: 0,
            sieve: Sieve::new(filter),
        };
        if let Some(place) = from {
            search.go_to(place);
        }
        if let Some(since) = search.sieve.filter().since {
            // Whatever is in a file had begun when the file was closed.
            search
                .files
                .retain(|file| file.closed_at.is_none_or(|at| at >= since));
        }
        search
    }

    /// Looks at one more block and appends the lines that are wanted, newest first and at most `room` of them. Returns
    /// false at the end of the log.
    pub(super) fn step(&mut self, room: usize, found: &mut Vec<String>) -> bool {
        let Some(open) = &mut self.open else {
            return self.open_next();
        };
        if open.end == 0 {
            self.open = None;
            return true;
        }
        let start = open.end.saturating_sub(BLOCK_BYTES as u64);
        let length = usize::try_from(open.end - start).expect("a block fits");
        self.bytes += length as u64;
        if let Err(error) = open.file.read_exact_at(&mut self.block[..length], start) {
            self.unreadable
                .push(Unreadable::new(&open.about.path, &error));
            self.open = None;
            return true;
        }
        if let Some(length) = self.whole(start, length) {
            self.take_lines(start, length, room, found);
        }
        true
    }

    /// Where the search has come to; none: it has seen everything.
    pub(super) fn place(&self) -> Option<Place> {
        let next = self.files.front();
        match &self.open {
            Some(open) if open.end > 0 => Some(Place {
                file: open.id,
                offset: open.end,
                older: next.and_then(|file| file.closed_at),
            }),
            Some(_) | None => next.map(|file| Place {
                file: None,
                offset: 0,
                older: file.closed_at,
            }),
        }
    }

    /// Skips what is newer than the place. If its file is gone, what was older than that file is left.
    fn go_to(&mut self, place: &Place) {
        let at = place.file.and_then(|wanted| {
            self.files
                .iter()
                .position(|file| file.id().is_ok_and(|id| id == Some(wanted)))
        });
        match at {
            Some(at) => {
                self.files.drain(..at);
                self.open_next();
                if let Some(open) = &mut self.open {
                    open.end = open.end.min(place.offset);
                }
            }
            None => self.files.retain(|file| {
                file.closed_at
                    .zip(place.older)
                    .is_some_and(|(at, older)| at <= older)
            }),
        }
    }

    fn open_next(&mut self) -> bool {
        let Some(mut about) = self.files.pop_front() else {
            return false;
        };
        let opened = about.open().and_then(|file| {
            let end = file.metadata()?.len();
            Ok((FileId::of(&file)?, end, file))
        });
        match opened {
            Ok((id, end, file)) => {
                self.open = Some(Open {
                    file,
                    about,
                    id,
                    end,
                    edge: Edge::Unfinished,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // pruned in the meantime
            Err(error) => self.unreadable.push(Unreadable::new(&about.path, &error)),
        }
        true
    }

    /// How much of the block is whole lines at its end, without what stands behind the last newline; none: it has no
    /// newline.
    fn whole(&mut self, start: u64, length: usize) -> Option<usize> {
        let open = self.open.as_mut()?;
        if open.edge == Edge::LineEnd {
            return Some(length);
        }
        let newline = memchr::memrchr(b'\n', &self.block[..length]);
        let whole = newline.map_or(0, |at| at + 1);
        // Behind the last newline of the file that is being written, a line may still be on its way.
        let is_torn = whole < length && open.about.closed_at.is_some();
        if (newline.is_some() || start == 0) && (open.edge == Edge::TooLong || is_torn) {
            self.skipped += 1;
        }
        open.end = start + whole as u64;
        newline.map(|_| {
            open.edge = Edge::LineEnd;
            whole
        })
    }

    fn take_lines(&mut self, start: u64, length: usize, room: usize, found: &mut Vec<String>) {
        let Some(open) = &mut self.open else { return };
        let block = &self.block[..length];
        // The block begins inside of a line, unless the file begins here; that line comes with the next block.
        let first = match start {
            0 => 0,
            _ => memchr::memchr(b'\n', block).map_or(length, |at| at + 1),
        };
        if first == length {
            (open.end, open.edge) = (start, Edge::TooLong);
            return;
        }
        let lines = &block[first..];
        let mut taken = 0;
        self.sieve.sift(lines, &mut self.lines);
        for line in self.lines.iter().rev() {
            let bytes = &lines[line.start..line.end];
            match self.sieve.judge(bytes) {
                Verdict::Wanted(text) => {
                    found.push(text.to_owned());
                    taken += 1;
                    if taken == room {
                        open.end = start + (first + line.start) as u64;
                        self.oldest = moment(bytes).or(self.oldest);
                        return;
                    }
                }
                Verdict::Other => {}
                Verdict::Odd => self.skipped += 1,
            }
        }
        open.end = start + first as u64;
        self.oldest = moment(lines).or(self.oldest);
    }
}
