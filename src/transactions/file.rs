//! `transactions.ndjson`: one write a batch of whole lines, appended; closed and renamed when it is large or
//! old. Whatever happens to it from outside – moved, deleted with its folder, the disk full – whole lines go
//! on being written as soon as that is possible, a line is never torn in the middle of the file, and what was
//! lost is known to the line. Not for: the names of closed files and their end, see `closed`.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config;
use crate::config::Durability;
use crate::config::WhenFull;
use crate::health::Health;
use crate::transactions::closed;
use crate::transactions::line::LINE_START;
use crate::transactions::line::TIME_END;
use crate::transactions::writer::LineSink;

/// The name of the file that is being written.
pub(super) const FILE_NAME: &str = "transactions.ndjson";
/// How long a broken file is left alone before it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often closed files are looked through for their age, when none is closed in the meantime.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// How often they are looked through for their size while one file fills up.
const PRUNES_PER_FILE: u64 = 16;
/// How long after a loss by overrun the log counts as degraded.
const OVERRUN_SHOWN: Duration = Duration::from_secs(60);
/// What [`Health`] calls a log that loses lines.
const CAUSE: &str = "transactions";

/// The file, open or waiting to be.
#[derive(Debug)]
pub(super) struct FileSink {
    path: PathBuf,
    rotate_size: u64,
    rotate_age: Duration,
    keep_size: u64,
    keep_age: Duration,
    /// Lines are on the disk when they count as written.
    syncs: bool,
    when_full: WhenFull,
    clock: Clock,
    health: Arc<Health>,
    open: Option<Open>,
    /// Since it broke: when it is tried again.
    retry_at: Option<Instant>,
    next_prune: Option<Instant>,
    /// The size of the open file at which they are looked through for their size.
    prune_at: u64,
    /// When lines last were lost on their way here.
    overrun_at: Option<Instant>,
    /// Closing or pruning failed and that was said; said again once it has worked in between.
    upkeep_failed: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    device_and_inode: (u64, u64),
    size: u64,
    /// When its first line was begun.
    begun: Timestamp,
    /// It ends inside a line.
    is_torn: bool,
}

impl Open {
    /// Of `written`, which went to the end of what was `size` bytes long, the begun line goes again; where
    /// that fails too, a newline will end it. Returns how many whole lines stay.
    fn take_back(&mut self, size: u64, written: &[u8]) -> u64 {
        let whole = memchr::memrchr(b'\n', written).map_or(0, |last| last + 1);
        self.is_torn = whole < written.len() && self.file.set_len(size + whole as u64).is_err();
        count_lines(&written[..whole])
    }
}

impl FileSink {
    /// Makes the folder and opens the file.
    pub(super) fn open(
        config: &config::Transactions,
        clock: Clock,
        health: Arc<Health>,
    ) -> Result<Self, (PathBuf, io::Error)> {
        let mut sink = Self {
            path: config.dir.join(FILE_NAME),
            rotate_size: config.rotate_size,
            rotate_age: config.rotate_age,
            keep_size: config.keep_size,
            keep_age: config.keep_age,
            syncs: config.durability == Durability::Synced,
            when_full: config.when_full,
            clock,
            health,
            open: None,
            retry_at: None,
            next_prune: None,
            prune_at: 0,
            overrun_at: None,
            upkeep_failed: false,
        };
        match sink.reopen_file() {
            Ok(()) => Ok(sink),
            Err(cause) => Err((sink.path, cause)),
        }
    }

