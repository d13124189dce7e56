//! Where a chunked body's framing ends and its data begins (RFC 9112 §7.1), strictly: one scanner for what
//! clients send and for what the upstream answers. It looks at bytes and never holds any; a bare LF, a size
//! of more than 16 digits or a control character in a trailer is an error, whoever sent it.

/// Longest chunk extension, bytes. Nobody uses extensions; they have been a way to smuggle and to stall.
const EXTENSION_BYTES_MAX: u32 = 1024;

/// Longest trailer section, bytes; also hyper's own limit.
const TRAILER_BYTES_MAX: u32 = 16 * 1024;

/// A place in a chunked body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkScanner {
    state: State,
    /// Size of the chunk being read, then what is left of its data.
    size: u64,
    /// Digits, extension bytes or trailer bytes so far, each against its limit.
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

/// The next piece of a chunked body: how many bytes of the input, and what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Sizes, extensions and line ends.
    Framing(usize),
    /// Data of the body.
    Data(usize),
    /// Trailer fields and the line end behind them; the last byte of the body is the last of these.
    Trailer(usize),
}

/// What is wrong with a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad chunk: {0}")]
pub(crate) struct BadChunk(pub(crate) &'static str);

impl ChunkScanner {
    /// At the start of a body.
    pub(crate) const NEW: Self = Self {
        state: State::Size,
        size: 0,
        count: 0,
    };

    /// Whether the body is over.
    pub(crate) const fn ended(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Looks at the start of `input`, which is what follows the pieces told so far and not empty.
    /// All pieces together cover exactly the body.
    pub(crate) fn next(&mut self, input: &[u8]) -> Result<Piece, BadChunk> {
        if self.state == State::Data {
            let data = usize::try_from(self.size)
                .unwrap_or(usize::MAX)
                .min(input.len());
            self.size -= data as u64;
            if self.size == 0 {
                self.state = State::DataCr;
            }
            return Ok(Piece::Data(data));
        }
        let trailer = self.in_trailer();
        let mut taken = 0;
        while taken < input.len()
            && self.state != State::Data
            && self.in_trailer() == trailer
            && !self.ended()
        {
            self.step(input[taken])?;
            taken += 1;
        }
        Ok(if trailer {
            Piece::Trailer(taken)
        } else {
            Piece::Framing(taken)
        })
    }

    const fn in_trailer(&self) -> bool {
        use State::*;
        matches!(
            self.state,
            TrailerStart | TrailerName | TrailerValue | TrailerLf | EndLf | End
        )
    }

    fn step(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.count < 16 => {
                let digit = (byte as char)
                    .to_digit(16)
                    .expect("matched as a hexadecimal digit");
                self.size = self.size << 4 | u64::from(digit);
                self.count += 1;
                State::Size
            }
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                return Err(BadChunk("the size has too many digits"));
            }
            (State::Size, b'\r') if self.count > 0 => State::SizeLf,
            (State::Size, b';') if self.count > 0 => {
                self.count = 0;
                State::Extension
            }
            (State::Size, _) => return Err(BadChunk("the size is not a hexadecimal number")),
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..)
                if self.count < EXTENSION_BYTES_MAX =>
            {
                self.count += 1;
                State::Extension
            }
            (State::Extension, _) => {
                return Err(BadChunk(
                    "the extension is too long or has a control character",
                ));
            }
            (State::SizeLf, b'\n') => {
                self.count = 0;
                if self.size > i64::MAX as u64 {
                    return Err(BadChunk("the size is too large"));
                }
                if self.size == 0 {
                    State::TrailerStart
                } else {
                    State::Data
                }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::DataCr | State::DataLf, _) => {
                return Err(BadChunk("the data is longer than its size"));
            }
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::TrailerName, _) if is_token(byte) => {
                self.trailer(State::TrailerName)?
            }
            (State::TrailerName, b':') => self.trailer(State::TrailerValue)?,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) if is_value(byte) => self.trailer(State::TrailerValue)?,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::TrailerStart | State::TrailerName | State::TrailerValue, _) => {
                return Err(BadChunk("a trailer field is malformed"));
            }
            (State::EndLf, b'\n') => State::End,
            (State::SizeLf | State::TrailerLf | State::EndLf, _) => {
                return Err(BadChunk("a CR without its LF"));
            }
            (State::Data | State::End, _) => unreachable!("`next` steps over framing only"),
        };
        Ok(())
    }

    fn trailer(&mut self, next: State) -> Result<State, BadChunk> {
        self.count += 1;
        if self.count > TRAILER_BYTES_MAX {
            Err(BadChunk("the trailer is too long"))
        } else {
            Ok(next)
        }
    }
}

