//! A new text in the place of a key file's old one, so that everybody sees the one or the other, and a hand edit that
//! slips in at the last moment is neither overwritten nor lost.
//!
//! The new file is written aside and then *exchanged* with the old one in one step. What came out is looked at: if it
//! is not the file that the edit was made from, as it was then, it goes back and the edit has failed. Where the
//! file system has no exchange, a rename takes its place, and the look comes just before it. A file that is mounted by
//! itself, or that belongs to somebody whom we cannot give the new one to, is written in place: then a crash in the
//! middle of the writing can leave a torn file, which no reader takes for a whole one unless it happens to be one.

use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::Access;
use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::fs::FallocateFlags;
use rustix::fs::OFlags;
use rustix::fs::RenameFlags;
use rustix::fs::StatxFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::key::table::Revision;
use crate::store::file::aside::Aside;
use crate::store::file::lock::Locked;
use crate::store::file::lock::identity;
use crate::store::file::read::read_open;
use crate::store::file::rest::is_fresh;

/// Hand edits that come in while one is put back.
const EXCHANGES_MAX: usize = 8;

/// Why the text is not in place.
#[derive(Debug)]
pub(super) enum ReplaceError {
    /// The file is no longer the one that was read.
    Moved,
    /// It cannot be written by design.
    ReadOnly(io::Error),
    /// The disk did not take it.
    Unwritable(io::Error),
}

impl ReplaceError {
    fn of(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::ROFS | Errno::ACCESS | Errno::PERM | Errno::TXTBSY) => {
                Self::ReadOnly(error)
            }
            _ => Self::Unwritable(error),
        }
    }
}

impl From<Errno> for ReplaceError {
    fn from(errno: Errno) -> Self {
        Self::of(errno.into())
    }
}

/// A locked file as it was when it was read.
#[derive(Debug)]
pub(super) struct Seen {
    identity: (u64, u64),
    written: Written,
    revision: Revision,
    /// It was written so shortly before that another write need not show in its times.
    fresh: bool,
    owner: (u32, u32),
    mode: u32,
}

/// What a write changes.
type Written = (u64, (i64, i64));

impl Seen {
    /// Reads the locked file.
    pub(super) fn read(locked: &Locked) -> io::Result<(Vec<u8>, Self)> {
        let begun = Clock::system().wall();
        let (bytes, metadata) = read_open(locked.file())?;
        let seen = Self {
            identity: identity(&metadata),
            written: written(&metadata),
            revision: Revision::of(&bytes),
            fresh: is_fresh(&metadata, begun),
            owner: (metadata.uid(), metadata.gid()),
            mode: metadata.mode() & 0o777,
        };
        Ok((bytes, seen))
    }

    /// What was read.
    pub(super) const fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether this is the same file, and still holds what was read.
    fn is_at(&self, path: &Path) -> bool {
        path.symlink_metadata()
            .is_ok_and(|metadata| identity(&metadata) == self.identity)
            && File::open(path).is_ok_and(|file| self.is_unchanged(&file))
    }

    fn is_unchanged(&self, file: &File) -> bool {
        file.metadata()
            .is_ok_and(|metadata| !self.fresh && written(&metadata) == self.written)
            || read_open(file).is_ok_and(|(bytes, _)| {
                Revision::of(&Zeroizing::new(bytes)) == self.revision // people write tokens into it
            })
    }
}

fn written(metadata: &Metadata) -> Written {
    (metadata.len(), (metadata.mtime(), metadata.mtime_nsec()))
}

/// How the text will get into place.
#[derive(Debug)]
pub(super) enum Prepared {
    /// It is on the disk already, in this file.
    Aside(Aside),
    /// The file itself may be written, but not replaced.
    InPlace,
}

