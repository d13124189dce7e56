//! `GET /status` and `POST /reload`: what keygate thinks of its files, and a reload that says what is wrong.

use rustix::process::Signal;
use serde_json::json;

use crate::admin_api::Running;
use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::setup::usual_keys;
use crate::harness::setup::write_in_place;
use crate::harness::upstream::Upstream;

#[test]
fn status_tells_of_files_keys_and_version() {
    let running = Running::with(|setup| {
        setup.keys(key_file(&[
            entry("good", GOOD, ""),
            entry("off", "kg_test_token-that-is-off", ", enabled: false"),
            entry(
                "late",
                "kg_test_token-that-is-late",
                ", expires_at: 2020-01-01T00:00:00Z",
            ),
        ]))
    });
    let status = running.admin.get("/status").expect(200).json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"), "{status}");
    assert!(
        status["started_at"].as_str().unwrap().ends_with('Z'),
        "{status}"
    );
    let text = status.to_string();
    assert!(
        text.contains("keys.yaml") && text.contains("loaded_at"),
        "{status}"
    );
    let revision = running.admin.get("/keys").expect(200).json()["revision"].clone();
    assert!(text.contains(revision.as_str().unwrap()), "{status}");
    let counts = found_counts(&status).unwrap_or_else(|| panic!("no counts by state: {status}"));
    assert_eq!(
        counts,
        json!({"active": 1, "disabled": 1, "expired": 1, "not_yet_valid": 0})
    );
    assert!(
        !text.contains("/secret\":") && !text.contains("keygate-secret"),
        "{status}"
    );
}

#[test]
fn status_tells_how_the_proxy_is_reached() {
    let running = Running::start();
    let status = running.admin.get("/status").expect(200).json();
    let address = running.keygate.address().to_string();
    assert_eq!(status["proxy_addresses"], json!([address]));
    assert_eq!(status["auth_mode"], "enforce");
    assert_eq!(
        status["token_source"],
        json!({"kind": "header", "name": "x-api-key"})
    );
    assert_eq!(status["plain_http"], false);
    for (auth, mode, source) in [
        (
            "{mode: shadow, sources: [bearer]}",
            "shadow",
            json!({"kind": "bearer", "name": null}),
        ),
        (
            "{mode: optional, sources: [query: key, bearer]}",
            "optional",
            json!({"kind": "query", "name": "key"}),
        ),
        (
            "{sources: [cookie: Key]}",
            "enforce",
            json!({"kind": "cookie", "name": "Key"}),
        ),
    ] {
        let running = Running::with(|setup| {
            setup
                .set("auth", auth)
                .set("listen", "0.0.0.0:0")
                .admin(", url: 'http://ops.example/'")
        });
        let status = running.admin.get("/status").expect(200).json();
        assert_eq!(status["auth_mode"], mode, "{auth}");
        assert_eq!(status["token_source"], source, "{auth}");
        assert_eq!(status["plain_http"], true, "{auth}");
        let address = status["proxy_addresses"][0].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
    }
}

#[test]
fn the_session_tells_whoever_is_signed_in_when_keys_have_changed() {
    let running = Running::start();
    let session = running.admin.get("/session").expect(200).json();
    let keys = running.admin.get("/keys").expect(200).json();
    assert_eq!(session["revision"], keys["revision"]);
    running.admin.create(&json!({"name": "another"}));
    let later = running.admin.get("/session").expect(200).json();
    assert_ne!(later["revision"], session["revision"]);
    let nobody = running.keygate.nobody().get("/session").expect(200).json();
    assert!(nobody["revision"].is_null(), "{nobody}");
    assert_eq!(nobody["plain_http"], false);
}

