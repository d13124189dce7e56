//! Covers "HTTP/2 from clients", frame by frame: what the rules of HTTP/2 forbid ends a stream or the connection and
//! never reaches the upstream; what they allow and HTTP/1 could read in two ways is refused; what a client may send for
//! nothing is bounded; and whatever one connection does, the others are served. Not for: clients that behave.

mod ends;
mod fields;
mod floods;
mod flow;
mod preface;
mod settings;
mod streams;

use std::time::Duration;

use crate::harness::comes_true;
use crate::harness::frames::Http2;
use crate::harness::frames::others_are_served;
use crate::harness::keygate::Keygate;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

/// What must come of what a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    /// GOAWAY with this code, and the end of the connection.
    GoAway(u32),
    /// RST_STREAM with this code on stream 1; the connection goes on.
    Reset(u32),
    /// An answer with this status on stream 1; the connection goes on.
    Status(u16),
    /// Nothing of it is held against the client.
    Fine,
}

/// A stream behind all those that rows use.
const BEYOND: u32 = 10_000_001;

/// An echo, and a keygate in front of it with one worker.
fn echo() -> (Upstream, Keygate) {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).set("workers", "1").spawn();
    (upstream, keygate)
}

/// How many times a client has broken the protocol, as the metrics count it.
fn protocol_errors(keygate: &Keygate) -> f64 {
    keygate.metrics().total("keygate_protocol_errors_total")
}

/// Whether more is counted than `before`; waits for it where it is `expected`.
fn is_counted(keygate: &Keygate, before: f64, expected: bool) -> bool {
    let patience = Duration::from_secs(if expected { 3 } else { 0 });
    comes_true(patience, || protocol_errors(keygate) > before)
}

/// Plays rows of bytes, each on a connection of its own; all of them before any failure is told.
#[track_caller]
fn play(keygate: &Keygate, rows: &[(&str, Vec<u8>, Sees)]) {
    let mut failures = Vec::new();
    for (name, bytes, sees) in rows {
        let before = protocol_errors(keygate);
        let mut client = Http2::connect(keygate.address());
        client.send(bytes);
        if let Err(what) = judge(&mut client, *sees) {
            failures.push(format!("{name}: {sees:?}, but {what}"));
        }
        let breaks = matches!(sees, Sees::GoAway(_) | Sees::Reset(_));
        if breaks != is_counted(keygate, before, breaks) {
            failures.push(format!("{name}: counted: {}", !breaks));
        }
    }
    others_are_served(keygate);
    assert!(
        failures.is_empty(),
        "{} of {} rows:\n{}",
        failures.len(),
        rows.len(),
        failures.join("\n")
    );
}

/// Whether that is what came.
fn judge(client: &mut Http2, sees: Sees) -> Result<(), String> {
    client.skip_to(BEYOND);
    let good = match sees {
        Sees::GoAway(code) => {
            client.until(|this| this.ended.clone());
            client.ended.is_some() && client.goaways.last().is_some_and(|(_, told)| *told == code)
        }
        Sees::Reset(code) => client.outcome(1).reset == Some(code) && client.is_alive(),
        Sees::Status(status) => {
            let answer = client.outcome(1);
            answer.ended && answer.status() == status && client.is_alive()
        }
        Sees::Fine => client.is_alive(),
    };
    if good {
        return Ok(());
    }
    Err(format!("{client:?}"))
}
