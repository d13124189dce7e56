//! The log read back, from the files alone: pages, streams and the checks that a request went through. It reads what
//! any process wrote, so the command line uses it beside a keygate that runs. Not for: writing (`writer`, `file`).

mod entry;

pub use entry::Entry;
pub use entry::Text;
