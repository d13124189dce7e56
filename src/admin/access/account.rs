//! `<data_dir>/admin.json`: the administrator and the setup code, as the disk has them at this moment. It is read when
//! it is needed and replaced whole under a lock, so that commands work beside a running keygate. What cannot be read
//! is an error and never "no account": otherwise whoever damages the file could set keygate up anew.
//! Not for: what the parts mean (`password`, `code`).

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::admin::access::code::SetupCode;
use crate::admin::access::password::PasswordHash;
use crate::admin::access::password::check_name;
use crate::admin::access::regular;
use crate::audit::hand_to_owner_of;
use crate::clock::Timestamp;
use crate::key::token::Digest;
use crate::key::token::hex;
use crate::problem::Problem;

const FILE_NAME: &str = "admin.json";
/// Held while the file is replaced. Not the file itself, which is another one afterwards.
const LOCK_NAME: &str = "admin.json.lock";

/// What this keygate reads and writes.
const VERSION: u32 = 1;

/// Far more than both parts take.
const FILE_BYTES_MAX: u64 = 65_536;

/// How long another process may hold the lock: a password's hash and a sync, on a very slow machine.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct AccountFile {
    path: PathBuf,
}

/// What is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// None: still to be made.
    pub(crate) administrator: Option<Administrator>,
    /// The code that makes it.
    pub(crate) code: Option<SetupCode>,
}

/// The one who may administer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Administrator {
    pub(crate) name: String,
    pub(crate) password: PasswordHash,
    pub(crate) changed_at: Timestamp,
}

impl Administrator {
    /// Another one after every change: sessions hold it to find out.
    pub(crate) fn fingerprint(&self) -> Digest {
        let parts = [
            &self.name,
            self.password.expose(),
            &self.changed_at.to_string(),
        ];
        Digest::of(parts.join("\n").as_bytes())
    }
}

/// Why the account cannot be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    #[error("cannot read the administrator's account: {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// Does not quote the file: it holds a password's hash.
    #[error("the file of the administrator's account is damaged: {}: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("cannot write the administrator's account: {}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("another process is changing the administrator's account: {}", path.display())]
    Locked { path: PathBuf },
}

impl AccountError {
    /// What to do about it.
    pub(crate) const fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "let keygate's user read it",
            Self::Damaged { .. } => {
                "put a copy of it back; or delete it, and make the account anew with: keygate admin code"
            }
            Self::Unwritable { .. } => {
                "give keygate's user write access to the data folder, and room on its disk"
            }
            Self::Locked { .. } => "try again",
        }
    }

    /// The same as a problem of a file.
    pub(crate) fn to_problem(&self) -> Problem {
        let (path, what) = match self {
            Self::Unreadable { path, source } => (path, format!("cannot read it: {source}")),
            Self::Damaged { path, what } => (path, what.clone()),
            Self::Unwritable { path, source } => (path, format!("cannot write it: {source}")),
            Self::Locked { path } => (path, "another process holds its lock".to_owned()),
        };
        Problem {
            file: path.clone(),
            place: None,
            path: String::new(),
            what,
            hint: Some(self.hint().to_owned()),
        }
    }
}

