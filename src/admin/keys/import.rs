//! Many keys at once, from outside: read as they come in, planned beside the keys that are there, added by one edit
//! or not at all. Not for: formats and names, which are `store::import`; sending keys out, which is `export`.

use std::path::Path;
use std::sync::Arc;

use axum::http::header;
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::keys::edit::FileProblem;
use crate::admin::keys::edit::file_problems;
use crate::admin::keys::edit::listed;
use crate::admin::keys::edit::look_again;
use crate::admin::keys::edit::overtaken;
use crate::admin::keys::edit::refused;
use crate::admin::keys::json;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::blocking;
use crate::admin::request::discard;
use crate::admin::request::essence;
use crate::admin::request::next_piece;
use crate::admin::request::too_large;
use crate::audit::Action;
use crate::key::table::KeyTable;
use crate::problem::Problem;
use crate::store::edit::EditError;
use crate::store::import::Candidate;
use crate::store::import::Import;
use crate::store::import::ImportFormat;
use crate::store::import::plan::OnConflict;
use crate::store::import::plan::Plan;
use crate::store::import::plan::plan;
use crate::store::seal::Secrets;

/// The largest import: well above a million keys.
const IMPORT_BYTES_MAX: usize = 256 << 20;
/// So much is read before a thread that may take its time gets it.
const BATCH_BYTES: usize = 1 << 20;
/// So often somebody else may be faster.
const ATTEMPTS_MAX: usize = 5;
/// More new names than anybody reads.
const NAMES_MAX: usize = 1_000;
/// More problems than anybody reads, and one more that says so.
const PROBLEMS_MAX: usize = 101;
/// What the body is called in problems.
const NAME: &str = "body";

/// The media types of the formats.
pub(crate) const TYPES: [(&str, ImportFormat); 5] = [
    ("application/x-ndjson", ImportFormat::Ndjson),
    ("application/json", ImportFormat::Json),
    ("application/yaml", ImportFormat::Yaml),
    ("text/csv", ImportFormat::Csv),
    ("text/plain", ImportFormat::Text),
];

/// What an import came to, or would.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Imported {
    /// Keys that were added.
    #[schema(minimum = 0)]
    created: usize,
    /// Of those, how many have another name than was written down.
    #[schema(minimum = 0)]
    renamed: usize,
    /// Keys that were left out: known already, or their name is taken.
    #[schema(minimum = 0)]
    skipped: usize,
    /// The first thousand new names.
    names: Vec<NewName>,
    /// Why nothing would be imported; only a dry run has any here.
    problems: Vec<FileProblem>,
    /// What works and should be better.
    warnings: Vec<FileProblem>,
    /// Whether nothing was changed.
    dry_run: bool,
}

/// A name that was taken, and the one that the key has instead.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct NewName {
    from: String,
    to: String,
}

/// `POST /keys:import`.
pub(crate) async fn import(mut call: Call) -> Outcome {
    let (dry_run, on_conflict) = match wishes(&call) {
        Ok(wishes) => wishes,
        Err(error) => {
            discard(call.take_body(), &call.headers).await;
            return Err(error);
        }
    };
    let kind = essence(&call.headers).to_ascii_lowercase();
    let format = TYPES.iter().find(|(name, _)| *name == kind);
    let (_, format) = format.expect("the guards let no other types pass");
    // Each holds all its keys, and the largest is 256 MiB.
    let shared = Arc::clone(&call.shared);
    let turn = shared.imports.acquire().await;
    let _turn = turn.expect("nobody closes the semaphore");
    let read = match read(&mut call, *format).await?.finish().await? {
        Ok(read) => read,
        Err(problems) if dry_run => return Ok(json(&Imported::not(&problems))),
        Err(problems) => return Err(not_imported(Code::ImportRefused, &problems)),
    };
    let mut warnings = read.warnings;
    let secrets = secrets(&call, &mut warnings).await?.map(Arc::new);
    let candidates = Arc::new(read.candidates);
    let outcome = add(
        &call,
        &candidates,
        (dry_run, on_conflict),
        &warnings,
        secrets,
    )
    .await;
    blocking(move || drop(candidates)).await?; // a million of them take a while
    outcome
}

/// Adds them, or says what would be added.
async fn add(
    call: &Call,
    candidates: &Arc<Vec<Candidate>>,
    (dry_run, on_conflict): (bool, OnConflict),
    warnings: &[Problem],
    secrets: Option<Arc<Secrets>>,
) -> Outcome {
    for _ in 0..ATTEMPTS_MAX {
        let table = call.shared.api.keys.load_full();
        let expected = *table.revision();
        let planned = match planned(call, candidates, table, on_conflict).await? {
            Ok(planned) => planned,
            Err(problems) if dry_run => return Ok(json(&Imported::not(&problems))),
            Err(problems) => return Err(not_imported(Code::ImportConflict, &problems)),
        };
        let imported = Imported::of(&planned, warnings, dry_run);
        if dry_run || planned.add.is_empty() {
            blocking(move || drop(planned)).await?;
            return Ok(json(&imported));
        }
        let secrets = secrets.clone();
        let edits = blocking(move || planned.edits(secrets.as_deref())).await?;
        match call.shared.api.reload.apply(edits, expected).await {
            Ok(_) => {
                let detail = Some(format!("{} keys", imported.created));
                call.note_done(Action::KeysImported, (None, None), detail)
                    .await;
                return Ok(json(&imported));
            }
            Err(EditError::Stale { .. }) => look_again(call).await?,
            Err(error) => return Err(refused(error)),
        }
    }
    Err(overtaken(call))
}

