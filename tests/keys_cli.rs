//! Promise: `keygate keys …` does on the key file what the admin API does, whether or not keygate runs: a new token
//! stands alone on stdout, stderr never sees one, JSON is what the API shows, every change is in the audit log, and
//! an edit counts at once in a keygate that runs.

mod bulk;
mod running;
mod seal;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use serde_json::Value;

use crate::config::Place;
use crate::config::Said;
use crate::harness::sha256;

/// Somebody at a shell, in a folder of their own.
struct Shell {
    place: Place,
}

impl Shell {
    fn new() -> Self {
        Self {
            place: Place::new(),
        }
    }

    /// With this key file in the data folder.
    fn with_keys(text: &str) -> Self {
        let shell = Self::new();
        shell.place.write("keygate-data/keys.yaml", text);
        shell
    }

    /// Runs `keygate keys …` with something on stdin.
    fn fed(&self, input: &str, arguments: &[&str]) -> Said {
        let mut command = self.place.command(&["keys"]);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may not read it at all.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let said = Said {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        };
        assert!(
            !said.stderr.contains("panicked"),
            "{arguments:?}: {}",
            said.stderr
        );
        said
    }

    fn keys(&self, arguments: &[&str]) -> Said {
        self.fed("", arguments)
    }

    /// Runs a command that must succeed; what it said on stdout, without the line end. Its stderr must not hold any
    /// token that is known.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let said = self.keys(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.stderr);
        said.stdout.trim_end().to_owned()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Runs a command that must fail with this code; what it said on stderr. Nothing may have changed.
    #[track_caller]
    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let before = self.text();
        let said = self.keys(arguments);
        assert_eq!(said.code, Some(code), "{arguments:?}: {}", said.stderr);
        assert_eq!(said.stdout, "", "{arguments:?}");
        assert_eq!(self.text(), before, "{arguments:?}");
        said.stderr
    }

    /// The key file.
    fn text(&self) -> String {
        fs::read_to_string(self.place.path().join("keygate-data/keys.yaml")).unwrap_or_default()
    }

    /// The audit log's actions, each with the name of its key, oldest first.
    fn audited(&self) -> Vec<String> {
        let path = self.place.path().join("keygate-data/audit/audit.ndjson");
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            assert_eq!(event["actor"]["kind"], "shell", "{line}");
            assert!(event["actor"]["name"].is_string(), "{line}");
            let action = event["action"].as_str().unwrap();
            let about = event["key_name"]
                .as_str()
                .or_else(|| event["detail"].as_str());
            format!("{action} {}", about.unwrap_or_default())
        });
        lines.collect()
    }
}

/// `sha256:` and the digest of a token.
fn digest(token: &str) -> String {
    format!("sha256:{}", sha256(token.as_bytes()))
}

