//! The record of rehearsals in the storage: whoever makes one, on whatever machine, is seen by the schedule and its metrics.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Serialize;

use crate::store::Store;

/// Where records are, one object for each rehearsal.
const PLACE: &str = "rehearsal/";
const FORM: &str = "%Y%m%dT%H%M%SZ";

/// Notes a rehearsal that succeeded.
///
/// # Errors
/// The storage does not take it.
pub async fn note(store: &Store, ended: DateTime<Utc>, what: &impl Serialize) -> anyhow::Result<()> {
    store.put(&format!("{PLACE}{}.json", ended.format(FORM)), serde_json::to_vec_pretty(what)?).await
}

/// When the last one succeeded.
///
/// # Errors
/// The storage cannot be listed.
pub async fn last(store: &Store) -> anyhow::Result<Option<DateTime<Utc>>> {
    let time = |key: &str| {
        let text = key.strip_prefix(PLACE)?.strip_suffix(".json")?;
        Some(NaiveDateTime::parse_from_str(text, FORM).ok()?.and_utc())
    };
    Ok(store.list(PLACE).await?.iter().filter_map(|stored| time(&stored.key)).max())
}

#[cfg(test)]
mod tests {
    use common::settings::Backup;

    use super::*;

    #[tokio::test]
    async fn the_last_rehearsal_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let storage = format!("file://{}", directory.path().display());
        let store = Store::first(&Backup { storage, ..Backup::default() }).unwrap();
        assert_eq!(last(&store).await.unwrap(), None);
        for time in ["2026-01-11T04:00:09Z", "2026-01-04T04:00:10Z"] {
            note(&store, time.parse().unwrap(), &"what").await.unwrap();
        }
        assert_eq!(last(&store).await.unwrap(), Some("2026-01-11T04:00:09Z".parse().unwrap()));
    }
}
