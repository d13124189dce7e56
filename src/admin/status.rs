//! How this keygate is doing: its files and what is wrong with them, its keys by state. Not for: figures for
//! monitoring, which are `telemetry`.

use std::path::Path;
use std::sync::Arc;

use rustix::fs::Access;
use rustix::fs::access;
use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::keys::edit::FileProblem;
use crate::admin::keys::edit::broken;
use crate::admin::keys::edit::file_problems;
use crate::admin::keys::edit::listed;
use crate::admin::keys::json;
use crate::admin::openapi::types;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::blocking;
use crate::admin::usage;
use crate::admin::usage::RebuildView;
use crate::audit::Action;
use crate::clock::Timestamp;
use crate::config;
use crate::config::Address;
use crate::config::Listen;
use crate::config::Mode;
use crate::config::Source;
use crate::health::Cause;
use crate::key::KeyState;
use crate::key::table::KeyTable;
use crate::net::tls::CertificateStatus;
use crate::problem;
use crate::problem::Problem;
use crate::store::seal::SealError;
use crate::store::seal::SecretFile;
use crate::transactions::totals::LogFiles;
use crate::transactions::totals::LogProblem;
use crate::transactions::totals::Totals;
use crate::transactions::totals::log_files;

/// How this instance is doing.
#[derive(Serialize, ToSchema)]
#[schema(as = Status)]
pub(super) struct Status {
    version: &'static str,
    #[schema(format = DateTime)]
    started_at: String,
    ready: bool,
    blocked: Vec<Reason>,
    degraded: Vec<Reason>,
    /// Where clients reach the proxy: `127.0.0.1:8080`, `https://127.0.0.1:8443`, `unix:/run/keygate.sock`. Those behind a
    /// load balancer that speaks the PROXY protocol come last.
    proxy_addresses: Vec<String>,
    #[schema(schema_with = types::auth_mode)]
    auth_mode: &'static str,
    /// Where a token goes that has a choice.
    token_source: TokenSource,
    /// Whether others than this machine reach the admin API without TLS.
    plain_http: bool,
    #[schema(required)]
    config_file: Option<String>,
    key_file: KeyFile,
    secret_file: Secret,
    /// The certificates in force.
    certificates: Vec<CertificateView>,
    /// Why their files as they are now are not in force, and what is out of date.
    certificate_problems: Vec<FileProblem>,
    keys: Counts,
    transactions: TransactionLog,
    /// What is wrong with the files that say who may administer.
    access_problems: Vec<FileProblem>,
}

/// Why something is not as it should be.
#[derive(Serialize, ToSchema)]
pub(super) struct Reason {
    cause: &'static str,
    why: String,
}

/// A place in requests that may hold the token.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenSource {
    #[schema(schema_with = types::source_kind)]
    kind: &'static str,
    /// Of the field, parameter or cookie; null: `Authorization: Bearer …`, or the sub-protocol `keygate.…` of a WebSocket.
    #[schema(required)]
    name: Option<String>,
}

/// The key file.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyFile {
    path: String,
    revision: String,
    #[schema(format = DateTime)]
    loaded_at: String,
    /// Whether edits can be made, as far as that can be told without making one.
    writable: bool,
    /// Why the file as it is now is not in force; empty: it is.
    problems: Vec<FileProblem>,
    /// What works and should be better.
    warnings: Vec<FileProblem>,
}

/// A certificate in force.
#[derive(Serialize, ToSchema)]
#[schema(as = Certificate)]
pub(super) struct CertificateView {
    path: String,
    /// Who is shown it.
    #[schema(schema_with = types::audience)]
    shown_to: &'static str,
    /// The names that it is for.
    names: Vec<String>,
    #[schema(format = DateTime)]
    not_before: String,
    #[schema(format = DateTime)]
    not_after: String,
}

/// The secret file, by its name only.
#[derive(Serialize, ToSchema)]
#[schema(as = SecretFileState)]
pub(super) struct Secret {
    name: String,
    #[schema(schema_with = types::secret_state)]
    state: &'static str,
    #[schema(required)]
    detail: Option<String>,
}

