//! Puts the daily document together. Pure: the same inputs give the same document.

use bson::DateTime;
use bson::oid::ObjectId;
use common::day::Day;
use common::documents::rollup_day::Inputs;
use common::documents::system_analytics::{
    Engagement, Engine, Metrics, MostUsedTool, Performance, Rollup, RollupSettings, SystemAnalytics, Tools, Trends,
    Users,
};

use crate::fold::Totals;
use crate::fold::exact::{growth, ratio};
use crate::fold::ids::IdMap;
use crate::fold::presence::LINGER;
use crate::fold::visits::LONGEST_GAP;
use crate::lookup::UserCounts;
use crate::source::Source;

/// Rises with every change of what a number means.
pub const DEFINITION_VERSION: i64 = 1;

/// How many of the most used tools a document names.
pub const MOST_USED_TOOLS: usize = 10;

/// The name of a tool that `tools` does not know.
pub const UNKNOWN_TOOL: &str = "(unknown tool)";

/// Everything that a daily document is made of.
#[derive(Debug)]
pub struct Ingredients<'a> {
    /// The day.
    pub day: Day,
    /// What its events say.
    pub totals: &'a Totals,
    /// What computed `totals`.
    pub engine: Engine,
    /// Its users.
    pub users: UserCounts,
    /// Of the active users, those created before the day.
    pub returning_users: u64,
    /// The names of its most used tools, as far as they have one.
    pub tool_names: &'a IdMap<String>,
    /// The document of the day before.
    pub yesterday: Option<&'a SystemAnalytics>,
    /// The document that this one replaces.
    pub previous: Option<&'a SystemAnalytics>,
    /// Collections that the numbers must know nothing of, because their events have begun to expire.
    pub expired: &'a [Source],
    /// When reading the events began.
    pub now: DateTime,
}

/// The daily document.
pub fn document(ingredients: &Ingredients<'_>) -> SystemAnalytics {
    let Ingredients { day, previous, now, .. } = *ingredients;
    let metrics = metrics(ingredients);
    SystemAnalytics {
        id: previous.map_or_else(|| id_of(day), |previous| previous.id),
        date: day,
        trends: trends(&metrics, ingredients.yesterday.map(|yesterday| &yesterday.metrics)),
        metrics,
        rollup: Some(Rollup {
            definition_version: DEFINITION_VERSION,
            engine: ingredients.engine,
            settings: RollupSettings {
                visit_gap_minutes: LONGEST_GAP / 60_000,
                presence_minutes: LINGER / 60_000,
                most_used_tools: MOST_USED_TOOLS as i64,
            },
            inputs: inputs(ingredients),
            expired: ingredients.expired.iter().map(|source| source.collection().to_owned()).collect(),
            computed_at: now,
            provisional: now.to_chrono() < day.end(),
        }),
        created_at: previous.map_or(now, |previous| previous.created_at),
        updated_at: now,
    }
}

/// A day against the day before.
pub fn trends(today: &Metrics, yesterday: Option<&Metrics>) -> Trends {
    let Some(yesterday) = yesterday else { return Trends::default() };
    let response_times = yesterday.performance.average_response_time.zip(today.performance.average_response_time);
    Trends {
        user_growth: growth(yesterday.users.total, today.users.total),
        usage_growth: growth(yesterday.tools.total_usage, today.tools.total_usage),
        performance_change: response_times
            .filter(|(before, _)| *before > 0.0)
            .map(|(before, now)| (now - before) / before),
    }
}

fn metrics(ingredients: &Ingredients<'_>) -> Metrics {
    let Ingredients { totals, users, expired, .. } = *ingredients;
    let knows = |source: Source| !expired.contains(&source);
    let knows_activities = knows(Source::Activities);
    // Whether somebody is verified or pays changes later; the numbers of a day that is over do not. What was computed
    // while the day went on is no such snapshot yet.
    let snapshot =
        ingredients.previous.filter(|previous| !is_provisional(previous)).map(|previous| &previous.metrics.users);
    Metrics {
        users: Users {
            total: users.total,
            active: knows_activities.then(|| count(totals.active_users)),
            new: users.new,
            verified: snapshot.map_or(users.verified, |snapshot| snapshot.verified),
            premium: snapshot.map_or(users.premium, |snapshot| snapshot.premium),
        },
        tools: Tools {
            total_usage: count(totals.tool_uses),
            unique_users: count(totals.tool_users),
            average_session_duration: totals.tool_visit_minutes,
            most_used_tools: most_used(&totals.tools_by_use)
                .map(|(tool_id, uses)| MostUsedTool {
                    tool_id,
                    tool_name: ingredients.tool_names.get(&tool_id).map_or(UNKNOWN_TOOL, String::as_str).to_owned(),
                    usage_count: count(uses),
                })
                .collect(),
        },
        performance: Performance {
            average_response_time: totals.response_time,
            error_rate: totals.error_rate,
            uptime: totals.uptime.filter(|_| knows(Source::HealthChecks)),
            peak_concurrent_users: knows_activities.then(|| count(totals.peak_users)),
        },
        engagement: if knows_activities {
            Engagement {
                page_views: Some(count(totals.page_views)),
                bounce_rate: totals.bounce_rate,
                average_session_duration: totals.visit_minutes,
                return_user_rate: ratio(ingredients.returning_users.into(), totals.active_users.into()),
            }
        } else {
            Engagement::default()
        },
    }
}

