//! What the API does with the key file on its disk: a file that somebody broke is left as it is and quoted, links,
//! modes and mounts are kept, and a store that cannot be written says what to do instead. Not for: its text (`file`).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::made_token;
use crate::admin_api::named;
use crate::harness::SOON;
use crate::harness::admin::Request;
use crate::harness::eventually;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::usual_keys;
use crate::harness::setup::write_in_place;
use crate::harness::throughout;

/// Every way to change the file.
fn changes(running: &Running) -> Vec<(&'static str, Request)> {
    let admin = &running.admin;
    vec![
        ("create", admin.post("/keys").json(&named("new"))),
        (
            "put",
            admin
                .put("/keys/k_new")
                .with("if-none-match", "*")
                .json(&named("new")),
        ),
        (
            "patch",
            admin
                .patch("/keys/k_good")
                .if_match("*")
                .json(&json!({"description": "new"})),
        ),
        ("delete", admin.delete("/keys/k_good").if_match("*")),
        (
            "rotate",
            admin
                .post("/keys/k_good/rotate")
                .if_match("*")
                .json(&json!({})),
        ),
        (
            "import",
            admin
                .post("/keys:import")
                .body("text/plain", "imported-by-token-1\n"),
        ),
    ]
}

#[test]
fn a_file_that_somebody_broke_is_quoted_and_left_alone() {
    let running = Running::start();
    for (name, broken, place) in [
        (
            "a syntax error",
            usual_keys() + "  - {id: k_bad, name: [\n",
            "keys.yaml:",
        ),
        (
            "an unknown field",
            usual_keys() + "  - {name: bad, colour: red}\n",
            "keys.yaml:5",
        ),
        ("no bytes", String::new(), "keys.yaml"),
        (
            "an open edit",
            usual_keys() + "  - name: half\n",
            "keys.yaml:5",
        ),
    ] {
        running.keygate.replace_keys(&broken);
        for (what, request) in changes(&running) {
            let problem = request.refused(409, "key_file_broken");
            let text = problem.to_string();
            assert!(text.contains(place), "{name}, {what}: {text}");
            assert_eq!(
                running.keygate.key_text(),
                broken,
                "{name}, {what}: it is left alone"
            );
        }
        assert_eq!(
            (running.keygate.status(GOOD), running.keygate.status(OTHER)),
            (200, 200),
            "{name}"
        );
        running.admin.get("/keys").expect(200);
    }
    running.keygate.replace_keys(usual_keys());
    running.admin.create(&named("works again"));
}

/// A hand edit that keygate has not read yet is not lost: the API reads it first.
#[test]
fn an_edit_right_behind_a_hand_edit_keeps_both() {
    let running = Running::start();
    for round in 0..10 {
        let text = running.keygate.key_text() + &format!("  # by hand, {round}\n");
        running.keygate.replace_keys(&text);
        running
            .admin
            .patch("/keys/k_good")
            .if_match("*")
            .json(&json!({"description": format!("by the API, {round}")}))
            .expect(200);
        let after = running.keygate.key_text();
        for earlier in 0..=round {
            assert!(
                after.contains(&format!("# by hand, {earlier}\n")),
                "{after}"
            );
        }
        assert!(after.contains(&format!("by the API, {round}")), "{after}");
    }
}

#[test]
fn the_file_keeps_its_mode_and_its_link_and_nothing_is_left_beside_it() {
    let running = Running::with(|setup| {
        let real = setup.folder.path().join("elsewhere");
        fs::create_dir(&real).unwrap();
        let real = real.join("real.yaml");
        write_in_place(&real, usual_keys());
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("elsewhere/real.yaml", setup.key_path()).unwrap();
        setup.no_key_file()
    });
    let real = running.keygate.folder().join("elsewhere/real.yaml");
    let before = fs::metadata(&real).unwrap();
    running.admin.create(&named("new"));
    assert!(running.keygate.key_path().is_symlink(), "the link stays");
    let after = fs::metadata(&real).unwrap();
    assert_eq!(after.permissions().mode() & 0o777, 0o640);
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    assert!(fs::read_to_string(&real).unwrap().contains("name: new"));
    let left: Vec<_> = fs::read_dir(real.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["real.yaml"]);
}

