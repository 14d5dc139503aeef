//! `admin access` and `admin doctor`: roles and users as access.json has them, what each may not do, and what the doctor says of it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::Path;

use bson::{Document, doc};
use common::keyring::Keyring;
use e2e::guarded::Guarded;
use e2e::world::World;
use mongodb::error::{Error, ErrorKind};
use serde_json::Value;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/mongodb/access.json");

fn passwords(directory: &Path) {
    let access: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    for user in access["users"].as_array().unwrap() {
        let user = user["user"].as_str().unwrap();
        std::fs::create_dir_all(directory.join(user)).unwrap();
        std::fs::write(directory.join(user).join("password"), "of-a-test\n").unwrap();
    }
}

fn is_unauthorized(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(refusal) if refusal.code == 13)
}

#[tokio::test]
async fn roles_and_users_come_in_order_and_stay_there() {
    let mut guarded = Guarded::start().await;
    let world = guarded.world("access").await;
    world.run_ok("admin", &["migrate"]).await;
    let (code, said) = world.run_fail("admin", &["access", "diff", "--file", FILE]).await;
    assert!(code == 1 && said.contains("differ from"), "{said}");
    let (_, said) = world.run_fail("admin", &["access", "apply", "--file", FILE]).await;
    assert!(said.contains("user ingest") && said.contains("--passwords"), "{said}");
    let directory = world.directory().join("passwords");
    passwords(&directory);
    let apply = ["access", "apply", "--file", FILE, "--passwords", directory.to_str().unwrap()];
    world.run_ok("admin", &apply).await;
    let same = world.run_ok("admin", &["access", "diff", "--file", FILE]).await;
    assert!(same.contains("as they should be"), "{same}");
    assert!(world.run_ok("admin", &apply).await.contains("as they should be"));

    // Somebody gives a role more than it should have, and takes something away.
    let name = world.db().name().to_owned();
    let more = doc! { "resource": { "db": &name, "collection": "audit_log" }, "actions": ["update"] };
    world.db().run_command(doc! { "grantPrivilegesToRole": "ingest", "privileges": [more] }).await.unwrap();
    let less = doc! { "resource": { "db": &name, "collection": "users" }, "actions": ["find"] };
    world.db().run_command(doc! { "revokePrivilegesFromRole": "aggregator", "privileges": [less] }).await.unwrap();
    let admin = world.db().client().database("admin");
    let weaker = doc! { "updateUser": "monitor", "mechanisms": ["SCRAM-SHA-1", "SCRAM-SHA-256"], "pwd": "of-a-test" };
    admin.run_command(weaker).await.unwrap();
    let (_, said) = world.run_fail("admin", &["access", "diff", "--file", FILE]).await;
    let finished = world.run("admin", &["access", "diff", "--file", FILE, "--json"]).await;
    let differs: Value = serde_json::from_str(&finished.stdout).unwrap();
    let differs = differs["differences"].to_string();
    assert!(said.contains("3 roles and users differ"), "{said}");
    for part in ["may update on", "lacks find on", "has the mechanism SCRAM-SHA-1, too"] {
        assert!(differs.contains(part), "{part}: {differs}");
    }
    world.run_ok("admin", &["access", "apply", "--file", FILE]).await;
    world.run_ok("admin", &["access", "diff", "--file", FILE]).await;
    let acts = world.run_ok("admin", &["audit", "list", "--action", "access.apply", "--json"]).await;
    let acts: Value = serde_json::from_str(&acts).unwrap();
    let outcomes: Vec<&str> = acts.as_array().unwrap().iter().map(|act| act["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["succeeded"; 3]);

    // From another address nobody gets in.
    let world = world.with_env("SECURITY__CLIENT_SOURCES", "{ingest=[\"192.0.2.0/24\"],aggregator=[\"127.0.0.0/8\"]}");
    world.run_ok("admin", &["access", "apply", "--file", FILE]).await;
    let ping = doc! { "find": "tools", "limit": 1 };
    let aggregator = guarded.database_as(&world, "aggregator").await;
    aggregator.run_command(ping.clone()).await.unwrap();
    let refused = guarded.database_as(&world, "ingest").await.run_command(ping).await;
    assert!(refused.is_err_and(|error| matches!(*error.kind, ErrorKind::Authentication { .. })));
    let wrong = world.with_env("SECURITY__CLIENT_SOURCES", "{ingest=[\"192.0.2.0/33\"]}");
    let (code, said) = wrong.run_fail("admin", &["access", "diff", "--file", FILE]).await;
    assert!(code == 2 && said.contains("security.client_sources") && said.contains("10.1.0.0/16"), "{said}");
}

/// What each role may not do; of an allowed command the server would say something else.
fn forbidden() -> Vec<(&'static str, Document)> {
    let update =
        |of: &str| doc! { "update": of, "updates": [{ "q": { "_id": "nobody" }, "u": { "$set": { "a": 1 } } }] };
    let remove = |of: &str| doc! { "delete": of, "deletes": [{ "q": { "_id": "nobody" }, "limit": 0 }] };
    let insert = |of: &str| doc! { "insert": of, "documents": [{ "_id": "x" }] };
    let find = |of: &str| doc! { "find": of, "limit": 1 };
    let mut forbidden = Vec::new();
    for role in ["ingest", "aggregator", "operator", "privacy_officer", "auditor", "inspector", "monitor", "dashboard"]
    {
        forbidden.extend([
            (role, update("audit_log")),
            (role, doc! { "drop": "audit_log" }),
            (role, doc! { "drop": "usage_analytics" }),
            (role, doc! { "dropDatabase": 1 }),
            (role, doc! { "createUser": "eve", "pwd": "eve", "roles": [] }),
            (role, doc! { "createRole": "eve", "privileges": [], "roles": [] }),
            (role, doc! { "renameCollection": "users", "to": "others" }),
        ]);
        if role != "auditor" {
            forbidden.push((role, remove("audit_log")));
        }
    }
    for of in ["users", "sessions", "suggestions", "system_analytics", "audit_log", "privacy_requests"] {
        forbidden.push(("ingest", find(of)));
    }
    forbidden.extend([
        ("ingest", update("usage_analytics")),
        ("ingest", remove("usage_analytics")),
        ("ingest", insert("tools")),
        ("ingest", insert("system_configuration")),
        ("aggregator", insert("usage_analytics")),
        ("aggregator", remove("usage_analytics")),
        ("aggregator", update("health_checks")),
        ("aggregator", update("sessions")),
        ("aggregator", remove("users")),
        ("aggregator", insert("system_configuration")),
        ("aggregator", find("audit_log")),
        ("aggregator", find("suggestions")),
        ("operator", remove("users")),
        ("operator", remove("usage_analytics")),
        ("operator", update("usage_analytics")),
        ("operator", insert("erasures")),
        ("operator", update("erasures")),
        ("operator", update("configuration_history")),
        ("operator", update("migrations")),
        ("privacy_officer", find("dead_letter_replays")),
        ("privacy_officer", insert("usage_analytics")),
        ("privacy_officer", remove("system_analytics")),
        ("privacy_officer", remove("erasures")),
        ("privacy_officer", remove("configuration_history")),
        ("auditor", find("users")),
        ("auditor", insert("audit_log")),
        ("auditor", find("system_configuration")),
        ("inspector", find("users")),
        ("inspector", find("usage_analytics")),
        ("inspector", insert("users")),
        ("dashboard", insert("usage_analytics")),
        ("dashboard", update("system_analytics")),
        ("dashboard", remove("users")),
        ("dashboard", find("erasures")),
        ("monitor", find("users")),
        ("monitor", insert("users")),
    ]);
    forbidden
}

#[tokio::test]
async fn no_role_does_what_is_not_its_work() {
    let mut guarded = Guarded::start().await;
    let world = guarded.world("access-forbidden").await;
    world.run_ok("admin", &["migrate"]).await;
    guarded.create_roles(&world).await;
    let forbidden = forbidden();
    assert!(forbidden.len() >= 60, "{}", forbidden.len());
    for (role, command) in forbidden {
        let database = guarded.database_as(&world, role).await;
        // From one name to another is a command of the database admin.
        let answer = if command.contains_key("renameCollection") {
            let name = database.name();
            let rename = doc! { "renameCollection": format!("{name}.users"), "to": format!("{name}.others") };
            database.client().database("admin").run_command(rename).await
        } else {
            database.run_command(command.clone()).await
        };
        assert!(answer.as_ref().is_err_and(is_unauthorized), "{role} may {command}: {answer:?}");
    }
}

async fn doctor(world: &World) -> (Option<i32>, Value) {
    let finished = world.run("admin", &["doctor", "--access", FILE, "--json"]).await;
    let report = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic_with(&finished.stderr));
    (finished.code, report)
}

#[allow(clippy::panic, reason = "a test")]
fn panic_with(text: &str) -> Value {
    panic!("{text}")
}

/// The states of a check's lines.
fn states(report: &Value, check: &str) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    findings.map(|finding| finding["state"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_doctor_tells_what_is_wrong_and_what_to_do() {
    let mut guarded = Guarded::start().await;
    let world = guarded.world("doctor").await;
    world.run_ok("admin", &["migrate"]).await;
    let directory = world.directory().join("passwords");
    passwords(&directory);
    let apply = ["access", "apply", "--file", FILE, "--passwords", directory.to_str().unwrap()];
    world.run_ok("admin", &apply).await;
    let keyring = world.directory().join("keyring.json");
    Keyring::create(&keyring).unwrap();
    // With the rights of the operator, who is an inspector, too.
    let world = guarded.sign_in(world, "admin").with_env("SECURITY__KEYRING_FILE", keyring.to_str().unwrap());
    let (code, report) = doctor(&world).await;
    assert_eq!((code, &report["red"]), (Some(0), &0.into()), "{report:#}");
    for (check, state) in [
        ("wire to MongoDB", "amber"),
        ("wire to Kafka", "amber"),
        ("sign-in to MongoDB", "green"),
        ("roles and users", "green"),
        ("addresses of users", "amber"),
        ("keyring", "green"),
        ("secrets in the database", "green"),
        ("audit log", "green"),
        ("retention", "green"),
        ("unread events", "green"),
        ("backups", "amber"),
    ] {
        assert_eq!(states(&report, check), [state], "{check}: {report:#}");
    }
    assert_eq!(states(&report, "oldest personal record"), ["green"; 4]);
    for finding in report["findings"].as_array().unwrap() {
        assert_eq!(finding["state"] == "green", finding["todo"].is_null(), "{finding}");
    }
    let table = world.run_ok("admin", &["doctor", "--access", FILE]).await;
    assert!(table.contains("0 red"), "{table}");

    // As root: a role with too many rights, a plain token, a TTL index that is gone, an old session, a changed entry.
    let root = guarded.database_as(&world, "root").await;
    let more = doc! { "resource": { "db": root.name(), "collection": "users" }, "actions": ["remove"] };
    root.run_command(doc! { "grantPrivilegesToRole": "ingest", "privileges": [more] }).await.unwrap();
    root.run_command(doc! { "dropIndexes": "sessions", "index": "expiresAt_1" }).await.unwrap();
    let session = doc! { "sessionToken": "plain", "expiresAt": bson::DateTime::from_millis(1_700_000_000_000) };
    let sessions = root.collection::<Document>("sessions");
    sessions.insert_one(session).bypass_document_validation(true).await.unwrap();
    let log = root.collection::<Document>("audit_log");
    log.update_one(doc! { "_id": 1_i64 }, doc! { "$set": { "detail": "nothing" } }).await.unwrap();
    let (code, report) = doctor(&world).await;
    assert_eq!(code, Some(1), "{report:#}");
    for check in ["roles and users", "secrets in the database", "retention", "audit log"] {
        assert_eq!(states(&report, check), ["red"], "{check}: {report:#}");
    }
    assert!(states(&report, "oldest personal record").contains(&"red".to_owned()), "{report:#}");

    // Somebody makes MongoDB remove entries of the log by itself, and some are gone.
    world.run_ok("admin", &["migrate"]).await;
    let index = doc! { "key": { "at": 1 }, "name": "short", "expireAfterSeconds": 1_000_000 };
    root.run_command(doc! { "createIndexes": "audit_log", "indexes": [index] }).await.unwrap();
    log.delete_one(doc! { "_id": 1_i64 }).await.unwrap();
    let (_, report) = doctor(&world).await;
    assert_eq!(states(&report, "retention"), ["red"], "{report:#}");
    assert!(report.to_string().contains("audit_log.short"), "{report:#}");
    assert_eq!(states(&report, "audit log"), ["amber"], "{report:#}");

    // The servers of all other tests ask for no password, not even those who have one.
    let open = World::new("doctor-open").await;
    let user =
        doc! { "createUser": open.db().name(), "pwd": "of-a-test", "roles": [], "mechanisms": ["SCRAM-SHA-256"] };
    let admin = open.db().client().database("admin");
    admin.run_command(user).await.unwrap();
    assert_eq!(states(&doctor(&open).await.1, "sign-in to MongoDB"), ["red"]);
    let name = open.db().name().to_owned();
    let open = open.with_env("MONGODB__USERNAME", &name).with_env("MONGODB__PASSWORD", "of-a-test");
    let (_, report) = doctor(&open).await;
    assert_eq!(states(&report, "sign-in to MongoDB"), ["red"]);
    assert!(report.to_string().contains("lets anybody in"), "{report:#}");
    admin.run_command(doc! { "dropUser": name }).await.unwrap();
}
