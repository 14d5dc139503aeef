//! Late events: ingest marks their day dirty, the aggregator rolls it up again, and a sealed day takes no more.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "tests and their helpers")]

#[path = "rollup/events.rs"]
#[expect(dead_code, reason = "here the events come through ingest")]
mod events;

use std::time::{Duration, Instant};

use aggregator::{lease, lookup, publish};
use bson::{DateTime, Document, doc};
use common::day::Day;
use e2e::eventually::{PATIENCE, eventually};
use e2e::recount;
use e2e::topic::Message;
use e2e::world::World;
use serde_json::Value;

async fn world(name: &str) -> World {
    events::world(name).await.with_env("AGGREGATOR__REFRESH", "1s")
}

async fn send(world: &World, events: &[Value]) {
    let messages: Vec<Message> = events
        .iter()
        .map(|event| Message::new(event["data"]["userId"].as_str().unwrap_or("nobody"), event.to_string()))
        .collect();
    world.produce(&messages).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
}

async fn state(world: &World, day: Day) -> Document {
    let states = world.db().collection::<Document>("rollup_days");
    states.find_one(doc! { "_id": day.to_string() }).await.unwrap().unwrap_or_default()
}

async fn metrics(world: &World, day: Day) -> Value {
    let documents = world.db().collection::<Document>("system_analytics");
    let document = documents.find_one(doc! { "date": day.to_string() }).await.unwrap().unwrap_or_default();
    document.get("metrics").cloned().unwrap_or(bson::Bson::Null).into_relaxed_extjson()
}

#[tokio::test]
async fn a_late_event_counts_soon() {
    let world = world("late-soon").await;
    let (day, after) = (Day::yesterday().previous(), Day::yesterday());
    let mut sent = events::random(day, 100, 1);
    sent.extend(events::random(after, 100, 2));
    send(&world, &sent).await;
    let mut serving = world.spawn("aggregator", &["serve"]);
    let settled = async |day: Day| {
        eventually(PATIENCE, &format!("{day} rolled up and clean"), async || {
            let state = state(&world, day).await;
            (state.get_str("state").ok() == Some("rolled") && !state.contains_key("dirtySince")).then_some(())
        })
        .await;
    };
    settled(day).await;
    settled(after).await;
    let marks = state(&world, day).await.get_i64("dirtyMarks").unwrap();

    let late = events::random(day, 40, 3);
    send(&world, &late).await;
    sent.extend(late);
    assert!(state(&world, day).await.get_i64("dirtyMarks").unwrap() > marks);
    let recounted = recount::metrics(&day.to_string(), &sent, &events::users(after), &events::tools());
    eventually(PATIENCE, "the late events in the daily document", async || {
        (metrics(&world, day).await == recounted).then_some(())
    })
    .await;
    settled(day).await;
    let next = world.db().collection::<Document>("system_analytics");
    let next = next.find_one(doc! { "date": after.to_string() }).await.unwrap().unwrap();
    let trends = next.get("trends").cloned().unwrap().into_relaxed_extjson();
    assert_eq!(trends, recount::trends(&metrics(&world, after).await, Some(&recounted)));
    serving.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_mark_of_meanwhile_stays() {
    let world = world("late-race").await;
    let day = Day::yesterday();
    send(&world, &events::random(day, 50, 1)).await;
    let seen = state(&world, day).await;
    assert!(seen.contains_key("dirtySince"));
    world.run_ok("aggregator", &["run", "--date", &day.to_string()]).await;
    assert!(!state(&world, day).await.contains_key("dirtySince"));

    // A roll-up that began before the next mark.
    let began = lookup::day_state(world.db(), day).await.unwrap().unwrap().dirty_marks;
    let document = lookup::daily_document(world.db(), day).await.unwrap().unwrap();
    send(&world, &events::random(day, 10, 2)).await;
    let lease = lease::acquire(world.db()).await.unwrap();
    publish::day(world.db(), &lease, &document, began, Instant::now()).await.unwrap();
    lease.release().await;
    assert!(state(&world, day).await.contains_key("dirtySince"));
}

#[tokio::test]
async fn a_sealed_day_takes_no_more() {
    let world = world("late-sealed").await;
    let (day, open) = (Day::yesterday().previous(), Day::yesterday());
    send(&world, &events::random(day, 50, 1)).await;
    world.run_ok("aggregator", &["run", "--date", &day.to_string()]).await;
    let before = metrics(&world, day).await;
    let seal = doc! { "$set": { "sealedAt": DateTime::now() } };
    world.db().collection::<Document>("rollup_days").update_one(doc! { "_id": day.to_string() }, seal).await.unwrap();

    let mut late = events::random(day, 20, 2);
    late.extend(events::random(open, 20, 3));
    send(&world, &late).await;
    let letters = world.read_topic(&world.dead_letter_topic()).await;
    assert_eq!(letters.len(), 21, "each message of the sealed day, the repeated one too");
    let stored = world.db().collection::<Document>("usage_analytics");
    let of_day = doc! { "timestamp": { "$gte": DateTime::from_chrono(open.start()) } };
    assert!(stored.count_documents(of_day).await.unwrap() > 0, "the open day takes events");
    let (code, message) = world.run_fail("aggregator", &["run", "--date", &day.to_string()]).await;
    assert_eq!(code, 1);
    assert!(message.contains("is sealed"), "{message}");
    assert_eq!(metrics(&world, day).await, before);
    assert_eq!(state(&world, day).await.get_str("state").unwrap(), "rolled");

    // A replay of these letters would only make others.
    let printed = world.run_ok("admin", &["dead-letters", "replay", "--dry-run"]).await;
    assert!(printed.contains("ingest would refuse all of them again as day_sealed"), "{printed}");
}
