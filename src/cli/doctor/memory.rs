//! Whether the keys fit the memory that this container may have. They are held twice for a moment while an edit is
//! taken over, beside the text of the file.

use std::fs;

use crate::cli::doctor::Scene;
use crate::cli::doctor::finding::Finding;
use crate::units::Size;

const ABOUT: &str = "memory";

/// keygate without keys, with some traffic.
const BASE_BYTES: u64 = 32 * 1024 * 1024;
/// The peak of an edit for each byte of the key file, as measured with a million keys.
const TIMES: u64 = 4;

pub(super) fn look(scene: &Scene<'_>) -> Option<Finding> {
    let keys = scene.keys.as_ref()?;
    judge(limit()?, keys.bytes, keys.table.len())
}

fn judge(limit: u64, bytes: u64, keys: usize) -> Option<Finding> {
    let needed = BASE_BYTES.saturating_add(bytes.saturating_mul(TIMES));
    let (limit, needed) = (Size(limit), Size(needed.next_multiple_of(1024 * 1024)));
    if limit.0 >= needed.0 {
        return Some(Finding::ok(
            ABOUT,
            format!("{limit} at most; {keys} keys need about {needed}"),
        ));
    }
    Some(
        Finding::warn(ABOUT, format!("{limit} at most, and {keys} keys need about {needed} while one is edited"))
            .why("the kernel ends a container that takes more: keygate would be gone in the middle of an edit")
            .fix(format!("a memory limit of {needed} or more")),
    )
}

/// The least limit of the control groups that can be seen from here.
fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("/");
    let files = [
        format!("/sys/fs/cgroup{group}/memory.max"),
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    let read = |file: &String| bytes(&fs::read_to_string(file).ok()?);
    files.iter().filter_map(read).min()
}

/// `max`, and a number beyond all machines, are no limits.
fn bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 50)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn a_limit_is_a_number_that_somebody_set() {
        for (text, expected) in [
            ("67108864\n", Some(67_108_864)),
            ("max\n", None),
            ("9223372036854771712\n", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_million_keys_need_more_than_a_sidecar_has() {
        let mib = 1024 * 1024;
        for (limit, bytes, level) in [
            (64 * mib, 1000, Level::Ok),
            (64 * mib, 200 * mib, Level::Warn),
            (1024 * mib, 200 * mib, Level::Ok),
        ] {
            let finding = judge(limit, bytes, 1).unwrap();
            assert_eq!(finding.level, level, "{finding:?}");
        }
    }
}
