//! Chance that falls the same way each time: seeded with the id of the document it is for, so that a document does not
//! depend on how many others there are.

use bson::DateTime;
use bson::oid::ObjectId;
use chrono::{Duration, Utc};
use common::day::Day;
use common::keyring::NOBODYS_KEY;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(super) struct Chance(ChaCha8Rng);

impl Chance {
    pub(super) fn for_document(id: ObjectId) -> Self {
        let mut seed = [0; 32];
        seed[..12].copy_from_slice(&id.bytes());
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// True in `percent` of all cases.
    pub(super) fn percent(&mut self, percent: f64) -> bool {
        self.unit() * 100.0 < percent
    }

    /// At least 0, below 1.
    pub(super) fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// Both ends included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.random_range(low..=high)
    }

    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.0.random_range(0..items.len())]
    }

    /// One of several, each as often as its weight says.
    pub(super) fn weighted<T: Copy>(&mut self, items: &[(T, u32)]) -> T {
        let sum: u32 = items.iter().map(|(_, weight)| weight).sum();
        let mut left = self.0.random_range(0..sum);
        for (item, weight) in items {
            if left < *weight {
                return *item;
            }
            left -= weight;
        }
        items[0].0
    }

    /// A whole second from `from` to `to`; `from` when there is nothing between.
    pub(super) fn moment(&mut self, from: DateTime, to: DateTime) -> DateTime {
        let (from, to) = (from.timestamp_millis() / 1000, to.timestamp_millis() / 1000);
        let seconds = if to > from { self.between(from, to) } else { from };
        DateTime::from_millis(seconds * 1000)
    }

    /// The digest of a token that nobody has, by a key that nobody has: the demo needs no keyring, and nobody signs in.
    pub(super) fn digest(&mut self) -> String {
        format!("{NOBODYS_KEY}:{}", self.hex())
    }

    /// A sealed value that nobody can open.
    pub(super) fn sealed(&mut self) -> String {
        // Hexadecimal digits are Base64, too.
        format!("v1:{NOBODYS_KEY}:{}", self.hex())
    }

    fn hex(&mut self) -> String {
        format!("{:032x}{:032x}", self.0.random::<u128>(), self.0.random::<u128>())
    }

    /// Of the networks that are set aside for documentation.
    pub(super) fn ip_address(&mut self) -> String {
        let network = self.pick(&["192.0.2", "198.51.100", "203.0.113"]);
        format!("{network}.{}", self.between(1, 254))
    }
}

/// The start of the day `days` before `as_of`.
pub(super) fn days_before(as_of: Day, days: u64) -> DateTime {
    DateTime::from_chrono(as_of.minus(days).start())
}

/// The start of the day.
pub(super) fn start(as_of: Day) -> DateTime {
    DateTime::from_chrono(as_of.start())
}

pub(super) fn days_after(moment: DateTime, days: i64) -> DateTime {
    let moment: chrono::DateTime<Utc> = moment.to_chrono();
    DateTime::from_chrono(moment + Duration::days(days))
}
