//! The way from the workers to one sink: bounded in places and in bytes, and pushing never waits. What finds no
//! room comes back to the worker, who keeps it or counts it as lost; the sink says in its next line how much was
//! lost. Lines stay whole and in order per worker. Not for: what a worker does meanwhile, see `hold`.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::TryRecvError;
use std::sync::mpsc::TrySendError;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::metrics::Metrics;
use crate::metrics::Sink;
use crate::transactions::BUFFER_BYTES;
use crate::transactions::hold::Ticket;

/// Memory that waits for a sink: about 40,000 lines, a fraction of a second of a busy machine.
pub(super) const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Handovers that wait for a sink. Small ones, ten a second and worker, fill this before the bytes.
const QUEUE_PLACES: usize = 1024;
/// Empty buffers that are kept for the workers.
const SPARE_BUFFERS_MAX: usize = 16;

/// Whole lines, and how many.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
    /// Told when the sink is done with it: by being dropped with the batch.
    pub(super) ticket: Option<Ticket>,
}

#[derive(Debug)]
enum Message {
    Batch(Batch),
    /// Look at the flags.
    Wake,
}

/// What the sink has to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Write this.
    Batch(Batch),
    /// Open the file anew.
    Reopen,
    /// Nothing came for the time that was asked for.
    Idle,
    /// Everything was written and the log is being closed.
    Closed,
}

/// The workers' end.
#[derive(Debug)]
pub(super) struct Queue {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

/// The sink's end.
#[derive(Debug)]
pub(super) struct Intake {
    receiver: Receiver<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sink: Sink,
    metrics: Arc<Metrics>,
    /// Memory of all batches that are on their way.
    queued_bytes: AtomicUsize,
    /// Lines that were lost since the sink last said so.
    lost: AtomicU64,
    reopen: AtomicBool,
    closing: AtomicBool,
    /// The sink holds what it cannot write, or is gone: nothing more is taken.
    stuck: AtomicBool,
    gone: AtomicBool,
    spare: Mutex<Vec<Vec<u8>>>,
}

/// A queue to this sink.
pub(super) fn queue(sink: Sink, metrics: Arc<Metrics>) -> (Queue, Intake) {
    let (sender, receiver) = sync_channel(QUEUE_PLACES);
    let shared = Arc::new(Shared {
        sink,
        metrics,
        queued_bytes: AtomicUsize::new(0),
        lost: AtomicU64::new(0),
        reopen: AtomicBool::new(false),
        closing: AtomicBool::new(false),
        stuck: AtomicBool::new(false),
        gone: AtomicBool::new(false),
        spare: Mutex::new(Vec::new()),
    });
    (
        Queue {
            sender,
            shared: Arc::clone(&shared),
        },
        Intake { receiver, shared },
    )
}

impl Queue {
    /// Hands over, if there is room; never waits.
    ///
    /// # Errors
    /// The batch, where there is none.
    pub(super) fn push(&self, batch: Batch) -> Result<(), Batch> {
        if self.is_stuck() {
            return Err(batch);
        }
        let memory = batch.bytes.capacity();
        let queued = &self.shared.queued_bytes;
        let before = queued.fetch_add(memory, Ordering::Relaxed);
        let has_room = before == 0 || before + memory <= QUEUE_BYTES_MAX; // one batch always fits, or it never would
        let refused = if has_room {
            match self.sender.try_send(Message::Batch(batch)) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => message,
            }
        } else {
            Message::Batch(batch)
        };
        queued.fetch_sub(memory, Ordering::Relaxed);
        match refused {
            Message::Batch(batch) => Err(batch),
            Message::Wake => Ok(()),
        }
    }

    /// Whether the sink takes nothing more for now.
    pub(super) fn is_stuck(&self) -> bool {
        self.shared.stuck.load(Ordering::Relaxed)
    }

    /// Whether nothing will ever be taken again: the sink's thread has ended, by a panic if the log is not closed.
    pub(super) fn is_gone(&self) -> bool {
        self.shared.gone.load(Ordering::Relaxed)
    }

    /// Whether the sink is stuck, or has fallen so far behind that what is under way should be let through first.
    pub(super) fn is_congested(&self) -> bool {
        self.is_stuck() || self.shared.queued_bytes.load(Ordering::Relaxed) > QUEUE_BYTES_MAX / 2
    }

