//! What a user did, and where the user is signed in: on the own page, and on the administrator's page of the user.

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use common::day::Day;
use common::documents::Session;
use common::documents::activity_log::Action;
use common::documents::user::User;

use super::times::minute;
use super::tools::tool_path;
use crate::chart::{self, Svg};
use crate::person::{self, Happened, Person, What};
use crate::words::Language;

/// A user's usage, as the own page and the administrator's show it.
pub(super) struct Usage {
    pub(super) limits: Vec<Limit>,
    pub(super) total: String,
    pub(super) calendar: Svg,
    pub(super) busy_days: usize,
    pub(super) months: Vec<(String, String)>,
    pub(super) recent: Vec<Recent>,
    pub(super) favourites: Vec<Favourite>,
}

impl Usage {
    pub(super) fn of(person: &Person, today: Day, language: Language) -> Self {
        let uses: BTreeMap<Day, i64> = person.days.iter().map(|day| (day.date, day.usage)).collect();
        let first = today.minus(364);
        let of_day = |day: Day| uses.get(&day).copied().unwrap_or(0);
        Self {
            limits: limits(&person.user, today, language),
            total: language.count(person.user.usage.total_count),
            calendar: chart::calendar("Tool uses of each day of the last year", first, today, language, of_day),
            busy_days: uses.values().filter(|uses| **uses > 0).count(),
            months: months(&uses, first, language),
            recent: person.recent.iter().map(|happened| recent(happened, person)).collect(),
            favourites: favourites(person, language),
        }
    }
}

pub(super) struct Limit {
    pub(super) name: &'static str,
    pub(super) used: i64,
    pub(super) limit: i64,
    pub(super) left: String,
}

pub(super) struct Recent {
    pub(super) at: String,
    pub(super) what: String,
    pub(super) link: String,
    pub(super) failed: bool,
}

pub(super) struct Favourite {
    pub(super) name: String,
    pub(super) link: String,
    pub(super) uses: String,
    pub(super) bar: Svg,
}

pub(super) struct SessionRow {
    pub(super) id: String,
    pub(super) device: String,
    pub(super) address: String,
    pub(super) began: String,
    pub(super) used: String,
    pub(super) is_this: bool,
}

fn limits(user: &User, today: Day, language: Language) -> Vec<Limit> {
    let (of_day, of_month) = person::used_of_limits(user, today);
    let limit = |name, used: i64, limit: i64| Limit {
        name,
        used,
        limit,
        left: format!("{} of {} left", language.count((limit - used).max(0)), language.count(limit)),
    };
    vec![limit("Today", of_day, user.usage.daily_limit), limit("This month", of_month, user.usage.monthly_limit)]
}

fn months(uses: &BTreeMap<Day, i64>, first: Day, language: Language) -> Vec<(String, String)> {
    let mut months: BTreeMap<Day, i64> = BTreeMap::new();
    for (day, count) in uses.range(first..) {
        *months.entry(day.month_start()).or_default() += count;
    }
    months.into_iter().rev().map(|(month, count)| (month.to_string()[..7].to_owned(), language.count(count))).collect()
}

fn recent(happened: &Happened, person: &Person) -> Recent {
    let (what, link, failed) = match &happened.what {
        What::Used { tool, success } => {
            let (name, link) = named(person, *tool);
            (format!("Used {name}"), link, !success)
        }
        What::Did { action, path } => {
            let what = match action {
                Action::PageView => format!("Viewed {}", path.as_deref().unwrap_or("a page")),
                Action::Signup => "Signed up".to_owned(),
                Action::Login => "Signed in".to_owned(),
                Action::LoginFailed => "Failed to sign in".to_owned(),
                Action::Logout => "Signed out".to_owned(),
            };
            (what, String::new(), *action == Action::LoginFailed)
        }
    };
    Recent { at: minute(happened.at), what, link, failed }
}

fn named(person: &Person, tool: ObjectId) -> (String, String) {
    match person.tools.get(&tool) {
        Some((name, slug)) => (name.clone(), tool_path(slug)),
        None => ("an unknown tool".to_owned(), String::new()),
    }
}

fn favourites(person: &Person, language: Language) -> Vec<Favourite> {
    let most = person.favourites.first().map_or(1, |(_, uses)| *uses).max(1) as f64;
    let favourite = |(tool, uses): &(ObjectId, i64)| {
        let (name, link) = named(person, *tool);
        Favourite { name, link, uses: language.count(*uses), bar: chart::bar(*uses as f64 / most) }
    };
    person.favourites.iter().map(favourite).collect()
}

pub(super) fn session_row(session: &Session, this: ObjectId) -> SessionRow {
    let info = &session.device_info;
    let named = [info.browser.as_deref(), info.os.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" on ");
    let shortened: String = info.user_agent.chars().take(60).collect();
    SessionRow {
        id: session.id.to_hex(),
        device: match (named.is_empty(), shortened.is_empty()) {
            (false, _) => format!("{named} ({})", info.device_type),
            (true, false) => shortened,
            (true, true) => "unknown".to_owned(),
        },
        address: info.ip_address.clone(),
        began: minute(session.created_at),
        used: minute(session.last_accessed_at),
        is_this: session.id == this,
    }
}
