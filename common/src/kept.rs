//! What MongoDB removes after a time, and how old the oldest document is that is still there.

use crate::documents::{activity_log, health_check, session, usage_analytics};
use bson::{Document, doc};
use chrono::{DateTime, Utc};
use mongodb::Database;
use mongodb::error::Result;

/// The collections with documents about people, or about what people used, that expire.
pub const COLLECTIONS: [&str; 4] =
    [usage_analytics::COLLECTION, activity_log::COLLECTION, health_check::COLLECTION, session::COLLECTION];

/// From when on the oldest document of a collection is kept. The collection's TTL index serves it.
///
/// # Errors
/// MongoDB fails, or does not let us read.
pub async fn oldest(database: &Database, collection: &str) -> Result<Option<DateTime<Utc>>> {
    let field = if collection == session::COLLECTION { "expiresAt" } else { "timestamp" };
    let oldest = database
        .collection::<Document>(collection)
        .find_one(doc! { field: { "$type": "date" } })
        .sort(doc! { field: 1 })
        .projection(doc! { "_id": 0, field: 1 })
        .await?;
    Ok(oldest.and_then(|oldest| oldest.get_datetime(field).ok().map(|time| time.to_chrono())))
}