/// Keys by state.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct Counts {
    total: usize,
    active: usize,
    disabled: usize,
    not_yet_valid: usize,
    expired: usize,
}

/// The transaction log, and how far the totals have it.
#[derive(Serialize, ToSchema)]
pub(super) struct TransactionLog {
    /// Whether requests are recorded.
    recording: bool,
    folder: String,
    /// Files in it, the one that is being written included.
    #[schema(minimum = 0)]
    files: usize,
    /// What they hold.
    #[schema(minimum = 0)]
    bytes: u64,
    /// When the oldest request in them began.
    #[schema(required, format = DateTime)]
    oldest_at: Option<String>,
    rebuild: RebuildView,
    /// What could not be read of the log at the start, or of its folder now.
    #[schema(max_items = 101)]
    problems: Vec<LogProblemView>,
}

/// What is wrong with a file of the log.
#[derive(Serialize, ToSchema)]
#[schema(as = LogProblem)]
pub(super) struct LogProblemView {
    /// Its name.
    file: String,
    what: String,
    /// Lines that were skipped, as far as they are known.
    #[schema(minimum = 0)]
    lines: u64,
}

/// The revision in force.
#[derive(Serialize, ToSchema)]
pub(super) struct Reloaded {
    revision: String,
}

/// `GET /status`.
pub(super) async fn show(call: Call) -> Outcome {
    let reload = call.shared.api.reload.status();
    let certificates = call.shared.api.certificates.status();
    let readiness = call.shared.api.health.readiness();
    let (table, now) = (
        call.shared.api.keys.load_full(),
        call.shared.api.clock.wall(),
    );
    let (secret, file) = (call.shared.api.secret.clone(), reload.file.clone());
    let shared = Arc::clone(&call.shared);
    let (keys, secret_file, writable, transactions, problems) = blocking(move || {
        let problems = shared.access.problems();
        (
            counts(&table, now),
            looked_at(&secret),
            is_writable(&file),
            transaction_log(&shared.api.config.transactions, &shared.api.totals),
            problems,
        )
    })
    .await?;
    let reasons = |causes: Vec<Cause>| {
        let reasons = causes.into_iter().map(|cause| Reason {
            cause: cause.cause,
            why: cause.why,
        });
        reasons.collect()
    };
    Ok(json(&Status {
        version: env!("CARGO_PKG_VERSION"),
        started_at: call.shared.started_at.to_string(),
        ready: readiness.ready,
        blocked: reasons(readiness.blocked),
        degraded: reasons(readiness.degraded),
        proxy_addresses: addresses(&call.shared.api.proxy),
        auth_mode: auth_mode(call.shared.api.config.auth.mode),
        token_source: token_source(&call.shared.api.config.auth),
        plain_http: call.shared.api.config.admin.plain_http(),
        config_file: call.shared.api.config.file.as_deref().map(shown),
        key_file: KeyFile {
            path: shown(&reload.file),
            revision: reload.revision.to_string(),
            loaded_at: reload.loaded_at.to_string(),
            writable,
            problems: file_problems(&reload.problems),
            warnings: file_problems(&reload.warnings),
        },
        secret_file,
        certificates: certificates.certificates.iter().map(certificate).collect(),
        certificate_problems: file_problems(&certificates.problems),
        keys,
        transactions,
        access_problems: file_problems(&named(problems)),
    }))
}

/// `POST /reload`.
pub(super) async fn reload(call: Call) -> Outcome {
    let reloaded = call.shared.api.reload.reload().await;
    let certificates = call.shared.api.certificates.reload().await;
    let detail = match (&reloaded, &certificates) {
        (Ok(revision), Ok(())) => format!("revision {revision}"),
        (Ok(_), Err(problems)) => format!("{} problems of certificates", problems.len()),
        (Err(problems), _) => format!("{} problems", problems.len()),
    };
    call.note_done(Action::Reloaded, (None, None), Some(detail))
        .await;
    let revision = reloaded.map_err(|problems| broken(&problems))?;
    certificates.map_err(|problems| broken_certificates(&problems))?;
    Ok(json(&Reloaded {
        revision: revision.to_string(),
    }))
}

