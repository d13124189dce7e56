//! What a person wrote, as a tree whose every node knows its place: the shape that YAML and JSON share,
//! before anybody asks what it means. Duplicate names, anchors, aliases, tags and second documents are
//! refused, since each of them can make a person and the program read the same file differently.
//! Text is borrowed from the file where it stands there as it is. Not for: what fields mean, which is for
//! whoever walks the tree (`config::check`, `store::format`).

use std::borrow::Cow;

use serde_saphyr::granit_parser;
use serde_saphyr::granit_parser::Event;
use serde_saphyr::granit_parser::Marker;
use serde_saphyr::granit_parser::Parser;
use serde_saphyr::granit_parser::ScalarStyle;
use serde_saphyr::granit_parser::ScanError;
use serde_saphyr::granit_parser::Span;
use serde_saphyr::granit_parser::StrInput;

use crate::problem::Place;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node<'a> {
    /// Where it begins; none for values that have no place in a file.
    pub(crate) place: Option<Place>,
    /// What it is.
    pub(crate) value: Value<'a>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Nothing, `~` or `null`.
    Empty,
    /// Text without quotes: may be meant as text, number or boolean.
    Plain(Cow<'a, str>),
    /// Text in quotes, or a block of text: always text.
    Quoted(Cow<'a, str>),
    /// A list.
    List(Vec<Node<'a>>),
    /// Names and their values, in the order of the file, each name once.
    Map(Vec<Entry<'a>>),
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Where the name is.
    pub(crate) place: Option<Place>,
    /// The name.
    pub(crate) name: Cow<'a, str>,
    /// Its value.
    pub(crate) node: Node<'a>,
}

/// Something that no value could put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Where.
    pub(crate) place: Place,
    /// What.
    pub(crate) what: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl Node<'_> {
    /// The kind of thing that the node is, without its text, which may be a secret.
    pub(crate) const fn kind(&self) -> &'static str {
        match &self.value {
            Value::Empty => "nothing",
            Value::Plain(_) | Value::Quoted(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

impl<'a> Value<'a> {
    /// What unquoted text stands for in YAML's core schema and in JSON: nothing, or whatever its user wants.
    pub(crate) fn plain(text: Cow<'a, str>) -> Self {
        match &*text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Empty,
            _ => Self::Plain(text),
        }
    }
}

/// Reads `text` as YAML. What was understood is there even when something is malformed; no node: the
/// document is empty.
pub(crate) fn yaml(text: &str) -> (Option<Node<'_>>, Vec<Malformed>) {
    // Comments are for people; capturing them would only cost.
    let options = granit_parser::options! { emit_comments: false };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder {
        parser,
        malformed: Vec::new(),
        depth: 0,
    };
    let root = builder.document().unwrap_or_else(|error| {
        builder.malformed.push(Malformed {
            place: place(*error.marker()),
            what: format!("not readable as YAML: {}", error.info()),
            hint: Some(
                "look at the indentation, the quotes and the colons of this line and the one above"
                    .to_owned(),
            ),
        });
        None
    });
    (root, builder.malformed)
}

/// No file of keygate's has more than ten. The parser allows 255, and a thread's stack is not made for those.
const DEPTH_MAX: usize = 64;

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    malformed: Vec<Malformed>,
    /// Lists and maps that are open.
    depth: usize,
}

impl<'a> Builder<'a> {
    /// The one document of the text; none if it is empty.
    fn document(&mut self) -> Result<Option<Node<'a>>, ScanError> {
        let mut root = None;
        while let Some((event, span)) = self.parser.next_event().transpose()? {
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                _ if root.is_some() => {
                    self.refuse(
                        span,
                        "a second document in the same file",
                        Some("remove the line ---"),
                    );
                    break;
                }
                event => root = Some(self.node(event, span)?),
            }
        }
        Ok(root.filter(|node| node.value != Value::Empty))
    }

    /// The node that begins with `event`.
    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node<'a>, ScanError> {
        if self.depth == DEPTH_MAX {
            let what = format!("more than {DEPTH_MAX} levels in one another");
            return Err(ScanError::new(span.start, what));
        }
        self.depth += 1;
        let value = self.value(event, span)?;
        self.depth -= 1;
        Ok(Node {
            place: Some(place(span.start)),
            value,
        })
    }

    fn value(&mut self, event: Event<'a>, span: Span) -> Result<Value<'a>, ScanError> {
        Ok(match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_properties(span, anchor, tag.is_some());
                match style {
                    ScalarStyle::Plain => Value::plain(text),
                    _ => Value::Quoted(text),
                }
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_properties(span, anchor, tag.is_some());
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Value::List(items),
                        (event, span) => items.push(self.node(event, span)?),
                    }
                }
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_properties(span, anchor, tag.is_some());
                Value::Map(self.entries()?)
            }
            _ => {
                self.refuse(
                    span,
                    "an alias",
                    Some("write the value out: aliases are not used here"),
                );
                Value::Empty
            }
        })
    }

    /// The names and values of a map, up to its end.
    fn entries(&mut self) -> Result<Vec<Entry<'a>>, ScanError> {
        let mut entries: Vec<Entry<'a>> = Vec::new();
        loop {
            let (event, key_span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(entries);
            }
            let key = self.node(event, key_span)?;
            let (event, span) = self.next()?;
            let node = self.node(event, span)?;
            let (Value::Plain(name) | Value::Quoted(name)) = key.value else {
                self.refuse(key_span, "expected a name here", None);
                continue;
            };
            if let Some(first) = entries.iter().find(|entry| entry.name == name) {
                self.malformed
                    .push(repeated(place(key_span.start), &name, first.place));
                continue;
            }
            entries.push(Entry {
                place: Some(place(key_span.start)),
                name,
                node,
            });
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), ScanError> {
        self.parser
            .next_event()
            .expect("a collection that was begun has an end or an error")
    }

    fn refuse_properties(&mut self, span: Span, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.refuse(
                span,
                "an anchor",
                Some("write the value out: anchors are not used here"),
            );
        }
        if tagged {
            self.refuse(span, "a tag", Some("remove the word that begins with !"));
        }
    }

    fn refuse(&mut self, span: Span, what: &str, hint: Option<&str>) {
        self.malformed.push(Malformed {
            place: place(span.start),
            what: what.to_owned(),
            hint: hint.map(str::to_owned),
        });
    }
}

