//! A client of HTTP/2 that is made of frames: it sends exactly the frames that a test names, whole or lying about
//! their lengths, with fields that no encoder would write, and keeps all that comes back, by stream. What a test does
//! not care about it does as it should be done: it says SETTINGS, acknowledges, answers PING and gives windows back,
//! unless told not to. Not for: well-behaved traffic only; it may break any rule.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fluke_hpack::Decoder;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::client::ask;
use crate::harness::keygate::Keygate;
use crate::harness::message::latin1;
use crate::harness::requests::get;
use crate::harness::setup::GOOD;
use crate::harness::wire::Broken;
use crate::harness::wire::lossy;

/// How every connection begins (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// Names of settings.
pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// Error codes.
pub(crate) mod code {
    pub(crate) const NO_ERROR: u32 = 0;
    pub(crate) const PROTOCOL_ERROR: u32 = 1;
    pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
    pub(crate) const STREAM_CLOSED: u32 = 5;
    pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
    pub(crate) const REFUSED_STREAM: u32 = 7;
    pub(crate) const CANCEL: u32 = 8;
    pub(crate) const COMPRESSION_ERROR: u32 = 9;
    pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;
}

/// A frame whose head says `length`, whatever is behind it.
pub(crate) fn lying_frame(
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    lying_frame(payload.len(), kind, flags, stream, payload)
}

/// SETTINGS.
pub(crate) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
        .collect();
    frame(kind::SETTINGS, flag::NONE, 0, &payload)
}

/// The acknowledgement of SETTINGS.
pub(crate) fn settings_ack() -> Vec<u8> {
    frame(kind::SETTINGS, flag::ACK, 0, b"")
}

/// PING.
pub(crate) fn ping(payload: [u8; 8]) -> Vec<u8> {
    frame(kind::PING, flag::NONE, 0, &payload)
}

/// WINDOW_UPDATE.
pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(
        kind::WINDOW_UPDATE,
        flag::NONE,
        stream,
        &increment.to_be_bytes(),
    )
}

/// RST_STREAM.
pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, flag::NONE, stream, &code.to_be_bytes())
}

/// DATA.
pub(crate) fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, stream, bytes)
}

/// HEADERS that need no CONTINUATION.
pub(crate) fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags | flag::END_HEADERS, stream, block)
}

/// PRIORITY.
pub(crate) fn priority(stream: u32, on: u32) -> Vec<u8> {
    let mut payload = on.to_be_bytes().to_vec();
    payload.push(15);
    frame(kind::PRIORITY, flag::NONE, stream, &payload)
}

/// Fields in HPACK (RFC 7541), without any encoder's good manners.
pub(crate) mod hpack {
    /// A number behind the first bits of a byte (§5.1).
    pub(crate) fn integer(first: u8, prefix_bits: u8, value: usize) -> Vec<u8> {
        let most = (1_usize << prefix_bits) - 1;
        if value < most {
            return vec![first | u8::try_from(value).unwrap()];
        }
        let mut bytes = vec![first | u8::try_from(most).unwrap()];
        let mut left = value - most;
        while left >= 0x80 {
            bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
            left >>= 7;
        }
        bytes.push(u8::try_from(left).unwrap());
        bytes
    }

    fn text(bytes: &[u8]) -> Vec<u8> {
        [&integer(0, 7, bytes.len()), bytes].concat()
    }

    /// A field that no table keeps (§6.2.2).
    pub(crate) fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
        [vec![0], text(name), text(value)].concat()
    }

    /// A field that the dynamic table keeps (§6.2.1).
    pub(crate) fn kept(name: &[u8], value: &[u8]) -> Vec<u8> {
        [vec![0x40], text(name), text(value)].concat()
    }

    /// A field of a table, by its number (§6.1); the newest of the dynamic table is 62.
    pub(crate) fn indexed(index: usize) -> Vec<u8> {
        integer(0x80, 7, index)
    }

    /// A new size of the dynamic table (§6.3).
    pub(crate) fn table_size(size: usize) -> Vec<u8> {
        integer(0x20, 5, size)
    }

    /// A block of fields that no table keeps.
    pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
        fields
            .iter()
            .flat_map(|(name, value)| literal(name.as_bytes(), value.as_bytes()))
            .collect()
    }
}

