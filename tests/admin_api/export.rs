//! `GET /keys:export`: all keys as one file, in every format that keygate reads, and never a clear token.

use serde_json::Value;
use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::made_token;
use crate::admin_api::names;
use crate::harness::keygate::binary;
use crate::harness::keygate::command;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::write_in_place;
use crate::harness::sha256;

const CLEAR: &str = "a-token-in-clear-in-the-file_7";

fn started() -> (Running, String) {
    let running = Running::with(|setup| {
        let text = crate::harness::setup::usual_keys()
            + &format!("  - {{id: k_clear, name: clear, token: {CLEAR}}}\n")
            + "  - {id: k_formula, name: \"=1+1\", description: \"@SUM(A1)\", token: kg_test_of-a-formula_1}\n";
        setup.keys(text)
    });
    let made = running.admin.create(&json!({
        "name": "sealed, \"quoted\" & ünïcode",
        "description": "first line\nsecond line",
        "tags": {"team": "billing"},
        "expires_at": "2099-01-01T00:00:00Z",
        "allow": {"paths": ["/v1/**", "/probe"]},
    }));
    let token = made_token(&made);
    (running, token)
}

#[test]
fn an_export_is_a_key_file_without_clear_tokens() {
    let (running, token) = started();
    for (format, media) in [
        ("ndjson", "application/x-ndjson"),
        ("json", "application/json"),
        ("yaml", "application/yaml"),
        ("csv", "text/csv"),
    ] {
        let answer = running
            .admin
            .get(&format!("/keys:export?format={format}"))
            .expect(200);
        let sent = answer.head.one("content-type").unwrap();
        assert!(sent.starts_with(media), "{format}: {sent}");
        let disposition = answer.head.one("content-disposition").unwrap_or_default();
        assert!(
            disposition.starts_with("attachment"),
            "{format}: {disposition}"
        );
        let text = answer.text();
        for (what, secret) in [
            ("a made token", &*token),
            ("a clear token", CLEAR),
            ("a token of nobody", "kg_test_of-a-formula_1"),
        ] {
            assert!(!text.contains(secret), "{format} holds {what}");
        }
        for digest in [&*token, CLEAR, GOOD, OTHER] {
            assert!(
                text.contains(&sha256(digest.as_bytes())),
                "{format}: a digest is missing"
            );
        }
        assert!(text.contains("v1:"), "{format}: the sealed copy");
        if format == "csv" {
            assert!(
                !text.lines().any(|line| line
                    .split(',')
                    .any(|cell| { cell.trim_start_matches('"').starts_with(['=', '@', '+']) })),
                "no formula for a spreadsheet: {text}"
            );
            continue;
        }
        let file = running.keygate.folder().join(format!("export.{format}"));
        write_in_place(&file, &text);
        let check = command(binary()).arg("check").arg(&file).output().unwrap();
        assert!(check.status.success(), "{format}: {check:?}");
    }
    let all: Vec<Value> = running
        .admin
        .get("/keys:export?format=ndjson")
        .expect(200)
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(all.len(), 5);
    assert_eq!(
        running.admin.get("/keys:export?format=pdf").ask().status / 100,
        4
    );
    let audit = running
        .admin
        .get("/audit?action=keys.exported")
        .expect(200)
        .json();
    assert!(audit["events"].as_array().unwrap().len() >= 5, "{audit}");
}

/// An export taken to another keygate with the same secret is the same keys there: they pass, and Copy works.
#[test]
fn an_export_imported_elsewhere_is_the_same_keys() {
    let (running, token) = started();
    let secret = std::fs::read(running.keygate.folder().join("data/secret")).unwrap();
    let before = running.admin.get("/keys?sort=name").expect(200).json();
    for (format, media) in [
        ("ndjson", "application/x-ndjson"),
        ("json", "application/json"),
        ("yaml", "application/yaml"),
    ] {
        let text = running
            .admin
            .get(&format!("/keys:export?format={format}"))
            .expect(200)
            .text();
        let other = Running::with(|setup| setup.keys("version: 1\nkeys: []\n"));
        write_in_place(&other.keygate.folder().join("data/secret"), &secret);
        let report = other
            .admin
            .post("/keys:import")
            .body(media, text)
            .expect(200)
            .json();
        assert_eq!(report["created"].as_u64(), Some(5), "{format}: {report}");
        let after = other.admin.get("/keys?sort=name").expect(200).json();
        assert_eq!(names(&after), names(&before), "{format}");
        for (old, new) in before["keys"]
            .as_array()
            .unwrap()
            .iter()
            .zip(after["keys"].as_array().unwrap())
        {
            for member in [
                "id",
                "name",
                "description",
                "tags",
                "expires_at",
                "allow",
                "mask",
                "enabled",
            ] {
                assert_eq!(
                    new[member], old[member],
                    "{format}: {member} of {}",
                    old["id"]
                );
            }
        }
        assert_eq!(
            (
                other.keygate.status(&token),
                other.keygate.status(CLEAR),
                other.keygate.status(GOOD)
            ),
            (200, 200, 200),
            "{format}"
        );
        let id = after["keys"]
            .as_array()
            .unwrap()
            .iter()
            .find(|key| key["copy"] == "sealed")
            .unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let copied = other
            .admin
            .post(&format!("/keys/{id}/copy"))
            .expect(200)
            .json();
        assert_eq!(copied["token"], token, "{format}");
    }
}
