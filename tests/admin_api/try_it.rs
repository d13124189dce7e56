//! `POST /try`: a request through the real proxy, with a key's token that nobody is shown. It is judged, counted and
//! recorded like any other; it is in the audit log; it cannot be used to get hold of tokens, or to smuggle.

use std::thread;

use serde_json::Value;
use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::made_token;
use crate::harness::admin::Admin;
use crate::harness::gate::Gate;
use crate::harness::keygate::Keygate;
use crate::harness::setup::Setup;
use crate::harness::setup::key_file;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;
use crate::harness::wire::find;

const TOKEN: &str = "a-token-in-clear-in-the-file_7";

/// With a token that can be copied; `more` are further settings.
fn start(upstream: &Upstream, more: impl FnOnce(Setup) -> Setup) -> Keygate {
    let keys = key_file(&[
        format!("  - {{id: k_clear, name: clear, token: {TOKEN}}}\n"),
        format!(
            "  - {{id: k_narrow, name: narrow, token: {TOKEN}-narrow, allow: {{paths: [/v1/**]}}}}\n"
        ),
    ]);
    more(Setup::of(upstream).admin("").keys(keys)).spawn()
}

#[track_caller]
fn tried(admin: &Admin, body: &Value) -> Value {
    let answer = admin.post("/try").json(body).expect(200);
    assert!(
        find(&answer.body, TOKEN.as_bytes()).is_none(),
        "a token was shown"
    );
    let answer = answer.json();
    let members: Vec<_> = answer
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = [
        "body",
        "body_is_base64",
        "body_truncated",
        "duration_us",
        "headers",
        "request_id",
        "status",
    ];
    assert_eq!(members, expected, "{answer}");
    answer
}

fn header<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    let headers = answer["headers"].as_array().unwrap();
    let found = headers.iter().find(|pair| pair[0] == name)?;
    found[1].as_str()
}

#[test]
fn a_request_goes_through_the_proxy_and_is_recorded() {
    let upstream = Upstream::echo();
    let keygate = start(&upstream, |setup| setup);
    let answer = tried(
        &keygate.admin(),
        &json!({
            "key_id": "k_clear",
            "method": "POST",
            "path": "/v1/items?page=2&a=%20",
            "headers": [["Content-Type", "text/plain"], ["x-twice", "1"], ["X-Twice", "2"]],
            "body": "grüße",
        }),
    );
    assert_eq!(answer["status"], 200, "{answer}");
    assert_eq!(header(&answer, "content-type"), Some("application/json"));
    assert_eq!(answer["body_is_base64"], false);
    assert_eq!(answer["body_truncated"], false);
    assert!(answer["duration_us"].as_u64().unwrap() > 0, "{answer}");
    let echoed: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!(echoed["body_bytes"], "grüße".len(), "{echoed}");
    let seen = upstream.seen_at("/v1/items?page=2&a=%20").head;
    assert_eq!(seen.first(), "POST");
    assert_eq!(seen.all("x-twice").join(","), "1,2");
    assert_eq!(seen.one("x-keygate-key-id"), Some("k_clear"));
    assert_eq!(seen.one("host"), Some(&*keygate.address().to_string()));
    assert!(!seen.has("x-api-key"), "{seen:?}");
    let request_id = answer["request_id"].as_str().unwrap();
    let recorded = keygate.transaction("the request", |line| line["request_id"] == request_id);
    assert_eq!(recorded["decision"], "allowed", "{recorded}");
    assert_eq!(recorded["key_id"], "k_clear");
    assert_eq!(recorded["path"], "/v1/items");
    let shown = keygate.admin().get(&format!("/transactions/{request_id}"));
    shown.expect(200);
}

#[test]
fn refusals_of_the_proxy_are_answers_like_any_other() {
    let upstream = Upstream::fast();
    let keygate = start(&upstream, |setup| setup);
    let admin = keygate.admin();
    for (body, status, code) in [
        (json!({"path": "/v1/x"}), 401, "missing_key"),
        (
            json!({"path": "/v1/x", "key_id": null, "body": null}),
            401,
            "missing_key",
        ),
        (
            json!({"path": "/x", "key_id": "k_narrow"}),
            403,
            "not_allowed",
        ),
        (
            json!({"path": "/x", "headers": [["x-api-key", "nobody-has-this-token"]]}),
            401,
            "invalid_key",
        ),
        (
            json!({"path": "/x", "key_id": "k_clear", "headers": [["x-api-key", "a-second-token"]]}),
            401,
            "invalid_key",
        ),
        (
            json!({"path": "/x", "method": "TRACE", "key_id": "k_clear"}),
            405,
            "method_not_supported",
        ),
        (
            json!({"path": "/x", "headers": [["host", "a"], ["host", "b"]]}),
            400,
            "bad_request",
        ),
    ] {
        let answer = tried(&admin, &body);
        assert_eq!(answer["status"], status, "{body}: {answer}");
        let problem: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(problem["code"], code, "{body}: {answer}");
    }
    assert_eq!(upstream.count(), 0);
    let answer = tried(&admin, &json!({"path": "/v1/x", "key_id": "k_narrow"}));
    assert_eq!(answer["status"], 200, "{answer}");
}

