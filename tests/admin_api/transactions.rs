//! `GET /transactions` and what belongs to it: who called what, when, and why it was refused, from the files alone. Pages
//! while the log grows and rotates, every filter, exports, and live streams that never stand in keygate's way.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::session::set_up;
use crate::harness::SOON;
use crate::harness::admin::Admin;
use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;

/// A keygate whose log is rotated every few requests.
fn rotating() -> Running {
    Running::with(|setup| {
        let log = "{rotate: {size: 4KiB}, keep: {size: 64MiB}}";
        setup.set("transactions", log)
    })
}

/// Sends a request for each path, and waits until they are recorded.
fn record(running: &Running, paths: &[String]) {
    let before = running.keygate.transaction_lines().len();
    let mut client = running.keygate.connect();
    for path in paths {
        assert_eq!(client.ask(get(path)).status, 200);
    }
    eventually("they are recorded", SOON, || {
        running.keygate.transaction_lines().len() == before + paths.len()
    });
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("/n/{number:03}")).collect()
}

/// The records of a page, and the page.
#[track_caller]
fn page(running: &Running, query: &str) -> (Vec<Value>, Value) {
    let answer = running.admin.get(&format!("/transactions{query}"));
    let page = answer.expect(200).json();
    let records = page["transactions"].as_array().unwrap().clone();
    (records, page)
}

fn paths(records: &[Value]) -> Vec<String> {
    let path = |record: &Value| record["path"].as_str().unwrap_or_default().to_owned();
    records.iter().map(path).collect()
}

