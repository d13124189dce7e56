//! How many connections each client has, and how many it may have. Looked at when a connection comes and when it goes,
//! never for a request, and kept for as long as one is open: what is held is bounded by the open connections.
//! Not for: how many there may be together, which is `listen::Room`; who does not count, which the caller knows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// The connections of each client, over all workers.
#[derive(Debug)]
pub struct PerClient {
    most: usize,
    /// Locked for the change of one number, when a connection begins or ends.
    open: Mutex<HashMap<Client, usize>>,
}

/// One counted connection; dropping it makes room for the client's next.
#[derive(Debug)]
pub struct Counted {
    of: Arc<PerClient>,
    client: Client,
}

/// Who is one client: an address of IPv4, or the /64 of one of IPv6, since that much is given to a single customer,
/// who may take a new address for each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Client {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl PerClient {
    /// At most `most` connections each.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: Mutex::default(),
        })
    }

    /// Counts a connection from `ip`; none when its client has as many as it may have.
    pub fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Counted> {
        let client = Client::of(ip);
        let mut clients = self.clients();
        let open = clients.get(&client).copied().unwrap_or(0);
        if open >= self.most {
            return None;
        }
        clients.insert(client, open + 1);
        Some(Counted {
            of: Arc::clone(self),
            client,
        })
    }

    /// Nothing in here panics half-way.
    fn clients(&self) -> MutexGuard<'_, HashMap<Client, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut clients = self.of.clients();
        if let Entry::Occupied(mut open) = clients.entry(self.client) {
            if *open.get() > 1 {
                *open.get_mut() -= 1;
            } else {
                open.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_so_many_and_no_more() {
        let clients = PerClient::new(2);
        let first = clients.enter(ip("192.0.2.1")).unwrap();
        let second = clients.enter(ip("::ffff:192.0.2.1")).unwrap();
        assert!(clients.enter(ip("192.0.2.1")).is_none());
        let other = clients.enter(ip("192.0.2.2")).unwrap();
        drop(first);
        let third = clients.enter(ip("192.0.2.1")).unwrap();
        assert!(clients.enter(ip("192.0.2.1")).is_none());
        drop((second, third, other));
        assert!(
            clients.clients().is_empty(),
            "nothing is kept of who is gone"
        );
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let clients = PerClient::new(1);
        let _one = clients.enter(ip("2001:db8:0:1::1")).unwrap();
        assert!(clients.enter(ip("2001:db8:0:1:ffff::2")).is_none());
        assert!(clients.enter(ip("2001:db8:0:2::1")).is_some());
    }
}
