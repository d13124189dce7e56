//! `GET /keys/{id}/usage`: the counters move with the requests, and outlive every edit of the key.

use serde_json::json;

use crate::admin_api::Running;
use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::setup::GOOD;
use crate::harness::setup::usual_keys;
use crate::harness::setup::write_by_rename;

fn totals(running: &Running) -> (u64, u64) {
    let usage = running.admin.get("/keys/k_good/usage").expect(200).json();
    let (key, _) = running.admin.key("k_good");
    assert_eq!(usage["id"], "k_good");
    assert!(usage["since"].is_string(), "{usage}");
    for member in ["requests_total", "last_used_at"] {
        // A request may end between the two answers, but none is under way here.
        assert_eq!(usage[member], key[member], "{member}: {usage} {key}");
    }
    (
        usage["requests_total"].as_u64().unwrap(),
        usage["refused_total"].as_u64().unwrap(),
    )
}

#[test]
fn usage_moves_with_requests_and_survives_edits() {
    let running = Running::start();
    assert_eq!(totals(&running), (0, 0));
    assert!(running.admin.key("k_good").0["last_used_at"].is_null());
    for _ in 0..5 {
        assert_eq!(running.keygate.status(GOOD), 200);
    }
    eventually("five requests are counted", SOON, || {
        totals(&running) == (5, 0)
    });
    let first = running.admin.key("k_good").0["last_used_at"].clone();
    assert!(first.is_string());

    let patch = |body| {
        running
            .admin
            .patch("/keys/k_good")
            .if_match("*")
            .json(&body)
            .expect(200)
            .json()
    };
    let renamed = patch(json!({"name": "renamed", "allow": {"methods": ["POST"]}}));
    assert_eq!(
        (&renamed["requests_total"], &renamed["last_used_at"]),
        (&json!(5), &first),
        "an edit keeps the counters"
    );
    assert_eq!(running.keygate.status(GOOD), 403);
    eventually("a refusal is counted", SOON, || {
        let (requests, refused) = totals(&running);
        refused == 1 && (requests == 5 || requests == 6)
    });
    patch(json!({"enabled": false}));
    assert_eq!(running.keygate.status(GOOD), 401);
    eventually("so is a request with a disabled key", SOON, || {
        totals(&running).1 == 2
    });

    let before = totals(&running);
    running
        .admin
        .post("/keys/k_good/rotate")
        .if_match("*")
        .json(&json!({}))
        .expect(200);
    assert_eq!(totals(&running), before, "a new token is the same key");
    write_by_rename(running.keygate.key_path(), usual_keys());
    eventually("a hand edit is live", SOON, || {
        running.keygate.status(GOOD) == 200
    });
    eventually("and kept the counters", SOON, || {
        totals(&running).0 > before.0
    });

    let by_use = running
        .admin
        .get("/keys?sort=-last_used_at")
        .expect(200)
        .json();
    assert_eq!(by_use["keys"][0]["id"], "k_good");
    // A key that is deleted and made again under its id is a new one.
    running
        .admin
        .delete("/keys/k_good")
        .if_match("*")
        .expect(204);
    running
        .admin
        .create(&json!({"name": "good", "id": "k_good"}));
    assert_eq!(totals(&running).0, 0);
}
