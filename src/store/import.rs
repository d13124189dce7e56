//! Keys that come from elsewhere: from bytes in one of five formats to candidates, or to every problem with its line
//! and column, never with a token. Nothing is half imported: one problem, and no candidate counts. Pure: who
//! calls it brings the bytes, seals the tokens and makes the edits. Not for: names that are taken, which is
//! `import::plan`.

pub mod plan;
pub mod spreadsheet;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::key::KeyFields;
use crate::key::KeyId;
use crate::key::token::Token;
use crate::problem::Place;
use crate::problem::Problem;
use crate::store::format::Format;
use crate::store::format::loose::Entries;
use crate::store::format::loose::Found;
use crate::store::import::plan::NO_NAME;
use crate::store::seal::Secrets;

/// Whoever reads this many problems has the wrong file.
const PROBLEMS_MAX: usize = 100;

/// How keys may be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportFormat {
    /// A key a line, as in a `.ndjson` key file.
    Ndjson,
    /// A `.json` key file.
    Json,
    /// A `.yaml` key file.
    Yaml,
    /// A table whose first line names its columns.
    Csv,
    /// A token a line, and comments that begin with `#`.
    Text,
}

/// A key that could be added.
#[derive(Debug)]
pub struct Candidate {
    /// The key, under the name and id that were written down.
    pub fields: KeyFields,
    /// Its token, where that was written down: to be sealed.
    pub token: Option<Token>,
    /// Where it was.
    pub place: Option<Place>,
    /// Whether somebody named it; else the name is a number.
    pub named: bool,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// The keys, in their order.
    pub candidates: Vec<Candidate>,
    /// What works and should be better.
    pub warnings: Vec<Problem>,
}

/// Reads keys from bytes as they come. Lines are read as soon as they are whole; the other formats when all is there.
pub struct Import {
    format: ImportFormat,
    name: PathBuf,
    token_files: bool,
    /// What is not read yet. It holds tokens.
    pending: Zeroizing<Vec<u8>>,
    lines: u64,
    entries: usize,
    read: Read,
    problems: Vec<Problem>,
}

impl ImportFormat {
    /// All of them, with the names that flags and parameters use.
    pub const ALL: [(&'static str, Self); 5] = [
        ("ndjson", Self::Ndjson),
        ("json", Self::Json),
        ("yaml", Self::Yaml),
        ("csv", Self::Csv),
        ("text", Self::Text),
    ];

    /// The format with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| *format)
    }

    /// What the name of a file tells.
    #[must_use]
    pub fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "csv" | "tsv" => Some(Self::Csv),
            "txt" | "list" => Some(Self::Text),
            _ => None,
        }
    }

    /// What the first bytes tell. Anything could be a list of tokens, so that is what remains.
    #[must_use]
    pub fn guess(head: &[u8]) -> Self {
        let text = String::from_utf8_lossy(head);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let first = lines.next().unwrap_or_default();
        if first.starts_with('{') {
            let whole = first.ends_with('}') && !first.contains("\"keys\"");
            return if whole { Self::Ndjson } else { Self::Json };
        }
        if first == "---" || first.starts_with("version:") || first.starts_with("keys:") {
            return Self::Yaml;
        }
        if spreadsheet::is_header(first) {
            return Self::Csv;
        }
        Self::Text
    }
}

impl Import {
    /// Begins to read; `name` stands in problems. `token_files`: entries may name files of this machine.
    #[must_use]
    pub fn new(format: ImportFormat, name: &Path, token_files: bool) -> Self {
        Self {
            format,
            name: name.to_owned(),
            token_files,
            pending: Zeroizing::new(Vec::new()),
            lines: 0,
            entries: 0,
            read: Read::default(),
            problems: Vec::new(),
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        append(&mut self.pending, bytes);
        let by_line = match self.format {
            ImportFormat::Ndjson | ImportFormat::Text => true,
            ImportFormat::Json | ImportFormat::Yaml | ImportFormat::Csv => false,
        };
        // Only what is new can end a line.
        let from = self.pending.len() - bytes.len();
        if by_line && let Some(end) = memchr::memrchr(b'\n', &self.pending[from..]) {
            let end = from + end + 1;
            let rest = Zeroizing::new(self.pending[end..].to_vec());
            self.pending.truncate(end);
            let whole = std::mem::replace(&mut self.pending, rest);
            self.read_lines(&whole);
        }
    }

    /// How many keys were read so far.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.read.candidates.len()
    }

