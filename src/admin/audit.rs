//! The audit log over HTTP, newest first. Not for: writing it, which every change does through `request`.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::keys::json;
use crate::admin::openapi::types;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::blocking;
use crate::admin::request::wrong_parameter;
use crate::audit::Action;
use crate::audit::Filter;
use crate::audit::PAGE_EVENTS_MAX;
use crate::audit::ReadError;

/// Events on a page, unless somebody asks for another number.
const PAGE_EVENTS: usize = 50;

/// A page of events.
#[derive(Serialize, ToSchema)]
pub(super) struct Events {
    #[schema(value_type = Vec<types::AuditEvent>, max_items = 200)]
    events: Vec<Value>,
    /// For the next page; null: this is the last. A page may be short, and still have a next one.
    #[schema(required)]
    next_cursor: Option<String>,
    /// How many lines of the log could not be read.
    #[schema(minimum = 0)]
    skipped: u64,
}

/// `GET /audit`.
pub(super) async fn list(call: Call) -> Outcome {
    let parameters = call.query(&["limit", "cursor", "actor", "action", "key"])?;
    let actions = Action::ALL.map(|action| (action.as_str(), action));
    let action = parameters.choice("action", &actions)?;
    let text = |name: &str| parameters.text(name).map(str::to_owned);
    let filter = Filter {
        actor: text("actor"),
        action: action.map(|action| action.as_str().to_owned()),
        key: text("key"),
    };
    let (cursor, limit) = (
        text("cursor"),
        parameters.number("limit", PAGE_EVENTS, PAGE_EVENTS_MAX)?,
    );
    let audit = call.shared.api.audit.clone();
    // Lines may be long, so they are written out there as well.
    let page = blocking(move || {
        let page = audit.page(&filter, cursor.as_deref(), limit)?;
        Ok(json(&Events {
            events: page.events,
            next_cursor: page.next,
            skipped: page.skipped,
        }))
    });
    page.await?.map_err(|error| match error {
        ReadError::Cursor => wrong_parameter(
            "cursor",
            "expected a next_cursor as it was given: begin again without one",
        ),
        ReadError::Unreadable(error) => {
            ApiError::new(Code::Internal, "the audit log cannot be read").because(&error)
        }
    })
}
