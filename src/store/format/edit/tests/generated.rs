//! Files as people write them, and edits of them, both made from a list of choices: the result reads back as the
//! plain model says, and whatever was not to be touched is there byte for byte, comments included.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::store::format::KeyFile;

/// Choices, taken one after the other.
struct Choices<'c> {
    bytes: &'c [u8],
    at: usize,
}

impl Choices<'_> {
    /// One of `count`; the first when there are no more choices.
    fn of(&mut self, count: usize) -> usize {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(byte) % count
    }

    fn one<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.of(items.len())]
    }

    fn often(&mut self) -> bool {
        self.of(4) > 1
    }
}

/// Texts that some reader could take for something else, or that are hard to write.
const TEXTS: [&str; 40] = [
    "plain",
    "two words",
    "",
    " ",
    " lead",
    "trail ",
    "yes",
    "No",
    "ON",
    "off",
    "y",
    "null",
    "~",
    "Null",
    "true",
    "1",
    "1.5",
    "0x1F",
    "1e9",
    "190:20:30",
    "2026-11-23",
    ".inf",
    "a: b",
    "a :b",
    "a #b",
    "#a",
    "- a",
    "-",
    "? a",
    "[a]",
    "{a}",
    "a, b",
    "\"q\"",
    "it's",
    "back\\slash",
    "line\nbreak\n",
    "tab\tcr\r",
    "nel\u{85}ls\u{2028}bom\u{feff}",
    "größe 😀 👨\u{200d}👩 é",
    "%a @b `c` !d &e *f |g >h =",
];

/// A file in the making.
struct File<'c> {
    choices: Choices<'c>,
    text: String,
    comments: usize,
    /// Each entry's own text.
    entries: Vec<std::ops::Range<usize>>,
}

