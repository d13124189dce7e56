//! What the wizard wants to know: from a flag, from a default where nothing is asked, or from whoever sits at the
//! terminal, who is asked again until the answer is one that will do.

use std::io;
use std::io::IsTerminal;
use std::io::Read;

use dialoguer::Input;
use dialoguer::Password;
use zeroize::Zeroizing;

use crate::admin::access::check_password;
use crate::cli::init::InitArgs;
use crate::cli::init::files;
use crate::key::token::Token;
use crate::secret::Secret;
use crate::store::import::plan;

const ADMIN_NAME: &str = "admin";
const KEY_NAME: &str = "default";
const UPSTREAM: &str = "http://127.0.0.1:3000";
/// More than the longest password takes.
const STDIN_BYTES_MAX: usize = 4096;

/// Why something is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("there is nobody to ask: stdin or stderr is no terminal")]
    NoTerminal,
    #[error("where is the service behind keygate?")]
    NoUpstream,
    #[error("--upstream: {what}")]
    Upstream { what: String },
    #[error("--key-name: {what}")]
    KeyName { what: String },
    #[error("the password on stdin is not text")]
    NotText,
    #[error("cannot read stdin: {0}")]
    Stdin(io::Error),
    #[error("cannot ask: {0}")]
    Terminal(io::Error),
}

impl AskError {
    pub(super) const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoTerminal => Some("keygate init --yes --upstream URL asks nothing"),
            Self::NoUpstream => Some("add --upstream http://HOST:PORT"),
            Self::Upstream { .. }
            | Self::KeyName { .. }
            | Self::NotText
            | Self::Stdin(_)
            | Self::Terminal(_) => None,
        }
    }
}

impl From<dialoguer::Error> for AskError {
    fn from(dialoguer::Error::IO(error): dialoguer::Error) -> Self {
        Self::Terminal(error)
    }
}

/// Who gives the answers.
pub(super) struct Answers<'a> {
    args: &'a InitArgs,
}

impl<'a> Answers<'a> {
    /// Flags that are wrong are refused before anything is written.
    pub(super) fn of(args: &'a InitArgs) -> Result<Self, AskError> {
        let somebody = io::stdin().is_terminal() && io::stderr().is_terminal();
        if !(args.yes || somebody) {
            return Err(AskError::NoTerminal);
        }
        if let Some(upstream) = &args.upstream {
            files::check_upstream(upstream).map_err(|what| AskError::Upstream { what })?;
        }
        if let Some(name) = &args.key_name {
            plan::name(name).map_err(|what| AskError::KeyName { what })?;
        }
        Ok(Self { args })
    }

    pub(super) fn upstream(&self) -> Result<String, AskError> {
        if let Some(upstream) = &self.args.upstream {
            return Ok(upstream.clone());
        }
        if self.args.yes {
            return Err(AskError::NoUpstream);
        }
        let check = |text: &String| files::check_upstream(text);
        Ok(Input::new()
            .with_prompt("Where is the service behind keygate?")
            .default(UPSTREAM.to_owned())
            .validate_with(check)
            .interact_text()?)
    }

    pub(super) fn admin_name(&self) -> Result<String, AskError> {
        let said = self.args.admin_name.clone();
        self.text(said, "What is the administrator called?", ADMIN_NAME)
    }

    pub(super) fn key_name(&self) -> Result<String, AskError> {
        let said = self.args.key_name.clone();
        self.text(said, "What is the first API key called?", KEY_NAME)
    }

    /// The administrator's password, and whether it was made here.
    pub(super) fn password(&self, name: &str) -> Result<(Secret, bool), AskError> {
        if self.args.password_stdin {
            return Ok((password_from_stdin()?, false));
        }
        if self.args.yes {
            // As random as a token, and nothing that looks like one.
            let made = Token::make();
            let password = made.expose().trim_start_matches("kg_").to_owned();
            return Ok((Secret::new(password), true));
        }
        let check = |text: &String| {
            let password = Secret::new(text.clone());
            check_password(name, &password).map_err(|error| error.to_string())
        };
        let password = Password::new()
            .with_prompt("A password for the administrator")
            .with_confirmation("The same again", "the two differ")
            .validate_with(check)
            .interact()?;
        Ok((Secret::new(password), false))
    }

    fn text(&self, said: Option<String>, prompt: &str, default: &str) -> Result<String, AskError> {
        if let Some(said) = said {
            return Ok(said);
        }
        if self.args.yes {
            return Ok(default.to_owned());
        }
        Ok(Input::new()
            .with_prompt(prompt)
            .default(default.to_owned())
            .validate_with(|text: &String| plan::name(text).map(drop))
            .interact_text()?)
    }
}

/// All of stdin, without the line end that `echo` adds.
fn password_from_stdin() -> Result<Secret, AskError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(STDIN_BYTES_MAX));
    let limit = u64::try_from(STDIN_BYTES_MAX).expect("a small number");
    io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(AskError::Stdin)?;
    let text = str::from_utf8(&bytes).map_err(|_| AskError::NotText)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Ok(Secret::new(text.to_owned()))
}
