//! `POST /keys` and `PUT /keys/{id}`: what is made, what is answered, and what is refused with which pointer.

use serde_json::Value;
use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::check_key;
use crate::admin_api::keys;
use crate::admin_api::made_token;
use crate::admin_api::named;
use crate::admin_api::plain;
use crate::harness::admin::pointers;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::sha256;

/// A token of one's own.
const OWN: &str = "own-token-of-the-caller_8wE3";

#[test]
fn a_new_key_passes_as_soon_as_it_is_answered() {
    let running = Running::start();
    let answer = running
        .admin
        .post("/keys")
        .json(&json!({"name": "Fresh key", "description": "For the billing job"}))
        .expect(201);
    let key = answer.json();
    check_key(&key, true);
    let token = made_token(&key);
    assert_eq!(running.keygate.status(&token), 200, "live when answered");
    let id = key["id"].as_str().unwrap();
    assert!(id.starts_with("k_"), "{id}");
    assert_eq!(
        answer.head.one("location"),
        Some(&*format!("/api/v1/keys/{id}"))
    );
    assert_eq!(
        (
            &key["name"],
            &key["description"],
            &key["status"],
            &key["enabled"],
            &key["record"]
        ),
        (
            &json!("Fresh key"),
            &json!("For the billing job"),
            &json!("active"),
            &json!(true),
            &json!(true)
        ),
    );
    assert_eq!(
        (
            &key["allow"],
            &key["expires_at"],
            &key["not_before"],
            &key["last_used_at"]
        ),
        (&Value::Null, &Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(key["copy"], "sealed", "copy-later is what people get");
    let mask = key["mask"].as_str().unwrap();
    let (start, end) = mask.split_once('…').unwrap();
    assert!(
        token.starts_with(start) && token.ends_with(end) && mask.len() < 20,
        "a mask shows little of the token"
    );
    let (got, etag) = running.admin.key(id);
    check_key(&got, false);
    assert_eq!(etag, answer.etag(), "the ETag of a get");
    let text = running.keygate.key_text();
    assert!(!text.contains(&token), "the file has no clear token");
    assert!(text.contains("sealed: v1:") || text.contains("sealed: \"v1:"));
    assert!(
        text.contains(&sha256(token.as_bytes())),
        "the file has the digest"
    );
}

#[test]
fn every_field_is_kept() {
    let running = Running::start();
    let body = json!({
        "name": "Everything: \"quoted\" # & ünïcode 🔑",
        "description": "two words: and a # sign",
        "id": "k_everything",
        "token": OWN,
        "enabled": false,
        "not_before": "2020-01-01T00:00:00Z",
        "expires_at": "2099-12-31T23:59:59Z",
        "tags": {"team": "billing", "env": "yes", "number": "1.0"},
        "record": false,
        "allow": {"methods": ["GET", "POST"], "paths": ["/v1/**"], "networks": ["10.0.0.0/8", "::1/128"]},
        "recoverable": false,
    });
    let key = plain(&running.admin.create(&body));
    check_key(&key, true);
    for member in [
        "name",
        "description",
        "id",
        "token",
        "enabled",
        "not_before",
        "expires_at",
        "tags",
        "record",
        "allow",
    ] {
        assert_eq!(key[member], body[member], "{member}");
    }
    assert_eq!(
        (&key["status"], &key["copy"]),
        (&json!("disabled"), &json!("none"))
    );
    assert!(
        !running.keygate.key_text().contains("sealed"),
        "no copy is kept"
    );
    assert_eq!(running.keygate.status(OWN), 401, "it is disabled");
    // And the file says the same to whoever reads it anew.
    running.admin.post("/reload").expect(200);
    let again = plain(&running.admin.key("k_everything").0);
    for member in [
        "name",
        "description",
        "tags",
        "allow",
        "expires_at",
        "record",
    ] {
        assert_eq!(again[member], body[member], "{member}");
    }
}

#[test]
fn a_digest_of_ones_own_needs_no_token() {
    let running = Running::start();
    let digest = format!("sha256:{}", sha256(OWN.as_bytes()));
    let body = json!({"name": "digested", "digest": digest, "mask": "own-…wE3"});
    let key = running.admin.create(&body);
    check_key(&key, false);
    assert_eq!(
        (&key["copy"], &key["mask"]),
        (&json!("none"), &json!("own-…wE3"))
    );
    assert_eq!(running.keygate.status(OWN), 200);
}

#[test]
fn a_token_of_ones_own_is_sealed_and_passes() {
    let running = Running::start();
    let key = running.admin.create(&json!({"name": "own", "token": OWN}));
    assert_eq!(
        (&key["token"], &key["copy"]),
        (&json!(OWN), &json!("sealed"))
    );
    assert_eq!(running.keygate.status(OWN), 200);
    assert!(!running.keygate.key_text().contains(OWN));
}

#[test]
fn a_key_is_made_under_a_chosen_id_once() {
    let running = Running::start();
    let put = || running.admin.put("/keys/k_chosen").json(&named("chosen"));
    put().refused(428, "precondition_required");
    put()
        .with("if-none-match", "*")
        .if_match("*")
        .refused(412, "stale");
    let made = put().with("if-none-match", "*").expect(201);
    check_key(&made.json(), true);
    assert_eq!(made.json()["id"], "k_chosen");
    assert_eq!(made.head.one("location"), Some("/api/v1/keys/k_chosen"));
    assert_eq!(made.etag(), running.admin.key("k_chosen").1);
    let token = made_token(&made.json());
    assert_eq!(running.keygate.status(&token), 200);
    put().with("if-none-match", "*").expect(412);
    running
        .admin
        .put("/keys/k_chosen")
        .with("if-none-match", "*")
        .json(&named("another name"))
        .expect(412);
    assert_eq!(running.admin.key("k_chosen").0["name"], "chosen");
    let inside = running
        .admin
        .put("/keys/k_b")
        .with("if-none-match", "*")
        .json(&json!({"name": "b", "id": "k_b"}))
        .refused(422, "invalid_field");
    assert_eq!(pointers(&inside), ["#/id"], "the id is in the path");
}

/// Name, body, the pointers that it is refused with.
fn wrong_bodies() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "wrong"});
        body[field] = value;
        body
    };
    vec![
        ("no name", json!({}), vec!["#/name"]),
        ("an empty name", json!({"name": ""}), vec!["#/name"]),
        (
            "101 characters",
            json!({"name": "x".repeat(101)}),
            vec!["#/name"],
        ),
        ("a name that is null", json!({"name": null}), vec!["#/name"]),
        (
            "a name that is a number",
            json!({"name": 5}),
            vec!["#/name"],
        ),
        (
            "a line end in a name",
            json!({"name": "a\nb"}),
            vec!["#/name"],
        ),
        (
            "an unknown field",
            with("colour", json!("red")),
            vec!["#/colour"],
        ),
        (
            "a field to be escaped",
            with("a/b~c", json!(1)),
            vec!["#/a~1b~0c"],
        ),
        (
            "a misspelt field",
            with("enabeld", json!(true)),
            vec!["#/enabeld"],
        ),
        (
            "a description of another type",
            with("description", json!([])),
            vec!["#/description"],
        ),
        ("an id with a space", with("id", json!("k a")), vec!["#/id"]),
        ("an id of another type", with("id", json!(5)), vec!["#/id"]),
        (
            "white space in a token",
            with("token", json!("white space-token")),
            vec!["#/token"],
        ),
        (
            "a short token",
            with("token", json!("short")),
            vec!["#/token"],
        ),
        (
            "a long token",
            with("token", json!("x".repeat(513))),
            vec!["#/token"],
        ),
        (
            "a token beyond ASCII",
            with("token", json!("tökentökentöken")),
            vec!["#/token"],
        ),
        (
            "a digest of nothing",
            with("digest", json!("sha256:00")),
            vec!["#/digest"],
        ),
        (
            "another hash",
            with("digest", json!(format!("md5:{}", "0".repeat(64)))),
            vec!["#/digest"],
        ),
        (
            "a mask without a digest",
            with("mask", json!("a…b")),
            vec!["#/mask"],
        ),
        (
            "a flag that is text",
            with("enabled", json!("yes")),
            vec!["#/enabled"],
        ),
        (
            "a record that is a number",
            with("record", json!(1)),
            vec!["#/record"],
        ),
        (
            "a date without time",
            with("expires_at", json!("2030-01-01")),
            vec!["#/expires_at"],
        ),
        (
            "a date that is a number",
            with("not_before", json!(1_700_000_000)),
            vec!["#/not_before"],
        ),
        (
            "the 30th of February",
            with("expires_at", json!("2030-02-30T00:00:00Z")),
            vec!["#/expires_at"],
        ),
        (
            "tags that are a list",
            with("tags", json!(["a"])),
            vec!["#/tags"],
        ),
        (
            "a tag that is a number",
            with("tags", json!({"team": 5})),
            vec!["#/tags/team"],
        ),
        (
            "allow that is a list",
            with("allow", json!([])),
            vec!["#/allow"],
        ),
        (
            "an unknown rule",
            with("allow", json!({"hosts": ["a"]})),
            vec!["#/allow/hosts"],
        ),
        (
            "no method at all",
            with("allow", json!({"methods": []})),
            vec!["#/allow/methods"],
        ),
        (
            "a bad method",
            with("allow", json!({"methods": ["GET", "G T"]})),
            vec!["#/allow/methods/1"],
        ),
        (
            "a relative path",
            with("allow", json!({"paths": ["v1"]})),
            vec!["#/allow/paths/0"],
        ),
        (
            "a bad network",
            with("allow", json!({"networks": ["10.0.0.0/8", "10.0.0.0/33"]})),
            vec!["#/allow/networks/1"],
        ),
        (
            "a flag for recoverable",
            with("recoverable", json!("no")),
            vec!["#/recoverable"],
        ),
        (
            "several at once",
            json!({"name": "", "enabled": 1, "colour": 2, "expires_at": "soon"}),
            vec!["#/colour", "#/enabled", "#/expires_at", "#/name"],
        ),
    ]
}

