//! `/admin/suggestions`: the queue of suggestions, and `/admin/suggestions/{id}`, where one is reviewed.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use bson::oid::ObjectId;
use common::documents::Suggestion;
use common::documents::suggestion::{Category, Effort, Implementation, Priority, Status, Type};

use super::choice::{Choice, choices};
use super::frame::Frame;
use super::home::done;
use super::respond;
use super::times::{date, minute};
use crate::access::redirect;
use crate::app::App;
use crate::csv;
use crate::failure::Failure;
use crate::form::Form;
use crate::plain::rfc3339;
use crate::suggestions::{self, Change, Line, Listed, Order, Queue, Which, next_states};
use crate::texts::is_web_address;
use crate::viewer::{Viewer, Who};
use crate::words::Language;

const LONGEST_RESPONSE: usize = 2_000;
const LONGEST_NOTES: usize = 2_000;
const LONGEST_VERSION: usize = 40;

struct Tab {
    name: &'static str,
    address: String,
    count: String,
    is_chosen: bool,
}

struct Row {
    line: Line,
    upvotes: String,
    downvotes: String,
    created: String,
}

#[derive(Template)]
#[template(path = "suggestions.html")]
struct List {
    frame: Frame,
    queue: Queue,
    tabs: Vec<Tab>,
    kinds: Vec<Choice>,
    categories: Vec<Choice>,
    priorities: Vec<Choice>,
    orders: Vec<Choice>,
    rows: Vec<Row>,
    unreadable: usize,
    /// Empty where there are no more.
    next: String,
    first: String,
    csv: String,
    json: String,
}

/// `GET /admin/suggestions`.
///
/// # Errors
/// A parameter cannot be used, or MongoDB does not answer.
pub async fn page(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    const PATH: &str = "/admin/suggestions";
    let queue = Queue::parse(text.as_deref().unwrap_or_default())?;
    let (listed, counts) =
        tokio::try_join!(suggestions::list(&app.database, viewer.user, &queue), suggestions::counts(&app.database))?;
    let frame = Frame::of(&viewer, "Suggestions", PATH);
    let language = frame.language;
    let next = listed.next.map(|place| queue.after(&place)).transpose()?;
    let page = List {
        tabs: tabs(&queue, &counts, language, PATH),
        rows: listed.suggestions.into_iter().map(|line| row(line, language)).collect(),
        next: next.map(|next| next.address(PATH)).unwrap_or_default(),
        first: if queue.is_first() { String::new() } else { queue.with_status(queue.status).address(PATH) },
        csv: queue.address("/admin/suggestions.csv"),
        json: queue.address("/api/v1/suggestions"),
        unreadable: listed.unreadable,
        kinds: choices(Type::ALL, queue.kind, Type::as_str),
        categories: choices(Category::ALL, queue.category, Category::as_str),
        priorities: choices(Priority::ALL, queue.priority, Priority::as_str),
        orders: choices(Order::ALL, Some(queue.order), Order::as_str),
        queue,
        frame,
    };
    respond::html(&page)
}

fn tabs(queue: &Queue, counts: &[(Status, u64)], language: Language, path: &str) -> Vec<Tab> {
    let tab = |which: &Which| {
        let states = which.states();
        let count: u64 = counts.iter().filter(|(status, _)| states.contains(status)).map(|(_, count)| count).sum();
        Tab {
            name: which.as_str(),
            address: queue.with_status(*which).address(path),
            count: language.count(i64::try_from(count).unwrap_or(i64::MAX)),
            is_chosen: queue.status == *which,
        }
    };
    Which::ALL.iter().map(tab).collect()
}

fn row(line: Line, language: Language) -> Row {
    Row {
        upvotes: language.count(line.upvotes),
        downvotes: language.count(line.downvotes),
        created: date(line.created_at),
        line,
    }
}

const COLUMNS: [&str; 12] = [
    "id",
    "title",
    "type",
    "category",
    "priority",
    "status",
    "upvotes",
    "downvotes",
    "estimatedEffort",
    "targetVersion",
    "isAnswered",
    "createdAt",
];

/// `GET /admin/suggestions.csv`: the same suggestions.
///
/// # Errors
/// As [`page`].
pub async fn csv(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let listed = of_address(&app, &viewer, text.as_deref()).await?;
    let line = |line: Line| {
        vec![
            line.id,
            csv::words(&line.title),
            line.r#type.to_string(),
            line.category.to_string(),
            line.priority.to_string(),
            line.status.to_string(),
            line.upvotes.to_string(),
            line.downvotes.to_string(),
            line.estimated_effort.map(|effort| effort.to_string()).unwrap_or_default(),
            csv::words(&line.target_version.unwrap_or_default()),
            line.is_answered.to_string(),
            rfc3339(line.created_at),
        ]
    };
    Ok(respond::csv("suggestions", csv::text(&COLUMNS, listed.suggestions.into_iter().map(line))))
}

/// `GET /api/v1/suggestions`.
///
/// # Errors
/// As [`page`].
pub async fn json(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    respond::json(&of_address(&app, &viewer, text.as_deref()).await?)
}

async fn of_address(app: &App, viewer: &Viewer, text: Option<&str>) -> Result<Listed, Failure> {
    let queue = Queue::parse(text.unwrap_or_default())?;
    suggestions::list(&app.database, viewer.user, &queue).await
}

struct Person {
    name: String,
    /// Empty where the viewer may not open the account.
    link: String,
}

struct Attached {
    name: String,
    /// Empty where the address is none that a browser should follow.
    link: String,
    kind: String,
}

struct Colleague {
    id: String,
    name: String,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "suggestion.html")]
