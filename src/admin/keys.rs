//! Keys over HTTP: listed, shown, made, changed, deleted. Answers show what a list may show: never a token but to
//! whoever makes, rotates or copies one, never a digest or a sealed copy. Not for: the rules of fields (`body` and
//! `store::format`), how an edit gets into the file (`edit`).

pub(super) mod body;
pub(super) mod copy;
pub(super) mod create;
pub(super) mod edit;
pub(super) mod export;
pub(super) mod import;
pub(super) mod list;
pub(super) mod rotate;
pub(crate) mod view;

use std::sync::Arc;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;
use serde::Serialize;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::error::FieldError;
use crate::admin::keys::edit::Step;
use crate::admin::keys::view::KeyView;
use crate::admin::keys::view::etag;
use crate::admin::keys::view::view;
use crate::admin::precondition::Conditions;
use crate::admin::precondition::Verdict;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::no_such_key;
use crate::audit::Action;
use crate::key::Key;
use crate::key::KeyFields;
use crate::key::KeyId;
use crate::store::edit::KeyEdit;

/// `GET /keys/{id}`.
pub(super) async fn show(call: Call) -> Outcome {
    let id = call.key_id()?;
    let conditions = Conditions::of(&call.headers)?;
    let table = call.shared.api.keys.load_full();
    let key = table.get(&id).ok_or_else(no_such_key)?;
    let tag = etag(key);
    let mut response = match conditions.judge(Some(&tag)) {
        Verdict::Holds => json(&shown(&call, key)),
        Verdict::NotModified => empty(StatusCode::NOT_MODIFIED),
        Verdict::Fails => return Err(stale(&tag)),
    };
    set_tag(&mut response, &tag);
    Ok(response)
}

/// `PATCH /keys/{id}`.
pub(super) async fn change(mut call: Call) -> Outcome {
    let bytes = call.body().await?;
    let id = call.key_id()?;
    let conditions = Conditions::of(&call.headers)?;
    exists(&call, &id)?;
    conditions.must_match()?;
    let mut errors = Vec::new();
    let mut patch = body::read(&bytes)?;
    body::check_patch(&mut patch, body::CHANGE, &mut errors);
    let done = edit::run(&call, |table| {
        let key = table.get(&id).ok_or_else(no_such_key)?;
        must_hold(&conditions, key)?;
        let changed = changed(key, patch.clone(), errors.clone())?;
        if changed == key.to_fields() {
            return Ok(Step::Nothing(Arc::clone(key)));
        }
        Ok(Step::Edit {
            before: Some(Arc::clone(key)),
            edit: Box::new(KeyEdit::Change(changed)),
        })
    })
    .await?;
    if done.made {
        let keys = (done.before, done.after.clone());
        call.note_done(Action::KeyChanged, keys, None).await;
    }
    let after = done.after.ok_or_else(no_such_key)?;
    let mut response = json(&shown(&call, &after));
    set_tag(&mut response, &etag(&after));
    Ok(response)
}

/// The key as a patch makes it.
fn changed(
    key: &Key,
    patch: body::Fields<'_>,
    mut errors: Vec<FieldError>,
) -> Result<KeyFields, ApiError> {
    let old = key.to_fields();
    let digest = old.digest.to_string();
    let mut document = view::document(&old);
    body::merge(&mut document, patch);
    body::check_shapes(&mut document, body::CHANGE, &mut errors);
    document.push(("digest".into(), body::Json::Text(digest.into())));
    let found = body::check_key(document, &mut errors);
    match found {
        Some(found) if errors.is_empty() => Ok(KeyFields {
            name: found.name,
            description: found.description,
            enabled: found.enabled,
            not_before: found.not_before,
            expires_at: found.expires_at,
            tags: found.tags.filter(|tags| !tags.is_empty()),
            record: found.record,
            rules: found.rules,
            ..old
        }),
        Some(_) | None => Err(ApiError::fields(errors)),
    }
}

/// `DELETE /keys/{id}`.
pub(super) async fn delete(call: Call) -> Outcome {
    let id = call.key_id()?;
    let conditions = Conditions::of(&call.headers)?;
    exists(&call, &id)?;
    conditions.must_match()?;
    let done = edit::run(&call, |table| {
        let key = table.get(&id).ok_or_else(no_such_key)?;
        must_hold(&conditions, key)?;
        Ok(Step::Edit {
            before: Some(Arc::clone(key)),
            edit: Box::new(KeyEdit::Remove(id.clone())),
        })
    })
    .await?;
    call.note_done(Action::KeyDeleted, (done.before, None), None)
        .await;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The key as answers show it.
fn shown<'k>(call: &Call, key: &'k Key) -> KeyView<'k> {
    let api = &call.shared.api;
    view(key, api.clock.wall(), api.totals.day(key))
}

fn exists(call: &Call, id: &KeyId) -> Result<(), ApiError> {
    let known = call.shared.api.keys.snapshot().get(id).is_some();
    if known { Ok(()) } else { Err(no_such_key()) }
}

fn must_hold(conditions: &Conditions, key: &Key) -> Result<(), ApiError> {
    let tag = etag(key);
    match conditions.judge(Some(&tag)) {
        Verdict::Holds => Ok(()),
        Verdict::NotModified | Verdict::Fails => Err(stale(&tag)),
    }
}

/// What the client saw is no longer what there is.
fn stale(current: &str) -> ApiError {
    let detail = "the key has changed since it was read: read it again, and decide whether your change still fits";
    ApiError::new(Code::Stale, detail).with("current", current)
}

/// An answer of this value.
pub(super) fn json(value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("answers are made of text and numbers");
    json_bytes(text.into())
}

pub(super) fn json_bytes(bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn set_tag(response: &mut Response, tag: &str) {
    let tag = HeaderValue::from_str(tag).expect("a tag is made of hexadecimal digits");
    response.headers_mut().insert(header::ETAG, tag);
}
