//! `keygate run`: from the command line to a proxy that serves, and to its end.

use std::fmt;
use std::process::ExitCode;

use crate::admin::access;
use crate::cli::FAILED;
use crate::cli::WRONG;
use crate::cli::admin;
use crate::cli::admin::Invitation;
use crate::cli::environment;
use crate::cli::log;
use crate::cli::print;
use crate::config;
use crate::config::Address;
use crate::config::Config;
use crate::config::Listen;
use crate::config::Loaded;
use crate::config::LogFormat;
use crate::config::Overrides;
use crate::config::Provenance;
use crate::net::passed::Passed;
use crate::problem::Problem;
use crate::server;
use crate::server::Running;
use crate::server::StartError;
use crate::server::Supervisor;

pub(super) fn run(overrides: &Overrides) -> ExitCode {
    let environment: Vec<_> = environment().collect();
    let loaded = match config::load(overrides, environment.iter().cloned()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            print::problems(&problems);
            return ExitCode::from(WRONG);
        }
    };
    let provenance = Provenance::new(overrides.clone(), environment, &loaded);
    let Loaded {
        config, warnings, ..
    } = loaded;
    log::start(config.log);
    let speaker = Speaker {
        format: config.log.format,
    };
    speaker.warnings(&warnings);
    if let Some(file) = &config.file {
        speaker.say(format_args!("config file {}", file.display()));
    }
    let administered = config.clone();
    let place = same_place(&config);
    let passed = match Passed::from_environment() {
        Ok(passed) => passed,
        Err(error) => {
            print::error(&error, Some(error.hint()));
            return ExitCode::from(WRONG);
        }
    };
    let options = server::Options {
        provenance: Some(provenance),
        passed,
        supervisor: Supervisor::from_environment(),
        ..server::Options::default()
    };
    let running = match start(config, options) {
        Ok(running) => running,
        Err(code) => return code,
    };
    for listener in running.listeners() {
        speaker.say(format_args!("listening on {}", url(listener)));
    }
    if let Some(admin) = running.admin() {
        let scheme = administered.admin.scheme();
        speaker.say(format_args!("admin API on {scheme}://{admin}"));
        if administered.admin.url.is_some() {
            let url = access::browser_url(&administered.admin, admin);
            speaker.say(format_args!("  in a browser: {url}"));
        }
        match admin::invite(administered, admin) {
            Invitation::None => {}
            // Not for a log, whatever its format: it lets in.
            Invitation::Secret(text) => print::note(text.expose()),
            Invitation::Plain(text) => speaker.say(format_args!("{text}")),
        }
    }
    if let Some(telemetry) = running.telemetry() {
        speaker.say(format_args!("telemetry on http://{telemetry}"));
    }
    let (file, keys) = (running.keys_file().display(), running.keys());
    match keys {
        0 => {
            speaker.say(format_args!(
                "key file {file} (no keys yet: all requests are refused)"
            ));
            speaker.say(format_args!(
                "  hint: make one, and it counts at once: keygate keys create me{place}"
            ));
        }
        1 => speaker.say(format_args!("key file {file} (1 key)")),
        keys => speaker.say(format_args!("key file {file} ({keys} keys)")),
    }
    wait(running)
}

/// The flag with which another command finds the same data folder from here; nothing where it needs none.
fn same_place(config: &Config) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match &config.file {
        Some(file) if *file == here.join("keygate.yaml") => String::new(),
        Some(file) => format!(" --config {}", file.display()),
        None if config.data_dir == here.join("keygate-data") => String::new(),
        None => format!(" --data-dir {}", config.data_dir.display()),
    }
}

/// Starts the server, or says why it does not.
pub(super) fn start(config: Config, options: server::Options) -> Result<Running, ExitCode> {
    server::start(config, options).map_err(|error: StartError| {
        if error.problems().is_empty() {
            print::error(&error, error.hint());
        } else {
            print::problems(error.problems());
        }
        ExitCode::from(error.exit_code())
    })
}

/// Serves until a signal ends it.
pub(super) fn wait(running: Running) -> ExitCode {
    match running.wait() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(error, None);
            ExitCode::from(FAILED)
        }
    }
}

/// The address as a client would write it.
pub(super) fn url(listener: &Listen) -> String {
    match &listener.address {
        Address::Tcp(address) => format!("{}://{address}", listener.scheme()),
        Address::Unix(_) => listener.address.to_string(),
    }
}

/// What is said at the start. Scripts wait for these lines, so in text they stand alone; where the log
/// is JSON, all of stderr is JSON.
struct Speaker {
    format: LogFormat,
}

impl Speaker {
    fn say(&self, text: fmt::Arguments<'_>) {
        match self.format {
            LogFormat::Text => print::note(text),
            LogFormat::Json => tracing::info!("{text}"),
        }
    }

    fn warnings(&self, warnings: &[Problem]) {
        match self.format {
            LogFormat::Text => print::warnings(warnings),
            LogFormat::Json => warnings
                .iter()
                .for_each(|warning| tracing::warn!("{warning}")),
        }
    }
}
