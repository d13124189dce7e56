//! Covers "https upstreams": the certificate is checked against the authorities and the name that the configuration says,
//! keygate shows its own where it is asked, HTTP/2 or HTTP/1.1 is spoken as ALPN says, and the files are followed without
//! a dropped connection. No file that is missing or broken ever means fewer checks.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::noise;
use crate::harness::requests::get;
use crate::harness::requests::post;
use crate::harness::requests::request;
use crate::harness::setup::Setup;
use crate::harness::setup::write_by_rename;
use crate::harness::setup::write_in_place;
use crate::harness::sha256;
use crate::harness::throughout;
use crate::harness::tls::AUTHORITY as OURS;
use crate::harness::tls::Authority;
use crate::harness::tls::Issued;
use crate::harness::tls::STRANGER as OTHERS;
use crate::harness::tls::Wish;
use crate::harness::upstream_h2::H2Upstream;
use crate::upstream_http2::echo_over_websocket;

const BOTH: [&str; 2] = ["h2", "http/1.1"];

fn local() -> Issued {
    OURS.server(&["app.example"])
}

/// In front of `upstream`, which is checked against `authority`; `more`: of `upstream_tls`, each after a comma.
fn trusting(upstream: &H2Upstream, authority: &Authority, more: &str) -> Setup {
    let setup = Setup::in_front_of(&upstream.url())
        .set("workers", "1")
        .set("upstream_tls", format!("{{ca: ca.pem{more}}}"));
    write_in_place(&setup.folder.path().join("ca.pem"), authority.pem());
    setup
}

#[track_caller]
fn expect_failure(keygate: &Keygate, path: &str, reason: &str) {
    let response = keygate.ask(get(path));
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "upstream_failed"),
        "{response:?}"
    );
    let error = keygate.transaction_of(path)["error"].to_string();
    assert!(error.contains("cannot connect to 127.0.0.1:"), "{error}");
    assert!(error.contains(reason), "{error}");
}

#[test]
fn what_is_spoken_is_what_the_upstream_chooses() {
    for (alpn, version, agreed) in [
        (&BOTH[..], "HTTP/2.0", Some("h2")),
        (&["h2"], "HTTP/2.0", Some("h2")),
        (&["http/1.1"], "HTTP/1.1", Some("http/1.1")),
        (&[], "HTTP/1.1", None),
    ] {
        let upstream = H2Upstream::https(&local(), alpn, None);
        let keygate = trusting(&upstream, &OURS, "").spawn();
        let body = noise(700_000);
        for round in 0..3 {
            let response = keygate.ask(post("/echo", &body));
            assert_eq!(response.status, 200, "{alpn:?} {round}: {response:?}");
            assert_eq!(response.json()["body_sha256"], sha256(&body), "{alpn:?}");
            let response = keygate.ask(get("/big/700000"));
            assert_eq!(sha256(&response.body), sha256(&body), "{alpn:?}");
        }
        let asked = upstream.asked().pop().unwrap();
        assert_eq!(asked.version, version, "{alpn:?}");
        if version == "HTTP/2.0" {
            assert_eq!(asked.uri, "https://app/big/700000");
        }
        assert_eq!(upstream.connections(), 1, "{alpn:?}: connections are kept");
        let handshake = upstream.handshakes().pop().unwrap();
        assert_eq!(handshake.alpn.as_deref(), agreed);
        assert_eq!(handshake.name, None, "an address is not told (RFC 6066 §3)");
        keygate.finish();
    }
}

#[test]
fn many_requests_at_once_are_served_whatever_is_spoken() {
    for alpn in [&BOTH[..], &["http/1.1"]] {
        let upstream = H2Upstream::https(&local(), alpn, None);
        let keygate = trusting(&upstream, &OURS, "").spawn();
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| assert_eq!(keygate.ask(get("/gate")).status, 200));
            }
            eventually("all are there", SOON, || upstream.waiting() == 20);
            upstream.open_gate();
        });
        let expected = if alpn.contains(&"h2") { 1 } else { 20 };
        assert_eq!(upstream.connections(), expected, "{alpn:?}");
    }
}

