//! What every [`KeyStore`] keeps, as its contract says it: [`holds`] runs on any implementation. It runs here on the
//! file store in each format, and on a store in memory, which shows that the contract can be kept by another kind.
//! A new store calls it too. Not for: what only files do, which is in `file::tests`.

mod memory;

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::key::KeyFields;
use crate::key::token::Digest;
use crate::store::edit::Taken;

/// A place with no keys in it that any number of stores can be opened on.
pub(crate) struct Ground<S> {
    /// Opens one more store on it.
    pub(crate) open: Box<dyn Fn() -> S + Send + Sync>,
    /// Makes its contents something that is no keys.
    pub(crate) damage: Box<dyn Fn()>,
}

/// Checks every promise of [`KeyStore`] that can be seen from outside. Each check gets new ground.
pub(crate) fn holds<S: KeyStore>(ground: impl Fn() -> Ground<S>) {
    edits_equal_their_replay(&ground);
    a_stale_edit_is_refused(&ground());
    a_batch_is_made_whole_or_not_at_all(&ground());
    what_is_known_is_unchanged(&ground());
    edits_that_change_nothing_succeed(&ground());
    damage_is_named_and_left_alone(&ground());
    changes_are_told(&ground());
    nothing_that_was_answered_is_lost(&ground());
    keys_that_stay_keep_their_counters(&ground());
}

fn fields(name: &str) -> KeyFields {
    KeyFields::new(name, Digest::of(name.as_bytes()))
}

fn loaded(store: &mut impl KeyStore) -> Keys {
    match store.load(None).unwrap() {
        Loaded::Keys { keys, .. } => keys,
        Loaded::Unchanged => panic!("nothing was known"),
    }
}

fn revision(store: &mut impl KeyStore) -> Revision {
    *loaded(store).table.revision()
}

fn records(keys: &Keys) -> Vec<KeyFields> {
    keys.table
        .keys()
        .iter()
        .map(|key| key.to_fields())
        .collect()
}

/// One of few names, so that edits meet each other.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add(u8),
    Describe(u8, u8),
    Switch(u8, bool),
    Rename(u8, u8),
    Remove(u8),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        3 => (0..6_u8).prop_map(Step::Add),
        2 => (0..6_u8, 0..3_u8).prop_map(|(key, text)| Step::Describe(key, text)),
        1 => (0..6_u8, any::<bool>()).prop_map(|(key, on)| Step::Switch(key, on)),
        1 => (0..6_u8, 0..6_u8).prop_map(|(key, name)| Step::Rename(key, name)),
        2 => (0..6_u8).prop_map(Step::Remove),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..4), 1..10)
}

/// The edit of a step, and what a plain list makes of it; none: it makes no sense there. Names may be there twice until
/// the end of a batch.
fn replay(model: &mut Vec<KeyFields>, step: Step) -> (KeyEdit, Option<()>) {
    let original = |number: u8| fields(&format!("key {number}"));
    let find = |model: &Vec<KeyFields>, number| {
        let id = original(number).id;
        model.iter().position(|there| there.id == id)
    };
    let mut change = |number: u8, change: &dyn Fn(&mut KeyFields)| {
        let at = find(model, number);
        let mut new = at.map_or_else(|| original(number), |at| model[at].clone());
        change(&mut new);
        let done = at.map(|at| model[at] = new.clone());
        (KeyEdit::Change(new), done)
    };
    match step {
        Step::Add(number) => {
            let new = original(number);
            let free = model.iter().all(|there| there.id != new.id);
            let done = free.then(|| model.push(new.clone()));
            (KeyEdit::Add(new), done)
        }
        Step::Describe(number, text) => change(number, &|key| {
            key.description = (text > 0).then(|| format!("text {text}: \"#\" – ü").into());
        }),
        Step::Switch(number, on) => change(number, &|key| key.enabled = on),
        Step::Rename(number, name) => change(number, &|key| key.name = original(name).name),
        Step::Remove(number) => {
            let at = find(model, number);
            let done = at.map(|at| drop(model.remove(at)));
            (KeyEdit::Remove(original(number).id), done)
        }
    }
}

fn edits_equal_their_replay<S: KeyStore>(ground: &impl Fn() -> Ground<S>) {
    let config = ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(batches in steps())| {
        let ground = ground();
        let (mut store, mut other) = ((ground.open)(), (ground.open)());
        let mut model = Vec::new();
        let mut expected = revision(&mut store);
        for batch in batches {
            let mut next = model.clone();
            let (edits, done): (Vec<_>, Vec<_>) =
                batch.iter().map(|step| replay(&mut next, *step)).unzip();
            let names: BTreeSet<_> = next.iter().map(|key| &key.name).collect();
            let possible = done.iter().all(Option::is_some) && names.len() == next.len();
            match store.apply(&edits, &expected) {
                Ok(keys) => {
                    prop_assert!(possible, "{batch:?} was accepted");
                    model = next;
                    prop_assert_eq!(records(&keys), model.clone());
                    expected = *keys.table.revision();
                }
                Err(error @ (EditError::Unknown { .. } | EditError::Taken { .. })) => {
                    prop_assert!(!possible, "{batch:?}: {error}");
                }
                Err(error) => prop_assert!(false, "{batch:?}: {error}"),
            }
            let seen = loaded(&mut other);
            prop_assert_eq!(records(&seen), model.clone());
            prop_assert_eq!(*seen.table.revision(), expected);
        }
    });
}

