//! Transactions as they are recorded, as server-sent events. A watcher is a reader of the log's files: one that is slow
//! lags behind, and costs keygate a block of memory and nobody else anything. It ends with the session of whoever
//! watches, and when keygate stops. Not for: how the log is followed (`transactions::read`).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::admin::Shared;
use crate::admin::error::ApiError;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::Parameters;
use crate::admin::request::Sender;
use crate::admin::request::blocking;
use crate::admin::transactions::filter;
use crate::admin::transactions::place;
use crate::admin::transactions::response;
use crate::admin::transactions::seat;
use crate::admin::transactions::with_filters;
use crate::transactions::read::Event;
use crate::transactions::read::Follow;
use crate::transactions::read::Place;

/// How often a watcher looks whether there is something new.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between signs of life, which also keep proxies from giving up; the session is looked at as often.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

/// `GET /transactions/stream`.
pub(in crate::admin) async fn stream(call: Call) -> Outcome {
    let parameters = call.query(&with_filters::<12>(["last_event_id"]))?;
    let filter = filter(&call, &parameters)?;
    let from = last_event(&call.headers, &parameters)?;
    let seat = seat(&call)?;
    call.place.never_ends();
    let config = Arc::clone(&call.shared.api.config);
    let follow = blocking(move || {
        let folder = &config.transactions.dir;
        match &from {
            Some(place) => Follow::behind(folder, filter, place),
            None => Follow::from_now(folder, filter),
        }
    });
    let (frames, receiver) = mpsc::channel(1);
    let watcher = Watcher {
        frames,
        next_heartbeat: call.shared.api.clock.now() + HEARTBEAT_EVERY,
        shared: Arc::clone(&call.shared),
        headers: call.headers,
        sender: call.sender,
        _seat: seat,
    };
    tokio::spawn(watcher.run(follow.await?));
    let mut response = response("text/event-stream", Body::new(Frames(receiver)));
    // nginx would collect events before it passes them on.
    let unbuffered = HeaderValue::from_static("no");
    response
        .headers_mut()
        .insert("x-accel-buffering", unbuffered);
    Ok(response)
}

/// Where to go on: the header counts, which browsers send by themselves when they come back.
fn last_event(headers: &HeaderMap, parameters: &Parameters) -> Result<Option<Place>, ApiError> {
    let header = headers.get("last-event-id").map(|value| value.to_str());
    let text = match header {
        Some(text) => Some(text.unwrap_or("not text")),
        None => parameters.text("last_event_id"),
    };
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| place("last_event_id", "the id of an event", text))
        .transpose()
}

/// One who watches.
struct Watcher {
    frames: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
    /// With which the session is looked up again.
    headers: HeaderMap,
    sender: Sender,
    next_heartbeat: Instant,
    _seat: OwnedSemaphorePermit,
}

/// Nobody watches any more, or nobody may.
struct Over;

impl Watcher {
    async fn run(mut self, follow: Follow) {
        let mut stopping = self.shared.stopping.subscribe();
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            Over = self.watch(follow) => {}
        }
    }

    /// For as long as somebody reads.
    async fn watch(&mut self, mut follow: Follow) -> Over {
        let begin = format!("retry: 1000\nid: {}\n\n", follow.place());
        if self.frames.send(begin.into()).await.is_err() {
            return Over;
        }
        loop {
            let more;
            (follow, more) = match self.pass_on(follow).await {
                Ok(read) => read,
                Err(over) => return over,
            };
            if let Err(over) = self.keep_alive(&follow).await {
                return over;
            }
            if !more && let Err(over) = self.wait_for_more(&follow).await {
                return over;
            }
        }
    }

    /// Until there may be something to read: a pause at least, since a file that cannot be opened is there all the time.
    async fn wait_for_more(&mut self, follow: &Follow) -> Result<(), Over> {
        loop {
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = self.frames.closed() => return Err(Over),
            }
            self.keep_alive(follow).await?;
            if follow.is_behind() {
                return Ok(());
            }
        }
    }

    /// Reads a block and sends what is wanted of it, as soon as there is room for that.
    async fn pass_on(&self, mut follow: Follow) -> Result<(Follow, bool), Over> {
        let room = self.frames.reserve().await.map_err(|_| Over)?;
        let read = blocking(move || {
            let mut events = Vec::new();
            let more = follow.read(&mut events);
            let text: String = events.iter().map(text).collect();
            (follow, more, Bytes::from(text))
        });
        let (follow, more, text) = read.await.map_err(|_| Over)?;
        if !text.is_empty() {
            room.send(text);
        }
        match more {
            Ok(more) => Ok((follow, more)),
            Err(error) => {
                tracing::warn!(%error, "the transaction log cannot be followed: a live stream ends");
                Err(Over)
            }
        }
    }

    /// A sign of life when it is time, if whoever watches still may.
    async fn keep_alive(&mut self, follow: &Follow) -> Result<(), Over> {
        let now = self.shared.api.clock.now();
        if now < self.next_heartbeat {
            return Ok(());
        }
        self.next_heartbeat = now + HEARTBEAT_EVERY;
        let (shared, headers) = (Arc::clone(&self.shared), self.headers.clone());
        let client = self.sender.client;
        let admitted = blocking(move || shared.access.admit(&headers, client).is_ok()).await;
        if !matches!(admitted, Ok(true)) {
            return Err(Over);
        }
        // With the place: what did not match need not be read again by one that comes back.
        let heartbeat = format!(": heartbeat\nid: {}\n\n", follow.place());
        let sent = self.frames.send(heartbeat.into()).await;
        sent.map_err(|_| Over)
    }
}

fn text(event: &Event) -> String {
    match event {
        Event::Record { line, place } => {
            format!("id: {place}\nevent: transaction\ndata: {line}\n\n")
        }
        Event::Gap => "event: gap\ndata: {\"why\":\"records may be missing here: their file was deleted before it was read\"}\n\n"
            .to_owned(),
    }
}

/// What a watcher sends, as a body.
struct Frames(mpsc::Receiver<Bytes>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(context);
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
