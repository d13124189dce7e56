//! A page of keys out of a table: searched, filtered, sorted, and continued where the last page ended. One pass
//! over the table and a heap of one page, so that a million keys need no index. Not for: who asks.

mod fold;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::key::Key;
use crate::key::KeyId;
use crate::key::KeyState;
use crate::key::list::fold::Needle;
use crate::key::list::fold::compare_folded;
use crate::key::list::fold::folded;
use crate::key::table::KeyTable;
use crate::parts::in_parts;

/// The most keys in a page.
pub const PAGE_KEYS_MAX: usize = 200;

/// Below this many keys, a thread costs more than it saves.
const KEYS_A_THREAD_MIN: usize = 50_000;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Part of the name, description, id, mask, or of a tag (`team`, `billing` or `team=billing`), whatever the case.
    pub search: Option<String>,
    /// Only keys in this state.
    pub state: Option<KeyState>,
    /// In which order.
    pub order: Order,
    /// The other way round, equal keys included.
    pub descending: bool,
    /// Behind the page that ended here. A position that no page of this order has (a name where a date belongs)
    /// is as good as none.
    pub after: Option<Position>,
    /// Keys on the page; 0 counts as 1, and more than [`PAGE_KEYS_MAX`] as that.
    pub limit: usize,
}

/// What keys are sorted by; equal ones by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The name, by its characters' code points without case.
    #[default]
    Name,
    /// When it was made; keys without a date first.
    CreatedAt,
    /// When it was last used; keys never used first.
    LastUsedAt,
    /// When it expires; keys that never do last.
    ExpiresAt,
}

/// Where a page ended: what the last key was sorted by, and its id. It stays right when keys come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The name, folded, or the date as microseconds; an absent date is the smallest or greatest number.
    pub by: String,
    /// The key.
    pub id: KeyId,
}

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its keys, in order.
    pub keys: Vec<Arc<Key>>,
    /// How many keys match in all, on all pages.
    pub matching: usize,
    /// Where the next page begins; none: this is the last.
    pub next: Option<Position>,
}

/// The page of `table` that `query` asks for, with states as they are at `now`.
#[must_use]
pub fn page(table: &KeyTable, query: &Query, now: Timestamp) -> Page {
    match query.order {
        Order::Name => collect::<ByName>(table, query, now),
        Order::CreatedAt => collect::<ByCreation>(table, query, now),
        Order::LastUsedAt => collect::<ByUse>(table, query, now),
        Order::ExpiresAt => collect::<ByExpiry>(table, query, now),
    }
}

/// The page, put together from what each thread found in its part of the table.
fn collect<S: SortedBy + Send>(table: &KeyTable, query: &Query, now: Timestamp) -> Page {
    let limit = query.limit.clamp(1, PAGE_KEYS_MAX);
    let parts = in_parts(table.keys(), KEYS_A_THREAD_MIN, |keys| {
        pass::<S>(keys, query, limit, now)
    });
    let matching = parts.iter().map(|part| part.matching).sum();
    let behind: usize = parts.iter().map(|part| part.behind).sum();
    let mut first: Vec<_> = parts.into_iter().flat_map(|part| part.first).collect();
    first.sort_unstable();
    first.truncate(limit);
    let last = first.last().filter(|_| behind > limit);
    Page {
        matching,
        next: last.map(|last| Position {
            by: last.by.write(),
            id: last.key.id().clone(),
        }),
        keys: first
            .iter()
            .map(|candidate| Arc::clone(candidate.key))
            .collect(),
    }
}

/// What one pass found.
struct Found<'t, S> {
    /// The first keys of those behind `after`, as many as a page holds.
    first: BinaryHeap<Candidate<'t, S>>,
    matching: usize,
    /// How many of them are behind `after`.
    behind: usize,
}

