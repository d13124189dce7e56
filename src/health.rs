//! What keygate thinks of its own state: what still blocks readiness, what works but worse than it should,
//! and whether each worker still turns. Causes are words from the program, one entry each, so whoever
//! reports a cause again only renews its text. It never depends on the upstream. Not for: serving it, see
//! `telemetry`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// A worker whose last beat is older than this is stuck. They beat about ten times a second.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(10);

/// A heartbeat that ended: its worker has left on purpose.
const RETIRED: u64 = u64::MAX;

/// The state that the whole process shares.
#[derive(Debug, Default)]
pub struct Health {
    causes: Mutex<Causes>,
    workers: Mutex<Vec<Arc<AtomicU64>>>,
    /// When the first worker reported; beats count from here.
    since: OnceLock<Instant>,
}

#[derive(Debug, Default)]
struct Causes {
    blocked: BTreeMap<&'static str, String>,
    degraded: BTreeMap<&'static str, String>,
}

/// One reason for not being ready, or for being worse than usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// A fixed word: `starting`, `draining`, `keys`, `transactions`.
    pub cause: &'static str,
    /// What is the matter, for people.
    pub why: String,
}

/// Whether requests should be sent here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Nothing blocks.
    pub ready: bool,
    /// What blocks, in alphabetical order.
    pub blocked: Vec<Cause>,
    /// What works, but not as it should.
    pub degraded: Vec<Cause>,
}

impl Health {
    /// Ready, until something blocks it.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Not ready for this cause, until [`Health::unblock`].
    pub fn block(&self, cause: &'static str, why: String) {
        self.causes().blocked.insert(cause, why);
    }

    /// This cause no longer blocks.
    pub fn unblock(&self, cause: &'static str) {
        self.causes().blocked.remove(cause);
    }

    /// Ready, but worse than it should be for this cause, until [`Health::restore`].
    pub fn degrade(&self, cause: &'static str, why: String) {
        self.causes().degraded.insert(cause, why);
    }

    /// This cause is over.
    pub fn restore(&self, cause: &'static str) {
        self.causes().degraded.remove(cause);
    }

    /// The state right now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let causes = self.causes();
        let list = |map: &BTreeMap<&'static str, String>| {
            map.iter()
                .map(|(cause, why)| Cause {
                    cause,
                    why: why.clone(),
                })
                .collect()
        };
        Readiness {
            ready: causes.blocked.is_empty(),
            blocked: list(&causes.blocked),
            degraded: list(&causes.degraded),
        }
    }

    /// A heartbeat for one worker, beaten once at `now`. Its number is its place in the order of the calls.
    #[must_use]
    pub fn heartbeat(&self, now: Instant) -> Heartbeat {
        let since = *self.since.get_or_init(|| now);
        let heartbeat = Heartbeat {
            since,
            beaten_millis: Arc::new(AtomicU64::new(0)),
        };
        heartbeat.beat(now);
        self.workers().push(Arc::clone(&heartbeat.beaten_millis));
        heartbeat
    }

    /// The numbers of the workers that have not beaten for [`HEARTBEAT_MAX`].
    #[must_use]
    pub fn stuck_workers(&self, now: Instant) -> Vec<usize> {
        let Some(since) = self.since.get() else {
            return Vec::new();
        };
        let oldest = millis(*since, now).saturating_sub(millis(*since, *since + HEARTBEAT_MAX));
        let is_stuck =
            |(_, beaten): &(usize, &Arc<AtomicU64>)| beaten.load(Ordering::Relaxed) < oldest;
        self.workers()
            .iter()
            .enumerate()
            .filter(is_stuck)
            .map(|(number, _)| number)
            .collect()
    }

    fn causes(&self) -> MutexGuard<'_, Causes> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Arc<AtomicU64>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's sign of life; dropping it says that the worker has left on purpose.
#[derive(Debug)]
pub struct Heartbeat {
    since: Instant,
    beaten_millis: Arc<AtomicU64>,
}

impl Heartbeat {
    /// The worker turns.
    pub fn beat(&self, now: Instant) {
        self.beaten_millis
            .store(millis(self.since, now), Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        // A worker that panics has not left on purpose: its beat grows old and `/livez` tells.
        if !std::thread::panicking() {
            self.beaten_millis.store(RETIRED, Ordering::Relaxed);
        }
    }
}

fn millis(since: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(RETIRED - 1)
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::clock::Timestamp;

    use super::*;

    #[test]
    fn ready_only_while_nothing_blocks() {
        let health = Health::new();
        assert!(health.readiness().ready);
        health.block("starting", "no keys yet".to_owned());
        health.block("draining", "asked to stop".to_owned());
        health.block("draining", "asked to stop again".to_owned());
        health.unblock("starting");
        let readiness = health.readiness();
        assert!(!readiness.ready);
        assert_eq!(
            readiness.blocked,
            [Cause {
                cause: "draining",
                why: "asked to stop again".to_owned()
            }]
        );
        health.unblock("draining");
        assert!(health.readiness().ready);
    }

    #[test]
    fn degraded_is_ready_all_the_same() {
        let health = Health::new();
        health.degrade("keys", "keys.yaml:3:1: expected a list".to_owned());
        let readiness = health.readiness();
        assert!(readiness.ready);
        assert_eq!(readiness.degraded[0].cause, "keys");
        health.restore("keys");
        assert_eq!(health.readiness().degraded, []);
    }

    #[test]
    fn a_worker_is_stuck_after_ten_seconds_without_a_beat() {
        let (health, clock) = (Health::new(), Clock::by_hand(Timestamp::from_micros(0)));
        let first = health.heartbeat(clock.now());
        let second = health.heartbeat(clock.now());
        clock.advance(HEARTBEAT_MAX);
        assert_eq!(
            health.stuck_workers(clock.now()),
            [0usize; 0],
            "exactly at the bound"
        );
        first.beat(clock.now());
        clock.advance(Duration::from_millis(1));
        assert_eq!(health.stuck_workers(clock.now()), [1]);
        drop(second);
        assert_eq!(
            health.stuck_workers(clock.now()),
            [0usize; 0],
            "a worker that left is not stuck"
        );
        clock.advance(HEARTBEAT_MAX);
        assert_eq!(health.stuck_workers(clock.now()), [0]);
        drop(first);
    }
}
