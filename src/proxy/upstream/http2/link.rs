//! One HTTP/2 connection to the upstream, shared by the requests of one worker. A task of its own carries its frames;
//! each request has a [`Place`] on it, and takes none where the peer allows no more streams or the connection is
//! [retired](Link::retire): going away, broken, or too slow. Not for: a request itself (`exchange`), and which
//! connection it goes to (`links`).

use std::cell::Cell;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::rc::Weak;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use http::uri::Scheme;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::sync::oneshot;

use crate::net::io::Stream;
use crate::net::watchdog::CoarseClock;
use crate::proxy::upstream::connect::Connection;
use crate::proxy::upstream::message::HEAD_BYTES_MAX;

/// How many requests share a connection, whatever the peer allows.
const STREAMS_MAX: u32 = 128;

/// What the upstream may send of one answer before its client has taken it, bytes: the most that a client that does
/// not read makes us hold, and on one machine enough for gigabytes a second.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for all answers of a connection: room for each of them, so that answers whose clients do not read never
/// stand in the way of the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX;

/// What h2 holds of one request's body that the upstream does not take, bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// h2's word for how many streams the peer allows, before it has said so: more than it can ever say.
const UNTOLD: usize = usize::MAX - 1;

/// How long an orderly end may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection.
pub(crate) struct Link {
    /// Where it goes, for records.
    pub(crate) address: Arc<str>,
    /// Where it goes, if that is an address that a name may lose.
    pub(crate) socket_address: Option<SocketAddr>,
    /// Which certificates it was made with.
    pub(crate) generation: u64,
    /// What its requests call their scheme.
    pub(super) scheme: Scheme,
    sender: RefCell<SendRequest<Bytes>>,
    /// Bytes that were handed to the socket.
    written: Rc<Cell<u64>>,
    streams: Cell<usize>,
    streams_max: Cell<usize>,
    retired: Cell<bool>,
    /// Whether there was a request on it before.
    used: Cell<bool>,
    idle_since: Cell<Instant>,
    clock: Arc<CoarseClock>,
    /// Tells the task when this is gone.
    _alive: oneshot::Sender<()>,
}

/// A request's place on a connection.
pub(crate) struct Place {
    pub(crate) link: Rc<Link>,
    /// Whether other requests were there before.
    pub(crate) reused: bool,
}

impl Link {
    /// Begins HTTP/2 on `connection`. It is there when the peer has sent its settings.
    pub(crate) async fn open(
        connection: Connection,
        clock: &Arc<CoarseClock>,
    ) -> io::Result<Rc<Self>> {
        let Connection {
            stream,
            address,
            socket_address,
            generation,
            ..
        } = connection;
        let scheme = match &stream {
            Stream::Plain(_) => Scheme::HTTP,
            Stream::Tls(_) => Scheme::HTTPS,
        };
        let written = Rc::new(Cell::new(0));
        let io = Counted {
            stream,
            written: Rc::clone(&written),
        };
        let begun = builder().handshake(io).await;
        let (sender, connection) = begun.map_err(|error| broken(&error))?;
        let (alive, gone) = oneshot::channel();
        let link = Rc::new(Self {
            address,
            socket_address,
            generation,
            scheme,
            sender: RefCell::new(sender),
            written,
            streams: Cell::new(0),
            streams_max: Cell::new(0),
            retired: Cell::new(false),
            used: Cell::new(false),
            idle_since: Cell::new(clock.coarse()),
            clock: Arc::clone(clock),
            _alive: alive,
        });
        let (tell, told) = oneshot::channel();
        let task = Task {
            connection,
            link: Rc::downgrade(&link),
            tell: Some(tell),
        };
        tokio::task::spawn_local(task.run(gone));
        match told.await {
            Ok(Ok(())) => Ok(link),
            Ok(Err(error)) => Err(broken(&error)),
            Err(_ended) => Err(io::Error::other("closed before HTTP/2 had begun")),
        }
    }

    /// A place on it, if there is one.
    pub(crate) fn place(self: &Rc<Self>) -> Option<Place> {
        if self.is_retired() || self.streams.get() >= self.room() {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        Some(Place {
            link: Rc::clone(self),
            reused: self.used.replace(true),
        })
    }

    /// How many requests are on it.
    pub(crate) const fn streams(&self) -> usize {
        self.streams.get()
    }

    /// How many requests could be on it at most.
    pub(crate) fn room(&self) -> usize {
        self.streams_max.get().min(STREAMS_MAX as usize)
    }

    /// No request begins on it any more.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
    }

    /// Whether it takes no request any more.
    pub(crate) const fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// It begins to be without requests, now.
    pub(super) fn rest(&self) {
        self.idle_since.set(self.clock.read());
    }

    /// Whether it has been without any request for so long.
    pub(crate) fn is_idle_for(&self, span: Duration, now: Instant) -> bool {
        self.streams.get() == 0 && now.saturating_duration_since(self.idle_since.get()) >= span
    }

    /// Bytes that were handed to the socket so far.
    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }

    /// To begin a stream with.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.borrow().clone()
    }

    /// Learns what the connection has learnt.
    fn look(&self, streams_max: usize, context: &mut Context<'_>) {
        self.streams_max.set(streams_max);
        if let Poll::Ready(Err(_)) = self.sender.borrow_mut().poll_ready(context) {
            self.retire(); // going away, or out of stream numbers
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let link = &self.link;
        link.streams.set(link.streams.get() - 1);
        link.idle_since.set(link.clock.coarse());
    }
}

fn builder() -> h2::client::Builder {
    let head = u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX);
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(head)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(UNTOLD);
    builder
}

/// Carries the frames of a connection.
struct Task {
    connection: h2::client::Connection<Counted, Bytes>,
    link: Weak<Link>,
    /// Waits for the peer's settings.
    tell: Option<oneshot::Sender<Result<(), h2::Error>>>,
}

impl Task {
    /// Until the connection ends, or a moment after nobody has a use for it.
    async fn run(mut self, gone: oneshot::Receiver<()>) {
        let ended = tokio::select! {
            biased;
            ended = poll_fn(|context| self.poll(context)) => Some(ended),
            _ = gone => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                let last = tokio::time::timeout(GOODBYE, poll_fn(|context| self.poll(context)));
                last.await.unwrap_or(Ok(()))
            }
        };
        let link = self.link.upgrade();
        if let Some(link) = &link {
            link.retire();
        }
        let Err(error) = ended else { return };
        let upstream = link.map(|link| Arc::clone(&link.address));
        tracing::debug!(upstream.addr = upstream.as_deref(), %error, "an HTTP/2 connection to the upstream ended");
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(Err(error)); // who waited may be gone
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let polled = Pin::new(&mut self.connection).poll(context);
        let streams_max = self.connection.max_concurrent_send_streams();
        if streams_max == UNTOLD {
            return polled;
        }
        if let Some(link) = self.link.upgrade() {
            link.look(streams_max, context);
        }
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(Ok(())); // who waited may be gone
        }
        polled
    }
}

/// A stream that counts what is written to it, so that one can tell whether anything of a request left.
struct Counted {
    stream: Stream,
    written: Rc<Cell<u64>>,
}

impl Counted {
    fn count(&self, written: usize) -> usize {
        self.written.set(self.written.get() + written as u64);
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        Poll::Ready(Ok(self.count(written)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        Poll::Ready(Ok(self.count(written)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn broken(error: &h2::Error) -> io::Error {
    io::Error::other(format!("no HTTP/2: {error}"))
}
