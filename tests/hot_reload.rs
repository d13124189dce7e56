//! Covers "edit the key file, and the change is live in milliseconds": whatever an editor, a script or a
//! kubelet does to the file, a good one is followed and a bad one leaves the last good keys in force, said
//! in the log, in a metric and on /readyz.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::kubelet::Volume;
use crate::harness::requests::with_token;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::setup::usual_keys;
use crate::harness::setup::write_by_rename;
use crate::harness::setup::write_in_place;
use crate::harness::throughout;
use crate::harness::upstream::Upstream;

/// A token that only edits bring in.
const NEW: &str = "kg_test_a-new-token_5pP6";

fn new_keys() -> String {
    key_file(&[entry("new", NEW, ""), entry("other", OTHER, "")])
}

/// Runs `edit` on a keygate with the usual keys; `good` must go and `new` come.
#[track_caller]
fn follows(edit: impl FnOnce(&Keygate, &Path)) {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    assert_eq!((keygate.status(GOOD), keygate.status(NEW)), (200, 401));
    edit(&keygate, keygate.key_path());
    expect_new_keys(&keygate);
}

#[track_caller]
fn expect_new_keys(keygate: &Keygate) {
    eventually("the new key passes", SOON, || keygate.status(NEW) == 200);
    assert_eq!(
        (keygate.status(GOOD), keygate.status(OTHER)),
        (401, 200),
        "all of an edit counts at once"
    );
}

/// Runs `damage` on a keygate with the usual keys: they stay, it is told, and a repair is followed.
#[track_caller]
fn survives(name: &str, damage: impl FnOnce(&Path)) {
    survives_saying(name, damage, &[]);
}

#[track_caller]
fn survives_saying(name: &str, damage: impl FnOnce(&Path), said: &[&str]) {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    damage(keygate.key_path());
    eventually(&format!("{name}: the failure is counted"), SOON, || {
        keygate.failed_reloads() > 0.0
    });
    assert_eq!(
        (keygate.status(GOOD), keygate.status(OTHER)),
        (200, 200),
        "{name}: the last good keys stay"
    );
    assert_eq!(
        keygate.status(NEW),
        401,
        "{name}: nothing of a bad file counts"
    );
    let ready = keygate.telemetry("/readyz");
    assert_eq!(
        ready.status, 200,
        "{name}: degraded is not unready: {ready:?}"
    );
    assert!(
        ready.text().contains("keys"),
        "{name}: /readyz tells: {ready:?}"
    );
    let log = keygate.log();
    for text in said {
        assert!(log.contains(text), "{name}: the log says {text:?}");
    }
    if keygate.key_path().is_dir() {
        fs::remove_dir(keygate.key_path()).unwrap();
    }
    fs::create_dir_all(keygate.key_path().parent().unwrap()).unwrap();
    write_by_rename(keygate.key_path(), new_keys());
    expect_new_keys(&keygate);
    eventually(&format!("{name}: no longer degraded"), SOON, || {
        !keygate.telemetry("/readyz").text().contains("keys")
    });
}

#[test]
fn a_rename_over_the_file_is_followed() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    keygate.replace_keys(new_keys());
    expect_new_keys(&keygate);
    assert_eq!(
        keygate.failed_reloads(),
        0.0,
        "there was a good file at every moment"
    );
}

#[test]
fn a_write_in_place_is_followed() {
    follows(|_, path| {
        // One write: nobody sees a part of it, but for the moment after the truncation.
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .write_all(new_keys().as_bytes())
            .unwrap();
        let length = u64::try_from(new_keys().len()).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(length)
            .unwrap();
    });
}

/// nano, `cat >` and `kubectl cp` truncate and then write.
#[test]
fn a_truncation_and_a_write_are_followed() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    write_in_place(keygate.key_path(), new_keys());
    expect_new_keys(&keygate);
}

/// vim with `backupcopy=no`: the file becomes the backup, a new one takes its name, the backup goes.
#[test]
fn vim_is_followed() {
    follows(|_, path| {
        let backup = path.with_extension("yaml~");
        fs::rename(path, &backup).unwrap();
        write_in_place(path, new_keys());
        fs::remove_file(backup).unwrap();
    });
}

