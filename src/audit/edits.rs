//! What somebody did to the key file by hand, from the table before and the table after. Not for: edits that keygate
//! makes, whose actor is known.

use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::Event;
use crate::key::Key;
use crate::key::table::KeyTable;

/// From here on one line tells the counts: nobody reads a thousand, and a replaced file may hold a million keys.
const EVENTS_MAX: usize = 1000;

/// The events between two tables: keys that came, went, changed, or got another token. A key that was written without
/// an id and renamed is another key. Above 1,000 it is one event with the counts.
#[must_use]
pub fn by_hand<'a>(old: &'a KeyTable, new: &'a KeyTable) -> Vec<Event<'a>> {
    let mut edits = Edits::default();
    for key in new.keys() {
        let key: &Key = key;
        match old.get(key.id()) {
            None => edits.note(Action::KeyCreated, None, Some(key)),
            Some(was) if was.digest() != key.digest() => {
                edits.note(Action::KeyRotated, Some(was), Some(key));
            }
            Some(was) if **was != *key => edits.note(Action::KeyChanged, Some(was), Some(key)),
            Some(_) => {}
        }
    }
    for key in old.keys() {
        let key: &Key = key;
        if new.get(key.id()).is_none() {
            edits.note(Action::KeyDeleted, Some(key), None);
        }
    }
    edits.finish()
}

#[derive(Default)]
struct Edits<'a> {
    events: Vec<Event<'a>>,
    created: usize,
    changed: usize,
    rotated: usize,
    deleted: usize,
}

impl<'a> Edits<'a> {
    fn note(&mut self, action: Action, before: Option<&'a Key>, after: Option<&'a Key>) {
        match (before, after) {
            (None, _) => self.created += 1,
            (_, None) => self.deleted += 1,
            (Some(_), Some(_)) if action == Action::KeyRotated => self.rotated += 1,
            (Some(_), Some(_)) => self.changed += 1,
        }
        if self.total() <= EVENTS_MAX {
            let event = Event::new(Actor::File, action);
            self.events.push(Event {
                before,
                after,
                ..event
            });
        }
    }

    const fn total(&self) -> usize {
        self.created + self.changed + self.rotated + self.deleted
    }

    fn finish(self) -> Vec<Event<'a>> {
        if self.total() <= EVENTS_MAX {
            return self.events;
        }
        let counts = [
            (self.created, "created"),
            (self.changed, "changed"),
            (self.rotated, "rotated"),
            (self.deleted, "deleted"),
        ];
        let counts: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let event = Event::new(Actor::File, Action::KeysChanged);
        let detail = Some(format!("{} keys: {}", self.total(), counts.join(", ")));
        vec![Event { detail, ..event }]
    }
}
