//! "Why was I refused?": the checks that a request went through, in the order in which keygate makes them, from its record
//! alone. The order is that of `auth`, `key::rules` and `proxy::handler`; what a record does not say is not claimed.
//! Not for: finding the record.

use crate::refusal::Decision;
use crate::refusal::Reason;
use crate::refusal::Refusal;
use crate::transactions::read::entry::Entry;
use crate::transactions::record::End;

/// One check of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is checked.
    pub step: Step,
    /// What came of it.
    pub outcome: Outcome,
    /// What it was about; of a check that failed: why, and what to do.
    pub detail: Option<String>,
}

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
    fn is_about_the_key(self) -> bool {
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

/// All checks of the request of a record, in their order. Empty where the record has words that this version does not know.
#[must_use]
pub fn checks(entry: &Entry<'_>) -> Vec<Check> {
    let reason = entry.reason.as_deref().map(Reason::parse);
    let (Some(decision), Some(reason)) = (
        Decision::parse(&entry.decision),
        reason.map_or(Some(None), |found| found.map(Some)),
    ) else {
        return Vec::new();
    };
    let case = Case {
        entry,
        decision,
        stopped: stopped_at(entry, decision, reason),
    };
    Step::ALL.map(|step| case.check(step)).into()
}

/// A record, and what it says of its end.
struct Case<'e> {
    entry: &'e Entry<'e>,
    decision: Decision,
    /// Where a refusal stands in the order, and its sentence.
    stopped: Option<(Step, String)>,
}

/// The step that said no, or would have.
fn stopped_at(
    entry: &Entry<'_>,
    decision: Decision,
    reason: Option<Reason>,
) -> Option<(Step, String)> {
    match (decision, reason) {
        (_, Some(Reason::Refused(refusal))) => {
            Some((step_of(refusal, entry), sentence(refusal, entry)))
        }
        (_, Some(Reason::UpstreamFailed)) => Some((Step::Upstream, upstream_failed(entry))),
        (_, Some(Reason::UpstreamTimeout)) => Some((Step::Upstream, upstream_timeout(entry))),
        (Decision::Refused, None) => Some((
            Step::Head,
            said(
                "the request ended before it was judged",
                entry.error.as_deref(),
            ),
        )),
        (
            Decision::Allowed | Decision::Anonymous | Decision::Public | Decision::WouldRefuse,
            None,
        ) => None,
    }
}

