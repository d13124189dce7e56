//! The header of the PROXY protocol (versions 1 and 2), with which a load balancer says whose connection it passes on.
//! It is read exactly: what stands behind it, down to the first byte, is still in the socket afterwards.
//!
//! Why not the crate `ppp`: its parsers want a buffer that holds the header and whatever came with it, so that somebody
//! has to give the rest back to the socket, or they are run again for each byte.
//! Not for: whether the one who sent it is to be believed, which the caller decides before it reads.

use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;

/// The longest header that is read, bytes. Version 2 could have 64 KiB of additions, of which nothing is used here.
pub const BYTES_MAX: usize = 4 * 1024;

/// What version 2 begins with; no other protocol does.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What version 1 begins with.
const PREFIX: &[u8] = b"PROXY ";

/// The longest line of version 1, with its end, bytes.
const LINE_BYTES_MAX: usize = 107;

/// What a header is before its addresses in version 2: signature, version with command, family, length.
const FIXED_BYTES: usize = 16;

/// Reads one header and not a byte more. The address that it names; none where it leaves that to the socket: a health
/// check of the load balancer itself, or a protocol without addresses.
///
/// # Errors
/// `ConnectionAborted` when the connection ended before its first byte, `UnexpectedEof` when it ended in the middle,
/// `InvalidData` for what is no header, and what the socket says.
pub async fn read<R>(from: &mut R) -> io::Result<Option<SocketAddr>>
where
    R: AsyncRead + Unpin,
{
    // No header is shorter than the signature of version 2: `PROXY UNKNOWN` and its line end have 15 bytes.
    let mut start = [0; SIGNATURE.len()];
    if from.read(&mut start[..1]).await? == 0 {
        let what = "the connection ended before its PROXY header";
        return Err(io::Error::new(io::ErrorKind::ConnectionAborted, what));
    }
    from.read_exact(&mut start[1..]).await?;
    if start == SIGNATURE {
        return read_binary(from).await;
    }
    if start.starts_with(PREFIX) {
        return read_line(&start, from).await;
    }
    Err(malformed(
        "the connection does not begin with a PROXY header",
    ))
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Version 1: a line of text.
async fn read_line<R>(start: &[u8], from: &mut R) -> io::Result<Option<SocketAddr>>
where
    R: AsyncRead + Unpin,
{
    let mut line = [0; LINE_BYTES_MAX];
    line[..start.len()].copy_from_slice(start);
    let mut length = start.len();
    while !line[..length].ends_with(b"\r\n") {
        // As much as has to come still, at least: both bytes of the line's end, or the last.
        let wanted = if line[length - 1] == b'\r' { 1 } else { 2 };
        let Some(room) = line.get_mut(length..length + wanted) else {
            return Err(malformed("the PROXY line does not end"));
        };
        from.read_exact(room).await?;
        length += wanted;
    }
    let text = std::str::from_utf8(&line[PREFIX.len()..length - 2]);
    parse_line(text.map_err(|_| malformed("the PROXY line is not ASCII"))?)
}

/// The line behind `PROXY `, without its end.
fn parse_line(text: &str) -> io::Result<Option<SocketAddr>> {
    let mut words = text.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(None); // whatever follows
    }
    let words: [Option<&str>; 5] = std::array::from_fn(|_| words.next());
    let [
        Some(source),
        Some(target),
        Some(source_port),
        Some(target_port),
        None,
    ] = words
    else {
        return Err(malformed("the PROXY line has not the words that it should"));
    };
    let ip = match family {
        Some("TCP4") => both::<Ipv4Addr>(source, target),
        Some("TCP6") => both::<Ipv6Addr>(source, target),
        _ => return Err(malformed("the PROXY line is of no known family")),
    };
    let ip = ip.ok_or_else(|| malformed("the PROXY line has no such addresses"))?;
    match (port(source_port), port(target_port)) {
        (Some(port), Some(_)) => Ok(Some(SocketAddr::new(ip, port))),
        _ => Err(malformed("the PROXY line has no such ports")),
    }
}

/// The source, if both are addresses of the family.
fn both<T>(source: &str, target: &str) -> Option<IpAddr>
where
    T: std::str::FromStr,
    IpAddr: From<T>,
{
    target.parse::<T>().ok()?;
    source.parse::<T>().ok().map(IpAddr::from)
}

