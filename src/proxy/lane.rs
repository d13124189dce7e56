//! Where one request at a time goes through: a connection of HTTP/1 is one lane, each stream of HTTP/2 is one of its
//! own. A lane is what reader, handler, body and tunnel of a request share: its waits, its token, and who it comes from.
//!
//! Each lane is served by one task, which is on the worker's list of watched tasks while it waits for anybody.
//! Not for: what is spoken (`http1`, `http2`), or what a request goes through (`handler`).

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http_body::Body as _;
use hyper::body::Incoming;

use crate::key::token::Digest;
use crate::net::watchdog::Watched;
use crate::proxy::connection::Connection;
use crate::proxy::http2::OpenStream;
use crate::proxy::in_flight::Slot;
use crate::proxy::reader::Heads;
use crate::proxy::worker::Worker;

/// What the parts of one request share, and the next request on the same lane.
pub(crate) struct Lane {
    /// The connection that it is on.
    pub(crate) connection: Rc<Connection>,
    /// The waits of whoever serves it.
    pub(crate) watched: Arc<Watched>,
    /// The token of the request in flight, for the revocation of its key.
    pub(crate) in_use: Rc<Cell<Option<Digest>>>,
    /// A part of the answer was handed over, and the next has not been asked for: the client takes its time.
    pub(crate) offered: Cell<bool>,
    /// The place of the request in flight, where their number is limited.
    pub(crate) slot: Cell<Option<Slot>>,
    /// The body of a request on HTTP/2, as far as nobody reads it.
    unread: Cell<Option<Incoming>>,
    kind: Kind,
}

/// What a lane is made of.
enum Kind {
    /// A connection of HTTP/1, with the heads on their way from its reader to the handler.
    Http1(Arc<Heads>),
    /// A stream of HTTP/2, which brings its own head; it counts as open until the lane is dropped.
    Http2 { _open: OpenStream },
}

impl Lane {
    /// The one lane of a connection of HTTP/1.
    pub(crate) fn http1(
        connection: Rc<Connection>,
        watched: Arc<Watched>,
        heads: Arc<Heads>,
    ) -> Self {
        Self {
            connection,
            watched,
            in_use: Rc::default(),
            offered: Cell::new(false),
            unread: Cell::new(None),
            slot: Cell::default(),
            kind: Kind::Http1(heads),
        }
    }

    /// One stream of a connection of HTTP/2.
    pub(crate) fn http2(
        connection: Rc<Connection>,
        watched: Arc<Watched>,
        open: OpenStream,
    ) -> Self {
        Self {
            connection,
            watched,
            in_use: Rc::default(),
            offered: Cell::new(false),
            unread: Cell::new(None),
            slot: Cell::default(),
            kind: Kind::Http2 { _open: open },
        }
    }

    /// What the reader and the handler tell each other, on HTTP/1.
    pub(crate) const fn heads(&self) -> Option<&Arc<Heads>> {
        match &self.kind {
            Kind::Http1(heads) => Some(heads),
            Kind::Http2 { .. } => None,
        }
    }

    /// Whether it is a stream of HTTP/2.
    pub(crate) const fn is_http2(&self) -> bool {
        matches!(self.kind, Kind::Http2 { .. })
    }

    /// Whether the client has owed the next piece of its body for too long; `pending`: it owes one now.
    pub(crate) fn owes(&self, pending: bool) -> bool {
        let watched = &self.watched;
        if !pending {
            watched.read.clear();
            return false;
        }
        if watched.passed(&watched.read) {
            return true;
        }
        watched.arm_once(&watched.read, watched.pause());
        false
    }

    /// A part of the answer came: in a stream both ways, a client that listens need not speak.
    pub(crate) fn listens(&self) {
        if self.is_http2() && self.watched.read.is_set() {
            self.watched.arm(&self.watched.read, self.watched.pause());
        }
    }

    /// The request is over, and its body was not read to the end. On HTTP/1 the reader knows what to do about that.
    pub(crate) fn leave_unread(&self, body: Incoming) {
        if self.is_http2() {
            self.watched.read.clear();
            if !body.is_end_stream() {
                self.unread.set(Some(body));
            }
        }
    }

    /// The body that was left, to be let go after the answer.
    pub(crate) fn take_unread(&self) -> Option<Incoming> {
        self.unread.take()
    }

    /// The next part of the answer is asked for: what was handed over before is on its way.
    pub(crate) fn asked(&self) {
        if self.is_http2() && self.offered.replace(false) {
            self.watched.write.clear();
        }
    }

    /// What becomes of a request that asked for an upgrade. A stream of HTTP/2 holds nothing back.
    pub(crate) fn decide_upgrade(&self, tunnel: bool) {
        if let Some(heads) = self.heads() {
            heads.decide_upgrade(tunnel);
        }
    }

    /// Whether the answer in flight is the last one of its connection, and has to say so itself: HTTP/2 has a frame
    /// for that.
    pub(crate) fn closes_with_answer(&self) -> bool {
        self.watched.draining() && self.heads().is_some_and(|heads| !heads.more())
    }

    /// The request in flight is over.
    pub(crate) fn answered(&self) {
        self.in_use.set(None);
        self.slot.set(None);
        self.watched.revoked.clear();
        self.watched.upstream.clear(); // an end that was waited for came, or nobody waits any more
        if let Some(heads) = self.heads() {
            heads.answered();
        }
    }
}

/// A task on the watchdog's list; dropping this takes it off.
pub(crate) struct Listed<'a> {
    worker: &'a Worker,
    number: u64,
}

/// Puts the current task on the watchdog's list, as the one that waits by `watched` and works for `in_use`.
pub(crate) async fn list<'a>(
    worker: &'a Worker,
    watched: &Arc<Watched>,
    in_use: &Rc<Cell<Option<Digest>>>,
) -> Listed<'a> {
    worker.watchdog.clock().read(); // a worker that had nothing to do has not looked for a while
    let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
    let number = worker
        .watchdog
        .add(Arc::clone(watched), waker, Rc::clone(in_use));
    worker.busy.notify_one();
    Listed { worker, number }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.worker.watchdog.remove(self.number);
    }
}