impl Case<'_> {
    fn check(&self, step: Step) -> Check {
        let (outcome, detail) = match &self.stopped {
            Some((at, why)) if *at == step => (self.no(), Some(why.clone())),
            Some((at, _)) if *at < step && self.is_not_reached(step) => (Outcome::NotReached, None),
            Some(_) | None => self.past(step),
        };
        Check {
            step,
            outcome,
            detail,
        }
    }

    /// What a check that says no does to this request.
    const fn no(&self) -> Outcome {
        match self.decision {
            Decision::WouldRefuse => Outcome::WouldFail,
            Decision::Allowed | Decision::Refused | Decision::Anonymous | Decision::Public => {
                Outcome::Failed
            }
        }
    }

    /// Whether a request that was stopped before never came to this step: in shadow mode it went on all the same.
    fn is_not_reached(&self, step: Step) -> bool {
        match self.decision {
            Decision::WouldRefuse => step.is_about_the_key(),
            Decision::Allowed | Decision::Refused | Decision::Anonymous | Decision::Public => true,
        }
    }

    /// A step that did not stop the request.
    fn past(&self, step: Step) -> (Outcome, Option<String>) {
        if step.is_about_the_key() && self.is_exempt() {
            let why = (step == Step::TokenPresent).then(|| self.exemption().to_owned());
            return (Outcome::NotNeeded, why);
        }
        match step {
            Step::Upstream => self.upstream(),
            Step::Answer => self.answer(),
            Step::Head
            | Step::TokenPresent
            | Step::TokenOnce
            | Step::TokenForm
            | Step::TokenAgreement
            | Step::KeyEnabled
            | Step::KeyBegun
            | Step::KeyUnexpired
            | Step::Body => (Outcome::Passed, None),
            Step::KeyKnown => (
                Outcome::Passed,
                self.entry.key_name.as_deref().map(|_| key(self.entry)),
            ),
            Step::Network => (
                Outcome::Passed,
                self.entry.client_ip.as_deref().map(str::to_owned),
            ),
            Step::Method => (
                Outcome::Passed,
                self.entry.method.as_deref().map(str::to_owned),
            ),
            Step::Path => (
                Outcome::Passed,
                self.entry.path.as_deref().map(str::to_owned),
            ),
        }
    }

    /// Whether it went on without a key.
    fn is_exempt(&self) -> bool {
        let stops_at_the_key = |(at, _): &(Step, String)| at.is_about_the_key();
        self.entry.key_id.is_none() && !self.stopped.as_ref().is_some_and(stops_at_the_key)
    }

    const fn exemption(&self) -> &'static str {
        match self.decision {
            Decision::Anonymous => {
                "auth.mode is optional: a request without a token passes as anonymous"
            }
            Decision::Public => "the path is public, or it is a preflight: neither needs a key",
            Decision::Allowed | Decision::Refused | Decision::WouldRefuse => {
                "it was let through without a key, by auth.mode, auth.public or auth.preflight"
            }
        }
    }

    fn upstream(&self) -> (Outcome, Option<String>) {
        let entry = self.entry;
        let Some(upstream) = entry.upstream.as_deref() else {
            let why = entry.error.as_deref().map(str::to_owned);
            return (Outcome::NotReached, why);
        };
        // In shadow mode the record's reason is that of the key.
        let own_answer = matches!(entry.status, Some(502 | 504)) && entry.error.is_some();
        match (entry.status, self.decision) {
            (Some(504), Decision::WouldRefuse) if own_answer => {
                (Outcome::Failed, Some(upstream_timeout(entry)))
            }
            (Some(_), Decision::WouldRefuse) if own_answer => {
                (Outcome::Failed, Some(upstream_failed(entry)))
            }
            (Some(status), _) => (
                Outcome::Passed,
                Some(format!("{upstream} answered {status}")),
            ),
            (None, _) => (
                Outcome::NotReached,
                entry.error.as_deref().map(str::to_owned),
            ),
        }
    }

    fn answer(&self) -> (Outcome, Option<String>) {
        let error = self.entry.error.as_deref();
        let end = End::ALL
            .into_iter()
            .find(|end| end.as_str() == &*self.entry.end);
        let why = match end {
            Some(End::Complete) => return (Outcome::Passed, None),
            Some(End::ClientGone) => "the client went away before it had all of the answer",
            Some(End::UpstreamCut) => "the upstream broke its answer off: look into its own log",
            Some(End::Timeout) => {
                "it paused for longer than timeouts.body or timeouts.stream allows"
            }
            Some(End::Revoked) => {
                "the key stopped being valid while the stream was open, so it was cut"
            }
            None => return (Outcome::NotReached, Some(self.entry.end.to_string())),
        };
        (Outcome::Failed, Some(said(why, error)))
    }
}

/// Where in the order a refusal is made. Body and head share some of them: what had an upstream or a key has had its head.
fn step_of(refusal: Refusal, entry: &Entry<'_>) -> Step {
    let head_or_body = if entry.upstream.is_some() || entry.key_id.is_some() {
        Step::Body
    } else {
        Step::Head
    };
    match refusal {
        Refusal::BadRequest | Refusal::RequestTimeout => head_or_body,
        Refusal::MethodNotSupported | Refusal::HeadTooLarge | Refusal::Unavailable => Step::Head,
        Refusal::MissingKey => Step::TokenPresent,
        Refusal::DuplicateKey => Step::TokenOnce,
        Refusal::MalformedKey => Step::TokenForm,
        Refusal::ConflictingKeys => Step::TokenAgreement,
        Refusal::UnknownKey => Step::KeyKnown,
        Refusal::Disabled => Step::KeyEnabled,
        Refusal::NotYetValid => Step::KeyBegun,
        Refusal::Expired => Step::KeyUnexpired,
        Refusal::NetworkNotAllowed => Step::Network,
        Refusal::MethodNotAllowed => Step::Method,
        Refusal::PathNotAllowed => Step::Path,
        Refusal::BodyTooLarge => Step::Body,
    }
}