    /// `lines` are lost on the worker's side.
    pub(super) fn lose(&self, lines: u64) {
        self.shared.lose(lines);
    }

    /// An empty buffer that the sink is done with, or a new one.
    pub(super) fn spare_buffer(&self) -> Vec<u8> {
        // A worker does not wait, not even for this lock: a new buffer costs less.
        let spare = self
            .shared
            .spare
            .try_lock()
            .ok()
            .and_then(|mut spare| spare.pop());
        spare.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// Asks the sink to open its file anew.
    pub(super) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.wake();
    }

    /// Asks the sink to end once everything that was pushed is written.
    pub(super) fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        self.wake();
    }

    /// A full queue needs no waking: the sink looks at the flags after each batch.
    fn wake(&self) {
        let _ = self.sender.try_send(Message::Wake);
    }
}

impl Intake {
    /// What to do next; waits for it at most `idle`.
    pub(super) fn next(&self, idle: Duration) -> Next {
        loop {
            if self.shared.reopen.swap(false, Ordering::Acquire) {
                return Next::Reopen;
            }
            // Read before the queue is found empty: what was pushed before closing began is then seen.
            let closing = self.shared.closing.load(Ordering::Acquire);
            let message = match self.receiver.try_recv() {
                Err(TryRecvError::Empty) if closing => return Next::Closed,
                Err(TryRecvError::Disconnected) => return Next::Closed,
                Err(TryRecvError::Empty) => match self.receiver.recv_timeout(idle) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => return Next::Idle,
                    Err(RecvTimeoutError::Disconnected) => return Next::Closed,
                },
                Ok(message) => message,
            };
            match message {
                Message::Batch(batch) => return Next::Batch(self.taken(batch)),
                Message::Wake => {}
            }
        }
    }

    /// Another batch that is there already.
    pub(super) fn more(&self) -> Option<Batch> {
        loop {
            match self.receiver.try_recv().ok()? {
                Message::Batch(batch) => return Some(self.taken(batch)),
                Message::Wake => {} // the flags are looked at before the next wait
            }
        }
    }

    fn taken(&self, batch: Batch) -> Batch {
        let queued = &self.shared.queued_bytes;
        queued.fetch_sub(batch.bytes.capacity(), Ordering::Relaxed);
        batch
    }

    /// Whether the log is being closed.
    pub(super) fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire)
    }

    /// From now on nothing is taken, or everything again.
    pub(super) fn set_stuck(&self, stuck: bool) {
        self.shared.stuck.store(stuck, Ordering::Relaxed);
    }

    /// How many lines were lost since this was last asked.
    pub(super) fn take_lost(&self) -> u64 {
        self.shared.lost.swap(0, Ordering::Relaxed)
    }

    /// `lines` more were lost, here at the sink.
    pub(super) fn lose(&self, lines: u64) {
        self.shared.lose(lines);
    }

    /// Lines that were lost and that no line could tell of yet, for the next one; they are counted already.
    pub(super) fn still_lost(&self, lines: u64) {
        self.shared.lost.fetch_add(lines, Ordering::Relaxed);
    }

    /// Keeps a buffer for the workers, if it is of the size that they want.
    pub(super) fn recycle(&self, mut bytes: Vec<u8>) {
        let fits = (BUFFER_BYTES..=2 * BUFFER_BYTES).contains(&bytes.capacity());
        if let (true, Ok(mut spare)) = (fits, self.shared.spare.try_lock())
            && spare.len() < SPARE_BUFFERS_MAX
        {
            bytes.clear();
            spare.push(bytes);
        }
    }
}

impl Drop for Intake {
    /// The sink ends, as it should or in a panic: what still waits is lost and counted. A push that comes
    /// later finds the queue closed.
    fn drop(&mut self) {
        self.set_stuck(true);
        self.shared.gone.store(true, Ordering::Relaxed);
        while let Ok(message) = self.receiver.try_recv() {
            if let Message::Batch(batch) = message {
                self.shared.lose(batch.lines);
            }
        }
    }
}

