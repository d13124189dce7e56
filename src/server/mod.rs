//! Assembly: from a checked config to a running gate. Everything that can fail does so before anything runs:
//! the data folder is locked, the keys are read, and every socket is bound; only then are threads made.
//!
//! ```text
//! keygate-control   one runtime: signals, reload, telemetry, name look-ups, the stop order
//! keygate-accept    accepts and hands out connections (with one worker: that worker does)
//! keygate-worker-N  the data plane, each for itself
//! the log's writer  see `transactions`
//! keygate-totals    adds up what was recorded; keygate-rebuild reads the log's past for it, once
//! ```

mod control;
mod data_dir;
mod data_plane;
mod process;
mod restart;
mod stop;
mod supervisor;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread::JoinHandle;

use tokio::sync::Notify;
use tokio::sync::mpsc;

use crate::admin;
use crate::audit;
use crate::audit::Audit;
use crate::audit::AuditError;
use crate::audit::Told;
use crate::auth::Policy;
use crate::auth::PolicyError;
use crate::clock::Clock;
use crate::config::Address;
use crate::config::Config;
use crate::config::Listen;
use crate::config::Provenance;
use crate::drain;
use crate::health::Health;
use crate::key::table::KeyTable;
use crate::metrics::Metrics;
use crate::net::listen;
use crate::net::listen::ListenError;
use crate::net::listen::Listener;
use crate::net::listen::Room;
use crate::net::passed::Passed;
use crate::net::passed::PassedError;
use crate::net::passed::Role;
use crate::net::tls;
use crate::problem::Problem;
use crate::proxy;
use crate::proxy::HostRule;
use crate::proxy::RouteError;
use crate::server::control::Control;
use crate::server::data_dir::DataDir;
use crate::server::data_dir::DataDirError;
use crate::server::data_plane::DataPlane;
use crate::server::supervisor::Report;
pub use crate::server::supervisor::Supervisor;
use crate::store::FileStore;
use crate::store::reload;
use crate::store::reload::Cause;
use crate::store::reload::Published;
use crate::store::reload::Reloader;
use crate::store::seal::SecretFile;
use crate::transactions::Log;
use crate::transactions::LogError;

/// What is not in the config.
#[derive(Debug, Default)]
pub struct Options {
    /// Where time comes from.
    pub clock: Clock,
    /// How the configuration came about; none: later edits of it are not looked for.
    pub provenance: Option<Provenance>,
    /// Sockets that are bound already.
    pub passed: Passed,
    /// Who wants to know how it goes.
    pub supervisor: Supervisor,
}

/// Why the gate cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something is wrong in a file that a person wrote.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Problems {
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// A setting cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The data folder cannot be used.
    #[error("{error}")]
    DataDir {
        /// Why not.
        error: Box<dyn std::error::Error + Send + Sync>,
        /// What to do.
        hint: &'static str,
        /// Whether the configuration has to change.
        wrong: bool,
    },
    /// `upstream_host` cannot stand in a `Host` field.
    #[error("upstream_host: not a host name")]
    UpstreamHost,
    /// An address cannot be listened at.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A socket that was passed to us cannot be used.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// The transaction log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Names cannot be looked up.
    #[error(transparent)]
    Resolve(#[from] proxy::ResolveError),
    /// There is nothing to check the upstream's certificate with, or to show it.
    #[error(transparent)]
    UpstreamTls(#[from] proxy::UpstreamTlsError),
    /// The system refused a thread, a runtime or a signal handler.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl StartError {
    /// Problems of files, each with its place; empty for other errors.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Problems { problems } => problems,
            Self::Policy(_)
            | Self::UpstreamHost
            | Self::DataDir { .. }
            | Self::Listen(_)
            | Self::Passed(_)
            | Self::Log(_)
            | Self::Audit(_)
            | Self::Resolve(_)
            | Self::UpstreamTls(_)
            | Self::System(_) => &[],
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::DataDir { hint, .. } => Some(hint),
            Self::Listen(error) => error.hint(),
            Self::UpstreamTls(error) => error.hint(),
            Self::Passed(error) => Some(error.hint()),
            Self::Problems { .. }
            | Self::Policy(_)
            | Self::UpstreamHost
            | Self::Log(_)
            | Self::Audit(_)
            | Self::Resolve(_)
            | Self::System(_) => None,
        }
    }

    /// 2 where the configuration has to change, 1 otherwise.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Problems { .. }
            | Self::Policy(_)
            | Self::UpstreamHost
            | Self::Passed(_)
            | Self::Log(_)
            | Self::Audit(_)
            | Self::UpstreamTls(_)
            | Self::DataDir { wrong: true, .. } => 2,
            Self::DataDir { wrong: false, .. }
            | Self::Listen(_)
            | Self::Resolve(_)
            | Self::System(_) => 1,
        }
    }
}

