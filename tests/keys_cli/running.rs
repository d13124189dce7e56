//! Beside a keygate that runs: edits count at once, rivals lose nothing; and a file that cannot be written says what
//! to paste.

use std::process::Output;
use std::process::Stdio;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::keygate::binary;
use crate::harness::keygate::command;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

fn keys(keygate: &Keygate, arguments: &[&str]) -> Output {
    let mut command = command(binary());
    command
        .arg("keys")
        .args(arguments)
        .arg("--config")
        .arg(keygate.config());
    command.output().unwrap()
}

/// What a command that must succeed said on stdout.
#[track_caller]
fn ok(keygate: &Keygate, arguments: &[&str]) -> String {
    let output = keys(keygate, arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

#[test]
fn edits_beside_a_running_keygate_count_at_once() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let token = ok(&keygate, &["create", "me"]);
    eventually("the new key passes", SOON, || keygate.status(&token) == 200);
    ok(&keygate, &["disable", "me"]);
    eventually("a disabled key is refused", SOON, || {
        keygate.status(&token) == 401
    });
    ok(&keygate, &["enable", "me"]);
    eventually("an enabled key passes", SOON, || {
        keygate.status(&token) == 200
    });
    let new = ok(&keygate, &["rotate", "me", "--overlap", "1h"]);
    eventually("the new token passes", SOON, || keygate.status(&new) == 200);
    assert_eq!(keygate.status(&token), 200, "for another hour");
    ok(&keygate, &["delete", "me", "--yes"]);
    eventually("a deleted key is refused", SOON, || {
        keygate.status(&new) == 401
    });
    assert_eq!((keygate.status(&token), keygate.status(GOOD)), (401, 200));
    keygate.finish();
}

/// The audit log: who did what to which key, oldest first.
fn audited(keygate: &Keygate) -> Vec<String> {
    let text = std::fs::read_to_string(keygate.folder().join("data/audit/audit.ndjson"));
    let text = text.unwrap_or_default();
    let lines = text.lines().map(|line| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let (who, what) = (word(&event["actor"]["kind"]), word(&event["action"]));
        format!("{who} {what} {}", word(&event["key_name"]))
    });
    lines.collect()
}

#[test]
fn an_edit_of_a_command_is_told_once_and_one_by_hand_is_never_left_out() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let token = ok(&keygate, &["create", "me"]);
    eventually("the new key passes", SOON, || keygate.status(&token) == 200);
    let made = keygate.key_text();
    ok(&keygate, &["disable", "me"]);
    eventually("a disabled key is refused", SOON, || {
        keygate.status(&token) == 401
    });
    // The very text that a command has made, by hand.
    keygate.replace_keys(&made);
    eventually("it passes again", SOON, || keygate.status(&token) == 200);
    let hand = "file key.changed me".to_owned();
    eventually("the hand edit is told", SOON, || {
        audited(&keygate).contains(&hand)
    });
    // Again, and nobody waits in between.
    ok(&keygate, &["delete", "me", "--yes"]);
    ok(&keygate, &["create", "you"]);
    keygate.replace_keys(&made);
    eventually("it passes again", SOON, || keygate.status(&token) == 200);
    keygate.replace_keys(made.replace("name: me", "name: us"));
    let hand = "file key.changed us".to_owned();
    eventually("the hand edit is told", SOON, || {
        audited(&keygate).contains(&hand)
    });
    let told = audited(&keygate);
    assert_eq!(
        told[..3],
        [
            "shell key.created me",
            "shell key.changed me",
            "file key.changed me"
        ]
    );
    let rest = [
        "shell key.deleted me",
        "shell key.created you",
        "file key.changed us",
    ];
    for line in rest {
        assert_eq!(
            told.iter().filter(|told| **told == line).count(),
            1,
            "{told:?}"
        );
    }
    keygate.finish();
}

#[test]
fn of_many_that_edit_at_once_nobody_loses() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let children: Vec<_> = (0..4)
        .map(|number| {
            let mut command = command(binary());
            command.args(["keys", "create", &format!("key-{number}"), "--config"]);
            command
                .arg(keygate.config())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let outputs: Vec<_> = children
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    for output in outputs {
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let token = String::from_utf8(output.stdout).unwrap();
        eventually("its key passes", SOON, || {
            keygate.status(token.trim()) == 200
        });
    }
    assert_eq!((keygate.status(GOOD), keygate.status(OTHER)), (200, 200));
    keygate.finish();
}

#[test]
fn a_file_that_cannot_be_written_says_what_to_paste() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"
        mkdir "$1/ro" && cd "$1" && printf 'version: 1\nkeys: []\n' > ro/keys.yaml
        printf 'keys: {file: ro/keys.yaml}\n' > keygate.yaml
        mount --bind ro ro && mount -o remount,bind,ro ro || exit 77
        "$0" keys create me --tag a=b > token 2> said; echo $? > code
    "#;
    let mut unshare = command("unshare");
    unshare.arg(if rustix::process::geteuid().is_root() {
        "-m"
    } else {
        "-rm"
    });
    let output = unshare
        .args(["sh", "-c", script])
        .arg(binary())
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("code"), "1\n");
    let (said, token) = (read("said"), read("token"));
    for part in [
        "error: the key file cannot be written",
        "hint: edit the file where it is mounted from",
        "    name: me",
        "tags: {a: b}",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let token = token.trim();
    assert!(token.starts_with("kg_") && !said.contains(token), "{said}");
    assert!(said.contains(&crate::keys_cli::digest(token)), "{said}");
    assert_eq!(read("ro/keys.yaml"), "version: 1\nkeys: []\n");
}
