//! Covers "every request is recorded, with the key that made it": every field of a record, exactly one line
//! for each request however it ends, and every switch of the log.

mod disk;
mod kill;
pub(crate) mod load;
mod waiting;

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::keygate::parse_lines;
use crate::harness::requests::get;
use crate::harness::requests::post;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;

#[test]
fn every_field_is_recorded() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(request(
        "POST /a/b%20c?page=1&limit=2&empty&page=3",
        "user-agent: curl/8.0\r\nx-request-id: id-0001\r\n\
         traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ncontent-length: 5\r\n",
    ));
    client.send("hello");
    let response = client.read("POST");
    let record = keygate.transaction_of("/a/b%20c");
    for (field, expected) in [
        ("request_id", "id-0001"),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
        ("decision", "allowed"),
        ("key_id", "k_good"),
        ("key_name", "good"),
        ("client_ip", "127.0.0.1"),
        ("method", "POST"),
        ("scheme", "http"),
        ("host", "app"),
        ("path", "/a/b%20c"),
        ("query", "page=&limit=&empty&page="),
        ("protocol", "HTTP/1.1"),
        ("user_agent", "curl/8.0"),
        ("end", "complete"),
    ] {
        assert_eq!(record[field], expected, "{field}: {record}");
    }
    assert_eq!(
        record["upstream"],
        upstream.authority().as_str(),
        "{record}"
    );
    assert_eq!(record["status"], 200, "{record}");
    assert_eq!(record["request_bytes"], 5, "{record}");
    assert_eq!(record["response_bytes"], response.body.len(), "{record}");
    let (whole, upstream_us) = (
        record["duration_us"].as_u64().unwrap(),
        record["upstream_us"].as_u64().unwrap(),
    );
    assert!(
        upstream_us > 0 && upstream_us <= whole && whole < 20_000_000,
        "{record}"
    );
    let time = record["time"].as_str().unwrap();
    assert!(
        time.len() == 27 && time.ends_with('Z') && time.starts_with("20"),
        "{record}"
    );
    for absent in [
        "reason",
        "hint",
        "token_fingerprint",
        "grpc_status",
        "error",
    ] {
        assert!(
            record.get(absent).is_none_or(Value::is_null),
            "{absent}: {record}"
        );
    }
}

#[test]
fn every_kind_of_request_makes_one_valid_line() {
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        match turn.head.second() {
            "/cut" => {
                turn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")?;
                Ok(Next::Close)
            }
            "/broken" => Ok(Next::Close),
            "/hang" => {
                turn.waits_for_close(SOON);
                Ok(Next::Close)
            }
            _ => turn.answer("200 OK", "", b"x"),
        }
    });
    let keygate = Setup::of(&upstream)
        .set("timeouts", "{response: 500ms}")
        .spawn();
    let mut expected = 0;
    for bytes in [
        get("/ok"),
        "GET /none HTTP/1.1\r\nhost: app\r\n\r\n".to_owned(),
        get("/unknown").replace(GOOD, "kg_test_unknown_1rR2"),
        get("/bad").replace("host:", "host :"),
        "no http at all\r\n\r\n".to_owned(),
        format!("GET /large HTTP/1.1\r\nx-a: {}\r\n\r\n", "x".repeat(70_000)),
        request("TRACE /trace", ""),
        get("/broken"),
        get("/hang"),
        request("HEAD /head", ""),
        request("GET /grpc", "content-type: application/grpc\r\n")
            .replace(GOOD, "kg_test_unknown_1rR2"),
    ] {
        let mut client = keygate.connect();
        client.send(&bytes);
        let _ = client.try_read(if bytes.starts_with("HEAD") {
            "HEAD"
        } else {
            "GET"
        });
        expected += 1;
    }
    let mut client = keygate.connect();
    client.send(get("/cut"));
    assert!(client.try_read("GET").is_err());
    let mut client = keygate.connect();
    let before = upstream.count();
    client.send(request("POST /gone", "content-length: 10\r\n"));
    upstream.wait_for("the last request", before, |_| true);
    drop(client);
    expected += 2;
    eventually("all are recorded", SOON, || {
        keygate.transaction_lines().len() >= expected
    });
    let records = keygate.finish().transactions;
    assert_eq!(
        records.len(),
        expected,
        "exactly one line a request: {records:#?}"
    );
    let mut ids: Vec<&str> = records
        .iter()
        .map(|record| record["request_id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), expected, "each has an id of its own");
}

#[test]
fn a_connection_that_says_nothing_is_no_transaction() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    drop(keygate.connect());
    let mut client = keygate.connect();
    client.half_close();
    client.expect_closed();
    assert_eq!(keygate.finish().transactions, Vec::<Value>::new());
}