/// What is left of an expired collection is not counted.
fn inputs(ingredients: &Ingredients<'_>) -> Inputs {
    let mut inputs = ingredients.totals.inputs;
    for source in ingredients.expired {
        *source.input(&mut inputs) = 0;
    }
    inputs
}

/// The tools that a document names.
pub fn most_used(tools_by_use: &[(ObjectId, u64)]) -> impl Iterator<Item = (ObjectId, u64)> + '_ {
    tools_by_use.iter().take(MOST_USED_TOOLS).copied()
}

fn is_provisional(document: &SystemAnalytics) -> bool {
    document.rollup.as_ref().is_some_and(|rollup| rollup.provisional)
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The same for everyone who computes the day, so that two first roll-ups cannot leave two documents.
fn id_of(day: Day) -> ObjectId {
    let mut bytes = [0; 12];
    let seconds = day.start().timestamp().to_be_bytes();
    bytes[..4].copy_from_slice(&seconds[4..]);
    ObjectId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::Passes;

    fn rolled(
        totals: &Totals,
        users: UserCounts,
        yesterday: Option<&SystemAnalytics>,
        previous: Option<&SystemAnalytics>,
    ) -> SystemAnalytics {
        document(&Ingredients {
            day: Day::parse("2024-01-15").unwrap(),
            totals,
            engine: Engine::Scan,
            users,
            returning_users: 0,
            tool_names: &IdMap::default(),
            yesterday,
            previous,
            expired: &[],
            now: DateTime::now(),
        })
    }

    fn empty() -> Totals {
        Passes::default().totals()
    }

    #[test]
    fn an_empty_day_has_zeros_for_counts_and_nothing_for_ratios() {
        let day = rolled(&empty(), UserCounts::default(), None, None);
        assert_eq!(day.metrics.tools.total_usage, 0);
        assert_eq!(day.metrics.tools.average_session_duration, None);
        assert_eq!(day.metrics.performance.average_response_time, None);
        assert_eq!(day.metrics.performance.error_rate, None);
        assert_eq!(day.metrics.performance.uptime, None);
        assert_eq!(day.metrics.engagement.bounce_rate, None);
        assert_eq!(day.metrics.engagement.average_session_duration, None);
        assert_eq!(day.metrics.engagement.return_user_rate, None);
        assert_eq!(day.trends, Trends::default());
        let stored = bson::serialize_to_document(&day).unwrap();
        assert_eq!(stored.get_document("trends").unwrap().get("userGrowth"), Some(&bson::Bson::Null));
    }

    #[test]
    fn the_snapshot_of_the_first_roll_up_stays() {
        let first = rolled(&empty(), UserCounts { total: 10, new: 1, verified: 8, premium: 3 }, None, None);
        let again = rolled(&empty(), UserCounts { total: 11, new: 2, verified: 2, premium: 1 }, None, Some(&first));
        assert_eq!(again.metrics.users, Users { total: 11, active: Some(0), new: 2, verified: 8, premium: 3 });
        assert_eq!((again.id, again.created_at), (first.id, first.created_at));
        let mut provisional = first;
        provisional.rollup.as_mut().unwrap().provisional = true;
        let final_one =
            rolled(&empty(), UserCounts { total: 11, new: 2, verified: 2, premium: 1 }, None, Some(&provisional));
        assert_eq!((final_one.metrics.users.verified, final_one.metrics.users.premium), (2, 1));
    }

    #[test]
    fn trends_need_a_yesterday_of_more_than_nothing() {
        let totals = Totals { response_time: Some(90.0), tool_uses: 30, ..empty() };
        let mut yesterday = rolled(&totals, UserCounts { total: 8, ..UserCounts::default() }, None, None);
        yesterday.metrics.tools.total_usage = 0;
        yesterday.metrics.performance.average_response_time = Some(100.0);
        let today = rolled(&totals, UserCounts { total: 10, ..UserCounts::default() }, Some(&yesterday), None);
        assert_eq!(
            today.trends,
            Trends { user_growth: Some(0.25), usage_growth: None, performance_change: Some(-0.1) }
        );
        yesterday.metrics.performance.average_response_time = None;
        let today = rolled(&totals, UserCounts::default(), Some(&yesterday), None);
        assert_eq!(today.trends.performance_change, None);
    }
}
