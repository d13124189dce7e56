//! What the document says of each endpoint, beyond what the table of routes knows: its parameters, what it answers,
//! and the codes that are its own. Not for: codes of guards, which follow from the row.

mod transactions;

use serde_json::Value;
use serde_json::json;

use crate::admin::error::Code;
use crate::admin::keys::list::ORDERS;
use crate::admin::keys::list::STATES;
use crate::admin::routes::Endpoint;
use crate::audit::Action;
use crate::store::import::plan::OnConflict;

/// What there is to say of a row.
pub(super) struct Operation {
    pub(super) id: &'static str,
    pub(super) parameters: Vec<Value>,
    /// The schema of the body.
    pub(super) body: Option<&'static str>,
    pub(super) example: Option<Value>,
    pub(super) answers: Vec<Answer>,
    /// Its own ways to say no.
    pub(super) codes: &'static [Code],
}

/// One way to say yes.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) what: &'static str,
    /// Media types and schemas.
    pub(super) content: Vec<(&'static str, Option<&'static str>)>,
    pub(super) headers: &'static [(&'static str, &'static str)],
}

const ETAG: (&str, &str) = ("etag", "For If-Match and If-None-Match");
const LOCATION: (&str, &str) = ("location", "Where the key is");
const COOKIE: (&str, &str) = ("set-cookie", "The session");

/// What every change of the key file may run into.
const EDIT: &[Code] = &[
    Code::MalformedRequest,
    Code::Stale,
    Code::PreconditionRequired,
    Code::NameTaken,
    Code::IdTaken,
    Code::TokenTaken,
    Code::KeyFileBroken,
    Code::KeyFileReadOnly,
    Code::KeyFileShape,
    Code::KeyFileLocked,
    Code::NotWritten,
    Code::Stopping,
];
const COPY: &[Code] = &[
    Code::SlowDown,
    Code::NotRecoverable,
    Code::SecretMissing,
    Code::SealDamaged,
    Code::Stale,
    Code::KeyFileBroken,
    Code::KeyFileReadOnly,
    Code::KeyFileShape,
    Code::KeyFileLocked,
    Code::NotWritten,
    Code::Stopping,
    Code::NameTaken,
    Code::IdTaken,
    Code::TokenTaken,
];
/// As [`COPY`], and what may happen on the way.
const TRY: &[Code] = &[
    Code::KeyNotFound,
    Code::SlowDown,
    Code::NotRecoverable,
    Code::SecretMissing,
    Code::SealDamaged,
    Code::Stale,
    Code::KeyFileBroken,
    Code::KeyFileReadOnly,
    Code::KeyFileShape,
    Code::KeyFileLocked,
    Code::NotWritten,
    Code::Stopping,
    Code::NameTaken,
    Code::IdTaken,
    Code::TokenTaken,
    Code::ProxyUnreachable,
    Code::ProxyTimeout,
];
const IMPORT: &[Code] = &[
    Code::MalformedRequest,
    Code::ImportRefused,
    Code::ImportConflict,
    Code::KeyNotFound,
    Code::Stale,
    Code::NameTaken,
    Code::IdTaken,
    Code::TokenTaken,
    Code::KeyFileBroken,
    Code::KeyFileReadOnly,
    Code::KeyFileShape,
    Code::KeyFileLocked,
    Code::NotWritten,
    Code::Stopping,
];
const SIGN_IN: &[Code] = &[
    Code::LoginFailed,
    Code::SetupRequired,
    Code::SlowDown,
    Code::AccountFileBroken,
    Code::NotWritten,
];

/// What the document says of a row.
///
/// # Panics
/// For a row that is not here; a test looks at all of them.
pub(super) fn operation(endpoint: &Endpoint) -> Operation {
    let path = endpoint.path;
    match endpoint.method.as_str() {
        "GET" => read(path),
        "PUT" | "PATCH" | "DELETE" => changed(endpoint.method.as_str()),
        _ if path.starts_with("/keys") => done_to_keys(path),
        _ => done(path),
    }
}

