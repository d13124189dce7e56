//! From the value of each setting to a [`Config`]: every value is read, every problem is kept, and what
//! several settings must agree on is looked at last. Not for where a value came from: that is `layers`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use crate::config::Address;
use crate::config::Admin;
use crate::config::Auth;
use crate::config::Certificate;
use crate::config::ClientCertificates;
use crate::config::Config;
use crate::config::Durability;
use crate::config::Forwarded;
use crate::config::Identity;
use crate::config::Keys;
use crate::config::Limits;
use crate::config::Listen;
use crate::config::Log;
use crate::config::LogFormat;
use crate::config::LogLevel;
use crate::config::Mode;
use crate::config::OnConflict;
use crate::config::OnRevoke;
use crate::config::Preflight;
use crate::config::RecordedClientIp;
use crate::config::RecordedQuery;
use crate::config::Speech;
use crate::config::Target;
use crate::config::Telemetry;
use crate::config::Timeouts;
use crate::config::Tls;
use crate::config::TlsVersion;
use crate::config::Transactions;
use crate::config::Upstream;
use crate::config::UpstreamHost;
use crate::config::UpstreamTls;
use crate::config::WhenFull;
use crate::config::address;
use crate::config::file;
use crate::config::layers::Layers;
use crate::config::layers::Origin;
use crate::config::reader::Folders;
use crate::config::reader::Reader;
use crate::config::value;
use crate::config::value::Wrong;
use crate::document::Node;
use crate::document::Value;
use crate::problem::Problem;

/// More threads than any machine has processors today.
const WORKERS_MAX: usize = 1024;

/// Below it ordinary browsers are refused; beyond it a head is no head.
const HEADER_BYTES: std::ops::RangeInclusive<u64> = 1024..=1_048_576;

/// Beyond it the table of fields costs more than the request.
const HEADERS_MAX: usize = 1000;

/// Smaller files would be rotated with every batch of records.
const ROTATE_SIZE_MIN: u64 = 4096;

/// What came out of reading all settings.
pub(super) struct Checked {
    /// Complete; good only if there are no problems. None where the upstream is not known.
    pub(super) config: Option<Config>,
    /// Known whatever else is wrong.
    pub(super) keys: Keys,
    /// Known whatever else is wrong.
    pub(super) telemetry: Telemetry,
    /// In the order of the file, then of flags and variables.
    pub(super) problems: Vec<Problem>,
    /// Odd, and no reason to stop.
    pub(super) warnings: Vec<Problem>,
}

/// Reads every setting.
pub(super) fn check(
    layers: Layers<'_>,
    folders: &Folders,
    absolute_file: Option<PathBuf>,
) -> Checked {
    let mut reader = Reader {
        layers,
        folders,
        data_dir: PathBuf::new(),
    };
    reader.data_dir = reader.path("data_dir");
    reader.read("version", |node| match value::text(node)? {
        "1" => Ok(()),
        other => {
            Err(Wrong::new(format!("expected 1, found {other:?}"))
                .hint("this keygate reads version 1"))
        }
    });
    let keys = reader.keys();
    let telemetry = Telemetry {
        listen: reader.telemetry(),
    };
    let tls = reader.tls();
    let listen = reader.listen(tls.is_some());
    let (speech, target) = match reader.target() {
        Some((speech, target)) => (speech, Some(target)),
        None => (Speech::Http, None),
    };
    let host = reader.upstream_host();
    let config = Config {
        file: absolute_file,
        listen,
        // Replaced below; a placeholder never leaves this function.
        upstream: Upstream {
            speech,
            target: target.clone().unwrap_or(Target::Unix(PathBuf::new())),
            host,
        },
        data_dir: reader.data_dir.clone(),
        workers: reader.workers(),
        keys: keys.clone(),
        auth: reader.auth(),
        transactions: reader.transactions(),
        admin: reader.admin(),
        telemetry: telemetry.clone(),
        tls,
        upstream_tls: reader.upstream_tls(),
        timeouts: reader.timeouts(),
        limits: reader.limits(),
        forwarded: Forwarded {
            trusted_proxies: reader.read("forwarded.trusted_proxies", |node| {
                value::list("networks", node, value::network)
            }),
        },
        log: reader.log(),
    };
    reader.sockets_agree(&config, target.as_ref());
    reader.tls_agrees(&config);
    reader.admin_agrees(&config);
    reader.rotation_agrees(&config);
    reader.headers_agree(&config.auth);
    let Layers {
        file,
        mut problems,
        warnings,
        ..
    } = reader.layers;
    problems.sort_by_key(|problem| (Some(&problem.file) != file.as_ref(), problem.place));
    Checked {
        config: target.is_some().then_some(config),
        keys,
        telemetry,
        problems,
        warnings,
    }
}

