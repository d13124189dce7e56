//! Whether others reach the upstream without keygate. The kernel's tables say where its port listens on this machine,
//! pod or container; what a network in between keeps away, nobody here can see.

use std::fs;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;

use crate::cli::doctor::finding::Finding;
use crate::cli::doctor::upstream::Visit;
use crate::config::Address;
use crate::config::Config;
use crate::config::Target;

const ABOUT: &str = "way around";

/// More addresses say no more.
const SHOWN_MAX: usize = 3;

pub(super) fn look(config: &Config, visit: &Visit) -> Option<Finding> {
    if let Target::Unix(path) = &config.upstream.target {
        let mode = fs::metadata(path).ok()?.mode();
        return Some(judge_unix(&path.display().to_string(), mode & 0o777));
    }
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (tcp, tcp6) = (read("/proc/net/tcp"), read("/proc/net/tcp6"));
    let listening: Vec<_> = listeners(&tcp).chain(listeners(&tcp6)).collect();
    let local = local_addresses(&read("/proc/net/fib_trie"), &read("/proc/net/if_inet6"));
    judge(&visit.addresses, &listening, &local, &own(config))
}

/// Where keygate itself listens: perhaps at the port of the upstream on another address, which is no way around it.
fn own(config: &Config) -> Vec<SocketAddr> {
    let proxy = config
        .listen
        .iter()
        .filter_map(|listen| match listen.address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        });
    proxy
        .chain([config.admin.listen])
        .chain(config.telemetry.listen)
        .collect()
}

fn judge(
    upstream: &[SocketAddr],
    listening: &[SocketAddr],
    local: &[IpAddr],
    own: &[SocketAddr],
) -> Option<Finding> {
    let is_here = |ip: IpAddr| ip.is_loopback() || local.contains(&ip);
    let here = upstream.iter().find(|address| is_here(address.ip()));
    let Some(here) = here else {
        let first = upstream.first()?;
        let seen = format!(
            "not to be seen from here: {} is another machine or container",
            first.ip()
        );
        return Some(Finding::ok(ABOUT, seen));
    };
    let port = here.port();
    if !listening.iter().any(|listener| listener.port() == port) {
        return None; // nobody there, which is another finding
    }
    let open = |ip: &IpAddr| {
        listening.iter().any(|listener| {
            let same = listener.ip() == *ip;
            let all = listener.ip().is_unspecified() && (listener.is_ipv6() || ip.is_ipv4());
            listener.port() == port && !own.contains(listener) && (same || all)
        })
    };
    let mut reached: Vec<_> = local
        .iter()
        .filter(|ip| !ip.is_loopback() && open(ip))
        .collect();
    reached.sort();
    if reached.is_empty() {
        return Some(Finding::ok(
            ABOUT,
            format!("port {port} of the upstream listens for this machine only"),
        ));
    }
    let more = reached.len().saturating_sub(SHOWN_MAX);
    let shown: Vec<_> = reached
        .iter()
        .take(SHOWN_MAX)
        .map(|ip| SocketAddr::new(**ip, port).to_string())
        .collect();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(
        Finding::warn(ABOUT, format!("the upstream listens at {}{more} as well", shown.join(", ")))
            .why("whoever reaches that address needs no key, and no record is made of it")
            .fix("let the service listen on 127.0.0.1 alone (often HOST=127.0.0.1, --host or --bind); where it cannot: a \
                  NetworkPolicy or a firewall that lets nobody but keygate's port in"),
    )
}

fn judge_unix(place: &str, mode: u32) -> Finding {
    if mode & 0o002 == 0 {
        return Finding::ok(
            ABOUT,
            format!("not every user may connect to {place} ({mode:04o})"),
        );
    }
    Finding::warn(
        ABOUT,
        format!("every user of this machine may connect to {place} ({mode:04o})"),
    )
    .why("they need no key then")
    .fix(format!(
        "chmod 660 {place}, and a group that keygate's user is in"
    ))
}

/// The sockets that listen, of `/proc/net/tcp` or `tcp6`: `0: 0100007F:1F90 00000000:0000 0A …`.
fn listeners(table: &str) -> impl Iterator<Item = SocketAddr> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        let (ip, port) = local.split_once(':')?;
        let address = SocketAddr::new(hex_address(ip)?, u16::from_str_radix(port, 16).ok()?);
        (state == "0A").then_some(address)
    })
}

/// Each four bytes as a number of this machine's byte order.
fn hex_address(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for word in text.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(&*bytes) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    let bytes = <[u8; 16]>::try_from(&*bytes).ok()?;
    Some(Ipv6Addr::from(bytes).to_canonical())
}

