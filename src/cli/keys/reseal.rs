//! `keygate keys seal` and `reseal`: clear tokens out of the file, and old secrets out of the secret file.
//!
//! A reseal may be killed between any two of its steps. 1: the new secret goes in front of the others, and all of them
//! open. 2: every copy is sealed under it, in one edit. 3: secrets that no copy needs go. After a kill, the
//! next run goes on where this one ended: a first secret that no copy uses yet is the new one.
//!
//! Others may seal at the same time. Whoever makes a copy reads the keys first and the secrets then, and its edit is
//! refused if the keys have changed since: either the edit comes before step 2, which then reads it, or its
//! secrets were read after step 1, when the first one was the new one.

use std::collections::HashMap;
use std::collections::HashSet;

use clap::Args;

use crate::audit::Action;
use crate::cli::keys::desk::Change;
use crate::cli::keys::desk::Desk;
use crate::cli::keys::failure::Failure;
use crate::cli::keys::failure::called;
use crate::cli::keys::progress::Progress;
use crate::cli::print;
use crate::key::Key;
use crate::key::KeyFields;
use crate::key::TokenSource;
use crate::key::table::KeyTable;
use crate::store::edit::EditError;
use crate::store::edit::KeyEdit;
use crate::store::seal::Secrets;
use crate::store::seal::sealed_under;

#[derive(Debug, Args)]
pub(super) struct SealArgs {
    /// Keep no sealed copies: only digests remain, and nobody can copy the tokens later
    #[arg(long)]
    no_copy: bool,
}

pub(super) fn seal(desk: &mut Desk, args: &SealArgs) -> Result<(), Failure> {
    let copies = !args.no_copy && desk.config.keys.recoverable;
    let changed = desk.change(|desk, table| {
        let mut edits = Vec::new();
        let plain = table.keys().iter();
        let plain: Vec<_> = plain
            .filter(|key| key.source() == TokenSource::Token)
            .collect();
        // Nothing is lost: without a secret, tokens stay where they are.
        let secrets = if copies && !plain.is_empty() {
            let file = desk.secret_file();
            let sealed_exist = table.keys().iter().any(|key| key.sealed().is_some());
            file.make_if_absent(sealed_exist)
                .map_err(|source| Failure::File {
                    act: "make the secret file",
                    path: file.path().to_owned(),
                    source,
                })?;
            Some(file.open()?)
        } else {
            None
        };
        let mut tokens = if plain.is_empty() {
            HashMap::new()
        } else {
            desk.reveal_all()?
        };
        for key in plain {
            let id = key.id().clone();
            let token = tokens.remove(&id).ok_or(EditError::Unknown { id })?;
            edits.push(KeyEdit::Change(KeyFields {
                source: TokenSource::Digest,
                digest: token.digest(),
                mask: Some(token.mask().into()),
                sealed: secrets
                    .as_ref()
                    .map(|secrets| secrets.seal(key.id(), &token)),
                ..key.to_fields()
            }));
        }
        Ok(Change {
            out: edits.len(),
            edits,
            action: Action::KeyChanged,
            together: None,
        })
    })?;
    match changed.out {
        0 => print::note("no token stands in the key file in clear"),
        count if copies => print::note(format_args!(
            "{count} tokens became digests and sealed copies"
        )),
        count => print::note(format_args!(
            "{count} tokens became digests; nobody can copy them later"
        )),
    }
    Ok(())
}

pub(super) fn reseal(desk: &mut Desk) -> Result<(), Failure> {
    let file = desk.secret_file();
    let table = desk.load()?;
    let secrets = file.open()?;
    if let Some(warning) = secrets.warning() {
        print::note(format_args!("warning: {warning}"));
    }
    let new = if is_begun(&secrets, &table) {
        secrets.current_id()
    } else {
        file.add_first()?
    };
    drop((secrets, table));
    let changed = desk.change(|desk, table| {
        let secrets = desk.secret_file().open()?;
        let total = copies(table).count();
        let mut progress = Progress::begin("resealing", u64::try_from(total).ok(), &desk.clock);
        let (mut edits, mut not_opened) = (Vec::new(), Vec::new());
        for (key, sealed) in copies(table).filter(|(_, sealed)| !secrets.is_current(sealed)) {
            progress.advance(1);
            match secrets.unseal(key.id(), sealed) {
                Ok(token) => {
                    let mut fields = key.to_fields();
                    fields.sealed = Some(secrets.seal(key.id(), &token));
                    edits.push(KeyEdit::Change(fields));
                }
                Err(error) => not_opened.push((called(key.name(), key.id()), error)),
            }
        }
        Ok(Change {
            action: Action::KeysResealed,
            together: Some(format!("{} copies under the secret {new}", edits.len())),
            out: (edits.len(), not_opened),
            edits,
        })
    })?;
    let (count, not_opened) = changed.out;
    // What is needed is read again: from here on, everybody seals under the new secret.
    let needed: HashSet<_> = copies(&*desk.load()?)
        .filter_map(|(_, sealed)| sealed_under(sealed))
        .collect();
    let dropped = file.drop_old(|id| !needed.contains(id))?;
    print::note(format_args!(
        "sealed {count} copies under the new secret {new}"
    ));
    for id in dropped {
        print::note(format_args!("dropped the old secret {id}"));
    }
    for (key, error) in &not_opened {
        print::note(format_args!("warning: {key}: {error}"));
    }
    if not_opened.is_empty() {
        Ok(())
    } else {
        Err(Failure::NotAllResealed {
            not_opened: not_opened.len(),
        })
    }
}

/// Whether somebody put a new secret in front already, and no copy uses it yet.
fn is_begun(secrets: &Secrets, table: &KeyTable) -> bool {
    secrets.ids().len() > 1
        && copies(table).next().is_some()
        && !copies(table).any(|(_, sealed)| secrets.is_current(sealed))
}

fn copies(table: &KeyTable) -> impl Iterator<Item = (&Key, &str)> {
    let keys = table.keys().iter();
    keys.filter_map(|key| Some((key.as_ref(), key.sealed()?)))
}
