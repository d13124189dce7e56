//! A store in memory that keeps the contract of [`KeyStore`] without any file: several handles on one shared list, as
//! a service for a fleet would have it. For the conformance tests only.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::Ground;
use crate::clock::Timestamp;
use crate::key::Key;
use crate::key::KeyId;
use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::key::token::Token;
use crate::problem::Problem;
use crate::store::KeyChanges;
use crate::store::KeyStore;
use crate::store::Keys;
use crate::store::Loaded;
use crate::store::edit::EditError;
use crate::store::edit::KeyEdit;
use crate::store::edit::Taken;

/// What all handles share.
struct Shared {
    state: Mutex<State>,
    told: watch::Sender<u64>,
}

#[derive(Clone)]
struct State {
    revision: Revision,
    keys: Vec<Arc<Key>>,
    damaged: bool,
}

/// One handle.
struct MemoryStore {
    shared: Arc<Shared>,
    given: Option<Revision>,
}

struct MemoryChanges(watch::Receiver<u64>);

static REVISIONS: AtomicU64 = AtomicU64::new(0);

fn new_revision() -> Revision {
    Revision::of(&REVISIONS.fetch_add(1, Ordering::Relaxed).to_le_bytes())
}

/// An empty one.
pub(super) fn ground() -> Ground<impl KeyStore> {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            revision: new_revision(),
            keys: Vec::new(),
            damaged: false,
        }),
        told: watch::Sender::new(0),
    });
    let damaged = Arc::clone(&shared);
    Ground {
        open: Box::new(move || MemoryStore {
            shared: Arc::clone(&shared),
            given: None,
        }),
        damage: Box::new(move || damaged.state.lock().unwrap().damaged = true),
    }
}

fn damage() -> Vec<Problem> {
    vec![Problem {
        file: "memory".into(),
        place: None,
        path: String::new(),
        what: "damaged".to_owned(),
        hint: None,
    }]
}

fn keys(state: &State) -> Keys {
    let table = KeyTable::build(state.keys.clone(), state.revision);
    Keys {
        table: Arc::new(table.expect("edits that clash are refused")),
        token_files: Vec::new(),
        warnings: Vec::new(),
    }
}

fn make(keys: &mut Vec<Arc<Key>>, edit: &KeyEdit) -> Result<(), EditError> {
    let position = |id: &KeyId| {
        let found = keys.iter().position(|key| key.id() == id);
        found.ok_or_else(|| EditError::Unknown { id: id.clone() })
    };
    let fields = match edit {
        KeyEdit::Add(fields) => {
            if position(&fields.id).is_ok() {
                return Err(EditError::Taken {
                    what: Taken::Id,
                    holder: fields.id.clone(),
                });
            }
            fields
        }
        KeyEdit::Change(fields) => fields,
        KeyEdit::Remove(id) => {
            let at = position(id)?;
            keys.remove(at);
            return Ok(());
        }
    };
    let others = || keys.iter().filter(|key| *key.id() != fields.id);
    if let Some(holder) = others().find(|key| *key.name() == *fields.name) {
        return Err(EditError::Taken {
            what: Taken::Name,
            holder: holder.id().clone(),
        });
    }
    let new = Key::new(fields.clone());
    match edit {
        KeyEdit::Add(_) => keys.push(Arc::new(new)),
        KeyEdit::Change(_) | KeyEdit::Remove(_) => {
            let at = position(&fields.id)?;
            if *keys[at] != new {
                keys[at] = Arc::new(new.continuing(&keys[at]));
            }
        }
    }
    Ok(())
}

impl KeyStore for MemoryStore {
    type Changes = MemoryChanges;

    fn place(&self) -> &Path {
        Path::new("memory")
    }

    fn changes(&self) -> MemoryChanges {
        MemoryChanges(self.shared.told.subscribe())
    }

    fn load(&mut self, known: Option<&Revision>) -> Result<Loaded, Vec<Problem>> {
        let state = self.shared.state.lock().unwrap();
        if state.damaged {
            return Err(damage());
        }
        let given = self.given.replace(state.revision);
        if given == Some(state.revision) && known == Some(&state.revision) {
            return Ok(Loaded::Unchanged);
        }
        Ok(Loaded::Keys {
            keys: keys(&state),
            changed: Timestamp::from_micros(0),
        })
    }

    fn apply(&mut self, edits: &[KeyEdit], expected: &Revision) -> Result<Keys, EditError> {
        let mut state = self.shared.state.lock().unwrap();
        if state.damaged {
            return Err(EditError::Broken { problems: damage() });
        }
        if state.revision != *expected {
            return Err(EditError::Stale {
                current: state.revision,
            });
        }
        let mut next = state.keys.clone();
        edits.iter().try_for_each(|edit| make(&mut next, edit))?;
        if next != state.keys {
            state.keys = next;
            state.revision = new_revision();
            self.shared.told.send_modify(|count| *count += 1);
        }
        self.given = Some(state.revision);
        Ok(keys(&state))
    }

    fn reveal(&mut self, id: &KeyId) -> Result<Token, EditError> {
        if self.shared.state.lock().unwrap().damaged {
            return Err(EditError::Broken { problems: damage() });
        }
        Err(EditError::Unknown { id: id.clone() })
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn tidy(&mut self) {}
}

impl KeyChanges for MemoryChanges {
    fn follow(&mut self, _: &Keys) {}

    async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await // all stores are gone: nothing will change
        }
    }
}
