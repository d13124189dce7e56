//! A client connection that speaks HTTP/2: hyper's server over [`FrameIo`], until the client, a deadline or a drain
//! ends it. Each stream is a lane and a task of its own; the connection's task carries frames and knows when nobody
//! has asked for anything for too long.
//!
//! What hyper and h2 leave open is closed here: a client that never opens its window (the answer is not polled then,
//! so the task of the stream keeps the time), floods of frames that cost nothing to send (`frames`), and heads that
//! are fine in HTTP/2 and would be two things in HTTP/1 (`head`). Limits are set, never inherited.
//! Not for: what comes before (`connection`), or a request itself (`handler`).

mod frames;
pub(crate) mod head;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;

use crate::net::io::ClientIo;
use crate::net::watchdog::Watched;
use crate::proxy::connection::Connection;
use crate::proxy::handler;
use crate::proxy::http2::frames::FrameIo;
use crate::proxy::lane;
use crate::proxy::lane::Lane;
use crate::proxy::worker::Worker;

pub(crate) use crate::proxy::http2::frames::PREFACE;

/// How many requests a client may have in flight.
const STREAMS_MAX: u32 = 100;

/// The longest head, bytes as HPACK counts them (RFC 9113 §6.5.2). Less than HTTP/1 may have, because a hundred of
/// them can be open on one connection, and a byte on the wire can stand for kilobytes of it.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What a client may send of one request before keygate has passed it on, bytes.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The same for all requests of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is held of an answer that the client does not take, bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// How many streams may be reset by the client before their requests were looked at (CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 20;

/// How many streams a client may make keygate reset (CVE-2025-8671).
const LOCAL_RESETS_MAX: usize = 100;

/// How often a quiet client is asked whether it is still there, and how long it has to say so.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// How long a connection without a request may stay once it was told that it is over.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long, and how much, of a body is read and dropped when its request is over.
const DISCARD: Duration = Duration::from_secs(1);
const DISCARD_BYTES_MAX: usize = 64 * 1024;

/// What the tasks of one connection share.
struct Shared {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    /// The waits of the connection itself; `read` is the time without any request.
    watched: Arc<Watched>,
    open: Cell<usize>,
}

/// An open stream, from its head to the end of its answer or of its tunnel.
pub(crate) struct OpenStream(Rc<Shared>);

impl OpenStream {
    fn new(shared: &Rc<Shared>) -> Self {
        shared.open.set(shared.open.get() + 1);
        shared.watched.read.clear();
        Self(Rc::clone(shared))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let shared = &self.0;
        shared.open.set(shared.open.get() - 1);
        if shared.open.get() == 0 {
            let idle = shared.worker.config.timeouts.idle;
            let patience = patience(&shared.watched, idle);
            shared.watched.arm(&shared.watched.read, patience);
        }
    }
}

/// How long a connection may be without a request; `idle`: while nothing is wrong.
fn patience(watched: &Watched, idle: Duration) -> Duration {
    if watched.draining() { GOODBYE } else { idle }
}

/// Serves a connection to its end. `begun`: what has been read of it already.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    io: ClientIo,
    begun: BytesMut,
    watched: Arc<Watched>,
) {
    let peer = connection.peer;
    let shared = Rc::new(Shared {
        worker: Rc::clone(&worker),
        connection,
        watched: Arc::clone(&watched),
        open: Cell::new(0),
    });
    let frames = FrameIo::new(io, begun, &worker, Arc::clone(&watched));
    let begun = Rc::new(Cell::new(None));
    let service = {
        let (shared, begun) = (Rc::clone(&shared), Rc::clone(&begun));
        service_fn(move |request| {
            let worker = &shared.worker;
            let watched = Watched::new(
                Arc::clone(worker.watchdog.clock()),
                worker.config.timeouts.body,
            );
            let open = OpenStream::new(&shared);
            let lane = Lane::http2(Rc::clone(&shared.connection), watched, open);
            let lane = Rc::new(lane);
            begun.set(Some(Rc::clone(&lane)));
            let request = handler::begin(worker, &lane, request);
            handler::handle(Rc::clone(worker), lane, request)
        })
    };
    let streams = Streams {
        worker: Rc::clone(&worker),
        begun,
    };
    let listed = lane::list(&worker, &watched, &Rc::default()).await;
    watched.arm(&watched.read, worker.config.timeouts.handshake); // for the preface
    let mut serving =
        std::pin::pin!(builder(&worker, streams).serve_connection(TokioIo::new(frames), service));
    let mut leaving = false;
    let served = poll_fn(|context| {
        let overdue = watched.passed(&watched.read);
        if overdue && leaving {
            return Poll::Ready(Ok(()));
        }
        if (overdue || watched.draining()) && !leaving {
            leaving = true;
            serving.as_mut().graceful_shutdown();
            if shared.open.get() == 0 {
                watched.arm(&watched.read, GOODBYE);
            }
        }
        serving.as_mut().poll(context)
    })
    .await;
    drop(listed);
    if let Err(error) = served {
        tracing::debug!(client.addr = %peer, %error, "a connection ended early");
    }
}

