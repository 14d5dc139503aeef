//! Points of the oplog, and the seconds that people restore to.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail, ensure};
use bson::{Document, RawDocument, Timestamp};
use chrono::{DateTime, SecondsFormat, Timelike, Utc};
use common::hex::hex;
use serde::{Deserialize, Serialize};

/// An entry's place in the oplog: the second, its number within the second, and the primary's term. Written
/// `1764230400.3.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpTime {
    /// Seconds since 1970.
    pub second: u32,
    /// The number within the second.
    pub number: u32,
    /// The term of the primary that wrote the entry.
    pub term: i64,
}

impl OpTime {
    /// Of `{ ts, t }`.
    ///
    /// # Errors
    /// A field is missing.
    pub fn from_document(document: &Document) -> anyhow::Result<Self> {
        let time = document.get_timestamp("ts").context("the server names no ts")?;
        Ok(Self::new(time, document.get_i64("t").context("the server names no t")?))
    }

    /// Of an entry of the oplog.
    ///
    /// # Errors
    /// A field is missing.
    pub fn of_entry(entry: &RawDocument) -> anyhow::Result<Self> {
        let time = entry.get_timestamp("ts").map_err(|error| anyhow!("an entry of the oplog has no ts: {error}"))?;
        // The entry that initiates a set has no term.
        Ok(Self::new(time, entry.get_i64("t").unwrap_or(-1)))
    }

    fn new(time: Timestamp, term: i64) -> Self {
        Self { second: time.time, number: time.increment, term }
    }

    /// As MongoDB has it.
    pub fn timestamp(self) -> Timestamp {
        Timestamp { time: self.second, increment: self.number }
    }

    /// The same moment some seconds before.
    #[must_use]
    pub fn seconds_before(self, seconds: u32) -> Self {
        Self { second: self.second.saturating_sub(seconds), ..self }
    }

    /// The second as people write it.
    pub fn text(self) -> String {
        second_text(self.second)
    }
}

impl fmt::Display for OpTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Padded, so that names in the storage sort by time.
        write!(formatter, "{:010}.{:06}.{}", self.second, self.number, self.term)
    }
}

impl FromStr for OpTime {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parts: Vec<&str> = text.split('.').collect();
        let [second, number, term] = parts.as_slice() else { bail!("{text:?} is no point of the oplog") };
        let wrong = || format!("{text:?} is no point of the oplog");
        Ok(Self {
            second: second.parse().with_context(wrong)?,
            number: number.parse().with_context(wrong)?,
            term: term.parse().with_context(wrong)?,
        })
    }
}

impl Serialize for OpTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OpTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A second of 1970 to 2106 as RFC 3339.
pub fn second_text(second: u32) -> String {
    let instant = DateTime::from_timestamp(i64::from(second), 0).unwrap_or_default();
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Reads the second of `--to`: everything that was written until its end comes back, and nothing after.
///
/// # Errors
/// What was expected instead.
pub fn parse_second(text: &str) -> anyhow::Result<u32> {
    let expected = "expected a date and time with whole seconds, such as 2024-01-15T10:30:00Z";
    let instant = DateTime::parse_from_rfc3339(text).map_err(|error| anyhow!("{expected} ({error})"))?.to_utc();
    ensure!(
        instant.nanosecond() == 0,
        "{expected}: the oplog knows seconds and no parts of them; everything until the end of the second comes back"
    );
    u32::try_from(instant.timestamp()).map_err(|_| anyhow!("{expected}, between 1970 and 2106"))
}

/// The name of a full backup that begins now: the second and something random.
///
/// # Errors
/// The system gives no random numbers.
pub fn new_id(now: DateTime<Utc>) -> anyhow::Result<String> {
    Ok(format!("{}-{}", now.format("%Y%m%dT%H%M%SZ"), random_text()?))
}

/// Six digits.
pub(crate) fn random_text() -> anyhow::Result<String> {
    let mut random = [0; 3];
    getrandom::fill(&mut random).map_err(|error| anyhow!("the system gives no random numbers: {error}"))?;
    Ok(hex(&random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_ordered_and_read_back() {
        let point: OpTime = "1764230400.3.1".parse().unwrap();
        assert_eq!(point.to_string(), "1764230400.000003.1");
        assert_eq!(point.to_string().parse::<OpTime>().unwrap(), point);
        assert!(point < "1764230400.4.1".parse().unwrap());
        for wrong in ["", "1.2", "a.b.c", "1.2.3.4"] {
            assert!(wrong.parse::<OpTime>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_second_is_whole() {
        assert_eq!(parse_second("2023-11-14T23:13:20+01:00").unwrap(), 1_700_000_000);
        assert_eq!(second_text(1_700_000_000), "2023-11-14T22:13:20Z");
        for wrong in ["2023-11-14T22:13:20.5Z", "yesterday", "2023-11-14", "1960-01-01T00:00:00Z"] {
            assert!(
                parse_second(wrong).is_err_and(|error| error.to_string().contains("2024-01-15T10:30:00Z")),
                "{wrong}"
            );
        }
    }
}
