//! A TLS client for one purpose: a request through a listener of our own. It trusts exactly the certificates that the
//! listener shows at that moment, whatever their names and dates, and nobody else: a stranger who has taken the port
//! has not got their keys.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::SignatureScheme;
use rustls::client::Resumption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::verify_tls12_signature;
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::net::tls::Server;
use crate::net::tls::provider;

/// Speaks TLS, and HTTP/1.1 in it, over a socket that is connected to a listener of ours.
///
/// # Errors
/// When the other side shows another certificate, or wants one from us.
pub async fn to_own<S>(server: &Server, socket: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let provider = provider();
    let verifier = Own {
        server: server.clone(),
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    // An address is no name: it asks for the first certificate.
    let name = ServerName::from(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
    TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
}

/// Knows what the listener shows.
struct Own {
    server: Server,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Own {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _stapled: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let offer = self.server.0.load();
        let mut own = offer.certificates.iter().map(|own| &own.key.cert[0]);
        if own.any(|own| own == shown) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, shown, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, shown, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use rcgen::CertificateParams;
    use rcgen::KeyPair;

    use super::*;
    use crate::clock::Clock;
    use crate::config::Certificate;
    use crate::health::Health;
    use crate::metrics::Metrics;
    use crate::net::tls;
    use crate::net::tls::Wanted;

    fn server(folder: &Path) -> Server {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        let text = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        let path = folder.join("both.pem");
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let certificate = Certificate {
            certificate: path.clone(),
            key: path,
        };
        let wanted = Wanted {
            admin: Some(&certificate),
            ..Wanted::default()
        };
        let loaded = tls::load(wanted, &Clock::system()).unwrap();
        let (_, certificates) = loaded.follow(Metrics::new(1), Health::new());
        certificates.admin().unwrap().clone()
    }

    #[test]
    fn only_who_shows_our_certificate_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, stranger) = (server(folder.path()), server(folder.path()));
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        runtime.block_on(async {
            for (name, listener, trusted) in
                [("ours", &ours, true), ("a stranger", &stranger, false)]
            {
                let (here, there) = tokio::io::duplex(16 * 1024);
                let (client, accepted) = tokio::join!(to_own(&ours, here), listener.accept(there));
                assert_eq!(client.is_ok(), trusted, "{name}: {:?}", client.err());
                assert_eq!(accepted.is_ok(), trusted, "{name}: {:?}", accepted.err());
            }
        });
    }
}
