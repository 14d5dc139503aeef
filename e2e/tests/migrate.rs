//! `admin migrate` and `admin seed-demo` on a real server: what they make, refuse, repair and report.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a helper of a test expects is what the test expects"
)]

#[path = "migrate/reference.rs"]
mod reference;

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, DateTime, Document, doc};
use common::day::Day;
use common::documents::{
    ActivityLog, HealthCheck, Migration, Session, Suggestion, SystemAnalytics, SystemConfiguration, Tool, ToolCategory,
    UsageAnalytics, User, migration,
};
use common::schema::{self, diff::diff, server};
use e2e::topic;
use e2e::world::World;
use futures::TryStreamExt;
use mongodb::Database;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What `admin migrate` prints when all is as it should be. Three collections, those of events, have no validator.
fn nothing_to_change() -> String {
    let (collections, indexes) = (INDEXES.len(), all_indexes());
    let validators = collections - 3;
    format!(
        "nothing to change: {collections} collections, {indexes} indexes, {validators} validators, 3 topics are as they should be\n"
    )
}

/// Each collection and index, the profiler and the definition of an event's identity.
fn changes_of_an_empty_database() -> usize {
    INDEXES.len() + all_indexes() + 2
}

fn all_indexes() -> usize {
    INDEXES.iter().map(|(_, indexes)| indexes.len()).sum()
}

/// Every index but the one on `_id`, as schema-reference.md and the design write it.
const INDEXES: &[(&str, &[&str])] = &[
    (
        "users",
        &[
            "email:1 unique",
            "authentication.verificationToken:1 sparse",
            "authentication.resetToken:1 sparse",
            "role:1",
            "subscription.plan:1",
            "status.isActive:1",
            "metadata.createdAt:1",
            "profile.lastName:1,profile.firstName:1",
            "profile.firstName:1,profile.lastName:1",
            "status.isSuspended:1,email:1",
            "authentication.isVerified:1,email:1",
            "authentication.lockedUntil:1 sparse",
        ],
    ),
    ("sessions", &["userId:1", "sessionToken:1 unique", "expiresAt:1 ttl=0"]),
    (
        "tools",
        &[
            "slug:1 unique",
            "category:1",
            "features.aiPowered:1",
            "configuration.isActive:1",
            "configuration.isFeatured:1",
            "tags:1",
        ],
    ),
    (
        "usage_analytics",
        &["userId:1,timestamp:1", "toolId:1,timestamp:1", "timestamp:1 ttl=31536000", "usage.success:1"],
    ),
    ("system_analytics", &["date:1 unique", "metrics.users.total:1", "createdAt:1"]),
    (
        "suggestions",
        &[
            "userId:1",
            "status:1",
            "type:1",
            "priority:1",
            "votes.upvotes:1",
            "status:1,votes.upvotes:1,_id:1",
            "status:1,metadata.createdAt:1,_id:1",
        ],
    ),
    ("system_configuration", &["key:1 unique", "category:1", "environment:1", "isActive:1"]),
    ("activity_logs", &["userId:1,timestamp:1", "action:1,timestamp:1", "timestamp:1 ttl=7776000"]),
    ("tool_categories", &["slug:1 unique"]),
    ("health_checks", &["toolId:1,timestamp:1", "timestamp:1 ttl=7776000"]),
    ("tool_days", &["date:1,toolId:1 unique"]),
    ("user_days", &["date:1,userId:1 unique", "userId:1,date:1"]),
    ("rollup_days", &[]),
    ("leases", &[]),
    ("migrations", &[]),
    ("erasures", &[]),
    ("privacy_requests", &["subject:1"]),
    ("dead_letter_replays", &["topic:1,lastArrived:1", "replayedAt:1 ttl=34560000"]),
    ("audit_log", &[]),
    ("configuration_history", &["key:1,version:1 unique"]),
];

