//! Ids for events that have none of their own.

use std::sync::atomic::{AtomicU64, Ordering};

/// An id that no other event has: 64 random bits drawn once per process, then a number counted up.
///
/// A tool that may emit the same event twice, because it retries, should rather use an id of its own that stays the same
/// (the request's, say), and keep `time`: `source`, `id` and the second of `time` identify an event, and the second one is
/// then absorbed.
pub fn unique() -> String {
    static PROCESS: std::sync::LazyLock<u64> = std::sync::LazyLock::new(rand::random);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}-{}", *PROCESS, NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let ids: std::collections::HashSet<_> = (0..1_000).map(|_| unique()).collect();
        assert_eq!(ids.len(), 1_000);
    }
}
