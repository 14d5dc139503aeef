//! Backups: what is lost comes back to the second, no event is lost, and damage is refused by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests and their helpers")]

#[path = "backup/churn.rs"]
mod churn;
#[path = "backup/dump.rs"]
mod dump;
#[path = "backup/place.rs"]
mod place;
#[path = "backup/s3.rs"]
mod s3;

use std::time::Duration;

use bson::{Document, doc};
use dump::{Dump, collections, dump};
use e2e::eventually::{PATIENCE, eventually};
use e2e::load::{stored, tool_uses};
use e2e::topic;
use futures::TryStreamExt;
use place::Place;
use serde_json::Value;

/// Waits for the end of a second, and returns the second.
async fn end_of_second() -> String {
    let second = chrono::Utc::now();
    let left = 1_000 - second.timestamp_subsec_millis();
    tokio::time::sleep(Duration::from_millis(u64::from(left) + 20)).await;
    second.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn assert_same(found: &Dump, expected: &Dump) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, collection) in expected {
        let other = &found[name];
        assert_eq!((&other.options, &other.indexes), (&collection.options, &collection.indexes), "{name}");
        assert_eq!(other.documents.len(), collection.documents.len(), "{name}");
        for (found, expected) in other.documents.iter().zip(&collection.documents) {
            // As bytes: the order of fields counts, too.
            assert!(found == expected, "{name}: {found:?} instead of {expected:?}");
        }
    }
}

