//! `keygate admin`: the way in, and the way back in, for who owns the data folder. They work on its files, beside a
//! running keygate or without one, and are audited like everything else. Not for: what an account is, which is
//! `admin::access`.

use std::fs;
use std::io;
use std::io::IsTerminal;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use dialoguer::Password;
use zeroize::Zeroize;
use zeroize::Zeroizing;

use crate::admin::access;
use crate::admin::access::AccountError;
use crate::admin::access::AccountFile;
use crate::admin::access::ResetError;
use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::Audit;
use crate::audit::AuditError;
use crate::audit::Event;
use crate::cli::FAILED;
use crate::cli::WRONG;
use crate::cli::environment;
use crate::cli::print;
use crate::cli::user;
use crate::clock::Clock;
use crate::config;
use crate::config::Config;
use crate::config::Overrides;
use crate::problem::Problem;
use crate::secret::Secret;

/// No command here talks to the upstream, so a configuration without one is good enough.
const SOME_UPSTREAM: &str = "unix:/nowhere";

/// More than the longest password takes.
const STDIN_BYTES_MAX: usize = 4096;

/// Prints a new setup code.
pub(super) fn code(overrides: &Overrides) -> ExitCode {
    let made = open(overrides).and_then(|desk| {
        let code = desk.make_code()?;
        Ok((
            access::setup_url(&desk.config.admin, desk.config.admin.listen, &code),
            code,
        ))
    });
    match made {
        Ok((url, code)) => {
            print::line(format_args!("setup code: {}", code.expose()));
            print::line(format_args!("open: {}", url.expose()));
            print::note("it is good once, for an hour; an older code no longer counts");
            ExitCode::SUCCESS
        }
        Err(failure) => failure.print(),
    }
}

/// Gives the administrator another password.
pub(super) fn reset_password(overrides: &Overrides, stdin: bool) -> ExitCode {
    let reset = open(overrides).and_then(|desk| {
        let name = desk.administrator()?;
        let password = if stdin {
            read_password(io::stdin().lock())?
        } else {
            ask_password(&name)?
        };
        desk.reset_password(&password)
    });
    match reset {
        Ok(name) => {
            print::line(format_args!(
                "{name} has a new password; all sessions have ended"
            ));
            ExitCode::SUCCESS
        }
        Err(failure) => failure.print(),
    }
}

/// What `keygate run` says of the way in.
pub(super) enum Invitation {
    /// There is an account.
    None,
    /// The setup code, for a terminal.
    Secret(Secret),
    /// What to do instead.
    Plain(String),
}

/// Makes a setup code where there is no account yet and a person is there to see it.
pub(super) fn invite(config: Config, listen: SocketAddr) -> Invitation {
    let invited = Desk::new(config, Clock::system())
        .and_then(|desk| desk.invite(listen, io::stderr().is_terminal()));
    invited.unwrap_or_else(|failure| {
        let hint = failure.hint().map(|hint| format!("\n  hint: {hint}"));
        Invitation::Plain(format!(
            "  nobody can sign in: {failure}{}",
            hint.unwrap_or_default()
        ))
    })
}

/// The address of the setup wizard with a new code, for whoever looks at the terminal; none where there is no way in.
pub(super) fn wizard(config: Config, listen: SocketAddr) -> Option<Secret> {
    let desk = Desk::new(config, Clock::system()).ok()?;
    let code = desk.make_code().ok()?;
    Some(access::setup_url(&desk.config.admin, listen, &code))
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{} problems", .0.len())]
    Problems(Vec<Problem>),
    #[error("the admin API is switched off: admin.enabled: false")]
    SwitchedOff,
    #[error("there is no data folder: {}", .0.display())]
    NoFolder(PathBuf),
    #[error("there is an administrator's account already")]
    AlreadySetUp,
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Reset(#[from] ResetError),
    #[error("not done, since nobody could see it later: {0}")]
    NotAudited(AuditError),
    #[error("the password is changed, but not in the audit log: {0}")]
    DoneUnaudited(AuditError),
    #[error("the new password must be asked for, and there is no terminal to ask at")]
    NoTerminal,
    #[error("cannot ask for the new password: {0}")]
    Terminal(io::Error),
    #[error("cannot read the new password from stdin: {0}")]
    Stdin(io::Error),
}

impl Failure {
    fn print(&self) -> ExitCode {
        match self {
            Self::Problems(problems) => print::problems(problems),
            _ => print::error(self, self.hint()),
        }
        ExitCode::from(self.exit_code())
    }

    const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::SwitchedOff => Some("write admin.enabled: true, and start keygate again"),
            Self::NoFolder(_) => {
                Some("start keygate once, which makes it, or name it with --data-dir or --config")
            }
            Self::AlreadySetUp => {
                Some("sign in; where the password is lost: keygate admin reset-password")
            }
            Self::Account(error) | Self::Reset(ResetError::Account(error)) => Some(error.hint()),
            Self::Reset(ResetError::NoAccount) => Some("make it: keygate admin code"),
            Self::NotAudited(_) | Self::DoneUnaudited(_) => {
                Some("make the audit folder in the data folder writable for this user")
            }
            Self::NoTerminal => {
                Some("give it on stdin: keygate admin reset-password --stdin < FILE")
            }
            Self::Problems(_)
            | Self::Reset(ResetError::Password(_))
            | Self::Terminal(_)
            | Self::Stdin(_) => None,
        }
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Problems(_)
            | Self::SwitchedOff
            | Self::NoFolder(_)
            | Self::NoTerminal
            | Self::Reset(ResetError::Password(_)) => WRONG,
            Self::AlreadySetUp
            | Self::Account(_)
            | Self::Reset(ResetError::NoAccount | ResetError::Account(_))
            | Self::NotAudited(_)
            | Self::DoneUnaudited(_)
            | Self::Terminal(_)
            | Self::Stdin(_) => FAILED,
        }
    }
}

