//! A problem in a file that a person wrote: where it is, what is wrong, what to do about it.
//! Checkers collect them all before they report; `check` and `run` print the same text.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong in a file. Never holds a secret: `what` names shapes, not token text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as the person named it.
    pub file: PathBuf,
    /// Where in it, where that is known.
    pub place: Option<Place>,
    /// The setting or entry: `timeouts.response`, `keys[3].digest`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to do, where that is not plain from `what`.
    pub hint: Option<String>,
}

/// A place in a text file: line and column, both from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
}

/// `file:line:col: path: what`, and the hint on a line of its own. No line break at the end.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Place { line, column }) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl Problem {
    /// The line, and the hint by itself: fields of a log have no line breaks.
    #[must_use]
    pub fn in_two(&self) -> (String, Option<&str>) {
        let line = Self {
            hint: None,
            ..self.clone()
        };
        (line.to_string(), self.hint.as_deref())
    }
}

/// The first problem, and how many there are besides.
#[must_use]
pub fn in_short(problems: &[Problem]) -> String {
    let first = problems.first().map(|problem| problem.in_two().0);
    let more = match problems.len() {
        0 | 1 => String::new(),
        number => format!(" (and {} more)", number - 1),
    };
    format!("{}{more}", first.unwrap_or_default())
}

/// The known name nearest to `unknown`, for "did you mean"; none if nothing is near.
#[must_use]
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_a_line_that_editors_can_jump_to() {
        let problem = Problem {
            file: "config/keygate.yaml".into(),
            place: Some(Place {
                line: 14,
                column: 12,
            }),
            path: "timeouts.response".into(),
            what: "expected a duration such as \"30s\", found \"30\"".into(),
            hint: Some("add a unit: ms, s, m or h".into()),
        };
        assert_eq!(
            problem.to_string(),
            "config/keygate.yaml:14:12: timeouts.response: expected a duration such as \"30s\", found \"30\"\n  \
             hint: add a unit: ms, s, m or h"
        );
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["upstream", "upstream_host", "listen"];
        assert_eq!(nearest("upsteam", known), Some("upstream"));
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("colour", known), None);
    }
}
