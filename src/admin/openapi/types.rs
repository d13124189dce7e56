//! The types of the document that no answer is made of: bodies, which are read as trees so that all mistakes are
//! told at once, problems, and sets of words. Tests hold the bodies to what is read. Not for: answers, whose types
//! stand where they are made.

#![expect(
    dead_code,
    reason = "these types are described, and never made: bodies are read as trees"
)]

use std::collections::BTreeMap;

use utoipa::ToSchema;
use utoipa::openapi::Object;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::Type;

use crate::key::KeyState;
use crate::net::tls::Audience;
use crate::transactions::read::Outcome;
use crate::transactions::read::Step;

/// A key to make. With neither token nor digest, a token is made.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct NewKey {
    /// Unique, in Unicode form NFC, without control characters.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$"
    )]
    name: String,
    description: Option<String>,
    /// By default one is made.
    #[schema(value_type = String, required = false, min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]*$")]
    id: Option<String>,
    /// A token that is in use already: visible ASCII.
    #[schema(value_type = String, required = false, min_length = 8, max_length = 512, pattern = "^[!-~]+$")]
    token: Option<String>,
    /// In place of a token: its SHA-256. It cannot be copied then.
    #[schema(value_type = String, required = false, pattern = "^sha256:[0-9A-Fa-f]{64}$")]
    digest: Option<String>,
    /// A hint at the token, only with a digest; it contains "…" or "...".
    #[schema(value_type = String, required = false, min_length = 1, max_length = 32, pattern = r"…|\.\.\.")]
    mask: Option<String>,
    /// By default true.
    enabled: Option<bool>,
    /// Refused before.
    #[schema(format = DateTime)]
    not_before: Option<String>,
    /// Refused from then on; after `not_before`.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    /// Whether its requests are in the transaction log; by default true.
    record: Option<bool>,
    /// What the key may do; by default everything.
    allow: Option<NewAllow>,
    /// Whether a sealed copy of the token is kept, for Copy; by default as `keys.recoverable` says.
    recoverable: Option<bool>,
}

/// As `NewKey`, without the id, which the path has.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct NewKeyWithId {
    /// Unique, in Unicode form NFC, without control characters.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$"
    )]
    name: String,
    description: Option<String>,
    /// A token that is in use already: visible ASCII.
    #[schema(value_type = String, required = false, min_length = 8, max_length = 512, pattern = "^[!-~]+$")]
    token: Option<String>,
    /// In place of a token: its SHA-256. It cannot be copied then.
    #[schema(value_type = String, required = false, pattern = "^sha256:[0-9A-Fa-f]{64}$")]
    digest: Option<String>,
    /// A hint at the token, only with a digest; it contains "…" or "...".
    #[schema(value_type = String, required = false, min_length = 1, max_length = 32, pattern = r"…|\.\.\.")]
    mask: Option<String>,
    /// By default true.
    enabled: Option<bool>,
    /// Refused before.
    #[schema(format = DateTime)]
    not_before: Option<String>,
    /// Refused from then on; after `not_before`.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    /// Whether its requests are in the transaction log; by default true.
    record: Option<bool>,
    /// What the key may do; by default everything.
    allow: Option<NewAllow>,
    /// Whether a sealed copy of the token is kept, for Copy; by default as `keys.recoverable` says.
    recoverable: Option<bool>,
}

/// What is to change (RFC 7396): null removes, objects merge.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct KeyPatch {
    /// Unique, in Unicode form NFC, without control characters.
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$")]
    name: Option<String>,
    description: Option<String>,
    /// Null: the default, true.
    enabled: Option<bool>,
    /// Refused before.
    #[schema(format = DateTime)]
    not_before: Option<String>,
    /// Refused from then on; after `not_before`.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    tags: Option<BTreeMap<String, Option<String>>>,
    /// Null: the default, true.
    record: Option<bool>,
    /// Null: everything.
    allow: Option<PatchAllow>,
}

/// What a key may do. Every list that is there has to allow the request.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1)]
pub(in crate::admin) struct NewAllow {
    /// Exactly these.
    #[schema(schema_with = methods, required = false)]
    methods: Option<Vec<String>>,
    /// Such as `/v1/*/items` or `/v1/**`; plain and normalised.
    #[schema(schema_with = paths, required = false)]
    paths: Option<Vec<String>>,
    /// Such as `10.0.0.0/8` or `2001:db8::1`, without bits behind the prefix.
    #[schema(schema_with = networks, required = false)]
    networks: Option<Vec<String>>,
}

