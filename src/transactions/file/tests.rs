//! Rotation, pruning, and what happens to the file behind keygate's back.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::transactions::tests::config;

use super::*;

const START: &str = "2026-11-23T10:00:00Z";

struct Setup {
    folder: tempfile::TempDir,
    clock: Clock,
    health: Arc<Health>,
}

impl Setup {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Clock::by_hand(Timestamp::parse(START).unwrap()),
            health: Health::new(),
        }
    }

    fn open(&self, change: impl FnOnce(&mut config::Transactions)) -> FileSink {
        let mut config = config(self.folder.path());
        change(&mut config);
        FileSink::open(&config, self.clock.clone(), Arc::clone(&self.health)).unwrap()
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("transactions")
    }

    fn current(&self) -> PathBuf {
        self.dir().join(FILE_NAME)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.current()).unwrap()
    }

    fn line(&self, text: &str) -> String {
        format!("{{\"time\":\"{}\",\"x\":\"{text}\"}}\n", self.clock.wall())
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir()).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

fn write(sink: &mut FileSink, text: &str, lost: u64) -> u64 {
    sink.write(&mut text.as_bytes().to_vec(), lost)
}

#[test]
fn the_file_and_its_folder_are_for_their_owner_only() {
    let setup = Setup::new();
    let _sink = setup.open(|_| {});
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(setup.dir()), mode(setup.current())), (0o700, 0o600));
}

#[test]
fn a_torn_last_line_is_ended() {
    let setup = Setup::new();
    put(
        &setup.current(),
        "{\"time\":\"2026-11-23T09:59:59.000000Z\",\"pa",
    );
    let mut sink = setup.open(|_| {});
    assert_eq!(write(&mut sink, "{}\n{}\n", 0), 2);
    assert_eq!(
        setup.text(),
        "{\"time\":\"2026-11-23T09:59:59.000000Z\",\"pa\n{}\n{}\n"
    );
}

#[test]
fn a_full_file_is_closed_and_a_new_one_begun() {
    let setup = Setup::new();
    let line = setup.line("a");
    let mut sink = setup.open(|config| config.rotate_size = 2 * line.len() as u64);
    for _ in 0..2 {
        write(&mut sink, &line, 0);
    }
    assert_eq!(setup.names(), [FILE_NAME], "two lines fit exactly");
    write(&mut sink, &line, 0);
    assert_eq!(
        setup.names(),
        ["transactions-20261123T100000.000000Z.ndjson", FILE_NAME]
    );
    assert_eq!(setup.text(), line);
    // A batch that is larger than the limit goes in whole, into a file of its own.
    write(&mut sink, &line.repeat(3), 0);
    assert_eq!(setup.text(), line.repeat(3));
    assert_eq!(
        setup.names().len(),
        3,
        "closed in the same microsecond, under another name"
    );
}

#[test]
fn an_old_file_is_closed_even_if_nothing_comes() {
    let setup = Setup::new();
    let mut sink = setup.open(|config| config.rotate_age = Duration::from_secs(3_600));
    setup.clock.advance(Duration::from_secs(7_200));
    sink.idle();
    assert_eq!(setup.names(), [FILE_NAME], "an empty file is never closed");
    write(&mut sink, &setup.line("a"), 0);
    setup.clock.advance(Duration::from_secs(3_599));
    sink.idle();
    assert_eq!(setup.names(), [FILE_NAME]);
    setup.clock.advance(Duration::from_secs(1));
    sink.idle();
    assert_eq!(
        setup.names(),
        ["transactions-20261123T130000.000000Z.ndjson", FILE_NAME]
    );
    assert_eq!(setup.text(), "");
}

#[test]
fn the_age_of_a_file_outlives_the_process() {
    let setup = Setup::new();
    write(&mut setup.open(|_| {}), &setup.line("a"), 0);
    setup.clock.advance(Duration::from_secs(3_600));
    let mut sink = setup.open(|config| config.rotate_age = Duration::from_secs(3_600));
    write(&mut sink, &setup.line("b"), 0);
    assert_eq!(setup.text(), setup.line("b"));
    assert_eq!(setup.names().len(), 2);
}

