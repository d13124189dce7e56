//! Takes out of a request what the upstream may not see: the credentials (unless `auth.hide` is off), and
//! always whatever could be taken for our identity headers. Looks for more than `credential` accepts: what
//! never counts as a token may still be read as one by the upstream. What is not a credential stays as it
//! is, byte for byte. Not for: hop-by-hop fields, which are `proxy::headers`.

use std::borrow::Cow;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use http::header::Entry;

use crate::auth::Policy;
use crate::auth::credential;
use crate::auth::form;
use crate::config;
use crate::config::Source;

/// What to take out, worked out once.
pub(super) struct Stripping {
    /// Fields that go whatever they hold, together with those that look like them.
    fields: Box<[HeaderName]>,
    /// Bit n: one of `fields` is n bytes long (bit 63: or longer). Lets nearly every field pass at once.
    lengths: u64,
    /// Whether `Authorization: Bearer` goes.
    bearer: bool,
    /// Whether sub-protocols may carry a token: those are nobody's but ours.
    ws_protocol: bool,
    /// Whether the upstream may not see credentials.
    hide: bool,
    /// Known also where they are not hidden: nobody records them.
    parameters: Box<[String]>,
    cookies: Box<[String]>,
}

impl Stripping {
    pub(super) fn new(auth: &config::Auth) -> Self {
        let mut fields = vec![auth.identity.id.clone(), auth.identity.name.clone()];
        let (mut parameters, mut cookies, mut bearer) = (Vec::new(), Vec::new(), false);
        for source in &auth.sources {
            match source {
                Source::Query(name) => parameters.push(name.clone()),
                Source::Header(name) if auth.hide => fields.push(name.clone()),
                Source::Cookie(name) if auth.hide => cookies.push(name.clone()),
                Source::Bearer if auth.hide => bearer = true,
                Source::Header(_) | Source::Cookie(_) | Source::Bearer | Source::WsProtocol => {}
            }
        }
        let lengths = fields
            .iter()
            .fold(0, |lengths, name| lengths | length_bit(name));
        Self {
            fields: fields.into(),
            lengths,
            bearer,
            ws_protocol: auth.sources.contains(&Source::WsProtocol),
            hide: auth.hide,
            parameters: parameters.into(),
            cookies: cookies.into(),
        }
    }

    /// Whether this field is one of ours or looks like one.
    fn takes(&self, name: &HeaderName) -> bool {
        self.lengths & length_bit(name) != 0
            && self
                .fields
                .iter()
                .any(|field| look_alike(field.as_str(), name.as_str()))
    }
}

fn length_bit(name: &HeaderName) -> u64 {
    1 << name.as_str().len().min(63)
}

/// Whether two field names are equal to somebody who takes `_` for `-`, as CGI and WSGI do. Both are lower
/// case already: `HeaderName` sees to that.
pub(crate) fn look_alike(one: &str, other: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte };
    one.len() == other.len()
        && one
            .bytes()
            .zip(other.bytes())
            .all(|(a, b)| fold(a) == fold(b))
}

impl Policy {
    /// Takes credentials and identity look-alikes out of a request's fields. Touches nothing, and does not
    /// allocate, when there is nothing to take.
    pub fn strip_headers(&self, headers: &mut HeaderMap) {
        let stripping = &self.stripping;
        self.strip_fields(headers);
        if stripping.bearer && headers.contains_key(header::AUTHORIZATION) {
            retain_values(
                headers,
                &header::AUTHORIZATION,
                |value| match credential::bearer_value(value.as_bytes()) {
                    None => Edited::Same,
                    Some(_) => Edited::Gone,
                },
            );
        }
        if !stripping.cookies.is_empty() && headers.contains_key(header::COOKIE) {
            retain_values(headers, &header::COOKIE, |value| {
                without_cookies(value, &stripping.cookies)
            });
        }
        if stripping.ws_protocol && stripping.hide {
            strip_ws_protocols(headers);
        }
    }

    /// Takes out of an answer's fields what no client is told: an upstream that sees the sub-protocols that carry
    /// tokens, or makes some up, may not choose one.
    pub fn strip_answer(&self, headers: &mut HeaderMap) {
        if self.stripping.ws_protocol {
            strip_ws_protocols(headers);
        }
    }

    /// The same for the trailers of a request.
    pub fn strip_trailers(&self, trailers: &mut HeaderMap) {
        self.strip_headers(trailers);
    }