impl Shared {
    fn lose(&self, lines: u64) {
        if lines > 0 {
            self.lost.fetch_add(lines, Ordering::Relaxed);
            self.metrics.transactions_dropped(self.sink, lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::ZERO;

    fn batch(bytes: impl Into<Vec<u8>>, lines: u64) -> Batch {
        Batch {
            bytes: bytes.into(),
            lines,
            ticket: None,
        }
    }

    fn push(queue: &Queue, bytes: impl Into<Vec<u8>>, lines: u64) -> bool {
        queue.push(batch(bytes, lines)).is_ok()
    }

    #[test]
    fn what_finds_no_place_comes_back() {
        let metrics = Metrics::new(0);
        let (queue, intake) = queue(Sink::File, Arc::clone(&metrics));
        for _ in 0..QUEUE_PLACES {
            assert!(push(&queue, *b"line\n", 1));
        }
        let back = queue.push(batch(*b"line\nline\n", 2)).unwrap_err();
        assert_eq!((&*back.bytes, back.lines), (&b"line\nline\n"[..], 2));
        assert_eq!(metrics.dropped_so_far(Sink::File), 0);
        queue.lose(back.lines);
        assert_eq!(metrics.dropped_so_far(Sink::File), 2);
        assert_eq!((intake.take_lost(), intake.take_lost()), (2, 0));
        assert!(matches!(intake.next(IDLE), Next::Batch(_)));
        assert!(push(&queue, *b"line\n", 1), "there is room again");
    }

    #[test]
    fn memory_that_waits_is_bounded() {
        let (queue, intake) = queue(Sink::File, Metrics::new(0));
        let large = || Vec::with_capacity(QUEUE_BYTES_MAX / 4);
        for part in 1..=4 {
            assert!(push(&queue, large(), 1));
            assert_eq!(queue.is_congested(), part > 2, "{part} quarters");
        }
        assert!(!push(&queue, large(), 1));
        assert!(matches!(intake.next(IDLE), Next::Batch(_)));
        assert!(push(&queue, large(), 1), "there is room again");
    }

    #[test]
    fn one_batch_always_fits_or_it_never_would() {
        let (queue, intake) = queue(Sink::File, Metrics::new(0));
        let larger = || Vec::with_capacity(QUEUE_BYTES_MAX + 1);
        assert!(push(&queue, larger(), 1));
        assert!(!push(&queue, larger(), 1));
        assert!(matches!(intake.next(IDLE), Next::Batch(_)));
        assert!(push(&queue, larger(), 1));
    }

    #[test]
    fn a_stuck_sink_takes_nothing() {
        let (queue, intake) = queue(Sink::File, Metrics::new(0));
        intake.set_stuck(true);
        assert!(queue.is_stuck() && queue.is_congested());
        assert!(!push(&queue, *b"a\n", 1));
        intake.set_stuck(false);
        assert!(push(&queue, *b"a\n", 1));
    }

    #[test]
    fn closing_comes_after_everything_that_was_pushed() {
        let (queue, intake) = queue(Sink::File, Metrics::new(0));
        push(&queue, b"a\n".to_vec(), 1);
        push(&queue, b"b\n".to_vec(), 1);
        queue.reopen();
        queue.close();
        assert!(matches!(intake.next(IDLE), Next::Reopen));
        for expected in [b"a\n", b"b\n"] {
            let Next::Batch(batch) = intake.next(IDLE) else {
                panic!("a batch was pushed")
            };
            assert_eq!(batch.bytes, expected);
        }
        assert!(matches!(intake.next(IDLE), Next::Closed));
    }

    #[test]
    fn a_sink_that_is_gone_counts_as_full() {
        let metrics = Metrics::new(0);
        let (queue, intake) = queue(Sink::Stdout, Arc::clone(&metrics));
        assert!(push(&queue, *b"a\n", 1));
        drop(intake);
        assert_eq!(metrics.dropped_so_far(Sink::Stdout), 1);
        assert!(!push(&queue, *b"b\n", 1));
        assert!(queue.is_stuck() && queue.is_gone());
    }

    #[test]
    fn buffers_come_back_and_odd_ones_do_not() {
        let (queue, intake) = queue(Sink::File, Metrics::new(0));
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        buffer.push(b'x');
        let address = buffer.as_ptr();
        intake.recycle(vec![0; 10 * BUFFER_BYTES]);
        intake.recycle(Vec::new());
        intake.recycle(buffer);
        let first = queue.spare_buffer();
        assert!(first.is_empty() && first.as_ptr() == address);
        assert!(queue.spare_buffer().capacity() == BUFFER_BYTES);
    }
}
