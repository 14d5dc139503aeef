//! Times of the settings: read as `200ms`, `30s`, `5m`, `365d`, and written in the largest unit that divides them.

use std::time::Duration;

pub(super) use humantime_serde::deserialize;
use serde::Serializer;

pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

fn text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let units = [(86_400_000_000_000, "d"), (3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s")];
    let smaller = [(1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    let mut units = units.into_iter().chain(smaller);
    match units.find(|(unit, _)| nanos > 0 && nanos.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", nanos / unit),
        None => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_people_write_it() {
        for time in ["0s", "1ns", "200ms", "90s", "5m", "36h", "365d"] {
            assert_eq!(text(humantime(time)), time);
        }
    }

    fn humantime(text: &str) -> Duration {
        deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text)).unwrap()
    }
}
