//! The shape of keygate.yaml: one table that names every setting, its default and what it is for. From
//! it come the environment variables, the defaults themselves, "did you mean", `config show`, and the
//! tests of `config/keygate.yaml` and its schema. Not for what a value means: that is `check`.

/// Stands for the value of `data_dir` at the start of a path.
pub(super) const DATA_DIR: &str = "<data_dir>";

/// What every environment variable of keygate begins with.
pub(super) const PREFIX: &str = "KEYGATE_";

/// A setting: the one place that knows its name and its default.
#[derive(Debug)]
pub struct Setting {
    /// `timeouts.header`
    pub name: &'static str,
    /// As it would be written in the file; none where keygate cannot know.
    pub default: Option<&'static str>,
    /// What may be written.
    pub kind: Kind,
    /// What it is for.
    pub what: &'static str,
}

/// What may be written for a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The number of the file's format.
    Version,
    /// `true` or `false`.
    Boolean,
    /// A whole number, or the word if there is one.
    Count(Option<&'static str>),
    /// `64KiB`, or the word if there is one.
    Size(Option<&'static str>),
    /// `10s`.
    Duration,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Text of some form.
    Text,
    /// A file or a folder.
    Path,
    /// A file, or `none`.
    OptionalPath,
    /// A list of texts; in a variable, with commas between them.
    List,
    /// A list of token sources; in a variable, with commas between them.
    Sources,
    /// An address or a list of them.
    Addresses,
    /// A list of certificates with their keys; in a variable, `certificate:key` with commas between them.
    Certificates,
}

impl Setting {
    /// The environment variable that sets it: `KEYGATE_TIMEOUTS_HEADER`. None for `version`, which
    /// speaks of the file and not of the program.
    #[must_use]
    pub fn variable(&self) -> Option<String> {
        (self.kind != Kind::Version).then(|| variable(self.name))
    }
}

/// The environment variable of a name.
pub(super) fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_uppercase().replace('.', "_"))
}

const fn setting(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    what: &'static str,
) -> Setting {
    Setting {
        name,
        default: Some(default),
        kind,
        what,
    }
}

