//! Rows of each tool's and each user's day, and the counters in `tools` and `users`, against a recount of the events: rolled
//! up again in any order, killed in the middle, taken over.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "tests and their helpers")]

#[path = "rollup/events.rs"]
mod events;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use common::day::Day;
use e2e::eventually::{PATIENCE, eventually};
use e2e::world::World;
use futures::TryStreamExt;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

async fn all(world: &World, collection: &str, filter: Document) -> Vec<Document> {
    let collection = world.db().collection::<Document>(collection);
    collection.find(filter).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap()
}

async fn run(world: &World, from: Day, to: Day) {
    world.run_ok("aggregator", &["run", "--from", &from.to_string(), "--to", &to.to_string()]).await;
}

/// What the events say about one tool or one user.
#[derive(Debug, Default, PartialEq)]
struct Counted {
    total: i64,
    daily: i64,
    weekly: i64,
    monthly: i64,
    failures: i64,
    checks: i64,
    healthy: i64,
    response_times: Vec<f64>,
    last_use: Option<i64>,
    last_activity: Option<i64>,
    last_check: Option<i64>,
}

/// By tool and by user, from events in structured mode; all of them within the last 28 days.
fn recount(sent: &[Value]) -> (BTreeMap<ObjectId, Counted>, BTreeMap<ObjectId, Counted>) {
    let today = Day::today();
    let (mut tools, mut users) = (BTreeMap::<_, Counted>::new(), BTreeMap::<_, Counted>::new());
    for event in unique(sent) {
        let time = DateTime::parse_rfc3339_str(event["time"].as_str().unwrap()).unwrap();
        let (at, day) = (Some(time.timestamp_millis()), Day::of(time.to_chrono()));
        let id = |field: &str| event["data"][field].as_str().map(|id| id.parse::<ObjectId>().unwrap());
        let count = |of: &mut Counted| {
            of.total += 1;
            of.daily += i64::from(day == today);
            of.weekly += i64::from(day >= today.week_start());
            of.monthly += i64::from(day >= today.month_start());
            of.failures += i64::from(event["data"]["usage"]["success"] == false);
            of.response_times.extend(event["data"]["performance"]["responseTime"].as_f64());
            of.last_use = of.last_use.max(at);
        };
        let kind = event["type"].as_str().unwrap();
        if kind == "com.devtoolkit.health-check.v1" {
            let tool = tools.entry(id("toolId").unwrap()).or_default();
            tool.checks += 1;
            tool.healthy += i64::from(event["data"]["healthy"] == true);
            tool.last_check = tool.last_check.max(at);
            continue;
        }
        if event["data"]["action"] == "login_failed" {
            continue;
        }
        let is_use = kind == "com.devtoolkit.tool-usage.v1";
        if is_use {
            count(tools.entry(id("toolId").unwrap()).or_default());
        }
        if let Some(user) = id("userId") {
            let user = users.entry(user).or_default();
            if is_use {
                count(user);
            }
            user.last_activity = user.last_activity.max(at);
        }
    }
    (tools, users)
}

fn unique(sent: &[Value]) -> Vec<&Value> {
    let mut known = BTreeSet::new();
    sent.iter().filter(|event| known.insert(event["id"].as_str().unwrap())).collect()
}

fn number(document: &Document, path: &str) -> i64 {
    value(document, path).map_or(0, |value| value.as_i64().unwrap_or_else(|| panic!("{path} is {value}")))
}

fn value<'a>(document: &'a Document, path: &str) -> Option<&'a bson::Bson> {
    let (outer, inner) = path.split_once('.')?;
    document.get_document(outer).ok()?.get(inner)
}

fn millis(document: &Document, path: &str) -> Option<i64> {
    value(document, path).map(|time| time.as_datetime().unwrap().timestamp_millis())
}

