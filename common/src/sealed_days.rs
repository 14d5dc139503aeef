//! The days whose numbers are final: nothing is added to them.

use std::collections::BTreeSet;

use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use mongodb::Database;
use mongodb::error::Error;

use crate::day::{Day, DayNumber, day_number, start_of};
use crate::documents::rollup_day;
use crate::event::{Invalid, Reason, Timestamp};

/// The sealed days at one moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SealedDays(BTreeSet<DayNumber>);

impl SealedDays {
    /// The days that are sealed in the database now.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn read(database: &Database) -> Result<Self, Error> {
        let days = database.collection::<Document>(rollup_day::COLLECTION);
        let sealed = days.find(doc! { "sealedAt": { "$type": "date" } }).projection(doc! { "_id": 1 });
        let sealed: Vec<Document> = sealed.await?.try_collect().await?;
        let number = |day: &Document| {
            let day = day.get("_id").and_then(Bson::as_str)?;
            Some(day_number(Day::parse(day).ok()?.start().timestamp_millis()))
        };
        Ok(Self(sealed.iter().filter_map(number).collect()))
    }

    /// The end of the last sealed day, milliseconds since 1970: no later event is of a sealed day.
    pub fn end(&self) -> i64 {
        self.0.last().map_or(i64::MIN, |last| start_of(last + 1))
    }

    /// # Errors
    /// An event of this time is of a sealed day.
    pub fn check(&self, time: Timestamp) -> Result<(), Box<Invalid>> {
        if !self.0.contains(&day_number(time.millis())) {
            return Ok(());
        }
        let problem = format!("{time} is of a day that is sealed: its numbers are final, and nothing is added");
        Err(Invalid::at("time", Reason::DaySealed, problem))
    }
}
