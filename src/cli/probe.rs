//! `keygate healthcheck` and `keygate drain`: one small request to the telemetry listener of a running
//! keygate, for images that have neither shell nor curl.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::cli::FAILED;
use crate::cli::environment;
use crate::cli::print;
use crate::config;
use crate::config::Overrides;

/// Shorter than the second that Kubernetes gives a probe by default would be too short under load.
const TIMEOUT: Duration = Duration::from_secs(3);

/// No answer of ours is longer.
const ANSWER_BYTES_MAX: u64 = 65_536;

/// Exits with 0 when keygate is ready, and says why when it is not.
pub(super) fn healthcheck(overrides: &Overrides) -> ExitCode {
    probe(overrides, "GET /readyz", "not ready")
}

/// Begins the drain of a running keygate.
pub(super) fn drain(overrides: &Overrides) -> ExitCode {
    probe(overrides, "POST /drain", "cannot drain")
}

/// An answer, as far as anybody asks here.
struct Answer {
    status: u16,
    body: String,
}

fn probe(overrides: &Overrides, request: &str, failure: &str) -> ExitCode {
    // Flags of `run` are not known here, so what else may be wrong or missing is left alone.
    let inspection = config::inspect(overrides, environment());
    let Some(listen) = inspection.telemetry.listen else {
        print::error(
            format_args!("{failure}: telemetry.listen is none"),
            Some("give keygate a telemetry listener: telemetry.listen"),
        );
        return ExitCode::from(FAILED);
    };
    let address = reachable(listen);
    match ask(address, request) {
        Ok(Answer {
            status: 200..=299,
            body,
        }) => {
            print::line(readable(&body));
            ExitCode::SUCCESS
        }
        Ok(Answer { status, body }) => {
            print::error(
                format_args!("{failure}: http://{address}: {status}: {}", readable(&body)),
                None,
            );
            ExitCode::from(FAILED)
        }
        Err(error) => {
            print::error(
                format_args!("{failure}: http://{address}: {error}"),
                Some("is keygate running with this configuration? see telemetry.listen"),
            );
            ExitCode::from(FAILED)
        }
    }
}

/// Where to connect for a socket that may listen on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(address: SocketAddr, request: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // HTTP/1.0: the answer is not chunked, and its end is the connection's.
    let head = format!("{request} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
}

/// What `/readyz` answers, in words; other answers are words already.
fn readable(body: &str) -> String {
    let Ok(Value::Object(readiness)) = serde_json::from_str(body) else {
        return body.trim_end().to_owned();
    };
    let causes = |name: &str| -> Vec<String> {
        let list = readiness.get(name).and_then(Value::as_array);
        let text = |cause: &Value, name: &str| cause[name].as_str().unwrap_or_default().to_owned();
        let cause = |cause: &Value| format!("{}: {}", text(cause, "cause"), text(cause, "why"));
        list.into_iter().flatten().map(cause).collect()
    };
    let ready = readiness.get("ready") == Some(&Value::Bool(true));
    let (mut parts, degraded) = (causes("blocked"), causes("degraded"));
    if ready {
        parts.push("ready".to_owned());
    }
    if !degraded.is_empty() {
        parts.push(format!("degraded: {}", degraded.join("; ")));
    }
    parts.join("; ")
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Answer {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_a_body() {
        let answer =
            parse(b"HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\nkeys not loaded\n").unwrap();
        assert_eq!((answer.status, &*answer.body), (503, "keys not loaded\n"));
        for bytes in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 2x0\r\n\r\n",
        ] {
            assert!(parse(bytes).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn readiness_is_said_in_words() {
        let rows = [
            (r#"{"blocked":[],"degraded":[],"ready":true}"#, "ready"),
            (
                r#"{"blocked":[],"degraded":[{"cause":"config","why":"restart needed: auth.mode"}],"ready":true}"#,
                "ready; degraded: config: restart needed: auth.mode",
            ),
            (
                r#"{"blocked":[{"cause":"draining","why":"keygate is draining"}],"degraded":[],"ready":false}"#,
                "draining: keygate is draining",
            ),
            ("draining\n", "draining"),
        ];
        for (body, words) in rows {
            assert_eq!(readable(body), words, "{body}");
        }
    }

    #[test]
    fn a_socket_on_all_addresses_is_asked_on_this_machine() {
        let rows = [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ];
        for (listen, address) in rows {
            assert_eq!(reachable(listen.parse().unwrap()), address.parse().unwrap());
        }
    }
}
