//! The client's side of an HTTP/2 connection as hyper reads it: the bytes that were read to find out what the client
//! speaks, then the socket, with an eye on the headers of frames. h2 answers PING and SETTINGS without counting them,
//! and lets a client open and reset streams for as long as it likes: what costs the client nothing and keygate
//! something is counted here, in windows of ten seconds, and too much of it ends the connection.
//!
//! Resets and GOAWAYs that h2 sends because a client broke a rule are counted on their way out: hyper tells of a reset
//! never, and of the end of a connection only when the client has let go of it too.
//!
//! Frames are only looked at: their rules are h2's. Nothing is held back and nothing is changed.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;
use std::time::Instant;

use bytes::Buf;
use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::metrics::ProtocolError;
use crate::metrics::WorkerMetrics;
use crate::net::io::ClientIo;
use crate::net::watchdog::CoarseClock;
use crate::net::watchdog::Watched;
use crate::proxy::http2::patience;
use crate::proxy::worker::Worker;

/// What a client that speaks HTTP/2 sends first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long frames are counted before the count begins anew.
const WINDOW: Duration = Duration::from_secs(10);

/// How many frames in a window may be of kinds that carry nothing.
const EMPTY_MAX: u32 = 1000;

/// How many resets in a window are nobody's business; beyond, more than half of the streams opened is too many.
const RESETS_FREE: u32 = 100;

const HEADER_BYTES: usize = 9;

/// What RST_STREAM has behind its header: its code.
const RESET_BYTES: usize = 4;

/// What GOAWAY has behind its header: the last stream, and its code.
const GOAWAY_BYTES: usize = 8;

/// Errors that say that a client broke a rule: PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR,
/// COMPRESSION_ERROR, ENHANCE_YOUR_CALM (RFC 9113 §7).
const BREACHES: [u8; 6] = [1, 3, 5, 6, 9, 11];

/// Kinds of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;

/// The I/O that hyper is given.
#[derive(Debug)]
pub(crate) struct FrameIo {
    io: ClientIo,
    /// Read before anybody knew that this is HTTP/2.
    begun: BytesMut,
    counter: Counter,
    sent: Frames,
    clock: Arc<CoarseClock>,
    metrics: Arc<WorkerMetrics>,
    /// The connection's waits, and how long it may be idle once its preface is here.
    watched: Arc<Watched>,
    idle: Duration,
}

impl FrameIo {
    /// `begun`, then what comes from `io`.
    pub(crate) fn new(
        io: ClientIo,
        begun: BytesMut,
        worker: &Worker,
        watched: Arc<Watched>,
    ) -> Self {
        let clock = Arc::clone(worker.watchdog.clock());
        Self {
            io,
            begun,
            counter: Counter::new(clock.coarse()),
            sent: Frames::new(0),
            clock,
            metrics: Arc::clone(&worker.metrics),
            watched,
            idle: worker.config.timeouts.idle,
        }
    }

    fn count(&mut self, bytes: &[u8]) -> io::Result<()> {
        let waited_for = !self.counter.begun;
        let fine = self.counter.scan(bytes, self.clock.coarse());
        if waited_for && self.counter.begun {
            self.watched.arm(&self.watched.read, self.idle);
        }
        if fine {
            return Ok(());
        }
        self.metrics.protocol_error(ProtocolError::Http2Flood);
        Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "too many frames that carry nothing",
        ))
    }
}

impl FrameIo {
    /// Looks for resets and GOAWAYs among the first `written` bytes of `slices`, and for data: the end of an answer may
    /// wait for its client's window when nobody works for its request any more.
    fn note_sent(&mut self, slices: &[IoSlice<'_>], mut written: usize) {
        let mut data = false;
        for slice in slices {
            let length = written.min(slice.len());
            self.sent.scan(&slice[..length], |frame| {
                if BREACHES.contains(&frame.code) {
                    self.metrics.protocol_error(ProtocolError::Http2);
                }
                data |= frame.kind == DATA;
            });
            written -= length;
        }
        if data && self.watched.read.is_set() {
            let patience = patience(&self.watched, self.idle);
            self.watched.arm(&self.watched.read, patience);
        }
    }
}

impl AsyncRead for FrameIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buffer.filled().len();
        if self.begun.is_empty() {
            ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        } else {
            let length = self.begun.len().min(buffer.remaining());
            buffer.put_slice(&self.begun[..length]);
            self.begun.advance(length);
            if self.begun.is_empty() {
                self.begun = BytesMut::new();
            }
        }
        Poll::Ready(self.count(&buffer.filled()[start..]))
    }
}

