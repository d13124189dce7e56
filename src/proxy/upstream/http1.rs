//! The HTTP/1.1 client: one request and its answer over one connection, both directions at once, in the task of
//! the request itself. hyper's client would need a task and a channel beside it for each connection, which costs
//! a fifth of a request; it stays the oracle of the tests in `http1/tests.rs`.
//!
//! The invariant: an answer is passed on as whole only if its framing says so; anything else is a failure, and
//! its connection is never used again. Not for: retries and the pool's policy, which are `mod`'s.

mod answer;
#[cfg(test)]
mod tests;
mod upload;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::Buf;
use http::HeaderMap;
use http::StatusCode;
use http::Version;
use http::header;
use tokio::io::AsyncReadExt;

use crate::net::watchdog::Watched;
use crate::proxy::framing::ChunkScanner;
use crate::proxy::upstream::connect::Connection;
use crate::proxy::upstream::failure::BodyFault;
use crate::proxy::upstream::failure::SendError;
use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::http1::answer::chunked;
use crate::proxy::upstream::http1::answer::content_length;
use crate::proxy::upstream::http1::answer::decode_chunked;
use crate::proxy::upstream::http1::answer::parse;
use crate::proxy::upstream::message::AnswerHead;
use crate::proxy::upstream::message::HEAD_BYTES_MAX;
use crate::proxy::upstream::message::INTERIM_MAX;
use crate::proxy::upstream::message::Limit;
use crate::proxy::upstream::message::Part;
use crate::proxy::upstream::message::Patience;

pub(crate) use crate::proxy::upstream::http1::upload::Upload;

/// The first read of an answer; an answer that fills its reads gets larger ones.
const READ_MIN: usize = 8 * 1024;

/// The largest read: what a slow client makes us hold.
const READ_MAX: usize = 128 * 1024;

/// The same for a client of HTTP/2: a hundred answers may wait for it, and it shows that it takes one only when a whole
/// piece of it has gone.
const READ_MAX_HTTP2: usize = 16 * 1024;

/// How long a client's `Expect: 100-continue` waits for the upstream's word before its body is sent anyway
/// (RFC 9110 §10.1.1 wants no client to wait for ever).
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// A request on its way and its answer coming back.
pub(crate) struct Exchange {
    connection: Connection,
    upload: Upload,
    answer: Answer,
    watched: Arc<Watched>,
    patience: Patience,
    pause: Limit,
    reusable: bool,
    read_size: usize,
}

/// The answer, as far as it is not read.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Head { interim: usize },
    Length(u64),
    Chunked(ChunkScanner),
    UntilClose,
    Over,
}

impl Exchange {
    /// `upload` over `connection`.
    pub(crate) fn new(
        connection: Connection,
        upload: Upload,
        watched: Arc<Watched>,
        patience: Patience,
    ) -> Self {
        let answer = Answer::Head { interim: 0 };
        let pause = patience.for_body();
        Self {
            connection,
            upload,
            answer,
            watched,
            patience,
            pause,
            reusable: true,
            read_size: READ_MIN,
        }
    }

    /// Bytes of the request's body that were taken from the client.
    pub(crate) const fn request_bytes(&self) -> u64 {
        self.upload.source.taken()
    }

    /// How long the answer's body will be, where its head says so, bytes.
    pub(crate) const fn length(&self) -> Option<u64> {
        match self.answer {
            Answer::Length(left) => Some(left),
            Answer::Over => Some(0),
            Answer::Head { .. } | Answer::Chunked(_) | Answer::UntilClose => None,
        }
    }

    /// Takes the exchange apart: the request for another try, or the connection for another request.
    pub(crate) fn into_parts(self) -> (Connection, Upload) {
        (self.connection, self.upload)
    }

    /// Whether nothing of an answer has come.
    pub(crate) fn unanswered(&self) -> bool {
        matches!(self.answer, Answer::Head { interim: 0 }) && self.connection.input.is_empty()
    }

    /// Whether the connection may serve another request: the answer is whole, the request is sent, nothing more
    /// has come, and nobody asked to close.
    pub(crate) fn reusable(&self) -> bool {
        self.reusable && self.ended() && self.upload.finished() && self.connection.input.is_empty()
    }

    /// Whether the answer's body has been read to its end.
    pub(crate) const fn ended(&self) -> bool {
        matches!(self.answer, Answer::Over)
    }

