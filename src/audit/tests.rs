//! The audit log: what is in its lines, what is never in them, what it survives, and how it is read back.

use std::fs;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::*;
use crate::clock::Timestamp;
use crate::key::KeyFields;
use crate::key::PreviousDigest;
use crate::key::TokenSource;
use crate::key::table::KeyTable;
use crate::key::table::Revision;
use crate::key::token::Digest;

const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn log() -> (tempfile::TempDir, Audit, Clock) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::by_hand(START);
    let audit = Audit::open(&folder.path().join("audit"), clock.clone()).unwrap();
    (folder, audit, clock)
}

fn text(audit: &Audit) -> String {
    fs::read_to_string(audit.folder.join("audit.ndjson")).unwrap()
}

fn fields(name: &str) -> KeyFields {
    KeyFields::new(name, Digest::of(name.as_bytes()))
}

fn written(event: &Event<'_>) -> Value {
    let (_folder, audit, _) = log();
    audit.write(event).unwrap();
    serde_json::from_str(&text(&audit)).unwrap()
}

fn event(action: Action) -> Event<'static> {
    Event::new(Actor::Administrator("admin".to_owned()), action)
}

fn signed_in(number: usize) -> Event<'static> {
    Event {
        detail: Some(number.to_string()),
        ..event(Action::SignedIn)
    }
}

#[test]
fn a_line_says_who_what_when_and_from_where() {
    let key = Key::new(fields("billing"));
    let line = written(&Event {
        client: Some("::ffff:192.0.2.1".parse().unwrap()),
        request_id: Some("r1"),
        after: Some(&key),
        detail: Some("1 key".to_owned()),
        ..event(Action::KeyCreated)
    });
    assert_eq!(
        line,
        json!({
            "time": START.to_string(),
            "actor": {"kind": "administrator", "name": "admin"},
            "action": "key.created",
            "client": "192.0.2.1",
            "request_id": "r1",
            "key_id": key.id().as_str(),
            "key_name": "billing",
            "after": {"name": "billing", "enabled": true, "record": true, "recoverable": false},
            "detail": "1 key",
        })
    );
}

#[test]
fn actors_and_actions_have_words_of_their_own() {
    let words: std::collections::BTreeSet<_> = Action::ALL.map(Action::as_str).into();
    assert_eq!(words.len(), Action::ALL.len());
    for (actor, expected) in [
        (
            Actor::Token("ci".to_owned()),
            json!({"kind": "token", "name": "ci"}),
        ),
        (
            Actor::Shell("root".to_owned()),
            json!({"kind": "shell", "name": "root"}),
        ),
        (Actor::Setup, json!({"kind": "setup"})),
        (Actor::File, json!({"kind": "file"})),
        (Actor::Unknown, json!({"kind": "unknown"})),
    ] {
        let line = written(&Event::new(actor, Action::Reloaded));
        assert_eq!(line["actor"], expected);
    }
}

#[test]
fn of_a_change_only_what_differs_is_written() {
    let old = KeyFields {
        description: Some("old".into()),
        tags: Some([("team".into(), "a".into())].into()),
        ..fields("billing")
    };
    let expires_at = START.plus(Duration::from_secs(60));
    let rows = [
        (
            "nothing",
            KeyFields { ..old.clone() },
            Value::Null,
            Value::Null,
        ),
        (
            "switched off",
            KeyFields {
                enabled: false,
                ..old.clone()
            },
            json!({"enabled": true}),
            json!({"enabled": false}),
        ),
        (
            "a field went and one came",
            KeyFields {
                description: None,
                expires_at: Some(expires_at),
                ..old.clone()
            },
            json!({"description": "old", "expires_at": null}),
            json!({"description": null, "expires_at": expires_at.to_string()}),
        ),
        (
            "tags",
            KeyFields {
                tags: Some([("team".into(), "b".into())].into()),
                ..old.clone()
            },
            json!({"tags": {"team": "a"}}),
            json!({"tags": {"team": "b"}}),
        ),
        (
            "a new token",
            KeyFields {
                digest: Digest::of(b"new"),
                previous: vec![PreviousDigest {
                    digest: old.digest,
                    expires_at,
                }],
                ..old.clone()
            },
            json!({"previous": null}),
            json!({"previous": [{"expires_at": expires_at.to_string()}], "token": "changed"}),
        ),
        (
            "written in another way",
            KeyFields {
                source: TokenSource::Token,
                ..old.clone()
            },
            json!({"written_as": null}),
            json!({"written_as": "token"}),
        ),
    ];
    let old = Key::new(old);
    for (name, new, before, after) in rows {
        let new = Key::new(new);
        let line = written(&Event {
            before: Some(&old),
            after: Some(&new),
            ..event(Action::KeyChanged)
        });
        assert_eq!(
            (&line["before"], &line["after"]),
            (&before, &after),
            "{name}"
        );
        assert_eq!(line["key_id"], old.id().as_str(), "{name}");
    }
}

