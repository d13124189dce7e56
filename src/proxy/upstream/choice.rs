//! In which order the addresses of the upstream are tried: in turn, so that they share the load, and those last that
//! took no connection lately, so that one that is down costs a single connection its time and not every one. If all
//! failed lately all are tried as ever: an upstream that comes back is found at once.
//!
//! A worker learns this from its own connections and tells nobody. Not for: requests that fail on a connection, which
//! say nothing about an address.

use std::cell::Cell;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::net::watchdog::CoarseClock;

/// How long an address is tried last after it took no connection.
const SHUNNED_FOR: Duration = Duration::from_secs(5);

/// One worker's order of addresses.
#[derive(Debug)]
pub(crate) struct Choice {
    clock: Arc<CoarseClock>,
    /// Which of the good addresses comes first.
    turn: Cell<usize>,
    /// Addresses that took no connection when they were tried last, and until when they are tried last of all.
    shunned: RefCell<Vec<(SocketAddr, Instant)>>,
}

impl Choice {
    /// Everything is tried in turn.
    pub(crate) const fn new(clock: Arc<CoarseClock>) -> Self {
        Self {
            clock,
            turn: Cell::new(0),
            shunned: RefCell::new(Vec::new()),
        }
    }

    /// Every address of `known` once, in the order in which the next connection tries them.
    pub(crate) fn order(&self, known: &[SocketAddr]) -> Vec<SocketAddr> {
        let now = self.clock.coarse();
        let mut shunned = self.shunned.borrow_mut();
        shunned.retain(|(address, _)| known.contains(address));
        let is_shunned = |address: &SocketAddr| {
            let mut all = shunned.iter();
            all.any(|(shunned, until)| shunned == address && *until > now)
        };
        let (last, mut order): (Vec<_>, Vec<_>) = known.iter().copied().partition(is_shunned);
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        if !order.is_empty() {
            let first = turn % order.len();
            order.rotate_left(first);
        }
        order.extend(last);
        order
    }

    /// A connection to `address` is tried. While nobody knows whether one that failed is back, the others stay away.
    pub(crate) fn tries(&self, address: SocketAddr) {
        let mut shunned = self.shunned.borrow_mut();
        if let Some((_, until)) = shunned.iter_mut().find(|(shunned, _)| *shunned == address) {
            *until = self.clock.coarse() + SHUNNED_FOR;
        }
    }

    /// `address` took a connection.
    pub(crate) fn succeeded(&self, address: SocketAddr) {
        self.shunned
            .borrow_mut()
            .retain(|(shunned, _)| *shunned != address);
    }

    /// `address` took no connection.
    pub(crate) fn failed(&self, address: SocketAddr) {
        self.succeeded(address);
        let until = self.clock.coarse() + SHUNNED_FOR;
        self.shunned.borrow_mut().push((address, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::clock::Timestamp;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn ports(order: &[SocketAddr]) -> Vec<u16> {
        order.iter().map(SocketAddr::port).collect()
    }

    fn choice() -> (Clock, Choice) {
        let clock = Clock::by_hand(Timestamp::from_micros(0));
        let choice = Choice::new(CoarseClock::new(clock.clone()));
        (clock, choice)
    }

    #[test]
    fn addresses_take_turns() {
        let (_clock, choice) = choice();
        let known = [1, 2, 3].map(address);
        let orders: Vec<_> = (0..4).map(|_| ports(&choice.order(&known))).collect();
        assert_eq!(orders, [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]);
        assert!(choice.order(&[]).is_empty());
    }

    #[test]
    fn what_failed_is_last_for_a_while_and_the_others_share_the_load() {
        let (clock, choice) = choice();
        let known = [1, 2, 3].map(address);
        choice.failed(address(2));
        let orders: Vec<_> = (0..3).map(|_| ports(&choice.order(&known))).collect();
        assert_eq!(orders, [[1, 3, 2], [3, 1, 2], [1, 3, 2]]);
        clock.advance(SHUNNED_FOR);
        choice.clock.read();
        let first = |choice: &Choice| ports(&choice.order(&known))[0];
        assert!((0..3).any(|_| first(&choice) == 2), "it is tried again");
        choice.tries(address(2));
        assert!((0..3).all(|_| first(&choice) != 2), "by one at a time");
        choice.succeeded(address(2));
        assert!((0..3).any(|_| first(&choice) == 2), "it is back");
    }

    #[test]
    fn where_all_failed_all_are_tried() {
        let (_clock, choice) = choice();
        let known = [1, 2].map(address);
        known.into_iter().for_each(|address| choice.failed(address));
        let mut order = ports(&choice.order(&known));
        order.sort_unstable();
        assert_eq!(order, [1, 2]);
        assert!(choice.order(&[address(3)]) == [address(3)]);
        assert!(
            choice.shunned.borrow().is_empty(),
            "what is no address any more is forgotten"
        );
    }
}