/// A name that stands in one map twice.
pub(crate) fn repeated(place: Place, name: &str, first: Option<Place>) -> Malformed {
    let line = first.map_or(0, |place| place.line);
    Malformed {
        place,
        what: format!("`{name}` is here twice, first in line {line}"),
        hint: Some("keep one of the two".to_owned()),
    }
}

/// granit counts columns from 0.
fn place(marker: Marker) -> Place {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Place {
        line: count(marker.line()),
        column: count(marker.col()) + 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(line: u64, column: u64, text: &str) -> Node<'_> {
        Node {
            place: Some(Place { line, column }),
            value: Value::Plain(text.into()),
        }
    }

    fn entry<'a>(line: u64, column: u64, name: &'a str, node: Node<'a>) -> Entry<'a> {
        Entry {
            place: Some(Place { line, column }),
            name: name.into(),
            node,
        }
    }

    #[test]
    fn every_node_knows_its_place() {
        let (tree, malformed) = yaml("# first\nlisten: [a, b]\nlog:\n  level: info\n");
        assert_eq!(malformed, []);
        let list = Node {
            place: Some(Place { line: 2, column: 9 }),
            value: Value::List(vec![plain(2, 10, "a"), plain(2, 13, "b")]),
        };
        let log = Node {
            place: Some(Place { line: 4, column: 3 }),
            value: Value::Map(vec![entry(4, 3, "level", plain(4, 10, "info"))]),
        };
        assert_eq!(
            tree.unwrap().value,
            Value::Map(vec![entry(2, 1, "listen", list), entry(3, 1, "log", log)])
        );
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused_at_its_place() {
        for (text, line, column, what) in [
            (
                "a: 1\nb: 2\na: 3\n",
                3,
                1,
                "`a` is here twice, first in line 1",
            ),
            ("a: &x 1\n", 1, 7, "an anchor"),
            ("a: &x 1\nb: *x\n", 2, 4, "an alias"),
            ("a: !!str 1\n", 1, 10, "a tag"),
            (
                "a: 1\n---\nb: 2\n",
                3,
                1,
                "a second document in the same file",
            ),
            ("[a]: 1\n", 1, 1, "expected a name here"),
        ] {
            let (_, malformed) = yaml(text);
            let found = malformed
                .last()
                .unwrap_or_else(|| panic!("{text:?} is not refused"));
            assert_eq!(
                (found.place, &*found.what),
                (Place { line, column }, what),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_deep_document_is_refused_before_it_takes_the_stack() {
        for (open, close) in [("{a: ", "}"), ("[", "]"), ("{[a]: ", "}")] {
            let deep = |levels| format!("{}1{}", open.repeat(levels), close.repeat(levels));
            let (_, malformed) = yaml(&deep(250));
            let said = &malformed.last().unwrap().what;
            assert!(said.contains("more than 64 levels"), "{said}");
            let (_, malformed) = yaml(&deep(60));
            assert!(!malformed.iter().any(|found| found.what.contains("levels")));
        }
    }

    #[test]
    fn an_empty_document_has_no_node() {
        for text in ["", "# nothing\n", "---\n", "~\n"] {
            assert_eq!(yaml(text), (None, Vec::new()), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(text in "[-a:{}\\[\\], \n&*!'\"#|>?é\t\r]{0,60}") {
            let _ = yaml(&text);
        }
    }
}