#[test]
fn the_token_goes_where_the_first_source_has_it_and_over_a_unix_socket_too() {
    let upstream = Upstream::echo();
    for (sources, fields) in [
        (
            "[bearer, header: x-api-key]",
            json!([["authorization", "Basic dTpw"]]),
        ),
        ("[query: key]", json!([])),
        ("[cookie: key]", json!([["cookie", "a=b"]])),
        ("[header: x-other]", json!([])),
    ] {
        let keygate = start(&upstream, |setup| {
            let socket = setup.folder.path().join("keygate.sock");
            setup.set("auth", format!("{{sources: {sources}}}")).set(
                "listen",
                format!("['unix:{}', '127.0.0.1:0']", socket.display()),
            )
        });
        let path = format!("/{}", sources.len());
        let body = json!({"key_id": "k_clear", "path": path, "headers": fields});
        let answer = tried(&keygate.admin(), &body);
        assert_eq!(answer["status"], 200, "{sources}: {answer}");
        let seen = upstream.seen_at(&path).head;
        assert_eq!(seen.one("host"), Some("localhost"), "{sources}");
        assert!(find(&seen.raw, TOKEN.as_bytes()).is_none(), "{sources}");
        let status = keygate.admin().get("/status").expect(200).json();
        let first = status["proxy_addresses"][0].as_str().unwrap();
        assert!(first.starts_with("unix:/"), "{status}");
    }
}

#[test]
fn what_says_where_a_message_ends_is_not_sent_on() {
    let upstream = Upstream::echo();
    let keygate = start(&upstream, |setup| setup);
    let answer = tried(
        &keygate.admin(),
        &json!({
            "key_id": "k_clear",
            "method": "POST",
            "path": "/smuggled",
            "headers": [
                ["Transfer-Encoding", "chunked"],
                ["Content-Length", "3"],
                ["Connection", "upgrade, x-kept"],
                ["Upgrade", "websocket"],
                ["Expect", "100-continue"],
                ["TE", "trailers"],
                ["x-request-id", "chosen-by-somebody"],
                ["x-kept", "yes"],
            ],
            "body": "0\r\n\r\nGET /other HTTP/1.1\r\nhost: x\r\n\r\n",
        }),
    );
    assert_eq!(answer["status"], 200, "{answer}");
    assert_eq!(upstream.count(), 1);
    let seen = upstream.seen_at("/smuggled");
    assert_eq!(seen.head.one("x-kept"), Some("yes"));
    assert_eq!(
        seen.body,
        b"0\r\n\r\nGET /other HTTP/1.1\r\nhost: x\r\n\r\n"
    );
    assert_eq!(seen.head.one("x-request-id"), answer["request_id"].as_str());
}

#[test]
fn what_cannot_be_sent_is_named_field_by_field() {
    let upstream = Upstream::fast();
    let keygate = start(&upstream, |setup| setup);
    let admin = keygate.admin();
    for (body, pointers) in [
        (json!({}), &["#/path"][..]),
        (json!({"path": "http://evil.example/"}), &["#/path"]),
        (json!({"path": "/a\r\nx-evil: 1"}), &["#/path"]),
        (json!({"path": "/", "method": "CONNECT"}), &["#/method"]),
        (
            json!({"path": "x", "method": "G\r\n", "headers": [["a b", "c"], ["d", "e\nf"], ["g"]], "colour": 1}),
            &[
                "#/colour",
                "#/headers/0/0",
                "#/headers/1/1",
                "#/headers/2",
                "#/method",
                "#/path",
            ],
        ),
    ] {
        let problem = admin.post("/try").json(&body).refused(422, "invalid_field");
        let mut found = crate::harness::admin::pointers(&problem);
        found.sort_unstable();
        assert_eq!(found, pointers, "{body}");
    }
    for id in ["k_nobody", "no id at all", ""] {
        let body = json!({"path": "/", "key_id": id});
        admin.post("/try").json(&body).refused(404, "key_not_found");
    }
    let once = admin.create(&json!({"name": "once", "recoverable": false}));
    let body = json!({"path": "/", "key_id": once["id"]});
    admin
        .post("/try")
        .json(&body)
        .refused(409, "not_recoverable");
    admin
        .post("/try")
        .json(&json!({"path": "/", "body": "x".repeat(64 << 10)}))
        .refused(413, "body_too_large");
    keygate
        .nobody()
        .post("/try")
        .json(&json!({"path": "/"}))
        .refused(401, "setup_required");
    admin
        .post("/try")
        .with("origin", "http://evil.example")
        .json(&json!({"path": "/"}))
        .refused(403, "origin_not_allowed");
    assert_eq!(upstream.count(), 0);
}

