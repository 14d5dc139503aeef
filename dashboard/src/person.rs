//! What a user's own page is made of: the profile, the user's days, the latest uses and activities, by indexes that begin with the user.

use std::collections::BTreeMap;

use bson::{DateTime, doc, oid::ObjectId};
use common::day::Day;
use common::documents::activity_log::{self, Action};
use common::documents::{User, UserDay, tool, usage_analytics, user, user_day};
use futures::TryStreamExt;
use mongodb::Database;
use serde::Deserialize;

use crate::failure::Failure;

/// Uses of which the favourites are counted.
const LATEST: i64 = 500;
/// Lines of the recent activity.
const RECENT: usize = 15;
/// Favourite tools that are named.
const FAVOURITES: usize = 8;

/// What happened at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: DateTime,
    /// What.
    pub what: What,
}

/// A tool use or an activity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A tool was used.
    Used {
        /// Which.
        tool: ObjectId,
        /// Whether it went well.
        success: bool,
    },
    /// Something else.
    Did {
        /// What.
        action: Action,
        /// The page that was viewed.
        path: Option<String>,
    },
}

/// Everything about a user.
#[derive(Debug)]
pub struct Person {
    /// The document.
    pub user: User,
    /// Rows of the last year, the earliest first.
    pub days: Vec<UserDay>,
    /// The latest first.
    pub recent: Vec<Happened>,
    /// Tools of the latest uses, with how many of them, the most used first.
    pub favourites: Vec<(ObjectId, i64)>,
    /// Names and slugs of the tools above.
    pub tools: BTreeMap<ObjectId, (String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Use {
    tool_id: ObjectId,
    timestamp: DateTime,
    usage: Success,
}

#[derive(Deserialize)]
struct Success {
    success: bool,
}

#[derive(Deserialize)]
struct Activity {
    action: Action,
    #[serde(default)]
    path: Option<String>,
    timestamp: DateTime,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(rename = "_id")]
    id: ObjectId,
    name: String,
    slug: String,
}

/// Reads it; none if there is no such user.
///
/// # Errors
/// MongoDB does not answer, or a document is not as it should be.
pub async fn read(database: &Database, id: ObjectId, today: Day) -> Result<Option<Person>, Failure> {
    let users = database.collection::<User>(user::COLLECTION);
    let (user, days, uses, activities) = tokio::try_join!(
        async { Ok::<_, Failure>(users.find_one(doc! { "_id": id }).await?) },
        days(database, id, today),
        uses(database, id),
        activities(database, id),
    )?;
    let Some(user) = user else { return Ok(None) };
    let favourites = favourites(&uses);
    let used = uses.into_iter().map(|used| Happened {
        at: used.timestamp,
        what: What::Used { tool: used.tool_id, success: used.usage.success },
    });
    let did = activities.into_iter().map(|activity| Happened {
        at: activity.timestamp,
        what: What::Did { action: activity.action, path: activity.path },
    });
    let mut recent: Vec<Happened> = used.chain(did).collect();
    recent.sort_by_key(|happened| std::cmp::Reverse(happened.at));
    recent.truncate(RECENT);
    let mut named: Vec<ObjectId> = favourites.iter().map(|(tool, _)| *tool).collect();
    named.extend(recent.iter().filter_map(|happened| match happened.what {
        What::Used { tool, .. } => Some(tool),
        What::Did { .. } => None,
    }));
    let tools = tools(database, named).await?;
    Ok(Some(Person { user, days, recent, favourites, tools }))
}

async fn days(database: &Database, id: ObjectId, today: Day) -> Result<Vec<UserDay>, Failure> {
    let rows = database.collection::<UserDay>(user_day::COLLECTION);
    let filter = doc! { "userId": id, "date": { "$gt": today.minus(366).to_string() } };
    Ok(rows.find(filter).sort(doc! { "userId": 1, "date": 1 }).await?.try_collect().await?)
}

async fn uses(database: &Database, id: ObjectId) -> Result<Vec<Use>, Failure> {
    let uses = database.collection::<Use>(usage_analytics::COLLECTION);
    let fields = doc! { "toolId": 1, "timestamp": 1, "usage.success": 1 };
    let find = uses.find(doc! { "userId": id }).projection(fields).sort(doc! { "userId": -1, "timestamp": -1 });
    Ok(find.limit(LATEST).await?.try_collect().await?)
}

async fn activities(database: &Database, id: ObjectId) -> Result<Vec<Activity>, Failure> {
    let activities = database.collection::<Activity>(activity_log::COLLECTION);
    let fields = doc! { "action": 1, "path": 1, "timestamp": 1 };
    let find = activities.find(doc! { "userId": id }).projection(fields).sort(doc! { "userId": -1, "timestamp": -1 });
    Ok(find.limit(RECENT as i64).await?.try_collect().await?)
}

fn favourites(uses: &[Use]) -> Vec<(ObjectId, i64)> {
    let mut counts = BTreeMap::new();
    for used in uses {
        *counts.entry(used.tool_id).or_default() += 1;
    }
    let mut counts: Vec<(ObjectId, i64)> = counts.into_iter().collect();
    counts.sort_by_key(|(tool, count)| (std::cmp::Reverse(*count), *tool));
    counts.truncate(FAVOURITES);
    counts
}

async fn tools(database: &Database, ids: Vec<ObjectId>) -> Result<BTreeMap<ObjectId, (String, String)>, Failure> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let tools = database.collection::<Tool>(tool::COLLECTION);
    let found = tools.find(doc! { "_id": { "$in": ids } }).projection(doc! { "name": 1, "slug": 1 }).await?;
    let named: Vec<Tool> = found.try_collect().await?;
    Ok(named.into_iter().map(|tool| (tool.id, (tool.name, tool.slug))).collect())
}

/// How much of a limit is used: the counts name the day that they belong to.
pub fn used_of_limits(user: &User, today: Day) -> (i64, i64) {
    let counted = user.usage.last_reset_date.map(|at| Day::of(at.to_chrono()));
    let of_today = counted == Some(today);
    let of_month = counted.is_some_and(|day| day.month_start() == today.month_start());
    (if of_today { user.usage.daily_count } else { 0 }, if of_month { user.usage.monthly_count } else { 0 })
}
