//! Random events of a day, and their way into the database without Kafka.

use std::collections::{BTreeMap, BTreeSet};

use bson::oid::ObjectId;
use bson::raw::RawDocument;
use bson::{Document, RawDocumentBuf, doc};
use common::day::Day;
use common::event::{Data, Message};
use e2e::recount::User;
use e2e::world::World;
use mongodb::Database;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

const MINUTE: i64 = 60_000;
const USERS: u8 = 30;
/// The last users and tools do not exist.
const UNKNOWN_USERS: u8 = 3;
const TOOLS: u8 = 14;
const UNKNOWN_TOOLS: u8 = 2;

/// Events of `day`, some of them sent twice; the same for the same seed.
pub fn random(day: Day, count: usize, seed: u64) -> Vec<Value> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut events: Vec<Value> =
        (0..count).map(|number| event(day, &format!("{seed}-{number}"), &mut random)).collect();
    let again: Vec<Value> = events.sample(&mut random, count / 20).cloned().collect();
    events.extend(again);
    events
}

fn event(day: Day, id: &str, random: &mut impl Rng) -> Value {
    let midnight = day.start().timestamp_millis();
    let at = midnight + random.random_range(0..24 * 60 * MINUTE);
    let session = random.random_range(0..60);
    // A session is one user's, now and then nobody's, now and then somebody else's.
    let user = match random.random_range(0..10) {
        0 => None,
        1 => Some(random.random_range(0..USERS)),
        _ => Some(session % USERS),
    };
    let (kind, mut data) = match random.random_range(0..10) {
        0..5 => ("tool-usage", tool_use(at, random)),
        5..9 => {
            let actions = ["page_view", "page_view", "page_view", "login", "login_failed", "logout", "signup"];
            ("activity", json!({ "action": actions.choose(random), "path": "/tools" }))
        }
        _ => {
            ("health-check", json!({ "toolId": hex(3, random.random_range(0..4)), "healthy": random.random_bool(0.9) }))
        }
    };
    if kind != "health-check" {
        data["sessionId"] = hex(2, session).into();
        if let Some(user) = user {
            data["userId"] = hex(1, user).into();
        }
    }
    json!({
        "specversion": "1.0", "id": id, "source": "/test", "type": format!("com.devtoolkit.{kind}.v1"),
        "time": rfc3339(at), "data": data,
    })
}

fn tool_use(at: i64, random: &mut impl Rng) -> Value {
    // The first tools are the popular ones, and some uses began before midnight.
    let tool = random.random_range(0..TOOLS).min(random.random_range(0..TOOLS));
    let length =
        if random.random_bool(0.05) { random.random_range(0..90 * MINUTE) } else { random.random_range(0..2_000) };
    let mut data = json!({
        "toolId": hex(3, tool),
        "usage": {
            "startTime": rfc3339(at - length), "endTime": rfc3339(at), "duration": length,
            "inputSize": 10, "outputSize": 20, "success": random.random_bool(0.95),
        },
    });
    if random.random_bool(0.8) {
        data["performance"] = json!({ "responseTime": f64::from(random.random_range(1..1_000_000)) / 7.0 });
    }
    data
}

/// Stores events as ingest would; returns how many were new.
pub async fn store(database: &Database, events: &[Value]) -> usize {
    let mut ids = BTreeSet::new();
    let mut by_collection: BTreeMap<&str, Vec<RawDocumentBuf>> = BTreeMap::new();
    for event in events {
        let json = event.to_string();
        let message = Message { value: Some(json.as_bytes()), headers: std::iter::empty() };
        let event = message.decode().unwrap_or_else(|invalid| panic!("{invalid:?}: {json}"));
        let collection = match event.data {
            Data::ToolUsage(_) => "usage_analytics",
            Data::Activity(_) => "activity_logs",
            Data::HealthCheck(_) => "health_checks",
        };
        if ids.insert(event.document_id()) {
            let mut bytes = Vec::new();
            event.write_document(&mut bytes);
            by_collection.entry(collection).or_default().push(RawDocument::from_bytes(&bytes).unwrap().to_owned());
        }
    }
    for (collection, documents) in by_collection {
        database.collection::<RawDocumentBuf>(collection).insert_many(documents).await.unwrap();
    }
    ids.len()
}

/// Users of all kinds, created from two years before `day` to the day after it.
pub fn users(day: Day) -> Vec<User> {
    let created = [day.minus(700), day.minus(2), day.previous(), day, day.next()];
    (0..USERS - UNKNOWN_USERS)
        .map(|number| User {
            id: hex(1, number),
            created_at: created[usize::from(number) % created.len()].start().to_rfc3339(),
            verified: number % 3 != 0,
            premium: number % 4 == 0,
        })
        .collect()
}

/// The names of the tools, by id.
pub fn tools() -> BTreeMap<String, String> {
    (0..TOOLS - UNKNOWN_TOOLS).map(|number| (hex(3, number), format!("Tool {number}"))).collect()
}

/// A world with collections, users and tools. Its newest day is yesterday: older events would be removed by their TTL.
pub async fn world(name: &str) -> World {
    let world = World::new(name).await;
    world.run_ok("admin", &["migrate"]).await;
    store_people_and_tools(world.db(), &users(Day::yesterday()), &tools()).await;
    world
}

/// Stores users and tools with what the aggregator reads of them.
pub async fn store_people_and_tools(database: &Database, users: &[User], tools: &BTreeMap<String, String>) {
    let users: Vec<Document> = users
        .iter()
        .map(|user| {
            let (plan, status) = match (user.premium, user.verified) {
                (true, true) => ("pro", "active"),
                (true, false) => ("enterprise", "active"),
                (false, true) => ("free", "active"),
                (false, false) => ("pro", "cancelled"),
            };
            doc! {
                "_id": user.id.parse::<ObjectId>().unwrap(),
                "email": format!("{}@example.com", user.id),
                "authentication": { "isVerified": user.verified },
                "subscription": { "plan": plan, "status": status },
                "metadata": { "createdAt": bson::DateTime::parse_rfc3339_str(&user.created_at).unwrap() },
            }
        })
        .collect();
    let tools: Vec<Document> = tools
        .iter()
        .map(|(id, name)| doc! { "_id": id.parse::<ObjectId>().unwrap(), "name": name, "slug": name })
        .collect();
    for (collection, documents) in [("users", users), ("tools", tools)] {
        let collection = database.collection::<Document>(collection);
        collection.insert_many(documents).bypass_document_validation(true).await.unwrap();
    }
}

fn hex(kind: u8, number: u8) -> String {
    format!("{kind:02x}{number:022x}")
}

fn rfc3339(millis: i64) -> String {
    bson::DateTime::from_millis(millis).try_to_rfc3339_string().unwrap()
}
