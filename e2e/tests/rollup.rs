//! The aggregator's program on a real MongoDB: its documents against the recount, its messages, its long-running form.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests and their helpers")]

#[path = "rollup/events.rs"]
mod events;

use std::time::Duration;

use bson::{Bson, Document, doc};
use common::day::Day;
use e2e::eventually::{PATIENCE, eventually};
use e2e::recount;
use e2e::world::World;
use futures::TryStreamExt;
use serde_json::{Value, json};

async fn daily(world: &World, day: Day) -> Option<Document> {
    world.db().collection::<Document>("system_analytics").find_one(doc! { "date": day.to_string() }).await.unwrap()
}

async fn state(world: &World, day: Day) -> Option<Document> {
    world.db().collection::<Document>("rollup_days").find_one(doc! { "_id": day.to_string() }).await.unwrap()
}

fn json_of(document: &Document, field: &str) -> Value {
    document.get(field).cloned().unwrap_or(Bson::Null).into_relaxed_extjson()
}

/// The document without what says when it was computed.
fn without_times(mut document: Document) -> Document {
    assert!(document.remove("updatedAt").is_some());
    assert!(document.get_document_mut("rollup").unwrap().remove("computedAt").is_some());
    document
}

async fn run(world: &World, day: Day) {
    world.run_ok("aggregator", &["run", "--date", &day.to_string()]).await;
}

#[tokio::test]
async fn every_number_equals_the_recount_and_running_again_changes_none() {
    let world = events::world("rollup-recount").await;
    let last = Day::yesterday();
    let days: Vec<Day> = Day::range_inclusive(last.minus(2), last).collect();
    let mut sent = Vec::new();
    for (day, seed) in days.iter().zip(1..) {
        sent.extend(events::random(*day, 1_500, seed));
    }
    let stored = events::store(world.db(), &sent).await;

    let (from, to) = (days[0].to_string(), last.to_string());
    let range = ["run", "--from", &from, "--to", &to];
    world.run_ok("aggregator", &range).await;

    let (mut yesterday, mut inputs, mut first) = (None, 0, Vec::new());
    for day in &days {
        let document = daily(&world, *day).await.expect("a document for each day");
        let recounted = recount::metrics(&day.to_string(), &sent, &events::users(last), &events::tools());
        assert_eq!(json_of(&document, "metrics"), recounted, "{day}");
        assert_eq!(json_of(&document, "trends"), recount::trends(&recounted, yesterday.as_ref()), "{day}");
        assert!(document.get_object_id("_id").is_ok() && document.get_datetime("createdAt").is_ok());
        let rollup = json_of(&document, "rollup");
        assert_eq!(rollup["engine"], json!("scan"));
        assert_eq!(rollup["provisional"], json!(false));
        assert_eq!(rollup["settings"], json!({ "visitGapMinutes": 30, "presenceMinutes": 5, "mostUsedTools": 10 }));
        assert_eq!(rollup["inputs"]["unreadable"], json!(0));
        inputs += ["toolUsage", "activity", "healthChecks"]
            .map(|kind| rollup["inputs"][kind].as_u64().unwrap())
            .iter()
            .sum::<u64>();
        assert_eq!(state(&world, *day).await.unwrap().get_str("state").unwrap(), "rolled");
        yesterday = Some(recounted);
        first.push(document);
    }
    assert_eq!(inputs, stored as u64, "every event is in exactly one day");

    world.run_ok("aggregator", &range).await;
    for (day, first) in days.iter().zip(first) {
        assert_eq!(without_times(daily(&world, *day).await.unwrap()), without_times(first), "{day}");
    }
}

