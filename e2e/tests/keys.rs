//! `admin keys` and `admin secrets`: the keyring's file, rotation and protection under kills, and what the database takes and holds.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, doc};
use common::keyring::{DIGEST_PATTERN, Keyring, KeyringError, Purpose};
use common::secrets::{self, SecretValueError, Verified};
use e2e::world::World;
use futures::TryStreamExt;
use rand::RngExt;
use serde_json::Value;

async fn world(name: &str) -> (World, PathBuf) {
    let world = World::new(name).await;
    let path = world.directory().join("keyring.json");
    let world = world.with_env("SECURITY__KEYRING_FILE", path.to_str().unwrap());
    world.run_ok("admin", &["migrate"]).await;
    (world, path)
}

async fn admin(world: &World, args: &[&str]) -> Value {
    serde_json::from_str(&world.run_ok("admin", args).await).unwrap()
}

/// As documents were before the validators asked for protection.
async fn insert(world: &World, collection: &str, documents: Vec<Document>) {
    let collection = world.db().collection::<Document>(collection);
    collection.insert_many(documents).bypass_document_validation(true).await.unwrap();
}

async fn all(world: &World, collection: &str) -> Vec<Document> {
    world.db().collection::<Document>(collection).find(doc! {}).await.unwrap().try_collect().await.unwrap()
}

fn tomorrow() -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis() + 86_400_000)
}

/// Runs a command to its end, killed `kills` times before, each time at another moment; returns how many kills came in time.
async fn killed(world: &World, args: &[&str], kills: u32) -> u32 {
    let start = Instant::now();
    let mut in_time = 0;
    for _ in 0..kills {
        let mut running = world.spawn("admin", args);
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(30..700))).await;
        running.process.kill().unwrap();
        let status = running.process.wait(Duration::from_secs(10)).await.unwrap();
        in_time += u32::from(!status.success());
    }
    println!("{args:?}: {in_time} of {kills} kills came before the end, {:?}", start.elapsed());
    in_time
}

fn secret(number: usize) -> String {
    format!("plain-secret-{number}-of-a-test")
}

fn configuration(number: usize, value: Bson) -> Document {
    let now = DateTime::now();
    doc! {
        "_id": ObjectId::new(), "key": format!("secret_{number}"), "value": value, "category": "security",
        "description": "of a test", "dataType": "string", "environment": "all", "isActive": true, "isSecret": true,
        "version": 1, "createdAt": now, "updatedAt": now,
    }
}

