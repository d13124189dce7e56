//! Keys in a file that people edit as well. Readers take it whole or not at all. An edit holds a lock that other
//! keygates respect, and puts the new text in the old one's place in one step that an editor cannot slip into
//! unnoticed (`replace`). Not for: what stands in the file, which is `format`.

mod aside;
mod lock;
mod read;
mod replace;
mod rest;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroize;

use crate::clock::Clock;
use crate::key::Key;
use crate::key::KeyId;
use crate::key::TokenSource;
use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::key::token::Token;
use crate::problem::Problem;
use crate::store::KeyChanges;
use crate::store::KeyStore;
use crate::store::Keys;
use crate::store::Loaded;
use crate::store::difference::go_on_counting;
use crate::store::edit::EditError;
use crate::store::edit::KeyEdit;
use crate::store::file::lock::LockError;
use crate::store::file::lock::Locked;
use crate::store::file::read::changed;
use crate::store::file::replace::ReplaceError;
use crate::store::file::replace::Seen;
use crate::store::file::rest::Rest;
use crate::store::format;
use crate::store::format::Format;
use crate::store::format::Memory;
use crate::watch::Watch;

pub(super) use crate::store::file::read::make_if_absent;
pub(super) use crate::store::file::read::read_whole;
pub(super) use crate::store::file::read::regular;

/// A key file. Blocking; knows the text that it read last, so that a reload and an edit cost what changed.
#[derive(Debug)]
pub struct FileStore {
    file: PathBuf,
    memory: Memory,
    last: Option<Last>,
    /// The permission bits, once they are known.
    mode: Option<u32>,
}

/// The last good reading.
#[derive(Debug)]
struct Last {
    keys: Keys,
    /// Whether somebody was given it, and need not be given it again.
    given: bool,
    /// What the file was like; none: it was not at rest, and has to be read to know.
    rest: Option<Rest>,
}

