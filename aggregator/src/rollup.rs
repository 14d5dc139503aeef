//! One day, from its events to its published document.

use std::time::{Duration, Instant};

use anyhow::Context;
use bson::DateTime;
use bson::oid::ObjectId;
use common::day::Day;
use common::documents::rollup_day::Inputs;
use common::documents::system_analytics::{Engine, SystemAnalytics};
use mongodb::Database;

use crate::daily::{self, Ingredients};
use crate::retry::passing_faults;
use crate::scan::Limits;
use crate::{lookup, metrics, publish, pushdown, scan};

/// How days are rolled up.
#[derive(Clone, Debug)]
pub struct Rollup {
    /// Where the events are and the documents go.
    pub database: Database,
    /// What computes the numbers.
    pub engine: Engine,
    /// What the scan engine may take.
    pub limits: Limits,
}

/// A day that was rolled up.
#[derive(Clone, Copy, Debug)]
pub struct Rolled {
    /// The day.
    pub day: Day,
    /// From how many documents.
    pub inputs: Inputs,
    /// How long it took.
    pub took: Duration,
}

impl Rollup {
    /// Rolls `day` up and publishes it. Doing so again, or after being killed at any point, gives the same document.
    ///
    /// # Errors
    /// MongoDB fails for longer than a failover takes, or refuses a write. The reason is noted in `rollup_days` too.
    pub async fn day(&self, day: Day) -> anyhow::Result<Rolled> {
        let result = self.compute_and_publish(day).await.with_context(|| format!("{day} could not be rolled up"));
        match &result {
            Ok(rolled) => metrics::rolled(rolled),
            Err(error) => {
                metrics::failed();
                if let Err(unnoted) = publish::failed(&self.database, day, error).await {
                    tracing::warn!(%day, error = format!("{unnoted:#}"), "the failure could not be noted in rollup_days");
                }
            }
        }
        result
    }

    async fn compute_and_publish(&self, day: Day) -> anyhow::Result<Rolled> {
        let started = Instant::now();
        let document = passing_faults(|| self.compute(day, self.engine)).await?;
        let inputs = document.rollup.as_ref().map(|rollup| rollup.inputs).unwrap_or_default();
        passing_faults(|| publish::document(&self.database, &document)).await.context("writing the daily document")?;
        passing_faults(|| publish::trends_of_the_day_after(&self.database, &document))
            .await
            .context("refreshing the trends of the day after")?;
        let took = started.elapsed();
        passing_faults(|| publish::rolled(&self.database, day, inputs, took, document.updated_at))
            .await
            .context("writing the day's state")?;
        Ok(Rolled { day, inputs, took })
    }

    /// The document that `engine` makes of `day`, without writing anything.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn compute(&self, day: Day, engine: Engine) -> anyhow::Result<SystemAnalytics> {
        let database = &self.database;
        let users = lookup::user_counts(database, day).await?;
        let (totals, returning_users) = match engine {
            Engine::Scan => scan::count(database, day, self.limits, users.total).await?,
            Engine::Pushdown => pushdown::count(database, day).await?,
        };
        let most_used: Vec<ObjectId> = daily::most_used(&totals.tools_by_use).map(|(tool, _)| tool).collect();
        let tool_names = lookup::tool_names(database, &most_used).await?;
        let yesterday = lookup::daily_document(database, day.previous()).await?;
        let previous = lookup::daily_document(database, day).await?;
        Ok(daily::document(&Ingredients {
            day,
            totals: &totals,
            engine,
            users,
            returning_users,
            tool_names: &tool_names,
            yesterday: yesterday.as_ref(),
            previous: previous.as_ref(),
            now: DateTime::now(),
        }))
    }
}
