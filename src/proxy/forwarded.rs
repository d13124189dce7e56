//! Who the client is: the peer of the connection, or, if that is a trusted proxy, the address that it
//! forwards for. Nothing that an untrusted peer says is believed, and nothing that stands left of the first
//! untrusted or unreadable address.
//!
//! Proxies say it in `X-Forwarded-For` or in `Forwarded` (RFC 7239). Where a request has both, the first one decides and
//! the other is not looked at: nearly every proxy writes it, keygate does itself, and few remove a `Forwarded` that a
//! client has made up. A proxy that writes `Forwarded` has to remove `X-Forwarded-For`.
//!
//! The peer may itself be one that a PROXY header names: that is who spoke to the load balancer, and only if it is a
//! trusted proxy as well is it believed about others.
//! Not for: what the upstream is told, which is `headers`.

mod field;

use std::net::IpAddr;
use std::net::SocketAddr;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use ipnet::IpNet;

use crate::peer::Peer;

/// The chain of addresses, client first.
pub static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
pub static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that the client asked for.
pub static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address; none on a Unix socket.
    pub ip: Option<IpAddr>,
    /// What the client spoke, to the trusted proxy in front if there is one.
    pub scheme: Scheme,
    /// Whether the peer is a trusted proxy, so that what it forwards is kept.
    pub trusted: bool,
}

/// The scheme of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As URLs have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Whether what a peer with this address says of others is believed.
#[must_use]
pub fn is_trusted(ip: IpAddr, trusted_proxies: &[IpNet]) -> bool {
    trusted_proxies.iter().any(|network| network.contains(&ip))
}

/// Works out who sent a request. `scheme` is that of the connection.
#[must_use]
pub fn client(
    peer: &Peer,
    scheme: Scheme,
    headers: &HeaderMap,
    trusted_proxies: &[IpNet],
) -> Client {
    let trusted = |ip: &IpAddr| is_trusted(*ip, trusted_proxies);
    let Some(peer) = peer.ip().filter(trusted) else {
        return Client {
            ip: peer.ip(),
            scheme,
            trusted: false,
        };
    };
    Client {
        ip: Some(nearest_stranger(peer, from_the_right(headers), trusted)),
        scheme: forwarded_scheme(headers).unwrap_or(scheme),
        trusted: true,
    }
}

/// The first address from the right that is not trusted, or the last one that can be read.
fn nearest_stranger(
    peer: IpAddr,
    chain: impl Iterator<Item = IpAddr>,
    trusted: impl Fn(&IpAddr) -> bool,
) -> IpAddr {
    let mut ip = peer;
    for before in chain {
        ip = before;
        if !trusted(&ip) {
            break;
        }
    }
    ip
}

/// The addresses that a trusted peer has told in `Forwarded`, client first, as far as they can be read from the right;
/// none where `X-Forwarded-For` decides.
#[must_use]
pub fn told_otherwise(headers: &HeaderMap) -> Vec<IpAddr> {
    if headers.contains_key(&X_FORWARDED_FOR) || !headers.contains_key(header::FORWARDED) {
        return Vec::new();
    }
    let mut chain: Vec<IpAddr> = from_the_right(headers).collect();
    chain.reverse();
    chain
}

/// The host that a trusted peer was asked for, by its `Forwarded`.
#[must_use]
pub fn told_host(headers: &HeaderMap) -> Option<HeaderValue> {
    let host = nearest_element(headers)?.host?;
    let in_hosts = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte);
    if host.is_empty() || !host.iter().all(in_hosts) {
        return None;
    }
    HeaderValue::from_bytes(&host).ok()
}

/// The peer's address as it goes into `X-Forwarded-For`: made once a connection, cloned for each request.
#[must_use]
pub fn peer_value(peer: &Peer) -> Option<HeaderValue> {
    let text = peer.ip()?.to_string();
    Some(HeaderValue::try_from(text).expect("an address is visible ASCII"))
}

/// The chain of addresses, last one first, up to the first that cannot be read.
fn from_the_right(headers: &HeaderMap) -> impl Iterator<Item = IpAddr> {
    let values = headers.get_all(&X_FORWARDED_FOR).iter().rev();
    let usual = values
        .flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','))
        .map(address);
    let elements = if headers.contains_key(&X_FORWARDED_FOR) {
        None
    } else {
        Some(field::from_the_right(headers).map(|element| element?.ip()))
    };
    usual
        .chain(elements.into_iter().flatten())
        .map_while(|ip| ip)
}

/// What the peer says in `Forwarded`, where that counts.
fn nearest_element(headers: &HeaderMap) -> Option<field::Element<'_>> {
    if headers.contains_key(&X_FORWARDED_FOR) {
        return None;
    }
    field::from_the_right(headers).next()?
}

/// An address as proxies write it: bare, or with a port, IPv6 also in brackets.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim_matches([' ', '\t']);
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    inside.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// What the trusted peer says; of several elements the last, which is its own.
fn forwarded_scheme(headers: &HeaderMap) -> Option<Scheme> {
    match headers.get_all(&X_FORWARDED_PROTO).iter().next_back() {
        Some(value) => scheme(value.as_bytes().rsplit(|byte| *byte == b',').next()?),
        None => scheme(&nearest_element(headers)?.proto?),
    }
}

