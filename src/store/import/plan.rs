//! What becomes of candidates beside the keys that are there: which are added, under which name and id, and which
//! are known already. No two keys of a plan, and no key of a plan and one of the table, share what must be unique.
//! Not for: reading candidates, which is `import`.

use std::collections::HashMap;
use std::collections::HashSet;
use std::path::Path;

use unicode_normalization::UnicodeNormalization;

use crate::clock::Timestamp;
use crate::key::KeyFields;
use crate::key::KeyId;
use crate::key::table::KeyTable;
use crate::key::token::Digest;
use crate::key::token::hex;
use crate::problem::Problem;
use crate::store::edit::KeyEdit;
use crate::store::import::Candidate;
use crate::store::seal::Secrets;

/// The longest name, characters.
pub const NAME_CHARS_MAX: usize = 100;
/// What keys are called that nobody named, before their number.
pub(super) const NO_NAME: &str = "imported";

/// What happens to a candidate whose name or id is another key's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// It gets another one: `billing-2`.
    #[default]
    Rename,
    /// It is left out.
    Skip,
    /// Nothing is imported.
    Fail,
}

impl OnConflict {
    /// All of them, with the names that flags and parameters use.
    pub const ALL: [(&'static str, Self); 3] = [
        ("rename", Self::Rename),
        ("skip", Self::Skip),
        ("fail", Self::Fail),
    ];

    /// The way with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, way)| *way)
    }
}

/// What an import comes to.
#[derive(Debug, Default)]
pub struct Plan {
    /// The keys to add, each with the id that was written down for it.
    pub add: Vec<(Candidate, KeyId)>,
    /// Names that were taken, and what the keys are called instead.
    pub renamed: Vec<(Box<str>, Box<str>)>,
    /// How many candidates are left out since their token has a key.
    pub known: usize,
    /// How many are left out since their name or id is taken.
    pub taken: usize,
}

impl Plan {
    /// The edits that carry it out: tokens are sealed where `secrets` are given.
    #[must_use]
    pub fn edits(self, secrets: Option<&Secrets>) -> Vec<KeyEdit> {
        let add = self.add.into_iter();
        add.map(|(candidate, written)| KeyEdit::Add(candidate.sealed(secrets, &written)))
            .collect()
    }
}

/// What becomes of `candidates` beside the keys of `table`. `name` is the file's, for problems; keys without a date
/// were made `now`.
///
/// # Errors
/// Candidates that would have to be renamed or left out with [`OnConflict::Fail`], and old tokens that are other
/// keys'.
pub fn plan(
    candidates: Vec<Candidate>,
    table: &KeyTable,
    on_conflict: OnConflict,
    name: &Path,
    now: Timestamp,
) -> Result<Plan, Vec<Problem>> {
    let mut taken = Taken::of(table);
    let mut plan = Plan::default();
    let mut problems = Vec::new();
    for mut candidate in candidates {
        if taken.digests.contains(&candidate.fields.digest) {
            plan.known += 1;
            continue;
        }
        let mut note = |what: String, hint: &str| {
            problems.push(Problem {
                file: name.to_owned(),
                place: candidate.place,
                path: String::new(),
                what,
                hint: Some(hint.to_owned()),
            });
        };
        if candidate
            .fields
            .previous
            .iter()
            .any(|old| taken.digests.contains(&old.digest))
        {
            let what = format!(
                "an old token of {:?} is another key's",
                candidate.fields.name
            );
            note(what, "remove it from `previous`");
            continue;
        }
        let conflict = candidate
            .named
            .then(|| taken.conflict(&candidate.fields))
            .flatten();
        match (conflict, on_conflict) {
            (Some(what), OnConflict::Fail) => {
                let what = format!("the {what} of {:?} is taken", candidate.fields.name);
                note(
                    what,
                    "--on-conflict rename gives it another one, skip leaves it out",
                );
                continue;
            }
            (Some(_), OnConflict::Skip) => {
                plan.taken += 1;
                continue;
            }
            (Some(_), OnConflict::Rename) | (None, _) => {}
        }
        let written = candidate.fields.id.clone();
        let old_name = candidate.fields.name.clone();
        taken.settle(&mut candidate);
        if candidate.named && old_name != candidate.fields.name {
            plan.renamed.push((old_name, candidate.fields.name.clone()));
        }
        candidate.fields.created_at = candidate.fields.created_at.or(Some(now));
        plan.add.push((candidate, written));
    }
    if problems.is_empty() {
        Ok(plan)
    } else {
        Err(problems)
    }
}

