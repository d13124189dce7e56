//! Certificates of clients: who must show one, whose is taken, and what the record has of it.

use rustls::version::TLS12;
use rustls::version::TLS13;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::requests::get;
use crate::harness::setup::write_by_rename;
use crate::harness::tls::AUTHORITY;
use crate::harness::tls::Authority;
use crate::harness::tls::Dialer;
use crate::harness::tls::Issued;
use crate::harness::tls::STRANGER;
use crate::harness::tls::Wish;
use crate::harness::upstream::Upstream;
use crate::tls::failed_handshakes;
use crate::tls::file;
use crate::tls::secured;

/// With certificates of clients that this authority has signed.
fn asking(upstream: &Upstream, client: &str, authority: &Authority) -> Keygate {
    let setup = secured(upstream, &AUTHORITY.server(&["a.example"])).set(
        "tls",
        format!(
            "{{certificates: [{{certificate: cert.pem, key: key.pem}}], client_ca: ca.pem, client: {client}}}"
        ),
    );
    file(setup, "ca.pem", &authority.pem()).spawn()
}

#[test]
fn a_certificate_is_required_or_optional_and_a_wrong_one_never_passes() {
    let upstream = Upstream::echo();
    let clients = Authority::new("clients");
    let good = clients.client("billing");
    let deep = clients.intermediate("between").client("deep");
    let wrong = STRANGER.client("billing");
    let expired = clients.issue(&Wish::client("billing").years(2020, 2021));
    let early = clients.issue(&Wish::client("billing").years(2150, 2160));
    let server = clients.server(&["a.example"]);
    for version in [&TLS12, &TLS13] {
        let (required, optional) = (
            asking(&upstream, "required", &clients),
            asking(&upstream, "optional", &clients),
        );
        let rows: [(&str, Option<&Issued>, bool, bool); 7] = [
            ("good", Some(&good), true, true),
            ("none", None, false, true),
            (
                "without what leads to the authority",
                Some(&deep),
                false,
                false,
            ),
            ("of a stranger", Some(&wrong), false, false),
            ("expired", Some(&expired), false, false),
            ("not valid yet", Some(&early), false, false),
            ("of a server", Some(&server), false, false),
        ];
        let mut failed = (0.0, 0.0);
        for (name, shown, passes_required, passes_optional) in rows {
            let mut dialer = Dialer::trusting(&AUTHORITY).only(version);
            if let Some(shown) = shown {
                dialer = dialer.showing(shown);
            }
            for (keygate, passes, failed) in [
                (&required, passes_required, &mut failed.0),
                (&optional, passes_optional, &mut failed.1),
            ] {
                let answer = dialer.try_ask(keygate.address(), get("/asked"));
                let passed = answer.as_ref().is_ok_and(|answer| answer.status == 200);
                assert_eq!(passed, passes, "{version:?}: {name}: {answer:?}");
                if !passes {
                    *failed += 1.0;
                }
                eventually(&format!("{version:?}: {name}: counted"), SOON, || {
                    failed_handshakes(keygate) == *failed
                });
            }
        }
    }
}

#[test]
fn the_record_has_the_subject_of_who_has_shown_one() {
    let upstream = Upstream::echo();
    let clients = Authority::new("clients");
    let keygate = asking(&upstream, "optional", &clients);
    let dialer = Dialer::trusting(&AUTHORITY);
    let known = dialer.clone().showing(&clients.client("billing, \"EU\""));
    let mut secured = known.connect(keygate.address(), None);
    for path in ["/first", "/second"] {
        assert_eq!(secured.client.ask(get(path)).status, 200);
        assert_eq!(
            keygate.transaction_of(path)["client_subject"],
            "CN=billing\\, \\\"EU\\\",O=tests"
        );
    }
    dialer.ask(keygate.address(), get("/nobody"));
    assert!(keygate.transaction_of("/nobody")["client_subject"].is_null());
    let long = "x".repeat(3_000);
    let long = dialer.clone().showing(&clients.client(&long));
    long.ask(keygate.address(), get("/long"));
    let record = keygate.transaction_of("/long");
    assert_eq!(
        record["client_subject"].as_str().map(str::len),
        Some(2 * 1024)
    );
    assert_eq!(record["truncated"], true);
    keygate.check_every_line(&[]);
}

#[test]
fn a_resumed_session_has_its_subject() {
    let upstream = Upstream::echo();
    let clients = Authority::new("clients");
    let keygate = asking(&upstream, "required", &clients);
    for (version, path) in [(&TLS12, "/old"), (&TLS13, "/new")] {
        let dialer = Dialer::trusting(&AUTHORITY)
            .only(version)
            .showing(&clients.client("billing"))
            .remembering();
        dialer.ask(keygate.address(), get("/before"));
        let mut again = dialer.connect(keygate.address(), None);
        assert!(again.resumed, "{version:?}");
        assert_eq!(again.client.ask(get(path)).status, 200);
        assert_eq!(
            keygate.transaction_of(path)["client_subject"],
            "CN=billing,O=tests"
        );
    }
}

#[test]
fn other_authorities_count_at_once_and_no_session_leads_past_them() {
    let upstream = Upstream::echo();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let keygate = asking(&upstream, "required", &old);
    let remembering = |authority: &Authority, version| {
        Dialer::trusting(&AUTHORITY)
            .only(version)
            .showing(&authority.client("somebody"))
            .remembering()
    };
    let before: Vec<_> = [&TLS12, &TLS13]
        .map(|version| remembering(&old, version))
        .into();
    for dialer in &before {
        dialer.ask(keygate.address(), get("/"));
        assert!(dialer.connect(keygate.address(), None).resumed);
    }
    let mut open = before[0].connect(keygate.address(), None);
    write_by_rename(&keygate.folder().join("ca.pem"), new.pem());
    let newcomer = Dialer::trusting(&AUTHORITY).showing(&new.client("somebody"));
    eventually("the new authority counts", SOON, || {
        newcomer.try_ask(keygate.address(), get("/")).is_ok()
    });
    for dialer in &before {
        let answer = dialer.try_ask(keygate.address(), get("/past"));
        assert!(answer.is_err(), "{answer:?}");
    }
    let answer = open.client.ask(get("/open"));
    assert_eq!(answer.status, 200, "what is open goes on");
    // What is no authority leaves the last good ones in force.
    write_by_rename(&keygate.folder().join("ca.pem"), "no certificate");
    eventually("it is told", SOON, || {
        keygate.telemetry("/readyz").text().contains("certificates")
    });
    assert!(newcomer.try_ask(keygate.address(), get("/")).is_ok());
    let nobody = Dialer::trusting(&AUTHORITY).try_ask(keygate.address(), get("/"));
    assert!(nobody.is_err(), "never no check: {nobody:?}");
}
