//! The transaction log over HTTP, from its files: pages, and why a request was refused. Searches run beside the control
//! plane, a few at a time. Not for: how the log is read (`transactions::read`); live streams and exports, which have
//! files of their own.

pub(super) mod export;
pub(super) mod stream;

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header;
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::keys::json;
use crate::admin::openapi::types;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::Parameters;
use crate::admin::request::blocking;
use crate::admin::request::wrong_parameter;
use crate::clock::Timestamp;
use crate::transactions::read;
use crate::transactions::read::Entry;
use crate::transactions::read::Filter;
use crate::transactions::read::PAGE_RECORDS_MAX;
use crate::transactions::read::Page;
use crate::transactions::read::Place;
use crate::transactions::read::checks;

/// Records on a page, unless somebody asks for another number.
const PAGE_RECORDS: usize = 50;

/// A page of transactions.
#[derive(Serialize, ToSchema)]
pub(super) struct Transactions {
    /// As they stand in the log, newest first.
    #[schema(value_type = Vec<types::Transaction>, max_items = 200)]
    transactions: Vec<Box<RawValue>>,
    /// For the next page; null: this is the last. A page may be short, even empty, and still have a next one.
    #[schema(required)]
    next_cursor: Option<String>,
    /// The time of the oldest record that was looked at; null: there was none.
    #[schema(required, format = DateTime)]
    searched_to: Option<String>,
    /// How many lines of the log could not be read.
    #[schema(minimum = 0)]
    skipped: u64,
    unreadable: Vec<UnreadableFile>,
    /// Whether requests are recorded at present (`transactions.enabled`).
    recording: bool,
}

/// A file of the log that could not be read.
#[derive(Serialize, ToSchema)]
pub(super) struct UnreadableFile {
    file: String,
    why: String,
}

/// A transaction, and why it ended as it did.
#[derive(Serialize, ToSchema)]
pub(super) struct Explained {
    #[schema(value_type = types::Transaction)]
    transaction: Box<RawValue>,
    /// In the order in which they are made.
    checks: Vec<TransactionCheck>,
    /// How many older records have this request id, in what was searched.
    #[schema(minimum = 0)]
    others: usize,
}

/// One check of a request.
#[derive(Serialize, ToSchema)]
pub(super) struct TransactionCheck {
    #[schema(schema_with = types::step)]
    name: &'static str,
    #[schema(schema_with = types::outcome)]
    result: &'static str,
    /// What it was about; of a check that failed: why, and what to do.
    #[schema(required)]
    detail: Option<String>,
}

/// `GET /transactions`.
pub(super) async fn list(call: Call) -> Outcome {
    let parameters = call.query(&with_filters::<13>(["limit", "cursor"]))?;
    let filter = filter(&call, &parameters)?;
    let from = match parameters.text("cursor") {
        None => None,
        Some(text) => Some(place("cursor", "next_cursor", text)?),
    };
    let limit = parameters.number("limit", PAGE_RECORDS, PAGE_RECORDS_MAX)?;
    let recording = call.shared.api.config.transactions.enabled;
    searched(&call, filter, from, limit, move |page| {
        Ok(json(&Transactions {
            transactions: page.lines.into_iter().filter_map(raw).collect(),
            next_cursor: page.next.map(|place| place.to_string()),
            searched_to: page.searched_to.map(|time| time.to_string()),
            skipped: page.skipped,
            unreadable: page
                .unreadable
                .into_iter()
                .map(UnreadableFile::of)
                .collect(),
            recording,
        }))
    })
    .await
}

/// `GET /transactions/{request_id}`.
pub(super) async fn show(call: Call) -> Outcome {
    call.query(&[])?;
    let filter = Filter::request(call.id.as_deref().unwrap_or_default());
    searched(&call, filter, None, PAGE_RECORDS_MAX, |page| {
        let others = page.lines.len().saturating_sub(1);
        let Some(line) = page.lines.into_iter().next() else {
            return Err(not_found(page.next.is_some(), page.searched_to));
        };
        let entry = Entry::of(&line);
        let checks = entry.map_or_else(Vec::new, |entry| checks(&entry));
        let checks = checks.into_iter().map(TransactionCheck::of).collect();
        let transaction = raw(line).ok_or_else(|| not_found(false, None))?;
        Ok(json(&Explained {
            transaction,
            checks,
            others,
        }))
    })
    .await
}

/// What is made of a page, beside the control plane, when it is this request's turn.
async fn searched(
    call: &Call,
    filter: Filter,
    from: Option<Place>,
    limit: usize,
    answer: impl FnOnce(Page) -> Outcome + Send + 'static,
) -> Outcome {
    let turn = call.shared.searches.acquire().await;
    let _turn = turn.expect("nobody closes the semaphore");
    let (config, clock) = (
        Arc::clone(&call.shared.api.config),
        call.shared.api.clock.clone(),
    );
    blocking(move || {
        let folder = &config.transactions.dir;
        answer(read::page(folder, &filter, from.as_ref(), limit, &clock))
    })
    .await?
}

fn not_found(is_cut_off: bool, searched_to: Option<Timestamp>) -> ApiError {
    let detail = match searched_to.filter(|_| is_cut_off) {
        Some(time) => format!(
            "no record since {} has this request id; older ones are found by GET /transactions with request_id and until",
            time.to_short()
        ),
        None => {
            "no record has this request id: it may be pruned, not recorded, or another instance's"
                .to_owned()
        }
    };
    ApiError::new(Code::TransactionNotFound, detail)
}

/// The parameters of filters, and more.
fn with_filters<const N: usize>(more: impl IntoIterator<Item = &'static str>) -> [&'static str; N] {
    let mut names = Filter::NAMES.into_iter().chain(more);
    std::array::from_fn(|_| names.next().expect("N counts all of them"))
}

fn filter(call: &Call, parameters: &Parameters) -> Result<Filter, ApiError> {
    let given = Filter::NAMES
        .into_iter()
        .filter_map(|name| Some((name, parameters.text(name)?)));
    Filter::parse(given, call.shared.api.clock.wall())
        .map_err(|error| wrong_parameter(&error.name, error.what))
}

/// A place in the log that a client was given before.
fn place(name: &str, given_as: &str, text: &str) -> Result<Place, ApiError> {
    Place::parse(text).ok_or_else(|| {
        let what = format!("expected {given_as} as it was given: begin again without one");
        wrong_parameter(name, what)
    })
}

/// A line is JSON already.
fn raw(line: String) -> Option<Box<RawValue>> {
    RawValue::from_string(line).ok()
}

impl UnreadableFile {
    fn of(found: read::Unreadable) -> Self {
        Self {
            file: found.file,
            why: found.why,
        }
    }
}

impl TransactionCheck {
    fn of(check: read::Check) -> Self {
        Self {
            name: check.step.as_str(),
            result: check.outcome.as_str(),
            detail: check.detail,
        }
    }
}

/// A seat for an answer that takes long, for as long as it is held.
fn seat(call: &Call) -> Result<OwnedSemaphorePermit, ApiError> {
    let seats = Arc::clone(&call.shared.streams);
    seats.try_acquire_owned().map_err(|_| ApiError {
        retry_after: Some(5),
        ..ApiError::new(
            Code::TooManyStreams,
            "16 live streams and exports of transactions are open already: close one, or try again later",
        )
    })
}

/// An answer with this body.
fn response(kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