impl File<'_> {
    fn comment(&mut self) -> String {
        self.comments += 1;
        format!("#c{}.", self.comments)
    }

    fn behind(&mut self) -> String {
        match self.choices.of(4) {
            0 => format!(" {}", self.comment()),
            1 => format!("   {} it's: \"so, {{", self.comment()),
            _ => String::new(),
        }
    }

    fn scalar(&mut self, text: &str, flow: bool) -> String {
        match self.choices.of(3) {
            0 if !flow && text.starts_with("key") => text.to_owned(),
            1 if !text.contains(char::is_control) => format!("'{}'", text.replace('\'', "''")),
            _ => serde_json::to_string(text).unwrap(),
        }
    }

    /// A description in some style, with its line's comment.
    fn description(&mut self, column: usize) -> String {
        let pad = " ".repeat(column + 1 + self.choices.of(3));
        let header = self.choices.one(&["|", "|-", "|+", ">", ">-", ">+"]);
        let behind = self.behind();
        match self.choices.of(8) {
            0 => format!("{header}{behind}\n{pad}some text\n{pad}  more\n\n{pad}# not a comment\n"),
            1 => format!("{header}{behind}\n{pad}é text: \"\n"),
            2 => format!("{header}{behind}\n{pad}text\n\n\n"),
            3 => format!("plain text\n{pad}- over lines{behind}\n"),
            4 => format!("\"in quotes\n\n{pad}# over lines\"{behind}\n"),
            5 => format!("{behind}\n{pad}on its own line\n"),
            6 => format!("it's plain{behind}\n"),
            _ => {
                let text = self.choices.one(&TEXTS);
                let text = self.scalar(text, false);
                format!("{text}{behind}\n")
            }
        }
    }

    /// The lines of a field whose name begins in `column`.
    fn field(&mut self, number: usize, name: &str, column: usize) -> String {
        let pad = " ".repeat(column + 1 + self.choices.of(3));
        let behind = self.behind();
        let own = self.behind();
        let quoted = self.choices.of(6) == 0;
        let key = if quoted {
            format!("\"{name}\"")
        } else {
            name.to_owned()
        };
        let gap = self.choices.one(&[" ", " ", "   "]);
        let value = match name {
            "description" => return format!("{key}:{gap}{}", self.description(column)),
            "tags" if self.choices.often() => {
                return format!("{key}:{behind}\n{pad}b: x{own}\n{pad}\"a\": 'y'\n");
            }
            "allow" if self.choices.often() => {
                return format!(
                    "{key}:{behind}\n{pad}paths: [/v1/**, \"/a\"]{own}\n{pad}methods:\n{pad}- GET\n{pad}-   POST\n"
                );
            }
            "previous" if self.choices.often() => {
                let old = digest(&format!("old {number}"));
                return format!(
                    "{key}:{behind}\n{pad}- digest: {old}\n{pad}  expires_at: 2026-01-01T00:00:00Z{own}\n"
                );
            }
            name => self.value(number, name, false),
        };
        format!("{key}:{gap}{value}{behind}\n")
    }

    fn value(&mut self, number: usize, name: &str, flow: bool) -> String {
        let date = "2026-11-23T10:00:00+02:00";
        let date = if flow {
            format!("'{date}'")
        } else {
            date.to_owned()
        };
        match name {
            "id" => format!("id-{number}"),
            "name" => self.scalar(&format!("key {number}"), flow),
            "digest" => self.scalar(&digest(&format!("token {number}")).to_string(), flow),
            "token" => format!("correct-horse-battery-staple-{number}"),
            "description" => {
                let text = self.choices.one(&TEXTS);
                self.scalar(text, flow)
            }
            "mask" => "kg_3fA9…x7Q2".to_owned(),
            "enabled" | "record" => self.choices.one(&["true", "false"]).to_owned(),
            "tags" => "{b: x, a: 'y'}".to_owned(),
            "allow" => "{methods: [GET, POST], networks: [10.0.0.1]}".to_owned(),
            "previous" => {
                let old = digest(&format!("old {number}"));
                format!("[{{digest: \"{old}\", expires_at: '2026-01-01T00:00:00Z'}}]")
            }
            _ => date,
        }
    }

    fn names(&mut self) -> Vec<&'static str> {
        let secret = self.choices.one(&["digest", "digest", "token"]);
        let mut names = vec!["name", secret];
        for name in [
            "id",
            "description",
            "mask",
            "enabled",
            "created_at",
            "tags",
            "record",
            "allow",
            "previous",
        ] {
            if self.choices.often() {
                let at = self.choices.of(names.len() + 1);
                names.insert(at, name);
            }
        }
        names
    }

    fn flow_entry(&mut self, number: usize, lines: bool, column: usize) -> String {
        let json = self.choices.of(3) == 0;
        let mut text = "{".to_owned();
        for (index, name) in self.names().into_iter().enumerate() {
            if index > 0 {
                text.push_str(self.choices.one(&[",", ", ", " , "]));
            }
            if lines && self.choices.often() {
                let behind = self.behind();
                write!(text, "{behind}\n{}", " ".repeat(column + 2)).unwrap();
            }
            let value = self.value(number, name, true);
            if json {
                write!(text, "\"{name}\":{}{value}", self.choices.one(&["", " "])).unwrap();
            } else {
                write!(text, "{name}: {value}").unwrap();
            }
        }
        text.push_str(self.choices.one(&["", " ", ","]));
        text.push('}');
        // Plain text right behind a colon is for quoted values only.
        text.replace("\":", "\": ")
    }

    fn block_entry(&mut self, number: usize, column: usize) {
        let pad = " ".repeat(column);
        let lead = match self.choices.of(4) {
            0 => format!("-\n{pad}   "),
            1 => format!("- {}\n{pad}  ", self.comment()),
            2 => "-   ".to_owned(),
            _ => "- ".to_owned(),
        };
        let fields_column = column + lead.len() - lead.rfind('\n').map_or(0, |at| at + 1 + column);
        write!(self.text, "{pad}{lead}").unwrap();
        let mut above = "";
        for (index, name) in self.names().into_iter().enumerate() {
            if index > 0 {
                match self.choices.of(5) {
                    0 => self.text.push('\n'),
                    1 => {
                        let comment = self.comment();
                        // Deeper below a block of text, it would be a line of that.
                        let deeper = if above == "description" { 1 } else { 4 };
                        let indent = self.choices.of(fields_column + deeper);
                        writeln!(self.text, "{}{comment}", " ".repeat(indent)).unwrap();
                    }
                    _ => {}
                }
                self.text.push_str(&" ".repeat(fields_column));
            }
            let field = self.field(number, name, fields_column);
            self.text.push_str(&field);
            above = name;
        }
    }

    fn entry(&mut self, number: usize, column: usize) {
        let start = self.text.len();
        let pad = " ".repeat(column);
        match self.choices.of(5) {
            0 => {
                let entry = self.flow_entry(number, false, column);
                let behind = self.behind();
                writeln!(self.text, "{pad}- {entry}{behind}").unwrap();
            }
            1 => {
                let entry = self.flow_entry(number, true, column);
                writeln!(self.text, "{pad}- {entry}").unwrap();
            }
            _ => self.block_entry(number, column),
        }
        self.entries.push(start..self.text.len());
        match self.choices.of(6) {
            0 => self.text.push('\n'),
            1 => {
                let comment = self.comment();
                writeln!(self.text, "{pad}{comment} above the next").unwrap();
            }
            _ => {}
        }
    }

    fn flow_list(&mut self, count: usize) {
        self.text.push_str("keys: [");
        for number in 0..count {
            self.text.push_str(self.choices.one(&["", " ", "\n  "]));
            let start = self.text.len();
            let lines = self.choices.often();
            let entry = self.flow_entry(number, lines, 2);
            self.text.push_str(&entry);
            self.entries.push(start..self.text.len());
            let comma = if number + 1 < count {
                ","
            } else {
                self.choices.one(&["", ",", " "])
            };
            self.text.push_str(comma);
            if self.choices.of(4) == 0 {
                let comment = self.comment();
                write!(self.text, " {comment}\n  ").unwrap();
            }
        }
        self.text.push_str("]\n");
    }

    fn yaml(mut self) -> (String, Vec<String>, usize) {
        let style = self.choices.of(8);
        let head = self.choices.one(&[
            "version: 1\n",
            "# ours\n\n---\nversion: 1 # one\n",
            "",
            "# a\ttab\nversion: 1\n",
        ]);
        self.text.push_str(head);
        let count = self.choices.of(5);
        if count == 0 {
            self.text.push_str("keys: []\n");
        } else if style == 0 {
            self.flow_list(count);
        } else {
            let column = self.choices.of(4);
            let behind = self.behind();
            writeln!(self.text, "keys:{behind}").unwrap();
            for number in 0..count {
                self.entry(number, column);
            }
        }
        if !head.contains("version") {
            self.text.push_str("version: 1\n");
        }
        match self.choices.of(5) {
            0 => self.text.push_str("# the end"),
            1 => self.text.truncate(self.text.trim_end().len()),
            2 => self.text.push_str("...\n"),
            _ => {}
        }
        let mut entries: Vec<String> = self
            .entries
            .iter()
            .map(|range| {
                self.text
                    .get(range.clone())
                    .unwrap_or_default()
                    .trim_end()
                    .to_owned()
            })
            .collect();
        if self.choices.of(4) == 0 {
            self.text = self.text.replace('\n', "\r\n");
            entries = entries
                .iter()
                .map(|entry| entry.replace('\n', "\r\n"))
                .collect();
        }
        if self.choices.of(6) == 0 {
            self.text.insert(0, '\u{feff}');
        }
        (self.text, entries, self.comments)
    }

    /// An object a line, or a list of objects.
    fn json(mut self, is_list: bool) -> (String, Vec<String>, usize) {
        let count = self.choices.of(5);
        let mut entries = Vec::new();
        for number in 0..count {
            let entry = self.flow_entry(number, false, 0);
            let tree: as_json::Value = as_json::of(&entry);
            entries.push(if is_list && self.choices.often() {
                serde_json::to_string_pretty(&tree).unwrap()
            } else {
                serde_json::to_string(&tree).unwrap()
            });
        }
        let text = if is_list {
            let comma = self.choices.one(&[",", ", ", ",\n  "]);
            let keys = entries.join(comma);
            self.choices
                .one(&[
                    "{\"version\": 1, \"keys\": [@]}",
                    "{\"keys\":[\n  @\n ] ,\"version\":1}\n",
                ])
                .replace('@', &keys)
        } else {
            let eol = self.choices.one(&["\n", "\r\n", "\n\n"]);
            entries.join(eol)
                + self.choices.one(&["\n", "\r\n", ""])
                + if count == 0 { "\n" } else { "" }
        };
        (text, entries, 0)
    }
}

