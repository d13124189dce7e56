//! Covers "memory stays bounded": what an idle connection costs, and what a client that does not read, or an upstream
//! that does not, makes keygate hold. The resident set of the real binary is measured; clients and upstreams live in the
//! process of the test. The bounds are those of the release build, which `tests/run soak` takes.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Resource;
use rustix::process::Rlimit;

use crate::harness::client::Client;
use crate::harness::frames::Http2;
use crate::harness::frames::PREFACE;
use crate::harness::frames::good;
use crate::harness::frames::settings;
use crate::harness::keygate::Keygate;
use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::settled;
use crate::harness::setup::Setup;
use crate::harness::setup::write_in_place;
use crate::harness::tls::AUTHORITY;
use crate::harness::tls::Dialer;
use crate::harness::upstream::Upstream;

/// How many connections are left idle.
const IDLE: usize = 10_000;

/// How many clients or uploads are stalled at a time, so that pages and arenas do not hide what one costs.
const STALLED: usize = 20;

const GIB: u64 = 1 << 30;

/// What has not moved for this long has settled.
const A_WHILE: Duration = Duration::from_millis(700);

/// In what way a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
}

/// A keygate with two listeners, the second with TLS, and the ways to it.
struct Gate {
    keygate: Keygate,
    tls: Dialer,
    tls_http2: Dialer,
}

/// An open connection; what is on it stays as it is until this is dropped.
enum Held {
    Http1 { _client: Client },
    Http2 { _client: Box<Http2> },
}

impl Gate {
    fn in_front_of(url: &str) -> Self {
        let setup = Setup::in_front_of(url)
            .set(
                "listen",
                "[{address: 127.0.0.1:0, tls: false}, 127.0.0.2:0]",
            )
            .set(
                "tls",
                "{certificates: [{certificate: both.pem, key: both.pem}]}",
            )
            .set("workers", "1")
            .set(
                "timeouts",
                "{idle: 10m, body: 10m, stream: 10m, response: 10m}",
            )
            .set("limits", "{connections: 10500}");
        let issued = AUTHORITY.server(&["localhost", "127.0.0.2"]);
        write_in_place(&setup.folder.path().join("both.pem"), issued.both());
        let dialer = Dialer::trusting(&AUTHORITY).lenient();
        Self {
            keygate: setup.spawn(),
            tls: dialer.clone().alpn(&["http/1.1"]).remembering(),
            tls_http2: dialer.alpn(&["h2"]).remembering(),
        }
    }

    fn address(&self, way: Way) -> SocketAddr {
        let addresses = &self.keygate.addresses;
        match way {
            Way::Http1 | Way::Http2 => addresses[0],
            Way::Http1Tls | Way::Http2Tls => addresses[1],
        }
    }

    fn connect(&self, way: Way) -> Client {
        let address = self.address(way);
        match way {
            Way::Http1 | Way::Http2 => Client::connect(address),
            Way::Http1Tls => self.tls.connect(address, None).client,
            Way::Http2Tls => self.tls_http2.connect(address, None).client,
        }
    }

    /// A connection after one request.
    fn after_one(&self, way: Way) -> Held {
        let mut client = self.connect(way);
        match way {
            Way::Http1 | Way::Http1Tls => {
                assert_eq!(client.ask(get("/")).status, 200);
                Held::Http1 { _client: client }
            }
            Way::Http2 | Way::Http2Tls => {
                let mut client = begin(client);
                client.expect_status(&good("GET", "/"), 200);
                Held::Http2 {
                    _client: Box::new(client),
                }
            }
        }
    }

    /// A connection whose answer has begun and is read no further.
    fn stalled_reader(&self, way: Way) -> Held {
        let mut client = self.connect(way);
        match way {
            Way::Http1 | Way::Http1Tls => {
                client.send(get("/"));
                assert_eq!(client.reader().head().unwrap().second(), "200");
                Held::Http1 { _client: client }
            }
            Way::Http2 | Way::Http2Tls => {
                let mut client = begin(client);
                client.gives_back = false;
                let stream = client.request(&good("GET", "/"));
                let began =
                    client.until(|client| (client.answer(stream).status() == 200).then_some(()));
                assert!(began.is_some(), "no answer");
                Held::Http2 {
                    _client: Box::new(client),
                }
            }
        }
    }

    /// A connection that uploads as much as is taken.
    fn stalled_upload(&self, way: Way) -> Held {
        let mut client = self.connect(way);
        let chunk = vec![b'u'; 64 * 1024];
        match way {
            Way::Http1 | Way::Http1Tls => {
                client.write_within(Duration::from_millis(700));
                client.send(request("PUT /", &format!("content-length: {GIB}\r\n")));
                while client.try_send(&chunk).is_ok() {}
                Held::Http1 { _client: client }
            }
            Way::Http2 | Way::Http2Tls => {
                let mut client = begin(client);
                let stream = client.open(&good("PUT", "/"));
                client.settle();
                let mut sent = 0;
                // As far as the windows go: past them it would be a breach.
                while client.room(stream, sent) > 0 {
                    let piece = client.room(stream, sent).min(16 * 1024);
                    client.data(stream, &chunk[..piece]);
                    sent += piece;
                    client.settle();
                }
                Held::Http2 {
                    _client: Box::new(client),
                }
            }
        }
    }