/// vim with `backupcopy=yes`: a copy is the backup, the file itself is written again.
#[test]
fn vim_that_writes_in_place_is_followed() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let path = keygate.key_path();
    let backup = path.with_extension("yaml~");
    fs::copy(path, &backup).unwrap();
    write_in_place(&path.with_file_name("4913"), "");
    fs::remove_file(path.with_file_name("4913")).unwrap();
    write_in_place(path, new_keys());
    fs::remove_file(backup).unwrap();
    expect_new_keys(&keygate);
}

#[test]
fn sed_in_place_is_followed() {
    follows(|_, path| {
        let script = format!(
            "s/k_good, name: good, digest: \"sha256:[0-9a-f]*\"/k_new, name: new, digest: \"sha256:{}\"/",
            crate::harness::sha256(NEW.as_bytes())
        );
        let status = Command::new("sed")
            .arg("-i")
            .arg(script)
            .arg(path)
            .status()
            .unwrap();
        assert!(status.success());
    });
}

#[test]
fn a_copy_over_the_file_is_followed() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let aside = keygate.folder().join("prepared");
    write_in_place(&aside, new_keys());
    let status = Command::new("cp")
        .arg(&aside)
        .arg(keygate.key_path())
        .status()
        .unwrap();
    assert!(status.success());
    expect_new_keys(&keygate);
}

/// A writer that stops in the middle for longer than any debounce.
#[test]
fn a_half_written_file_is_waited_for() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let text = new_keys();
    let middle = text.find("k_other").unwrap();
    let mut file = File::create(keygate.key_path()).unwrap();
    file.write_all(&text.as_bytes()[..middle]).unwrap();
    file.sync_all().unwrap();
    throughout(
        "the last good keys stay",
        Duration::from_millis(700),
        || {
            (
                keygate.status(GOOD),
                keygate.status(OTHER),
                keygate.status(NEW),
            ) == (200, 200, 401)
        },
    );
    file.write_all(&text.as_bytes()[middle..]).unwrap();
    drop(file);
    expect_new_keys(&keygate);
}

#[test]
fn a_slow_writer_is_followed_at_its_end() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    // What is in both comes first: a part that happens to be a whole file has it as well.
    let text = key_file(&[entry("other", OTHER, ""), entry("new", NEW, "")]);
    let mut file = File::create(keygate.key_path()).unwrap();
    for piece in text.as_bytes().chunks(16) {
        file.write_all(piece).unwrap();
        assert_eq!(
            keygate.status(OTHER),
            200,
            "a key that is in both is never refused"
        );
    }
    drop(file);
    expect_new_keys(&keygate);
}

#[test]
fn a_kubernetes_volume_is_followed() {
    let upstream = Upstream::echo();
    let setup = Setup::of(&upstream)
        .key_file("volume/keys.yaml")
        .no_key_file();
    let mut volume = Volume::in_folder(&setup.folder.path().join("volume"));
    volume.write([("keys.yaml", &*usual_keys())]);
    let keygate = setup.spawn();
    assert_eq!((keygate.status(GOOD), keygate.status(NEW)), (200, 401));
    volume.write([("keys.yaml", &*new_keys())]);
    expect_new_keys(&keygate);
    volume.write([("keys.yaml", &*usual_keys())]);
    eventually("the second swap is followed too", SOON, || {
        keygate.status(GOOD) == 200
    });
    assert_eq!(keygate.failed_reloads(), 0.0);
}

#[test]
fn the_file_behind_a_link_is_followed() {
    let upstream = Upstream::echo();
    let setup = Setup::of(&upstream).no_key_file();
    let elsewhere = setup.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let real = elsewhere.join("real.yaml");
    write_in_place(&real, usual_keys());
    symlink(&real, setup.key_path()).unwrap();
    let keygate = setup.spawn();
    write_by_rename(&real, new_keys());
    expect_new_keys(&keygate);
}