fn a_stale_edit_is_refused<S: KeyStore>(ground: &Ground<S>) {
    let (mut one, mut two) = ((ground.open)(), (ground.open)());
    let old = revision(&mut one);
    assert_eq!(revision(&mut two), old);
    let new = *one
        .apply(&[KeyEdit::Add(fields("one"))], &old)
        .unwrap()
        .table
        .revision();
    for store in [&mut one, &mut two] {
        let error = store
            .apply(&[KeyEdit::Add(fields("two"))], &old)
            .unwrap_err();
        assert!(
            matches!(error, EditError::Stale { current } if current == new),
            "{error}"
        );
    }
    assert_eq!(records(&loaded(&mut two)), [fields("one")]);
    two.apply(&[KeyEdit::Add(fields("two"))], &new).unwrap();
    assert_eq!(records(&loaded(&mut one)), [fields("one"), fields("two")]);
}

fn a_batch_is_made_whole_or_not_at_all<S: KeyStore>(ground: &Ground<S>) {
    let mut store = (ground.open)();
    let empty = revision(&mut store);
    let one = *store
        .apply(&[KeyEdit::Add(fields("one"))], &empty)
        .unwrap()
        .table
        .revision();
    let taken = store
        .apply(
            &[KeyEdit::Add(fields("two")), KeyEdit::Add(fields("one"))],
            &one,
        )
        .unwrap_err();
    assert!(
        matches!(&taken, EditError::Taken { what: Taken::Id | Taken::Name, holder } if *holder == fields("one").id),
        "{taken}"
    );
    let unknown = store
        .apply(
            &[
                KeyEdit::Remove(fields("one").id),
                KeyEdit::Remove(fields("nobody").id),
            ],
            &one,
        )
        .unwrap_err();
    assert!(
        matches!(&unknown, EditError::Unknown { id } if *id == fields("nobody").id),
        "{unknown}"
    );
    assert_eq!(records(&loaded(&mut store)), [fields("one")]);
    let renamed = KeyFields {
        name: "uno".into(),
        ..fields("one")
    };
    let keys = store
        .apply(
            &[
                KeyEdit::Change(renamed.clone()),
                KeyEdit::Add(fields("two")),
                KeyEdit::Remove(fields("two").id),
                KeyEdit::Add(fields("three")),
            ],
            &one,
        )
        .unwrap();
    assert_eq!(records(&keys), [renamed, fields("three")]);
}

fn what_is_known_is_unchanged<S: KeyStore>(ground: &Ground<S>) {
    let (mut one, mut two) = ((ground.open)(), (ground.open)());
    let empty = revision(&mut one);
    let is_unchanged =
        |store: &mut S, known| matches!(store.load(Some(known)).unwrap(), Loaded::Unchanged);
    assert!(is_unchanged(&mut one, &empty));
    assert!(
        !is_unchanged(&mut two, &empty),
        "a store that has given out nothing gives out the keys"
    );
    let new = one.apply(&[KeyEdit::Add(fields("one"))], &empty).unwrap();
    assert!(
        is_unchanged(&mut one, new.table.revision()),
        "an edit gives out the keys as well"
    );
    assert!(!is_unchanged(&mut two, &empty), "changed by another");
    assert!(is_unchanged(&mut two, new.table.revision()));
    let newer = two
        .apply(&[KeyEdit::Add(fields("two"))], new.table.revision())
        .unwrap();
    let error = one.apply(&[], &empty).unwrap_err();
    assert!(matches!(error, EditError::Stale { .. }), "{error}");
    assert!(
        !is_unchanged(&mut one, newer.table.revision()),
        "what it saw in an edit that failed was not given out"
    );
}

fn edits_that_change_nothing_succeed<S: KeyStore>(ground: &Ground<S>) {
    let mut store = (ground.open)();
    let empty = revision(&mut store);
    let keys = store.apply(&[KeyEdit::Add(fields("one"))], &empty).unwrap();
    for edits in [vec![], vec![KeyEdit::Change(fields("one"))]] {
        let same = store.apply(&edits, keys.table.revision()).unwrap();
        assert_eq!(same.table.revision(), keys.table.revision(), "{edits:?}");
        assert_eq!(records(&same), [fields("one")]);
    }
}