/// The configuration, and the files that the commands work on.
struct Desk {
    config: Config,
    file: AccountFile,
    clock: Clock,
}

fn open(overrides: &Overrides) -> Result<Desk, Failure> {
    let overrides = Overrides {
        upstream: Some(SOME_UPSTREAM.to_owned()),
        ..overrides.clone()
    };
    let loaded = config::load(&overrides, environment()).map_err(Failure::Problems)?;
    Desk::new(loaded.config, Clock::system())
}

impl Desk {
    fn new(config: Config, clock: Clock) -> Result<Self, Failure> {
        if !config.admin.enabled {
            return Err(Failure::SwitchedOff);
        }
        let folder: &Path = &config.data_dir;
        // One that cannot be looked into is the files' own error.
        if let Err(error) = fs::metadata(folder)
            && error.kind() == io::ErrorKind::NotFound
        {
            return Err(Failure::NoFolder(folder.to_owned()));
        }
        Ok(Self {
            file: AccountFile::new(folder),
            config,
            clock,
        })
    }

    fn administrator(&self) -> Result<String, Failure> {
        let administrator = self.file.read()?.administrator;
        Ok(administrator.ok_or(ResetError::NoAccount)?.name)
    }

    fn invite(&self, listen: SocketAddr, terminal: bool) -> Result<Invitation, Failure> {
        if self.file.read()?.administrator.is_some() {
            return Ok(Invitation::None);
        }
        if !terminal {
            let text = "  not set up yet: keygate admin code prints the one-time code";
            return Ok(Invitation::Plain(text.to_owned()));
        }
        let url = access::setup_url(&self.config.admin, listen, &self.make_code()?);
        let text = format!("  set it up, once, within an hour: {}", url.expose());
        Ok(Invitation::Secret(Secret::new(text)))
    }

    /// A code that nobody has audited is not shown, and so is nobody's.
    fn make_code(&self) -> Result<Secret, Failure> {
        let code = access::make_code(&self.file, self.clock.wall())?;
        let code = code.ok_or(Failure::AlreadySetUp)?;
        self.audit(Action::CodeMade, None)
            .map_err(Failure::NotAudited)?;
        Ok(code)
    }

    fn reset_password(&self, password: &Secret) -> Result<String, Failure> {
        let name = access::reset_password(&self.file, password, self.clock.wall())?;
        self.audit(Action::PasswordChanged, Some(format!("reset for {name}")))
            .map_err(Failure::DoneUnaudited)?;
        Ok(name)
    }

    fn audit(&self, action: Action, detail: Option<String>) -> Result<(), AuditError> {
        let audit = Audit::open(&self.config.data_dir.join("audit"), self.clock.clone())?;
        audit.write(&Event {
            detail,
            ..Event::new(Actor::Shell(user::name()), action)
        })
    }
}

/// Asks twice, without an echo, until both are the same and good.
fn ask_password(name: &str) -> Result<Secret, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::NoTerminal);
    }
    let check = |password: &String| {
        access::check_password(name, &Secret::new(password.clone())).map_err(|e| e.to_string())
    };
    let asked = Password::new()
        .with_prompt(format!("New password for {name}"))
        .with_confirmation("The same again", "these were two different passwords")
        .validate_with(check)
        .interact();
    match asked {
        Ok(password) => Ok(Secret::new(password)),
        Err(dialoguer::Error::IO(error)) => Err(Failure::Terminal(error)),
    }
}