#[test]
fn a_link_that_is_turned_is_followed() {
    let upstream = Upstream::echo();
    let setup = Setup::of(&upstream).no_key_file();
    let (first, second) = (
        setup.folder.path().join("first.yaml"),
        setup.folder.path().join("second.yaml"),
    );
    write_in_place(&first, usual_keys());
    write_in_place(&second, new_keys());
    symlink(&first, setup.key_path()).unwrap();
    let keygate = setup.spawn();
    let aside = keygate.folder().join("aside");
    symlink(&second, &aside).unwrap();
    fs::rename(aside, keygate.key_path()).unwrap();
    expect_new_keys(&keygate);
}

/// docker-compose mounts single files: a rename gives EBUSY there, so edits come in place.
#[test]
fn a_single_bind_mounted_file_is_followed() {
    let upstream = Upstream::echo();
    let mut setup = Setup::of(&upstream);
    let outside = setup.folder.path().join("outside.yaml");
    write_in_place(&outside, usual_keys());
    setup.bind_mount = Some((outside.clone(), setup.key_path().to_owned()));
    let keygate = setup.keys("version: 1\nkeys: []\n").spawn();
    assert_eq!(keygate.status(GOOD), 200, "keygate sees the mounted file");
    write_in_place(&outside, new_keys());
    expect_new_keys(&keygate);
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_followed() {
    let upstream = Upstream::echo();
    let setup = Setup::of(&upstream).key_file("folder/keys.yaml");
    let folder = setup.folder.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let keygate = setup.spawn();
    fs::remove_dir_all(&folder).unwrap();
    eventually("the loss is noticed", SOON, || {
        keygate.failed_reloads() > 0.0
    });
    assert_eq!(keygate.status(GOOD), 200, "the last good keys stay");
    fs::create_dir(&folder).unwrap();
    write_in_place(keygate.key_path(), new_keys());
    expect_new_keys(&keygate);
    // And it is watched again, not only found by the poll.
    write_by_rename(keygate.key_path(), usual_keys());
    eventually("the next edit is followed too", SOON, || {
        keygate.status(GOOD) == 200
    });
}

#[test]
fn a_folder_that_is_renamed_away_and_replaced_is_followed() {
    let upstream = Upstream::echo();
    let setup = Setup::of(&upstream).key_file("folder/keys.yaml");
    let folder = setup.folder.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let keygate = setup.spawn();
    let prepared = keygate.folder().join("prepared");
    fs::create_dir(&prepared).unwrap();
    write_in_place(&prepared.join("keys.yaml"), new_keys());
    fs::rename(&folder, keygate.folder().join("old")).unwrap();
    fs::rename(&prepared, &folder).unwrap();
    expect_new_keys(&keygate);
}

#[test]
fn a_deleted_file_leaves_the_keys() {
    survives("deleted", |path| fs::remove_file(path).unwrap());
}

#[test]
fn an_unreadable_file_leaves_the_keys() {
    // A folder in its place: even root cannot read that, as it could a file of mode 000.
    survives("a folder in its place", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    });
}

#[test]
fn a_dangling_link_leaves_the_keys() {
    survives("a dangling link", |path| {
        fs::remove_file(path).unwrap();
        symlink("nowhere.yaml", path).unwrap();
    });
}

#[test]
fn an_empty_file_leaves_the_keys() {
    survives("zero bytes", |path| write_in_place(path, ""));
}

#[test]
fn a_file_without_keys_leaves_the_keys() {
    survives("no keys at all", |path| {
        write_in_place(path, "version: 1\n")
    });
}

#[test]
fn a_syntax_error_leaves_the_keys_and_is_told_with_its_place() {
    let text = format!("{}  - {{id: k_bad, name: [\n", usual_keys());
    survives_saying(
        "syntax error",
        |path| write_by_rename(path, text),
        &["keys.yaml:"],
    );
}