impl From<DataDirError> for StartError {
    fn from(error: DataDirError) -> Self {
        let (hint, wrong) = (
            error.hint(),
            matches!(error, DataDirError::Unwritable { .. }),
        );
        Self::DataDir {
            error: error.into(),
            hint,
            wrong,
        }
    }
}

impl From<RouteError> for StartError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::Resolve(error) => Self::Resolve(error),
            RouteError::Tls(error) => Self::UpstreamTls(error),
        }
    }
}

impl From<Vec<Problem>> for StartError {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Problems { problems }
    }
}

/// A running gate.
#[derive(Debug)]
pub struct Running {
    listeners: Vec<Listen>,
    admin: Option<SocketAddr>,
    telemetry: Option<SocketAddr>,
    keys_file: PathBuf,
    keys: usize,
    stop: Arc<Notify>,
    control: JoinHandle<()>,
    threads: Vec<JoinHandle<()>>,
    log: Log,
    _data_dir: DataDir,
}

impl Running {
    /// Where clients connect; the ports are the real ones.
    #[must_use]
    pub fn listeners(&self) -> &[Listen] {
        &self.listeners
    }

    /// Where the admin API is.
    #[must_use]
    pub const fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where health and metrics are.
    #[must_use]
    pub const fn telemetry(&self) -> Option<SocketAddr> {
        self.telemetry
    }

    /// The key file in use.
    #[must_use]
    pub fn keys_file(&self) -> &Path {
        &self.keys_file
    }

    /// How many keys there were at the start.
    #[must_use]
    pub const fn keys(&self) -> usize {
        self.keys
    }

    /// Begins to drain, as SIGTERM does.
    pub fn drain(&self) {
        self.stop.notify_one();
    }

    /// Waits until a signal or a drain has stopped everything, and every transaction is in the file.
    ///
    /// # Errors
    /// When a thread ended by a panic.
    pub fn wait(self) -> Result<(), StopError> {
        let control = self.control.join();
        let others: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        self.log.close();
        let panicked = control.is_err() || others.iter().any(Result::is_err);
        if panicked { Err(StopError) } else { Ok(()) }
    }
}

/// A thread of keygate ended by a panic; its message is on stderr.
#[derive(Debug, thiserror::Error)]
#[error("a thread of keygate panicked")]
pub struct StopError;