#[test]
fn a_certificate_that_does_not_fit_is_502_and_says_why() {
    let rows = [
        (
            "signed by somebody else",
            local(),
            &*OTHERS,
            "",
            "UnknownIssuer",
        ),
        (
            "for another name",
            OURS.issue(&Wish::named(&["other.example"])),
            &*OURS,
            "",
            "not valid for name",
        ),
        (
            "for another address",
            OURS.issue(&Wish::named(&["127.0.0.2"])),
            &*OURS,
            "",
            "not valid for name",
        ),
        (
            "for another name than the configured one",
            OURS.issue(&Wish::named(&["127.0.0.1"])),
            &*OURS,
            ", server_name: app.example",
            "not valid for name",
        ),
        (
            "expired",
            OURS.issue(&Wish::named(&["127.0.0.1"]).years(2019, 2020)),
            &*OURS,
            "",
            "certificate expired",
        ),
    ];
    for (name, issued, authority, more, reason) in rows {
        let upstream = H2Upstream::https(&issued, &BOTH, None);
        let keygate = trusting(&upstream, authority, more).spawn();
        expect_failure(&keygate, "/checked", reason);
        assert_eq!(upstream.asked().len(), 0, "{name}");
    }
}

#[test]
fn without_authorities_of_its_own_keygate_trusts_those_that_browsers_know() {
    let upstream = H2Upstream::https(&local(), &BOTH, None);
    let keygate = Setup::in_front_of(&upstream.url()).spawn();
    expect_failure(&keygate, "/public", "UnknownIssuer");
}

#[test]
fn the_name_is_the_one_of_the_url_or_the_configured_one() {
    let upstream = H2Upstream::https(&OURS.issue(&Wish::named(&["localhost"])), &BOTH, None);
    let setup = trusting(&upstream, &OURS, "");
    let url = format!("https://localhost:{}", upstream.port());
    let keygate = setup.set("upstream", url).spawn();
    assert_eq!(keygate.ask(get("/")).status, 200);
    assert_eq!(upstream.handshakes()[0].name.as_deref(), Some("localhost"));
    let upstream = H2Upstream::https(&OURS.issue(&Wish::named(&["app.example"])), &BOTH, None);
    let keygate = trusting(&upstream, &OURS, ", server_name: app.example").spawn();
    assert_eq!(keygate.ask(get("/")).status, 200);
    assert_eq!(
        upstream.handshakes()[0].name.as_deref(),
        Some("app.example")
    );
}

#[test]
fn keygate_shows_its_certificate_to_an_upstream_that_asks() {
    let upstream = H2Upstream::https(&local(), &BOTH, Some(&OTHERS));
    let keygate = trusting(&upstream, &OURS, "").spawn();
    let response = keygate.ask(get("/nothing-shown"));
    assert_eq!(response.status, 502, "{response:?}");
    let setup = trusting(
        &upstream,
        &OURS,
        ", certificate: client.pem, key: client.key",
    );
    let shown = OTHERS.issue(&Wish::named(&["keygate.example"]));
    write_in_place(&setup.folder.path().join("client.pem"), &shown.chain);
    write_in_place(&setup.folder.path().join("client.key"), &shown.key);
    let keygate = setup.spawn();
    assert_eq!(keygate.ask(get("/shown")).status, 200);
    assert!(upstream.handshakes().pop().unwrap().shown);
    let setup = trusting(&upstream, &OURS, ", certificate: both.pem");
    let both = format!("{}{}", shown.key, shown.chain);
    write_in_place(&setup.folder.path().join("both.pem"), both);
    assert_eq!(setup.spawn().ask(get("/both")).status, 200);
}

#[test]
fn a_later_connection_resumes_the_session() {
    for alpn in [&BOTH[..], &["http/1.1"]] {
        let upstream = H2Upstream::https(&local(), alpn, None);
        let keygate = trusting(&upstream, &OURS, "")
            .set("timeouts", "{upstream_idle: 300ms}")
            .spawn();
        for connections in 1..=3 {
            assert_eq!(keygate.ask(get("/")).status, 200);
            eventually("it is closed", SOON, || upstream.open() == 0);
            assert_eq!(upstream.connections(), connections);
        }
        let resumed: Vec<_> = upstream
            .handshakes()
            .iter()
            .map(|made| made.resumed)
            .collect();
        assert_eq!(resumed, [false, true, true], "{alpn:?}");
    }
}