#[test]
fn a_file_that_is_not_text_leaves_the_keys() {
    survives("not UTF-8", |path| {
        write_by_rename(path, b"version: 1\nkeys: [\xff\xfe\0]\n")
    });
}

#[test]
fn a_duplicate_leaves_the_keys_and_names_both_lines() {
    let text = key_file(&[
        entry("new", NEW, ""),
        entry("other", OTHER, ""),
        entry("new", GOOD, ""),
    ]);
    survives_saying(
        "a duplicate id",
        |path| write_by_rename(path, text),
        &["keys.yaml:5", "line 3"],
    );
}

#[test]
fn an_unknown_field_leaves_the_keys_and_is_explained() {
    let text = key_file(&[entry("new", NEW, ", enabeld: false")]);
    survives_saying(
        "an unknown field",
        |path| write_by_rename(path, text),
        &["enabeld", "enabled"],
    );
}

#[test]
fn a_key_file_cut_anywhere_lets_no_wrong_key_in() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    // Written in place, byte by byte: at each moment the keys are the old, or the new as far as it is whole.
    let text = key_file(&[
        entry("new", NEW, ", enabled: false"),
        entry("other", OTHER, ""),
    ]);
    let mut client = keygate.connect();
    let mut file = File::create(keygate.key_path()).unwrap();
    for byte in text.as_bytes() {
        file.write_all(&[*byte]).unwrap();
        let response = client.ask(with_token("/cut", NEW));
        assert_eq!(
            response.status, 401,
            "a disabled key never passes: not before its `enabled: false` is there either"
        );
    }
    drop(file);
    eventually("the whole file is followed", SOON, || {
        keygate.status(GOOD) == 401
    });
}

#[test]
fn a_touch_changes_nothing() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let status = Command::new("touch")
        .arg(keygate.key_path())
        .status()
        .unwrap();
    assert!(status.success());
    write_by_rename(keygate.key_path(), usual_keys());
    throughout("all keys stay", Duration::from_millis(800), || {
        keygate.status(GOOD) == 200
    });
    assert_eq!(keygate.failed_reloads(), 0.0);
}

#[test]
fn an_empty_list_lets_nobody_in() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    keygate.replace_keys("version: 1\nkeys: []\n");
    eventually("nobody passes", SOON, || keygate.status(GOOD) == 401);
    assert_eq!(keygate.failed_reloads(), 0.0);
    keygate.replace_keys(new_keys());
    expect_new_keys(&keygate);
}

#[test]
fn sighup_reads_the_file_again() {
    follows(|keygate, path| {
        write_by_rename(path, new_keys());
        keygate.signal(Signal::HUP);
    });
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    keygate.signal(Signal::HUP);
    throughout("SIGHUP is no end", Duration::from_millis(300), || {
        keygate.status(GOOD) == 200
    });
}

#[test]
fn a_revoked_key_is_refused_on_open_connections() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    assert_eq!(client.ask(with_token("/a", GOOD)).status, 200);
    keygate.replace_keys(new_keys());
    eventually("the open connection is refused", SOON, || {
        client.ask(with_token("/b", GOOD)).status == 401
    });
    assert_eq!(
        client.ask(with_token("/c", NEW)).status,
        200,
        "the connection itself lives on"
    );
}

#[test]
fn a_token_from_a_file_follows_that_file() {
    let upstream = Upstream::echo();
    let setup =
        Setup::of(&upstream).keys("version: 1\nkeys:\n  - {name: filed, token_file: token}\n");
    let token = setup.folder.path().join("token");
    write_in_place(&token, format!("{GOOD}\n"));
    let keygate = setup.spawn();
    assert_eq!((keygate.status(GOOD), keygate.status(NEW)), (200, 401));
    write_by_rename(&token, format!("{NEW}\n"));
    eventually("the new token passes", SOON, || keygate.status(NEW) == 200);
    assert_eq!(keygate.status(GOOD), 401);
}