    /// The resident set of keygate, bytes.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.keygate.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// As any client of HTTP/2 begins.
fn begin(client: Client) -> Http2 {
    let mut client = Http2::over(client);
    client.send([PREFACE, &settings(&[])].concat());
    client
}

/// The connections of this process are files as well.
fn raise_descriptor_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    rustix::process::setrlimit(Resource::Nofile, raised).unwrap();
    limit.maximum.unwrap_or(u64::MAX)
}

/// What each of `count` things has added to the resident set, KiB.
#[expect(clippy::cast_precision_loss, reason = "megabytes")]
fn each(before: u64, after: u64, count: usize) -> f64 {
    (after as f64 - before as f64) / 1024.0 / count as f64
}

/// An upstream that answers each request with a gibibyte, as far as it is taken; `sent` are the bytes that were.
fn endless(sent: &Arc<AtomicU64>) -> SocketAddr {
    let sent = Arc::clone(sent);
    serve(move |mut stream| {
        let _ = stream.read(&mut [0; 64 * 1024]);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {GIB}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        let chunk = vec![b'd'; 64 * 1024];
        while let Ok(length) = stream.write(&chunk) {
            sent.fetch_add(length as u64, Ordering::Relaxed);
        }
    })
}

/// An upstream that reads the head of a request at most, and then nothing.
fn deaf(reached: &Arc<AtomicU64>) -> SocketAddr {
    let reached = Arc::clone(reached);
    serve(move |mut stream| {
        let _ = stream.read(&mut [0; 512]);
        reached.fetch_add(1, Ordering::Relaxed);
        std::thread::park(); // until the process ends
    })
}

fn serve(each: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = each.clone();
            std::thread::spawn(move || each(stream));
        }
    });
    address
}

#[test]
#[ignore = "measures the release build: tests/run soak"]
fn idle_connections_are_small() {
    let descriptors = raise_descriptor_limit();
    eprintln!("ulimit -n {descriptors}");
    let mut too_large = Vec::new();
    for (way, bound) in [
        // Most of it is hyper's two buffers: 16.0 to 16.2 were measured, and a page more or less is the allocator's.
        (Way::Http1, 17.0),
        (Way::Http1Tls, 40.0),
        (Way::Http2, 40.0),
        (Way::Http2Tls, 40.0),
    ] {
        let upstream = Upstream::fast();
        let gate = Gate::in_front_of(&upstream.url());
        let warm: Vec<_> = (0..100).map(|_| gate.after_one(way)).collect();
        let before = gate.resident();
        let held: Vec<Held> = std::thread::scope(|scope| {
            let connect = || {
                (0..IDLE / 4)
                    .map(|_| gate.after_one(way))
                    .collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(connect)).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let after = settled("memory", A_WHILE, || gate.resident());
        let cost = each(before, after, held.len());
        eprintln!(
            "{way:?}: {cost:.1} KiB for each of {} idle connections",
            held.len()
        );
        if cost > bound {
            too_large.push(format!("{way:?}: {cost:.1} KiB, more than {bound}"));
        }
        drop((warm, held));
    }
    assert!(too_large.is_empty(), "{too_large:?}");
}

#[test]
#[ignore = "measures the release build: tests/run soak"]
fn a_client_that_does_not_read_holds_little() {
    for way in [Way::Http1, Way::Http1Tls, Way::Http2, Way::Http2Tls] {
        let sent = Arc::new(AtomicU64::new(0));
        let gate = Gate::in_front_of(&format!("http://{}", endless(&sent)));
        drop(gate.stalled_reader(way));
        let before = settled("memory", A_WHILE, || gate.resident());
        sent.store(0, Ordering::Relaxed);
        let held: Vec<Held> = (0..STALLED).map(|_| gate.stalled_reader(way)).collect();
        let taken = settled("the answers", A_WHILE, || sent.load(Ordering::Relaxed));
        assert!(taken < GIB, "nothing was stalled: {taken} bytes were sent");
        let cost = each(before, gate.resident(), held.len());
        eprintln!(
            "{way:?}: {cost:.1} KiB for each of {} slow readers",
            held.len()
        );
        assert!(cost <= 256.0, "{way:?}: {cost:.1} KiB");
    }
}

#[test]
#[ignore = "measures the release build: tests/run soak"]
fn an_upstream_that_does_not_read_holds_little() {
    for way in [Way::Http1, Way::Http1Tls, Way::Http2, Way::Http2Tls] {
        let reached = Arc::new(AtomicU64::new(0));
        let gate = Gate::in_front_of(&format!("http://{}", deaf(&reached)));
        drop(gate.stalled_upload(way));
        let before = settled("memory", A_WHILE, || gate.resident());
        reached.store(0, Ordering::Relaxed);
        let held: Vec<Held> = std::thread::scope(|scope| {
            let upload = || gate.stalled_upload(way);
            let threads: Vec<_> = (0..STALLED).map(|_| scope.spawn(upload)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let cost = each(before, gate.resident(), held.len());
        assert_eq!(reached.load(Ordering::Relaxed), STALLED as u64);
        eprintln!(
            "{way:?}: {cost:.1} KiB for each of {} stalled uploads",
            held.len()
        );
        assert!(cost <= 256.0, "{way:?}: {cost:.1} KiB");
    }
}
