//! The black-box tests: one binary, one module a capability, through real sockets against the real program.
//! What the program promises is in the README; each module's header says which part of it is checked there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "deadlines of tests are real time"
)]
#![expect(clippy::print_stderr, reason = "a failed test shows what keygate said")]

mod admin_api;
mod agreement;
mod auth;
mod canary;
mod cli;
mod clients;
mod config;
mod dependencies;
mod doctor;
mod edits;
mod harness;
mod headers;
mod health;
mod hot_reload;
mod http1;
mod http2;
mod image;
mod init;
mod keys_cli;
mod layers;
mod limits;
mod listeners;
mod man;
mod memory;
mod metrics;
mod names;
mod peer;
mod restart;
mod revocation;
mod rollout;
mod shutdown;
mod soak;
mod store;
mod systemd;
mod tls;
mod transactions;
mod transactions_cli;
mod upgrade;
mod upstream;
mod upstream_http2;
mod upstream_malformed;
mod upstream_tls;
