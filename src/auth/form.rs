//! Query strings as forms write them: `&` between pairs, `+` for a space, `%XX` for a byte. Only what is
//! needed to find a parameter; nothing here allocates. A broken escape stands for itself.

/// The pairs of a query, as they were written. An empty query has one empty pair.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = Pair<'_>> {
    query.split('&').map(|text| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Pair { text, name, value }
    })
}

/// One pair; `text` is all of it.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) text: &'a str,
    pub(super) value: &'a str,
    name: &'a str,
}

impl Pair<'_> {
    /// Whether the decoded name is this one.
    pub(super) fn is(&self, wanted: &str) -> bool {
        if is_plain(self.name) {
            return self.name == wanted;
        }
        decode(self.name).eq(wanted.bytes())
    }
}

/// Whether the text stands for itself.
pub(super) fn is_plain(text: &str) -> bool {
    memchr::memchr2(b'%', b'+', text.as_bytes()).is_none()
}

/// The bytes that the text stands for.
pub(super) fn decode(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        rest = after;
        match (first, after) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    Some(high << 4 | low)
                }
                _ => Some(b'%'),
            },
            (byte, _) => Some(byte),
        }
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let rows = [
            ("", ""),
            ("abc", "abc"),
            ("a+b", "a b"),
            ("%61%62%63", "abc"),
            ("%2B%2b", "++"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%4", "%zz%4"),
            ("%%41", "%A"),
        ];
        for (text, expected) in rows {
            let decoded: Vec<u8> = decode(text).collect();
            assert_eq!(String::from_utf8(decoded).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn pairs_are_found_by_decoded_name() {
        let rows = [
            ("api_key=x", true),
            ("api_key", true),
            ("api_key=", true),
            ("%61pi_key=x", true),
            ("api%5Fkey=x", true),
            ("API_KEY=x", false),
            ("api_key2=x", false),
            ("api_ke=x", false),
            ("api+key=x", false),
            ("=api_key", false),
            ("", false),
        ];
        for (query, expected) in rows {
            assert_eq!(
                pairs(query).any(|pair| pair.is("api_key")),
                expected,
                "{query}"
            );
        }
        assert_eq!(
            pairs("a=1;api_key=x")
                .filter(|pair| pair.is("api_key"))
                .count(),
            0
        );
    }
}
