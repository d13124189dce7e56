//! Failed attempts make the next ones wait. An attempt is counted as failed when it begins and taken back when it
//! succeeds, so that a hundred at once are a hundred. Not for: what is right or wrong.
//!
//! Nobody must be able to lock the administrator out by failing on purpose, so:
//! - what counts is first of all the client's address (a /64 of IPv6), for each kind of secret on its own: after
//!   [`FREE`] failures it waits 1 s, 2 s, 4 s … up to [`WAIT_MAX`];
//! - failures of all addresses together slow logins too, since guesses may come from a thousand machines; but only up
//!   to [`WAIT_TOGETHER_MAX`], and never for an address that has signed in before, nor for this machine's own;
//! - being told to wait is no failure: waiting ends however often somebody asks meanwhile;
//! - sessions that are open go on, and so do right tokens (nobody guesses 32 random characters, so the wait is for
//!   wrong ones alone); a change of the account by `keygate admin reset-password` makes login begin anew.
//!
//! Whoever shares the administrator's address, behind a proxy that does not tell clients apart, can still make a login
//! wait for as long as the attack lasts; the ways around it are those of the last point.

use std::collections::HashMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::clock::Clock;
use crate::key::token::Digest;

/// Failures that cost nothing: typing errors.
const FREE: u32 = 5;
/// The longest wait of one address.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// The longest wait for what others do: two guesses a minute find no password of 12 characters.
const WAIT_TOGETHER_MAX: Duration = Duration::from_secs(30);
/// All addresses together may fail more often.
const FREE_TOGETHER: u32 = 20;
/// After so long without a failure, all are forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// The most addresses that are remembered; beyond it the one that failed longest ago is forgotten.
const ENTRIES_MAX: usize = 4096;

/// What somebody tried to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Attempt {
    /// The administrator's password.
    Password,
    /// The setup code.
    Code,
    /// A token of `admin.token_file`.
    Token,
}

/// How long to wait, in whole seconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) u64);

/// All failures that count.
#[derive(Debug)]
pub(crate) struct SlowDown {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<(Attempt, IpAddr), Failures>,
    /// Failed logins of all addresses.
    together: Option<Failures>,
    /// The account that they were for.
    account: Option<Digest>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
    /// It has succeeded before.
    known: bool,
}

