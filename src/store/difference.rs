//! What is different between two tables of keys, for the cost of the difference: an edit touches few of a million
//! keys, and those that it does not touch are the same objects in both.

use std::sync::Arc;

use crate::key::Key;
use crate::key::table::KeyTable;

/// A key that is not in both tables as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// As it was; none: it is new.
    pub before: Option<Arc<Key>>,
    /// As it is; none: it is gone.
    pub after: Option<Arc<Key>>,
}

/// The keys that differ: those that are gone, in their order, then those that are changed or new. Their place in the
/// order is no difference.
#[must_use]
pub fn difference(old: &KeyTable, new: &KeyTable) -> Vec<KeyChange> {
    let (before, after) = middle(old, new);
    let gone = before
        .iter()
        .filter(|key| new.get(key.id()).is_none())
        .map(|key| KeyChange {
            before: Some(Arc::clone(key)),
            after: None,
        });
    let others = after
        .iter()
        .map(|key| (old.get(key.id()), key))
        .filter(|(before, after)| *before != Some(after))
        .map(|(before, after)| KeyChange {
            before: before.map(Arc::clone),
            after: Some(Arc::clone(after)),
        });
    gone.chain(others).collect()
}

/// Keys of `new` that are other objects than those of the same id in `old` go on with their counters.
pub(super) fn go_on_counting(old: &KeyTable, new: &KeyTable) {
    for key in middle(old, new).1 {
        if let Some(old) = old.get(key.id())
            && !Arc::ptr_eq(old, key)
        {
            key.usage().go_on_from(old.usage());
        }
    }
}

/// Both tables without the keys at their beginnings and ends that are the same objects.
fn middle<'t>(old: &'t KeyTable, new: &'t KeyTable) -> (&'t [Arc<Key>], &'t [Arc<Key>]) {
    let same = |(old, new): &(&Arc<Key>, &Arc<Key>)| Arc::ptr_eq(old, new);
    let (old, new) = (old.keys(), new.keys());
    let front = old.iter().zip(new).take_while(same).count();
    let (old, new) = (&old[front..], &new[front..]);
    let back = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(same)
        .count();
    (&old[..old.len() - back], &new[..new.len() - back])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyFields;
    use crate::key::table::Revision;
    use crate::key::tests::fields;
    use crate::key::tests::key;

    fn table(keys: &[&Arc<Key>]) -> KeyTable {
        let keys = keys.iter().map(|key| Arc::clone(key)).collect();
        KeyTable::build(keys, Revision::of(b"")).unwrap()
    }

    #[test]
    fn only_what_differs_is_different() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| Arc::new(key(name, name)));
        let equal = Arc::new(key("b", "b"));
        let other = Arc::new(Key::new(KeyFields {
            enabled: false,
            ..fields("b", "b")
        }));
        let change = |before: Option<&Arc<Key>>, after: Option<&Arc<Key>>| KeyChange {
            before: before.map(Arc::clone),
            after: after.map(Arc::clone),
        };
        for (name, old, new, expected) in [
            ("the same", vec![&a, &b], vec![&a, &b], vec![]),
            ("another order", vec![&a, &b, &c], vec![&c, &a, &b], vec![]),
            ("equal", vec![&a, &b, &c], vec![&a, &equal, &c], vec![]),
            ("new", vec![&a], vec![&a, &b], vec![change(None, Some(&b))]),
            (
                "gone",
                vec![&a, &b, &c],
                vec![&a, &c],
                vec![change(Some(&b), None)],
            ),
            (
                "changed",
                vec![&a, &b, &c],
                vec![&a, &other, &c],
                vec![change(Some(&b), Some(&other))],
            ),
            (
                "all at once",
                vec![&a, &b, &c],
                vec![&d, &other, &a],
                vec![
                    change(Some(&c), None),
                    change(None, Some(&d)),
                    change(Some(&b), Some(&other)),
                ],
            ),
        ] {
            assert_eq!(difference(&table(&old), &table(&new)), expected, "{name}");
        }
    }
}
