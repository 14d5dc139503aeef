//! Every route, with who may use it: the one table that the program serves and that the tests read.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use crate::access::{Guarded, guard, is_program};
use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::metrics;
use crate::oidc::RETURN_PATH;
use crate::pages::{
    admin, assets, config, days, failed, home, live, login, mine, oidc, openapi, setting, suggestions, tools, user,
    users,
};
use crate::viewer::Who;

/// From the head of a request to the head of its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A method and a path, and who may use them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The method.
    pub method: Method,
    /// The path, with placeholders in braces.
    pub path: &'static str,
    /// Who may.
    pub who: Who,
}

type Route = (Rule, MethodRouter<Arc<App>>);

fn page<T: 'static>(who: Who, path: &'static str, handler: impl Handler<T, Arc<App>>) -> Route {
    (Rule { method: Method::GET, path, who }, get(handler))
}

fn form<T: 'static>(who: Who, path: &'static str, handler: impl Handler<T, Arc<App>>) -> Route {
    (Rule { method: Method::POST, path, who }, post(handler))
}

/// What is not here does not exist, and what is here says for whom it is.
fn routes() -> Vec<Route> {
    vec![
        page(Who::Anyone, "/static/{file}", assets::file),
        page(Who::Anyone, "/login", login::page),
        form(Who::Anyone, "/login", login::submit),
        page(Who::Anyone, "/login/oidc", oidc::begin),
        page(Who::Anyone, RETURN_PATH, oidc::end),
        form(Who::User, "/logout", login::out),
        page(Who::User, "/", home::page),
        form(Who::User, "/preferences", home::preferences),
        form(Who::User, "/profile", mine::profile),
        form(Who::User, "/tokens", mine::make_token),
        form(Who::User, "/account/delete", mine::delete),
        page(Who::User, "/account/data", mine::data),
        form(Who::User, "/sessions/end", home::end_session),
        page(Who::User, "/tools", tools::page),
        page(Who::User, "/tools.csv", tools::csv),
        page(Who::User, "/tools/{slug}", tools::tool),
        page(Who::Anyone, "/api/v1/openapi.json", openapi::document),
        page(Who::User, "/api/v1/tools", tools::json),
        page(Who::User, "/api/v1/tools/{slug}", tools::tool_json),
        page(Who::Admin, "/admin", admin::page),
        page(Who::Admin, "/admin.csv", days::csv),
        page(Who::Admin, "/admin/config", config::list),
        page(Who::Admin, "/admin/config/{key}", setting::page),
        form(Who::Admin, "/admin/config/{key}", setting::change_setting),
        page(Who::Admin, "/admin/users", users::page),
        page(Who::Admin, "/admin/users.csv", users::csv),
        page(Who::Admin, "/admin/users/{id}", user::page),
        form(Who::Admin, "/admin/users/{id}/suspend", user::suspend),
        form(Who::Admin, "/admin/users/{id}/reinstate", user::reinstate),
        form(Who::Admin, "/admin/users/{id}/role", user::role),
        form(Who::Admin, "/admin/users/{id}/plan", user::plan),
        form(Who::Admin, "/admin/users/{id}/unlock", user::unlock),
        form(Who::Admin, "/admin/users/{id}/sessions/end", user::end_sessions),
        page(Who::Moderator, "/admin/suggestions", suggestions::page),
        page(Who::Moderator, "/admin/suggestions.csv", suggestions::csv),
        page(Who::Moderator, "/admin/suggestions/{id}", suggestions::review),
        form(Who::Moderator, "/admin/suggestions/{id}/status", suggestions::status),
        form(Who::Moderator, "/admin/suggestions/{id}/response", suggestions::response),
        form(Who::Moderator, "/admin/suggestions/{id}/work", suggestions::work),
        page(Who::Admin, "/live", live::page),
        page(Who::Admin, "/api/v1/live", live::json),
        page(Who::Admin, "/api/v1/live/events", live::events),
        page(Who::Admin, "/api/v1/users", users::json),
        page(Who::Moderator, "/api/v1/suggestions", suggestions::json),
        page(Who::Admin, "/api/v1/days", days::json),
        page(Who::Admin, "/api/v1/days.csv", days::csv),
    ]
}

/// The rules of all routes.
pub fn rules() -> Vec<Rule> {
    routes().into_iter().map(|(rule, _)| rule).collect()
}

/// Serves all routes.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for (rule, handlers) in routes() {
        let Rule { path, who, .. } = rule;
        let guarded = Guarded { app: Arc::clone(&app), who };
        let handlers = handlers
            .route_layer(middleware::from_fn_with_state(guarded, guard))
            .route_layer(middleware::from_fn_with_state(path, measured));
        router = router.route(path, handlers);
    }
    router
        .fallback(|| async { Failure::NotFound("there is no such page".to_owned()).into_response() })
        .layer(middleware::from_fn(answer))
        .with_state(app)
}

async fn measured(State(path): State<&'static str>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let response = next.run(request).await;
    metrics::answered(path, response.status().as_u16(), begin.elapsed());
    response
}

/// Bounds the time, writes the body of a failure in the way that the asker understands, and sets the headers that every answer has.
async fn answer(request: Request, next: Next) -> Response {
    let is_program = is_program(request.uri().path());
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let mut response = within(PATIENCE, next.run(request)).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let problem = Problem {
            status: 405,
            title: "Not possible here",
            detail: "this address does not take this method".to_owned(),
            parameter: None,
        };
        response.extensions_mut().insert(problem);
    }
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = with_body(response, &problem, is_program);
    }
    if known.is_some_and(|known| is_known(&known, &response)) {
        response = not_modified(response);
    }
    secure(&mut response);
    response
}

/// Whether the asker has this answer already.
fn is_known(known: &HeaderValue, response: &Response) -> bool {
    let Some(tag) = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()) else { return false };
    let tags = known.to_str().unwrap_or_default().split(',').map(|tag| tag.trim().trim_start_matches("W/"));
    response.status() == StatusCode::OK && tags.into_iter().any(|known| known == tag || known == "*")
}

fn not_modified(response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    for header in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_DISPOSITION] {
        parts.headers.remove(header);
    }
    Response::from_parts(parts, Body::empty())
}

async fn within(patience: Duration, answer: impl Future<Output = Response>) -> Response {
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| {
        let why = anyhow::anyhow!("no answer within {} s", patience.as_secs());
        Failure::Internal(why).into_response()
    })
}

fn with_body(response: Response, problem: &Problem, is_program: bool) -> Response {
    let (mut parts, _) = response.into_parts();
    let (kind, body) = if is_program {
        ("application/problem+json", serde_json::to_string(problem).unwrap_or_default())
    } else {
        ("text/html; charset=utf-8", failed::page(problem))
    };
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

/// No script, no style and no form but ours; no other site may show a page in a frame; nothing is kept in a cache that another user
/// of the same machine could look into.
fn secure(response: &mut Response) {
    let secured = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    let headers = response.headers_mut();
    for (name, value) in secured {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    }
}
