//! Anonymised days: no published number changes, nobody is named any more, and a kill at any point ends complete.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "tests and their helpers")]

#[path = "rollup/events.rs"]
mod events;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{DateTime, Document, RawDocumentBuf, doc};
use common::day::Day;
use e2e::eventually::{PATIENCE, eventually};
use e2e::topic::Message;
use e2e::world::World;
use futures::TryStreamExt;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

const RAW: [&str; 2] = ["usage_analytics", "activity_logs"];
/// In the events of every person, and in no other document.
const SECRETS: [&str; 6] =
    ["203.0.113.7", "Mozilla/5.0 (Ada)", "https://ada.example", "Lovelace Street", "Marylebone", "ada@"];

/// Random events with everything that anonymisation removes.
fn personal(day: Day, count: usize, seed: u64) -> Vec<Value> {
    let [address, agent, referrer, region, city, mail] = SECRETS;
    let mut events = events::random(day, count, seed);
    for event in &mut events {
        let kind = event["type"].as_str().unwrap().to_owned();
        if kind == "com.devtoolkit.health-check.v1" {
            continue;
        }
        event["data"]["context"] = json!({
            "userAgent": agent, "ipAddress": address, "referrer": referrer,
            "location": { "country": "GB", "region": region, "city": city },
        });
        if kind == "com.devtoolkit.tool-usage.v1" {
            event["data"]["usage"]["errorMessage"] = format!("no file of {mail}example.org").into();
            event["data"]["metadata"] =
                json!({ "version": "1", "features": ["a"], "customData": { "theme": "dark", "who": mail } });
        } else {
            event["data"]["path"] = format!("/tools?of={mail}").into();
        }
    }
    events
}

async fn all(world: &World, collection: &str, filter: Document) -> Vec<RawDocumentBuf> {
    let documents = world.db().collection::<RawDocumentBuf>(collection);
    documents.find(filter).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap()
}

/// Everything that is published, byte for byte.
async fn published(world: &World) -> Vec<RawDocumentBuf> {
    let mut documents = Vec::new();
    for collection in ["system_analytics", "tool_days", "user_days", "tools", "users"] {
        documents.extend(all(world, collection, doc! {}).await);
    }
    assert!(documents.len() > 50);
    documents
}

fn of_day(day: Day) -> Document {
    doc! { "timestamp": { "$gte": DateTime::from_chrono(day.start()), "$lt": DateTime::from_chrono(day.end()) } }
}

async fn raw(world: &World, day: Day) -> Vec<RawDocumentBuf> {
    let mut documents = Vec::new();
    for collection in RAW {
        documents.extend(all(world, collection, of_day(day)).await);
    }
    documents
}

fn id_of(document: &RawDocumentBuf, field: &str) -> Option<ObjectId> {
    document.get_object_id(field).ok()
}

/// Which pseudonym each id has: one, or the test fails.
fn pseudonyms(before: &[RawDocumentBuf], after: &[RawDocumentBuf], field: &str) -> BTreeMap<ObjectId, ObjectId> {
    assert_eq!(before.len(), after.len());
    let mut pseudonyms = BTreeMap::new();
    for (before, after) in before.iter().zip(after) {
        assert_eq!(id_of(before, "_id"), id_of(after, "_id"));
        match (id_of(before, field), id_of(after, field)) {
            (Some(id), Some(pseudonym)) => assert_eq!(*pseudonyms.entry(id).or_insert(pseudonym), pseudonym, "{id}"),
            (before, after) => assert_eq!(before, after),
        }
    }
    assert_eq!(pseudonyms.values().collect::<BTreeSet<_>>().len(), pseudonyms.len(), "two people share a pseudonym");
    assert!(pseudonyms.iter().all(|(id, pseudonym)| id != pseudonym));
    pseudonyms
}

fn contains(document: &RawDocumentBuf, bytes: &[u8]) -> bool {
    document.as_bytes().windows(bytes.len()).any(|window| window == bytes)
}

