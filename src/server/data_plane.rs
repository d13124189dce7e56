//! The data plane's threads: one a worker, and, with more than one worker, one that accepts for all of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::thread::JoinHandle;

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::auth::Policy;
use crate::clock::Clock;
use crate::config::Config;
use crate::drain::Drain;
use crate::health::Health;
use crate::key::live::KeyReader;
use crate::metrics::Metrics;
use crate::net::listen;
use crate::net::listen::HandOut;
use crate::net::listen::Listener;
use crate::net::listen::Room;
use crate::net::per_client::PerClient;
use crate::net::tls;
use crate::proxy;
use crate::proxy::Destination;
use crate::proxy::HostRule;
use crate::proxy::Intake;
use crate::proxy::Setup;
use crate::transactions::Log;

/// How many accepted connections may wait for a worker that is busy.
const INTAKE_MAX: usize = 256;

/// What the workers share.
pub(super) struct DataPlane {
    pub(super) config: Arc<Config>,
    pub(super) policy: Arc<Policy>,
    pub(super) keys: KeyReader,
    /// What listeners that speak TLS do it with.
    pub(super) tls: Option<tls::Server>,
    pub(super) destination: Destination,
    pub(super) host: HostRule,
    pub(super) room: Arc<Room>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) clock: Clock,
    pub(super) drain: Drain,
    /// Dropped with the last worker.
    pub(super) alive: mpsc::Sender<()>,
}

type Accepting = Pin<Box<dyn Future<Output = ()> + Send>>;

impl DataPlane {
    /// Starts all threads.
    pub(super) fn start(
        self,
        listeners: Vec<Listener>,
        log: &Log,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let count = self.config.workers.get();
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..count).map(|_| mpsc::channel(INTAKE_MAX)).unzip();
        let mut accepting = self.accepting(listeners, &HandOut::new(senders));
        let clients = self.config.limits.per_client.map(PerClient::new);
        let in_flight = Arc::default();
        let mut threads = Vec::new();
        if count > 1 {
            threads.push(accept_thread(std::mem::take(&mut accepting))?);
        }
        for (index, connections) in receivers.into_iter().enumerate() {
            let setup = Setup {
                config: Arc::clone(&self.config),
                policy: Arc::clone(&self.policy),
                keys: self.keys.clone(),
                tls: self.tls.clone(),
                destination: self.destination.clone(),
                host: self.host.clone(),
                clients: clients.clone(),
                in_flight: Arc::clone(&in_flight),
                recorder: log.recorder(self.metrics.worker(index)),
                metrics: self.metrics.worker(index),
                heartbeat: self.health.heartbeat(self.clock.now()),
                clock: self.clock.clone(),
            };
            let intake = Intake {
                connections,
                accepting: std::mem::take(&mut accepting), // the only worker accepts itself
            };
            let (drain, alive) = (self.drain.clone(), self.alive.clone());
            threads.push(worker_thread(index, setup, intake, drain, alive)?);
        }
        Ok(threads)
    }

    fn accepting(&self, listeners: Vec<Listener>, workers: &HandOut) -> Vec<Accepting> {
        let accept = |listener| {
            let (room, metrics) = (Arc::clone(&self.room), Arc::clone(&self.metrics));
            let accept =
                listen::accept(listener, room, self.drain.clone(), workers.clone(), metrics);
            Box::pin(accept) as Accepting
        };
        listeners.into_iter().map(accept).collect()
    }
}

/// Accepts for all workers.
fn accept_thread(accepting: Vec<Accepting>) -> io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("keygate-accept".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let mut tasks: JoinSet<()> = accepting.into_iter().collect();
                while tasks.join_next().await.is_some() {}
            });
        })
}

/// One worker. `alive` is dropped with it.
fn worker_thread(
    index: usize,
    setup: Setup,
    intake: Intake,
    drain: Drain,
    alive: mpsc::Sender<()>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(format!("keygate-worker-{index}"))
        .spawn(move || {
            if let Err(error) = proxy::run(setup, intake, drain) {
                tracing::error!(worker = index, %error, "cannot start a worker");
            }
            drop(alive);
        })
}
