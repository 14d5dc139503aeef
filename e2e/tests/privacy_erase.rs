//! A person is erased: everywhere, for good, and nobody else is touched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests and their helpers")]

use std::collections::BTreeMap;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use common::day::Day;
use common::keyring::Keyring;
use e2e::eventually::{PATIENCE, eventually};
use e2e::topic::Message;
use e2e::world::World;
use futures::TryStreamExt;
use serde_json::{Value, json};

/// Documents by collection.
type Dump = BTreeMap<String, Vec<Document>>;

/// Three days of the demo, rolled up.
async fn world(name: &str) -> World {
    let world = World::new(name).await;
    let keyring = world.directory().join("keyring.json");
    Keyring::create(&keyring).unwrap();
    let world = world.with_env("SECURITY__KEYRING_FILE", &keyring.to_string_lossy());
    world.run_ok("admin", &["migrate"]).await;
    world.run_ok("admin", &["seed-demo", "--users", "40", "--tools", "8"]).await;
    let until = Day::yesterday().to_string();
    let generate = ["generate", "--events", "6000", "--days", "3", "--until", &until, "--users", "40", "--tools", "8"];
    world.run_ok("emit", &generate).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    roll_up(&world).await;
    world
}

fn days() -> [String; 3] {
    let last = Day::yesterday();
    [last.previous().previous(), last.previous(), last].map(|day| day.to_string())
}

async fn roll_up(world: &World) {
    let [from, _, to] = days();
    world.run_ok("aggregator", &["run", "--from", &from, "--to", &to]).await;
}

/// Not MongoDB's profiler, which keeps slow operations with their values for a megabyte: docs/PRIVACY.md names it.
async fn collections(world: &World) -> Vec<String> {
    let names = world.db().list_collection_names().await.unwrap();
    names.into_iter().filter(|name| name != "system.profile").collect()
}

async fn dump(world: &World) -> Dump {
    let mut dump = Dump::new();
    for name in collections(world).await {
        let sorted = world.db().collection::<Document>(&name).find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
        dump.insert(name, sorted.try_collect().await.unwrap());
    }
    dump
}

async fn restore(world: &World, dump: &Dump) {
    for name in collections(world).await {
        let collection = world.db().collection::<Document>(&name);
        collection.delete_many(doc! {}).await.unwrap();
        if let Some(documents) = dump.get(&name).filter(|documents| !documents.is_empty()) {
            collection.insert_many(documents).bypass_document_validation(true).await.unwrap();
        }
    }
}

/// Somebody with many events, and everything that points at that person.
struct Person {
    id: ObjectId,
    email: String,
    sessions: Vec<ObjectId>,
}

async fn busiest(world: &World) -> Person {
    let uses = world.db().collection::<Document>("usage_analytics");
    let known = doc! { "$match": { "userId": { "$exists": true } } };
    let group = doc! { "$group": { "_id": "$userId", "count": { "$sum": 1 } } };
    let most = [known, group, doc! { "$sort": { "count": -1 } }, doc! { "$limit": 1 }];
    let most: Vec<Document> = uses.aggregate(most).await.unwrap().try_collect().await.unwrap();
    let id = most[0].get_object_id("_id").unwrap();
    let user = world.db().collection::<Document>("users").find_one(doc! { "_id": id }).await.unwrap().unwrap();
    let mut sessions = Vec::new();
    for (collection, field) in [("usage_analytics", "sessionId"), ("activity_logs", "sessionId"), ("sessions", "_id")] {
        let ids = world.db().collection::<Document>(collection).distinct(field, doc! { "userId": id }).await.unwrap();
        sessions.extend(ids.iter().filter_map(Bson::as_object_id));
    }
    Person { id, email: user.get_str("email").unwrap().to_owned(), sessions }
}

/// What no byte of the database may hold any more.
fn traces(person: &Person) -> Vec<Vec<u8>> {
    let mut traces = vec![person.email.clone().into_bytes()];
    for id in person.sessions.iter().chain([&person.id]) {
        traces.push(id.bytes().to_vec());
        traces.push(id.to_hex().into_bytes());
        traces.push(id.to_hex().to_uppercase().into_bytes());
    }
    traces
}

/// The first place that holds a trace.
fn find(dump: &Dump, traces: &[Vec<u8>]) -> Option<String> {
    for (name, documents) in dump {
        for document in documents {
            let bytes = bson::serialize_to_vec(document).unwrap();
            if let Some(trace) =
                traces.iter().find(|trace| bytes.windows(trace.len()).any(|part| part == trace.as_slice()))
            {
                let id = document.get("_id");
                return Some(format!("{name}: {id:?} holds {}", String::from_utf8_lossy(trace)));
            }
        }
    }
    None
}

