//! The keys themselves: whether they can be read, will go on, and can be copied.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::doctor::Scene;
use crate::cli::doctor::finding::Finding;
use crate::cli::doctor::finding::Level;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::Mode;
use crate::key::Key;
use crate::key::table::KeyTable;
use crate::store::reload;
use crate::store::seal::SecretFile;
use crate::store::seal::sealed_under;

const ABOUT: &str = "keys";

/// Keys that end sooner should have successors by now.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// More names say no more.
const NAMES_MAX: usize = 5;
/// More problems of one file are for `check`.
const PROBLEMS_MAX: usize = 3;

/// What is in the key file.
pub(super) struct Keys {
    pub(super) table: KeyTable,
    /// Files that it takes tokens from.
    pub(super) token_files: Vec<PathBuf>,
    /// The length of its text.
    pub(super) bytes: u64,
}

/// Reads the key file, and makes none.
pub(super) fn read(config: &Config) -> (Option<Keys>, Vec<Finding>) {
    let file = &config.keys.file;
    if !config.keys.configured && !file.exists() {
        let finding = Finding::warn(ABOUT, format!("no key file yet: {}", file.display()))
            .why("keygate makes it at its first start, without a key: all requests are refused")
            .fix("keygate keys create NAME");
        return (None, vec![finding]);
    }
    match reload::check(file) {
        Ok(read) => {
            let warnings = read.warnings.iter().take(PROBLEMS_MAX);
            let findings = warnings
                .map(|warning| Finding::of(ABOUT, Level::Warn, warning))
                .collect();
            let token_files = read.token_files.into_iter().map(|file| file.path);
            let keys = Keys {
                table: read.table,
                token_files: token_files.collect(),
                bytes: fs::metadata(file).map_or(0, |metadata| metadata.len()),
            };
            (Some(keys), findings)
        }
        Err(problems) => {
            let more = problems.len().saturating_sub(PROBLEMS_MAX);
            let mut findings: Vec<_> = problems
                .iter()
                .take(PROBLEMS_MAX)
                .map(|problem| {
                    Finding::of(ABOUT, Level::Fail, problem)
                        .why("keygate does not start with it; one that runs goes on with the keys that it had")
                })
                .collect();
            if more > 0 {
                findings.push(
                    Finding::fail(ABOUT, format!("{more} more problems in it"))
                        .fix("keygate check lists all of them"),
                );
            }
            (None, findings)
        }
    }
}

pub(super) fn look(scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings: Vec<_> = judge_mode(scene.config.auth.mode).into_iter().collect();
    if let Some(keys) = &scene.keys {
        findings.push(judge(keys.table.keys(), scene.clock.wall()));
        findings.extend(judge_sealed(
            keys.table.keys(),
            &SecretFile::new(scene.config.keys.secret_file.clone()),
        ));
    }
    findings
}

fn judge_mode(mode: Mode) -> Option<Finding> {
    let (seen, why) = match mode {
        Mode::Enforce => return None,
        Mode::Optional => ("auth.mode is optional", "a request without a token passes"),
        Mode::Shadow => (
            "auth.mode is shadow",
            "every request passes, whatever its token; refusals are only recorded",
        ),
    };
    Some(
        Finding::warn(ABOUT, seen)
            .why(why)
            .fix("auth: {mode: enforce}, once the log shows no more would_refuse"),
    )
}

fn judge(keys: &[std::sync::Arc<Key>], now: Timestamp) -> Finding {
    let number = match keys.len() {
        0 => {
            return Finding::warn(ABOUT, "there is none")
                .why("all requests are refused")
                .fix("keygate keys create NAME");
        }
        1 => "1 key".to_owned(),
        number => format!("{number} keys"),
    };
    let until = now.plus(SOON);
    let ends_soon = |key: &&std::sync::Arc<Key>| {
        let end = key.expires_at().filter(|_| key.enabled());
        end.is_some_and(|end| end > now && end <= until)
    };
    let mut ending: Vec<_> = keys.iter().filter(ends_soon).collect();
    if ending.is_empty() {
        return Finding::ok(ABOUT, number);
    }
    ending.sort_by_key(|key| key.expires_at());
    let shown = ending.iter().take(NAMES_MAX).filter_map(|key| {
        let end = key.expires_at()?;
        Some(format!("{:?} on {}", key.name(), end.to_short()))
    });
    let mut shown = shown.collect::<Vec<_>>().join(", ");
    if ending.len() > NAMES_MAX {
        shown.push_str(&format!(" and {} more", ending.len() - NAMES_MAX));
    }
    Finding::warn(ABOUT, format!("{number}; within 14 days expire: {shown}"))
        .why("requests with them are refused from then on")
        .fix("keygate keys edit NAME --expires DATE, or a new key for who uses it; keygate_key_next_expiry_timestamp_seconds \
              is the metric to alert on")
}

/// Sealed copies open with the secret that they were made with, and with no other.
fn judge_sealed(keys: &[std::sync::Arc<Key>], secret: &SecretFile) -> Option<Finding> {
    let about = "sealed copies";
    let sealed: Vec<_> = keys.iter().filter_map(|key| key.sealed()).collect();
    if sealed.is_empty() {
        return None;
    }
    let file = secret.path().display();
    let why = "tokens cannot be copied any more (requests are not affected)";
    let fix = "bring back the secret file that they were made with, from the backup; without it: rotate those keys, or \
               remove their `sealed` lines";
    Some(match secret.open() {
        Err(error) => Finding::fail(
            about,
            format!("{} keys have one, and {error}", sealed.len()),
        )
        .why(why)
        .fix(fix),
        Ok(secrets) => {
            let known = secrets.ids();
            let foreign = sealed
                .iter()
                .filter(|copy| sealed_under(copy).is_none_or(|id| !known.contains(&id)))
                .count();
            if foreign == 0 {
                Finding::ok(
                    about,
                    format!("{}, and {file} has their secret", sealed.len()),
                )
            } else {
                Finding::fail(
                    about,
                    format!(
                        "{foreign} of {} were made with another secret than those in {file}",
                        sealed.len()
                    ),
                )
                .why(why)
                .fix(fix)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_is_open_is_told() {
        assert_eq!(judge_mode(Mode::Enforce), None);
        for mode in [Mode::Optional, Mode::Shadow] {
            assert_eq!(judge_mode(mode).unwrap().level, Level::Warn);
        }
    }

    #[test]
    fn no_key_is_a_warning() {
        assert_eq!(judge(&[], Timestamp::from_micros(0)).level, Level::Warn);
    }
}
