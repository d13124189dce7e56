//! Covers "who the client is": the PROXY protocol and the `Forwarded` field are believed from trusted proxies and from
//! nobody else, what they say counts for keys' networks, the log and the upstream, and a client that has as many
//! connections as it may have gets no more.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = [SIGNATURE, &[0x20 | command, family]].concat();
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend(rest);
    bytes
}

/// A header of version 1 from this address.
fn line(source: &str) -> Vec<u8> {
    let ip: IpAddr = source.parse().unwrap();
    match ip {
        IpAddr::V4(ip) => format!("PROXY TCP4 {ip} 192.0.2.1 50000 443\r\n"),
        IpAddr::V6(ip) => format!("PROXY TCP6 {ip} 2001:db8::1 50000 443\r\n"),
    }
    .into_bytes()
}

/// The addresses of a header of version 2.
fn block(source: &str) -> Vec<u8> {
    let source: SocketAddr = SocketAddr::new(source.parse().unwrap(), 50_000);
    let mut bytes = match source.ip() {
        IpAddr::V4(ip) => [ip.octets(), [192, 0, 2, 1]].concat(),
        IpAddr::V6(ip) => [ip.octets(), [0; 16]].concat(),
    };
    bytes.extend([source.port(), 443].map(u16::to_be_bytes).concat());
    bytes
}

/// In front of `upstream`, with a listener that wants PROXY headers from this machine.
fn proxied(upstream: &Upstream) -> Setup {
    Setup::of(upstream)
        .set("listen", "{address: 127.0.0.1:0, proxy_protocol: true}")
        .set("forwarded", "{trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]}")
        .set("log", "{level: debug}")
}

/// How often this protocol error was counted.
fn proxy_errors(keygate: &Keygate) -> f64 {
    keygate
        .metrics()
        .sum("keygate_protocol_errors_total", |labels| {
            labels.contains("\"proxy_header\"")
        })
}

