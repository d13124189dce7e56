//! One request of the admin API, as its handler gets it: who asks, about what, with which body. Bodies and queries
//! are read here and nowhere else, so their limits hold everywhere. Not for: what bodies mean.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header;
use axum::response::Response;
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::admin::Shared;
use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::places::Place;
use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::Event;
use crate::key::Key;
use crate::key::KeyId;
use crate::problem::nearest;

/// The largest body, but for imports.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;
/// The longest pause in a body.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(20);
/// Of an upload that is refused, so much is read, for so long: unread bytes would reset the connection and could
/// take the answer with them.
const DISCARD_BYTES_MAX: usize = 1 << 20;
const DISCARD_MAX: Duration = Duration::from_secs(1);

/// What every handler returns.
pub(crate) type Outcome = Result<Response, ApiError>;

/// Who sent a request, as the audit log has it.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) actor: Actor,
    pub(crate) client: IpAddr,
    pub(crate) request_id: Arc<str>,
}

/// A request that passed all guards.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sender: Sender,
    /// The connection's.
    pub(in crate::admin) place: Arc<Place>,
    /// What stands for `{id}` in the path, decoded.
    pub(crate) id: Option<String>,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    /// Behind a lock only so that calls may be looked at from several threads.
    pub(crate) body: Mutex<Body>,
}

impl Call {
    /// The key that the path names.
    ///
    /// # Errors
    /// `key_not_found` when it can be no key's id.
    pub(crate) fn key_id(&self) -> Result<KeyId, ApiError> {
        let text = self.id.as_deref().unwrap_or_default();
        KeyId::parse(text).map_err(|_| no_such_key())
    }

    /// The parameters of the query.
    ///
    /// # Errors
    /// `malformed_request` when one is unknown, repeated, or no text.
    pub(crate) fn query(&self, known: &[&'static str]) -> Result<Parameters, ApiError> {
        Parameters::parse(self.query.as_deref().unwrap_or_default(), known)
    }

    /// The whole body, which may hold a token.
    ///
    /// # Errors
    /// `body_too_large`, `body_too_slow`, `malformed_body`.
    pub(crate) async fn body(&mut self) -> Result<Zeroizing<Vec<u8>>, ApiError> {
        let body = self.take_body();
        whole(body, &self.headers).await
    }

    /// The body as it comes in.
    pub(crate) fn take_body(&mut self) -> Body {
        let body = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(body, Body::empty())
    }

    /// Writes a line into the audit log, which takes a write to the disk.
    ///
    /// # Errors
    /// `not_written`.
    pub(crate) async fn note(
        &self,
        action: Action,
        (before, after): (Option<Arc<Key>>, Option<Arc<Key>>),
        detail: Option<String>,
    ) -> Result<(), ApiError> {
        let (audit, sender) = (self.shared.api.audit.clone(), self.sender.clone());
        blocking(move || {
            audit.write(&Event {
                actor: sender.actor,
                action,
                client: Some(sender.client),
                request_id: Some(&sender.request_id),
                before: before.as_deref(),
                after: after.as_deref(),
                revisions: None,
                detail,
            })
        })
        .await?
        .map_err(|error| {
            ApiError::new(Code::NotWritten, "the audit log cannot be written").because(&error)
        })
    }

    /// As [`Call::note`], for what has happened already: what cannot be noted is made known by other ways.
    pub(crate) async fn note_done(
        &self,
        action: Action,
        keys: (Option<Arc<Key>>, Option<Arc<Key>>),
        detail: Option<String>,
    ) {
        match self.note(action, keys, detail).await {
            Ok(()) => self.shared.api.health.restore("audit"),
            Err(error) => {
                let cause = error.cause.unwrap_or(error.detail);
                tracing::error!(
                    request_id = &*self.sender.request_id,
                    ?action,
                    cause,
                    "a change is not in the audit log"
                );
                let why = format!("changes are missing in the audit log: {cause}");
                self.shared.api.health.degrade("audit", why);
            }
        }
    }
}

/// The media type of the body, without its parameters; empty where there is none, or more than one.
pub(crate) fn essence(headers: &HeaderMap) -> &str {
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter();
    let line = lines.next().and_then(|value| value.to_str().ok());
    let line = line.filter(|_| lines.next().is_none()).unwrap_or_default();
    line.split(';').next().unwrap_or_default().trim()
}

pub(crate) fn no_such_key() -> ApiError {
    ApiError::new(Code::KeyNotFound, "there is no key with this id")
}

/// Runs what takes long or waits for a disk beside the control plane.
///
/// # Errors
/// `internal` when it panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        ApiError::new(Code::Internal, "a fault of keygate; its log says more").because(&error)
    })
}

