//! A socket, TCP or Unix, and the reading of messages from it under a hard deadline.
//! Not for: what messages mean, which is `message`.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use std::time::Instant;

use rustls::ClientConnection;
use rustls::StreamOwned;

use crate::harness::message::Head;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Under TLS, as the client.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tls(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    /// Under TLS without a word to the other side.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
            Self::Tls(stream) => stream.sock.shutdown(how),
        }
    }

    pub(crate) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
            Self::Unix(stream) => stream.set_read_timeout(timeout),
            Self::Tls(stream) => stream.sock.set_read_timeout(timeout),
        }
    }

    pub(crate) fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_write_timeout(Some(timeout)),
            Self::Tls(stream) => stream.sock.set_write_timeout(Some(timeout)),
        }
    }

    /// Makes the close of this socket a TCP reset.
    pub(crate) fn reset_on_close(&self) {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => &stream.sock,
            Self::Unix(_) => return,
        };
        rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a message could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The other side closed before the first byte.
    Closed,
    /// The other side closed in the middle.
    Cut,
    /// The connection was reset.
    Reset,
    /// TLS ended without the word that says so (`close_notify`).
    Truncated,
    /// Nothing came in time.
    Timeout,
    /// What came is not HTTP.
    Malformed(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Reset,
        }
    }
}

/// A socket with what was read from it and not yet used.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) wire: Wire,
    pub(crate) buffer: Vec<u8>,
    /// No read goes on beyond this moment.
    pub(crate) deadline: Instant,
}

impl Reader {
    pub(crate) fn new(wire: Wire) -> Self {
        Self {
            wire,
            buffer: Vec::new(),
            deadline: Instant::now() + crate::harness::SOON,
        }
    }

    /// Bounds all reads from here on.
    pub(crate) fn within(&mut self, span: Duration) {
        self.deadline = Instant::now() + span;
    }

    /// Reads once; 0 at the end of the stream.
    pub(crate) fn fill(&mut self) -> Result<usize, Broken> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Broken::Timeout);
        }
        self.wire.set_read_timeout(left)?;
        let mut chunk = [0; 64 * 1024];
        loop {
            match self.wire.read(&mut chunk) {
                Ok(count) => {
                    self.buffer.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next head, up to and with its empty line.
    pub(crate) fn head(&mut self) -> Result<Head, Broken> {
        let mut from = 0;
        loop {
            if let Some(at) = find(&self.buffer[from..], b"\r\n\r\n") {
                let raw: Vec<u8> = self.buffer.drain(..from + at + 4).collect();
                return Head::parse(&raw).map_err(Broken::Malformed);
            }
            from = self.buffer.len().saturating_sub(3);
            if self.fill()? == 0 {
                return Err(if self.buffer.is_empty() {
                    Broken::Closed
                } else {
                    Broken::Cut
                });
            }
        }
    }

    /// Up to `most` bytes as they come, at least one.
    pub(crate) fn some(&mut self, most: usize) -> Result<Vec<u8>, Broken> {
        if self.buffer.is_empty() && self.fill()? == 0 {
            return Err(Broken::Cut);
        }
        let count = most.min(self.buffer.len());
        Ok(self.buffer.drain(..count).collect())
    }

    /// Exactly so many bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        while self.buffer.len() < count {
            if self.fill()? == 0 {
                return Err(Broken::Cut);
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// A line without its CR LF.
    pub(crate) fn line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let mut line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                line.truncate(at);
                return Ok(line);
            }
            if self.fill()? == 0 {
                return Err(Broken::Cut);
            }
        }
    }

    /// A chunked body, handed to `take` as it comes, and its trailer fields.
    pub(crate) fn chunked(
        &mut self,
        mut take: impl FnMut(&[u8]),
    ) -> Result<Vec<(String, String)>, Broken> {
        loop {
            let line = self.line()?;
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok())
                .ok_or_else(|| Broken::Malformed(format!("chunk size {:?}", lossy(&line))))?;
            if size == 0 {
                return self.trailers();
            }
            let mut left = size;
            while left > 0 {
                let piece = self.some(left)?;
                left -= piece.len();
                take(&piece);
            }
            if self.exactly(2)? != b"\r\n" {
                return Err(Broken::Malformed("a chunk without CR LF".to_owned()));
            }
        }
    }

    fn trailers(&mut self) -> Result<Vec<(String, String)>, Broken> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            fields.push(Head::field(&line).map_err(Broken::Malformed)?);
        }
    }

    /// Whether the other side has closed and sent nothing more; waits for it.
    pub(crate) fn closed(&mut self) -> Result<(), String> {
        match self.fill() {
            Ok(0) | Err(Broken::Reset) if self.buffer.is_empty() => Ok(()),
            Ok(_) | Err(Broken::Reset) => Err(format!("more came: {:?}", lossy(&self.buffer))),
            Err(broken) => Err(format!("{broken:?}")),
        }
    }
}

/// Where `needle` is in `haystack`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// Bytes as text for messages.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
