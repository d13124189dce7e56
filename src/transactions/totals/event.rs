//! What the totals need to know of a request: made at its end, the same from a worker and from a line of the log.
//! Small, since every request makes one. Not for: adding up, which is `book`.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::key::Key;
use crate::refusal::Decision;
use crate::refusal::Reason;
use crate::refusal::Refusal;
use crate::transactions::record::Record;

/// A request that has ended.
#[derive(Clone, Debug)]
pub(in crate::transactions) struct Event {
    /// The key that was recognised.
    pub(super) key: Option<Arc<Key>>,
    pub(super) began: Timestamp,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) took_micros: u64,
    /// 0: no answer was sent.
    pub(super) status: u16,
    pub(super) decision: Decision,
    pub(super) reason: Option<Reason>,
}

/// How a request counts in a series: as one of these, or as neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// keygate said no.
    Refused,
    /// It was let through, and the upstream failed: no answer, none in time, or one with a status from 500 on.
    Failed,
    /// Anything else.
    Passed,
}

impl Event {
    /// Of a record that is complete. Takes its key: a clone would cost as much as all the rest of this.
    pub(in crate::transactions) fn of(record: &mut Record, took: Duration) -> Self {
        Self {
            key: record.key.take(),
            began: record.time,
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            status: record.status.unwrap_or(0),
            decision: record.decision,
            reason: record.reason,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        let by_upstream = match self.reason {
            Some(Reason::UpstreamFailed | Reason::UpstreamTimeout) => true,
            Some(Reason::Refused(_)) | None => false,
        };
        match self.decision {
            Decision::Refused => Outcome::Refused,
            Decision::Allowed | Decision::Anonymous | Decision::Public | Decision::WouldRefuse
                if by_upstream || self.status >= 500 =>
            {
                Outcome::Failed
            }
            Decision::Allowed | Decision::Anonymous | Decision::Public | Decision::WouldRefuse => {
                Outcome::Passed
            }
        }
    }

    /// Why mode `shadow` would have refused it; none where it was, or nothing was wrong.
    pub(super) fn would_refuse(&self) -> Option<Refusal> {
        match (self.decision, self.reason) {
            (Decision::WouldRefuse, Some(Reason::Refused(refusal))) => Some(refusal),
            (
                _,
                Some(Reason::Refused(_) | Reason::UpstreamFailed | Reason::UpstreamTimeout) | None,
            ) => None,
        }
    }

    /// When it ended: the time that its series go by, since that is when it is counted, hours after its begin for a
    /// long stream.
    pub(super) fn ended(&self) -> Timestamp {
        self.began.plus(Duration::from_micros(self.took_micros))
    }
}
