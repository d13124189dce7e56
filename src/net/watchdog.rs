//! Time limits without timers: every wait of a connection is a number in its [`Watched`], and one sweep a
//! worker wakes the tasks whose number has passed. A request sets and clears deadlines by plain stores; it
//! never touches a timer wheel (hyper's own header timer cost 7 % of a request). The price is precision:
//! a deadline is noticed up to one [`SWEEP`] late.
//!
//! The invariant: whoever returns `Pending` on behalf of a peer has armed its deadline, and checks it first
//! when polled again. Not for: what a missed deadline means, which is decided where the wait is.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::Duration;
use std::time::Instant;

use crate::clock::Clock;

/// How often a worker sweeps, and how late a deadline may be noticed. Half of the 100 ms within which a
/// transaction must be in the file, since the same tick hands the lines over.
pub const SWEEP: Duration = Duration::from_millis(50);

const NEVER: u64 = u64::MAX;

/// A worker's time, read often and advanced by every sweep and every request: no system call to look at it.
#[derive(Debug)]
pub struct CoarseClock {
    clock: Clock,
    origin: Instant,
    now_millis: AtomicU64,
}

impl CoarseClock {
    /// A clock that starts now.
    #[must_use]
    pub fn new(clock: Clock) -> Arc<Self> {
        let origin = clock.now();
        Arc::new(Self {
            clock,
            origin,
            now_millis: AtomicU64::new(0),
        })
    }

    /// The exact time; the coarse time follows it.
    pub fn read(&self) -> Instant {
        let now = self.clock.now();
        self.now_millis.store(millis(now - self.origin), Relaxed);
        now
    }

    /// The time of the last look, at most one [`SWEEP`] ago while the worker has anything to do.
    #[must_use]
    pub fn coarse(&self) -> Instant {
        self.origin + Duration::from_millis(self.now())
    }

    fn now(&self) -> u64 {
        self.now_millis.load(Relaxed)
    }
}

/// A moment at which a wait ends; unset most of the time.
#[derive(Debug)]
pub struct Deadline(AtomicU64);

impl Default for Deadline {
    fn default() -> Self {
        Self(AtomicU64::new(NEVER))
    }
}

impl Deadline {
    /// Nothing is being waited for.
    pub fn clear(&self) {
        self.0.store(NEVER, Relaxed);
    }

    /// Whether something is being waited for.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.get() != NEVER
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The waits of one task, shared between the parts of it that wait. All parts run on one worker, so the
/// atomics are never contended; they are atomics because hyper wants upgradable I/O to be `Send`.
#[derive(Debug)]
pub struct Watched {
    clock: Arc<CoarseClock>,
    /// The client owes bytes.
    pub read: Deadline,
    /// The client owes room for bytes.
    pub write: Deadline,
    /// The upstream owes a connection, an answer, bytes or room for bytes.
    pub upstream: Deadline,
    pause_millis: AtomicU64,
    /// The key of what this task is doing was revoked; what is still open then is cut.
    pub revoked: Deadline,
    draining: AtomicBool,
    reset: AtomicBool,
}

impl Watched {
    /// With nothing to wait for, and a client that may pause for `pause`.
    #[must_use]
    pub fn new(clock: Arc<CoarseClock>, pause: Duration) -> Arc<Self> {
        Arc::new(Self {
            pause_millis: AtomicU64::new(millis(pause)),
            clock,
            read: Deadline::default(),
            write: Deadline::default(),
            upstream: Deadline::default(),
            draining: AtomicBool::new(false),
            revoked: Deadline::default(),
            reset: AtomicBool::new(false),
        })
    }

    /// Sets `deadline` to `within` from now.
    pub fn arm(&self, deadline: &Deadline, within: Duration) {
        deadline.0.store(
            self.clock
                .now()
                .saturating_add(millis(within))
                .min(NEVER - 1),
            Relaxed,
        );
    }

    /// Sets `deadline` unless it is set already.
    pub fn arm_once(&self, deadline: &Deadline, within: Duration) {
        if deadline.get() == NEVER {
            self.arm(deadline, within);
        }
    }

    /// Whether `deadline` is set and over.
    #[must_use]
    pub fn passed(&self, deadline: &Deadline) -> bool {
        deadline.get() <= self.clock.now()
    }

    /// The longest pause in what the client sends of a body, or takes of one.
    #[must_use]
    pub fn pause(&self) -> Duration {
        Duration::from_millis(self.pause_millis.load(Relaxed))
    }

    /// Sets [`Watched::pause`]: streams may pause for longer than bodies.
    pub fn set_pause(&self, pause: Duration) {
        self.pause_millis.store(millis(pause), Relaxed);
    }

    /// Whether the worker asked this task to finish what it does and take nothing new.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether the connection, if it ends now, is to be closed by a reset: where the end of the connection is the
    /// end of the answer, only that shows that the answer is not whole.
    pub fn want_reset(&self, wanted: bool) {
        self.reset.store(wanted, Relaxed);
    }

    /// Whether the connection is to be closed by a reset.
    #[must_use]
    pub fn reset_wanted(&self) -> bool {
        self.reset.load(Relaxed)
    }

