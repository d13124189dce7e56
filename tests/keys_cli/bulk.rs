//! Many keys at once: imports of every format, exports that read back, and a store that is made equal to a file.

use std::fs;

use serde_json::Value;

use crate::keys_cli::Shell;
use crate::keys_cli::digest;

#[test]
fn every_format_is_imported() {
    let two = digest("canary-of-two");
    let rows = [
        (
            "keys.ndjson",
            format!(
                "{{\"name\":\"one\",\"token\":\"canary-of-one\"}}\n{{\"name\":\"two\",\"digest\":\"{two}\"}}\n"
            ),
        ),
        (
            "keys.json",
            format!(
                "{{\"version\":1,\"keys\":[{{\"name\":\"one\",\"token\":\"canary-of-one\"}},{{\"name\":\"two\",\"digest\":\"{two}\"}}]}}"
            ),
        ),
        (
            "keys.yaml",
            format!(
                "version: 1\nkeys:\n- {{name: one, token: canary-of-one}}\n- {{name: two, digest: '{two}'}}\n"
            ),
        ),
        (
            "keys.csv",
            format!("name,token,digest\none,canary-of-one,\ntwo,,{two}\n"),
        ),
    ];
    for (name, text) in rows {
        for piped in [false, true] {
            let shell = Shell::new();
            shell.place.write(name, &text);
            let said = if piped {
                shell.fed(&text, &["import", "-"])
            } else {
                shell.keys(&["import", name])
            };
            assert_eq!(
                (said.code, &*said.stdout),
                (Some(0), ""),
                "{name}: {}",
                said.stderr
            );
            assert!(
                said.stderr.contains("imported 2 keys") && !said.stderr.contains("canary"),
                "{}",
                said.stderr
            );
            assert_eq!(shell.ok(&["copy", "one"]), "canary-of-one", "{name}");
            assert_eq!(shell.json(&["show", "two"])["copy"], "none", "{name}");
            assert!(
                !shell.text().contains("canary") && shell.text().contains(&two),
                "{name}"
            );
            assert_eq!(shell.audited()[0], "keys.imported 2 keys");
            let again = shell.json(&["import", name]);
            assert_eq!(again["created"], 0, "{name}");
            assert_eq!(again["skipped"], 2, "{name}");
        }
    }
}

#[test]
fn a_list_of_tokens_gets_numbers_for_names() {
    let shell = Shell::new();
    let said = shell.fed(
        "# old\ncanary-of-one\ncanary-of-two\n",
        &["import", "-", "--format", "text"],
    );
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(shell.ok(&["copy", "imported-1"]), "canary-of-one");
    assert_eq!(shell.ok(&["copy", "imported-2"]), "canary-of-two");
    let said = shell.fed(
        "canary-of-three\ncanary-of-one\n",
        &["import", "-", "--no-copy"],
    );
    assert!(
        said.code == Some(0)
            && said
                .stderr
                .contains("left out, since their token has a key: 1"),
        "{}",
        said.stderr
    );
    assert_eq!(shell.json(&["show", "imported-3"])["copy"], "none");
}

#[test]
fn taken_names_are_renamed_left_out_or_refused() {
    let shell = Shell::new();
    shell.ok(&["create", "one"]);
    shell.place.write(
        "more.csv",
        "name,token\none,canary-of-a\none,canary-of-b\ntwo,canary-of-c\n",
    );
    let before = shell.text();
    let dry = shell.json(&["import", "more.csv", "--dry-run"]);
    assert_eq!(
        (&dry["created"], &dry["dry_run"]),
        (&Value::from(3), &Value::from(true))
    );
    assert_eq!(
        dry["renamed"][0],
        serde_json::json!({"from": "one", "to": "one-2"})
    );
    assert_eq!(shell.text(), before);
    let stderr = shell.refused(2, &["import", "more.csv", "--on-conflict", "fail"]);
    assert!(
        stderr.contains("more.csv:2:1: the name of \"one\" is taken"),
        "{stderr}"
    );
    let skip = shell.json(&["import", "more.csv", "--on-conflict", "skip", "--dry-run"]);
    assert_eq!(
        (&skip["created"], &skip["skipped"]),
        (&Value::from(1), &Value::from(2))
    );
    shell.ok(&["import", "more.csv"]);
    assert_eq!(shell.ok(&["copy", "one-3"]), "canary-of-b");
}

#[test]
fn a_bad_import_names_every_problem_and_imports_nothing() {
    let shell = Shell::new();
    shell.ok(&["create", "one"]);
    shell.place.write(
        "bad.csv",
        "name,token,expires_at\na,canary-of-a,\nb,canary of b,\nc,canary-of-c,soon\n",
    );
    let stderr = shell.refused(2, &["import", "bad.csv"]);
    assert!(
        stderr.contains("bad.csv:3:3: keys[1].token: a token has no white space"),
        "{stderr}"
    );
    assert!(
        stderr.contains("bad.csv:4:15: keys[2].expires_at: expected a date"),
        "{stderr}"
    );
    assert!(!stderr.contains("canary"), "{stderr}");
    let stderr = shell.refused(1, &["import", "absent.csv"]);
    assert!(stderr.contains("absent.csv: No such file"), "{stderr}");
}

