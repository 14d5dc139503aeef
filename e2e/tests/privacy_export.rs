//! `admin privacy export`: everything about a person, nothing about anybody else, in bounded memory, and whole or not at all.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use backup::age::{self, Identity};
use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, doc};
use common::demo;
use e2e::eventually::{PATIENCE, eventually};
use e2e::world::World;
use futures::TryStreamExt;
use regex::Regex;
use serde_json::Value;
use sha2::{Digest, Sha256};

const USERS: u32 = 200;
const SECRETS: [&str; 4] = ["password", "sessionToken", "verificationToken", "resetToken"];

/// Every document of the database, by whose id or address is in any of its fields.
struct Search {
    ids: HashMap<ObjectId, String>,
    emails: HashMap<String, ObjectId>,
    secrets: BTreeSet<String>,
    about: HashMap<ObjectId, BTreeMap<String, Vec<Document>>>,
    hex: Regex,
    email: Regex,
}

impl Search {
    async fn new(world: &World) -> Self {
        let mut search = Self {
            ids: HashMap::new(),
            emails: HashMap::new(),
            secrets: BTreeSet::new(),
            about: HashMap::new(),
            hex: Regex::new("[0-9a-fA-F]{24}").unwrap(),
            email: Regex::new(r"[a-z0-9.]+@example\.com").unwrap(),
        };
        for user in all(world, "users").await {
            let (id, email) = (user.get_object_id("_id").unwrap(), user.get_str("email").unwrap().to_owned());
            search.ids.insert(id, email.clone());
            search.emails.insert(email, id);
        }
        let collections = world.db().list_collection_names().await.unwrap();
        // The profiler keeps slow operations with their values for a while: docs/PRIVACY.md says so.
        for collection in collections.into_iter().filter(|name| name != "system.profile") {
            for document in all(world, &collection).await {
                let mut found = BTreeSet::new();
                for value in document.values() {
                    search.people(value, &mut found);
                }
                search.collect_secrets(&document);
                for person in found {
                    let about = search.about.entry(person).or_default();
                    about.entry(collection.clone()).or_default().push(document.clone());
                }
            }
        }
        search
    }

    /// Whoever is named in a value.
    fn people(&self, value: &Bson, found: &mut BTreeSet<ObjectId>) {
        match value {
            Bson::ObjectId(id) if self.ids.contains_key(id) => _ = found.insert(*id),
            Bson::String(text) => found.extend(self.people_in(text)),
            Bson::Document(inner) => inner.values().for_each(|value| self.people(value, found)),
            Bson::Array(values) => values.iter().for_each(|value| self.people(value, found)),
            _ => {}
        }
    }

    fn people_in(&self, text: &str) -> BTreeSet<ObjectId> {
        let ids = self.hex.find_iter(text).filter_map(|hex| ObjectId::parse_str(hex.as_str()).ok());
        let emails = self.email.find_iter(text).filter_map(|email| self.emails.get(email.as_str()).copied());
        ids.filter(|id| self.ids.contains_key(id)).chain(emails).collect()
    }

    fn collect_secrets(&mut self, document: &Document) {
        for (name, value) in document {
            match value {
                Bson::String(secret) if SECRETS.contains(&name.as_str()) => _ = self.secrets.insert(secret.clone()),
                Bson::Document(inner) => self.collect_secrets(inner),
                _ => {}
            }
        }
    }
}

async fn all(world: &World, collection: &str) -> Vec<Document> {
    let documents = world.db().collection::<Document>(collection).find(doc! {}).await.unwrap();
    documents.try_collect().await.unwrap()
}

async fn migrated(name: &str) -> World {
    let world = World::new(name).await;
    world.run_ok("admin", &["migrate"]).await;
    world
}

