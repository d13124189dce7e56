//! The list of entries in the text of a key file: where each of them is, how one is taken out, and how new ones are
//! put behind the last, in its style.

use std::ops::Range;

use crate::document::Value;
use crate::key::KeyFields;
use crate::parts::short_lived;
use crate::store::format::Format;
use crate::store::format::edit::Odd;
use crate::store::format::edit::fields::whole_lines;
use crate::store::format::edit::flow;
use crate::store::format::edit::json;
use crate::store::format::edit::lines;
use crate::store::format::edit::patch::Patch;
use crate::store::format::edit::style::BlockStyle;
use crate::store::format::edit::tree;
use crate::store::format::edit::tree::Item;
use crate::store::format::edit::tree::Kind;
use crate::store::format::edit::tree::Node;
use crate::store::format::print;
use crate::store::format::print::Style;
use crate::store::format::split;
use crate::store::format::split::Piece;

/// Deeper than any entry is.
const DEPTH: usize = 16;

/// Where the entries of a file are.
pub(super) struct Entries<'t> {
    text: &'t str,
    format: Format,
    layout: Layout,
    /// Each entry's text: in a block list from the line of its dash up to that of the next one, else the object.
    pub(super) pieces: Vec<Range<usize>>,
}

/// How the list is written.
enum Layout {
    /// Dashes below `keys:`, whose colon is known.
    Block { colon: usize },
    /// Between these two brackets; the colon of `keys:` if the file could have dashes instead.
    Flow {
        open: usize,
        close: usize,
        colon: Option<usize>,
    },
    /// One object a line.
    Lines,
}

impl<'t> Entries<'t> {
    /// Finds the `count` entries of a file that was read without a problem.
    pub(super) fn find(text: &'t str, format: Format, count: usize) -> Result<Self, Odd> {
        let found = match format {
            Format::Yaml => Self::quick_yaml(text).filter(|found| found.pieces.len() == count),
            Format::Json => Self::quick_json(text).filter(|found| found.pieces.len() == count),
            Format::Ndjson => Some(Self::of_lines(text)),
        };
        let found = match found {
            Some(found) => found,
            None => Self::parsed(text, format)?,
        };
        if found.pieces.len() == count {
            Ok(found)
        } else {
            Err(Odd::new(
                0,
                "this text is not the one that the keys were read from",
            ))
        }
    }

    fn of_lines(text: &'t str) -> Self {
        let pieces = split::lines(text);
        Self {
            text,
            format: Format::Ndjson,
            layout: Layout::Lines,
            pieces: ranges(text, &pieces),
        }
    }

    /// The cut of `split` never misses an entry, so if it makes as many as there are keys, it is right.
    fn quick_yaml(text: &'t str) -> Option<Self> {
        let pieces = split::split(text)?;
        let pieces = ranges(text, &pieces);
        let mut at = 0;
        let colon = text[..pieces.first()?.start]
            .split_inclusive('\n')
            .find_map(|line| {
                let start = at;
                at += line.len();
                line.starts_with("keys:").then_some(start + "keys".len())
            })?;
        Some(Self {
            text,
            format: Format::Yaml,
            layout: Layout::Block { colon },
            pieces,
        })
    }

    fn quick_json(text: &'t str) -> Option<Self> {
        let (pieces, _) = split::split_json(text)?;
        let pieces = ranges(text, &pieces);
        let open = text[..pieces.first()?.start]
            .trim_ascii_end()
            .len()
            .checked_sub(1)?;
        let last = pieces.last()?.end;
        let close = last + text[last..].find(']')?;
        Some(Self {
            text,
            format: Format::Json,
            layout: Layout::Flow {
                open,
                close,
                colon: None,
            },
            pieces,
        })
    }

    /// The long way, for whatever shape the file has.
    fn parsed(text: &'t str, format: Format) -> Result<Self, Odd> {
        let odd = || Odd::new(0, "the list of keys cannot be found in this text");
        let root = match format {
            Format::Yaml if split::has_lone_return(text) => {
                return Err(Odd::new(
                    text.find('\r').unwrap_or(0),
                    "a line of this file ends with a carriage return alone",
                ));
            }
            Format::Yaml => tree::yaml(text, 2),
            Format::Json | Format::Ndjson => json::tree(text, 2),
        };
        let Some(Node {
            kind: Kind::Map { flow, fields },
            ..
        }) = root
        else {
            return Err(odd());
        };
        let keys = fields.into_iter().find(|field| field.name == "keys");
        let keys = keys.ok_or_else(odd)?;
        let colon = lines::skip_blank(text, keys.key.end);
        let Kind::List {
            flow: is_flow,
            items,
        } = keys.node.kind
        else {
            return Err(odd());
        };
        let (layout, pieces) = if is_flow {
            let range = keys.node.range;
            let layout = Layout::Flow {
                open: range.start,
                close: range.end - 1,
                colon: (!flow && lines::start(text, keys.start) == keys.start).then_some(colon),
            };
            (
                layout,
                items.into_iter().map(|item| item.node.range).collect(),
            )
        } else {
            (Layout::Block { colon }, block_pieces(text, &items)?)
        };
        Ok(Self {
            text,
            format,
            layout,
            pieces,
        })
    }

