//! Try it: a request through the proxy's own listener, with the token of a key and without showing it. It is a request
//! like any other: judged, counted and recorded, under the id of the request that asked for it. A token that is used
//! here might as well be copied, so the same holds: it is in the audit log before it is sent, and only so many a minute
//! are. Not for: what may be asked for (`wanted`), the way to the proxy and back (`exchange`).

mod exchange;
pub(super) mod wanted;

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use memchr::memmem;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::Api;
use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::keys::copy::token_of;
use crate::admin::keys::json;
use crate::admin::openapi::types;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::no_such_key;
use crate::admin::try_it::exchange::ANSWER_BYTES_MAX;
use crate::admin::try_it::exchange::Exchange;
use crate::admin::try_it::exchange::Way;
use crate::admin::try_it::exchange::exchange;
use crate::admin::try_it::wanted::Wanted;
use crate::audit::Action;
use crate::config::Listen;
use crate::key::token::Token;

/// What the proxy answered.
#[derive(Serialize, ToSchema)]
#[schema(as = TryAnswer)]
pub(super) struct Answer {
    #[schema(minimum = 100, maximum = 599)]
    status: u16,
    /// Names and values, in their order.
    #[schema(schema_with = types::pairs)]
    headers: Vec<(String, String)>,
    /// At most 256 KiB of it.
    body: String,
    /// It is no text in UTF-8, and so in base64.
    body_is_base64: bool,
    /// There is more of it, or it broke off, or it took too long.
    body_truncated: bool,
    /// From the connection to the last byte that was read.
    #[schema(minimum = 0)]
    duration_us: u64,
    /// Of the transaction.
    request_id: String,
}

/// `POST /try`.
pub(super) async fn send(mut call: Call) -> Outcome {
    let bytes = call.body().await?;
    let wanted = Wanted::read(&bytes)?;
    drop(bytes);
    let api = &call.shared.api;
    let key = match &wanted.key {
        Some(id) => Some(Arc::clone(
            api.keys.load_full().get(id).ok_or_else(no_such_key)?,
        )),
        None => None,
    };
    call.shared
        .copies
        .take(&call.sender.actor, api.clock.now())?;
    let token = match &key {
        Some(key) => Some(token_of(&call, key).await?),
        None => None,
    };
    let said = format!("{} {}", wanted.method, wanted.path());
    call.note(Action::RequestTried, (None, key), Some(said))
        .await?;
    let way = way_in(api);
    let request_id = &*call.sender.request_id;
    let request = wanted.request(
        &way.address,
        api.config.auth.first_source(),
        token.as_ref(),
        request_id,
    )?;
    let begun = api.clock.now();
    let mut exchange = exchange(&way, request).await?;
    let taken = api.clock.now().duration_since(begun);
    if let Some(token) = &token {
        exchange.hide(token);
    }
    Ok(json(&shown(exchange, taken, request_id)))
}

/// The listener that asks least of us: no header of the PROXY protocol, and no certificate.
fn way_in(api: &Api) -> Way {
    let client = api.config.tls.as_ref().and_then(|tls| tls.client.as_ref());
    let required = client.is_some_and(|client| client.required);
    let asks = |listener: &&Listen| (listener.proxy_protocol, listener.tls && required);
    let listener = api.proxy.iter().min_by_key(asks);
    let listener = listener.expect("a proxy has a listener");
    let tls = api.certificates.clients().filter(|_| listener.tls);
    Way {
        address: listener.address.reached(),
        proxy_protocol: listener.proxy_protocol,
        tls: tls.cloned(),
    }
}

fn shown(exchange: Exchange, taken: Duration, request_id: &str) -> Answer {
    let Exchange {
        status,
        headers,
        mut body,
        whole,
    } = exchange;
    let truncated = !whole || body.len() > ANSWER_BYTES_MAX;
    body.truncate(ANSWER_BYTES_MAX);
    let (body, body_is_base64) = match text(body, truncated) {
        Ok(text) => (text, false),
        Err(bytes) => (BASE64_STANDARD.encode(bytes), true),
    };
    Answer {
        status,
        headers,
        body,
        body_is_base64,
        body_truncated: truncated,
        duration_us: u64::try_from(taken.as_micros()).unwrap_or(u64::MAX),
        request_id: request_id.to_owned(),
    }
}

/// The bytes as text, if they are; the last character of a body that was cut may be cut as well.
fn text(bytes: Vec<u8>, cut: bool) -> Result<String, Vec<u8>> {
    String::from_utf8(bytes).or_else(|error| {
        let (good, ends_early) = (
            error.utf8_error().valid_up_to(),
            error.utf8_error().error_len().is_none(),
        );
        let mut bytes = error.into_bytes();
        if cut && ends_early {
            bytes.truncate(good);
        }
        String::from_utf8(bytes).map_err(std::string::FromUtf8Error::into_bytes)
    })
}

impl Exchange {
    /// An upstream sees no token, unless `auth.hide` is off: then it may send back what it saw.
    fn hide(&mut self, token: &Token) {
        let encoded = wanted::encoded(token.expose());
        for secret in [token.expose(), &encoded] {
            hide(&mut self.body, secret);
            for (_, value) in &mut self.headers {
                *value = value.replace(secret, &"*".repeat(secret.len()));
            }
        }
    }
}

/// Nothing moves: what was cut off stays cut off.
fn hide(bytes: &mut [u8], secret: &str) {
    let found: Vec<_> = memmem::find_iter(bytes, secret).collect();
    for at in found {
        bytes[at..at + secret.len()].fill(b'*');
    }
}

/// Names and values of fields, as far as they are text.
fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}

fn unreachable(what: String) -> ApiError {
    ApiError::new(Code::ProxyUnreachable, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_within_a_character_is_text_still() {
        let cut = |bytes: &[u8], cut| text(bytes.to_vec(), cut);
        assert_eq!(cut("aé".as_bytes(), false).unwrap(), "aé");
        assert_eq!(cut(b"a\xc3", true).unwrap(), "a");
        assert_eq!(cut(b"a\xc3", false).unwrap_err(), b"a\xc3");
        assert_eq!(cut(b"a\xff\xfeb", true).unwrap_err(), b"a\xff\xfeb");
    }

    #[test]
    fn a_token_that_comes_back_is_hidden() {
        let token = Token::parse("a-token/with+signs".to_owned()).unwrap();
        let mut exchange = Exchange {
            status: 200,
            headers: vec![("x-echo".to_owned(), "1 a-token/with+signs 2".to_owned())],
            body: b"a-token/with+signs, a-token%2Fwith%2Bsigns".to_vec(),
            whole: true,
        };
        exchange.hide(&token);
        assert_eq!(exchange.headers[0].1, "1 ****************** 2");
        assert_eq!(exchange.body, b"******************, **********************");
    }
}
