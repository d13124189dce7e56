//! A client on a raw socket: it sends exactly the bytes that a test names, in the pieces it wants, and
//! reads answers under a deadline. Not for: well-behaved traffic only; it may break any rule.

use std::io::Write;
use std::net::IpAddr;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use crate::harness::SOON;
use crate::harness::message::Failed;
use crate::harness::message::Response;
use crate::harness::message::read_response;
use crate::harness::wire::Broken;
use crate::harness::wire::Reader;
use crate::harness::wire::Wire;
use crate::harness::wire::lossy;

/// One connection to keygate.
pub(crate) struct Client {
    reader: Reader,
}

impl Client {
    /// Connects over TCP.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Connects over TCP, or says why not.
    pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, SOON)?;
        stream.set_nodelay(true)?;
        let wire = Wire::Tcp(stream);
        wire.set_write_timeout(SOON)?;
        Ok(Self::over(wire))
    }

    /// Over what is connected already.
    pub(crate) fn over(wire: Wire) -> Self {
        Self {
            reader: Reader::new(wire),
        }
    }

    /// Connects over TCP from one of this machine's own addresses.
    #[track_caller]
    pub(crate) fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::new(source, 0)).unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        let wire = Wire::Tcp(TcpStream::from(socket));
        wire.set_write_timeout(SOON).unwrap();
        Self {
            reader: Reader::new(wire),
        }
    }

    /// Connects to a Unix socket.
    #[track_caller]
    pub(crate) fn connect_unix(path: &Path) -> Self {
        let wire = Wire::Unix(UnixStream::connect(path).unwrap());
        wire.set_write_timeout(SOON).unwrap();
        Self {
            reader: Reader::new(wire),
        }
    }

    /// Sends in one write where the kernel takes it. An error is left to the next read: keygate may
    /// have answered and closed already.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes);
    }

    /// Sends, or says that the connection is gone.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.reader.wire.write_all(bytes.as_ref())
    }

    /// How long a send may wait for room.
    pub(crate) fn write_within(&mut self, span: Duration) {
        self.reader.wire.set_write_timeout(span).unwrap();
    }

    /// Sends every byte in a segment of its own.
    pub(crate) fn send_bytewise(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.try_send([*byte]).is_err() {
                return;
            }
        }
    }

    /// The next answer; it must be whole.
    #[track_caller]
    pub(crate) fn read(&mut self, method: &str) -> Response {
        self.try_read(method).unwrap_or_else(|failed| {
            panic!(
                "no whole answer: {failed:?}; unread: {:?}",
                lossy(&self.reader.buffer)
            )
        })
    }

    /// The next answer, or how it broke.
    pub(crate) fn try_read(&mut self, method: &str) -> Result<Response, Failed> {
        self.try_read_within(method, SOON)
    }

    /// The next answer within `span`, or how it broke.
    pub(crate) fn try_read_within(
        &mut self,
        method: &str,
        span: Duration,
    ) -> Result<Response, Failed> {
        self.reader.within(span);
        read_response(&mut self.reader, method)
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        self.send(request);
        let method = request
            .split(|byte| *byte == b' ')
            .next()
            .unwrap_or_default();
        self.read(&lossy(method))
    }

    /// The connection must be closed by keygate, with nothing more on it.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        self.reader.within(SOON);
        if let Err(why) = self.reader.closed() {
            panic!("the connection is not closed: {why}");
        }
    }

    /// Whether nothing at all comes for `span`, not even the end.
    pub(crate) fn is_silent_for(&mut self, span: Duration) -> bool {
        self.reader.within(span);
        self.reader.buffer.is_empty() && self.reader.fill() == Err(Broken::Timeout)
    }

    /// The reader itself, for what is not a whole answer.
    pub(crate) fn reader(&mut self) -> &mut Reader {
        self.reader.within(SOON);
        &mut self.reader
    }

    /// Says that nothing more will be sent.
    pub(crate) fn half_close(&self) {
        let _ = self.reader.wire.shutdown(Shutdown::Write);
    }

    /// Goes with a TCP reset.
    pub(crate) fn reset(self) {
        self.reader.wire.reset_on_close();
    }
}

/// One request on a connection of its own.
#[track_caller]
pub(crate) fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Response {
    Client::connect(address).ask(request)
}