#[test]
fn a_wrong_field_is_pointed_at_and_nothing_is_made() {
    let running = Running::start();
    let before = running.keygate.key_text();
    for (name, body, expected) in wrong_bodies() {
        let answer = running.admin.post("/keys").json(&body).ask();
        assert_eq!(answer.status, 422, "{name}: {answer:?}");
        assert_eq!(answer.code(), "invalid_field", "{name}: {answer:?}");
        assert_eq!(pointers(&answer.json()), expected, "{name}: {answer:?}");
    }
    for (name, body, either) in [
        (
            "token and digest",
            json!({"name": "a", "token": OWN, "digest": format!("sha256:{}", "0".repeat(64))}),
            ["#/digest", "#/token"],
        ),
        (
            "dates out of order",
            json!({"name": "a", "not_before": "2030-01-02T00:00:00Z", "expires_at": "2030-01-01T00:00:00Z"}),
            ["#/expires_at", "#/not_before"],
        ),
    ] {
        let problem = running
            .admin
            .post("/keys")
            .json(&body)
            .refused(422, "invalid_field");
        let pointers = pointers(&problem);
        assert!(
            !pointers.is_empty() && pointers.iter().all(|p| either.contains(&&**p)),
            "{name}: {problem}"
        );
    }
    assert_eq!(running.keygate.key_text(), before, "nothing was written");
}

