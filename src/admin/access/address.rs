//! Where a browser finds the admin API, for whoever prints it. Not for: which addresses are let in (`guard`).

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use crate::config;
use crate::secret::Secret;

/// Where a browser finds the admin API: `admin.url`, or the listener's address as this machine reaches it.
pub(crate) fn browser_url(admin: &config::Admin, listen: SocketAddr) -> String {
    match &admin.url {
        Some(url) => {
            let scheme = if url.secure { "https" } else { "http" };
            format!("{scheme}://{}{}", url.authority, url.path)
        }
        None => {
            let mut address = listen;
            match listen.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(ip) if ip.is_unspecified() => {
                    address.set_ip(Ipv6Addr::LOCALHOST.into());
                }
                IpAddr::V4(_) | IpAddr::V6(_) => {}
            }
            format!("http://{address}/")
        }
    }
}

/// The same with the setup code behind the `#`, which browsers do not send and logs do not see.
pub(crate) fn setup_url(admin: &config::Admin, listen: SocketAddr, code: &Secret) -> Secret {
    Secret::new(format!(
        "{}#code={}",
        browser_url(admin, listen),
        code.expose()
    ))
}
