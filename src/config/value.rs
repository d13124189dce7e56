//! One value of a setting, from a node to a type that cannot be wrong. Each function knows nothing of
//! other settings; what depends on several is `check`.

use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::config::Certificate;
use crate::config::Source;
use crate::config::headers;
use crate::config::layers::NOT_IN_THIS_VERSION;
use crate::document::Node;
use crate::document::Value;
use crate::key::rules::PathPattern;
use crate::key::rules::PatternError;
use crate::key::rules::RuleError;
use crate::key::rules::parse_network;
use crate::problem::Place;
use crate::problem::nearest;
use crate::units::UnitError;
use crate::units::parse_duration;
use crate::units::parse_size;

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Where, if it is only a part of the value.
    pub(super) place: Option<Place>,
    /// What.
    pub(super) what: String,
    /// What to do.
    pub(super) hint: Option<String>,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            place: None,
            what: what.into(),
            hint: None,
        }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The innermost place counts.
    pub(super) fn at(self, place: Option<Place>) -> Self {
        Self {
            place: self.place.or(place),
            ..self
        }
    }
}

impl From<UnitError> for Wrong {
    fn from(error: UnitError) -> Self {
        Self::new(error.to_string()).hint(error.hint())
    }
}

/// What a node is, in words for an error. Text is shown as it stands: no setting is a secret.
pub(super) fn describe(node: &Node<'_>) -> String {
    match &node.value {
        Value::Plain(text) | Value::Quoted(text) => format!("{text:?}"),
        Value::Empty | Value::List(_) | Value::Map(_) => node.kind().to_owned(),
    }
}

fn expected(what: &str, node: &Node<'_>) -> Wrong {
    Wrong::new(format!("expected {what}, found {}", describe(node)))
}

/// Any text.
pub(super) fn text<'n>(node: &'n Node<'_>) -> Result<&'n str, Wrong> {
    match &node.value {
        Value::Plain(text) | Value::Quoted(text) if !text.is_empty() => Ok(text),
        _ => Err(expected("text", node)),
    }
}

/// Text without quotes: what a number or a boolean must be.
fn plain<'n>(what: &str, node: &'n Node<'_>) -> Result<&'n str, Wrong> {
    match &node.value {
        Value::Plain(text) => Ok(text),
        Value::Quoted(_) => Err(expected(what, node).hint("remove the quotes")),
        _ => Err(expected(what, node)),
    }
}

/// `true` or `false`, and none of YAML's older spellings.
pub(super) fn boolean(node: &Node<'_>) -> Result<bool, Wrong> {
    match plain("true or false", node)? {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(expected("true or false", node)),
    }
}

/// A whole number between two bounds, both included.
pub(super) fn count(node: &Node<'_>, min: usize, max: usize) -> Result<usize, Wrong> {
    let text = plain("a whole number", node)?;
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let number = text
        .parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| expected("a whole number", node))?;
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(expected(&format!("a number from {min} to {max}"), node))
    }
}

/// Anything that `read` takes, or nothing at this word.
pub(super) fn unless<T>(
    word: &str,
    node: &Node<'_>,
    read: impl FnOnce(&Node<'_>) -> Result<T, Wrong>,
) -> Result<Option<T>, Wrong> {
    match &node.value {
        Value::Plain(text) | Value::Quoted(text) if text == word => Ok(None),
        _ => read(node).map(Some),
    }
}

/// A size.
pub(super) fn size(node: &Node<'_>) -> Result<u64, Wrong> {
    Ok(parse_size(text(node)?)?)
}

/// A duration; zero only where that means something.
pub(super) fn duration(node: &Node<'_>, zero: bool) -> Result<Duration, Wrong> {
    let duration = parse_duration(text(node)?)?;
    if duration.is_zero() && !zero {
        return Err(Wrong::new("expected a duration longer than 0s")
            .hint("to wait very long, write for instance 24h"));
    }
    Ok(duration)
}

/// One of some words.
pub(super) fn choice<T: Copy>(
    node: &Node<'_>,
    words: &[(&str, T)],
    later: &[&str],
) -> Result<T, Wrong> {
    let names = words.iter().map(|(name, _)| *name);
    let list = names.clone().collect::<Vec<_>>().join(", ");
    let what = if words.len() == 1 {
        list
    } else {
        format!("one of {list}")
    };
    let Ok(text) = text(node) else {
        return Err(expected(&what, node));
    };
    if later.contains(&text) {
        return Err(
            Wrong::new(format!("{text:?} is {NOT_IN_THIS_VERSION}")).hint(format!("write {what}"))
        );
    }
    match words.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Ok(*value),
        None => {
            let wrong = expected(&what, node);
            Err(match nearest(text, names) {
                Some(near) => wrong.hint(format!("did you mean {near}?")),
                None => wrong,
            })
        }
    }
}

