//! One aggregator at a time: who is killed is replaced within seconds, and who was paused cannot write any more.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "tests and their helpers")]

#[path = "rollup/events.rs"]
mod events;

use std::time::Duration;

use aggregator::lease::{self, TakenOver};
use bson::{DateTime, Document, doc};
use common::day::Day;
use e2e::eventually::{PATIENCE, eventually};
use e2e::world::{Running, World};
use mongodb::ClientSession;

async fn world(name: &str) -> World {
    events::world(name).await.with_env("AGGREGATOR__REFRESH", "1s")
}

async fn state(world: &World, day: Day) -> Option<Document> {
    world.db().collection::<Document>("rollup_days").find_one(doc! { "_id": day.to_string() }).await.unwrap()
}

async fn holder(world: &World) -> Option<(String, i64)> {
    let lease = world.db().collection::<Document>("leases").find_one(doc! { "_id": lease::NAME }).await.unwrap()?;
    Some((lease.get_str("holder").unwrap().to_owned(), lease.get_i64("fence").unwrap()))
}

async fn lease_time(world: &World, field: &str) -> DateTime {
    let leases = world.db().collection::<Document>("leases");
    *leases.find_one(doc! { "_id": lease::NAME }).await.unwrap().unwrap().get_datetime(field).unwrap()
}

async fn server_time(world: &World) -> DateTime {
    *world.db().run_command(doc! { "hello": 1 }).await.unwrap().get_datetime("localTime").unwrap()
}

/// Starts a long backfill and returns once it holds the lease.
async fn at_work(world: &World) -> Running {
    let before = holder(world).await.map_or(0, |(_, fence)| fence);
    let (from, to) = (Day::yesterday().minus(27).to_string(), Day::yesterday().to_string());
    let running = world.spawn("aggregator", &["run", "--from", &from, "--to", &to]);
    eventually(PATIENCE, "the first day of the backfill", async || {
        let has_it = holder(world).await.is_some_and(|(_, fence)| fence > before);
        (has_it && state(world, Day::yesterday().minus(27)).await.is_some()).then_some(())
    })
    .await;
    running
}

#[tokio::test]
async fn who_is_killed_is_replaced_within_seconds() {
    let world = world("lease-killed").await;
    let day = Day::yesterday();
    events::store(world.db(), &events::random(day.minus(27), 50, 1)).await;
    events::store(world.db(), &events::random(day, 50, 2)).await;
    let mut first = at_work(&world).await;
    let mut second = world.spawn("aggregator", &["serve"]);
    eventually(PATIENCE, "the second aggregator waiting", async || {
        second.stderr().contains("another aggregator is at work").then_some(())
    })
    .await;
    first.process.kill().unwrap();
    let fence = holder(&world).await.unwrap().1;
    // How soon the other is there depends on the machine too; how long it may have to wait is written in the lease.
    let (expires_at, now) = (lease_time(&world, "expiresAt").await, server_time(&world).await);
    assert!(expires_at.timestamp_millis() <= now.timestamp_millis() + lease::TERM.as_millis() as i64);
    eventually(PATIENCE, "the second aggregator at work", async || {
        (holder(&world).await.unwrap().1 > fence).then_some(())
    })
    .await;
    assert!(lease_time(&world, "acquiredAt").await >= expires_at, "taken while the dead still held it");
    // What the first one left undone, and today as far as it goes.
    for (day, wanted) in [(day, "rolled"), (Day::today(), "provisional")] {
        eventually(PATIENCE, &format!("{day} {wanted}"), async || {
            state(&world, day).await.filter(|state| state.get_str("state").ok() == Some(wanted))
        })
        .await;
    }
    second.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn who_was_paused_and_replaced_cannot_write() {
    let world = world("lease-paused").await;
    events::store(world.db(), &events::random(Day::yesterday(), 100, 3)).await;
    let mut paused = at_work(&world).await;
    paused.process.pause().unwrap();
    let date = Day::yesterday().to_string();
    world.run_ok("aggregator", &["run", "--date", &date]).await;
    let before = state(&world, Day::yesterday()).await.unwrap();
    paused.process.resume().unwrap();
    let status = paused.process.wait(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", paused.stderr());
    assert!(paused.stderr().contains("another aggregator took the work over"), "{}", paused.stderr());
    assert_eq!(state(&world, Day::yesterday()).await.unwrap(), before);
}

#[tokio::test]
async fn a_transaction_of_before_the_takeover_is_not_committed() {
    let world = world("lease-fence").await;
    let database = world.db();
    let documents = database.collection::<Document>("rollup_days");
    let old = lease::acquire(database).await.unwrap();
    let write = async |session: &mut ClientSession| {
        documents.insert_one(doc! { "_id": "2024-01-15" }).session(&mut *session).await?;
        // In the middle of it somebody else takes the lease, as after a pause of any length.
        let leases = database.collection::<Document>("leases");
        let taken = doc! { "$set": { "holder": "somebody else" }, "$inc": { "fence": 1_i64 } };
        let taken = tokio::time::timeout(Duration::from_secs(2), leases.update_one(doc! {}, taken)).await;
        // The server lets it wait for the transaction: then the transaction is the older one, and may be committed.
        anyhow::Ok(taken.is_ok())
    };
    let result = old.transaction(write).await;
    let is_stored = documents.find_one(doc! { "_id": "2024-01-15" }).await.unwrap().is_some();
    assert_eq!(result.as_ref().is_ok_and(|taken| !taken), is_stored, "{result:?}");

    let taken = doc! { "$set": { "holder": "somebody else" }, "$inc": { "fence": 1_i64 } };
    database.collection::<Document>("leases").update_one(doc! {}, taken).await.unwrap();
    let write = async |session: &mut ClientSession| {
        documents.insert_one(doc! { "_id": "2024-01-16" }).session(session).await?;
        anyhow::Ok(())
    };
    assert!(old.transaction(write).await.unwrap_err().is::<TakenOver>());
    assert!(documents.find_one(doc! { "_id": "2024-01-16" }).await.unwrap().is_none());
}
