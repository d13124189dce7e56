//! Covers "listen: one or a list": every kind of listener in one process, each recorded with the client that it has,
//! all bound before anything runs, all closed by a drain.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::gate::Gate;
use crate::harness::gate::OpenOnDrop;
use crate::harness::keygate::Keygate;
use crate::harness::requests::get;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

/// A listener of each kind, and how a client comes to it.
#[derive(Clone, Debug)]
enum Way {
    Plain(SocketAddr),
    Unix(PathBuf),
    Proxied(SocketAddr),
}

impl Way {
    fn connect(&self) -> Client {
        match self {
            Self::Plain(address) => Client::connect(*address),
            Self::Unix(path) => Client::connect_unix(path),
            Self::Proxied(address) => {
                let mut client = Client::connect(*address);
                client.send("PROXY TCP4 203.0.113.9 192.0.2.1 50000 443\r\n");
                client
            }
        }
    }

    fn is_open(&self) -> bool {
        match self {
            Self::Plain(address) | Self::Proxied(address) => Client::try_connect(*address).is_ok(),
            Self::Unix(path) => path.exists(),
        }
    }
}

/// A keygate that listens in every way; with each, the client that the log must name.
fn in_every_way(upstream: &Upstream) -> (Keygate, Vec<(Way, Option<&'static str>)>) {
    let six = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !six {
        eprintln!("without IPv6: this machine has no ::1");
    }
    let setup = Setup::of(upstream);
    let path = setup.folder.path().join("gate.sock");
    let mut listen = vec![
        "127.0.0.1:0".to_owned(),
        format!("\"unix:{}\"", path.display()),
        "{address: 127.0.0.1:0, proxy_protocol: true}".to_owned(),
    ];
    if six {
        listen.extend(["\"[::1]:0\"", "\"[::]:0\""].map(str::to_owned));
    }
    let keygate = setup
        .set("listen", format!("[{}]", listen.join(", ")))
        .set("forwarded", "{trusted_proxies: [127.0.0.1]}")
        .spawn();
    let tcp = &keygate.addresses;
    let mut ways = vec![
        (Way::Plain(tcp[0]), Some("127.0.0.1")),
        (Way::Unix(path), None),
        (Way::Proxied(tcp[1]), Some("203.0.113.9")),
    ];
    if six {
        let both = |ip: &str| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), tcp[3].port());
        ways.extend([
            (Way::Plain(tcp[2]), Some("::1")),
            (Way::Plain(both("::1")), Some("::1")),
            // IPv4 clients of an IPv6 socket are what they are.
            (Way::Plain(both("127.0.0.1")), Some("127.0.0.1")),
        ]);
    }
    (keygate, ways)
}

#[test]
fn each_listener_serves_and_knows_its_clients() {
    let upstream = Upstream::echo();
    let (keygate, ways) = in_every_way(&upstream);
    for (index, (way, client_ip)) in ways.iter().enumerate() {
        let target = format!("/{index}");
        let mut client = way.connect();
        for _ in 0..2 {
            assert_eq!(client.ask(get(&target)).status, 200, "{way:?}");
        }
        let records = || {
            let mut all = keygate.transactions();
            all.retain(|record| record["path"] == target.as_str());
            all
        };
        eventually("both are recorded", SOON, || records().len() == 2);
        for record in records() {
            assert_eq!(record["client_ip"].as_str(), *client_ip, "{way:?}");
        }
        let seen = upstream.seen();
        let seen = seen.iter().filter(|seen| seen.head.second() == target);
        for seen in seen {
            assert_eq!(seen.head.one("x-forwarded-for"), *client_ip, "{way:?}");
        }
    }
    keygate.finish();
}

#[test]
fn a_drain_closes_every_listener_and_finishes_what_runs() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let upstream = Upstream::slow(gate.clone());
    let (mut keygate, ways) = in_every_way(&upstream);
    let mut held: Vec<Client> = ways
        .iter()
        .map(|(way, _)| {
            let mut client = way.connect();
            client.send(get("/held"));
            client
        })
        .collect();
    eventually("all are at the upstream", SOON, || {
        upstream.count() == ways.len()
    });
    keygate.signal(Signal::TERM);
    for (way, _) in &ways {
        eventually("it is closed", SOON, || !way.is_open());
    }
    assert!(!keygate.has_exited());
    gate.open();
    for client in &mut held {
        assert_eq!(client.read("GET").status, 200);
        client.expect_closed();
    }
    assert_eq!(keygate.wait().code(), Some(0));
    assert_eq!(keygate.transactions().len(), ways.len());
}

#[test]
fn one_address_that_is_taken_is_an_error_before_anything_runs() {
    let upstream = Upstream::echo();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let setup = Setup::of(&upstream);
    let path = setup.folder.path().join("gate.sock");
    let listen = format!("[127.0.0.1:0, \"unix:{}\", {address}]", path.display());
    let mut keygate = Keygate::launch(setup.set("listen", listen));
    assert_eq!(keygate.wait().code(), Some(1));
    let log = keygate.log();
    assert!(
        log.contains(&format!("cannot listen at {address}")),
        "{log}"
    );
    assert!(log.contains("hint: "), "{log}");
    assert!(!log.contains("listening on"), "{log}");
    assert!(!path.exists(), "what was bound already is given back");
    assert!(!keygate.transactions_folder().exists(), "nothing had begun");
}
