//! A chunked body that passes is read alike by hyper's parser of chunk sizes, and however it arrives.
#![no_main]

use keygate::proxy::fuzz::chunks;
use libfuzzer_sys::fuzz_target;

/// The body by `httparse`: its data and its length.
fn by_httparse(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&bytes[at..])
        else {
            return None;
        };
        at += line;
        if size == 0 {
            let mut fields = [httparse::EMPTY_HEADER; 8192];
            return match httparse::parse_headers(&bytes[at..], &mut fields) {
                Ok(httparse::Status::Complete((trailers, _))) => Some((data, at + trailers)),
                _ => None,
            };
        }
        let size = usize::try_from(size).ok()?;
        data.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
}

fuzz_target!(|bytes: &[u8]| {
    let whole = chunks(bytes, usize::MAX);
    for step in [1, 7] {
        assert_eq!(chunks(bytes, step), whole, "in steps of {step}");
    }
    if whole.is_some() {
        assert_eq!(by_httparse(bytes), whole);
    }
});
