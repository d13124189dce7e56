//! `keygate keys apply -f FILE`: the store becomes equal to a key file, and says field by field what that takes. What a
//! file does not say of id, created_at, sealed copy and mask is the program's business and stays; every other field
//! that is left out is cleared, or the second run could not be empty. Keys that the file does not have are deleted
//! only when that is asked for.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use crate::audit::Action;
use crate::cli::keys::Output;
use crate::cli::keys::desk::Change;
use crate::cli::keys::desk::Desk;
use crate::cli::keys::failure::Failure;
use crate::cli::keys::failure::called;
use crate::cli::keys::object;
use crate::cli::print;
use crate::key::Key;
use crate::key::KeyFields;
use crate::key::KeyId;
use crate::key::table::KeyTable;
use crate::key::token::Token;
use crate::store::edit::KeyEdit;
use crate::store::format;
use crate::store::format::Memory;
use crate::store::import::Candidate;
use crate::store::import::Import;
use crate::store::import::ImportFormat;
use crate::store::import::plan;
use crate::store::seal::Secrets;

pub(super) const EXAMPLES: &str = "\
Examples:
  keygate keys apply -f keys.yaml --dry-run     what would change
  keygate keys apply -f keys.yaml               create and change
  keygate keys apply -f keys.yaml --prune       and delete what is not in the file
  sops -d keys.enc.yaml | keygate keys apply -f -";

/// Nobody keeps more keys in a file that is applied.
const FILE_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// A key file (YAML, JSON, NDJSON); - is stdin
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Delete keys that are not in the file
    #[arg(long)]
    prune: bool,
}

pub(super) fn apply(desk: &mut Desk, args: &ApplyArgs) -> Result<(), Failure> {
    let wanted = read(&args.file)?;
    let changed = desk.change(|desk, table| {
        let diff = Diff::of(&wanted, table, desk, args);
        let edits = if args.dry_run {
            Vec::new()
        } else {
            diff.edits()
        };
        Ok(Change {
            edits,
            action: Action::KeyChanged,
            together: None,
            out: diff,
        })
    })?;
    changed.out.tell(desk, args);
    Ok(())
}

/// The keys of the file, which must be one that keygate could run with.
fn read(file: &Path) -> Result<Vec<Candidate>, Failure> {
    let is_stdin = file == Path::new("-");
    let failed = |source| {
        if is_stdin {
            return Failure::Stdin(source);
        }
        Failure::File {
            act: "read the file",
            path: file.to_owned(),
            source,
        }
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let from: Box<dyn Read> = if is_stdin {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(file).map_err(failed)?)
    };
    from.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let format = ImportFormat::of(file)
        .filter(|format| !matches!(format, ImportFormat::Csv | ImportFormat::Text))
        .unwrap_or_else(|| match ImportFormat::guess(&bytes) {
            ImportFormat::Csv | ImportFormat::Text => ImportFormat::Yaml,
            known => known,
        });
    let name = if is_stdin {
        let (ending, _) = ImportFormat::ALL
            .iter()
            .find(|(_, known)| *known == format)
            .expect("every format has a name");
        PathBuf::from(format!("stdin.{ending}"))
    } else {
        file.to_owned()
    };
    // Two keys of one name, id or token are found here, with both their lines.
    format::parse(&name, &bytes, &mut Memory::default()).map_err(Failure::Problems)?;
    let mut import = Import::new(format, &name, true);
    import.push(&bytes);
    let read = import.finish().map_err(Failure::Problems)?;
    print::warnings(&read.warnings);
    Ok(read.candidates)
}

/// What there is to do, each key as it was and as it will be.
struct Diff {
    created: Vec<Key>,
    changed: Vec<(Arc<Key>, Key)>,
    deleted: Vec<Arc<Key>>,
    kept: Vec<Arc<Key>>,
}

