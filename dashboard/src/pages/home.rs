//! `/`: a user's own page, and the forms on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bson::{DateTime, doc, oid::ObjectId};
use common::day::Day;
use common::documents::Session;
use common::documents::activity_log::Action;
use common::documents::user::{self, ProfileVisibility, Theme, User};

use super::frame::Frame;
use super::mine;
use super::respond;
use super::tools::tool_path;
use crate::access::redirect;
use crate::app::App;
use crate::chart::{self, Svg};
use crate::failure::Failure;
use crate::form::Form;
use crate::person::{self, Happened, Person, What};
use crate::sessions::{self, Which};
use crate::viewer::Viewer;
use crate::words::Language;

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

#[derive(Template)]
#[template(path = "home.html")]
struct Page<'a> {
    frame: Frame,
    csrf: &'a str,
    done: &'static str,
    user: &'a User,
    plan_until: String,
    member_since: String,
    limits: Vec<Limit>,
    total: String,
    calendar: Svg,
    busy_days: usize,
    months: Vec<(String, String)>,
    recent: Vec<Recent>,
    favourites: Vec<Favourite>,
    sessions: Vec<SessionRow>,
    /// Why the account cannot be deleted here; empty where it can.
    no_deletion: &'static str,
    themes: &'static [Theme],
}

/// What a form did, as the address after it says.
const DONE: [(&str, &str); 4] = [
    ("profile", "Your profile is saved."),
    ("preferences", "Your preferences are saved."),
    ("session", "The session has ended."),
    ("sessions", "All your other sessions have ended."),
];

/// `GET /`.
///
/// # Errors
/// MongoDB does not answer.
pub async fn page(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let today = Day::today();
    let (person, sessions) =
        tokio::try_join!(person::read(&app.database, viewer.user, today), sessions::list(&app, viewer.user))?;
    let person = person.ok_or(Failure::SignIn)?;
    let frame = Frame::of(&viewer, "My usage", "/");
    let language = frame.language;
    let (done, rows) =
        (done(text.as_deref(), &DONE), sessions.iter().map(|session| session_row(session, Some(viewer.session))));
    let uses: BTreeMap<Day, i64> = person.days.iter().map(|day| (day.date, day.usage)).collect();
    let first = today.minus(364);
    let page = Page {
        csrf: &viewer.csrf,
        done,
        plan_until: person.user.subscription.end_date.map(date).unwrap_or_default(),
        member_since: date(person.user.metadata.created_at),
        limits: limits(&person.user, today, language),
        total: language.count(person.user.usage.total_count),
        calendar: chart::calendar("Tool uses of each day of the last year", first, today, language, |day| {
            uses.get(&day).copied().unwrap_or(0)
        }),
        busy_days: uses.values().filter(|uses| **uses > 0).count(),
        months: months(&uses, first, language),
        recent: person.recent.iter().map(|happened| recent(happened, &person)).collect(),
        favourites: favourites(&person, language),
        sessions: rows.collect(),
        no_deletion: mine::no_deletion(&app),
        themes: Theme::ALL,
        user: &person.user,
        frame,
    };
    respond::html(&page)
}

/// The sentence for `?done=word`; no text of the address is shown.
pub fn done(text: Option<&str>, known: &[(&str, &'static str)]) -> &'static str {
    let text = text.unwrap_or_default();
    let word = form_urlencoded::parse(text.as_bytes()).find(|(name, _)| name == "done");
    let sentence = word.and_then(|(_, word)| known.iter().find(|(known, _)| *known == word));
    sentence.map_or("", |(_, sentence)| sentence)
}

/// A UTC day.
pub fn date(time: DateTime) -> String {
    Day::of(time.to_chrono()).to_string()
}

/// A UTC time to the minute.
pub fn minute(time: DateTime) -> String {
    time.to_chrono().format("%Y-%m-%d %H:%M").to_string()
}

pub(super) fn limits(user: &User, today: Day, language: Language) -> Vec<Limit> {
    let (of_day, of_month) = person::used_of_limits(user, today);
    let limit = |name, used: i64, limit: i64| Limit {
        name,
        used,
        limit,
        left: format!("{} of {} left", language.count((limit - used).max(0)), language.count(limit)),
    };
    vec![limit("Today", of_day, user.usage.daily_limit), limit("This month", of_month, user.usage.monthly_limit)]
}

pub(super) fn months(uses: &BTreeMap<Day, i64>, first: Day, language: Language) -> Vec<(String, String)> {
    let mut months: BTreeMap<Day, i64> = BTreeMap::new();
    for (day, count) in uses.range(first..) {
        *months.entry(day.month_start()).or_default() += count;
    }
    months.into_iter().rev().map(|(month, count)| (month.to_string()[..7].to_owned(), language.count(count))).collect()
}

pub(super) fn recent(happened: &Happened, person: &Person) -> Recent {
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

pub(super) fn favourites(person: &Person, language: Language) -> Vec<Favourite> {
    let most = person.favourites.first().map_or(1, |(_, uses)| *uses).max(1) as f64;
    let favourite = |(tool, uses): &(ObjectId, i64)| {
        let (name, link) = named(person, *tool);
        Favourite { name, link, uses: language.count(*uses), bar: chart::bar(*uses as f64 / most) }
    };
    person.favourites.iter().map(favourite).collect()
}

pub(super) fn session_row(session: &Session, this: Option<ObjectId>) -> SessionRow {
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
        is_this: Some(session.id) == this,
    }
}

/// `POST /preferences`.
///
/// # Errors
/// A field cannot be used, or MongoDB does not answer.
pub async fn preferences(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    let theme = form.one_of("theme", Theme::ALL, Theme::as_str)?;
    let visibility = form.one_of("profileVisibility", ProfileVisibility::ALL, ProfileVisibility::as_str)?;
    let language = form.line("language", 35)?;
    let is_code = language.split('-').enumerate().all(|(place, part)| {
        let length = if place == 0 { 2..=3 } else { 2..=8 };
        length.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    if !is_code {
        return Err(Failure::field("language", language, "a language code such as en or pt-BR"));
    }
    let timezone = form.line("timezone", 64)?;
    let is_zone = timezone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte));
    if timezone.is_empty() || !is_zone {
        return Err(Failure::field("timezone", timezone, "a time zone such as Europe/Berlin"));
    }
    let set = doc! { "$set": {
        "preferences.theme": theme.as_str(),
        "preferences.language": language,
        "preferences.timezone": timezone,
        "preferences.notifications.email": form.is_set("email"),
        "preferences.notifications.push": form.is_set("push"),
        "preferences.notifications.marketing": form.is_set("marketing"),
        "preferences.privacy.profileVisibility": visibility.as_str(),
        "preferences.privacy.showActivity": form.is_set("showActivity"),
        "metadata.updatedAt": DateTime::now(),
    } };
    let users = app.database.collection::<bson::Document>(user::COLLECTION);
    users.update_one(doc! { "_id": viewer.user }, set).await?;
    Ok(redirect("/?done=preferences"))
}

/// `POST /sessions/end`: one session of the viewer, or all but this one.
///
/// # Errors
/// There is no such session, or MongoDB does not answer.
pub async fn end_session(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    if form.is_set("others") {
        sessions::end(&app, viewer.user, Which::AllBut(viewer.session)).await?;
        return Ok(redirect("/?done=sessions"));
    }
    let id = form.id("session")?;
    if sessions::end(&app, viewer.user, Which::One(id)).await? == 0 {
        return Err(Failure::NotFound("you have no such session; it may have ended already".to_owned()));
    }
    Ok(redirect(if id == viewer.session { "/login" } else { "/?done=session" }))
}
