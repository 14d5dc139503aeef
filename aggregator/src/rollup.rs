//! One day, from its events to its published document.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bson::DateTime;
use bson::oid::ObjectId;
use chrono::Utc;
use common::day::Day;
use common::documents::rollup_day::RollupDay;
use common::documents::system_analytics::{Engine, SystemAnalytics};
use common::mongo;
use mongodb::Database;

use crate::daily::{self, Ingredients};
use crate::lease::Held;
use crate::retention::{self, Fate, Refused, is_refused};
use crate::retry::passing_faults;
use crate::rolled::{Rolled, Took};
use crate::scan::pass::Limits;
use crate::source::Source;
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
    /// Rolls a day up also when fewer events of it are there than its last roll-up counted: somebody removed them on purpose.
    pub accepts_removed: bool,
}

impl Rollup {
    /// Rolls `day` up and publishes it. Doing so again, or after being killed at any point, gives the same document.
    ///
    /// # Errors
    /// MongoDB fails for longer than a failover takes, or refuses a write; events that were counted are gone. The reason is noted in
    /// `rollup_days` too. [`Refused`] when the day must not be computed any more; then nothing is noted.
    pub async fn day(&self, lease: &Held, day: Day) -> anyhow::Result<Rolled> {
        let result =
            self.compute_and_publish(lease, day).await.with_context(|| format!("{day} could not be rolled up"));
        match &result {
            Ok(rolled) => metrics::rolled(rolled),
            Err(error) if is_refused(error) => {}
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
        let expired = match self.fate(day, state.as_ref()).await? {
            Fate::Open(expired) | Fate::Seal(expired) => expired,
            Fate::Lost(sources) => {
                // A mistyped year must not seal a day that never was.
                let first = passing_faults(|| lookup::first_known_day(database)).await?;
                if let Some(first) = first.filter(|first| day < *first) {
                    bail!(Refused::NeverWas { day, first });
                }
                passing_faults(|| publish::seal(database, lease, day, DateTime::now())).await?;
                bail!(Refused::Lost { day, collections: retention::names(&sources) });
            }
        };
        passing_faults(|| publish::begun(database, lease, day)).await?;
        let mut step = Step(started);
        let document = passing_faults(|| self.compute(day, self.engine, &expired)).await?;
        let inputs = document.rollup.as_ref().map(|rollup| rollup.inputs).unwrap_or_default();
        if !self.accepts_removed {
            let counted = state.as_ref().and_then(|state| state.inputs);
            if let Some(removed) = counted.and_then(|counted| retention::removed(&counted, &inputs, &expired)) {
                bail!(
                    "{removed}: somebody removed them, and the numbers stay as they are; to publish the smaller numbers, run: \
                     aggregator run --date {day} --accept-removed"
                );
            }
        }
        let of_document = step.end();
        let ledger = passing_faults(|| ledger::of(database, day, self.limits, &expired, document.updated_at)).await?;
        let of_rows = step.end();
        counters::write(database, lease, &ledger, Day::today().max(day)).await?;
        let of_counters = step.end();
        let marks = state.map_or(0, |state| state.dirty_marks);
        passing_faults(|| publish::day(database, lease, &document, marks, started))
            .await
            .context("publishing the day")?;
        let provisional = document.rollup.is_some_and(|rollup| rollup.provisional);
        let took = Took { document: of_document, rows: of_rows, counters: of_counters, publishing: step.end() };
        Ok(Rolled { day, inputs, took, provisional })
    }

    /// What may be done with `day`, of which `known` is known; an error for a day that is sealed.
    async fn fate(&self, day: Day, known: Option<&RollupDay>) -> anyhow::Result<Fate> {
        let now = Utc::now();
        ensure!(known.is_none_or(|known| !known.is_sealed(now)), Refused::Sealed(day));
        let retention = passing_faults(|| lookup::retention(&self.database)).await?;
        Ok(retention.fate(day, known, now))
    }

    /// The document that `engine` makes of `day`, without writing anything. It knows nothing of the collections in `expired`.
    ///
    /// # Errors
    /// MongoDB fails.
    pub async fn compute(&self, day: Day, engine: Engine, expired: &[Source]) -> anyhow::Result<SystemAnalytics> {
        let database = &self.database;
        let now = DateTime::now();
        let users = lookup::user_counts(database, day).await?;
        let (totals, returning_users) = match engine {
            Engine::Scan => scan::count(database, day, self.limits, expired, users.total).await?,
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
            expired,
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
