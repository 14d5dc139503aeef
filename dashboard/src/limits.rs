//! How often somebody may ask: attempts to sign in by address; the API, and all data of a user, by user.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use bson::oid::ObjectId;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::failure::Failure;

/// Attempts to sign in from one address: so many at once, and one each two seconds after that.
const ATTEMPTS: (u32, Duration) = (30, Duration::from_secs(2));
/// Requests of one user to the API and for CSV: so many at once, and 50 a second after that.
const REQUESTS: (u32, Duration) = (500, Duration::from_millis(20));

/// Downloads of all data of a user: so many at once, and one each five minutes after that.
const DOWNLOADS: (u32, Duration) = (3, Duration::from_secs(300));

/// Counts who asks how often.
#[derive(Debug)]
pub struct Limits {
    attempts: DefaultKeyedRateLimiter<String>,
    requests: DefaultKeyedRateLimiter<ObjectId>,
    downloads: DefaultKeyedRateLimiter<ObjectId>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { attempts: limiter(ATTEMPTS), requests: limiter(REQUESTS), downloads: limiter(DOWNLOADS) }
    }
}

impl Limits {
    /// Another attempt to sign in from this address.
    ///
    /// # Errors
    /// There were too many.
    pub fn attempt(&self, address: &str) -> Result<(), Failure> {
        take(&self.attempts, &address.to_owned())
    }

    /// Another request of this user.
    ///
    /// # Errors
    /// There were too many.
    pub fn request(&self, user: ObjectId) -> Result<(), Failure> {
        take(&self.requests, &user)
    }

    /// Another download of everything of this user.
    ///
    /// # Errors
    /// There were too many.
    pub fn download(&self, user: ObjectId) -> Result<(), Failure> {
        take(&self.downloads, &user)
    }

    /// Forgets who has been quiet; governor itself never does.
    pub fn forget_the_quiet(&self) {
        self.attempts.retain_recent();
        self.requests.retain_recent();
        self.downloads.retain_recent();
    }
}

fn limiter<K: Hash + Eq + Clone>((burst, each): (u32, Duration)) -> DefaultKeyedRateLimiter<K> {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(each).unwrap_or_else(|| Quota::per_second(burst));
    RateLimiter::keyed(quota.allow_burst(burst))
}

fn take<K: Hash + Eq + Clone>(limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), Failure> {
    limiter.check_key(key).map_err(|until| {
        let wait = until.wait_time_from(DefaultClock::default().now());
        Failure::TooMany { seconds: wait.as_secs() + 1 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_stopped_and_no_other() {
        let limits = Limits::default();
        assert!((0..ATTEMPTS.0).all(|_| limits.attempt("192.0.2.1").is_ok()));
        assert!(matches!(limits.attempt("192.0.2.1"), Err(Failure::TooMany { seconds: 1..=3 })));
        assert!(limits.attempt("192.0.2.2").is_ok() && limits.request(ObjectId::new()).is_ok());
        limits.forget_the_quiet();
        assert!(limits.attempt("192.0.2.1").is_err(), "who was busy is not forgotten");
    }
}
