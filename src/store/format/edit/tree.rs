//! The text of one entry, or of a file, as a tree whose every node knows the bytes that it is written in: what an
//! edit needs beside the meaning, which `document` reads. Only for text that was read without a problem before;
//! whatever does not fit is none and never a guess.

use std::ops::Range;

use serde_saphyr::granit_parser;
use serde_saphyr::granit_parser::Event;
use serde_saphyr::granit_parser::Parser;
use serde_saphyr::granit_parser::ScalarStyle;
use serde_saphyr::granit_parser::Span;
use serde_saphyr::granit_parser::StrInput;
use serde_saphyr::granit_parser::StructureStyle;

use crate::store::format::edit::lines::keeps;
use crate::store::format::edit::lines::skip_blank;

/// A value and the bytes that it is written in, without the comment behind it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) range: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar,
    /// Text below a line that ends in `|` or `>`. The range begins with that character.
    BlockScalar,
    List {
        flow: bool,
        items: Vec<Item>,
    },
    Map {
        flow: bool,
        fields: Vec<Field>,
    },
}

/// An item of a list.
#[derive(Debug)]
pub(super) struct Item {
    /// Its dash; within brackets the item itself.
    pub(super) start: usize,
    pub(super) node: Node,
}

/// A field of a map.
#[derive(Debug)]
pub(super) struct Field {
    /// Where it begins: with its name, or with the `?` in front of it.
    pub(super) start: usize,
    pub(super) name: String,
    pub(super) key: Range<usize>,
    pub(super) node: Node,
}

/// Reads `text` as YAML, up to `depth` levels: what is deeper has no items and no fields.
pub(super) fn yaml(text: &str, depth: usize) -> Option<Node> {
    let options = granit_parser::options! { emit_comments: false };
    let mut reader = Reader {
        text,
        parser: Parser::new_from_str_with_options(text, options),
        at: 0,
    };
    loop {
        match reader.next()? {
            (Event::StreamStart, _) => {}
            (Event::DocumentStart(..), span) => reader.at = end(span)?,
            (event, span) => return reader.node(&event, span, depth),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    /// Where the last token ended.
    at: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        self.parser.next_event()?.ok()
    }

    fn node(&mut self, event: &Event<'a>, span: Span, depth: usize) -> Option<Node> {
        match event {
            Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..) => {
                self.block_scalar(end(span)?)
            }
            Event::Scalar(..) => {
                self.at = end(span)?;
                Some(Node {
                    range: start(span)?..self.at,
                    kind: Kind::Scalar,
                })
            }
            Event::SequenceStart(style, ..) => {
                self.list(*style == StructureStyle::Flow, span, depth)
            }
            Event::MappingStart(style, ..) => self.map(*style == StructureStyle::Flow, span, depth),
            _ => None,
        }
    }

    /// The parser says where the lines of text are; the line with `|` or `>` is looked for, and empty lines behind
    /// are the text's only if it keeps them.
    fn block_scalar(&mut self, end: usize) -> Option<Node> {
        let start = skip_blank(self.text, self.at);
        let header = self.text.get(start..)?.split(char::is_whitespace).next()?;
        if !header.starts_with(['|', '>']) {
            return None;
        }
        let lines = self.text.get(start + header.len()..end)?;
        let whole = lines.trim_end_matches(' ');
        let trimmed = whole.trim_end();
        let keeps = header.contains('+') || whole[trimmed.len()..].contains(' ');
        let kept = if keeps { whole } else { trimmed };
        self.at = start + header.len() + kept.len();
        Some(Node {
            range: start..self.at,
            kind: Kind::BlockScalar,
        })
    }

    fn list(&mut self, flow: bool, span: Span, depth: usize) -> Option<Node> {
        let mut begin = flow.then_some(start(span)?);
        if flow {
            self.at = end(span)?;
        }
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                if flow {
                    self.at = end(span)?;
                }
                let kind = Kind::List { flow, items };
                return Some(Node {
                    range: begin?..self.at,
                    kind,
                });
            }
            let dash = self.eat(if flow { b',' } else { b'-' }, start(span)?);
            let node = self.node(&event, span, depth.saturating_sub(1))?;
            let start = if flow { node.range.start } else { dash? };
            begin.get_or_insert(start);
            if depth > 0 {
                items.push(Item { start, node });
            }
        }
    }

    fn map(&mut self, flow: bool, span: Span, depth: usize) -> Option<Node> {
        let mut begin = flow.then_some(start(span)?);
        if flow {
            self.at = end(span)?;
        }
        let mut fields = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                if flow {
                    self.at = end(span)?;
                }
                let kind = Kind::Map { flow, fields };
                return Some(Node {
                    range: begin?..self.at,
                    kind,
                });
            }
            let Event::Scalar(name, ..) = &event else {
                return None;
            };
            let name = name.clone().into_owned();
            if flow {
                self.eat(b',', start(span)?);
            }
            let explicit = self.eat(b'?', start(span)?);
            let key = self.node(&event, span, 0)?.range;
            let (event, span) = self.next()?;
            self.eat(b':', start(span)?);
            let node = self.node(&event, span, depth.saturating_sub(1))?;
            let start = explicit.unwrap_or(key.start);
            begin.get_or_insert(start);
            if depth > 0 {
                fields.push(Field {
                    start,
                    name,
                    key,
                    node,
                });
            }
        }
    }

    /// Steps over `indicator` if it stands in front of `limit`, where the next token begins; its place.
    fn eat(&mut self, indicator: u8, limit: usize) -> Option<usize> {
        let at = skip_blank(self.text, self.at);
        let is_there = at < limit && self.text.as_bytes().get(at) == Some(&indicator);
        is_there.then(|| {
            self.at = at + 1;
            at
        })
    }
}

fn start(span: Span) -> Option<usize> {
    span.start.byte_offset()
}

fn end(span: Span) -> Option<usize> {
    span.end.byte_offset()
}

impl Node {
    /// Whether there is text in it that keeps the empty lines below.
    pub(super) fn keeps_lines(&self, text: &str) -> bool {
        match &self.kind {
            Kind::Scalar => false,
            Kind::BlockScalar => {
                let header = text[self.range.clone()].lines().next();
                keeps(text, &self.range) || header.is_some_and(|header| header.contains('+'))
            }
            Kind::List { items, .. } => items.iter().any(|item| item.node.keeps_lines(text)),
            Kind::Map { fields, .. } => fields.iter().any(|field| field.node.keeps_lines(text)),
        }
    }

    /// Moves all places by `by`: the text of the tree is a part of another one.
    pub(super) fn shift(&mut self, by: usize) {
        shift(&mut self.range, by);
        match &mut self.kind {
            Kind::Scalar | Kind::BlockScalar => {}
            Kind::List { items, .. } => {
                for item in items {
                    item.start += by;
                    item.node.shift(by);
                }
            }
            Kind::Map { fields, .. } => {
                for field in fields {
                    field.start += by;
                    shift(&mut field.key, by);
                    field.node.shift(by);
                }
            }
        }
    }
}

fn shift(range: &mut Range<usize>, by: usize) {
    *range = range.start + by..range.end + by;
}
