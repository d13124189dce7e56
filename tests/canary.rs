//! Covers "tokens never appear in any output": a mixed run with tokens in every place where one can be put,
//! rightly and by mistake, and then a search for each of them in all that keygate ever wrote or answered.

use std::fs;
use std::path::Path;
use std::process::Output;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustix::process::Signal;
use serde_json::json;

use crate::admin_api::session::code;
use crate::harness::SOON;
use crate::harness::admin::ADMIN_TOKEN;
use crate::harness::admin::Admin;
use crate::harness::admin::Answer;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::keygate::binary;
use crate::harness::keygate::command;
use crate::harness::message::Failed;
use crate::harness::message::Response;
use crate::harness::setup::Setup;
use crate::harness::setup::write_in_place;
use crate::harness::upstream::Upstream;
use crate::harness::wire::find;
use crate::harness::wire::lossy;

/// What every token of this file has in it.
const MARK: &str = "CANARY";

/// What every token has in it that begins as these do, as a sub-protocol carries it: six bytes from the seventh on.
fn encoded_mark() -> String {
    let begins = format!("kg_test_{MARK}");
    BASE64_URL_SAFE_NO_PAD.encode(&begins[6..12])
}

/// All that was put out, with where it came from.
#[derive(Default)]
struct Outputs(Vec<(String, Vec<u8>)>);

impl Outputs {
    fn add(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((name.into(), bytes.into()));
    }

    fn add_answer(&mut self, name: &str, answer: Result<Response, Failed>) {
        match answer {
            Ok(response) => {
                self.add(name, response.head.raw);
                self.add(name, response.body);
            }
            Err(failed) => self.add(name, failed.body),
        }
    }

    fn add_command(&mut self, name: &str, output: Output) {
        self.add(format!("{name}, stdout"), output.stdout);
        self.add(format!("{name}, stderr"), output.stderr);
    }

    #[track_caller]
    fn must_not_hold_the_mark(&self) {
        self.must_not_hold(&[
            ("the mark", MARK.to_owned()),
            ("the mark in base64url", encoded_mark()),
        ]);
    }

    #[track_caller]
    fn must_not_hold(&self, secrets: &[(&str, String)]) {
        let mut found = Vec::new();
        for (name, bytes) in &self.0 {
            for (what, secret) in secrets {
                if let Some(at) = find(bytes, secret.as_bytes()) {
                    let (from, to) = (at.saturating_sub(80), (at + 80).min(bytes.len()));
                    let around = lossy(&bytes[from..to]);
                    found.push(format!("{what} in {name}: …{around}…"));
                }
            }
        }
        assert!(
            found.is_empty(),
            "secrets were put out:\n{}",
            found.join("\n")
        );
    }
}

/// Requests with tokens in good, wrong and broken places. `$G` stands for the good token, `$U` for one that
/// nobody has, `$BG` and `$BU` for the same in base64url.
fn requests() -> Vec<String> {
    let lines = [
        "GET /a",
        "GET /b?key=$G",
        "GET /c?key=$U&x=1",
        "GET /d?x=1&key=$U&key=$G",
        "GET /e?k%65y=$U",
        "GET /f?key=$U%00",
        "GET /g?key=$G#x",
        "GET /h?key=$U\u{e4}",
        "GET /i?key=$U /j",
        "get?key=$U",
        "TRACE /k?key=$U",
        "CONNECT /l?key=$U",
        "GET http://other/m?key=$U",
        "GET http://user:$U@app/n",
    ];
    let fields = [
        "",
        "x-api-key: $G",
        "x-api-key: $U",
        "x-api-key: $U x",
        "x-api-key: $U\r\nx-api-key: $G",
        "x_api_key: $U",
        "x-api-key : $U",
        "x-api-key: $U\0",
        "x-api-key: a\r\n $U",
        "authorization: Bearer $U",
        "authorization: Bearer $G",
        "authorization: $U",
        "cookie: key=$U; a=b",
        "cookie: key=$G",
        "cookie: key=$U; key=$G",
        "x-api-key: $G\r\ncontent-type: application/grpc",
        "content-type: application/grpc\r\nx-api-key: $U",
        "x-api-key: $U\r\ncontent-length: 5\r\ncontent-length: 6",
        "$U: x",
        "$U",
        "x-api-key: $G\r\nconnection: upgrade\r\nupgrade: websocket",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-protocol: keygate.$BG, a",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-protocol: keygate.$BU, keygate.$G",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-protocol: keygate.$U",
        "x-api-key: $G\r\nsec-websocket-protocol: Keygate.$BU\r\nsec_websocket_protocol: keygate.$BG",
    ];
    let mut requests = Vec::new();
    for line in lines {
        for field in fields {
            let field = if field.is_empty() {
                String::new()
            } else {
                format!("{field}\r\n")
            };
            requests.push(format!(
                "{line} HTTP/1.1\r\nhost: app\r\n{field}connection: close\r\n\r\n"
            ));
        }
    }
    requests
}

