//! The book agrees with a plain recount, and keeps its bounds, whatever comes in whatever order.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::clock::Clock;
use crate::key::KeyFields;
use crate::key::token::Digest;
use crate::refusal::Reason;
use crate::refusal::Refusal;
use crate::transactions::totals::series::DAY_MINUTES;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn start() -> Timestamp {
    Timestamp::parse("2026-11-23T10:00:30Z").unwrap()
}

fn key(id: &str) -> Arc<Key> {
    Arc::new(Key::new(KeyFields {
        id: KeyId::parse(id).unwrap(),
        ..KeyFields::new(id, Digest::of(id.as_bytes()))
    }))
}

/// A request that was let through at once.
fn event(key: Option<&Arc<Key>>, began: Timestamp) -> Event {
    Event {
        key: key.map(Arc::clone),
        began,
        request_bytes: 1,
        response_bytes: 10,
        took_micros: 0,
        status: 200,
        decision: Decision::Allowed,
        reason: None,
    }
}

fn book(keys: usize, hours: usize) -> Book {
    Book::new(Bounds { keys, hours })
}

fn ids(book: &Book) -> BTreeSet<&str> {
    book.keys.keys().map(KeyId::as_str).collect()
}

/// What the book believes of its series.
fn assert_hours(book: &Book) {
    let hours: usize = book.keys.values().map(|entry| entry.minutes.hours()).sum();
    assert_eq!(book.hours, hours);
}

#[test]
fn requests_are_counted_by_what_became_of_them() {
    let (one, now) = (key("k_1"), start());
    let mut book = book(10, 10);
    let plain = event(Some(&one), now);
    let refused = Event {
        decision: Decision::Refused,
        reason: Some(Reason::Refused(Refusal::Expired)),
        status: 401,
        took_micros: 9_000_000,
        ..plain.clone()
    };
    let unavailable = Event {
        reason: Some(Reason::Refused(Refusal::Unavailable)),
        status: 503,
        ..refused.clone()
    };
    let failed = Event {
        reason: Some(Reason::UpstreamTimeout),
        status: 504,
        ..plain.clone()
    };
    let broken = Event {
        status: 500,
        ..plain.clone()
    };
    let shadow = Event {
        decision: Decision::WouldRefuse,
        reason: Some(Reason::Refused(Refusal::Expired)),
        key: None,
        ..plain.clone()
    };
    for event in [&plain, &refused, &unavailable, &failed, &broken, &shadow] {
        book.note(event, now);
    }
    let entry = book.entry(&one).unwrap();
    let counters = &entry.counters;
    assert_eq!(
        (counters.requests, counters.refused, counters.failed),
        (5, 2, 2)
    );
    assert_eq!((counters.request_bytes, counters.response_bytes), (5, 50));
    let reasons: Vec<_> = counters
        .reasons()
        .map(|(reason, n)| (reason.as_str(), n))
        .collect();
    assert_eq!(
        reasons,
        [("expired", 1), ("unavailable", 1), ("upstream_timeout", 1)]
    );
    assert!(
        counters.latency.quantile(100) < Some(16),
        "refusals have no latency"
    );
    let usage = one.usage().totals();
    assert_eq!(
        (usage.requests, usage.refused, usage.last_used_at),
        (5, 2, Some(now))
    );
    assert_eq!(book.all.requests, 6);
    assert_eq!(book.all.reasons().map(|(_, count)| count).sum::<u64>(), 3);
    assert_eq!(book.decisions.requests, [3, 2, 0, 0, 1]);
    assert_eq!(book.decisions.would_refuse[Refusal::Expired.index()], 1);
    let all = book.all_totals(1, 10, now);
    let minute = &all.minutes[0];
    assert_eq!((minute.counts.requests, minute.active_keys), (6, 1));
    assert_eq!(minute.decisions, [3, 2, 0, 0, 1]);
    assert_eq!(
        (all.top.len(), all.top[0].requests, all.top[0].refused),
        (1, 5, 2)
    );
}

#[test]
fn a_day_passes_and_only_series_forget() {
    let clock = Clock::by_hand(start());
    let (one, two) = (key("k_1"), key("k_2"));
    let mut book = book(10, 100);
    for minute in 0..3 * 1_440u64 {
        book.note(&event(Some(&one), clock.wall()), clock.wall());
        if minute < 10 {
            book.note(&event(Some(&two), clock.wall()), clock.wall());
        }
        clock.advance(MINUTE);
        assert!(book.hours <= 25 + 1, "{} hours", book.hours);
    }
    assert_hours(&book);
    let now = clock.wall().minus(MINUTE);
    assert_eq!(book.day(&one, now), [60; 24]);
    assert_eq!(book.day(&two, now), [0; 24]);
    assert_eq!(
        book.entry(&two).unwrap().minutes.hours(),
        0,
        "its memory is free"
    );
    assert_eq!(book.entry(&two).unwrap().counters.requests, 10);
    let totals = book.key_totals(&one, 5, now);
    assert_eq!(
        totals.start,
        start()
            .plus(MINUTE * (3 * 1_440 - 5))
            .minus(Duration::from_secs(30))
    );
    assert_eq!(
        totals
            .minutes
            .iter()
            .map(|counts| counts.requests)
            .collect::<Vec<_>>(),
        [1; 5]
    );
    let all = book.all_totals(DAY_MINUTES, 10, now);
    assert_eq!(all.counters.requests, 3 * 1_440 + 10);
    assert_eq!(all.counters.first_at, Some(start()));
    assert_eq!(all.minutes.len(), DAY_MINUTES);
    assert!(all.minutes.iter().all(|minute| minute.counts.requests == 1));
}