    /// An entry with its fields.
    pub(super) fn item(&self, index: usize) -> Result<Item, Odd> {
        let range = self.pieces[index].clone();
        let piece = &self.text[range.clone()];
        let odd = Odd::new(
            range.start,
            "this entry is written in a way that cannot be edited",
        );
        let tree = match self.format {
            Format::Yaml => tree::yaml(piece, DEPTH),
            Format::Json | Format::Ndjson => json::tree(piece, DEPTH),
        };
        let mut tree = tree.ok_or(odd)?;
        tree.shift(range.start);
        match self.layout {
            Layout::Flow { .. } | Layout::Lines => Ok(Item {
                start: tree.range.start,
                node: tree,
            }),
            Layout::Block { .. } => match tree.kind {
                Kind::List { flow: false, items } => items.into_iter().next().ok_or(odd),
                Kind::List { .. } | Kind::Map { .. } | Kind::Scalar | Kind::BlockScalar => Err(odd),
            },
        }
    }

    /// Takes out the entries that go and puts the new ones behind the last.
    pub(super) fn changes(&self, goes: &[bool], added: &[KeyFields]) -> Result<Vec<Patch>, Odd> {
        let all_go = goes.iter().all(|goes| *goes);
        match self.layout {
            Layout::Block { colon } => {
                let mut patches = Vec::new();
                let mut keeps = false;
                for index in (0..goes.len()).filter(|index| goes[*index]) {
                    if index > 0 && !goes[index - 1] {
                        keeps = self.item(index - 1)?.node.keeps_lines(self.text);
                    }
                    patches.push(Patch::delete(self.block_lines(index, keeps)?));
                }
                if !added.is_empty() {
                    let gone = patches.last().map_or(0, |patch| patch.range.end);
                    patches.push(self.block_addition(added, gone, keeps)?);
                } else if all_go {
                    patches.push(Patch::insert(colon + 1, " []".to_owned()));
                }
                Ok(patches)
            }
            Layout::Lines => {
                let gone = self.pieces.iter().zip(goes).filter(|(_, goes)| **goes);
                let gone = gone.map(|(piece, _)| {
                    Patch::delete(whole_lines(self.text, piece.start, piece.end, false))
                });
                Ok(gone.chain(self.line_addition(added)).collect())
            }
            Layout::Flow {
                open,
                close,
                colon: Some(colon),
            } if self.pieces.is_empty() && !added.is_empty() => {
                Ok(self.first_block_entries(open, close, colon, added))
            }
            Layout::Flow { open, close, .. } => Ok(self.flow_changes(open, close, goes, added)),
        }
    }

    /// The lines of an entry in a block list: from its dash to its last field, and comments right below that are
    /// indented like fields. Comments above it are somebody's thoughts and stay. Of two empty lines that would
    /// meet, one goes as well. `keeps`: the entry above has text that keeps empty lines, and may
    /// end with it once it is changed itself.
    fn block_lines(&self, index: usize, keeps: bool) -> Result<Range<usize>, Odd> {
        let item = self.item(index)?;
        let column = lines::indent(self.text, item.start).ok_or_else(|| {
            Odd::new(item.start, "this entry shares its line with something else")
        })?;
        let end = item.node.range.end;
        let end = if lines::keeps(self.text, &item.node.range) {
            end
        } else {
            lines::end_with_comments(self.text, end, column)
        };
        let mut range = whole_lines(self.text, item.start, end, keeps);
        let above = lines::start(self.text, lines::end_above(self.text, range.start));
        let is_last = self.text[range.end..].trim_ascii().is_empty();
        if !keeps
            && above < range.start
            && lines::is_blank(self.text, above)
            && (is_last || lines::is_blank(self.text, range.end))
        {
            range.start = if range.start == lines::start(self.text, range.start) {
                above
            } else {
                lines::end_above(self.text, above)
            };
        }
        Ok(range)
    }

    /// New entries behind the last one, and behind what is taken out up to `gone`. `keeps_above`: text above
    /// keeps empty lines, so that none can be added.
    fn block_addition(
        &self,
        added: &[KeyFields],
        gone: usize,
        keeps_above: bool,
    ) -> Result<Patch, Odd> {
        let index = self.pieces.len() - 1;
        let last = self.item(index)?;
        let column = lines::indent(self.text, last.start).ok_or_else(|| {
            Odd::new(last.start, "this entry shares its line with something else")
        })?;
        let eol = lines::eol(self.text, last.start);
        let style = BlockStyle::of(self.text, &last, column);
        let above = lines::end_above(self.text, self.pieces[index].start);
        let keeps = keeps_above || last.node.keeps_lines(self.text);
        let spaced =
            !keeps && index > 0 && lines::is_blank(self.text, lines::start(self.text, above));
        let at = list_end(self.text, &last.node.range, column).max(gone);
        let closed = self.text[..at].ends_with('\n');
        // At the end of a text without a last line end, one is needed, if what goes there has not left one.
        let mut text = String::new();
        for (number, key) in added.iter().enumerate() {
            let begun = closed || (number == 0 && gone == at && keeps_above);
            text.push_str(if begun { "" } else { eol });
            text.push_str(if spaced { eol } else { "" });
            style.entry(&mut text, key, eol);
            text.push_str(if closed { eol } else { "" });
        }
        Ok(Patch::insert(at, text))
    }