#[test]
fn no_token_is_ever_put_out() {
    let good = format!("kg_test_{MARK}-good_1vV6");
    let upstream = Upstream::scripted(|turn| {
        turn.body()?;
        turn.answer("200 OK", "", b"ok")
    });
    let mut outputs = Outputs::default();
    for (mode, hide) in [
        ("enforce", "true"),
        ("shadow", "false"),
        ("optional", "true"),
    ] {
        let auth = format!(
            "{{sources: [header: x-api-key, bearer, query: key, cookie: key, ws_protocol], mode: {mode}, hide: {hide}}}"
        );
        let before = upstream.count();
        let keygate = Setup::of(&upstream)
            .set("auth", auth)
            .set("transactions", "{query: full, stdout: true}")
            .set("log", "{level: debug, format: json}")
            .keys(format!(
                "version: 1\nkeys:\n  - {{name: good, token: \"{good}\"}}\n"
            ))
            .spawn();
        for (index, request) in requests().into_iter().enumerate() {
            let unknown = format!("kg_test_{MARK}-unknown-{index}");
            let request = request
                .replace("$BG", &BASE64_URL_SAFE_NO_PAD.encode(&good))
                .replace("$BU", &BASE64_URL_SAFE_NO_PAD.encode(&unknown))
                .replace("$G", &good)
                .replace("$U", &unknown);
            let mut client = keygate.connect();
            let bytes: Vec<u8> = request
                .chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap())
                .collect();
            client.send(&bytes);
            let answer = client.try_read("GET");
            outputs.add_answer(
                &format!("{mode}: the answer to {:?}", request.replace(MARK, "*")),
                answer,
            );
        }
        outputs.add(
            format!("{mode}: /metrics"),
            keygate.telemetry("/metrics").body,
        );
        for seen in upstream.seen().split_off(before) {
            let hidden = find(&seen.head.raw, encoded_mark().as_bytes()).is_none();
            assert!(
                hidden || hide == "false",
                "{mode}: a token went on: {seen:?}"
            );
        }
        break_the_key_file(&keygate, &mut outputs);
        finish(keygate, mode, &mut outputs);
    }
    outputs.must_not_hold_the_mark();
}