fn read(path: &str) -> Operation {
    let get = |id, schema, what| Operation::new(id).answer(Answer::json(200, schema, what));
    match path {
        "/session" => get("session", "Session", "Who is signed in").codes(&[
            Code::Unauthenticated,
            Code::SlowDown,
            Code::AccountFileBroken,
        ]),
        "/keys" => Operation::new("listKeys")
            .parameters(list_parameters())
            .answer(Answer::json(200, "Keys", "A page").with(&[ETAG]))
            .codes(&[Code::MalformedRequest]),
        "/keys/{id}" => Operation::new("getKey")
            .parameters(vec![id(), if_none_match()])
            .answer(Answer::json(200, "Key", "The key").with(&[ETAG]))
            .answer(Answer::empty(304, "The client has it already").with(&[ETAG]))
            .codes(&[Code::MalformedRequest, Code::Stale]),
        "/keys/{id}/usage" => get("keyUsage", "Usage", "How it was used")
            .parameters(vec![id(), minutes()])
            .codes(&[Code::MalformedRequest]),
        "/usage" => get("usage", "AllUsage", "How everything was used")
            .parameters(vec![minutes()])
            .codes(&[Code::MalformedRequest]),
        "/keys:export" => {
            let format = json!({"type": "string", "enum": ["ndjson", "json", "yaml", "csv"], "default": "ndjson"});
            let content = [
                "application/x-ndjson",
                "application/json",
                "application/yaml",
                "text/csv",
            ];
            Operation::new("exportKeys")
                .parameters(vec![query("format", "How the keys are written", &format)])
                .answer(Answer {
                    content: content.map(|kind| (kind, None)).into(),
                    ..Answer::empty(200, "All keys: digests and sealed copies, never tokens")
                })
                .codes(&[Code::MalformedRequest, Code::NotWritten])
        }
        _ if path.starts_with("/transactions") => transactions::read(path),
        "/status" => get("status", "Status", "How this instance is doing"),
        "/audit" => get("audit", "Events", "A page of events, newest first")
            .parameters(audit_parameters())
            .codes(&[Code::MalformedRequest]),
        "/openapi.json" => Operation::new("openapi").answer(Answer {
            content: vec![("application/json", None)],
            ..Answer::empty(200, "This document")
        }),
        _ => unreachable!("every row is described"),
    }
}

fn changed(method: &str) -> Operation {
    match method {
        "PUT" => Operation::new("putKey")
            .parameters(vec![id(), only_new()])
            .body(
                "NewKeyWithId",
                json!({"name": "billing", "tags": {"team": "billing"}}),
            )
            .answer(Answer::json(201, "KeyWithToken", "The key").with(&[ETAG, LOCATION]))
            .codes(EDIT),
        "PATCH" => Operation::new("changeKey")
            .parameters(vec![id(), if_match()])
            .body(
                "KeyPatch",
                json!({"description": "for the nightly run", "expires_at": null}),
            )
            .answer(Answer::json(200, "Key", "The key as it is now").with(&[ETAG]))
            .codes(EDIT),
        _ => Operation::new("deleteKey")
            .parameters(vec![id(), if_match()])
            .answer(Answer::empty(
                204,
                "It is gone, and its token passes no more",
            ))
            .codes(EDIT),
    }
}

fn done_to_keys(path: &str) -> Operation {
    match path {
        "/keys" => Operation::new("createKey")
            .body(
                "NewKey",
                json!({"name": "billing", "description": "for the nightly run", "allow": {"paths": ["/v1/**"]}}),
            )
            .answer(Answer::json(201, "KeyWithToken", "The key").with(&[ETAG, LOCATION]))
            .codes(EDIT),
        "/keys/{id}/copy" => Operation::new("copyKey")
            .parameters(vec![id()])
            .answer(Answer::json(200, "Token", "The token; it is in the audit log that it was shown"))
            .codes(COPY),
        "/keys/{id}/rotate" => Operation::new("rotateKey")
            .parameters(vec![id(), if_match()])
            .body("Rotation", json!({"overlap": "24h"}))
            .answer(Answer::json(200, "KeyWithToken", "The key with its new token").with(&[ETAG]))
            .codes(EDIT),
        "/keys:import" => {
            let ways = OnConflict::ALL.map(|(word, _)| word);
            let way = json!({"type": "string", "enum": ways, "default": "rename"});
            let dry = json!({"type": "boolean", "default": false});
            Operation::new("importKeys")
                .parameters(vec![
                    query("dry_run", "Change nothing, and say what would be", &dry),
                    query("on_conflict", "What happens to a key whose name or id is taken", &way),
                ])
                .answer(Answer::json(200, "Imported", "What was imported, or would be"))
                .codes(IMPORT)
        }
        _ => unreachable!("every row is described"),
    }
}

