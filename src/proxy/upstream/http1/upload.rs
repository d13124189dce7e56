//! The request on its way to the upstream: its head, encoded once, and its body, framed anew. Small pieces are
//! joined behind the head; large ones are sent from where they are. What is sent is kept as long as it may have
//! to be sent again. Not for: the answer, and when to give up, which are the exchange's.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Buf;
use bytes::Bytes;
use http::HeaderMap;
use http::Method;
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::AsyncWrite;

use crate::auth::Policy;
use crate::proxy::headers;
use crate::proxy::upstream::connect::Connection;
use crate::proxy::upstream::failure::BodyFault;

/// Pieces of a request body up to this size are copied behind the head, so that both leave in one send.
const COPY_MAX: usize = 4 * 1024;

/// A request to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// As the client sent it.
    pub(crate) method: &'a Method,
    /// Path and query.
    pub(crate) target: &'a str,
    /// Final but for framing: neither Content-Length nor Transfer-Encoding is among them.
    pub(crate) headers: &'a HeaderMap,
    /// The most that may be taken of the body, bytes.
    pub(crate) body_max: u64,
    /// Whether the body is held back until the upstream asks for it.
    pub(crate) hold: bool,
    /// What may not be among the trailers.
    pub(crate) policy: &'a Arc<Policy>,
}

/// The request, as far as it is not sent.
pub(crate) struct Upload {
    /// The head and small pieces of the body, encoded; kept whole until the answer begins, for a retry.
    pub(super) out: Vec<u8>,
    /// How much of `out` is sent.
    pub(super) sent: usize,
    /// Whether anything of the request is sent, also of what `out` no longer holds.
    pub(super) begun: bool,
    /// A large piece of the body, sent behind `out`.
    pub(super) piece: Bytes,
    /// What follows the piece.
    pub(super) tail: &'static [u8],
    pub(super) body: Option<Incoming>,
    framing: Framing,
    /// For the trailers of a chunked body.
    pub(super) policy: Option<Arc<Policy>>,
    /// Bytes of the body taken from the client, and how many that may be.
    pub(super) taken: u64,
    pub(super) body_max: u64,
    pub(super) held: bool,
    pub(super) body_begun: bool,
    pub(super) head_request: bool,
}

/// How the request's body is framed towards the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
}

impl Upload {
    /// Encodes a request.
    pub(crate) fn new(request: Outgoing<'_>, body: Incoming) -> Self {
        let Outgoing {
            method,
            target,
            headers,
            body_max,
            hold,
            policy,
        } = request;
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(method.as_str().as_bytes());
        out.extend_from_slice(b" ");
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in headers {
            field(&mut out, name.as_str(), value.as_bytes());
        }
        let mut framing = Framing::Length;
        match body.size_hint().exact() {
            None => {
                framing = Framing::Chunked;
                field(&mut out, "transfer-encoding", b"chunked");
            }
            // RFC 9110 §8.6: where a body could be expected, its absence is said.
            Some(0) if !matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {}
            Some(length) => field(
                &mut out,
                "content-length",
                itoa::Buffer::new().format(length).as_bytes(),
            ),
        }
        out.extend_from_slice(b"\r\n");
        let policy = (framing == Framing::Chunked).then(|| Arc::clone(policy));
        let body = (!body.is_end_stream()).then_some(body);
        let (piece, tail) = (Bytes::new(), &b""[..]);
        let (held, head_request) = (hold && body.is_some(), *method == Method::HEAD);
        Self {
            out,
            sent: 0,
            begun: false,
            piece,
            tail,
            body,
            framing,
            policy,
            taken: 0,
            body_max,
            held,
            body_begun: false,
            head_request,
        }
    }

    /// Whether there is nothing to send any more.
    pub(super) const fn finished(&self) -> bool {
        self.body.is_none() && self.all_sent()
    }

    /// Whether what was gathered is sent.
    pub(super) const fn all_sent(&self) -> bool {
        self.unsent() == 0
    }

    pub(super) const fn unsent(&self) -> usize {
        self.out.len() - self.sent + self.piece.len() + self.tail.len()
    }

