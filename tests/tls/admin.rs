//! The admin listener over TLS: the same pages and API, with the same certificates' care.

use serde_json::json;

use crate::harness::SOON;
use crate::harness::admin::Admin;
use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::setup::Setup;
use crate::harness::tls::AUTHORITY;
use crate::harness::tls::Dialer;
use crate::harness::tls::Issued;
use crate::harness::upstream::Upstream;
use crate::tls::exchange;
use crate::tls::put;

const ADMIN_TLS: &str = ", tls: {certificate: cert.pem, key: key.pem}";

fn administered(upstream: &Upstream, certificate: &Issued, more: &str) -> Keygate {
    let setup = Setup::of(upstream).admin(&format!("{ADMIN_TLS}{more}"));
    put(setup, "", certificate).spawn()
}

fn dial(keygate: &Keygate) -> Client {
    let address = keygate.admin().address();
    Dialer::trusting(&AUTHORITY)
        .alpn(&["h2", "http/1.1"])
        .connect(address, None)
        .client
}

#[test]
fn pages_and_api_are_there_over_tls() {
    let upstream = Upstream::echo();
    let keygate = administered(&upstream, &AUTHORITY.server(&["ops.example"]), "");
    let admin = keygate.admin();
    let listening = format!("admin API on https://{}", admin.address());
    assert!(keygate.log().contains(&listening), "{}", keygate.log());
    let agreed = Dialer::trusting(&AUTHORITY)
        .alpn(&["h2", "http/1.1"])
        .connect(admin.address(), None);
    assert_eq!(agreed.alpn.unwrap(), "http/1.1");
    let status = admin.get("/status").ask_on(&mut dial(&keygate));
    assert_eq!(status.status, 200, "{status:?}");
    assert_eq!(status.json()["plain_http"], false);
    assert_eq!(status.json()["certificates"][0]["shown_to"], "admin");
    let page = admin.anywhere("GET", "/").ask_on(&mut dial(&keygate));
    assert!(page.is_page(), "{page:?}");
    let created = admin.post("/keys").json(&json!({"name": "new"}));
    assert_eq!(created.ask_on(&mut dial(&keygate)).status, 201);
    // Whoever speaks no TLS gets no answer of HTTP.
    let mut plain = Client::connect(admin.address());
    plain.send(admin.get("/status").bytes());
    assert!(plain.try_read("GET").is_err());
}

#[test]
fn the_session_cookie_is_for_https_only_and_pages_of_plain_http_are_not_ours() {
    let upstream = Upstream::echo();
    let keygate = administered(&upstream, &AUTHORITY.server(&["ops.example"]), "");
    let nobody: Admin = keygate.nobody();
    let code = std::process::Command::new(crate::harness::keygate::binary())
        .args(["admin", "code", "--config"])
        .arg(keygate.config())
        .output()
        .unwrap();
    let said = String::from_utf8(code.stdout).unwrap();
    assert!(said.contains("open: https://127.0.0.1:"), "{said}");
    let code = said.lines().next().unwrap();
    let code = code.strip_prefix("setup code: ").unwrap();
    let body = json!({"code": code, "name": "admin", "password": "a-long-password-of-tests"});
    let set_up = nobody.post("/setup").json(&body);
    let own = format!("https://{}", nobody.address());
    let foreign = format!("http://{}", nobody.address());
    let refused = set_up.clone().with("origin", &foreign);
    let refused = refused.ask_on(&mut dial(&keygate));
    assert_eq!(refused.code(), "origin_not_allowed", "{refused:?}");
    let signed_in = set_up.with("origin", &own).ask_on(&mut dial(&keygate));
    assert!(signed_in.status < 300, "{signed_in:?}");
    let (_, field) = signed_in.cookie();
    assert!(field.contains("; Secure"), "{field}");
}

#[test]
fn a_listener_for_other_machines_needs_no_more_than_tls() {
    let upstream = Upstream::echo();
    let certificate = AUTHORITY.server(&["ops.example"]);
    let setup = Setup::of(&upstream).admin("");
    let setup = setup.set(
        "admin",
        "{listen: '0.0.0.0:0', token_file: admin-tokens, tls: {certificate: cert.pem, key: key.pem}}",
    );
    let keygate = put(setup, "", &certificate).spawn();
    let admin = keygate.admin();
    let port = admin.address().port();
    let log = keygate.log();
    assert!(!log.contains("plain HTTP"), "{log}");
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("192.0.2.7:{port}"), 200),
        (format!("evil.example:{port}"), 421),
    ] {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let mut secured = Dialer::trusting(&AUTHORITY).connect(address, None);
        let answer = admin.get("/status").host(&host).ask_on(&mut secured.client);
        assert_eq!(answer.status, status, "{host}: {answer:?}");
    }
}

#[test]
fn its_certificate_is_followed_as_well() {
    let upstream = Upstream::echo();
    let (old, new) = (AUTHORITY.server(&["old"]), AUTHORITY.server(&["new"]));
    let keygate = administered(&upstream, &old, "");
    let address = keygate.admin().address();
    let shown = || Dialer::trusting(&AUTHORITY).connect(address, None).peer;
    assert!(shown() == old.der);
    exchange(keygate.folder(), &new);
    eventually("the new one is shown", SOON, || shown() == new.der);
}

#[test]
fn a_certificate_that_cannot_be_read_stops_the_start() {
    let upstream = Upstream::echo();
    let mut keygate = Keygate::launch(Setup::of(&upstream).admin(ADMIN_TLS));
    assert_eq!(keygate.wait().code(), Some(2));
    let log = keygate.log();
    assert!(log.contains("cert.pem: No such file"), "{log}");
}
