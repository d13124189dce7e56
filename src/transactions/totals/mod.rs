//! Totals: per key and overall, since the oldest record of the log, with minutes for the last day. Kept in memory, added
//! up from what workers hand over, and begun at the start with what the log holds.
//!
//! ```text
//! Recorder ──events──▶ Outbox (one a worker) ──lists──▶ one thread ──▶ Book ◀── one thread ──lines── the log's files
//!                                                                       └──▶ readers: the admin API
//! ```
//!
//! Every request counts, also one that the log leaves out; but only what is in the log outlives the process. Nothing
//! here decides anything, and no worker ever waits for it. Not for: `/metrics`, which are `crate::metrics`.

mod book;
mod counters;
mod event;
mod histogram;
mod past;
mod rebuild;
mod report;
mod series;
mod thread;

#[cfg(test)]
mod tests;

pub use counters::Counters;
pub use counters::Counts;
pub use counters::Decisions;
pub use counters::MinuteCounts;
pub(in crate::transactions) use event::Event;
pub use histogram::Histogram;
pub use past::LogFiles;
pub(in crate::transactions) use past::Past;
pub use past::log_files;
pub use rebuild::LogProblem;
pub use rebuild::Rebuild;
pub use report::AllTotals;
pub use report::Day;
pub use report::KeyTotals;
pub use report::TopKey;
pub use series::DAY_MINUTES;
pub(in crate::transactions) use thread::Outbox;
pub(in crate::transactions) use thread::Thread;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::key::Key;
use crate::transactions::totals::book::Book;
use crate::transactions::totals::book::Bounds;

/// Keys in a list of those that are used most.
const TOP_KEYS: usize = 10;

/// The totals, for readers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Totals {
    shared: Arc<Shared>,
}

/// What the threads that fill the book and its readers share. No worker touches the book.
#[derive(Debug)]
pub(in crate::transactions) struct Shared {
    book: Mutex<Book>,
    rebuild: Mutex<Rebuild>,
    /// Requests that found no way into the book.
    lost: AtomicU64,
    /// The log is closing: what is left of its past is not read.
    closing: AtomicBool,
    clock: Clock,
    started_at: Timestamp,
}

impl Totals {
    pub(in crate::transactions) fn new(clock: Clock) -> Self {
        Self::bounded(Bounds::default(), clock)
    }

    fn bounded(bounds: Bounds, clock: Clock) -> Self {
        let shared = Shared {
            book: Mutex::new(Book::new(bounds)),
            rebuild: Mutex::default(),
            lost: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            started_at: clock.wall(),
            clock,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// How a key was used, with its last `minutes`, from 1 to [`DAY_MINUTES`].
    #[must_use]
    pub fn key(&self, key: &Key, minutes: usize) -> KeyTotals {
        let now = self.shared.clock.wall();
        self.shared.book().key_totals(key, minutes, now)
    }

    /// How everything was used, with the last `minutes`, from 1 to [`DAY_MINUTES`].
    #[must_use]
    pub fn all(&self, minutes: usize) -> AllTotals {
        let now = self.shared.clock.wall();
        self.shared.book().all_totals(minutes, TOP_KEYS, now)
    }

    /// The last day of a key.
    #[must_use]
    pub fn day(&self, key: &Key) -> Day {
        let now = self.shared.clock.wall();
        self.shared.book().day(key, now)
    }

    /// The last day of each of these keys.
    #[must_use]
    pub fn days(&self, keys: &[Arc<Key>]) -> Vec<Day> {
        let now = self.shared.clock.wall();
        let book = self.shared.book();
        keys.iter().map(|key| book.day(key, now)).collect()
    }

    /// How far the log is read, and what is wrong with it.
    #[must_use]
    pub fn rebuild(&self) -> Rebuild {
        self.shared.rebuild().clone()
    }

    /// Since when requests are counted: the oldest record in the log, or the start.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        let started_at = self.shared.started_at;
        let first = self.shared.book().all.first_at;
        first.map_or(started_at, |first| first.min(started_at))
    }

    /// How many requests are missing: records that the log says it has lost, and what the totals' own thread could
    /// not keep up with.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let lost = self.shared.lost.load(Ordering::Relaxed);
        lost.saturating_add(self.shared.rebuild().lost)
    }
}

impl Shared {
    /// A thread that panicked leaves counts that are off by one at worst: better than none.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rebuild(&self) -> MutexGuard<'_, Rebuild> {
        self.rebuild.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
