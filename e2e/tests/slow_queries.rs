//! `admin slow-queries` and the profiler behind it: on every member, by shape, and never a value.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::os::unix::fs::PermissionsExt;

use bson::{Document, doc};
use e2e::servers::{Home, ReplicaSet, ReplicaSetOptions};
use e2e::world::World;
use futures::TryStreamExt;
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use serde_json::Value;

/// What must not be seen anywhere.
const SECRET: &str = "hunter2";

async fn slow_queries(world: &World) -> Value {
    serde_json::from_str(&world.run_ok("admin", &["slow-queries", "--json", "--limit", "100"]).await).unwrap()
}

async fn profile(db: &Database, level: i32) -> Document {
    db.run_command(doc! { "profile": level }).await.unwrap()
}

/// The queries with an operation and a shape, whatever their plan.
fn queries<'a>(report: &'a Value, operation: &str, shape: &str) -> Vec<&'a Value> {
    let queries = report["queries"].as_array().unwrap().iter();
    queries.filter(|query| query["operation"] == operation && query["shape"] == shape).collect()
}

/// Every kind of operation, with the secret wherever a value can be.
async fn operate(db: &Database) {
    let things = db.collection::<Document>("things");
    let address = format!("{SECRET}@example.com");
    let thing = |number: i32| doc! { "_id": number, "email": &address, "n": number, "votes": { &address: 1 } };
    things.insert_many((0..200).map(thing)).await.unwrap();
    things.insert_one(thing(0)).await.unwrap_err();
    for (number, alternatives) in [(1, vec![SECRET]), (2, vec![SECRET, "b", "c"])] {
        let filter = doc! { "email": format!("{SECRET}{number}"), "tag": { "$in": alternatives } };
        let found = things.find(filter).sort(doc! { "n": -1 }).comment(SECRET.to_owned()).await.unwrap();
        found.try_collect::<Vec<_>>().await.unwrap();
    }
    let all = things.find(doc! { "email": &address }).batch_size(150).await.unwrap();
    assert_eq!(all.try_collect::<Vec<_>>().await.unwrap().len(), 200);
    let long: Vec<String> = (0..3_000).map(|number| format!("{SECRET}{SECRET}{SECRET}-{number}")).collect();
    things.find_one(doc! { "email": { "$in": long } }).await.unwrap();
    let regex = bson::Regex { pattern: bson::cstr!("hunter2").to_owned(), options: bson::cstr!("").to_owned() };
    things.find_one(doc! { "name": regex, "$where": format!("this.a == '{SECRET}'") }).await.unwrap();
    things.find_one(doc! { "$expr": { "$eq": ["$email", "$$who"] } }).let_vars(doc! { "who": SECRET }).await.unwrap();

    things.update_many(doc! { "email": SECRET }, doc! { "$set": { "name": SECRET } }).await.unwrap();
    let key_that_is_a_value = format!("votes.{SECRET}@example.com");
    things.update_one(doc! { "n": 3 }, doc! { "$inc": { key_that_is_a_value: 1 } }).await.unwrap();
    things.update_one(doc! { "n": 3 }, vec![doc! { "$set": { "name": SECRET } }]).await.unwrap();
    things.replace_one(doc! { "n": 4 }, doc! { "name": SECRET }).await.unwrap();
    things.find_one_and_update(doc! { "n": 5 }, doc! { "$push": { "tags": SECRET } }).await.unwrap();
    things.delete_many(doc! { "email": { "$gte": SECRET, "$lt": SECRET } }).await.unwrap();
    things.distinct("name", doc! { "email": SECRET }).await.unwrap();
    things.count_documents(doc! { "email": SECRET }).await.unwrap();
    let pipeline = [
        doc! { "$match": { "email": SECRET, "$or": [{ "name": SECRET }, { "name": "other" }] } },
        doc! { "$lookup": { "from": SECRET, "localField": "a", "foreignField": "b", "as": "c" } },
        doc! { "$group": { "_id": { "$concat": ["$name", SECRET] }, "n": { "$sum": 1 } } },
        doc! { "$sort": { "n": -1 } },
    ];
    let grouped = things.aggregate(pipeline).comment(SECRET.to_owned()).await.unwrap();
    grouped.try_collect::<Vec<_>>().await.unwrap();
}

