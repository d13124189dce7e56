//! Heads that ask for another protocol: what stands behind them is neither HTTP nor a tunnel until the handler
//! has decided, and then it is the one or the other, to the byte.

use super::*;
use http::StatusCode;
use tokio::sync::oneshot;

const UPGRADE: &[u8] =
    b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// What the service does with the request it is called for, once it may.
enum Plan {
    /// Answers, and says that the connection stays HTTP.
    Http(oneshot::Receiver<()>),
    /// Agrees to the upgrade and echoes what the tunnel brings.
    Tunnel(oneshot::Receiver<()>),
}

async fn follow(
    heads: Arc<Heads>,
    plan: Plan,
    mut request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, NoAnswer> {
    assert!(matches!(heads.take(), Some(Taken::Checked)));
    let mut answer = Response::new(Empty::new());
    match plan {
        Plan::Http(go) => {
            go.await.unwrap();
            heads.decide_upgrade(false);
        }
        Plan::Tunnel(go) => {
            go.await.unwrap();
            heads.decide_upgrade(true);
            let upgraded = hyper::upgrade::on(&mut request);
            drop(spawn_local(async move {
                let mut tunnel = TokioIo::new(upgraded.await.unwrap());
                let mut bytes = vec![0; 1000];
                while let Ok(length @ 1..) = tunnel.read(&mut bytes).await {
                    tunnel.write_all(&bytes[..length]).await.unwrap();
                }
            }));
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let upgrade = http::HeaderValue::from_static("upgrade");
            answer
                .headers_mut()
                .insert(http::header::CONNECTION, upgrade);
        }
    }
    heads.answered();
    Ok(answer)
}

/// The client's end of a connection whose requests follow `plans`, in turn.
async fn served_by(plans: Vec<Plan>) -> TcpStream {
    let (client, server) = pair().await;
    let (reader, heads, _, _, _) = reader(server);
    let plans = RefCell::new(plans.into_iter());
    let service = service_fn(move |request| {
        let plan = plans.borrow_mut().next().expect("a plan for each request");
        follow(Arc::clone(&heads), plan, request)
    });
    let connection = http1::Builder::new()
        .serve_connection(TokioIo::new(reader), service)
        .with_upgrades();
    drop(spawn_local(connection));
    client
}

async fn read_until(client: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        assert_ne!(client.read_buf(&mut read).await.unwrap(), 0, "{read:?}");
    }
    read
}

#[test]
fn a_tunnel_gets_every_byte_behind_its_head_and_only_those() {
    run(async {
        for size in [1, 7, 1_000] {
            let (go, wait) = oneshot::channel();
            let mut client = served_by(vec![Plan::Tunnel(wait)]).await;
            let early = b"\x81\x05helloGET / HTTP/1.1\r\nhost : bad\r\n\r\n";
            for piece in [UPGRADE, early].concat().chunks(size) {
                client.write_all(piece).await.unwrap();
                settle().await;
            }
            go.send(()).unwrap();
            let read = read_until(&mut client, early).await;
            assert!(read.starts_with(b"HTTP/1.1 101"), "{read:?}");
            client.write_all(b"\0more").await.unwrap();
            assert_eq!(read_until(&mut client, b"more").await, b"\0more");
        }
    });
}

#[test]
fn what_stays_http_goes_on_behind_its_head() {
    run(async {
        let (first, wait_first) = oneshot::channel();
        let (second, wait_second) = oneshot::channel();
        let mut client = served_by(vec![Plan::Http(wait_first), Plan::Http(wait_second)]).await;
        client.write_all(&[UPGRADE, GET].concat()).await.unwrap();
        settle().await;
        first.send(()).unwrap();
        read_until(&mut client, b"\r\n\r\n").await;
        second.send(()).unwrap();
        read_until(&mut client, b"\r\n\r\n").await;
    });
}

/// The decision about a request is not one about the request behind it.
#[test]
fn an_upgrade_behind_a_request_in_flight_waits_for_its_own_decision() {
    run(async {
        let (first, wait_first) = oneshot::channel();
        let (second, wait_second) = oneshot::channel();
        let mut client = served_by(vec![Plan::Http(wait_first), Plan::Tunnel(wait_second)]).await;
        client.write_all(&[GET, UPGRADE].concat()).await.unwrap();
        settle().await;
        first.send(()).unwrap();
        settle().await;
        client.write_all(b"\x81early").await.unwrap();
        settle().await;
        second.send(()).unwrap();
        let read = read_until(&mut client, b"\x81early").await;
        assert!(
            read.windows(12).any(|part| part == b"HTTP/1.1 101"),
            "{read:?}"
        );
        client.write_all(b"late").await.unwrap();
        assert_eq!(read_until(&mut client, b"late").await, b"late");
    });
}
