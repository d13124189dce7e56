//! keygate.yaml as the program uses it: complete, checked, with every path absolute and every default
//! filled in. Nothing re-checks it later. Not for: the file's own shape, which is `file`, and the way
//! from one to the other, which is `check`.

mod address;
mod agree;
mod check;
pub mod file;
pub mod headers;
mod layers;
mod load;
mod provenance;
mod reader;
mod value;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

pub(crate) use crate::config::address::reached;
pub use crate::config::layers::Origin;
pub use crate::config::load::Effective;
pub use crate::config::load::Inspection;
pub use crate::config::load::Loaded;
pub use crate::config::load::Overrides;
pub use crate::config::load::inspect;
pub use crate::config::load::is_key_file;
pub use crate::config::load::load;
pub use crate::config::provenance::Pending;
pub use crate::config::provenance::Provenance;

/// Everything `keygate run` needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from; none when there is none.
    pub file: Option<PathBuf>,
    /// Where clients connect; at least one.
    pub listen: Vec<Listen>,
    /// Who is protected.
    pub upstream: Upstream,
    /// State that outlives the process; locked by one process.
    pub data_dir: PathBuf,
    /// Data-plane threads.
    pub workers: NonZeroUsize,
    /// The key file.
    pub keys: Keys,
    /// Who may pass.
    pub auth: Auth,
    /// The transaction log.
    pub transactions: Transactions,
    /// The admin API.
    pub admin: Admin,
    /// Health and metrics.
    pub telemetry: Telemetry,
    /// TLS towards clients; none: no listener speaks it.
    pub tls: Option<Tls>,
    /// TLS towards an https upstream.
    pub upstream_tls: UpstreamTls,
    /// How long keygate waits for whom.
    pub timeouts: Timeouts,
    /// How much keygate takes.
    pub limits: Limits,
    /// Who is believed about the client's address.
    pub forwarded: Forwarded,
    /// The operational log.
    pub log: Log,
}

/// A place to listen at, or to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `127.0.0.1:8080`, `[::1]:8080`.
    Tcp(SocketAddr),
    /// `unix:/run/keygate.sock`.
    Unix(PathBuf),
}

/// One place where clients connect, and what they speak there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where it is.
    pub address: Address,
    /// Whether clients speak TLS.
    pub tls: bool,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// TLS towards clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// At least one; which one a client gets is chosen by the name that it asks for.
    pub certificates: Vec<Certificate>,
    /// Who must have signed a client's certificate, and whether one is required.
    pub client: Option<ClientCertificates>,
    /// The least version that is spoken.
    pub min_version: TlsVersion,
}

/// A certificate with its chain, and its private key; both PEM, perhaps one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate, and behind it those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Which certificates clients may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities, PEM.
    pub ca: PathBuf,
    /// Whether clients without a certificate are turned away.
    pub required: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// TLS towards the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The authorities that may have signed the upstream's certificate, PEM; none: those that browsers know.
    pub ca: Option<PathBuf>,
    /// What keygate shows when the upstream asks who it is.
    pub client: Option<Certificate>,
    /// The name that the upstream's certificate must have; none: the one in its URL.
    pub server_name: Option<String>,
}

/// What is spoken to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 in clear, from the first byte on ("prior knowledge").
    H2c,
    /// HTTP/1.1 or HTTP/2 over TLS, as the upstream chooses.
    Https,
}

impl Speech {
    /// As URLs have it.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Https => "https",
        }
    }

    /// The port that a URL without one means.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

/// The protected service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// What it speaks.
    pub speech: Speech,
    /// Where it is.
    pub target: Target,
    /// The `Host` that it sees.
    pub host: UpstreamHost,
}

/// Where the upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `http://127.0.0.1:3000`: no name to resolve.
    Address(SocketAddr),
    /// `http://app:3000`: resolved again as its records expire. `name` is lower case, without a trailing dot.
    Name {
        /// The host name.
        name: String,
        /// The port.
        port: u16,
    },
    /// `unix:/run/app.sock`.
    Unix(PathBuf),
}

