//! Tests of the key table: it agrees with a linear search, whatever the keys.

use proptest::prelude::*;

use super::*;
use crate::key::KeyFields;
use crate::key::PreviousDigest;
use crate::key::tests::fields;
use crate::key::tests::key;

const NOW: Timestamp = Timestamp::from_micros(0);

fn build(keys: &[Key]) -> Result<KeyTable, Vec<Duplicate>> {
    KeyTable::build(
        keys.iter()
            .map(|key| Arc::new(Key::new(key.to_fields())))
            .collect(),
        Revision::of(b"text"),
    )
}

#[test]
fn a_key_is_found_by_digest_and_by_id() {
    let keys = [key("a", "token-of-a"), key("b", "token-of-b")];
    let table = build(&keys).unwrap();
    for key in &keys {
        assert_eq!(table.find(key.digest(), NOW).unwrap().name(), key.name());
        assert_eq!(table.get(key.id()).unwrap().name(), key.name());
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
    let key = Key::new(KeyFields {
        previous,
        ..fields("a", "token-of-a")
    });
    let table = build(std::slice::from_ref(&key)).unwrap();
    assert!(table.find(&old, Timestamp::from_micros(9)).is_some());
    assert!(table.find(&old, Timestamp::from_micros(10)).is_none());
    assert!(
        table
            .find(key.digest(), Timestamp::from_micros(10))
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
    let b = Key::new(KeyFields {
        name: "a".into(),
        ..fields("b", "token-of-b")
    });
    let c = Key::new(KeyFields {
        id: a.id().clone(),
        ..fields("c", "token-of-a")
    });
    let d = Key::new(KeyFields {
        previous: vec![previous("token-of-b"), previous("token-old")],
        ..fields("d", "token-of-d")
    });
    let e = Key::new(KeyFields {
        previous: vec![previous("token-of-e"), previous("x"), previous("x")],
        ..fields("e", "token-of-e")
    });
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
            Key::new(KeyFields {
                digest,
                ..fields(&number.to_string(), "unused")
            })
        })
        .collect();
    let table = build(&keys).unwrap();
    let longest = table.indexes.index.longest_run();
    assert!(longest < 64, "a search would look at {longest:?} slots");
    assert!(
        keys.iter()
            .all(|key| table.find(key.digest(), NOW).unwrap().name() == key.name())
    );
}

#[test]
fn a_revision_is_shown_short() {
    assert_eq!(Revision::of(b"test").to_string(), "9f86d081884c");
}

/// Keys out of so few names, ids and tokens that all kinds of duplicates come up.
fn keys() -> impl Strategy<Value = Vec<Key>> {
    let previous = proptest::collection::vec((0..40_u8, 0..4_i64), 0..3);
    let one = (0..40_u8, 0..40_u8, 0..40_u8, previous).prop_map(|(id, name, token, previous)| {
        Key::new(KeyFields {
            id: KeyId::parse(&id.to_string()).unwrap(),
            previous: previous
                .into_iter()
                .map(|(token, date)| PreviousDigest {
                    digest: Digest::of(&[token]),
                    expires_at: Timestamp::from_micros(date),
                })
                .collect(),
            digest: Digest::of(&[token]),
            ..fields(&name.to_string(), "unused")
        })
    });
    proptest::collection::vec(one, 0..8)
}

fn all_digests(key: &Key) -> impl Iterator<Item = Digest> {
    std::iter::once(*key.digest()).chain(key.previous().iter().map(|previous| previous.digest))
}

proptest! {
    #[test]
    fn a_table_agrees_with_a_linear_search(keys in keys(), now in 0..4_i64) {
        let now = Timestamp::from_micros(now);
        let digests: Vec<Digest> = keys.iter().flat_map(all_digests).collect();
        let unique = |pairs: &dyn Fn(&Key, &Key) -> bool| {
            (0..keys.len()).all(|later| (0..later).all(|earlier| !pairs(&keys[earlier], &keys[later])))
        };
        let valid = unique(&|a, b| a.id() == b.id() || a.name() == b.name())
            && (0..digests.len()).all(|later| !digests[..later].contains(&digests[later]));
        let table = build(&keys);
        prop_assert_eq!(table.is_ok(), valid);
        let Ok(table) = table else { return Ok(()) };
        for number in 0..40_u8 {
            let digest = Digest::of(&[number]);
            let linear = keys.iter().find(|key| {
                *key.digest() == digest
                    || key.previous().iter().any(|previous| previous.digest == digest && now < previous.expires_at)
            });
            prop_assert_eq!(table.find(&digest, now).map(|key| &**key), linear);
            let id = KeyId::parse(&number.to_string()).unwrap();
            prop_assert_eq!(table.get(&id).map(|key| &**key), keys.iter().find(|key| *key.id() == id));
        }
    }
}

/// Keys whose ids, names and digests are few, so that edits often collide, with an old token in some.
fn any_keys() -> impl Strategy<Value = Vec<Arc<Key>>> {
    let key = (0..40_u8, 0..40_u8, 0..40_u8, 0..120_u8).prop_map(|(id, name, digest, old)| {
        let digest_of = |number: u8| Digest::of(&[number]);
        let previous = (old < 40).then(|| PreviousDigest {
            digest: digest_of(old),
            expires_at: NOW,
        });
        Arc::new(Key::new(KeyFields {
            id: KeyId::parse(&format!("k{id}")).unwrap(),
            previous: previous.into_iter().collect(),
            ..KeyFields::new(&format!("n{name}"), digest_of(digest))
        }))
    });
    proptest::collection::vec(key, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn a_table_made_out_of_an_older_one_is_as_good_as_a_new_one(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..3_usize, any_keys()), 1..20)
    ) {
        let revision = Revision::of(b"text");
        let mut table = build(&[]).unwrap();
        for (at, gone, new) in edits {
            let mut keys = table.keys().to_vec();
            let at = at.index(keys.len() + 1);
            let gone = gone.min(keys.len() - at);
            keys.splice(at..at + gone, new);
            let (made, plain) = (
                table.rebuild(keys.clone(), revision),
                KeyTable::build(keys, revision),
            );
            match (made, plain) {
                (Ok(made), Ok(plain)) => {
                    prop_assert_eq!(made.keys(), plain.keys());
                    for number in 0..40_u8 {
                        let (id, name) = (KeyId::parse(&format!("k{number}")).unwrap(), format!("n{number}"));
                        let digest = Digest::of(&[number]);
                        let found = |table: &KeyTable| {
                            [table.get(&id), table.named(&name), table.holder(&digest), table.find(&digest, NOW)]
                                .map(|key| key.map(Arc::as_ptr))
                        };
                        prop_assert_eq!(found(&made), found(&plain));
                    }
                    table = made;
                }
                (Err(made), Err(plain)) => prop_assert_eq!(made, plain),
                (made, plain) => prop_assert!(false, "{made:?} {plain:?}"),
            }
        }
    }
}
