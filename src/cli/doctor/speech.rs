//! What came back from the upstream, from its first bytes. Pure.

/// What something speaks that we do not know yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// HTTP/1, with the head of its answer.
    Http1 { status: u16, head: String },
    /// TLS, or HTTP that says it wants TLS.
    Tls,
    /// HTTP/2 without TLS.
    Http2,
    /// It closed the connection without a word.
    Nothing,
    /// The beginning of something else.
    Other(String),
}

/// How many characters of something strange are shown.
const SHOWN_MAX: usize = 40;

pub(super) fn recognise(bytes: &[u8]) -> Speech {
    match bytes {
        [] => Speech::Nothing,
        // A TLS alert or handshake record: content type, 3, a minor version.
        [0x15 | 0x16, 3, 0..=4, ..] => Speech::Tls,
        // The SETTINGS frame that every HTTP/2 server begins with.
        [0, _, _, 4, ..] => Speech::Http2,
        _ => http1(bytes),
    }
}

fn http1(bytes: &[u8]) -> Speech {
    let text = String::from_utf8_lossy(bytes);
    let status = || {
        let line = text.strip_prefix("HTTP/1.")?;
        line.get(2..5)?.parse().ok()
    };
    let Some(status) = status() else {
        let shown = text.chars().take(SHOWN_MAX).collect();
        return Speech::Other(shown);
    };
    // nginx, Go and Apache all say so with this status, in a text that has the word.
    if status == 400 && text.contains("HTTPS") {
        return Speech::Tls;
    }
    let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
    Speech::Http1 { status, head }
}

/// The first field of this name.
pub(super) fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// `Keep-Alive: timeout=5, max=100`
pub(super) fn keep_alive_seconds(head: &str) -> Option<u64> {
    let parameters = field(head, "keep-alive")?.split(',');
    parameters
        .filter_map(|parameter| parameter.trim().split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))
        .and_then(|(_, value)| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_recognised() {
        let http1 = |status, head: &str| Speech::Http1 {
            status,
            head: head.to_owned(),
        };
        for (bytes, expected) in [
            (&b""[..], Speech::Nothing),
            (b"\x15\x03\x01\x00\x02\x02\x46", Speech::Tls),
            (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", Speech::Http2),
            (
                b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
                Speech::Tls,
            ),
            (b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n", http1(204, "HTTP/1.1 204 No Content\r\nDate: x")),
            (b"HTTP/1.1 400 Bad Request\r\n\r\nno", http1(400, "HTTP/1.1 400 Bad Request")),
            (b"SSH-2.0-OpenSSH\r\n", Speech::Other("SSH-2.0-OpenSSH\r\n".to_owned())),
            (b"HTTP/1.1 x", Speech::Other("HTTP/1.1 x".to_owned())),
        ] {
            assert_eq!(recognise(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn fields_are_found_in_any_case() {
        let head = "HTTP/1.1 200 OK\r\nDATE: today\r\nkeep-alive: max=3, Timeout=5";
        assert_eq!(field(head, "date"), Some("today"));
        assert_eq!(field(head, "server"), None);
        assert_eq!(keep_alive_seconds(head), Some(5));
        assert_eq!(keep_alive_seconds("HTTP/1.1 200 OK\r\nKeep-Alive: 5"), None);
    }
}
