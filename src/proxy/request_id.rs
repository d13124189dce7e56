//! Ids for requests whose client chose none (which ids of a client are kept is `headers`' to say).

use std::cell::Cell;

use bytes::Bytes;
use http::HeaderValue;

/// Makes ids: 64 random bits for the worker's life, then a count. Unique, not secret.
#[derive(Debug)]
pub(crate) struct RequestIds {
    prefix: u64,
    count: Cell<u64>,
}

impl RequestIds {
    /// A sequence of its own.
    pub(crate) fn new() -> Self {
        let prefix = getrandom::u64().expect("a kernel that runs this has random numbers");
        Self {
            prefix,
            count: Cell::new(0),
        }
    }

    /// A new id: 32 hexadecimal digits.
    pub(crate) fn make(&self) -> HeaderValue {
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        let mut text = [0; 32];
        for (place, digit) in text.iter_mut().enumerate() {
            let word = if place < 16 { self.prefix } else { count };
            let nibble = word >> (60 - 4 * (place % 16)) & 15;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&text))
            .expect("hexadecimal digits are a valid value")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::proxy::headers;

    #[test]
    fn made_ids_differ_and_would_be_kept_by_the_next_keygate() {
        let ids = RequestIds::new();
        let (first, second) = (ids.make(), ids.make());
        assert_ne!(first, second);
        let headers = HeaderMap::from_iter([(headers::X_REQUEST_ID.clone(), first)]);
        assert_eq!(headers::request_id(&headers).map(str::len), Some(32));
    }
}
