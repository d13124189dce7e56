//! `keygate keys enable`, `disable` and `delete`: one or more keys, all of them or none.

use std::io;
use std::io::IsTerminal;

use clap::Args;
use dialoguer::Confirm;

use crate::audit::Action;
use crate::cli::keys::Output;
use crate::cli::keys::desk::Change;
use crate::cli::keys::desk::Desk;
use crate::cli::keys::failure::Failure;
use crate::cli::keys::failure::called;
use crate::cli::keys::object;
use crate::cli::print;
use crate::key::Key;
use crate::key::KeyId;
use crate::store::edit::KeyEdit;

#[derive(Debug, Args)]
pub(super) struct KeysNamed {
    /// Their ids or names
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// Their ids or names
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(super) fn switch(desk: &mut Desk, args: &KeysNamed, on: bool) -> Result<(), Failure> {
    let changed = desk.change(|desk, table| {
        let mut edits = Vec::new();
        let mut ids = Vec::new();
        for wanted in &args.keys {
            let key = desk.find(table, wanted)?;
            if ids.contains(key.id()) {
                continue;
            }
            ids.push(key.id().clone());
            if key.enabled() != on {
                let mut fields = key.to_fields();
                fields.enabled = on;
                edits.push(KeyEdit::Change(fields));
            }
        }
        Ok(Change {
            edits,
            action: Action::KeyChanged,
            together: None,
            out: ids,
        })
    })?;
    let word = if on { "on" } else { "off" };
    for id in &changed.out {
        let key = changed.after.get(id).expect("it is still there");
        let was = changed.before.get(id).is_some_and(|key| key.enabled());
        let already = if was == on { "already " } else { "" };
        print::note(format_args!(
            "{} is {already}switched {word}",
            called(key.name(), id)
        ));
    }
    show_json(
        desk,
        changed.out.iter().filter_map(|id| changed.after.get(id)),
    );
    Ok(())
}

pub(super) fn delete(desk: &mut Desk, args: &DeleteArgs) -> Result<(), Failure> {
    let table = desk.load()?;
    let mut ids: Vec<KeyId> = Vec::new();
    for wanted in &args.keys {
        let key = desk.find(&table, wanted)?;
        if ids.contains(key.id()) {
            continue;
        }
        if !args.yes && !confirmed(key)? {
            return Err(Failure::Declined);
        }
        ids.push(key.id().clone());
    }
    // What was agreed to is the key with this id, however it is called by now.
    let changed = desk.change(|desk, table| {
        for id in &ids {
            desk.find(table, id.as_str())?;
        }
        Ok(Change {
            edits: ids.iter().cloned().map(KeyEdit::Remove).collect(),
            action: Action::KeyDeleted,
            together: None,
            out: (),
        })
    })?;
    let gone = || ids.iter().filter_map(|id| changed.before.get(id));
    for key in gone() {
        print::note(format_args!("deleted {}", called(key.name(), key.id())));
    }
    show_json(desk, gone());
    Ok(())
}

/// Asks whether this key is to go.
fn confirmed(key: &Key) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::NotConfirmed { what: "a deletion" });
    }
    let made = match key.created_at() {
        Some(date) => format!("made {}", date.to_short()),
        None => "nobody knows when it was made".to_owned(),
    };
    let question = format!("Delete {}, {made}?", called(key.name(), key.id()));
    Confirm::new()
        .with_prompt(question)
        .default(false)
        .interact()
        .map_err(|dialoguer::Error::IO(error)| Failure::Terminal(error))
}

fn show_json<'k>(desk: &Desk, keys: impl Iterator<Item = &'k std::sync::Arc<Key>>) {
    if desk.output == Output::Json {
        let list: Vec<_> = keys.map(|key| object::json(key, desk.now())).collect();
        print::json(&list.into());
    }
}
