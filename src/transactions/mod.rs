//! The transaction log: one record for every request whose head was begun, written once, at its end.
//!
//! ```text
//! Transaction ──drop──▶ Recorder (one a worker: a buffer of lines) ──▶ Queue ──▶ one writer thread ──▶ file
//!                                                                  └─▶ Queue ──▶ one thread ──▶ stdout
//! ```
//!
//! A worker never waits here. What a queue has no room for is dropped and counted, or kept while the requests wait
//! ([`hold`]), as `when_full` says. Once and only once is a matter of ownership: the [`Transaction`] owns its record,
//! and records it when it is dropped, or when it is asked to, because an answer waits for that.
//! Reading the log back is [`read`]; what the records add up to, in memory, is [`totals`].

mod closed;
mod file;
mod hold;
mod line;
mod queue;
pub mod read;
pub mod record;
pub mod totals;
mod writer;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::ops::Deref;
use std::ops::DerefMut;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use crate::clock::Clock;
use crate::config;
use crate::health::Health;
use crate::key::live::KeyReader;
use crate::key::rules::NormalPath;
use crate::key::rules::PathPattern;
use crate::metrics::Metrics;
use crate::metrics::Sink;
use crate::metrics::WorkerMetrics;
use crate::transactions::file::FileSink;
use crate::transactions::hold::Hold;
use crate::transactions::hold::Terms;
use crate::transactions::hold::Ticket;
use crate::transactions::line::Second;
use crate::transactions::line::Spelling;
use crate::transactions::queue::Batch;
use crate::transactions::queue::Queue;
use crate::transactions::record::Record;
use crate::transactions::record::Target;
use crate::transactions::totals::Totals;
use crate::transactions::writer::Manner;
use crate::transactions::writer::SinkThread;

