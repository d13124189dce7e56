//! Making a key: with a token made here, or one that its owner has already, or its digest alone. The token is shown
//! in the answer and then only by Copy, if a sealed copy could be kept; a missing secret file is a warning, and no
//! reason to make no key. Not for: a new token of a key that is there, which is `rotate`.

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::error::FieldError;
use crate::admin::keys::body;
use crate::admin::keys::body::Fields;
use crate::admin::keys::body::Json;
use crate::admin::keys::body::Shapes;
use crate::admin::keys::body::take;
use crate::admin::keys::body::wrong;
use crate::admin::keys::edit;
use crate::admin::keys::edit::Step;
use crate::admin::keys::json_bytes;
use crate::admin::keys::set_tag;
use crate::admin::keys::shown;
use crate::admin::keys::view::KeyView;
use crate::admin::keys::view::etag;
use crate::admin::precondition::Conditions;
use crate::admin::precondition::Verdict;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::blocking;
use crate::admin::routes::BASE;
use crate::audit::Action;
use crate::key::Key;
use crate::key::KeyFields;
use crate::key::KeyId;
use crate::key::token::Token;
use crate::key::token::base62;
use crate::store::edit::KeyEdit;

/// `POST /keys`.
pub(crate) async fn create(mut call: Call) -> Outcome {
    let bytes = call.body().await?;
    make(call, &bytes, None).await
}

/// `PUT /keys/{id}`.
pub(crate) async fn put(mut call: Call) -> Outcome {
    let bytes = call.body().await?;
    let id = call.key_id()?;
    let conditions = Conditions::of(&call.headers)?;
    conditions.must_be_new()?;
    if let Some(key) = call.shared.api.keys.snapshot().get(&id) {
        return Err(there_already(key));
    }
    if conditions.judge(None) == Verdict::Fails {
        let detail = "If-Match wants a key that is there, and there is none with this id";
        return Err(ApiError::new(Code::Stale, detail));
    }
    make(call, &bytes, Some(id)).await
}

async fn make(call: Call, body: &[u8], chosen: Option<KeyId>) -> Outcome {
    let shapes = if chosen.is_some() {
        body::PUT
    } else {
        body::CREATE
    };
    let (mut fields, secret) = wanted(body::read(body)?, shapes, chosen.as_ref())?;
    fields.created_at = Some(call.shared.api.clock.wall());
    let warning = secret.keep(&call, &mut fields).await?;
    let done = edit::run(&call, |table| {
        if let Some(id) = &chosen
            && let Some(key) = table.get(id)
        {
            return Err(there_already(key));
        }
        Ok(Step::Edit {
            before: None,
            edit: Box::new(KeyEdit::Add(fields.clone())),
        })
    })
    .await?;
    call.note_done(Action::KeyCreated, (None, done.after.clone()), None)
        .await;
    let after = done.after.expect("a key that was added is there");
    let mut response = with_token(&call, &after, secret.token.as_ref(), warning);
    *response.status_mut() = StatusCode::CREATED;
    let url_path = call.shared.api.config.admin.url_path();
    let location = format!(
        "{}{BASE}/keys/{}",
        url_path.trim_end_matches('/'),
        after.id()
    );
    let location =
        HeaderValue::from_str(&location).expect("ids and the path of admin.url are visible ASCII");
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// `If-None-Match: *` does not hold.
fn there_already(key: &Key) -> ApiError {
    let detail = "there is a key with this id already: PATCH changes it";
    ApiError::new(Code::Stale, detail).with("current", etag(key))
}

/// The key that the body describes.
fn wanted(
    mut fields: Fields<'_>,
    shapes: Shapes,
    chosen: Option<&KeyId>,
) -> Result<(KeyFields, NewSecret), ApiError> {
    let mut errors = Vec::new();
    body::check_shapes(&mut fields, shapes, &mut errors);
    let named = fields.iter().any(|(name, _)| name == "id");
    let secret = NewSecret::take(&mut fields, &mut errors);
    let key = body::check_key(fields, &mut errors);
    match key {
        Some(mut key) if errors.is_empty() => {
            key.tags = key.tags.filter(|tags| !tags.is_empty());
            match chosen {
                Some(id) => key.id = id.clone(),
                None if !named => key.id = random_id(),
                None => {}
            }
            key.mask = key.mask.or_else(|| secret.mask());
            Ok((key, secret))
        }
        Some(_) | None => Err(ApiError::fields(errors)),
    }
}

/// Of no name: names can be used again after a key is deleted, and ids should not.
fn random_id() -> KeyId {
    let number = getrandom::u64().expect("the kernel gives random bytes");
    let digits: String = base62::<10>(number).map(char::from).iter().collect();
    KeyId::parse(&format!("k_{digits}")).expect("base62 consists of letters and digits")
}

/// The secret side of a body: a token that was made or given, or none where only its digest is known.
pub(super) struct NewSecret {
    pub(super) token: Option<Token>,
    recoverable: Option<bool>,
}

impl NewSecret {
    /// Takes `token` and `recoverable` out of the body, makes a token where there is neither token nor digest, and
    /// leaves a `digest`.
    pub(super) fn take(fields: &mut Fields<'_>, errors: &mut Vec<FieldError>) -> Self {
        let given = take(fields, "token");
        let has = |name: &str| fields.iter().any(|(found, _)| found == name);
        let (has_digest, has_mask) = (has("digest"), has("mask"));
        if given.is_some() && has_digest {
            errors.push(wrong(
                "#/digest",
                "expected either `token` or `digest`, found both",
            ));
            take(fields, "digest");
        }
        if has_mask && (given.is_some() || !has_digest) {
            errors.push(wrong(
                "#/mask",
                "expected only with `digest`: else it is made from the token",
            ));
        }
        let recoverable = match take(fields, "recoverable") {
            Some(Json::Switch(on)) => Some(on),
            Some(_) | None => None,
        };
        if recoverable == Some(true) && has_digest && given.is_none() {
            let what = "a digest alone cannot be turned back into its token: send the token, or leave this out";
            errors.push(wrong("#/recoverable", what));
        }
        let token = match given {
            Some(Json::Text(text)) => match Token::parse(text.into_owned()) {
                Ok(token) => Some(token),
                Err(error) => {
                    errors.push(wrong("#/token", error.to_string()));
                    Some(Token::make()) // so that the other fields can be checked
                }
            },
            Some(_) | None if has_digest => None,
            Some(_) | None => Some(Token::make()),
        };
        if let Some(token) = &token {
            let digest = token.digest().to_string();
            fields.push(("digest".into(), Json::Text(digest.into())));
        }
        Self { token, recoverable }
    }

    pub(super) fn mask(&self) -> Option<Box<str>> {
        self.token.as_ref().map(|token| token.mask().into())
    }

    /// Puts a sealed copy of the token into the fields, where there should be one; returns why there is none
    /// although there should be.
    pub(super) async fn keep(
        &self,
        call: &Call,
        fields: &mut KeyFields,
    ) -> Result<Option<String>, ApiError> {
        let wanted = self
            .recoverable
            .unwrap_or(call.shared.api.config.keys.recoverable);
        let Some(token) = self.token.clone().filter(|_| wanted) else {
            return Ok(None);
        };
        let (secret, id) = (call.shared.api.secret.clone(), fields.id.clone());
        let sealed =
            blocking(move || secret.open().map(|secrets| secrets.seal(&id, &token))).await?;
        match sealed {
            Ok(sealed) => {
                fields.sealed = Some(sealed);
                Ok(None)
            }
            Err(error) => {
                tracing::warn!(%error, key.id = %fields.id, "no copy of the token was kept");
                let why = "no copy of the token was kept, since the secret file cannot be used: note the token now";
                Ok(Some(why.to_owned()))
            }
        }
    }
}

/// A key, with the token that only this answer shows.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct KeyWithToken<'k> {
    #[serde(flatten)]
    key: KeyView<'k>,
    /// Absent when only its digest was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, min_length = 8, max_length = 512)]
    token: Option<&'k str>,
    /// Why no copy of the token was kept, although one should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    warning: Option<String>,
}

