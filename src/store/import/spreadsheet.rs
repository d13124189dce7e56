//! Keys as a table, for spreadsheets: CSV with a first line that names the columns. Every row is turned into an entry
//! of a key file and goes through its rules. Cells that a spreadsheet would take for a formula get an apostrophe in
//! front when they are written, and lose it when they are read; tokens are left alone. Old tokens of a rotation have
//! no column: a whole copy of the keys is what NDJSON, JSON and YAML are for.

use std::borrow::Cow;
use std::io;

use crate::cell;
use crate::document::Entry;
use crate::document::Node;
use crate::document::Value;
use crate::key::Key;
use crate::key::token::Token;
use crate::problem::Place;
use crate::problem::nearest;
use crate::store::format::loose::Entries;
use crate::store::import::Candidate;
use crate::store::import::plan::NO_NAME;

/// The columns, in the order in which they are written. `token` is written only where it is asked for.
pub const COLUMNS: [&str; 16] = [
    "id",
    "name",
    "description",
    "digest",
    "token",
    "sealed",
    "mask",
    "enabled",
    "created_at",
    "not_before",
    "expires_at",
    "tags",
    "record",
    "allow_methods",
    "allow_paths",
    "allow_networks",
];
/// What stands between the parts of a cell.
const PARTS: char = ';';
const PARTS_TEXT: &str = ";";

/// Whether the line could name columns: it has one without which there is no key.
#[must_use]
pub fn is_header(line: &str) -> bool {
    let separator = separator_of(line);
    let mut cells = line
        .split(separator)
        .map(|cell| cell.trim().trim_matches('"'));
    cells.clone().all(|cell| COLUMNS.contains(&cell))
        && cells.any(|cell| cell == "token" || cell == "digest")
}

/// The keys of a table.
pub(super) fn read(entries: &mut Entries<'_>, text: &str) -> Vec<Candidate> {
    let mut rows = Rows::of(text);
    let Some(header) = rows.next() else {
        entries.note(None, "the file is empty".to_owned(), HEADER_HINT);
        return Vec::new();
    };
    let mut columns = Vec::new();
    for (index, cell) in header.iter().enumerate() {
        let name = cell.text.trim();
        if let Some(known) = COLUMNS.iter().find(|known| **known == name) {
            if columns.contains(known) {
                let what = format!("the column {known} is here twice");
                entries.note(Some(cell.place), what, "keep one of the two");
            }
            columns.push(*known);
        } else {
            // Its text is not repeated: where the header is missing, it may be a token.
            let hint = nearest(name, COLUMNS).map_or_else(
                || HEADER_HINT.to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let what = format!("column {} has an unknown name", index + 1);
            entries.note(Some(cell.place), what, &hint);
        }
    }
    if !columns
        .iter()
        .any(|name| ["token", "digest"].contains(name))
    {
        let place = Some(Place { line: 1, column: 1 });
        entries.note(
            place,
            "there is no column token or digest".to_owned(),
            HEADER_HINT,
        );
    }
    if entries.problems() > 0 {
        return Vec::new();
    }
    let mut candidates = Vec::new();
    for row in rows {
        if let Some(odd) = row.iter().find(|cell| cell.odd) {
            let what = "the quotes of a cell are not closed, or something follows them".to_owned();
            let hint = "a quote within quotes is written twice";
            entries.note(Some(odd.place), what, hint);
            continue;
        }
        if row.len() != columns.len() {
            let what = format!("expected {} cells, found {}", columns.len(), row.len());
            let place = row.first().map(|cell| cell.place);
            let hint = "cells that contain a comma, a quote or a line break stand in double quotes";
            entries.note(place, what, hint);
            continue;
        }
        candidates.extend(candidate(entries, &columns, row));
    }
    candidates
}

const HEADER_HINT: &str = "the first line names the columns: name, description, token or digest, enabled, \
    not_before, expires_at, tags, record, allow_methods, allow_paths, allow_networks";

/// The key of a row; none if something is wrong with it.
fn candidate(entries: &mut Entries<'_>, columns: &[&str], row: Vec<Cell<'_>>) -> Option<Candidate> {
    let place = row.first().map(|cell| cell.place);
    let (mut fields, mut allow) = (Vec::new(), Vec::new());
    let mut named = false;
    for (column, cell) in columns.iter().zip(row) {
        let is_token = *column == "token";
        let text = if is_token {
            cell.text
        } else {
            cell::plain(cell.text)
        };
        if text.is_empty() {
            continue;
        }
        let place = Some(cell.place);
        let value = match *column {
            "enabled" | "record" => Value::Plain(text.to_ascii_lowercase().into()),
            "tags" => Value::Map(tags(&text, place)),
            "allow_methods" | "allow_paths" | "allow_networks" => {
                let items = parts(&text).map(|part| node(Value::Quoted(part.into()), place));
                let list = Value::List(items.collect());
                allow.push(entry(&column["allow_".len()..], list, place));
                continue;
            }
            _ => Value::Quoted(text),
        };
        named |= *column == "name";
        fields.push(entry(column, value, place));
    }
    if !allow.is_empty() {
        fields.push(entry("allow", Value::Map(allow), place));
    }
    if !named {
        fields.push(entry("name", Value::Quoted(NO_NAME.into()), place));
    }
    let found = entries.entry(&node(Value::Map(fields), place))?;
    Some(found.named(named))
}

/// `team=billing;env=prod`
fn tags<'a>(text: &str, place: Option<Place>) -> Vec<Entry<'a>> {
    let tag = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        entry_of(
            name.trim().to_owned().into(),
            Value::Quoted(value.trim().to_owned().into()),
            place,
        )
    };
    parts(text).map(|part| tag(&part)).collect()
}

