//! `admin.json`: strict to read, whole to write, and never "no account" when it is damaged.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;

use super::*;

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";

fn administrator() -> Administrator {
    Administrator {
        name: "Zoë".to_owned(),
        password: PasswordHash::parse(HASH).unwrap(),
        changed_at: Timestamp::parse("2026-11-23T10:00:00Z").unwrap(),
    }
}

fn code() -> SetupCode {
    SetupCode {
        digest: Digest::of(b"code"),
        expires_at: Timestamp::parse("2026-11-23T11:00:00Z").unwrap(),
        tries_left: 10,
    }
}

#[test]
fn an_account_survives_print_and_parse() {
    for (administrator, code) in [
        (None, None),
        (Some(administrator()), None),
        (None, Some(code())),
        (Some(administrator()), Some(code())),
    ] {
        let account = Account {
            administrator,
            code,
        };
        assert_eq!(parse(&print(&account)), Ok(account));
    }
}

#[test]
fn a_file_that_is_absent_is_no_account_and_any_other_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = AccountFile::new(folder.path());
    assert_eq!(file.read().unwrap(), Account::default());
    let whole = print(&Account {
        administrator: Some(administrator()),
        code: Some(code()),
    });
    for length in 0..whole.len() - 2 {
        // Without the newline and the last brace it is cut.
        assert!(parse(&whole[..length]).is_err(), "{length}");
    }
    let text = String::from_utf8(whole).unwrap();
    for (old, new, what) in [
        ("\"version\": 1", "\"version\": 2", "version 2"),
        ("\"version\": 1,", "", "at line"),
        ("\"version\": 1", "\"version\": 1, \"extra\": 1", "at line"),
        ("\"name\"", "\"nmae\"", "at line"),
        ("Zoë", "", "administrator.name"),
        ("$argon2id", "$argon2i", "administrator.password"),
        ("2026-11-23T10", "yesterday", "administrator.changed_at"),
        ("2026-11-23T11", "tomorrow", "code.expires_at"),
        ("sha256:", "md5:", "code.digest"),
        ("\"tries_left\": 10", "\"tries_left\": -1", "at line"),
    ] {
        let damaged = text.replacen(old, new, 1);
        assert_ne!(damaged, text, "{old}");
        let error = parse(damaged.as_bytes()).unwrap_err();
        assert!(error.contains(what), "{old}: {error}");
        assert!(!error.contains("c29tZXNhbHR"), "{error}");
    }
}

#[test]
fn a_damaged_file_is_named_with_what_to_do_and_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.json");
    File::create(&path).unwrap().write_all(b"{").unwrap();
    let file = AccountFile::new(folder.path());
    let error = file.update(|account| account.administrator = None);
    let error = error.unwrap_err();
    assert!(
        matches!(error, AccountError::Damaged { .. }) && error.to_string().contains("admin.json"),
        "{error}"
    );
    assert!(error.hint().contains("keygate admin code"));
    assert_eq!(fs::read(&path).unwrap(), b"{");
}

#[test]
fn a_replaced_file_is_private_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = AccountFile::new(folder.path());
    for _ in 0..2 {
        file.update(|account| account.code = Some(code())).unwrap();
        file.update(|account| account.code = None).unwrap();
    }
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .inspect(|entry| {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{entry:?}");
        })
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["admin.json", "admin.json.lock"]);
}

#[test]
fn what_does_not_change_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = AccountFile::new(folder.path());
    file.update(|_| ()).unwrap();
    assert!(!folder.path().join("admin.json").exists());
}

#[test]
fn a_link_stays_one() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = elsewhere.path().join("account");
    File::create(&target)
        .unwrap()
        .write_all(&print(&Account::default()))
        .unwrap();
    symlink(&target, folder.path().join("admin.json")).unwrap();
    let file = AccountFile::new(folder.path());
    file.update(|account| account.code = Some(code())).unwrap();
    assert!(parse(&fs::read(&target).unwrap()).unwrap().code.is_some());
    assert!(
        folder
            .path()
            .join("admin.json")
            .symlink_metadata()
            .unwrap()
            .is_symlink()
    );
}

#[test]
fn changes_from_many_sides_are_all_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = AccountFile::new(folder.path());
    let start = SetupCode {
        tries_left: 40,
        ..code()
    };
    file.update(|account| account.code = Some(start)).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let file = AccountFile::new(folder.path());
                for _ in 0..5 {
                    file.update(|account| account.code.as_mut().unwrap().tries_left -= 1)
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(file.read().unwrap().code.unwrap().tries_left, 20);
}
