//! The rows of `tool_days` and `user_days` that a day's events make.
//!
//! [`read`] takes the events into a [`book`], and [`of`] makes the rows of it and of the users' plans: the same book and plans
//! give the same rows. It is a reading of its own beside the day's scan, whose fold may hold a part of the users at a time.

pub mod book;
pub mod histogram;
pub mod read;

use bson::DateTime;
use bson::oid::ObjectId;
use common::day::Day;
use common::documents::tool_day::{Bucket, Duration, ResponseTime, ToolDay};
use common::documents::user::Plan;
use common::documents::user_day::UserDay;
use rustc_hash::FxHashMap;

use crate::fold::exact::ratio;
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

/// The rows of `day`; `plans` are those of its users of tools.
pub fn of(day: Day, book: &Book, plans: &FxHashMap<ObjectId, Plan>, now: DateTime) -> Ledger {
    let people = people_by_tool(book, plans);
    let nobody = People::default();
    let mut tools: Vec<ToolDay> =
        book.tools.iter().map(|(id, tool)| tool_day(day, *id, tool, people.get(id).unwrap_or(&nobody), now)).collect();
    tools.sort_unstable_by_key(|tool| tool.tool_id);
    let visits = book.visits_by_user();
    let mut users: Vec<UserDay> = book
        .users
        .iter()
        .map(|(id, user)| user_day(day, *id, user, visits.get(id).copied().unwrap_or_default(), now))
        .collect();
    users.sort_unstable_by_key(|user| user.user_id);
    Ledger { day, tools, users }
}

/// Who used a tool.
#[derive(Default)]
struct People {
    users: u64,
    uses_by_plan: FxHashMap<Plan, u64>,
}

fn people_by_tool(book: &Book, plans: &FxHashMap<ObjectId, Plan>) -> FxHashMap<ObjectId, People> {
    let mut by_tool: FxHashMap<ObjectId, People> = FxHashMap::default();
    for (id, user) in &book.users {
        let plan = plans.get(id);
        for (tool, uses) in &user.uses {
            let people = by_tool.entry(*tool).or_default();
            people.users += 1;
            if let Some(plan) = plan {
                *people.uses_by_plan.entry(*plan).or_default() += u64::from(*uses);
            }
        }
    }
    by_tool
}

fn tool_day(day: Day, id: ObjectId, tool: &Tool, people: &People, now: DateTime) -> ToolDay {
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
        health_checks: count(tool.checks),
        healthy_checks: count(tool.healthy_checks),
        last_used_at: tool.last_use.map(DateTime::from_millis),
        last_health_check_at: tool.last_check.map(DateTime::from_millis),
        updated_at: now,
    }
}

fn user_day(day: Day, id: ObjectId, user: &User, (visits, millis): (u64, u64), now: DateTime) -> UserDay {
    UserDay {
        id: day.row_id(id),
        date: day,
        user_id: id,
        usage: user.uses.iter().map(|(_, uses)| i64::from(*uses)).sum(),
        failures: user.failures.into(),
        page_views: user.page_views.into(),
        visits: count(visits),
        minutes: ratio(millis.into(), MILLIS_PER_MINUTE).unwrap_or_default(),
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
