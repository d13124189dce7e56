//! WebSocket: two streams joined after the check and the upstream's 101, until both have ended or one has
//! broken. Bytes that the client sent early have waited in the reader; nothing was relayed before the 101.

use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;

use crate::config::Timeouts;
use crate::net::watchdog::Watched;
use crate::proxy::lane;
use crate::proxy::lane::Lane;
use crate::proxy::reader::Reader;
use crate::proxy::upstream::Joined;
use crate::proxy::worker::Worker;
use crate::transactions::Transaction;
use crate::transactions::record::End;

/// How long the rest of a tunnel may pause once one side has ended. WebSocket has no use for half a connection
/// (RFC 6455 §7.1.1), and a side that only waits would keep the other for `timeouts.stream`.
const HALF_OPEN: Duration = Duration::from_secs(5);

/// How much of one direction is held, bytes.
const BUFFER_BYTES: usize = 16 * 1024;

/// Joins the client, once hyper has written the 101 and let go of it, with the upstream. The transaction ends
/// when the tunnel does.
pub(crate) async fn join(
    worker: Rc<Worker>,
    lane: Rc<Lane>,
    client: OnUpgrade,
    upstream: Joined,
    mut transaction: Transaction,
) {
    let listed = lane::list(&worker, &lane.watched, &lane.in_use).await;
    let Ok(upgraded) = client.await else { return }; // the client went before it had the 101
    lane.watched.set_pause(worker.config.timeouts.stream);
    let (upstream, begun) = (upstream.stream, upstream.input);
    let carried = match upgraded.downcast::<TokioIo<Reader>>() {
        Ok(http1) => {
            let (client, sent) = (http1.io.into_inner(), http1.read_buf);
            carry(&worker, &lane, (client, sent), (upstream, begun)).await
        }
        Err(http2) => {
            let client = (TokioIo::new(http2), Bytes::new());
            carry(&worker, &lane, client, (upstream, begun)).await
        }
    };
    drop(listed);
    transaction.request_bytes = carried.up;
    transaction.response_bytes = carried.down;
    transaction.end = carried.end;
    lane.answered();
}

/// Ends the connection of a client in order that has asked for another protocol and got an answer in this one: when
/// it is over, hyper hands it back as if it had been switched, and leaves the closing to whoever takes it.
pub(crate) fn decline(worker: &Rc<Worker>, lane: &Rc<Lane>, client: OnUpgrade) {
    let (worker, lane) = (Rc::clone(worker), Rc::clone(lane));
    tokio::task::spawn_local(async move {
        let Ok(upgraded) = client.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Reader>>() else {
            return; // a stream of HTTP/2 has no connection of its own
        };
        let _listed = lane::list(&worker, &lane.watched, &lane.in_use).await;
        let _ = parts.io.into_inner().shutdown().await; // whoever is gone needs no end
    });
}

/// What a tunnel has carried, and how it ended.
struct Carried {
    up: u64,
    down: u64,
    end: End,
}

/// Joins two streams, each with what was read of it before.
async fn carry(
    worker: &Worker,
    lane: &Lane,
    (client, sent): (impl AsyncRead + AsyncWrite + Unpin, Bytes),
    (upstream, begun): (impl AsyncRead + AsyncWrite + Unpin, Bytes),
) -> Carried {
    let mut tunnel = Tunnel {
        client,
        upstream,
        up: Direction::new(sent),
        down: Direction::new(begun),
        half_open: false,
    };
    let timeouts = &worker.config.timeouts;
    let end = poll_fn(|context| tunnel.poll(context, &lane.watched, timeouts)).await;
    Carried {
        up: tunnel.up.moved,
        down: tunnel.down.moved,
        end,
    }
}

/// Two streams and what is on its way between them.
struct Tunnel<C, U> {
    client: C,
    upstream: U,
    up: Direction,
    down: Direction,
    half_open: bool,
}

/// One direction of a tunnel.
struct Direction {
    held: BytesMut,
    moved: u64,
    /// Written, and perhaps not sent: TLS holds records back.
    unflushed: bool,
    state: Flow,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// The source may have more.
    Open,
    /// The source has ended; the sink is to be told.
    Ending,
    /// The sink has been told.
    Ended,
}

impl<C, U> Tunnel<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    /// Moves bytes both ways until both have ended, each for itself: a side that has said all may still listen.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        watched: &Watched,
        timeouts: &Timeouts,
    ) -> Poll<End> {
        if watched.passed(&watched.revoked) {
            return Poll::Ready(End::Revoked);
        }
        let before = self.up.moved + self.down.moved;
        let up = self.up.poll(&mut self.client, &mut self.upstream, context);
        let down = self
            .down
            .poll(&mut self.upstream, &mut self.client, context);
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Complete),
            (Poll::Ready(Err(Broken::Source(error))), _)
            | (_, Poll::Ready(Err(Broken::Sink(error)))) => return Poll::Ready(client_end(&error)),
            (_, Poll::Ready(Err(Broken::Source(_)))) => return Poll::Ready(End::UpstreamCut),
            // The upstream takes no more; what it has said is still the client's.
            (Poll::Ready(Err(Broken::Sink(_))), _) => self.up.give_up(),
            (Poll::Pending, _) | (_, Poll::Pending) => {}
        }
        if self.up.ended() && self.down.ended() {
            return Poll::Ready(End::Complete);
        }
        let half_open = self.up.ended() || self.down.ended();
        if self.up.moved + self.down.moved > before || half_open != self.half_open {
            watched.upstream.clear();
        } else if watched.passed(&watched.upstream) {
            return Poll::Ready(if half_open {
                End::Complete
            } else {
                End::Timeout
            });
        }
        self.half_open = half_open;
        watched.arm_once(
            &watched.upstream,
            if half_open {
                HALF_OPEN
            } else {
                timeouts.stream
            },
        );
        Poll::Pending
    }
}

/// Which end of a direction broke.
enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

fn client_end(error: &io::Error) -> End {
    if error.kind() == io::ErrorKind::TimedOut {
        End::Timeout
    } else {
        End::ClientGone
    }
}

impl Direction {
    fn new(begun: Bytes) -> Self {
        Self {
            held: BytesMut::from(begun),
            moved: 0,
            unflushed: false,
            state: Flow::Open,
        }
    }

    /// The sink takes no more.
    fn give_up(&mut self) {
        self.held.clear();
        self.state = Flow::Ended;
    }

    fn ended(&self) -> bool {
        self.state == Flow::Ended
    }

    fn poll<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while !self.held.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(context, &self.held));
                let written = written.map_err(Broken::Sink)?;
                if written == 0 {
                    return Poll::Ready(Err(Broken::Sink(io::ErrorKind::WriteZero.into())));
                }
                self.held.advance(written);
                self.moved += written as u64;
                self.unflushed = true;
            }
            if self.unflushed {
                ready!(Pin::new(&mut *to).poll_flush(context)).map_err(Broken::Sink)?;
                self.unflushed = false;
            }
            match self.state {
                Flow::Open => {
                    self.held.reserve(BUFFER_BYTES);
                    let read = ready!(std::pin::pin!(from.read_buf(&mut self.held)).poll(context));
                    if read.map_err(Broken::Source)? == 0 {
                        self.state = Flow::Ending;
                    }
                }
                Flow::Ending => {
                    let told = ready!(Pin::new(&mut *to).poll_shutdown(context));
                    told.map_err(Broken::Sink)?;
                    self.state = Flow::Ended;
                }
                Flow::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}
