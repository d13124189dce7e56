//! The upstream half: [`Upstream::send`] a request, get an answer. Which connection, when to try again, and when
//! a connection is fit for the next request are decided here; bytes are `http1`'s, frames are `http2`'s.
//!
//! One retry, on another connection, and only where it cannot run a request twice that must run once: nothing of
//! it was sent; or HTTP/2 says that it was not looked at, and its body is whole; or a GET, HEAD or OPTIONS without a
//! body met a reused connection that was dead (RFC 9110 §9.2.2 would allow more).

mod choice;
pub(crate) mod connect;
pub(crate) mod failure;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod message;
pub(crate) mod pool;
pub(crate) mod resolve;
mod source;
pub(crate) mod tls;

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use http::Method;
use http::header;
use hyper::body::Incoming;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::net::io::Stream;
use crate::net::watchdog::CoarseClock;
use crate::net::watchdog::Watched;
use crate::proxy::upstream::connect::Connection;
use crate::proxy::upstream::connect::Connector;
use crate::proxy::upstream::connect::Opened;
use crate::proxy::upstream::connect::Speech;
use crate::proxy::upstream::connect::Waits;
use crate::proxy::upstream::failure::SendError;
use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::http1::Upload;
use crate::proxy::upstream::http2::link::Link;
use crate::proxy::upstream::http2::link::Place;
use crate::proxy::upstream::http2::links::Dial;
use crate::proxy::upstream::http2::links::Links;
use crate::proxy::upstream::http2::tunnel::Tunnel;
use crate::proxy::upstream::message::AnswerHead;
use crate::proxy::upstream::message::Outgoing;
use crate::proxy::upstream::message::Part;
use crate::proxy::upstream::message::Patience;
use crate::proxy::upstream::pool::Pool;
use crate::proxy::upstream::source::Source;
use crate::proxy::upstream::tls::Offer;

/// One worker's way to the upstream.
pub(crate) struct Upstream {
    connector: Connector,
    pool: Pool,
    links: Links,
    /// What the upstream has chosen when it was asked last; none: it was not yet.
    chosen: Cell<Option<Chosen>>,
    patience: Patience,
    clock: Arc<CoarseClock>,
}

/// What is spoken on a connection where the upstream may choose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chosen {
    Http1,
    Http2,
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

/// An answer's body on its way. When it is whole its connection goes back to the pool, or its stream to its
/// connection; when it is dropped earlier, the connection is closed, or the stream reset.
pub(crate) struct AnswerBody {
    exchange: Option<Exchange>,
    request_bytes: u64,
    upstream: Rc<Upstream>,
}

/// A request and its answer on a connection. Boxed: they are as large as a record, and the answer is handed on a few
/// times.
enum Exchange {
    Http1(Box<http1::Exchange>),
    Http2(Box<http2::Exchange>),
}

/// A request, before it is said in one way or the other.
enum Load {
    Whole(Source),
    /// Said in HTTP/1, and whole all the same.
    Http1(Upload),
}

/// Where a request goes.
enum Way {
    Http1 {
        connection: Connection,
        reused: bool,
    },
    Http2(Place),
}

/// The upstream's side of a WebSocket.
pub(crate) struct Joined {
    /// Bytes both ways.
    pub(crate) stream: JoinedStream,
    /// What has come already.
    pub(crate) input: Bytes,
}

/// What a WebSocket to the upstream goes over.
pub(crate) enum JoinedStream {
    /// A connection of its own.
    Connection(Stream),
    /// A stream of HTTP/2.
    Http2(Box<Tunnel>),
}

/// Why a try brought no answer, and what there is for another one.
struct Failed {
    why: SendError,
    again: Option<(Load, Option<Rc<Link>>)>,
}

impl From<SendError> for Failed {
    fn from(why: SendError) -> Self {
        Self { why, again: None }
    }
}

