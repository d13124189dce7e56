//! Promise: commands, help and exit codes are those of the README: 0 fine, 1 failed, 2 wrong use or wrong
//! configuration; what was asked for is on stdout, everything else on stderr.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Child;
use std::process::Stdio;
use std::thread;
use std::thread::JoinHandle;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

use crate::config::Place;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

/// A child that does not outlive its test, even a failed one.
struct Running(Child);

impl Running {
    fn terminate(&mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a child's output up to the one that begins with `last`.
fn lines_until(reader: &mut impl BufRead, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(
            reader.read_line(&mut line).unwrap() > 0,
            "no line begins with {last:?}:\n{}",
            lines.join("\n")
        );
        let line = line.trim_end().to_owned();
        let found = line.starts_with(last);
        lines.push(line);
        if found {
            return lines;
        }
    }
}

/// The status of a GET, with these header lines.
fn status_of(url: &str, headers: &str) -> String {
    let (authority, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = TcpStream::connect(authority).unwrap();
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nhost: {authority}\r\n{headers}connection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// A telemetry listener that gives one answer and returns the request's first line.
fn answer_once(answer: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).unwrap(), 1, "the request is cut off");
            request.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    });
    (address, thread)
}

#[test]
fn wrong_use_exits_with_2_and_help_with_0() {
    let place = Place::new();
    let rows: [(&[&str], i32); 9] = [
        (&[], 2),
        (&["rum"], 2),
        (&["run", "--upstrem", "http://app"], 2),
        (&["run", "--token", "secret"], 2),
        (&["run"], 2),
        (&["completions", "tcsh"], 2),
        (&["--help"], 0),
        (&["run", "--help"], 0),
        (&["--version"], 0),
    ];
    for (arguments, code) in rows {
        let said = place.keygate(arguments);
        assert_eq!(
            said.code,
            Some(code),
            "{arguments:?}: {}{}",
            said.stdout,
            said.stderr
        );
        assert_eq!(
            said.stdout.is_empty(),
            code != 0,
            "{arguments:?}: {}",
            said.stdout
        );
    }
}

#[test]
fn help_names_every_command() {
    let help = Place::new().keygate(&["--help"]).stdout;
    for command in [
        "run",
        "demo",
        "init",
        "keys",
        "admin",
        "check",
        "healthcheck",
        "drain",
        "config",
        "completions",
    ] {
        let named = help
            .lines()
            .any(|line| line.trim_start().starts_with(command));
        assert!(named, "no {command} in:\n{help}");
    }
}

