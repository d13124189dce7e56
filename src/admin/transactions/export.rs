//! All transactions that match, newest first, as lines or as a table, written while they are sent. Files that cannot be
//! read are left out: a page names them.

use std::iter;
use std::sync::Arc;

use axum::http::HeaderValue;
use axum::http::header;

use crate::admin::pieces;
use crate::admin::pieces::Pieces;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::Parameters;
use crate::admin::request::blocking;
use crate::admin::transactions::filter;
use crate::admin::transactions::response;
use crate::admin::transactions::seat;
use crate::admin::transactions::with_filters;
use crate::audit::Action;
use crate::transactions::read;
use crate::transactions::read::Filter;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Ndjson,
    Csv,
}

const SHAPES: [(&str, Shape); 2] = [("ndjson", Shape::Ndjson), ("csv", Shape::Csv)];

impl Shape {
    /// The media type, and the name of the file for a browser.
    const fn headers(self) -> (&'static str, &'static str) {
        match self {
            Self::Ndjson => (
                "application/x-ndjson",
                "attachment; filename=\"transactions.ndjson\"",
            ),
            Self::Csv => (
                "text/csv; charset=utf-8",
                "attachment; filename=\"transactions.csv\"",
            ),
        }
    }
}

/// `GET /transactions:export`.
pub(in crate::admin) async fn export(call: Call) -> Outcome {
    let parameters = call.query(&with_filters::<12>(["format"]))?;
    let filter = filter(&call, &parameters)?;
    let shape = parameters
        .choice("format", &SHAPES)?
        .unwrap_or(Shape::Ndjson);
    let seat = seat(&call)?;
    let detail = noted(&parameters);
    call.note(Action::TransactionsExported, (None, None), detail)
        .await?;
    let config = Arc::clone(&call.shared.api.config);
    let lines = blocking(move || read::all(&config.transactions.dir, &filter)).await?;
    let lines = lines.inspect(move |_| {
        let _held = &seat;
    });
    let pieces: Pieces = match shape {
        Shape::Ndjson => Box::new(lines.map(|lines| {
            let whole = lines.into_iter().flat_map(|line| [line, "\n".to_owned()]);
            whole.collect::<String>().into_bytes()
        })),
        Shape::Csv => {
            let rows = lines.map(|lines| read::csv_rows(&lines));
            Box::new(iter::once(read::csv_header()).chain(rows))
        }
    };
    let (kind, name) = shape.headers();
    let mut response = response(kind, pieces::body(pieces));
    let name = HeaderValue::from_static(name);
    response
        .headers_mut()
        .insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// What was asked for, as the audit log has it. Somebody may search for a token: texts of searches are left out.
fn noted(parameters: &Parameters) -> Option<String> {
    let given = Filter::NAMES.into_iter().filter_map(|name| {
        let text = match name {
            "search" => parameters.text(name).map(|_| "…"),
            _ => parameters.text(name),
        };
        Some(format!("{name}={}", text?))
    });
    let given: Vec<_> = given.collect();
    (!given.is_empty()).then(|| given.join(", "))
}
