//! Changes within one entry: which of its fields differ, and the replacements that make them the wanted ones. A
//! value is replaced where it stands, a new field comes behind the one that precedes it in the usual order, and a
//! field that goes takes its lines along. Everything else stays as it is, comments and quotes included.

use std::ops::Range;

use crate::document::Entry;
use crate::document::Value;
use crate::store::format::edit::Odd;
use crate::store::format::edit::flow;
use crate::store::format::edit::lines;
use crate::store::format::edit::patch::Patch;
use crate::store::format::edit::tree::Field;
use crate::store::format::edit::tree::Kind;
use crate::store::format::edit::tree::Node;
use crate::store::format::print::Style;
use crate::store::format::print::block;
use crate::store::format::print::fields_block;
use crate::store::format::print::inline;
use crate::store::format::print::name;

/// What the fields of a map say, and what they shall say. What is in neither of the two stays.
#[derive(Clone, Copy)]
pub(super) struct Change<'v> {
    pub(super) had: &'v [Entry<'v>],
    pub(super) wanted: &'v [Entry<'v>],
    /// A field that becomes another one where it stands: `token` becomes `digest`.
    pub(super) renamed: Option<(&'v str, &'v str)>,
}

/// What becomes of a field that is there.
enum Fate<'v> {
    Stays,
    Goes,
    Becomes {
        from: Option<&'v Value<'v>>,
        to: &'v Value<'v>,
    },
}

impl<'v> Change<'v> {
    /// The name that the field will have.
    pub(super) fn name<'n>(&self, name: &'n str) -> &'n str
    where
        'v: 'n,
    {
        match self.renamed {
            Some((old, new)) if old == name => new,
            _ => name,
        }
    }

    fn fate(&self, field: &str) -> Fate<'v> {
        let name = self.name(field);
        match (find(self.had, name), find(self.wanted, name)) {
            (None, None) => Fate::Stays,
            (Some(_), None) => Fate::Goes,
            (from, Some(to)) if from == Some(to) => Fate::Stays,
            (from, Some(to)) => Fate::Becomes { from, to },
        }
    }

    /// The wanted fields that are not there and not said by being left out.
    pub(super) fn missing(
        &self,
        is_there: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (usize, &'v Entry<'v>)> {
        self.wanted.iter().enumerate().filter(move |(_, entry)| {
            !is_there(&entry.name) && find(self.had, &entry.name) != Some(&entry.node.value)
        })
    }
}

pub(super) fn find<'v>(entries: &'v [Entry<'v>], name: &str) -> Option<&'v Value<'v>> {
    let entry = entries.iter().find(|entry| entry.name == name)?;
    Some(&entry.node.value)
}

/// The replacements in one entry of `text`.
pub(super) struct Editor<'t> {
    pub(super) text: &'t str,
    pub(super) json: bool,
    pub(super) patches: Vec<Patch>,
}