/// Starts the gate.
///
/// # Errors
/// See [`StartError`]; nothing is left running then.
pub fn start(config: Config, options: Options) -> Result<Running, StartError> {
    process::harden();
    let descriptors = listen::raise_descriptor_limit();
    let Options {
        clock,
        provenance,
        passed,
        supervisor,
    } = options;
    let config = Arc::new(config);

    // What can be wrong.
    let policy = Arc::new(Policy::new(&config.auth)?);
    let host = HostRule::new(&config.upstream).ok_or(StartError::UpstreamHost)?;
    let data_dir = DataDir::lock(&config.data_dir)?;
    let initial = reload::load_initial(&config.keys.file, config.keys.configured)?;
    let certificates = tls::load(tls::Wanted::of(&config), &clock)?;
    let Sockets {
        listeners,
        admin,
        telemetry,
    } = Sockets::bind(&config, passed)?;
    let bound = listeners.iter().zip(&config.listen);
    let bound = bound.map(|(listener, wanted)| Listen {
        address: listener.address().clone(),
        ..wanted.clone()
    });
    let bound: Vec<_> = bound.collect();
    let admin_address = admin.as_ref().and_then(Listener::tcp_address);
    let telemetry_address = telemetry.as_ref().and_then(Listener::tcp_address);
    let health = Health::new();
    let route = proxy::route(&config, clock.clone(), Arc::clone(&health))?;

    let audit = Audit::open(&config.data_dir.join("audit"), clock.clone())?;
    let secret = SecretFile::new(config.keys.secret_file.clone());
    if config.keys.recoverable {
        make_secret(&secret, initial.table());
    }

    // What is shared.
    let metrics = Metrics::new(config.workers.get());
    let mut log = Log::start(&config.transactions, &metrics, &health, clock.clone())?;
    let keys = initial.table().len();
    let (reloader, reload, reader) = Reloader::new(
        initial,
        Arc::clone(&metrics),
        Arc::clone(&health),
        clock.clone(),
    );
    let (follower, certificates) = certificates.follow(Arc::clone(&metrics), Arc::clone(&health));
    log.rebuild(reader.clone());
    let reloader = reloader.observed_by(audit_hand_edits(
        config.keys.file.clone(),
        audit.clone(),
        Arc::clone(&health),
    ));
    let api = admin::Api {
        config: Arc::clone(&config),
        proxy: bound.clone(),
        certificates: certificates.clone(),
        keys: reader.clone(),
        reload: reload.clone(),
        secret,
        audit,
        metrics: Arc::clone(&metrics),
        totals: log.totals().clone(),
        health: Arc::clone(&health),
        clock: clock.clone(),
    };
    let report = Arc::new(Report {
        supervisor,
        places: places(&bound, admin_address, telemetry_address),
        keys: reader.clone(),
        health: Arc::clone(&health),
        clock: clock.clone(),
        said: Mutex::default(),
    });
    let (switch, drain) = drain::drain();
    let stop = Arc::new(Notify::new());
    let (alive, workers_gone) = mpsc::channel(1);

    // The control plane.
    let control = Control {
        config: Arc::clone(&config),
        provenance,
        admin: admin.map(|listener| (listener, api)),
        telemetry,
        resolver: route.resolver,
        upstream_certificates: route.certificates,
        reloader,
        reload,
        follower,
        certificates: certificates.clone(),
        reopen: Box::new(log.reopener()),
        metrics: Arc::clone(&metrics),
        health: Arc::clone(&health),
        keys: reader.clone(),
        clock: clock.clone(),
        report: Arc::clone(&report),
        stop: Arc::clone(&stop),
        switch,
        workers_gone,
    };
    let control = control.start()?;

    // The data plane.
    let most = config.limits.connections;
    let plane = DataPlane {
        room: Room::new(most.unwrap_or_else(|| listen::connections_for(descriptors))),
        config: Arc::clone(&config),
        policy,
        keys: reader,
        tls: certificates.clients().cloned(),
        destination: route.destination,
        host,
        metrics,
        health,
        clock,
        drain,
        alive,
    };
    // Without workers there is nothing to wait for: the control plane ends by itself.
    let threads = plane
        .start(listeners, &log)
        .inspect_err(|_| stop.notify_one())?;
    report.ready();
    let keys_file = config.keys.file.clone();
    Ok(Running {
        listeners: bound,
        admin: admin_address,
        telemetry: telemetry_address,
        keys_file,
        keys,
        stop,
        control,
        threads,
        log,
        _data_dir: data_dir,
    })
}

