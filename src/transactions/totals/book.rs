//! The book of totals: all requests together, and each of the keys that were used last. Everything in it has a bound:
//! where room is short, the keys whose last use is longest ago lose their series first and then their place; the
//! plain counters that a [`Key`] carries itself outlive that. Not for: who fills it, which are `thread` and `rebuild`.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::key::Key;
use crate::key::KeyId;
use crate::refusal::Decision;
use crate::transactions::totals::counters::Counters;
use crate::transactions::totals::counters::Counts;
use crate::transactions::totals::counters::Decisions;
use crate::transactions::totals::counters::MinuteCounts;
use crate::transactions::totals::event::Event;
use crate::transactions::totals::series::Minute;
use crate::transactions::totals::series::Series;

/// Keys in detail: 0.4 KiB each, and 0.9 KiB more at most for their latencies.
const KEYS_MAX: usize = 20_000;
/// What the series of all keys may take: 45,000 hours.
const SERIES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Of a bound that is reached, this part is made free at once, so that it is reached rarely.
const FREED_PART: usize = 16;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) keys: usize,
    /// Hours of all keys' series.
    pub(super) hours: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            keys: KEYS_MAX,
            hours: SERIES_BYTES_MAX / Series::<Counts>::HOUR_BYTES,
        }
    }
}

/// All totals.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) all: Counters,
    pub(super) decisions: Decisions,
    pub(super) minutes: Series<MinuteCounts>,
    pub(super) keys: HashMap<KeyId, Box<Entry>>,
    /// Hours of all keys' series.
    hours: usize,
    /// The hour in which series were last looked through for old ones.
    swept: Option<i64>,
    bounds: Bounds,
}

/// The totals of one key.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) of: Of,
    pub(super) counters: Counters,
    pub(super) minutes: Series<Counts>,
}

/// Whose they are. Records know keys by their ids only, and an id may be given again to another key.
#[derive(Debug)]
pub(super) enum Of {
    /// A key that there is, or was a while ago.
    Key(Arc<Key>),
    /// One that only the log knows, by its name at the time.
    Former(Box<str>),
}

/// Whose a request is, as [`Of`].
#[derive(Clone, Copy)]
enum Named<'k> {
    Key(&'k Arc<Key>),
    Former(&'k str),
}

impl From<Named<'_>> for Of {
    fn from(key: Named<'_>) -> Self {
        match key {
            Named::Key(key) => Self::Key(Arc::clone(key)),
            Named::Former(name) => Self::Former(name.into()),
        }
    }
}

