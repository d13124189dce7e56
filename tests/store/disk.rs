//! Covers "disk full, I/O errors, read-only: an error, the old file and the memory unchanged, nothing left behind",
//! and the file that compose mounts by itself. With real causes, in mount namespaces of their own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::harness::sha256;
use crate::store::job::Job;

/// A key file of some length.
fn keys(count: usize) -> String {
    let line = |number: usize| {
        let digest = sha256(number.to_string().as_bytes());
        format!("{{\"name\": \"key {number}\", \"digest\": \"sha256:{digest}\"}}\n")
    };
    (0..count).map(line).collect()
}

/// Runs `script` in a mount namespace of its own, with the folder as `$1`, and then one edit of `keys.ndjson` in it:
/// what the edit said.
fn edit_after(folder: &Path, script: &str) -> Vec<String> {
    let mut command = Command::new("unshare");
    command.arg(if rustix::process::geteuid().is_root() {
        "-m"
    } else {
        "-rm"
    });
    let script = format!("{script}\nshift\nexec \"$@\"");
    command.args(["sh", "-ec", &script, "sh"]);
    command.arg(folder).arg(std::env::current_exe().unwrap());
    let job = format!("once {}", folder.join("keys.ndjson").display());
    Job::start_in(command, &job).rest()
}

#[track_caller]
fn expect(said: &[String], words: [&str; 2]) {
    let as_expected = said.len() == 2 && said[0].starts_with(words[0]) && said[1] == words[1];
    assert!(as_expected, "{said:?}, expected {words:?}");
}

#[test]
fn a_full_disk_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // 64 KiB of room, of which the key file takes 40: one more of its kind does not fit.
    fs::write(folder.path().join("prepared"), keys(400)).unwrap();
    let said = edit_after(
        folder.path(),
        r#"cp "$1/prepared" /tmp/keygate-prepared.$$; mount -t tmpfs -o size=64k tmpfs "$1"
        cp /tmp/keygate-prepared.$$ "$1/keys.ndjson"; rm /tmp/keygate-prepared.$$"#,
    );
    expect(&said, ["unwritable: No space left", "as before"]);
}

#[test]
fn a_full_disk_is_noticed_before_a_mounted_file_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let filled = keys(400);
    fs::write(folder.path().join("keys.ndjson"), "\n").unwrap();
    // The file is alone on a disk whose last page it does not fill: the edit needs one page more than there is.
    let page = 4_096 - filled.len() % 4_096;
    let text = format!("{filled}{}\n", " ".repeat(page - 1));
    assert_eq!(text.len() % 4_096, 0);
    fs::write(folder.path().join("prepared"), &text).unwrap();
    let size = text.len() / 1_024;
    let said = edit_after(
        folder.path(),
        &format!(
            r#"mkdir "$1/disk"; mount -t tmpfs -o size={size}k tmpfs "$1/disk"; cp "$1/prepared" "$1/disk/keys"
            mount --bind "$1/disk/keys" "$1/keys.ndjson""#
        ),
    );
    expect(&said, ["unwritable: No space left", "as before"]);
}

#[test]
fn a_file_that_is_mounted_by_itself_is_written_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let real = outside.path().join("real");
    fs::write(&real, keys(3)).unwrap();
    fs::write(folder.path().join("keys.ndjson"), "\n").unwrap();
    let before = real.metadata().unwrap().ino();
    // Even where its folder cannot be written, as in containers with a read-only root.
    for (name, then) in [
        ("in a folder that can be written", ""),
        (
            "in a read-only folder",
            r#"mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; "#,
        ),
    ] {
        let mount = format!(r#"{then}mount --bind {} "$1/keys.ndjson""#, real.display());
        let said = edit_after(folder.path(), &mount);
        assert_eq!(said, ["done", "changed"], "{name}");
        let text = fs::read_to_string(&real).unwrap();
        assert!(text.contains("a new key"), "{name}");
        fs::write(&real, keys(3)).unwrap();
    }
    assert_eq!(real.metadata().unwrap().ino(), before);
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
}

#[test]
fn a_read_only_store_says_so_with_the_entry_to_paste() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keys.ndjson"), keys(3)).unwrap();
    let said = edit_after(
        folder.path(),
        r#"mount --bind "$1" "$1"; mount -o remount,bind,ro "$1""#,
    );
    expect(
        &said,
        ["read-only, entry true: Read-only file system", "as before"],
    );
}

/// The kubelet's volumes are read-only, and the file is a link through `..data`.
#[test]
fn a_kubernetes_volume_says_so_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("..2026_11_23");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("keys.ndjson"), keys(3)).unwrap();
    std::os::unix::fs::symlink("..2026_11_23", folder.path().join("..data")).unwrap();
    let link = folder.path().join("keys.ndjson");
    std::os::unix::fs::symlink("..data/keys.ndjson", &link).unwrap();
    let said = edit_after(
        folder.path(),
        r#"mount --bind "$1" "$1"; mount -o remount,bind,ro "$1""#,
    );
    expect(
        &said,
        ["read-only, entry true: Read-only file system", "as before"],
    );
    assert!(link.is_symlink());
}

/// The new file could not be given to the old one's owner, who would find it taken away.
#[test]
fn a_file_of_somebody_else_is_written_in_place() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can give files away
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.ndjson");
    fs::write(&file, keys(3)).unwrap();
    let before = file.metadata().unwrap().ino();
    let said = edit_as_user(
        &file,
        r#"chown 2:1 "$1/keys.ndjson"; chmod 660 "$1/keys.ndjson"; chmod 777 "$1""#,
    );
    assert_eq!(said, ["done", "changed"]);
    let after = file.metadata().unwrap();
    assert_eq!((after.ino(), after.uid(), after.gid()), (before, 2, 1));
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
}

/// Runs `script` as root, with the folder as `$1`, and then one edit of the file as the user 1.
fn edit_as_user(file: &Path, script: &str) -> Vec<String> {
    let mut command = Command::new("sh");
    let script = format!("{script}\nshift\nexec setpriv --reuid=1 --regid=1 --clear-groups \"$@\"");
    command.args(["-ec", &script, "sh"]);
    command
        .arg(file.parent().unwrap())
        .arg(std::env::current_exe().unwrap());
    Job::start_in(command, &format!("once {}", file.display())).rest()
}

/// Without the rights of root: a folder or a file that its owner has taken the write bits from.
#[test]
fn missing_rights_say_so_as_well() {
    if !rustix::process::geteuid().is_root() {
        return; // the rights of others can only be taken on by root
    }
    for (name, folder_mode, file_mode) in [("folder", "0555", "0644"), ("file", "0777", "0444")] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.ndjson");
        fs::write(&file, keys(3)).unwrap();
        let said = edit_as_user(
            &file,
            &format!(
                r#"chown 1:1 "$1/keys.ndjson"; chmod {file_mode} "$1/keys.ndjson"; chmod {folder_mode} "$1""#
            ),
        );
        expect(
            &said,
            ["read-only, entry true: Permission denied", "as before"],
        );
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "{name}");
    }
}
