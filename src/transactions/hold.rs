//! What an answer waits for before its last byte leaves. Batches of lines are numbered per worker; a [`Ticket`] goes
//! with each to the sink, and a [`Receipt`] waits until the batch that holds its record is done. Since all requests
//! that end while one batch is under way share the next, the price of waiting is shared as well (group commit).
//!
//! | `durability` | a receipt is there | and is honoured when |
//! |---|---|---|
//! | `buffered` | while the sink takes nothing more and `when_full` is not `drop` | the batch was handed over |
//! | `written`, `synced` | for each record | the sink is done with the batch |
//!
//! No wait is without an end that somebody decides: with `drop`, a sink that takes longer than [`PATIENCE`] is not
//! waited for until it has caught up; with `wait` and `refuse` that is what was asked for, and health says so.
//! Not for: buffering lines (`Recorder`), writing them (`writer`).

use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::config;
use crate::config::Durability;
use crate::config::WhenFull;
use crate::health::Health;

/// A sink that is not done with a batch by then is slow: longer than a usual disk takes for a sync under load, and
/// short of what people notice as an outage.
const PATIENCE: Duration = Duration::from_secs(1);

/// What [`Health`] calls a log that is slower than the traffic.
const CAUSE: &str = "transactions_slow";

/// What the sink says of one worker's batches: it is done with all up to this number.
#[derive(Debug, Default)]
struct Done {
    up_to: AtomicU64,
    told: Notify,
}

/// Goes with a batch to the sink. Whatever becomes of the batch there, nobody waits for it any longer once this is
/// dropped: a sink that holds on to a batch keeps its ticket.
#[derive(Debug)]
pub(super) struct Ticket {
    done: Arc<Done>,
    number: u64,
    is_void: bool,
}

impl Ticket {
    /// The batch was not handed over after all.
    pub(super) fn void(mut self) {
        self.is_void = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_void {
            self.done.up_to.fetch_max(self.number, Ordering::Release);
            self.done.told.notify_one();
        }
    }
}

/// What all workers have in common.
#[derive(Debug)]
pub(super) struct Terms {
    durability: Durability,
    when_full: WhenFull,
    health: Arc<Health>,
    /// How many workers wait for a late sink.
    late: AtomicUsize,
}

impl Terms {
    pub(super) fn new(config: &config::Transactions, health: Arc<Health>) -> Arc<Self> {
        Arc::new(Self {
            durability: config.durability,
            when_full: config.when_full,
            health,
            late: AtomicUsize::new(0),
        })
    }

    fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed) > 0
    }

    fn say_late(&self) {
        let so = match self.when_full {
            WhenFull::Drop => "answers leave before their records are written",
            WhenFull::Wait => "requests wait for it",
            WhenFull::Refuse => "running requests wait for it, new ones are answered 503",
        };
        tracing::warn!("the transaction log is slower than the traffic: {so}");
        let why = format!("the transaction log is slower than the traffic: {so}");
        self.health.degrade(CAUSE, why);
    }

    fn say_in_time(&self) {
        tracing::info!("the transaction log has caught up");
        self.health.restore(CAUSE);
    }
}

/// One worker's side.
#[derive(Debug)]
pub(super) struct Hold {
    terms: Arc<Terms>,
    done: Arc<Done>,
    /// The number of the batch that is being filled; those before it were handed over.
    filling: Cell<u64>,
    /// Nobody waits for the batches up to this one.
    released: Cell<u64>,
    /// The last hand-over found no room, and the lines were kept.
    is_blocked: Cell<bool>,
    /// Health was told of that.
    is_said: Cell<bool>,
    /// The sink has taken longer than [`PATIENCE`] for a batch of this worker, which has not caught up since.
    is_late: Cell<bool>,
    waiting: RefCell<Vec<(u64, Waker)>>,
    /// Told when there is a record while nothing is under way.
    wanted: Notify,
}

impl Hold {
    pub(super) fn new(terms: Arc<Terms>) -> Self {
        Self {
            terms,
            done: Arc::default(),
            filling: Cell::new(1),
            released: Cell::new(0),
            is_blocked: Cell::new(false),
            is_said: Cell::new(false),
            is_late: Cell::new(false),
            waiting: RefCell::default(),
            wanted: Notify::new(),
        }
    }

    /// Whether answers wait for the sink, and not only for the hand-over.
    pub(super) fn is_durable(&self) -> bool {
        match self.terms.durability {
            Durability::Buffered => false,
            Durability::Written | Durability::Synced => true,
        }
    }

