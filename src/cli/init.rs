//! `keygate init`: from an empty folder to a keygate that can run: where the service is, who administers, a first key.
//! Asks at a terminal, or takes it all from flags with `--yes`. What is there already is left as it is, and said, so
//! that the wizard can be run again. Not for: what runs, which is `run`.

mod ask;
mod files;

use std::process::ExitCode;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::Args;

use crate::admin::access::AccountFile;
use crate::admin::access::FirstError;
use crate::admin::access::make_account;
use crate::audit::Action;
use crate::cli::FAILED;
use crate::cli::WRONG;
use crate::cli::init::ask::Answers;
use crate::cli::init::ask::AskError;
use crate::cli::init::files::FileError;
use crate::cli::keys::Desk;
use crate::cli::keys::Failure;
use crate::cli::keys::first_key;
use crate::cli::print;
use crate::config::Address;
use crate::config::Config;
use crate::config::Source;
use crate::key::token::Token;
use crate::problem::Problem;
use crate::secret::Secret;
use crate::store::edit::EditError;

pub(super) const EXAMPLES: &str = "\
Examples:
  keygate init
  keygate init --yes --upstream http://127.0.0.1:3000
  keygate init --yes --upstream http://app:3000 --admin-name ops --password-stdin < password.txt";

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Ask nothing: take what the flags say, and the defaults
    #[arg(long, short)]
    yes: bool,
    /// The service behind keygate: http://HOST:PORT or unix:/path
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// What the administrator is called [default: admin]
    #[arg(long, value_name = "NAME")]
    admin_name: Option<String>,
    /// Take the administrator's password from stdin [default with --yes: made, and printed once]
    #[arg(long)]
    password_stdin: bool,
    /// What the first key is called [default: default]
    #[arg(long, value_name = "NAME")]
    key_name: Option<String>,
}

