//! All keys, sent out as they are written, so a million keys cost no more than one. Digests and sealed copies are in it,
//! tokens never. Not for: the formats (`store`), how pieces become a body (`pieces`).

use std::io;
use std::io::Write;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use axum::http::HeaderValue;
use axum::http::header;
use axum::response::Response;

use crate::admin::pieces;
use crate::admin::pieces::Pieces;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::audit::Action;
use crate::key::table::KeyTable;
use crate::store::format::Format;
use crate::store::format::print::whole;
use crate::store::import::spreadsheet::Table;

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
    let mut response = Response::new(pieces::body(pieces));
    let (kind, name) = shape.headers();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(name));
    Ok(response)
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
