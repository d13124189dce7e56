//! The files of the log, and places in them. A file is known by its first line, which it keeps when it grows and when it
//! is renamed: so a [`Place`] stays right while the log is written, rotated and pruned. Not for: what stands in files.

use std::fmt;
use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use crate::clock::Timestamp;
use crate::key::token::Digest;
use crate::key::token::hex;
use crate::transactions::closed;
use crate::transactions::file::FILE_NAME;

/// Enough of a file's first line to tell files apart: it holds the moment to the microsecond, and a request id.
const HEAD_BYTES: usize = 128;

/// What a file keeps for as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId([u8; 8]);

impl FileId {
    /// Of an open file; none before its first line is there.
    pub(super) fn of(file: &File) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD_BYTES];
        let filled = read_full(file, &mut head, 0)?;
        let line = match memchr::memchr(b'\n', &head[..filled]) {
            Some(end) => &head[..end],
            None if filled == HEAD_BYTES => &head[..],
            None => return Ok(None),
        };
        let digest = Digest::of(line);
        let id = digest.as_bytes().first_chunk().copied();
        Ok(id.map(Self))
    }
}

/// The end of a line in one of the files. Its text is a cursor and the id of an event: opaque to whoever gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// None: a file that had no line yet.
    pub(super) file: Option<FileId>,
    pub(super) offset: u64,
    /// The closed file before this one: where to go on if this one is gone.
    pub(super) older: Option<Timestamp>,
}

impl Place {
    /// Reads what was printed; none if it is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (file, offset, older) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let place = Self {
            file: match file {
                "-" => None,
                hex => Some(FileId(from_hex(hex)?)),
            },
            offset: number(offset)?,
            older: match older {
                "-" => None,
                micros => Some(Timestamp::from_micros(
                    number(micros).and_then(|micros| i64::try_from(micros).ok())?,
                )),
            },
        };
        parts.next().is_none().then_some(place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(FileId(id)) => f.write_str(&hex(id))?,
            None => f.write_str("-")?,
        }
        write!(f, ".{}.", self.offset)?;
        match self.older {
            Some(stamp) => write!(f, "{}", stamp.as_micros()),
            None => f.write_str("-"),
        }
    }
}

fn from_hex(text: &str) -> Option<[u8; 8]> {
    let mut id = [0; 8];
    let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * id.len() || !text.bytes().all(lower) {
        return None;
    }
    for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(id)
}

/// A file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its name, or the folder's path.
    pub file: String,
    /// What the system says.
    pub why: String,
}

impl Unreadable {
    pub(super) fn new(path: &Path, error: &io::Error) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self {
            file: name.to_string_lossy().into_owned(),
            why: error.to_string(),
        }
    }
}

/// A file of the log that is there.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    /// When it was closed; none: it is being written.
    pub(super) closed_at: Option<Timestamp>,
    pub(super) inode: Inode,
    /// Opened already, since its name may go to another file at any moment.
    opened: Option<File>,
}

/// The same for all names of a file. Another one may get it when the file is deleted: only for files that are open.
pub(super) type Inode = (u64, u64);

pub(super) fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

impl LogFile {
    /// What its places are known by.
    pub(super) fn id(&self) -> io::Result<Option<FileId>> {
        match &self.opened {
            Some(file) => FileId::of(file),
            None => FileId::of(&File::open(&self.path)?),
        }
    }

    /// Whether it is being written, and nothing is in it yet.
    pub(super) fn has_no_line_yet(&self) -> bool {
        let opened = self.opened.as_ref();
        opened.is_some_and(|file| file.metadata().is_ok_and(|data| data.len() == 0))
    }

    /// Once.
    pub(super) fn open(&mut self) -> io::Result<File> {
        self.opened
            .take()
            .map_or_else(|| File::open(&self.path), Ok)
    }
}

/// All files as they are at one moment, newest first, and what of it cannot be looked at. A folder that is not there is
/// an empty log.
pub(super) fn list(folder: &Path) -> (Vec<LogFile>, Vec<Unreadable>) {
    let mut unreadable = Vec::new();
    // The one that is written first: what is closed in the meantime is found twice, and never not at all.
    let written = folder.join(FILE_NAME);
    let mut current = open_current(&written).unwrap_or_else(|error| {
        unreadable.push(Unreadable::new(&written, &error));
        None
    });
    let mut closed = list_closed(folder).unwrap_or_else(|error| {
        unreadable.push(Unreadable {
            file: folder.display().to_string(),
            why: error.to_string(),
        });
        Vec::new()
    });
    // Then it is a closed file like others, and those behind it may have been closed as well.
    if let Some(open) = &mut current
        && let Some(same) = closed.iter_mut().find(|file| file.inode == open.inode)
    {
        same.opened = open.opened.take();
        current = None;
    }
    let files = current.into_iter().chain(closed).collect();
    (files, unreadable)
}

/// None: it is not there.
fn open_current(path: &Path) -> io::Result<Option<LogFile>> {
    let opened = path.metadata().and_then(|metadata| {
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let file = File::open(path)?;
        Ok((inode(&file.metadata()?), file))
    });
    match opened {
        Ok((inode, file)) => Ok(Some(LogFile {
            path: path.to_owned(),
            closed_at: None,
            inode,
            opened: Some(file),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Newest first.
fn list_closed(folder: &Path) -> io::Result<Vec<LogFile>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some(stamp) = entry.file_name().to_str().and_then(closed::stamp_of) else {
            continue;
        };
        // One that has gone in the meantime was pruned.
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            files.push(LogFile {
                path: entry.path(),
                closed_at: Some(stamp),
                inode: inode(&metadata),
                opened: None,
            });
        }
    }
    files.sort_unstable_by_key(|file| std::cmp::Reverse(file.closed_at));
    Ok(files)
}

/// Reads at `offset` what there is, at most a buffer full.
pub(super) fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_way_to_a_client_and_back() {
        let file = Some(FileId([0, 1, 2, 3, 0xfe, 0xff, 9, 8]));
        for place in [
            Place {
                file,
                offset: 0,
                older: None,
            },
            Place {
                file: None,
                offset: u64::MAX,
                older: Timestamp::parse("2026-11-25T10:00:00.000001Z").ok(),
            },
        ] {
            assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
        for text in [
            "",
            "-",
            "-.1",
            "-.1.-.-",
            "-.+1.-",
            "-.1.-5",
            "0001.1.-",
            "00010203FEFF0908.1.-",
            "00010203feff0908.18446744073709551616.-",
            "ü.1.-",
        ] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }
}
