//! Which hosts and origins are ours. An admin API on loopback is within reach of every page that the administrator's
//! browser shows; these two checks keep those pages out. Not for: who the administrator is.
//!
//! - **Host**, on every request, against DNS rebinding: a page at `http://evil.example:8018` makes its own name resolve
//!   to 127.0.0.1, and is then of one origin with keygate. It cannot change the name in `Host`. So names must be known:
//!   loopback's own, and that of `admin.url`. An address cannot be made to resolve to another one: where everybody may
//!   come (a wildcard listener with TLS or `allow_plain_http`, no `url`), any address passes and no name.
//! - **Origin and Sec-Fetch-Site**, on every change, against cross-site requests: a form or a `fetch` of another site,
//!   or of another port of this machine, which SameSite does not tell apart, is sent with the session's cookie. The
//!   browser says where it comes from, and pages cannot change that. Clients that are no browsers send neither.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::header::HOST;
use axum::http::header::ORIGIN;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::config;

/// A longer name is no name; and what is said about it in an answer is short.
const HOST_BYTES_MAX: usize = 260;

/// The rules, for one configuration.
#[derive(Debug)]
pub(crate) struct Guard {
    /// `https` or `http`, and the authority, of `admin.url`.
    url: Option<(&'static str, String)>,
    listen: IpAddr,
    /// What the listener itself speaks.
    scheme: &'static str,
    /// Whoever can reach the listener may come, by its address.
    any_address: bool,
}

impl Guard {
    pub(crate) fn new(admin: &config::Admin) -> Self {
        let url = admin.url.as_ref().map(|url| {
            let scheme = if url.secure { "https" } else { "http" };
            (scheme, url.authority.clone())
        });
        let listen = admin.listen.ip().to_canonical();
        Self {
            any_address: listen.is_unspecified()
                && (admin.tls.is_some() || admin.allow_plain_http)
                && url.is_none(),
            scheme: admin.scheme(),
            url,
            listen,
        }
    }

    /// Whether the request is meant for us.
    pub(crate) fn host(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let refused = |why: &str| Err(ApiError::new(Code::HostNotAllowed, why));
        let Some(value) = only(headers, HOST) else {
            return refused("the request needs one Host field");
        };
        let Some(authority) = Authority::parse(value) else {
            return refused("Host is not a name or an address, with or without a port");
        };
        if self.is_ours(&authority) {
            return Ok(());
        }
        refused(&format!(
            "{} is not a name of keygate's: open it as {scheme}://127.0.0.1 or {scheme}://localhost with its port, \
             or set admin.url to the address in the browser",
            authority.text,
            scheme = self.scheme
        ))
    }

    fn is_ours(&self, authority: &Authority) -> bool {
        if self.is_url(authority) {
            return true;
        }
        match authority.address {
            Some(address) => {
                let known = address.is_loopback() || address == self.listen || self.any_address;
                known && !address.is_unspecified()
            }
            None => {
                let name = authority.host.strip_suffix('.').unwrap_or(&authority.host);
                name == "localhost" || name.ends_with(".localhost")
            }
        }
    }

    fn is_url(&self, authority: &Authority) -> bool {
        self.url
            .as_ref()
            .is_some_and(|(scheme, ours)| authority.without_port_of(scheme) == ours)
    }

    /// Whether a change comes from our own pages, or from no page at all. After [`Guard::host`].
    pub(crate) fn origin(&self, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
        if method.is_safe() {
            return Ok(());
        }
        let refused = |why: &str| Err(ApiError::new(Code::OriginNotAllowed, why));
        if headers.contains_key(ORIGIN) {
            // `null` is what sandboxed frames and redirected forms send: somebody else's page as well.
            let ours =
                only(headers, ORIGIN).is_some_and(|origin| self.is_our_origin(origin, headers));
            if !ours {
                return refused(
                    "the page that asks is not keygate's: Origin is another address than Host; behind a proxy, set \
                     admin.url to the address in the browser",
                );
            }
        }
        let site = "sec-fetch-site";
        if headers.contains_key(site) {
            let ours = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
            if !headers.get_all(site).iter().all(ours) {
                return refused("the page that asks is not keygate's: Sec-Fetch-Site");
            }
        }
        Ok(())
    }

    /// `admin.url`'s own; or the one that `Host` names, with TLS or without, as the listener itself speaks. A page in
    /// plain HTTP at the host of an https `url` or listener is not ours: whoever sits on the network can write it.
    fn is_our_origin(&self, origin: &HeaderValue, headers: &HeaderMap) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let origin = origin.to_ascii_lowercase();
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        if let Some((ours, host)) = &self.url
            && (scheme, authority) == (ours, host)
        {
            return true;
        }
        let Some(host) = only(headers, HOST).and_then(Authority::parse) else {
            return false;
        };
        !self.is_url(&host) && scheme == self.scheme && host.without_port_of(scheme) == authority
    }
}

/// The value of a field that is there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// What `Host` holds, in lower case.
#[derive(Debug)]
struct Authority {
    text: String,
    host: String,
    address: Option<IpAddr>,
    port: Option<u16>,
}

impl Authority {
    fn parse(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?.to_ascii_lowercase();
        if text.len() > HOST_BYTES_MAX {
            return None;
        }
        let end = text.rfind(']').unwrap_or(0); // colons before it are the address's
        let (host, port) = match text[end..].find(':') {
            Some(colon) => text.split_at(end + colon),
            None => (&*text, ""),
        };
        let port = match port.strip_prefix(':') {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(port.parse().ok().filter(|port| *port != 0)?)
            }
            Some(_) => return None,
            None => None,
        };
        let address = match host.strip_prefix('[') {
            Some(inner) => Some(IpAddr::V6(
                inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?,
            )),
            None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        };
        let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let name = !host.is_empty() && !host.starts_with('.') && host.bytes().all(of_name);
        (address.is_some() || name).then(|| Self {
            host: host.to_owned(),
            address: address.map(|address| address.to_canonical()),
            port,
            text: text.clone(),
        })
    }

    /// As a browser writes it for this scheme: without the scheme's own port.
    fn without_port_of(&self, scheme: &str) -> &str {
        let own = if scheme == "https" { 443 } else { 80 };
        if self.port == Some(own) {
            &self.host
        } else {
            &self.text
        }
    }
}

#[cfg(test)]
mod tests;
