//! What a keygate under test is given: a folder of its own with `keygate.yaml` and a key file, every
//! port 0. Tests name only what they care about.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::admin::ADMIN_TOKEN;
use crate::harness::disk::Disk;
use crate::harness::keygate::Keygate;
use crate::harness::sha256;
use crate::harness::upstream::Upstream;

/// The token of the key `good`, which may do everything.
pub(crate) const GOOD: &str = "kg_test_the-good-token_4fQ7";

/// The token of the key `other`, which may do everything too.
pub(crate) const OTHER: &str = "kg_test_the-other-token_9xZ1";

/// A key file entry by digest; `more` are further fields in YAML flow style, each after a comma.
pub(crate) fn entry(name: &str, token: &str, more: &str) -> String {
    let digest = sha256(token.as_bytes());
    format!("  - {{id: k_{name}, name: {name}, digest: \"sha256:{digest}\"{more}}}\n")
}

/// A key file of these entries.
pub(crate) fn key_file(entries: &[String]) -> String {
    if entries.is_empty() {
        return "version: 1\nkeys: []\n".to_owned();
    }
    format!("version: 1\nkeys:\n{}", entries.concat())
}

/// The key file that tests start with.
pub(crate) fn usual_keys() -> String {
    key_file(&[entry("good", GOOD, ""), entry("other", OTHER, "")])
}

/// Writes a file in place: truncated, then written.
pub(crate) fn write_in_place(path: &Path, text: impl AsRef<[u8]>) {
    use std::io::Write as _;
    fs::File::create(path)
        .unwrap()
        .write_all(text.as_ref())
        .unwrap();
}

/// Writes beside `path` and renames over it.
pub(crate) fn write_by_rename(path: &Path, text: impl AsRef<[u8]>) {
    let aside = path.with_extension("aside");
    write_in_place(&aside, text);
    fs::rename(aside, path).unwrap();
}

/// What to start, and with which files.
pub(crate) struct Setup {
    pub(crate) folder: TempDir,
    sections: BTreeMap<&'static str, String>,
    key_file: PathBuf,
    keys: Option<String>,
    /// A file that is bind-mounted over another one in keygate's own mount namespace.
    pub(crate) bind_mount: Option<(PathBuf, PathBuf)>,
    /// Commands of a shell in the folder that mount more, in keygate's own mount namespace.
    pub(crate) mounts: String,
    /// More of keygate's environment.
    pub(crate) environment: Vec<(&'static str, PathBuf)>,
}

impl Setup {
    /// In front of `upstream`, with the usual keys.
    pub(crate) fn of(upstream: &Upstream) -> Self {
        Self::in_front_of(&upstream.url())
    }

    /// In front of what is at `url`, with the usual keys.
    pub(crate) fn in_front_of(url: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("keygate-test-")
            .tempdir()
            .unwrap();
        let sections = BTreeMap::from([
            ("version", "1".to_owned()),
            ("listen", "127.0.0.1:0".to_owned()),
            ("upstream", url.to_owned()),
            ("data_dir", "data".to_owned()),
            ("keys", "{file: keys.yaml}".to_owned()),
            ("admin", "{listen: 127.0.0.1:0}".to_owned()),
            ("telemetry", "{listen: 127.0.0.1:0}".to_owned()),
            ("admin", "{listen: 127.0.0.1:0}".to_owned()),
        ]);
        Self {
            key_file: folder.path().join("keys.yaml"),
            folder,
            sections,
            keys: Some(usual_keys()),
            bind_mount: None,
            mounts: String::new(),
            environment: Vec::new(),
        }
    }

    /// Sets a top-level setting, in YAML (flow style for sections).
    pub(crate) fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.sections.insert(name, value.into());
        self
    }

    /// With a token for the admin API, of `ops`; `more` are further settings of `admin`, each after a comma.
    pub(crate) fn admin(self, more: &str) -> Self {
        write_in_place(
            &self.folder.path().join("admin-tokens"),
            format!("# who may administer\nops: {ADMIN_TOKEN}\n"),
        );
        self.set(
            "admin",
            format!("{{listen: 127.0.0.1:0, token_file: admin-tokens{more}}}"),
        )
    }

    /// With a disk that the test can break.
    pub(crate) fn with_disk(mut self) -> (Self, Disk) {
        let disk = Disk::in_folder(self.folder.path());
        self.environment.extend(disk.environment());
        (self, disk)
    }

    /// Starts with this key file.
    pub(crate) fn keys(mut self, text: impl Into<String>) -> Self {
        self.keys = Some(text.into());
        self
    }

    /// Puts the key file elsewhere (relative to the folder), under this name.
    pub(crate) fn key_file(mut self, name: &str) -> Self {
        self.key_file = self.folder.path().join(name);
        self.set("keys", format!("{{file: {name}}}"))
    }

    /// The test makes the key file itself, before the start.
    pub(crate) fn no_key_file(mut self) -> Self {
        self.keys = None;
        self
    }

    /// Where the key file is.
    pub(crate) fn key_path(&self) -> &Path {
        &self.key_file
    }

    /// The config file's text.
    pub(crate) fn config_text(&self) -> String {
        self.sections
            .iter()
            .map(|(name, value)| format!("{name}: {value}\n"))
            .collect()
    }

    /// Writes the files; the path of the config.
    pub(crate) fn write(&self) -> PathBuf {
        let config = self.folder.path().join("keygate.yaml");
        write_in_place(&config, self.config_text());
        if let Some(keys) = &self.keys {
            write_in_place(&self.key_file, keys);
        }
        config
    }

    /// Starts the real binary and waits until it listens.
    #[track_caller]
    pub(crate) fn spawn(self) -> Keygate {
        Keygate::spawn(self)
    }
}
