//! `/`: a user's own page, and the forms on it.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bson::{DateTime, doc};
use common::day::Day;
use common::documents::user::{self, ProfileVisibility, Theme, User};

use super::frame::Frame;
use super::mine;
use super::respond;
use super::times::date;
use super::usage::{SessionRow, Usage, session_row};
use crate::access::redirect;
use crate::app::App;
use crate::failure::Failure;
use crate::form::Form;
use crate::person;
use crate::sessions::{self, Which};
use crate::viewer::Viewer;

#[derive(Template)]
#[template(path = "home.html")]
struct Page<'a> {
    frame: Frame,
    csrf: &'a str,
    done: &'static str,
    user: &'a User,
    plan_until: String,
    member_since: String,
    usage: Usage,
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
    let page = Page {
        csrf: &viewer.csrf,
        done: done(text.as_deref(), &DONE),
        plan_until: person.user.subscription.end_date.map(date).unwrap_or_default(),
        member_since: date(person.user.metadata.created_at),
        usage: Usage::of(&person, today, frame.language),
        sessions: sessions.iter().map(|session| session_row(session, viewer.session)).collect(),
        no_deletion: mine::no_deletion(&app, &viewer),
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
