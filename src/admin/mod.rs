//! The admin API: keys, their use, transactions, status and audit over HTTP, on a listener and a runtime of its own.
//! Every change goes through `store`, and is answered when it is live. Not for: the file's text (`store`), the proxy's
//! requests (`proxy`).

pub(crate) mod access;
mod assets;
mod audit;
mod error;
mod gzip;
pub(crate) mod keys;
mod openapi;
mod pieces;
mod places;
mod precondition;
mod request;
mod routes;
mod serve;
mod session;
mod status;
mod transactions;
mod try_it;
mod usage;

use std::fmt;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::admin::access::Access;
use crate::admin::keys::copy::Copies;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::Listen;
use crate::health::Health;
use crate::key::live::KeyReader;
use crate::metrics::Metrics;
use crate::net::tls::Certificates;
use crate::store::reload::ReloadHandle;
use crate::store::seal::SecretFile;
use crate::transactions::totals::Totals;

/// Imports at a time; the others wait before they are read.
const IMPORTS_MAX: usize = 2;

/// Searches through the transaction log at a time; the others wait.
const SEARCHES_MAX: usize = 4;
/// Live streams and exports of the transaction log at a time.
const STREAMS_MAX: usize = 16;

/// What the admin API works with.
#[derive(Debug)]
pub struct Api {
    /// The settings.
    pub config: Arc<Config>,
    /// Where clients connect to the proxy; the ports are the real ones.
    pub proxy: Vec<Listen>,
    /// What TLS is spoken with, there and here.
    pub certificates: Certificates,
    /// The keys in force.
    pub keys: KeyReader,
    /// Edits and reloads.
    pub reload: ReloadHandle,
    /// What opens sealed copies.
    pub secret: SecretFile,
    /// Who did what.
    pub audit: Audit,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// How keys were used.
    pub totals: Totals,
    /// What is degraded.
    pub health: Arc<Health>,
    /// The time.
    pub clock: Clock,
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) api: Api,
    pub(crate) access: Access,
    /// Who was shown tokens lately.
    pub(crate) copies: Copies,
    /// Whose turn it is to import.
    pub(crate) imports: Semaphore,
    /// Whose turn it is to search.
    pub(crate) searches: Semaphore,
    /// Seats for long answers.
    pub(crate) streams: Arc<Semaphore>,
    /// True as soon as keygate stops: what has no end of its own ends then.
    pub(crate) stopping: watch::Sender<bool>,
    /// When the process started.
    pub(crate) started_at: Timestamp,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Answers until `stop` comes, and ends when what was begun by then has ended as well.
pub async fn serve(listener: TcpListener, api: Api, stop: impl Future<Output = ()> + Send) {
    let access = Access::new(&api.config.admin, &api.config.data_dir, api.clock.clone());
    let started_at = api.clock.wall();
    let shared = Shared {
        api,
        access,
        copies: Copies::default(),
        imports: Semaphore::new(IMPORTS_MAX),
        searches: Semaphore::new(SEARCHES_MAX),
        streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        stopping: watch::Sender::new(false),
        started_at,
    };
    serve::serve(listener, Arc::new(shared), stop).await;
}
