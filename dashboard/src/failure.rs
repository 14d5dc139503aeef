//! Why a request gets no answer: for people a page, for programs a problem document (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::mongo;
use mongodb::error::ErrorKind;
use serde::Serialize;

use crate::query::BadParameter;

/// What a handler fails with.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A parameter of the address cannot be used.
    #[error(transparent)]
    Parameter(#[from] BadParameter),
    /// A field of a form cannot be used.
    #[error("field {field} is {value}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// What came, quoted and shortened; never a password.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// A field of a form cannot be used, and must not be shown.
    #[error("field {field}: {why}")]
    Unusable {
        /// The field.
        field: &'static str,
        /// Why.
        why: String,
    },
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Nobody is signed in.
    #[error(
        "sign in first: POST email and password to /login and send the cookie, or send Authorization: Bearer with a token of your own page"
    )]
    SignIn,
    /// Who is signed in may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// Somebody else changed the same meanwhile.
    #[error("{0}")]
    Conflict(String),
    /// Somebody asks too often.
    #[error("too many requests: try again in {seconds} s")]
    TooMany {
        /// When it works again.
        seconds: u64,
    },
    /// MongoDB does not answer as it should.
    #[error("the database does not answer; try again in a moment")]
    Database(#[source] mongodb::error::Error),
    /// What should not happen.
    #[error("the dashboard could not do this; its log says why")]
    Internal(#[source] anyhow::Error),
}

impl From<mongodb::error::Error> for Failure {
    fn from(error: mongodb::error::Error) -> Self {
        // A document that is not as it should be stays so: to try again does not help.
        match *error.kind {
            ErrorKind::Bson(_) | ErrorKind::BsonDeserialization(_) => Self::Internal(error.into()),
            _ => Self::Database(error),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        // A failure that went through a function which knows no failures.
        let error = match error.downcast::<Self>() {
            Ok(failure) => return failure,
            Err(error) => error,
        };
        match error.downcast::<mongodb::error::Error>() {
            Ok(error) => error.into(),
            Err(error) => Self::Internal(error),
        }
    }
}

impl From<askama::Error> for Failure {
    fn from(error: askama::Error) -> Self {
        Self::Internal(error.into())
    }
}

impl From<bson::error::Error> for Failure {
    fn from(error: bson::error::Error) -> Self {
        Self::Internal(error.into())
    }
}

impl Failure {
    /// `value` is quoted and shortened.
    pub fn field(field: &'static str, value: &str, expected: impl Into<String>) -> Self {
        let shortened: String = value.chars().take(60).collect();
        Self::Field { field, value: format!("{shortened:?}"), expected: expected.into() }
    }

    fn status_and_title(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Parameter(_) | Self::Field { .. } | Self::Unusable { .. } => {
                (StatusCode::BAD_REQUEST, "This cannot be used")
            }
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "Not found"),
            Self::SignIn => (StatusCode::UNAUTHORIZED, "Not signed in"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "Not allowed"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "Changed meanwhile"),
            Self::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            Self::Database(_) => (StatusCode::SERVICE_UNAVAILABLE, "The database does not answer"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "This failed"),
        }
    }

    fn parameter(&self) -> Option<String> {
        match self {
            Self::Parameter(refused) => Some(refused.parameter.clone()),
            Self::Field { field, .. } | Self::Unusable { field, .. } => Some((*field).to_owned()),
            _ => None,
        }
    }
}

/// What a failure tells the asker. It travels beside the response until the layer that knows who asked writes the body.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// As HTTP has it.
    pub status: u16,
    /// What happened, in a few words.
    pub title: &'static str,
    /// What happened this time, and what to do.
    pub detail: String,
    /// The parameter or field that cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match &self {
            Self::Database(error) => tracing::warn!(why = mongo::reason(error), "a request failed"),
            Self::Internal(error) => tracing::error!(why = mongo::in_words(error), "a request failed"),
            _ => {}
        }
        let (status, title) = self.status_and_title();
        let problem = Problem { status: status.as_u16(), title, detail: self.to_string(), parameter: self.parameter() };
        let mut response = status.into_response();
        let wait = match &self {
            Self::Database(_) => Some(5),
            Self::TooMany { seconds } => Some(*seconds),
            _ => None,
        };
        if let Some(seconds) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(problem);
        response
    }
}
