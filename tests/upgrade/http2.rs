//! Covers "extended CONNECT passes, to an HTTP/1 upstream as GET + Upgrade" (RFC 8441), with the client of the h2
//! library.

use aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
use aws_lc_rs::digest::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::SWITCH;
use super::echo_tunnel;
use crate::harness::SOON;
use crate::harness::keygate::Keygate;
use crate::harness::noise;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;

/// Like [`super::websocket`], with the proof of whatever key it was asked with.
fn websocket() -> Upstream {
    Upstream::scripted(|turn| {
        let key = turn
            .head
            .one("sec-websocket-key")
            .unwrap_or_default()
            .to_owned();
        let with_guid = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, with_guid.as_bytes());
        let proof = BASE64_STANDARD.encode(proof);
        turn.send(SWITCH.replace("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &proof))?;
        turn.send("greeting")?;
        echo_tunnel(turn)
    })
}

/// One connection; its frames are carried by a task of its own.
async fn connect(keygate: &Keygate) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(keygate.address()).await.unwrap();
    let (client, mut connection) = h2::client::handshake(stream).await.unwrap();
    let pong = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    let mut pong = pong;
    timeout(SOON, pong.ping(h2::Ping::opaque()))
        .await
        .unwrap()
        .unwrap(); // by now its SETTINGS are here
    assert!(client.is_extended_connect_protocol_enabled());
    client
}

fn connect_request(target: &str, token: Option<&str>, protocol: &'static str) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://chat.example{target}"))
        .extension(Protocol::from_static(protocol))
        .header("sec-websocket-version", "13");
    if let Some(token) = token {
        request = request.header("x-api-key", token);
    }
    request.body(()).unwrap()
}

type Opened = (Response<h2::RecvStream>, h2::SendStream<Bytes>);

async fn open(client: &SendRequest<Bytes>, request: Request<()>) -> Opened {
    let mut client = client.clone().ready().await.unwrap();
    let (answer, sender) = client.send_request(request, false).unwrap();
    (timeout(SOON, answer).await.unwrap().unwrap(), sender)
}

/// The next `length` bytes.
async fn exactly(stream: &mut h2::RecvStream, length: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < length {
        let piece = timeout(SOON, stream.data()).await.unwrap();
        let piece = piece.expect("the stream goes on").unwrap();
        stream.flow_control().release_capacity(piece.len()).unwrap();
        got.extend_from_slice(&piece);
    }
    got
}

/// The stream is over, in whatever way; a last frame may be empty.
async fn expect_over(stream: &mut h2::RecvStream) {
    while let Some(Ok(piece)) = timeout(SOON, stream.data()).await.unwrap() {
        assert!(piece.is_empty(), "more came: {piece:?}");
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

#[test]
fn an_extended_connect_is_joined_after_the_101() {
    let upstream = websocket();
    let keygate = Setup::of(&upstream).spawn();
    run(async {
        let client = connect(&keygate).await;
        let request = connect_request("/chat?room=1", Some(GOOD), "websocket");
        let (mut answer, mut sender) = open(&client, request).await;
        assert_eq!(answer.status(), StatusCode::OK);
        for field in ["upgrade", "connection", "sec-websocket-accept"] {
            assert!(!answer.headers().contains_key(field), "{answer:?}");
        }
        assert_eq!(exactly(answer.body_mut(), 8).await, b"greeting");
        for sent in [Bytes::from_static(b"\x81\x05hello"), noise(100_000).into()] {
            sender.send_data(sent.clone(), false).unwrap();
            assert!(exactly(answer.body_mut(), sent.len()).await == sent);
        }
        // The connection is not the tunnel: requests go on beside it.
        let refused = Request::get("http://chat.example/other").body(()).unwrap();
        assert_eq!(open(&client, refused).await.0.status(), 401);
        sender.send_data(Bytes::new(), true).unwrap();
        expect_over(answer.body_mut()).await;
    });
    let seen = upstream.seen_at("/chat?room=1");
    assert_eq!(seen.head.first(), "GET", "{seen:?}");
    assert!(
        seen.head.lists("connection", "upgrade") && seen.head.one("upgrade") == Some("websocket"),
        "{seen:?}"
    );
    assert_eq!(seen.head.one("host"), Some("chat.example"));
    assert_eq!(seen.head.one("sec-websocket-version"), Some("13"));
    assert_eq!(seen.head.one("sec-websocket-key").map(str::len), Some(24));
    assert!(!seen.head.has("x-api-key") && seen.head.one("x-keygate-key-id") == Some("k_good"));
    let record = keygate.transaction_of("/chat");
    assert_eq!(
        (&record["status"], &record["protocol"], &record["end"]),
        (&200.into(), &"HTTP/2".into(), &"complete".into()),
        "{record}"
    );
    assert_eq!(record["request_bytes"], 7 + 100_000, "{record}");
    assert_eq!(record["response_bytes"], 8 + 7 + 100_000, "{record}");
}

#[test]
fn what_is_no_websocket_gets_an_ordinary_answer() {
    let upstream = Upstream::scripted(|turn| {
        match turn.head.second() {
            "/proof" => turn.send(SWITCH)?, // the proof of another key
            "/success" => turn.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?,
            _ => turn.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")?,
        }
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream).spawn();
    run(async {
        let client = connect(&keygate).await;
        for (target, token, protocol, status) in [
            ("/a", Some(GOOD), "websocket", 403),
            ("/proof", Some(GOOD), "websocket", 502),
            ("/success", Some(GOOD), "websocket", 502), // 200 would say that it is open
            ("/b", None, "websocket", 401),
            ("/c", Some("wrong"), "websocket", 401),
            ("/d", Some(GOOD), "connect-udp", 405),
        ] {
            let request = connect_request(target, token, protocol);
            let (answer, _sender) = open(&client, request).await;
            assert_eq!(answer.status(), status, "{target}");
        }
        let mut request = connect_request("/e", None, "websocket");
        let grpc = http::HeaderValue::from_static("application/grpc");
        request.headers_mut().insert("content-type", grpc);
        assert_eq!(
            open(&client, request).await.0.status(),
            401,
            "gRPC's is 200"
        );
    });
    let reached: Vec<_> = upstream
        .seen()
        .iter()
        .map(|seen| seen.head.second().to_owned())
        .collect();
    assert_eq!(reached, ["/a", "/proof", "/success"]);
}

#[test]
fn a_tunnel_of_a_revoked_key_is_cut() {
    let upstream = websocket();
    let keygate = Setup::of(&upstream).spawn();
    run(async {
        let client = connect(&keygate).await;
        let request = connect_request("/chat", Some(GOOD), "websocket");
        let (mut answer, _sender) = open(&client, request).await;
        assert_eq!(exactly(answer.body_mut(), 8).await, b"greeting");
        keygate.replace_keys(key_file(&[entry("other", OTHER, "")]));
        expect_over(answer.body_mut()).await;
    });
    assert_eq!(keygate.transaction_of("/chat")["end"], "revoked");
}
