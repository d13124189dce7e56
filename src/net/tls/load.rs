//! The certificates before anything runs, and what can be known of them later. There is no last good one yet to fall
//! back on, so everything has to be right, but for dates: a wrong clock must not stop a start.
//! Not for: following the files (`follow`).

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::Certificate;
use crate::config::ClientCertificates;
use crate::config::Config;
use crate::config::Tls;
use crate::config::TlsVersion;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::net::tls::ALPN;
use crate::net::tls::ALPN_ADMIN;
use crate::net::tls::Follower;
use crate::net::tls::Manner;
use crate::net::tls::Server;
use crate::net::tls::material;
use crate::net::tls::material::Authorities;
use crate::net::tls::material::Fault;
use crate::net::tls::material::Shown;
use crate::net::tls::provider;
use crate::net::tls::sessions::Sessions;
use crate::problem::Problem;

/// Requests to look again that may wait in line.
const REQUESTS_MAX: usize = 16;
/// A certificate that ends sooner should have been renewed, or one with a shorter life in the last third of that.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Which certificates are wanted, and for whom.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'c> {
    /// For clients of the proxy.
    pub clients: Option<&'c Tls>,
    /// For the admin listener.
    pub admin: Option<&'c Certificate>,
}

impl<'c> Wanted<'c> {
    /// Those that this configuration uses.
    #[must_use]
    pub fn of(config: &'c Config) -> Self {
        let spoken = config.listen.iter().any(|listen| listen.tls);
        Self {
            clients: config.tls.as_ref().filter(|_| spoken),
            admin: config.admin.tls.as_ref().filter(|_| config.admin.enabled),
        }
    }

    /// Their files.
    pub fn files(&self) -> impl Iterator<Item = &'c Path> {
        let certificates = self.clients.iter().flat_map(|tls| &tls.certificates);
        let client = self.clients.and_then(|tls| tls.client.as_ref());
        let pairs = certificates.chain(self.admin);
        let pairs = pairs.flat_map(|pair| [&*pair.certificate, &*pair.key]);
        pairs.chain(client.map(|client| &*client.ca))
    }
}

/// Who is shown a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Clients of the proxy.
    Clients,
    /// Administrators.
    Admin,
}

impl Audience {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Admin => "admin",
        }
    }
}

/// Something that is read from files by itself.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Certificate(Certificate),
    Authorities(ClientCertificates),
}

/// What was read from it.
#[derive(Clone, Debug)]
pub(super) enum Good {
    Certificate(Arc<Shown>),
    Authorities(Arc<Authorities>),
}

impl Source {
    pub(super) fn read(&self) -> Result<Good, Vec<Fault>> {
        let provider = provider();
        match self {
            Self::Certificate(wanted) => material::certificate(wanted, &provider)
                .map(|shown| Good::Certificate(Arc::new(shown))),
            Self::Authorities(wanted) => material::authorities(wanted, &provider)
                .map(|authorities| Good::Authorities(Arc::new(authorities))),
        }
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Certificate(pair) => vec![pair.certificate.clone(), pair.key.clone()],
            Self::Authorities(client) => vec![client.ca.clone()],
        }
    }
}

impl Good {
    pub(super) fn digest(&self) -> &[u8; 32] {
        match self {
            Self::Certificate(shown) => &shown.digest,
            Self::Authorities(authorities) => &authorities.digest,
        }
    }

    pub(super) const fn shown(&self) -> Option<&Arc<Shown>> {
        match self {
            Self::Certificate(shown) => Some(shown),
            Self::Authorities(_) => None,
        }
    }
}

/// A source, and the last that was good of it.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) source: Source,
    pub(super) audience: Audience,
    pub(super) good: Good,
}

/// Listeners that show the same.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) audience: Audience,
    pub(super) server: Server,
    manner: Manner,
    sessions: Sessions,
}