#[tokio::test]
async fn create_makes_a_file_for_its_owner_alone_and_changes_none() {
    let (world, path) = world("keys-create").await;
    let (_, message) = world.run_fail("admin", &["keys", "list"]).await;
    assert!(message.contains("admin keys create") && message.contains(path.to_str().unwrap()), "{message}");

    let first = admin(&world, &["keys", "create", "--json"]).await;
    assert_eq!(first["created"], true);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let before = fs::read(&path).unwrap();
    let second = admin(&world, &["keys", "create", "--json"]).await;
    assert_eq!((&second["created"], &second["current"]), (&false.into(), &first["current"]));
    assert_eq!(fs::read(&path).unwrap(), before);

    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    for args in [&["keys", "create"][..], &["keys", "list"], &["keys", "rotate"], &["secrets", "protect"]] {
        let (_, message) = world.run_fail("admin", args).await;
        assert!(message.contains(&format!("chmod 600 {}", path.display())), "{args:?}: {message}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();

    let listed = world.run_ok("admin", &["keys", "list"]).await;
    let listed_json = world.run_ok("admin", &["keys", "list", "--json"]).await;
    let text = String::from_utf8(before).unwrap();
    let key = text.split('"').find(|word| word.len() == 64).unwrap();
    assert!(listed.contains(first["current"].as_str().unwrap()), "{listed}");
    assert!(!listed.contains(key) && !listed_json.contains(key));
    let world = world.with_env("SECURITY__KEYRING_FILE", "");
    let (_, message) = world.run_fail("admin", &["keys", "create"]).await;
    assert!(message.contains("security.keyring_file"), "{message}");
}

#[tokio::test]
async fn a_killed_rotation_goes_on_while_programs_read_and_write() {
    const SECRETS: usize = 20_000;
    let (world, path) = world("keys-rotate").await;
    let first = Keyring::create(&path).unwrap();
    let sealed = |number| {
        let key = format!("secret_{number}");
        configuration(number, secrets::seal_value(&first, &key, &secret(number).into()).unwrap())
    };
    insert(&world, "system_configuration", (0..SECRETS).map(sealed).collect()).await;

    let is_over = std::sync::atomic::AtomicBool::new(false);
    let reader = async {
        let values = world.db().collection::<Document>("system_configuration");
        let (mut keyring, mut read) = (Keyring::open(&path).unwrap(), 0_u32);
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            let number = rand::rng().random_range(0..SECRETS);
            let key = format!("secret_{number}");
            let found = values.find_one(doc! { "key": &key }).await.unwrap().unwrap();
            let opened = match secrets::open_value(&keyring, &key, found.get("value").unwrap()) {
                // The rotation has added a key since this program read the file.
                Err(SecretValueError::Keyring { source: KeyringError::UnknownKey { .. }, .. }) => {
                    keyring = Keyring::open(&path).unwrap();
                    secrets::open_value(&keyring, &key, found.get("value").unwrap())
                }
                other => other,
            };
            assert_eq!(opened.unwrap(), Bson::from(secret(number)));
            // Somebody writes the value meanwhile, still with the key that they know.
            let again = secrets::seal_value(&keyring, &key, &secret(number).into()).unwrap();
            values.update_one(doc! { "key": &key }, doc! { "$set": { "value": again } }).await.unwrap();
            read += 1;
        }
        read
    };
    let kills = std::env::var("E2E_KILLS").map_or(12, |kills| kills.parse().unwrap());
    let rotation = async {
        let in_time = killed(&world, &["keys", "rotate"], kills).await;
        assert!(in_time >= 3, "the kills came too late: {in_time}");
        let keys = Keyring::open(&path).unwrap().keys().len();
        // At most one rotation began for each kill that came after an end.
        let report = admin(&world, &["keys", "rotate", "--json"]).await;
        assert_eq!(report["failed"], serde_json::json!([]));
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        keys
    };
    let (read, _) = tokio::join!(reader, rotation);
    println!("{read} values were read and written during the rotation");

    // What was written with an older key at the last moment.
    let mut keyring = Keyring::open(&path).unwrap();
    let is_current = |keyring: &Keyring, document: &Document| {
        document.get_str("value").unwrap().starts_with(&format!("v1:{}:", keyring.current().id()))
    };
    let mut documents = all(&world, "system_configuration").await;
    if !documents.iter().all(|document| is_current(&keyring, document)) {
        world.run_ok("admin", &["keys", "rotate"]).await;
        keyring = Keyring::open(&path).unwrap();
        documents = all(&world, "system_configuration").await;
    }
    assert_eq!(documents.len(), SECRETS);
    for document in &documents {
        let key = document.get_str("key").unwrap();
        assert!(is_current(&keyring, document), "{document}");
        let opened = secrets::open_value(&keyring, key, document.get("value").unwrap()).unwrap();
        let number: usize = key.strip_prefix("secret_").unwrap().parse().unwrap();
        assert_eq!(opened, Bson::from(secret(number)));
        assert_eq!(document.get_i32("version").unwrap(), 1, "nobody changed the value");
    }
    for key in keyring.keys().iter().skip(1) {
        world.run_ok("admin", &["keys", "retire", key.id()]).await;
    }
    assert_eq!(Keyring::open(&path).unwrap().keys().len(), 1);
}

#[tokio::test]
async fn a_key_that_is_needed_is_not_retired() {
    let (world, path) = world("keys-retire").await;
    let first = Keyring::create(&path).unwrap();
    let id = first.current().id().to_owned();
    let (_, message) = world.run_fail("admin", &["keys", "retire", &id]).await;
    assert!(message.contains("current one") && message.contains("admin keys rotate"), "{message}");
    let token = |expires: DateTime| {
        let digest = secrets::token_digest(&first, Purpose::SessionToken, &secrets::new_token().unwrap());
        doc! { "_id": ObjectId::new(), "sessionToken": digest, "expiresAt": expires }
    };
    insert(&world, "sessions", vec![token(tomorrow()), token(tomorrow())]).await;
    let subject = first.digest(Purpose::Subject, &[1; 12]);
    let erasure = doc! { "_id": &subject, "keyId": &id, "requestedAt": DateTime::now(), "documents": {} };
    insert(&world, "erasures", vec![erasure]).await;
    world.run_ok("admin", &["keys", "rotate"]).await;

    let refused = async || world.run_fail("admin", &["keys", "retire", &id]).await.1;
    let message = refused().await;
    assert!(message.contains("2 sessions, 1 erasures") && message.contains(&id), "{message}");
    let listed = admin(&world, &["keys", "list", "--json"]).await;
    let old = listed["keys"].as_array().unwrap().iter().find(|key| key["id"] == id.as_str()).unwrap();
    assert_eq!((&old["state"], &old["neededBy"]["sessions"]), (&"old".into(), &2.into()));

    let now = doc! { "$set": { "expiresAt": DateTime::now() } };
    world.db().collection::<Document>("sessions").update_many(doc! {}, now).await.unwrap();
    let message = refused().await;
    assert!(message.contains("1 erasures") && !message.contains("sessions,"), "{message}");
    world.db().collection::<Document>("erasures").delete_many(doc! {}).await.unwrap();
    world.run_ok("admin", &["keys", "retire", &id]).await;
    let keyring = Keyring::open(&path).unwrap();
    assert_eq!((keyring.keys().len(), &*keyring.retired()[0].id), (1, &*id));
}

#[tokio::test]
async fn protect_converts_every_plain_secret_though_it_is_killed() {
    const EACH: usize = 20_000;
    let (world, path) = world("keys-protect").await;
    let keyring = Keyring::create(&path).unwrap();
    let session = |number: usize| {
        doc! { "_id": ObjectId::new(), "userId": ObjectId::new(), "sessionToken": format!("session-{}", secret(number)), "expiresAt": tomorrow() }
    };
    let user = |number: usize| {
        doc! {
            "_id": ObjectId::new(),
            "email": format!("{number}@example.com"),
            "password": "$argon2id$v=19$m=19456,t=2,p=1$ZGVtby1zYWx0LW9ubHkhIQ$bm90LWEtcmVhbC1oYXNoLW5vYm9keS1jYW4tbG9naW4",
            "authentication": {
                "isVerified": false,
                "verificationToken": format!("verification-{}", secret(number)),
                "resetToken": format!("reset-{}", secret(number)),
            },
        }
    };
    insert(&world, "sessions", (0..EACH).map(session).collect()).await;
    insert(&world, "users", (0..EACH).map(user).collect()).await;
    insert(&world, "system_configuration", (0..300).map(|n| configuration(n, secret(n).into())).collect()).await;

    let dry = admin_left(&world, &["secrets", "protect", "--dry-run", "--json"]).await;
    let converted = |report: &Value| -> Vec<u64> {
        report["fields"].as_array().unwrap().iter().map(|field| field["converted"].as_u64().unwrap()).collect()
    };
    assert_eq!(converted(&dry), [EACH, EACH, EACH, 300, 0].map(|count| count as u64));
    assert!(
        all(&world, "sessions")
            .await
            .iter()
            .all(|session| session.get_str("sessionToken").unwrap().starts_with("session-"))
    );

    let in_time = killed(&world, &["secrets", "protect"], 8).await;
    assert!(in_time >= 2, "the kills came too late: {in_time}");
    world.run_ok("admin", &["secrets", "protect"]).await;
    assert_eq!(
        converted(&admin(&world, &["secrets", "protect", "--json"]).await),
        [0; 5],
        "a second time changes nothing"
    );

    // As a dump would have it: every byte of every document.
    let needle = b"plain-secret-";
    for collection in world.db().list_collection_names().await.unwrap() {
        for document in all(&world, &collection).await {
            let bytes = bson::serialize_to_vec(&document).unwrap();
            assert!(
                !bytes.windows(needle.len()).any(|window| window == needle),
                "{collection} holds a plain secret: {document}"
            );
        }
    }

    // Every secret still does its work, and an index finds it.
    let second = Keyring::rotate(&path).unwrap();
    for (collection, field, purpose, name) in [
        ("sessions", "sessionToken", Purpose::SessionToken, "session"),
        ("users", "authentication.verificationToken", Purpose::VerificationToken, "verification"),
        ("users", "authentication.resetToken", Purpose::ResetToken, "reset"),
    ] {
        let documents = world.db().collection::<Document>(collection);
        for number in [0, EACH / 2, EACH - 1] {
            let token = format!("{name}-{}", secret(number));
            let filter = secrets::token_filter(&second, field, purpose, &token);
            let found: Vec<Document> = documents.find(filter.clone()).await.unwrap().try_collect().await.unwrap();
            assert_eq!(found.len(), 1, "{token}");
            let explain = doc! { "explain": { "find": collection, "filter": filter }, "verbosity": "executionStats" };
            let plan = world.db().run_command(explain).await.unwrap();
            let stats = plan.get_document("executionStats").unwrap();
            assert_eq!(stats.get_i32("totalDocsExamined").unwrap(), 1, "{field}: {plan}");
            assert!(plan.to_string().contains("IXSCAN") && !plan.to_string().contains("COLLSCAN"), "{field}: {plan}");
        }
    }
    let value =
        world.db().collection::<Document>("system_configuration").find_one(doc! { "key": "secret_7" }).await.unwrap();
    let value = secrets::open_value(&keyring, "secret_7", value.unwrap().get("value").unwrap()).unwrap();
    assert_eq!(value, Bson::from(secret(7)));
}

/// Of a command that may fail because something stays unprotected.
async fn admin_left(world: &World, args: &[&str]) -> Value {
    serde_json::from_str(&world.run("admin", args).await.stdout).unwrap()
}

#[tokio::test]
async fn passwords_are_listed_and_hashed_only_when_they_are_said_to_be_plain() {
    let (world, path) = world("keys-passwords").await;
    Keyring::create(&path).unwrap();
    let hash = secrets::hash_password("of an argon2id user").unwrap();
    let ids: Vec<ObjectId> = (0..4).map(|_| ObjectId::new()).collect();
    let bcrypt = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";
    let users = ids.iter().zip([hash.as_str(), bcrypt, "hunter2", ""]).map(|(id, password)| {
        doc! { "_id": id, "email": id.to_hex(), "password": password }
    });
    insert(&world, "users", users.collect()).await;
    let passwords = |report: &Value| report["fields"].as_array().unwrap().last().unwrap().clone();

    let (_, message) = world.run_fail("admin", &["secrets", "protect"]).await;
    assert!(message.contains("3 secrets stay unprotected"), "{message}");
    let report = passwords(&admin_left(&world, &["secrets", "protect", "--json"]).await);
    assert_eq!((&report["protected"], &report["converted"], &report["left"]), (&1.into(), &0.into(), &3.into()));
    let why = |report: &Value, id: ObjectId| {
        let named = report["named"]
            .as_array()
            .unwrap()
            .iter()
            .find(|left| left["document"].as_str().unwrap().contains(&id.to_hex()));
        named.map(|left| left["why"].as_str().unwrap().to_owned())
    };
    assert!(why(&report, ids[1]).unwrap().contains("bcrypt"));
    assert!(why(&report, ids[2]).unwrap().contains("--hash-passwords"));
    assert!(!report.to_string().contains("hunter2"));

    let report = passwords(&admin_left(&world, &["secrets", "protect", "--hash-passwords", "--json"]).await);
    assert_eq!((&report["converted"], &report["left"]), (&1.into(), &2.into()));
    let users = all(&world, "users").await;
    let stored = |id: ObjectId| {
        users.iter().find(|user| user.get_object_id("_id").unwrap() == id).unwrap().get_str("password").unwrap()
    };
    assert_eq!(secrets::verify_password("hunter2", stored(ids[2])).unwrap(), Verified::Right);
    assert_eq!((stored(ids[0]), stored(ids[1])), (hash.as_str(), bcrypt));
}

#[tokio::test]
async fn the_database_takes_no_plain_secret_and_the_demo_has_none() {
    let (world, path) = world("keys-validators").await;
    // No keyring is there.
    world.run_ok("admin", &["seed-demo", "--users", "60"]).await;
    Keyring::create(&path).unwrap();
    let report = admin(&world, &["secrets", "protect", "--json"]).await;
    assert!(
        report["fields"].as_array().unwrap().iter().all(|field| field["converted"] == 0 && field["left"] == 0),
        "{report}"
    );
    world.run_ok("admin", &["keys", "rotate"]).await;
    for (collection, plain) in [
        ("users", doc! { "password": "hunter2" }),
        ("users", doc! { "password": "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW" }),
        ("users", doc! { "authentication.verificationToken": "9b2d8a6e-4a39-4c3a-9b1d-2f6f0d3c1a55" }),
        ("users", doc! { "authentication.resetToken": "9b2d8a6e-4a39-4c3a-9b1d-2f6f0d3c1a55" }),
        ("sessions", doc! { "sessionToken": "eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8opsbCGfG_HACGpVUMN_a9IV7pAx_Zmeo" }),
        ("system_configuration", doc! { "isSecret": true }),
    ] {
        let documents = world.db().collection::<Document>(collection);
        let filter = if collection == "system_configuration" {
            doc! { "isSecret": false }
        } else {
            doc! {}
        };
        let error = documents.update_one(filter, doc! { "$set": &plain }).await.unwrap_err().to_string();
        assert!(error.contains("Document failed validation"), "{plain}: {error}");
    }
    let pattern = regex::Regex::new(DIGEST_PATTERN).unwrap();
    assert!(
        all(&world, "sessions").await.iter().all(|session| pattern.is_match(session.get_str("sessionToken").unwrap()))
    );
}
