//! How long requests took, as counts in buckets: eight of equal width in each octave from 16 µs to the end of 32 bits
//! (71 minutes), and one for everything below. A quantile is off by at most an eighth of itself, or 16 µs where that
//! is more. Not for: `/metrics`, whose few buckets are fixed for whoever scrapes them.

/// The first bucket ends here: a power of two.
const FIRST_END: u32 = 1 << FIRST_BITS;
const FIRST_BITS: u32 = 4;
/// Buckets in an octave: a power of two.
const PARTS: u32 = 1 << PART_BITS;
const PART_BITS: u32 = 3;

/// Counts by duration. Memory is taken up to the longest duration that was seen: 225 buckets at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u32>,
}

impl Histogram {
    /// One more request took this long; what does not fit in 32 bits counts in the last bucket.
    pub(super) fn note(&mut self, micros: u64) {
        let bucket = bucket_of(u32::try_from(micros).unwrap_or(u32::MAX));
        if bucket >= self.buckets.len() {
            self.buckets.reserve_exact(bucket + 1 - self.buckets.len());
            self.buckets.resize(bucket + 1, 0);
        }
        if self.buckets[bucket] == u32::MAX {
            // After four thousand million requests the shape is what matters: all count half from here on.
            self.buckets.iter_mut().for_each(|count| *count /= 2);
        }
        self.buckets[bucket] += 1;
    }

    /// The duration that `percent` of the requests did not exceed, in microseconds; none without requests.
    #[must_use]
    pub fn quantile(&self, percent: u8) -> Option<u32> {
        let count = |bucket: &u32| u64::from(*bucket);
        let total: u64 = self.buckets.iter().map(count).sum();
        let mut rank = (total * u64::from(percent.min(100))).div_ceil(100).max(1);
        for (bucket, in_bucket) in self.buckets.iter().map(count).enumerate() {
            if rank <= in_bucket {
                let (start, width) = bounds_of(bucket);
                // Those in one bucket are taken to lie evenly in it.
                let inside = width * (2 * rank - 1) / (2 * in_bucket);
                return Some(u32::try_from(start + inside).unwrap_or(u32::MAX));
            }
            rank -= in_bucket;
        }
        None
    }
}

fn bucket_of(micros: u32) -> usize {
    if micros < FIRST_END {
        return 0;
    }
    let octave = micros.ilog2();
    let part = (micros >> (octave - PART_BITS)) - PARTS;
    (1 + (octave - FIRST_BITS) * PARTS + part) as usize
}

/// Where a bucket starts, and how wide it is.
fn bounds_of(bucket: usize) -> (u64, u64) {
    let Some(number) = bucket.checked_sub(1) else {
        return (0, u64::from(FIRST_END));
    };
    let (octave, part) = (number / PARTS as usize, number % PARTS as usize);
    let width = 1u64 << (octave + (FIRST_BITS - PART_BITS) as usize);
    ((u64::from(PARTS) + part as u64) * width, width)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const BUCKETS_MAX: usize = 225;

    #[test]
    fn buckets_follow_each_other_without_gap_up_to_the_last_microsecond() {
        let mut end = 0;
        for bucket in 0..BUCKETS_MAX {
            let (start, width) = bounds_of(bucket);
            assert_eq!(start, end, "bucket {bucket}");
            end = start + width;
            for inside in [start, end - 1] {
                assert_eq!(bucket_of(u32::try_from(inside).unwrap()), bucket);
            }
        }
        assert_eq!(end, 1 << 32);
    }

    #[test]
    fn a_bucket_that_is_full_keeps_the_shape() {
        let mut histogram = Histogram::default();
        histogram.note(100);
        histogram.note(5_000);
        let (low, high) = (bucket_of(100), bucket_of(5_000));
        histogram.buckets[low] = u32::MAX;
        histogram.buckets[high] = u32::MAX - 1;
        histogram.note(100);
        assert_eq!(histogram.buckets[low], u32::MAX / 2 + 1);
        assert_eq!(histogram.buckets[high], u32::MAX / 2);
    }

    #[test]
    fn without_requests_there_is_no_quantile() {
        assert_eq!(Histogram::default().quantile(95), None);
    }

    proptest! {
        #[test]
        fn a_quantile_is_off_by_an_eighth_at_most(
            mut took in vec(prop_oneof![0..300u32, 0..2_000_000u32, any::<u32>()], 1..200),
            percent in 0..=100u8,
        ) {
            let mut histogram = Histogram::default();
            took.iter().for_each(|micros| histogram.note(u64::from(*micros)));
            took.sort_unstable();
            let rank = (took.len() * usize::from(percent)).div_ceil(100).max(1);
            let (exact, found) = (took[rank - 1], histogram.quantile(percent).unwrap());
            let off = (exact / PARTS).max(FIRST_END);
            prop_assert!(exact.abs_diff(found) <= off, "{} for {}", found, exact);
        }
    }
}
