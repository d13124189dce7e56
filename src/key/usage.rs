//! How a key has been used: counters that outlive an edit of the key. The totals of the transactions add to them, off
//! the path of a request, what has just ended and what the log knows from before; nothing is decided by them. Not
//! for: limits, which are `limits`; series and reasons, which are `transactions::totals`.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::clock::Timestamp;

/// The counters of one key. Most of a million keys are not in use, so they exist from the first request on.
#[derive(Debug, Default)]
pub struct Usage(OnceLock<Arc<Counters>>);

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    refused: AtomicU64,
    /// Microseconds since 1970; 0: never.
    last_used: AtomicI64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTotals {
    /// Requests that carried the key's token, refused ones included.
    pub requests: u64,
    /// Those that were refused all the same: disabled, expired, not allowed.
    pub refused: u64,
    /// When the last of them began.
    pub last_used_at: Option<Timestamp>,
}

impl Usage {
    /// A request with the key's token that began at `time` has ended.
    pub fn note(&self, time: Timestamp, refused: bool) {
        let counters = self.counters();
        counters.requests.fetch_add(1, Relaxed);
        if refused {
            counters.refused.fetch_add(1, Relaxed);
        }
        // Older ones come later when the log is read.
        counters.last_used.fetch_max(time.as_micros(), Relaxed);
    }

    /// The counters as they are now.
    #[must_use]
    pub fn totals(&self) -> UsageTotals {
        let Some(counters) = self.0.get() else {
            return UsageTotals::default();
        };
        let last = counters.last_used.load(Relaxed);
        UsageTotals {
            requests: counters.requests.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            last_used_at: (last != 0).then(|| Timestamp::from_micros(last)),
        }
    }

    /// Whether what is noted under the one is in the other: they belong to one key, before and after edits. Two that
    /// nothing was noted under are not known to.
    #[must_use]
    pub fn is_of_the_same_key(&self, other: &Self) -> bool {
        let pair = self.0.get().zip(other.0.get());
        pair.is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// These counters under another name: what is noted under either is in both.
    pub(super) fn shared(&self) -> Self {
        Self(OnceLock::from(Arc::clone(self.counters())))
    }

    /// Goes on with the counters of `old`, if nothing has been counted here yet: an edit of a key is no new life.
    pub(crate) fn go_on_from(&self, old: &Self) {
        let _ = self.0.set(Arc::clone(old.counters())); // set: they are one and the same already, or have a life
    }

    fn counters(&self) -> &Arc<Counters> {
        self.0.get_or_init(Arc::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_late_does_not_move_the_last_use_back() {
        let usage = Usage::default();
        for micros in [5, 7, 6] {
            usage.note(Timestamp::from_micros(micros), false);
        }
        let totals = usage.totals();
        assert_eq!(totals.last_used_at, Some(Timestamp::from_micros(7)));
        assert_eq!(totals.requests, 3);
    }

    #[test]
    fn counters_that_are_shared_are_of_the_same_key_and_others_are_not() {
        let (old, other) = (Usage::default(), Usage::default());
        assert!(!old.is_of_the_same_key(&other), "nothing was noted");
        let new = old.shared();
        other.note(Timestamp::from_micros(1), false);
        assert!(old.is_of_the_same_key(&new) && !old.is_of_the_same_key(&other));
    }
}
