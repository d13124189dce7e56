//! The service behind the proxies: 1 KiB for every request, and under `/seen/` the head that arrived.
//! Requests have no bodies here.

use std::io;
use std::io::Read;
use std::io::Write;

use mio::Interest;
use mio::Registry;
use mio::Token;
use mio::net::TcpListener;
use mio::net::TcpStream;

const BODY_BYTES: usize = 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// The listening socket and every connection that a proxy holds open.
pub struct Upstream {
    listener: TcpListener,
    base: usize,
    connections: Vec<Option<Connection>>,
    answer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Upstream {
    /// Listens on a free port of the loopback address.
    pub fn bind(registry: &Registry, token: Token, base: usize) -> io::Result<Self> {
        let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
        registry.register(&mut listener, token, Interest::READABLE)?;
        let answer = answer(&[b'x'; BODY_BYTES]);
        Ok(Self {
            listener,
            base,
            connections: Vec::new(),
            answer,
        })
    }

    /// The port that was free.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Takes every connection that waits.
    pub fn accept(&mut self, registry: &Registry) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let free = self.connections.iter().position(Option::is_none);
            let index = free.unwrap_or(self.connections.len());
            registry.register(&mut stream, Token(self.base + index), Interest::READABLE)?;
            let connection = Some(Connection {
                stream,
                buffer: vec![0; 16 * 1024],
                filled: 0,
            });
            match free {
                Some(index) => self.connections[index] = connection,
                None => self.connections.push(connection),
            }
        }
    }

    /// Answers what has arrived on a connection; a connection that ends is forgotten.
    pub fn ready(&mut self, index: usize) {
        let Some(slot) = self.connections.get_mut(index) else {
            return;
        };
        if let Some(connection) = slot
            && !connection.serve(&self.answer)
        {
            *slot = None;
        }
    }
}

impl Connection {
    /// Whether the connection lives on.
    fn serve(&mut self, answer_always: &[u8]) -> bool {
        loop {
            let room = self.buffer.len() - self.filled;
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return false,
                Ok(count) => {
                    self.filled += count;
                    if !self.answer_head(answer_always) {
                        return false;
                    }
                    // edge-triggered, and a short read left nothing behind
                    if count < room {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    /// One request at a time: a proxy sends no second one before the answer.
    fn answer_head(&mut self, answer_always: &[u8]) -> bool {
        let head = &self.buffer[..self.filled];
        if !head.ends_with(HEAD_END) {
            return self.filled < self.buffer.len();
        }
        // a whole answer always fits the socket's empty buffer
        let sent = if head.starts_with(b"GET /seen/") {
            let answer = answer(head);
            self.stream
                .write(&answer)
                .is_ok_and(|count| count == answer.len())
        } else {
            self.stream
                .write(answer_always)
                .is_ok_and(|count| count == answer_always.len())
        };
        self.filled = 0;
        sent
    }
}

fn answer(body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: peers\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}
