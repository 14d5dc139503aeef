//! The guard before every handler: who asks, whether the route is for them, and whether a form came from our own page.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::failure::Failure;
use crate::form::Form;
use crate::sessions;
use crate::viewer::Who;

/// Bytes of a form at most.
const MOST_BYTES: usize = 64 * 1024;

/// A route, as the guard sees it.
#[derive(Clone)]
pub struct Guarded {
    /// What every handler has.
    pub app: Arc<App>,
    /// Who may use the route.
    pub who: Who,
}

/// Lets a request through to its handler, with [`crate::viewer::Viewer`] and [`Form`] beside it.
///
/// # Errors
/// Nobody is signed in, the role is too low, or the form did not come from our own page.
pub async fn guard(State(guarded): State<Guarded>, mut request: Request, next: Next) -> Result<Response, Failure> {
    let Guarded { app, who } = guarded;
    let bearer = bearer(request.headers()).filter(|_| request.method() == Method::GET && is_api(request.uri().path()));
    let token = bearer.or_else(|| cookie(request.headers(), app.session_cookie())).map(str::to_owned);
    let viewer = match &token {
        Some(token) if who != Who::Anyone => sessions::viewer(&app, token).await?,
        _ => None,
    };
    if !who.allows(viewer.as_ref()) {
        return match viewer {
            None if is_program(request.uri().path()) => Err(Failure::SignIn),
            None => Ok(to_sign_in(&request)),
            Some(viewer) => Err(Failure::Forbidden(format!("this is not for the role {}", viewer.role))),
        };
    }
    if let Some(viewer) = viewer.as_ref().filter(|_| is_program(request.uri().path())) {
        app.limits.request(viewer.user)?;
    }
    if request.method() == Method::POST {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, MOST_BYTES)
            .await
            .map_err(|_| Failure::field("form", "", format!("at most {} KiB", MOST_BYTES / 1024)))?;
        let form = Form::parse(&body);
        check_origin(&parts.headers, &app)?;
        // Who signs in has no session yet: the token of the page itself stands in.
        let expected = match who {
            Who::Anyone => cookie(&parts.headers, app.page_cookie()).map(sessions::csrf),
            _ => viewer.as_ref().map(|viewer| viewer.csrf.clone()),
        };
        // A browser says where a form comes from; a script that is no browser has no cookies to misuse.
        let is_script = who == Who::Anyone && expected.is_none() && !is_browser(&parts.headers);
        if !is_script && !expected.is_some_and(|expected| is_same(&expected, form.exact("csrf"))) {
            return Err(Failure::Forbidden(
                "the form is too old, or came from another page: go back, load the page again, and send it once more"
                    .to_owned(),
            ));
        }
        request = Request::from_parts(parts, axum::body::Body::empty());
        request.extensions_mut().insert(form);
    }
    if let Some(viewer) = viewer {
        request.extensions_mut().insert(viewer);
    }
    Ok(next.run(request).await)
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|list| list.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The token of a program. Only what reads takes one: a form has a token of its page.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn is_api(path: &str) -> bool {
    path.starts_with("/api/")
}

/// Whether programs ask for this path: they get problem documents, and no page to sign in. Of a request and not of its route, for
/// `/tools/{slug}` serves both.
pub fn is_program(path: &str) -> bool {
    is_api(path) || path.ends_with(".csv")
}

/// To the page where one signs in, and back from there.
fn to_sign_in(request: &Request) -> Response {
    let wanted = request.uri().path_and_query().map_or("/", |wanted| wanted.as_str());
    let wanted = if request.method() == Method::GET { wanted } else { "/" };
    let next = form_urlencoded::Serializer::new(String::new()).append_pair("next", wanted).finish();
    let address = if wanted == "/" { "/login".to_owned() } else { format!("/login?{next}") };
    redirect(&address)
}

/// Sends the browser to a page of ours, with GET.
pub fn redirect(address: &str) -> Response {
    let location = HeaderValue::from_str(address).unwrap_or(HeaderValue::from_static("/"));
    (axum::http::StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// A path of ours; anything else becomes `/`, so that no link through us leads elsewhere.
pub fn own_path(text: &str) -> &str {
    let is_own = text.starts_with('/')
        && !text.starts_with("//")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_own { text } else { "/" }
}

fn is_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// Browsers say from which site a form comes.
fn check_origin(headers: &HeaderMap, app: &App) -> Result<(), Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_foreign_fetch = text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let is_foreign_origin = text("origin").is_some_and(|origin| {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        let is_ours = text("host") == Some(host) || app.settings.public_url.trim_end_matches('/') == origin;
        !is_ours
    });
    if is_foreign_fetch || is_foreign_origin {
        return Err(Failure::Forbidden("the form came from another site".to_owned()));
    }
    Ok(())
}

/// In a time that does not tell where they differ.
fn is_same(expected: &str, came: &str) -> bool {
    expected.len() == came.len()
        && expected.bytes().zip(came.bytes()).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_ours_are_led_back_to() {
        for own in ["/", "/tools?from=2024-01-01&to=2024-01-02", "/admin/users"] {
            assert_eq!(own_path(own), own);
        }
        for foreign in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "evil.example",
            "/a\r\nSet-Cookie: x=y",
            "/\t/evil.example",
        ] {
            assert_eq!(own_path(foreign), "/", "{foreign:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("ab=1; b=2"));
        headers.append(header::COOKIE, HeaderValue::from_static("c=3"));
        assert_eq!((cookie(&headers, "b"), cookie(&headers, "c"), cookie(&headers, "a")), (Some("2"), Some("3"), None));
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(is_same("abc", "abc"));
        assert!(!is_same("abc", "abd") && !is_same("abc", "ab") && !is_same("abc", ""));
    }
}
