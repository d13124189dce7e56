//! Streams of messages, clean and not, in pieces of all sizes.

use super::*;
use proptest::prelude::*;

/// The same connection without the reader.
async fn alone(stream: &[u8], sizes: &[usize]) -> (String, Vec<Call>) {
    let (mut client, server) = pair().await;
    let calls = Calls::default();
    let service = {
        let calls = Rc::clone(&calls);
        service_fn(move |request| {
            let calls = Rc::clone(&calls);
            async move {
                let call = told(request).await;
                calls.borrow_mut().push(call);
                Ok::<_, NoAnswer>(answer(false))
            }
        })
    };
    let connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
    drop(spawn_local(connection));
    for piece in pieces(stream, sizes) {
        let _ = client.write_all(piece).await; // it may have been closed on purpose
        settle().await;
    }
    let _ = client.shutdown().await;
    let mut read = Vec::new();
    let _ = client.read_to_end(&mut read).await;
    let calls = calls.borrow().clone();
    (String::from_utf8(read).unwrap(), calls)
}

async fn read_by_us(stream: &[u8], sizes: &[usize]) -> (String, Vec<Call>, Arc<Heads>) {
    let mut served = serve().await;
    for piece in pieces(stream, sizes) {
        served.send(piece).await;
    }
    let heads = Arc::clone(&served.heads);
    let (read, calls) = served.finish().await;
    (read, calls, heads)
}

fn pieces<'a>(mut stream: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let (now, later) = stream.split_at(stream.len().min(*size));
        pieces.push(now);
        stream = later;
    }
    pieces
}

#[rustfmt::skip] // a message a line
const CLEAN: [&str; 14] = [
    "GET /a HTTP/1.1\r\nhost: a\r\n\r\n",
    "\r\nGET /b?c=d HTTP/1.1\r\nHost: a:80\r\nX: y\r\nx: z\r\nAccept:\r\n\r\n",
    "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET http://a/full HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
    "POST /nothing HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
    "POST /looks HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\nGET /x HTTP/1.1\r\n\r\n\n",
    "POST /chunks HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
    "POST /trailers HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\n!\r\n0\r\nx-sum: 1\r\nx-b: 2\r\n\r\n",
    "PUT /empty HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n",
    "POST /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: other\r\ncontent-length: 3\r\n\r\nabc",
    "GET /old HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
];

/// Refused when its last byte is there, at the latest; and what is refused.
#[rustfmt::skip] // a message a line
const BAD: [(&str, Refusal); 9] = [
    ("GET / HTTP/1.1\nhost: a\r\n\r\n", Refusal::BadRequest),
    ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", Refusal::BadRequest),
    ("GET /#x HTTP/1.1\r\nhost: a\r\n\r\n", Refusal::BadRequest),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", Refusal::BadRequest),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Refusal::BadRequest),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", Refusal::BadRequest),
    ("\u{16}\u{3}\u{1}", Refusal::BadRequest),
    ("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", Refusal::MethodNotSupported),
    ("GET / HTTP/1.1\r\nhost: a\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\ng:\r\nh:\r\ni:\r\nj:\r\nk:\r\nl:\r\nm:\r\nn:\r\no:\r\np:\r\n\r\n", Refusal::HeadTooLarge),
];

/// Bodies whose framing breaks; the request is begun, and its body is malformed.
const BROKEN: [&str; 5] = [
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
];

#[test]
fn each_clean_message_is_read_as_hyper_reads_it() {
    for message in CLEAN {
        for sizes in [vec![message.len()], vec![1], vec![2, 11, 3]] {
            let stream = [message.as_bytes(), GET].concat();
            let (alone, by_us) = run(async {
                (
                    alone(&stream, &sizes).await,
                    read_by_us(&stream, &sizes).await,
                )
            });
            assert_eq!(by_us.1, alone.1, "{message:?} in pieces of {sizes:?}");
            assert_eq!(by_us.1.len(), 2, "{message:?} in pieces of {sizes:?}");
            assert_eq!(by_us.0.matches("HTTP/1.").count(), 2, "{message:?}");
        }
    }
}

