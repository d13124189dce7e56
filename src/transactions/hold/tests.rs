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
    registered: Option<Waker>,
}

impl Request {
    fn waits_for(number: u64) -> Self {
        Self {
            number,
            sleeper: Arc::default(),
            registered: None,
        }
    }

    fn is_released(&mut self, hold: &Hold) -> bool {
        let waker = Waker::from(Arc::clone(&self.sleeper));
        let context = &mut Context::from_waker(&waker);
        let polled = hold.poll(self.number, &mut self.registered, context);
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
    hold.handed_over();
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
    hold.handed_over();
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
        hold.handed_over();
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
            hold.changed().await; // nothing for a second
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
