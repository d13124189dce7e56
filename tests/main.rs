//! The black-box tests: one binary, one module a capability, through real sockets against the real program.
//! What the program promises is in the README; each module's header says which part of it is checked there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "deadlines of tests are real time"
)]
#![expect(clippy::print_stderr, reason = "a failed test shows what keygate said")]

mod agreement;
mod auth;
mod canary;
mod cli;
mod config;
mod dependencies;
mod harness;
mod headers;
mod health;
mod hot_reload;
mod http1;
mod layers;
mod limits;
mod metrics;
mod restart;
mod shutdown;
mod soak;
mod transactions;
mod upgrade;
mod upstream;
