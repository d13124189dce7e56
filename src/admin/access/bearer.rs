//! The token in `Authorization: Bearer`, as RFC 6750 has it: the scheme in any case, one or more spaces behind it.
//! Not for: whose token it is (`token_file`).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::secret::Secret;

/// The token, where there is one. Another scheme is none: a proxy in front may have its own. Two fields are refused,
/// since a proxy in between may have looked at the other one.
pub(crate) fn find(headers: &HeaderMap) -> Result<Option<Secret>, ApiError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        let detail = "there is more than one Authorization field";
        return Err(ApiError::new(Code::Unauthenticated, detail));
    }
    let Some((scheme, rest)) = value.as_bytes().split_at_checked("bearer".len()) else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case(b"bearer") || rest.first().is_some_and(|byte| *byte != b' ') {
        return Ok(None);
    }
    let token = String::from_utf8_lossy(rest.trim_ascii()).into_owned();
    Ok(Some(Secret::new(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_bearer_token_counts() {
        for (values, expected) in [
            (&[] as &[&str], Ok(None)),
            (&["Bearer abc"], Ok(Some("abc"))),
            (&["bEARER   abc "], Ok(Some("abc"))),
            (&["Bearer"], Ok(Some(""))),
            (&["Bearer "], Ok(Some(""))),
            (&["Bearerabc"], Ok(None)),
            (&["Basic abc"], Ok(None)),
            (&["B"], Ok(None)),
            (&["Bearer abc", "Bearer abc"], Err(())),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            let found = find(&headers).map_err(|_| ());
            let found = found
                .as_ref()
                .map(|token| token.as_ref().map(Secret::expose));
            assert_eq!(found, expected.as_ref().map(|token| *token), "{values:?}");
        }
    }
}
