//! `admin recover`: whatever stops it, it is run again, goes on, and ends as if nothing had stopped it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests and their helpers")]

#[path = "backup/dump.rs"]
mod dump;
#[path = "backup/place.rs"]
mod place;

use std::time::Duration;

use bson::{Document, doc};
use common::keyring::Keyring;
use dump::{collections, dump};
use e2e::eventually::{PATIENCE, eventually};
use e2e::load::{stored, tool_uses};
use e2e::world::Running;
use place::Place;

/// Enough that each step of a restore takes a while.
const DOCUMENTS: i64 = 40_000;
const EVENTS: usize = 100;
const LATER: usize = 50;

const LATEST: [&str; 4] = ["recover", "--to", "latest", "--yes"];

/// With a full backup, and events that came after it.
async fn place(name: &str) -> Place {
    let place = Place::new(name).await;
    let world = &place.world;
    world.run_ok("admin", &["migrate"]).await;
    world.produce(&tool_uses(0, EVENTS)).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    let marks = world.db().collection::<Document>("marks");
    for first in (0..DOCUMENTS).step_by(10_000) {
        let documents = (first..first + 10_000).map(|number| doc! { "_id": number, "text": "x".repeat(300) });
        marks.insert_many(documents).await.unwrap();
    }
    place.saves(&["backup", "run", "--full"]).await;
    world.produce(&tool_uses(EVENTS, LATER)).await;
    place
}

/// Until the recovery has come so far, or has ended.
async fn until(place: &Place, recovering: &mut Running, what: &str, reached: Document) {
    let recovery = place.world.db().collection::<Document>("recovery");
    eventually(PATIENCE, what, async || {
        let is_reached = match what {
            "load" => collections(place.world.db()).await.iter().any(|name| name.starts_with("restoring.")),
            _ => recovery.find_one(reached.clone()).await.unwrap().is_some(),
        };
        (is_reached || recovering.process.exited().unwrap().is_some()).then_some(())
    })
    .await;
}

