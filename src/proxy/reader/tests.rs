//! The reader under a real hyper server, beside a hyper server alone: the same requests where all is clean; where
//! something is not, one refusal in its place and nothing behind it. Here is what the tests are run by, and what
//! is about time; `streams` has the messages, `upgrades` what asks for another protocol.

mod streams;
mod upgrades;

use super::*;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::net::io::Socket;
use crate::net::io::Stream;
use crate::net::watchdog::CoarseClock;
use crate::net::watchdog::Watchdog;
use crate::proxy::upstream::failure::BodyFault;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::rc::Rc;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::runtime::LocalRuntime;
use tokio::task::spawn_local;
use tokio::task::yield_now;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 4096,
    fields: 16,
};

const PATIENCE: Patience = Patience {
    header: Duration::from_secs(10),
    idle: Duration::from_secs(75),
};

const PAUSE: Duration = Duration::from_secs(60);

/// Longer than anything here takes: what hangs fails.
const BOUND: Duration = Duration::from_secs(20);

/// What the service was called for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    /// A request, as hyper tells it.
    Request {
        line: String,
        headers: Vec<(String, Vec<u8>)>,
        body: Result<Vec<u8>, &'static str>,
        trailers: usize,
    },
    /// A head that was refused.
    Refused(Refusal, &'static str),
    /// A message that nobody had checked.
    Unchecked,
}

type Calls = Rc<RefCell<Vec<Call>>>;

/// A connection being served, its client's end, and the time it lives in.
struct Served {
    client: TcpStream,
    heads: Arc<Heads>,
    calls: Calls,
    hand: Clock,
    dog: Rc<Watchdog<()>>,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = LocalRuntime::new().unwrap();
    let bounded = async { tokio::time::timeout(BOUND, test).await };
    runtime.block_on(bounded).expect("nothing here may hang")
}

/// Lets the other tasks see what has been written, and do all that they can do with it.
async fn settle() {
    for _ in 0..12 {
        yield_now().await;
    }
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    let client = client.unwrap();
    client.set_nodelay(true).unwrap();
    (client, server.unwrap().0)
}

/// Reads a request to its end.
async fn told(request: Request<Incoming>) -> Call {
    let (parts, body) = request.into_parts();
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    let (body, trailers) = match body.collect().await {
        Ok(collected) => {
            let trailers = collected.trailers().map_or(0, http::HeaderMap::len);
            (Ok(collected.to_bytes().to_vec()), trailers)
        }
        Err(error) => (
            Err(match BodyFault::of(&error) {
                BodyFault::Malformed => "malformed",
                BodyFault::TooSlow => "too slow",
                BodyFault::TooLarge => "too large",
                BodyFault::Gone => "gone",
                BodyFault::Revoked => "revoked",
            }),
            0,
        ),
    };
    Call::Request {
        line: format!("{} {} {:?}", parts.method, parts.uri, parts.version),
        headers: parts.headers.iter().map(field).collect(),
        body,
        trailers,
    }
}

fn answer(close: bool) -> Response<Empty<Bytes>> {
    let mut answer = Response::new(Empty::new());
    if close {
        let close = http::HeaderValue::from_static("close");
        answer.headers_mut().insert(http::header::CONNECTION, close);
    }
    answer
}

