//! An attempt at a day is counted before it is made: a day that kills the aggregator is given up, and holds no other day up.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "tests and their helpers")]

#[path = "rollup/events.rs"]
mod events;

use std::time::Duration;

use aggregator::schedule::MOST_ATTEMPTS;
use bson::{Document, doc};
use chrono::{TimeDelta, Timelike, Utc};
use common::day::Day;
use e2e::eventually::{PATIENCE, eventually};
use e2e::servers::{ReplicaSet, ReplicaSetOptions};
use e2e::world::{Running, World};

/// No night fires while a test runs: the schedule is half a day away.
fn configured(world: World) -> World {
    let hour = (Utc::now() + TimeDelta::hours(12)).hour();
    world.with_env("AGGREGATOR__REFRESH", "1s").with_env("AGGREGATOR__SCHEDULE", &format!("0 {hour} * * *"))
}

async fn state(world: &World, day: Day) -> Document {
    let states = world.db().collection::<Document>("rollup_days");
    states.find_one(doc! { "_id": day.to_string() }).await.unwrap().unwrap_or_default()
}

async fn until_in_state(world: &World, day: Day, wanted: &str) {
    eventually(PATIENCE, &format!("{day} {wanted}"), async || {
        (state(world, day).await.get_str("state").ok() == Some(wanted)).then_some(())
    })
    .await;
}

/// While this is on, no roll-up gets past its first query for 20 s. To turn it off waits for those that it holds.
async fn hold_roll_ups_up(world: &World, is_on: bool) {
    let namespace = format!("{}.users", world.db().name());
    let data = doc! {
        "failCommands": ["aggregate"], "namespace": namespace, "blockConnection": true, "blockTimeMS": 20_000,
    };
    let mode = if is_on { "alwaysOn" } else { "off" };
    let fail_point = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
    world.db().client().database("admin").run_command(fail_point).await.unwrap();
}

async fn until_ready(running: &Running) {
    eventually(PATIENCE, "the aggregator ready", async || {
        (running.metric("devtoolkit_ready").await == Some(1.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_day_that_kills_the_aggregator_is_given_up_and_the_others_are_rolled_up() {
    let extra_args = ["--setParameter", "enableTestCommands=1"].map(String::from).to_vec();
    let mongo = ReplicaSet::start(ReplicaSetOptions { extra_args, ..ReplicaSetOptions::default() }).await.unwrap();
    let brokers = std::env::var("DEVTOOLKIT__KAFKA__BROKERS").unwrap();
    let world = configured(World::on("attempts-killed", &mongo.uri(), &brokers).await);
    world.run_ok("admin", &["migrate"]).await;
    let (victim, older) = (Day::yesterday(), Day::yesterday().previous());
    for (day, seed) in [(victim, 1), (older, 2), (Day::today(), 3)] {
        events::store(world.db(), &events::random(day, 50, seed)).await;
    }
    hold_roll_ups_up(&world, true).await;
    for attempt in 1..=MOST_ATTEMPTS {
        let mut serving = world.spawn("aggregator", &["serve"]);
        eventually(PATIENCE, &format!("attempt {attempt} at {victim}"), async || {
            (state(&world, victim).await.get_i64("attempts").ok() == Some(attempt)).then_some(())
        })
        .await;
        serving.process.kill().unwrap();
        assert!(!state(&world, older).await.contains_key("state"), "the newest day comes first");
    }
    hold_roll_ups_up(&world, false).await;
    let mut serving = world.spawn("aggregator", &["serve"]);
    until_in_state(&world, older, "rolled").await;
    until_in_state(&world, Day::today(), "provisional").await;
    assert_eq!(state(&world, victim).await.get_i64("attempts").unwrap(), MOST_ATTEMPTS);
    // What the alert names the day by.
    until_ready(&serving).await;
    let failed = async || serving.metric("devtoolkit_aggregator_latest_failed_day_timestamp_seconds").await;
    assert_eq!(failed().await, Some(victim.start().timestamp() as f64));
    let status = world.run_ok("aggregator", &["status"]).await;
    assert!(status.contains(&format!("attempt {MOST_ATTEMPTS}: it has not ended")), "{status}");

    world.run_ok("aggregator", &["run", "--date", &victim.to_string()]).await;
    assert_eq!(state(&world, victim).await.get_i64("attempts").unwrap(), 0);
    eventually(PATIENCE, "no failed day", async || (failed().await == Some(0.0)).then_some(())).await;
    serving.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn today_has_a_row_and_a_provisional_document() {
    let world = configured(events::world("attempts-today").await);
    let today = Day::today();
    events::store(world.db(), &events::random(today, 50, 1)).await;
    let row = async || {
        let status = world.run_ok("aggregator", &["status"]).await;
        status.lines().find(|line| line.contains(&today.to_string())).unwrap_or_default().to_owned()
    };
    assert!(row().await.contains("not over"), "{}", row().await);
    let (code, message) = world.run_fail("aggregator", &["show", "--date", &today.to_string()]).await;
    assert!(code == 1 && message.contains("aggregator serve"), "{message}");
    let mut serving = world.spawn("aggregator", &["serve"]);
    until_in_state(&world, today, "provisional").await;
    serving.stop(Duration::from_secs(10)).await;
    assert!(row().await.contains("provisional"), "{}", row().await);

    // Given up by `serve`: somebody mends the cause and does not wait for the night.
    let states = world.db().collection::<Document>("rollup_days");
    let given_up = doc! { "$set": { "state": "failed", "attempts": MOST_ATTEMPTS, "lastError": "the disk was full" } };
    states.update_one(doc! { "_id": today.to_string() }, given_up).await.unwrap();
    assert!(row().await.contains("the disk was full"), "{}", row().await);
    let rolled = world.run_ok("aggregator", &["run", "--date", &today.to_string()]).await;
    assert!(rolled.contains("not over"), "{rolled}");
    assert_eq!(state(&world, today).await.get_i64("attempts").unwrap(), 0);
    assert!(row().await.contains("provisional"), "{}", row().await);
    let shown = world.run_ok("aggregator", &["show", "--date", &today.to_string()]).await;
    assert!(shown.contains("these numbers will change"), "{shown}");
}