#[test]
fn files_are_followed_and_the_last_good_ones_stay() {
    let upstream = H2Upstream::https(&local(), &BOTH, None);
    let keygate = trusting(&upstream, &OTHERS, "")
        .set("timeouts", "{upstream_idle: 300ms}")
        .spawn();
    expect_failure(&keygate, "/stranger", "UnknownIssuer");
    let ca = keygate.folder().join("ca.pem");
    write_by_rename(&ca, OURS.pem());
    eventually("the authority is known", SOON, || {
        keygate.ask(get("/")).status == 200
    });
    let mut open = keygate.connect();
    open.send(get("/gate"));
    eventually("it waits", SOON, || upstream.waiting() == 1);
    let degraded = || {
        keygate
            .telemetry("/readyz")
            .text()
            .contains("upstream_certificates")
    };
    for broken in ["", "garbage", &OURS.pem()[..200]] {
        write_in_place(&ca, broken);
        eventually("health says so", SOON, degraded);
        throughout(
            "the last good one stays",
            Duration::from_millis(300),
            || keygate.ask(get("/still")).status == 200,
        );
        write_in_place(&ca, OURS.pem());
        eventually("health is well again", SOON, || !degraded());
    }
    fs::remove_file(&ca).unwrap();
    eventually("health says so", SOON, degraded);
    assert_eq!(keygate.ask(get("/still-there")).status, 200);
    assert!(
        keygate.log().contains("ca.pem: No such file or directory"),
        "the log says why"
    );
    write_by_rename(&ca, OTHERS.pem());
    eventually(
        "the other authority counts for new connections",
        SOON,
        || keygate.ask(get("/strange-again")).status == 502,
    );
    assert!(!degraded());
    upstream.open_gate();
    assert_eq!(open.read("GET").status, 200, "what was open goes on");
}

#[test]
fn a_certificate_and_its_key_change_one_after_the_other() {
    let upstream = H2Upstream::https(&local(), &BOTH, Some(&OTHERS));
    let setup = trusting(
        &upstream,
        &OURS,
        ", certificate: client.pem, key: client.key",
    )
    .set("timeouts", "{upstream_idle: 300ms}");
    let folder = setup.folder.path().to_owned();
    let put = |issued: &Issued| {
        write_by_rename(&folder.join("client.pem"), &issued.chain);
        thread::sleep(Duration::from_millis(200));
        write_by_rename(&folder.join("client.key"), &issued.key);
    };
    put(&OTHERS.issue(&Wish::named(&["first.example"])));
    let keygate = setup.spawn();
    assert_eq!(keygate.ask(get("/first")).status, 200);
    for _ in 0..3 {
        put(&OTHERS.issue(&Wish::named(&["next.example"])));
        assert_eq!(keygate.ask(get("/next")).status, 200);
    }
    put(&OURS.issue(&Wish::named(&["refused.example"])));
    eventually("the new one is shown", SOON, || {
        keygate.ask(get("/last")).status == 502
    });
    let log = keygate.log();
    assert!(!log.contains("cannot be used"), "no alarm: {log}");
}

/// Names and texts.
type Files<'a> = &'a [(&'a str, &'a str)];

#[test]
fn a_start_with_files_that_cannot_be_used_ends_with_2_and_says_what_to_do() {
    let good = OURS.issue(&Wish::named(&["keygate.example"]));
    let other = OURS.issue(&Wish::named(&["keygate.example"]));
    let rows: [(&str, &str, Files<'_>, &str); 6] = [
        ("no CA", "{ca: ca.pem}", &[], "upstream_tls.ca: "),
        (
            "an empty CA",
            "{ca: ca.pem}",
            &[("ca.pem", "")],
            "the file is empty",
        ),
        (
            "a CA that is none",
            "{ca: ca.pem}",
            &[("ca.pem", "garbage")],
            "no certificate in it",
        ),
        (
            "no key",
            "{certificate: c.pem, key: c.key}",
            &[("c.pem", &good.chain)],
            "upstream_tls.key: ",
        ),
        (
            "another certificate's key",
            "{certificate: c.pem, key: c.key}",
            &[("c.pem", &good.chain), ("c.key", &other.key)],
            "not the key of ",
        ),
        (
            "no certificate in its file",
            "{certificate: c.pem}",
            &[("c.pem", &good.key)],
            "no certificate in it",
        ),
    ];
    for (name, tls, files, says) in rows {
        let setup = Setup::in_front_of("https://127.0.0.1:1").set("upstream_tls", tls);
        for (file, text) in files {
            write_in_place(&setup.folder.path().join(file), text);
        }
        let config = setup.write();
        let check = crate::harness::keygate::command(crate::harness::keygate::binary())
            .args(["check"])
            .arg(&config)
            .current_dir(setup.folder.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&check.stderr).into_owned();
        assert_eq!(check.status.code(), Some(2), "{name}: {told}");
        assert!(told.contains(says), "{name}: check says {told}");
        let mut keygate = Keygate::launch(setup);
        assert_eq!(keygate.wait().code(), Some(2), "{name}");
        let log = keygate.log();
        assert!(
            log.contains(says) && log.contains("hint: "),
            "{name}: {log}"
        );
    }
}

#[test]
fn a_handshake_that_does_not_end_is_502_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let keygate = Setup::in_front_of(&url)
        .set("timeouts", "{connect: 400ms}")
        .spawn();
    let response = keygate.ask(get("/silent"));
    assert_eq!(response.status, 502, "{response:?}");
    let error = keygate.transaction_of("/silent")["error"].to_string();
    assert!(error.contains("timeouts.connect"), "{error}");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    expect_failure(&keygate, "/plain", "received corrupt message");
}

