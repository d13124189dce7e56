//! Every reason to say no, each with its stable names: the one list that answers, records, metrics and
//! documentation share. A reason has no status code here; `proxy::respond` is the only place that has.

use std::fmt;

/// keygate said no. The variants are the true reasons; [`Refusal::code`] is what the caller may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No source of the configuration held a token.
    MissingKey,
    /// The token is well-formed and belongs to no key.
    UnknownKey,
    /// The token has bytes outside visible ASCII or is longer than 512.
    MalformedKey,
    /// The deciding source held the token twice.
    DuplicateKey,
    /// Two sources held different tokens and `auth.on_conflict` is `reject`.
    ConflictingKeys,
    /// The key is known and switched off.
    Disabled,
    /// The key is known and its `expires_at` has passed.
    Expired,
    /// The key is known and its `not_before` is still to come.
    NotYetValid,
    /// The key may not use this method.
    MethodNotAllowed,
    /// The key may not use this path.
    PathNotAllowed,
    /// The key may not be used from this network.
    NetworkNotAllowed,
    /// The head or the framing of the body is malformed.
    BadRequest,
    /// CONNECT or TRACE.
    MethodNotSupported,
    /// The head is larger than `limits.header_bytes` or has more than `limits.headers` fields.
    HeadTooLarge,
    /// The body is larger than `limits.body_bytes`.
    BodyTooLarge,
    /// The head or the body did not arrive in time.
    RequestTimeout,
    /// keygate is draining or has no room.
    Unavailable,
}

impl Refusal {
    /// All refusals, in the order of their [`Refusal::index`].
    pub const ALL: [Self; 17] = [
        Self::MissingKey,
        Self::UnknownKey,
        Self::MalformedKey,
        Self::DuplicateKey,
        Self::ConflictingKeys,
        Self::Disabled,
        Self::Expired,
        Self::NotYetValid,
        Self::MethodNotAllowed,
        Self::PathNotAllowed,
        Self::NetworkNotAllowed,
        Self::BadRequest,
        Self::MethodNotSupported,
        Self::HeadTooLarge,
        Self::BodyTooLarge,
        Self::RequestTimeout,
        Self::Unavailable,
    ];

    /// The true reason, as transactions and metrics name it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::MissingKey => "missing_key",
            Self::UnknownKey => "unknown_key",
            Self::MalformedKey => "malformed_key",
            Self::DuplicateKey => "duplicate_key",
            Self::ConflictingKeys => "conflicting_keys",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::PathNotAllowed => "path_not_allowed",
            Self::NetworkNotAllowed => "network_not_allowed",
            Self::BadRequest => "bad_request",
            Self::MethodNotSupported => "method_not_supported",
            Self::HeadTooLarge => "head_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::Unavailable => "unavailable",
        }
    }

    /// The code that the caller sees. To the caller all wrong tokens look the same, so that an answer
    /// never tells which tokens exist.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownKey
            | Self::MalformedKey
            | Self::DuplicateKey
            | Self::ConflictingKeys
            | Self::Disabled
            | Self::Expired
            | Self::NotYetValid => "invalid_key",
            Self::MethodNotAllowed | Self::PathNotAllowed | Self::NetworkNotAllowed => {
                "not_allowed"
            }
            Self::MissingKey
            | Self::BadRequest
            | Self::MethodNotSupported
            | Self::HeadTooLarge
            | Self::BodyTooLarge
            | Self::RequestTimeout
            | Self::Unavailable => self.reason(),
        }
    }

    /// Position in [`Refusal::ALL`], for counters kept in arrays.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// What keygate decided about a request, in the word that records and metrics carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// A valid key.
    Allowed,
    /// No.
    Refused,
    /// Mode `optional` and no token.
    Anonymous,
    /// A public path, or a preflight that may pass.
    Public,
    /// Mode `shadow`: passed, and would have been refused.
    WouldRefuse,
}

impl Decision {
    /// All decisions, in the order of their [`Decision::index`].
    pub const ALL: [Self; 5] = [
        Self::Allowed,
        Self::Refused,
        Self::Anonymous,
        Self::Public,
        Self::WouldRefuse,
    ];

    /// The word in records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Anonymous => "anonymous",
            Self::Public => "public",
            Self::WouldRefuse => "would_refuse",
        }
    }

    /// The decision of a record's word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == word)
    }

    /// Position in [`Decision::ALL`], for counters kept in arrays.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Why a request did not end as an ordinary answer of the upstream: a refusal, or the upstream's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// keygate said no (or, in shadow mode, would have).
    Refused(Refusal),
    /// The upstream refused the connection or broke its answer.
    UpstreamFailed,
    /// The upstream was too slow.
    UpstreamTimeout,
}

impl Reason {
    /// How many reasons there are: one more than the largest [`Reason::index`].
    pub const COUNT: usize = Refusal::ALL.len() + 2;

    /// The word in records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// All reasons, in the order of their [`Reason::index`].
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).filter_map(Self::from_index)
    }

    /// The reason of a record's word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::all().find(|one| one.as_str() == word)
    }

    /// A dense number, for counters kept in arrays; [`Reason::from_index`] is its inverse.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Refused(refusal) => refusal.index(),
            Self::UpstreamFailed => Refusal::ALL.len(),
            Self::UpstreamTimeout => Refusal::ALL.len() + 1,
        }
    }

    /// The reason with this [`Reason::index`].
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        match index.checked_sub(Refusal::ALL.len()) {
            None => Some(Self::Refused(Refusal::ALL[index])),
            Some(0) => Some(Self::UpstreamFailed),
            Some(1) => Some(Self::UpstreamTimeout),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_index_and_word() {
        let all: Vec<Reason> = (0..Reason::COUNT).filter_map(Reason::from_index).collect();
        assert_eq!(all.len(), Reason::COUNT);
        assert_eq!(Reason::from_index(Reason::COUNT), None);
        for (index, reason) in all.iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason:?}");
            let same = all
                .iter()
                .filter(|other| other.as_str() == reason.as_str())
                .count();
            assert_eq!(same, 1, "the word {} is used twice", reason.as_str());
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
    }

    #[test]
    fn wrong_tokens_look_the_same_to_the_caller() {
        for refusal in Refusal::ALL {
            let wrong_token = (1..=7).contains(&refusal.index());
            assert_eq!(refusal.code() == "invalid_key", wrong_token, "{refusal}");
        }
    }
}
