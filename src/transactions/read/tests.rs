//! The log read back as it is written, rotated, pruned and broken: pages hold every line once, a follower hands out every
//! line once, and the sieve never loses what a plain look at each line finds.

mod following;
mod properties;
mod racing;

use std::fs;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::transactions::closed;
use crate::transactions::read::page::page_of;
use crate::transactions::read::search::BLOCK_BYTES;
use crate::transactions::read::search::Search;

/// A log in a folder of its own.
pub(super) struct Log {
    folder: tempfile::TempDir,
    clock: Clock,
}

impl Log {
    pub(super) fn new() -> Self {
        let start = Timestamp::parse("2026-11-25T10:00:00Z").unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Clock::by_hand(start),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn current(&self) -> PathBuf {
        self.folder().join("transactions.ndjson")
    }

    /// Appends bytes as they are.
    pub(super) fn append(&self, bytes: impl AsRef<[u8]>) {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(self.current());
        file.unwrap().write_all(bytes.as_ref()).unwrap();
    }

    /// Records of these numbers, a second apart.
    pub(super) fn write(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.append(self.line(number) + "\n");
            self.clock.advance(Duration::from_secs(1));
        }
    }

    pub(super) fn line(&self, number: usize) -> String {
        let key = number % 10;
        format!(
            r#"{{"time":"{}","request_id":"r-{number}","decision":"allowed","key_id":"k_{key}","key_name":"key {key}","client_ip":"10.0.0.{key}","method":"GET","scheme":"http","host":"app","path":"/n/{number}","protocol":"HTTP/1.1","status":200,"request_bytes":0,"response_bytes":1,"duration_us":5,"end":"complete"}}"#,
            self.clock.wall()
        )
    }

    pub(super) fn rotate(&self) -> PathBuf {
        closed::close(&self.current(), self.clock.wall()).unwrap()
    }

    /// Deletes all closed files but so many.
    pub(super) fn prune(&self, keep: usize) {
        let mut closed: Vec<_> = fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| *path != self.current())
            .collect();
        closed.sort();
        for path in closed.iter().rev().skip(keep) {
            fs::remove_file(path).unwrap();
        }
    }

    pub(super) fn page(&self, filter: &[(&str, &str)], from: Option<&Place>, limit: usize) -> Page {
        let filter = Filter::parse(filter.iter().copied(), self.clock.wall()).unwrap();
        page(self.folder(), &filter, from, limit, &self.clock)
    }

    /// The numbers of all records on all pages.
    pub(super) fn numbers(&self, filter: &[(&str, &str)], limit: usize) -> Vec<usize> {
        let (mut numbers, mut from) = (Vec::new(), None);
        loop {
            let page = self.page(filter, from.as_ref(), limit);
            numbers.extend(page.lines.iter().map(|line| number_of(line)));
            from = page.next;
            if from.is_none() {
                return numbers;
            }
        }
    }
}

pub(super) fn number_of(line: &str) -> usize {
    let entry = Entry::of(line).unwrap();
    entry
        .request_id
        .strip_prefix("r-")
        .unwrap()
        .parse()
        .unwrap()
}

fn backwards(numbers: std::ops::Range<usize>) -> Vec<usize> {
    numbers.rev().collect()
}

#[test]
fn pages_go_from_the_newest_to_the_oldest_through_all_files() {
    let log = Log::new();
    assert_eq!(log.page(&[], None, 10), Page::default());
    log.write(0..30);
    log.rotate();
    log.write(30..55);
    log.rotate();
    log.write(55..60);
    for limit in [1, 7, 60, 200] {
        assert_eq!(log.numbers(&[], limit), backwards(0..60), "{limit} a page");
    }
    let of_key: Vec<_> = (0..6).map(|ten| ten * 10 + 3).rev().collect();
    assert_eq!(log.numbers(&[("key", "k_3")], 2), of_key);
    assert_eq!(log.numbers(&[("search", "KEY 3")], 200), of_key);
    assert_eq!(log.numbers(&[("status", "5xx")], 200), Vec::<usize>::new());
    let page = log.page(&[("status", "5xx")], None, 200);
    let oldest = Timestamp::parse("2026-11-25T10:00:00Z").ok();
    assert_eq!((page.next, page.searched_to), (None, oldest));
}

#[test]
fn many_blocks_are_read_as_one() {
    let log = Log::new();
    let numbers = 6 * BLOCK_BYTES / log.line(0).len();
    let text: String = (0..numbers).map(|number| log.line(number) + "\n").collect();
    log.append(text);
    assert_eq!(log.numbers(&[], 200), backwards(0..numbers));
    let rare = log.numbers(&[("path", "/n/17*")], 200);
    let expected: Vec<_> = backwards(0..numbers)
        .into_iter()
        .filter(|number| number.to_string().starts_with("17"))
        .collect();
    assert_eq!(rare, expected);
}

#[test]
fn every_line_comes_once_while_a_writer_appends_rotates_and_prunes() {
    let log = Log::new();
    log.write(0..100);
    let (mut numbers, mut from, mut next) = (Vec::new(), None, 100);
    for round in 0.. {
        let page = log.page(&[], from.as_ref(), 7);
        // The same place has the same page, whatever happened in between.
        log.write(next..next + 5);
        next += 5;
        if round % 3 == 1 {
            log.rotate();
        }
        if let Some(from) = &from {
            assert_eq!(log.page(&[], Some(from), 7).lines, page.lines);
        }
        numbers.extend(page.lines.iter().map(|line| number_of(line)));
        match page.next {
            Some(place) => from = Place::parse(&place.to_string()),
            None => break,
        }
        if round == 9 {
            log.prune(2);
        }
    }
    let first = *numbers.last().unwrap();
    assert_eq!(
        numbers,
        backwards(first..100),
        "none twice and none missing"
    );
    assert!(
        first > 0 && first < 40,
        "what was pruned is not there: {first}"
    );
}

