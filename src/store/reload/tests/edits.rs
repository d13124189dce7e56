//! Tests of edits through the reload task: live when they are answered, told with their cause, and no hand edits.

use super::*;
use crate::key::KeyFields;
use crate::key::KeyId;
use crate::store::edit::KeyEdit;

/// An NDJSON file that lets these tokens in.
fn lines(tokens: &[&str]) -> String {
    let entry = |token: &&str| {
        format!(
            "{{\"name\": \"{token}\", \"digest\": \"{}\"}}\n",
            Digest::of(token.as_bytes())
        )
    };
    tokens.iter().map(entry).collect()
}

fn add(token: &str) -> KeyEdit {
    KeyEdit::Add(KeyFields::new(token, Digest::of(token.as_bytes())))
}

impl Following {
    fn revision(&self) -> Revision {
        *self.reader.snapshot().revision()
    }

    fn causes(&self) -> Vec<Cause> {
        let told = self.told.lock().unwrap();
        told.iter().map(|published| published.cause).collect()
    }
}

#[test]
fn an_edit_is_live_when_it_is_answered() {
    follow_file("keys.ndjson", &lines(&["one"]), async |at| {
        for number in 0..20 {
            let token = format!("token-{number}");
            let old = at.revision();
            let new = at.handle.apply(vec![add(&token)], old).await.unwrap();
            assert!(at.passes(&token) && at.passes("one"));
            assert_eq!((at.revision(), at.handle.status().revision), (new, new));
            assert_ne!(old, new);
        }
        let id = KeyId::derive("one");
        at.handle
            .apply(vec![KeyEdit::Remove(id)], at.revision())
            .await
            .unwrap();
        assert!(!at.passes("one"));
    });
}

#[test]
fn a_stale_edit_is_refused_with_the_revision_that_is_there() {
    follow_file("keys.ndjson", &lines(&["one"]), async |at| {
        let seen = at.revision();
        write(&at.file, &lines(&["one", "two"]));
        let error = at.handle.apply(vec![add("three")], seen).await.unwrap_err();
        let EditError::Stale { current } = error else {
            panic!("{error}");
        };
        assert_eq!(at.handle.reload().await, Ok(current));
        assert!(at.passes("two") && !at.passes("three"));
        at.handle.apply(vec![add("three")], current).await.unwrap();
        assert!(at.passes("two") && at.passes("three"));
    });
}