/// The meaning of an entry as JSON.
mod as_json {
    use crate::document;
    use crate::document::Value as Tree;
    pub(super) use serde_json::Value;

    pub(super) fn of(text: &str) -> Value {
        value(&document::yaml(text).0.unwrap().value)
    }

    fn value(tree: &Tree<'_>) -> Value {
        match tree {
            Tree::Empty => Value::Null,
            Tree::Plain(text) if &**text == "true" => true.into(),
            Tree::Plain(text) if &**text == "false" => false.into(),
            Tree::Plain(text) | Tree::Quoted(text) => text.to_string().into(),
            Tree::List(items) => items.iter().map(|item| value(&item.value)).collect(),
            Tree::Map(fields) => fields
                .iter()
                .map(|field| (field.name.to_string(), value(&field.node.value)))
                .collect(),
        }
    }
}

/// Changes some fields. `gently`: none of them goes, and no list is another one, so that every comment has a place.
fn deed(choices: &mut Choices<'_>, key: &mut KeyFields, gently: bool) {
    match choices.of(10) {
        0 => key.enabled = !key.enabled,
        1 => key.record = !key.record,
        2 => {
            key.expires_at = Some(Timestamp::from_micros(
                1_900_000_000_000_000 + i64::from(choices.bytes[0]),
            ))
        }
        3 => {
            let word = choices.one(&TEXTS).replace(char::is_control, "");
            key.name = format!("{word}{}", key.id).into();
        }
        4 if !gently => key.description = None,
        5 => {
            let one = choices.one(&TEXTS);
            let other = choices.one(&TEXTS);
            key.tags = Some([("a".into(), one.into()), ("z".into(), other.into())].into());
            if gently {
                key.tags = Some(
                    [
                        ("a".into(), one.into()),
                        ("b".into(), other.into()),
                        ("n o".into(), "x".into()),
                    ]
                    .into(),
                );
            }
        }
        6 if !gently => {
            key.previous.clear();
            key.tags = None;
            key.rules = None;
        }
        7 => {
            let old = key.rules.as_deref();
            let methods = if gently {
                old.and_then(|rules| rules.methods().map(<[_]>::to_vec))
            } else {
                Some(vec![parse_method("PUT").unwrap()])
            };
            let paths = if gently {
                old.and_then(|rules| rules.paths().map(<[_]>::to_vec))
            } else {
                Some(vec![PathPattern::parse("/x/*").unwrap()])
            };
            let networks = vec![
                "10.0.0.0/8".parse().unwrap(),
                "2001:db8::/32".parse().unwrap(),
                "::1/128".parse().unwrap(),
            ];
            key.rules = Some(Box::new(
                Rules::new(methods, paths, Some(networks)).unwrap(),
            ));
        }
        8 => {
            let digest = digest(&format!("new {} {}", key.id, choices.at));
            if !gently {
                let expires_at = Timestamp::from_micros(1_800_000_000_000_001);
                let old = std::mem::replace(&mut key.digest, digest);
                key.previous.push(PreviousDigest {
                    digest: old,
                    expires_at,
                });
            }
            key.digest = digest;
            key.source = TokenSource::Digest;
            key.sealed = Some("v1:bm90IHJlYWxseSBzZWFsZWQ=".into());
            key.mask = Some("kg_aaaa…bbbb".into());
        }
        9 => {
            key.source = TokenSource::Digest;
            key.description = Some("sealed\n".into());
        }
        _ => key.description = Some(choices.one(&TEXTS).into()),
    }
}

