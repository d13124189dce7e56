//! The certificates that clients are shown, read as at the start. Not for: reading them, which is `net::tls`.

use crate::cli::doctor::finding::Finding;
use crate::cli::doctor::finding::Level;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::net::tls;
use crate::net::tls::CertificateStatus;
use crate::net::tls::Wanted;

const ABOUT: &str = "certificates";

pub(super) fn look(config: &Config, clock: &Clock) -> Vec<Finding> {
    let wanted = Wanted::of(config);
    if wanted.files().next().is_none() {
        return Vec::new();
    }
    match tls::load(wanted, clock) {
        Err(problems) => problems
            .iter()
            .map(|problem| Finding::of(ABOUT, Level::Fail, problem))
            .collect(),
        Ok(loaded) => {
            let certificates = loaded.certificates();
            let now = clock.wall();
            let warnings = loaded.warnings();
            let mut findings: Vec<_> = warnings
                .iter()
                .map(|warning| {
                    let of = certificates
                        .iter()
                        .find(|certificate| certificate.file == warning.file);
                    let useless = of.is_some_and(|certificate| !is_in_force(certificate, now));
                    let level = if useless { Level::Fail } else { Level::Warn };
                    Finding::of(ABOUT, level, warning)
                })
                .collect();
            if findings.is_empty() {
                findings.extend(certificates.iter().map(good));
            }
            findings
        }
    }
}

fn is_in_force(certificate: &CertificateStatus, now: Timestamp) -> bool {
    (certificate.not_before..=certificate.not_after).contains(&now)
}

fn good(certificate: &CertificateStatus) -> Finding {
    let (file, until) = (certificate.file.display(), certificate.not_after.to_short());
    Finding::ok(ABOUT, format!("{file}, until {until}"))
}
