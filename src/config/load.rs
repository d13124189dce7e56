//! Finds the config file, reads it, and lays flags and environment over it. The only part of `config`
//! that touches the file system.

use std::env;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::slice;

use crate::config::Config;
use crate::config::Keys;
use crate::config::Telemetry;
use crate::config::check;
use crate::config::check::Checked;
use crate::config::file;
use crate::config::file::Kind;
use crate::config::file::SETTINGS;
use crate::config::layers::Chosen;
use crate::config::layers::Layers;
use crate::config::layers::Origin;
use crate::config::reader::Folders;
use crate::document;
use crate::document::Node;
use crate::document::Value;
use crate::problem::Place;
use crate::problem::Problem;

/// Where a config file is looked for when none is named.
pub(super) const DISCOVERED: [&str; 2] = ["keygate.yaml", "/etc/keygate/keygate.yaml"];

/// The variable that names the config file.
const CONFIG_VARIABLE: &str = "KEYGATE_CONFIG";

/// Far more than all settings with long lists take.
const FILE_BYTES_MAX: u64 = 1_048_576;

/// What flags say.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--upstream`
    pub upstream: Option<String>,
    /// `--listen`, as often as it was given.
    pub listen: Vec<String>,
    /// `--data-dir`
    pub data_dir: Option<String>,
}

/// A good configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What to run with.
    pub config: Config,
    /// What is odd and no reason to stop.
    pub warnings: Vec<Problem>,
    /// Every setting, in the order of the table.
    pub settings: Vec<Effective>,
}

/// A setting as it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// `timeouts.header`
    pub name: &'static str,
    /// In the file's notation.
    pub value: String,
    /// Who said so.
    pub origin: Origin,
}

/// What is known of a configuration that may be wrong.
#[derive(Debug)]
pub struct Inspection {
    /// The file in use, as it was named or found.
    pub file: Option<PathBuf>,
    /// Where keys are, as far as it can be read.
    pub keys: Keys,
    /// Where health and metrics are, as far as it can be read.
    pub telemetry: Telemetry,
    /// All of it, or everything that is wrong with it.
    pub result: Result<Loaded, Vec<Problem>>,
}

