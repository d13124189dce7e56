//! The key file's text: from bytes to a key table, or to every problem that a person should know, in the
//! order of the file. All or nothing: one problem, and no key of the file counts.
//!
//! There are two ways through. The `quick` one takes the text apart into entries, uses the keys of those
//! that it knows from the last reading ([`Memory`]), and parses the others without their places; it gives up
//! at anything out of the ordinary. The `careful` one parses the whole text with places and finds the words
//! for what is wrong. Both end in the same walk over an entry's fields (`entry`), so there is one set of rules.

mod allow;
mod careful;
pub mod edit;
mod entry;
mod fields;
mod json;
pub(in crate::store) mod loose;
mod memory;
pub mod print;
mod quick;
pub(super) mod reveal;
mod scalar;
mod secret;
mod split;
mod token_file;

use std::path::Path;

pub(crate) use crate::store::format::fields::check_fields;
pub use crate::store::format::memory::Memory;
pub use crate::store::format::token_file::TokenFile;

use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::problem::Place;
use crate::problem::Problem;

/// How a key file is written, as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.yaml`, `.yml`, and whatever has no known ending.
    Yaml,
    /// `.json`.
    Json,
    /// `.ndjson`: one key a line, no version.
    Ndjson,
}

impl Format {
    /// The format of the file with this name.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Self::Json,
            Some("ndjson") => Self::Ndjson,
            _ => Self::Yaml,
        }
    }
}

/// What a correct key file holds.
#[derive(Debug)]
pub struct KeyFile {
    /// Its keys, in the order of the file.
    pub table: KeyTable,
    /// The files that tokens were read from: when one changes, so do the keys.
    pub token_files: Vec<TokenFile>,
    /// What works and should be better.
    pub warnings: Vec<Problem>,
}

/// Reads the bytes of the key file with this name (which gives the format, the folder of its token files, and
/// the name in problems). `memory` is of the last reading of the same file, or new.
///
/// # Errors
/// Every problem in the file, in its order.
pub fn parse(file: &Path, bytes: &[u8], memory: &mut Memory) -> Result<KeyFile, Vec<Problem>> {
    parse_revision(file, bytes, Revision::of(bytes), memory)
}

/// The same for who knows the revision of the bytes already: of a large file it takes longer than an edit.
pub(super) fn parse_revision(
    file: &Path,
    bytes: &[u8],
    revision: Revision,
    memory: &mut Memory,
) -> Result<KeyFile, Vec<Problem>> {
    let text = text_of(file, bytes)?;
    if let Some(quick) = quick::read(file, text, memory)
        && let Ok(table) = memory.table(quick.keys, revision)
    {
        memory.learn(&quick.texts, &table);
        return Ok(KeyFile {
            table,
            token_files: quick.token_files,
            warnings: quick.warnings,
        });
    }
    let found = careful::read(file, text, revision, memory)?;
    memory.learn(&vec![None; found.table.len()], &found.table);
    Ok(found)
}

/// The text of the file, without a byte order mark.
fn text_of<'a>(file: &Path, bytes: &'a [u8]) -> Result<&'a str, Vec<Problem>> {
    let problem = |place, what: &str, hint: &str| {
        vec![Problem {
            file: file.to_owned(),
            place,
            path: String::new(),
            what: what.to_owned(),
            hint: Some(hint.to_owned()),
        }]
    };
    if bytes.is_empty() {
        let hint = match Format::of(file) {
            Format::Yaml => "a file that lets no one in says so: version: 1, keys: []",
            Format::Json => "a file that lets no one in says so: {\"version\": 1, \"keys\": []}",
            Format::Ndjson => "a file that lets no one in consists of one empty line",
        };
        return Err(problem(
            None,
            "the file is empty, as if it was cut off while being written",
            hint,
        ));
    }
    let text = str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        let place = Place {
            line: count(before.matches('\n').count()) + 1,
            column: count(column),
        };
        problem(
            Some(place),
            "the file is not UTF-8 text",
            "save it as UTF-8",
        )
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
