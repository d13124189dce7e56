//! The only place that prints. A reader that went away (`| head`) is no failure.

use std::fmt;
use std::io;
use std::io::Write;

use crate::problem::Problem;

/// What was asked for, on stdout.
pub(super) fn line(text: impl fmt::Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Bytes that were asked for, on stdout.
pub(super) fn raw(bytes: &[u8]) {
    let _ = io::stdout().lock().write_all(bytes);
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
