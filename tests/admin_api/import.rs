//! `POST /keys:import`: many keys at once, all or none, from every format; a trial run, and what happens to names
//! that are taken.

use serde_json::Value;
use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::names;
use crate::harness::admin::ADMIN_TOKEN;
use crate::harness::client::Client;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::sha256;

#[track_caller]
fn import(running: &Running, query: &str, media: &str, text: &str) -> Value {
    running
        .admin
        .post(&format!("/keys:import{query}"))
        .body(media, text)
        .expect(200)
        .json()
}

/// `created`, `renamed`, `skipped`.
fn counts(report: &Value) -> (u64, u64, u64) {
    let count = |member: &str| {
        report[member]
            .as_u64()
            .unwrap_or_else(|| panic!("{member}: {report}"))
    };
    (count("created"), count("renamed"), count("skipped"))
}

#[test]
fn every_format_is_taken() {
    let digest = sha256(b"imported-by-digest-2");
    for (media, text) in [
        (
            "application/x-ndjson",
            format!(
                "{{\"name\": \"one\", \"token\": \"imported-by-token-1\"}}\n\n{{\"name\": \"two\", \"digest\": \"sha256:{digest}\"}}\n"
            ),
        ),
        (
            "application/json",
            format!(
                "{{\"version\": 1, \"keys\": [{{\"name\": \"one\", \"token\": \"imported-by-token-1\"}}, {{\"name\": \"two\", \"digest\": \"sha256:{digest}\"}}]}}"
            ),
        ),
        (
            "application/yaml",
            format!(
                "version: 1\nkeys:\n  - name: one  # first\n    token: imported-by-token-1\n  - {{name: two, digest: \"sha256:{digest}\"}}\n"
            ),
        ),
        (
            "text/csv; charset=utf-8",
            format!(
                "name,token,digest\r\none,imported-by-token-1,\r\n\"two\",,sha256:{digest}\r\n"
            ),
        ),
        (
            "text/plain",
            "imported-by-token-1\nimported-by-digest-2\n".to_owned(),
        ),
    ] {
        let running = Running::start();
        let trial = import(&running, "?dry_run=true", media, &text);
        assert_eq!(counts(&trial), (2, 0, 0), "{media}: {trial}");
        assert_eq!(
            running.keygate.status("imported-by-token-1"),
            401,
            "{media}: a trial run"
        );
        let report = import(&running, "", media, &text);
        assert_eq!(counts(&report), (2, 0, 0), "{media}: {report}");
        assert_eq!(report["problems"], json!([]), "{media}");
        assert_eq!(
            (
                running.keygate.status("imported-by-token-1"),
                running.keygate.status("imported-by-digest-2")
            ),
            (200, 200),
            "{media}: live when answered"
        );
        assert_eq!(
            (running.keygate.status(GOOD), running.keygate.status(OTHER)),
            (200, 200)
        );
        let list = running.admin.get("/keys").expect(200).json();
        assert_eq!(list["total"], 4, "{media}");
        if media != "text/plain" {
            assert!(
                names(&list).contains(&"one") && names(&list).contains(&"two"),
                "{media}"
            );
        }
        assert!(
            !running.keygate.key_text().contains("imported-by-token-1"),
            "{media}: tokens are sealed"
        );
    }
}

#[test]
fn names_that_are_taken_get_a_number_are_skipped_or_stop_it() {
    let text = "{\"name\": \"good\", \"token\": \"imported-by-token-1\"}\n{\"name\": \"new\", \"token\": \"imported-by-token-2\"}\n";
    let media = "application/x-ndjson";
    let running = Running::start();
    let report = import(&running, "?on_conflict=skip", media, text);
    assert_eq!(counts(&report), (1, 0, 1), "{report}");
    assert_eq!(running.keygate.status("imported-by-token-1"), 401);
    // The token of `new` is there by now: the same key again is nobody's wish.
    let again = import(&running, "?on_conflict=skip", media, text);
    assert_eq!(counts(&again), (0, 0, 2), "{again}");

    let running = Running::start();
    let report = import(&running, "?on_conflict=rename", media, text);
    assert_eq!(report["renamed"].as_u64(), Some(1), "{report}");
    let list = running.admin.get("/keys?search=good").expect(200).json();
    assert_eq!(names(&list), ["good", "good-2"]);

    let running = Running::start();
    let before = running.keygate.key_text();
    let answer = running
        .admin
        .post("/keys:import?on_conflict=fail")
        .body(media, text)
        .ask();
    assert!(matches!(answer.status, 409 | 422), "{answer:?}");
    assert_eq!(running.keygate.key_text(), before, "all or none");
    for query in ["?on_conflict=overwrite", "?dry_run=maybe", "?colour=red"] {
        let status = running
            .admin
            .post(&format!("/keys:import{query}"))
            .body(media, text)
            .ask()
            .status;
        assert!(matches!(status, 400 | 422), "{query}: {status}");
    }
}

