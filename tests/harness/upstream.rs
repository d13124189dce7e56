//! Upstreams under the test's control, on plain threads and raw sockets: they keep every byte that keygate
//! sent and answer what the test says, well or badly. Not for: being a good HTTP server.

use std::io;
use std::io::Write;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::harness::SOON;
use crate::harness::found;
use crate::harness::gate::Gate;
use crate::harness::message::Head;
use crate::harness::sha256;
use crate::harness::wire::Broken;
use crate::harness::wire::Reader;
use crate::harness::wire::Wire;

/// No upstream connection waits longer for its next request.
const PATIENCE: Duration = Duration::from_secs(120);

/// A request as the upstream saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: Head,
    /// Decoded, as far as it came.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether the body came to its end.
    pub(crate) complete: bool,
    /// Whether the body broke off.
    pub(crate) broken: bool,
}

/// What an upstream does after an answer.
pub(crate) enum Next {
    /// Waits for the next request.
    Keep,
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
}

type Script = dyn Fn(&mut Turn<'_>) -> io::Result<Next> + Send + Sync;

struct State {
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<Vec<Wire>>,
    bytes: AtomicU64,
    stopped: AtomicBool,
    records: bool,
    script: Box<Script>,
}

#[derive(Clone)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A service for keygate to stand in front of.
pub(crate) struct Upstream {
    address: Address,
    state: Arc<State>,
}

/// One request and its answer, from the script's side.
pub(crate) struct Turn<'a> {
    state: &'a State,
    index: Option<usize>,
    /// The request's head.
    pub(crate) head: Head,
    /// The connection, for what no other method does.
    pub(crate) reader: &'a mut Reader,
    /// How many requests came on this connection before.
    pub(crate) earlier: usize,
    body_read: bool,
}

impl Upstream {
    /// Reads each request whole and answers 200 with what it saw, in JSON.
    pub(crate) fn echo() -> Self {
        Self::scripted(|turn| {
            let body = turn.body()?;
            let answer = serde_json::json!({
                "method": turn.head.first(),
                "target": turn.head.second(),
                "fields": turn.head.fields,
                "body_bytes": body.len(),
                "body_sha256": sha256(&body),
            });
            turn.answer(
                "200 OK",
                "content-type: application/json\r\n",
                answer.to_string().as_bytes(),
            )
        })
    }

    /// As `echo`, but the answer is the target alone and nothing is kept: for load.
    pub(crate) fn fast() -> Self {
        Self::start(false, |turn| {
            let target = turn.head.second().to_owned();
            turn.body()?;
            turn.answer("200 OK", "", target.as_bytes())
        })
    }

    /// Answers in every way in which an answer can end, as the target's first segment says: `chunked`, `trailers`,
    /// `empty` (204), `closed` (by the end of the connection), `socket` (a WebSocket that ends at once), `cut` (in the
    /// middle), `broken` (without an answer), and anything else with a length. Nothing is kept.
    pub(crate) fn every_end() -> Self {
        Self::start(false, |turn| {
            let target = turn.head.second().to_owned();
            let is_head = turn.head.first() == "HEAD";
            turn.body()?;
            let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
            match target.split('/').nth(1) {
                Some("chunked") => {
                    turn.send(format!("{chunks}\r\n3\r\none\r\n0\r\n\r\n"))?;
                    Ok(Next::Keep)
                }
                Some("trailers") => {
                    turn.send(format!(
                        "{chunks}trailer: x-sum\r\n\r\n3\r\none\r\n0\r\nx-sum: 1\r\n\r\n"
                    ))?;
                    Ok(Next::Keep)
                }
                Some("empty") => {
                    turn.send("HTTP/1.1 204 No Content\r\n\r\n")?;
                    Ok(Next::Keep)
                }
                Some("socket") => {
                    turn.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x01\x02")?;
                    Ok(Next::Close)
                }
                Some("cut") => {
                    turn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")?;
                    Ok(Next::Close)
                }
                Some("broken") => Ok(Next::Close),
                Some("closed") => {
                    turn.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end")?;
                    Ok(Next::Close)
                }
                _ if is_head => {
                    turn.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")?;
                    Ok(Next::Keep)
                }
                _ => turn.answer("200 OK", "", target.as_bytes()),
            }
        })
    }

    /// Reads each request whole and waits for the gate before it answers.
    pub(crate) fn slow(gate: Gate) -> Self {
        Self::scripted(move |turn| {
            turn.body()?;
            gate.wait();
            turn.answer("200 OK", "", b"slow")
        })
    }

