//! `GET /keys/{id}/usage` and `GET /usage`: the counters move with the requests, outlive every edit of the key and,
//! as far as the transaction log has them, the process.

use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::admin_api::Running;
use crate::harness::SOON;
use crate::harness::admin::Admin;
use crate::harness::eventually;
use crate::harness::found;
use crate::harness::requests::get;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::setup::usual_keys;
use crate::harness::setup::write_by_rename;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;

/// Requests and refusals, as the key and its usage say them at one moment: counting comes a little later than answers.
#[track_caller]
fn totals(running: &Running) -> (u64, u64) {
    let usage = found("the key and its usage agree", SOON, || {
        let usage = usage(&running.admin, "/keys/k_good/usage?minutes=1");
        let key = running.admin.key("k_good").0;
        let members = ["id", "requests_total", "refused_total", "last_used_at"];
        let agree = members.iter().all(|member| usage[member] == key[member]);
        agree.then_some(usage)
    });
    assert!(usage["since"].is_string(), "{usage}");
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

fn usage(admin: &Admin, path: &str) -> Value {
    admin.get(path).expect(200).json()
}

/// What a series adds up to.
fn sum(series: &Value) -> u64 {
    let places = series.as_array().unwrap().iter();
    places.map(|place| place.as_u64().unwrap()).sum()
}

/// A gate whose upstream fails at `/broken` and answers 500 at `/500`, and whose key `other` may only GET `/probe`.
fn mixed(upstream: &Upstream) -> Setup {
    let keys = key_file(&[
        entry("good", GOOD, ""),
        entry("other", OTHER, ", record: false, allow: {paths: [/probe]}"),
    ]);
    Setup::of(upstream).admin("").keys(keys)
}

fn failing() -> Upstream {
    Upstream::scripted(|turn| {
        turn.body()?;
        match turn.head.second() {
            "/broken" => Ok(Next::Close),
            "/500" => turn.answer("500 Oops", "", b"oops"),
            _ => turn.answer("200 OK", "", b"fine"),
        }
    })
}

#[test]
fn usage_tells_what_became_of_requests() {
    let upstream = failing();
    let keygate = mixed(&upstream).spawn();
    let admin = keygate.admin();
    for (path, token, status) in [
        ("/a", GOOD, 200),
        ("/b", GOOD, 200),
        ("/500", GOOD, 500),
        ("/broken", GOOD, 502),
        ("/probe", OTHER, 200),
        ("/elsewhere", OTHER, 403),
        ("/a", "kg_test_unknown_1rR2", 401),
    ] {
        let request = get(path).replace(GOOD, token);
        assert_eq!(keygate.ask(request).status, status, "{path}");
    }
    eventually("all are counted", SOON, || {
        usage(&admin, "/usage")["requests_total"] == 7
    });

    let good = usage(&admin, "/keys/k_good/usage");
    for (member, expected) in [
        ("requests_total", 4),
        ("refused_total", 0),
        ("failed_total", 2),
        ("request_bytes", 0),
        ("lost", 0),
    ] {
        assert_eq!(good[member], expected, "{member}: {good}");
    }
    assert!(good["response_bytes"].as_u64().unwrap() >= 12, "{good}");
    assert_eq!(good["rebuilding"], false);
    assert_eq!(good["series"]["step_seconds"], 60);
    for (series, expected) in [("requests", 4), ("refused", 0), ("failed", 2)] {
        let places = &good["series"][series];
        assert_eq!(places.as_array().unwrap().len(), 1_440, "{series}");
        assert_eq!(sum(places), expected, "{series}");
    }
    let latency = &good["latency"];
    assert!(
        latency["p50_us"].as_u64() <= latency["p99_us"].as_u64(),
        "{good}"
    );
    assert!(latency["p50_us"].as_u64() > Some(0), "{good}");

    let other = usage(&admin, "/keys/k_other/usage?minutes=5");
    assert_eq!(other["refused_by_reason"], json!({"path_not_allowed": 1}));
    assert_eq!(other["series"]["requests"].as_array().unwrap().len(), 5);
    assert_eq!(sum(&other["series"]["refused"]), 1);

    let all = usage(&admin, "/usage?minutes=60");
    assert_eq!(
        all["by_decision"],
        json!({"allowed": 5, "refused": 2, "anonymous": 0, "public": 0, "would_refuse": 0})
    );
    assert_eq!(
        all["by_reason"],
        json!({"path_not_allowed": 1, "unknown_key": 1, "upstream_failed": 1})
    );
    let top: Vec<_> = all["top_keys"].as_array().unwrap().iter().collect();
    assert_eq!(
        top,
        [
            &json!({"id": "k_good", "name": "good", "requests": 4, "refused": 0}),
            &json!({"id": "k_other", "name": "other", "requests": 2, "refused": 1}),
        ]
    );
    assert_eq!(sum(&all["series"]["decisions"]["allowed"]), 5);
    assert!(
        (2..=4).contains(&sum(&all["series"]["active_keys"])),
        "{all}"
    ); // a minute may have ended
    let p95 = all["series"]["p95_us"].as_array().unwrap();
    assert!(p95.len() == 60 && p95.iter().any(Value::is_u64), "{all}");
    assert!(p95[0].is_null(), "{all}");

    for key in usage(&admin, "/keys")["keys"].as_array().unwrap() {
        let expected = if key["id"] == "k_good" { 4 } else { 2 };
        assert_eq!(key["requests_24h"], expected, "{key}");
        let hours = key["hours"].as_array().unwrap();
        assert_eq!(
            hours[22].as_u64().unwrap() + hours[23].as_u64().unwrap(),
            expected,
            "{key}"
        );
        assert_eq!(key, &admin.key(key["id"].as_str().unwrap()).0);
    }
}

#[test]
fn minutes_that_no_series_has_are_refused() {
    let running = Running::start();
    for path in ["/usage", "/keys/k_good/usage"] {
        for query in ["minutes=0", "minutes=1441", "minutes=x", "hours=1"] {
            let problem = running
                .admin
                .get(&format!("{path}?{query}"))
                .refused(400, "malformed_request");
            assert!(
                problem["detail"].as_str().unwrap().contains("parameter"),
                "{problem}"
            );
        }
    }
    running
        .admin
        .get("/keys/k_absent/usage")
        .refused(404, "key_not_found");
}

#[test]
fn use_is_known_after_a_restart_to_the_last_request_before_it() {
    let upstream = failing();
    let mut first = mixed(&upstream).spawn();
    for path in ["/a", "/500", "/broken", "/b"] {
        first.ask(get(path));
    }
    assert_eq!(first.status("kg_test_unknown_1rR2"), 401);
    // Of a key that is not recorded, nothing is left.
    assert_eq!(first.status(OTHER), 200);
    let admin = first.admin();
    eventually("all are counted", SOON, || {
        usage(&admin, "/usage")["requests_total"] == 6
    });
    let before = usage(&admin, "/keys/k_good/usage");
    for _ in 0..3 {
        assert_eq!(first.status(GOOD), 200);
    }
    first.signal(Signal::TERM);
    assert!(first.wait().success());

    let folder = first.folder().join("data");
    let second = mixed(&upstream)
        .set("data_dir", folder.display().to_string())
        .spawn();
    let admin = second.admin();
    eventually("the log is read", SOON, || {
        usage(&admin, "/usage")["rebuild"]["running"] == false
    });
    let after = usage(&admin, "/keys/k_good/usage");
    assert_eq!(after["requests_total"], 7, "{after}");
    assert_eq!(after["failed_total"], before["failed_total"]);
    assert_eq!(sum(&after["series"]["requests"]), 7);
    assert!(after["last_used_at"].as_str() > before["last_used_at"].as_str());
    assert!(
        after["since"].as_str() < before["last_used_at"].as_str(),
        "{after}"
    );
    let all = usage(&admin, "/usage");
    assert_eq!(all["requests_total"], 8, "{all}");
    assert_eq!(all["rebuild"]["records"], 8, "{all}");
    assert_eq!(all["rebuild"]["bytes_done"], all["rebuild"]["bytes_total"]);
    assert_eq!(usage(&admin, "/keys/k_other/usage")["requests_total"], 0);
    let by_use = usage(&admin, "/keys?sort=-last_used_at");
    assert_eq!(by_use["keys"][0]["id"], "k_good");
    assert_eq!(by_use["keys"][0]["requests_24h"], 7);

    assert_eq!(second.status(GOOD), 200);
    eventually("counting goes on from there", SOON, || {
        usage(&admin, "/keys/k_good/usage")["requests_total"] == 8
    });
}

#[test]
fn the_minutes_of_a_day_travel_compressed() {
    let running = Running::start();
    let plain = running.admin.get("/usage").expect(200);
    assert!(!plain.head.has("content-encoding"), "{plain:?}");
    let zipped = running.admin.get("/usage").with("accept-encoding", "gzip");
    let zipped = zipped.expect(200);
    assert_eq!(zipped.head.one("content-encoding"), Some("gzip"));
    assert!(zipped.body.len() * 10 < plain.body.len());
}