/// Every socket that we listen at.
struct Sockets {
    listeners: Vec<Listener>,
    admin: Option<Listener>,
    telemetry: Option<Listener>,
}

impl Sockets {
    /// Those that were passed to us, and the others bound.
    fn bind(config: &Config, passed: Passed) -> Result<Self, StartError> {
        let admin = config.admin.enabled.then_some(config.admin.listen);
        let proxy = config
            .listen
            .iter()
            .map(|listen| (Role::Proxy, listen.address.clone()));
        let others = [
            (Role::Admin, admin),
            (Role::Telemetry, config.telemetry.listen),
        ];
        let others = others
            .into_iter()
            .filter_map(|(role, address)| Some((role, Address::Tcp(address?))));
        let wanted: Vec<_> = proxy.chain(others).collect();
        let passed = passed.hand_out(&wanted)?;
        let mut sockets = Self {
            listeners: Vec::new(),
            admin: None,
            telemetry: None,
        };
        let mut listens = config.listen.iter();
        for ((role, address), passed) in wanted.iter().zip(passed) {
            let listener = match passed {
                Some(listener) => listener,
                None => Listener::bind(address)?,
            };
            match role {
                Role::Proxy => {
                    let listen = listens
                        .next()
                        .expect("the proxy's sockets are those of listen");
                    sockets.listeners.push(listener.opened_as(listen));
                }
                Role::Admin => sockets.admin = Some(listener),
                Role::Telemetry => sockets.telemetry = Some(listener),
            }
        }
        Ok(sockets)
    }
}

/// Where everything is, for who asks a service manager.
fn places(proxy: &[Listen], admin: Option<SocketAddr>, telemetry: Option<SocketAddr>) -> String {
    let proxy: Vec<_> = proxy
        .iter()
        .map(|listen| listen.address.to_string())
        .collect();
    let others = [("admin", admin), ("telemetry", telemetry)];
    let others = others
        .into_iter()
        .filter_map(|(name, address)| Some(format!("; {name} on {}", address?)));
    format!(
        "proxy on {}{}",
        proxy.join(", "),
        others.collect::<String>()
    )
}

/// Records what somebody did to the key file by hand. Edits over the API, and those of commands, are recorded where it
/// is known who made them.
fn audit_hand_edits(
    file: PathBuf,
    audit: Audit,
    health: Arc<Health>,
) -> impl Fn(&Published) + Send + Sync {
    let told = Told::from_now(audit.clone());
    move |published| {
        if published.cause == Cause::Applied {
            return;
        }
        // A command that has just put these keys there has written its lines when it lets go of the file.
        FileStore::wait_for_others(&file);
        if told.explains(published.old.revision(), published.new.revision()) {
            return;
        }
        match audit.write_all(&audit::by_hand(&published.old, &published.new)) {
            Ok(()) => health.restore("audit"),
            Err(error) => {
                tracing::error!(%error, "an edit of the key file is live and could not be recorded");
                health.degrade("audit", error.to_string());
            }
        }
    }
}

/// Makes the secret file at the first start. Without it keys work, and only Copy does not: no reason not to start.
fn make_secret(secret: &SecretFile, table: &KeyTable) {
    let sealed_exist = table.keys().iter().any(|key| key.sealed().is_some());
    let file = secret.path().display();
    match secret.make_if_absent(sealed_exist) {
        Ok(true) => {}
        Ok(false) => tracing::warn!(
            %file,
            hint = "bring back the secret file that the key file's sealed copies were made with; to begin anew, \
                    remove their `sealed` lines",
            "the secret file is missing: tokens cannot be copied"
        ),
        Err(error) => tracing::warn!(
            %file, %error,
            hint = "let keygate's user write there, name another place with keys.secret_file, or set keys.recoverable: false",
            "cannot make the secret file: tokens of new keys cannot be copied later"
        ),
    }
}
