//! A name server that knows one name, for a keygate that sees a `resolv.conf` of its own (in its own mount namespace).
//! Not for: being a good name server; it answers what the test says.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::harness::setup::Setup;

/// The name that it knows.
pub(crate) const NAME: &str = "app.test";

/// How long "there is no such name" may be believed, seconds: longer than any test.
const NEGATIVE_TTL: u32 = 3_600;

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These addresses, for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// There is no such name.
    NoSuchName,
    /// Nothing at all.
    Silence,
}

/// A name server of a test.
pub(crate) struct Dns {
    address: IpAddr,
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    stopped: AtomicBool,
}

impl Dns {
    /// One that answers like this; none where this process may not have port 53.
    pub(crate) fn start(answer: Answer) -> Option<Self> {
        Self::knowing(NAME, answer)
    }

    /// The same, with another name that it knows.
    pub(crate) fn knowing(name: &'static str, answer: Answer) -> Option<Self> {
        let socket = match bind() {
            Ok(socket) => socket,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!("skipped: port 53 is not permitted to this user");
                return None;
            }
            Err(error) => panic!("no address for a name server: {error}"),
        };
        let address = socket.local_addr().unwrap().ip();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let shared = Arc::new(Shared {
            name,
            answer: Mutex::new(answer),
            asked: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || serving.serve(&socket));
        Some(Self { address, shared })
    }

    /// From now on.
    pub(crate) fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
        self.shared.asked.store(0, Ordering::SeqCst);
    }

    /// How many questions there were since the answer was set.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// A `resolv.conf` that leads here.
    pub(crate) fn settings(&self) -> String {
        format!(
            "nameserver {}\noptions timeout:1 attempts:1\n",
            self.address
        )
    }

    /// A keygate whose upstream has the name, and this server to ask.
    pub(crate) fn setup(&self, port: u16) -> Setup {
        let mut setup = Setup::in_front_of(&format!("http://{NAME}:{port}"));
        let settings = setup.folder.path().join("resolv.conf");
        fs::write(&settings, self.settings()).unwrap();
        setup.bind_mount = Some((settings, "/etc/resolv.conf".into()));
        setup
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
    }
}

/// Port 53 of a loopback address that nobody else uses: tests of other processes may run beside.
fn bind() -> io::Result<UdpSocket> {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let mut bound = Err(io::ErrorKind::AddrInUse.into());
    for attempt in 0..=u8::MAX {
        let ip = Ipv4Addr::new(
            127,
            high | 1,
            low.wrapping_add(attempt),
            NEXT.fetch_add(1, Ordering::SeqCst),
        );
        bound = UdpSocket::bind(SocketAddr::new(ip.into(), 53));
        match &bound {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Ok(_) | Err(_) => break,
        }
    }
    bound
}

impl Shared {
    fn serve(&self, socket: &UdpSocket) {
        let mut query = [0; 1500];
        while !self.stopped.load(Ordering::SeqCst) {
            let Ok((length, from)) = socket.recv_from(&mut query) else {
                continue;
            };
            let answer = self.answer.lock().unwrap().clone();
            if let Some(reply) = reply(&query[..length], self.name, &answer) {
                let _ = socket.send_to(&reply, from);
            }
            self.asked.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// RFC 1035 §4, for one question.
fn reply(query: &[u8], name: &str, answer: &Answer) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while *query.get(at)? != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(query.get(at + 1..=at + length)?).to_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    let question = query.get(12..at + 5)?;
    let (addresses, ttl) = match answer {
        Answer::Silence => return None,
        Answer::Addresses(addresses, ttl) if labels.join(".") == name => {
            let wanted =
                |ip: &&IpAddr| matches!((kind, ip), (1, IpAddr::V4(_)) | (28, IpAddr::V6(_)));
            (Some(addresses.iter().filter(wanted).collect()), *ttl)
        }
        Answer::Addresses(..) | Answer::NoSuchName => (None, NEGATIVE_TTL),
    };
    let no_such_name = addresses.is_none();
    let addresses: Vec<&IpAddr> = addresses.unwrap_or_default();
    let authority = u16::from(addresses.is_empty());
    let mut reply = query[..2].to_vec();
    reply.extend([0x85, 0x80 | if no_such_name { 3 } else { 0 }]);
    let answers = u16::try_from(addresses.len()).unwrap();
    for count in [1, answers, authority, 0] {
        reply.extend(count.to_be_bytes());
    }
    reply.extend(question);
    for ip in addresses {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        record(&mut reply, &[0xc0, 12], kind, ttl, &octets);
    }
    if authority == 1 {
        // Whose last number says how long the answer may be kept.
        let mut start = vec![0, 0];
        for number in [1, 60, 60, 60, NEGATIVE_TTL] {
            start.extend(number.to_be_bytes());
        }
        record(&mut reply, b"\x04test\0", 6, NEGATIVE_TTL, &start);
    }
    Some(reply)
}

fn record(reply: &mut Vec<u8>, name: &[u8], kind: u16, ttl: u32, data: &[u8]) {
    reply.extend(name);
    reply.extend(kind.to_be_bytes());
    reply.extend(1_u16.to_be_bytes());
    reply.extend(ttl.to_be_bytes());
    reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    reply.extend(data);
}