#[test]
fn a_single_bind_mounted_file_is_written_in_place() {
    let running = Running::with(|mut setup| {
        let outside = setup.folder.path().join("outside.yaml");
        write_in_place(&outside, usual_keys());
        setup.bind_mount = Some((outside, setup.key_path().to_owned()));
        setup.keys("version: 1\nkeys: []\n")
    });
    let outside = running.keygate.folder().join("outside.yaml");
    let inode = fs::metadata(&outside).unwrap().ino();
    let made = running.admin.create(&named("new"));
    assert_eq!(running.keygate.status(&made_token(&made)), 200);
    assert!(fs::read_to_string(&outside).unwrap().contains("name: new"));
    assert_eq!(
        fs::metadata(&outside).unwrap().ino(),
        inode,
        "the same file"
    );
    assert!(
        running.keygate.key_text().ends_with("keys: []\n"),
        "not the one below the mount"
    );
}

/// A mounted secret or config map: nobody can write it here, so the answer is what to put where it comes from.
#[test]
fn a_read_only_store_answers_with_the_entry_to_paste() {
    for (name, mounts) in [
        (
            "a file",
            "mount --bind volume/keys.yaml volume/keys.yaml; mount -o remount,bind,ro volume/keys.yaml",
        ),
        (
            "a folder",
            "mount --bind volume volume; mount -o remount,bind,ro volume",
        ),
    ] {
        let running = Running::with(|mut setup| {
            fs::create_dir(setup.folder.path().join("volume")).unwrap();
            setup.mounts = mounts.to_owned();
            setup.key_file("volume/keys.yaml")
        });
        let before = running.keygate.key_text();
        for (what, request) in changes(&running) {
            let problem = request.refused(409, "key_file_read_only");
            if what == "create" || what == "patch" {
                let entry = problem["entry"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{name}, {what}: {problem}"));
                assert!(
                    entry.contains("digest") && entry.contains("new"),
                    "{name}, {what}: {entry}"
                );
                // What is pasted is a key file's entry.
                if what == "create" {
                    let pasted = running.keygate.folder().join("pasted.yaml");
                    write_in_place(&pasted, before.clone() + &indented(entry));
                    let check = crate::harness::keygate::command(crate::harness::keygate::binary())
                        .arg("check")
                        .arg(&pasted)
                        .output()
                        .unwrap();
                    assert!(check.status.success(), "{name}: {entry}: {check:?}");
                }
            }
        }
        assert_eq!(running.keygate.key_text(), before, "{name}");
        assert_eq!(running.keygate.status(GOOD), 200, "{name}");
        let status = running.admin.get("/status").expect(200).text();
        assert!(status.contains("\"writable\":false"), "{name}: {status}");
        let left: Vec<_> = fs::read_dir(running.keygate.key_path().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["keys.yaml"], "{name}");
    }
}

/// An entry as it stands in the list of the usual keys.
fn indented(entry: &str) -> String {
    let own = entry.len() - entry.trim_start().len();
    entry
        .lines()
        .map(|line| format!("  {}\n", line.get(own..).unwrap_or("")))
        .collect()
}

#[test]
fn a_full_disk_changes_nothing_and_is_told() {
    let running = Running::with(|mut setup| {
        fs::create_dir(setup.folder.path().join("volume")).unwrap();
        setup.mounts = "mount -t tmpfs -o size=64k,mode=700 none volume\n\
                        cp prepared.yaml volume/keys.yaml\n\
                        dd if=/dev/zero of=volume/filler bs=1k 2>/dev/null || true"
            .to_owned();
        write_in_place(&setup.folder.path().join("prepared.yaml"), usual_keys());
        setup.key_file("volume/keys.yaml").no_key_file()
    });
    let volume = running.keygate.inside("volume");
    let file = volume.join("keys.yaml");
    let text = |file: &Path| fs::read_to_string(file).unwrap();
    let before = text(&file);
    for (what, request) in changes(&running) {
        let answer = request.ask();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (507, "not_written"),
            "{what}: {answer:?}"
        );
        assert_eq!(text(&file), before, "{what}: the file is as it was");
        let mut left: Vec<_> = fs::read_dir(&volume)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(
            left,
            ["filler", "keys.yaml"],
            "{what}: nothing half written stays"
        );
    }
    throughout("traffic goes on", Duration::from_millis(100), || {
        running.keygate.status(GOOD) == 200
    });
    assert_eq!(
        running.admin.get("/keys").expect(200).json()["total"],
        2,
        "nor is it half in memory"
    );
    fs::remove_file(volume.join("filler")).unwrap();
    eventually("there is space again", SOON, || {
        running.admin.post("/keys").json(&named("new")).ask().status == 201
    });
    assert!(text(&file).contains("name: new"));
}
