//! `keygate config show`: every setting as it counts, as a keygate.yaml that could be used.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use crate::cli::WRONG;
use crate::cli::environment;
use crate::cli::print;
use crate::config;
use crate::config::Effective;
use crate::config::Overrides;

pub(super) fn run(overrides: &Overrides, origin: bool) -> ExitCode {
    match config::load(overrides, environment()) {
        Ok(loaded) => {
            print::warnings(&loaded.warnings);
            print::line(yaml(&loaded.settings, origin, loaded.config.workers));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            print::problems(&problems);
            ExitCode::from(WRONG)
        }
    }
}

/// A comment behind a longer line does not push all others to the right.
const COLUMN_MAX: usize = 56;

/// The settings as block YAML, with what is worth saying about each as comments in a column of their own:
/// what `auto` stands for here, and where the value came from.
fn yaml(settings: &[Effective], origin: bool, workers: NonZeroUsize) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut open: Vec<&str> = Vec::new(); // the sections around the line
    for setting in settings {
        let mut sections: Vec<&str> = setting.name.split('.').collect();
        let leaf = sections.pop().unwrap_or_default();
        let shared = open
            .iter()
            .zip(&sections)
            .take_while(|(one, other)| one == other)
            .count();
        for (depth, section) in sections.iter().enumerate().skip(shared) {
            lines.push((format!("{}{section}:", "  ".repeat(depth)), String::new()));
        }
        let line = format!("{}{leaf}: {}", "  ".repeat(sections.len()), setting.value);
        let resolved = (setting.name == "workers" && setting.value == "auto")
            .then(|| format!("here {workers}"));
        let origin_of = origin.then(|| setting.origin.to_string());
        let comment: Vec<String> = origin_of.into_iter().chain(resolved).collect();
        lines.push((line, comment.join(": ")));
        open = sections;
    }
    let width = lines
        .iter()
        .map(|(line, _)| line.chars().count())
        .filter(|width| *width <= COLUMN_MAX)
        .max()
        .unwrap_or_default();
    let print = |(line, comment): &(String, String)| match (comment.as_str(), origin) {
        ("", _) => line.clone(),
        (comment, true) => format!("{line:width$}  # {comment}"),
        (comment, false) => format!("{line}  # {comment}"),
    };
    lines.iter().map(print).collect::<Vec<_>>().join("\n")
}