impl Upstream {
    /// By `connector`, with connections kept in `pool`.
    pub(crate) fn new(
        connector: Connector,
        pool: Pool,
        patience: Patience,
        clock: Arc<CoarseClock>,
    ) -> Self {
        Self {
            connector,
            pool,
            links: Links::default(),
            chosen: Cell::new(None),
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
        let load = Load::Whole(Source::new(request, body));
        let offer = match self.connector.speech() {
            // A WebSocket takes a connection of its own, where there is a choice.
            Speech::Tls(_) if request.headers.contains_key(header::UPGRADE) => Offer::Http1,
            Speech::Http1 | Speech::Http2 | Speech::Tls(_) => Offer::Any,
        };
        let kept =
            poll_fn(|context| Poll::Ready(self.pool.take(context, self.clock.coarse()))).await;
        let way = match kept {
            Some(connection) => Way::Http1 {
                connection,
                reused: true,
            },
            // Boxed: making a connection is large and rare, and this future waits on every connection of a client.
            None => Box::pin(self.new_way(offer, None, watched)).await?,
        };
        let failed = match self.attempt(request, load, way, watched, sent).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let Some((load, not)) = failed.again else {
            return Err(failed.why);
        };
        // What is said in HTTP/1 already is not said anew.
        let offer = match &load {
            Load::Whole(_) => offer,
            Load::Http1(_) => Offer::Http1,
        };
        let way = Box::pin(self.new_way(offer, not.as_ref(), watched)).await?;
        let answer = Box::pin(self.attempt(request, load, way, watched, sent)).await;
        answer.map_err(|failed| failed.why)
    }

    /// One try.
    async fn attempt(
        self: &Rc<Self>,
        request: &Outgoing<'_>,
        load: Load,
        way: Way,
        watched: &Arc<Watched>,
        sent: &mut Sent,
    ) -> Result<Answer, Failed> {
        let idempotent = matches!(
            *request.method,
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        let patience = Patience {
            pauses: request.pauses,
            ..self.patience
        };
        match (way, load) {
            (Way::Http1 { connection, reused }, load) => {
                let upload = match load {
                    Load::Whole(source) => Upload::new(request, source),
                    Load::Http1(upload) => upload,
                };
                sent.to = Some(Arc::clone(&connection.address));
                let watch = Arc::clone(watched);
                let exchange = http1::Exchange::new(connection, upload, watch, patience);
                let mut exchange = Box::new(exchange);
                let head = poll_fn(|context| exchange.poll_head(context)).await;
                watched.upstream.clear();
                sent.body_bytes = exchange.request_bytes();
                match head {
                    Ok(head) => Ok(self.answer(head, Exchange::Http1(exchange), sent)),
                    Err(SendError::Upstream(failure))
                        if reused && failure.is_dead_connection() && exchange.unanswered() =>
                    {
                        let mut upload = exchange.into_parts().1;
                        let again = upload.restart(idempotent);
                        let again = again.then_some((Load::Http1(upload), None));
                        let why = failure.into();
                        Err(Failed { why, again })
                    }
                    Err(failure) => Err(failure.into()),
                }
            }
            (Way::Http2(place), Load::Whole(source)) => {
                sent.to = Some(Arc::clone(&place.link.address));
                let watch = Arc::clone(watched);
                let begun = http2::Exchange::begin(request, source, place, watch, patience);
                let mut exchange = match begun {
                    Ok(exchange) => exchange,
                    Err(unsent) => {
                        let again = unsent.body.map(|body| (Load::Whole(body), None));
                        let why = unsent.why.into();
                        return Err(Failed { why, again });
                    }
                };
                let head = poll_fn(|context| exchange.poll_head(context)).await;
                watched.upstream.clear();
                sent.body_bytes = exchange.request_bytes();
                match head {
                    Ok(head) => Ok(self.answer(head, Exchange::Http2(exchange), sent)),
                    Err(why @ SendError::Client(_)) => Err(why.into()),
                    Err(why) => {
                        let again = exchange.into_source(idempotent);
                        let again = again.map(|(source, place)| {
                            let link = Rc::clone(&place.link);
                            (Load::Whole(source), Some(link))
                        });
                        Err(Failed { why, again })
                    }
                }
            }
            // Only HTTP/1 was offered to a request that is said in it.
            (Way::Http2(_), Load::Http1(_)) => {
                let why = UpstreamFailure::Unsendable("the upstream chose what was not offered");
                Err(SendError::from(why).into())
            }
        }
    }

    fn answer(self: &Rc<Self>, head: AnswerHead, exchange: Exchange, sent: &Sent) -> Answer {
        let mut body = AnswerBody {
            exchange: Some(exchange),
            request_bytes: sent.body_bytes,
            upstream: Rc::clone(self),
        };
        body.settle();
        Answer { head, body }
    }

    /// A connection of its own, or a place on one that requests share, but not on this one.
    async fn new_way(
        self: &Rc<Self>,
        offer: Offer,
        not: Option<&Rc<Link>>,
        watched: &Arc<Watched>,
    ) -> Result<Way, UpstreamFailure> {
        let alone = match self.connector.speech() {
            Speech::Http1 => true,
            Speech::Http2 => false,
            Speech::Tls(_) => offer == Offer::Http1 || self.chosen.get() == Some(Chosen::Http1),
        };
        if !alone && let Some(place) = self.place(not) {
            return Ok(Way::Http2(place));
        }
        if alone {
            let opened = self
                .connector
                .connect(offer, Waits::Request(watched))
                .await?;
            let link = match opened {
                Opened::Http1(connection) => {
                    let reused = false;
                    return Ok(Way::Http1 { connection, reused });
                }
                Opened::Http2(link) => link,
            };
            // It has changed its mind, and the next request knows.
            self.arrived(Opened::Http2(Rc::clone(&link)));
            let place = link.place();
            return place.map(Way::Http2).ok_or(NO_STREAMS);
        }
        let waits = Waits::Request(watched);
        let shared = Box::pin(self.shared(not)); // large, and not for every request
        self.connector
            .within(self.connector.timeout(), waits, shared)
            .await?
    }

    /// A place on a connection that is there. Where the upstream has more addresses than there are connections, one
    /// more is made for those to come.
    fn place(self: &Rc<Self>, not: Option<&Rc<Link>>) -> Option<Place> {
        let place = self.links.place(not)?;
        let addresses = self.connector.addresses();
        let addresses = addresses.map_or(1, |addresses| addresses.known().len());
        if self.links.len() < addresses {
            self.dial();
        }
        Some(place)
    }

    /// A place on a connection that is on its way, together with all others who need one now.
    async fn shared(self: &Rc<Self>, not: Option<&Rc<Link>>) -> Result<Way, UpstreamFailure> {
        loop {
            let dial = match self.links.expected() {
                Some(dial) => dial,
                None => self.dial(),
            };
            dial.arrival().await?;
            if let Some(place) = self.place(not) {
                return Ok(Way::Http2(place));
            }
            if self.links.takes_no_streams() {
                return Err(NO_STREAMS);
            }
            if self.chosen.get() == Some(Chosen::Http1) {
                let now = self.clock.coarse();
                let kept = poll_fn(|context| Poll::Ready(self.pool.take(context, now))).await;
                let connection = match kept {
                    Some(connection) => connection,
                    None => match self.connector.connect(Offer::Http1, Waits::Timer).await? {
                        Opened::Http1(connection) => connection,
                        Opened::Http2(_) => continue,
                    },
                };
                let reused = false;
                return Ok(Way::Http1 { connection, reused });
            }
        }
    }

    /// Begins one more connection that requests share. It belongs to none of them, so it does not end with one.
    fn dial(self: &Rc<Self>) -> Rc<Dial> {
        let dial = self.links.dial();
        let (upstream, dialled) = (Rc::clone(self), Rc::clone(&dial));
        tokio::task::spawn_local(async move {
            let opened = upstream.connector.connect(Offer::Any, Waits::Timer).await;
            let outcome = opened.map(|opened| upstream.arrived(opened));
            upstream.links.dialled(&dialled, outcome);
        });
        dial
    }

    fn arrived(&self, opened: Opened) {
        match opened {
            Opened::Http1(connection) => {
                self.chosen.set(Some(Chosen::Http1));
                self.pool.put(connection, self.clock.read());
            }
            Opened::Http2(link) => {
                self.chosen.set(Some(Chosen::Http2));
                self.links.add(link);
            }
        }
    }

    /// Closes connections that nobody should use any more.
    pub(crate) fn tidy(&self) {
        let now = self.clock.read();
        self.pool.expire(now);
        let addresses = self.connector.addresses();
        if let Some(addresses) = addresses {
            self.pool.retain(|kept| {
                kept.socket_address
                    .is_none_or(|address| addresses.contains(address))
            });
        }
        // Whoever is not trusted any more gets no new requests; what runs ends in peace.
        let generation = self.connector.generation();
        self.pool.retain(|kept| kept.generation == generation);
        self.links.expire(self.pool.idle_max(), now, |link| {
            let kept = link.socket_address.zip(addresses);
            link.generation == generation
                && kept.is_none_or(|(address, addresses)| addresses.contains(address))
        });
    }

    /// Whether there is nothing to tidy.
    pub(crate) fn is_tidy(&self) -> bool {
        self.pool.is_empty() && self.links.is_empty()
    }
}

/// A connection on which nothing can be asked.
const NO_STREAMS: UpstreamFailure =
    UpstreamFailure::Unsendable("it allows no stream at all (SETTINGS_MAX_CONCURRENT_STREAMS 0)");

impl Exchange {
    fn request_bytes(&self) -> u64 {
        match self {
            Self::Http1(exchange) => exchange.request_bytes(),
            Self::Http2(exchange) => exchange.request_bytes(),
        }
    }
}

impl AnswerBody {
    /// Whether it has been read to its end.
    pub(crate) fn ended(&self) -> bool {
        match &self.exchange {
            Some(Exchange::Http1(exchange)) => exchange.ended(),
            Some(Exchange::Http2(exchange)) => exchange.ended(),
            None => true,
        }
    }

    /// From now on long pauses are expected: an event stream.
    pub(crate) fn expect_pauses(&mut self) {
        match &mut self.exchange {
            Some(Exchange::Http1(exchange)) => exchange.expect_pauses(),
            Some(Exchange::Http2(exchange)) => exchange.expect_pauses(),
            None => {}
        }
    }

    /// How long it will be, where the answer says so, bytes.
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.exchange {
            Some(Exchange::Http1(exchange)) => exchange.length(),
            Some(Exchange::Http2(exchange)) => exchange.length(),
            None => Some(0),
        }
    }

    /// Whether the upstream has answered over HTTP/2.
    pub(crate) const fn is_http2(&self) -> bool {
        matches!(self.exchange, Some(Exchange::Http2(_)))
    }

    /// The next part; `None` when it is whole.
    pub(crate) fn poll_part(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Part, SendError>>> {
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(None);
        };
        let part = match exchange {
            Exchange::Http1(exchange) => ready!(exchange.poll_part(context)),
            Exchange::Http2(exchange) => ready!(exchange.poll_part(context)),
        };
        self.request_bytes = exchange.request_bytes();
        match &part {
            Some(Err(_)) => self.exchange = None,
            None | Some(Ok(_)) => self.settle(),
        }
        Poll::Ready(part)
    }

    /// Bytes of the request's body that were taken from the client so far.
    pub(crate) fn request_bytes(&self) -> u64 {
        let exchange = self.exchange.as_ref();
        exchange.map_or(self.request_bytes, Exchange::request_bytes)
    }

    /// The way to the upstream itself, after it has agreed to a WebSocket. One that was agreed to over HTTP/2 looks like
    /// one over HTTP/1, but that there is no Sec-WebSocket-Accept: RFC 8441 knows none, and who needs one adds it.
    pub(crate) fn into_connection(mut self) -> Option<Joined> {
        match self.exchange.take()? {
            Exchange::Http1(exchange) => {
                let Connection { stream, input, .. } = exchange.into_parts().0;
                Some(Joined {
                    stream: JoinedStream::Connection(stream),
                    input: input.freeze(),
                })
            }
            Exchange::Http2(exchange) => Some(Joined {
                stream: JoinedStream::Http2(Box::new(exchange.into_tunnel()?)),
                input: Bytes::new(),
            }),
        }
    }

    /// Gives the connection back as soon as the answer is whole, so that the next request finds it.
    fn settle(&mut self) {
        let over = match &self.exchange {
            Some(Exchange::Http1(exchange)) => exchange.reusable(),
            Some(Exchange::Http2(exchange)) => exchange.finished(),
            None => false,
        };
        if over && let Some(Exchange::Http1(exchange)) = self.exchange.take() {
            let (connection, upstream) = (exchange.into_parts().0, &self.upstream);
            // One that was made with other certificates could be in use at every look at the pool.
            if connection.generation == upstream.connector.generation() {
                upstream.pool.put(connection, upstream.clock.coarse());
            }
        }
    }
}

/// Calls the same method on whatever it is made of.
macro_rules! on {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            JoinedStream::Connection($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            JoinedStream::Http2($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl AsyncRead for JoinedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for JoinedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_shutdown(context))
    }
}