#[tokio::test]
async fn every_collection_and_index_exists_with_its_options() {
    let world = World::new("migrate-all").await;
    let printed = world.run_ok("admin", &["migrate"]).await;
    assert!(printed.contains(&format!("{} changes made", changes_of_an_empty_database())), "{printed}");

    let collections: BTreeSet<String> = own_collections(world.db()).await.into_iter().collect();
    assert_eq!(collections, INDEXES.iter().map(|(name, _)| (*name).to_owned()).collect());
    for (collection, expected) in INDEXES {
        let expected: BTreeSet<String> = expected.iter().map(|index| (*index).to_owned()).collect();
        assert_eq!(indexes(world.db(), collection).await, expected, "{collection}");
    }
}

#[tokio::test]
async fn a_second_run_changes_nothing_and_says_so() {
    let world = World::new("migrate-again").await;
    assert!(world.run_ok("admin", &["migrate", "--dry-run"]).await.contains("nothing was changed"));
    assert_eq!(world.db().list_collection_names().await.unwrap(), Vec::<String>::new());

    world.run_ok("admin", &["migrate"]).await;
    let recorded: Vec<Migration> = all(world.db(), migration::COLLECTION).await;
    assert_eq!(recorded.len(), 1);
    assert_eq!((recorded[0].changes.len(), &recorded[0].error), (changes_of_an_empty_database(), &None));

    assert_eq!(world.run_ok("admin", &["migrate"]).await, nothing_to_change());
    assert_eq!(world.run_ok("admin", &["migrate", "--dry-run"]).await, nothing_to_change());
    let json: Value = serde_json::from_str(&world.run_ok("admin", &["migrate", "--json"]).await).unwrap();
    assert_eq!(
        (&json["changes"], &json["notes"], &json["indexes"]),
        (&Value::Array(vec![]), &Value::Array(vec![]), &all_indexes().into())
    );
    assert_eq!(all::<Migration>(world.db(), migration::COLLECTION).await, recorded);
}

#[tokio::test]
async fn documents_are_kept_as_long_as_the_settings_say() {
    let world = World::new("migrate-retention").await;
    world.run_ok("admin", &["migrate"]).await;
    let world = world.with_env("RETENTION__ACTIVITY_LOGS", "30d").with_env("RETENTION__SESSIONS", "1h");
    let printed = world.run_ok("admin", &["migrate"]).await;
    assert!(printed.contains("2 changes made"), "{printed}");
    assert!(printed.contains("expires after 30 days; was 90 days"), "{printed}");
    assert!(indexes(world.db(), "activity_logs").await.contains("timestamp:1 ttl=2592000"));
    assert!(indexes(world.db(), "sessions").await.contains("expiresAt:1 ttl=3600"));
    assert_eq!(world.run_ok("admin", &["migrate"]).await, nothing_to_change());

    let (code, said) = world.with_env("RETENTION__ACTIVITY_LOGS", "2d").run_fail("admin", &["migrate"]).await;
    assert!(
        code == 2 && said.contains("retention.activity_logs is 2d") && said.contains("aggregator.schedule"),
        "{said}"
    );
}

#[tokio::test]
async fn a_new_definition_of_identity_is_told_once_where_there_are_events() {
    let world = World::new("migrate-identity").await;
    world.run_ok("admin", &["migrate"]).await;
    let config = [
        ("message.timestamp.type", "LogAppendTime"),
        ("compression.type", "uncompressed"),
        ("retention.ms", "604800000"),
    ];
    topic::set_config(world.brokers(), &world.topic(), &config).await.unwrap();
    // As the version before left the database.
    let migrations = world.db().collection::<Document>(migration::COLLECTION);
    let forget = doc! { "$pull": { "changes": { "what": "identity of events" } } };
    migrations.update_many(doc! {}, forget.clone()).await.unwrap();
    let without_events = world.run_ok("admin", &["migrate"]).await;
    assert!(without_events.contains("definition 2") && !without_events.contains("note: "), "{without_events}");

    migrations.update_many(doc! {}, forget).await.unwrap();
    world.db().collection("health_checks").insert_one(doc! { "healthy": true }).await.unwrap();
    let dry_run = world.run_ok("admin", &["migrate", "--dry-run"]).await;
    let told = world.run_ok("admin", &["migrate"]).await;
    for printed in [dry_run, told] {
        for part in ["identity of events", "definition 2", "a second time", &world.topic(), "for 7.0 days"] {
            assert!(printed.contains(part), "{part} is not in {printed}");
        }
    }
    assert_eq!(world.run_ok("admin", &["migrate"]).await, nothing_to_change());
}