/// Even where the upstream is shown tokens, and sends back what it sees.
#[test]
fn a_token_that_an_upstream_sends_back_is_hidden() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        let target = turn.head.second().to_owned();
        let shown = turn.head.one("x-api-key").unwrap_or_default().to_owned();
        let fields = format!("x-echo: {shown}\r\n");
        turn.answer("200 OK", &fields, format!("{target} {shown}").as_bytes())
    });
    for sources in ["header: x-api-key", "query: key"] {
        let keygate = start(&upstream, |setup| {
            setup.set("auth", format!("{{sources: [{sources}], hide: false}}"))
        });
        let answer = tried(
            &keygate.admin(),
            &json!({"key_id": "k_clear", "path": "/a"}),
        );
        assert_eq!(answer["status"], 200, "{answer}");
        let stars = "*".repeat(TOKEN.len());
        assert!(
            answer["body"].as_str().unwrap().contains(&stars),
            "{sources}: {answer}"
        );
    }
    let keygate = start(&upstream, |setup| setup.set("auth", "{hide: false}"));
    let made = keygate.admin().create(&json!({"name": "made"}));
    let body = json!({"key_id": made["id"], "path": "/a"});
    let answer = keygate.admin().post("/try").json(&body).expect(200);
    assert!(find(&answer.body, made_token(&made).as_bytes()).is_none());
    assert!(header(&answer.json(), "x-echo").unwrap().starts_with("***"));
}

#[test]
fn long_broken_and_strange_answers_are_shown_as_far_as_they_go() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        match turn.head.second() {
            "/long" => turn.answer("200 OK", "", "é".repeat(200_000).as_bytes()),
            "/exact" => turn.answer("200 OK", "", &vec![b'a'; 256 << 10]),
            "/bytes" => turn.answer("200 OK", "", b"\x00\xff\xfe"),
            "/broken" => {
                turn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!")?;
                Ok(Next::Close)
            }
            _ => turn.answer("404 Not Found", "", b""),
        }
    });
    let keygate = start(&upstream, |setup| setup);
    let admin = keygate.admin();
    let ask = |path: &str| tried(&admin, &json!({"key_id": "k_clear", "path": path}));
    let text = |answer: &Value| answer["body"].as_str().unwrap().to_owned();
    let answer = ask("/long");
    assert_eq!(text(&answer), "é".repeat(128 << 10));
    assert_eq!(answer["body_truncated"], true);
    let answer = ask("/exact");
    assert_eq!(text(&answer).len(), 256 << 10);
    assert_eq!(answer["body_truncated"], false);
    let answer = ask("/bytes");
    assert_eq!(
        (text(&answer).as_str(), &answer["body_is_base64"]),
        ("AP/+", &json!(true))
    );
    let answer = ask("/broken");
    assert_eq!(
        (text(&answer).as_str(), &answer["body_truncated"]),
        ("five!", &json!(true))
    );
    let answer = ask("/other");
    assert_eq!(
        (&answer["status"], text(&answer).as_str()),
        (&json!(404), "")
    );
}

#[test]
fn it_is_in_the_audit_log_before_it_is_sent_and_sixty_a_minute_are() {
    let (upstream, gate) = {
        let gate = Gate::new();
        (Upstream::slow(gate.clone()), gate)
    };
    let keygate = start(&upstream, |setup| setup);
    let admin = keygate.admin();
    let body = json!({"key_id": "k_clear", "path": "/slow?secret=1"});
    thread::scope(|scope| {
        let trying = scope.spawn(|| tried(&keygate.admin(), &body));
        upstream.wait_for("the request", 0, |_| true);
        let audit = admin.get("/audit?action=request.tried").expect(200).json();
        let event = &audit["events"][0];
        assert_eq!(event["detail"], "GET /slow", "{audit}");
        assert_eq!(event["key_id"], "k_clear", "{audit}");
        assert_eq!(event["actor"]["name"], "ops", "{audit}");
        assert!(!audit.to_string().contains("secret"), "{audit}");
        gate.open();
        let answer = trying.join().unwrap();
        assert_eq!(event["request_id"], answer["request_id"], "{audit}");
    });
    for _ in 0..30 {
        admin.post("/keys/k_clear/copy").expect(200);
    }
    for _ in 0..29 {
        tried(&admin, &json!({"path": "/"}));
    }
    let answer = admin.post("/try").json(&json!({"path": "/"})).expect(429);
    assert_eq!(answer.code(), "slow_down");
    assert!(answer.head.has("retry-after"), "{answer:?}");
    admin.post("/keys/k_clear/copy").refused(429, "slow_down");
}

#[test]
fn a_proxy_that_is_gone_is_told() {
    let running = Running::with(|setup| {
        let socket = setup.folder.path().join("gone.sock");
        setup.set("listen", format!("unix:{}", socket.display()))
    });
    std::fs::remove_file(running.keygate.folder().join("gone.sock")).unwrap();
    let problem = running
        .admin
        .post("/try")
        .json(&json!({"path": "/"}))
        .refused(502, "proxy_unreachable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("gone.sock") && detail.contains("No such file"),
        "{detail}"
    );
}
