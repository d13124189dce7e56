//! One client connection, from the socket to what is spoken on it. Not for: serving that (`http1`, `http2`).

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use http::HeaderValue;

use crate::metrics::ProtocolError;
use crate::metrics::Unwelcome;
use crate::net::io::ClientIo;
use crate::net::io::Socket;
use crate::net::io::Stream;
use crate::net::listen::Accepted;
use crate::net::listen::Opening;
use crate::net::listen::Place;
use crate::net::listen::Registered;
use crate::net::per_client::Counted;
use crate::net::proxy_protocol;
use crate::net::tls::HandshakeError;
use crate::net::tls::Secured;
use crate::net::watchdog::Watched;
use crate::peer::Peer;
use crate::proxy::forwarded;
use crate::proxy::forwarded::Scheme;
use crate::proxy::http1;
use crate::proxy::http2;
use crate::proxy::lane;
use crate::proxy::reader::DRAIN_GRACE;
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
    _counted: Option<Counted>,
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
        mut socket,
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
    let (peer, counted) = match arrive(&worker, &watched, &mut socket, peer, opening).await {
        Ok(arrived) => arrived,
        Err(error) => {
            return tracing::debug!(client.addr = %peer, %error, "a connection did not begin");
        }
    };
    let secured = if opening.tls {
        // Boxed: a handshake is large, and most connections have none.
        Box::pin(secured(&worker, &watched, socket)).await
    } else {
        Ok((Stream::Plain(socket), None))
    };
    let (stream, client_subject) = match secured {
        Ok(secured) => secured,
        Err(error) => {
            return tracing::debug!(client.addr = %peer, %error, "a connection did not begin");
        }
    };
    let chose_http2 = chose_http2(&stream);
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
        _counted: counted,
    });
    let io = ClientIo::new(stream, Arc::clone(&watched));
    if chose_http2 {
        Box::pin(http2::serve(
            worker,
            connection,
            io,
            BytesMut::new(),
            watched,
        ))
        .await;
    } else {
        http1::serve(worker, connection, io, watched).await;
    }
}

/// Whether HTTP/2 was agreed on in the TLS handshake. Where it was not, the client may still begin with its preface.
fn chose_http2(stream: &Stream) -> bool {
    match stream {
        Stream::Plain(_) => false,
        Stream::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
    }
}

/// Who connected, and their place among the connections of one client.
async fn arrive(
    worker: &Worker,
    watched: &Arc<Watched>,
    socket: &mut Socket,
    peer: Peer,
    opening: Opening,
) -> io::Result<(Peer, Option<Counted>)> {
    let peer = if opening.proxy_protocol {
        // Boxed: it is large, and most connections have none.
        Box::pin(proxied(worker, watched, socket, peer)).await?
    } else {
        peer
    };
    Ok((peer, count(worker, &peer)?))
}

/// Who connected, by the PROXY header that the connection begins with. It is taken from a trusted proxy only: a peer with
/// another address is not listened to at all. Whoever reaches a Unix socket was let in by its mode.
async fn proxied(
    worker: &Worker,
    watched: &Arc<Watched>,
    socket: &mut Socket,
    peer: Peer,
) -> io::Result<Peer> {
    let trusted = &worker.config.forwarded.trusted_proxies;
    if peer
        .ip()
        .is_some_and(|ip| !forwarded::is_trusted(ip, trusted))
    {
        worker.metrics.connection_refused(Unwelcome::UntrustedProxy);
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "its peer is not one of forwarded.trusted_proxies",
        ));
    }
    match within(worker, watched, proxy_protocol::read(socket)).await {
        Ok(named) => Ok(named.map_or(peer, Peer::tcp)),
        Err(error) => {
            // Load balancers look whether somebody listens, and say nothing.
            if error.kind() != io::ErrorKind::ConnectionAborted {
                worker.metrics.protocol_error(ProtocolError::ProxyHeader);
            }
            Err(error)
        }
    }
}

/// Counts the connection as one of its client's. Trusted proxies bring many clients, and a Unix socket tells nobody's
/// address.
fn count(worker: &Worker, peer: &Peer) -> io::Result<Option<Counted>> {
    let (Some(clients), Some(ip)) = (&worker.clients, peer.ip()) else {
        return Ok(None);
    };
    if forwarded::is_trusted(ip, &worker.config.forwarded.trusted_proxies) {
        return Ok(None);
    }
    clients.enter(ip).map(Some).ok_or_else(|| {
        worker.metrics.connection_refused(Unwelcome::PerClient);
        io::Error::other("its client has as many as limits.per_client allows")
    })
}

/// The connection under TLS, and the subject of the certificate that the client has shown.
async fn secured(
    worker: &Worker,
    watched: &Arc<Watched>,
    socket: Socket,
) -> io::Result<(Stream, Option<Arc<str>>)> {
    let server = worker.tls.as_ref();
    let server = server.expect("no listener speaks TLS without a certificate");
    let handshake = async {
        server.accept(socket).await.map_err(|error| match error {
            HandshakeError::Unbegun => io::Error::new(io::ErrorKind::ConnectionAborted, error),
            HandshakeError::Failed(_) => io::Error::other(error),
        })
    };
    let secured = within(worker, watched, handshake).await;
    let Secured {
        stream,
        client_subject,
    } = secured.inspect_err(|error| {
        // Load balancers look whether somebody listens, and say nothing.
        if error.kind() != io::ErrorKind::ConnectionAborted {
            worker.metrics.protocol_error(ProtocolError::TlsHandshake);
        }
    })?;
    Ok((Stream::Tls(Box::new(stream.into())), client_subject))
}

/// Waits for what comes before HTTP for as long as `timeouts.handshake` allows, and in a drain not much longer than for
/// the next request of an idle connection.
async fn within<T>(
    worker: &Worker,
    watched: &Arc<Watched>,
    beginning: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let _listed = lane::list(worker, watched, &Rc::default()).await;
    watched.arm(&watched.read, worker.config.timeouts.handshake);
    let mut beginning = std::pin::pin!(beginning);
    let mut hurried = false;
    let begun = poll_fn(|context| match beginning.as_mut().poll(context) {
        Poll::Pending if watched.passed(&watched.read) => Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it took longer than timeouts.handshake",
        ))),
        Poll::Pending if watched.draining() && !hurried => {
            hurried = true;
            let grace = worker.config.timeouts.handshake.min(DRAIN_GRACE);
            watched.arm(&watched.read, grace);
            Poll::Pending
        }
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
