//! "Why was I refused?": the checks that a request went through, in the order in which keygate makes them, from its record
//! alone. The order is that of `auth`, `key::rules` and `proxy::handler`; what a record does not say is not claimed.
//! Not for: finding the record.

mod step;
mod why;

use crate::refusal::Decision;
use crate::refusal::Reason;
use crate::refusal::Refusal;
use crate::transactions::read::checks::why::key;
use crate::transactions::read::checks::why::said;
use crate::transactions::read::checks::why::sentence;
use crate::transactions::read::checks::why::upstream_failed;
use crate::transactions::read::checks::why::upstream_timeout;
use crate::transactions::read::entry::Entry;
use crate::transactions::record::End;

pub use crate::transactions::read::checks::step::Outcome;
pub use crate::transactions::read::checks::step::Step;

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

#[cfg(test)]
mod tests;