/// How many connections were closed for this reason.
fn refused(keygate: &Keygate, reason: &str) -> f64 {
    keygate
        .metrics()
        .sum("keygate_connections_refused_total", |labels| {
            labels.contains(&format!("\"{reason}\""))
        })
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn the_client_is_whom_the_proxy_header_names() {
    let upstream = Upstream::echo();
    let keygate = proxied(&upstream).spawn();
    let with = |mut addresses: Vec<u8>, more: &[u8]| { addresses.extend(more); addresses };
    let rows = [
        ("line", line("203.0.113.9"), "203.0.113.9"),
        ("line6", line("2001:db8::9"), "2001:db8::9"),
        ("mapped", line("::ffff:203.0.113.9"), "203.0.113.9"),
        ("nobody", b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        ("binary", binary(1, 0x11, &block("203.0.113.9")), "203.0.113.9"),
        ("binary6", binary(1, 0x21, &block("2001:db8::9")), "2001:db8::9"),
        ("more", binary(1, 0x11, &with(block("203.0.113.9"), &[4; 3000])), "203.0.113.9"),
        ("checksum", binary(1, 0x11, &with(block("203.0.113.9"), &[3, 0, 4, 0, 0, 0, 0])), "203.0.113.9"),
        ("local", binary(0, 0x11, &block("203.0.113.9")), "127.0.0.1"),
        ("family", binary(1, 0, &[]), "127.0.0.1"),
        ("socket", binary(1, 0x31, &[b'/'; 216]), "127.0.0.1"),
    ];
    for (name, header, expected) in rows {
        for (how, bytewise) in [("whole", false), ("pieces", true)] {
            // The header and the request in one segment, or each byte in its own: nothing gets lost in between.
            let mut client = keygate.connect();
            let first = format!("/{name}/{how}/1");
            let bytes = [&header[..], get(&first).as_bytes()].concat();
            if bytewise { client.send_bytewise(&bytes) } else { client.send(&bytes) }
            assert_eq!(client.read("GET").status, 200, "{name}, {how}");
            let second = format!("/{name}/{how}/2");
            assert_eq!(client.ask(get(&second)).status, 200, "{name}, {how}");
            for target in [&first, &second] {
                assert_eq!(keygate.transaction_of(target)["client_ip"], expected, "{target}");
                assert_eq!(upstream.seen_at(target).head.all("x-forwarded-for"), [expected], "{target}");
            }
        }
    }
    assert_eq!((proxy_errors(&keygate), refused(&keygate, "untrusted_proxy")), (0.0, 0.0));
    keygate.finish();
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn a_connection_without_a_proxy_header_is_closed() {
    let upstream = Upstream::echo();
    let keygate = proxied(&upstream).set("timeouts", "{handshake: 30s}").spawn();
    let rows = [
        ("HTTP", get("/").into_bytes()),
        ("another version", binary(1, 0x11, &block("203.0.113.9")).into_iter().map(|byte| if byte == 0x21 { 0x31 } else { byte }).collect()),
        ("no line end", b"PROXY TCP4 203.0.113.9 192.0.2.1 50000 443\n\nGET / HTTP/1.1\r\nhost: app\r\n\r\n".to_vec()),
        ("a line without an end", [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat()),
        ("a bad address", b"PROXY TCP4 203.0.113.999 192.0.2.1 50000 443\r\n".to_vec()),
        ("beyond 4 KiB", binary(1, 0x11, &[0; 4081])),
    ];
    let mut count = 0.0;
    for (name, bytes) in rows {
        let mut client = keygate.connect();
        client.send(&bytes);
        client.send(get("/behind"));
        client.expect_closed();
        count += 1.0;
        eventually(name, SOON, || proxy_errors(&keygate) == count);
    }
    // In the middle of its header.
    let mut client = keygate.connect();
    client.send(&SIGNATURE[..7]);
    client.half_close();
    client.expect_closed();
    eventually("the rest is missed", SOON, || proxy_errors(&keygate) == count + 1.0);
    // A load balancer that looks whether somebody listens says nothing wrong.
    let mut client = keygate.connect();
    client.half_close();
    client.expect_closed();
    drop(keygate.connect());
    assert_eq!((upstream.count(), proxy_errors(&keygate)), (0, count + 1.0));
    assert_eq!(keygate.finish().transactions.len(), 0);
}

#[test]
fn a_proxy_header_has_its_time() {
    let upstream = Upstream::echo();
    let keygate = proxied(&upstream)
        .set("timeouts", "{handshake: 1s}")
        .spawn();
    let begun = Instant::now();
    let mut silent = keygate.connect();
    let mut slow = keygate.connect();
    // A byte now and then makes no more time.
    slow.send("PROXY UNKNOWN ");
    while slow.is_silent_for(Duration::from_millis(200)) && begun.elapsed() < SOON {
        slow.send("x");
    }
    for client in [&mut silent, &mut slow] {
        client.expect_closed();
    }
    let took = begun.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(10)).contains(&took),
        "{took:?}"
    );
    eventually("both are counted", SOON, || proxy_errors(&keygate) == 2.0);
    let mut client = keygate.connect();
    client.send([&line("203.0.113.9")[..], get("/quick").as_bytes()].concat());
    assert_eq!(client.read("GET").status, 200);
}

#[test]
fn a_proxy_header_is_taken_from_trusted_proxies_only() {
    let upstream = Upstream::echo();
    let keygate = proxied(&upstream)
        .set("forwarded", "{trusted_proxies: [127.0.0.7]}")
        .spawn();
    let bytes = [&line("203.0.113.9")[..], get("/stranger").as_bytes()].concat();
    let mut stranger = keygate.connect();
    stranger.send(&bytes);
    stranger.expect_closed();
    eventually("it is counted", SOON, || {
        refused(&keygate, "untrusted_proxy") == 1.0
    });
    let log = keygate.log();
    let line = log
        .lines()
        .find(|line| line.contains("forwarded.trusted_proxies"));
    let line = line.unwrap_or_else(|| panic!("nothing is said of it: {log}"));
    assert!(
        line.contains("DEBUG") && line.contains("127.0.0.1:"),
        "{line}"
    );
    let mut known = Client::connect_from("127.0.0.7".parse().unwrap(), keygate.address());
    known.send(&bytes);
    assert_eq!(known.read("GET").status, 200);
    assert_eq!(upstream.count(), 1);
    assert_eq!(proxy_errors(&keygate), 0.0);
}

#[test]
fn networks_of_keys_see_the_named_client() {
    let upstream = Upstream::echo();
    let keygate = proxied(&upstream)
        .keys(key_file(&[entry(
            "good",
            GOOD,
            ", allow: {networks: [203.0.113.0/24, \"2001:db8::/32\"]}",
        )]))
        .spawn();
    for (source, expected) in [
        ("203.0.113.9", 200),
        ("2001:db8::9", 200),
        ("198.51.100.1", 403),
        ("127.0.0.1", 403),
    ] {
        let mut client = keygate.connect();
        client.send([&line(source)[..], get("/networks").as_bytes()].concat());
        assert_eq!(client.read("GET").status, expected, "{source}");
    }
}

#[test]
fn the_named_client_may_itself_be_a_trusted_proxy() {
    let upstream = Upstream::echo();
    let keygate = proxied(&upstream).spawn();
    // Who the header names is the next hop: only if that one is trusted is it believed about others.
    for (target, source, expected, chain) in [
        (
            "/proxy",
            "10.0.0.2",
            "198.51.100.4",
            "198.51.100.4, 10.0.0.2",
        ),
        ("/stranger", "203.0.113.9", "203.0.113.9", "203.0.113.9"),
    ] {
        let mut client = keygate.connect();
        client.send(line(source));
        let fields = "x-forwarded-for: 198.51.100.4\r\n";
        let response = client.ask(request(&format!("GET {target}"), fields));
        assert_eq!(response.status, 200);
        assert_eq!(keygate.transaction_of(target)["client_ip"], expected);
        assert_eq!(
            upstream.seen_at(target).head.all("x-forwarded-for"),
            [chain]
        );
    }
}

#[test]
fn a_unix_socket_with_proxy_headers_trusts_its_peer() {
    let upstream = Upstream::echo();
    let setup = Setup::of(&upstream);
    let path = setup.folder.path().join("gate.sock");
    let listen = format!(
        "{{address: \"unix:{}\", proxy_protocol: true}}",
        path.display()
    );
    let keygate = setup.set("listen", listen).spawn();
    for (target, header, expected) in [
        ("/named", line("203.0.113.9"), Some("203.0.113.9")),
        ("/unnamed", binary(0, 0, &[]), None),
    ] {
        let mut client = Client::connect_unix(&path);
        client.send([&header[..], get(target).as_bytes()].concat());
        assert_eq!(client.read("GET").status, 200, "{target}");
        let record = keygate.transaction_of(target);
        assert_eq!(record["client_ip"].as_str(), expected, "{record}");
        let seen = upstream.seen_at(target);
        assert_eq!(seen.head.one("x-forwarded-for"), expected);
    }
    let mut client = Client::connect_unix(&path);
    client.send(get("/without"));
    client.expect_closed();
}

#[test]
fn a_drain_does_not_wait_for_headers_that_never_come() {
    let upstream = Upstream::echo();
    let mut keygate = proxied(&upstream)
        .set("timeouts", "{handshake: 60s, drain: 60s}")
        .spawn();
    let mut silent = keygate.connect();
    eventually("it is there", SOON, || {
        keygate.metrics().total("keygate_connections") == 1.0
    });
    let begun = Instant::now();
    keygate.signal(Signal::TERM);
    silent.expect_closed();
    assert_eq!(keygate.wait().code(), Some(0));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
}

/// In front of `upstream`, behind a trusted proxy at 127.0.0.7 (and others in 10.0.0.0/8).
fn behind_a_proxy(upstream: &Upstream) -> (Keygate, IpAddr) {
    let keygate = Setup::of(upstream)
        .set("forwarded", "{trusted_proxies: [127.0.0.7, 10.0.0.0/8]}")
        .spawn();
    (keygate, "127.0.0.7".parse().unwrap())
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn forwarded_is_believed_from_trusted_proxies() {
    let upstream = Upstream::echo();
    let (keygate, proxy) = behind_a_proxy(&upstream);
    // Fields, then: the client, its scheme, what the upstream gets as X-Forwarded-For and -Host.
    let rows = [
        ("plain", "forwarded: for=203.0.113.9;proto=https;host=shop.example\r\n",
            "203.0.113.9", "https", "203.0.113.9, 127.0.0.7", "shop.example"),
        ("v6", "forwarded: for=\"[2001:db8::9]:4711\";proto=http\r\n", "2001:db8::9", "http", "2001:db8::9, 127.0.0.7", "app"),
        ("escaped", "forwarded: by=\"_x\\\"y,z\";for=\"203.0.113.\\9\"\r\n", "203.0.113.9", "http", "203.0.113.9, 127.0.0.7", "app"),
        ("hops", "forwarded: for=198.51.100.1, for=203.0.113.9\r\nforwarded: for=10.0.0.2;proto=https\r\n",
            "203.0.113.9", "https", "198.51.100.1, 203.0.113.9, 10.0.0.2, 127.0.0.7", "app"),
        ("unknown", "forwarded: for=203.0.113.9, for=unknown\r\n", "127.0.0.7", "http", "127.0.0.7", "app"),
        ("hidden", "forwarded: for=203.0.113.9, for=_hidden, for=10.0.0.2\r\n", "10.0.0.2", "http", "10.0.0.2, 127.0.0.7", "app"),
        ("malformed", "forwarded: for=203.0.113.9, for=\"10.0.0.3, for=10.0.0.2\r\n", "10.0.0.2", "http", "10.0.0.2, 127.0.0.7", "app"),
        ("quote", "forwarded: for=\"10.0.0.9\r\nforwarded: for=203.0.113.9\r\n", "203.0.113.9", "http", "203.0.113.9, 127.0.0.7", "app"),
        ("both", "forwarded: for=203.0.113.9;proto=https;host=x\r\nx-forwarded-for: 203.0.113.7\r\n",
            "203.0.113.7", "http", "203.0.113.7, 127.0.0.7", "app"),
    ];
    for (name, fields, client_ip, scheme, chain, host) in rows {
        let target = format!("/{name}");
        let mut client = Client::connect_from(proxy, keygate.address());
        let response = client.ask(request(&format!("GET {target}"), fields));
        assert_eq!(response.status, 200, "{name}");
        let record = keygate.transaction_of(&target);
        assert_eq!((&record["client_ip"], &record["scheme"]), (&client_ip.into(), &scheme.into()), "{name}");
        let head = upstream.seen_at(&target).head;
        assert_eq!(head.all("x-forwarded-for"), [chain], "{name}");
        assert_eq!(head.all("x-forwarded-proto"), [scheme], "{name}");
        assert_eq!(head.all("x-forwarded-host"), [host], "{name}");
        assert_eq!(head.all("forwarded").len(), fields.matches("forwarded: ").count(), "{name}: what it said is passed on");
    }
}

#[test]
fn forwarded_of_strangers_counts_for_nothing() {
    let upstream = Upstream::echo();
    let (keygate, _) = behind_a_proxy(&upstream);
    let fields = "forwarded: for=10.0.0.9;proto=https;host=evil\r\n";
    assert_eq!(keygate.ask(request("GET /lie", fields)).status, 200);
    let record = keygate.transaction_of("/lie");
    assert_eq!(
        (&record["client_ip"], &record["scheme"]),
        (&"127.0.0.1".into(), &"http".into())
    );
    let head = upstream.seen_at("/lie").head;
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(head.all("x-forwarded-host"), ["app"]);
    assert!(!head.has("forwarded"), "{head:?}");
}

/// Whether this connection is served.
fn is_served(client: &mut Client, target: &str) -> bool {
    client.send(get(target));
    client
        .try_read("GET")
        .is_ok_and(|response| response.status == 200)
}

#[test]
fn a_client_has_so_many_connections_and_no_more() {
    let upstream = Upstream::echo();
    for workers in ["1", "4"] {
        let keygate = Setup::of(&upstream)
            .set("limits", "{per_client: 3}")
            .set("workers", workers)
            .spawn();
        let mut held: Vec<Client> = (0..3).map(|_| keygate.connect()).collect();
        assert!(held.iter_mut().all(|client| is_served(client, "/held")));
        for _ in 0..5 {
            keygate.connect().expect_closed();
        }
        eventually("five are counted", SOON, || {
            refused(&keygate, "per_client") == 5.0
        });
        // Others are not kept out, and what is open goes on.
        let other: IpAddr = "127.0.0.2".parse().unwrap();
        let mut other = Client::connect_from(other, keygate.address());
        assert!(is_served(&mut other, "/other"));
        assert!(held.iter_mut().all(|client| is_served(client, "/again")));
        held.pop();
        eventually("there is room again", SOON, || {
            is_served(&mut keygate.connect(), "/room")
        });
    }
}

#[test]
fn a_tunnel_is_a_connection_of_its_client() {
    let upstream = Upstream::scripted(|turn| {
        if turn.head.second() != "/tunnel" {
            return turn.answer("200 OK", "", b"");
        }
        turn.send(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n",
        )?;
        turn.waits_for_close(SOON);
        Ok(Next::Close)
    });
    let keygate = Setup::of(&upstream)
        .set("limits", "{per_client: 1}")
        .spawn();
    let mut tunnel = keygate.connect();
    tunnel.send(request(
        "GET /tunnel",
        "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ));
    assert_eq!(tunnel.reader().head().unwrap().second(), "101");
    keygate.connect().expect_closed();
    drop(tunnel);
    eventually("the tunnel has gone", SOON, || {
        is_served(&mut keygate.connect(), "/after")
    });
}

#[test]
fn clients_behind_a_load_balancer_are_counted_by_their_own_address() {
    let upstream = Upstream::echo();
    let keygate = proxied(&upstream).set("limits", "{per_client: 1}").spawn();
    let connect = |header: &[u8]| {
        let mut client = keygate.connect();
        client.send(header);
        client
    };
    let mut first = connect(&line("203.0.113.9"));
    assert!(is_served(&mut first, "/first"));
    connect(&line("203.0.113.9")).expect_closed();
    let mut other = connect(&line("203.0.113.10"));
    assert!(is_served(&mut other, "/other"));
    // Of IPv6 a /64 is one client.
    let mut six = connect(&line("2001:db8:0:1::1"));
    assert!(is_served(&mut six, "/six"));
    connect(&line("2001:db8:0:1:2::2")).expect_closed();
    let mut neighbour = connect(&line("2001:db8:0:2::1"));
    assert!(is_served(&mut neighbour, "/neighbour"));
    // The load balancer itself, and another trusted proxy, bring many clients.
    let mut many: Vec<Client> = (0..3).map(|_| connect(&binary(0, 0, &[]))).collect();
    many.extend((0..3).map(|_| connect(&line("10.0.0.2"))));
    assert!(many.iter_mut().all(|client| is_served(client, "/many")));
    assert_eq!(refused(&keygate, "per_client"), 2.0);
    assert_eq!(proxy_errors(&keygate), 0.0);
}