#[test]
fn json_and_ndjson_are_followed() {
    let digest = |token: &str| crate::harness::sha256(token.as_bytes());
    let json = |name: &str, token: &str| {
        format!(
            "{{\"version\": 1, \"keys\": [{{\"name\": \"{name}\", \"digest\": \"sha256:{}\"}}]}}",
            digest(token)
        )
    };
    let ndjson = |name: &str, token: &str| {
        format!(
            "{{\"name\": \"{name}\", \"digest\": \"sha256:{}\"}}\n",
            digest(token)
        )
    };
    let upstream = Upstream::echo();
    for (file, first, second) in [
        ("keys.json", json("good", GOOD), json("new", NEW)),
        ("keys.ndjson", ndjson("good", GOOD), ndjson("new", NEW)),
    ] {
        let keygate = Setup::of(&upstream).key_file(file).keys(first).spawn();
        assert_eq!(
            (keygate.status(GOOD), keygate.status(NEW)),
            (200, 401),
            "{file}"
        );
        keygate.replace_keys(second);
        eventually("the edit is followed", SOON, || {
            (keygate.status(GOOD), keygate.status(NEW)) == (401, 200)
        });
    }
}

#[test]
fn a_later_edit_of_the_configuration_asks_for_a_restart() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let text = fs::read_to_string(keygate.config()).unwrap();
    write_by_rename(keygate.config(), format!("{text}auth: {{mode: shadow}}\n"));
    keygate.signal(Signal::HUP);
    eventually("the log asks for a restart", SOON, || {
        let log = keygate.log();
        log.contains("restart") && log.contains("auth.mode")
    });
    assert_eq!(
        keygate.status(NEW),
        401,
        "the mode of the running process is the old one"
    );
}

#[test]
fn an_edit_is_live_soon() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let mut client = keygate.connect();
    // The watch must do it: the poll alone would take up to two seconds. The median of several, on a machine
    // that is busy with other tests.
    let mut spans = Vec::new();
    for round in 0..9 {
        let (keys, status) = if round % 2 == 0 {
            (new_keys(), 401)
        } else {
            (usual_keys(), 200)
        };
        keygate.replace_keys(keys);
        let begun = Instant::now();
        while client.ask(with_token("/soon", GOOD)).status != status {
            assert!(begun.elapsed() < SOON, "the edit is not followed");
        }
        spans.push(begun.elapsed());
    }
    spans.sort();
    assert!(spans[4] < Duration::from_millis(700), "{spans:?}");
}

/// 1,000 reloads while clients keep asking: a key that is in every file is never refused, one that is in
/// none never passes.
#[test]
fn a_thousand_reloads_under_load_make_no_wrong_verdict() {
    const STRANGER: &str = "kg_test_never-a-key_7qQ8";
    let upstream = Upstream::fast();
    let keygate = Setup::of(&upstream).spawn();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|index| {
                let (keygate, stop) = (&keygate, &stop);
                scope.spawn(move || {
                    let mut client = keygate.connect();
                    let mut asked = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        let (token, status) = if asked % 2 == index % 2 {
                            (OTHER, 200)
                        } else {
                            (STRANGER, 401)
                        };
                        assert_eq!(
                            client.ask(with_token("/load", token)).status,
                            status,
                            "request {asked}"
                        );
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        let _stop = StopOnDrop(&stop);
        let mut probe = keygate.connect();
        let begun = Instant::now();
        for round in 0..1_000 {
            let (keys, status) = if round % 2 == 0 {
                (new_keys(), 401)
            } else {
                (usual_keys(), 200)
            };
            keygate.replace_keys(keys);
            let edited = Instant::now();
            while probe.ask(with_token("/probe", GOOD)).status != status {
                assert!(edited.elapsed() < SOON, "edit {round} is not followed");
            }
            assert!(
                begun.elapsed() < Duration::from_secs(240),
                "1,000 reloads take too long: {round} by now"
            );
        }
        stop.store(true, Ordering::Relaxed);
        let asked: u64 = clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum();
        assert!(asked > 1_000, "too few requests to tell anything: {asked}");
    });
    assert_eq!(keygate.failed_reloads(), 0.0);
}

/// Stops the load when the test ends, however it ends.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
