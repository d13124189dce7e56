//! May this request pass? A pure function of request head, client address, key table and time: no I/O, no
//! lock, no log, and no allocation on the way of a valid key.
//! Not for: how much a key may do (`limits`), what a refusal looks like on the wire (`proxy::respond`).

mod credential;
mod form;
mod hint;
mod section;
mod strip;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::header;
use http::request::Parts;

use crate::auth::credential::Presented;
use crate::auth::strip::Stripping;
use crate::clock::Timestamp;
use crate::config;
use crate::config::Mode;
use crate::config::OnConflict;
use crate::config::Preflight;
use crate::config::Source;
use crate::key::Key;
use crate::key::KeyState;
use crate::key::rules::NormalPath;
use crate::key::rules::PathPattern;
use crate::key::table::KeyTable;
use crate::key::token::Digest;
use crate::refusal::Decision;
use crate::refusal::Refusal;

pub use crate::auth::section::PolicyError;
pub(crate) use crate::auth::strip::look_alike;

/// The `auth` section, ready to judge requests. Made once, shared by all workers.
pub struct Policy {
    sources: Box<[Source]>,
    on_conflict: OnConflict,
    mode: Mode,
    public: Box<[PathPattern]>,
    preflight: Preflight,
    stripping: Stripping,
    identity: config::Identity,
    invitation: Box<str>,
    challenges: Box<[HeaderValue]>,
    fingerprint_key: [u8; 32],
}

/// A request, as far as it matters whether it may pass.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its head.
    pub parts: &'a Parts,
    /// Who sent it, where that is known.
    pub client: Option<IpAddr>,
    /// Whether it asks for a WebSocket: a sub-protocol carries a token only then.
    pub websocket: bool,
}

/// What was decided about a request, and what its record should say about it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether it passes, and as what.
    pub decision: Decision,
    /// Why not: there for [`Decision::Refused`] and [`Decision::WouldRefuse`], and only then.
    pub refusal: Option<Refusal>,
    /// The key that was recognised, also when it was refused as disabled, out of its dates or not allowed.
    pub key: Option<Arc<Key>>,
    /// What probably went wrong on the caller's side. Never holds anything of the request.
    pub hint: Option<&'static str>,
    /// For unknown tokens: tells one stale client from a scan.
    pub fingerprint: Option<Fingerprint>,
    /// Of the token that was recognised, so that a rotation can tell the old token from the new.
    pub digest: Option<Digest>,
}

impl Verdict {
    /// The key to tell the upstream about: recognised, and with nothing against it.
    #[must_use]
    pub fn identity(&self) -> Option<&Arc<Key>> {
        match self.decision {
            Decision::Allowed | Decision::Public => self.key.as_ref(),
            Decision::Refused | Decision::Anonymous | Decision::WouldRefuse => None,
        }
    }

    /// Whether the request goes on to the upstream.
    #[must_use]
    pub const fn passes(&self) -> bool {
        !matches!(self.decision, Decision::Refused)
    }
}

/// A short hash of an unknown token, under a key that lives as long as the process: equal tokens look equal,
/// and nothing can be learned about them. Prints as eight hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u32);

impl Fingerprint {
    /// The hash itself.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What a request says about its caller, before mode and exemptions.
struct Finding {
    refusal: Option<Refusal>,
    key: Option<Arc<Key>>,
    hint: Option<&'static str>,
    fingerprint: Option<Fingerprint>,
    digest: Option<Digest>,
}

impl Finding {
    const fn refused(refusal: Refusal, hint: Option<&'static str>) -> Self {
        Self {
            refusal: Some(refusal),
            key: None,
            hint,
            fingerprint: None,
            digest: None,
        }
    }
}

impl Policy {
    /// Compiles the section.
    ///
    /// # Errors
    /// When it contradicts itself or names what cannot be used.
    pub fn new(auth: &config::Auth) -> Result<Self, PolicyError> {
        section::check(auth)?;
        let mut public = Vec::with_capacity(auth.public.len());
        for (index, text) in auth.public.iter().enumerate() {
            public.push(
                PathPattern::parse(text).map_err(|error| PolicyError::Public { index, error })?,
            );
        }
        let mut fingerprint_key = [0; 32];
        getrandom::fill(&mut fingerprint_key).map_err(PolicyError::Random)?;
        Ok(Self {
            sources: auth.sources.clone().into(),
            on_conflict: auth.on_conflict,
            mode: auth.mode,
            public: public.into(),
            preflight: auth.preflight,
            stripping: Stripping::new(auth),
            identity: section::identity(&auth.identity),
            invitation: section::invitation(&auth.sources).into(),
            challenges: section::challenges(auth)?,
            fingerprint_key,
        })
    }

    /// Judges a request by its head. Looks only; [`Policy::strip_headers`] and its siblings remove what the
    /// upstream may not see.
    #[must_use]
    pub fn decide(&self, asked: Asked<'_>, table: &KeyTable, now: Timestamp) -> Verdict {
        let finding = self.examine(&asked, table, now);
        if self.is_exempt(asked.parts) {
            return match finding.refusal {
                None => verdict(Decision::Public, finding),
                Some(_) => verdict(Decision::Public, NOTHING), // a wrong token is ignored
            };
        }
        let decision = match (finding.refusal, self.mode) {
            (None, _) => Decision::Allowed,
            (Some(Refusal::MissingKey), Mode::Optional) => {
                return verdict(
                    Decision::Anonymous,
                    Finding {
                        hint: finding.hint,
                        ..NOTHING
                    },
                );
            }
            (Some(_), Mode::Shadow) => Decision::WouldRefuse,
            (Some(_), Mode::Enforce | Mode::Optional) => Decision::Refused,
        };
        verdict(decision, finding)
    }

