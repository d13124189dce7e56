//! Covers "upstream resetting, lying about length": whatever an upstream answers, the client sees a 502, or a message
//! that is visibly broken, or exactly the answer that the framing tells, never a part of one that looks whole; and
//! the next request gets its own answer. Every row is played to every kind of client. Not for: timeouts and retries,
//! which are in `upstream`.

mod rows;

use std::sync::Arc;
use std::sync::Mutex;

use serde_json::Value;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::frames::Http2;
use crate::harness::frames::code;
use crate::harness::frames::good;
use crate::harness::gate::Gate;
use crate::harness::gate::OpenOnDrop;
use crate::harness::keygate::Keygate;
use crate::harness::message::Failed;
use crate::harness::message::Response;
use crate::harness::requests::get;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::upstream::Next;
use crate::harness::upstream::Turn;
use crate::harness::upstream::Upstream;
use crate::harness::wire::Broken;
use crate::harness::wire::find;
use crate::upstream_malformed::rows::Ending;
use crate::upstream_malformed::rows::Row;
use crate::upstream_malformed::rows::Sees;
use crate::upstream_malformed::rows::all;
use crate::upstream_malformed::rows::stalls;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// HTTP/1.1, on a connection that stays.
    KeepAlive,
    /// HTTP/1.0, where the end of the connection may be the end of an answer.
    Old,
    /// HTTP/2, where a broken answer ends its stream and nothing else.
    Http2,
}

/// A connection to keygate of either kind.
enum Connection {
    Http1(Client),
    Http2(Box<Http2>),
}

/// An answer as a client sees it.
#[derive(Debug)]
enum Told {
    Whole {
        status: u16,
        body: Vec<u8>,
        trailers: Vec<(String, String)>,
        /// Whether the connection ends with it.
        closes: bool,
    },
    Broken {
        /// Whether the client can see that it is.
        visible: bool,
        body: Vec<u8>,
    },
}

/// When the bad part of an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// With the good part, in one write.
    AtOnce,
    /// When the client has the head already.
    Late,
}

#[test]
fn rows_are_distinct_and_many() {
    let mut names: Vec<&str> = all().iter().map(|row| row.name).collect();
    let count = names.len();
    assert!(count >= 100, "{count} rows");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "two rows have the same name");
}

#[test]
fn a_keep_alive_client_is_told_and_goes_on() {
    play(Asker::KeepAlive, Arrival::AtOnce);
}

#[test]
fn a_keep_alive_client_with_half_an_answer_sees_that_it_broke() {
    play(Asker::KeepAlive, Arrival::Late);
}

#[test]
fn a_client_of_http2_is_told_and_goes_on() {
    play(Asker::Http2, Arrival::AtOnce);
}

#[test]
fn a_client_of_http2_with_half_an_answer_sees_that_it_broke() {
    play(Asker::Http2, Arrival::Late);
}

#[test]
fn an_old_client_is_told() {
    play(Asker::Old, Arrival::AtOnce);
}

#[test]
fn an_old_client_with_half_an_answer_sees_that_it_broke() {
    play(Asker::Old, Arrival::Late);
}

/// The upstream of the rows: `/row/3` is answered as row 3 says, everything else well.
struct Stage {
    upstream: Upstream,
    /// Where a row waits before its late part.
    gates: Arc<Vec<Gate>>,
    /// Rows on whose connection another request came, though it was to be closed.
    reused: Arc<Mutex<Vec<&'static str>>>,
}

impl Stage {
    fn of(rows: Vec<Row>) -> Self {
        let gates: Arc<Vec<Gate>> = Arc::new(rows.iter().map(|_| Gate::new()).collect());
        let reused: Arc<Mutex<Vec<&'static str>>> = Arc::default();
        let (waits, told) = (Arc::clone(&gates), Arc::clone(&reused));
        let upstream = Upstream::scripted(move |turn| {
            turn.body()?;
            let target = turn.head.second().to_owned();
            let Some(index) = target.strip_prefix("/row/") else {
                return turn.answer("200 OK", "", target.as_bytes());
            };
            let index: usize = index.parse().unwrap();
            perform(turn, &rows[index], &waits[index], &told)
        });
        Self {
            upstream,
            gates,
            reused,
        }
    }
}

fn perform(
    turn: &mut Turn<'_>,
    row: &Row,
    gate: &Gate,
    reused: &Mutex<Vec<&'static str>>,
) -> std::io::Result<Next> {
    turn.send(&row.first)?;
    gate.wait();
    turn.send(&row.late)?;
    match row.ending {
        Ending::Keeps => Ok(Next::Keep),
        Ending::Closes => Ok(Next::Close),
        Ending::Resets => Ok(Next::Reset),
        Ending::Floods(unit) => {
            let many = unit.repeat(1 + 16 * 1024 / unit.len());
            loop {
                turn.send(&many)?; // until keygate has had enough
            }
        }
        Ending::Waits => {
            if !turn.waits_for_close(SOON) {
                reused.lock().unwrap().push(row.name);
            }
            Ok(Next::Close)
        }
    }
}