#[test]
fn what_is_taken_is_refused_with_its_holder() {
    let old = "an-old-token-that-still-passes";
    let previous = format!(
        ", previous: [{{digest: \"sha256:{}\", expires_at: 2099-01-01T00:00:00Z}}]",
        sha256(old.as_bytes())
    );
    let running = Running::with(|setup| {
        setup.keys(key_file(&[
            entry("good", GOOD, &previous),
            entry("other", OTHER, ""),
        ]))
    });
    let before = running.keygate.key_text();
    let digest = format!("sha256:{}", sha256(OTHER.as_bytes()));
    for (name, body, code, holder) in [
        ("the name", json!({"name": "good"}), "name_taken", "k_good"),
        (
            "the id",
            json!({"name": "new", "id": "k_other"}),
            "id_taken",
            "k_other",
        ),
        (
            "the token",
            json!({"name": "new", "token": OTHER}),
            "token_taken",
            "k_other",
        ),
        (
            "the digest",
            json!({"name": "new", "digest": digest}),
            "token_taken",
            "k_other",
        ),
        (
            "an old token",
            json!({"name": "new", "token": old}),
            "token_taken",
            "k_good",
        ),
    ] {
        let answer = running.admin.post("/keys").json(&body).ask();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (409, code),
            "{name}: {answer:?}"
        );
        assert_eq!(answer.json()["holder"], holder, "{name}: {answer:?}");
    }
    let taken = running
        .admin
        .put("/keys/k_new")
        .with("if-none-match", "*")
        .json(&named("other"))
        .refused(409, "name_taken");
    assert_eq!(taken["holder"], "k_other");
    assert_eq!(running.keygate.key_text(), before, "nothing was written");
}

