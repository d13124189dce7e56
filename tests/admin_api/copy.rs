//! `POST /keys/{id}/copy`: a token is shown again as long as a copy was kept and the secret is there, and never
//! without a line in the audit log.

use std::fs;

use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::made_token;
use crate::admin_api::named;
use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::setup::write_by_rename;
use crate::harness::setup::write_in_place;

const CLEAR: &str = "a-token-in-clear-in-the-file_7";

#[test]
fn a_sealed_token_is_shown_again() {
    let running = Running::start();
    let key = running.admin.create(&named("sealed"));
    let token = made_token(&key);
    let path = format!("/keys/{}/copy", key["id"].as_str().unwrap());
    for _ in 0..2 {
        let answer = running.admin.post(&path).expect(200);
        assert_eq!(answer.json(), json!({ "token": token }));
    }
    let answer = running.admin.get(&path).expect(405);
    assert_eq!(answer.head.one("allow"), Some("POST"));
    let audit = running
        .admin
        .get("/audit?action=key.copied")
        .expect(200)
        .json();
    assert_eq!(audit["events"].as_array().unwrap().len(), 2, "{audit}");
}

#[test]
fn a_token_that_the_file_holds_is_shown_too() {
    let running = Running::with(|setup| {
        write_in_place(
            &setup.folder.path().join("filed"),
            format!("{CLEAR}-filed\n"),
        );
        setup.keys(format!(
            "version: 1\nkeys:\n  - {{id: k_clear, name: clear, token: {CLEAR}}}\n  - {{id: k_filed, name: filed, token_file: filed}}\n"
        ))
    });
    for (id, token) in [
        ("k_clear", CLEAR.to_owned()),
        ("k_filed", format!("{CLEAR}-filed")),
    ] {
        assert_eq!(running.admin.key(id).0["copy"], "file", "{id}");
        let answer = running.admin.post(&format!("/keys/{id}/copy")).expect(200);
        assert_eq!(answer.json(), json!({ "token": token }), "{id}");
    }
}

#[test]
fn a_token_that_was_not_kept_is_not_recoverable() {
    let running = Running::start();
    let once = running
        .admin
        .create(&json!({"name": "once", "recoverable": false}));
    for id in ["k_good", once["id"].as_str().unwrap()] {
        running
            .admin
            .post(&format!("/keys/{id}/copy"))
            .refused(409, "not_recoverable");
    }
    let running = Running::with(|setup| setup.set("keys", "{file: keys.yaml, recoverable: false}"));
    let key = running.admin.create(&named("by default"));
    assert_eq!(key["copy"], "none");
    let asked = running
        .admin
        .post("/keys")
        .json(&json!({"name": "kept", "recoverable": true}))
        .ask();
    assert!(
        asked.status == 422 || asked.json()["copy"] == "none",
        "what the configuration forbids is not done for one key: {}",
        asked.status
    );
    assert!(!running.keygate.key_text().contains("sealed"));
}

#[test]
fn a_lost_secret_degrades_copy_and_nothing_else() {
    let running = Running::start();
    let key = running.admin.create(&named("sealed"));
    let token = made_token(&key);
    let copy = format!("/keys/{}/copy", key["id"].as_str().unwrap());
    let secret = running.keygate.folder().join("data").join("secret");
    let kept = fs::read(&secret).unwrap();
    fs::remove_file(&secret).unwrap();
    for _ in 0..2 {
        let problem = running.admin.post(&copy).refused(409, "secret_missing");
        let wanted = problem["wanted"].as_str().unwrap();
        assert!(
            wanted.len() == 8 && wanted.bytes().all(|b| b.is_ascii_hexdigit()),
            "{problem}"
        );
        assert!(String::from_utf8_lossy(&kept).contains(wanted), "{problem}");
    }
    assert!(!secret.exists(), "another secret would hide the loss");
    assert_eq!(running.keygate.status(&token), 200, "traffic goes on");
    running
        .admin
        .patch(&copy.replace("/copy", ""))
        .if_match("*")
        .json(&json!({"description": "edits go on"}))
        .expect(200);
    running
        .admin
        .create(&json!({"name": "shown once", "recoverable": false}));
    running.admin.get("/status").expect(200);

    // Another secret is no help; the right one is, at once.
    write_in_place(
        &secret,
        format!("keygate-secret:v1:00000000:{}=\n", "A".repeat(43)),
    );
    running.admin.post(&copy).refused(409, "secret_missing");
    write_in_place(&secret, "not a secret file\n");
    let problem = running.admin.post(&copy).ask();
    assert_eq!(problem.status, 409, "{problem:?}");
    write_by_rename(&secret, &kept);
    assert_eq!(running.admin.post(&copy).expect(200).json()["token"], token);
}