    /// Sends what can be sent. `Ready` when everything is; a failed send is no failure of the exchange, since
    /// the upstream may have answered before it closed: the answer, or its absence, decides.
    fn poll_upload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyFault>> {
        while !self.upload.finished() {
            if !self.upload.source.ended() && self.watched.passed(&self.watched.revoked) {
                return Poll::Ready(Err(BodyFault::Revoked)); // an upload is an open stream as well
            }
            self.upload.gather(context)?;
            if self.upload.all_sent() {
                return if self.upload.source.ended() {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            }
            let before = self.upload.unsent();
            let sent = self.upload.poll_send(&mut self.connection, context);
            if sent.is_ready() || self.upload.unsent() < before {
                self.watched.upstream.clear(); // progress; when all is sent, the answer's time begins to run
            }
            match sent {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_broken)) => {
                    self.give_up_upload();
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    self.watched
                        .arm_once(&self.watched.upstream, self.pause.limit);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The upstream takes no more. What it was to get is dropped, unless nothing of it was sent: then it may be
    /// sent to another connection.
    fn give_up_upload(&mut self) {
        self.reusable = false;
        if self.upload.begun {
            self.upload.give_up();
        }
    }

    /// Sends the request and waits for the head of the final answer.
    pub(crate) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<AnswerHead, SendError>> {
        loop {
            let held = self.upload.source.is_held();
            let uploaded = match self.poll_upload(context) {
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault.into())),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            if !self.connection.input.is_empty()
                && let Some(head) = self.parse_head()?
            {
                self.watched.upstream.clear();
                return Poll::Ready(Ok(head));
            }
            if held && !self.upload.source.is_held() {
                continue; // an interim answer has let the body go
            }
            if self.connection.input.len() >= HEAD_BYTES_MAX {
                return Poll::Ready(Err(
                    UpstreamFailure::Malformed("the head is too large").into()
                ));
            }
            match self.poll_read(context) {
                Poll::Ready(Ok(0)) if self.connection.input.is_empty() => {
                    return Poll::Ready(Err(UpstreamFailure::Closed.into()));
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(UpstreamFailure::Truncated.into())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(UpstreamFailure::Read(Arc::new(error)).into()));
                }
                Poll::Pending => return self.wait_for_head(uploaded, context),
            }
        }
    }

    fn wait_for_head(
        &mut self,
        uploaded: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<AnswerHead, SendError>> {
        let overdue = self.watched.passed(&self.watched.upstream);
        if self.upload.source.is_held() {
            if overdue {
                self.watched.upstream.clear();
                self.upload.source.let_go();
                return self.poll_head(context);
            }
            self.watched.arm_once(&self.watched.upstream, CONTINUE_WAIT);
        } else if overdue {
            let response = self.patience.for_response();
            let exceeded = if uploaded { response } else { self.pause };
            return Poll::Ready(Err(exceeded.exceeded().into()));
        } else if uploaded {
            self.watched
                .arm_once(&self.watched.upstream, self.patience.response);
        }
        Poll::Pending
    }

    /// The head of the final answer, if all of it is there. Interim answers before it are dropped, but that the
    /// first lets go a body that was held back.
    fn parse_head(&mut self) -> Result<Option<AnswerHead>, UpstreamFailure> {
        loop {
            let Some(head) = parse(&self.connection.input)? else {
                return Ok(None);
            };
            let interim =
                head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS;
            if !interim {
                let raw = self.connection.input.split_to(head.length).freeze();
                let mut headers = head.headers(&raw)?;
                self.answer = self.framing(head.status, head.version, &mut headers)?;
                return Ok(Some(AnswerHead {
                    status: head.status,
                    headers,
                }));
            }
            self.connection.input.advance(head.length);
            self.upload.source.let_go();
            self.watched.upstream.clear();
            let Answer::Head { interim } = &mut self.answer else {
                return Ok(None);
            };
            *interim += 1;
            if *interim > INTERIM_MAX {
                return Err(UpstreamFailure::Malformed("too many interim answers"));
            }
        }
    }

    /// RFC 9112 §6.3, without its tolerances: an answer that could be framed in two ways is malformed.
    fn framing(
        &mut self,
        status: StatusCode,
        version: Version,
        headers: &mut HeaderMap,
    ) -> Result<Answer, UpstreamFailure> {
        let asks_to_close = headers.get_all(header::CONNECTION).iter().any(|value| {
            value
                .as_bytes()
                .split(|byte| *byte == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
        });
        self.reusable &= version == Version::HTTP_11 && !asks_to_close;
        let length = content_length(headers)?;
        let chunked = chunked(headers)?;
        if length.is_some() && chunked {
            return Err(UpstreamFailure::Malformed(
                "both Content-Length and Transfer-Encoding",
            ));
        }
        if chunked && version == Version::HTTP_10 {
            // RFC 9112 §6.1: somebody on the way has not understood it.
            return Err(UpstreamFailure::Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            if !self.upload.finished() {
                return Err(UpstreamFailure::Malformed(
                    "a switch of protocols before the request was sent",
                ));
            }
            self.reusable = false;
            return Ok(Answer::Over);
        }
        if self.upload.head_request
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        {
            // Whoever announces a body where none may be might send it: not before the next answer.
            let announced = length.is_some_and(|length| length > 0);
            let suspect = chunked || (announced && status == StatusCode::NO_CONTENT);
            self.reusable &= !suspect || self.upload.head_request;
            return Ok(Answer::Over);
        }
        Ok(match length {
            _ if chunked => Answer::Chunked(ChunkScanner::NEW),
            Some(0) => Answer::Over,
            Some(length) => Answer::Length(length),
            None => {
                self.reusable = false;
                Answer::UntilClose
            }
        })
    }

    /// The next part of the answer's body; `None` when it is whole. The request's body is sent on meanwhile.
    pub(crate) fn poll_part(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Part, SendError>>> {
        if let Poll::Ready(Err(fault)) = self.poll_upload(context) {
            return Poll::Ready(Some(Err(fault.into())));
        }
        loop {
            if self.ended() {
                return Poll::Ready(None);
            }
            if !self.connection.input.is_empty()
                && let Some(part) = self.decode().transpose()
            {
                self.watched.upstream.clear();
                return Poll::Ready(Some(part.map_err(SendError::from)));
            }
            if self.ended() {
                return Poll::Ready(None);
            }
            match self.poll_read(context) {
                Poll::Ready(Ok(0)) if matches!(self.answer, Answer::UntilClose) => {
                    self.answer = Answer::Over
                }
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Some(Err(UpstreamFailure::Truncated.into())));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Some(Err(UpstreamFailure::Read(Arc::new(error)).into())));
                }
                Poll::Pending => {
                    if self.watched.passed(&self.watched.upstream) {
                        return Poll::Ready(Some(Err(self.pause.exceeded().into())));
                    }
                    self.watched
                        .arm_once(&self.watched.upstream, self.pause.limit);
                    return Poll::Pending;
                }
            }
        }
    }

    /// From now on the longer patience of streams holds.
    pub(crate) fn expect_pauses(&mut self) {
        self.pause = self.patience.for_stream();
    }

    /// A part of the body from what has been read; none if that is not enough. After data it looks ahead over
    /// framing, so that the last data and the end are seen at once.
    fn decode(&mut self) -> Result<Option<Part>, UpstreamFailure> {
        let input = &mut self.connection.input;
        match &mut self.answer {
            Answer::Length(left) => {
                let taken = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.answer = Answer::Over;
                }
                Ok(Some(Part::Data(input.split_to(taken).freeze())))
            }
            Answer::UntilClose => Ok(Some(Part::Data(input.split().freeze()))),
            Answer::Chunked(scanner) => {
                let part = decode_chunked(scanner, input)?;
                if scanner.ended() {
                    self.answer = Answer::Over;
                }
                Ok(part)
            }
            Answer::Head { .. } | Answer::Over => Ok(None),
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Connection { stream, input, .. } = &mut self.connection;
        if input.capacity() - input.len() < self.read_size / 4 {
            input.reserve(self.read_size);
        }
        let room = input.capacity() - input.len();
        let read = ready!(std::pin::pin!(stream.read_buf(input)).poll(context))?;
        if read == room {
            let most = if self.upload.over_http2 {
                READ_MAX_HTTP2
            } else {
                READ_MAX
            };
            self.read_size = (self.read_size * 2).min(most);
        }
        Poll::Ready(Ok(read))
    }
}
