//! The addresses of the upstream's name: looked up again as its records expire, on the control plane's runtime;
//! workers read the last answer and never wait for a look-up. When a look-up fails, the last addresses stay.
//!
//! Every look-up asks the name servers: a cache of our own would answer from what it knew, long after a service has moved
//! or come into being.
//!
//! getaddrinfo tells no TTL, blocks a thread, and fails in a static binary: hence a resolver of its own.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::oneshot;

use crate::clock::Clock;

/// A record that says it expires at once is believed for this long.
const RENEW_MIN: Duration = Duration::from_secs(1);

/// A record is looked up again after this time, however long it says it is good: a moved service is found soon.
const RENEW_MAX: Duration = Duration::from_secs(30);

/// How long after a failed look-up the next one comes.
const RETRY: Duration = Duration::from_secs(1);

/// Addresses that may change under their readers.
#[derive(Clone, Debug)]
pub(crate) struct Addresses(Arc<ArcSwap<Vec<SocketAddr>>>);

impl Addresses {
    /// These, until told otherwise.
    pub(crate) fn new(known: Vec<SocketAddr>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(known)))
    }

    /// What is known now.
    pub(crate) fn known(&self) -> Arc<Vec<SocketAddr>> {
        self.0.load_full()
    }

    /// Whether `address` is still one of them.
    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        self.0.load().contains(&address)
    }
}

/// Keeps the addresses of one name up to date.
#[derive(Debug)]
pub(crate) struct Resolver {
    name: String,
    port: u16,
    resolver: TokioResolver,
    addresses: Addresses,
    clock: Clock,
    /// The last look-up failed, and the log says so.
    failing: bool,
}

/// Why a name cannot be looked up at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up name resolution: {0}")]
pub struct ResolveError(#[from] hickory_resolver::net::NetError);

impl Resolver {
    /// For `name`, by the system's own settings (`/etc/resolv.conf`, `/etc/hosts`).
    pub(crate) fn new(name: String, port: u16, clock: Clock) -> Result<Self, ResolveError> {
        let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_no_settings| {
            // Only names of /etc/hosts and `localhost` can be found without name servers.
            TokioResolver::builder_with_config(
                ResolverConfig::default(),
                TokioRuntimeProvider::default(),
            )
        });
        builder.options_mut().cache_size = 0;
        Ok(Self {
            name,
            port,
            resolver: builder.build()?,
            addresses: Addresses::new(Vec::new()),
            clock,
            failing: false,
        })
    }

    /// Where the answers are.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// One look-up; says when the next one is due.
    async fn refresh(&mut self) -> Duration {
        if self.name == "localhost" {
            // RFC 6761 §6.3: never asked of a server.
            let loopback = [
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ];
            self.publish(loopback.map(|ip| SocketAddr::new(ip, self.port)).to_vec());
            return RENEW_MAX;
        }
        match self.resolver.lookup_ip(self.name.as_str()).await {
            Ok(found) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(
                        upstream.name = self.name,
                        "the upstream's name can be looked up again"
                    );
                }
                self.publish(
                    found
                        .iter()
                        .map(|ip| SocketAddr::new(ip, self.port))
                        .collect(),
                );
                let good_for = found
                    .valid_until()
                    .saturating_duration_since(self.clock.now());
                good_for.clamp(RENEW_MIN, RENEW_MAX)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(upstream.name = self.name, %error, "cannot look up the upstream's name; the last addresses stay");
                }
                RETRY
            }
        }
    }

    /// Looks up for ever. `first` is told when the first look-up has ended, well or not.
    pub(crate) async fn run(mut self, first: oneshot::Sender<()>) {
        let mut wait = self.refresh().await;
        let _ = first.send(()); // nobody may be waiting any more
        loop {
            tokio::time::sleep(wait).await;
            wait = self.refresh().await;
        }
    }

    fn publish(&self, mut found: Vec<SocketAddr>) {
        found.sort_unstable();
        found.dedup();
        if *self.addresses.known() != found {
            tracing::info!(upstream.name = self.name, upstream.addresses = ?found, "the upstream's addresses");
            self.addresses.0.store(Arc::new(found));
        }
    }
}
