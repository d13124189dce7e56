//! A PROXY header is read exactly: what follows it changes nothing, and it never takes more than it may.
#![no_main]

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use keygate::net::proxy_protocol::BYTES_MAX;
use keygate::net::proxy_protocol::read;
use libfuzzer_sys::fuzz_target;

/// What comes of `bytes`, and how many of them were taken.
fn read_all(mut bytes: &[u8]) -> (Result<Option<SocketAddr>, io::ErrorKind>, usize) {
    let whole = bytes.len();
    let polled = pin!(read(&mut bytes)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(said) = polled else {
        panic!("a slice keeps nobody waiting")
    };
    (said.map_err(|error| error.kind()), whole - bytes.len())
}

fuzz_target!(|bytes: &[u8]| {
    let (said, taken) = read_all(bytes);
    assert!(taken <= BYTES_MAX.min(bytes.len()));
    let header = &bytes[..taken];
    if said.is_ok() {
        assert_eq!(read_all(header), (said, taken));
        assert_eq!(read_all(&[header, b"\r\nGET"].concat()), (said, taken));
        for length in 0..taken.min(300) {
            assert!(read_all(&bytes[..length]).0.is_err(), "{length} of {taken}");
        }
    }
    if let Ok(Some(address)) = said {
        let family = if address.is_ipv4() { 4 } else { 6 };
        let (ip, port) = (address.ip(), address.port());
        let line = format!("PROXY TCP{family} {ip} {ip} {port} 0\r\n");
        assert_eq!(read_all(line.as_bytes()).0, Ok(Some(address)));
    }
});
