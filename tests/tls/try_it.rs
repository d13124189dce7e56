//! Try it through a listener that speaks TLS: it trusts that listener's certificate and no other.

use serde_json::Value;
use serde_json::json;

use crate::harness::keygate::Keygate;
use crate::harness::setup::Setup;
use crate::harness::tls::AUTHORITY;
use crate::harness::tls::Authority;
use crate::harness::tls::Wish;
use crate::harness::upstream::Upstream;
use crate::tls::file;
use crate::tls::secured;

fn tried(keygate: &Keygate) -> Value {
    let body = json!({"method": "GET", "path": "/tried"});
    let answer = keygate.admin().post("/try").json(&body).ask();
    answer.json()
}

#[test]
fn a_request_goes_through_a_listener_with_any_certificate_of_its_own() {
    let upstream = Upstream::echo();
    for wish in [
        Wish::server(&["a.example"]),
        Wish::server(&["a.example"]).years(2020, 2021),
    ] {
        let certificate = Authority::new("nobody knows it").issue(&wish);
        for version in ["1.2", "1.3"] {
            let keygate = secured(&upstream, &certificate)
                .set(
                    "tls",
                    format!("{{certificates: [{{certificate: cert.pem, key: key.pem}}], min_version: '{version}'}}"),
                )
                .admin("")
                .spawn();
            let answer = tried(&keygate);
            assert_eq!(answer["status"], 401, "{version}: {answer}");
            assert_eq!(keygate.transaction_of("/tried")["scheme"], "https");
            let status = keygate.admin().get("/status").expect(200).json();
            let address = format!("https://{}", keygate.address());
            assert_eq!(status["proxy_addresses"], json!([address]));
        }
    }
}

#[test]
fn of_several_listeners_the_one_that_asks_least_is_taken() {
    let upstream = Upstream::echo();
    let asking = "{certificates: [{certificate: cert.pem, key: key.pem}], client_ca: ca.pem}";
    let start = |listen: &str| {
        let setup: Setup = secured(&upstream, &AUTHORITY.server(&["a.example"]));
        let setup = setup.set("tls", asking).set("listen", listen).admin("");
        let setup = setup.set("forwarded", "{trusted_proxies: [127.0.0.1]}");
        file(setup, "ca.pem", &AUTHORITY.pem()).spawn()
    };
    let only = start("{address: '127.0.0.1:0', tls: true}");
    let answer = tried(&only);
    assert_eq!(answer["code"], "proxy_unreachable", "{answer}");
    assert!(only.transactions().is_empty());
    let proxied = start("{address: '127.0.0.1:0', tls: false, proxy_protocol: true}");
    assert_eq!(tried(&proxied)["status"], 401);
    let record = proxied.transaction_of("/tried");
    assert_eq!(record["client_ip"], "127.0.0.1");
    let both = start("[{address: '127.0.0.1:0', tls: true}, {address: '127.0.0.2:0', tls: false}]");
    assert_eq!(tried(&both)["status"], 401);
    assert_eq!(both.transaction_of("/tried")["scheme"], "http");
}
