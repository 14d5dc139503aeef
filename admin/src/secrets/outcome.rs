//! What became of one kind of secret.

use serde::Serialize;

/// How many of the documents in a batch are read, converted and written at a time.
pub(super) const BATCH: usize = 500;

/// Documents that are named one by one.
const MOST_NAMED: usize = 1_000;

/// A field, and what became of the documents that have it.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// `collection.field`.
    pub(super) field: String,
    /// Were protected before.
    pub(super) protected: u64,
    /// Were plain, and are protected now; with `--dry-run` would be.
    pub(super) converted: u64,
    /// Stay as they are.
    pub(super) left: u64,
    /// Why, for the first of those that stay.
    pub(super) named: Vec<Left>,
}

/// One document that stays as it is.
#[derive(Debug, Serialize)]
pub(super) struct Left {
    /// Its id, or its key.
    pub(super) document: String,
    /// Why.
    pub(super) why: String,
}

impl Outcome {
    pub(super) fn new(collection: &str, field: &str, protected: u64) -> Self {
        Self { field: format!("{collection}.{field}"), protected, converted: 0, left: 0, named: vec![] }
    }

    pub(super) fn leave(&mut self, document: impl ToString, why: impl ToString) {
        self.left += 1;
        if self.named.len() < MOST_NAMED {
            self.named.push(Left { document: document.to_string(), why: why.to_string() });
        }
    }
}
