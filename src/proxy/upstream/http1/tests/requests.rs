//! What is sent: as hyper's server reads it at the other end, and when.

use super::*;
use proptest::prelude::*;

/// A request as somebody has read it.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    method: Method,
    target: String,
    length: Option<u64>,
    chunked: bool,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
}

/// Reads one request by hyper's server, answers it, and hands it over.
async fn read_by_hyper(socket: TcpStream) -> Read {
    let (give, given) = oneshot::channel();
    let give = Rc::new(RefCell::new(Some(give)));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let give = give.borrow_mut().take().expect("one request");
        async move {
            let (parts, body) = request.into_parts();
            let collected = body.collect().await.expect("a whole body");
            let trailers = collected.trailers().map_or_else(Vec::new, fields);
            let length = parts.headers.get(header::CONTENT_LENGTH);
            let read = Read {
                method: parts.method,
                target: parts.uri.to_string(),
                length: length.map(|length| length.to_str().unwrap().parse().unwrap()),
                chunked: parts.headers.contains_key(header::TRANSFER_ENCODING),
                body: collected.to_bytes().to_vec(),
                trailers,
            };
            give.send(read).unwrap();
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    drop(spawn_local(serving));
    given.await.unwrap()
}

fn exchange(stream: TcpStream, upload: Upload) -> Exchange {
    let clock = CoarseClock::new(Clock::system());
    Exchange::new(connection(stream), upload, watched(&clock), PATIENCE)
}

/// Sends `head`, and then `rest` in pieces, through us to hyper's server.
async fn passed_on(head: &[u8], rest: &[Vec<u8>]) -> Read {
    let (client, server) = pair().await;
    let reading = spawn_local(read_by_hyper(server));
    let (request, mut sender) = arrived(head).await;
    let mut exchange = exchange(client, upload(request, false, u64::MAX));
    let answering = spawn_local(async move {
        let head = std::future::poll_fn(|context| exchange.poll_head(context)).await;
        assert_eq!(head.unwrap().status, StatusCode::OK);
        assert!(exchange.reusable());
        exchange.request_bytes()
    });
    for piece in rest {
        sender.write_all(piece).await.unwrap();
        settle().await;
    }
    let read = reading.await.unwrap();
    assert_eq!(answering.await.unwrap(), read.body.len() as u64);
    read
}

#[test]
fn bodies_are_framed_as_their_length_is_known() {
    let rows: [(&str, &str, Option<u64>, bool); 9] = [
        (
            "GET without a body",
            "GET /a?b HTTP/1.1\r\nhost: a\r\n\r\n",
            None,
            false,
        ),
        (
            "GET with an empty one",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
            None,
            false,
        ),
        (
            "DELETE without a body",
            "DELETE / HTTP/1.1\r\nhost: a\r\n\r\n",
            None,
            false,
        ),
        (
            "POST without a body",
            "POST / HTTP/1.1\r\nhost: a\r\n\r\n",
            Some(0),
            false,
        ),
        (
            "PUT with an empty one",
            "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
            Some(0),
            false,
        ),
        (
            "POST of a length",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
            Some(5),
            false,
        ),
        (
            "GET with a body",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
            Some(5),
            false,
        ),
        (
            "POST in chunks",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            None,
            true,
        ),
        (
            "POST in no chunk",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            None,
            true,
        ),
    ];
    for (name, request, length, chunked) in rows {
        let read = run(passed_on(request.as_bytes(), &[]));
        assert_eq!((read.length, read.chunked), (length, chunked), "{name}");
        let body = if request.contains("hello") {
            "hello"
        } else {
            ""
        };
        assert_eq!(read.body, body.as_bytes(), "{name}");
        let line = format!(
            "{} {} HTTP/1.1\r\n",
            read.method,
            read.target.replace("?b", "")
        );
        assert!(
            request.replace("?b", "").starts_with(&line),
            "{name}: {line}"
        );
    }
}

#[test]
fn trailers_pass_but_for_those_that_may_not() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n";
    let rest =
        "5\r\nhello\r\n0\r\nx-sum: 12\r\nx-api-key: secret\r\ncontent-length: 7\r\nhost: b\r\n\r\n";
    let read = run(passed_on(head.as_bytes(), &[rest.into()]));
    assert_eq!(read.body, b"hello");
    assert_eq!(read.trailers, [("x-sum".to_owned(), b"12".to_vec())]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn bodies_arrive_as_they_were_sent(
        body in proptest::collection::vec(any::<u8>(), 0..60_000),
        pieces in proptest::collection::vec(prop_oneof![1..50_usize, 1..9_000_usize], 1..8),
        chunked in any::<bool>(),
    ) {
        let mut rest = Vec::new();
        let (mut left, mut sizes) = (&body[..], pieces.iter().cycle());
        while !left.is_empty() && rest.len() < 60 {
            let size = if rest.len() == 59 { left.len() } else { *sizes.next().unwrap() };
            let (now, later) = left.split_at(left.len().min(size));
            left = later;
            rest.push(if chunked {
                [format!("{:x}\r\n", now.len()).as_bytes(), now, b"\r\n"].concat()
            } else {
                now.to_vec()
            });
        }
        let framing = if chunked {
            rest.push(b"0\r\nx-end: yes\r\n\r\n".to_vec());
            "transfer-encoding: chunked".to_owned()
        } else {
            format!("content-length: {}", body.len())
        };
        let head = format!("POST /up HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n");
        let read = run(passed_on(head.as_bytes(), &rest));
        prop_assert_eq!(read.length, (!chunked).then_some(body.len() as u64));
        prop_assert_eq!((read.chunked, read.trailers.len()), (chunked, usize::from(chunked)));
        prop_assert!(read.body == body);
    }
}

/// Polls once.
async fn now(exchange: &mut Exchange) -> Poll<Result<AnswerHead, SendError>> {
    std::future::poll_fn(|context| Poll::Ready(exchange.poll_head(context))).await
}

async fn all_that_came(socket: &mut TcpStream) -> Vec<u8> {
    settle().await;
    let mut read = vec![0; 100_000];
    let length = socket.try_read(&mut read).unwrap_or(0);
    read.truncate(length);
    read
}

const EXPECTING: &[u8] =
    b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello";

/// A held request, the clock that its waits go by, and the upstream's end.
async fn holding() -> (Exchange, Clock, Arc<CoarseClock>, TcpStream, DuplexStream) {
    let (client, mut server) = pair().await;
    let (request, sender) = arrived(EXPECTING).await;
    let hand = Clock::by_hand(crate::clock::Timestamp::from_micros(0));
    let clock = CoarseClock::new(hand.clone());
    let mut exchange = Exchange::new(
        connection(client),
        upload(request, true, u64::MAX),
        watched(&clock),
        PATIENCE,
    );
    assert!(now(&mut exchange).await.is_pending());
    assert!(
        read_head(&mut server).await.ends_with(b"\r\n\r\n"),
        "only the head is sent"
    );
    assert!(now(&mut exchange).await.is_pending());
    assert_eq!(all_that_came(&mut server).await, b"");
    (exchange, hand, clock, server, sender)
}

#[test]
fn a_body_that_is_held_back_follows_the_upstreams_100() {
    run(async {
        let (mut exchange, _hand, _clock, mut server, _sender) = holding().await;
        let answering = spawn_local(async move {
            let head = std::future::poll_fn(|context| exchange.poll_head(context)).await;
            (head.unwrap().status, exchange.reusable())
        });
        server
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .unwrap();
        let mut body = [0; 5];
        server.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"hello");
        server
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(answering.await.unwrap(), (StatusCode::OK, true));
    });
}