#[test]
fn a_record_is_in_the_file_soon_after_the_request() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    assert_eq!(keygate.ask(get("/soon")).status, 200);
    // Promised are 100 ms; the machine is busy with other tests.
    eventually("the line is in the file", Duration::from_secs(2), || {
        keygate.transaction_lines().len() == 1
    });
}

#[test]
fn the_query_is_recorded_as_configured() {
    let upstream = Upstream::echo();
    let target = "/q?page=1&token=$T&x=a%20b&flag&=v&y=1=2";
    for (setting, expected) in [
        ("names", Some("page=&x=&flag&=&y=")),
        ("full", Some("page=1&x=a%20b&flag&=v&y=1=2")),
        ("none", None),
    ] {
        let keygate = Setup::of(&upstream)
            .set("auth", "{sources: [query: token]}")
            .set("transactions", format!("{{query: {setting}}}"))
            .spawn();
        assert_eq!(keygate.ask(get(&target.replace("$T", GOOD))).status, 200);
        assert_eq!(
            keygate.transaction_of("/q")["query"].as_str(),
            expected,
            "{setting}"
        );
    }
}

#[test]
fn the_address_is_recorded_as_configured() {
    let upstream = Upstream::echo();
    for (setting, v4, v6) in [
        ("full", Some("192.0.2.77"), Some("2001:db8:1:2:3:4:5:6")),
        ("prefix", Some("192.0.2.0/24"), Some("2001:db8:1::/48")),
        ("none", None, None),
    ] {
        let keygate = Setup::of(&upstream)
            .set("forwarded", "{trusted_proxies: [127.0.0.0/8]}")
            .set("transactions", format!("{{client_ip: {setting}}}"))
            .spawn();
        assert_eq!(
            keygate
                .ask(request("GET /v4", "x-forwarded-for: 192.0.2.77\r\n"))
                .status,
            200
        );
        assert_eq!(
            keygate
                .ask(request(
                    "GET /v6",
                    "x-forwarded-for: 2001:db8:1:2:3:4:5:6\r\n"
                ))
                .status,
            200
        );
        let told = |path: &str| {
            keygate.transaction_of(path)["client_ip"]
                .as_str()
                .map(str::to_owned)
        };
        // A prefix may be told with or without its length.
        let same = |told: Option<String>, expected: Option<&str>| {
            told.as_deref() == expected
                || (expected.is_some()
                    && told.as_deref() == expected.and_then(|e| e.split('/').next()))
        };
        assert!(same(told("/v4"), v4), "{setting}: {:?}", told("/v4"));
        assert!(same(told("/v6"), v6), "{setting}: {:?}", told("/v6"));
    }
}

#[test]
fn skipped_paths_are_not_recorded() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("transactions", "{skip_paths: [/health, /static/**]}")
        .spawn();
    let mut client = keygate.connect();
    for path in [
        "/health",
        "/static/a/b",
        "/health?x=1",
        "/healthz",
        "/other",
    ] {
        assert_eq!(client.ask(get(path)).status, 200);
    }
    assert_eq!(
        keygate.metrics().total("keygate_requests_total"),
        5.0,
        "not recorded, but counted"
    );
    let paths: Vec<String> = keygate
        .finish()
        .transactions
        .iter()
        .map(|record| record["path"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(paths, ["/healthz", "/other"]);
}

#[test]
fn a_key_can_be_left_out_of_the_log() {
    let upstream = Upstream::echo();
    let keys = key_file(&[
        entry("good", GOOD, ", record: false"),
        entry("other", OTHER, ""),
    ]);
    let keygate = Setup::of(&upstream).keys(keys).spawn();
    assert_eq!(keygate.ask(get("/quiet")).status, 200);
    assert_eq!(keygate.status(OTHER), 200);
    assert_eq!(keygate.status("kg_test_unknown_1rR2"), 401);
    let metrics = keygate.metrics();
    assert_eq!(metrics.total("keygate_requests_total"), 3.0);
    let records = keygate.finish().transactions;
    assert_eq!(records.len(), 2, "{records:#?}");
    assert!(
        records.iter().all(|record| record["path"] == "/probe"),
        "{records:#?}"
    );
}

#[test]
fn the_log_can_be_switched_off() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("transactions", "{enabled: false}")
        .spawn();
    assert_eq!(keygate.ask(get("/a")).status, 200);
    assert_eq!(keygate.metrics().total("keygate_requests_total"), 1.0);
    assert!(
        keygate.transaction_files().is_empty(),
        "{:?}",
        keygate.transaction_files()
    );
    assert!(keygate.finish().transactions.is_empty());
}

