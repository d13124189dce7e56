//! One worker: a thread, its runtime, and everything that its connections use. Built from a [`Setup`], which can
//! be sent to the thread; what is made of it never leaves the thread again.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use std::time::Instant;

use tokio::runtime::LocalRuntime;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::auth::Policy;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::OnRevoke;
use crate::drain::Drain;
use crate::drain::Stage;
use crate::health::Heartbeat;
use crate::key::live::KeyReader;
use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::key::token::Digest;
use crate::metrics::WorkerMetrics;
use crate::net::listen::Accepted;
use crate::net::per_client::PerClient;
use crate::net::tls;
use crate::net::watchdog::CoarseClock;
use crate::net::watchdog::SWEEP;
use crate::net::watchdog::Watchdog;
use crate::proxy::connection;
use crate::proxy::connection::Open;
use crate::proxy::head::HeadLimits;
use crate::proxy::headers::HostRule;
use crate::proxy::in_flight::InFlight;
use crate::proxy::reader;
use crate::proxy::request_id::RequestIds;
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream::connect::Connector;
use crate::proxy::upstream::connect::Destination;
use crate::proxy::upstream::message::Patience;
use crate::proxy::upstream::pool::Pool;
use crate::transactions::Recorder;

/// How often a worker with nothing to do shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How often open streams are judged by the dates of their keys; at once when the table has changed.
const JUDGE_EVERY: Duration = Duration::from_millis(250);

/// How long an answer may go on after its key was revoked, so that ordinary requests end whole: with the sweep
/// and the look at dates well under the second within which streams are cut.
const REVOKE_GRACE: Duration = Duration::from_millis(500);

/// What a worker is made of.
pub(crate) struct Setup {
    /// The whole config; each part takes its section.
    pub(crate) config: Arc<Config>,
    /// Who may pass.
    pub(crate) policy: Arc<Policy>,
    /// The published key table.
    pub(crate) keys: KeyReader,
    /// What listeners that speak TLS do it with.
    pub(crate) tls: Option<tls::Server>,
    /// Where the upstream is.
    pub(crate) destination: Destination,
    /// The `Host` that it sees.
    pub(crate) host: HostRule,
    /// The connections of each client, where their number is limited; shared by all workers.
    pub(crate) clients: Option<Arc<PerClient>>,
    /// How many requests are in flight, where their number is limited; shared by all workers.
    pub(crate) in_flight: Arc<AtomicUsize>,
    /// The worker's end of the transaction log.
    pub(crate) recorder: Recorder,
    /// The worker's counters.
    pub(crate) metrics: Arc<WorkerMetrics>,
    /// The worker's sign of life.
    pub(crate) heartbeat: Heartbeat,
    /// Where time comes from.
    pub(crate) clock: Clock,
}

/// What every connection of one worker uses.
pub(crate) struct Worker {
    pub(crate) config: Arc<Config>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) host: HostRule,
    pub(crate) keys: KeyReader,
    pub(crate) tls: Option<tls::Server>,
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) clients: Option<Arc<PerClient>>,
    /// Present where their number is limited.
    pub(crate) in_flight: Option<Rc<InFlight>>,
    pub(crate) recorder: Rc<Recorder>,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) watchdog: Watchdog<Rc<Cell<Option<Digest>>>>,
    pub(crate) request_ids: RequestIds,
    pub(crate) clock: Clock,
    /// How many connections are open.
    pub(crate) open: Cell<usize>,
    /// Told when a connection comes.
    pub(crate) busy: Notify,
    /// Told when the last connection goes.
    pub(crate) free: Notify,
}

