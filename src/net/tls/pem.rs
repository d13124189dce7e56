//! Certificates, keys and authorities out of PEM files: read whole, checked against each other, with everything that
//! is wrong said in a way that helps. Nothing of a file's text is ever part of what is said: it may be a key.
//! Not for: when files are read and what follows from a bad one (`reload`).

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use sha2::Digest as _;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::config::Certificate;
use crate::config::ClientCertificates;
use crate::net::tls::facts;
use crate::net::tls::facts::Facts;
use crate::problem::Problem;

/// A longer file is a mistake: all authorities that browsers know take a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

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

/// Reads a certificate and its key, and checks that they belong together.
pub(super) fn certificate(
    wanted: &Certificate,
    provider: &CryptoProvider,
) -> Result<Shown, Vec<Fault>> {
    let mut digest = Sha256::new();
    let (file, key_file) = (&wanted.certificate, &wanted.key);
    let text = read(file, "certificate");
    let (key_text, exposed) = if key_file == file {
        (text.clone(), None)
    } else {
        (read(key_file, "private key"), None::<Problem>)
    };
    let exposed = exposed.or_else(|| {
        key_text
            .as_ref()
            .ok()
            .and_then(|text| text.exposed(key_file))
    });
    let chain = text.and_then(|text| {
        digest.update(&text.bytes);
        chain(file, &text.bytes)
    });
    let key = key_text.and_then(|text| {
        digest.update([0]);
        digest.update(&text.bytes);
        private_key(key_file, &text.bytes)
    });
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => {
            let mut faults: Vec<_> = [chain.err(), key.err()].into_iter().flatten().collect();
            faults.dedup(); // one file that cannot be read is said once
            return Err(faults);
        }
    };
    let facts = facts::of_server(&chain[0]).map_err(|error| {
        let what = format!("its first certificate cannot be understood: {error}");
        vec![Fault::lasting(
            file,
            what,
            "replace it: no client would take it",
        )]
    })?;
    let key = together(file, key_file, chain, key, provider).map_err(|fault| vec![fault])?;
    Ok(Shown {
        file: file.clone(),
        key: Arc::new(key),
        facts,
        digest: digest.finalize().into(),
        exposed,
    })
}

/// Reads the authorities of client certificates.
pub(super) fn authorities(
    wanted: &ClientCertificates,
    provider: &Arc<CryptoProvider>,
) -> Result<Authorities, Vec<Fault>> {
    let file = &wanted.ca;
    let text = read(file, "authorities").map_err(|fault| vec![fault])?;
    let certificates = chain(file, &text.bytes).map_err(|fault| vec![fault])?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates.into_iter().enumerate() {
        if let Err(error) = roots.add(certificate) {
            let what = format!("certificate {} is no authority: {error}", index + 1);
            let hint = "leave only certificates of authorities in the file";
            return Err(vec![Fault::lasting(file, what, hint)]);
        }
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let verifier = if wanted.required {
        verifier
    } else {
        verifier.allow_unauthenticated()
    };
    let verifier = verifier.build().map_err(|error| {
        let what = format!("cannot be used as authorities: {error}");
        vec![Fault::lasting(
            file,
            what,
            "name a file of certificates of authorities, PEM",
        )]
    })?;
    Ok(Authorities {
        verifier,
        digest: Sha256::digest(&text.bytes).into(),
    })
}

/// What is in a file.
#[derive(Clone)]
struct Text {
    bytes: Zeroizing<Vec<u8>>,
    mode: u32,
}

impl Text {
    /// Kubernetes and compose mount secrets with wide modes, so this is no reason to refuse one; and a group of its own
    /// for private keys is common.
    fn exposed(&self, file: &Path) -> Option<Problem> {
        (self.mode & 0o007 != 0).then(|| Problem {
            file: file.to_owned(),
            place: None,
            path: String::new(),
            what: format!(
                "everybody on this machine may read the private key: its mode is {:04o}",
                self.mode & 0o7777
            ),
            hint: Some(format!("chmod o= {}", file.display())),
        })
    }
}

/// Reads a file at one go. Never waits: a pipe under a configured name is refused.
fn read(file: &Path, what: &str) -> Result<Text, Fault> {
    let failed = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                "put it there, or correct its name in keygate.yaml: names begin at the folder of that file"
            }
            io::ErrorKind::PermissionDenied => {
                "let keygate's user read the file and search its folder"
            }
            _ => "name a file in PEM form",
        };
        Fault::passing(file, format!("cannot read the {what}: {error}"), hint)
    };
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2) fits an int");
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(file);
    let opened = opened.map_err(failed)?;
    let (bytes, mode) = whole(&opened).map_err(failed)?;
    if bytes.is_empty() {
        let hint = format!("write the {what} into it, in PEM form");
        return Err(Fault::passing(file, "the file is empty", &hint));
    }
    Ok(Text { bytes, mode })
}

fn whole(file: &File) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let kind = io::ErrorKind::InvalidInput;
        return Err(io::Error::new(kind, "it is not a regular file"));
    }
    let length = usize::try_from(metadata.len().min(FILE_BYTES_MAX)).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let kind = io::ErrorKind::FileTooLarge;
        return Err(io::Error::new(kind, "it is larger than 1 MiB"));
    }
    Ok((bytes, metadata.permissions().mode()))
}

/// All certificates of a file; at least one.
fn chain(file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let all = all.map_err(|error| broken(file, &error))?;
    if all.is_empty() {
        return Err(Fault::lasting(
            file,
            "there is no certificate in it",
            "it should hold a certificate in PEM form: -----BEGIN CERTIFICATE-----",
        ));
    }
    Ok(all)
}

fn private_key(file: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let encrypted = memchr::memmem::find(text, b"ENCRYPTED").is_some();
            if encrypted {
                let hint = "keygate asks nobody for a password: openssl pkey -in OLD -out NEW";
                Fault::lasting(file, "the private key in it is encrypted", hint)
            } else {
                let hint = "it should hold a private key in PEM form: -----BEGIN PRIVATE KEY-----";
                Fault::lasting(file, "there is no private key in it", hint)
            }
        }
        error => broken(file, &error),
    })
}

/// The text is no PEM. What it is stays unsaid.
fn broken(file: &Path, error: &pem::Error) -> Fault {
    let hint = "copy it again, whole, in PEM form";
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            Fault::passing(file, "it ends in the middle of a section", hint)
        }
        pem::Error::Base64Decode(_) => Fault::lasting(file, "a section of it is no base64", hint),
        _ => Fault::lasting(file, "it is no PEM", hint),
    }
}

/// The key fits the first certificate, or it is said what is the matter.
fn together(
    file: &Path,
    key_file: &Path,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Fault> {
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        let hint = "use an RSA, ECDSA (P-256, P-384, P-521) or Ed25519 key";
        Fault::lasting(key_file, "the private key cannot be used", hint)
    })?;
    let certified = CertifiedKey::new(chain, key);
    let Err(error) = certified.keys_match() else {
        return Ok(certified);
    };
    if !matches!(error, rustls::Error::InconsistentKeys(_)) {
        let what = format!("its first certificate cannot be used: {error}");
        let hint = "replace it: no client would take it";
        return Err(Fault::lasting(file, what, hint));
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
        return Err(Fault::passing(file, what, hint));
    }
    Err(Fault::passing(
        key_file,
        format!(
            "the private key does not fit the certificate {}",
            file.display()
        ),
        "name the key that the certificate was made for",
    ))
}
