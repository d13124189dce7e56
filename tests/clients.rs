//! Covers "whatever speaks HTTP can speak through keygate": clients and proxies that people use, against the real
//! binary. Each test starts a service and a keygate and runs a script of `tests/clients/`, which asserts what its client
//! has to see; its output is shown when it fails. `tests/run clients` installs what they need. Not for: what only a
//! client that breaks rules can show.

mod programs;
mod proxies;

use std::net::SocketAddr;

use serde_json::Value;
use serde_json::json;

use crate::clients::programs::Service;
use crate::clients::programs::run;
use crate::harness::keygate::Keygate;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::setup::write_in_place;
use crate::harness::tls::AUTHORITY;

/// What every script is told.
fn given(http: SocketAddr) -> Value {
    json!({"http": http.to_string(), "token": GOOD})
}

/// A keygate that speaks in clear at its first address and TLS at its second one, where a client may show a
/// certificate; and what scripts are told of it.
#[track_caller]
fn with_tls(setup: Setup) -> (Keygate, Value) {
    let folder = setup.folder.path().to_owned();
    let write = |name: &str, text: &str| write_in_place(&folder.join(name), text);
    let (server, client) = (AUTHORITY.server(&["localhost"]), AUTHORITY.client("curl"));
    write("authority.pem", &AUTHORITY.pem());
    write("server.pem", &server.both());
    write("client.pem", &client.both());
    let keygate = setup
        .set("listen", "[{address: 127.0.0.1:0, tls: false}, 127.0.0.1:0]")
        .set(
            "tls",
            "{certificates: [{certificate: server.pem, key: server.pem}], client_ca: authority.pem, client: optional}",
        )
        .spawn();
    let mut given = given(keygate.addresses[0]);
    given["https"] = format!("localhost:{}", keygate.addresses[1].port()).into();
    given["authority"] = folder.join("authority.pem").to_str().into();
    given["certificate"] = folder.join("client.pem").to_str().into();
    (keygate, given)
}

#[test]
#[ignore = "needs the clients that tests/run clients installs"]
fn curl_speaks_through_it() {
    let origin = Service::python("origin.py");
    let (keygate, given) = with_tls(Setup::in_front_of(&origin.url()));
    run("curl.py", &given);
    let record = keygate.transaction_of("/echo/certificate");
    assert_eq!(record["client_subject"], "CN=curl,O=tests", "{record}");
    keygate.finish();
}

#[test]
#[ignore = "needs the clients that tests/run clients installs"]
fn python_speaks_through_it() {
    let origin = Service::python("origin.py");
    let setup = Setup::in_front_of(&origin.url())
        .set("auth", "{sources: [header: x-api-key, ws_protocol]}");
    let (keygate, given) = with_tls(setup);
    run("python.py", &given);
    keygate.finish();
}

#[test]
#[ignore = "needs the clients that tests/run clients installs"]
fn node_speaks_through_it() {
    let origin = Service::python("origin.py");
    let setup = Setup::in_front_of(&origin.url())
        .set("auth", "{sources: [header: x-api-key, ws_protocol]}");
    let (keygate, given) = with_tls(setup);
    run("node.mjs", &given);
    keygate.finish();
}

#[test]
#[ignore = "needs the clients that tests/run clients installs"]
fn grpc_speaks_through_it() {
    const LIMITED: &str = "kg_test_the-limited-token_2pR8";
    let service = Service::python("grpc_service.py");
    let setup = Setup::in_front_of(&format!("h2c://{}", service.address))
        .set("auth", "{sources: [header: x-api-key, bearer]}")
        .keys(key_file(&[
            entry("good", GOOD, ""),
            entry(
                "limited",
                LIMITED,
                ", allow: {paths: [/keygate.Test/Unary]}",
            ),
        ]));
    let (keygate, mut given) = with_tls(setup);
    given["limited"] = LIMITED.into();
    run("grpc_calls.py", &given);
    let finished = keygate.finish();
    let of = |method: &str, status: u8| {
        let path = format!("/keygate.Test/{method}");
        let matches = |record: &&Value| record["path"] == path && record["grpc_status"] == status;
        finished.transactions.iter().filter(matches).count()
    };
    for (method, status) in [
        ("Unary", 0),
        ("Both", 0),
        ("Fail", 5),
        ("FailLate", 10),
        ("Seen", 16),
        ("Seen", 7),
        ("Unary", 14),
    ] {
        assert!(of(method, status) > 0, "{method} {status} is recorded");
    }
}
