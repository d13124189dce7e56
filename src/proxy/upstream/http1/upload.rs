//! The request on its way to the upstream: its head, encoded once, and its body, framed anew. Small pieces are
//! joined behind the head; large ones are sent from where they are. What is sent is kept as long as it may have
//! to be sent again. Not for: the answer, and when to give up, which are the exchange's.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Buf;
use bytes::Bytes;
use http::HeaderMap;
use http::Method;
use tokio::io::AsyncWrite;

use crate::proxy::upstream::connect::Connection;
use crate::proxy::upstream::failure::BodyFault;
use crate::proxy::upstream::message::Outgoing;
use crate::proxy::upstream::source::Piece;
use crate::proxy::upstream::source::Source;

/// Pieces of a request body up to this size are copied behind the head, so that both leave in one send.
const COPY_MAX: usize = 4 * 1024;

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
    /// Whether what was written is on its way: TLS may hold records back.
    flushed: bool,
    /// The body.
    pub(super) source: Source,
    framing: Framing,
    pub(super) head_request: bool,
    /// Whether it came over a stream of HTTP/2.
    pub(super) over_http2: bool,
}

/// How the request's body is framed towards the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
}

impl Upload {
    /// Encodes a request; `source` is its body.
    pub(crate) fn new(request: &Outgoing<'_>, source: Source) -> Self {
        let Outgoing {
            method,
            target,
            headers,
            ..
        } = request;
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(method.as_str().as_bytes());
        out.extend_from_slice(b" ");
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in *headers {
            field(&mut out, name.as_str(), value.as_bytes());
        }
        let mut framing = Framing::Length;
        match source.length() {
            None => {
                framing = Framing::Chunked;
                field(&mut out, "transfer-encoding", b"chunked");
            }
            // RFC 9110 §8.6: where a body could be expected, its absence is said.
            Some(0) if !matches!(**method, Method::POST | Method::PUT | Method::PATCH) => {}
            Some(length) => field(
                &mut out,
                "content-length",
                itoa::Buffer::new().format(length).as_bytes(),
            ),
        }
        out.extend_from_slice(b"\r\n");
        Self {
            out,
            sent: 0,
            begun: false,
            piece: Bytes::new(),
            tail: b"",
            flushed: true,
            source,
            framing,
            head_request: **method == Method::HEAD,
            over_http2: request.stream.is_some(),
        }
    }

    /// Whether there is nothing to send any more.
    pub(super) const fn finished(&self) -> bool {
        self.source.ended() && self.all_sent()
    }

    /// Whether what was gathered is sent.
    pub(super) const fn all_sent(&self) -> bool {
        self.unsent() == 0 && self.flushed
    }

    pub(super) const fn unsent(&self) -> usize {
        self.out.len() - self.sent + self.piece.len() + self.tail.len()
    }

    /// Whether the request may be sent once more, on another connection, and makes it ready for that: if nothing
    /// of it was sent, or if it is `idempotent` and has no body.
    pub(crate) fn restart(&mut self, idempotent: bool) -> bool {
        let repeatable = idempotent && self.source.ended() && self.source.is_untouched();
        if self.begun && !repeatable {
            return false;
        }
        (self.sent, self.begun) = (0, false);
        true
    }

    /// Takes as much of the body as there is and as fits one send.
    pub(super) fn gather(&mut self, context: &mut Context<'_>) -> Result<(), BodyFault> {
        while self.piece.is_empty() && self.out.len() - self.sent < COPY_MAX && !self.source.ended()
        {
            match self.source.poll_piece(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(Piece::Data(data)))) => self.encode(data),
                Poll::Ready(Some(Ok(Piece::Trailers(trailers)))) => self.end(&trailers),
                Poll::Ready(None) => self.end(&HeaderMap::new()),
                Poll::Ready(Some(Err(fault))) => return Err(fault),
            }
        }
        Ok(())
    }

    pub(super) fn encode(&mut self, data: Bytes) {
        self.forget_sent();
        if data.is_empty() {
            return; // an empty chunk would end the body
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
    }

    /// What was gathered goes nowhere.
    pub(super) fn give_up(&mut self) {
        self.source.give_up();
        self.sent = self.out.len();
        self.piece = Bytes::new();
        self.tail = b"";
        self.flushed = true;
    }

    fn end(&mut self, trailers: &HeaderMap) {
        if self.framing == Framing::Chunked {
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
        while self.unsent() > 0 {
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
        ready!(Pin::new(&mut connection.stream).poll_flush(context))?;
        self.flushed = true;
        Poll::Ready(Ok(()))
    }

    pub(super) fn sent_more(&mut self, mut written: usize) {
        self.begun = true;
        self.flushed = false;
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
