//! The three events: their wire form, their rules, and how an event becomes a document.
//!
//! [`Message::decode`] turns a Kafka message into a validated [`Event`] in one pass, or into an [`Invalid`] that says which
//! field, what came and what was expected. [`Event::write_document`] appends the event's document to a BSON buffer.
//! A tool that emits builds the same [`Event`] and sends [`Event::to_json`]; what it would have refused at the other end
//! is refused before it is sent, because the bytes go through the same [`Message::decode`].

mod attributes;
mod decode;
mod document;
mod identity;
mod invalid;
mod owned;
mod reader;
mod timestamp;
mod traceparent;
mod wire;

use std::borrow::Cow;

use bson::oid::ObjectId;

pub use decode::Message;
pub use document::array_index;
pub use identity::IDENTITY_DEFINITION;
pub use invalid::{Invalid, Reason};
pub use timestamp::{Accepted, Timestamp};
pub use traceparent::{NotATraceparent, Traceparent};

use crate::documents;

/// Longest `id` of an event, in characters.
pub const MAX_ID: usize = 256;
/// Longest `source` of an event, in characters.
pub const MAX_SOURCE: usize = 1_024;
/// Longest `errorMessage` and `message`, in characters.
pub const MAX_MESSAGE: usize = 4_096;
/// Longest `userAgent`, `referrer` and `path`, in characters.
pub const MAX_LINE: usize = 2_048;
/// Longest `ipAddress` as it is sent, `country`, `region`, `city`, `version` and feature, in characters.
pub const MAX_WORD: usize = 128;
/// Most entries of `features`.
pub const MAX_FEATURES: usize = 64;
/// Largest `customData`, in bytes of JSON.
pub const MAX_CUSTOM_DATA: usize = 16_384;
/// Deepest nesting of `customData`, itself included. MongoDB's own limit is 100 for a whole document.
pub const MAX_CUSTOM_DEPTH: usize = 16;
/// Longest `duration` and `responseTime`, and longest time between start and end: 7 days in milliseconds.
pub const MAX_DURATION_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// Largest `inputSize` and `outputSize`: 1 TiB in bytes.
pub const MAX_SIZE_BYTES: i64 = 1 << 40;
/// Largest `memoryUsage`: 16 TiB in MB.
pub const MAX_MEMORY_MB: f64 = 16_777_216.0;
/// Largest `cpuUsage`: 1,024 busy cores in percent.
pub const MAX_CPU_PERCENT: f64 = 102_400.0;

/// A validated event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    /// CloudEvents `id`: unique for its `source`. A sender that sends an event again keeps `id` and `time`.
    pub id: Cow<'a, str>,
    /// CloudEvents `source`.
    pub source: Cow<'a, str>,
    /// CloudEvents `time`: becomes the document's `timestamp` and decides about its day.
    pub time: Timestamp,
    /// CloudEvents `traceparent`: the trace that it belongs to. Carried to the log, and not stored.
    pub traceparent: Option<Traceparent>,
    /// CloudEvents `type` and `data`.
    pub data: Data<'a>,
}

/// What happened, by `type`.
#[derive(Debug, Clone, PartialEq)]
pub enum Data<'a> {
    /// `com.devtoolkit.tool-usage.v1`.
    ToolUsage(Box<ToolUsage<'a>>),
    /// `com.devtoolkit.activity.v1`.
    Activity(Box<Activity<'a>>),
    /// `com.devtoolkit.health-check.v1`.
    HealthCheck(HealthCheck<'a>),
}

/// One use of one tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolUsage<'a> {
    /// Who; none without an account.
    pub user_id: Option<ObjectId>,
    /// What was used.
    pub tool_id: ObjectId,
    /// The visit it belongs to.
    pub session_id: ObjectId,
    /// What happened.
    pub usage: Usage<'a>,
    /// From where.
    pub context: Option<Context<'a>>,
    /// What it cost.
    pub performance: Option<Performance>,
    /// What the tool says about itself.
    pub metadata: Option<Metadata<'a>>,
}

/// What happened in one use.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage<'a> {
    /// Not after `end_time`.
    pub start_time: Timestamp,
    /// At most [`MAX_DURATION_MS`] after `start_time`.
    pub end_time: Timestamp,
    /// Milliseconds, 0 to [`MAX_DURATION_MS`].
    pub duration: i64,
    /// Bytes, 0 to [`MAX_SIZE_BYTES`].
    pub input_size: i64,
    /// Bytes, 0 to [`MAX_SIZE_BYTES`].
    pub output_size: i64,
    /// Whether the tool did what was asked.
    pub success: bool,
    /// Why not; up to [`MAX_MESSAGE`] characters.
    pub error_message: Option<Cow<'a, str>>,
}

