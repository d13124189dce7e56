//! Connections to the upstream: TCP or Unix socket, to the addresses that its name has at the moment, TLS over it where
//! the upstream speaks it, and the beginning of HTTP/2; all of that within `timeouts.connect`. Which of several is
//! tried first is `choice`'s. Not for: what is sent over them (`http1`, `http2`), keeping them (`pool`, `http2::links`),
//! or finding the addresses (`resolve`).

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::net::UnixStream;

use crate::net::io::Socket;
use crate::net::io::Stream;
use crate::net::watchdog::CoarseClock;
use crate::net::watchdog::Watched;
use crate::proxy::upstream::choice::Choice;
use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::failure::Wait;
use crate::proxy::upstream::http2::link::Link;
use crate::proxy::upstream::resolve::Addresses;
use crate::proxy::upstream::tls;
use crate::proxy::upstream::tls::ClientTls;
use crate::proxy::upstream::tls::Offer;

/// A connection to the upstream.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The socket.
    pub(crate) stream: Stream,
    /// Bytes of the answer that are not used up yet.
    pub(crate) input: BytesMut,
    /// Where it goes, for records.
    pub(crate) address: Arc<str>,
    /// Where it goes, if that is an address that a name may lose.
    pub(crate) socket_address: Option<SocketAddr>,
    /// Which certificates it was made with ([`Connector::generation`]).
    pub(crate) generation: u64,
}

/// A new connection, with what is spoken on it.
pub(crate) enum Opened {
    /// For one request at a time.
    Http1(Connection),
    /// To be shared.
    Http2(Rc<Link>),
}

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Connector {
    to: Destination,
    timeout: Duration,
    choice: Choice,
    clock: Arc<CoarseClock>,
}

/// Where the upstream is, and what is spoken there.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// Where it is.
    pub(crate) place: Place,
    /// What is spoken on a connection.
    pub(crate) speech: Speech,
}

/// Where the upstream is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The addresses of its name, or its one address.
    Tcp(Addresses),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What is spoken to the upstream.
#[derive(Clone, Debug)]
pub(crate) enum Speech {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 in clear.
    Http2,
    /// TLS, and over it what the upstream chooses.
    Tls(Arc<ClientTls>),
}

/// Who watches over the time that a connection takes.
#[derive(Clone, Copy)]
pub(crate) enum Waits<'a> {
    /// The request that it is for.
    Request(&'a Watched),
    /// A timer of its own: it is for whoever comes.
    Timer,
}

impl Connector {
    /// Connects to `to`, within `timeout` for each connection.
    pub(crate) fn new(to: Destination, timeout: Duration, clock: Arc<CoarseClock>) -> Self {
        Self {
            to,
            timeout,
            choice: Choice::new(Arc::clone(&clock)),
            clock,
        }
    }

    /// What is spoken to the upstream.
    pub(crate) const fn speech(&self) -> &Speech {
        &self.to.speech
    }

    /// Which certificates new connections are made with.
    pub(crate) fn generation(&self) -> u64 {
        match &self.to.speech {
            Speech::Http1 | Speech::Http2 => 0,
            Speech::Tls(tls) => tls.generation(),
        }
    }

    /// How long a connection may take.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The addresses that are there now, if the upstream has a name that may change.
    pub(crate) const fn addresses(&self) -> Option<&Addresses> {
        match &self.to.place {
            Place::Tcp(addresses) => Some(addresses),
            Place::Unix(_) => None,
        }
    }

    /// A new connection on which one of `offer` is spoken. Each address is tried once, in turn, and last where
    /// connections failed lately.
    pub(crate) async fn connect(
        &self,
        offer: Offer,
        waits: Waits<'_>,
    ) -> Result<Opened, UpstreamFailure> {
        let addresses = match &self.to.place {
            Place::Unix(path) => {
                let address: Arc<str> = format!("unix:{}", path.display()).into();
                let socket = async { UnixStream::connect(path).await.map(Socket::Unix) };
                let attempt = self.attempt(socket, offer, address, None);
                return self.within(self.timeout, waits, attempt).await?;
            }
            Place::Tcp(addresses) => self.choice.order(&addresses.known()),
        };
        // Each has its share of the time, so that one that swallows packets does not keep the others from being tried.
        let share = self.timeout / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut failure = UpstreamFailure::NoAddress;
        for address in addresses {
            self.choice.tries(address);
            let attempt = self.attempt(
                connect_tcp(address),
                offer,
                address.to_string().into(),
                Some(address),
            );
            match self.within(share, waits, attempt).await {
                Ok(Ok(opened)) => {
                    self.choice.succeeded(address);
                    return Ok(opened);
                }
                Ok(Err(failed)) | Err(failed) => failure = failed,
            }
            self.choice.failed(address);
        }
        Err(failure)
    }

