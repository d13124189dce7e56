//! What is agreed in a handshake: the certificate, the version, the session, the protocol; and who gets no further.

use std::io::Read as _;
use std::io::Write as _;
use std::net::Shutdown;
use std::net::TcpStream;
use std::time::Duration;

use rcgen::KeyPair;
use rustls::ProtocolVersion;
use rustls::version::TLS12;
use rustls::version::TLS13;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::message::Ended;
use crate::harness::requests::get;
use crate::harness::setup::Setup;
use crate::harness::tls::AUTHORITY;
use crate::harness::tls::Dialer;
use crate::harness::tls::STRANGER;
use crate::harness::tls::Wish;
use crate::harness::tls::connect;
use crate::harness::upstream::Upstream;
use crate::tls::failed_handshakes;
use crate::tls::put;
use crate::tls::secured;

#[test]
fn the_name_chooses_among_three_certificates() {
    let upstream = Upstream::echo();
    let first = AUTHORITY.server(&["first.example", "also-first.example"]);
    let wild = AUTHORITY.server(&["*.wild.example"]);
    let exact = AUTHORITY.server(&["exact.wild.example"]);
    let pair = |name| format!("{{certificate: {name}cert.pem, key: {name}key.pem}}");
    let all = ["a", "b", "c"].map(pair).join(", ");
    let setup = Setup::of(&upstream).set("tls", format!("{{certificates: [{all}]}}"));
    let setup = put(put(put(setup, "a", &first), "b", &wild), "c", &exact);
    let keygate = setup.spawn();
    let dialer = Dialer::trusting(&AUTHORITY).lenient();
    for (name, expected) in [
        (None, &first),
        (Some("first.example"), &first),
        (Some("also-first.example"), &first),
        (Some("FIRST.example"), &first),
        (Some("a.wild.example"), &wild),
        (Some("A.Wild.Example"), &wild),
        (Some("exact.wild.example"), &exact),
        (Some("wild.example"), &first),
        (Some("a.b.wild.example"), &first),
        (Some("somebody.else"), &first),
    ] {
        let mut secured = dialer.connect(keygate.address(), name);
        assert!(secured.peer == expected.der, "{name:?}");
        let answer = secured.client.ask(get("/named"));
        assert_eq!(answer.status, 200, "{name:?}: {answer:?}");
    }
    // A strict client is content with the right ones, and with its address where it asks for no name.
    let strict = Dialer::trusting(&AUTHORITY);
    for name in [None, Some("also-first.example"), Some("x.wild.example")] {
        strict.connect(keygate.address(), name);
    }
    assert!(
        strict
            .try_connect(keygate.address(), Some("a.b.wild.example"))
            .is_err()
    );
}

#[test]
fn of_two_certificates_for_a_name_each_client_gets_the_one_that_it_can_check() {
    let upstream = Upstream::echo();
    let ecdsa = AUTHORITY.server(&["a.example"]);
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let rsa = AUTHORITY.issue_for(&Wish::server(&["a.example"]), &rsa);
    let setup = Setup::of(&upstream).set(
        "tls",
        "{certificates: [{certificate: acert.pem, key: akey.pem}, {certificate: bcert.pem, key: bkey.pem}]}",
    );
    let keygate = put(put(setup, "a", &rsa), "b", &ecdsa).spawn();
    let usual = Dialer::trusting(&AUTHORITY).connect(keygate.address(), Some("a.example"));
    assert!(usual.peer == rsa.der, "the first of them");
}

