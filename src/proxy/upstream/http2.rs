//! The HTTP/2 client: one request and its answer on a stream of a connection that requests share, in the task of the
//! request itself. On h2 and not on hyper's client, since only here one sees which streams a GOAWAY or a REFUSED_STREAM
//! gave back, and since hyper's client reads ahead of the request's own task.
//!
//! The invariant: an answer is passed on as whole only if END_STREAM says so and its length agrees; and what a client
//! does not take, the upstream is not asked for: capacity goes back as parts are fetched. Not for: the connection
//! (`link`), which one of them (`links`), and retries, which are `mod`'s.

mod head;
pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod tunnel;

use std::io;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use h2::Reason;
use h2::RecvStream;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Response;
use http::StatusCode;
use http::header;

use crate::net::watchdog::Watched;
use crate::proxy::upstream::failure::BodyFault;
use crate::proxy::upstream::failure::SendError;
use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::http2::link::Place;
use crate::proxy::upstream::http2::tunnel::Tunnel;
use crate::proxy::upstream::message::AnswerHead;
use crate::proxy::upstream::message::INTERIM_MAX;
use crate::proxy::upstream::message::Limit;
use crate::proxy::upstream::message::Outgoing;
use crate::proxy::upstream::message::Part;
use crate::proxy::upstream::message::Patience;
use crate::proxy::upstream::source::Piece;
use crate::proxy::upstream::source::Source;

/// A request on its way and its answer coming back.
pub(crate) struct Exchange {
    upload: SendStream<Bytes>,
    answer: Answer,
    source: Source,
    /// What was taken of the body and found no room yet.
    piece: Bytes,
    /// The end of the body was sent, or nobody wants it.
    uploaded: bool,
    asks: Asks,
    /// Whether the client can be given trailers behind an answer whose length is known.
    trailers: bool,
    interim: usize,
    /// What the link had written when this came to it.
    written_before: u64,
    failure: Option<Kind>,
    watched: Arc<Watched>,
    patience: Patience,
    pause: Limit,
    /// Behind the stream's own parts, so that it is free when they are gone.
    place: Place,
}

/// A request of which nothing was sent.
pub(crate) struct Unsent {
    pub(crate) why: UpstreamFailure,
    /// Its body, if it may be sent elsewhere.
    pub(crate) body: Option<Source>,
}

/// What a request asks for, as far as the answer depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    Answer,
    Head,
    WebSocket,
}

/// The answer, as far as it is not read.
enum Answer {
    Head(ResponseFuture),
    Body {
        stream: RecvStream,
        /// How much is to come, if that was said.
        left: Option<u64>,
        /// What was handed on and not given back as room for more.
        owed: usize,
        /// The last data by its length, until its end is here.
        last: Bytes,
        /// What came behind it.
        trailers: Option<HeaderMap>,
    },
    /// Bytes both ways from here on.
    Tunnel(RecvStream),
    Over,
}

/// What a failure says about the request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It was not looked at.
    NotTaken,
    /// The connection is dead.
    Dead,
    Other,
}

impl Exchange {
    /// Sends the head of `request` on a stream of its own.
    pub(crate) fn begin(
        request: &Outgoing<'_>,
        mut source: Source,
        place: Place,
        watched: Arc<Watched>,
        patience: Patience,
    ) -> Result<Box<Self>, Box<Unsent>> {
        source.let_go(); // HTTP/2 has no 100 that is worth a wait
        let asks = match *request.method {
            _ if head::asks_for_websocket(request) => Asks::WebSocket,
            Method::HEAD => Asks::Head,
            _ => Asks::Answer,
        };
        let link = &place.link;
        let head = match head::of(request, &link.scheme, source.length()) {
            Ok(head) => head,
            Err(why) => return Err(Box::new(Unsent { why, body: None })),
        };
        let mut sender = link.sender();
        if asks == Asks::WebSocket && !sender.is_extended_connect_protocol_enabled() {
            let why = "its HTTP/2 takes no WebSocket (RFC 8441 is not enabled there)";
            let why = UpstreamFailure::Unsendable(why);
            return Err(Box::new(Unsent { why, body: None }));
        }
        let uploaded = source.ended() && asks != Asks::WebSocket;
        let written_before = link.written();
        match sender.send_request(head, uploaded) {
            Ok((answer, upload)) => Ok(Box::new(Self {
                upload,
                answer: Answer::Head(answer),
                source,
                piece: Bytes::new(),
                uploaded,
                asks,
                trailers: request.stream.is_some(),
                interim: 0,
                written_before,
                failure: None,
                watched,
                patience,
                pause: patience.for_body(),
                place,
            })),
            Err(error) => {
                link.retire();
                let (why, body) = (explain(&error, true), Some(source));
                Err(Box::new(Unsent { why, body }))
            }
        }
    }

