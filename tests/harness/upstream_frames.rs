//! An upstream that is made of frames of HTTP/2: each connection does what a script says, well or badly. What a script
//! does not care about is done as it should be: SETTINGS are acknowledged, PINGs answered. Not for: being a good server,
//! which is `upstream_h2`'s.

use std::collections::BTreeMap;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use fluke_hpack::Decoder;

use crate::harness::frames;
use crate::harness::frames::PREFACE;
use crate::harness::frames::flag;
use crate::harness::frames::frame;
use crate::harness::frames::hpack;
use crate::harness::frames::kind;
use crate::harness::frames::settings;
use crate::harness::frames::settings_ack;
use crate::harness::frames::window_update;
use crate::harness::message::latin1;

/// HEADERS with these fields.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frames::headers(stream, flags, &hpack::block(fields))
}

/// HEADERS with the rest of their block in CONTINUATION.
pub(crate) fn long_headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let block = hpack::block(fields);
    let pieces: Vec<&[u8]> = block.chunks(16_384).collect();
    let mut bytes = frame(kind::HEADERS, flags, stream, pieces[0]);
    for (at, piece) in pieces.iter().enumerate().skip(1) {
        let last = at + 1 == pieces.len();
        let flags = if last { flag::END_HEADERS } else { flag::NONE };
        bytes.extend(frame(kind::CONTINUATION, flags, stream, piece));
    }
    bytes
}

/// GOAWAY.
pub(crate) fn go_away(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(kind::GOAWAY, flag::NONE, 0, &payload)
}

/// A request as far as the upstream has read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Came {
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) ended: bool,
    pub(crate) reset: Option<u32>,
}

/// A connection, from the script's side.
pub(crate) struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
    decoder: Decoder<'static>,
    /// What came, by stream.
    pub(crate) came: BTreeMap<u32, Came>,
    /// Streams that were begun and not asked for by the script.
    fresh: Vec<u32>,
    all: Arc<Mutex<Vec<(usize, Came)>>>,
    number: usize,
    /// Whether windows are given back as data comes.
    pub(crate) gives_back: bool,
}

/// A service for keygate to stand in front of.
pub(crate) struct FrameUpstream {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    all: Arc<Mutex<Vec<(usize, Came)>>>,
    stopped: Arc<AtomicBool>,
}

type Script = dyn Fn(&mut Peer, usize) -> io::Result<()> + Send + Sync;

impl FrameUpstream {
    /// Each connection, with its number from 0, does what `script` says, from its SETTINGS on. It is closed when the
    /// script ends.
    pub(crate) fn scripted(
        script: impl Fn(&mut Peer, usize) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let stopped = Arc::new(AtomicBool::new(false));
        let all = Arc::new(Mutex::new(Vec::new()));
        let (count, stop) = (Arc::clone(&connections), Arc::clone(&stopped));
        let script: Arc<Script> = Arc::new(script);
        let kept = Arc::clone(&all);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(SeqCst) {
                    return;
                }
                let (script, all) = (Arc::clone(&script), Arc::clone(&kept));
                let number = count.fetch_add(1, SeqCst);
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    let patience = Some(Duration::from_secs(60));
                    stream.set_read_timeout(patience).unwrap();
                    stream.set_nodelay(true).unwrap();
                    let mut peer = Peer {
                        stream,
                        buffer: Vec::new(),
                        decoder: Decoder::new(),
                        came: BTreeMap::new(),
                        fresh: Vec::new(),
                        all,
                        number,
                        gives_back: true,
                    };
                    // keygate may end a connection at any time.
                    let _ = peer.preface().and_then(|()| script(&mut peer, number));
                });
            }
        });
        Self {
            address,
            connections,
            all,
            stopped,
        }
    }

    /// SETTINGS, then for each request what `answer` says of its stream, until keygate goes.
    pub(crate) fn answering(answer: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::scripted(move |peer, _| {
            peer.send(settings(&[]))?;
            loop {
                let stream = peer.request()?;
                peer.send(answer(stream))?;
            }
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("h2c://{}", self.address)
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// The heads of all requests that came, each with the number of its connection.
    pub(crate) fn requests(&self) -> Vec<(usize, Came)> {
        self.all.lock().unwrap().clone()
    }
}

impl Drop for FrameUpstream {
    fn drop(&mut self) {
        self.stopped.store(true, SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

impl Peer {
    fn preface(&mut self) -> io::Result<()> {
        while self.buffer.len() < PREFACE.len() {
            self.fill()?;
        }
        let preface: Vec<u8> = self.buffer.drain(..PREFACE.len()).collect();
        assert_eq!(preface, PREFACE, "keygate does not speak HTTP/2");
        Ok(())
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Closes in order, and says so even if bytes are unread.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Waits for the head of a request; its stream.
    pub(crate) fn request(&mut self) -> io::Result<u32> {
        while self.fresh.is_empty() {
            self.step()?;
        }
        Ok(self.fresh.remove(0))
    }

    /// Waits until a stream has come to its end, or was reset.
    pub(crate) fn whole(&mut self, stream: u32) -> io::Result<Came> {
        self.until(|peer| {
            let came = peer.came.get(&stream)?;
            (came.ended || came.reset.is_some()).then(|| came.clone())
        })
    }

    /// Reads until `look` finds something.
    pub(crate) fn until<T>(&mut self, look: impl Fn(&Self) -> Option<T>) -> io::Result<T> {
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            self.step()?;
        }
    }

    /// Reads until keygate goes.
    pub(crate) fn until_closed(&mut self) {
        while self.step().is_ok() {}
    }

    /// Reads one frame.
    fn step(&mut self) -> io::Result<()> {
        let length = loop {
            let bytes = &self.buffer;
            if bytes.len() >= 9 {
                let length = usize::from(bytes[0]) << 16
                    | usize::from(bytes[1]) << 8
                    | usize::from(bytes[2]);
                if bytes.len() >= 9 + length {
                    break length;
                }
            }
            self.fill()?;
        };
        let bytes: Vec<u8> = self.buffer.drain(..9 + length).collect();
        let (kind, flags, payload) = (bytes[3], bytes[4], &bytes[9..]);
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let stream = number(5) & 0x7fff_ffff;
        match kind {
            kind::DATA => {
                let came = self.came.entry(stream).or_default();
                came.body.extend_from_slice(payload);
                came.ended |= flags & flag::END_STREAM != 0;
                if self.gives_back && !payload.is_empty() {
                    let count = u32::try_from(payload.len()).unwrap();
                    self.send(window_update(0, count))?;
                    self.send(window_update(stream, count))?;
                }
            }
            kind::HEADERS => {
                assert!(
                    flags & flag::END_HEADERS != 0,
                    "keygate's test requests are short"
                );
                let fields = self.decoder.decode(payload).unwrap();
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(name, value)| (latin1(name), latin1(value)))
                    .collect();
                let came = self.came.entry(stream).or_default();
                came.ended = flags & flag::END_STREAM != 0;
                if came.fields.is_empty() {
                    came.fields = fields;
                    self.all.lock().unwrap().push((self.number, came.clone()));
                    self.fresh.push(stream);
                }
            }
            kind::RST_STREAM => self.came.entry(stream).or_default().reset = Some(number(9)),
            kind::SETTINGS if flags & flag::ACK == 0 => self.send(settings_ack())?,
            kind::PING if flags & flag::ACK == 0 => {
                self.send(frame(kind::PING, flag::ACK, 0, payload))?;
            }
            _ => {}
        }
        Ok(())
    }
}
