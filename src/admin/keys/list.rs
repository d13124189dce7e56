//! A page of keys over HTTP, and the cursor to the next one: opaque to clients, and bound to the order that it was
//! made for. Not for: searching and sorting, which is `key::list`.

use std::iter;

use axum::http::HeaderValue;
use axum::http::header;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::error::ApiError;
use crate::admin::keys::json;
use crate::admin::keys::view::KeyView;
use crate::admin::keys::view::view;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::Parameters;
use crate::admin::request::blocking;
use crate::admin::request::wrong_parameter;
use crate::key::KeyId;
use crate::key::KeyState;
use crate::key::list::Order;
use crate::key::list::PAGE_KEYS_MAX;
use crate::key::list::Position;
use crate::key::list::Query;
use crate::key::list::page;

/// Keys on a page, unless somebody asks for another number.
const PAGE_KEYS: usize = 50;

/// By what a list may be sorted; each also with `-` for the other way round.
pub(in crate::admin) const ORDERS: [(&str, (Order, bool)); 8] = [
    ("name", (Order::Name, false)),
    ("-name", (Order::Name, true)),
    ("created_at", (Order::CreatedAt, false)),
    ("-created_at", (Order::CreatedAt, true)),
    ("last_used_at", (Order::LastUsedAt, false)),
    ("-last_used_at", (Order::LastUsedAt, true)),
    ("expires_at", (Order::ExpiresAt, false)),
    ("-expires_at", (Order::ExpiresAt, true)),
];
pub(in crate::admin) const STATES: [(&str, KeyState); 4] = [
    ("active", KeyState::Active),
    ("disabled", KeyState::Disabled),
    ("not_yet_valid", KeyState::NotYetValid),
    ("expired", KeyState::Expired),
];

/// A page of keys.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Keys<'k> {
    #[schema(max_items = 200)]
    keys: Vec<KeyView<'k>>,
    /// How many keys match, on all pages.
    #[schema(minimum = 0)]
    total: usize,
    /// For the next page; null: this is the last.
    #[schema(required)]
    next_cursor: Option<String>,
    /// Of the key file.
    revision: String,
}

/// `GET /keys`.
pub(crate) async fn list(call: Call) -> Outcome {
    let parameters = call.query(&["search", "status", "sort", "limit", "cursor"])?;
    let (query, sort) = query(&parameters)?;
    let table = call.shared.api.keys.load_full();
    let now = call.shared.api.clock.wall();
    let totals = call.shared.api.totals.clone();
    // A million keys take some 50 ms, which the control plane does not have.
    blocking(move || {
        let page = page(&table, &query, now);
        let keys = iter::zip(&page.keys, totals.days(&page.keys));
        let revision = table.revision().to_string();
        let mut response = json(&Keys {
            keys: keys.map(|(key, day)| view(key, now, day)).collect(),
            total: page.matching,
            next_cursor: page.next.map(|next| cursor(&sort, &next)),
            revision: revision.clone(),
        });
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    })
    .await
}

fn query(parameters: &Parameters) -> Result<(Query, String), ApiError> {
    let (order, descending) = parameters.choice("sort", &ORDERS)?.unwrap_or_default();
    let sort = parameters.text("sort").unwrap_or("name").to_owned();
    let after = match parameters.text("cursor") {
        None => None,
        Some(text) => Some(position(text, &sort)?),
    };
    let query = Query {
        search: parameters.text("search").map(str::to_owned),
        state: parameters.choice("status", &STATES)?,
        order,
        descending,
        after,
        limit: parameters.number("limit", PAGE_KEYS, PAGE_KEYS_MAX)?,
    };
    Ok((query, sort))
}

/// What a cursor says.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    v: u8,
    sort: String,
    by: String,
    id: String,
}

fn cursor(sort: &str, next: &Position) -> String {
    let cursor = Cursor {
        v: 1,
        sort: sort.to_owned(),
        by: next.by.clone(),
        id: next.id.as_str().to_owned(),
    };
    let text = serde_json::to_vec(&cursor).expect("texts can be written");
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

fn position(text: &str, sort: &str) -> Result<Position, ApiError> {
    let wrong = |what: &str| wrong_parameter("cursor", what);
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    let cursor: Option<Cursor> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let unknown = || wrong("expected a next_cursor as it was given: begin again without one");
    let cursor = cursor.filter(|cursor| cursor.v == 1).ok_or_else(unknown)?;
    if cursor.sort != sort {
        return Err(wrong(
            "it belongs to a list in another order: keep `sort`, or begin again without a cursor",
        ));
    }
    let id = KeyId::parse(&cursor.id).map_err(|_| unknown())?;
    Ok(Position { by: cursor.by, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_way_to_the_client_and_back() {
        let next = Position {
            by: "päge/ \u{1f511}".to_owned(),
            id: KeyId::parse("k_1").unwrap(),
        };
        let text = cursor("-name", &next);
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        assert_eq!(position(&text, "-name").unwrap(), next);
        assert!(
            position(&text, "name")
                .unwrap_err()
                .detail
                .contains("another order")
        );
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let other = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        for text in [
            "x".to_owned(),
            "%%%".to_owned(),
            other("{}"),
            other(r#"{"v":2,"sort":"name","by":"a","id":"a"}"#),
            other(r#"{"v":1,"sort":"name","by":"a","id":"a b"}"#),
            other(r#"{"v":1,"sort":"name","by":"a","id":"a","x":1}"#),
        ] {
            assert!(position(&text, "name").is_err(), "{text}");
        }
    }

    #[test]
    fn every_state_can_be_asked_for_by_the_word_that_lists_show() {
        for (word, state) in STATES {
            assert_eq!(word, state.as_str());
        }
    }
}