/// `tchar` of RFC 9110 §5.6.2: what names and methods are made of.
pub(crate) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// What a field value may hold: HTAB, SP, visible ASCII and `obs-text` (RFC 9110 §5.5).
pub(crate) const fn is_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All of `input` in steps of `step` bytes: the data, how many bytes the body had, whether it ended.
    fn scan(input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), BadChunk> {
        let (mut scanner, mut data, mut at) = (ChunkScanner::NEW, Vec::new(), 0);
        while at < input.len() && !scanner.ended() {
            let piece = scanner.next(&input[at..input.len().min(at + step)])?;
            at += match piece {
                Piece::Data(taken) => {
                    data.extend_from_slice(&input[at..at + taken]);
                    taken
                }
                Piece::Framing(taken) | Piece::Trailer(taken) => taken,
            };
        }
        Ok((data, at, scanner.ended()))
    }

    #[test]
    fn chunks_are_told_apart_from_their_data_however_they_arrive() {
        let body = b"4\r\nWiki\r\n00A;name=\"value\"\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\nGET";
        for step in 1..body.len() {
            assert_eq!(
                scan(body, step),
                Ok((b"Wiki0123456789".to_vec(), body.len() - 3, true)),
                "step {step}"
            );
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let cases: [(&str, &[u8]); 17] = [
            ("no size", b"\r\nabc"),
            ("not hexadecimal", b"xyz\r\n"),
            ("a prefix", b"0x4\r\nWiki\r\n"),
            ("a sign", b"+4\r\nWiki\r\n"),
            ("a minus", b"-1\r\n"),
            ("space before the size", b" 4\r\nWiki\r\n"),
            ("space behind the size", b"4 \r\nWiki\r\n"),
            ("bare LF behind the size", b"4\nWiki\r\n"),
            ("bare CR behind the size", b"4\rWiki\r\n"),
            ("seventeen digits", b"00000000000000004\r\nWiki\r\n"),
            ("more than 63 bits", b"ffffffffffffffff\r\n"),
            ("data longer than its size", b"3\r\nWiki\r\n"),
            ("LF in an extension", b"4;a\nb\r\nWiki\r\n"),
            ("NUL in an extension", b"4;\0\r\nWiki\r\n"),
            ("folded trailer", b"0\r\n x: 1\r\n\r\n"),
            ("trailer without a colon", b"0\r\nx\r\n\r\n"),
            ("bare LF behind a trailer", b"0\r\nx: 1\n\r\n"),
        ];
        for (name, input) in cases {
            for step in [1, 3, input.len()] {
                assert!(scan(input, step).is_err(), "{name}, step {step}");
            }
        }
    }

    #[test]
    fn long_extensions_and_trailers_are_refused() {
        let extension = format!("4;{}\r\n", "a".repeat(2000));
        assert!(scan(extension.as_bytes(), 100).is_err());
        let trailer = format!("0\r\nx: {}\r\n\r\n", "a".repeat(20_000));
        assert!(scan(trailer.as_bytes(), 100).is_err());
    }

    proptest! {
        #[test]
        fn what_is_chunked_comes_out_again(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..10),
            step in 1_usize..64,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(scan(&body, step), Ok((chunks.concat(), body.len(), true)));
        }

        #[test]
        fn nothing_panics_and_every_piece_moves_on(input in proptest::collection::vec(any::<u8>(), 0..200), step in 1_usize..64) {
            let _ = scan(&input, step);
        }
    }
}
