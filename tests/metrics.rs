//! Covers "what /metrics says is true": every request counts once under what became of it, gauges go up and
//! down, and nobody can make the number of series grow.

use std::time::Duration;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;

const UNKNOWN: &str = "kg_test_unknown_2sS3";

#[test]
fn requests_are_counted_under_what_became_of_them() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        match turn.head.second() {
            "/404" => turn.answer("404 Not Found", "", b"x"),
            "/502" => Ok(Next::Close),
            _ => turn.answer("200 OK", "", b"x"),
        }
    });
    let keygate = Setup::of(&upstream).spawn();
    let plan: [(&str, String, usize); 6] = [
        (
            "decision=\"allowed\",reason=\"\",code_class=\"2xx\"",
            get("/"),
            7,
        ),
        (
            "decision=\"allowed\",reason=\"\",code_class=\"4xx\"",
            get("/404"),
            3,
        ),
        (
            "decision=\"allowed\",reason=\"upstream_failed\",code_class=\"5xx\"",
            get("/502"),
            2,
        ),
        (
            "decision=\"refused\",reason=\"missing_key\",code_class=\"4xx\"",
            get("/").replace("x-api-key", "x-other"),
            4,
        ),
        (
            "decision=\"refused\",reason=\"unknown_key\",code_class=\"4xx\"",
            get("/").replace(GOOD, UNKNOWN),
            5,
        ),
        (
            "decision=\"refused\",reason=\"bad_request\",code_class=\"4xx\"",
            get("/").replace("host:", "host :"),
            6,
        ),
    ];
    for (_, bytes, count) in &plan {
        for _ in 0..*count {
            keygate.ask(bytes);
        }
    }
    let metrics = keygate.metrics();
    for (labels, _, count) in &plan {
        let mut wanted: Vec<&str> = labels.split(',').collect();
        wanted.sort_unstable();
        let seen = metrics.sum("keygate_requests_total", |labels| {
            let mut labels: Vec<&str> = labels.split(',').collect();
            labels.sort_unstable();
            labels == wanted
        });
        assert_eq!(seen, *count as f64, "{labels}\n{}", metrics.text());
    }
    let all: usize = plan.iter().map(|(.., count)| count).sum();
    assert_eq!(metrics.total("keygate_requests_total"), all as f64);
    assert_eq!(
        metrics.total("keygate_request_duration_seconds_count"),
        all as f64
    );
    eventually("every line is counted", SOON, || {
        keygate.metrics().total("keygate_transactions_total") == all as f64
    });
    assert_eq!(
        keygate
            .metrics()
            .total("keygate_transactions_dropped_total"),
        0.0
    );
    assert_eq!(keygate.finish().transactions.len(), all);
}

#[test]
fn gauges_go_up_and_down() {
    let gate = Gate::new();
    let upstream = Upstream::slow(gate.clone());
    let keygate = Setup::of(&upstream).spawn();
    let mut clients: Vec<Client> = (0..5)
        .map(|_| {
            let mut client = keygate.connect();
            client.send(get("/held"));
            client
        })
        .collect();
    let _idle = keygate.connect();
    eventually("five are in flight", SOON, || {
        keygate.metrics().total("keygate_requests_in_flight") == 5.0
    });
    eventually("six are connected", SOON, || {
        keygate.metrics().total("keygate_connections") == 6.0
    });
    gate.open();
    for client in &mut clients {
        client.read("GET");
    }
    drop(clients);
    eventually("none is in flight", SOON, || {
        keygate.metrics().total("keygate_requests_in_flight") == 0.0
    });
    eventually("one is connected", SOON, || {
        keygate.metrics().total("keygate_connections") == 1.0
    });
}