impl Reader<'_, '_> {
    fn keys(&mut self) -> Keys {
        let file = self.path("keys.file");
        let extension = file
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        if !matches!(extension, "yaml" | "yml" | "json" | "ndjson") {
            let wrong = Wrong::new(format!(
                "expected a name that ends in .yaml, found \"{}\"",
                file.display()
            ))
            .hint("a key file is .yaml, .yml, .json or .ndjson");
            self.problem("keys.file", wrong);
        }
        // To write the default down changes nothing.
        let configured = file != self.data_dir.join("keys.yaml");
        Keys {
            file,
            configured,
            secret_file: self.path("keys.secret_file"),
            recoverable: self.boolean("keys.recoverable"),
        }
    }

    fn admin(&mut self) -> Admin {
        Admin {
            enabled: self.boolean("admin.enabled"),
            listen: self.read("admin.listen", |node| {
                address::parse_socket(value::text(node)?)
            }),
            url: self.read("admin.url", |node| {
                value::unless("none", node, |node| {
                    address::parse_admin_url(value::text(node)?)
                })
            }),
            allow_plain_http: self.boolean("admin.allow_plain_http"),
            token_file: self.path_unless_none("admin.token_file"),
            session: self.duration("admin.session"),
            tls: self.certificate("admin.tls.certificate", "admin.tls.key"),
        }
    }

    fn telemetry(&mut self) -> Option<SocketAddr> {
        self.read("telemetry.listen", |node| {
            value::unless("none", node, |node| {
                address::parse_socket(value::text(node)?)
            })
        })
    }

    /// A listener speaks TLS where there are certificates, unless it says otherwise or is a Unix socket.
    fn listen(&mut self, tls: bool) -> Vec<Listen> {
        let listen = self.read("listen", |node| {
            let one = |node: &Node<'_>| listener(node, tls);
            match &node.value {
                Value::List(items) if items.is_empty() => {
                    Err(Wrong::new("expected at least one address")
                        .hint("write it as 0.0.0.0:8080"))
                }
                Value::List(_) => value::list("addresses", node, one),
                _ => one(node).map(|listener| vec![listener]),
            }
        });
        let place = |listen: Listen| match listen.address {
            Address::Unix(path) => Listen {
                address: Address::Unix(self.absolute("listen", &path)),
                ..listen
            },
            Address::Tcp(_) => listen,
        };
        listen.into_iter().map(place).collect()
    }

