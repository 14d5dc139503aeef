//! `/admin/users/{id}`: one user, and what an administrator changes about the account.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use bson::{DateTime, oid::ObjectId};
use common::audit::Action;
use common::day::Day;
use common::documents::User;
use common::documents::user::{Plan, Role, SubscriptionStatus};

use super::choice::{Choice, choices};
use super::frame::Frame;
use super::home::done;
use super::respond;
use super::times::{date, minute};
use super::usage::{SessionRow, Usage, session_row};
use crate::access::redirect;
use crate::accounts::{self, Change, no_user};
use crate::app::App;
use crate::failure::Failure;
use crate::form::Form;
use crate::names;
use crate::people::{Standing, standings};
use crate::person;
use crate::record::{around, on_user};
use crate::sessions::{self, Which};
use crate::suggestions;
use crate::viewer::Viewer;

const LONGEST_REASON: usize = 200;
const SUGGESTIONS: i64 = 10;

#[derive(Template)]
#[template(path = "user.html")]
struct Page<'a> {
    frame: Frame,
    csrf: &'a str,
    done: &'static str,
    user: &'a User,
    name: String,
    /// What the forms send back, so that nobody overwrites what they have not seen.
    seen: i64,
    is_own: bool,
    standings: Vec<Standing>,
    facts: Vec<(&'static str, String)>,
    plan_until: String,
    usage: Usage,
    sessions: Vec<SessionRow>,
    suggestions: Vec<suggestions::Line>,
    plans: Vec<Choice>,
    plan_states: Vec<Choice>,
    roles: Vec<Choice>,
}

/// What a form did, as the address after it says.
const DONE: [(&str, &str); 7] = [
    ("suspended", "The account is suspended, and signed out everywhere."),
    ("reinstated", "The account may be used again."),
    ("role", "The role is changed."),
    ("plan", "The plan is changed, with its features and limits."),
    ("unlocked", "The account is unlocked."),
    ("session", "The session has ended."),
    ("sessions", "All sessions of the user have ended."),
];

/// `GET /admin/users/{id}`.
///
/// # Errors
/// There is no such user, or MongoDB does not answer.
pub async fn page(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let (id, today) = (read_id(&id)?, Day::today());
    let look = async {
        let (person, sessions, suggestions) = tokio::try_join!(
            person::read(&app.database, id, today),
            sessions::list(&app, id),
            suggestions::of_user(&app.database, id, SUGGESTIONS),
        )?;
        Ok((person.ok_or_else(no_user)?, sessions, suggestions))
    };
    let act = on_user(&app, Action::UsersRead, id, "the user's page");
    let (person, sessions, suggestions) = around(&app, &viewer, act, look).await?;
    let user = &person.user;
    let name = names::full(&user.profile.first_name, &user.profile.last_name);
    let frame = Frame::of(&viewer, if name.is_empty() { user.email.clone() } else { name.clone() }, "/admin/users");
    let authentication = &user.authentication;
    let page = Page {
        csrf: &viewer.csrf,
        done: done(text.as_deref(), &DONE),
        seen: user.metadata.updated_at.timestamp_millis(),
        is_own: id == viewer.user,
        standings: standings(&user.status, authentication.is_verified, authentication.locked_until, DateTime::now()),
        facts: facts(user),
        plan_until: user.subscription.end_date.map(date).unwrap_or_default(),
        usage: Usage::of(&person, today, frame.language),
        sessions: sessions.iter().map(|session| session_row(session, viewer.session)).collect(),
        suggestions,
        plans: choices(Plan::ALL, Some(user.subscription.plan), Plan::as_str),
        plan_states: choices(SubscriptionStatus::ALL, Some(user.subscription.status), SubscriptionStatus::as_str),
        roles: choices(Role::ALL, Some(user.role), Role::as_str),
        name,
        user,
        frame,
    };
    respond::html(&page)
}