    /// Whether the request may be sent once more, on another connection, and makes it ready for that: if nothing
    /// of it was sent, or if it is `idempotent` and has no body.
    pub(crate) fn restart(&mut self, idempotent: bool) -> bool {
        let repeatable = idempotent && self.body.is_none() && !self.body_begun;
        if self.begun && !repeatable {
            return false;
        }
        (self.sent, self.begun) = (0, false);
        true
    }

    /// Takes as much of the body as there is and as fits one send.
    pub(super) fn gather(&mut self, context: &mut Context<'_>) -> Result<(), BodyFault> {
        while self.piece.is_empty() && self.out.len() - self.sent < COPY_MAX && !self.held {
            let Some(body) = &mut self.body else {
                return Ok(());
            };
            match Pin::new(body).poll_frame(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.encode(data)?,
                    Err(frame) => {
                        if let Ok(mut trailers) = frame.into_trailers() {
                            if let Some(policy) = &self.policy {
                                headers::trailers_to_upstream(&mut trailers, policy);
                            }
                            self.end(&trailers);
                        }
                    }
                },
                Poll::Ready(Some(Err(error))) => return Err(BodyFault::of(&error)),
                Poll::Ready(None) => self.end(&HeaderMap::new()),
            }
        }
        Ok(())
    }

    pub(super) fn encode(&mut self, data: Bytes) -> Result<(), BodyFault> {
        self.taken += data.len() as u64;
        if self.taken > self.body_max {
            return Err(BodyFault::TooLarge);
        }
        self.body_begun = true;
        self.forget_sent();
        if data.is_empty() {
            return Ok(()); // an empty chunk would end the body
        }
        let chunked = self.framing == Framing::Chunked;
        if chunked {
            let mut size = [0; 16];
            self.out
                .extend_from_slice(hexadecimal(data.len(), &mut size));
            self.out.extend_from_slice(b"\r\n");
        }
        let tail: &[u8] = if chunked { b"\r\n" } else { b"" };
        if data.len() <= COPY_MAX {
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(tail);
        } else {
            self.piece = data;
            self.tail = tail;
        }
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap) {
        self.body = None;
        if self.framing == Framing::Chunked {
            self.body_begun = true;
            self.forget_sent();
            self.out.extend_from_slice(b"0\r\n");
            for (name, value) in trailers {
                field(&mut self.out, name.as_str(), value.as_bytes());
            }
            self.out.extend_from_slice(b"\r\n");
        }
    }

    /// What is sent is kept only as long as it may have to be sent again: not once a body has begun.
    fn forget_sent(&mut self) {
        self.out.drain(..self.sent);
        self.sent = 0;
    }

    /// Sends what is gathered.
    pub(super) fn poll_send(
        &mut self,
        connection: &mut Connection,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.all_sent() {
            let stream = Pin::new(&mut connection.stream);
            let rest = &self.out[self.sent..];
            let written = if self.piece.is_empty() && self.tail.is_empty() {
                ready!(stream.poll_write(context, rest))?
            } else {
                let slices = [
                    IoSlice::new(rest),
                    IoSlice::new(&self.piece),
                    IoSlice::new(self.tail),
                ];
                ready!(stream.poll_write_vectored(context, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent_more(written);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn sent_more(&mut self, mut written: usize) {
        self.begun = true;
        let from_out = written.min(self.out.len() - self.sent);
        self.sent += from_out;
        written -= from_out;
        let from_piece = written.min(self.piece.len());
        self.piece.advance(from_piece);
        self.tail = &self.tail[written - from_piece..];
    }
}

/// One line of a head. Written out so that the short constants are stores, not calls.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// `size` in hexadecimal digits.
fn hexadecimal(mut size: usize, buffer: &mut [u8; 16]) -> &[u8] {
    let mut from = buffer.len();
    loop {
        from -= 1;
        buffer[from] = b"0123456789abcdef"[size & 15];
        size >>= 4;
        if size == 0 {
            return &buffer[from..];
        }
    }
}
