//! Long lists of small work on several threads, in order: reading and listing a million keys. Short ones are not worth
//! a thread, and the workers want their cores back. Not for: anything that a request waits for.

use std::panic::resume_unwind;
use std::thread::available_parallelism;
use std::thread::scope;

/// Workers want their cores back.
const THREADS_MAX: usize = 4;

/// What `work` makes of `items`, part by part and in their order; in one part, on this thread, when there are less
/// than `items_min` of them.
pub(crate) fn in_parts<'i, I: Sync, R: Send>(
    items: &'i [I],
    items_min: usize,
    work: impl Fn(&'i [I]) -> R + Sync,
) -> Vec<R> {
    let threads = if items.len() < items_min {
        1
    } else {
        available_parallelism()
            .map_or(1, usize::from)
            .min(THREADS_MAX)
    };
    if threads == 1 {
        return vec![work(items)];
    }
    scope(|scope| {
        let running: Vec<_> = items
            .chunks(items.len().div_ceil(threads).max(1))
            .map(|part| scope.spawn(|| work(part)))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// Larger allocations than this are mappings of their own for glibc, whatever it has seen before.
const MAPPED_BYTES_MIN: usize = 33 << 20;
/// Shorter lists fit into what the allocator has lying about.
const LONG_BYTES_MIN: usize = 1 << 20;

/// An empty list with room for `count` items that will not live long. A long one goes back to the system when it is
/// dropped; if it came from the allocator's heap, a few edits of a million keys would leave 200 MiB of holes there. Room that
/// is not used is address space and no memory.
pub(crate) fn short_lived<T>(count: usize) -> Vec<T> {
    let size = size_of::<T>().max(1);
    if count * size < LONG_BYTES_MIN {
        return Vec::with_capacity(count);
    }
    Vec::with_capacity(count.max(MAPPED_BYTES_MIN / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_in_order() {
        for (count, items_min) in [(0, 0), (0, 1), (1, 0), (3, 2), (100, 101), (1_000, 10)] {
            let items: Vec<usize> = (0..count).collect();
            let parts = in_parts(&items, items_min, |part| part.to_vec());
            assert_eq!(parts.concat(), items, "{count} items, {items_min}");
        }
    }

    #[test]
    fn a_list_is_short_or_a_mapping_of_its_own() {
        assert_eq!(short_lived::<u64>(10).capacity(), 10);
        let long = short_lived::<u64>(LONG_BYTES_MIN / 8);
        assert!(long.capacity() * 8 > 32 << 20);
        assert!(short_lived::<u8>(40 << 20).capacity() >= 40 << 20);
    }
}