/// Fields of a good request without a key.
pub(crate) fn bare<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", "app"),
        (":path", path),
    ]
}

/// Fields of a good request with the good key.
pub(crate) fn good<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields = bare(method, path);
    fields.push(("x-api-key", GOOD));
    fields
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn number(&self, at: usize) -> u32 {
        let bytes: [u8; 4] = self.payload[at..at + 4].try_into().unwrap();
        u32::from_be_bytes(bytes)
    }
}

/// What has come on a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// The 1xx answers before the final one.
    pub(crate) interim: Vec<Vec<(String, String)>>,
    /// With the pseudo field; empty until the final head is there.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// In how many frames the body came.
    pub(crate) pieces: usize,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether its end has come.
    pub(crate) ended: bool,
    /// The code of the RST_STREAM that came.
    pub(crate) reset: Option<u32>,
}

impl Answer {
    /// Its status; 0: none came.
    pub(crate) fn status(&self) -> u16 {
        self.one(":status")
            .map_or(0, |status| status.parse().unwrap())
    }

    /// The value of a field that may come once only.
    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let all: Vec<&str> = self
            .fields
            .iter()
            .filter(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
            .collect();
        assert!(all.len() <= 1, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        lossy(&self.body)
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON: {error}: {self:?}"))
    }

    /// The code of a problem body.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// One connection of HTTP/2 to keygate.
pub(crate) struct Http2 {
    client: Client,
    decoder: Decoder<'static>,
    /// A block of fields that is not at its end: stream, flags, and what there is of it.
    block: Option<(u32, u8, Vec<u8>)>,
    next_stream: u32,
    answers: BTreeMap<u32, Answer>,
    /// What keygate's SETTINGS say, once they are there.
    pub(crate) settings: BTreeMap<u16, u32>,
    /// How many of our SETTINGS were acknowledged.
    pub(crate) acknowledged: usize,
    /// Payloads of the answers to our PINGs.
    pub(crate) pongs: Vec<Vec<u8>>,
    /// The last stream and the code of every GOAWAY.
    pub(crate) goaways: Vec<(u32, u32)>,
    /// Increments of keygate's WINDOW_UPDATEs, by stream.
    pub(crate) windows: BTreeMap<u32, u64>,
    /// The longest payload that came.
    pub(crate) largest_frame: usize,
    /// Whether windows are given back as data comes.
    pub(crate) gives_back: bool,
    /// Whether SETTINGS are acknowledged and PINGs answered.
    pub(crate) polite: bool,
    /// How the connection has ended.
    pub(crate) ended: Option<Broken>,
}

impl Http2 {
    /// Connects and says nothing at all.
    #[track_caller]
    pub(crate) fn silent(address: SocketAddr) -> Self {
        Self::over(Client::connect(address))
    }

    /// On a connection that is there.
    pub(crate) fn over(client: Client) -> Self {
        Self {
            client,
            decoder: Decoder::new(),
            block: None,
            next_stream: 1,
            answers: BTreeMap::new(),
            settings: BTreeMap::new(),
            acknowledged: 0,
            pongs: Vec::new(),
            goaways: Vec::new(),
            windows: BTreeMap::new(),
            largest_frame: 0,
            gives_back: true,
            polite: true,
            ended: None,
        }
    }

    /// Connects with these SETTINGS.
    #[track_caller]
    pub(crate) fn with(address: SocketAddr, values: &[(u16, u32)]) -> Self {
        let mut connection = Self::silent(address);
        connection.send([PREFACE, &settings(values)].concat());
        connection
    }

    /// Connects as anybody does.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::with(address, &[])
    }

    /// Sends bytes. That the connection is gone is left to whoever reads.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.client.send(bytes);
    }

