//! `GET /openapi.json`: the contract that is served is the one that is checked in, and what it lists is there.
//! Whether answers keep to it is asked at length by the step `schemathesis` of `tests/run`.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::admin_api::Running;

/// Every endpoint.
const ENDPOINTS: [(&str, &str); 26] = [
    ("get", "/session"),
    ("post", "/setup"),
    ("post", "/login"),
    ("post", "/logout"),
    ("post", "/password"),
    ("get", "/keys"),
    ("post", "/keys"),
    ("get", "/keys/{id}"),
    ("put", "/keys/{id}"),
    ("patch", "/keys/{id}"),
    ("delete", "/keys/{id}"),
    ("post", "/keys/{id}/copy"),
    ("post", "/keys/{id}/rotate"),
    ("get", "/keys/{id}/usage"),
    ("post", "/keys:import"),
    ("get", "/keys:export"),
    ("get", "/transactions"),
    ("get", "/transactions/{request_id}"),
    ("get", "/transactions/stream"),
    ("get", "/transactions:export"),
    ("post", "/try"),
    ("get", "/usage"),
    ("get", "/status"),
    ("post", "/reload"),
    ("get", "/audit"),
    ("get", "/openapi.json"),
];

#[test]
fn the_document_is_the_one_that_is_checked_in() {
    let running = Running::start();
    let served = running.admin.get("/openapi.json").expect(200);
    let media = served.head.one("content-type").unwrap();
    assert!(media.starts_with("application/json"), "{media}");
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/config/openapi.json");
    let golden: Value = serde_json::from_str(&fs::read_to_string(golden).unwrap()).unwrap();
    assert!(
        served.json() == golden,
        "config/openapi.json is not what is served"
    );
    assert!(golden["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(golden["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_document_lists_every_endpoint_with_its_refusals() {
    let running = Running::start();
    let document = running.admin.get("/openapi.json").expect(200).json();
    let base = document["servers"][0]["url"]
        .as_str()
        .unwrap_or_default()
        .trim_end_matches('/')
        .to_owned();
    let mut listed = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let full = format!("{base}{path}");
        let below = full
            .strip_prefix("/api/v1")
            .unwrap_or_else(|| panic!("{full}"));
        for (method, operation) in operations.as_object().unwrap() {
            if method == "parameters" {
                continue;
            }
            listed.insert((method.clone(), below.to_owned()));
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.keys().any(|status| status.starts_with('2')),
                "{method} {below}: {responses:?}"
            );
            assert!(
                operation["operationId"].is_string() && operation["summary"].is_string(),
                "{method} {below} has a name and a summary"
            );
        }
    }
    let expected: BTreeSet<(String, String)> = ENDPOINTS
        .iter()
        .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(listed, expected);
}
