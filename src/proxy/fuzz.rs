//! Two private scanners, for the fuzz targets in `tests/fuzz/` to compare with other people's. Pure functions
//! over bytes; not for anything else.

use crate::proxy::framing::ChunkScanner;
use crate::proxy::framing::Piece;
use crate::proxy::head::HeadCheck;
use crate::proxy::head::HeadLimits;
use crate::proxy::head::Progress;

/// The length of the head at the start of `bytes`, if it passes, when it arrives `step` bytes at a time.
#[must_use]
pub fn head(bytes: &[u8], step: usize) -> Option<usize> {
    let limits = HeadLimits {
        bytes: 64 * 1024,
        fields: 128,
    };
    let (mut check, mut given) = (HeadCheck::NEW, 0);
    while given < bytes.len() {
        given = bytes.len().min(given.saturating_add(step.max(1)));
        match check.advance(&bytes[..given], limits) {
            Progress::Partial => {}
            Progress::Whole(head) => return Some(head.bytes),
            Progress::Refused(..) => return None,
        }
    }
    None
}

/// The data of the chunked body at the start of `bytes` and the body's length, if it is whole and passes, when
/// it arrives `step` bytes at a time.
#[must_use]
pub fn chunks(bytes: &[u8], step: usize) -> Option<(Vec<u8>, usize)> {
    let (mut scanner, mut data, mut at) = (ChunkScanner::NEW, Vec::new(), 0);
    while at < bytes.len() && !scanner.ended() {
        let end = bytes.len().min(at.saturating_add(step.max(1)));
        at += match scanner.next(&bytes[at..end]).ok()? {
            Piece::Data(length) => {
                data.extend_from_slice(&bytes[at..at + length]);
                length
            }
            Piece::Framing(length) | Piece::Trailer(length) => length,
        };
    }
    scanner.ended().then_some((data, at))
}
