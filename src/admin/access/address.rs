//! Where a browser finds the admin API, for whoever prints it. Not for: which addresses are let in (`guard`).

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
        None => format!("{}://{}/", admin.scheme(), config::reached(listen)),
    }
}

/// The address of the setup wizard, with the setup code behind the `#`, which browsers do not send and logs do not see.
pub(crate) fn setup_url(admin: &config::Admin, listen: SocketAddr, code: &Secret) -> Secret {
    Secret::new(format!(
        "{}setup#code={}",
        browser_url(admin, listen),
        code.expose()
    ))
}
