//! The request's body on its way from the client: counted, limited, held back where the client waits for a 100, and
//! never read further than somebody asks. One for both versions of HTTP that are spoken to the upstream. Not for: how
//! it is framed there.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body as _;
use hyper::body::Incoming;

use crate::auth::Policy;
use crate::proxy::headers;
use crate::proxy::lane::Lane;
use crate::proxy::upstream::failure::BodyFault;
use crate::proxy::upstream::message::Outgoing;

/// What is left of a request's body.
pub(crate) struct Source {
    body: Option<Incoming>,
    /// How long it is, if that was said.
    length: Option<u64>,
    taken: u64,
    most: u64,
    held: bool,
    /// Whether any of it was read, so that it is not whole any more.
    begun: bool,
    /// For its trailers; a body that says how long it is has none.
    policy: Option<Arc<Policy>>,
    /// The stream of HTTP/2 that it comes over: nobody else keeps its time. On HTTP/1 the reader does.
    stream: Option<Rc<Lane>>,
}

/// A piece of a request's body.
pub(super) enum Piece {
    /// Data, perhaps none.
    Data(Bytes),
    /// The fields behind it, without those that may not reach the upstream: the last piece.
    Trailers(HeaderMap),
}

impl Source {
    /// The body of `request`.
    pub(crate) fn new(request: &Outgoing<'_>, body: Incoming) -> Self {
        let length = body.size_hint().exact();
        let body = (!body.is_end_stream()).then_some(body);
        Self {
            length,
            taken: 0,
            most: request.body_max,
            held: request.hold && body.is_some(),
            begun: false,
            policy: length.is_none().then(|| Arc::clone(request.policy)),
            stream: request.stream.filter(|_| body.is_some()).cloned(),
            body,
        }
    }

    /// How long the whole of it is, if that was said.
    pub(super) const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Bytes that were taken from the client.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether there is nothing left to take.
    pub(super) const fn ended(&self) -> bool {
        self.body.is_none()
    }

    /// Whether nothing of it was read, so that it can go to another connection.
    pub(super) const fn is_untouched(&self) -> bool {
        !self.begun
    }

    /// Whether the client waits to be asked for it.
    pub(super) const fn is_held(&self) -> bool {
        self.held
    }

    /// The client is to send it.
    pub(super) const fn let_go(&mut self) {
        self.held = false;
    }

    /// Nobody wants the rest. Without it the request must not be sent again.
    pub(super) fn give_up(&mut self) {
        self.begun |= self.body.is_some();
        self.leave();
    }

    /// Nobody reads on, and nobody keeps the client's time any more.
    fn leave(&mut self) {
        if let (Some(body), Some(stream)) = (self.body.take(), &self.stream) {
            stream.leave_unread(body);
        }
    }

    /// The next piece; `None` at the end, and for ever after.
    pub(super) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, BodyFault>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        if self.held {
            return Poll::Pending;
        }
        loop {
            let polled = Pin::new(&mut *body).poll_frame(context);
            if let Some(stream) = &self.stream
                && stream.owes(polled.is_pending())
            {
                return Poll::Ready(Some(Err(BodyFault::TooSlow)));
            }
            let frame = ready!(polled);
            self.begun = true;
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Poll::Ready(Some(self.take(data))),
                    Err(frame) => {
                        if let Ok(mut trailers) = frame.into_trailers() {
                            match &self.policy {
                                Some(policy) => {
                                    headers::trailers_to_upstream(&mut trailers, policy)
                                }
                                None => trailers.clear(),
                            }
                            self.body = None;
                            return Poll::Ready(Some(Ok(Piece::Trailers(trailers))));
                        }
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(BodyFault::of(&error)))),
                // hyper takes a reset with NO_ERROR for an end.
                None if self.stream.is_some() && !body.is_end_stream() => {
                    return Poll::Ready(Some(Err(BodyFault::Gone)));
                }
                None => {
                    self.body = None;
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn take(&mut self, data: Bytes) -> Result<Piece, BodyFault> {
        self.taken += data.len() as u64;
        if self.taken > self.most {
            return Err(BodyFault::TooLarge);
        }
        Ok(Piece::Data(data))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.leave();
    }
}
