//! What an operator is told of the key file: problems with their hints, and lines in the log.
//! Not for: what follows from a problem, which is the reloader's.

use std::path::Path;

use crate::problem::Problem;

/// A file with a thousand problems is not worth a thousand lines in the log.
const PROBLEMS_LOGGED_MAX: usize = 20;

/// What is wrong with the file, a line each.
pub(super) fn log_problems(problems: &[Problem]) {
    for problem in problems.iter().take(PROBLEMS_LOGGED_MAX) {
        let (what, hint) = problem.in_two();
        tracing::error!(
            problem = what,
            hint,
            "key file not loaded: the last good keys stay in force"
        );
    }
    if problems.len() > PROBLEMS_LOGGED_MAX {
        let more = problems.len() - PROBLEMS_LOGGED_MAX;
        tracing::error!(
            more,
            hint = "`keygate check` names them all",
            "and more problems in the key file"
        );
    }
}

/// A problem of the file as a whole.
pub(super) fn problem(file: &Path, what: String, hint: Option<&str>) -> Problem {
    Problem {
        file: file.to_owned(),
        place: None,
        path: String::new(),
        what,
        hint: hint.map(str::to_owned),
    }
}

pub(super) fn log_warnings(warnings: &[Problem]) {
    for warning in warnings.iter().take(PROBLEMS_LOGGED_MAX) {
        let (what, hint) = warning.in_two();
        tracing::warn!(problem = what, hint, "a key could be better");
    }
}

/// What is worse than it should be, for health: the first problem, and how many there are besides.
pub(super) fn in_short(problems: &[Problem]) -> String {
    let why = crate::problem::in_short(problems);
    format!("the last good keys stay in force: {why}")
}
