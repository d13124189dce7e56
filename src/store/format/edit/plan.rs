//! What edits come to, without any text: which keys of the file become others or go, and which are new. The
//! model that the text is held against. What must be unique is judged at the end, so that two keys can swap
//! their names in one go.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use crate::key::Key;
use crate::key::KeyFields;
use crate::key::KeyId;
use crate::key::TokenSource;
use crate::key::table::KeyTable;
use crate::key::token::Digest;
use crate::parts::short_lived;
use crate::store::edit::EditError;
use crate::store::edit::KeyEdit;
use crate::store::edit::Taken;

/// What becomes of the keys of a file.
#[derive(Debug)]
pub(super) struct Plan {
    /// By position in the file: the key that is wanted there, or none. Keys that are not named stay.
    pub(super) touched: BTreeMap<usize, Option<KeyFields>>,
    /// Keys for the end of the file.
    pub(super) added: Vec<KeyFields>,
}

/// Where a key is while edits are replayed.
#[derive(Clone, Copy)]
enum Holder {
    File(usize),
    Added(usize),
}

impl Plan {
    /// Replays `edits`, in their order, over the keys of `table`.
    pub(super) fn new(table: &KeyTable, edits: &[KeyEdit]) -> Result<Self, EditError> {
        let mut holders = holders(table, edits);
        let mut touched: BTreeMap<usize, Option<KeyFields>> = BTreeMap::new();
        let mut added: Vec<Option<KeyFields>> = Vec::new();
        for edit in edits {
            let id = id_of(edit);
            let held = holders.get(id).copied();
            match (edit, held) {
                (KeyEdit::Add(_), Some(_)) => {
                    return Err(EditError::Taken {
                        what: Taken::Id,
                        holder: id.clone(),
                    });
                }
                (KeyEdit::Add(key), None) => {
                    holders.insert(id, Holder::Added(added.len()));
                    added.push(Some(writable(key, None)));
                }
                (KeyEdit::Change(_) | KeyEdit::Remove(_), None) => {
                    return Err(EditError::Unknown { id: id.clone() });
                }
                (KeyEdit::Change(key), Some(Holder::File(index))) => {
                    touched.insert(index, Some(writable(key, Some(&table.keys()[index]))));
                }
                (KeyEdit::Change(key), Some(Holder::Added(index))) => {
                    added[index] = Some(writable(key, None));
                }
                (KeyEdit::Remove(_), Some(Holder::File(index))) => {
                    touched.insert(index, None);
                    holders.remove(id);
                }
                (KeyEdit::Remove(_), Some(Holder::Added(index))) => {
                    added[index] = None;
                    holders.remove(id);
                }
            }
        }
        let plan = Self {
            touched,
            added: added.into_iter().flatten().collect(),
        };
        plan.check_unique(table)?;
        Ok(plan)
    }

    /// The keys that the file will hold, in its order.
    pub(super) fn keys(self, table: &KeyTable) -> Vec<Arc<Key>> {
        let mut keys = short_lived(table.len() + self.added.len());
        let mut touched = self.touched.into_iter().peekable();
        for (index, key) in table.keys().iter().enumerate() {
            match touched.next_if(|(touched, _)| *touched == index) {
                Some((_, wanted)) => keys.extend(wanted.map(|fields| Arc::new(Key::new(fields)))),
                None => keys.push(Arc::clone(key)),
            }
        }
        keys.extend(
            self.added
                .into_iter()
                .map(|fields| Arc::new(Key::new(fields))),
        );
        keys
    }

    /// Whether no name and no token of the touched keys is another key's.
    fn check_unique(&self, table: &KeyTable) -> Result<(), EditError> {
        let mut names: HashMap<&str, &KeyId> = HashMap::new();
        let mut digests: HashMap<&Digest, &KeyId> = HashMap::new();
        let taken = |what, holder: &KeyId| {
            Err(EditError::Taken {
                what,
                holder: holder.clone(),
            })
        };
        for key in self.touched.values().flatten().chain(&self.added) {
            if let Some(holder) = names.insert(&key.name, &key.id) {
                return taken(Taken::Name, holder);
            }
            for digest in
                std::iter::once(&key.digest).chain(key.previous.iter().map(|old| &old.digest))
            {
                if let Some(holder) = digests.insert(digest, &key.id) {
                    return taken(Taken::Token, holder);
                }
            }
        }
        // Of the keys that stay as they are, only those can be in the way that have a wanted name or token.
        let changes = |holder: &Key| {
            let position = table.position(holder.id());
            position.is_some_and(|position| self.touched.contains_key(&position))
        };
        for name in names.keys() {
            if let Some(holder) = table.named(name).filter(|holder| !changes(holder)) {
                return taken(Taken::Name, holder.id());
            }
        }
        for digest in digests.keys() {
            if let Some(holder) = table.holder(digest).filter(|holder| !changes(holder)) {
                return taken(Taken::Token, holder.id());
            }
        }
        Ok(())
    }
}

/// Where the keys are that the edits name.
fn holders<'k>(table: &KeyTable, edits: &'k [KeyEdit]) -> HashMap<&'k KeyId, Holder> {
    let ids = edits.iter().map(id_of);
    ids.filter_map(|id| Some((id, Holder::File(table.position(id)?))))
        .collect()
}

const fn id_of(edit: &KeyEdit) -> &KeyId {
    match edit {
        KeyEdit::Add(key) | KeyEdit::Change(key) => &key.id,
        KeyEdit::Remove(id) => id,
    }
}

/// The key as a file can say it. An edit has no token, so a new digest is written as a digest; and while the token
/// itself stays in the file, so does the mask that is made from it.
fn writable(key: &KeyFields, old: Option<&Arc<Key>>) -> KeyFields {
    let mut key = key.clone();
    let kept = old.filter(|old| old.digest() == &key.digest && old.source() == key.source);
    match kept {
        Some(old) if key.source != TokenSource::Digest => {
            key.mask = key.mask.or_else(|| old.mask().map(Into::into));
        }
        Some(_) => {}
        None => key.source = TokenSource::Digest,
    }
    key.rules = key.rules.filter(|rules| {
        rules.methods().is_some() || rules.paths().is_some() || rules.networks().is_some()
    });
    if let Some(tags) = &mut key.tags {
        tags.sort_unstable();
    }
    key
}