fn play(asker: Asker, arrival: Arrival) {
    let stage = Stage::of(all());
    let keygate = Setup::of(&stage.upstream)
        .set("workers", "1")
        .set("timeouts", "{response: 10s, body: 10s}")
        .spawn();
    let mut client = Connection::new(&keygate, asker);
    // All rows are played before any failure is told: one run shows every gap.
    let mut failures = Vec::new();
    let rows = all();
    for (index, row) in rows.iter().enumerate() {
        if arrival == Arrival::Late && !matches!(row.sees, Sees::Cut(_)) {
            continue; // nothing of it may reach a client before all of it is there
        }
        let gate = &stage.gates[index];
        let _open = OpenOnDrop(gate.clone());
        if arrival == Arrival::AtOnce {
            gate.open();
        }
        let target = format!("/row/{index}");
        let told = client.ask(asker, row.method, &target, gate);
        if !is_as_said(asker, row, &told) {
            failures.push(format!("{}: {:?}, but {told:?}", row.name, row.sees));
        }
        // A message that broke takes its connection with it, but for a stream; any other leaves it as it was.
        let goes_on = match asker {
            Asker::KeepAlive => matches!(told, Told::Whole { .. }),
            Asker::Old => false,
            Asker::Http2 => true,
        };
        if !goes_on {
            client = Connection::new(&keygate, asker);
        }
        let next = format!("/next/{index}");
        let told = client.ask(asker, "GET", &next, gate);
        if !matches!(&told, Told::Whole { body, .. } if body == next.as_bytes()) {
            failures.push(format!("{}: and the next request: {told:?}", row.name));
        }
        if !goes_on || matches!(told, Told::Broken { .. }) {
            client = Connection::new(&keygate, asker);
        }
    }
    for name in stage.reused.lock().unwrap().iter() {
        failures.push(format!("{name}: its connection was used again"));
    }
    assert_eq!(keygate.metrics().total("keygate_panics_total"), 0.0);
    let finished = keygate.finish();
    for (index, row) in rows.iter().enumerate() {
        let path = format!("/row/{index}");
        let records: Vec<&Value> = finished
            .transactions
            .iter()
            .filter(|record| record["path"] == path.as_str())
            .collect();
        let skipped = arrival == Arrival::Late && !matches!(row.sees, Sees::Cut(_));
        let good = match records.as_slice() {
            [] => skipped,
            [record] => is_recorded(row, record),
            _ => false,
        };
        if !good {
            failures.push(format!("{}: recorded as {records:?}", row.name));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} rows:\n{}",
        failures.len(),
        rows.len(),
        failures.join("\n")
    );
}

impl Connection {
    fn new(keygate: &Keygate, asker: Asker) -> Self {
        match asker {
            Asker::KeepAlive | Asker::Old => Self::Http1(keygate.connect()),
            Asker::Http2 => Self::Http2(Box::new(Http2::connect(keygate.address()))),
        }
    }

    /// Sends a request, opens the gate when the head of its answer is there, and reads on.
    fn ask(&mut self, asker: Asker, method: &str, target: &str, gate: &Gate) -> Told {
        match self {
            Self::Http1(client) => ask_http1(client, asker, method, target, gate)
                .map_or_else(Told::broken, Told::whole),
            Self::Http2(client) => ask_http2(client, method, target, gate),
        }
    }
}

fn ask_http1(
    client: &mut Client,
    asker: Asker,
    method: &str,
    target: &str,
    gate: &Gate,
) -> Result<Response, Failed> {
    let version = if asker == Asker::Old { "1.0" } else { "1.1" };
    client.send(format!(
        "{method} {target} HTTP/{version}\r\nhost: app\r\nx-api-key: {GOOD}\r\nte: trailers\r\nconnection: te\r\n\r\n"
    ));
    let reader = client.reader();
    let head = reader.head()?;
    gate.open();
    reader.buffer.splice(0..0, head.raw);
    client.try_read(method)
}

fn ask_http2(client: &mut Http2, method: &str, target: &str, gate: &Gate) -> Told {
    let stream = client.request(&good(method, target));
    client.until(|this| {
        let answer = this.answer(stream);
        (answer.status() != 0 || answer.reset.is_some()).then_some(())
    });
    gate.open();
    let answer = client.outcome(stream);
    // A length that is not the body's makes the answer malformed (RFC 9113 §8.1.1).
    let length = answer.one("content-length");
    let fits = method == "HEAD"
        || answer.status() == 304
        || length.is_none_or(|length| length == answer.body.len().to_string());
    if answer.ended && fits {
        return Told::Whole {
            status: answer.status(),
            body: answer.body,
            trailers: answer.trailers,
            closes: !client.goaways.is_empty(),
        };
    }
    let reset = answer.reset.is_some_and(|told| told != code::NO_ERROR);
    Told::Broken {
        visible: reset && !answer.ended && client.ended.is_none(),
        body: answer.body,
    }
}

impl Told {
    fn whole(response: Response) -> Self {
        let raw = String::from_utf8_lossy(&response.head.raw).replace("\r\n", "");
        assert!(!raw.contains(['\r', '\n', '\0']), "{raw:?}");
        Self::Whole {
            status: response.status,
            closes: response.head.lists("connection", "close"),
            body: response.body,
            trailers: response.trailers,
        }
    }

