//! A key as the API shows it, and what its entity tag is made of: everything that the file says of it, and nothing
//! of its use, so that a key that is used can be edited. Not for: secrets; there are none in here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;
use utoipa::ToSchema;

use crate::admin::keys::body::Fields;
use crate::admin::keys::body::Json;
use crate::admin::openapi::types;
use crate::clock::Timestamp;
use crate::key::Key;
use crate::key::KeyFields;
use crate::key::TokenSource;
use crate::key::rules::Rules;
use crate::key::token::hex;
use crate::transactions::totals::Day;

/// A key, without its token.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyView<'k> {
    /// Stable: it survives a rename.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[A-Za-z0-9_-][A-Za-z0-9_.-]*$"
    )]
    id: &'k str,
    /// Unique.
    #[schema(min_length = 1, max_length = 100)]
    name: &'k str,
    #[schema(required)]
    description: Option<&'k str>,
    /// A hint at the token.
    #[schema(required)]
    mask: Option<&'k str>,
    /// Whether the key is in force now.
    #[schema(schema_with = types::status)]
    status: &'static str,
    /// Whether it is switched on.
    enabled: bool,
    #[schema(required, format = DateTime)]
    created_at: Option<String>,
    /// Refused before.
    #[schema(required, format = DateTime)]
    not_before: Option<String>,
    /// Refused from then on.
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
    tags: BTreeMap<&'k str, &'k str>,
    /// Whether its requests are in the transaction log.
    record: bool,
    /// What it may do; null: everything.
    #[schema(required)]
    allow: Option<Allow>,
    /// Old tokens that still pass.
    previous: Vec<Previous>,
    /// Where Copy finds the token: a sealed copy, the key file itself, or nowhere.
    #[schema(schema_with = types::copy)]
    copy: &'static str,
    /// As far as the transaction log reaches back, or since this process started.
    #[schema(required, format = DateTime)]
    last_used_at: Option<String>,
    /// As far as the transaction log reaches back, or since this process started.
    #[schema(minimum = 0)]
    requests_total: u64,
    /// Of those, how many were refused.
    #[schema(minimum = 0)]
    refused_total: u64,
    /// In the last 24 hours.
    #[schema(minimum = 0)]
    requests_24h: u64,
    /// Of those, how many in each hour, the oldest first; the last one ends with the present minute.
    #[schema(value_type = Vec<u64>, min_items = 24, max_items = 24)]
    hours: Day,
}

/// What a key may do; a list that is absent allows everything.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Allow {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false)]
    methods: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false)]
    paths: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false)]
    networks: Option<Vec<String>>,
}

/// An old token that still passes.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Previous {
    /// Refused from then on.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// The key as it is at `now`, with its last day.
pub(crate) fn view(key: &Key, now: Timestamp, day: Day) -> KeyView<'_> {
    let usage = key.usage().totals();
    KeyView {
        id: key.id().as_str(),
        name: key.name(),
        description: key.description(),
        mask: key.mask(),
        status: key.state(now).as_str(),
        enabled: key.enabled(),
        created_at: key.created_at().map(date),
        not_before: key.not_before().map(date),
        expires_at: key.expires_at().map(date),
        tags: key
            .tags()
            .iter()
            .map(|(name, text)| (&**name, &**text))
            .collect(),
        record: key.record(),
        allow: key.rules().and_then(allow),
        previous: key
            .previous()
            .iter()
            .map(|previous| Previous {
                expires_at: date(previous.expires_at),
            })
            .collect(),
        copy: copy(key),
        last_used_at: usage.last_used_at.map(date),
        requests_total: usage.requests,
        refused_total: usage.refused,
        requests_24h: day.iter().sum(),
        hours: day,
    }
}

/// Where Copy finds the token.
pub(crate) fn copy(key: &Key) -> &'static str {
    match (key.sealed(), key.source()) {
        (Some(_), _) => "sealed",
        (None, TokenSource::Token | TokenSource::TokenFile) => "file",
        (None, TokenSource::Digest) => "none",
    }
}

fn date(time: Timestamp) -> String {
    time.to_short()
}

fn allow(rules: &Rules) -> Option<Allow> {
    let (methods, paths, networks) = lists(rules);
    let some = methods.is_some() || paths.is_some() || networks.is_some();
    some.then_some(Allow {
        methods,
        paths,
        networks,
    })
}

type List = Option<Vec<String>>;

fn lists(rules: &Rules) -> (List, List, List) {
    (
        rules.methods().map(texts),
        rules.paths().map(texts),
        rules.networks().map(texts),
    )
}