/// The configuration that `keygate run` would use.
///
/// # Errors
/// Every problem there is, in the order of the file, then those of flags and variables.
pub fn load(
    overrides: &Overrides,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Vec<Problem>> {
    inspect(overrides, environment).result
}

/// The same, for who needs parts of it even when others are wrong.
pub fn inspect(
    overrides: &Overrides,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Inspection {
    let environment: Vec<_> = environment.into_iter().collect();
    let current = env::current_dir().unwrap_or_else(|_| "/".into());
    let file = find(overrides, &environment);
    let text = file.as_deref().map(read);
    let mut layers = Layers::defaults();
    match (&file, &text) {
        (Some(file), Some(Ok(text))) => layers.file(file, text),
        (_, Some(Err(problem))) => layers.problems.push((**problem).clone()),
        (_, None) | (None, _) => {}
    }
    layers.environment(environment.into_iter());
    if let Some(upstream) = &overrides.upstream {
        layers.flag("--upstream", "upstream", slice::from_ref(upstream));
    }
    if !overrides.listen.is_empty() {
        layers.flag("--listen", "listen", &overrides.listen);
    }
    if let Some(data_dir) = &overrides.data_dir {
        layers.flag("--data-dir", "data_dir", slice::from_ref(data_dir));
    }
    let absolute = file
        .as_ref()
        .map(|file| current.join(file).components().collect::<PathBuf>());
    let config_folder = absolute
        .as_deref()
        .and_then(Path::parent)
        .unwrap_or(&current)
        .to_owned();
    let chosen = layers.chosen.clone();
    let folders = Folders {
        current,
        config: config_folder,
    };
    let Checked {
        config,
        keys,
        telemetry,
        problems,
        warnings,
    } = check::check(layers, &folders, absolute);
    let result = match config {
        Some(config) if problems.is_empty() => {
            let settings = effective(chosen, &config);
            Ok(Loaded {
                config,
                warnings,
                settings,
            })
        }
        _ => Err(problems),
    };
    Inspection {
        file,
        keys,
        telemetry,
        result,
    }
}

/// Whether the text of a file looks like a key file rather than like keygate.yaml: it has `keys`, not as a
/// section, and nothing that belongs here. `text` may be broken, or only the beginning of a file.
#[must_use]
pub fn is_key_file(text: &str) -> bool {
    let is_setting = |name: &str| {
        name != "version" && name != "keys" && file::names_in("").any(|known| known == name)
    };
    match document::yaml(text).0 {
        Some(Node {
            value: Value::Map(entries),
            ..
        }) => {
            let keys = entries.iter().find(|entry| entry.name == "keys");
            keys.is_some_and(|keys| !matches!(keys.node.value, Value::Map(_)))
                && !entries.iter().any(|entry| is_setting(&entry.name))
        }
        Some(_) => false,
        None => begins_like_keys(text),
    }
}

/// The same by its first lines, for what does not parse.
fn begins_like_keys(text: &str) -> bool {
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let json = text.trim_start().starts_with('{');
    let keys = |line: &str| {
        if json {
            line.contains("\"keys\"")
        } else {
            line.starts_with("keys:")
        }
    };
    let Some(line) = lines.find(|line| keys(line)) else {
        return false;
    };
    let after = line
        .split_once("keys")
        .map_or("", |(_, after)| after.trim_start_matches(['"', ':', ' ']));
    after.starts_with('[')
        || (after.is_empty()
            && lines
                .next()
                .is_some_and(|next| next.starts_with(['-', '['])))
}

/// The file in use; none when nobody named one and none is found.
fn find(overrides: &Overrides, environment: &[(String, String)]) -> Option<PathBuf> {
    let variable = || {
        let named = environment
            .iter()
            .find(|(name, value)| name == CONFIG_VARIABLE && !value.is_empty());
        named.map(|(_, value)| PathBuf::from(value))
    };
    // What is there and cannot be read is an error later on, not a reason to look further.
    let discovered = || {
        DISCOVERED
            .iter()
            .map(PathBuf::from)
            .find(|path| path.symlink_metadata().is_ok())
    };
    overrides
        .config
        .clone()
        .or_else(variable)
        .or_else(discovered)
}

/// The text of a config file.
fn read(path: &Path) -> Result<String, Box<Problem>> {
    let problem = |place: Option<Place>, what: String, hint: Option<&str>| {
        let hint = hint.map(str::to_owned);
        Box::new(Problem {
            file: path.to_owned(),
            place,
            path: String::new(),
            what,
            hint,
        })
    };
    let unreadable = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => Some("check --config and KEYGATE_CONFIG"),
            io::ErrorKind::PermissionDenied => {
                Some("give keygate's user read access to the file and its folders")
            }
            _ => None,
        };
        problem(None, format!("cannot read the config file: {error}"), hint)
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    // One byte more than is taken, to see that there is more.
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(problem(
            None,
            "larger than 1MiB: this is no config file".to_owned(),
            None,
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        let last = good
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let column = String::from_utf8_lossy(last).chars().count() as u64 + 1;
        problem(
            Some(Place { line, column }),
            "not UTF-8".to_owned(),
            Some("save the file as UTF-8"),
        )
    })
}

/// What counts, in the file's notation; paths as they came out.
fn effective(chosen: Vec<Option<Chosen<'_>>>, config: &Config) -> Vec<Effective> {
    let one = |(setting, chosen): (&'static file::Setting, Option<Chosen<'_>>)| {
        let Chosen { node, origin } = chosen?;
        let path = match setting.name {
            "data_dir" => Some(&config.data_dir),
            "keys.file" => Some(&config.keys.file),
            "keys.secret_file" => Some(&config.keys.secret_file),
            "admin.token_file" => config.admin.token_file.as_ref(),
            "transactions.dir" => Some(&config.transactions.dir),
            _ => None,
        };
        debug_assert!(
            match setting.kind {
                Kind::Path => path.is_some(),
                Kind::OptionalPath => true,
                _ => path.is_none(),
            },
            "{}",
            setting.name
        );
        let value = match path {
            Some(path) => scalar(&path.to_string_lossy()),
            None => notation(&node),
        };
        Some(Effective {
            name: setting.name,
            value,
            origin,
        })
    };
    SETTINGS.iter().zip(chosen).filter_map(one).collect()
}

/// A node as flow YAML.
fn notation(node: &Node<'_>) -> String {
    match &node.value {
        Value::Empty => "null".to_owned(),
        Value::Plain(text) | Value::Quoted(text) => scalar(text),
        Value::List(items) => format!(
            "[{}]",
            items.iter().map(notation).collect::<Vec<_>>().join(", ")
        ),
        Value::Map(entries) => {
            let entries = entries
                .iter()
                .map(|entry| format!("{}: {}", scalar(&entry.name), notation(&entry.node)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Text that reads back as itself: bare where that is certain, else in quotes.
fn scalar(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-_./:*".contains(c);
    let starts_bare = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '.');
    if starts_bare && !text.ends_with(':') && text.chars().all(bare) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string() // JSON's strings are YAML's double-quoted ones
    }
}
