//! Sealed copies open for their key and under their secret, and for nothing else; the secret file is made once,
//! and what happens to it between two uses counts at the next.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const LINE: &str = "keygate-secret:v1:";
const CANARY: &str = "canary-token-0123456789";

fn folder() -> (TempDir, SecretFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = SecretFile::new(folder.path().join("secret"));
    (folder, file)
}

fn made() -> (TempDir, SecretFile) {
    let (folder, file) = folder();
    assert!(file.make_if_absent(false).unwrap());
    (folder, file)
}

/// As an editor that writes into the file would.
fn put(file: &SecretFile, bytes: &[u8]) {
    let mut open = fs::File::create(file.path()).unwrap();
    open.write_all(bytes).unwrap();
}

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

fn token() -> Token {
    Token::parse(CANARY.to_owned()).unwrap()
}

/// The copy with its bytes changed.
fn altered(sealed: &str, change: impl Fn(&mut Vec<u8>)) -> String {
    let mut bytes = BASE64_STANDARD.decode(&sealed[PREFIX.len()..]).unwrap();
    change(&mut bytes);
    format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes))
}

fn is_damaged(result: &Result<Token, SealError>) -> bool {
    matches!(result, Err(SealError::Damaged { .. }))
}

#[test]
fn a_copy_opens_for_its_key() {
    let (_folder, file) = made();
    let secrets = file.open().unwrap();
    let sealed = secrets.seal(&id("a"), &token());
    assert!(!sealed.contains(CANARY));
    assert_eq!(
        file.open()
            .unwrap()
            .unseal(&id("a"), &sealed)
            .unwrap()
            .expose(),
        CANARY
    );
    assert_ne!(sealed, secrets.seal(&id("a"), &token()), "the nonce is new");
    assert!(secrets.is_current(&sealed));
    assert_eq!(sealed_under(&sealed), Some(secrets.current_id()));
}

#[test]
fn a_copy_opens_for_no_other_key() {
    let (_folder, file) = made();
    let secrets = file.open().unwrap();
    let sealed = secrets.seal(&id("a"), &token());
    for other in ["b", "A", "aa"] {
        assert!(is_damaged(&secrets.unseal(&id(other), &sealed)), "{other}");
    }
}

#[test]
fn a_copy_that_was_changed_anywhere_does_not_open() {
    let (_folder, file) = made();
    let secrets = file.open().unwrap();
    let sealed = secrets.seal(&id("a"), &token());
    let length = BASE64_STANDARD
        .decode(&sealed[PREFIX.len()..])
        .unwrap()
        .len();
    for at in 0..length {
        let flipped = altered(&sealed, |bytes| bytes[at] ^= 1);
        let result = secrets.unseal(&id("a"), &flipped);
        if at < ID_BYTES {
            assert!(
                matches!(result, Err(SealError::SecretMissing { .. })),
                "{at}"
            );
        } else {
            assert!(is_damaged(&result), "{at}");
        }
    }
    for shorter in 0..length {
        let cut = altered(&sealed, |bytes| bytes.truncate(shorter));
        assert!(is_damaged(&secrets.unseal(&id("a"), &cut)), "{shorter}");
    }
    for text in [
        "",
        "v1:",
        "v2:AAAA",
        "v1:not base64",
        &sealed[PREFIX.len()..],
    ] {
        assert!(is_damaged(&secrets.unseal(&id("a"), text)), "{text}");
    }
}

#[test]
fn a_foreign_copy_names_the_secret_that_is_wanted() {
    let ((_one, ours), (_two, theirs)) = (made(), made());
    let theirs = theirs.open().unwrap();
    let sealed = theirs.seal(&id("a"), &token());
    let error = ours.open().unwrap().unseal(&id("a"), &sealed).unwrap_err();
    let SealError::SecretMissing { wanted } = &error else {
        panic!("{error}");
    };
    assert_eq!(*wanted, theirs.current_id());
    assert!(error.to_string().ends_with(wanted.as_str()), "{error}");
}

