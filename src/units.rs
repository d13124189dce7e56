//! Sizes and durations as people write them: `64KiB`, `30s`. A unit is always written, so that nobody
//! has to guess one; printing gives the shortest form that reads back as the same value.

use std::fmt;
use std::time::Duration;

/// The unit of each size, largest first, as printing prefers them. The first five are what is printed;
/// powers of ten are read too, for people who think in them.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

/// How many of [`SIZE_UNITS`] are printed.
const SIZE_UNITS_PRINTED: usize = 5;

/// The unit of each duration in milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a text is not a size or a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found:?}")]
pub struct UnitError {
    expected: &'static str,
    found: String,
    hint: &'static str,
}

impl UnitError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        self.hint
    }
}

/// Reads a size in bytes: a whole number and one of B, KiB, MiB, GiB, TiB, KB, MB, GB, TB.
///
/// # Errors
/// When the number or the unit is missing, unknown, or too large for 64 bits.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    parse(text, &SIZE_UNITS).map_err(|wrong| UnitError {
        expected: "a size such as \"64KiB\"",
        found: text.to_owned(),
        hint: match wrong {
            Wrong::Number => "write a whole number and a unit: 64KiB",
            Wrong::NoUnit => "add a unit: B, KiB, MiB or GiB",
            Wrong::Unit => "use one of the units B, KiB, MiB, GiB (powers of 1024) or KB, MB, GB (powers of 1000)",
            Wrong::TooLarge => "the largest size is 16777215TiB",
        },
    })
}

/// Reads a duration: a whole number and one of ms, s, m, h, d.
///
/// # Errors
/// When the number or the unit is missing, unknown, or too large for 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    parse(text, &DURATION_UNITS)
        .map(Duration::from_millis)
        .map_err(|wrong| UnitError {
            expected: "a duration such as \"30s\"",
            found: text.to_owned(),
            hint: match wrong {
                Wrong::Number => "write a whole number and a unit: 30s",
                Wrong::NoUnit => "add a unit: ms, s, m or h",
                Wrong::Unit => "use one of the units ms, s, m, h or d",
                Wrong::TooLarge => "write a shorter one, such as 365d",
            },
        })
}

/// A size as people write it: `64KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, &SIZE_UNITS[..SIZE_UNITS_PRINTED])
    }
}

/// A duration as people write it: `30s`. What is finer than a millisecond is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        // "0s" reads better than "0d".
        if millis == 0 {
            f.write_str("0s")
        } else {
            print(f, millis, &DURATION_UNITS)
        }
    }
}

/// What is wrong with a number that has a unit.
enum Wrong {
    Number,
    NoUnit,
    Unit,
    TooLarge,
}

/// A whole number and a unit, in units of one.
fn parse(text: &str, units: &[(&str, u64)]) -> Result<u64, Wrong> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(Wrong::Number);
    }
    let unit = unit.trim_start_matches(' ');
    if unit.is_empty() {
        return Err(Wrong::NoUnit);
    }
    // "1.5h" is a wrong number, not a wrong unit.
    if !unit.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(Wrong::Number);
    }
    let (_, factor) = units
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(Wrong::Unit)?;
    let number: u64 = number.parse().map_err(|_| Wrong::TooLarge)?;
    number.checked_mul(*factor).ok_or(Wrong::TooLarge)
}

/// In the largest unit that needs no fraction.
fn print(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let largest = units
        .iter()
        .find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    let (name, factor) = largest.unwrap_or(&units[units.len() - 1]);
    write!(f, "{}{name}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        let rows = [
            ("0B", 0),
            ("1B", 1),
            ("64KiB", 65_536),
            ("64 KiB", 65_536),
            ("64KB", 64_000),
            ("1MiB", 1_048_576),
            ("1MB", 1_000_000),
            ("2GiB", 2_147_483_648),
            ("2GB", 2_000_000_000),
        ];
        for (text, bytes) in rows {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        let rows = [
            ("0s", 0),
            ("5ms", 5),
            ("10s", 10_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("30d", 2_592_000_000),
        ];
        for (text, millis) in rows {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let rows = [
            ("30", "add a unit: ms, s, m or h"),
            ("", "write a whole number and a unit: 30s"),
            ("s", "write a whole number and a unit: 30s"),
            ("-5s", "write a whole number and a unit: 30s"),
            ("1.5h", "write a whole number and a unit: 30s"),
            ("30x", "use one of the units ms, s, m, h or d"),
            ("30S", "use one of the units ms, s, m, h or d"),
            ("99999999999999999999s", "write a shorter one, such as 365d"),
            ("999999999999999999d", "write a shorter one, such as 365d"),
        ];
        for (text, hint) in rows {
            assert_eq!(parse_duration(text).unwrap_err().hint(), hint, "{text:?}");
        }
        let error = parse_size("64").unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected a size such as \"64KiB\", found \"64\""
        );
        assert_eq!(error.hint(), "add a unit: B, KiB, MiB or GiB");
    }

    #[test]
    fn printing_takes_the_largest_unit_that_fits() {
        let sizes = [
            (0, "0B"),
            (1, "1B"),
            (65_536, "64KiB"),
            (1_000_000, "1000000B"),
            (1 << 30, "1GiB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(Size(bytes).to_string(), text);
        }
        let durations = [
            (0, "0s"),
            (1_500, "1500ms"),
            (90_000, "90s"),
            (86_400_000, "1d"),
            (300_000, "5m"),
        ];
        for (millis, text) in durations {
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn a_size_survives_print_and_parse(bytes: u64) {
            prop_assert_eq!(parse_size(&Size(bytes).to_string()), Ok(bytes));
        }

        #[test]
        fn a_duration_survives_print_and_parse(millis: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&Span(duration).to_string()), Ok(duration));
        }

        #[test]
        fn any_text_gets_an_answer(text: String) {
            let _ = (parse_size(&text), parse_duration(&text));
        }
    }
}