#[tokio::test]
async fn a_late_event_counts_on_the_next_run_and_moves_the_trends_of_the_day_after() {
    let world = events::world("rollup-late").await;
    let (day, after) = (Day::yesterday().previous(), Day::yesterday());
    let mut sent = events::random(day, 200, 7);
    sent.extend(events::random(after, 200, 8));
    events::store(world.db(), &sent).await;
    run(&world, day).await;
    run(&world, after).await;
    let before = daily(&world, after).await.unwrap();

    let late = events::random(day, 50, 9);
    events::store(world.db(), &late).await;
    sent.extend(late);
    run(&world, day).await;

    let recounted = |day: Day| recount::metrics(&day.to_string(), &sent, &events::users(after), &events::tools());
    assert_eq!(json_of(&daily(&world, day).await.unwrap(), "metrics"), recounted(day));
    let refreshed = daily(&world, after).await.unwrap();
    assert_eq!(json_of(&refreshed, "trends"), recount::trends(&recounted(after), Some(&recounted(day))));
    assert_ne!(refreshed.get("trends"), before.get("trends"));
    for field in ["metrics", "rollup", "createdAt"] {
        assert_eq!(refreshed.get(field), before.get(field), "{field}");
    }
}

#[tokio::test]
async fn a_day_without_events_has_zeros_and_nulls() {
    let world = events::world("rollup-empty").await;
    let day = Day::yesterday();
    run(&world, day).await;
    let document = daily(&world, day).await.unwrap();
    let recounted = recount::metrics(&day.to_string(), &[], &events::users(day), &events::tools());
    assert_eq!(json_of(&document, "metrics"), recounted);
    assert_eq!(
        json_of(&document, "trends"),
        json!({ "userGrowth": null, "usageGrowth": null, "performanceChange": null })
    );
}

#[tokio::test]
async fn a_day_that_never_was_is_refused_and_not_sealed() {
    let world = events::world("rollup-before").await;
    let first = Day::yesterday();
    events::store(world.db(), &events::random(first, 10, 1)).await;
    for never in ["0001-01-01", "2001-01-01"] {
        let (code, message) = world.run_fail("aggregator", &["run", "--date", never]).await;
        assert_eq!(code, 1);
        assert!(message.contains(&format!("{first} is the first day")), "{message}");
    }
    assert_eq!(world.db().collection::<Document>("rollup_days").count_documents(doc! {}).await.unwrap(), 0);
}