#[test]
fn a_body_that_is_held_back_is_never_read_once_there_is_an_answer() {
    run(async {
        let (mut exchange, _hand, _clock, mut server, _sender) = holding().await;
        server
            .write_all(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        let head = std::future::poll_fn(|context| exchange.poll_head(context)).await;
        assert_eq!(head.unwrap().status, StatusCode::EXPECTATION_FAILED);
        assert!(
            std::future::poll_fn(|context| exchange.poll_part(context))
                .await
                .is_none()
        );
        assert_eq!(all_that_came(&mut server).await, b"");
        assert_eq!(exchange.request_bytes(), 0);
        assert!(
            !exchange.reusable(),
            "the upstream may still wait for the body"
        );
    });
}

#[test]
fn a_body_that_is_held_back_goes_when_the_upstream_says_nothing() {
    run(async {
        let (mut exchange, hand, clock, mut server, _sender) = holding().await;
        hand.advance(CONTINUE_WAIT - Duration::from_millis(1));
        clock.read();
        assert!(now(&mut exchange).await.is_pending());
        assert_eq!(all_that_came(&mut server).await, b"");
        hand.advance(Duration::from_millis(1));
        clock.read();
        for _ in 0..3 {
            assert!(now(&mut exchange).await.is_pending());
            settle().await;
        }
        assert_eq!(all_that_came(&mut server).await, b"hello");
        hand.advance(PATIENCE.response);
        clock.read();
        let late = now(&mut exchange).await;
        assert!(
            matches!(&late, Poll::Ready(Err(SendError::Upstream(failure))) if failure.timeout() == Some(Wait::Response)),
            "{late:?}"
        );
    });
}

#[test]
fn a_body_larger_than_allowed_is_cut_off() {
    run(async {
        let (client, _server) = pair().await;
        let head =
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello!\r\n";
        let (request, _sender) = arrived(head).await;
        let mut exchange = exchange(client, upload(request, false, 5));
        let failed = std::future::poll_fn(|context| exchange.poll_head(context)).await;
        assert!(
            matches!(failed, Err(SendError::Client(BodyFault::TooLarge))),
            "{failed:?}"
        );
    });
}

/// What was sent may not be sent again: the rest of a body, without its head, is another request.
#[test]
fn the_rest_of_a_request_is_never_sent_to_another_connection() {
    run(async {
        for framing in ["content-length: 5000", "transfer-encoding: chunked"] {
            let (client, mut server) = pair().await;
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n");
            let (request, mut sender) = arrived(head.as_bytes()).await;
            let mut exchange = exchange(client, upload(request, false, u64::MAX));
            assert!(now(&mut exchange).await.is_pending());
            read_head(&mut server).await;
            server.set_zero_linger().unwrap();
            drop(server);
            let data = "x".repeat(5000);
            let rest = if framing.ends_with("chunked") {
                format!("1388\r\n{data}\r\n")
            } else {
                data
            };
            sender.write_all(rest.as_bytes()).await.unwrap();
            settle().await;
            let failed = std::future::poll_fn(|context| exchange.poll_head(context)).await;
            let Err(SendError::Upstream(failure)) = failed else {
                panic!("{framing}: {failed:?}");
            };
            assert!(failure.is_dead_connection(), "{framing}: {failure:?}");
            assert!(!exchange.into_parts().1.restart(false), "{framing}");
        }
    });
}

/// The head went out in part, and its body with the connection: the head alone would promise a body that never
/// comes, and the next request would be taken for it.
#[test]
fn a_request_whose_body_was_given_up_is_not_sent_again() {
    run(async {
        let (client, _server) = pair().await;
        let head = "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 500\r\n\r\n";
        let (request, _sender) = arrived(head.as_bytes()).await;
        let mut exchange = exchange(client, upload(request, true, u64::MAX));
        assert!(now(&mut exchange).await.is_pending());
        exchange.give_up_upload();
        assert!(!exchange.into_parts().1.restart(true));
    });
}

#[test]
fn what_has_been_sent_of_a_long_body_is_not_kept() {
    run(async {
        let (request, _sender) =
            arrived(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n").await;
        let mut upload = upload(request, false, u64::MAX);
        let head = upload.out.len();
        for _ in 0..100 {
            upload.encode(Bytes::from_static(&[b'x'; 1000]));
            upload.sent_more(900); // a peer that never takes all of it
        }
        assert!(
            upload.out.len() <= head + 100 * 100 + 1000,
            "{}",
            upload.out.len()
        );
        assert!(upload.begun);
    });
}

#[test]
fn a_connection_that_gave_any_byte_of_an_answer_is_no_dead_connection() {
    run(async {
        for (answer, nothing) in [
            ("", true),
            ("HTTP/1.1 2", false),
            ("HTTP/1.1 103 Hints\r\n\r\n", false),
        ] {
            let (client, mut server) = pair().await;
            let (request, _sender) = arrived(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let mut exchange = exchange(client, upload(request, false, u64::MAX));
            assert!(now(&mut exchange).await.is_pending());
            read_head(&mut server).await;
            server.write_all(answer.as_bytes()).await.unwrap();
            settle().await;
            assert!(now(&mut exchange).await.is_pending());
            server.set_zero_linger().unwrap();
            drop(server);
            let failed = std::future::poll_fn(|context| exchange.poll_head(context)).await;
            assert!(failed.is_err());
            assert_eq!(exchange.unanswered(), nothing, "{answer:?}");
        }
    });
}