    fn reopen_file(&mut self) -> io::Result<()> {
        self.open = None;
        if self.path.is_symlink() {
            // Closing it would rename the link, and what it leads to would never be closed.
            return Err(io::Error::other(
                "it is a link: let transactions.dir be the folder that it leads to",
            ));
        }
        if let Some(folder) = self.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let size = metadata.len();
        if self.syncs
            && size == 0
            && let Some(folder) = self.path.parent()
        {
            // A file is on the disk when its name is, too, and that of its folder.
            for folder in folder.ancestors().take(2) {
                File::open(folder)?.sync_all()?;
            }
        }
        let mut last = [b'\n'];
        if size > 0 {
            file.read_exact_at(&mut last, size - 1)?;
        }
        self.open = Some(Open {
            device_and_inode: (metadata.dev(), metadata.ino()),
            size,
            begun: first_time(&file).unwrap_or_else(|| self.clock.wall()),
            is_torn: last != [b'\n'],
            file,
        });
        Ok(())
    }

    /// The open file, if it still is the one under its name; opened anew otherwise.
    fn current(&mut self) -> io::Result<&mut Open> {
        let found = fs::metadata(&self.path).ok();
        let same = self.open.as_mut().zip(found).is_some_and(|(open, found)| {
            open.size = found.len();
            open.device_and_inode == (found.dev(), found.ino())
        });
        if !same {
            self.reopen_file()?;
        }
        Ok(self
            .open
            .as_mut()
            .expect("it is open or the line above returned"))
    }

    /// Closes the file and begins a new one, when it is too large for `more` bytes or too old.
    fn rotate_if_due(&mut self, more: u64) -> io::Result<()> {
        let (now, rotate_size, rotate_age) = (self.clock.wall(), self.rotate_size, self.rotate_age);
        let open = self.current()?;
        if open.size == 0 {
            open.begun = now; // however long it has waited for its first line
            return Ok(());
        }
        if open.size.saturating_add(more) <= rotate_size && open.begun.plus(rotate_age) > now {
            return Ok(());
        }
        // When it cannot be closed, it is written on: no line is lost for that.
        let closed = closed::close(&self.path, now); // also if the clock was set back
        if self.upkeep(
            "cannot close the transaction log",
            closed.as_ref().map(|_| ()),
        ) {
            (self.next_prune, self.prune_at) = (None, 0);
            self.reopen_file()?;
        }
        Ok(())
    }

    fn prune_if_due(&mut self) {
        let now = self.clock.now();
        let size = self.open.as_ref().map_or(0, |open| open.size);
        if size < self.prune_at && self.next_prune.is_some_and(|at| now < at) {
            return;
        }
        self.next_prune = Some(now + PRUNE_EVERY);
        self.prune_at = size + self.rotate_size / PRUNES_PER_FILE;
        if let Some(folder) = self.path.parent() {
            let room = self.keep_size.saturating_sub(size);
            let pruned = closed::prune(folder, self.clock.wall(), room, self.keep_age);
            self.upkeep(
                "cannot delete old transaction logs",
                pruned.as_ref().map(|_| ()),
            );
        }
    }

    /// Whether it worked; says so once if it did not.
    fn upkeep(&mut self, what: &'static str, result: Result<(), &io::Error>) -> bool {
        if let Err(error) = result
            && !self.upkeep_failed
        {
            tracing::warn!(path = %self.path.display(), %error, "{what}");
        }
        self.upkeep_failed = result.is_err();
        !self.upkeep_failed
    }

    /// Appends whole lines; returns how many got in.
    fn append(&mut self, bytes: &[u8]) -> (u64, io::Result<()>) {
        let syncs = self.syncs;
        let open = match self
            .rotate_if_due(bytes.len() as u64)
            .and_then(|()| self.current())
        {
            Ok(open) => open,
            Err(error) => return (0, Err(error)),
        };
        if open.is_torn {
            if let Err(error) = open.file.write_all(b"\n") {
                return (0, Err(error));
            }
            (open.is_torn, open.size) = (false, open.size + 1);
        }
        let (written, result) = write_what_fits(&mut &open.file, bytes);
        let lines = match &result {
            Ok(()) => count_lines(bytes),
            Err(_) => open.take_back(open.size, &bytes[..written]),
        };
        if syncs
            && lines > 0
            && let Err(error) = open.file.sync_data()
        {
            // What became of it nobody knows: a later sync may succeed without it. Better written twice than not at all.
            open.is_torn = open.file.set_len(open.size).is_err();
            return (0, Err(error));
        }
        if result.is_ok() {
            open.size += written as u64;
        }
        (lines, result)
    }

