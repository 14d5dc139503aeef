//! The rows of `tool_days` and `user_days` that a day's events make.
//!
//! It is a reading of its own beside that of the day's document, whichever engine makes that: into a [`book`], in as many
//! passes as fit into memory. Only rows are held of all users at once, some 200 bytes each.

pub mod book;
pub mod histogram;
mod read;

use anyhow::Context;
use bson::DateTime;
use bson::oid::ObjectId;
use common::day::Day;
use common::documents::tool_day::{Bucket, Duration, ResponseTime, ToolDay};
use common::documents::user::Plan;
use common::documents::user_day::UserDay;
use mongodb::Database;
use rustc_hash::FxHashMap;

use crate::fold::exact::ratio;
use crate::fold::ids::IdMap;
use crate::fold::shards::Shard;
use crate::fold::tools::{TOGETHER, Tools};
use crate::lookup;
use crate::scan::pass::{Limits, Pass, Unread, pass};
use crate::source::Source;
use book::{Book, Country, OTHER_COUNTRY, Tool, User};

const MILLIS_PER_MINUTE: u128 = 60_000;

/// One day of every tool and of every user that had one.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The day.
    pub day: Day,
    /// By rising tool id.
    pub tools: Vec<ToolDay>,
    /// By rising user id.
    pub users: Vec<UserDay>,
}

/// Reads the events of `day` and makes its rows, which know nothing of the collections in `expired`.
///
/// # Errors
/// MongoDB fails, or a cursor returns what is not BSON.
pub async fn of(
    database: &Database,
    day: Day,
    limits: Limits,
    expired: &[Source],
    now: DateTime,
) -> anyhow::Result<Ledger> {
    let mut passes = Passes::default();
    let mut unread = Unread::of_a_day();
    while let Some(held) = unread.next() {
        let Pass { part, shards, .. } = pass::<Book>(database, day, limits, expired, held)
            .await
            .context("reading the events by tool and by user")?;
        unread.done(day, &shards.held());
        // Every pass sees all events, so of the first alone.
        passes.tools.get_or_insert(part.tools);
        let mut used = Vec::new();
        for number in shards.held() {
            shards.with(number, |shard| {
                used.extend(shard.users.iter().filter(|(_, user)| !user.uses.is_empty()).map(|(id, _)| *id));
            });
        }
        let plans = lookup::plans(database, &used).await?;
        for number in shards.held() {
            if let Some(shard) = shards.with(number, std::mem::take) {
                passes.add(day, shard, &plans, now);
            }
        }
    }
    let mut ledger = passes.ledger(day, now);
    ledger.forget(expired);
    Ok(ledger)
}

impl Ledger {
    /// What these collections would have said is unknown: null, not 0.
    fn forget(&mut self, expired: &[Source]) {
        if expired.contains(&Source::HealthChecks) {
            for tool in &mut self.tools {
                (tool.health_checks, tool.healthy_checks) = (None, None);
            }
        }
        if expired.contains(&Source::Activities) {
            for user in &mut self.users {
                (user.page_views, user.visits, user.minutes) = (None, None, None);
            }
        }
    }
}

/// What the passes that are over have found.
#[derive(Default)]
struct Passes {
    tools: Option<Tools<Tool>>,
    people: IdMap<UsersOfTool>,
    /// Still without their visits, for a session may be of a user of another shard.
    users: Vec<UserDay>,
    /// Of each user: how many, and their length together in milliseconds.
    visits: IdMap<(u64, u64)>,
}

impl Passes {
    fn add(&mut self, day: Day, shard: Shard<User, Option<ObjectId>>, plans: &IdMap<Plan>, now: DateTime) {
        for (id, user) in &shard.users {
            let plan = plans.get(id);
            // A user of several tools that are counted together is one user of them.
            let mut together = None;
            for (tool, uses) in &user.uses {
                if self.tools.as_ref().is_none_or(|tools| tools.has(tool)) {
                    self.people.entry(*tool).or_default().add(plan, (*uses).into());
                } else {
                    *together.get_or_insert(0) += u64::from(*uses);
                }
            }
            if let Some(uses) = together {
                self.people.entry(TOGETHER).or_default().add(plan, uses);
            }
            self.users.push(user_day(day, *id, user, now));
        }
        shard.sessions.for_each(|user, session| {
            let Some(user) = user else { return };
            let (visits, millis) = self.visits.entry(user).or_default();
            for visit in session.visits() {
                *visits += 1;
                *millis = millis.saturating_add(visit.duration());
            }
        });
    }

