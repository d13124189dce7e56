//! Findings as people and programs read them. What bites comes last, where a terminal shows it; long lines are broken
//! and colours used on a terminal only, so that a pipe has one line a sentence.

use std::env;

use serde_json::Value;
use serde_json::json;

use crate::cli::doctor::finding::Finding;
use crate::cli::doctor::finding::Level;
use crate::cli::print;
use crate::config::Config;

/// Longer lines are hard to read, however wide the terminal is.
const WIDTH_MAX: usize = 100;
/// Before what was seen: the level and what it is about.
const INDENT: usize = 6;
const ABOUT: usize = 16;

pub(super) fn text(config: &Config, findings: &[Finding]) {
    let width = print::width().map(|columns| columns.min(WIDTH_MAX));
    let terminal = width.is_some();
    let plain = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let colours = terminal
        && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && !plain("TERM", "dumb");
    if let Some(file) = &config.file {
        print::line(format_args!(
            "config file {}\n",
            print::seen(&file.to_string_lossy())
        ));
    }
    for level in [Level::Ok, Level::Warn, Level::Fail] {
        for finding in findings.iter().filter(|finding| finding.level == level) {
            print::line(block(finding, width, colours));
        }
    }
    print::line(format_args!("\n{}", summary(findings)));
}

pub(super) fn json(findings: &[Finding]) -> Value {
    let number = |level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let one = |finding: &Finding| {
        json!({
            "about": finding.about,
            "level": finding.level.as_str(),
            "seen": finding.seen,
            "why": finding.why,
            "fix": finding.fix,
        })
    };
    json!({
        "findings": findings.iter().map(one).collect::<Vec<_>>(),
        "ok": number(Level::Ok),
        "warnings": number(Level::Warn),
        "failures": number(Level::Fail),
    })
}

/// One finding: what was seen in the first line, the rest below it.
fn block(finding: &Finding, width: Option<usize>, colours: bool) -> String {
    let level = finding.level.as_str();
    let level = match (colours, finding.level) {
        (false, _) => format!("{level:<INDENT$}"),
        (true, Level::Ok) => format!("\u{1b}[32m{level:<INDENT$}\u{1b}[0m"),
        (true, Level::Warn) => format!("\u{1b}[33m{level:<INDENT$}\u{1b}[0m"),
        (true, Level::Fail) => format!("\u{1b}[31m{level:<INDENT$}\u{1b}[0m"),
    };
    let mut text = level;
    let about = finding.about;
    let seen = print::seen(&finding.seen);
    text.push_str(&hanging(&format!("{about:<ABOUT$}"), INDENT, &seen, width));
    for (name, words) in [("why: ", &finding.why), ("fix: ", &finding.fix)] {
        if let Some(words) = words {
            text.push('\n');
            text.push_str(&" ".repeat(INDENT));
            text.push_str(&hanging(name, INDENT, &print::seen(words), width));
        }
    }
    text
}

/// `words` after `head`, which begins at column `at`; further lines below the first word.
fn hanging(head: &str, at: usize, words: &str, width: Option<usize>) -> String {
    let indent = at + head.chars().count() + usize::from(!head.ends_with(' '));
    let mut text = head.to_owned();
    if !head.ends_with(' ') {
        text.push(' ');
    }
    let Some(width) = width else {
        text.push_str(words);
        return text;
    };
    let mut column = indent;
    for (index, word) in words.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 {
            if column + 1 + length > width {
                text.push('\n');
                text.push_str(&" ".repeat(indent));
                column = indent;
            } else {
                text.push(' ');
                column += 1;
            }
        }
        text.push_str(word);
        column += length;
    }
    text
}

fn summary(findings: &[Finding]) -> String {
    let number = |level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let warnings = match number(Level::Warn) {
        1 => "1 warning".to_owned(),
        number => format!("{number} warnings"),
    };
    let failures = match number(Level::Fail) {
        0 => "nothing fails".to_owned(),
        1 => "1 failure".to_owned(),
        number => format!("{number} failures"),
    };
    format!("{} ok, {warnings}, {failures}", number(Level::Ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_fits_the_terminal() {
        let finding = Finding::warn(
            "data folder",
            "one two three four five six seven eight nine ten",
        )
        .why("because one two three four five six seven")
        .fix("chmod");
        let text = block(&finding, Some(40), false);
        assert_eq!(
            text,
            "warn  data folder     one two three four\n\
             \u{20}                     five six seven\n\
             \u{20}                     eight nine ten\n\
             \u{20}     why: because one two three four\n\
             \u{20}          five six seven\n\
             \u{20}     fix: chmod"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 40));
        assert_eq!(
            block(&finding, None, false).lines().count(),
            3,
            "a pipe has whole lines"
        );
        assert!(block(&finding, None, true).starts_with("\u{1b}[33mwarn  \u{1b}[0mdata folder"));
    }

    #[test]
    fn a_summary_counts() {
        let (ok, warn, fail) = (
            Finding::ok("a", ""),
            Finding::warn("b", ""),
            Finding::fail("c", ""),
        );
        assert_eq!(
            summary(std::slice::from_ref(&ok)),
            "1 ok, 0 warnings, nothing fails"
        );
        assert_eq!(summary(&[ok, warn, fail]), "1 ok, 1 warning, 1 failure");
    }

    #[test]
    fn what_others_named_does_not_act_on_the_terminal() {
        let text = block(&Finding::ok("keys", "a\u{1b}[2Jb"), Some(80), false);
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
