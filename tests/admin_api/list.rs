//! `GET /keys`: search, filter, order and pages, and that no secret is in any of it.

use serde_json::Value;
use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::check_key;
use crate::admin_api::names;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;

/// Keys that differ in all that a list looks at.
fn people() -> String {
    key_file(&[
        entry(
            "delta",
            "kg_test_token-of-delta_1",
            ", created_at: 2026-01-04T00:00:00Z, tags: {team: billing, env: prod}",
        ),
        entry(
            "alpha",
            "kg_test_token-of-alpha_1",
            ", created_at: 2026-01-02T00:00:00Z, description: \"The Nightly job\", expires_at: 2098-01-01T00:00:00Z",
        ),
        entry(
            "Bravo",
            "kg_test_token-of-bravo_1",
            ", created_at: 2026-01-03T00:00:00Z, enabled: false, mask: \"kg_A1…zZ9\"",
        ),
        entry(
            "echo",
            "kg_test_token-of-echo_12",
            ", created_at: 2026-01-01T00:00:00Z, expires_at: 2020-01-01T00:00:00Z",
        ),
        entry(
            "charlie",
            "kg_test_token-of-charlie",
            ", not_before: 2099-01-01T00:00:00Z, tags: {team: Search}",
        ),
    ])
}

#[test]
fn keys_are_searched_filtered_and_sorted() {
    let running = Running::with(|setup| setup.keys(people()));
    let all = ["alpha", "Bravo", "charlie", "delta", "echo"];
    for (query, expected) in [
        ("", &all[..]),
        ("?sort=name", &all),
        (
            "?sort=-name",
            &["echo", "delta", "charlie", "Bravo", "alpha"],
        ),
        (
            "?sort=created_at",
            &["charlie", "echo", "alpha", "Bravo", "delta"],
        ),
        (
            "?sort=-created_at",
            &["delta", "Bravo", "alpha", "echo", "charlie"],
        ),
        (
            "?sort=expires_at&search=a",
            &["echo", "alpha", "Bravo", "charlie", "delta"][1..],
        ),
        ("?status=active", &["alpha", "delta"]),
        ("?status=disabled", &["Bravo"]),
        ("?status=expired", &["echo"]),
        ("?status=not_yet_valid", &["charlie"]),
        ("?search=ALPH", &["alpha"]),
        ("?search=nightly%20job", &["alpha"]),
        ("?search=nightly+JOB", &["alpha"]),
        ("?search=k_delta", &["delta"]),
        ("?search=a1%E2%80%A6ZZ", &["Bravo"]),
        ("?search=billing", &["delta"]),
        ("?search=team", &["charlie", "delta"]),
        ("?search=team%3Dsearch", &["charlie"]),
        ("?search=nothing-like-it", &[]),
        ("?search=", &all),
        ("?status=active&search=e", &["alpha", "delta"]),
    ] {
        let answer = running.admin.get(&format!("/keys{query}")).expect(200);
        let list = answer.json();
        let mut found = names(&list);
        if query.starts_with("?sort=expires_at") {
            // Keys without an end are equal: by id.
            found.sort_unstable_by_key(|name| (*name != "alpha", name.to_lowercase()));
        }
        assert_eq!(found, expected, "{query}");
        assert_eq!(list["total"], expected.len(), "{query}");
        assert_eq!(list["next_cursor"], Value::Null, "{query}");
        assert!(list["revision"].is_string(), "{query}: {list}");
        for key in list["keys"].as_array().unwrap() {
            check_key(key, false);
        }
    }
}

/// What is in the table answers as the key itself does.
#[test]
fn a_list_and_a_get_say_the_same() {
    let running = Running::with(|setup| setup.keys(people()));
    let list = running.admin.get("/keys").expect(200).json();
    for key in list["keys"].as_array().unwrap() {
        let id = key["id"].as_str().unwrap();
        assert_eq!(&running.admin.key(id).0, key, "{id}");
    }
}

