//! One request to the upstream, with what keygate would use: the same names, addresses, authorities and Host. It is a
//! HEAD of `/` without a key, which every service has an answer to. Not for: how requests are forwarded (`proxy`).

use std::fmt;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustls::AlertDescription;
use rustls::StreamOwned;
use tokio::runtime;
use tokio::sync::oneshot;

use crate::cli::doctor::finding::Finding;
use crate::cli::doctor::speech;
use crate::cli::doctor::speech::Speech as Heard;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::Speech;
use crate::config::Target;
use crate::config::Upstream;
use crate::config::UpstreamHost;
use crate::proxy::ClientTls;
use crate::proxy::Resolver;
use crate::proxy::UpstreamTlsError;
use crate::units::Span;

const ABOUT: &str = "upstream";

/// How long an answer is waited for. The proxy waits longer; here somebody sits and looks.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The head of an answer, and the beginning of what follows.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// What a client of HTTP/2 begins with: the preface, and empty SETTINGS.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// How the visit went.
pub(super) struct Visit {
    /// Where the upstream is; empty for a Unix socket, and for a name that has no address.
    pub(super) addresses: Vec<SocketAddr>,
    outcome: Result<Answer, Trouble>,
}

/// What it said, and when.
pub(super) struct Answer {
    pub(super) asked: Timestamp,
    pub(super) answered: Timestamp,
    /// None: it speaks HTTP/2, and was not asked for more.
    http1: Option<(u16, String)>,
}

impl Answer {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.http1
            .as_ref()
            .and_then(|(_, head)| speech::field(head, name))
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Trouble {
    NoAddress(String),
    NoConnection {
        place: String,
        error: io::Error,
    },
    /// What stands in `upstream_tls`.
    Setup(UpstreamTlsError),
    Tls {
        place: String,
        error: rustls::Error,
    },
    Broken {
        place: String,
        error: io::Error,
    },
    Strange {
        place: String,
        heard: Heard,
    },
}

impl Visit {
    pub(super) fn pay(config: &Config, clock: &Clock) -> Self {
        let upstream = &config.upstream;
        let (addresses, error) = match &upstream.target {
            Target::Address(address) => (vec![*address], None),
            Target::Unix(_) => (Vec::new(), None),
            Target::Name { name, port } => match look_up(name, *port, clock) {
                Ok(addresses) => (addresses, None),
                Err(error) => (Vec::new(), Some(error)),
            },
        };
        let outcome = match (&upstream.target, addresses.is_empty()) {
            (Target::Name { name, .. }, true) => {
                let why = error.map(|error| format!(": {error}"));
                Err(Trouble::NoAddress(format!(
                    "{name}{}",
                    why.unwrap_or_default()
                )))
            }
            (Target::Unix(path), _) => ask_unix(path, config, clock),
            (Target::Address(_) | Target::Name { .. }, _) => {
                let connected = connect(&addresses, config.timeouts.connect);
                connected.and_then(|(socket, address)| ask_tcp(socket, address, config, clock))
            }
        };
        Self { addresses, outcome }
    }