/// The `Host` that the upstream sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamHost {
    /// What the client sent.
    Keep,
    /// The authority of the upstream's URL (`localhost` for a Unix socket).
    Upstream,
    /// This one.
    Name(String),
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// `.yaml`, `.yml`, `.json` or `.ndjson`.
    pub file: PathBuf,
    /// Whether somebody named the file. A default file that is absent is created empty; a named one
    /// that is absent is an error.
    pub configured: bool,
    /// What sealed copies of tokens are opened with.
    pub secret_file: PathBuf,
    /// Whether new keys get a sealed copy, so that their token can be copied later.
    pub recoverable: bool,
}

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it is.
    pub listen: SocketAddr,
    /// What a browser sees, where another proxy stands in front.
    pub url: Option<AdminUrl>,
    /// Whether a listener that others can reach may do without TLS.
    pub allow_plain_http: bool,
    /// Lines `name: token` for automation.
    pub token_file: Option<PathBuf>,
    /// How long a session lasts, however it is used.
    pub session: Duration,
    /// The certificate of the listener; none: it speaks plain HTTP.
    pub tls: Option<Certificate>,
}

impl Listen {
    /// Of URLs.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

impl Admin {
    /// What the listener itself speaks.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The path of `url`, with a slash at both ends; `/` where there is none.
    #[must_use]
    pub fn url_path(&self) -> &str {
        self.url.as_ref().map_or("/", |url| &url.path)
    }

    /// Whether others than this machine reach it without TLS.
    #[must_use]
    pub fn plain_http(&self) -> bool {
        match &self.url {
            Some(url) => !url.secure,
            None => self.tls.is_none() && !self.listen.ip().to_canonical().is_loopback(),
        }
    }
}

/// `https://ops.example.com/keygate/`: the address of the admin API for a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminUrl {
    /// Whether it is https.
    pub secure: bool,
    /// Host and port as in a `Host` field, lower case; the port only where it is not the scheme's own.
    pub authority: String,
    /// `/` or `/keygate/`: begins and ends with a slash.
    pub path: String,
}

/// Who may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Where a token may be, in order; at least one.
    pub sources: Vec<Source>,
    /// What happens when two sources hold different tokens.
    pub on_conflict: OnConflict,
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// Patterns of paths that need no token (see `key::rules::PathPattern`), as written.
    pub public: Vec<String>,
    /// Whether CORS preflights need a token.
    pub preflight: Preflight,
    /// Whether credentials are removed before the upstream.
    pub hide: bool,
    /// The headers that tell the upstream who called.
    pub identity: Identity,
    /// The realm in `WWW-Authenticate`: visible ASCII without `"` and `\`.
    pub realm: String,
    /// What happens to open streams of a revoked key.
    pub on_revoke: OnRevoke,
}

impl Auth {
    /// Where a token goes that may be in any of the places: the first that every request has, and a WebSocket's
    /// sub-protocol only where there is no other.
    ///
    /// # Panics
    /// Without a source, which no configuration that was read is.
    #[must_use]
    pub fn first_source(&self) -> &Source {
        let everywhere = |source: &&Source| **source != Source::WsProtocol;
        let source = self.sources.iter().find(everywhere);
        source
            .or_else(|| self.sources.first())
            .expect("a configuration has a source")
    }
}

/// A place in the request that may hold the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The whole value of this field.
    Header(HeaderName),
    /// A query parameter, by its decoded name.
    Query(String),
    /// A cookie.
    Cookie(String),
    /// `Authorization: Bearer …`.
    Bearer,
    /// The sub-protocol `keygate.<base64url of the token>` of a WebSocket, where browsers can set no field.
    WsProtocol,
}

/// What happens when two sources hold different tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// The first that is present decides.
    First,
    /// The request is refused.
    Reject,
}

/// Whether refusals are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A valid token or 401.
    Enforce,
    /// No token passes as anonymous; a wrong one is 401.
    Optional,
    /// Everything passes; what would have been refused is recorded.
    Shadow,
}

/// Whether CORS preflights need a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preflight {
    /// Like every request.
    Authenticate,
    /// OPTIONS with `Origin` and `Access-Control-Request-Method` passes.
    Pass,
}

/// The headers that tell the upstream who called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Carries the key's id.
    pub id: HeaderName,
    /// Carries the key's name, percent-encoded.
    pub name: HeaderName,
}

