//! What people type: commands, flags and exit codes (0 fine, 1 failed, 2 wrong use or wrong config).
//! Each command is a file; only `print` prints.

mod admin;
mod check;
mod demo;
mod doctor;
mod init;
mod keys;
mod log;
mod man;
mod print;
mod probe;
mod run;
mod show;
mod tail;
mod transactions;
mod user;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::CommandFactory;
use clap::Parser;
use clap::Subcommand;
use clap_complete::Shell;

use crate::config::Overrides;

/// Something could not be done.
const FAILED: u8 = 1;

/// The command or the configuration is wrong.
const WRONG: u8 = 2;

/// API keys in front of a service that has none.
///
/// keygate is a reverse proxy: a request with a valid key goes on to the service behind it, every other
/// one is answered 401. Keys live in a file; an edit counts within milliseconds.
#[derive(Debug, Parser)]
#[command(
    name = "keygate",
    version,
    propagate_version = false,
    disable_help_subcommand = true
)]
#[command(after_help = "Exit codes: 0 fine, 1 failed, 2 wrong use or wrong configuration.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy.
    ///
    /// Needs no file at all: `keygate run --upstream http://127.0.0.1:3000` keeps its state in
    /// ./keygate-data/ and refuses all requests until there is a key.
    ///
    /// Every setting has an environment variable too (`timeouts.drain` is KEYGATE_TIMEOUTS_DRAIN). A flag
    /// counts more than the variable, the variable more than the file: `keygate config show --origin`.
    ///
    /// SIGTERM ends it when running requests have ended. SIGHUP reads the key file again, and says which
    /// settings need a restart. SIGUSR1 reopens the transaction log.
    Run(RunArgs),
    /// See it work: an echo service, the proxy and a first key, until Ctrl-C.
    ///
    /// Prints a curl line that is let through and one that is refused, then each request as it comes.
    /// Nothing is left behind.
    Demo,
    /// Set up keygate in this folder: the service behind it, the administrator, a first key.
    ///
    /// Asks at a terminal; with --yes it takes flags and defaults. Writes ./keygate.yaml, the data folder and the key
    /// file, never over what is there: what is done already is skipped.
    #[command(after_help = init::EXAMPLES)]
    Init(init::InitArgs),
    /// Check config and key files, and print every problem.
    ///
    /// Without files: the configuration that `run` would use, and its key file. Exits with 2 if anything
    /// is wrong.
    Check {
        /// Config or key files; keygate tells one from the other by what is in them.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Look for what has bitten others: mounts, modes, limits, clocks, ways around the gate.
    ///
    /// Prints each finding with what was seen, why it matters and what to do. Works beside a running keygate and without
    /// one, and changes nothing; the upstream gets one HEAD request.
    #[command(after_help = doctor::AFTER_HELP)]
    Doctor(doctor::DoctorArgs),
    /// List, make, change and delete keys: on the key file itself, whether or not keygate runs.
    ///
    /// An edit counts within milliseconds in a keygate that runs. Keys are named by their id or their name.
    /// Every change is written to the audit log in the data folder, with the system's name of the user.
    Keys(Box<keys::KeysArgs>),
    /// Show the recorded requests, newest first: who called what, when, and why it was refused.
    ///
    /// Reads the files of the log themselves, whether or not keygate runs. All filters have to match.
    #[command(after_help = transactions::EXAMPLES)]
    Transactions(Box<transactions::TransactionsArgs>),
    /// Ask the running keygate whether it is ready; exits with 0 or 1.
    ///
    /// For container images without a shell. Asks the telemetry listener of the configuration.
    Healthcheck(ConfigArgs),
    /// Tell the running keygate to stop taking requests.
    ///
    /// For a preStop hook. Asks the telemetry listener of the configuration, on this machine.
    Drain(ConfigArgs),
    /// The administrator's way in, and back in.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the manual page: keygate man | man -l -
    ///
    /// One page about all commands; with --dir a page a command, named as in /usr/share/man/man1.
    Man {
        /// Write a page for each command into this folder instead.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
    /// Print a completion script: keygate completions bash > /etc/bash_completion.d/keygate
    Completions {
        /// The shell that it is for.
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Print a new one-time setup code, with which a browser makes the administrator's account.
    ///
    /// Good once, for an hour. For the first start, where `run` has no terminal to print it on.
    Code(PlaceArgs),
    /// Give the administrator a new password; all sessions end.
    ///
    /// Asks for it twice. Works beside a running keygate, for who may write the data folder.
    ResetPassword {
        /// Read the password from stdin instead.
        #[arg(long)]
        stdin: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every setting as it counts: flag, environment, file, default, in this order.
    Show {
        /// Say as well where each value came from.
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        settings: RunArgs,
    },
}

/// Which configuration.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The config file [default: KEYGATE_CONFIG, ./keygate.yaml, /etc/keygate/keygate.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Which configuration and data folder.
#[derive(Debug, Args)]
struct PlaceArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// What outlives the process [default: ./keygate-data]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
}

/// Which configuration, and what flags may change in it.
#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The service behind keygate: http://HOST:PORT or unix:/path
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where clients connect; may be given more than once [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// What outlives the process [default: ./keygate-data]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
}

impl From<ConfigArgs> for Overrides {
    fn from(args: ConfigArgs) -> Self {
        Self {
            config: args.config,
            ..Self::default()
        }
    }
}

impl From<PlaceArgs> for Overrides {
    fn from(args: PlaceArgs) -> Self {
        Self {
            data_dir: args.data_dir,
            ..args.config.into()
        }
    }
}

impl From<RunArgs> for Overrides {
    fn from(args: RunArgs) -> Self {
        Self {
            config: args.config.config,
            upstream: args.upstream,
            listen: args.listen,
            data_dir: args.data_dir,
        }
    }
}

/// Runs a command line, `arguments` beginning with the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli.command,
        Err(error) => {
            let _ = error.print(); // help and version are such "errors" too
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG));
        }
    };
    let code = carry_out(command);
    match print::unsaid() {
        Some(error) if code == ExitCode::SUCCESS => {
            print::error(format_args!("cannot write to stdout: {error}"), None);
            ExitCode::from(FAILED)
        }
        Some(_) | None => code,
    }
}

fn carry_out(command: Command) -> ExitCode {
    match command {
        Command::Run(args) => run::run(&args.into()),
        Command::Demo => demo::run(),
        Command::Check { files } => check::run(&files),
        Command::Doctor(args) => doctor::run(args),
        Command::Init(args) => init::run(&args),
        Command::Keys(args) => keys::run(*args),
        Command::Transactions(args) => transactions::run(*args),
        Command::Healthcheck(args) => probe::healthcheck(&args.into()),
        Command::Drain(args) => probe::drain(&args.into()),
        Command::Admin(AdminCommand::Code(place)) => admin::code(&place.into()),
        Command::Admin(AdminCommand::ResetPassword { stdin, place }) => {
            admin::reset_password(&place.into(), stdin)
        }
        Command::Config(ConfigCommand::Show { origin, settings }) => {
            show::run(&settings.into(), origin)
        }
        Command::Man { dir } => man::run(Cli::command(), dir.as_deref()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "keygate", &mut script);
            print::raw(&script);
            ExitCode::SUCCESS
        }
    }
}

/// The environment as text. What is not UTF-8 cannot be a good value, and is shown as such.
fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
