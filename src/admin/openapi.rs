//! The OpenAPI document: made from the table of routes, what `operations` says of each row, and the types of bodies
//! and answers. A copy is checked in as `config/openapi.json`, so that a change of the interface is seen in review.
//! Not for: what endpoints do.

mod operations;
pub(super) mod types;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::body::Bytes;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::Schema;

use crate::admin::audit::Events;
use crate::admin::error::Code;
use crate::admin::keys::copy::Shown;
use crate::admin::keys::create::KeyWithToken;
use crate::admin::keys::edit::FileProblem;
use crate::admin::keys::import::Imported;
use crate::admin::keys::json_bytes;
use crate::admin::keys::list::Keys;
use crate::admin::keys::view::KeyView;
use crate::admin::openapi::operations::Answer;
use crate::admin::openapi::operations::Operation;
use crate::admin::openapi::operations::operation;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::routes::BASE;
use crate::admin::routes::ENDPOINTS;
use crate::admin::routes::Endpoint;
use crate::admin::routes::Takes;
use crate::admin::routes::Who;
use crate::admin::session;
use crate::admin::status;
use crate::admin::transactions;
use crate::admin::try_it;
use crate::admin::usage;

/// `GET /openapi.json`.
pub(super) async fn show(_: Call) -> Outcome {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| text().into());
    Ok(json_bytes(text.clone()))
}

/// Every code that an endpoint may answer with, by the guards that it is behind and by what it does itself.
pub(super) fn codes(endpoint: &Endpoint) -> Vec<Code> {
    let mut codes = vec![Code::HostNotAllowed, Code::Internal];
    if !endpoint.method.is_safe() {
        codes.push(Code::OriginNotAllowed);
    }
    match endpoint.who {
        Who::Anybody => {}
        Who::Administrators => codes.extend([
            Code::Unauthenticated,
            Code::SetupRequired,
            Code::SlowDown,
            Code::AccountFileBroken,
        ]),
    }
    let body = [
        Code::UnsupportedMediaType,
        Code::BodyTooLarge,
        Code::BodyTooSlow,
        Code::MalformedBody,
    ];
    match endpoint.takes {
        Takes::Nothing => {}
        Takes::Json | Takes::OptionalJson | Takes::Patch => {
            codes.extend(body);
            codes.push(Code::InvalidField);
        }
        Takes::Keys => codes.extend(body),
    }
    if endpoint.path.contains("{id}") {
        codes.push(Code::KeyNotFound);
    }
    for code in operation(endpoint).codes {
        if !codes.contains(code) {
            codes.push(*code);
        }
    }
    codes
}

fn text() -> String {
    format!("{:#}\n", document())
}

fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for endpoint in ENDPOINTS {
        let method = endpoint.method.as_str().to_ascii_lowercase();
        let path = paths.entry(endpoint.path).or_default();
        path.insert(method, described(endpoint));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "keygate admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Keys, their use, transactions, status and audit of one keygate. Every change is answered when it is live.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": BASE}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "keygate_session",
                    "description": "The administrator, signed in",
                },
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of admin.token_file, for automation",
                },
            },
        },
    })
}

type Schemas = Vec<(String, RefOr<Schema>)>;

fn schemas() -> BTreeMap<String, Value> {
    let mut found: Schemas = Vec::new();
    add::<types::NewKey>(&mut found);
    add::<types::NewKeyWithId>(&mut found);
    add::<types::KeyPatch>(&mut found);
    add::<types::Rotation>(&mut found);
    add::<types::Setup>(&mut found);
    add::<types::Login>(&mut found);
    add::<types::NewPassword>(&mut found);
    add::<types::TryRequest>(&mut found);
    add::<types::Problem>(&mut found);
    add::<FileProblem>(&mut found);
    add::<KeyView<'_>>(&mut found);
    add::<KeyWithToken<'_>>(&mut found);
    add::<Keys<'_>>(&mut found);
    add::<Shown<'_>>(&mut found);
    add::<usage::KeyUsage>(&mut found);
    add::<usage::AllUsage>(&mut found);
    add::<Imported>(&mut found);
    add::<Events>(&mut found);
    add::<transactions::Transactions>(&mut found);
    add::<transactions::Explained>(&mut found);
    add::<try_it::Answer>(&mut found);
    add::<session::Session>(&mut found);
    add::<session::Account>(&mut found);
    add::<status::Status>(&mut found);
    add::<status::Reloaded>(&mut found);
    let found = found.into_iter();
    found
        .map(|(name, schema)| {
            let mut schema = serde_json::to_value(schema).expect("a schema is JSON");
            if schema["properties"]["digest"].is_object()
                && schema["properties"]["token"].is_object()
            {
                schema["not"] = json!({"required": ["token", "digest"]});
                schema["dependentRequired"] = json!({"mask": ["digest"]});
            }
            (name, schema)
        })
        .chain([("Transaction".to_owned(), transaction())])
        .collect()
}