/// Puts `text` in the place of what was seen in the locked file. Returns the file that is there now, if it is another
/// one: it is locked as long as it is open.
pub(super) fn replace(
    locked: &Locked,
    seen: &Seen,
    text: &[u8],
    prepared: Prepared,
) -> Result<Option<File>, ReplaceError> {
    let mut aside = match prepared {
        Prepared::Aside(aside) => aside,
        Prepared::InPlace => return in_place(locked, seen, text).map(|()| None),
    };
    if !locked.is_meant() || !seen.is_at(locked.path()) {
        return Err(ReplaceError::Moved);
    }
    match exchange(aside.path(), locked.path()) {
        Ok(()) => settle(locked, seen, aside).map(Some),
        Err(Errno::BUSY | Errno::XDEV) => {
            // Should the next step be killed half-way, the whole text is beside the torn one, where people look.
            let copy = aside.rescue();
            let done = in_place(locked, seen, text);
            if let Ok(copy) = copy {
                let _ = std::fs::remove_file(copy); // then there is one file too many, and nothing wrong
            }
            done.map(|()| None)
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            std::fs::rename(aside.path(), locked.path()).map_err(ReplaceError::of)?;
            aside.keep();
            sync_folder(locked.path()).map_err(ReplaceError::of)?;
            aside.held().map(Some).map_err(ReplaceError::of)
        }
        Err(Errno::NOENT) => Err(ReplaceError::Moved),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether neither the file nor its place can be written.
pub(super) fn is_denied(file: &Path) -> bool {
    let may = |path: &Path, what| match rustix::fs::access(path, what) {
        Ok(()) => true,
        Err(errno) => !matches!(errno, Errno::ROFS | Errno::ACCESS | Errno::PERM),
    };
    let Ok(path) = file.canonicalize() else {
        return false; // absent, which is another trouble
    };
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let replaced = may(folder, Access::WRITE_OK | Access::EXEC_OK);
    !may(&path, Access::WRITE_OK) || !(replaced || is_mounted_alone(&path))
}

/// Writes the text to a file beside the other, with its owner and its mode, and waits for the disk. Nobody sees it yet.
pub(super) fn prepare(locked: &Locked, seen: &Seen, text: &[u8]) -> Result<Prepared, ReplaceError> {
    match rustix::fs::access(locked.path(), Access::WRITE_OK) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Err(ReplaceError::Moved),
        Err(errno) => return Err(errno.into()),
    }
    let mut aside = match Aside::make(locked.path()).map_err(ReplaceError::of) {
        Ok(aside) => aside,
        Err(ReplaceError::ReadOnly(_)) if is_mounted_alone(locked.path()) => {
            return Ok(Prepared::InPlace);
        }
        Err(error) => return Err(error),
    };
    let made = aside.file().metadata().map_err(ReplaceError::of)?;
    if (made.uid(), made.gid()) != seen.owner {
        let (user, group) = seen.owner;
        match std::os::unix::fs::fchown(aside.file(), Some(user), Some(group)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(Prepared::InPlace);
            }
            done => done.map_err(ReplaceError::of)?,
        }
    }
    let mode = Permissions::from_mode(seen.mode);
    aside
        .file()
        .set_permissions(mode)
        .map_err(ReplaceError::of)?;
    aside.write(text).map_err(ReplaceError::of)?;
    Ok(Prepared::Aside(aside))
}

/// Whether the file is a mount of its own, as compose makes them: it can be written where its folder cannot.
fn is_mounted_alone(path: &Path) -> bool {
    let mount = |path: &Path| {
        let found =
            rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID).ok()?;
        let known = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
        known.then_some(found.stx_mnt_id)
    };
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    match (mount(path), mount(folder)) {
        (Some(file), Some(folder)) => file != folder,
        (None, _) | (_, None) => false,
    }
}

fn exchange(one: &Path, other: &Path) -> Result<(), Errno> {
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
}

/// After the exchange: keeps it, if what came out is what the edit was made from and the disk has it.
fn settle(locked: &Locked, seen: &Seen, mut aside: Aside) -> Result<File, ReplaceError> {
    if !seen.is_at(aside.path()) {
        give_back(locked, &mut aside);
        return Err(ReplaceError::Moved);
    }
    if let Err(error) = sync_folder(locked.path()) {
        give_back(locked, &mut aside);
        return Err(ReplaceError::of(error));
    }
    let held = aside.held();
    held.map_err(|error| {
        give_back(locked, &mut aside);
        ReplaceError::of(error)
    }) // the old file goes with `aside`
}

/// Puts back what came out. If something newer has come in meanwhile, that goes back instead, as it would have come
/// over the other without us.
fn give_back(locked: &Locked, aside: &mut Aside) {
    let identity_of = |path: &Path| path.symlink_metadata().ok().as_ref().map(identity);
    let mut put_last = Some(aside.identity());
    for _ in 0..EXCHANGES_MAX {
        let next = identity_of(aside.path());
        if exchange(aside.path(), locked.path()).is_err() {
            break;
        }
        if identity_of(aside.path()) == put_last {
            if put_last == Some(aside.identity()) && !aside.is_ours_alone() {
                break; // somebody wrote into our text while it was in place, and the other hand's text is there now
            }
            return; // what we had put there: nobody has come in since
        }
        put_last = next;
    }
    let rescued = aside.rescue();
    tracing::error!(
        file = %locked.path().display(),
        ?rescued,
        "the key file was replaced by others while it was edited: what one of them wrote is in the other file"
    );
}

/// Waits until the disk has what was renamed in the folder of `file`. Some file systems cannot; they need not.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    match File::open(folder)?.sync_all() {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(()),
        done => done,
    }
}

/// Writes over the old text. Room is taken first, so that a full disk is noticed while the old text is whole.
fn in_place(locked: &Locked, seen: &Seen, text: &[u8]) -> Result<(), ReplaceError> {
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2) fits an int");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nonblock)
        .open(locked.path())
        .map_err(ReplaceError::of)?;
    let (old, metadata) = read_open(&file).map_err(ReplaceError::of)?;
    let old = Zeroizing::new(old); // people write tokens into it
    if identity(&metadata) != seen.identity || Revision::of(&old) != seen.revision {
        return Err(ReplaceError::Moved);
    }
    let length = |text: &[u8]| u64::try_from(text.len()).unwrap_or(u64::MAX);
    match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, length(text)) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    let put = |text: &[u8]| {
        file.write_all_at(text, 0)?;
        file.set_len(length(text))?;
        file.sync_all()
    };
    put(text).map_err(|error| {
        if let Err(again) = put(&old) {
            tracing::error!(file = %locked.path().display(), error = %again, "the key file may be torn: it could be written neither with the new text nor with the old");
        }
        ReplaceError::of(error)
    })
}

#[cfg(test)]
mod tests;
