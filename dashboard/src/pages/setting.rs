//! `/admin/config/{key}`: one setting of the application, what it was before, and the form that changes it.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use common::audit::{Act, Action, TargetKind};
use common::configuration::store::{
    self, Changed, ConfigurationError, Difference, Edit, Editor, as_former, difference,
};
use common::configuration::{self, Known};
use common::documents::configuration_history::FormerConfiguration;
use common::documents::system_configuration::{DataType, SystemConfiguration};
use tokio::runtime::Handle;

use super::config::{allowed, path, shown};
use super::frame::Frame;
use super::home::done;
use super::respond;
use super::times::minute;
use crate::access::redirect;
use crate::app::App;
use crate::failure::Failure;
use crate::form::Form;
use crate::record::around;
use crate::suggestions;
use crate::viewer::Viewer;

/// Letters of a value.
const LONGEST: usize = 10_000;
/// Versions that are listed.
const LISTED: usize = 20;

struct Past {
    version: i64,
    at: String,
    changes: Vec<String>,
}

#[derive(Template)]
#[template(path = "setting.html")]
struct Page<'a> {
    frame: Frame,
    csrf: &'a str,
    done: &'static str,
    key: &'a str,
    path: String,
    description: String,
    allowed: String,
    data_type: DataType,
    /// As the form has it; empty for a secret.
    value: String,
    is_secret: bool,
    is_active: bool,
    /// 0 for a setting that is not there yet.
    version: i64,
    changed: String,
    by: String,
    past: Vec<Past>,
}

/// What the form did, as the address after it says.
const DONE: [(&str, &str); 2] = [
    ("changed", "The setting is changed. The programs read it within half a minute."),
    ("same", "Nothing differs: the setting stays as it is."),
];

/// `GET /admin/config/{key}`.
///
/// # Errors
/// There is no such setting, or MongoDB does not answer.
pub async fn page(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(key): Path<String>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let setting = store::get(&app.database, &key).await?;
    let frame = Frame::of(&viewer, key.clone(), "/admin/config");
    let done = done(text.as_deref(), &DONE);
    let Some(setting) = setting else {
        let known = Known::of(&key).ok_or_else(|| absent(&key))?;
        return respond::html(&new(frame, &viewer.csrf, done, known));
    };
    let history = store::history(&app.database, &key).await?;
    let by = match setting.last_modified_by {
        None => String::new(),
        Some(user) => {
            let named = suggestions::named(&app.database, vec![user]).await?;
            named.first().map_or_else(|| "a user who is gone".to_owned(), suggestions::Named::name)
        }
    };
    let page = Page {
        csrf: &viewer.csrf,
        done,
        key: &key,
        path: path(&key),
        description: setting.description.clone(),
        allowed: allowed(&setting),
        data_type: setting.data_type,
        value: editable(&setting),
        is_secret: setting.is_secret,
        is_active: setting.is_active,
        version: setting.version,
        changed: minute(setting.updated_at),
        by,
        past: past(&setting, &history)?,
        frame,
    };
    respond::html(&page)
}

/// Of a setting that the programs look for, and that is not there.
fn new<'a>(frame: Frame, csrf: &'a str, done: &'static str, known: &'static Known) -> Page<'a> {
    let [least, most] = known.range;
    Page {
        frame,
        csrf,
        done,
        key: known.key,
        path: path(known.key),
        description: known.description.to_owned(),
        allowed: format!("number, at least {least}, at most {most}"),
        data_type: DataType::Number,
        value: String::new(),
        is_secret: false,
        is_active: true,
        version: 0,
        changed: String::new(),
        by: String::new(),
        past: Vec::new(),
    }
}

/// A text as it is, everything else as JSON.
fn editable(setting: &SystemConfiguration) -> String {
    match &setting.value {
        _ if setting.is_secret => String::new(),
        bson::Bson::String(text) => text.clone(),
        other => configuration::json(other),
    }
}

