//! Asking everyone to finish. One [`DrainSwitch`] moves through the stages, in order and never back; many
//! [`Drain`]s follow it. Not for: the order of stopping, which is `server::stop`.

use tokio::sync::watch;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Serving.
    Running,
    /// No new connections; finish what runs.
    Draining,
    /// The time to finish is over.
    Cut,
}

/// Moves the stage.
#[derive(Debug)]
pub struct DrainSwitch(watch::Sender<Stage>);

/// Follows the stage.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Stage>);

/// A switch and its first follower.
#[must_use]
pub fn drain() -> (DrainSwitch, Drain) {
    let (sender, receiver) = watch::channel(Stage::Running);
    (DrainSwitch(sender), Drain(receiver))
}

impl DrainSwitch {
    /// Moves on to `stage`; a stage that is behind is ignored.
    pub fn advance(&self, stage: Stage) {
        self.0.send_if_modified(|now| {
            let later = stage > *now;
            *now = stage.max(*now);
            later
        });
    }
}

impl Drain {
    /// The stage now.
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Waits until `stage` is reached; a switch that is gone has reached every stage.
    pub async fn reached(&mut self, stage: Stage) {
        let _ = self.0.wait_for(|now| *now >= stage).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stages_only_move_forward() {
        let (switch, mut drain) = drain();
        assert_eq!(drain.stage(), Stage::Running);
        switch.advance(Stage::Cut);
        switch.advance(Stage::Draining);
        assert_eq!(drain.stage(), Stage::Cut);
        drain.reached(Stage::Draining).await;
    }

    #[tokio::test]
    async fn a_switch_that_is_gone_lets_nobody_wait() {
        let (switch, mut drain) = drain();
        drop(switch);
        drain.reached(Stage::Cut).await;
    }
}