    /// Sends these bytes for an answer and closes.
    pub(crate) fn raw(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::scripted(move |turn| {
            turn.body()?;
            turn.send(&answer)?;
            Ok(Next::Close)
        })
    }

    /// Promises 100,000 bytes and closes after so many.
    pub(crate) fn broken_after(bytes: usize) -> Self {
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n".to_vec();
        answer.resize(answer.len() + bytes, b'x');
        Self::raw(answer)
    }

    /// Does what `script` says for each request.
    pub(crate) fn scripted(
        script: impl Fn(&mut Turn<'_>) -> io::Result<Next> + Send + Sync + 'static,
    ) -> Self {
        Self::start(true, script)
    }

    /// Answers 200 where `listener` is, and closes each connection after that.
    pub(crate) fn once_each(listener: TcpListener) -> Self {
        Self::listening(listener, true, |turn| {
            turn.body()?;
            turn.answer("200 OK", "connection: close\r\n", b"")?;
            Ok(Next::Close)
        })
    }

    fn start(
        records: bool,
        script: impl Fn(&mut Turn<'_>) -> io::Result<Next> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::listening(listener, records, script)
    }

    fn listening(
        listener: TcpListener,
        records: bool,
        script: impl Fn(&mut Turn<'_>) -> io::Result<Next> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let state = State::new(records, script);
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let _ = stream.set_nodelay(true);
                State::serve(&accepting, Wire::Tcp(stream));
            }
        });
        Self {
            address: Address::Tcp(address),
            state,
        }
    }

    /// An echo on a Unix socket at `path`.
    pub(crate) fn echo_unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let state = State::new(true, |turn| {
            let body = turn.body()?;
            turn.answer("200 OK", "", format!("unix {}", body.len()).as_bytes())
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                State::serve(&accepting, Wire::Unix(stream));
            }
        });
        Self {
            address: Address::Unix(path.to_owned()),
            state,
        }
    }

    /// An address where nobody listens.
    pub(crate) fn nowhere() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
    }

    /// For the config's `upstream`.
    pub(crate) fn url(&self) -> String {
        match &self.address {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// `host:port`, or the path of the socket.
    pub(crate) fn authority(&self) -> String {
        match &self.address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => path.display().to_string(),
        }
    }

    /// Every request whose head arrived, in order of arrival.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// How many requests arrived.
    pub(crate) fn count(&self) -> usize {
        self.state.seen.lock().unwrap().len()
    }

    /// How many bytes of requests arrived at all.
    pub(crate) fn bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::SeqCst)
    }

    /// The one request for this target.
    #[track_caller]
    pub(crate) fn seen_at(&self, target: &str) -> Seen {
        let seen: Vec<Seen> = self
            .seen()
            .into_iter()
            .filter(|seen| seen.head.second() == target)
            .collect();
        assert_eq!(seen.len(), 1, "requests for {target}: {seen:?}");
        seen.into_iter().next().unwrap()
    }

    /// Waits for the request number `index` (from 0) to satisfy `ready`.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, index: usize, ready: impl Fn(&Seen) -> bool) -> Seen {
        found(what, SOON, || {
            self.seen().get(index).filter(|seen| ready(seen)).cloned()
        })
    }

    /// How many connections keygate has opened.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.lock().unwrap().len()
    }

    /// Closes every connection, as a server does whose keep-alive has run out.
    pub(crate) fn close_connections(&self) {
        for wire in self.state.connections.lock().unwrap().iter() {
            let _ = wire.shutdown(Shutdown::Both);
        }
    }

    /// Sends bytes that nobody asked for on every connection.
    pub(crate) fn send_unasked(&self, bytes: &[u8]) {
        for wire in self.state.connections.lock().unwrap().iter_mut() {
            let _ = wire.write_all(bytes);
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        self.close_connections();
        // Wakes the accept loop, which then ends and closes the listener.
        match &self.address {
            Address::Tcp(address) => drop(TcpStream::connect_timeout(address, SOON)),
            Address::Unix(path) => drop(UnixStream::connect(path)),
        }
    }
}

