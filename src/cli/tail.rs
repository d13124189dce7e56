//! The transaction log as it grows, a short line for each record. For the demo: it knows nothing of
//! rotation.

use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::cli::print;

/// Records reach the file within 100 ms; nobody sees the difference.
const PAUSE: Duration = Duration::from_millis(100);

/// After so many lines the introduction has left most terminals.
const SCREEN_LINES: u32 = 20;

/// Above the lines.
const HEADING: &str = "TIME      STATUS  DECISION   KEY OR REASON      TOOK  REQUEST";

/// More of a path would break the line on most terminals.
const PATH_CHARS_MAX: usize = 48;

/// A thread that follows the log until it is told that there will be no more.
pub(super) struct Tail {
    stop: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Tail {
    /// Follows `path`, which may not be there yet. Says the reminder again whenever a screen has gone by.
    pub(super) fn start(path: PathBuf, reminder: String) -> Self {
        let (stop, stopped) = mpsc::sync_channel(1);
        let follow = move || follow(&path, &reminder, &stopped);
        let thread = thread::Builder::new()
            .name("demo-tail".to_owned())
            .spawn(follow)
            .ok();
        Self { stop, thread }
    }

    /// Prints what is in the log and not yet printed, and ends.
    pub(super) fn finish(self) {
        drop(self.stop);
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

fn follow(path: &Path, reminder: &str, stopped: &Receiver<()>) {
    print::line(HEADING);
    let mut printed: u32 = 0;
    let mut reader: Option<BufReader<File>> = None;
    let mut line = String::new();
    loop {
        let last = !matches!(stopped.recv_timeout(PAUSE), Err(RecvTimeoutError::Timeout));
        if reader.is_none() {
            reader = File::open(path).ok().map(BufReader::new);
        }
        while let Some(reader) = &mut reader
            && reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0)
            && line.ends_with('\n')
        {
            if let Some(text) = short(&line) {
                if printed == SCREEN_LINES {
                    printed = 0;
                    print::line(format_args!("\n{reminder}\n\n{HEADING}"));
                }
                printed += 1;
                print::line(text);
            }
            line.clear();
        }
        if last {
            return;
        }
    }
}

/// `10:00:00  200     allowed    demo             0.4 ms  GET /hello`, below [`HEADING`].
fn short(line: &str) -> Option<String> {
    let record: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let time = text("time").get(11..19).unwrap_or_default();
    let status = record
        .get("status")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let millis = record
        .get("duration_us")
        .and_then(Value::as_f64)
        .unwrap_or_default()
        / 1000.0;
    // The key that was used, or why there was none.
    let who = if text("key_name").is_empty() {
        text("reason")
    } else {
        text("key_name")
    };
    let (decision, method) = (text("decision"), text("method"));
    let mut path: String = text("path").chars().take(PATH_CHARS_MAX + 1).collect();
    if path.chars().count() > PATH_CHARS_MAX {
        path.pop();
        path.push_str("...");
    }
    Some(format!(
        "{time}  {status:<6}  {decision:<9}  {who:<13}  {millis:>5.1} ms  {method} {path}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_becomes_a_short_line() {
        let line = r#"{"time":"2026-11-23T10:00:00.000000Z","decision":"allowed","key_name":"demo","method":"GET","path":"/hello","status":200,"duration_us":412}"#;
        assert_eq!(
            short(line).unwrap(),
            "10:00:00  200     allowed    demo             0.4 ms  GET /hello"
        );
        let line = r#"{"time":"2026-11-23T10:00:00.000000Z","decision":"refused","reason":"missing_key","method":"GET","path":"/","status":401,"duration_us":50}"#;
        assert_eq!(
            short(line).unwrap(),
            "10:00:00  401     refused    missing_key      0.1 ms  GET /"
        );
        assert_eq!(short("{"), None);
    }
}
