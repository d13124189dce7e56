//! `digest`, `token` and `token_file` of an entry: one of the three says what requests are checked against.
//! Tokens are hashed here and go no further. Not for: the other fields, which are `entry`'s.

use std::path::Path;

use crate::document::Entry;
use crate::document::Node;
use crate::key::token::Token;
use crate::problem::Problem;
use crate::store::format::entry::At;
use crate::store::format::entry::Checker;
use crate::store::format::entry::Draft;
use crate::store::format::scalar::digest;
use crate::store::format::token_file::TokenFile;
use crate::store::format::token_file::without_line_end;

/// Below this, a token that a person made up is called guessable.
const TOKEN_ENTROPY_BITS_MIN: f64 = 64.0;

impl Checker<'_> {
    /// `digest`, `token` or `token_file`: where the digest comes from.
    pub(super) fn secret<'n>(&mut self, at: At<'_>, field: &'n Entry<'_>, draft: &mut Draft<'n>) {
        let node = &field.node;
        if let Some((first, place)) = draft.secret {
            let line = place.map_or(0, |place| place.line);
            let what = format!("`{first}` is here already, in line {line}");
            let hint = "a key has one of `digest`, `token` and `token_file`";
            self.note(field.place, at.path(), what, Some(hint.to_owned()));
            return;
        }
        draft.secret = Some((&field.name, field.place));
        draft.places.digest = node.place;
        if at.field == "digest" {
            draft.digest = self.parsed(at, node, digest);
            return;
        }
        let Some(text) = self.text(at, node) else {
            return;
        };
        let text = if at.field == "token" {
            text.to_owned()
        } else {
            let path = self
                .file
                .parent()
                .unwrap_or_else(|| Path::new(""))
                .join(text);
            match TokenFile::read(path.clone()) {
                Ok((token_file, bytes)) => {
                    draft.token_file = Some(token_file);
                    match String::from_utf8(bytes) {
                        Ok(text) => without_line_end(text),
                        Err(_) => {
                            return self.note(
                                node.place,
                                at.path(),
                                "the file is not text".to_owned(),
                                None,
                            );
                        }
                    }
                }
                Err(error) => {
                    let what = format!("cannot read the token file: {}: {error}", path.display());
                    return self.note(node.place, at.path(), what, None);
                }
            }
        };
        match Token::parse(text) {
            Ok(token) => {
                draft.digest = Some(token.digest());
                draft.mask = draft.mask.take().or_else(|| Some(token.mask().into()));
                self.warn_if_guessable(at, node, &token);
            }
            Err(error) => self.note(node.place, at.path(), error.to_string(), None),
        }
    }

    fn warn_if_guessable(&mut self, at: At<'_>, node: &Node<'_>, token: &Token) {
        let bits = token.entropy_bits();
        if bits < TOKEN_ENTROPY_BITS_MIN {
            self.warnings.push(Problem {
                file: self.file.to_owned(),
                place: node.place,
                path: at.path(),
                what: format!(
                    "the token looks guessable: about {bits:.0} bits, where 64 are the least"
                ),
                hint: Some("take a random one: openssl rand -base64 24".to_owned()),
            });
        }
    }
}