/// Why the wizard stopped. What it did until then stays, and is skipped the next time.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} problems", .0.len())]
    Problems(Vec<Problem>),
    #[error(transparent)]
    Account(#[from] FirstError),
    #[error(transparent)]
    Keys(#[from] Failure),
}

impl InitError {
    fn print(&self) -> ExitCode {
        let (hint, code) = match self {
            Self::Ask(error) => (error.hint(), WRONG),
            Self::File(error) => (Some(error.hint()), FAILED),
            Self::Problems(problems) => {
                print::problems(problems);
                return ExitCode::from(WRONG);
            }
            Self::Account(FirstError::Account(error)) => (Some(error.hint()), FAILED),
            Self::Account(FirstError::Name(_) | FirstError::Password(_)) => (None, WRONG),
            Self::Keys(failure) => return failure.print(),
        };
        print::error(self, hint);
        ExitCode::from(code)
    }
}

pub(super) fn run(args: &InitArgs) -> ExitCode {
    match set_up(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.print(),
    }
}

fn set_up(args: &InitArgs) -> Result<(), InitError> {
    let answers = Answers::of(args)?;
    let file = files::config_file();
    if file.symlink_metadata().is_ok() {
        print::note(format_args!(
            "{} is there: it stays as it is",
            file.display()
        ));
    } else {
        let upstream = answers.upstream()?;
        files::write_config(&file, &upstream)?;
        print::note(format_args!("wrote {}", file.display()));
    }
    let config = files::load(&file).map_err(InitError::Problems)?;
    files::make_data_dir(&config.data_dir)?;
    let mut desk = Desk::of(config.clone());
    if let Some(Made { name, password }) = administrator(&answers, &config, &desk)? {
        // At once: nobody else knows it, whatever becomes of the key.
        print::line(format_args!(
            "administrator: {name}\npassword: {}\n  shown this once; another one: keygate admin reset-password\n",
            password.expose()
        ));
    }
    let token = key(&answers, &mut desk)?;
    conclude(&config, &desk, token.as_ref());
    Ok(())
}

/// A made password, to be shown once, with the account's name.
struct Made {
    name: String,
    password: Secret,
}

/// The administrator's account, unless there is one or nobody needs one.
fn administrator(
    answers: &Answers<'_>,
    config: &Config,
    desk: &Desk,
) -> Result<Option<Made>, InitError> {
    if !config.admin.enabled {
        print::note("the admin API is switched off: no administrator is needed");
        return Ok(None);
    }
    let file = AccountFile::new(&config.data_dir);
    let account = file.read().map_err(FirstError::Account)?;
    if let Some(administrator) = account.administrator {
        print::note(format_args!(
            "the administrator {} is there already",
            administrator.name
        ));
        return Ok(None);
    }
    let name = answers.admin_name()?;
    let (password, made) = answers.password(&name)?;
    if make_account(&file, &name, &password, desk.now())? {
        desk.audit_plain(Action::SetUp, format!("the administrator {name}"))
            .map_err(Failure::DoneUnaudited)?;
        print::note(format_args!("made the administrator {name}"));
    }
    Ok(made.then_some(Made { name, password }))
}

/// The first key, unless there is one, or the file is somebody else's to write.
fn key(answers: &Answers<'_>, desk: &mut Desk) -> Result<Option<(String, Token)>, InitError> {
    let keys = desk.load()?.len();
    if keys > 0 {
        let keys = if keys == 1 {
            "1 key".to_owned()
        } else {
            format!("{keys} keys")
        };
        print::note(format_args!("the key file has {keys} already"));
        return Ok(None);
    }
    let name = answers.key_name()?;
    match first_key(desk, &name) {
        Ok(token) => {
            print::note(format_args!("made the key {name}"));
            Ok(Some((name, token)))
        }
        Err(Failure::Edit(EditError::ReadOnly { path, .. })) => {
            print::note(format_args!(
                "the key file cannot be written here: {}: put the first key where it is mounted from",
                path.display()
            ));
            Ok(None)
        }
        Err(failure) => Err(failure.into()),
    }
}

/// The key, and the two commands that come next: on stdout, since it was asked for.
fn conclude(config: &Config, desk: &Desk, key: Option<&(String, Token)>) {
    if let Some((name, token)) = key {
        print::line(format_args!("key: {name}\ntoken: {}", token.expose()));
        print::line(if desk.config.keys.recoverable {
            "  again: keygate keys copy NAME\n".replace("NAME", name)
        } else {
            "  shown this once\n".to_owned()
        });
    }
    print::line("run it:\n  keygate run\n");
    let token = key.map_or("TOKEN", |(_, token)| token.expose());
    print::line(format_args!("and, beside it:\n  {}", curl(config, token)));
    if key.is_none() {
        print::line(
            "  the token of a key: keygate keys copy NAME; a new key: keygate keys create NAME",
        );
    }
}

/// A curl that passes, wherever the token goes.
fn curl(config: &Config, token: &str) -> String {
    let listener = config
        .listen
        .first()
        .expect("a configuration has a listener");
    let (socket, base) = match listener.address.reached() {
        Address::Tcp(at) => (String::new(), format!("{}://{at}", listener.scheme())),
        Address::Unix(path) => (
            format!("--unix-socket {} ", path.display()),
            format!("{}://localhost", listener.scheme()),
        ),
    };
    match config.auth.first_source() {
        Source::Header(name) => format!("curl {socket}-H '{name}: {token}' {base}/"),
        Source::Bearer => format!("curl {socket}-H 'Authorization: Bearer {token}' {base}/"),
        Source::Cookie(name) => format!("curl {socket}-b '{name}={token}' {base}/"),
        Source::Query(name) => format!("curl {socket}'{base}/?{name}={token}'"),
        Source::WsProtocol => format!(
            "curl {socket}-i --http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' \\\n    \
             -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: a2V5Z2F0ZSBhc2tzIGl0IQ==' \\\n    \
             -H 'Sec-WebSocket-Protocol: keygate.{}' {base}/",
            BASE64_URL_SAFE_NO_PAD.encode(token)
        ),
    }
}