/// Digits, without a sign or zeroes in front.
fn port(text: &str) -> Option<u16> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Version 2, behind its signature.
async fn read_binary<R>(from: &mut R) -> io::Result<Option<SocketAddr>>
where
    R: AsyncRead + Unpin,
{
    let mut fixed = [0; FIXED_BYTES - SIGNATURE.len()];
    from.read_exact(&mut fixed).await?;
    let [version_and_command, family, length @ ..] = fixed;
    let length = usize::from(u16::from_be_bytes(length));
    if FIXED_BYTES + length > BYTES_MAX {
        return Err(malformed("the PROXY header is too large"));
    }
    let block = Block::of(version_and_command, family)?;
    let mut addresses = [0; Block::BYTES_MAX];
    let addresses = &mut addresses[..block.bytes()];
    if length < addresses.len() {
        return Err(malformed("the PROXY header is too short for its addresses"));
    }
    from.read_exact(addresses).await?;
    let source = block.source(addresses);
    // What the sender tells besides (certificates, names, a checksum) is not used.
    let mut rest = length - addresses.len();
    let mut scratch = [0; 256];
    while rest > 0 {
        let piece = rest.min(scratch.len());
        from.read_exact(&mut scratch[..piece]).await?;
        rest -= piece;
    }
    Ok(source)
}

/// The addresses of a header of version 2.
#[derive(Clone, Copy)]
enum Block {
    /// To be passed over, if there are any.
    Ignored,
    /// Two of IPv4, and two ports.
    V4,
    /// Two of IPv6, and two ports.
    V6,
    /// Two paths; they say nothing about a network.
    Unix,
}

impl Block {
    /// The largest.
    const BYTES_MAX: usize = 216;

    fn of(version_and_command: u8, family: u8) -> io::Result<Self> {
        match version_and_command {
            0x20 => return Ok(Self::Ignored), // LOCAL: the load balancer speaks for itself
            0x21 => {}
            _ => {
                return Err(malformed(
                    "the PROXY header is of no known version or command",
                ));
            }
        }
        let (family, transport) = (family >> 4, family & 0xf);
        match (family, transport) {
            (0..=3, 0) | (0, 1..=2) => Ok(Self::Ignored), // unspecified
            // Of a datagram as well: whoever it is from is the client.
            (1, 1..=2) => Ok(Self::V4),
            (2, 1..=2) => Ok(Self::V6),
            (3, 1..=2) => Ok(Self::Unix),
            _ => Err(malformed("the PROXY header is of no known family")),
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Ignored => 0,
            Self::V4 => 2 * (4 + 2),
            Self::V6 => 2 * (16 + 2),
            Self::Unix => Self::BYTES_MAX,
        }
    }

    /// The source among the addresses, which stand in the order source, target, source port, target port.
    fn source(self, addresses: &[u8]) -> Option<SocketAddr> {
        let (ip, ports) = match self {
            Self::Ignored | Self::Unix => return None,
            Self::V4 => {
                let (ip, rest) = addresses.split_first_chunk::<4>()?;
                (IpAddr::from(*ip), rest.get(4..)?)
            }
            Self::V6 => {
                let (ip, rest) = addresses.split_first_chunk::<16>()?;
                (IpAddr::from(*ip), rest.get(16..)?)
            }
        };
        let port = u16::from_be_bytes(*ports.first_chunk()?);
        Some(SocketAddr::new(ip, port))
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::task::Context;
    use std::task::Poll;
    use std::task::Waker;

    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::runtime::LocalRuntime;

    use super::*;

    /// What comes of `bytes` that are all there, and how many were taken.
    fn read_all(mut bytes: &[u8]) -> (Result<Option<SocketAddr>, ErrorKind>, usize) {
        let whole = bytes.len();
        let read = {
            let mut reading = std::pin::pin!(read(&mut bytes));
            match reading
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Ready(read) => read,
                Poll::Pending => panic!("a slice never keeps anybody waiting"),
            }
        };
        (read.map_err(|error| error.kind()), whole - bytes.len())
    }

