//! Signing in, failing to and signing out, as events of the pipeline. A Kafka that is away stops nobody from signing in.

use std::borrow::Cow;
use std::time::Duration;

use bson::oid::ObjectId;
use common::documents::session::DeviceInfo;
use common::event::{Action, Activity, Context, Data, Event, Timestamp};
use common::settings::Settings;
use emit::{Emitter, EmitterOptions, ids};

use crate::metrics;

/// The `source` of the events, for `security.login_sources`.
pub const SOURCE: &str = "/devtoolkit/dashboard";
/// Events that wait for Kafka at most; further ones are lost, and counted.
const MOST_WAITING: u32 = 10_000;
/// For the events under way when the program ends.
const END_PATIENCE: Duration = Duration::from_secs(3);

/// Sends the events.
#[derive(Debug)]
pub struct Logins(Option<Emitter>);

impl Logins {
    /// To the topic of the settings; to nowhere, if these say so.
    ///
    /// # Errors
    /// The Kafka settings cannot be used.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        if !settings.dashboard.login_events {
            return Ok(Self(None));
        }
        let options =
            EmitterOptions { queue_events: MOST_WAITING, queue_kib: 8 * 1_024, ..EmitterOptions::from(settings) };
        let options = options.on_undelivered(|_| metrics::login_event_lost());
        Ok(Self(Some(Emitter::connect(options)?)))
    }

    /// Somebody did this; returns at once.
    pub fn happened(&self, action: Action, user: Option<ObjectId>, session: Option<ObjectId>, device: &DeviceInfo) {
        metrics::login(action);
        let Some(emitter) = &self.0 else { return };
        let text = |text: &str| Some(Cow::Owned(text.to_owned())).filter(|text: &Cow<'_, str>| !text.is_empty());
        let context = Context {
            user_agent: text(&device.user_agent),
            ip_address: text(&device.ip_address),
            ..Context::default()
        };
        let activity = Activity { user_id: user, session_id: session, action, path: None, context: Some(context) };
        let event = Event {
            id: ids::unique().into(),
            source: SOURCE.into(),
            time: Timestamp::now(),
            traceparent: None,
            data: Data::Activity(Box::new(activity)),
        };
        if let Err(error) = emitter.emit(&event) {
            metrics::login_event_lost();
            tracing::warn!(%error, "an event about signing in is lost");
        }
    }

    /// Waits a little for what is under way. Blocks.
    pub fn flush(&self) {
        if let Some(emitter) = &self.0 {
            emitter.flush(END_PATIENCE);
        }
    }
}
