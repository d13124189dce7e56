//! Promise: `keygate transactions` answers "who called what, when, and why was it refused" from the files of the log,
//! whether or not keygate runs. Records go to stdout, everything else to stderr, and nothing in a record acts on a
//! terminal.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;

use crate::config::Place;
use crate::config::Said;
use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::keygate::binary;
use crate::harness::keygate::command;
use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

/// A log that nobody writes: records of the numbers 0 to 59, a minute apart, in three files.
fn place() -> Place {
    let place = Place::new();
    for (name, numbers) in [
        ("transactions-20261125T101959.000000Z.ndjson", 0..20),
        ("transactions-20261125T103959.000000Z.ndjson", 20..40),
        ("transactions.ndjson", 40..60),
    ] {
        let text: String = numbers.map(|number| line(number) + "\n").collect();
        place.write(&format!("keygate-data/transactions/{name}"), &text);
    }
    place
}

fn line(number: usize) -> String {
    let (decision, more, status) = match number % 10 {
        7 => ("refused", r#","reason":"path_not_allowed""#, 403),
        _ => ("allowed", "", 200),
    };
    format!(
        r#"{{"time":"2026-11-25T10:{number:02}:00.000000Z","request_id":"r-{number}","decision":"{decision}"{more},"key_id":"k_1","key_name":"billing","client_ip":"10.0.0.1","method":"GET","scheme":"http","host":"app","path":"/n/{number}","protocol":"HTTP/1.1","status":{status},"request_bytes":0,"response_bytes":1,"duration_us":1500,"user_agent":"\u009b2J\u202e","end":"complete"}}"#
    )
}

#[track_caller]
fn ok(place: &Place, arguments: &[&str]) -> Said {
    let said = place.keygate(&[&["transactions"], arguments].concat());
    assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.stderr);
    said
}

#[test]
fn the_newest_come_first_as_lines_that_fit() {
    let place = place();
    let said = ok(&place, &[]);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(
        lines[0].starts_with("TIME      STATUS  DECISION"),
        "{}",
        lines[0]
    );
    assert_eq!(lines[1], "2026-11-25 (UTC)");
    assert_eq!(
        lines[2],
        "10:59:00  200     allowed       billing              1.5 ms  GET /n/59"
    );
    assert_eq!(
        lines[4],
        "10:57:00  403     refused       path_not_allowed     1.5 ms  GET /n/57"
    );
    assert_eq!(lines.len(), 2 + 50);
    assert!(lines.iter().all(|line| line.len() <= 80));
    assert!(
        said.stderr.contains("--limit or --all shows more"),
        "{}",
        said.stderr
    );
    let said = ok(&place, &["--all"]);
    assert_eq!((said.stdout.lines().count(), &*said.stderr), (62, ""));
    let said = ok(&place, &["--key", "nobody"]);
    assert_eq!(
        (&*said.stdout, said.stderr.trim_end()),
        ("", "no transactions")
    );
}