impl State {
    fn new(
        records: bool,
        script: impl Fn(&mut Turn<'_>) -> io::Result<Next> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::default(),
            connections: Mutex::default(),
            bytes: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            records,
            script: Box::new(script),
        })
    }

    fn serve(state: &Arc<Self>, wire: Wire) {
        let Ok(copy) = wire.try_clone() else { return };
        let _ = wire.set_write_timeout(PATIENCE);
        let connection = {
            let mut connections = state.connections.lock().unwrap();
            connections.push(copy);
            connections.len() - 1
        };
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            let mut reader = Reader::new(wire);
            let mut earlier = 0;
            loop {
                match state.turn(&mut reader, earlier) {
                    Ok(Next::Keep) => earlier += 1,
                    Ok(Next::Reset) => {
                        // The copy for `close_connections` would keep the socket open without a reset.
                        reader.wire.reset_on_close();
                        state.connections.lock().unwrap()[connection] = closed_wire();
                        return;
                    }
                    Ok(Next::Close) | Err(_) => {
                        let _ = reader.wire.shutdown(Shutdown::Both);
                        return;
                    }
                }
            }
        });
    }

    fn turn(&self, reader: &mut Reader, earlier: usize) -> io::Result<Next> {
        reader.within(PATIENCE);
        if reader.buffer.is_empty() {
            let count = reader.fill().map_err(|broken| gone(&broken))?;
            if count == 0 {
                return Ok(Next::Close);
            }
        }
        // Counted as soon as there is anything, so that not even half a head goes unseen.
        self.bytes
            .fetch_add(reader.buffer.len() as u64, Ordering::SeqCst);
        let head = reader.head().map_err(|broken| gone(&broken))?;
        let index = self.records.then(|| {
            let mut seen = self.seen.lock().unwrap();
            seen.push(Seen {
                head: head.clone(),
                body: Vec::new(),
                trailers: Vec::new(),
                complete: false,
                broken: false,
            });
            seen.len() - 1
        });
        let mut turn = Turn {
            state: self,
            index,
            head,
            reader,
            earlier,
            body_read: false,
        };
        (self.script)(&mut turn)
    }
}

impl Turn<'_> {
    fn record(&self, change: impl FnOnce(&mut Seen)) {
        if let Some(index) = self.index {
            change(&mut self.state.seen.lock().unwrap()[index]);
        }
    }

    /// The whole body, decoded; what comes is recorded as it comes.
    pub(crate) fn body(&mut self) -> io::Result<Vec<u8>> {
        self.body_with(|_| {})
    }

    /// As `body`, and `at_piece` is told the length so far after each piece.
    pub(crate) fn body_with(&mut self, mut at_piece: impl FnMut(usize)) -> io::Result<Vec<u8>> {
        assert!(!self.body_read, "the body is read once");
        self.body_read = true;
        let mut body = Vec::new();
        let (state, index) = (self.state, self.index);
        let mut take = |piece: &[u8]| {
            body.extend_from_slice(piece);
            if let Some(index) = index {
                state.seen.lock().unwrap()[index]
                    .body
                    .extend_from_slice(piece);
            }
            at_piece(body.len());
        };
        let result = if self.head.lists("transfer-encoding", "chunked") {
            self.reader.chunked(&mut take)
        } else {
            let length = self
                .head
                .one("content-length")
                .map_or(Ok(0), str::parse::<usize>);
            let mut left = length.unwrap_or_else(|_| panic!("keygate sent {:?}", self.head));
            loop {
                if left == 0 {
                    break Ok(Vec::new());
                }
                match self.reader.some(left) {
                    Ok(piece) => {
                        left -= piece.len();
                        take(&piece);
                    }
                    Err(broken) => break Err(broken),
                }
            }
        };
        match result {
            Ok(trailers) => {
                self.record(|seen| {
                    seen.trailers = trailers;
                    seen.complete = true;
                });
                Ok(body)
            }
            Err(broken) => {
                self.record(|seen| seen.broken = true);
                Err(gone(&broken))
            }
        }
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.wire.write_all(bytes.as_ref())
    }

    /// Sends an answer of known length (without the body for HEAD), and keeps the connection.
    pub(crate) fn answer(&mut self, status: &str, fields: &str, body: &[u8]) -> io::Result<Next> {
        let mut bytes = format!(
            "HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        if self.head.first() != "HEAD" {
            bytes.extend_from_slice(body);
        }
        self.send(bytes)?;
        Ok(Next::Keep)
    }

    /// Waits until keygate closes the connection (or sends something more: then false).
    pub(crate) fn waits_for_close(&mut self, span: Duration) -> bool {
        self.reader.within(span);
        self.reader.closed().is_ok()
    }
}

fn gone(broken: &Broken) -> io::Error {
    io::Error::other(format!("{broken:?}"))
}

/// A socket whose other end is gone, to stand where one was.
fn closed_wire() -> Wire {
    Wire::Unix(UnixStream::pair().unwrap().0)
}
