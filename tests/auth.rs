//! Covers "every request must carry a valid token": where a token may be, which of several decides, what
//! is refused and how the caller and the record hear of it, what a key may do, and that no credential
//! and no forged identity ever reaches the upstream.

mod answers;
mod rules;
mod sources;

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keygate::clock::Clock;
use keygate::clock::Timestamp;
use serde_json::Value;

use crate::harness::in_process::InProcess;
use crate::harness::keygate::Keygate;
use crate::harness::message::Response;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::upstream::Upstream;
use crate::harness::wire::find;

/// What a row expects.
struct Expected {
    status: u16,
    /// The code that the caller sees, for refusals.
    code: &'static str,
    decision: &'static str,
    /// The true reason in the record.
    reason: Option<&'static str>,
    /// The target that the upstream must see.
    target: Option<&'static str>,
    /// `name: value` lines that the upstream must see, each exactly once.
    sees: &'static [&'static str],
    /// Field names that the upstream must not see.
    hides: &'static [&'static str],
    /// `key_id` in the record.
    key: Option<&'static str>,
}

/// One request and what must come of it. `fields` has a line a field; `$NAME` stands for a token.
struct Row {
    name: &'static str,
    line: &'static str,
    fields: &'static str,
    expected: Expected,
}

fn row(name: &'static str, line: &'static str, fields: &'static str, expected: Expected) -> Row {
    Row {
        name,
        line,
        fields,
        expected,
    }
}

/// Goes through with a key; the upstream sees this target.
fn passes(target: &'static str) -> Expected {
    Expected {
        status: 200,
        code: "",
        decision: "allowed",
        reason: None,
        target: Some(target),
        sees: &[],
        hides: &[],
        key: Some("k_good"),
    }
}

/// Goes through without a key being asked for.
fn passes_as(decision: &'static str, target: &'static str) -> Expected {
    Expected {
        decision,
        key: None,
        ..passes(target)
    }
}

/// Does not reach the upstream.
fn refused(status: u16, code: &'static str, reason: &'static str) -> Expected {
    Expected {
        status,
        code,
        decision: "refused",
        reason: Some(reason),
        target: None,
        sees: &[],
        hides: &[],
        key: None,
    }
}

fn no_token() -> Expected {
    refused(401, "missing_key", "missing_key")
}

fn invalid(reason: &'static str) -> Expected {
    refused(401, "invalid_key", reason)
}

impl Expected {
    fn sees(self, sees: &'static [&'static str]) -> Self {
        Self { sees, ..self }
    }

    fn hides(self, hides: &'static [&'static str]) -> Self {
        Self { hides, ..self }
    }

    fn key(self, key: &'static str) -> Self {
        Self {
            key: Some(key),
            ..self
        }
    }

    fn reason(self, reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            ..self
        }
    }
}

const WITH_DIGIT_LAST: &str = "kg_test_the-good-token_4fQ8";
const DISABLED: &str = "kg_test_disabled-token_1aA2";
const EXPIRED: &str = "kg_test_expired-token_2bB3";
const FUTURE: &str = "kg_test_future-token_3cC4";
const ROTATED: &str = "kg_test_rotated-new-token_4dD5";
const STILL: &str = "kg_test_rotated-old-token_5eE6";
const NO_LONGER: &str = "kg_test_rotated-older-token_6fF7";
const READER: &str = "kg_test_reader-token_7gG8";
const PATHS: &str = "kg_test_paths-token_8hH9";
const ELSEWHERE: &str = "kg_test_elsewhere-token_9iI0";
const LOCAL: &str = "kg_test_local-token_0jJ1";
const ODD: &str = "odd+/=&%;\"<>{}|token";
const NAMED: &str = "kg_test_named-token_1kK2";
const UNKNOWN: &str = "kg_test_nobody-has-this_2lL3";

/// A token of the greatest length.
fn longest() -> String {
    "L".repeat(512)
}

