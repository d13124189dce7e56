//! The administrator's account for who owns the data folder and needs no setup code: the wizard at a terminal.
//! Not for: setting up over HTTP, which takes the code (`Access::set_up`).

use crate::admin::access::account::AccountError;
use crate::admin::access::account::AccountFile;
use crate::admin::access::account::Administrator;
use crate::admin::access::password::NameError;
use crate::admin::access::password::PasswordError;
use crate::admin::access::password::PasswordHash;
use crate::admin::access::password::check_name;
use crate::admin::access::password::check_password;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FirstError {
    #[error("the name of the administrator is refused: {0}")]
    Name(#[from] NameError),
    #[error("the password is refused: {0}")]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Account(#[from] AccountError),
}

/// Makes the account, unless there is one: then returns false. A setup code no longer counts.
pub(crate) fn make_account(
    file: &AccountFile,
    name: &str,
    password: &Secret,
    now: Timestamp,
) -> Result<bool, FirstError> {
    let name = check_name(name)?;
    check_password(&name, password)?;
    let made = file.update(|account| {
        if account.administrator.is_some() {
            return false;
        }
        account.code = None;
        account.administrator = Some(Administrator {
            name,
            password: PasswordHash::of(password),
            changed_at: now,
        });
        true
    })?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_made_once_and_ends_the_setup_code() {
        let folder = tempfile::tempdir().unwrap();
        let file = AccountFile::new(folder.path());
        let now = Timestamp::from_micros(1_000_000);
        crate::admin::access::code::make(&file, now).unwrap();
        let make = |name, password: &str| {
            make_account(&file, name, &Secret::new(password.to_owned()), now)
        };
        assert!(matches!(
            make("a b ", "a-good-password"),
            Err(FirstError::Name(_))
        ));
        assert!(matches!(
            make("admin", "short"),
            Err(FirstError::Password(_))
        ));
        assert!(file.read().unwrap().administrator.is_none());
        assert!(make("admin", "a-good-password").unwrap());
        assert!(!make("other", "another-password").unwrap());
        let account = file.read().unwrap();
        assert_eq!(account.code, None);
        let administrator = account.administrator.unwrap();
        assert_eq!(administrator.name, "admin");
        let good = Secret::new("a-good-password".to_owned());
        assert!(administrator.password.verify(&good));
    }
}