#[test]
fn a_websocket_over_tls_speaks_http1() {
    let upstream = H2Upstream::https(&local(), &BOTH, None);
    let keygate = trusting(&upstream, &OURS, "").spawn();
    assert_eq!(keygate.ask(get("/")).status, 200);
    echo_over_websocket(&keygate);
    let alpn: Vec<_> = upstream
        .handshakes()
        .into_iter()
        .map(|made| made.alpn)
        .collect();
    assert_eq!(alpn, [Some("h2".to_owned()), Some("http/1.1".to_owned())]);
}

#[test]
fn an_answer_that_breaks_off_under_tls_looks_broken() {
    for alpn in [&BOTH[..], &["http/1.1"]] {
        let upstream = H2Upstream::https(&local(), alpn, None);
        let keygate = trusting(&upstream, &OURS, "").spawn();
        let mut client = keygate.connect();
        client.send(get("/cut"));
        assert_eq!(client.reader().head().unwrap().second(), "200", "{alpn:?}");
        assert_eq!(
            client.reader().exactly(9).unwrap(),
            b"4\r\nhalf\r\n",
            "{alpn:?}"
        );
        upstream.open_gate();
        client.expect_closed();
        assert_eq!(
            keygate.transaction_of("/cut")["end"],
            "upstream_cut",
            "{alpn:?}"
        );
        assert_eq!(keygate.ask(get("/others")).status, 200);
    }
}

#[test]
fn an_upload_that_the_upstream_does_not_read_waits_and_then_goes_on() {
    for alpn in [&BOTH[..], &["http/1.1"]] {
        let upstream = H2Upstream::https(&local(), alpn, None);
        let keygate = trusting(&upstream, &OURS, "").spawn();
        let body = noise(20_000_000);
        thread::scope(|scope| {
            let answer = scope.spawn(|| keygate.ask(post("/unread", &body)));
            eventually("it waits", SOON, || upstream.waiting() == 1);
            throughout("it waits", Duration::from_millis(300), || {
                upstream.taken() == 0 && !answer.is_finished()
            });
            upstream.open_gate();
            let response = answer.join().unwrap();
            assert_eq!(response.json()["body_sha256"], sha256(&body), "{alpn:?}");
        });
        let held = keygate.ask(request("PUT /echo", "content-length: 0\r\n"));
        assert_eq!(held.status, 200);
    }
}

#[test]
fn a_connection_that_was_in_use_when_the_authority_changed_is_not_used_again() {
    for alpn in [&BOTH[..], &["http/1.1"]] {
        let upstream = H2Upstream::https(&local(), alpn, None);
        let keygate = trusting(&upstream, &OURS, "").spawn();
        let mut open = keygate.connect();
        open.send(get("/gate"));
        eventually("it waits", SOON, || upstream.waiting() == 1);
        write_by_rename(&keygate.folder().join("ca.pem"), OTHERS.pem());
        eventually("the other authority counts", SOON, || {
            keygate.ask(get("/strange")).status == 502
        });
        upstream.open_gate();
        assert_eq!(open.read("GET").status, 200, "what was open goes on");
        let status = keygate.ask(get("/strange-again")).status;
        assert_eq!(status, 502, "{alpn:?}");
    }
}