/// Some edits, and which entries they are about.
fn edits(choices: &mut Choices<'_>, table: &KeyTable, gently: bool) -> (Vec<KeyEdit>, Vec<usize>) {
    let (mut edits, mut touched) = (Vec::new(), Vec::new());
    for (index, key) in table.keys().iter().enumerate() {
        match choices.of(3) {
            0 => continue,
            1 if !gently => edits.push(KeyEdit::Remove(key.id().clone())),
            _ => {
                let mut fields = key.to_fields();
                for _ in 0..=choices.of(3) {
                    deed(choices, &mut fields, gently);
                }
                edits.push(KeyEdit::Change(fields));
            }
        }
        touched.push(index);
    }
    for number in 0..choices.of(3) {
        let mut fields = KeyFields::new(
            &format!("added {number}"),
            digest(&format!("added {number}")),
        );
        deed(choices, &mut fields, gently);
        edits.push(KeyEdit::Add(fields));
    }
    (edits, touched)
}

fn check(
    file: &str,
    choices: &[u8],
    made: (String, Vec<String>, usize),
    wanted: &[u8],
    gently: bool,
) {
    let (text, entries, comments) = made;
    let read = parse(Path::new(file), text.as_bytes(), &mut Memory::default());
    let table = match read {
        Ok(read) => read.table,
        Err(problems) => panic!("{choices:?} makes no file: {}\n{text}", problems[0]),
    };
    assert_eq!(table.len(), entries.len(), "{text}");
    let mut wanted = Choices {
        bytes: wanted,
        at: 0,
    };
    let (edits, touched) = edits(&mut wanted, &table, gently);
    let new = after(file, &text, &edits);
    let mut rest = &*new;
    for (_, entry) in entries
        .iter()
        .enumerate()
        .filter(|(index, _)| !touched.contains(index))
    {
        let at = rest.find(entry.as_str());
        let at = at.unwrap_or_else(|| {
            panic!("an entry is not what it was: {entry}\n--\n{text}\n-- became\n{new}")
        });
        rest = &rest[at + entry.len()..];
    }
    for number in (1..=comments).filter(|_| gently) {
        let comment = format!("#c{number}.");
        let lost = text.contains(&comment) && !new.contains(&comment);
        assert!(!lost, "{comment} is lost:\n{text}\n-- became\n{new}");
    }
    if edits.is_empty() {
        assert_eq!(new, text);
    }
}