#[test]
fn both_versions_are_spoken_and_the_least_can_be_raised() {
    let upstream = Upstream::echo();
    let certificate = AUTHORITY.server(&["a.example"]);
    let keygate = secured(&upstream, &certificate).spawn();
    let dialer = Dialer::trusting(&AUTHORITY);
    for (version, expected) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let dialer = dialer.clone().only(version);
        let mut secured = dialer.connect(keygate.address(), Some("a.example"));
        assert_eq!(secured.version, expected);
        assert_eq!(secured.client.ask(get("/version")).status, 200);
    }
    let record = keygate.finish().transactions;
    let scheme = |record: &serde_json::Value| record["scheme"] == "https";
    assert!(record.len() == 2 && record.iter().all(scheme), "{record:?}");

    let strict = secured(&upstream, &certificate)
        .set(
            "tls",
            "{certificates: [{certificate: cert.pem, key: key.pem}], min_version: '1.3'}",
        )
        .spawn();
    let newest = dialer.connect(strict.address(), Some("a.example"));
    assert_eq!(newest.version, ProtocolVersion::TLSv1_3);
    let old = dialer.only(&TLS12);
    assert!(
        old.try_connect(strict.address(), Some("a.example"))
            .is_err()
    );
    eventually("the refusal is counted", SOON, || {
        failed_handshakes(&strict) == 1.0
    });
}

#[test]
fn a_session_is_resumed_in_both_versions() {
    let upstream = Upstream::echo();
    let keygate = secured(&upstream, &AUTHORITY.server(&["a.example"])).spawn();
    for version in [&TLS12, &TLS13] {
        let dialer = Dialer::trusting(&AUTHORITY).only(version).remembering();
        for round in 0..3 {
            let mut secured = dialer.connect(keygate.address(), Some("a.example"));
            assert_eq!(secured.resumed, round > 0, "{version:?}: {round}");
            assert_eq!(secured.client.ask(get("/again")).status, 200);
        }
        let another = Dialer::trusting(&AUTHORITY).only(version);
        let fresh = another.connect(keygate.address(), Some("a.example"));
        assert!(!fresh.resumed, "{version:?}: nobody else's session");
    }
}

#[test]
fn the_protocol_is_agreed_on() {
    let upstream = Upstream::echo();
    let keygate = secured(&upstream, &AUTHORITY.server(&["a.example"])).spawn();
    let dial = |alpn: &[&str]| {
        let dialer = Dialer::trusting(&AUTHORITY).alpn(alpn);
        dialer.try_connect(keygate.address(), Some("a.example"))
    };
    assert_eq!(dial(&[]).unwrap().alpn, None);
    assert_eq!(dial(&["http/1.1"]).unwrap().alpn.unwrap(), "http/1.1");
    assert_eq!(dial(&["h2"]).unwrap().alpn.unwrap(), "h2");
    let both = dial(&["http/1.1", "h2"]).unwrap();
    assert_eq!(both.alpn.unwrap(), "h2", "what keygate prefers");
    assert!(dial(&["spdy/3"]).is_err(), "nothing in common");
    let mut frames = dial(&["h2"]).unwrap().client;
    frames.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let first = frames.reader().exactly(9).unwrap();
    assert_eq!(first[3], 4, "SETTINGS: {first:?}");
    let mut plain = connect(
        keygate.address(),
        Some("a.example"),
        &AUTHORITY,
        &["http/1.1"],
        None,
    );
    assert_eq!(plain.client.ask(get("/plain")).status, 200);
}

#[test]
fn a_chain_leads_from_the_certificate_to_its_authority() {
    let upstream = Upstream::echo();
    let between = AUTHORITY.intermediate("between");
    let certificate = between.intermediate("further").server(&["deep.example"]);
    assert_eq!(certificate.chain.matches("BEGIN").count(), 3);
    let keygate = secured(&upstream, &certificate).spawn();
    let strict = Dialer::trusting(&AUTHORITY);
    let mut secured = strict.connect(keygate.address(), Some("deep.example"));
    assert_eq!(secured.client.ask(get("/deep")).status, 200);
    let stranger = Dialer::trusting(&STRANGER);
    assert!(
        stranger
            .try_connect(keygate.address(), Some("deep.example"))
            .is_err()
    );
}

