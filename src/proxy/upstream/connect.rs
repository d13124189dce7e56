//! Connections to the upstream: TCP or Unix socket, to the addresses that its name has at the moment, within
//! `timeouts.connect`. Which of several is tried first is `choice`'s. Not for: what is sent over them (`http1`), keeping them (`pool`), or finding the
//! addresses (`resolve`).

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
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
use crate::proxy::upstream::resolve::Addresses;

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
}

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Connector {
    to: Destination,
    timeout: Duration,
    choice: Choice,
}

/// Where the upstream is.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    /// The addresses of its name, or its one address.
    Tcp(Addresses),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Connector {
    /// Connects to `to`, within `timeout` for each connection.
    pub(crate) fn new(to: Destination, timeout: Duration, clock: Arc<CoarseClock>) -> Self {
        Self {
            to,
            timeout,
            choice: Choice::new(clock),
        }
    }

    /// The addresses that are there now, if the upstream has a name that may change.
    pub(crate) const fn addresses(&self) -> Option<&Addresses> {
        match &self.to {
            Destination::Tcp(addresses) => Some(addresses),
            Destination::Unix(_) => None,
        }
    }

    /// A new connection. Each address is tried once, in turn, and last where connections failed lately.
    pub(crate) async fn connect(&self, watched: &Watched) -> Result<Connection, UpstreamFailure> {
        watched.arm(&watched.upstream, self.timeout);
        let connected = match &self.to {
            Destination::Unix(path) => self.connect_unix(path, watched).await,
            Destination::Tcp(addresses) => self.connect_tcp(addresses, watched).await,
        };
        watched.upstream.clear();
        connected
    }

    async fn connect_unix(
        &self,
        path: &Path,
        watched: &Watched,
    ) -> Result<Connection, UpstreamFailure> {
        let address: Arc<str> = format!("unix:{}", path.display()).into();
        match self.within(watched, UnixStream::connect(path)).await? {
            Ok(stream) => Ok(Connection::new(
                Stream::Plain(Socket::Unix(stream)),
                address,
                None,
            )),
            Err(source) => Err(UpstreamFailure::Connect { address, source }),
        }
    }

    async fn connect_tcp(
        &self,
        addresses: &Addresses,
        watched: &Watched,
    ) -> Result<Connection, UpstreamFailure> {
        let known = self.choice.order(&addresses.known());
        let mut failure = UpstreamFailure::NoAddress;
        for address in known.iter().copied() {
            // Each has its share of the time, so that one that swallows packets does not keep the others from
            // being tried.
            let share = u32::try_from(known.len()).unwrap_or(u32::MAX);
            watched.arm(&watched.upstream, self.timeout / share);
            self.choice.tries(address);
            match self.within(watched, connect_tcp(address)).await {
                Ok(Ok(stream)) => {
                    self.choice.succeeded(address);
                    return Ok(Connection::new(
                        Stream::Plain(Socket::Tcp(stream)),
                        address.to_string().into(),
                        Some(address),
                    ));
                }
                Ok(Err(source)) => {
                    failure = UpstreamFailure::Connect {
                        address: address.to_string().into(),
                        source,
                    }
                }
                Err(timeout) => failure = timeout,
            }
            self.choice.failed(address);
        }
        Err(failure)
    }

    async fn within<T>(
        &self,
        watched: &Watched,
        attempt: impl Future<Output = T>,
    ) -> Result<T, UpstreamFailure> {
        let mut attempt = std::pin::pin!(attempt);
        poll_fn(|context| match attempt.as_mut().poll(context) {
            Poll::Ready(connected) => Poll::Ready(Ok(connected)),
            Poll::Pending if watched.passed(&watched.upstream) => {
                let (wait, limit) = (Wait::Connect, self.timeout);
                Poll::Ready(Err(UpstreamFailure::Timeout { wait, limit }))
            }
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

async fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?; // requests are sent whole; nothing is gained by waiting for more
    Ok(stream)
}

impl Connection {
    fn new(stream: Stream, address: Arc<str>, socket_address: Option<SocketAddr>) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            address,
            socket_address,
        }
    }
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
                let clock = CoarseClock::new(Clock::system());
                Connector::new(Destination::Tcp(Addresses::new(known)), timeout, clock)
            };
            let both = to(vec![bad, good]);
            for _ in 0..4 {
                let connection = both.connect(&watched()).await.unwrap();
                assert_eq!(connection.socket_address, Some(good));
            }
            let failed = to(vec![bad]).connect(&watched()).await;
            assert!(matches!(failed, Err(UpstreamFailure::Connect { .. })));
            let failed = to(Vec::new()).connect(&watched()).await;
            assert!(matches!(failed, Err(UpstreamFailure::NoAddress)));
        });
    }
}