impl Group {
    fn new(
        audience: Audience,
        min_version: TlsVersion,
        units: &[&Unit],
        clock: &Clock,
    ) -> Option<Self> {
        let manner = Manner {
            alpn: match audience {
                Audience::Clients => ALPN,
                Audience::Admin => ALPN_ADMIN,
            },
            min_version,
        };
        let (certificates, authorities) = of(units, audience);
        let sessions = Sessions::new(clock, authorities.is_some());
        let offer = manner.offer(certificates, authorities.as_deref(), &sessions)?;
        Some(Self {
            audience,
            server: Server::new(offer),
            manner,
            sessions,
        })
    }

    /// New handshakes meet what is good now. With other authorities, no session of before is resumed.
    pub(super) fn exchange(&mut self, units: &[&Unit], other_authorities: bool, clock: &Clock) {
        let (certificates, authorities) = of(units, self.audience);
        if other_authorities {
            self.sessions = Sessions::new(clock, authorities.is_some());
        }
        let offer = self
            .manner
            .offer(certificates, authorities.as_deref(), &self.sessions);
        if let Some(offer) = offer {
            self.server.show(offer);
        }
    }
}

fn of(units: &[&Unit], audience: Audience) -> (Vec<Arc<Shown>>, Option<Arc<Authorities>>) {
    let (mut certificates, mut authorities) = (Vec::new(), None);
    for unit in units.iter().filter(|unit| unit.audience == audience) {
        match &unit.good {
            Good::Certificate(shown) => certificates.push(Arc::clone(shown)),
            Good::Authorities(known) => authorities = Some(Arc::clone(known)),
        }
    }
    (certificates, authorities)
}

/// Certificates that are good.
#[derive(Debug)]
pub struct Loaded {
    units: Vec<Unit>,
    groups: Vec<Group>,
    clock: Clock,
}

/// Reads what is wanted.
///
/// # Errors
/// All that is wrong with the files.
pub fn load(wanted: Wanted<'_>, clock: &Clock) -> Result<Loaded, Vec<Problem>> {
    let (mut units, mut problems) = (Vec::new(), Vec::new());
    let mut add = |audience, source: Source| match source.read() {
        Ok(good) => units.push(Unit {
            source,
            audience,
            good,
        }),
        Err(faults) => problems.extend(faults.into_iter().map(|fault| fault.problem)),
    };
    for pair in wanted.clients.iter().flat_map(|tls| &tls.certificates) {
        add(Audience::Clients, Source::Certificate(pair.clone()));
    }
    if let Some(client) = wanted.clients.and_then(|tls| tls.client.as_ref()) {
        add(Audience::Clients, Source::Authorities(client.clone()));
    }
    if let Some(pair) = wanted.admin {
        add(Audience::Admin, Source::Certificate(pair.clone()));
    }
    if !problems.is_empty() {
        problems.dedup(); // one file may be wanted twice
        return Err(problems);
    }
    let min_version = wanted
        .clients
        .map_or(TlsVersion::Tls12, |tls| tls.min_version);
    let groups = [
        (Audience::Clients, min_version),
        (Audience::Admin, TlsVersion::Tls12),
    ];
    let all: Vec<_> = units.iter().collect();
    let group = |(audience, min_version)| Group::new(audience, min_version, &all, clock);
    let groups = groups.into_iter().filter_map(group).collect();
    Ok(Loaded {
        units,
        groups,
        clock: clock.clone(),
    })
}

impl Loaded {
    /// What works and should be better, now or soon.
    #[must_use]
    pub fn warnings(&self) -> Vec<Problem> {
        let now = self.clock.wall();
        let shown = self.units.iter().filter_map(|unit| unit.good.shown());
        let of_one = |shown: &Arc<Shown>| {
            let dates = shown.out_of_date(now).or_else(|| shown.ends_soon(now));
            shown.exposed.clone().into_iter().chain(dates)
        };
        shown.flat_map(of_one).collect()
    }

