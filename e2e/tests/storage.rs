//! `admin storage`: sizes, growth and the disk, of a database whose days are known.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use chrono::TimeDelta;
use common::day::Day;
use e2e::load::tool_uses_at;
use e2e::world::World;
use serde_json::Value;

async fn storage(world: &World) -> Value {
    serde_json::from_str(&world.run_ok("admin", &["storage", "--json"]).await).unwrap()
}

fn collection<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["collections"].as_array().unwrap().iter().find(|size| size["collection"] == name).unwrap()
}

#[tokio::test]
async fn growth_is_yesterday_less_what_expires() {
    let world = World::new("storage").await;
    world.run_ok("admin", &["migrate"]).await;
    let noon = |day: Day| day.start() + TimeDelta::hours(12);
    let [today, yesterday] = [Day::today(), Day::yesterday()];
    let mut events = tool_uses_at(noon(yesterday), 0, 3_000);
    // The first and the last instant of the day, and the first of today.
    events.extend(tool_uses_at(yesterday.start(), 3_000, 1));
    events.extend(tool_uses_at(yesterday.end() - TimeDelta::milliseconds(1), 3_001, 1));
    events.extend(tool_uses_at(today.start(), 3_002, 10));
    events.extend(tool_uses_at(noon(yesterday.previous()), 3_100, 500));
    world.produce(&events).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    // Sessions expire at once: two are over by this time tomorrow, the third is not.
    let sessions = [1, 23, 25].map(|hours| {
        let expires = DateTime::from_chrono(chrono::Utc::now() + TimeDelta::hours(hours));
        doc! { "_id": ObjectId::new(), "sessionToken": hours, "expiresAt": expires }
    });
    let sessions_of = world.db().collection::<Document>("sessions");
    sessions_of.insert_many(sessions).bypass_document_validation(true).await.unwrap();
    // Files grow with each checkpoint, which is once a minute.
    mongodb::Client::with_uri_str(world.mongo_uri())
        .await
        .unwrap()
        .database("admin")
        .run_command(doc! { "fsync": 1 })
        .await
        .unwrap();

    let report = storage(&world).await;
    let usage = collection(&report, "usage_analytics");
    assert_eq!((&usage["documents"], &usage["newDocumentsYesterday"]), (&3_512.into(), &3_002.into()));
    assert_eq!(usage["documentsExpiringWithinADay"], 0);
    let number = |of: &Value, field: &str| of[field].as_i64().unwrap();
    let stored: Document = world.db().run_command(doc! { "collStats": "usage_analytics" }).await.unwrap();
    assert_eq!(number(usage, "dataBytes"), i64::from(stored.get_i32("size").unwrap()));
    assert_eq!(number(usage, "averageDocumentBytes"), number(usage, "dataBytes") / 3_512);
    let on_disk = number(usage, "diskBytes") + number(usage, "indexBytes");
    let growth = number(usage, "growthBytesPerDay");
    assert!((growth - on_disk * 3_002 / 3_512).abs() <= 1, "{growth} of {on_disk}");
    let sessions = collection(&report, "sessions");
    assert_eq!(sessions["documentsExpiringWithinADay"], 2);
    assert!(number(sessions, "growthBytesPerDay") < 0, "{sessions}");
    assert_eq!(report["collections"][0]["collection"], "usage_analytics", "the largest comes first");

    let collections = report["collections"].as_array().unwrap();
    let sum: i64 = collections.iter().map(|size| number(size, "growthBytesPerDay")).sum();
    assert_eq!(number(&report, "growthBytesPerDay"), sum);
    let disk = &report["disks"][0];
    let free = number(disk, "totalBytes") - number(disk, "usedBytes");
    assert!(free > 0 && number(disk, "fullInDays") == free / sum, "{disk}");

    let printed = world.run_ok("admin", &["storage"]).await;
    for expected in ["usage_analytics takes", "3,512", "3,002", "at this growth full in"] {
        assert!(printed.contains(expected), "{expected} is not in:\n{printed}");
    }
}

#[tokio::test]
async fn an_empty_database_is_nothing_to_worry_about() {
    let world = World::new("storage-empty").await;
    assert!(world.run_ok("admin", &["storage"]).await.contains("the database does not grow"));
    assert_eq!(storage(&world).await["disks"][0]["fullInDays"], Value::Null);
}