    fn tls(&mut self) -> Option<Tls> {
        let certificates = self.read("tls.certificates", |node| {
            value::list("certificates", node, value::certificate)
        });
        let place = |certificate: Certificate| Certificate {
            certificate: self.absolute("tls.certificates", &certificate.certificate),
            key: self.absolute("tls.certificates", &certificate.key),
        };
        let certificates: Vec<_> = certificates.into_iter().map(place).collect();
        let required = self.choice(
            "tls.client",
            &[("required", true), ("optional", false)],
            &[],
        );
        let client = self
            .path_unless_none("tls.client_ca")
            .map(|ca| ClientCertificates { ca, required });
        let min_version = self.choice(
            "tls.min_version",
            &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)],
            &[],
        );
        if certificates.is_empty() && client.is_some() {
            let wrong = Wrong::new("client certificates without a certificate of our own")
                .hint("add one: tls: {certificates: [{certificate: FILE, key: FILE}]}");
            self.problem("tls.client_ca", wrong);
        }
        (!certificates.is_empty()).then_some(Tls {
            certificates,
            client,
            min_version,
        })
    }

    fn upstream_tls(&mut self) -> UpstreamTls {
        UpstreamTls {
            ca: self.path_unless_none("upstream_tls.ca"),
            client: self.certificate("upstream_tls.certificate", "upstream_tls.key"),
            server_name: self.read("upstream_tls.server_name", |node| {
                value::unless("none", node, |node| address::parse_name(value::text(node)?))
            }),
        }
    }

    /// A certificate and its key, which stand in two settings. A certificate alone has its key in the same file.
    fn certificate(&mut self, certificate: &'static str, key: &'static str) -> Option<Certificate> {
        let path = self.path_unless_none(certificate);
        let key_path = self.path_unless_none(key);
        match (path, key_path) {
            (Some(certificate), Some(key)) => Some(Certificate { certificate, key }),
            (Some(path), None) => Some(Certificate {
                key: path.clone(),
                certificate: path,
            }),
            (None, Some(_)) => {
                let wrong = Wrong::new("a private key without a certificate")
                    .hint(format!("name the certificate as well: {certificate}"));
                self.problem(key, wrong);
                None
            }
            (None, None) => None,
        }
    }

    /// The one setting without a default.
    fn target(&mut self) -> Option<(Speech, Target)> {
        let index = file::find("upstream").expect("upstream is a setting");
        let Some(chosen) = &self.layers.chosen[index] else {
            let wrong = Wrong::new("not set: keygate needs to know the service behind it").hint(
                "say where it is: keygate run --upstream http://127.0.0.1:3000, or \
                 upstream: in keygate.yaml, or KEYGATE_UPSTREAM",
            );
            // Another problem may be the reason why no value was seen: its own, or a file that tells nothing.
            let file = |origin: &Origin| matches!(origin, Origin::File(..));
            let mut chosen = self.layers.chosen.iter().flatten();
            let silent = !chosen.any(|chosen| file(&chosen.origin));
            let mut problems = self.layers.problems.iter();
            if !problems
                .any(|problem| problem.path == "upstream" || (silent && problem.path.is_empty()))
            {
                self.problem("upstream", wrong);
            }
            return None;
        };
        match value::text(&chosen.node).and_then(address::parse_upstream) {
            Ok((speech, Target::Unix(path))) => {
                Some((speech, Target::Unix(self.absolute("upstream", &path))))
            }
            Ok(found) => Some(found),
            Err(wrong) => {
                self.problem("upstream", wrong);
                None
            }
        }
    }

    fn upstream_host(&mut self) -> UpstreamHost {
        self.read("upstream_host", |node| match value::text(node)? {
            "keep" => Ok(UpstreamHost::Keep),
            "upstream" => Ok(UpstreamHost::Upstream),
            text => address::parse_host(text).map(UpstreamHost::Name),
        })
    }

    fn workers(&mut self) -> NonZeroUsize {
        let number = self.read("workers", |node| {
            value::unless("auto", node, |node| value::count(node, 1, WORKERS_MAX))
        });
        number
            .and_then(NonZeroUsize::new)
            .unwrap_or_else(available_workers)
    }

    fn auth(&mut self) -> Auth {
        let sources = self.read("auth.sources", |node| {
            let sources = value::list("sources", node, value::source)?;
            let twice = sources
                .iter()
                .enumerate()
                .find(|(index, source)| sources[..*index].contains(source));
            match (sources.is_empty(), twice) {
                (true, _) => Err(Wrong::new(
                    "expected at least one source: without any, no token could be found",
                )
                .hint("write the default: [header: x-api-key]")),
                (false, Some((index, _))) => {
                    let Value::List(items) = &node.value else {
                        unreachable!("it was read as a list")
                    };
                    Err(Wrong::new("a source is here twice")
                        .at(items[index].place)
                        .hint("keep one of the two"))
                }
                (false, None) => Ok(sources),
            }
        });
        Auth {
            sources,
            on_conflict: self.choice(
                "auth.on_conflict",
                &[("first", OnConflict::First), ("reject", OnConflict::Reject)],
                &[],
            ),
            mode: self.choice(
                "auth.mode",
                &[
                    ("enforce", Mode::Enforce),
                    ("optional", Mode::Optional),
                    ("shadow", Mode::Shadow),
                ],
                &[],
            ),
            public: self.read("auth.public", |node| {
                value::list("paths", node, value::path_pattern)
            }),
            preflight: self.choice(
                "auth.preflight",
                &[
                    ("authenticate", Preflight::Authenticate),
                    ("pass", Preflight::Pass),
                ],
                &[],
            ),
            hide: self.boolean("auth.hide"),
            identity: Identity {
                id: self.read("auth.identity.id", value::identity_header),
                name: self.read("auth.identity.name", value::identity_header),
            },
            realm: self.read("auth.realm", value::realm),
            on_revoke: self.choice(
                "auth.on_revoke",
                &[("cut", OnRevoke::Cut), ("finish", OnRevoke::Finish)],
                &[],
            ),
        }
    }

    fn transactions(&mut self) -> Transactions {
        Transactions {
            enabled: self.boolean("transactions.enabled"),
            dir: self.path("transactions.dir"),
            stdout: self.boolean("transactions.stdout"),
            query: self.choice(
                "transactions.query",
                &[
                    ("names", RecordedQuery::Names),
                    ("full", RecordedQuery::Full),
                    ("none", RecordedQuery::None),
                ],
                &[],
            ),
            client_ip: self.choice(
                "transactions.client_ip",
                &[
                    ("full", RecordedClientIp::Full),
                    ("prefix", RecordedClientIp::Prefix),
                    ("none", RecordedClientIp::None),
                ],
                &[],
            ),
            skip_paths: self.read("transactions.skip_paths", |node| {
                value::list("paths", node, value::path_pattern)
            }),
            durability: self.choice(
                "transactions.durability",
                &[
                    ("buffered", Durability::Buffered),
                    ("written", Durability::Written),
                    ("synced", Durability::Synced),
                ],
                &[],
            ),
            when_full: self.choice(
                "transactions.when_full",
                &[
                    ("drop", WhenFull::Drop),
                    ("wait", WhenFull::Wait),
                    ("refuse", WhenFull::Refuse),
                ],
                &[],
            ),
            rotate_size: self.read("transactions.rotate.size", |node| {
                match value::size(node)? {
                    ROTATE_SIZE_MIN.. => value::size(node),
                    _ => Err(Wrong::new("expected at least 4KiB")),
                }
            }),
            rotate_age: self.duration("transactions.rotate.age"),
            keep_size: self.read("transactions.keep.size", value::size),
            keep_age: self.duration("transactions.keep.age"),
        }
    }

    fn timeouts(&mut self) -> Timeouts {
        Timeouts {
            handshake: self.duration("timeouts.handshake"),
            header: self.duration("timeouts.header"),
            idle: self.duration("timeouts.idle"),
            connect: self.duration("timeouts.connect"),
            response: self.duration("timeouts.response"),
            body: self.duration("timeouts.body"),
            stream: self.duration("timeouts.stream"),
            upstream_idle: self.duration("timeouts.upstream_idle"),
            drain_delay: self.duration("timeouts.drain_delay"),
            drain: self.duration("timeouts.drain"),
        }
    }

    fn limits(&mut self) -> Limits {
        let header_bytes = self.read("limits.header_bytes", |node| match value::size(node)? {
            bytes if HEADER_BYTES.contains(&bytes) => Ok(bytes),
            _ => Err(Wrong::new("expected a size from 1KiB to 1MiB")),
        });
        Limits {
            header_bytes: usize::try_from(header_bytes).expect("at most 1MiB"),
            headers: self.read("limits.headers", |node| value::count(node, 1, HEADERS_MAX)),
            body_bytes: self.read("limits.body_bytes", |node| {
                value::unless("none", node, value::size)
            }),
            connections: self.read("limits.connections", |node| {
                value::unless("auto", node, |node| value::count(node, 1, usize::MAX))
            }),
            per_client: self.count_unless_none("limits.per_client"),
            requests_in_flight: self.count_unless_none("limits.requests_in_flight"),
        }
    }

    fn count_unless_none(&mut self, name: &'static str) -> Option<usize> {
        self.read(name, |node| {
            value::unless("none", node, |node| value::count(node, 1, usize::MAX))
        })
    }

    fn log(&mut self) -> Log {
        let levels = [
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
        ];
        Log {
            level: self.choice("log.level", &levels, &[]),
            format: self.choice(
                "log.format",
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                &[],
            ),
        }
    }
}

