//! TLS as tests need it: authorities that are made once, certificates that they sign, and a client that tells what was
//! negotiated. What is inside a connection is read and written by the same [`Client`] as without TLS, in HTTP/1 or in
//! frames. Not for: what keygate promises of TLS, which is in `tls`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::LazyLock;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::DigitallySignedStruct;
use rustls::Error;
use rustls::HandshakeKind;
use rustls::ProtocolVersion;
use rustls::RootCertStore;
use rustls::SignatureScheme;
use rustls::StreamOwned;
use rustls::SupportedProtocolVersion;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerified;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::version::TLS12;
use rustls::version::TLS13;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::message::Response;
use crate::harness::wire::Wire;

/// Signs what most tests use.
pub(crate) static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::new("keygate test authority"));

/// Nobody trusts it unless a test says so.
pub(crate) static STRANGER: LazyLock<Authority> =
    LazyLock::new(|| Authority::new("some other authority"));

/// Who signs certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What leads to the authority that clients know, PEM; empty for that one.
    between: String,
}

/// A certificate and its key.
pub(crate) struct Issued {
    /// PEM, with what leads to the authority.
    pub(crate) chain: String,
    /// PEM.
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

/// What a certificate is to be like.
#[derive(Clone)]
pub(crate) struct Wish(CertificateParams);

impl Authority {
    /// One that signs itself.
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(authority(name), key).unwrap(),
            between: String::new(),
        }
    }

    /// One that this one has signed.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(authority(name), key, &self.issuer).unwrap();
        Self {
            between: format!("{}{}", issuer.pem(), self.between),
            issuer,
        }
    }

    /// Its certificate, PEM.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Signs a certificate with a key of its own.
    pub(crate) fn issue(&self, wish: &Wish) -> Issued {
        self.issue_for(wish, &KeyPair::generate().unwrap())
    }

    /// Signs a certificate for this key.
    pub(crate) fn issue_for(&self, wish: &Wish, key: &KeyPair) -> Issued {
        let certificate = wish.0.signed_by(key, &self.issuer).unwrap();
        Issued {
            chain: format!("{}{}", certificate.pem(), self.between),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }

    /// A certificate of a server with these names; good for 127.0.0.1 as well.
    pub(crate) fn server(&self, names: &[&str]) -> Issued {
        self.issue(&Wish::server(names))
    }

    /// A certificate of a client.
    pub(crate) fn client(&self, name: &str) -> Issued {
        self.issue(&Wish::client(name))
    }

    /// Its certificate.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Wish {
    /// Of a server with these names, and 127.0.0.1.
    pub(crate) fn server(names: &[&str]) -> Self {
        let names = names.iter().chain(&["127.0.0.1"]);
        let names: Vec<_> = names.map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Self(params)
    }

    /// Of a server with these names or addresses, and no other.
    pub(crate) fn named(names: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Self(CertificateParams::new(names).unwrap())
    }

    /// Of a client: `CN=name,O=tests`.
    pub(crate) fn client(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "tests");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Self(params)
    }

    /// From the first of January of one year to that of another.
    pub(crate) fn years(mut self, from: i32, to: i32) -> Self {
        self.0.not_before = rcgen::date_time_ymd(from, 1, 1);
        self.0.not_after = rcgen::date_time_ymd(to, 1, 1);
        self
    }

    /// Ends so many days from now.
    pub(crate) fn days_left(mut self, days: i64) -> Self {
        self.0.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        self
    }
}

impl Issued {
    /// Certificate and key in one text.
    pub(crate) fn both(&self) -> String {
        format!("{}{}", self.chain, self.key)
    }
}

/// A client that remembers its sessions, as far as they are to be remembered.
#[derive(Clone)]
pub(crate) struct Dialer {
    roots: RootCertStore,
    lenient: bool,
    versions: Vec<&'static SupportedProtocolVersion>,
    alpn: Vec<Vec<u8>>,
    client: Option<(Vec<CertificateDer<'static>>, Vec<u8>)>,
    made: Option<Arc<ClientConfig>>,
    before: Vec<u8>,
}

/// A connection under TLS, and what was agreed on it.
pub(crate) struct Secured {
    pub(crate) client: Client,
    pub(crate) alpn: Option<String>,
    pub(crate) version: ProtocolVersion,
    /// The certificate that was shown; of the first handshake where the session was resumed.
    pub(crate) peer: CertificateDer<'static>,
    pub(crate) resumed: bool,
}

/// Connects; no name asks for none. What a test needs most often; the rest is in [`Dialer`].
#[track_caller]
pub(crate) fn connect(
    address: SocketAddr,
    server_name: Option<&str>,
    ca: &Authority,
    alpn: &[&str],
    client: Option<&Issued>,
) -> Secured {
    let mut dialer = Dialer::trusting(ca).alpn(alpn);
    if let Some(client) = client {
        dialer = dialer.showing(client);
    }
    dialer.connect(address, server_name)
}

impl Dialer {
    /// Trusts this authority, speaks TLS 1.2 and 1.3, shows nothing.
    pub(crate) fn trusting(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).unwrap();
        Self {
            roots,
            lenient: false,
            versions: vec![&TLS13, &TLS12],
            alpn: Vec::new(),
            client: None,
            made: None,
            before: Vec::new(),
        }
    }

