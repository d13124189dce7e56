//! How many requests are on their way to the upstream at a time, over all workers, and how many may be. One atomic
//! operation when a request sets out and one when it is over; where nothing is limited, none.
//! Not for: requests that keygate answers itself, which take no place and so cannot use them up.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// One worker's view of the number that all workers share.
#[derive(Debug)]
pub(crate) struct InFlight {
    most: usize,
    now: Arc<AtomicUsize>,
}

/// The place of one request; dropping it makes room for another. It stays on its worker, so that it is handed on
/// without an atomic operation.
#[derive(Debug)]
pub(crate) struct Slot(Rc<InFlight>);

impl InFlight {
    /// At most `most` requests, of which `now` are there.
    pub(crate) const fn new(most: usize, now: Arc<AtomicUsize>) -> Self {
        Self { most, now }
    }

    /// A place for one more request; none when all are taken.
    pub(crate) fn enter(self: &Rc<Self>) -> Option<Slot> {
        let entered = self
            .now
            .fetch_update(Relaxed, Relaxed, |now| (now < self.most).then_some(now + 1));
        entered.is_ok().then(|| Slot(Rc::clone(self)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_the_places() {
        let now = Arc::default();
        let worker = || Rc::new(InFlight::new(2, Arc::clone(&now)));
        let (one, other) = (worker(), worker());
        let first = one.enter().unwrap();
        let second = other.enter().unwrap();
        assert!(one.enter().is_none() && other.enter().is_none());
        drop(first);
        let third = other.enter().unwrap();
        assert!(one.enter().is_none());
        drop((second, third));
        assert_eq!(now.load(Relaxed), 0);
    }
}
