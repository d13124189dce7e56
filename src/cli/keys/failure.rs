//! Why a command about keys could not be carried out: what failed, where, why, and what to do, with the exit code. Never
//! a token.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::audit::AuditError;
use crate::cli::FAILED;
use crate::cli::WRONG;
use crate::cli::print;
use crate::key::KeyId;
use crate::problem::Problem;
use crate::store::edit::EditError;
use crate::store::edit::Taken;
use crate::store::seal::RewriteError;
use crate::store::seal::SealError;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Failure {
    /// Config, key file or import have problems, each with its place.
    #[error("{} problems", .0.len())]
    Problems(Vec<Problem>),
    /// A flag or argument is wrong.
    #[error("{what}")]
    Use {
        what: String,
        hint: Option<&'static str>,
    },
    #[error("there is no key with the id or name {wanted:?}")]
    Unknown { wanted: String, near: Vec<String> },
    #[error("{wanted:?} is the id of one key and the name of another")]
    Ambiguous {
        wanted: String,
        candidates: [String; 2],
    },
    #[error("{what} needs a yes, and there is no terminal to ask at")]
    NotConfirmed { what: &'static str },
    #[error("nothing was deleted")]
    Declined,
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error("the token of {key} cannot be shown: nobody kept a copy of it")]
    NotRecoverable { key: String },
    #[error("the sealed copy of {key} is of an older token")]
    OldCopy { key: String },
    #[error("not done, since nobody could see it later: {0}")]
    NotAudited(AuditError),
    #[error("it is done, but not in the audit log: {0}")]
    DoneUnaudited(AuditError),
    #[error("cannot {act}: {}: {source}", path.display())]
    File {
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("no record has the request id {request_id:?} in {}", folder.display())]
    NoTransaction { request_id: String, folder: PathBuf },
    #[error("cannot read stdin: {0}")]
    Stdin(io::Error),
    #[error("cannot write to stdout: {0}")]
    Stdout(io::Error),
    #[error("{not_opened} of the sealed copies could not be opened, and stay as they are")]
    NotAllResealed { not_opened: usize },
    #[error("cannot ask: {0}")]
    Terminal(io::Error),
}

impl Failure {
    pub(super) fn wrong(what: impl Into<String>) -> Self {
        Self::Use {
            what: what.into(),
            hint: None,
        }
    }

    /// Says all of it on stderr.
    pub(in crate::cli) fn print(&self) -> ExitCode {
        match self {
            Self::Problems(problems) | Self::Edit(EditError::Broken { problems }) => {
                print::problems(problems);
            }
            Self::Edit(EditError::ReadOnly {
                entry: Some(entry), ..
            }) => {
                print::error(self, self.hint().as_deref());
                print::note(entry);
            }
            _ => print::error(self, self.hint().as_deref()),
        }
        ExitCode::from(self.exit_code())
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Use { hint, .. } => return hint.map(str::to_owned),
            Self::Unknown { near, .. } if !near.is_empty() => {
                return Some(format!("near to it: {}", near.join(", ")));
            }
            Self::Ambiguous { candidates, .. } => {
                return Some(format!(
                    "give the id of the one you mean: {}",
                    candidates.join(" or ")
                ));
            }
            Self::Edit(error) => return edit_hint(error).map(str::to_owned),
            Self::Seal(error) | Self::Rewrite(RewriteError::Unusable(error)) => seal_hint(error),
            Self::Unknown { .. } => "keygate keys list shows all of them",
            Self::NotConfirmed { .. } => "add --yes",
            Self::NoTransaction { .. } => {
                "it may be pruned, not recorded (transactions.enabled, skip_paths, record: false), or in another instance's log"
            }
            Self::NotRecoverable { .. } | Self::OldCopy { .. } => {
                "keygate keys rotate gives the key a new token"
            }
            Self::NotAudited(_) | Self::DoneUnaudited(_) => {
                "make the audit folder in the data folder writable for this user"
            }
            Self::NotAllResealed { .. } => "give those keys new tokens: keygate keys rotate",
            Self::Rewrite(RewriteError::Unwritable { source, .. }) => {
                if source.raw_os_error().is_some() && source.kind() == io::ErrorKind::ResourceBusy {
                    "a file that is mounted by itself cannot be replaced: run this where the file comes from"
                } else {
                    "the secrets are as they were; make room, or look at the folder's mode"
                }
            }
            Self::Problems(_)
            | Self::Declined
            | Self::File { .. }
            | Self::Stdin(_)
            | Self::Stdout(_)
            | Self::Terminal(_) => return None,
        };
        Some(text.to_owned())
    }

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Problems(_)
            | Self::Use { .. }
            | Self::Ambiguous { .. }
            | Self::NotConfirmed { .. }
            | Self::Edit(EditError::Broken { .. }) => WRONG,
            Self::Unknown { .. }
            | Self::Declined
            | Self::Edit(_)
            | Self::Seal(_)
            | Self::Rewrite(_)
            | Self::NotRecoverable { .. }
            | Self::OldCopy { .. }
            | Self::NotAudited(_)
            | Self::DoneUnaudited(_)
            | Self::File { .. }
            | Self::NoTransaction { .. }
            | Self::Stdin(_)
            | Self::Stdout(_)
            | Self::NotAllResealed { .. }
            | Self::Terminal(_) => FAILED,
        }
    }
}

const fn edit_hint(error: &EditError) -> Option<&'static str> {
    Some(match error {
        EditError::Stale { .. } => "somebody else keeps changing the file: try again",
        EditError::Taken {
            what: Taken::Name, ..
        } => "choose another name",
        EditError::Taken {
            what: Taken::Id, ..
        } => "choose another id",
        EditError::Taken {
            what: Taken::Token, ..
        } => "a token has one key",
        EditError::ReadOnly { entry: Some(_), .. } => {
            "edit the file where it is mounted from; the entry to put there:"
        }
        EditError::ReadOnly { entry: None, .. } => "edit the file where it is mounted from",
        EditError::Unwritable { .. } => "nothing has changed; make room, or look at the disk",
        EditError::Shape { .. } => "edit the file by hand",
        EditError::Locked { .. } => "try again",
        EditError::Broken { .. } | EditError::Unknown { .. } | EditError::Stopping => return None,
    })
}

const fn seal_hint(error: &SealError) -> &'static str {
    match error {
        SealError::Missing { .. } => "put the secret file back from where it was saved",
        SealError::Unreadable { .. } => "run this as the user that keygate runs as",
        SealError::Malformed { .. } => "put the secret file back from where it was saved",
        SealError::SecretMissing { .. } => {
            "put the line with that secret back into the secret file, or give the key a new token: keygate keys rotate"
        }
        SealError::Damaged { .. } => "give the key a new token: keygate keys rotate",
    }
}

/// `name (id)`
pub(super) fn called(name: &str, id: &KeyId) -> String {
    format!("{} ({id})", print::seen(name))
}