fn scheme(text: &[u8]) -> Option<Scheme> {
    match text.trim_ascii() {
        text if text.eq_ignore_ascii_case(b"https") => Some(Scheme::Https),
        text if text.eq_ignore_ascii_case(b"http") => Some(Scheme::Http),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(ip: &str) -> Peer {
        Peer::tcp(SocketAddr::new(ip.parse().unwrap(), 4711))
    }

    fn fields(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn trusted() -> Vec<IpNet> {
        vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]
    }

    #[test]
    #[rustfmt::skip] // a table: one row a line
    fn the_client_is_the_first_untrusted_address_from_the_right() {
        let rows: [(&str, &str, &[&str], &str); 19] = [
            ("no proxy", "192.0.2.1", &[], "192.0.2.1"),
            ("an untrusted peer lies", "192.0.2.1", &["203.0.113.9"], "192.0.2.1"),
            ("an untrusted peer names a trusted one", "192.0.2.1", &["10.0.0.1"], "192.0.2.1"),
            ("trusted without a word", "10.0.0.1", &[], "10.0.0.1"),
            ("trusted", "10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("the client lies in front", "10.0.0.1", &["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
            ("two proxies", "10.0.0.1", &["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            ("two fields", "10.0.0.1", &["127.0.0.1", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),
            ("all trusted", "10.0.0.1", &["10.0.0.3,10.0.0.2"], "10.0.0.3"),
            ("a malformed element ends it", "10.0.0.1", &["203.0.113.9, x, 10.0.0.2"], "10.0.0.2"),
            ("malformed at once", "10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1"),
            ("empty element", "10.0.0.1", &["203.0.113.9, "], "10.0.0.1"),
            ("not ASCII", "10.0.0.1", &["203.0.113.9, é"], "10.0.0.1"),
            ("with a port", "10.0.0.1", &["203.0.113.9:1234"], "203.0.113.9"),
            ("IPv6", "10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("IPv6 in brackets", "10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("IPv6 with a port", "10.0.0.1", &["[2001:db8::1]:80"], "2001:db8::1"),
            ("IPv4 in IPv6", "::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            ("trusted IPv6", "fd00::1", &["203.0.113.9"], "203.0.113.9"),
        ];
        for (name, from, values, expected) in rows {
            let headers = fields(&X_FORWARDED_FOR, values);
            let client = client(&peer(from), Scheme::Http, &headers, &trusted());
            assert_eq!(client.ip, Some(expected.parse().unwrap()), "{name}");
        }
        let unix = client(&Peer::Unix, Scheme::Http, &fields(&X_FORWARDED_FOR, &["10.0.0.1"]), &trusted());
        assert_eq!(unix, Client { ip: None, scheme: Scheme::Http, trusted: false });
    }

    #[test]
    #[rustfmt::skip] // a table: one row a line
    fn the_scheme_is_taken_from_trusted_peers_only() {
        let rows: [(&str, &str, &[&str], Scheme); 7] = [
            ("no word", "10.0.0.1", &[], Scheme::Http),
            ("https", "10.0.0.1", &["https"], Scheme::Https),
            ("in capitals", "10.0.0.1", &["HTTPS"], Scheme::Https),
            ("the last of a list", "10.0.0.1", &["https, http"], Scheme::Http),
            ("the last field", "10.0.0.1", &["http", "https"], Scheme::Https),
            ("nonsense", "10.0.0.1", &["gopher"], Scheme::Http),
            ("an untrusted peer", "192.0.2.1", &["https"], Scheme::Http),
        ];
        for (name, from, values, expected) in rows {
            let headers = fields(&X_FORWARDED_PROTO, values);
            let client = client(&peer(from), Scheme::Http, &headers, &trusted());
            assert_eq!(client.scheme, expected, "{name}");
        }
    }

    #[test]
    #[rustfmt::skip] // a table: one row a line
    fn forwarded_counts_where_there_is_no_other() {
        type Row<'a> = (&'a str, &'a str, &'a [&'a str], &'a [&'a str], &'a str);
        let rows: [Row<'_>; 16] = [
            ("an untrusted peer lies", "192.0.2.1", &["for=203.0.113.9"], &[], "192.0.2.1"),
            ("trusted", "10.0.0.1", &["for=203.0.113.9"], &[], "203.0.113.9"),
            ("the client lies in front", "10.0.0.1", &["for=127.0.0.1, for=203.0.113.9"], &[], "203.0.113.9"),
            ("two proxies", "10.0.0.1", &["for=203.0.113.9;proto=https, for=10.0.0.2;by=_x"], &[], "203.0.113.9"),
            ("two fields", "10.0.0.1", &["for=127.0.0.1", "for=203.0.113.9", "for=10.0.0.2"], &[], "203.0.113.9"),
            ("IPv6", "10.0.0.1", &["for=\"[2001:db8::1]:4711\""], &[], "2001:db8::1"),
            ("all trusted", "10.0.0.1", &["for=10.0.0.3, for=\"[fd00::2]\""], &[], "10.0.0.3"),
            ("unknown ends it", "10.0.0.1", &["for=203.0.113.9, for=unknown"], &[], "10.0.0.1"),
            ("a made-up name ends it", "10.0.0.1", &["for=203.0.113.9, for=_x, for=10.0.0.2"], &[], "10.0.0.2"),
            ("malformed ends it", "10.0.0.1", &["for=203.0.113.9, for, for=10.0.0.2"], &[], "10.0.0.2"),
            ("no word ends it", "10.0.0.1", &["for=203.0.113.9, proto=https"], &[], "10.0.0.1"),
            ("an empty element ends it", "10.0.0.1", &["for=203.0.113.9,"], &[], "10.0.0.1"),
            ("an open quote swallows nothing", "10.0.0.1", &["for=\"10.0.0.9, for=203.0.113.9"], &[], "203.0.113.9"),
            ("an open quote before a quote", "10.0.0.1", &["x=\", for=\"[2001:db8::1]\";by=\"_y\""], &[], "2001:db8::1"),
            ("the other decides", "10.0.0.1", &["for=203.0.113.9"], &["203.0.113.7"], "203.0.113.7"),
            ("the other decides, whatever it says", "10.0.0.1", &["for=203.0.113.9"], &["unknown"], "10.0.0.1"),
        ];
        for (name, from, forwarded, usual, expected) in rows {
            let mut headers = fields(&header::FORWARDED, forwarded);
            headers.extend(fields(&X_FORWARDED_FOR, usual));
            let client = client(&peer(from), Scheme::Http, &headers, &trusted());
            assert_eq!(client.ip, Some(expected.parse().unwrap()), "{name}");
        }
    }

    #[test]
    #[rustfmt::skip] // a table: one row a line
    fn the_nearest_proxy_says_what_the_client_spoke_and_asked_for() {
        type Row<'a> = (&'a str, &'a [&'a str], &'a [(&'a HeaderName, &'a str)], Scheme, Option<&'a str>);
        let rows: [Row<'_>; 10] = [
            ("https", &["for=_a;proto=https;host=shop.example"], &[], Scheme::Https, Some("shop.example")),
            ("quoted", &["proto=\"HTTPS\";host=\"shop.example:8443\""], &[], Scheme::Https, Some("shop.example:8443")),
            ("of two", &["proto=https;host=a, proto=http;host=b"], &[], Scheme::Http, Some("b")),
            ("of two fields", &["proto=http", "proto=https"], &[], Scheme::Https, None),
            ("the nearest says nothing", &["proto=https;host=a, for=10.0.0.2"], &[], Scheme::Http, None),
            ("the nearest is malformed", &["proto=https;host=a, proto=https;host"], &[], Scheme::Http, None),
            ("nonsense", &["proto=gopher;host=\"a b\""], &[], Scheme::Http, None),
            ("the other chain", &["proto=https;host=a"], &[(&X_FORWARDED_FOR, "203.0.113.7")], Scheme::Http, None),
            ("the other scheme", &["proto=https;host=a"], &[(&X_FORWARDED_PROTO, "http")], Scheme::Http, Some("a")),
            ("the other scheme is nonsense", &["proto=https"], &[(&X_FORWARDED_PROTO, "x")], Scheme::Http, None),
        ];
        for (name, forwarded, others, expected, host) in rows {
            let mut headers = fields(&header::FORWARDED, forwarded);
            for (name, value) in others {
                headers.extend(fields(name, &[value]));
            }
            let client = client(&peer("10.0.0.1"), Scheme::Http, &headers, &trusted());
            assert_eq!(client.scheme, expected, "{name}");
            assert_eq!(told_host(&headers).as_ref().map(|host| host.to_str().unwrap()), host, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_stands_left_of_an_untrusted_element_never_counts(
            text in "[ -~\t]{0,40}|(for=10\\.0\\.0\\.9|\"|\\\\|,|;|=|for=|x){0,12}",
            last in prop::sample::select(&[
                "for=203.0.113.9", "for=\"203.0.113.9:80\"", "by=\"_a,b\";for=203.0.113.9;x=\"\\\\\"", "for=\"203.0.113.9\";proto=https",
            ][..]),
            joined in any::<bool>(),
        ) {
            let headers = if joined {
                fields(&header::FORWARDED, &[&format!("{text}, {last}")])
            } else {
                fields(&header::FORWARDED, &[&text, last])
            };
            let client = client(&peer("10.0.0.1"), Scheme::Http, &headers, &trusted());
            prop_assert_eq!(client.ip, Some("203.0.113.9".parse().unwrap()));
        }

        #[test]
        fn what_stands_left_of_an_untrusted_address_never_counts(text in "[0-9a-f:., \\[\\]]{0,40}") {
            let headers = fields(&X_FORWARDED_FOR, &[&format!("{text}, 203.0.113.9")]);
            let client = client(&peer("10.0.0.1"), Scheme::Http, &headers, &trusted());
            prop_assert_eq!(client.ip, Some("203.0.113.9".parse().unwrap()));
        }
    }
}
