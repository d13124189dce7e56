//! The thread behind each sink: takes batches off its queue, writes them, keeps the account of what was lost.
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

use crate::metrics::Metrics;
use crate::metrics::Sink;
use crate::transactions::LogError;
use crate::transactions::file::count_lines;
use crate::transactions::file::write_what_fits;
use crate::transactions::queue;
use crate::transactions::queue::Intake;
use crate::transactions::queue::Next;
use crate::transactions::queue::Queue;

/// How often an idle sink looks after itself.
const IDLE: Duration = Duration::from_secs(1);

/// Where lines go.
pub(super) trait LineSink: Send {
    /// Writes whole lines, telling in the first that `lost` were lost before it, where there is a place for
    /// that. Returns how many got in.
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
        metrics: &Arc<Metrics>,
        close_max: Duration,
    ) -> Result<Self, LogError> {
        let (queue, intake) = queue::queue(sink, Arc::clone(metrics));
        let (alive, ended) = sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("transactions-{}", sink.as_str()))
            .spawn(move || {
                let _alive = alive; // dropped at the very end, also in a panic
                run(&intake, &mut target);
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

fn run(intake: &Intake, target: &mut impl LineSink) {
    loop {
        match intake.next(IDLE) {
            Next::Batch(mut batch) => {
                let lost = intake.take_lost();
                let written = target.write(&mut batch.bytes, lost);
                if written == 0 {
                    intake.still_lost(lost);
                }
                intake.lose(batch.lines.saturating_sub(written));
                intake.recycle(batch.bytes);
            }
            Next::Reopen => target.reopen(),
            Next::Idle => target.idle(),
            Next::Closed => return,
        }
    }
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
        let thread =
            SinkThread::start(Sink::Stdout, Gated(gated), &metrics, Duration::ZERO).unwrap();
        let queue = Arc::clone(thread.queue());
        for _ in 0..3_000 {
            queue.push(b"line\n".to_vec(), 1);
        }
        let dropped = metrics.dropped_so_far(Sink::Stdout);
        assert!(
            (1_900..=1_976).contains(&dropped),
            "all but the queue's places and the batch in hand: {dropped}"
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

    #[test]
    fn losses_are_counted_once_and_told_until_a_line_is_written() {
        let metrics = Metrics::new(0);
        let told = Arc::default();
        let (works, answers) = sync_channel(10);
        let target = Flaky(answers, Arc::clone(&told));
        let thread =
            SinkThread::start(Sink::File, target, &metrics, Duration::from_secs(20)).unwrap();
        for (batch, does_work) in [
            ("a\nb\n", false),
            ("c\n", false),
            ("d\n", true),
            ("e\n", true),
        ] {
            works.send(does_work).unwrap();
            thread
                .queue()
                .push(batch.into(), count_lines(batch.as_bytes()));
        }
        thread.close();
        assert_eq!(*told.lock().unwrap(), [0, 2, 3, 0]);
        assert_eq!(metrics.dropped_so_far(Sink::File), 3);
    }
}