#[test]
fn stdout_is_a_second_sink() {
    let upstream = Upstream::echo();
    let mut keygate = Setup::of(&upstream)
        .set("transactions", "{stdout: true}")
        .spawn();
    for index in 0..10 {
        assert_eq!(keygate.ask(get(&format!("/{index}"))).status, 200);
    }
    keygate.signal(Signal::TERM);
    assert!(keygate.wait().success());
    let mut lines: Vec<String> = keygate.stdout().lines().map(str::to_owned).collect();
    let mut in_file = keygate.transaction_lines();
    lines.sort(); // no order is promised between the lines of two workers
    in_file.sort();
    assert_eq!(lines, in_file, "the same lines on stdout, and nothing else");
    assert_eq!(lines.len(), 10);
}

#[test]
fn the_file_is_rotated_by_size() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set(
            "transactions",
            "{rotate: {size: 16KiB}, keep: {size: 64MiB}}",
        )
        .spawn();
    let mut client = keygate.connect();
    for index in 0..200 {
        assert_eq!(client.ask(get(&format!("/rotate/{index}"))).status, 200);
        if index % 20 == 19 {
            // Let a batch become a write of its own, as it is in a day of traffic.
            eventually("the lines are written", SOON, || {
                keygate.transaction_lines().len() > index
            });
        }
    }
    let files = keygate.transaction_files();
    assert!(files.len() >= 3, "{files:?}");
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(
            name == "transactions.ndjson" || name.starts_with("transactions-2"),
            "{name}"
        );
        assert!(
            fs::metadata(file).unwrap().len() < 48 * 1024,
            "{file:?} is far too large"
        );
    }
    let finished = keygate.finish();
    let paths: Vec<&str> = finished
        .transactions
        .iter()
        .map(|record| record["path"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = (0..200).map(|index| format!("/rotate/{index}")).collect();
    assert_eq!(paths, expected, "no line is lost or doubled between files");
}

#[test]
fn the_file_is_rotated_by_age() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("transactions", "{rotate: {age: 1s}}")
        .spawn();
    let mut client = keygate.connect();
    let mut sent = 0;
    eventually("a second file", SOON, || {
        assert_eq!(client.ask(get(&format!("/age/{sent}"))).status, 200);
        sent += 1;
        keygate.transaction_files().len() > 1
    });
    let records = keygate.finish().transactions;
    assert_eq!(records.len(), sent, "no line is lost between files");
}

#[test]
fn closed_files_are_pruned_by_size() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set(
            "transactions",
            "{rotate: {size: 16KiB}, keep: {size: 48KiB}}",
        )
        .spawn();
    let mut client = keygate.connect();
    for index in 0..400 {
        assert_eq!(client.ask(get(&format!("/prune/{index}"))).status, 200);
        if index % 20 == 19 {
            let last = format!("\"/prune/{index}\"");
            eventually("the lines are written", SOON, || {
                keygate
                    .transaction_lines()
                    .iter()
                    .any(|line| line.contains(&last))
            });
        }
    }
    eventually("old files are deleted", SOON, || {
        let closed = keygate
            .transaction_files()
            .into_iter()
            .filter(|file| !file.ends_with("transactions.ndjson"));
        closed
            .map(|file| fs::metadata(file).map_or(0, |data| data.len()))
            .sum::<u64>()
            <= 48 * 1024
    });
    let last = keygate.finish().transactions.pop().unwrap();
    assert_eq!(last["path"], "/prune/399", "the newest stay");
}

#[test]
fn sigusr1_opens_the_file_anew() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    assert_eq!(keygate.ask(get("/before")).status, 200);
    eventually("the line is written", SOON, || {
        keygate.transaction_lines().len() == 1
    });
    let file = keygate.transactions_folder().join("transactions.ndjson");
    let moved = keygate.folder().join("moved");
    fs::rename(&file, &moved).unwrap();
    keygate.signal(Signal::USR1);
    eventually("a new file is there", SOON, || file.exists());
    assert_eq!(keygate.ask(get("/after")).status, 200);
    assert!(fs::read_to_string(moved).unwrap().contains("/before"));
    let finished = keygate.finish();
    assert_eq!(finished.transactions.len(), 1);
    assert_eq!(finished.transactions[0]["path"], "/after");
}

