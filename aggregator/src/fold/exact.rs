//! Sums and ratios without rounding on the way, so that no order of addition shows in a result.

/// Fraction bits of a fixed-point sum: a double of 2^-12 or more is a multiple of 2^-64, so it is summed exactly.
const FRACTION_BITS: u32 = 64;

/// The largest value a [`Mean`] takes. 2^31 values of this size still fit its sum.
pub const LARGEST: f64 = (1_u64 << 32) as f64;

/// A mean under way: exact for values that are 0 or at least 2^-12, finer digits of smaller ones are cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mean {
    count: u64,
    sum: u128,
}

impl Mean {
    /// Whether [`Mean::add`] can take `value`: from 0 to [`LARGEST`].
    pub fn takes(value: f64) -> bool {
        (0.0..=LARGEST).contains(&value)
    }

    /// Adds a value that [`Mean::takes`].
    pub fn add(&mut self, value: f64) {
        debug_assert!(Self::takes(value));
        self.count += 1;
        // Scaling by a power of two is exact; the cast cuts towards zero.
        self.sum += (value * (2.0_f64).powi(FRACTION_BITS as i32)) as u128;
    }

    /// The mean of values that were added up elsewhere, each cut into its whole part and the next two 32 binary digits.
    pub fn of_parts(count: u64, [whole, upper, lower]: [u64; 3]) -> Self {
        Self { count, sum: (u128::from(whole) << 64) + (u128::from(upper) << 32) + u128::from(lower) }
    }

    /// Adds all values of another mean.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum += other.sum;
    }

    /// How many values were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum, rounded once.
    pub fn sum(&self) -> f64 {
        ratio(self.sum, 1 << FRACTION_BITS).unwrap_or_default()
    }

    /// The mean, rounded once; none of nothing.
    pub fn value(&self) -> Option<f64> {
        ratio(self.sum, u128::from(self.count) << FRACTION_BITS)
    }
}

/// `numerator / denominator` as the nearest double, ties to even; none when the denominator is 0.
pub fn ratio(numerator: u128, denominator: u128) -> Option<f64> {
    if denominator == 0 {
        return None;
    }
    let mut quotient = numerator / denominator;
    let mut remainder = numerator % denominator;
    let mut exponent = 0;
    // Long division until the quotient has more bits than a double's 53 and one to round by.
    while remainder != 0 && quotient >> 55 == 0 {
        let (doubled, overflowed) = remainder.overflowing_mul(2);
        let bit = overflowed || doubled >= denominator;
        remainder = if bit { doubled.wrapping_sub(denominator) } else { doubled };
        quotient = quotient << 1 | u128::from(bit);
        exponent += 1;
    }
    // What is left only decides a tie: one sticky bit below the rounding position stands for all of it.
    if remainder != 0 {
        quotient |= 1;
    }
    Some(quotient as f64 * (2.0_f64).powi(-exponent))
}

/// `(now - before) / before` as the nearest double; none when `before` is not above 0.
pub fn growth(before: i64, now: i64) -> Option<f64> {
    let before_positive = u128::try_from(before).ok().filter(|before| *before > 0)?;
    let change = i128::from(now) - i128::from(before);
    let size = ratio(change.unsigned_abs(), before_positive)?;
    Some(if change < 0 { -size } else { size })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_mean() {
        assert_eq!(Mean::default().value(), None);
        assert_eq!(ratio(0, 0), None);
        assert_eq!(growth(0, 5), None);
    }

    #[test]
    fn ties_go_to_even_and_the_smallest_excess_breaks_them() {
        let tie = (1_u128 << 53) + 1;
        assert_eq!(ratio(tie, 1), Some((1_u64 << 53) as f64));
        assert_eq!(ratio(tie * 1_000 + 1, 1_000), Some(((1_u64 << 53) + 2) as f64));
        assert_eq!(ratio(u128::MAX, u128::MAX - 1), Some(1.0));
        assert_eq!(ratio(1, u128::MAX), Some((2.0_f64).powi(-128)));
    }

    #[test]
    fn growth_has_a_sign() {
        assert_eq!(growth(4, 5), Some(0.25));
        assert_eq!(growth(4, 3), Some(-0.25));
        assert_eq!(growth(4, 4), Some(0.0));
    }

    proptest! {
        #[test]
        fn small_ratios_are_what_the_processor_divides(numerator in 0_u64..1 << 53, denominator in 1_u64..1 << 53) {
            prop_assert_eq!(ratio(numerator.into(), denominator.into()), Some(numerator as f64 / denominator as f64));
        }

        #[test]
        fn a_mean_does_not_know_the_order(mut values in prop::collection::vec(0.001_f64..1e6, 1..50)) {
            let mean = |values: &[f64]| {
                let mut mean = Mean::default();
                values.iter().for_each(|value| mean.add(*value));
                mean
            };
            let forwards = mean(&values);
            values.reverse();
            prop_assert_eq!(forwards, mean(&values));
            let (left, right) = values.split_at(values.len() / 2);
            let mut merged = mean(left);
            merged.merge(mean(right));
            prop_assert_eq!(forwards, merged);
        }
    }
}
