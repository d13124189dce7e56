//! A program at a terminal: `script` of util-linux gives it one, the test types when it sees the question. Not for:
//! programs that ask nothing, which need no terminal.

use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;

use crate::harness::SOON;
use crate::harness::found;
use crate::harness::keygate::binary;
use crate::harness::keygate::command;

/// keygate at a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<String>>,
    /// How much of it was waited for.
    read: usize,
}

impl Terminal {
    /// Runs keygate in this folder, with these words, none of which needs quotes.
    #[track_caller]
    pub(crate) fn start(folder: &Path, words: &[&str]) -> Self {
        let line = format!("{} {}", binary().display(), words.join(" "));
        let mut command = command("script");
        command
            .args(["-qefc", &line, "/dev/null"])
            .env("TERM", "dumb")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let keys = child.stdin.take().unwrap();
        let mut screen = child.stdout.take().unwrap();
        let seen = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                shared.lock().unwrap().push_str(&text);
            }
        });
        Self {
            child,
            keys,
            seen,
            read: 0,
        }
    }

    /// Waits for a question.
    #[track_caller]
    pub(crate) fn sees(&mut self, text: &str) {
        let seen = &self.seen;
        let from = self.read;
        self.read = found(&format!("{text:?} on the screen"), SOON, || {
            let seen = seen.lock().unwrap();
            let at = seen.get(from..)?.find(text)?;
            Some(from + at + text.len())
        });
    }

    /// Types a line.
    pub(crate) fn types(&mut self, text: &str) {
        self.keys.write_all(format!("{text}\r").as_bytes()).unwrap();
    }

    /// Waits for the end: the exit code, and all that was on the screen.
    #[track_caller]
    pub(crate) fn finish(mut self) -> (Option<i32>, String) {
        let child = &mut self.child;
        let status = found("the program ends", SOON, || child.try_wait().unwrap());
        let seen = self.seen.lock().unwrap().clone();
        (status.code(), seen)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- screen\n{}", self.seen.lock().unwrap());
        }
    }
}
