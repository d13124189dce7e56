//! What keygate counts about itself. Each worker writes counters of its own with plain loads and stores, so
//! counting never contends; a scrape adds them up. Labels are words from fixed lists: a path, a token or any
//! other text of a client is never one. Not for: how the figures are served, which is `telemetry`.

mod expose;
mod process;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::key::Key;
use crate::key::KeyState;
use crate::refusal::Decision;
use crate::refusal::Reason;

/// Every figure of this process.
#[derive(Debug)]
pub struct Metrics {
    workers: Box<[Arc<WorkerMetrics>]>,
    accept_failures: AtomicU64,
    reloads: [AtomicU64; Reload::ALL.len()],
    last_reload_success_micros: AtomicI64,
    revocation_lag: Histogram<LAG_BUCKETS>,
    transactions_dropped: [AtomicU64; Sink::ALL.len()],
    certificate_reloads: [AtomicU64; Reload::ALL.len()],
    /// When each certificate in force ends, Unix seconds, by its file.
    certificates_end: Mutex<BTreeMap<PathBuf, i64>>,
}

impl Metrics {
    /// Counters for this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers: (0..workers)
                .map(|_| Arc::new(WorkerMetrics::new()))
                .collect(),
            accept_failures: AtomicU64::new(0),
            reloads: Default::default(),
            last_reload_success_micros: AtomicI64::new(0),
            revocation_lag: Histogram::new(&LAG_BOUNDS_MICROS),
            transactions_dropped: Default::default(),
            certificate_reloads: Default::default(),
            certificates_end: Mutex::default(),
        })
    }

    /// The counters of one worker. Only that worker's thread may count on them: two writers would lose counts.
    ///
    /// # Panics
    /// When `index` is not below the number of workers.
    #[must_use]
    pub fn worker(&self, index: usize) -> Arc<WorkerMetrics> {
        Arc::clone(&self.workers[index])
    }

    /// Everything in Prometheus' text format 0.0.4; `keys` is read by the caller at the scrape.
    #[must_use]
    pub fn render(&self, keys: KeyCounts) -> String {
        expose::render(self, keys)
    }

    /// Accepting a connection failed, for want of file descriptors as a rule.
    pub fn accept_failed(&self) {
        self.accept_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// The key file was read again, with this outcome.
    pub fn reloaded(&self, outcome: Reload, now: Timestamp) {
        self.reloads[outcome as usize].fetch_add(1, Ordering::Relaxed);
        if outcome == Reload::Success {
            self.last_reload_success_micros
                .store(now.as_micros(), Ordering::Relaxed);
        }
    }

    /// A certificate, or the authorities of client certificates, were read again because they had changed.
    pub fn certificates_reloaded(&self, outcome: Reload) {
        self.certificate_reloads[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// When the certificates in force end, Unix seconds, by their files.
    pub fn certificates_end(&self, ends: BTreeMap<PathBuf, i64>) {
        let known = self.certificates_end.lock();
        *known.unwrap_or_else(PoisonError::into_inner) = ends;
    }

    /// How long an edit took to bind every worker: from the key file's modification time to the moment the
    /// new table was published. Only the one task that reloads calls this.
    pub fn revocation_lag(&self, lag: Duration) {
        self.revocation_lag.observe(lag);
    }

    /// This many transactions could not be handed to this sink.
    pub fn transactions_dropped(&self, sink: Sink, count: u64) {
        self.transactions_dropped[sink as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// How many transactions this sink has lost so far.
    #[must_use]
    pub fn dropped_so_far(&self, sink: Sink) -> u64 {
        self.transactions_dropped[sink as usize].load(Ordering::Relaxed)
    }
}

/// The counters of one worker, alone on their cache lines. Single writer: see [`Metrics::worker`].
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerMetrics {
    requests: Box<[Counter; REQUEST_SERIES]>,
    duration: Histogram<DURATION_BUCKETS>,
    upstream: Histogram<DURATION_BUCKETS>,
    requests_started: Counter,
    requests_ended: Counter,
    connections_opened: Counter,
    connections_closed: Counter,
    connections_refused: [Counter; Unwelcome::ALL.len()],
    protocol_errors: [Counter; ProtocolError::ALL.len()],
    panics: Counter,
    transactions: Counter,
}

impl WorkerMetrics {
    fn new() -> Self {
        Self {
            requests: Box::new([const { Counter::new() }; REQUEST_SERIES]),
            duration: Histogram::new(&DURATION_BOUNDS_MICROS),
            upstream: Histogram::new(&DURATION_BOUNDS_MICROS),
            requests_started: Counter::new(),
            requests_ended: Counter::new(),
            connections_opened: Counter::new(),
            connections_closed: Counter::new(),
            connections_refused: [const { Counter::new() }; Unwelcome::ALL.len()],
            protocol_errors: [const { Counter::new() }; ProtocolError::ALL.len()],
            panics: Counter::new(),
            transactions: Counter::new(),
        }
    }

    /// A request ended. `status` 0: no answer was sent. `upstream`: how long the upstream took to its head.
    pub fn request(
        &self,
        decision: Decision,
        reason: Option<Reason>,
        status: u16,
        duration: Duration,
        upstream: Option<Duration>,
    ) {
        self.requests[request_series(decision, reason, status)].add(1);
        self.duration.observe(duration);
        if let Some(upstream) = upstream {
            self.upstream.observe(upstream);
        }
    }

    /// A request's head has begun.
    pub fn request_started(&self) {
        self.requests_started.add(1);
    }

    /// A request that was started is over.
    pub fn request_ended(&self) {
        self.requests_ended.add(1);
    }

    /// A client's connection was taken on.
    pub fn connection_opened(&self) {
        self.connections_opened.add(1);
    }

    /// A client's connection is over.
    pub fn connection_closed(&self) {
        self.connections_closed.add(1);
    }

    /// A connection was closed before anything was said on it.
    pub fn connection_refused(&self, why: Unwelcome) {
        self.connections_refused[why as usize].add(1);
    }

    /// A client broke the protocol.
    pub fn protocol_error(&self, kind: ProtocolError) {
        self.protocol_errors[kind as usize].add(1);
    }

    /// Serving one connection panicked; it ended, the others go on.
    pub fn panicked(&self) {
        self.panics.add(1);
    }

    /// A transaction was recorded: from here on it is the sinks' to write or to count as dropped.
    pub fn transaction_recorded(&self) {
        self.transactions.add(1);
    }
}

/// How a client broke the protocol, as `keygate_protocol_errors_total{kind}` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A head that is malformed or could be read in two ways.
    BadHead,
    /// A head beyond `limits.header_bytes` or `limits.headers`.
    HeadTooLarge,
    /// A head that was begun and not finished within `timeouts.header`.
    HeadTimeout,
    /// A request body with a broken chunk.
    BadChunk,
    /// A TLS handshake that failed or took too long.
    TlsHandshake,
    /// The HTTP library saw another number of heads than the head reader released: the connection was closed.
    OutOfStep,
    /// A client that breaks the rules of HTTP/2: the connection was closed, or the stream reset.
    Http2,
    /// More HTTP/2 frames that carry nothing, or resets, than anybody needs: the connection was closed.
    Http2Flood,
    /// A connection that did not begin with a whole PROXY header, or not in time.
    ProxyHeader,
}

impl ProtocolError {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 9] = [
        Self::BadHead,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::BadChunk,
        Self::TlsHandshake,
        Self::OutOfStep,
        Self::Http2,
        Self::Http2Flood,
        Self::ProxyHeader,
    ];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadHead => "bad_head",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::BadChunk => "bad_chunk",
            Self::TlsHandshake => "tls_handshake",
            Self::OutOfStep => "out_of_step",
            Self::Http2 => "http2",
            Self::Http2Flood => "http2_flood",
            Self::ProxyHeader => "proxy_header",
        }
    }
}

