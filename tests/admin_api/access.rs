//! What is asked before anything is done: is the request meant for us, does one of our own pages send it, is it
//! JSON, is it small enough. In the documented order, so that nobody learns more than they may.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::named;
use crate::harness::admin::ADMIN_TOKEN;
use crate::harness::admin::Request;
use crate::harness::client::Client;
use crate::harness::eventually;

#[test]
fn a_host_that_is_not_ours_is_misdirected() {
    let running = Running::start();
    let port = running.admin.address().port();
    // A page of evil.example whose name was turned to 127.0.0.1 sends its own name.
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("evil-localhost:{port}"),
        format!("127.0.0.1@evil.example:{port}"),
        "169.254.169.254".to_owned(),
        "10.0.0.1".to_owned(),
        format!("0.0.0.0:{port}"),
        "app".to_owned(),
    ] {
        for request in [
            running.admin.get("/session"),
            running.admin.get("/keys"),
            running.admin.get("/openapi.json"),
            running.admin.get("/no/such/path"),
            running.admin.anywhere("GET", "/"),
            running.admin.post("/keys").json(&named("x")),
            running
                .admin
                .post("/login")
                .json(&json!({"name": "a", "password": "b"})),
            running.admin.request("OPTIONS", "/keys"),
        ] {
            request.host(&host).refused(421, "host_not_allowed");
        }
    }
    for host in [
        format!("127.0.0.1:{port}"),
        "127.0.0.1".to_owned(),
        "127.0.0.1:1".to_owned(),
        format!("localhost:{port}"),
        "localhost".to_owned(),
        "LocalHost:9".to_owned(),
        format!("[::1]:{port}"),
        "[::1]".to_owned(),
    ] {
        let answer = running.admin.get("/keys").host(&host).ask();
        assert_eq!(
            answer.status, 200,
            "{host}: forwarded ports are common: {answer:?}"
        );
    }
    for (name, request) in [
        ("none", running.admin.get("/keys").without("host")),
        ("empty", running.admin.get("/keys").host("")),
        (
            "two",
            running.admin.get("/keys").with("host", "evil.example"),
        ),
        (
            "a list",
            running.admin.get("/keys").host("localhost, evil.example"),
        ),
        ("a path", running.admin.get("/keys").host("localhost/evil")),
        ("no port", running.admin.get("/keys").host("localhost:x")),
    ] {
        let status = status_of(&request);
        assert!(matches!(status, 400 | 421), "{name}: {status}");
    }
    let absolute = running
        .admin
        .anywhere("GET", "http://evil.example/api/v1/keys");
    let status = status_of(&absolute);
    assert!(matches!(status, 400 | 421), "an absolute target: {status}");
}

/// The status alone: what hyper itself refuses has no problem document.
fn status_of(request: &Request) -> u16 {
    status_at(&request.bytes(), request.address())
}

fn status_at(bytes: &[u8], address: SocketAddr) -> u16 {
    let mut client = Client::connect(address);
    client.send(bytes);
    client.read("GET").status
}

#[test]
fn a_change_from_another_site_is_refused() {
    let running = Running::start();
    let port = running.admin.address().port();
    let own = format!("http://127.0.0.1:{port}");
    let changes = || {
        [
            running.admin.post("/keys").json(&named("x")),
            running
                .admin
                .put("/keys/k_x")
                .with("if-none-match", "*")
                .json(&named("x")),
            running
                .admin
                .patch("/keys/k_good")
                .if_match("*")
                .json(&json!({})),
            running.admin.delete("/keys/k_good").if_match("*"),
            running.admin.post("/keys/k_good/copy"),
            running.admin.post("/keys/k_good/rotate").if_match("*"),
            running.admin.post("/keys:import").body("text/plain", "x"),
            running.admin.post("/reload"),
            running.admin.post("/logout"),
            running
                .admin
                .post("/login")
                .json(&json!({"name": "a", "password": "b"})),
            running
                .admin
                .post("/setup")
                .json(&json!({"code": "a", "name": "a", "password": "b"})),
        ]
    };
    let before = running.keygate.key_text();
    for origin in [
        "https://evil.example".to_owned(),
        "http://evil.example".to_owned(),
        "null".to_owned(),
        String::new(),
        // Another service on this machine is another site.
        "http://127.0.0.1:1".to_owned(),
        format!("https://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        format!("http://127.0.0.1:{port}.evil.example"),
        format!("{own}, https://evil.example"),
        format!("{own}/"),
    ] {
        for request in changes() {
            request
                .with("origin", &origin)
                .refused(403, "origin_not_allowed");
        }
    }
    for site in ["cross-site", "same-site", "nonsense"] {
        for request in changes() {
            request
                .with("sec-fetch-site", site)
                .refused(403, "origin_not_allowed");
        }
    }
    assert_eq!(running.keygate.key_text(), before);
    let ours = |name: &str| running.admin.post("/keys").json(&named(name));
    ours("a")
        .with("origin", &own)
        .with("sec-fetch-site", "same-origin")
        .expect(201);
    ours("b").with("sec-fetch-site", "none").expect(201);
    ours("c").with("origin", &own).expect(201);
    ours("d")
        .host(&format!("localhost:{port}"))
        .with("origin", &format!("http://localhost:{port}"))
        .expect(201);
}

#[test]
fn only_json_is_taken() {
    let running = Running::start();
    let body = named("x").to_string();
    for content_type in [
        "",
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "text/json",
        "application/octet-stream",
        "application/json, text/plain",
        "json",
    ] {
        for request in [
            running.admin.post("/keys").body(content_type, &*body),
            running
                .admin
                .put("/keys/k_x")
                .with("if-none-match", "*")
                .body(content_type, &*body),
            running
                .admin
                .patch("/keys/k_good")
                .if_match("*")
                .body(content_type, "{}"),
            running
                .admin
                .post("/keys/k_good/rotate")
                .if_match("*")
                .body(content_type, "{}"),
        ] {
            request.refused(415, "unsupported_media_type");
        }
    }
    for (index, content_type) in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
    ]
    .iter()
    .enumerate()
    {
        running
            .admin
            .post("/keys")
            .body(content_type, named(&format!("n{index}")).to_string())
            .expect(201);
    }
    running
        .admin
        .post("/keys:import")
        .body("application/pdf", "x")
        .refused(415, "unsupported_media_type");
    // What takes no merge patch does not take its type either.
    running
        .admin
        .post("/keys")
        .body("application/merge-patch+json", body)
        .refused(415, "unsupported_media_type");
}

