//! What every command about keys works with: the configuration, the key file behind its lock, the secret file and
//! the audit log. One way for all changes: load, plan, apply to what was loaded, audit. When somebody else was
//! faster, the plan is made again from what is there then, often enough for dozens at once: whoever sits at a shell
//! has not looked at an older state that must not be overwritten.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::Audit;
use crate::audit::AuditError;
use crate::audit::Event;
use crate::audit::hand_to_owner_of;
use crate::cli::environment;
use crate::cli::keys::Output;
use crate::cli::keys::failure::Failure;
use crate::cli::keys::failure::called;
use crate::cli::keys::options::PlaceArgs;
use crate::cli::print;
use crate::cli::user;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config;
use crate::config::Config;
use crate::config::Overrides;
use crate::key::Key;
use crate::key::KeyId;
use crate::key::TokenSource;
use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::key::token::Token;
use crate::store::FileStore;
use crate::store::KeyStore;
use crate::store::Keys;
use crate::store::Loaded;
use crate::store::edit::EditError;
use crate::store::edit::KeyEdit;
use crate::store::reload;
use crate::store::seal::SecretFile;
use crate::store::seal::Secrets;

/// How often an edit is made again on what others have left. Each time one of them has won: so many may start at once.
const TRIES: u32 = 50;
/// Beyond this many, the audit log has one line for all.
const EVENTS_MAX: usize = 1_000;
/// Names that are shown when none is right.
const NEAR_MAX: usize = 5;
/// No command here talks to the upstream, so a configuration without one is good enough.
const SOME_UPSTREAM: &str = "unix:/nowhere";

pub(in crate::cli) struct Desk {
    pub(in crate::cli) config: Config,
    pub(super) output: Output,
    pub(super) clock: Clock,
    store: FileStore,
    warned: bool,
}

/// What a command wants to change.
pub(super) struct Change<T> {
    pub(super) edits: Vec<KeyEdit>,
    /// What changing a key is called in the audit log.
    pub(super) action: Action,
    /// One line for all, with this detail.
    pub(super) together: Option<String>,
    /// What the command goes on with.
    pub(super) out: T,
}

/// What a change came to.
pub(super) struct Changed<T> {
    pub(super) before: Arc<KeyTable>,
    pub(super) after: Arc<KeyTable>,
    pub(super) out: T,
}

/// The configuration that is meant.
pub(in crate::cli) fn configuration(place: &PlaceArgs) -> Result<Config, Failure> {
    let overrides = Overrides {
        config: place.config.clone(),
        data_dir: place.data_dir.clone(),
        upstream: Some(SOME_UPSTREAM.to_owned()),
        ..Overrides::default()
    };
    let loaded = config::load(&overrides, environment());
    Ok(loaded.map_err(Failure::Problems)?.config)
}

impl Desk {
    pub(super) fn open(place: &PlaceArgs, output: Output) -> Result<Self, Failure> {
        Ok(Self {
            output,
            ..Self::of(configuration(place)?)
        })
    }

    /// With this configuration, for people.
    pub(in crate::cli) fn of(config: Config) -> Self {
        Self {
            store: FileStore::new(config.keys.file.clone()),
            config,
            output: Output::Table,
            clock: Clock::system(),
            warned: false,
        }
    }

    /// This second: fractions are noise in a file that people read.
    pub(in crate::cli) fn now(&self) -> Timestamp {
        let micros = self.clock.wall().as_micros();
        Timestamp::from_micros(micros - micros.rem_euclid(1_000_000))
    }

    /// The keys as they are. A default key file that is not there yet has none.
    pub(in crate::cli) fn load(&mut self) -> Result<Arc<KeyTable>, Failure> {
        if self.is_new() {
            let none = KeyTable::build(Vec::new(), Revision::of(b""));
            return Ok(Arc::new(none.expect("no two keys are alike")));
        }
        match self.store.load(None) {
            Ok(Loaded::Keys { keys, .. }) => Ok(keys.table),
            Ok(Loaded::Unchanged) => unreachable!("no revision was said to be known"),
            Err(problems) => Err(Failure::Problems(problems)),
        }
    }

