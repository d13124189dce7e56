//! The upstream's answer, from bytes to meaning: its head, how its body is framed, and the parts of a chunked
//! body. Pure: nothing here waits or holds. RFC 9112 without its tolerances: what could be framed in two ways is
//! malformed.

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use http::Version;
use http::header;

use crate::proxy::framing::BadChunk;
use crate::proxy::framing::ChunkScanner;
use crate::proxy::framing::Piece;
use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::message::HEAD_BYTES_MAX;
use crate::proxy::upstream::message::Part;

/// The most fields in an answer.
pub(super) const FIELDS_MAX: usize = 128;

/// A complete head, its fields still as positions in the buffer: from, to of the name; from, to of the value.
pub(super) struct Parsed {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) length: usize,
    fields: [[u16; 4]; FIELDS_MAX],
    count: usize,
}

/// The head at the start of `input`, if it is complete.
pub(super) fn parse(input: &[u8]) -> Result<Option<Parsed>, UpstreamFailure> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut fields);
    let length = match answer.parse(input) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Complete(_)) => {
            return Err(UpstreamFailure::Malformed("the head is too large"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(UpstreamFailure::Malformed("the head has too many fields"));
        }
        Err(_) => return Err(UpstreamFailure::Malformed("the head is not HTTP/1")),
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(UpstreamFailure::Malformed(
        "the status is not a number from 100 to 999",
    ))?;
    let version = if answer.version == Some(1) {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    let mut parsed = Parsed {
        status,
        version,
        length,
        fields: [[0; 4]; FIELDS_MAX],
        count: answer.headers.len(),
    };
    let position = |part: &[u8]| part.as_ptr() as usize - input.as_ptr() as usize;
    let narrow = |at: usize| u16::try_from(at).expect("a head is at most HEAD_BYTES_MAX long");
    for (field, place) in answer.headers.iter().zip(&mut parsed.fields) {
        let (name, value) = (position(field.name.as_bytes()), position(field.value));
        *place = [
            name,
            name + field.name.len(),
            value,
            value + field.value.len(),
        ]
        .map(narrow);
    }
    Ok(Some(parsed))
}

impl Parsed {
    /// The fields, sharing the bytes of the head.
    pub(super) fn headers(&self, head: &Bytes) -> Result<HeaderMap, UpstreamFailure> {
        let mut headers = HeaderMap::with_capacity(self.count + 4);
        for field in &self.fields[..self.count] {
            let [name_from, name_to, value_from, value_to] = field.map(usize::from);
            let name = HeaderName::from_bytes(&head[name_from..name_to]);
            let value = HeaderValue::from_maybe_shared(head.slice(value_from..value_to));
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(UpstreamFailure::Malformed("a field that is not allowed"));
            };
            headers.append(name, value);
        }
        Ok(headers)
    }
}

/// The one Content-Length, if there is any. Equal repetitions are made one (RFC 9110 §8.6): over HTTP/2 they would reach
/// the client, which may take them for a malformed answer.
pub(super) fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, UpstreamFailure> {
    let mut length = None;
    let mut count = 0;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let digits = value.as_bytes().iter().all(u8::is_ascii_digit);
        let this = value
            .to_str()
            .ok()
            .filter(|_| digits)
            .and_then(|text| text.parse::<u64>().ok());
        let this = this.ok_or(UpstreamFailure::Malformed("Content-Length is not a number"))?;
        if length.replace(this).is_some_and(|other| other != this) {
            return Err(UpstreamFailure::Malformed("two different Content-Lengths"));
        }
        count += 1;
    }
    if let Some(length) = length
        && count > 1
    {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(length)
}

/// Whether the body is chunked; another coding is not asked for and could not be passed on.
pub(super) fn chunked(headers: &HeaderMap) -> Result<bool, UpstreamFailure> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None)
            if coding
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(true)
        }
        _ => Err(UpstreamFailure::Malformed(
            "a Transfer-Encoding other than chunked",
        )),
    }
}

/// The next data or the trailers of a chunked body.
pub(super) fn decode_chunked(
    scanner: &mut ChunkScanner,
    input: &mut BytesMut,
) -> Result<Option<Part>, UpstreamFailure> {
    let malformed = |BadChunk(what)| UpstreamFailure::Malformed(what);
    while !input.is_empty() && !scanner.ended() {
        let mut ahead = *scanner;
        match ahead.next(input).map_err(malformed)? {
            Piece::Framing(length) => {
                input.advance(length);
                *scanner = ahead;
            }
            Piece::Data(length) => {
                *scanner = ahead;
                let data = input.split_to(length).freeze();
                skip_framing(scanner, input);
                return Ok(Some(Part::Data(data)));
            }
            Piece::Trailer(length) if ahead.ended() => {
                *scanner = ahead;
                let fields = input.split_to(length).freeze();
                let trailers = trailers(&fields)?;
                return Ok((!trailers.is_empty()).then_some(Part::Trailers(trailers)));
            }
            Piece::Trailer(_) => return Ok(None), // read on: they are parsed in one go
        }
    }
    Ok(None)
}

/// Over line ends and sizes up to the next data, and over an end without trailers. What is wrong there is found
/// again when it is its turn: the data before it is good.
fn skip_framing(scanner: &mut ChunkScanner, input: &mut BytesMut) {
    while !input.is_empty() && !scanner.ended() {
        let mut ahead = *scanner;
        match ahead.next(input) {
            Ok(Piece::Framing(length)) => input.advance(length),
            Ok(Piece::Trailer(2)) if ahead.ended() => input.advance(2),
            Ok(Piece::Data(_) | Piece::Trailer(_)) | Err(_) => return,
        }
        *scanner = ahead;
    }
}

fn trailers(bytes: &[u8]) -> Result<HeaderMap, UpstreamFailure> {
    let malformed = || UpstreamFailure::Malformed("a malformed trailer");
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(bytes, &mut fields)
    else {
        return Err(malformed());
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| malformed())?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| malformed())?;
        trailers.append(name, value);
    }
    Ok(trailers)
}