/// The counters are what the events say.
async fn assert_counted(world: &World, sent: &[Value]) {
    let (tools, users) = recount(sent);
    let nothing = Counted::default();
    for user in all(world, "users", doc! {}).await {
        let id = user.get_object_id("_id").unwrap();
        let counted = users.get(&id).unwrap_or(&nothing);
        let found = ["totalCount", "dailyCount", "monthlyCount"].map(|field| number(&user, &format!("usage.{field}")));
        assert_eq!(found, [counted.total, counted.daily, counted.monthly], "{user}");
        assert_eq!(millis(&user, "usage.lastUsageDate"), counted.last_use, "{user}");
        assert_eq!(millis(&user, "status.lastActivity"), counted.last_activity, "{user}");
    }
    for tool in all(world, "tools", doc! {}).await {
        let id = tool.get_object_id("_id").unwrap();
        let counted = tools.get(&id).unwrap_or(&nothing);
        let found = ["totalUsage", "dailyUsage", "weeklyUsage", "monthlyUsage"]
            .map(|field| number(&tool, &format!("usage.{field}")));
        assert_eq!(found, [counted.total, counted.daily, counted.weekly, counted.monthly], "{tool}");
        assert_eq!(millis(&tool, "timestamps.lastUsed"), counted.last_use, "{tool}");
        assert_eq!(millis(&tool, "performance.lastHealthCheck"), counted.last_check, "{tool}");
        let share = |part: f64, whole: usize| (whole > 0).then(|| part / whole as f64);
        let times = &counted.response_times;
        for (field, expected) in [
            ("averageResponseTime", share(times.iter().sum(), times.len())),
            ("errorRate", share(counted.failures as f64, counted.total as usize)),
            ("uptime", share(100.0 * counted.healthy as f64, counted.checks as usize)),
        ] {
            let found = value(&tool, &format!("performance.{field}")).map(|number| number.as_f64().unwrap());
            // The sums are of doubles, in another order.
            let differs =
                found.zip(expected).is_none_or(|(found, expected)| (found - expected).abs() > 1e-9 * expected);
            assert!(!differs || found == expected, "{field} is {found:?}, not {expected:?}: {tool}");
        }
    }
}

/// What every moment must show: counters are the sums of the rows, whatever was killed.
async fn assert_rows_and_counters_agree(world: &World) {
    for (counters, rows, id, total) in
        [("users", "user_days", "userId", "usage.totalCount"), ("tools", "tool_days", "toolId", "usage.totalUsage")]
    {
        let mut sums: BTreeMap<ObjectId, i64> = BTreeMap::new();
        for row in all(world, rows, doc! {}).await {
            *sums.entry(row.get_object_id(id).unwrap()).or_default() += row.get_i64("usage").unwrap();
        }
        for document in all(world, counters, doc! {}).await {
            let sum = sums.get(&document.get_object_id("_id").unwrap()).copied().unwrap_or(0);
            assert_eq!(number(&document, total), sum, "{counters}: {document}");
        }
    }
}

/// All rows and daily documents, without what says when they were computed.
async fn computed(world: &World) -> Vec<Document> {
    let mut documents = Vec::new();
    for collection in ["tool_days", "user_days", "system_analytics"] {
        documents.extend(all(world, collection, doc! {}).await);
    }
    for document in &mut documents {
        for field in ["createdAt", "updatedAt"] {
            document.remove(field);
        }
        if let Ok(rollup) = document.get_document_mut("rollup") {
            rollup.remove("computedAt");
        }
    }
    documents
}

#[tokio::test]
async fn counters_equal_a_recount_after_re_rolls_in_any_order() {
    let world = events::world("counters-rerolls").await;
    let days: Vec<Day> = Day::range_inclusive(Day::yesterday().minus(3), Day::yesterday()).collect();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut sent = Vec::new();
    for round in 0..3 {
        let mut order = days.clone();
        order.shuffle(&mut random);
        for (day, seed) in order.iter().zip(round * 10..) {
            // Of some days nothing more comes; they are rolled up again all the same.
            let count = if random.random_bool(0.7) { 150 } else { 0 };
            let late = events::random(*day, count, seed);
            events::store(world.db(), &late).await;
            sent.extend(late);
            run(&world, *day, *day).await;
        }
        assert_rows_and_counters_agree(&world).await;
        assert_counted(&world, &sent).await;
    }
    let first = computed(&world).await;
    run(&world, days[0], days[3]).await;
    assert_eq!(computed(&world).await, first);
    assert_counted(&world, &sent).await;
}

