//! The idle upstream connections of one worker. No lock, since no other thread sees them; the newest is used
//! first, so that a worker with little to do keeps few. A connection on which something arrived unasked (its
//! end, mostly) is never used again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::Context;
use std::time::Duration;
use std::time::Instant;

use crate::proxy::upstream::connect::Connection;

/// Idle connections, the oldest first.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: RefCell<VecDeque<Idle>>,
    idle_max: Duration,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// Connections are kept for `idle_max`; that must be less than the upstream's own patience, or requests run
    /// into connections that it is just closing.
    pub(crate) fn new(idle_max: Duration) -> Self {
        Self {
            idle: RefCell::default(),
            idle_max,
        }
    }

    /// An idle connection that is fit for use.
    pub(crate) fn take(&self, context: &mut Context<'_>, now: Instant) -> Option<Connection> {
        loop {
            let Idle {
                mut connection,
                since,
            } = self.idle.borrow_mut().pop_back()?;
            if now.saturating_duration_since(since) < self.idle_max
                && !connection.stream.poll_arrived(context)
            {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose last answer is whole.
    pub(crate) fn put(&self, connection: Connection, since: Instant) {
        self.idle.borrow_mut().push_back(Idle { connection, since });
    }

    /// Closes what has been idle for too long.
    pub(crate) fn expire(&self, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        while idle
            .front()
            .is_some_and(|first| now.saturating_duration_since(first.since) >= self.idle_max)
        {
            idle.pop_front();
        }
    }

    /// Closes connections to addresses that the upstream no longer has.
    pub(crate) fn retain(&self, still_there: impl Fn(&Connection) -> bool) {
        self.idle
            .borrow_mut()
            .retain(|idle| still_there(&idle.connection));
    }

    /// How long connections are kept.
    pub(crate) const fn idle_max(&self) -> Duration {
        self.idle_max
    }

    /// Whether no connection is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }
}