/// What no other key may have.
struct Taken {
    names: HashSet<Box<str>>,
    ids: HashSet<KeyId>,
    digests: HashSet<Digest>,
    /// The number that a name was given last, so that a thousand equal names are not a million look-ups.
    numbers: HashMap<Box<str>, usize>,
}

impl Taken {
    fn of(table: &KeyTable) -> Self {
        let keys = table.keys();
        let digests = keys.iter().flat_map(|key| {
            let old = key.previous().iter().map(|old| old.digest);
            old.chain([*key.digest()])
        });
        Self {
            names: keys.iter().map(|key| key.name().into()).collect(),
            ids: keys.iter().map(|key| key.id().clone()).collect(),
            digests: digests.collect(),
            numbers: HashMap::new(),
        }
    }

    /// What of a candidate is another key's. An id that only follows from the name is no wish.
    fn conflict(&self, fields: &KeyFields) -> Option<&'static str> {
        if self.names.contains(&fields.name) {
            return Some("name");
        }
        (self.ids.contains(&fields.id) && !is_derived(fields)).then_some("id")
    }

    /// Gives the candidate a name and an id of its own, and takes them.
    fn settle(&mut self, candidate: &mut Candidate) {
        let fields = &mut candidate.fields;
        let derived = is_derived(fields);
        if !candidate.named || self.names.contains(&fields.name) {
            let first = if candidate.named { 2 } else { 1 };
            fields.name = self.next_name(&fields.name, first);
        }
        if derived || self.ids.contains(&fields.id) {
            fields.id = free_id(&fields.name, |id| self.ids.contains(id));
        }
        self.names.insert(fields.name.clone());
        self.ids.insert(fields.id.clone());
        self.digests.insert(fields.digest);
        self.digests
            .extend(fields.previous.iter().map(|old| old.digest));
    }

    /// The name with the next number that is free.
    fn next_name(&mut self, name: &str, first: usize) -> Box<str> {
        let mut number = self.numbers.get(name).copied().unwrap_or(first);
        loop {
            let next = numbered(name, number);
            number += 1;
            if !self.names.contains(&next) {
                self.numbers.insert(name.into(), number);
                return next;
            }
        }
    }
}

/// `name-2`, cut where it would be too long.
fn numbered(name: &str, number: usize) -> Box<str> {
    let suffix = format!("-{number}");
    let room = NAME_CHARS_MAX - suffix.len();
    let mut cut: String = name.chars().take(room).collect();
    cut.push_str(&suffix);
    // A letter and its accent may have been parted.
    cut.nfc().collect::<String>().into()
}

/// Whether the id is the one that the name gives, so that nobody chose it.
#[must_use]
pub fn is_derived(fields: &KeyFields) -> bool {
    fields.id == KeyId::derive(&fields.name)
}

/// The id that the name gives, unless another key has it (which was called so before, perhaps): then another one.
#[must_use]
pub fn free_id(name: &str, is_taken: impl Fn(&KeyId) -> bool) -> KeyId {
    let id = KeyId::derive(name);
    if is_taken(&id) { new_id(is_taken) } else { id }
}

/// An id that no key has or had: what is known of a deleted key is not taken for that of a new one of its name.
///
/// # Panics
/// When the kernel has no randomness to give.
#[must_use]
pub fn new_id(is_taken: impl Fn(&KeyId) -> bool) -> KeyId {
    loop {
        let mut random = [0; 16];
        getrandom::fill(&mut random).expect("the kernel gives random bytes");
        let id = KeyId::derive(&hex(&random));
        if !is_taken(&id) {
            return id;
        }
    }
}

/// A name that somebody typed: in NFC, 1 to 100 characters, no control characters.
///
/// # Errors
/// What is wrong with it.
pub fn name(text: &str) -> Result<Box<str>, String> {
    let name: String = text.nfc().collect();
    let chars = name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&chars) {
        return Err(format!(
            "a name has 1 to {NAME_CHARS_MAX} characters, this one has {chars}"
        ));
    }
    if name.chars().any(char::is_control) {
        return Err("a name has no control characters".to_owned());
    }
    Ok(name.into())
}