    fn ledger(self, day: Day, now: DateTime) -> Ledger {
        let Self { tools, people, mut users, visits } = self;
        let nobody = UsersOfTool::default();
        let mut tools: Vec<ToolDay> = tools
            .iter()
            .flat_map(|tools| tools.each().chain(tools.together().map(|tool| (&TOGETHER, tool))))
            .map(|(id, tool)| tool_day(day, *id, tool, people.get(id).unwrap_or(&nobody), now))
            .collect();
        tools.sort_unstable_by_key(|tool| tool.tool_id);
        for user in &mut users {
            let (count_of, millis) = visits.get(&user.user_id).copied().unwrap_or_default();
            user.visits = Some(count(count_of));
            user.minutes = Some(ratio(millis.into(), MILLIS_PER_MINUTE).unwrap_or_default());
        }
        users.sort_unstable_by_key(|user| user.user_id);
        Ledger { day, tools, users }
    }
}

/// Who used a tool.
#[derive(Default)]
struct UsersOfTool {
    users: u64,
    uses_by_plan: FxHashMap<Plan, u64>,
}

impl UsersOfTool {
    fn add(&mut self, plan: Option<&Plan>, uses: u64) {
        self.users += 1;
        if let Some(plan) = plan {
            *self.uses_by_plan.entry(*plan).or_default() += uses;
        }
    }
}

fn tool_day(day: Day, id: ObjectId, tool: &Tool, people: &UsersOfTool, now: DateTime) -> ToolDay {
    ToolDay {
        id: day.row_id(id),
        date: day,
        tool_id: id,
        usage: count(tool.uses),
        failures: count(tool.failures),
        unique_users: count(people.users),
        duration: Duration {
            total: i64::try_from(tool.duration).unwrap_or(i64::MAX),
            min: tool.durations.map(|(shortest, _)| count(shortest)),
            max: tool.durations.map(|(_, longest)| count(longest)),
        },
        response_time: ResponseTime {
            count: count(tool.response_time.count()),
            total: tool.response_time.sum(),
            histogram: tool
                .response_times
                .buckets()
                .map(|(up_to, uses)| Bucket { up_to, count: count(uses) })
                .collect(),
        },
        by_plan: people.uses_by_plan.iter().map(|(plan, uses)| (plan.to_string(), count(*uses))).collect(),
        by_country: tool.countries.iter().map(|(country, uses)| (name_of(*country), count(*uses))).collect(),
        health_checks: Some(count(tool.checks)),
        healthy_checks: Some(count(tool.healthy_checks)),
        last_used_at: tool.last_use.map(DateTime::from_millis),
        last_health_check_at: tool.last_check.map(DateTime::from_millis),
        updated_at: now,
    }
}

/// Without its visits.
fn user_day(day: Day, id: ObjectId, user: &User, now: DateTime) -> UserDay {
    UserDay {
        id: day.row_id(id),
        date: day,
        user_id: id,
        usage: user.uses.iter().map(|(_, uses)| i64::from(*uses)).sum(),
        failures: user.failures.into(),
        page_views: Some(user.page_views.into()),
        visits: Some(0),
        minutes: Some(0.0),
        last_used_at: user.last_use.map(DateTime::from_millis),
        last_activity_at: DateTime::from_millis(user.last_activity.unwrap_or_default()),
        updated_at: now,
    }
}

fn name_of(country: Country) -> String {
    if country == OTHER_COUNTRY { "other".to_owned() } else { country.map(char::from).iter().collect() }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