#[test]
fn a_copy_that_belongs_to_another_key_is_not_opened() {
    let running = Running::start();
    let (a, b) = (
        running.admin.create(&json!({"name": "a", "id": "k_a"})),
        running.admin.create(&json!({"name": "b", "id": "k_b"})),
    );
    // Somebody who may write the file swaps the sealed copies, to see another key's token.
    let text = running.keygate.key_text();
    let sealed: Vec<&str> = text
        .match_indices("v1:")
        .map(|(at, _)| {
            let rest = &text[at..];
            let end = rest
                .find(|c: char| c.is_whitespace() || "\",'}".contains(c))
                .unwrap();
            &rest[..end]
        })
        .collect();
    assert_eq!(sealed.len(), 2);
    let swapped = text
        .replace(sealed[0], "FIRST")
        .replace(sealed[1], sealed[0])
        .replace("FIRST", sealed[1]);
    running.keygate.replace_keys(&swapped);
    running.admin.post("/reload").expect(200);
    for id in ["k_a", "k_b"] {
        running
            .admin
            .post(&format!("/keys/{id}/copy"))
            .refused(409, "seal_damaged");
    }
    running.keygate.replace_keys(&text);
    running.admin.post("/reload").expect(200);
    for (id, key) in [("k_a", a), ("k_b", b)] {
        let answer = running.admin.post(&format!("/keys/{id}/copy")).expect(200);
        assert_eq!(answer.json()["token"], key["token"]);
    }
}

#[test]
fn without_a_line_in_the_audit_log_no_token_is_shown() {
    let running = Running::start();
    let key = running.admin.create(&named("sealed"));
    let copy = format!("/keys/{}/copy", key["id"].as_str().unwrap());
    let folder = running.keygate.folder().join("data").join("audit");
    let aside = running.keygate.folder().join("audit-aside");
    fs::rename(&folder, &aside).unwrap();
    // Not even root can make a folder where a file is.
    write_in_place(&folder, "in the way");
    let answer = running.admin.post(&copy).ask();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (507, "not_written"),
        "{answer:?}"
    );
    assert!(!answer.text().contains(key["token"].as_str().unwrap()));
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    running.admin.post(&copy).expect(200);
}

#[test]
fn whoever_copies_everything_is_slowed_down() {
    let running = Running::start();
    let key = running.admin.create(&named("sealed"));
    let copy = format!("/keys/{}/copy", key["id"].as_str().unwrap());
    let mut shown = 0;
    let refused = loop {
        let answer = running.admin.post(&copy).ask();
        if answer.status != 200 {
            break answer;
        }
        shown += 1;
        assert!(shown < 1_000, "there is a limit");
    };
    assert!(shown >= 5, "a person is not slowed down: {shown}");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "slow_down"),
        "{refused:?}"
    );
    let wait: u64 = refused.head.one("retry-after").unwrap().parse().unwrap();
    assert!(wait <= 60, "{refused:?}");
    if wait <= 5 {
        eventually("copies go on", SOON, || {
            running.admin.post(&copy).ask().status == 200
        });
    }
}
