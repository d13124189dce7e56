//! Covers "a name with several addresses is balanced": each is used, one that takes no connection is passed over, the
//! name is looked up again as its records expire, and a look-up that fails takes nothing away.

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use crate::harness::SOON;
use crate::harness::dns::Answer;
use crate::harness::dns::Dns;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::requests::get;
use crate::harness::setup::GOOD;
use crate::harness::upstream::Upstream;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Listeners at these addresses, all on one port.
fn on_one_port(addresses: &[IpAddr]) -> (Vec<TcpListener>, u16) {
    for _ in 0..100 {
        let first = TcpListener::bind(SocketAddr::new(addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others = addresses[1..]
            .iter()
            .map(|ip| TcpListener::bind(SocketAddr::new(*ip, port)));
        if let Ok(others) = others.collect::<Result<Vec<_>, _>>() {
            return (std::iter::once(first).chain(others).collect(), port);
        }
    }
    panic!("no port is free at all of {addresses:?}")
}

/// Upstreams at these addresses that close each connection after its answer, on one port.
fn upstreams(addresses: &[IpAddr]) -> (Vec<Upstream>, u16) {
    let (listeners, port) = on_one_port(addresses);
    (
        listeners.into_iter().map(Upstream::once_each).collect(),
        port,
    )
}

/// The statuses of so many requests, one after the other.
fn statuses(keygate: &Keygate, count: usize) -> Vec<u16> {
    let mut client = keygate.connect();
    (0..count).map(|_| client.ask(get("/x")).status).collect()
}

#[test]
fn several_addresses_share_the_load() {
    let addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4"].map(ip);
    let (upstreams, port) = upstreams(&addresses);
    let Some(dns) = Dns::start(Answer::Addresses(addresses.to_vec(), 60)) else {
        return;
    };
    let keygate = dns.setup(port).set("workers", "1").spawn();
    assert_eq!(statuses(&keygate, 30), [200; 30]);
    let counts: Vec<usize> = upstreams.iter().map(Upstream::count).collect();
    assert_eq!(counts, [10, 10, 10]);
    let records = keygate.finish().transactions;
    for address in addresses {
        let address = SocketAddr::new(address, port).to_string();
        let named = records
            .iter()
            .filter(|record| record["upstream"] == address.as_str());
        assert_eq!(named.count(), 10, "{address}");
    }
}

#[test]
fn an_address_that_refuses_is_passed_over() {
    let addresses = ["127.0.0.2", "127.0.0.3"].map(ip);
    let (mut upstreams, port) = upstreams(&addresses);
    let Some(dns) = Dns::start(Answer::Addresses(addresses.to_vec(), 60)) else {
        return;
    };
    let keygate = dns.setup(port).set("workers", "1").spawn();
    assert_eq!(statuses(&keygate, 4), [200; 4]);
    drop(upstreams.pop());
    assert_eq!(statuses(&keygate, 20), [200; 20], "no client notices");
    assert_eq!(upstreams[0].count(), 22);
    drop(upstreams);
    eventually("with none left", SOON, || keygate.status(GOOD) == 502);
    let listener = found_listener(SocketAddr::new(addresses[1], port));
    let back = Upstream::once_each(listener);
    assert_eq!(
        keygate.status(GOOD),
        200,
        "one that is back is found at once"
    );
    assert_eq!(back.count(), 1);
}

/// A listener where another has just been closed.
fn found_listener(address: SocketAddr) -> TcpListener {
    crate::harness::found("the port is free again", SOON, || {
        TcpListener::bind(address).ok()
    })
}

/// Makes a listener swallow what is sent to it: its queue is full, and nobody takes anything out of it.
fn fill(listener: &TcpListener) -> Vec<TcpStream> {
    rustix::net::listen(listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
    std::iter::from_fn(|| connect().ok()).take(100).collect()
}

#[test]
fn an_address_that_swallows_packets_costs_one_request_its_time() {
    let addresses = ["127.0.0.2", "127.0.0.3"].map(ip);
    let (mut listeners, port) = on_one_port(&addresses);
    let good = Upstream::once_each(listeners.pop().unwrap());
    let queued = fill(&listeners[0]);
    assert!(queued.len() < 100, "the queue is never full");
    let Some(dns) = Dns::start(Answer::Addresses(addresses.to_vec(), 60)) else {
        return;
    };
    let keygate = dns
        .setup(port)
        .set("workers", "1")
        .set("timeouts", "{connect: 3s}")
        .spawn();
    let mut client = keygate.connect();
    let mut slow = 0;
    for _ in 0..12 {
        let begun = Instant::now();
        assert_eq!(client.ask(get("/x")).status, 200);
        slow += usize::from(begun.elapsed() > Duration::from_secs(1));
    }
    // Half of them without a memory; one more than the first on a machine so busy that the memory is over.
    assert!((1..=2).contains(&slow), "{slow} of 12 were slow");
    assert_eq!(good.count(), 12);
}

#[test]
fn a_change_of_address_is_followed() {
    let addresses = ["127.0.0.2", "127.0.0.3"].map(ip);
    let (upstreams, port) = upstreams(&addresses);
    let Some(dns) = Dns::start(Answer::Addresses(vec![addresses[0]], 1)) else {
        return;
    };
    let keygate = dns.setup(port).spawn();
    assert_eq!(statuses(&keygate, 3), [200; 3]);
    assert_eq!((upstreams[0].count(), upstreams[1].count()), (3, 0));
    dns.answer(Answer::Addresses(vec![addresses[1]], 1));
    let begun = Instant::now();
    eventually("the new address is used", SOON, || {
        assert_eq!(keygate.status(GOOD), 200, "nobody notices the change");
        upstreams[1].count() > 0
    });
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    let before = upstreams[0].count();
    assert_eq!(statuses(&keygate, 10), [200; 10]);
    assert_eq!(upstreams[0].count(), before, "the old one is left alone");
}

#[test]
fn a_name_that_cannot_be_looked_up_any_more_keeps_its_addresses() {
    for answer in [Answer::NoSuchName, Answer::Silence] {
        let (_upstreams, port) = upstreams(&[ip("127.0.0.2")]);
        let Some(dns) = Dns::start(Answer::Addresses(vec![ip("127.0.0.2")], 1)) else {
            return;
        };
        let keygate = dns.setup(port).spawn();
        assert_eq!(keygate.status(GOOD), 200);
        dns.answer(answer.clone());
        let warning = "cannot look up the upstream's name";
        eventually("it is asked a few times", SOON, || {
            assert_eq!(keygate.status(GOOD), 200, "{answer:?}");
            dns.asked() >= 6 && keygate.log().contains(warning)
        });
        assert_eq!(
            keygate.log().matches(warning).count(),
            1,
            "said once: {answer:?}"
        );
        dns.answer(Answer::Addresses(vec![ip("127.0.0.2")], 1));
        eventually("it says that it is well again", SOON, || {
            keygate.log().contains("can be looked up again")
        });
    }
}

#[test]
fn a_name_may_come_into_being_after_the_start() {
    // Also where the name server says that nobody need ask again for an hour.
    for answer in [
        Answer::NoSuchName,
        Answer::Silence,
        Answer::Addresses(Vec::new(), 60),
    ] {
        let (_upstreams, port) = upstreams(&[ip("127.0.0.2")]);
        let Some(dns) = Dns::start(answer.clone()) else {
            return;
        };
        let keygate = dns.setup(port).set("timeouts", "{connect: 2s}").spawn();
        let response = keygate.ask(get("/early"));
        assert_eq!(
            (response.status, response.code().as_str()),
            (502, "upstream_failed"),
            "{answer:?}"
        );
        let record = keygate.transaction_of("/early");
        assert_eq!(record["error"], "the upstream's name has no address yet");
        dns.answer(Answer::Addresses(vec![ip("127.0.0.2")], 60));
        eventually("it is live", SOON, || keygate.status(GOOD) == 200);
    }
}

#[test]
fn an_upstream_may_have_addresses_of_ipv6() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("skipped: this machine has no ::1");
        return;
    }
    for addresses in [vec![ip("::1")], vec![ip("::1"), ip("127.0.0.2")]] {
        let (upstreams, port) = upstreams(&addresses);
        let Some(dns) = Dns::start(Answer::Addresses(addresses.clone(), 60)) else {
            return;
        };
        let keygate = dns.setup(port).set("workers", "1").spawn();
        let each = 6 / addresses.len();
        assert_eq!(statuses(&keygate, 6), [200; 6]);
        assert!(
            upstreams.iter().all(|upstream| upstream.count() == each),
            "{addresses:?}"
        );
        let record = &keygate.finish().transactions;
        let named = format!("[::1]:{port}");
        assert!(
            record
                .iter()
                .any(|record| record["upstream"] == named.as_str())
        );
    }
}
