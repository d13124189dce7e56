//! How far long work has got: nothing for two seconds, then a bar on a terminal and a line now and then elsewhere.

use std::io;
use std::io::IsTerminal;
use std::time::Duration;
use std::time::Instant;

use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;

use crate::cli::print;
use crate::clock::Clock;

/// What takes less is not worth a bar.
const QUIET: Duration = Duration::from_secs(2);
/// Between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(5);

/// How far one piece of work has got.
pub(super) struct Progress {
    what: &'static str,
    total: Option<u64>,
    done: u64,
    clock: Clock,
    next: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Work begins: `what` it is, and how much, where that is known.
    pub(super) fn begin(what: &'static str, total: Option<u64>, clock: &Clock) -> Self {
        Self {
            what,
            total,
            done: 0,
            clock: clock.clone(),
            next: clock.now() + QUIET,
            bar: None,
        }
    }

    /// So much more is done.
    pub(super) fn advance(&mut self, by: u64) {
        self.done += by;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            return;
        }
        let now = self.clock.now();
        if now < self.next {
            return;
        }
        self.next = now + PAUSE;
        if io::stderr().is_terminal() {
            self.bar = Some(bar(self.what, self.total));
        } else {
            match self.total {
                Some(total) => print::note(format_args!("{}: {} of {total}", self.what, self.done)),
                None => print::note(format_args!("{}: {}", self.what, self.done)),
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let shape = match total {
        Some(_) => "{msg} [{bar:40}] {percent}% {eta}",
        None => "{msg} {pos}",
    };
    let style = ProgressStyle::with_template(shape).expect("the template is one");
    bar.with_style(style).with_message(what)
}
