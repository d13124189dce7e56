//! `GET /audit`: who changed what, when and from where, newest first, with the fields before and after and no secret.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::made_token;
use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::found;
use crate::harness::setup::GOOD;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::sha256;

fn events(running: &Running, query: &str) -> Vec<Value> {
    let page = running
        .admin
        .get(&format!("/audit{query}"))
        .expect(200)
        .json();
    page["events"]
        .as_array()
        .unwrap_or_else(|| panic!("{page}"))
        .clone()
}

#[test]
fn every_change_is_told_with_who_and_what() {
    let running = Running::start();
    let made = running
        .admin
        .create(&json!({"name": "made", "description": "first"}));
    let id = made["id"].as_str().unwrap().to_owned();
    let path = format!("/keys/{id}");
    let patched = running
        .admin
        .patch(&path)
        .if_match("*")
        .json(&json!({"description": "second", "enabled": false}))
        .expect(200);
    let rotated = running
        .admin
        .post(&format!("{path}/rotate"))
        .if_match("*")
        .json(&json!({}))
        .expect(200)
        .json();
    running.admin.post(&format!("{path}/copy")).expect(200);
    running.admin.post("/reload").expect(200);
    running.admin.delete(&path).if_match("*").expect(204);

    let all = events(&running, "");
    let actions: Vec<&str> = all
        .iter()
        .filter_map(|event| event["action"].as_str())
        .take(6)
        .collect();
    assert_eq!(
        actions,
        [
            "key.deleted",
            "keys.reloaded",
            "key.copied",
            "key.rotated",
            "key.changed",
            "key.created"
        ],
        "newest first"
    );
    for event in &all[..6] {
        assert_eq!(
            event["actor"],
            json!({"kind": "token", "name": "ops"}),
            "{event}"
        );
        assert_eq!(event["client"], "127.0.0.1", "{event}");
        assert!(event["time"].as_str().unwrap().ends_with('Z'), "{event}");
        assert!(event["request_id"].is_string(), "{event}");
        if event["action"] != "keys.reloaded" {
            assert_eq!(event["key_id"], id, "{event}");
        }
    }
    let changed = &all[4];
    assert_eq!(
        changed["request_id"],
        patched.head.one("x-request-id").unwrap()
    );
    assert_eq!(
        changed["before"],
        json!({"description": "first", "enabled": true})
    );
    assert_eq!(
        changed["after"],
        json!({"description": "second", "enabled": false})
    );
    assert_eq!(all[5]["after"]["name"], "made");
    assert_eq!(all[0]["before"]["name"], "made");

    let folder = running.keygate.folder().join("data/audit");
    assert_eq!(
        fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let text = fs::read_to_string(folder.join("audit.ndjson")).unwrap();
    for token in [made_token(&made), made_token(&rotated)] {
        assert!(
            !text.contains(&token) && !text.contains(&sha256(token.as_bytes())),
            "a secret"
        );
    }
    assert!(!text.contains("v1:"), "a sealed copy");

    for (query, expected) in [
        ("?action=key.created", 1),
        ("?action=key.copied&actor=ops", 1),
        ("?actor=file", 0),
        ("?actor=nobody", 0),
        (&*format!("?key={id}"), 5),
        ("?key=made&limit=3", 3),
        ("?key=k_good", 0),
    ] {
        assert_eq!(events(&running, query).len(), expected, "{query}");
    }
    for query in [
        "?limit=0",
        "?limit=x",
        "?limit=201",
        "?cursor=nonsense",
        "?colour=red",
        "?action=key.eaten",
    ] {
        let status = running.admin.get(&format!("/audit{query}")).ask().status;
        assert!(matches!(status, 400 | 422), "{query}: {status}");
    }
}

#[test]
fn a_refused_change_is_no_change() {
    let running = Running::start();
    let before = events(&running, "").len();
    running
        .admin
        .post("/keys")
        .json(&json!({"name": "good"}))
        .refused(409, "name_taken");
    running
        .admin
        .post("/keys")
        .json(&json!({}))
        .refused(422, "invalid_field");
    running
        .admin
        .delete("/keys/k_good")
        .if_match("\"x\"")
        .refused(412, "stale");
    running
        .admin
        .post("/keys/k_good/copy")
        .refused(409, "not_recoverable");
    assert_eq!(events(&running, "").len(), before);
}

#[test]
fn a_hand_edit_is_told_as_the_files() {
    let running = Running::start();
    running
        .keygate
        .replace_keys(key_file(&[entry("good", GOOD, ", enabled: false")]));
    let event = found("the hand edit is told", SOON, || {
        events(&running, "?actor=file&key=k_good")
            .into_iter()
            .next()
    });
    assert_eq!(event["actor"]["kind"], "file", "{event}");
    assert_eq!(event["action"], "key.changed", "{event}");
    assert_eq!(
        (&event["before"], &event["after"]),
        (&json!({"enabled": true}), &json!({"enabled": false}))
    );
    eventually("and what went", SOON, || {
        events(&running, "?actor=file&action=key.deleted&key=k_other").len() == 1
    });
    // The API's own edits are not told twice.
    running.admin.create(&json!({"name": "mine"}));
    running.admin.post("/reload").expect(200);
    assert_eq!(events(&running, "?key=mine").len(), 1);
}

#[test]
fn pages_of_the_log_hold_every_event_once() {
    let running = Running::start();
    for index in 0..25 {
        running
            .admin
            .create(&json!({"name": format!("n{index:02}")}));
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        let answer = running
            .admin
            .get(&format!("/audit?limit=7&action=key.created{cursor}"))
            .expect(200)
            .json();
        for event in answer["events"].as_array().unwrap() {
            seen.push(event["key_name"].as_str().unwrap().to_owned());
        }
        // What comes in the meantime does not move what is behind.
        running
            .admin
            .create(&json!({"name": format!("late{page}")}));
        match answer["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        assert!(page < 20, "the pages end");
    }
    let expected: Vec<String> = (0..25).rev().map(|index| format!("n{index:02}")).collect();
    assert_eq!(seen, expected);
    let unique: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(unique.len(), 25);
}
