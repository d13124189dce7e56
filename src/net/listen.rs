//! Listening: bind before anything is spawned, accept for ever, never die of an error, close without losing
//! what the kernel has queued. One listening socket per address; who serves a connection is the caller's choice.
//!
//! Why not SO_REUSEPORT and a socket a worker: a second process of the same user would bind silently, closing
//! one socket resets its queue, and the balance between workers has no bound.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::net::SocketFlags;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::sync::mpsc;

use crate::config::Address;
use crate::config::Listen;
use crate::drain::Drain;
use crate::drain::Stage;
use crate::metrics::Metrics;
use crate::net::io::Socket;
use crate::peer::Peer;

/// How many connections the kernel may queue for us.
const BACKLOG: i32 = 4096;

/// How long accepting rests after the process ran out of file descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);

/// How long the queue of a socket that was passed to us is served at the end. Whoever passed it may keep it open and
/// give it to the next process, so that its queue need not end.
const PASSED_QUEUE_MAX: Duration = Duration::from_millis(100);

/// A bound socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: ListenerSocket,
    address: Address,
    opening: Opening,
    /// Bound by somebody else, who may go on listening there.
    passed: bool,
}

/// What a connection begins with, before HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// A header of the PROXY protocol, before everything else.
    pub proxy_protocol: bool,
    /// A TLS handshake.
    pub tls: bool,
}

#[derive(Debug)]
enum ListenerSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why an address cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {source}")]
pub struct ListenError {
    address: String,
    source: io::Error,
}

impl ListenError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self.source.kind() {
            io::ErrorKind::AddrInUse => Some(
                "another process listens there (`ss -ltnp` names it): stop it, or choose another address",
            ),
            io::ErrorKind::PermissionDenied => Some(
                "ports below 1024 need a privilege: choose a higher port, or grant CAP_NET_BIND_SERVICE",
            ),
            io::ErrorKind::AddrNotAvailable => {
                Some("this machine has no such address: 0.0.0.0 means all it has")
            }
            _ => None,
        }
    }
}

impl Listener {
    /// Binds and listens; connections queue from now on.
    ///
    /// # Errors
    /// When the address is taken, not this machine's, or not permitted.
    pub fn bind(address: &Address) -> Result<Self, ListenError> {
        let bound = match address {
            Address::Tcp(address) => Self::bind_tcp(*address),
            Address::Unix(path) => Self::bind_unix(path),
        };
        bound.map_err(|source| ListenError {
            address: address.to_string(),
            source,
        })
    }

    /// The same socket, for clients that begin as this says.
    #[must_use]
    pub const fn opened_as(mut self, listen: &Listen) -> Self {
        self.opening = Opening {
            proxy_protocol: listen.proxy_protocol,
            tls: listen.tls,
        };
        self
    }

    /// A socket that somebody else has bound.
    ///
    /// # Errors
    /// When it does not listen.
    pub(crate) fn passed_tcp(socket: TcpListener) -> io::Result<Self> {
        must_listen(&socket)?;
        socket.set_nonblocking(true)?;
        let address = Address::Tcp(socket.local_addr()?);
        Ok(Self {
            socket: ListenerSocket::Tcp(socket),
            address,
            opening: Opening::default(),
            passed: true,
        })
    }

