//! A day keeps its published numbers and counters while MongoDB's TTL monitor removes its events, whatever arrives and whatever
//! command is run.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "tests and their helpers")]

#[path = "rollup/events.rs"]
#[expect(dead_code, reason = "here each test has servers of its own")]
mod events;

use std::time::Duration;

use bson::{Bson, Document, doc};
use common::day::Day;
use e2e::eventually::{PATIENCE, eventually};
use e2e::servers::{ReplicaSet, ReplicaSetOptions};
use e2e::topic::Message;
use e2e::world::World;
use futures::TryStreamExt;
use serde_json::Value;

const EVENTS: [&str; 3] = ["usage_analytics", "activity_logs", "health_checks"];
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// A world on a server of its own, whose TTL monitor looks every second.
async fn world(name: &str) -> (World, ReplicaSet) {
    let extra_args = ["--setParameter", "ttlMonitorSleepSecs=1"].map(String::from).to_vec();
    let mongo = ReplicaSet::start(ReplicaSetOptions { extra_args, ..ReplicaSetOptions::default() }).await.unwrap();
    let brokers = std::env::var("DEVTOOLKIT__KAFKA__BROKERS").unwrap();
    let world = World::on(name, &mongo.uri(), &brokers).await.with_env("AGGREGATOR__REFRESH", "1s");
    world.run_ok("admin", &["migrate"]).await;
    events::store_people_and_tools(world.db(), &events::users(Day::yesterday()), &events::tools()).await;
    (world, mongo)
}

async fn expire_after(world: &World, collection: &str, days: i64) {
    let index = doc! { "keyPattern": { "timestamp": 1 }, "expireAfterSeconds": days * DAY_SECONDS };
    world.db().run_command(doc! { "collMod": collection, "index": index }).await.unwrap();
}

async fn expired(world: &World, collections: &[&str], day: Day) {
    let of_day = doc! { "timestamp": {
        "$gte": bson::DateTime::from_chrono(day.start()), "$lt": bson::DateTime::from_chrono(day.end()),
    } };
    for collection in collections {
        eventually(PATIENCE, &format!("the events of {day} in {collection} to expire"), async || {
            let events = world.db().collection::<Document>(collection);
            (events.count_documents(of_day.clone()).await.unwrap() == 0).then_some(())
        })
        .await;
    }
}

/// What is published of the day: its document, its rows, and the counters that hold its events for good.
async fn published(world: &World, day: Day) -> Vec<Document> {
    let mut all = Vec::new();
    for (collection, filter, projection) in [
        ("system_analytics", doc! { "date": day.to_string() }, doc! { "trends": 0, "updatedAt": 0 }),
        ("tool_days", doc! { "date": day.to_string() }, doc! {}),
        ("user_days", doc! { "date": day.to_string() }, doc! {}),
        ("tools", doc! {}, doc! { "usage.totalUsage": 1 }),
        ("users", doc! {}, doc! { "usage.totalCount": 1 }),
    ] {
        let documents = world.db().collection::<Document>(collection);
        let found = documents.find(filter).projection(projection).sort(doc! { "_id": 1 }).await.unwrap();
        all.extend(found.try_collect::<Vec<_>>().await.unwrap());
    }
    assert!(all.len() > 30, "{all:?}");
    all
}

async fn send(world: &World, events: &[Value]) {
    let messages: Vec<Message> = events.iter().map(|event| Message::new("a", event.to_string())).collect();
    world.produce(&messages).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
}

async fn state(world: &World, day: Day) -> Document {
    let states = world.db().collection::<Document>("rollup_days");
    states.find_one(doc! { "_id": day.to_string() }).await.unwrap().unwrap_or_default()
}