#[test]
fn keys_and_reloads_are_shown() {
    let upstream = Upstream::echo();
    let keys = key_file(&[
        entry("good", GOOD, ""),
        entry("other", OTHER, ", enabled: false"),
        entry(
            "old",
            "kg_test_old_3tT4",
            ", expires_at: 2020-01-01T00:00:00Z",
        ),
        entry(
            "new",
            "kg_test_new_4uU5",
            ", not_before: 2999-01-01T00:00:00Z",
        ),
        entry(
            "last",
            "kg_test_last_6wW7",
            ", expires_at: 2999-01-01T00:00:00Z",
        ),
        entry(
            "next",
            "kg_test_next_7xX8",
            ", expires_at: 2998-01-01T00:00:00Z",
        ),
        entry(
            "off",
            "kg_test_off_8yY9",
            ", enabled: false, expires_at: 2997-01-01T00:00:00Z",
        ),
    ]);
    let keygate = Setup::of(&upstream).keys(keys).spawn();
    let metrics = keygate.metrics();
    assert_eq!(metrics.total("keygate_keys"), 7.0, "{}", metrics.text());
    for (status, keys) in [
        ("active", 3.0),
        ("disabled", 2.0),
        ("expired", 1.0),
        ("not_yet_valid", 1.0),
    ] {
        let count = metrics.sum("keygate_keys", |labels| {
            labels.contains(&format!("\"{status}\""))
        });
        assert_eq!(
            count,
            keys,
            "{status}: {:?}",
            metrics.labels("keygate_keys")
        );
    }
    let next = metrics.total("keygate_key_next_expiry_timestamp_seconds");
    assert_eq!(next, 32_440_608_000.0, "the next of those that count");
    let loaded = metrics.total("keygate_last_reload_success_timestamp_seconds");
    assert!(loaded > 1_600_000_000.0, "{loaded}");
    let before = metrics.sum("keygate_reloads_total", |labels| labels.contains("success"));
    keygate.replace_keys(key_file(&[entry("good", GOOD, "")]));
    eventually("one key is left", SOON, || {
        keygate.metrics().total("keygate_keys") == 1.0
    });
    let metrics = keygate.metrics();
    assert!(
        !metrics.has("keygate_key_next_expiry_timestamp_seconds"),
        "no key ever expires"
    );
    assert!(metrics.sum("keygate_reloads_total", |labels| labels.contains("success")) > before);
    assert!(metrics.total("keygate_last_reload_success_timestamp_seconds") >= loaded);
    keygate.replace_keys("keys: [");
    eventually("the failure is counted", SOON, || {
        keygate.failed_reloads() == 1.0
    });
}

#[test]
fn protocol_errors_are_counted_by_kind() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    keygate.ask(get("/").replace("host:", "host :"));
    let large = "x".repeat(70_000);
    keygate.ask(request("GET /", &format!("x-a: {large}\r\n")));
    eventually("both are counted", SOON, || {
        keygate.metrics().total("keygate_protocol_errors_total") == 2.0
    });
}

#[test]
fn every_promised_metric_is_there() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    assert_eq!(keygate.status(GOOD), 200);
    let metrics = keygate.metrics();
    for name in [
        "keygate_requests_total",
        "keygate_request_duration_seconds_bucket",
        "keygate_request_duration_seconds_sum",
        "keygate_request_duration_seconds_count",
        "keygate_upstream_duration_seconds_count",
        "keygate_requests_in_flight",
        "keygate_connections",
        "keygate_connections_refused_total",
        "keygate_protocol_errors_total",
        "keygate_keys",
        "keygate_reloads_total",
        "keygate_certificate_reloads_total",
        "keygate_last_reload_success_timestamp_seconds",
        "keygate_transactions_total",
        "keygate_transactions_dropped_total",
        "keygate_build_info",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
    ] {
        assert!(metrics.has(name), "{name} is missing:\n{}", metrics.text());
    }
    assert!(
        metrics
            .names()
            .any(|name| name.starts_with("keygate_revocation_lag_seconds")),
        "the revocation lag is missing:\n{}",
        metrics.text()
    );
    for name in metrics.names().filter(|name| name.starts_with("keygate_")) {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .fold(name, |name, end| name.strip_suffix(end).unwrap_or(name));
        assert!(
            metrics.text().contains(&format!("# HELP {family} "))
                || metrics.text().contains(&format!("# HELP {name} ")),
            "{name} is not explained"
        );
    }
    let page = keygate.telemetry("/metrics");
    assert!(
        page.head
            .one("content-type")
            .unwrap()
            .starts_with("text/plain"),
        "{page:?}"
    );
}

#[test]
fn no_request_makes_a_new_series() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let every_kind = |salt: &str| {
        keygate.ask(get(&format!("/path-{salt}?q={salt}")));
        keygate.ask(get(&format!("/{salt}")).replace(GOOD, &format!("kg_test_{salt}")));
        keygate.ask(request(
            &format!("M{salt} /"),
            &format!("x-{salt}: {salt}\r\nuser-agent: {salt}\r\n"),
        ));
        keygate.ask(get("/").replace("host: app", &format!("host: {salt}.example")));
    };
    every_kind("aaaa1111");
    let names = |metrics: &crate::harness::metrics::Metrics| -> Vec<String> {
        metrics
            .text()
            .lines()
            .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
            .collect()
    };
    let before = keygate.metrics();
    for index in 0..20 {
        every_kind(&format!("salt{index}"));
    }
    let after = keygate.metrics();
    assert_eq!(names(&after), names(&before), "series grew");
    for text in ["salt", GOOD, "path-", "aaaa1111", "k_good"] {
        assert!(!after.text().contains(text), "{text} is in the metrics");
    }
}

#[test]
fn counters_never_go_back() {
    let upstream = Upstream::fast();
    let keygate = Setup::of(&upstream).spawn();
    let mut traffic = keygate.connect();
    let mut last = 0.0;
    for _ in 0..20 {
        traffic.ask(get("/x"));
        let total = keygate.metrics().total("keygate_requests_total");
        assert!(total >= last, "a counter went back");
        last = total;
    }
    eventually("all are counted", Duration::from_secs(5), || {
        keygate.metrics().total("keygate_requests_total") == 20.0
    });
}
