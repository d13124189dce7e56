//! Getting in and out over HTTP: setup, login, logout, and what pages ask before anything else. Every attempt is in
//! the audit log, the failed ones too. Not for: who may, and how passwords and sessions are kept: see `access`.

use std::sync::Arc;

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::access::Credentials;
use crate::admin::access::Setup;
use crate::admin::access::SignedIn;
use crate::admin::access::Visitor;
use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::keys::body;
use crate::admin::keys::body::Shape;
use crate::admin::keys::body::Shapes;
use crate::admin::keys::body::wrong;
use crate::admin::keys::empty;
use crate::admin::keys::json;
use crate::admin::openapi::types;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::blocking;
use crate::audit::Action;
use crate::audit::Actor;
use crate::secret::Secret;

pub(crate) const SETUP: Shapes = &[
    ("code", Shape::Text),
    ("name", Shape::Text),
    ("password", Shape::Text),
];
pub(crate) const LOGIN: Shapes = &[("name", Shape::Text), ("password", Shape::Text)];
pub(crate) const PASSWORD: Shapes = &[("current", Shape::Text), ("new", Shape::Text)];

/// Who is there.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    #[schema(schema_with = types::session_state)]
    state: &'static str,
    /// Who is signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    actor: Option<String>,
    /// With what.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = types::session_method, required = false)]
    method: Option<&'static str>,
    /// Of keygate.
    version: &'static str,
    /// Whether others than this machine reach the admin API without TLS.
    plain_http: bool,
    /// Of the key file, for whoever is signed in: another one tells that keys have changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    revision: Option<String>,
}

/// The administrator's account.
#[derive(Serialize, ToSchema)]
pub(super) struct Account {
    name: String,
}

/// `GET /session`.
pub(super) async fn show(call: Call) -> Outcome {
    let (shared, client) = (Arc::clone(&call.shared), call.sender.client);
    let visitor = blocking(move || shared.access.visitor(&call.headers, client)).await??;
    let (state, actor, method) = match visitor {
        Visitor::SetupRequired => ("setup_required", None, None),
        Visitor::SignedOut => ("signed_out", None, None),
        Visitor::SignedIn(admitted) => {
            let method = if admitted.by_cookie {
                "session"
            } else {
                "token"
            };
            let (kind, name) = admitted.actor.parts();
            (
                "signed_in",
                Some(name.unwrap_or(kind).to_owned()),
                Some(method),
            )
        }
    };
    let api = &call.shared.api;
    let revision = || api.keys.snapshot().revision().to_string();
    Ok(json(&Session {
        state,
        revision: actor.is_some().then(revision),
        actor,
        method,
        version: env!("CARGO_PKG_VERSION"),
        plain_http: api.config.admin.plain_http(),
    }))
}

/// `POST /setup`.
pub(super) async fn setup(mut call: Call) -> Outcome {
    let [code, name, password] = texts(&mut call, SETUP).await?;
    let (shared, headers, client) = (
        Arc::clone(&call.shared),
        call.headers.clone(),
        call.sender.client,
    );
    let made = blocking(move || {
        let setup = Setup {
            code: &code,
            name: name.expose(),
            password: &password,
        };
        shared.access.set_up(&headers, client, &setup)
    })
    .await?;
    call.sender.actor = Actor::Setup;
    let mut response = signed_in(&call, Action::SetUp, made).await?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// `POST /login`.
pub(super) async fn login(mut call: Call) -> Outcome {
    let [name, password] = texts(&mut call, LOGIN).await?;
    let (shared, headers, client) = (
        Arc::clone(&call.shared),
        call.headers.clone(),
        call.sender.client,
    );
    let signed = blocking(move || {
        let credentials = Credentials {
            name: name.expose(),
            password: &password,
        };
        shared.access.login(&headers, client, &credentials)
    })
    .await?;
    if let Ok(signed) = &signed {
        call.sender.actor = Actor::Administrator(signed.name.clone());
    }
    signed_in(&call, Action::SignedIn, signed).await
}

/// The answer to an attempt, which is noted either way. What was refused without being looked at is no attempt.
async fn signed_in(call: &Call, action: Action, made: Result<SignedIn, ApiError>) -> Outcome {
    match made {
        Ok(signed) => {
            call.note_done(action, (None, None), None).await;
            let mut response = json(&Account { name: signed.name });
            set_cookies(&mut response, signed.cookies);
            Ok(response)
        }
        Err(error) => {
            if matches!(error.code, Code::LoginFailed | Code::CodeRefused) {
                let detail = Some(error.code.row().0.to_owned());
                call.note_done(Action::SignInFailed, (None, None), detail)
                    .await;
            }
            Err(error)
        }
    }
}

/// `POST /logout`.
pub(super) async fn logout(call: Call) -> Outcome {
    let cookies = call.shared.access.logout(&call.headers);
    call.note_done(Action::SignedOut, (None, None), None).await;
    let mut response = empty(StatusCode::NO_CONTENT);
    set_cookies(&mut response, cookies);
    Ok(response)
}

/// `POST /password`.
pub(super) async fn password(mut call: Call) -> Outcome {
    let [current, new] = texts(&mut call, PASSWORD).await?;
    let (shared, headers, client) = (
        Arc::clone(&call.shared),
        call.headers.clone(),
        call.sender.client,
    );
    let changed = blocking(move || {
        shared
            .access
            .change_password(&headers, client, &current, &new)
    })
    .await?;
    match changed {
        Ok(()) => {
            call.note_done(Action::PasswordChanged, (None, None), None)
                .await;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Err(error) => {
            if error.code == Code::LoginFailed {
                let detail = Some("the current password was wrong".to_owned());
                call.note_done(Action::SignInFailed, (None, None), detail)
                    .await;
            }
            Err(error)
        }
    }
}

/// The texts of a body, all of which have to be there. Any of them may be a secret.
async fn texts<const N: usize>(call: &mut Call, shapes: Shapes) -> Result<[Secret; N], ApiError> {
    let bytes = call.body().await?;
    let mut errors = Vec::new();
    let mut fields = body::read(&bytes)?;
    body::check_shapes(&mut fields, shapes, &mut errors);
    let mut found = Vec::with_capacity(N);
    for (name, _) in shapes {
        let pointer = body::pointer(&[name]);
        match body::take(&mut fields, name) {
            Some(body::Json::Text(text)) => found.push(Secret::new(text.into_owned())),
            Some(_) | None => {
                if !errors.iter().any(|error| error.pointer == pointer) {
                    errors.push(wrong(&pointer, format!("`{name}` is missing")));
                }
            }
        }
    }
    match found.try_into() {
        Ok(found) if errors.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(ApiError::fields(errors)),
    }
}

fn set_cookies(response: &mut Response, cookies: Vec<HeaderValue>) {
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
