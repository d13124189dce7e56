//! The tokens that entries hold in clear, as `token` or in the file that their `token_file` names: for Copy, the one
//! moment at which one is wanted again, and for sealing them all. Parses the entries that are asked for and, of a file
//! in the usual shape, no others. Not for: sealed copies.

use std::cell::OnceCell;
use std::path::Path;

use zeroize::Zeroize;

use crate::document;
use crate::document::Node;
use crate::document::Value;
use crate::key::token::Token;
use crate::store::format::Format;
use crate::store::format::json;
use crate::store::format::split::Piece;
use crate::store::format::split::lines;
use crate::store::format::split::split;
use crate::store::format::split::split_json;
use crate::store::format::text_of;
use crate::store::format::token_file::TokenFile;
use crate::store::format::token_file::without_line_end;

/// The entries of a correct key file.
pub(in crate::store) struct Entries<'a> {
    file: &'a Path,
    text: &'a str,
    /// The text of each entry, where the file is in the usual shape.
    pieces: Option<Vec<Piece<'a>>>,
    /// All entries, once they are needed.
    parsed: OnceCell<Vec<Node<'a>>>,
}

impl<'a> Entries<'a> {
    pub(in crate::store) fn of(file: &'a Path, bytes: &'a [u8]) -> Self {
        let text = text_of(file, bytes).unwrap_or_default();
        let pieces = match Format::of(file) {
            Format::Ndjson => Some(lines(text)),
            Format::Json => split_json(text).map(|(pieces, _)| pieces),
            Format::Yaml => split(text),
        };
        Self {
            file,
            text,
            pieces,
            parsed: OnceCell::new(),
        }
    }

    /// The token of entry `index`; none: it holds a digest, or its token file is gone.
    pub(in crate::store) fn token(&self, index: usize) -> Option<Token> {
        let piece = self.pieces.as_ref().and_then(|pieces| pieces.get(index));
        let alone = piece.and_then(|piece| match Format::of(self.file) {
            Format::Yaml => only(document::yaml(piece.text).0?),
            Format::Json | Format::Ndjson => json::placed(piece.text, 1).0,
        });
        if let Some(entry) = alone {
            return of_entry(self.file, &entry);
        }
        let all = || all(self.file, self.text).unwrap_or_default();
        of_entry(self.file, self.parsed.get_or_init(all).get(index)?)
    }
}

/// The entry of a text that holds one.
fn only(root: Node<'_>) -> Option<Node<'_>> {
    match root.value {
        Value::List(mut items) if items.len() == 1 => items.pop(),
        _ => None,
    }
}

/// The entries of a whole file.
fn all<'a>(file: &Path, text: &'a str) -> Option<Vec<Node<'a>>> {
    let root = match Format::of(file) {
        Format::Yaml => document::yaml(text).0?,
        Format::Json | Format::Ndjson => json::placed(text, 1).0?,
    };
    let Value::Map(fields) = root.value else {
        return None;
    };
    let keys = fields.into_iter().find(|field| field.name == "keys")?;
    match keys.node.value {
        Value::List(entries) => Some(entries),
        _ => None,
    }
}

fn of_entry(file: &Path, entry: &Node<'_>) -> Option<Token> {
    let Value::Map(fields) = &entry.value else {
        return None;
    };
    let field = fields
        .iter()
        .find(|field| field.name == "token" || field.name == "token_file")?;
    let (Value::Plain(text) | Value::Quoted(text)) = &field.node.value else {
        return None;
    };
    if field.name == "token" {
        return Token::parse(text.to_string()).ok();
    }
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let (_, bytes) = TokenFile::read(folder.join(&**text)).ok()?;
    let text = String::from_utf8(bytes).map_err(|error| error.into_bytes().zeroize());
    Token::parse(without_line_end(text.ok()?)).ok()
}
