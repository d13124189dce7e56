//! Sockets as the rest sees them. [`Stream`] is TCP or Unix, in clear or under TLS, with small vectored writes joined
//! into one send;
//! [`ClientIo`] adds what a client's socket needs: a deadline on writes and a close that does not eat the answer.
//! Not for: what the bytes mean.

use std::cell::RefCell;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio_rustls::TlsStream;

use crate::net::watchdog::Watched;

/// Vectored writes up to this size are copied together and sent by one plain `send`, which costs the kernel
/// less than `writev`; measured together with the upstream pool at 6 % of a request.
const JOINED_MAX: usize = 4096;

thread_local! {
    /// Where small writes are joined: one buffer a worker, since zeroing one on the stack each time costs more
    /// than the copy.
    static JOINED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How much of what a client still sends is read and dropped after keygate has closed its side, bytes.
/// Without that, unread bytes turn the close into a reset that can eat the answer. Behind that nothing is read any
/// more, and the client, whose buffers fill up, has the rest of the time to look at what it was told: a close at
/// once would be that reset (curl then fails in one upload of ten).
const LINGER_BYTES_MAX: usize = 64 * 1024;

/// How long that is done.
const LINGER: Duration = Duration::from_secs(1);

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

/// A connection that bytes go over: a socket, in clear or under TLS.
#[derive(Debug)]
pub enum Stream {
    /// In clear.
    Plain(Socket),
    /// Under TLS. Boxed: its state is some hundred times as large as a socket.
    Tls(Box<TlsStream<Socket>>),
}

impl Socket {
    /// Makes the drop of this socket a reset rather than an orderly close. Unix sockets have no such thing.
    pub fn reset_on_drop(&self) {
        if let Self::Tcp(stream) = self {
            let _ = stream.set_zero_linger(); // a socket that is gone already needs no reset
        }
    }

    /// Whether bytes (or an end) have arrived, as far as the runtime has been told: no system call unless so.
    fn poll_arrived(&mut self, context: &mut Context<'_>) -> bool {
        let ready = match self {
            Self::Tcp(stream) => stream.poll_read_ready(context),
            Self::Unix(stream) => stream.poll_read_ready(context),
        };
        if ready.is_pending() {
            return false;
        }
        let mut byte = [0; 1];
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut byte),
            Self::Unix(stream) => stream.try_read(&mut byte),
        };
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl Stream {
    /// Makes the drop of this connection a reset rather than an orderly close.
    pub fn reset_on_drop(&self) {
        match self {
            Self::Plain(socket) => socket.reset_on_drop(),
            Self::Tls(tls) => tls.get_ref().0.reset_on_drop(),
        }
    }

    /// Whether bytes (or an end) have arrived, as far as the runtime has been told. What TLS has to tell itself
    /// (tickets of a session) is taken on the way and does not count.
    pub fn poll_arrived(&mut self, context: &mut Context<'_>) -> bool {
        match self {
            Self::Plain(socket) => socket.poll_arrived(context),
            Self::Tls(tls) => {
                let mut byte = [0; 1];
                let mut buffer = ReadBuf::new(&mut byte);
                Pin::new(&mut **tls)
                    .poll_read(context, &mut buffer)
                    .is_ready()
            }
        }
    }
}

/// Calls the same method on whatever the connection is made of.
macro_rules! on {
    ($self:expr, $variants:ident { $($variant:ident),+ }, $stream:ident => $call:expr) => {
        match $self.get_mut() { $($variants::$variant($stream) => { let $stream = Pin::new($stream); $call })+ }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on!(self, Socket { Tcp, Unix }, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on!(self, Socket { Tcp, Unix }, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on!(self, Socket { Tcp, Unix }, stream => stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // sockets hold nothing back
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, Socket { Tcp, Unix }, stream => stream.poll_shutdown(context))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on!(self, Stream { Plain, Tls }, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on!(self, Stream { Plain, Tls }, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total <= JOINED_MAX {
            return JOINED.with_borrow_mut(|joined| {
                joined.clear();
                for slice in slices {
                    joined.extend_from_slice(slice);
                }
                self.poll_write(context, joined)
            });
        }
        on!(self, Stream { Plain, Tls }, stream => stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// TLS may hold records that the socket had no room for.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, Stream { Plain, Tls }, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, Stream { Plain, Tls }, stream => stream.poll_shutdown(context))
    }
}

/// A client's socket.
#[derive(Debug)]
pub struct ClientIo {
    stream: Stream,
    watched: Arc<Watched>,
    linger: bool,
    lingered: Option<usize>,
}

impl ClientIo {
    /// The client may take nothing for as long as [`Watched::pause`] says while keygate has something to send.
    #[must_use]
    pub const fn new(stream: Stream, watched: Arc<Watched>) -> Self {
        Self {
            stream,
            watched,
            linger: false,
            lingered: None,
        }
    }

    /// The client may still be sending: when closing, read and drop some of it, so that it can read the answer.
    pub const fn linger(&mut self) {
        self.linger = true;
    }

    /// Keeps the promise of [`Watched`] around a write.
    fn watch_write<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.watched.write.clear();
            return written;
        }
        if self.watched.passed(&self.watched.write) {
            self.watched.write.clear();
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client takes no bytes",
            )));
        }
        self.watched
            .arm_once(&self.watched.write, self.watched.pause());
        Poll::Pending
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch_write(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch_write(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Stream::Plain(_) = self.stream {
            return Poll::Ready(Ok(())); // what was written is written
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch_write(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingered.is_none() {
            // TLS has a last word to say, for which the client may have no room.
            let shut = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.watch_write(shut))?;
            self.watched.want_reset(false); // everything was flushed, and the end has been told in order
            if !self.linger {
                return Poll::Ready(Ok(()));
            }
            // Nothing is written any more; others may still keep their own time by `read`.
            self.watched.arm(&self.watched.write, LINGER);
            self.lingered = Some(0);
        }
        let mut scratch = [0; 4096];
        loop {
            if self.watched.passed(&self.watched.write) {
                return Poll::Ready(Ok(()));
            }
            if self.lingered >= Some(LINGER_BYTES_MAX) {
                return Poll::Pending; // until the time has passed
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    self.lingered = self.lingered.map(|dropped| dropped + buffer.filled().len());
                }
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        if self.watched.reset_wanted() {
            self.stream.reset_on_drop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use rcgen::CertificateParams;
    use rcgen::KeyPair;
    use rustls::ClientConfig;
    use rustls::RootCertStore;
    use rustls::ServerConfig;
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::ServerName;
    use tokio::runtime::LocalRuntime;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::clock::Clock;
    use crate::net::watchdog::CoarseClock;

    /// Both ends of a connection under TLS.
    async fn secured() -> (TlsStream<Socket>, TlsStream<Socket>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (here, there) = UnixStream::pair().unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let (accepted, connected) = tokio::join!(
            TlsAcceptor::from(Arc::new(server)).accept(Socket::Unix(here)),
            TlsConnector::from(Arc::new(client)).connect(name, Socket::Unix(there)),
        );
        (accepted.unwrap().into(), connected.unwrap().into())
    }

    #[test]
    fn an_end_that_the_client_has_no_room_for_has_its_time() {
        LocalRuntime::new().unwrap().block_on(async {
            let (stream, _silent) = secured().await;
            let watched = Watched::new(CoarseClock::new(Clock::system()), Duration::ZERO);
            let stream = Stream::Tls(Box::new(stream));
            let mut io = ClientIo::new(stream, Arc::clone(&watched));
            poll_fn(|context| {
                let bytes = [0; 16 * 1024];
                while Pin::new(&mut io).poll_write(context, &bytes).is_ready() {}
                watched.write.clear();
                assert!(Pin::new(&mut io).poll_shutdown(context).is_pending());
                let Poll::Ready(Err(error)) = Pin::new(&mut io).poll_shutdown(context) else {
                    panic!("it waits for ever");
                };
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                Poll::Ready(())
            })
            .await;
        });
    }
}
