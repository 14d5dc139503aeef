//! The aggregator's fold against the recount, over random small days: any order, any slicing, duplicates, gaps around 30
//! minutes, midnight edges, missing optional fields, users and tools that do not exist.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests and their helpers")]

use std::collections::{BTreeMap, BTreeSet};

use aggregator::daily::{self, Ingredients};
use aggregator::fold::Fold;
use aggregator::lookup::UserCounts;
use aggregator::scan::Source;
use bson::oid::ObjectId;
use bson::raw::RawDocument;
use common::day::Day;
use common::documents::system_analytics::{Engine, SystemAnalytics};
use common::event::{Data, Message};
use e2e::recount::{self, User};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

const DATE: &str = "2024-01-15";
const MINUTE: i64 = 60_000;

/// What the day's events are stored as: source, id, bytes of the document.
struct Stored {
    source: Source,
    at: i64,
    id: ObjectId,
    document: Vec<u8>,
}

fn day() -> Day {
    Day::parse(DATE).unwrap()
}

fn hex(kind: u8, number: u8) -> String {
    format!("{kind:02x}{number:022x}")
}

fn rfc3339(millis: i64) -> String {
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
fn events() -> impl Strategy<Value = Vec<Value>> {
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
fn users() -> Vec<User> {
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
fn tools() -> BTreeMap<String, String> {
    (0..10).map(|number| (hex(3, number), format!("Tool {number}"))).collect()
}

/// The way of ingest: decode, one document per `_id`.
fn stored(events: &[Value]) -> Vec<Stored> {
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

fn fold<'a>(stored: impl IntoIterator<Item = &'a Stored>) -> Fold {
    let of_the_day = day().start().timestamp_millis()..day().end().timestamp_millis();
    let mut fold = Fold::new(day());
    for Stored { source, at, document, .. } in stored {
        if of_the_day.contains(at) {
            source.fold(RawDocument::from_bytes(document).unwrap(), &mut fold).unwrap();
        }
    }
    fold
}

fn daily(fold: &Fold) -> SystemAnalytics {
    let users = users();
    let created_before = |text: &'static str| users.iter().filter(move |user| user.created_at.as_str() < text);
    let before_end: Vec<&User> = created_before("2024-01-16T").collect();
    let names = tools().into_iter().map(|(id, name)| (id.parse().unwrap(), name)).collect();
    daily::document(&Ingredients {
        day: day(),
        totals: &fold.totals(),
        engine: Engine::Scan,
        users: UserCounts {
            total: before_end.len() as i64,
            new: (before_end.len() - created_before("2024-01-15T").count()) as i64,
            verified: before_end.iter().filter(|user| user.verified).count() as i64,
            premium: before_end.iter().filter(|user| user.premium).count() as i64,
        },
        returning_users: created_before("2024-01-15T").filter(|user| fold.is_active(&user.id.parse().unwrap())).count()
            as u64,
        tool_names: &names,
        yesterday: None,
        previous: None,
        now: bson::DateTime::from_millis(0),
    })
}

fn metrics(fold: &Fold) -> Value {
    bson::serialize_to_bson(&daily(fold).metrics).unwrap().into_relaxed_extjson()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_fold_counts_what_the_recount_counts(events in events()) {
        let recounted = recount::metrics(DATE, &events, &users(), &tools());
        prop_assert_eq!(metrics(&fold(&stored(&events))), recounted);
    }

    #[test]
    fn order_and_slicing_do_not_show(
        events in events(),
        slices in prop::collection::vec(0_usize..5, 80),
        merge_order in Just(vec![0_usize, 1, 2, 3, 4]).prop_shuffle(),
        left_to_right in any::<bool>(),
    ) {
        let mut in_order = stored(&events);
        in_order.sort_by_key(|stored| stored.id);
        let whole = fold(&in_order).totals();

        let stored = stored(&events);
        let parts = merge_order.iter().map(|slice| {
            fold(stored.iter().zip(&slices).filter(|(_, of)| *of == slice).map(|(stored, _)| stored))
        });
        let nothing = Fold::new(day());
        let merged = if left_to_right {
            parts.fold(nothing, Fold::merged)
        } else {
            parts.rfold(nothing, |right, left| left.merged(right))
        };
        prop_assert_eq!(merged.totals(), whole);
    }
}

#[test]
fn the_recount_knows_the_example_of_the_definition() {
    let at = |minute: i64| rfc3339(day().start().timestamp_millis() + minute * MINUTE);
    let view = |id: &str, user: &str, session: &str, minute: i64| {
        json!({
            "specversion": "1.0", "id": id, "source": "/t", "type": "com.devtoolkit.activity.v1", "time": at(minute),
            "data": { "userId": user, "sessionId": session, "action": "page_view", "path": "/" },
        })
    };
    let (user, other) = (hex(1, 0), hex(1, 5));
    // One visit of 30 minutes, one that bounces, one that bounces elsewhere 4 minutes after the first began.
    let events = [
        view("1", &user, &hex(2, 0), 0),
        view("2", &user, &hex(2, 0), 30),
        view("3", &user, &hex(2, 0), 61),
        view("4", &other, &hex(2, 1), 4),
    ];
    let metrics = recount::metrics(DATE, &events, &users(), &tools());
    assert_eq!(metrics["engagement"]["bounceRate"], json!(2.0 / 3.0));
    assert_eq!(metrics["engagement"]["averageSessionDuration"], json!(10.0));
    assert_eq!(metrics["engagement"]["returnUserRate"], json!(0.5));
    assert_eq!(metrics["performance"]["peakConcurrentUsers"], json!(2));
    assert_eq!(metrics["performance"]["errorRate"], Value::Null);
    assert_eq!(metrics["tools"]["averageSessionDuration"], Value::Null);
}
