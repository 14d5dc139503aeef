//! `admin audit`: every command that touches personal data, keys or settings is written down, and nobody changes what is written.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use common::audit::{self, Act, Action, AuditEntry, TargetKind, Verified};
use common::keyring::Keyring;
use e2e::guarded::Guarded;
use e2e::world::World;
use futures::TryStreamExt as _;
use futures::future::try_join_all;
use mongodb::error::{Error, ErrorKind};
use serde_json::Value;

async fn world(name: &str) -> World {
    let world = World::new(name).await;
    let path = world.directory().join("keyring.json");
    world.with_env("SECURITY__KEYRING_FILE", path.to_str().unwrap())
}

async fn acts(world: &World, options: &[&str]) -> Vec<Value> {
    let args = [&["audit", "list", "--json"], options].concat();
    serde_json::from_str(&world.run_ok("admin", &args).await).unwrap()
}

async fn entries(world: &World) -> Vec<AuditEntry> {
    world.db().collection("audit_log").find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap()
}

async fn set_password(world: &World, email: &str) {
    let args = ["users", "set-password", "--email", email, "--password-stdin"];
    world.run_ok_with_input("admin", &args, b"correct horse battery staple\n").await;
}

#[tokio::test]
async fn each_command_leaves_who_did_what_on_whom_and_how_it_ended() {
    let world = world("audit-commands").await;
    world.run_ok("admin", &["migrate", "--dry-run"]).await;
    assert_eq!(world.db().list_collection_names().await.unwrap(), Vec::<String>::new());
    world.run_ok("admin", &["migrate"]).await;
    world.run_ok("admin", &["migrate"]).await;
    world.run_ok("admin", &["keys", "create"]).await;
    world.run_ok("admin", &["keys", "create"]).await;
    world.run_ok("admin", &["keys", "rotate"]).await;
    world.run_ok("admin", &["secrets", "protect"]).await;
    set_password(&world, "ada@example.com").await;
    set_password(&world, "ada@example.com").await;
    let users = world.db().collection::<Document>("users");
    let ada = users.find_one(doc! {}).await.unwrap().unwrap().get_object_id("_id").unwrap();
    let (id, out) = (ada.to_hex(), world.directory().join("ada").display().to_string());
    world.run_ok("admin", &["privacy", "export", "--user", &id, "--out", &out]).await;
    world.run_ok("admin", &["privacy", "erase", "--email", "ada@example.com", "--dry-run"]).await;
    let nobody = ObjectId::new().to_hex();
    let (_, refused) = world.run_fail("admin", &["privacy", "erase", "--user", &nobody, "--yes"]).await;
    assert!(refused.contains(&nobody), "{refused}");
    world.run_ok("admin", &["suspicious"]).await;
    world.run_ok("admin", &["dead-letters", "replay"]).await;
    world.run_ok("admin", &["seed-demo", "--users", "5", "--tools", "2", "--force"]).await;

    let all = acts(&world, &[]).await;
    let mut did: Vec<_> = all.iter().map(|act| (act["action"].as_str().unwrap(), act["outcome"].as_str())).collect();
    did.reverse();
    let (well, failed) = (Some("succeeded"), Some("failed"));
    // The second migration and the second key change nothing.
    let expected = [
        ("migrate", well),
        ("keys.create", well),
        ("keys.rotate", well),
        ("secrets.protect", well),
        ("users.set_password", well),
        ("users.set_password", well),
        ("privacy.export", well),
        ("privacy.erase", well),
        ("privacy.erase", failed),
        ("suspicious", well),
        ("dead_letters.replay", well),
        ("seed_demo", well),
    ];
    assert_eq!(did, expected);
    for act in &all {
        let who = &act["who"];
        assert!(who["program"].as_str().unwrap().starts_with("admin "), "{who}");
        assert!(who["systemUser"].is_string() && who["host"].is_string(), "{who}");
    }

    // Also under the key of before the rotation; there is none of Ada's in this case, but the look-up asks for it.
    let on_ada = acts(&world, &["--user", &id]).await;
    assert_eq!(on_ada.len(), 4, "{on_ada:?}");
    assert_eq!(acts(&world, &["--action", "privacy.erase", "--since", "1h"]).await.len(), 2);
    let failed = &acts(&world, &["--user", &nobody]).await[0];
    assert!(failed["error"].as_str().unwrap().contains("names the user (an id)"), "{failed}");
    let text = format!("{:?}", entries(&world).await);
    for personal in [&id, &nobody, "ada@example.com"] {
        assert!(!text.contains(personal), "{personal}: {text}");
    }
    let table = world.run_ok("admin", &["audit", "list"]).await;
    assert!(table.contains("privacy.erase") && table.contains("failed: "), "{table}");
    let verified = world.run_ok("admin", &["audit", "verify"]).await;
    assert!(verified.starts_with(&format!("{} entries, none changed", 2 * expected.len())), "{verified}");
}

