//! Follows the config file after the start, and says when a restart would bring something else: in the log,
//! once a change, and in health until the file says again what runs. Changes nothing that runs.
//! Not for: telling what differs (`config::Provenance`).

use std::sync::Arc;

use tokio::sync::Notify;

use crate::config::Pending;
use crate::config::Provenance;
use crate::health::Health;
use crate::problem;
use crate::problem::Problem;
use crate::watch::Watch;

/// The word in `health`.
const CAUSE: &str = "config";
/// A file with a thousand problems is not worth a thousand lines in the log.
const PROBLEMS_LOGGED_MAX: usize = 20;

/// Compares what runs with what a restart would bring.
pub(super) struct Restart {
    provenance: Arc<Provenance>,
    health: Arc<Health>,
    /// Told when somebody wants to know (SIGHUP).
    asked: Arc<Notify>,
    said: Pending,
}

impl Restart {
    pub(super) fn new(provenance: Provenance, health: Arc<Health>, asked: Arc<Notify>) -> Self {
        Self {
            provenance: Arc::new(provenance),
            health,
            asked,
            said: Pending::Nothing,
        }
    }

    /// Looks whenever the file changed or somebody asks.
    pub(super) async fn run(mut self) {
        let mut watch = Watch::start(self.provenance.files());
        self.look(false).await; // the file may have changed since it was read
        loop {
            let asked = tokio::select! {
                () = watch.changed() => false,
                () = self.asked.notified() => true,
            };
            self.look(asked).await;
        }
    }

    async fn look(&mut self, asked: bool) {
        let provenance = Arc::clone(&self.provenance);
        // A file on a network may take its time; other control-plane tasks go on.
        let Ok(pending) = tokio::task::spawn_blocking(move || provenance.pending()).await else {
            return; // a panic, which has been reported
        };
        if pending == self.said && !asked {
            return;
        }
        match &pending {
            Pending::Nothing if self.said == Pending::Nothing => {}
            Pending::Nothing => {
                self.health.restore(CAUSE);
                tracing::info!("the configuration says again what runs: no restart needed");
            }
            Pending::Restart(names) => {
                let what = format!("restart needed: {}", names.join(", "));
                tracing::warn!(
                    hint = "settings are read at the start: keygate runs on with the old ones",
                    "{what}"
                );
                self.health.degrade(CAUSE, what);
            }
            Pending::Wrong(problems) => self.wrong(problems),
        }
        self.said = pending;
    }

    fn wrong(&self, problems: &[Problem]) {
        tracing::warn!(
            problems = problems.len(),
            hint = "correct it before the next restart: keygate runs on with the old settings",
            "the configuration is wrong now: a restart would fail"
        );
        for problem in problems.iter().take(PROBLEMS_LOGGED_MAX) {
            let (what, hint) = problem.in_two();
            tracing::warn!(problem = what, hint, "a problem of the configuration");
        }
        let why = format!(
            "the configuration is wrong now, a restart would fail: {}",
            problem::in_short(problems)
        );
        self.health.degrade(CAUSE, why);
    }
}