#[tokio::test]
async fn what_somebody_changed_is_brought_up_to_date_and_reported() {
    let world = World::new("migrate-repair").await;
    let db = world.db();
    world.run_ok("admin", &["migrate"]).await;
    for command in [
        doc! { "collMod": "usage_analytics", "index": { "name": "timestamp_1", "expireAfterSeconds": 60 } },
        doc! { "dropIndexes": "sessions", "index": "expiresAt_1" },
        doc! { "createIndexes": "sessions", "indexes": [{ "key": { "expiresAt": 1 }, "name": "expiresAt_1" }] },
        doc! { "dropIndexes": "users", "index": ["email_1", "role_1"] },
        doc! { "createIndexes": "users", "indexes": [
            { "key": { "email": 1 }, "name": "email_1" },
            { "key": { "role": -1 }, "name": "role_1" },
            { "key": { "profile.lastName": 1 }, "name": "by_name" },
        ] },
        doc! { "dropIndexes": "tools", "index": "tags_1" },
        doc! { "collMod": "tools", "validator": { "name": { "$type": "string" } }, "validationLevel": "strict" },
        doc! { "collMod": "suggestions", "validator": {} },
        doc! { "collMod": "health_checks", "validator": { "healthy": { "$type": "bool" } } },
        doc! { "drop": "leases" },
    ] {
        db.run_command(command).await.unwrap();
    }

    let planned = world.run_ok("admin", &["migrate", "--dry-run"]).await;
    let printed = world.run_ok("admin", &["migrate", "--json"]).await;
    let report: Value = serde_json::from_str(&printed).unwrap();
    let changes: BTreeMap<&str, String> = report["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            let text = |field: &str| change[field].as_str().unwrap();
            assert!(planned.contains(text("detail")), "the dry run does not announce {change}:\n{planned}");
            (text("what"), format!("{}: {}", text("change"), text("detail")))
        })
        .collect();
    let expected = BTreeMap::from([
        ("index usage_analytics.timestamp_1", "changed: expires after 365 days; was 60 s"),
        ("index sessions.expiresAt_1", "changed: expires after 0 s; was never"),
        ("index users.email_1", "replaced: { email: 1 }, unique; was { email: 1 }"),
        ("index users.role_1", "replaced: { role: 1 }; was { role: -1 }"),
        ("index tools.tags_1", "created: { tags: 1 }"),
        ("validator tools", "changed: differed in _id, bsonType, category, configuration and 17 more"),
        ("validator suggestions", "added: there was none"),
        ("validator health_checks", "removed: none is wanted"),
        ("collection leases", "created: with a validator"),
    ]);
    for (what, told) in &expected {
        let is_told = changes.get(what).is_some_and(|change| change == told || *what == "validator tools");
        assert!(is_told, "{what} should be told as '{told}', got {changes:#?}");
    }
    assert_eq!(changes.len(), expected.len(), "{changes:#?}");
    assert_eq!(report["notes"][0], "index users.by_name is not ours: { profile.lastName: 1 }; left as it is");

    for (collection, expected) in INDEXES {
        let mut expected: BTreeSet<String> = expected.iter().map(|index| (*index).to_owned()).collect();
        if *collection == "users" {
            expected.insert("profile.lastName:1".into());
        }
        assert_eq!(indexes(db, collection).await, expected, "{collection}");
    }
    assert!(world.run_ok("admin", &["migrate"]).await.starts_with(nothing_to_change().trim_end()));
    assert_eq!(all::<Migration>(db, migration::COLLECTION).await.len(), 2);
}