impl AsyncWrite for FrameIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(context, bytes))?;
        self.note_sent(&[IoSlice::new(bytes)], written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(context, slices))?;
        self.note_sent(slices, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    /// The client may still be sending; it is to read the GOAWAY all the same.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.linger();
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// What is looked at of a frame.
#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    length: usize,
    /// Why a stream is reset, or the connection ended; 0 for all other frames.
    code: u8,
}

/// Follows a stream of bytes from frame header to frame header.
#[derive(Debug)]
struct Frames {
    /// The header of the next frame, and the error code behind it, as far as they are here.
    header: [u8; HEADER_BYTES + GOAWAY_BYTES],
    have: usize,
    /// Bytes before the next header: the preface, a payload.
    skip: usize,
}

impl Frames {
    /// From the first header on, behind `skip` bytes.
    const fn new(skip: usize) -> Self {
        Self {
            header: [0; HEADER_BYTES + GOAWAY_BYTES],
            have: 0,
            skip,
        }
    }

    /// The length of the payload behind the header that is here.
    const fn length(&self) -> usize {
        let [a, b, c, ..] = self.header;
        (a as usize) << 16 | (b as usize) << 8 | c as usize
    }

    /// How much is looked at behind the header, once that is here.
    const fn told(&self) -> usize {
        match self.header[3] {
            _ if self.have < HEADER_BYTES => 0,
            RST_STREAM if self.length() >= RESET_BYTES => RESET_BYTES,
            GOAWAY if self.length() >= GOAWAY_BYTES => GOAWAY_BYTES,
            _ => 0,
        }
    }

    /// Looks at the next bytes; `note` sees each frame once.
    fn scan(&mut self, mut bytes: &[u8], mut note: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            bytes = &bytes[skipped..];
            self.skip -= skipped;
            if bytes.is_empty() {
                return;
            }
            let told = self.told();
            let wanted = HEADER_BYTES + told;
            let taken = (wanted - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < wanted || told < self.told() {
                continue;
            }
            let [_, _, _, kind, flags, ..] = self.header;
            let length = self.length();
            let code = if told > 0 { self.header[wanted - 1] } else { 0 };
            self.have = 0;
            self.skip = length - told;
            note(Frame {
                kind,
                flags,
                length,
                code,
            });
        }
    }
}

/// Counts what costs a client nothing.
#[derive(Debug)]
struct Counter {
    frames: Frames,
    /// A header was seen, so the preface is here.
    begun: bool,
    since: Instant,
    empty: u32,
    opened: u32,
    reset: u32,
}

impl Counter {
    const fn new(now: Instant) -> Self {
        Self {
            frames: Frames::new(PREFACE.len()),
            begun: false,
            since: now,
            empty: 0,
            opened: 0,
            reset: 0,
        }
    }

