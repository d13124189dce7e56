//! Open-addressed arrays of positions: 8 bytes a slot, about half full, so a search is short and always ends. They hold
//! no keys; whoever asks says whether the key at a position is the one. Not for: what is unique, which is the table's.

/// Three columns of positions by hash, never full. One allocation, which at a million keys is so large (48 MiB) that it
/// goes back to the system when it is freed, and does not stay with the allocator after every edit.
#[derive(Clone)]
pub(super) struct Index {
    /// The columns one behind the other, each with as many slots as a power of two.
    slots: Box<[Slot]>,
    /// How many slots of each column are not [`EMPTY`].
    used: [usize; COLUMNS],
}

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) enum Column {
    Digest,
    Id,
    Name,
}

const COLUMNS: usize = 3;

/// A position, and 32 bits of the hash, so that a search seldom looks at a key in vain.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot {
    tag: u32,
    position: u32,
}

/// Where a search ends.
const EMPTY: Slot = Slot {
    tag: 0,
    position: u32::MAX,
};

/// Where a position was, and a search goes on.
const GONE: Slot = Slot {
    tag: 0,
    position: u32::MAX - 1,
};

impl Index {
    pub(super) fn with_room_for(count: usize) -> Self {
        let length = (2 * count).next_power_of_two().max(2);
        Self {
            slots: vec![EMPTY; COLUMNS * length].into(),
            used: [0; COLUMNS],
        }
    }

    /// A new index is at most half full; one that has grown with its table may be a little fuller.
    pub(super) fn has_room_for(&self, more: usize) -> bool {
        let limit = self.slots.len() / COLUMNS / 8 * 5;
        self.used.iter().all(|used| used + more <= limit)
    }

    /// Puts `position` in, unless one for which `same` holds is there already: then returns that one.
    pub(super) fn insert(
        &mut self,
        column: Column,
        hash: u64,
        position: usize,
        same: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match self.search(column, hash, same) {
            Ok((_, found)) => Some(found),
            Err(free) => {
                self.slots[free] = Slot {
                    tag: tag(hash),
                    position: narrow(position),
                };
                self.used[column.number()] += 1;
                None
            }
        }
    }

    /// Takes `position` out, which was put in under this hash.
    pub(super) fn remove(&mut self, column: Column, hash: u64, position: usize) {
        if let Ok((number, _)) = self.search(column, hash, |found| found == position) {
            self.slots[number] = GONE;
        }
    }

    /// The positions from `old` on are now those from `new` on.
    pub(super) fn shift(&mut self, old: usize, new: usize) {
        if old == new {
            return;
        }
        let (old, new) = (narrow(old), narrow(new));
        let moved = old..GONE.position;
        for slot in &mut self.slots {
            if moved.contains(&slot.position) {
                slot.position = slot.position.wrapping_sub(old).wrapping_add(new);
            }
        }
    }

    pub(super) fn find(
        &self,
        column: Column,
        hash: u64,
        same: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let (_, position) = self.search(column, hash, same).ok()?;
        Some(position)
    }

    /// The slot and the position for which `same` holds, or the number of the empty slot where it would be put.
    fn search(
        &self,
        column: Column,
        hash: u64,
        same: impl Fn(usize) -> bool,
    ) -> Result<(usize, usize), usize> {
        let length = self.slots.len() / COLUMNS;
        let first = column.number() * length;
        let slots = &self.slots[first..first + length];
        let mut number = usize::try_from(hash >> 32).expect("32 bits fit") & (length - 1);
        loop {
            let slot = slots[number];
            if slot.position == EMPTY.position {
                return Err(first + number);
            }
            if slot.tag == tag(hash) && slot != GONE {
                let position = usize::try_from(slot.position).expect("32 bits fit");
                if same(position) {
                    return Ok((first + number, position));
                }
            }
            number = (number + 1) & (length - 1);
        }
    }
}

impl Column {
    const fn number(self) -> usize {
        match self {
            Self::Digest => 0,
            Self::Id => 1,
            Self::Name => 2,
        }
    }
}

fn narrow(position: usize) -> u32 {
    u32::try_from(position).expect("a table has at most KEYS_MAX keys")
}

/// The half of the hash that does not choose the slot.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is wanted"
)]
const fn tag(hash: u64) -> u32 {
    hash as u32
}

#[cfg(test)]
impl Index {
    /// The most slots without an empty one between them: how well hashes spread.
    pub(super) fn longest_run(&self) -> usize {
        let runs = self.slots.split(|slot| *slot == EMPTY);
        runs.map(<[Slot]>::len).max().unwrap_or(0)
    }
}