/// What each change did, the latest first.
fn past(setting: &SystemConfiguration, history: &[FormerConfiguration]) -> Result<Vec<Past>, Failure> {
    let now = as_former(setting, setting.updated_at);
    let newer = std::iter::once(&now).chain(history);
    let change = |(after, before): (&FormerConfiguration, &FormerConfiguration)| {
        let changes = difference(before, after)?.iter().map(change).collect();
        Ok(Past { version: after.version, at: minute(after.updated_at), changes })
    };
    newer.zip(history).take(LISTED).map(change).collect()
}

fn change(Difference { field, before, after }: &Difference) -> String {
    let text = |value: &Option<bson::Bson>| value.as_ref().map_or_else(|| "nothing".to_owned(), shown);
    format!("{field}: {} became {}", text(before), text(after))
}

/// `POST /admin/config/{key}`.
///
/// # Errors
/// The value does not pass the setting's rules, somebody changed the setting meanwhile, or MongoDB does not answer.
pub async fn change_setting(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(key): Path<String>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    let before = store::get(&app.database, &key).await?;
    if before.is_none() && Known::of(&key).is_none() {
        return Err(absent(&key));
    }
    let version = form.text("version");
    let version =
        version.parse().map_err(|_| Failure::field("version", version, "what the page has: load it again"))?;
    let data_type = before.as_ref().map_or(DataType::Number, |setting| setting.data_type);
    let is_secret = before.as_ref().is_some_and(|setting| setting.is_secret);
    let text = form.exact("value").replace("\r\n", "\n");
    if text.chars().count() > LONGEST {
        return Err(Failure::field("value", "", format!("at most {LONGEST} letters")));
    }
    // The value of a secret that stays is not in the page.
    let stays = is_secret && text.is_empty();
    let read = || configuration::parse(data_type, &text).map_err(|why| unusable(&why.to_string()));
    let value = if stays { None } else { Some(read()?) };
    let edit = Edit { value, is_active: Some(form.is_set("active")), ..Edit::default() };
    let editor = Editor { user: Some(viewer.user), expected_version: Some(version) };
    let act = Act::on(Action::ConfigSet, TargetKind::Setting, key.as_str());
    let changed = around(&app, &viewer, act, set(Arc::clone(&app), key.clone(), edit, editor)).await?;
    let done = if changed.is_change() { "changed" } else { "same" };
    Ok(redirect(&format!("{}?done={done}", path(&key))))
}

/// On a thread of its own: the compiler does not see that a transaction may move between threads.
async fn set(app: Arc<App>, key: String, edit: Edit, editor: Editor) -> Result<Changed, Failure> {
    let runtime = Handle::current();
    let set = move || {
        let keyring = app.is_keyring_shared.then_some(&app.keyring);
        runtime.block_on(store::set(&app.database, keyring, &key, &edit, editor))
    };
    Ok(tokio::task::spawn_blocking(set).await.map_err(anyhow::Error::from)??)
}

fn absent(key: &str) -> Failure {
    let shortened: String = key.chars().take(60).collect();
    Failure::NotFound(format!("there is no setting {shortened}; `admin config set` makes one"))
}

/// The value is not shown: it may be a secret.
fn unusable(why: &str) -> Failure {
    Failure::Unusable { field: "value", why: why.to_owned() }
}

impl From<ConfigurationError> for Failure {
    fn from(error: ConfigurationError) -> Self {
        match error {
            ConfigurationError::Invalid { why, .. } => unusable(&why),
            ConfigurationError::Absent { key } => absent(&key),
            ConfigurationError::Conflict { .. } => Self::Conflict(error.to_string()),
            ConfigurationError::NoKeyring { .. } => Self::Forbidden(error.to_string()),
            ConfigurationError::Mongodb(error) => Self::Database(error),
            ConfigurationError::Secret(_) => Self::Internal(error.into()),
        }
    }
}
