//! The way back in for who owns the data folder. Not for: the administrator's own change of the password, which
//! needs the current one (`Access::change_password`).

use crate::admin::access::account::Account;
use crate::admin::access::account::AccountError;
use crate::admin::access::account::AccountFile;
use crate::admin::access::password::PasswordError;
use crate::admin::access::password::PasswordHash;
use crate::admin::access::password::check_password;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// Why a password was not reset.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResetError {
    #[error("there is no administrator's account yet")]
    NoAccount,
    #[error("the password is refused: {0}")]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Account(#[from] AccountError),
}

/// Gives the account another password, for who owns the file; returns the account's name. All sessions end.
pub(crate) fn reset_password(
    file: &AccountFile,
    new: &Secret,
    now: Timestamp,
) -> Result<String, ResetError> {
    let name = |account: &Account| account.administrator.as_ref().map(|one| one.name.clone());
    let before = name(&file.read()?).ok_or(ResetError::NoAccount)?;
    check_password(&before, new)?;
    let reset = file.update(|account| {
        let administrator = account.administrator.as_mut()?;
        administrator.password = PasswordHash::of(new);
        administrator.changed_at = now;
        Some(administrator.name.clone())
    })?;
    reset.ok_or(ResetError::NoAccount)
}
