//! The two engines on a real mongod: scan = pushdown = the recount, for random days, for documents that nobody should have
//! written, and in `aggregator verify`.
//!
//! `ENGINE_CASES` is the number of random days, 200 without it.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests and their helpers")]

#[path = "rollup/events.rs"]
mod events;
#[path = "rollup/generated.rs"]
mod generated;

use std::collections::BTreeMap;

use aggregator::fold::Totals;
use aggregator::fold::exact::LARGEST;
use aggregator::rollup::Rollup;
use aggregator::scan::pass::Limits;
use aggregator::source::Source;
use aggregator::{ledger, pushdown, scan};
use bson::oid::ObjectId;
use bson::{Bson, DateTime, Decimal128, Document, RawDocumentBuf, doc};
use common::day::Day;
use common::documents::system_analytics::{Engine, SystemAnalytics};
use e2e::recount;
use e2e::world::World;
use mongodb::Database;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use serde_json::Value;

const LIMITS: Limits = Limits { readers: 2, memory: 64 << 20 };

fn cases() -> u32 {
    std::env::var("ENGINE_CASES").map_or(200, |cases| cases.parse().unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Holds `check` to be true of `cases` values; what it needs to be run again is in the message.
fn hold<S: Strategy>(cases: u32, values: &S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config =
        ProptestConfig { failure_persistence: None, max_shrink_iters: 500, ..ProptestConfig::with_cases(cases) };
    if let Err(failure) = TestRunner::new(config).run(values, check) {
        panic!("{failure}");
    }
}

/// The only documents of the events' collections.
async fn replace(database: &Database, documents: BTreeMap<Source, Vec<RawDocumentBuf>>) {
    for source in Source::ALL {
        let collection = database.collection::<RawDocumentBuf>(source.collection());
        collection.delete_many(doc! {}).await.unwrap();
        if let Some(documents) = documents.get(&source) {
            collection.insert_many(documents).await.unwrap();
        }
    }
}

fn metrics(document: &SystemAnalytics) -> Value {
    bson::serialize_to_bson(&document.metrics).unwrap().into_relaxed_extjson()
}

#[test]
fn scan_is_pushdown_is_the_recount() {
    let runtime = runtime();
    // Not migrated: the generated day is long ago, and a TTL index would remove it.
    let world = runtime.block_on(World::new("engines-random"));
    let database = world.db().clone();
    runtime.block_on(events::store_people_and_tools(&database, &generated::users(), &generated::tools()));
    let rollup = Rollup { database: database.clone(), engine: Engine::Scan, limits: LIMITS, accepts_removed: false };
    hold(cases(), &generated::events(), |events| {
        let mut documents: BTreeMap<Source, Vec<RawDocumentBuf>> = BTreeMap::new();
        for stored in generated::stored(&events) {
            documents.entry(stored.source).or_default().push(RawDocumentBuf::from_bytes(stored.document).unwrap());
        }
        let [scan, pushdown] = runtime.block_on(async {
            replace(&database, documents).await;
            let scan = rollup.compute(generated::day(), Engine::Scan, &[]).await.unwrap();
            [scan, rollup.compute(generated::day(), Engine::Pushdown, &[]).await.unwrap()]
        });
        prop_assert_eq!(&scan.metrics, &pushdown.metrics);
        let [by_scan, by_pushdown] = [&scan, &pushdown].map(|document| document.rollup.clone().unwrap());
        prop_assert_eq!((by_scan.engine, by_pushdown.engine), (Engine::Scan, Engine::Pushdown));
        prop_assert_eq!(by_scan.inputs, by_pushdown.inputs);
        let recounted = recount::metrics(generated::DATE, &events, &generated::users(), &generated::tools());
        prop_assert_eq!(metrics(&pushdown), recounted);
        Ok(())
    });
}

/// What stands where something else should, or at the edge of what may stand there.
fn odd_values() -> impl Strategy<Value = Bson> {
    let times =
        [i64::MIN, -1, 0, 1, i64::MAX, 253_402_300_799_999].map(|millis| Bson::from(DateTime::from_millis(millis)));
    let numbers =
        [0.0, -0.0, 5e-324, 1e-300, 1e-5, 0.1, 1.0 / 3.0, LARGEST, LARGEST + 1e-6, -1e-300, f64::NAN, f64::INFINITY];
    prop_oneof![
        2 => select(times.to_vec()),
        3 => select(numbers.to_vec()).prop_map(Bson::Double),
        3 => (0.0..LARGEST).prop_map(Bson::Double),
        1 => select(vec![Bson::Int32(7), Bson::Int32(-7), Bson::Int64(1 << 32), Bson::Int64((1 << 32) + 1)]),
        1 => select(vec![Bson::Int64(i64::MIN), Bson::Int64(i64::MAX), Bson::Boolean(true), Bson::Null]),
        1 => select(vec![
            Bson::Decimal128("5".parse::<Decimal128>().unwrap()),
            Bson::String("page_view".into()),
            Bson::ObjectId(ObjectId::from_bytes([7; 12])),
            Bson::Undefined,
            Bson::MinKey,
            Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1] }),
        ]),
        1 => select(vec![
            Bson::from(doc! {}),
            Bson::from(doc! { "responseTime": 5, "startTime": DateTime::from_millis(0) }),
            Bson::Array(Vec::new()),
            Bson::Array(vec![Bson::Int32(1), Bson::from(doc! { "responseTime": 5 })]),
        ]),
    ]
}

