//! Promise: `keygate init` makes of an empty folder a keygate that runs and a curl that passes, by questions or by flags,
//! and never writes over what is there.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::config::Place;
use crate::config::Said;
use crate::harness::terminal::Terminal;

const UPSTREAM: &str = "http://127.0.0.1:3000";

fn init(place: &Place, input: &str, arguments: &[&str]) -> Said {
    let mut command = place.command(&["init"]);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()); // it may not read it
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn read(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path().join(name)).unwrap_or_default()
}

/// What follows `label` on its line.
fn after<'t>(text: &'t str, label: &str) -> &'t str {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(label));
    line.unwrap_or_else(|| panic!("no line {label:?}: {text}"))
        .trim()
}

#[test]
fn flags_alone_make_all_that_is_needed_and_nothing_twice() {
    let place = Place::new();
    let said = init(
        &place,
        "",
        &["--yes", "--upstream", UPSTREAM, "--key-name", "first one"],
    );
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let (token, password) = (
        after(&said.stdout, "token:"),
        after(&said.stdout, "password:"),
    );
    assert!(
        token.starts_with("kg_") && password.len() >= 30,
        "{}",
        said.stdout
    );
    assert!(!said.stderr.contains(token) && !said.stderr.contains(password));
    assert!(said.stdout.contains("  keygate run\n"), "{}", said.stdout);
    let curl = format!("  curl -H 'x-api-key: {token}' http://127.0.0.1:8080/\n");
    assert!(said.stdout.contains(&curl), "{}", said.stdout);
    let copied = place.keygate(&["keys", "copy", "first one"]);
    assert_eq!(copied.stdout.trim(), token);
    assert!(read(&place, "keygate-data/admin.json").contains("$argon2id$"));
    for (name, mode) in [
        ("keys.yaml", 0o600),
        ("admin.json", 0o600),
        ("secret", 0o600),
        (".", 0o700),
    ] {
        let path = place.path().join("keygate-data").join(name);
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            mode,
            "{name}"
        );
    }
    assert_eq!(place.keygate(&["check"]).code, Some(0));
    let audit = read(&place, "keygate-data/audit/audit.ndjson");
    assert!(
        audit.contains("admin.set_up") && audit.contains("key.created"),
        "{audit}"
    );
    assert!(!audit.contains(token) && !audit.contains(password));

    let files = [
        "keygate.yaml",
        "keygate-data/keys.yaml",
        "keygate-data/admin.json",
        "keygate-data/secret",
    ];
    let before = files.map(|name| read(&place, name));
    let again = init(
        &place,
        "",
        &["--yes", "--upstream", "http://127.0.0.1:4000"],
    );
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    for part in [
        "keygate.yaml is there",
        "the administrator admin is there",
        "the key file has 1 key already",
    ] {
        assert!(again.stderr.contains(part), "{part}: {}", again.stderr);
    }
    assert!(
        !again.stdout.contains("password:") && !again.stdout.contains("kg_"),
        "{}",
        again.stdout
    );
    assert_eq!(files.map(|name| read(&place, name)), before);
}