    /// Takes credentials out of a request target for the upstream, if they are hidden from it.
    #[must_use]
    pub fn strip_query<'a>(&self, path_and_query: &'a str) -> Cow<'a, str> {
        if self.stripping.hide {
            self.recordable(path_and_query)
        } else {
            Cow::Borrowed(path_and_query)
        }
    }

    /// Takes credentials out of a request target, whoever may see them: each such pair with one `&` beside it,
    /// and the `?` if no other byte follows it. The rest stays byte for byte.
    #[must_use]
    pub fn recordable<'a>(&self, path_and_query: &'a str) -> Cow<'a, str> {
        let parameters = &self.stripping.parameters;
        let is_credential = |pair: &form::Pair<'_>| parameters.iter().any(|name| pair.is(name));
        let Some((path, query)) = path_and_query.split_once('?') else {
            return Cow::Borrowed(path_and_query);
        };
        if parameters.is_empty() || !form::pairs(query).any(|pair| is_credential(&pair)) {
            return Cow::Borrowed(path_and_query);
        }
        let mut kept = String::with_capacity(path_and_query.len());
        kept.push_str(path);
        for (index, pair) in form::pairs(query)
            .filter(|pair| !is_credential(pair))
            .enumerate()
        {
            kept.push(if index == 0 { '?' } else { '&' });
            kept.push_str(pair.text);
        }
        if kept.len() == path.len() + 1 {
            kept.pop(); // a lone `?`
        }
        Cow::Owned(kept)
    }

    fn strip_fields(&self, headers: &mut HeaderMap) {
        let stripping = &self.stripping;
        let mut look_alikes = false;
        let mut exact = 0_u64; // bit n: `fields[n]` is there
        for name in headers.keys() {
            if stripping.lengths & length_bit(name) == 0 {
                continue;
            }
            match stripping.fields.iter().position(|field| field == name) {
                Some(index) if index < 64 => exact |= 1 << index,
                _ => look_alikes |= stripping.takes(name),
            }
        }
        while exact != 0 {
            headers.remove(&stripping.fields[exact.trailing_zeros() as usize]);
            exact &= exact - 1;
        }
        if look_alikes {
            let names: Vec<HeaderName> = headers
                .keys()
                .filter(|name| stripping.takes(name))
                .cloned()
                .collect();
            for name in names {
                headers.remove(name);
            }
        }
    }
}

/// Takes the sub-protocols out that carry a token, also where the field's name is spelt for CGI.
fn strip_ws_protocols(headers: &mut HeaderMap) {
    let name = &header::SEC_WEBSOCKET_PROTOCOL;
    let mut spelt = headers
        .keys()
        .filter(|other| look_alike(name.as_str(), other.as_str()));
    let Some(first) = spelt.next() else { return };
    let names: Vec<HeaderName> = std::iter::once(first).chain(spelt).cloned().collect();
    for name in names {
        retain_values(headers, &name, |value| {
            without(value, b',', credential::is_ws_protocol)
        });
    }
}

/// What becomes of one value of a field.
enum Edited {
    Same,
    Gone,
    Changed(HeaderValue),
}

/// Edits each value of a field; the map is touched only if one of them changes.
fn retain_values(
    headers: &mut HeaderMap,
    name: &HeaderName,
    edit: impl Fn(&HeaderValue) -> Edited,
) {
    let same = |value: &HeaderValue| matches!(edit(value), Edited::Same);
    if headers.get_all(name).iter().all(same) {
        return;
    }
    let Entry::Occupied(entry) = headers.entry(name) else {
        return;
    };
    let values: Vec<HeaderValue> = entry.remove_entry_mult().1.collect();
    for value in values {
        match edit(&value) {
            Edited::Same => drop(headers.append(name, value)),
            Edited::Gone => {}
            Edited::Changed(changed) => drop(headers.append(name, changed)),
        }
    }
}

/// A `Cookie` field without the pairs of these names.
fn without_cookies(value: &HeaderValue, names: &[String]) -> Edited {
    without(value, b';', |pair| {
        names
            .iter()
            .any(|name| credential::cookie_value(pair, name).is_some())
    })
}

/// A list without those of its elements that are credentials.
fn without(value: &HeaderValue, separator: u8, is_credential: impl Fn(&[u8]) -> bool) -> Edited {
    let bytes = value.as_bytes();
    let elements = || bytes.split(|byte| *byte == separator);
    if !elements().any(&is_credential) {
        return Edited::Same;
    }
    let mut kept = Vec::with_capacity(bytes.len());
    for (index, element) in elements()
        .filter(|element| !is_credential(element))
        .enumerate()
    {
        if index > 0 {
            kept.push(separator);
        }
        kept.extend_from_slice(element);
    }
    let kept = credential::trim(&kept);
    if kept.is_empty() {
        return Edited::Gone;
    }
    Edited::Changed(
        HeaderValue::from_bytes(kept).expect("a part of a field value is a field value"),
    )
}
