//! Whose edit it was that a running keygate found in the key file. A command at a shell writes its lines before it lets
//! go of the file's lock, each with the revisions that it found and made; so an edit that is told already is known by
//! its revision, and is not told once more as one by hand. An edit is never left out for a guess: unless the commands'
//! revisions lead from the old keys to the new ones without a gap, somebody's hand was between them. Not for: waiting
//! for the lock, which is the store's.

use std::sync::Mutex;
use std::sync::PoisonError;

use serde_json::Value;

use crate::audit::Audit;
use crate::audit::Filter;
use crate::audit::PAGE_EVENTS_MAX;
use crate::key::table::Revision;

/// A command that edits many keys writes a line for each, up to a thousand; of ten such commands at once, one is told
/// twice.
const PAGES_MAX: usize = 50;

/// Which edits of the key file commands have told. One for each that follows the file.
#[derive(Debug)]
pub struct Told {
    audit: Audit,
    /// The time in the newest line that explained a change: what is older explains no other. The same text can come
    /// back, by hand.
    explained: Mutex<Option<String>>,
}

/// An edit of a command.
struct Step {
    time: String,
    before: String,
    after: String,
}

impl Told {
    /// Edits that are told from now on, in this log.
    #[must_use]
    pub fn from_now(audit: Audit) -> Self {
        let newest = steps(&audit, None).into_iter().next();
        Self {
            explained: Mutex::new(newest.map(|step| step.time)),
            audit,
        }
    }

    /// Whether commands have told all that lies between the two revisions. To be asked once for each change.
    #[must_use]
    pub fn explains(&self, old: &Revision, new: &Revision) -> bool {
        let mut explained = self
            .explained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let steps = steps(&self.audit, explained.as_deref());
        let (old, mut wanted) = (old.to_string(), new.to_string());
        let mut newest = None;
        for step in steps {
            if step.after != wanted {
                if newest.is_some() {
                    break; // a gap
                }
                continue; // of a change that is not published yet
            }
            newest.get_or_insert(step.time);
            wanted = step.before;
            if wanted == old {
                break;
            }
        }
        if newest.is_some() {
            *explained = newest;
        }
        wanted == old
    }
}

/// The edits of commands, the newest first, back to the time `until`. What cannot be read tells nothing.
fn steps(audit: &Audit, until: Option<&str>) -> Vec<Step> {
    let filter = Filter {
        actor: Some("shell".to_owned()),
        ..Filter::default()
    };
    let mut found: Vec<Step> = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let Ok(page) = audit.page(&filter, cursor.as_deref(), PAGE_EVENTS_MAX) else {
            break;
        };
        for event in &page.events {
            let Some(step) = step(event) else {
                continue;
            };
            if until.is_some_and(|until| *step.time <= *until) {
                return found;
            }
            // One edit of many keys has a line for each.
            if found.last().is_none_or(|last| last.after != step.after) {
                found.push(step);
            }
            if until.is_none() {
                return found; // only the newest is asked for
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    found
}

fn step(event: &Value) -> Option<Step> {
    let text = |name: &str| event[name].as_str().map(str::to_owned);
    Some(Step {
        time: text("time")?,
        before: text("revision_before")?,
        after: text("revision")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Action;
    use crate::audit::Actor;
    use crate::audit::Event;
    use crate::clock::Clock;
    use crate::clock::Timestamp;

    /// Commands that made these texts out of others, told a second apart, and what they explain one after the other.
    #[track_caller]
    fn check(commands: &[(&str, &str)], changes: &[(&str, &str, bool)]) {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::by_hand(Timestamp::from_micros(0));
        let audit = Audit::open(&folder.path().join("audit"), clock.clone()).unwrap();
        let revision = |text: &str| Revision::of(text.as_bytes());
        let tell = |(before, after): (&str, &str)| {
            clock.advance(std::time::Duration::from_secs(1));
            let event = || Event {
                revisions: Some((revision(before), revision(after))),
                ..Event::new(Actor::Shell("me".to_owned()), Action::KeyChanged)
            };
            audit.write_all(&[event(), event()]).unwrap();
        };
        tell(("before", "a"));
        let told = Told::from_now(audit.clone());
        commands.iter().copied().for_each(tell);
        for (old, new, expected) in changes {
            let found = told.explains(&revision(old), &revision(new));
            assert_eq!(found, *expected, "{old} to {new} of {commands:?}");
        }
    }

    #[test]
    fn only_what_commands_did_without_a_gap_is_explained() {
        check(&[], &[("before", "a", false)]);
        check(&[("a", "b")], &[("a", "b", true), ("a", "b", false)]);
        check(
            &[("a", "b"), ("b", "c"), ("c", "d")],
            &[("a", "c", true), ("c", "d", true)],
        );
        // By hand in between, behind, in front, and back.
        check(&[("a", "b"), ("x", "c")], &[("a", "c", false)]);
        check(&[("a", "b")], &[("a", "x", false), ("x", "b", false)]);
        check(&[("x", "b")], &[("a", "b", false)]);
        check(
            &[("a", "b"), ("b", "a")],
            &[("a", "b", true), ("b", "a", true), ("a", "b", false)],
        );
    }
}
