//! Sockets that were bound before we came: a service manager holds them open, so that connections queue while keygate
//! restarts, and gives them to us as descriptors from 3 on (sd_listen_fds(3)). Each takes the place of one that the
//! configuration names, found by its address or by its name; one that fits nothing is an error, because somebody
//! expects it to be served. Not for: binding (`listen`).

use std::env;
use std::fmt;
use std::io;
use std::process;

use listenfd::ListenFd;

use crate::config::Address;
use crate::net::listen::Listener;

/// The first descriptor that is passed.
const FIRST: usize = 3;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Clients of the service.
    Proxy,
    /// Administrators.
    Admin,
    /// Health and metrics.
    Telemetry,
}

impl Role {
    /// The name of a passed socket (`FileDescriptorName=`) that is for this, whatever its address.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Admin => "admin",
            Self::Telemetry => "telemetry",
        }
    }
}

/// The sockets that we were given.
#[derive(Debug, Default)]
pub struct Passed(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    label: Label,
    listener: Listener,
}

/// Which one it is, for messages.
#[derive(Clone, Debug)]
struct Label {
    descriptor: usize,
    name: String,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "descriptor {}", self.descriptor)?;
        match self.name.as_str() {
            "" => Ok(()),
            name => write!(f, " ({name:?})"),
        }
    }
}

/// Why the sockets that we were given cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// There is no socket, or not one that listens.
    #[error("cannot listen at the socket that was passed as {label}: {source}")]
    Unusable {
        /// Which one.
        label: String,
        /// Why not.
        source: io::Error,
    },
    /// The configuration has no listener for it.
    #[error("no setting is for the socket that was passed as {label}: it listens at {address}")]
    FitsNothing {
        /// Which one.
        label: String,
        /// Where it listens.
        address: Address,
    },
    /// It would let others in where the configuration does not.
    #[error(
        "others than this machine reach the admin socket that was passed as {label}, at {address}, and admin.listen is for this machine only"
    )]
    Exposed {
        /// Which one.
        label: String,
        /// Where it listens.
        address: Address,
    },
}

impl PassedError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unusable { .. } => {
                "pass stream sockets that listen: ListenStream= and Accept=no in the socket unit"
            }
            Self::FitsNothing { .. } => {
                "give it the address of listen, admin.listen or telemetry.listen, or the name of what it is for: \
                 FileDescriptorName=proxy, admin or telemetry in the socket unit"
            }
            Self::Exposed { .. } => {
                "pass one on 127.0.0.1, or set admin.listen to that address and what it asks for"
            }
        }
    }
}

