//! Who changed what, when, and from where: one JSON object a line in `<data_dir>/audit/`, never pruned. A line is on
//! the disk before the change is answered. Secrets never get here: events hold what a list of keys shows.
//! Not for: requests through the proxy, which are `transactions`; the file's locks and rotation, which are
//! `audit::file`; reading pages back, which is `audit::page`.

mod edits;
mod file;
mod line;
mod page;
mod told;

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::slice;

use crate::clock::Clock;
use crate::key::Key;
use crate::key::KeyId;
use crate::key::table::Revision;

pub use crate::audit::edits::by_hand;
pub(crate) use crate::audit::file::hand_to_owner_of;
pub use crate::audit::page::Filter;
pub use crate::audit::page::PAGE_EVENTS_MAX;
pub use crate::audit::page::Page;
pub use crate::audit::page::ReadError;
pub use crate::audit::told::Told;

/// The audit log. Cheap to clone; written by several processes without harm.
#[derive(Clone, Debug)]
pub struct Audit {
    folder: PathBuf,
    clock: Clock,
}

/// The audit log cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} the audit log: {}: {source}", path.display())]
pub struct AuditError {
    /// `write` or `read`.
    pub act: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The administrator, signed in; the account's name.
    Administrator(String),
    /// Automation; the name in `admin.token_file`.
    Token(String),
    /// Whoever held the setup code.
    Setup,
    /// Somebody who edited the key file.
    File,
    /// Somebody at a shell; the system's user.
    Shell(String),
    /// Nobody that is known: a failed login.
    Unknown,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A key was made.
    KeyCreated,
    /// A key was changed.
    KeyChanged,
    /// A key got a new token.
    KeyRotated,
    /// A key was deleted.
    KeyDeleted,
    /// A token was shown to somebody.
    KeyCopied,
    /// Very many keys were changed by hand, with their counts in the detail.
    KeysChanged,
    /// Many keys at once, with their count in the detail.
    KeysImported,
    /// The keys were written out.
    KeysExported,
    /// Sealed copies were made anew.
    KeysResealed,
    /// Transactions were written out.
    TransactionsExported,
    /// A request was sent through the proxy, with the token of a key or without one.
    RequestTried,
    /// A reload was asked for.
    Reloaded,
    /// The administrator's account was made.
    SetUp,
    /// Somebody signed in.
    SignedIn,
    /// Somebody could not sign in.
    SignInFailed,
    /// Somebody signed out.
    SignedOut,
    /// The administrator's password was changed or reset.
    PasswordChanged,
    /// A setup code was made.
    CodeMade,
}

/// One line of the log.
#[derive(Debug)]
pub struct Event<'a> {
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// The client's address, where there is one.
    pub client: Option<IpAddr>,
    /// The request of the admin API, where there is one.
    pub request_id: Option<&'a str>,
    /// The key as it was.
    pub before: Option<&'a Key>,
    /// The key as it is.
    pub after: Option<&'a Key>,
    /// The revisions of the key file that a command found and made, so that a running keygate knows whose edit that
    /// was: see [`Told`].
    pub revisions: Option<(Revision, Revision)>,
    /// What else is worth knowing, without secrets: "12 keys".
    pub detail: Option<String>,
}

impl Event<'_> {
    /// What somebody did, with nothing more to say about it.
    #[must_use]
    pub const fn new(actor: Actor, action: Action) -> Self {
        Self {
            actor,
            action,
            client: None,
            request_id: None,
            before: None,
            after: None,
            revisions: None,
            detail: None,
        }
    }
}

impl Actor {
    /// The word for its kind, and the name where it has one.
    #[must_use]
    pub fn parts(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Administrator(name) => ("administrator", Some(name)),
            Self::Token(name) => ("token", Some(name)),
            Self::Setup => ("setup", None),
            Self::File => ("file", None),
            Self::Shell(name) => ("shell", Some(name)),
            Self::Unknown => ("unknown", None),
        }
    }
}

impl Action {
    /// Every action, for whoever lists or documents them.
    pub const ALL: [Self; 18] = [
        Self::KeyCreated,
        Self::KeyChanged,
        Self::KeyRotated,
        Self::KeyDeleted,
        Self::KeyCopied,
        Self::KeysChanged,
        Self::KeysImported,
        Self::KeysExported,
        Self::KeysResealed,
        Self::TransactionsExported,
        Self::RequestTried,
        Self::Reloaded,
        Self::SetUp,
        Self::SignedIn,
        Self::SignInFailed,
        Self::SignedOut,
        Self::PasswordChanged,
        Self::CodeMade,
    ];

    /// The word for it in lines and filters; it never changes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyCreated => "key.created",
            Self::KeyChanged => "key.changed",
            Self::KeyRotated => "key.rotated",
            Self::KeyDeleted => "key.deleted",
            Self::KeyCopied => "key.copied",
            Self::KeysChanged => "keys.changed",
            Self::KeysImported => "keys.imported",
            Self::KeysExported => "keys.exported",
            Self::KeysResealed => "keys.resealed",
            Self::TransactionsExported => "transactions.exported",
            Self::RequestTried => "request.tried",
            Self::Reloaded => "keys.reloaded",
            Self::SetUp => "admin.set_up",
            Self::SignedIn => "admin.signed_in",
            Self::SignInFailed => "admin.sign_in_failed",
            Self::SignedOut => "admin.signed_out",
            Self::PasswordChanged => "admin.password_changed",
            Self::CodeMade => "admin.code_made",
        }
    }
}

impl Audit {
    /// The log in this folder, which is made (0700) if it is absent.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn open(folder: &Path, clock: Clock) -> Result<Self, AuditError> {
        file::prepare(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            clock,
        })
    }

    /// Appends one line, and waits until the disk has it.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&self, event: &Event<'_>) -> Result<(), AuditError> {
        self.write_all(slice::from_ref(event))
    }

    /// Appends a line for each, all or none, and waits until the disk has them.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn write_all(&self, events: &[Event<'_>]) -> Result<(), AuditError> {
        if events.is_empty() {
            return Ok(());
        }
        let now = self.clock.wall();
        let mut lines = Vec::new();
        for event in events {
            line::append(&mut lines, event, now);
        }
        file::append(&self.folder, &lines, now)
    }

    /// Events that match, newest first, behind `cursor` (`next` of the page before). At most `limit` of them and
    /// [`PAGE_EVENTS_MAX`]; a page may be short, even empty, and still have a next one, since one page reads a
    /// bounded part of the log.
    ///
    /// # Errors
    /// When the log cannot be read, or the cursor is none of this log.
    pub fn page(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page, ReadError> {
        page::page(&self.folder, filter, cursor, limit)
    }
}

/// The key that an event is about.
#[must_use]
pub fn subject<'a>(event: &'a Event<'_>) -> Option<&'a KeyId> {
    event.after.or(event.before).map(Key::id)
}

#[cfg(test)]
mod tests;