#[tokio::test]
async fn validators_accept_the_reference_and_refuse_everything_else() {
    let world = World::new("migrate-validators").await;
    let db = world.db();
    // With validators on the event collections too, which `admin migrate` leaves off.
    for change in diff(&schema::wanted(true), &[]).changes {
        server::apply(db, &change).await.unwrap();
    }
    for example in reference::examples() {
        let name = example.collection;
        assert_accepted(db, name, &example.document, "as the reference has it").await;

        for path in paths(&example.document) {
            let missing = without(&example.document, &path);
            if example.optional.contains(&path.as_str()) {
                assert_accepted(db, name, &missing, &format!("without {path}")).await;
            } else {
                assert_refused(db, name, &missing, &format!("without {path}")).await;
            }
            if !example.of_any_type.contains(&path.as_str()) {
                // A type that no field of the reference has.
                let wrong = with(&example.document, &path, Bson::MinKey);
                assert_refused(db, name, &wrong, &format!("with a wrong type at {path}")).await;
            }
        }
        for (path, values) in example.enumerations {
            for value in *values {
                assert_accepted(db, name, &with(&example.document, path, (*value).into()), &format!("{path} {value}"))
                    .await;
            }
            for value in ["unheard-of", "", &values[0].to_uppercase()] {
                assert_refused(db, name, &with(&example.document, path, value.into()), &format!("{path} '{value}'"))
                    .await;
            }
        }
        let with_a_new_field = with(&example.document, "somethingNew", 1.into());
        assert_accepted(db, name, &with_a_new_field, "with a field that the application added").await;
    }
}

#[tokio::test]
async fn the_reference_deserializes_into_the_typed_documents_and_back() {
    fn same<T: DeserializeOwned + serde::Serialize>(document: &Document) {
        let typed: T = bson::deserialize_from_document(document.clone()).unwrap();
        let again = bson::serialize_to_document(&typed).unwrap();
        assert_eq!(plain(again.into()), plain(document.clone().into()));
    }
    for example in reference::examples() {
        match example.collection {
            "users" => same::<User>(&example.document),
            "sessions" => same::<Session>(&example.document),
            "tools" => same::<Tool>(&example.document),
            "usage_analytics" => same::<UsageAnalytics>(&example.document),
            "system_analytics" => same::<SystemAnalytics>(&example.document),
            "suggestions" => same::<Suggestion>(&example.document),
            "system_configuration" => same::<SystemConfiguration>(&example.document),
            "activity_logs" => same::<ActivityLog>(&example.document),
            "health_checks" => same::<HealthCheck>(&example.document),
            other => panic!("no typed document for {other}"),
        }
    }
}

#[tokio::test]
async fn old_documents_that_break_the_rules_can_still_be_updated() {
    let world = World::new("migrate-old").await;
    let users = world.db().collection::<Document>("users");
    users.insert_one(doc! { "_id": 1, "email": "old@example.com" }).await.unwrap();
    world.run_ok("admin", &["migrate"]).await;
    users.update_one(doc! { "_id": 1 }, doc! { "$set": { "status.lastLogin": DateTime::now() } }).await.unwrap();
    assert_refused(world.db(), "users", &doc! { "email": "new@example.com" }, "a new document of the old form").await;
}

#[tokio::test]
async fn migrations_at_the_same_time_do_not_break_each_other() {
    let world = World::new("migrate-both").await;
    let db = world.db();
    let migrate = || world.run_ok("admin", &["migrate", "--json"]);
    tokio::join!(migrate(), migrate(), migrate(), migrate());
    assert_eq!(world.run_ok("admin", &["migrate"]).await, nothing_to_change());

    for _ in 0..5 {
        db.run_command(doc! { "dropIndexes": "users", "index": ["email_1", "role_1"] }).await.unwrap();
        let others =
            [doc! { "key": { "email": 1 }, "name": "email_1" }, doc! { "key": { "email": -1 }, "name": "role_1" }];
        db.run_command(doc! { "createIndexes": "users", "indexes": others.as_slice() }).await.unwrap();
        db.run_command(doc! { "collMod": "tools", "validator": {} }).await.unwrap();
        tokio::join!(migrate(), migrate(), migrate());
        assert_eq!(world.run_ok("admin", &["migrate"]).await, nothing_to_change());
    }
}

