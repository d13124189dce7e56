//! The client's side of a connection as hyper may see it: whole, checked heads and well-framed bodies, one
//! message at a time. It sits between the socket and hyper, and owns every byte that is not cleared yet.
//!
//! - A head that came in one read stays in hyper's buffer; only pieces and pipelined surplus are copied.
//! - A refused head is replaced by a harmless one, and its refusal waits in [`Heads`] for the handler: so it is
//!   answered in pipeline order, by the one table, and recorded. Nothing behind it is read.
//! - The next head is held back until the handler has taken the last one: a handler that is called and finds
//!   nothing to take has been given a message that nobody checked, and closes the connection.
//! - Behind a head that asks for an upgrade nothing is cleared until the handler has decided what it is.
//!
//! Not for: the grammar, which is `head` and `framing`.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::task::ready;
use std::time::Duration;

use bytes::Buf;
use bytes::BytesMut;
use http::Method;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::net::io::ClientIo;
use crate::net::watchdog::Watched;
use crate::proxy::framing::ChunkScanner;
use crate::proxy::framing::Piece;
use crate::proxy::head::BodyKind;
use crate::proxy::head::Head;
use crate::proxy::head::HeadCheck;
use crate::proxy::head::HeadLimits;
use crate::proxy::head::Progress;
use crate::proxy::http2::PREFACE;
use crate::refusal::Refusal;

/// What hyper is given in place of a refused head. Its content means nothing: the refusal is in [`Heads`].
const SENTINEL: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// The first read of a connection, before anybody has a buffer for it.
const FIRST_READ_BYTES: usize = 8 * 1024;

thread_local! {
    /// Where it goes: one buffer a worker.
    static FIRST_READ: RefCell<[u8; FIRST_READ_BYTES]> = const { RefCell::new([0; FIRST_READ_BYTES]) };
}

/// How long an idle connection may still send a request once keygate drains.
pub(crate) const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// HTTP/1, or nothing that is known.
    Http1,
    /// HTTP/2, without having asked ("prior knowledge").
    Http2,
}

/// What the reader and the handler of one connection tell each other. Both run on one worker; the types are
/// `Sync` only because hyper wants I/O that can be upgraded to be `Send`.
#[derive(Debug)]
pub(crate) struct Heads {
    released: AtomicU8,
    refused: Mutex<Option<Box<RefusedHead>>>,
    upgrade: AtomicU8,
    in_flight: AtomicBool,
    /// The reader holds bytes of the next request.
    holding: AtomicBool,
    /// The reader holds something back until the handler has spoken. hyper does not ask it again by itself: it
    /// only knows that the last read was pending.
    held_back: AtomicBool,
    reader: Mutex<Option<Waker>>,
    watched: Arc<Watched>,
    idle: Duration,
}

const NOTHING: u8 = 0;
const CHECKED: u8 = 1;
const REFUSED: u8 = 2;

const UNDECIDED: u8 = 0;
const STAYS_HTTP: u8 = 1;
const TUNNEL: u8 = 2;

/// A head that hyper never saw.
#[derive(Debug)]
pub(crate) struct RefusedHead {
    /// Why.
    pub(crate) refusal: Refusal,
    /// What is wrong with it.
    pub(crate) detail: &'static str,
    /// The method, as far as it was readable.
    pub(crate) method: Option<Method>,
    /// The target as sent.
    pub(crate) target: Option<Box<[u8]>>,
    /// How long it was waited for, where that is why.
    pub(crate) waited: Duration,
}

/// What the handler was called for.
#[derive(Debug)]
pub(crate) enum Taken {
    /// A head that was checked.
    Checked,
    /// A head that was refused.
    Refused(Box<RefusedHead>),
}

