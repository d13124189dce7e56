//! The one task that follows the key file: it reads, checks, builds and publishes, and keeps the last good
//! table whatever happens to the file. Runs on the control plane; workers only ever see a new pointer.
//! Not for: noticing a change (`watch`), the file's text (`format`).

mod say;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::health::Health;
use crate::key::live::KeyPublisher;
use crate::key::live::KeyReader;
use crate::key::live::publish;
use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::metrics::Metrics;
use crate::metrics::Reload;
use crate::problem::Problem;
use crate::store::file::make_if_absent;
use crate::store::file::read_whole;
use crate::store::format;
use crate::store::format::KeyFile;
use crate::store::format::Memory;
use crate::store::format::TokenFile;
use crate::store::reload::say::in_two;
use crate::store::reload::say::log_problems;
use crate::store::reload::say::log_warnings;
use crate::store::reload::say::problem;
use crate::store::reload::say::unusable;
use crate::store::reload::say::warn_if_readable_by_others;
use crate::watch::Watch;

/// Callers of `reload` that may wait in line.
const REQUESTS_MAX: usize = 16;
/// The word in `health`.
const CAUSE: &str = "keys";

/// What is known of the key file, for status pages.
#[derive(Clone, Debug)]
pub struct ReloadStatus {
    /// The file.
    pub file: PathBuf,
    /// The revision in force.
    pub revision: Revision,
    /// Since when it has been in force.
    pub loaded_at: Timestamp,
    /// Why the file as it is now is not in force; empty: it is.
    pub problems: Vec<Problem>,
    /// What works and should be better.
    pub warnings: Vec<Problem>,
}

/// The key file as it was at the start.
#[derive(Debug)]
pub struct Initial {
    file: PathBuf,
    watch: Watch,
    keys: KeyFile,
    memory: Memory,
    /// The permission bits of the file.
    mode: u32,
}

impl Initial {
    /// The keys that were read.
    #[must_use]
    pub const fn table(&self) -> &KeyTable {
        &self.keys.table
    }

    /// What works and should be better.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.keys.warnings
    }
}

/// Reads the key file at the start. One that nobody `configured` and that is absent is made, empty.
///
/// # Errors
/// All that is wrong with the file. There is no last good table yet, so nothing may start.
pub fn load_initial(file: &Path, configured: bool) -> Result<Initial, Vec<Problem>> {
    // Before reading: a change in between is told, not missed.
    let watch = Watch::start(vec![file.to_owned()]);
    if !configured {
        make_if_absent(file)
            .map_err(|error| vec![unusable(file, "cannot make the key file", &error)])?;
    }
    let mut memory = Memory::default();
    let (keys, mode) = load(file, &mut memory)?;
    Ok(Initial {
        file: file.to_owned(),
        watch,
        keys,
        memory,
        mode,
    })
}

/// Reads and checks the key file, for whoever only wants to know whether it is right.
///
/// # Errors
/// All that is wrong with the file.
pub fn check(file: &Path) -> Result<KeyFile, Vec<Problem>> {
    load(file, &mut Memory::default()).map(|(keys, _)| keys)
}

fn load(file: &Path, memory: &mut Memory) -> Result<(KeyFile, u32), Vec<Problem>> {
    let (bytes, mode, _) = read_whole(file)
        .map_err(|error| vec![unusable(file, "cannot read the key file", &error)])?;
    Ok((format::parse(file, &bytes, memory)?, mode))
}

/// Asks for a reload and tells what came of the last one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    requests: mpsc::Sender<oneshot::Sender<Result<Revision, Vec<Problem>>>>,
    status: Arc<ArcSwap<ReloadStatus>>,
}

impl ReloadHandle {
    /// Reads the file now, whether or not it seems to have changed, and answers when its keys are live.
    ///
    /// # Errors
    /// What is wrong with the file; the last good keys stay in force.
    pub async fn reload(&self) -> Result<Revision, Vec<Problem>> {
        let (answer, answered) = oneshot::channel();
        let file = self.status.load().file.clone();
        let stopped = || vec![problem(&file, "the program is stopping".to_owned(), None)];
        self.requests.send(answer).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// What is in force, and what is wrong.
    #[must_use]
    pub fn status(&self) -> Arc<ReloadStatus> {
        self.status.load_full()
    }
}

/// Follows the key file.
#[derive(Debug)]
pub struct Reloader {
    file: PathBuf,
    watch: Watch,
    publisher: KeyPublisher,
    /// The last reading: what it knew, and the files that tokens came from.
    memory: Memory,
    token_files: Vec<TokenFile>,
    mode: u32,
    requests: mpsc::Receiver<oneshot::Sender<Result<Revision, Vec<Problem>>>>,
    status: Arc<ArcSwap<ReloadStatus>>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    clock: Clock,
}

impl Reloader {
    /// Publishes the first table. [`Reloader::run`] follows the file from then on.
    #[must_use]
    pub fn new(
        initial: Initial,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        clock: Clock,
    ) -> (Self, ReloadHandle, KeyReader) {
        let Initial {
            file,
            mut watch,
            keys,
            memory,
            mode,
        } = initial;
        let KeyFile {
            table,
            token_files,
            warnings,
        } = keys;
        let now = clock.wall();
        let status = ReloadStatus {
            file: file.clone(),
            revision: *table.revision(),
            loaded_at: now,
            problems: Vec::new(),
            warnings,
        };
        log_warnings(&status.warnings);
        warn_if_readable_by_others(&file, mode);
        tracing::info!(file = %file.display(), keys = table.len(), revision = %table.revision(), "keys loaded");
        metrics.reloaded(Reload::Success, now);
        watch.set_files(watched(&file, &token_files));
        let status = Arc::new(ArcSwap::from_pointee(status));
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let (publisher, reader) = publish(table);
        let handle = ReloadHandle {
            requests: sender,
            status: Arc::clone(&status),
        };
        let reloader = Self {
            file,
            watch,
            publisher,
            memory,
            token_files,
            mode,
            requests,
            status,
            metrics,
            health,
            clock,
        };
        (reloader, handle, reader)
    }