/// Every setting of this version, in the order of `config/keygate.yaml`. Above a default stands its
/// reason, where there is something to choose.
pub static SETTINGS: [Setting; 67] = [
    setting("version", Kind::Version, "1", "the format of this file"),
    // A sidecar is reached from outside its pod or container; 8080 needs no privilege.
    setting(
        "listen",
        Kind::Addresses,
        "0.0.0.0:8080",
        "where clients connect: an address, {address, tls, proxy_protocol}, or a list of them",
    ),
    Setting {
        name: "upstream",
        // Whom to protect cannot be guessed.
        default: None,
        kind: Kind::Text,
        what: "the service behind keygate: http://HOST:PORT, https://…, h2c://… or unix:/path",
    },
    // Applications build links from the Host that the client sees.
    setting(
        "upstream_host",
        Kind::Text,
        "keep",
        "the Host that the upstream sees: keep, upstream, or a name",
    ),
    setting(
        "data_dir",
        Kind::Path,
        "./keygate-data",
        "what outlives the process; used by one process at a time",
    ),
    // One thread a processor, as far as the container's quota goes.
    setting(
        "workers",
        Kind::Count(Some("auto")),
        "auto",
        "threads that serve requests",
    ),
    setting(
        "keys.file",
        Kind::Path,
        "<data_dir>/keys.yaml",
        "the key file: .yaml, .yml, .json or .ndjson",
    ),
    // Not beside a key file that is mounted: what leaks with it would open its copies.
    setting(
        "keys.secret_file",
        Kind::Path,
        "<data_dir>/secret",
        "what sealed copies of tokens are opened with; made when it is absent",
    ),
    // People lose tokens; who wants them shown once says so.
    setting(
        "keys.recoverable",
        Kind::Boolean,
        "true",
        "whether new keys get a sealed copy, so that they can be copied later",
    ),
    setting(
        "auth.sources",
        Kind::Sources,
        "[header: x-api-key]",
        "where a token may be, in order",
    ),
    // The first source that is present decides, so a second one can never weaken it.
    setting(
        "auth.on_conflict",
        Kind::Choice(&["first", "reject"]),
        "first",
        "two sources with different tokens",
    ),
    setting(
        "auth.mode",
        Kind::Choice(&["enforce", "optional", "shadow"]),
        "enforce",
        "whether refusals are carried out",
    ),
    setting("auth.public", Kind::List, "[]", "paths that need no token"),
    // An exemption is opened by whoever needs it.
    setting(
        "auth.preflight",
        Kind::Choice(&["authenticate", "pass"]),
        "authenticate",
        "whether CORS preflights need a token",
    ),
    // The upstream has no use for the token, and its logs are one place less to leak from.
    setting(
        "auth.hide",
        Kind::Boolean,
        "true",
        "whether tokens are removed before the upstream",
    ),
    setting(
        "auth.identity.id",
        Kind::Text,
        "x-keygate-key-id",
        "the header that tells the upstream the key's id",
    ),
    setting(
        "auth.identity.name",
        Kind::Text,
        "x-keygate-key-name",
        "the header that tells the upstream the key's name",
    ),
    setting(
        "auth.realm",
        Kind::Text,
        "keygate",
        "the realm in WWW-Authenticate",
    ),
    // A revoked key is revoked now.
    setting(
        "auth.on_revoke",
        Kind::Choice(&["cut", "finish"]),
        "cut",
        "open streams of a revoked key",
    ),
    setting(
        "transactions.enabled",
        Kind::Boolean,
        "true",
        "whether requests are recorded",
    ),
    setting(
        "transactions.dir",
        Kind::Path,
        "<data_dir>/transactions",
        "the folder of the transaction log",
    ),
    setting(
        "transactions.stdout",
        Kind::Boolean,
        "false",
        "whether each record goes to stdout as well",
    ),
    // Values of a query may be personal or secret; names are enough to tell requests apart.
    setting(
        "transactions.query",
        Kind::Choice(&["names", "full", "none"]),
        "names",
        "how much of the query is recorded",
    ),
    setting(
        "transactions.client_ip",
        Kind::Choice(&["full", "prefix", "none"]),
        "full",
        "how much of the client's address is recorded",
    ),
    setting(
        "transactions.skip_paths",
        Kind::List,
        "[]",
        "paths that are not recorded",
    ),
    // In the file within 100 ms; no request waits for the disk.
    setting(
        "transactions.durability",
        Kind::Choice(&["buffered", "written", "synced"]),
        "buffered",
        "what the end of an answer waits for",
    ),
    // Traffic matters more than its log.
    setting(
        "transactions.when_full",
        Kind::Choice(&["drop", "wait", "refuse"]),
        "drop",
        "what happens while the log cannot be written",
    ),
    // Some 150,000 records: a file that an editor still opens.
    setting(
        "transactions.rotate.size",
        Kind::Size(None),
        "64MiB",
        "a file is closed at this size",
    ),
    setting(
        "transactions.rotate.age",
        Kind::Duration,
        "1d",
        "a file is closed at this age",
    ),
    // Fits the small volume that a sidecar gets.
    setting(
        "transactions.keep.size",
        Kind::Size(None),
        "256MiB",
        "closed files are deleted while all files together are larger",
    ),
    setting(
        "transactions.keep.age",
        Kind::Duration,
        "30d",
        "closed files older than this are deleted",
    ),
    setting(
        "admin.enabled",
        Kind::Boolean,
        "true",
        "whether there is an admin API",
    ),
    // Who manages keys is on this machine, or comes through something that says who they are.
    setting(
        "admin.listen",
        Kind::Text,
        "127.0.0.1:8018",
        "the admin API",
    ),
    setting(
        "admin.url",
        Kind::Text,
        "none",
        "what a browser sees, behind another proxy: https://HOST/PATH/; or none",
    ),
    // Passwords and tokens cross the wire.
    setting(
        "admin.allow_plain_http",
        Kind::Boolean,
        "false",
        "whether others than this machine may do without TLS",
    ),
    setting(
        "admin.token_file",
        Kind::OptionalPath,
        "none",
        "tokens for automation, a line each: name: token; or none",
    ),
    // A working day.
    setting(
        "admin.session",
        Kind::Duration,
        "12h",
        "how long somebody stays signed in",
    ),
    setting(
        "admin.tls.certificate",
        Kind::OptionalPath,
        "none",
        "the certificate of the admin listener, PEM with its chain; or none",
    ),
    setting(
        "admin.tls.key",
        Kind::OptionalPath,
        "none",
        "its private key, PEM",
    ),
    // Figures about the traffic are nobody's business outside the machine.
    setting(
        "telemetry.listen",
        Kind::Text,
        "127.0.0.1:9091",
        "/livez, /readyz and /metrics; or none",
    ),
    // Not every deployment has certificates, and most sidecars have TLS in front.
    setting(
        "tls.certificates",
        Kind::Certificates,
        "[]",
        "what clients are shown, each {certificate, key}, PEM; chosen by the name that they ask for",
    ),
    setting(
        "tls.client_ca",
        Kind::OptionalPath,
        "none",
        "the authorities of client certificates, PEM; or none",
    ),
    // Who names an authority wants certificates of it.
    setting(
        "tls.client",
        Kind::Choice(&["required", "optional"]),
        "required",
        "clients without a certificate, where client_ca is set",
    ),
    // What every client of the last ten years speaks.
    setting(
        "tls.min_version",
        Kind::Choice(&["1.2", "1.3"]),
        "1.2",
        "the least version of TLS",
    ),
    setting(
        "upstream_tls.ca",
        Kind::OptionalPath,
        "none",
        "the authorities of an https upstream, PEM; none: those that browsers know",
    ),
    setting(
        "upstream_tls.certificate",
        Kind::OptionalPath,
        "none",
        "what keygate shows an https upstream that asks who it is, PEM; or none",
    ),
    setting(
        "upstream_tls.key",
        Kind::OptionalPath,
        "none",
        "its private key, PEM",
    ),
    setting(
        "upstream_tls.server_name",
        Kind::Text,
        "none",
        "the name in the upstream's certificate; none: the one in its URL",
    ),
    // A handshake is a few round trips; who needs longer holds a place for nothing.
    setting(
        "timeouts.handshake",
        Kind::Duration,
        "10s",
        "for a TLS handshake, a PROXY header or an HTTP/2 preface",
    ),
    // Ten seconds for a head bound what a slow sender can hold.
    setting(
        "timeouts.header",
        Kind::Duration,
        "10s",
        "for a request head",
    ),
    // Longer than the 60 s after which most load balancers close, so that they close first.
    setting(
        "timeouts.idle",
        Kind::Duration,
        "75s",
        "without a request on an open client connection",
    ),
    setting(
        "timeouts.connect",
        Kind::Duration,
        "5s",
        "for a connection to the upstream",
    ),
    // Some services compute for minutes; a shorter limit is theirs to choose.
    setting(
        "timeouts.response",
        Kind::Duration,
        "5m",
        "from the last request byte to the first answer byte",
    ),
    setting(
        "timeouts.body",
        Kind::Duration,
        "60s",
        "the longest pause in a body",
    ),
    setting(
        "timeouts.stream",
        Kind::Duration,
        "10m",
        "the same for tunnels, event streams and gRPC",
    ),
    // Below the 5 s of Node's keep-alive, so that a connection is not used while it is being closed.
    setting(
        "timeouts.upstream_idle",
        Kind::Duration,
        "4s",
        "how long an idle upstream connection is kept",
    ),
    setting(
        "timeouts.drain_delay",
        Kind::Duration,
        "0s",
        "from not being ready to not accepting",
    ),
    // What Kubernetes gives a pod between SIGTERM and SIGKILL.
    setting(
        "timeouts.drain",
        Kind::Duration,
        "30s",
        "for running requests at the end",
    ),
    setting(
        "limits.header_bytes",
        Kind::Size(None),
        "64KiB",
        "the largest request head",
    ),
    // As many as hyper parses without an allocation, and as Apache and Envoy take.
    setting(
        "limits.headers",
        Kind::Count(None),
        "100",
        "the most header fields in a request",
    ),
    // The upstream knows how much it wants to take.
    setting(
        "limits.body_bytes",
        Kind::Size(Some("none")),
        "none",
        "the largest request body",
    ),
    setting(
        "limits.connections",
        Kind::Count(Some("auto")),
        "auto",
        "the most client connections",
    ),
    // Behind a load balancer all clients have one address.
    setting(
        "limits.per_client",
        Kind::Count(Some("none")),
        "none",
        "the most connections of one client address",
    ),
    // The upstream knows how much it can do at a time.
    setting(
        "limits.requests_in_flight",
        Kind::Count(Some("none")),
        "none",
        "the most requests at a time",
    ),
    // Everybody may write the header.
    setting(
        "forwarded.trusted_proxies",
        Kind::List,
        "[]",
        "peers whose X-Forwarded-For, Forwarded and PROXY headers are believed",
    ),
    setting(
        "log.level",
        Kind::Choice(&["error", "warn", "info", "debug"]),
        "info",
        "the least level that is shown",
    ),
    setting(
        "log.format",
        Kind::Choice(&["text", "json"]),
        "text",
        "for people or for machines",
    ),
];

