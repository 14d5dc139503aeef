//! What users do with what is their own in the dashboard: profile, data, account, tokens; and what the pipeline hears of sign-ins.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests and their helpers")]

#[path = "dashboard/browser.rs"]
mod browser;
#[path = "dashboard/demo.rs"]
mod demo;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use browser::{Answer, Browser};
use bson::{Document, doc, oid::ObjectId};
use common::audit;
use common::keyring::Keyring;
use demo::{PASSWORD, Stage};
use e2e::world::World;
use futures::TryStreamExt;
use serde_json::Value;

/// With a keyring, as an installation has it.
async fn with_keyring(name: &str) -> Stage {
    let world = World::new(name).await;
    let keyring = world.directory().join("keyring.json");
    Keyring::create(&keyring).unwrap();
    Stage::on(world.with_env("SECURITY__KEYRING_FILE", keyring.to_str().unwrap())).await
}

fn documents(answer: &Answer) -> BTreeMap<String, Vec<Value>> {
    let mut documents: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    // The body comes in chunks: lines of their sizes stand between.
    for line in answer.body.lines().filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(line).unwrap();
        documents.entry(line["collection"].as_str().unwrap().to_owned()).or_default().push(line["document"].clone());
    }
    documents
}

#[tokio::test]
async fn a_profile_is_edited_and_the_data_taken_away_without_secrets_and_without_others() {
    let stage = with_keyring("dash-own").await;
    let user = stage.signed_in("user").await;
    let fields = [
        ("firstName", "Änne"),
        ("lastName", "O'Neil"),
        ("website", "https://example.com"),
        ("bio", "a\r\nb"),
        ("location", ""),
    ];
    assert_eq!(user.send_form("/", "/profile", &fields).await.status, 303);
    let profile = stage.user("user@example.com").await.profile;
    assert_eq!((profile.first_name.as_str(), profile.bio.as_deref(), profile.location), ("Änne", Some("a\nb"), None));
    for (field, value) in [("firstName", " "), ("website", "javascript:alert(1)"), ("lastName", "a\nb")] {
        let mut fields = fields;
        fields.iter_mut().filter(|(name, _)| *name == field).for_each(|pair| pair.1 = value);
        let answer = user.send_form("/", "/profile", &fields).await;
        assert!(answer.status == 400 && answer.body.contains(&format!("field {field} is")), "{field}: {}", answer.body);
    }

    // Somebody else's vote and answer are in the suggestion.
    let me = stage.user("user@example.com").await.id;
    let (other, now) = (stage.user("admin@example.com").await.id, bson::DateTime::now());
    let suggestion = doc! {
        "_id": ObjectId::new(), "userId": me, "type": "bug", "category": "ui", "title": "mine", "description": "d", "priority": "low",
        "status": "pending", "votes": { "upvotes": 1_i64, "downvotes": 0_i64, "voters": [other] },
        "adminResponse": { "message": "m", "respondedBy": other, "respondedAt": now },
        "metadata": { "createdAt": now, "updatedAt": now },
    };
    let db = stage.world.db();
    db.collection::<Document>("suggestions").insert_one(suggestion).await.unwrap();
    let used = |user: ObjectId| {
        doc! {
            "_id": ObjectId::new(), "userId": user, "toolId": ObjectId::new(), "sessionId": ObjectId::new(), "timestamp": now,
            "usage": { "startTime": now, "endTime": now, "duration": 1_i64, "inputSize": 1_i64, "outputSize": 1_i64, "success": true },
        }
    };
    db.collection("usage_analytics").insert_many([used(me), used(other), used(me)]).await.unwrap();

    let answer = user.get("/account/data").await;
    assert_eq!((answer.status, &*answer.headers["content-type"]), (200, "application/x-ndjson"));
    assert!(answer.headers["content-disposition"].starts_with("attachment"));
    let found = documents(&answer);
    let counts: Vec<_> = found.iter().map(|(name, documents)| (name.as_str(), documents.len())).collect();
    assert_eq!(counts, [("sessions", 1), ("suggestions", 1), ("usage_analytics", 2), ("users", 1)]);
    assert_eq!(found["users"][0]["email"], "user@example.com");
    assert!(
        !answer.body.contains(&other.to_hex())
            && !answer.body.contains("argon2")
            && !answer.body.contains("sessionToken")
    );
    // It reads every event of the person: not as often as somebody likes.
    let again = [user.get("/account/data").await, user.get("/account/data").await, user.get("/account/data").await];
    assert_eq!(again.each_ref().map(|answer| answer.status), [200, 200, 429]);
    assert!(again[2].headers["retry-after"].parse::<u64>().unwrap() > 1);
    assert_eq!(stage.signed_in("admin").await.get("/account/data").await.status, 200);
}

