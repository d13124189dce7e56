//! Where keygate listens and whom it connects to, from text. Names are not resolved here.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::Address;
use crate::config::AdminUrl;
use crate::config::Speech;
use crate::config::Target;
use crate::config::Upstream;
use crate::config::value::Wrong;

/// `127.0.0.1:8080`, `unix:/run/keygate.sock`: what `listen` accepts.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// As this machine reaches it.
    #[must_use]
    pub fn reached(&self) -> Self {
        match self {
            Self::Tcp(address) => Self::Tcp(reached(*address)),
            Self::Unix(path) => Self::Unix(path.clone()),
        }
    }
}

/// How this machine reaches a listener: one on all networks, on loopback.
#[must_use]
pub(crate) fn reached(mut listener: SocketAddr) -> SocketAddr {
    match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listener.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listener.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    listener
}

/// `http://127.0.0.1:3000`, `https://app:3000`, `unix:/run/app.sock`: what `upstream` accepts.
impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.speech.scheme();
        match &self.target {
            Target::Address(address) => write!(f, "{scheme}://{address}"),
            Target::Name { name, port } => write!(f, "{scheme}://{name}:{port}"),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Reads an address to listen at. A path is left as it is written.
pub(super) fn parse_listen(text: &str) -> Result<Address, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Address::Unix(parse_socket_path(path)?));
    }
    parse_socket(text).map(Address::Tcp)
}

/// Reads an address and a port.
pub(super) fn parse_socket(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let port = text.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
        let port = port.unwrap_or("8080");
        let hint = if text.starts_with("http://") || text.starts_with("https://") {
            format!("leave the scheme out: {}", text.trim_end_matches('/').rsplit('/').next().unwrap_or_default())
        } else if text.starts_with("localhost") {
            format!("write the address: 127.0.0.1:{port}")
        } else if text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) {
            format!("write it with brackets and a port: [{text}]:8080")
        } else if text.parse::<IpAddr>().is_ok() {
            format!("add a port: {text}:8080")
        } else {
            format!("write an address and a port: 0.0.0.0:{port} for all networks, 127.0.0.1:{port} for this machine")
        };
        Wrong::new(format!("expected an address such as \"127.0.0.1:8080\", found {text:?}")).hint(hint)
    })
}

/// Reads who is protected. A path is left as it is written.
pub(super) fn parse_upstream(text: &str) -> Result<(Speech, Target), Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok((Speech::Http, Target::Unix(parse_socket_path(path)?)));
    }
    // What stands before an @ may be a password.
    let wrong = |why: &str| match text.contains('@') {
        true => Wrong::new(why),
        false => Wrong::new(format!("{why}, found {text:?}")),
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        let hint = format!("write http://{text}");
        return Err(wrong("expected a URL such as \"http://127.0.0.1:3000\"").hint(hint));
    };
    let speech = match &*scheme.to_ascii_lowercase() {
        "http" => Speech::Http,
        "https" => Speech::Https,
        "h2c" => Speech::H2c,
        _ => return Err(wrong("expected http://, https://, h2c:// or unix:")),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        let hint = "requests keep their own paths: write only http://HOST:PORT";
        return Err(wrong("expected a host and a port and nothing else").hint(hint));
    }
    let (host, port) = split_port(authority, speech.port())
        .ok_or_else(|| wrong("expected a port from 1 to 65535"))?;
    if let Some(address) = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        let address: IpAddr = address
            .parse()
            .map_err(|_| wrong("expected an IPv6 address in the brackets"))?;
        return Ok((speech, Target::Address(SocketAddr::new(address, port))));
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok((speech, Target::Address(SocketAddr::new(address, port))));
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if is_host_name(&name) {
        Ok((speech, Target::Name { name, port }))
    } else {
        Err(wrong("expected a host name or an address"))
    }
}

/// Reads the text of a `Host` field: a name or an address, and perhaps a port.
pub(super) fn parse_host(text: &str) -> Result<String, Wrong> {
    let wrong = || {
        Wrong::new(format!(
            "expected keep, upstream or the name of a host, found {text:?}"
        ))
        .hint("write it as a client would send it: api.example.com, or api.example.com:8443")
    };
    let (host, _) = split_port(text, 80).ok_or_else(wrong)?;
    let address = match host.strip_prefix('[') {
        Some(host) => host
            .strip_suffix(']')
            .is_some_and(|host| host.parse::<Ipv6Addr>().is_ok()),
        None => host.parse::<Ipv4Addr>().is_ok(),
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if address || is_host_name(name) {
        Ok(text.to_owned())
    } else {
        Err(wrong())
    }
}

/// The name, or the address, in a certificate.
pub(super) fn parse_name(text: &str) -> Result<String, Wrong> {
    if text.parse::<IpAddr>().is_ok() || is_host_name(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Wrong::new(format!(
            "expected the name in a certificate or none, found {text:?}"
        ))
        .hint("write it without a port: api.example.com"))
    }
}