/// Why it was refused, and what to do.
fn sentence(refusal: Refusal, entry: &Entry<'_>) -> String {
    let key = key(entry);
    let or = |found: Option<&str>, other: &str| found.unwrap_or(other).to_owned();
    let hint = entry.hint.as_deref();
    match refusal {
        Refusal::MissingKey => said(
            "no place of auth.sources holds a token: send one there",
            hint,
        ),
        Refusal::UnknownKey => {
            let print = entry
                .token_fingerprint
                .as_deref()
                .map_or_else(String::new, |print| {
                    format!(
                        " (fingerprint {print}: search for it to see who else sends this token)"
                    )
                });
            let what = format!(
                "no key has this token{print}: it was rotated, deleted or mistyped; give the client a token that is valid"
            );
            said(&what, hint)
        }
        Refusal::MalformedKey => said(
            "the token has white space or other bytes that no token has, or is longer than 512: send it as it was made",
            hint,
        ),
        Refusal::DuplicateKey => said(
            "the token was sent more than once in one place: send it once",
            hint,
        ),
        Refusal::ConflictingKeys => said(
            "two places of auth.sources hold different tokens: send one of them",
            hint,
        ),
        Refusal::Disabled => format!("{key} is switched off: enable it, or use another key"),
        Refusal::Expired => {
            format!("{key} has expired: give it a later expires_at, or use another key")
        }
        Refusal::NotYetValid => {
            format!("{key} is not valid yet: wait for its not_before, or set an earlier one")
        }
        Refusal::NetworkNotAllowed => {
            let from = or(entry.client_ip.as_deref(), "this address");
            format!(
                "{key} may not be used from {from}: add its network to allow.networks, or check forwarded.trusted_proxies if that is a proxy"
            )
        }
        Refusal::MethodNotAllowed => {
            let method = or(entry.method.as_deref(), "this method");
            format!("{key} may not use {method}: add it to allow.methods")
        }
        Refusal::PathNotAllowed => {
            let path = or(entry.path.as_deref(), "this path");
            format!(
                "{key} may not use {path}: add a pattern to allow.paths that it matches when it is normalised"
            )
        }
        Refusal::BadRequest => said(
            "the request is malformed: the client has to be corrected",
            entry.error.as_deref(),
        ),
        Refusal::MethodNotSupported => {
            let method = or(entry.method.as_deref(), "this method");
            format!("{method} is never forwarded: CONNECT and TRACE have no place behind a gate")
        }
        Refusal::HeadTooLarge => said(
            "the head is larger than limits.header_bytes, or has more fields than limits.headers",
            entry.error.as_deref(),
        ),
        Refusal::BodyTooLarge => {
            "the body is larger than limits.body_bytes: send less, or raise the limit".to_owned()
        }
        Refusal::RequestTimeout => said(
            "the request did not arrive in time: see timeouts.header and timeouts.body",
            entry.error.as_deref(),
        ),
        Refusal::Unavailable => "keygate was stopping or had no room: try again".to_owned(),
    }
}

fn upstream_failed(entry: &Entry<'_>) -> String {
    let upstream = entry.upstream.as_deref().unwrap_or("the upstream");
    let what = format!(
        "{upstream} refused the connection or broke its answer: look whether the service runs, and into its log"
    );
    said(&what, entry.error.as_deref())
}

fn upstream_timeout(entry: &Entry<'_>) -> String {
    let upstream = entry.upstream.as_deref().unwrap_or("the upstream");
    let what = format!(
        "{upstream} was too slow: look why, or raise timeouts.connect or timeouts.response"
    );
    said(&what, entry.error.as_deref())
}

/// What there is to say, and what the record says besides.
fn said(what: &str, more: Option<&str>) -> String {
    more.map_or_else(|| what.to_owned(), |more| format!("{what} ({more})"))
}

/// `the key "billing" (k_1)`
fn key(entry: &Entry<'_>) -> String {
    match (entry.key_name.as_deref(), entry.key_id.as_deref()) {
        (Some(name), Some(id)) => format!("the key {name:?} ({id})"),
        (Some(one), None) | (None, Some(one)) => format!("the key {one:?}"),
        (None, None) => "the key".to_owned(),
    }
}

#[cfg(test)]
mod tests;
