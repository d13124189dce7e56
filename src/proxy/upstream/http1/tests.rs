//! This client beside hyper's: the same bytes from the same scripted server, and the same result, except where a
//! row says that we are stricter, and why. Here is what both are run by; `answers` has the rows, `generated` the
//! properties, `requests` what is sent.

mod answers;
mod generated;
mod requests;

use super::answer::FIELDS_MAX;
use super::*;
use crate::auth::Policy;
use crate::clock::Clock;
use crate::config;
use crate::net::io::Socket;
use crate::net::io::Stream;
use crate::net::watchdog::CoarseClock;
use crate::proxy::upstream::failure::Wait;
use crate::proxy::upstream::message::Outgoing;
use crate::proxy::upstream::source::Source;
use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use tokio::io::AsyncWriteExt as _;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::runtime::LocalRuntime;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::task::yield_now;

/// Longer than anything here takes: what hangs fails.
const BOUND: Duration = Duration::from_secs(20);

const PATIENCE: Patience = Patience {
    response: Duration::from_secs(3600),
    body: Duration::from_secs(60),
    stream: Duration::from_secs(600),
    pauses: false,
};

/// What a server sends when it has read a request's head.
#[derive(Clone, Debug)]
struct Script {
    answer: Vec<u8>,
    /// Sizes of the writes, used in turn.
    writes: Vec<usize>,
    ending: Ending,
}

/// What a server does behind its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Open,
    Close,
    Reset,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    NoAnswer,
    Answer(Seen),
}

#[derive(Clone, PartialEq, Eq)]
struct Seen {
    status: StatusCode,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    whole: bool,
    reusable: bool,
}

/// How much of an answer there is, from nothing to a connection that can be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    NoAnswer,
    Broken,
    Whole,
    Reused,
}

impl Outcome {
    fn extent(&self) -> Extent {
        match self {
            Self::NoAnswer => Extent::NoAnswer,
            Self::Answer(seen) if !seen.whole => Extent::Broken,
            Self::Answer(seen) if !seen.reusable => Extent::Whole,
            Self::Answer(_) => Extent::Reused,
        }
    }

    fn body(&self) -> &[u8] {
        match self {
            Self::NoAnswer => b"",
            Self::Answer(seen) => &seen.body,
        }
    }

    /// The same, but for how much of a broken body came out before the break was found.
    fn agrees(&self, other: &Self) -> bool {
        let (Self::Answer(this), Self::Answer(that)) = (self, other) else {
            return self == other;
        };
        if this.whole || that.whole {
            return self == other;
        }
        let prefix = this.body.starts_with(&that.body) || that.body.starts_with(&this.body);
        prefix && this.status == that.status && this.headers == that.headers
    }
}

impl Seen {
    fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        let mut fields = fields(headers);
        fields.dedup_by(|a, b| a == b && a.0 == "content-length"); // hyper keeps equal lengths, we make them one
        Self {
            status,
            headers: fields,
            body: Vec::new(),
            trailers: Vec::new(),
            whole: false,
            reusable: false,
        }
    }
}

/// Short enough to be read where a test fails.
impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!(
            "{} whole={} reusable={} {} bytes {:?} {:?} {:?}",
            self.status,
            self.whole,
            self.reusable,
            self.body.len(),
            String::from_utf8_lossy(&self.body),
            self.headers,
            self.trailers
        );
        f.write_str(&text.chars().take(600).collect::<String>())
    }
}

fn fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    headers.iter().map(field).collect()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = LocalRuntime::new().unwrap();
    let bounded = async { tokio::time::timeout(BOUND, test).await };
    runtime.block_on(bounded).expect("nothing here may hang")
}

/// Lets the other tasks see what has been written: a task that yields runs again after the sockets were looked
/// at and everybody else had a turn.
async fn settle() {
    for _ in 0..4 {
        yield_now().await;
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (client, (server, _)) = (client.unwrap(), server.unwrap());
    server.set_nodelay(true).unwrap();
    (client, server)
}

/// Reads a head and what came with it.
async fn read_head(socket: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    while memchr::memmem::find(&read, b"\r\n\r\n").is_none() {
        assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0, "a whole head");
    }
    read
}

/// The scripted server. Its socket comes out if it is still open.
async fn play(mut socket: TcpStream, script: Script) -> Option<TcpStream> {
    read_head(&mut socket).await;
    let mut rest = &script.answer[..];
    let mut sizes = script.writes.iter().cycle();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        if socket.write_all(now).await.is_err() {
            return None; // the client has seen enough
        }
        settle().await;
        rest = later;
    }
    match script.ending {
        Ending::Open => return Some(socket),
        Ending::Close => {}
        Ending::Reset => socket.set_zero_linger().unwrap(),
    }
    None
}