/// The lines of a file, each a document.
fn lines(directory: &Path, collection: &str) -> Vec<Value> {
    let text = fs::read_to_string(directory.join(format!("{collection}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn manifest(directory: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(directory.join("manifest.json")).unwrap()).unwrap()
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each file is as the manifest says, and open to nobody else.
fn expect_whole(directory: &Path, manifest: &Value) {
    let parts = manifest["collections"].as_array().unwrap().iter().chain([&manifest["summary"]]);
    let mut files: BTreeSet<String> = BTreeSet::from(["manifest.json".to_owned()]);
    for part in parts {
        let file = part["file"].as_str().unwrap();
        let content = fs::read(directory.join(file)).unwrap();
        assert_eq!((part["bytes"].as_u64(), &part["sha256"]), (Some(content.len() as u64), &sha256(&content).into()));
        if let Some(documents) = part["documents"].as_u64() {
            assert_eq!(content.iter().filter(|byte| **byte == b'\n').count() as u64, documents, "{file}");
        }
        files.insert(file.to_owned());
    }
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        found.insert(entry.file_name().into_string().unwrap());
    }
    assert_eq!(found, files);
}

/// As a line of the export: without secrets.
fn exported(document: &Document, secrets: &[&str]) -> Value {
    let mut document = document.clone();
    secrets.iter().for_each(|secret| _ = document.remove(secret));
    if let Ok(authentication) = document.get_document_mut("authentication") {
        SECRETS.iter().for_each(|secret| _ = authentication.remove(secret));
    }
    Bson::Document(document).into_relaxed_extjson()
}

fn sorted(values: impl IntoIterator<Item = Value>) -> Vec<String> {
    let mut values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    values.sort();
    values
}

#[tokio::test]
async fn fifty_exports_hold_everything_about_each_and_nothing_about_anybody_else() {
    let world = migrated("privacy-export").await;
    let users = USERS.to_string();
    world.run_ok("admin", &["seed-demo", "--users", &users]).await;
    world.run_ok("emit", &["generate", "--events", "20000", "--days", "3", "--seed", "7", "--users", &users]).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    let (from, to) = (common::day::Day::today().minus(3).to_string(), common::day::Day::yesterday().to_string());
    world.run_ok("aggregator", &["run", "--from", &from, "--to", &to]).await;
    // Secrets that the demo has for few people.
    let tokens = doc! { "$set": {
        "authentication.resetToken": format!("0000000a:{}", "a".repeat(64)),
        "authentication.verificationToken": format!("0000000b:{}", "b".repeat(64)),
    } };
    world.db().collection::<Document>("users").update_many(doc! {}, tokens).await.unwrap();
    let search = Search::new(&world).await;

    let mut documents = 0;
    let people: Vec<ObjectId> = (0..USERS).step_by(4).map(demo::user_id).collect();
    assert_eq!(people.len(), 50);
    for person in people {
        let hex = person.to_hex();
        let directory = world.directory().join(&hex);
        let out = directory.display().to_string();
        // In turn by id and by address.
        let email = &search.ids[&person];
        let (how, who) = if documents % 2 == 0 { ("--user", &hex) } else { ("--email", email) };
        world.run_ok("admin", &["privacy", "export", how, who, "--out", &out]).await;
        let manifest = manifest(&directory);
        expect_whole(&directory, &manifest);
        assert_eq!((&manifest["userId"], &manifest["hasAccount"]), (&Value::from(hex.as_str()), &true.into()));
        assert_eq!(manifest["notClassified"], Value::Array(vec![]));

        let about = &search.about[&person];
        let counts = manifest["collections"].as_array().unwrap().iter().map(|part| {
            (part["collection"].as_str().unwrap().to_owned(), part["documents"].as_u64().unwrap() as usize)
        });
        let counts: BTreeMap<String, usize> = counts.filter(|(_, count)| *count > 0).collect();
        let expected: BTreeMap<String, usize> = about.iter().map(|(name, found)| (name.clone(), found.len())).collect();
        assert_eq!(counts, expected, "{person}");
        documents += counts.values().sum::<usize>();

        // Word for word, where a document is about this person alone.
        for (collection, secret) in
            [("usage_analytics", ""), ("activity_logs", ""), ("user_days", ""), ("sessions", "sessionToken")]
        {
            let expected = about.get(collection).into_iter().flatten().map(|document| exported(document, &[secret]));
            assert_eq!(sorted(lines(&directory, collection)), sorted(expected), "{collection} of {person}");
        }
        let (own, others): (Vec<_>, Vec<_>) =
            about["users"].iter().partition(|user| user.get_object_id("_id").is_ok_and(|id| id == person));
        let created = others.iter().map(|_| serde_json::json!({ "metadata": { "createdBy": { "$oid": hex } } }));
        let own = own.iter().map(|user| {
            let mut user = exported(user, &["password"]);
            // Whoever created the account is somebody else.
            user["metadata"].as_object_mut().unwrap().shift_remove("createdBy");
            user
        });
        assert_eq!(sorted(lines(&directory, "users")), sorted(own.chain(created)), "users of {person}");
        let ids = |lines: Vec<Value>| sorted(lines.into_iter().map(|line| line["_id"].clone()));
        for collection in ["suggestions", "system_configuration"] {
            let expected = about.get(collection).into_iter().flatten().map(|document| exported(document, &[]));
            assert_eq!(ids(lines(&directory, collection)), ids(expected.collect()), "{collection} of {person}");
        }
        nothing_of_others(&search, &directory, person);
    }
    assert!(documents > 3_000, "only {documents} documents in all");
}

fn nothing_of_others(search: &Search, directory: &Path, person: ObjectId) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let named: Vec<_> = search.people_in(&text).into_iter().filter(|other| *other != person).collect();
        assert!(named.is_empty(), "{} names {named:?}", path.display());
        for secret in &search.secrets {
            assert!(!text.contains(secret.as_str()), "{} has the secret {secret}", path.display());
        }
    }
}

/// 300,000 uses of a tool by one person, stored as ingest stores them.
async fn store_events(world: &World, person: ObjectId) {
    const EVENTS: u32 = 300_000;
    let events = world.db().collection::<Document>("usage_analytics");
    let start = DateTime::now().timestamp_millis();
    for first in (0..EVENTS).step_by(10_000) {
        let batch = (first..first + 10_000).map(|number| {
            let time = DateTime::from_millis(start - i64::from(number) * 1_000);
            doc! {
                "_id": ObjectId::new(), "userId": person, "toolId": demo::tool_id(number % 40), "sessionId": ObjectId::new(),
                "usage": {
                    "startTime": time, "endTime": time, "duration": 2_340_i64, "inputSize": 1_024_i64, "outputSize": 2_048_i64,
                    "success": number % 9 > 0, "errorMessage": "<b>API rate limit exceeded</b>",
                },
                "context": {
                    "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
                    "ipAddress": "192.0.2.1", "referrer": "https://google.com", "location": { "country": "US", "city": "Reno" },
                },
                "performance": { "responseTime": 850.5, "memoryUsage": 45.2, "cpuUsage": 12.5 },
                "metadata": { "version": "2.1.0", "features": ["a", "b"], "customData": { "queryComplexity": "medium" } },
                "timestamp": time,
            }
        });
        events.insert_many(batch).await.unwrap();
    }
}

/// Runs an export to its end; returns the most memory that it held, in MiB.
async fn peak_memory(world: &World, args: &[&str]) -> f64 {
    let mut running = world.spawn("admin", args);
    let status = format!("/proc/{}/status", running.process.pid());
    let mut peak = 0.0_f64;
    loop {
        let now = fs::read_to_string(&status).unwrap_or_default();
        if let Some(line) = now.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            peak = peak.max(line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1_024.0);
        }
        if let Some(end) = running.process.exited().unwrap() {
            assert!(end.success(), "{}", running.stderr());
            return peak;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_export_of_any_size_is_whole_or_not_at_all_and_takes_little_memory() {
    let world = migrated("privacy-export-large").await;
    world.run_ok("admin", &["seed-demo", "--users", "10", "--tools", "40"]).await;
    let person = demo::user_id(3);
    store_events(&world, person).await;
    let directory = world.directory().join("export");
    let out = directory.display().to_string();
    let args = ["privacy", "export", "--user", &person.to_hex(), "--out", &out];

    let mut running = world.spawn("admin", &args);
    eventually(PATIENCE, "the first events in the file", async || {
        let written = fs::metadata(directory.join("usage_analytics.jsonl")).ok()?.len();
        (written > 1_000_000).then_some(())
    })
    .await;
    running.process.kill().unwrap();
    assert!(!directory.join("manifest.json").exists(), "killed, and it looks whole");
    let (code, said) = world.run_fail("admin", &args).await;
    assert!(code == 1 && said.contains("interrupted") && said.contains(&format!("rm -r {out}")), "{said}");

    fs::remove_dir_all(&directory).unwrap();
    let peak = peak_memory(&world, &args).await;
    let manifest = manifest(&directory);
    expect_whole(&directory, &manifest);
    assert_eq!(lines_of(&manifest, "usage_analytics"), 300_000);
    eprintln!("300,000 events: peak memory {peak:.1} MiB");
    assert!(peak > 1.0 && peak <= 64.0, "{peak} MiB");
    let page = fs::read_to_string(directory.join("summary.html")).unwrap();
    assert!(!page.contains("<script") && page.contains("Tools you used") && page.contains("7500"), "{page}");
    let (code, said) = world.run_fail("admin", &args).await;
    assert!(code == 1 && said.contains("whole export already"), "{said}");
}

fn lines_of(manifest: &Value, collection: &str) -> u64 {
    let parts = manifest["collections"].as_array().unwrap();
    parts.iter().find(|part| part["collection"] == collection).unwrap()["documents"].as_u64().unwrap()
}

#[tokio::test]
async fn who_is_not_found_is_said_and_who_has_no_account_any_more_is_found_by_id() {
    let world = migrated("privacy-export-who").await;
    world.run_ok("admin", &["seed-demo", "--users", "10"]).await;
    let out = |name: &str| world.directory().join(name).display().to_string();
    let nobody = ObjectId::new().to_hex();
    let wrong: [(&[&str], i32, &str); 5] = [
        (&["--email", "nobody@example.com"], 1, "no user has the email address"),
        (&["--user", &nobody], 1, "is about the user"),
        (&["--user", "123"], 2, "24 hexadecimal digits"),
        (&[], 2, "--user"),
        (&["--user", &nobody, "--email", "a@example.com"], 2, "cannot be used with"),
    ];
    for (who, expected, text) in wrong {
        let mut args = vec!["privacy", "export", "--out"];
        let out = out("wrong");
        args.push(&out);
        args.extend(who);
        let (code, said) = world.run_fail("admin", &args).await;
        assert!(code == expected && said.contains(text), "{who:?}: {code}: {said}");
        assert!(!Path::new(&out).exists(), "{who:?} left a directory");
    }
    fs::create_dir(out("taken")).unwrap();
    fs::write(world.directory().join("taken/letter.txt"), "x").unwrap();
    let user = demo::user_id(2);
    let (code, said) =
        world.run_fail("admin", &["privacy", "export", "--user", &user.to_hex(), "--out", &out("taken")]).await;
    assert!(code == 1 && said.contains("is not empty"), "{said}");

    // A field that another program added, and an account that is gone.
    let db = world.db();
    let number = doc! { "$set": { "phoneNumber": "+49 30 123456" } };
    db.collection::<Document>("users").update_one(doc! { "_id": user }, number).await.unwrap();
    fs::create_dir(out("known")).unwrap();
    let args = ["privacy", "export", "--user", &user.to_hex(), "--out", &out("known"), "--json"];
    let printed: Value = serde_json::from_str(&world.run_ok("admin", &args).await).unwrap();
    assert_eq!(printed, manifest(Path::new(&out("known"))));
    assert_eq!(printed["notClassified"], serde_json::json!(["users.phoneNumber"]));
    assert_eq!(printed["identityDefinition"], common::event::IDENTITY_DEFINITION);
    assert_eq!(printed["schema"]["programVersion"], env!("CARGO_PKG_VERSION"));
    assert!(!fs::read_to_string(world.directory().join("known/users.jsonl")).unwrap().contains("phoneNumber"));

    db.collection::<Document>("users").delete_one(doc! { "_id": user }).await.unwrap();
    let day = doc! { "_id": ObjectId::new(), "userId": user, "date": "2024-01-15", "usage": 1 };
    db.collection::<Document>("user_days").insert_one(day).bypass_document_validation(true).await.unwrap();
    let printed = world.run_ok("admin", &["privacy", "export", "--user", &user.to_hex(), "--out", &out("gone")]).await;
    assert!(printed.contains("has no account"), "{printed}");
    let manifest = manifest(Path::new(&out("gone")));
    assert_eq!((&manifest["hasAccount"], lines_of(&manifest, "user_days")), (&false.into(), 1));
}

#[tokio::test]
async fn an_encrypted_export_opens_with_the_identity_alone_and_says_what_was_done_with_the_data() {
    let world = migrated("privacy-export-sealed").await;
    world.run_ok("admin", &["seed-demo", "--users", "10"]).await;
    let directory = world.directory().to_owned();
    let path = |name: &str| directory.join(name).display().to_string();
    let (keyring, identity) = (path("keyring.json"), path("identity"));
    let made = world.run_ok("admin", &["backup", "create-identity", "--out", &identity, "--json"]).await;
    let recipient = serde_json::from_str::<Value>(&made).unwrap()["recipient"].as_str().unwrap().to_owned();
    let (plain, sealed) = (path("plain"), path("sealed"));
    let world = world.with_env("SECURITY__KEYRING_FILE", &keyring);
    world.run_ok("admin", &["keys", "create"]).await;
    let (person, other) = (demo::user_id(2).to_hex(), demo::user_id(3).to_hex());
    let export = ["privacy", "export", "--user", &person, "--out"];
    world.run_ok("admin", &["privacy", "export", "--user", &other, "--out", &path("other")]).await;
    world.run_ok("admin", &[&export[..], &[&plain]].concat()).await;
    world.run_ok("admin", &[&export[..], &[&sealed, "--encrypt-to", &recipient]].concat()).await;

    let identity = Identity::from_file_text(&fs::read_to_string(&identity).unwrap()).unwrap();
    let names = |directory: &str| -> BTreeSet<String> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(&sealed), names(&plain).into_iter().map(|name| name + ".age").collect());
    let opened = |name: &str| {
        let bytes = fs::read(Path::new(&sealed).join(format!("{name}.age"))).unwrap();
        age::open(&identity, &bytes).unwrap()
    };
    let manifest: Value = serde_json::from_slice(&opened("manifest.json")).unwrap();
    for part in manifest["collections"].as_array().unwrap().iter().chain([&manifest["summary"]]) {
        let name = part["file"].as_str().unwrap();
        let content = opened(name);
        assert_eq!((part["bytes"].as_u64(), &part["sha256"]), (Some(content.len() as u64), &sha256(&content).into()));
        if name == "users.jsonl" {
            assert_eq!(content, fs::read(Path::new(&plain).join(name)).unwrap());
        }
    }
    // Two entries of the first export, and the first one of this.
    let entries = String::from_utf8(opened("audit_log.jsonl")).unwrap();
    let entries: Vec<Value> = entries.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let phases: Vec<_> = entries.iter().map(|entry| entry["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["begun", "ended", "begun"], "{entries:?}");
    for entry in entries {
        assert_eq!(
            (&entry["action"], &entry["target"]),
            (&"privacy.export".into(), &serde_json::json!({ "kind": "person" }))
        );
        assert!(entry.get("who").is_none() && entry.get("previous").is_none(), "{entry}");
    }
    let (code, said) = world.run_fail("admin", &[&export[..], &[&sealed]].concat()).await;
    assert!(code == 1 && said.contains("whole export already"), "{said}");
    let (code, said) = world.run_fail("admin", &[&export[..], &[&path("x"), "--encrypt-to", "age1x"]].concat()).await;
    assert!(code == 2 && said.contains("expected an age recipient"), "{said}");
}
