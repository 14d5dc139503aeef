//! The monthly archive: what is kept for a year. It holds no raw event of a day that is not anonymised, so that it keeps nothing
//! of a person that the database has removed, but for accounts.

use std::sync::Arc;
use std::time::Instant;

use bson::{Document, doc};
use chrono::Utc;
use mongodb::Database;

use crate::age::Recipient;
use crate::catalog::ARCHIVE;
use crate::full;
use crate::manifest::{self, Collection, Full};
use crate::moment::new_id;
use crate::oplog;
use crate::progress::Progress;
use crate::store::Store;
use crate::stream::Writer;

/// Collections of raw events: only those that are anonymised are archived.
const EVENTS: [&str; 2] = ["usage_analytics", "activity_logs"];
/// What is of no use later, or may not be kept so long.
const LEFT_OUT: [&str; 5] = ["sessions", "leases", "privacy_requests", "dead_letter_replays", "health_checks"];

/// What is archived of a collection; none where nothing is.
fn filter(collection: &str) -> Option<Document> {
    if LEFT_OUT.contains(&collection) {
        None
    } else if EVENTS.contains(&collection) {
        Some(doc! { "anonymised": true })
    } else {
        Some(doc! {})
    }
}

/// Makes one. Collections are read one after another: an archive is not of one moment.
///
/// # Errors
/// MongoDB or the storage fails, or a collection is of a kind that cannot be saved.
pub async fn make(
    database: &Database,
    store: &Arc<Store>,
    recipient: &Recipient,
    progress: &Progress,
) -> anyhow::Result<Full> {
    let (started, clock) = (Utc::now(), Instant::now());
    let begin = oplog::majority(database).await?;
    let id = new_id(started)?;
    let directory = format!("{ARCHIVE}{id}/");
    let mut writer = Writer::new(Arc::clone(store), recipient.clone(), directory.clone());
    let mut collections = Vec::new();
    for (name, options) in full::list(database).await? {
        let Some(filter) = filter(&name) else { continue };
        progress.say(&name);
        let indexes = full::indexes(database, &name).await?;
        full::read(database, &name, filter, &mut writer, progress).await?;
        collections.push(Collection { name, options: full::json(options), indexes, stream: writer.finish().await? });
    }
    let to = oplog::majority(database).await?;
    let archive = Full {
        version: manifest::VERSION,
        id,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        server: full::server_version(database).await?,
        database: database.name().to_owned(),
        recipient: recipient.to_string(),
        started,
        seconds: clock.elapsed().as_secs_f64(),
        begin,
        to,
        consumed: None,
        collections,
        oplog: writer.finish().await?,
    };
    manifest::write(store, &directory, &archive, archive.parts()).await?;
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_anonymised_events_are_archived() {
        assert_eq!(filter("usage_analytics"), Some(doc! { "anonymised": true }));
        assert_eq!((filter("sessions"), filter("tool_days")), (None, Some(doc! {})));
    }
}
