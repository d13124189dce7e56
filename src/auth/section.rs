//! The `auth` section on its way to a `Policy`: what cannot be used, and the texts that are made once.
//! Not for: the file's shape and its line numbers, which are `config`.

use http::HeaderName;
use http::HeaderValue;

use crate::auth::strip;
use crate::config;
use crate::config::Source;
use crate::config::headers;
use crate::key::rules::PatternError;

/// Why an `auth` section cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// There is no place to look for a token.
    #[error("auth.sources: expected at least one source")]
    NoSource,
    /// The same place twice.
    #[error("auth.sources[{0}]: this source is listed twice")]
    SourceTwice(usize),
    /// The field means something else to HTTP or to keygate, or carries what other sources read.
    #[error("auth.sources[{index}]: the header {name} cannot carry a token")]
    SourceReserved {
        /// Position in the list.
        index: usize,
        /// The header.
        name: HeaderName,
    },
    /// A parameter or cookie that has no name.
    #[error("auth.sources[{0}]: expected a name")]
    SourceUnnamed(usize),
    /// Not a pattern.
    #[error("auth.public[{index}]: {error}")]
    Public {
        /// Position in the list.
        index: usize,
        /// What is wrong with it.
        #[source]
        error: PatternError,
    },
    /// The field means something else to HTTP, to keygate or as a source.
    #[error("auth.identity: the header {0} cannot carry the identity")]
    IdentityReserved(HeaderName),
    /// One field cannot carry both.
    #[error("auth.identity: id and name are in the same header: {0}")]
    IdentityTwice(HeaderName),
    /// It cannot stand in `WWW-Authenticate`.
    #[error("auth.realm: expected visible ASCII without quotes and backslashes, found {0:?}")]
    Realm(String),
    /// The system has no random numbers.
    #[error("cannot make a random key for fingerprints")]
    Random(#[source] getrandom::Error),
}

/// The values of `WWW-Authenticate`, one a scheme.
pub(super) fn challenges(auth: &config::Auth) -> Result<Box<[HeaderValue]>, PolicyError> {
    let realm = &auth.realm;
    let fits = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if !realm.bytes().all(fits) {
        return Err(PolicyError::Realm(realm.clone()));
    }
    let schemes = if auth.sources.contains(&Source::Bearer) {
        &["ApiKey", "Bearer"][..]
    } else {
        &["ApiKey"]
    };
    let challenge = |scheme: &&str| {
        HeaderValue::from_static(String::leak(format!("{scheme} realm=\"{realm}\"")))
    };
    Ok(schemes.iter().map(challenge).collect())
}

/// The identity headers, with names that are cheap to clone on every worker at once: a name read from a
/// file counts its clones in one place, and all workers would write there with each request. Leaks their
/// few bytes, as [`challenges`] does, once in the life of the process.
pub(super) fn identity(names: &config::Identity) -> config::Identity {
    let uncounted = |name: &HeaderName| HeaderName::from_static(name.to_string().leak());
    config::Identity {
        id: uncounted(&names.id),
        name: uncounted(&names.name),
    }
}

/// Where to put a key.
pub(super) fn invitation(sources: &[Source]) -> String {
    let place = |source: &Source| match source {
        Source::Header(name) => format!("in the header {name}"),
        Source::Query(name) => format!("in the query parameter {name}"),
        Source::Cookie(name) => format!("in the cookie {name}"),
        Source::Bearer => "as Authorization: Bearer".to_owned(),
        Source::WsProtocol => {
            "in the WebSocket sub-protocol keygate.<base64url of the key>".to_owned()
        }
    };
    let places: Vec<String> = sources.iter().map(place).collect();
    format!("send an API key {}", places.join(" or "))
}

/// Finds what contradicts itself or names what cannot be used.
pub(super) fn check(auth: &config::Auth) -> Result<(), PolicyError> {
    check_sources(&auth.sources)?;
    check_identity(auth)
}

fn check_sources(sources: &[Source]) -> Result<(), PolicyError> {
    if sources.is_empty() {
        return Err(PolicyError::NoSource);
    }
    for (index, source) in sources.iter().enumerate() {
        if sources[..index].contains(source) {
            return Err(PolicyError::SourceTwice(index));
        }
        match source {
            Source::Header(name) if !headers::may_carry_token(name) => {
                return Err(PolicyError::SourceReserved {
                    index,
                    name: name.clone(),
                });
            }
            Source::Query(name) | Source::Cookie(name) if name.is_empty() => {
                return Err(PolicyError::SourceUnnamed(index));
            }
            Source::Header(_)
            | Source::Query(_)
            | Source::Cookie(_)
            | Source::Bearer
            | Source::WsProtocol => {}
        }
    }
    Ok(())
}

fn check_identity(auth: &config::Auth) -> Result<(), PolicyError> {
    let identity = &auth.identity;
    if strip::look_alike(identity.id.as_str(), identity.name.as_str()) {
        return Err(PolicyError::IdentityTwice(identity.id.clone()));
    }
    for name in [&identity.id, &identity.name] {
        let is_source = |source: &Source| match source {
            Source::Header(header) => strip::look_alike(header.as_str(), name.as_str()),
            Source::Query(_) | Source::Cookie(_) | Source::Bearer | Source::WsProtocol => false,
        };
        if !headers::may_carry_identity(name) || auth.sources.iter().any(is_source) {
            return Err(PolicyError::IdentityReserved(name.clone()));
        }
    }
    Ok(())
}
