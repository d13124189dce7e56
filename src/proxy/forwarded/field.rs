//! The syntax of `Forwarded` (RFC 7239 §4), read from the right: an element is cut off at the comma in front of it, by
//! what stands in it alone. A quote that a client has left open cannot swallow what a proxy has added behind it, which
//! is what happens to those who read from the left.
//! Not for: who is believed, which is the parent's.

use std::borrow::Cow;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use http::HeaderMap;
use http::header;

use crate::proxy::forwarded::address;

/// What one proxy says of the request that it took.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'a> {
    node: Option<Cow<'a, [u8]>>,
    /// What the client spoke to it.
    pub(super) proto: Option<Cow<'a, [u8]>>,
    /// The host that it was asked for.
    pub(super) host: Option<Cow<'a, [u8]>>,
}

/// The elements of all `Forwarded` fields, last one first; none for one that is malformed.
pub(super) fn from_the_right(headers: &HeaderMap) -> impl Iterator<Item = Option<Element<'_>>> {
    let values = headers.get_all(header::FORWARDED).iter().rev();
    values.flat_map(|value| FromTheRight(Some(value.as_bytes())).map(Element::parse))
}

/// The pieces of a list between its commas, last one first.
struct FromTheRight<'a>(Option<&'a [u8]>);

impl<'a> Iterator for FromTheRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0.take()?;
        let mut quoted = false;
        for at in (0..rest.len()).rev() {
            match rest[at] {
                b'"' if !quoted || !is_escaped(&rest[..at]) => quoted = !quoted,
                b',' if !quoted => {
                    self.0 = Some(&rest[..at]);
                    return Some(&rest[at + 1..]);
                }
                _ => {}
            }
        }
        Some(rest)
    }
}

/// Whether what follows `before` in a quoted string is escaped.
fn is_escaped(before: &[u8]) -> bool {
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\');
    backslashes.count() % 2 == 1
}

impl<'a> Element<'a> {
    /// Pairs `name=value` between semicolons. White space around these is borne, since some write it.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let mut element = Self::default();
        let mut rest = text.trim_ascii();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(b";") {
                rest = after.trim_ascii_start();
                continue;
            }
            let name = rest.split(|byte| !is_token(*byte)).next()?;
            let after = rest.get(name.len()..)?.strip_prefix(b"=")?;
            let (value, after) = value(after)?;
            rest = after.trim_ascii_start();
            if !rest.is_empty() && !rest.starts_with(b";") {
                return None;
            }
            let place = match name {
                b"" => return None,
                name if name.eq_ignore_ascii_case(b"for") => &mut element.node,
                name if name.eq_ignore_ascii_case(b"proto") => &mut element.proto,
                name if name.eq_ignore_ascii_case(b"host") => &mut element.host,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return None; // said twice: which of them is meant?
            }
        }
        Some(element)
    }

    /// The address that the request came from; none for `unknown` and for a made-up name.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        let node = self.node.as_deref()?;
        address(node).or_else(|| {
            let (name, port) = std::str::from_utf8(node).ok()?.rsplit_once(':')?;
            let made_up = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            let port = port.strip_prefix('_')?;
            if port.is_empty() || !port.bytes().all(made_up) {
                return None;
            }
            match name.strip_prefix('[') {
                Some(inside) => inside
                    .strip_suffix(']')?
                    .parse::<Ipv6Addr>()
                    .ok()
                    .map(IpAddr::from),
                None => name.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            }
            .map(|ip| ip.to_canonical())
        })
    }
}

