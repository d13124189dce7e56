//! The HTTP/2 connections of one worker, and those that are on their way. Requests that come together wait for one new
//! connection rather than make one each; there are as many as the upstream has addresses, so that all of them have
//! something to do, and more only while those are full. No lock, since no other thread sees them.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::watch;

use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::http2::link::Link;
use crate::proxy::upstream::http2::link::Place;

/// What became of a connection on its way.
pub(crate) type Dialled = Option<Result<(), UpstreamFailure>>;

/// Connections and those on their way.
#[derive(Default)]
pub(crate) struct Links {
    links: RefCell<Vec<Rc<Link>>>,
    dials: RefCell<Vec<Rc<Dial>>>,
    /// Which of several that are equally busy gets the next request.
    turn: Cell<usize>,
    /// How many requests the last connection had room for.
    room: Cell<Option<usize>>,
}

/// A connection on its way.
pub(crate) struct Dial {
    /// How many requests wait for it.
    waiting: Cell<usize>,
    outcome: watch::Sender<Dialled>,
}

impl Links {
    /// A place on the connection with the fewest requests, but not on this one.
    pub(crate) fn place(&self, not: Option<&Rc<Link>>) -> Option<Place> {
        let mut links = self.links.borrow_mut();
        links.retain(|link| !link.is_retired());
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let count = links.len();
        (0..count)
            .map(|at| &links[turn.wrapping_add(at) % count])
            .filter(|link| link.streams() < link.room())
            .filter(|link| not.is_none_or(|not| !Rc::ptr_eq(link, not)))
            .min_by_key(|link| link.streams())?
            .place()
    }

    /// Whether the last one that arrived had room for nobody.
    pub(crate) fn takes_no_streams(&self) -> bool {
        self.room.get() == Some(0)
    }

    /// How many there are, on their way or there.
    pub(crate) fn len(&self) -> usize {
        self.links.borrow().len() + self.dials.borrow().len()
    }

    /// A connection on its way on which there will be room for one more request, if it is like the last one.
    pub(crate) fn expected(&self) -> Option<Rc<Dial>> {
        let room = self.room.get().unwrap_or(usize::MAX).max(1);
        let dials = self.dials.borrow();
        dials.iter().find(|dial| dial.waiting.get() < room).cloned()
    }

    /// One more is on its way.
    pub(crate) fn dial(&self) -> Rc<Dial> {
        let dial = Rc::new(Dial {
            waiting: Cell::new(0),
            outcome: watch::Sender::new(None),
        });
        self.dials.borrow_mut().push(Rc::clone(&dial));
        dial
    }

    /// It has arrived, or has failed.
    pub(crate) fn dialled(&self, dial: &Rc<Dial>, outcome: Result<(), UpstreamFailure>) {
        self.dials
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, dial));
        dial.outcome.send_replace(Some(outcome));
    }

    /// One more is there.
    pub(crate) fn add(&self, link: Rc<Link>) {
        link.rest();
        self.room.set(Some(link.room()));
        self.links.borrow_mut().push(link);
    }

    /// Lets go of those that were idle for too long, that are of no more use, or that go to an address that is not
    /// there any more. What runs on them goes on.
    pub(crate) fn expire(
        &self,
        idle_max: Duration,
        now: Instant,
        still_there: impl Fn(&Link) -> bool,
    ) {
        self.links.borrow_mut().retain(|link| {
            !link.is_retired() && !link.is_idle_for(idle_max, now) && still_there(link)
        });
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.links.borrow().is_empty()
    }
}

impl Dial {
    /// Waits until it has arrived or failed.
    pub(crate) async fn arrival(self: Rc<Self>) -> Result<(), UpstreamFailure> {
        let waiting = Waiting::on(&self);
        let mut outcome = self.outcome.subscribe();
        let outcome = outcome.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| (*outcome).clone());
        drop(waiting);
        outcome.unwrap_or(Err(UpstreamFailure::NoAddress))
    }
}

/// Somebody waits.
struct Waiting<'a>(&'a Dial);

impl<'a> Waiting<'a> {
    fn on(dial: &'a Dial) -> Self {
        dial.waiting.set(dial.waiting.get() + 1);
        Self(dial)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}
