//! How a configuration came about, kept so that a running keygate can look again: what would a restart bring?
//! Not for: bringing it. Settings are read at the start, and nothing but a restart changes them.

use std::path::PathBuf;

use crate::config::Config;
use crate::config::file::PREFIX;
use crate::config::load;
use crate::config::load::Effective;
use crate::config::load::Loaded;
use crate::config::load::Overrides;
use crate::problem::Problem;

/// What a configuration was made from, and what came of it.
#[derive(Clone, Debug)]
pub struct Provenance {
    overrides: Overrides,
    environment: Vec<(String, String)>,
    config: Config,
    settings: Vec<Effective>,
}

/// What a restart would bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// What runs already.
    Nothing,
    /// Other values of these settings.
    Restart(Vec<&'static str>),
    /// No keygate: the configuration is wrong now.
    Wrong(Vec<Problem>),
}

impl Provenance {
    /// Of what was loaded from these. Variables that are none of keygate's are not kept.
    #[must_use]
    pub fn new(
        overrides: Overrides,
        environment: impl IntoIterator<Item = (String, String)>,
        loaded: &Loaded,
    ) -> Self {
        let ours = |(name, _): &(String, String)| name.starts_with(PREFIX);
        Self {
            overrides,
            environment: environment.into_iter().filter(ours).collect(),
            config: loaded.config.clone(),
            settings: loaded.settings.clone(),
        }
    }

    /// The file that it was read from, or those that would be read if they were there.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.config.file {
            Some(file) => vec![file.clone()],
            None => load::DISCOVERED.iter().map(PathBuf::from).collect(),
        }
    }

    /// Reads everything again, as a start would.
    #[must_use]
    pub fn pending(&self) -> Pending {
        // A pipe can be read only once, and reading it again might never end.
        let is_pipe = |file: &PathBuf| file.metadata().is_ok_and(|metadata| !metadata.is_file());
        if self.config.file.as_ref().is_some_and(is_pipe) {
            return Pending::Nothing;
        }
        match load(&self.overrides, self.environment.iter().cloned()) {
            Ok(loaded) => self.difference(&loaded),
            Err(problems) => Pending::Wrong(problems),
        }
    }

    fn difference(&self, loaded: &Loaded) -> Pending {
        let without_file = |config: &Config| Config {
            file: None,
            ..config.clone()
        };
        // `60s` has become `1m`: other text, and no other value.
        if without_file(&loaded.config) == without_file(&self.config) {
            return Pending::Nothing;
        }
        let differs = |new: &&Effective| {
            let mut running = self.settings.iter();
            !running.any(|old| old.name == new.name && old.value == new.value)
        };
        let names = loaded.settings.iter().filter(differs);
        Pending::Restart(names.map(|setting| setting.name).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::path::Path;

    use super::*;

    fn write(file: &Path, text: &str) {
        File::create(file)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    #[test]
    fn only_settings_that_would_change_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keygate.yaml");
        let overrides = Overrides {
            config: Some(file.clone()),
            ..Overrides::default()
        };
        let environment = [("KEYGATE_LOG_LEVEL".to_owned(), "debug".to_owned())];
        write(&file, "upstream: http://app\ntimeouts: {body: 60s}\n");
        let loaded = load(&overrides, environment.clone()).unwrap();
        let provenance = Provenance::new(overrides, environment, &loaded);
        let rows: [(&str, &[&str]); 5] = [
            ("upstream: http://app\ntimeouts: {body: 60s}\n# more\n", &[]),
            (
                "upstream: http://app\ntimeouts: {body: 1m}\nauth: {mode: enforce}\n",
                &[],
            ),
            // The variable wins before and after.
            ("upstream: http://app\nlog: {level: warn}\n", &[]),
            (
                "upstream: http://app\nauth: {mode: shadow}\n",
                &["auth.mode"],
            ),
            (
                "upstream: http://other\nlimits: {body_bytes: 1MiB}\ntimeouts: {body: 61s}\n",
                &["upstream", "timeouts.body", "limits.body_bytes"],
            ),
        ];
        for (text, names) in rows {
            write(&file, text);
            let wanted = match names {
                [] => Pending::Nothing,
                names => Pending::Restart(names.to_vec()),
            };
            assert_eq!(provenance.pending(), wanted, "{text}");
        }
        write(&file, "upstream: app\n");
        assert!(matches!(provenance.pending(), Pending::Wrong(problems) if problems.len() == 1));
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(provenance.pending(), Pending::Wrong(_)), "gone");
    }
}
