//! The clients: a fixed number of keep-alive connections with one request under way on each.
//!
//! With a rate each request has its time, fixed beforehand, and its latency counts from that time also
//! when the connection was still busy then: a slow proxy cannot slow the measuring of itself.
//! Any answer but the expected status, and any connection that ends, is an error.

use std::io;
use std::io::Read;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use mio::Interest;
use mio::Registry;
use mio::Token;
use mio::net::TcpStream;

const CONNECTIONS: u32 = 64;

/// One load, as commanded.
pub struct Plan<'a> {
    port: u16,
    /// How long requests are sent.
    pub duration: Duration,
    /// Requests per second in all; 0 is the next one as soon as the last is answered.
    pub rate: u32,
    status: &'static [u8],
    requests: &'a [Vec<u8>],
}

impl<'a> Plan<'a> {
    /// `PORT MILLISECONDS RATE ALLOWED`; `requests` are those with unknown tokens, then those with known ones.
    pub fn parse(command: &str, requests: &'a [Vec<Vec<u8>>; 2]) -> io::Result<Self> {
        let numbers: Vec<u32> = command
            .split(' ')
            .map_while(|word| word.parse().ok())
            .collect();
        match numbers.as_slice() {
            &[port, milliseconds, rate, allowed @ (0 | 1)] => Ok(Self {
                port: u16::try_from(port).map_err(io::Error::other)?,
                duration: Duration::from_millis(u64::from(milliseconds)),
                rate,
                status: if allowed == 1 {
                    b"HTTP/1.1 200 "
                } else {
                    b"HTTP/1.1 401 "
                },
                requests: &requests[allowed as usize],
            }),
            _ => Err(io::Error::other(format!(
                "not PORT MILLISECONDS RATE ALLOWED: {command}"
            ))),
        }
    }
}

/// One request for each token, as it goes over the wire.
pub fn requests(tokens: &str) -> Vec<Vec<u8>> {
    let write = |(index, token): (usize, &str)| {
        format!(
            "GET /v1/items/{index}?page=2&sort=name HTTP/1.1\r\nHost: service.example\r\n\
             User-Agent: keygate-peers/1\r\nAccept: application/json\r\nX-Api-Key: {token}\r\n\r\n"
        )
        .into_bytes()
    };
    tokens.split(',').enumerate().map(write).collect()
}

/// All connections of one load.
pub struct Clients<'a> {
    plan: &'a Plan<'a>,
    connections: Vec<Client>,
    next_request: usize,
    ending: bool,
    latencies_us: Vec<u32>,
    wrong: u64,
    errors: u64,
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// Length of the answer under way, as soon as its head is there.
    expected: Option<usize>,
    /// When the request under way was sent or, with a rate, was to be sent.
    asked_at: Option<Instant>,
    due: Option<Instant>,
    open: bool,
}

