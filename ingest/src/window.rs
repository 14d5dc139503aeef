//! How many batches are written at the same time. Plain code without I/O.

/// As many as the settings allow while the server takes them; half as many after each batch that had to be sent again, down
/// to one, so that a server in trouble is not pressed harder. It grows by one for as many batches taken at once as it
/// holds: additive increase, multiplicative decrease, as in TCP (RFC 5681).
#[derive(Debug)]
pub struct Window {
    size: usize,
    largest: usize,
    /// Batches taken at the first try since the last change.
    taken: usize,
}

impl Window {
    /// With as many as may be; `largest` is at least 1.
    pub const fn new(largest: usize) -> Self {
        Self { size: largest, largest, taken: 0 }
    }

    /// Batches that may be in flight now.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// A batch is acknowledged; `retries` counts its commands that were sent again.
    pub fn acknowledged(&mut self, retries: usize) {
        if retries > 0 {
            self.size = (self.size / 2).max(1);
            self.taken = 0;
            return;
        }
        self.taken += 1;
        if self.taken >= self.size && self.size < self.largest {
            self.size += 1;
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_stays_within_its_bounds_and_recovers(largest in 1..64_usize, tries in prop::collection::vec(0..2_usize, 0..200)) {
            let mut window = Window::new(largest);
            for retries in tries {
                let before = window.size();
                window.acknowledged(retries);
                prop_assert!((1..=largest).contains(&window.size()));
                prop_assert!(retries == 0 || window.size() == (before / 2).max(1));
            }
            for _ in 0..largest * (largest + 1) / 2 {
                window.acknowledged(0);
            }
            prop_assert_eq!(window.size(), largest);
        }
    }
}
