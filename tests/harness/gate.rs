//! A door that one thread opens for others: how a test holds an upstream back until it has looked.
//! Waiting has a bound, so that a failed test does not leave its upstream behind.

use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;

use crate::harness::SOON;

/// Closed until somebody opens it; clones are the same door.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed door.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Opens it for good.
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open, at most [`SOON`] (then goes on: the test has failed elsewhere).
    pub(crate) fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(
            self.0
                .1
                .wait_timeout_while(open, SOON, |open| !*open)
                .unwrap(),
        );
    }
}

/// A gate opens when its holder goes, so that a failing test ends at once.
pub(crate) struct OpenOnDrop(pub(crate) Gate);

impl Drop for OpenOnDrop {
    fn drop(&mut self) {
        self.0.open();
    }
}
