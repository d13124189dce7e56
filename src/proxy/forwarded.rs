//! Who the client is: the peer of the connection, or, if that is a trusted proxy, the address that it
//! forwards for. Nothing that an untrusted peer says is believed, and nothing that stands left of the first
//! untrusted or unreadable address. Not for: what the upstream is told, which is `headers`.

use std::net::IpAddr;
use std::net::SocketAddr;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
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

/// Works out who sent a request. `scheme` is that of the connection.
#[must_use]
pub fn client(
    peer: &Peer,
    scheme: Scheme,
    headers: &HeaderMap,
    trusted_proxies: &[IpNet],
) -> Client {
    let is_trusted = |ip: &IpAddr| trusted_proxies.iter().any(|network| network.contains(ip));
    let Some(peer) = peer.ip().filter(is_trusted) else {
        return Client {
            ip: peer.ip(),
            scheme,
            trusted: false,
        };
    };
    let mut ip = peer;
    for element in from_the_right(headers) {
        let Some(before) = address(element) else {
            break;
        };
        ip = before;
        if !is_trusted(&ip) {
            break;
        }
    }
    Client {
        ip: Some(ip),
        scheme: forwarded_scheme(headers).unwrap_or(scheme),
        trusted: true,
    }
}

/// The peer's address as it goes into `X-Forwarded-For`: made once a connection, cloned for each request.
#[must_use]
pub fn peer_value(peer: &Peer) -> Option<HeaderValue> {
    let text = peer.ip()?.to_string();
    Some(HeaderValue::try_from(text).expect("an address is visible ASCII"))
}

/// The elements of all `X-Forwarded-For` fields, last one first.
fn from_the_right(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(&X_FORWARDED_FOR).iter().rev();
    values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','))
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
    let value = headers.get_all(&X_FORWARDED_PROTO).iter().next_back()?;
    let last = value
        .to_str()
        .ok()?
        .rsplit(',')
        .next()?
        .trim_matches([' ', '\t']);
    if last.eq_ignore_ascii_case("https") {
        Some(Scheme::Https)
    } else if last.eq_ignore_ascii_case("http") {
        Some(Scheme::Http)
    } else {
        None
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

    proptest! {
        #[test]
        fn what_stands_left_of_an_untrusted_address_never_counts(text in "[0-9a-f:., \\[\\]]{0,40}") {
            let headers = fields(&X_FORWARDED_FOR, &[&format!("{text}, 203.0.113.9")]);
            let client = client(&peer("10.0.0.1"), Scheme::Http, &headers, &trusted());
            prop_assert_eq!(client.ip, Some("203.0.113.9".parse().unwrap()));
        }
    }
}
