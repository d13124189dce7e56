//! Connections of the admin API: accepted up to a bound, one request each, cut when nothing moves. Each request runs
//! as a task of its own, so that a panic ends that request only, and a change that was begun is finished and noted
//! even when its client has left or keygate stops. Not for: what requests do, see `routes`.

use std::convert::Infallible;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Request;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::admin::Shared;
use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::places::Place;
use crate::admin::places::Places;
use crate::admin::places::Taken;
use crate::admin::request::discard;
use crate::admin::routes;
use crate::key::token::hex;
use crate::net::io::Socket;
use crate::net::io::Stream;
use crate::net::tls::HandshakeError;
use crate::net::tls::Server;

/// A few administrators and their tools.
const CONNECTIONS_MAX: usize = 128;
/// How much of a head may come in before it is whole.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// How long requests that have begun may take to end when keygate stops: an edit waits 5 s for a lock, and so does its
/// line in the audit log.
const FINISH_MAX: Duration = Duration::from_secs(12);
/// Streams end when keygate stops; one whose client does not read is cut after this.
const STREAM_END_MAX: Duration = Duration::from_millis(500);
/// From accept to the end of the head.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// An answer that the client does not read for so long is cut.
const STALL_MAX: Duration = Duration::from_secs(30);
/// How often that is looked at.
const STALL_LOOK: Duration = Duration::from_secs(5);
/// After a failed accept; file descriptors come back in the meantime.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// On every answer that does not say more about itself, and never a word of CORS.
const FIXED: [(HeaderName, &str); 7] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Of those, what only a document heeds.
const OF_DOCUMENTS: [HeaderName; 4] = [
    header::CONTENT_SECURITY_POLICY,
    header::REFERRER_POLICY,
    header::X_FRAME_OPTIONS,
    HeaderName::from_static("cross-origin-opener-policy"),
];
/// What runs within a document, by whose policies. A page is made of dozens of them.
const WITHIN_PAGES: [&str; 2] = ["text/javascript; charset=utf-8", "text/css; charset=utf-8"];

/// Answers until `stop` comes. What administrators have begun by then is finished and answered.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: impl Future<Output = ()>,
) {
    let routes = TowerToHyperService::new(routes::router(&shared));
    let places = Arc::new(Places::new(CONNECTIONS_MAX));
    // Closed when the last request has ended, with or without its connection.
    let (running, mut ended) = mpsc::channel(1);
    let with = With {
        shared,
        routes,
        running,
    };
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&listener, &places, &with, &mut connections) => {}
        () = stop => {}
    }
    with.shared.stopping.send_replace(true);
    drop((listener, with));
    places.clear();
    let finished = async {
        let connections = connections.join_all();
        let mut connections = pin!(connections);
        if timeout(STREAM_END_MAX, &mut connections).await.is_err() {
            places.clear_endless();
            connections.await;
        }
        ended.recv().await;
    };
    if timeout(FINISH_MAX, finished).await.is_err() {
        tracing::warn!(after = ?FINISH_MAX, "requests of the admin API take too long, and are cut");
    }
}

/// What every connection works with.
#[derive(Clone)]
struct With {
    shared: Arc<Shared>,
    routes: TowerToHyperService<axum::Router>,
    /// Held for as long as a request runs.
    running: mpsc::Sender<Infallible>,
}