impl FileStore {
    /// The file of this name, which need not exist yet.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self {
            file,
            memory: Memory::default(),
            last: None,
            mode: None,
        }
    }

    /// [`KeyStore::apply`] that calls `note` with the new keys while it still holds the lock: they are live, and nobody
    /// who waits for the lock goes on before they are noted.
    ///
    /// # Errors
    /// As with `apply`; then nothing is noted.
    pub fn apply_noted(
        &mut self,
        edits: &[KeyEdit],
        expected: &Revision,
        note: impl FnOnce(&Keys),
    ) -> Result<Keys, EditError> {
        let locked = match Locked::wait(&self.file) {
            Ok(locked) => locked,
            Err(LockError::Busy) => {
                return Err(EditError::Locked {
                    path: self.file.clone(),
                });
            }
            Err(LockError::System(error)) => return Err(self.unreadable(&error)),
        };
        aside::remove_leftovers(&locked);
        match self.edit(&locked, edits, expected)? {
            Edited::Done(keys, held) => {
                note(&keys);
                let written = held.as_ref().and_then(|file| file.metadata().ok());
                let now = Clock::system().wall();
                drop((held, locked));
                self.last = Some(Last {
                    keys: keys.clone(),
                    given: true,
                    rest: written.and_then(|metadata| Rest::of(&metadata, now)),
                });
                Ok(keys)
            }
            Edited::Moved => {
                drop(locked);
                Err(self.overtaken())
            }
        }
    }

    /// [`KeyStore::reveal`] of all keys that are `wanted`: reads the file once. Those without a token in clear are left
    /// out.
    ///
    /// # Errors
    /// [`EditError::Broken`].
    pub fn reveal_all(
        &mut self,
        wanted: impl Fn(&Key) -> bool,
    ) -> Result<HashMap<KeyId, Token>, EditError> {
        let (mut bytes, _) = read_whole(&self.file).map_err(|error| self.unreadable(&error))?;
        let revision = Revision::of(&bytes);
        let file = self.file.clone();
        let tokens = self
            .keys_of(&bytes, revision)
            .map_err(|problems| EditError::Broken { problems })
            .map(|last| {
                let entries = format::reveal::Entries::of(&file, &bytes);
                let keys = last.keys.table.keys().iter().enumerate();
                let keys = keys.filter(|(_, key)| wanted(key));
                keys.filter_map(|(index, key)| {
                    let token = entries.token(index)?;
                    (token.digest() == *key.digest()).then(|| (key.id().clone(), token))
                })
                .collect()
            });
        bytes.zeroize();
        tokens
    }

    /// Returns when no other keygate is in the middle of an edit of the file, or has been for too long.
    pub fn wait_for_others(file: &Path) {
        drop(Locked::wait(file));
    }

    /// The keys of these bytes, which are what the file holds. Leaves them in `self.last`.
    fn keys_of(&mut self, bytes: &[u8], revision: Revision) -> Result<&mut Last, Vec<Problem>> {
        let known = self.last.take_if(|last| {
            *last.keys.table.revision() == revision
                && !last
                    .keys
                    .token_files
                    .iter()
                    .any(format::TokenFile::has_changed)
        });
        let last = match known {
            Some(last) => last,
            None => Last {
                keys: self.parse(bytes, revision)?,
                given: false,
                rest: None,
            },
        };
        Ok(self.last.insert(last))
    }

    /// The keys of these bytes. Those that were there before go on with their counters.
    fn parse(&mut self, bytes: &[u8], revision: Revision) -> Result<Keys, Vec<Problem>> {
        let new = format::parse_revision(&self.file, bytes, revision, &mut self.memory)?;
        if let Some(old) = &self.last {
            go_on_counting(&old.keys.table, &new.table);
        }
        Ok(Keys {
            table: Arc::new(new.table),
            token_files: new.token_files,
            warnings: new.warnings,
        })
    }

    /// Under the lock: the edit of the text, and the text in its place.
    fn edit(
        &mut self,
        locked: &Locked,
        edits: &[KeyEdit],
        expected: &Revision,
    ) -> Result<Edited, EditError> {
        let (mut bytes, seen) = Seen::read(locked).map_err(|error| self.unreadable(&error))?;
        let file = self.file.clone();
        let last = match self.keys_of(&bytes, seen.revision()) {
            Ok(last) => last,
            Err(problems) => {
                bytes.zeroize();
                return Err(EditError::Broken { problems });
            }
        };
        let old = last.keys.clone();
        let outcome = if seen.revision() == *expected {
            format::edit::edit(&file, &bytes, &old.table, edits)
        } else {
            Err(EditError::Stale {
                current: seen.revision(),
            })
        };
        let same = outcome.as_ref().is_ok_and(|text| *text == bytes);
        wipe_tokens(&mut bytes, &old.table);
        drop(bytes); // of a million keys they are 200 MB
        let mut text = outcome?;
        if same {
            wipe_tokens(&mut text, &old.table);
            return Ok(Edited::Done(old, None));
        }
        let written = self.write(locked, &seen, edits, &old, &text);
        wipe_tokens(&mut text, &old.table);
        written
    }

    /// Under the lock: puts the new text in the place of that of `old`, if it is what was meant.
    fn write(
        &mut self,
        locked: &Locked,
        seen: &Seen,
        edits: &[KeyEdit],
        old: &Keys,
        text: &[u8],
    ) -> Result<Edited, EditError> {
        // Waiting for the disk and reading a million keys take about as long: together.
        let (keys, prepared) = std::thread::scope(|scope| {
            let preparing = scope.spawn(|| replace::prepare(locked, seen, text));
            let keys = self.read_back(edits, old, text);
            let prepared = preparing.join();
            (
                keys,
                prepared.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        let keys = keys?;
        match prepared.and_then(|prepared| replace::replace(locked, seen, text, prepared)) {
            Ok(held) => Ok(Edited::Done(keys, held)),
            Err(ReplaceError::Moved) => Ok(Edited::Moved),
            Err(ReplaceError::ReadOnly(source)) => Err(EditError::ReadOnly {
                path: self.file.clone(),
                source,
                entry: entry_of(&self.file, edits),
            }),
            Err(ReplaceError::Unwritable(source)) => Err(EditError::Unwritable {
                path: self.file.clone(),
                source,
            }),
        }
    }

    /// The keys of the new text, if they are what was meant.
    fn read_back(&mut self, edits: &[KeyEdit], old: &Keys, text: &[u8]) -> Result<Keys, EditError> {
        let keys = self
            .parse(text, Revision::of(text))
            .map_err(|problems| self.misfit(problems.first()))?;
        if format::edit::intended(&old.table, edits)? == keys.table.keys() {
            Ok(keys)
        } else {
            Err(self.misfit(None))
        }
    }

    /// The edited text has a problem, or does not mean what was asked for: fields that no key may have, or a fault of
    /// the editor. It costs an edit and nothing else.
    fn misfit(&self, problem: Option<&Problem>) -> EditError {
        let what = problem.map_or(
            "the entry has a shape that the edit does not fit into",
            |problem| &problem.what,
        );
        tracing::error!(
            file = %self.file.display(),
            problem = problem.map(ToString::to_string),
            hint = "make this edit by hand, and please report the shape of the entry",
            "an edit of the key file came out wrong: nothing was written"
        );
        EditError::Shape {
            what: what.to_owned(),
        }
    }

    /// Somebody replaced or changed the file while the edit was made.
    fn overtaken(&mut self) -> EditError {
        match self.load(None) {
            Ok(_) => {}
            Err(problems) => return EditError::Broken { problems },
        }
        let last = self
            .last
            .as_mut()
            .expect("a load that succeeds leaves its keys");
        last.given = false; // the keys went to nobody
        EditError::Stale {
            current: *last.keys.table.revision(),
        }
    }

    fn unreadable(&self, error: &io::Error) -> EditError {
        if error.kind() == io::ErrorKind::ResourceBusy {
            return EditError::Locked {
                path: self.file.clone(),
            };
        }
        EditError::Broken {
            problems: vec![unusable(&self.file, "cannot read the key file", error)],
        }
    }

    fn note_mode(&mut self, mode: u32) {
        if self.mode.replace(mode) != Some(mode) {
            warn_if_readable_by_others(&self.file, mode);
        }
    }
}

/// What came of an edit.
enum Edited {
    /// The keys, and the new file, locked.
    Done(Keys, Option<File>),
    /// The file is another one by now.
    Moved,
}

impl KeyStore for FileStore {
    type Changes = FileChanges;

    fn place(&self) -> &Path {
        &self.file
    }

    fn changes(&self) -> FileChanges {
        FileChanges {
            file: self.file.clone(),
            watch: Watch::start(vec![self.file.clone()]),
        }
    }

    fn load(&mut self, known: Option<&Revision>) -> Result<Loaded, Vec<Problem>> {
        if let Some(last) = &self.last
            && last.given
            && known == Some(last.keys.table.revision())
            && last.rest.is_some_and(|rest| rest.is_at(&self.file))
            && !last
                .keys
                .token_files
                .iter()
                .any(format::TokenFile::has_changed)
        {
            return Ok(Loaded::Unchanged);
        }
        let begun = Clock::system().wall();
        let (mut bytes, metadata) = read_whole(&self.file)
            .map_err(|error| vec![unusable(&self.file, "cannot read the key file", &error)])?;
        self.note_mode(metadata.mode() & 0o777);
        let revision = Revision::of(&bytes);
        let last = match self.keys_of(&bytes, revision) {
            Ok(last) => last,
            Err(problems) => {
                bytes.zeroize();
                return Err(problems);
            }
        };
        wipe_tokens(&mut bytes, &last.keys.table);
        last.rest = Rest::of(&metadata, begun);
        if std::mem::replace(&mut last.given, true) && known == Some(&revision) {
            return Ok(Loaded::Unchanged);
        }
        Ok(Loaded::Keys {
            keys: last.keys.clone(),
            changed: changed(&metadata),
        })
    }

    fn apply(&mut self, edits: &[KeyEdit], expected: &Revision) -> Result<Keys, EditError> {
        self.apply_noted(edits, expected, |_| ())
    }

    fn reveal(&mut self, id: &KeyId) -> Result<Token, EditError> {
        let unknown = || EditError::Unknown { id: id.clone() };
        let mut tokens = self.reveal_all(|key| key.id() == id)?;
        tokens.remove(id).ok_or_else(unknown)
    }

    fn is_read_only(&self) -> bool {
        replace::is_denied(&self.file)
    }

    fn tidy(&mut self) {
        if let Ok(locked) = Locked::try_now(&self.file) {
            aside::remove_leftovers(&locked);
        }
    }
}

/// Tells about changes of a key file and of the token files that it names: see [`Watch`].
#[derive(Debug)]
pub struct FileChanges {
    file: PathBuf,
    watch: Watch,
}

impl KeyChanges for FileChanges {
    fn follow(&mut self, keys: &Keys) {
        let token_files = keys.token_files.iter().map(|file| file.path.clone());
        self.watch.set_files(
            std::iter::once(self.file.clone())
                .chain(token_files)
                .collect(),
        );
    }

    async fn changed(&mut self) {
        self.watch.changed().await;
    }
}

/// The entries that the edits would have written, for whoever edits the file where it comes from.
fn entry_of(file: &Path, edits: &[KeyEdit]) -> Option<String> {
    let format = Format::of(file);
    let entries: Vec<String> = edits
        .iter()
        .filter_map(|edit| match edit {
            KeyEdit::Add(fields) | KeyEdit::Change(fields) => {
                Some(format::print::entry(format, fields))
            }
            KeyEdit::Remove(_) => None,
        })
        .collect();
    (!entries.is_empty()).then(|| entries.join("\n"))
}

/// Wipes the text of a file that holds tokens in clear. Not of every file: that of a million keys takes a while.
fn wipe_tokens(bytes: &mut Vec<u8>, table: &KeyTable) {
    let in_clear = |key: &Arc<Key>| key.source() == TokenSource::Token;
    if table.keys().iter().any(in_clear) {
        bytes.zeroize();
    }
}

/// A file that cannot be used at all, and what to do about it.
pub(super) fn unusable(file: &Path, what: &str, error: &io::Error) -> Problem {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => {
            Some("make it (version: 1, keys: []), or correct `keys.file` in keygate.yaml")
        }
        io::ErrorKind::PermissionDenied => {
            Some("let keygate's user read the file and search its folder")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("name a key file with `keys.file`, or make the data folder writable")
        }
        _ => None,
    };
    Problem {
        file: file.to_owned(),
        place: None,
        path: String::new(),
        what: format!("{what}: {error}"),
        hint: hint.map(str::to_owned),
    }
}

/// Key files hold tokens of those who write them in. Kubernetes and compose mount secrets with wide modes, so this
/// is no reason to refuse one.
fn warn_if_readable_by_others(file: &Path, mode: u32) {
    if mode & 0o077 != 0 {
        let (file, mode) = (file.display(), format!("{mode:04o}"));
        tracing::warn!(%file, mode, hint = format!("chmod 600 {file}"), "others than its owner may read the key file");
    }
}