#[test]
fn a_body_has_a_limit() {
    let running = Running::start();
    let address = running.admin.address();
    let large = json!({"name": "large", "description": "x".repeat(70_000)}).to_string();
    running
        .admin
        .post("/keys")
        .body("application/json", large.clone())
        .refused(413, "body_too_large");
    let pieces: String = large
        .as_bytes()
        .chunks(1_000)
        .map(|piece| {
            format!(
                "{:x}\r\n{}\r\n",
                piece.len(),
                String::from_utf8_lossy(piece)
            )
        })
        .collect();
    running
        .admin
        .post("/keys")
        .with("transfer-encoding", "chunked")
        .body("application/json", format!("{pieces}0\r\n\r\n"))
        .refused(413, "body_too_large");
    // Told by its length: nobody waits for the bytes.
    let mut client = Client::connect(address);
    client.send(format!(
        "POST /api/v1/keys HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: 99999999\r\n\r\n"
    ));
    let answer = client.read("POST");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "body_too_large"),
        "{answer:?}"
    );
    // Just below it, the body is read and judged.
    let fits = json!({"name": "fits", "colour": "x".repeat(65_000)}).to_string();
    assert!(fits.len() < 64 * 1024);
    running
        .admin
        .post("/keys")
        .body("application/json", fits)
        .refused(422, "invalid_field");
    let heads = format!("x-long: {}\r\n", "y".repeat(1_000)).repeat(200);
    let status = status_at(
        format!("GET /api/v1/keys HTTP/1.1\r\nhost: localhost\r\n{heads}\r\n").as_bytes(),
        address,
    );
    assert!(matches!(status, 400 | 431), "a head of 200 KB: {status}");
}

#[test]
fn refusals_come_in_the_documented_order() {
    let running = Running::start();
    let (admin, nobody) = (&running.admin, running.keygate.nobody());
    let evil = |request: Request| request.with("origin", "https://evil.example");
    let large = "x".repeat(100_000);
    for (name, request, status, code) in [
        (
            "host before path",
            nobody.get("/nothing").host("evil.example"),
            421,
            "host_not_allowed",
        ),
        (
            "path before origin",
            evil(nobody.post("/nothing")),
            404,
            "not_found",
        ),
        (
            "method before origin",
            evil(nobody.delete("/keys")),
            405,
            "method_not_allowed",
        ),
        (
            "origin before sign-in",
            evil(nobody.post("/keys")),
            403,
            "origin_not_allowed",
        ),
        (
            "sign-in before type",
            nobody.post("/keys").body("text/plain", &*large),
            401,
            "setup_required",
        ),
        (
            "sign-in before the key",
            nobody.get("/keys/k_nobody"),
            401,
            "setup_required",
        ),
        (
            "type before size",
            admin.post("/keys").body("text/plain", &*large),
            415,
            "unsupported_media_type",
        ),
        (
            "size before content",
            admin.post("/keys").body("application/json", &*large),
            413,
            "body_too_large",
        ),
    ] {
        let answer = request.ask();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{name}: {answer:?}"
        );
    }
}