    /// What there is.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        let status = |unit: &Unit| Some(CertificateStatus::of(unit.good.shown()?, unit.audience));
        self.units.iter().filter_map(status).collect()
    }

    /// What the program works with, and who keeps it up to date.
    #[must_use]
    pub fn follow(self, metrics: Arc<Metrics>, health: Arc<Health>) -> (Follower, Certificates) {
        let (asking, requests) = mpsc::channel(REQUESTS_MAX);
        let status = Arc::new(ArcSwap::from_pointee(Status::default()));
        let server = |audience| {
            let mut groups = self.groups.iter();
            let group = groups.find(|group| group.audience == audience);
            group.map(|group| group.server.clone())
        };
        let certificates = Certificates {
            clients: server(Audience::Clients),
            admin: server(Audience::Admin),
            status: Arc::clone(&status),
            asking,
        };
        let Self {
            units,
            groups,
            clock,
        } = self;
        let follower = Follower::new(units, groups, requests, status, metrics, health, clock);
        (follower, certificates)
    }
}

/// Who asks for a look at the files, and wants to know what came of it.
pub(super) type Asked = oneshot::Sender<Result<(), Vec<Problem>>>;

/// The certificates in force. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Certificates {
    clients: Option<Server>,
    admin: Option<Server>,
    status: Arc<ArcSwap<Status>>,
    asking: mpsc::Sender<Asked>,
}

impl Certificates {
    /// The TLS side of the listeners that clients of the proxy connect to, where any of them speaks TLS.
    #[must_use]
    pub const fn clients(&self) -> Option<&Server> {
        self.clients.as_ref()
    }

    /// The TLS side of the admin listener, where it speaks TLS.
    #[must_use]
    pub const fn admin(&self) -> Option<&Server> {
        self.admin.as_ref()
    }

    /// What is in force, and what is wrong.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// Reads the files now, whether or not they seem to have changed, and answers when what is good of them is shown.
    ///
    /// # Errors
    /// What is wrong with them; the last good ones stay in force.
    pub async fn reload(&self) -> Result<(), Vec<Problem>> {
        let (asked, answer) = oneshot::channel();
        if self.asking.send(asked).await.is_err() {
            return Ok(()); // the program is stopping
        }
        answer.await.unwrap_or(Ok(()))
    }
}

/// What is known of the certificates, for status pages.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Those in force.
    pub certificates: Vec<CertificateStatus>,
    /// Why files as they are now are not in force, and what is out of date.
    pub problems: Vec<Problem>,
}

/// A certificate in force.
#[derive(Clone, Debug)]
pub struct CertificateStatus {
    /// Its file.
    pub file: PathBuf,
    /// Who is shown it.
    pub audience: Audience,
    /// The names that it is for.
    pub names: Vec<String>,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

impl CertificateStatus {
    pub(super) fn of(shown: &Shown, audience: Audience) -> Self {
        Self {
            file: shown.file.clone(),
            audience,
            names: shown.facts.names.clone(),
            not_before: shown.facts.not_before,
            not_after: shown.facts.not_after,
        }
    }
}

impl Shown {
    fn dated(&self, what: String, hint: &str) -> Problem {
        Problem {
            file: self.file.clone(),
            place: None,
            path: String::new(),
            what,
            hint: Some(hint.to_owned()),
        }
    }

    /// It is shown all the same, and clients refuse it.
    pub(super) fn out_of_date(&self, now: Timestamp) -> Option<Problem> {
        let (from, to) = (self.facts.not_before, self.facts.not_after);
        if now > to {
            let what = format!("the certificate expired on {}", to.to_short());
            let hint = "renew it, or look at this machine's clock: clients refuse it";
            return Some(self.dated(what, hint));
        }
        (now < from).then(|| {
            let what = format!("the certificate is not valid before {}", from.to_short());
            self.dated(
                what,
                "look at this machine's clock: clients refuse it until then",
            )
        })
    }

    fn ends_soon(&self, now: Timestamp) -> Option<Problem> {
        let (from, to) = (self.facts.not_before, self.facts.not_after);
        let between = |from: Timestamp, to: Timestamp| {
            let micros = to.as_micros().saturating_sub(from.as_micros());
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        };
        let left = between(now, to);
        (left < SOON.min(between(from, to) / 3)).then(|| {
            let days = left.as_secs() / DAY.as_secs();
            let what = format!(
                "the certificate expires on {}, in {days} days",
                to.to_short()
            );
            self.dated(
                what,
                "renew it; a running keygate takes over the new files by itself",
            )
        })
    }
}