async fn assert_gone(world: &World, person: &Person) {
    assert_eq!(find(&dump(world).await, &traces(person)), None);
    for message in world.read_topic(&world.erasures_topic()).await {
        let bytes = [message.key.unwrap_or_default(), message.value.unwrap_or_default()].concat();
        for trace in traces(person) {
            assert!(!bytes.windows(trace.len()).any(|part| part == trace), "a tombstone holds {trace:?}");
        }
    }
}

/// The documents that were somebody else's alone before are there, and unchanged.
fn assert_others_untouched(before: &Dump, after: &Dump, person: &Person) {
    let traces = traces(person);
    for name in ["users", "sessions", "usage_analytics", "activity_logs", "health_checks", "suggestions"] {
        let one = |document: &Document| BTreeMap::from([(name.to_owned(), vec![document.clone()])]);
        let id = |document: &Document| document.get_object_id("_id").unwrap();
        let after: BTreeMap<ObjectId, &Document> =
            after[name].iter().map(|document| (id(document), document)).collect();
        let others = before[name].iter().filter(|document| find(&one(document), &traces).is_none());
        for document in others {
            assert!(after.get(&id(document)) == Some(&document), "{name}: {} changed", id(document));
        }
    }
}

async fn erase(world: &World, person: &Person, more: &[&str]) -> Value {
    let id = person.id.to_hex();
    let mut options = vec!["privacy", "erase", "--user", &id, "--yes", "--json"];
    options.extend(more);
    serde_json::from_str(&world.run_ok("admin", &options).await).unwrap()
}

async fn metrics(world: &World, day: &str) -> Document {
    let days = world.db().collection::<Document>("system_analytics");
    let day = days.find_one(doc! { "date": day }).await.unwrap().unwrap();
    day.get_document("metrics").unwrap().clone()
}

/// An event of the person that ingest refuses: too old.
fn refused_event(person: &Person) -> Message {
    let event = json!({
        "specversion": "1.0", "id": "too-old", "source": "/case", "type": "com.devtoolkit.activity.v1",
        "time": "2020-01-01T00:00:00Z", "data": { "userId": person.id.to_hex(), "action": "login" },
    });
    Message::new(person.id.to_hex(), event.to_string())
}

async fn read_again(world: World, group: &str) -> World {
    let world = world.with_env("KAFKA__GROUP_ID", group);
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    world
}