#[test]
fn what_is_under_the_right_id_and_another_secret_is_damaged() {
    let ((_one, ours), (_two, theirs)) = (made(), made());
    let (ours, theirs) = (ours.open().unwrap(), theirs.open().unwrap());
    let sealed = altered(&theirs.seal(&id("a"), &token()), |bytes| {
        bytes[..ID_BYTES].copy_from_slice(&ours.current().id);
    });
    assert!(is_damaged(&ours.unseal(&id("a"), &sealed)));
}

#[test]
fn the_first_line_seals_and_all_lines_open() {
    let (_folder, file) = made();
    let before = file.open().unwrap();
    let old = before.seal(&id("a"), &token());
    let new_id = file.add_first().unwrap();
    let both = file.open().unwrap();
    assert_eq!(both.ids(), [new_id.clone(), before.current_id()]);
    assert!(!both.is_current(&old));
    assert_eq!(both.unseal(&id("a"), &old).unwrap().expose(), CANARY);
    let new = both.seal(&id("a"), &token());
    assert!(both.is_current(&new));

    assert_eq!(file.drop_old(|_| false).unwrap(), [""; 0]);
    assert_eq!(file.drop_old(|_| true).unwrap(), [before.current_id()]);
    let after = file.open().unwrap();
    assert_eq!(after.ids(), [new_id]);
    assert_eq!(after.unseal(&id("a"), &new).unwrap().expose(), CANARY);
    let error = after.unseal(&id("a"), &old).unwrap_err();
    assert!(matches!(error, SealError::SecretMissing { wanted } if wanted == before.current_id()));
    assert_eq!(
        file.drop_old(|_| true).unwrap(),
        [""; 0],
        "the first one stays"
    );
}

#[test]
fn the_file_counts_as_it_is_at_each_use() {
    let (_folder, file) = made();
    let sealed = file.open().unwrap().seal(&id("a"), &token());
    let kept = fs::read(file.path()).unwrap();
    fs::remove_file(file.path()).unwrap();
    assert!(matches!(file.open(), Err(SealError::Missing { .. })));
    assert!(file.make_if_absent(false).unwrap());
    let other = file.open().unwrap();
    assert!(matches!(
        other.unseal(&id("a"), &sealed),
        Err(SealError::SecretMissing { .. })
    ));
    put(&file, &kept);
    let again = file.open().unwrap();
    assert_eq!(again.unseal(&id("a"), &sealed).unwrap().expose(), CANARY);
}

