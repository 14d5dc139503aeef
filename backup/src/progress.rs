//! How far a long work is, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counted by the work, read by whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    total: AtomicU64,
    what: Mutex<String>,
}

impl Progress {
    /// Some bytes are done.
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What is done now.
    pub fn say(&self, what: &str) {
        what.clone_into(&mut self.what.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// There is so much more to do.
    pub fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What is done now, the bytes that are done, and of how many; 0 where that is not known.
    pub fn now(&self) -> (String, u64, u64) {
        let what = self.what.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (what, self.bytes.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}
