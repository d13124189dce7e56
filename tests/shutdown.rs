//! Covers "SIGTERM loses nobody": what has begun is finished, new connections are turned away in order, the
//! log is whole, a second signal ends at once; and that two keygates never share a data folder or a port.

use std::fs;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::gate::OpenOnDrop;
use crate::harness::keygate::Keygate;
use crate::harness::keygate::binary;
use crate::harness::keygate::command;
use crate::harness::requests::get;
use crate::harness::requests::post;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::setup::write_in_place;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;

/// A keygate with one request held at its upstream.
fn with_a_request_in_flight(timeouts: &str) -> (Keygate, Upstream, Client, Gate) {
    let gate = Gate::new();
    let upstream = Upstream::slow(gate.clone());
    let keygate = Setup::of(&upstream).set("timeouts", timeouts).spawn();
    let mut client = keygate.connect();
    client.send(get("/in-flight"));
    upstream.wait_for("the request is at the upstream", 0, |_| true);
    (keygate, upstream, client, gate)
}

/// Waits until nobody accepts any more.
#[track_caller]
fn expect_no_listener(keygate: &Keygate) {
    eventually("the listener is closed", SOON, || {
        Client::try_connect(keygate.address()).is_err()
    });
}

#[test]
fn an_idle_keygate_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let upstream = Upstream::echo();
        let mut keygate = Setup::of(&upstream).spawn();
        let begun = Instant::now();
        keygate.signal(signal);
        assert_eq!(keygate.wait().code(), Some(0));
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn a_request_in_flight_is_answered_and_recorded() {
    let (mut keygate, _upstream, mut client, gate) = with_a_request_in_flight("{drain: 20s}");
    keygate.signal(Signal::TERM);
    expect_no_listener(&keygate);
    gate.open();
    let response = client.read("GET");
    assert_eq!((response.status, response.text().as_str()), (200, "slow"));
    client.expect_closed();
    assert_eq!(keygate.wait().code(), Some(0));
    let records = keygate.transactions();
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_eq!(
        (&records[0]["status"], &records[0]["end"]),
        (&200.into(), &"complete".into())
    );
}

#[test]
fn a_slow_upload_is_taken_to_its_end() {
    let upstream = Upstream::echo();
    let mut keygate = Setup::of(&upstream).set("timeouts", "{drain: 20s}").spawn();
    let mut client = keygate.connect();
    client.send(request("POST /upload", "content-length: 10\r\n"));
    client.send("hello");
    upstream.wait_for("the first half", 0, |seen| seen.body == b"hello");
    keygate.signal(Signal::TERM);
    expect_no_listener(&keygate);
    client.send("world");
    let response = client.read("POST");
    assert_eq!(response.json()["body_bytes"], 10);
    assert!(response.head.lists("connection", "close"), "{response:?}");
    client.expect_closed();
    assert_eq!(keygate.wait().code(), Some(0));
}

#[test]
fn a_slow_download_is_given_to_its_end() {
    let gate = Gate::new();
    let go = gate.clone();
    let upstream = Upstream::scripted(move |turn| {
        turn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")?;
        go.wait();
        turn.send("world")?;
        Ok(Next::Keep)
    });
    let mut keygate = Setup::of(&upstream).set("timeouts", "{drain: 20s}").spawn();
    let mut client = keygate.connect();
    client.send(get("/download"));
    assert_eq!(client.reader().head().unwrap().second(), "200");
    assert_eq!(client.reader().exactly(5).unwrap(), b"hello");
    keygate.signal(Signal::TERM);
    expect_no_listener(&keygate);
    gate.open();
    assert_eq!(client.reader().exactly(5).unwrap(), b"world");
    client.expect_closed();
    assert_eq!(keygate.wait().code(), Some(0));
}

#[test]
fn an_idle_connection_may_send_one_more_request() {
    let (mut keygate, _upstream, mut held, gate) = with_a_request_in_flight("{drain: 20s}");
    let mut idle = keygate.connect();
    assert_eq!(
        idle.ask("GET /idle HTTP/1.1\r\nhost: app\r\n\r\n").status,
        401
    );
    keygate.signal(Signal::TERM);
    expect_no_listener(&keygate);
    // Sent when the client could not know: it is answered, and told to go.
    let response = idle.ask("GET /late HTTP/1.1\r\nhost: app\r\n\r\n");
    assert_eq!(response.status, 401, "{response:?}");
    assert!(response.head.lists("connection", "close"), "{response:?}");
    idle.expect_closed();
    gate.open();
    assert_eq!(held.read("GET").status, 200);
    assert_eq!(keygate.wait().code(), Some(0));
    assert_eq!(keygate.transactions().len(), 3);
}

