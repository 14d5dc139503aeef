//! A day as a real application has it: visits of a few page views and tool uses, some minutes long, more by day than by
//! night; documents with all their fields, in order of time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bson::oid::ObjectId;
use bson::{DateTime, Document, RawBson, RawDocumentBuf, doc, rawdoc};
use common::day::Day;
use mongodb::{Database, IndexModel};

/// Users there are.
pub const USERS: u64 = 50_000;
/// Tools there are.
pub const TOOLS: u64 = 200;

const BATCH: usize = 5_000;
const WRITERS: usize = 4;
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;

/// What happens when, in which session; the session knows its user.
#[derive(Clone, Copy)]
struct Event {
    at: u32,
    session: u32,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    ToolUse,
    PageView,
    HealthCheck,
}

/// Fills an empty database with a day of `events` events, its users and tools, and the index that a day is read by.
pub async fn insert(database: &Database, day: Day, events: usize) -> anyhow::Result<()> {
    let users: Vec<Document> = (0..USERS)
        .map(|number| {
            let created = day.start().timestamp_millis() - (number as i64 % 700 - 1) * DAY_MILLIS as i64;
            doc! {
                "_id": id(1, number),
                "authentication": { "isVerified": number % 3 != 0 },
                "subscription": { "plan": if number % 5 == 0 { "pro" } else { "free" }, "status": "active" },
                "metadata": { "createdAt": DateTime::from_millis(created) },
            }
        })
        .collect();
    database.collection("users").insert_many(users).await?;
    let tools = (0..TOOLS).map(|number| doc! { "_id": id(3, number), "name": format!("Tool {number}") });
    database.collection("tools").insert_many(tools).await?;

    let events = Arc::new(of_a_day(events));
    let next = Arc::new(AtomicUsize::new(0));
    let writers = (0..WRITERS).map(|_| {
        let (database, events, next) = (database.clone(), Arc::clone(&events), Arc::clone(&next));
        tokio::spawn(async move {
            loop {
                let from = next.fetch_add(BATCH, Ordering::Relaxed);
                let Some(batch) = events.get(from..events.len().min(from + BATCH)).filter(|batch| !batch.is_empty())
                else {
                    return anyhow::Ok(());
                };
                for (kind, collection) in [
                    (Kind::ToolUse, "usage_analytics"),
                    (Kind::PageView, "activity_logs"),
                    (Kind::HealthCheck, "health_checks"),
                ] {
                    let of_kind = batch.iter().zip(from..).filter(|(event, _)| event.kind == kind);
                    let documents: Vec<_> =
                        of_kind.map(|(event, number)| document(day, event, number as u64)).collect();
                    if !documents.is_empty() {
                        database.collection::<RawDocumentBuf>(collection).insert_many(documents).ordered(false).await?;
                    }
                }
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer??;
    }
    for collection in ["usage_analytics", "activity_logs", "health_checks"] {
        let index = IndexModel::builder().keys(doc! { "timestamp": 1 }).build();
        database.collection::<Document>(collection).create_index(index).await?;
    }
    Ok(())
}

/// The tool uses of such a day as the aggregator's scan reads them, in order of time and one after the other, as in an answer
/// of the server; and where each ends.
pub fn projected_tool_uses(day: Day, events: usize) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (event, number) in of_a_day(events).iter().zip(0..) {
        if event.kind == Kind::ToolUse {
            bytes.extend_from_slice(projected(&document(day, event, number)).as_bytes());
            ends.push(bytes.len());
        }
    }
    (bytes, ends)
}

/// The fields that the scan asks for.
fn projected(document: &RawDocumentBuf) -> RawDocumentBuf {
    let mut projected = RawDocumentBuf::new();
    for (name, value) in document.iter().flatten() {
        let fields: &[&str] = match name.as_str() {
            "userId" | "toolId" | "sessionId" => {
                projected.append(name, RawBson::from(value));
                continue;
            }
            "usage" => &["startTime", "endTime", "success"],
            "performance" => &["responseTime"],
            _ => continue,
        };
        let inner = value.as_document().into_iter().flat_map(|document| document.iter().flatten());
        let wanted = inner.filter(|(name, _)| fields.contains(&name.as_str()));
        projected.append(name, RawDocumentBuf::from_iter(wanted.map(|(name, value)| (name, RawBson::from(value)))));
    }
    projected
}

/// In order of time. A session has 1 to 7 events, 2.3 on average, up to four minutes apart; one event of a hundred is a health
/// check.
fn of_a_day(count: usize) -> Vec<Event> {
    let mut events = Vec::with_capacity(count);
    let mut session = 0;
    while events.len() < count {
        let random = mixed(u64::from(session));
        // The sum of two evenly spread numbers is likelier in the middle: nobody works at night.
        let start = (mixed(random) % DAY_MILLIS + mixed(random + 1) % DAY_MILLIS) / 2;
        let length = 1 + (random >> 8).trailing_zeros().min(6) + u32::from(random.is_multiple_of(3));
        let mut at = start;
        for step in 0..length {
            let chance = mixed(random.wrapping_add(u64::from(step) + 2));
            at += if step == 0 { 0 } else { chance % (4 * 60_000) };
            let kind = match chance >> 32 & 127 {
                0 => Kind::HealthCheck,
                1..=24 => Kind::PageView,
                _ => Kind::ToolUse,
            };
            if at < DAY_MILLIS && events.len() < count {
                events.push(Event { at: at as u32, session, kind });
            }
        }
        session += 1;
    }
    events.sort_unstable_by_key(|event| event.at);
    events
}

fn document(day: Day, event: &Event, number: u64) -> RawDocumentBuf {
    let chance = mixed(number);
    let at = day.start().timestamp_millis() + i64::from(event.at);
    let duration = 200 + (chance % 4_000) as i64;
    let (start, end) = (DateTime::from_millis(at - duration), DateTime::from_millis(at));
    let user = id(1, mixed(u64::from(event.session)) % USERS);
    let (tool, session) =
        (id(3, (chance >> 16) % TOOLS * ((chance >> 40) % TOOLS) / TOOLS), id(2, event.session.into()));
    let context = rawdoc! {
        "userAgent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/121.0.0.0",
        "ipAddress": "192.168.1.1",
        "referrer": "https://devtoolkit.example.com/tools",
        "location": { "country": "US", "region": "CA", "city": "San Francisco" },
    };
    match event.kind {
        Kind::ToolUse => rawdoc! {
            "_id": event_id(at, number), "userId": user, "toolId": tool, "sessionId": session,
            "usage": {
                "startTime": start, "endTime": end, "duration": duration, "inputSize": 1_024_i64, "outputSize": 2_048_i64,
                "success": !chance.is_multiple_of(50),
            },
            "context": context,
            "performance": { "responseTime": duration as f64 + 0.5, "memoryUsage": 45.2, "cpuUsage": 12.5 },
            "metadata": {
                "version": "2.1.0", "features": ["ai_generation", "syntax_highlighting"],
                "customData": { "queryComplexity": "medium", "tableCount": 3 },
            },
            "timestamp": end,
        },
        Kind::PageView => rawdoc! {
            "_id": event_id(at, number), "userId": user, "sessionId": session, "action": "page_view", "path": "/tools",
            "context": context, "timestamp": end,
        },
        Kind::HealthCheck => rawdoc! {
            "_id": event_id(at, number), "toolId": tool, "healthy": !chance.is_multiple_of(100), "responseTime": 12.5,
            "timestamp": end,
        },
    }
}

fn id(kind: u8, number: u64) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&[0x65, 0xa0, 0, kind]);
    bytes[4..].copy_from_slice(&mixed(number).to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// As ingest makes them: the seconds of the time, then a hash.
fn event_id(at: i64, number: u64) -> ObjectId {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&(at / 1000).to_be_bytes()[4..]);
    bytes[4..].copy_from_slice(&mixed(number ^ 0x5851_f42d).to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// splitmix64: a bijection, so that different numbers stay different.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