/// Why a connection was closed at once, as `keygate_connections_refused_total{reason}` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwelcome {
    /// Its client has as many as `limits.per_client` allows.
    PerClient,
    /// It was to begin with a PROXY header, and comes from nobody whose word counts.
    UntrustedProxy,
}

impl Unwelcome {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::PerClient, Self::UntrustedProxy];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PerClient => "per_client",
            Self::UntrustedProxy => "untrusted_proxy",
        }
    }
}

/// How reading the key file again ended, as `keygate_reloads_total{result}` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The new table is live.
    Success,
    /// The last good table stays.
    Failure,
}

impl Reload {
    /// Both outcomes, in the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::Success, Self::Failure];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// Where transactions go, as `keygate_transactions_dropped_total{sink}` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// `transactions.ndjson`.
    File,
    /// Standard output.
    Stdout,
}

impl Sink {
    /// Both sinks, in the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::File, Self::Stdout];

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Stdout => "stdout",
        }
    }
}

/// How many keys are in which state, as `keygate_keys{status}` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// In force.
    pub active: u64,
    /// Switched off.
    pub disabled: u64,
    /// Still to come.
    pub not_yet_valid: u64,
    /// Over.
    pub expired: u64,
    /// When the next of the enabled keys will be over; none: none ever will.
    pub next_expiry: Option<Timestamp>,
}

