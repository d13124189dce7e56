//! Nobody is let go before time, nobody is forgotten, and what is late is said.

use std::path::Path;
use std::task::Wake;

use super::*;

/// Counts how often it is woken.
#[derive(Default)]
struct Sleeper(AtomicUsize);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request that waits for a batch.
struct Request {
    number: u64,
    sleeper: Arc<Sleeper>,
    place: Option<u64>,
}

impl Request {
    fn waits_for(number: u64) -> Self {
        Self {
            number,
            sleeper: Arc::default(),
            place: None,
        }
    }

    fn is_released(&mut self, hold: &Hold) -> bool {
        let waker = Waker::from(Arc::clone(&self.sleeper));
        let context = &mut Context::from_waker(&waker);
        let polled = hold.poll(self.number, &mut self.place, context);
        polled.is_ready()
    }

    fn woken(&self) -> usize {
        self.sleeper.0.load(Ordering::Relaxed)
    }
}

fn hold(durability: Durability, when_full: WhenFull) -> (Hold, Arc<Health>) {
    let health = Health::new();
    let config = config::Transactions {
        durability,
        when_full,
        ..crate::transactions::tests::config(Path::new("/nowhere"))
    };
    (Hold::new(Terms::new(&config, Arc::clone(&health))), health)
}

fn hand_over(hold: &Hold) -> Ticket {
    let ticket = hold.ticket().unwrap();
    hold.handed_over(true);
    ticket
}