/// Settings of the contract that this version does not have. To take one and not act on it would be a
/// lie, so each is an error.
pub(super) const LATER: [&str; 2] = ["telemetry.per_key.enabled", "telemetry.per_key.max_series"];

/// Sections that may be `none` as a whole: the same as leaving them out.
pub(super) const MAY_BE_NONE: [&str; 3] = ["tls", "upstream_tls", "admin.tls"];

/// The setting of this name.
pub(super) fn find(name: &str) -> Option<usize> {
    SETTINGS.iter().position(|setting| setting.name == name)
}

/// Whether `path` is a section: the beginning of some setting's name.
pub(super) fn is_section(path: &str) -> bool {
    SETTINGS.iter().any(|setting| is_below(setting.name, path))
}

/// Whether `path` is a setting or section that only later versions have.
pub(super) fn is_later(path: &str) -> bool {
    LATER
        .iter()
        .any(|name| *name == path || is_below(name, path))
}

fn is_below(name: &str, section: &str) -> bool {
    name.strip_prefix(section)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// The names directly below a section; below "", the top of the file.
pub(super) fn names_in(section: &str) -> impl Iterator<Item = &'static str> + '_ {
    SETTINGS.iter().filter_map(move |setting| {
        let rest = if section.is_empty() {
            setting.name
        } else {
            setting.name.strip_prefix(section)?.strip_prefix('.')?
        };
        rest.split('.').next()
    })
}