    fn due(&self) -> bool {
        let waits = [&self.read, &self.write, &self.upstream, &self.revoked];
        waits.iter().any(|wait| self.passed(wait))
    }
}

/// One worker's list of watched tasks. `T` is what else the worker wants to know of each.
#[derive(Debug)]
pub struct Watchdog<T> {
    clock: Arc<CoarseClock>,
    entries: RefCell<HashMap<u64, Entry<T>>>,
    next: Cell<u64>,
    draining: Cell<bool>,
}

#[derive(Debug)]
struct Entry<T> {
    watched: Arc<Watched>,
    waker: Waker,
    about: T,
}

impl<T> Watchdog<T> {
    /// An empty list.
    #[must_use]
    pub fn new(clock: Arc<CoarseClock>) -> Self {
        Self {
            clock,
            entries: RefCell::default(),
            next: Cell::new(0),
            draining: Cell::new(false),
        }
    }

    /// The time that deadlines are compared with.
    #[must_use]
    pub fn clock(&self) -> &Arc<CoarseClock> {
        &self.clock
    }

    /// Lists a task; `waker` is the task's own. The number is for [`Watchdog::remove`].
    pub fn add(&self, watched: Arc<Watched>, waker: Waker, about: T) -> u64 {
        let number = self.next.get() + 1;
        self.next.set(number);
        watched.draining.store(self.draining.get(), Relaxed);
        let entry = Entry {
            watched,
            waker,
            about,
        };
        self.entries.borrow_mut().insert(number, entry);
        number
    }

    /// Takes a task off the list.
    pub fn remove(&self, number: u64) {
        self.entries.borrow_mut().remove(&number);
    }

    /// How many tasks are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether no task is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes each task that has a deadline behind it.
    pub fn sweep(&self) {
        self.clock.read();
        for entry in self.entries.borrow().values() {
            if entry.watched.due() {
                entry.waker.wake_by_ref();
            }
        }
    }

    /// Sets [`Watched::revoked`] to `grace` from now for each task of which `revoked` says so.
    pub fn revoke(&self, grace: Duration, revoked: impl Fn(&T) -> bool) {
        for entry in self.entries.borrow().values() {
            if revoked(&entry.about) {
                entry.watched.arm_once(&entry.watched.revoked, grace);
            }
        }
    }

    /// Tells every task that the worker drains, now and later, and wakes it to think about that.
    pub fn drain(&self) {
        self.draining.set(true);
        for entry in self.entries.borrow().values() {
            entry.watched.draining.store(true, Relaxed);
            entry.waker.wake_by_ref();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn watched(clock: &Clock) -> (Watchdog<()>, Arc<Watched>) {
        let dog = Watchdog::new(CoarseClock::new(clock.clone()));
        let watched = Watched::new(Arc::clone(dog.clock()), Duration::ZERO);
        (dog, watched)
    }

    #[test]
    fn a_deadline_passes_when_it_is_over_and_not_before() {
        let clock = Clock::by_hand(Timestamp::from_micros(0));
        let (dog, watched) = watched(&clock);
        assert!(
            !watched.passed(&watched.read),
            "an unset deadline never passes"
        );
        watched.arm(&watched.read, Duration::from_millis(100));
        clock.advance(Duration::from_millis(99));
        dog.sweep();
        assert!(!watched.passed(&watched.read) && !watched.due());
        clock.advance(Duration::from_millis(1));
        dog.sweep();
        assert!(watched.passed(&watched.read) && watched.due());
        watched.read.clear();
        assert!(!watched.due());
    }

    #[test]
    fn arming_once_keeps_the_first_deadline() {
        let clock = Clock::by_hand(Timestamp::from_micros(0));
        let (dog, watched) = watched(&clock);
        watched.arm_once(&watched.write, Duration::from_secs(1));
        clock.advance(Duration::from_millis(900));
        dog.sweep();
        watched.arm_once(&watched.write, Duration::from_secs(1));
        clock.advance(Duration::from_millis(100));
        dog.sweep();
        assert!(watched.passed(&watched.write));
    }

    #[test]
    fn every_listed_task_learns_of_a_drain_and_the_revoked_ones_of_their_key() {
        let (dog, first) = watched(&Clock::system());
        let second = Watched::new(Arc::clone(dog.clock()), Duration::ZERO);
        let number = dog.add(Arc::clone(&first), Waker::noop().clone(), ());
        dog.add(Arc::clone(&second), Waker::noop().clone(), ());
        dog.remove(number);
        dog.drain();
        let third = Watched::new(Arc::clone(dog.clock()), Duration::ZERO);
        dog.add(Arc::clone(&third), Waker::noop().clone(), ());
        assert!(third.draining(), "also who comes later");
        dog.revoke(Duration::ZERO, |()| true);
        let revoked = |watched: &Watched| watched.passed(&watched.revoked);
        assert_eq!((first.draining(), revoked(&first)), (false, false));
        assert_eq!(
            (second.draining(), revoked(&second), dog.len()),
            (true, true, 2)
        );
    }
}