/// Lets `serve` work until its first pass has ended and the day is sealed.
async fn sealed_by_serve(world: &World, day: Day) {
    let mut serving = world.spawn("aggregator", &["serve"]);
    eventually(PATIENCE, &format!("a pass, and {day} sealed"), async || {
        let next_run = serving.metric("devtoolkit_aggregator_next_run_timestamp_seconds").await?;
        (next_run > 0.0 && state(world, day).await.contains_key("sealedAt")).then_some(())
    })
    .await;
    serving.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_day_of_120_days_ago_keeps_every_number_and_counter() {
    let (world, _mongo) = world("retention-late").await;
    let day = Day::today().minus(120);
    let (date, from, to) = (day.to_string(), day.previous().to_string(), day.next().to_string());
    for collection in EVENTS {
        expire_after(&world, collection, 4_000).await;
    }
    events::store(world.db(), &events::random(day, 500, 1)).await;
    world.run_ok("aggregator", &["run", "--date", &date]).await;
    let before = published(&world, day).await;
    // Puts the retention of 90 days back.
    world.run_ok("admin", &["migrate"]).await;
    expired(&world, &EVENTS[1..], day).await;

    // Nobody has sealed the day yet: its late tool uses are stored, and change nothing.
    send(&world, &events::random(day, 40, 2)).await;
    assert!(state(&world, day).await.contains_key("dirtySince"));
    let verified = world.run_ok("aggregator", &["verify", "--date", &date]).await;
    assert!(verified.contains("not whole any more") && !verified.contains("aggregator run"), "{verified}");
    let (code, message) = world.run_fail("aggregator", &["run", "--date", &date]).await;
    assert_eq!(code, 1);
    assert!(message.contains("not whole any more") && message.contains("activity_logs, health_checks"), "{message}");
    assert_eq!(published(&world, day).await, before);
    sealed_by_serve(&world, day).await;

    // Sealed, it takes no more.
    let uses = world.db().collection::<Document>("usage_analytics");
    let stored = uses.count_documents(doc! {}).await.unwrap();
    send(&world, &events::random(day, 40, 3)).await;
    assert_eq!(uses.count_documents(doc! {}).await.unwrap(), stored);
    assert!(!world.read_topic(&world.dead_letter_topic()).await.is_empty());

    expire_after(&world, "usage_analytics", 100).await;
    expired(&world, &EVENTS[..1], day).await;
    for engine in ["scan", "pushdown"] {
        let range = ["run", "--from", &from, "--to", &to, "--engine", engine, "--accept-removed"];
        let (code, message) = world.run_fail("aggregator", &range).await;
        assert_eq!(code, 1, "{message}");
        world.run_fail("aggregator", &["run", "--date", &date, "--engine", engine]).await;
    }
    world.run("aggregator", &["run", "--from", &from, "--to", &to, "--resume"]).await;
    assert!(world.run_ok("aggregator", &["verify", "--date", &date]).await.contains("sealed"));
    assert_eq!(published(&world, day).await, before);
}

#[tokio::test]
async fn serve_seals_a_day_before_its_first_event_expires() {
    let (world, _mongo) = world("retention-seal").await;
    // Its first events expire in less than 24 hours, and more than one from now.
    let day = Day::today().minus(20);
    for collection in EVENTS {
        expire_after(&world, collection, 4_000).await;
    }
    let (kept, events) = (day.next(), events::random(day, 200, 1));
    events::store(world.db(), &events).await;
    events::store(world.db(), &events::random(kept, 200, 2)).await;
    for day in [day, kept] {
        world.run_ok("aggregator", &["run", "--date", &day.to_string()]).await;
    }
    let second_of_day = (chrono::Utc::now() - Day::today().start()).num_seconds();
    let in_ten_hours = doc! {
        "keyPattern": { "timestamp": 1 }, "expireAfterSeconds": 20 * DAY_SECONDS + second_of_day + 10 * 60 * 60,
    };
    world.db().run_command(doc! { "collMod": "activity_logs", "index": in_ten_hours }).await.unwrap();
    sealed_by_serve(&world, day).await;
    let sealed_at = state(&world, day).await.get_datetime("sealedAt").unwrap().to_chrono();
    assert!(sealed_at > chrono::Utc::now(), "what ingest had accepted before is still counted: {sealed_at}");
    assert!(!state(&world, kept).await.contains_key("sealedAt"));
    send(&world, &events::random(day, 20, 3)).await;
    assert!(!world.read_topic(&world.dead_letter_topic()).await.is_empty(), "ingest takes no more at once");
}

#[tokio::test]
async fn a_first_roll_up_beyond_a_retention_writes_null_for_what_nobody_can_know() {
    let (world, _mongo) = world("retention-backfill").await;
    let day = Day::today().minus(120);
    let date = day.to_string();
    events::store(world.db(), &events::random(day, 500, 1)).await;
    expired(&world, &EVENTS[1..], day).await;
    world.run_ok("aggregator", &["run", "--date", &date]).await;
    let documents = world.db().collection::<Document>("system_analytics");
    let document = documents.find_one(doc! { "date": &date }).await.unwrap().unwrap();
    let metrics = document.get_document("metrics").unwrap();
    for (part, fields) in [
        ("users", &["active"][..]),
        ("performance", &["uptime", "peakConcurrentUsers"]),
        ("engagement", &["pageViews", "bounceRate", "averageSessionDuration", "returnUserRate"]),
    ] {
        for field in fields {
            assert_eq!(metrics.get_document(part).unwrap().get(field), Some(&Bson::Null), "{part}.{field}");
        }
    }
    assert!(metrics.get_document("tools").unwrap().get_i64("totalUsage").unwrap() > 0);
    let expired: Vec<_> = document.get_document("rollup").unwrap().get_array("expired").unwrap().clone();
    assert_eq!(expired, [Bson::from("activity_logs"), Bson::from("health_checks")]);
    let row = world.db().collection::<Document>("user_days").find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(row.get("pageViews"), Some(&Bson::Null));
    assert!(world.run_ok("aggregator", &["verify", "--date", &date]).await.contains(": 0 of "));
    assert!(world.run_ok("aggregator", &["show", "--date", &date]).await.contains("nobody can know"));
    // Its tool uses are whole: a late one still counts.
    let before = metrics.get_document("tools").unwrap().get_i64("totalUsage").unwrap();
    events::store(world.db(), &events::random(day, 100, 2)).await;
    world.run_ok("aggregator", &["run", "--date", &date]).await;
    let document = documents.find_one(doc! { "date": &date }).await.unwrap().unwrap();
    let metrics = document.get_document("metrics").unwrap();
    assert!(metrics.get_document("tools").unwrap().get_i64("totalUsage").unwrap() > before);
    assert_eq!(metrics.get_document("engagement").unwrap().get("pageViews"), Some(&Bson::Null));
}

#[tokio::test]
async fn events_removed_by_hand_do_not_pass_for_an_empty_day() {
    let (world, _mongo) = world("retention-by-hand").await;
    let day = Day::yesterday();
    let date = day.to_string();
    events::store(world.db(), &events::random(day, 500, 1)).await;
    world.run_ok("aggregator", &["run", "--date", &date]).await;
    let before = published(&world, day).await;
    for collection in EVENTS {
        world.db().collection::<Document>(collection).delete_many(doc! {}).await.unwrap();
        let (code, message) = world.run_fail("aggregator", &["run", "--date", &date]).await;
        assert_eq!(code, 1);
        assert!(message.contains("somebody removed them") && message.contains("--accept-removed"), "{message}");
    }
    let verified = world.run("aggregator", &["verify", "--date", &date]).await;
    assert_eq!(verified.code, Some(1));
    assert!(
        verified.stdout.contains("events are gone") && !verified.stdout.contains("aggregator run"),
        "{}",
        verified.stdout
    );
    assert_eq!(published(&world, day).await, before);
    world.run_ok("aggregator", &["run", "--date", &date, "--accept-removed"]).await;
    assert_eq!(state(&world, day).await.get_document("inputs").unwrap().get_i64("toolUsage").unwrap(), 0);
}