#[tokio::test]
async fn an_erased_person_stays_erased_through_replay_restore_and_dead_letters() {
    let world = world("erase").await;
    let person = busiest(&world).await;
    world.produce(&[refused_event(&person)]).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    let before = dump(&world).await;
    let count =
        |name: &str| before[name].iter().filter(|found| found.get_object_id("userId").ok() == Some(person.id)).count();
    let (uses, activities) = (count("usage_analytics"), count("activity_logs"));
    let [first, ..] = days();
    let numbers_before = metrics(&world, &first).await;

    let receipt = erase(&world, &person, &[]).await;
    assert_eq!(receipt["state"], "complete");
    let erased = |name: &str| receipt["documents"][name].as_u64().unwrap_or_default() as usize;
    assert!(erased("usage_analytics") >= uses && erased("activity_logs") >= activities, "{receipt}");
    assert_eq!((erased("users"), erased("user_days")), (1, count("user_days")));
    let day = receipt["days"].as_array().unwrap().iter().find(|day| day["date"] == first.as_str()).unwrap();
    let total_before = numbers_before.get_document("tools").unwrap().get_i64("totalUsage").unwrap();
    assert_eq!(day["before"]["totalUsage"], total_before);
    assert_eq!(day["after"], Value::Null, "not rolled up again yet");
    let holds = receipt["kafkaHoldsUntil"].as_object().unwrap();
    assert!(holds.contains_key(&world.topic()) && holds.contains_key(&world.dead_letter_topic()), "{receipt}");
    assert_gone(&world, &person).await;
    assert_others_untouched(&before, &dump(&world).await, &person);

    // The days are computed again, and agree with what is stored; nobody has to accept that events are gone.
    roll_up(&world).await;
    let [from, _, to] = days();
    world.run_ok("aggregator", &["verify", "--from", &from, "--to", &to]).await;
    let total_after = metrics(&world, &first).await.get_document("tools").unwrap().get_i64("totalUsage").unwrap();
    assert!(total_after < total_before, "{total_after} of {total_before}");
    let shown: Value = serde_json::from_str(&world.run_ok("admin", &["privacy", "status", "--json"]).await).unwrap();
    let day = shown[0]["days"].as_array().unwrap().iter().find(|day| day["date"] == first.as_str()).unwrap();
    assert_eq!(day["after"]["totalUsage"], total_after);

    // Everything on the topic is read again.
    let world = read_again(world, "from-the-start").await;
    assert_gone(&world, &person).await;

    // A letter of the person is not sent again.
    let replayed = world.run_ok("admin", &["dead-letters", "replay", "--json"]).await;
    let replayed: Value = serde_json::from_str(&replayed).unwrap();
    assert_eq!((&replayed["erased"], &replayed["replayed"]), (&json!(1), &json!(0)));

    // A backup of before the erasure is restored.
    restore(&world, &before).await;
    let mut worker = world.spawn("ingest", &["run"]);
    let not_ready = eventually(PATIENCE, "not ready", async || {
        let answer = worker.get("/healthz/ready").await;
        answer.contains("privacy reapply").then_some(answer)
    })
    .await;
    assert!(not_ready.starts_with("HTTP/1.1 503"), "{not_ready}");
    let mut serving = world.spawn("aggregator", &["serve"]);
    eventually(PATIENCE, "aggregator not ready", async || {
        serving.get("/healthz/ready").await.contains("privacy reapply").then_some(())
    })
    .await;
    serving.stop(Duration::from_secs(20)).await;
    world.run_ok("admin", &["privacy", "reapply"]).await;
    assert_gone(&world, &person).await;
    worker.stop(Duration::from_secs(20)).await;
    let mut worker = world.spawn("ingest", &["run"]);
    eventually(PATIENCE, "ready", async || {
        worker.get("/healthz/ready").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;

    // What the person's tools still send is dropped, and counted.
    let mut late = refused_event(&person);
    late.value = Some(
        String::from_utf8(late.value.unwrap())
            .unwrap()
            .replace("2020-01-01T00:00:00Z", &chrono::Utc::now().to_rfc3339())
            .into(),
    );
    world.produce(&[late]).await;
    eventually(PATIENCE, "a dropped event", async || {
        (worker.metric("devtoolkit_ingest_suppressed_total").await? >= 1.0).then_some(())
    })
    .await;
    worker.stop(Duration::from_secs(20)).await;
    assert_gone(&world, &person).await;

    // An event of before the person signed in comes back alone: nothing names the person any more.
    let alone = doc! {
        "_id": ObjectId::new(), "sessionId": person.sessions[0], "action": "page_view", "path": "/",
        "timestamp": bson::DateTime::now(),
    };
    world.db().collection::<Document>("activity_logs").insert_one(alone).await.unwrap();
    let said = world.run_ok("admin", &["privacy", "reapply"]).await;
    assert!(said.contains("1 events of sessions alone"), "{said}");
    assert_gone(&world, &person).await;
}

#[tokio::test]
async fn an_erasure_that_is_killed_goes_on_and_ends_complete() {
    let kills = std::env::var("E2E_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let world = world("erase-kill").await;
    let person = busiest(&world).await;
    let before = dump(&world).await;
    let events: usize = ["usage_analytics", "activity_logs"]
        .map(|name| before[name].iter().filter(|found| found.get_object_id("userId").ok() == Some(person.id)).count())
        .iter()
        .sum();
    let id = person.id.to_hex();
    for _ in 0..kills {
        let mut erasing = world.spawn("admin", &["privacy", "erase", "--user", &id, "--yes"]);
        tokio::time::sleep(Duration::from_millis(rand::random_range(50..2_500))).await;
        erasing.process.kill().unwrap();
        // What was committed before the kill is consistent: events that are gone are counted.
        let request = world.db().collection::<Document>("privacy_requests").find_one(doc! {}).await.unwrap();
        let counted: i64 = request.as_ref().map_or(0, |request| {
            let documents = request.get_document("documents").unwrap();
            ["usage_analytics", "activity_logs"].map(|name| documents.get_i64(name).unwrap_or_default()).iter().sum()
        });
        let now = dump(&world).await;
        let gone =
            ["usage_analytics", "activity_logs"].map(|name| before[name].len() - now[name].len()).iter().sum::<usize>();
        assert_eq!(counted, gone as i64);
    }
    world.run_ok("admin", &["privacy", "resume"]).await;
    let requests: Vec<Document> =
        world.db().collection("privacy_requests").find(doc! {}).await.unwrap().try_collect().await.unwrap();
    assert!(requests.iter().all(|request| request.get_str("state").ok() == Some("complete")), "{requests:?}");
    let counted: i64 = requests[0].get_document("documents").unwrap().get_i64("usage_analytics").unwrap_or_default()
        + requests[0].get_document("documents").unwrap().get_i64("activity_logs").unwrap_or_default();
    assert!(counted >= events as i64, "{counted} of {events}");
    assert_gone(&world, &person).await;
    assert_others_untouched(&before, &dump(&world).await, &person);
    roll_up(&world).await;
}

#[tokio::test]
async fn anonymising_a_person_keeps_every_number() {
    let world = world("erase-anonymise").await;
    let person = busiest(&world).await;
    let mut numbers = Vec::new();
    for day in days() {
        numbers.push(metrics(&world, &day).await);
    }
    let world = world.with_env("PRIVACY__CUSTOM_DATA_ALLOWED", "[\"queryComplexity\"]");
    let receipt = erase(&world, &person, &["--mode", "anonymise"]).await;
    assert_eq!(receipt["state"], "complete");
    assert_gone(&world, &person).await;
    assert_only_what_is_allowed_is_left_of_custom_data(&world).await;
    roll_up(&world).await;
    for (day, before) in days().iter().zip(numbers) {
        assert_eq!(metrics(&world, day).await, before, "{day}");
    }
    let request = world.db().collection::<Document>("privacy_requests").find_one(doc! {}).await.unwrap().unwrap();
    assert!(!request.contains_key("sealedSecret") && !request.contains_key("sealedId"), "{request}");
}

/// In the events under the pseudonym of the one account that is erased.
async fn assert_only_what_is_allowed_is_left_of_custom_data(world: &World) {
    let users = world.db().collection::<Document>("users");
    let erased = users.find_one(doc! { "email": { "$regex": "@erased[.]invalid$" } }).await.unwrap().unwrap();
    let uses = world.db().collection::<Document>("usage_analytics");
    let uses = uses.find(doc! { "userId": erased.get_object_id("_id").unwrap() }).await.unwrap();
    let uses: Vec<Document> = uses.try_collect().await.unwrap();
    let left = uses.iter().filter_map(|used| used.get_document("metadata").ok()?.get_document("customData").ok());
    let left: Vec<&Document> = left.collect();
    assert!(!left.is_empty() && left.len() < uses.len(), "{} of {}", left.len(), uses.len());
    for custom_data in left {
        assert!(custom_data.keys().eq(["queryComplexity"]), "{custom_data}");
    }
}

#[tokio::test]
async fn an_aggregator_serves_while_kafka_is_away() {
    let world = World::new("erase-no-kafka").await;
    world.run_ok("admin", &["migrate"]).await;
    let world = world.with_env("KAFKA__BROKERS", "127.0.0.1:1");
    let mut serving = world.spawn("aggregator", &["serve"]);
    eventually(PATIENCE, "ready", async || {
        serving.get("/healthz/ready").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    eventually(PATIENCE, "a word about Kafka in the log", async || {
        serving.stderr().contains("nobody knows whether erased people came back").then_some(())
    })
    .await;
    serving.stop(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn who_asks_for_something_else_is_told_what_is_wrong() {
    let world = World::new("erase-wrong").await;
    world.run_ok("admin", &["migrate"]).await;
    let id = "65a000000000000000000001";
    let (code, stderr) = world.run_fail("admin", &["privacy", "erase", "--user", id, "--yes"]).await;
    assert!(code == 2 || code == 1, "{code}");
    assert!(stderr.contains("security.keyring_file") && stderr.contains("admin keys create"), "{stderr}");

    let keyring = world.directory().join("keyring.json");
    Keyring::create(&keyring).unwrap();
    let world = world.with_env("SECURITY__KEYRING_FILE", &keyring.to_string_lossy());
    let (code, stderr) = world.run_fail("admin", &["privacy", "erase", "--user", id, "--yes"]).await;
    assert!(code == 1 && stderr.contains(id) && stderr.contains("nothing to erase"), "{stderr}");
    let (code, stderr) = world.run_fail("admin", &["privacy", "erase", "--email", "no@body.org", "--yes"]).await;
    assert!(code == 1 && stderr.contains("no@body.org"), "{stderr}");
    let (code, stderr) = world.run_fail("admin", &["privacy", "erase", "--user", "jo", "--yes"]).await;
    assert!(code == 2 && stderr.contains("24 hexadecimal digits"), "{stderr}");

    world.run_ok("admin", &["seed-demo", "--users", "3", "--tools", "2"]).await;
    let person = world.db().collection::<Document>("users").find_one(doc! {}).await.unwrap().unwrap();
    let id = person.get_object_id("_id").unwrap().to_hex();
    // But for the audit log, which says that somebody asked.
    let documents = async || {
        let mut dump = dump(&world).await;
        dump.remove("audit_log");
        dump
    };
    let before = documents().await;
    world.run_ok("admin", &["privacy", "erase", "--user", &id, "--dry-run"]).await;
    let (code, stderr) = world.run_fail("admin", &["privacy", "erase", "--user", &id]).await;
    assert!(code == 2 && stderr.contains("--yes"), "{stderr}");
    assert!(documents().await == before, "something changed");
}