impl Heads {
    /// Nothing released yet, on a connection that may be idle for `idle`.
    pub(crate) fn new(watched: Arc<Watched>, idle: Duration) -> Arc<Self> {
        Arc::new(Self {
            released: AtomicU8::new(NOTHING),
            refused: Mutex::new(None),
            upgrade: AtomicU8::new(UNDECIDED),
            in_flight: AtomicBool::new(false),
            holding: AtomicBool::new(false),
            held_back: AtomicBool::new(false),
            reader: Mutex::new(None),
            watched,
            idle,
        })
    }

    /// The handler takes the head it was called for; none if nothing was released.
    pub(crate) fn take(&self) -> Option<Taken> {
        self.in_flight.store(true, Relaxed);
        self.upgrade.store(UNDECIDED, Relaxed);
        self.call_reader();
        match self.released.swap(NOTHING, Relaxed) {
            CHECKED => Some(Taken::Checked),
            REFUSED => self.refused.lock().ok()?.take().map(Taken::Refused),
            _ => None,
        }
    }

    /// The answer is over: the connection is idle until the next head. hyper need not ask the reader before that
    /// head comes, so the wait for it begins here.
    pub(crate) fn answered(&self) {
        self.in_flight.store(false, Relaxed);
        if !self.more() {
            let draining = self.watched.draining();
            let patience = if draining { DRAIN_GRACE } else { self.idle };
            self.watched.arm_once(&self.watched.read, patience);
        }
        self.call_reader();
    }

    /// Whether something of the next request is here.
    pub(crate) fn more(&self) -> bool {
        self.released.load(Relaxed) != NOTHING || self.holding.load(Relaxed)
    }

    /// What becomes of a request that asked for an upgrade.
    pub(crate) fn decide_upgrade(&self, tunnel: bool) {
        self.upgrade
            .store(if tunnel { TUNNEL } else { STAYS_HTTP }, Relaxed);
        self.call_reader();
    }

    /// The handler has spoken: the reader may go on.
    fn call_reader(&self) {
        if self.held_back.load(Relaxed)
            && let Ok(mut reader) = self.reader.lock()
            && let Some(reader) = reader.take()
        {
            self.held_back.store(false, Relaxed);
            reader.wake();
        }
    }

    /// The reader wants to be called when the handler has spoken.
    fn hold_back(&self, context: &Context<'_>) {
        if let Ok(mut reader) = self.reader.lock() {
            *reader = Some(context.waker().clone());
            self.held_back.store(true, Relaxed);
        }
    }
}

/// How long the reader waits for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From the first byte of a head to its last.
    pub(crate) header: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
}

/// The I/O that hyper is given.
#[derive(Debug)]
pub(crate) struct Reader {
    io: ClientIo,
    heads: Arc<Heads>,
    watched: Arc<Watched>,
    limits: HeadLimits,
    patience: Patience,
    /// Bytes that were read; the first `cleared` of them may be released.
    held: BytesMut,
    cleared: usize,
    place: Place,
    grace_given: bool,
}

/// Where in the stream of messages the first byte that is not cleared stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    Head(HeadCheck),
    Length(u64),
    Chunked(ChunkScanner),
    /// Behind a head that asks for an upgrade; the body's kind is for when it stays HTTP.
    Undecided(BodyKind),
    Tunnel,
    /// Behind the last message.
    Ended,
}

impl Reader {
    /// Reads from `io` for hyper.
    pub(crate) fn new(
        io: ClientIo,
        heads: Arc<Heads>,
        watched: Arc<Watched>,
        limits: HeadLimits,
        patience: Patience,
    ) -> Self {
        let place = Place::Head(HeadCheck::NEW);
        Self {
            io,
            heads,
            watched,
            limits,
            patience,
            held: BytesMut::new(),
            cleared: 0,
            place,
            grace_given: false,
        }
    }

