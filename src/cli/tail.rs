//! The transaction log as it grows, on a thread of its own, until the demo ends. Not for: how the log is followed, and
//! how a record is shown, which `transactions::read` and `cli::transactions` know.

use std::path::Path;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::cli::print;
use crate::cli::transactions::HEADING;
use crate::cli::transactions::short;
use crate::transactions::read::Entry;
use crate::transactions::read::Event;
use crate::transactions::read::Filter;
use crate::transactions::read::Follow;

/// Records reach the file within 100 ms; nobody sees the difference.
const PAUSE: Duration = Duration::from_millis(100);

/// After so many lines the introduction has left most terminals.
const SCREEN_LINES: u32 = 20;

/// A thread that follows the log until it is told that there will be no more.
pub(super) struct Tail {
    stop: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Tail {
    /// Follows the log in `folder`, which may not be there yet. Says the reminder again whenever a screen has gone by.
    pub(super) fn start(folder: &Path, reminder: String) -> Self {
        let (stop, stopped) = mpsc::sync_channel(1);
        let follow = Follow::from_beginning(folder, Filter::default());
        let follow = move || print_all(follow, &reminder, &stopped);
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

fn print_all(mut follow: Follow, reminder: &str, stopped: &Receiver<()>) {
    print::line(HEADING);
    let (mut printed, mut events) = (0, Vec::new());
    loop {
        let last = !matches!(stopped.recv_timeout(PAUSE), Err(RecvTimeoutError::Timeout));
        // A log that cannot be read now may be readable a moment later.
        while follow.read(&mut events).unwrap_or(false) {}
        for event in events.drain(..) {
            let Event::Record { line, .. } = event else {
                continue;
            };
            let Some(entry) = Entry::of(&line) else {
                continue;
            };
            if printed == SCREEN_LINES {
                printed = 0;
                print::line(format_args!("\n{reminder}\n\n{HEADING}"));
            }
            printed += 1;
            print::line(short(&entry, print::width()));
        }
        if last {
            return;
        }
    }
}