#[tokio::test]
async fn writers_at_the_same_time_make_one_chain() {
    let world = world("audit-writers").await;
    let database = world.db();
    let writers = (0..8).map(async |writer| {
        for number in 0..5 {
            let act = Act::on(Action::ConfigSet, TargetKind::Setting, format!("{writer}-{number}"));
            audit::around(database, act, async { Ok(()) }).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(writers).await.unwrap();
    let verified = audit::verify(world.db(), 1, None).await.unwrap();
    assert_eq!((verified.entries, verified.broken), (80, None));
}

#[tokio::test]
async fn an_administrator_of_the_application_is_found_by_id() {
    let world = world("audit-user").await;
    world.run_ok("admin", &["keys", "create"]).await;
    let keyring = Keyring::open(&world.directory().join("keyring.json")).unwrap();
    let (admin, user) = (ObjectId::new(), ObjectId::new());
    let act = Act::on_person(Action::UsersChange, Some(&keyring), user).by_user(&keyring, admin);
    let failed = audit::around(world.db(), act, async { anyhow::Result::<()>::Err(anyhow::anyhow!("no user {user}")) });
    assert!(failed.await.unwrap_err().to_string().contains(&user.to_hex()));
    for id in [admin, user] {
        let found = acts(&world, &["--user", &id.to_hex()]).await;
        assert_eq!((found.len(), found[0]["error"].as_str()), (1, Some("no user (an id)")));
    }
}

async fn broken(world: &World) -> String {
    let (code, stderr) = world.run_fail("admin", &["audit", "verify"]).await;
    assert_eq!(code, 1);
    stderr
}

#[tokio::test]
async fn an_entry_that_is_changed_removed_or_inserted_is_found() {
    let world = world("audit-verify").await;
    world.run_ok("admin", &["migrate"]).await;
    for number in 0..10 {
        let act = Act::on(Action::ConfigSet, TargetKind::Setting, format!("setting_{number}"));
        audit::around(world.db(), act, async { Ok(()) }).await.unwrap();
    }
    let log = world.db().collection::<Document>("audit_log");
    let Verified { last, broken: none, .. } = audit::verify(world.db(), 1, None).await.unwrap();
    assert_eq!(none, None);
    let (number, digest) = last.unwrap();
    let noted = format!("{number}:{digest}");
    world.run_ok("admin", &["audit", "verify", "--noted", &noted]).await;

    let entry = log.find_one(doc! { "_id": 5_i64 }).await.unwrap().unwrap();
    let changed = doc! { "$set": { "target.name": "another" } };
    log.update_one(doc! { "_id": 5_i64 }, changed).await.unwrap();
    assert!(broken(&world).await.contains("entry 5 was changed"));
    log.replace_one(doc! { "_id": 5_i64 }, &entry).await.unwrap();
    world.run_ok("admin", &["audit", "verify"]).await;

    log.delete_one(doc! { "_id": 5_i64 }).await.unwrap();
    assert!(broken(&world).await.contains("entry 5 was removed"));
    log.insert_one(doc! { "_id": "5" }).bypass_document_validation(true).await.unwrap();
    log.insert_one(&entry).await.unwrap();
    assert!(broken(&world).await.contains("was inserted: its _id is"));
    log.delete_one(doc! { "_id": "5" }).await.unwrap();

    // The auditor removes what is too old.
    log.delete_many(doc! { "_id": { "$lt": 4_i64 } }).await.unwrap();
    assert!(broken(&world).await.contains("entries 1 to 3 were removed"));
    world.run_ok("admin", &["audit", "verify", "--first", "4"]).await;
    for forged in [Bson::from("7"), Bson::Null, Bson::Double(6.5)] {
        log.insert_one(doc! { "_id": &forged }).bypass_document_validation(true).await.unwrap();
        let (_, stderr) = world.run_fail("admin", &["audit", "verify", "--first", "4"]).await;
        assert!(stderr.contains("was inserted: its _id is"), "{forged}: {stderr}");
        log.delete_one(doc! { "_id": &forged }).await.unwrap();
    }
    let args = ["audit", "verify", "--first", "4", "--noted", &format!("3:{digest}")];
    let (code, stderr) = world.run_fail("admin", &args).await;
    assert!(code == 2 && stderr.contains("--noted names entry 3"), "{stderr}");

    // The end is missed by whoever has noted it.
    log.delete_one(doc! { "_id": number }).await.unwrap();
    world.run_ok("admin", &["audit", "verify", "--first", "4"]).await;
    let args = ["audit", "verify", "--first", "4", "--noted", &noted];
    let (_, stderr) = world.run_fail("admin", &args).await;
    assert!(stderr.contains(&format!("entry {number} was removed, and all entries after it")), "{stderr}");
}

fn is_unauthorized(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(refusal) if refusal.code == 13)
}

#[tokio::test]
async fn nobody_changes_an_entry_only_the_auditor_removes_one_and_without_an_entry_nothing_is_done() {
    let mut guarded = Guarded::start().await;
    let world = guarded.world("audit-roles").await;
    world.run_ok("admin", &["migrate"]).await;
    let roles = guarded.create_roles(&world).await;
    assert!(roles.len() >= 6, "{roles:?}");
    for role in &roles {
        let database = guarded.database_as(&world, role).await;
        // Puts back whole collections, after a disaster.
        if role == "recovery" {
            continue;
        }
        let entry = doc! { "q": { "_id": 1_i64 }, "u": { "$set": { "action": "nothing" } } };
        let update = database.run_command(doc! { "update": "audit_log", "updates": [entry] }).await;
        assert!(update.as_ref().is_err_and(is_unauthorized), "{role} may update: {update:?}");
        let none = doc! { "q": { "_id": -1_i64 }, "limit": 0 };
        let removal = database.run_command(doc! { "delete": "audit_log", "deletes": [none] }).await;
        assert_eq!(removal.is_ok(), role == "auditor", "{role}: {removal:?}");
    }
    let world = guarded.sign_in(world, "operator");
    set_password(&world, "ada@example.com").await;
    let act = &acts(&world, &[]).await[0];
    assert_eq!(act["who"]["databaseUser"], "operator@admin");
    assert_eq!(act["target"]["subject"], Value::Null);

    let world = guarded.sign_in(world, "auditor");
    assert_eq!(acts(&world, &[]).await.len(), 2);
    world.run_ok("admin", &["audit", "verify"]).await;

    let users = doc! { "db": world.db().name(), "collection": "users" };
    let log = doc! { "db": world.db().name(), "collection": "audit_log" };
    let privileges = vec![
        doc! { "resource": users, "actions": ["find", "insert", "update"] },
        doc! { "resource": log, "actions": ["find"] },
    ];
    guarded.create_role(&world, doc! { "role": "silent", "privileges": privileges, "roles": [] }).await;
    let world = guarded.sign_in(world, "silent");
    let mut command = world.command("admin");
    let password = world.directory().join("password");
    std::fs::write(&password, "correct horse battery staple\n").unwrap();
    command.args(["users", "set-password", "--email", "eve@example.com", "--password-stdin"]);
    command.stdin(std::fs::File::open(&password).unwrap());
    let finished = world.finish("admin", command).await;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("the audit log cannot be written, so nothing was done"), "{}", finished.stderr);
    let users = world.db().collection::<Document>("users");
    assert_eq!(users.count_documents(doc! {}).await.unwrap(), 1);
}
