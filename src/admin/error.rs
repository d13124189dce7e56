//! What the admin API answers when it says no: RFC 9457 problems with a stable code, and a JSON pointer for each field
//! that is wrong. One table of codes; the cause, which may name files, goes to the log and not to the client.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;
use serde_json::json;

/// Every way to say no: its name in answers and its status. One row a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::enum_variant_names,
    reason = "the code that is refused is the setup code"
)]
pub(crate) enum Code {
    /// Nobody is signed in, or the token is unknown.
    Unauthenticated,
    /// The administrator's account is still to be made.
    SetupRequired,
    /// The account is there already.
    AlreadySetUp,
    /// The setup code is wrong, used or too old.
    CodeRefused,
    /// Name or password is wrong.
    LoginFailed,
    /// Too many failed attempts; with `Retry-After`.
    SlowDown,
    /// The `Host` is not one of ours.
    HostNotAllowed,
    /// Another site asks.
    OriginNotAllowed,
    /// No such path.
    NotFound,
    /// No such key.
    KeyNotFound,
    /// No record of such a request.
    TransactionNotFound,
    /// The path has no such method.
    MethodNotAllowed,
    /// Not JSON by its `Content-Type`.
    UnsupportedMediaType,
    /// A body beyond the limit.
    BodyTooLarge,
    /// The body does not come.
    BodyTooSlow,
    /// The body is not JSON.
    MalformedBody,
    /// The query or a header cannot be understood.
    MalformedRequest,
    /// A field is wrong; `errors` says which.
    InvalidField,
    /// Another key has the name; `holder` says which.
    NameTaken,
    /// Another key has the id.
    IdTaken,
    /// Another key has the token.
    TokenTaken,
    /// The resource has changed since it was read.
    Stale,
    /// `If-Match` or `If-None-Match` is missing.
    PreconditionRequired,
    /// The key file has errors.
    KeyFileBroken,
    /// The key file cannot be written.
    KeyFileReadOnly,
    /// Its text cannot be edited in this place.
    KeyFileShape,
    /// Somebody else is editing for too long.
    KeyFileLocked,
    /// Files of certificates have errors.
    CertificatesBroken,
    /// Keys that came in are no keys; `problems` says why.
    ImportRefused,
    /// Keys that came in collide with those that are there.
    ImportConflict,
    /// Who may administer cannot be read from the disk, so nobody may by account.
    AccountFileBroken,
    /// No copy of the token was kept.
    NotRecoverable,
    /// The secret that opens the copy is missing.
    SecretMissing,
    /// The copy is damaged.
    SealDamaged,
    /// The disk does not take it.
    NotWritten,
    /// The proxy's listener does not take a request, or breaks off.
    ProxyUnreachable,
    /// The proxy does not answer.
    ProxyTimeout,
    /// So many live streams and exports are open already; with `Retry-After`.
    TooManyStreams,
    /// keygate is stopping.
    Stopping,
    /// A fault of keygate.
    Internal,
}

impl Code {
    /// Name in answers, status, and title.
    pub(crate) const fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unauthenticated => ("unauthenticated", S::UNAUTHORIZED, "Sign in"),
            Self::SetupRequired => ("setup_required", S::UNAUTHORIZED, "Not set up yet"),
            Self::AlreadySetUp => ("already_set_up", S::CONFLICT, "Already set up"),
            Self::CodeRefused => ("code_refused", S::FORBIDDEN, "Setup code refused"),
            Self::LoginFailed => ("login_failed", S::UNAUTHORIZED, "Wrong name or password"),
            Self::SlowDown => ("slow_down", S::TOO_MANY_REQUESTS, "Too many attempts"),
            Self::HostNotAllowed => ("host_not_allowed", S::MISDIRECTED_REQUEST, "Unknown host"),
            Self::OriginNotAllowed => ("origin_not_allowed", S::FORBIDDEN, "Another site asked"),
            Self::NotFound => ("not_found", S::NOT_FOUND, "No such path"),
            Self::KeyNotFound => ("key_not_found", S::NOT_FOUND, "No such key"),
            Self::TransactionNotFound => {
                ("transaction_not_found", S::NOT_FOUND, "No such transaction")
            }
            Self::MethodNotAllowed => ("method_not_allowed", S::METHOD_NOT_ALLOWED, "Wrong method"),
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                S::UNSUPPORTED_MEDIA_TYPE,
                "Wrong content type",
            ),
            Self::BodyTooLarge => ("body_too_large", S::PAYLOAD_TOO_LARGE, "Body too large"),
            Self::BodyTooSlow => ("body_too_slow", S::REQUEST_TIMEOUT, "Body too slow"),
            Self::MalformedBody => ("malformed_body", S::BAD_REQUEST, "Malformed body"),
            Self::MalformedRequest => ("malformed_request", S::BAD_REQUEST, "Malformed request"),
            Self::InvalidField => ("invalid_field", S::UNPROCESSABLE_ENTITY, "Invalid field"),
            Self::NameTaken => ("name_taken", S::CONFLICT, "Name taken"),
            Self::IdTaken => ("id_taken", S::CONFLICT, "Id taken"),
            Self::TokenTaken => ("token_taken", S::CONFLICT, "Token taken"),
            Self::Stale => ("stale", S::PRECONDITION_FAILED, "Changed in the meantime"),
            Self::PreconditionRequired => (
                "precondition_required",
                S::PRECONDITION_REQUIRED,
                "Precondition required",
            ),
            Self::KeyFileBroken => ("key_file_broken", S::CONFLICT, "The key file has errors"),
            Self::KeyFileReadOnly => (
                "key_file_read_only",
                S::CONFLICT,
                "The key file is read-only",
            ),
            Self::KeyFileShape => (
                "key_file_shape",
                S::CONFLICT,
                "The key file cannot be edited",
            ),
            Self::KeyFileLocked => ("key_file_locked", S::CONFLICT, "The key file is locked"),
            Self::CertificatesBroken => (
                "certificates_broken",
                S::CONFLICT,
                "Certificates have errors",
            ),
            Self::ImportRefused => (
                "import_refused",
                S::UNPROCESSABLE_ENTITY,
                "Nothing imported",
            ),
            Self::ImportConflict => ("import_conflict", S::CONFLICT, "Nothing imported"),
            Self::AccountFileBroken => (
                "account_file_broken",
                S::SERVICE_UNAVAILABLE,
                "The account cannot be read",
            ),
            Self::NotRecoverable => ("not_recoverable", S::CONFLICT, "No copy was kept"),
            Self::SecretMissing => ("secret_missing", S::CONFLICT, "The secret is missing"),
            Self::SealDamaged => ("seal_damaged", S::CONFLICT, "The sealed copy is damaged"),
            Self::NotWritten => ("not_written", S::INSUFFICIENT_STORAGE, "Not written"),
            Self::ProxyUnreachable => ("proxy_unreachable", S::BAD_GATEWAY, "No way to the proxy"),
            Self::ProxyTimeout => (
                "proxy_timeout",
                S::GATEWAY_TIMEOUT,
                "No answer from the proxy",
            ),
            Self::TooManyStreams => ("too_many_streams", S::TOO_MANY_REQUESTS, "Too many streams"),
            Self::Stopping => ("stopping", S::SERVICE_UNAVAILABLE, "Stopping"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Internal error"),
        }
    }
}

