//! Long lists of small work on several threads, in order. Only for reading key files: short ones are not worth
//! a thread, and the workers want their cores back.

use std::panic::resume_unwind;
use std::thread::available_parallelism;
use std::thread::scope;

/// Workers want their cores back.
const THREADS_MAX: usize = 4;

/// What `work` makes of `items`, part by part and in their order; in one part, on this thread, when there are less
/// than `items_min` of them.
pub(super) fn in_parts<I: Sync, R: Send>(
    items: &[I],
    items_min: usize,
    work: impl Fn(&[I]) -> R + Sync,
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
}
