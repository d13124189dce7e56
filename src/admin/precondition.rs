//! `If-Match` and `If-None-Match` (RFC 9110 §13): whether what the client last saw is still what there is.
//! Pure. Not for: what an entity tag is made of, which each resource says itself.

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::header;

use crate::admin::error::ApiError;
use crate::admin::error::Code;

/// What the conditions of a request say of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They hold, or there are none.
    Holds,
    /// The client has it already: 304 where something is read.
    NotModified,
    /// They do not hold: 412.
    Fails,
}

/// The conditions of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

/// What such a field lists.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// `*`: whatever there is.
    Any,
    /// Each with whether it is weak, and its opaque text in quotes.
    List(Vec<(bool, String)>),
}

impl Conditions {
    /// Reads them.
    ///
    /// # Errors
    /// `malformed_request` when a field is no list of entity tags.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self {
            if_match: tags(headers, &header::IF_MATCH)?,
            if_none_match: tags(headers, &header::IF_NONE_MATCH)?,
        })
    }

    /// Whether `If-Match` is there.
    ///
    /// # Errors
    /// `precondition_required` when it is not.
    pub(crate) fn must_match(&self) -> Result<(), ApiError> {
        match self.if_match {
            Some(_) => Ok(()),
            None => Err(ApiError::new(
                Code::PreconditionRequired,
                "send If-Match with the ETag of the key as you last saw it, or * to change it whatever it is",
            )),
        }
    }

    /// Whether `If-None-Match: *` is there: the resource is to be made, not replaced.
    ///
    /// # Errors
    /// `precondition_required` when it is not.
    pub(crate) fn must_be_new(&self) -> Result<(), ApiError> {
        match self.if_none_match {
            Some(Tags::Any) => Ok(()),
            Some(Tags::List(_)) | None => Err(ApiError::new(
                Code::PreconditionRequired,
                "send If-None-Match: *, since a key is made here and never replaced; PATCH changes one",
            )),
        }
    }

    /// What they say of a resource with this entity tag, which is strong and in its quotes; none: there is no
    /// such resource.
    pub(crate) fn judge(&self, current: Option<&str>) -> Verdict {
        if let Some(wanted) = &self.if_match
            && !wanted.include(current, false)
        {
            return Verdict::Fails;
        }
        match &self.if_none_match {
            Some(known) if known.include(current, true) => Verdict::NotModified,
            Some(_) | None => Verdict::Holds,
        }
    }
}

impl Tags {
    /// Whether the tag is one of these; weak ones are equal to strong ones only where `weakly`.
    fn include(&self, current: Option<&str>, weakly: bool) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::List(tags), Some(current)) => tags
                .iter()
                .any(|(weak, tag)| tag == current && (weakly || !weak)),
        }
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    let malformed = || {
        ApiError::new(
            Code::MalformedRequest,
            format!(
                "the field {name} is no list of entity tags: expected * or \"…\", in quotes, as in ETag"
            ),
        )
    };
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    let (mut any, mut list) = (false, Vec::new());
    for line in lines {
        let mut rest = line.to_str().map_err(|_| malformed())?.trim_matches(OWS);
        while !rest.is_empty() {
            if let Some(behind) = rest.strip_prefix('*') {
                any = true;
                rest = behind;
            } else if !rest.starts_with(',') {
                let (weak, tag) = match rest.strip_prefix("W/") {
                    Some(tag) => (true, tag),
                    None => (false, rest),
                };
                let inner = tag.strip_prefix('"').ok_or_else(malformed)?;
                let end = inner.find('"').ok_or_else(malformed)?;
                let (tag, behind) = tag.split_at(end + 2);
                if !tag.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(malformed());
                }
                list.push((weak, tag.to_owned()));
                rest = behind;
            }
            rest = rest.trim_start_matches(OWS);
            match rest.strip_prefix(',') {
                Some(next) => rest = next.trim_start_matches(OWS),
                None if rest.is_empty() => {}
                None => return Err(malformed()),
            }
        }
    }
    match (any, list.is_empty()) {
        (true, true) => Ok(Some(Tags::Any)),
        (false, false) => Ok(Some(Tags::List(list))),
        (true, false) | (false, true) => Err(malformed()),
    }
}

const OWS: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn conditions(fields: &[(HeaderName, &str)]) -> Result<Conditions, ApiError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Conditions::of(&headers)
    }

    #[test]
    fn conditions_are_judged_as_rfc_9110_says() {
        use Verdict::*;
        let (m, n) = (header::IF_MATCH, header::IF_NONE_MATCH);
        type Row<'a> = (&'a [(HeaderName, &'a str)], Option<&'a str>, Verdict);
        let rows: &[Row<'_>] = &[
            (&[], Some("\"a\""), Holds),
            (&[(m.clone(), "\"a\"")], Some("\"a\""), Holds),
            (&[(m.clone(), "\"b\", \"a\"")], Some("\"a\""), Holds),
            (&[(m.clone(), "\"b\"")], Some("\"a\""), Fails),
            (&[(m.clone(), "W/\"a\"")], Some("\"a\""), Fails),
            (&[(m.clone(), "*")], Some("\"a\""), Holds),
            (&[(m.clone(), "*")], None, Fails),
            (
                &[(m.clone(), "\"b\""), (m.clone(), "\"a\"")],
                Some("\"a\""),
                Holds,
            ),
            (&[(m.clone(), "\"b,c\",,\"a\" ,")], Some("\"b,c\""), Holds),
            (&[(n.clone(), "\"a\"")], Some("\"a\""), NotModified),
            (&[(n.clone(), "W/\"a\"")], Some("\"a\""), NotModified),
            (&[(n.clone(), "\"b\"")], Some("\"a\""), Holds),
            (&[(n.clone(), "*")], Some("\"a\""), NotModified),
            (&[(n.clone(), "*")], None, Holds),
            (
                &[(m.clone(), "\"b\""), (n.clone(), "\"a\"")],
                Some("\"a\""),
                Fails,
            ),
            (
                &[(m.clone(), "\"a\""), (n.clone(), "\"a\"")],
                Some("\"a\""),
                NotModified,
            ),
        ];
        for (fields, current, expected) in rows {
            let verdict = conditions(fields).unwrap().judge(*current);
            assert_eq!(verdict, *expected, "{fields:?} {current:?}");
        }
    }

    #[test]
    fn what_is_no_list_of_entity_tags_is_refused() {
        for value in [
            "",
            ",",
            "a",
            "\"a",
            "\"a\" \"b\"",
            "w/\"a\"",
            "*, \"a\"",
            "\"a b\"",
            "**",
            "W/",
        ] {
            let error = conditions(&[(header::IF_MATCH, value)]).unwrap_err();
            assert_eq!(error.code, Code::MalformedRequest, "{value:?}");
        }
    }

    #[test]
    fn a_condition_that_is_needed_is_asked_for() {
        let none = conditions(&[]).unwrap();
        assert_eq!(
            none.must_match().unwrap_err().code,
            Code::PreconditionRequired
        );
        assert_eq!(
            none.must_be_new().unwrap_err().code,
            Code::PreconditionRequired
        );
        let tag = conditions(&[(header::IF_NONE_MATCH, "\"a\"")]).unwrap();
        assert_eq!(
            tag.must_be_new().unwrap_err().code,
            Code::PreconditionRequired
        );
        assert!(
            conditions(&[(header::IF_NONE_MATCH, "*")])
                .unwrap()
                .must_be_new()
                .is_ok()
        );
        assert!(
            conditions(&[(header::IF_MATCH, "\"a\"")])
                .unwrap()
                .must_match()
                .is_ok()
        );
    }
}