#[test]
fn closed_files_are_pruned_by_size_and_by_age() {
    let setup = Setup::new();
    let line = setup.line("a");
    let size = line.len() as u64;
    let mut sink = setup.open(|config| {
        config.rotate_size = size;
        config.keep_size = 3 * size; // the open file is one of them
        config.keep_age = Duration::from_secs(86_400);
    });
    for _ in 0..6 {
        setup.clock.advance(Duration::from_secs(1));
        write(&mut sink, &line, 0);
    }
    let kept = [
        "transactions-20261123T100005.000000Z.ndjson",
        "transactions-20261123T100006.000000Z.ndjson",
    ];
    assert_eq!(setup.names(), [kept[0], kept[1], FILE_NAME]);
    setup.clock.advance(Duration::from_secs(86_399));
    sink.idle();
    assert_eq!(
        setup.names(),
        [kept[0], kept[1], FILE_NAME][..].to_vec(),
        "the older is a day old exactly"
    );
}

#[test]
fn closed_files_go_by_age_while_nothing_comes() {
    let setup = Setup::new();
    put(
        &setup
            .dir()
            .join("transactions-20261101T000000.000000Z.ndjson"),
        "{}\n",
    );
    put(&setup.dir().join("notes"), "mine");
    let mut sink = setup.open(|config| config.keep_age = Duration::from_secs(86_400));
    sink.idle();
    assert_eq!(setup.names(), ["notes", FILE_NAME]);
}

#[test]
fn a_deleted_folder_is_made_again_and_no_later_line_is_lost() {
    let setup = Setup::new();
    let mut sink = setup.open(|_| {});
    write(&mut sink, "{}\n", 0);
    fs::remove_dir_all(setup.dir()).unwrap();
    assert_eq!(write(&mut sink, "{\"second\":1}\n", 0), 1);
    assert_eq!(setup.text(), "{\"second\":1}\n");
    fs::remove_file(setup.current()).unwrap();
    sink.idle();
    assert_eq!(
        setup.text(),
        "",
        "a deleted file is back before a line needs it"
    );
}

#[test]
fn a_file_moved_away_is_not_written_any_more() {
    let setup = Setup::new();
    let mut sink = setup.open(|_| {});
    write(&mut sink, "{\"first\":1}\n", 0);
    let moved = setup.dir().join("moved");
    fs::rename(setup.current(), &moved).unwrap();
    put(&setup.current(), "{\"from elsewhere\"");
    assert_eq!(write(&mut sink, "{\"second\":1}\n", 0), 1);
    assert_eq!(fs::read_to_string(&moved).unwrap(), "{\"first\":1}\n");
    assert_eq!(setup.text(), "{\"from elsewhere\"\n{\"second\":1}\n");
}

#[test]
fn a_file_emptied_from_outside_is_written_from_its_start() {
    let setup = Setup::new();
    let mut sink = setup.open(|config| config.rotate_size = 100);
    write(
        &mut sink,
        &format!("{{\"pad\":\"{}\"}}\n", "x".repeat(80)),
        0,
    );
    File::create(setup.current()).unwrap();
    write(&mut sink, &setup.line("a"), 0);
    assert_eq!(setup.text(), setup.line("a"));
    assert_eq!(
        setup.names(),
        [FILE_NAME],
        "its size was looked up, not remembered"
    );
}

#[test]
fn a_broken_folder_is_retried_every_second_and_then_tells_what_was_lost() {
    let setup = Setup::new();
    let mut sink = setup.open(|_| {});
    fs::remove_dir_all(setup.dir()).unwrap();
    put(&setup.dir(), "a file where the folder should be");
    assert_eq!(write(&mut sink, "{}\n", 0), 0);
    let readiness = setup.health.readiness();
    assert!(
        readiness.ready && readiness.degraded[0].cause == CAUSE,
        "{readiness:?}"
    );
    fs::remove_file(setup.dir()).unwrap();
    setup.clock.advance(Duration::from_millis(999));
    assert_eq!(write(&mut sink, "{}\n", 0), 0, "left alone for a second");
    setup.clock.advance(Duration::from_millis(1));
    let (first, second) = (setup.line("first"), setup.line("second"));
    assert_eq!(write(&mut sink, &format!("{first}{second}"), 7), 2);
    assert_eq!(
        setup.text(),
        format!(
            "{}{second}",
            first.replace("\",\"x\"", "\",\"lost\":7,\"x\"")
        )
    );
    assert_eq!(setup.health.readiness().degraded, []);
}