    /// Waits until it is clear whether the client speaks HTTP/2, by its preface, or something that HTTP/1 may make
    /// sense of; so is an end or a wait that is over. What was read stays held.
    pub(crate) fn poll_speech(&mut self, context: &mut Context<'_>) -> Poll<Speech> {
        loop {
            let known = self.held.len().min(PREFACE.len());
            if self.held[..known] != PREFACE[..known] {
                return Poll::Ready(Speech::Http1);
            }
            if known == PREFACE.len() {
                return Poll::Ready(Speech::Http2);
            }
            let read = FIRST_READ.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let read = Pin::new(&mut self.io).poll_read(context, &mut buffer);
                self.held.extend_from_slice(buffer.filled());
                read.map_ok(|()| buffer.filled().len())
            });
            match read {
                Poll::Ready(Ok(1..)) if known == 0 => self.watched.read.clear(),
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(Speech::Http1),
                Poll::Pending if self.wait().is_some() => return Poll::Ready(Speech::Http1),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The socket, and what was read of it.
    pub(crate) fn into_parts(self) -> (ClientIo, BytesMut) {
        (self.io, self.held)
    }

    /// The longest head that can pass, and so the buffer that hyper needs, bytes.
    pub(crate) const fn buffer_for(limits: HeadLimits) -> usize {
        limits.bytes + 8192
    }

    /// Waits for something that hyper may see.
    fn poll_cleared(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(done) = self.take_held(buffer) {
                return Poll::Ready(done);
            }
            if matches!(self.place, Place::Ended) {
                return Poll::Pending; // nothing behind the last message is read
            }
            let start = buffer.filled().len();
            match Pin::new(&mut self.io).poll_read(context, buffer) {
                Poll::Ready(Ok(())) if buffer.filled().len() > start => {
                    if matches!(self.place, Place::Length(_) | Place::Chunked(_)) {
                        self.watched.read.clear();
                    }
                    if self.take_read(buffer, start)? {
                        return Poll::Ready(Ok(()));
                    }
                    if self.held.len() > Self::buffer_for(self.limits) {
                        self.heads.hold_back(context); // enough is held
                        return Poll::Pending;
                    }
                }
                Poll::Ready(_) if self.heads.released.load(Relaxed) != NOTHING => {
                    self.heads.hold_back(context); // an end now would drop the request before it is handled
                    return Poll::Pending;
                }
                Poll::Ready(ended) => {
                    if !self.partial_head() {
                        return Poll::Ready(ended);
                    }
                    self.refuse_partial(
                        Refusal::BadRequest,
                        "the connection ended in the middle of a head",
                    );
                }
                Poll::Pending => match self.wait() {
                    None => {
                        if !self.held.is_empty() && self.handlers_turn() {
                            self.heads.hold_back(context);
                        }
                        return Poll::Pending;
                    }
                    Some(Overdue::Idle) => return Poll::Ready(Ok(())),
                    Some(Overdue::Head) => {
                        self.refuse_partial(
                            Refusal::RequestTimeout,
                            "the head did not arrive within timeouts.header",
                        );
                    }
                    Some(Overdue::Body) => {
                        self.place = Place::Ended;
                        let paused = "the body paused for longer than timeouts.body";
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, paused)));
                    }
                },
            }
        }
    }

    /// Releases cleared bytes from what is held. True if there were any.
    fn release(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let released = self.cleared.min(buffer.remaining());
        buffer.put_slice(&self.held[..released]);
        self.held.advance(released);
        self.cleared -= released;
        if self.held.is_empty() {
            self.held = BytesMut::new(); // an idle connection keeps no buffer of ours
        }
        released > 0
    }

    /// Clears as much of what is held, or has just been read, as belongs to the message at hand, and says how
    /// much that is. `Err` is a body that cannot be read on.
    fn clear(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.place {
            Place::Head(_) => Ok(self.clear_head(bytes)),
            Place::Length(left) => {
                let taken = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.place = Place::Head(HeadCheck::NEW);
                }
                Ok(taken)
            }
            Place::Chunked(scanner) => {
                let mut taken = 0;
                while taken < bytes.len() && !scanner.ended() {
                    taken += match scanner.next(&bytes[taken..]) {
                        Ok(
                            Piece::Framing(length) | Piece::Data(length) | Piece::Trailer(length),
                        ) => length,
                        Err(bad) => {
                            self.place = Place::Ended;
                            return Err(io::Error::new(io::ErrorKind::InvalidData, bad));
                        }
                    };
                }
                if scanner.ended() {
                    self.place = Place::Head(HeadCheck::NEW);
                }
                Ok(taken)
            }
            Place::Tunnel => Ok(bytes.len()),
            Place::Undecided(_) | Place::Ended => Ok(0),
        }
    }

    fn clear_head(&mut self, bytes: &[u8]) -> usize {
        if self.heads.released.load(Relaxed) != NOTHING {
            return 0; // the handler has not seen the last one yet
        }
        let Place::Head(check) = &mut self.place else {
            return 0;
        };
        match check.advance(bytes, self.limits) {
            Progress::Partial => 0,
            Progress::Refused(refusal, detail) => {
                self.refuse(refusal, detail, bytes);
                0
            }
            Progress::Whole(head) => {
                self.watched.read.clear();
                self.heads.released.store(CHECKED, Relaxed);
                self.place = if head.upgrade {
                    Place::Undecided(head.body)
                } else {
                    place_behind(head.body)
                };
                self.clear_body_behind(head, bytes)
            }
        }
    }

    /// The part of the body that came with its head is cleared at once; a body that is broken from the start
    /// is found when hyper asks for it.
    fn clear_body_behind(&mut self, head: Head, bytes: &[u8]) -> usize {
        let rest = &bytes[head.bytes..];
        let body = match &self.place {
            Place::Length(_) if !rest.is_empty() => self.clear(rest).unwrap_or(0),
            _ => 0,
        };
        head.bytes + body
    }

    /// Puts the sentinel in the place of a refused head and ends the stream behind it.
    fn refuse(&mut self, refusal: Refusal, detail: &'static str, bytes: &[u8]) {
        let (method, target) = match &self.place {
            Place::Head(check) => check.first_line(bytes),
            _ => (None, None),
        };
        let refused = Box::new(RefusedHead {
            refusal,
            detail,
            method,
            target,
            waited: match refusal {
                Refusal::RequestTimeout => self.patience.header,
                _ => Duration::ZERO,
            },
        });
        *self
            .heads
            .refused
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(refused);
        self.heads.released.store(REFUSED, Relaxed);
        self.watched.read.clear();
        self.place = Place::Ended;
        self.held.clear();
        self.held.extend_from_slice(SENTINEL);
        self.cleared = SENTINEL.len();
    }

    /// Decides what follows a head that asked for an upgrade, once the handler has.
    fn settle_upgrade(&mut self, body: BodyKind) {
        if self.heads.released.load(Relaxed) != NOTHING {
            return; // what is decided is about the request before it
        }
        match self.heads.upgrade.load(Relaxed) {
            TUNNEL => {
                self.place = Place::Tunnel;
                self.cleared = self.held.len();
            }
            STAYS_HTTP => self.place = place_behind(body),
            _ => {}
        }
    }

    /// Nothing has arrived: is it time to stop waiting? Arms the deadline of this wait otherwise.
    fn wait(&mut self) -> Option<Overdue> {
        let read = &self.watched.read;
        match &self.place {
            Place::Head(_) if self.heads.released.load(Relaxed) != NOTHING => None,
            Place::Head(_) if self.begun() => {
                if self.watched.passed(read) {
                    return Some(Overdue::Head);
                }
                self.watched.arm_once(read, self.patience.header);
                None
            }
            Place::Head(_) if self.heads.in_flight.load(Relaxed) => None,
            Place::Head(_) if self.watched.write.is_set() => {
                self.watched.arm(read, self.patience.idle); // the client still takes the last answer
                None
            }
            Place::Head(_) => {
                if self.watched.passed(read) {
                    return Some(Overdue::Idle);
                }
                if self.watched.draining() && !self.grace_given {
                    self.grace_given = true;
                    self.watched.arm(read, DRAIN_GRACE);
                }
                self.watched.arm_once(read, self.patience.idle);
                None
            }
            Place::Length(_) | Place::Chunked(_) => {
                if self.watched.passed(read) {
                    return Some(Overdue::Body);
                }
                self.watched.arm_once(read, self.watched.pause());
                None
            }
            Place::Undecided(_) | Place::Tunnel | Place::Ended => None,
        }
    }

    /// The stream ended, or a wait did, in the middle of a head: refuse it, so that it is answered (the client
    /// may have closed only its own side) and recorded.
    fn refuse_partial(&mut self, refusal: Refusal, detail: &'static str) {
        let bytes = self.held.split();
        self.refuse(refusal, detail, &bytes);
    }

    /// Whether nothing more can be released before the handler has spoken.
    fn handlers_turn(&self) -> bool {
        matches!(self.place, Place::Undecided(_)) || self.heads.released.load(Relaxed) != NOTHING
    }

    fn partial_head(&self) -> bool {
        matches!(self.place, Place::Head(_)) && self.begun() && self.cleared == 0
    }

    /// Whether what is held begins a message. An empty line is none: some old clients end a body with it, and
    /// RFC 9112 §2.2 forgives one before a request line.
    fn begun(&self) -> bool {
        !matches!(&self.held[..], b"" | b"\r" | b"\r\n")
    }

    /// Works off what is held. `Ready` when hyper has something to do.
    fn take_held(&mut self, buffer: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        if self.cleared == 0 {
            if let Place::Undecided(body) = self.place {
                self.settle_upgrade(body);
            }
            if !self.held.is_empty() && self.cleared == 0 {
                let held = self.held.split();
                let cleared = match self.clear(&held) {
                    Ok(cleared) => cleared,
                    Err(broken) => return Some(Err(broken)),
                };
                if !matches!(self.place, Place::Ended) {
                    self.held = held;
                    self.cleared = cleared;
                }
            }
        }
        self.release(buffer).then_some(Ok(()))
    }

    /// Keeps of what was just read into `buffer` behind `start` what is cleared, and holds the rest.
    fn take_read(&mut self, buffer: &mut ReadBuf<'_>, start: usize) -> io::Result<bool> {
        let direct = self.held.is_empty();
        if !direct {
            self.held.extend_from_slice(&buffer.filled()[start..]);
            buffer.set_filled(start);
            return Ok(false); // the next turn works it off
        }
        let read = &buffer.filled()[start..];
        let cleared = self.clear(read)?;
        if cleared < read.len() && !matches!(self.place, Place::Ended) {
            if matches!(self.place, Place::Head(_)) && self.held.is_empty() {
                self.watched.read.clear(); // from here on it is the head's time that runs
            }
            self.held.extend_from_slice(&read[cleared..]);
        }
        buffer.set_filled(start + cleared);
        Ok(cleared > 0)
    }
}

const fn place_behind(body: BodyKind) -> Place {
    match body {
        BodyKind::Length(0) => Place::Head(HeadCheck::NEW),
        BodyKind::Length(length) => Place::Length(length),
        BodyKind::Chunked => Place::Chunked(ChunkScanner::NEW),
    }
}

/// A wait that is over.
#[derive(Debug)]
enum Overdue {
    Idle,
    Head,
    Body,
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.poll_cleared(context, buffer);
        self.heads.holding.store(self.begun(), Relaxed);
        read
    }
}

impl AsyncWrite for Reader {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    /// A client that may still be sending needs time to read the answer.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let at_rest = matches!(self.place, Place::Head(_)) && self.held.is_empty();
        if !at_rest && !matches!(self.place, Place::Tunnel) {
            self.io.linger();
        }
        ready!(Pin::new(&mut self.io).poll_shutdown(context))?;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
