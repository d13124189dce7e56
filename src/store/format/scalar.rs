//! Texts in the key file that stand for something else than text. Errors are sentences for a person and leave
//! out what was written.

use crate::clock::Timestamp;
use crate::key::token::Digest;

pub(super) fn digest(text: &str) -> Result<Digest, String> {
    Digest::parse(text).map_err(|error| error.to_string())
}

pub(super) fn date(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|_| "expected a date such as 2026-11-23T10:00:00Z".to_owned())
}

pub(super) fn mask(text: &str) -> Result<Box<str>, String> {
    let fits =
        (1..=32).contains(&text.chars().count()) && (text.contains('…') || text.contains("..."));
    if fits {
        Ok(text.into())
    } else {
        Err("expected a hint at the token such as kg_3fA9…x7Q2".to_owned())
    }
}

/// The shape of a sealed token: what is in it, only the admin side can tell.
pub(super) fn sealed(text: &str) -> Result<Box<str>, String> {
    let is_base64 = |text: &str| {
        let body = text.trim_end_matches('=');
        !body.is_empty()
            && text.len().is_multiple_of(4)
            && text.len() - body.len() <= 2
            && body
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
    };
    match text.strip_prefix("v1:") {
        Some(rest) if is_base64(rest) => Ok(text.into()),
        _ => Err("expected \"v1:\" and base64, as keygate writes it".to_owned()),
    }
}
