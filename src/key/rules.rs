//! What a key may do: from where, with which methods, on which paths. Rules only ever allow, so whatever
//! cannot be read in exactly one way ([`NormalPath`]) matches nothing and is not allowed.
//! Not for: whether the key is in force (`Key::state`), or where rules are written (`store::format`).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use http::Method;
use ipnet::IpNet;

use crate::refusal::Refusal;

/// What a key may do. A list that is absent allows everything; an empty one cannot be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    methods: Option<Box<[Method]>>,
    paths: Option<Box<[PathPattern]>>,
    networks: Option<Box<[IpNet]>>,
}

/// A list in `allow` without an entry. It would allow nothing, which is what `enabled: false` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected at least one entry, found an empty list")]
pub struct EmptyList;

impl Rules {
    /// Puts the three lists together; none: everything is allowed.
    ///
    /// # Errors
    /// When a list is there and empty.
    pub fn new(
        methods: Option<Vec<Method>>,
        paths: Option<Vec<PathPattern>>,
        networks: Option<Vec<IpNet>>,
    ) -> Result<Self, EmptyList> {
        Ok(Self {
            methods: filled(methods)?,
            paths: filled(paths)?,
            networks: filled(networks)?,
        })
    }

    /// The methods that are allowed, exactly these: `GET` does not bring `HEAD` with it.
    #[must_use]
    pub fn methods(&self) -> Option<&[Method]> {
        self.methods.as_deref()
    }

    /// The patterns of which a path has to match one.
    #[must_use]
    pub fn paths(&self) -> Option<&[PathPattern]> {
        self.paths.as_deref()
    }

    /// The networks of which the client has to be in one.
    #[must_use]
    pub fn networks(&self) -> Option<&[IpNet]> {
        self.networks.as_deref()
    }

    /// Whether a request is within the rules: network first, then method, then path. A client without an
    /// address (on a Unix socket) is in no network.
    ///
    /// # Errors
    /// The first rule that says no.
    pub fn check(
        &self,
        method: &Method,
        path: &NormalPath<'_>,
        client: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        if let Some(networks) = &self.networks
            && !client.is_some_and(|ip| networks.iter().any(|network| network.contains(&ip)))
        {
            return Err(Refusal::NetworkNotAllowed);
        }
        if let Some(methods) = &self.methods
            && !methods.contains(method)
        {
            return Err(Refusal::MethodNotAllowed);
        }
        if let Some(paths) = &self.paths
            && !paths.iter().any(|pattern| pattern.matches(path))
        {
            return Err(Refusal::PathNotAllowed);
        }
        Ok(())
    }
}

fn filled<T>(list: Option<Vec<T>>) -> Result<Option<Box<[T]>>, EmptyList> {
    match list {
        Some(list) if list.is_empty() => Err(EmptyList),
        list => Ok(list.map(Vec::into_boxed_slice)),
    }
}

/// Why a method or a network in `allow` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not a method name, or one that no request can have.
    #[error("expected a method such as \"GET\", in capitals, found {0:?}")]
    Method(String),
    /// Not an address or network.
    #[error("expected a network such as \"10.0.0.0/8\" or an address, found {0:?}")]
    Network(String),
    /// Bits are set behind the prefix, so it is unclear what was meant.
    #[error("expected a network, found the address {found}: the network is {network}")]
    HostBits {
        /// As it was written.
        found: String,
        /// The network that the address is in.
        network: IpNet,
    },
}

/// Reads a method of `allow.methods`. Methods are case-sensitive, and nobody means `get`.
///
/// # Errors
/// When `text` is not a method in capitals.
pub fn parse_method(text: &str) -> Result<Method, RuleError> {
    let wrong = || RuleError::Method(text.to_owned());
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(wrong());
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| wrong())
}

/// Reads a network: `10.0.0.0/8`, `2001:db8::/32`, or one address.
///
/// # Errors
/// When `text` is neither, or has bits set behind its prefix.
pub fn parse_network(text: &str) -> Result<IpNet, RuleError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let network: IpNet = text
        .parse()
        .map_err(|_| RuleError::Network(text.to_owned()))?;
    if network.addr() != network.network() {
        return Err(RuleError::HostBits {
            found: text.to_owned(),
            network: network.trunc(),
        });
    }
    Ok(network)
}

