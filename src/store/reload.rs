//! The one task that follows the keys: it loads, edits and publishes, one thing after the other, and keeps the last
//! good table whatever happens to the store. Runs on the control plane; workers only ever see a new pointer.
//! Not for: noticing a change (`watch`), the file and its text (`file`, `format`).
//!
//! **When is an edit live on every worker?** As soon as it is published. Publishing is one atomic swap of the pointer
//! that all workers share, none of them keeps a table from one request to the next, and each looks a token up after
//! it has received the head that carries it. So a head that is received after the swap, on whatever worker and
//! connection, is judged by the new table; there is nobody to wait for.

mod handle;
mod say;
mod start;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

pub use crate::store::reload::handle::ReloadHandle;
pub use crate::store::reload::handle::ReloadStatus;
pub use crate::store::reload::start::Initial;
pub use crate::store::reload::start::check;
pub use crate::store::reload::start::load_initial;

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
use crate::store::FileStore;
use crate::store::KeyChanges;
use crate::store::KeyStore;
use crate::store::Keys;
use crate::store::Loaded;
use crate::store::edit::EditError;
use crate::store::edit::KeyEdit;
use crate::store::reload::handle::REQUESTS_MAX;
use crate::store::reload::handle::Request;
use crate::store::reload::say::in_short;
use crate::store::reload::say::log_problems;
use crate::store::reload::say::log_warnings;
use crate::store::reload::say::problem;

/// The word in `health`.
const CAUSE: &str = "keys";
/// Requests hold a table for microseconds; after this, whoever lets go of it last drops it.
const LAST_OWNER_PATIENCE: Duration = Duration::from_millis(50);

/// Why other keys were published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The store was found changed: a hand edit, another program, a token file.
    Noticed,
    /// The same, found because somebody asked for a reload.
    Asked,
    /// By [`ReloadHandle::apply`].
    Applied,
}

/// A publication, for who keeps a record of changes: [`difference()`](crate::store::difference()) tells what is new in it.
#[derive(Clone, Debug)]
pub struct Published {
    /// Why.
    pub cause: Cause,
    /// The keys that were in force before.
    pub old: Arc<KeyTable>,
    /// The keys in force from then on.
    pub new: Arc<KeyTable>,
}

type Observer = Arc<dyn Fn(&Published) + Send + Sync>;

/// Follows a store, and publishes what is in it.
pub struct Reloader<S: KeyStore = FileStore> {
    /// Used on blocking threads only, by one of them at a time.
    store: Arc<Mutex<S>>,
    changes: S::Changes,
    place: PathBuf,
    publisher: KeyPublisher,
    reader: KeyReader,
    observer: Option<Observer>,
    /// What was published and not yet told.
    untold: Option<Published>,
    requests: mpsc::Receiver<Request>,
    status: Arc<ArcSwap<ReloadStatus>>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    clock: Clock,
}

impl<S: KeyStore> Reloader<S> {
    /// Publishes the first table. [`Reloader::run`] follows the store from then on.
    #[must_use]
    pub fn new(
        initial: Initial<S>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        clock: Clock,
    ) -> (Self, ReloadHandle, KeyReader) {
        let Initial {
            mut store,
            changes,
            keys,
        } = initial;
        store.tidy();
        let (place, now) = (store.place().to_owned(), clock.wall());
        let revision = *keys.table.revision();
        log_warnings(&keys.warnings);
        tracing::info!(file = %place.display(), keys = keys.table.len(), %revision, "keys loaded");
        metrics.reloaded(Reload::Success, now);
        let status = Arc::new(ArcSwap::from_pointee(ReloadStatus {
            file: place.clone(),
            revision,
            loaded_at: now,
            read_only: store.is_read_only(),
            problems: Vec::new(),
            warnings: keys.warnings,
        }));
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let (publisher, reader) = publish(keys.table);
        let handle = ReloadHandle {
            requests: sender,
            status: Arc::clone(&status),
        };
        let reloader = Self {
            store: Arc::new(Mutex::new(store)),
            changes,
            place,
            publisher,
            reader: reader.clone(),
            observer: None,
            untold: None,
            requests,
            status,
            metrics,
            health,
            clock,
        };
        (reloader, handle, reader)
    }

    /// Tells `observer` about every publication after the first, in their order, none left out. It is called on a
    /// thread that may block, after the new keys are live and whoever asked for them has been answered; the next
    /// reload or edit waits for it.
    #[must_use]
    pub fn observed_by(self, observer: impl Fn(&Published) + Send + Sync + 'static) -> Self {
        Self {
            observer: Some(Arc::new(observer)),
            ..self
        }
    }