/// What health says of a late log.
fn said(health: &Health) -> Option<String> {
    let degraded = health.readiness().degraded;
    let cause = degraded.into_iter().find(|cause| cause.cause == CAUSE);
    cause.map(|cause| cause.why)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

#[test]
fn nothing_waits_by_default() {
    let (hold, _) = hold(Durability::Buffered, WhenFull::Drop);
    assert!(!hold.may_wait() && !hold.may_refuse());
    assert_eq!((hold.added(false), hold.added(true)), (None, None));
    assert!(hold.ticket().is_none());
}

#[test]
fn a_request_waits_until_the_sink_is_done_with_its_batch() {
    for durability in [Durability::Written, Durability::Synced] {
        let (hold, _) = hold(durability, WhenFull::Drop);
        let (mut first, mut second) = (
            Request::waits_for(hold.added(false).unwrap()),
            Request::waits_for(hold.added(false).unwrap()),
        );
        let ticket = hand_over(&hold);
        let mut third = Request::waits_for(hold.added(false).unwrap());
        for request in [&mut first, &mut second, &mut third] {
            assert!(!request.is_released(&hold));
        }
        assert!(!hold.settle(), "a batch is under way");
        drop(ticket);
        assert!(hold.settle(), "it is done");
        assert!(first.is_released(&hold) && second.is_released(&hold));
        assert_eq!((first.woken(), second.woken(), third.woken()), (1, 1, 0));
        assert!(!third.is_released(&hold), "its batch is still being filled");
        drop(hand_over(&hold));
        hold.settle();
        assert!(third.is_released(&hold));
        assert_eq!(
            third.woken(),
            1,
            "it was listed once, however often it was polled"
        );
    }
}

#[test]
fn a_batch_that_came_back_is_not_done() {
    let (hold, _) = hold(Durability::Written, WhenFull::Wait);
    let mut request = Request::waits_for(hold.added(false).unwrap());
    hold.ticket().unwrap().void();
    hold.kept(false);
    hold.settle();
    assert!(!request.is_released(&hold));
    drop(hand_over(&hold));
    hold.settle();
    assert!(request.is_released(&hold));
}

#[test]
fn buffered_requests_wait_only_while_there_is_no_room() {
    let (hold, health) = hold(Durability::Buffered, WhenFull::Wait);
    assert_eq!(hold.added(false), None);
    assert_eq!(
        hold.added(true),
        Some(1),
        "another worker may have found out first"
    );
    hold.kept(true);
    assert!(said(&health).unwrap().contains("requests wait"));
    let mut request = Request::waits_for(hold.added(false).unwrap());
    assert!(!request.is_released(&hold));
    hold.handed_over(true);
    assert_eq!(request.woken(), 1);
    assert!(request.is_released(&hold));
    assert_eq!((hold.added(false), said(&health)), (None, None));
}

#[test]
fn new_requests_are_refused_only_where_that_was_asked_for() {
    for (when_full, refuses) in [
        (WhenFull::Drop, false),
        (WhenFull::Wait, false),
        (WhenFull::Refuse, true),
    ] {
        let (hold, _) = hold(Durability::Buffered, when_full);
        assert!(!hold.refuses());
        hold.kept(true);
        assert_eq!(hold.refuses(), refuses, "{when_full:?}");
        hold.handed_over(true);
        assert!(!hold.refuses());
    }
}

#[test]
fn a_late_sink_is_waited_for_only_where_that_was_asked_for() {
    for (when_full, lets_go) in [
        (WhenFull::Drop, true),
        (WhenFull::Wait, false),
        (WhenFull::Refuse, false),
    ] {
        let (hold, health) = hold(Durability::Written, when_full);
        let mut request = Request::waits_for(hold.added(false).unwrap());
        let ticket = hand_over(&hold);
        assert!(!request.is_released(&hold));
        runtime().block_on(async {
            hold.changed().await; // the record was told of before it was handed over
            hold.settle();
            hold.changed().await; // nothing until it is late
        });
        assert!(said(&health).is_some(), "{when_full:?}");
        assert_eq!(request.is_released(&hold), lets_go, "{when_full:?}");
        assert_eq!(hold.added(false).is_none(), lets_go, "{when_full:?}");
        drop(ticket);
        assert!(hold.settle());
        assert!(request.is_released(&hold));
        assert_eq!(said(&health), None);
        assert!(hold.added(false).is_some(), "it is waited for again");
    }
}

/// Waits until the sink is late.
fn make_late(hold: &Hold) {
    runtime().block_on(async {
        while hold.late_up_to.get().is_none() {
            hold.changed().await;
            hold.settle();
        }
    });
}

#[test]
fn a_batch_that_is_lost_lets_nobody_go_before_those_that_the_sink_has() {
    let (hold, health) = hold(Durability::Written, WhenFull::Drop);
    let mut first = Request::waits_for(hold.added(false).unwrap());
    let ticket = hand_over(&hold);
    let mut second = Request::waits_for(hold.added(false).unwrap());
    hold.ticket().unwrap().void();
    hold.lost();
    assert!(!hold.settle());
    assert!(!first.is_released(&hold) && !second.is_released(&hold));
    assert!(said(&health).unwrap().contains("dropped and counted"));
    drop(ticket);
    assert!(hold.settle());
    assert!(first.is_released(&hold) && second.is_released(&hold));
    drop(hand_over(&hold));
    assert_eq!(said(&health), None, "there is room again");
}

#[test]
fn losses_do_not_make_a_late_sink_look_as_if_it_had_caught_up() {
    let (hold, health) = hold(Durability::Written, WhenFull::Drop);
    hold.added(false);
    let ticket = hand_over(&hold);
    make_late(&hold);
    hold.added(false);
    hold.ticket().unwrap().void();
    hold.lost();
    hold.settle();
    assert!(hold.lets_go() && said(&health).is_some());
    drop(ticket);
    hold.settle();
    assert!(!hold.lets_go());
}

#[test]
fn a_sink_that_has_caught_up_is_waited_for_though_more_is_under_way() {
    let (hold, health) = hold(Durability::Written, WhenFull::Drop);
    hold.added(false);
    let first = hand_over(&hold);
    make_late(&hold);
    assert_eq!(hold.added(false), None);
    let _second = hand_over(&hold);
    drop(first);
    assert!(!hold.settle());
    assert_eq!(said(&health), None);
    assert!(hold.added(false).is_some());
}

#[test]
fn who_was_woken_for_nothing_is_woken_again() {
    let (hold, _) = hold(Durability::Written, WhenFull::Drop);
    hold.added(false);
    let ticket = hand_over(&hold);
    let mut second = Request::waits_for(hold.added(false).unwrap());
    assert!(!second.is_released(&hold));
    make_late(&hold);
    assert_eq!(second.woken(), 1, "it may go");
    drop(ticket);
    hold.settle();
    assert!(!second.is_released(&hold), "but the sink was quicker");
    drop(hand_over(&hold));
    hold.settle();
    assert_eq!(second.woken(), 2);
    assert!(second.is_released(&hold));
}

#[test]
fn who_goes_leaves_nothing_behind() {
    let (hold, _) = hold(Durability::Written, WhenFull::Wait);
    let mut request = Request::waits_for(hold.added(false).unwrap());
    for _ in 0..3 {
        assert!(!request.is_released(&hold));
    }
    assert_eq!(hold.waiting.borrow().len(), 1);
    hold.leave(request.number, request.place.unwrap());
    assert!(hold.waiting.borrow().is_empty());
}

#[test]
fn trouble_is_over_when_no_worker_has_it_any_more() {
    let health = Health::new();
    let config = config::Transactions {
        when_full: WhenFull::Wait,
        ..crate::transactions::tests::config(Path::new("/nowhere"))
    };
    let terms = Terms::new(&config, Arc::clone(&health));
    let (one, other) = (Hold::new(Arc::clone(&terms)), Hold::new(terms));
    one.kept(true);
    other.kept(true);
    one.handed_over(true);
    assert!(said(&health).is_some());
    other.handed_over(false);
    assert!(said(&health).is_some(), "there is hardly room");
    other.handed_over(true);
    assert_eq!(said(&health), None);
}