/// A hostile body has thousands of wrong fields, and its answer would be ten times as large.
pub(crate) const FIELD_ERRORS_MAX: usize = 100;

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    /// RFC 6901, as a fragment: `#/allow/paths/0`.
    pub(crate) pointer: String,
    /// What is wrong, and what is allowed.
    pub(crate) detail: String,
}

/// An answer that says no.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) code: Code,
    /// What happened, and what to do. No secrets.
    pub(crate) detail: String,
    pub(crate) errors: Vec<FieldError>,
    /// More members of the problem: `holder`, `current`, `entry`, `wanted`.
    pub(crate) members: serde_json::Map<String, serde_json::Value>,
    /// Seconds for `Retry-After`.
    pub(crate) retry_after: Option<u64>,
    /// For the log alone.
    pub(crate) cause: Option<String>,
}

impl ApiError {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            members: serde_json::Map::new(),
            retry_after: None,
            cause: None,
        }
    }

    /// Fields that are wrong, all of them that anybody reads; at least one.
    pub(crate) fn fields(mut errors: Vec<FieldError>) -> Self {
        let first = errors.first();
        let said = first.map_or_else(String::new, |error| {
            format!("{}: {}", error.pointer, error.detail)
        });
        let detail = match errors.len() {
            0 | 1 => said,
            2 => format!("{said} (and 1 more)"),
            count => format!("{said} (and {} more)", count - 1),
        };
        errors.truncate(FIELD_ERRORS_MAX);
        Self {
            errors,
            ..Self::new(Code::InvalidField, detail)
        }
    }

    /// One more member of the problem.
    pub(crate) fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// What the log says besides.
    pub(crate) fn because(mut self, cause: &dyn ToString) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// The answer, and a line in the log where the fault is ours.
    pub(crate) fn answer(self, request_id: &str) -> Response {
        let (code, status, title) = self.code.row();
        if status.is_server_error() {
            let cause = self.cause.as_deref().unwrap_or_default();
            tracing::warn!(request_id, code, detail = %self.detail, cause, "an admin request failed");
        } else {
            tracing::debug!(request_id, code, detail = %self.detail, "an admin request was refused");
        }
        let errors: Vec<_> = self
            .errors
            .iter()
            .map(|error| json!({"pointer": error.pointer, "detail": error.detail}))
            .collect();
        let mut problem = json!({
            "type": format!("urn:keygate:problem:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
            "code": code,
            "request_id": request_id,
        });
        if let Some(members) = problem.as_object_mut() {
            if !errors.is_empty() {
                members.insert("errors".to_owned(), errors.into());
            }
            members.extend(self.members);
        }
        let mut response = Response::new(Body::from(problem.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"keygate admin\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_wrong_fields_are_named_and_the_first_is_said() {
        let wrong = |pointer: &str| FieldError {
            pointer: pointer.to_owned(),
            detail: "expected text".to_owned(),
        };
        for (pointers, said) in [
            (&["#/a"][..], "#/a: expected text"),
            (&["#/a", "#/b"], "#/a: expected text (and 1 more)"),
            (&["#/a", "#/b", "#/c"], "#/a: expected text (and 2 more)"),
        ] {
            let errors = pointers.iter().map(|pointer| wrong(pointer)).collect();
            assert_eq!(ApiError::fields(errors).detail, said);
        }
    }
}