fn policy() -> Arc<Policy> {
    let auth = config::Auth {
        sources: vec![config::Source::Header(HeaderName::from_static("x-api-key"))],
        on_conflict: config::OnConflict::First,
        mode: config::Mode::Enforce,
        public: Vec::new(),
        preflight: config::Preflight::Authenticate,
        hide: true,
        identity: config::Identity {
            id: HeaderName::from_static("x-keygate-key-id"),
            name: HeaderName::from_static("x-keygate-key-name"),
        },
        realm: "keygate".to_owned(),
        on_revoke: config::OnRevoke::Cut,
    };
    Arc::new(Policy::new(&auth).unwrap())
}

fn watched(clock: &Arc<CoarseClock>) -> Arc<Watched> {
    Watched::new(Arc::clone(clock), Duration::from_secs(60))
}

fn connection(stream: TcpStream) -> Connection {
    Connection {
        stream: Stream::Plain(Socket::Tcp(stream)),
        input: BytesMut::new(),
        address: "upstream".into(),
        socket_address: None,
        generation: 0,
    }
}

/// A request as the handler gets it, from a hyper server that has read `request`, and the client's end.
async fn arrived(request: &[u8]) -> (Request<Incoming>, DuplexStream) {
    let (mut client, server) = tokio::io::duplex(256 * 1024);
    let (give, given) = oneshot::channel();
    let give = Rc::new(RefCell::new(Some(give)));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let give = give.borrow_mut().take().expect("one request");
        give.send(request).unwrap();
        std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>()
    });
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    drop(spawn_local(serving));
    client.write_all(request).await.unwrap();
    (given.await.unwrap(), client)
}

fn upload(request: Request<Incoming>, hold: bool, body_max: u64) -> Upload {
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
    let outgoing = Outgoing {
        method: &parts.method,
        target: parts.uri.path(),
        headers: &headers,
        body_max,
        hold,
        pauses: false,
        stream: None,
        policy: &policy(),
    };
    let source = Source::new(&outgoing, body);
    Upload::new(&outgoing, source)
}

/// The answer to a request without a body, as this client reads it.
async fn ours(method: &Method, script: Script) -> Outcome {
    let (client, server) = pair().await;
    let serving = spawn_local(play(server, script));
    let (request, _client) =
        arrived(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
    let clock = CoarseClock::new(Clock::system());
    let mut exchange = Exchange::new(
        connection(client),
        upload(request, false, u64::MAX),
        watched(&clock),
        PATIENCE,
    );
    let Ok(head) = std::future::poll_fn(|context| exchange.poll_head(context)).await else {
        return Outcome::NoAnswer;
    };
    let mut seen = Seen::new(head.status, &head.headers);
    loop {
        match std::future::poll_fn(|context| exchange.poll_part(context)).await {
            None => seen.whole = true,
            Some(Ok(Part::Data(data))) => {
                assert!(!data.is_empty(), "nobody needs empty data");
                seen.body.extend_from_slice(&data);
                continue;
            }
            Some(Ok(Part::Trailers(trailers))) => {
                seen.trailers = fields(&trailers);
                continue;
            }
            Some(Err(_)) => {}
        }
        break;
    }
    let reusable = seen.whole && exchange.reusable();
    let mut connection = exchange.into_parts().0;
    let _open = serving.await.unwrap();
    settle().await;
    seen.reusable = reusable && !arrived_unasked(&mut connection).await;
    Outcome::Answer(seen)
}

/// What the pool asks before it gives a connection out again.
async fn arrived_unasked(connection: &mut Connection) -> bool {
    std::future::poll_fn(|context| Poll::Ready(connection.stream.poll_arrived(context))).await
}

/// The same, as hyper's client reads it.
async fn hypers(method: &Method, script: Script) -> Outcome {
    let (client, server) = pair().await;
    let serving = spawn_local(play(server, script));
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_headers(FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX + 1)
        .handshake(TokioIo::new(client))
        .await
        .unwrap();
    drop(spawn_local(connection));
    let request = Request::builder()
        .method(method)
        .uri("/")
        .header("host", "a");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let Ok(mut answer) = sender.send_request(request).await else {
        return Outcome::NoAnswer;
    };
    let mut seen = Seen::new(answer.status(), answer.headers());
    loop {
        match answer.body_mut().frame().await {
            None => seen.whole = true,
            Some(Ok(frame)) => {
                match frame.into_data() {
                    Ok(data) => seen.body.extend_from_slice(&data),
                    Err(frame) => seen.trailers = fields(&frame.into_trailers().unwrap()),
                }
                continue;
            }
            Some(Err(_)) => {}
        }
        break;
    }
    let _open = serving.await.unwrap();
    settle().await;
    seen.reusable = seen.whole && sender.is_ready();
    Outcome::Answer(seen)
}
