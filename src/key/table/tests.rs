//! Tests of the key table: it agrees with a linear search, whatever the keys.

use proptest::prelude::*;

use super::*;
use crate::key::PreviousDigest;
use crate::key::tests::key;

const NOW: Timestamp = Timestamp::from_micros(0);

fn build(keys: &[Key]) -> Result<KeyTable, Vec<Duplicate>> {
    KeyTable::build(
        keys.iter().cloned().map(Arc::new).collect(),
        Revision::of(b"text"),
    )
}

#[test]
fn a_key_is_found_by_digest_and_by_id() {
    let keys = [key("a", "token-of-a"), key("b", "token-of-b")];
    let table = build(&keys).unwrap();
    for key in &keys {
        assert_eq!(table.find(&key.digest, NOW).unwrap().name, key.name);
        assert_eq!(table.get(&key.id).unwrap().name, key.name);
    }
    assert!(table.find(&Digest::of(b"token-of-c"), NOW).is_none());
    assert!(table.get(&KeyId::derive("c")).is_none());
    assert_eq!((table.len(), table.is_empty()), (2, false));
}

#[test]
fn an_empty_table_lets_no_one_in() {
    let table = build(&[]).unwrap();
    assert!(table.is_empty());
    assert!(table.find(&Digest::of(b"token-of-a"), NOW).is_none());
}

#[test]
fn a_previous_digest_counts_until_its_date() {
    let old = Digest::of(b"token-old");
    let previous = vec![PreviousDigest {
        digest: old,
        expires_at: Timestamp::from_micros(10),
    }];
    let key = Key {
        previous,
        ..key("a", "token-of-a")
    };
    let table = build(std::slice::from_ref(&key)).unwrap();
    assert!(table.find(&old, Timestamp::from_micros(9)).is_some());
    assert!(table.find(&old, Timestamp::from_micros(10)).is_none());
    assert!(
        table
            .find(&key.digest, Timestamp::from_micros(10))
            .is_some()
    );
}

#[test]
fn all_duplicates_are_named() {
    let previous = |token: &str| PreviousDigest {
        digest: Digest::of(token.as_bytes()),
        expires_at: NOW,
    };
    let a = key("a", "token-of-a");
    let b = Key {
        name: "a".into(),
        ..key("b", "token-of-b")
    };
    let c = Key {
        id: a.id.clone(),
        ..key("c", "token-of-a")
    };
    let d = Key {
        previous: vec![previous("token-of-b"), previous("token-old")],
        ..key("d", "token-of-d")
    };
    let e = Key {
        previous: vec![previous("token-of-e"), previous("x"), previous("x")],
        ..key("e", "token-of-e")
    };
    let f = key("f", "token-old");
    let duplicate = |first, second, field| Duplicate {
        first,
        second,
        field,
    };
    assert_eq!(
        build(&[a, b, c, d, e, f]).unwrap_err(),
        [
            duplicate(0, 1, DuplicateField::Name),
            duplicate(0, 2, DuplicateField::Id),
            duplicate(0, 2, DuplicateField::Digest),
            duplicate(1, 3, DuplicateField::Previous(0)),
            duplicate(4, 4, DuplicateField::Previous(0)),
            duplicate(4, 4, DuplicateField::Previous(2)),
            duplicate(3, 5, DuplicateField::Digest),
        ]
    );
}

#[test]
fn digests_made_up_by_hand_spread() {
    let keys: Vec<Key> = (0..20_000)
        .map(|number| {
            let digest = Digest::parse(&format!("sha256:{number:064x}")).unwrap();
            Key {
                digest,
                ..key(&number.to_string(), "unused")
            }
        })
        .collect();
    let table = build(&keys).unwrap();
    let longest = table
        .digests
        .slots
        .split(|slot| slot.position == EMPTY.position)
        .map(<[Slot]>::len)
        .max();
    assert!(
        longest.unwrap() < 64,
        "a search would look at {longest:?} slots"
    );
    assert!(
        keys.iter()
            .all(|key| table.find(&key.digest, NOW).unwrap().name == key.name)
    );
}

#[test]
fn a_revision_is_shown_short() {
    assert_eq!(Revision::of(b"test").to_string(), "9f86d081884c");
}

/// Keys out of so few names, ids and tokens that all kinds of duplicates come up.
fn keys() -> impl Strategy<Value = Vec<Key>> {
    let previous = proptest::collection::vec((0..40_u8, 0..4_i64), 0..3);
    let one =
        (0..40_u8, 0..40_u8, 0..40_u8, previous).prop_map(|(id, name, token, previous)| Key {
            id: KeyId::parse(&id.to_string()).unwrap(),
            previous: previous
                .into_iter()
                .map(|(token, date)| PreviousDigest {
                    digest: Digest::of(&[token]),
                    expires_at: Timestamp::from_micros(date),
                })
                .collect(),
            digest: Digest::of(&[token]),
            ..key(&name.to_string(), "unused")
        });
    proptest::collection::vec(one, 0..8)
}

fn all_digests(key: &Key) -> impl Iterator<Item = Digest> {
    std::iter::once(key.digest).chain(key.previous.iter().map(|previous| previous.digest))
}

proptest! {
    #[test]
    fn a_table_agrees_with_a_linear_search(keys in keys(), now in 0..4_i64) {
        let now = Timestamp::from_micros(now);
        let digests: Vec<Digest> = keys.iter().flat_map(all_digests).collect();
        let unique = |pairs: &dyn Fn(&Key, &Key) -> bool| {
            (0..keys.len()).all(|later| (0..later).all(|earlier| !pairs(&keys[earlier], &keys[later])))
        };
        let valid = unique(&|a, b| a.id == b.id || a.name == b.name)
            && (0..digests.len()).all(|later| !digests[..later].contains(&digests[later]));
        let table = build(&keys);
        prop_assert_eq!(table.is_ok(), valid);
        let Ok(table) = table else { return Ok(()) };
        for number in 0..40_u8 {
            let digest = Digest::of(&[number]);
            let linear = keys.iter().find(|key| {
                key.digest == digest
                    || key.previous.iter().any(|previous| previous.digest == digest && now < previous.expires_at)
            });
            prop_assert_eq!(table.find(&digest, now).map(|key| &**key), linear);
            let id = KeyId::parse(&number.to_string()).unwrap();
            prop_assert_eq!(table.get(&id).map(|key| &**key), keys.iter().find(|key| key.id == id));
        }
    }
}