/// Key files with tokens where they are wrong: none may be quoted in what is said about it.
fn broken_key_files() -> Vec<(&'static str, String)> {
    let entries = |lines: &str| format!("version: 1\nkeys:\n{lines}");
    vec![
        (
            "white space in a token",
            entries("  - {name: a, token: \"CANARY with space\"}\n"),
        ),
        (
            "a token that is too short",
            entries("  - {name: a, token: CANARY}\n"),
        ),
        (
            "a token beyond ASCII",
            entries("  - {name: a, token: \"CANARY-ä-ä-ä-ä\"}\n"),
        ),
        (
            "a token twice",
            entries(
                "  - {name: a, token: kg_CANARY_twice_12345}\n  - {name: b, token: kg_CANARY_twice_12345}\n",
            ),
        ),
        (
            "a token for a digest",
            entries("  - {name: a, digest: kg_CANARY_as_a_digest}\n"),
        ),
        (
            "a token for a date",
            entries("  - {name: a, token: kg_CANARY_fine_1234, expires_at: kg_CANARY_date}\n"),
        ),
        (
            "token and digest",
            entries("  - {name: a, token: kg_CANARY_both_1234, digest: \"sha256:00\"}\n"),
        ),
        (
            "a misspelt token",
            entries("  - {name: a, tokne: kg_CANARY_misspelt}\n"),
        ),
        (
            "a token of another type",
            entries("  - {name: a, token: [kg_CANARY_list]}\n"),
        ),
        (
            "a token for a flag",
            entries("  - {name: a, enabled: kg_CANARY_flag, token: kg_CANARY_fine_1234}\n"),
        ),
        ("a token alone", entries("  - kg_CANARY_alone_1234\n")),
        (
            "a syntax error behind a token",
            entries("  - {name: a, token: kg_CANARY_syntax_1234\n  - {name: b}\n"),
        ),
        (
            "an open quote",
            entries("  - {name: a, token: \"kg_CANARY_quote_1234}\n"),
        ),
        (
            "a tab before a token",
            entries("  - name: a\n\ttoken: kg_CANARY_tab_1234\n"),
        ),
        (
            "bad indentation",
            entries("  - name: a\n   token: kg_CANARY_indent_1234\n"),
        ),
        (
            "a name twice",
            entries(
                "  - {name: a, token: kg_CANARY_first_1234}\n  - {name: a, token: kg_CANARY_second_1234}\n",
            ),
        ),
        (
            "a field twice",
            entries("  - {name: a, token: kg_CANARY_first_1234, token: kg_CANARY_second_1234}\n"),
        ),
        (
            "a low token with an unknown field",
            entries("  - {name: a, token: CANARYCANARY, colour: red}\n"),
        ),
    ]
}

fn break_the_key_file(keygate: &Keygate, outputs: &mut Outputs) {
    for (name, text) in broken_key_files() {
        let before = keygate.failed_reloads();
        keygate.replace_keys(text);
        keygate.signal(Signal::HUP);
        eventually(&format!("{name} is refused"), SOON, || {
            keygate.failed_reloads() > before
        });
        outputs.add(
            format!("/readyz after {name}"),
            keygate.telemetry("/readyz").body,
        );
    }
}

fn finish(keygate: Keygate, mode: &str, outputs: &mut Outputs) {
    let (folder, mut keygate) = (keygate.folder().to_owned(), keygate);
    keygate.signal(Signal::TERM);
    assert!(keygate.wait().success());
    outputs.add(format!("{mode}: stderr"), keygate.log());
    outputs.add(format!("{mode}: stdout"), keygate.stdout());
    let lines = keygate.transaction_lines();
    assert!(lines.len() >= requests().len(), "the run was recorded");
    outputs.add(format!("{mode}: transactions"), lines.join("\n"));
    add_files(&folder.join("data"), mode, outputs);
}

/// What the administrator types, is given, and keygate keeps for them: none of it is in any answer but the one that
/// is meant to show it, and none in any file but the secret file.
#[test]
fn no_secret_of_the_administration_is_ever_put_out() {
    let upstream = Upstream::fast();
    let keygate = Setup::of(&upstream)
        .admin("")
        .set("transactions", "{query: full, stdout: true}")
        .set("log", "{level: debug, format: json}")
        .spawn();
    let mut outputs = Outputs::default();
    let mut secrets = vec![
        ("a marked secret", MARK.to_owned()),
        ("the token of ops", ADMIN_TOKEN.to_owned()),
    ];
    administer(&keygate, &mut outputs, &mut secrets);
    let kept = fs::read_to_string(keygate.folder().join("data/secret")).unwrap();
    let sealing = kept.lines().find(|line| !line.starts_with('#')).unwrap();
    secrets.push((
        "the sealing secret",
        sealing.rsplit(':').next().unwrap().to_owned(),
    ));
    outputs.add("/metrics", keygate.telemetry("/metrics").body);
    outputs.add("/readyz", keygate.telemetry("/readyz").body);
    outputs.add("keys.yaml", keygate.key_text());
    let folder = keygate.folder().to_owned();
    keygate.signal(Signal::TERM);
    let mut keygate = keygate;
    assert!(keygate.wait().success());
    outputs.add("stderr", keygate.log());
    outputs.add("stdout", keygate.stdout());
    fs::remove_file(folder.join("data/secret")).unwrap();
    add_files(&folder.join("data"), "admin", &mut outputs);
    assert!(secrets.iter().all(|(_, secret)| secret.len() >= 6));
    assert!(outputs.0.len() > 40, "much was said: {}", outputs.0.len());
    outputs.must_not_hold(&secrets);
}

