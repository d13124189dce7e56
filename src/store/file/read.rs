//! Key files, read whole or not at all, and made when the default one is absent. Not for: edits, which are `replace`.

use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::CWD;
use rustix::fs::OFlags;
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use zeroize::Zeroize;

use crate::clock::Timestamp;
use crate::store::file::aside::Aside;
use crate::store::file::replace::sync_folder;
use crate::store::format::Format;

/// A larger key file is a mistake: a million keys take some 200 MB.
const KEY_FILE_BYTES_MAX: u64 = 1 << 30;
/// A file that changes while it is read is read again, this often and after such a pause.
const READS_MAX: usize = 10;
const READ_PAUSE: Duration = Duration::from_millis(5);

/// The file, as it was at one moment: its bytes, and what the system knows of it.
pub(in crate::store) fn read_whole(file: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    read_open(&regular(file)?.0)
}

/// When a file last changed.
pub(super) fn changed(metadata: &Metadata) -> Timestamp {
    let micros = metadata
        .ctime()
        .saturating_mul(1_000_000)
        .saturating_add(metadata.ctime_nsec() / 1_000);
    Timestamp::from_micros(micros)
}

/// The same for a file that is open.
pub(super) fn read_open(file: &File) -> io::Result<(Vec<u8>, Metadata)> {
    for _ in 0..READS_MAX {
        let before = file.metadata()?;
        if before.len() > KEY_FILE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "it is larger than 1 GiB",
            ));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0) + 1);
        let mut open = file;
        open.rewind()?;
        open.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        let after = file.metadata()?;
        let times = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if times(&before) == times(&after)
            && u64::try_from(bytes.len()).is_ok_and(|read| read == after.len())
        {
            return Ok((bytes, after));
        }
        bytes.zeroize();
        std::thread::sleep(READ_PAUSE);
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "it changes while it is read",
    ))
}

/// Makes an empty key file, unless there is one; never half a file, and readable by nobody else.
pub(in crate::store) fn make_if_absent(file: &Path) -> io::Result<()> {
    if file.symlink_metadata().is_ok() {
        return Ok(());
    }
    let text: &[u8] = match Format::of(file) {
        Format::Yaml => b"version: 1\nkeys: []\n",
        Format::Json => b"{\"version\": 1, \"keys\": []}\n",
        Format::Ndjson => b"\n",
    };
    let mut aside = Aside::make(file)?;
    aside.write(text)?;
    match rustix::fs::renameat_with(CWD, aside.path(), CWD, file, RenameFlags::NOREPLACE) {
        Ok(()) => aside.keep(),
        Err(Errno::EXIST) => return Ok(()), // somebody was quicker
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            std::fs::rename(aside.path(), file)?;
            aside.keep();
        }
        Err(errno) => return Err(errno.into()),
    }
    sync_folder(file)
}

/// Opens a regular file. Never waits: a pipe or device under a configured name is refused, where opening it could
/// hang the control plane.
pub(in crate::store) fn regular(path: &Path) -> io::Result<(File, Metadata)> {
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2) fits an int");
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ))
    }
}
