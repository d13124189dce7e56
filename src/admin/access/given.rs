//! What people give to set keygate up and to sign in. Not for: whether it is right.

use crate::admin::access::answers::field;
use crate::admin::access::answers::invalid;
use crate::admin::access::password::check_name;
use crate::admin::access::password::check_password;
use crate::admin::error::ApiError;
use crate::secret::Secret;

/// What makes an account.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) code: &'a Secret,
    pub(crate) name: &'a str,
    pub(crate) password: &'a Secret,
}

impl Setup<'_> {
    /// The name as it will be kept, or all that is wrong with the fields.
    pub(super) fn check(&self) -> Result<String, ApiError> {
        let name = check_name(self.name);
        let right_name = name.as_deref().unwrap_or_default();
        let password = check_password(right_name, self.password);
        let errors: Vec<_> = [
            name.as_ref().err().map(|error| field("#/name", error)),
            password.err().map(|error| field("#/password", &error)),
        ]
        .into_iter()
        .flatten()
        .collect();
        name.ok()
            .filter(|_| errors.is_empty())
            .ok_or_else(|| invalid(errors))
    }
}

/// What signs in.
#[derive(Debug)]
pub(crate) struct Credentials<'a> {
    pub(crate) name: &'a str,
    pub(crate) password: &'a Secret,
}