#[test]
fn the_file_is_made_once_and_for_its_owner() {
    let (folder, file) = folder();
    assert!(
        !file.make_if_absent(true).unwrap(),
        "sealed copies want another one"
    );
    assert!(matches!(file.open(), Err(SealError::Missing { .. })));
    assert!(file.make_if_absent(false).unwrap());
    let text = fs::read_to_string(file.path()).unwrap();
    let mode = fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(file.open().unwrap().warning().is_none());
    for sealed_exist in [true, false] {
        assert!(file.make_if_absent(sealed_exist).unwrap());
        assert_eq!(fs::read_to_string(file.path()).unwrap(), text);
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn of_many_that_make_the_file_one_wins() {
    let (_folder, file) = folder();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let make = || {
            assert!(file.make_if_absent(false).unwrap());
            file.open().unwrap().current_id()
        };
        let running: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn a_file_that_others_may_read_is_used_with_a_warning() {
    let (_folder, file) = made();
    for mode in [0o640, 0o644, 0o604] {
        fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
        let secrets = file.open().unwrap();
        let warning = secrets.warning().unwrap().to_string();
        assert!(warning.contains(&format!("{mode:04o}")), "{warning}");
        file.add_first().unwrap();
        let kept = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(kept & 0o777, mode, "whoever set it wanted it so");
    }
}

#[test]
fn comments_order_and_links_survive_a_new_secret() {
    let (folder, file) = made();
    let mut text = fs::read_to_string(file.path()).unwrap();
    text.insert_str(0, "# ours\r\n\r\n");
    text.push_str("# the end");
    put(&file, text.as_bytes());
    let link = folder.path().join("link");
    symlink(file.path(), &link).unwrap();
    let linked = SecretFile::new(link.clone());
    linked.add_first().unwrap();
    linked.drop_old(|_| true).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    let now = fs::read_to_string(file.path()).unwrap();
    let comments = |text: &str| -> Vec<String> {
        let lines = text
            .split_inclusive('\n')
            .filter(|line| !line.starts_with(LINE));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(comments(&now), comments(&text));
    assert_eq!(now.matches(LINE).count(), 1);
    assert_ne!(now, text);
}

#[test]
fn a_malformed_file_is_named_with_its_line_and_left_alone() {
    let (_folder, file) = made();
    let good = fs::read_to_string(file.path()).unwrap();
    let line = good.lines().last().unwrap();
    for (text, wrong) in [
        (String::new(), 1),
        ("# nothing but a comment\n".to_owned(), 1),
        (good.replace(LINE, "keygate-secret:v2:"), 3),
        (format!("{good}{line}\n"), 4),
        (format!("{good}keygate-secret:v1:0000000:AAAA\n"), 4),
        (format!("{good}keygate-secret:v1:0000000G:AAAA\n"), 4),
        (good[..good.len() - 3].to_owned(), 3),
        (good.trim_end().trim_end_matches('=').to_owned(), 3),
        (format!("{good}\n\nsomething else\n"), 6),
    ] {
        put(&file, text.as_bytes());
        let error = file.open().unwrap_err();
        assert!(
            matches!(error, SealError::Malformed { line, .. } if line == wrong),
            "{text:?}: {error}"
        );
        assert!(file.add_first().is_err());
        assert_eq!(fs::read_to_string(file.path()).unwrap(), text);
    }
    put(&file, b"# \xff\n");
    assert!(matches!(
        file.open(),
        Err(SealError::Malformed { line: 1, .. })
    ));
}

#[test]
fn nothing_shows_a_secret() {
    let (_folder, file) = made();
    let text = fs::read_to_string(file.path()).unwrap();
    let secret = text.trim_end().rsplit(':').next().unwrap();
    let secrets = file.open().unwrap();
    let shown = format!("{secrets:?} {file:?} {:#?}", secrets.warning());
    assert!(shown.contains(&secrets.current_id()));
    assert!(
        !shown.contains(secret) && !shown.contains(&secret[..8]),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn any_text_is_no_copy_and_no_panic(text in any::<String>(), base64 in "v1:[A-Za-z0-9+/]{0,120}={0,2}") {
        let secrets = Secrets {
            secrets: vec![Sealer { id: [1; ID_BYTES], secret: Zeroizing::new([2; SECRET_BYTES]) }],
            warning: None,
        };
        prop_assert!(secrets.unseal(&id("a"), &text).is_err());
        prop_assert!(secrets.unseal(&id("a"), &base64).is_err());
    }

    #[test]
    fn every_token_survives_sealing(text in "[!-~]{8,512}", key in "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}") {
        let secrets = Secrets {
            secrets: vec![Sealer { id: [1; ID_BYTES], secret: Zeroizing::new([2; SECRET_BYTES]) }],
            warning: None,
        };
        if let Ok(token) = Token::parse(text.clone()) {
            let sealed = secrets.seal(&id(&key), &token);
            let opened = secrets.unseal(&id(&key), &sealed).unwrap();
            prop_assert_eq!(opened.expose(), text.as_str());
        }
    }
}

#[test]
fn what_a_killed_process_left_goes_with_the_next_rewrite() {
    let (folder, file) = made();
    let beside = |name: &str| folder.path().join(name);
    let [left, held, other] = [
        ".secret.0123456789abcdef.new",
        ".secret.fedcba9876543210.new",
        ".secret.mine.new",
    ]
    .map(beside);
    for path in [&left, &other] {
        fs::copy(file.path(), path).unwrap();
    }
    let open = fs::File::create(&held).unwrap();
    open.lock().unwrap();
    file.add_first().unwrap();
    assert!(!left.exists());
    assert!(held.exists() && other.exists());
    drop(open);
    file.drop_old(|_| true).unwrap();
    assert!(!held.exists());
    assert_eq!(file.open().unwrap().ids().len(), 1);
}
