//! One client connection: hyper's HTTP/1 server over the checked reader, until the client, a deadline or a drain
//! ends it. What its parts share is [`Connection`].

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::key::token::Digest;
use crate::net::io::ClientIo;
use crate::net::listen::Accepted;
use crate::net::listen::Place;
use crate::net::watchdog::Watched;
use crate::peer::Peer;
use crate::proxy::forwarded;
use crate::proxy::handler;
use crate::proxy::reader::Heads;
use crate::proxy::reader::Reader;
use crate::proxy::worker::Worker;

/// The fields that hyper parses without an allocation.
const FIELDS_ON_STACK: usize = 100;

/// What the parts of one connection share: reader, handler, body, tunnel.
pub(crate) struct Connection {
    /// Who connected.
    pub(crate) peer: Peer,
    /// The peer's address as a field value.
    pub(crate) peer_value: Option<HeaderValue>,
    /// Heads on their way from the reader to the handler.
    pub(crate) heads: Arc<Heads>,
    /// The waits of whoever serves it.
    pub(crate) watched: Arc<Watched>,
    /// The token of the request in flight, for the revocation of its key.
    pub(crate) in_use: Rc<Cell<Option<Digest>>>,
    /// Held as long as the connection lives, also as a tunnel.
    _open: Open,
    _place: Place,
}

/// An open connection, from its arrival at the worker to its end.
pub(crate) struct Open(Rc<Worker>);

impl Open {
    /// One more.
    pub(crate) fn new(worker: &Rc<Worker>) -> Self {
        worker.open.set(worker.open.get() + 1);
        worker.metrics.connection_opened();
        Self(Rc::clone(worker))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let worker = &self.0;
        if std::thread::panicking() {
            worker.metrics.panicked(); // the task ends here; the runtime and everybody else go on
        }
        worker.metrics.connection_closed();
        worker.open.set(worker.open.get() - 1);
        if worker.open.get() == 0 {
            worker.free.notify_one();
        }
    }
}

impl Connection {
    /// The request in flight is over.
    pub(crate) fn answered(&self) {
        self.in_use.set(None);
        self.watched.revoked.clear();
        self.heads.answered();
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, open: Open, accepted: Accepted) {
    let (stream, peer, place) = match accepted.register() {
        Ok(registered) => registered,
        Err(error) => return tracing::warn!(%error, "cannot serve a connection"),
    };
    let watched = Watched::new(
        Arc::clone(worker.watchdog.clock()),
        worker.config.timeouts.body,
    );
    let heads = Heads::new(Arc::clone(&watched), worker.config.timeouts.idle);
    let in_use = Rc::new(Cell::new(None));
    let io = ClientIo::new(stream, Arc::clone(&watched));
    let reader = Reader::new(
        io,
        Arc::clone(&heads),
        Arc::clone(&watched),
        worker.head_limits(),
        worker.reader_patience(),
    );
    let connection = Rc::new(Connection {
        peer,
        peer_value: forwarded::peer_value(&peer),
        heads,
        watched,
        in_use,
        _open: open,
        _place: place,
    });

    let listed = list(&worker, &connection).await;
    let service = {
        let worker = Rc::clone(&worker);
        service_fn(move |request| {
            let begun = handler::begin(&worker, &connection, request);
            handler::handle(Rc::clone(&worker), Rc::clone(&connection), begun)
        })
    };
    let served = builder(&worker)
        .serve_connection(TokioIo::new(reader), service)
        .with_upgrades()
        .await;
    drop(listed);
    if let Err(error) = served {
        tracing::debug!(client.addr = %peer, %error, "a connection ended early");
    }
}

fn builder(worker: &Worker) -> http1::Builder {
    let limits = worker.head_limits();
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_buf_size(Reader::buffer_for(limits));
    if limits.fields > FIELDS_ON_STACK {
        builder.max_headers(limits.fields);
    }
    builder
}

/// A task on the watchdog's list; dropping this takes it off.
pub(crate) struct Listed<'a> {
    worker: &'a Worker,
    number: u64,
}

/// Puts the current task on the watchdog's list, as the one that serves `connection`.
pub(crate) async fn list<'a>(worker: &'a Worker, connection: &Connection) -> Listed<'a> {
    worker.watchdog.clock().read(); // a worker that had nothing to do has not looked for a while
    let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
    let number = worker.watchdog.add(
        Arc::clone(&connection.watched),
        waker,
        Rc::clone(&connection.in_use),
    );
    worker.busy.notify_one();
    Listed { worker, number }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.worker.watchdog.remove(self.number);
    }
}

/// A request that gets no answer: its client is gone, or nobody has checked it. The connection ends.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
pub(crate) struct NoAnswer;
