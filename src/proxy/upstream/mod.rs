//! The upstream half: [`Upstream::send`] a request, get an answer. Which connection, when to try again, and when
//! a connection is fit for the next request are decided here; bytes are `http1`'s.
//!
//! One retry, on another connection, and only where it cannot run a request twice that must run once: nothing of
//! it was sent, or a GET, HEAD or OPTIONS without a body met a reused connection that was dead (RFC 9110 §9.2.2
//! would allow more).

mod choice;
pub(crate) mod connect;
pub(crate) mod failure;
pub(crate) mod http1;
pub(crate) mod message;
pub(crate) mod pool;
pub(crate) mod resolve;
mod source;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use http::Method;
use hyper::body::Incoming;

use crate::net::watchdog::CoarseClock;
use crate::net::watchdog::Watched;
use crate::proxy::upstream::connect::Connection;
use crate::proxy::upstream::connect::Connector;
use crate::proxy::upstream::failure::SendError;
use crate::proxy::upstream::http1::Exchange;
use crate::proxy::upstream::http1::Upload;
use crate::proxy::upstream::message::AnswerHead;
use crate::proxy::upstream::message::Outgoing;
use crate::proxy::upstream::message::Part;
use crate::proxy::upstream::message::Patience;
use crate::proxy::upstream::pool::Pool;
use crate::proxy::upstream::source::Source;

/// One worker's way to the upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    connector: Connector,
    pool: Pool,
    patience: Patience,
    clock: Arc<CoarseClock>,
}

/// The head of an answer and the way to its body.
pub(crate) struct Answer {
    /// Status and fields.
    pub(crate) head: AnswerHead,
    /// The body.
    pub(crate) body: AnswerBody,
}

/// What became of a request, for the record; filled in also where no answer comes.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The upstream's address that was used.
    pub(crate) to: Option<Arc<str>>,
    /// Bytes of the request's body that were taken from the client.
    pub(crate) body_bytes: u64,
}

/// An answer's body on its way. When it is whole its connection goes back to the pool; when it is dropped
/// earlier, the connection is closed.
pub(crate) struct AnswerBody {
    /// Boxed: it is as large as a record, and the answer is handed on a few times.
    exchange: Option<Box<Exchange>>,
    request_bytes: u64,
    upstream: Rc<Upstream>,
}

impl Upstream {
    /// By `connector`, with connections kept in `pool`.
    pub(crate) const fn new(
        connector: Connector,
        pool: Pool,
        patience: Patience,
        clock: Arc<CoarseClock>,
    ) -> Self {
        Self {
            connector,
            pool,
            patience,
            clock,
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        self: &Rc<Self>,
        request: &Outgoing<'_>,
        body: Incoming,
        watched: &Arc<Watched>,
        sent: &mut Sent,
    ) -> Result<Answer, SendError> {
        let mut upload = Upload::new(request, Source::new(request, body));
        let idempotent = matches!(
            *request.method,
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        let mut kept =
            poll_fn(|context| Poll::Ready(self.pool.take(context, self.clock.coarse()))).await;
        loop {
            let reused = kept.is_some();
            let connection = match kept.take() {
                Some(connection) => connection,
                None => self.connector.connect(watched).await?,
            };
            sent.to = Some(Arc::clone(&connection.address));
            let mut exchange = Box::new(Exchange::new(
                connection,
                upload,
                Arc::clone(watched),
                self.patience,
            ));
            let head = poll_fn(|context| exchange.poll_head(context)).await;
            watched.upstream.clear();
            sent.body_bytes = exchange.request_bytes();
            match head {
                Ok(head) => {
                    let request_bytes = sent.body_bytes;
                    let mut body = AnswerBody {
                        exchange: Some(exchange),
                        request_bytes,
                        upstream: Rc::clone(self),
                    };
                    body.settle();
                    return Ok(Answer { head, body });
                }
                Err(SendError::Upstream(failure))
                    if reused && failure.is_dead_connection() && exchange.unanswered() =>
                {
                    upload = exchange.into_parts().1;
                    if !upload.restart(idempotent) {
                        return Err(failure.into());
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Closes connections that nobody should use any more.
    pub(crate) fn tidy(&self) {
        self.pool.expire(self.clock.read());
        if let Some(addresses) = self.connector.addresses() {
            self.pool.retain(|kept| {
                kept.socket_address
                    .is_none_or(|address| addresses.contains(address))
            });
        }
    }

    /// Whether there is nothing to tidy.
    pub(crate) fn is_tidy(&self) -> bool {
        self.pool.is_empty()
    }
}

impl AnswerBody {
    /// Whether it has been read to its end.
    pub(crate) fn ended(&self) -> bool {
        self.exchange
            .as_ref()
            .is_none_or(|exchange| exchange.ended())
    }

    /// From now on long pauses are expected: an event stream.
    pub(crate) fn expect_pauses(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.expect_pauses();
        }
    }

    /// How long it will be, where the answer says so, bytes.
    pub(crate) fn length(&self) -> Option<u64> {
        self.exchange
            .as_ref()
            .map_or(Some(0), |exchange| exchange.length())
    }

    /// The next part; `None` when it is whole.
    pub(crate) fn poll_part(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Part, SendError>>> {
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(None);
        };
        let part = ready!(exchange.poll_part(context));
        self.request_bytes = exchange.request_bytes();
        match &part {
            Some(Err(_)) => self.exchange = None,
            None | Some(Ok(_)) => self.settle(),
        }
        Poll::Ready(part)
    }

    /// Bytes of the request's body that were taken from the client so far.
    pub(crate) fn request_bytes(&self) -> u64 {
        self.exchange
            .as_ref()
            .map_or(self.request_bytes, |exchange| exchange.request_bytes())
    }

    /// The connection itself, after the upstream has agreed to another protocol.
    pub(crate) fn into_connection(mut self) -> Option<Connection> {
        Some(self.exchange.take()?.into_parts().0)
    }

    /// Gives the connection back as soon as the answer is whole, so that the next request finds it.
    fn settle(&mut self) {
        if self
            .exchange
            .as_ref()
            .is_some_and(|exchange| exchange.reusable())
            && let Some(exchange) = self.exchange.take()
        {
            self.upstream
                .pool
                .put(exchange.into_parts().0, self.upstream.clock.coarse());
        }
    }
}
