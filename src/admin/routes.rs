//! The one table of endpoints: method, path, who may ask, which body, handler. What is not in it does not exist, and
//! the OpenAPI document is made from it. Guards stand here in their order. Not for: what an endpoint does.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::RawPathParams;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::Request;
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::MethodFilter;
use axum::routing::get;
use axum::routing::on;

use crate::admin::Shared;
use crate::admin::assets;
use crate::admin::assets::Pages;
use crate::admin::audit;
use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::keys;
use crate::admin::openapi;
use crate::admin::places::Place;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::Sender;
use crate::admin::request::blocking;
use crate::admin::request::discard;
use crate::admin::request::essence;
use crate::admin::session;
use crate::admin::status;
use crate::admin::transactions;
use crate::admin::try_it;
use crate::admin::usage;
use crate::audit::Actor;

const NOTHING_HERE: &str = "there is nothing here; the paths are in /api/v1/openapi.json";

/// Where all paths begin.
pub(crate) const BASE: &str = "/api/v1";

/// One row of the table.
pub(crate) struct Endpoint {
    pub(crate) method: Method,
    /// Behind [`BASE`].
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) who: Who,
    pub(crate) takes: Takes,
    handler: fn(Call) -> Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Anybody, since it is how one gets in.
    Anybody,
    /// Whoever may administer.
    Administrators,
}

/// Which body an endpoint reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// None.
    Nothing,
    /// JSON.
    Json,
    /// JSON, or none at all.
    OptionalJson,
    /// A merge patch.
    Patch,
    /// Keys in one of several formats.
    Keys,
}

impl Takes {
    /// The media types.
    pub(crate) fn types(self) -> Vec<&'static str> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Json | Self::OptionalJson => vec!["application/json"],
            Self::Patch => vec!["application/merge-patch+json", "application/json"],
            Self::Keys => keys::import::TYPES.iter().map(|(name, _)| *name).collect(),
        }
    }
}

/// A row, in the order of reading.
macro_rules! endpoint {
    ($method:ident $path:literal, $who:ident, $takes:ident, $handler:path, $summary:literal) => {
        Endpoint {
            method: Method::$method,
            path: $path,
            summary: $summary,
            who: Who::$who,
            takes: Takes::$takes,
            handler: |call| Box::pin($handler(call)),
        }
    };
}

/// All of them.
pub(crate) static ENDPOINTS: &[Endpoint] = &[
    endpoint!(GET "/session", Anybody, Nothing, session::show, "Who is signed in"),
    endpoint!(POST "/setup", Anybody, Json, session::setup, "Make the administrator's account"),
    endpoint!(POST "/login", Anybody, Json, session::login, "Sign in"),
    endpoint!(POST "/logout", Administrators, Nothing, session::logout, "Sign out"),
    endpoint!(POST "/password", Administrators, Json, session::password, "Change the administrator's password"),
    endpoint!(GET "/keys", Administrators, Nothing, keys::list::list, "A page of the keys"),
    endpoint!(POST "/keys", Administrators, Json, keys::create::create, "Make a key"),
    endpoint!(GET "/keys/{id}", Administrators, Nothing, keys::show, "A key"),
    endpoint!(PUT "/keys/{id}", Administrators, Json, keys::create::put, "Make a key with this id"),
    endpoint!(PATCH "/keys/{id}", Administrators, Patch, keys::change, "Change a key"),
    endpoint!(DELETE "/keys/{id}", Administrators, Nothing, keys::delete, "Delete a key"),
    endpoint!(POST "/keys/{id}/copy", Administrators, Nothing, keys::copy::copy, "Show the token of a key"),
    endpoint!(POST "/keys/{id}/rotate", Administrators, OptionalJson, keys::rotate::rotate, "Give a key a new token"),
    endpoint!(GET "/keys/{id}/usage", Administrators, Nothing, usage::of_key, "How a key was used"),
    endpoint!(POST "/keys:import", Administrators, Keys, keys::import::import, "Import keys"),
    endpoint!(GET "/keys:export", Administrators, Nothing, keys::export::export, "Export all keys"),
    endpoint!(GET "/transactions", Administrators, Nothing, transactions::list, "A page of the transactions, newest first"),
    endpoint!(GET "/transactions/{request_id}", Administrators, Nothing, transactions::show, "A transaction, and the checks that it went through"),
    endpoint!(GET "/transactions/stream", Administrators, Nothing, transactions::stream::stream, "Transactions as they are recorded"),
    endpoint!(GET "/transactions:export", Administrators, Nothing, transactions::export::export, "Export transactions, newest first"),
    endpoint!(POST "/try", Administrators, Json, try_it::send, "Send a request through the proxy"),
    endpoint!(GET "/usage", Administrators, Nothing, usage::all, "How everything was used"),
    endpoint!(GET "/status", Administrators, Nothing, status::show, "How this instance is doing"),
    endpoint!(POST "/reload", Administrators, Nothing, status::reload, "Read the key file now"),
    endpoint!(GET "/audit", Administrators, Nothing, audit::list, "Who changed what, newest first"),
    endpoint!(GET "/openapi.json", Administrators, Nothing, openapi::show, "This document"),
];