#[test]
fn an_idle_connection_that_says_nothing_is_closed() {
    let upstream = Upstream::echo();
    let mut keygate = Setup::of(&upstream)
        .set("timeouts", "{drain: 20s, idle: 60s}")
        .spawn();
    let mut idle = keygate.connect();
    assert_eq!(idle.ask(get("/a")).status, 200);
    let begun = Instant::now();
    keygate.signal(Signal::TERM);
    idle.expect_closed();
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "closed after {:?}",
        begun.elapsed()
    );
    assert_eq!(keygate.wait().code(), Some(0));
}

#[test]
fn not_ready_comes_before_not_accepting() {
    let upstream = Upstream::echo();
    let mut keygate = Setup::of(&upstream)
        .set("timeouts", "{drain_delay: 2s, drain: 10s}")
        .spawn();
    assert_eq!(keygate.telemetry("/readyz").status, 200);
    let begun = Instant::now();
    keygate.signal(Signal::TERM);
    eventually("not ready", SOON, || {
        keygate.telemetry("/readyz").status == 503
    });
    let ready = keygate.telemetry("/readyz");
    assert!(
        ready.text().contains("drain"),
        "/readyz tells why: {ready:?}"
    );
    assert_eq!(
        keygate.telemetry("/livez").status,
        200,
        "not ready is not dead"
    );
    assert_eq!(
        keygate.status(GOOD),
        200,
        "still serving while the load balancer learns of it"
    );
    expect_no_listener(&keygate);
    assert!(
        begun.elapsed() >= Duration::from_millis(1_900),
        "closed after {:?}",
        begun.elapsed()
    );
    assert_eq!(keygate.wait().code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let (mut keygate, _upstream, _client, gate) = with_a_request_in_flight("{drain: 60s}");
    let _open = OpenOnDrop(gate);
    keygate.signal(Signal::TERM);
    expect_no_listener(&keygate);
    assert!(!keygate.has_exited(), "the request in flight is waited for");
    let begun = Instant::now();
    keygate.signal(Signal::TERM);
    keygate.wait();
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn what_outlasts_the_deadline_is_cut_and_recorded() {
    let (mut keygate, _upstream, mut client, gate) = with_a_request_in_flight("{drain: 1s}");
    let _open = OpenOnDrop(gate);
    let begun = Instant::now();
    keygate.signal(Signal::TERM);
    // An answer that says so, or a cut; not the answer of the upstream, which never came.
    if let Ok(response) = client.try_read("GET") {
        assert!(response.status >= 500, "{response:?}");
    }
    keygate.wait();
    assert!(
        begun.elapsed() >= Duration::from_millis(900),
        "not before its time: {:?}",
        begun.elapsed()
    );
    let records = keygate.transactions();
    assert_eq!(
        records.len(),
        1,
        "what is cut is recorded too: {records:#?}"
    );
}

#[test]
fn a_tunnel_does_not_hold_the_end_up() {
    let upstream = Upstream::scripted(|turn| {
        turn.send(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n",
        )?;
        turn.waits_for_close(SOON);
        Ok(Next::Close)
    });
    let mut keygate = Setup::of(&upstream).set("timeouts", "{drain: 1s}").spawn();
    let mut client = keygate.connect();
    client.send(request(
        "GET /ws",
        "connection: upgrade\r\nupgrade: websocket\r\n",
    ));
    assert_eq!(client.reader().head().unwrap().second(), "101");
    keygate.signal(Signal::TERM);
    client.expect_closed();
    keygate.wait();
    assert_eq!(keygate.transactions().len(), 1);
}

#[test]
fn pipelined_requests_that_have_arrived_are_answered() {
    let (mut keygate, upstream, mut client, gate) = with_a_request_in_flight("{drain: 20s}");
    client.send(get("/behind"));
    keygate.signal(Signal::TERM);
    expect_no_listener(&keygate);
    gate.open();
    assert_eq!(client.read("GET").status, 200);
    assert_eq!(client.read("GET").status, 200, "its head had arrived");
    client.expect_closed();
    assert_eq!(keygate.wait().code(), Some(0));
    assert_eq!((keygate.transactions().len(), upstream.count()), (2, 2));
}

#[test]
fn every_answered_request_of_a_busy_keygate_is_recorded() {
    let upstream = Upstream::echo();
    let mut keygate = Setup::of(&upstream).spawn();
    let address = keygate.address();
    let answered: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|index| {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let mut answered = 0;
                    loop {
                        client.send(get(&format!("/{index}/{answered}")));
                        match client.try_read("GET") {
                            Ok(response) => {
                                assert_eq!(response.status, 200, "{response:?}");
                                answered += 1;
                                if response.head.lists("connection", "close") {
                                    return answered;
                                }
                            }
                            Err(failed) => {
                                // Closed between two requests is an end; half an answer is not.
                                assert!(failed.head.is_none(), "cut: {failed:?}");
                                return answered;
                            }
                        }
                    }
                })
            })
            .collect();
        eventually("traffic flows", SOON, || upstream.count() > 500);
        keygate.signal(Signal::TERM);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum()
    });
    assert_eq!(keygate.wait().code(), Some(0));
    assert_eq!(
        keygate.transactions().len(),
        answered,
        "as many lines as answers"
    );
}

