//! How others ask the reload task for something, and what they can know of it. Not for: doing it.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::key::table::Revision;
use crate::key::token::Token;
use crate::problem::Problem;
use crate::store::edit::EditError;
use crate::store::edit::KeyEdit;
use crate::store::reload::say::problem;

/// Requests that may wait in line.
pub(super) const REQUESTS_MAX: usize = 16;

/// What is known of the key file, for status pages.
#[derive(Clone, Debug)]
pub struct ReloadStatus {
    /// The file.
    pub file: PathBuf,
    /// The revision in force.
    pub revision: Revision,
    /// Since when it has been in force.
    pub loaded_at: Timestamp,
    /// Whether edits are refused, because the file cannot be written where it is. As it was at the last load or edit.
    pub read_only: bool,
    /// Why the file as it is now is not in force; empty: it is.
    pub problems: Vec<Problem>,
    /// What works and should be better.
    pub warnings: Vec<Problem>,
}

/// What the task is asked for; whoever asked may have left when the answer comes.
#[derive(Debug)]
pub(super) enum Request {
    Reload {
        answer: oneshot::Sender<Result<Revision, Vec<Problem>>>,
    },
    Apply {
        edits: Vec<KeyEdit>,
        expected: Revision,
        answer: oneshot::Sender<Result<Revision, EditError>>,
    },
    Reveal {
        id: KeyId,
        answer: oneshot::Sender<Result<Token, EditError>>,
    },
}

/// Asks for reloads and edits, one after the other, and tells what is in force. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) status: Arc<ArcSwap<ReloadStatus>>,
}

impl ReloadHandle {
    /// Reads the file now, whether or not it seems to have changed, and answers when its keys are live.
    ///
    /// # Errors
    /// What is wrong with the file; the last good keys stay in force.
    pub async fn reload(&self) -> Result<Revision, Vec<Problem>> {
        self.ask(|answer| Request::Reload { answer })
            .await
            .unwrap_or_else(|| {
                let file = &self.status.load().file;
                Err(vec![problem(
                    file,
                    "the program is stopping".to_owned(),
                    None,
                )])
            })
    }

    /// Makes all of the edits, or none, if the keys are still at `expected`; answers with the new revision when it is
    /// live on every worker: no request head that is received after that meets the old keys. A caller that goes away
    /// before the answer does not stop the edit.
    ///
    /// # Errors
    /// See [`EditError`]; nothing has changed then.
    pub async fn apply(
        &self,
        edits: Vec<KeyEdit>,
        expected: Revision,
    ) -> Result<Revision, EditError> {
        self.ask(|answer| Request::Apply {
            edits,
            expected,
            answer,
        })
        .await
        .unwrap_or(Err(EditError::Stopping))
    }

    /// The token of a key whose [`TokenSource`](crate::key::TokenSource) is a `token` in the file or a `token_file`.
    /// Drop it when it was shown: it is wiped then.
    ///
    /// # Errors
    /// What is wrong with the file; no such token there: [`EditError::Unknown`].
    pub async fn reveal(&self, id: &KeyId) -> Result<Token, EditError> {
        let id = id.clone();
        self.ask(|answer| Request::Reveal { id, answer })
            .await
            .unwrap_or(Err(EditError::Stopping))
    }

    /// What is in force, and what is wrong.
    #[must_use]
    pub fn status(&self) -> Arc<ReloadStatus> {
        self.status.load_full()
    }

    /// The answer; none: the task has ended.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.ok()?;
        answered.await.ok()
    }
}
