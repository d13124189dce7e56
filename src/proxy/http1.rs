//! A client connection that speaks HTTP/1: hyper's server over the checked reader, until the client, a deadline or a
//! drain ends it. A client that begins with the preface of HTTP/2 goes on to `http2`. Not for: what comes before
//! (`connection`), or a request itself (`handler`).

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::net::io::ClientIo;
use crate::net::watchdog::Watched;
use crate::proxy::connection::Connection;
use crate::proxy::handler;
use crate::proxy::http2;
use crate::proxy::lane;
use crate::proxy::lane::Lane;
use crate::proxy::reader::Heads;
use crate::proxy::reader::Reader;
use crate::proxy::reader::Speech;
use crate::proxy::worker::Worker;

/// The fields that hyper parses without an allocation.
const FIELDS_ON_STACK: usize = 100;

/// Serves a connection to its end, or to the preface of HTTP/2.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    io: ClientIo,
    watched: Arc<Watched>,
) {
    let peer = connection.peer;
    let heads = Heads::new(Arc::clone(&watched), worker.config.timeouts.idle);
    let mut reader = Reader::new(
        io,
        Arc::clone(&heads),
        Arc::clone(&watched),
        worker.head_limits(),
        worker.reader_patience(),
    );
    let lane = Rc::new(Lane::http1(connection, watched, heads));
    let listed = lane::list(&worker, &lane.watched, &lane.in_use).await;
    if poll_fn(|context| reader.poll_speech(context)).await == Speech::Http2 {
        drop(listed);
        let (io, begun) = reader.into_parts();
        let (connection, watched) = (Rc::clone(&lane.connection), Arc::clone(&lane.watched));
        drop(lane);
        return Box::pin(http2::serve(worker, connection, io, begun, watched)).await;
    }
    let service = {
        let worker = Rc::clone(&worker);
        service_fn(move |request| {
            let begun = handler::begin(&worker, &lane, request);
            handler::handle(Rc::clone(&worker), Rc::clone(&lane), begun)
        })
    };
    let served = builder(&worker)
        .serve_connection(TokioIo::new(reader), service)
        .with_upgrades()
        .await;
    drop(listed);
    if let Err(error) = served {
        tracing::debug!(client.addr = %peer, %error, "a connection ended early");
    }
}

fn builder(worker: &Worker) -> http1::Builder {
    let limits = worker.head_limits();
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_buf_size(Reader::buffer_for(limits));
    if limits.fields > FIELDS_ON_STACK {
        builder.max_headers(limits.fields);
    }
    builder
}
