//! Pages against a plain sort and filter, over all pages of a listing.

use proptest::prelude::*;

use super::*;
use crate::key::KeyFields;
use crate::key::table::Revision;
use crate::key::token::Digest;

const NOW: Timestamp = Timestamp::from_micros(100);

fn table(keys: Vec<Key>) -> KeyTable {
    let keys = keys.into_iter().map(Arc::new).collect();
    KeyTable::build(keys, Revision::of(b"")).unwrap()
}

fn fields(name: &str) -> KeyFields {
    KeyFields::new(name, Digest::of(name.as_bytes()))
}

fn names(page: &Page) -> Vec<&str> {
    page.keys.iter().map(|key| key.name()).collect()
}

#[test]
fn a_search_looks_at_every_field_that_people_see() {
    let key = Key::new(KeyFields {
        id: KeyId::parse("k_Id0").unwrap(),
        description: Some("For the Café".into()),
        mask: Some("kg_3fA9…x7Q2".into()),
        tags: Some([("team".into(), "Billing".into())].into()),
        sealed: Some("v1:hidden".into()),
        ..fields("Customer Ä")
    });
    let table = table(vec![key, Key::new(fields("other"))]);
    for (search, found) in [
        ("customer ä", true),
        ("id0", true),
        ("CAFÉ", true),
        ("3FA9…", true),
        ("x7q2", true),
        ("team", true),
        ("billing", true),
        ("TEAM=bill", true),
        ("team = billing", false),
        ("hidden", false),
        ("customer a", false),
        ("äk_id0", false),
    ] {
        let query = Query {
            search: Some(search.to_owned()),
            limit: 10,
            ..Query::default()
        };
        let page = page(&table, &query, NOW);
        assert_eq!(page.matching, usize::from(found), "{search}");
        assert_eq!(page.keys.len(), page.matching, "{search}");
        assert_eq!(page.next, None, "{search}");
    }
}

#[test]
fn what_several_threads_look_through_is_one_listing() {
    let count = 2 * KEYS_A_THREAD_MIN + 1;
    let mixed = |number: usize| format!("{:07}~", number * 7_919 % count);
    let table = table(
        (0..count)
            .map(|number| Key::new(fields(&mixed(number))))
            .collect(),
    );
    for descending in [false, true] {
        let mut query = Query {
            search: Some("7~".to_owned()), // in no id
            descending,
            limit: PAGE_KEYS_MAX,
            ..Query::default()
        };
        let mut expected: Vec<String> = (0..count)
            .map(mixed)
            .filter(|name| name.contains("7~"))
            .collect();
        expected.sort();
        if descending {
            expected.reverse();
        }
        for chunk in expected.chunks(PAGE_KEYS_MAX).take(3) {
            let page = page(&table, &query, NOW);
            assert_eq!(
                (names(&page), page.matching),
                (chunk.iter().map(String::as_str).collect(), expected.len())
            );
            query.after = page.next;
        }
    }
}

#[test]
fn a_position_stays_right_when_keys_come_and_go() {
    let of = |names: &[&str]| table(names.iter().map(|name| Key::new(fields(name))).collect());
    let mut query = Query {
        limit: 2,
        ..Query::default()
    };
    let first = page(&of(&["d", "B", "a", "c"]), &query, NOW);
    assert_eq!((names(&first), first.matching), (vec!["a", "B"], 4));
    query.after = first.next;
    // The key where the page ended is gone, one came in front of it and one behind.
    let second = page(&of(&["aa", "bb", "d", "a", "c"]), &query, NOW);
    assert_eq!((names(&second), second.matching), (vec!["bb", "c"], 5));
    query.after = second.next;
    let third = page(&of(&["d", "c"]), &query, NOW);
    assert_eq!((names(&third), &third.next), (vec!["d"], &None));
}

#[test]
fn a_position_of_another_order_is_no_position() {
    let query = Query {
        order: Order::ExpiresAt,
        after: Some(Position {
            by: "customer".to_owned(),
            id: KeyId::parse("x").unwrap(),
        }),
        ..Query::default()
    };
    let page = page(&table(vec![Key::new(fields("a"))]), &query, NOW);
    assert_eq!(names(&page), ["a"]);
}