    /// The same for a Unix socket; its file stays when we go.
    ///
    /// # Errors
    /// When it does not listen, or has no file.
    pub(crate) fn passed_unix(socket: UnixListener) -> io::Result<Self> {
        must_listen(&socket)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let path = address.as_pathname().ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "a Unix socket without a path")
        })?;
        Ok(Self {
            address: Address::Unix(path.to_owned()),
            socket: ListenerSocket::Unix(socket),
            opening: Opening::default(),
            passed: true,
        })
    }

    fn bind_tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        rustix::net::listen(&socket, BACKLOG)?; // again, with a longer queue than std asks for
        socket.set_nonblocking(true)?;
        let address = Address::Tcp(socket.local_addr()?);
        Ok(Self {
            socket: ListenerSocket::Tcp(socket),
            address,
            opening: Opening::default(),
            passed: false,
        })
    }

    fn bind_unix(path: &Path) -> io::Result<Self> {
        let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        if is_socket && UnixStream::connect(path).is_err() {
            fs::remove_file(path)?; // left behind by a process that is gone
        }
        let socket = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: ListenerSocket::Unix(socket),
            address: Address::Unix(path.to_owned()),
            opening: Opening::default(),
            passed: false,
        })
    }

    /// Where it listens; the port is the real one, also where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The TCP address, if it is one.
    #[must_use]
    pub const fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.address {
            Address::Tcp(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// The same socket for whoever accepts in the ordinary way; none for a Unix socket.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    pub fn to_tcp(&self) -> io::Result<Option<TcpListener>> {
        match &self.socket {
            ListenerSocket::Tcp(socket) => socket.try_clone().map(Some),
            ListenerSocket::Unix(_) => Ok(None),
        }
    }

    fn accept(&self) -> io::Result<(RawStream, Peer)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match &self.socket {
            ListenerSocket::Tcp(socket) => {
                let (stream, from) = rustix::net::acceptfrom_with(socket, flags)?;
                let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                let from =
                    from.ok_or_else(|| io::Error::other("a TCP client without an address"))?;
                Ok((RawStream::Tcp(stream.into()), Peer::tcp(from)))
            }
            ListenerSocket::Unix(socket) => {
                let stream: OwnedFd = rustix::net::accept_with(socket, flags)?;
                Ok((RawStream::Unix(stream.into()), Peer::Unix))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match &self.socket {
            ListenerSocket::Tcp(socket) => socket.as_fd(),
            ListenerSocket::Unix(socket) => socket.as_fd(),
        }
    }
}

impl std::os::fd::AsRawFd for Listener {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let (Address::Unix(path), false) = (&self.address, self.passed) {
            let _ = fs::remove_file(path); // best effort: a stale socket is replaced at the next start
        }
    }
}

/// An accepted connection that no runtime knows yet, so that any worker can take it.
#[derive(Debug)]
pub struct Accepted {
    stream: RawStream,
    peer: Peer,
    place: Place,
    opening: Opening,
}

/// The same, known to the current runtime.
#[derive(Debug)]
pub struct Registered {
    /// The socket.
    pub socket: Socket,
    /// Who connected it.
    pub peer: Peer,
    /// Its place among the connections.
    pub place: Place,
    /// What it begins with.
    pub opening: Opening,
}

#[derive(Debug)]
enum RawStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Accepted {
    /// Registers the connection with the current runtime.
    ///
    /// # Errors
    /// When the kernel has no room for it.
    pub fn register(self) -> io::Result<Registered> {
        let socket = match self.stream {
            RawStream::Tcp(stream) => {
                stream.set_nodelay(true)?; // answers are sent whole; nothing is gained by waiting for more
                Socket::Tcp(tokio::net::TcpStream::from_std(stream)?)
            }
            RawStream::Unix(stream) => Socket::Unix(tokio::net::UnixStream::from_std(stream)?),
        };
        Ok(Registered {
            socket,
            peer: self.peer,
            place: self.place,
            opening: self.opening,
        })
    }
}

/// How many connections are open, and how many may be.
#[derive(Debug)]
pub struct Room {
    open: AtomicUsize,
    max: usize,
    freed: Notify,
}

/// One connection's place in the [`Room`] and at its worker; dropping it makes room.
#[derive(Debug)]
pub struct Place {
    room: Arc<Room>,
    worker: Option<Arc<AtomicUsize>>,
}

/// Hands connections to the worker that has the fewest.
#[derive(Clone, Debug)]
pub struct HandOut {
    workers: Vec<Intake>,
}

#[derive(Clone, Debug)]
struct Intake {
    connections: mpsc::Sender<Accepted>,
    open: Arc<AtomicUsize>,
}

impl HandOut {
    /// To the workers behind these channels.
    #[must_use]
    pub fn new(workers: Vec<mpsc::Sender<Accepted>>) -> Self {
        let intake = |connections| Intake {
            connections,
            open: Arc::default(),
        };
        Self {
            workers: workers.into_iter().map(intake).collect(),
        }
    }

    /// Waits while that worker is too busy to take it. False when it is gone.
    async fn deliver(&self, mut accepted: Accepted) -> bool {
        let fewest = self
            .workers
            .iter()
            .min_by_key(|worker| worker.open.load(Relaxed));
        let Some(worker) = fewest else { return false };
        worker.open.fetch_add(1, Relaxed);
        accepted.place.worker = Some(Arc::clone(&worker.open));
        worker.connections.send(accepted).await.is_ok()
    }
}

