//! A record as a short line for people: nothing in it acts on a terminal, and it fits into one.

use crate::cli::print;
use crate::cli::print::seen;
use crate::transactions::read::Entry;

/// Above the lines.
pub(in crate::cli) const HEADING: &str =
    "TIME      STATUS  DECISION      KEY OR REASON          TOOK  REQUEST";
/// Of a name or a reason, so much is shown.
const WHO_CHARS: usize = 19;
/// Where the request begins.
const REQUEST_AT: usize = 61;
/// What is left of a request in a narrow terminal.
const REQUEST_CHARS_MIN: usize = 16;

/// Rows below each other, with a line for each day.
#[derive(Debug, Default)]
pub(super) struct Rows {
    day: String,
}

impl Rows {
    pub(super) fn print(&mut self, line: &str) {
        let Some(entry) = Entry::of(line) else { return };
        let day = entry.time.get(..10).unwrap_or_default();
        if self.day.is_empty() {
            print::line(HEADING);
        }
        if self.day != day {
            day.clone_into(&mut self.day);
            print::line(format_args!("{} (UTC)", seen(day)));
        }
        print::line(short(&entry, print::width()));
    }
}

/// `10:00:00  200     allowed       demo                 0.4 ms  GET /hello`, below [`HEADING`], in a terminal of so many
/// columns.
pub(in crate::cli) fn short(entry: &Entry<'_>, width: Option<usize>) -> String {
    let time = entry.time.get(11..19).unwrap_or_default();
    let status = entry
        .status
        .map_or_else(|| "-".to_owned(), |status| status.to_string());
    // Why it did not end as usual, or the key that was used.
    let who = entry.reason.as_deref().or(entry.key_name.as_deref());
    let took = took(entry.duration_us);
    let method = entry.method.as_deref().unwrap_or("-");
    let path = entry.path.as_deref().unwrap_or_default();
    let request = seen(&format!("{method} {path}")).into_owned();
    let room = width.map(|width| width.saturating_sub(REQUEST_AT).max(REQUEST_CHARS_MIN));
    format!(
        "{}  {status:<6}  {:<12}  {:<WHO_CHARS$}{took:>8}  {}",
        seen(time),
        cut(&seen(&entry.decision), 12),
        cut(&seen(who.unwrap_or_default()), WHO_CHARS),
        room.map_or_else(|| request.clone(), |room| cut(&request, room)),
    )
}

/// `0.4 ms`, `12.0 s`
fn took(micros: u64) -> String {
    let (micros, unit) = match micros {
        0..10_000_000 => (micros, "ms"),
        _ => (micros / 1_000, "s"),
    };
    format!("{}.{} {unit}", micros / 1_000, micros % 1_000 / 100)
}

fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &str, width: Option<usize>) -> String {
        let line = format!(
            r#"{{"time":"2026-11-23T10:00:00.000000Z","request_id":"r","end":"complete",{fields}}}"#
        );
        short(&Entry::of(&line).unwrap(), width)
    }

    #[test]
    fn a_record_becomes_a_short_line() {
        let fields = r#""decision":"allowed","key_name":"demo","method":"GET","path":"/hello","status":200,"duration_us":412"#;
        assert_eq!(
            row(fields, None),
            "10:00:00  200     allowed       demo                 0.4 ms  GET /hello"
        );
        let fields = r#""decision":"refused","reason":"missing_key","key_name":"x","method":"GET","path":"/","status":401,"duration_us":50"#;
        assert_eq!(
            row(fields, None),
            "10:00:00  401     refused       missing_key          0.0 ms  GET /"
        );
        assert_eq!(HEADING.find("REQUEST"), Some(REQUEST_AT));
    }

    #[test]
    fn it_fits_and_nothing_in_it_acts() {
        let fields = r#""decision":"would_refuse","key_name":"a\u001b[2J\u202e key of a very long name","method":"GET","path":"/\u009b31m/and/a/path/that/goes/on/and/on/and/on","duration_us":123456789"#;
        for width in [80, 100] {
            let row = row(fields, Some(width));
            assert_eq!(row.chars().count(), width, "{row}");
            assert!(
                !row.contains(|c: char| c.is_control() || c == '\u{202e}'),
                "{row}"
            );
            assert!(row.contains("123.4 s  GET /\\u{9b}"), "{row}");
        }
    }
}