#[test]
fn pages_hold_every_key_once_even_while_keys_come_and_go() {
    let entries: Vec<String> = (0..120)
        .map(|index| {
            entry(
                &format!("n{index:03}"),
                &format!("kg_test_token-number-{index:03}"),
                "",
            )
        })
        .collect();
    let running = Running::with(|setup| setup.keys(key_file(&entries)));
    for (order, limit) in [
        ("name", 50),
        ("-name", 7),
        ("created_at", 50),
        ("-last_used_at", 49),
    ] {
        let mut seen: Vec<String> = Vec::new();
        let mut cursor = String::new();
        let mut pages = 0;
        loop {
            let list = running
                .admin
                .get(&format!("/keys?sort={order}&limit={limit}{cursor}"))
                .expect(200)
                .json();
            pages += 1;
            assert!(names(&list).len() <= limit, "{order}");
            seen.extend(
                names(&list)
                    .into_iter()
                    .filter(|name| name.starts_with('n'))
                    .map(str::to_owned),
            );
            if order == "name" {
                // Before the place where the next page begins, and behind it.
                running.admin.create(&json!({"name": format!("a{pages}")}));
                running.admin.create(&json!({"name": format!("z{pages}")}));
            }
            match list["next_cursor"].as_str() {
                Some(next) => {
                    assert!(
                        next.bytes()
                            .all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b)),
                        "a cursor goes into a query as it is: {next}"
                    );
                    cursor = format!("&cursor={next}");
                }
                None => break,
            }
            assert!(pages < 40, "{order}: the pages end");
        }
        assert!(pages >= 120 / limit, "{order}: {pages} pages");
        seen.sort();
        let expected: Vec<String> = (0..120).map(|index| format!("n{index:03}")).collect();
        assert_eq!(seen, expected, "{order}");
    }
    let default = running.admin.get("/keys").expect(200).json();
    assert_eq!(names(&default).len(), 50, "a page that nobody sized");
}

#[test]
fn a_query_that_is_wrong_is_explained() {
    let running = Running::start();
    for query in [
        "?sort=colour",
        "?sort=",
        "?sort=--name",
        "?status=revoked",
        "?limit=0",
        "?limit=201",
        "?limit=-1",
        "?limit=many",
        "?cursor=nonsense",
        "?colour=red",
        "?limit=5&limit=6",
        "?search=%ff%fe",
    ] {
        let answer = running.admin.get(&format!("/keys{query}")).ask();
        assert!(
            answer.status == 400 && answer.code() == "malformed_request"
                || answer.status == 422 && answer.code() == "invalid_field",
            "{query}: {answer:?}"
        );
    }
    // A cursor belongs to its order.
    let entries: Vec<String> = (0..3)
        .map(|index| {
            entry(
                &format!("n{index}"),
                &format!("kg_test_token-number-{index:03}"),
                "",
            )
        })
        .collect();
    let running = Running::with(|setup| setup.keys(key_file(&entries)));
    let list = running
        .admin
        .get("/keys?limit=1&sort=name")
        .expect(200)
        .json();
    let cursor = list["next_cursor"].as_str().unwrap();
    let answer = running
        .admin
        .get(&format!("/keys?sort=expires_at&cursor={cursor}"))
        .ask();
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[test]
fn no_list_and_no_get_holds_a_secret() {
    let clear = "a-token-in-clear-in-the-file_7";
    let running = Running::with(|setup| {
        setup.keys(format!(
            "version: 1\nkeys:\n  - {{name: clear, token: {clear}}}\n"
        ))
    });
    let made = running.admin.create(&json!({"name": "sealed"}));
    let token = made["token"].as_str().unwrap();
    let text = running.keygate.key_text();
    let sealed = text.split("v1:").nth(1).unwrap();
    let sealed = &sealed[..40];
    let id = made["id"].as_str().unwrap();
    for path in [
        "/keys".to_owned(),
        "/keys?search=sealed".to_owned(),
        format!("/keys/{id}"),
        format!("/keys/{id}/usage"),
        "/status".to_owned(),
        "/audit".to_owned(),
        "/session".to_owned(),
    ] {
        let text = running.admin.get(&path).expect(200).text();
        for (what, secret) in [
            ("a made token", token),
            ("a clear token", clear),
            ("a sealed copy", sealed),
            ("a digest", "sha256:"),
            (
                "a digest in hex",
                &*crate::harness::sha256(token.as_bytes()),
            ),
        ] {
            assert!(!text.contains(secret), "{path} holds {what}");
        }
    }
    // Nor is a key found by its token or digest.
    for search in [
        token,
        clear,
        &crate::harness::sha256(token.as_bytes())[..20],
    ] {
        let list = running
            .admin
            .get(&format!("/keys?search={search}"))
            .expect(200)
            .json();
        assert_eq!(list["total"], 0);
    }
}