fn broken_certificates(problems: &[Problem]) -> ApiError {
    let why = problem::in_short(problems);
    let detail = format!("the last good certificates stay in force: {why}");
    ApiError::new(Code::CertificatesBroken, detail).with("problems", listed(problems))
}

fn certificate(certificate: &CertificateStatus) -> CertificateView {
    CertificateView {
        path: shown(&certificate.file),
        shown_to: certificate.audience.as_str(),
        names: certificate.names.clone(),
        not_before: certificate.not_before.to_string(),
        not_after: certificate.not_after.to_string(),
    }
}

fn addresses(listeners: &[Listen]) -> Vec<String> {
    let mut listeners: Vec<_> = listeners.iter().collect();
    listeners.sort_by_key(|listener| listener.proxy_protocol);
    listeners.into_iter().map(reached).collect()
}

fn reached(listener: &Listen) -> String {
    match listener.address.reached() {
        Address::Tcp(address) if listener.tls => format!("{}://{address}", listener.scheme()),
        address => address.to_string(),
    }
}

/// The words are those of `auth.mode`.
const fn auth_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Optional => "optional",
        Mode::Shadow => "shadow",
    }
}

fn token_source(auth: &config::Auth) -> TokenSource {
    let (kind, name) = match auth.first_source() {
        Source::Header(name) => ("header", Some(name.to_string())),
        Source::Query(name) => ("query", Some(name.clone())),
        Source::Cookie(name) => ("cookie", Some(name.clone())),
        Source::Bearer => ("bearer", None),
        Source::WsProtocol => ("ws_protocol", None),
    };
    TokenSource { kind, name }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Problems of files that hold secrets: where those are is nobody's business here.
fn named(mut problems: Vec<Problem>) -> Vec<Problem> {
    for problem in &mut problems {
        if let Some(name) = problem.file.file_name() {
            problem.file = name.into();
        }
    }
    problems
}

/// Whether edits can be made, as far as that can be told without making one.
fn is_writable(file: &Path) -> bool {
    access(file, Access::WRITE_OK).is_ok()
}

fn looked_at(file: &SecretFile) -> Secret {
    let name = file.path().file_name().unwrap_or_default();
    let (state, detail) = match file.open() {
        Ok(secrets) => ("ok", secrets.warning().map(|warning| warning.what.clone())),
        Err(SealError::Missing { .. }) => ("missing", None),
        Err(SealError::Unreadable { source, .. }) => {
            ("unreadable", Some(source.kind().to_string()))
        }
        Err(SealError::Malformed { line, .. }) => ("malformed", Some(format!("line {line}"))),
        Err(SealError::SecretMissing { .. } | SealError::Damaged { .. }) => ("malformed", None),
    };
    Secret {
        name: name.to_string_lossy().into_owned(),
        state,
        detail,
    }
}

fn transaction_log(config: &config::Transactions, totals: &Totals) -> TransactionLog {
    let rebuild = totals.rebuild();
    let shown_problem = |problem: &LogProblem| LogProblemView {
        file: problem.file.clone(),
        what: problem.what.clone(),
        lines: problem.lines,
    };
    let mut problems: Vec<_> = rebuild.problems.iter().map(shown_problem).collect();
    let files = log_files(&config.dir).unwrap_or_else(|error| {
        problems.push(LogProblemView {
            file: shown(&config.dir),
            what: error.to_string(),
            lines: 0,
        });
        LogFiles::default()
    });
    TransactionLog {
        recording: config.enabled,
        folder: shown(&config.dir),
        files: files.files,
        bytes: files.bytes,
        oldest_at: files.oldest_at.map(|time| time.to_string()),
        rebuild: usage::rebuild(&rebuild),
        problems,
    }
}

fn counts(table: &KeyTable, now: Timestamp) -> Counts {
    let mut counts = Counts {
        total: table.len(),
        ..Counts::default()
    };
    for key in table.keys() {
        match key.state(now) {
            KeyState::Active => counts.active += 1,
            KeyState::Disabled => counts.disabled += 1,
            KeyState::NotYetValid => counts.not_yet_valid += 1,
            KeyState::Expired => counts.expired += 1,
        }
    }
    counts
}
