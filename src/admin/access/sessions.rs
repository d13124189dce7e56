//! Who is signed in: random ids in cookies, of which only digests are kept, in memory. A session ends after
//! `admin.session` however it is used, at logout, when keygate ends, and when the account is another than at its
//! beginning. Not for: the cookie's text (`cookie`).

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use zeroize::Zeroize;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::key::token::Digest;
use crate::key::token::hex;
use crate::secret::Secret;

/// One administrator with many browsers; the oldest session makes room.
const SESSIONS_MAX: usize = 64;

/// Browsers keep a cookie no longer.
const LIFETIME_MAX: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    lifetime: Duration,
    clock: Clock,
    /// In the order in which they began.
    open: Mutex<Vec<Session>>,
}

#[derive(Debug)]
struct Session {
    id: Digest,
    /// The account's fingerprint.
    account: Digest,
    /// Whichever comes first: the monotonic clock stands still while the machine sleeps, the wall clock is set back.
    ends: Instant,
    ends_wall: Timestamp,
}

impl Sessions {
    pub(crate) fn new(lifetime: Duration, clock: Clock) -> Self {
        Self {
            lifetime: lifetime.min(LIFETIME_MAX),
            clock,
            open: Mutex::new(Vec::new()),
        }
    }

    /// Begins a session of the account with this fingerprint; returns its id for the cookie.
    pub(crate) fn begin(&self, account: Digest) -> Secret {
        let mut random = [0; 32];
        getrandom::fill(&mut random).expect("the kernel gives random bytes");
        let id = Secret::new(hex(&random));
        random.zeroize();
        let session = Session {
            id: digest(id.expose()),
            account,
            ends: self.clock.now() + self.lifetime,
            ends_wall: self.clock.wall().plus(self.lifetime),
        };
        let mut open = self.open();
        if open.len() == SESSIONS_MAX {
            open.remove(0);
        }
        open.push(session);
        id
    }

    /// Whether there is a session with this id, of the account as it is now. Those of another account end here.
    pub(crate) fn is_open(&self, id: &str, account: &Digest) -> bool {
        let (id, now, wall) = (digest(id), self.clock.now(), self.clock.wall());
        let mut open = self.open();
        open.retain(|session| {
            session.account == *account && now < session.ends && wall < session.ends_wall
        });
        open.iter().any(|session| session.id == id)
    }

    /// Ends the session with this id.
    pub(crate) fn end(&self, id: &str) {
        let id = digest(id);
        self.open().retain(|session| session.id != id);
    }

    /// The session with this id goes on under another account's fingerprint; all others end.
    pub(crate) fn keep_only(&self, id: &str, account: Digest) {
        let id = digest(id);
        self.open().retain_mut(|session| {
            session.account = account;
            session.id == id
        });
    }

    fn open(&self) -> MutexGuard<'_, Vec<Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Digests are compared in plain time, which tells nothing (see [`Digest`]).
fn digest(id: &str) -> Digest {
    Digest::of(id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn sessions() -> (Sessions, Clock) {
        let clock = Clock::by_hand(Timestamp::from_micros(0));
        (Sessions::new(12 * HOUR, clock.clone()), clock)
    }

    fn account(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    #[test]
    fn ids_have_256_bits_and_are_kept_as_digests() {
        let (sessions, _) = sessions();
        let (one, other) = (sessions.begin(account("a")), sessions.begin(account("a")));
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 64);
        assert!(!format!("{sessions:?}").contains(one.expose()));
    }

    #[test]
    fn a_session_ends_after_its_time_however_it_is_used() {
        let (sessions, clock) = sessions();
        let id = sessions.begin(account("a"));
        for _ in 0..12 {
            assert!(sessions.is_open(id.expose(), &account("a")));
            clock.advance(HOUR);
        }
        assert!(!sessions.is_open(id.expose(), &account("a")));
    }

    #[test]
    fn logout_ends_one_session() {
        let (sessions, _) = sessions();
        let (one, other) = (sessions.begin(account("a")), sessions.begin(account("a")));
        sessions.end(one.expose());
        assert!(!sessions.is_open(one.expose(), &account("a")));
        assert!(sessions.is_open(other.expose(), &account("a")));
        assert!(!sessions.is_open("", &account("a")));
    }

    #[test]
    fn sessions_of_an_account_that_changed_are_over_for_good() {
        let (sessions, _) = sessions();
        let id = sessions.begin(account("a"));
        assert!(!sessions.is_open(id.expose(), &account("b")));
        assert!(!sessions.is_open(id.expose(), &account("a")));
    }

    #[test]
    fn a_password_change_keeps_the_session_that_made_it() {
        let (sessions, _) = sessions();
        let (mine, other) = (sessions.begin(account("a")), sessions.begin(account("a")));
        sessions.keep_only(mine.expose(), account("b"));
        assert!(sessions.is_open(mine.expose(), &account("b")));
        assert!(!sessions.is_open(other.expose(), &account("b")));
    }

    #[test]
    fn the_oldest_session_makes_room() {
        let (sessions, _) = sessions();
        let first = sessions.begin(account("a"));
        let rest: Vec<_> = (0..SESSIONS_MAX)
            .map(|_| sessions.begin(account("a")))
            .collect();
        assert!(!sessions.is_open(first.expose(), &account("a")));
        assert!(
            rest.iter()
                .all(|id| sessions.is_open(id.expose(), &account("a")))
        );
    }
}