/// Does what the handler does with the reader, without the rest of keygate.
async fn handle(
    heads: Arc<Heads>,
    calls: Calls,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, NoAnswer> {
    let call = match heads.take() {
        Some(Taken::Checked) => {
            heads.decide_upgrade(false);
            told(request).await
        }
        Some(Taken::Refused(refused)) => Call::Refused(refused.refusal, refused.detail),
        None => Call::Unchecked,
    };
    let whole = matches!(call, Call::Request { body: Ok(_), .. });
    calls.borrow_mut().push(call);
    heads.answered();
    Ok(answer(!whole))
}

/// The I/O of one connection and the clock that its waits go by.
fn reader(socket: TcpStream) -> (Reader, Arc<Heads>, Arc<Watched>, Clock, Rc<Watchdog<()>>) {
    let hand = Clock::by_hand(Timestamp::from_micros(0));
    let dog = Watchdog::new(CoarseClock::new(hand.clone()));
    let watched = Watched::new(Arc::clone(dog.clock()), PAUSE);
    let heads = Heads::new(Arc::clone(&watched), PATIENCE.idle);
    let reader = Reader::new(
        ClientIo::new(Stream::Plain(Socket::Tcp(socket)), Arc::clone(&watched)),
        Arc::clone(&heads),
        Arc::clone(&watched),
        LIMITS,
        PATIENCE,
    );
    (reader, heads, watched, hand, Rc::new(dog))
}

/// A connection behind the reader.
async fn serve() -> Served {
    let (client, server) = pair().await;
    let (reader, heads, watched, hand, dog) = reader(server);
    let calls = Calls::default();
    let service = {
        let (heads, calls) = (Arc::clone(&heads), Rc::clone(&calls));
        service_fn(move |request| handle(Arc::clone(&heads), Rc::clone(&calls), request))
    };
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(Reader::buffer_for(LIMITS).max(8192))
        .serve_connection(TokioIo::new(reader), service)
        .with_upgrades();
    let list = Rc::clone(&dog);
    drop(spawn_local(async move {
        let waker = std::future::poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        let number = list.add(watched, waker, ());
        let _ = connection.await; // how it ends is seen at the client's end
        list.remove(number);
    }));
    settle().await;
    Served {
        client,
        heads,
        calls,
        hand,
        dog,
    }
}

impl Served {
    async fn send(&mut self, bytes: &[u8]) {
        // A connection that was closed on purpose takes no more; what came of it is what counts.
        let _ = self.client.write_all(bytes).await;
        settle().await;
    }

    async fn pass(&self, time: Duration) {
        self.hand.advance(time);
        self.dog.sweep();
        settle().await;
    }

    /// What the client reads to the end, and what the service was called for.
    async fn finish(mut self) -> (String, Vec<Call>) {
        let _ = self.client.shutdown().await;
        self.read_on().await
    }

    async fn read_on(mut self) -> (String, Vec<Call>) {
        let mut read = Vec::new();
        let _ = self.client.read_to_end(&mut read).await; // a reset is an end as well
        let calls = self.calls.borrow().clone();
        (String::from_utf8(read).unwrap(), calls)
    }
}

fn refusals(calls: &[Call]) -> Vec<Refusal> {
    let refusal = |call: &Call| match call {
        Call::Refused(refusal, _) => Some(*refusal),
        Call::Request { .. } | Call::Unchecked => None,
    };
    calls.iter().filter_map(refusal).collect()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn a_head_has_its_time_from_its_first_byte_and_is_refused_afterwards() {
    run(async {
        let mut served = serve().await;
        served.send(GET).await;
        served.pass(Duration::from_secs(60)).await;
        served.send(b"GET / HT").await;
        served.pass(Duration::from_millis(9_999)).await;
        served.send(b"TP/1.1\r\n").await;
        assert_eq!(
            served.calls.borrow().len(),
            1,
            "pieces do not give it more time"
        );
        served.pass(Duration::from_millis(1)).await;
        let (read, calls) = served.read_on().await;
        assert_eq!(refusals(&calls[1..]), [Refusal::RequestTimeout]);
        assert_eq!((calls.len(), read.matches("HTTP/1.1 200").count()), (2, 2));
    });
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    run(async {
        for first in [&b""[..], GET] {
            let mut served = serve().await;
            served.send(first).await;
            let before = served.calls.borrow().len();
            served.pass(PATIENCE.idle - Duration::from_millis(1)).await;
            assert_eq!(served.dog.len(), 1, "still open");
            served.pass(Duration::from_millis(1)).await;
            assert_eq!(served.dog.len(), 0);
            assert_eq!(served.read_on().await.1.len(), before);
        }
    });
}

#[test]
fn a_body_that_pauses_for_too_long_is_given_up() {
    run(async {
        for framing in [
            "content-length: 10\r\n\r\nhal",
            "transfer-encoding: chunked\r\n\r\na\r\nhal",
        ] {
            let mut served = serve().await;
            served
                .send(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}").as_bytes())
                .await;
            served.pass(PAUSE - Duration::from_millis(1)).await;
            served.send(b"f").await;
            served.pass(PAUSE - Duration::from_millis(1)).await;
            assert_eq!(
                served.calls.borrow().len(),
                0,
                "each byte begins the wait anew"
            );
            served.pass(Duration::from_millis(1)).await;
            let (_, calls) = served.read_on().await;
            assert!(
                matches!(
                    &calls[..],
                    [Call::Request {
                        body: Err("too slow"),
                        ..
                    }]
                ),
                "{framing}: {calls:?}"
            );
        }
    });
}

#[test]
fn a_drain_gives_an_idle_connection_two_more_seconds() {
    run(async {
        let mut served = serve().await;
        served.send(GET).await;
        served.dog.drain();
        settle().await;
        served.pass(DRAIN_GRACE - Duration::from_millis(1)).await;
        served.send(GET).await;
        assert_eq!(served.calls.borrow().len(), 2, "one more request is served");

        let served = serve().await;
        served.dog.drain();
        settle().await;
        served.pass(DRAIN_GRACE).await;
        assert_eq!(served.dog.len(), 0);
        assert_eq!(served.read_on().await.1.len(), 0);
    });
}

#[test]
fn a_head_that_ends_early_is_answered_and_a_body_is_not() {
    run(async {
        let mut served = serve().await;
        served
            .send(&[GET, b"GET / HTTP/1.1\r\nhost"].concat())
            .await;
        let (read, calls) = served.finish().await;
        assert_eq!(refusals(&calls), [Refusal::BadRequest]);
        assert_eq!((calls.len(), read.matches("HTTP/1.1 200").count()), (2, 2));

        let mut served = serve().await;
        served
            .send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhell")
            .await;
        let (_, calls) = served.finish().await;
        assert!(
            matches!(
                &calls[..],
                [Call::Request {
                    body: Err("gone"),
                    ..
                }]
            ),
            "{calls:?}"
        );
    });
}

/// Every head that arrived is handled, if only to record that its client is gone.
#[test]
fn a_client_that_is_gone_at_once_has_been_seen() {
    run(async {
        let (client, server) = pair().await;
        let mut client = client;
        client.write_all(GET).await.unwrap();
        client.shutdown().await.unwrap();
        let (reader, heads, _, _, _) = reader(server);
        let begun = Rc::new(RefCell::new(0));
        let service = {
            let begun = Rc::clone(&begun);
            service_fn(move |_: Request<Incoming>| {
                let (begun, heads) = (Rc::clone(&begun), Arc::clone(&heads));
                async move {
                    assert!(matches!(heads.take(), Some(Taken::Checked)));
                    *begun.borrow_mut() += 1;
                    std::future::pending::<Result<Response<Empty<Bytes>>, NoAnswer>>().await
                }
            })
        };
        let served = http1::Builder::new()
            .serve_connection(TokioIo::new(reader), service)
            .await;
        assert!(served.is_err(), "the answer has nowhere to go");
        assert_eq!(*begun.borrow(), 1);
    });
}

/// A client that takes a long answer slowly is not idle.
#[test]
fn an_answer_on_its_way_is_not_cut_by_the_idle_time() {
    const ANSWER_BYTES: usize = 32 * 1024 * 1024;
    run(async {
        let (mut client, server) = pair().await;
        let (reader, heads, watched, hand, dog) = reader(server);
        let service = service_fn(move |_: Request<Incoming>| {
            assert!(matches!(heads.take(), Some(Taken::Checked)));
            heads.answered(); // the last of the body is in hyper's hands
            let body = http_body_util::Full::new(Bytes::from(vec![b'x'; ANSWER_BYTES]));
            async { Ok::<_, NoAnswer>(Response::new(body)) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(reader), service);
        let list = Rc::clone(&dog);
        drop(spawn_local(async move {
            let waker = std::future::poll_fn(|context| Poll::Ready(context.waker().clone())).await;
            list.add(watched, waker, ());
            let _ = connection.await; // it is idle in the end
        }));
        client.write_all(GET).await.unwrap();
        let mut read = vec![0; ANSWER_BYTES];
        let mut taken = 0;
        for round in 1..=4 {
            while taken < round * 3_000_000 {
                taken += client.read(&mut read[..1_000_000]).await.unwrap();
                settle().await;
            }
            hand.advance(Duration::from_secs(50));
            dog.sweep();
            settle().await;
        }
        while taken < ANSWER_BYTES {
            let more = client.read(&mut read).await.unwrap();
            assert_ne!(more, 0, "cut after {taken} bytes");
            taken += more;
        }
    });
}