/// Where a worker's connections come from.
pub(crate) struct Intake {
    /// Each one that is handed to this worker; closed when nobody accepts any more.
    pub(crate) connections: mpsc::Receiver<Accepted>,
    /// Accepting, where this worker does that itself.
    pub(crate) accepting: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// Serves what comes out of `intake` until the drain is over. Blocks its thread.
///
/// # Errors
/// When the runtime cannot be made.
pub(crate) fn run(setup: Setup, intake: Intake, drain: Drain) -> std::io::Result<()> {
    let runtime = LocalRuntime::new()?;
    runtime.block_on(serve(setup, intake, drain));
    Ok(()) // dropping the runtime drops what still runs, and so records it
}

async fn serve(setup: Setup, mut intake: Intake, mut drain: Drain) {
    let (worker, heartbeat) = Worker::new(setup);
    let worker = Rc::new(worker);
    for accepting in intake.accepting {
        tokio::task::spawn_local(accepting);
    }
    tokio::task::spawn_local(tick(Rc::clone(&worker), heartbeat));
    let recorder = Rc::clone(&worker.recorder);
    tokio::task::spawn_local(async move { recorder.commit().await });
    let mut draining = drain.clone();
    let mut told = false;
    loop {
        tokio::select! {
            accepted = intake.connections.recv() => match accepted {
                Some(accepted) => {
                    let open = Open::new(&worker);
                    tokio::task::spawn_local(connection::serve(Rc::clone(&worker), open, accepted));
                },
                None => break, // the listeners are closed, and everything they had is here
            },
            () = draining.reached(Stage::Draining), if !told => {
                told = true;
                worker.watchdog.drain();
            }
            () = drain.reached(Stage::Cut) => break,
        }
    }
    worker.watchdog.drain();
    tokio::select! {
        () = worker.emptied() => {}
        () = drain.reached(Stage::Cut) => {}
    }
    worker.recorder.flush();
}

/// What a worker does beside requests: deadlines, records to hand over, stale connections, revoked keys.
async fn tick(worker: Rc<Worker>, heartbeat: Heartbeat) {
    let mut judged = Judged::default();
    loop {
        let idle = worker.watchdog.is_empty()
            && worker.upstream.is_tidy()
            && !worker.recorder.has_pending();
        if idle {
            let _ = timeout(HEARTBEAT, worker.busy.notified()).await;
        } else {
            tokio::time::sleep(SWEEP).await;
        }
        worker.watchdog.sweep();
        worker.recorder.flush();
        worker.upstream.tidy();
        worker.cut_revoked(&mut judged);
        heartbeat.beat(worker.watchdog.clock().coarse());
    }
}

/// Which table the open streams were last judged by, and when. Not the table itself: the worker must not be the
/// last to hold one, since dropping a million keys takes long.
type Judged = Option<(Revision, Instant)>;

impl Worker {
    fn new(setup: Setup) -> (Self, Heartbeat) {
        let Setup {
            config,
            policy,
            keys,
            tls,
            destination,
            host,
            clients,
            in_flight,
            recorder,
            metrics,
            heartbeat,
            clock,
        } = setup;
        let coarse = CoarseClock::new(clock.clone());
        let timeouts = config.timeouts;
        let patience = Patience {
            response: timeouts.response,
            body: timeouts.body,
            stream: timeouts.stream,
            pauses: false,
        };
        let connector = Connector::new(destination, timeouts.connect, Arc::clone(&coarse));
        let upstream = Upstream::new(
            connector,
            Pool::new(timeouts.upstream_idle),
            patience,
            Arc::clone(&coarse),
        );
        let most = config.limits.requests_in_flight;
        let worker = Self {
            host,
            policy,
            keys,
            tls,
            upstream: Rc::new(upstream),
            clients,
            in_flight: most.map(|most| Rc::new(InFlight::new(most, in_flight))),
            recorder: Rc::new(recorder),
            metrics,
            watchdog: Watchdog::new(coarse),
            request_ids: RequestIds::new(),
            clock,
            open: Cell::new(0),
            busy: Notify::new(),
            free: Notify::new(),
            config,
        };
        (worker, heartbeat)
    }

    /// How large a head may be.
    pub(crate) fn head_limits(&self) -> HeadLimits {
        HeadLimits {
            bytes: self.config.limits.header_bytes,
            fields: self.config.limits.headers,
        }
    }

    /// How long a client may take for a head.
    pub(crate) fn reader_patience(&self) -> reader::Patience {
        reader::Patience {
            header: self.config.timeouts.header,
            idle: self.config.timeouts.idle,
        }
    }

    async fn emptied(&self) {
        while self.open.get() > 0 {
            self.free.notified().await;
        }
    }

    /// Cuts the streams whose token is good no more: at once when the table has changed, and every
    /// [`JUDGE_EVERY`] for the sake of dates.
    fn cut_revoked(&self, judged: &mut Judged) {
        if self.config.auth.on_revoke == OnRevoke::Finish || self.watchdog.is_empty() {
            return;
        }
        let table = self.keys.snapshot();
        let now = self.watchdog.clock().coarse();
        let recent = |at: Instant| now.saturating_duration_since(at) < JUDGE_EVERY;
        if judged.is_some_and(|(revision, at)| revision == *table.revision() && recent(at)) {
            return;
        }
        let wall = self.clock.wall();
        self.watchdog.revoke(REVOKE_GRACE, |token| {
            token
                .get()
                .is_some_and(|digest| !in_force(&table, &digest, wall))
        });
        *judged = Some((*table.revision(), now));
    }
}

fn in_force(table: &KeyTable, token: &Digest, now: Timestamp) -> bool {
    table
        .find(token, now)
        .is_some_and(|key| key.state(now) == crate::key::KeyState::Active)
}