impl<'a> Clients<'a> {
    /// Opens all connections, before the clock starts.
    pub fn connect(plan: &'a Plan<'a>, registry: &Registry, base: usize) -> io::Result<Self> {
        let mut connections = Vec::new();
        for index in 0..CONNECTIONS as usize {
            let stream = std::net::TcpStream::connect(("127.0.0.1", plan.port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            registry.register(&mut stream, Token(base + index), Interest::READABLE)?;
            connections.push(Client {
                stream,
                buffer: vec![0; 16 * 1024],
                filled: 0,
                expected: None,
                asked_at: None,
                due: None,
                open: true,
            });
        }
        Ok(Self {
            plan,
            connections,
            next_request: 0,
            ending: false,
            latencies_us: Vec::with_capacity(1 << 18),
            wrong: 0,
            errors: 0,
        })
    }

    /// Gives each connection its first request: at once, or spread over its turn at the rate.
    pub fn start(&mut self, now: Instant) {
        for (index, client) in (0_u32..).zip(&mut self.connections) {
            let delay = if self.plan.rate > 0 {
                index_delay(index, self.plan.rate)
            } else {
                Duration::ZERO
            };
            client.due = Some(now + delay);
        }
        self.send_due(now);
    }

    /// Sends what is due on connections that have nothing under way.
    pub fn send_due(&mut self, now: Instant) {
        if self.ending || (self.plan.rate == 0 && !self.latencies_us.is_empty()) {
            return; // without a rate the next request follows its answer
        }
        for index in 0..self.connections.len() {
            let client = &self.connections[index];
            if client.asked_at.is_none() && client.due.is_some_and(|due| due <= now) {
                self.send(index);
            }
        }
    }

    fn send(&mut self, index: usize) {
        let client = &mut self.connections[index];
        let Some(due) = client.due.take().filter(|_| client.open) else {
            return;
        };
        self.next_request = (self.next_request + 1) % self.plan.requests.len();
        let request = &self.plan.requests[self.next_request];
        client.asked_at = Some(due);
        if self.plan.rate > 0 {
            client.due = Some(due + index_delay(CONNECTIONS, self.plan.rate));
        }
        if !client
            .stream
            .write(request)
            .is_ok_and(|count| count == request.len())
        {
            self.lose(index);
        }
    }

    fn lose(&mut self, index: usize) {
        let client = &mut self.connections[index];
        if client.open {
            client.open = false;
            client.asked_at = None;
            self.errors += 1;
        }
    }

    /// Reads what has arrived; a whole answer is counted and, without a rate, followed by the next request.
    pub fn ready(&mut self, index: usize) {
        let Some(client) = self.connections.get_mut(index) else {
            return;
        };
        match client.read_answer(self.plan.status) {
            Answer::Partial => {}
            Answer::Broken => self.lose(index),
            Answer::Whole { as_expected } => {
                let now = Instant::now();
                let Some(asked_at) = client.asked_at.take() else {
                    self.lose(index);
                    return;
                };
                let micros = now.saturating_duration_since(asked_at).as_micros();
                self.latencies_us
                    .push(u32::try_from(micros).unwrap_or(u32::MAX));
                self.wrong += u64::from(!as_expected);
                if self.ending {
                    return;
                }
                if self.plan.rate == 0 {
                    client.due = Some(now);
                    self.send(index);
                } else if client.due.is_some_and(|due| due <= now) {
                    self.send(index);
                }
            }
        }
    }

    /// No further requests.
    pub fn finish(&mut self) {
        self.ending = true;
    }

    /// Whether every request that was sent is answered.
    pub fn is_done(&self) -> bool {
        self.connections
            .iter()
            .all(|client| client.asked_at.is_none())
    }

    /// What came of it, as a line of JSON.
    pub fn result(mut self, elapsed: Duration) -> String {
        let unanswered = self
            .connections
            .iter()
            .filter(|client| client.asked_at.is_some())
            .count();
        self.latencies_us.sort_unstable();
        let percentile = |percent: usize| {
            let at = (self.latencies_us.len() * percent / 100)
                .min(self.latencies_us.len().saturating_sub(1));
            self.latencies_us.get(at).copied().unwrap_or(0)
        };
        format!(
            r#"{{"requests": {}, "duration_us": {}, "wrong": {}, "errors": {}, "p50_us": {}, "p99_us": {}}}"#,
            self.latencies_us.len(),
            elapsed.as_micros(),
            self.wrong,
            self.errors + unanswered as u64,
            percentile(50),
            percentile(99),
        )
    }
}

enum Answer {
    Partial,
    Whole { as_expected: bool },
    Broken,
}

impl Client {
    fn read_answer(&mut self, status: &[u8]) -> Answer {
        if !self.open {
            return Answer::Partial;
        }
        loop {
            let room = self.buffer.len() - self.filled;
            if room == 0 {
                return Answer::Broken;
            }
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Answer::Broken,
                Ok(count) => {
                    self.filled += count;
                    if self.expected.is_none() {
                        self.expected = answer_length(&self.buffer[..self.filled]);
                    }
                    if self.expected == Some(self.filled) {
                        self.filled = 0;
                        self.expected = None;
                        return Answer::Whole {
                            as_expected: self.buffer.starts_with(status),
                        };
                    }
                    if self.expected.is_some_and(|expected| expected < self.filled) {
                        return Answer::Broken;
                    }
                    // edge-triggered, and a short read left nothing behind
                    if count < room {
                        return Answer::Partial;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Answer::Partial,
                Err(_) => return Answer::Broken,
            }
        }
    }
}

/// Head and body together, by Content-Length, once the head is there. An answer without one, which is not
/// what the upstream sends, stays incomplete and counts as an error at the end.
fn answer_length(bytes: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    bytes[..end].split(|byte| *byte == b'\n').find_map(|line| {
        let value = line
            .get(..NAME.len())
            .filter(|name| name.eq_ignore_ascii_case(NAME))
            .map(|_| &line[NAME.len()..])?;
        let length: usize = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
        Some(end + length)
    })
}

/// The time of `count` requests at `rate`.
fn index_delay(count: u32, rate: u32) -> Duration {
    Duration::from_secs(1) * count / rate
}