#[test]
fn what_is_late_or_of_the_future_counts_without_a_minute() {
    let (one, now) = (key("k_1"), start());
    let mut book = book(10, 100);
    for began in [
        now.minus(24 * HOUR),
        now.plus(2 * HOUR),
        Timestamp::from_micros(i64::MIN),
        Timestamp::from_micros(i64::MAX),
    ] {
        book.note(&event(Some(&one), began), now);
    }
    // A stream counts when it ends.
    let stream = Event {
        took_micros: 30 * 3_600 * 1_000_000,
        ..event(Some(&one), now.minus(30 * HOUR))
    };
    book.note(&stream, now);
    assert_eq!(book.entry(&one).unwrap().counters.requests, 5);
    let minutes = book.key_totals(&one, 1_440, now).minutes;
    assert_eq!(minutes.iter().map(|counts| counts.requests).sum::<u32>(), 1);
    assert_eq!(minutes.last().unwrap().requests, 1);
    assert_eq!(book.hours, 1, "the others take no memory");
}

#[test]
fn a_clock_that_is_set_back_and_forth_harms_nothing() {
    let one = key("k_1");
    let mut book = book(10, 30);
    let mut count = 0;
    for jump in [
        0,
        300_000,
        -300_000,
        86_400,
        -86_400 * 400,
        0,
        i64::from(i32::MAX),
    ] {
        let now = Timestamp::from_micros(start().as_micros() + jump * 1_000_000);
        for minute in 0..100 {
            let now = now.plus(MINUTE * minute);
            book.note(&event(Some(&one), now), now);
            count += 1;
            assert_eq!(
                book.all_totals(1, 1, now).minutes[0].counts.requests,
                1,
                "jump {jump}"
            );
        }
        assert!(book.hours <= 30);
        assert_hours(&book);
    }
    assert_eq!(book.entry(&one).unwrap().counters.requests, count);
}

#[test]
fn the_longest_unused_lose_their_series_first_and_then_their_place() {
    let clock = Clock::by_hand(start());
    let keys: Vec<_> = (0..40)
        .map(|number| key(&format!("k_{number:02}")))
        .collect();
    let mut book = book(32, 16);
    for key in &keys[..16] {
        clock.advance(Duration::from_secs(1));
        book.note(&event(Some(key), clock.wall()), clock.wall());
    }
    assert_eq!((book.hours, book.keys.len()), (16, 16));
    clock.advance(Duration::from_secs(1));
    book.note(&event(Some(&keys[0]), clock.wall()), clock.wall());
    book.note(&event(Some(&keys[16]), clock.wall()), clock.wall());
    let without: Vec<_> = (0..17)
        .filter(|n| book.entry(&keys[*n]).unwrap().minutes.hours() == 0)
        .collect();
    assert_eq!(without, [1, 2], "key 0 was used since");
    let top = book.all_totals(1, 3, clock.wall()).top;
    let top: Vec<_> = top.iter().map(|key| (&*key.id, key.requests)).collect();
    assert_eq!(top, [("k_00", 2), ("k_03", 1), ("k_04", 1)]);
    assert_eq!(book.entry(&keys[1]).unwrap().counters.requests, 1);
    for key in &keys[17..] {
        clock.advance(Duration::from_secs(1));
        book.note(&event(Some(key), clock.wall()), clock.wall());
        assert!(book.keys.len() <= 32 && book.hours <= 16);
        assert_hours(&book);
    }
    let left = ids(&book);
    assert!(left.contains("k_00") && left.contains("k_39"), "{left:?}");
    assert!(!left.contains("k_01") && !left.contains("k_02"), "{left:?}");
    assert_eq!(
        keys[1].usage().totals().requests,
        1,
        "a key's own counters stay"
    );
    assert_eq!(book.all.requests, 41);
}

#[test]
fn far_more_keys_than_there_is_room_for_stay_within_the_bounds() {
    let mut book = Book::new(Bounds::default());
    let now = start();
    for number in 0..50_000 {
        let id = KeyId::parse(&format!("k_{number}")).unwrap();
        book.note_former(
            &event(None, now.plus(Duration::from_micros(number))),
            &id,
            "former",
            now,
        );
    }
    let Bounds { keys, hours } = Bounds::default();
    assert!(book.keys.len() <= keys && book.keys.len() > keys / 2);
    assert!(book.hours <= hours);
    assert!(size_of::<Entry>() <= 400, "{} bytes", size_of::<Entry>());
    assert!(hours * Series::<Counts>::HOUR_BYTES <= 32 * 1024 * 1024);
    assert!(!ids(&book).contains("k_0") && ids(&book).contains("k_49999"));
}