/// This machine's addresses, without those that only it reaches and those of one cable.
fn local_addresses(fib_trie: &str, if_inet6: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    let mut last = None;
    for line in fib_trie.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.filter(|ip| !ip.is_loopback()).map(IpAddr::from));
        }
    }
    found.extend(if_inet6.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (address, scope) = (fields.next()?, fields.nth(2)?);
        let bits = u128::from_str_radix(address, 16).ok()?;
        (scope == "00").then(|| IpAddr::from(Ipv6Addr::from_bits(bits)))
    }));
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    const FIB_TRIE: &str = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
        Local:\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.5\n        /32 host LOCAL\n\
        \x20    |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
    const IF_INET6: &str = "00000000000000000000000000000001 01 80 10 80       lo\n\
        fe800000000000000000000000000001 02 40 20 80     eth0\n\
        20010db8000000000000000000000005 02 40 00 80     eth0\n";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_kernels_tables_are_read() {
        let local = local_addresses(FIB_TRIE, IF_INET6);
        let expected: [IpAddr; 2] = ["10.0.0.5".parse().unwrap(), "2001:db8::5".parse().unwrap()];
        assert_eq!(local, expected);
        // As this machine would write them.
        let hex = |octets: &[u8]| -> String {
            let words = octets
                .chunks(4)
                .map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
            words.map(|word| format!("{word:08X}")).collect()
        };
        let v4 = hex(&Ipv4Addr::LOCALHOST.octets());
        let v6 = hex(&"2001:db8::5".parse::<Ipv6Addr>().unwrap().octets());
        let table = format!(
            "  sl  local_address rem_address   st\n   0: {v4}:1F90 00000000:0000 0A 0\n   1: {v6}:0050 0:0 0A\n   2: {v4}:1F91 0:0 01\nx\n"
        );
        let found: Vec<_> = listeners(&table).collect();
        assert_eq!(found, [at("127.0.0.1:8080"), at("[2001:db8::5]:80")]);
    }

    #[test]
    fn a_way_around_is_an_address_that_others_reach() {
        let local: Vec<IpAddr> = vec!["10.0.0.5".parse().unwrap(), "2001:db8::5".parse().unwrap()];
        /// The upstream, who listens, where keygate does, and what is found.
        type Row = (
            &'static str,
            &'static [&'static str],
            &'static [&'static str],
            Level,
            &'static str,
        );
        let rows: [Row; 9] = [
            (
                "127.0.0.1:3000",
                &["127.0.0.1:3000"],
                &[],
                Level::Ok,
                "this machine only",
            ),
            (
                "127.0.0.1:3000",
                &["0.0.0.0:3000"],
                &[],
                Level::Warn,
                "at 10.0.0.5:3000 as well",
            ),
            (
                "127.0.0.1:3000",
                &["[::]:3000"],
                &[],
                Level::Warn,
                "at 10.0.0.5:3000, [2001:db8::5]:3000 as well",
            ),
            (
                "127.0.0.1:3000",
                &["127.0.0.1:3000", "10.0.0.5:3000"],
                &[],
                Level::Warn,
                "10.0.0.5:3000",
            ),
            (
                "127.0.0.1:3000",
                &["127.0.0.1:3000", "10.0.0.5:3000"],
                &["10.0.0.5:3000"],
                Level::Ok,
                "",
            ),
            (
                "127.0.0.1:3000",
                &["127.0.0.1:3000", "0.0.0.0:3001"],
                &[],
                Level::Ok,
                "",
            ),
            (
                "10.0.0.5:3000",
                &["10.0.0.5:3000"],
                &[],
                Level::Warn,
                "10.0.0.5:3000",
            ),
            (
                "10.0.0.9:3000",
                &["0.0.0.0:3000"],
                &[],
                Level::Ok,
                "another machine",
            ),
            ("[::1]:3000", &["[::1]:3000"], &[], Level::Ok, ""),
        ];
        for (upstream, listening, own, level, seen) in rows {
            let all = |texts: &[&str]| texts.iter().map(|text| at(text)).collect::<Vec<_>>();
            let finding = judge(&[at(upstream)], &all(listening), &local, &all(own)).unwrap();
            assert_eq!(
                finding.level, level,
                "{upstream} {listening:?}: {finding:?}"
            );
            assert!(finding.seen.contains(seen), "{finding:?}");
        }
        assert_eq!(judge(&[], &[], &local, &[]), None, "no address, no finding");
        let nobody = judge(&[at("127.0.0.1:1")], &[at("127.0.0.1:2")], &local, &[]);
        assert_eq!(nobody, None, "nobody listens");
        let alone = judge(&[at("127.0.0.1:1")], &[at("0.0.0.0:1")], &[], &[]).unwrap();
        assert_eq!(alone.level, Level::Ok, "a machine without a network");
    }

    #[test]
    fn a_socket_for_everybody_is_a_way_around() {
        assert_eq!(judge_unix("/run/app.sock", 0o660).level, Level::Ok);
        assert_eq!(judge_unix("/run/app.sock", 0o777).level, Level::Warn);
    }
}