    /// The answer, if there was one.
    pub(super) fn answer(&self) -> Option<&Answer> {
        self.outcome.as_ref().ok()
    }
}

pub(super) fn look(config: &Config, visit: &Visit) -> Vec<Finding> {
    let upstream = config.upstream.to_string();
    match &visit.outcome {
        Err(trouble) => vec![judge(&upstream, trouble, config.upstream.speech)],
        Ok(answer) => {
            let (said, keep_alive) = match &answer.http1 {
                Some((status, head)) => (
                    format!("{upstream} answers ({status})"),
                    judge_keep_alive(
                        speech::keep_alive_seconds(head),
                        config.timeouts.upstream_idle,
                    ),
                ),
                None => (format!("{upstream} speaks HTTP/2"), None),
            };
            [Finding::ok(ABOUT, said)]
                .into_iter()
                .chain(keep_alive)
                .collect()
        }
    }
}

fn judge(upstream: &str, trouble: &Trouble, speech: Speech) -> Finding {
    let seen = format!("{upstream}: {trouble}");
    let fail = |why: &str, fix: &str| Finding::fail(ABOUT, &*seen).why(why).fix(fix);
    let unanswered = "requests with a good key are answered 502 or 504";
    let instead = |scheme: &str| {
        format!(
            "upstream: {}",
            upstream.replacen(speech.scheme(), scheme, 1)
        )
    };
    match trouble {
        Trouble::NoAddress(_) => fail(
            unanswered,
            "see that the name is right, and that this machine's /etc/resolv.conf leads to who knows it; in compose it is \
             the service's name, and both have to be in one network",
        ),
        Trouble::NoConnection { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => fail(
            unanswered,
            "let keygate's user write to the socket: the same user or group for both, or chmod 660",
        ),
        Trouble::NoConnection { .. } => fail(
            unanswered,
            "start the service, or say where it is: upstream: http://HOST:PORT; in compose, 127.0.0.1 is keygate's own \
             container: write the service's name",
        ),
        Trouble::Setup(error) => fail(
            "keygate does not start with it",
            error.hint().unwrap_or("keygate check says the same"),
        ),
        Trouble::Tls { error: rustls::Error::InvalidMessage(_), .. } => {
            fail("it does not speak TLS", &instead("http"))
        }
        Trouble::Tls { error: rustls::Error::InvalidCertificate(_), .. } => fail(
            "keygate does not believe that it is the one",
            "upstream_tls.ca: the file of the authority that signed it; upstream_tls.server_name: the name that its \
             certificate has, where that is another one than in the URL",
        ),
        Trouble::Tls { .. } => fail(
            unanswered,
            "see the upstream's own log; where it asks for a certificate: upstream_tls.certificate and upstream_tls.key",
        ),
        Trouble::Strange { heard: Heard::Tls, .. } => fail("it speaks TLS", &instead("https")),
        Trouble::Strange { heard: Heard::Http2, .. } => fail("it speaks HTTP/2 in clear", &instead("h2c")),
        Trouble::Strange { heard: Heard::Http1 { .. }, .. } => fail("it speaks HTTP/1.1", &instead("http")),
        Trouble::Strange { heard: Heard::Nothing | Heard::Other(_), .. } => fail(
            unanswered,
            "see that this is the port on which the service speaks HTTP",
        ),
        Trouble::Broken { .. } if speech == Speech::Https => Finding::warn(ABOUT, &*seen)
            .why("a service that speaks no TLS on this port may be silent when one begins with it")
            .fix(format!("if that is so, {}; else see the service's own log", instead("http"))),
        // A service may be slow with `/`, or have no answer to HEAD.
        Trouble::Broken { .. } => Finding::warn(ABOUT, &*seen)
            .why("a service that is slow or breaks off makes for 504 and 502")
            .fix("see the service's own log; timeouts.response is how long keygate waits for an answer"),
    }
}

/// An upstream that closes an idle connection in the moment in which a request is sent on it makes for a 502.
fn judge_keep_alive(announced: Option<u64>, idle: Duration) -> Option<Finding> {
    let announced = Duration::from_secs(announced?);
    (idle >= announced).then(|| {
        let (ours, theirs) = (Span(idle), Span(announced));
        Finding::warn(
            ABOUT,
            format!("timeouts.upstream_idle is {ours}, and the upstream closes idle connections after {theirs}"),
        )
        .why("a request that is sent in the moment in which it closes gets a 502")
        .fix(format!("timeouts: {{upstream_idle: {}}}", Span(announced.mul_f64(0.8))))
    })
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress(name) => write!(f, "no address of {name}"),
            Self::NoConnection { place, error } => write!(f, "cannot connect to {place}: {error}"),
            Self::Setup(error) => error.fmt(f),
            Self::Tls { place, error } => write!(f, "no TLS with {place}: {error}"),
            Self::Broken { place, error } if error.kind() == io::ErrorKind::WouldBlock => {
                write!(
                    f,
                    "{place} took the request and was silent for {}",
                    Span(ANSWER_MAX)
                )
            }
            Self::Broken { place, error } => write!(f, "{place} broke off: {error}"),
            Self::Strange { place, heard } => {
                let what = match heard {
                    Heard::Http1 { .. } => "answers in HTTP/1",
                    Heard::Tls => "wants TLS",
                    Heard::Http2 => "answers in HTTP/2",
                    Heard::Nothing => "closed the connection without an answer",
                    Heard::Other(text) => {
                        return write!(f, "{place} answers {text:?}, which is no HTTP");
                    }
                };
                write!(f, "{place} {what}")
            }
        }
    }
}