/// A pattern of paths: `/v1/users` is that path alone (`/v1/users/` is another one), `*` stands for exactly
/// one segment that is not empty, `/**` at the end for that path and everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// As it was written.
    text: Box<str>,
    /// Length of the part in front of a closing `/**`, or of all of it.
    fixed: usize,
    /// Whether it ends in `/**`.
    deep: bool,
    /// Whether it has a `*` segment; without one the bytes can be compared.
    starred: bool,
}

/// Why a pattern of paths cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has to begin with `/`.
    #[error("expected a path that begins with \"/\", found {0:?}")]
    NotAbsolute(String),
    /// A star that is not a whole segment.
    #[error("expected \"*\" as a whole segment, or \"/**\" at the end, found {0:?}")]
    Star(String),
    /// It can be read in more than one way, or has bytes that a path cannot have.
    #[error(
        "expected a plain path, found {0:?}: white space, a query, \"\\\", \";\" and encoded separators or dots \
         are not possible, other letters are written like \"%C3%A9\""
    )]
    Ambiguous(String),
    /// No normalised path is ever equal to it.
    #[error("expected a normalised path, found {found:?}: write {normal:?}")]
    NotNormal {
        /// As it was written.
        found: String,
        /// The form that paths are compared in.
        normal: String,
    },
}

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When `text` is not a pattern, or one that no path can match.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if !text.starts_with('/') {
            return Err(PatternError::NotAbsolute(text.to_owned()));
        }
        let (fixed, deep) = match text.strip_suffix("/**") {
            Some(front) => (front, true),
            None => (text, false),
        };
        let mut starred = false;
        for segment in fixed.split('/').filter(|segment| segment.contains('*')) {
            if segment != "*" {
                return Err(PatternError::Star(text.to_owned()));
            }
            starred = true;
        }
        match NormalPath::of(text).form {
            Form::Ambiguous => Err(PatternError::Ambiguous(text.to_owned())),
            Form::Clear(normal) if normal == text => Ok(Self {
                text: text.into(),
                fixed: fixed.len(),
                deep,
                starred,
            }),
            Form::Clear(normal) => Err(not_normal(text, normal.into_owned())),
            Form::Dotted { normal, .. } => Err(not_normal(text, normal)),
        }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the path matches. An ambiguous path matches nothing.
    #[must_use]
    pub fn matches(&self, path: &NormalPath<'_>) -> bool {
        match &path.form {
            Form::Ambiguous => false,
            Form::Clear(normal) => self.matches_text(normal),
            Form::Dotted { normal, literal } => {
                self.matches_text(normal) && self.matches_text(literal)
            }
        }
    }

    fn matches_text(&self, path: &str) -> bool {
        let fixed = &self.text[..self.fixed];
        if self.starred {
            return self.matches_segments(fixed, path);
        }
        match path.strip_prefix(fixed) {
            Some(rest) => rest.is_empty() || (self.deep && rest.starts_with('/')),
            None => false,
        }
    }

    fn matches_segments(&self, fixed: &str, path: &str) -> bool {
        let mut segments = path.split('/');
        for wanted in fixed.split('/') {
            match segments.next() {
                Some(found) if wanted == found || (wanted == "*" && !found.is_empty()) => {}
                Some(_) | None => return false,
            }
        }
        self.deep || segments.next().is_none()
    }
}

