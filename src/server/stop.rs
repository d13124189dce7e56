//! Signals, and the order of stopping: not ready → `drain_delay` → no new connections → what runs may finish,
//! up to `timeouts.drain` → cut → the workers are gone → telemetry last, so that a drain can be watched.
//! A second signal ends the process at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::config::Timeouts;
use crate::drain::DrainSwitch;
use crate::drain::Stage;
use crate::health::Health;
use crate::server::supervisor::Report;

/// How long workers that were told to cut everything may take for it.
const CUT_MAX: Duration = Duration::from_secs(2);

/// The signals that keygate listens to.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user1: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    Reopen,
}

impl Signals {
    /// From here on none of them ends the process by itself.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hang_up.recv() => Asked::Reload,
            _ = self.user1.recv() => Asked::Reopen,
        }
    }
}

/// What stopping needs.
#[derive(Debug)]
pub(super) struct Stopping {
    pub(super) timeouts: Timeouts,
    pub(super) health: Arc<Health>,
    /// Told that the drain has begun.
    pub(super) report: Arc<Report>,
    pub(super) switch: DrainSwitch,
    /// Told when somebody asks for a drain by other means than a signal.
    pub(super) asked: Arc<Notify>,
    /// Closed when the last worker is gone.
    pub(super) workers: mpsc::Receiver<()>,
}

impl Stopping {
    /// Waits for the word, then stops in order. Returns when no worker runs any more.
    pub(super) async fn run(mut self) {
        self.asked.notified().await;
        self.health
            .block("draining", "keygate is draining".to_owned());
        self.report.stopping();
        tracing::info!("draining: not ready any more");
        tokio::time::sleep(self.timeouts.drain_delay).await;
        self.switch.advance(Stage::Draining);
        tracing::info!("draining: no new connections");
        if timeout(self.timeouts.drain, self.workers.recv())
            .await
            .is_err()
        {
            tracing::warn!(after = ?self.timeouts.drain, "draining: the time is over; what still runs is cut");
            self.switch.advance(Stage::Cut);
            if timeout(CUT_MAX, self.workers.recv()).await.is_err() {
                tracing::error!("draining: a worker does not stop; going without it");
            }
        }
        tracing::info!("drained");
    }
}