    /// From the socket to a connection on which requests can be sent.
    async fn attempt(
        &self,
        socket: impl Future<Output = io::Result<Socket>>,
        offer: Offer,
        address: Arc<str>,
        socket_address: Option<SocketAddr>,
    ) -> Result<Opened, UpstreamFailure> {
        let opened = async {
            let socket = socket.await?;
            let generation = self.generation(); // before they are used
            let connection = |stream| Connection {
                stream,
                input: BytesMut::new(),
                address: Arc::clone(&address),
                socket_address,
                generation,
            };
            let (connection, http2) = match &self.to.speech {
                Speech::Http1 => (connection(Stream::Plain(socket)), false),
                Speech::Http2 => (connection(Stream::Plain(socket)), true),
                Speech::Tls(tls) => {
                    // Boxed, as below: they are large, and most connections do without them.
                    let stream = Box::pin(tls.handshake(socket, offer)).await?;
                    let http2 = tls::chose_http2(&stream);
                    (connection(Stream::Tls(Box::new(stream.into()))), http2)
                }
            };
            Ok(if http2 {
                Opened::Http2(Box::pin(Link::open(connection, &self.clock)).await?)
            } else {
                Opened::Http1(connection)
            })
        };
        opened.await.map_err(|source: io::Error| {
            let (address, source) = (Arc::clone(&address), Arc::new(source));
            UpstreamFailure::Connect { address, source }
        })
    }

    /// Waits for `attempt`, but no longer than `limit`.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        waits: Waits<'_>,
        attempt: impl Future<Output = T>,
    ) -> Result<T, UpstreamFailure> {
        let exceeded = UpstreamFailure::Timeout {
            wait: Wait::Connect,
            limit: self.timeout,
        };
        let Waits::Request(watched) = waits else {
            let attempt = tokio::time::timeout(limit, attempt).await;
            return attempt.map_err(|_elapsed| exceeded);
        };
        watched.arm(&watched.upstream, limit);
        let mut attempt = std::pin::pin!(attempt);
        let done = poll_fn(|context| match attempt.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if watched.passed(&watched.upstream) => {
                Poll::Ready(Err(exceeded.clone()))
            }
            Poll::Pending => Poll::Pending,
        })
        .await;
        watched.upstream.clear();
        done
    }
}

async fn connect_tcp(address: SocketAddr) -> io::Result<Socket> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?; // requests are sent whole; nothing is gained by waiting for more
    Ok(Socket::Tcp(stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use tokio::net::TcpListener;
    use tokio::runtime::LocalRuntime;

    fn watched() -> Arc<Watched> {
        Watched::new(CoarseClock::new(Clock::system()), Duration::ZERO)
    }

    #[test]
    fn addresses_are_tried_in_turn_until_one_takes_the_connection() {
        LocalRuntime::new().unwrap().block_on(async {
            let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (good, bad) = (open.local_addr().unwrap(), gone.local_addr().unwrap());
            drop(gone);
            let timeout = Duration::from_secs(5);
            let to = |known| {
                let place = Place::Tcp(Addresses::new(known));
                let speech = Speech::Http1;
                let clock = CoarseClock::new(Clock::system());
                Connector::new(Destination { place, speech }, timeout, clock)
            };
            let both = to(vec![bad, good]);
            for _ in 0..4 {
                let opened = both.connect(Offer::Any, Waits::Request(&watched())).await;
                let Ok(Opened::Http1(connection)) = opened else {
                    panic!("no connection");
                };
                assert_eq!(connection.socket_address, Some(good));
            }
            let failed = to(vec![bad]).connect(Offer::Any, Waits::Timer).await;
            assert!(matches!(failed, Err(UpstreamFailure::Connect { .. })));
            let failed = to(Vec::new()).connect(Offer::Any, Waits::Timer).await;
            assert!(matches!(failed, Err(UpstreamFailure::NoAddress)));
        });
    }
}