#[tokio::test]
async fn shapes_are_shown_and_values_never() {
    let world = World::new("slow-shapes").await;
    let db = world.db();
    // Every operation, so that none has to be slow.
    profile(db, 2).await;
    operate(db).await;
    profile(db, 0).await;
    let kept: Vec<Document> = db.collection("system.profile").find(doc! {}).await.unwrap().try_collect().await.unwrap();
    assert!(kept.iter().filter(|kept| kept.to_string().contains(SECRET)).count() > 15, "the profile has the values");

    let printed = world.run("admin", &["slow-queries", "--limit", "100"]).await;
    let json = world.run("admin", &["slow-queries", "--limit", "100", "--json"]).await;
    for finished in [&printed, &json] {
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert!(!finished.stdout.contains(SECRET), "{}", finished.stdout);
        assert!(!finished.stderr.contains(SECRET), "{}", finished.stderr);
    }
    assert!(printed.stdout.contains("COLLSCAN") && !printed.stdout.contains('\u{1b}'), "{}", printed.stdout);
    assert!(printed.stdout.contains("is off: `admin migrate` switches it on"), "{}", printed.stdout);

    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    let found = queries(&report, "find", "{ email: ?, tag: { $in: [?] } } sort { n: -1 }");
    assert_eq!(found.len(), 1, "however many alternatives: {report:#}");
    assert_eq!(
        (&found[0]["collection"], &found[0]["plan"], &found[0]["count"], &found[0]["docsExamined"]),
        (&"things".into(), &"COLLSCAN".into(), &2.into(), &400.into())
    );
    assert!(found[0]["examinedPerReturned"].is_null() && found[0]["queryHash"].is_string(), "{found:?}");
    let found = queries(&report, "find", "{ email: ? }")[0];
    assert_eq!((&found["docsExamined"], &found["returned"]), (&150.into(), &150.into()));
    assert_eq!(found["examinedPerReturned"], 1.0);
    let match_stage = "{ $match: { email: ?, $or: [{ name: ? }] } }";
    let lookup = "{ $lookup: { from: ?, localField: ?, foreignField: ?, as: ? } }";
    let rest = "{ $group: { _id: { $concat: [?] }, n: { $sum: ? } } }, { $sort: { n: -1 } }";
    for (operation, shape) in [
        ("getMore find", "{ email: ? }"),
        ("query", "(too long)"),
        ("find", "{ name: ?, $where: ? }"),
        ("find", "{ $expr: { $eq: [?] } }"),
        ("insert", ""),
        ("update", "{ email: ? } { $set: { name: ? } }"),
        ("update", "{ n: ? } { $inc: { ?: ? } }"),
        ("update", "{ n: ? } [{ $set: { name: ? } }]"),
        ("update", "{ n: ? } { name: ? }"),
        ("findAndModify", "{ n: ? } { $push: { tags: ? } }"),
        ("remove", "{ email: { $gte: ?, $lt: ? } }"),
        ("distinct", "name { email: ? }"),
        ("aggregate", "[{ $match: { email: ? } }, { $group: { _id: ?, n: { $sum: ? } } }]"),
        ("aggregate", &format!("[{match_stage}, {lookup}, {rest}]")),
    ] {
        assert_eq!(queries(&report, operation, shape).len(), 1, "{operation} {shape} is not in {report:#}");
    }
    assert_eq!(report["operations"].as_u64().unwrap(), kept.iter().filter(|kept| is_of(kept, "things")).count() as u64);

    let none = world.run_ok("admin", &["slow-queries", "--json", "--since", "2099-01-01T00:00:00Z"]).await;
    let none: Value = serde_json::from_str(&none).unwrap();
    assert_eq!((&none["operations"], &none["queries"]), (&0.into(), &Value::Array(vec![])));
}

fn is_of(kept: &Document, collection: &str) -> bool {
    kept.get_str("ns").unwrap().ends_with(collection)
}

#[tokio::test]
async fn migrate_switches_the_profiler_on_and_leaves_a_closer_look_alone() {
    let world = World::new("slow-migrate").await.with_env("MONGODB__SLOW_QUERY_THRESHOLD", "0s");
    profile(world.db(), 0).await;
    assert!(!world.run_ok("admin", &["migrate"]).await.contains("profiler"));
    assert_eq!(profile(world.db(), -1).await.get_i32("was").unwrap(), 0);

    let world = world.with_env("MONGODB__SLOW_QUERY_THRESHOLD", "200ms");
    let printed = world.run_ok("admin", &["migrate", "--dry-run"]).await;
    assert!(printed.contains("operations over 200 ms; was off") && printed.contains("1 change would"), "{printed}");
    assert_eq!(profile(world.db(), -1).await.get_i32("was").unwrap(), 0);
    let printed = world.run_ok("admin", &["migrate"]).await;
    assert!(printed.contains("operations over 200 ms; was off") && printed.contains("1 change made"), "{printed}");
    let set = profile(world.db(), -1).await;
    assert_eq!((set.get_i32("was").unwrap(), set.get_i32("slowms").unwrap()), (1, 200));
    assert!(world.run_ok("admin", &["migrate"]).await.starts_with("nothing to change"));

    profile(world.db(), 2).await;
    let printed = world.run_ok("admin", &["migrate"]).await;
    assert!(printed.starts_with("nothing to change") && printed.contains("keeps every operation: left"), "{printed}");
    assert_eq!(profile(world.db(), -1).await.get_i32("was").unwrap(), 2);

    let world = world.with_env("MONGODB__SLOW_QUERY_THRESHOLD", "10us");
    let (code, stderr) = world.run_fail("admin", &["migrate"]).await;
    assert!(code == 2 && stderr.contains("mongodb.slow_query_threshold is 10µs"), "{stderr}");
}

