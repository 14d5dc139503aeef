//! What is a user's own to take away or to give up: the data as a file, a token for programs, the account.

use bson::{DateTime, Document, doc, oid::ObjectId};
use common::audit::Action;
use common::documents::privacy_request::{self, Mode, PrivacyRequest, State};
use common::documents::session::{DeviceInfo, DeviceType};
use common::documents::{activity_log, session, suggestion, usage_analytics, user, user_day};
use common::personal::projection::Projection;
use common::personal::{self, Kind, Place};
use common::tombstones::Subject;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use mongodb::Database;
use serde_json::json;

use crate::app::App;
use crate::failure::Failure;
use crate::plain;
use crate::record::{around, on_user};
use crate::sessions::{self, Which};
use crate::viewer::Viewer;

/// What the browser of a token is called in the list of sessions.
const TOKEN: &str = "API token";

/// Collections with documents of one person, and the field with the person's id. What names the person besides, such as a vote on
/// somebody else's suggestion, has no index: `admin privacy export` finds that too.
const OWN: [(&str, &str); 6] = [
    (user::COLLECTION, "_id"),
    (session::COLLECTION, "userId"),
    (user_day::COLLECTION, "userId"),
    (suggestion::COLLECTION, "userId"),
    (activity_log::COLLECTION, "userId"),
    (usage_analytics::COLLECTION, "userId"),
];

/// Everything of a person, a line of JSON for each document, as it is read. Secrets and other people's ids are left out, by the register.
pub fn data(database: &Database, person: ObjectId) -> impl Stream<Item = anyhow::Result<String>> + Send + 'static {
    let database = database.clone();
    let places = OWN.into_iter().filter_map(|(name, field)| Some((personal::place(Kind::Collection, name)?, field)));
    stream::iter(places.collect::<Vec<_>>())
        .then(move |(place, field)| lines(database.clone(), place, field, person))
        .try_flatten()
}

async fn lines(
    database: Database,
    place: &'static Place,
    field: &'static str,
    person: ObjectId,
) -> anyhow::Result<impl Stream<Item = anyhow::Result<String>> + Send> {
    let documents = database.collection::<Document>(place.name);
    let found = documents.find(doc! { field: person }).batch_size(500).await?;
    let mut projection = Projection::new(place);
    Ok(found.map_err(anyhow::Error::from).map_ok(move |document| {
        let seen = projection.project(document, person);
        format!("{}\n", json!({ "collection": place.name, "document": plain::json(seen.into()) }))
    }))
}

/// A session without a browser, for a program: it ends as every session does. Returns its token.
///
/// # Errors
/// MongoDB does not answer.
pub async fn make_token(app: &App, viewer: &Viewer, name: &str, ip_address: String) -> Result<String, Failure> {
    let device = DeviceInfo {
        user_agent: name.to_owned(),
        ip_address,
        location: None,
        device_type: DeviceType::Desktop,
        browser: Some(format!("{TOKEN} {name:?}")),
        os: None,
    };
    let (_, token) = sessions::begin(app, viewer.user, device).await?;
    Ok(token)
}

/// Files the erasure of a person, who is signed out everywhere and cannot sign in any more. `admin privacy resume` works it off.
///
/// # Errors
/// MongoDB does not answer.
pub async fn delete_account(app: &App, viewer: &Viewer, keep_suggestions: bool) -> Result<(), Failure> {
    let keep = if keep_suggestions { ", keep suggestions" } else { "" };
    let act = on_user(app, Action::PrivacyErase, viewer.user, format!("request by the person{keep}"));
    around(app, viewer, act, async {
        let requests = app.database.collection::<PrivacyRequest>(privacy_request::COLLECTION);
        let subjects = Subject::User(viewer.user).digests(&app.keyring);
        let open = doc! { "subject": { "$in": subjects }, "state": { "$ne": State::Complete.as_str() } };
        if requests.find_one(open).await?.is_none() {
            requests
                .insert_one(PrivacyRequest::new(&app.keyring, viewer.user, Mode::Delete, keep_suggestions)?)
                .await?;
        }
        let users = app.database.collection::<Document>(user::COLLECTION);
        let set = doc! { "$set": { "status.isActive": false, "metadata.updatedAt": DateTime::now() } };
        users.update_one(doc! { "_id": viewer.user }, set).await?;
        sessions::end(app, viewer.user, Which::All).await?;
        Ok(())
    })
    .await
}
