//! The service manager that started us and wants to know how we are: systemd, or what speaks its protocol
//! (sd_notify(3)). It is told when everything serves, when keys are read again, when the drain begins, and, if it asks
//! for that, that the workers turn. Without NOTIFY_SOCKET nothing is told to nobody. Not for: probes over HTTP, which are
//! `telemetry`.
//!
//! Own lines instead of the crate `sd-notify`: that one does not find sockets without a file, which systemd's user
//! instances have, and waits for a manager that does not read.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use rustix::time::ClockId;
use rustix::time::clock_gettime;

use crate::clock::Clock;
use crate::health::Health;
use crate::key::live::KeyReader;

/// A manager that does not read its socket is not waited for any longer; the control plane has other work.
const SEND_MAX: Duration = Duration::from_millis(250);

/// How often the status is told anew, if it is another one.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// No manager means less; a typing error in it is not to keep the control plane busy.
const BEAT_MIN: Duration = Duration::from_millis(50);

/// More than fits a line of `systemctl status`.
const STATUS_CHARACTERS_MAX: usize = 1_000;

/// Who wants to know; nobody by default.
#[derive(Debug, Default)]
pub struct Supervisor {
    line: Option<Line>,
    /// How often it wants to hear that we turn, at the least.
    watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Supervisor {
    /// The one that the environment names.
    #[must_use]
    pub fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        match Line::to(&name) {
            Ok(line) => Self {
                line: Some(line),
                watchdog: watchdog(
                    env::var("WATCHDOG_USEC").ok().as_deref(),
                    env::var("WATCHDOG_PID").ok().as_deref(),
                    process::id(),
                ),
            },
            Err(error) => {
                let name = name.to_string_lossy();
                tracing::warn!(%name, %error, "the service manager behind NOTIFY_SOCKET is not told anything");
                Self::default()
            }
        }
    }

    fn tell(&self, message: &str) {
        if let Some(Line { socket, to }) = &self.line
            && let Err(error) = socket.send_to_addr(message.as_bytes(), to)
        {
            tracing::debug!(%error, message, "the service manager could not be told");
        }
    }
}

impl Line {
    /// `/run/systemd/notify`, or `@name` for a socket without a file.
    fn to(name: &OsStr) -> io::Result<Self> {
        let to = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "no Unix socket")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_MAX))?;
        Ok(Self { socket, to })
    }
}

/// How often the manager of this process wants to hear from it, if at all.
fn watchdog(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let micros: u64 = usec?.parse().ok().filter(|micros| *micros > 0)?;
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    ours.then(|| Duration::from_micros(micros))
}

/// What the supervisor is told, and from what it is read.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) supervisor: Supervisor,
    /// Where it listens, in words.
    pub(super) places: String,
    pub(super) keys: KeyReader,
    pub(super) health: Arc<Health>,
    pub(super) clock: Clock,
    pub(super) said: Mutex<Said>,
}

/// What it was told last.
#[derive(Debug, Default)]
pub(super) struct Said {
    status: String,
    stopping: bool,
}

impl Report {
    /// Everything serves: at the start, or again after a reload.
    pub(super) fn ready(&self) {
        self.say(false, |status| format!("READY=1\nSTATUS={status}"));
    }

    /// Files are read again, because the manager asked for it; [`Report::ready`] says that it is over.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.say(false, |_| format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The drain has begun.
    pub(super) fn stopping(&self) {
        self.say(true, |status| format!("STOPPING=1\nSTATUS={status}"));
    }

    /// Tells what has changed and, if the manager wants to know, that the workers turn. For ever.
    pub(super) async fn run(self: Arc<Self>) {
        if self.supervisor.line.is_none() {
            return;
        }
        let watchdog = self.supervisor.watchdog;
        // Half of the time that is given, as sd_watchdog_enabled(3) asks for.
        let every = watchdog.map_or(STATUS_EVERY, |most| {
            STATUS_EVERY.min(most / 2).max(BEAT_MIN)
        });
        loop {
            // A worker that is stuck is left to the manager: it restarts us when it hears nothing.
            if watchdog.is_some() && self.health.stuck_workers(self.clock.now()).is_empty() {
                self.supervisor.tell("WATCHDOG=1");
            }
            self.renew();
            tokio::time::sleep(every).await;
        }
    }

    /// Tells the status if it is another one than before.
    fn renew(&self) {
        let status = self.status();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.status != status {
            self.supervisor.tell(&format!("STATUS={status}"));
            said.status = status;
        }
    }

    /// Whoever stops is neither ready nor reloading any more.
    fn say(&self, stopping: bool, message: impl Fn(&str) -> String) {
        let status = self.status();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.stopping {
            return;
        }
        said.stopping = stopping;
        self.supervisor.tell(&message(&status));
        said.status = status;
    }

    fn status(&self) -> String {
        let readiness = self.health.readiness();
        let causes = readiness.blocked.iter().chain(&readiness.degraded);
        let causes = causes.map(|cause| format!("; {}: {}", cause.cause, cause.why));
        let keys = self.keys.snapshot().len();
        let number = if keys == 1 { "key" } else { "keys" };
        let causes: String = causes.collect();
        one_line(&format!("{keys} {number}; {}{causes}", self.places))
    }
}

/// A line break would be the end of the status, and what follows a message of its own.
fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars()
        .take(STATUS_CHARACTERS_MAX)
        .map(shown)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_that_of_this_process() {
        for (usec, pid, expected) in [
            (None, None, None),
            (Some("30000000"), None, Some(30)),
            (Some("30000000"), Some("7"), Some(30)),
            (Some("30000000"), Some("8"), None),
            (Some("0"), Some("7"), None),
            (Some("soon"), Some("7"), None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(watchdog(usec, pid, 7), expected, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(
            one_line("keys.yaml:3: wrong\nREADY=1"),
            "keys.yaml:3: wrong READY=1"
        );
        assert_eq!(
            one_line(&"ä".repeat(2_000)).chars().count(),
            STATUS_CHARACTERS_MAX
        );
    }

    #[test]
    fn only_unix_sockets_are_told() {
        for name in ["vsock:2:1234", "notify", "tcp:1"] {
            assert!(Line::to(OsStr::new(name)).is_err(), "{name}");
        }
        assert!(Line::to(OsStr::new("@a name")).is_ok());
    }
}