#[tokio::test]
async fn an_account_is_deleted_with_its_password_and_erased_by_the_operator() {
    let stage = with_keyring("dash-delete").await;
    let (user, second) = (stage.signed_in("user").await, stage.signed_in("user").await);
    let id = stage.user("user@example.com").await.id;
    let wrong = user.send_form("/", "/account/delete", &[("password", "guess")]).await;
    assert!(wrong.status == 400 && wrong.body.contains("field password is wrong"), "{}", wrong.body);
    let requests = stage.world.db().collection::<Document>("privacy_requests");
    assert_eq!(requests.count_documents(doc! {}).await.unwrap(), 0);

    let done = user.send_form("/", "/account/delete", &[("password", PASSWORD)]).await;
    assert_eq!((done.status, &*done.headers["location"]), (303, "/login?done=deleted"));
    assert_eq!((user.get("/").await.status, second.get("/").await.status), (303, 303));
    assert_eq!(user.guess("user@example.com", PASSWORD).await, 401);
    let request = requests.find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(request.get_str("state").unwrap(), "requested");
    assert!(!request.to_string().contains(&id.to_hex()));

    stage.world.run_ok("admin", &["privacy", "resume"]).await;
    let request = requests.find_one(doc! {}).await.unwrap().unwrap();
    assert_eq!(request.get_str("state").unwrap(), "complete");
    assert_eq!(request.get_document("kafkaHoldsUntil").unwrap().len(), 2);
    let users = stage.world.db().collection::<Document>("users");
    assert!(users.find_one(doc! { "email": "user@example.com" }).await.unwrap().is_none());
    // The audit log says who asked, as a digest that the keyring knows.
    let keyring = Keyring::open(&stage.world.directory().join("keyring.json")).unwrap();
    let asked = doc! { "action": "privacy.erase", "who.user": { "$in": audit::digests(&keyring, id) } };
    assert_eq!(stage.world.db().collection::<Document>("audit_log").count_documents(asked).await.unwrap(), 2);
}

