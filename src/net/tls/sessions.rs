//! Sessions that a client may resume, without showing anybody's certificate again: tickets, which the client keeps,
//! and for clients of TLS 1.2 without tickets a bounded memory of our own.
//!
//! A resumed session is not checked again: neither who signed the client's certificate nor whether it has expired.
//! So where clients show certificates, sessions are brief, and a change of the authorities ends them all (the caller
//! makes new [`Sessions`] then).

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::NoServerSessionStorage;
use rustls::server::ProducesTickets;
use rustls::server::ServerSessionMemoryCache;
use rustls::server::StoresServerSessions;

use crate::clock::Clock;

/// Sessions of TLS 1.2 clients without tickets that are remembered; the oldest goes first.
const REMEMBERED_MAX: usize = 256;

/// How long tickets of clients with certificates are given out under one key; they are taken for twice as long.
const BRIEF: Duration = Duration::from_secs(5 * 60);

/// The sessions of one listener.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    /// None: the system had no random bytes for a key, and every handshake is a full one.
    tickets: Option<Arc<dyn ProducesTickets>>,
    memory: Arc<dyn StoresServerSessions>,
}

impl Sessions {
    /// None of before can be resumed.
    pub(super) fn new(clock: &Clock, client_certificates: bool) -> Self {
        if client_certificates {
            let brief = Brief::new(clock.clone());
            return Self {
                tickets: brief.map(|brief| Arc::new(brief) as Arc<dyn ProducesTickets>),
                memory: Arc::new(NoServerSessionStorage {}),
            };
        }
        Self {
            tickets: Ticketer::new().ok(),
            memory: ServerSessionMemoryCache::new(REMEMBERED_MAX),
        }
    }

    pub(super) fn serve(&self, config: &mut ServerConfig) {
        config.session_storage = Arc::clone(&self.memory);
        if let Some(tickets) = &self.tickets {
            config.ticketer = Arc::clone(tickets);
        }
    }
}

/// Tickets that are good for ten minutes at most; those of rustls are for twelve hours.
struct Brief {
    clock: Clock,
    keys: Mutex<Keys>,
}

struct Keys {
    current: Arc<dyn ProducesTickets>,
    previous: Option<Arc<dyn ProducesTickets>>,
    until: Instant,
}

impl Brief {
    fn new(clock: Clock) -> Option<Self> {
        let keys = Keys {
            current: Ticketer::new().ok()?,
            previous: None,
            until: clock.now() + BRIEF,
        };
        Some(Self {
            clock,
            keys: Mutex::new(keys),
        })
    }

    /// The key for new tickets, and the one before it.
    fn keys(&self) -> (Arc<dyn ProducesTickets>, Option<Arc<dyn ProducesTickets>>) {
        let now = self.clock.now();
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= keys.until
            && let Ok(fresh) = Ticketer::new()
        {
            let old = std::mem::replace(&mut keys.current, fresh);
            keys.previous = (now < keys.until + BRIEF).then_some(old);
            keys.until = now + BRIEF;
        }
        (Arc::clone(&keys.current), keys.previous.clone())
    }
}

impl ProducesTickets for Brief {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(2 * BRIEF.as_secs()).expect("ten minutes")
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys().0.encrypt(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (current, previous) = self.keys();
        let plain = current.decrypt(ticket);
        plain.or_else(|| previous?.decrypt(ticket))
    }
}

impl fmt::Debug for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brief").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_brief_ticket_is_good_for_ten_minutes_at_most() {
        let clock = Clock::by_hand(Timestamp::from_micros(0));
        let brief = Brief::new(clock.clone()).unwrap();
        let first = brief.encrypt(b"first").unwrap();
        assert_eq!(brief.decrypt(&first).unwrap(), b"first");
        clock.advance(BRIEF - Duration::from_millis(1));
        let second = brief.encrypt(b"second").unwrap();
        clock.advance(BRIEF);
        assert_eq!(brief.decrypt(&first).unwrap(), b"first", "the key before");
        clock.advance(Duration::from_millis(1));
        assert_eq!(brief.decrypt(&second).unwrap(), b"second");
        clock.advance(BRIEF);
        for ticket in [&first, &second] {
            assert_eq!(brief.decrypt(ticket), None);
        }
        // Nobody came for long: what was the current key then is too old to be the one before.
        let third = brief.encrypt(b"third").unwrap();
        clock.advance(3 * BRIEF);
        assert_eq!(brief.decrypt(&third), None);
    }
}
