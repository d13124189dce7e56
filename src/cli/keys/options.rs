//! Flags that several commands about keys share, and what their texts mean.

use std::io;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use crate::cli::keys::failure::Failure;
use crate::clock::Timestamp;
use crate::key::Tags;
use crate::key::rules::PathPattern;
use crate::key::rules::Rules;
use crate::key::rules::parse_method;
use crate::key::rules::parse_network;
use crate::key::token::Digest;
use crate::key::token::TOKEN_CHARS_MAX;
use crate::key::token::Token;
use crate::units::parse_duration;

/// Which keys: those of this configuration.
#[derive(Debug, Args)]
pub(in crate::cli) struct PlaceArgs {
    /// The config file [default: KEYGATE_CONFIG, ./keygate.yaml, /etc/keygate/keygate.yaml]
    #[arg(long, value_name = "FILE", global = true)]
    pub(in crate::cli) config: Option<PathBuf>,
    /// The data folder [default: ./keygate-data]
    #[arg(long, value_name = "FOLDER", global = true)]
    pub(in crate::cli) data_dir: Option<String>,
}

/// Where a token comes from that keygate does not make.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// Take the token from stdin instead of making one (8 to 512 visible ASCII characters)
    #[arg(long, conflicts_with = "digest")]
    pub(super) token_stdin: bool,
    /// Give only the digest of the token: sha256: and 64 hex digits
    #[arg(long, value_name = "DIGEST")]
    pub(super) digest: Option<String>,
    /// Keep no sealed copy, so that nobody can copy the token later
    #[arg(long)]
    pub(super) no_copy: bool,
}

/// What a key may do.
#[derive(Debug, Args)]
pub(super) struct AllowArgs {
    /// Allow this method; may be given more than once [default: all]
    #[arg(long, value_name = "METHOD")]
    pub(super) allow_method: Vec<String>,
    /// Allow paths that match, such as /v1/**; may be given more than once [default: all]
    #[arg(long, value_name = "PATTERN")]
    pub(super) allow_path: Vec<String>,
    /// Allow clients of this network, such as 10.0.0.0/8; may be given more than once [default: all]
    #[arg(long, value_name = "NETWORK")]
    pub(super) allow_network: Vec<String>,
}

/// The token of a new key or of a rotation.
pub(super) enum NewToken {
    /// Made here, to be shown.
    Made(Token),
    /// Somebody else's; who gave it knows it.
    Given(Token),
    /// Only its digest is known.
    Digest(Digest),
}

impl NewToken {
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Made(token) | Self::Given(token) => token.digest(),
            Self::Digest(digest) => *digest,
        }
    }

    pub(super) const fn token(&self) -> Option<&Token> {
        match self {
            Self::Made(token) | Self::Given(token) => Some(token),
            Self::Digest(_) => None,
        }
    }

    pub(super) const fn made(&self) -> Option<&Token> {
        match self {
            Self::Made(token) => Some(token),
            Self::Given(_) | Self::Digest(_) => None,
        }
    }
}

impl TokenArgs {
    /// The token: made, or read from stdin.
    pub(super) fn token(&self) -> Result<NewToken, Failure> {
        if let Some(digest) = &self.digest {
            let digest = Digest::parse(digest)
                .map_err(|error| Failure::wrong(format!("--digest: {error}")))?;
            return Ok(NewToken::Digest(digest));
        }
        if self.token_stdin {
            return token_from_stdin().map(NewToken::Given);
        }
        Ok(NewToken::Made(Token::make()))
    }
}

impl AllowArgs {
    /// All of them, for groups.
    pub(super) const NAMES: [&str; 3] = ["allow_method", "allow_path", "allow_network"];

    /// The rules, with the lists of `old` where there is no flag; none: everything is allowed.
    pub(super) fn rules(&self, old: Option<&Rules>) -> Result<Option<Box<Rules>>, Failure> {
        let methods = list("--allow-method", &self.allow_method, parse_method)?
            .or_else(|| old.and_then(Rules::methods).map(<[_]>::to_vec));
        let paths = list("--allow-path", &self.allow_path, PathPattern::parse)?
            .or_else(|| old.and_then(Rules::paths).map(<[_]>::to_vec));
        let networks = list("--allow-network", &self.allow_network, parse_network)?
            .or_else(|| old.and_then(Rules::networks).map(<[_]>::to_vec));
        rules(methods, paths, networks)
    }
}

