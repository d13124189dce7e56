//! What a check has found.

use crate::problem::Problem;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, and will bite.
    Warn,
    /// It does not work.
    Fail,
}

impl Level {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was looked at, in two or three words.
    pub(super) about: &'static str,
    pub(super) level: Level,
    /// What was seen there.
    pub(super) seen: String,
    /// Why that matters; none where it is as it should be.
    pub(super) why: Option<String>,
    /// What to do.
    pub(super) fix: Option<String>,
}

impl Finding {
    pub(super) fn ok(about: &'static str, seen: impl Into<String>) -> Self {
        Self {
            about,
            level: Level::Ok,
            seen: seen.into(),
            why: None,
            fix: None,
        }
    }

    pub(super) fn warn(about: &'static str, seen: impl Into<String>) -> Self {
        Self {
            level: Level::Warn,
            ..Self::ok(about, seen)
        }
    }

    pub(super) fn fail(about: &'static str, seen: impl Into<String>) -> Self {
        Self {
            level: Level::Fail,
            ..Self::ok(about, seen)
        }
    }

    pub(super) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// A problem that another part of the program has found in a file.
    pub(super) fn of(about: &'static str, level: Level, problem: &Problem) -> Self {
        let line = Problem {
            hint: None,
            ..problem.clone()
        };
        Self {
            about,
            level,
            seen: line.to_string(),
            why: None,
            fix: problem.hint.clone(),
        }
    }
}
