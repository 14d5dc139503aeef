//! Connection strings of real life: what users bring for MongoDB and Kafka works, gives way to what the programs promise, or is
//! refused at the start with a sentence.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use bson::{Document, doc};
use common::day::Day;
use e2e::load::{stored, tool_uses};
use e2e::world::World;

#[tokio::test]
async fn options_that_would_weaken_the_promises_give_way() {
    for (number, options) in [
        "w=0&readPreference=secondary&readConcernLevel=available&retryWrites=false&retryReads=false&wtimeoutMS=1",
        "directConnection=true&maxPoolSize=1&serverSelectionTimeoutMS=1&appName=mine",
    ]
    .iter()
    .enumerate()
    {
        let world = World::new(&format!("uri-options-{number}")).await;
        let uri = format!("{}&{options}", world.mongo_uri());
        // librdkafka's own lists have no spaces.
        let brokers = format!(" PLAINTEXT://{} , ", world.brokers());
        let world = world.with_env("MONGODB__URI", &uri).with_env("KAFKA__BROKERS", &brokers);
        world.run_ok("admin", &["migrate"]).await;
        world.produce(&tool_uses(0, 2_000)).await;
        world.run_ok("ingest", &["run", "--until-caught-up"]).await;
        assert_eq!(stored(&world).await, 2_000, "{options}");
        let (from, to) = (Day::yesterday().minus(59).to_string(), Day::yesterday().to_string());
        world.run_ok("aggregator", &["run", "--from", &from, "--to", &to]).await;
        let days = world.db().collection::<Document>("system_analytics").count_documents(doc! {}).await.unwrap();
        assert_eq!(days, 60, "{options}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_refused_with_what_it_is() {
    let world = World::new("uri-refused").await.with_env("MONGODB__SERVER_SELECTION_TIMEOUT", "2s");
    let (_, rest) = world.mongo_uri().split_once("://").unwrap();
    let primary = rest.split('/').next().unwrap();
    for (uri, code, reason) in [
        (format!("mongodb://{primary}/?replicaSet=other"), 1, "its replica set is called rs0"),
        (format!("mongodb://{primary}/elsewhere?replicaSet=rs0"), 2, "the database elsewhere"),
        ("mongodb+srv://nowhere.invalid/".to_owned(), 1, "DNS"),
    ] {
        let mut check = world.command("admin");
        check.arg("storage").env("DEVTOOLKIT__MONGODB__URI", &uri);
        let finished = world.finish("admin", check).await;
        assert_eq!(finished.code, Some(code), "{uri}: {}", finished.stderr);
        assert!(finished.stderr.contains(reason), "{uri}: {}", finished.stderr);
    }
}