/// Tokens that rows name in base64url as well.
const ENCODED: [(&str, &str); 4] = [
    ("$BASE64_GOOD", "$GOOD"),
    ("$BASE64_OTHER", "$OTHER"),
    ("$BASE64_ODD", "$ODD"),
    ("$BASE64_UNKNOWN", "$UNKNOWN"),
];

fn tokens() -> Vec<(&'static str, String)> {
    // Longer names first: `$GOOD` must not be found in `$GOODX`.
    let mut tokens = vec![
        ("$WITH_DIGIT_LAST", WITH_DIGIT_LAST.to_owned()),
        ("$GOOD", GOOD.to_owned()),
        ("$OTHER", OTHER.to_owned()),
        ("$DISABLED", DISABLED.to_owned()),
        ("$EXPIRED", EXPIRED.to_owned()),
        ("$FUTURE", FUTURE.to_owned()),
        ("$ROTATED", ROTATED.to_owned()),
        ("$STILL", STILL.to_owned()),
        ("$NO_LONGER", NO_LONGER.to_owned()),
        ("$READER", READER.to_owned()),
        ("$PATHS", PATHS.to_owned()),
        ("$ELSEWHERE", ELSEWHERE.to_owned()),
        ("$LOCAL", LOCAL.to_owned()),
        ("$ODD", ODD.to_owned()),
        ("$NAMED", NAMED.to_owned()),
        ("$UNKNOWN", UNKNOWN.to_owned()),
        ("$LONGEST", longest()),
        ("$UPPER", GOOD.to_ascii_uppercase()),
    ];
    for (name, of) in ENCODED {
        let (_, token) = tokens.iter().find(|(token, _)| *token == of).unwrap();
        tokens.push((name, BASE64_URL_SAFE_NO_PAD.encode(token)));
    }
    tokens.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    tokens
}

fn keys() -> String {
    let old = |token: &str, until: &str| {
        format!(
            "{{digest: \"sha256:{}\", expires_at: {until}}}",
            crate::harness::sha256(token.as_bytes())
        )
    };
    let previous = format!(
        ", previous: [{}, {}]",
        old(STILL, "2999-01-01T00:00:00Z"),
        old(NO_LONGER, "2020-01-01T00:00:00Z")
    );
    key_file(&[
        entry("good", GOOD, ""),
        entry("other", OTHER, ""),
        entry("disabled", DISABLED, ", enabled: false"),
        entry("expired", EXPIRED, ", expires_at: 2020-01-01T00:00:00Z"),
        entry("future", FUTURE, ", not_before: 2999-01-01T00:00:00Z"),
        entry("rotated", ROTATED, &previous),
        entry("reader", READER, ", allow: {methods: [GET]}"),
        entry("paths", PATHS, ", allow: {paths: [/v1/**, /exact, /one/*]}"),
        entry("elsewhere", ELSEWHERE, ", allow: {networks: [10.0.0.0/8]}"),
        entry(
            "local",
            LOCAL,
            ", allow: {networks: [127.0.0.0/8], methods: [GET], paths: [/local/**]}",
        ),
        entry("odd", ODD, ""),
        entry("longest", &longest(), ""),
        entry("named", NAMED, "").replace("name: named", "name: \"Bücher & más 100%\""),
    ])
}

/// Plays every row against one keygate, checks each answer and what the upstream saw, then every record.
#[track_caller]
fn play(auth: &str, rows: &[Row]) {
    play_with(|setup| setup.set("auth", auth), rows);
}

#[track_caller]
fn play_with(prepare: impl FnOnce(Setup) -> Setup, rows: &[Row]) {
    let upstream = Upstream::echo();
    let keygate = prepare(Setup::of(&upstream).keys(keys())).spawn();
    for (index, row) in rows.iter().enumerate() {
        let before = upstream.count();
        let response = keygate.ask(request_of(row, index));
        check_answer(row, &response, index);
        let arrived = upstream.seen().split_off(before);
        check_upstream(row, &arrived);
    }
    let finished = keygate.finish();
    assert_eq!(
        finished.transactions.len(),
        rows.len(),
        "one record a request"
    );
    for (index, row) in rows.iter().enumerate() {
        let id = request_id(index);
        let record = finished
            .transactions
            .iter()
            .find(|record| record["request_id"] == id.as_str());
        check_record(
            row,
            record.unwrap_or_else(|| panic!("{}: no record {id}", row.name)),
        );
    }
}

