//! The log read forwards, as it grows: whole new lines, on from file to file. The file that is being read is held open, so
//! it is read to its end even when it is closed, moved away or deleted meanwhile. A reader that is slow lags behind and
//! costs nobody anything: its memory is a block. What it lost because files were deleted before it came is told as a gap.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use crate::clock::Timestamp;
use crate::transactions::file::FILE_NAME;
use crate::transactions::read::files::FileId;
use crate::transactions::read::files::Inode;
use crate::transactions::read::files::LogFile;
use crate::transactions::read::files::Place;
use crate::transactions::read::files::inode;
use crate::transactions::read::files::list;
use crate::transactions::read::files::read_full;
use crate::transactions::read::filter::Filter;
use crate::transactions::read::search::BLOCK_BYTES;
use crate::transactions::read::sieve::Line;
use crate::transactions::read::sieve::Sieve;
use crate::transactions::read::sieve::Verdict;

/// Something that happened to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A record was written.
    Record {
        /// The line as it stands in the log.
        line: String,
        /// Its end: a [`Follow`] that begins there goes on behind it.
        place: Place,
    },
    /// Lines may be missing here: their file was deleted before it was read.
    Gap,
}

/// A reader of the log as it grows.
#[derive(Debug)]
pub struct Follow {
    folder: PathBuf,
    sieve: Sieve,
    at: Option<At>,
    /// Where no file is open: what was closed up to then is behind us.
    older: Option<Timestamp>,
    gap: bool,
    block: Vec<u8>,
    lines: Vec<Line>,
}

/// The file that is being read.
#[derive(Debug)]
struct At {
    file: File,
    inode: Inode,
    id: Option<FileId>,
    /// When it was closed, if that was known when it was opened.
    closed_at: Option<Timestamp>,
    /// The closed file before it.
    older: Option<Timestamp>,
    offset: u64,
    /// Its size when the last look at it found nothing.
    nothing_at: Option<u64>,
    is_too_long: bool,
}

impl Follow {
    /// Whatever is written from now on.
    #[must_use]
    pub fn from_now(folder: &Path, filter: Filter) -> Self {
        let mut follow = Self::from_beginning(folder, filter);
        let (mut files, _) = list(folder);
        follow.older = files.iter().find_map(|file| file.closed_at);
        let newest = files.first_mut().filter(|file| file.closed_at.is_none());
        if let Some(newest) = newest {
            follow.at = At::open(newest, follow.older).ok();
        }
        if let Some(at) = &mut follow.at {
            at.go_to_end(&mut follow.block);
        }
        follow
    }

    /// Whatever was written behind the place, and then what is written from now on.
    #[must_use]
    pub fn behind(folder: &Path, filter: Filter, place: &Place) -> Self {
        let mut follow = Self::from_beginning(folder, filter);
        follow.older = place.older;
        let Some(wanted) = place.file else {
            return follow;
        };
        let (mut files, _) = list(folder);
        let found = files
            .iter()
            .position(|file| file.id().is_ok_and(|id| id == Some(wanted)));
        let at = found.and_then(|at| {
            let older = older_than(&files, files[at].inode);
            At::open(&mut files[at], older).ok()
        });
        follow.at = at.filter(|at| at.is_line_end(place.offset)).map(|at| At {
            offset: place.offset,
            ..at
        });
        follow.gap = follow.at.is_none();
        follow
    }

    /// All that there is, and then what is written from now on.
    #[must_use]
    pub fn from_beginning(folder: &Path, filter: Filter) -> Self {
        Self {
            folder: folder.to_owned(),
            sieve: Sieve::new(filter),
            at: None,
            older: None,
            gap: false,
            block: vec![0; BLOCK_BYTES],
            lines: Vec::new(),
        }
    }

    /// Where the reader is: everything before it was looked at. Also the place from which a page goes back.
    #[must_use]
    pub fn place(&self) -> Place {
        match &self.at {
            Some(at) => Place {
                file: at.id,
                offset: at.offset,
                older: at.older,
            },
            None => Place {
                file: None,
                offset: 0,
                older: self.older,
            },
        }
    }