/// Does everything once, well and badly; answers that are meant to show a token give it to `secrets`.
fn administer(keygate: &Keygate, outputs: &mut Outputs, secrets: &mut Vec<(&str, String)>) {
    let (nobody, ops) = (keygate.nobody(), keygate.admin());
    let mut say = |answer: Answer| {
        outputs.add(
            format!("an answer {}", answer.status),
            answer.head.raw.clone(),
        );
        outputs.add(format!("an answer {}", answer.status), answer.body.clone());
    };
    let made_code = code(keygate);
    let (password, wrong) = ("CANARY the password of Ada", "CANARY the wrong password");
    let setup = |code: &str| {
        nobody
            .post("/setup")
            .json(&json!({"code": code, "name": "Ada", "password": password}))
            .ask()
    };
    say(setup("CANARY-not-the-code"));
    let signed_in = setup(&made_code);
    assert_eq!(signed_in.status, 201, "{signed_in:?}");
    secrets.push(("the setup code", made_code));
    let (pair, _) = signed_in.cookie();
    secrets.push(("a session id", pair.split_once('=').unwrap().1.to_owned()));
    let ada = nobody.with_cookie(&pair);
    say(nobody
        .post("/login")
        .json(&json!({"name": "Ada", "password": wrong}))
        .ask());
    say(nobody
        .post("/login")
        .json(&json!({"name": MARK, "password": [wrong]}))
        .ask());
    say(nobody
        .with_cookie("keygate_session=CANARY")
        .get("/keys")
        .ask());
    say(
        Admin::with_token(nobody.address(), "CANARY-not-a-token-of-anybody-here")
            .get("/keys")
            .ask(),
    );
    say(ada
        .post("/password")
        .json(&json!({"current": wrong, "new": "CANARY another one"}))
        .ask());
    say(ada
        .post("/password")
        .json(&json!({"current": password, "new": "CANARY"}))
        .ask());
    say(ada.get("/session").ask());

    let own = ada.create(&json!({"name": "own", "token": "kg_CANARY_of_ones_own"}));
    let made = ops.create(&json!({"name": "made"}));
    secrets.push(("a made token", made["token"].as_str().unwrap().to_owned()));
    for key in [&own, &made] {
        let path = format!("/keys/{}", key["id"].as_str().unwrap());
        assert_eq!(
            ops.post(&format!("{path}/copy")).expect(200).json()["token"],
            key["token"]
        );
        let rotated = ops
            .post(&format!("{path}/rotate"))
            .if_match("*")
            .json(&json!({"overlap": "1h"}))
            .expect(200)
            .json();
        secrets.push((
            "a rotated token",
            rotated["token"].as_str().unwrap().to_owned(),
        ));
        assert_eq!(keygate.status(rotated["token"].as_str().unwrap()), 200);
        say(ops.get(&path).ask());
        say(ops
            .patch(&path)
            .if_match("*")
            .json(&json!({"token": "CANARY new"}))
            .ask());
        say(ops
            .patch(&path)
            .if_match("\"x\"")
            .json(&json!({"description": "x"}))
            .ask());
    }
    for key in [&own, &made] {
        say(ops
            .post("/try")
            .json(&json!({"key_id": key["id"], "path": "/tried"}))
            .ask());
    }
    for body in [
        json!({"path": "/", "headers": [["x-api-key", "kg_CANARY_tried_by_hand"]]}),
        json!({"path": "/", "headers": [["kg CANARY as a name", "kg_CANARY\n"]]}),
        json!({"path": "kg_CANARY", "method": "kg CANARY", "key_id": "kg_CANARY!"}),
        json!({"path": "/", "key_id": "kg_CANARY_as_an_id", "body": "kg_CANARY_in_a_body"}),
    ] {
        say(ops.post("/try").json(&body).ask());
    }
    for body in [
        json!({"name": "a", "token": "CANARY with space"}),
        json!({"name": "a", "token": MARK}),
        json!({"name": "a", "token": "kg_CANARY_of_ones_own"}),
        json!({"name": "a", "digest": "kg_CANARY_as_a_digest"}),
        json!({"name": "a", "expires_at": "kg_CANARY_as_a_date"}),
        json!({"name": "a", "token": ["kg_CANARY_in_a_list"]}),
        json!({"name": "a", "tokne": "kg_CANARY_misspelt"}),
        json!("kg_CANARY_alone"),
    ] {
        say(ops.post("/keys").json(&body).ask());
        say(ops
            .put("/keys/k_a")
            .with("if-none-match", "*")
            .json(&body)
            .ask());
        say(ops
            .post("/keys/k_good/rotate")
            .if_match("*")
            .json(&body)
            .ask());
    }
    for (media, text) in [
        ("text/plain", "CANARY with space\nkg_CANARY_imported_1\n"),
        ("text/csv", "name,token\na,CANARY with space\n"),
        (
            "application/x-ndjson",
            "{\"name\": \"a\", \"token\": \"kg_CANARY_cut_1234",
        ),
        (
            "application/json",
            "{\"keys\": [{\"tokne\": \"kg_CANARY_misspelt\"}]}",
        ),
        (
            "application/yaml",
            "keys:\n  - {name: a, token: CANARY x}\n  - kg_CANARY_alone\n",
        ),
        ("text/plain", "kg_CANARY_imported_1\nkg_CANARY_imported_2\n"),
    ] {
        say(ops.post("/keys:import").body(media, text).ask());
    }
    for format in ["ndjson", "json", "yaml", "csv"] {
        say(ops.get(&format!("/keys:export?format={format}")).ask());
    }
    say(ops.get("/keys?search=CANAR").ask());
    say(ops.get("/audit?limit=200").ask());
    say(ops.get("/status").ask());
    say(ops.post("/reload").ask());
    say(ada.post("/logout").ask());
    say(ada.get("/keys").ask());
}