#[test]
fn each_bad_message_is_refused_once_and_is_the_last() {
    for (message, refusal) in BAD {
        for sizes in [vec![message.len()], vec![1], vec![2, 11, 3], vec![4_000]] {
            let stream = [GET, message.as_bytes(), GET, GET].concat();
            let (read, calls, heads) = run(read_by_us(&stream, &sizes));
            let place = format!("{message:?} in pieces of {sizes:?}: {calls:?}");
            assert_eq!(
                (calls.len(), refusals(&calls)),
                (2, vec![refusal]),
                "{place}"
            );
            assert_eq!(read.matches("HTTP/1.1 200").count(), 2, "{place}");
            assert_eq!(heads.released.load(Relaxed), NOTHING, "{place}");
        }
    }
}

#[test]
fn a_broken_body_is_the_last_message() {
    for message in BROKEN {
        for sizes in [vec![message.len()], vec![1], vec![2, 11, 3], vec![4_000]] {
            let stream = [GET, message.as_bytes(), GET].concat();
            let (_, calls, _) = run(read_by_us(&stream, &sizes));
            let malformed = |call: &Call| {
                matches!(
                    call,
                    Call::Request {
                        body: Err("malformed"),
                        ..
                    }
                )
            };
            assert!(
                calls.len() == 2 && malformed(&calls[1]),
                "{message:?} in pieces of {sizes:?}: {calls:?}"
            );
        }
    }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        proptest::collection::vec(1..8_usize, 1..6),
        proptest::collection::vec(1..300_usize, 1..6),
        Just(vec![100_000]),
    ]
}

fn clean() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(proptest::sample::select(CLEAN.to_vec()), 1..7)
}

/// Bytes of which much is nearly HTTP.
#[rustfmt::skip] // fragments by the line
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let fragments = [
        "GET / HTTP/1.1\r\n", "POST /a HTTP/1.1\r\n", "PUT /b HTTP/1.1\r\n", "host: a\r\n", "host: a\r\n\r\n",
        "content-length: 3\r\n", "content-length: 30\r\n", "transfer-encoding: chunked\r\n", "upgrade: x\r\n",
        "connection: upgrade\r\n", "expect: 100-continue\r\n", "\r\n", "\r\n\r\n", "abc", "3\r\nabc\r\n",
        "0\r\n\r\n", "0\r\nx: y\r\n\r\n", "x: y\r\n", "\n", "\r", "\0", " ", ":", "f", "a;b\r\n",
    ];
    let fragment = prop_oneof![
        6 => proptest::sample::select(fragments.map(str::to_owned).to_vec()),
        3 => proptest::sample::select(CLEAN.map(str::to_owned).to_vec()),
    ];
    proptest::collection::vec(fragment, 1..14).prop_map(|fragments| fragments.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn clean_streams_are_read_as_hyper_reads_them(messages in clean(), sizes in sizes()) {
        let stream = messages.concat().into_bytes();
        let (alone, by_us) = run(async {
            (alone(&stream, &sizes).await, read_by_us(&stream, &sizes).await)
        });
        prop_assert_eq!(&by_us.1, &alone.1);
        prop_assert_eq!(by_us.1.len(), messages.len());
        prop_assert_eq!(by_us.0.matches("HTTP/1.").count(), messages.len());
    }

    #[test]
    fn a_bad_message_ends_the_stream_in_its_place(
        before in clean(),
        bad in proptest::sample::select(BAD.to_vec()),
        behind in clean(),
        sizes in sizes(),
    ) {
        let stream = [before.concat(), bad.0.to_owned(), behind.concat()].concat().into_bytes();
        let (read, calls, _) = run(read_by_us(&stream, &sizes));
        prop_assert_eq!(calls.len(), before.len() + 1);
        prop_assert_eq!(refusals(&calls), vec![bad.1]);
        prop_assert!(matches!(calls.last(), Some(Call::Refused(..))));
        prop_assert_eq!(read.matches("HTTP/1.").count(), calls.len());
    }

    /// Every call has a head that was released for it, and every head that was released has its call.
    #[test]
    fn whatever_comes_calls_and_heads_are_in_step(stream in anything(), sizes in sizes()) {
        let (_, calls, heads) = run(read_by_us(&stream, &sizes));
        prop_assert!(!calls.contains(&Call::Unchecked));
        prop_assert_eq!(heads.released.load(Relaxed), NOTHING);
        let refused = calls.iter().position(|call| matches!(call, Call::Refused(..)));
        prop_assert!(refused.is_none_or(|place| place + 1 == calls.len()), "{:?}", calls);
    }
}
