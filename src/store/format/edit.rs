//! Edits of a key file's text. People and the program both write the file, so an edit changes the lines of the
//! entries that it is about and nothing else: comments, order, quotes, empty lines, line ends and indentation stay
//! byte for byte, and within an entry so does every field that does not differ. What is written was read back as
//! what was wanted, or the edit is refused; it is never a guess. Pure: text in, text out. Not for: locks and files,
//! which are `store::file`; whether values are allowed, which their reader checks.
//!
//! The entries are found by `list`, from the cut that loading uses; only those that are touched are parsed, by
//! `tree`, which knows the bytes of every value. `fields` changes one of them, `flow` knows commas and `lines`
//! line ends; each only collects replacements, and `patch` makes them all in one pass. `plan` says what the keys
//! shall be, without any text.

mod fields;
mod flow;
mod json;
mod lines;
mod list;
mod patch;
mod plan;
mod style;
mod tree;
mod verify;

use std::path::Path;
use std::sync::Arc;

use crate::key::Key;
use crate::key::KeyFields;
use crate::key::TokenSource;
use crate::key::table::KeyTable;
use crate::store::edit::EditError;
use crate::store::edit::KeyEdit;
use crate::store::format::Format;
use crate::store::format::edit::fields::Change;
use crate::store::format::edit::fields::Editor;
use crate::store::format::edit::list::Entries;
use crate::store::format::edit::patch::Patch;
use crate::store::format::edit::plan::Plan;
use crate::store::format::edit::tree::Kind;
use crate::store::format::print;

/// A place in the text that stands in the way of an edit.
#[derive(Clone, Copy, Debug)]
struct Odd {
    at: usize,
    what: &'static str,
}

impl Odd {
    const fn new(at: usize, what: &'static str) -> Self {
        Self { at, what }
    }

    fn into_error(self, file: &Path, text: &str) -> EditError {
        let before = text.as_bytes().get(..self.at).unwrap_or(text.as_bytes());
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        EditError::Shape {
            what: format!(
                "{}:{line}: {}\nhint: make this change by hand, or write the entry like those that keygate writes",
                file.display(),
                self.what
            ),
        }
    }
}

/// The bytes of the key file after `edits`. `table` was read from exactly these `bytes`; the file's name gives the
/// format. Takes as long as it takes to look for the entries, and a parser for those that are touched.
///
/// # Errors
/// `Unknown` and `Taken` when the edits do not fit the keys; `Shape` when the text is written in a way that cannot
/// be edited.
pub fn edit(
    file: &Path,
    bytes: &[u8],
    table: &KeyTable,
    edits: &[KeyEdit],
) -> Result<Vec<u8>, EditError> {
    let plan = Plan::new(table, edits)?;
    let text = str::from_utf8(bytes).unwrap_or_default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = &bytes[..bytes.len().saturating_sub(text.len()).min(3)];
    let edited =
        edited(text, Format::of(file), table, &plan).map_err(|odd| odd.into_error(file, text))?;
    let mut out = edited.into_bytes(); // no copy: of a million keys they are 200 MB
    out.splice(..0, mark.iter().copied());
    if out.is_empty() {
        out.push(b'\n'); // an empty file is a torn one
    }
    Ok(out)
}

/// The keys that a file holds after `edits`, in its order: what the text that [`edit`] makes is held against.
///
/// # Errors
/// `Unknown` and `Taken` when the edits do not fit the keys.
pub fn intended(table: &KeyTable, edits: &[KeyEdit]) -> Result<Vec<Arc<Key>>, EditError> {
    Ok(Plan::new(table, edits)?.keys(table))
}

fn edited(text: &str, format: Format, table: &KeyTable, plan: &Plan) -> Result<String, Odd> {
    let entries = Entries::find(text, format, table.len())?;
    let mut patches = Vec::new();
    let mut goes = vec![false; table.len()];
    for (&index, wanted) in &plan.touched {
        match wanted {
            Some(wanted) => {
                patches.extend(change(
                    text,
                    format,
                    &entries,
                    index,
                    &table.keys()[index],
                    wanted,
                )?);
            }
            None => goes[index] = true,
        }
    }
    if goes.contains(&true) || !plan.added.is_empty() {
        patches.extend(entries.changes(&goes, &plan.added)?);
    }
    patch::apply(text, 0, &mut patches)
        .ok_or_else(|| Odd::new(0, "two edits would touch the same lines"))
}

/// The replacements that make the entry at `index` the wanted key.
fn change(
    text: &str,
    format: Format,
    entries: &Entries<'_>,
    index: usize,
    old: &Key,
    wanted: &KeyFields,
) -> Result<Vec<Patch>, Odd> {
    let item = entries.item(index)?;
    let piece = entries.pieces[index].clone();
    let Kind::Map { fields, .. } = &item.node.kind else {
        return Err(Odd::new(piece.start, "this entry is not a map"));
    };
    let is_there = |name: &str| fields.iter().any(|field| field.name == name);
    let before = old.to_fields();
    let (mut had, mut shall) = (print::described(&before), print::described(wanted));
    let source = ["token", "token_file"]
        .into_iter()
        .find(|name| is_there(name));
    let mut renamed = None;
    match source {
        // The file goes on to have the token, and says no digest.
        Some(_) if wanted.source != TokenSource::Digest => {
            had.retain(|field| field.name != "digest");
            shall.retain(|field| field.name != "digest");
        }
        Some(source) => {
            renamed = Some((source, "digest"));
            had.retain(|field| {
                field.name != "digest" && (field.name != "mask" || is_there("mask"))
            });
        }
        None => {}
    }
    // An id that was only derived is written down with the first edit, so that it outlives the name.
    had.retain(|field| field.name != "id" || is_there("id"));
    let change = Change {
        had: &had,
        wanted: &shall,
        renamed,
    };
    let mut editor = Editor {
        text,
        json: format != Format::Yaml,
        patches: Vec::new(),
    };
    editor.map(&item.node, change)?;
    let mut patches = editor.patches;
    let piece_text = &text[piece.clone()];
    let edited = patch::apply(piece_text, piece.start, &mut patches);
    let fits = edited.is_some_and(|edited| verify::is_changed(piece_text, &edited, format, change));
    if fits {
        Ok(patches)
    } else {
        Err(Odd::new(
            item.start,
            "this entry is written in a way that cannot be edited",
        ))
    }
}

#[cfg(test)]
mod tests;
