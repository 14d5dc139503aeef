//! One pipeline for each metric, the way they are usually written: a session is what lies between its first and its last
//! event, and users are counted minute by minute. The numbers are not quite those of the definition, only as hard to get.

use std::time::Instant;

use aggregator::source::within;
use bson::{Bson, Document, doc};
use common::day::Day;
use futures::TryStreamExt;
use mongodb::Database;

/// Runs all pipelines one after the other; returns the seconds they took together.
pub async fn run(database: &Database, day: Day) -> anyhow::Result<f64> {
    let mut all = 0.0;
    for (name, collection, stages) in pipelines(day) {
        let mut pipeline = vec![doc! { "$match": within(day.start(), day.end()) }];
        pipeline.extend(stages);
        let started = Instant::now();
        let rows = database.collection::<Document>(collection).aggregate(pipeline).allow_disk_use(true).await?;
        let _: Vec<Document> = rows.try_collect().await?;
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("naive {name}: {seconds:.2} s");
        all += seconds;
    }
    Ok(all)
}

fn pipelines(day: Day) -> Vec<(&'static str, &'static str, Vec<Document>)> {
    let distinct = |field: &str| vec![doc! { "$group": { "_id": field } }, doc! { "$count": "count" }];
    let with_activity = || {
        doc! { "$unionWith": {
            "coll": "activity_logs", "pipeline": [{ "$match": within(day.start(), day.end()) }],
        } }
    };
    let mean = |field: &str| vec![doc! { "$group": { "_id": Bson::Null, "mean": { "$avg": field } } }];
    let sessions = || {
        doc! { "$group": {
            "_id": "$sessionId",
            "from": { "$min": { "$ifNull": ["$usage.startTime", "$timestamp"] } },
            "to": { "$max": { "$ifNull": ["$usage.endTime", "$timestamp"] } },
            "views": { "$sum": { "$cond": [{ "$eq": ["$action", "page_view"] }, 1, 0] } },
            "events": { "$sum": 1 },
        } }
    };
    let mean_session = doc! { "$group": {
        "_id": Bson::Null, "minutes": { "$avg": { "$divide": [{ "$subtract": ["$to", "$from"] }, 60_000] } },
    } };
    let bounces = doc! { "$group": {
        "_id": Bson::Null,
        "rate": { "$avg": { "$cond": [{ "$and": [{ "$eq": ["$events", 1] }, { "$eq": ["$views", 1] }] }, 1, 0] } },
    } };
    let failed = doc! { "$group": { "_id": Bson::Null, "rate": { "$avg": { "$cond": ["$usage.success", 0, 1] } } } };
    let healthy = doc! { "$group": { "_id": Bson::Null, "rate": { "$avg": { "$cond": ["$healthy", 100, 0] } } } };
    let returning = vec![
        with_activity(),
        doc! { "$group": { "_id": "$userId" } },
        doc! { "$lookup": { "from": "users", "localField": "_id", "foreignField": "_id", "as": "user" } },
        doc! { "$match": { "user.metadata.createdAt": { "$lt": bson::DateTime::from_chrono(day.start()) } } },
        doc! { "$count": "count" },
    ];
    let most_used = vec![
        doc! { "$group": { "_id": "$toolId", "uses": { "$sum": 1 } } },
        doc! { "$sort": { "uses": -1 } },
        doc! { "$limit": 10 },
    ];
    let at_once = vec![
        with_activity(),
        doc! { "$group": {
            "_id": { "$dateTrunc": { "date": "$timestamp", "unit": "minute" } }, "users": { "$addToSet": "$userId" },
        } },
        doc! { "$project": { "users": { "$size": "$users" } } },
        doc! { "$group": { "_id": Bson::Null, "peak": { "$max": "$users" } } },
    ];
    let mut active = vec![with_activity()];
    active.extend(distinct("$userId"));
    vec![
        ("usage", "usage_analytics", vec![doc! { "$count": "count" }]),
        ("page views", "activity_logs", vec![doc! { "$match": { "action": "page_view" } }, doc! { "$count": "count" }]),
        ("active users", "usage_analytics", active),
        ("users of tools", "usage_analytics", distinct("$userId")),
        ("returning users", "usage_analytics", returning),
        ("most used tools", "usage_analytics", most_used),
        ("response time", "usage_analytics", mean("$performance.responseTime")),
        ("error rate", "usage_analytics", vec![failed]),
        ("uptime", "health_checks", vec![healthy]),
        ("sessions of tools", "usage_analytics", vec![sessions(), mean_session.clone()]),
        ("sessions", "usage_analytics", vec![with_activity(), sessions(), mean_session]),
        ("bounces", "usage_analytics", vec![with_activity(), sessions(), bounces]),
        ("users at once", "usage_analytics", at_once),
    ]
}
