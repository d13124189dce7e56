//! The start: what is wrong with certificates is told whole, before anything listens; dates alone stop nothing.

use std::process::Command;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::keygate::binary;
use crate::harness::keygate::command;
use crate::harness::requests::get;
use crate::harness::setup::Setup;
use crate::harness::tls::AUTHORITY;
use crate::harness::tls::Dialer;
use crate::harness::tls::Wish;
use crate::harness::upstream::Upstream;
use crate::tls::ONE;
use crate::tls::file;
use crate::tls::secured;

#[test]
fn files_that_cannot_be_used_stop_the_start_and_the_check_says_the_same() {
    let upstream = Upstream::echo();
    let good = AUTHORITY.server(&["a.example"]);
    let other = AUTHORITY.server(&["b.example"]);
    let deep = AUTHORITY.intermediate("between");
    let leaf = deep.server(&["c.example"]);
    let reversed = {
        let (leaf_text, rest) = leaf.chain.split_at(leaf.chain.rfind("-----BEGIN").unwrap());
        format!("{rest}{leaf_text}")
    };
    let cut = &good.chain[..good.chain.len() / 2];
    let no_base64 = good.chain.replace('M', "!");
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
    let no_certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    for (name, certificate, key, said) in [
        (
            "no certificate",
            None,
            Some(&*good.key),
            &["cert.pem: No such file"][..],
        ),
        (
            "no key",
            Some(&*good.chain),
            None,
            &["key.pem: No such file"],
        ),
        (
            "neither",
            None,
            None,
            &[
                "cert.pem: No such file",
                "key.pem: No such file",
                "2 problems",
            ],
        ),
        (
            "empty",
            Some(""),
            Some(&*good.key),
            &["cert.pem: the file is empty"],
        ),
        (
            "garbage",
            Some("garbage"),
            Some("garbage"),
            &[
                "cert.pem: no certificate in it",
                "key.pem: no private key in it",
            ],
        ),
        (
            "cut",
            Some(cut),
            Some(&*good.key),
            &["cert.pem: not PEM: a section does not end"],
        ),
        (
            "no base64",
            Some(&*no_base64),
            Some(&*good.key),
            &["cert.pem: not PEM: a section is not base64"],
        ),
        (
            "no X.509",
            Some(no_certificate),
            Some(&*good.key),
            &["cert.pem: its first certificate cannot be understood"],
        ),
        (
            "a key of another certificate",
            Some(&*good.chain),
            Some(&*other.key),
            &[
                "key.pem: the private key does not fit the certificate",
                "cert.pem",
            ],
        ),
        (
            "the wrong order",
            Some(&*reversed),
            Some(&*leaf.key),
            &["cert.pem: the private key fits a certificate that is not the first"],
        ),
        (
            "exchanged",
            Some(&*good.key),
            Some(&*good.chain),
            &[
                "cert.pem: no certificate in it",
                "key.pem: no private key in it",
            ],
        ),
        (
            "an encrypted key",
            Some(&*good.chain),
            Some(encrypted),
            &["key.pem: its private key is encrypted", "openssl pkey"],
        ),
        (
            "no key in its shape",
            Some(&*good.chain),
            Some(no_key),
            &["key.pem: the private key cannot be used"],
        ),
    ] {
        let mut setup = Setup::of(&upstream).set("tls", ONE);
        for (file_name, text) in [("cert.pem", certificate), ("key.pem", key)] {
            if let Some(text) = text {
                setup = file(setup, file_name, text);
            }
        }
        let config = setup.write();
        let mut keygate = Keygate::launch(setup);
        assert_eq!(keygate.wait().code(), Some(2), "{name}");
        let check = command(binary())
            .arg("check")
            .arg(&config)
            .output()
            .unwrap();
        assert_eq!(check.status.code(), Some(2), "{name}");
        let check = String::from_utf8(check.stderr).unwrap();
        let log = keygate.log();
        for text in said {
            assert!(check.contains(text), "{name}: check says {text:?}: {check}");
            assert!(
                log.contains(text) || text.ends_with("problems"),
                "{name}: run says {text:?}: {log}"
            );
        }
        assert!(log.contains("hint: "), "{name}: {log}");
        assert!(!log.contains("listening on"), "{name}: {log}");
        // Not a line of a key is ever said.
        let secret = good.key.lines().nth(1).unwrap();
        assert!(!log.contains(secret) && !check.contains(secret), "{name}");
    }
}

#[test]
fn authorities_that_cannot_be_used_stop_the_start() {
    let upstream = Upstream::echo();
    let good = AUTHORITY.server(&["a.example"]);
    for (name, text, said) in [
        ("none", None, "ca.pem: No such file"),
        ("empty", Some(""), "ca.pem: the file is empty"),
        ("garbage", Some("garbage"), "ca.pem: no certificate in it"),
        ("a key", Some(&*good.key), "ca.pem: no certificate in it"),
    ] {
        let mut setup = secured(&upstream, &good).set(
            "tls",
            "{certificates: [{certificate: cert.pem, key: key.pem}], client_ca: ca.pem}",
        );
        if let Some(text) = text {
            setup = file(setup, "ca.pem", text);
        }
        let mut keygate = Keygate::launch(setup);
        assert_eq!(keygate.wait().code(), Some(2), "{name}");
        assert!(keygate.log().contains(said), "{name}: {}", keygate.log());
    }
}