impl SlowDown {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Mutex::default(),
        }
    }

    /// An attempt begins, and counts as failed until [`SlowDown::succeeded`]; or it has to wait, and is none.
    pub(crate) fn begin(&self, what: Attempt, client: IpAddr) -> Result<(), Wait> {
        let now = self.clock.now();
        let entry = (what, network(client));
        let mut state = self.state();
        let client_failures = state.clients.get(&entry).copied();
        let wait = client_failures.and_then(|failures| failures.wait(now, FREE, WAIT_MAX));
        let known = client_failures.is_some_and(|failures| failures.known);
        let exempt = what != Attempt::Password || known || client.to_canonical().is_loopback();
        let together = state.together.filter(|_| !exempt);
        let together =
            together.and_then(|failures| failures.wait(now, FREE_TOGETHER, WAIT_TOGETHER_MAX));
        if let Some(wait) = wait.max(together) {
            // Rounded up: whoever waits for so long is let in.
            return Err(Wait(
                wait.as_millis()
                    .div_ceil(1000)
                    .max(1)
                    .try_into()
                    .unwrap_or(u64::MAX),
            ));
        }
        if state.clients.len() >= ENTRIES_MAX && client_failures.is_none() {
            state.forget_oldest();
        }
        let failures = Failures::next(client_failures, now);
        state.clients.insert(entry, failures);
        if what == Attempt::Password {
            state.together = Some(Failures::next(state.together, now));
        }
        Ok(())
    }

    /// The attempt that began was right: all of this address is forgiven.
    pub(crate) fn succeeded(&self, what: Attempt, client: IpAddr) {
        let now = self.clock.now();
        let mut state = self.state();
        let failures = Failures {
            count: 0,
            last: now,
            known: true,
        };
        state.clients.insert((what, network(client)), failures);
        if what == Attempt::Password
            && let Some(together) = &mut state.together
        {
            together.count = together.count.saturating_sub(1);
        }
    }

    /// Passwords are tried on this account from now on: where it is another than before, they begin anew.
    pub(crate) fn account_is(&self, account: Digest) {
        let mut state = self.state();
        if state
            .account
            .replace(account)
            .is_some_and(|before| before != account)
        {
            state.together = None;
            state
                .clients
                .retain(|(what, _), _| *what != Attempt::Password);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A look through all of them, which only happens while somebody attacks from thousands of addresses.
    fn forget_oldest(&mut self) {
        let oldest = self
            .clients
            .iter()
            .min_by_key(|(_, failures)| (failures.known, failures.last));
        if let Some(oldest) = oldest.map(|(entry, _)| *entry) {
            self.clients.remove(&oldest);
        }
    }
}

impl Failures {
    fn next(before: Option<Self>, now: Instant) -> Self {
        let counted = before.filter(|failures| !failures.are_old(now));
        Self {
            count: counted
                .map_or(0, |failures| failures.count)
                .saturating_add(1),
            last: now,
            known: before.is_some_and(|failures| failures.known),
        }
    }

    fn are_old(self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= FORGET_AFTER
    }

    /// What is left of the wait, where there is one.
    fn wait(self, now: Instant, free: u32, most: Duration) -> Option<Duration> {
        let beyond = self
            .count
            .checked_sub(free)
            .filter(|_| !self.are_old(now))?;
        let whole = Duration::from_secs(1 << beyond.min(32)).min(most);
        whole
            .checked_sub(now.saturating_duration_since(self.last))
            .filter(|left| !left.is_zero())
    }
}

/// Whoever has an address of IPv6 has 2⁶⁴ of them.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    const SECOND: Duration = Duration::from_secs(1);

    fn slow_down() -> (SlowDown, Clock) {
        let clock = Clock::by_hand(Timestamp::from_micros(0));
        (SlowDown::new(clock.clone()), clock)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn fail(slow: &SlowDown, times: usize, what: Attempt, client: IpAddr) {
        for _ in 0..times {
            slow.begin(what, client).unwrap();
        }
    }

    #[test]
    fn after_five_failures_the_wait_doubles_up_to_five_minutes() {
        let (slow, clock) = slow_down();
        let client = ip("192.0.2.1");
        fail(&slow, 5, Attempt::Password, client);
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(slow.begin(Attempt::Password, client), Err(Wait(wait)));
            clock.advance(Duration::from_secs(wait) - Duration::from_millis(1));
            assert_eq!(slow.begin(Attempt::Password, client), Err(Wait(1)));
            clock.advance(Duration::from_millis(1));
            assert_eq!(slow.begin(Attempt::Password, client), Ok(()), "{wait}");
        }
    }

    #[test]
    fn asking_while_waiting_does_not_prolong_the_wait() {
        let (slow, clock) = slow_down();
        let client = ip("192.0.2.1");
        fail(&slow, 5, Attempt::Code, client);
        for _ in 0..1000 {
            slow.begin(Attempt::Code, client).unwrap_err();
        }
        clock.advance(SECOND);
        assert_eq!(slow.begin(Attempt::Code, client), Ok(()));
    }

    #[test]
    fn success_forgives() {
        let (slow, _) = slow_down();
        let client = ip("192.0.2.1");
        for _ in 0..10 {
            fail(&slow, 5, Attempt::Password, client);
            slow.succeeded(Attempt::Password, client);
        }
    }

    #[test]
    fn addresses_and_secrets_count_apart_and_a_network_of_ipv6_together() {
        let (slow, _) = slow_down();
        fail(&slow, 5, Attempt::Token, ip("192.0.2.1"));
        for (client, what, passes) in [
            ("192.0.2.1", Attempt::Token, false),
            ("::ffff:192.0.2.1", Attempt::Token, false),
            ("192.0.2.2", Attempt::Token, true),
            ("192.0.2.1", Attempt::Password, true),
            ("192.0.2.1", Attempt::Code, true),
        ] {
            assert_eq!(
                slow.begin(what, ip(client)).is_ok(),
                passes,
                "{client} {what:?}"
            );
        }
        fail(&slow, 5, Attempt::Token, ip("2001:db8::1"));
        assert!(slow.begin(Attempt::Token, ip("2001:db8::2:0:0:1")).is_err());
        assert!(slow.begin(Attempt::Token, ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn many_addresses_together_slow_strangers_and_neither_friends_nor_this_machine() {
        let (slow, clock) = slow_down();
        let friend = ip("198.51.100.7");
        slow.begin(Attempt::Password, friend).unwrap();
        slow.succeeded(Attempt::Password, friend);
        for number in 0..200 {
            let _ = slow.begin(Attempt::Password, ip(&format!("192.0.2.{number}")));
            clock.advance(Duration::from_secs(31));
        }
        slow.begin(Attempt::Password, ip("192.0.2.250")).unwrap();
        assert_eq!(
            slow.begin(Attempt::Password, ip("192.0.2.251")),
            Err(Wait(30))
        );
        for client in [friend, ip("127.0.0.1"), ip("::1")] {
            assert_eq!(slow.begin(Attempt::Password, client), Ok(()), "{client}");
        }
        assert!(slow.begin(Attempt::Token, ip("192.0.2.251")).is_ok());
    }

    #[test]
    fn a_reset_of_the_account_lets_logins_begin_anew() {
        let (slow, _) = slow_down();
        let client = ip("192.0.2.1");
        slow.account_is(Digest::of(b"a"));
        fail(&slow, 5, Attempt::Password, client);
        fail(&slow, 5, Attempt::Token, client);
        slow.account_is(Digest::of(b"a"));
        assert!(slow.begin(Attempt::Password, client).is_err());
        slow.account_is(Digest::of(b"b"));
        assert!(slow.begin(Attempt::Password, client).is_ok());
        assert!(slow.begin(Attempt::Token, client).is_err());
    }

    #[test]
    fn failures_are_forgotten_after_an_hour_of_quiet() {
        let (slow, clock) = slow_down();
        let client = ip("192.0.2.1");
        fail(&slow, 5, Attempt::Password, client);
        clock.advance(FORGET_AFTER);
        fail(&slow, 5, Attempt::Password, client);
        assert!(slow.begin(Attempt::Password, client).is_err());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_failed_longest_ago() {
        let (slow, clock) = slow_down();
        let first = ip("192.0.2.1");
        fail(&slow, 5, Attempt::Token, first);
        clock.advance(Duration::from_millis(1));
        for number in 0..u32::try_from(ENTRIES_MAX).unwrap() {
            let client = IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number));
            slow.begin(Attempt::Token, client).unwrap();
        }
        assert_eq!(slow.state().clients.len(), ENTRIES_MAX);
        assert!(slow.begin(Attempt::Token, first).is_ok());
    }
}
