//! The thread behind each sink: takes batches off its queue, writes them, keeps the account of what was lost. Where
//! answers wait, what is there is written at once (one write, one sync); where nothing may be lost, a batch that cannot
//! be written is held and tried again, and nothing is taken meanwhile.
//! The file has one, standard output another, so that a reader of the one who stalls does not hold up the
//! other. Nothing here is on the path of a request.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::config;
use crate::config::Durability;
use crate::config::WhenFull;
use crate::metrics::Metrics;
use crate::metrics::Sink;
use crate::transactions::LogError;
use crate::transactions::file::count_lines;
use crate::transactions::file::write_what_fits;
use crate::transactions::queue;
use crate::transactions::queue::Batch;
use crate::transactions::queue::Intake;
use crate::transactions::queue::Next;
use crate::transactions::queue::Queue;

/// How often an idle sink looks after itself.
const IDLE: Duration = Duration::from_secs(1);

/// Batches are written together up to this size.
const GROUP_BYTES_MAX: usize = 1024 * 1024;

/// How long a batch that is held waits before it is tried again, and how often the end is looked for meanwhile.
const HELD_FOR: Duration = Duration::from_secs(1);
const HELD_LOOK: Duration = Duration::from_millis(50);

/// How a sink's thread goes about its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// Answers wait: what is there is written at once.
    pub(super) groups: bool,
    /// What cannot be written is held until it can.
    pub(super) holds: bool,
}

impl Manner {
    /// Of whatever somebody else reads: nothing waits for that.
    pub(super) const STREAM: Self = Self {
        groups: false,
        holds: false,
    };

    /// Of the file.
    pub(super) const fn of(config: &config::Transactions) -> Self {
        Self {
            groups: !matches!(config.durability, Durability::Buffered),
            holds: !matches!(config.when_full, WhenFull::Drop),
        }
    }
}

/// Where lines go.
pub(super) trait LineSink: Send {
    /// Writes whole lines, telling in the first that `lost` were lost before it, where there is a place for
    /// that. Returns how many got in: always the first ones.
    fn write(&mut self, lines: &mut Vec<u8>, lost: u64) -> u64;
    /// Opens the target anew.
    fn reopen(&mut self);
    /// Nothing came for a while.
    fn idle(&mut self);
}

/// A sink's thread and the queue to it.
#[derive(Debug)]
pub(super) struct SinkThread {
    sink: Sink,
    queue: Arc<Queue>,
    thread: JoinHandle<()>,
    /// Closed by the thread's end: a join with a deadline.
    ended: Receiver<()>,
    close_max: Duration,
}

impl SinkThread {
    /// Starts the thread of `target`.
    pub(super) fn start(
        sink: Sink,
        mut target: impl LineSink + 'static,
        manner: Manner,
        metrics: &Arc<Metrics>,
        close_max: Duration,
    ) -> Result<Self, LogError> {
        let (queue, intake) = queue::queue(sink, Arc::clone(metrics));
        let (alive, ended) = sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("transactions-{}", sink.as_str()))
            .spawn(move || {
                let _alive = alive; // dropped at the very end, also in a panic
                run(&intake, &mut target, manner);
            })
            .map_err(LogError::Thread)?;
        Ok(Self {
            sink,
            queue: Arc::new(queue),
            thread,
            ended,
            close_max,
        })
    }

    /// The way to it.
    pub(super) const fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Ends the thread once everything is written; a thread that hangs is left behind after a while.
    pub(super) fn close(self) {
        self.queue.close();
        if self.ended.recv_timeout(self.close_max) == Err(RecvTimeoutError::Timeout) {
            tracing::error!(
                sink = self.sink.as_str(),
                "transactions were lost: the sink hangs"
            );
        } else if self.thread.join().is_err() {
            tracing::error!(
                sink = self.sink.as_str(),
                "transactions were lost: the sink's thread panicked"
            );
        }
    }
}

fn run(intake: &Intake, target: &mut impl LineSink, manner: Manner) {
    loop {
        match intake.next(IDLE) {
            Next::Batch(batch) if manner.groups => write_group(intake, target, manner, batch),
            Next::Batch(batch) => intake.recycle(write(intake, target, manner, batch)),
            Next::Reopen => target.reopen(),
            Next::Idle => target.idle(),
            Next::Closed => return,
        }
    }
}

/// Writes this batch and what has come by now; the tickets of all go when that is done.
fn write_group(intake: &Intake, target: &mut impl LineSink, manner: Manner, mut group: Batch) {
    let mut tickets = vec![group.ticket.take()];
    while group.bytes.len() < GROUP_BYTES_MAX
        && let Some(more) = intake.more()
    {
        group.bytes.extend_from_slice(&more.bytes);
        group.lines += more.lines;
        tickets.push(more.ticket);
        intake.recycle(more.bytes);
    }
    let bytes = write(intake, target, manner, group);
    drop(tickets);
    intake.recycle(bytes);
}