/// Where a request comes from, which the path does not say.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) place: Arc<Place>,
    pub(super) request_id: Arc<str>,
}

/// The table as a service.
pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for endpoint in ENDPOINTS {
        let shared = Arc::clone(shared);
        let method = MethodFilter::try_from(endpoint.method.clone())
            .expect("a method of the table is known");
        let handler = move |request: Request<Body>| pass(endpoint, Arc::clone(&shared), request);
        router = router.route(&format!("{BASE}{}", endpoint.path), on(method, handler));
    }
    let pages = Pages::new(shared.api.config.admin.url_path());
    let files = Arc::clone(&pages);
    let file = move |request| {
        send(request, move |parts| {
            let path = parts.uri.path().strip_prefix(assets::FOLDER)?;
            files.file(path, &parts.headers)
        })
    };
    router = router.route(&format!("{}{{*path}}", assets::FOLDER), get(file));
    for page in assets::PAGES {
        let pages = Arc::clone(&pages);
        let page_of = move |request| send(request, move |parts| Some(pages.page(&parts.headers)));
        router = router.route(page, get(page_of));
    }
    router
        .method_not_allowed_fallback(|request: Request<Body>| {
            refuse(
                request,
                Code::MethodNotAllowed,
                "the field Allow says which methods this path has",
            )
        })
        .fallback(move |request| nothing_here(pages, request))
}

/// A person is told so on a page that leads back, everybody else in a problem.
async fn nothing_here(pages: Arc<Pages>, request: Request<Body>) -> Response {
    let path = request.uri().path();
    let of_page = !path.starts_with(BASE) && !path.starts_with(assets::FOLDER);
    let opened = matches!(*request.method(), Method::GET | Method::HEAD);
    if of_page && opened && assets::takes_html(request.headers()) {
        return pages.missing();
    }
    refuse(request, Code::NotFound, NOTHING_HERE).await
}

/// A page, or a file of one.
async fn send(request: Request<Body>, found: impl FnOnce(&Parts) -> Option<Outcome>) -> Response {
    let (parts, body) = request.into_parts();
    discard(body, &parts.headers).await;
    let nothing = || Err(ApiError::new(Code::NotFound, NOTHING_HERE));
    let outcome = found(&parts).unwrap_or_else(nothing);
    outcome.unwrap_or_else(|error| error.answer(&origin(&parts).request_id))
}

/// The path that is ours, of one that has the path of `admin.url` before it: a proxy in front may take that away or
/// leave it.
pub(super) fn below(url_path: &str, uri: &Uri) -> Option<Uri> {
    let wanted = uri.path_and_query()?.as_str();
    if wanted.starts_with(BASE) || assets::is_ours(uri.path()) {
        return None;
    }
    let rest = wanted.strip_prefix(url_path.strip_suffix('/')?)?;
    rest.starts_with('/').then(|| rest.parse().ok()).flatten()
}

async fn refuse(request: Request<Body>, code: Code, detail: &'static str) -> Response {
    let (parts, body) = request.into_parts();
    discard(body, &parts.headers).await;
    ApiError::new(code, detail).answer(&origin(&parts).request_id)
}

