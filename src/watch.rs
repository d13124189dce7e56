//! Notice that files changed. What the kernel tells is a hint, never the truth: every two seconds the files
//! are looked at as well, and whoever is told reads them and compares. Knows when a file is *at rest*, so that
//! nobody reads what is still being written. Not for: reading the files, and deciding what a change means.
//!
//! The kernel watches the folders (an editor renames, the kubelet swaps `..data`), the folders of what links
//! point to, and the files themselves (a single bind-mounted file changes without a word to its folder). A
//! folder or file that is replaced is followed at the next look.
//!
//! At rest means: the kernel said that a writer closed the file or that a whole one was renamed into its
//! place, and then waiting would only cost time; or else that nothing moved for half a second. A file that was
//! cut at an entry's end is a correct file with fewer keys, so a slow writer must not be read half-way.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::time::Duration;

use notify::Event;
use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher;
use notify::event::AccessKind;
use notify::event::AccessMode;
use notify::event::ModifyKind;
use notify::event::RenameMode;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio::time::timeout;

/// How often the files are looked at without any hint.
pub const POLL: Duration = Duration::from_secs(2);
/// What belongs together arrives within this: an editor's rename, its permissions, its backup.
const DEBOUNCE: Duration = Duration::from_millis(3);
/// A file of which nobody says that it is complete is taken for complete after this.
const QUIET: Duration = Duration::from_millis(500);
/// Links that lead to links.
const LINKS_MAX: usize = 8;

/// One of the files moved.
const MOVED: u8 = 1;
/// And it is complete: closed by its writer, or renamed into its place.
const COMPLETE: u8 = 2;

/// Watches some files.
pub struct Watch {
    files: Vec<PathBuf>,
    seen: Vec<Option<Identity>>,
    /// Something moved and is not known to be at rest.
    restless: bool,
    hints: Arc<Hints>,
    /// None: the kernel has no more watches to give, and the looks are all there is.
    kernel: Option<RecommendedWatcher>,
    /// What the kernel watches, and which file or folder that was.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    warned: bool,
}

/// What the kernel told since somebody asked.
#[derive(Default)]
struct Hints {
    what: AtomicU8,
    /// Names of the files and of the links that lead to them.
    names: Mutex<Vec<OsString>>,
    wake: Notify,
}