/// Lines are handed over when this many bytes of them wait.
const HANDOVER_BYTES: usize = 64 * 1024;
/// A buffer has room for a usual line beyond [`HANDOVER_BYTES`], so that it need not grow.
const BUFFER_BYTES: usize = HANDOVER_BYTES + 8 * 1024;
/// Lines that a worker keeps, because `when_full` says so; beyond it they are dropped and counted all the same. Each
/// request that waits has one line, so there are as many as connections: all of them have a place here but for the
/// oddest of requests.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The part of it for lines that no request waits with: of clients that went away, and of those that were refused. They
/// may come without end, and must not take the place of the others.
const KEPT_UNWAITED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often, and after which pause, a worker that ends tries to hand over what it has kept.
const LAST_TRIES: u32 = 100;
const LAST_TRY_PAUSE: Duration = Duration::from_millis(10);
/// How long [`Log::close`] waits for the disk. A disk that hangs must not keep the process for ever.
const FILE_CLOSE_MAX: Duration = Duration::from_secs(10);
/// How long [`Log::close`] waits for whoever reads standard output.
const STDOUT_CLOSE_MAX: Duration = Duration::from_secs(1);

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened for writing.
    #[error(
        "cannot write the transaction log: {path}: {cause}\n  hint: give keygate's user write access to the \
         folder `transactions.dir`, or set `transactions.enabled: false`"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// Standard output cannot be used.
    #[error(
        "cannot write transactions to standard output: {0}\n  hint: set `transactions.stdout: false`"
    )]
    Stdout(#[source] io::Error),
    /// A pattern of `transactions.skip_paths` cannot be read.
    #[error("cannot use a pattern of transactions.skip_paths: {pattern}: {why}")]
    SkipPath {
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// No thread could be made.
    #[error("cannot start a thread of the transaction log: {0}")]
    Thread(#[source] io::Error),
}

/// The running log: the sinks' threads, and what recorders need.
#[derive(Debug)]
pub struct Log {
    file: Option<SinkThread>,
    stdout: Option<SinkThread>,
    spelling: Spelling,
    skip_paths: Arc<[PathPattern]>,
    terms: Arc<Terms>,
    clock: Clock,
    totals: Totals,
    adding: totals::Thread,
    /// What the log held at the start, until it is read.
    past: Option<totals::Past>,
}

impl Log {
    /// Opens the file and starts the threads; nothing of either when the log is switched off.
    ///
    /// # Errors
    /// When the folder or the file cannot be made or written.
    pub fn start(
        config: &config::Transactions,
        metrics: &Arc<Metrics>,
        health: &Arc<Health>,
        clock: Clock,
    ) -> Result<Self, LogError> {
        let skip_paths = config.skip_paths.iter().map(|pattern| {
            PathPattern::parse(pattern).map_err(|why| LogError::SkipPath {
                pattern: pattern.clone(),
                why: why.to_string(),
            })
        });
        let totals = Totals::new(clock.clone());
        let mut log = Self {
            file: None,
            stdout: None,
            spelling: Spelling {
                query: config.query,
                client_ip: config.client_ip,
            },
            skip_paths: skip_paths.collect::<Result<_, _>>()?,
            terms: Terms::new(config, Arc::clone(health)),
            clock: clock.clone(),
            adding: totals::Thread::start(&totals).map_err(LogError::Thread)?,
            totals,
            past: None,
        };
        if config.enabled {
            log.past = Some(totals::Past::of(&config.dir)); // before the first line is written
            let file = FileSink::open(config, clock, Arc::clone(health))
                .map_err(|(path, cause)| LogError::File { path, cause })?;
            log.file = Some(SinkThread::start(
                Sink::File,
                file,
                Manner::of(config),
                metrics,
                FILE_CLOSE_MAX,
            )?);
            if config.stdout {
                let stream = writer::stdout().map_err(LogError::Stdout)?;
                log.stdout = Some(SinkThread::start(
                    Sink::Stdout,
                    stream,
                    Manner::STREAM,
                    metrics,
                    STDOUT_CLOSE_MAX,
                )?);
            }
        }
        Ok(log)
    }

    /// The recorder of one worker; it goes to the worker's thread and stays there.
    #[must_use]
    pub fn recorder(&self, metrics: Arc<WorkerMetrics>) -> Recorder {
        let queue = |thread: &SinkThread| Arc::clone(thread.queue());
        Recorder {
            file: self.file.as_ref().map(queue),
            stdout: self.stdout.as_ref().map(queue),
            spelling: self.spelling,
            skip_paths: Arc::clone(&self.skip_paths),
            hold: Hold::new(Arc::clone(&self.terms)),
            clock: self.clock.clone(),
            metrics,
            pending: RefCell::new(Pending::default()),
            totals: self.adding.outbox(),
        }
    }

    /// What the records add up to.
    #[must_use]
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Adds what the log held at the start to the totals, in the background; once. `keys` says whose records they are.
    pub fn rebuild(&mut self, keys: KeyReader) {
        if let Some(past) = self.past.take() {
            past.rebuild(&self.totals, keys);
        }
    }

    /// Opens the file anew when called, for whoever has moved it away (SIGUSR1).
    pub fn reopener(&self) -> impl Fn() + Send + Sync + use<> {
        let queue = self.file.as_ref().map(|file| Arc::clone(file.queue()));
        move || {
            if let Some(queue) = &queue {
                queue.reopen();
            }
        }
    }

    /// Writes what was handed over and ends the threads. What a recorder still holds has to be flushed
    /// before: end the workers first. Waits a bounded time for a sink that hangs.
    pub fn close(self) {
        for thread in [self.file, self.stdout].into_iter().flatten() {
            thread.close();
        }
        self.adding.close();
    }
}

/// One worker's end of the log: opens transactions and buffers their lines. It stays on its thread.
#[derive(Debug)]
pub struct Recorder {
    file: Option<Arc<Queue>>,
    stdout: Option<Arc<Queue>>,
    spelling: Spelling,
    skip_paths: Arc<[PathPattern]>,
    hold: Hold,
    clock: Clock,
    metrics: Arc<WorkerMetrics>,
    pending: RefCell<Pending>,
    totals: totals::Outbox,
}

/// Lines that wait for their handover.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    lines: u64,
    second: Second,
}

impl Recorder {
    /// Begins a transaction with what is known at the head. The request counts as in flight from here on.
    #[must_use]
    pub fn open(self: &Rc<Self>, record: Record) -> Transaction {
        self.metrics.request_started();
        Transaction {
            record: Box::new(record),
            recorder: Rc::clone(self),
            is_recorded: false,
        }
    }

    /// Where this worker's time comes from.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether anything waits for a [`Recorder::flush`].
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.pending.borrow().lines > 0 || self.totals.has_pending()
    }

    /// Hands over what is buffered. The worker calls this every 100 ms while something waits: that is what
    /// `durability: buffered` promises.
    pub fn flush(&self) {
        self.hand_over(&mut self.pending.borrow_mut());
        self.totals.flush();
    }

    /// Brings records to the sink as soon as answers wait for them, and answers on their way as soon as they may go.
    /// For ever; the worker runs this beside its connections.
    pub(crate) async fn commit(&self) {
        if !self.hold.is_durable() || self.file.is_none() {
            return;
        }
        loop {
            if self.hold.settle() {
                tokio::task::yield_now().await; // the requests that end right now share this batch
                self.flush();
            }
            self.hold.changed().await;
        }
    }

    /// Whether a request has to be refused, because its record could not be written now.
    pub(crate) fn refuses(&self, record: &Record) -> bool {
        self.hold.may_refuse()
            && self.file.as_ref().is_some_and(|file| {
                (file.is_congested() || self.hold.refuses()) && !self.skips(record)
            })
    }

    /// Counts the request and writes its line. Returns the number of the batch, if the request has to wait for that.
    fn record(&self, record: &mut Record, waits: bool) -> Option<u64> {
        let duration = self.clock.now().saturating_duration_since(record.started);
        let status = record.status.unwrap_or(0);
        self.metrics.request(
            record.decision,
            record.reason,
            status,
            duration,
            record.upstream_time,
        );
        self.metrics.request_ended();
        let kept_max = if waits {
            KEPT_BYTES_MAX
        } else {
            KEPT_UNWAITED_BYTES_MAX
        };
        let waits_for = self.write(record, duration, kept_max);
        self.totals.note(totals::Event::of(record, duration)); // takes the key
        waits_for
    }

    fn write(&self, record: &Record, duration: Duration, kept_max: usize) -> Option<u64> {
        let file = self.file.as_ref().filter(|_| !self.skips(record))?;
        self.metrics.transaction_recorded();
        let pending = &mut *self.pending.borrow_mut();
        if pending.bytes.len() >= kept_max {
            file.lose(1);
            return None;
        }
        if pending.bytes.capacity() == 0 {
            pending.bytes.reserve_exact(BUFFER_BYTES);
        }
        self.spelling
            .write(record, duration, &mut pending.second, &mut pending.bytes);
        pending.lines += 1;
        let waits_for = self.hold.added(file.is_stuck());
        if pending.bytes.len() >= HANDOVER_BYTES {
            self.hand_over(pending);
        }
        waits_for
    }

    /// `record: false` on the key, and `skip_paths`.
    fn skips(&self, record: &Record) -> bool {
        if record.key.as_ref().is_some_and(|key| !key.record()) {
            return true;
        }
        let Target::Uri(uri) = &record.target else {
            return false;
        };
        if self.skip_paths.is_empty() {
            return false;
        }
        let path = NormalPath::of(uri.path());
        self.skip_paths.iter().any(|pattern| pattern.matches(&path))
    }

    /// Hands over what waits, if there is room. Without room it is kept or lost, as `when_full` says.
    fn hand_over(&self, pending: &mut Pending) {
        let Some(file) = self.file.as_ref().filter(|_| pending.lines > 0) else {
            return;
        };
        if self.hold.keeps() && file.is_stuck() {
            return self.hold.kept(file.is_gone()); // a sink that is stuck says itself why
        }
        let for_stdout = self.stdout.as_ref().map(|_| pending.bytes.clone());
        let lines = pending.lines;
        let bytes = if pending.bytes.len() <= BUFFER_BYTES / 4 {
            // Little waits: the queue gets a copy of its size, and the worker keeps its buffer.
            pending.bytes.as_slice().to_vec()
        } else {
            std::mem::replace(&mut pending.bytes, file.spare_buffer())
        };
        let ticket = self.hold.ticket();
        let handed_over = file.push(Batch {
            bytes,
            lines,
            ticket,
        });
        if let Err(batch) = handed_over {
            if self.hold.keeps() {
                batch.ticket.into_iter().for_each(Ticket::void);
                pending.bytes = batch.bytes;
                return self.hold.kept(!file.is_stuck());
            }
            batch.ticket.into_iter().for_each(Ticket::void);
            file.lose(lines);
            self.hold.lost();
        } else {
            self.hold.handed_over(!file.is_congested());
        }
        pending.bytes.clear();
        pending.lines = 0;
        if let Some((stdout, bytes)) = self.stdout.as_ref().zip(for_stdout) {
            let ticket = None;
            if stdout
                .push(Batch {
                    bytes,
                    lines,
                    ticket,
                })
                .is_err()
            {
                stdout.lose(lines);
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let mut rest = std::mem::take(self.pending.get_mut());
        let Some(file) = &self.file else { return };
        for _ in 0..LAST_TRIES {
            self.hand_over(&mut rest);
            if rest.lines == 0 || file.is_stuck() {
                break;
            }
            std::thread::sleep(LAST_TRY_PAUSE); // no request runs any more on this thread
        }
        file.lose(rest.lines);
    }
}

/// One request on its way. It reads and writes like its [`Record`], and is recorded when it is dropped, however that
/// comes about: at the end of the answer's body, at an abort, in a panic; or by [`Transaction::record`].
#[derive(Debug)]
pub struct Transaction {
    /// Boxed: it moves from function to function, and half a kilobyte is slower to move than to allocate.
    record: Box<Record>,
    recorder: Rc<Recorder>,
    is_recorded: bool,
}

impl Transaction {
    /// Whether its answer may have to wait for its record.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.recorder.hold.may_wait()
    }

    /// Records it, ahead of the end of an answer that will wait for the receipt. None: there is nothing to wait for.
    pub(crate) fn record(mut self) -> Option<Receipt> {
        self.is_recorded = true;
        self.recorder
            .record(&mut self.record, true)
            .map(|number| Receipt {
                recorder: Rc::clone(&self.recorder),
                number,
                place: None,
            })
    }
}

impl Deref for Transaction {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Record {
        &mut self.record
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.is_recorded {
            return;
        }
        if std::thread::panicking() && self.record.error.is_none() {
            self.record.error = Some("keygate panicked while serving this request".into());
        }
        self.recorder.record(&mut self.record, false); // nobody is left to wait
    }
}

/// Resolves when the record is as safe as the configuration promises.
#[derive(Debug)]
pub(crate) struct Receipt {
    recorder: Rc<Recorder>,
    number: u64,
    place: Option<u64>,
}

impl Future for Receipt {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let hold = &this.recorder.hold;
        hold.poll(this.number, &mut this.place, context)
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.recorder.hold.leave(self.number, place);
        }
    }
}