/// Writes a batch; returns its buffer.
fn write(intake: &Intake, target: &mut impl LineSink, manner: Manner, mut batch: Batch) -> Vec<u8> {
    let lost = intake.take_lost();
    let mut written = target.write(&mut batch.bytes, lost);
    let mut is_told = written > 0;
    while written < batch.lines && manner.holds && !intake.is_closing() {
        batch.bytes.drain(..end_of_line(&batch.bytes, written));
        batch.lines -= written;
        intake.set_stuck(true);
        wait(intake);
        written = target.write(&mut batch.bytes, 0); // what was lost before it stands in the first line already
        is_told |= written > 0;
    }
    intake.set_stuck(false);
    if !is_told {
        intake.still_lost(lost);
    }
    intake.lose(batch.lines.saturating_sub(written));
    batch.bytes
}

/// Until the next try is due, or the log is being closed.
fn wait(intake: &Intake) {
    let mut waited = Duration::ZERO;
    while waited < HELD_FOR && !intake.is_closing() {
        thread::sleep(HELD_LOOK);
        waited += HELD_LOOK;
    }
}

/// Where the line with this number ends, counted from one; 0 for none.
fn end_of_line(bytes: &[u8], number: u64) -> usize {
    let before = usize::try_from(number).unwrap_or(usize::MAX).checked_sub(1);
    before
        .and_then(|before| memchr::memchr_iter(b'\n', bytes).nth(before))
        .map_or(0, |at| at + 1)
}

/// Lines into a stream that somebody else reads.
#[derive(Debug)]
pub(super) struct Stream<W> {
    to: W,
    /// It ends inside a line.
    is_torn: bool,
    /// It broke and that was said.
    is_broken: bool,
}

/// Standard output, past the buffer that the standard library keeps: a batch is a buffer already, and what
/// got through must be known when a write fails.
pub(super) fn stdout() -> io::Result<Stream<File>> {
    let descriptor = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(Stream::to(File::from(descriptor)))
}

impl<W: Write> Stream<W> {
    pub(super) const fn to(to: W) -> Self {
        Self {
            to,
            is_torn: false,
            is_broken: false,
        }
    }
}

impl<W: Write + Send> LineSink for Stream<W> {
    fn write(&mut self, lines: &mut Vec<u8>, _lost: u64) -> u64 {
        if self.is_torn {
            lines.insert(0, b'\n');
        }
        let (written, result) = write_what_fits(&mut self.to, lines);
        let ends_line = usize::from(self.is_torn && written > 0);
        if written > 0 {
            self.is_torn = lines[written - 1] != b'\n';
        }
        if let Err(error) = &result
            && !self.is_broken
        {
            tracing::error!(%error, "cannot write transactions to standard output: they are dropped and counted");
        }
        self.is_broken = result.is_err();
        count_lines(&lines[ends_line..written])
    }

    fn reopen(&mut self) {}

