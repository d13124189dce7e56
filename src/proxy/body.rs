//! The body of an answer on its way to the client. It owns the transaction: when the body ends, or is dropped
//! because nobody wants it any more, the record says so. That is why every request has exactly one. Where the
//! configuration promises a record to whoever has a whole answer, the end of the answer is held back until it is safe;
//! an answer without anything to hold back is recorded before its head ([`Body::record_ahead`]).

use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use http::HeaderMap;
use http::Version;
use http_body::Frame;
use http_body::SizeHint;

use crate::proxy::headers;
use crate::proxy::lane::Lane;
use crate::proxy::upstream::AnswerBody;
use crate::proxy::upstream::failure::BodyFault;
use crate::proxy::upstream::failure::SendError;
use crate::proxy::upstream::message::Part;
use crate::transactions::Receipt;
use crate::transactions::Transaction;
use crate::transactions::record::End;

/// What hyper sends behind an answer's head.
pub(crate) struct Body {
    content: Content,
    /// Present until it is recorded.
    transaction: Option<Transaction>,
    /// The end of the answer, and what it waits for.
    held: Option<Held>,
    /// The lane has not been told yet that the request is over.
    is_open: bool,
    lane: Rc<Lane>,
    /// Why the answer will end early, once what there is of it is flushed.
    failed: Option<SendError>,
    /// How the transaction ended if the client gets all of this.
    end: End,
}

/// The last frame, or the fact that there is none, held back until the record is safe.
struct Held {
    receipt: Receipt,
    frame: Option<Frame<Bytes>>,
}

enum Content {
    /// keygate's own words.
    Own(Bytes),
    /// The upstream's.
    Upstream(AnswerBody),
}

/// The answer cannot be finished. hyper only needs to know that; the record knows why.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be finished")]
pub(crate) struct Cut;

impl Body {
    /// keygate's own answer, to a transaction that comes to this `end` with it.
    pub(crate) const fn own(
        bytes: Bytes,
        end: End,
        transaction: Transaction,
        lane: Rc<Lane>,
    ) -> Self {
        Self {
            content: Content::Own(bytes),
            transaction: Some(transaction),
            held: None,
            is_open: true,
            lane,
            end,
            failed: None,
        }
    }

    /// The upstream's answer, to a client of this version.
    pub(crate) fn upstream(
        body: AnswerBody,
        transaction: Transaction,
        lane: Rc<Lane>,
        client: Version,
    ) -> Self {
        if client == Version::HTTP_10 && body.length().is_none() {
            // The end of the connection is the end of this body: until that end is orderly, it is a reset.
            lane.watched.want_reset(true);
        }
        Self {
            content: Content::Upstream(body),
            transaction: Some(transaction),
            held: None,
            is_open: true,
            lane,
            end: End::Complete,
            failed: None,
        }
    }

    /// No body, and a transaction that somebody else ends.
    pub(crate) const fn none(lane: Rc<Lane>) -> Self {
        Self {
            content: Content::Own(Bytes::new()),
            transaction: None,
            held: None,
            is_open: false,
            lane,
            end: End::Complete,
            failed: None,
        }
    }

    /// Records the transaction of an answer whose end cannot be held back: one of keygate's own, which is sent with its
    /// head, or one without a body. The head may not leave before the receipt is honoured.
    pub(crate) fn record_ahead(&mut self) -> Option<Receipt> {
        let own = match &self.content {
            Content::Own(bytes) => bytes.len(),
            Content::Upstream(body) if body.ended() => 0,
            Content::Upstream(_) => return None,
        };
        if !self.transaction.as_ref()?.is_waited_for() {
            return None;
        }
        self.count(own);
        self.record(self.end)
    }

    fn ended(&self) -> bool {
        match &self.content {
            Content::Own(bytes) => bytes.is_empty(),
            Content::Upstream(body) => self.failed.is_none() && body.ended(),
        }
    }

    fn count(&mut self, sent: usize) {
        if let Some(transaction) = &mut self.transaction {
            transaction.response_bytes += sent as u64;
        }
    }

    fn note_trailers(&mut self, trailers: &HeaderMap) {
        if let Some(transaction) = &mut self.transaction
            && let Some(status) = trailers.get("grpc-status")
        {
            transaction.grpc_status = status.to_str().ok().and_then(|text| text.parse().ok());
        }
    }