/// `127.0.0.1:8080`, or `{address: 127.0.0.1:8080, tls: true, proxy_protocol: true}`.
fn listener(node: &Node<'_>, tls: bool) -> Result<Listen, Wrong> {
    let by_default = |address| Listen {
        tls: tls && matches!(address, Address::Tcp(_)),
        address,
        proxy_protocol: false,
    };
    if !matches!(node.value, Value::Map(_)) {
        return address::parse_listen(value::text(node)?).map(by_default);
    }
    let [address, tls, proxy_protocol] = value::fields(node, ["address", "tls", "proxy_protocol"])?;
    let Some(address) = address else {
        return Err(Wrong::new("has no address").hint("write {address: 0.0.0.0:8080, tls: true}"));
    };
    let boolean = |node: &Node<'_>| value::boolean(node).map_err(|wrong| wrong.at(node.place));
    let parsed = value::text(address).and_then(address::parse_listen);
    let listen = by_default(parsed.map_err(|wrong| wrong.at(address.place))?);
    Ok(Listen {
        tls: tls.map(boolean).transpose()?.unwrap_or(listen.tls),
        proxy_protocol: proxy_protocol.map(boolean).transpose()?.unwrap_or_default(),
        ..listen
    })
}

/// One for each processor that the process may use. The standard library looks at the affinity mask
/// and at the cgroup's CPU quota (v2 `cpu.max`, v1 `cpu.cfs_quota_us`, up to the root), and rounds
/// down: a thread beyond the quota would be throttled in the middle of requests.
fn available_workers() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
