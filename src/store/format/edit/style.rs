//! How the entries of a list with dashes are indented, and a new one written like the one above it. Not for: where
//! it goes, which is `list`'s.

use crate::document::Value;
use crate::key::KeyFields;
use crate::store::format::edit::lines;
use crate::store::format::edit::tree::Item;
use crate::store::format::edit::tree::Kind;
use crate::store::format::print;
use crate::store::format::print::Style;

/// How entries of a block list begin, and how they go on.
pub(super) struct BlockStyle<'t> {
    column: usize,
    /// From the dash to the first field.
    lead: &'t str,
    fields_column: usize,
    style: Style,
}

impl Default for BlockStyle<'_> {
    fn default() -> Self {
        Self {
            column: 2,
            lead: "- ",
            fields_column: 4,
            style: Style::BLOCK,
        }
    }
}

impl<'t> BlockStyle<'t> {
    /// The style of an entry that is there.
    pub(super) fn of(text: &'t str, item: &Item, column: usize) -> Self {
        let first = item.node.range.start;
        let lead = &text[item.start..first];
        let flow = matches!(item.node.kind, Kind::Map { flow: true, .. });
        let inner = if flow { first + 1 } else { first };
        let style = Style {
            flow,
            quoted: text[inner..].trim_ascii_start().starts_with('"'),
            ..Style::BLOCK
        };
        let plain = lead[1..].trim_ascii().is_empty() && !lead.contains('\t');
        let is_field = text[first..].starts_with('?');
        if plain && !is_field && !flow {
            return Self {
                column,
                lead,
                fields_column: first - lines::start(text, first),
                style,
            };
        }
        Self {
            column,
            lead: "- ",
            fields_column: column + 2,
            style,
        }
    }

    pub(super) fn entry(&self, out: &mut String, key: &KeyFields, eol: &str) {
        let fields = print::printed(key);
        out.extend(std::iter::repeat_n(' ', self.column));
        out.push_str(self.lead);
        if self.style.flow {
            out.push_str(&print::inline(&Value::Map(fields), self.style));
        } else {
            print::fields_block(out, &fields, self.fields_column, eol, self.style);
        }
    }
}