async fn whole(mut body: Body, headers: &HeaderMap) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
        discard(body, headers).await;
        return Err(too_large(BODY_BYTES_MAX));
    }
    // Room for all of it at once: a buffer that grew would leave a token behind where it was.
    let room = announced.unwrap_or(BODY_BYTES_MAX);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    while let Some(piece) = next_piece(&mut body).await? {
        if bytes.len() + piece.len() > BODY_BYTES_MAX {
            discard(body, headers).await;
            return Err(too_large(BODY_BYTES_MAX));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

pub(crate) fn too_large(max: usize) -> ApiError {
    let what = format!("a body has {} bytes at most here", max);
    ApiError::new(Code::BodyTooLarge, what)
}

/// The next bytes of a body; none: it has ended.
///
/// # Errors
/// `body_too_slow`, `malformed_body`.
pub(crate) async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    loop {
        let slow = || {
            ApiError::new(
                Code::BodyTooSlow,
                "the body paused for more than 20 seconds",
            )
        };
        match timeout(BODY_PAUSE_MAX, body.frame())
            .await
            .map_err(|_| slow())?
        {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
            Some(Err(error)) => {
                return Err(
                    ApiError::new(Code::MalformedBody, "the body is broken off").because(&error)
                );
            }
        }
    }
}

/// Reads what is left of the body of a refused request, within limits. A client that waits to be asked for its
/// body is not asked.
pub(crate) async fn discard(mut body: Body, headers: &HeaderMap) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let reading = async {
        let mut left = DISCARD_BYTES_MAX;
        while let Ok(Some(piece)) = next_piece(&mut body).await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    };
    let _ = timeout(DISCARD_MAX, reading).await; // late or not, the answer goes out now
}

/// The parameters of a query, each once.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    fn parse(query: &str, known: &[&'static str]) -> Result<Self, ApiError> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            let Some(known) = known.iter().find(|known| **known == name) else {
                return Err(unknown_parameter(&name, known));
            };
            if found.iter().any(|(name, _)| name == known) {
                return Err(wrong_parameter(known, "expected once"));
            }
            found.push((known, value));
        }
        Ok(Self(found))
    }

    /// The text of one; an empty one counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(found, _)| *found == name)?;
        Some(&*found.1).filter(|text| !text.is_empty())
    }

    /// A number within bounds.
    ///
    /// # Errors
    /// `malformed_request`.
    pub(crate) fn number(&self, name: &str, default: usize, max: usize) -> Result<usize, ApiError> {
        let Some((_, text)) = self.0.iter().find(|(found, _)| *found == name) else {
            return Ok(default);
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && (1..=max).contains(&number) => Ok(number),
            Ok(_) | Err(_) => Err(wrong_parameter(
                name,
                format!("expected a whole number from 1 to {max}"),
            )),
        }
    }

    /// A switch, off by default.
    ///
    /// # Errors
    /// `malformed_request`.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, ApiError> {
        self.choice(name, &[("false", false), ("true", true)])
            .map(Option::unwrap_or_default)
    }

    /// One of several words.
    ///
    /// # Errors
    /// `malformed_request`, naming them.
    pub(crate) fn choice<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, ApiError> {
        let Some((_, text)) = self.0.iter().find(|(found, _)| *found == name) else {
            return Ok(None);
        };
        match words.iter().find(|(word, _)| word == text) {
            Some((_, meant)) => Ok(Some(*meant)),
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                Err(wrong_parameter(
                    name,
                    format!("expected one of {}", words.join(", ")),
                ))
            }
        }
    }
}

/// A parameter of the query whose value cannot be used.
pub(crate) fn wrong_parameter(name: &str, what: impl std::fmt::Display) -> ApiError {
    ApiError::new(
        Code::MalformedRequest,
        format!("the parameter `{name}`: {what}"),
    )
}

fn unknown_parameter(name: &str, known: &[&'static str]) -> ApiError {
    let hint = match (nearest(name, known.iter().copied()), known) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, []) => "there are none here".to_owned(),
        (None, _) => format!("known are {}", known.join(", ")),
    };
    ApiError::new(
        Code::MalformedRequest,
        format!("an unknown parameter in the query: {hint}"),
    )
}

fn decoded(text: &str) -> Result<String, ApiError> {
    let text: Cow<'_, str> = if text.contains('+') {
        text.replace('+', " ").into()
    } else {
        text.into()
    };
    match percent_decode_str(&text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(ApiError::new(
            Code::MalformedRequest,
            "the query is not UTF-8",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Parameters, ApiError> {
        Parameters::parse(query, &["search", "limit", "dry_run"])
    }

    #[test]
    fn a_query_is_read_as_forms_write_it() {
        let found = parse("search=a+b%26c%2B&limit=7&").unwrap();
        assert_eq!(found.text("search"), Some("a b&c+"));
        assert_eq!(found.number("limit", 50, 200).unwrap(), 7);
        assert!(!found.switch("dry_run").unwrap());
        assert_eq!(parse("search=").unwrap().text("search"), None);
        assert!(parse("dry_run=true").unwrap().switch("dry_run").unwrap());
    }

    #[test]
    fn what_nobody_can_mean_is_refused() {
        for query in [
            "serch=a",
            "x",
            "search=a&search=b",
            "search=%ff",
            "limit=1&limit=1",
        ] {
            assert_eq!(
                parse(query).unwrap_err().code,
                Code::MalformedRequest,
                "{query}"
            );
        }
        for query in [
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=%2B1",
            "limit=",
            "limit=a",
        ] {
            let found = parse(query).unwrap();
            assert!(found.number("limit", 50, 200).is_err(), "{query}");
        }
        assert!(parse("dry_run=yes").unwrap().switch("dry_run").is_err());
        assert!(
            parse("serch=a")
                .unwrap_err()
                .detail
                .contains("did you mean `search`")
        );
    }
}