/// A list, item by item; `read` sees each one. One problem an item would be many for one setting, so
/// the first is reported.
pub(super) fn list<T>(
    what: &str,
    node: &Node<'_>,
    read: impl Fn(&Node<'_>) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let Value::List(items) = &node.value else {
        let hint = match &node.value {
            Value::Plain(text) | Value::Quoted(text) => format!("write it as a list: [\"{text}\"]"),
            Value::Empty | Value::List(_) | Value::Map(_) => {
                "write it as a list: [one, two]".to_owned()
            }
        };
        return Err(expected(&format!("a list of {what}"), node).hint(hint));
    };
    items
        .iter()
        .map(|item| read(item).map_err(|wrong| wrong.at(item.place)))
        .collect()
}

/// The pattern of a path.
pub(super) fn path_pattern(node: &Node<'_>) -> Result<String, Wrong> {
    let text = text(node)?;
    match PathPattern::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error @ PatternError::NotAbsolute(_)) => {
            Err(Wrong::new(error.to_string()).hint(format!("write it as /{text}")))
        }
        Err(error) => Err(Wrong::new(error.to_string())),
    }
}

/// A network or a single address.
pub(super) fn network(node: &Node<'_>) -> Result<IpNet, Wrong> {
    parse_network(text(node)?).map_err(|error| match &error {
        RuleError::HostBits { network, .. } => {
            let hint = format!("write {network}, or the address alone");
            Wrong::new(error.to_string()).hint(hint)
        }
        RuleError::Method(_) | RuleError::Network(_) => Wrong::new(error.to_string()),
    })
}

/// The entries of a map by their names, each at most once and none but these.
pub(super) fn fields<'n, 't, const N: usize>(
    node: &'n Node<'t>,
    names: [&str; N],
) -> Result<[Option<&'n Node<'t>>; N], Wrong> {
    let list = names.join(", ");
    let Value::Map(entries) = &node.value else {
        return Err(expected(&format!("{{{list}}}"), node));
    };
    let mut found = [None; N];
    for entry in entries {
        let Some(index) = names.iter().position(|name| *name == entry.name) else {
            let wrong = Wrong::new(format!("unknown field {:?}", entry.name)).at(entry.place);
            return Err(match nearest(&entry.name, names) {
                Some(near) => wrong.hint(format!("did you mean {near}?")),
                None => wrong.hint(format!("there are: {list}")),
            });
        };
        found[index] = Some(&entry.node);
    }
    Ok(found)
}

/// `{certificate: FILE, key: FILE}`, in a variable `FILE:FILE`; one file may hold both. Paths are left as written.
pub(super) fn certificate(node: &Node<'_>) -> Result<Certificate, Wrong> {
    if let Value::Plain(both) | Value::Quoted(both) = &node.value {
        let (certificate, key) = both.split_once(':').unwrap_or((both, both));
        if certificate.is_empty() || key.is_empty() {
            return Err(
                expected("a certificate", node).hint("write {certificate: FILE, key: FILE}")
            );
        }
        return Ok(Certificate {
            certificate: certificate.into(),
            key: key.into(),
        });
    }
    let [certificate, key] = fields(node, ["certificate", "key"])?;
    let path = |field: Option<&Node<'_>>, name| {
        let field = field.ok_or_else(|| {
            Wrong::new(format!("has no {name}")).hint("write {certificate: FILE, key: FILE}")
        })?;
        text(field)
            .map(Into::into)
            .map_err(|wrong| wrong.at(field.place))
    };
    Ok(Certificate {
        certificate: path(certificate, "certificate")?,
        key: path(key, "key")?,
    })
}

