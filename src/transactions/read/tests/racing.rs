//! Readers beside a writer that appends, rotates and prunes as the real one does, as fast as it can.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use super::Log;
use super::number_of;
use crate::clock::Clock;
use crate::transactions::read::Event;
use crate::transactions::read::Filter;
use crate::transactions::read::Follow;
use crate::transactions::read::page;

const RECORDS: usize = 12_000;
const BATCH: usize = 8;
const BATCHES_A_FILE: usize = 5;

/// Writes all records, in order, and says then that it has.
fn write(log: &Log, keep_files: usize, done: &AtomicBool) {
    for batch in 0..RECORDS / BATCH {
        if batch % BATCHES_A_FILE == 0 && batch > 0 {
            log.clock.advance(Duration::from_micros(1));
            log.rotate();
            log.prune(keep_files);
        }
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        let lines: String = numbers.map(|number| log.line(number) + "\n").collect();
        log.append(lines);
    }
    done.store(true, Relaxed);
}

#[test]
fn a_follower_has_every_line_once_and_in_order() {
    let (log, done) = (Log::new(), AtomicBool::new(false));
    let mut follow = Follow::from_beginning(log.folder(), Filter::default());
    let (mut events, mut next) = (Vec::new(), 0);
    thread::scope(|scope| {
        scope.spawn(|| write(&log, RECORDS, &done));
        loop {
            let last = done.load(Relaxed);
            while follow.read(&mut events).unwrap() {}
            for event in events.drain(..) {
                match event {
                    Event::Record { line, .. } => assert_eq!(number_of(&line), next),
                    Event::Gap => panic!("a gap before {next}"),
                }
                next += 1;
            }
            if last {
                break;
            }
        }
    });
    assert_eq!(next, RECORDS);
}

#[test]
fn every_walk_through_the_pages_has_each_line_once() {
    for keep_files in [RECORDS, 50] {
        let (log, done) = (Log::new(), AtomicBool::new(false));
        let mut walks = 0;
        thread::scope(|scope| {
            scope.spawn(|| write(&log, keep_files, &done));
            loop {
                let last = done.load(Relaxed);
                let seen = walk(&log);
                let is_whole = |pair: &[usize]| pair[0] == pair[1] + 1;
                let broken = seen.windows(2).position(|pair| !is_whole(pair));
                assert_eq!(
                    broken.map(|at| (at, seen[at], seen[at + 1])),
                    None,
                    "{keep_files}"
                );
                walks += 1;
                if last {
                    assert_eq!(seen.first(), Some(&(RECORDS - 1)));
                    assert_eq!(seen.last() == Some(&0), keep_files == RECORDS);
                    break;
                }
            }
        });
        assert!(walks > 1, "there were walks beside the writer");
    }
}

/// All numbers on all pages.
fn walk(log: &Log) -> Vec<usize> {
    let (mut from, mut seen) = (None, Vec::new());
    loop {
        let page = page(
            log.folder(),
            &Filter::default(),
            from.as_ref(),
            90,
            &Clock::system(),
        );
        assert_eq!((page.skipped, page.unreadable), (0, Vec::new()));
        seen.extend(page.lines.iter().map(|line| number_of(line)));
        from = page.next;
        if from.is_none() {
            return seen;
        }
    }
}
