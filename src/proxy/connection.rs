//! One client connection, from the socket to what is spoken on it. Not for: serving that (`http1`).

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::HeaderValue;

use crate::net::io::ClientIo;
use crate::net::io::Socket;
use crate::net::io::Stream;
use crate::net::listen::Accepted;
use crate::net::listen::Opening;
use crate::net::listen::Place;
use crate::net::listen::Registered;
use crate::net::watchdog::Watched;
use crate::peer::Peer;
use crate::proxy::forwarded;
use crate::proxy::forwarded::Scheme;
use crate::proxy::http1;
use crate::proxy::lane;
use crate::proxy::worker::Worker;

/// What is known of a connection, whatever is spoken on it.
pub(crate) struct Connection {
    /// Who connected; behind a PROXY header, who that says.
    pub(crate) peer: Peer,
    /// The peer's address as a field value.
    pub(crate) peer_value: Option<HeaderValue>,
    /// Whether it is under TLS.
    pub(crate) scheme: Scheme,
    /// The subject of the certificate that the client has shown.
    pub(crate) client_subject: Option<Arc<str>>,
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

/// Serves a connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, open: Open, accepted: Accepted) {
    let Registered {
        socket,
        peer,
        place,
        opening,
    } = match accepted.register() {
        Ok(registered) => registered,
        Err(error) => return tracing::warn!(%error, "cannot serve a connection"),
    };
    let watched = Watched::new(
        Arc::clone(worker.watchdog.clock()),
        worker.config.timeouts.body,
    );
    let opened = if opening == Opening::default() {
        Ok(Opened {
            stream: Stream::Plain(socket),
            peer,
            client_subject: None,
        })
    } else {
        within(&worker, &watched, begin(socket, peer, opening)).await
    };
    let Opened {
        stream,
        peer,
        client_subject,
    } = match opened {
        Ok(opened) => opened,
        Err(error) => {
            return tracing::debug!(client.addr = %peer, %error, "a connection did not begin");
        }
    };
    let connection = Rc::new(Connection {
        peer,
        peer_value: forwarded::peer_value(&peer),
        scheme: match &stream {
            Stream::Plain(_) => Scheme::Http,
            Stream::Tls(_) => Scheme::Https,
        },
        client_subject,
        _open: open,
        _place: place,
    });
    let io = ClientIo::new(stream, Arc::clone(&watched));
    http1::serve(worker, connection, io, watched).await;
}

/// A connection on which HTTP can begin.
struct Opened {
    stream: Stream,
    /// Who connected; behind a PROXY header, who that says.
    peer: Peer,
    /// The subject of the certificate that the client has shown.
    client_subject: Option<Arc<str>>,
}

/// What comes before HTTP.
async fn begin(socket: Socket, peer: Peer, _opening: Opening) -> io::Result<Opened> {
    Ok(Opened {
        stream: Stream::Plain(socket),
        peer,
        client_subject: None,
    })
}

/// Waits for what comes before HTTP for as long as `timeouts.handshake` allows.
async fn within<T>(
    worker: &Worker,
    watched: &Arc<Watched>,
    beginning: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let _listed = lane::list(worker, watched, &Rc::default()).await;
    watched.arm(&watched.read, worker.config.timeouts.handshake);
    let mut beginning = std::pin::pin!(beginning);
    let begun = poll_fn(|context| match beginning.as_mut().poll(context) {
        Poll::Pending if watched.passed(&watched.read) => Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it took longer than timeouts.handshake",
        ))),
        polled => polled,
    })
    .await;
    watched.read.clear();
    begun
}

/// A request that gets no answer: its client is gone, or nobody has checked it. The connection ends.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
pub(crate) struct NoAnswer;
