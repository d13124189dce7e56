//! Conditional requests: ETags of keys and of the list, If-None-Match, If-Match, and who loses when two change
//! the same key.

use std::sync::Barrier;

use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::named;
use crate::harness::requests::with_token;
use crate::harness::setup::GOOD;

#[test]
fn a_key_that_is_known_already_is_not_sent_again() {
    let running = Running::start();
    let (_, etag) = running.admin.key("k_good");
    let (_, other) = running.admin.key("k_other");
    assert_ne!(etag, other);
    for (name, condition, status) in [
        ("the same", etag.clone(), 304),
        ("the same, weakly", format!("W/{etag}"), 304),
        ("in a list", format!("\"x\", {etag} , \"y\""), 304),
        ("any", "*".to_owned(), 304),
        ("another", other, 200),
        ("a list of others", "\"x\", \"y\"".to_owned(), 200),
    ] {
        let answer = running
            .admin
            .get("/keys/k_good")
            .with("if-none-match", &condition)
            .ask();
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert_eq!(answer.etag(), etag, "{name}");
        assert_eq!(answer.body.is_empty(), status == 304, "{name}");
    }
}

#[test]
fn a_list_that_is_known_already_is_not_sent_again() {
    let running = Running::start();
    let list = running.admin.get("/keys").expect(200);
    let etag = list.etag();
    assert!(
        etag.contains(list.json()["revision"].as_str().unwrap()),
        "the list's ETag is the revision: {etag}"
    );
    running.admin.create(&named("more"));
    assert_ne!(running.admin.get("/keys").expect(200).etag(), etag);
}

#[test]
fn use_is_no_change() {
    let running = Running::start();
    let (_, before) = running.admin.key("k_good");
    assert_eq!(running.keygate.ask(with_token("/x", GOOD)).status, 200);
    assert_eq!(running.admin.key("k_good").1, before);
}

#[test]
fn head_answers_as_get_does() {
    let running = Running::start();
    let get = running.admin.get("/keys/k_good").expect(200);
    let head = running.admin.request("HEAD", "/keys/k_good").expect(200);
    assert_eq!(head.etag(), get.etag());
    assert!(head.body.is_empty());
    assert_eq!(
        running.admin.request("HEAD", "/keys/nobody").ask().status,
        404
    );
}

#[test]
fn a_change_needs_a_condition_and_the_right_one() {
    let running = Running::start();
    let (_, etag) = running.admin.key("k_good");
    let (_, other) = running.admin.key("k_other");
    let before = running.keygate.key_text();
    let requests = || {
        [
            running
                .admin
                .patch("/keys/k_good")
                .json(&json!({"description": "changed"})),
            running.admin.delete("/keys/k_good"),
            running.admin.post("/keys/k_good/rotate").json(&json!({})),
        ]
    };
    for request in requests() {
        request.refused(428, "precondition_required");
    }
    for (name, condition) in [
        ("another key's", other.clone()),
        ("weak", format!("W/{etag}")),
        ("old", "\"0000\"".to_owned()),
        ("a list of others", format!("{other}, \"x\"")),
    ] {
        for request in requests() {
            let answer = request.if_match(&condition).ask();
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (412, "stale"),
                "{name}: {answer:?}"
            );
            assert_eq!(answer.json()["current"], etag, "{name}: {answer:?}");
        }
    }
    for condition in ["nonsense", "\"open", "W/", ""] {
        for request in requests() {
            let answer = request.if_match(condition).ask();
            assert!(
                matches!(answer.status, 400 | 412 | 428),
                "{condition:?}: {answer:?}"
            );
        }
    }
    assert_eq!(running.keygate.key_text(), before, "nothing was written");

    let mut etag = etag;
    for (name, condition) in [
        ("the same", "$".to_owned()),
        ("in a list", "\"x\", $".to_owned()),
        ("any", "*".to_owned()),
    ] {
        let answer = running
            .admin
            .patch("/keys/k_good")
            .if_match(&condition.replace('$', &etag))
            .json(&json!({ "description": name }))
            .expect(200);
        assert_ne!(answer.etag(), etag, "{name}: a change changes the ETag");
        etag = answer.etag();
        assert_eq!(etag, running.admin.key("k_good").1, "{name}");
    }
}

