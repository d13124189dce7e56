//! keygate inside the test's own process, through `server::start`: for what needs a clock that the test moves.
//! Everything else runs the real binary, see `keygate`.

use std::net::SocketAddr;
use std::time::Duration;

use keygate::clock::Clock;
use keygate::config::Address;
use keygate::config::Overrides;
use keygate::server::Options;
use keygate::server::Running;

use crate::harness::SOON;
use crate::harness::client::ask;
use crate::harness::eventually;
use crate::harness::requests::with_token;
use crate::harness::setup::Setup;

/// A running gate, drained when it is dropped.
pub(crate) struct InProcess {
    running: Option<Running>,
    address: SocketAddr,
    _setup: Setup,
}

impl InProcess {
    /// Starts the gate with `clock`.
    #[track_caller]
    pub(crate) fn start(setup: Setup, clock: Clock) -> Self {
        let overrides = Overrides {
            config: Some(setup.write()),
            ..Overrides::default()
        };
        let loaded = keygate::config::load(&overrides, [])
            .unwrap_or_else(|problems| panic!("{problems:#?}"));
        let running = keygate::server::start(
            loaded.config,
            Options {
                clock,
                ..Options::default()
            },
        )
        .unwrap();
        let Some(Address::Tcp(address)) = running
            .listeners()
            .first()
            .map(|listener| listener.address.clone())
        else {
            panic!("no TCP address")
        };
        Self {
            running: Some(running),
            address,
            _setup: setup,
        }
    }

    /// The status of `GET /probe` with this token.
    #[track_caller]
    pub(crate) fn status(&self, token: &str) -> u16 {
        ask(self.address, with_token("/probe", token)).status
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        running.drain();
        let waiting = std::thread::spawn(move || running.wait());
        if std::thread::panicking() {
            return;
        }
        eventually(
            "the gate in this process ends",
            SOON + Duration::from_secs(30),
            || waiting.is_finished(),
        );
        waiting.join().unwrap().unwrap();
    }
}
