//! Cuts a key file into the texts of its entries, so that only those that changed need a parser. In NDJSON they
//! are the lines, in JSON the objects of the list; in YAML it takes some care.
//! It cuts only what it is certain of: a file of `version: 1`, `keys:` and one block list, as people and
//! keygate write it. Anything else, and anything that turns out to be wrong, is for the whole parser:
//! `None` is never an error. A property test holds the pieces and the whole together.
//!
//! Why the pieces mean the same as the whole: within a block list, a line that begins with `- ` at the list's
//! own indentation always begins a new entry, unless it is within quotes or brackets; then the piece before
//! it ends with an open quote or bracket, does not parse alone, and the whole parser is asked. Anchors,
//! aliases and tags, which could reach across entries, are refused in keygate's files everywhere.

use crate::parts::short_lived;

/// The text of one entry, from its dash up to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    /// The line in the file that it begins in, from 1.
    pub(super) line: u64,
}

/// A digest and a name take more: what a list of the entries has to have room for.
const ENTRY_BYTES_MIN: usize = 100;

/// Where in the file a line is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    List,
    Tail,
}

/// The entries of `text`; none when it has not the plain shape.
pub(super) fn split(text: &str) -> Option<Vec<Piece<'_>>> {
    // Tabs as indentation, lone carriage returns as line ends, byte order marks within: rare and tricky.
    if memchr::memchr(b'\t', text.as_bytes()).is_some()
        || text.contains('\u{feff}')
        || has_lone_return(text)
    {
        return None;
    }
    let mut pieces = short_lived(text.len() / ENTRY_BYTES_MIN);
    let (mut part, mut versions, mut started) = (Part::Head, 0, false);
    let mut indent = None;
    let mut entry: Option<(usize, u64)> = None;
    let (mut at, mut number) = (0, 0);
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        number += 1;
        let content = line.trim_end_matches(['\n', '\r']);
        let spaces = content.bytes().take_while(|byte| *byte == b' ').count();
        let content = &content[spaces..];
        // What no parser sees but the whole one must not be what that one refuses.
        if entry.is_none() && !is_printable(content) {
            return None;
        }
        if content.is_empty() || content.starts_with('#') {
            continue; // belongs to the entry above, or to no one
        }
        if part == Part::List {
            let dash = content == "-" || content.starts_with("- ");
            let list_indent = *indent.get_or_insert(spaces);
            if spaces == list_indent && dash {
                if let Some((from, line)) = entry.replace((start, number)) {
                    pieces.push(Piece {
                        text: &text[from..start],
                        line,
                    });
                }
                continue;
            }
            if spaces > list_indent && entry.is_some() {
                continue;
            }
            if spaces > 0 {
                return None;
            }
            let (from, line) = entry.take()?;
            pieces.push(Piece {
                text: &text[from..start],
                line,
            });
            part = Part::Tail;
            if !is_printable(content) {
                return None;
            }
        }
        match content {
            _ if spaces > 0 => return None,
            "---" if !started => {}
            _ if is_setting(content, "version:", "1") => versions += 1,
            _ if part == Part::Head && is_setting(content, "keys:", "") => part = Part::List,
            _ => return None,
        }
        started = true;
    }
    if let Some((from, line)) = entry {
        pieces.push(Piece {
            text: &text[from..],
            line,
        });
    }
    (versions == 1 && !pieces.is_empty()).then_some(pieces)
}

/// The lines of an NDJSON file that hold a key.
pub(super) fn lines(text: &str) -> Vec<Piece<'_>> {
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    let mut start = 0;
    let pieces = ends.zip(1..).map(|(end, line)| {
        let text = &text[start..end];
        start = end + 1;
        Piece { text, line }
    });
    let mut list = short_lived(text.len() / ENTRY_BYTES_MIN);
    list.extend(pieces.filter(|piece| !piece.text.trim_ascii().is_empty()));
    list
}

/// The entries of a JSON file, and the file with an empty list in their place. When that is a key file, and each
/// piece is JSON, then so is the whole: there is one list in it, and it is the one that was cut.
pub(super) fn split_json(text: &str) -> Option<(Vec<Piece<'_>>, String)> {
    let bytes = text.as_bytes();
    let skip = |mut at: usize| {
        while bytes.get(at).is_some_and(|byte| b" \t\r\n".contains(byte)) {
            at += 1;
        }
        at
    };
    let colon = skip(text.find("\"keys\"")? + "\"keys\"".len());
    let open = skip(colon + 1);
    if bytes.get(colon) != Some(&b':') || bytes.get(open) != Some(&b'[') {
        return None;
    }
    let mut pieces = short_lived(text.len() / ENTRY_BYTES_MIN);
    let mut at = skip(open + 1);
    if bytes.get(at) != Some(&b']') {
        loop {
            let end = object_end(bytes, at)?;
            pieces.push(Piece {
                text: &text[at..end],
                line: 0,
            });
            at = skip(end);
            match bytes.get(at) {
                Some(b',') => at = skip(at + 1),
                Some(b']') => break,
                _ => return None,
            }
        }
    }
    Some((pieces, format!("{}{}", &text[..=open], &text[at..])))
}