/// The one pass. The heap holds the first keys of those seen behind `after`, the last of them on top.
fn pass<'t, S: SortedBy>(
    keys: &'t [Arc<Key>],
    query: &Query,
    limit: usize,
    now: Timestamp,
) -> Found<'t, S> {
    let search = query
        .search
        .as_deref()
        .filter(|search| !search.is_empty())
        .map(Needle::new);
    let turn = |order: Ordering| {
        if query.descending {
            order.reverse()
        } else {
            order
        }
    };
    let after: Option<(S, &KeyId)> = query
        .after
        .as_ref()
        .and_then(|after| Some((S::read(&after.by)?, &after.id)));
    let mut first: BinaryHeap<Candidate<'_, S>> = BinaryHeap::with_capacity(limit + 1);
    let (mut matching, mut behind) = (0, 0_usize);
    for key in keys {
        if query.state.is_some_and(|state| key.state(now) != state)
            || search.as_ref().is_some_and(|search| !matches(key, search))
        {
            continue;
        }
        matching += 1;
        let sight = S::sight(key);
        let against =
            |by: &S, id: &KeyId| turn(S::compare(sight, by).then_with(|| key.id().cmp(id)));
        if after
            .as_ref()
            .is_some_and(|(by, id)| against(by, id) != Ordering::Greater)
        {
            continue;
        }
        behind += 1;
        let full = first.len() == limit;
        if full
            && first
                .peek()
                .is_some_and(|last| against(&last.by, last.key.id()) != Ordering::Less)
        {
            continue;
        }
        if full {
            first.pop();
        }
        first.push(Candidate {
            by: S::keep(sight),
            key,
            descending: query.descending,
        });
    }
    Found {
        first,
        matching,
        behind,
    }
}

/// Whether the text is in one of the fields that are searched.
fn matches(key: &Key, search: &Needle) -> bool {
    let id = key.id().as_str();
    let perhaps = search.may_be_in(key.texts()) || search.may_be_in(id) || !key.tags().is_empty();
    perhaps && is_in_a_field(key, search)
}

fn is_in_a_field(key: &Key, search: &Needle) -> bool {
    search.is_in(key.name())
        || search.is_in(key.id().as_str())
        || key.mask().is_some_and(|mask| search.is_in(mask))
        || key.description().is_some_and(|text| search.is_in(text))
        || key.tags().iter().any(|(name, value)| {
            search.is_in(name) || search.is_in(value) || search.is_in(&format!("{name}={value}"))
        })
}

/// A key that may be on the page, and what it is sorted by, as it was when the pass came by.
struct Candidate<'t, S> {
    by: S,
    key: &'t Arc<Key>,
    descending: bool,
}

impl<S: SortedBy> Ord for Candidate<'_, S> {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self
            .by
            .cmp(&other.by)
            .then_with(|| self.key.id().cmp(other.key.id()));
        if self.descending {
            order.reverse()
        } else {
            order
        }
    }
}

impl<S: SortedBy> PartialOrd for Candidate<'_, S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<S: SortedBy> PartialEq for Candidate<'_, S> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<S: SortedBy> Eq for Candidate<'_, S> {}

/// What an order sorts by: looked at in every key, kept of the few on the page.
trait SortedBy: Ord {
    /// What is looked at.
    type Sight<'k>: Copy;

    fn sight(key: &Key) -> Self::Sight<'_>;
    fn compare(sight: Self::Sight<'_>, kept: &Self) -> Ordering;
    fn keep(sight: Self::Sight<'_>) -> Self;
    fn write(&self) -> String;
    fn read(text: &str) -> Option<Self>
    where
        Self: Sized;
}

/// The folded name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ByName(String);

impl SortedBy for ByName {
    type Sight<'k> = &'k str;

    fn sight(key: &Key) -> &str {
        key.name()
    }

    fn compare(sight: &str, kept: &Self) -> Ordering {
        compare_folded(sight, &kept.0)
    }

    fn keep(sight: &str) -> Self {
        Self(folded(sight))
    }

    fn write(&self) -> String {
        self.0.clone()
    }

    fn read(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }
}

/// A date; an absent one stands at the end that its order says.
macro_rules! by_date {
    ($name:ident, $date:expr, $absent:expr) => {
        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        struct $name(i64);

        impl SortedBy for $name {
            type Sight<'k> = i64;

            fn sight(key: &Key) -> i64 {
                let date: fn(&Key) -> Option<Timestamp> = $date;
                date(key).map_or($absent, Timestamp::as_micros)
            }

            fn compare(sight: i64, kept: &Self) -> Ordering {
                sight.cmp(&kept.0)
            }

            fn keep(sight: i64) -> Self {
                Self(sight)
            }

            fn write(&self) -> String {
                self.0.to_string()
            }

            fn read(text: &str) -> Option<Self> {
                text.parse().ok().map(Self)
            }
        }
    };
}

by_date!(ByCreation, Key::created_at, i64::MIN);
by_date!(ByUse, |key| key.usage().totals().last_used_at, i64::MIN);
by_date!(ByExpiry, Key::expires_at, i64::MAX);

#[cfg(test)]
mod tests;