    /// Makes the change that `plan` wants, and writes it down in the audit log.
    pub(super) fn change<T>(
        &mut self,
        mut plan: impl FnMut(&mut Self, &KeyTable) -> Result<Change<T>, Failure>,
    ) -> Result<Changed<T>, Failure> {
        let mut tries = 1;
        loop {
            let before = self.load()?;
            let Change {
                edits,
                action,
                together,
                out,
            } = plan(self, &before)?;
            if edits.is_empty() {
                let after = Arc::clone(&before);
                return Ok(Changed { before, after, out });
            }
            let before = self.make_if_new(before)?;
            let mut noted = Ok(());
            let log = Log::of(&self.config, &self.clock);
            // A keygate that runs does not take for a hand edit what is in the log when the file is let go.
            let note = |keys: &Keys| {
                noted = log.edits(&edits, action, together, (&before, &keys.table));
            };
            match self.store.apply_noted(&edits, before.revision(), note) {
                Ok(keys) => {
                    noted.map_err(Failure::DoneUnaudited)?;
                    let after = keys.table;
                    return Ok(Changed { before, after, out });
                }
                Err(EditError::Stale { .. }) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The key with this id or this name.
    pub(super) fn find<'t>(
        &self,
        table: &'t KeyTable,
        wanted: &str,
    ) -> Result<&'t Arc<Key>, Failure> {
        let by_id = KeyId::parse(wanted).ok().and_then(|id| table.get(&id));
        let by_name = table.keys().iter().find(|key| key.name() == wanted);
        match (by_id, by_name) {
            (Some(one), Some(other)) if one.id() != other.id() => Err(Failure::Ambiguous {
                wanted: wanted.to_owned(),
                candidates: [one, other].map(|key| called(key.name(), key.id())),
            }),
            (Some(key), _) | (None, Some(key)) => Ok(key),
            (None, None) => {
                let folded = wanted.to_lowercase();
                let near = table.keys().iter().filter(|key| {
                    !folded.is_empty() && key.name().to_lowercase().contains(&folded)
                });
                let near = near.take(NEAR_MAX);
                Err(Failure::Unknown {
                    wanted: wanted.to_owned(),
                    near: near.map(|key| called(key.name(), key.id())).collect(),
                })
            }
        }
    }

    /// The token of a key that stands in the key file, or in a file of its own.
    pub(super) fn reveal(&mut self, id: &KeyId) -> Result<Token, Failure> {
        Ok(self.store.reveal(id)?)
    }

    /// The tokens of all keys for which they stand somewhere in clear.
    pub(super) fn reveal_all(&mut self) -> Result<HashMap<KeyId, Token>, Failure> {
        let in_clear = |key: &Key| key.source() != TokenSource::Digest;
        Ok(self.store.reveal_all(in_clear)?)
    }

    /// The secret file.
    pub(super) fn secret_file(&self) -> SecretFile {
        SecretFile::new(self.config.keys.secret_file.clone())
    }

    /// What new tokens are sealed with; none, with a warning, when there is nothing to seal with: keys are made all
    /// the same. `wanted`: whether a copy is wanted at all.
    pub(super) fn secrets(&mut self, table: &KeyTable, wanted: bool) -> Option<Secrets> {
        if !wanted || !self.config.keys.recoverable {
            return None;
        }
        let file = self.secret_file();
        let sealed_exist = table.keys().iter().any(|key| key.sealed().is_some());
        let is_new = !file.path().exists();
        let made = file.make_if_absent(sealed_exist);
        if is_new {
            hand_over(file.path());
        }
        let opened = match made {
            Ok(_) => file.open().map_err(|error| error.to_string()),
            Err(error) => Err(format!(
                "cannot make the secret file: {}: {error}",
                file.path().display()
            )),
        };
        match opened {
            Ok(secrets) => {
                if let Some(warning) = secrets.warning() {
                    self.warn_once(&warning.to_string());
                }
                Some(secrets)
            }
            Err(error) => {
                self.warn_once(&format!("no copy of the token is kept: {error}"));
                None
            }
        }
    }

    /// What [`Desk::secrets`] would give, for who only wants to know: nothing is made. Where the secret file would be
    /// made now, it is a secret that nobody keeps.
    pub(super) fn secrets_as_if(&mut self, table: &KeyTable) -> Option<Secrets> {
        let sealed_exist = table.keys().iter().any(|key| key.sealed().is_some());
        let is_there = self.secret_file().path().symlink_metadata().is_ok();
        if is_there || sealed_exist || !self.config.keys.recoverable {
            return self.secrets(table, true);
        }
        Some(Secrets::of_nobody())
    }

    /// Writes an event to the audit log, if there is a data folder to keep it in.
    pub(super) fn audit(&self, mut event: Event<'_>) -> Result<(), AuditError> {
        event.actor = Actor::Shell(user::name());
        Log::of(&self.config, &self.clock).write(&[event])
    }

    /// The same for who has no key in mind.
    pub(in crate::cli) fn audit_plain(
        &self,
        action: Action,
        detail: String,
    ) -> Result<(), AuditError> {
        self.audit(Event {
            detail: Some(detail),
            ..Event::new(Actor::Unknown, action)
        })
    }

    fn warn_once(&mut self, warning: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            print::note(format_args!("warning: {warning}"));
        }
    }

