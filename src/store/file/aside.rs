//! Files beside a key file that keygate writes before they take its place, and what a killed process left of them.
//! Their names begin with the key file's, and whoever writes one holds a lock on it: one that can be locked is
//! nobody's any more. Not for: putting it in place, which is `replace`.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::store::file::lock::Locked;
use crate::store::file::lock::identity;
use crate::store::file::read::regular;

/// In every name, between the key file's and the random part.
const MARK: &str = ".keygate-";
/// Hex digits that tell one from another: a process id would not, since in containers all are 1.
const RANDOM_CHARS: usize = 16;

/// A file that is going to take the key file's place. Removed when it is dropped.
#[derive(Debug)]
pub(super) struct Aside {
    path: PathBuf,
    /// Open and locked: whoever opens it once it is in place waits until it is there for good.
    file: File,
    identity: (u64, u64),
    /// What the writing left: length and time. None before.
    written: Option<(u64, (i64, i64))>,
    kept: bool,
}

impl Aside {
    /// An empty one beside `path`, which nobody else may read.
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        let aside = path.with_file_name(name_beside(path)?);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        let mut made = Self {
            path: aside,
            file,
            identity: (0, 0),
            written: None,
            kept: false,
        };
        made.file.lock()?;
        made.identity = identity(&made.file.metadata()?);
        Ok(made)
    }

    /// Writes the text, and waits until the disk has it.
    pub(super) fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.file.write_all(text)?;
        self.file.sync_all()?;
        self.written = Some(self.as_it_is()?);
        Ok(())
    }

    /// Whether nobody has written to it but us: it may have been in place for a moment.
    pub(super) fn is_ours_alone(&self) -> bool {
        self.as_it_is().ok() == self.written
    }

    fn as_it_is(&self) -> io::Result<(u64, (i64, i64))> {
        let metadata = self.file.metadata()?;
        Ok((metadata.len(), (metadata.mtime(), metadata.mtime_nsec())))
    }

    /// Where it is, or was, before it took the other's place.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// The open file once more, so that its lock outlives this.
    pub(super) fn held(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Which file it is.
    pub(super) const fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Gives what is at its path a name by which nobody takes it for a leftover.
    pub(super) fn rescue(&mut self) -> io::Result<PathBuf> {
        let name = self.path.file_name().unwrap_or_default();
        let name = String::from_utf8_lossy(name.as_encoded_bytes()).replace(MARK, ".rescued-");
        let rescued = self.path.with_file_name(name.trim_start_matches('.'));
        std::fs::rename(&self.path, &rescued)?;
        self.kept = true;
        Ok(rescued)
    }

    /// What is at its path is to be left there.
    pub(super) const fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.kept {
            // One that cannot be removed is found at the next edit.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes what killed processes left beside the key file. Under its lock, so that none is being made.
pub(super) fn remove_leftovers(locked: &Locked) {
    let Ok(folder) = locked.folder().read_dir() else {
        return; // may not be listed: then it is for somebody else to tidy
    };
    let names = folder.filter_map(|entry| Some(entry.ok()?.file_name()));
    for name in names.filter(|name| is_beside(locked.path(), name)) {
        let path = locked.path().with_file_name(&name);
        match remove_if_left(&path, locked) {
            Ok(true) => {
                tracing::info!(file = %path.display(), "removed what a killed process left")
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot remove what a killed process left");
            }
        }
    }
}

/// Removes a file of ours that nobody holds.
fn remove_if_left(path: &Path, locked: &Locked) -> io::Result<bool> {
    if path.symlink_metadata()?.is_symlink() {
        return Ok(false);
    }
    let (file, metadata) = regular(path)?;
    let owners = [
        rustix::process::geteuid().as_raw(),
        locked.file().metadata()?.uid(),
    ];
    if !owners.contains(&metadata.uid()) || file.try_lock().is_err() {
        return Ok(false);
    }
    std::fs::remove_file(path)?;
    Ok(true)
}

fn name_beside(path: &Path) -> io::Result<OsString> {
    let mut bytes = [0; RANDOM_CHARS / 2];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let mut name = prefix(path);
    name.push(format!("{:016x}", u64::from_be_bytes(bytes)));
    Ok(name)
}

fn is_beside(path: &Path, name: &OsStr) -> bool {
    let rest = name
        .as_encoded_bytes()
        .strip_prefix(prefix(path).as_encoded_bytes());
    rest.is_some_and(|rest| {
        rest.len() == RANDOM_CHARS && rest.iter().all(|byte| b"0123456789abcdef".contains(byte))
    })
}

fn prefix(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(MARK);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ours_only_when_all_of_them_fits() {
        let path = Path::new("/folder/keys.yaml");
        for _ in 0..100 {
            assert!(is_beside(path, &name_beside(path).unwrap()));
        }
        for (name, ours) in [
            (".keys.yaml.keygate-0123456789abcdef", true),
            (".keys.yaml.keygate-0123456789abcde", false),
            (".keys.yaml.keygate-0123456789abcdeF", false),
            (".keys.yaml.keygate-0123456789abcdef~", false),
            ("keys.yaml.keygate-0123456789abcdef", false),
            (".keys.yml.keygate-0123456789abcdef", false),
            (".keys.yaml.swp", false),
            ("keys.yaml", false),
        ] {
            assert_eq!(is_beside(path, OsStr::new(name)), ours, "{name}");
        }
    }
}
