//! The secret file: lines `keygate-secret:v1:<id>:<base64 of 32 bytes>`, comments with `#`. Made whole or not at all,
//! replaced whole or not at all, readable by its owner only; a file that somebody else made may be readable by
//! more, which is warned about, since mounted secrets often are. Never written where it lies: half a secret file
//! would lose every sealed copy. Not for: what the secrets are used for, which is `seal`.

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::fchown;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::key::token::hex;
use crate::problem::Problem;
use crate::store::file::regular;
use crate::store::seal::ID_BYTES;
use crate::store::seal::SECRET_BYTES;
use crate::store::seal::SealError;
use crate::store::seal::Sealer;
use crate::store::seal::Secrets;

const LINE_PREFIX: &str = "keygate-secret:v1:";
/// Room for hundreds of secrets and comments.
const FILE_BYTES_MAX: usize = 65_536;
/// What base64 writes while it decodes 32 bytes: whole groups of three.
const DECODED_BYTES_MAX: usize = SECRET_BYTES.div_ceil(3) * 3;
/// How long another process may hold the file, and how often that is looked at.
const LOCK_WAITS: usize = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// The name of a file that is going to be a secret file: this, and so many random bytes in hex.
const ASIDE_PREFIX: &str = ".secret.";
const ASIDE_SUFFIX: &str = ".new";
const ASIDE_BYTES: usize = 8;
/// What stands above the secret in a file that keygate makes.
const COMMENT: &str = "# What keygate opens the sealed copies of tokens with. Keep it out of version control, and keep a copy in a\n\
                       # safe place: without it, tokens can no longer be copied. A new one: keygate keys reseal\n";

/// The file that holds the secrets: the first one seals, all of them open.
#[derive(Clone, Debug)]
pub struct SecretFile {
    path: PathBuf,
}