    /// The values of `WWW-Authenticate` in a 401.
    #[must_use]
    pub fn challenges(&self) -> &[HeaderValue] {
        &self.challenges
    }

    /// Where to put a key, in a sentence for somebody who sent none.
    #[must_use]
    pub fn invitation(&self) -> &str {
        &self.invitation
    }

    /// The headers that tell the upstream who called.
    #[must_use]
    pub const fn identity(&self) -> &config::Identity {
        &self.identity
    }

    /// Whether this field is a source of tokens or an identity header, or looks like one: `Connection` may
    /// not name it, so that nobody can have it removed on the way.
    #[must_use]
    pub fn owns(&self, name: &HeaderName) -> bool {
        let like = |own: &HeaderName| look_alike(own.as_str(), name.as_str());
        let is_source = |source: &Source| match source {
            Source::Header(header) => like(header),
            Source::Bearer => *name == header::AUTHORIZATION,
            Source::Cookie(_) => *name == header::COOKIE,
            Source::WsProtocol => like(&header::SEC_WEBSOCKET_PROTOCOL),
            Source::Query(_) => false,
        };
        like(&self.identity.id) || like(&self.identity.name) || self.sources.iter().any(is_source)
    }

    fn is_exempt(&self, parts: &Parts) -> bool {
        if self.preflight == Preflight::Pass && is_preflight(&parts.method, &parts.headers) {
            return true;
        }
        if self.public.is_empty() {
            return false;
        }
        let path = NormalPath::of(parts.uri.path());
        self.public.iter().any(|pattern| pattern.matches(&path))
    }

    /// Finds the token, then the key, then whether the key may be used here and now.
    fn examine(&self, asked: &Asked<'_>, table: &KeyTable, now: Timestamp) -> Finding {
        let Some((position, presented)) = self.deciding(asked) else {
            return Finding::refused(Refusal::MissingKey, hint::missing(&self.sources, asked));
        };
        let credential = match presented {
            Presented::Once(credential) => credential,
            Presented::Repeated => {
                return sham(table, now, Refusal::DuplicateKey, Some(hint::REPEATED));
            }
        };
        let Some(digest) = credential.digest() else {
            return sham(
                table,
                now,
                Refusal::MalformedKey,
                hint::malformed(credential),
            );
        };
        if self.on_conflict == OnConflict::Reject && self.conflicts(asked, position, &digest) {
            return sham(
                table,
                now,
                Refusal::ConflictingKeys,
                Some(hint::CONFLICTING),
            );
        }
        let Some(key) = table.find(&digest, now) else {
            let fingerprint = Some(self.fingerprint(&digest));
            return Finding {
                fingerprint,
                ..Finding::refused(Refusal::UnknownKey, hint::unknown(credential))
            };
        };
        let refusal = match key.state(now) {
            KeyState::Active => match key.rules() {
                Some(rules) => rules
                    .check(
                        &asked.parts.method,
                        &NormalPath::of(asked.parts.uri.path()),
                        asked.client,
                    )
                    .err(),
                None => None,
            },
            KeyState::Disabled => Some(Refusal::Disabled),
            KeyState::NotYetValid => Some(Refusal::NotYetValid),
            KeyState::Expired => Some(Refusal::Expired),
        };
        Finding {
            refusal,
            key: Some(Arc::clone(key)),
            hint: None,
            fingerprint: None,
            digest: Some(digest),
        }
    }

    /// The first source that holds something, with its position.
    fn deciding<'a>(&self, asked: &Asked<'a>) -> Option<(usize, Presented<'a>)> {
        let found = |(position, source)| Some((position, credential::find(source, asked)?));
        self.sources.iter().enumerate().find_map(found)
    }

    /// Whether a source behind the deciding one holds anything but the same token, once.
    fn conflicts(&self, asked: &Asked<'_>, deciding: usize, digest: &Digest) -> bool {
        let mut others = self.sources[deciding + 1..].iter();
        others.any(|source| match credential::find(source, asked) {
            None => false,
            Some(Presented::Repeated) => true,
            Some(Presented::Once(other)) => other.digest().as_ref() != Some(digest),
        })
    }

    fn fingerprint(&self, digest: &Digest) -> Fingerprint {
        let mut keyed = [0; 64];
        keyed[..32].copy_from_slice(&self.fingerprint_key);
        keyed[32..].copy_from_slice(digest.as_bytes());
        let hash = Digest::of(&keyed);
        let [a, b, c, d, ..] = *hash.as_bytes();
        Fingerprint(u32::from_be_bytes([a, b, c, d]))
    }
}

const NOTHING: Finding = Finding {
    refusal: None,
    key: None,
    hint: None,
    fingerprint: None,
    digest: None,
};

fn verdict(decision: Decision, finding: Finding) -> Verdict {
    let Finding {
        refusal,
        key,
        hint,
        fingerprint,
        digest,
    } = finding;
    Verdict {
        decision,
        refusal,
        key,
        hint,
        fingerprint,
        digest,
    }
}

/// Refuses what was never looked up, after the same work as a look-up, so that the time tells nothing.
fn sham(table: &KeyTable, now: Timestamp, refusal: Refusal, hint: Option<&'static str>) -> Finding {
    let digest = Digest::of(std::hint::black_box(&[b'0'; 41])); // as long as a token that keygate made
    std::hint::black_box(table.find(&digest, now));
    Finding::refused(refusal, hint)
}

fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests;
