//! Certificates, private keys and authorities from PEM files. A file that cannot be read whole and understood whole is
//! an error that names it; nothing is ever skipped. Not for: what they are used for, and following changes of the files.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

/// More than the bundle of every public authority, bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why a PEM file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", file.display())]
pub struct PemError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub what: PemProblem,
}

/// What is wrong with a PEM file.
#[derive(Debug, thiserror::Error)]
pub enum PemProblem {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[source] io::Error),
    /// It is no such file.
    #[error("larger than {} MiB: not a file of certificates", FILE_BYTES_MAX / (1024 * 1024))]
    TooLarge,
    /// A section is broken.
    #[error("not PEM: {0}")]
    Malformed(&'static str),
    /// Nothing in it is a certificate.
    #[error("no certificate in it")]
    NoCertificate,
    /// Nothing in it is a private key.
    #[error("no private key in it")]
    NoKey,
    /// There is no telling which one is meant.
    #[error("more than one private key in it")]
    ManyKeys,
    /// Its key needs a pass phrase.
    #[error("its private key is encrypted")]
    EncryptedKey,
    /// A certificate cannot stand for an authority.
    #[error("certificate {number} of it cannot be an authority: {why}")]
    NoAuthority {
        /// Which one, from 1.
        number: usize,
        /// Why not.
        why: rustls::Error,
    },
}

impl PemError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self.what {
            PemProblem::Unreadable(_) => {
                "name a file that is there and that keygate's user may read"
            }
            PemProblem::TooLarge | PemProblem::Malformed(_) => {
                "it has to be text in PEM: -----BEGIN CERTIFICATE-----, base64, -----END CERTIFICATE-----"
            }
            PemProblem::NoCertificate => "name the file that has -----BEGIN CERTIFICATE----- in it",
            PemProblem::NoKey | PemProblem::ManyKeys => {
                "name the file that has the one -----BEGIN PRIVATE KEY----- in it"
            }
            PemProblem::EncryptedKey => {
                "nobody can be asked for its pass phrase: decrypt it with `openssl pkey -in FILE -out FILE`, \
                 and let only keygate's user read it"
            }
            PemProblem::NoAuthority { .. } => {
                "name the certificates of authorities, and only those"
            }
        }
    }
}

/// The certificates of a file, in its order; at least one.
///
/// # Errors
/// When the file cannot be read, is broken, or has none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let fail = |what| failed(file, what);
    let text = read(file)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| fail(malformed(&error)))?;
    if certificates.is_empty() {
        return Err(fail(PemProblem::NoCertificate));
    }
    Ok(certificates)
}

/// The one private key of a file, which may hold certificates too.
///
/// # Errors
/// When the file cannot be read, is broken, has no key or several, or an encrypted one.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let fail = |what| failed(file, what);
    let text = read(file)?;
    if is_encrypted(&text) {
        return Err(fail(PemProblem::EncryptedKey));
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(&text);
    let key = keys.next().ok_or_else(|| fail(PemProblem::NoKey))?;
    if keys.next().is_some() {
        return Err(fail(PemProblem::ManyKeys));
    }
    key.map_err(|error| fail(malformed(&error)))
}

/// The authorities of a file; at least one.
///
/// # Errors
/// When the file cannot be read, is broken, or has something that cannot be an authority.
pub fn roots(file: &Path) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates(file)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|why| {
            let number = index + 1;
            failed(file, PemProblem::NoAuthority { number, why })
        })?;
    }
    Ok(roots)
}

/// Reads a file in one go. It may hold a private key, so what was read is wiped.
fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let unreadable = |error| failed(file, PemProblem::Unreadable(error));
    let opened = File::open(file).map_err(unreadable)?;
    let mut text = Zeroizing::new(Vec::with_capacity(16 * 1024));
    let mut limited = opened.take(FILE_BYTES_MAX + 1);
    limited.read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(file, PemProblem::TooLarge));
    }
    Ok(text)
}

/// By the section's name, or in the old form by what stands in it.
fn is_encrypted(text: &[u8]) -> bool {
    let marks: [&[u8]; 2] = [
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
        b"Proc-Type: 4,ENCRYPTED",
    ];
    marks
        .iter()
        .any(|mark| memchr::memmem::find(text, mark).is_some())
}

fn failed(file: &Path, what: PemProblem) -> PemError {
    PemError {
        file: file.to_owned(),
        what,
    }
}

/// Never the text itself, which may be a key's.
const fn malformed(error: &pem::Error) -> PemProblem {
    PemProblem::Malformed(match error {
        pem::Error::MissingSectionEnd { .. } => "a section does not end",
        pem::Error::IllegalSectionStart { .. } => "a section begins badly",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "a section cannot be read",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn write(file: &Path, text: &str) {
        use std::io::Write as _;
        File::create(file)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn authority() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["app.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn certificates_and_key_may_share_a_file() {
        let (certificate, key) = authority();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("both.pem");
        write(
            &file,
            &format!("text before\n{certificate}\n{key}{certificate}"),
        );
        assert_eq!(certificates(&file).unwrap().len(), 2);
        assert_eq!(roots(&file).unwrap().len(), 2);
        private_key(&file).unwrap();
    }

    #[test]
    fn what_cannot_be_used_is_an_error_that_names_the_file_and_never_less_than_asked_for() {
        let (certificate, key) = authority();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.pem");
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let old = key.replacen("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n\n", 1);
        let torn = &certificate[..certificate.len() / 2];
        let not_one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let not_base64 = certificate.replacen("MII", "M!I", 1);
        for (text, certificates_say, key_says) in [
            ("", "no certificate in it", "no private key in it"),
            ("garbage", "no certificate in it", "no private key in it"),
            (
                torn,
                "not PEM: a section does not end",
                "not PEM: a section does not end",
            ),
            (&not_base64, "not PEM: a section is not base64", ""),
            (
                &format!("{certificate}{torn}"),
                "not PEM: a section does not end",
                "",
            ),
            (
                &format!("{certificate}{not_one}"),
                "certificate 2 of it cannot be an authority",
                "",
            ),
            (
                &format!("{certificate}{key}{key}"),
                "",
                "more than one private key in it",
            ),
            (
                &format!("{certificate}{encrypted}"),
                "",
                "its private key is encrypted",
            ),
            (
                &format!("{certificate}{old}"),
                "not PEM: a section is not base64",
                "its private key is encrypted",
            ),
        ] {
            write(&file, text);
            let shown = file.display().to_string();
            let roots = roots(&file).err().map(|error| error.to_string());
            let roots = roots.unwrap_or_default();
            assert_eq!(
                roots.is_empty(),
                certificates_say.is_empty(),
                "{text:?}: {roots}"
            );
            if !certificates_say.is_empty() {
                assert!(
                    roots.starts_with(&format!("{shown}: {certificates_say}")),
                    "{roots}"
                );
            }
            let key = private_key(&file).expect_err("no row has a key that can be used");
            assert!(
                key.to_string().starts_with(&format!("{shown}: {key_says}")),
                "{key}"
            );
            assert!(!key.hint().is_empty());
        }
        fs::remove_file(&file).unwrap();
        let missing = roots(&file).unwrap_err();
        assert!(
            missing
                .to_string()
                .ends_with("No such file or directory (os error 2)")
        );
    }
}
