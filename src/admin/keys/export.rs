//! All keys, sent out as they are written: a piece is made when the client takes it, so a million keys cost no
//! more than one. Digests and sealed copies are in it, tokens never. Not for: the formats (`store`).

use std::io;
use std::io::Write;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::header;
use axum::response::Response;
use http_body::Frame;
use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio::task::JoinHandle;
use tokio::task::spawn_blocking;

use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::audit::Action;
use crate::key::table::KeyTable;
use crate::store::format::Format;
use crate::store::format::print::whole;
use crate::store::import::spreadsheet::Table;

/// About so much is made at a time.
const PIECE_BYTES: usize = 128 << 10;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    File(Format),
    Csv,
}

const SHAPES: [(&str, Shape); 4] = [
    ("ndjson", Shape::File(Format::Ndjson)),
    ("json", Shape::File(Format::Json)),
    ("yaml", Shape::File(Format::Yaml)),
    ("csv", Shape::Csv),
];

impl Shape {
    /// The media type, and the name of the file for a browser.
    const fn headers(self) -> (&'static str, &'static str) {
        match self {
            Self::File(Format::Ndjson) => (
                "application/x-ndjson",
                "attachment; filename=\"keys.ndjson\"",
            ),
            Self::File(Format::Json) => ("application/json", "attachment; filename=\"keys.json\""),
            Self::File(Format::Yaml) => ("application/yaml", "attachment; filename=\"keys.yaml\""),
            Self::Csv => (
                "text/csv; charset=utf-8",
                "attachment; filename=\"keys.csv\"",
            ),
        }
    }
}

/// `GET /keys:export`.
pub(crate) async fn export(call: Call) -> Outcome {
    let parameters = call.query(&["format"])?;
    let shape = parameters.choice("format", &SHAPES)?.unwrap_or(SHAPES[0].1);
    let table = call.shared.api.keys.load_full();
    let detail = Some(format!("{} keys", table.len()));
    call.note(Action::KeysExported, (None, None), detail)
        .await?;
    let pieces: Pieces = match shape {
        Shape::File(format) => {
            let fields = (0..table.len()).map(move |at| table.keys()[at].to_fields());
            Box::new(whole(format, fields).map(String::into_bytes))
        }
        Shape::Csv => Box::new(rows(table)),
    };
    let mut response = Response::new(Body::new(Sent(Sending::Waiting(pieces))));
    let (kind, name) = shape.headers();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(name));
    Ok(response)
}

type Pieces = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// A body that is written when it is asked for more, beside the control plane: writing, and letting go of a table that
/// nobody else has any more, both take a while.
struct Sent(Sending);

enum Sending {
    Waiting(Pieces),
    Writing(JoinHandle<(Option<Pieces>, Vec<u8>)>),
    Over,
}

/// The next bytes; without the pieces, there are no more.
fn written(mut pieces: Pieces) -> (Option<Pieces>, Vec<u8>) {
    let mut bytes = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4);
    while bytes.len() < PIECE_BYTES {
        match pieces.next() {
            Some(piece) => bytes.extend_from_slice(&piece),
            None => return (None, bytes),
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
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes.into()))))
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

/// Rows of a table, each when it is asked for.
fn rows(keys: Arc<KeyTable>) -> impl Iterator<Item = Vec<u8>> + Send {
    let written = Written::default();
    let mut table = Table::new(written.clone(), false).ok();
    let mut at = 0;
    std::iter::from_fn(move || {
        let key = keys.keys().get(at);
        at += 1;
        match (key, &mut table) {
            (Some(key), Some(table)) => table.row(key, None).ok()?,
            (None, Some(_)) => table.take()?.finish().ok()?,
            (_, None) => return None,
        }
        Some(written.take())
    })
}

/// What a table has written, to be taken away.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn take(&self) -> Vec<u8> {
        mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::table::Revision;
    use crate::key::tests::key;

    #[test]
    fn a_table_of_many_keys_comes_row_by_row() {
        for count in [0, 1, 3_000] {
            let keys = (0..count)
                .map(|number| Arc::new(key(&format!("name-{number}"), &format!("token-{number}"))));
            let table = KeyTable::build(keys.collect(), Revision::of(b"")).unwrap();
            let text: Vec<u8> = rows(Arc::new(table)).flatten().collect();
            let text = String::from_utf8(text).unwrap();
            assert_eq!(
                text.lines().count(),
                count + 1,
                "{count} keys and the names of the columns"
            );
        }
    }
}