#[test]
fn status_tells_of_the_transaction_log_and_what_is_wrong_with_it() {
    let upstream = Upstream::fast();
    let mut first = Setup::of(&upstream).admin("").spawn();
    for _ in 0..3 {
        assert_eq!(first.status(GOOD), 200);
    }
    first.signal(Signal::TERM);
    assert!(first.wait().success());
    let torn = "transactions-20260101T000000.000000Z.ndjson";
    write_in_place(
        &first.transactions_folder().join(torn),
        "{\"time\":\"2026-01-01T00:00:00.000000Z\",\"request_id\":\"r1\",\"decision\":\"allowed\",\"end\":\"complete\"}\n\
         {\"time\":\"2026-01-01T00:00:01.0",
    );
    let data = first.folder().join("data").display().to_string();
    let second = Setup::of(&upstream)
        .admin("")
        .set("data_dir", data.clone())
        .spawn();
    let status = || second.admin().get("/status").expect(200).json()["transactions"].clone();
    eventually("the log is read", SOON, || {
        status()["rebuild"]["running"] == false
    });
    let log = status();
    assert_eq!(
        (&log["recording"], &log["files"]),
        (&true.into(), &2.into()),
        "{log}"
    );
    assert!(log["folder"].as_str().unwrap().starts_with(&data), "{log}");
    assert!(log["bytes"].as_u64().unwrap() > 500, "{log}");
    assert_eq!(log["oldest_at"], "2026-01-01T00:00:00.000000Z", "{log}");
    assert_eq!(log["rebuild"]["records"], 4, "{log}");
    assert_eq!(
        log["problems"],
        json!([{"file": torn, "what": "lines that are no records", "lines": 1}])
    );
}

/// The object that counts keys by their state, wherever it is.
fn found_counts(value: &serde_json::Value) -> Option<serde_json::Value> {
    match value {
        serde_json::Value::Object(members) if members.contains_key("not_yet_valid") => {
            Some(json!({
                "active": members["active"],
                "disabled": members["disabled"],
                "expired": members["expired"],
                "not_yet_valid": members["not_yet_valid"],
            }))
        }
        serde_json::Value::Object(members) => members.values().find_map(found_counts),
        _ => None,
    }
}

#[test]
fn a_reload_is_live_when_it_is_answered() {
    let running = Running::start();
    for round in 0..6 {
        let on = round % 2 == 1;
        running.keygate.replace_keys(key_file(&[entry(
            "good",
            GOOD,
            &format!(", enabled: {on}"),
        )]));
        let answer = running.admin.post("/reload").expect(200).json();
        assert_eq!(
            answer["revision"],
            running.admin.get("/keys").expect(200).json()["revision"]
        );
        assert_eq!(
            running.keygate.status(GOOD),
            if on { 200 } else { 401 },
            "{round}"
        );
    }
}

#[test]
fn a_broken_file_is_told_with_its_places() {
    let running = Running::start();
    let before = running.admin.get("/keys").expect(200).json();
    let broken = usual_keys() + "  - {id: k_bad, name: good, colour: red}\n  - {name: worse}\n";
    running.keygate.replace_keys(&broken);
    let problem = running
        .admin
        .post("/reload")
        .refused(409, "key_file_broken");
    let text = problem.to_string();
    assert!(
        text.contains("keys.yaml:5") && text.contains("colour"),
        "{problem}"
    );
    assert!(text.contains("\"line\":6"), "every problem: {problem}");
    let status = running.admin.get("/status").expect(200).json().to_string();
    assert!(
        status.contains("keys.yaml:5") || status.contains("\"line\":5"),
        "{status}"
    );
    assert!(status.contains("colour"), "{status}");
    assert_eq!(running.keygate.status(GOOD), 200, "the last good keys stay");
    let after = running.admin.get("/keys").expect(200).json();
    assert_eq!(after["revision"], before["revision"]);
    running.keygate.replace_keys(usual_keys());
    running.admin.post("/reload").expect(200);
    eventually("status is clean again", SOON, || {
        !running
            .admin
            .get("/status")
            .expect(200)
            .text()
            .contains("colour")
    });
}