#[test]
fn drain_by_command_is_the_same_as_by_signal() {
    let (mut keygate, _upstream, mut client, gate) = with_a_request_in_flight("{drain: 20s}");
    // The command asks where the configuration says that telemetry is.
    let config = keygate.folder().join("for-drain.yaml");
    let telemetry = keygate.telemetry.unwrap();
    write_in_place(
        &config,
        format!(
            "version: 1\nupstream: http://127.0.0.1:1\ntelemetry: {{listen: \"{telemetry}\"}}\n"
        ),
    );
    let healthy = command(binary())
        .arg("healthcheck")
        .arg("--config")
        .arg(&config)
        .stdout(Stdio::null())
        .status();
    assert_eq!(healthy.unwrap().code(), Some(0));
    let drain = command(binary())
        .arg("drain")
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    assert!(drain.status.success(), "{drain:?}");
    expect_no_listener(&keygate);
    let healthy = command(binary())
        .arg("healthcheck")
        .arg("--config")
        .arg(&config)
        .output();
    assert_eq!(
        healthy.unwrap().status.code(),
        Some(1),
        "not ready while draining"
    );
    gate.open();
    assert_eq!(client.read("GET").status, 200);
    assert_eq!(keygate.wait().code(), Some(0));
}

#[test]
fn a_page_in_a_browser_cannot_begin_the_drain() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let response = keygate.telemetry("/drain");
    assert!(response.status >= 400, "GET changes nothing: {response:?}");
    assert_eq!(keygate.telemetry("/readyz").status, 200);
}