#[test]
fn a_new_token_stands_alone_on_stdout_and_is_the_keys() {
    let shell = Shell::new();
    let said = shell.keys(&["create", "me"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let token = said.stdout.strip_suffix('\n').unwrap();
    assert!(
        token.starts_with("kg_") && !token.contains(char::is_whitespace),
        "{token:?}"
    );
    assert!(
        said.stderr.contains("made the key me (k_"),
        "{}",
        said.stderr
    );
    assert!(!said.stderr.contains(token) && !shell.text().contains(token));
    assert!(shell.text().contains(&digest(token)));
    assert_eq!(shell.ok(&["copy", "me"]), token);
    assert_eq!(shell.json(&["copy", "me"])["token"], token);
    assert_eq!(
        shell.audited(),
        ["key.created me", "key.copied me", "key.copied me"]
    );
}

#[test]
fn flags_become_fields_and_json_has_the_shape_of_the_api() {
    let shell = Shell::new();
    let made = shell.json(&[
        "create",
        "ci",
        "--id",
        "k_ci",
        "--description",
        "the build server",
        "--expires",
        "2030-01-01",
        "--not-before",
        "2026-01-01T00:00:00+01:00",
        "--tag",
        "team=build",
        "--tag",
        "env=a=b",
        "--allow-method",
        "GET",
        "--allow-method",
        "POST",
        "--allow-path",
        "/v1/**",
        "--allow-network",
        "10.0.0.0/8",
        "--no-record",
        "--disabled",
    ]);
    let token = made["token"].as_str().unwrap();
    assert!(shell.text().contains(&digest(token)));
    let mut key = shell.json(&["show", "ci"]);
    assert_eq!(shell.json(&["show", "k_ci"]), key);
    assert_eq!(shell.json(&["list"]), Value::from(vec![key.clone()]));
    assert!(key["created_at"].as_str().unwrap().ends_with('Z'));
    for name in ["created_at", "mask"] {
        assert!(
            key.as_object_mut()
                .unwrap()
                .remove(name)
                .unwrap()
                .is_string()
        );
    }
    assert_eq!(
        key,
        serde_json::json!({
            "id": "k_ci", "name": "ci", "description": "the build server", "status": "disabled", "enabled": false,
            "not_before": "2025-12-31T23:00:00Z", "expires_at": "2030-01-01T00:00:00Z",
            "tags": {"team": "build", "env": "a=b"}, "record": false,
            "allow": {"methods": ["GET", "POST"], "paths": ["/v1/**"], "networks": ["10.0.0.0/8"]},
            "previous": [], "copy": "sealed", "last_used_at": null, "requests_total": null, "refused_total": null,
            "requests_24h": null, "hours": null,
        })
    );
    let shown = shell.ok(&["show", "ci"]);
    assert!(
        shown.contains("expires_at:") && !shown.contains(token),
        "{shown}"
    );
}

#[test]
fn a_token_that_could_not_be_shown_is_a_failure() {
    let shell = Shell::new();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = shell.place.command(&["keys", "create", "one"]);
    let output = command.stdout(full).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("error: cannot write to stdout: "),
        "{stderr}"
    );
}

#[test]
fn own_tokens_come_by_stdin_or_as_digests_and_are_not_repeated() {
    let shell = Shell::new();
    let said = shell.fed("canary-of-mine-123\n", &["create", "mine", "--token-stdin"]);
    assert_eq!((said.code, &*said.stdout), (Some(0), ""), "{}", said.stderr);
    assert_eq!(shell.ok(&["copy", "mine"]), "canary-of-mine-123");
    let theirs = digest("canary-of-theirs");
    assert_eq!(shell.ok(&["create", "theirs", "--digest", &theirs]), "");
    assert_eq!(shell.json(&["show", "theirs"])["copy"], "none");
    assert_eq!(
        shell.json(&["create", "json", "--digest", &digest("a-third-one")])["token"],
        Value::Null
    );
    for (input, arguments) in [
        ("canary", &["create", "x", "--token-stdin"][..]),
        ("canary of white space", &["create", "x", "--token-stdin"]),
        ("", &["create", "x", "--digest", "canary"]),
        (
            "canary-canary",
            &["create", "x", "--token-stdin", "--digest", &theirs],
        ),
    ] {
        let said = shell.fed(input, arguments);
        assert_eq!((said.code, &*said.stdout), (Some(2), ""), "{arguments:?}");
        assert!(!said.stderr.contains("canary"), "{}", said.stderr);
    }
    let taken = shell.fed("canary-of-mine-123", &["create", "x", "--token-stdin"]);
    assert_eq!(taken.code, Some(1));
    assert!(
        taken.stderr.contains("token is taken by the key k_"),
        "{}",
        taken.stderr
    );
}

#[test]
fn what_root_makes_belongs_to_who_owns_the_data_folder() {
    if !rustix::process::geteuid().is_root() {
        return; // nobody else can give files away
    }
    let shell = Shell::with_keys("version: 1\nkeys: []\n");
    let folder = shell.place.path().join("keygate-data");
    fs::remove_file(folder.join("keys.yaml")).unwrap();
    std::os::unix::fs::chown(&folder, Some(65_534), Some(65_534)).unwrap();
    shell.ok(&["create", "me"]);
    for name in ["keys.yaml", "secret", "audit/audit.ndjson"] {
        let metadata = fs::metadata(folder.join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (65_534, 65_534), "{name}");
    }
}

#[test]
fn a_key_without_a_copy_is_shown_once() {
    let shell = Shell::new();
    let token = shell.ok(&["create", "once", "--no-copy"]);
    assert!(token.starts_with("kg_") && !shell.text().contains("sealed"));
    let stderr = shell.refused(1, &["copy", "once"]);
    assert!(stderr.contains("hint: keygate keys rotate"), "{stderr}");
}

#[test]
fn fields_are_set_and_cleared_and_nothing_else_is_touched() {
    let before = "# ours\nversion: 1\nkeys:\n  # the first\n  - name: one   # (a)\n    token: canary-of-one\n    \
                  description: old\n    tags: {b: '2'}\n    expires_at: 2030-01-01T00:00:00Z\n\n  - {name: two, token: \"canary-of-two\"}\n# end\n";
    let shell = Shell::with_keys(before);
    shell.ok(&[
        "edit",
        "one",
        "--description",
        "new: \"x\"",
        "--tag",
        "a=1",
        "--remove-tag",
        "b",
        "--no-expires",
    ]);
    let key = shell.json(&["show", "one"]);
    assert_eq!(key["description"], "new: \"x\"");
    assert_eq!(key["tags"], serde_json::json!({"a": "1"}));
    assert_eq!(key["expires_at"], Value::Null);
    let text = shell.text();
    for kept in [
        "# ours\n",
        "  # the first\n",
        "(a)",
        "token: canary-of-one",
        "  - {name: two, token: \"canary-of-two\"}\n# end\n",
    ] {
        assert!(text.contains(kept), "{kept:?}: {text}");
    }
    shell.ok(&[
        "edit",
        "one",
        "--name",
        "uno",
        "--allow-path",
        "/a",
        "--allow-method",
        "GET",
    ]);
    shell.ok(&["edit", "uno", "--no-allow-paths", "--record", "false"]);
    let key = shell.json(&["show", "uno"]);
    assert_eq!(key["allow"], serde_json::json!({"methods": ["GET"]}));
    assert_eq!(key["record"], false);
    let text = shell.text();
    let said = shell.keys(&["edit", "uno", "--record", "false", "--allow-method", "GET"]);
    assert!(
        said.code == Some(0) && said.stderr.contains("nothing to change"),
        "{}",
        said.stderr
    );
    assert_eq!(shell.text(), text);
    assert_eq!(
        shell.audited(),
        ["key.changed one", "key.changed uno", "key.changed uno"]
    );
}

#[test]
fn each_flag_of_an_edit_is_enough_alone() {
    let shell = Shell::new();
    shell.ok(&["create", "one"]);
    for (flag, value, field) in [
        ("--allow-method", "GET", "methods"),
        ("--allow-path", "/a", "paths"),
        ("--allow-network", "10.0.0.0/8", "networks"),
    ] {
        shell.ok(&["edit", "one", flag, value]);
        let key = shell.json(&["show", "one"]);
        assert_eq!(key["allow"][field], serde_json::json!([value]), "{flag}");
    }
    shell.refused(2, &["edit", "one"]);
}

#[test]
fn dates_stay_in_the_years_that_a_file_can_say() {
    let shell = Shell::new();
    shell.ok(&["create", "one", "--expires", "99999999d"]);
    shell.ok(&["rotate", "one", "--overlap", "99999999d"]);
    let key = shell.json(&["show", "one"]);
    for date in [&key["expires_at"], &key["previous"][0]["expires_at"]] {
        assert_eq!(*date, "9999-12-31T23:59:59.999999Z");
    }
    shell.refused(
        2,
        &["edit", "one", "--expires", "9999-12-31T23:59:59-12:00"],
    );
}

#[test]
fn keys_are_switched_off_and_on_and_deleted() {
    let shell = Shell::new();
    for name in ["a", "b", "c"] {
        shell.ok(&["create", name]);
    }
    let off = shell.json(&["disable", "a", "b", "a"]);
    assert_eq!(off.as_array().unwrap().len(), 2);
    assert_eq!(
        shell
            .json(&["list", "--status", "disabled"])
            .as_array()
            .unwrap()
            .len(),
        2
    );
    shell.ok(&["enable", "b"]);
    assert_eq!(shell.json(&["show", "b"])["status"], "active");
    shell.refused(1, &["disable", "c", "nobody"]);
    assert_eq!(
        shell.json(&["show", "c"])["status"],
        "active",
        "all of them or none"
    );
    let stderr = shell.refused(2, &["delete", "a"]);
    assert!(stderr.contains("hint: add --yes"), "{stderr}");
    let said = shell.keys(&["delete", "a", "b", "--yes"]);
    assert_eq!((said.code, &*said.stdout), (Some(0), ""));
    assert!(said.stderr.contains("deleted a (k_"), "{}", said.stderr);
    assert_eq!(shell.json(&["list"]).as_array().unwrap().len(), 1);
    assert!(shell.audited().contains(&"key.deleted b".to_owned()));
}

#[test]
fn a_rotation_ends_the_old_token_now_or_after_an_overlap() {
    let shell = Shell::new();
    let first = shell.ok(&["create", "me"]);
    let second = shell.ok(&["rotate", "me", "--overlap", "24h"]);
    assert_ne!(first, second);
    assert_eq!(shell.ok(&["copy", "me"]), second);
    let text = shell.text();
    assert!(
        text.contains(&digest(&first)) && text.contains(&digest(&second)),
        "{text}"
    );
    assert_eq!(
        shell.json(&["show", "me"])["previous"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let third = shell.ok(&["rotate", "me"]);
    let text = shell.text();
    assert!(text.contains(&digest(&third)), "{text}");
    assert!(
        !text.contains(&digest(&first)) && !text.contains(&digest(&second)),
        "{text}"
    );
    assert_eq!(shell.audited()[3], "key.rotated me");
    let back = ["rotate", "me", "--overlap", "1h", "--token-stdin"];
    assert_eq!(shell.fed(&second, &back).code, Some(0));
    assert_eq!(
        shell.fed(&third, &back).code,
        Some(0),
        "an old token comes back"
    );
    assert_eq!(shell.ok(&["copy", "me"]), third);
    assert_eq!(
        shell.json(&["show", "me"])["previous"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let same = shell.fed(&third, &back);
    assert!(
        same.code == Some(2) && same.stderr.contains("has already"),
        "{}",
        same.stderr
    );
}

#[test]
fn keys_are_found_by_id_or_name_and_never_by_guess() {
    let shell = Shell::with_keys(
        "version: 1\nkeys:\n  - {id: one, name: two, token: canary-of-one}\n  - {id: three, name: one, token: canary-of-two}\n",
    );
    assert_eq!(shell.json(&["show", "two"])["id"], "one");
    assert_eq!(shell.json(&["show", "three"])["id"], "three");
    let stderr = shell.refused(2, &["disable", "one"]);
    assert!(stderr.contains("two (one) or one (three)"), "{stderr}");
    let stderr = shell.refused(1, &["disable", "TW"]);
    assert!(stderr.contains("near to it: two (one)"), "{stderr}");
}

#[test]
fn lists_are_searched_sorted_and_cut() {
    let shell = Shell::new();
    assert_eq!(shell.ok(&["list"]), "");
    assert_eq!(shell.json(&["list"]), serde_json::json!([]));
    for (name, more) in [
        ("b", "2030-01-01"),
        ("a", "2031-01-01"),
        ("c", "2020-01-01"),
    ] {
        shell.ok(&[
            "create",
            name,
            "--expires",
            more,
            "--tag",
            &format!("is={name}"),
        ]);
    }
    let names = |arguments: &[&str]| -> Vec<String> {
        let list = shell.json(&[&["list"], arguments].concat());
        let names = list.as_array().unwrap().iter();
        names
            .map(|key| key["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&[]), ["a", "b", "c"]);
    assert_eq!(names(&["--sort", "expires_at"]), ["c", "b", "a"]);
    assert_eq!(names(&["--reverse"]), ["c", "b", "a"]);
    assert_eq!(names(&["--search", "is=b"]), ["b"]);
    assert_eq!(names(&["--status", "expired"]), ["c"]);
    assert_eq!(names(&["--limit", "2"]), ["a", "b"]);
    let table = shell.ok(&["list"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(
        lines.len() == 4 && lines[0].starts_with("NAME  ID"),
        "{table}"
    );
}

#[test]
fn wrong_use_exits_with_2_and_changes_nothing() {
    let shell = Shell::new();
    shell.ok(&["create", "me"]);
    for arguments in [
        &["create"][..],
        &["create", ""],
        &["create", "x\ny"],
        &["create", "x", "--expires", "tomorrow"],
        &[
            "create",
            "x",
            "--expires",
            "2020-01-01",
            "--not-before",
            "2021-01-01",
        ],
        &["create", "x", "--tag", "novalue"],
        &["create", "x", "--allow-method", "get"],
        &["create", "x", "--allow-path", "v1"],
        &["create", "x", "--allow-network", "10.0.0.1/8"],
        &["create", "x", "--id", "a b"],
        &["create", "x", "--token", "canary"],
        &["edit", "me"],
        &["edit", "me", "--expires", "30d", "--no-expires"],
        &["rotate", "me", "--overlap", "1"],
        &["list", "--config", "absent.yaml"],
    ] {
        shell.refused(2, arguments);
    }
    for (arguments, hint) in [
        (&["create", "me"][..], "hint: choose another name"),
        (&["show", "nobody"], "hint: keygate keys list"),
    ] {
        let stderr = shell.refused(1, arguments);
        assert!(stderr.contains(hint), "{stderr}");
    }
}

#[test]
fn a_broken_file_is_quoted_and_left_alone() {
    let shell = Shell::with_keys(
        "version: 1\nkeys:\n  - {name: a, token: canary-of-a}\n  - {name: a, digest: x}\n",
    );
    for arguments in [
        &["list"][..],
        &["create", "x"],
        &["delete", "a", "--yes"],
        &["reseal"],
    ] {
        let stderr = shell.refused(2, arguments);
        assert!(
            stderr.contains("keys.yaml:4:23: keys[1].digest:"),
            "{arguments:?}: {stderr}"
        );
        assert!(!stderr.contains("canary"), "{stderr}");
    }
}

#[test]
fn the_configuration_says_where_keys_are() {
    let place = Place::with(
        "conf/keygate.yaml",
        "keys: {file: ../mine.ndjson, recoverable: false}\ndata_dir: data\n",
    );
    place.write("mine.ndjson", "\n");
    let shell = Shell { place };
    shell.ok(&["create", "me", "--config", "conf/keygate.yaml"]);
    let text = fs::read_to_string(shell.place.path().join("mine.ndjson")).unwrap();
    assert!(
        text.contains("\"me\"") && !text.contains("sealed"),
        "{text}"
    );
    assert!(!shell.place.path().join("keygate-data").exists());
    shell.ok(&["create", "other", "--data-dir", "elsewhere"]);
    assert!(shell.place.path().join("elsewhere/keys.yaml").exists());
    // A configured file is never made: it may only not be mounted yet.
    shell
        .place
        .write("keygate.yaml", "keys: {file: absent.yaml}\n");
    let said = shell.keys(&["create", "x"]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(!shell.place.path().join("absent.yaml").exists());
}
