//! Replacements of ranges of a text, made all at once. Ranges never overlap: an edit that would make them do so
//! is refused instead of guessed at.

use std::ops::Range;

/// A range of the text, and what takes its place. An empty range is an insertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) range: Range<usize>,
    pub(super) text: String,
}

impl Patch {
    pub(super) const fn insert(at: usize, text: String) -> Self {
        Self {
            range: at..at,
            text,
        }
    }

    pub(super) const fn delete(range: Range<usize>) -> Self {
        Self {
            range,
            text: String::new(),
        }
    }
}

/// `text`, which begins at `base` of what the ranges count in, with all `patches`; none when two of them touch the
/// same text. Insertions at one place stay in their order.
pub(super) fn apply(text: &str, base: usize, patches: &mut [Patch]) -> Option<String> {
    patches.sort_by_key(|patch| (patch.range.start, patch.range.end));
    let added: usize = patches.iter().map(|patch| patch.text.len()).sum();
    let mut out = String::with_capacity(text.len() + added);
    let (mut at, mut deletes) = (base, true);
    for Patch { range, text: new } in patches {
        // What two deletions take both, one of them takes.
        let start = if deletes && new.is_empty() {
            range.start.max(at)
        } else {
            range.start
        };
        out.push_str(text.get(at.checked_sub(base)?..start.checked_sub(base)?)?);
        out.push_str(new);
        at = range.end.max(start);
        deletes = new.is_empty();
    }
    out.push_str(text.get(at.checked_sub(base)?..)?);
    Some(out)
}