#[test]
fn an_expired_certificate_is_served_and_told() {
    let upstream = Upstream::echo();
    for (wish, said, end) in [
        (
            Wish::server(&["a.example"]).years(2020, 2021),
            "the certificate expired on 2021-01-01T00:00:00Z",
            1_609_459_200.0,
        ),
        (
            Wish::server(&["a.example"]).years(2150, 2160),
            "the certificate is not valid before 2150-01-01T00:00:00Z",
            5_995_814_400.0,
        ),
    ] {
        let certificate = AUTHORITY.issue(&wish);
        let keygate = secured(&upstream, &certificate).spawn();
        let strict = Dialer::trusting(&AUTHORITY);
        assert!(strict.try_connect(keygate.address(), None).is_err());
        let answer = strict.lenient().ask(keygate.address(), get("/"));
        assert_eq!(answer.status, 200, "{said}");
        let log = keygate.log();
        assert!(log.contains("WARN") && log.contains(said), "{log}");
        let metrics = keygate.metrics();
        let name = "keygate_certificate_not_after_seconds";
        assert_eq!(metrics.total(name), end);
        let path = keygate.folder().join("cert.pem").display().to_string();
        assert_eq!(metrics.labels(name), [format!("file=\"{path}\"")]);
        let ready = keygate.telemetry("/readyz");
        assert_eq!(ready.status, 200, "{ready:?}");
        assert!(ready.text().contains(said), "{ready:?}");
    }
}

#[test]
fn certificate_and_key_may_be_one_file() {
    let upstream = Upstream::echo();
    let certificate = AUTHORITY.server(&["a.example"]);
    let setup = Setup::of(&upstream).set(
        "tls",
        "{certificates: [{certificate: both.pem, key: both.pem}]}",
    );
    let keygate = file(setup, "both.pem", &certificate.both()).spawn();
    let mut secured = Dialer::trusting(&AUTHORITY).connect(keygate.address(), None);
    assert_eq!(secured.client.ask(get("/")).status, 200);
    let listening = format!("listening on https://{}", keygate.address());
    assert!(keygate.log().contains(&listening), "{}", keygate.log());
}

#[test]
fn the_check_warns_of_what_should_be_better() {
    let upstream = Upstream::echo();
    for (wish, said) in [
        (Wish::server(&["a.example"]), None),
        (
            Wish::server(&["a.example"]).days_left(29),
            Some("the certificate expires on "),
        ),
        (Wish::server(&["a.example"]).days_left(31), None),
        (
            Wish::server(&["a.example"]).years(2020, 2021),
            Some("the certificate expired on 2021-01-01"),
        ),
        (
            Wish::server(&["a.example"]).years(2150, 2160),
            Some("the certificate is not valid before 2150"),
        ),
    ] {
        let setup = secured(&upstream, &AUTHORITY.issue(&wish));
        let key = setup.folder.path().join("key.pem");
        assert!(
            Command::new("chmod")
                .arg("600")
                .arg(&key)
                .status()
                .unwrap()
                .success()
        );
        let config = setup.write();
        let check = || {
            let output = command(binary())
                .arg("check")
                .arg(&config)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
        };
        let text = check();
        assert!(
            text.contains("cert.pem") && text.contains("key.pem"),
            "{text}"
        );
        assert_eq!(text.contains("the certificate"), said.is_some(), "{text}");
        assert!(
            said.is_none_or(|said| text.contains(said)),
            "{said:?}: {text}"
        );
        assert!(!text.contains("may read the private key"), "{text}");
        assert!(
            Command::new("chmod")
                .arg("644")
                .arg(&key)
                .status()
                .unwrap()
                .success()
        );
        let text = check();
        assert!(
            text.contains("everybody on this machine may read the private key"),
            "{text}"
        );
    }
}

#[test]
fn certificates_that_no_listener_uses_are_not_read() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("tls", ONE)
        .set("listen", "{address: '127.0.0.1:0', tls: false}")
        .spawn();
    assert_eq!(keygate.ask(get("/plain")).status, 200);
    assert!(keygate.log().contains("no listener speaks TLS"));
}

#[test]
fn one_listener_may_speak_tls_and_another_not() {
    let upstream = Upstream::echo();
    let keygate = secured(&upstream, &AUTHORITY.server(&["a.example"]))
        .set(
            "listen",
            "[{address: '127.0.0.1:0', tls: true}, {address: '127.0.0.2:0', tls: false}]",
        )
        .spawn();
    let [over_tls, plain] = keygate.addresses[..] else {
        panic!("{:?}", keygate.addresses)
    };
    let answer = Dialer::trusting(&AUTHORITY).ask(over_tls, get("/tls"));
    assert_eq!(answer.status, 200);
    assert_eq!(
        crate::harness::client::ask(plain, get("/plain")).status,
        200
    );
    eventually("both are recorded", SOON, || {
        keygate.transactions().len() == 2
    });
    assert_eq!(keygate.transaction_of("/tls")["scheme"], "https");
    assert_eq!(keygate.transaction_of("/plain")["scheme"], "http");
}
