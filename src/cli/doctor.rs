//! `keygate doctor`: looks at what has bitten people, beside a running keygate or without one, and changes nothing. Each
//! check is a file: what it reads, and a pure function from that to a [`Finding`]. Not for: whether files are written
//! correctly, which is `check`'s; here they are only counted as one finding.

mod bypass;
mod certificates;
mod clock;
mod descriptors;
mod finding;
mod folders;
mod keys;
mod listeners;
mod memory;
mod modes;
mod mounts;
mod records;
mod running;
mod shown;
mod speech;
mod trust;
mod upstream;
mod user;
mod watches;

use std::process::ExitCode;

use clap::Args;
use clap::ValueEnum;

use crate::cli::FAILED;
use crate::cli::RunArgs;
use crate::cli::WRONG;
use crate::cli::doctor::finding::Finding;
use crate::cli::doctor::finding::Level;
use crate::cli::doctor::keys::Keys;
use crate::cli::doctor::running::Process;
use crate::cli::doctor::upstream::Visit;
use crate::cli::environment;
use crate::cli::print;
use crate::clock::Clock;
use crate::config;
use crate::config::Config;
use crate::config::Loaded;
use crate::config::Overrides;
use crate::problem::Problem;

pub(super) const AFTER_HELP: &str = "\
Exit codes: 0 nothing fails (there may be warnings), 1 something fails, 2 wrong configuration.
Run it where keygate runs and as its user, so that it sees what keygate sees:
  docker compose exec keygate /keygate doctor
  kubectl exec POD -c keygate -- /keygate doctor";

/// What to look at, and how to tell.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    settings: RunArgs,
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Text for people.
    Table,
    /// One object with a list of findings.
    Json,
}

/// What several checks look at.
struct Scene<'c> {
    config: &'c Config,
    clock: Clock,
    /// What there is of keys; none: their file cannot be used.
    keys: Option<Keys>,
    /// keygate, if it runs on this data folder; else this process.
    process: Process,
    /// Whether this is a pod.
    kubernetes: bool,
}

pub(super) fn run(args: DoctorArgs) -> ExitCode {
    let DoctorArgs { settings, output } = args;
    let loaded = match config::load(&Overrides::from(settings), environment()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            print::problems(&problems);
            return ExitCode::from(WRONG);
        }
    };
    let findings = examine(&loaded);
    match output {
        Output::Table => shown::text(&loaded.config, &findings),
        Output::Json => print::json(&shown::json(&findings)),
    }
    if findings.iter().any(|finding| finding.level == Level::Fail) {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

/// All findings, in the order in which one would look.
fn examine(loaded: &Loaded) -> Vec<Finding> {
    let config = &loaded.config;
    let (keys, mut of_keys) = keys::read(config);
    let scene = Scene {
        config,
        clock: Clock::system(),
        keys,
        process: Process::of(&config.data_dir),
        kubernetes: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
    };
    let mut findings = of_config(&loaded.warnings);
    findings.append(&mut of_keys);
    findings.extend(keys::look(&scene));
    findings.extend(mounts::look(&scene));
    findings.push(watches::look(&scene));
    findings.extend(modes::look(&scene));
    findings.extend(folders::look(&scene));
    findings.extend(records::look(&config.transactions));
    let visit = Visit::pay(config, &scene.clock);
    findings.extend(upstream::look(config, &visit));
    findings.extend(clock::look(&scene, &visit));
    findings.extend(bypass::look(config, &visit));
    findings.extend(certificates::look(config, &scene.clock));
    findings.extend(listeners::look(&scene));
    findings.extend(trust::look(config));
    findings.push(descriptors::look(&scene));
    findings.extend(user::look(&scene));
    findings.extend(memory::look(&scene));
    findings
}

fn of_config(warnings: &[Problem]) -> Vec<Finding> {
    if warnings.is_empty() {
        return vec![Finding::ok("configuration", "nothing odd in it")];
    }
    warnings
        .iter()
        .map(|warning| Finding::of("configuration", Level::Warn, warning))
        .collect()
}
