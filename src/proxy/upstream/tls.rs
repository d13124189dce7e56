//! TLS towards the upstream: which authorities its certificate is checked against, what keygate shows of itself, and
//! how both follow their files while connections go on. Without authorities that could be read there is no connection:
//! no file that is missing or broken ever means fewer checks. Not for: sockets and deadlines (`connect`).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::Target;
use crate::config::Upstream;
use crate::config::UpstreamTls;
use crate::health::Health;
use crate::net::io::Socket;
use crate::net::pem;
use crate::net::pem::PemError;
use crate::watch::Watch;

/// The word in `health`.
const CAUSE: &str = "upstream_certificates";

/// Certificate and key are two files, which nobody replaces in one step: what does not fit has so long to do so before
/// anybody is told.
const SETTLE: Duration = Duration::from_secs(3);

/// While something is wrong that was told, the files are read again this often: not every repair changes a file.
const AGAIN: Duration = Duration::from_secs(5);

/// HTTP/2 and HTTP/1.1, as ALPN calls them; the upstream chooses.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What may be spoken over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// HTTP/2, or else HTTP/1.1.
    Any,
    /// HTTP/1.1 alone.
    Http1,
}

/// Makes TLS of connections to the upstream; shared by all workers.
#[derive(Debug)]
pub(crate) struct ClientTls {
    current: ArcSwap<Offers>,
    /// How often the files have changed.
    generation: AtomicU64,
    name: ServerName<'static>,
}

/// The same settings and the same sessions, with what may be offered.
#[derive(Debug)]
struct Offers {
    any: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
}

/// What the files hold.
#[derive(Debug)]
struct Material {
    roots: RootCertStore,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// Why TLS to the upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamTlsError {
    /// A file cannot be used.
    #[error("{setting}: {error}")]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// Why not.
        #[source]
        error: PemError,
    },
    /// Certificate and key are no pair.
    #[error("upstream_tls.key: {}: not the key of {}: {why}", key.display(), certificate.display())]
    NoPair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What was found.
        why: rustls::Error,
    },
    /// The name cannot be in a certificate.
    #[error("upstream_tls.server_name: not a name that a certificate can have: {0}")]
    Name(String),
    /// The library refuses what it is to do.
    #[error("cannot set up TLS to the upstream: {0}")]
    Library(rustls::Error),
}

impl UpstreamTlsError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File { error, .. } => Some(error.hint()),
            Self::NoPair { .. } => Some("name the private key that the certificate was made with"),
            Self::Name(_) => {
                Some("write a host name or an IP address: upstream_tls: {server_name: app.example}")
            }
            Self::Library(_) => None,
        }
    }
}

impl ClientTls {
    /// Reads the files. The second one follows them.
    pub(crate) fn load(
        upstream: &Upstream,
        files: &UpstreamTls,
        health: Arc<Health>,
    ) -> Result<(Arc<Self>, UpstreamCertificates), UpstreamTlsError> {
        let name = server_name(upstream, files)?;
        let watch = Watch::start(watched(files)); // before they are read
        let material = Material::read(files)?;
        let tls = Arc::new(Self {
            current: ArcSwap::from_pointee(material.offers(files)?),
            generation: AtomicU64::new(0),
            name,
        });
        let follower = UpstreamCertificates {
            files: files.clone(),
            watch,
            material,
            tls: Arc::clone(&tls),
            health,
        };
        Ok((tls, follower))
    }

    /// Reads the files, to see whether they can be used.
    pub(crate) fn check(upstream: &Upstream, files: &UpstreamTls) -> Result<(), UpstreamTlsError> {
        server_name(upstream, files)?;
        Material::read(files)?.offers(files).map(drop)
    }

    /// One connection's side of TLS, with HTTP/1.1 alone on offer: for whoever looks whether the upstream can be
    /// believed.
    pub(crate) fn once(
        upstream: &Upstream,
        files: &UpstreamTls,
    ) -> Result<ClientConnection, UpstreamTlsError> {
        let name = server_name(upstream, files)?;
        let offers = Material::read(files)?.offers(files)?;
        ClientConnection::new(offers.http1, name).map_err(UpstreamTlsError::Library)
    }

    /// Changes when connections are made with other files.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// A handshake over `socket`. The check of the certificate is part of it.
    pub(crate) async fn handshake(
        &self,
        socket: Socket,
        offer: Offer,
    ) -> io::Result<TlsStream<Socket>> {
        let config = {
            let current = self.current.load();
            Arc::clone(match offer {
                Offer::Any => &current.any,
                Offer::Http1 => &current.http1,
            })
        };
        TlsConnector::from(config)
            .connect(self.name.clone(), socket)
            .await
    }
}

