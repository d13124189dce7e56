//! The key file as a file: read whole or not at all, and made when it is the default one and absent.
//! Not for: what stands in it, which is `format`.

use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::clock::Timestamp;
use crate::store::format::Format;

/// A larger key file is a mistake: a million keys take some 200 MB.
const KEY_FILE_BYTES_MAX: u64 = 1 << 30;
/// A file that changes while it is read is read again, this often and after such a pause.
const READS_MAX: usize = 10;
const READ_PAUSE: Duration = Duration::from_millis(5);
/// The file, as it was at one moment: its bytes, its mode, and when it last changed.
pub(super) fn read_whole(file: &Path) -> io::Result<(Vec<u8>, u32, Timestamp)> {
    for _ in 0..READS_MAX {
        let (mut open, before) = regular(file)?;
        if before.len() > KEY_FILE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "it is larger than 1 GiB",
            ));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0) + 1);
        (&mut open)
            .take(KEY_FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)?;
        let after = open.metadata()?;
        let times = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if times(&before) == times(&after)
            && u64::try_from(bytes.len()).is_ok_and(|read| read == after.len())
        {
            let changed = after
                .ctime()
                .saturating_mul(1_000_000)
                .saturating_add(after.ctime_nsec() / 1_000);
            return Ok((bytes, after.mode() & 0o777, Timestamp::from_micros(changed)));
        }
        std::thread::sleep(READ_PAUSE);
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "it changes while it is read",
    ))
}

/// Makes an empty key file, unless there is one; never half a file, and readable by nobody else.
pub(super) fn make_if_absent(file: &Path) -> io::Result<()> {
    if file.symlink_metadata().is_ok() {
        return Ok(());
    }
    let text: &[u8] = match Format::of(file) {
        Format::Yaml => b"version: 1\nkeys: []\n",
        Format::Json => b"{\"version\": 1, \"keys\": []}\n",
        Format::Ndjson => b"\n",
    };
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    let aside = folder.join(format!(".keys.{}.new", std::process::id()));
    let made = (|| {
        let mut open = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        open.write_all(text)?;
        open.sync_all()?;
        std::fs::rename(&aside, file)?;
        File::open(folder)?.sync_all()
    })();
    if made.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    made
}

/// Opens a regular file. Never waits: a pipe or device under a configured name is refused, where opening it could
/// hang the control plane.
pub(super) fn regular(path: &Path) -> io::Result<(File, Metadata)> {
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
