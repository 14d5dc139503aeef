//! One day, from its events to its published document.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bson::DateTime;
use bson::oid::ObjectId;
use common::day::Day;
use common::documents::rollup_day::Inputs;
use common::documents::system_analytics::{Engine, SystemAnalytics};
use common::mongo;
use mongodb::Database;

use crate::daily::{self, Ingredients};
use crate::lease::Held;
use crate::retry::passing_faults;
use crate::scan::Limits;
use crate::{counters, lease, ledger, lookup, metrics, publish, pushdown, scan};

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
    pub took: Took,
    /// The day was not over.
    pub provisional: bool,
}

/// How long each step of a day's roll-up took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Computing the document.
    pub document: Duration,
    /// Reading the events again for the rows of tools and users.
    pub rows: Duration,
    /// Writing the rows, and moving the counters with them.
    pub counters: Duration,
    /// Publishing the document.
    pub publishing: Duration,
}

impl Took {
    /// All steps together.
    pub fn total(&self) -> Duration {
        self.document + self.rows + self.counters + self.publishing
    }
}

/// Seconds: in all, and of each step.
impl fmt::Display for Took {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { document, rows, counters, publishing } = self;
        let [total, document, rows, counters, publishing] =
            [self.total(), *document, *rows, *counters, *publishing].map(|step| step.as_secs_f64());
        write!(
            formatter,
            "{total:.1} s (document {document:.1}, rows {rows:.1}, counters {counters:.1}, publishing {publishing:.1})"
        )
    }
}

impl Rollup {
    /// Rolls `day` up and publishes it. Doing so again, or after being killed at any point, gives the same document.
    ///
    /// # Errors
    /// MongoDB fails for longer than a failover takes, or refuses a write. The reason is noted in `rollup_days` too.
    pub async fn day(&self, lease: &Held, day: Day) -> anyhow::Result<Rolled> {
        let result =
            self.compute_and_publish(lease, day).await.with_context(|| format!("{day} could not be rolled up"));
        match &result {
            Ok(rolled) => metrics::rolled(rolled),
            Err(error) => {
                metrics::failed();
                // Who was taken over has nothing to say about the day any more.
                if lease::is_taken_over(error) {
                    return result;
                }
                if let Err(unnoted) = publish::failed(&self.database, lease, day, error).await {
                    let error = mongo::in_words(&unnoted);
                    tracing::warn!(%day, error, "the failure could not be noted in rollup_days");
                }
            }
        }
        result
    }

    async fn compute_and_publish(&self, lease: &Held, day: Day) -> anyhow::Result<Rolled> {
        let started = Instant::now();
        let database = &self.database;
        // Before the events: what is marked dirty from now on may not be among those that are read.
        let state = passing_faults(|| lookup::day_state(database, day)).await?;
        ensure!(
            state.as_ref().is_none_or(|state| state.sealed_at.is_none()),
            "{day} is sealed: its events are not whole any more, so its numbers stay as they are"
        );
        let mut step = Step(started);
        let document = passing_faults(|| self.compute(day, self.engine)).await?;
        let of_document = step.end();
        let ledger = passing_faults(|| ledger::of(database, day, self.limits, document.updated_at)).await?;
        let of_rows = step.end();
        counters::write(database, lease, &ledger, Day::today().max(day)).await?;
        let of_counters = step.end();
        let inputs = document.rollup.as_ref().map(|rollup| rollup.inputs).unwrap_or_default();
        let marks = state.map_or(0, |state| state.dirty_marks);
        passing_faults(|| publish::day(database, lease, &document, marks, started))
            .await
            .context("publishing the day")?;
        let provisional = document.rollup.is_some_and(|rollup| rollup.provisional);
        let took = Took { document: of_document, rows: of_rows, counters: of_counters, publishing: step.end() };
        Ok(Rolled { day, inputs, took, provisional })
    }

    /// The document that `engine` makes of `day`, without writing anything.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn compute(&self, day: Day, engine: Engine) -> anyhow::Result<SystemAnalytics> {
        let database = &self.database;
        let now = DateTime::now();
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
            now,
        }))
    }
}

/// When the present step began.
struct Step(Instant);

impl Step {
    /// How long it took; the next one begins.
    fn end(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.0, now))
    }
}