/// For ever.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Places>,
    with: &With,
    connections: &mut JoinSet<()>,
) {
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, peer)) => {
                let taken = places.take(peer.ip().to_canonical()).await;
                connections.spawn(connection(socket, taken, with.clone()));
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept an admin connection");
                with.shared.api.metrics.accept_failed();
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, taken: Taken, with: With) {
    let _ = socket.set_nodelay(true); // without it answers are late, and still right
    let handshake = with.shared.api.config.timeouts.handshake;
    let server = with.shared.api.certificates.admin().cloned();
    let (progress, client) = (Arc::new(Progress::default()), taken.place().client());
    let (noted, place) = (Arc::clone(&progress), Arc::clone(taken.place()));
    let service = service_fn(move |request| {
        noted.begin();
        let answer = run(request, Arc::clone(&place), with.clone());
        let noted = Arc::clone(&noted);
        async move {
            let response = answer.await.map(|body| {
                Body::new(Noted {
                    body,
                    progress: Arc::clone(&noted),
                })
            });
            noted.end();
            Ok::<_, Infallible>(response)
        }
    });
    let serving = async {
        let stream = match server {
            Some(server) => timeout(handshake, secured(&server, socket)).await??,
            None => Stream::Plain(Socket::Tcp(socket)),
        };
        let served = http1::Builder::new()
            .keep_alive(false)
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        Ok::<_, Broke>(served.await?)
    };
    tokio::select! {
        served = serving => if let Err(error) = served {
            tracing::debug!(client.addr = %client, %error, "an admin connection broke");
        },
        () = progress.stalled() => {
            tracing::debug!(client.addr = %client, "an admin connection does not move");
        }
        () = taken.wanted() => {
            tracing::debug!(client.addr = %client, "an admin connection gives way");
        }
    }
}

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
enum Broke {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("a TLS handshake took longer than timeouts.handshake")]
    Late(#[from] Elapsed),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

async fn secured(server: &Server, socket: TcpStream) -> Result<Stream, HandshakeError> {
    let secured = server.accept(Socket::Tcp(socket)).await?;
    Ok(Stream::Tls(Box::new(secured.stream.into())))
}

/// The answer to one request, whatever happens on the way.
async fn run(request: Request<Incoming>, place: Arc<Place>, with: With) -> Response {
    let request_id = request_id();
    let id = Arc::clone(&request_id);
    let work = async move {
        let With {
            shared,
            routes,
            running: _running,
        } = with;
        let (mut parts, body) = request.into_parts();
        let ours = agrees(&parts).and_then(|()| shared.access.guard_host(&parts.headers));
        if let Err(error) = ours {
            discard(Body::new(body), &parts.headers).await;
            return error.answer(&id);
        }
        if let Some(uri) = routes::below(shared.api.config.admin.url_path(), &parts.uri) {
            parts.uri = uri;
        }
        let mut request = Request::from_parts(parts, Body::new(body));
        request.extensions_mut().insert(routes::Origin {
            place,
            request_id: id,
        });
        let Ok(response) = routes.call(request).await;
        response
    };
    let mut response = survived(work, &request_id).await;
    let headers = response.headers_mut();
    fix(headers);
    // Nobody asks about a script or a style by its id, and a page loads dozens of them.
    if !is_within_pages(headers)
        && let Ok(id) = HeaderValue::from_str(&request_id)
    {
        headers.insert("x-request-id", id);
    }
    response
}

/// The answer, or one that says that there is none. The work is a task of its own: it ends by itself, and not with
/// the connection.
async fn survived(
    work: impl Future<Output = Response> + Send + 'static,
    request_id: &str,
) -> Response {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, request_id, "an admin request ended abnormally");
        ApiError::new(Code::Internal, "a fault of keygate; its log says more").answer(request_id)
    })
}

/// A target in absolute form names a host as well: it has to be the one of the `Host` field, which is what is
/// guarded (RFC 9112 §3.2.2 lets the target win).
fn agrees(parts: &Parts) -> Result<(), ApiError> {
    let host = parts
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    match parts.uri.authority() {
        Some(target) if !host.is_some_and(|host| target.as_str().eq_ignore_ascii_case(host)) => {
            let detail = "the host in the request's target is not the one of its Host field";
            Err(ApiError::new(Code::HostNotAllowed, detail))
        }
        Some(_) | None => Ok(()),
    }
}

fn is_within_pages(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| WITHIN_PAGES.iter().any(|known| kind == known))
}

fn fix(headers: &mut HeaderMap) {
    let within = is_within_pages(headers);
    for (name, value) in FIXED {
        if within && OF_DOCUMENTS.contains(&name) {
            continue;
        }
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

/// 128 random bits, unique and not secret.
fn request_id() -> Arc<str> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    hex(&bytes).into()
}

/// Whether an answer moves.
#[derive(Debug, Default)]
struct Progress {
    /// Requests begun, and pieces of answers taken.
    count: AtomicU64,
    /// Requests that are being worked on: those have limits of their own.
    working: AtomicU64,
}

impl Progress {
    fn begin(&self) {
        self.working.fetch_add(1, Relaxed);
    }

    fn end(&self) {
        self.working.fetch_sub(1, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    /// Ends when nothing has moved for [`STALL_MAX`]. Before the first request, the limit of the head is shorter.
    async fn stalled(&self) {
        let (mut seen, mut still) = (0, Duration::ZERO);
        while still < STALL_MAX {
            sleep(STALL_LOOK).await;
            let count = self.count.load(Relaxed);
            if count == seen && self.working.load(Relaxed) == 0 {
                still += STALL_LOOK;
            } else {
                (seen, still) = (count, Duration::ZERO);
            }
        }
    }
}

/// A body whose pieces are counted as they leave.
struct Noted {
    body: Body,
    progress: Arc<Progress>,
}

impl http_body::Body for Noted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.progress.count.fetch_add(1, Relaxed);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[test]
    fn a_panic_ends_one_request() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let answer = survived(async { panic!("a fault") }, "r").await;
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let answer = survived(async { Response::new(Body::empty()) }, "r").await;
            assert_eq!(answer.status(), StatusCode::OK);
        });
    }

    #[test]
    fn a_target_and_its_host_field_agree() {
        for (target, host, agree) in [
            ("/api/v1/keys", "localhost:8018", true),
            ("http://localhost:8018/api/v1/keys", "LOCALHOST:8018", true),
            ("http://evil.example/api/v1/keys", "localhost:8018", false),
            (
                "http://localhost:8018@evil.example/",
                "localhost:8018",
                false,
            ),
        ] {
            let request = Request::get(target).header("host", host).body(()).unwrap();
            assert_eq!(agrees(&request.into_parts().0).is_ok(), agree, "{target}");
        }
    }
}
