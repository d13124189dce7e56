//! What each path answers, who may drain, and that a slow caller is not waited for.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::clock::Timestamp;
use crate::key::live;
use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::key::tests::key;

use super::*;

struct Setup {
    address: SocketAddr,
    health: Arc<Health>,
    clock: Clock,
    drains: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

async fn setup() -> Setup {
    setup_with(CONNECTION_MAX).await
}

async fn setup_with(connection_max: Duration) -> Setup {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (health, clock, drains) = (
        Health::new(),
        Clock::by_hand(Timestamp::from_micros(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let table = KeyTable::build(
        vec![Arc::new(key("one", "token-of-one"))],
        Revision::of(b""),
    )
    .unwrap();
    let (_, keys) = live::publish(table);
    let counted = Arc::clone(&drains);
    let telemetry = Telemetry {
        metrics: Metrics::new(1),
        health: Arc::clone(&health),
        keys,
        clock: clock.clone(),
        drain: Box::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }),
    };
    let mut serving = JoinSet::new();
    serving.spawn(accept_all(listener, telemetry, connection_max));
    Setup {
        address,
        health,
        clock,
        drains,
        _serving: serving,
    }
}

impl Setup {
    /// The whole answer to this request line, with these further header lines.
    async fn ask(&self, line: &str, more: &str) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\n{more}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

#[tokio::test]
async fn each_path_has_its_methods() {
    let setup = setup().await;
    for (line, expected) in [
        ("GET /livez", "200"),
        ("HEAD /livez", "200"),
        ("GET /readyz?verbose", "200"),
        ("GET /metrics", "200"),
        ("HEAD /metrics", "200"),
        ("POST /metrics", "405"),
        ("GET /drain", "405"),
        ("GET /", "404"),
        ("GET /livez/", "404"),
        ("POST /nothing", "404"),
    ] {
        let answer = setup.ask(line, "").await;
        assert_eq!(status(&answer), expected, "{line}: {answer}");
        assert_eq!(
            answer.contains("\r\nallow: "),
            expected == "405",
            "{line}: {answer}"
        );
        let has_body = !answer.ends_with("\r\n\r\n");
        assert_eq!(has_body, !line.starts_with("HEAD"), "{line}: {answer}");
    }
    assert_eq!(setup.drains.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn readiness_says_why_not() {
    let setup = setup().await;
    setup
        .health
        .degrade("keys", "keys.yaml:1:1: \"odd\"".to_owned());
    let ready = setup.ask("GET /readyz", "").await;
    assert_eq!(status(&ready), "200");
    setup.health.block("draining", "asked to".to_owned());
    let blocked = setup.ask("GET /readyz", "").await;
    assert_eq!(status(&blocked), "503");
    let (_, body) = blocked.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = json!({
        "ready": false,
        "blocked": [{ "cause": "draining", "why": "asked to" }],
        "degraded": [{ "cause": "keys", "why": "keys.yaml:1:1: \"odd\"" }],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_stuck_worker_is_not_alive() {
    let setup = setup().await;
    let heartbeat = setup.health.heartbeat(setup.clock.now());
    setup.clock.advance(Duration::from_secs(11));
    let answer = setup.ask("GET /livez", "").await;
    assert_eq!(status(&answer), "503");
    assert!(answer.ends_with("by number: [0]\n"), "{answer}");
    heartbeat.beat(setup.clock.now());
    assert_eq!(status(&setup.ask("GET /livez", "").await), "200");
}

#[tokio::test]
async fn keys_are_counted_at_the_scrape() {
    let answer = setup().await.ask("GET /metrics", "").await;
    assert!(
        answer.contains("\r\ncontent-type: text/plain; version=0.0.4"),
        "{answer}"
    );
    assert!(
        answer.contains("\nkeygate_keys{status=\"active\"} 1\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_drain_is_for_programs_on_this_machine() {
    let setup = setup().await;
    for page in [
        "origin: http://evil.example\r\n",
        "sec-fetch-site: cross-site\r\n",
    ] {
        assert_eq!(status(&setup.ask("POST /drain", page).await), "403");
    }
    assert_eq!(setup.drains.load(Ordering::Relaxed), 0);
    assert_eq!(
        status(&setup.ask("POST /drain", "content-length: 0\r\n").await),
        "202"
    );
    assert_eq!(setup.drains.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn silent_connections_are_bounded_and_do_not_stop_the_rest_for_ever() {
    let setup = setup_with(Duration::from_millis(200)).await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(setup.address).await.unwrap());
    }
    // The silent ones are cut when their time is up, and this one has its turn.
    assert_eq!(status(&setup.ask("GET /livez", "").await), "200");
    let mut rest = Vec::new();
    assert_eq!(silent[0].read_to_end(&mut rest).await.unwrap_or(0), 0);
}