#[tokio::test]
async fn an_administrator_does_not_delete_the_own_account() {
    let stage = with_keyring("dash-last").await;
    let admin = stage.signed_in("admin").await;
    let page = admin.page("/").await;
    assert!(page.contains("Ask another administrator") && !page.contains(r#"action="/account/delete""#), "{page}");
    let refused = admin.send_form("/", "/account/delete", &[("password", PASSWORD)]).await;
    assert!(refused.status == 403 && refused.body.contains("another administrator"), "{}", refused.body);
    assert!(stage.user("admin@example.com").await.status.is_active);
    let requests = stage.world.db().collection::<Document>("privacy_requests");
    assert_eq!(requests.count_documents(doc! {}).await.unwrap(), 0);
    assert!(stage.signed_in("moderator").await.page("/").await.contains(r#"action="/account/delete""#));
}

#[tokio::test]
async fn without_a_keyring_an_account_is_not_deleted_here() {
    let stage = Stage::new("dash-keyless").await;
    let user = stage.signed_in("user").await;
    assert!(user.page("/").await.contains("no keyring"));
    assert_eq!(user.send_form("/", "/account/delete", &[("password", PASSWORD)]).await.status, 403);
    assert_eq!(user.get("/").await.status, 200);
}

#[tokio::test]
async fn a_token_reads_the_api_for_its_user_until_it_is_ended() {
    let stage = Stage::new("dash-token").await;
    let user = stage.signed_in("user").await;
    let made = user.send_form("/", "/tokens", &[("name", "nightly <report>")]).await;
    assert_eq!(made.status, 200);
    let token = regex::Regex::new(r#"class="token">([\w-]{43})<"#).unwrap();
    let token = token.captures(&made.body).unwrap()[1].to_owned();
    let program = Browser::new(&stage.address);
    let bearer = format!("Bearer {token}");
    let get = async |path: &str| program.get_with(path, &[("Authorization", &bearer)]).await;
    assert_eq!(get("/api/v1/tools").await.status, 200);
    assert_eq!(get("/api/v1/users").await.status, 403, "it may do what its user may");
    assert_eq!(get("/").await.status, 303, "pages take no token");
    assert_eq!(get("/tools.csv").await.status, 401);
    let form = [("firstName", "x"), ("csrf", "")];
    assert_eq!(program.post("/profile", &form, &[("Authorization", &bearer)]).await.status, 303, "forms take no token");
    assert_eq!(program.get_with("/api/v1/tools", &[("Authorization", "Bearer nonsense")]).await.status, 401);

    // The same question has the same tag, and is not answered twice.
    let first = get("/api/v1/tools?period=7d").await;
    let tag = first.headers["etag"].clone();
    let again =
        program.get_with("/api/v1/tools?period=7d", &[("Authorization", &bearer), ("If-None-Match", &tag)]).await;
    assert_eq!((again.status, again.body.len()), (304, 0));

    let page = user.page("/").await;
    assert!(
        page.contains("API token &#34;nightly &#60;report&#62;&#34;")
            || page.contains("API token &quot;nightly &lt;report"),
        "{page}"
    );
    let me = stage.user("user@example.com").await.id;
    let sessions = stage.world.db().collection::<Document>("sessions");
    let of_token = doc! { "userId": me, "deviceInfo.browser": { "$regex": "^API token" } };
    let session = sessions.find_one(of_token).await.unwrap().unwrap();
    assert!(!session.to_string().contains(&token), "the database has no token");
    let id = session.get_object_id("_id").unwrap().to_hex();
    assert_eq!(user.send_form("/", "/sessions/end", &[("session", &id)]).await.status, 303);
    assert_eq!(get("/api/v1/tools").await.status, 401);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let stage = Stage::new("dash-often").await;
    let mut user = stage.signed_in("user").await;
    user.cookies.insert("x".to_owned(), "y".to_owned());
    let mut refused = None;
    // Many at once: a machine with much to do is slower than the limit.
    for _ in 0..30 {
        let answers = futures::future::join_all((0..100).map(|_| user.get("/api/v1/tools?period=today"))).await;
        for answer in answers {
            match answer.status {
                429 => refused = Some(answer),
                status => assert_eq!(status, 200),
            }
        }
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("a limit");
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    assert!(refused.headers["retry-after"].parse::<u64>().unwrap() >= 1);
    assert_eq!(user.get("/").await.status, 200, "pages go on");
    assert_eq!(stage.signed_in("admin").await.get("/api/v1/tools").await.status, 200, "and so do others");
    let mut guesses = Vec::new();
    for _ in 0..40 {
        guesses.push(user.guess("nobody@example.com", "x").await);
    }
    assert_eq!(guesses.last(), Some(&429), "{guesses:?}");
}

#[tokio::test]
async fn signing_in_reaches_the_pipeline_and_a_kafka_that_is_away_stops_nobody() {
    let stage = Stage::new("dash-events").await;
    let user = stage.signed_in("user").await;
    user.guess("user@example.com", "wrong").await;
    user.guess("nobody@example.com", "wrong").await;
    assert_eq!(user.send_form("/", "/logout", &[]).await.status, 303);
    let Stage { mut dashboard, world, .. } = stage;
    dashboard.stop(Duration::from_secs(20)).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    let logs = world.db().collection::<Document>("activity_logs");
    let logs: Vec<Document> =
        logs.find(doc! {}).sort(doc! { "timestamp": 1 }).await.unwrap().try_collect().await.unwrap();
    let id = world
        .db()
        .collection::<Document>("users")
        .find_one(doc! { "email": "user@example.com" })
        .await
        .unwrap()
        .unwrap();
    let id = id.get_object_id("_id").unwrap();
    let mut seen: Vec<_> = logs
        .iter()
        .map(|log| {
            (log.get_str("action").unwrap(), log.get_object_id("userId").ok(), log.get_object_id("sessionId").is_ok())
        })
        .collect();
    seen.sort();
    let expected = [
        ("login", Some(id), true),
        ("login_failed", None, false),
        ("login_failed", Some(id), false),
        ("logout", Some(id), true),
    ];
    assert_eq!(seen, expected);
    for log in logs.iter().filter(|log| log.get_str("action").unwrap() != "logout") {
        assert_eq!(log.get_str("source").unwrap(), "/devtoolkit/dashboard");
        assert_eq!(log.get_document("context").unwrap().get_str("ipAddress").unwrap(), "127.0.0.1");
    }

    let world = world.with_env("KAFKA__BROKERS", "127.0.0.1:1");
    let dashboard = world.spawn("dashboard", &["serve"]);
    e2e::eventually::eventually(e2e::eventually::PATIENCE, "the dashboard without Kafka", async || {
        dashboard.stderr().contains("serving pages").then_some(())
    })
    .await;
    let mut browser = user.clone();
    let begin = Instant::now();
    browser.sign_in("user@example.com", PASSWORD).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(browser.get("/").await.status, 200);
}
