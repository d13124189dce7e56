//! `keygate check`: every problem of config and key files, in the words of `run`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::WRONG;
use crate::cli::environment;
use crate::cli::print;
use crate::clock::Clock;
use crate::config;
use crate::config::Config;
use crate::config::Inspection;
use crate::config::Overrides;
use crate::net::tls;
use crate::problem::Problem;
use crate::proxy;
use crate::store::reload;

/// How much of a file is read to see what it is.
const GLIMPSE_BYTES: u64 = 1_048_576;

pub(super) fn run(files: &[PathBuf]) -> ExitCode {
    let mut report = Report::default();
    if files.is_empty() {
        report.config(None);
    }
    for file in files {
        if is_key_file(file) {
            report.keys(file)
        } else {
            report.config(Some(file))
        }
    }
    print::warnings(&report.warnings);
    print::problems(&report.problems);
    if report.problems.is_empty() {
        let checked: Vec<_> = report
            .checked
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        print::line(format_args!("fine: {}", checked.join(", ")));
        return ExitCode::SUCCESS;
    }
    let problems = report.problems.len();
    print::note(format_args!(
        "{problems} problem{}",
        if problems == 1 { "" } else { "s" }
    ));
    ExitCode::from(WRONG)
}

/// What was found in all files so far.
#[derive(Default)]
struct Report {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    checked: BTreeSet<PathBuf>,
}

impl Report {
    /// A config file and the key file that it names.
    fn config(&mut self, file: Option<&Path>) {
        let overrides = Overrides {
            config: file.map(Path::to_owned),
            ..Overrides::default()
        };
        let Inspection {
            file, keys, result, ..
        } = config::inspect(&overrides, environment());
        self.checked.extend(file);
        match result {
            Ok(loaded) => {
                self.warnings.extend(loaded.warnings);
                self.certificates(&loaded.config);
                self.upstream_tls(&loaded.config);
            }
            Err(problems) => self.problems.extend(problems),
        }
        // The default file is made when keygate starts.
        if keys.configured || keys.file.exists() {
            self.keys(&keys.file);
        }
    }

    /// Read as at the start of `run`.
    fn certificates(&mut self, config: &Config) {
        let wanted = tls::Wanted::of(config);
        self.checked.extend(wanted.files().map(Path::to_owned));
        match tls::load(wanted, &Clock::system()) {
            Ok(certificates) => self.warnings.extend(certificates.warnings()),
            Err(problems) => self.problems.extend(problems),
        }
    }

    /// The files for TLS to the upstream.
    fn upstream_tls(&mut self, config: &Config) {
        if let Err(error) = proxy::check_upstream_tls(config) {
            self.problems.push(Problem {
                file: config.file.clone().unwrap_or_default(),
                place: None,
                path: String::new(),
                what: error.to_string(),
                hint: error.hint().map(str::to_owned),
            });
        }
    }

    /// Read as at the start of `run`, except that none is made.
    fn keys(&mut self, file: &Path) {
        if self.checked.insert(file.to_owned()) {
            match reload::load_initial(file, true) {
                Ok(keys) => self.warnings.extend_from_slice(keys.warnings()),
                Err(problems) => self.problems.extend(problems),
            }
        }
    }
}

/// By its name where that tells, else by what is in it.
fn is_key_file(path: &Path) -> bool {
    if path
        .extension()
        .is_some_and(|extension| extension == "ndjson")
    {
        return true;
    }
    // What can be read only once, such as a pipe, is left to whoever reads it.
    if !path.is_file() {
        return false;
    }
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(GLIMPSE_BYTES).read_to_end(&mut bytes));
    // The last character may be cut in two.
    read.is_ok() && config::is_key_file(&String::from_utf8_lossy(&bytes))
}
