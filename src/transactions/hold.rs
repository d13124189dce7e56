//! What an answer waits for before its last byte leaves. Batches of lines are numbered per worker; a [`Ticket`] goes
//! with each to the sink, and a request waits until the batch that holds its record is done. Since all requests
//! that end while one batch is under way share the next, the price of waiting is shared as well (group commit).
//!
//! | `durability` | a request waits | until |
//! |---|---|---|
//! | `buffered` | while the sink takes nothing more and `when_full` is not `drop` | its batch was handed over |
//! | `written`, `synced` | always | the sink is done with its batch |
//!
//! No wait is without an end that somebody decides: with `drop`, a sink that takes longer than [`PATIENCE`] is not
//! waited for until it has caught up; with `wait` and `refuse` that is what was asked for, and health says so.
//! Not for: buffering lines (`Recorder`), writing them (`writer`).

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
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

/// A sink that is not done with a batch by then is late. A disk that others keep busy takes more than a second for a sync
/// now and then; clients wait for some ten.
const PATIENCE: Duration = Duration::from_secs(3);

/// What [`Health`] calls a log that is slower than the traffic.
const CAUSE: &str = "transactions_slow";

/// What the sink says of one worker's batches: it is done with all that it got up to this number.
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
    /// The sink never got the batch.
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
    /// How many workers find no room in the queue, of a sink that does not say so itself.
    full: AtomicUsize,
}

impl Terms {
    pub(super) fn new(config: &config::Transactions, health: Arc<Health>) -> Arc<Self> {
        Arc::new(Self {
            durability: config.durability,
            when_full: config.when_full,
            health,
            late: AtomicUsize::new(0),
            full: AtomicUsize::new(0),
        })
    }

    fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed) > 0
    }

    /// One worker more, or less, has trouble of this kind; health is told when that is news.
    fn count(&self, trouble: &AtomicUsize, more: bool) {
        if more {
            trouble.fetch_add(1, Ordering::Relaxed);
        } else {
            trouble.fetch_sub(1, Ordering::Relaxed);
        }
        let full = self.full.load(Ordering::Relaxed) > 0;
        if !full && !self.is_late() {
            tracing::info!("the transaction log has caught up");
            return self.health.restore(CAUSE);
        }
        let so = match self.when_full {
            WhenFull::Drop if full => "records are dropped and counted",
            WhenFull::Drop => "answers leave before their records are written",
            WhenFull::Wait => "requests wait for it",
            WhenFull::Refuse => "running requests wait for it, new ones are answered 503",
        };
        tracing::warn!("the transaction log is slower than the traffic: {so}");
        let why = format!("the transaction log is slower than the traffic: {so}");
        self.health.degrade(CAUSE, why);
    }
}

/// One worker's side.
#[derive(Debug)]
pub(super) struct Hold {
    terms: Arc<Terms>,
    done: Arc<Done>,
    /// The number of the batch that is being filled; those before it were handed over, or lost.
    filling: Cell<u64>,
    /// The last batch that the sink got.
    handed: Cell<u64>,
    /// What the sink was done with when this side last looked.
    finished: Cell<u64>,
    /// Nobody waits for the batches up to this one.
    released: Cell<u64>,
    /// The last hand-over found no room, and the lines were kept.
    is_blocked: Cell<bool>,
    /// It is one of `Terms::full`.
    is_full: Cell<bool>,
    /// It is one of `Terms::late`, until the sink is done with this batch.
    late_up_to: Cell<Option<u64>>,
    /// Who waits, by the number of the batch and a number of their own. They stay until they are released or gone, however
    /// often they are woken.
    waiting: RefCell<BTreeMap<(u64, u64), Waker>>,
    next_place: Cell<u64>,
    /// Told when there is a record while nothing is under way, and when something is from then on.
    wanted: Notify,
}

