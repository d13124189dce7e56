//! A new token for a key. The old one may pass for a while (`overlap`); without one, no old token of the key passes
//! any more once this is answered. Not for: anything else of the key, which stays as it is.

use std::sync::Arc;
use std::time::Duration;

use crate::admin::error::ApiError;
use crate::admin::error::FieldError;
use crate::admin::keys::body;
use crate::admin::keys::body::Json;
use crate::admin::keys::body::take;
use crate::admin::keys::body::wrong;
use crate::admin::keys::create::NewSecret;
use crate::admin::keys::create::with_token;
use crate::admin::keys::edit;
use crate::admin::keys::edit::Step;
use crate::admin::keys::exists;
use crate::admin::keys::must_hold;
use crate::admin::precondition::Conditions;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::no_such_key;
use crate::audit::Action;
use crate::clock::Timestamp;
use crate::key::Key;
use crate::key::KeyFields;
use crate::key::PreviousDigest;
use crate::key::TokenSource;
use crate::store::edit::KeyEdit;
use crate::units::parse_duration;

/// Old tokens that may pass at a time.
const PREVIOUS_MAX: usize = 5;
/// An old token that passes for longer was not rotated.
const OVERLAP_MAX: Duration = Duration::from_secs(365 * 86_400);

/// `POST /keys/{id}/rotate`.
pub(crate) async fn rotate(mut call: Call) -> Outcome {
    let bytes = call.body().await?;
    let id = call.key_id()?;
    let conditions = Conditions::of(&call.headers)?;
    exists(&call, &id)?;
    conditions.must_match()?;
    let Wanted {
        overlap,
        secret,
        mut made,
    } = Wanted::read(&bytes)?;
    drop(bytes);
    made.id = id.clone();
    let warning = secret.keep(&call, &mut made).await?;
    let now = call.shared.api.clock.wall();
    let done = edit::run(&call, |table| {
        let key = table.get(&id).ok_or_else(no_such_key)?;
        must_hold(&conditions, key)?;
        Ok(Step::Edit {
            before: Some(Arc::clone(key)),
            edit: Box::new(KeyEdit::Change(rotated(key, &made, overlap, now)?)),
        })
    })
    .await?;
    let detail = (!overlap.is_zero())
        .then(|| format!("the old token passes for {}", crate::units::Span(overlap)));
    let keys = (done.before, done.after.clone());
    call.note_done(Action::KeyRotated, keys, detail).await;
    let after = done.after.ok_or_else(no_such_key)?;
    Ok(with_token(&call, &after, secret.token.as_ref(), warning))
}

/// What the body asks for.
struct Wanted {
    overlap: Duration,
    secret: NewSecret,
    /// A key with the new digest, mask and copy, and nothing else of meaning.
    made: KeyFields,
}

impl Wanted {
    fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let mut fields = if bytes.is_empty() {
            Vec::new()
        } else {
            body::read(bytes)?
        };
        body::check_shapes(&mut fields, body::ROTATE, &mut errors);
        let overlap = overlap(take(&mut fields, "overlap"), &mut errors);
        let secret = NewSecret::take(&mut fields, &mut errors);
        fields.push(("name".into(), Json::Text("rotated".into())));
        let made = body::check_key(fields, &mut errors);
        match made {
            Some(mut made) if errors.is_empty() => {
                made.mask = made.mask.or_else(|| secret.mask());
                Ok(Self {
                    overlap,
                    secret,
                    made,
                })
            }
            Some(_) | None => Err(ApiError::fields(errors)),
        }
    }
}

fn overlap(text: Option<Json<'_>>, errors: &mut Vec<FieldError>) -> Duration {
    let Some(Json::Text(text)) = text else {
        return Duration::ZERO;
    };
    match parse_duration(&text) {
        Ok(overlap) if overlap <= OVERLAP_MAX => return overlap,
        Ok(_) => errors.push(wrong("#/overlap", "expected 365d at most")),
        // What was sent is not repeated: a token may stand in any field by mistake.
        Err(error) => {
            let what = format!("expected a duration such as \"24h\": {}", error.hint());
            errors.push(wrong("#/overlap", what));
        }
    }
    Duration::ZERO
}

