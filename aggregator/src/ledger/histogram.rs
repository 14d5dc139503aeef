//! Response times in buckets whose bounds are fixed, so that histograms of any days and slices add up.
//!
//! Sixteen buckets to each doubling: a percentile read from the bounds is at most 1/16 too high, from 1 ms to 7 weeks, and
//! one tool's day has at most 513 of them. Only those are held that a value was in: whoever sends one large value makes one.

/// Bits of a double's fraction that number the buckets within a doubling.
const FRACTION_BITS: u32 = 4;
const SHIFT: u32 = 52 - FRACTION_BITS;
/// The bucket that everything up to 1 ms is in.
const FIRST: u64 = (1.0_f64.to_bits() >> SHIFT) - 1;

/// Counts by bucket, of those that are filled, by rising bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(Vec<(u16, u64)>);

impl Histogram {
    /// Counts a value, milliseconds, that [`crate::fold::exact::Mean::takes`].
    pub fn add(&mut self, value: f64) {
        // The bits of doubles above 0 are in the order of the doubles. One less puts a bound into the bucket below it.
        let bucket = (value.max(1.0).to_bits() - 1) >> SHIFT;
        self.count(bucket.saturating_sub(FIRST) as u16, 1);
    }

    fn count(&mut self, bucket: u16, values: u64) {
        match self.0.binary_search_by_key(&bucket, |(known, _)| *known) {
            Ok(at) => self.0[at].1 += values,
            Err(at) => self.0.insert(at, (bucket, values)),
        }
    }

    /// Adds all values of another histogram.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(bucket, values)| self.count(*bucket, *values));
    }

    /// Bytes held outside of the value itself.
    pub fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<(u16, u64)>()
    }

    /// The filled buckets by rising bound: upper bound in milliseconds, itself included, and count.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.0.iter().map(|(bucket, count)| (f64::from_bits((FIRST + 1 + u64::from(*bucket)) << SHIFT), *count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fold::exact::LARGEST;

    fn bound_of(value: f64) -> f64 {
        let mut histogram = Histogram::default();
        histogram.add(value);
        histogram.buckets().next().unwrap().0
    }

    #[test]
    fn a_bound_is_in_its_own_bucket() {
        for (value, bound) in
            [(0.0, 1.0), (1.0, 1.0), (1.001, 1.0625), (1.0625, 1.0625), (2.0, 2.0), (850.0, 864.0), (LARGEST, LARGEST)]
        {
            assert_eq!(bound_of(value), bound, "{value}");
        }
    }

    #[test]
    fn one_large_value_takes_as_little_as_a_small_one() {
        let histogram = |value: f64| {
            let mut histogram = Histogram::default();
            histogram.add(value);
            histogram
        };
        assert_eq!(histogram(LARGEST).heap_bytes(), histogram(1.0).heap_bytes());
        assert!(histogram(LARGEST).heap_bytes() <= 64);
    }

    proptest! {
        #[test]
        fn a_bound_is_at_most_a_sixteenth_above(value in 1.0..LARGEST) {
            let bound = bound_of(value);
            prop_assert!(bound >= value && bound <= value * (1.0 + 1.0 / 16.0), "{bound}");
        }

        #[test]
        fn slices_do_not_show(values in prop::collection::vec(0.0..1e5_f64, 0..60), cut in 0_usize..60) {
            let histogram = |values: &[f64]| {
                let mut histogram = Histogram::default();
                values.iter().for_each(|value| histogram.add(*value));
                histogram
            };
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = histogram(left);
            merged.merge(&histogram(right));
            prop_assert_eq!(&merged, &histogram(&values));
            prop_assert_eq!(merged.buckets().map(|bucket| bucket.1).sum::<u64>(), values.len() as u64);
        }
    }
}