#[test]
fn a_wrong_line_is_named_and_nothing_is_imported() {
    let running = Running::start();
    let before = running.keygate.key_text();
    for (name, media, text, place) in [
        (
            "a wrong field",
            "application/x-ndjson",
            "{\"name\": \"one\", \"token\": \"imported-by-token-1\"}\n{\"name\": \"two\", \"colour\": 1, \"token\": \"imported-by-token-2\"}\n",
            "2",
        ),
        (
            "half a line",
            "application/x-ndjson",
            "{\"name\": \"one\", \"token\": \"imported-by-token-1\"}\n{\"name\"",
            "2",
        ),
        (
            "a short token",
            "text/plain",
            "imported-by-token-1\nshort\n",
            "2",
        ),
        ("no such column", "text/csv", "name,colour\none,red\n", "1"),
        ("bad yaml", "application/yaml", "version: 1\nkeys: [\n", ""),
        (
            "bad json",
            "application/json",
            "{\"version\": 1, \"keys\": [",
            "",
        ),
        ("not UTF-8", "text/plain", "\u{fffd}\u{1}", ""),
    ] {
        let answer = running.admin.post("/keys:import").body(media, text).ask();
        assert!(
            matches!(answer.status, 400 | 409 | 422),
            "{name}: {answer:?}"
        );
        let text = answer.text();
        assert!(text.contains(place), "{name}: {text}");
        assert!(
            !text.contains("imported-by-token"),
            "{name}: a token is quoted"
        );
        assert_eq!(running.keygate.key_text(), before, "{name}: all or none");
    }
}

/// More than a body may have elsewhere.
#[test]
fn an_import_may_be_large() {
    let running = Running::start();
    let text: String = (0..5_000)
        .map(|index| {
            format!(
                "{{\"name\": \"bulk {index:05}\", \"digest\": \"sha256:{}\", \"description\": \"{}\"}}\n",
                sha256(format!("bulk-token-{index:05}").as_bytes()),
                "x".repeat(60)
            )
        })
        .collect();
    assert!(text.len() > 10 * 64 * 1024);
    let report = import(&running, "", "application/x-ndjson", &text);
    assert_eq!(counts(&report), (5_000, 0, 0), "{}", report["problems"]);
    assert_eq!(
        (
            running.keygate.status("bulk-token-00000"),
            running.keygate.status("bulk-token-04999")
        ),
        (200, 200)
    );
    assert_eq!(
        running.admin.get("/keys?limit=1").expect(200).json()["total"],
        5_002
    );
    let audit = running
        .admin
        .get("/audit?action=keys.imported")
        .expect(200)
        .json();
    assert_eq!(
        audit["events"].as_array().unwrap().len(),
        1,
        "one line for all: {audit}"
    );
}

/// Nobody waits for bytes that will not be taken.
#[test]
fn an_import_that_is_too_large_or_from_nobody_is_refused_at_once() {
    let running = Running::start();
    for (name, authorization, length, status) in [
        (
            "more than 256 MiB",
            format!("authorization: Bearer {ADMIN_TOKEN}\r\n"),
            300_u64 << 20,
            413,
        ),
        ("from nobody", String::new(), 200 << 20, 401),
    ] {
        let mut client = Client::connect(running.admin.address());
        client.send(format!(
            "POST /api/v1/keys:import HTTP/1.1\r\nhost: localhost\r\n{authorization}content-type: text/plain\r\n\
             content-length: {length}\r\n\r\n"
        ));
        let answer = client.read("POST");
        assert_eq!(answer.status, status, "{name}: {answer:?}");
    }
}