fn facts(user: &User) -> Vec<(&'static str, String)> {
    let (status, authentication, metadata) = (&user.status, &user.authentication, &user.metadata);
    let text = |time: Option<DateTime>| time.map(minute).unwrap_or_else(|| "never".to_owned());
    let mut facts = vec![
        ("Signed up", format!("{}, by {}", minute(metadata.created_at), metadata.source)),
        ("Last sign-in", text(status.last_login)),
        ("Last activity", text(status.last_activity)),
        ("Wrong passwords since the last sign-in", authentication.failed_login_attempts.to_string()),
        ("Password changed", text(authentication.last_password_change)),
        ("Time zone, language", format!("{}, {}", user.preferences.timezone, user.preferences.language)),
    ];
    facts.extend(user.profile.location.clone().map(|place| ("Place", place)));
    facts.extend(authentication.locked_until.map(|until| ("Locked until", minute(until))));
    facts.extend(status.suspension_reason.clone().map(|reason| ("Suspended for", reason)));
    facts
}

fn read_id(text: &str) -> Result<ObjectId, Failure> {
    ObjectId::parse_str(text).map_err(|_| no_user())
}

async fn change(
    app: &App,
    viewer: &Viewer,
    id: &str,
    form: &Form,
    change: Change,
    done: &str,
) -> Result<Response, Failure> {
    let id = read_id(id)?;
    accounts::change(app, viewer, id, form.millis("seen")?, change).await?;
    Ok(redirect(&format!("/admin/users/{id}?done={done}")))
}

/// `POST /admin/users/{id}/suspend`.
///
/// # Errors
/// There is no reason, the account is the administrator's own or changed meanwhile, or MongoDB does not answer.
pub async fn suspend(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    let reason = form.line("reason", LONGEST_REASON)?.to_owned();
    if reason.is_empty() {
        return Err(Failure::field("reason", "", "why the account is suspended, in a few words"));
    }
    change(&app, &viewer, &id, &form, Change::Suspend { reason }, "suspended").await
}

/// `POST /admin/users/{id}/reinstate`.
///
/// # Errors
/// The account changed meanwhile, or MongoDB does not answer.
pub async fn reinstate(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    change(&app, &viewer, &id, &form, Change::Reinstate, "reinstated").await
}

/// `POST /admin/users/{id}/role`.
///
/// # Errors
/// There is no such role, the account is the administrator's own or changed meanwhile, or MongoDB does not answer.
pub async fn role(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    let role = form.one_of("role", Role::ALL, Role::as_str)?;
    change(&app, &viewer, &id, &form, Change::Role(role), "role").await
}

/// `POST /admin/users/{id}/plan`.
///
/// # Errors
/// A field cannot be used, the account changed meanwhile, or MongoDB does not answer.
pub async fn plan(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    let until = match form.text("until") {
        "" => None,
        text => Some(Day::parse(text).map_err(|_| Failure::field("until", text, "a day YYYY-MM-DD, or nothing"))?),
    };
    let plan = Change::Plan {
        plan: form.one_of("plan", Plan::ALL, Plan::as_str)?,
        status: form.one_of("planStatus", SubscriptionStatus::ALL, SubscriptionStatus::as_str)?,
        until,
    };
    change(&app, &viewer, &id, &form, plan, "plan").await
}

/// `POST /admin/users/{id}/unlock`.
///
/// # Errors
/// The account changed meanwhile, or MongoDB does not answer.
pub async fn unlock(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    change(&app, &viewer, &id, &form, Change::Unlock, "unlocked").await
}

/// `POST /admin/users/{id}/sessions/end`: one session, or all.
///
/// # Errors
/// The user has no such session, or MongoDB does not answer.
pub async fn end_sessions(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    let id = read_id(&id)?;
    let (which, done) =
        if form.is_set("all") { (Which::All, "sessions") } else { (Which::One(form.id("session")?), "session") };
    accounts::end_sessions(&app, &viewer, id, which).await?;
    Ok(redirect(&format!("/admin/users/{id}?done={done}")))
}