/// What is to change of `allow`: a list replaces, null removes.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct PatchAllow {
    #[schema(schema_with = methods_or_null, required = false)]
    methods: Option<Vec<String>>,
    #[schema(schema_with = paths_or_null, required = false)]
    paths: Option<Vec<String>>,
    #[schema(schema_with = networks_or_null, required = false)]
    networks: Option<Vec<String>>,
}

/// How a key gets a new token. With neither token nor digest, a token is made.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Rotation {
    /// For how long the old token passes, 365d at most; by default 0s, which ends all old tokens of the key.
    #[schema(value_type = String, required = false, pattern = "^[0-9]+ *(ms|s|m|h|d)$")]
    overlap: Option<String>,
    /// A token that is in use already: visible ASCII.
    #[schema(value_type = String, required = false, min_length = 8, max_length = 512, pattern = "^[!-~]+$")]
    token: Option<String>,
    /// In place of a token: its SHA-256. It cannot be copied then.
    #[schema(value_type = String, required = false, pattern = "^sha256:[0-9A-Fa-f]{64}$")]
    digest: Option<String>,
    /// A hint at the token, only with a digest; it contains "…" or "...".
    #[schema(value_type = String, required = false, min_length = 1, max_length = 32, pattern = r"…|\.\.\.")]
    mask: Option<String>,
    /// Whether a sealed copy of the token is kept, for Copy; by default as `keys.recoverable` says.
    recoverable: Option<bool>,
}

/// What makes the administrator's account.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Setup {
    /// As keygate printed it.
    code: String,
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    #[schema(min_length = 12, max_length = 256, format = Password)]
    password: String,
}

/// What signs in.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Login {
    name: String,
    #[schema(format = Password)]
    password: String,
}

/// The old password, and the new one.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct NewPassword {
    #[schema(format = Password)]
    current: String,
    #[schema(min_length = 12, max_length = 256, format = Password)]
    new: String,
}

/// A request to send through the proxy.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct TryRequest {
    /// Whose token goes with it, in the first of `auth.sources`; by default none.
    key_id: Option<String>,
    /// By default GET; any but CONNECT.
    #[schema(value_type = String, required = false, pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
    method: Option<String>,
    /// With its query.
    #[schema(
        max_length = 16384,
        pattern = r"^/[A-Za-z0-9._~!$&'()*+,;=:@%/?\[\]{}|-]*$"
    )]
    path: String,
    /// Names and values. Those about a single connection or the length of the body are not sent on.
    #[schema(schema_with = pairs, required = false)]
    headers: Option<Vec<String>>,
    body: Option<String>,
}

/// A no (RFC 9457).
#[derive(ToSchema)]
pub(in crate::admin) struct Problem {
    #[schema(rename = "type", pattern = "^urn:keygate:problem:[a-z_]+$")]
    kind: String,
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What happened, and what to do.
    detail: String,
    /// Stable.
    #[schema(pattern = "^[a-z_]+$")]
    code: String,
    /// As in `x-request-id`.
    request_id: String,
    /// Every field that is wrong.
    #[schema(value_type = Vec<Field>, required = false)]
    errors: Option<Vec<Field>>,
    /// The id of the key that has what should be unique.
    #[schema(value_type = String, required = false)]
    holder: Option<String>,
    /// The entity tag or revision that there is now.
    #[schema(value_type = String, required = false)]
    current: Option<String>,
    /// The entry to paste where the key file comes from.
    #[schema(value_type = String, required = false)]
    entry: Option<String>,
    /// The id of the secret that is missing.
    #[schema(value_type = String, required = false)]
    wanted: Option<String>,
    /// What is wrong with a file.
    #[schema(value_type = Vec<crate::admin::keys::edit::FileProblem>, required = false)]
    problems: Option<Vec<String>>,
}

/// A field that is wrong.
#[derive(ToSchema)]
#[schema(as = FieldError)]
pub(in crate::admin) struct Field {
    /// RFC 6901, as a fragment.
    #[schema(pattern = "^#(/.*)?$")]
    pointer: String,
    detail: String,
}