#[tokio::test]
async fn rows_say_what_the_events_of_their_day_say() {
    let world = events::world("counters-rows").await;
    let day = Day::yesterday();
    let mut sent = events::random(day, 600, 11);
    for (event, country) in sent.iter_mut().zip(["US", "de", "Atlantis"].iter().cycle()) {
        if event["type"] == "com.devtoolkit.tool-usage.v1" {
            event["data"]["context"] = serde_json::json!({ "location": { "country": country } });
        }
    }
    events::store(world.db(), &sent).await;
    run(&world, day, day).await;

    let uses: Vec<&Value> =
        unique(&sent).into_iter().filter(|event| event["type"] == "com.devtoolkit.tool-usage.v1").collect();
    let rows = all(&world, "tool_days", doc! {}).await;
    assert_eq!(rows.iter().map(|row| row.get_i64("usage").unwrap()).sum::<i64>(), uses.len() as i64);
    for row in &rows {
        let tool = row.get_object_id("toolId").unwrap().to_hex();
        let of_tool: Vec<&&Value> = uses.iter().filter(|event| event["data"]["toolId"] == tool.as_str()).collect();
        assert_eq!(row.get_object_id("_id").unwrap(), day.row_id(row.get_object_id("toolId").unwrap()));
        assert_eq!(row.get_i64("usage").unwrap(), of_tool.len() as i64);
        let people: BTreeSet<&str> = of_tool.iter().filter_map(|event| event["data"]["userId"].as_str()).collect();
        assert_eq!(row.get_i64("uniqueUsers").unwrap(), people.len() as i64);
        let durations: Vec<i64> =
            of_tool.iter().map(|event| event["data"]["usage"]["duration"].as_i64().unwrap()).collect();
        let duration = row.get_document("duration").unwrap();
        assert_eq!(duration.get_i64("total").unwrap(), durations.iter().sum::<i64>());
        assert_eq!(duration.get_i64("max").ok(), durations.iter().max().copied());
        assert_eq!(duration.get_i64("min").ok(), durations.iter().min().copied());
        let mut countries: BTreeMap<&str, i64> = BTreeMap::new();
        for event in &of_tool {
            let name = match event["data"]["context"]["location"]["country"].as_str().unwrap() {
                "US" => "US",
                "de" => "DE",
                _ => "other",
            };
            *countries.entry(name).or_default() += 1;
        }
        let found = row.get_document("byCountry").unwrap();
        let found: BTreeMap<&str, i64> =
            found.iter().map(|(name, uses)| (name.as_str(), uses.as_i64().unwrap())).collect();
        assert_eq!(found, countries);
        let known = events::users(day);
        let with_plan =
            of_tool.iter().filter(|event| known.iter().any(|user| event["data"]["userId"] == user.id.as_str()));
        let by_plan: i64 = row.get_document("byPlan").unwrap().values().map(|uses| uses.as_i64().unwrap()).sum();
        assert_eq!(by_plan, with_plan.count() as i64);
        assert_percentiles(row, &of_tool);
    }
    let page_views = unique(&sent)
        .iter()
        .filter(|event| event["data"]["action"] == "page_view" && event["data"]["userId"].is_string())
        .count();
    let rows = all(&world, "user_days", doc! {}).await;
    assert_eq!(rows.iter().map(|row| row.get_i64("pageViews").unwrap()).sum::<i64>(), page_views as i64);
    assert!(rows.iter().all(|row| row.get_f64("minutes").unwrap() >= 0.0));
    assert!(rows.iter().map(|row| row.get_i64("visits").unwrap()).sum::<i64>() > 0);

    // What somebody removed from the events goes from the rows and the counters, if that is asked for.
    let user = rows[0].get_object_id("userId").unwrap();
    for collection in ["usage_analytics", "activity_logs"] {
        world.db().collection::<Document>(collection).delete_many(doc! { "userId": user }).await.unwrap();
    }
    world.run_ok("aggregator", &["run", "--date", &day.to_string(), "--accept-removed"]).await;
    assert!(all(&world, "user_days", doc! { "userId": user }).await.is_empty());
    assert_rows_and_counters_agree(&world).await;
}