/// A document of `source`, good but for a few fields that are odd or gone.
fn odd_documents(source: Source) -> impl Strategy<Value = (Source, Document)> {
    let fields: &[&str] = match source {
        Source::ToolUses => &[
            "userId",
            "toolId",
            "sessionId",
            "usage",
            "usage.startTime",
            "usage.startTime",
            "usage.endTime",
            "usage.endTime",
            "usage.success",
            "performance",
            "performance.responseTime",
            "performance.responseTime",
            "performance.responseTime",
            "performance.responseTime",
        ],
        Source::Activities => &["userId", "sessionId", "action"],
        Source::HealthChecks => &["toolId", "healthy"],
    };
    let id = |kind: u8, numbers: std::ops::Range<u8>| {
        numbers.prop_map(move |number| generated::hex(kind, number).parse::<ObjectId>().unwrap())
    };
    let minute = 0_i64..24 * 60;
    let changes = prop::collection::vec((select(fields), prop::option::weighted(0.9, odd_values())), 0..3);
    (id(1, 0..6), id(2, 0..4), id(3, 0..4), minute, 0_i64..90, any::<bool>(), changes).prop_map(
        move |(user, session, tool, minute, minutes, good, changes)| {
            let start = generated::day().start().timestamp_millis() + minute * generated::MINUTE;
            let [start, end] = [start, start + minutes * generated::MINUTE].map(DateTime::from_millis);
            let mut document = doc! { "timestamp": start, "userId": user, "sessionId": session };
            match source {
                Source::ToolUses => document.extend(doc! {
                    "toolId": tool, "usage": { "startTime": start, "endTime": end, "success": good },
                    "performance": { "responseTime": f64::from(minute as i32) / 7.0 },
                }),
                Source::Activities => drop(document.insert("action", if good { "page_view" } else { "login" })),
                Source::HealthChecks => document.extend(doc! { "toolId": tool, "healthy": good }),
            }
            for (field, value) in changes {
                change(&mut document, field, value);
            }
            (source, document)
        },
    )
}

/// Sets a field or removes it, where what it stands in is still a document.
fn change(document: &mut Document, field: &str, value: Option<Bson>) {
    let (parent, name) = match field.split_once('.') {
        None => (document, field),
        Some((outer, name)) => match document.get_document_mut(outer) {
            Ok(inner) => (inner, name),
            Err(_) => return,
        },
    };
    match value {
        Some(value) => drop(parent.insert(name, value)),
        None => drop(parent.remove(name)),
    }
}