fn parts(text: &str) -> impl Iterator<Item = String> {
    text.split(PARTS)
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
}

fn entry<'a>(name: &str, value: Value<'a>, place: Option<Place>) -> Entry<'a> {
    entry_of(name.to_owned().into(), value, place)
}

const fn entry_of<'a>(name: Cow<'a, str>, value: Value<'a>, place: Option<Place>) -> Entry<'a> {
    Entry {
        place,
        name,
        node: node(value, place),
    }
}

const fn node(value: Value<'_>, place: Option<Place>) -> Node<'_> {
    Node { place, value }
}

/// Writes keys as a table.
pub struct Table<W: io::Write> {
    csv: csv::Writer<W>,
    tokens: bool,
}

impl<W: io::Write> Table<W> {
    /// Begins the table. `tokens`: with a column for tokens in clear.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(to: W, tokens: bool) -> io::Result<Self> {
        let mut csv = csv::Writer::from_writer(to);
        let columns = COLUMNS
            .iter()
            .filter(|column| tokens || **column != "token");
        csv.write_record(columns).map_err(io::Error::other)?;
        Ok(Self { csv, tokens })
    }

    /// Writes a row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn row(&mut self, key: &Key, token: Option<&Token>) -> io::Result<()> {
        let joined = |items: Vec<String>| items.join(PARTS_TEXT);
        for column in COLUMNS {
            let rules = key.rules();
            let date = |date: Option<crate::clock::Timestamp>| {
                date.map(|date| date.to_string()).unwrap_or_default()
            };
            let cell = match column {
                "token" => {
                    if self.tokens {
                        let text = token.map(Token::expose).unwrap_or_default();
                        self.csv.write_field(text).map_err(io::Error::other)?;
                    }
                    continue;
                }
                "id" => key.id().to_string(),
                "name" => key.name().to_owned(),
                "description" => key.description().unwrap_or_default().to_owned(),
                // A key has its digest or its token.
                "digest" if self.tokens && token.is_some() => String::new(),
                "digest" => key.digest().to_string(),
                "sealed" => key.sealed().unwrap_or_default().to_owned(),
                "mask" => key.mask().unwrap_or_default().to_owned(),
                "enabled" => key.enabled().to_string(),
                "created_at" => date(key.created_at()),
                "not_before" => date(key.not_before()),
                "expires_at" => date(key.expires_at()),
                "tags" => joined(
                    key.tags()
                        .iter()
                        .map(|(name, value)| format!("{name}={value}"))
                        .collect(),
                ),
                "record" => key.record().to_string(),
                "allow_methods" => joined(texts(rules.and_then(|rules| rules.methods()))),
                "allow_paths" => joined(texts(rules.and_then(|rules| rules.paths()))),
                _ => joined(texts(rules.and_then(|rules| rules.networks()))),
            };
            let cell = cell::guarded(&cell);
            self.csv.write_field(&*cell).map_err(io::Error::other)?;
        }
        self.csv
            .write_record(None::<&[u8]>)
            .map_err(io::Error::other)
    }

    /// Writes what is still held back.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.csv.flush()
    }
}