#[test]
fn what_is_exported_is_imported_again() {
    let shell = Shell::new();
    let tokens: Vec<_> = ["one", "=two", "thr\"ée"]
        .iter()
        .map(|name| {
            (
                *name,
                shell.ok(&[
                    "create",
                    name,
                    "--description",
                    "it's: \"a\"",
                    "--tag",
                    "a=b",
                ]),
            )
        })
        .collect();
    shell.ok(&["rotate", "one", "--overlap", "1h", "--no-copy"]);
    for format in ["ndjson", "json", "yaml", "csv"] {
        for clear in [false, true] {
            let mut arguments = vec!["export", "--format", format];
            arguments.extend(clear.then_some("--clear-tokens"));
            let said = shell.keys(&arguments);
            assert_eq!(said.code, Some(0), "{}", said.stderr);
            for (_, token) in &tokens[1..] {
                assert_eq!(
                    said.stdout.contains(token.as_str()),
                    clear,
                    "{format} {clear}"
                );
                assert!(!said.stderr.contains(token.as_str()));
            }
            assert_eq!(said.stderr.contains("warning"), clear, "{}", said.stderr);
            let other = Shell::new();
            // The other one's secret file: copies open there too.
            let secret =
                fs::read_to_string(shell.place.path().join("keygate-data/secret")).unwrap();
            other.place.write("keygate-data/secret", &secret);
            let name = format!("keys.{format}");
            other.place.write(&name, &said.stdout);
            other.ok(&["import", &name]);
            let (mut ours, mut theirs) = (shell.json(&["list"]), other.json(&["list"]));
            if format == "csv" {
                // The one thing that a table has no column for.
                for list in [&mut ours, &mut theirs] {
                    list.as_array_mut()
                        .unwrap()
                        .iter_mut()
                        .for_each(|key| key["previous"] = Value::Null);
                }
            }
            assert_eq!(ours, theirs, "{format} {clear}");
            for (name, token) in &tokens[1..] {
                assert_eq!(other.ok(&["copy", name]), *token, "{format} {clear}");
            }
        }
    }
    assert!(
        shell
            .audited()
            .contains(&"keys.exported 3 keys, with tokens in clear".to_owned())
    );
}

