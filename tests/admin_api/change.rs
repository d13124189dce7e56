//! `PATCH` and `DELETE` of a key: what a merge patch changes, what it must not, and that it counts at once.

use serde_json::Value;
use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::check_key;
use crate::admin_api::plain;
use crate::admin_api::without_use;
use crate::harness::admin::pointers;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;

const FULL: &str = ", description: before, tags: {team: billing, env: prod}, \
                    expires_at: 2099-01-01T00:00:00Z, allow: {methods: [GET], paths: [/**]}";

#[track_caller]
fn patch(running: &Running, id: &str, body: &Value) -> Value {
    let answer = running
        .admin
        .patch(&format!("/keys/{id}"))
        .if_match("*")
        .json(body)
        .expect(200);
    let key = answer.json();
    check_key(&key, false);
    let (got, etag) = running.admin.key(id);
    assert_eq!(
        without_use(&got),
        without_use(&key),
        "{body}: as a get says"
    );
    assert_eq!(etag, answer.etag(), "{body}: as a get says");
    plain(&key)
}

#[test]
fn a_merge_patch_changes_what_it_names_and_nothing_else() {
    let running = Running::with(|setup| {
        setup.keys(key_file(&[
            entry("good", GOOD, FULL),
            entry("other", OTHER, ""),
        ]))
    });
    let mut expected = plain(&running.admin.key("k_good").0);
    for (name, body, changed) in [
        (
            "a name",
            json!({"name": "renamed: \"key\" #1"}),
            json!({"name": "renamed: \"key\" #1"}),
        ),
        (
            "a description",
            json!({"description": "after"}),
            json!({"description": "after"}),
        ),
        (
            "null removes",
            json!({"description": null}),
            json!({"description": null}),
        ),
        (
            "one tag of two",
            json!({"tags": {"env": "test"}}),
            json!({"tags": {"team": "billing", "env": "test"}}),
        ),
        (
            "a tag goes, another comes",
            json!({"tags": {"env": null, "tier": "1"}}),
            json!({"tags": {"team": "billing", "tier": "1"}}),
        ),
        ("no tags", json!({"tags": null}), json!({"tags": {}})),
        (
            "a list is replaced",
            json!({"allow": {"methods": ["POST"]}}),
            json!({"allow": {"methods": ["POST"], "paths": ["/**"]}}),
        ),
        (
            "a rule goes",
            json!({"allow": {"methods": null}}),
            json!({"allow": {"paths": ["/**"]}}),
        ),
        ("no rules", json!({"allow": null}), json!({"allow": null})),
        (
            "no end",
            json!({"expires_at": null}),
            json!({"expires_at": null}),
        ),
        (
            "another end, with an offset",
            json!({"expires_at": "2098-01-01T02:00:00+02:00"}),
            json!({"expires_at": "2098-01-01T00:00:00Z"}),
        ),
        (
            "a begin in time to come",
            json!({"not_before": "2097-01-01T00:00:00Z"}),
            json!({"not_before": "2097-01-01T00:00:00Z", "status": "not_yet_valid"}),
        ),
        (
            "no begin",
            json!({"not_before": null}),
            json!({"not_before": null, "status": "active"}),
        ),
        (
            "not recorded",
            json!({"record": false}),
            json!({"record": false}),
        ),
        (
            "disabled",
            json!({"enabled": false}),
            json!({"enabled": false, "status": "disabled"}),
        ),
        (
            "enabled",
            json!({"enabled": true}),
            json!({"enabled": true, "status": "active"}),
        ),
        (
            "expired",
            json!({"expires_at": "2020-01-01T00:00:00Z"}),
            json!({"expires_at": "2020-01-01T00:00:00Z", "status": "expired"}),
        ),
        ("nothing", json!({}), json!({})),
    ] {
        let key = patch(&running, "k_good", &body);
        for (member, value) in changed.as_object().unwrap() {
            expected[member] = value.clone();
        }
        assert_eq!(key, expected, "{name}");
    }
}

