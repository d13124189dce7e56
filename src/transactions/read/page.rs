//! A page of the log, newest first, after a bounded amount of work: a filter that nothing matches must not hold a thread
//! for minutes. A page that is cut off by that is short, and has a next one like any other.

use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::transactions::read::files::Place;
use crate::transactions::read::files::Unreadable;
use crate::transactions::read::filter::Filter;
use crate::transactions::read::search::Search;

/// The most records on a page.
pub const PAGE_RECORDS_MAX: usize = 200;
/// After so much time a page is done.
const TIME_MAX: Duration = Duration::from_secs(2);
/// After so much of the log as well.
const BYTES_MAX: u64 = 2 << 30;

/// A page of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The lines as they stand in the log, newest first.
    pub lines: Vec<String>,
    /// Where the next page begins; none: this is the last.
    pub next: Option<Place>,
    /// The time of the oldest line that was looked at; none: there was no line.
    pub searched_to: Option<Timestamp>,
    /// How many lines were none on the way.
    pub skipped: u64,
    /// Files that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// The newest records that match, or those before a place. A place that is gone has nothing before it.
#[must_use]
pub fn page(
    folder: &Path,
    filter: &Filter,
    from: Option<&Place>,
    limit: usize,
    clock: &Clock,
) -> Page {
    let end = clock.now() + TIME_MAX;
    let search = Search::new(folder, filter.clone(), from);
    page_of(search, limit, |search| {
        search.bytes > BYTES_MAX || clock.now() > end
    })
}

/// As much of a page as there is before it `took_long`.
pub(super) fn page_of(
    mut search: Search,
    limit: usize,
    took_long: impl Fn(&Search) -> bool,
) -> Page {
    let limit = limit.clamp(1, PAGE_RECORDS_MAX);
    let mut lines = Vec::new();
    let mut is_over = false;
    while !is_over && lines.len() < limit {
        is_over = !search.step(limit - lines.len(), &mut lines);
        if took_long(&search) {
            break;
        }
    }
    Page {
        lines,
        next: search.place().filter(|_| !is_over),
        searched_to: search.oldest,
        skipped: search.skipped,
        unreadable: search.unreadable,
    }
}

/// All records that match, newest first: a block of the log for each item, so most are empty where few match. Memory is a
/// block, however many there are.
pub fn all(folder: &Path, filter: &Filter) -> impl Iterator<Item = Vec<String>> + Send + use<> {
    let mut search = Search::new(folder, filter.clone(), None);
    std::iter::from_fn(move || {
        let mut lines = Vec::new();
        search.step(usize::MAX, &mut lines).then_some(lines)
    })
}