/// The key, with the token that only this answer shows.
pub(super) fn with_token(
    call: &Call,
    key: &Key,
    token: Option<&Token>,
    warning: Option<String>,
) -> Response {
    let shown = KeyWithToken {
        key: shown(call, key),
        token: token.map(Token::expose),
        warning,
    };
    let mut response = json_bytes(wiped(&shown));
    set_tag(&mut response, &etag(key));
    response
}

/// JSON in a buffer that never grows and is wiped when it is sent.
pub(super) fn wiped(value: &impl Serialize) -> Bytes {
    const ROOM: usize = 128 << 10;
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
    serde_json::to_writer(&mut *bytes, value).expect("texts and numbers can be written");
    Bytes::from_owner(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(text: &str) -> Vec<String> {
        match wanted(body::read(text.as_bytes()).unwrap(), body::CREATE, None) {
            Ok(_) => Vec::new(),
            Err(error) => error
                .errors
                .into_iter()
                .map(|error| error.pointer)
                .collect(),
        }
    }

    const DIGEST: &str =
        "\"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"";

    #[test]
    fn a_token_is_made_only_when_neither_token_nor_digest_is_given() {
        let body =
            |text: &str| wanted(body::read(text.as_bytes()).unwrap(), body::CREATE, None).unwrap();
        let (key, secret) = body(r#"{"name": "a"}"#);
        assert_eq!(key.digest, secret.token.unwrap().digest());
        assert!(key.mask.unwrap().starts_with("kg_"));
        assert!(key.id.as_str().starts_with("k_"));
        assert_ne!(key.id, KeyId::derive("a"));
        let (key, secret) = body(r#"{"name": "a", "id": "mine", "token": "my-own-token-16"}"#);
        assert_eq!(key.digest, secret.token.unwrap().digest());
        assert_eq!(key.id.as_str(), "mine");
        let (key, secret) = body(&format!(
            r#"{{"name": "a", "digest": {DIGEST}, "mask": "a…"}}"#
        ));
        assert!(secret.token.is_none());
        assert_eq!(key.mask.as_deref(), Some("a…"));
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        for (body, expected) in [
            (
                format!(r#"{{"name": "a", "digest": {DIGEST}, "token": "12345678"}}"#),
                vec!["#/digest"],
            ),
            (r#"{"name": "a", "mask": "a…"}"#.to_owned(), vec!["#/mask"]),
            (
                format!(r#"{{"name": "a", "digest": {DIGEST}, "recoverable": true}}"#),
                vec!["#/recoverable"],
            ),
            (
                r#"{"token": "a b", "id": "a b"}"#.to_owned(),
                vec!["#/token", "#/id", "#/name"],
            ),
            (
                r#"{"name": "a", "sealed": "v1:"}"#.to_owned(),
                vec!["#/sealed"],
            ),
            ("{}".to_owned(), vec!["#/name"]),
        ] {
            assert_eq!(pointers(&body), expected, "{body}");
        }
    }
}