fn texts(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// What a patch is merged into: the fields that it may change, as a body has them.
pub(in crate::admin) fn document(fields: &KeyFields) -> Fields<'static> {
    let text = |text: &str| Json::Text(text.to_owned().into());
    let mut document: Fields<'static> = vec![
        ("name".into(), text(&fields.name)),
        ("enabled".into(), Json::Switch(fields.enabled)),
        ("record".into(), Json::Switch(fields.record)),
    ];
    let mut add = |name: &'static str, value: Option<Json<'static>>| {
        document.extend(value.map(|value| (Cow::Borrowed(name), value)));
    };
    add("description", fields.description.as_deref().map(text));
    add(
        "not_before",
        fields.not_before.map(|time| text(&date(time))),
    );
    add(
        "expires_at",
        fields.expires_at.map(|time| text(&date(time))),
    );
    let tags = fields.tags.as_deref().map(|tags| {
        let tags = tags
            .iter()
            .map(|(name, value)| (name.to_string().into(), text(value)));
        Json::Map(tags.collect())
    });
    add("tags", tags);
    let rules = fields.rules.as_deref().map(|rules| {
        let (methods, paths, networks) = lists(rules);
        let lists = [
            ("methods", methods),
            ("paths", paths),
            ("networks", networks),
        ];
        let lists = lists.into_iter().filter_map(|(name, list)| {
            let items = list?.iter().map(|item| text(item)).collect();
            Some((Cow::Borrowed(name), Json::List(items)))
        });
        Json::Map(lists.collect())
    });
    add("allow", rules);
    document
}

/// The entity tag, in its quotes: a digest of all that the file says of the key.
pub(in crate::admin) fn etag(key: &Key) -> String {
    let rules = key.rules().map(lists);
    let previous: Vec<_> = key
        .previous()
        .iter()
        .map(|previous| (previous.digest.to_string(), previous.expires_at.as_micros()))
        .collect();
    let times = [key.created_at(), key.not_before(), key.expires_at()]
        .map(|time| time.map(Timestamp::as_micros));
    let source = match key.source() {
        TokenSource::Digest => "digest",
        TokenSource::Token => "token",
        TokenSource::TokenFile => "token_file",
    };
    let said = (
        (key.id().as_str(), key.name(), key.description(), key.mask()),
        (key.digest().to_string(), source, key.sealed()),
        (key.enabled(), key.record(), times),
        (key.tags(), rules, previous),
    );
    let text = serde_json::to_vec(&said).expect("texts and numbers can be written");
    let digest = Sha256::digest(&text);
    format!("\"{}\"", hex(&digest[..16]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::key::PreviousDigest;
    use crate::key::tests::fields;
    use crate::key::token::Digest;

    #[test]
    fn every_field_of_the_file_counts_for_the_tag_and_use_does_not() {
        let plain = fields("a", "token-of-a");
        let at = Timestamp::from_micros(5);
        let tag = |fields: KeyFields| etag(&Key::new(fields));
        let key = Key::new(plain.clone());
        key.usage().note(at, false);
        assert_eq!(etag(&key), tag(plain.clone()));
        let previous = PreviousDigest {
            digest: Digest::of(b"old"),
            expires_at: at,
        };
        let rules = Rules::new(Some(vec![http::Method::GET]), None, None).unwrap();
        let others = [
            KeyFields {
                name: "b".into(),
                ..plain.clone()
            },
            KeyFields {
                description: Some("x".into()),
                ..plain.clone()
            },
            KeyFields {
                digest: Digest::of(b"b"),
                ..plain.clone()
            },
            KeyFields {
                source: TokenSource::Token,
                ..plain.clone()
            },
            KeyFields {
                sealed: Some("v1:".into()),
                ..plain.clone()
            },
            KeyFields {
                mask: Some("x".into()),
                ..plain.clone()
            },
            KeyFields {
                enabled: false,
                ..plain.clone()
            },
            KeyFields {
                created_at: Some(at),
                ..plain.clone()
            },
            KeyFields {
                not_before: Some(at),
                ..plain.clone()
            },
            KeyFields {
                expires_at: Some(at),
                ..plain.clone()
            },
            KeyFields {
                tags: Some([("a".into(), "b".into())].into()),
                ..plain.clone()
            },
            KeyFields {
                record: false,
                ..plain.clone()
            },
            KeyFields {
                rules: Some(Box::new(rules)),
                ..plain.clone()
            },
            KeyFields {
                previous: vec![previous],
                ..plain.clone()
            },
        ];
        let mut tags: Vec<_> = others.into_iter().map(tag).collect();
        tags.push(tag(plain));
        let count = tags.len();
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), count);
    }

    #[test]
    fn a_view_shows_no_secret() {
        let mut fields = fields("a", "token-of-a");
        fields.sealed = Some("v1:sealed".into());
        let key = Arc::new(Key::new(fields));
        let text =
            serde_json::to_string(&view(&key, Timestamp::from_micros(0), Day::default())).unwrap();
        assert!(!text.contains("sha256"), "{text}");
        assert!(!text.contains("v1:"), "{text}");
        assert!(text.contains("\"copy\":\"sealed\""), "{text}");
    }
}
