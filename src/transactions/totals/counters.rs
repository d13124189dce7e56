//! The figures of one key, or of all requests together: what is kept for good, and what is kept of a minute. Every
//! request is one of refused, failed and passed. Not for: whose figures they are, which is `book`.

use std::iter;

use crate::clock::Timestamp;
use crate::refusal::Decision;
use crate::refusal::Reason;
use crate::refusal::Refusal;
use crate::transactions::totals::event::Event;
use crate::transactions::totals::event::Outcome;
use crate::transactions::totals::histogram::Histogram;

/// Since the oldest record that was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// All of them.
    pub requests: u64,
    /// Those that keygate said no to.
    pub refused: u64,
    /// Those that were let through and that the upstream failed: no answer, none in time, or a status from 500 on.
    pub failed: u64,
    /// Body bytes from clients.
    pub request_bytes: u64,
    /// Body bytes to clients.
    pub response_bytes: u64,
    /// Refused and failed ones, by [`Reason::index`].
    reasons: [u64; Reason::COUNT],
    /// When the first of them began.
    pub first_at: Option<Timestamp>,
    /// When the last of them began.
    pub last_at: Option<Timestamp>,
    /// How long those took that were let through.
    pub latency: Histogram,
}

impl Counters {
    pub(super) fn note(&mut self, event: &Event) {
        self.requests += 1;
        match event.outcome() {
            Outcome::Refused => self.refused += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Passed => {}
        }
        self.request_bytes = self.request_bytes.saturating_add(event.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(event.response_bytes);
        if let Some(reason) = event.reason
            && event.would_refuse().is_none()
        {
            self.reasons[reason.index()] += 1;
        }
        self.first_at = Some(self.first_at.map_or(event.began, |at| at.min(event.began)));
        self.last_at = self.last_at.max(Some(event.began));
        if event.decision != Decision::Refused {
            self.latency.note(event.took_micros);
        }
    }

    /// Refused and failed requests by their reason; reasons that there were none of are left out.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> {
        iter::zip((0..).map_while(Reason::from_index), self.reasons)
            .filter(|(_, requests)| *requests > 0)
    }
}

/// A minute of one key. Four thousand million in a minute are as good as all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub requests: u32,
    /// Those that keygate said no to.
    pub refused: u32,
    /// Those that the upstream failed.
    pub failed: u32,
}

impl Counts {
    pub(super) fn note(&mut self, outcome: Outcome) {
        add_one(&mut self.requests);
        match outcome {
            Outcome::Refused => add_one(&mut self.refused),
            Outcome::Failed => add_one(&mut self.failed),
            Outcome::Passed => {}
        }
    }
}

/// A minute of all requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MinuteCounts {
    /// As of a key.
    pub counts: Counts,
    /// By [`Decision::index`].
    pub decisions: [u32; Decision::ALL.len()],
    /// How many keys were used. A key whose own series had to make room in this minute may count again.
    pub active_keys: u32,
    /// How long those took that were let through.
    pub latency: Histogram,
}

impl MinuteCounts {
    pub(super) fn note(&mut self, event: &Event, is_new_key: bool) {
        self.counts.note(event.outcome());
        add_one(&mut self.decisions[event.decision.index()]);
        if is_new_key {
            add_one(&mut self.active_keys);
        }
        if event.decision != Decision::Refused {
            self.latency.note(event.took_micros);
        }
    }
}

/// What only all requests together have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// By [`Decision::index`].
    pub requests: [u64; Decision::ALL.len()],
    /// Those that mode `shadow` let pass, by [`Refusal::index`] of why they would have been refused.
    pub would_refuse: [u64; Refusal::ALL.len()],
}

impl Decisions {
    pub(super) fn note(&mut self, event: &Event) {
        self.requests[event.decision.index()] += 1;
        if let Some(refusal) = event.would_refuse() {
            self.would_refuse[refusal.index()] += 1;
        }
    }
}

fn add_one(count: &mut u32) {
    *count = count.saturating_add(1);
}
