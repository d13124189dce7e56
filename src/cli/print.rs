//! The only place that prints. A reader that went away (`| head`) is no failure; a full disk is one, since what was asked
//! for may be a token that is shown once: whoever prints goes on, and [`unsaid`] tells at the end.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crate::problem::Problem;

/// What was asked for, on stdout.
pub(super) fn line(text: impl fmt::Display) {
    note_failure(writeln!(io::stdout().lock(), "{text}"));
}

/// Bytes that were asked for, on stdout.
pub(super) fn raw(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    note_failure(stdout.write_all(bytes).and_then(|()| stdout.flush()));
}

/// Whether nobody reads stdout any more: for what would go on for ever.
pub(super) fn is_unread() -> bool {
    UNREAD.load(Relaxed)
}

/// How many characters a line of the terminal has; none: stdout is no terminal.
pub(super) fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

static UNREAD: AtomicBool = AtomicBool::new(false);

/// The first failure of stdout.
static UNSAID: OnceLock<io::Error> = OnceLock::new();

fn note_failure(written: io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => UNREAD.store(true, Relaxed),
        Err(error) => {
            let _ = UNSAID.set(error); // the first is enough
        }
    }
}

/// Why something that was asked for is not on stdout, if so.
pub(super) fn unsaid() -> Option<&'static io::Error> {
    UNSAID.get()
}

/// JSON for programs, on stdout.
pub(super) fn json(value: &serde_json::Value) {
    line(format_args!("{value:#}"));
}

/// Text that somebody wrote into a file, for one line of a terminal: what would move the cursor, end the line or turn its
/// direction around stands there in words.
pub(super) fn seen(text: &str) -> Cow<'_, str> {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|c| {
        if acts(c) {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    });
    Cow::Owned(shown.collect())
}

/// Rows below their headings, each column as wide as its widest cell, on stdout. Nothing without rows.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let seen = |row: &Vec<String>| row.iter().map(|cell| seen(cell).into_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(seen).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([heads[column].chars().count()])
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    let shown = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = shown(&mut heads.iter().copied());
    for row in &rows {
        text.push('\n');
        text.push_str(&shown(&mut row.iter().map(String::as_str)));
    }
    line(text);
}

/// Names and values below each other, on stdout.
pub(super) fn fields(fields: &[(&str, String)]) {
    let width = fields
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default()
        + 1;
    for (name, value) in fields {
        line(format_args!("{:<width$} {value}", format!("{name}:")));
    }
}

/// What is worth knowing, on stderr.
pub(super) fn note(text: impl fmt::Display) {
    // In one write: whoever follows stderr sees whole lines.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// What failed, where, why, and what to do.
pub(super) fn error(what: impl fmt::Display, hint: Option<&str>) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "error: {what}");
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "hint: {hint}");
    }
}

/// All that is wrong with files, variables and flags, one after the other.
pub(super) fn problems(problems: &[Problem]) {
    let mut stderr = io::stderr().lock();
    for problem in problems {
        let _ = writeln!(stderr, "{problem}");
    }
}

/// What is odd in files, variables and flags.
pub(super) fn warnings(warnings: &[Problem]) {
    let mut stderr = io::stderr().lock();
    for warning in warnings {
        let _ = writeln!(stderr, "warning: {warning}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_stands_there_in_words() {
        for (text, expected) in [
            ("Müller & Söhne 🦀", "Müller & Söhne 🦀"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("one\ntwo\t", "one\\ntwo\\t"),
            ("\u{202e}\u{2028}\u{85}", "\\u{202e}\\u{2028}\\u{85}"),
        ] {
            assert_eq!(seen(text), expected);
        }
    }
}