/// Whether the upstream has chosen HTTP/2.
pub(crate) fn chose_http2(stream: &TlsStream<Socket>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// The name that the upstream's certificate must have.
fn server_name(
    upstream: &Upstream,
    files: &UpstreamTls,
) -> Result<ServerName<'static>, UpstreamTlsError> {
    let name = match (&files.server_name, &upstream.target) {
        (Some(name), _) | (None, Target::Name { name, .. }) => name.clone(),
        (None, Target::Address(address)) => {
            return Ok(ServerName::from(address.ip()));
        }
        (None, Target::Unix(_)) => "localhost".to_owned(),
    };
    ServerName::try_from(name.clone()).map_err(|_| UpstreamTlsError::Name(name))
}

fn watched(files: &UpstreamTls) -> Vec<PathBuf> {
    let client = files.client.iter();
    let client = client.flat_map(|client| [client.certificate.clone(), client.key.clone()]);
    files.ca.iter().cloned().chain(client).collect()
}

impl Material {
    fn read(files: &UpstreamTls) -> Result<Self, UpstreamTlsError> {
        let of = |setting| move |error| UpstreamTlsError::File { setting, error };
        let roots = match &files.ca {
            Some(ca) => pem::roots(ca).map_err(of("upstream_tls.ca"))?,
            None => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        };
        let client = match &files.client {
            Some(client) => Some((
                pem::certificates(&client.certificate).map_err(of("upstream_tls.certificate"))?,
                pem::private_key(&client.key).map_err(of("upstream_tls.key"))?,
            )),
            None => None,
        };
        Ok(Self { roots, client })
    }

    /// Sessions begin anew with each reading: none outlives the authorities that it was checked against.
    fn offers(&self, files: &UpstreamTls) -> Result<Offers, UpstreamTlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(UpstreamTlsError::Library)?
            .with_root_certificates(self.roots.clone());
        let mut config = match (&self.client, &files.client) {
            (Some((certificates, key)), Some(named)) => builder
                .with_client_auth_cert(certificates.clone(), key.clone_key())
                .map_err(|why| UpstreamTlsError::NoPair {
                    certificate: named.certificate.clone(),
                    key: named.key.clone(),
                    why,
                })?,
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP1.to_vec()];
        let http1 = Arc::new(config.clone());
        config.alpn_protocols.insert(0, HTTP2.to_vec());
        Ok(Offers {
            any: Arc::new(config),
            http1,
        })
    }

    fn is(&self, other: &Self) -> bool {
        self.roots.roots == other.roots.roots && self.client == other.client
    }
}

/// Follows the files: new connections are made with what is in them now, or was when they last could be used.
#[derive(Debug)]
pub(crate) struct UpstreamCertificates {
    files: UpstreamTls,
    watch: Watch,
    material: Material,
    tls: Arc<ClientTls>,
    health: Arc<Health>,
}

impl UpstreamCertificates {
    /// Follows them for ever.
    pub(crate) async fn run(mut self) {
        if watched(&self.files).is_empty() {
            return;
        }
        let mut told = false;
        loop {
            if told {
                let _ = tokio::time::timeout(AGAIN, self.watch.changed()).await;
            } else {
                self.watch.changed().await;
            }
            let mut read = self.read().await;
            if read.is_err() && !told {
                read = self.settled().await;
            }
            let was_told = std::mem::replace(&mut told, read.is_err());
            match read {
                Ok((material, offers)) => self.take(material, offers),
                Err(error) if was_told => self.health.degrade(CAUSE, error.to_string()),
                Err(error) => {
                    tracing::error!(
                        %error, hint = error.hint(),
                        "the certificates for the upstream cannot be used; the last good ones stay"
                    );
                    self.health.degrade(CAUSE, error.to_string());
                }
            }
        }
    }

    /// Reads again with every change, until what is read fits, or has had its time to.
    async fn settled(&mut self) -> Result<(Material, Offers), UpstreamTlsError> {
        let fits = async {
            loop {
                self.watch.changed().await;
                if let Ok(read) = self.read().await {
                    return read;
                }
            }
        };
        match tokio::time::timeout(SETTLE, fits).await {
            Ok(read) => Ok(read),
            Err(_elapsed) => self.read().await,
        }
    }

    fn take(&mut self, material: Material, offers: Offers) {
        self.health.restore(CAUSE);
        if !material.is(&self.material) {
            self.material = material;
            self.tls.current.store(Arc::new(offers));
            self.tls.generation.fetch_add(1, Relaxed);
            tracing::info!("the certificates for the upstream are new");
        }
    }

    /// Reads where waiting for a disk holds nobody up.
    async fn read(&self) -> Result<(Material, Offers), UpstreamTlsError> {
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || {
            let material = Material::read(&files)?;
            let offers = material.offers(&files)?;
            Ok((material, offers))
        });
        read.await.unwrap_or_else(|ended| {
            let why = rustls::Error::General(format!("reading ended abnormally: {ended}"));
            Err(UpstreamTlsError::Library(why))
        })
    }
}