    /// `keys: []` becomes a list with dashes.
    fn first_block_entries(
        &self,
        open: usize,
        close: usize,
        colon: usize,
        added: &[KeyFields],
    ) -> Vec<Patch> {
        let eol = lines::eol(self.text, open);
        let gap = &self.text[colon + 1..open];
        let start = if gap.contains(['\n', '#']) {
            open
        } else {
            colon + 1
        };
        let mut text = String::new();
        for key in added {
            text.push_str(eol);
            BlockStyle::default().entry(&mut text, key, eol);
        }
        vec![
            Patch::delete(start..close + 1),
            Patch::insert(lines::end(self.text, close), text),
        ]
    }

    fn line_addition(&self, added: &[KeyFields]) -> Option<Patch> {
        let (at, start) = match self.pieces.last() {
            Some(last) => (lines::next(self.text, last.end), last.start),
            None => (0, 0),
        };
        let eol = lines::eol(self.text, start);
        let closed = at == 0 || self.text[..at].ends_with('\n');
        let mut text = String::new();
        for key in added {
            text.push_str(if closed { "" } else { eol });
            text.push_str(&print::entry(Format::Ndjson, key));
            text.push_str(if closed { eol } else { "" });
        }
        // The empty line of an empty file is not kept behind the first key.
        let is_empty_line = at == 0 && self.text.starts_with(eol);
        let text = match text.strip_suffix(eol) {
            Some(text) if is_empty_line => text.to_owned(),
            Some(_) | None => text,
        };
        (!added.is_empty()).then(|| Patch::insert(at, text))
    }

    fn flow_changes(
        &self,
        open: usize,
        close: usize,
        goes: &[bool],
        added: &[KeyFields],
    ) -> Vec<Patch> {
        let quoted = match self.pieces.last() {
            Some(last) => self.text[last.start + 1..]
                .trim_ascii_start()
                .starts_with('"'),
            None => false,
        };
        let style = Style {
            quoted: quoted || self.format == Format::Json,
            ..Style::JSON
        };
        let texts: Vec<String> = added
            .iter()
            .map(|key| print::inline(&Value::Map(print::printed(key)), style))
            .collect();
        if goes.iter().all(|goes| *goes) {
            let inner = match (self.format, texts.is_empty()) {
                (_, true) => String::new(),
                (Format::Json, false) => {
                    let eol = lines::eol(self.text, open);
                    format!("{eol}{}{eol}", texts.join(&format!(",{eol}")))
                }
                (Format::Yaml | Format::Ndjson, false) => texts.join(", "),
            };
            return vec![Patch {
                range: open + 1..close,
                text: inner,
            }];
        }
        let list = flow::List {
            text: self.text,
            open,
            items: &self.pieces,
            goes,
        };
        let mut patches = list.removals();
        if !texts.is_empty() {
            patches.extend(list.insertion(Some(self.pieces.len() - 1), &texts));
        }
        patches
    }
}

/// The pieces of a block list that the whole parser found.
fn block_pieces(text: &str, items: &[Item]) -> Result<Vec<Range<usize>>, Odd> {
    let mut pieces = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        if lines::indent(text, item.start).is_none() {
            return Err(Odd::new(
                item.start,
                "this entry shares its line with something else",
            ));
        }
        let end = match items.get(index + 1) {
            Some(next) => lines::start(text, next.start),
            None => {
                let end = item.node.range.end;
                if lines::keeps(text, &item.node.range) {
                    end
                } else {
                    lines::next(text, end)
                }
            }
        };
        pieces.push(lines::start(text, item.start)..end);
    }
    Ok(pieces)
}

/// Where a block list ends whose last entry is `entry`: at the beginning of a line, if that one has a line end.
/// Comments below that are indented like the list are the list's.
fn list_end(text: &str, entry: &Range<usize>, column: usize) -> usize {
    if lines::keeps(text, entry) {
        return entry.end;
    }
    let mut last = lines::next(text, lines::end_with_comments(text, entry.end, column));
    let mut at = last;
    while at < text.len() {
        let content = text[at..].trim_start_matches(' ');
        let indent = text.len() - at - content.len();
        let next = lines::next(text, at);
        if content.starts_with('#') && indent >= column.max(1) {
            last = next;
        } else if !lines::is_blank(text, at) {
            break;
        }
        at = next;
    }
    last
}

fn ranges(text: &str, pieces: &[Piece<'_>]) -> Vec<Range<usize>> {
    let mut ranges = short_lived(pieces.len());
    ranges.extend(pieces.iter().map(|piece| range_in(text, piece.text)));
    ranges
}

/// Where `part` is in the text that it is a part of.
fn range_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}