impl Diff {
    fn of(wanted: &[Candidate], table: &KeyTable, desk: &mut Desk, args: &ApplyArgs) -> Self {
        let mut sealer = Sealer {
            desk,
            table,
            dry_run: args.dry_run,
            secrets: None,
        };
        let mut diff = Self {
            created: Vec::new(),
            changed: Vec::new(),
            deleted: Vec::new(),
            kept: Vec::new(),
        };
        let mut seen = HashSet::new();
        for (candidate, old) in wanted.iter().zip(matches(wanted, table)) {
            match old {
                Some(old) => {
                    seen.insert(old.id().clone());
                    let new = Key::new(changed(old, candidate, &mut sealer));
                    if new != **old {
                        diff.changed.push((Arc::clone(old), new));
                    }
                }
                None => diff.created.push(Key::new(created(candidate, &mut sealer))),
            }
        }
        let missing = table
            .keys()
            .iter()
            .filter(|key| !seen.contains(key.id()))
            .cloned();
        if args.prune {
            diff.deleted = missing.collect();
        } else {
            diff.kept = missing.collect();
        }
        diff
    }

    /// Deletions first: they make room for names.
    fn edits(&self) -> Vec<KeyEdit> {
        let deleted = self
            .deleted
            .iter()
            .map(|key| KeyEdit::Remove(key.id().clone()));
        let changed = self
            .changed
            .iter()
            .map(|(_, key)| KeyEdit::Change(key.to_fields()));
        let created = self.created.iter().map(|key| KeyEdit::Add(key.to_fields()));
        deleted.chain(changed).chain(created).collect()
    }

    fn tell(&self, desk: &Desk, args: &ApplyArgs) {
        if desk.output == Output::Json {
            return self.tell_json(desk, args.dry_run);
        }
        for key in &self.created {
            print::line(format_args!("+ {}", called(key.name(), key.id())));
            for (name, text) in object::fields(key) {
                if !matches!(name, "id" | "name") {
                    print::line(format_args!("    + {name}: {text}"));
                }
            }
        }
        for (old, new) in &self.changed {
            print::line(format_args!("~ {}", called(old.name(), old.id())));
            for line in differences(old, new) {
                print::line(line);
            }
        }
        for key in &self.deleted {
            print::line(format_args!("- {}", called(key.name(), key.id())));
        }
        for key in &self.kept {
            print::line(format_args!(
                "  {} is not in the file and stays: --prune deletes it",
                called(key.name(), key.id())
            ));
        }
        let [created, changed, deleted] =
            [self.created.len(), self.changed.len(), self.deleted.len()];
        if created + changed + deleted == 0 {
            return print::note("nothing to change");
        }
        let would = if args.dry_run { "would be: " } else { "" };
        print::note(format_args!(
            "{would}{created} created, {changed} changed, {deleted} deleted"
        ));
    }

    fn tell_json(&self, desk: &Desk, dry_run: bool) {
        let now = desk.now();
        let list = |keys: &[Arc<Key>]| -> Vec<_> {
            keys.iter().map(|key| object::json(key, now)).collect()
        };
        let created: Vec<_> = self
            .created
            .iter()
            .map(|key| object::json(key, now))
            .collect();
        let changed: Vec<_> = self
            .changed
            .iter()
            .map(|(_, key)| object::json(key, now))
            .collect();
        print::json(&json!({
            "created": created,
            "changed": changed,
            "deleted": list(&self.deleted),
            "kept": list(&self.kept),
            "dry_run": dry_run,
        }));
    }
}