/// The password that was piped in; one line end behind it is not meant.
fn read_password(from: impl Read) -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(STDIN_BYTES_MAX + 1));
    let limit = u64::try_from(STDIN_BYTES_MAX).unwrap_or(u64::MAX);
    from.take(limit)
        .read_to_end(&mut bytes)
        .map_err(Failure::Stdin)?;
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Secret::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            let why = io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
            Err(Failure::Stdin(why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "four random words";

    fn desk() -> (tempfile::TempDir, Desk) {
        let folder = tempfile::tempdir().unwrap();
        let overrides = Overrides {
            upstream: Some(SOME_UPSTREAM.to_owned()),
            data_dir: Some(folder.path().display().to_string()),
            ..Overrides::default()
        };
        let config = config::load(&overrides, []).unwrap().config;
        (folder, Desk::new(config, Clock::system()).unwrap())
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    /// Makes the account the way a browser does.
    fn set_up(desk: &Desk) {
        let code = desk.make_code().unwrap();
        let admin = &desk.config.admin;
        let access = access::Access::new(admin, &desk.config.data_dir, desk.clock.clone());
        let setup = access::Setup {
            code: &code,
            name: "admin",
            password: &secret(PASSWORD),
        };
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        access
            .set_up(&http::HeaderMap::new(), client, &setup)
            .unwrap();
    }

    #[test]
    fn a_code_is_made_until_there_is_an_account() {
        let (folder, desk) = desk();
        set_up(&desk);
        assert!(matches!(desk.make_code(), Err(Failure::AlreadySetUp)));
        let log = fs::read_to_string(folder.path().join("audit/audit.ndjson")).unwrap();
        assert!(
            log.contains("\"kind\":\"shell\"") && log.contains("admin.code_made"),
            "{log}"
        );
    }

    #[test]
    fn run_shows_a_code_to_people_only_and_only_until_there_is_an_account() {
        let (folder, desk) = desk();
        let listen = "127.0.0.1:4711".parse().unwrap();
        let invite = |desk: &Desk, terminal| desk.invite(listen, terminal).unwrap();
        let Invitation::Plain(text) = invite(&desk, false) else {
            panic!("no terminal, no code");
        };
        assert!(text.contains("keygate admin code"), "{text}");
        assert!(!folder.path().join("admin.json").exists());
        let Invitation::Secret(text) = invite(&desk, true) else {
            panic!("a terminal gets a code");
        };
        assert!(text.expose().contains("http://127.0.0.1:4711/setup#code="));
        assert!(desk.file.read().unwrap().code.is_some());
        set_up(&desk);
        assert!(matches!(invite(&desk, true), Invitation::None));
    }

    #[test]
    fn a_password_is_reset_and_audited_and_not_shown() {
        let (folder, desk) = desk();
        assert!(matches!(
            desk.administrator(),
            Err(Failure::Reset(ResetError::NoAccount))
        ));
        set_up(&desk);
        assert_eq!(desk.administrator().unwrap(), "admin");
        let before = desk.file.read().unwrap();
        let short = desk.reset_password(&secret("short")).unwrap_err();
        assert_eq!(short.exit_code(), WRONG);
        assert_eq!(desk.file.read().unwrap(), before);
        assert_eq!(
            desk.reset_password(&secret("canary words")).unwrap(),
            "admin"
        );
        assert_ne!(desk.file.read().unwrap(), before);
        let log = fs::read_to_string(folder.path().join("audit/audit.ndjson")).unwrap();
        assert!(
            log.contains("admin.password_changed") && !log.contains("canary"),
            "{log}"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_made() {
        let (folder, desk) = desk();
        let config = Config {
            data_dir: folder.path().join("absent"),
            ..desk.config
        };
        let failure = Desk::new(config, Clock::system()).err().unwrap();
        assert!(matches!(failure, Failure::NoFolder(_)), "{failure}");
        assert!(!folder.path().join("absent").exists());
    }

    #[test]
    fn a_piped_password_loses_one_line_end() {
        for (piped, expected) in [
            (&b"four random words"[..], "four random words"),
            (b"four random words\n", "four random words"),
            (b"four random words\r\n", "four random words"),
            (b"four random words\n\n", "four random words\n"),
            (b" x ", " x "),
        ] {
            assert_eq!(read_password(piped).unwrap().expose(), expected);
        }
        assert!(matches!(
            read_password(&b"\xff"[..]),
            Err(Failure::Stdin(_))
        ));
    }
}