/// As the proxy does it, once.
fn look_up(name: &str, port: u16, clock: &Clock) -> Result<Vec<SocketAddr>, String> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let resolver =
        Resolver::new(name.to_owned(), port, clock.clone()).map_err(|error| error.to_string())?;
    let addresses = resolver.addresses();
    let (told, first) = oneshot::channel();
    runtime.block_on(async {
        let looking = tokio::spawn(resolver.run(told));
        let _ = tokio::time::timeout(ANSWER_MAX, first).await; // without an answer there is no address
        looking.abort();
    });
    Ok(addresses.known().to_vec())
}

/// To the first address that takes a connection.
fn connect(
    addresses: &[SocketAddr],
    patience: Duration,
) -> Result<(TcpStream, SocketAddr), Trouble> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(address, patience) {
            Ok(socket) => return Ok((socket, *address)),
            Err(error) => {
                last = Some(Trouble::NoConnection {
                    place: address.to_string(),
                    error,
                });
            }
        }
    }
    Err(last.expect("there is an address"))
}

fn ask_unix(path: &Path, config: &Config, clock: &Clock) -> Result<Answer, Trouble> {
    let place = path.display().to_string();
    let connected = UnixStream::connect(path).and_then(|socket| {
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        socket.set_write_timeout(Some(ANSWER_MAX))?;
        Ok(socket)
    });
    match connected {
        Ok(socket) => ask(socket, place, &config.upstream, clock),
        Err(error) => Err(Trouble::NoConnection { place, error }),
    }
}

fn ask_tcp(
    socket: TcpStream,
    address: SocketAddr,
    config: &Config,
    clock: &Clock,
) -> Result<Answer, Trouble> {
    let place = address.to_string();
    let prepared = socket
        .set_read_timeout(Some(ANSWER_MAX))
        .and_then(|()| socket.set_write_timeout(Some(ANSWER_MAX)));
    if let Err(error) = prepared {
        return Err(Trouble::Broken { place, error });
    }
    if config.upstream.speech != Speech::Https {
        return ask(socket, place, &config.upstream, clock);
    }
    let client = ClientTls::once(&config.upstream, &config.upstream_tls).map_err(Trouble::Setup)?;
    ask(
        StreamOwned::new(client, socket),
        place,
        &config.upstream,
        clock,
    )
}

fn ask(
    mut stream: impl Read + Write,
    place: String,
    upstream: &Upstream,
    clock: &Clock,
) -> Result<Answer, Trouble> {
    let http2 = upstream.speech == Speech::H2c;
    let question = match http2 {
        true => HTTP2.to_vec(),
        false => format!(
            "HEAD / HTTP/1.1\r\nhost: {}\r\nuser-agent: keygate-doctor\r\naccept: */*\r\n\r\n",
            host(upstream)
        )
        .into_bytes(),
    };
    let asked = clock.wall();
    let heard = exchange(&mut stream, &question);
    let answered = clock.wall();
    let answer = |http1| Answer {
        asked,
        answered,
        http1,
    };
    let bytes = match heard {
        Ok(bytes) => bytes,
        Err(error) => {
            return match of_tls(&error) {
                // It chose HTTP/2, which keygate would have offered.
                Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                    Ok(answer(None))
                }
                Some(error) => Err(Trouble::Tls {
                    place,
                    error: error.clone(),
                }),
                None => Err(Trouble::Broken { place, error }),
            };
        }
    };
    match (speech::recognise(&bytes), http2) {
        (Heard::Http1 { status, head }, false) => Ok(answer(Some((status, head)))),
        (Heard::Http2, true) => Ok(answer(None)),
        (heard, _) => Err(Trouble::Strange { place, heard }),
    }
}

fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Sends, and reads the head of the answer, or as much as there is before the end.
fn exchange(stream: &mut (impl Read + Write), question: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(question)?;
    stream.flush()?;
    let mut bytes = vec![0; ANSWER_BYTES_MAX];
    let mut length = 0;
    while length < bytes.len() {
        match stream.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // What came before a reset tells more than the reset.
            Err(_) if length > 0 => break,
            Err(error) => return Err(error),
        }
        let seen = &bytes[..length];
        let is_http1 = seen.starts_with(b"HTTP/");
        let refused = seen.starts_with(b"HTTP/1.0 400") || seen.starts_with(b"HTTP/1.1 400"); // its body says why
        if (!is_http1 && length >= 9) || (is_http1 && !refused && has_head(seen)) {
            break;
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn has_head(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|window| window == b"\r\n\r\n")
}

/// The Host that a client would have sent, which is the upstream's own as far as anybody can tell.
fn host(upstream: &Upstream) -> String {
    match (&upstream.host, &upstream.target) {
        (UpstreamHost::Name(name), _) => name.clone(),
        (UpstreamHost::Keep | UpstreamHost::Upstream, Target::Unix(_)) => "localhost".to_owned(),
        (UpstreamHost::Keep | UpstreamHost::Upstream, _) => {
            let url = upstream.to_string();
            url.split_once("://")
                .map_or(&*url, |(_, authority)| authority)
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_has_its_fix() {
        let place = || "127.0.0.1:3000".to_owned();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let strange = |heard| Trouble::Strange {
            place: place(),
            heard,
        };
        let http1 = Heard::Http1 {
            status: 200,
            head: String::new(),
        };
        let rows = [
            (
                Trouble::NoAddress("app".to_owned()),
                Speech::Http,
                "resolv.conf",
            ),
            (
                Trouble::NoConnection {
                    place: place(),
                    error: refused(),
                },
                Speech::Http,
                "start the service",
            ),
            (strange(Heard::Tls), Speech::Http, "upstream: https://app"),
            (strange(Heard::Http2), Speech::Http, "upstream: h2c://app"),
            (strange(http1), Speech::H2c, "upstream: http://app"),
            (strange(Heard::Nothing), Speech::Http, "the port"),
            (
                Trouble::Tls {
                    place: place(),
                    error: rustls::Error::InvalidMessage(
                        rustls::InvalidMessage::InvalidContentType,
                    ),
                },
                Speech::Https,
                "upstream: http://app",
            ),
            (
                Trouble::Tls {
                    place: place(),
                    error: rustls::Error::InvalidCertificate(
                        rustls::CertificateError::UnknownIssuer,
                    ),
                },
                Speech::Https,
                "upstream_tls.ca",
            ),
        ];
        for (trouble, speech, fix) in rows {
            let upstream = format!("{}://app", speech.scheme());
            let finding = judge(&upstream, &trouble, speech);
            assert!(
                finding.fix.as_ref().is_some_and(|text| text.contains(fix)),
                "{trouble:?}: {finding:?}"
            );
        }
    }

    #[test]
    fn an_idle_connection_is_ours_to_close() {
        let seconds = Duration::from_secs;
        assert_eq!(judge_keep_alive(None, seconds(60)), None);
        assert_eq!(judge_keep_alive(Some(5), seconds(4)), None);
        let finding = judge_keep_alive(Some(5), seconds(5)).unwrap();
        assert!(finding.fix.unwrap().contains("upstream_idle: 4s"));
    }
}