#[tokio::test]
async fn every_member_is_set_and_asked() {
    let options = ReplicaSetOptions { members: 3, ..ReplicaSetOptions::default() };
    let mut set = ReplicaSet::start(options).await.unwrap();
    let brokers = std::env::var("DEVTOOLKIT__KAFKA__BROKERS").unwrap();
    let world = World::on("slow-members", &set.uri(), &brokers).await;
    let printed = world.run_ok("admin", &["migrate"]).await;
    assert_eq!(printed.matches("operations over 200 ms; was off").count(), 3, "{printed}");
    assert!(world.run_ok("admin", &["migrate"]).await.starts_with("nothing to change"));

    let primary = set.primary().await.unwrap();
    let [looked_into, stopped] = [(primary + 1) % 3, (primary + 2) % 3];
    let uri = format!("mongodb://{}/?directConnection=true", set.member(looked_into).address());
    let options = ClientOptions::parse(&uri).await.unwrap();
    let secondary = Client::with_options(options).unwrap().database(world.db().name());
    profile(&secondary, 2).await;
    secondary.collection::<Document>("users").find_one(doc! { "bio": SECRET }).await.unwrap();

    let report = slow_queries(&world).await;
    assert_eq!(report["members"].as_array().unwrap().len(), 3);
    assert_eq!(queries(&report, "find", "{ bio: ? }")[0]["count"], 1);
    let keeps_all = format!("profiler of {}: every operation", set.member(looked_into).address());
    assert!(world.run_ok("admin", &["slow-queries"]).await.contains(&keeps_all));
    let world = world.with_env("MONGODB__URI", &uri);
    assert_eq!(slow_queries(&world).await["members"].as_array().unwrap().len(), 1, "the one connected to");

    let world = world.with_env("MONGODB__URI", &set.uri());
    let address = set.member(stopped).address();
    set.member(stopped).stop().await.unwrap();
    let world = world.with_env("MONGODB__SERVER_SELECTION_TIMEOUT", "3s");
    let report = slow_queries(&world).await;
    assert_eq!(queries(&report, "find", "{ bio: ? }").len(), 1);
    assert!(report["notes"][0].as_str().unwrap().contains(&address), "{report}");
    let printed = world.run_ok("admin", &["migrate"]).await;
    assert!(printed.contains(&format!("the profiler of {address} is not known")), "{printed}");
}

#[tokio::test]
async fn who_may_not_is_told_which_role_may() {
    let home = Home::temporary("slow-rights").unwrap();
    let key_file = home.path().join("keyfile");
    std::fs::write(&key_file, "c2VjcmV0IG9mIHRoZSBtZW1iZXJz").unwrap();
    std::fs::set_permissions(&key_file, PermissionsExt::from_mode(0o600)).unwrap();
    let extra_args = vec!["--keyFile".to_owned(), key_file.display().to_string()];
    let mut set = ReplicaSet::start(ReplicaSetOptions { extra_args, ..ReplicaSetOptions::default() }).await.unwrap();
    let admin = Client::with_uri_str(set.uri()).await.unwrap().database("admin");
    admin.run_command(doc! { "createUser": "root", "pwd": "root", "roles": ["root"] }).await.unwrap();
    let address = set.member(0).address();
    let as_user = |user: &str| format!("mongodb://{user}:{user}@{address}/?replicaSet=rs0");
    let brokers = std::env::var("DEVTOOLKIT__KAFKA__BROKERS").unwrap();
    let world = World::on("slow-rights", &as_user("root"), &brokers).await;
    let admin = Client::with_uri_str(as_user("root")).await.unwrap().database("admin");
    let role = doc! { "role": "readWrite", "db": world.db().name() };
    admin.run_command(doc! { "createUser": "writer", "pwd": "writer", "roles": [role] }).await.unwrap();

    let world = world.with_env("MONGODB__URI", &as_user("writer"));
    let printed = world.run_ok("admin", &["migrate"]).await;
    assert!(printed.contains(" changes made") && printed.contains("the role dbAdmin"), "{printed}");
    let (code, stderr) = world.run_fail("admin", &["slow-queries"]).await;
    assert!(code == 1 && stderr.contains(&address) && stderr.contains("the role dbAdmin"), "{stderr}");

    let world = world.with_env("MONGODB__URI", &as_user("root"));
    assert!(world.run_ok("admin", &["migrate"]).await.contains("1 change made"));
    slow_queries(&world).await;
}