/// `https://ops.example.com/keygate/`: what a browser sees of the admin API.
pub(super) fn parse_admin_url(text: &str) -> Result<AdminUrl, Wrong> {
    let wrong = || {
        Wrong::new(format!("expected a URL or none, found {text:?}"))
            .hint("write it as https://ops.example.com/ or https://ops.example.com/keygate/")
    };
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(wrong()),
    };
    let authority = uri.authority().ok_or_else(wrong)?;
    if uri.query().is_some() || authority.as_str().contains('@') || text.contains('#') {
        return Err(wrong());
    }
    // The path stands in a cookie, where a semicolon would end it.
    let in_cookie = |byte: u8| byte.is_ascii_graphic() && byte != b';';
    if !uri.path().bytes().all(in_cookie) {
        return Err(
            Wrong::new("expected a path of ASCII characters without a semicolon")
                .hint("write other characters as browsers send them: %C3%A9 for é"),
        );
    }
    let own_port = if secure { 443 } else { 80 };
    let (host, port) =
        split_port(authority.as_str().trim_end_matches(':'), 80).ok_or_else(wrong)?;
    let written = host.len() < authority.as_str().trim_end_matches(':').len();
    let host = as_browsers_write(&parse_host(host)?);
    let authority = if written && port != own_port {
        format!("{host}:{port}")
    } else {
        host
    };
    let mut path = uri.path().to_owned();
    if !path.ends_with('/') {
        path.push('/');
    }
    Ok(AdminUrl {
        secure,
        authority,
        path,
    })
}

/// In lower case, and an address of IPv6 in its short form.
fn as_browsers_write(host: &str) -> String {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match inner.and_then(|inner| inner.parse::<Ipv6Addr>().ok()) {
        Some(address) => format!("[{address}]"),
        None => host.to_ascii_lowercase(),
    }
}

/// Whether two sockets would meet: the same port, and one address or one that stands for all.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && one.port() != 0 && (a == b || covers(a, b) || covers(b, a))
}

/// Whether connecting to `target` would reach a socket that listens at `listen`, as far as names and
/// addresses tell.
pub(super) fn reaches(target: &Target, listen: &Address) -> bool {
    match (target, listen) {
        (Target::Unix(target), Address::Unix(listen)) => target == listen,
        (Target::Address(target), Address::Tcp(listen)) => overlap(*target, *listen),
        (Target::Name { name, port }, Address::Tcp(listen)) => {
            let here = listen.ip().is_loopback() || listen.ip().is_unspecified();
            name == "localhost" && *port == listen.port() && here
        }
        (Target::Unix(_), Address::Tcp(_))
        | (Target::Address(_) | Target::Name { .. }, Address::Unix(_)) => false,
    }
}

/// `host:port`, or a host alone, which stands for this port.
fn split_port(authority: &str, default: u16) -> Option<(&str, u16)> {
    let end_of_host = authority.rfind(']').unwrap_or(0);
    match authority[end_of_host..].find(':') {
        None => Some((authority, default)),
        Some(colon) => {
            let (host, port) = authority.split_at(end_of_host + colon);
            let port = &port[1..];
            let port = port
                .parse()
                .ok()
                .filter(|number| *number != 0 && port.bytes().all(|b| b.is_ascii_digit()))?;
            Some((host, port))
        }
    }
}

fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && !label.starts_with('-') && label.bytes().all(inner)
    };
    // All digits and dots would be an address that is none: 127.0.0.300.
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    name.len() <= 253 && !numeric && name.split('.').all(label)
}

