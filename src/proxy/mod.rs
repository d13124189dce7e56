//! The data plane. Each worker is one thread with one single-threaded runtime, its own upstream connections, its
//! own line buffer and its own counters: on the way of a request nothing is shared but the published key table,
//! which is read and never waited for.
//!
//! The story of a request: `connection` opens what it comes over, `http1` or `http2` serves it; `reader` lets hyper see a
//! checked head (`http2::head` checks those of streams); hyper calls `handler::handle`, which asks,
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

use std::sync::Arc;

use crate::clock::Clock;
use crate::config;
use crate::config::Config;
use crate::health::Health;
use crate::proxy::upstream::connect::Place;
use crate::proxy::upstream::connect::Speech;
use crate::proxy::upstream::resolve::Addresses;

pub(crate) use crate::proxy::headers::HostRule;
pub(crate) use crate::proxy::upstream::connect::Destination;
pub use crate::proxy::upstream::resolve::ResolveError;
pub(crate) use crate::proxy::upstream::resolve::Resolver;
pub(crate) use crate::proxy::upstream::tls::ClientTls;
pub(crate) use crate::proxy::upstream::tls::UpstreamCertificates;
pub use crate::proxy::upstream::tls::UpstreamTlsError;
pub(crate) use crate::proxy::worker::Intake;
pub(crate) use crate::proxy::worker::Setup;
pub(crate) use crate::proxy::worker::run;

/// The upstream as workers use it, with who keeps that up to date.
pub(crate) struct Route {
    /// Where it is, and what is spoken there.
    pub(crate) destination: Destination,
    /// Follows its name.
    pub(crate) resolver: Option<Resolver>,
    /// Follows the certificates.
    pub(crate) certificates: Option<UpstreamCertificates>,
}

/// Why there is no way to the upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RouteError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Tls(#[from] UpstreamTlsError),
}

/// The way to the upstream.
pub(crate) fn route(
    config: &Config,
    clock: Clock,
    health: Arc<Health>,
) -> Result<Route, RouteError> {
    let upstream = &config.upstream;
    let (speech, certificates) = match upstream.speech {
        config::Speech::Http => (Speech::Http1, None),
        config::Speech::H2c => (Speech::Http2, None),
        config::Speech::Https => {
            let (tls, follower) = ClientTls::load(upstream, &config.upstream_tls, health)?;
            (Speech::Tls(tls), Some(follower))
        }
    };
    let (place, resolver) = match &upstream.target {
        config::Target::Address(address) => (Place::Tcp(Addresses::new(vec![*address])), None),
        config::Target::Unix(path) => (Place::Unix(path.clone()), None),
        config::Target::Name { name, port } => {
            let resolver = Resolver::new(name.clone(), *port, clock)?;
            (Place::Tcp(resolver.addresses()), Some(resolver))
        }
    };
    Ok(Route {
        destination: Destination { place, speech },
        resolver,
        certificates,
    })
}

/// Whether the files for TLS to the upstream can be used, if there is any use for them.
pub(crate) fn check_upstream_tls(config: &Config) -> Result<(), UpstreamTlsError> {
    if config.upstream.speech == config::Speech::Https {
        ClientTls::check(&config.upstream, &config.upstream_tls)?;
    }
    Ok(())
}
