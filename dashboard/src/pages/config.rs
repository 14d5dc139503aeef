//! `/admin/config`: the settings of the application; each has a page of its own, where it is changed.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bson::{Bson, Document, doc};
use common::configuration::{KNOWN, Known};
use common::documents::system_configuration::{COLLECTION, Category, SystemConfiguration};
use common::text::shortened;
use futures::TryStreamExt;

use super::frame::Frame;
use super::respond;
use super::times::minute;
use crate::app::App;
use crate::failure::Failure;
use crate::plain;
use crate::query::BadParameter;
use crate::viewer::Viewer;

const MOST_LISTED: i64 = 1_000;
/// Letters of a value that are shown.
const LONGEST_VALUE: usize = 200;

struct Row {
    key: String,
    link: String,
    value: String,
    is_secret: bool,
    is_active: bool,
    description: String,
    environment: String,
    allowed: String,
    version: i64,
    updated: String,
}

struct Section {
    category: Category,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "config.html")]
struct Page {
    frame: Frame,
    sections: Vec<Section>,
    /// Those that the programs look for, and that nobody has set.
    unset: Vec<Unset>,
}

struct Unset {
    key: &'static str,
    link: String,
    description: &'static str,
}

/// `GET /admin/config`.
///
/// # Errors
/// A parameter is not known, or MongoDB does not answer.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    if let Some((name, value)) = form_urlencoded::parse(text.unwrap_or_default().as_bytes()).next() {
        return Err(BadParameter::new(&name, &value, "no parameter").into());
    }
    let settings = app.database.collection::<SystemConfiguration>(COLLECTION);
    let all: Document = doc! { "key": { "$gte": "" } };
    let found = settings.find(all).sort(doc! { "key": 1 }).limit(MOST_LISTED).await?;
    let found: Vec<SystemConfiguration> = found.try_collect().await?;
    let section = |category: &Category| Section {
        category: *category,
        rows: found.iter().filter(|setting| setting.category == *category).map(row).collect(),
    };
    let sections = Category::ALL.iter().map(section).filter(|section| !section.rows.is_empty()).collect();
    let is_unset = |known: &&Known| !found.iter().any(|setting| setting.key == known.key);
    let unset = KNOWN.iter().filter(is_unset).map(|known| Unset {
        key: known.key,
        link: path(known.key),
        description: known.description,
    });
    respond::html(&Page {
        frame: Frame::of(&viewer, "Configuration", "/admin/config"),
        sections,
        unset: unset.collect(),
    })
}

/// The page of a setting.
pub fn path(key: &str) -> String {
    let encoded: String = form_urlencoded::byte_serialize(key.as_bytes()).collect();
    format!("/admin/config/{}", encoded.replace('+', "%20"))
}

/// A secret's value stays where it is.
fn row(setting: &SystemConfiguration) -> Row {
    Row {
        key: setting.key.clone(),
        link: path(&setting.key),
        value: if setting.is_secret { String::new() } else { shown(&setting.value) },
        is_secret: setting.is_secret,
        is_active: setting.is_active,
        description: setting.description.clone(),
        environment: setting.environment.to_string(),
        allowed: allowed(setting),
        version: setting.version,
        updated: minute(setting.updated_at),
    }
}

/// A value in a line.
pub fn shown(value: &Bson) -> String {
    shortened(&plain::json(value.clone()).to_string(), LONGEST_VALUE)
}

/// What a setting takes, in words.
pub fn allowed(setting: &SystemConfiguration) -> String {
    let mut rules = vec![setting.data_type.to_string()];
    if let Some(validation) = setting.shown_validation() {
        rules.extend(validation.min.map(|least| format!("at least {least}")));
        rules.extend(validation.max.map(|most| format!("at most {most}")));
        rules.extend(validation.pattern.as_ref().map(|pattern| format!("like {pattern}")));
        let names = |values: &Vec<Bson>| values.iter().map(shown).collect::<Vec<_>>().join(" or ");
        rules.extend(validation.r#enum.as_ref().map(names));
    }
    rules.join(", ")
}
