//! Records as a table for spreadsheets: a column for each field of the schema, in its order. No cell is a formula there.
//! Not for: which records, see `search`; the lines as they are need no table.

use std::borrow::Cow;

use csv::Writer;

use crate::cell;
use crate::transactions::read::entry::Entry;
use crate::transactions::read::entry::Text;

/// The columns, in the order of `config/transaction.schema.json`.
pub const COLUMNS: [&str; 29] = [
    "time",
    "lost",
    "request_id",
    "trace_id",
    "decision",
    "reason",
    "hint",
    "key_id",
    "key_name",
    "token_fingerprint",
    "client_ip",
    "client_subject",
    "method",
    "scheme",
    "host",
    "path",
    "query",
    "protocol",
    "status",
    "grpc_status",
    "request_bytes",
    "response_bytes",
    "duration_us",
    "upstream_us",
    "upstream",
    "user_agent",
    "end",
    "error",
    "truncated",
];

/// The line that names the columns.
#[must_use]
pub fn csv_header() -> Vec<u8> {
    written(|table| table.write_record(COLUMNS))
}

/// A row for each of the lines; what is no line of the log has none.
#[must_use]
pub fn csv_rows(lines: &[String]) -> Vec<u8> {
    written(|table| {
        let entries = lines.iter().filter_map(|line| Entry::of(line));
        entries.into_iter().try_for_each(|entry| {
            cells(&entry)
                .iter()
                .try_for_each(|cell| table.write_field(&**cell))?;
            table.write_record(None::<&[u8]>)
        })
    })
}

fn written(write: impl FnOnce(&mut Writer<Vec<u8>>) -> csv::Result<()>) -> Vec<u8> {
    let mut table = Writer::from_writer(Vec::new());
    write(&mut table).expect("a Vec takes every row, and all rows have the same columns");
    table.into_inner().expect("a Vec takes every write")
}

fn cells<'e>(entry: &'e Entry<'_>) -> [Cow<'e, str>; COLUMNS.len()] {
    fn text<'e>(text: &'e Text<'_>) -> Cow<'e, str> {
        cell::guarded(text)
    }
    fn or_empty<'e>(found: Option<&'e Text<'_>>) -> Cow<'e, str> {
        found.map_or(Cow::Borrowed(""), text)
    }
    fn number<'e>(number: Option<impl ToString>) -> Cow<'e, str> {
        number.map_or(Cow::Borrowed(""), |number| Cow::Owned(number.to_string()))
    }
    [
        text(&entry.time),
        number((entry.lost > 0).then_some(entry.lost)),
        text(&entry.request_id),
        or_empty(entry.trace_id.as_ref()),
        text(&entry.decision),
        or_empty(entry.reason.as_ref()),
        or_empty(entry.hint.as_ref()),
        or_empty(entry.key_id.as_ref()),
        or_empty(entry.key_name.as_ref()),
        or_empty(entry.token_fingerprint.as_ref()),
        or_empty(entry.client_ip.as_ref()),
        or_empty(entry.client_subject.as_ref()),
        or_empty(entry.method.as_ref()),
        or_empty(entry.scheme.as_ref()),
        or_empty(entry.host.as_ref()),
        or_empty(entry.path.as_ref()),
        or_empty(entry.query.as_ref()),
        or_empty(entry.protocol.as_ref()),
        number(entry.status),
        number(entry.grpc_status),
        number(Some(entry.request_bytes)),
        number(Some(entry.response_bytes)),
        number(Some(entry.duration_us)),
        number(entry.upstream_us),
        or_empty(entry.upstream.as_ref()),
        or_empty(entry.user_agent.as_ref()),
        text(&entry.end),
        or_empty(entry.error.as_ref()),
        number(entry.truncated.then_some(true)),
    ]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_columns_are_the_fields_of_the_schema_in_its_order() {
        let schema = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/config/transaction.schema.json"
        );
        let schema = fs::read_to_string(schema).unwrap();
        let places = COLUMNS.map(|column| schema.find(&format!("\"{column}\": {{")));
        assert!(places.iter().all(Option::is_some), "{places:?}");
        assert!(places.is_sorted(), "{places:?}");
        let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
        assert_eq!(
            schema["properties"].as_object().unwrap().len(),
            COLUMNS.len()
        );
    }

    #[test]
    fn a_line_becomes_a_row_without_formulas() {
        let line = r#"{"time":"2026-11-25T10:00:00.000000Z","request_id":"=cmd|'/c'!A1","decision":"refused","reason":"missing_key","client_ip":"10.0.0.1","method":"GET","scheme":"http","path":"/a,\"b\"","protocol":"HTTP/1.1","status":401,"request_bytes":0,"response_bytes":9,"duration_us":5,"user_agent":"@x\ny","end":"complete"}"#;
        let rows = csv_rows(&[line.to_owned(), "no line".to_owned()]);
        let expected = "2026-11-25T10:00:00.000000Z,,'=cmd|'/c'!A1,,refused,missing_key,,,,,10.0.0.1,,GET,http,,\
                        \"/a,\"\"b\"\"\",,HTTP/1.1,401,,0,9,5,,,\"'@x\ny\",complete,,\n";
        assert_eq!(String::from_utf8(rows).unwrap(), expected);
        let header = String::from_utf8(csv_header()).unwrap();
        assert_eq!(header.trim_end().split(',').count(), COLUMNS.len());
        assert_eq!(csv_rows(&[]), b"");
    }
}