impl Room {
    /// Room for `max` connections.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            max,
            freed: Notify::new(),
        })
    }

    async fn enter(self: &Arc<Self>) -> Place {
        loop {
            let freed = self.freed.notified();
            let entered = self.open.fetch_update(Relaxed, Relaxed, |open| {
                (open < self.max).then_some(open + 1)
            });
            if entered.is_ok() {
                return Place {
                    room: Arc::clone(self),
                    worker: None,
                };
            }
            freed.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(open) = &self.worker {
            open.fetch_sub(1, Relaxed);
        }
        if self.room.open.fetch_sub(1, Relaxed) == self.room.max {
            self.room.freed.notify_waiters();
        }
    }
}

/// Accepts until the drain begins, then takes what the kernel has queued and closes.
pub async fn accept(
    listener: Listener,
    room: Arc<Room>,
    mut drain: Drain,
    workers: HandOut,
    metrics: Arc<Metrics>,
) {
    #[expect(
        deprecated,
        reason = "its successor is an unsafe function; a `Listener` keeps one descriptor for life"
    )]
    let listener = match AsyncFd::new(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot accept connections"),
    };
    let mut drained = drain.clone();
    let mut stop = std::pin::pin!(drain.reached(Stage::Draining));
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = next(&listener, &room) => match accepted {
                Ok(accepted) => {
                    if !workers.deliver(accepted).await {
                        return;
                    }
                }
                Err(error) => {
                    metrics.accept_failed();
                    tracing::warn!(%error, "cannot accept a connection; resting for a moment");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    let passed = listener.get_ref().passed;
    tokio::select! {
        () = empty(listener.get_ref(), &room, &workers, &metrics) => {}
        () = drained.reached(Stage::Cut) => {}
        () = tokio::time::sleep(PASSED_QUEUE_MAX), if passed => {}
    }
}

fn must_listen(socket: &impl AsFd) -> io::Result<()> {
    if rustix::net::sockopt::socket_acceptconn(socket)? {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "it does not listen",
    ))
}

/// The next connection and its place. The place is taken when a connection is there, so that a listener on which
/// nothing happens keeps none from the others.
async fn next(listener: &AsyncFd<Listener>, room: &Arc<Room>) -> io::Result<Accepted> {
    loop {
        listener.readable().await?.retain_ready();
        let place = room.enter().await;
        let mut guard = listener.readable().await?;
        match guard.try_io(|listener| listener.get_ref().accept()) {
            Ok(Ok((stream, peer))) => {
                return Ok(Accepted {
                    stream,
                    peer,
                    place,
                    opening: listener.get_ref().opening,
                });
            }
            Ok(Err(error)) if is_the_clients(&error) => {}
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
}

/// Takes what the kernel has queued.
async fn empty(listener: &Listener, room: &Arc<Room>, workers: &HandOut, metrics: &Metrics) {
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                let accepted = Accepted {
                    stream,
                    peer,
                    place: room.enter().await,
                    opening: listener.opening,
                };
                if !workers.deliver(accepted).await {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if is_the_clients(&error) => {}
            Err(_short) => {
                metrics.accept_failed();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A client that went away while it was queued is not our error.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
    )
}

/// Raises the soft limit on file descriptors to the hard one and returns it.
#[must_use]
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::Resource::Nofile;
    use rustix::process::Rlimit;
    let limit = rustix::process::getrlimit(Nofile);
    let _ = rustix::process::setrlimit(
        Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    rustix::process::getrlimit(Nofile)
        .current
        .unwrap_or(1 << 20)
}

/// How many connections fit `descriptors`: each needs one for the client and one for the upstream, and 256 are
/// kept for files and listeners.
#[must_use]
pub fn connections_for(descriptors: u64) -> usize {
    let fit = descriptors.saturating_sub(256) / 2;
    usize::try_from(fit).unwrap_or(usize::MAX).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_files() {
        assert_eq!(connections_for(100), 1);
        assert_eq!(connections_for(1_256), 500);
        assert_eq!(connections_for(1 << 20), 10_000);
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_the_address() {
        let first = Listener::bind(&Address::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let error = Listener::bind(first.address()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot listen at {}", first.address())),
            "{error}"
        );
        assert!(error.hint().is_some());
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate.sock");
        drop(UnixListener::bind(&path).unwrap()); // leaves the file behind
        let address = Address::Unix(path.clone());
        let live = Listener::bind(&address).unwrap();
        assert!(Listener::bind(&address).is_err());
        drop(live);
        assert!(!path.exists());
    }
}