    /// Looks at the next bytes. False when it is too much.
    fn scan(&mut self, bytes: &[u8], now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.since, self.empty, self.opened, self.reset) = (now, 0, 0, 0);
        }
        self.frames.scan(bytes, |frame| {
            self.begun = true;
            match frame.kind {
                HEADERS => self.opened += 1,
                RST_STREAM => self.reset += 1,
                PING | SETTINGS | PRIORITY | CONTINUATION => self.empty += 1,
                DATA if frame.length == 0 && frame.flags & END_STREAM == 0 => self.empty += 1,
                _ => {}
            }
        });
        self.is_fine()
    }

    const fn is_fine(&self) -> bool {
        self.empty <= EMPTY_MAX && (self.reset <= RESETS_FREE || self.reset <= self.opened / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER_BYTES + payload, 0xff);
        frame
    }

    fn begun() -> (Counter, Instant) {
        let now = crate::clock::Clock::system().now();
        let mut counter = Counter::new(now);
        assert!(counter.scan(PREFACE, now));
        (counter, now)
    }

    #[test]
    #[rustfmt::skip] // a table: one row a line
    fn frames_that_carry_nothing_are_counted_and_others_are_not() {
        let rows = [
            ("ping", PING, 0, 8, false),
            ("settings", SETTINGS, 0, 6, false),
            ("priority", PRIORITY, 0, 5, false),
            ("continuation", CONTINUATION, 0, 1, false),
            ("empty data", DATA, 0, 0, false),
            ("data", DATA, 0, 1, true),
            ("the end of a body", DATA, END_STREAM, 0, true),
            ("window update", 8, 0, 4, true),
            ("headers", HEADERS, 0, 3, true),
        ];
        for (name, kind, flags, payload, fine) in rows {
            let (mut counter, now) = begun();
            let frame = frame(kind, flags, payload);
            for sent in 0..=EMPTY_MAX {
                let ok = counter.scan(&frame, now);
                assert_eq!(ok, fine || sent < EMPTY_MAX, "{name} {sent}");
            }
        }
    }

    #[test]
    fn resets_are_too_many_when_they_are_more_than_half_of_what_was_opened() {
        let (mut counter, now) = begun();
        let (open, reset) = (frame(HEADERS, 0, 1), frame(RST_STREAM, 0, 4));
        for _ in 0..RESETS_FREE {
            assert!(counter.scan(&open, now) && counter.scan(&reset, now));
        }
        assert!(counter.scan(&open, now) && !counter.scan(&reset, now));
        let (mut counter, now) = begun();
        for _ in 0..10 * RESETS_FREE {
            assert!(counter.scan(&open, now) && counter.scan(&open, now));
            assert!(counter.scan(&reset, now));
        }
    }

    #[test]
    fn a_new_window_begins_with_nothing() {
        let (mut counter, now) = begun();
        let ping = frame(PING, 0, 8);
        for window in 0..3 {
            for _ in 0..EMPTY_MAX {
                assert!(counter.scan(&ping, now + WINDOW * window));
            }
        }
        assert!(!counter.scan(&ping, now + WINDOW * 2));
    }

    #[test]
    fn the_code_of_a_reset_or_goaway_is_found_however_the_bytes_are_cut() {
        let mut bytes = Vec::new();
        for (kind, length, end, code) in [
            (RST_STREAM, 4, 4, 1),
            (GOAWAY, 8, 8, 8),
            (RST_STREAM, 4, 4, 0),
            (GOAWAY, 30, 8, 11),
        ] {
            let mut telling = frame(kind, 0, length);
            telling[HEADER_BYTES + end - 1] = code;
            bytes.extend(frame(DATA, 0, 20));
            bytes.extend(telling);
        }
        for piece in 1..=bytes.len() {
            let (mut frames, mut codes) = (Frames::new(0), Vec::new());
            for piece in bytes.chunks(piece) {
                frames.scan(piece, |frame| codes.push(frame.code));
            }
            assert_eq!(codes, [0, 1, 0, 8, 0, 0, 0, 11], "pieces of {piece}");
        }
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let mut bytes = PREFACE.to_vec();
        for payload in [0, 1, 8, 9, 10, 300, 70_000] {
            bytes.extend(frame(PING, 0, payload));
            bytes.extend(frame(HEADERS, 0, payload));
        }
        let now = crate::clock::Clock::system().now();
        for piece in [1, 2, 7, 9, 10, 24, 25, 1000, 100_000] {
            let mut counter = Counter::new(now);
            assert!(bytes.chunks(piece).all(|piece| counter.scan(piece, now)));
            assert_eq!((counter.empty, counter.opened), (7, 7), "pieces of {piece}");
        }
    }
}
