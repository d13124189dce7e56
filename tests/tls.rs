//! Covers "HTTPS towards clients": the certificate for the name that is asked for, both versions, sessions, client
//! certificates, what is refused and how, and that certificates are exchanged under load without a failed request.

mod admin;
mod clients;
mod cut;
mod handshake;
mod reload;
mod start;
mod try_it;

use std::path::Path;

use crate::harness::keygate::Keygate;
use crate::harness::setup::Setup;
use crate::harness::setup::write_by_rename;
use crate::harness::setup::write_in_place;
use crate::harness::tls::Issued;
use crate::harness::upstream::Upstream;

/// One certificate, in `cert.pem` and `key.pem`.
const ONE: &str = "{certificates: [{certificate: cert.pem, key: key.pem}]}";

/// In front of `upstream`, over TLS with this certificate.
fn secured(upstream: &Upstream, certificate: &Issued) -> Setup {
    put(Setup::of(upstream).set("tls", ONE), "", certificate)
}

/// With a certificate's files: `cert.pem` and `key.pem` behind `prefix`.
fn put(setup: Setup, prefix: &str, certificate: &Issued) -> Setup {
    let setup = file(setup, &format!("{prefix}cert.pem"), &certificate.chain);
    file(setup, &format!("{prefix}key.pem"), &certificate.key)
}

/// With a file in its folder.
fn file(setup: Setup, name: &str, text: &str) -> Setup {
    write_in_place(&setup.folder.path().join(name), text);
    setup
}

/// Exchanges the files one after the other, each in one step.
fn exchange(folder: &Path, certificate: &Issued) {
    write_by_rename(&folder.join("cert.pem"), &certificate.chain);
    write_by_rename(&folder.join("key.pem"), &certificate.key);
}

/// How many handshakes have failed.
#[track_caller]
fn failed_handshakes(keygate: &Keygate) -> f64 {
    keygate
        .metrics()
        .sum("keygate_protocol_errors_total", |labels| {
            labels.contains("\"tls_handshake\"")
        })
}
