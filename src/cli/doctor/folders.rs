//! Whether what keygate writes can be written, and whether there is room for it.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Access;

use crate::cli::doctor::Scene;
use crate::cli::doctor::finding::Finding;
use crate::config::WhenFull;
use crate::units::Size;

const ABOUT: &str = "folders";
const DISK: &str = "disk";

/// Less room than this is none.
const FULL_BYTES: u64 = 1024 * 1024;

pub(super) fn look(scene: &Scene<'_>) -> Vec<Finding> {
    let config = scene.config;
    let transactions = &config.transactions;
    let mut folders = vec![
        ("data folder", config.data_dir.clone()),
        ("audit folder", config.data_dir.join("audit")),
    ];
    if transactions.enabled {
        folders.push(("transaction folder", transactions.dir.clone()));
    }
    let mut refused: Vec<(&str, PathBuf, io::Error)> = Vec::new();
    for (what, folder) in &folders {
        if let Some((place, error)) = unwritable(folder) {
            // What lies in a folder that cannot be written has no finding of its own.
            if !refused.iter().any(|(_, above, _)| place.starts_with(above)) {
                refused.push((what, place, error));
            }
        }
    }
    let mut findings: Vec<_> = refused
        .iter()
        .map(|(what, place, error)| judge_refused(what, place, error))
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(
            ABOUT,
            format!("{} can be written", config.data_dir.display()),
        ));
    }
    if transactions.enabled {
        let used = used(&transactions.dir);
        let room = rustix::fs::statvfs(nearest(&transactions.dir)).ok();
        findings.extend(room.map(|room| {
            let room = Room {
                free: room.f_bavail.saturating_mul(room.f_frsize),
                used,
                files_left: room.f_favail > 0 || room.f_files == 0, // some file systems do not count
            };
            judge(
                &transactions.dir,
                room,
                transactions.keep_size,
                transactions.when_full,
            )
        }));
    }
    findings
}

/// What there is on the disk of the log.
#[derive(Clone, Copy, Debug)]
struct Room {
    free: u64,
    /// By the log itself.
    used: u64,
    files_left: bool,
}

fn judge(folder: &Path, room: Room, keep: u64, when_full: WhenFull) -> Finding {
    let Room {
        free,
        used,
        files_left,
    } = room;
    let place = folder.display();
    let why = match when_full {
        WhenFull::Drop => "while the disk is full, requests go on and their records are lost",
        WhenFull::Wait => "while the disk is full, requests wait (transactions.when_full)",
        WhenFull::Refuse => {
            "while the disk is full, requests are answered 503 (transactions.when_full)"
        }
    };
    let fix = "a larger volume, or a smaller transactions.keep.size (an emptyDir's sizeLimit has to be above it)";
    if free < FULL_BYTES || !files_left {
        let what = if files_left {
            format!("{} left", Size(free))
        } else {
            "no inode left".to_owned()
        };
        return Finding::fail(DISK, format!("full: {what} for {place}"))
            .why(why)
            .fix(fix);
    }
    if free.saturating_add(used) < keep {
        return Finding::warn(
            DISK,
            format!(
                "{} left for {place}, which may grow to {} (now {})",
                rounded(free),
                Size(keep),
                rounded(used)
            ),
        )
        .why(format!(
            "the disk is full before old records are deleted; {why}"
        ))
        .fix(fix);
    }
    Finding::ok(
        DISK,
        format!(
            "{} left, and the log grows to {} at most",
            rounded(free),
            Size(keep)
        ),
    )
}

/// No digits that say nothing, for people.
fn rounded(bytes: u64) -> Size {
    let unit = 1 << (10 * (bytes.max(1).ilog2().saturating_sub(3) / 10)); // at least eight of it
    Size(bytes / unit * unit)
}

fn used(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// The folder itself, or the one in which it would be made.
fn nearest(folder: &Path) -> PathBuf {
    let found = folder
        .ancestors()
        .find(|folder| folder.symlink_metadata().is_ok());
    found.unwrap_or_else(|| Path::new("/")).to_owned()
}

/// The folder, or a file in it, that cannot be written, and why not.
fn unwritable(folder: &Path) -> Option<(PathBuf, io::Error)> {
    let place = nearest(folder);
    let refused =
        |place: &Path, access| rustix::fs::access(place, access).err().map(io::Error::from);
    if let Some(error) = refused(&place, Access::WRITE_OK | Access::EXEC_OK) {
        return Some((place, error));
    }
    if place != folder {
        return None;
    }
    // Files that another user has left behind are what is in the way after a first start as root.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && is_written(path));
    files.find_map(|path| refused(&path, Access::WRITE_OK).map(|error| (path, error)))
}

fn judge_refused(what: &str, place: &Path, error: &io::Error) -> Finding {
    let user = rustix::process::geteuid().as_raw();
    let place = place.display();
    let fix = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount a writable volume there: an emptyDir in Kubernetes, a volume in \
                                              compose, StateDirectory= in systemd"
                .to_owned()
        }
        _ => {
            format!("chown -R {user} {place}; in Kubernetes, fsGroup in the pod's securityContext")
        }
    };
    let seen = format!("the {what} cannot be written by uid {user}: {place}: {error}");
    Finding::fail(ABOUT, seen)
        .why("keygate does not start without it, or starts and cannot record")
        .fix(fix)
}

/// Files that keygate opens to write; others are replaced, for which their folder counts.
fn is_written(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "lock")
        || path
            .extension()
            .is_some_and(|extension| extension == "ndjson")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn the_log_fits_its_disk_or_not() {
        let mib = 1024 * 1024;
        let room = |free, used, files_left| Room {
            free,
            used,
            files_left,
        };
        for (room, level) in [
            (room(300 * mib, 0, true), Level::Ok),
            (room(100 * mib, 200 * mib, true), Level::Ok),
            (room(100 * mib, 100 * mib, true), Level::Warn),
            (room(mib / 2, 300 * mib, true), Level::Fail),
            (room(300 * mib, 0, false), Level::Fail),
        ] {
            let finding = judge(Path::new("/log"), room, 256 * mib, WhenFull::Refuse);
            assert_eq!(finding.level, level, "{room:?} {finding:?}");
            if level != Level::Ok {
                assert!(finding.why.unwrap().contains("503"));
            }
        }
    }

    #[test]
    fn a_folder_to_be_is_looked_for_where_it_would_be() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(nearest(&folder.path().join("a/b")), folder.path());
        assert_eq!(nearest(folder.path()), folder.path());
    }
}
