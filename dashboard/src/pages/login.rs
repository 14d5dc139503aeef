//! `/login` and `/logout`.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use common::documents::session::DeviceInfo;
use common::event::Action;
use common::secrets::new_token;

use super::frame::Frame;
use super::home::done;
use super::respond;
use crate::access::{cookie, own_path, redirect};
use crate::app::App;
use crate::device;
use crate::failure::Failure;
use crate::form::Form;
use crate::oidc::Provider;
use crate::query::address;
use crate::server::Peer;
use crate::sessions::{self, Which, csrf};
use crate::sign_in::{SignedIn, sign_in};
use crate::viewer::Viewer;

/// What happened, as the address says.
const DONE: [(&str, &str); 1] = [("deleted", "Your account is closed. What is stored about you will be erased.")];
const LONGEST_ADDRESS: usize = 254;

#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    frame: Frame,
    csrf: String,
    next: String,
    email: String,
    /// What happened before; empty otherwise.
    done: &'static str,
    /// Why it failed; empty at first.
    failed: &'static str,
    /// The identity provider; empty where there is none.
    provider: String,
    provider_link: String,
}

/// `GET /login`.
///
/// # Errors
/// There are no random bytes.
pub async fn page(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let text = text.unwrap_or_default();
    let next = form_urlencoded::parse(text.as_bytes()).find(|(name, _)| name == "next");
    let next = next.map_or_else(|| "/".to_owned(), |(_, next)| own_path(&next).to_owned());
    form(&app, &headers, next, String::new(), done(Some(&text), &DONE), "")
}

/// The form, with a token of its own in a cookie and in the form: another site can read neither.
pub(super) fn form(
    app: &App,
    headers: &HeaderMap,
    next: String,
    email: String,
    done: &'static str,
    failed: &'static str,
) -> Result<Response, Failure> {
    let known = cookie(headers, app.page_cookie()).filter(|token| token.len() == 43).map(str::to_owned);
    let (token, is_new) = match known {
        Some(token) => (token, false),
        None => (new_token().map_err(anyhow::Error::from)?, true),
    };
    let provider = app.provider.as_ref().map_or("", Provider::name).to_owned();
    let provider_link = address("/login/oidc", (next != "/").then(|| ("next", next.clone())));
    let (frame, csrf) = (Frame::new("Sign in"), csrf(&token));
    let mut response = respond::html(&Page { frame, csrf, next, email, done, failed, provider, provider_link })?;
    if is_new {
        set_cookie(&mut response, app, app.page_cookie(), &token, None);
    }
    if !failed.is_empty() {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    Ok(response)
}

/// `POST /login`.
///
/// # Errors
/// MongoDB does not answer.
pub async fn submit(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    peer: Option<Extension<Peer>>,
    Extension(sent): Extension<Form>,
) -> Result<Response, Failure> {
    let email = sent.line("email", LONGEST_ADDRESS)?;
    let next = own_path(sent.exact("next"));
    let device = device::of_request(&headers, peer.map(|Extension(peer)| peer), app.is_https());
    app.limits.attempt(&device.ip_address)?;
    let signed_in = sign_in(&app, email, sent.exact("password"), device.clone()).await?;
    let failed = "The address or the password is wrong, or the account is locked for a while after too many attempts.";
    finish(&app, &headers, signed_in, &device, next, email, failed).await
}

/// The answer to an attempt to sign in: the session, or the form again.
///
/// # Errors
/// MongoDB does not answer.
pub(super) async fn finish(
    app: &App,
    headers: &HeaderMap,
    signed_in: SignedIn,
    device: &DeviceInfo,
    next: &str,
    email: &str,
    failed: &'static str,
) -> Result<Response, Failure> {
    match signed_in {
        SignedIn::Yes { user, session, token } => {
            app.logins.happened(Action::Login, Some(user), Some(session), device);
            // A session that the browser had before ends: nobody can give a browser a token and wait for its owner to sign in.
            if let Some(old) = cookie(headers, app.session_cookie())
                && let Some(Viewer { user, session, .. }) = sessions::viewer(app, old).await?
            {
                sessions::end(app, user, Which::One(session)).await?;
            }
            let mut response = redirect(next);
            set_cookie(&mut response, app, app.session_cookie(), &token, Some(app.settings.session_lifetime.as_secs()));
            Ok(response)
        }
        SignedIn::No { user } => {
            app.logins.happened(Action::LoginFailed, user, None, device);
            form(app, headers, next.to_owned(), email.to_owned(), "", failed)
        }
        SignedIn::Suspended { user } => {
            app.logins.happened(Action::LoginFailed, Some(user), None, device);
            let failed = "This account may not be used. Ask an administrator why.";
            form(app, headers, next.to_owned(), email.to_owned(), "", failed)
        }
    }
}

/// `POST /logout`.
///
/// # Errors
/// MongoDB does not answer.
pub async fn out(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    peer: Option<Extension<Peer>>,
    Extension(viewer): Extension<Viewer>,
) -> Result<Response, Failure> {
    let device = device::of_request(&headers, peer.map(|Extension(peer)| peer), app.is_https());
    app.logins.happened(Action::Logout, Some(viewer.user), Some(viewer.session), &device);
    sessions::end(&app, viewer.user, Which::One(viewer.session)).await?;
    let mut response = redirect("/login");
    set_cookie(&mut response, &app, app.session_cookie(), "", Some(0));
    Ok(response)
}

/// Out of reach of scripts and of other sites' forms.
pub(super) fn set_cookie(response: &mut Response, app: &App, name: &str, value: &str, max_age: Option<u64>) {
    let age = max_age.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    let secure = if app.is_https() { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{age}{secure}");
    // A token has letters of URLs alone.
    if let Ok(text) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::SET_COOKIE, text);
    }
}