#[test]
fn an_overrun_shows_for_a_minute() {
    let setup = Setup::new();
    let mut sink = setup.open(|_| {});
    assert_eq!(write(&mut sink, &setup.line("a"), 12), 1);
    assert!(setup.text().contains(",\"lost\":12,"));
    assert_eq!(setup.health.readiness().degraded[0].cause, CAUSE);
    setup
        .clock
        .advance(OVERRUN_SHOWN - Duration::from_millis(1));
    sink.idle();
    assert_eq!(setup.health.readiness().degraded.len(), 1);
    setup.clock.advance(Duration::from_millis(1));
    sink.idle();
    assert_eq!(setup.health.readiness().degraded, []);
}

/// Takes `room` bytes, at most three at a time, then fails like a full disk.
struct FullAfter {
    room: usize,
    taken: Vec<u8>,
}

impl Write for FullAfter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(3).min(self.room - self.taken.len());
        if fits == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.taken.extend_from_slice(&bytes[..fits]);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn how_far_a_write_came_is_known() {
    let lines = b"one\ntwo\nthree\n";
    for room in 0..=lines.len() {
        let mut disk = FullAfter {
            room,
            taken: Vec::new(),
        };
        let (written, result) = write_what_fits(&mut disk, lines);
        assert_eq!((written, result.is_ok()), (room, room == lines.len()));
        assert_eq!(disk.taken, lines[..room]);
    }
}

#[test]
fn what_did_not_fit_of_a_line_is_taken_back() {
    let setup = Setup::new();
    let mut sink = setup.open(|_| {});
    write(&mut sink, "{\"before\":1}\n", 0);
    let size = setup.text().len() as u64;
    let (lines, half) = (b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n", 19);
    // The kernel took this much of the batch before the disk was full.
    sink.open
        .as_mut()
        .unwrap()
        .file
        .write_all(&lines[..half])
        .unwrap();
    assert_eq!(
        sink.open.as_mut().unwrap().take_back(size, &lines[..half]),
        2
    );
    assert_eq!(setup.text(), "{\"before\":1}\n{\"a\":1}\n{\"b\":2}\n");
    assert_eq!(write(&mut sink, "{\"d\":4}\n", 0), 1);
    assert_eq!(
        setup.text(),
        "{\"before\":1}\n{\"a\":1}\n{\"b\":2}\n{\"d\":4}\n"
    );
}

#[test]
fn what_cannot_be_taken_back_is_ended_by_a_newline() {
    let setup = Setup::new();
    let mut sink = setup.open(|_| {});
    write(&mut sink, "{\"a\":1}\n{\"b", 0);
    sink.open.as_mut().unwrap().is_torn = true;
    assert_eq!(write(&mut sink, "{\"c\":3}\n", 0), 1);
    assert_eq!(setup.text(), "{\"a\":1}\n{\"b\n{\"c\":3}\n");
}

#[test]
fn a_link_in_the_place_of_the_file_is_refused_with_what_to_do() {
    let setup = Setup::new();
    fs::create_dir_all(setup.dir()).unwrap();
    let elsewhere = setup.folder.path().join("elsewhere.ndjson");
    put(&elsewhere, "");
    std::os::unix::fs::symlink(&elsewhere, setup.current()).unwrap();
    let config = config(setup.folder.path());
    let opened = FileSink::open(&config, setup.clock.clone(), Arc::clone(&setup.health));
    let (path, error) = opened.unwrap_err();
    assert_eq!(path, setup.current());
    assert!(error.to_string().contains("transactions.dir"), "{error}");
}
