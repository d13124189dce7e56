//! Tests of the watch: they do what editors, the kubelet and slow writers do.

use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

fn write(path: &Path, text: &str) {
    File::create(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

/// Waits for the change, for at most `within`.
fn is_told(watch: &mut Watch, within: Duration) -> bool {
    runtime().block_on(async { timeout(within, watch.changed()).await.is_ok() })
}

/// Long enough for a busy machine, short of the next look.
const BY_HINT: Duration = Duration::from_millis(1_500);

#[test]
fn a_write_a_rename_and_a_new_file_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.yaml");
    let mut watch = Watch::start(vec![file.clone()]);
    write(&file, "new");
    assert!(is_told(&mut watch, BY_HINT), "created");
    write(&file, "new");
    assert!(is_told(&mut watch, BY_HINT), "written with the same text");
    let aside = folder.path().join("aside");
    write(&aside, "renamed");
    fs::rename(&aside, &file).unwrap();
    assert!(is_told(&mut watch, BY_HINT), "renamed");
    File::options()
        .append(true)
        .open(&file)
        .unwrap()
        .write_all(b"more")
        .unwrap();
    assert!(
        is_told(&mut watch, BY_HINT),
        "appended to the file that was renamed into its place"
    );
}

#[test]
fn reading_and_other_files_are_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.yaml");
    write(&file, "text");
    let mut watch = Watch::start(vec![file.clone()]);
    fs::read(&file).unwrap();
    write(&folder.path().join("other"), "text");
    assert!(!is_told(&mut watch, Duration::from_millis(700)));
}

#[test]
fn what_is_still_being_written_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.yaml");
    write(&file, "text");
    let mut watch = Watch::start(vec![file.clone()]);
    let mut writer = File::create(&file).unwrap();
    writer.write_all(b"half").unwrap();
    assert!(!is_told(&mut watch, Duration::from_millis(100)));
    writer.write_all(b"whole").unwrap();
    drop(writer);
    assert!(is_told(&mut watch, Duration::from_millis(400)), "closed");
    let mut writer = File::create(&file).unwrap();
    writer.write_all(b"a writer that never closes").unwrap();
    assert!(is_told(&mut watch, BY_HINT), "nothing moves any more");
}

#[test]
fn a_swapped_link_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for version in ["..1", "..2"] {
        fs::create_dir(path(version)).unwrap();
        write(&path(version).join("keys.yaml"), version);
    }
    symlink("..1", path("..data")).unwrap();
    symlink("..data/keys.yaml", path("keys.yaml")).unwrap();
    let mut watch = Watch::start(vec![path("keys.yaml")]);
    symlink("..2", path("..data_tmp")).unwrap();
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    fs::remove_dir_all(path("..1")).unwrap();
    assert!(is_told(&mut watch, Duration::from_millis(400)), "swapped");
    write(&path("..2").join("keys.yaml"), "changed behind the link");
    assert!(is_told(&mut watch, BY_HINT), "changed behind the link");
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    let file = inner.join("keys.yaml");
    fs::create_dir(&inner).unwrap();
    write(&file, "text");
    let mut watch = Watch::start(vec![file.clone()]);
    fs::remove_dir_all(&inner).unwrap();
    assert!(is_told(&mut watch, 3 * POLL), "removed");
    fs::create_dir(&inner).unwrap();
    write(&file, "text");
    assert!(
        is_told(&mut watch, 3 * POLL),
        "made again, noticed by looking"
    );
    write(&file, "changed");
    assert!(is_told(&mut watch, BY_HINT), "watched again");
}

#[test]
fn without_the_kernel_the_looks_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.yaml");
    write(&file, "text");
    let mut watch = Watch::start(vec![file.clone()]);
    watch.kernel = None;
    write(&file, "changed");
    assert!(is_told(&mut watch, 3 * POLL));
    write(&file, "ch4nged");
    assert!(is_told(&mut watch, 3 * POLL), "of the same length");
}