    fn broke(&mut self, error: &io::Error) {
        if self.retry_at.is_none() {
            let path = self.path.display();
            let so = match self.when_full {
                WhenFull::Drop => "they are dropped and counted",
                WhenFull::Wait => "requests wait until they can be written",
                WhenFull::Refuse => "new requests are answered 503, running ones wait",
            };
            tracing::error!(%path, %error, "cannot write transactions: {so}");
            let why = format!("cannot write transactions: {path}: {error}; {so}");
            self.health.degrade(CAUSE, why);
        }
        self.retry_at = Some(self.clock.now() + RETRY_AFTER);
    }

    fn works(&mut self) {
        if self.retry_at.take().is_some() {
            tracing::info!(path = %self.path.display(), "transactions are written again");
            self.overrun_at = None;
            self.health.restore(CAUSE);
        }
    }

    /// Tells for a while that lines came faster than they could be written, and then that it is over. What a
    /// broken file lost is told by [`FileSink::broke`].
    fn note_overrun(&mut self, lost: u64) {
        if self.retry_at.is_some() {
            return;
        }
        let now = self.clock.now();
        if lost > 0 {
            self.overrun_at = Some(now);
            let why = format!(
                "transactions come faster than they can be written: {lost} were dropped last"
            );
            self.health.degrade(CAUSE, why);
        } else if self.overrun_at.is_some_and(|at| now >= at + OVERRUN_SHOWN) {
            self.overrun_at = None;
            self.health.restore(CAUSE);
        }
    }

    /// Whether it was tried just now. Who holds its lines chooses the time of each try itself.
    fn is_left_alone(&self) -> bool {
        let holds = self.when_full != WhenFull::Drop;
        !holds && self.retry_at.is_some_and(|at| self.clock.now() < at)
    }
}

impl LineSink for FileSink {
    fn write(&mut self, lines: &mut Vec<u8>, lost: u64) -> u64 {
        if self.is_left_alone() {
            return 0;
        }
        self.note_overrun(lost);
        if lost > 0 {
            tell_lost(lines, lost);
        }
        let (written, result) = self.append(lines);
        match result {
            Ok(()) => self.works(),
            Err(error) => self.broke(&error),
        }
        self.prune_if_due();
        written
    }

    fn reopen(&mut self) {
        if let Err(error) = self.reopen_file() {
            self.broke(&error);
        }
    }

    fn idle(&mut self) {
        self.note_overrun(0);
        if !self.is_left_alone() {
            // Also re-creates what was deleted; whether lines can be written, only a line can tell.
            if let Err(error) = self.rotate_if_due(0) {
                self.broke(&error);
            }
        }
        self.prune_if_due();
    }
}

/// Says in the first of `lines` how many were lost before it: a field behind its time.
fn tell_lost(lines: &mut Vec<u8>, lost: u64) {
    if lines.get(TIME_END) == Some(&b',') {
        lines.splice(TIME_END..TIME_END, format!(",\"lost\":{lost}").into_bytes());
    }
}

/// When the first line of the file was begun: the age of a file that an earlier process left.
pub(super) fn first_time(file: &File) -> Option<Timestamp> {
    let mut start = [0; TIME_END];
    file.read_exact_at(&mut start, 0).ok()?;
    let start = std::str::from_utf8(&start).ok()?;
    Timestamp::parse(start.strip_prefix(LINE_START)?.strip_suffix('"')?).ok()
}

/// Like `write_all`, but tells how far it came.
pub(super) fn write_what_fits(to: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// How many lines end in `bytes`.
pub(super) fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests;