/// Why the secrets could not be changed. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The file cannot be used as it is.
    #[error(transparent)]
    Unusable(#[from] SealError),
    /// The new file could not be put in its place.
    #[error("cannot replace the secret file: {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SecretFile {
    /// The file of this name.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file with one new secret, 0600, if it is absent. `sealed_exist`: then it is not made, since the
    /// secret that is wanted is another one. Returns whether the file is there now.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_if_absent(&self, sealed_exist: bool) -> io::Result<bool> {
        if self.path.symlink_metadata().is_ok() {
            return Ok(true);
        }
        if sealed_exist {
            return Ok(false);
        }
        let folder = folder_of(&self.path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let text = Zeroizing::new(format!("{COMMENT}{}", *new_line().1).into_bytes());
        let aside = Aside::write(folder, &text, 0o600)?;
        // A link is made only where there is no file of that name: of two processes, one wins and both use its file.
        match std::fs::hard_link(&aside.path, &self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(true),
            Err(_) => create_in_place(&self.path, &text)?, // a file system without links
            Ok(()) => {}
        }
        drop(aside);
        sync_folder(folder)?;
        Ok(true)
    }

    /// Reads the secrets.
    ///
    /// # Errors
    /// `Missing`, `Unreadable`, `Malformed`.
    pub fn open(&self) -> Result<Secrets, SealError> {
        let (bytes, mode) = self.read()?;
        let secrets = parse(&bytes).map_err(|line| self.malformed(line))?;
        let warning = (mode & 0o077 != 0).then(|| Problem {
            file: self.path.clone(),
            place: None,
            path: String::new(),
            what: format!(
                "others than its owner may use the secret file: its mode is {:04o}",
                mode & 0o7777
            ),
            hint: Some(format!("chmod 600 {}", self.path.display())),
        });
        Ok(Secrets { secrets, warning })
    }

    /// Puts a new secret in front of the others: from now on it seals, and the others still open. Returns its id.
    ///
    /// # Errors
    /// When the file cannot be read or replaced.
    pub fn add_first(&self) -> Result<String, RewriteError> {
        let (id, line) = new_line();
        self.rewrite(|text| {
            let end = first_secret(text);
            let mut new = Zeroizing::new(String::with_capacity(
                text.len() + line.len() + COMMENT.len(),
            ));
            new.push_str(&text[..end]);
            new.push_str(&line);
            new.push_str(&text[end..]);
            new
        })?;
        Ok(id)
    }

    /// Drops the secrets behind the first one for which `unused` holds; comments stay. Returns the ids of the
    /// dropped ones.
    ///
    /// # Errors
    /// When the file cannot be read or replaced.
    pub fn drop_old(&self, unused: impl Fn(&str) -> bool) -> Result<Vec<String>, RewriteError> {
        let ids = self.open()?.ids();
        let goes: Vec<String> = ids.into_iter().skip(1).filter(|id| unused(id)).collect();
        if goes.is_empty() {
            return Ok(goes);
        }
        self.rewrite(|text| {
            let mut new = Zeroizing::new(String::with_capacity(text.len()));
            let stays = |line: &&str| !goes.iter().any(|id| is_secret_line(line, id));
            text.split_inclusive('\n')
                .filter(stays)
                .for_each(|line| new.push_str(line));
            new
        })?;
        Ok(goes)
    }

    /// Replaces the file by what `change` makes of its text, under a lock.
    fn rewrite(&self, change: impl Fn(&str) -> Zeroizing<String>) -> Result<(), RewriteError> {
        let unwritable = |source| RewriteError::Unwritable {
            path: self.path.clone(),
            source,
        };
        // The link stays, what it leads to is replaced.
        let target = self
            .path
            .canonicalize()
            .map_err(|source| self.unreadable(source))?;
        let lock = lock(&target).map_err(unwritable)?;
        let metadata = lock.metadata().map_err(unwritable)?;
        let (bytes, _) = self.read()?;
        parse(&bytes).map_err(|line| self.malformed(line))?;
        let text = str::from_utf8(&bytes).expect("what was parsed is text");
        let new = change(text);
        let folder = folder_of(&target);
        remove_leftovers(folder);
        (|| {
            let aside = Aside::write(folder, new.as_bytes(), metadata.mode() & 0o7777)?;
            // Only root can give files away; who cannot owns the file already.
            let _ = fchown(&aside.file, Some(metadata.uid()), Some(metadata.gid()));
            std::fs::rename(&aside.path, &target)?;
            sync_folder(folder)
        })()
        .map_err(unwritable)
    }

    /// All bytes of the file, and its mode.
    fn read(&self) -> Result<(Zeroizing<Vec<u8>>, u32), SealError> {
        let (file, metadata) = regular(&self.path).map_err(|source| self.unreadable(source))?;
        // As large as it can get, so that it never moves and leaves secrets behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
        let limit = u64::try_from(FILE_BYTES_MAX).expect("a small number");
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(|source| self.unreadable(source))?;
        Ok((bytes, metadata.mode()))
    }

    fn unreadable(&self, source: io::Error) -> SealError {
        let path = self.path.clone();
        if source.kind() == io::ErrorKind::NotFound {
            SealError::Missing { path }
        } else {
            SealError::Unreadable { path, source }
        }
    }

    fn malformed(&self, line: usize) -> SealError {
        SealError::Malformed {
            path: self.path.clone(),
            line,
        }
    }
}

impl Secrets {
    /// A new secret that is in no file: to show what a copy would be like.
    ///
    /// # Panics
    /// When the kernel has no randomness to give.
    #[must_use]
    pub fn of_nobody() -> Self {
        let secrets = parse(new_line().1.as_bytes());
        Self {
            secrets: secrets.expect("a new line is a whole secret file"),
            warning: None,
        }
    }
}

/// The secrets of the text, at least one and no id twice; or the number of the line that is wrong.
fn parse(bytes: &[u8]) -> Result<Vec<Sealer>, usize> {
    if bytes.len() >= FILE_BYTES_MAX {
        return Err(1);
    }
    let line_of = |at: usize| bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    let text = str::from_utf8(bytes).map_err(|error| line_of(error.valid_up_to()))?;
    let mut secrets: Vec<Sealer> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let sealer = parse_line(line).ok_or(index + 1)?;
        if secrets.iter().any(|earlier| earlier.id == sealer.id) {
            return Err(index + 1);
        }
        secrets.push(sealer);
    }
    if secrets.is_empty() {
        Err(1)
    } else {
        Ok(secrets)
    }
}