/// Nothing of the day's people is in its raw documents.
fn assert_nobody_is_named(before: &[RawDocumentBuf], after: &[RawDocumentBuf]) {
    let ids: BTreeSet<ObjectId> = before
        .iter()
        .flat_map(|document| ["userId", "sessionId"].map(|field| id_of(document, field)))
        .flatten()
        .collect();
    assert!(ids.len() > 50, "{}", ids.len());
    for document in after {
        for id in &ids {
            assert!(
                !contains(document, &id.bytes()) && !contains(document, id.to_hex().as_bytes()),
                "{id}: {document:?}"
            );
        }
        for secret in SECRETS {
            assert!(!contains(document, secret.as_bytes()), "{secret}: {document:?}");
        }
        assert!(document.get_bool("anonymised").unwrap(), "{document:?}");
    }
    assert!(after.iter().any(|document| contains(document, b"GB")) && after.iter().any(|it| contains(it, b"/tools")));
}

/// The distinct users of the anonymised events are those that are published.
async fn assert_counts_stay(world: &World, day: Day, after: &[RawDocumentBuf]) {
    let daily = all(world, "system_analytics", doc! { "date": day.to_string() }).await;
    let metrics = daily[0].get_document("metrics").unwrap();
    let counted: Vec<_> =
        after.iter().filter(|document| document.get_str("action").ok() != Some("login_failed")).collect();
    let users = |of: &[&RawDocumentBuf]| of.iter().filter_map(|it| id_of(it, "userId")).collect::<BTreeSet<_>>().len();
    let uses: Vec<_> = after.iter().filter(|document| document.get("toolId").unwrap().is_some()).collect();
    assert_eq!(metrics.get_document("users").unwrap().get_i64("active").unwrap(), users(&counted) as i64);
    assert_eq!(metrics.get_document("tools").unwrap().get_i64("uniqueUsers").unwrap(), users(&uses) as i64);
    assert_eq!(metrics.get_document("tools").unwrap().get_i64("totalUsage").unwrap(), uses.len() as i64);
}

async fn send(world: &World, events: &[Value]) {
    let messages: Vec<Message> = events
        .iter()
        .map(|event| Message::new(event["data"]["userId"].as_str().unwrap_or("nobody"), event.to_string()))
        .collect();
    world.produce(&messages).await;
}

async fn state(world: &World, day: Day) -> Document {
    let states = world.db().collection::<Document>("rollup_days");
    states.find_one(doc! { "_id": day.to_string() }).await.unwrap().unwrap_or_default()
}

async fn anonymisation(world: &World, day: Day) -> Document {
    state(world, day).await.get_document("anonymisation").cloned().unwrap_or_default()
}

#[tokio::test]
async fn numbers_stay_and_nobody_is_named() {
    let world = events::world("anonymise-numbers").await;
    let days = [Day::today().minus(10), Day::today().minus(9)];
    let (from, to) = (days[0].to_string(), days[1].to_string());
    for (day, seed) in days.into_iter().zip(1..) {
        events::store(world.db(), &personal(day, 800, seed)).await;
    }
    // A document that nobody can read stays one, and says nothing.
    let unreadable = doc! { "userId": "ada@example.org", "usage": "Lovelace Street", "timestamp": DateTime::from_chrono(days[0].start()) };
    world.db().collection::<Document>("usage_analytics").insert_one(unreadable).await.unwrap();
    let (code, message) = world.run_fail("aggregator", &["anonymise", "--date", &from]).await;
    assert!(code == 1 && message.contains(&format!("aggregator run --date {from}")), "{message}");
    world.run_ok("aggregator", &["run", "--from", &from, "--to", &to]).await;
    let before = (published(&world).await, raw(&world, days[0]).await, raw(&world, days[1]).await);

    let said = world.run_ok("aggregator", &["anonymise", "--from", &from, "--to", &to]).await;
    assert!(said.contains(&from) && said.contains(" activities anonymised in "), "{said}");
    assert_eq!(published(&world).await, before.0);
    let mut found = Vec::new();
    for (day, before) in days.into_iter().zip([&before.1, &before.2]) {
        let after = raw(&world, day).await;
        assert_nobody_is_named(before, &after);
        assert_counts_stay(&world, day, &after).await;
        pseudonyms(before, &after, "sessionId");
        found.push(pseudonyms(before, &after, "userId"));
        let state = anonymisation(&world, day).await;
        assert!(!state.contains_key("key") && state.contains_key("finishedAt"), "{state}");
        assert_eq!(state.get_document("documents").unwrap().get_i64("uncounted").ok(), Some(0));
    }
    let known_on_both: Vec<_> = found[0].keys().filter(|id| found[1].contains_key(id)).collect();
    assert!(known_on_both.len() > 20);
    assert!(found[0].values().all(|pseudonym| !found[1].values().any(|other| other == pseudonym)));

    // What is left of the events still gives the numbers.
    let verified = world.run_ok("aggregator", &["verify", "--from", &from, "--to", &to]).await;
    assert_eq!(verified.matches(": 0 of ").count(), 2, "{verified}");
    assert!(verified.contains("metrics.engagement.returnUserRate"), "{verified}");
    let (_, message) = world.run_fail("aggregator", &["run", "--date", &from]).await;
    assert!(message.contains("is sealed"), "{message}");
    let again = world.run_ok("aggregator", &["anonymise", "--date", &from]).await;
    assert!(again.contains("was anonymised before"), "{again}");
    assert!(world.run_ok("aggregator", &["status"]).await.contains("anonymised"));
    assert!(world.run_ok("aggregator", &["show", "--date", &from]).await.contains("Its events were anonymised on"));

    // A late event is refused, and a resent one as well.
    let late = personal(days[0], 30, 9);
    send(&world, &late).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    let letters = world.read_topic(&world.dead_letter_topic()).await;
    assert_eq!(letters.len(), late.len());
    assert!(
        letters
            .iter()
            .all(|letter| letter.header_text("__connect.errors.exception.class.name").as_deref() == Some("day_sealed"))
    );
    assert_eq!(raw(&world, days[0]).await.len(), before.1.len());
}

