//! An upstream that is a good server of HTTP/2, in clear or under TLS, and of HTTP/1.1 where ALPN says so: hyper's, on a
//! thread of its own. It keeps what it was asked and what connections it had. Not for: breaking rules, which is
//! `upstream_frames`'.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Context;
use std::task::Poll;
use std::thread;

use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::body::Bytes;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::harness::noise;
use crate::harness::sha256;
use crate::harness::tls::Authority;
use crate::harness::tls::Issued;

/// A request as the upstream saw it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With scheme and authority where it came over HTTP/2.
    pub(crate) uri: String,
    pub(crate) version: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Asked {
    /// The values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(field, _)| field == name);
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// What was agreed on a connection under TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub(crate) alpn: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) resumed: bool,
    /// Whether keygate has shown a certificate.
    pub(crate) shown: bool,
}

/// How the upstream behaves.
#[derive(Clone)]
pub(crate) struct Manners {
    /// How many streams it allows on a connection.
    pub(crate) streams_max: Option<u32>,
    /// Whether it takes extended CONNECT.
    pub(crate) connect: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            streams_max: Some(200),
            connect: true,
        }
    }
}

struct State {
    manners: Manners,
    asked: Mutex<Vec<Asked>>,
    handshakes: Mutex<Vec<Handshake>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    streams: AtomicUsize,
    cancelled: AtomicUsize,
    /// Bytes of `/big` that were handed to the connection.
    given: AtomicUsize,
    taken: AtomicUsize,
    gate: watch::Sender<bool>,
}

/// A service for keygate to stand in front of.
pub(crate) struct H2Upstream {
    scheme: &'static str,
    address: SocketAddr,
    state: Arc<State>,
    stopped: Arc<AtomicBool>,
}

impl H2Upstream {
    /// In clear.
    pub(crate) fn h2c() -> Self {
        Self::start("h2c", Manners::default(), None, "127.0.0.1:0")
    }

    /// In clear, with these manners.
    pub(crate) fn h2c_with(manners: Manners) -> Self {
        Self::start("h2c", manners, None, "127.0.0.1:0")
    }

    /// In clear, there.
    pub(crate) fn h2c_at(address: &str) -> Self {
        Self::start("h2c", Manners::default(), None, address)
    }

    /// Under TLS, with these protocols to choose from; with `clients`, only for who shows a certificate of theirs.
    pub(crate) fn https(issued: &Issued, alpn: &[&str], clients: Option<&Authority>) -> Self {
        let tls = tls(issued, alpn, clients);
        Self::start("https", Manners::default(), Some(tls), "127.0.0.1:0")
    }

    fn start(
        scheme: &'static str,
        manners: Manners,
        tls: Option<Arc<ServerConfig>>,
        at: &str,
    ) -> Self {
        let listener = std::net::TcpListener::bind(at).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            manners,
            asked: Mutex::default(),
            handshakes: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            given: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            gate: watch::Sender::new(false),
        });
        let stopped = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (Arc::clone(&state), Arc::clone(&stopped));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while !stop.load(SeqCst) {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(connection(stream, Arc::clone(&shared), tls.clone()));
                }
            });
        });
        Self {
            scheme,
            address,
            state,
            stopped,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// What was agreed so far.
    pub(crate) fn handshakes(&self) -> Vec<Handshake> {
        self.state.handshakes.lock().unwrap().clone()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(SeqCst)
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.state.open.load(SeqCst)
    }

    /// How many requests wait at the gate.
    pub(crate) fn waiting(&self) -> usize {
        self.state.streams.load(SeqCst)
    }

    /// How many of those that waited were given up.
    pub(crate) fn cancelled(&self) -> usize {
        self.state.cancelled.load(SeqCst)
    }

    /// How much of `/big` was taken off its hands, bytes.
    pub(crate) fn given(&self) -> usize {
        self.state.given.load(SeqCst)
    }

    /// How much of request bodies has come, bytes.
    pub(crate) fn taken(&self) -> usize {
        self.state.taken.load(SeqCst)
    }

    /// Lets go of who waits at the gate, now and later.
    pub(crate) fn open_gate(&self) {
        self.state.gate.send_replace(true);
    }
}