    /// Whether there may be something to read: a cheap look, without reading.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let current = self.folder.join(FILE_NAME).metadata().ok();
        let Some(at) = &self.at else {
            return self.gap || current.is_some();
        };
        let size = at.file.metadata().map_or(0, |metadata| metadata.len());
        let grown = size != at.offset && at.nothing_at != Some(size);
        grown || current.is_some_and(|current| current.len() > 0 && inode(&current) != at.inode)
    }

    /// Reads at most one block and appends what it finds. Returns whether there may be more to read at once.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&mut self, events: &mut Vec<Event>) -> io::Result<bool> {
        if std::mem::take(&mut self.gap) {
            events.push(Event::Gap);
        }
        if self.at.is_none() {
            let Some(mut next) = self.next_file() else {
                return Ok(false);
            };
            return self.go_on_with(&mut next).map(|()| true);
        }
        if self.read_block(events)? {
            return Ok(true);
        }
        let Some(mut next) = self.next_file() else {
            return Ok(false);
        };
        // The writer has gone on to the next file, so what it wrote into this one is all there now.
        if self.read_block(events)? {
            return Ok(true);
        }
        if let Some(at) = &self.at
            && at.file.metadata()?.nlink() == 0
        {
            events.push(Event::Gap);
        }
        self.go_on_with(&mut next).map(|()| true)
    }

    fn go_on_with(&mut self, next: &mut LogFile) -> io::Result<()> {
        let (files, _) = list(&self.folder);
        let older = older_than(&files, next.inode);
        match At::open(next, older) {
            Ok(at) => self.at = Some(at),
            // It was deleted just now: the one behind it is next.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (self.at, self.older, self.gap) = (None, next.closed_at, true);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The file that the writer went on with after the one that is open; none: it has not.
    fn next_file(&self) -> Option<LogFile> {
        let (files, _) = list(&self.folder);
        let (own, behind) = match &self.at {
            Some(at) => {
                let found = files.iter().find(|file| file.inode == at.inode);
                if found.is_some_and(|file| file.closed_at.is_none()) {
                    return None; // still being written
                }
                let closed_at = found.and_then(|file| file.closed_at).or(at.closed_at);
                (Some(at.inode), closed_at.or(at.older))
            }
            None => (None, self.older),
        };
        let is_next = |file: &LogFile| {
            let is_newer = match file.closed_at {
                Some(at) => behind.is_none_or(|behind| at > behind),
                None => own.is_none() || !file.has_no_line_yet(),
            };
            Some(file.inode) != own && is_newer
        };
        files.into_iter().rfind(is_next)
    }

    /// Looks at the next block of the open file; false: it has no further line.
    fn read_block(&mut self, events: &mut Vec<Event>) -> io::Result<bool> {
        let Some(at) = &mut self.at else {
            return Ok(false);
        };
        let size = at.file.metadata()?.len();
        if size < at.offset && size > 0 && FileId::of(&at.file)? == at.id {
            at.offset = size; // lines that could not be synced were taken back, and come again
        } else if size < at.offset {
            // Somebody has emptied it.
            events.push(Event::Gap);
            (at.offset, at.id, at.is_too_long) = (0, None, false);
        }
        let length = read_full(&at.file, &mut self.block, at.offset)?;
        let block = &self.block[..length];
        let Some(newline) = memchr::memrchr(b'\n', block) else {
            at.nothing_at = Some(at.offset + length as u64);
            let is_full = length == BLOCK_BYTES;
            if is_full {
                at.is_too_long = true;
                at.offset += length as u64;
            }
            return Ok(is_full);
        };
        if at.id.is_none() {
            at.id = FileId::of(&at.file)?;
        }
        // The rest of a line that is too long goes with its newline.
        let first = match std::mem::take(&mut at.is_too_long) {
            true => memchr::memchr(b'\n', block).map_or(0, |end| end + 1),
            false => 0,
        };
        let lines = &block[first..=newline];
        self.sieve.sift(lines, &mut self.lines);
        for line in &self.lines {
            if let Verdict::Wanted(text) = self.sieve.judge(&lines[line.start..line.end]) {
                let place = Place {
                    file: at.id,
                    offset: at.offset + (first + line.end) as u64 + 1,
                    older: at.older,
                };
                let line = text.to_owned();
                events.push(Event::Record { line, place });
            }
        }
        at.offset += newline as u64 + 1;
        Ok(true)
    }
}

/// The closed file before another one, of files that begin with the newest.
fn older_than(files: &[LogFile], inode: Inode) -> Option<Timestamp> {
    let newer = files.iter().position(|file| file.inode == inode)?;
    files[newer + 1..].iter().find_map(|file| file.closed_at)
}

impl At {
    /// From its beginning.
    fn open(about: &mut LogFile, older: Option<Timestamp>) -> io::Result<Self> {
        let file = about.open()?;
        Ok(Self {
            inode: inode(&file.metadata()?),
            id: FileId::of(&file)?,
            file,
            closed_at: about.closed_at,
            older,
            offset: 0,
            nothing_at: None,
            is_too_long: false,
        })
    }

    /// Goes behind the last line that is whole.
    fn go_to_end(&mut self, block: &mut [u8]) {
        let size = self.file.metadata().map_or(0, |metadata| metadata.len());
        let start = size.saturating_sub(block.len() as u64);
        let length = read_full(&self.file, block, start).unwrap_or(0);
        let newline = memchr::memrchr(b'\n', &block[..length]);
        self.is_too_long = newline.is_none() && start > 0;
        self.offset = newline.map_or(start, |at| start + at as u64 + 1);
    }

    fn is_line_end(&self, offset: u64) -> bool {
        let mut last = [0];
        offset == 0
            || (read_full(&self.file, &mut last, offset - 1).is_ok_and(|read| read == 1)
                && last == [b'\n'])
    }
}
