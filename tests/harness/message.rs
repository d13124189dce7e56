//! Heads and responses as a test looks at them: raw bytes kept, fields in order, names in lower case.

use std::fmt;

use serde_json::Value;

use crate::harness::wire::Broken;
use crate::harness::wire::Reader;

/// A request or response head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// As it was on the wire.
    pub(crate) raw: Vec<u8>,
    /// The first line.
    pub(crate) start: String,
    /// Names in lower case; values without surrounding white space; bytes above 0x7F as Latin-1.
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// From raw bytes, with the empty line.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, String> {
        let text = latin1(raw);
        let mut lines = text
            .strip_suffix("\r\n\r\n")
            .ok_or("no end of head")?
            .split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .map(|line| Self::field(&from_latin1(line)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            raw: raw.to_vec(),
            start,
            fields,
        })
    }

    /// One field line.
    pub(crate) fn field(line: &[u8]) -> Result<(String, String), String> {
        let text = latin1(line);
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| format!("no colon in {text:?}"))?;
        Ok((
            name.to_ascii_lowercase(),
            value.trim_matches([' ', '\t']).to_owned(),
        ))
    }

    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of a field that may come once only.
    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// Whether the field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// Whether a comma-separated field holds `token`.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    }

    /// The second word of the first line: a request's target, a response's status.
    pub(crate) fn second(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The first word of the first line: a request's method.
    pub(crate) fn first(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }
}

/// How the end of a response was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It can have no body.
    Bodyless,
    /// By `Content-Length`.
    Length,
    /// By the last chunk.
    Chunked,
    /// By the close of the connection.
    Close,
}

/// A whole response.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) ended: Ended,
    /// The 1xx answers before it (a 101 is a final answer).
    pub(crate) interim: Vec<Head>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = self.text().chars().take(2_000).collect();
        write!(f, "{}\n{body}\n({:?})", latin1(&self.head.raw), self.ended)
    }
}

impl Response {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON: {error}: {self:?}"))
    }

    /// The code of a problem body.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// An answer that broke off: what there was of it.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) why: Broken,
    pub(crate) head: Option<Head>,
    pub(crate) body: Vec<u8>,
}

impl From<Broken> for Failed {
    fn from(why: Broken) -> Self {
        Self {
            why,
            head: None,
            body: Vec::new(),
        }
    }
}

/// Reads the answer to a request with `method`.
pub(crate) fn read_response(reader: &mut Reader, method: &str) -> Result<Response, Failed> {
    let mut interim = Vec::new();
    let (status, head) = loop {
        let head = reader.head()?;
        let status: u16 = head
            .second()
            .parse()
            .map_err(|_| Broken::Malformed(format!("status line {:?}", head.start)))?;
        if !head.start.starts_with("HTTP/1.1 ") && !head.start.starts_with("HTTP/1.0 ") {
            return Err(Broken::Malformed(format!("status line {:?}", head.start)).into());
        }
        if status >= 200 || status == 101 {
            break (status, head);
        }
        interim.push(head);
    };
    let mut response = Response {
        status,
        head,
        body: Vec::new(),
        trailers: Vec::new(),
        ended: Ended::Bodyless,
        interim,
    };
    match read_body(reader, method, &mut response) {
        Ok(()) => Ok(response),
        Err(why) => Err(Failed {
            why,
            head: Some(response.head),
            body: response.body,
        }),
    }
}

fn read_body(reader: &mut Reader, method: &str, response: &mut Response) -> Result<(), Broken> {
    let Response {
        status,
        head,
        body,
        trailers,
        ended,
        ..
    } = response;
    if method == "HEAD" || matches!(status, 101 | 204 | 304) {
        return Ok(());
    }
    if head.has("transfer-encoding") {
        assert!(
            !head.has("content-length"),
            "both lengths in an answer: {head:?}"
        );
        *ended = Ended::Chunked;
        *trailers = reader.chunked(|piece| body.extend_from_slice(piece))?;
    } else if let Some(length) = head.one("content-length") {
        *ended = Ended::Length;
        let length: usize = length
            .parse()
            .map_err(|_| Broken::Malformed(format!("content-length {length:?}")))?;
        while body.len() < length {
            body.extend(reader.some(length - body.len())?);
        }
    } else {
        *ended = Ended::Close;
        loop {
            body.append(&mut reader.buffer);
            if reader.fill()? == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Each byte as the character of that number.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn from_latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
        .collect()
}
