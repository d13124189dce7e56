//! Covers "framing is strict": every way in which a request may be ambiguous or broken is refused, however
//! its bytes arrive and whatever came before it on the connection, and the upstream never hears of it.

mod rows;

use serde_json::Value;

use crate::harness::client::Client;
use crate::harness::keygate::Keygate;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::upstream::Seen;
use crate::harness::upstream::Upstream;
use crate::http1::malformed::rows::Row;
use crate::http1::malformed::rows::Verdict::BadBody;
use crate::http1::malformed::rows::Verdict::Method;
use crate::http1::malformed::rows::all;

/// How a row's bytes are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Whole,
    Bytewise,
    AfterAGoodOne,
}

#[test]
fn rows_are_distinct_and_many() {
    let mut rows = all();
    let count = rows.len();
    assert!(count >= 80, "{count} rows");
    rows.sort_by(|a, b| a.1.cmp(&b.1));
    rows.dedup_by(|a, b| a.1 == b.1);
    assert_eq!(rows.len(), count, "two rows have the same bytes");
    rows.sort_by_key(|row| row.0);
    rows.dedup_by_key(|row| row.0);
    assert_eq!(rows.len(), count, "two rows have the same name");
}

#[test]
fn a_malformed_request_sent_whole_is_refused() {
    play(Sent::Whole);
}

#[test]
fn a_malformed_request_sent_byte_by_byte_is_refused() {
    play(Sent::Bytewise);
}

#[test]
fn a_malformed_request_behind_a_good_one_is_refused_after_it() {
    play(Sent::AfterAGoodOne);
}

fn play(sent: Sent) {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let rows = all();
    // All rows are played before any failure is told: one run shows every gap.
    let mut failures = Vec::new();
    let mut ids = Vec::new();
    for row in &rows {
        match play_row(&keygate, &upstream, row, sent) {
            Ok(id) => ids.push((row, id)),
            Err(what) => failures.push(format!("{}: {what}", row.0)),
        }
    }
    let finished = keygate.finish();
    let whole = |seen: &Seen| seen.complete && seen.head.second() == "/bad";
    if let Some(seen) = upstream.seen().into_iter().find(whole) {
        failures.push(format!("the upstream saw a bad request whole: {seen:?}"));
    }
    for ((name, _, verdict), id) in ids {
        let records: Vec<&Value> = finished
            .transactions
            .iter()
            .filter(|record| record["request_id"] == id.as_str())
            .collect();
        match records.as_slice() {
            [record] => {
                let told = (&record["decision"], &record["reason"], &record["status"]);
                let expected = (
                    &"refused".into(),
                    &verdict.code().into(),
                    &verdict.status().into(),
                );
                // A body is found bad after the key was found good.
                let allowed = *verdict == BadBody && record["decision"] == "allowed";
                if told != expected && !(allowed && record["reason"] == verdict.code()) {
                    failures.push(format!("{name}: recorded as {record}"));
                }
            }
            records => failures.push(format!("{name}: {} records of {id}", records.len())),
        }
    }
    let each = if sent == Sent::AfterAGoodOne { 2 } else { 1 };
    if finished.transactions.len() != rows.len() * each {
        failures.push(format!(
            "{} records for {} requests",
            finished.transactions.len(),
            rows.len() * each
        ));
    }
    assert!(
        failures.is_empty(),
        "{} of {} rows:\n{}",
        failures.len(),
        rows.len(),
        failures.join("\n")
    );
}

/// Sends a row and checks answer and upstream; the request id of the refusal.
fn play_row(
    keygate: &Keygate,
    upstream: &Upstream,
    row: &Row,
    sent: Sent,
) -> Result<String, String> {
    let (_, bytes, verdict) = row;
    let mut client = keygate.connect();
    let (before, bytes_before) = (upstream.count(), upstream.bytes());
    let mut good_bytes = 0;
    match sent {
        Sent::Whole => client.send(bytes),
        Sent::Bytewise => client.send_bytewise(bytes),
        Sent::AfterAGoodOne => {
            let good = crate::harness::requests::get("/good");
            client.send([good.as_bytes(), bytes].concat());
            let response = client
                .try_read("GET")
                .map_err(|failed| format!("the good one: {failed:?}"))?;
            if response.status != 200 {
                return Err(format!("the good one: {response:?}"));
            }
            good_bytes = upstream.seen()[before].head.raw.len() as u64;
        }
    }
    let response = client
        .try_read("GET")
        .map_err(|failed| format!("no answer: {failed:?}"))?;
    if response.status != verdict.status() {
        return Err(format!("answered {response:?}"));
    }
    let problem: Value =
        serde_json::from_slice(&response.body).map_err(|error| error.to_string())?;
    if problem["code"] != verdict.code() {
        return Err(format!("the problem is {problem}"));
    }
    if *verdict != Method {
        expect_end(&mut client, &response)?;
    }
    if *verdict != BadBody && upstream.bytes() != bytes_before + good_bytes {
        return Err(format!(
            "the upstream saw {:?}",
            upstream.seen().split_off(before)
        ));
    }
    problem["request_id"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("no id in {problem}"))
}

