//! Something for each minute of the last day, in chunks of an hour that exist only where there is something to keep.
//! Minutes are whole minutes of UTC. What lies outside of the day (too old, or in a future that a clock set back
//! leaves behind) has no place here. Not for: what is kept of a minute, which the user of a series says.

use std::array;

use crate::clock::Timestamp;

/// Minutes in a day, and in a series.
pub const DAY_MINUTES: usize = 1_440;
const HOUR_MINUTES: usize = 60;
const MINUTES_OF_HOUR: i64 = 60;
const DAY_HOURS: i64 = 24;

/// A minute, counted since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Minute(i64);

impl Minute {
    const MICROS: i64 = 60_000_000;

    pub(super) const fn of(time: Timestamp) -> Self {
        Self(time.as_micros().div_euclid(Self::MICROS))
    }

    /// When it begins.
    pub(super) const fn start(self) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_mul(Self::MICROS))
    }

    /// The first of so many that end with this one.
    pub(super) fn first_of(self, minutes: usize) -> Self {
        let before = minutes.clamp(1, DAY_MINUTES) - 1;
        Self(self.0 - i64::try_from(before).expect("a day has few minutes"))
    }

    /// Whether a series has a place for it at `now`. The next one may have begun since somebody looked at the clock.
    pub(super) fn is_kept(self, now: Self) -> bool {
        (now.first_of(DAY_MINUTES).0..=now.0 + 1).contains(&self.0)
    }

    pub(super) const fn hour(self) -> i64 {
        self.0.div_euclid(MINUTES_OF_HOUR)
    }

    fn in_hour(self) -> usize {
        usize::try_from(self.0.rem_euclid(MINUTES_OF_HOUR)).expect("an hour has few minutes")
    }
}

/// A day of something.
#[derive(Debug)]
pub(super) struct Series<S> {
    /// In the order of time.
    hours: Vec<Hour<S>>,
}

#[derive(Debug)]
struct Hour<S> {
    number: i64,
    minutes: Box<[S; HOUR_MINUTES]>,
}

impl<S> Default for Series<S> {
    fn default() -> Self {
        Self { hours: Vec::new() }
    }
}

impl<S: Default> Series<S> {
    /// What an hour takes.
    pub(super) const HOUR_BYTES: usize = size_of::<Hour<S>>() + size_of::<[S; HOUR_MINUTES]>();

    /// What is kept of a minute, made if need be. The caller has asked whether it is kept.
    pub(super) fn at(&mut self, minute: Minute) -> &mut S {
        let number = minute.hour();
        let place = match self.hours.last() {
            Some(last) if last.number == number => Ok(self.hours.len() - 1),
            Some(_) | None => self.hours.binary_search_by_key(&number, |hour| hour.number),
        };
        let place = place.unwrap_or_else(|place| {
            let minutes = Box::new(array::from_fn(|_| S::default()));
            self.hours.insert(place, Hour { number, minutes });
            place
        });
        &mut self.hours[place].minutes[minute.in_hour()]
    }

    /// How many hours take memory.
    pub(super) fn hours(&self) -> usize {
        self.hours.len()
    }

    /// Lets go of all of it.
    pub(super) fn clear(&mut self) {
        self.hours = Vec::new();
    }

    /// Lets go of hours that are a day away, behind or ahead.
    pub(super) fn expire(&mut self, now: Minute) {
        let near = |hour: &Hour<S>| (hour.number - now.hour()).abs() <= DAY_HOURS;
        if !self.hours.iter().all(near) {
            self.hours.retain(near);
            self.hours.shrink_to_fit();
        }
    }

    /// What is kept of `minutes` minutes from `start` on, each with its place among them.
    pub(super) fn window(
        &self,
        start: Minute,
        minutes: usize,
    ) -> impl Iterator<Item = (usize, &S)> {
        self.hours.iter().flat_map(move |hour| {
            let first = hour.number * MINUTES_OF_HOUR - start.0;
            let before = usize::try_from(-first).unwrap_or(0).min(HOUR_MINUTES);
            let place = usize::try_from(first).unwrap_or(0);
            (place..minutes).zip(&hour.minutes[before..])
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn shown(series: &Series<u32>, now: Minute, minutes: usize) -> Vec<u32> {
        let mut shown = vec![0; minutes];
        for (place, count) in series.window(now.first_of(minutes), minutes) {
            shown[place] += count;
        }
        shown
    }

    #[test]
    fn minutes_are_whole_ones_of_utc_before_1970_too() {
        let minute = |text: &str| Minute::of(Timestamp::parse(text).unwrap());
        let first = minute("2026-11-23T10:59:59.999999Z");
        assert_eq!(first.0 + 1, minute("2026-11-23T11:00:00Z").0);
        assert_eq!(first.start().to_short(), "2026-11-23T10:59:00Z");
        assert_eq!(
            (first.in_hour(), minute("1969-12-31T23:59:00Z").in_hour()),
            (59, 59)
        );
    }

    #[test]
    fn a_day_passes_and_its_memory_goes() {
        let mut series = Series::<u32>::default();
        for minute in 0..3 * 1_440 {
            let now = Minute(minute);
            series.expire(now);
            *series.at(now) += 1;
            assert!(series.hours() <= 25, "{} hours", series.hours());
        }
        let now = Minute(3 * 1_440 - 1);
        assert_eq!(shown(&series, now, DAY_MINUTES), vec![1; DAY_MINUTES]);
        series.expire(Minute(now.0 + 25 * 60));
        assert_eq!(series.hours(), 0);
    }

    #[test]
    fn a_clock_that_was_ahead_leaves_nothing_for_ever() {
        let mut series = Series::<u32>::default();
        *series.at(Minute(1_000_000)) += 1;
        *series.at(Minute(10)) += 1;
        series.expire(Minute(10));
        assert_eq!(series.hours(), 1);
        assert_eq!(shown(&series, Minute(11), 2), [1, 0]);
    }

    proptest! {
        #[test]
        fn a_window_shows_what_was_added_in_it(
            added in vec(0..3_000i64, 0..200),
            now in 0..3_000i64,
            minutes in 1..=DAY_MINUTES,
        ) {
            let now = Minute(now);
            let mut series = Series::default();
            let mut plain = BTreeMap::new();
            for minute in added.into_iter().map(Minute).filter(|minute| minute.is_kept(now)) {
                *series.at(minute) += 1u32;
                *plain.entry(minute.0).or_insert(0u32) += 1;
            }
            series.expire(now);
            let start = now.first_of(minutes).0;
            let expected: Vec<_> = (start..=now.0)
                .map(|minute| plain.get(&minute).copied().unwrap_or(0))
                .collect();
            prop_assert_eq!(shown(&series, now, minutes), expected);
        }
    }
}