impl KeyCounts {
    /// Counts `keys` by the state that they have at `now`.
    #[must_use]
    pub fn of(keys: &[Arc<Key>], now: Timestamp) -> Self {
        let mut counts = Self::default();
        for key in keys {
            match key.state(now) {
                KeyState::Active => counts.active += 1,
                KeyState::Disabled => counts.disabled += 1,
                KeyState::NotYetValid => counts.not_yet_valid += 1,
                KeyState::Expired => counts.expired += 1,
            }
            let to_come = key.expires_at().filter(|at| key.enabled() && *at > now);
            counts.next_expiry = [counts.next_expiry, to_come].into_iter().flatten().min();
        }
        counts
    }
}

/// One figure with one writer. A load and a store instead of a read-modify-write: no bus lock.
#[derive(Debug)]
struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn add(&self, by: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(by),
            Ordering::Relaxed,
        );
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations sorted into `BUCKETS` buckets; the last one has no upper bound.
#[derive(Debug)]
struct Histogram<const BUCKETS: usize> {
    bounds_micros: &'static [u64],
    buckets: [Counter; BUCKETS],
    sum_micros: Counter,
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    fn new(bounds_micros: &'static [u64]) -> Self {
        assert_eq!(
            bounds_micros.len() + 1,
            BUCKETS,
            "one bucket a bound and one beyond"
        );
        Self {
            bounds_micros,
            buckets: [const { Counter::new() }; BUCKETS],
            sum_micros: Counter::new(),
        }
    }

    fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds_micros.partition_point(|bound| *bound < micros);
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
    }
}

/// From a loopback answer out of a cache to the longest stream: a factor of two to two and a half each.
const DURATION_BOUNDS_MICROS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000, 60_000_000,
];
const DURATION_BUCKETS: usize = DURATION_BOUNDS_MICROS.len() + 1;

/// From what the watcher needs at best to well beyond the poll that backs it up.
const LAG_BOUNDS_MICROS: [u64; 10] = [
    1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
];
const LAG_BUCKETS: usize = LAG_BOUNDS_MICROS.len() + 1;

/// `code_class`, by the first digit of the status.
const CODE_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// Every reason, and none.
const REASONS: usize = Reason::COUNT + 1;
const REQUEST_SERIES: usize = Decision::ALL.len() * REASONS * CODE_CLASSES.len();

/// The position of a request's labels in [`WorkerMetrics::requests`].
fn request_series(decision: Decision, reason: Option<Reason>, status: u16) -> usize {
    let reason = reason.map_or(0, |reason| reason.index() + 1);
    let class = match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    };
    (decision.index() * REASONS + reason) * CODE_CLASSES.len() + class
}

/// The inverse of [`request_series`]: decision, reason (empty: none) and class.
fn request_labels(series: usize) -> [&'static str; 3] {
    let class = CODE_CLASSES[series % CODE_CLASSES.len()];
    let rest = series / CODE_CLASSES.len();
    let reason = match rest % REASONS {
        0 => "",
        index => Reason::from_index(index - 1).map_or("", Reason::as_str),
    };
    [Decision::ALL[rest / REASONS].as_str(), reason, class]
}
