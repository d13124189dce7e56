//! Covers "what the caller and the record hear of a refusal": one face for all wrong tokens, the true reason
//! and a hint in the record, answers that HEAD and gRPC callers understand.

use super::*;

#[test]
fn challenges_name_the_sources() {
    let upstream = Upstream::echo();
    for (name, auth, expected) in [
        ("header", "{}", vec!["ApiKey realm=\"keygate\""]),
        (
            "realm",
            "{realm: the shop}",
            vec!["ApiKey realm=\"the shop\""],
        ),
    ] {
        let keygate = Setup::of(&upstream).set("auth", auth).spawn();
        let response = keygate.ask("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
        assert_eq!(response.head.all("www-authenticate"), expected, "{name}");
    }
    let keygate = Setup::of(&upstream)
        .set("auth", "{sources: [header: x-api-key, bearer]}")
        .spawn();
    let response = keygate.ask("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    let challenges = response.head.all("www-authenticate");
    assert!(
        challenges
            .iter()
            .any(|one| one.starts_with("ApiKey realm=\"keygate\"")),
        "{challenges:?}"
    );
    assert!(
        challenges
            .iter()
            .any(|one| one.starts_with("Bearer realm=\"keygate\"")),
        "{challenges:?}"
    );
}

#[test]
fn wrong_tokens_all_look_the_same() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).keys(keys()).spawn();
    let mut answers = Vec::new();
    for (name, fields) in [
        ("unknown", format!("x-api-key: {UNKNOWN}\r\n")),
        ("malformed", "x-api-key: a b\r\n".to_owned()),
        (
            "doubled",
            format!("x-api-key: {GOOD}\r\nx-api-key: {GOOD}\r\n"),
        ),
        ("disabled", format!("x-api-key: {DISABLED}\r\n")),
        ("expired", format!("x-api-key: {EXPIRED}\r\n")),
        ("not yet valid", format!("x-api-key: {FUTURE}\r\n")),
    ] {
        let response = keygate.ask(format!(
            "GET /same HTTP/1.1\r\nhost: app\r\nx-request-id: same-id\r\n{fields}\r\n"
        ));
        let mut fields = response.head.fields.clone();
        fields.retain(|(name, _)| name != "date");
        answers.push((name, response.head.start.clone(), fields, response.body));
    }
    for answer in &answers[1..] {
        assert_eq!(
            (&answer.1, &answer.2, &answer.3),
            (&answers[0].1, &answers[0].2, &answers[0].3),
            "{}",
            answer.0
        );
    }
}

#[test]
fn head_gets_the_headers_of_get() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let refusal = |method: &str| {
        let mut client = keygate.connect();
        let response =
            client.ask(format!("{method} /h HTTP/1.1\r\nhost: app\r\nx-request-id: same-id\r\nconnection: close\r\n\r\n"));
        client.expect_closed();
        let mut fields = response.head.fields;
        fields.retain(|(name, _)| name != "date");
        (response.status, fields)
    };
    assert_eq!(refusal("HEAD"), refusal("GET"));
}

#[test]
fn grpc_callers_get_grpc_refusals() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).keys(keys()).spawn();
    for (name, fields, content_type, status) in [
        ("no token", String::new(), "application/grpc", "16"),
        (
            "unknown",
            format!("x-api-key: {UNKNOWN}\r\n"),
            "application/grpc+proto",
            "16",
        ),
        (
            "not allowed",
            format!("x-api-key: {READER}\r\n"),
            "application/grpc",
            "7",
        ),
        (
            "content-type with parameters",
            String::new(),
            "application/grpc;charset=x",
            "16",
        ),
    ] {
        let id = format!("grpc-{}", name.replace(' ', "-"));
        let response = keygate.ask(format!(
            "POST /pkg.Svc/Do HTTP/1.1\r\nhost: app\r\nx-request-id: {id}\r\ncontent-type: {content_type}\r\n{fields}\
             content-length: 5\r\n\r\n\0\0\0\0\0"
        ));
        assert_eq!(response.status, 200, "{name}: {response:?}");
        assert_eq!(response.head.one("grpc-status"), Some(status), "{name}");
        let message = response.head.one("grpc-message").unwrap_or_default();
        assert!(
            !message.is_empty() && message.is_ascii(),
            "{name}: {message:?}"
        );
        let ours = response.head.one("content-type").unwrap_or_default();
        assert!(ours.starts_with("application/grpc"), "{name}: {ours}");
        assert!(response.body.is_empty(), "{name}: {response:?}");
        let record = keygate.transaction(&id, |record| record["request_id"] == id.as_str());
        assert_eq!(
            (&record["status"], &record["decision"]),
            (&200.into(), &"refused".into()),
            "{name}: {record}"
        );
        assert_eq!(
            record["grpc_status"].to_string().trim_matches('"'),
            status,
            "{name}: {record}"
        );
    }
    let response = keygate.ask("POST / HTTP/1.1\r\nhost: app\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(
        response.status, 401,
        "only gRPC is answered as gRPC: {response:?}"
    );
}

#[test]
fn a_record_tells_why_and_hints() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).keys(keys()).spawn();
    let ask = |id: &str, fields: &str| {
        let response = keygate.ask(format!(
            "GET /x HTTP/1.1\r\nhost: app\r\nx-request-id: {id}\r\n{fields}\r\n"
        ));
        assert_eq!(response.status, 401, "{id}");
        keygate.transaction(id, |record| record["request_id"] == id)
    };
    let bearer = ask("hint-bearer", &format!("authorization: Bearer {GOOD}\r\n"));
    let hint = bearer["hint"].as_str().unwrap_or_default();
    assert!(hint.to_lowercase().contains("bearer"), "{bearer}");

    // One stale client keeps its fingerprint, another has its own; neither is the token's digest.
    let print = |record: &Value| {
        record["token_fingerprint"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let first = print(&ask("print-1", &format!("x-api-key: {UNKNOWN}\r\n")));
    let again = print(&ask("print-2", &format!("x-api-key: {UNKNOWN}\r\n")));
    let other = print(&ask("print-3", "x-api-key: kg_test_somebody-else_3mM4\r\n"));
    assert!(!first.is_empty(), "unknown tokens have a fingerprint");
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert!(
        !crate::harness::sha256(UNKNOWN.as_bytes()).contains(&first),
        "the fingerprint is keyed"
    );
}

#[test]
fn a_refused_key_does_not_end_a_good_connection() {
    let upstream = Upstream::echo();
    let keygate: Keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    for (token, status) in [
        (GOOD, 200),
        (UNKNOWN, 401),
        (GOOD, 200),
        ("", 401),
        (OTHER, 200),
    ] {
        let response = client.ask(crate::harness::requests::with_token("/keep", token));
        assert_eq!(response.status, status, "{response:?}");
        assert!(!response.head.lists("connection", "close"), "{response:?}");
    }
}
