//! A disk under the test's control: `disk.c` is loaded into keygate before the C library and makes its writes and
//! syncs of the transaction log hang or fail. What only a real file system does is tested on one (a small tmpfs).

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::harness::setup::write_in_place;

/// What a disk can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    HangWrite,
    HangSync,
    FailWrite,
    FailSync,
}

impl Fault {
    const fn file(self) -> &'static str {
        match self {
            Self::HangWrite => "hang-write",
            Self::HangSync => "hang-sync",
            Self::FailWrite => "fail-write",
            Self::FailSync => "fail-sync",
        }
    }
}

/// The disk of one keygate.
#[derive(Clone, Debug)]
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// A good one, told what to do in this folder.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let folder = folder.join("disk");
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// What keygate's process is given.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", library()), ("TEST_DISK", self.0.clone())]
    }

    /// From now on it has this fault.
    pub(crate) fn break_with(&self, fault: Fault) {
        write_in_place(&self.0.join(fault.file()), "");
    }

    /// It has the fault no more.
    pub(crate) fn mend(&self, fault: Fault) {
        fs::remove_file(self.0.join(fault.file())).unwrap();
    }

    /// How often the log was synced.
    pub(crate) fn syncs(&self) -> usize {
        fs::metadata(self.0.join("syncs")).map_or(0, |file| usize::try_from(file.len()).unwrap())
    }
}

/// The compiled `disk.c`, made once a run.
fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY
        .get_or_init(|| {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/harness/disk.c");
            let made = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
                .join(format!("disk-{}.so", std::process::id()));
            let status = Command::new("cc")
                .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
                .arg(&made)
                .arg(source)
                .status()
                .unwrap();
            assert!(status.success(), "cannot compile {source}");
            made
        })
        .clone()
}