/// From where an event came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context<'a> {
    /// Up to [`MAX_LINE`] characters.
    pub user_agent: Option<Cow<'a, str>>,
    /// An IP address, up to [`MAX_WORD`] characters; decoded, in the spelling of [`crate::address::canonical`].
    pub ip_address: Option<Cow<'a, str>>,
    /// Up to [`MAX_LINE`] characters.
    pub referrer: Option<Cow<'a, str>>,
    /// Where on earth.
    pub location: Option<Location<'a>>,
}

/// Where on earth; each up to [`MAX_WORD`] characters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Location<'a> {
    /// Such as `US`.
    pub country: Option<Cow<'a, str>>,
    /// Such as `CA`.
    pub region: Option<Cow<'a, str>>,
    /// Such as `San Francisco`.
    pub city: Option<Cow<'a, str>>,
}

/// What a use cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Performance {
    /// Milliseconds, 0 to [`MAX_DURATION_MS`].
    pub response_time: Option<f64>,
    /// MB, 0 to [`MAX_MEMORY_MB`].
    pub memory_usage: Option<f64>,
    /// Percent of one core, 0 to [`MAX_CPU_PERCENT`].
    pub cpu_usage: Option<f64>,
}

/// What a tool says about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata<'a> {
    /// The tool's version; up to [`MAX_WORD`] characters.
    pub version: Option<Cow<'a, str>>,
    /// Up to [`MAX_FEATURES`] of up to [`MAX_WORD`] characters each.
    pub features: Option<Vec<Cow<'a, str>>>,
    /// Anything else: the text of a JSON object of up to [`MAX_CUSTOM_DATA`] bytes and [`MAX_CUSTOM_DEPTH`] levels. Keys
    /// are not empty, do not start with `$` and hold no NUL.
    pub custom_data: Option<Cow<'a, str>>,
}

/// Something a user did outside a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity<'a> {
    /// Who; none without an account.
    pub user_id: Option<ObjectId>,
    /// The visit it belongs to; none belongs to no visit.
    pub session_id: Option<ObjectId>,
    /// What was done.
    pub action: Action,
    /// Which page; always there for a page view; up to [`MAX_LINE`] characters.
    pub path: Option<Cow<'a, str>>,
    /// From where.
    pub context: Option<Context<'a>>,
}

pub use documents::activity_log::Action;

/// How a tool was found when it was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck<'a> {
    /// The tool.
    pub tool_id: ObjectId,
    /// Whether it answered as it should.
    pub healthy: bool,
    /// Milliseconds, 0 to [`MAX_DURATION_MS`].
    pub response_time: Option<f64>,
    /// Up to [`MAX_MESSAGE`] characters.
    pub message: Option<Cow<'a, str>>,
}

/// CloudEvents `type` of the three events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Stored in `usage_analytics`.
    ToolUsage,
    /// Stored in `activity_logs`.
    Activity,
    /// Stored in `health_checks`.
    HealthCheck,
}

impl EventType {
    /// All three.
    pub const ALL: [Self; 3] = [Self::ToolUsage, Self::Activity, Self::HealthCheck];

    /// The text of the `type` attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ToolUsage => "com.devtoolkit.tool-usage.v1",
            Self::Activity => "com.devtoolkit.activity.v1",
            Self::HealthCheck => "com.devtoolkit.health-check.v1",
        }
    }

    /// The collection that keeps its documents.
    pub const fn collection(self) -> &'static str {
        match self {
            Self::ToolUsage => documents::usage_analytics::COLLECTION,
            Self::Activity => documents::activity_log::COLLECTION,
            Self::HealthCheck => documents::health_check::COLLECTION,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Event<'_> {
    /// The `type` attribute.
    pub const fn event_type(&self) -> EventType {
        match self.data {
            Data::ToolUsage(_) => EventType::ToolUsage,
            Data::Activity(_) => EventType::Activity,
            Data::HealthCheck(_) => EventType::HealthCheck,
        }
    }

    /// The user, where the event names one.
    pub const fn user_id(&self) -> Option<ObjectId> {
        match &self.data {
            Data::ToolUsage(usage) => usage.user_id,
            Data::Activity(activity) => activity.user_id,
            Data::HealthCheck(_) => None,
        }
    }

    /// The Kafka key, which keeps all of a user's events in one partition: `userId`, without one `sessionId`, for a
    /// health check `toolId`. An activity of nobody in no session has its own `id`.
    pub fn key(&self) -> String {
        let id = match &self.data {
            Data::ToolUsage(usage) => Some(usage.user_id.unwrap_or(usage.session_id)),
            Data::Activity(activity) => activity.user_id.or(activity.session_id),
            Data::HealthCheck(check) => Some(check.tool_id),
        };
        id.map_or_else(|| self.id.to_string(), |id| id.to_hex())
    }
}
