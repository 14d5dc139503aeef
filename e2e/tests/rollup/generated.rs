//! Random small days: duplicates, gaps around 30 minutes, midnight edges, missing optional fields, users and tools that do
//! not exist.

use std::collections::{BTreeMap, BTreeSet};

use aggregator::source::Source;
use bson::oid::ObjectId;
use common::day::Day;
use common::event::{Data, Message};
use e2e::recount::User;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

pub const DATE: &str = "2024-01-15";
pub const MINUTE: i64 = 60_000;

/// What the day's events are stored as: source, id, bytes of the document.
#[allow(dead_code, reason = "each of the tests that share this uses a part")]
pub struct Stored {
    pub source: Source,
    pub at: i64,
    pub id: ObjectId,
    pub document: Vec<u8>,
}

pub fn day() -> Day {
    Day::parse(DATE).unwrap()
}

pub fn hex(kind: u8, number: u8) -> String {
    format!("{kind:02x}{number:022x}")
}

pub fn rfc3339(millis: i64) -> String {
    bson::DateTime::from_millis(millis).try_to_rfc3339_string().unwrap()
}

/// Milliseconds from midnight: steps of 5 and 30 minutes, a millisecond beside them, and both midnights.
fn instants() -> impl Strategy<Value = i64> {
    let steps = prop_oneof![
        (0_i64..8).prop_map(|step| 10 * 60 * MINUTE + step * 30 * MINUTE),
        (0_i64..12).prop_map(|step| 10 * 60 * MINUTE + step * 5 * MINUTE),
        Just(0),
        Just(24 * 60 * MINUTE),
        0_i64..24 * 60 * MINUTE,
    ];
    (steps, -1_i64..=1).prop_map(|(instant, beside)| instant + beside)
}

fn lengths() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(500),
        Just(5 * MINUTE),
        Just(30 * MINUTE),
        Just(29 * MINUTE + 59_999),
        Just(30 * MINUTE + 1),
        Just(26 * 60 * MINUTE),
        0_i64..90 * MINUTE
    ]
}

/// Users 0 to 5 and sessions 0 to 3, or none.
fn people() -> impl Strategy<Value = (Option<String>, Option<String>)> {
    let user = prop::option::weighted(0.8, (0_u8..6).prop_map(|number| hex(1, number)));
    let session = prop::option::weighted(0.9, (0_u8..4).prop_map(|number| hex(2, number)));
    (user, session)
}

fn response_times() -> impl Strategy<Value = Option<Value>> {
    let number = prop_oneof![
        Just(json!(850)),
        Just(json!(0)),
        Just(json!(0.1)),
        (1_u32..1_000_000).prop_map(|n| json!(f64::from(n) / 7.0))
    ];
    prop::option::weighted(0.7, number)
}

fn data() -> impl Strategy<Value = (&'static str, Value, i64)> {
    let tool = || (0_u8..14).prop_map(|number| hex(3, number));
    let tool_use = (people(), tool(), any::<bool>(), instants(), lengths(), 0_i64..2, response_times()).prop_map(
        |((user, session), tool, success, start, length, late, response_time)| {
            let start = day().start().timestamp_millis() + start;
            let mut data = json!({
                "toolId": tool,
                "sessionId": session.unwrap_or_else(|| hex(2, 9)),
                "usage": {
                    "startTime": rfc3339(start), "endTime": rfc3339(start + length), "duration": length,
                    "inputSize": 1, "outputSize": 2, "success": success,
                },
            });
            if let Some(user) = user {
                data["userId"] = user.into();
            }
            if let Some(response_time) = response_time {
                data["performance"] = json!({ "responseTime": response_time });
            }
            ("tool-usage", data, start + length + late)
        },
    );
    const ACTIONS: &[&str] = &["page_view", "page_view", "page_view", "signup", "login", "login_failed", "logout"];
    let activity = (people(), prop::sample::select(ACTIONS), instants()).prop_map(|((user, session), action, at)| {
        let mut data = json!({ "action": action });
        for (field, id) in [("userId", user), ("sessionId", session)] {
            if let Some(id) = id {
                data[field] = id.into();
            }
        }
        if action == "page_view" {
            data["path"] = "/tools".into();
        }
        ("activity", data, day().start().timestamp_millis() + at)
    });
    let check = (tool(), any::<bool>(), instants()).prop_map(|(tool, healthy, at)| {
        ("health-check", json!({ "toolId": tool, "healthy": healthy }), day().start().timestamp_millis() + at)
    });
    prop_oneof![5 => tool_use, 4 => activity, 1 => check]
}

/// Events with some of them sent twice, in any order.
pub fn events() -> impl Strategy<Value = Vec<Value>> {
    let sent_again = prop::collection::vec(any::<Index>(), 0..6);
    (prop::collection::vec(data(), 0..40), sent_again)
        .prop_map(|(data, again)| {
            let mut events: Vec<Value> = data
                .into_iter()
                .enumerate()
                .map(|(number, (kind, data, at))| {
                    json!({
                        "specversion": "1.0", "id": (number / 2).to_string(), "source": format!("/{}", number % 2),
                        "type": format!("com.devtoolkit.{kind}.v1"), "time": rfc3339(at), "data": data,
                    })
                })
                .collect();
            for index in again {
                if !events.is_empty() {
                    events.push(events[index.index(events.len())].clone());
                }
            }
            events
        })
        .prop_shuffle()
}

/// Users 0 to 3 exist, created at the edges of the day; 4 and 5 do not.
pub fn users() -> Vec<User> {
    let created = ["2023-05-01T00:00:00Z", "2024-01-14T23:59:59.999Z", "2024-01-15T00:00:00Z", "2024-01-16T00:00:00Z"];
    created
        .into_iter()
        .zip(0_u8..)
        .map(|(created_at, number)| User {
            id: hex(1, number),
            created_at: created_at.to_owned(),
            verified: number % 2 == 0,
            premium: number == 1,
        })
        .collect()
}

/// Tools 0 to 9 exist; 10 to 13 do not.
pub fn tools() -> BTreeMap<String, String> {
    (0..10).map(|number| (hex(3, number), format!("Tool {number}"))).collect()
}

/// The way of ingest: decode, one document per `_id`.
pub fn stored(events: &[Value]) -> Vec<Stored> {
    let mut ids = BTreeSet::new();
    let mut stored = Vec::new();
    for event in events {
        let json = event.to_string();
        let message = Message { value: Some(json.as_bytes()), headers: std::iter::empty() };
        let event = message.decode().unwrap_or_else(|invalid| panic!("{invalid:?}: {json}"));
        let source = match event.data {
            Data::ToolUsage(_) => Source::ToolUses,
            Data::Activity(_) => Source::Activities,
            Data::HealthCheck(_) => Source::HealthChecks,
        };
        let (at, id) = (event.time.millis(), event.document_id());
        if ids.insert(id) {
            let mut document = Vec::new();
            event.write_document(&mut document);
            stored.push(Stored { source, at, id, document });
        }
    }
    stored
}