/// A value, and what follows it.
fn value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        // Colons and brackets belong into quotes; not everybody knows.
        let length = text
            .iter()
            .take_while(|byte| is_token(**byte) || b":[]".contains(byte))
            .count();
        let (value, after) = text.split_at(length);
        return (!value.is_empty()).then_some((Cow::Borrowed(value), after));
    };
    let mut unescaped: Option<Vec<u8>> = None;
    let mut at = 0;
    loop {
        match quoted.get(at)? {
            b'"' => break,
            b'\\' => {
                unescaped
                    .get_or_insert_with(|| quoted[..at].to_vec())
                    .push(*quoted.get(at + 1)?);
                at += 2;
            }
            byte => {
                if let Some(unescaped) = &mut unescaped {
                    unescaped.push(*byte);
                }
                at += 1;
            }
        }
    }
    let value = unescaped.map_or(Cow::Borrowed(&quoted[..at]), Cow::Owned);
    Some((value, &quoted[at + 1..]))
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(header::FORWARDED, value);
        }
        headers
    }

    #[test]
    #[rustfmt::skip] // a table: one row a line
    fn an_element_says_whom_it_was_for() {
        let rows = [
            ("for=192.0.2.43", "192.0.2.43"), ("FOR=192.0.2.43", "192.0.2.43"), ("for=\"192.0.2.43\"", "192.0.2.43"),
            ("for=\"192.0.2.43:4711\"", "192.0.2.43"), ("for=192.0.2.43:4711", "192.0.2.43"),
            ("for=\"192.0.2.43:_gazonk\"", "192.0.2.43"), ("for=\"[2001:db8:cafe::17]\"", "2001:db8:cafe::17"),
            ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"), ("for=[2001:db8::17]:4711", "2001:db8::17"),
            ("for=\"[2001:db8::17]:_x.y-z\"", "2001:db8::17"), ("for=\"[::ffff:192.0.2.43]\"", "192.0.2.43"),
            ("for=\"2001:db8::17\"", "2001:db8::17"), ("for=\"1\\92.0.2.\\43\"", "192.0.2.43"),
            ("proto=http;by=203.0.113.43;for=192.0.2.43", "192.0.2.43"), ("for=192.0.2.43; proto=https", "192.0.2.43"),
            (";;for=192.0.2.43;;", "192.0.2.43"), ("x=\"a,b;c\\\"d\";for=192.0.2.43", "192.0.2.43"),
            (" \tfor=192.0.2.43\t ", "192.0.2.43"), ("secret=\"\";for=192.0.2.43", "192.0.2.43"),
        ];
        for (text, expected) in rows {
            let element = Element::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(element.ip(), Some(expected.parse().unwrap()), "{text}");
        }
    }

    #[test]
    #[rustfmt::skip] // a table: one row a line
    fn what_says_nothing_or_is_malformed_names_nobody() {
        let rows = [
            "", "for=unknown", "for=_hidden", "for=\"_hidden:1\"", "by=192.0.2.43", "for=", "for=\"\"", "for", "=192.0.2.43",
            "192.0.2.43", "for =192.0.2.43", "for= 192.0.2.43", "for=192.0.2.43;for=192.0.2.44", "for=192.0.2.43;for=192.0.2.43",
            "for=\"192.0.2.43", "for=192.0.2.43\"", "for=\"192.0.2.43\\", "for=\"192.0.2.43\"x", "for=\"a\"192.0.2.43",
            "for=192.0.2.43 proto=http", "for=192.0.2.43:", "for=\"192.0.2.43:_\"", "for=\"192.0.2.43:80:_x\"",
            "for=\"[192.0.2.43\"", "for=\"192.0.2.43:_ü\"", "for=192.0.2.256", "for=\"[2001:db8::17]_x\"", "för=192.0.2.43",
            "for=192.0.2.43;proto=http;proto=http", "for=192.0.2.43;x", "for='192.0.2.43'", "for=192.0.2.43/32",
        ];
        for text in rows {
            assert_eq!(Element::parse(text.as_bytes()).and_then(|element| element.ip()), None, "{text}");
        }
    }

    #[test]
    fn elements_are_cut_from_the_right() {
        let rows: [(&[&str], &[&str]); 8] = [
            (&["for=a, for=b"], &[" for=b", "for=a"]),
            (&["for=a", "for=b,for=c"], &["for=c", "for=b", "for=a"]),
            (&["for=\"a,b\",x"], &["x", "for=\"a,b\""]),
            (&["for=\"a\\\",b\",x"], &["x", "for=\"a\\\",b\""]),
            (&["for=\"a\\\\\",b"], &["b", "for=\"a\\\\\""]),
            // An open quote ends where it stands.
            (&["for=\"a, for=\"b\""], &[" for=\"b\"", "for=\"a"]),
            (&["for=\"a,b, for=c"], &[" for=c", "b", "for=\"a"]),
            (&["a,,b"], &["b", "", "a"]),
        ];
        for (values, expected) in rows {
            let headers = headers(values);
            let values = headers.get_all(header::FORWARDED).iter().rev();
            let pieces: Vec<&str> = values
                .flat_map(|value| FromTheRight(Some(value.as_bytes())))
                .map(|piece| std::str::from_utf8(piece).unwrap())
                .collect();
            assert_eq!(pieces, expected, "{headers:?}");
        }
    }
}
