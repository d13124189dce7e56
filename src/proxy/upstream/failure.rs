//! Why there is no whole answer: whose fault it is, and what the record says. Not for: status codes, which are
//! `respond`'s.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::refusal::Reason;
use crate::refusal::Refusal;

/// Why sending a request did not bring an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The upstream's fault.
    #[error(transparent)]
    Upstream(#[from] UpstreamFailure),
    /// The client's: its body could not be read to the end.
    #[error(transparent)]
    Client(#[from] BodyFault),
}

/// What the upstream did. Several requests may have waited for one connection, so it can be told more than once.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum UpstreamFailure {
    /// The name has no address.
    #[error("the upstream's name has no address yet")]
    NoAddress,
    /// No connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: Arc<str>,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// The request cannot be said in what this upstream speaks.
    #[error("the request cannot be sent to this upstream: {0}")]
    Unsendable(&'static str),
    /// The connection broke while reading the answer.
    #[error("the connection broke while the answer was read: {0}")]
    Read(Arc<io::Error>),
    /// It closed without an answer.
    #[error("the connection was closed without an answer")]
    Closed,
    /// It closed in the middle of the answer.
    #[error("the answer ended early")]
    Truncated,
    /// The answer is not HTTP, or not framed in one way only.
    #[error("a malformed answer: {0}")]
    Malformed(&'static str),
    /// HTTP/2 ended the stream or the connection with a code.
    #[error("{what}: {code:?}")]
    Http2 {
        /// What happened.
        what: &'static str,
        /// The code, as RFC 9113 §7 names it.
        code: h2::Reason,
    },
    /// It was too slow.
    #[error("{} ({limit:?})", wait.sentence())]
    Timeout {
        /// What it was too slow at.
        wait: Wait,
        /// How long that may take.
        limit: Duration,
    },
}

/// What the upstream may take its time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Taking a connection.
    Connect,
    /// Beginning to answer.
    Response,
    /// The next bytes of a body, either way.
    Body,
    /// The next bytes of a stream.
    Stream,
}

impl Wait {
    /// What happened, with the setting that decides it.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Connect => "the upstream took no connection within timeouts.connect",
            Self::Response => "the upstream did not answer within timeouts.response",
            Self::Body => "the upstream paused for longer than timeouts.body",
            Self::Stream => "the upstream paused for longer than timeouts.stream",
        }
    }
}

impl UpstreamFailure {
    /// How answers, records and metrics call it. An upstream that takes no connection is down rather than slow.
    pub(crate) const fn reason(&self) -> Reason {
        match self.timeout() {
            Some(Wait::Response | Wait::Body | Wait::Stream) => Reason::UpstreamTimeout,
            Some(Wait::Connect) | None => Reason::UpstreamFailed,
        }
    }

    /// What the upstream was too slow at, if that was it.
    pub(crate) const fn timeout(&self) -> Option<Wait> {
        match self {
            Self::Timeout { wait, .. } => Some(*wait),
            Self::NoAddress
            | Self::Connect { .. }
            | Self::Read(_)
            | Self::Closed
            | Self::Truncated
            | Self::Unsendable(_)
            | Self::Http2 { .. }
            | Self::Malformed(_) => None,
        }
    }

    /// Whether the connection just turned out to be dead: nothing came back on it.
    pub(crate) const fn is_dead_connection(&self) -> bool {
        match self {
            Self::Read(_) | Self::Closed => true,
            Self::NoAddress
            | Self::Connect { .. }
            | Self::Truncated
            | Self::Malformed(_)
            | Self::Unsendable(_)
            | Self::Http2 { .. }
            | Self::Timeout { .. } => false,
        }
    }
}

/// Why a request body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyFault {
    /// Its framing is broken.
    #[error("the request body is malformed")]
    Malformed,
    /// It paused for too long.
    #[error("the request body paused for too long")]
    TooSlow,
    /// It is larger than allowed.
    #[error("the request body is larger than limits.body_bytes")]
    TooLarge,
    /// The client went away.
    #[error("the client went away in the middle of its request")]
    Gone,
    /// Its key was revoked while it was sent.
    #[error("the key was revoked while the request was sent")]
    Revoked,
}

impl BodyFault {
    /// What hyper's body error stands for; the reader puts the reason into the I/O error.
    pub(crate) fn of(error: &hyper::Error) -> Self {
        let kind = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>())
            .map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Self::Malformed,
            Some(io::ErrorKind::TimedOut) => Self::TooSlow,
            _ => Self::Gone,
        }
    }

    /// The refusal that says so; none where nobody is left to be told.
    pub(crate) const fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Malformed => Some(Refusal::BadRequest),
            Self::TooSlow => Some(Refusal::RequestTimeout),
            Self::TooLarge => Some(Refusal::BodyTooLarge),
            Self::Gone | Self::Revoked => None,
        }
    }
}