#[test]
fn neither_tokens_nor_digests_nor_sealed_copies_are_written() {
    let canary = Digest::of(b"canary-token");
    let key = |sealed: &str| {
        Key::new(KeyFields {
            sealed: Some(sealed.into()),
            mask: Some("kg_3fA9…x7Q2".into()),
            previous: vec![PreviousDigest {
                digest: canary,
                expires_at: START,
            }],
            ..KeyFields::new("billing", canary)
        })
    };
    let (old, new) = (key("v1:canary-old"), key("v1:canary-new"));
    let (_folder, audit, _) = log();
    for (before, after) in [
        (None, Some(&new)),
        (Some(&old), Some(&new)),
        (Some(&old), None),
    ] {
        let event = Event {
            before,
            after,
            ..event(Action::KeyChanged)
        };
        audit.write(&event).unwrap();
    }
    let text = text(&audit);
    for secret in ["canary", &canary.to_string()["sha256:".len()..]] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    assert!(text.contains("kg_3fA9…x7Q2"));
}

#[test]
fn text_from_outside_cannot_begin_a_line() {
    let (_folder, audit, _) = log();
    let event = Event {
        detail: Some("x\n{\"time\":\"forged\"}\u{1b}[2J".to_owned()),
        ..Event::new(Actor::Token("a\nb".to_owned()), Action::SignInFailed)
    };
    audit.write(&event).unwrap();
    let text = text(&audit);
    assert_eq!(text.lines().count(), 1);
    assert!(!text.contains('\u{1b}'));
    let long = Event {
        detail: Some("ä".repeat(4000)),
        ..signed_in(0)
    };
    assert_eq!(written(&long)["detail"].as_str().unwrap().len(), 2048);
}

#[test]
fn folder_and_file_are_private() {
    let (_folder, audit, _) = log();
    audit.write(&signed_in(0)).unwrap();
    for (path, expected) in [
        (audit.folder.clone(), 0o700),
        (audit.folder.join("audit.ndjson"), 0o600),
    ] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, expected, "{}", path.display());
    }
}

#[test]
fn a_torn_line_harms_no_other() {
    let (_folder, audit, _) = log();
    audit.write(&signed_in(1)).unwrap();
    let mut file = OpenOptions::new()
        .append(true)
        .open(audit.folder.join("audit.ndjson"))
        .unwrap();
    file.write_all(b"{\"time\":\"2026").unwrap();
    let page = |audit: &Audit| audit.page(&Filter::default(), None, 10).unwrap();
    assert_eq!((page(&audit).events.len(), page(&audit).skipped), (1, 0));
    audit.write(&signed_in(2)).unwrap();
    assert_eq!(text(&audit).lines().count(), 3);
    let page = page(&audit);
    assert_eq!(details(&page), ["2", "1"]);
    assert_eq!(page.skipped, 1);
}

#[test]
fn the_log_goes_on_when_its_folder_is_deleted() {
    let (_folder, audit, _) = log();
    audit.write(&signed_in(1)).unwrap();
    fs::remove_dir_all(&audit.folder).unwrap();
    assert_eq!(
        audit.page(&Filter::default(), None, 10).unwrap(),
        Page::default()
    );
    audit.write(&signed_in(2)).unwrap();
    assert!(text(&audit).contains("\"2\""));
}

#[test]
fn a_log_that_cannot_be_written_is_an_error_that_names_it() {
    let (folder, audit, clock) = log();
    fs::remove_dir_all(&audit.folder).unwrap();
    fs::create_dir_all(audit.folder.join("audit.ndjson")).unwrap();
    let error = audit.write(&signed_in(1)).unwrap_err().to_string();
    assert!(
        error.contains("cannot write the audit log") && error.contains("audit.ndjson"),
        "{error}"
    );
    let nowhere = folder.path().join("absent/audit");
    assert!(Audit::open(&nowhere, clock).is_err());
}

