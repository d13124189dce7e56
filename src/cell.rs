//! Cells of tables for spreadsheets: what a spreadsheet would take for a formula gets an apostrophe in front when it is
//! written, and loses it when it is read. The one way for keys and for transactions. Not for: rows, columns and quotes.

use std::borrow::Cow;

/// Beginnings of cells that spreadsheets do something with, and our own mark.
const FORMULA: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

/// The text of a cell that no spreadsheet calculates.
#[must_use]
pub fn guarded(text: &str) -> Cow<'_, str> {
    if text.starts_with(FORMULA) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// What was guarded.
#[must_use]
pub fn plain(text: Cow<'_, str>) -> Cow<'_, str> {
    match text.strip_prefix('\'') {
        Some(rest) if rest.starts_with(FORMULA) => Cow::Owned(rest.to_owned()),
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_each_is_read_as_it_was() {
        for (text, written) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("'=1", "''=1"),
            ("a=1", "a=1"),
            ("", ""),
        ] {
            assert_eq!(guarded(text), written);
            assert_eq!(plain(guarded(text)), text);
        }
        assert_eq!(plain("'quoted'".into()), "'quoted'", "not ours");
    }
}
