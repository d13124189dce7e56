//! Covers "one line for every request, as the schema says, and never a token": requests of every kind that there is,
//! well-formed or not, answered or given up, in every mode of deciding.

use std::env;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::requests::with_token;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::upstream::Upstream;
use crate::transactions::load;

/// Regular requests a mode, where nobody asks for more.
const REQUESTS: usize = 1_000;
const LONG: Duration = Duration::from_secs(240);
const UNKNOWN: &str = "kg_test_unknown_1rR2";
const EXPIRED: &str = "kg_test_expired_5tT6";
const NARROW: &str = "kg_test_narrow_7yY8";

/// Requests that are not regular: each ends its connection in its own way.
fn odd() -> Vec<String> {
    let socket = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
                  sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let grpc = "content-type: application/grpc\r\n";
    vec![
        request("GET /socket", socket),
        get("/cut"),
        get("/broken"),
        get("/length/old").replace("HTTP/1.1", "HTTP/1.0"),
        get("/closed/old").replace("HTTP/1.1", "HTTP/1.0"),
        get("/none").replace("x-api-key", "x-other"),
        with_token("/a/../b;c%2f?x=1&y&token=2", UNKNOWN),
        with_token("/expired", EXPIRED),
        with_token("/narrow", NARROW),
        request("POST /narrow", "").replace(GOOD, NARROW),
        request("POST /grpc", grpc).replace(GOOD, UNKNOWN),
        request("GET /twice", &format!("x-api-key: {OTHER}\r\n")),
        request("TRACE /trace", ""),
        request(
            "OPTIONS /preflight",
            "origin: http://a\r\naccess-control-request-method: GET\r\n",
        ),
        request(
            "GET /agent",
            "user-agent: \"quo\\ted\" \u{1f511} \u{7f}\r\n",
        ),
        get("/malformed").replace("host:", "host :"),
        get(&format!("/?x-api-key={UNKNOWN}")).replace("x-api-key: ", "x-api-key : "),
        format!("GET /large HTTP/1.1\r\nx-a: {}\r\n\r\n", "x".repeat(70_000)),
        get(&format!("/long/{}", "y".repeat(9_000))),
        "no http at all\r\n\r\n".to_owned(),
        request("POST /given-up", "content-length: 10\r\n") + "half",
        request("POST /bad-chunk", "transfer-encoding: chunked\r\n") + "zz\r\n",
        request("POST /too-large", "content-length: 100000\r\n"),
        get("/public/page"),
        with_token("/public/page", UNKNOWN),
    ]
}

/// Sends each odd request, and waits until there is a line for each.
fn send_odd(keygate: &Keygate) {
    for bytes in odd() {
        let mut client = keygate.connect();
        client.send(&bytes);
        client.half_close();
        let _ = client.try_read("GET"); // whatever it is, the log has it
    }
}

#[test]
fn every_line_of_every_kind_of_request_is_as_the_schema_says() {
    let wanted = env::var("KEYGATE_SOAK").map_or(REQUESTS, |count| {
        count.parse::<usize>().expect("KEYGATE_SOAK is a number") / 8
    });
    let upstream = Upstream::every_end();
    let keys = key_file(&[
        entry("good", GOOD, ""),
        entry("other", OTHER, ", record: false"),
        entry("expired", EXPIRED, ", expires_at: \"2026-01-01T00:00:00Z\""),
        entry(
            "narrow",
            NARROW,
            ", allow: {methods: [GET], paths: [/elsewhere]}",
        ),
    ]);
    for (mode, transactions) in [
        ("mode: enforce", "{query: names}"),
        (
            "mode: enforce, public: [/public/**], preflight: pass",
            "{query: full, client_ip: prefix}",
        ),
        ("mode: optional", "{durability: written, client_ip: none}"),
        ("mode: shadow", "{query: none, when_full: wait}"),
    ] {
        let keygate = Setup::of(&upstream)
            .keys(keys.clone())
            .set("auth", format!("{{{mode}}}"))
            .set("limits", "{body_bytes: 50KiB}")
            .set("transactions", transactions)
            .spawn();
        let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        let seen = std::thread::scope(|scope| {
            let clients = scope.spawn(|| load::run(keygate.address(), 8, &stop, &answered));
            send_odd(&keygate);
            eventually("the regular requests", LONG, || {
                answered.load(Ordering::Relaxed) >= wanted
            });
            stop.store(true, Ordering::Relaxed);
            clients.join().unwrap()
        });
        let lines = || keygate.transaction_lines().len();
        let all = seen.asked.len() + odd().len();
        eventually(&format!("{mode}: one line a request"), LONG, || {
            lines() == all
        });
        keygate.check_every_line(&[GOOD, OTHER, UNKNOWN, EXPIRED, NARROW]);
        assert_eq!(
            keygate
                .metrics()
                .total("keygate_transactions_dropped_total"),
            0.0
        );
        keygate.finish();
    }
}