fn builder(worker: &Worker, streams: Streams) -> http2::Builder<Streams> {
    let head = worker.config.limits.header_bytes.min(HEAD_BYTES_MAX);
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .adaptive_window(false)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE)
        .enable_connect_protocol();
    builder
}

/// Makes a task of each stream. hyper calls the service and hands over what it made of it right after, so the lane
/// that was begun last is the stream's.
#[derive(Clone)]
struct Streams {
    worker: Rc<Worker>,
    begun: Rc<Cell<Option<Rc<Lane>>>>,
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        match self.begun.take() {
            Some(lane) => {
                tokio::task::spawn_local(serve_stream(Rc::clone(&self.worker), lane, stream));
            }
            // Carries the bytes of a tunnel, whose waits are the tunnel's own.
            None => drop(tokio::task::spawn_local(stream)),
        }
    }
}

/// Serves a stream until its answer has ended, or the client has taken none of it for too long, or takes none while its
/// key is revoked: dropping the stream then resets it.
async fn serve_stream(worker: Rc<Worker>, lane: Rc<Lane>, stream: impl Future<Output = ()>) {
    let _panicked = CountPanic(&worker);
    let _listed = lane::list(&worker, &lane.watched, &lane.in_use).await;
    {
        let mut stream = std::pin::pin!(stream);
        poll_fn(|context| poll_stream(&lane, stream.as_mut(), context)).await;
    }
    if let Some(body) = lane.take_unread()
        && !lane.watched.passed(&lane.watched.write)
    {
        discard(&lane, body).await;
    }
}

/// Reads and drops what a client still sends behind its answer, for a moment. Letting go of its body at once would send
/// RST_STREAM right behind the answer (RFC 9113 §8.1), and there are clients (curl 7) that then drop the answer.
async fn discard(lane: &Lane, mut body: Incoming) {
    let watched = &lane.watched;
    watched.arm(&watched.read, DISCARD);
    let mut discarded = 0;
    poll_fn(|context| {
        while !watched.passed(&watched.read) {
            if discarded >= DISCARD_BYTES_MAX {
                return Poll::Pending; // until the time has passed: the client's window is used up soon
            }
            match std::task::ready!(Pin::new(&mut body).poll_frame(context)) {
                Some(Ok(frame)) => discarded += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

fn poll_stream(
    lane: &Lane,
    stream: Pin<&mut impl Future<Output = ()>>,
    context: &mut Context<'_>,
) -> Poll<()> {
    let watched = &lane.watched;
    // A body that is not polled cannot end itself.
    let revoked = lane.offered.get() && watched.passed(&watched.revoked);
    if revoked || watched.passed(&watched.write) {
        return Poll::Ready(());
    }
    let polled = stream.poll(context);
    if polled.is_pending() && lane.offered.get() {
        watched.arm_once(&watched.write, watched.pause());
    }
    polled
}

/// A panic ends the task of its stream; the connection and its other streams go on. (One while the request is judged is
/// in the connection's task, and ends that.)
struct CountPanic<'a>(&'a Worker);

impl Drop for CountPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.metrics.panicked();
        }
    }
}