#[test]
fn only_what_is_missing_is_made() {
    let place = Place::with(
        "keygate.yaml",
        "upstream: http://127.0.0.1:3000\nlisten: unix:s\ndata_dir: d\nauth: {sources: [bearer]}\nadmin: {enabled: false}\n",
    );
    let said = init(&place, "", &["--yes"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stderr.contains("the admin API is switched off"),
        "{}",
        said.stderr
    );
    assert!(!place.path().join("d/admin.json").exists() && !said.stdout.contains("password"));
    let token = after(&said.stdout, "token:");
    let curl = format!("-H 'Authorization: Bearer {token}' http://localhost/");
    assert!(
        said.stdout.contains("curl --unix-socket /") && said.stdout.contains(&curl),
        "{}",
        said.stdout
    );
    assert!(read(&place, "d/keys.yaml").contains("name: default"));
}

#[test]
fn the_curl_of_a_sub_protocol_asks_for_a_websocket() {
    let text = "upstream: http://127.0.0.1:3000\nauth: {sources: [ws_protocol]}\n";
    let place = Place::with("keygate.yaml", text);
    let said = init(&place, "", &["--yes"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let token = BASE64_URL_SAFE_NO_PAD.encode(after(&said.stdout, "token:"));
    let protocol = format!("-H 'Sec-WebSocket-Protocol: keygate.{token}' http://127.0.0.1:8080/\n");
    assert!(
        said.stdout.contains("-H 'Upgrade: websocket'") && said.stdout.contains(&protocol),
        "{}",
        said.stdout
    );
}

#[test]
fn a_made_password_is_shown_whatever_becomes_of_the_key() {
    let place = Place::new();
    place.write("keygate-data/keys.yaml", "version: 1\nkeys: [broken]\n");
    let said = init(&place, "", &["--yes", "--upstream", UPSTREAM]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(read(&place, "keygate-data/admin.json").contains("$argon2id$"));
    assert!(after(&said.stdout, "password:").len() >= 30);
}

#[test]
fn a_password_comes_by_stdin_and_is_not_repeated() {
    let place = Place::new();
    let flags = [
        "--yes",
        "--upstream",
        UPSTREAM,
        "--admin-name",
        "ops",
        "--password-stdin",
    ];
    let said = init(&place, "short\n", &flags);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(
        said.stderr.contains("at least 12 characters"),
        "{}",
        said.stderr
    );
    let said = init(&place, "canary battery staple\n", &flags);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(!format!("{}{}", said.stdout, said.stderr).contains("canary"));
    assert!(read(&place, "keygate-data/admin.json").contains("\"ops\""));
}

#[test]
fn wrong_use_writes_nothing() {
    for (arguments, what) in [
        (&["--yes"][..], "--upstream http://HOST:PORT"),
        (&[], "no terminal"),
        (&["--yes", "--upstream", "ftp://x"], "--upstream: expected"),
        (
            &["--yes", "--upstream", UPSTREAM, "--key-name", ""],
            "--key-name: a name has",
        ),
        (
            &["--yes", "--upstream", UPSTREAM, "--password", "x"],
            "unexpected argument",
        ),
    ] {
        let place = Place::new();
        let said = init(&place, "", arguments);
        assert_eq!((said.code, &*said.stdout), (Some(2), ""), "{arguments:?}");
        assert!(said.stderr.contains(what), "{arguments:?}: {}", said.stderr);
        assert_eq!(
            fs::read_dir(place.path()).unwrap().count(),
            0,
            "{arguments:?}"
        );
    }
}

#[test]
fn at_a_terminal_it_asks_until_the_answers_will_do() {
    let place = Place::new();
    let mut terminal = Terminal::start(&place.path(), &["init"]);
    terminal.sees("Where is the service behind keygate?");
    terminal.types("nowhere");
    terminal.sees("expected a URL");
    terminal.sees("Where is the service behind keygate?");
    terminal.types(UPSTREAM);
    terminal.sees("What is the administrator called?");
    terminal.types("");
    terminal.sees("A password for the administrator");
    terminal.types("short");
    terminal.sees("at least 12 characters");
    terminal.sees("A password for the administrator");
    terminal.types("canary battery staple");
    terminal.sees("The same again");
    terminal.types("canary battery staple");
    terminal.sees("What is the first API key called?");
    terminal.types("mine");
    terminal.sees("keygate run");
    let (code, screen) = terminal.finish();
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains("canary"), "{screen}");
    assert!(read(&place, "keygate.yaml").contains(UPSTREAM));
    assert!(read(&place, "keygate-data/keys.yaml").contains("name: mine"));
}

#[test]
fn a_deletion_at_a_terminal_asks_and_says_what_goes() {
    let place = Place::new();
    for name in ["stays", "goes"] {
        assert_eq!(place.keygate(&["keys", "create", name]).code, Some(0));
    }
    for (name, answer, code) in [("stays", "n", Some(1)), ("goes", "y", Some(0))] {
        let mut terminal = Terminal::start(&place.path(), &["keys", "delete", name]);
        terminal.sees(&format!("Delete {name} (k_"));
        terminal.sees("made 20");
        terminal.types(answer);
        let (found, screen) = terminal.finish();
        assert_eq!(found, code, "{screen}");
    }
    let keys = read(&place, "keygate-data/keys.yaml");
    assert!(
        keys.contains("name: stays") && !keys.contains("name: goes"),
        "{keys}"
    );
    let terminal = Terminal::start(&place.path(), &["keys", "create", "me"]);
    let (code, screen) = terminal.finish();
    assert!(
        code == Some(0) && screen.contains("hint: keygate keys copy k_"),
        "{screen}"
    );
}
