//! What the document says of the endpoints for transactions.

use serde_json::Value;
use serde_json::json;

use crate::admin::error::Code;
use crate::admin::openapi::operations::Answer;
use crate::admin::openapi::operations::Operation;
use crate::admin::openapi::operations::cursor;
use crate::admin::openapi::operations::limit;
use crate::admin::openapi::operations::query;
use crate::refusal::Decision;
use crate::refusal::Reason;

pub(super) fn read(path: &str) -> Operation {
    match path {
        "/transactions" => Operation::new("listTransactions")
            .parameters(transaction_parameters([
                limit(),
                query("cursor", "The `next_cursor` of the page before", &cursor()),
            ]))
            .answer(Answer::json(200, "Transactions", "A page, newest first"))
            .codes(&[Code::MalformedRequest]),
        "/transactions/{request_id}" => Operation::new("explainTransaction")
            .parameters(vec![request_id()])
            .answer(Answer::json(
                200,
                "Explained",
                "The newest transaction with this id",
            ))
            .codes(&[Code::MalformedRequest, Code::TransactionNotFound]),
        "/transactions/stream" => Operation::new("streamTransactions")
            .parameters(transaction_parameters([
                query("last_event_id", "Go on behind this event", &cursor()),
                last_event_id(),
            ]))
            .answer(Answer {
                content: vec![("text/event-stream", None)],
                ..Answer::empty(
                    200,
                    "Events `transaction`, each with a line of the log, and `gap` where lines may be missing",
                )
            })
            .codes(&[Code::MalformedRequest, Code::TooManyStreams]),
        "/transactions:export" => {
            let format = json!({"type": "string", "enum": ["ndjson", "csv"], "default": "ndjson"});
            let format = query("format", "How they are written", &format);
            Operation::new("exportTransactions")
                .parameters(transaction_parameters([format]))
                .answer(Answer {
                    content: vec![("application/x-ndjson", None), ("text/csv", None)],
                    ..Answer::empty(200, "All transactions that match, newest first")
                })
                .codes(&[
                    Code::MalformedRequest,
                    Code::TooManyStreams,
                    Code::NotWritten,
                ])
        }
        _ => unreachable!("every row is described"),
    }
}

/// What filters transactions, and more.
fn transaction_parameters(more: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let text = json!({"type": "string"});
    let decisions = json!({"type": "string", "enum": Decision::ALL.map(Decision::as_str)});
    let reasons: Vec<_> = Reason::all().map(Reason::as_str).collect();
    let reasons = json!({"type": "string", "enum": reasons});
    let status = json!({"type": "string", "pattern": "^([1-5]([0-9][0-9]|[xX][xX]))?$"});
    let time = "A date, or a duration back from now such as 1h";
    let filters = [
        query("key", "The id or the name of the key, at the time", &text),
        query("decision", "What keygate decided", &decisions),
        query("reason", "Why it did not end as usual", &reasons),
        query(
            "status",
            "A status such as 404, or a class such as 4xx",
            &status,
        ),
        query("method", "The method", &text),
        query(
            "path",
            "A beginning of the path; with * in it, the whole path, * for any text",
            &text,
        ),
        query("client", "An address or a network", &text),
        query("since", &format!("Begun then or later: {time}"), &text),
        query("until", &format!("Begun before: {time}"), &text),
        query("request_id", "The request's id", &text),
        query(
            "search",
            "Part of any text of the record, in any case",
            &text,
        ),
    ];
    filters.into_iter().chain(more).collect()
}

fn request_id() -> Value {
    json!({
        "name": "request_id", "in": "path", "required": true, "description": "The request's id",
        "schema": {"type": "string", "minLength": 1},
    })
}

fn last_event_id() -> Value {
    json!({
        "name": "Last-Event-ID", "in": "header", "required": false,
        "description": "As `last_event_id`; browsers send it by themselves",
        "schema": {"type": "string"},
    })
}
