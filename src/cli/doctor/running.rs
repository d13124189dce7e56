//! The keygate that runs on the data folder, as /proc tells: its limits and its user are what count, not the shell's.
//! Where none runs, this process stands for the one that will.

use std::fs;
use std::path::Path;

/// The process that is looked at.
#[derive(Debug)]
pub(super) struct Process {
    /// The pid of a keygate that runs.
    pub(super) pid: Option<u32>,
    limits: String,
    status: String,
}

impl Process {
    /// The one that has locked the data folder, if it can be seen from here.
    pub(super) fn of(data_dir: &Path) -> Self {
        let pid = fs::read_to_string(data_dir.join("lock")).ok();
        let pid: Option<u32> = pid.and_then(|pid| pid.trim().parse().ok());
        // The number may be another process's by now, or one of another container.
        let is_keygate = |pid: &u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim_end() == "keygate")
        };
        let pid = pid.filter(is_keygate);
        let read = |file: &str| {
            let whose = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
            fs::read_to_string(format!("/proc/{whose}/{file}")).unwrap_or_default()
        };
        Self {
            limits: read("limits"),
            status: read("status"),
            pid,
        }
    }

    /// The soft and the hard limit of this name; none: unlimited, or not known.
    pub(super) fn limit(&self, name: &str) -> (Option<u64>, Option<u64>) {
        limit(&self.limits, name)
    }

    /// Its effective user.
    pub(super) fn user(&self) -> Option<u32> {
        user(&self.status)
    }
}

/// `Max open files            1024                 524288               files`
fn limit(limits: &str, name: &str) -> (Option<u64>, Option<u64>) {
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    let mut fields = line.unwrap_or_default().split_whitespace();
    let mut next = || fields.next()?.parse().ok();
    (next(), next())
}

/// `Uid: 1000 1000 1000 1000`, with tabs: real, effective, saved, file system.
fn user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_user_are_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max core file size        0                    unlimited            bytes     \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(limit(limits, "Max open files"), (Some(1024), Some(524_288)));
        assert_eq!(limit(limits, "Max core file size"), (Some(0), None));
        assert_eq!(limit(limits, "Max what"), (None, None));
        assert_eq!(
            user("Name:\tkeygate\nUid:\t1000\t65532\t0\t0\n"),
            Some(65_532)
        );
        assert_eq!(user(""), None);
    }
}