#[tokio::test]
async fn a_dropped_database_comes_back_to_the_second_and_no_event_is_lost() {
    const EVENTS: usize = 3_000;
    const LATER: usize = 500;
    let place = Place::new("backup").await;
    let world = &place.world;
    world.run_ok("admin", &["migrate"]).await;
    world.run_ok("admin", &["seed-demo", "--users", "30", "--tools", "5"]).await;
    world.produce(&tool_uses(0, EVENTS)).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;

    // Others write while every backup is made.
    let churn = churn::start(world.db().clone());
    place.saves(&["backup", "run", "--full"]).await;
    place.saves(&["backup", "run", "--incremental"]).await;
    churn::structures(world.db()).await;
    place.saves(&["backup", "run", "--incremental"]).await;
    churn.stop().await;
    let before = dump(world.db()).await;
    let second = end_of_second().await;

    // What comes after the second must not come back with it; the events come from Kafka.
    world.produce(&tool_uses(EVENTS, LATER)).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    world.db().collection::<Document>("users").delete_many(doc! {}).await.unwrap();
    world.db().drop().await.unwrap();

    let said = place.restores(&["recover", "--to", &second, "--yes"]).await;
    assert!(said.contains("minutes: restored") && said.contains("now start ingest"), "{said}");
    let after = dump(world.db()).await;
    assert_same(&after, &before);
    assert_eq!(stored(world).await, EVENTS as u64);
    let told = world.run_ok("admin", &["audit", "list", "--json"]).await;
    assert!(told.contains("\"restore\"") && told.contains(&second), "{told}");
    world.run_ok("admin", &["audit", "verify"]).await;

    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    assert_eq!(stored(world).await, (EVENTS + LATER) as u64, "events of after the second");
    let listed: Value = serde_json::from_str(&place.saves(&["backup", "list", "--json"]).await).unwrap();
    assert_eq!(listed["holes"], Value::Array(vec![]), "{listed}");

    // Nothing goes on from the backups of before, which restore what they restored.
    let refused = place.saves_not(&["backup", "run", "--incremental"]).await;
    assert!(refused.contains("the database was restored at") && refused.contains("--full"), "{refused}");
    place.saves(&["backup", "run", "--full"]).await;
    place.saves(&["backup", "run", "--incremental"]).await;
    place.restores(&["backup", "restore", "--to", &second, "--yes"]).await;
    assert_same(&dump(world.db()).await, &before);
    let said = place.restores(&["backup", "restore", "--to", "latest", "--yes", "--json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["collections"]["usage_analytics"], EVENTS + LATER, "{said}");
    world.run_ok("admin", &["audit", "verify"]).await;
}

/// A schedule that goes on meanwhile makes no backup whose offsets the restored database does not have.
#[tokio::test]
async fn a_restored_database_is_saved_anew_once_ingest_is_set_back() {
    let place = Place::new("backup-rewind").await;
    let world = &place.world;
    world.run_ok("admin", &["migrate"]).await;
    world.produce(&tool_uses(0, 100)).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    place.saves(&["backup", "run", "--full"]).await;
    world.produce(&tool_uses(100, 50)).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    let ahead = world.progress().await;
    let fulls = || place.directories("full").len();

    let often = [("BACKUP__SLICE_INTERVAL", "1s")];
    let mut scheduled = place.spawn("backup", &["backup", "schedule"], &often);
    eventually(PATIENCE, "a slice", async || place.directory_of("slice").exists().then_some(())).await;
    let full = place.directories("full")[0].file_name().unwrap().to_string_lossy().into_owned();
    place.restores(&["backup", "restore", "--backup", &full, "--yes"]).await;
    assert_eq!(stored(world).await, 100);
    eventually(PATIENCE, "a refused full backup", async || {
        scheduled.stderr().contains("is not finished: run `admin recover` again").then_some(())
    })
    .await;
    assert_eq!((fulls(), world.progress().await), (1, ahead));

    // The database knows what was restored: the slices since then are another state.
    place.restores(&["backup", "rewind"]).await;
    let (code, said) = world.run_fail("admin", &["backup", "rewind"]).await;
    assert!(code == 2 && said.contains("no restore of database"), "{said}");
    scheduled.stop(Duration::from_secs(20)).await;
    place.saves(&["backup", "run", "--full"]).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    assert_eq!(stored(world).await, 150, "no event is lost");
    end_of_second().await;
    place.saves(&["backup", "run", "--incremental"]).await;
    let said = place.restores(&["backup", "restore", "--to", "latest", "--yes", "--json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["collections"]["usage_analytics"], 150, "{said}");

    // A topic of the same name, longer than the former.
    topic::delete(world.brokers(), &[&world.topic()]).await.unwrap();
    topic::create(world.brokers(), &[(&world.topic(), 1)]).await.unwrap();
    world.produce(&tool_uses(200, 400)).await;
    let rewound = place.restores(&["backup", "rewind", "--json"]).await;
    let rewound: Value = serde_json::from_str(&rewound).unwrap();
    assert_eq!((&rewound[0]["before"], &rewound[0]["after"]), (&Value::Null, &0.into()), "{rewound}");
}

#[tokio::test]
async fn the_boundary_of_a_second_is_exact_on_both_sides() {
    let place = Place::new("backup-second").await;
    let database = place.world.db();
    let marks = database.collection::<Document>("marks");
    marks.insert_one(doc! { "_id": 0 }).await.unwrap();
    place.saves(&["backup", "run", "--full"]).await;
    let begin = std::time::Instant::now();
    let mut number = 0;
    while begin.elapsed() < Duration::from_millis(2_500) {
        number += 1;
        marks.insert_one(doc! { "_id": number, "text": "x" }).await.unwrap();
    }
    database.drop().await.unwrap();

    // The server's own record says when each was written.
    let oplog = database.client().database("local").collection::<Document>("oplog.rs");
    let ours = doc! { "ns": format!("{}.marks", database.name()), "op": "i" };
    let entries: Vec<Document> = oplog.find(ours).sort(doc! { "ts": 1 }).await.unwrap().try_collect().await.unwrap();
    let second_of = |entry: &Document| entry.get_datetime("wall").unwrap().timestamp_millis().div_euclid(1_000);
    let middle = second_of(entries.last().unwrap()) - 1;
    let text = |second: i64| {
        chrono::DateTime::from_timestamp(second, 0).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    };
    let (inside, outside): (Vec<&Document>, Vec<&Document>) =
        entries.iter().partition(|entry| second_of(entry) <= middle);
    let millis = |entry: &Document| entry.get_datetime("wall").unwrap().timestamp_millis().rem_euclid(1_000);
    assert!(
        millis(inside.last().unwrap()) > 900 && millis(outside.first().unwrap()) < 100,
        "no marks near the boundary"
    );

    let refused = place.restores_not(&["recover", "--to", &text(middle + 3_600), "--yes"]).await;
    assert!(refused.contains("cannot be restored") && refused.contains("possible is from"), "{refused}");
    place.restores(&["recover", "--to", &text(middle), "--yes"]).await;
    let back: Vec<Document> = marks.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap();
    let expected: Vec<&Document> = inside.iter().map(|entry| entry.get_document("o").unwrap()).collect();
    assert_eq!(back.iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn damage_is_refused_by_name_and_changes_nothing() {
    let place = Place::new("backup-damage").await;
    let database = place.world.db();
    let marks = database.collection::<Document>("marks");
    let note = async |number: i32| {
        marks.insert_one(doc! { "_id": number, "text": "x".repeat(100) }).await.unwrap();
        end_of_second().await
    };
    note(0).await;
    assert!(place.saves_not(&["backup", "run", "--incremental"]).await.contains("no full backup yet"));
    place.saves(&["backup", "run", "--full"]).await;
    let mut seconds = Vec::new();
    for number in 1..=3 {
        seconds.push(note(number).await);
        place.saves(&["backup", "run", "--incremental"]).await;
    }
    let latest = async || place.restores_not(&["backup", "restore", "--to", &seconds[1], "--yes"]).await;
    let live = dump(database).await;
    let slices = place.directories("incremental");
    assert_eq!(slices.len(), 3);

    place.use_another_identity();
    let said = latest().await;
    assert!(said.contains("is encrypted for age1") && said.contains("holds the identity of age1"), "{said}");
    place.use_the_identity();

    let object = place.objects(&slices[1])[0].clone();
    let whole = std::fs::read(&object).unwrap();
    std::fs::write(&object, &whole[..whole.len() - 1]).unwrap();
    let said = latest().await;
    assert!(said.contains("cannot be restored") && said.contains("bytes"), "{said}");
    let mut changed = whole.clone();
    changed[whole.len() - 1] ^= 1;
    std::fs::write(&object, &changed).unwrap();
    let said = latest().await;
    assert!(said.contains("was changed: its SHA-256 is not that of the manifest"), "{said}");
    let (code, said) = place.world.run_fail("admin", &["backup", "verify", "--objects-only"]).await;
    assert_eq!((code, said.contains("1 objects failed verification")), (1, true), "{said}");
    std::fs::write(&object, &whole).unwrap();

    // A whole range of the oplog is missing.
    let away = place.directory("away");
    std::fs::rename(&slices[1], &away).unwrap();
    let said = latest().await;
    assert!(said.contains("the oplog has a hole from"), "{said}");
    let listed: Value = serde_json::from_str(&place.saves(&["backup", "list", "--json"]).await).unwrap();
    assert_eq!(listed["holes"].as_array().unwrap().len(), 1, "{listed}");
    std::fs::rename(&away, &slices[1]).unwrap();

    // Objects of a backup that was never finished are no backup.
    let full = place.directories("full").remove(0);
    let manifest = place.manifest(&full);
    std::fs::rename(&manifest, &away).unwrap();
    assert!(latest().await.contains("there is no full backup"));
    std::fs::rename(&away, &manifest).unwrap();

    assert_same(&dump(database).await, &live);
    assert!(
        collections(database).await.iter().all(|name| !name.starts_with("restoring.")),
        "the live names are left alone"
    );
    place.saves(&["backup", "verify", "--objects-only"]).await;
    let said = place.restores(&["backup", "verify", "--json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["documents"], 4, "{said}");

    // Another server has not the entry where the last backup ends.
    let other = Place::with_storage_of(&place, "backup-other").await;
    let said = other.saves_not(&["backup", "run", "--incremental"]).await;
    assert!(said.contains("no longer has the entry where incremental/") && said.contains("--full"), "{said}");
    // And takes a restore, as in another region.
    let uri = other.world.mongo_uri().to_owned();
    let refused = place.restores_not(&["backup", "restore", "--to", "latest", "--into", &uri]).await;
    assert!(refused.contains("mongodb.password_file") && !refused.contains("root:"), "{refused}");
    let (_, address) = uri.split_once('@').unwrap();
    let root = [("MONGODB__USERNAME", "root"), ("MONGODB__PASSWORD", "secret")];
    let words = ["backup", "restore", "--to", "latest", "--into", &format!("mongodb://{address}")];
    place.run_with("recovery", &words, &root).await;
    let there = other.world.db().client().database(database.name());
    assert_eq!(there.collection::<Document>("marks").count_documents(doc! {}).await.unwrap(), 4);
}

#[tokio::test]
async fn a_killed_restore_is_started_over_and_nothing_is_overwritten_without_being_asked() {
    const DOCUMENTS: u64 = 60_000;
    let place = Place::new("backup-kill").await;
    let database = place.world.db();
    let marks = database.collection::<Document>("marks");
    for first in (0..DOCUMENTS).step_by(10_000) {
        let documents = (first..first + 10_000).map(|number| doc! { "_id": number as i64, "text": "x".repeat(300) });
        marks.insert_many(documents).await.unwrap();
    }
    place.saves(&["backup", "run", "--full"]).await;
    marks.update_one(doc! { "_id": 1 }, doc! { "$set": { "later": true } }).await.unwrap();
    end_of_second().await;
    place.saves(&["backup", "run"]).await;
    marks.delete_many(doc! { "_id": { "$gt": 10 } }).await.unwrap();

    let asked = place.restores_not(&["backup", "restore", "--to", "latest"]).await;
    assert!(asked.contains("pass --yes"), "{asked}");
    let mut restore = place.spawn_restore(&["backup", "restore", "--to", "latest", "--yes"]);
    eventually(PATIENCE, "a restore under way", async || {
        let loaded = database.collection::<Document>("restoring.marks").estimated_document_count().await.unwrap();
        (loaded > 0).then_some(())
    })
    .await;
    restore.process.kill().unwrap();
    assert_eq!(marks.count_documents(doc! {}).await.unwrap(), 11, "the live collection changed");
    place.restores(&["backup", "restore", "--to", "latest", "--yes"]).await;
    assert_eq!(marks.count_documents(doc! {}).await.unwrap(), DOCUMENTS);
    assert_eq!(marks.count_documents(doc! { "later": true }).await.unwrap(), 1);
    assert_eq!(collections(database).await, ["marks"]);
}

/// Every second of the last minute, though the last full backup is older, and though the first place is lost.
#[tokio::test]
async fn the_schedule_makes_backups_copies_them_and_removes_what_is_too_old() {
    let place = Place::new("backup-schedule").await;
    let marks = place.world.db().collection::<Document>("marks");
    let copy = place.directory("copy");
    let second = format!("file://{}", copy.display());
    let settings = [
        ("BACKUP__SLICE_INTERVAL", "1s"),
        ("BACKUP__INCREMENTAL_SCHEDULE", "* * * * *"),
        ("BACKUP__SECOND_STORAGE", second.as_str()),
    ];
    marks.insert_one(doc! { "_id": 0 }).await.unwrap();
    let mut scheduled = place.spawn("backup", &["backup", "schedule"], &settings);
    eventually(PATIENCE, "a full backup, its archive and a slice", async || {
        let made = ["full", "archive", "slice"].map(|kind| place.directory_of(kind).exists());
        (made == [true; 3]).then_some(())
    })
    .await;
    let last = 5;
    for number in 1..=last {
        marks.insert_one(doc! { "_id": number }).await.unwrap();
        end_of_second().await;
    }
    let listed = async |second: &[&str]| -> Value {
        let words = [&["backup", "list", "--json"], second].concat();
        serde_json::from_str(&place.run_with("backup", &words, &settings).await).unwrap()
    };
    let wanted = chrono::Utc::now();
    eventually(PATIENCE, "a slice with the last document, and its copy", async || {
        let listed = listed(&["--second"]).await;
        let to = listed["slices"]["last"].as_str()?.parse::<chrono::DateTime<chrono::Utc>>().ok()?;
        (to >= wanted - chrono::TimeDelta::seconds(1)).then_some(())
    })
    .await;
    scheduled.stop(Duration::from_secs(20)).await;
    // It may have been stopped between a slice and its copy.
    place.run_with("backup", &["backup", "copy"], &settings).await;
    let (here, there) = (listed(&[]).await, listed(&["--second"]).await);
    assert_eq!((&here["holes"], &here["full"], &here["slices"]), (&there["holes"], &there["full"], &there["slices"]));
    assert_eq!(here["holes"], Value::Array(vec![]), "{here}");

    // The first place is gone: the copy stays as it is, and restores.
    std::fs::remove_dir_all(place.directory_of("")).unwrap();
    marks.drop().await.unwrap();
    place.run_with("recovery", &["recover", "--to", "latest", "--second", "--yes"], &settings).await;
    assert_eq!(marks.count_documents(doc! {}).await.unwrap(), last as u64 + 1);
    let tried = place.run_with("recovery", &["backup", "rehearse", "--second", "--json"], &settings).await;
    let tried: Value = serde_json::from_str(&tried).unwrap();
    assert!(tried["documents"].as_u64().unwrap() >= 1, "{tried}");
    let before = listed(&["--second"]).await;
    place.run_with("backup", &["backup", "run", "--full"], &settings).await;
    place.run_with("backup", &["backup", "copy"], &settings).await;
    let after = listed(&["--second"]).await;
    assert_eq!(after["slices"], before["slices"], "a first place that begins anew empties no copy");
    let fulls = |listed: &Value| listed["full"].as_array().unwrap().len();
    assert_eq!(fulls(&after), fulls(&before) + 1);
}

#[tokio::test]
#[ignore = "./dev backup-check fetches the S3 server"]
async fn a_bucket_keeps_backups_as_a_directory_does() {
    let place = Place::new("backup-bucket").await;
    let bucket = s3::Server::start().await;
    let settings = bucket.settings();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let marks = place.world.db().collection::<Document>("marks");
    for first in (0..40_000).step_by(10_000) {
        let text = "x".repeat(1_000);
        let documents = (first..first + 10_000).map(|number| doc! { "_id": number, "text": format!("{text}{number}") });
        marks.insert_many(documents).await.unwrap();
    }
    place.run_with("backup", &["backup", "run", "--full"], &settings).await;
    let mut scheduled =
        place.spawn("backup", &["backup", "schedule"], &[&settings[..], &[("BACKUP__SLICE_INTERVAL", "1s")]].concat());
    marks.delete_many(doc! { "_id": { "$gte": 39_000 } }).await.unwrap();
    let before = dump(place.world.db()).await;
    end_of_second().await;
    marks.insert_one(doc! { "_id": "end" }).await.unwrap();
    eventually(PATIENCE, "a slice with the deletion", async || {
        let listed = place.run_with("backup", &["backup", "list", "--json"], &settings).await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        (listed["slices"]["count"].as_u64().unwrap() > 0).then_some(())
    })
    .await;
    scheduled.stop(Duration::from_secs(20)).await;
    place.run_with("backup", &["backup", "run", "--incremental"], &settings).await;
    marks.delete_one(doc! { "_id": "end" }).await.unwrap();
    marks.drop().await.unwrap();
    place.run_with("recovery", &["backup", "restore", "--to", "latest", "--yes"], &settings).await;
    marks.delete_one(doc! { "_id": "end" }).await.unwrap();
    assert_same(&dump(place.world.db()).await, &before);
    place.run_with("recovery", &["backup", "verify", "--objects-only"], &settings).await;
    let wrong = [&settings[..], &[("BACKUP__SECRET_KEY", "wrong")]].concat();
    let refused = place.fails_with("backup", &["backup", "list"], &wrong).await;
    assert!(refused.contains("403 Forbidden: SignatureDoesNotMatch"), "{refused}");
}

#[tokio::test]
#[ignore = "takes minutes: ./dev backup-check"]
async fn twenty_random_seconds_come_back_as_they_were() {
    const SECONDS: usize = 60;
    let place = Place::new("backup-random").await;
    let database = place.world.db();
    let churn = churn::start(database.clone());
    place.saves(&["backup", "run", "--full"]).await;
    for _ in 0..SECONDS / 10 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        place.saves(&["backup", "run", "--incremental"]).await;
    }
    churn.stop().await;
    end_of_second().await;
    database.collection::<Document>("churn").insert_one(doc! { "_id": "end" }).await.unwrap();
    place.saves(&["backup", "run", "--incremental"]).await;

    let listed: Value = serde_json::from_str(&place.saves(&["backup", "list", "--json"]).await).unwrap();
    let time =
        |end: &str| listed["restorable"][0][end].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let (first, last) = (time("from"), time("to"));
    for _ in 0..20 {
        let second = first + chrono::TimeDelta::seconds(rand::random_range(0..=(last - first).num_seconds()));
        let text = second.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        place.restores(&["backup", "restore", "--to", &text, "--yes"]).await;
        let restored = dump(database).await;
        let expected = churn::of_oplog(database, u32::try_from(second.timestamp()).unwrap()).await;
        let transactions = restored["churn_transactions"].documents.len();
        assert_eq!(transactions, expected, "inserted in transactions until {text}");
        println!("{text}: {transactions} documents of transactions, {} others", restored["churn"].documents.len());
    }
}
