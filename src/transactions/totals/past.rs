//! The log's files as they are at one moment, oldest first. At the start, before the first line is written, [`Past`]
//! takes hold of what an earlier process left, so that no line that is counted live is counted again. Not for:
//! reading lines, which is `rebuild`.

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::clock::Timestamp;
use crate::transactions::closed;
use crate::transactions::file::FILE_NAME;
use crate::transactions::file::first_time;

/// The files of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFiles {
    /// How many there are.
    pub files: usize,
    /// What they hold.
    pub bytes: u64,
    /// When the oldest request in them began.
    pub oldest_at: Option<Timestamp>,
}

/// Looks at the files in the log's folder.
///
/// # Errors
/// When the folder cannot be read; one that is not there holds none.
pub fn log_files(folder: &Path) -> io::Result<LogFiles> {
    let found = find(folder)?;
    let oldest = found
        .iter()
        .find_map(|(path, _)| first_time(&File::open(path).ok()?));
    Ok(LogFiles {
        files: found.len(),
        bytes: found.iter().map(|(_, bytes)| bytes).sum(),
        oldest_at: oldest,
    })
}

/// What the log holds at a start.
#[derive(Debug, Default)]
pub(in crate::transactions) struct Past {
    /// Files and their sizes, oldest first. What is closed keeps its name and never grows.
    pub(super) closed: Vec<(PathBuf, u64)>,
    /// The one that will be written on, and renamed: held open, and read up to its size of now.
    pub(super) current: Option<(PathBuf, File, u64)>,
    /// What could not be looked at, and why.
    pub(super) unreadable: Option<(PathBuf, io::Error)>,
}

impl Past {
    /// Takes hold of it.
    pub(in crate::transactions) fn of(folder: &Path) -> Self {
        let mut past = Self::default();
        match find(folder) {
            Ok(found) => past.closed = found,
            Err(error) => past.unreadable = Some((folder.to_owned(), error)),
        }
        let current = |(path, _): &mut (PathBuf, u64)| path.ends_with(FILE_NAME);
        if let Some((path, _)) = past.closed.pop_if(current) {
            match File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file))) {
                Ok((bytes, file)) => past.current = Some((path, file, bytes)),
                Err(error) => past.unreadable = Some((path, error)),
            }
        }
        past
    }

    /// How much there is to read.
    pub(super) fn bytes(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|(_, bytes)| bytes).sum();
        closed + self.current.as_ref().map_or(0, |(_, _, bytes)| *bytes)
    }
}

/// The log's files with their sizes, oldest first.
fn find(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = name
            .to_str()
            .is_some_and(|name| name == FILE_NAME || closed::stamp_of(name).is_some());
        // One that goes at this moment is none.
        if let Some(metadata) = entry.metadata().ok().filter(|it| is_ours && it.is_file()) {
            found.push((entry.path(), metadata.len()));
        }
    }
    // By name: "-" comes before ".", so that the current one is the last.
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(folder: &Path, name: &str, text: &str) {
        use std::io::Write as _;
        let mut file = File::create_new(folder.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    const LINE: &str = "{\"time\":\"2026-11-23T10:00:00.000001Z\",\"x\":1}\n";

    #[test]
    fn the_files_of_the_log_are_found_in_their_order_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "transactions.ndjson",
            "transactions-20261124T000000.000000Z.ndjson",
            "transactions-20261123T000000.000000Z.ndjson",
            "transactions-old.ndjson",
            "transactions-20261123T000000.000000Z.ndjson.gz",
            "transactions-20261123T000000.00000xZ.ndjson",
            "notes.txt",
        ] {
            make(folder.path(), name, LINE);
        }
        let past = Past::of(folder.path());
        let names: Vec<_> = past
            .closed
            .iter()
            .filter_map(|(path, _)| path.file_name())
            .collect();
        assert_eq!(
            names,
            [
                "transactions-20261123T000000.000000Z.ndjson",
                "transactions-20261124T000000.000000Z.ndjson"
            ]
        );
        assert!(past.current.is_some() && past.unreadable.is_none());
        assert_eq!(past.bytes(), 3 * LINE.len() as u64);
        let files = log_files(folder.path()).unwrap();
        assert_eq!((files.files, files.bytes), (3, past.bytes()));
        assert_eq!(
            files.oldest_at.unwrap().to_string(),
            "2026-11-23T10:00:00.000001Z"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        assert_eq!(Past::of(&absent).bytes(), 0);
        assert_eq!(log_files(&absent).unwrap(), LogFiles::default());
    }

    #[test]
    fn what_is_written_later_is_not_of_the_past() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), FILE_NAME, LINE);
        let past = Past::of(folder.path());
        let current = folder.path().join(FILE_NAME);
        let closed = folder
            .path()
            .join("transactions-20261124T000000.000000Z.ndjson");
        fs::rename(&current, closed).unwrap();
        make(folder.path(), FILE_NAME, &LINE.repeat(5));
        assert_eq!(past.bytes(), LINE.len() as u64);
        let (_, file, bytes) = past.current.unwrap();
        assert_eq!(
            file.metadata().unwrap().len(),
            bytes,
            "the one that was held"
        );
    }
}
