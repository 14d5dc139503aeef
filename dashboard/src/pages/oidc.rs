//! `/login/oidc`: signing in at the identity provider, and coming back from there.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::documents::session::DeviceInfo;
use common::mongo;
use common::secrets::new_token;

use super::login::{finish, form, set_cookie};
use crate::access::{cookie, own_path, redirect};
use crate::app::App;
use crate::device;
use crate::failure::Failure;
use crate::oidc::{Attempt, Provider};
use crate::server::Peer;
use crate::sign_in::{SignedIn, sign_in_as};

/// Seconds for signing in at the provider.
const PATIENCE: u64 = 600;

/// `GET /login/oidc`: to the provider. What makes up the attempt stays in a cookie.
///
/// # Errors
/// There is no provider, or somebody tries too often.
pub async fn begin(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    peer: Option<Extension<Peer>>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let (provider, _) = attempt(&app, &headers, peer)?;
    let text = text.unwrap_or_default();
    let next = form_urlencoded::parse(text.as_bytes()).find(|(name, _)| name == "next");
    let next = next.map_or_else(|| "/".to_owned(), |(_, next)| own_path(&next).to_owned());
    let token = new_token().map_err(anyhow::Error::from)?;
    match provider.sign_in_address(&Attempt(&token)).await {
        Ok(address) => {
            let mut response = redirect(&address);
            let kept = format!("{token}.{}", URL_SAFE_NO_PAD.encode(next));
            set_cookie(&mut response, &app, app.attempt_cookie(), &kept, Some(PATIENCE));
            Ok(response)
        }
        Err(error) => failed(&app, &headers, provider, &next, &error),
    }
}

/// `GET /login/oidc/return`: back from the provider.
///
/// # Errors
/// There is no provider, somebody tries too often, or MongoDB does not answer.
pub async fn end(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    peer: Option<Extension<Peer>>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let (provider, device) = attempt(&app, &headers, peer)?;
    let kept = cookie(&headers, app.attempt_cookie()).and_then(|kept| kept.split_once('.'));
    let Some((token, next)) = kept else {
        let error = anyhow::anyhow!("the browser began no attempt, or began it over {PATIENCE} s ago");
        return failed(&app, &headers, provider, "/", &error);
    };
    let next = URL_SAFE_NO_PAD.decode(next).ok().and_then(|next| String::from_utf8(next).ok()).unwrap_or_default();
    let next = own_path(&next);
    let answer: BTreeMap<String, String> =
        form_urlencoded::parse(text.unwrap_or_default().as_bytes()).into_owned().collect();
    let mut response = match provider.email(&Attempt(token), &answer).await {
        Ok(email) => {
            let signed_in = sign_in_as(&app, &email, device.clone()).await?;
            let failure = match signed_in {
                SignedIn::No { .. } => "No account here has this address, or its address is not confirmed.",
                _ => "",
            };
            finish(&app, &headers, signed_in, &device, next, "", failure).await?
        }
        Err(error) => failed(&app, &headers, provider, next, &error)?,
    };
    // An attempt is good for one answer.
    set_cookie(&mut response, &app, app.attempt_cookie(), "", Some(0));
    Ok(response)
}

/// The provider, and who asks; an attempt is counted.
fn attempt<'a>(
    app: &'a App,
    headers: &HeaderMap,
    peer: Option<Extension<Peer>>,
) -> Result<(&'a Provider, DeviceInfo), Failure> {
    let provider = app.provider.as_ref();
    let provider = provider.ok_or_else(|| Failure::NotFound("there is no identity provider here".to_owned()))?;
    let device = device::of_request(headers, peer.map(|Extension(peer)| peer), app.is_https());
    app.limits.attempt(&device.ip_address)?;
    Ok((provider, device))
}

/// The page to sign in, again; the log says why.
fn failed(
    app: &App,
    headers: &HeaderMap,
    provider: &Provider,
    next: &str,
    error: &anyhow::Error,
) -> Result<Response, Failure> {
    tracing::warn!(why = mongo::in_words(error), provider = provider.name(), "signing in at the provider failed");
    let text = "Signing in there failed. Try again, or sign in with your password.";
    form(app, headers, next.to_owned(), String::new(), "", text)
}