/// Where the object that begins at `at` ends.
fn object_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    let mut depth = 0_usize;
    loop {
        at += memchr::memchr3(b'{', b'}', b'"', &bytes[at..])?;
        match bytes[at] {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {
                at += 1;
                loop {
                    at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
                    if bytes[at] == b'"' {
                        break;
                    }
                    at += 2; // an escape, and what it escapes
                }
            }
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Whether every character of the line may stand in YAML. Rather no than a guess.
fn is_printable(line: &str) -> bool {
    line.chars()
        .all(|character| !character.is_control() && !matches!(character, '\u{fffe}' | '\u{ffff}'))
}

/// Whether the line is `name` and `value`, and perhaps a comment.
fn is_setting(line: &str, name: &str, value: &str) -> bool {
    let Some(rest) = line.strip_prefix(name) else {
        return false;
    };
    let rest = match rest.find(" #") {
        Some(comment) => &rest[..comment],
        None => rest,
    };
    let separated = rest.is_empty() || rest.starts_with(' ');
    separated && rest.trim_matches(' ') == value
}

pub(super) fn has_lone_return(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'\r', bytes).any(|at| bytes.get(at + 1) != Some(&b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_file_is_cut_at_its_dashes() {
        let text = "# ours\nversion: 1 # the only one\n\nkeys:\n  # first\n  - name: a\n    digest: x # y\n\n  -\n    name: b\n  - {name: c}\n# end\n";
        let pieces = split(text).unwrap();
        let found: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.line, piece.text))
            .collect();
        assert_eq!(
            found,
            [
                (6, "  - name: a\n    digest: x # y\n\n"),
                (9, "  -\n    name: b\n"),
                (11, "  - {name: c}\n# end\n"),
            ]
        );
        let text = "---\r\nkeys:\r\n- name: a\r\n- name: b\r\nversion: 1\r\n";
        assert_eq!(split(text).unwrap().len(), 2);
    }

    #[test]
    fn json_is_cut_between_its_objects() {
        let text = r#"{"version": 1, "keys" : [ {"a": "}\"", "b": {}} ,{}
            ]}"#;
        let (pieces, rest) = split_json(text).unwrap();
        let texts: Vec<_> = pieces.iter().map(|piece| piece.text).collect();
        assert_eq!(texts, [r#"{"a": "}\"", "b": {}}"#, "{}"]);
        assert_eq!(rest, r#"{"version": 1, "keys" : []}"#);
        for text in [
            "",
            "{}",
            "{\"keys\"",
            "{\"keys\": [",
            "{\"keys\": [{",
            "{\"keys\": [{\"",
            "{\"keys\": [{\"\\",
            "{\"keys\": [{},]}",
            "{\"keys\": [{} {}]}",
            "{\"keys\": [1]}",
        ] {
            assert_eq!(split_json(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_parser() {
        for text in [
            "",
            "version: 1\n",
            "keys:\n  - a: b\n",
            "version: 1\nkeys: []\n",
            "version: 1\nkeys:\n",
            "version: 2\nkeys:\n  - a: b\n",
            "version: 1\nversion: 1\nkeys:\n  - a: b\n",
            "version: 1\nother: 1\nkeys:\n  - a: b\n",
            "version: 1\nkeys: &x\n  - a: b\n",
            "version: 1\nkeys:\n  - a: b\n - a: b\n",
            "version: 1\nkeys:\n  - a: b\n  c: d\n",
            "version: 1\nkeys:\n\t- a: b\n",
            "version: 1\nkeys:\n  - a: b\n---\n",
            "version: 1\nkeys:\n  - a: b\n...\n",
            "version: 1\nkeys:\n  - a: b\rc: d\n",
            "version: 1\nkeys:\n  - a: b\nkeys:\n  - a: b\n",
            "version: 1\nkeys:\n  a: b\n",
            "version: 1 # \u{1}\nkeys:\n  - a: b\n",
            "version: 1\nkeys:\n  # \u{fffe}\n  - a: b\n",
            "keys:\n  - a: b\nversion: 1 # \u{1d}\n",
            "note: '\nversion: 1\nkeys:\n  - a: b\n'\n",
        ] {
            assert_eq!(split(text), None, "{text:?}");
        }
    }
}