#[test]
fn an_export_into_a_closed_pipe_is_no_failure() {
    let shell = Shell::new();
    let list: String = (0..2_000)
        .map(|number| format!("a-long-token-of-number-{number}\n"))
        .collect();
    assert_eq!(
        shell.fed(&list, &["import", "-", "--no-copy"]).code,
        Some(0)
    );
    let keygate = crate::harness::keygate::binary();
    let mut command = crate::harness::keygate::command("bash");
    command.args(["-c", "set -o pipefail; \"$0\" keys export | head -n 1"]);
    let output = command
        .arg(keygate)
        .current_dir(shell.place.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_store_is_made_equal_to_a_file_and_the_second_time_nothing_changes() {
    let shell = Shell::new();
    shell.ok(&["create", "stays", "--description", "old"]);
    shell.ok(&["create", "goes"]);
    let kept = shell.json(&["show", "stays"]);
    let file = format!(
        "version: 1\nkeys:\n  - name: stays\n    digest: {}\n    tags: {{a: b}}\n  - name: new\n    token: canary-of-new-key-123\n",
        shell
            .text()
            .lines()
            .find_map(|line| line.trim().strip_prefix("digest: "))
            .unwrap()
    );
    shell.place.write("wanted.yaml", &file);
    let before = shell.text();
    let said = shell.keys(&["apply", "-f", "wanted.yaml", "--dry-run"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(shell.text(), before);
    for line in [
        "+ new (k_",
        "    + copy: sealed",
        "~ stays (k_",
        "    - description: old",
        "    + tags: a=b",
        "  goes (k_",
    ] {
        assert!(
            said.stdout.lines().any(|found| found.starts_with(line)),
            "{line}: {}",
            said.stdout
        );
    }
    assert!(
        said.stderr
            .contains("would be: 1 created, 1 changed, 0 deleted"),
        "{}",
        said.stderr
    );
    assert!(!said.stdout.contains("canary") && !said.stderr.contains("canary"));

    shell.ok(&["apply", "-f", "wanted.yaml"]);
    let now = shell.json(&["show", "stays"]);
    for same in ["id", "created_at", "mask", "copy"] {
        assert_eq!(now[same], kept[same], "{same}");
    }
    assert_eq!(
        (&now["description"], &now["tags"]["a"]),
        (&Value::Null, &Value::from("b"))
    );
    assert_eq!(shell.ok(&["copy", "new"]), "canary-of-new-key-123");
    for prune in [false, true, true] {
        let (before, stdin) = (
            shell.text(),
            fs::read_to_string(shell.place.path().join("wanted.yaml")).unwrap(),
        );
        let mut arguments = vec!["apply", "-f", "-"];
        arguments.extend(prune.then_some("--prune"));
        let said = shell.fed(&stdin, &arguments);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let had = before.contains("name: goes");
        assert_eq!(
            said.stderr.contains("nothing to change"),
            !(prune && had),
            "{}",
            said.stderr
        );
        assert_eq!(shell.text() == before, !(prune && had));
    }
    assert_eq!(shell.json(&["list"]).as_array().unwrap().len(), 2);
    let audited = shell.audited();
    for event in ["key.created new", "key.changed stays", "key.deleted goes"] {
        assert!(audited.contains(&event.to_owned()), "{audited:?}");
    }
}

/// Who looks at what `apply` would do must not be shown something else by the file itself.
#[test]
fn what_a_file_says_does_not_act_on_the_terminal() {
    let shell = Shell::new();
    let digest = format!("sha256:{:064}", 7);
    let text = "{\"name\": \"n\u{202e}\", \"digest\": \"@\", \"description\": \"a\\u001b[2J\\n+ b\", \"mask\": \"x...\\u001b\", \"tags\": {\"\\u0007\": \"\\r\"}}\n";
    shell
        .place
        .write("wanted.ndjson", &text.replace('@', &digest));
    for arguments in [
        &["apply", "-f", "wanted.ndjson", "--dry-run"][..],
        &["apply", "-f", "wanted.ndjson"],
        &["list"],
        &["show", "n\u{202e}"],
        &["disable", "n\u{202e}"],
    ] {
        let said = shell.keys(arguments);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        for text in [said.stdout, said.stderr] {
            let acts = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
            assert!(!text.contains(acts) && !text.contains("\n+ b"), "{text:?}");
        }
    }
}

#[test]
fn a_dry_run_leaves_nothing_behind() {
    let shell = Shell::new();
    shell.place.write(
        "wanted.yaml",
        "version: 1\nkeys: [{name: a, token: canary-of-a}]\n",
    );
    for arguments in [
        ["apply", "-f", "wanted.yaml"],
        ["import", "wanted.yaml", "--no-copy"],
    ] {
        let said = shell.keys(&[&arguments[..], &["--dry-run"]].concat());
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        assert!(!shell.place.path().join("keygate-data").exists());
    }
    let said = shell.keys(&["apply", "-f", "wanted.yaml", "--dry-run"]);
    assert!(
        said.stdout.contains("    + copy: sealed\n"),
        "{}",
        said.stdout
    );
}

#[test]
fn a_file_that_keygate_could_not_run_with_is_not_applied() {
    let shell = Shell::new();
    shell.ok(&["create", "one"]);
    shell.place.write(
        "wanted.yaml",
        "version: 1\nkeys:\n  - {name: a, token: canary-of-a}\n  - {name: a, token: canary-of-b}\n",
    );
    let stderr = shell.refused(2, &["apply", "-f", "wanted.yaml", "--prune"]);
    assert!(
        stderr.contains("wanted.yaml:4:12: keys[1].name: the same name as the key in line 3"),
        "{stderr}"
    );
    shell.place.write("wanted.yaml", "");
    shell.refused(2, &["apply", "-f", "wanted.yaml", "--prune"]);
}

#[test]
fn names_that_moved_between_keys_are_moved_back() {
    let file = "version: 1\nkeys:\n  - {id: one, name: a, token: canary-of-one}\n  - {id: two, name: b, token: canary-of-two}\n  \
                - {name: c, token: canary-of-three}\n";
    let shell = Shell::with_keys(file);
    let digests = |shell: &Shell| -> Vec<String> {
        let keys = ["one", "two", "c"].map(|key| shell.ok(&["copy", key]));
        keys.to_vec()
    };
    let before = digests(&shell);
    shell.place.write(
        "wanted.yaml",
        &file
            .replace("name: a", "name: x")
            .replace("name: b", "name: a")
            .replace("name: x", "name: b"),
    );
    shell.ok(&["apply", "-f", "wanted.yaml"]);
    assert_eq!(shell.json(&["show", "two"])["name"], "a");
    assert_eq!(digests(&shell), before);
    // The key c is called d by now, and another one c: each is found by its name.
    shell.ok(&["edit", "c", "--name", "d"]);
    shell.ok(&["create", "c", "--id", "k_new"]);
    let list = shell.json(&["list"]);
    let text = "version: 1\nkeys:\n  - {name: d, token: canary-of-three}\n  - {name: c, token: canary-of-four}\n";
    shell.place.write("wanted.yaml", text);
    shell.ok(&["apply", "-f", "wanted.yaml"]);
    let ids = |list: &Value| -> Vec<(Value, Value)> {
        let keys = list.as_array().unwrap().iter();
        keys.map(|key| (key["id"].clone(), key["name"].clone()))
            .collect()
    };
    assert_eq!(ids(&shell.json(&["list"])), ids(&list));
    assert_eq!(shell.ok(&["copy", "k_new"]), "canary-of-four");
}
