//! Long answers, made piece by piece: each when the client takes it, beside the control plane, so that memory is a piece
//! however long the answer. Not for: what pieces are made of.

use std::mem;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use axum::body::Body;
use axum::body::Bytes;
use http_body::Frame;
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio::task::JoinHandle;
use tokio::task::spawn_blocking;

/// About so much is made at a time.
const PIECE_BYTES: usize = 128 << 10;
/// After so many steps a thread is given back, found or not: a client that has gone is noticed in between.
const STEPS_MAX: usize = 1_024;

/// What an answer is made of; a piece may be empty.
pub(super) type Pieces = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// The body of an answer.
pub(super) fn body(pieces: Pieces) -> Body {
    Body::new(Sent(Sending::Waiting(pieces)))
}

/// Written when it is asked for more. Making pieces, and letting go of what they are made of, both take a while.
struct Sent(Sending);

enum Sending {
    Waiting(Pieces),
    Writing(JoinHandle<(Option<Pieces>, Vec<u8>)>),
    Over,
}

/// The next bytes; without the pieces, there are no more.
fn written(mut pieces: Pieces) -> (Option<Pieces>, Vec<u8>) {
    let mut bytes = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
    for _ in 0..STEPS_MAX {
        match pieces.next() {
            Some(piece) => bytes.extend_from_slice(&piece),
            None => return (None, bytes),
        }
        if bytes.len() >= PIECE_BYTES {
            break;
        }
    }
    (Some(pieces), bytes)
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = JoinError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, JoinError>>> {
        let sending = &mut self.0;
        loop {
            if matches!(sending, Sending::Waiting(_))
                && let Sending::Waiting(pieces) = mem::replace(sending, Sending::Over)
            {
                *sending = Sending::Writing(spawn_blocking(move || written(pieces)));
            }
            let Sending::Writing(writing) = sending else {
                return Poll::Ready(None);
            };
            let (left, bytes) = match ready!(Pin::new(writing).poll(context)) {
                Ok(written) => written,
                Err(error) => {
                    *sending = Sending::Over;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            *sending = left.map_or(Sending::Over, Sending::Waiting);
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
            }
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let (Sending::Waiting(pieces), Ok(runtime)) = (
            mem::replace(&mut self.0, Sending::Over),
            Handle::try_current(),
        ) {
            runtime.spawn_blocking(move || drop(pieces));
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn pieces_are_joined_and_empty_ones_do_not_end_a_body() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        for count in [0, 1, 3 * STEPS_MAX] {
            let pieces = (0..count).map(|number| match number % STEPS_MAX {
                0 => b"piece".to_vec(),
                _ => Vec::new(),
            });
            let body = body(Box::new(pieces));
            let bytes = runtime.block_on(async { body.collect().await.unwrap().to_bytes() });
            assert_eq!(bytes.len(), 5 * count.div_ceil(STEPS_MAX), "{count}");
        }
    }
}