    /// All keys.
    ///
    /// # Errors
    /// What is wrong, in the order of the text; after a hundred problems nothing more is read.
    pub fn finish(mut self) -> Result<Read, Vec<Problem>> {
        let rest = std::mem::take(&mut self.pending);
        match self.format {
            ImportFormat::Ndjson | ImportFormat::Text => self.read_lines(&rest),
            ImportFormat::Json => self.read_whole(&rest, |entries, text| {
                named(entries.whole(Format::Json, text))
            }),
            ImportFormat::Yaml => self.read_whole(&rest, |entries, text| {
                named(entries.whole(Format::Yaml, text))
            }),
            ImportFormat::Csv => self.read_whole(&rest, spreadsheet::read),
        }
        if self.problems.is_empty() {
            return Ok(self.read);
        }
        if self.problems.len() >= PROBLEMS_MAX {
            self.problems.truncate(PROBLEMS_MAX);
            let what = format!("stopped reading after {PROBLEMS_MAX} problems");
            let hint = "is this the right file, and the right format?";
            self.problems.push(problem(&self.name, None, &what, hint));
        }
        Err(self.problems)
    }

    fn read_lines(&mut self, bytes: &[u8]) {
        let name = self.name.clone();
        let mut entries = Entries::new(&name, self.token_files, self.entries);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.lines += 1;
            if self.problems.len() + entries.problems() >= PROBLEMS_MAX {
                break;
            }
            let place = |column| {
                Some(Place {
                    line: self.lines,
                    column,
                })
            };
            let Some(text) = text_of(line) else {
                entries.note(
                    place(1),
                    "the line is not UTF-8 text".to_owned(),
                    "save it as UTF-8",
                );
                continue;
            };
            let text = if self.lines == 1 {
                text.strip_prefix('\u{feff}').unwrap_or(text)
            } else {
                text
            };
            if text.trim().is_empty() {
                continue;
            }
            if self.format == ImportFormat::Ndjson {
                let found = entries.line(text.trim_end_matches(['\n', '\r']), self.lines);
                self.read
                    .candidates
                    .extend(found.map(|found| found.named(true)));
            } else if !text.trim_start().starts_with('#') {
                match Token::parse(text.trim().to_owned()) {
                    Ok(token) => self.read.candidates.push(unnamed(token, place(1))),
                    Err(error) => entries.note(
                        place(count(text) - count(text.trim_start()) + 1),
                        error.to_string(),
                        "a list has one token a line; other formats: --format",
                    ),
                }
            }
        }
        self.entries = entries.count();
        let (problems, warnings) = entries.finish();
        self.problems.extend(problems);
        self.read.warnings.extend(warnings);
    }

    fn read_whole(
        &mut self,
        bytes: &[u8],
        read: impl Fn(&mut Entries<'_>, &str) -> Vec<Candidate>,
    ) {
        let Ok(text) = str::from_utf8(bytes) else {
            let what = "the file is not UTF-8 text";
            self.problems
                .push(problem(&self.name, None, what, "save it as UTF-8"));
            return;
        };
        let mut entries = Entries::new(&self.name, self.token_files, 0);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        self.read.candidates = read(&mut entries, text);
        (self.problems, self.read.warnings) = entries.finish();
        self.problems.sort_by_key(|problem| problem.place);
    }
}

impl Candidate {
    /// The key as it is to be added: with a sealed copy of its token where `secrets` are given, and no copy that
    /// could never open. `written` is the id that was written down, under which an existing copy was sealed.
    #[must_use]
    pub fn sealed(mut self, secrets: Option<&Secrets>, written: &KeyId) -> KeyFields {
        let id = self.fields.id.clone();
        if let Some(token) = &self.token {
            self.fields.sealed = secrets.map(|secrets| secrets.seal(&id, token));
        } else if id != *written {
            let copy = self.fields.sealed.take();
            self.fields.sealed = copy.and_then(|copy| {
                let token = secrets?.unseal(written, &copy).ok()?;
                Some(secrets?.seal(&id, &token))
            });
        }
        self.fields
    }
}

impl Found {
    fn named(self, named: bool) -> Candidate {
        let mut fields = self.fields;
        fields.source = crate::key::TokenSource::Digest;
        Candidate {
            fields,
            token: self.token,
            place: self.place,
            named,
        }
    }
}

fn named(found: Vec<Found>) -> Vec<Candidate> {
    found.into_iter().map(|found| found.named(true)).collect()
}

/// A key of which only the token is known.
fn unnamed(token: Token, place: Option<Place>) -> Candidate {
    let mut fields = KeyFields::new(NO_NAME, token.digest());
    fields.mask = Some(token.mask().into());
    Candidate {
        fields,
        token: Some(token),
        place,
        named: false,
    }
}

fn problem(name: &Path, place: Option<Place>, what: &str, hint: &str) -> Problem {
    Problem {
        file: name.to_owned(),
        place,
        path: String::new(),
        what: what.to_owned(),
        hint: Some(hint.to_owned()),
    }
}

fn text_of(line: &[u8]) -> Option<&str> {
    str::from_utf8(line).ok()
}

fn count(text: &str) -> u64 {
    u64::try_from(text.chars().count()).unwrap_or(u64::MAX)
}

/// Grows by hand: a vector that grew by itself would leave tokens behind where it was.
fn append(pending: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    let needed = pending.len() + bytes.len();
    if needed > pending.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * pending.capacity())));
        larger.extend_from_slice(pending);
        *pending = larger;
    }
    pending.extend_from_slice(bytes);
}
