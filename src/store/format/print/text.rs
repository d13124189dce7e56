//! How a value is spelt: in YAML as plain as is safe for every reader, of version 1.1 and of 1.2, else in double
//! quotes with the escapes that JSON has too. Letters of all scripts stay readable; what cannot be seen is escaped.
//! Not for: which values a key has.

use std::fmt::Write as _;

use crate::document::Entry;
use crate::document::Node;
use crate::document::Value;

/// A list or map is written on one line if it takes no more than this.
const INLINE_CHARS_MAX: usize = 72;

/// Where a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::format) struct Style {
    /// Within brackets, where commas, brackets and colons mean more.
    pub(in crate::store::format) flow: bool,
    /// Names and text always in quotes.
    pub(in crate::store::format) quoted: bool,
    /// What stands between a name and its value.
    pub(in crate::store::format) colon: &'static str,
    /// What stands between two items on one line.
    pub(in crate::store::format) comma: &'static str,
}

impl Style {
    /// YAML, one field a line.
    pub(in crate::store::format) const BLOCK: Self = Self {
        flow: false,
        quoted: false,
        colon: ": ",
        comma: ", ",
    };
    /// JSON on one line.
    pub(in crate::store::format) const JSON: Self = Self {
        flow: true,
        quoted: true,
        colon: ": ",
        comma: ", ",
    };
}

/// The value on one line.
pub(in crate::store::format) fn inline(value: &Value<'_>, style: Style) -> String {
    let mut out = String::new();
    write_inline(&mut out, value, style);
    out
}

/// A name, with quotes if it needs or is to have them.
pub(in crate::store::format) fn name(text: &str, style: Style) -> String {
    let mut out = String::new();
    write_text(&mut out, text, style);
    out
}

/// Fields from the current position on, in lines that begin at `column`; without a line end at the end.
pub(in crate::store::format) fn fields_block(
    out: &mut String,
    fields: &[Entry<'_>],
    column: usize,
    eol: &str,
    style: Style,
) {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            line(out, column, eol);
        }
        write_text(out, &field.name, style);
        if fits_inline(&field.node.value, style) {
            out.push_str(": ");
            write_inline(out, &field.node.value, style);
        } else {
            out.push(':');
            line(out, column + 2, eol);
            block(out, &field.node.value, column + 2, eol, style);
        }
    }
}

/// A value from the current position on, in lines that begin at `column`; without a line end at the end.
pub(in crate::store::format) fn block(
    out: &mut String,
    value: &Value<'_>,
    column: usize,
    eol: &str,
    style: Style,
) {
    match value {
        Value::Map(fields) if !fields.is_empty() => fields_block(out, fields, column, eol, style),
        Value::List(items) if !items.is_empty() => {
            for (index, Node { value, .. }) in items.iter().enumerate() {
                if index > 0 {
                    line(out, column, eol);
                }
                out.push_str("- ");
                block(out, value, column + 2, eol, style);
            }
        }
        value => write_inline(out, value, style),
    }
}

fn line(out: &mut String, column: usize, eol: &str) {
    out.push_str(eol);
    out.extend(std::iter::repeat_n(' ', column));
}

/// Whether the value is short and simple enough for the line of its name.
fn fits_inline(value: &Value<'_>, style: Style) -> bool {
    let is_scalar = |node: &Node<'_>| !matches!(node.value, Value::List(_) | Value::Map(_));
    let simple = match value {
        Value::Empty | Value::Plain(_) | Value::Quoted(_) => return true,
        Value::List(items) => items.iter().all(is_scalar),
        Value::Map(fields) => fields.iter().all(|field| is_scalar(&field.node)),
    };
    simple && inline(value, style).chars().count() <= INLINE_CHARS_MAX
}

fn write_inline(out: &mut String, value: &Value<'_>, style: Style) {
    let inner = Style {
        flow: true,
        ..style
    };
    match value {
        Value::Empty => out.push_str("null"),
        Value::Plain(text) if !(style.quoted || style.flow && text.contains(':')) => {
            out.push_str(text);
        }
        Value::Plain(text) if matches!(&**text, "true" | "false") => out.push_str(text),
        Value::Plain(text) | Value::Quoted(text) => write_text(out, text, style),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { style.comma } else { "" });
                write_inline(out, &item.value, inner);
            }
            out.push(']');
        }
        Value::Map(fields) => {
            out.push('{');
            for (index, field) in fields.iter().enumerate() {
                out.push_str(if index > 0 { style.comma } else { "" });
                write_text(out, &field.name, inner);
                out.push_str(style.colon);
                write_inline(out, &field.node.value, inner);
            }
            out.push('}');
        }
    }
}

fn write_text(out: &mut String, text: &str, style: Style) {
    if !style.quoted && is_plain(text, style.flow) {
        out.push_str(text);
    } else {
        write_quoted(out, text);
    }
}

/// Whether every YAML reader takes the text without quotes for this very text. Rather no than a guess.
fn is_plain(text: &str, flow: bool) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    // Numbers, dates, and times of 1.1 (`190:20:30`) begin with a digit, sign or dot; no network does but has a `/`.
    let starts_well = first.is_alphabetic()
        || matches!(first, '_' | '/')
        || (first.is_ascii_digit() && text.contains('/') && !text.contains(':'));
    if !starts_well || text.ends_with(' ') || is_word_of_yaml(text) {
        return false;
    }
    let mut before = ' ';
    let fits = |character: char| {
        let fits = match character {
            ':' => !flow,
            ' ' => before != ':',
            '#' => before != ' ',
            '_' | '-' | '.' | '/' | '+' | '=' | '@' | '(' | ')' | ';' | '\'' | '*' | '!' | '?'
            | '&' | '~' | '%' | '$' | '<' | '>' | '^' | '|' | '…' => true,
            _ => character.is_alphanumeric(),
        };
        before = character;
        fits
    };
    text.chars().all(fits) && !text.ends_with(':')
}

/// Words that some reader takes for something else than text.
fn is_word_of_yaml(text: &str) -> bool {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// In double quotes, for YAML and JSON alike.
fn write_quoted(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_unseen(character) => {
                write!(out, "\\u{:04x}", u32::from(character))
                    .expect("a string takes what is written");
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// Control characters, line ends of other standards, marks, and what turns the direction of the line around.
/// All of them are in the first plane, so four digits are enough.
const fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{a0}'
            | '\u{ad}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff0}'..='\u{ffff}'
    )
}