#[test]
fn a_place_that_is_gone_has_nothing_before_it() {
    let log = Log::new();
    log.write(0..10);
    log.rotate();
    log.write(10..20);
    let place = log.page(&[], None, 15).next.unwrap();
    log.prune(0);
    let page = log.page(&[], Some(&place), 15);
    assert_eq!((page.lines, page.next), (Vec::new(), None));
    // One whose file was moved away goes on with the older files.
    log.rotate();
    log.write(20..30);
    let place = log.page(&[], None, 5).next.unwrap();
    fs::rename(log.current(), log.folder().join("moved")).unwrap();
    log.write(30..40);
    let page = log.page(&[], Some(&place), 200);
    let numbers: Vec<_> = page.lines.iter().map(|line| number_of(line)).collect();
    assert_eq!(numbers, backwards(10..20));
}

#[test]
fn what_is_no_line_is_skipped_and_counted() {
    let log = Log::new();
    log.write(0..2);
    log.append("torn {\"time\":\"2026-\n");
    log.append([b"\0".repeat(70), b"\n".to_vec()].concat());
    log.append("\n{}\n");
    log.append("{\"time\":\"2026-11-25T10:00:00.000000Z\",\"request_id\":7}\n");
    log.append([b"{\"time\":\"2026-11-25T10:00:00.000000Z\",\"x\":\"\xff\"}\n".to_vec()].concat());
    log.write(2..4);
    log.append("x".repeat(3 * BLOCK_BYTES + 1));
    log.append("\n");
    log.write(4..6);
    log.append(log.line(6)); // no newline yet: it is being written
    let page = log.page(&[], None, 200);
    let numbers: Vec<_> = page.lines.iter().map(|line| number_of(line)).collect();
    assert_eq!(numbers, backwards(0..6));
    assert_eq!(page.skipped, 7);
    // A needle passes over lines without parsing them, and still counts those that are obviously none.
    let page = log.page(&[("key", "k_5")], None, 200);
    assert_eq!((page.lines.len(), page.skipped), (1, 5));
    log.append("\n");
    assert_eq!(log.numbers(&[], 200), backwards(0..7));
    // The end of a closed file that has no newline was torn.
    log.append(log.line(7));
    log.rotate();
    assert_eq!(log.numbers(&[], 200), backwards(0..7));
    assert_eq!(log.page(&[], None, 200).skipped, 8);
}

#[test]
fn a_file_of_nothing_but_one_endless_line_ends_a_search() {
    let log = Log::new();
    log.append("x".repeat(2 * BLOCK_BYTES + 5));
    assert_eq!(log.page(&[], None, 5).skipped, 0, "it is being written");
    log.append("\n");
    assert_eq!(log.page(&[], None, 5).skipped, 1);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_read() {
    let log = Log::new();
    log.write(0..3);
    log.rotate();
    fs::create_dir(log.current()).unwrap();
    let page = log.page(&[], None, 200);
    assert_eq!(page.lines.len(), 3);
    let [unreadable] = &*page.unreadable else {
        panic!("{page:?}")
    };
    assert_eq!(unreadable.file, "transactions.ndjson");
    assert_eq!(unreadable.why, "it is not a regular file");
}

#[test]
fn files_that_were_closed_before_are_not_read() {
    let log = Log::new();
    log.write(0..3);
    log.append("no line\n");
    log.rotate();
    log.clock.advance(Duration::from_secs(3_600));
    log.write(3..6);
    let page = log.page(&[("since", "1h")], None, 200);
    assert_eq!((page.lines.len(), page.skipped), (3, 0));
    assert_eq!(log.page(&[("since", "2h")], None, 200).skipped, 1);
}

#[test]
fn a_page_that_takes_too_long_is_cut_off_and_has_a_next_one() {
    let log = Log::new();
    for _ in 0..3 {
        log.write(0..3);
        log.rotate();
        log.clock.advance(Duration::from_secs(60));
    }
    let (mut from, mut pages, mut searched_to) = (None, 0, Vec::new());
    loop {
        let search = Search::new(log.folder(), Filter::request("nobody's"), from.as_ref());
        let page = page_of(search, 10, |search| search.bytes > 0);
        pages += 1;
        searched_to.extend(page.searched_to);
        from = page.next;
        if from.is_none() {
            break;
        }
        assert!(pages < 20, "it comes to an end");
    }
    assert_eq!(pages, 3, "one a file");
    assert!(searched_to.is_sorted_by(|newer, older| newer >= older));
    assert_eq!(
        searched_to.last().unwrap().to_short(),
        "2026-11-25T10:00:00Z"
    );
}

#[test]
fn all_records_come_as_blocks() {
    let log = Log::new();
    log.write(0..10);
    log.rotate();
    log.write(10..20);
    let lines: Vec<String> = all(log.folder(), &Filter::default()).flatten().collect();
    let numbers: Vec<_> = lines.iter().map(|line| number_of(line)).collect();
    assert_eq!(numbers, backwards(0..20));
}

#[test]
fn reading_leaves_no_trace() {
    let log = Log::new();
    let _ = log.page(&[], None, 1);
    let _ = Follow::from_now(log.folder(), Filter::default()).is_behind();
    assert_eq!(fs::read_dir(log.folder()).unwrap().count(), 0);
}