    /// Follows the store until the last handle is gone.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.changes.changed() => {
                    let _ = self.load(Cause::Noticed).await; // it was said in log, metric, health and status
                }
                request = self.requests.recv() => match request {
                    Some(request) => self.obey(request).await,
                    None => return,
                },
            }
            self.tell().await;
        }
    }

    /// Does what is asked for, and answers. Who asked may have left by then.
    async fn obey(&mut self, request: Request) {
        match request {
            Request::Reload { answer } => {
                let result = self.load(Cause::Asked).await;
                let _ = answer.send(result);
            }
            Request::Apply {
                edits,
                expected,
                answer,
            } => {
                let result = self.apply(edits, expected).await;
                let _ = answer.send(result);
            }
            Request::Reveal { id, answer } => {
                let found = self.in_store(move |store| store.reveal(&id)).await;
                let _ = answer.send(found.unwrap_or_else(|problem| Err(broken(problem))));
            }
        }
    }

    /// Works with the store where waiting for a disk holds nobody up. Parsing takes milliseconds, and seconds for a
    /// million keys. An error: it panicked, and the store is as it was.
    async fn in_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let store = Arc::clone(&self.store);
        let task =
            spawn_blocking(move || work(&mut store.lock().unwrap_or_else(PoisonError::into_inner)));
        task.await.map_err(|error| {
            let what = format!("working with the key file ended abnormally: {error}");
            problem(&self.place, what, None)
        })
    }

    /// Loads the keys, and publishes them if they are others.
    async fn load(&mut self, cause: Cause) -> Result<Revision, Vec<Problem>> {
        let in_force = self.status.load().revision;
        let loaded = self
            .in_store(move |store| (store.load(Some(&in_force)), store.is_read_only()))
            .await;
        let loaded = loaded.map(|(loaded, read_only)| {
            self.note(read_only);
            loaded
        });
        match loaded.unwrap_or_else(|problem| Err(vec![problem])) {
            Ok(Loaded::Keys { keys, changed }) => {
                let (count, revision) = (keys.table.len(), *keys.table.revision());
                self.publish(keys, cause);
                let now = self.clock.wall();
                let lag = lag(changed, now);
                self.metrics.revocation_lag(lag);
                self.metrics.reloaded(Reload::Success, now);
                tracing::info!(file = %self.place.display(), keys = count, %revision, lag_us = lag.as_micros(), "keys reloaded");
                log_warnings(&self.status.load().warnings);
                Ok(revision)
            }
            Ok(Loaded::Unchanged) => {
                self.unchanged(cause);
                Ok(in_force)
            }
            Err(problems) => {
                self.failed(&problems);
                Err(problems)
            }
        }
    }

    async fn apply(
        &mut self,
        edits: Vec<KeyEdit>,
        expected: Revision,
    ) -> Result<Revision, EditError> {
        let count = edits.len();
        let applied = self.in_store(move |store| store.apply(&edits, &expected));
        let keys = applied
            .await
            .unwrap_or_else(|problem| Err(broken(problem)))?;
        let revision = *keys.table.revision();
        if !Arc::ptr_eq(&keys.table, &self.reader.load_full()) {
            tracing::info!(file = %self.place.display(), edits = count, keys = keys.table.len(), %revision, "keys edited");
            self.publish(keys, Cause::Applied);
        }
        Ok(revision)
    }

    /// Whether edits are possible.
    fn note(&self, read_only: bool) {
        let status = self.status.load_full();
        if status.read_only != read_only {
            self.status.store(Arc::new(ReloadStatus {
                read_only,
                ..(*status).clone()
            }));
        }
    }

    /// From here on the keys are live.
    fn publish(&mut self, keys: Keys, cause: Cause) {
        self.changes.follow(&keys);
        let new = Arc::clone(&keys.table);
        let old = self.publisher.publish(keys.table);
        self.health.restore(CAUSE);
        let read_only = self.status.load().read_only;
        self.status.store(Arc::new(ReloadStatus {
            file: self.place.clone(),
            revision: *new.revision(),
            loaded_at: self.clock.wall(),
            read_only,
            problems: Vec::new(),
            warnings: keys.warnings,
        }));
        self.untold = Some(Published { cause, old, new });
    }

    /// Tells the observer what was published, and lets go of the old table: dropping a million keys takes a while, and
    /// nobody who serves requests should be the one who does it.
    async fn tell(&mut self) {
        let Some(published) = self.untold.take() else {
            return;
        };
        let observer = self.observer.clone();
        let told = spawn_blocking(move || {
            if let Some(observer) = observer {
                observer(&published);
            }
            published.old
        });
        let Ok(old) = told.await else {
            tracing::error!("recording a change of the keys ended abnormally");
            return;
        };
        let last_owner = async {
            while Arc::strong_count(&old) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(LAST_OWNER_PATIENCE, last_owner).await;
        drop(spawn_blocking(move || drop(old)));
    }

    /// The store says what is in force already; perhaps it did not a moment ago.
    fn unchanged(&self, cause: Cause) {
        let status = self.status.load_full();
        if !status.problems.is_empty() {
            self.metrics.reloaded(Reload::Success, self.clock.wall());
            self.health.restore(CAUSE);
            self.status.store(Arc::new(ReloadStatus {
                problems: Vec::new(),
                ..(*status).clone()
            }));
            tracing::info!(file = %self.place.display(), revision = %status.revision, "the key file is as it was before");
        } else if cause == Cause::Asked {
            tracing::info!(file = %self.place.display(), revision = %status.revision, "the key file is unchanged");
        }
    }

    fn failed(&self, problems: &[Problem]) {
        log_problems(problems);
        self.metrics.reloaded(Reload::Failure, self.clock.wall());
        self.health.degrade(CAUSE, in_short(problems));
        let status = self.status.load_full();
        self.status.store(Arc::new(ReloadStatus {
            problems: problems.to_vec(),
            ..(*status).clone()
        }));
    }
}

impl<S: KeyStore> fmt::Debug for Reloader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader")
            .field("place", &self.place)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// How long a change took to be live.
fn lag(changed: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(now.as_micros() - changed.as_micros()).unwrap_or(0))
}

fn broken(problem: Problem) -> EditError {
    EditError::Broken {
        problems: vec![problem],
    }
}

#[cfg(test)]
mod tests;
