//! What is answered to whoever is not let in: codes, and what to do. Names no files; the cause does, for the log.

use crate::admin::access::account::AccountError;
use crate::admin::access::slow_down::Wait;
use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::error::FieldError;

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        let (code, detail) = match &error {
            AccountError::Unreadable { .. } | AccountError::Damaged { .. } => (
                Code::AccountFileBroken,
                "the administrator's account cannot be read; keygate's log says why and what to do",
            ),
            AccountError::Unwritable { .. } => (
                Code::NotWritten,
                "the administrator's account cannot be written; keygate's log says why and what to do",
            ),
            AccountError::Locked { .. } => (
                Code::NotWritten,
                "another process is changing the administrator's account: try again",
            ),
        };
        Self {
            cause: Some(format!("{error}: {}", error.hint())),
            ..Self::new(code, detail)
        }
    }
}

pub(super) fn slow_down(Wait(seconds): Wait) -> ApiError {
    ApiError {
        retry_after: Some(seconds),
        ..ApiError::new(
            Code::SlowDown,
            format!("too many attempts: try again in {seconds} s"),
        )
    }
}

pub(super) fn setup_required() -> ApiError {
    ApiError::new(
        Code::SetupRequired,
        "make the administrator's account with the setup code first; keygate admin code prints one",
    )
}

pub(super) fn already_set_up() -> ApiError {
    ApiError::new(
        Code::AlreadySetUp,
        "there is an administrator's account: sign in, or reset its password with keygate admin reset-password",
    )
}

pub(super) fn login_failed() -> ApiError {
    ApiError::new(
        Code::LoginFailed,
        "the name or the password is wrong; keygate admin reset-password sets a new one",
    )
}

pub(super) fn field(pointer: &str, error: &impl ToString) -> FieldError {
    FieldError {
        pointer: pointer.to_owned(),
        detail: error.to_string(),
    }
}

pub(super) fn invalid(errors: Vec<FieldError>) -> ApiError {
    ApiError {
        errors,
        ..ApiError::new(Code::InvalidField, "a field is wrong: see errors")
    }
}