async fn both(database: &Database, day: Day) -> [(Totals, u64); 2] {
    let scan = scan::count(database, day, LIMITS, &[], 0).await.unwrap();
    [scan, pushdown::count(database, day).await.unwrap()]
}

#[test]
fn engines_agree_on_documents_that_nobody_should_have_written() {
    let runtime = runtime();
    let world = runtime.block_on(World::new("engines-odd"));
    let odd = prop_oneof![
        4 => odd_documents(Source::ToolUses),
        2 => odd_documents(Source::Activities),
        1 => odd_documents(Source::HealthChecks),
    ];
    hold(cases(), &prop::collection::vec(odd, 0..25), |odd| {
        let mut documents: BTreeMap<Source, Vec<RawDocumentBuf>> = BTreeMap::new();
        for (source, document) in &odd {
            documents.entry(*source).or_default().push(RawDocumentBuf::try_from(document).unwrap());
        }
        let [scan, pushdown] = runtime.block_on(async {
            replace(world.db(), documents).await;
            both(world.db(), generated::day()).await
        });
        prop_assert_eq!(scan, pushdown);
        Ok(())
    });
}

#[tokio::test]
async fn a_day_that_does_not_fit_into_memory_is_counted_the_same_in_several_passes() {
    let world = World::new("engines-passes").await;
    let day = Day::yesterday();
    events::store_people_and_tools(world.db(), &events::users(day), &events::tools()).await;
    events::store(world.db(), &events::random(day, 15_000, 5)).await;
    let read = async |memory| {
        let limits = Limits { readers: 3, memory };
        let ledger = ledger::of(world.db(), day, limits, &[], DateTime::from_millis(0)).await.unwrap();
        (scan::count(world.db(), day, limits, &[], 0).await.unwrap(), ledger.tools, ledger.users)
    };
    let whole = read(64 << 20).await;
    assert_eq!(whole.0.0.active_users, 30);
    assert_eq!(whole.2.len(), 30);
    for memory in [20_000, 5_000, 0] {
        assert_eq!(read(memory).await, whole, "{memory} bytes");
    }
}

#[tokio::test]
async fn verify_finds_what_was_changed_by_hand_and_what_came_late() {
    let world = events::world("engines-verify").await;
    let (first, last) = (Day::yesterday().previous(), Day::yesterday());
    for (day, seed) in [(first, 1), (last, 2)] {
        events::store(world.db(), &events::random(day, 500, seed)).await;
    }
    let (from, to) = (first.to_string(), last.to_string());
    let verify = ["verify", "--from", &from, "--to", &to];
    let (code, message) = world.run_fail("aggregator", &verify).await;
    assert_eq!(code, 1);
    assert!(message.contains("2 of 2 days"), "{message}");

    world.run_ok("aggregator", &["run", "--from", &from, "--to", &to, "--engine", "pushdown"]).await;
    let right = world.run_ok("aggregator", &verify).await;
    assert_eq!(right.matches(": 0 of ").count(), 2, "{right}");
    let documents = world.db().collection::<Document>("system_analytics");
    let document = documents.find_one(doc! { "date": &to }).await.unwrap().unwrap();
    assert_eq!(document.get_document("rollup").unwrap().get_str("engine").unwrap(), "pushdown");

    let by_hand = doc! { "$set": { "metrics.engagement.bounceRate": 0.125 } };
    documents.update_one(doc! { "date": &to }, by_hand).await.unwrap();
    let wrong = world.run("aggregator", &verify).await;
    assert_eq!(wrong.code, Some(1), "{}", wrong.stdout);
    assert!(
        wrong.stdout.contains("metrics.engagement.bounceRate") && wrong.stdout.contains("0.125"),
        "{}",
        wrong.stdout
    );
    assert!(wrong.stdout.contains(&format!("aggregator run --date {to}")), "{}", wrong.stdout);

    let json = world.run("aggregator", &["verify", "--date", &to, "--json"]).await;
    assert_eq!(json.code, Some(1));
    let days: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(days[0]["differences"].as_array().unwrap().len(), 1);
    let difference = &days[0]["differences"][0];
    assert_eq!(difference["field"], "metrics.engagement.bounceRate");
    assert_eq!(difference["scan"], difference["pushdown"]);
    assert_ne!(difference["scan"], difference["stored"]);

    let setting = world.with_env("AGGREGATOR__ENGINE", "pushdown");
    events::store(setting.db(), &events::random(last, 50, 3)).await;
    setting.run_ok("aggregator", &["run", "--date", &to]).await;
    let document = setting.db().collection::<Document>("system_analytics").find_one(doc! { "date": &to }).await;
    assert_eq!(document.unwrap().unwrap().get_document("rollup").unwrap().get_str("engine").unwrap(), "pushdown");
    setting.run_ok("aggregator", &verify).await;
    let seal = doc! { "$set": { "sealedAt": DateTime::now() } };
    setting.db().collection::<Document>("rollup_days").update_one(doc! { "_id": &to }, seal).await.unwrap();
    assert!(setting.run_ok("aggregator", &verify).await.contains("sealed"));
}