#[test]
fn a_key_that_is_not_there_is_not_found_whatever_the_condition() {
    let running = Running::start();
    for request in [
        running.admin.get("/keys/k_nobody"),
        running.admin.delete("/keys/k_nobody").if_match("*"),
        running
            .admin
            .patch("/keys/k_nobody")
            .if_match("\"x\"")
            .json(&json!({})),
        running
            .admin
            .post("/keys/k_nobody/rotate")
            .if_match("*")
            .json(&json!({})),
        running.admin.post("/keys/k_nobody/copy"),
        running.admin.get("/keys/k_nobody/usage"),
        running.admin.get("/keys/%F0%9F%94%91"),
        running.admin.get("/keys/..%2f..%2fetc%2fpasswd"),
    ] {
        let problem = request.refused(404, "key_not_found");
        assert!(!problem.to_string().contains("passwd") || problem["detail"].is_string());
    }
}

/// The same ETag in two hands: one changes the key, the other learns that it is stale.
#[test]
fn of_two_with_the_same_etag_one_loses() {
    let running = Running::start();
    for round in 0..12 {
        let (_, etag) = running.admin.key("k_good");
        let start = Barrier::new(4);
        let mut statuses: Vec<u16> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|racer| {
                    let (admin, etag, start) = (&running.admin, &etag, &start);
                    scope.spawn(move || {
                        let request = admin
                            .patch("/keys/k_good")
                            .if_match(etag)
                            .json(&json!({"description": format!("{round} by {racer}")}));
                        start.wait();
                        request.ask().status
                    })
                })
                .collect();
            racers
                .into_iter()
                .map(|racer| racer.join().unwrap())
                .collect()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412], "round {round}");
    }
}

/// Changes of different keys do not make each other stale.
#[test]
fn edits_of_different_keys_do_not_disturb_each_other() {
    let running = Running::start();
    std::thread::scope(|scope| {
        for id in ["k_good", "k_other"] {
            let admin = &running.admin;
            scope.spawn(move || {
                for round in 0..15 {
                    let (_, etag) = admin.key(id);
                    admin
                        .patch(&format!("/keys/{id}"))
                        .if_match(&etag)
                        .json(&json!({"description": format!("round {round}")}))
                        .expect(200);
                }
            });
        }
    });
    for id in ["k_good", "k_other"] {
        assert_eq!(running.admin.key(id).0["description"], "round 14");
    }
}

/// What can be had once is had once, however many ask at the same moment.
#[test]
fn of_several_who_want_the_same_one_gets_it() {
    let running = Running::start();
    for (name, status) in [("a name", 409), ("an id", 412), ("a token", 409)] {
        for round in 0..4 {
            let start = Barrier::new(5);
            let mut statuses: Vec<u16> = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..5)
                    .map(|racer| {
                        let (admin, start) = (&running.admin, &start);
                        scope.spawn(move || {
                            let own = format!("{name} {round} {racer}");
                            let all = format!("{name} {round}");
                            let request = match name {
                                "a name" => admin.post("/keys").json(&named(&all)),
                                "an id" => admin
                                    .put(&format!("/keys/k_{round}"))
                                    .with("if-none-match", "*")
                                    .json(&named(&own)),
                                _ => admin.post("/keys").json(
                                    &json!({"name": own, "token": format!("the-token-of-all-{round}")}),
                                ),
                            };
                            start.wait();
                            request.ask().status
                        })
                    })
                    .collect();
                racers
                    .into_iter()
                    .map(|racer| racer.join().unwrap())
                    .collect()
            });
            statuses.sort_unstable();
            assert_eq!(
                statuses,
                [201, status, status, status, status],
                "{name}, {round}"
            );
        }
    }
}
