//! The one way in which the API changes keys: look at the keys in force, decide, apply against exactly those. If
//! somebody else was faster, look again: what decides is the precondition on the key, not luck. Also the one table
//! from what the store says no to, to what the API says. Not for: what the edit is.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::request::Call;
use crate::key::Key;
use crate::key::table::KeyTable;
use crate::problem::Problem;
use crate::store::edit::EditError;
use crate::store::edit::KeyEdit;
use crate::store::edit::Taken;

/// So often somebody else may be faster.
const ATTEMPTS_MAX: usize = 5;

/// What is to be done, after a look at the keys.
pub(super) enum Step {
    /// This one edit.
    Edit {
        before: Option<Arc<Key>>,
        edit: Box<KeyEdit>,
    },
    /// The key is as it should be.
    Nothing(Arc<Key>),
}

/// What was done.
pub(super) struct Done {
    pub(super) before: Option<Arc<Key>>,
    pub(super) after: Option<Arc<Key>>,
    /// Whether anything was.
    pub(super) made: bool,
}

/// Makes the edit that `decide` wants, and returns when it is live.
pub(super) async fn run(
    call: &Call,
    mut decide: impl FnMut(&KeyTable) -> Result<Step, ApiError> + Send,
) -> Result<Done, ApiError> {
    let api = &call.shared.api;
    for _ in 0..ATTEMPTS_MAX {
        // Not held across the wait: whoever holds a table that is replaced makes its dropping late.
        let (step, expected) = {
            let table = api.keys.load_full();
            (decide(&table)?, *table.revision())
        };
        let (before, edit) = match step {
            Step::Edit { before, edit } => (before, edit),
            Step::Nothing(key) => {
                return Ok(Done {
                    before: None,
                    after: Some(key),
                    made: false,
                });
            }
        };
        match api.reload.apply(vec![(*edit).clone()], expected).await {
            Ok(_) => {
                let after = after(*edit, before.as_deref());
                return Ok(Done {
                    before,
                    after,
                    made: true,
                });
            }
            Err(EditError::Stale { .. }) => look_again(call).await?,
            Err(error) => return Err(refused(error)),
        }
    }
    Err(overtaken(call))
}

/// The keys as they are now.
pub(super) async fn look_again(call: &Call) -> Result<(), ApiError> {
    let reloaded = call.shared.api.reload.reload().await;
    reloaded.map(drop).map_err(|problems| broken(&problems))
}

/// Others were faster, again and again.
pub(super) fn overtaken(call: &Call) -> ApiError {
    let current = call.shared.api.keys.snapshot().revision().to_string();
    let detail = "the key file changes faster than this edit can be made: try again";
    ApiError::new(Code::Stale, detail).with("current", current)
}

fn after(edit: KeyEdit, before: Option<&Key>) -> Option<Arc<Key>> {
    match edit {
        KeyEdit::Remove(_) => None,
        KeyEdit::Add(fields) | KeyEdit::Change(fields) => {
            let key = Key::new(fields);
            Some(Arc::new(match before {
                Some(before) => key.continuing(before),
                None => key,
            }))
        }
    }
}

/// What the API says when the store says no.
pub(super) fn refused(error: EditError) -> ApiError {
    let said = error.to_string();
    match error {
        EditError::Stale { current } => {
            let detail = "the keys have changed since they were read";
            ApiError::new(Code::Stale, detail).with("current", current.to_string())
        }
        EditError::Broken { problems } => broken(&problems),
        EditError::Unknown { id } => ApiError::new(
            Code::KeyNotFound,
            format!("there is no key with the id {id}"),
        ),
        EditError::Taken { what, holder } => {
            let code = match what {
                Taken::Id => Code::IdTaken,
                Taken::Name => Code::NameTaken,
                Taken::Token => Code::TokenTaken,
            };
            ApiError::new(code, said).with("holder", holder.as_str())
        }
        EditError::ReadOnly { source, entry, .. } => {
            let detail = format!(
                "keygate cannot write the key file ({}): change it where it comes from",
                source.kind()
            );
            let error = ApiError::new(Code::KeyFileReadOnly, detail).because(&said);
            match entry {
                Some(entry) => error.with("entry", entry),
                None => error,
            }
        }
        EditError::Unwritable { source, .. } => {
            let detail = format!(
                "the key file was not written ({}), and is as it was",
                source.kind()
            );
            ApiError::new(Code::NotWritten, detail).because(&said)
        }
        EditError::Shape { what } => ApiError::new(Code::KeyFileShape, what),
        EditError::Locked { .. } => {
            let detail = "another process is editing the key file: try again in a moment";
            ApiError::new(Code::KeyFileLocked, detail).because(&said)
        }
        EditError::Stopping => ApiError {
            retry_after: Some(5),
            ..ApiError::new(Code::Stopping, "keygate is stopping")
        },
    }
}

/// The key file as it is has errors, each with its place.
pub(crate) fn broken(problems: &[Problem]) -> ApiError {
    let first = problems
        .first()
        .map(|problem| problem.to_string())
        .unwrap_or_default();
    let detail = format!("the key file has errors, and is left as it is: {first}");
    ApiError::new(Code::KeyFileBroken, detail).with("problems", listed(problems))
}

/// A problem in a file that a person wrote.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct FileProblem {
    file: String,
    #[schema(required, minimum = 1)]
    line: Option<u64>,
    #[schema(required, minimum = 1)]
    column: Option<u64>,
    /// The entry and field; empty for the file as a whole.
    path: String,
    /// What is wrong.
    what: String,
    /// What to do.
    #[schema(required)]
    hint: Option<String>,
}

/// Problems of a file, as answers list them.
pub(in crate::admin) fn file_problems(problems: &[Problem]) -> Vec<FileProblem> {
    problems
        .iter()
        .map(|problem| FileProblem {
            file: problem.file.display().to_string(),
            line: problem.place.map(|place| place.line),
            column: problem.place.map(|place| place.column),
            path: problem.path.clone(),
            what: problem.what.clone(),
            hint: problem.hint.clone(),
        })
        .collect()
}

/// The same, as a member of a problem.
pub(in crate::admin) fn listed(problems: &[Problem]) -> Value {
    serde_json::to_value(file_problems(problems)).expect("texts and numbers can be written")
}