#[test]
fn pages_hold_every_record_once_while_the_log_grows_and_rotates() {
    let running = rotating();
    for tens in 0..5 {
        record(&running, &numbered(tens * 10..tens * 10 + 10));
    }
    assert!(running.keygate.transaction_files().len() > 2);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for round in 0.. {
        let (records, page) = page(&running, &format!("?limit=7{cursor}"));
        seen.extend(paths(&records));
        assert_eq!(
            (&page["skipped"], &page["unreadable"]),
            (&json!(0), &json!([]))
        );
        assert_eq!(page["recording"], true);
        assert_eq!(page["searched_to"], records.last().unwrap()["time"]);
        record(&running, &numbered(500 + round * 9..509 + round * 9));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<_> = numbered(0..50).into_iter().rev().collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_record_is_answered_as_it_stands_in_the_log() {
    let running = Running::start();
    record(&running, &numbered(0..1));
    let line = running.keygate.transaction_lines().remove(0);
    let answer = running.admin.get("/transactions").expect(200);
    assert!(answer.text().contains(&line), "{answer:?}");
}

#[test]
fn every_filter_counts() {
    let rules = ", allow: {methods: [GET], paths: [/allowed/**]}";
    let keys = key_file(&[entry("good", GOOD, ""), entry("other", OTHER, rules)]);
    let running = Running::with(|setup| setup.keys(keys).set("workers", "1"));
    let gate = &running.keygate;
    gate.ask(request(
        "GET /a/first",
        "x-request-id: first-id\r\nuser-agent: Finder/7\r\n",
    ));
    gate.ask(request("POST /a/items/second", "content-length: 0\r\n"));
    gate.ask(get("/forbidden").replace(GOOD, OTHER));
    gate.ask("GET /nobody HTTP/1.1\r\nhost: app\r\n\r\n");
    eventually("they are recorded", SOON, || {
        gate.transaction_lines().len() == 4
    });
    let all = ["/nobody", "/forbidden", "/a/items/second", "/a/first"];
    for (query, expected) in [
        ("", &all[..]),
        ("?key=good", &all[2..]),
        ("?key=k_other", &all[1..2]),
        ("?key=goo", &[]),
        ("?decision=refused", &all[..2]),
        ("?reason=path_not_allowed", &all[1..2]),
        ("?status=401", &all[..1]),
        ("?status=2xx&method=POST", &all[2..3]),
        ("?path=/a/", &all[2..]),
        ("?path=/a/*/second", &all[2..3]),
        ("?client=127.0.0.0/8", &all),
        ("?client=10.0.0.1", &[]),
        ("?since=1h", &all),
        ("?until=1h", &[]),
        ("?request_id=first-id", &all[3..]),
        ("?search=fINDER", &all[3..]),
        ("?key=good&decision=refused", &[]),
        ("?key=&search=", &all),
    ] {
        assert_eq!(paths(&page(&running, query).0), expected, "{query}");
    }
}

#[test]
fn a_filter_that_makes_no_sense_is_told_what_is_allowed() {
    let running = Running::start();
    for (query, said) in [
        ("status=9xx", "`status`: expected a status such as 404"),
        ("decision=refuse", "did you mean refused?"),
        ("reason=bad", "`reason`: expected one of missing_key"),
        ("method=get", "`method`: expected a method"),
        ("client=10.0.0.1/8", "the network is 10.0.0.0/8"),
        ("since=soon", "`since`: expected a date"),
        ("until=1", "such as 1h"),
        ("limit=0", "`limit`: expected a whole number from 1 to 200"),
        ("cursor=x", "`cursor`: expected next_cursor as it was given"),
        ("colour=red", "known are key, decision"),
        ("key=a&key=b", "`key`: expected once"),
    ] {
        let problem = running
            .admin
            .get(&format!("/transactions?{query}"))
            .refused(400, "malformed_request");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{query}: {detail}");
    }
    for path in [
        "/transactions/stream?last_event_id=x",
        "/transactions:export?format=xml",
    ] {
        running.admin.get(path).refused(400, "malformed_request");
    }
    for path in ["", "/some-id", "/stream", ":export"] {
        let path = format!("/transactions{path}");
        let nobody = running.keygate.nobody();
        nobody.get(&path).refused(401, "setup_required");
    }
}

#[test]
fn from_a_request_id_to_why_it_was_refused() {
    let keys = key_file(&[
        entry("good", GOOD, ", enabled: false"),
        entry("other", OTHER, ""),
    ]);
    // One worker, whose records are in the order of the requests' ends.
    let running = Running::with(|setup| setup.keys(keys).set("workers", "1"));
    for (id, token) in [
        ("id-off", GOOD),
        ("id-on", OTHER),
        ("id-unknown", "kg_test_unknown_1rR2"),
    ] {
        let asked = request("GET /why", &format!("x-request-id: {id}\r\n"));
        running.keygate.ask(asked.replace(GOOD, token));
    }
    running
        .keygate
        .ask(request("GET /again", "x-request-id: id-off\r\n"));
    eventually("they are recorded", SOON, || {
        running.keygate.transaction_lines().len() == 4
    });
    let why = |id: &str| {
        running
            .admin
            .get(&format!("/transactions/{id}"))
            .expect(200)
            .json()
    };
    let outcome = |why: &Value, name: &str| {
        let checks = why["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap()
            .clone()
    };

    let off = why("id-off");
    assert_eq!(
        (&off["transaction"]["path"], &off["others"]),
        (&json!("/again"), &json!(1))
    );
    assert_eq!(outcome(&off, "key_known")["result"], "passed");
    let failed = outcome(&off, "key_enabled");
    assert_eq!(failed["result"], "failed");
    assert_eq!(
        failed["detail"],
        "the key \"good\" (k_good) is switched off: enable it, or use another key"
    );
    assert_eq!(outcome(&off, "network")["result"], "not_reached");

    let on = why("id-on");
    for check in on["checks"].as_array().unwrap() {
        assert_eq!(check["result"], "passed", "{check}");
    }
    let unknown = outcome(&why("id-unknown"), "key_known");
    let print = why("id-unknown")["transaction"]["token_fingerprint"].clone();
    assert!(
        unknown["detail"]
            .as_str()
            .unwrap()
            .contains(print.as_str().unwrap())
    );
    running
        .admin
        .get("/transactions/nobody's")
        .refused(404, "transaction_not_found");
}

#[test]
fn an_export_has_all_that_match_and_is_noted() {
    let running = rotating();
    record(&running, &numbered(0..40));
    running
        .keygate
        .ask(request("GET /formula", "user-agent: =1+1\r\n"));
    eventually("it is recorded", SOON, || {
        running.keygate.transaction_lines().len() == 41
    });
    let export = |query: &str| {
        running
            .admin
            .get(&format!("/transactions:export{query}"))
            .expect(200)
    };

    let answer = export("");
    assert_eq!(
        answer.head.one("content-type"),
        Some("application/x-ndjson")
    );
    let attachment = "attachment; filename=\"transactions.ndjson\"";
    assert_eq!(answer.head.one("content-disposition"), Some(attachment));
    let mut lines: Vec<_> = answer.text().lines().map(str::to_owned).collect();
    lines.reverse();
    assert_eq!(lines, running.keygate.transaction_lines());

    assert_eq!(
        export("?path=/n/01&format=ndjson").text().lines().count(),
        10
    );
    let table = export("?format=csv").text();
    assert!(table.starts_with("time,lost,request_id,"), "{table}");
    assert_eq!(table.lines().count(), 42);
    assert!(table.contains(",'=1+1,"), "{table}");
    assert_eq!(
        export("?format=csv&key=nobody&search=secret")
            .text()
            .lines()
            .count(),
        1
    );

    let events = running
        .admin
        .get("/audit?action=transactions.exported")
        .expect(200)
        .json();
    let events = events["events"].as_array().unwrap();
    assert_eq!(events.len(), 4);
    assert_eq!(events[0]["detail"], "key=nobody, search=…");
}

#[test]
fn without_recording_there_are_pages_that_say_so() {
    let running = Running::with(|setup| setup.set("transactions", "{enabled: false}"));
    let (records, page) = page(&running, "");
    assert!(records.is_empty());
    assert_eq!(page["recording"], false);
    assert!(page["searched_to"].is_null() && page["next_cursor"].is_null());
}

#[test]
fn what_cannot_be_read_is_named_and_never_fails_a_page() {
    let running = rotating();
    record(&running, &numbered(0..10));
    let file = running
        .keygate
        .transactions_folder()
        .join("transactions-20200101T000000.000000Z.ndjson");
    crate::harness::setup::write_in_place(&file, "no line\n\0\0\0\n");
    let (records, page) = page(&running, "");
    assert_eq!((records.len(), &page["skipped"]), (10, &json!(2)));
    fs::remove_file(file).unwrap();
}

/// An open stream.
struct Stream {
    client: Client,
    text: String,
}

/// What came on a stream.
#[derive(Debug, Default)]
struct Sent {
    id: String,
    event: String,
    data: String,
}

impl Stream {
    #[track_caller]
    fn open(admin: &Admin, query: &str, last_event_id: Option<&str>) -> Self {
        let mut request = admin.get(&format!("/transactions/stream{query}"));
        if let Some(id) = last_event_id {
            request = request.with("last-event-id", id);
        }
        let mut client = Client::connect(admin.address());
        client.send(request.bytes());
        let head = client.reader().head().unwrap();
        assert_eq!(head.second(), "200", "{head:?}");
        assert_eq!(head.one("content-type"), Some("text/event-stream"));
        assert_eq!(head.one("cache-control"), Some("no-store"));
        Self {
            client,
            text: String::new(),
        }
    }

    /// Reads one chunk more; false at the end of the stream.
    fn more(&mut self, within: Duration) -> bool {
        let reader = self.client.reader();
        reader.within(within);
        let Ok(size) = reader.line() else {
            return false;
        };
        let size = usize::from_str_radix(&String::from_utf8(size).unwrap(), 16).unwrap();
        if size == 0 {
            assert_eq!(reader.line().unwrap(), b"", "no trailers");
            return false;
        }
        let bytes = reader.exactly(size + 2).unwrap();
        self.text.push_str(str::from_utf8(&bytes[..size]).unwrap());
        true
    }

    /// The next event with data.
    #[track_caller]
    fn next(&mut self) -> Sent {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut sent = Sent::default();
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => sent.id = id.to_owned(),
                        Some(("event", event)) => sent.event = event.to_owned(),
                        Some(("data", data)) => sent.data = data.to_owned(),
                        _ => {}
                    }
                }
                self.text = rest.to_owned();
                if !sent.data.is_empty() {
                    return sent;
                }
            }
            assert!(self.more(SOON), "the stream ended: {}", self.text);
        }
    }

    /// The path and the id of the next record.
    #[track_caller]
    fn record(&mut self) -> (String, String) {
        let sent = self.next();
        assert_eq!(sent.event, "transaction", "{sent:?}");
        let record: Value = serde_json::from_str(&sent.data).unwrap();
        (record["path"].as_str().unwrap().to_owned(), sent.id)
    }

    #[track_caller]
    fn records(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.record().0).collect()
    }

    /// It must end, and properly.
    #[track_caller]
    fn ends_within(mut self, span: Duration) {
        while self.more(span) {}
        self.client.expect_closed();
    }
}