/// Names are compared in one Unicode form, so that two keys never look the same.
#[test]
fn two_spellings_of_one_name_are_one_name() {
    let running = Running::start();
    let composed = running.admin.create(&named("caf\u{e9}"));
    let answer = running
        .admin
        .post("/keys")
        .json(&named("cafe\u{301}"))
        .ask();
    match answer.status {
        409 => assert_eq!(answer.json()["holder"], composed["id"]),
        422 => assert_eq!(pointers(&answer.json()), ["#/name"]),
        _ => panic!("{answer:?}"),
    }
}

#[test]
fn what_is_no_json_object_is_malformed() {
    let running = Running::start();
    let deep = "[".repeat(20_000);
    for (name, body) in [
        ("nothing", ""),
        ("half an object", "{\"name\": \"a\""),
        ("text behind it", "{\"name\": \"a\"} x"),
        ("a list", "[]"),
        ("text", "\"name\""),
        ("null", "null"),
        ("a comment", "{\"name\": \"a\" /* x */}"),
        ("NaN", "{\"name\": NaN}"),
        ("a field twice", "{\"name\": \"a\", \"name\": \"b\"}"),
        ("half a pair of surrogates", "{\"name\": \"\\ud800\"}"),
        ("depth", &deep),
    ] {
        let answer = running
            .admin
            .post("/keys")
            .body("application/json", body)
            .ask();
        assert!(
            answer.status == 400 && answer.code() == "malformed_body"
                || answer.status == 422 && answer.code() == "invalid_field",
            "{name}: {answer:?}"
        );
    }
    let answer = running
        .admin
        .post("/keys")
        .body("application/json", b"{\"name\": \"\xff\xfe\"}".to_vec())
        .ask();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "malformed_body")
    );
    assert_eq!(running.admin.get("/keys").expect(200).json()["total"], 2);
}

#[test]
fn the_first_key_goes_into_an_empty_file() {
    for (name, text) in [
        ("an empty list", "version: 1\nkeys: []\n".to_owned()),
        (
            "a list with comments",
            "# ours\nversion: 1\n\nkeys: [] # none yet\n# the end\n".to_owned(),
        ),
        ("no line end", "version: 1\nkeys: []".to_owned()),
        (
            "one key in block style",
            keys("  - name: a\n    token: a-token-in-clear-1234\n"),
        ),
    ] {
        let running = Running::with(|setup| setup.keys(text.clone()));
        let token = made_token(&running.admin.create(&named("first")));
        assert_eq!(running.keygate.status(&token), 200, "{name}");
        let after = running.keygate.key_text();
        for comment in text
            .lines()
            .filter_map(|line| line.find('#').map(|at| &line[at..]))
        {
            assert!(after.contains(comment), "{name}: {after}");
        }
    }
}