/// Somebody wrote past the validators.
#[tokio::test]
async fn a_tool_and_a_user_with_wrong_fields_stop_no_day() {
    let world = events::world("rollup-wrong-types").await;
    let day = Day::yesterday();
    events::store(world.db(), &events::random(day, 200, 1)).await;
    let used = |collection: &'static str, field: &'static str| {
        let events = world.db().collection::<Document>("usage_analytics");
        let known = world.db().collection::<Document>(collection);
        async move {
            let ids = events.distinct(field, doc! {}).await.unwrap();
            let found = known.find_one(doc! { "_id": { "$in": ids } }).await.unwrap().unwrap();
            found.get_object_id("_id").unwrap()
        }
    };
    let (tool, user) = (used("tools", "toolId").await, used("users", "userId").await);
    for (collection, id, field, value) in [
        ("tools", tool, "usage.totalUsage", bson::Bson::from("12")),
        ("users", user, "usage.totalCount", bson::Bson::from("five")),
    ] {
        let change = doc! { "$set": { field: value } };
        let documents = world.db().collection::<Document>(collection);
        documents.update_one(doc! { "_id": id }, change).bypass_document_validation(true).await.unwrap();
    }
    let done = world.run("aggregator", &["run", "--date", &day.to_string()]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for id in [tool, user] {
        assert!(done.stderr.contains(&id.to_string()), "{id} is not named: {}", done.stderr);
    }
    let others = world.db().collection::<Document>("tools");
    let moved = others.count_documents(doc! { "usage.totalUsage": { "$type": "number", "$gt": 0 } }).await.unwrap();
    assert!(moved > 0, "the other tools are counted");
}

#[tokio::test]
async fn verified_and_premium_are_those_of_the_first_run() {
    let world = events::world("rollup-snapshot").await;
    let day = Day::yesterday();
    run(&world, day).await;
    let first = daily(&world, day).await.unwrap();
    let everyone =
        doc! { "$set": { "authentication.isVerified": true, "subscription": { "plan": "pro", "status": "active" } } };
    let users = world.db().collection::<Document>("users");
    users.update_many(doc! {}, everyone).bypass_document_validation(true).await.unwrap();
    run(&world, day).await;
    assert_eq!(without_times(daily(&world, day).await.unwrap()), without_times(first));
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_and_said() {
    let world = events::world("rollup-unreadable").await;
    let day = Day::yesterday();
    let sent = events::random(day, 100, 3);
    events::store(world.db(), &sent).await;
    let noon = bson::DateTime::from_chrono(day.start() + chrono::TimeDelta::hours(12));
    let wrong = doc! { "toolId": "not an id", "timestamp": noon };
    world.db().collection("usage_analytics").insert_one(wrong).bypass_document_validation(true).await.unwrap();
    let wrong = doc! { "action": "dance", "timestamp": noon };
    world.db().collection("activity_logs").insert_one(wrong).bypass_document_validation(true).await.unwrap();

    let ran = world.run("aggregator", &["run", "--date", &day.to_string()]).await;
    assert_eq!(ran.code, Some(0));
    assert!(ran.stdout.contains("2 unreadable documents left out"), "{}", ran.stdout);
    assert!(ran.stderr.contains("toolId is of type String, expected an ObjectId"), "{}", ran.stderr);
    let document = daily(&world, day).await.unwrap();
    assert_eq!(json_of(&document, "rollup")["inputs"]["unreadable"], json!(2));
    let recounted = recount::metrics(&day.to_string(), &sent, &events::users(day), &events::tools());
    assert_eq!(json_of(&document, "metrics"), recounted);
}

#[tokio::test]
async fn a_reader_never_sees_half_a_document() {
    let world = events::world("rollup-reader").await;
    let day = Day::yesterday();
    let database = world.db().clone();
    let watching = tokio::spawn(async move {
        let documents = database.collection::<Document>("system_analytics");
        let mut seen = std::collections::BTreeSet::new();
        loop {
            if let Some(document) = documents.find_one(doc! { "date": day.to_string() }).await.unwrap() {
                let rollup = json_of(&document, "rollup");
                let metrics = json_of(&document, "metrics");
                assert_eq!(metrics["tools"]["totalUsage"], rollup["inputs"]["toolUsage"]);
                let uses = rollup["inputs"]["toolUsage"].as_u64().unwrap();
                seen.insert(uses);
                if uses >= 300 {
                    return seen.len();
                }
            }
        }
    });
    let mut uses = 0;
    for seed in 0.. {
        let more = events::random(day, 60, 100 + seed);
        uses += more.iter().filter(|event| event["type"] == "com.devtoolkit.tool-usage.v1").count();
        events::store(world.db(), &more).await;
        run(&world, day).await;
        if uses > 400 {
            break;
        }
    }
    assert!(watching.await.unwrap() > 3, "the reader was to see several versions");
}

#[tokio::test]
async fn show_and_status_are_readable() {
    let world = events::world("rollup-show").await;
    let (day, before) = (Day::yesterday(), Day::yesterday().previous());
    events::store(world.db(), &events::random(before, 200, 1)).await;
    events::store(world.db(), &events::random(day, 220, 2)).await;

    let date = day.to_string();
    let (code, message) = world.run_fail("aggregator", &["show", "--date", &date]).await;
    assert_eq!(code, 1);
    assert!(message.contains(&format!("aggregator run --date {date}")), "{message}");
    assert!(world.run_ok("aggregator", &["status"]).await.contains("due"));

    run(&world, before).await;
    run(&world, day).await;
    let page = world.run_ok("aggregator", &["show", "--date", &date]).await;
    for text in [&date, &before.to_string(), "Page views", "Tool 0", "Change", "Most used tools", "Computed"] {
        assert!(page.contains(text), "{text} is missing:\n{page}");
    }
    // As text: serde_json would not read every number back to the last digit.
    let stored = Bson::Document(daily(&world, day).await.unwrap()).into_relaxed_extjson();
    let shown = world.run_ok("aggregator", &["show", "--date", &date, "--json"]).await;
    assert_eq!(shown.trim_end(), serde_json::to_string_pretty(&stored).unwrap());

    let table = world.run_ok("aggregator", &["status"]).await;
    assert_eq!(table.matches("rolled").count(), 2, "{table}");
    assert!(!table.contains("due"), "{table}");
}

#[tokio::test]
async fn wrong_usage_is_told_before_anything_is_done() {
    let world = World::new("rollup-usage").await;
    let (today, yesterday) = (Day::today().to_string(), Day::yesterday().to_string());
    for (args, expected) in [
        (vec!["run", "--date", "2999-01-01"], "has not begun"),
        (vec!["run", "--from", &yesterday, "--to", "2999-01-01"], "has not begun"),
        (vec!["verify", "--date", &today], "is not over yet"),
        (vec!["run", "--from", &yesterday, "--to", "2020-01-01"], "is before --from"),
        (vec!["run", "--date", "15.01.2024"], "expected YYYY-MM-DD"),
        (vec!["run", "--date", &yesterday, "--engine", "magic"], "possible values: scan"),
        (vec!["run"], "name a day with --date"),
        (vec!["run", "--from", &yesterday], "--to"),
        (vec!["roll"], "unrecognized subcommand"),
    ] {
        let (code, message) = world.run_fail("aggregator", &args).await;
        assert_eq!(code, 2, "{args:?}: {message}");
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    assert!(world.db().list_collection_names().await.unwrap().is_empty());

    let world = world.with_env("AGGREGATOR__SCHEDULE", "every night");
    let (code, message) = world.run_fail("aggregator", &["serve"]).await;
    assert_eq!(code, 2);
    assert!(message.contains("aggregator.schedule") && message.contains("five fields"), "{message}");
}

#[tokio::test]
async fn serve_catches_up_newest_first_past_a_bad_day_and_ends_on_sigterm() {
    // Without a validator here, so that a day can be bad: its document is none.
    let world = World::new("rollup-serve").await;
    let last = Day::yesterday();
    let days: Vec<Day> = Day::range_inclusive(last.minus(5), last).collect();
    for (day, seed) in days.iter().zip(1..) {
        // A day without events in the middle is caught up as well.
        let count = if *day == last.minus(1) { 0 } else { 50 };
        events::store(world.db(), &events::random(*day, count, seed)).await;
    }
    let bad = days[0];
    let documents = world.db().collection::<Document>("system_analytics");
    documents.insert_one(doc! { "date": bad.to_string(), "metrics": "none" }).await.unwrap();

    let mut serving = world.spawn("aggregator", &["serve"]);
    let rolled = async || {
        let states = world.db().collection::<Document>("rollup_days");
        let mut states: Vec<Document> = states
            .find(doc! { "state": "rolled" })
            .sort(doc! { "rolledAt": -1 })
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        (states.len() == 4).then(|| states.drain(..).map(|state| state.get_str("_id").unwrap().to_owned()).collect())
    };
    let oldest_first: Vec<String> = eventually(PATIENCE, "four days rolled up", rolled).await;
    assert_eq!(oldest_first, days[2..].iter().map(Day::to_string).collect::<Vec<_>>());
    // The day after the bad one needs it for its trends, so both failed, and say why.
    // An attempt is recorded before the day is computed, without a state.
    let has_failed = |state: &Document| state.get_str("state").is_ok_and(|state| state == "failed");
    let failed = async || state(&world, bad).await.filter(has_failed);
    let failed = eventually(PATIENCE, "the bad day's failure", failed).await;
    assert!(failed.get_str("lastError").unwrap().contains("daily document"), "{failed}");
    let table = world.run_ok("aggregator", &["status"]).await;
    assert_eq!(table.matches("failed").count(), 2 * 2, "a state and a remark each:\n{table}");

    let metrics = serving.get("/metrics").await;
    assert!(metrics.contains("devtoolkit_aggregator_rollups_total{outcome=\"rolled\"} 4"), "{metrics}");
    assert!(metrics.contains("# HELP devtoolkit_aggregator_days_due"), "{metrics}");
    assert!(serving.get("/healthz/ready").await.starts_with("HTTP/1.1 200"));
    serving.stop(Duration::from_secs(10)).await;
}
