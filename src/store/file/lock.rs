//! The lock on a key file: the kernel's, on the file itself, so that it needs no file of its own, works wherever the
//! file is mounted, and ends with its holder. An edit puts another file in this one's place, so whoever gets the lock
//! looks whether it is still the one under that name. Editors and readers know nothing of it.

use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::store::file::read::regular;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// Five seconds of tries: an edit of a million keys takes less than one.
const TRIES: usize = 1_000;
/// Some editors rename the file away and write a new one: it is absent for a moment.
const ABSENT_TRIES: usize = 10;

/// A key file that no other keygate edits until this is dropped.
#[derive(Debug)]
pub(super) struct Locked {
    name: PathBuf,
    path: PathBuf,
    file: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process has held it for too long.
    Busy,
    /// The file cannot be opened or locked.
    System(io::Error),
}

impl Locked {
    /// Locks the file, and waits for it if need be.
    pub(super) fn wait(file: &Path) -> Result<Self, LockError> {
        let mut absent = 0;
        for _ in 0..TRIES {
            match Self::try_now(file) {
                Err(LockError::Busy) => {}
                Err(LockError::System(error))
                    if error.kind() == io::ErrorKind::NotFound && absent < ABSENT_TRIES =>
                {
                    absent += 1;
                }
                done => return done,
            }
            std::thread::sleep(PAUSE);
        }
        Err(LockError::Busy)
    }

    /// Locks the file if nobody holds it at this moment.
    pub(super) fn try_now(file: &Path) -> Result<Self, LockError> {
        let path = file.canonicalize().map_err(LockError::System)?;
        let (open, _) = regular(&path).map_err(LockError::System)?;
        let open = lock(open, &path)?;
        let ours = open.metadata().map_err(LockError::System)?;
        match path.symlink_metadata() {
            Ok(there) if identity(&there) == identity(&ours) => Ok(Self {
                name: file.to_owned(),
                path,
                file: open,
            }),
            // Replaced while the lock was waited for.
            Ok(_) => Err(LockError::Busy),
            Err(error) => Err(LockError::System(error)),
        }
    }

    /// The file itself, with all links resolved.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the name that it was locked under still leads to it: links can be turned.
    pub(super) fn is_meant(&self) -> bool {
        self.name.canonicalize().is_ok_and(|path| path == self.path)
    }

    /// The folder that it is in.
    pub(super) fn folder(&self) -> &Path {
        self.path
            .parent()
            .expect("a file with all links resolved is in a folder")
    }

    /// The file, open for reading.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }
}

/// A lock for reading would do on a local disk; NFS locks only what is open for writing.
fn lock(open: File, path: &Path) -> Result<File, LockError> {
    match open.try_lock() {
        Ok(()) => return Ok(open),
        Err(TryLockError::WouldBlock) => return Err(LockError::Busy),
        Err(TryLockError::Error(error))
            if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::BADF) => {}
        Err(TryLockError::Error(error)) => return Err(LockError::System(error)),
    }
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(LockError::System)?;
    match open.try_lock() {
        Ok(()) => Ok(open),
        Err(TryLockError::WouldBlock) => Err(LockError::Busy),
        Err(TryLockError::Error(error)) => Err(LockError::System(error)),
    }
}

/// Which file it is, whatever its name.
pub(super) fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