impl Editor<'_> {
    /// Makes the fields of a map the wanted ones. Some field stays; without, the whole map is to be replaced.
    pub(super) fn map(&mut self, map: &Node, change: Change<'_>) -> Result<(), Odd> {
        let Kind::Map { flow, fields } = &map.kind else {
            return Err(Odd::new(map.range.start, "this is not a map"));
        };
        let fates: Vec<Fate<'_>> = fields
            .iter()
            .map(|field| change.fate(&field.name))
            .collect();
        let goes: Vec<bool> = fates
            .iter()
            .map(|fate| matches!(fate, Fate::Goes))
            .collect();
        for (field, fate) in fields.iter().zip(&fates) {
            if let Fate::Becomes { from, to } = fate {
                let renamed = change.name(&field.name);
                if renamed != field.name {
                    self.rename(field, renamed, *flow);
                }
                self.value(&field.node, *from, to, *flow)?;
            }
        }
        let mut missing: Vec<(Option<usize>, Vec<&Entry<'_>>)> = Vec::new();
        let position = |name: &str| {
            fields
                .iter()
                .position(|field| change.name(&field.name) == name)
        };
        for (index, entry) in change.missing(|name| position(name).is_some()) {
            let before = change.wanted[..index].iter().rev();
            let anchor = before
                .filter_map(|entry| position(&entry.name))
                .find(|index| !goes[*index]);
            match missing.last_mut() {
                Some((last, entries)) if *last == anchor => entries.push(entry),
                _ => missing.push((anchor, vec![entry])),
            }
        }
        // Fields of two groups may have the same anchor when others are in between; they are one insertion.
        missing.sort_by_key(|(anchor, _)| *anchor);
        missing.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                first.1.append(&mut later.1);
            }
            same
        });
        if *flow {
            self.flow_map(map, fields, &goes, &missing);
            Ok(())
        } else {
            self.block_map(fields, &goes, &missing)
        }
    }

    fn rename(&mut self, field: &Field, new: &str, flow: bool) {
        let quoted = self.text[field.key.clone()].starts_with('"');
        let style = Style {
            flow,
            quoted,
            ..Style::BLOCK
        };
        self.replace(field.key.clone(), name(new, style));
    }

    /// Puts another value in the place of one.
    fn value(
        &mut self,
        node: &Node,
        from: Option<&Value<'_>>,
        to: &Value<'_>,
        flow: bool,
    ) -> Result<(), Odd> {
        if let (Kind::Map { fields, .. }, Some(Value::Map(had)), Value::Map(wanted)) =
            (&node.kind, from, to)
        {
            let change = Change {
                had,
                wanted,
                renamed: None,
            };
            if fields
                .iter()
                .any(|field| !matches!(change.fate(&field.name), Fate::Goes))
            {
                return self.map(node, change);
            }
        }
        let range = node.range.clone();
        match &node.kind {
            Kind::Scalar | Kind::List { flow: true, .. } | Kind::Map { flow: true, .. } => {
                let mut new = inline(to, self.value_style(node, flow));
                if self.text[..range.start].ends_with(':') && !self.json {
                    new.insert(0, ' ');
                }
                self.replace(range, new);
            }
            Kind::BlockScalar => {
                let header = self.text[range.clone()].split(char::is_whitespace).next();
                let header = header.map_or(0, str::len);
                self.replace(range.start..range.start + header, inline(to, Style::BLOCK));
                let lines = lines::end(self.text, range.start)..self.last_line(&range);
                if lines.start < lines.end {
                    self.patches.push(Patch::delete(lines));
                }
            }
            Kind::List { flow: false, .. } | Kind::Map { flow: false, .. } => {
                let column = range.start - lines::start(self.text, range.start);
                let eol = lines::eol(self.text, range.start);
                let mut new = String::new();
                block(&mut new, to, column, eol, Style::BLOCK);
                self.replace(range.start..self.last_line(&range), new);
            }
        }
        Ok(())
    }

    /// What ends with empty lines that it keeps ends at the beginning of a line: the end of the one above.
    fn last_line(&self, range: &Range<usize>) -> usize {
        if lines::keeps(self.text, range) {
            lines::end_above(self.text, range.end)
        } else {
            range.end
        }
    }

    /// Quotes where there were quotes.
    fn value_style(&self, node: &Node, flow: bool) -> Style {
        let old = &self.text[node.range.clone()];
        let quoted = match &node.kind {
            Kind::Map { fields, .. } => fields
                .first()
                .is_some_and(|field| self.text[field.start..].starts_with('"')),
            Kind::List { items, .. } => items
                .first()
                .is_some_and(|item| self.text[item.start..].starts_with('"')),
            Kind::Scalar | Kind::BlockScalar => old.starts_with('"'),
        };
        Style {
            flow,
            quoted: quoted || self.json,
            ..Style::BLOCK
        }
    }

    fn replace(&mut self, range: Range<usize>, text: String) {
        self.patches.push(Patch { range, text });
    }

    fn flow_map(
        &mut self,
        map: &Node,
        fields: &[Field],
        goes: &[bool],
        missing: &[(Option<usize>, Vec<&Entry<'_>>)],
    ) {
        let ranges: Vec<Range<usize>> = fields
            .iter()
            .map(|field| field.start..field.node.range.end)
            .collect();
        let quoted = fields
            .first()
            .is_some_and(|field| self.text[field.start..].starts_with('"'));
        let colon = fields.first().map_or(": ", |field| {
            match &self.text[field.key.end..field.node.range.start] {
                ":" => ":",
                _ => ": ",
            }
        });
        let style = Style {
            flow: true,
            quoted: self.json || quoted,
            colon: if self.json || quoted { colon } else { ": " },
            comma: ", ",
        };
        let list = flow::List {
            text: self.text,
            open: map.range.start,
            items: &ranges,
            goes,
        };
        self.patches.extend(list.removals());
        for (anchor, entries) in missing {
            let texts = entries.iter();
            let texts = texts.map(|entry| {
                let mut text = name(&entry.name, style);
                text.push_str(style.colon);
                text.push_str(&inline(&entry.node.value, style));
                text
            });
            self.patches
                .extend(list.insertion(*anchor, &texts.collect::<Vec<_>>()));
        }
    }

    fn block_map(
        &mut self,
        fields: &[Field],
        goes: &[bool],
        missing: &[(Option<usize>, Vec<&Entry<'_>>)],
    ) -> Result<(), Odd> {
        let kept = goes.iter().position(|goes| !goes).unwrap_or(0);
        for (index, field) in fields.iter().enumerate().filter(|(index, _)| goes[*index]) {
            match lines::indent(self.text, field.start) {
                Some(column) => {
                    let end = self.lines_end(field, column);
                    let mut above = (0..index).rev().filter(|above| !goes[*above]);
                    let keeps = above
                        .next()
                        .is_some_and(|above| lines::keeps(self.text, &fields[above].node.range));
                    let lines = whole_lines(self.text, field.start, end, keeps);
                    self.patches.push(Patch::delete(lines));
                }
                // The first field shares its line with the dash; the next one moves up, if no comment is in between.
                None if index == 0 => {
                    let next = fields[kept].start;
                    let end = field.node.range.end;
                    let only = kept == 1 && lines_between_are_blank(&self.text[end..next]);
                    let end = if only { next } else { end };
                    self.patches.push(Patch::delete(field.start..end));
                }
                None => {
                    return Err(Odd::new(
                        field.start,
                        "this field shares its line with another",
                    ));
                }
            }
        }
        for (anchor, entries) in missing {
            self.insert_lines(fields, *anchor, kept, entries)?;
        }
        Ok(())
    }

    /// Where the lines of a field end, and whether that is the beginning of a line already.
    fn lines_end(&self, field: &Field, column: usize) -> usize {
        let end = field.node.range.end;
        if lines::keeps(self.text, &field.node.range) {
            end
        } else {
            lines::end_with_comments(self.text, end, column)
        }
    }

    fn insert_lines(
        &mut self,
        fields: &[Field],
        anchor: Option<usize>,
        kept: usize,
        entries: &[&Entry<'_>],
    ) -> Result<(), Odd> {
        let field = &fields[anchor.unwrap_or(kept)];
        let start = lines::start(self.text, field.start);
        let column = field.start - start;
        if self.text[start..field.start].contains(['\t', '\u{feff}']) {
            return Err(Odd::new(field.start, "this line is indented with a tab"));
        }
        let eol = lines::eol(self.text, field.start);
        let style = Style {
            quoted: self.text[field.start..].starts_with('"'),
            ..Style::BLOCK
        };
        let entries: Vec<Entry<'_>> = entries.iter().map(|entry| (*entry).clone()).collect();
        let mut new = String::new();
        fields_block(&mut new, &entries, column, eol, style);
        let indent = " ".repeat(column);
        let patch = if anchor.is_none() {
            Patch::insert(field.start, format!("{new}{eol}{indent}"))
        } else {
            let end = self.lines_end(field, column);
            if lines::start(self.text, end) == end {
                Patch::insert(end, format!("{indent}{new}{eol}"))
            } else {
                Patch::insert(end, format!("{eol}{indent}{new}"))
            }
        };
        self.patches.push(patch);
        Ok(())
    }
}

fn lines_between_are_blank(gap: &str) -> bool {
    gap.trim_ascii().is_empty()
}

/// The lines from `start` to `end` with a line end: their own, or at the end of the text the one above. `keeps`: text
/// ends above that keeps empty lines; so the ones below go too, or they would become its own.
pub(super) fn whole_lines(text: &str, start: usize, end: usize, keeps: bool) -> Range<usize> {
    let start = lines::start(text, start);
    let closed = lines::start(text, end) == end && end > start;
    let mut next = if closed { end } else { lines::next(text, end) };
    while keeps && lines::is_blank(text, next) {
        next = lines::next(text, next);
    }
    if keeps || closed || next < text.len() || text.ends_with('\n') {
        start..next
    } else {
        lines::end_above(text, start)..next
    }
}
