//! Covers "/livez and /readyz say what an orchestrator needs": alive while it turns, ready when keys are
//! loaded and it is not draining, whatever the upstream does; the reasons are told.

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

#[test]
fn a_started_keygate_is_alive_and_ready() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    for path in ["/livez", "/readyz"] {
        let response = keygate.telemetry(path);
        assert_eq!(response.status, 200, "{path}: {response:?}");
        assert!(!response.text().contains(GOOD));
    }
}

#[test]
fn readiness_never_depends_on_the_upstream() {
    let keygate = Setup::in_front_of(&format!("http://{}", Upstream::nowhere())).spawn();
    assert_eq!(keygate.status(GOOD), 502);
    assert_eq!(keygate.telemetry("/readyz").status, 200);
    let keygate = Setup::in_front_of("http://no-such-host.invalid:80").spawn();
    assert_eq!(keygate.telemetry("/readyz").status, 200);
}

#[test]
fn a_broken_key_file_degrades_and_tells_where() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let healthy = keygate.telemetry("/readyz").text();
    keygate.replace_keys("version: 1\nkeys:\n  - {name: a, colour: red}\n");
    eventually("it is told", SOON, || {
        keygate.telemetry("/readyz").text() != healthy
    });
    let response = keygate.telemetry("/readyz");
    assert_eq!(
        response.status, 200,
        "the last good keys serve: {response:?}"
    );
    assert!(
        response.text().contains("keys.yaml:3"),
        "file and line are told: {response:?}"
    );
    keygate.replace_keys(crate::harness::setup::usual_keys());
    eventually("it is over", SOON, || {
        keygate.telemetry("/readyz").text() == healthy
    });
}

#[test]
fn other_paths_and_methods_are_refused() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    assert_eq!(keygate.telemetry("/").status, 404);
    assert_eq!(keygate.telemetry("/admin").status, 404);
    let mut client = Client::connect(keygate.telemetry.unwrap());
    let response = client.ask("POST /metrics HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(response.status, 405, "{response:?}");
    let mut client = Client::connect(keygate.telemetry.unwrap());
    let response = client.ask("HEAD /livez HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    assert_eq!(response.status, 200, "{response:?}");
}

#[test]
fn telemetry_can_be_switched_off() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("telemetry", "{listen: none}")
        .spawn();
    assert_eq!(keygate.telemetry, None);
    assert_eq!(keygate.status(GOOD), 200);
}

#[test]
fn the_proxy_serves_no_telemetry() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    for path in ["/metrics", "/livez", "/readyz", "/drain"] {
        let response = keygate.ask(format!("GET {path} HTTP/1.1\r\nhost: app\r\n\r\n"));
        assert_eq!(
            response.status, 401,
            "{path} is the upstream's: {response:?}"
        );
    }
}