#[tokio::test]
async fn more_unknown_tools_than_may_be_are_one_row_and_known_ones_stay_exact() {
    let world = World::new("engines-unknown").await;
    let day = Day::yesterday();
    events::store_people_and_tools(world.db(), &events::users(day), &events::tools()).await;
    events::store(world.db(), &events::random(day, 2_000, 7)).await;
    let limits = Limits { readers: 3, memory: 64 << 20 };
    let read = async || {
        let ledger = ledger::of(world.db(), day, limits, &[], DateTime::from_millis(0)).await.unwrap();
        let [scan, pushdown] = both(world.db(), day).await;
        assert_eq!(scan, pushdown);
        (scan.0, ledger.tools)
    };
    let (before, rows_before) = read().await;
    // Each with the largest response time, of few users.
    const UNKNOWN: usize = 30_000;
    let start = DateTime::from_chrono(day.start());
    for first in (0..UNKNOWN).step_by(10_000) {
        let uses = (first..first + 10_000).map(|number| {
            let user = ObjectId::from_bytes([number as u8 % 5; 12]);
            let mut tool = [9; 12];
            tool[4..].copy_from_slice(&(number as u64).to_be_bytes());
            doc! {
                "toolId": ObjectId::from_bytes(tool), "userId": user, "timestamp": start,
                "usage": { "startTime": start, "endTime": start, "success": true, "duration": 1_i64 },
                "performance": { "responseTime": LARGEST },
            }
        });
        world.db().collection::<Document>("usage_analytics").insert_many(uses).await.unwrap();
    }
    let (after, mut rows) = read().await;
    assert_eq!(after.tool_uses, before.tool_uses + UNKNOWN as u64);
    let together = rows.remove(0);
    assert_eq!(together.tool_id, ObjectId::from_bytes([0; 12]));
    let known: Vec<ObjectId> = events::tools().keys().map(|id| id.parse().unwrap()).collect();
    let (of_known, unknown): (Vec<_>, Vec<_>) = rows_before.into_iter().partition(|row| known.contains(&row.tool_id));
    assert_eq!(rows, of_known, "the rows of known tools are those without the others");
    let unknown_uses: i64 = unknown.iter().map(|row| row.usage).sum();
    assert_eq!(together.usage, UNKNOWN as i64 + unknown_uses);
    assert!((5..=5 + 30).contains(&together.unique_users), "{} users", together.unique_users);
    assert_eq!(together.response_time.histogram.last().map(|bucket| bucket.count), Some(UNKNOWN as i64));
    let ranked =
        |totals: &Totals| totals.tools_by_use.iter().filter(|(id, _)| known.contains(id)).copied().collect::<Vec<_>>();
    assert_eq!(ranked(&after), ranked(&before));
    assert_eq!(after.tools_by_use, ranked(&after), "what is counted together has no place among the most used");
}