impl AccountFile {
    /// The file in this data folder; it need not be there.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join(FILE_NAME),
        }
    }

    /// What is in it now; nothing if there is no file.
    pub(crate) fn read(&self) -> Result<Account, AccountError> {
        let unreadable = |source| AccountError::Unreadable {
            path: self.path.clone(),
            source,
        };
        let file = match regular::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Account::default()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        parse(&bytes).map_err(|what| AccountError::Damaged {
            path: self.path.clone(),
            what,
        })
    }

    /// Lets `change` work on what is in it now, alone of all processes, and writes the result if it is another one.
    pub(crate) fn update<T>(
        &self,
        change: impl FnOnce(&mut Account) -> T,
    ) -> Result<T, AccountError> {
        let _lock = self.lock()?;
        let before = self.read()?;
        let mut account = before.clone();
        let result = change(&mut account);
        if account != before {
            self.replace(&print(&account))
                .map_err(|source| self.unwritable(source))?;
        }
        Ok(result)
    }

    fn unwritable(&self, source: io::Error) -> AccountError {
        AccountError::Unwritable {
            path: self.path.clone(),
            source,
        }
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or_else(|| Path::new("."))
    }

    fn lock(&self) -> Result<File, AccountError> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let lock = options
            .open(self.folder().join(LOCK_NAME))
            .and_then(|lock| hand_to_owner_of(self.folder(), &lock).map(|()| lock))
            .map_err(|source| self.unwritable(source))?;
        for _ in 0..LOCK_TRIES {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(source)) => return Err(self.unwritable(source)),
            }
        }
        Err(AccountError::Locked {
            path: self.path.clone(),
        })
    }

    /// Writes aside, and renames when the disk has it: the file is the old or the new one, whole.
    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        // A link stays one: its target is replaced.
        let target = match fs::canonicalize(&self.path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.path.clone(),
            Err(error) => return Err(error),
        };
        let folder = target.parent().unwrap_or_else(|| Path::new("."));
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let aside = folder.join(format!(".{FILE_NAME}.{}", hex(&random)));
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&aside)?;
            hand_to_owner_of(folder, &file)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&aside, &target)
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&aside);
        })?;
        File::open(folder)?.sync_all()
    }
}

/// The file's own shape.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    administrator: Option<AdministratorShape>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<CodeShape>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdministratorShape {
    name: String,
    password: String,
    changed_at: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeShape {
    digest: String,
    expires_at: String,
    tries_left: u32,
}

/// Only the version, from a file that a later keygate may have written.
#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

fn parse(bytes: &[u8]) -> Result<Account, String> {
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Ok(VersionOnly { version }) = serde_json::from_slice(bytes)
        && version != VERSION
    {
        return Err(format!(
            "it is of version {version}, and this keygate reads version {VERSION}"
        ));
    }
    let shape: Shape = serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("it is not as keygate writes it, at line {line}, column {column}")
    })?;
    let date = |name: &str, text: &str| {
        Timestamp::parse(text).map_err(|_| format!("{name} is not a date"))
    };
    let administrator = |shape: AdministratorShape| {
        Ok::<_, String>(Administrator {
            name: check_name(&shape.name)
                .map_err(|error| format!("administrator.name: {error}"))?,
            password: PasswordHash::parse(&shape.password)
                .ok_or("administrator.password is not an argon2id hash that keygate made")?,
            changed_at: date("administrator.changed_at", &shape.changed_at)?,
        })
    };
    let code = |shape: CodeShape| {
        Ok::<_, String>(SetupCode {
            digest: Digest::parse(&shape.digest)
                .map_err(|error| format!("code.digest: {error}"))?,
            expires_at: date("code.expires_at", &shape.expires_at)?,
            tries_left: shape.tries_left,
        })
    };
    Ok(Account {
        administrator: shape.administrator.map(administrator).transpose()?,
        code: shape.code.map(code).transpose()?,
    })
}

fn print(account: &Account) -> Vec<u8> {
    let administrator = |administrator: &Administrator| AdministratorShape {
        name: administrator.name.clone(),
        password: administrator.password.expose().to_owned(),
        changed_at: administrator.changed_at.to_string(),
    };
    let code = |code: &SetupCode| CodeShape {
        digest: code.digest.to_string(),
        expires_at: code.expires_at.to_string(),
        tries_left: code.tries_left,
    };
    let shape = Shape {
        version: VERSION,
        administrator: account.administrator.as_ref().map(administrator),
        code: account.code.as_ref().map(code),
    };
    let mut bytes = serde_json::to_vec_pretty(&shape).expect("text and numbers are JSON");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests;