/// Every file below the data folder.
fn add_files(folder: &Path, mode: &str, outputs: &mut Outputs) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_files(&path, mode, outputs);
        } else {
            outputs.add(
                format!("{mode}: {}", path.display()),
                fs::read(&path).unwrap(),
            );
        }
    }
}

#[test]
fn no_command_puts_a_token_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut outputs = Outputs::default();
    for format in ["yaml", "json", "ndjson"] {
        for (name, text) in broken_key_files() {
            let path = folder.path().join(format!("keys.{format}"));
            // Not JSON at all: a person who mistakes the format must not see tokens quoted either.
            write_in_place(&path, text);
            let output = command(binary()).arg("check").arg(&path).output().unwrap();
            assert_eq!(
                output.status.code(),
                Some(2),
                "{name}, {format}: {output:?}"
            );
            outputs.add_command(&format!("check of {name} as {format}"), output);
        }
    }
    for (name, text) in [
        (
            "white space",
            r#"{"version": 1, "keys": [{"name": "a", "token": "CANARY white space"}]}"#,
        ),
        (
            "digest",
            r#"{"version": 1, "keys": [{"name": "a", "digest": "CANARY_as_a_digest"}]}"#,
        ),
        (
            "syntax",
            r#"{"version": 1, "keys": [{"name": "a", "token": "kg_CANARY_syntax_1" "x"}]}"#,
        ),
        (
            "type",
            r#"{"version": 1, "keys": ["kg_CANARY_alone_1234"]}"#,
        ),
        (
            "date",
            r#"{"version": 1, "keys": [{"name": "a", "token": "kg_CANARY_1234", "not_before": "CANARY"}]}"#,
        ),
        (
            "cut",
            r#"{"version": 1, "keys": [{"name": "a", "token": "kg_CANARY_12"#,
        ),
    ] {
        let path = folder.path().join("keys.json");
        write_in_place(&path, text);
        let output = command(binary()).arg("check").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
        outputs.add_command(&format!("check of JSON with {name}"), output);
    }
    let token_file = folder.path().join("token");
    write_in_place(&token_file, "CANARY with space\n");
    let path = folder.path().join("keys.yaml");
    write_in_place(
        &path,
        "version: 1\nkeys:\n  - {name: a, token_file: token}\n",
    );
    let output = command(binary()).arg("check").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    outputs.add_command("check of a token file", output);
    outputs.must_not_hold_the_mark();
}