#[test]
fn run_without_an_upstream_says_which_flag_is_missing() {
    let said = Place::new().keygate(&["run"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr
            .contains("keygate run --upstream http://127.0.0.1:3000"),
        "{}",
        said.stderr
    );
}

#[test]
fn check_of_a_good_configuration_names_what_it_checked() {
    let place = Place::with("keygate.yaml", "upstream: http://app\n");
    let said = place.keygate(&["check"]);
    assert_eq!(
        (said.code, &*said.stdout),
        (Some(0), "fine: keygate.yaml\n"),
        "{}",
        said.stderr
    );
}

#[test]
fn check_looks_at_the_key_file_even_when_the_config_is_wrong() {
    let place = Place::with("keygate.yaml", "keys: {file: keys.yaml}\n");
    let said = place.keygate(&["check"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("upstream: not set"), "{}", said.stderr);
    assert!(said.stderr.contains("keys.yaml: "), "{}", said.stderr);
}

#[test]
fn a_key_file_is_checked_as_a_key_file() {
    let place = Place::with(
        "some.yaml",
        "version: 1\nkeys:\n  - name: a\n    upstream: b\n",
    );
    let said = place.keygate(&["check", "some.yaml"]);
    assert!(
        !said.stderr.contains("keys do not live in this file"),
        "{}",
        said.stderr
    );
}

#[test]
fn completions_are_for_the_shell_that_is_named() {
    let place = Place::new();
    for (shell, word) in [
        ("bash", "_keygate()"),
        ("zsh", "#compdef keygate"),
        ("fish", "complete -c keygate"),
    ] {
        let said = place.keygate(&["completions", shell]);
        assert_eq!(said.code, Some(0), "{shell}: {}", said.stderr);
        assert!(said.stdout.contains(word), "{shell}: {}", said.stdout);
    }
}

#[test]
fn healthcheck_is_0_when_ready_and_1_with_the_reason_when_not() {
    let place = Place::new();
    let (ready, asked) = answer_once("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n");
    let said = place.keygate_with(
        &[("KEYGATE_TELEMETRY_LISTEN", &ready.to_string())],
        &["healthcheck"],
    );
    assert_eq!(
        (said.code, &*said.stdout),
        (Some(0), "ready\n"),
        "{}",
        said.stderr
    );
    assert!(asked.join().unwrap().starts_with("GET /readyz HTTP/1."));

    let (draining, asked) = answer_once("HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\n");
    let said = place.keygate_with(
        &[("KEYGATE_TELEMETRY_LISTEN", &draining.to_string())],
        &["healthcheck"],
    );
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.starts_with("error: not ready: ") && said.stderr.contains("draining"),
        "{}",
        said.stderr
    );
    asked.join().unwrap();
}

#[test]
fn healthcheck_of_a_keygate_that_does_not_run_is_1() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let place = Place::with("keygate.yaml", &format!("telemetry: {{listen: {free}}}\n"));
    let said = place.keygate(&["healthcheck"]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(
        said.stderr.contains("hint: is keygate running"),
        "{}",
        said.stderr
    );
    place.write("keygate.yaml", "telemetry: {listen: none}\n");
    let said = place.keygate(&["healthcheck"]);
    assert!(
        said.stderr.contains("telemetry.listen is none"),
        "{}",
        said.stderr
    );
}

#[test]
fn drain_is_asked_of_the_telemetry_listener() {
    let (address, asked) = answer_once("HTTP/1.1 202 Accepted\r\n\r\ndraining\n");
    let place = Place::with(
        "keygate.yaml",
        &format!("telemetry: {{listen: {address}}}\n"),
    );
    let said = place.keygate(&["drain"]);
    assert_eq!(
        (said.code, &*said.stdout),
        (Some(0), "draining\n"),
        "{}",
        said.stderr
    );
    assert!(asked.join().unwrap().starts_with("POST /drain HTTP/1."));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::with("keygate.yaml", "upstream: http://app\n");
    let mut command = place.command(&["config", "show", "--origin"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert!(command.stdout(writer).status().unwrap().success());
}

#[test]
fn run_works_with_no_file_and_says_where_it_listens() {
    let place = Place::new();
    let mut command = place.command(&[
        "run",
        "--upstream",
        "http://127.0.0.1:9",
        "--listen",
        "127.0.0.1:0",
    ]);
    command
        .env("KEYGATE_TELEMETRY_LISTEN", "127.0.0.1:0")
        .env("KEYGATE_ADMIN_LISTEN", "127.0.0.1:0")
        .stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut stderr = BufReader::new(running.0.stderr.take().unwrap());
    let lines = lines_until(&mut stderr, "key file ");
    let address = |begins: &str| {
        let line = lines.iter().find_map(|line| line.strip_prefix(begins));
        let address: SocketAddr = line
            .unwrap_or_else(|| panic!("no {begins:?} in {lines:?}"))
            .parse()
            .unwrap();
        assert_ne!(address.port(), 0, "the real port is said");
        address
    };
    address("telemetry on http://");
    let listen = address("listening on http://");
    assert_eq!(
        status_of(&format!("http://{listen}/"), ""),
        "401",
        "there is no key yet"
    );
    assert!(
        lines
            .last()
            .unwrap()
            .ends_with("keygate-data/keys.yaml (no keys yet: all requests are refused)")
    );
    assert!(place.path().join("keygate-data/keys.yaml").exists());
    assert_eq!(running.terminate(), Some(0));
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = Place::new().keygate_with(
        &[
            ("KEYGATE_TELEMETRY_LISTEN", "none"),
            ("KEYGATE_ADMIN_ENABLED", "false"),
        ],
        &[
            "run",
            "--upstream",
            "http://127.0.0.1:9",
            "--listen",
            &address,
        ],
    );
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(
        said.stderr.contains("error: ") && said.stderr.contains(&address),
        "{}",
        said.stderr
    );
}

#[test]
fn the_demo_does_what_it_prints_and_leaves_nothing_behind() {
    let place = Place::new();
    let mut command = place.command(&["demo"]);
    command
        .env("TMPDIR", place.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let mut stdout = BufReader::new(running.0.stdout.take().unwrap());
    let lines = lines_until(&mut stdout, "TIME ");
    let curls: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.trim().strip_prefix("curl -i "))
        .collect();
    let [with_key, without] = curls[..] else {
        panic!("not two curl lines: {lines:?}")
    };
    let (header, url) = with_key
        .strip_prefix("-H '")
        .unwrap()
        .split_once("' ")
        .unwrap();
    assert_eq!(status_of(url, &format!("{header}\r\n")), "200");
    assert_eq!(status_of(without, ""), "401");
    let pages = lines
        .iter()
        .find_map(|line| line.trim().strip_prefix("The pages, in a browser: "));
    let (page, code) = pages.unwrap().split_once('#').unwrap();
    assert_eq!(status_of(page, ""), "200");
    assert!(
        code.starts_with("code=") && code.len() > 20,
        "no code: {} characters",
        code.len()
    );
    let mut transactions = String::new();
    stdout.read_line(&mut transactions).unwrap();
    stdout.read_line(&mut transactions).unwrap();
    assert!(
        transactions.contains("  200     allowed  ")
            && transactions.contains("  401     refused  "),
        "{transactions}"
    );
    assert!(
        transactions.contains(" demo ") && transactions.contains("  GET /hello\n"),
        "{transactions}"
    );
    assert_eq!(running.terminate(), Some(0));
    let left: Vec<_> = fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn healthcheck_and_drain_work_on_a_keygate_that_runs() {
    let upstream = Upstream::echo();
    let mut keygate = Setup::of(&upstream).spawn();
    let telemetry = keygate.telemetry.unwrap().to_string();
    let place = Place::new();
    let ask = |command| place.keygate_with(&[("KEYGATE_TELEMETRY_LISTEN", &telemetry)], &[command]);
    let said = ask("healthcheck");
    assert_eq!(
        (said.code, &*said.stdout),
        (Some(0), "ready\n"),
        "{}",
        said.stderr
    );
    let said = ask("drain");
    assert_eq!(
        (said.code, &*said.stdout),
        (Some(0), "draining\n"),
        "{}",
        said.stderr
    );
    assert!(keygate.wait().success(), "it drains and ends with 0");
    let said = ask("healthcheck");
    assert_eq!(said.code, Some(1), "{}", said.stdout);
}
