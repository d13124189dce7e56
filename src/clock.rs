//! The only place that reads time: a monotonic clock for durations and deadlines, a wall clock for dates.
//! Whoever depends on time is handed a [`Clock`]; tests hand over one that they move themselves.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point of wall-clock time: microseconds since 1970-01-01T00:00:00Z, negative before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The first and the last moment that a date can say, in UTC: the years 0 to 9999.
    const FIRST: Self = Self(-62_167_219_200_000_000);
    const LAST: Self = Self(253_402_300_799_999_999);

    /// Reads a date of RFC 3339, with any offset; digits beyond microseconds are dropped.
    ///
    /// # Errors
    /// When `text` is not such a date, or its offset takes it out of the years that a date in UTC can say; the error
    /// says what was expected.
    pub fn parse(text: &str) -> Result<Self, time::error::Parse> {
        let date = OffsetDateTime::parse(text, &Rfc3339)?;
        let micros = date.unix_timestamp_nanos().div_euclid(1_000);
        let date =
            Self(i64::try_from(micros).expect("years 0 to 9999 fit 64 bits of microseconds"));
        if (Self::FIRST..=Self::LAST).contains(&date) {
            Ok(date)
        } else {
            Err(time::error::ParseFromDescription::InvalidComponent("year").into())
        }
    }

    /// The moment `by` earlier; saturates at the first that a date can say.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(by)).max(Self::FIRST.min(self))
    }

    /// The moment `by` later; saturates at the last that a date can say.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(by)).min(Self::LAST.max(self))
    }

    /// `2026-11-23T10:00:00Z`: RFC 3339 in UTC, with a fraction only if there is one. For people; what machines compare as
    /// text has the width of [`Display`](fmt::Display).
    #[must_use]
    pub fn to_short(self) -> String {
        let text = self.to_string();
        match text.strip_suffix(".000000Z") {
            Some(seconds) => format!("{seconds}Z"),
            None => text,
        }
    }
}

/// RFC 3339 in UTC with microseconds: `2026-11-23T10:00:00.000000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(date) = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1_000_000)) else {
            return write!(f, "{}µs", self.0); // beyond the year 9999
        };
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        let (hour, minute, second) = date.to_hms();
        let micros = self.0.rem_euclid(1_000_000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
        )
    }
}

/// Where time comes from. Cheap to clone; clones agree.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    by_hand: Option<Arc<Hand>>,
}

/// The time of a clock that a test moves.
#[derive(Debug)]
struct Hand {
    start: Instant,
    start_wall: Timestamp,
    moved_micros: AtomicU64,
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub const fn system() -> Self {
        Self { by_hand: None }
    }

    /// A clock that stands still at `start` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn by_hand(start: Timestamp) -> Self {
        let hand = Hand {
            start: monotonic(),
            start_wall: start,
            moved_micros: AtomicU64::new(0),
        };
        Self {
            by_hand: Some(Arc::new(hand)),
        }
    }

    /// Moves a clock made by [`Clock::by_hand`] and all its clones.
    ///
    /// # Panics
    /// On the machine's clock.
    pub fn advance(&self, by: Duration) {
        let hand = self
            .by_hand
            .as_ref()
            .expect("only a clock made by hand is moved by hand");
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        hand.moved_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Monotonic time.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.by_hand {
            None => monotonic(),
            Some(hand) => {
                hand.start + Duration::from_micros(hand.moved_micros.load(Ordering::Relaxed))
            }
        }
    }

    /// Wall-clock time.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        match &self.by_hand {
            None => wall(),
            Some(hand) => hand.start_wall.plus(Duration::from_micros(
                hand.moved_micros.load(Ordering::Relaxed),
            )),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
fn monotonic() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
fn wall() -> Timestamp {
    let now = SystemTime::now();
    let micros = match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    };
    Timestamp(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_survives_print_and_parse() {
        for text in [
            "2026-11-23T10:00:00.000000Z",
            "1969-12-31T23:59:59.999999Z",
            "0001-01-01T00:00:00.000001Z",
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn offsets_are_turned_into_utc() {
        let date = Timestamp::parse("2026-11-23T10:00:00+02:00").unwrap();
        assert_eq!(date.to_string(), "2026-11-23T08:00:00.000000Z");
    }

    #[test]
    fn every_moment_can_be_said_in_utc() {
        let last = Timestamp::parse("9999-12-31T23:59:59.999999Z").unwrap();
        let first = Timestamp::parse("0000-01-01T00:00:00Z").unwrap();
        assert_eq!(last.plus(Duration::MAX), last);
        assert_eq!(first.minus(Duration::MAX), first);
        assert_eq!(first.plus(Duration::MAX), last);
        for text in ["9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01"] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_date_is_refused() {
        for text in [
            "",
            "2026-11-23",
            "2026-13-01T00:00:00Z",
            "2026-11-23 10:00:00",
            "tomorrow",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_clock_made_by_hand_moves_only_by_hand() {
        let clock = Clock::by_hand(Timestamp::from_micros(0));
        let (now, wall) = (clock.now(), clock.wall());
        assert_eq!((clock.now(), clock.wall()), (now, wall));
        clock.clone().advance(Duration::from_millis(5));
        assert_eq!(clock.now() - now, Duration::from_millis(5));
        assert_eq!(clock.wall(), Timestamp::from_micros(5_000));
    }
}
