//! keygate: API keys in front of a service that has none. A reverse proxy that lets a request with a valid
//! token through, answers the rest with a refusal, follows its key file, and records every request.
//!
//! This page is the map. It is written for whoever reads or changes the code; whoever runs keygate finds
//! what they need in the README. The library exists for the binary and for the tests: its interface is
//! not stable.
//!
//! # Two planes
//!
//! The **data plane** serves requests. Each worker is one thread with one single-threaded runtime, its own
//! upstream connections, its own counters and its own buffer of log lines. What workers share on the way of a
//! request is read and never waited for: the published key table and the config.
//!
//! The **control plane** is one thread with a runtime of its own: signals, reloading and editing the keys, the admin
//! API, telemetry, name look-ups, and the order of stopping. The log's writer has a thread of its own as well, and
//! so have the totals. None of them is ever waited for by a request, but for the log where the
//! configuration promises a record before the end of its answer.
//!
//! # Modules, in the order of their layers
//!
//! | | module | what it is |
//! |---|---|---|
//! | 8 | [`cli`] | what people type: one file a command; the only place that prints |
//! | 7 | [`server`] | assembly: from a checked config to a running gate, and back down in order |
//! | 6 | [`proxy`] | the data plane: a request from its first byte to the last of its answer |
//! | 6 | [`admin`] | the admin API and its pages: keys, their use, transactions, status and audit over HTTP |
//! | 6 | [`telemetry`] | `/livez`, `/readyz`, `/metrics`, and `POST /drain` for this machine |
//! | 5 | [`audit`] | who changed what, when, and from where |
//! | 5 | [`auth`] | may this request pass? Pure: head, address, table and time in, verdict out |
//! | 5 | [`store`] | where keys are kept: the file, its text, its edits, and the one task that follows it |
//! | 5 | [`transactions`] | one record for every request: written, read back, and added up |
//! | 4 | [`net`] | sockets, accepting, time limits without timers; knows no HTTP |
//! | 3 | [`config`] | keygate.yaml, flags and environment: from text to checked values |
//! | 3 | [`watch`] | notices that files changed and are at rest |
//! | 3 | [`metrics`] | every counter; one writer each, added up when somebody asks |
//! | 3 | [`health`] | what blocks readiness, what is worse than it should be, who still turns |
//! | 3 | [`drain`] | the stages of stopping, and who follows them |
//! | 2 | [`key`] | what an API key is: record, token and digest, rules, the published table |
//! | 1 | [`document`] | YAML and JSON as a tree whose every node knows its line and column |
//! | 0 | [`refusal`] | every reason to say no, each with its stable names |
//! | 0 | [`problem`] | a problem in a file that a person wrote: where, what, what to do |
//! | 0 | [`clock`] | the only place that reads time |
//! | 0 | [`secret`] | text that is never shown and is wiped when dropped |
//! | 0 | [`peer`] | who is at the other end of a socket |
//! | 0 | `parts` | long lists of small work on several threads |
//! | 0 | [`units`] | `64KiB`, `30s` |
//! | 0 | [`cell`] | cells of spreadsheets that are no formulas |
//!
//! A module imports lower rows only, never its own row and never a higher one. `tests/layers.rs` reads every
//! source file and fails on an import that does:
//!
//! ```text
//! 8  cli
//! 7  server
//! 6  proxy | admin | telemetry
//! 5  audit | auth | store | transactions
//! 4  net
//! 3  config | watch | metrics | health | drain
//! 2  key
//! 1  document
//! 0  refusal | problem | clock | secret | peer | parts | units | cell
//! ```
//!
//! # Three paths through it
//!
//! **A request.** `net::listen` accepts and hands the connection to the worker with the fewest.
//! `proxy::connection` sees it through what comes before HTTP (a PROXY header, a TLS handshake) and serves it: hyper's
//! HTTP/1 server over `proxy::reader`, which lets hyper see whole, checked heads and well-framed bodies only, or its HTTP/2
//! server, each stream of which is a `proxy::lane` of its own. For each head, `proxy::handler` does these things in this order,
//! each returning to it: open the transaction, `forwarded::client` (who is it), [`auth::Policy::decide`] (may
//! it pass), [`proxy::headers`] (what the upstream sees), `upstream::send`, [`proxy::headers`] again (what the
//! client sees). The key table's snapshot is let go before the first wait. `proxy::body` carries the answer
//! back and owns the transaction, which is recorded when it is dropped: once, however the request ends. Where an answer
//! waits for its record, `proxy::body` holds its end back until then.
//! Whatever stops on the way becomes an answer in [`proxy::respond`], the one table with status codes.
//!
//! **An edit of the key file.** By hand: [`watch`] says that the file moved and is at rest; [`store::reload`] reads
//! it, parses the entries whose text is new, builds a whole [`key::table::KeyTable`] and publishes it through
//! [`key::live`]: one atomic pointer, no reader waits. If anything is wrong with the text, the old table stays,
//! and log, metric and readiness say so. A worker that sees a new table cuts the open streams of tokens that
//! are no longer in it. By a program (the admin API, `keygate keys`): a [`store::edit::KeyEdit`] and the revision that
//! it was made for go to [`store::KeyStore::apply`], which locks the file, changes the text of the one entry, reads
//! the new text back, and exchanges the files if the old one still is what it was. In the running keygate the
//! result is published without reading it again, and the API answers after that.
//!
//! **Start and stop.** [`server::start`] does everything that can fail before anything runs: policy, data
//! folder, keys, sockets. Then it starts the log, the control plane and the workers. Stopping: not ready,
//! `drain_delay`, accept what the kernel has queued and close, let running requests finish, cut the rest after
//! `timeouts.drain`, flush the log, leave.
//!
//! # What to read first
//!
//! `proxy/handler.rs`, then `auth/mod.rs`, then `server/mod.rs`. Every file begins by saying what it is for,
//! what it keeps true, and what is elsewhere.
pub mod admin;
pub mod audit;
pub mod auth;
pub mod cell;
pub mod cli;
pub mod clock;
pub mod config;
pub mod document;
pub mod drain;
pub mod health;
pub mod key;
pub mod metrics;
pub mod net;
mod parts;
pub mod peer;
pub mod problem;
pub mod proxy;
pub mod refusal;
pub mod secret;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod transactions;
pub mod units;
pub mod watch;
