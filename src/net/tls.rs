//! TLS towards clients: certificates from files, one of them for each name that a client asks for, and the handshake.
//! A [`Server`] is all that a listener needs; what it shows is exchanged under it in one step, so that connections that
//! are open go on and every new handshake meets the newest certificates that were good. Who reads the files again is
//! the [`Follower`]. Not for: what is spoken inside.

mod choice;
mod facts;
mod follow;
mod load;
mod material;
mod own;
mod sessions;

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::server::Acceptor;
use rustls::version::TLS12;
use rustls::version::TLS13;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

pub use crate::net::tls::follow::Follower;
pub use crate::net::tls::load::Audience;
pub use crate::net::tls::load::CertificateStatus;
pub use crate::net::tls::load::Certificates;
pub use crate::net::tls::load::Loaded;
pub use crate::net::tls::load::Status;
pub use crate::net::tls::load::Wanted;
pub use crate::net::tls::load::load;
pub use crate::net::tls::own::to_own;

use crate::config::TlsVersion;
use crate::net::tls::choice::Choice;
use crate::net::tls::material::Authorities;
use crate::net::tls::material::Shown;
use crate::net::tls::sessions::Sessions;

/// What is spoken to clients of the proxy, in the order in which it is preferred (RFC 7301).
pub const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];
/// What is spoken on the admin listener.
const ALPN_ADMIN: &[&[u8]] = &[b"http/1.1"];

/// The TLS side of a listener. Cheap to clone; clones show the same.
#[derive(Clone)]
pub struct Server(Arc<ArcSwap<Offer>>);

/// What is shown right now.
struct Offer {
    config: Arc<ServerConfig>,
    certificates: Vec<Arc<Shown>>,
}

/// A connection whose handshake is over.
#[derive(Debug)]
pub struct Secured<S> {
    /// What HTTP is spoken on.
    pub stream: TlsStream<S>,
    /// The subject of the certificate that the client has shown, in the form of RFC 4514.
    pub client_subject: Option<Arc<str>>,
}

/// Why a connection has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client has left before it has said what it wants. Load balancers look that way whether a port is open.
    #[error("the client left before its handshake")]
    Unbegun,
    /// It speaks no TLS, or not ours, or shows a certificate of nobody we know.
    #[error("TLS handshake: {0}")]
    Failed(#[source] io::Error),
}

impl Server {
    /// Takes the client's side of a handshake. The client is told by an alert why it failed; how long that may take is
    /// the caller's to say.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn accept<S>(&self, socket: S) -> Result<Secured<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), socket).await;
        let hello = hello.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                HandshakeError::Unbegun
            }
            _ => HandshakeError::Failed(error),
        })?;
        // Not before: a client may take its time, and what was shown when it came may be over by now.
        let config = Arc::clone(&self.0.load().config);
        let stream = hello.into_stream(config).await;
        let stream = stream.map_err(HandshakeError::Failed)?;
        let shown = stream.get_ref().1.peer_certificates();
        let client_subject = shown
            .and_then(<[_]>::first)
            .and_then(facts::subject)
            .map(Arc::from);
        Ok(Secured {
            stream,
            client_subject,
        })
    }

    fn new(offer: Offer) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(offer)))
    }

    fn show(&self, offer: Offer) {
        self.0.store(Arc::new(offer));
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// How a listener speaks, whatever it shows.
#[derive(Clone, Copy, Debug)]
struct Manner {
    alpn: &'static [&'static [u8]],
    min_version: TlsVersion,
}

impl Manner {
    /// What is shown from now on; none of no certificate.
    fn offer(
        self,
        certificates: Vec<Arc<Shown>>,
        authorities: Option<&Authorities>,
        sessions: &Sessions,
    ) -> Option<Offer> {
        let choice = Choice::of(&certificates)?;
        let versions = match self.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12][..],
            TlsVersion::Tls13 => &[&TLS13][..],
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("the provider has cipher suites for both versions");
        let builder = match authorities {
            Some(authorities) => {
                builder.with_client_cert_verifier(Arc::clone(&authorities.verifier))
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(choice));
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        sessions.serve(&mut config);
        Some(Offer {
            config: Arc::new(config),
            certificates,
        })
    }
}

/// The cryptography, the same everywhere.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}
