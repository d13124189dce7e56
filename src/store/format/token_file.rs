//! Tokens in files of their own, such as mounted secrets.

use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::key::table::Revision;
use crate::key::token::TOKEN_CHARS_MAX;
use crate::store::file;

/// A token, and a line end.
const TOKEN_FILE_BYTES_MAX: usize = TOKEN_CHARS_MAX + 2;

/// A file that holds a token, as it was when the key file was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    /// Absolute, or relative to the working folder like the key file itself.
    pub path: PathBuf,
    /// What it held.
    pub revision: Revision,
}

impl TokenFile {
    /// Reads the file: what it is now, and its bytes.
    pub(super) fn read(path: PathBuf) -> io::Result<(Self, Vec<u8>)> {
        let mut bytes = read_file(&path)?;
        let revision = Revision::of(&bytes);
        Ok((Self { path, revision }, std::mem::take(&mut *bytes)))
    }

    /// Whether the file now holds something else, or can no longer be read.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        read_file(&self.path).map_or(true, |bytes| Revision::of(&bytes) != self.revision)
    }
}

/// Editors and `echo` end a file with a line break that is not meant.
pub(super) fn without_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // With room for all: what grows leaves behind where it was.
    let mut bytes = Zeroizing::new(Vec::with_capacity(TOKEN_FILE_BYTES_MAX + 2));
    let limit = u64::try_from(TOKEN_FILE_BYTES_MAX + 1).expect("a small number");
    file::regular(path)?.0.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