#[test]
fn a_deleted_folder_comes_back_and_traffic_goes_on() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    assert_eq!(keygate.ask(get("/before")).status, 200);
    eventually("the line is written", SOON, || {
        keygate.transaction_lines().len() == 1
    });
    fs::remove_dir_all(keygate.transactions_folder()).unwrap();
    let mut client = keygate.connect();
    eventually("lines are written again", SOON, || {
        assert_eq!(client.ask(get("/after")).status, 200, "traffic goes on");
        keygate
            .transaction_lines()
            .iter()
            .any(|line| line.contains("/after"))
    });
}

#[test]
fn a_torn_last_line_is_closed_before_the_next() {
    let upstream = Upstream::echo();
    let setup = Setup::of(&upstream);
    let folder = setup.folder.path().join("data").join("transactions");
    fs::create_dir_all(&folder).unwrap();
    crate::harness::setup::write_in_place(
        &folder.join("transactions.ndjson"),
        "{\"time\":\"2026-11-2",
    );
    let keygate = setup.spawn();
    assert_eq!(keygate.ask(get("/whole")).status, 200);
    eventually("the line is written", SOON, || {
        keygate
            .transaction_lines()
            .iter()
            .any(|line| line.contains("/whole"))
    });
    let lines = keygate.transaction_lines();
    let line = lines.iter().find(|line| line.contains("/whole")).unwrap();
    assert_eq!(
        parse_lines(std::slice::from_ref(line))[0]["path"],
        "/whole",
        "{lines:?}"
    );
}

#[test]
fn text_from_outside_cannot_break_a_line() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut bytes =
        format!("GET /x?a=%0a%22 HTTP/1.1\r\nhost: app\r\nx-api-key: {GOOD}\r\nuser-agent: ")
            .into_bytes();
    bytes.extend_from_slice(b"\"},{\"key_id\":\"forged\"\t\xff\xfe\xe2\x80\xa8\\\r\n\r\n");
    assert_eq!(keygate.ask(&bytes).status, 200);
    let long = "u".repeat(5_000);
    let long_path = "/p".repeat(6_000);
    assert_eq!(
        keygate
            .ask(request(
                &format!("GET {long_path}"),
                &format!("user-agent: {long}\r\n")
            ))
            .status,
        200
    );
    let mut records = keygate.finish().transactions;
    assert_eq!(records.len(), 2);
    records.sort_by_key(|record| record["path"].as_str().unwrap().len());
    assert_eq!(records[0]["key_id"], "k_good");
    assert!(
        records[0]["user_agent"]
            .as_str()
            .unwrap()
            .starts_with("\"},{"),
        "{}",
        records[0]
    );
    assert!(
        records[1]["path"].as_str().unwrap().len() <= 8 * 1024,
        "a path is cut at 8 KiB"
    );
    assert!(
        records[1]["user_agent"].as_str().unwrap().len() <= 2 * 1024,
        "other text is cut at 2 KiB"
    );
    assert_eq!(records[1]["truncated"], true);
}

#[test]
fn a_body_that_was_not_read_whole_is_counted_as_far_as_it_was() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    assert_eq!(keygate.ask(post("/whole", &[b'x'; 12_345])).status, 200);
    assert_eq!(keygate.transaction_of("/whole")["request_bytes"], 12_345);
    let mut client = keygate.connect();
    client.send(request("POST /part", "content-length: 100\r\n"));
    client.send(b"0123456789");
    upstream.wait_for("the part is at the upstream", 1, |seen| {
        seen.body.len() == 10
    });
    client.reset();
    let record = keygate.transaction_of("/part");
    assert_eq!(
        (&record["request_bytes"], &record["end"]),
        (&10.into(), &"client_gone".into()),
        "{record}"
    );
    assert!(record["status"].is_null(), "no answer was sent: {record}");
}

#[test]
fn wide_files_are_not_made() {
    use std::os::unix::fs::PermissionsExt;
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    assert_eq!(keygate.ask(get("/mode")).status, 200);
    eventually("the line is written", SOON, || {
        keygate.transaction_lines().len() == 1
    });
    let mode = fs::metadata(&keygate.transaction_files()[0])
        .unwrap()
        .permissions()
        .mode()
        & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
}