/// The end of the second that is now, which the oplog knows to be over when it has ended.
async fn second() -> String {
    let second = chrono::Utc::now();
    tokio::time::sleep(Duration::from_millis(u64::from(1_020 - second.timestamp_subsec_millis()))).await;
    second.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[tokio::test]
async fn a_killed_recovery_is_run_again_and_ends_as_if_nothing_had_killed_it() {
    let place = place("recover-kill").await;
    let world = &place.world;
    let marks = world.db().collection::<Document>("marks");
    let before = dump(world.db()).await;
    let second = second().await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    marks.delete_many(doc! { "_id": { "$gt": 10 } }).await.unwrap();

    let words = ["recover", "--to", &second, "--yes"];
    for (what, reached) in [
        ("load", doc! {}),
        ("renaming", doc! { "steps": "renaming" }),
        ("restored", doc! { "steps": "restored" }),
        ("erased", doc! { "steps": "erased" }),
    ] {
        let mut recovering = place.spawn("recovery", &words, &[]);
        until(&place, &mut recovering, what, reached).await;
        recovering.process.kill().unwrap();
        eprintln!("killed at {what}: {}{}", recovering.stdout(), recovering.stderr());
    }
    let said = place.restores(&words).await;
    assert!(said.contains("the database is restored to"), "{said}");
    let after = dump(world.db()).await;
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (name, collection) in before.iter().filter(|(name, _)| *name != "audit_log") {
        assert!(after[name].documents == collection.documents, "{name}");
    }
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    assert_eq!(stored(world).await, (EVENTS + LATER) as u64);
    place.saves(&["backup", "run", "--full"]).await;
}

#[tokio::test]
async fn a_recovery_that_failed_goes_on_after_the_last_step_that_was_done() {
    let place = place("recover-fail").await;
    let world = &place.world;
    let [right, wrong] = ["right.json", "wrong.json"].map(|name| world.directory().join(name));
    Keyring::create(&right).unwrap();
    Keyring::create(&wrong).unwrap();
    let [right, wrong] = [&right, &wrong].map(|file| [("SECURITY__KEYRING_FILE", file.to_str().unwrap())]);
    let refused = place.fails_with("recovery", &LATEST, &[("SECURITY__KEYRING_FILE", "/nothing.json")]).await;
    assert!(refused.contains("/nothing.json"), "{refused}");
    let recovery = world.db().collection::<Document>("recovery");
    assert_eq!(recovery.count_documents(doc! {}).await.unwrap(), 0, "too early");

    // With another keyring nobody knows who was erased, so ingest is not set back.
    let erase = ["privacy", "erase", "--user", &format!("65a0{:020x}", 0), "--yes"];
    let mut command = world.command("admin");
    command.args(erase).env("DEVTOOLKIT__SECURITY__KEYRING_FILE", right[0].1);
    let erased = world.finish("admin", command).await;
    assert_eq!(erased.code, Some(0), "{}", erased.stderr);
    let ahead = world.progress().await;
    let failed = place.fails_with("recovery", &LATEST, &wrong).await;
    assert!(failed.contains("key"), "{failed}");
    assert_eq!(world.progress().await, ahead);
    assert!(place.saves_not(&["backup", "run", "--full"]).await.contains("is not finished"));

    // What is written now would be gone if it restored again.
    let marks = world.db().collection::<Document>("marks");
    marks.insert_one(doc! { "_id": "after the restore" }).await.unwrap();
    let said = place.run_with("recovery", &LATEST, &right).await;
    assert!(said.contains("goes on after that") && !said.contains("minutes: restored"), "{said}");
    assert_eq!(marks.count_documents(doc! { "_id": "after the restore" }).await.unwrap(), 1);
    assert_eq!(recovery.count_documents(doc! {}).await.unwrap(), 0);
    place.saves(&["backup", "run", "--full"]).await;
}

/// The backup is of before the erasure, and Kafka still has the person's events.
#[tokio::test]
async fn an_erased_person_stays_erased() {
    let place = Place::new("recover-erased").await;
    let world = &place.world;
    let keyring = world.directory().join("keyring.json");
    Keyring::create(&keyring).unwrap();
    let settings = [("SECURITY__KEYRING_FILE", keyring.to_str().unwrap())];
    let with_keyring = |program: &str, words: &[&str]| {
        let mut command = world.command(program);
        command.args(words).envs(settings.iter().map(|(name, value)| (format!("DEVTOOLKIT__{name}"), *value)));
        command
    };
    world.run_ok("admin", &["migrate"]).await;
    world.run_ok("admin", &["seed-demo", "--users", "10", "--tools", "3"]).await;
    let yesterday = common::day::Day::yesterday().to_string();
    let generate =
        ["generate", "--events", "600", "--days", "1", "--until", &yesterday, "--users", "10", "--tools", "3"];
    world.run_ok("emit", &generate).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    let uses = world.db().collection::<Document>("usage_analytics");
    let with_user = doc! { "userId": { "$exists": true } };
    let person = uses.find_one(with_user).await.unwrap().unwrap().get_object_id("userId").unwrap();
    let of_person = async || uses.count_documents(doc! { "userId": person }).await.unwrap();
    let (saved, all) = (of_person().await, stored(world).await);
    place.saves(&["backup", "run", "--full"]).await;
    let second = second().await;

    let erase = ["privacy", "erase", "--user", &person.to_hex(), "--yes"];
    let erased = world.finish("admin", with_keyring("admin", &erase)).await;
    assert_eq!(erased.code, Some(0), "{}", erased.stderr);
    let others = stored(world).await;
    assert!(saved > 0 && others < all && of_person().await == 0, "{saved} of {all}, now {others}");

    // Without the keyring, the person is back, and the command says so.
    let words = ["recover", "--to", &second, "--yes"];
    let said = place.restores(&words).await;
    assert!(said.contains("nobody was erased again, because security.keyring_file is empty"), "{said}");
    assert_eq!(of_person().await, saved);
    let said = place.run_with("recovery", &words, &settings).await;
    assert!(said.contains("erased again who was erased"), "{said}");
    assert_eq!(of_person().await, 0);
    let caught_up = world.finish("ingest", with_keyring("ingest", &["run", "--until-caught-up"])).await;
    assert_eq!(caught_up.code, Some(0), "{}", caught_up.stderr);
    assert_eq!((of_person().await, stored(world).await), (0, others));
}