#[test]
fn a_file_broken_by_hand_is_not_edited() {
    follow_file("keys.ndjson", &lines(&["one"]), async |at| {
        let broken = lines(&["one"]) + "{\"name\": \n";
        write(&at.file, &broken);
        let error = at.handle.apply(vec![add("two")], at.revision()).await;
        let Err(EditError::Broken { problems }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(problems[0].place.unwrap().line, 2);
        assert_eq!(std::fs::read_to_string(&at.file).unwrap(), broken);
        assert!(at.passes("one"));
    });
}

#[test]
fn publications_are_told_with_their_cause_and_our_own_are_no_hand_edits() {
    follow_file("keys.ndjson", &lines(&["one"]), async |at| {
        at.handle
            .apply(vec![add("two")], at.revision())
            .await
            .unwrap();
        // The watch wakes for it as well. What it then finds is in force already.
        write(&at.file, &lines(&["one", "two", "three"]));
        at.until("the hand edit is told", |at| at.causes().len() == 2)
            .await;
        write(&at.file, &lines(&["one"]));
        at.handle.reload().await.unwrap();
        at.until("the third is told", |at| at.causes().len() >= 3)
            .await;
        let causes = at.causes();
        assert_eq!(causes[..2], [Cause::Applied, Cause::Noticed]);
        // Whoever comes first finds the third: the watch, or the one who asked.
        assert!(
            matches!(causes[2..], [Cause::Asked | Cause::Noticed]),
            "{causes:?}"
        );
        let told = at.told.lock().unwrap();
        let lengths: Vec<_> = told
            .iter()
            .map(|published| (published.old.len(), published.new.len()))
            .collect();
        assert_eq!(lengths, [(1, 2), (2, 3), (3, 1)]);
        let lags = at
            .metrics
            .render(crate::metrics::KeyCounts::default())
            .lines()
            .find(|line| line.starts_with("keygate_revocation_lag_seconds_count"))
            .map(str::to_owned);
        assert_eq!(
            lags.as_deref(),
            Some("keygate_revocation_lag_seconds_count 2"),
            "hand edits only"
        );
    });
}

#[test]
fn a_token_in_clear_is_revealed_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    write(&secret, "the-token-in-a-file\n");
    let secret = secret.display();
    for (name, text) in [
        (
            "keys.yaml",
            format!(
                "version: 1\nkeys:\n  - name: hashed\n    digest: {}\n  - name: plain # token: no\n    token: \"the-token-\\x69n-clear\"\n  - {{name: filed, token_file: {secret}}}\n",
                Digest::of(b"x")
            ),
        ),
        (
            "flow.yaml",
            format!(
                "version: 1\nkeys: [{{name: hashed, digest: \"{}\"}}, {{name: plain, token: the-token-in-clear}}, {{name: filed, token_file: {secret}}}]\n",
                Digest::of(b"x")
            ),
        ),
        (
            "keys.json",
            format!(
                "{{\"version\": 1, \"keys\": [{{\"name\": \"hashed\", \"digest\": \"{}\"}}, {{\"name\": \"plain\", \"token\": \"the-token-\\u0069n-clear\"}}, {{\"name\": \"filed\", \"token_file\": \"{secret}\"}}]}}",
                Digest::of(b"x")
            ),
        ),
        (
            "keys.ndjson",
            format!(
                "\n{{\"name\": \"hashed\", \"digest\": \"{}\"}}\n\n{{\"name\": \"plain\", \"token\": \"the-token-in-clear\"}}\n{{\"name\": \"filed\", \"token_file\": \"{secret}\"}}\n",
                Digest::of(b"x")
            ),
        ),
    ] {
        follow_file(name, &text, async |at| {
            let reveal = async |key: &str| at.handle.reveal(&KeyId::derive(key)).await;
            assert_eq!(
                reveal("plain").await.unwrap().expose(),
                "the-token-in-clear",
                "{name}"
            );
            assert_eq!(
                reveal("filed").await.unwrap().expose(),
                "the-token-in-a-file",
                "{name}"
            );
            for none in ["hashed", "nobody"] {
                let error = reveal(none).await.unwrap_err();
                assert!(
                    matches!(error, EditError::Unknown { .. }),
                    "{name}: {none}: {error}"
                );
            }
        });
    }
}

#[test]
fn requests_of_a_task_that_has_ended_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.ndjson");
    write(&file, &lines(&["one"]));
    let initial = load_initial(&file, true).unwrap();
    let (reloader, handle, reader) =
        Reloader::new(initial, Metrics::new(1), Health::new(), Clock::system());
    drop(reloader);
    let revision = *reader.snapshot().revision();
    runtime().block_on(async {
        assert!(matches!(
            handle.apply(vec![add("two")], revision).await,
            Err(EditError::Stopping)
        ));
        assert!(handle.reload().await.is_err());
    });
}

/// By the kernel's word for it: the looks alone take two seconds each.
#[test]
fn an_edit_by_another_program_is_live_soon() {
    for name in ["keys.yaml", "keys.ndjson"] {
        let initial = if name == "keys.yaml" {
            text(&["one"])
        } else {
            lines(&["one"])
        };
        follow_file(name, &initial, async |at| {
            let mut other = FileStore::new(at.file.clone());
            let begun = Clock::system().now();
            for number in 0..5 {
                let token = format!("token-{number}");
                let Loaded::Keys { keys, .. } = other.load(None).unwrap() else {
                    panic!("nothing was known");
                };
                other.apply(&[add(&token)], keys.table.revision()).unwrap();
                at.until("the new key passes", |at| at.passes(&token)).await;
            }
            let took = Clock::system().now() - begun;
            assert!(took < Duration::from_secs(5), "{name}: {took:?}");
            at.until("all are told", |at| at.causes() == [Cause::Noticed; 5])
                .await;
        });
    }
}