impl Drop for H2Upstream {
    fn drop(&mut self) {
        self.open_gate();
        self.stopped.store(true, SeqCst);
        drop(std::net::TcpStream::connect(self.address));
    }
}

fn tls(issued: &Issued, alpn: &[&str], clients: Option<&Authority>) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der()).unwrap();
            let provider = Arc::new(default_provider());
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// Counts down when it goes.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

async fn connection(stream: TcpStream, state: Arc<State>, tls: Option<Arc<ServerConfig>>) {
    stream.set_nodelay(true).unwrap();
    let Some(tls) = tls else {
        return serve(stream, state, true).await;
    };
    let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await else {
        return;
    };
    let about = stream.get_ref().1;
    let alpn = about.alpn_protocol();
    let alpn = alpn.map(|name| String::from_utf8(name.to_vec()).unwrap());
    let http2 = alpn.as_deref() == Some("h2");
    state.handshakes.lock().unwrap().push(Handshake {
        alpn,
        name: about.server_name().map(str::to_owned),
        resumed: about.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        shown: about.peer_certificates().is_some(),
    });
    serve(stream, state, http2).await;
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    state: Arc<State>,
    http2: bool,
) {
    state.connections.fetch_add(1, SeqCst);
    let _open = Counted::new(&state.open);
    let io = TokioIo::new(stream);
    let shared = Arc::clone(&state);
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    // How a connection ends is keygate's affair.
    if http2 {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(state.manners.streams_max);
        if state.manners.connect {
            builder.enable_connect_protocol();
        }
        drop(builder.serve_connection(io, service).await);
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        drop(builder.serve_connection(io, service).with_upgrades().await);
    }
}

type Answer = Response<Steps>;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (mut parts, mut body) = request.into_parts();
    let pairs = |headers: &hyper::HeaderMap| -> Vec<(String, String)> {
        let pair = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        };
        headers.iter().map(pair).collect()
    };
    let mut asked = Asked {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        version: format!("{:?}", parts.version),
        fields: pairs(&parts.headers),
        trailers: Vec::new(),
    };
    let path = parts.uri.path().to_owned();
    let mut segments = path.split('/').skip(1);
    let (kind, detail) = (
        segments.next().unwrap_or_default(),
        segments.next().unwrap_or_default(),
    );
    let on_upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    if kind == "socket" {
        let http1 = parts.method == hyper::Method::GET;
        state.asked.lock().unwrap().push(asked);
        tokio::spawn(echo_tunnel(on_upgrade.unwrap()));
        let mut response = Response::new(Steps::of(None));
        if http1 {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert("connection", "upgrade".parse().unwrap());
            headers.insert("upgrade", "websocket".parse().unwrap());
            let proof = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
            headers.insert("sec-websocket-accept", proof.parse().unwrap());
        }
        return Ok(response);
    }
    if kind == "gate" || kind == "unread" {
        state.asked.lock().unwrap().push(asked.clone());
        let mut waits = Waits {
            state: &state,
            whole: false,
            _waiting: Counted::new(&state.streams),
        };
        let mut gate = state.gate.subscribe();
        gate.wait_for(|open| *open).await.unwrap();
        waits.whole = true;
    }
    let mut received = Vec::new();
    if kind != "early" {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { break };
            match frame.into_data() {
                Ok(data) => {
                    state.taken.fetch_add(data.len(), SeqCst);
                    received.extend_from_slice(&data);
                }
                Err(frame) => {
                    asked.trailers = frame
                        .into_trailers()
                        .map_or_else(|_| Vec::new(), |t| pairs(&t));
                }
            }
        }
    }
    let echo = serde_json::json!({
        "method": asked.method,
        "uri": asked.uri,
        "version": asked.version,
        "fields": asked.fields,
        "trailers": asked.trailers,
        "body_bytes": received.len(),
        "body_sha256": sha256(&received),
    });
    if kind != "gate" {
        state.asked.lock().unwrap().push(asked);
    }
    let number = || detail.parse::<usize>().unwrap();
    let mut response = match kind {
        "big" => Response::new(Steps::big(number(), &state)),
        "status" => {
            let mut response = Response::new(Steps::of(None));
            *response.status_mut() = StatusCode::from_u16(detail.parse().unwrap()).unwrap();
            response
        }
        "trailers" => {
            let mut trailers = hyper::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            trailers.insert("x-sum", "1".parse().unwrap());
            let data = Frame::data(Bytes::from_static(b"before the trailers"));
            Response::new(Steps(VecDeque::from([
                Step::Frame(data),
                Step::Frame(Frame::trailers(trailers)),
            ])))
        }
        "cut" => {
            let mut gate = state.gate.subscribe();
            let wait = async move { drop(gate.wait_for(|open| *open).await) };
            Response::new(Steps(VecDeque::from([
                Step::Frame(Frame::data(Bytes::from_static(b"half"))),
                Step::Wait(Box::pin(wait)),
                Step::Break,
            ])))
        }
        "events" => {
            let mut gate = state.gate.subscribe();
            let wait = async move { drop(gate.wait_for(|open| *open).await) };
            Response::new(Steps(VecDeque::from([
                Step::Frame(Frame::data(Bytes::from_static(b"data: 1\n\n"))),
                Step::Wait(Box::pin(wait)),
                Step::Frame(Frame::data(Bytes::from_static(b"data: 2\n\n"))),
            ])))
        }
        _ => Response::new(Steps::of(Some(echo.to_string()))),
    };
    if kind == "big" && path.ends_with("/length") {
        let length = number().to_string().parse().unwrap();
        response.headers_mut().insert("content-length", length);
    }
    if kind == "trailers" {
        let names = "x-sum, grpc-status".parse().unwrap();
        response.headers_mut().insert("trailer", names);
    }
    if kind == "events" {
        let stream = "text/event-stream".parse().unwrap();
        response.headers_mut().insert("content-type", stream);
    }
    Ok(response)
}