#[test]
fn programs_get_json_lines_and_tables() {
    let place = place();
    let said = ok(&place, &["--limit", "3", "--output", "json"]);
    let list: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
    let ids: Vec<_> = list
        .iter()
        .map(|record| record["request_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["r-59", "r-58", "r-57"]);
    assert_eq!(
        ok(&place, &["--key", "x", "--output", "json"]).stdout,
        "[]\n"
    );
    let said = ok(
        &place,
        &["--output", "ndjson", "--decision", "refused", "--all"],
    );
    let expected: String = [57, 47, 37, 27, 17, 7]
        .map(|number| line(number) + "\n")
        .concat();
    assert_eq!(said.stdout, expected, "as they stand in the log");
    let said = ok(
        &place,
        &[
            "--output",
            "csv",
            "--status",
            "4xx",
            "--until",
            "2026-11-25T10:30:00Z",
        ],
    );
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(
        lines[0].starts_with("time,lost,request_id,trace_id,decision"),
        "{}",
        lines[0]
    );
    assert_eq!(lines.len(), 4);
}

#[test]
fn another_folder_may_be_read() {
    let place = place();
    let elsewhere = Place::new();
    let folder = place.path().join("keygate-data/transactions");
    let said = ok(
        &elsewhere,
        &["--dir", folder.to_str().unwrap(), "--path", "/n/3*"],
    );
    assert_eq!(said.stdout.lines().count(), 2 + 11);
    let said = ok(&elsewhere, &[]);
    assert_eq!(said.stderr.trim_end(), "no transactions");
}

#[test]
fn what_makes_no_sense_is_told_what_is_allowed() {
    let place = place();
    for (arguments, said) in [
        (
            &["--status", "9xx"][..],
            "--status: expected a status such as 404",
        ),
        (&["--since", "soon"], "--since: expected a date"),
        (&["--decision", "refuse"], "did you mean refused?"),
        (&["--follow", "--output", "json"], "use --output ndjson"),
        (&["--follow", "--all"], "cannot be used with"),
        (&["--key", "a", "why", "r-1"], "and no filter"),
    ] {
        let found = place.keygate(&[&["transactions"], arguments].concat());
        assert_eq!(found.code, Some(2), "{arguments:?}");
        assert!(
            found.stderr.contains(said),
            "{arguments:?}: {}",
            found.stderr
        );
        assert_eq!(found.stdout, "", "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_read_is_noted() {
    let place = place();
    place.write(
        "keygate-data/transactions/transactions-20200101T000000.000000Z.ndjson",
        "torn\n\0\0\n",
    );
    let said = ok(&place, &["--all"]);
    assert_eq!(said.stdout.lines().count(), 62);
    assert!(
        said.stderr.contains("2 lines of the log are none"),
        "{}",
        said.stderr
    );
}

#[test]
fn why_tells_every_check_and_what_to_do() {
    let place = place();
    let said = ok(&place, &["why", "r-47"]);
    for part in [
        "request:  GET /n/47",
        "key_known        passed       the key \"billing\" (k_1)",
        "path             failed       see below",
        "body             not_reached",
        "path: the key \"billing\" (k_1) may not use /n/47: add a pattern to allow.paths",
    ] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    let folder = place.path().join("keygate-data/transactions");
    let folder = folder.to_str().unwrap();
    let said = ok(&place, &["--output", "json", "--dir", folder, "why", "r-1"]);
    let why: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(why["transaction"]["path"], "/n/1");
    assert_eq!(why["checks"][0]["name"], "head");
    let said = place.keygate(&["transactions", "why", "r-99"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr
            .contains("no record has the request id \"r-99\""),
        "{}",
        said.stderr
    );
}

/// Follows the log of a keygate that runs.
fn follow(keygate: &Keygate, arguments: &[&str]) -> (Command, Vec<String>) {
    let mut command = command(binary());
    command
        .args(["transactions", "--follow", "--config"])
        .arg(keygate.config());
    let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
    (command, arguments)
}

#[test]
fn followers_print_the_last_ten_and_then_each_that_comes() {
    let upstream = Upstream::fast();
    let keygate = Setup::of(&upstream)
        .set(
            "transactions",
            "{rotate: {size: 4KiB}, keep: {size: 64MiB}}",
        )
        .spawn();
    let record = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            assert_eq!(keygate.ask(get(&format!("/n/{number}"))).status, 200);
            eventually("it is recorded", SOON, || {
                let path = format!("\"/n/{number}\"");
                keygate
                    .transaction_lines()
                    .iter()
                    .any(|line| line.contains(&path))
            });
        }
    };
    record(0..25);
    let (mut command, arguments) = follow(&keygate, &["--output", "ndjson"]);
    let mut child = command
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut expect = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            let line = lines.next().unwrap().unwrap();
            let record: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(record["path"], format!("/n/{number}"));
        }
    };
    expect(15..25);
    record(25..50);
    expect(25..50);
    assert!(
        keygate.transaction_files().len() > 3,
        "the log was rotated meanwhile"
    );
    // One whose reader goes away ends by itself.
    drop(lines);
    eventually("it ends", SOON, || {
        keygate.ask(request("GET /more", "").replace(GOOD, "kg_test_unknown_1rR2"));
        child.try_wait().unwrap().is_some()
    });
}