#[test]
fn a_patch_that_changes_nothing_writes_nothing() {
    let running = Running::with(|setup| setup.keys(key_file(&[entry("good", GOOD, FULL)])));
    let (_, etag) = running.admin.key("k_good");
    let before = running.keygate.key_text();
    for body in [
        json!({}),
        json!({"description": "before"}),
        json!({"name": "good", "enabled": true}),
        json!({"tags": {"team": "billing", "nothing": null}}),
        json!({"expires_at": "2099-01-01T00:00:00.000Z"}),
    ] {
        let answer = running
            .admin
            .patch("/keys/k_good")
            .if_match(&etag)
            .body("application/merge-patch+json", body.to_string())
            .expect(200);
        assert_eq!(answer.etag(), etag, "{body}");
    }
    assert_eq!(running.keygate.key_text(), before);
}

#[test]
fn a_patch_with_a_wrong_field_changes_nothing() {
    let running = Running::start();
    let before = running.keygate.key_text();
    for (name, body, expected) in [
        (
            "an unknown field",
            json!({"description": "x", "colour": 1}),
            vec!["#/colour"],
        ),
        ("the id", json!({"id": "k_new"}), vec!["#/id"]),
        (
            "the token",
            json!({"token": "a-new-token-1234567"}),
            vec!["#/token"],
        ),
        (
            "the digest",
            json!({"digest": format!("sha256:{}", "0".repeat(64))}),
            vec!["#/digest"],
        ),
        (
            "a computed field",
            json!({"requests_total": 0}),
            vec!["#/requests_total"],
        ),
        ("no name", json!({"name": null}), vec!["#/name"]),
        ("an empty name", json!({"name": ""}), vec!["#/name"]),
        (
            "a flag that is text",
            json!({"enabled": "false"}),
            vec!["#/enabled"],
        ),
        (
            "a bad date",
            json!({"expires_at": "never"}),
            vec!["#/expires_at"],
        ),
        (
            "nothing allowed",
            json!({"allow": {"methods": []}}),
            vec!["#/allow/methods"],
        ),
        (
            "a bad path",
            json!({"allow": {"paths": ["/a", "b"]}}),
            vec!["#/allow/paths/1"],
        ),
        (
            "a bad tag",
            json!({"tags": {"a": {"b": "c"}}}),
            vec!["#/tags/a"],
        ),
    ] {
        let answer = running
            .admin
            .patch("/keys/k_good")
            .if_match("*")
            .json(&body)
            .ask();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (422, "invalid_field"),
            "{name}: {answer:?}"
        );
        assert_eq!(pointers(&answer.json()), expected, "{name}: {answer:?}");
    }
    let taken = running
        .admin
        .patch("/keys/k_good")
        .if_match("*")
        .json(&json!({"name": "other"}))
        .refused(409, "name_taken");
    assert_eq!(taken["holder"], "k_other");
    for body in ["[]", "null", "\"x\"", "{"] {
        let answer = running
            .admin
            .patch("/keys/k_good")
            .if_match("*")
            .body("application/merge-patch+json", body)
            .ask();
        assert!(matches!(answer.status, 400 | 422), "{body}: {answer:?}");
    }
    assert_eq!(running.keygate.key_text(), before, "nothing was written");
}

#[test]
fn a_disabled_key_is_refused_at_once_and_comes_back() {
    let running = Running::start();
    for _ in 0..5 {
        patch(&running, "k_good", &json!({"enabled": false}));
        assert_eq!(running.keygate.status(GOOD), 401);
        patch(&running, "k_good", &json!({"enabled": true}));
        assert_eq!(running.keygate.status(GOOD), 200);
    }
}

#[test]
fn a_deleted_key_is_gone_at_once() {
    let running = Running::start();
    let (_, etag) = running.admin.key("k_good");
    let answer = running
        .admin
        .delete("/keys/k_good")
        .if_match(&etag)
        .expect(204);
    assert!(
        answer.body.is_empty() && !answer.head.has("content-type"),
        "{answer:?}"
    );
    assert_eq!(
        (running.keygate.status(GOOD), running.keygate.status(OTHER)),
        (401, 200)
    );
    running
        .admin
        .get("/keys/k_good")
        .refused(404, "key_not_found");
    running
        .admin
        .delete("/keys/k_good")
        .if_match("*")
        .refused(404, "key_not_found");
    assert!(!running.keygate.key_text().contains("k_good"));
    // The last one may go as well: then nobody passes, and the file is still a key file.
    running
        .admin
        .delete("/keys/k_other")
        .if_match("*")
        .expect(204);
    assert_eq!(running.admin.get("/keys").expect(200).json()["total"], 0);
    running.admin.post("/reload").expect(200);
    assert_eq!(running.keygate.status(OTHER), 401);
}