#[test]
fn absent_dates_stand_where_their_order_says() {
    let date = |number| Some(Timestamp::from_micros(number));
    let dated = |name: &str, created_at, expires_at| {
        Key::new(KeyFields {
            created_at,
            expires_at,
            ..fields(name)
        })
    };
    let keys = vec![
        dated("late", date(9), date(900)),
        dated("none", None, None),
        dated("early", date(-9), date(200)),
    ];
    keys[2].usage().note(Timestamp::from_micros(5), false);
    keys[0].usage().note(Timestamp::from_micros(7), true);
    let table = table(keys);
    for (order, expected) in [
        (Order::CreatedAt, ["none", "early", "late"]),
        (Order::LastUsedAt, ["none", "early", "late"]),
        (Order::ExpiresAt, ["early", "late", "none"]),
    ] {
        let query = Query {
            order,
            limit: 3,
            ..Query::default()
        };
        assert_eq!(names(&page(&table, &query, NOW)), expected, "{order:?}");
    }
}

/// What a key is sorted by, spelt out.
fn plain(key: &Key, order: Order) -> (i64, String, String) {
    let id = key.id().as_str().to_owned();
    let micros = |date: Option<Timestamp>, absent| date.map_or(absent, Timestamp::as_micros);
    match order {
        Order::Name => (0, folded(key.name()), id),
        Order::CreatedAt => (micros(key.created_at(), i64::MIN), String::new(), id),
        Order::LastUsedAt => {
            let used = key.usage().totals().last_used_at;
            (micros(used, i64::MIN), String::new(), id)
        }
        Order::ExpiresAt => (micros(key.expires_at(), i64::MAX), String::new(), id),
    }
}

/// A key whose name is unique by its number, with few different dates, so that many keys are equal.
fn any_key() -> impl Strategy<Value = (String, [Option<i64>; 3], bool, bool)> {
    let date = || proptest::option::of(99..102_i64);
    (
        "[aAbBüÜ]{0,2}",
        [date(), date(), date()],
        any::<bool>(),
        any::<bool>(),
    )
}

proptest! {
    #[test]
    fn all_pages_together_are_the_sorted_and_filtered_keys(
        keys in proptest::collection::vec(any_key(), 0..24),
        order in proptest::sample::select(vec![Order::Name, Order::CreatedAt, Order::LastUsedAt, Order::ExpiresAt]),
        descending: bool,
        state in proptest::option::of(proptest::sample::select(vec![KeyState::Active, KeyState::Disabled, KeyState::Expired])),
        search in proptest::option::of("[abüÜ1]{0,2}"),
        limit in 0..7_usize,
    ) {
        let keys = keys.into_iter().enumerate().map(|(number, (name, dates, enabled, front))| {
            let [created_at, expires_at, used] = dates.map(|date| date.map(Timestamp::from_micros));
            let name = if front { format!("{number}{name}") } else { format!("{name}{number}") };
            let id = KeyId::parse(&format!("x{}", number * 7 % 24)).unwrap();
            let key = Key::new(KeyFields { id, created_at, expires_at, enabled, ..fields(&name) });
            if let Some(used) = used {
                key.usage().note(used, false);
            }
            key
        });
        let table = table(keys.collect());
        let mut expected: Vec<Arc<Key>> = table.keys().to_vec();
        expected.retain(|key| {
            let text = format!("{}\n{}", key.name(), key.id());
            state.is_none_or(|state| key.state(NOW) == state)
                && search.as_ref().is_none_or(|search| folded(&text).contains(&folded(search)))
        });
        expected.sort_by_key(|key| plain(key, order));
        if descending {
            expected.reverse();
        }
        let mut query = Query { search, state, order, descending, after: None, limit };
        let mut found: Vec<Arc<Key>> = Vec::new();
        loop {
            let page = page(&table, &query, NOW);
            prop_assert_eq!(page.matching, expected.len());
            prop_assert!(page.keys.len() == limit.max(1) || page.next.is_none());
            found.extend(page.keys);
            prop_assert!(found.len() <= expected.len(), "a key is on two pages");
            if page.next.is_none() {
                break;
            }
            query.after = page.next;
        }
        prop_assert_eq!(found, expected);
    }
}
