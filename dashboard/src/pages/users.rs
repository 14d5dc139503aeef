//! `/admin/users`: users, as an administrator looks for them.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use common::audit::{Act, Action, TargetKind};
use common::documents::user::{self, Plan, Role};

use super::choice::{Choice, choices};
use super::frame::Frame;
use super::respond;
use super::times::{date, minute};
use crate::app::App;
use crate::csv;
use crate::failure::Failure;
use crate::names;
use crate::people::{self, Account, Listed, Search, Standing};
use crate::plain::rfc3339;
use crate::record::around;
use crate::viewer::Viewer;
use crate::words::Language;

struct Row {
    id: String,
    name: String,
    email: String,
    role: Role,
    plan: Plan,
    standings: Vec<Standing>,
    total_usage: String,
    last_activity: String,
    since: String,
}

#[derive(Template)]
#[template(path = "users.html")]
struct Page {
    frame: Frame,
    search: Search,
    plans: Vec<Choice>,
    roles: Vec<Choice>,
    standings: Vec<Choice>,
    rows: Vec<Row>,
    unreadable: usize,
    /// Empty where there are no more.
    next: String,
    first: String,
    csv: String,
    json: String,
}

/// `GET /admin/users`.
///
/// # Errors
/// A parameter cannot be used, or MongoDB does not answer.
pub async fn page(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let (search, Listed { users, unreadable, next }) = listed(&app, &viewer, text.as_deref()).await?;
    let frame = Frame::of(&viewer, "Users", "/admin/users");
    let page = Page {
        rows: users.into_iter().map(|account| row(account, frame.language)).collect(),
        next: next.map(|email| search.after(&email).address("/admin/users")).unwrap_or_default(),
        first: if search.is_first() { String::new() } else { search.first().address("/admin/users") },
        csv: search.address("/admin/users.csv"),
        json: search.address("/api/v1/users"),
        plans: choices(Plan::ALL, search.plan, Plan::as_str),
        roles: choices(Role::ALL, search.role, Role::as_str),
        standings: choices(Standing::ALL, search.status, Standing::as_str),
        unreadable,
        frame,
        search,
    };
    respond::html(&page)
}

fn row(account: Account, language: Language) -> Row {
    let name = names::full(&account.first_name, &account.last_name);
    Row {
        id: account.id,
        // The link to the account's page needs a text.
        name: if name.is_empty() { account.email.clone() } else { name },
        email: account.email,
        role: account.role,
        plan: account.plan,
        standings: account.standings,
        total_usage: language.count(account.total_usage),
        last_activity: account.last_activity.map(minute).unwrap_or_default(),
        since: date(account.created_at),
    }
}

const COLUMNS: [&str; 12] = [
    "id",
    "email",
    "firstName",
    "lastName",
    "role",
    "plan",
    "planStatus",
    "standings",
    "totalUsage",
    "lastActivity",
    "lastLogin",
    "createdAt",
];

/// `GET /admin/users.csv`: the same accounts.
///
/// # Errors
/// As [`page`].
pub async fn csv(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let (_, listed) = listed(&app, &viewer, text.as_deref()).await?;
    let line = |account: Account| {
        let standings: Vec<_> = account.standings.iter().map(|standing| standing.as_str()).collect();
        vec![
            account.id,
            csv::words(&account.email),
            csv::words(&account.first_name),
            csv::words(&account.last_name),
            account.role.to_string(),
            account.plan.to_string(),
            account.plan_status.to_string(),
            standings.join(" "),
            account.total_usage.to_string(),
            account.last_activity.map(rfc3339).unwrap_or_default(),
            account.last_login.map(rfc3339).unwrap_or_default(),
            rfc3339(account.created_at),
        ]
    };
    Ok(respond::csv("users", csv::text(&COLUMNS, listed.users.into_iter().map(line))))
}

/// `GET /api/v1/users`.
///
/// # Errors
/// As [`page`].
pub async fn json(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let (_, listed) = listed(&app, &viewer, text.as_deref()).await?;
    respond::json(&listed)
}

/// The accounts that an address asks for. Each look at a list of people is written down.
async fn listed(app: &App, viewer: &Viewer, text: Option<&str>) -> Result<(Search, Listed), Failure> {
    let search = Search::parse(text.unwrap_or_default())?;
    let act = Act::on(Action::UsersRead, TargetKind::Database, user::COLLECTION).with_detail("a list of users");
    let listed = around(app, viewer, act, people::find(&app.database, &search)).await?;
    Ok((search, listed))
}
