//! What still needs a key.

use anyhow::Context;
use mongodb::Database;
use serde::Serialize;

use crate::protected::Use;

/// How many documents need a key, by use, in the order of [`Use::ALL`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Needed(pub(super) [u64; Use::ALL.len()]);

impl Needed {
    /// Counts for the key `id`.
    pub(super) async fn count(database: &Database, id: &str) -> anyhow::Result<Self> {
        let mut needed = Self::default();
        for (count, r#use) in needed.0.iter_mut().zip(Use::ALL) {
            let documents = database.collection::<bson::Document>(r#use.collection());
            let counted = documents.count_documents(r#use.filter(id)).await;
            *count = counted
                .with_context(|| format!("counting what needs the key {id} in {} failed", r#use.collection()))?;
        }
        Ok(needed)
    }

    /// What for, and how many: `3 sessions, 1 erasures`; nothing when nothing needs the key.
    pub(super) fn in_words(self) -> Option<String> {
        let words = Use::ALL.iter().zip(self.0).filter(|(_, count)| *count > 0);
        let words: Vec<String> = words.map(|(r#use, count)| format!("{count} {}", r#use.name())).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}
