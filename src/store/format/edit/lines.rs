//! Lines of a text: where they begin and end, how deep they are, and what lies between two tokens of YAML.
//! Lines end with `\n` or `\r\n`; files with other line ends are not edited.

use std::ops::Range;

/// Where the line of `at` begins.
pub(super) fn start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |end| end + 1)
}

/// Where the line of `at` ends, in front of its line end.
pub(super) fn end(text: &str, at: usize) -> usize {
    match text[at..].find('\n') {
        Some(length) => {
            let end = at + length;
            end - usize::from(end > at && text.as_bytes()[end - 1] == b'\r')
        }
        None => text.len(),
    }
}

/// Where the line after the one of `at` begins; the end of the text if there is none.
pub(super) fn next(text: &str, at: usize) -> usize {
    text[at..]
        .find('\n')
        .map_or(text.len(), |length| at + length + 1)
}

/// The end of the line above the one that begins at `start`, in front of its line end.
pub(super) fn end_above(text: &str, start: usize) -> usize {
    let above = text[..start].strip_suffix('\n').unwrap_or(&text[..start]);
    above.strip_suffix('\r').unwrap_or(above).len()
}

/// Whether what is written in this range ends at the beginning of a line: with text that keeps empty lines below it.
pub(super) fn keeps(text: &str, range: &Range<usize>) -> bool {
    !range.is_empty() && text[..range.end].ends_with('\n')
}

/// How lines end here: like the line of `at`, or else the one above it.
pub(super) fn eol(text: &str, at: usize) -> &'static str {
    let end = match text[at..].find('\n') {
        Some(length) => at + length,
        None => match text.rfind('\n') {
            Some(end) => end,
            None => return "\n",
        },
    };
    if text[..end].ends_with('\r') {
        "\r\n"
    } else {
        "\n"
    }
}

/// How many spaces there are in front of `at`, if nothing else is on its line there.
pub(super) fn indent(text: &str, at: usize) -> Option<usize> {
    let start = start(text, at);
    text[start..at]
        .bytes()
        .all(|byte| byte == b' ')
        .then_some(at - start)
}

/// The first character from `at` on that is neither white space nor in a comment.
pub(super) fn skip_blank(text: &str, mut at: usize) -> usize {
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'#' => at = end(text, at),
            _ => break,
        }
    }
    at
}

/// Where the lines end of what ends at `at` and begins in `column`: after the comments right below that are
/// indented deeper, in front of the line end.
pub(super) fn end_with_comments(text: &str, at: usize, column: usize) -> usize {
    let mut last = end(text, at);
    loop {
        let line = next(text, last);
        let content = text[line..].trim_start_matches(' ');
        let indent = text.len() - line - content.len();
        if line == text.len() || !content.starts_with('#') || indent <= column {
            return last;
        }
        last = end(text, line);
    }
}

/// Whether the line that begins at `start` has nothing on it.
pub(super) fn is_blank(text: &str, start: usize) -> bool {
    start < text.len() && text[start..end(text, start)].trim_ascii().is_empty()
}