/// What happens to open streams of a revoked key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRevoke {
    /// Cut within a second.
    Cut,
    /// They may end by themselves.
    Finish,
}

/// The transaction log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transactions {
    /// Whether requests are recorded at all.
    pub enabled: bool,
    /// The folder of `transactions.ndjson`.
    pub dir: PathBuf,
    /// Whether each line goes to stdout as well.
    pub stdout: bool,
    /// How much of the query is recorded.
    pub query: RecordedQuery,
    /// How much of the client's address is recorded.
    pub client_ip: RecordedClientIp,
    /// Patterns of paths that are not recorded (see `key::rules::PathPattern`), as written.
    pub skip_paths: Vec<String>,
    /// What an answer waits for.
    pub durability: Durability,
    /// What happens while the log cannot be written.
    pub when_full: WhenFull,
    /// The file is closed and a new one begun at this size, bytes.
    pub rotate_size: u64,
    /// The file is closed and a new one begun at this age.
    pub rotate_age: Duration,
    /// Closed files are deleted, oldest first, while all files together are larger than this, bytes.
    pub keep_size: u64,
    /// Closed files older than this are deleted.
    pub keep_age: Duration,
}

/// What the last byte of an answer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: a record is in the file within 100 ms.
    Buffered,
    /// Until the kernel has the record: SIGKILL loses none whose answer somebody has.
    Written,
    /// Until the disk has the record: nor does a power cut.
    Synced,
}

/// What happens while the log cannot be written: its disk is full or broken, or slower than the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Records are dropped and counted; requests notice nothing.
    Drop,
    /// Requests wait before the end of their answers.
    Wait,
    /// Requests that have begun wait, new ones are answered 503.
    Refuse,
}

/// How much of the query is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedQuery {
    /// `page=&limit=`: names, no values.
    Names,
    /// As the upstream saw it: never the token.
    Full,
    /// Nothing.
    None,
}

/// How much of the client's address is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordedClientIp {
    /// The address.
    Full,
    /// Its /24 or /48.
    Prefix,
    /// Nothing.
    None,
}

/// Health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Where `/livez`, `/readyz` and `/metrics` are; none: nowhere.
    pub listen: Option<SocketAddr>,
}

/// How long keygate waits for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a TLS handshake, a PROXY protocol header, or the preface of HTTP/2.
    pub handshake: Duration,
    /// From the first byte of a request head to its last.
    pub header: Duration,
    /// Without a request on an open client connection.
    pub idle: Duration,
    /// For a connection to the upstream.
    pub connect: Duration,
    /// From the last request byte sent to the first answer byte.
    pub response: Duration,
    /// The longest pause in a body, either way.
    pub body: Duration,
    /// The longest pause in a tunnel, an event stream or a gRPC stream.
    pub stream: Duration,
    /// An idle upstream connection is used again until then.
    pub upstream_idle: Duration,
    /// From not being ready to not accepting.
    pub drain_delay: Duration,
    /// From not accepting to cutting what still runs.
    pub drain: Duration,
}

/// How much keygate takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request head, bytes.
    pub header_bytes: usize,
    /// The most fields in a request head.
    pub headers: usize,
    /// The largest request body, bytes.
    pub body_bytes: Option<u64>,
    /// The most client connections; none: the lesser of 10,000 and (NOFILE − 256) / 2.
    pub connections: Option<usize>,
    /// The most connections of one client address.
    pub per_client: Option<usize>,
    /// The most requests at a time.
    pub requests_in_flight: Option<usize>,
}

/// Who is believed about the client's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Peers whose `X-Forwarded-For` is believed and appended to, their `Forwarded` where there is none, and their PROXY
    /// headers.
    pub trusted_proxies: Vec<IpNet>,
}

/// The operational log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least level that is shown.
    pub level: LogLevel,
    /// For people or for machines.
    pub format: LogFormat,
}

/// A level of the operational log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Somebody should act.
    Warn,
    /// What happened.
    Info,
    /// Why it happened.
    Debug,
}

/// For people or for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of text.
    Text,
    /// A JSON object a line.
    Json,
}

#[cfg(test)]
mod tests;