/// Read from the buckets' bounds, a percentile is at most a sixteenth too high.
fn assert_percentiles(row: &Document, uses: &[&&Value]) {
    let mut times: Vec<f64> =
        uses.iter().filter_map(|event| event["data"]["performance"]["responseTime"].as_f64()).collect();
    times.sort_by(f64::total_cmp);
    let buckets = row.get_document("responseTime").unwrap().get_array("histogram").unwrap();
    for percent in [50, 95, 99] {
        let Some(rank) = (times.len() * percent).div_ceil(100).checked_sub(1) else { continue };
        let mut below = 0;
        let bound = buckets.iter().map(|bucket| bucket.as_document().unwrap()).find_map(|bucket| {
            below += bucket.get_i64("count").unwrap();
            (below > rank as i64).then(|| bucket.get_f64("upTo").unwrap())
        });
        let (bound, exact) = (bound.unwrap(), times[rank].max(1.0));
        assert!(bound >= exact && bound <= exact * 1.0626, "p{percent}: {bound}, exactly {exact}");
    }
}

/// One aggregator works and another one stands by: whoever works is killed. Set `E2E_KILLS=200` for the long form.
#[tokio::test]
async fn killed_anywhere_counters_equal_a_recount() {
    let kills: u64 = std::env::var("E2E_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let world = events::world("counters-kills").await;
    let days: Vec<Day> = Day::range_inclusive(Day::yesterday().minus(4), Day::yesterday()).collect();
    let mut random = ChaCha8Rng::seed_from_u64(17);
    let (mut sent, mut unfinished) = (Vec::new(), 0);
    let start = || world.spawn("aggregator", &["run", "--from", &days[0].to_string(), "--to", &days[4].to_string()]);
    let mut aggregators = [start(), start()];
    for round in 0..kills {
        let late = events::random(days[(round % 5) as usize], 200, 1_000 + round);
        events::store(world.db(), &late).await;
        sent.extend(late);
        let working = eventually(PATIENCE, "an aggregator at work", async || {
            for aggregator in &mut aggregators {
                if aggregator.process.exited().unwrap().is_some() {
                    *aggregator = start();
                }
            }
            let lease =
                world.db().collection::<Document>("leases").find_one(doc! { "_id": "aggregator" }).await.unwrap();
            let holder = lease?.get_str("holder").unwrap().to_owned();
            aggregators.iter().position(|aggregator| holder.starts_with(&format!("{}-", aggregator.process.pid())))
        })
        .await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
        unfinished += u64::from(aggregators[working].process.exited().unwrap().is_none());
        aggregators[working].process.kill().unwrap();
        // The other one waits for the end of the dead one's lease: until all is looked at, and no longer.
        lease_for(&world, PATIENCE).await;
        assert_rows_and_counters_agree(&world).await;
        lease_for(&world, Duration::ZERO).await;
        aggregators[working] = start();
    }
    aggregators.iter_mut().for_each(|aggregator| aggregator.process.kill().unwrap());
    lease_for(&world, Duration::ZERO).await;
    println!("{unfinished} of {kills} were killed at work");
    run(&world, days[0], days[4]).await;
    assert_rows_and_counters_agree(&world).await;
    assert_counted(&world, &sent).await;

    let undisturbed = events::world("counters-undisturbed").await;
    events::store(undisturbed.db(), &sent).await;
    run(&undisturbed, days[0], days[4]).await;
    assert_eq!(computed(&world).await, computed(&undisturbed).await);
}

/// Whoever holds the lease has it for so long.
async fn lease_for(world: &World, duration: Duration) {
    let end = DateTime::from_millis(DateTime::now().timestamp_millis() + i64::try_from(duration.as_millis()).unwrap());
    let leases = world.db().collection::<Document>("leases");
    leases.update_one(doc! {}, doc! { "$set": { "expiresAt": end } }).await.unwrap();
}