/// Whether nothing is to be changed, and what happens to names that are taken.
fn wishes(call: &Call) -> Result<(bool, OnConflict), ApiError> {
    let parameters = call.query(&["dry_run", "on_conflict"])?;
    let on_conflict = parameters.choice("on_conflict", &OnConflict::ALL)?;
    Ok((
        parameters.switch("dry_run")?,
        on_conflict.unwrap_or_default(),
    ))
}

/// A body that was read.
struct Reading(Import);

impl Reading {
    async fn finish(self) -> Result<Result<crate::store::import::Read, Vec<Problem>>, ApiError> {
        blocking(move || self.0.finish()).await
    }
}

async fn read(call: &mut Call, format: ImportFormat) -> Result<Reading, ApiError> {
    let mut body = call.take_body();
    let announced = call.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    // Paths in an entry that comes over the network name no files of this machine.
    let mut import = Import::new(format, Path::new(NAME), false);
    let (mut count, mut batch) = (0, Zeroizing::new(Vec::with_capacity(BATCH_BYTES)));
    if announced.is_some_and(|bytes| bytes > IMPORT_BYTES_MAX) {
        discard(body, &call.headers).await;
        return Err(too_large(IMPORT_BYTES_MAX));
    }
    while let Some(piece) = next_piece(&mut body).await? {
        count += piece.len();
        if count > IMPORT_BYTES_MAX {
            discard(body, &call.headers).await;
            return Err(too_large(IMPORT_BYTES_MAX));
        }
        if batch.len() + piece.len() > BATCH_BYTES {
            let full =
                std::mem::replace(&mut batch, Zeroizing::new(Vec::with_capacity(BATCH_BYTES)));
            import = pushed(import, full).await?;
        }
        if piece.len() > BATCH_BYTES {
            import = pushed(import, Zeroizing::new(piece.to_vec())).await?;
        } else {
            batch.extend_from_slice(&piece);
        }
    }
    Ok(Reading(pushed(import, batch).await?))
}

async fn pushed(mut import: Import, bytes: Zeroizing<Vec<u8>>) -> Result<Import, ApiError> {
    blocking(move || {
        import.push(&bytes);
        import
    })
    .await
}

/// What seals the tokens that come in; none where no copies are to be kept, or none can be.
async fn secrets(call: &Call, warnings: &mut Vec<Problem>) -> Result<Option<Secrets>, ApiError> {
    if !call.shared.api.config.keys.recoverable {
        return Ok(None);
    }
    let secret = call.shared.api.secret.clone();
    match blocking(move || secret.open()).await? {
        Ok(secrets) => Ok(Some(secrets)),
        Err(error) => {
            tracing::warn!(%error, "no copies of imported tokens are kept");
            warnings.push(Problem {
                file: NAME.into(),
                place: None,
                path: String::new(),
                what: "no copies of tokens are kept, since the secret file cannot be used"
                    .to_owned(),
                hint: Some("Status says what is wrong with it".to_owned()),
            });
            Ok(None)
        }
    }
}

async fn planned(
    call: &Call,
    candidates: &Arc<Vec<Candidate>>,
    table: Arc<KeyTable>,
    on_conflict: OnConflict,
) -> Result<Result<Plan, Vec<Problem>>, ApiError> {
    let (candidates, now) = (Arc::clone(candidates), call.shared.api.clock.wall());
    blocking(move || {
        // Copies, since somebody may be faster, and then there is another plan.
        let candidates = candidates.iter().map(copied).collect();
        plan(candidates, &table, on_conflict, Path::new(NAME), now)
    })
    .await
}

fn copied(candidate: &Candidate) -> Candidate {
    Candidate {
        fields: candidate.fields.clone(),
        token: candidate.token.clone(),
        place: candidate.place,
        named: candidate.named,
    }
}

fn not_imported(code: Code, problems: &[Problem]) -> ApiError {
    let first = problems
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let more = match problems.len() {
        0 | 1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let detail = format!("nothing was imported: {first}{more}");
    ApiError::new(code, detail).with("problems", listed(few(problems)))
}

/// Of a million keys, each may have one.
fn few(problems: &[Problem]) -> &[Problem] {
    &problems[..problems.len().min(PROBLEMS_MAX)]
}

impl Imported {
    fn of(plan: &Plan, warnings: &[Problem], dry_run: bool) -> Self {
        let names = plan.renamed.iter().take(NAMES_MAX);
        Self {
            created: plan.add.len(),
            renamed: plan.renamed.len(),
            skipped: plan.known + plan.taken,
            names: names
                .map(|(from, to)| NewName {
                    from: from.to_string(),
                    to: to.to_string(),
                })
                .collect(),
            problems: file_problems(&[]),
            warnings: file_problems(few(warnings)),
            dry_run,
        }
    }

    /// A dry run that found problems.
    fn not(problems: &[Problem]) -> Self {
        Self {
            problems: file_problems(few(problems)),
            ..Self::of(&Plan::default(), &[], true)
        }
    }
}