/// A line of the transaction log, as its own schema describes it.
fn transaction() -> Value {
    let schema = include_str!("../../config/transaction.schema.json");
    let mut schema: Value = serde_json::from_str(schema).expect("a schema is JSON");
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
    }
    schema
}

fn add<T: ToSchema>(found: &mut Schemas) {
    found.push((T::name().into_owned(), T::schema()));
    T::schemas(found);
}

/// One row of the table.
fn described(endpoint: &Endpoint) -> Value {
    let operation = operation(endpoint);
    let mut described = json!({
        "operationId": operation.id,
        "summary": endpoint.summary,
        "responses": responses(endpoint, &operation),
        "security": match endpoint.who {
            Who::Anybody => json!([]),
            Who::Administrators => json!([{"session": []}, {"bearer": []}]),
        },
    });
    if let Some(described) = described.as_object_mut() {
        if !operation.parameters.is_empty() {
            described.insert("parameters".to_owned(), operation.parameters.into());
        }
        if let Some(body) = body(endpoint, operation.body, operation.example.as_ref()) {
            described.insert("requestBody".to_owned(), body);
        }
    }
    described
}

fn body(endpoint: &Endpoint, schema: Option<&str>, example: Option<&Value>) -> Option<Value> {
    let types = endpoint.takes.types();
    if types.is_empty() {
        return None;
    }
    let content: Map<_, _> = types
        .into_iter()
        .map(|kind| {
            let schema = schema.map_or_else(|| keys_in(kind), reference);
            let mut media = json!({ "schema": schema });
            if let Some(example) = example {
                media["examples"] = json!({"typical": {"value": example}});
            }
            (kind.to_owned(), media)
        })
        .collect();
    let required = endpoint.takes != Takes::OptionalJson;
    Some(json!({"required": required, "content": content}))
}

/// Keys as they come in: the shapes of key files, whose entries have a schema of their own, and text.
fn keys_in(kind: &str) -> Value {
    match kind {
        "application/json" => json!({
            "type": "object",
            "description": "A key file, as config/keys.schema.json describes it",
            "properties": {
                "version": {"const": 1},
                "keys": {"type": "array", "items": {"type": "object"}},
            },
            "required": ["version", "keys"],
            "additionalProperties": false,
        }),
        _ => json!({"type": "string"}),
    }
}

fn responses(endpoint: &Endpoint, operation: &Operation) -> Value {
    let mut responses = Map::new();
    for answer in &operation.answers {
        responses.insert(answer.status.to_string(), answered(answer));
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes(endpoint) {
        let (_, status, _) = code.row();
        by_status.entry(status.as_u16()).or_default().push(code);
    }
    for (status, codes) in by_status {
        responses.insert(status.to_string(), refused(status, &codes));
    }
    responses.into()
}

fn answered(answer: &Answer) -> Value {
    let mut headers = request_id();
    for (name, what) in answer.headers {
        headers.insert((*name).to_owned(), header(what));
    }
    let mut response = json!({"description": answer.what, "headers": headers});
    let content: Map<_, _> = answer
        .content
        .iter()
        .map(|(kind, schema)| {
            let schema = schema.map_or_else(|| json!({}), reference);
            ((*kind).to_owned(), json!({ "schema": schema }))
        })
        .collect();
    if !content.is_empty() {
        response["content"] = content.into();
    }
    response
}

fn refused(status: u16, codes: &[Code]) -> Value {
    let mut headers = request_id();
    if status == 401 {
        headers.insert("www-authenticate".to_owned(), header("How to authenticate"));
    }
    if status == 429 {
        headers.insert("retry-after".to_owned(), header("Seconds to wait"));
    }
    let said: Vec<_> = codes
        .iter()
        .map(|code| {
            let (name, _, title) = code.row();
            format!("`{name}`: {title}")
        })
        .collect();
    json!({
        "description": said.join("; "),
        "headers": headers,
        "content": {"application/problem+json": {"schema": reference("Problem")}},
    })
}

fn request_id() -> Map<String, Value> {
    let mut headers = Map::new();
    headers.insert(
        "x-request-id".to_owned(),
        header("Names the request in keygate's logs"),
    );
    headers
}

fn header(what: &str) -> Value {
    json!({"description": what, "required": true, "schema": {"type": "string"}})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

#[cfg(test)]
mod tests;