#[test]
fn a_path_or_method_that_is_not_there_is_told() {
    let running = Running::start();
    for target in [
        "/api/v1",
        "/api/v1/",
        "/api/v1/nothing",
        "/api/v2/keys",
        "/api/v1/keys/",
        "/api/v1/keys/k_good/",
        "/api/v1/keys/k_good/nothing",
        "/api/v1//keys",
        "/API/v1/keys",
        "/api/v1/keys:nothing",
        "/metrics",
        "/api/v1/../v1/keys",
    ] {
        running
            .admin
            .anywhere("GET", target)
            .refused(404, "not_found");
    }
    for (path, allowed, wrong) in [
        ("/session", "GET", ["POST", "DELETE", "OPTIONS"]),
        ("/setup", "POST", ["GET", "PUT", "OPTIONS"]),
        ("/login", "POST", ["GET", "PATCH", "OPTIONS"]),
        ("/logout", "POST", ["GET", "DELETE", "OPTIONS"]),
        ("/password", "POST", ["GET", "PUT", "OPTIONS"]),
        ("/keys", "GET, POST", ["PUT", "DELETE", "OPTIONS"]),
        (
            "/keys/k_good",
            "GET, PUT, PATCH, DELETE",
            ["POST", "OPTIONS", "TRACE"],
        ),
        ("/keys/k_good/copy", "POST", ["GET", "PUT", "OPTIONS"]),
        ("/keys/k_good/rotate", "POST", ["GET", "PUT", "OPTIONS"]),
        ("/keys/k_good/usage", "GET", ["POST", "PUT", "OPTIONS"]),
        ("/keys:import", "POST", ["GET", "PUT", "OPTIONS"]),
        ("/keys:export", "GET", ["POST", "PUT", "OPTIONS"]),
        ("/status", "GET", ["POST", "PUT", "OPTIONS"]),
        ("/reload", "POST", ["GET", "PUT", "OPTIONS"]),
        ("/audit", "GET", ["POST", "DELETE", "OPTIONS"]),
        ("/openapi.json", "GET", ["POST", "PUT", "OPTIONS"]),
    ] {
        for method in wrong {
            let answer = running.admin.request(method, path).expect(405);
            assert_eq!(answer.code(), "method_not_allowed", "{method} {path}");
            let field = answer.head.one("allow").unwrap();
            let mut named: Vec<&str> = field
                .split(',')
                .map(str::trim)
                .filter(|m| *m != "HEAD")
                .collect();
            named.sort_unstable();
            let mut expected: Vec<&str> = allowed.split(", ").collect();
            expected.sort_unstable();
            assert_eq!(named, expected, "{method} {path}");
        }
    }
}

#[test]
fn nobody_gets_anything_before_they_sign_in() {
    let running = Running::start();
    for admin in [
        running.keygate.nobody(),
        running
            .keygate
            .nobody()
            .with_cookie("keygate=00; session=11; keygate_session=22"),
    ] {
        for request in [
            admin.get("/keys"),
            admin.post("/keys").json(&named("x")),
            admin.get("/keys/k_good"),
            admin
                .put("/keys/k_x")
                .with("if-none-match", "*")
                .json(&named("x")),
            admin
                .patch("/keys/k_good")
                .if_match("*")
                .json(&json!({"enabled": false})),
            admin.delete("/keys/k_good").if_match("*"),
            admin.post("/keys/k_good/copy"),
            admin.post("/keys/k_good/rotate").if_match("*"),
            admin.get("/keys/k_good/usage"),
            admin.post("/keys:import").body("text/plain", "x"),
            admin.get("/keys:export"),
            admin.get("/status"),
            admin.post("/reload"),
            admin.get("/audit"),
            admin
                .post("/password")
                .json(&json!({"current": "a", "new": "b"})),
        ] {
            request.refused(401, "setup_required");
        }
        let session = admin.get("/session").expect(200).json();
        assert_eq!(session["state"], "setup_required");
        assert!(session.get("actor").is_none_or(serde_json::Value::is_null));
        assert_eq!(session["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn a_slow_sender_is_cut() {
    let running = Running::start();
    let head = format!(
        "POST /api/v1/keys HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n"
    );
    let slow: Vec<(&str, Client)> = [
        ("nothing", String::new()),
        (
            "half a head",
            "GET /api/v1/session HTTP/1.1\r\nhost: loc".to_owned(),
        ),
        ("half a body", format!("{head}{{\"name\"")),
    ]
    .into_iter()
    .map(|(name, bytes)| {
        let mut client = Client::connect(running.admin.address());
        client.send(bytes);
        (name, client)
    })
    .collect();
    for (name, mut client) in slow {
        // It may say why before it closes.
        if let Ok(response) = client.try_read_within("POST", Duration::from_secs(30)) {
            assert!(matches!(response.status, 408 | 400), "{name}: {response:?}");
        }
        client.expect_closed();
    }
}

/// Many who connect and say nothing keep nobody out.
#[test]
fn idle_connections_do_not_lock_the_administrator_out() {
    let running = Running::start();
    let idle: Vec<Client> = (0..100)
        .map(|_| Client::connect(running.admin.address()))
        .collect();
    eventually("the API answers", Duration::from_secs(15), || {
        let mut client = Client::connect(running.admin.address());
        client.send(running.admin.get("/keys").bytes());
        client
            .try_read_within("GET", Duration::from_secs(5))
            .is_ok_and(|answer| answer.status == 200)
    });
    drop(idle);
}