#[test]
fn a_client_that_goes_in_the_middle_of_an_answer_is_recorded() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::scripted(move |turn| {
        turn.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")?;
        gate.wait();
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    client.send(get("/gone"));
    assert_eq!(client.reader().head().unwrap().second(), "200");
    client.reset();
    let record = keygate.transaction_of("/gone");
    assert_eq!(
        (&record["end"], &record["status"]),
        (&"client_gone".into(), &200.into()),
        "{record}"
    );
}

#[test]
fn sigkill_loses_only_what_is_fresh() {
    let upstream = Upstream::echo();
    let mut keygate = Setup::of(&upstream).spawn();
    for index in 0..50 {
        assert_eq!(keygate.ask(get(&format!("/{index}"))).status, 200);
    }
    eventually("all 50 are written", SOON, || {
        keygate.transaction_lines().len() == 50
    });
    assert_eq!(keygate.ask(get("/fresh")).status, 200);
    keygate.signal(Signal::KILL);
    keygate.wait();
    let records = keygate.transactions();
    assert!(
        records.len() == 50 || records.len() == 51,
        "{}",
        records.len()
    );
}

#[test]
fn the_data_folder_has_one_owner() {
    let upstream = Upstream::echo();
    let first = Setup::of(&upstream).spawn();
    let folder = first.folder().join("data");
    let second = Setup::of(&upstream).set("data_dir", folder.display().to_string());
    let mut second = Keygate::launch(second);
    assert_eq!(second.wait().code(), Some(1));
    let pid = first.pid().to_string();
    let log = second.log();
    assert!(log.contains(&pid), "the owner's pid {pid} is named: {log}");
    assert!(log.contains("data"), "the folder is named: {log}");
    assert_eq!(first.status(GOOD), 200, "the first one lives on");
    drop(first);
    let third = Setup::of(&upstream).set(
        "data_dir",
        tempfile::tempdir().unwrap().path().display().to_string(),
    );
    drop(third.spawn());
}

#[test]
fn the_data_folder_is_free_again_after_a_kill() {
    let upstream = Upstream::echo();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let mut first = Setup::of(&upstream).set("data_dir", data.clone()).spawn();
    first.signal(Signal::KILL);
    first.wait();
    let second = Setup::of(&upstream).set("data_dir", data).spawn();
    assert_eq!(second.status(GOOD), 200);
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let upstream = Upstream::echo();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (name, setup) in [
        (
            "listen",
            Setup::of(&upstream).set("listen", address.clone()),
        ),
        (
            "telemetry",
            Setup::of(&upstream).set("telemetry", format!("{{listen: \"{address}\"}}")),
        ),
    ] {
        let mut keygate = Keygate::launch(setup);
        assert_eq!(keygate.wait().code(), Some(1), "{name}");
        let log = keygate.log();
        assert!(
            log.contains(&address) && log.contains("error"),
            "{name}: {log}"
        );
        assert!(
            !log.contains("listening on"),
            "{name}: nothing was started: {log}"
        );
    }
}

#[test]
fn a_port_of_another_keygate_is_taken_too() {
    let upstream = Upstream::echo();
    let first = Setup::of(&upstream).spawn();
    let address = first.address().to_string();
    let mut second = Keygate::launch(Setup::of(&upstream).set("listen", address.clone()));
    assert_eq!(second.wait().code(), Some(1));
    assert!(second.log().contains(&address), "{}", second.log());
    assert_eq!(first.status(GOOD), 200);
}

#[test]
fn a_unix_socket_left_behind_does_not_stop_a_start() {
    let upstream = Upstream::echo();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("keygate.sock");
    let listen = format!("\"unix:{}\"", socket.display());
    let mut first = Keygate::launch(Setup::of(&upstream).set("listen", listen.clone()));
    eventually("the socket is there", SOON, || socket.exists());
    eventually("it listens", SOON, || first.log().contains("listening on"));
    first.signal(Signal::KILL);
    first.wait();
    assert!(socket.exists());
    let mut second = Keygate::launch(Setup::of(&upstream).set("listen", listen));
    eventually("the next one serves", SOON, || {
        second.has_exited() || second.log().contains("listening on")
    });
    assert_eq!(
        Client::connect_unix(&socket).ask(post("/u", b"x")).status,
        200
    );
    second.signal(Signal::TERM);
    assert_eq!(second.wait().code(), Some(0));
    assert!(!socket.exists(), "an orderly end takes the socket away");
}

#[test]
fn a_bad_key_file_stops_a_start() {
    let upstream = Upstream::echo();
    for (name, keys) in [
        ("empty", ""),
        ("no keys", "version: 1\n"),
        ("syntax", "version: 1\nkeys: [\n"),
        ("unknown field", "version: 1\nkeys: []\ncolour: red\n"),
        (
            "bad digest",
            "version: 1\nkeys:\n  - {name: a, digest: sha256:zz}\n",
        ),
    ] {
        let mut keygate = Keygate::launch(Setup::of(&upstream).keys(keys));
        assert_eq!(keygate.wait().code(), Some(2), "{name}");
        let log = keygate.log();
        assert!(log.contains("keys.yaml"), "{name}: {log}");
        assert!(!log.contains("listening on"), "{name}: {log}");
    }
    let mut keygate = Keygate::launch(Setup::of(&upstream).no_key_file());
    assert_eq!(
        keygate.wait().code(),
        Some(2),
        "a named file that is absent"
    );
}

#[test]
fn a_default_key_file_is_made_empty() {
    let upstream = Upstream::echo();
    let setup = Setup::of(&upstream).set("keys", "{}").no_key_file();
    let keygate = setup.spawn();
    assert_eq!(
        keygate.status(GOOD),
        401,
        "no keys yet: all requests are refused"
    );
    let made = keygate.folder().join("data").join("keys.yaml");
    let text = fs::read_to_string(&made).unwrap();
    assert!(text.contains("keys: []"), "{text:?}");
    crate::harness::setup::write_by_rename(&made, crate::harness::setup::usual_keys());
    eventually("the first key passes", SOON, || keygate.status(GOOD) == 200);
}
