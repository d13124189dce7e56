//! What the process asks of the kernel before it holds a secret: files of its own are nobody else's, memory is
//! not dumped, and as many descriptors as it may have. Best effort: where the kernel refuses, the start goes on.

use rustix::fs::Mode;
use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;

/// Sets umask 077 and forbids core dumps.
pub(crate) fn harden() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(Resource::Core, none);
}