/// A line of the audit log.
#[derive(ToSchema)]
pub(in crate::admin) struct AuditEvent {
    #[schema(format = DateTime)]
    time: String,
    actor: AuditActor,
    #[schema(schema_with = action)]
    action: String,
    #[schema(value_type = String, required = false)]
    client: Option<String>,
    #[schema(value_type = String, required = false)]
    request_id: Option<String>,
    #[schema(value_type = String, required = false)]
    key_id: Option<String>,
    #[schema(value_type = String, required = false)]
    key_name: Option<String>,
    /// What was, as far as it differs.
    #[schema(value_type = Object, required = false)]
    before: Option<String>,
    /// What is, as far as it differs.
    #[schema(value_type = Object, required = false)]
    after: Option<String>,
    /// Of the key file, before an edit at a shell.
    #[schema(value_type = String, required = false)]
    revision_before: Option<String>,
    /// Of the key file, after an edit at a shell.
    #[schema(value_type = String, required = false)]
    revision: Option<String>,
    #[schema(value_type = String, required = false)]
    detail: Option<String>,
}

/// Who did it.
#[derive(ToSchema)]
pub(in crate::admin) struct AuditActor {
    #[schema(schema_with = actor)]
    kind: String,
    #[schema(value_type = String, required = false)]
    name: Option<String>,
}

/// A line of the transaction log: described by `config/transaction.schema.json`.
#[derive(ToSchema)]
pub(in crate::admin) struct Transaction {}

pub(in crate::admin) fn step() -> Object {
    words(Step::ALL.map(Step::as_str))
}

pub(in crate::admin) fn outcome() -> Object {
    words(Outcome::ALL.map(Outcome::as_str))
}

fn words<'w>(words: impl IntoIterator<Item = &'w str>) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
        .build()
}

pub(in crate::admin) fn status() -> Object {
    let states = [
        KeyState::Active,
        KeyState::Disabled,
        KeyState::NotYetValid,
        KeyState::Expired,
    ];
    words(states.map(KeyState::as_str))
}

pub(in crate::admin) fn copy() -> Object {
    words(["sealed", "file", "none"])
}

pub(in crate::admin) fn session_state() -> Object {
    words(["setup_required", "signed_out", "signed_in"])
}

pub(in crate::admin) fn session_method() -> Object {
    words(["session", "token"])
}

pub(in crate::admin) fn pairs() -> utoipa::openapi::Array {
    lists::of_pairs()
}

pub(in crate::admin) fn auth_mode() -> Object {
    words(["enforce", "optional", "shadow"])
}

pub(in crate::admin) fn source_kind() -> Object {
    words(["header", "query", "cookie", "bearer", "ws_protocol"])
}

pub(in crate::admin) fn secret_state() -> Object {
    words(["ok", "missing", "unreadable", "malformed"])
}

/// Who is shown a certificate.
pub(in crate::admin) fn audience() -> Object {
    words([Audience::Clients, Audience::Admin].map(Audience::as_str))
}

fn action() -> Object {
    words(crate::audit::Action::ALL.map(crate::audit::Action::as_str))
}

fn actor() -> Object {
    words([
        "administrator",
        "token",
        "setup",
        "file",
        "shell",
        "unknown",
    ])
}

mod lists {
    use utoipa::openapi::Array;
    use utoipa::openapi::ArrayBuilder;
    use utoipa::openapi::ObjectBuilder;
    use utoipa::openapi::Type;
    use utoipa::openapi::schema::SchemaType;

    pub(super) fn of_pairs() -> Array {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let pair = ArrayBuilder::new()
            .items(text)
            .min_items(Some(2))
            .max_items(Some(2));
        ArrayBuilder::new().items(pair).build()
    }

    pub(super) fn of(pattern: Option<&str>, null: bool) -> Array {
        let item = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(pattern)
            .build();
        let kind = match null {
            false => SchemaType::Type(Type::Array),
            true => SchemaType::from_iter([Type::Array, Type::Null]),
        };
        ArrayBuilder::new()
            .schema_type(kind)
            .items(item)
            .min_items(Some(1))
            .build()
    }
}

const METHOD: &str = "^[!#$%&'*+.^_`|~0-9A-Z-]+$";

fn methods() -> utoipa::openapi::Array {
    lists::of(Some(METHOD), false)
}

fn methods_or_null() -> utoipa::openapi::Array {
    lists::of(Some(METHOD), true)
}

fn paths() -> utoipa::openapi::Array {
    lists::of(Some("^/"), false)
}

fn paths_or_null() -> utoipa::openapi::Array {
    lists::of(Some("^/"), true)
}

fn networks() -> utoipa::openapi::Array {
    lists::of(None, false)
}

fn networks_or_null() -> utoipa::openapi::Array {
    lists::of(None, true)
}
