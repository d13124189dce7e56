//! The way from the workers to the book, and the one thread that adds up. A worker pushes a small event a request into
//! a list of its own; lists go over a bounded channel, and what finds no room in channel and list is lost and
//! counted, never waited for. Not for: the arithmetic, which is `book`.

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::TrySendError;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::thread::JoinHandle;

use crate::transactions::totals::Shared;
use crate::transactions::totals::Totals;
use crate::transactions::totals::event::Event;

/// Events that are handed over at once: 48 KiB, for which the allocator need not ask the system.
const HANDOVER_EVENTS: usize = 1_024;
/// Lists that wait for the thread: 3 MiB.
const QUEUE_LISTS: usize = 64;
/// Events that a worker keeps while the channel is full.
const KEPT_EVENTS_MAX: usize = 8 * HANDOVER_EVENTS;

#[derive(Debug)]
enum Message {
    Events(Vec<Event>),
    /// Nothing that matters comes after this.
    End,
}

/// The thread that adds up.
#[derive(Debug)]
pub(in crate::transactions) struct Thread {
    sender: SyncSender<Message>,
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
}

impl Thread {
    pub(in crate::transactions) fn start(totals: &Totals) -> std::io::Result<Self> {
        let shared = Arc::clone(&totals.shared);
        let (sender, receiver) = sync_channel(QUEUE_LISTS);
        let adding = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("keygate-totals".to_owned())
            .spawn(move || run(&receiver, &adding))?;
        Ok(Self {
            sender,
            thread,
            shared,
        })
    }

    /// The end of one worker.
    pub(in crate::transactions) fn outbox(&self) -> Outbox {
        Outbox {
            events: RefCell::default(),
            sender: self.sender.clone(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Adds up what was handed over, and ends the thread. It waits for nothing but readers of the book.
    pub(in crate::transactions) fn close(self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        let _ = self.sender.send(Message::End); // refused only where the thread has panicked, which is told below
        if self.thread.join().is_err() {
            tracing::error!("the totals are incomplete: their thread panicked");
        }
    }
}

fn run(receiver: &Receiver<Message>, shared: &Shared) {
    while let Ok(Message::Events(events)) = receiver.recv() {
        let now = shared.clock.wall();
        let mut book = shared.book();
        for event in &events {
            book.note(event, now);
        }
        drop(book); // before the keys in the events, which may be the last of theirs
    }
}

/// One worker's end of the way. It stays on its thread.
#[derive(Debug)]
pub(in crate::transactions) struct Outbox {
    events: RefCell<Vec<Event>>,
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

impl Outbox {
    /// A request has ended.
    pub(in crate::transactions) fn note(&self, event: Event) {
        let events = &mut *self.events.borrow_mut();
        if events.len() >= KEPT_EVENTS_MAX {
            self.lose(1);
            return;
        }
        events.push(event);
        if events.len().is_multiple_of(HANDOVER_EVENTS) {
            self.hand_over(events);
        }
    }

    pub(in crate::transactions) fn has_pending(&self) -> bool {
        !self.events.borrow().is_empty()
    }

    /// Hands over what waits; what finds no room goes on waiting.
    pub(in crate::transactions) fn flush(&self) {
        self.hand_over(&mut self.events.borrow_mut());
    }

    fn hand_over(&self, events: &mut Vec<Event>) {
        let count = events.len();
        if count == 0 {
            return;
        }
        match self.sender.try_send(Message::Events(mem::take(events))) {
            // As many are likely to come until the next time.
            Ok(()) => events.reserve_exact(count.min(HANDOVER_EVENTS)),
            Err(TrySendError::Full(Message::Events(kept))) => *events = kept,
            Err(TrySendError::Full(Message::End) | TrySendError::Disconnected(_)) => {
                self.lose(count as u64);
            }
        }
    }

    fn lose(&self, count: u64) {
        self.shared.lost.fetch_add(count, Ordering::Relaxed);
    }
}

impl Drop for Outbox {
    /// The worker has ended: what finds no room now is lost.
    fn drop(&mut self) {
        self.flush();
        let left = self.events.get_mut().len();
        self.lose(left as u64);
    }
}