fn request_id(index: usize) -> String {
    format!("row-{index:04}")
}

fn with_tokens(text: &str) -> String {
    tokens()
        .iter()
        .fold(text.to_owned(), |text, (name, token)| {
            text.replace(name, token)
        })
}

fn request_of(row: &Row, index: usize) -> Vec<u8> {
    let fields: String = row
        .fields
        .lines()
        .map(|line| format!("{line}\r\n"))
        .collect();
    let id = request_id(index);
    let text = format!(
        "{} HTTP/1.1\r\nhost: app\r\nx-request-id: {id}\r\n{fields}connection: close\r\n\r\n",
        row.line
    );
    // `\xNN` in a row is that byte.
    let mut bytes = Vec::new();
    let text = with_tokens(&text);
    let mut rest = text.as_str();
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        bytes.push(u8::from_str_radix(&rest[at + 2..at + 4], 16).unwrap());
        rest = &rest[at + 4..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[track_caller]
fn check_answer(row: &Row, response: &Response, index: usize) {
    let name = row.name;
    assert_eq!(response.status, row.expected.status, "{name}: {response:?}");
    if row.expected.target.is_some() {
        return;
    }
    assert_eq!(
        response.head.one("content-type"),
        Some("application/problem+json"),
        "{name}"
    );
    assert_eq!(
        response.head.one("cache-control"),
        Some("no-store"),
        "{name}"
    );
    if row.line.starts_with("HEAD ") {
        return;
    }
    let problem = response.json();
    assert_eq!(problem["code"], row.expected.code, "{name}");
    assert_eq!(problem["status"], row.expected.status, "{name}");
    assert_eq!(problem["request_id"], request_id(index).as_str(), "{name}");
    for field in ["type", "title", "detail"] {
        assert!(
            problem[field].as_str().is_some_and(|text| !text.is_empty()),
            "{name}: {field} in {problem}"
        );
    }
    assert_eq!(
        response.head.has("www-authenticate"),
        row.expected.status == 401,
        "{name}: {response:?}"
    );
}

#[track_caller]
fn check_upstream(row: &Row, arrived: &[crate::harness::upstream::Seen]) {
    let name = row.name;
    let Some(target) = row.expected.target else {
        return assert!(arrived.is_empty(), "{name}: the upstream saw {arrived:?}");
    };
    assert_eq!(arrived.len(), 1, "{name}");
    let head = &arrived[0].head;
    assert_eq!(head.second(), with_tokens(target), "{name}");
    for line in row.expected.sees {
        let line = with_tokens(line);
        let (field, value) = line.split_once(": ").unwrap();
        assert_eq!(
            head.all(field),
            [value],
            "{name}: {field} at the upstream: {head:?}"
        );
    }
    for field in row.expected.hides {
        assert!(
            !head.has(field),
            "{name}: {field} reached the upstream: {:?}",
            head.all(field)
        );
    }
    if row.expected.sees.is_empty() {
        for (token, text) in tokens() {
            assert!(
                find(&head.raw, text.as_bytes()).is_none(),
                "{name}: {token} reached the upstream: {head:?}"
            );
        }
    }
}

#[track_caller]
fn check_record(row: &Row, record: &Value) {
    let name = row.name;
    assert_eq!(
        record["decision"], row.expected.decision,
        "{name}: {record}"
    );
    assert_eq!(
        record["reason"].as_str(),
        row.expected.reason,
        "{name}: {record}"
    );
    assert_eq!(record["status"], row.expected.status, "{name}: {record}");
    assert_eq!(record["end"], "complete", "{name}: {record}");
    if row.expected.key.is_some() || row.expected.decision != "refused" {
        assert_eq!(
            record["key_id"].as_str(),
            row.expected.key,
            "{name}: {record}"
        );
    }
    let unknown = row.expected.reason == Some("unknown_key");
    assert_eq!(
        record["token_fingerprint"].is_string(),
        unknown,
        "{name}: fingerprints are for unknown tokens: {record}"
    );
}

#[test]
fn dates_switches_and_rotation_are_kept() {
    play(
        "{sources: [header: x-api-key]}",
        &[
            row(
                "disabled",
                "GET /a",
                "x-api-key: $DISABLED",
                invalid("disabled").key("k_disabled"),
            ),
            row(
                "expired",
                "GET /b",
                "x-api-key: $EXPIRED",
                invalid("expired").key("k_expired"),
            ),
            row(
                "not yet valid",
                "GET /c",
                "x-api-key: $FUTURE",
                invalid("not_yet_valid").key("k_future"),
            ),
            row(
                "after a rotation, the new",
                "GET /d",
                "x-api-key: $ROTATED",
                passes("/d").key("k_rotated"),
            ),
            row(
                "after a rotation, the old for a while",
                "GET /e",
                "x-api-key: $STILL",
                passes("/e").key("k_rotated"),
            ),
            row(
                "after a rotation, the old too late",
                "GET /f",
                "x-api-key: $NO_LONGER",
                invalid("unknown_key"),
            ),
        ],
    );
}

#[test]
fn optional_lets_the_anonymous_in_and_wrong_tokens_out() {
    play(
        "{mode: optional}",
        &[
            row("no token", "GET /a", "", passes_as("anonymous", "/a")),
            row("good token", "GET /b", "x-api-key: $GOOD", passes("/b")),
            row(
                "wrong token",
                "GET /c",
                "x-api-key: $UNKNOWN",
                invalid("unknown_key"),
            ),
            row(
                "disabled key",
                "GET /d",
                "x-api-key: $DISABLED",
                invalid("disabled").key("k_disabled"),
            ),
            row(
                "empty is no token",
                "GET /e",
                "x-api-key:",
                passes_as("anonymous", "/e"),
            ),
            row(
                "the anonymous have no identity",
                "GET /f",
                "x-keygate-key-id: k_good",
                passes_as("anonymous", "/f").hides(&["x-keygate-key-id"]),
            ),
        ],
    );
}

#[test]
fn shadow_refuses_nobody_and_records_whom_it_would() {
    let would = |target, reason| passes_as("would_refuse", target).reason(reason);
    play(
        "{mode: shadow, sources: [header: x-api-key, query: key]}",
        &[
            row("no token", "GET /a", "", would("/a", "missing_key")),
            row(
                "good token",
                "GET /b",
                "x-api-key: $GOOD",
                passes("/b").hides(&["x-api-key"]),
            ),
            row(
                "wrong token passes and is stripped",
                "GET /c",
                "x-api-key: $UNKNOWN",
                would("/c", "unknown_key").hides(&["x-api-key"]),
            ),
            row(
                "malformed token",
                "GET /d",
                "x-api-key: a b",
                would("/d", "malformed_key").hides(&["x-api-key"]),
            ),
            row(
                "doubled token",
                "GET /e",
                "x-api-key: $GOOD\nx-api-key: $GOOD",
                would("/e", "duplicate_key").hides(&["x-api-key"]),
            ),
            row(
                "disabled key",
                "GET /f?key=$DISABLED&x=1",
                "",
                would("/f?x=1", "disabled").key("k_disabled"),
            ),
            row(
                "wrong method",
                "DELETE /g",
                "x-api-key: $READER",
                would("/g", "method_not_allowed").key("k_reader"),
            ),
            row(
                "who would be refused has no identity",
                "GET /h",
                "x-api-key: $UNKNOWN\nx-keygate-key-id: k_good",
                would("/h", "unknown_key").hides(&["x-keygate-key-id", "x-keygate-key-name"]),
            ),
        ],
    );
}

#[test]
fn nobody_can_forge_an_identity() {
    play(
        "{}",
        &[
            row(
                "the upstream hears who called",
                "GET /a",
                "x-api-key: $GOOD",
                passes("/a").sees(&["x-keygate-key-id: k_good", "x-keygate-key-name: good"]),
            ),
            row(
                "names are percent-encoded",
                "GET /b",
                "x-api-key: $NAMED",
                passes("/b")
                    .key("k_named")
                    .sees(&["x-keygate-key-id: k_named"]),
            ),
            row(
                "forged ones are replaced",
                "GET /c",
                "x-keygate-key-id: k_root\nx-api-key: $GOOD\nX-Keygate-Key-Name: root",
                passes("/c").sees(&["x-keygate-key-id: k_good", "x-keygate-key-name: good"]),
            ),
            row(
                "look-alikes are removed",
                "GET /d",
                "x_keygate_key_id: k_root\nX_Keygate-Key_Name: root\nx-api-key: $GOOD",
                passes("/d").hides(&["x_keygate_key_id", "x_keygate-key_name"]),
            ),
            row(
                "Connection does not remove ours",
                "GET /e",
                "x-api-key: $GOOD\nconnection: x-keygate-key-id, x-keygate-key-name",
                passes("/e").sees(&["x-keygate-key-id: k_good", "x-keygate-key-name: good"]),
            ),
            row(
                "Connection does not hide the token",
                "GET /f",
                "x-api-key: $GOOD\nconnection: x-api-key",
                passes("/f"),
            ),
        ],
    );
    play(
        "{identity: {id: X-Caller, name: X-Caller-Name}}",
        &[row(
            "under configured names",
            "GET /g",
            "x-api-key: $GOOD\nx-caller: root\nx_caller_name: root",
            passes("/g")
                .sees(&["x-caller: k_good", "x-caller-name: good"])
                .hides(&["x_caller_name", "x-keygate-key-id"]),
        )],
    );
}

#[test]
fn a_name_beyond_ascii_reaches_the_upstream_encoded() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).keys(keys()).spawn();
    assert_eq!(keygate.status(NAMED), 200);
    let seen = upstream.seen_at("/probe");
    let name = seen.head.one("x-keygate-key-name").unwrap();
    assert!(name.is_ascii() && name.contains("%C3%BC"), "{name:?}");
    let decoded = percent_encoding::percent_decode_str(name)
        .decode_utf8()
        .unwrap();
    assert_eq!(decoded, "Bücher & más 100%");
}