/// What changes when a file changes: which file it is, its length, its times.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    file: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Watch {
    /// Watches `files`, which need not exist yet. What they are at this moment is what changes are told from:
    /// start before reading them.
    #[must_use]
    pub fn start(files: Vec<PathBuf>) -> Self {
        let hints = Arc::new(Hints::default());
        let listener = Arc::clone(&hints);
        let kernel = notify::recommended_watcher(move |event| listener.note(event));
        let mut watch = Self {
            files,
            seen: Vec::new(),
            restless: false,
            hints,
            kernel: None,
            watched: BTreeMap::new(),
            warned: false,
        };
        match kernel {
            Ok(kernel) => watch.kernel = Some(kernel),
            Err(error) => watch.warn(&error),
        }
        watch.follow();
        watch.seen = watch.look();
        watch
    }

    /// Watches these files from now on. Those that were watched before keep what is known of them.
    pub fn set_files(&mut self, files: Vec<PathBuf>) {
        if files == self.files {
            return;
        }
        let seen =
            files.iter().map(
                |file| match self.files.iter().position(|known| known == file) {
                    Some(index) => self.seen[index],
                    None => look_at(file),
                },
            );
        self.seen = seen.collect();
        self.files = files;
        self.follow();
    }

    /// Returns when one of the files changed, or may have, and all are at rest. Can be dropped and called again
    /// without missing anything.
    pub async fn changed(&mut self) {
        loop {
            let wait = if self.restless { QUIET } else { POLL };
            let mut hinted = self.hints.what.load(Ordering::Acquire) != 0;
            if !hinted {
                hinted = timeout(wait, self.hints.wake.notified()).await.is_ok();
            }
            if hinted {
                sleep(DEBOUNCE).await;
            }
            let hint = self.hints.what.swap(0, Ordering::AcqRel);
            self.follow();
            let seen = self.look();
            let moved = seen != self.seen;
            self.seen = seen;
            let was_restless = self.restless;
            self.restless |= moved || hint & MOVED != 0;
            let complete = hint & COMPLETE != 0;
            let quiet = was_restless && !moved && !hinted;
            if self.restless && (complete || quiet) {
                self.restless = false;
                return;
            }
        }
    }

    fn look(&self) -> Vec<Option<Identity>> {
        self.files.iter().map(|file| look_at(file)).collect()
    }

    /// Brings the kernel's watches up to date: folders and files may have been replaced, links may lead elsewhere.
    fn follow(&mut self) {
        let mut names = Vec::new();
        let mut wanted = BTreeMap::new();
        for file in &self.files {
            for step in steps(file) {
                names.extend(step.file_name().map(OsString::from));
                let folder = step
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty())
                    .unwrap_or_else(|| Path::new("."));
                for path in [folder, &step] {
                    if let Ok(metadata) = path.metadata() {
                        wanted.insert(path.to_owned(), (metadata.dev(), metadata.ino()));
                    }
                }
            }
        }
        *self
            .hints
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = names;
        let Some(kernel) = &mut self.kernel else {
            return;
        };
        let gone = self
            .watched
            .iter()
            .filter(|(path, file)| wanted.get(*path) != Some(*file));
        for path in gone.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            // An error says that the kernel has noticed as well.
            let _ = kernel.unwatch(&path);
            self.watched.remove(&path);
        }
        let mut failure = None;
        for (path, file) in wanted {
            if self.watched.contains_key(&path) {
                continue;
            }
            match kernel.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path, file);
                }
                // Gone again since it was looked at: the next look will tell.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            self.warn(&error);
        }
    }

    /// Says once that changes are noticed later than they could be.
    fn warn(&mut self, error: &notify::Error) {
        if !self.warned {
            self.warned = true;
            tracing::warn!(
                %error,
                hint = "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances",
                "the kernel does not watch all files: changes are noticed within {} seconds", POLL.as_secs()
            );
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("files", &self.files)
            .field("watched", &self.watched)
            .finish_non_exhaustive()
    }
}

impl Hints {
    /// Called on the watcher's own thread.
    fn note(&self, event: notify::Result<Event>) {
        let Ok(event) = event else {
            self.what.fetch_or(MOVED, Ordering::AcqRel); // events were lost: look
            self.wake.notify_one();
            return;
        };
        let hint = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => {
                MOVED | COMPLETE
            }
            // Reading is no change, and keygate's own reading would wake it for ever.
            EventKind::Access(_) => return,
            EventKind::Modify(ModifyKind::Data(_)) => MOVED,
            _ => 0,
        };
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = event
            .paths
            .iter()
            .filter_map(|path| path.file_name())
            .any(|name| names.iter().any(|ours| ours == name));
        drop(names);
        if is_ours {
            if hint == MOVED {
                // A writer is at it again: what was complete no longer is.
                self.what.store(MOVED, Ordering::Release);
            } else {
                self.what.fetch_or(hint, Ordering::AcqRel);
            }
        }
        self.wake.notify_one();
    }
}

fn look_at(file: &Path) -> Option<Identity> {
    file.metadata().ok().as_ref().map(Identity::of)
}

/// The file, and every path on the way to what it links to, `..data` of the kubelet's volumes included.
fn steps(file: &Path) -> Vec<PathBuf> {
    let mut steps = vec![file.to_owned()];
    let mut at = file.to_owned();
    while steps.len() < LINKS_MAX
        && let Ok(target) = at.read_link()
    {
        let folder = at.parent().unwrap_or_else(|| Path::new("")).to_owned();
        // `keys.yaml -> ..data/keys.yaml`: the swap renames `..data` in this folder.
        if target.is_relative() && target.components().count() > 1 {
            steps.extend(target.components().next().map(|first| folder.join(first)));
        }
        at = folder.join(target);
        steps.push(at.clone());
    }
    steps.extend(file.canonicalize());
    steps
}

#[cfg(test)]
mod tests;