    /// Sends bytes, or says that the connection is gone.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.client.try_send(bytes)
    }

    /// Sends every byte in a segment of its own.
    pub(crate) fn send_bytewise(&mut self, bytes: &[u8]) {
        self.client.send_bytewise(bytes);
    }

    /// The number of a stream that nobody has used.
    pub(crate) fn stream(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream - 2
    }

    /// Sends a request without a body; its stream.
    pub(crate) fn request(&mut self, fields: &[(&str, &str)]) -> u32 {
        self.request_block(flag::END_STREAM, &hpack::block(fields))
    }

    /// Sends a request whose body follows; its stream.
    pub(crate) fn open(&mut self, fields: &[(&str, &str)]) -> u32 {
        self.request_block(flag::NONE, &hpack::block(fields))
    }

    /// Sends a request of this block; its stream.
    pub(crate) fn request_block(&mut self, flags: u8, block: &[u8]) -> u32 {
        let stream = self.stream();
        self.send(headers(stream, flags, block));
        stream
    }

    /// Sends a part of a body.
    pub(crate) fn data(&mut self, stream: u32, bytes: &[u8]) {
        self.send(data(stream, flag::NONE, bytes));
    }

    /// Sends the last part of a body.
    pub(crate) fn last_data(&mut self, stream: u32, bytes: &[u8]) {
        self.send(data(stream, flag::END_STREAM, bytes));
    }

    /// How much more may be sent on a stream on which `sent` bytes were sent, and nothing on any other.
    pub(crate) fn room(&self, stream: u32, sent: usize) -> usize {
        let initial = self.settings.get(&setting::INITIAL_WINDOW_SIZE);
        let given = |stream| self.windows.get(&stream).copied().unwrap_or_default();
        let of_stream = u64::from(*initial.unwrap_or(&65_535)) + given(stream);
        let of_connection = 65_535 + given(0);
        let all = usize::try_from(of_stream.min(of_connection)).unwrap();
        all.saturating_sub(sent)
    }

    /// Goes with a TCP reset.
    pub(crate) fn go(self) {
        self.client.reset();
    }

    /// Reads one frame and does with it what is to be done; false when there will be no more.
    #[track_caller]
    fn step(&mut self, within: Duration) -> bool {
        if self.ended.is_some() {
            return false;
        }
        match self.read(within) {
            Ok(frame) => {
                self.take(frame);
                true
            }
            Err(Broken::Timeout) => false,
            Err(broken) => {
                self.ended = Some(broken);
                false
            }
        }
    }

    /// One frame as it comes. Nothing is lost where a deadline passes in the middle of one.
    fn read(&mut self, within: Duration) -> Result<Frame, Broken> {
        let reader = self.client.reader();
        reader.within(within);
        loop {
            let buffer = &reader.buffer;
            if buffer.len() >= 9 {
                let length = usize::from(buffer[0]) << 16
                    | usize::from(buffer[1]) << 8
                    | usize::from(buffer[2]);
                if buffer.len() >= 9 + length {
                    let bytes: Vec<u8> = reader.buffer.drain(..9 + length).collect();
                    let stream: [u8; 4] = bytes[5..9].try_into().unwrap();
                    return Ok(Frame {
                        kind: bytes[3],
                        flags: bytes[4],
                        stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
                        payload: bytes[9..].to_vec(),
                    });
                }
            }
            if reader.fill()? == 0 {
                return Err(if reader.buffer.is_empty() {
                    Broken::Closed
                } else {
                    Broken::Cut
                });
            }
        }
    }

    #[track_caller]
    fn take(&mut self, frame: Frame) {
        self.largest_frame = self.largest_frame.max(frame.payload.len());
        assert!(
            self.block.is_none() || frame.kind == kind::CONTINUATION,
            "in the middle of a block of fields: {frame:?}"
        );
        match frame.kind {
            kind::DATA => self.take_data(&frame),
            kind::HEADERS => {
                assert!(
                    !frame.has(flag::PADDED) && !frame.has(flag::PRIORITY),
                    "{frame:?}"
                );
                self.take_block(frame.stream, frame.flags, frame.payload);
            }
            kind::CONTINUATION => {
                let (stream, flags, mut block) = self.block.take().expect("HEADERS came before");
                assert_eq!(stream, frame.stream);
                block.extend(frame.payload);
                self.take_block(stream, flags | frame.flags, block);
            }
            kind::RST_STREAM => {
                let code = frame.number(0);
                self.answers.entry(frame.stream).or_default().reset = Some(code);
            }
            kind::SETTINGS if frame.has(flag::ACK) => self.acknowledged += 1,
            kind::SETTINGS => {
                for value in frame.payload.chunks_exact(6) {
                    let name = u16::from_be_bytes([value[0], value[1]]);
                    let value = u32::from_be_bytes([value[2], value[3], value[4], value[5]]);
                    self.settings.insert(name, value);
                }
                if self.polite {
                    self.send(settings_ack());
                }
            }
            kind::PING if frame.has(flag::ACK) => self.pongs.push(frame.payload),
            kind::PING if self.polite => {
                self.send(self::frame(kind::PING, flag::ACK, 0, &frame.payload));
            }
            kind::PING => {}
            kind::GOAWAY => {
                let told = (frame.number(0) & 0x7fff_ffff, frame.number(4));
                self.goaways.push(told);
            }
            kind::WINDOW_UPDATE => {
                *self.windows.entry(frame.stream).or_default() += u64::from(frame.number(0));
            }
            _ => panic!("keygate sent {frame:?}"),
        }
    }

    fn take_data(&mut self, frame: &Frame) {
        assert!(!frame.has(flag::PADDED), "{frame:?}");
        let answer = self.answers.entry(frame.stream).or_default();
        assert!(!answer.ended && answer.reset.is_none(), "{frame:?}");
        answer.body.extend_from_slice(&frame.payload);
        answer.pieces += usize::from(!frame.payload.is_empty());
        answer.ended = frame.has(flag::END_STREAM);
        if self.gives_back && !frame.payload.is_empty() {
            let count = u32::try_from(frame.payload.len()).unwrap();
            let mut updates = window_update(0, count);
            if !frame.has(flag::END_STREAM) {
                updates.extend(window_update(frame.stream, count));
            }
            self.send(updates);
        }
    }

    #[track_caller]
    fn take_block(&mut self, stream: u32, flags: u8, block: Vec<u8>) {
        if flags & flag::END_HEADERS == 0 {
            self.block = Some((stream, flags, block));
            return;
        }
        let fields: Vec<(String, String)> = self
            .decoder
            .decode(&block)
            .unwrap_or_else(|error| panic!("keygate's fields cannot be decoded: {error:?}"))
            .iter()
            .map(|(name, value)| (latin1(name), latin1(value)))
            .collect();
        let answer = self.answers.entry(stream).or_default();
        assert!(
            !answer.ended && answer.reset.is_none(),
            "{stream}: {fields:?}"
        );
        answer.ended = flags & flag::END_STREAM != 0;
        for (name, value) in &fields {
            let clean = !value.contains(['\r', '\n', '\0']) && *name == name.to_lowercase();
            assert!(clean, "{stream}: {name:?}: {value:?}");
            let of_a_connection = [
                "connection",
                "keep-alive",
                "proxy-connection",
                "transfer-encoding",
                "upgrade",
            ];
            assert!(!of_a_connection.contains(&&**name), "{stream}: {fields:?}");
        }
        if !answer.fields.is_empty() {
            assert!(answer.ended, "trailers end a stream: {fields:?}");
            answer.trailers = fields;
        } else if fields[0].1.starts_with('1') {
            answer.interim.push(fields);
        } else {
            answer.fields = fields;
        }
    }

    /// Reads on until `look` finds something; nothing if the connection ends or `SOON` passes before.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, mut look: impl FnMut(&Self) -> Option<T>) -> Option<T> {
        self.until_within(SOON, &mut look)
    }

    /// As `until`, within this time.
    #[track_caller]
    pub(crate) fn until_within<T>(
        &mut self,
        span: Duration,
        look: &mut impl FnMut(&Self) -> Option<T>,
    ) -> Option<T> {
        let deadline = std::time::Instant::now() + span;
        loop {
            if let Some(found) = look(self) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() || !self.step(left) {
                return look(self);
            }
        }
    }

    /// What has come on a stream so far.
    pub(crate) fn answer(&self, stream: u32) -> Answer {
        self.answers.get(&stream).cloned().unwrap_or_default()
    }

    /// Waits until a stream is over, well or badly; what came of it.
    #[track_caller]
    pub(crate) fn outcome(&mut self, stream: u32) -> Answer {
        self.until(|this| {
            let answer = this.answers.get(&stream)?;
            (answer.ended || answer.reset.is_some()).then_some(())
        });
        self.answer(stream)
    }

    /// The whole answer on a stream.
    #[track_caller]
    pub(crate) fn expect_response(&mut self, stream: u32) -> Answer {
        let answer = self.outcome(stream);
        assert!(answer.ended, "no whole answer: {answer:?}; {self:?}");
        answer
    }

    /// Sends a request and reads its answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect_status(&mut self, fields: &[(&str, &str)], status: u16) -> Answer {
        let stream = self.request(fields);
        let answer = self.expect_response(stream);
        assert_eq!(answer.status(), status, "{fields:?}: {answer:?}");
        answer
    }

    /// A stream must be reset by keygate with this code.
    #[track_caller]
    pub(crate) fn expect_reset(&mut self, stream: u32, code: u32) {
        let reset = self.until(|this| this.answers.get(&stream)?.reset);
        assert_eq!(reset, Some(code), "stream {stream}: {self:?}");
    }

    /// keygate must say GOAWAY with this code and close.
    #[track_caller]
    pub(crate) fn expect_goaway(&mut self, code: u32) {
        let told = self.until(|this| this.goaways.iter().find(|(_, told)| *told == code).copied());
        assert!(told.is_some(), "no GOAWAY with {code}: {self:?}");
        self.expect_closed();
    }

    /// keygate must close the connection, whatever it says before.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        let ended = self.until(|this| this.ended.clone());
        assert!(ended.is_some(), "the connection is not closed: {self:?}");
    }

    /// The next request goes on this stream.
    pub(crate) fn skip_to(&mut self, stream: u32) {
        self.next_stream = stream;
    }

    /// Whether the connection still serves: a request on it gets 200.
    pub(crate) fn is_alive(&mut self) -> bool {
        let stream = self.request(&good("GET", "/alive"));
        let answer = self.outcome(stream);
        answer.ended && answer.status() == 200
    }

    /// The connection must still serve.
    #[track_caller]
    pub(crate) fn expect_alive(&mut self) {
        assert!(self.is_alive(), "{self:?}");
    }

    /// Waits until keygate has done all that was sent so far: it has answered a PING behind it.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        let number = self.pongs.len() as u64 + 1;
        self.send(ping(number.to_be_bytes()));
        let answered = self.until(|this| (this.pongs.len() as u64 >= number).then_some(()));
        assert!(answered.is_some(), "no answer to PING: {self:?}");
    }
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2")
            .field("goaways", &self.goaways)
            .field("ended", &self.ended)
            .field("settings", &self.settings)
            .field(
                "answers",
                &self.answers.iter().rev().take(3).collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

/// Whatever one connection does, the others are served, and nothing has panicked.
#[track_caller]
pub(crate) fn others_are_served(keygate: &Keygate) {
    Http2::connect(keygate.address()).expect_status(&good("GET", "/others"), 200);
    let response = ask(keygate.address(), get("/others"));
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(keygate.metrics().total("keygate_panics_total"), 0.0);
    assert!(!keygate.log().contains("panicked"), "keygate panicked");
}

/// The most memory that the process has ever had, bytes.
#[track_caller]
pub(crate) fn memory_peak(keygate: &Keygate) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", keygate.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}