/// Rules of these lists; none of them: everything is allowed.
pub(super) fn rules(
    methods: Option<Vec<http::Method>>,
    paths: Option<Vec<PathPattern>>,
    networks: Option<Vec<ipnet::IpNet>>,
) -> Result<Option<Box<Rules>>, Failure> {
    if methods.is_none() && paths.is_none() && networks.is_none() {
        return Ok(None);
    }
    let rules = Rules::new(methods, paths, networks);
    rules
        .map(|rules| Some(Box::new(rules)))
        .map_err(|error| Failure::wrong(error.to_string()))
}

fn list<T, E: std::fmt::Display>(
    flag: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<Vec<T>>, Failure> {
    if texts.is_empty() {
        return Ok(None);
    }
    let items = texts
        .iter()
        .map(|text| parse(text).map_err(|error| Failure::wrong(format!("{flag}: {error}"))));
    items.collect::<Result<_, _>>().map(Some)
}

/// `2026-12-31T18:00:00Z`, `2026-12-31` (its first moment in UTC), or `30d` from `now`.
pub(super) fn date(flag: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(date) = Timestamp::parse(text) {
        return Ok(date);
    }
    if let Ok(date) = Timestamp::parse(&format!("{text}T00:00:00Z")) {
        return Ok(date);
    }
    parse_duration(text)
        .map(|after| now.plus(after))
        .map_err(|_| Failure::Use {
            what: format!("{flag}: expected a date or a duration, found {text:?}"),
            hint: Some("write 2026-12-31, 2026-12-31T18:00:00Z, or 30d for thirty days from now"),
        })
}

/// `team=billing`, laid over `old`; `gone` are removed.
pub(super) fn tags(
    old: &[(Box<str>, Box<str>)],
    set: &[String],
    gone: &[String],
) -> Result<Option<Tags>, Failure> {
    let mut tags: Vec<_> = old.to_vec();
    for text in set {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Failure::wrong(format!(
                "--tag: expected name=value, found {text:?}"
            )));
        };
        tags.retain(|(known, _)| **known != *name);
        tags.push((name.into(), value.into()));
    }
    tags.retain(|(name, _)| !gone.iter().any(|gone| **gone == **name));
    tags.sort();
    Ok((!tags.is_empty()).then(|| tags.into()))
}

/// The token on stdin, without the line end that `echo` adds.
fn token_from_stdin() -> Result<Token, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(TOKEN_CHARS_MAX + 8));
    let limit = u64::try_from(TOKEN_CHARS_MAX + 3).expect("a small number");
    io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(Failure::Stdin)?;
    let text =
        str::from_utf8(&bytes).map_err(|_| Failure::wrong("the token on stdin is not text"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Token::parse(text.to_owned())
        .map_err(|error| Failure::wrong(format!("the token on stdin: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_dates_days_or_durations() {
        let now = Timestamp::parse("2026-11-23T10:00:00Z").unwrap();
        for (text, expected) in [
            ("2026-12-31T18:00:00+02:00", "2026-12-31T16:00:00.000000Z"),
            ("2026-12-31", "2026-12-31T00:00:00.000000Z"),
            ("30d", "2026-12-23T10:00:00.000000Z"),
            ("90m", "2026-11-23T11:30:00.000000Z"),
        ] {
            assert_eq!(
                date("--expires", text, now).unwrap().to_string(),
                expected,
                "{text}"
            );
        }
        for text in ["", "tomorrow", "2026-13-01", "30", "-1d"] {
            assert!(date("--expires", text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn tags_are_set_replaced_and_removed() {
        let texts = |list: &[&str]| {
            list.iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        let old: Tags = [("a".into(), "1".into()), ("b".into(), "2".into())].into();
        let new = tags(&old, &texts(&["b=3", "aa=x=y"]), &texts(&["a"])).unwrap();
        let expected: Tags = [("aa".into(), "x=y".into()), ("b".into(), "3".into())].into();
        assert_eq!(new, Some(expected));
        assert_eq!(tags(&old, &[], &texts(&["a", "b"])).unwrap(), None);
        for text in ["a", "=b", ""] {
            assert!(tags(&old, &texts(&[text]), &[]).is_err(), "{text}");
        }
    }
}