/// A header of the request in which the token is.
fn token_header(node: &Node<'_>) -> Result<HeaderName, Wrong> {
    let name = header_name(node)?;
    if headers::may_carry_token(&name) {
        return Ok(name);
    }
    let wrong = Wrong::new(format!(
        "the header {name} cannot carry a token: it has another purpose"
    ));
    Err(wrong.hint(match name.as_str() {
        "cookie" => "write the name of the cookie: cookie: NAME",
        "proxy-authorization" => {
            "it is meant for the next proxy: use bearer, or a header such as x-api-key"
        }
        "sec-websocket-protocol" => "write ws_protocol: it is the source for WebSockets",
        _ => "use a header of its own, such as x-api-key",
    }))
}

/// A header of the request that keygate adds.
pub(super) fn identity_header(node: &Node<'_>) -> Result<HeaderName, Wrong> {
    let name = header_name(node)?;
    if headers::may_carry_identity(&name) {
        return Ok(name);
    }
    Err(Wrong::new(format!(
        "the header {name} cannot carry the identity: it has another purpose"
    ))
    .hint("use a header of its own, such as x-keygate-key-id"))
}

fn header_name(node: &Node<'_>) -> Result<HeaderName, Wrong> {
    HeaderName::from_bytes(text(node)?.as_bytes())
        .map_err(|_| expected("the name of a header", node))
}

/// `header: x-api-key`, `query: api_key`, `cookie: key`, `bearer`, `ws_protocol`; in a variable `header:x-api-key`.
pub(super) fn source(node: &Node<'_>) -> Result<Source, Wrong> {
    const FORMS: &str = "write header: NAME, query: NAME, cookie: NAME, bearer or ws_protocol";
    let what = "a source of tokens";
    let (kind, name) = match &node.value {
        Value::Map(entries) => match &**entries {
            [entry] => (&*entry.name, Some(entry.node.clone())),
            _ => return Err(expected(what, node).hint(FORMS)),
        },
        Value::Plain(text) | Value::Quoted(text) => match text.split_once(':') {
            None => (&**text, None),
            Some((kind, name)) => {
                let name = Value::Plain(name.trim_start().to_owned().into());
                (
                    kind,
                    Some(Node {
                        place: node.place,
                        value: name,
                    }),
                )
            }
        },
        Value::Empty | Value::List(_) => return Err(expected(what, node).hint(FORMS)),
    };
    match (kind, &name) {
        ("bearer", None) => Ok(Source::Bearer),
        ("bearer", Some(_)) => {
            Err(Wrong::new("bearer stands alone: its header is Authorization").hint(FORMS))
        }
        ("ws_protocol", None) => Ok(Source::WsProtocol),
        ("ws_protocol", Some(_)) => Err(Wrong::new(
            "ws_protocol stands alone: its sub-protocol is keygate.<base64url of the token>",
        )
        .hint(FORMS)),
        ("header", Some(name)) => token_header(name).map(Source::Header),
        ("query", Some(name)) => match text(name) {
            Ok(name) => Ok(Source::Query(name.to_owned())),
            Err(_) => Err(expected("the name of a query parameter", name)),
        },
        ("cookie", Some(name)) => cookie_name(name).map(Source::Cookie),
        _ => Err(Wrong::new(format!("expected {what}, found {kind:?}")).hint(FORMS)),
    }
    .map_err(|wrong| wrong.at(name.and_then(|name| name.place)))
}

/// A cookie's name is a token of HTTP, as a header's is, with case.
fn cookie_name(node: &Node<'_>) -> Result<String, Wrong> {
    let name = text(node).map_err(|_| expected("the name of a cookie", node))?;
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) => Ok(name.to_owned()),
        Err(_) => Err(expected("the name of a cookie", node)),
    }
}

/// What a quoted string of HTTP takes without escapes.
pub(super) fn realm(node: &Node<'_>) -> Result<String, Wrong> {
    let realm = text(node)?;
    let fits = |b: u8| (b.is_ascii_graphic() || b == b' ') && b != b'"' && b != b'\\';
    if realm.bytes().all(fits) {
        Ok(realm.to_owned())
    } else {
        Err(expected("ASCII text without quotes and backslashes", node))
    }
}
