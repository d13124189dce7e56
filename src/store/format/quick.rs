//! The quick way through a key file: right, or silent. Entries whose text is known from the last reading are
//! not parsed again, the others are parsed without their places and, if there are many, on several threads.
//! Whatever is out of the ordinary is left to `careful`, which alone says what is wrong.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::document;
use crate::document::Node;
use crate::document::Value;
use crate::key::Key;
use crate::parts::in_parts;
use crate::problem::Place;
use crate::problem::Problem;
use crate::store::format::Format;
use crate::store::format::Memory;
use crate::store::format::TokenFile;
use crate::store::format::entry::Checker;
use crate::store::format::json;
use crate::store::format::memory::TextHash;
use crate::store::format::split::Piece;
use crate::store::format::split::lines;
use crate::store::format::split::split;
use crate::store::format::split::split_json;

/// What the quick way comes to.
pub(super) struct Quick {
    pub(super) keys: Vec<Arc<Key>>,
    pub(super) token_files: Vec<TokenFile>,
    pub(super) warnings: Vec<Problem>,
    /// What is to be known of the entries' texts next time.
    pub(super) texts: Vec<TextHash>,
}

/// The keys of a file without any problem; none: look carefully.
pub(super) fn read(file: &Path, text: &str, memory: &Memory) -> Option<Quick> {
    match Format::of(file) {
        Format::Yaml => from_pieces(
            file,
            &split(text)?,
            memory,
            Readers {
                quick: yaml_entry,
                placed: Some(yaml_entry),
            },
        ),
        Format::Ndjson => from_pieces(
            file,
            &lines(text),
            memory,
            Readers {
                quick: json::placeless,
                placed: Some(json_entry),
            },
        ),
        Format::Json => from_json(file, text, memory),
    }
}

/// How the text of an entry becomes a tree, without its places if that is quicker.
#[derive(Clone, Copy)]
struct Readers {
    quick: fn(&str) -> Option<Node<'_>>,
    /// None: a place in the text of an entry says too little about the place in the file.
    placed: Option<fn(&str) -> Option<Node<'_>>>,
}

fn yaml_entry(text: &str) -> Option<Node<'_>> {
    let (root, malformed) = document::yaml(text);
    match root?.value {
        Value::List(mut items) if malformed.is_empty() && items.len() == 1 => items.pop(),
        _ => None,
    }
}

fn json_entry(text: &str) -> Option<Node<'_>> {
    json::placed(text, 1).0
}

/// The keys of `pieces`: known ones from `memory`, the others read by `read`.
fn from_pieces(
    file: &Path,
    pieces: &[Piece<'_>],
    memory: &Memory,
    readers: Readers,
) -> Option<Quick> {
    let mut recalled = memory.recall(pieces);
    let missing: Vec<usize> = recalled.missing().collect();
    let parts = in_parts(&missing, PIECES_A_THREAD_MIN, |part| {
        read_part(file, pieces, part, memory, readers)
    });
    let (mut token_files, mut warnings) = (Vec::new(), Vec::new());
    for part in parts {
        let part = part?;
        for (index, key, lasting) in part.found {
            recalled.put(index, key, lasting);
        }
        token_files.extend(part.token_files);
        warnings.extend(part.warnings);
    }
    let (keys, texts) = recalled.finish();
    Some(Quick {
        keys,
        token_files,
        warnings,
        texts,
    })
}

/// Below this many entries, a thread costs more than it saves.
const PIECES_A_THREAD_MIN: usize = 1_000;

/// What one thread read.
struct Part {
    /// Position, key, and whether its text alone says all about it.
    found: Vec<(usize, Arc<Key>, bool)>,
    token_files: Vec<TokenFile>,
    warnings: Vec<Problem>,
}

fn read_part(
    file: &Path,
    pieces: &[Piece<'_>],
    indexes: &[usize],
    memory: &Memory,
    readers: Readers,
) -> Option<Part> {
    let mut checker = Checker::new(file);
    let mut part = Part {
        found: Vec::with_capacity(indexes.len()),
        token_files: Vec::new(),
        warnings: Vec::new(),
    };
    for &index in indexes {
        let piece = pieces[index];
        let mut checked = checker.entry(index, &(readers.quick)(piece.text)?)?;
        let warned = !checker.warnings.is_empty();
        if warned {
            // The same again for the places; entries with warnings are few.
            checker.warnings.clear();
            checked = checker.entry(index, &(readers.placed?)(piece.text)?)?;
        }
        if !checker.problems.is_empty() {
            return None;
        }
        let lasting = !warned && checked.token_file.is_none();
        part.found
            .push((index, memory.carry_over(checked.key), lasting));
        part.token_files.extend(checked.token_file);
        part.warnings
            .extend(checker.warnings.drain(..).map(|warning| Problem {
                place: warning.place.map(|place| Place {
                    line: piece.line + place.line - 1,
                    ..place
                }),
                ..warning
            }));
    }
    Some(part)
}

/// A JSON key file without its entries. Unknown fields are named by the careful way.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rest {
    version: u32,
    keys: [(); 0],
}

fn from_json(file: &Path, text: &str, memory: &Memory) -> Option<Quick> {
    let (pieces, rest) = split_json(text)?;
    let Rest { version, keys: [] } = serde_json::from_str(&rest).ok()?;
    let readers = Readers {
        quick: json::placeless,
        placed: None,
    };
    if version == 1 {
        from_pieces(file, &pieces, memory, readers)
    } else {
        None
    }
}