#[test]
fn a_stream_has_what_is_new_and_goes_on_where_it_was_left() {
    let running = rotating();
    record(&running, &numbered(0..3));
    let mut all = Stream::open(&running.admin, "", None);
    let mut some = Stream::open(&running.admin, "?path=/n/*5", None);
    record(&running, &numbered(3..30));
    let (path, id) = all.record();
    assert_eq!(path, "/n/003");
    assert_eq!(all.records(26), numbered(4..30), "through all rotations");
    assert_eq!(some.records(3), ["/n/005", "/n/015", "/n/025"]);
    drop(all);
    record(&running, &numbered(30..33));
    let mut again = Stream::open(&running.admin, "", Some(&id));
    assert_eq!(again.records(29), numbered(4..33));
    let mut again = Stream::open(
        &running.admin,
        &format!("?last_event_id={id}&search=/N/03"),
        None,
    );
    assert_eq!(again.records(3), numbered(30..33));
}

#[test]
fn a_stream_says_where_records_may_be_missing() {
    let running = rotating();
    let mut stream = Stream::open(&running.admin, "", None);
    for tens in 0..4 {
        record(&running, &numbered(tens * 10..tens * 10 + 10));
    }
    let (_, id) = stream.record();
    let closed = running.keygate.transaction_files();
    let closed = closed
        .iter()
        .filter(|file| !file.ends_with("transactions.ndjson"));
    closed.for_each(|file| fs::remove_file(file).unwrap());
    let mut again = Stream::open(&running.admin, "", Some(&id));
    assert_eq!(again.next().event, "gap");
    let left = running.keygate.transactions();
    assert_eq!(again.records(left.len()), paths(&left));
}

