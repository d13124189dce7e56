//! Log files that are no longer written: how they are named, and when they go. The name is the moment of
//! closing, `transactions-20261123T100000.123456Z.ndjson`, so their order by name is their order in time. Only
//! files with exactly such a name are ever deleted.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::CWD;
use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::clock::Timestamp;

const PREFIX: &str = "transactions-";
const SUFFIX: &str = ".ndjson";
/// `20261123T100000.123456Z`.
const STAMP_BYTES: usize = 23;

/// Gives the file that was being written its closed name. One rename: after a crash the file is there under
/// one of the two names. A name that is taken is never overwritten; the next free microsecond is used. It is always
/// the newest of all names, also when the clock was set back: readers and pruning go by their order.
pub(super) fn close(current: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let newest = current.parent().and_then(newest);
    let mut stamp = newest.map_or(now, |newest| now.max(newest.plus(Duration::from_micros(1))));
    loop {
        let closed = current.with_file_name(name(stamp));
        match rename_new(current, &closed) {
            Ok(()) => return Ok(closed),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                stamp = stamp.plus(Duration::from_micros(1));
            }
            Err(error) => return Err(error),
        }
    }
}

/// The moment in the newest of the closed names.
fn newest(folder: &Path) -> Option<Timestamp> {
    let names = fs::read_dir(folder).ok()?.flatten();
    names
        .filter_map(|entry| stamp_of(entry.file_name().to_str()?))
        .max()
}

/// Deletes closed files: those that are older than `keep_age`, and the oldest until the rest is not larger
/// than `keep_size` bytes. Returns how many went.
pub(super) fn prune(
    folder: &Path,
    now: Timestamp,
    keep_size: u64,
    keep_age: Duration,
) -> io::Result<usize> {
    let mut closed = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let stamp = entry.file_name().to_str().and_then(stamp_of);
        if let Some((stamp, metadata)) =
            stamp.zip(entry.metadata().ok().filter(fs::Metadata::is_file))
        {
            closed.push((stamp, entry.path(), metadata.len()));
        }
    }
    closed.sort_unstable();
    let (mut kept_size, mut deleted, mut failed) = (0u64, 0, Ok(()));
    for (stamp, path, size) in closed.into_iter().rev() {
        kept_size = kept_size.saturating_add(size);
        if kept_size > keep_size || stamp.plus(keep_age) < now {
            match fs::remove_file(path) {
                Ok(()) => deleted += 1,
                // One that cannot be deleted must not keep the others.
                Err(error) => failed = Err(error),
            }
        }
    }
    failed.map(|()| deleted)
}

fn name(stamp: Timestamp) -> String {
    let stamp: String = stamp
        .to_string()
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    format!("{PREFIX}{stamp}{SUFFIX}")
}

pub(super) fn stamp_of(name: &str) -> Option<Timestamp> {
    let stamp = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    if stamp.len() != STAMP_BYTES || !stamp.is_ascii() {
        return None;
    }
    let (date, time) = stamp.split_at(8);
    let date = format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..]);
    let time = format!("{}:{}:{}", &time[..3], &time[3..5], &time[5..]);
    Timestamp::parse(&format!("{date}{time}")).ok()
}

/// Renames, never over an existing file.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems cannot do this. Nobody else makes such names in our folder, so a look
        // first is nearly as good there.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn make(path: &Path, bytes: u64) {
        fs::File::create_new(path).unwrap().set_len(bytes).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_name_tells_its_moment() {
        let moment = date("2026-11-23T10:00:00.123456Z");
        assert_eq!(name(moment), "transactions-20261123T100000.123456Z.ndjson");
        assert_eq!(stamp_of(&name(moment)), Some(moment));
        for other in [
            "transactions.ndjson",
            "transactions-.ndjson",
            "transactions-20261123T100000Z.ndjson",
            "transactions-20261323T100000.123456Z.ndjson",
            "transactions-20261123T100000.123456Z.ndjson.gz",
            "transactions-20261123T100000.12345€.ndjson",
        ] {
            assert_eq!(stamp_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_taken_name_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join("transactions.ndjson");
        let now = date("2026-11-23T10:00:00Z");
        make(&folder.path().join(name(now)), 7);
        make(&current, 1);
        let closed = close(&current, now).unwrap();
        assert_eq!(
            closed,
            folder
                .path()
                .join("transactions-20261123T100000.000001Z.ndjson")
        );
        assert_eq!(folder.path().join(name(now)).metadata().unwrap().len(), 7);
        assert!(!current.exists());
    }

    #[test]
    fn the_file_that_is_closed_last_has_the_newest_name_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join("transactions.ndjson");
        let earlier = folder.path().join(name(date("2026-11-23T12:00:00Z")));
        make(&earlier, 7);
        make(&current, 1);
        let closed = close(&current, date("2026-11-23T10:05:00Z")).unwrap();
        let expected = name(date("2026-11-23T12:00:00.000001Z"));
        assert_eq!(closed, folder.path().join(expected));
        assert_eq!(earlier.metadata().unwrap().len(), 7);
    }

    #[test]
    fn the_oldest_go_first_and_strangers_stay() {
        let folder = tempfile::tempdir().unwrap();
        let day = |day: u32| format!("transactions-202611{day:02}T000000.000000Z.ndjson");
        for number in 1..=5 {
            make(&folder.path().join(day(number)), 100);
        }
        for stranger in [
            "transactions.ndjson",
            "transactions-old.ndjson",
            "notes.txt",
        ] {
            make(&folder.path().join(stranger), 1_000);
        }
        let prune = |size, age_days: u64| {
            let age = Duration::from_secs(age_days * 86_400);
            prune(folder.path(), date("2026-11-06T00:00:00Z"), size, age).unwrap()
        };
        assert_eq!(prune(500, 5), 0, "both bounds are met exactly");
        assert_eq!(prune(500, 4), 1, "the first is older than four days");
        assert_eq!(prune(250, 30), 2, "two of 100 bytes fit");
        assert_eq!(
            names(folder.path()),
            [
                "notes.txt",
                &day(4),
                &day(5),
                "transactions-old.ndjson",
                "transactions.ndjson"
            ]
        );
    }
}
