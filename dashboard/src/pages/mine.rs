//! The forms of a user's own page about profile, tokens, data and account.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bson::{DateTime, Document, doc};
use common::audit::Action;
use common::documents::user::{self, Role};

use super::frame::Frame;
use super::respond;
use crate::access::redirect;
use crate::app::App;
use crate::device;
use crate::failure::Failure;
use crate::form::Form;
use crate::mine;
use crate::record::{around, on_user};
use crate::server::Peer;
use crate::sign_in::is_password_of;
use crate::texts::is_web_address;
use crate::viewer::Viewer;

const LONGEST_NAME: usize = 100;
const LONGEST_BIO: usize = 500;
const LONGEST_ADDRESS: usize = 200;

/// `POST /profile`.
///
/// # Errors
/// A field cannot be used, or MongoDB does not answer.
pub async fn profile(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    let first_name = form.line("firstName", LONGEST_NAME)?;
    if first_name.is_empty() {
        return Err(Failure::field("firstName", "", "a name"));
    }
    let website = form.line("website", LONGEST_ADDRESS)?;
    if !website.is_empty() && !is_web_address(website) {
        return Err(Failure::field("website", website, "an address that begins with https://, or nothing"));
    }
    let bio = form.lines("bio", LONGEST_BIO)?;
    let mut set = doc! {
        "profile.firstName": first_name,
        "profile.lastName": form.line("lastName", LONGEST_NAME)?,
        "metadata.updatedAt": DateTime::now(),
    };
    let mut unset = Document::new();
    for (field, value) in [
        ("profile.bio", bio.as_str()),
        ("profile.website", website),
        ("profile.location", form.line("location", LONGEST_NAME)?),
    ] {
        // What is not there is not stored.
        if value.is_empty() {
            unset.insert(field, "")
        } else {
            set.insert(field, value)
        };
    }
    let mut update = doc! { "$set": set };
    if !unset.is_empty() {
        update.insert("$unset", unset);
    }
    let users = app.database.collection::<Document>(user::COLLECTION);
    users.update_one(doc! { "_id": viewer.user }, update).await?;
    Ok(redirect("/?done=profile"))
}

/// `GET /account/data`: everything of the viewer, as a file.
///
/// # Errors
/// The viewer did so too often, or MongoDB does not answer.
pub async fn data(State(app): State<Arc<App>>, Extension(viewer): Extension<Viewer>) -> Result<Response, Failure> {
    app.limits.download(viewer.user)?;
    let act = on_user(&app, Action::PrivacyExport, viewer.user, "download by the person");
    let data = around(&app, &viewer, act, async { Ok(mine::data(&app.database, viewer.user)) }).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"my-data.ndjson\""),
    ];
    Ok((headers, Body::from_stream(data)).into_response())
}

#[derive(Template)]
#[template(path = "token.html")]
struct Made<'a> {
    frame: Frame,
    name: &'a str,
    token: String,
}

/// `POST /tokens`: the one answer that shows the token.
///
/// # Errors
/// The name cannot be used, or MongoDB does not answer.
pub async fn make_token(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    peer: Option<Extension<Peer>>,
    Extension(viewer): Extension<Viewer>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    let name = form.line("name", LONGEST_NAME)?;
    if name.is_empty() {
        return Err(Failure::field("name", "", "what the token is for"));
    }
    let device = device::of_request(&headers, peer.map(|Extension(peer)| peer), app.is_https());
    let token = mine::make_token(&app, &viewer, name, device.ip_address).await?;
    respond::html(&Made { frame: Frame::of(&viewer, "A token", "/"), name, token })
}

/// Why the viewer cannot delete the own account here; empty where it works.
pub fn no_deletion(app: &App, viewer: &Viewer) -> &'static str {
    if !app.is_keyring_shared {
        "This installation has no keyring, so the request could not be kept. Ask the operator, who can erase you."
    } else if viewer.role == Role::Admin {
        // So one administrator is always left.
        "You are an administrator. Ask another administrator to give you another role, then delete your account."
    } else {
        ""
    }
}

/// `POST /account/delete`.
///
/// # Errors
/// The password is wrong, there is no keyring, the viewer is an administrator, or MongoDB does not answer.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(form): Extension<Form>,
) -> Result<Response, Failure> {
    let reason = no_deletion(&app, &viewer);
    if !reason.is_empty() {
        return Err(Failure::Forbidden(reason.to_owned()));
    }
    if !is_password_of(&app, viewer.user, form.exact("password")).await? {
        return Err(Failure::Field {
            field: "password",
            value: "wrong".to_owned(),
            expected: "your password".to_owned(),
        });
    }
    mine::delete_account(&app, &viewer, form.is_set("keepSuggestions")).await?;
    Ok(redirect("/login?done=deleted"))
}