    /// Whether an answer may have to wait at all.
    pub(super) fn may_wait(&self) -> bool {
        self.is_durable() || self.keeps()
    }

    /// Whether lines that find no room are kept, and not lost.
    pub(super) fn keeps(&self) -> bool {
        match self.terms.when_full {
            WhenFull::Drop => false,
            WhenFull::Wait | WhenFull::Refuse => true,
        }
    }

    /// Whether new requests should be refused, as far as this side can tell.
    pub(super) fn refuses(&self) -> bool {
        self.may_refuse() && (self.is_blocked.get() || self.terms.is_late())
    }

    /// Whether `refuses` may ever be true.
    pub(super) fn may_refuse(&self) -> bool {
        self.terms.when_full == WhenFull::Refuse
    }

    /// A line was added to the batch that is being filled; the sink `is_stuck` or not. The number of the batch, if its
    /// request has to wait for it.
    pub(super) fn added(&self, is_stuck: bool) -> Option<u64> {
        let waits = if self.is_durable() {
            if !self.is_under_way() {
                self.wanted.notify_one();
            }
            !self.lets_go()
        } else {
            self.keeps() && (is_stuck || self.is_blocked.get())
        };
        waits.then(|| self.filling.get())
    }

    /// For the batch that is about to be handed over.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        self.is_durable().then(|| Ticket {
            done: Arc::clone(&self.done),
            number: self.filling.get(),
            is_void: false,
        })
    }

    /// The batch was handed over (or lost, where lines are not kept): another one is filled from now on.
    pub(super) fn handed_over(&self) {
        let number = self.filling.get();
        self.filling.set(number + 1);
        self.is_blocked.set(false);
        if self.is_said.replace(false) && !self.terms.is_late() {
            self.terms.say_in_time();
        }
        if !self.is_durable() {
            self.release(number);
        }
    }

    /// The batch found no room and is kept; whether that has to be said here.
    pub(super) fn kept(&self, say: bool) {
        self.is_blocked.set(true);
        if say && !self.is_said.replace(true) {
            self.terms.say_late();
        }
    }

    /// Lets go whoever waits for what is done by now. Returns whether nothing is under way.
    pub(super) fn settle(&self) -> bool {
        self.release(self.done.up_to.load(Ordering::Acquire));
        let settled = !self.is_under_way();
        if settled
            && self.is_late.replace(false)
            && self.terms.late.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.terms.say_in_time();
        }
        settled
    }

    /// Waits until there is something to settle or to hand over. Takes note of a sink that is late.
    pub(super) async fn changed(&self) {
        let change = async {
            tokio::select! {
                () = self.wanted.notified() => {}
                () = self.done.told.notified() => {}
            }
        };
        if !self.is_under_way() || self.is_late.get() {
            return change.await;
        }
        if timeout(PATIENCE, change).await.is_err() {
            self.is_late.set(true);
            if self.terms.late.fetch_add(1, Ordering::Relaxed) == 0 {
                self.terms.say_late();
            }
            if self.lets_go() {
                self.wake(|_| true);
            }
        }
    }

    /// Whether the batch with this number need not be waited for any more. Otherwise the task is woken when that may
    /// have changed; `registered` is what the caller keeps between its calls.
    pub(super) fn poll(
        &self,
        number: u64,
        registered: &mut Option<Waker>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if self.released.get() >= number || self.lets_go() {
            return Poll::Ready(());
        }
        let waker = context.waker();
        if !registered
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            self.waiting.borrow_mut().push((number, waker.clone()));
            *registered = Some(waker.clone());
        }
        Poll::Pending
    }

    /// Whether a batch is with the sink.
    fn is_under_way(&self) -> bool {
        self.released.get() + 1 < self.filling.get()
    }

    /// Whether nobody waits for the time being.
    fn lets_go(&self) -> bool {
        !self.keeps() && self.terms.is_late()
    }

    fn release(&self, number: u64) {
        if number > self.released.get() {
            self.released.set(number);
            self.wake(|waits_for| waits_for <= number);
        }
    }

    fn wake(&self, whom: impl Fn(u64) -> bool) {
        let mut waiting = self.waiting.borrow_mut();
        let mut at = 0;
        while at < waiting.len() {
            if whom(waiting[at].0) {
                waiting.swap_remove(at).1.wake();
            } else {
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