#[test]
fn lines_of_many_writers_stay_whole() {
    let (_folder, audit, clock) = log();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let audit = Audit::open(&audit.folder, clock.clone()).unwrap();
            scope.spawn(move || {
                for number in 0..25 {
                    audit.write(&signed_in(writer * 100 + number)).unwrap();
                }
            });
        }
    });
    let page = audit.page(&Filter::default(), None, 200).unwrap();
    assert_eq!((page.events.len(), page.skipped), (100, 0));
}

#[test]
fn a_full_file_is_closed_and_kept() {
    let (_folder, audit, clock) = log();
    let mut lines = Vec::new();
    for number in 0..10 {
        let mut line = Vec::new();
        line::append(&mut line, &signed_in(number), clock.wall());
        // Two lines fit; the clock stands still, so the closed names would meet.
        file::append_below(&audit.folder, &line, clock.wall(), 2 * line.len() as u64).unwrap();
        lines.push(line);
    }
    let mut names: Vec<_> = fs::read_dir(&audit.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "audit-20270115T080000.000000Z.ndjson",
            "audit-20270115T080000.000001Z.ndjson",
            "audit-20270115T080000.000002Z.ndjson",
            "audit-20270115T080000.000003Z.ndjson",
            "audit.ndjson",
        ]
    );
    let all: Vec<u8> = names
        .iter()
        .flat_map(|name| fs::read(audit.folder.join(name)).unwrap())
        .collect();
    assert_eq!(all, lines.concat());
}

fn details(page: &Page) -> Vec<&str> {
    page.events
        .iter()
        .map(|event| event["detail"].as_str().unwrap())
        .collect()
}

/// Ten events in files of three, each at its own moment.
fn filled() -> (tempfile::TempDir, Audit, Clock) {
    let (folder, audit, clock) = log();
    (0..10).for_each(|number| rotated(&audit, &clock, number));
    (folder, audit, clock)
}

fn rotated(audit: &Audit, clock: &Clock, number: usize) {
    clock.advance(Duration::from_secs(1));
    let mut line = Vec::new();
    line::append(&mut line, &signed_in(number), clock.wall());
    file::append_below(&audit.folder, &line, clock.wall(), 3 * line.len() as u64).unwrap();
}

#[test]
fn pages_go_back_in_time_through_all_files() {
    let (_folder, audit, _) = filled();
    for limit in 1..12 {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = audit
                .page(&Filter::default(), cursor.as_deref(), limit)
                .unwrap();
            assert!(page.events.len() <= limit);
            seen.extend(details(&page).into_iter().map(str::to_owned));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.join(""), "9876543210", "{limit} a page");
    }
}

#[test]
fn a_cursor_stays_right_while_lines_are_added_and_files_closed() {
    let (_folder, audit, clock) = filled();
    let first = audit.page(&Filter::default(), None, 2).unwrap();
    assert_eq!(details(&first), ["9", "8"]);
    (10..20).for_each(|number| rotated(&audit, &clock, number));
    let second = audit
        .page(&Filter::default(), first.next.as_deref(), 3)
        .unwrap();
    assert_eq!(details(&second), ["7", "6", "5"]);
}

#[test]
fn a_cursor_that_names_no_place_is_refused() {
    let (_folder, audit, _) = filled();
    let good = audit.page(&Filter::default(), None, 1).unwrap().next;
    let id = good.unwrap().split('.').next().unwrap().to_owned();
    for cursor in [
        "",
        ".",
        "0",
        "0123456789abcdef.0",
        &format!("{id}."),
        &format!("{id}.-1"),
        &format!("{id}.1x"),
        "../../etc/passwd.0",
    ] {
        assert!(
            matches!(
                audit.page(&Filter::default(), Some(cursor), 1),
                Err(ReadError::Cursor)
            ),
            "{cursor}"
        );
    }
    // Whatever the place is, it is one in the log.
    let page = |place: &str| {
        let cursor = format!("{id}.{place}");
        let page = audit.page(&Filter::default(), Some(&cursor), 1).unwrap();
        (page.events.len(), page.skipped)
    };
    assert_eq!(page("18446744073709551615"), (1, 0));
    assert_eq!(page("3"), (1, 0));
}

