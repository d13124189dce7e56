//! `/livez`, `/readyz`, `/metrics` for whoever watches this process, and `POST /drain` for `keygate drain` on the
//! same machine. It has a listener of its own, runs on the control runtime, and answers one request a
//! connection: few ask, seldom, and so nothing has to be kept for them. Not for: deciding what is healthy, see
//! `health`; what the figures are, see `metrics`.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::health::Cause;
use crate::health::Health;
use crate::key::live::KeyReader;
use crate::metrics::KeyCounts;
use crate::metrics::Metrics;

/// More ask than a monitoring system and an orchestrator do: the rest waits in the listener's queue.
const CONNECTIONS_MAX: usize = 64;
/// From accept to the end of the answer.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// After a failed accept; file descriptors come back in the meantime.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the telemetry listener tells of, and may do.
pub struct Telemetry {
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Readiness and liveness.
    pub health: Arc<Health>,
    /// The keys, to count them by state.
    pub keys: KeyReader,
    /// The time by which keys are in force and workers alive.
    pub clock: Clock,
    /// Begins to drain; called again, it must do no harm.
    pub drain: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

/// Answers until it is dropped, which ends its connections as well: the last thing to go in a drain, so that
/// the drain can be watched.
pub async fn serve(listener: TcpListener, telemetry: Telemetry) {
    accept_all(listener, telemetry, CONNECTION_MAX).await;
}

async fn accept_all(listener: TcpListener, telemetry: Telemetry, connection_max: Duration) {
    let telemetry = Arc::new(telemetry);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("nobody closes the semaphore");
        match listener.accept().await {
            Ok((socket, peer)) => {
                let telemetry = Arc::clone(&telemetry);
                connections.spawn(async move {
                    let peer = peer.ip().to_canonical();
                    if timeout(connection_max, connection(socket, peer, &telemetry)).await.is_err() {
                        tracing::debug!(client.addr = %peer, "a telemetry connection took too long");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a telemetry connection");
                telemetry.metrics.accept_failed();
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, peer: IpAddr, telemetry: &Telemetry) {
    let service = service_fn(|request| {
        std::future::ready(Ok::<_, Infallible>(answer(&request, peer, telemetry)))
    });
    let serving = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service);
    if let Err(error) = serving.await {
        tracing::debug!(client.addr = %peer, %error, "a telemetry connection broke");
    }
}

fn answer(
    request: &Request<Incoming>,
    peer: IpAddr,
    telemetry: &Telemetry,
) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/livez" if is_read => livez(telemetry),
        "/readyz" if is_read => readyz(telemetry),
        "/metrics" if is_read => metrics(telemetry),
        "/drain" if request.method() == Method::POST => drain(request, peer, telemetry),
        "/livez" | "/readyz" | "/metrics" => not_allowed("GET, HEAD"),
        "/drain" => not_allowed("POST"),
        _ => text(
            StatusCode::NOT_FOUND,
            "there is /livez, /readyz, /metrics and, for POST, /drain\n",
        ),
    }
}

fn not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "this method is not for this path\n",
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// Fails when a worker is stuck: a restart is what helps then.
fn livez(telemetry: &Telemetry) -> Response<Full<Bytes>> {
    let stuck = telemetry.health.stuck_workers(telemetry.clock.now());
    if stuck.is_empty() {
        return text(StatusCode::OK, "ok\n");
    }
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("workers that no longer turn, by number: {stuck:?}\n"),
    )
}

fn readyz(telemetry: &Telemetry) -> Response<Full<Bytes>> {
    let readiness = telemetry.health.readiness();
    let list = |causes: &[Cause]| -> Vec<_> {
        causes
            .iter()
            .map(|cause| json!({ "cause": cause.cause, "why": cause.why }))
            .collect()
    };
    let body = json!({
        "ready": readiness.ready,
        "blocked": list(&readiness.blocked),
        "degraded": list(&readiness.degraded),
    });
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    respond(status, "application/json", format!("{body}\n"))
}

fn metrics(telemetry: &Telemetry) -> Response<Full<Bytes>> {
    let keys = KeyCounts::of(telemetry.keys.snapshot().keys(), telemetry.clock.wall());
    respond(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        telemetry.metrics.render(keys),
    )
}

/// For this machine only, and not for a web page that is open on it: browsers name the page that sends a POST.
fn drain(
    request: &Request<Incoming>,
    peer: IpAddr,
    telemetry: &Telemetry,
) -> Response<Full<Bytes>> {
    let from_browser = request.headers().contains_key(header::ORIGIN)
        || request.headers().contains_key("sec-fetch-site");
    if !peer.is_loopback() || from_browser {
        return text(
            StatusCode::FORBIDDEN,
            "only a program on this machine may drain: use `keygate drain` there\n",
        );
    }
    (telemetry.drain)();
    text(StatusCode::ACCEPTED, "draining\n")
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

#[cfg(test)]
mod tests;