/// From the guards to the answer.
async fn pass(
    endpoint: &'static Endpoint,
    shared: Arc<Shared>,
    request: Request<Body>,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let origin = origin(&parts);
    let request_id = Arc::clone(&origin.request_id);
    let absent = http_body::Body::is_end_stream(&body);
    let outcome = match guarded(endpoint, &shared, &mut parts, &origin, absent).await {
        Err(error) => {
            discard(body, &parts.headers).await;
            Err(error)
        }
        Ok((actor, id)) => {
            let sender = Sender {
                actor,
                client: origin.place.client(),
                request_id: origin.request_id,
            };
            let query = parts.uri.query().map(str::to_owned);
            let call = Call {
                shared,
                sender,
                place: origin.place,
                id,
                query,
                headers: parts.headers,
                body: Mutex::new(body),
            };
            (endpoint.handler)(call).await
        }
    };
    outcome.unwrap_or_else(|error| {
        let code = error.code;
        debug_assert!(
            openapi::codes(endpoint).contains(&code),
            "{code:?} is not documented"
        );
        error.answer(&request_id)
    })
}

/// Who it is, and the `{id}` of the path.
async fn guarded(
    endpoint: &Endpoint,
    shared: &Arc<Shared>,
    parts: &mut Parts,
    origin: &Origin,
    absent: bool,
) -> Result<(Actor, Option<String>), ApiError> {
    shared.access.guard_origin(&parts.method, &parts.headers)?;
    let actor = match endpoint.who {
        Who::Anybody => Actor::Unknown,
        Who::Administrators => {
            // Reads files.
            let (shared, headers) = (Arc::clone(shared), parts.headers.clone());
            let client = origin.place.client();
            let admitted = blocking(move || shared.access.admit(&headers, client)).await??;
            origin.place.trust();
            admitted.actor
        }
    };
    let types = endpoint.takes.types();
    let needless = absent && endpoint.takes == Takes::OptionalJson;
    if !types.is_empty() && !needless {
        expect_type(&parts.headers, &types)?;
    }
    let params = RawPathParams::from_request_parts(parts, &()).await.ok();
    let id = params.and_then(|params| params.iter().next().map(|(_, id)| id.to_owned()));
    Ok((actor, id))
}

fn expect_type(headers: &HeaderMap, types: &[&str]) -> Result<(), ApiError> {
    let found = essence(headers);
    if types.iter().any(|known| found.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    let what = format!("send the body with Content-Type: {}", types.join(" or "));
    Err(ApiError::new(Code::UnsupportedMediaType, what))
}

fn origin(parts: &Parts) -> Origin {
    let origin = parts.extensions.get::<Origin>();
    origin
        .expect("each request is told where it comes from")
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_admin_url_may_stand_before_ours() {
        for (url_path, asked, found) in [
            ("/", "/api/v1/keys", None),
            ("/", "/x", Some("/x")),
            ("/kg/", "/api/v1/keys", None),
            (
                "/kg/",
                "/kg/api/v1/keys?a=/kg/",
                Some("/api/v1/keys?a=/kg/"),
            ),
            ("/kg/", "/kg/", Some("/")),
            ("/kg/", "/kg/keys/k_1?a", Some("/keys/k_1?a")),
            ("/kg/", "/keys/k_1", None),
            ("/keys/", "/keys", None),
            ("/keys/", "/keys/", Some("/")),
            ("/assets/", "/assets/app.js", None),
            ("/assets/", "/assets/assets/app.js", Some("/assets/app.js")),
            ("/kg/", "/kg", None),
            ("/kg/", "/kgapi/v1/keys", None),
            ("/kg/", "/KG/api/v1/keys", None),
            ("/api/", "/api/v1/keys", None),
            ("/api/", "/api/api/v1/keys", Some("/api/v1/keys")),
            ("/kg/", "*", None),
        ] {
            let uri = below(url_path, &asked.parse().unwrap());
            let uri = uri.map(|uri| uri.to_string());
            assert_eq!(uri.as_deref(), found, "{asked} below {url_path}");
        }
    }
}
