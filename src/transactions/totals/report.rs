//! What readers of the totals get: copies, so that nobody works while the book is locked. Not for: their form in the
//! API, which is `admin`.

use crate::clock::Timestamp;
use crate::key::Key;
use crate::transactions::totals::book::Book;
use crate::transactions::totals::book::Entry;
use crate::transactions::totals::counters::Counters;
use crate::transactions::totals::counters::Counts;
use crate::transactions::totals::counters::Decisions;
use crate::transactions::totals::counters::MinuteCounts;
use crate::transactions::totals::series::DAY_MINUTES;
use crate::transactions::totals::series::Minute;

/// Requests in each of the last 24 hours, the oldest first; the last one ends with the present minute.
pub type Day = [u64; 24];

const HOUR_MINUTES: usize = 60;

/// How a key was used.
#[derive(Clone, Debug)]
pub struct KeyTotals {
    /// Since the oldest record of it.
    pub counters: Counters,
    /// When the first minute begins.
    pub start: Timestamp,
    /// The last minutes, the present one included.
    pub minutes: Vec<Counts>,
}

/// How all keys were used, and what came without one.
#[derive(Clone, Debug)]
pub struct AllTotals {
    /// Since the oldest record.
    pub counters: Counters,
    /// What was decided.
    pub decisions: Decisions,
    /// When the first minute begins.
    pub start: Timestamp,
    /// The last minutes, the present one included.
    pub minutes: Vec<MinuteCounts>,
    /// The keys with the most requests in the last 24 hours, the most first.
    pub top: Vec<TopKey>,
}

/// One of the keys that are used most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopKey {
    /// Its id.
    pub id: String,
    /// Its name, as it was last seen.
    pub name: String,
    /// In the last 24 hours.
    pub requests: u64,
    /// Of those, how many were refused.
    pub refused: u64,
}

/// The last so many minutes of something.
#[derive(Clone, Copy)]
struct Window {
    start: Minute,
    minutes: usize,
}

impl Window {
    fn of(minutes: usize, now: Timestamp) -> Self {
        let minutes = minutes.clamp(1, DAY_MINUTES);
        Self {
            start: Minute::of(now).first_of(minutes),
            minutes,
        }
    }
}

impl Book {
    pub(super) fn key_totals(&self, key: &Key, minutes: usize, now: Timestamp) -> KeyTotals {
        let window = Window::of(minutes, now);
        let entry = self.entry(key);
        let mut shown = vec![Counts::default(); window.minutes];
        if let Some(entry) = entry {
            for (place, counts) in entry.minutes.window(window.start, window.minutes) {
                shown[place] = *counts;
            }
        }
        KeyTotals {
            counters: entry
                .map(|entry| entry.counters.clone())
                .unwrap_or_default(),
            start: window.start.start(),
            minutes: shown,
        }
    }

    pub(super) fn all_totals(&self, minutes: usize, top: usize, now: Timestamp) -> AllTotals {
        let window = Window::of(minutes, now);
        let mut shown = vec![MinuteCounts::default(); window.minutes];
        for (place, counts) in self.minutes.window(window.start, window.minutes) {
            shown[place] = counts.clone();
        }
        AllTotals {
            counters: self.all.clone(),
            decisions: self.decisions.clone(),
            start: window.start.start(),
            minutes: shown,
            top: self.top(top, Window::of(DAY_MINUTES, now)),
        }
    }

    pub(super) fn day(&self, key: &Key, now: Timestamp) -> Day {
        let mut day = Day::default();
        if let Some(entry) = self.entry(key) {
            let start = Minute::of(now).first_of(DAY_MINUTES);
            for (place, counts) in entry.minutes.window(start, DAY_MINUTES) {
                day[place / HOUR_MINUTES] += u64::from(counts.requests);
            }
        }
        day
    }

    fn top(&self, most: usize, window: Window) -> Vec<TopKey> {
        let used = self.keys.iter().filter_map(|(id, entry)| {
            let (requests, refused) = entry.sum(window);
            (requests > 0).then_some((requests, refused, id, entry))
        });
        let mut used: Vec<_> = used.collect();
        used.sort_unstable_by(|one, other| (other.0, one.2).cmp(&(one.0, other.2)));
        let top = used.into_iter().take(most);
        top.map(|(requests, refused, id, entry)| TopKey {
            id: id.to_string(),
            name: entry.name().to_owned(),
            requests,
            refused,
        })
        .collect()
    }
}

impl Entry {
    /// Requests in a window, and how many of them were refused.
    fn sum(&self, window: Window) -> (u64, u64) {
        let minutes = self.minutes.window(window.start, window.minutes);
        minutes.fold((0, 0), |(requests, refused), (_, counts)| {
            (
                requests + u64::from(counts.requests),
                refused + u64::from(counts.refused),
            )
        })
    }
}