fn not_normal(found: &str, normal: String) -> PatternError {
    PatternError::NotNormal {
        found: found.to_owned(),
        normal,
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A request's path in the form that patterns are compared with: unreserved characters decoded, empty and
/// dot segments removed. For matching only; the upstream gets the path as the client sent it.
///
/// A path that servers read in different ways is ambiguous and matches nothing: an encoded `/`, `\`, `;`,
/// dot or control character, also below a second layer of encoding, a broken `%`, a bare `\` or `;`, `..`
/// beside an empty segment. A path with dot segments matches a pattern only if it does so with and without
/// them, because not every upstream removes them: `/admin/../public/x` is not under `/public/**`.
#[derive(Clone, Debug)]
pub struct NormalPath<'a> {
    form: Form<'a>,
}

#[derive(Clone, Debug)]
enum Form<'a> {
    Ambiguous,
    Clear(Cow<'a, str>),
    Dotted { normal: String, literal: String },
}

impl<'a> NormalPath<'a> {
    /// Normalises the path part of a request target. Borrows, and does not allocate, when the path is
    /// normal already.
    #[must_use]
    pub fn of(path: &'a str) -> Self {
        let form = if is_normal(path.as_bytes()) {
            Form::Clear(Cow::Borrowed(path))
        } else {
            normalise(path)
        };
        Self { form }
    }

    /// The normalised path; none when it is ambiguous.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.form {
            Form::Ambiguous => None,
            Form::Clear(normal) => Some(normal),
            Form::Dotted { normal, .. } => Some(normal),
        }
    }
}

/// Bytes that stand for themselves in a normal path: visible ASCII without what has a meaning of its own.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'%' | b';' | b'\\' | b'?' | b'#')
}

/// The hot path: one pass, no allocation, and false whenever there is something to think about.
fn is_normal(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return false;
    }
    let mut before = b'/';
    for (index, &byte) in path.iter().enumerate().skip(1) {
        if !is_plain(byte) {
            return false;
        }
        if before == b'/' && (byte == b'/' || (byte == b'.' && is_dot_segment(&path[index..]))) {
            return false;
        }
        before = byte;
    }
    true
}

fn is_dot_segment(rest: &[u8]) -> bool {
    matches!(
        rest,
        [b'.'] | [b'.', b'.'] | [b'.', b'/', ..] | [b'.', b'.', b'/', ..]
    )
}

fn normalise(path: &str) -> Form<'static> {
    let Some(decoded) = decode(path.as_bytes()) else {
        return Form::Ambiguous;
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut literal: Vec<&str> = Vec::new();
    let (mut empty, mut single, mut double) = (false, false, false);
    let mut segments = decoded[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        literal.push(segment);
        match segment {
            "" if !last => {
                empty = true;
                literal.pop();
            }
            "." => single = true,
            ".." => {
                double = true;
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push(""); // `/a/.` and `/a/b/..` are the folder `/a/`
        }
    }
    // Whoever merges slashes first and whoever removes dots first end up in different places.
    if double && empty {
        return Form::Ambiguous;
    }
    let joined = |segments: &[&str]| format!("/{}", segments.join("/"));
    if single || double {
        Form::Dotted {
            normal: joined(&kept),
            literal: joined(&literal),
        }
    } else {
        Form::Clear(Cow::Owned(joined(&kept)))
    }
}

/// Decodes unreserved characters and writes other escapes in capitals; none when the path is ambiguous.
fn decode(path: &[u8]) -> Option<String> {
    if path.first() != Some(&b'/') {
        return None; // `*` and the authority form name no path
    }
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if is_plain(byte) {
            decoded.push(char::from(byte));
            continue;
        }
        let [high, low, after @ ..] = after else {
            return None;
        };
        if byte != b'%' {
            return None;
        }
        rest = after;
        let value = hex(*high)? << 4 | hex(*low)?;
        match value {
            _ if is_trap(value) => return None,
            b'%' if is_encoded_trap(rest) => return None,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                decoded.push(char::from(value))
            }
            _ => {
                decoded.push('%');
                decoded.push(char::from(high.to_ascii_uppercase()));
                decoded.push(char::from(low.to_ascii_uppercase()));
            }
        }
    }
    Some(decoded)
}

/// Characters that change the meaning of a path for whoever decodes them before looking.
const fn is_trap(byte: u8) -> bool {
    matches!(byte, 0..=0x1f | 0x7f | b'/' | b'\\' | b';' | b'.')
}

/// Whether a second decoding would find a trap behind this `%`, or one more layer.
fn is_encoded_trap(rest: &[u8]) -> bool {
    match rest {
        [high, low, ..] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => is_trap(high << 4 | low) || high << 4 | low == b'%',
            _ => false,
        },
        _ => false,
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