#[test]
fn streams_are_few_and_do_not_delay_the_stop() {
    let mut running = Running::start();
    let mut streams: Vec<_> = (0..16)
        .map(|_| Stream::open(&running.admin, "", None))
        .collect();
    running
        .admin
        .get("/transactions/stream")
        .refused(429, "too_many_streams");
    streams.pop();
    eventually("a seat is free again", SOON, || {
        let mut client = Client::connect(running.admin.address());
        client.send(running.admin.get("/transactions/stream").bytes());
        client
            .reader()
            .head()
            .is_ok_and(|head| head.second() == "200")
    });
    let begun = std::time::Instant::now();
    running.keygate.signal(Signal::TERM);
    let last = streams.pop().unwrap();
    last.ends_within(SOON);
    assert!(running.keygate.wait().success());
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(6),
        "a stop waits for no stream: {took:?}"
    );
}

#[test]
fn one_who_does_not_read_delays_nobody() {
    let mut running = Running::start();
    let slow = Stream::open(&running.admin, "", None);
    let mut quick = Stream::open(&running.admin, "?path=/last", None);
    let long = format!("/{}", "x".repeat(7_000));
    let many: Vec<_> = (0..1_500).map(|_| long.clone()).collect();
    record(&running, &many);
    record(&running, &["/last".to_owned()]);
    assert_eq!(quick.record().0, "/last");
    drop(quick);
    let begun = std::time::Instant::now();
    running.keygate.signal(Signal::TERM);
    assert!(running.keygate.wait().success());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    drop(slow);
}

#[test]
fn a_stream_shows_that_it_lives_and_ends_with_its_session() {
    let running = Running::start();
    let signed_in = set_up(&running.keygate);
    let mut lives = Stream::open(&running.admin, "", None);
    let ends = Stream::open(&signed_in, "", None);
    signed_in
        .post("/logout")
        .with("origin", &format!("http://{}", running.admin.address()))
        .expect(204);
    // Both come with the next heartbeat, which is every 15 s.
    ends.ends_within(Duration::from_secs(40));
    while !lives.text.contains(": heartbeat\n") {
        assert!(lives.more(Duration::from_secs(40)), "{}", lives.text);
    }
    record(&running, &numbered(0..1));
    assert_eq!(lives.record().0, "/n/000");
}
