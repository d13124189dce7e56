//! A WebSocket on a stream of HTTP/2 (RFC 8441): bytes both ways, with the stream's flow control as back-pressure.
//! Dropped before both ends are told, it resets its stream. Not for: what goes through it (`proxy::upgrade`).

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Buf as _;
use bytes::Bytes;
use h2::RecvStream;
use h2::SendStream;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use crate::proxy::upstream::http2::link::Place;

/// The most that one write takes, bytes.
const WRITE_MAX: usize = 16 * 1024;

/// The stream of an extended CONNECT that was answered with success.
pub(crate) struct Tunnel {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// What has come and was not read yet.
    input: Bytes,
    _place: Place,
}

impl Tunnel {
    pub(super) fn new(send: SendStream<Bytes>, receive: RecvStream, place: Place) -> Self {
        Self {
            send,
            receive,
            input: Bytes::new(),
            _place: place,
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.input.is_empty() {
            match ready!(this.receive.poll_data(context)) {
                Some(data) => this.input = data.map_err(broken)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = this.input.len().min(buffer.remaining());
        buffer.put_slice(&this.input[..taken]);
        this.input.advance(taken);
        let _ = this.receive.flow_control().release_capacity(taken); // an error: the stream has ended
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let this = self.get_mut();
        this.send.reserve_capacity(bytes.len().min(WRITE_MAX));
        let room = loop {
            match this.send.capacity() {
                0 => {}
                room => break room,
            }
            match ready!(this.send.poll_capacity(context)) {
                Some(room) => drop(room.map_err(broken)?), // perhaps none after all
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        };
        let taken = room.min(bytes.len()).min(WRITE_MAX);
        let data = Bytes::copy_from_slice(&bytes[..taken]);
        this.send.send_data(data, false).map_err(broken)?;
        Poll::Ready(Ok(taken))
    }

    /// The connection's own task does that.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let told = self.get_mut().send.send_data(Bytes::new(), true);
        Poll::Ready(told.map_err(broken))
    }
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_reset() {
        return io::Error::new(io::ErrorKind::ConnectionReset, error);
    }
    error
        .into_io()
        .unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into())
}