#[tokio::test]
async fn topics_are_created_with_the_settings_and_keep_their_partitions() {
    let world = World::new("migrate-topics").await;
    let name = format!("{}-other", world.topic());
    let dead_letters = format!("{name}.dlq");
    let world = world.with_env("KAFKA__TOPIC", &name).with_env("KAFKA__PARTITIONS", "3");
    let printed = world.run_ok("admin", &["migrate"]).await;
    assert!(printed.contains(&format!("topic {name} ")) && printed.contains("max.message.bytes=2097152"), "{printed}");
    assert_eq!(world.run_ok("admin", &["migrate"]).await, nothing_to_change());
    assert_eq!(topic_config(world.brokers(), &dead_letters, "retention.ms").await, "2592000000");
    // A dead letter is larger than the message that it carries.
    let message = topic::Message::new("key", vec![b'x'; 1_100_000]);
    topic::produce(world.brokers(), &dead_letters, &[message]).await.unwrap();

    let world = world.with_env("KAFKA__PARTITIONS", "5");
    let printed = world.run_ok("admin", &["migrate"]).await;
    let note = format!("note: topic {name} has 3 partitions, setting kafka.partitions is 5: left as it is");
    assert!(printed.starts_with("nothing to change") && printed.contains(&note), "{printed}");
    topic::delete(world.brokers(), &[&name, &dead_letters, &format!("{name}.erasures")]).await.unwrap();
}

#[tokio::test]
async fn topics_that_exist_keep_messages_by_arrival_and_their_other_settings() {
    let world = World::new("migrate-exist").await;
    let name = format!("{}-other", world.topic());
    let dead_letters = format!("{name}.dlq");
    let settings = [("retention.ms", "86400000"), ("cleanup.policy", "compact,delete")];
    topic::create_with(world.brokers(), &[(&name, 4, &[]), (&dead_letters, 4, &settings)]).await.unwrap();
    let world = world.with_env("KAFKA__TOPIC", &name);
    let config = async |topic, key| topic_config(world.brokers(), topic, key).await;
    let dry = world.run_ok("admin", &["migrate", "--dry-run"]).await;
    assert!(dry.contains("message.timestamp.type=LogAppendTime, was CreateTime"), "{dry}");
    assert_eq!(config(&name, "message.timestamp.type").await, "CreateTime", "a dry run changes nothing");

    let printed = world.run_ok("admin", &["migrate"]).await;
    let note = format!("topic {dead_letters} has retention.ms=86400000, a new one would have retention.ms=2592000000");
    assert!(printed.contains(&note), "{printed}");
    for topic in [&name, &dead_letters] {
        assert_eq!(config(topic, "message.timestamp.type").await, "LogAppendTime");
    }
    assert_eq!(config(&dead_letters, "retention.ms").await, "86400000");
    assert_eq!(config(&dead_letters, "cleanup.policy").await, "compact,delete");
    assert!(world.run_ok("admin", &["migrate"]).await.starts_with("nothing to change"));
    topic::delete(world.brokers(), &[&name, &dead_letters, &format!("{name}.erasures")]).await.unwrap();
}

