//! `POST /keys/{id}/rotate`: a new token for the same key, with or without a time in which the old one still passes.

use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::check_key;
use crate::admin_api::made_token;
use crate::admin_api::named;
use crate::harness::SOON;
use crate::harness::admin::pointers;
use crate::harness::eventually;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::sha256;

#[test]
fn a_rotation_replaces_the_token_at_once() {
    let running = Running::start();
    let (before, etag) = running.admin.key("k_good");
    let answer = running
        .admin
        .post("/keys/k_good/rotate")
        .if_match(&etag)
        .json(&json!({}))
        .expect(200);
    let key = answer.json();
    check_key(&key, true);
    let token = made_token(&key);
    assert_eq!(
        (running.keygate.status(GOOD), running.keygate.status(&token)),
        (401, 200)
    );
    assert_eq!(
        (&key["id"], &key["name"], &key["previous"]),
        (&before["id"], &before["name"], &json!([]))
    );
    assert_eq!(key["copy"], "sealed");
    let copied = running.admin.post("/keys/k_good/copy").expect(200).json();
    assert_eq!(copied["token"], token.as_str());
    let (_, now) = running.admin.key("k_good");
    assert_ne!(now, etag);
    assert_eq!(now, answer.etag());
    // Again: the copy follows.
    let again = running
        .admin
        .post("/keys/k_good/rotate")
        .if_match(&now)
        .json(&json!({}))
        .expect(200)
        .json();
    let newest = made_token(&again);
    assert_eq!(
        (
            running.keygate.status(&token),
            running.keygate.status(&newest)
        ),
        (401, 200)
    );
}

#[test]
fn the_old_token_passes_during_the_overlap() {
    let running = Running::start();
    let key = running
        .admin
        .post("/keys/k_good/rotate")
        .if_match("*")
        .json(&json!({"overlap": "24h"}))
        .expect(200)
        .json();
    let token = made_token(&key);
    assert_eq!(
        (running.keygate.status(GOOD), running.keygate.status(&token)),
        (200, 200)
    );
    let previous = key["previous"].as_array().unwrap();
    assert_eq!(previous.len(), 1, "{:?}", key["previous"]);
    let members: Vec<&String> = previous[0].as_object().unwrap().keys().collect();
    assert_eq!(members, ["expires_at"], "no digest");
    // A second rotation without overlap ends both.
    let second = running
        .admin
        .post("/keys/k_good/rotate")
        .if_match("*")
        .json(&json!({"overlap": "2s"}))
        .expect(200)
        .json();
    let newest = made_token(&second);
    assert_eq!(running.keygate.status(&newest), 200);
    eventually("the overlap ends", SOON, || {
        running.keygate.status(&token) == 401
    });
    assert_eq!(running.keygate.status(&newest), 200);
}

#[test]
fn a_rotation_to_a_token_of_ones_own() {
    let running = Running::start();
    let own = "own-token-of-the-caller_8wE3";
    let key = running
        .admin
        .post("/keys/k_good/rotate")
        .if_match("*")
        .json(&json!({"token": own, "recoverable": false}))
        .expect(200)
        .json();
    assert_eq!((&key["token"], &key["copy"]), (&json!(own), &json!("none")));
    assert_eq!(
        (running.keygate.status(GOOD), running.keygate.status(own)),
        (401, 200)
    );
    let digest = format!("sha256:{}", sha256(b"known-by-its-digest-alone"));
    let key = running
        .admin
        .post("/keys/k_good/rotate")
        .if_match("*")
        .json(&json!({ "digest": digest }))
        .expect(200)
        .json();
    check_key(&key, false);
    assert_eq!(key["copy"], "none");
    assert_eq!(
        (
            running.keygate.status(own),
            running.keygate.status("known-by-its-digest-alone")
        ),
        (401, 200)
    );
}

#[test]
fn a_clear_token_in_the_file_gives_way_to_the_new_one() {
    let clear = "a-token-in-clear-in-the-file_7";
    let running = Running::with(|setup| {
        setup.keys(format!(
            "version: 1\nkeys:\n  - id: k_clear\n    name: clear  # by hand\n    token: {clear}\n"
        ))
    });
    let key = running
        .admin
        .post("/keys/k_clear/rotate")
        .if_match("*")
        .json(&json!({}))
        .expect(200)
        .json();
    let token = made_token(&key);
    assert_eq!(
        (
            running.keygate.status(clear),
            running.keygate.status(&token)
        ),
        (401, 200)
    );
    let text = running.keygate.key_text();
    assert!(
        !text.contains(clear) && text.contains("# by hand"),
        "the old token is gone"
    );
}

#[test]
fn a_wrong_rotation_changes_nothing() {
    let running = Running::start();
    let before = running.keygate.key_text();
    for (name, body, expected) in [
        ("no duration", json!({"overlap": "soon"}), "#/overlap"),
        ("a number", json!({"overlap": 24}), "#/overlap"),
        ("a negative one", json!({"overlap": "-1h"}), "#/overlap"),
        ("an unknown field", json!({"name": "x"}), "#/name"),
        ("a short token", json!({"token": "short"}), "#/token"),
        ("a bad digest", json!({"digest": "x"}), "#/digest"),
    ] {
        let answer = running
            .admin
            .post("/keys/k_good/rotate")
            .if_match("*")
            .json(&body)
            .ask();
        assert_eq!(answer.status, 422, "{name}: {answer:?}");
        assert_eq!(pointers(&answer.json()), [expected], "{name}: {answer:?}");
    }
    let taken = running
        .admin
        .post("/keys/k_good/rotate")
        .if_match("*")
        .json(&json!({"token": OTHER}))
        .refused(409, "token_taken");
    assert_eq!(taken["holder"], "k_other");
    assert_eq!(running.keygate.key_text(), before);
    assert_eq!(running.keygate.status(GOOD), 200);
    // The token that it has already is no new one.
    let same = running
        .admin
        .post("/keys/k_good/rotate")
        .if_match("*")
        .json(&json!({"token": GOOD}))
        .ask();
    assert!((400..500).contains(&same.status), "{same:?}");
    running.admin.create(&named("and it goes on"));
}