    /// A header of version 2.
    fn binary(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version_and_command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn addresses(source: &str, target: &str) -> Vec<u8> {
        let [source, target]: [SocketAddr; 2] = [source, target].map(|text| text.parse().unwrap());
        let mut bytes = Vec::new();
        for address in [source, target] {
            match address.ip() {
                IpAddr::V4(ip) => bytes.extend(ip.octets()),
                IpAddr::V6(ip) => bytes.extend(ip.octets()),
            }
        }
        bytes.extend(
            [source.port(), target.port()]
                .map(u16::to_be_bytes)
                .concat(),
        );
        bytes
    }

    fn v4() -> Vec<u8> {
        addresses("203.0.113.9:56324", "192.0.2.1:443")
    }

    fn v6() -> Vec<u8> {
        addresses("[2001:db8::9]:56324", "[2001:db8::1]:443")
    }

    /// Every header that is taken, with what it says.
    #[rustfmt::skip] // a table: one row a line
    fn good() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
        let (first, second) = (Some("203.0.113.9:56324"), Some("[2001:db8::9]:56324"));
        let with = |mut addresses: Vec<u8>, more: &[u8]| { addresses.extend(more); addresses };
        vec![
            ("a line of IPv4", b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n".to_vec(), first),
            ("a line of IPv6", b"PROXY TCP6 2001:db8::9 2001:db8::1 56324 443\r\n".to_vec(), second),
            ("the shortest line with addresses", b"PROXY TCP6 :: :: 0 0\r\n".to_vec(), Some("[::]:0")),
            ("a line of nobody", b"PROXY UNKNOWN\r\n".to_vec(), None),
            ("a line of nobody, with something", b"PROXY UNKNOWN ffff::1 ffff::2 65535 x y\r\n".to_vec(), None),
            ("the longest line", [&b"PROXY UNKNOWN "[..], &[b'x'; 91], b"\r\n"].concat(), None),
            ("IPv4", binary(0x21, 0x11, &v4()), first),
            ("IPv4, a datagram", binary(0x21, 0x12, &v4()), first),
            ("IPv6", binary(0x21, 0x21, &v6()), second),
            ("IPv6, a datagram", binary(0x21, 0x22, &v6()), second),
            ("IPv4, and more", binary(0x21, 0x11, &with(v4(), &[4, 0, 3, 1, 2, 3])), first),
            ("as much more as is taken", binary(0x21, 0x11, &with(v4(), &[0; BYTES_MAX - FIXED_BYTES - 12])), first),
            ("what is more is not looked at", binary(0x21, 0x11, &with(v4(), &[3, 0xff, 0xff])), first),
            ("a wrong checksum", binary(0x21, 0x11, &with(v4(), &[3, 0, 4, 0, 0, 0, 0])), first),
            ("a Unix socket", binary(0x21, 0x31, &[b'a'; 216]), None),
            ("no family", binary(0x21, 0x00, &[]), None),
            ("no family, and more", binary(0x21, 0x00, &[0; 20]), None),
            ("no transport", binary(0x21, 0x10, &v4()), None),
            ("local", binary(0x20, 0x00, &[]), None),
            ("local, with addresses", binary(0x20, 0x11, &v4()), None),
            ("local, of an unknown family", binary(0x20, 0xff, &[1, 2, 3]), None),
        ]
    }

    #[test]
    fn a_header_is_read_and_what_follows_is_left() {
        for (name, bytes, expected) in good() {
            let expected = expected.map(|text| text.parse().unwrap());
            for follows in [
                &b""[..],
                b"G",
                b"GET / HTTP/1.1\r\n\r\n",
                b"\r\n",
                b"PROXY ",
            ] {
                let all = [&bytes[..], follows].concat();
                assert_eq!(read_all(&all), (Ok(expected), bytes.len()), "{name}");
            }
        }
    }

    #[test]
    fn a_header_may_come_in_pieces() {
        LocalRuntime::new().unwrap().block_on(async {
            for (name, bytes, expected) in good() {
                let (mut near, mut far) = tokio::io::duplex(1);
                let sent = [&bytes[..], b"rest"].concat();
                tokio::task::spawn_local(async move { near.write_all(&sent).await.unwrap() });
                let read = read(&mut far).await.unwrap();
                assert_eq!(read, expected.map(|text| text.parse().unwrap()), "{name}");
                let mut rest = String::new();
                far.read_to_string(&mut rest).await.unwrap();
                assert_eq!(rest, "rest", "{name}");
            }
        });
    }

    #[test]
    fn a_header_that_ends_early_is_told_from_none() {
        assert_eq!(read_all(b"").0, Err(ErrorKind::ConnectionAborted));
        for (name, bytes, _) in good() {
            for length in 1..bytes.len() {
                let read = read_all(&bytes[..length]).0;
                assert_eq!(
                    read,
                    Err(ErrorKind::UnexpectedEof),
                    "{name}, {length} bytes"
                );
            }
        }
    }

    #[test]
    #[rustfmt::skip] // a table: one row a line
    fn what_is_no_header_is_refused() {
        let rows: Vec<(&str, Vec<u8>)> = vec![
            ("HTTP", b"GET / HTTP/1.1\r\nhost: app\r\n\r\n".to_vec()),
            ("TLS", [&[0x16, 3, 1, 2, 0, 1][..], &[0; 20]].concat()),
            ("lower case", b"proxy TCP4 203.0.113.9 192.0.2.1 1 2\r\n".to_vec()),
            ("no family", b"PROXY 203.0.113.9 192.0.2.1 1 2\r\n".to_vec()),
            ("another family", b"PROXY UDP4 203.0.113.9 192.0.2.1 1 2\r\n".to_vec()),
            ("addresses of another family", b"PROXY TCP4 2001:db8::9 2001:db8::1 1 2\r\n".to_vec()),
            ("a target of another family", b"PROXY TCP6 2001:db8::9 192.0.2.1 1 2\r\n".to_vec()),
            ("an address with zeroes in front", b"PROXY TCP4 203.000.113.9 192.0.2.1 1 2\r\n".to_vec()),
            ("a zone", b"PROXY TCP6 fe80::1%1 fe80::2 1 2\r\n".to_vec()),
            ("two spaces", b"PROXY TCP4  203.0.113.9 192.0.2.1 1 2\r\n".to_vec()),
            ("a tab", b"PROXY TCP4\t203.0.113.9 192.0.2.1 1 2\r\n".to_vec()),
            ("a space at the end", b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2 \r\n".to_vec()),
            ("a port is missing", b"PROXY TCP4 203.0.113.9 192.0.2.1 1\r\n".to_vec()),
            ("a port too many", b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2 3\r\n".to_vec()),
            ("a large port", b"PROXY TCP4 203.0.113.9 192.0.2.1 65536 2\r\n".to_vec()),
            ("a port with a sign", b"PROXY TCP4 203.0.113.9 192.0.2.1 +1 2\r\n".to_vec()),
            ("a port with a zero in front", b"PROXY TCP4 203.0.113.9 192.0.2.1 01 2\r\n".to_vec()),
            ("a large target port", b"PROXY TCP4 203.0.113.9 192.0.2.1 1 65536\r\n".to_vec()),
            ("no CR", b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\nGET / HTTP/1.1\r\n".to_vec()),
            ("a CR inside", b"PROXY TCP4 203.0.113.9 192.0.2.1 1\r2\r\n".to_vec()),
            ("NUL", b"PROXY TCP4 203.0.113.9\0 192.0.2.1 1 2\r\n".to_vec()),
            ("not ASCII", b"PROXY TCP4 203.0.113.9 192.0.2.1 1 \xff\r\n".to_vec()),
            ("a line that does not end", [PREFIX, &[b'x'; 200]].concat()),
            ("a line one byte too long", [&b"PROXY UNKNOWN "[..], &[b'x'; 92], b"\r\n"].concat()),
            ("another version", binary(0x11, 0x11, &v4())),
            ("another command", binary(0x22, 0x11, &v4())),
            ("another family", binary(0x21, 0x41, &v4())),
            ("another transport", binary(0x21, 0x13, &v4())),
            ("too short for IPv4", binary(0x21, 0x11, &v4()[..11])),
            ("too short for IPv6", binary(0x21, 0x21, &v6()[..35])),
            ("too short for a Unix socket", binary(0x21, 0x31, &[0; 215])),
            ("too large by one", binary(0x21, 0x11, &[0; BYTES_MAX - FIXED_BYTES + 1])),
            ("local, and too large", binary(0x20, 0x00, &[0; BYTES_MAX])),
        ];
        for (name, bytes) in rows {
            let (read, taken) = read_all(&bytes);
            assert_eq!(read, Err(ErrorKind::InvalidData), "{name}");
            assert!(taken <= BYTES_MAX, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_read_on(
            start in prop_oneof![Just(&b""[..]), Just(PREFIX), Just(&b"PROXY TCP4 "[..]), Just(&SIGNATURE[..]), Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"[..])],
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, &rest].concat();
            let (read, taken) = read_all(&bytes);
            prop_assert!(taken <= bytes.len().min(BYTES_MAX));
            if read.is_ok() {
                // What it took is all it looked at.
                prop_assert_eq!(read_all(&bytes[..taken]), (read, taken));
            }
        }

        #[test]
        fn every_address_survives(ip in any::<IpAddr>(), port in any::<u16>()) {
            let address = SocketAddr::new(ip, port);
            let family = if ip.is_ipv4() { 4 } else { 6 };
            let line = format!("PROXY TCP{family} {ip} {ip} {port} 443\r\n");
            prop_assert_eq!(read_all(line.as_bytes()), (Ok(Some(address)), line.len()));
            let text = address.to_string();
            let bytes = binary(0x21, if ip.is_ipv4() { 0x11 } else { 0x21 }, &addresses(&text, &text));
            prop_assert_eq!(read_all(&bytes), (Ok(Some(address)), bytes.len()));
        }
    }
}
