//! `audit.ndjson`: whole lines appended by one write under a lock, on the disk before the call returns; a full file
//! is renamed to `audit-<UTC time>.ndjson` and never deleted. The file is opened for each write, so what happens to
//! it from outside – moved, its folder deleted, filled by another process – needs no care of its own.
//! Not for: what is in a line (`line`), reading (`page`).
//!
//! O_APPEND alone would keep lines of several processes apart. The lock is for what takes more than one call:
//! looking at the end of the file, renaming it, and taking back what was only half written.

use std::ffi::OsStr;
use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::fs::CWD;
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::audit::AuditError;
use crate::clock::Timestamp;

/// The file that is being written.
const FILE_NAME: &str = "audit.ndjson";
const CLOSED_PREFIX: &str = "audit-";
const CLOSED_SUFFIX: &str = ".ndjson";
/// `20261123T100000.123456Z`
const STAMP_BYTES: usize = 23;

/// A full file is closed: a quarter of a million events, and no trouble for an editor.
pub(super) const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long another process may hold the lock: a write and a sync, on a very slow disk.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Makes the folder if it is absent, and sees whether the file can be written.
pub(super) fn prepare(folder: &Path) -> Result<(), AuditError> {
    open(folder).map(|_| ()).map_err(failed("write", folder))
}

/// Appends whole lines: all of them are on the disk, or none.
pub(super) fn append(folder: &Path, lines: &[u8], now: Timestamp) -> Result<(), AuditError> {
    append_below(folder, lines, now, FILE_BYTES_MAX).map_err(failed("write", folder))
}

/// The error of a failed call on the log in `folder`.
pub(super) fn failed(act: &'static str, folder: &Path) -> impl FnOnce(io::Error) -> AuditError {
    let path = folder.join(FILE_NAME);
    move |source| AuditError { act, path, source }
}

/// The same with another size at which a file is full.
pub(super) fn append_below(
    folder: &Path,
    lines: &[u8],
    now: Timestamp,
    bytes_max: u64,
) -> io::Result<()> {
    let mut file = open_locked(folder)?;
    let mut size = file.metadata()?.len();
    if size > 0 && size.saturating_add(lines.len() as u64) > bytes_max {
        close(folder, now)?;
        file = open_locked(folder)?;
        size = file.metadata()?.len();
    }
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    let written = if last == [b'\n'] {
        file.write_all(lines)
    } else {
        // A machine stopped in the middle of a line: that one stays as it is, and harms no other.
        file.write_all(&[b"\n", lines].concat())
    };
    written.and_then(|()| file.sync_data()).inspect_err(|_| {
        let _ = file.set_len(size); // else the next line begins with a newline
    })
}

/// The file, locked, and still the one under its name.
fn open_locked(folder: &Path) -> io::Result<File> {
    for _ in 0..LOCK_TRIES {
        let file = open(folder)?;
        match file.try_lock() {
            Ok(()) if is_current(&file, folder)? => return Ok(file),
            Ok(()) => {} // closed by another process in the meantime
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "another process holds its lock",
    ))
}

fn is_current(file: &File, folder: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::metadata(folder.join(FILE_NAME)) {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens the file to append; makes it, and its folder, when they are absent.
fn open(folder: &Path) -> io::Result<File> {
    let path = folder.join(FILE_NAME);
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    match options.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(file) if file.metadata()?.is_file() => return Ok(file),
        Ok(_) => return Err(io::Error::other("it is not a regular file")),
        Err(error) => return Err(error),
    }
    let parent = folder.parent().unwrap_or_else(|| Path::new("/"));
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            hand_to_owner_of(parent, &File::open(folder)?)?;
            File::open(parent)?.sync_all()?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let file = options.create(true).open(&path)?;
    hand_to_owner_of(folder, &file)?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}

/// Gives what was just made in `folder` to whom the folder belongs. A command that root runs beside keygate must not
/// leave files that keygate cannot read.
pub(crate) fn hand_to_owner_of(folder: &Path, made: &File) -> io::Result<()> {
    let (wanted, found) = (fs::metadata(folder)?, made.metadata()?);
    if wanted.uid() == found.uid() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = (
        rustix::fs::Uid::from_raw(wanted.uid()),
        rustix::fs::Gid::from_raw(wanted.gid()),
    );
    Ok(rustix::fs::fchown(made, Some(user), Some(group))?)
}

/// Gives the full file its closed name; one that is taken is never overwritten.
fn close(folder: &Path, now: Timestamp) -> io::Result<()> {
    let current = folder.join(FILE_NAME);
    let mut stamp = now;
    loop {
        match rename_new(&current, &folder.join(closed_name(stamp))) {
            Ok(()) => return File::open(folder)?.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                stamp = stamp.plus(Duration::from_micros(1));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Renames, never over an existing file.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems cannot do this. Whoever else makes such names holds the same lock.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        other => Ok(other?),
    }
}

/// `audit-20261123T100000.123456Z.ndjson`: the order of the names is the order in time.
fn closed_name(stamp: Timestamp) -> String {
    let stamp: String = stamp
        .to_string()
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    format!("{CLOSED_PREFIX}{stamp}{CLOSED_SUFFIX}")
}

fn is_closed_name(name: &OsStr) -> bool {
    let stamp = name.to_str().and_then(|name| {
        name.strip_prefix(CLOSED_PREFIX)?
            .strip_suffix(CLOSED_SUFFIX)
    });
    stamp.is_some_and(|stamp| {
        stamp.len() == STAMP_BYTES
            && stamp
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'T' | b'.' | b'Z'))
    })
}

/// The files of the log, the newest first. The one that is being written is opened before the folder is listed, so
/// that none is missed when it is closed in between; then it is in the list too, and left out.
pub(super) fn files(folder: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    match File::open(folder.join(FILE_NAME)) {
        Ok(file) => files.push(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let identity = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
    let current = files.first().map(identity).transpose()?;
    for path in closed(folder)? {
        let file = File::open(path)?;
        if Some(identity(&file)?) != current {
            files.push(file);
        }
    }
    Ok(files)
}

fn closed(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if is_closed_name(&entry.file_name()) {
            names.push(entry.path());
        }
    }
    names.sort_unstable();
    names.reverse();
    Ok(names)
}
