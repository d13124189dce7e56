//! What the kernel knows of this process, as the `process_*` metrics name it. A figure that cannot be read
//! is left out: a scrape never fails for want of /proc.

use std::fs;

use rustix::process::Resource;

/// The unit of the times in /proc/self/stat: USER_HZ, 100 on every architecture that keygate is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// The figures of one moment.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) start_time_seconds: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    pub(super) virtual_bytes: Option<f64>,
    pub(super) threads: Option<f64>,
    pub(super) open_fds: Option<f64>,
    pub(super) max_fds: Option<f64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let mut process = Self::default();
        if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
            process.cpu_seconds = stat_field(&stat, 14)
                .zip(stat_field(&stat, 15))
                .map(|(user, system)| (user + system) / TICKS_PER_SECOND);
            process.start_time_seconds = stat_field(&stat, 22)
                .zip(boot_time())
                .map(|(ticks, boot)| boot + ticks / TICKS_PER_SECOND);
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            process.resident_bytes = line_value(&status, "VmRSS:").map(|kib| kib * 1024.0);
            process.virtual_bytes = line_value(&status, "VmSize:").map(|kib| kib * 1024.0);
            process.threads = line_value(&status, "Threads:");
        }
        // The folder that is being read is one of them.
        process.open_fds = fs::read_dir("/proc/self/fd")
            .ok()
            .map(|entries| as_float(entries.count().saturating_sub(1)));
        process.max_fds = rustix::process::getrlimit(Resource::Nofile)
            .current
            .and_then(|limit| usize::try_from(limit).ok())
            .map(as_float);
        process
    }
}

/// Field `number` of proc_pid_stat(5), counted from 1. The second, the name, may hold anything, also spaces
/// and brackets, so counting starts behind its last bracket.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace()
        .nth(number.checked_sub(3)?)?
        .parse()
        .ok()
}

fn boot_time() -> Option<f64> {
    line_value(&fs::read_to_string("/proc/stat").ok()?, "btime")
}

fn line_value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has no integers; 2^53 descriptors do not occur"
)]
fn as_float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "1 (a) b (c) S 2 3";
        assert_eq!(stat_field(stat, 4), Some(2.0));
        assert_eq!(stat_field(stat, 5), Some(3.0));
        assert_eq!(stat_field(stat, 6), None);
    }

    #[test]
    fn this_process_has_every_figure() {
        let process = Process::read();
        assert!(
            process.cpu_seconds.is_some() && process.max_fds.is_some(),
            "{process:?}"
        );
        assert!(
            process.start_time_seconds.unwrap() > 1_000_000_000.0,
            "{process:?}"
        );
        assert!(process.resident_bytes.unwrap() > 100_000.0, "{process:?}");
        assert!(
            process.virtual_bytes.unwrap() >= process.resident_bytes.unwrap(),
            "{process:?}"
        );
        assert!(process.threads.unwrap() >= 1.0, "{process:?}");
        assert!(process.open_fds.unwrap() >= 3.0, "{process:?}");
    }
}