impl Hold {
    pub(super) fn new(terms: Arc<Terms>) -> Self {
        Self {
            terms,
            done: Arc::default(),
            filling: Cell::new(1),
            handed: Cell::new(0),
            finished: Cell::new(0),
            released: Cell::new(0),
            is_blocked: Cell::new(false),
            is_full: Cell::new(false),
            late_up_to: Cell::new(None),
            waiting: RefCell::default(),
            next_place: Cell::new(0),
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

    /// Whether `refuses` may ever be true.
    pub(super) fn may_refuse(&self) -> bool {
        self.terms.when_full == WhenFull::Refuse
    }

    /// Whether new requests should be refused, as far as this side can tell.
    pub(super) fn refuses(&self) -> bool {
        self.may_refuse() && (self.is_blocked.get() || self.terms.is_late())
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

    /// The sink got the batch, and has room for more or hardly: another one is filled from now on.
    pub(super) fn handed_over(&self, has_room: bool) {
        let number = self.filling.get();
        let was_under_way = self.is_under_way();
        self.handed.set(number);
        self.filling.set(number + 1);
        self.is_blocked.set(false);
        if has_room {
            self.set_full(false);
        }
        if !self.is_durable() {
            self.release(number);
        } else if !was_under_way {
            self.wanted.notify_one(); // from now on somebody has to look at the clock
        }
    }

    /// The batch found no room and is lost. Its requests go when the batches before it are done.
    pub(super) fn lost(&self) {
        self.filling.set(self.filling.get() + 1);
        self.set_full(true);
    }

    /// The batch found no room and is kept; whether health has to be told of that here.
    pub(super) fn kept(&self, say: bool) {
        self.is_blocked.set(true);
        self.set_full(say);
    }

    /// Lets go whoever waits for what is done by now. Returns whether nothing is under way.
    pub(super) fn settle(&self) -> bool {
        let finished = self.done.up_to.load(Ordering::Acquire);
        self.finished.set(finished);
        let settled = !self.is_under_way();
        self.release(if settled {
            self.filling.get() - 1 // what the sink never got is lost
        } else {
            finished
        });
        if self.late_up_to.get().is_some_and(|late| late <= finished) {
            self.late_up_to.set(None);
            self.terms.count(&self.terms.late, false);
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
        if !self.is_under_way() || self.late_up_to.get().is_some() {
            return change.await;
        }
        if timeout(PATIENCE, change).await.is_err() {
            self.late_up_to.set(Some(self.handed.get()));
            self.terms.count(&self.terms.late, true);
            if self.lets_go() {
                self.waiting.borrow().values().for_each(Waker::wake_by_ref);
            }
        }
    }

    /// Whether the batch with this number need not be waited for any more. Otherwise the task is woken when that may
    /// have changed. `place` is what the caller keeps between its calls, and gives back with [`Hold::leave`].
    pub(super) fn poll(
        &self,
        number: u64,
        place: &mut Option<u64>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if self.released.get() >= number || self.lets_go() {
            return Poll::Ready(());
        }
        let place =
            *place.get_or_insert_with(|| self.next_place.replace(self.next_place.get() + 1));
        let mut waiting = self.waiting.borrow_mut();
        let waker = waiting
            .entry((number, place))
            .or_insert_with(|| context.waker().clone());
        waker.clone_from(context.waker());
        Poll::Pending
    }

    /// Who had this place does not wait any more.
    pub(super) fn leave(&self, number: u64, place: u64) {
        self.waiting.borrow_mut().remove(&(number, place));
    }

    /// Whether a batch is with the sink.
    fn is_under_way(&self) -> bool {
        self.finished.get() < self.handed.get()
    }

    /// Whether nobody waits for the time being.
    fn lets_go(&self) -> bool {
        !self.keeps() && self.terms.is_late()
    }

    fn release(&self, number: u64) {
        if number <= self.released.get() {
            return;
        }
        self.released.set(number);
        let released = {
            let mut waiting = self.waiting.borrow_mut();
            let later = waiting.split_off(&(number + 1, 0));
            std::mem::replace(&mut *waiting, later)
        };
        released.into_values().for_each(Waker::wake);
    }

    fn set_full(&self, full: bool) {
        if self.is_full.replace(full) != full {
            self.terms.count(&self.terms.full, full);
        }
    }
}

#[cfg(test)]
mod tests;