impl Passed {
    /// Takes the sockets that the environment speaks of, if it speaks of this process.
    ///
    /// # Errors
    /// When one of them cannot be listened at.
    pub fn from_environment() -> Result<Self, PassedError> {
        // What an ancestor was given is not ours.
        if env::var("LISTEN_PID").ok() != Some(process::id().to_string()) {
            return Ok(Self::default());
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let sockets = (0..descriptors.len()).map(|index| {
            let label = Label {
                descriptor: FIRST + index,
                name: names.next().unwrap_or_default().to_owned(),
            };
            match listener(&mut descriptors, index) {
                Ok(listener) => Ok(Socket { label, listener }),
                Err(source) => Err(PassedError::Unusable {
                    label: label.to_string(),
                    source,
                }),
            }
        });
        sockets.collect::<Result<_, _>>().map(Self)
    }

    /// For each of `wanted`, in its order, the socket that takes its place; none where it has to be bound.
    ///
    /// # Errors
    /// When a socket is left over, or must not be used as its name says.
    pub fn hand_out(
        self,
        wanted: &[(Role, Address)],
    ) -> Result<Vec<Option<Listener>>, PassedError> {
        let mut places: Vec<Option<Listener>> = wanted.iter().map(|_| None).collect();
        // Addresses first: a name alone takes what no address has claimed.
        let mut rest = Vec::new();
        for socket in self.0 {
            let same = |(_, address): &(Role, Address)| is_at(socket.listener.address(), address);
            match wanted.iter().position(same) {
                Some(index) if places[index].is_none() => places[index] = Some(socket.listener),
                _ => rest.push(socket),
            }
        }
        for Socket { label, listener } in rest {
            let address = listener.address().clone();
            let named = |(role, _): &(Role, Address)| {
                role.as_str() == label.name
                    && (*role == Role::Proxy || matches!(address, Address::Tcp(_)))
            };
            let free =
                (0..wanted.len()).find(|index| places[*index].is_none() && named(&wanted[*index]));
            let label = label.to_string();
            let Some(index) = free else {
                return Err(PassedError::FitsNothing { label, address });
            };
            let (role, configured) = &wanted[index];
            if *role == Role::Admin && is_loopback(configured) && !is_loopback(&address) {
                return Err(PassedError::Exposed { label, address });
            }
            places[index] = Some(listener);
        }
        Ok(places)
    }
}

fn listener(descriptors: &mut ListenFd, index: usize) -> io::Result<Listener> {
    match descriptors.take_tcp_listener(index) {
        Ok(Some(socket)) => Listener::passed_tcp(socket),
        Ok(None) => Err(io::ErrorKind::NotFound.into()),
        Err(not_tcp) => match descriptors.take_unix_listener(index) {
            Ok(Some(socket)) => Listener::passed_unix(socket),
            Ok(None) | Err(_) => Err(not_tcp),
        },
    }
}

/// Whether a socket at `bound` is the one that is configured. `ListenStream=8080` is a socket for both families, which
/// is what 0.0.0.0:8080 asks for and more.
fn is_at(bound: &Address, configured: &Address) -> bool {
    match (bound, configured) {
        (Address::Tcp(bound), Address::Tcp(configured)) => {
            let both = bound.ip().is_unspecified() && configured.ip().is_unspecified();
            bound == configured || (both && bound.is_ipv6() && bound.port() == configured.port())
        }
        (bound, configured) => bound == configured,
    }
}

fn is_loopback(address: &Address) -> bool {
    match address {
        Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
        Address::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn tcp(address: &str) -> Address {
        Address::Tcp(address.parse().unwrap())
    }

    fn socket(name: &str, address: &str) -> Socket {
        let label = Label {
            descriptor: FIRST,
            name: name.to_owned(),
        };
        let listener = match address.strip_prefix("unix:") {
            Some(path) => Listener::passed_unix(UnixListener::bind(path).unwrap()).unwrap(),
            None => Listener::passed_tcp(TcpListener::bind(address).unwrap()).unwrap(),
        };
        Socket { label, listener }
    }

    #[test]
    fn an_address_counts_more_than_a_name() {
        let here = socket("proxy", "127.0.0.1:0");
        let address = here.listener.address().clone();
        let other = socket("proxy", "127.0.0.1:0");
        let elsewhere = other.listener.address().clone();
        let wanted = [
            (Role::Proxy, tcp("127.0.0.1:1")),
            (Role::Proxy, address.clone()),
            (Role::Telemetry, tcp("127.0.0.1:2")),
        ];
        let places = Passed(vec![other, here]).hand_out(&wanted).unwrap();
        let at: Vec<_> = places
            .iter()
            .map(|place| place.as_ref().map(|listener| listener.address().clone()))
            .collect();
        assert_eq!(at, [Some(elsewhere), Some(address), None]);
    }

    #[test]
    fn what_fits_nothing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let unix = format!("unix:{}", folder.path().join("admin.sock").display());
        let wanted = [
            (Role::Proxy, tcp("127.0.0.1:1")),
            (Role::Admin, tcp("127.0.0.1:2")),
        ];
        for (name, address, why) in [
            ("", "127.0.0.1:0", "no setting is for"),
            ("keygate.socket", "127.0.0.1:0", "no setting is for"),
            ("telemetry", "127.0.0.1:0", "no setting is for"),
            ("admin", &*unix, "no setting is for"),
            ("admin", "0.0.0.0:0", "others than this machine"),
        ] {
            let passed = Passed(vec![socket(name, address)]);
            let error = passed.hand_out(&wanted).unwrap_err();
            assert!(
                error.to_string().contains(why),
                "{name:?} {address}: {error}"
            );
        }
        let two = Passed(vec![
            socket("proxy", "127.0.0.1:0"),
            socket("proxy", "127.0.0.1:0"),
        ]);
        assert!(two.hand_out(&wanted).is_err(), "two for one place");
    }

    #[test]
    fn a_socket_for_both_families_is_one_for_all_networks() {
        for (bound, configured, same) in [
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "[::]:80", true),
            ("0.0.0.0:80", "[::]:80", false),
            ("[::]:80", "0.0.0.0:81", false),
            ("[::]:80", "127.0.0.1:80", false),
            ("127.0.0.1:80", "127.0.0.1:80", true),
        ] {
            assert_eq!(
                is_at(&tcp(bound), &tcp(configured)),
                same,
                "{bound} {configured}"
            );
        }
    }
}
