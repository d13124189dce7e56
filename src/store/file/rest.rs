//! Whether a key file is as it was, without reading it: of a million keys that takes longer than an edit. Believed only of
//! a file that nobody had written to for a while, since file systems keep time in ticks. Not for: the last look before
//! a file is replaced, which is `replace`.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::store::file::lock::identity;

/// File systems keep time in ticks of up to 10 ms: two writes within one leave the same times.
const TICK: Duration = Duration::from_millis(50);

/// A file that was at rest when it was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    identity: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    /// By the kernel's clock: who sets the other time back changes this one.
    changed: (i64, i64),
}

impl Rest {
    /// The file as it is; none if it was written so shortly before `looked` that another write need not show.
    pub(super) fn of(metadata: &Metadata, looked: Timestamp) -> Option<Self> {
        (!is_fresh(metadata, looked)).then(|| Self::now(metadata))
    }

    /// Whether what is at `path` is this file, and nobody has written to it since.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| Self::now(&metadata) == *self)
    }

    fn now(metadata: &Metadata) -> Self {
        Self {
            identity: identity(metadata),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Whether the file was written so shortly before that another write need not show in its times.
pub(super) fn is_fresh(metadata: &Metadata, looked: Timestamp) -> bool {
    let modified = metadata
        .mtime()
        .saturating_mul(1_000_000)
        .saturating_add(metadata.mtime_nsec() / 1_000);
    Timestamp::from_micros(modified) >= looked.minus(TICK)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::fs::FileTimes;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn only_the_same_file_at_rest_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.yaml");
        let mut file = File::create_new(&path).unwrap();
        file.write_all(b"version: 1").unwrap();
        let now = Clock::system().wall();
        let metadata = || std::fs::metadata(&path).unwrap();
        assert_eq!(Rest::of(&metadata(), now), None, "written just now");
        let rest = Rest::of(&metadata(), now.plus(TICK * 2)).unwrap();
        assert!(rest.is_at(&path));
        let before = metadata().modified().unwrap();
        file.write_all_at(b"V", 0).unwrap();
        file.set_times(FileTimes::new().set_modified(before))
            .unwrap();
        assert!(!rest.is_at(&path), "as long, and the time set back");
        let rest = Rest::of(&metadata(), now.plus(TICK * 2)).unwrap();
        let aside = folder.path().join("aside");
        std::fs::copy(&path, &aside).unwrap();
        std::fs::rename(&aside, &path).unwrap();
        assert!(!rest.is_at(&path), "another file");
        std::fs::remove_file(&path).unwrap();
        assert!(!rest.is_at(&path), "no file");
    }
}