#[tokio::test]
async fn failures_are_clear_and_leave_things_as_they_were() {
    let world = World::new("migrate-fail").await;

    let (code, stderr) = world.run_fail("admin", &["seed-demo"]).await;
    assert!(code == 1 && stderr.contains("run `admin migrate` first"), "{code} {stderr}");
    let (code, stderr) = world.run_fail("admin", &["seed-demo", "--as-of", "2024-02-30"]).await;
    assert!(code == 2 && stderr.contains("2024-02-30") && stderr.contains("YYYY-MM-DD"), "{code} {stderr}");
    let (code, stderr) = world.run_fail("admin", &["seed-demo", "--users", "0"]).await;
    assert!(code == 2 && stderr.contains("--users"), "{code} {stderr}");

    // Kafka makes no topic whose name differs from another's only in dots and underscores.
    let (there, refused) = (format!("{}_x", world.db().name()), format!("{}.x", world.db().name()));
    topic::create(world.brokers(), &[(&there, 1)]).await.unwrap();
    let world = world.with_env("KAFKA__TOPIC", &refused);
    let (code, stderr) = world.run_fail("admin", &["migrate"]).await;
    assert!(code == 1 && stderr.contains(&refused), "{code} {stderr}");
    let recorded: Vec<Migration> = all(world.db(), migration::COLLECTION).await;
    assert!(
        recorded[0].changes.len() == changes_of_an_empty_database() && recorded[0].error.is_some(),
        "what was done is recorded: {recorded:?}"
    );

    let topic = world.db().name().to_owned();
    let world = world.with_env("KAFKA__TOPIC", &topic);
    assert_eq!(world.run_ok("admin", &["migrate"]).await, nothing_to_change());

    db_with_doubled_addresses(world.db()).await;
    let (code, stderr) = world.run_fail("admin", &["migrate"]).await;
    assert!(code == 1 && stderr.contains("users.email_1") && stderr.contains("duplicate key"), "{code} {stderr}");
    assert!(indexes(world.db(), "users").await.contains("email:1"), "the index that was there is put back");

    world.db().run_command(doc! { "drop": "users" }).await.unwrap();
    world.db().run_command(doc! { "create": "users", "viewOn": "sessions", "pipeline": [] }).await.unwrap();
    let (code, stderr) = world.run_fail("admin", &["migrate"]).await;
    assert!(code == 1 && stderr.contains("users is a view, expected a collection"), "{code} {stderr}");
}

