//! One request to the proxy's own listener, and its answer. Bounded in every way: how long it takes in all, and how
//! much is read. Not for: what is sent (`wanted`), what is shown (`try_it`).

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::try_it::pairs;
use crate::admin::try_it::unreachable;
use crate::config::Address;
use crate::key::token::TOKEN_CHARS_MAX;
use crate::net::io::Socket;
use crate::net::io::Stream;
use crate::net::tls;
use crate::net::tls::Server;

/// For all of it. The admin's own connection is patient with a request that is being worked on.
const TIME_MAX: Duration = Duration::from_secs(30);
/// So much of an answer is shown.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 10;
/// And so much is read: a token that is cut where showing ends would not be found, and hidden, without its end.
const READ_BYTES_MAX: usize = ANSWER_BYTES_MAX + 3 * TOKEN_CHARS_MAX;

/// How to reach the proxy.
pub(super) struct Way {
    pub(super) address: Address,
    /// The listener takes nobody without a header of the PROXY protocol.
    pub(super) proxy_protocol: bool,
    /// What the listener speaks TLS with, where it does.
    pub(super) tls: Option<Server>,
}

/// Says nothing but that there is nothing to say: the socket's own address counts.
const PROXY_HEADER: &[u8] = b"PROXY UNKNOWN\r\n";

/// What came back.
pub(super) struct Exchange {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Whether that is all of it.
    pub(super) whole: bool,
}

/// Sends, and reads what comes back.
///
/// # Errors
/// `proxy_unreachable`, `proxy_timeout`: there is no answer.
pub(super) async fn exchange(
    way: &Way,
    request: Request<Full<Bytes>>,
) -> Result<Exchange, ApiError> {
    let mut connections = JoinSet::new(); // cut when it is dropped
    let mut late = pin!(sleep(TIME_MAX));
    let response = tokio::select! {
        response = sent(way, request, &mut connections) => response?,
        () = &mut late => {
            let detail = format!("the proxy has not answered in {} seconds", TIME_MAX.as_secs());
            return Err(ApiError::new(Code::ProxyTimeout, detail));
        }
    };
    let (parts, mut body) = response.into_parts();
    let mut read = Vec::new();
    let whole = tokio::select! {
        whole = collect(&mut body, &mut read) => whole,
        () = late => false,
    };
    Ok(Exchange {
        status: parts.status.as_u16(),
        headers: pairs(&parts.headers),
        body: read,
        whole,
    })
}

async fn sent(
    way: &Way,
    request: Request<Full<Bytes>>,
    connections: &mut JoinSet<()>,
) -> Result<hyper::Response<Incoming>, ApiError> {
    let proxy = &way.address;
    let no_way =
        |error: io::Error| unreachable(format!("cannot connect to the proxy at {proxy}: {error}"));
    let socket = match proxy {
        Address::Tcp(address) => TcpStream::connect(address).await.map(Socket::Tcp),
        Address::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
    };
    let mut socket = socket.map_err(no_way)?;
    if way.proxy_protocol {
        socket.write_all(PROXY_HEADER).await.map_err(no_way)?;
    }
    let stream = match &way.tls {
        None => Stream::Plain(socket),
        Some(server) => Stream::Tls(Box::new(
            tls::to_own(server, socket).await.map_err(no_way)?.into(),
        )),
    };
    asked(stream, request, connections)
        .await
        .map_err(|error| unreachable(format!("the proxy at {proxy} broke off: {error}")))
}

async fn asked(
    stream: Stream,
    request: Request<Full<Bytes>>,
    connections: &mut JoinSet<()>,
) -> Result<hyper::Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    connections.spawn(async { drop(connection.await) }); // what breaks it is told to whoever reads
    sender.send_request(request).await
}

/// Reads the body; whether it was all of it.
async fn collect(body: &mut Incoming, read: &mut Vec<u8>) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        if let Ok(piece) = frame.into_data() {
            let room = READ_BYTES_MAX - read.len();
            read.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() > room {
                return false;
            }
        }
    }
    true
}
