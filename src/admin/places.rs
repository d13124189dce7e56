//! Room for connections of the admin API. Whoever cannot sign in must not be able to take it all: when it is full, a
//! connection on which nobody has shown that they may administer gives way to a new one, the oldest of the address
//! that has most of them. Not for: what a connection does, see `serve`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::Notify;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    /// In the order in which they were taken.
    taken: Mutex<Vec<Arc<Place>>>,
    freed: Notify,
}

/// One connection's.
#[derive(Debug)]
pub(super) struct Place {
    client: IpAddr,
    trusted: AtomicBool,
    /// Its answer has no end of its own.
    endless: AtomicBool,
    leave: Notify,
}

/// Holds a place until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    place: Arc<Place>,
    places: Arc<Places>,
}

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            taken: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// A place for a connection from `client`, as soon as there is one.
    pub(super) async fn take(self: &Arc<Self>, client: IpAddr) -> Taken {
        loop {
            if let Some(place) = self.try_take(client) {
                return Taken {
                    place,
                    places: Arc::clone(self),
                };
            }
            self.freed.notified().await;
        }
    }

    /// Sends away every connection on which nobody has shown that they may administer.
    pub(super) fn clear(&self) {
        let taken = self.taken();
        let strangers = taken.iter().filter(|place| !place.trusted.load(Relaxed));
        strangers.for_each(|place| place.leave.notify_one());
    }

    /// Sends away every connection whose answer has no end of its own.
    pub(super) fn clear_endless(&self) {
        let taken = self.taken();
        let endless = taken.iter().filter(|place| place.endless.load(Relaxed));
        endless.for_each(|place| place.leave.notify_one());
    }

    fn try_take(&self, client: IpAddr) -> Option<Arc<Place>> {
        let mut taken = self.taken();
        if taken.len() >= self.max {
            let gone = who_leaves(&taken)?;
            let gone = taken.remove(gone);
            gone.leave.notify_one();
        }
        let place = Arc::new(Place {
            client,
            trusted: AtomicBool::new(false),
            endless: AtomicBool::new(false),
            leave: Notify::new(),
        });
        taken.push(Arc::clone(&place));
        Some(place)
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<Place>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest of the address that has most places; none when all belong to administrators.
fn who_leaves(taken: &[Arc<Place>]) -> Option<usize> {
    let strangers = || taken.iter().filter(|place| !place.trusted.load(Relaxed));
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for place in strangers() {
        *counts.entry(place.client).or_default() += 1;
    }
    let most = *counts.values().max()?;
    taken.iter().position(|place| {
        !place.trusted.load(Relaxed)
            && counts
                .get(&place.client)
                .is_some_and(|count| *count == most)
    })
}

impl Place {
    /// Where the connection comes from.
    pub(super) const fn client(&self) -> IpAddr {
        self.client
    }

    /// Whoever is at the other end may administer.
    pub(super) fn trust(&self) {
        self.trusted.store(true, Relaxed);
    }

    /// What is answered has no end of its own.
    pub(super) fn never_ends(&self) {
        self.endless.store(true, Relaxed);
    }
}

impl Taken {
    pub(super) const fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Ends when the place is wanted for somebody else.
    pub(super) async fn wanted(&self) {
        self.place.leave.notified().await;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.retain(|place| !Arc::ptr_eq(place, &self.place));
        drop(taken);
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Context;
    use std::task::Waker;

    use super::*;

    /// What the future has come to by now.
    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    fn take(places: &Arc<Places>, last: u8) -> Option<Taken> {
        now(places.take(IpAddr::from([192, 0, 2, last])))
    }

    #[test]
    fn the_oldest_stranger_of_the_busiest_address_gives_way() {
        let places = Arc::new(Places::new(4));
        let alone = take(&places, 1).unwrap();
        let crowd: Vec<_> = (0..3).map(|_| take(&places, 2).unwrap()).collect();
        let next = take(&places, 3).unwrap();
        assert!(now(crowd[0].wanted()).is_some());
        for stays in [&alone, &crowd[1], &crowd[2], &next] {
            assert!(now(stays.wanted()).is_none(), "{stays:?}");
        }
    }

    #[test]
    fn administrators_do_not_give_way_and_their_places_come_back() {
        let places = Arc::new(Places::new(2));
        let mut ours: Vec<_> = (0..2).map(|_| take(&places, 1).unwrap()).collect();
        ours.iter().for_each(|taken| taken.place().trust());
        assert!(take(&places, 2).is_none());
        places.clear();
        assert!(ours.iter().all(|taken| now(taken.wanted()).is_none()));
        ours[0].place().never_ends();
        places.clear_endless();
        assert!(now(ours[0].wanted()).is_some() && now(ours[1].wanted()).is_none());
        ours.pop();
        let stranger = take(&places, 2).unwrap();
        places.clear();
        assert!(now(stranger.wanted()).is_some());
    }
}
