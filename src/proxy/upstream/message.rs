//! What a request and its answer are made of, whatever is spoken to the upstream, and how long it may take for what.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::Method;
use http::StatusCode;

use crate::auth::Policy;
use crate::proxy::lane::Lane;
use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::failure::Wait;

/// The largest answer head, bytes; also the bound on trailers.
pub(super) const HEAD_BYTES_MAX: usize = u16::MAX as usize;

/// How many interim answers (1xx) may come before the final one.
pub(super) const INTERIM_MAX: usize = 16;

/// A request to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// As the client sent it.
    pub(crate) method: &'a Method,
    /// Path and query.
    pub(crate) target: &'a str,
    /// Final but for framing: neither Content-Length nor Transfer-Encoding is among them. `Upgrade` is there if, and
    /// only if, the request asks for a WebSocket.
    pub(crate) headers: &'a HeaderMap,
    /// The most that may be taken of the body, bytes.
    pub(crate) body_max: u64,
    /// Whether the body is held back until the upstream asks for it.
    pub(crate) hold: bool,
    /// Whether it may pause for long: gRPC.
    pub(crate) pauses: bool,
    /// The stream that it came over, if that is one of HTTP/2.
    pub(crate) stream: Option<&'a Rc<Lane>>,
    /// What may not be among the trailers.
    pub(crate) policy: &'a Arc<Policy>,
}

/// The head of a final answer.
#[derive(Debug)]
pub(crate) struct AnswerHead {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its fields, as they came.
    pub(crate) headers: HeaderMap,
}

/// A part of an answer's body.
#[derive(Debug)]
pub(crate) enum Part {
    /// Data.
    Data(Bytes),
    /// The fields behind it.
    Trailers(HeaderMap),
}

/// How long the upstream may take for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From the last request byte to the first answer byte.
    pub(crate) response: Duration,
    /// The longest pause in a body.
    pub(crate) body: Duration,
    /// The longest pause in an event stream or a gRPC stream.
    pub(crate) stream: Duration,
    /// Whether the request is known for long pauses, before its answer tells.
    pub(crate) pauses: bool,
}

/// A wait and how long it may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) wait: Wait,
    pub(super) limit: Duration,
}

impl Patience {
    /// For the first byte of the answer.
    pub(super) const fn for_response(self) -> Limit {
        Limit {
            wait: Wait::Response,
            limit: self.response,
        }
    }

    /// For the next bytes of a body.
    pub(super) const fn for_body(self) -> Limit {
        if self.pauses {
            return self.for_stream();
        }
        Limit {
            wait: Wait::Body,
            limit: self.body,
        }
    }

    /// For the next bytes of a stream.
    pub(super) const fn for_stream(self) -> Limit {
        Limit {
            wait: Wait::Stream,
            limit: self.stream,
        }
    }
}

impl Limit {
    pub(super) const fn exceeded(self) -> UpstreamFailure {
        UpstreamFailure::Timeout {
            wait: self.wait,
            limit: self.limit,
        }
    }
}
