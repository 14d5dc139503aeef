//! The engine that reads a day's events and folds them.

pub mod documents;
pub mod elements;
pub mod pass;
mod read;

use std::sync::Arc;

use anyhow::Context;
use common::day::Day;
use mongodb::Database;
use tokio::task::spawn_blocking;

use self::pass::{Limits, Pass, Unread, pass};
use crate::fold::{Fold, Passes, Totals};
use crate::lookup;
use crate::source::Source;

/// What `day`'s events but for those of `expired` say, and how many of its active users were created before it began. `users` is
/// the number of all users.
///
/// # Errors
/// MongoDB fails, or a cursor returns what is not BSON.
pub async fn count(
    database: &Database,
    day: Day,
    limits: Limits,
    expired: &[Source],
    users: i64,
) -> anyhow::Result<(Totals, u64)> {
    let mut passes = Passes::default();
    let mut returning = 0;
    let mut unread = Unread::of_a_day();
    while let Some(held) = unread.next() {
        let is_first = held.start == 0;
        let Pass { part, shards, left_out } =
            pass::<Fold>(database, day, limits, expired, held).await.context("reading the events")?;
        if is_first {
            left_out.report(day);
            passes.add_events(part, left_out.documents());
        }
        unread.done(day, &shards.held());
        let people = Arc::clone(&shards);
        let adding = spawn_blocking(move || {
            passes.add_people(&people, limits.readers);
            passes
        });
        returning += lookup::returning_users(database, day, &shards, users)
            .await
            .context("finding out which active users were there before")?;
        passes = adding.await.context("adding up users and sessions ended early")?;
    }
    Ok((passes.totals(), returning))
}