#[test]
fn filters_find_by_actor_action_and_key() {
    let (_folder, audit, _) = log();
    let key = Key::new(fields("billing"));
    for (number, actor, action, key) in [
        (
            0,
            Actor::Token("ci".to_owned()),
            Action::KeyCreated,
            Some(&key),
        ),
        (1, Actor::File, Action::KeyChanged, Some(&key)),
        (2, Actor::File, Action::KeysChanged, None),
    ] {
        let event = Event {
            after: key,
            detail: Some(number.to_string()),
            ..Event::new(actor, action)
        };
        audit.write(&event).unwrap();
    }
    let some = |text: &str| Some(text.to_owned());
    let (by_id, by_name) = (some(key.id().as_str()), some("billing"));
    for (actor, action, key, expected) in [
        (None, None, None, "210"),
        (some("ci"), None, None, "0"),
        (some("token"), None, None, "0"),
        (some("file"), None, None, "21"),
        (some("fil"), None, None, ""),
        (None, some("key.changed"), None, "1"),
        (None, None, by_id, "10"),
        (some("file"), None, by_name, "1"),
        (None, None, some("other"), ""),
    ] {
        let filter = Filter { actor, action, key };
        let page = audit.page(&filter, None, 10).unwrap();
        assert_eq!(details(&page).concat(), expected, "{filter:?}");
        assert_eq!(page.next, None);
    }
}

#[test]
fn what_is_no_line_is_skipped_and_counted() {
    let (_folder, audit, _) = log();
    audit.write(&signed_in(1)).unwrap();
    let mut file = OpenOptions::new()
        .append(true)
        .open(audit.folder.join("audit.ndjson"))
        .unwrap();
    file.write_all(b"\n\xff\xfe\n[1]\n{\"time\":1}\n{}\n")
        .unwrap();
    let long = vec![b'x'; 3 * 1024 * 1024];
    file.write_all(&[&long[..], b"\n"].concat()).unwrap();
    audit.write(&signed_in(2)).unwrap();
    let page = audit.page(&Filter::default(), None, 10).unwrap();
    assert_eq!(details(&page), ["2", "1"]);
    assert_eq!((page.skipped, page.next), (6, None));
}

#[test]
fn a_page_reads_a_bounded_part_and_then_goes_on() {
    let (_folder, audit, _) = log();
    audit.write(&signed_in(1)).unwrap();
    let filler = Event {
        detail: Some("x".repeat(2000)),
        ..event(Action::SignedOut)
    };
    let mut lines = Vec::new();
    (0..10_000).for_each(|_| line::append(&mut lines, &filler, START));
    file::append(&audit.folder, &lines, START).unwrap();
    let filter = Filter {
        action: Some("admin.signed_in".to_owned()),
        ..Filter::default()
    };
    let first = audit.page(&filter, None, 10).unwrap();
    assert_eq!(first.events.len(), 0);
    let second = audit.page(&filter, first.next.as_deref(), 10).unwrap();
    assert_eq!((details(&second), second.next.as_ref()), (vec!["1"], None));
}

fn table(keys: impl IntoIterator<Item = KeyFields>, revision: &str) -> KeyTable {
    let keys = keys.into_iter().map(|fields| Key::new(fields).into());
    KeyTable::build(keys.collect(), Revision::of(revision.as_bytes())).unwrap()
}

#[test]
fn a_hand_edit_becomes_events() {
    let old = table(["a", "b", "c", "d"].map(fields), "old");
    let new = table(
        [
            fields("a"),
            KeyFields {
                enabled: false,
                ..fields("b")
            },
            KeyFields {
                digest: Digest::of(b"new"),
                ..fields("c")
            },
            fields("e"),
        ],
        "new",
    );
    let events = by_hand(&old, &new);
    let said: Vec<_> = events
        .iter()
        .map(|event| {
            assert_eq!(event.actor, Actor::File);
            let name = event.after.or(event.before).unwrap().name();
            format!("{} {name}", event.action.as_str())
        })
        .collect();
    assert_eq!(
        said,
        [
            "key.changed b",
            "key.rotated c",
            "key.created e",
            "key.deleted d"
        ]
    );
    assert_eq!(subject(&events[0]), Some(old.keys()[1].id()));
    assert!(by_hand(&old, &table(["a", "b", "c", "d"].map(fields), "comments")).is_empty());
}

#[test]
fn a_hand_edit_of_very_many_keys_is_one_event() {
    let keys = |range: std::ops::Range<usize>| range.map(|number| fields(&format!("key {number}")));
    let (old, new) = (table(keys(0..600), "old"), table(keys(600..1000), "new"));
    assert_eq!(by_hand(&old, &new).len(), 1000);
    let new = table(keys(600..1001), "new");
    let events = by_hand(&old, &new);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].action, Action::KeysChanged);
    assert_eq!(
        events[0].detail.as_deref(),
        Some("1001 keys: 401 created, 600 deleted")
    );
}
