//! How far this machine's clock is from MongoDB's.

use bson::{DateTime, doc};
use chrono::{TimeDelta, Utc};
use mongodb::Database;
use mongodb::error::{Error, Result};

/// Clocks may differ by this much, and every day still counts all of its events: a worker takes a day for over a minute before it is.
pub const MOST: TimeDelta = TimeDelta::seconds(30);

/// How much the primary's clock is ahead of this machine's; negative when it is behind. Exact to the time that the server took to answer.
///
/// # Errors
/// MongoDB fails.
pub async fn ahead(database: &Database) -> Result<TimeDelta> {
    let asked = Utc::now();
    let reply = database.run_command(doc! { "hello": 1 }).await?;
    let answered = Utc::now();
    let server: DateTime = reply.get_datetime("localTime").copied().map_err(Error::custom)?;
    Ok(server.to_chrono() - (asked + (answered - asked) / 2))
}
