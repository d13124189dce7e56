//! Which certificate a client is shown: the one for the name that it asks for, else the first. Names are exact or have
//! one wildcard label in front, as RFC 6125 §6.4.3 has them, and compare without case.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;

use crate::net::tls::material::Shown;

/// The certificates of a listener by their names.
#[derive(Debug)]
pub(super) struct Choice {
    first: Arc<CertifiedKey>,
    /// For `a.example` and `*.example`, those that name it, in the order of the configuration.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Choice {
    /// Among these; none of none.
    pub(super) fn of(certificates: &[Arc<Shown>]) -> Option<Self> {
        let first = Arc::clone(&certificates.first()?.key);
        let mut by_name: HashMap<String, Vec<_>> = HashMap::new();
        for certificate in certificates {
            for name in &certificate.facts.names {
                let same = by_name.entry(name.clone()).or_default();
                same.push(Arc::clone(&certificate.key));
            }
        }
        Some(Self { first, by_name })
    }

    /// Those for this name; the first alone where there is none.
    fn named(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let first = std::slice::from_ref(&self.first);
        let Some(name) = name else {
            return first;
        };
        let name = name.to_ascii_lowercase();
        if let Some(exact) = self.by_name.get(&name) {
            return exact;
        }
        let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        wildcard
            .and_then(|wildcard| self.by_name.get(&wildcard))
            .map_or(first, Vec::as_slice)
    }
}

impl ResolvesServerCert for Choice {
    /// Of several for one name, the first whose key the client can check: an ECDSA and an RSA one may stand side by
    /// side.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = self.named(hello.server_name());
        let usable = |known: &&Arc<CertifiedKey>| {
            known.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let chosen = named.iter().find(usable);
        chosen.or_else(|| named.first()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rcgen::CertificateParams;
    use rcgen::KeyPair;
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::PrivateKeyDer;

    use super::*;
    use crate::net::tls::facts;

    fn shown(names: &[&str]) -> Arc<Shown> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let facts = facts::of_server(&certificate).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = CertifiedKey::from_der(vec![certificate], key, &default_provider()).unwrap();
        Arc::new(Shown {
            file: PathBuf::new(),
            key: Arc::new(key),
            facts,
            digest: [0; 32],
            exposed: None,
        })
    }

    #[test]
    fn the_name_chooses_and_the_first_is_for_all_others() {
        let certificates = [
            shown(&["first.example"]),
            shown(&["*.wild.example", "Upper.Example"]),
            shown(&["exact.wild.example", "first.example"]),
            shown(&[]),
        ];
        let choice = Choice::of(&certificates).unwrap();
        for (name, expected) in [
            (None, &[0][..]),
            (Some("unknown.example"), &[0]),
            (Some("first.example"), &[0, 2]),
            (Some("a.wild.example"), &[1]),
            (Some("A.WILD.EXAMPLE"), &[1]),
            (Some("exact.wild.example"), &[2]),
            (Some("upper.example"), &[1]),
            (Some("wild.example"), &[0]),
            (Some("a.b.wild.example"), &[0]),
            (Some("*.wild.example"), &[1]),
            (Some("localhost"), &[0]),
        ] {
            let found = choice.named(name).iter().map(|found| {
                let same = |known: &Arc<Shown>| Arc::ptr_eq(&known.key, found);
                certificates.iter().position(same).unwrap()
            });
            assert_eq!(found.collect::<Vec<_>>(), expected, "{name:?}");
        }
        assert!(Choice::of(&[]).is_none());
    }
}
