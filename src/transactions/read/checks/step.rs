//! What keygate checks of a request, in its order, and what can come of it: the words of answers.

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The head is whole, well-formed, within its limits and in time.
    Head,
    /// One of `auth.sources` holds a token.
    TokenPresent,
    /// It holds it once.
    TokenOnce,
    /// The token can be one.
    TokenForm,
    /// No other source holds another one.
    TokenAgreement,
    /// A key has this token.
    KeyKnown,
    /// The key is switched on.
    KeyEnabled,
    /// Its `not_before` has come.
    KeyBegun,
    /// Its `expires_at` has not.
    KeyUnexpired,
    /// It may be used from this address.
    Network,
    /// With this method.
    Method,
    /// On this path.
    Path,
    /// The body is within its limit, well-formed and in time.
    Body,
    /// The upstream answered.
    Upstream,
    /// The answer reached the client whole.
    Answer,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing against it.
    Passed,
    /// It ended the request.
    Failed,
    /// It would have ended the request, if `auth.mode` were not `shadow`.
    WouldFail,
    /// Something before it had ended the request.
    NotReached,
    /// This request did not have to pass it.
    NotNeeded,
}

impl Step {
    /// All checks, in the order in which they are made.
    pub const ALL: [Self; 15] = [
        Self::Head,
        Self::TokenPresent,
        Self::TokenOnce,
        Self::TokenForm,
        Self::TokenAgreement,
        Self::KeyKnown,
        Self::KeyEnabled,
        Self::KeyBegun,
        Self::KeyUnexpired,
        Self::Network,
        Self::Method,
        Self::Path,
        Self::Body,
        Self::Upstream,
        Self::Answer,
    ];

    /// Its word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::TokenPresent => "token_present",
            Self::TokenOnce => "token_once",
            Self::TokenForm => "token_form",
            Self::TokenAgreement => "token_agreement",
            Self::KeyKnown => "key_known",
            Self::KeyEnabled => "key_enabled",
            Self::KeyBegun => "key_begun",
            Self::KeyUnexpired => "key_unexpired",
            Self::Network => "network",
            Self::Method => "method",
            Self::Path => "path",
            Self::Body => "body",
            Self::Upstream => "upstream",
            Self::Answer => "answer",
        }
    }

    /// Whether it is about the token and its key, which some requests do not need.
    pub(super) fn is_about_the_key(self) -> bool {
        (Self::TokenPresent..=Self::Path).contains(&self)
    }
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 5] = [
        Self::Passed,
        Self::Failed,
        Self::WouldFail,
        Self::NotReached,
        Self::NotNeeded,
    ];

    /// Its word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::WouldFail => "would_fail",
            Self::NotReached => "not_reached",
            Self::NotNeeded => "not_needed",
        }
    }
}
