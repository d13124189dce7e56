//! What an operator is told of the key file: problems with their hints, and lines in the log.
//! Not for: what follows from a problem, which is the reloader's.

use std::io;
use std::path::Path;

use crate::problem::Problem;

/// A file with a thousand problems is not worth a thousand lines in the log.
const PROBLEMS_LOGGED_MAX: usize = 20;

/// What is wrong with the file, a line each.
pub(super) fn log_problems(problems: &[Problem]) {
    for problem in problems.iter().take(PROBLEMS_LOGGED_MAX) {
        let (what, hint) = in_two(problem);
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

pub(super) fn unusable(file: &Path, what: &str, error: &io::Error) -> Problem {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => {
            Some("make it (version: 1, keys: []), or correct `keys.file` in keygate.yaml")
        }
        io::ErrorKind::PermissionDenied => {
            Some("let keygate's user read the file and search its folder")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("name a key file with `keys.file`, or make the data folder writable")
        }
        _ => None,
    };
    problem(file, format!("{what}: {error}"), hint)
}

pub(super) fn problem(file: &Path, what: String, hint: Option<&str>) -> Problem {
    Problem {
        file: file.to_owned(),
        place: None,
        path: String::new(),
        what,
        hint: hint.map(str::to_owned),
    }
}

/// A problem's line and its hint: log fields have no line breaks.
pub(super) fn in_two(problem: &Problem) -> (String, Option<String>) {
    (
        Problem {
            hint: None,
            ..problem.clone()
        }
        .to_string(),
        problem.hint.clone(),
    )
}

pub(super) fn log_warnings(warnings: &[Problem]) {
    for warning in warnings.iter().take(PROBLEMS_LOGGED_MAX) {
        let (what, hint) = in_two(warning);
        tracing::warn!(problem = what, hint, "a key could be better");
    }
}

/// Key files hold tokens of those who write them in. Kubernetes and compose mount secrets with wide modes, so this
/// is no reason to refuse one.
pub(super) fn warn_if_readable_by_others(file: &Path, mode: u32) {
    if mode & 0o077 != 0 {
        let (file, mode) = (file.display(), format!("{mode:04o}"));
        tracing::warn!(%file, mode, hint = format!("chmod 600 {file}"), "others than its owner may read the key file");
    }
}
