//! What the black-box tests stand on: the real binary in a folder of its own, upstreams and clients that
//! speak raw bytes, and waiting for conditions instead of sleeping. Every wait has a bound, so that a
//! broken keygate fails a test and never hangs it. Not for: what keygate promises, which is in the tests.

pub(crate) mod admin;
pub(crate) mod client;
pub(crate) mod disk;
pub(crate) mod dns;
pub(crate) mod frames;
pub(crate) mod gate;
pub(crate) mod in_process;
pub(crate) mod keygate;
pub(crate) mod kubelet;
pub(crate) mod message;
pub(crate) mod metrics;
pub(crate) mod requests;
pub(crate) mod schema;
pub(crate) mod setup;
pub(crate) mod terminal;
pub(crate) mod tls;
pub(crate) mod upstream;
pub(crate) mod upstream_frames;
pub(crate) mod upstream_h2;
pub(crate) mod wire;

use std::fmt::Write as _;
use std::time::Duration;
use std::time::Instant;

use sha2::Digest as _;
use sha2::Sha256;

/// How long a test waits for what should come at once, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// Waits until `check` holds; panics with `what` when it does not within `within`.
#[track_caller]
pub(crate) fn eventually(what: &str, within: Duration, mut check: impl FnMut() -> bool) {
    found(what, within, || check().then_some(()));
}

/// Waits until `look` finds something; panics with `what` when it does not within `within`.
#[track_caller]
pub(crate) fn found<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(thing) = look() {
            return thing;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether `check` comes to hold within `within`: for tables, which tell of all their failures at once.
pub(crate) fn comes_true(within: Duration, mut check: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if check() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Checks that `holds` stays true for `span`: for promises that something does not happen.
#[track_caller]
pub(crate) fn throughout(what: &str, span: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        assert!(holds(), "did not last {span:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `count` has not moved for `span`, and says where it stands.
#[track_caller]
pub(crate) fn settled(what: &str, span: Duration, count: impl Fn() -> u64) -> u64 {
    let (mut last, mut since) = (count(), Instant::now());
    eventually(what, SOON, || {
        let now = count();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() >= span
    });
    last
}

/// SHA-256 in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// Bytes that do not repeat soon, so that lost, doubled and swapped pieces show in a checksum.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