fn damage_is_named_and_left_alone<S: KeyStore>(ground: &Ground<S>) {
    let mut store = (ground.open)();
    let known = revision(&mut store);
    (ground.damage)();
    assert!(!store.load(Some(&known)).unwrap_err().is_empty());
    let error = store
        .apply(&[KeyEdit::Add(fields("one"))], &known)
        .unwrap_err();
    assert!(
        matches!(&error, EditError::Broken { problems } if !problems.is_empty()),
        "{error}"
    );
    assert!(matches!(
        store.reveal(&fields("one").id),
        Err(EditError::Broken { .. })
    ));
    assert!(
        (ground.open)().load(None).is_err(),
        "the edit has mended nothing"
    );
}

fn changes_are_told<S: KeyStore>(ground: &Ground<S>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (mut one, mut two) = ((ground.open)(), (ground.open)());
    let mut changes = one.changes();
    let mut known = loaded(&mut one);
    changes.follow(&known);
    for name in ["one", "two", "three"] {
        let at = revision(&mut two);
        two.apply(&[KeyEdit::Add(fields(name))], &at).unwrap();
        // It may wake for nothing; it must wake until the change is seen.
        loop {
            let told =
                async { tokio::time::timeout(Duration::from_secs(10), changes.changed()).await };
            runtime.block_on(told).expect("a change is told");
            if let Loaded::Keys { keys, .. } = one.load(Some(known.table.revision())).unwrap() {
                known = keys;
                break;
            }
        }
        assert!(known.table.get(&fields(name).id).is_some());
    }
}

fn nothing_that_was_answered_is_lost<S: KeyStore>(ground: &Ground<S>) {
    const WRITERS: usize = 4;
    const EDITS: usize = 12;
    let open = &ground.open;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let mut store = open();
                for edit in 0..EDITS {
                    let new = fields(&format!("key {edit} of {writer}"));
                    let mut at = revision(&mut store);
                    loop {
                        match store.apply(&[KeyEdit::Add(new.clone())], &at) {
                            Ok(_) => break,
                            Err(EditError::Stale { current }) => {
                                assert_ne!(current, at, "a stale edit is told where it stands");
                                at = current;
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    let found = records(&loaded(&mut (ground.open)()));
    let ids: BTreeSet<_> = found.iter().map(|key| key.id.clone()).collect();
    assert_eq!((found.len(), ids.len()), (WRITERS * EDITS, WRITERS * EDITS));
}

fn keys_that_stay_keep_their_counters<S: KeyStore>(ground: &Ground<S>) {
    let (mut one, mut two) = ((ground.open)(), (ground.open)());
    let empty = revision(&mut one);
    let edits: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| KeyEdit::Add(fields(name)))
        .into();
    let keys = one.apply(&edits, &empty).unwrap();
    let requests = |keys: &Keys, name: &str| {
        let key = keys.table.get(&fields(name).id).expect(name);
        key.usage().totals().requests
    };
    for name in ["a", "b", "b", "c", "c", "c"] {
        let key = keys.table.get(&fields(name).id).unwrap();
        key.usage().note(Timestamp::from_micros(1), false);
    }
    let described = |name: &str| {
        KeyEdit::Change(KeyFields {
            description: Some("described".into()),
            ..fields(name)
        })
    };
    // By this store, and by another one, whose edit it finds.
    let keys = one
        .apply(
            &[described("b"), KeyEdit::Remove(fields("a").id)],
            keys.table.revision(),
        )
        .unwrap();
    assert_eq!((requests(&keys, "b"), requests(&keys, "c")), (2, 3));
    let at = revision(&mut two);
    two.apply(&[described("c"), described("d")], &at).unwrap();
    let keys = loaded(&mut one);
    assert_eq!(
        (
            requests(&keys, "b"),
            requests(&keys, "c"),
            requests(&keys, "d")
        ),
        (2, 3, 0)
    );
    let old = keys.table.get(&fields("c").id).unwrap();
    old.usage().note(Timestamp::from_micros(1), false);
    let at = *keys.table.revision();
    let new = one.apply(&[KeyEdit::Add(fields("e"))], &at).unwrap();
    assert_eq!((requests(&new, "c"), requests(&new, "e")), (4, 0));
}

fn files(name: &'static str) -> Ground<FileStore> {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let file = folder.path().join(name);
    file::make_if_absent(&file).unwrap();
    let (damaged, kept) = (file.clone(), Arc::clone(&folder));
    Ground {
        open: Box::new(move || {
            let _ = &folder;
            FileStore::new(file.clone())
        }),
        damage: Box::new(move || {
            let _ = &kept;
            let file = std::fs::File::create(&damaged).unwrap();
            std::io::Write::write_all(&mut { file }, b"{\"name\":\n").unwrap();
        }),
    }
}

#[test]
fn a_yaml_file_keeps_the_contract() {
    holds(|| files("keys.yaml"));
}

#[test]
fn a_json_file_keeps_the_contract() {
    holds(|| files("keys.json"));
}

#[test]
fn an_ndjson_file_keeps_the_contract() {
    holds(|| files("keys.ndjson"));
}

#[test]
fn a_store_in_memory_keeps_the_contract() {
    holds(memory::ground);
}