/// For each key that is wanted, the one that is there: by a chosen id first, then by name, then by the id that the name
/// gives (it was called so once, and the file does not know its new name). Each is matched once.
fn matches<'t>(wanted: &[Candidate], table: &'t KeyTable) -> Vec<Option<&'t Arc<Key>>> {
    let by_name: HashMap<&str, &Arc<Key>> =
        table.keys().iter().map(|key| (key.name(), key)).collect();
    let names: HashSet<&str> = wanted.iter().map(|one| &*one.fields.name).collect();
    let mut taken = HashSet::new();
    let mut found = vec![None; wanted.len()];
    type Look<'l, 't> = &'l dyn Fn(&KeyFields) -> Option<&'t Arc<Key>>;
    let by_chosen_id: Look<'_, 't> =
        &|fields| table.get(&fields.id).filter(|_| !plan::is_derived(fields));
    let by_its_name: Look<'_, 't> = &|fields| {
        let key = by_name.get(&*fields.name).copied();
        key.filter(|_| plan::is_derived(fields))
    };
    let by_old_name: Look<'_, 't> = &|fields| {
        let key = table.get(&fields.id).filter(|_| plan::is_derived(fields));
        key.filter(|key| !names.contains(key.name()))
    };
    for look in [by_chosen_id, by_its_name, by_old_name] {
        for (candidate, slot) in wanted.iter().zip(&mut found) {
            if slot.is_none()
                && let Some(key) = look(&candidate.fields)
                && taken.insert(key.id())
            {
                *slot = Some(key);
            }
        }
    }
    found
}

/// Makes sealed copies; the secret file is opened with the first.
struct Sealer<'d> {
    desk: &'d mut Desk,
    table: &'d KeyTable,
    /// Then nothing is made, the secret file neither.
    dry_run: bool,
    secrets: Option<Option<Secrets>>,
}

impl Sealer<'_> {
    fn sealed(&mut self, fields: KeyFields, candidate: &Candidate, written: &KeyId) -> KeyFields {
        let token: Option<Token> = candidate.token.clone();
        if token.is_some() && self.secrets.is_none() {
            self.secrets = Some(if self.dry_run {
                self.desk.secrets_as_if(self.table)
            } else {
                self.desk.secrets(self.table, true)
            });
        }
        let candidate = Candidate {
            fields,
            token,
            ..*candidate
        };
        candidate.sealed(self.secrets.as_ref().and_then(Option::as_ref), written)
    }
}

/// The key as the file wants it, with what the file does not say.
fn changed(old: &Key, candidate: &Candidate, sealer: &mut Sealer<'_>) -> KeyFields {
    let old = old.to_fields();
    let written = candidate.fields.id.clone();
    let mut new = candidate.fields.clone();
    new.id = old.id.clone();
    new.created_at = new.created_at.or(old.created_at);
    if new.digest == old.digest {
        new.source = old.source;
        new.mask = old.mask;
        new.sealed = new.sealed.filter(|_| written == new.id).or(old.sealed);
        return new;
    }
    sealer.sealed(new, candidate, &written)
}

fn created(candidate: &Candidate, sealer: &mut Sealer<'_>) -> KeyFields {
    let mut new = candidate.fields.clone();
    let written = new.id.clone();
    if plan::is_derived(&new) {
        let is_taken = |id: &KeyId| sealer.table.get(id).is_some();
        new.id = plan::free_id(&new.name, is_taken);
    }
    new.created_at = new.created_at.or_else(|| Some(sealer.desk.now()));
    sealer.sealed(new, candidate, &written)
}

/// `    ~ description: a -> b`, field by field.
fn differences(old: &Key, new: &Key) -> Vec<String> {
    let (before, after) = (object::fields(old), object::fields(new));
    let of = |fields: &[(&str, String)], name: &str| {
        let found = fields.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| text.clone())
    };
    let mut names: Vec<_> = before.iter().chain(&after).map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    let mut lines: Vec<_> = names
        .into_iter()
        .filter_map(|name| match (of(&before, name), of(&after, name)) {
            (Some(old), Some(new)) if old != new => Some(format!("    ~ {name}: {old} -> {new}")),
            (None, Some(new)) => Some(format!("    + {name}: {new}")),
            (Some(old), None) => Some(format!("    - {name}: {old}")),
            (Some(_), Some(_)) | (None, None) => None,
        })
        .collect();
    if old.sealed() != new.sealed() && old.sealed().is_some() && new.sealed().is_some() {
        lines.push("    ~ sealed copy: another one".to_owned());
    }
    lines
}
