//! Sealed copies: clear tokens leave the file, secrets are changed under them, and a lost secret costs the copy and
//! nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::keys_cli::Shell;
use crate::keys_cli::digest;

fn secret(shell: &Shell) -> String {
    fs::read_to_string(shell.place.path().join("keygate-data/secret")).unwrap()
}

/// The ids of the secrets.
fn ids(secret: &str) -> Vec<String> {
    let lines = secret
        .lines()
        .filter_map(|line| line.strip_prefix("keygate-secret:v1:"));
    lines.map(|line| line[..8].to_owned()).collect()
}

#[test]
fn tokens_in_clear_become_digests_and_copies() {
    let shell = Shell::with_keys(
        "version: 1\nkeys:\n  - name: plain # ours\n    token: canary-of-plain\n  - {name: file, token_file: token}\n",
    );
    shell.place.write("keygate-data/token", "canary-of-file\n");
    assert_eq!(shell.ok(&["copy", "plain"]), "canary-of-plain");
    let said = shell.keys(&["seal"]);
    assert!(
        said.code == Some(0) && said.stderr.contains("1 tokens became"),
        "{}",
        said.stderr
    );
    let text = shell.text();
    assert!(
        text.contains("# ours") && text.contains(&digest("canary-of-plain")),
        "{text}"
    );
    assert!(
        !text.contains("canary") && text.contains("token_file: token"),
        "{text}"
    );
    assert_eq!(shell.ok(&["copy", "plain"]), "canary-of-plain");
    assert_eq!(shell.ok(&["copy", "file"]), "canary-of-file");
    shell.ok(&["seal"]);
    assert_eq!(shell.text(), text);
}

/// This takes minutes if each token is looked for in the whole file.
#[test]
fn thousands_of_tokens_are_sealed_and_exported_in_one_pass() {
    let entry = |number: usize| format!("  - {{name: n{number}, token: canary-of-{number:08}}}\n");
    let entries: String = (0..5_000).map(entry).collect();
    let shell = Shell::with_keys(&format!("version: 1\nkeys:\n{entries}"));
    let clear = |shell: &Shell| {
        let text = shell.ok(&["export", "--format", "csv", "--clear-tokens"]);
        text.matches("canary-of-").count()
    };
    assert_eq!(clear(&shell), 5_000);
    shell.ok(&["seal"]);
    assert!(!shell.text().contains("canary"));
    assert_eq!(clear(&shell), 5_000);
}

#[test]
fn a_new_secret_takes_over_and_the_old_one_goes() {
    let shell = Shell::new();
    let tokens = ["a", "b"].map(|name| (name, shell.ok(&["create", name])));
    let (before, old) = (shell.text(), ids(&secret(&shell)));
    let said = shell.keys(&["reseal"]);
    assert_eq!((said.code, &*said.stdout), (Some(0), ""), "{}", said.stderr);
    let new = ids(&secret(&shell));
    assert!(new.len() == 1 && new != old, "{new:?}");
    for (name, token) in &tokens {
        assert_eq!(shell.ok(&["copy", name]), *token);
    }
    let sealed = |text: &str| text.lines().filter(|line| line.contains("sealed:")).count();
    assert!(shell.text() != before && sealed(&shell.text()) == 2);
    assert!(shell.audited().contains(&format!(
        "keys.resealed 2 copies under the secret {}",
        new[0]
    )));
}

#[test]
fn a_reseal_that_was_killed_goes_on_where_it_ended() {
    let shell = Shell::new();
    let token = shell.ok(&["create", "a"]);
    let (keys, old) = (shell.text(), secret(&shell));
    shell.ok(&["reseal"]);
    let (resealed, new) = (shell.text(), secret(&shell));
    let line = |secret: &str| format!("{}\n", secret.lines().last().unwrap());
    let both = format!("{}{}", line(&new), line(&old));
    for (what, keys, secret_text) in [
        ("before the copies", &keys, &both),
        ("before the old secret went", &resealed, &both),
    ] {
        shell.place.write("keygate-data/keys.yaml", keys);
        shell.place.write("keygate-data/secret", secret_text);
        assert_eq!(shell.ok(&["copy", "a"]), token, "{what}");
        shell.ok(&["reseal"]);
        assert_eq!(ids(&secret(&shell)).len(), 1, "{what}");
        assert_eq!(shell.ok(&["copy", "a"]), token, "{what}");
    }
    // The first of them used the secret that was there.
    shell.place.write("keygate-data/keys.yaml", &keys);
    shell.place.write("keygate-data/secret", &both);
    shell.ok(&["reseal"]);
    assert_eq!(ids(&secret(&shell)), ids(&new));
}

#[test]
fn a_lost_secret_is_named_and_costs_only_the_copy() {
    let shell = Shell::new();
    shell.ok(&["create", "a"]);
    let kept = secret(&shell);
    fs::remove_file(shell.place.path().join("keygate-data/secret")).unwrap();
    let stderr = shell.refused(1, &["copy", "a"]);
    assert!(stderr.contains("there is no secret file"), "{stderr}");
    let said = shell.keys(&["create", "b"]);
    assert!(
        said.code == Some(0) && said.stdout.starts_with("kg_"),
        "{}",
        said.stderr
    );
    assert!(
        said.stderr
            .contains("warning: no copy of the token is kept"),
        "{}",
        said.stderr
    );
    assert!(
        !shell.place.path().join("keygate-data/secret").exists(),
        "another one would open nothing"
    );
    shell.refused(1, &["reseal"]);

    let other = Shell::new();
    other.ok(&["create", "x"]);
    shell.place.write("keygate-data/secret", &secret(&other));
    let stderr = shell.refused(1, &["copy", "a"]);
    assert!(stderr.contains(&ids(&kept)[0]), "{stderr}");
    let stderr = shell.keys(&["reseal"]).stderr;
    assert!(stderr.contains("could not be opened"), "{stderr}");
    let sealed = shell.text();
    shell.place.write("keygate-data/secret", &kept);
    shell.ok(&["copy", "a"]);
    assert_eq!(shell.text(), sealed);
}

#[test]
fn a_copy_of_an_older_token_is_not_shown() {
    let shell = Shell::new();
    let token = shell.ok(&["create", "a"]);
    let text = shell
        .text()
        .replace(&digest(&token), &digest("another-token"));
    shell.place.write("keygate-data/keys.yaml", &text);
    let stderr = shell.refused(1, &["copy", "a"]);
    assert!(
        stderr.contains("of an older token") && !stderr.contains(&token),
        "{stderr}"
    );
}

#[test]
fn what_cannot_be_audited_is_not_copied() {
    let shell = Shell::new();
    let token = shell.ok(&["create", "a"]);
    let audit = shell.place.path().join("keygate-data/audit");
    fs::remove_dir_all(&audit).unwrap();
    shell.place.write("keygate-data/audit", "no folder");
    let stderr = shell.refused(1, &["copy", "a"]);
    assert!(
        stderr.contains("audit log") && !stderr.contains(&token),
        "{stderr}"
    );
}

#[test]
fn a_secret_file_that_others_can_read_gets_a_warning() {
    let shell = Shell::new();
    shell.ok(&["create", "a"]);
    let path = shell.place.path().join("keygate-data/secret");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let said = shell.keys(&["create", "b"]);
    assert!(
        said.code == Some(0) && said.stderr.contains("chmod 600"),
        "{}",
        said.stderr
    );
    assert_eq!(shell.json(&["show", "b"])["copy"], "sealed");
}