/// The key with its new token.
fn rotated(
    key: &Key,
    made: &KeyFields,
    overlap: Duration,
    now: Timestamp,
) -> Result<KeyFields, ApiError> {
    let old = key.to_fields();
    if old.digest == made.digest {
        return Err(ApiError::fields(vec![wrong(
            "#",
            "this is the token of the key already",
        )]));
    }
    let mut previous = Vec::new();
    if !overlap.is_zero() {
        let kept = old
            .previous
            .iter()
            .filter(|old| old.expires_at > now && old.digest != made.digest);
        previous.extend(kept.copied());
        previous.push(PreviousDigest {
            digest: old.digest,
            expires_at: now.plus(overlap),
        });
    }
    if previous.len() > PREVIOUS_MAX {
        let first = previous
            .iter()
            .map(|old| old.expires_at)
            .min()
            .unwrap_or(now);
        let what = format!(
            "{PREVIOUS_MAX} old tokens of this key pass already: rotate without an overlap, which ends them all, or \
             wait until {first}"
        );
        return Err(ApiError::fields(vec![wrong("#/overlap", what)]));
    }
    Ok(KeyFields {
        digest: made.digest,
        source: TokenSource::Digest,
        sealed: made.sealed.clone(),
        mask: made.mask.clone(),
        previous,
        ..old
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::tests::fields;
    use crate::key::token::Digest;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn the_old_token_passes_for_the_overlap_and_expired_ones_go() {
        let now = Timestamp::from_micros(1_000_000);
        let old = |text: &str, micros| PreviousDigest {
            digest: Digest::of(text.as_bytes()),
            expires_at: Timestamp::from_micros(micros),
        };
        let key = Key::new(KeyFields {
            previous: vec![old("gone", 1_000_000), old("passes", 1_000_001)],
            sealed: Some("v1:old".into()),
            ..fields("a", "token-of-a")
        });
        let made = fields("b", "token-of-b");
        let found = rotated(&key, &made, DAY, now).unwrap();
        let last = PreviousDigest {
            digest: *key.digest(),
            expires_at: now.plus(DAY),
        };
        assert_eq!(found.previous, [old("passes", 1_000_001), last]);
        assert_eq!((found.digest, found.sealed), (made.digest, None));
        assert_eq!(&*found.name, "a");
        assert_eq!(
            rotated(&key, &made, Duration::ZERO, now).unwrap().previous,
            []
        );
        let back = fields("b", "passes");
        assert_eq!(rotated(&key, &back, DAY, now).unwrap().previous, [last]);
        assert!(rotated(&key, &fields("b", "token-of-a"), DAY, now).is_err());
    }

    #[test]
    fn five_old_tokens_are_enough() {
        let now = Timestamp::from_micros(0);
        let mut key = Key::new(fields("a", "token-0-of-a"));
        for number in 1..=PREVIOUS_MAX {
            let made = fields("a", &format!("token-{number}-of-a"));
            key = Key::new(rotated(&key, &made, DAY, now).unwrap());
        }
        let made = fields("a", "one-more-token");
        let error = rotated(&key, &made, DAY, now).unwrap_err();
        assert_eq!(error.errors[0].pointer, "#/overlap");
        assert!(rotated(&key, &made, DAY, now.plus(DAY)).is_ok());
    }

    #[test]
    fn a_body_is_not_needed_and_a_wrong_one_is_refused() {
        let wanted = Wanted::read(b"").unwrap();
        assert_eq!(wanted.overlap, Duration::ZERO);
        assert_eq!(wanted.made.digest, wanted.secret.token.unwrap().digest());
        assert_eq!(Wanted::read(br#"{"overlap": "24h"}"#).unwrap().overlap, DAY);
        for (body, pointer) in [
            (r#"{"overlap": "24"}"#, "#/overlap"),
            (r#"{"overlap": "366d"}"#, "#/overlap"),
            (r#"{"overlap": 24}"#, "#/overlap"),
            (r#"{"name": "b"}"#, "#/name"),
            (r#"{"token": "short"}"#, "#/token"),
        ] {
            let error = Wanted::read(body.as_bytes()).err().unwrap();
            assert_eq!(error.errors[0].pointer, pointer, "{body}");
        }
    }
}