    /// Whether the key file is the default one, and still to be made.
    fn is_new(&self) -> bool {
        !self.config.keys.configured && !self.config.keys.file.exists()
    }

    /// Makes the default key file and its folder, as `run` would. Returns the table that edits are made on.
    fn make_if_new(&mut self, table: Arc<KeyTable>) -> Result<Arc<KeyTable>, Failure> {
        if !self.is_new() {
            return Ok(table);
        }
        let folder = &self.config.data_dir;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| Failure::File {
                act: "make the data folder",
                path: folder.clone(),
                source,
            })?;
        reload::load_initial(&self.config.keys.file, false).map_err(Failure::Problems)?;
        hand_over(&self.config.keys.file);
        self.load()
    }
}

/// The audit log, if there is a data folder to keep it in.
struct Log<'d> {
    config: &'d Config,
    clock: &'d Clock,
}

impl<'d> Log<'d> {
    const fn of(config: &'d Config, clock: &'d Clock) -> Self {
        Self { config, clock }
    }

    fn write(&self, events: &[Event<'_>]) -> Result<(), AuditError> {
        if !self.config.data_dir.is_dir() {
            return Ok(());
        }
        let folder = self.config.data_dir.join("audit");
        Audit::open(&folder, self.clock.clone())?.write_all(events)
    }

    /// A line for each edit, or one for all.
    fn edits(
        &self,
        edits: &[KeyEdit],
        action: Action,
        together: Option<String>,
        (before, after): (&KeyTable, &KeyTable),
    ) -> Result<(), AuditError> {
        let user = user::name();
        let revisions = (*before.revision(), *after.revision());
        let event = |action, before, after| Event {
            before,
            after,
            revisions: Some(revisions).filter(|(before, after)| before != after),
            ..Event::new(Actor::Shell(user.clone()), action)
        };
        let was = |id: &KeyId| before.get(id).map(|key| &**key);
        let is = |id: &KeyId| after.get(id).map(|key| &**key);
        let events: Vec<_> = if together.is_some() || edits.len() > EVENTS_MAX {
            let detail = together.unwrap_or_else(|| format!("{} keys", edits.len()));
            vec![Event {
                detail: Some(detail),
                ..event(action, None, None)
            }]
        } else {
            let one = |edit: &KeyEdit| match edit {
                KeyEdit::Add(fields) => event(Action::KeyCreated, None, is(&fields.id)),
                KeyEdit::Change(fields) => event(action, was(&fields.id), is(&fields.id)),
                KeyEdit::Remove(id) => event(Action::KeyDeleted, was(id), None),
            };
            edits.iter().map(one).collect()
        };
        self.write(&events)
    }
}

/// What root makes for keygate must be keygate's: its user owns the folder.
fn hand_over(file: &Path) {
    if let (Ok(open), Some(folder)) = (File::open(file), file.parent()) {
        let _ = hand_to_owner_of(folder, &open);
    }
}