/// Somebody waits at the gate.
struct Waits<'a> {
    state: &'a State,
    whole: bool,
    _waiting: Counted<'a>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.state.cancelled.fetch_add(1, SeqCst);
        }
    }
}

/// Sends back what it gets.
async fn echo_tunnel(client: hyper::upgrade::OnUpgrade) {
    let Ok(client) = client.await else { return };
    let mut client = TokioIo::new(client);
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = client.read(&mut buffer).await {
        if client.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    drop(client.shutdown().await);
}

/// A body in steps.
struct Steps(VecDeque<Step>);

enum Step {
    Frame(Frame<Bytes>),
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
    Counted(Bytes, Arc<State>),
    Break,
}

impl Steps {
    fn of(text: Option<String>) -> Self {
        Self(
            text.map(|text| Step::Frame(Frame::data(text.into())))
                .into_iter()
                .collect(),
        )
    }

    fn big(bytes: usize, state: &Arc<State>) -> Self {
        let noise = Bytes::from(noise(bytes));
        let pieces = (0..bytes).step_by(16 * 1024);
        let piece = |from: usize| noise.slice(from..(from + 16 * 1024).min(bytes));
        Self(
            pieces
                .map(|from| Step::Counted(piece(from), Arc::clone(state)))
                .collect(),
        )
    }
}

impl Body for Steps {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        loop {
            match self.0.front_mut() {
                Some(Step::Wait(wait)) => {
                    std::task::ready!(wait.as_mut().poll(context));
                    self.0.pop_front();
                }
                Some(_) => break,
                None => return Poll::Ready(None),
            }
        }
        match self.0.pop_front() {
            Some(Step::Frame(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(Step::Counted(bytes, state)) => {
                state.given.fetch_add(bytes.len(), SeqCst);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Step::Break) => Poll::Ready(Some(Err(std::io::Error::other("broken")))),
            Some(Step::Wait(_)) | None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}