#[test]
fn the_request_is_seen_as_https() {
    let upstream = Upstream::echo();
    let keygate = secured(&upstream, &AUTHORITY.server(&["a.example"])).spawn();
    let answer = Dialer::trusting(&AUTHORITY).ask(keygate.address(), get("/seen"));
    let fields = answer.json()["fields"].to_string();
    assert!(
        fields.contains(r#"["x-forwarded-proto","https"]"#),
        "{fields}"
    );
    assert_eq!(keygate.transaction_of("/seen")["scheme"], "https");
}

#[test]
fn whoever_does_not_speak_tls_is_sent_away() {
    let upstream = Upstream::echo();
    let keygate = secured(&upstream, &AUTHORITY.server(&["a.example"]))
        .set("log", "{level: debug}")
        .spawn();
    let mut client = TcpStream::connect(keygate.address()).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client.write_all(get("/in-clear").as_bytes()).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&21), "an alert of TLS: {answer:?}");
    eventually("it is counted", SOON, || failed_handshakes(&keygate) == 1.0);
    eventually("it is said, once", SOON, || {
        keygate.log().matches("TLS handshake").count() == 1
    });
    assert!(keygate.transactions().is_empty());
    assert_eq!(upstream.count(), 0);
}

#[test]
fn who_only_looks_whether_the_port_is_open_has_not_failed() {
    let upstream = Upstream::echo();
    let keygate = secured(&upstream, &AUTHORITY.server(&["a.example"])).spawn();
    for _ in 0..5 {
        let client = TcpStream::connect(keygate.address()).unwrap();
        client.shutdown(Shutdown::Both).unwrap();
    }
    let mut secured = Dialer::trusting(&AUTHORITY).connect(keygate.address(), None);
    assert_eq!(secured.client.ask(get("/after")).status, 200);
    eventually("they are gone", SOON, || {
        keygate.metrics().total("keygate_connections") == 1.0
    });
    assert_eq!(failed_handshakes(&keygate), 0.0);
}

#[test]
fn a_handshake_that_takes_too_long_is_ended() {
    let upstream = Upstream::echo();
    let keygate = secured(&upstream, &AUTHORITY.server(&["a.example"]))
        .set("timeouts", "{handshake: 300ms}")
        .spawn();
    let mut silent = TcpStream::connect(keygate.address()).unwrap();
    let mut slow = TcpStream::connect(keygate.address()).unwrap();
    slow.write_all(&[22, 3, 1]).unwrap();
    for (name, client) in [("silent", &mut silent), ("slow", &mut slow)] {
        client.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = Vec::new();
        let ended = client.read_to_end(&mut answer);
        assert!(
            matches!(ended, Ok(0))
                || ended.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock),
            "{name}: {answer:?}"
        );
    }
    eventually("both are counted", SOON, || {
        failed_handshakes(&keygate) == 2.0
    });
    // One that is done in time has its time for requests.
    let mut secured = Dialer::trusting(&AUTHORITY).connect(keygate.address(), None);
    assert!(secured.client.is_silent_for(Duration::from_millis(600)));
    let answer = secured.client.ask(get("/later"));
    assert_eq!((answer.status, answer.ended), (200, Ended::Length));
}

#[test]
fn a_header_of_the_proxy_protocol_comes_before_the_handshake() {
    let upstream = Upstream::echo();
    let keygate = secured(&upstream, &AUTHORITY.server(&["a.example"]))
        .set(
            "listen",
            "{address: '127.0.0.1:0', tls: true, proxy_protocol: true}",
        )
        .set("forwarded", "{trusted_proxies: [127.0.0.1]}")
        .spawn();
    let dialer = Dialer::trusting(&AUTHORITY);
    let balanced = dialer
        .clone()
        .after("PROXY TCP4 203.0.113.9 192.0.2.1 50000 443\r\n");
    let answer = balanced.ask(keygate.address(), get("/balanced"));
    assert_eq!(answer.status, 200);
    let record = keygate.transaction_of("/balanced");
    assert_eq!(
        (&record["client_ip"], &record["scheme"]),
        (&"203.0.113.9".into(), &"https".into())
    );
    assert!(dialer.try_ask(keygate.address(), get("/bare")).is_err());
    assert_eq!(failed_handshakes(&keygate), 0.0, "it is another error");
}