fn texts<T: ToString>(list: Option<&[T]>) -> Vec<String> {
    list.unwrap_or_default().iter().map(T::to_string).collect()
}

/// A cell, and where it begins.
struct Cell<'t> {
    place: Place,
    text: Cow<'t, str>,
    /// Its quotes are not closed, or something follows them.
    odd: bool,
}

/// The rows of a table, empty lines left out. Quotes as in RFC 4180; a quote within a cell that has none in front
/// stands for itself.
struct Rows<'t> {
    rest: &'t str,
    place: Place,
    separator: char,
}

impl<'t> Rows<'t> {
    fn of(text: &'t str) -> Self {
        Self {
            rest: text,
            place: Place { line: 1, column: 1 },
            separator: separator_of(text.lines().next().unwrap_or_default()),
        }
    }

    /// Goes on by so many bytes.
    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        for character in taken.chars() {
            if character == '\n' {
                self.place.line += 1;
                self.place.column = 1;
            } else {
                self.place.column += 1;
            }
        }
        taken
    }

    fn cell(&mut self) -> Cell<'t> {
        let place = self.place;
        if !self.rest.starts_with('"') {
            let ends = [self.separator, '\n'];
            let end = self.rest.find(ends).unwrap_or(self.rest.len());
            let text = self.take(end);
            let text = text.strip_suffix('\r').unwrap_or(text);
            return Cell {
                place,
                text: text.into(),
                odd: false,
            };
        }
        self.take(1);
        let (mut text, mut odd) = (Cow::Borrowed(""), false);
        loop {
            let end = self.rest.find('"').unwrap_or(self.rest.len());
            let part = self.take(end);
            if text.is_empty() {
                text = part.into();
            } else {
                text.to_mut().push_str(part);
            }
            if self.rest.is_empty() {
                odd = true;
                break;
            }
            self.take(1);
            if !self.rest.starts_with('"') {
                break;
            }
            self.take(1);
            text.to_mut().push('"');
        }
        let ends = [self.separator, '\n'];
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        odd |= !self.take(end).trim_ascii().is_empty();
        Cell { place, text, odd }
    }
}

impl<'t> Iterator for Rows<'t> {
    type Item = Vec<Cell<'t>>;

    fn next(&mut self) -> Option<Vec<Cell<'t>>> {
        loop {
            let line_end = self.rest.find('\n').unwrap_or(self.rest.len());
            if self.rest.is_empty() {
                return None;
            }
            if !self.rest[..line_end].trim().is_empty() {
                break;
            }
            self.take((line_end + 1).min(self.rest.len()));
        }
        let mut row = Vec::new();
        loop {
            row.push(self.cell());
            if self.rest.starts_with(self.separator) {
                self.take(self.separator.len_utf8());
                continue;
            }
            self.take(usize::from(!self.rest.is_empty()));
            return Some(row);
        }
    }
}

/// Spreadsheets of some languages write semicolons.
fn separator_of(header: &str) -> char {
    let has = |separator| header.contains(separator);
    match () {
        () if has(',') => ',',
        () if has(';') => ';',
        () if has('\t') => '\t',
        () => ',',
    }
}
