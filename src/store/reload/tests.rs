//! Tests of the reload task: what becomes live, what never does, and what is said about it.

mod edits;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::key::token::Digest;

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

/// A key file that lets these tokens in.
fn text(tokens: &[&str]) -> String {
    if tokens.is_empty() {
        return "version: 1\nkeys: []\n".to_owned();
    }
    let entry = |token: &&str| {
        format!(
            "  - name: {token}\n    digest: {}\n",
            Digest::of(token.as_bytes())
        )
    };
    format!(
        "version: 1\nkeys:\n{}",
        tokens.iter().map(entry).collect::<String>()
    )
}

struct Following {
    told: Arc<Mutex<Vec<Published>>>,
    _folder: tempfile::TempDir,
    file: PathBuf,
    handle: ReloadHandle,
    reader: KeyReader,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// Follows a YAML file with this text while `test` runs.
fn follow(initial: &str, test: impl AsyncFnOnce(&Following)) {
    follow_file("keys.yaml", initial, test);
}

/// Follows a file of this name and with this text while `test` runs.
fn follow_file(name: &str, initial: &str, test: impl AsyncFnOnce(&Following)) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    write(&file, initial);
    let (metrics, health) = (Metrics::new(1), Health::new());
    let initial = load_initial(&file, true).unwrap();
    let (reloader, handle, reader) = Reloader::new(
        initial,
        Arc::clone(&metrics),
        Arc::clone(&health),
        Clock::system(),
    );
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let reloader = reloader.observed_by(move |published| {
        seen.lock().unwrap().push(published.clone());
    });
    let following = Following {
        told,
        _folder: folder,
        file,
        handle,
        reader,
        health,
        metrics,
    };
    runtime().block_on(async {
        tokio::select! {
            () = reloader.run() => panic!("it ends with its last handle only"),
            () = test(&following) => {}
        }
    });
}

impl Following {
    fn passes(&self, token: &str) -> bool {
        self.reader
            .snapshot()
            .find(&Digest::of(token.as_bytes()), Timestamp::from_micros(0))
            .is_some()
    }

    /// Waits until `condition` holds.
    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(Duration::from_secs(10), async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(waited.await.is_ok(), "never: {what}");
    }
}

#[test]
fn an_edit_goes_live() {
    follow(&text(&["one"]), async |at| {
        assert!(at.passes("one") && !at.passes("two"));
        write(&at.file, &text(&["one", "two"]));
        at.until("two passes", |at| at.passes("two")).await;
        write(&at.file, &text(&["two"]));
        at.until("one is refused", |at| !at.passes("one")).await;
        at.until("the status follows", |at| {
            at.handle.status().revision == Revision::of(text(&["two"]).as_bytes())
        })
        .await;
        assert!(
            at.metrics
                .render(crate::metrics::KeyCounts::default())
                .contains("keygate_reloads_total{result=\"success\"} 3")
        );
    });
}

#[test]
fn a_bad_file_leaves_the_last_good_keys_in_force() {
    follow(&text(&["one"]), async |at| {
        for bad in [
            "",
            "version: 1\n",
            "version: 1\nkeys:\n  - name: \"one\n",
            "\0\0\0\0",
        ] {
            write(&at.file, bad);
            let problems = at.handle.reload().await.unwrap_err();
            assert!(at.passes("one"), "{bad:?}");
            assert!(!at.handle.status().problems.is_empty(), "{bad:?}");
            let readiness = at.health.readiness();
            assert!(
                readiness.ready && readiness.degraded[0].why.contains(&problems[0].what),
                "{readiness:?}"
            );
            write(&at.file, &text(&["one"]));
            at.handle.reload().await.unwrap();
            at.until("good again", |at| at.handle.status().problems.is_empty())
                .await;
            assert_eq!(at.health.readiness().degraded, []);
        }
        std::fs::remove_file(&at.file).unwrap();
        at.until("the loss is noticed", |at| {
            !at.handle.status().problems.is_empty()
        })
        .await;
        assert!(at.passes("one"));
        write(&at.file, &text(&["two"]));
        at.until("two passes", |at| at.passes("two")).await;
    });
}

#[test]
fn asking_answers_when_the_keys_are_live() {
    follow(&text(&["one"]), async |at| {
        for number in 0..50 {
            let token = format!("token-{number}");
            let text = text(&[&token]);
            write(&at.file, &text);
            assert_eq!(at.handle.reload().await, Ok(Revision::of(text.as_bytes())));
            assert!(at.passes(&token));
        }
    });
}

#[test]
fn a_slow_writer_is_never_read_half_way() {
    follow(&text(&["one", "two"]), async |at| {
        let whole = text(&["one", "two", "three"]);
        let mut writer = File::create(&at.file).unwrap();
        for line in whole.split_inclusive('\n') {
            writer.write_all(line.as_bytes()).unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
            assert!(at.passes("one") && at.passes("two"), "after {line:?}");
        }
        drop(writer);
        at.until("three passes", |at| at.passes("three")).await;
    });
}

#[test]
fn a_token_file_is_followed_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    write(&secret, "the-first-token\n");
    follow(
        &format!(
            "version: 1\nkeys:\n  - {{name: a, token_file: {}}}\n",
            secret.display()
        ),
        async |at| {
            assert!(at.passes("the-first-token"));
            write(&secret, "the-second-token\n");
            at.until("the second token passes", |at| {
                at.passes("the-second-token")
            })
            .await;
            assert!(!at.passes("the-first-token"));
        },
    );
}

#[test]
fn a_default_file_is_made_and_a_named_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.yaml");
    let problems = load_initial(&file, true).unwrap_err();
    assert!(
        problems[0]
            .what
            .starts_with("cannot read the key file: No such file"),
        "{problems:?}"
    );
    assert!(!file.exists());
    assert!(check(&file).is_err());
    let initial = load_initial(&file, false).unwrap();
    assert!(initial.table().is_empty());
    assert!(check(&file).unwrap().table.is_empty());
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "version: 1\nkeys: []\n"
    );
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing else is left there"
    );
    write(&file, &text(&["one"]));
    assert_eq!(
        load_initial(&file, false).unwrap().table().len(),
        1,
        "what is there is kept"
    );
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let problems = load_initial(folder.path(), true).unwrap_err();
    assert!(
        problems[0].what.contains("not a regular file"),
        "{problems:?}"
    );
    let pipe = folder.path().join("keys.yaml");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let problems = load_initial(&pipe, true).unwrap_err();
    assert!(
        problems[0].what.contains("not a regular file"),
        "{problems:?}"
    );
}
