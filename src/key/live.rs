//! The published key table: one writer, many readers. Readers never wait and never see half an edit;
//! only `store::reload` holds the publisher. Not for storage: see `store`.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::Guard;

use crate::key::table::KeyTable;

/// A table with its one writer and the first of its readers.
#[must_use]
pub fn publish(initial: impl Into<Arc<KeyTable>>) -> (KeyPublisher, KeyReader) {
    let table = Arc::new(ArcSwap::new(initial.into()));
    (
        KeyPublisher {
            table: Arc::clone(&table),
        },
        KeyReader { table },
    )
}

/// Replaces the table that readers see. There is one, so publications have an order.
pub struct KeyPublisher {
    table: Arc<ArcSwap<KeyTable>>,
}

impl KeyPublisher {
    /// From now on, every new snapshot is of `table`. Returns the table that it replaces: whoever holds it
    /// until its other owners are gone takes on the cost of dropping it, which would otherwise fall to the
    /// worker that drops the last snapshot.
    pub fn publish(&self, table: impl Into<Arc<KeyTable>>) -> Arc<KeyTable> {
        self.table.swap(table.into())
    }
}

impl fmt::Debug for KeyPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPublisher")
            .field("table", &*self.table.load())
            .finish()
    }
}

/// Reads the published table. Cheap to clone.
#[derive(Clone)]
pub struct KeyReader {
    table: Arc<ArcSwap<KeyTable>>,
}

impl KeyReader {
    /// The table as it is now, for the time of one decision: drop it before the first await.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<KeyTable>> {
        self.table.load()
    }

    /// The table as it is now, for as long as the caller wants to hold it.
    #[must_use]
    pub fn load_full(&self) -> Arc<KeyTable> {
        self.table.load_full()
    }
}

impl fmt::Debug for KeyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyReader")
            .field("table", &*self.table.load())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::key::table::Revision;
    use crate::key::tests::key;

    #[test]
    fn a_reader_sees_the_newest_table_and_a_snapshot_stays_what_it_was() {
        let now = Timestamp::from_micros(0);
        let (old, new) = (
            Arc::new(key("old", "token-old")),
            Arc::new(key("new", "token-new")),
        );
        let table = |key: &Arc<_>, text: &[u8]| {
            KeyTable::build(vec![Arc::clone(key)], Revision::of(text)).unwrap()
        };
        let (publisher, reader) = publish(table(&old, b"1"));
        let clone = reader.clone();
        let snapshot = reader.snapshot();
        let replaced = publisher.publish(table(&new, b"2"));
        assert!(snapshot.find(old.digest(), now).is_some());
        assert!(replaced.find(old.digest(), now).is_some());
        assert!(clone.snapshot().find(old.digest(), now).is_none());
        assert!(clone.load_full().find(new.digest(), now).is_some());
    }
}
