//! Entries that are not (yet) in the key file: the rules of `entry` for keys that come from elsewhere, each with its
//! token where it was written out, so that it can be sealed. Here names may repeat: what to do about it is for
//! `store::import`. Not for: the key file itself, in which a token is hashed and let go.

use std::path::Path;

use crate::document;
use crate::document::Malformed;
use crate::document::Node;
use crate::document::Value;
use crate::key::KeyFields;
use crate::key::token::Token;
use crate::problem::Place;
use crate::problem::Problem;
use crate::store::format::Format;
use crate::store::format::entry::Checker;
use crate::store::format::entry::index_path;
use crate::store::format::json;
use crate::store::format::token_file::TokenFile;
use crate::store::format::token_file::without_line_end;

/// A good entry.
pub(in crate::store) struct Found {
    pub(in crate::store) fields: KeyFields,
    pub(in crate::store) token: Option<Token>,
    pub(in crate::store) place: Option<Place>,
}

/// Reads entries one after the other, and notes what is wrong with them.
pub(in crate::store) struct Entries<'f> {
    checker: Checker<'f>,
    /// Whether an entry may name a file of this machine.
    token_files: bool,
    count: usize,
}

impl<'f> Entries<'f> {
    /// `file` is the name in problems, and `first` the number of entries that came before.
    pub(in crate::store) const fn new(file: &'f Path, token_files: bool, first: usize) -> Self {
        Self {
            checker: Checker::new(file),
            token_files,
            count: first,
        }
    }

    /// The entry of one line of NDJSON; none if something is wrong with it.
    pub(in crate::store) fn line(&mut self, text: &str, line: u64) -> Option<Found> {
        if let Some(node) = json::placeless(text) {
            let noted = self.checker.problems.len();
            if let Some(found) = self.entry(&node) {
                return Some(Found {
                    place: Some(Place { line, column: 1 }),
                    ..found
                });
            }
            self.checker.problems.truncate(noted); // the same again with its places
            self.count -= 1;
        }
        let (node, malformed) = json::placed(text, line);
        self.malformed(malformed, &index_path(self.count));
        self.entry(&node?)
    }

    /// The entries of a whole key file.
    pub(in crate::store) fn whole(&mut self, format: Format, text: &str) -> Vec<Found> {
        let (root, malformed) = match format {
            Format::Yaml => document::yaml(text),
            Format::Json | Format::Ndjson => json::placed(text, 1),
        };
        self.malformed(malformed, "");
        let Some(root) = root else {
            if self.checker.problems.is_empty() {
                self.shape(None, "the file is empty".to_owned());
            }
            return Vec::new();
        };
        let Value::Map(fields) = &root.value else {
            let what = format!(
                "expected a map with version and keys, found {}",
                root.kind()
            );
            self.shape(root.place, what);
            return Vec::new();
        };
        let mut found = Vec::new();
        for name in ["version", "keys"] {
            if !fields.iter().any(|field| field.name == name) {
                self.shape(root.place, format!("`{name}` is missing"));
            }
        }
        for field in fields {
            match (&*field.name, &field.node.value) {
                ("version", Value::Plain(version)) if version == "1" => {}
                ("version", _) => self.shape(field.node.place, "expected version 1".to_owned()),
                ("keys", Value::List(entries)) => {
                    found.extend(entries.iter().filter_map(|entry| self.entry(entry)));
                }
                ("keys", _) => {
                    let what = format!("expected a list of keys, found {}", field.node.kind());
                    self.shape(field.node.place, what);
                }
                _ => self
                    .checker
                    .unknown(String::new(), field, &["version", "keys"]),
            }
        }
        found
    }

    /// One entry; none if something is wrong with it.
    pub(in crate::store) fn entry(&mut self, node: &Node<'_>) -> Option<Found> {
        let (index, noted) = (self.count, self.checker.problems.len());
        self.count += 1;
        let secret = |name: &str| match &node.value {
            Value::Map(fields) => fields.iter().find(|field| field.name == name),
            Value::Empty | Value::Plain(_) | Value::Quoted(_) | Value::List(_) => None,
        };
        if let Some(field) = secret("token_file")
            && !self.token_files
        {
            // Before the entry is looked at, which would open the file.
            self.checker.note(
                field.place,
                format!("{}.token_file", index_path(index)),
                "files of this machine are not read for an import".to_owned(),
                Some("give the token's digest, or the token itself as `token`".to_owned()),
            );
            return None;
        }
        let checked = self.checker.entry(index, node)?;
        if self.checker.problems.len() > noted {
            return None;
        }
        let token = match (
            secret("token").map(|field| &field.node.value),
            checked.token_file,
        ) {
            (Some(Value::Plain(text) | Value::Quoted(text)), _) => {
                Token::parse(text.clone().into_owned()).ok()
            }
            (_, Some(file)) => read_token(&file),
            (_, None) => None,
        };
        Some(Found {
            fields: checked.key.to_fields(),
            token,
            place: node.place,
        })
    }

    /// Notes what is wrong, in the words of whoever knows the shape.
    pub(in crate::store) fn note(&mut self, place: Option<Place>, what: String, hint: &str) {
        self.checker
            .note(place, String::new(), what, Some(hint.to_owned()));
    }

    /// How many entries there were, good and bad.
    pub(in crate::store) const fn count(&self) -> usize {
        self.count
    }

    /// How many problems there are.
    pub(in crate::store) const fn problems(&self) -> usize {
        self.checker.problems.len()
    }

    /// What is wrong, and what works and should be better.
    pub(in crate::store) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.checker.problems, self.checker.warnings)
    }

    fn shape(&mut self, place: Option<Place>, what: String) {
        self.note(
            place,
            what,
            "a key file consists of `version: 1` and a list `keys`",
        );
    }

    fn malformed(&mut self, malformed: Vec<Malformed>, path: &str) {
        for Malformed { place, what, hint } in malformed {
            self.checker.note(Some(place), path.to_owned(), what, hint);
        }
    }
}

/// The token of a file that was a good one a moment ago.
fn read_token(file: &TokenFile) -> Option<Token> {
    let (_, bytes) = TokenFile::read(file.path.clone()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    Token::parse(without_line_end(text)).ok()
}
