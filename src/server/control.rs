//! The control plane's thread: signals, reload, telemetry, name look-ups and the stop order, on one runtime of its
//! own, so that nothing here is ever waited for by a request.

use std::io;
use std::sync::Arc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::admin;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::Provenance;
use crate::drain::DrainSwitch;
use crate::health::Health;
use crate::key::live::KeyReader;
use crate::metrics::Metrics;
use crate::net::listen::Listener;
use crate::net::tls;
use crate::proxy::Resolver;
use crate::proxy::UpstreamCertificates;
use crate::server::restart::Restart;
use crate::server::stop::Asked;
use crate::server::stop::Signals;
use crate::server::stop::Stopping;
use crate::server::supervisor::Report;
use crate::store::reload::ReloadHandle;
use crate::store::reload::Reloader;
use crate::telemetry;
use crate::telemetry::Telemetry;

/// How long work that nobody waits for any more, such as a search on a disk that hangs, may keep the process.
const LEFT_MAX: Duration = Duration::from_secs(1);

/// What the control plane works with.
pub(super) struct Control {
    pub(super) config: Arc<Config>,
    pub(super) provenance: Option<Provenance>,
    pub(super) admin: Option<(Listener, admin::Api)>,
    pub(super) telemetry: Option<Listener>,
    pub(super) resolver: Option<Resolver>,
    pub(super) upstream_certificates: Option<UpstreamCertificates>,
    pub(super) reloader: Reloader,
    pub(super) reload: ReloadHandle,
    pub(super) follower: tls::Follower,
    pub(super) certificates: tls::Certificates,
    pub(super) reopen: Box<dyn Fn() + Send + Sync>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) keys: KeyReader,
    pub(super) clock: Clock,
    pub(super) report: Arc<Report>,
    pub(super) stop: Arc<Notify>,
    pub(super) switch: DrainSwitch,
    pub(super) workers_gone: mpsc::Receiver<()>,
}

impl Control {
    /// Starts the thread. Returns once signals are listened to and, for a named upstream, the first look-up has
    /// ended or taken too long.
    pub(super) fn start(self) -> io::Result<JoinHandle<()>> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let signals = runtime.block_on(async { Signals::listen() })?;
        let listener = |listener: &Listener| -> io::Result<Option<tokio::net::TcpListener>> {
            let socket = listener.to_tcp()?;
            runtime.block_on(async { socket.map(tokio::net::TcpListener::from_std).transpose() })
        };
        let telemetry = self.telemetry.as_ref().map(listener).transpose()?.flatten();
        let (stop_admin, admin_stops) = oneshot::channel::<()>();
        let administer = match self.admin {
            Some((address, api)) => listener(&address)?.map(|listener| {
                let stops = async move { drop(admin_stops.await) };
                admin::serve(listener, api, stops)
            }),
            None => None,
        };
        let (resolved, first) = oneshot::channel();
        let resolving = self
            .resolver
            .map(|resolver| runtime.spawn(resolver.run(resolved)));
        if resolving.is_some() {
            let patience = self.config.timeouts.connect;
            let _ = runtime.block_on(async { timeout(patience, first).await }); // the look-ups go on
        }
        let stop = Arc::clone(&self.stop);
        let asked = Arc::new(Notify::new());
        let restart = self.provenance.map(|provenance| {
            Restart::new(provenance, Arc::clone(&self.health), Arc::clone(&asked))
        });
        let orders = Orders {
            stop: Arc::clone(&stop),
            reopen: self.reopen,
            reload: self.reload,
            certificates: self.certificates,
            report: Arc::clone(&self.report),
            look: asked,
        };
        let stopping = Stopping {
            timeouts: self.config.timeouts,
            health: Arc::clone(&self.health),
            report: Arc::clone(&self.report),
            switch: self.switch,
            asked: self.stop,
            workers: self.workers_gone,
        };
        let about = Telemetry {
            metrics: self.metrics,
            health: self.health,
            keys: self.keys,
            clock: self.clock,
            drain: {
                let stop = Arc::clone(&stop);
                Box::new(move || stop.notify_one())
            },
        };
        let (reloader, follower, report) = (self.reloader, self.follower, self.report);
        let upstream_certificates = self.upstream_certificates;
        let serve = telemetry.map(|listener| telemetry::serve(listener, about));
        thread::Builder::new()
            .name("keygate-control".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    tokio::spawn(reloader.run());
                    tokio::spawn(follower.run());
                    if let Some(upstream_certificates) = upstream_certificates {
                        tokio::spawn(upstream_certificates.run());
                    }
                    tokio::spawn(orders.obey(signals));
                    tokio::spawn(report.run());
                    if let Some(restart) = restart {
                        tokio::spawn(restart.run());
                    }
                    if let Some(serve) = serve {
                        tokio::spawn(serve);
                    }
                    let administering = administer.map(tokio::spawn);
                    stopping.run().await;
                    drop(stop_admin);
                    if let Some(administering) = administering {
                        let _ = administering.await; // a panic in it is on stderr
                    }
                });
                runtime.shutdown_timeout(LEFT_MAX);
            })
    }
}

/// Who is told what signals ask for.
struct Orders {
    stop: Arc<Notify>,
    reopen: Box<dyn Fn() + Send + Sync>,
    reload: ReloadHandle,
    certificates: tls::Certificates,
    report: Arc<Report>,
    /// To look at the configuration again.
    look: Arc<Notify>,
}

impl Orders {
    /// Does what signals ask for. A second SIGTERM or SIGINT ends the process at once.
    async fn obey(self, mut signals: Signals) {
        let mut stopping = false;
        loop {
            match signals.next().await {
                Asked::Stop if stopping => exit_now(),
                Asked::Stop => {
                    stopping = true;
                    self.stop.notify_one();
                }
                Asked::Reload => {
                    self.look.notify_one();
                    self.report.reloading();
                    let (reload, certificates) = (self.reload.clone(), self.certificates.clone());
                    let report = Arc::clone(&self.report);
                    // Outcomes are logged where they happen; a slow one does not keep the next signal waiting.
                    tokio::spawn(async move {
                        let _ = tokio::join!(reload.reload(), certificates.reload());
                        report.ready();
                    });
                }
                Asked::Reopen => (self.reopen)(),
            }
        }
    }
}

#[expect(
    clippy::exit,
    reason = "the second signal asks for an end that waits for nothing"
)]
fn exit_now() -> ! {
    tracing::warn!("a second signal: going at once");
    std::process::exit(1)
}