    /// Trusts certificates of other names and dates too, so that a test can see what is shown.
    pub(crate) fn lenient(self) -> Self {
        Self {
            lenient: true,
            ..self
        }
    }

    pub(crate) fn only(self, version: &'static SupportedProtocolVersion) -> Self {
        Self {
            versions: vec![version],
            ..self
        }
    }

    pub(crate) fn alpn(self, names: &[&str]) -> Self {
        Self {
            alpn: names.iter().map(|name| name.as_bytes().to_vec()).collect(),
            ..self
        }
    }

    /// Sends this before the handshake, as a load balancer does.
    pub(crate) fn after(self, bytes: &str) -> Self {
        Self {
            before: bytes.as_bytes().to_vec(),
            ..self
        }
    }

    /// With a certificate of its own.
    pub(crate) fn showing(self, client: &Issued) -> Self {
        Self {
            client: Some((vec![client.der.clone()], client.key_der.clone())),
            ..self
        }
    }

    /// Remembers its sessions from connection to connection, as its clones do.
    pub(crate) fn remembering(mut self) -> Self {
        self.made = Some(self.config());
        self
    }

    fn config(&self) -> Arc<ClientConfig> {
        if let Some(made) = &self.made {
            return Arc::clone(made);
        }
        let provider = Arc::new(default_provider());
        let roots = Arc::new(self.roots.clone());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let verifier = Arc::new(Lenient {
            strict: verifier.build().unwrap(),
            lenient: self.lenient,
        });
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.client {
            Some((chain, key)) => {
                let key = PrivateKeyDer::try_from(key.clone()).unwrap();
                config.with_client_auth_cert(chain.clone(), key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        Arc::new(config)
    }

    #[track_caller]
    pub(crate) fn connect(&self, address: SocketAddr, server_name: Option<&str>) -> Secured {
        self.try_connect(address, server_name)
            .unwrap_or_else(|error| panic!("no TLS with {address}: {error}"))
    }

    /// Connects, or says why not. With TLS 1.3 the client is done before keygate has looked at its certificate: whether
    /// that pleases shows at the first read.
    pub(crate) fn try_connect(
        &self,
        address: SocketAddr,
        server_name: Option<&str>,
    ) -> std::io::Result<Secured> {
        let name = match server_name {
            Some(name) => ServerName::try_from(name.to_owned()).unwrap(),
            None => ServerName::from(address.ip()),
        };
        let mut session =
            ClientConnection::new(self.config(), name).map_err(std::io::Error::other)?;
        let mut socket = TcpStream::connect_timeout(&address, SOON)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SOON))?;
        socket.set_write_timeout(Some(SOON))?;
        socket.write_all(&self.before)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let alpn = session.alpn_protocol();
        let alpn = alpn.map(|name| String::from_utf8(name.to_vec()).unwrap());
        let version = session.protocol_version().unwrap();
        let peer = session.peer_certificates().unwrap()[0].clone();
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let wire = Wire::Tls(Box::new(StreamOwned::new(session, socket)));
        Ok(Secured {
            client: Client::over(wire),
            alpn,
            version,
            peer,
            resumed,
        })
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, address: SocketAddr, request: impl AsRef<[u8]>) -> Response {
        self.connect(address, None).client.ask(request)
    }

    /// The same, or why there is no answer.
    pub(crate) fn try_ask(
        &self,
        address: SocketAddr,
        request: impl AsRef<[u8]>,
    ) -> Result<Response, String> {
        let secured = self.try_connect(address, None);
        let mut secured = secured.map_err(|error| error.to_string())?;
        secured.client.send(request);
        let answer = secured.client.try_read("GET");
        answer.map_err(|failed| format!("{:?}", failed.why))
    }
}

/// The usual verifier; a lenient one forgives names and dates.
#[derive(Debug)]
struct Lenient {
    strict: Arc<WebPkiServerVerifier>,
    lenient: bool,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let strict = self
            .strict
            .verify_server_cert(shown, chain, name, stapled, now);
        match strict {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. }
                | CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            )) if self.lenient => Ok(ServerCertVerified::assertion()),
            strict => strict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, shown, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}
