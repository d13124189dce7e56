//! Reads one setting after the other: the value that counts, from a type of `value`; where it is wrong, the
//! problem is kept with its place, and the default goes on. Not for what the settings are: see `check`.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::file;
use crate::config::file::Kind;
use crate::config::file::SETTINGS;
use crate::config::layers;
use crate::config::layers::Layers;
use crate::config::layers::Origin;
use crate::config::value;
use crate::config::value::Wrong;
use crate::document::Node;
use crate::problem::Problem;

/// Where relative paths start.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    /// The current folder: for flags and variables.
    pub(super) current: PathBuf,
    /// The folder of the config file, or the current one: for the file and the defaults.
    pub(super) config: PathBuf,
}

/// The settings while they are read.
pub(super) struct Reader<'f, 't> {
    /// What is to be read, and what was found wrong.
    pub(super) layers: Layers<'t>,
    /// Where relative paths start.
    pub(super) folders: &'f Folders,
    /// Where `<data_dir>` is; known once that setting was read.
    pub(super) data_dir: PathBuf,
}

impl Reader<'_, '_> {
    /// The value of a setting; where it is wrong, a problem, and the default to go on with.
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&Node<'_>) -> Result<T, Wrong>,
    ) -> T {
        let index = file::find(name).expect("settings are read by the names of the table");
        let chosen = self.layers.chosen[index]
            .as_ref()
            .expect("only settings with a default are read so");
        let wrong = match read(&chosen.node) {
            Ok(value) => return value,
            Err(wrong) => wrong,
        };
        self.problem(name, wrong);
        let default = layers::default_node(&SETTINGS[index])
            .expect("settings that are read so have a default");
        read(&default).unwrap_or_else(|wrong| panic!("the default of {name} is good: {wrong:?}"))
    }

    /// Reports what is wrong with a setting where its value came from.
    pub(super) fn problem(&mut self, name: &'static str, wrong: Wrong) {
        let problem = self.describe(name, wrong);
        self.layers.problems.push(problem);
    }

    pub(super) fn describe(&self, name: &'static str, wrong: Wrong) -> Problem {
        let index = file::find(name).expect("problems are about settings of the table");
        let (file, place) = match self.layers.chosen[index]
            .as_ref()
            .map(|chosen| &chosen.origin)
        {
            Some(Origin::File(file, place)) => (file.clone(), wrong.place.or(*place)),
            Some(Origin::Environment(variable)) => (variable.into(), None),
            Some(Origin::Flag(flag)) => (flag.into(), None),
            Some(Origin::Default) | None => (
                self.layers
                    .file
                    .clone()
                    .unwrap_or_else(|| "command line".into()),
                None,
            ),
        };
        Problem {
            file,
            place,
            path: name.to_owned(),
            what: wrong.what,
            hint: wrong.hint,
        }
    }

    pub(super) fn duration(&mut self, name: &'static str) -> Duration {
        let zero = matches!(name, "timeouts.drain_delay" | "timeouts.drain");
        self.read(name, |node| value::duration(node, zero))
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> bool {
        self.read(name, value::boolean)
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        words: &[(&str, T)],
        later: &[&str],
    ) -> T {
        let index = file::find(name).expect("settings are read by the names of the table");
        debug_assert!(
            matches!(SETTINGS[index].kind, Kind::Choice(known) if known.iter().eq(words.iter().map(|(word, _)| word))),
            "{name}: the table has other words"
        );
        self.read(name, |node| value::choice(node, words, later))
    }

    /// A path, absolute.
    pub(super) fn path(&mut self, name: &'static str) -> PathBuf {
        let text = self.read(name, |node| value::text(node).map(str::to_owned));
        if let Some(rest) = text.strip_prefix(file::DATA_DIR) {
            return self.data_dir.join(rest.trim_start_matches('/'));
        }
        self.absolute(name, Path::new(&text))
    }

    /// A path, absolute, or none.
    pub(super) fn path_unless_none(&mut self, name: &'static str) -> Option<PathBuf> {
        let text = self.read(name, |node| value::text(node).map(str::to_owned));
        (text != "none").then(|| self.absolute(name, Path::new(&text)))
    }

    /// Relative paths start at the folder of the file that they stand in, or at the current one.
    pub(super) fn absolute(&self, name: &str, path: &Path) -> PathBuf {
        let index = file::find(name).expect("paths belong to settings of the table");
        let folder = match self.layers.chosen[index]
            .as_ref()
            .map(|chosen| &chosen.origin)
        {
            Some(Origin::Flag(_) | Origin::Environment(_)) => &self.folders.current,
            Some(Origin::File(..) | Origin::Default) | None => &self.folders.config,
        };
        // Drops the "." of "./keygate-data", which would show in every message.
        folder.join(path).components().collect()
    }
}
