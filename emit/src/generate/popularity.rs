//! Few are popular, many are rare: Zipf's law.

use rand::RngExt;
use rand::distr::weighted::WeightedIndex;
use rand_chacha::ChaCha8Rng;

/// Draws one of several, the first ones more often.
#[derive(Debug)]
pub(super) struct Popularity(Option<WeightedIndex<f64>>);

impl Popularity {
    /// The second of `count` comes `2^exponent` times more rarely than the first, the third `3^exponent` times.
    pub(super) fn new(count: u32, exponent: f64) -> Self {
        Self(WeightedIndex::new((1..=count).map(|rank| f64::from(rank).powf(-exponent))).ok())
    }

    /// Counted from 0.
    pub(super) fn draw(&self, chance: &mut ChaCha8Rng) -> u32 {
        self.0.as_ref().map_or(0, |weights| chance.sample(weights)) as u32
    }
}