fn done(path: &str) -> Operation {
    match path {
        "/setup" => Operation::new("setup")
            .body(
                "Setup",
                json!({"code": "the code", "name": "admin", "password": "correct horse battery"}),
            )
            .answer(Answer::json(201, "Account", "The account; the session begins").with(&[COOKIE]))
            .codes(&[
                Code::AlreadySetUp,
                Code::CodeRefused,
                Code::SlowDown,
                Code::AccountFileBroken,
                Code::NotWritten,
            ]),
        "/login" => Operation::new("login")
            .body(
                "Login",
                json!({"name": "admin", "password": "correct horse battery"}),
            )
            .answer(Answer::json(200, "Account", "The session begins").with(&[COOKIE]))
            .codes(SIGN_IN),
        "/logout" => Operation::new("logout")
            .answer(Answer::empty(204, "The session is over").with(&[COOKIE])),
        "/password" => Operation::new("changePassword")
            .body(
                "NewPassword",
                json!({"current": "correct horse battery", "new": "a staple of another kind"}),
            )
            .answer(Answer::empty(204, "Changed; all other sessions are over"))
            .codes(SIGN_IN),
        "/try" => Operation::new("try")
            .body(
                "TryRequest",
                json!({"key_id": "k_7Qm2x9", "path": "/v1/items?page=2", "headers": [["accept", "application/json"]]}),
            )
            .answer(Answer::json(200, "TryAnswer", "What the proxy answered"))
            .codes(TRY),
        "/reload" => Operation::new("reload")
            .answer(Answer::json(200, "Reloaded", "The revision in force"))
            .codes(&[Code::KeyFileBroken, Code::CertificatesBroken]),
        _ => unreachable!("every row is described"),
    }
}

impl Operation {
    const fn new(id: &'static str) -> Self {
        Self {
            id,
            parameters: Vec::new(),
            body: None,
            example: None,
            answers: Vec::new(),
            codes: &[],
        }
    }

    fn parameters(self, parameters: Vec<Value>) -> Self {
        Self { parameters, ..self }
    }

    fn body(self, schema: &'static str, example: Value) -> Self {
        Self {
            body: Some(schema),
            example: Some(example),
            ..self
        }
    }

    fn answer(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    fn codes(self, codes: &'static [Code]) -> Self {
        Self { codes, ..self }
    }
}

impl Answer {
    fn json(status: u16, schema: &'static str, what: &'static str) -> Self {
        Self {
            content: vec![("application/json", Some(schema))],
            ..Self::empty(status, what)
        }
    }

    const fn empty(status: u16, what: &'static str) -> Self {
        Self {
            status,
            what,
            content: Vec::new(),
            headers: &[],
        }
    }

    fn with(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }
}

fn list_parameters() -> Vec<Value> {
    let text = json!({"type": "string"});
    vec![
        query(
            "search",
            "Part of the name, description, id, mask or a tag",
            &text,
        ),
        query(
            "status",
            "Only keys in this state",
            &json!({"type": "string", "enum": STATES.map(|(word, _)| word)}),
        ),
        query(
            "sort",
            "With a minus in front: the other way round",
            &json!({"type": "string", "enum": ORDERS.map(|(word, _)| word), "default": "name"}),
        ),
        limit(),
        query(
            "cursor",
            "The `next_cursor` of the page before, with the same `sort`",
            &cursor(),
        ),
    ]
}

fn audit_parameters() -> Vec<Value> {
    let text = json!({"type": "string"});
    let actions = json!({"type": "string", "enum": Action::ALL.map(Action::as_str)});
    vec![
        limit(),
        query("cursor", "The `next_cursor` of the page before", &cursor()),
        query("actor", "The kind or the name of who did it", &text),
        query("action", "What was done", &actions),
        query("key", "The id or the name of the key", &text),
    ]
}

/// Nobody can make one up.
fn cursor() -> Value {
    json!({"type": "string"})
}

fn limit() -> Value {
    let number = json!({"type": "integer", "minimum": 1, "maximum": 200, "default": 50});
    query("limit", "The most that a page holds", &number)
}

fn minutes() -> Value {
    let number = json!({"type": "integer", "minimum": 1, "maximum": 1440, "default": 1440});
    query("minutes", "How many places the series have", &number)
}

fn query(name: &str, what: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "description": what, "schema": schema})
}

fn id() -> Value {
    json!({
        "name": "id", "in": "path", "required": true, "description": "The key",
        "schema": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"},
    })
}

/// A list of entity tags.
const TAGS: &str = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#;

fn if_match() -> Value {
    json!({
        "name": "If-Match", "in": "header", "required": true,
        "description": "The ETag of the key as it was last seen, or *",
        "schema": {"type": "string", "pattern": TAGS},
        "examples": {"whatever": {"value": "*"}},
    })
}

fn if_none_match() -> Value {
    json!({
        "name": "If-None-Match", "in": "header", "required": false,
        "description": "The ETag of the key as the client has it",
        "schema": {"type": "string", "pattern": TAGS},
    })
}

fn only_new() -> Value {
    json!({
        "name": "If-None-Match", "in": "header", "required": true,
        "description": "A key is made here, and never replaced",
        "schema": {"type": "string", "enum": ["*"]},
    })
}
