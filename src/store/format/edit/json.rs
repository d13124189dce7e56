//! JSON as the tree of `tree`: every value with the bytes that it is written in.

use std::ops::Range;

use serde::de::IgnoredAny;

use crate::store::format::edit::tree::Field;
use crate::store::format::edit::tree::Item;
use crate::store::format::edit::tree::Kind;
use crate::store::format::edit::tree::Node;

/// Reads `text` as JSON, up to `depth` levels: what is deeper has no items and no fields.
pub(super) fn tree(text: &str, depth: usize) -> Option<Node> {
    // From here on brackets match and every name has its colon; its reader also bounds how deep they go.
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut reader = Reader { text, at: 0 };
    reader.node(depth)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn node(&mut self, depth: usize) -> Option<Node> {
        let start = self.skip();
        let kind = match self.peek() {
            b'"' => {
                self.string()?;
                Kind::Scalar
            }
            b'[' => {
                let mut items = Vec::new();
                while self.another(b']') {
                    let node = self.node(depth.saturating_sub(1))?;
                    if depth > 0 {
                        let start = node.range.start;
                        items.push(Item { start, node });
                    }
                }
                Kind::List { flow: true, items }
            }
            b'{' => Kind::Map {
                flow: true,
                fields: self.fields(depth)?,
            },
            _ => {
                let ends = |byte: &u8| b",]} \t\r\n".contains(byte);
                let rest = &self.text.as_bytes()[start..];
                self.at = start + rest.iter().position(ends).unwrap_or(rest.len());
                Kind::Scalar
            }
        };
        Some(Node {
            range: start..self.at,
            kind,
        })
    }

    fn fields(&mut self, depth: usize) -> Option<Vec<Field>> {
        let mut fields = Vec::new();
        while self.another(b'}') {
            let start = self.skip();
            let key = self.string()?;
            self.skip();
            self.at += 1; // the colon
            let node = self.node(depth.saturating_sub(1))?;
            if depth > 0 {
                let name = serde_json::from_str(&self.text[key.clone()]).ok()?;
                fields.push(Field {
                    start,
                    name,
                    key,
                    node,
                });
            }
        }
        Some(fields)
    }

    /// Steps over the opening bracket, a comma, or the closing bracket; whether there is another item.
    fn another(&mut self, close: u8) -> bool {
        self.skip();
        let closes = self.peek() == close;
        self.at += 1;
        if closes {
            return false;
        }
        self.skip();
        let more = self.peek() != close;
        self.at += usize::from(!more);
        more
    }

    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', bytes.get(self.at..)?)?;
            if bytes[self.at] == b'"' {
                self.at += 1;
                return Some(start..self.at);
            }
            self.at += 2; // an escape, and what it escapes
        }
    }

    fn skip(&mut self) -> usize {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
        self.at
    }

    /// The byte here; 0 at the end, where known JSON has been read.
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }
}