    /// Bytes of the request's body that were taken from the client.
    pub(crate) const fn request_bytes(&self) -> u64 {
        self.source.taken()
    }

    /// How long the answer's body will be, where its head says so, bytes.
    pub(crate) const fn length(&self) -> Option<u64> {
        match &self.answer {
            Answer::Body { left, .. } => *left,
            Answer::Over => Some(0),
            Answer::Head(_) | Answer::Tunnel(_) => None,
        }
    }

    /// Whether the answer's body has been read to its end.
    pub(crate) const fn ended(&self) -> bool {
        matches!(self.answer, Answer::Over)
    }

    /// Whether both directions are at their end.
    pub(crate) const fn finished(&self) -> bool {
        self.ended() && self.uploaded
    }

    /// From now on the longer patience of streams holds.
    pub(crate) fn expect_pauses(&mut self) {
        self.pause = self.patience.for_stream();
    }

    /// The body, if the request that has just failed may be sent once more on another connection: nothing of it was
    /// sent, or the upstream says that it was not looked at; or it may be repeated (`idempotent`) and the connection
    /// turned out to be dead.
    pub(crate) fn into_source(self, idempotent: bool) -> Option<(Source, Place)> {
        let whole = self.source.is_untouched();
        let unsent = self.place.link.written() == self.written_before;
        let again = match self.failure? {
            Kind::NotTaken => true,
            Kind::Dead => {
                let repeatable = idempotent && self.source.ended() && self.place.reused;
                unsent || (repeatable && self.interim == 0)
            }
            Kind::Other => false,
        };
        (again && whole).then_some((self.source, self.place))
    }

    /// The stream itself, after the upstream has agreed to a WebSocket.
    pub(crate) fn into_tunnel(self) -> Option<Tunnel> {
        match self.answer {
            Answer::Tunnel(receive) => Some(Tunnel::new(self.upload, receive, self.place)),
            Answer::Head(_) | Answer::Body { .. } | Answer::Over => None,
        }
    }

    /// Sends what the upstream has room for. `Ready` when that is all there is; an upstream that wants no more is no
    /// failure: its answer, or the absence of one, decides.
    fn poll_upload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyFault>> {
        while !self.uploaded && self.asks != Asks::WebSocket {
            if self.watched.passed(&self.watched.revoked) {
                return Poll::Ready(Err(BodyFault::Revoked)); // an upload is an open stream as well
            }
            if !self.piece.is_empty() {
                ready!(self.poll_send(context));
                continue;
            }
            let sent = match ready!(self.source.poll_piece(context)) {
                Some(Ok(Piece::Data(data))) => {
                    self.piece = data;
                    continue;
                }
                Some(Ok(Piece::Trailers(trailers))) if !trailers.is_empty() => {
                    self.upload.send_trailers(trailers)
                }
                Some(Ok(Piece::Trailers(_))) | None => self.upload.send_data(Bytes::new(), true),
                Some(Err(fault)) => return Poll::Ready(Err(fault)),
            };
            match sent {
                Ok(()) => self.uploaded = true,
                Err(_reset) => self.give_up_upload(),
            }
            self.watched.upstream.clear(); // from here on the answer's time runs
        }
        Poll::Ready(Ok(()))
    }