fn parse_socket_path(path: &str) -> Result<PathBuf, Wrong> {
    if path.is_empty() || path.starts_with("//") {
        return Err(Wrong::new("expected the path of a socket after unix:")
            .hint("write it as unix:/run/app.sock"));
    }
    // sun_path of sockaddr_un, with its closing NUL.
    if path.len() > 107 {
        return Err(Wrong::new(
            "the path of a Unix socket has at most 107 bytes",
        ));
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_read() {
        let name = |name: &str, port| Target::Name {
            name: name.to_owned(),
            port,
        };
        let address = |text: &str| Target::Address(text.parse().unwrap());
        let rows = [
            (
                "http://127.0.0.1:3000",
                Speech::Http,
                address("127.0.0.1:3000"),
            ),
            (
                "http://127.0.0.1:3000/",
                Speech::Http,
                address("127.0.0.1:3000"),
            ),
            ("HTTP://[::1]:3000", Speech::Http, address("[::1]:3000")),
            ("http://[::1]", Speech::Http, address("[::1]:80")),
            ("http://app", Speech::Http, name("app", 80)),
            (
                "http://App.Example.:81",
                Speech::Http,
                name("app.example", 81),
            ),
            ("http://my_app-1:3000", Speech::Http, name("my_app-1", 3000)),
            ("https://app", Speech::Https, name("app", 443)),
            ("https://127.0.0.1", Speech::Https, address("127.0.0.1:443")),
            ("HTTPS://app:8443", Speech::Https, name("app", 8443)),
            ("h2c://app", Speech::H2c, name("app", 80)),
            ("h2c://[::1]:50051", Speech::H2c, address("[::1]:50051")),
            (
                "unix:/run/app.sock",
                Speech::Http,
                Target::Unix("/run/app.sock".into()),
            ),
        ];
        for (text, speech, target) in rows {
            assert_eq!(parse_upstream(text), Ok((speech, target)), "{text}");
        }
    }

    #[test]
    fn what_is_no_upstream_is_refused() {
        let rows = [
            ("127.0.0.1:3000", "expected a URL such as"),
            ("ftp://app", "expected http://, https://, h2c:// or unix:"),
            ("https://app/v1", "and nothing else"),
            ("http://app/v1", "and nothing else"),
            ("http://user@app", "and nothing else"),
            ("http://app:0", "a port from 1 to 65535"),
            ("http://app:", "a port from 1 to 65535"),
            ("http://app:+80", "a port from 1 to 65535"),
            ("http://app:70000", "a port from 1 to 65535"),
            ("http://[::x]:1", "an IPv6 address"),
            ("http://127.0.0.300:1", "a host name or an address"),
            ("http://", "a host name or an address"),
            ("http://a b", "a host name or an address"),
            ("unix:", "the path of a socket"),
        ];
        for (text, what) in rows {
            let wrong = parse_upstream(text).expect_err(text);
            assert!(wrong.what.contains(what), "{text}: {}", wrong.what);
        }
    }

    #[test]
    fn what_is_no_address_gets_a_hint_that_is_one() {
        let rows = [
            (
                "8080",
                "write an address and a port: 0.0.0.0:8080 for all networks, 127.0.0.1:8080 for this machine",
            ),
            (
                ":81",
                "write an address and a port: 0.0.0.0:81 for all networks, 127.0.0.1:81 for this machine",
            ),
            ("localhost:81", "write the address: 127.0.0.1:81"),
            ("127.0.0.1", "add a port: 127.0.0.1:8080"),
            ("::1", "write it with brackets and a port: [::1]:8080"),
            ("http://127.0.0.1:81/", "leave the scheme out: 127.0.0.1:81"),
        ];
        for (text, hint) in rows {
            assert_eq!(
                parse_listen(text).expect_err(text).hint.as_deref(),
                Some(hint),
                "{text}"
            );
        }
    }

    #[test]
    fn a_host_is_what_a_host_field_takes() {
        for text in [
            "app",
            "a.b:1",
            "API.example.",
            "127.0.0.1",
            "[::1]:80",
            "my_app",
        ] {
            assert_eq!(parse_host(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "a b",
            "http://app",
            "app:",
            "app:0",
            "me@app",
            "::1",
            "[::1",
            "ä.example",
            "a/b",
            "a,b",
            "a%41",
        ] {
            let wrong = parse_host(text).expect_err(text);
            assert!(
                wrong.what.contains("expected keep, upstream"),
                "{text}: {}",
                wrong.what
            );
        }
    }

    #[test]
    fn an_upstream_that_is_keygate_itself_is_seen() {
        let rows = [
            ("http://127.0.0.1:80", "0.0.0.0:80", true),
            ("http://127.0.0.1:80", "[::]:80", true),
            ("http://[::1]:80", "[::]:80", true),
            ("http://[::1]:80", "0.0.0.0:80", false),
            ("http://localhost:80", "0.0.0.0:80", true),
            ("http://localhost:80", "10.0.0.1:80", false),
            ("http://0.0.0.0:80", "127.0.0.1:80", true),
            ("http://127.0.0.1:80", "127.0.0.1:80", true),
            ("http://127.0.0.1:81", "127.0.0.1:80", false),
            ("http://127.0.0.2:80", "127.0.0.1:80", false),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
            ("unix:/a", "127.0.0.1:80", false),
        ];
        for (upstream, listen, same) in rows {
            let (target, address) = (
                parse_upstream(upstream).unwrap().1,
                parse_listen(listen).unwrap(),
            );
            assert_eq!(reaches(&target, &address), same, "{upstream} {listen}");
        }
    }
}