struct Review<'a> {
    frame: Frame,
    csrf: &'a str,
    done: &'static str,
    suggestion: &'a Suggestion,
    seen: i64,
    author: Person,
    created: String,
    implemented: String,
    attachments: Vec<Attached>,
    next: &'static [Status],
    version: String,
    notes: String,
    efforts: Vec<Choice>,
    priorities: Vec<Choice>,
    staff: Vec<Colleague>,
    response: String,
    responded: String,
}

/// What a form did, as the address after it says.
const DONE: [(&str, &str); 3] = [
    ("status", "The status is changed."),
    ("response", "The answer is stored; its author sees it."),
    ("work", "The plan is stored."),
];

/// `GET /admin/suggestions/{id}`.
///
/// # Errors
/// There is no such suggestion, or MongoDB does not answer.
pub async fn review(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let id = read_id(&id)?;
    let (suggestion, staff) =
        tokio::try_join!(suggestions::read(&app.database, id), suggestions::staff(&app.database))?;
    let responder = suggestion.admin_response.as_ref().map(|response| response.responded_by);
    let ids = [Some(suggestion.user_id), responder].into_iter().flatten().collect();
    let named = suggestions::named(&app.database, ids).await?;
    let person = |id: ObjectId| {
        let found = named.iter().find(|person| person.id == id);
        let is_open = found.is_some() && Who::Admin.allows(Some(&viewer));
        Person {
            name: found.map_or_else(|| "a user who is gone".to_owned(), suggestions::Named::name),
            link: if is_open { format!("/admin/users/{id}") } else { String::new() },
        }
    };
    let work = suggestion.implementation.clone().unwrap_or_default();
    let staff = staff.iter().map(|person| Colleague {
        id: person.id.to_hex(),
        name: person.name(),
        is_chosen: work.assigned_to == Some(person.id),
    });
    let page = Review {
        csrf: &viewer.csrf,
        done: done(text.as_deref(), &DONE),
        seen: suggestion.metadata.updated_at.timestamp_millis(),
        author: person(suggestion.user_id),
        created: minute(suggestion.metadata.created_at),
        implemented: suggestion.metadata.implemented_at.map(minute).unwrap_or_default(),
        attachments: attachments(&suggestion),
        next: next_states(suggestion.status),
        version: work.target_version.clone().unwrap_or_default(),
        notes: work.implementation_notes.clone().unwrap_or_default(),
        efforts: choices(Effort::ALL, work.estimated_effort, Effort::as_str),
        priorities: choices(Priority::ALL, Some(suggestion.priority), Priority::as_str),
        staff: staff.collect(),
        response: suggestion.admin_response.as_ref().map(|response| response.message.clone()).unwrap_or_default(),
        responded: suggestion
            .admin_response
            .as_ref()
            .map(|response| format!("{}, {}", person(response.responded_by).name, minute(response.responded_at)))
            .unwrap_or_default(),
        frame: Frame::of(&viewer, suggestion.title.clone(), "/admin/suggestions"),
        suggestion: &suggestion,
    };
    respond::html(&page)
}

fn attachments(suggestion: &Suggestion) -> Vec<Attached> {
    let attached = |attachment: &common::documents::suggestion::Attachment| {
        // Whoever made the suggestion chose the address.
        let is_web = is_web_address(&attachment.url);
        Attached {
            name: attachment.name.clone().unwrap_or_else(|| attachment.url.clone()),
            link: if is_web { attachment.url.clone() } else { String::new() },
            kind: attachment.r#type.to_string(),
        }
    };
    suggestion.attachments.iter().map(attached).collect()
}

fn read_id(text: &str) -> Result<ObjectId, Failure> {
    let none = || Failure::NotFound("there is no suggestion with this id; /admin/suggestions lists them".to_owned());
    ObjectId::parse_str(text).map_err(|_| none())
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
    suggestions::change(app, viewer, id, form.millis("seen")?, change).await?;
    Ok(redirect(&format!("/admin/suggestions/{id}?done={done}")))
}

/// `POST /admin/suggestions/{id}/status`.
///
/// # Errors
/// The suggestion cannot get this status, somebody changed it meanwhile, or MongoDB does not answer.
pub async fn status(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    let status = form.one_of("status", Status::ALL, Status::as_str)?;
    change(&app, &viewer, &id, &form, Change::Status(status), "status").await
}

/// `POST /admin/suggestions/{id}/response`.
///
/// # Errors
/// There is no answer, somebody changed the suggestion meanwhile, or MongoDB does not answer.
pub async fn response(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    let message = form.lines("message", LONGEST_RESPONSE)?;
    if message.is_empty() {
        return Err(Failure::field("message", "", "the answer that the author will read"));
    }
    change(&app, &viewer, &id, &form, Change::Response(message), "response").await
}

/// `POST /admin/suggestions/{id}/work`.
///
/// # Errors
/// A field cannot be used, somebody changed the suggestion meanwhile, or MongoDB does not answer.
pub async fn work(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let is_set = |field: &str| !form.text(field).is_empty();
    let work = Implementation {
        estimated_effort: is_set("effort").then(|| form.one_of("effort", Effort::ALL, Effort::as_str)).transpose()?,
        assigned_to: is_set("assignedTo").then(|| form.id("assignedTo")).transpose()?,
        target_version: filled(form.line("targetVersion", LONGEST_VERSION)?),
        implementation_notes: filled(&form.lines("notes", LONGEST_NOTES)?),
    };
    let priority = form.one_of("priority", Priority::ALL, Priority::as_str)?;
    change(&app, &viewer, &id, &form, Change::Work { priority, work }, "work").await
}