fn parse_line(line: &str) -> Option<Sealer> {
    let (id, secret) = line.strip_prefix(LINE_PREFIX)?.split_once(':')?;
    let is_id = id.len() == 2 * ID_BYTES
        && id
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let id = u32::from_str_radix(id, 16).ok().filter(|_| is_id)?;
    let mut decoded = Zeroizing::new([0; DECODED_BYTES_MAX]);
    let length = BASE64_STANDARD
        .decode_slice(secret, decoded.as_mut_slice())
        .ok()?;
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    if length != SECRET_BYTES {
        return None;
    }
    secret.copy_from_slice(&decoded[..SECRET_BYTES]);
    Some(Sealer {
        id: id.to_be_bytes(),
        secret,
    })
}

/// A line with a new secret, and the secret's id.
fn new_line() -> (String, Zeroizing<String>) {
    let mut id = [0; ID_BYTES];
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(&mut id).expect("the kernel gives random bytes");
    getrandom::fill(secret.as_mut_slice()).expect("the kernel gives random bytes");
    let id = hex(&id);
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(secret.as_slice()));
    let mut line = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX.min(128)));
    for part in [LINE_PREFIX, &id, ":", &encoded, "\n"] {
        line.push_str(part);
    }
    (id, line)
}

/// Where the line of the first secret begins.
fn first_secret(text: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with(LINE_PREFIX) {
            return at;
        }
        at += line.len();
    }
    at
}

fn is_secret_line(line: &str, id: &str) -> bool {
    let rest = line.trim_start().strip_prefix(LINE_PREFIX);
    rest.and_then(|rest| rest.split_once(':'))
        .is_some_and(|(found, _)| found == id)
}

/// Holds off others that rewrite the file. A file that was replaced while we waited is not the one that we locked.
fn lock(target: &Path) -> io::Result<File> {
    for _ in 0..LOCK_WAITS {
        let (file, metadata) = regular(target)?;
        match file.try_lock() {
            Ok(()) => {
                let now = std::fs::metadata(target)?;
                if (now.dev(), now.ino()) == (metadata.dev(), metadata.ino()) {
                    return Ok(file);
                }
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::ResourceBusy,
        "another process holds it",
    ))
}

/// Removes what killed processes left beside a secret file: secrets that are to be forgotten may be in it.
fn remove_leftovers(folder: &Path) {
    let is_ours = |name: &str| {
        let random = name
            .strip_prefix(ASIDE_PREFIX)
            .and_then(|rest| rest.strip_suffix(ASIDE_SUFFIX));
        random.is_some_and(|random| {
            random.len() == 2 * ASIDE_BYTES && random.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    let names = folder.read_dir().into_iter().flatten();
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    for path in names
        .filter(|name| is_ours(name))
        .map(|name| folder.join(name))
    {
        let is_left = path.symlink_metadata().is_ok_and(|there| there.is_file())
            && regular(&path).is_ok_and(|(file, _)| file.try_lock().is_ok());
        if is_left && let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(file = %path.display(), %error, "cannot remove what a killed process left");
        }
    }
}

/// A whole file under a name of its own, until it gets its place; removed when dropped.
struct Aside {
    path: PathBuf,
    file: File,
}

impl Aside {
    fn write(folder: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        let mut random = [0; ASIDE_BYTES];
        getrandom::fill(&mut random).expect("the kernel gives random bytes");
        let path = folder.join(format!("{ASIDE_PREFIX}{}{ASIDE_SUFFIX}", hex(&random)));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let mut aside = Self { path, file };
        // One that can be locked is nobody's any more.
        aside.file.lock()?;
        aside.file.write_all(bytes)?;
        aside
            .file
            .set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        aside.file.sync_all()?;
        Ok(aside)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // gone already where it was renamed
    }
}

/// The second-best way: a crash leaves half a file, which `open` calls malformed.
fn create_in_place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
