//! The data plane. Each worker is one thread with one single-threaded runtime, its own upstream connections, its
//! own line buffer and its own counters: on the way of a request nothing is shared but the published key table,
//! which is read and never waited for.
//!
//! The story of a request: `reader` lets hyper see a checked head; hyper calls `handler::handle`, which asks,
//! in order, who the client is (`forwarded`), whether the request may pass (`auth`), what the upstream may see
//! (`headers`), and `upstream` for an answer; `body` carries it back and ends the transaction. Read `handler`
//! first.

mod body;
mod connection;
pub mod forwarded;
mod framing;
#[doc(hidden)]
pub mod fuzz;
mod handler;
mod head;
pub mod headers;
mod http1;
mod http2;
mod in_flight;
mod lane;
mod reader;
mod request_id;
pub mod respond;
mod upgrade;
mod upstream;
mod websocket;
mod worker;

use crate::clock::Clock;
use crate::config;
use crate::proxy::upstream::resolve::Addresses;

pub(crate) use crate::proxy::headers::HostRule;
pub(crate) use crate::proxy::upstream::connect::Destination;
pub use crate::proxy::upstream::resolve::ResolveError;
pub(crate) use crate::proxy::upstream::resolve::Resolver;
pub(crate) use crate::proxy::worker::Intake;
pub(crate) use crate::proxy::worker::Setup;
pub(crate) use crate::proxy::worker::run;

/// Where the upstream is, and who keeps that up to date where it has a name.
pub(crate) fn destination(
    upstream: &config::Upstream,
    clock: Clock,
) -> Result<(Destination, Option<Resolver>), ResolveError> {
    Ok(match &upstream.target {
        config::Target::Address(address) => {
            (Destination::Tcp(Addresses::new(vec![*address])), None)
        }
        config::Target::Unix(path) => (Destination::Unix(path.clone()), None),
        config::Target::Name { name, port } => {
            let resolver = Resolver::new(name.clone(), *port, clock)?;
            (Destination::Tcp(resolver.addresses()), Some(resolver))
        }
    })
}