    fn idle(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn push(queue: &Queue, lines: &str) -> bool {
        let batch = Batch {
            bytes: lines.into(),
            lines: count_lines(lines.as_bytes()),
            ticket: None,
        };
        queue.push(batch).is_ok()
    }

    /// Takes `room` bytes, then is full until it is given more.
    #[derive(Default)]
    struct Pipe {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let fits = bytes.len().min(self.room);
            self.room -= fits;
            self.taken.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stream_that_breaks_inside_a_line_goes_on_with_a_new_one() {
        let mut stream = Stream::to(Pipe {
            room: 7,
            taken: Vec::new(),
        });
        assert_eq!(stream.write(&mut b"one\ntwo\n".to_vec(), 0), 1);
        assert_eq!(stream.write(&mut b"three\n".to_vec(), 0), 0, "still full");
        stream.to.room = 100;
        assert_eq!(stream.write(&mut b"four\n".to_vec(), 0), 1);
        assert_eq!(stream.write(&mut b"five\n".to_vec(), 0), 1);
        assert_eq!(stream.to.taken, b"one\ntwo\nfour\nfive\n");
    }

    /// Takes nothing until its gate opens, like a pipe that nobody reads.
    struct Gated(Receiver<()>);

    impl LineSink for Gated {
        fn write(&mut self, lines: &mut Vec<u8>, _lost: u64) -> u64 {
            let _ = self.0.recv();
            count_lines(lines)
        }

        fn reopen(&mut self) {}

        fn idle(&mut self) {}
    }

    #[test]
    fn a_sink_that_hangs_holds_up_nobody() {
        let metrics = Metrics::new(0);
        let (gate, gated) = sync_channel(1);
        let thread = SinkThread::start(
            Sink::Stdout,
            Gated(gated),
            Manner::STREAM,
            &metrics,
            Duration::ZERO,
        )
        .unwrap();
        let queue = Arc::clone(thread.queue());
        let refused = (0..3_000).filter(|_| !push(&queue, "line\n")).count();
        assert!(
            (1_900..=1_976).contains(&refused),
            "all but the queue's places and the batch in hand: {refused}"
        );
        thread.close();
        drop(gate);
    }

    /// Works when told so, and notes what it was told of losses.
    struct Flaky(Receiver<bool>, Arc<std::sync::Mutex<Vec<u64>>>);

    impl LineSink for Flaky {
        fn write(&mut self, lines: &mut Vec<u8>, lost: u64) -> u64 {
            self.1.lock().unwrap().push(lost);
            if self.0.recv().unwrap() {
                count_lines(lines)
            } else {
                0
            }
        }

        fn reopen(&mut self) {}

        fn idle(&mut self) {}
    }

    /// Keeps each write, and takes as many lines as it is told for each; all when it is told nothing.
    struct Stubborn(Receiver<u64>, Arc<std::sync::Mutex<Vec<String>>>);

    impl LineSink for Stubborn {
        fn write(&mut self, lines: &mut Vec<u8>, lost: u64) -> u64 {
            let mut seen = self.1.lock().unwrap();
            seen.push(format!("{lost}:{}", String::from_utf8_lossy(lines)));
            let all = count_lines(lines);
            self.0.try_recv().map_or(all, |taken| taken.min(all))
        }

        fn reopen(&mut self) {}

        fn idle(&mut self) {}
    }

    fn held_by(
        manner: Manner,
        takes: &[u64],
    ) -> (SinkThread, Arc<std::sync::Mutex<Vec<String>>>, Arc<Metrics>) {
        let (metrics, seen) = (Metrics::new(0), Arc::default());
        let (tell, told) = sync_channel(takes.len());
        for taken in takes {
            tell.send(*taken).unwrap();
        }
        let target = Stubborn(told, Arc::clone(&seen));
        let thread = SinkThread::start(Sink::File, target, manner, &metrics, LONG).unwrap();
        (thread, seen, metrics)
    }

    #[test]
    fn what_is_held_is_tried_until_the_last_line_is_in() {
        let holds = Manner {
            groups: false,
            holds: true,
        };
        let (thread, seen, metrics) = held_by(holds, &[0, 2]);
        thread.queue().lose(7);
        assert!(push(thread.queue(), "a\nb\nc\n"));
        while seen.lock().unwrap().len() < 3 {
            thread::yield_now();
        }
        thread.close();
        assert_eq!(
            *seen.lock().unwrap(),
            ["7:a\nb\nc\n", "0:a\nb\nc\n", "0:c\n"]
        );
        assert_eq!(
            metrics.dropped_so_far(Sink::File),
            7,
            "nothing more was lost"
        );
    }

    #[test]
    fn a_sink_that_holds_takes_nothing_more_and_ends_when_the_log_does() {
        let holds = Manner {
            groups: true,
            holds: true,
        };
        let (thread, seen, metrics) = held_by(holds, &[0; 100]);
        let queue = Arc::clone(thread.queue());
        assert!(push(&queue, "a\n"));
        while !queue.is_stuck() {
            thread::yield_now();
        }
        assert!(!push(&queue, "b\n"));
        thread.close();
        assert!(seen.lock().unwrap().iter().all(|write| write == "0:a\n"));
        assert_eq!(metrics.dropped_so_far(Sink::File), 1);
    }

    #[test]
    fn batches_that_are_there_are_written_at_once() {
        let groups = Manner {
            groups: true,
            holds: false,
        };
        let (metrics, seen) = (Metrics::new(0), Arc::default());
        let (gate, gated) = sync_channel(1);
        let target = Stubborn(gated, Arc::clone(&seen));
        let (queue, intake) = queue::queue(Sink::File, metrics);
        for lines in ["a\nb\n", "c\n", "d\n"] {
            assert!(push(&queue, lines));
        }
        queue.close();
        run(&intake, &mut { target }, groups);
        drop(gate);
        assert_eq!(*seen.lock().unwrap(), ["0:a\nb\nc\nd\n"]);
    }

    #[test]
    fn losses_are_counted_once_and_told_until_a_line_is_written() {
        let metrics = Metrics::new(0);
        let told = Arc::default();
        let (works, answers) = sync_channel(10);
        let target = Flaky(answers, Arc::clone(&told));
        let thread = SinkThread::start(Sink::File, target, Manner::STREAM, &metrics, LONG).unwrap();
        for (batch, does_work) in [
            ("a\nb\n", false),
            ("c\n", false),
            ("d\n", true),
            ("e\n", true),
        ] {
            works.send(does_work).unwrap();
            assert!(push(thread.queue(), batch));
        }
        thread.close();
        assert_eq!(*told.lock().unwrap(), [0, 2, 3, 0]);
        assert_eq!(metrics.dropped_so_far(Sink::File), 3);
    }
}