    /// Sends as much of the piece as there is room for.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.upload.reserve_capacity(self.piece.len());
        let room = loop {
            match self.upload.capacity() {
                0 => {}
                room => break room,
            }
            match self.upload.poll_capacity(context) {
                Poll::Ready(Some(Ok(_))) => {} // perhaps none after all
                Poll::Ready(Some(Err(_)) | None) => {
                    self.give_up_upload();
                    return Poll::Ready(());
                }
                Poll::Pending => {
                    let limit = self.pause.limit;
                    self.watched.arm_once(&self.watched.upstream, limit);
                    return Poll::Pending;
                }
            }
        };
        let fits = self.piece.split_to(room.min(self.piece.len()));
        match self.upload.send_data(fits, false) {
            Ok(()) => self.watched.upstream.clear(),
            Err(_reset) => self.give_up_upload(),
        }
        Poll::Ready(())
    }

    fn give_up_upload(&mut self) {
        self.source.give_up();
        self.piece = Bytes::new();
        self.uploaded = true;
    }

    /// Sends the request and waits for the head of the final answer.
    pub(crate) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<AnswerHead, SendError>> {
        if let Poll::Ready(Err(fault)) = self.poll_upload(context) {
            return Poll::Ready(Err(fault.into()));
        }
        match self.poll_response(context) {
            Poll::Ready(Ok(response)) => {
                self.watched.upstream.clear();
                Poll::Ready(self.take_head(response).map_err(SendError::from))
            }
            Poll::Ready(Err(failure)) => Poll::Ready(Err(failure.into())),
            Poll::Pending => self.wait_for_head(),
        }
    }

    /// Interim answers before the final one are dropped.
    fn poll_response(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Response<RecvStream>, UpstreamFailure>> {
        let Answer::Head(answer) = &mut self.answer else {
            return Poll::Ready(Err(UpstreamFailure::Malformed("two heads")));
        };
        loop {
            match answer.poll_informational(context) {
                Poll::Ready(Some(Ok(interim))) => {
                    self.watched.upstream.clear();
                    self.interim += 1;
                    self.failure = Some(Kind::Other);
                    if interim.status() == StatusCode::SWITCHING_PROTOCOLS {
                        let why = "a switch of protocols, which HTTP/2 does not have";
                        return Poll::Ready(Err(UpstreamFailure::Malformed(why)));
                    }
                    if self.interim > INTERIM_MAX {
                        let why = "too many interim answers";
                        return Poll::Ready(Err(UpstreamFailure::Malformed(why)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(self.failed(&error)));
                }
                Poll::Ready(None) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        let response = ready!(std::pin::Pin::new(answer).poll(context));
        Poll::Ready(response.map_err(|error| self.failed(&error)))
    }

    fn wait_for_head(&mut self) -> Poll<Result<AnswerHead, SendError>> {
        let sent = self.uploaded || self.asks == Asks::WebSocket;
        let response = self.patience.for_response();
        if self.watched.passed(&self.watched.upstream) {
            self.failure = Some(Kind::Other);
            self.place.link.retire(); // perhaps it is only this answer; perhaps nobody is there any more
            let exceeded = if sent { response } else { self.pause };
            return Poll::Ready(Err(exceeded.exceeded().into()));
        }
        if sent {
            self.watched
                .arm_once(&self.watched.upstream, response.limit);
        }
        Poll::Pending
    }

    fn take_head(&mut self, response: Response<RecvStream>) -> Result<AnswerHead, UpstreamFailure> {
        let (parts, stream) = response.into_parts();
        let (mut status, mut headers) = (parts.status, parts.headers);
        if self.asks == Asks::WebSocket && status.is_success() {
            headers.remove(header::CONTENT_LENGTH);
            let websocket = HeaderValue::from_static("websocket");
            headers.insert(header::UPGRADE, websocket);
            status = StatusCode::SWITCHING_PROTOCOLS;
            self.answer = Answer::Tunnel(stream);
            return Ok(AnswerHead { status, headers });
        }
        let bodiless = self.asks == Asks::Head
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let left = content_length(&headers)?;
        // To a client of HTTP/1 an answer of no length is whole with its head.
        let empty = match left {
            Some(0) => stream.is_end_stream() || !self.trailers,
            Some(_) => false,
            None => stream.is_end_stream(),
        };
        self.answer = if bodiless || empty {
            Answer::Over
        } else {
            Answer::Body {
                stream,
                left,
                owed: 0,
                last: Bytes::new(),
                trailers: None,
            }
        };
        Ok(AnswerHead { status, headers })
    }

    /// The next part of the answer's body; `None` when it is whole. The request's body is sent on meanwhile.
    pub(crate) fn poll_part(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Part, SendError>>> {
        if let Poll::Ready(Err(fault)) = self.poll_upload(context) {
            return Poll::Ready(Some(Err(fault.into())));
        }
        let trailers_pass = self.trailers;
        let Answer::Body {
            stream,
            left,
            owed,
            last,
            trailers,
        } = &mut self.answer
        else {
            return Poll::Ready(None);
        };
        let polled = match trailers.take() {
            Some(trailers) => Poll::Ready(Some(Ok(Part::Trailers(trailers)))),
            None => poll_body(stream, left, owed, last, context),
        };
        let polled = match polled {
            // The last data, which has waited for its end.
            Poll::Ready(end @ (None | Some(Ok(Part::Trailers(_))))) if !last.is_empty() => {
                if let Some(Ok(Part::Trailers(came))) = end {
                    *trailers = Some(came).filter(|_| trailers_pass);
                }
                Poll::Ready(Some(Ok(Part::Data(std::mem::take(last)))))
            }
            polled => polled,
        };
        if polled.is_pending() {
            if self.watched.passed(&self.watched.upstream) {
                return Poll::Ready(Some(Err(self.pause.exceeded().into())));
            }
            let limit = self.pause.limit;
            self.watched.arm_once(&self.watched.upstream, limit);
            return Poll::Pending;
        }
        self.watched.upstream.clear();
        let at_end = stream.is_end_stream() && left.unwrap_or(0) == 0 && trailers.is_none();
        if at_end || matches!(polled, Poll::Ready(None | Some(Ok(Part::Trailers(_))))) {
            self.answer = Answer::Over;
        }
        polled.map(|part| part.map(|part| part.map_err(SendError::from)))
    }

    /// What an error of h2's means, kept for [`Exchange::into_source`].
    fn failed(&mut self, error: &h2::Error) -> UpstreamFailure {
        self.failure = Some(kind(error));
        explain(error, true)
    }
}

/// The next part of a body. Where its length is known, the last data goes to `last` unless its end came with it: a
/// client of HTTP/1 has a whole answer with that, and it must not be whole before the upstream says so.
fn poll_body(
    stream: &mut RecvStream,
    left: &mut Option<u64>,
    owed: &mut usize,
    last: &mut Bytes,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Part, UpstreamFailure>>> {
    let mut give_back = std::mem::take(owed);
    loop {
        if give_back > 0 {
            // Whoever is asked for more has sent on what there was. An error means that the stream has ended.
            let _ = stream.flow_control().release_capacity(give_back);
        }
        let data = match ready!(stream.poll_data(context)) {
            Some(Ok(data)) => data,
            Some(Err(error)) => return Poll::Ready(Some(Err(explain(&error, false)))),
            None => break,
        };
        give_back = data.len();
        if data.is_empty() {
            continue;
        }
        if let Some(left) = left {
            let Some(rest) = left.checked_sub(data.len() as u64) else {
                let why = "more than its Content-Length";
                return Poll::Ready(Some(Err(UpstreamFailure::Malformed(why))));
            };
            *left = rest;
            if rest == 0 && !stream.is_end_stream() {
                *last = data;
                continue;
            }
        }
        *owed = data.len();
        return Poll::Ready(Some(Ok(Part::Data(data))));
    }
    let trailers = match ready!(stream.poll_trailers(context)) {
        Ok(trailers) => trailers.filter(|trailers| !trailers.is_empty()),
        Err(error) => return Poll::Ready(Some(Err(explain(&error, false)))),
    };
    if left.is_some_and(|left| left > 0) {
        return Poll::Ready(Some(Err(UpstreamFailure::Truncated)));
    }
    Poll::Ready(trailers.map(|trailers| Ok(Part::Trailers(trailers))))
}

/// h2 has seen to it that there is one number only, however often it is there.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, UpstreamFailure> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else {
        return Ok(None);
    };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    let length = length.ok_or(UpstreamFailure::Malformed("Content-Length is not a number"))?;
    Ok(Some(length))
}

/// h2 gives an error of GOAWAY by the remote side only to streams above the last one that the remote side names, and
/// to those that begin after it; streams below go on, and end with an I/O error if the connection does.
fn kind(error: &h2::Error) -> Kind {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (refused || error.is_go_away()) {
        Kind::NotTaken
    } else if error.is_io() {
        Kind::Dead
    } else {
        Kind::Other
    }
}

/// In our words, with the code.
fn explain(error: &h2::Error, unanswered: bool) -> UpstreamFailure {
    if let Some(broken) = error.get_io() {
        // h2's word for an end without a word.
        if broken.kind() == io::ErrorKind::BrokenPipe {
            return if unanswered {
                UpstreamFailure::Closed
            } else {
                UpstreamFailure::Truncated
            };
        }
        let broken = io::Error::new(broken.kind(), broken.to_string());
        return UpstreamFailure::Read(Arc::new(broken));
    }
    let what = match (error.is_remote(), error.is_go_away()) {
        (true, false) => "the upstream reset the stream",
        (true, true) => "the upstream is going away",
        (false, false) => "a malformed answer on the stream",
        (false, true) => "the upstream broke the rules of HTTP/2",
    };
    let code = error.reason().unwrap_or(Reason::INTERNAL_ERROR);
    UpstreamFailure::Http2 { what, code }
}
