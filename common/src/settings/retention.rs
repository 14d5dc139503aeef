//! `[retention]`: how long documents are kept, and what must not be shorter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Ingest, Privacy, Settings, SettingsError, duration};
use crate::documents::{activity_log, dead_letter_replay, health_check, session, usage_analytics};
use crate::schema;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The roll-up computes a day after it is over, and seals it a day before its first event expires.
const ROLLUP_NEEDS: Duration = Duration::from_secs(3 * DAY.as_secs());

/// Longer than anybody keeps events, and within what a TTL index takes.
const LONGEST: Duration = Duration::from_secs(20_000 * DAY.as_secs());

/// `[retention]`. `admin migrate` gives these times to the TTL indexes; roll-ups have none and stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// How long after its `timestamp` a tool use is removed.
    #[serde(with = "duration")]
    pub usage_analytics: Duration,
    /// How long after its `timestamp` a page view, a login or a failed login is removed.
    #[serde(with = "duration")]
    pub activity_logs: Duration,
    /// How long after its `timestamp` a health check is removed.
    #[serde(with = "duration")]
    pub health_checks: Duration,
    /// How long after its `expiresAt` a session is removed.
    #[serde(with = "duration")]
    pub sessions: Duration,
    /// How long after its `replayedAt` the mark of a replayed dead letter is removed.
    #[serde(with = "duration")]
    pub dead_letter_replays: Duration,
}

impl Retention {
    /// As the schema reference has it.
    pub const DEFAULT: Self = Self {
        usage_analytics: schema::USAGE_ANALYTICS_TTL,
        activity_logs: schema::ACTIVITY_LOGS_TTL,
        health_checks: schema::HEALTH_CHECKS_TTL,
        sessions: schema::SESSIONS_TTL,
        dead_letter_replays: schema::DEAD_LETTER_REPLAYS_TTL,
    };

    /// How long a collection keeps its documents; none for one that keeps them for ever.
    pub fn of(&self, collection: &str) -> Option<Duration> {
        match collection {
            usage_analytics::COLLECTION => Some(self.usage_analytics),
            activity_log::COLLECTION => Some(self.activity_logs),
            health_check::COLLECTION => Some(self.health_checks),
            session::COLLECTION => Some(self.sessions),
            dead_letter_replay::COLLECTION => Some(self.dead_letter_replays),
            _ => None,
        }
    }

    /// The collections of events, each with its key.
    fn events(&self) -> [(&'static str, Duration); 3] {
        [
            ("retention.usage_analytics", self.usage_analytics),
            ("retention.activity_logs", self.activity_logs),
            ("retention.health_checks", self.health_checks),
        ]
    }

    /// Whether other settings need documents for longer than they are kept.
    ///
    /// # Errors
    /// They do; the message names both settings.
    pub(super) fn check(&self, settings: &Settings) -> Result<(), SettingsError> {
        let Settings { privacy, ingest, .. } = settings;
        for (key, kept) in self.events() {
            self.check_events(key, kept, privacy)?;
        }
        let marks = ("retention.dead_letter_replays", self.dead_letter_replays);
        for (key, kept) in self.events().into_iter().chain([("retention.sessions", self.sessions), marks]) {
            if kept > LONGEST {
                return Err(SettingsError::unusable(key, days(kept), "at most 20000d"));
            }
        }
        self.check_marks(ingest)
    }

    fn check_events(&self, key: &'static str, kept: Duration, privacy: &Privacy) -> Result<(), SettingsError> {
        if kept < ROLLUP_NEEDS {
            let expected = format!(
                "at least {}: aggregator.schedule rolls a day up after it is over, and the day is sealed a day before its events \
                 expire",
                days(ROLLUP_NEEDS)
            );
            return Err(SettingsError::unusable(key, days(kept), expected));
        }
        // Sealed a day before its first event expires, which came a day before the day's end.
        let needed = privacy.late_arrival.saturating_add(2 * DAY);
        if privacy.anonymise && kept <= needed {
            let expected = format!(
                "more than {}, because privacy.late_arrival is {} and a day is sealed a day before its events expire",
                days(needed),
                days(privacy.late_arrival)
            );
            return Err(SettingsError::unusable(key, days(kept), expected));
        }
        Ok(())
    }

    /// A letter whose mark is gone is sent again, and ingest must refuse it then for its age.
    fn check_marks(&self, ingest: &Ingest) -> Result<(), SettingsError> {
        let longest_event = self.events().into_iter().map(|(_, kept)| kept).max().unwrap_or_default();
        let accepted = ingest.max_age.min(longest_event);
        if self.dead_letter_replays >= accepted {
            return Ok(());
        }
        let expected = format!(
            "at least {}, for which ingest.max_age and [retention] let events in: a letter would be sent a second time",
            days(accepted)
        );
        Err(SettingsError::unusable("retention.dead_letter_replays", days(self.dead_letter_replays), expected))
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::DEFAULT
    }
}

fn days(time: Duration) -> String {
    format!("{}d", time.as_secs_f64() / DAY.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl Fn(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.retention.check(&settings).unwrap_err().to_string()
    }

    #[test]
    fn a_contradiction_names_both_settings() {
        let settings = Settings::default();
        assert!(settings.retention.check(&settings).is_ok());
        let message = refused(|settings| settings.retention.activity_logs = DAY);
        assert!(
            message.contains("retention.activity_logs is 1d") && message.contains("aggregator.schedule"),
            "{message}"
        );
        let message = refused(|settings| {
            settings.privacy.anonymise = true;
            settings.retention.health_checks = 9 * DAY;
        });
        assert!(message.contains("retention.health_checks is 9d"), "{message}");
        assert!(message.contains("privacy.late_arrival is 7d"), "{message}");
        let message = refused(|settings| settings.retention.dead_letter_replays = 30 * DAY);
        assert!(
            message.contains("retention.dead_letter_replays is 30d") && message.contains("ingest.max_age"),
            "{message}"
        );
        let message = refused(|settings| settings.retention.sessions = 30_000 * DAY);
        assert!(message.contains("retention.sessions is 30000d"), "{message}");
    }
}