#[test]
fn an_edit_is_the_same_key_and_an_id_that_is_given_again_is_another() {
    let now = start();
    let old = key("k_1");
    let mut book = book(10, 10);
    book.note(&event(Some(&old), now), now);
    let renamed = KeyFields {
        name: "renamed".into(),
        ..old.to_fields()
    };
    let edited = Arc::new(Key::new(renamed).continuing(&old));
    assert_eq!(book.key_totals(&edited, 1, now).counters.requests, 1);
    book.note(&event(Some(&edited), now), now);
    assert_eq!(book.key_totals(&edited, 1, now).counters.requests, 2);
    assert_eq!(book.all_totals(1, 1, now).top[0].name, "renamed");

    let new = key("k_1");
    assert_eq!(book.key_totals(&new, 1, now).counters, Counters::default());
    let later = now.plus(MINUTE);
    book.note(&event(Some(&new), later), later);
    assert_eq!(book.key_totals(&new, 1, later).counters.requests, 1);
    // A request of the old key that ends now is no reason to begin anew.
    book.note(&event(Some(&old), now), later);
    assert_eq!(book.key_totals(&new, 1, later).counters.requests, 1);
    assert_eq!(book.all.requests, 4);
    assert_hours(&book);
}

/// What a test knows of a request: which key, how many seconds ago it began, its decision, whether a reason fits.
type Made = (Option<u8>, u32, u8, bool, u32);

fn made((key, ago, decision, with_reason, took): Made, keys: &[Arc<Key>], now: Timestamp) -> Event {
    let decision = Decision::ALL[usize::from(decision)];
    let reason = match decision {
        Decision::Refused | Decision::WouldRefuse => Reason::Refused(Refusal::Expired),
        Decision::Allowed | Decision::Anonymous | Decision::Public => Reason::UpstreamFailed,
    };
    Event {
        decision,
        reason: Some(reason).filter(|_| with_reason),
        took_micros: u64::from(took),
        ..event(
            key.map(|key| &keys[usize::from(key)]),
            now.minus(Duration::from_secs(u64::from(ago))),
        )
    }
}

proptest! {
    #[test]
    fn totals_are_what_a_plain_recount_finds(
        requests in vec((proptest::option::of(0..5u8), 0..100_000u32, 0..5u8, any::<bool>(), 0..200_000_000u32), 0..120),
        minutes in 1..=DAY_MINUTES,
    ) {
        let now = start();
        let keys: Vec<_> = (0..5).map(|number| key(&format!("k_{number}"))).collect();
        let events: Vec<_> = requests.into_iter().map(|request| made(request, &keys, now)).collect();
        let mut book = book(10, 1_000);
        events.iter().for_each(|event| book.note(event, now));

        let first = now.as_micros().div_euclid(60_000_000) - i64::try_from(minutes).unwrap() + 1;
        let in_window = |event: &&Event| {
            let minute = event.ended().as_micros().div_euclid(60_000_000);
            (first..first + i64::try_from(minutes).unwrap()).contains(&minute)
        };
        let count = |events: &[&Event], which: &dyn Fn(&Event) -> bool| {
            events.iter().filter(|event| which(event)).count() as u64
        };
        let is_refused = |event: &Event| event.decision == Decision::Refused;
        let is_failed = |event: &Event| !is_refused(event) && event.reason == Some(Reason::UpstreamFailed);
        for key in &keys {
            let own: Vec<_> = events.iter().filter(|e| e.key.as_ref().is_some_and(|of| of.id() == key.id())).collect();
            let found = book.key_totals(key, minutes, now);
            prop_assert_eq!(found.counters.requests, own.len() as u64);
            prop_assert_eq!(found.counters.refused, count(&own, &is_refused));
            prop_assert_eq!(found.counters.failed, count(&own, &is_failed));
            prop_assert_eq!(found.counters.first_at, own.iter().map(|event| event.began).min());
            prop_assert_eq!(found.counters.last_at, own.iter().map(|event| event.began).max());
            let shown: u64 = found.minutes.iter().map(|counts| u64::from(counts.requests)).sum();
            prop_assert_eq!(shown, own.iter().copied().filter(in_window).count() as u64);
            prop_assert_eq!(key.usage().totals().requests, own.len() as u64);
        }
        let mut active: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
        for event in events.iter().filter(in_window) {
            let minute = event.ended().as_micros().div_euclid(60_000_000);
            active.entry(minute).or_default().extend(event.key.as_ref().map(|key| key.id().as_str()));
        }
        let all = book.all_totals(minutes, 10, now);
        for (minute, found) in (first..).zip(&all.minutes) {
            let expected = active.get(&minute).map_or(0, BTreeSet::len);
            prop_assert_eq!(found.active_keys as usize, expected);
        }
        let by_decision: u64 = all.decisions.requests.iter().sum();
        prop_assert_eq!((all.counters.requests, by_decision), (events.len() as u64, events.len() as u64));
    }
}