#[test]
fn dates_are_judged_by_the_clock_at_each_request() {
    let start = Timestamp::parse("2026-11-23T10:00:00Z").unwrap();
    let clock = Clock::by_hand(start);
    let upstream = Upstream::echo();
    let old = crate::harness::sha256(STILL.as_bytes());
    let previous =
        format!(", previous: [{{digest: \"sha256:{old}\", expires_at: 2026-11-23T10:30:00Z}}]");
    let keys = key_file(&[
        entry("expired", EXPIRED, ", expires_at: 2026-11-23T11:00:00Z"),
        entry("future", FUTURE, ", not_before: 2026-11-23T11:00:00Z"),
        entry("rotated", ROTATED, &previous),
    ]);
    let gate = InProcess::start(Setup::of(&upstream).keys(keys), clock.clone());
    let verdicts = || [EXPIRED, FUTURE, ROTATED, STILL].map(|token| gate.status(token));
    assert_eq!(verdicts(), [200, 401, 200, 200], "at ten");
    clock.advance(Duration::from_secs(30 * 60 - 1));
    assert_eq!(
        verdicts(),
        [200, 401, 200, 200],
        "a second before half past"
    );
    clock.advance(Duration::from_secs(1));
    assert_eq!(
        verdicts(),
        [200, 401, 200, 401],
        "at half past the old token is over"
    );
    clock.advance(Duration::from_secs(30 * 60 - 1));
    assert_eq!(verdicts(), [200, 401, 200, 401], "a second before eleven");
    clock.advance(Duration::from_secs(1));
    assert_eq!(verdicts(), [401, 200, 200, 401], "at eleven");
}