fn expect_end(
    client: &mut Client,
    response: &crate::harness::message::Response,
) -> Result<(), String> {
    if !response.head.lists("connection", "close") {
        return Err(format!("does not say that it closes: {response:?}"));
    }
    client
        .reader()
        .closed()
        .map_err(|why| format!("not closed: {why}"))
}

#[test]
fn a_bad_chunk_late_in_a_body_aborts_the_request_at_the_upstream() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(crate::harness::requests::request(
        "POST /late",
        "transfer-encoding: chunked\r\n",
    ));
    client.send("5\r\nhello\r\n");
    upstream.wait_for("the first chunk is at the upstream", 0, |seen| {
        seen.body == b"hello"
    });
    client.send("zz\r\n");
    let seen = upstream.wait_for("the request is aborted", 0, |seen| seen.broken);
    assert!(
        !seen.complete,
        "the upstream must not take the request for whole"
    );
    assert_eq!(client.read("POST").status, 400);
    client.expect_closed();
    let record = keygate.transaction_of("/late");
    assert_eq!(record["reason"], "bad_request", "{record}");
}

#[test]
fn a_body_that_ends_too_soon_aborts_the_request_at_the_upstream() {
    for (name, fields, part) in [
        ("by length", "content-length: 10\r\n", "hello"),
        ("by chunks", "transfer-encoding: chunked\r\n", "a\r\nhello"),
        (
            "before the last chunk",
            "transfer-encoding: chunked\r\n",
            "5\r\nhello\r\n",
        ),
        (
            "before the last empty line",
            "transfer-encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n",
        ),
    ] {
        let upstream = Upstream::echo();
        let keygate = Setup::of(&upstream).spawn();
        let mut client = keygate.connect();
        client.send(crate::harness::requests::request("POST /short", fields));
        client.send(part);
        upstream.wait_for("the part is at the upstream", 0, |seen| {
            seen.body == b"hello"
        });
        drop(client);
        let seen = upstream.wait_for("the request is aborted", 0, |seen| {
            seen.broken || seen.complete
        });
        assert!(
            !seen.complete,
            "{name}: the upstream took half a request for whole"
        );
        let record = keygate.transaction_of("/short");
        assert_eq!(record["end"], "client_gone", "{name}: {record}");
    }
}

#[test]
fn nothing_behind_a_refused_request_is_read() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    let bad = crate::harness::requests::request("GET /bad", "x-a : 1\r\n");
    client.send(format!(
        "{bad}{}",
        crate::harness::requests::get("/smuggled")
    ));
    assert_eq!(client.read("GET").status, 400);
    client.expect_closed();
    assert_eq!(upstream.bytes(), 0);
    assert_eq!(keygate.finish().transactions.len(), 1);
}

#[test]
fn half_a_head_is_not_forwarded() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(format!(
        "GET /half HTTP/1.1\r\nhost: app\r\nx-api-key: {GOOD}\r\n"
    ));
    client.half_close();
    client.reader().fill().ok();
    drop(client);
    assert_eq!(keygate.status(GOOD), 200);
    assert_eq!(upstream.count(), 1, "only the probe");
    let finished = keygate.finish();
    assert_eq!(
        finished.transactions.len(),
        2,
        "a head that was begun is recorded: {:#?}",
        finished.transactions
    );
}

#[test]
fn a_slow_head_times_out() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("timeouts", "{header: 300ms, idle: 20s}")
        .spawn();
    let mut client = keygate.connect();
    client.send("GET /slow HTTP/1.1\r\nhost: a");
    let response = client.read("GET");
    assert_eq!(response.status, 408, "{response:?}");
    client.expect_closed();
    let record = keygate.transaction("the slow head", |record| {
        record["reason"] == "request_timeout"
    });
    assert_eq!(
        (&record["decision"], &record["status"]),
        (&"refused".into(), &408.into()),
        "{record}"
    );
    assert_eq!(upstream.bytes(), 0);
}

#[test]
fn upgrades_to_http_2_are_not_forwarded() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    let response = client.ask(crate::harness::requests::request(
        "GET /h2c",
        "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
    ));
    assert_eq!(response.status, 200, "{response:?}");
    let seen = upstream.seen_at("/h2c");
    for field in ["upgrade", "http2-settings", "connection"] {
        assert!(!seen.head.has(field), "{field}: {:?}", seen.head);
    }
    assert_eq!(
        client.ask(crate::harness::requests::get("/next")).status,
        200
    );
}