/// Whatever is a key file after somebody has typed something into it.
fn check_damaged(file: &str, text: &str, wanted: &[u8]) {
    let read = |bytes: &[u8]| parse(Path::new(file), bytes, &mut Memory::default());
    let Ok(KeyFile { table, .. }) = read(text.as_bytes()) else {
        return;
    };
    let (edits, _) = edits(
        &mut Choices {
            bytes: wanted,
            at: 0,
        },
        &table,
        false,
    );
    let Ok(keys) = intended(&table, &edits) else {
        return;
    };
    match edit(Path::new(file), text.as_bytes(), &table, &edits) {
        Err(error) => assert!(matches!(error, EditError::Shape { .. }), "{error}"),
        Ok(bytes) => {
            let new = String::from_utf8_lossy(&bytes);
            match read(&bytes) {
                Ok(read) => assert_eq!(read.table.keys(), keys, "{text}\n-- became\n{new}"),
                Err(problems) => panic!("{}\n{text}\n-- became\n{new}", problems[0]),
            }
        }
    }
}

const fn file(choices: &[u8]) -> File<'_> {
    File {
        choices: Choices {
            bytes: choices,
            at: 0,
        },
        text: String::new(),
        comments: 0,
        entries: Vec::new(),
    }
}

fn choices() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn yaml_reads_back_as_intended(choices in choices(), edits in proptest::collection::vec(any::<u8>(), 1..40), gently: bool) {
        check("keys.yaml", &choices, file(&choices).yaml(), &edits, gently);
    }

    #[test]
    fn a_damaged_file_is_edited_as_intended_or_not_at_all(
        choices in choices(),
        damage in proptest::collection::vec((any::<u16>(), 0..3_usize, "[-a:{}\\[\\], \n\r\t&*!'\"#|>?+é]{0,3}"), 1..4),
        edits in proptest::collection::vec(any::<u8>(), 1..40),
        which in 0..3_usize,
    ) {
        let made = if which == 0 { file(&choices).yaml() } else { file(&choices).json(which == 1) };
        let mut text: Vec<char> = made.0.chars().collect();
        for (at, cut, new) in &damage {
            let at = usize::from(*at) % (text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, new.chars());
        }
        check_damaged(["keys.yaml", "keys.json", "keys.ndjson"][which], &text.iter().collect::<String>(), &edits);
    }

    #[test]
    fn json_reads_back_as_intended(choices in choices(), edits in proptest::collection::vec(any::<u8>(), 1..40), is_list: bool) {
        let name = if is_list { "keys.json" } else { "keys.ndjson" };
        check(name, &choices, file(&choices).json(is_list), &edits, false);
    }
}