#[tokio::test]
async fn a_day_that_still_takes_late_events_is_closed_only_when_somebody_says_so() {
    let world = events::world("anonymise-early").await.with_env("PRIVACY__CUSTOM_DATA_ALLOWED", "[\"theme\"]");
    let day = Day::yesterday();
    let date = day.to_string();
    events::store(world.db(), &personal(day, 200, 1)).await;
    world.run_ok("aggregator", &["run", "--date", &date]).await;
    let (code, message) = world.run_fail("aggregator", &["anonymise", "--date", &date]).await;
    assert!(
        code == 1 && message.contains("privacy.late_arrival") && message.contains("--yes-close-early"),
        "{message}"
    );
    assert!(!state(&world, day).await.contains_key("sealedAt"));
    let said = world.run_ok("aggregator", &["anonymise", "--date", &date, "--yes-close-early", "--json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said[0]["day"], &said[0]["uncounted"], &said[0]["wasDone"]), (&json!(date), &json!(0), &json!(false)));
    let after = raw(&world, day).await;
    assert!(after.iter().any(|document| contains(document, b"dark")) && !after.iter().any(|it| contains(it, b"who")));

    let world = world.with_env("PRIVACY__LATE_ARRIVAL", "88d").with_env("PRIVACY__ANONYMISE", "true");
    let (_, too_long) = world.run_fail("aggregator", &["serve"]).await;
    assert!(too_long.contains("retention.activity_logs is 90d"), "{too_long}");
    assert!(too_long.contains("privacy.late_arrival is 88d"), "{too_long}");
    // The server may keep events for a shorter time than the settings say.
    let sixty_days = doc! { "name": "timestamp_1", "expireAfterSeconds": 60 * 86_400 };
    world.db().run_command(doc! { "collMod": "activity_logs", "index": sixty_days }).await.unwrap();
    let world = world.with_env("PRIVACY__LATE_ARRIVAL", "80d");
    let (_, too_long) = world.run_fail("aggregator", &["serve"]).await;
    assert!(too_long.contains("privacy.late_arrival") && too_long.contains("less than 1392 h"), "{too_long}");
}

/// Killed (-9) at random points, `E2E_KILLS` times.
#[tokio::test]
async fn killed_anywhere_it_ends_complete() {
    let kills: u64 = std::env::var("E2E_KILLS").map_or(20, |kills| kills.parse().unwrap());
    let world = events::world("anonymise-kills").await.with_env("PRIVACY__ANONYMISE_EVENTS_PER_SECOND", "200");
    let day = Day::today().minus(8);
    let date = day.to_string();
    events::store(world.db(), &personal(day, 3_000, 1)).await;
    world.run_ok("aggregator", &["run", "--date", &date]).await;
    let (numbers, before) = (published(&world).await, raw(&world, day).await);
    let mut random = ChaCha8Rng::seed_from_u64(23);
    let (mut halfway, mut at_work) = (0, 0);
    for _ in 0..kills {
        let mut working = world.spawn("aggregator", &["anonymise", "--date", &date]);
        // Whoever was killed before has the lease for up to four seconds.
        eventually(PATIENCE, "the lease taken", async || {
            let leases = world.db().collection::<Document>("leases");
            let holder = leases.find_one(doc! { "_id": "aggregator" }).await.unwrap()?;
            let is_ours = holder.get_str("holder").unwrap().starts_with(&format!("{}-", working.process.pid()));
            (is_ours || working.process.exited().unwrap().is_some()).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..2_500))).await;
        at_work += u64::from(working.process.exited().unwrap().is_none());
        working.process.kill().unwrap();
        let after = raw(&world, day).await;
        let marked = after.iter().filter(|document| document.get_bool("anonymised").ok() == Some(true)).count();
        halfway += u64::from(marked > 0 && marked < after.len());
        assert_eq!(published(&world).await, numbers);
    }
    println!("{at_work} of {kills} were killed at work, {halfway} of them with some events rewritten");
    assert!(halfway > 0);
    let world = world.with_env("PRIVACY__ANONYMISE_EVENTS_PER_SECOND", "0");
    world.run_ok("aggregator", &["anonymise", "--date", &date]).await;
    let after = raw(&world, day).await;
    assert_eq!(published(&world).await, numbers);
    assert_nobody_is_named(&before, &after);
    assert_counts_stay(&world, day, &after).await;
    for field in ["userId", "sessionId"] {
        pseudonyms(&before, &after, field);
    }
    assert!(!anonymisation(&world, day).await.contains_key("key"));
}

/// Each event that is sent while the day is being closed is either counted, or refused: none is lost and none is only stored.
#[tokio::test]
async fn an_event_that_comes_while_the_day_is_closed_is_counted_or_refused() {
    let world = events::world("anonymise-race")
        .await
        .with_env("AGGREGATOR__REFRESH", "1s")
        .with_env("PRIVACY__ANONYMISE", "true");
    let (day, young) = (Day::today().minus(8), Day::today().minus(2));
    let mut sent = personal(day, 300, 1);
    sent.extend(personal(young, 100, 2));
    send(&world, &sent).await;
    let mut ingest = world.spawn("ingest", &["run"]);
    eventually(PATIENCE, "the first events stored", async || (!raw(&world, young).await.is_empty()).then_some(()))
        .await;
    let mut serving = world.spawn("aggregator", &["serve"]);
    let mut seed = 10;
    eventually(Duration::from_secs(180), "the day anonymised while events come", async || {
        let more = personal(day, 20, seed);
        send(&world, &more).await;
        sent.extend(more);
        seed += 1;
        anonymisation(&world, day).await.contains_key("finishedAt").then_some(())
    })
    .await;
    let topic_is_read =
        async || world.progress().await.into_iter().all(|(committed, end)| committed.unwrap_or(0) >= end).then_some(());
    eventually(PATIENCE, "all events read", topic_is_read).await;
    eventually(PATIENCE, "the metric to say that nothing waits", async || {
        let due = serving.metric("devtoolkit_aggregator_anonymisation_due_timestamp_seconds").await?;
        let done = serving.metric("devtoolkit_aggregator_anonymised_total{collection=\"activity_logs\"}").await?;
        (due == 0.0 && done > 100.0).then_some(())
    })
    .await;
    serving.stop(Duration::from_secs(10)).await;
    ingest.stop(Duration::from_secs(10)).await;

    let refused: BTreeSet<String> = world
        .read_topic(&world.dead_letter_topic())
        .await
        .iter()
        .map(|letter| {
            serde_json::from_slice::<Value>(letter.value.as_ref().unwrap()).unwrap()["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let all: BTreeSet<&str> = sent
        .iter()
        .filter(|event| event["time"].as_str().unwrap().starts_with(&day.to_string()))
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    let counted: i64 =
        state(&world, day).await.get_document("inputs").unwrap().values().map(|it| it.as_i64().unwrap()).sum();
    println!("{counted} counted, {} refused, of {}", refused.len(), all.len());
    assert!(!refused.is_empty() && counted > 300);
    assert_eq!(counted as usize + refused.len(), all.len());
    let documents = anonymisation(&world, day).await;
    assert_eq!(documents.get_document("documents").unwrap().get_i64("uncounted").ok(), Some(0), "{documents}");
    let young = raw(&world, young).await;
    assert!(young.iter().all(|document| document.get("anonymised").unwrap().is_none()) && contains(&young[0], b"ada@"));
    assert!(world.run_ok("aggregator", &["verify", "--date", &day.to_string()]).await.contains(": 0 of "));
}

/// A worker that stood still writes into a day that is anonymised: with its mark, or killed before it.
#[tokio::test]
async fn an_event_stored_afterwards_is_anonymised_too_and_counted_nowhere() {
    let world = events::world("anonymise-afterwards")
        .await
        .with_env("AGGREGATOR__REFRESH", "1s")
        .with_env("PRIVACY__ANONYMISE", "true");
    let day = Day::today().minus(8);
    let date = day.to_string();
    events::store(world.db(), &personal(day, 400, 1)).await;
    world.run_ok("aggregator", &["run", "--date", &date]).await;
    world.run_ok("aggregator", &["anonymise", "--date", &date]).await;
    let numbers = published_without_times(&world, day).await;
    let states = world.db().collection::<Document>("rollup_days");
    for (seed, is_marked) in [(2, true), (3, false)] {
        let stored = raw(&world, day).await.len();
        events::store(world.db(), &personal(day, 20, seed)).await;
        if is_marked {
            let mark = doc! { "$set": { "dirtySince": DateTime::now() }, "$inc": { "dirtyMarks": 1_i64 } };
            states.update_one(doc! { "_id": &date }, mark).await.unwrap();
        }
        let more = raw(&world, day).await;
        assert!(more.len() > stored);
        // Its first pass is one of the night, which counts days again.
        let mut serving = world.spawn("aggregator", &["serve"]);
        eventually(PATIENCE, "the stored events anonymised", async || {
            let state = anonymisation(&world, day).await;
            let documents = state.get_document("documents").unwrap();
            let total: i64 = documents.get_i64("toolUsage").unwrap() + documents.get_i64("activity").unwrap();
            (!state.contains_key("key") && total == more.len() as i64).then_some(())
        })
        .await;
        serving.stop(Duration::from_secs(10)).await;
        let after = raw(&world, day).await;
        assert!(after.iter().all(|document| document.get_bool("anonymised").ok() == Some(true)));
        assert!(after.iter().all(|document| SECRETS.iter().all(|secret| !contains(document, secret.as_bytes()))));
    }
    let uncounted = anonymisation(&world, day).await.get_document("documents").unwrap().get_i64("uncounted").unwrap();
    assert!(uncounted > 20, "{uncounted}");
    assert!(!state(&world, day).await.contains_key("dirtySince"));
    assert_eq!(published_without_times(&world, day).await, numbers);
    let verified = world.run_ok("aggregator", &["verify", "--date", &date]).await;
    assert!(verified.contains(&format!("{uncounted} events that came after its numbers were final")), "{verified}");
    assert!(world.run_ok("aggregator", &["status"]).await.contains("are not counted"));
}

/// What `serve` does not touch when it begins a new day: the day's own documents.
async fn published_without_times(world: &World, day: Day) -> Vec<RawDocumentBuf> {
    let date = doc! { "date": day.to_string() };
    let mut documents = Vec::new();
    for collection in ["system_analytics", "tool_days", "user_days"] {
        documents.extend(all(world, collection, date.clone()).await);
    }
    documents
}

#[tokio::test]
async fn a_day_that_was_sealed_long_ago_is_anonymised_with_the_numbers_it_has() {
    let world = events::world("anonymise-sealed").await;
    let day = Day::today().minus(20);
    let date = day.to_string();
    events::store(world.db(), &personal(day, 200, 1)).await;
    world.run_ok("aggregator", &["run", "--date", &date]).await;
    // Ingest stored more before it saw the seal, and nobody counted it.
    events::store(world.db(), &personal(day, 20, 2)).await;
    let seal = doc! { "$set": { "sealedAt": DateTime::from_chrono(day.end()), "dirtySince": DateTime::now() } };
    world.db().collection::<Document>("rollup_days").update_one(doc! { "_id": &date }, seal).await.unwrap();
    let numbers = published(&world).await;
    let said = world.run_ok("aggregator", &["anonymise", "--date", &date]).await;
    assert!(said.contains("are not counted"), "{said}");
    assert_eq!(published(&world).await, numbers);
    assert!(raw(&world, day).await.iter().all(|document| document.get_bool("anonymised").ok() == Some(true)));
}