    fn broken(failed: Failed) -> Self {
        Self::Broken {
            visible: matches!(failed.why, Broken::Cut | Broken::Closed | Broken::Reset),
            body: failed.body,
        }
    }
}

/// Whether that is what the row says.
fn is_as_said(asker: Asker, row: &Row, told: &Told) -> bool {
    /// What trailers must not say once a message has been framed anew.
    const FRAMING: [&str; 5] = [
        "content-length",
        "transfer-encoding",
        "connection",
        "host",
        "trailer",
    ];
    match (row.sees, told) {
        (
            Sees::Failure,
            Told::Whole {
                status,
                body,
                closes,
                ..
            },
        ) => {
            let told = row.method == "HEAD" || find(body, b"\"upstream_failed\"").is_some();
            *status == 502 && told && (asker == Asker::Old || !closes)
        }
        (
            Sees::Whole(expected, text),
            Told::Whole {
                status,
                body,
                trailers,
                ..
            },
        ) => {
            let clean = |(name, _): &(String, String)| !FRAMING.contains(&&**name);
            *status == expected && body == text.as_bytes() && trailers.iter().all(clean)
        }
        (Sees::Cut(text), Told::Broken { visible, body }) => {
            *visible && text.as_bytes().starts_with(body)
        }
        (Sees::Failure | Sees::Whole(..), Told::Broken { .. })
        | (Sees::Cut(_), Told::Whole { .. }) => false,
    }
}

fn is_recorded(row: &Row, record: &Value) -> bool {
    let (reason, end) = match row.sees {
        Sees::Failure => ("upstream_failed".into(), "complete"),
        Sees::Cut(_) => ("upstream_failed".into(), "upstream_cut"),
        Sees::Whole(..) => (Value::Null, "complete"),
    };
    (&record["reason"], &record["end"]) == (&reason, &end.into())
}

#[test]
fn an_upstream_that_stops_anywhere_is_left_within_its_time() {
    let stage = Stage::of(stalls());
    let keygate = Setup::of(&stage.upstream)
        .set("workers", "1")
        .set("timeouts", "{response: 1s, body: 1s}")
        .spawn();
    for asker in [Asker::KeepAlive, Asker::Old] {
        let rows = stalls();
        // All wait at once, so that the time of one is the time of all.
        let mut clients: Vec<Client> = rows
            .iter()
            .enumerate()
            .map(|(index, row)| {
                let mut client = keygate.connect();
                let version = if asker == Asker::Old { "1.0" } else { "1.1" };
                client.send(format!(
                    "{} /row/{index} HTTP/{version}\r\nhost: app\r\nx-api-key: {GOOD}\r\n\r\n",
                    row.method
                ));
                client
            })
            .collect();
        for (client, row) in clients.iter_mut().zip(&rows) {
            let seen = client.try_read(row.method);
            match (row.sees, &seen) {
                (Sees::Failure, Ok(response)) => {
                    assert_eq!(response.status, 504, "{}: {response:?}", row.name);
                    assert_eq!(response.code(), "upstream_timeout", "{}", row.name);
                }
                (Sees::Cut(body), Err(failed)) => {
                    assert_ne!(failed.why, Broken::Timeout, "{}: {failed:?}", row.name);
                    assert_eq!(failed.body, body.as_bytes(), "{}: {failed:?}", row.name);
                }
                _ => panic!("{} to {asker:?}: {seen:?}", row.name),
            }
        }
        assert_eq!(keygate.ask(get("/next")).text(), "/next");
    }
    for gate in stage.gates.iter() {
        gate.open();
    }
    keygate.finish();
}

#[test]
fn bytes_on_an_idle_connection_are_nobodys_answer() {
    for (name, stray) in [
        (
            "an answer",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        ),
        ("an answer without an end", "HTTP/1.1 200 OK\r\n\r\nevil"),
        ("an interim answer", "HTTP/1.1 100 Continue\r\n\r\n"),
        (
            "408, as servers say that close",
            "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n",
        ),
        ("half a head", "HTTP/1.1 200 OK\r\nx: "),
        ("a last chunk", "0\r\n\r\n"),
        ("an empty line", "\r\n"),
        ("one byte", "H"),
        ("NUL", "\0"),
        (
            "a switch of protocols",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        ),
    ] {
        let upstream = Upstream::echo();
        let keygate = Setup::of(&upstream).set("workers", "1").spawn();
        let mut client = keygate.connect();
        assert_eq!(client.ask(get("/first")).status, 200, "{name}");
        upstream.send_unasked(stray.as_bytes());
        for index in 0..3 {
            let target = format!("/later/{index}");
            let response = client.ask(get(&target));
            assert_eq!(
                response.json()["target"],
                target.as_str(),
                "{name}: {response:?}"
            );
        }
        assert_eq!(upstream.connections(), 2, "{name}");
        assert_eq!(upstream.count(), 4, "{name}: nothing was sent twice");
    }
}
