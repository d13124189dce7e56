//! Copy: one token, in clear, for whoever may administer. It is in the audit log before it is in the answer, and
//! only so many are shown in a minute. Not for: how copies are sealed, which is `store::seal`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::keys::create::wiped;
use crate::admin::keys::edit::refused;
use crate::admin::keys::json_bytes;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::blocking;
use crate::admin::request::no_such_key;
use crate::audit::Action;
use crate::audit::Actor;
use crate::key::Key;
use crate::key::TokenSource;
use crate::key::token::Token;
use crate::store::edit::EditError;
use crate::store::seal::SealError;
use crate::store::seal::sealed_under;

/// Nobody copies more by hand, and a stolen session should not empty the store in a minute.
const COPIES_MAX: u32 = 60;
const COPIES_PERIOD: Duration = Duration::from_secs(60);
/// Actors that are remembered: one account, and the names of a token file.
const ACTORS_MAX: usize = 1_024;

/// A token in clear.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(in crate::admin) struct Shown<'t> {
    #[schema(min_length = 8, max_length = 512)]
    token: &'t str,
}

/// `POST /keys/{id}/copy`.
pub(crate) async fn copy(call: Call) -> Outcome {
    let id = call.key_id()?;
    let table = call.shared.api.keys.load_full();
    let key = Arc::clone(table.get(&id).ok_or_else(no_such_key)?);
    drop(table);
    let now = call.shared.api.clock.now();
    call.shared.copies.take(&call.sender.actor, now)?;
    let token = token_of(&call, &key).await?;
    call.note(Action::KeyCopied, (None, Some(key)), None)
        .await?;
    let shown = Shown {
        token: token.expose(),
    };
    Ok(json_bytes(wiped(&shown)))
}

/// The token of the key: from its sealed copy, or from where a person wrote it.
pub(in crate::admin) async fn token_of(call: &Call, key: &Arc<Key>) -> Result<Token, ApiError> {
    let in_file = key.source() != TokenSource::Digest;
    match unsealed(call, key).await? {
        Some(Ok(token)) => Ok(token),
        Some(Err(error)) if !in_file => Err(error),
        Some(Err(_)) | None if in_file => revealed(call, key).await,
        Some(Err(_)) | None => Err(ApiError::new(
            Code::NotRecoverable,
            "no copy of this token was kept: rotate the key to get a new one",
        )),
    }
}

async fn unsealed(
    call: &Call,
    key: &Arc<Key>,
) -> Result<Option<Result<Token, ApiError>>, ApiError> {
    if key.sealed().is_none() {
        return Ok(None);
    }
    let (secret, key) = (call.shared.api.secret.clone(), Arc::clone(key));
    let opened = blocking(move || {
        let sealed = key.sealed().unwrap_or_default();
        let opened = secret
            .open()
            .and_then(|secrets| secrets.unseal(key.id(), sealed));
        match opened {
            // Else somebody gave the key another token by hand, and left the copy of the old one.
            Ok(token) if token.digest() != *key.digest() => Err(SealError::Damaged {
                id: key.id().clone(),
            }),
            opened => opened,
        }
        .map_err(|error| (error, sealed_under(sealed)))
    })
    .await?;
    Ok(Some(opened.map_err(|(error, wanted)| {
        sealed_for_good(&error, wanted)
    })))
}

/// `wanted`: the id of the secret that the copy was sealed with.
fn sealed_for_good(error: &SealError, wanted: Option<String>) -> ApiError {
    let (code, detail) = match error {
        SealError::Missing { .. } => (
            Code::SecretMissing,
            "the secret file is missing: bring back the one that this copy was sealed with, or rotate the key",
        ),
        SealError::Unreadable { .. } | SealError::Malformed { .. } => (
            Code::SecretMissing,
            "the secret file cannot be used: keygate's log and Status say why",
        ),
        SealError::SecretMissing { .. } => (
            Code::SecretMissing,
            "the secret that this copy was sealed with is not in the secret file: bring it back, or rotate the key",
        ),
        SealError::Damaged { .. } => (
            Code::SealDamaged,
            "the sealed copy is damaged, or is another token's: rotate the key to get a new token",
        ),
    };
    let refused = ApiError::new(code, detail).because(error);
    match wanted.filter(|_| code == Code::SecretMissing) {
        Some(wanted) => refused.with("wanted", wanted),
        None => refused,
    }
}

async fn revealed(call: &Call, key: &Key) -> Result<Token, ApiError> {
    let token = call.shared.api.reload.reveal(key.id()).await;
    let token = token.map_err(|error| match error {
        EditError::Unknown { .. } => ApiError::new(
            Code::NotRecoverable,
            "the token is no longer where it was: look at the key again",
        ),
        error => refused(error),
    })?;
    if token.digest() == *key.digest() {
        return Ok(token);
    }
    Err(ApiError::new(
        Code::Stale,
        "the token in the file is another one than the one in force: try again in a moment",
    ))
}

/// How many tokens each actor was shown lately, or sent requests with.
#[derive(Debug, Default)]
pub(crate) struct Copies(Mutex<HashMap<String, (Instant, u32)>>);

impl Copies {
    /// One more for this actor.
    ///
    /// # Errors
    /// `slow_down` when there were too many.
    pub(in crate::admin) fn take(&self, actor: &Actor, now: Instant) -> Result<(), ApiError> {
        let mut actors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if actors.len() >= ACTORS_MAX {
            actors.retain(|_, (since, _)| now.duration_since(*since) < COPIES_PERIOD);
        }
        let (since, count) = actors.entry(format!("{actor:?}")).or_insert((now, 0));
        let age = now.duration_since(*since);
        if age >= COPIES_PERIOD {
            (*since, *count) = (now, 0);
        } else if *count >= COPIES_MAX {
            let left = (COPIES_PERIOD - age).as_secs() + 1;
            let detail = format!(
                "at most {COPIES_MAX} tokens a minute are shown or sent: keys:export writes all sealed copies"
            );
            return Err(ApiError {
                retry_after: Some(left),
                ..ApiError::new(Code::SlowDown, detail)
            });
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::clock::Timestamp;

    #[test]
    fn an_actor_is_shown_sixty_tokens_a_minute() {
        let (copies, clock) = (Copies::default(), Clock::by_hand(Timestamp::from_micros(0)));
        let (first, other) = (
            Actor::Token("a".to_owned()),
            Actor::Administrator("a".to_owned()),
        );
        for _ in 0..COPIES_MAX {
            copies.take(&first, clock.now()).unwrap();
        }
        clock.advance(Duration::from_secs(59));
        let error = copies.take(&first, clock.now()).unwrap_err();
        assert_eq!((error.code, error.retry_after), (Code::SlowDown, Some(2)));
        copies.take(&other, clock.now()).unwrap();
        clock.advance(Duration::from_secs(1));
        copies.take(&first, clock.now()).unwrap();
    }
}
