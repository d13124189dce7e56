//! A certificate and its key, checked against each other, and the authorities of clients: with everything that is wrong
//! said in a way that helps. Not for: PEM (`net::pem`), when files are read, and what follows from a bad one (`follow`).

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use sha2::Digest as _;
use sha2::Sha256;

use crate::config::Certificate;
use crate::config::ClientCertificates;
use crate::net::pem::PemError;
use crate::net::pem::PemText;
use crate::net::tls::facts;
use crate::net::tls::facts::Facts;
use crate::problem::Problem;

/// A certificate with its chain and its key, ready to be shown.
#[derive(Debug)]
pub(super) struct Shown {
    /// The certificate's file.
    pub(super) file: PathBuf,
    pub(super) key: Arc<CertifiedKey>,
    pub(super) facts: Facts,
    /// Of what the files held.
    pub(super) digest: [u8; 32],
    /// The key is there for everybody on the machine.
    pub(super) exposed: Option<Problem>,
}

/// Who may have signed a client's certificate.
#[derive(Debug)]
pub(super) struct Authorities {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// Of what the file held.
    pub(super) digest: [u8; 32],
}

/// Something is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) problem: Problem,
    /// It may be over in a moment: files that are exchanged one after the other look like this in between.
    pub(super) may_pass: bool,
}

impl Fault {
    fn lasting(file: &Path, what: impl Into<String>, hint: &str) -> Self {
        Self {
            problem: Problem {
                file: file.to_owned(),
                place: None,
                path: String::new(),
                what: what.into(),
                hint: Some(hint.to_owned()),
            },
            may_pass: false,
        }
    }

    fn passing(file: &Path, what: impl Into<String>, hint: &str) -> Self {
        Self {
            may_pass: true,
            ..Self::lasting(file, what, hint)
        }
    }
}

impl From<PemError> for Fault {
    fn from(error: PemError) -> Self {
        Self {
            may_pass: error.may_pass(),
            problem: error.into(),
        }
    }
}

/// Reads a certificate and its key, and checks that they belong together.
pub(super) fn certificate(
    wanted: &Certificate,
    provider: &CryptoProvider,
) -> Result<Shown, Vec<Fault>> {
    let (file, key_file) = (&wanted.certificate, &wanted.key);
    let text = PemText::read(file);
    if key_file == file {
        let text = text.map_err(|error| vec![error.into()])?;
        return read(wanted, &text, &text, provider);
    }
    match (text, PemText::read(key_file)) {
        (Ok(text), Ok(key_text)) => read(wanted, &text, &key_text, provider),
        (text, key_text) => {
            let chain = text.and_then(|text| text.certificates());
            let key = key_text.and_then(|text| text.private_key());
            Err(faults(chain.err(), key.err()))
        }
    }
}

fn faults(chain: Option<PemError>, key: Option<PemError>) -> Vec<Fault> {
    chain.into_iter().chain(key).map(Fault::from).collect()
}

fn read(
    wanted: &Certificate,
    text: &PemText,
    key_text: &PemText,
    provider: &CryptoProvider,
) -> Result<Shown, Vec<Fault>> {
    let (file, key_file) = (&wanted.certificate, &wanted.key);
    let (chain, key) = match (text.certificates(), key_text.private_key()) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(faults(chain.err(), key.err())),
    };
    let facts = facts::of_server(&chain[0]).map_err(|error| {
        let what = format!("its first certificate cannot be understood: {error}");
        vec![Fault::lasting(
            file,
            what,
            "replace it: no client would take it",
        )]
    })?;
    let key = together(wanted, chain, key, provider)?;
    let digest = Sha256::new()
        .chain_update(Sha256::digest(text.bytes()))
        .chain_update(Sha256::digest(key_text.bytes()));
    Ok(Shown {
        file: file.clone(),
        key: Arc::new(key),
        facts,
        digest: digest.finalize().into(),
        exposed: exposed(key_file, key_text.mode()),
    })
}

/// Kubernetes and compose mount secrets with wide modes, so this is no reason to refuse one; and a group of its own for
/// private keys is common.
fn exposed(file: &Path, mode: u32) -> Option<Problem> {
    (mode & 0o007 != 0).then(|| Problem {
        file: file.to_owned(),
        place: None,
        path: String::new(),
        what: format!("everybody on this machine may read the private key: its mode is {mode:04o}"),
        hint: Some(format!("chmod o= {}", file.display())),
    })
}

/// Reads the authorities of client certificates.
pub(super) fn authorities(
    wanted: &ClientCertificates,
    provider: &Arc<CryptoProvider>,
) -> Result<Authorities, Vec<Fault>> {
    let failed = |error: PemError| vec![Fault::from(error)];
    let text = PemText::read(&wanted.ca).map_err(failed)?;
    let roots = Arc::new(text.roots().map_err(failed)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let verifier = if wanted.required {
        verifier
    } else {
        verifier.allow_unauthenticated()
    };
    let verifier = verifier.build().map_err(|error| {
        let what = format!("cannot be used as authorities: {error}");
        let hint = "name the certificates of authorities, and only those";
        vec![Fault::lasting(&wanted.ca, what, hint)]
    })?;
    Ok(Authorities {
        verifier,
        digest: Sha256::digest(text.bytes()).into(),
    })
}

/// The key fits the first certificate, or it is said what is the matter.
fn together(
    wanted: &Certificate,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Vec<Fault>> {
    let (file, key_file) = (&wanted.certificate, &wanted.key);
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        let hint = "use an RSA, ECDSA (P-256, P-384, P-521) or Ed25519 key";
        vec![Fault::lasting(
            key_file,
            "the private key cannot be used",
            hint,
        )]
    })?;
    let certified = CertifiedKey::new(chain, key);
    let Err(error) = certified.keys_match() else {
        return Ok(certified);
    };
    if !matches!(error, rustls::Error::InconsistentKeys(_)) {
        let what = format!("its first certificate cannot be used: {error}");
        let hint = "replace it: no client would take it";
        return Err(vec![Fault::lasting(file, what, hint)]);
    }
    let of_another = certified.cert.iter().skip(1).any(|other| {
        let key = Arc::clone(&certified.key);
        CertifiedKey::new(vec![other.clone()], key)
            .keys_match()
            .is_ok()
    });
    if of_another {
        let what = "the private key fits a certificate that is not the first in its file";
        let hint = "put the server's own certificate first, and behind it those that lead to its authority";
        return Err(vec![Fault::passing(file, what, hint)]);
    }
    Err(vec![Fault::passing(
        key_file,
        format!(
            "the private key does not fit the certificate {}",
            file.display()
        ),
        "name the key that the certificate was made for",
    )])
}
