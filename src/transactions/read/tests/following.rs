//! A follower beside a writer: every line once, in order, through everything that happens to files.

use std::fs;

use super::Log;
use super::number_of;
use crate::transactions::read::Event;
use crate::transactions::read::Filter;
use crate::transactions::read::Follow;
use crate::transactions::read::Place;
use crate::transactions::read::search::BLOCK_BYTES;

/// Everything that there is to read now; a gap is `None`.
fn read(follow: &mut Follow) -> Vec<Option<usize>> {
    let mut events = Vec::new();
    while follow.read(&mut events).unwrap() {}
    let number = |event: &Event| match event {
        Event::Record { line, .. } => Some(number_of(line)),
        Event::Gap => None,
    };
    events.iter().map(number).collect()
}

fn some(numbers: std::ops::Range<usize>) -> Vec<Option<usize>> {
    numbers.map(Some).collect()
}

fn from_now(log: &Log) -> Follow {
    Follow::from_now(log.folder(), Filter::default())
}

#[test]
fn only_what_is_new_comes_and_only_when_it_is_whole() {
    let log = Log::new();
    log.write(0..5);
    log.append(&log.line(5)[..20]);
    let mut follow = from_now(&log);
    assert_eq!(read(&mut follow), []);
    assert!(!follow.is_behind(), "half a line is nothing to read");
    log.append(&log.line(5)[20..]);
    log.append("\n");
    assert!(follow.is_behind());
    assert_eq!(read(&mut follow), some(5..6));
    log.write(6..9);
    assert_eq!(read(&mut follow), some(6..9));
    assert!(!follow.is_behind());
}

#[test]
fn it_goes_on_through_rotations_and_from_nothing() {
    let log = Log::new();
    let mut follow = from_now(&log);
    assert_eq!(read(&mut follow), []);
    log.write(0..3);
    assert_eq!(read(&mut follow), some(0..3));
    log.write(3..5);
    log.rotate();
    log.append("");
    assert_eq!(read(&mut follow), some(3..5));
    assert!(!follow.is_behind(), "an empty file is nothing to read");
    log.write(5..7);
    log.rotate();
    log.write(7..9);
    log.rotate();
    log.write(9..10);
    assert!(follow.is_behind());
    assert_eq!(read(&mut follow), some(5..10));
}

#[test]
fn it_goes_on_when_files_are_moved_away() {
    let log = Log::new();
    log.write(0..3);
    let mut follow = from_now(&log);
    log.write(3..5);
    fs::rename(log.current(), log.folder().join("moved")).unwrap();
    assert_eq!(read(&mut follow), some(3..5));
    log.write(5..7);
    assert_eq!(read(&mut follow), some(5..7), "no gap: nothing is lost");
    // With its folder as well.
    log.write(7..8);
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(log.current(), elsewhere.path().join("moved")).unwrap();
    fs::remove_dir_all(log.folder()).unwrap();
    assert_eq!(read(&mut follow), some(7..8));
    fs::create_dir(log.folder()).unwrap();
    log.write(8..9);
    assert_eq!(read(&mut follow), some(8..9));
}

#[test]
fn what_was_deleted_before_it_came_is_a_gap() {
    let log = Log::new();
    log.write(0..3);
    let mut follow = from_now(&log);
    log.write(3..5);
    log.rotate();
    log.write(5..7);
    log.rotate();
    log.prune(0);
    log.write(7..9);
    let expected = [some(3..5), vec![None], some(7..9)].concat();
    assert_eq!(read(&mut follow), expected);
    // Emptied in place.
    fs::File::create(log.current()).unwrap();
    assert_eq!(read(&mut follow), [None]);
    log.write(9..11);
    assert_eq!(read(&mut follow), some(9..11));
}

#[test]
fn it_goes_on_behind_the_place_of_an_event() {
    let log = Log::new();
    log.write(0..5);
    let mut follow = Follow::from_beginning(log.folder(), Filter::default());
    let mut events = Vec::new();
    while follow.read(&mut events).unwrap() {}
    let places: Vec<String> = events
        .iter()
        .map(|event| match event {
            Event::Record { place, .. } => place.to_string(),
            Event::Gap => panic!("{events:?}"),
        })
        .collect();
    let behind = |at: usize| {
        let place = Place::parse(&places[at]).unwrap();
        read(&mut Follow::behind(log.folder(), Filter::default(), &place))
    };
    assert_eq!(behind(2), some(3..5));
    log.rotate();
    log.write(5..8);
    assert_eq!(behind(0), some(1..8), "the file has another name now");
    log.rotate();
    log.write(8..9);
    log.prune(1);
    assert_eq!(
        behind(4),
        [vec![None], some(5..9)].concat(),
        "nothing twice"
    );
}

#[test]
fn a_place_that_is_no_end_of_a_line_is_not_gone_on_from() {
    let log = Log::new();
    log.write(0..3);
    let mut place = from_now(&log).place();
    place.offset -= 1;
    let mut follow = Follow::behind(log.folder(), Filter::default(), &place);
    assert_eq!(read(&mut follow), [vec![None], some(0..3)].concat());
}

#[test]
fn lines_that_are_none_are_passed_over() {
    let log = Log::new();
    let mut follow = from_now(&log);
    log.write(0..1);
    log.append("x".repeat(2 * BLOCK_BYTES + 7));
    assert_eq!(read(&mut follow), some(0..1));
    log.append("\ntorn\n");
    log.write(1..2);
    assert_eq!(read(&mut follow), some(1..2));
}

#[test]
fn the_page_before_a_follower_and_the_follower_have_every_line_once() {
    let log = Log::new();
    log.write(0..5);
    log.rotate();
    log.append("");
    for more in [0, 3] {
        log.write(5..5 + more);
        let mut follow = from_now(&log);
        log.write(5 + more..10);
        let page = log.page(&[], Some(&follow.place()), 200);
        let mut before: Vec<_> = page.lines.iter().map(|line| number_of(line)).collect();
        before.reverse();
        assert_eq!(before, (0..5 + more).collect::<Vec<_>>());
        assert_eq!(read(&mut follow), some(5 + more..10));
        fs::File::create(log.current()).unwrap();
    }
}

#[test]
fn only_what_matches_comes() {
    let log = Log::new();
    let filter = Filter::parse([("key", "key 3")], log.clock.wall()).unwrap();
    let mut follow = Follow::from_now(log.folder(), filter);
    log.write(0..24);
    assert_eq!(read(&mut follow), [Some(3), Some(13), Some(23)]);
}

/// As the writer does where lines cannot be synced.
#[test]
fn lines_that_are_taken_back_come_again_and_no_others() {
    let log = Log::new();
    log.write(0..3);
    let mut follow = from_now(&log);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(log.current())
        .unwrap();
    let size = file.metadata().unwrap().len();
    log.write(3..5);
    assert_eq!(read(&mut follow), some(3..5));
    file.set_len(size).unwrap();
    assert_eq!(read(&mut follow), []);
    log.write(3..6);
    assert_eq!(read(&mut follow), some(3..6));
}