    /// Follows the file until the last handle is gone.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.watch.changed() => {
                    let _ = self.reload(false).await; // it was said in log, metric, health and status
                }
                request = self.requests.recv() => match request {
                    Some(answer) => {
                        let result = self.reload(true).await;
                        let _ = answer.send(result); // who asked may have left
                    }
                    None => return,
                },
            }
        }
    }

    /// Reads the file, and publishes what is new in it. `asked`: by somebody, so the log answers even when nothing
    /// changed.
    async fn reload(&mut self, asked: bool) -> Result<Revision, Vec<Problem>> {
        let (file, in_force) = (self.file.clone(), self.status.load().revision);
        let (mut memory, token_files) =
            (std::mem::take(&mut self.memory), self.token_files.clone());
        // Parsing takes milliseconds, and seconds for a million keys: other control-plane tasks go on.
        let task = tokio::task::spawn_blocking(move || {
            let outcome = read(&file, &in_force, &token_files, &mut memory);
            (outcome, memory)
        });
        let outcome = match task.await {
            Ok((outcome, memory)) => {
                self.memory = memory;
                outcome
            }
            Err(error) => Err(vec![problem(
                &self.file,
                format!("reading the key file ended abnormally: {error}"),
                None,
            )]),
        };
        match outcome {
            Ok(News {
                keys,
                mode,
                changed,
            }) => {
                if mode != self.mode {
                    self.mode = mode;
                    warn_if_readable_by_others(&self.file, mode);
                }
                match keys {
                    Some(keys) => self.publish(keys, changed).await,
                    None => self.unchanged(asked),
                }
                Ok(self.status.load().revision)
            }
            Err(problems) => {
                self.failed(&problems);
                Err(problems)
            }
        }
    }

    async fn publish(&mut self, keys: KeyFile, changed: Timestamp) {
        let KeyFile {
            table,
            token_files,
            warnings,
        } = keys;
        let (count, revision) = (table.len(), *table.revision());
        let old = self.publisher.publish(table);
        let now = self.clock.wall();
        let lag = u64::try_from(now.as_micros() - changed.as_micros()).unwrap_or(0);
        self.metrics.revocation_lag(Duration::from_micros(lag));
        self.metrics.reloaded(Reload::Success, now);
        self.health.restore(CAUSE);
        tracing::info!(file = %self.file.display(), keys = count, %revision, lag_us = lag, "keys reloaded");
        log_warnings(&warnings);
        self.watch.set_files(watched(&self.file, &token_files));
        self.token_files = token_files;
        let file = self.file.clone();
        self.status.store(Arc::new(ReloadStatus {
            file,
            revision,
            loaded_at: now,
            problems: Vec::new(),
            warnings,
        }));
        let last_owner = async {
            // Requests hold a table for microseconds. Whoever lets go of it last pays for dropping it, and that
            // should not be a request.
            while Arc::strong_count(&old) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(50), last_owner).await;
    }

    /// The file says what is in force already; perhaps it did not a moment ago.
    fn unchanged(&self, asked: bool) {
        let status = self.status.load_full();
        if !status.problems.is_empty() {
            self.metrics.reloaded(Reload::Success, self.clock.wall());
            self.health.restore(CAUSE);
            self.status.store(Arc::new(ReloadStatus {
                problems: Vec::new(),
                ..(*status).clone()
            }));
            tracing::info!(file = %self.file.display(), revision = %status.revision, "the key file is as it was before");
        } else if asked {
            tracing::info!(file = %self.file.display(), revision = %status.revision, "the key file is unchanged");
        }
    }

    fn failed(&self, problems: &[Problem]) {
        log_problems(problems);
        self.metrics.reloaded(Reload::Failure, self.clock.wall());
        let first = problems
            .first()
            .map(|problem| in_two(problem).0)
            .unwrap_or_default();
        let others = problems.len().saturating_sub(1);
        let more = if others == 0 {
            String::new()
        } else {
            format!(" (and {others} more)")
        };
        self.health.degrade(
            CAUSE,
            format!("the last good keys stay in force: {first}{more}"),
        );
        let status = self.status.load_full();
        self.status.store(Arc::new(ReloadStatus {
            problems: problems.to_vec(),
            ..(*status).clone()
        }));
    }
}

/// What reading the file brought.
struct News {
    /// None: nothing new.
    keys: Option<KeyFile>,
    mode: u32,
    /// When the file last changed.
    changed: Timestamp,
}

fn read(
    file: &Path,
    in_force: &Revision,
    token_files: &[TokenFile],
    memory: &mut Memory,
) -> Result<News, Vec<Problem>> {
    let (bytes, mode, changed) = read_whole(file)
        .map_err(|error| vec![unusable(file, "cannot read the key file", &error)])?;
    let revision = Revision::of(&bytes);
    let same = revision == *in_force && !token_files.iter().any(TokenFile::has_changed);
    let keys = if same {
        None
    } else {
        Some(format::parse_revision(file, &bytes, revision, memory)?)
    };
    Ok(News {
        keys,
        mode,
        changed,
    })
}

/// The key file and all that it draws on.
fn watched(file: &Path, token_files: &[TokenFile]) -> Vec<PathBuf> {
    std::iter::once(file.to_owned())
        .chain(token_files.iter().map(|file| file.path.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