    /// The transaction, ready to be recorded.
    fn take_over(&mut self, end: End) -> Option<Transaction> {
        let mut transaction = self.transaction.take()?;
        if let Content::Upstream(body) = &self.content {
            transaction.request_bytes = body.request_bytes();
        }
        transaction.end = end;
        Some(transaction)
    }

    /// Records the transaction. What the end of the answer waits for, if anything.
    fn record(&mut self, end: End) -> Option<Receipt> {
        self.take_over(end)?.record()
    }

    /// The request is over, for the lane too.
    fn over(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.lane.answered();
        }
    }

    /// Records the transaction of an answer whose end nobody waits for.
    fn close(&mut self, end: End) {
        drop(self.take_over(end));
        self.over();
    }

    /// The answer breaks off. The client must be able to see that: by a missing last chunk or missing bytes, or
    /// where the end of the connection is the end of the body, by a reset.
    fn cut(&mut self, end: End, why: Option<&SendError>) -> Cut {
        if let Some(transaction) = &mut self.transaction {
            transaction.error = why.map(|why| why.to_string().into());
            if let Some(SendError::Upstream(failure)) = why {
                transaction.reason.get_or_insert_with(|| failure.reason());
            }
        }
        self.close(end);
        Cut
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, Cut>>>;

impl Body {
    /// The end of the answer, once its record is as safe as was promised.
    fn finish(&mut self, frame: Option<Frame<Bytes>>, context: &mut Context<'_>) -> Polled {
        if let Some(mut receipt) = self.record(self.end)
            && Pin::new(&mut receipt).poll(context).is_pending()
        {
            self.held = Some(Held { receipt, frame });
            return Poll::Pending;
        }
        self.over();
        Poll::Ready(frame.map(Ok))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        self.lane.asked();
        let polled = self.poll_next(context);
        self.lane
            .offered
            .set(matches!(polled, Poll::Ready(Some(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.ended()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Upstream(body) => body
                .length()
                .map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

impl Body {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Polled {
        let this = self;
        if let Some(held) = &mut this.held {
            ready!(Pin::new(&mut held.receipt).poll(context));
            let frame = this.held.take().and_then(|held| held.frame);
            this.over();
            return Poll::Ready(frame.map(Ok));
        }
        let body = match &mut this.content {
            Content::Own(bytes) => {
                let bytes = std::mem::take(bytes);
                this.count(bytes.len());
                this.close(this.end);
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            }
            Content::Upstream(body) => body,
        };
        if this.lane.watched.passed(&this.lane.watched.revoked) {
            return Poll::Ready(Some(Err(this.cut(End::Revoked, None))));
        }
        if let Some(why) = this.failed.take() {
            return Poll::Ready(Some(Err(this.cut(end_of(&why), Some(&why)))));
        }
        let part = ready!(body.poll_part(context));
        let ended = body.ended();
        let frame = match part {
            None => None,
            Some(Ok(Part::Data(data))) => {
                this.lane.listens();
                this.count(data.len());
                Some(Frame::data(data))
            }
            Some(Ok(Part::Trailers(mut trailers))) => {
                headers::trailers_to_client(&mut trailers);
                this.note_trailers(&trailers);
                Some(Frame::trailers(trailers))
            }
            Some(Err(why)) => {
                // hyper drops what it has not flushed when a body fails. Let it flush first: what has come of a
                // broken answer is the client's.
                this.failed = Some(why);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
        if ended {
            return this.finish(frame, context);
        }
        Poll::Ready(frame.map(Ok))
    }
}

/// How a transaction ends that failed like this.
pub(crate) fn end_of(why: &SendError) -> End {
    match why {
        SendError::Upstream(failure) if failure.timeout().is_some() => End::Timeout,
        SendError::Upstream(_) => End::UpstreamCut,
        SendError::Client(BodyFault::TooSlow) => End::Timeout,
        SendError::Client(BodyFault::Revoked) => End::Revoked,
        SendError::Client(BodyFault::Malformed | BodyFault::TooLarge | BodyFault::Gone) => {
            End::ClientGone
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.transaction.is_none() {
            return self.over();
        }
        let watched = &self.lane.watched;
        let end = if let Some(why) = &self.failed {
            end_of(why)
        } else if self.ended() {
            self.end // hyper does not ask a body that says it is over
        } else if watched.passed(&watched.write) {
            End::Timeout
        } else if watched.passed(&watched.revoked) {
            End::Revoked
        } else {
            End::ClientGone
        };
        self.close(end);
    }
}
