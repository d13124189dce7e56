//! One client connection, from the socket to what is spoken on it. Not for: serving that (`http1`).

use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;

use crate::net::io::ClientIo;
use crate::net::io::Stream;
use crate::net::listen::Accepted;
use crate::net::listen::Place;
use crate::net::listen::Registered;
use crate::net::watchdog::Watched;
use crate::peer::Peer;
use crate::proxy::forwarded;
use crate::proxy::forwarded::Scheme;
use crate::proxy::http1;
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
        opening: _,
    } = match accepted.register() {
        Ok(registered) => registered,
        Err(error) => return tracing::warn!(%error, "cannot serve a connection"),
    };
    let watched = Watched::new(
        Arc::clone(worker.watchdog.clock()),
        worker.config.timeouts.body,
    );
    let connection = Rc::new(Connection {
        peer,
        peer_value: forwarded::peer_value(&peer),
        scheme: Scheme::Http,
        client_subject: None,
        _open: open,
        _place: place,
    });
    let io = ClientIo::new(Stream::Plain(socket), Arc::clone(&watched));
    http1::serve(worker, connection, io, watched).await;
}

/// A request that gets no answer: its client is gone, or nobody has checked it. The connection ends.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
pub(crate) struct NoAnswer;
