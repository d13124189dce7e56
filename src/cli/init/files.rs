//! The files that the wizard makes, none of them over one that is there.

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use crate::cli::environment;
use crate::config;
use crate::config::Config;
use crate::config::Overrides;
use crate::problem::Problem;

const CONFIG_FILE: &str = "keygate.yaml";
const UPSTREAM_FLAG: &str = "--upstream";

/// A file that could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot make the data folder: {}: {source}", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error("cannot write the config file: {}: {source}", path.display())]
    Config { path: PathBuf, source: io::Error },
}

impl FileError {
    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::DataDir { .. } => "let this user write there, or name another folder: data_dir",
            Self::Config { .. } => "run this in a folder that this user may write",
        }
    }
}

/// Where the config file is, or will be: where `keygate run` looks first.
pub(super) fn config_file() -> PathBuf {
    CONFIG_FILE.into()
}

/// What is wrong with the address of the upstream, if anything.
pub(super) fn check_upstream(text: &str) -> Result<(), String> {
    let overrides = Overrides {
        upstream: Some(text.to_owned()),
        ..Overrides::default()
    };
    // Whatever else is wrong is wrong with other files.
    let problems = config::load(&overrides, environment())
        .err()
        .unwrap_or_default();
    let wrong = problems
        .into_iter()
        .find(|problem| problem.file == Path::new(UPSTREAM_FLAG));
    match wrong {
        None => Ok(()),
        Some(problem) => Err(problem.what),
    }
}

/// Writes a config file that says the least.
pub(super) fn write_config(file: &Path, upstream: &str) -> Result<(), FileError> {
    let write = || {
        let mut open = OpenOptions::new().write(true).create_new(true).open(file)?;
        let written = open.write_all(text(upstream).as_bytes());
        // Half a file would be taken for somebody's the next time.
        written.and_then(|()| open.sync_all()).inspect_err(|_| {
            let _ = std::fs::remove_file(file);
        })?;
        File::open(".")?.sync_all()
    };
    write().map_err(|source| FileError::Config {
        path: file.to_owned(),
        source,
    })
}

fn text(upstream: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":/.-_[]".contains(c);
    let upstream = if upstream.chars().all(plain) {
        upstream.to_owned()
    } else {
        serde_json::Value::from(upstream).to_string() // JSON's strings are YAML's
    };
    format!(
        "# keygate's settings. What is not here has its default: keygate config show --origin\n\
         # After an edit: keygate check, then start keygate again.\n\
         version: 1\n\
         \n\
         # The service behind keygate.\n\
         upstream: {upstream}\n\
         \n\
         # Where clients connect.\n\
         listen: 0.0.0.0:8080\n\
         \n\
         # What outlives the process: keys, secret, administrator, logs. Relative to this file.\n\
         data_dir: ./keygate-data\n"
    )
}

/// The configuration with which `keygate run` would start.
pub(super) fn load(file: &Path) -> Result<Config, Vec<Problem>> {
    let overrides = Overrides {
        config: Some(file.to_owned()),
        ..Overrides::default()
    };
    Ok(config::load(&overrides, environment())?.config)
}

/// Makes the data folder, as `run` would.
pub(super) fn make_data_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| FileError::DataDir {
            path: path.to_owned(),
            source,
        })
}