#[tokio::test]
async fn with_kafka_out_of_reach_the_database_is_not_touched() {
    let world = World::new("migrate-no-kafka").await.with_env("KAFKA__BROKERS", "127.0.0.1:1");
    let (code, stderr) = world.run_fail("admin", &["migrate"]).await;
    assert!(code == 1 && stderr.contains("127.0.0.1:1") && stderr.contains("kafka.brokers"), "{code} {stderr}");
    assert_eq!(world.db().list_collection_names().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn the_demo_is_the_same_each_time_and_of_the_right_types() {
    let world = World::new("seed-demo").await;
    let db = world.db();
    world.run_ok("admin", &["migrate"]).await;
    let arguments = ["seed-demo", "--users", "150", "--tools", "70", "--json"];
    let seeded: Value = serde_json::from_str(&world.run_ok("admin", &arguments).await).unwrap();
    let before = contents(db).await;

    let users: Vec<User> = all(db, "users").await;
    let (tools, sessions): (Vec<Tool>, Vec<Session>) = (all(db, "tools").await, all(db, "sessions").await);
    let (suggestions, settings): (Vec<Suggestion>, Vec<SystemConfiguration>) =
        (all(db, "suggestions").await, all(db, "system_configuration").await);
    let categories: Vec<ToolCategory> = all(db, "tool_categories").await;
    let counts = [categories.len(), tools.len(), users.len(), sessions.len(), suggestions.len(), settings.len()];
    for (collection, count) in seeded.as_array().unwrap().iter().zip(counts) {
        assert_eq!((&collection["documents"], &collection["added"]), (&count.into(), &count.into()), "{collection}");
    }
    assert_eq!((users.len(), tools.len()), (150, 70));
    assert!(sessions.len() > 50 && suggestions.len() > 10 && settings.len() > 10);

    let today = Day::today();
    for day in [today.previous(), today.minus(2), today.minus(3)] {
        let within = |user: &&User| Day::of(user.metadata.created_at.to_chrono()) == day;
        assert!(users.iter().any(|user| within(&user)), "nobody signed up on {day}");
    }
    assert!(users.iter().all(|user| user.metadata.created_at < DateTime::from_chrono(today.start())));
    assert!(sessions.iter().all(|session| session.expires_at > DateTime::now()));
    let slugs: BTreeSet<&str> = categories.iter().map(|category| category.slug.as_str()).collect();
    assert!(tools.iter().all(|tool| slugs.contains(tool.category.as_str())));
    let plans: BTreeSet<_> = users.iter().map(|user| (user.subscription.plan, user.subscription.status)).collect();
    assert_eq!(plans.len(), 9);
    for key in ["ai_rate_limit_per_minute", "ingest_max_events_per_second", "ingest_tool_events_per_minute"] {
        assert!(settings.iter().any(|setting| setting.key == key), "{key}");
    }

    let again: Value = serde_json::from_str(&world.run_ok("admin", &arguments).await).unwrap();
    for collection in again.as_array().unwrap() {
        assert_eq!(collection["unchanged"], collection["documents"], "{collection}");
    }
    assert_eq!(contents(db).await, before);

    // What the aggregator counted is not the demo's to reset, everything else is.
    let tool = doc! { "_id": tools[0].id };
    let update =
        doc! { "$set": { "usage.totalUsage": 5_i64, "timestamps.lastUsed": DateTime::now(), "name": "changed" } };
    db.collection::<Document>("tools").update_one(tool.clone(), update).await.unwrap();
    world.run_ok("admin", &arguments).await;
    let seeded_again = db.collection::<Tool>("tools").find_one(tool).await.unwrap().unwrap();
    assert_eq!((&seeded_again.name, seeded_again.usage.total_usage), (&tools[0].name, 5));
    assert!(seeded_again.timestamps.last_used.is_some());
}

#[tokio::test]
async fn the_demo_keeps_away_from_other_users_unless_forced() {
    let world = World::new("seed-others").await;
    world.run_ok("admin", &["migrate"]).await;
    world.run_ok("admin", &["seed-demo", "--users", "20", "--tools", "5"]).await;
    let users = world.db().collection::<Document>("users");
    let other = doc! { "_id": "not even an ObjectId", "email": "somebody@example.com" };
    users.insert_one(other).bypass_document_validation(true).await.unwrap();
    let (code, stderr) = world.run_fail("admin", &["seed-demo", "--users", "30"]).await;
    assert!(code == 1 && stderr.contains("not the demo's") && stderr.contains("--force"), "{code} {stderr}");
    assert!(stderr.contains("not even an ObjectId") && !stderr.contains("somebody@example.com"), "{stderr}");
    assert_eq!(users.count_documents(doc! {}).await.unwrap(), 21);
    world.run_ok("admin", &["seed-demo", "--users", "30", "--tools", "5", "--force"]).await;
    assert_eq!(users.count_documents(doc! {}).await.unwrap(), 31);
}

async fn db_with_doubled_addresses(db: &Database) {
    db.run_command(doc! { "dropIndexes": "users", "index": "email_1" }).await.unwrap();
    let index = doc! { "key": { "email": 1 }, "name": "email_1" };
    db.run_command(doc! { "createIndexes": "users", "indexes": [index] }).await.unwrap();
    let twice = [doc! { "email": "a@example.com" }, doc! { "email": "a@example.com" }];
    db.collection::<Document>("users").insert_many(twice).bypass_document_validation(true).await.unwrap();
}

/// `field:1,other:1 unique sparse ttl=60`
async fn indexes(db: &Database, collection: &str) -> BTreeSet<String> {
    let listed = db.run_cursor_command(doc! { "listIndexes": collection }).await.unwrap();
    let listed: Vec<Document> = listed.try_collect().await.unwrap();
    listed
        .iter()
        .filter(|index| index.get_str("name").unwrap() != "_id_")
        .map(|index| {
            let keys: Vec<String> =
                index.get_document("key").unwrap().iter().map(|(field, order)| format!("{field}:{order}")).collect();
            let mut told = keys.join(",");
            for option in ["unique", "sparse"] {
                if index.get_bool(option).unwrap_or(false) {
                    told.push_str(&format!(" {option}"));
                }
            }
            if let Some(seconds) = index.get("expireAfterSeconds") {
                told.push_str(&format!(" ttl={seconds}"));
            }
            told
        })
        .collect()
}

async fn all<T: DeserializeOwned + Unpin + Send + Sync>(db: &Database, collection: &str) -> Vec<T> {
    db.collection::<T>(collection).find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap()
}

/// Without those that MongoDB keeps for itself, such as its profile.
async fn own_collections(db: &Database) -> Vec<String> {
    let names = db.list_collection_names().await.unwrap();
    names.into_iter().filter(|name| !name.starts_with("system.")).collect()
}

/// Every document of every collection but the record of migrations.
/// Every document but those of the audit log, which gets two for each command.
async fn contents(db: &Database) -> BTreeMap<String, Vec<Document>> {
    let mut contents = BTreeMap::new();
    for name in own_collections(db).await.into_iter().filter(|name| name != "audit_log") {
        contents.insert(name.clone(), all(db, &name).await);
    }
    contents
}

async fn assert_accepted(db: &Database, collection: &str, document: &Document, how: &str) {
    let result = db.collection::<Document>(collection).insert_one(document).await;
    assert!(result.is_ok(), "{collection} {how} should be accepted: {result:?}\n{document}");
    db.collection::<Document>(collection).delete_many(doc! {}).await.unwrap();
}

async fn assert_refused(db: &Database, collection: &str, document: &Document, how: &str) {
    let result = db.collection::<Document>(collection).insert_one(document).await;
    let message = result.expect_err(&format!("{collection} {how} should be refused: {document}")).to_string();
    assert!(message.contains("Document failed validation"), "{collection} {how}: {message}");
}

/// Every field of a document, through subdocuments and the first item of lists of documents: `a`, `a.b`, `list.0.c`.
/// Without `_id`: the driver adds a missing one.
fn paths(document: &Document) -> Vec<String> {
    let mut found = vec![];
    for (field, value) in document.iter().filter(|(field, _)| *field != "_id") {
        found.push(field.clone());
        match value {
            Bson::Document(inner) => found.extend(paths(inner).into_iter().map(|path| format!("{field}.{path}"))),
            Bson::Array(items) => {
                if let Some(Bson::Document(inner)) = items.first() {
                    found.extend(paths(inner).into_iter().map(|path| format!("{field}.0.{path}")));
                }
            }
            _ => {}
        }
    }
    found
}

fn without(document: &Document, path: &str) -> Document {
    let mut changed = document.clone();
    let (parent, field) = parent_of(&mut changed, path);
    parent.remove(field).unwrap();
    changed
}

fn with(document: &Document, path: &str, value: Bson) -> Document {
    let mut changed = document.clone();
    let (parent, field) = parent_of(&mut changed, path);
    parent.insert(field, value);
    changed
}

fn parent_of<'a, 'p>(document: &'a mut Document, path: &'p str) -> (&'a mut Document, &'p str) {
    let Some((first, rest)) = path.split_once('.') else { return (document, path) };
    match document.get_mut(first).unwrap() {
        Bson::Document(inner) => parent_of(inner, rest),
        Bson::Array(items) => parent_of(items[0].as_document_mut().unwrap(), rest.split_once('.').unwrap().1),
        other => panic!("{first} is {other}"),
    }
}

/// Numbers as JavaScript has them: of one kind.
fn plain(value: Bson) -> Bson {
    match value {
        Bson::Int32(number) => Bson::Double(f64::from(number)),
        Bson::Int64(number) => Bson::Double(number as f64),
        Bson::Document(inner) => {
            Bson::Document(inner.into_iter().map(|(field, value)| (field, plain(value))).collect())
        }
        Bson::Array(items) => Bson::Array(items.into_iter().map(plain).collect()),
        other => other,
    }
}

async fn topic_config(brokers: &str, topic: &str, key: &str) -> String {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let found = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await.unwrap();
    let resource = found.into_iter().next().unwrap().unwrap();
    let entry = resource.entries.into_iter().find(|entry| entry.name == key).unwrap();
    entry.value.unwrap()
}