impl Book {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            all: Counters::default(),
            decisions: Decisions::default(),
            minutes: Series::default(),
            keys: HashMap::new(),
            hours: 0,
            swept: None,
            bounds,
        }
    }

    /// A request has ended. Its key's own counters move with the book's.
    pub(super) fn note(&mut self, event: &Event, now: Timestamp) {
        match &event.key {
            None => self.add(event, None, now),
            Some(key) => {
                let refused = event.decision == Decision::Refused;
                key.usage().note(event.began, refused);
                self.add(event, Some((key.id(), Named::Key(key))), now);
            }
        }
    }

    /// As [`Book::note`], for a key that there is no more.
    pub(super) fn note_former(&mut self, event: &Event, id: &KeyId, name: &str, now: Timestamp) {
        self.add(event, Some((id, Named::Former(name))), now);
    }

    /// What is kept of this key; none where that is of another one that had its id before.
    pub(super) fn entry(&self, key: &Key) -> Option<&Entry> {
        let entry = self.keys.get(key.id())?;
        match &entry.of {
            Of::Key(of) if of.usage().is_of_the_same_key(key.usage()) => Some(entry),
            Of::Key(_) | Of::Former(_) => None,
        }
    }

    fn add(&mut self, event: &Event, key: Option<(&KeyId, Named<'_>)>, now: Timestamp) {
        let now = Minute::of(now);
        self.sweep(now);
        self.all.note(event);
        self.decisions.note(event);
        let minute = Some(Minute::of(event.ended())).filter(|minute| minute.is_kept(now));
        let is_new_key = key.is_some_and(|(id, key)| self.add_to_key(event, id, key, minute));
        if let Some(minute) = minute {
            self.minutes.at(minute).note(event, is_new_key);
        }
    }

    /// Whether it is the key's first request in this minute.
    fn add_to_key(
        &mut self,
        event: &Event,
        id: &KeyId,
        key: Named<'_>,
        minute: Option<Minute>,
    ) -> bool {
        // An id is copied faster than it is looked up twice.
        let entry = self.keys.entry(id.clone());
        let entry = entry.or_insert_with(|| Entry::new(key));
        match entry.of.followed_by(key) {
            Next::Same => {}
            Next::Known => entry.of = key.into(),
            Next::Another if entry.counters.first_at > Some(event.began) => return false,
            Next::Another => {
                self.hours -= entry.minutes.hours();
                *entry = Entry::new(key);
            }
        }
        entry.counters.note(event);
        let is_first = minute.is_some_and(|minute| {
            let hours = entry.minutes.hours();
            let counts = entry.minutes.at(minute);
            counts.note(event.outcome());
            let is_first = counts.requests == 1;
            self.hours += entry.minutes.hours() - hours;
            is_first
        });
        self.make_room();
        is_first
    }

    /// Once an hour: lets go of what is a day old.
    fn sweep(&mut self, now: Minute) {
        if self.swept.replace(now.hour()) == Some(now.hour()) {
            return;
        }
        self.minutes.expire(now);
        self.hours = 0;
        for entry in self.keys.values_mut() {
            entry.minutes.expire(now);
            self.hours += entry.minutes.hours();
        }
    }

    fn make_room(&mut self) {
        let left = |bound: usize| bound - bound / FREED_PART;
        if self.hours > self.bounds.hours {
            for id in self.longest_unused(|entry| entry.minutes.hours() > 0) {
                if self.hours <= left(self.bounds.hours) {
                    break;
                }
                if let Some(entry) = self.keys.get_mut(&id) {
                    self.hours -= entry.minutes.hours();
                    entry.minutes.clear();
                }
            }
        }
        if self.keys.len() > self.bounds.keys {
            let surplus = self.keys.len() - left(self.bounds.keys);
            for id in self.longest_unused(|_| true).into_iter().take(surplus) {
                if let Some(entry) = self.keys.remove(&id) {
                    self.hours -= entry.minutes.hours();
                }
            }
        }
    }

    /// The keys whose last use is longest ago first.
    fn longest_unused(&self, which: impl Fn(&Entry) -> bool) -> Vec<KeyId> {
        let keys = self.keys.iter().filter(|(_, entry)| which(entry));
        let mut keys: Vec<_> = keys
            .map(|(id, entry)| (entry.counters.last_at, id))
            .collect();
        keys.sort_unstable();
        keys.into_iter().map(|(_, id)| id.clone()).collect()
    }
}

impl Entry {
    fn new(key: Named<'_>) -> Box<Self> {
        Box::new(Self {
            of: key.into(),
            counters: Counters::default(),
            minutes: Series::default(),
        })
    }

    /// The key's name, as it was last seen.
    pub(super) fn name(&self) -> &str {
        match &self.of {
            Of::Key(key) => key.name(),
            Of::Former(name) => name,
        }
    }
}

/// What it means that a request of the second follows one of the first, under one id.
enum Next {
    /// Nothing new.
    Same,
    /// The key was edited.
    Known,
    /// The id has gone to another key.
    Another,
}

impl Of {
    fn followed_by(&self, next: Named<'_>) -> Next {
        match (self, next) {
            (Self::Key(old), Named::Key(new)) if Arc::ptr_eq(old, new) => Next::Same,
            (Self::Key(old), Named::Key(new)) if old.usage().is_of_the_same_key(new.usage()) => {
                Next::Known
            }
            (Self::Key(_), Named::Key(_)) => Next::Another,
            (Self::Former(old), Named::Former(new)) if **old == *new => Next::Same,
            (Self::Former(_), Named::Former(_)) => Next::Known,
            (Self::Former(_), Named::Key(_)) => Next::Another,
            // The log's records of a key that was deleted while they were read.
            (Self::Key(_), Named::Former(_)) => Next::Same,
        }
    }
}

#[cfg(test)]
mod tests;
