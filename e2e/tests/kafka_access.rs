//! `admin access kafka` on a broker with an authorizer and SCRAM: each program does its work with the rights of access.json, and everything
//! else is refused.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::{Duration, Instant};

use bson::{Document, doc};
use common::demo;
use common::keyring::Keyring;
use e2e::eventually::{PATIENCE, eventually};
use e2e::load::{tool_uses, until_stored};
use e2e::servers::{Kafka, KafkaOptions, free_port};
use e2e::topic::{self, Message};
use e2e::world::World;
use futures::future::join_all;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/kafka/access.json");
const PASSWORD: &str = "of-a-test";
const USERS: [&str; 8] =
    ["tools", "ingest", "aggregator", "dashboard", "admin", "privacy_officer", "backup", "recovery"];

/// A broker that asks on one of its listeners for a password and looks at rights. Who comes by the other one may do everything: the test.
struct Guarded {
    kafka: Kafka,
    brokers: String,
}

impl Guarded {
    async fn start() -> Self {
        let port = free_port().unwrap();
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let extra_properties = [
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("super.users", "User:ANONYMOUS"),
            ("sasl.enabled.mechanisms", "SCRAM-SHA-512"),
            ("listener.name.guarded.scram-sha-512.sasl.jaas.config", scram),
        ];
        let options = KafkaOptions {
            extra_properties: extra_properties.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            scram_users: USERS.map(|user| (user.to_owned(), PASSWORD.to_owned())).to_vec(),
            extra_listeners: vec![("GUARDED".to_owned(), "SASL_PLAINTEXT".to_owned(), port)],
            ..KafkaOptions::default()
        };
        Self { kafka: Kafka::start(options).await.unwrap(), brokers: format!("127.0.0.1:{port}") }
    }

    /// The world's programs come as this user.
    fn sign_in(&self, world: World, user: &str) -> World {
        world
            .with_env("KAFKA__BROKERS", &self.brokers)
            .with_env("KAFKA__SECURITY_PROTOCOL", "sasl_plaintext")
            .with_env("KAFKA__USERNAME", user)
            .with_env("KAFKA__PASSWORD", PASSWORD)
    }

    /// The world's programs come as the test.
    fn sign_out(&self, world: World) -> World {
        world
            .with_env("KAFKA__BROKERS", &self.kafka.brokers())
            .with_env("KAFKA__SECURITY_PROTOCOL", "plaintext")
            .with_env("KAFKA__USERNAME", "")
            .with_env("KAFKA__PASSWORD", "")
    }

    fn config(&self, user: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("security.protocol", "sasl_plaintext")
            .set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.username", user)
            .set("sasl.password", PASSWORD);
        config
    }

    async fn produce(&self, user: &str, topic: &str) -> Result<(), RDKafkaErrorCode> {
        let producer: FutureProducer = self.config(user).create().unwrap();
        let record = FutureRecord::to(topic).key("key").payload("{\"no\": \"event\"");
        let sent = producer.send(record, Duration::from_secs(20)).await;
        sent.map(drop).map_err(|(error, _)| error.rdkafka_error_code().unwrap())
    }

    async fn consume(&self, user: &str, topic: &str) -> Result<(), RDKafkaErrorCode> {
        let (mut config, topic) = (self.config(user), topic.to_owned());
        let read = move || {
            let consumer: BaseConsumer = config.set("group.id", "a-group-of-its-own").create().unwrap();
            let mut partitions = TopicPartitionList::new();
            partitions.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
            consumer.assign(&partitions).unwrap();
            // A right to read the topic needs none to a group: after that refusal a message may still come.
            let (mut deadline, mut refusal) =
                (Instant::now() + Duration::from_secs(30), RDKafkaErrorCode::OperationTimedOut);
            while Instant::now() < deadline {
                match consumer.poll(Duration::from_millis(200)) {
                    Some(Ok(_)) => return Ok(()),
                    Some(Err(error)) => {
                        let code = error.rdkafka_error_code().unwrap();
                        if code == RDKafkaErrorCode::TopicAuthorizationFailed {
                            return Err(code);
                        }
                        if refusal == RDKafkaErrorCode::OperationTimedOut {
                            (deadline, refusal) = (Instant::now() + Duration::from_secs(8), code);
                        }
                    }
                    None => {}
                }
            }
            Err(refusal)
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    async fn create_topic(&self, user: &str) -> Result<(), RDKafkaErrorCode> {
        let client: AdminClient<DefaultClientContext> = self.config(user).create().unwrap();
        let topic = NewTopic::new("a-topic-of-my-own", 1, TopicReplication::Fixed(1));
        let created = client.create_topics([&topic], &AdminOptions::new()).await.unwrap();
        created.into_iter().next().unwrap().map(drop).map_err(|(_, code)| code)
    }
}

fn is_refused(answer: Result<(), RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode::{ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed};
    matches!(answer, Err(ClusterAuthorizationFailed | GroupAuthorizationFailed | TopicAuthorizationFailed))
}

async fn world(guarded: &Guarded, name: &str) -> World {
    let uri = std::env::var("DEVTOOLKIT__MONGODB__URI").unwrap();
    World::on(name, &uri, &guarded.kafka.brokers()).await
}

#[tokio::test]
async fn acls_come_in_order_and_stay_there() {
    let guarded = Guarded::start().await;
    let world = world(&guarded, "kafka-acls").await;
    let list = world.run_ok("admin", &["access", "kafka", "list", "--file", FILE]).await;
    assert!(list.contains("User:tools") && list.contains(&format!("Write on topic {}", world.topic())), "{list}");
    let (code, said) = world.run_fail("admin", &["access", "kafka", "diff", "--file", FILE]).await;
    assert!(code == 1 && said.contains("rights differ"), "{said}");
    world.run_ok("admin", &["access", "kafka", "apply", "--file", FILE]).await;
    for command in ["diff", "apply"] {
        let said = world.run_ok("admin", &["access", "kafka", command, "--file", FILE]).await;
        assert!(said.contains("as they should be"), "{said}");
    }
    let acts = world.run_ok("admin", &["audit", "list", "--action", "access.apply", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&acts).unwrap().as_array().unwrap().len(), 1, "{acts}");

    // A tool that reads, and one that may not write any more.
    let other = world.directory().join("other.json");
    let acls = json!({ "acls": [
        { "principal": "User:tools", "topic": "{topic}", "operations": ["Read"] },
        { "principal": "User:other", "topic": "{topic}", "operations": ["Read"] },
    ] });
    std::fs::write(&other, acls.to_string()).unwrap();
    world.run_ok("admin", &["access", "kafka", "apply", "--file", other.to_str().unwrap()]).await;
    let finished = world.run("admin", &["access", "kafka", "diff", "--file", FILE, "--json"]).await;
    let differs = serde_json::from_str::<Value>(&finished.stdout).unwrap()["differences"].to_string();
    assert_eq!(finished.code, Some(1));
    for part in ["lacks Write on topic", "may Read on topic"] {
        assert!(differs.contains(part) && !differs.contains("User:other"), "{part}: {differs}");
    }
    world.run_ok("admin", &["access", "kafka", "apply", "--file", FILE]).await;
    world.run_ok("admin", &["access", "kafka", "diff", "--file", FILE]).await;

    // Whoever may not look is told so.
    let (code, said) =
        guarded.sign_in(world, "ingest").run_fail("admin", &["access", "kafka", "diff", "--file", FILE]).await;
    assert!(code == 1 && said.contains("Kafka does not show its ACLs"), "{said}");
    // A broker without an authorizer lets everybody in, and says so.
    let open = World::new("kafka-open").await;
    let (code, said) = open.run_fail("admin", &["access", "kafka", "diff", "--file", FILE]).await;
    assert!(code == 1 && said.contains("Kafka does not show its ACLs"), "{said}");
}

#[tokio::test]
async fn each_program_does_its_work_and_nothing_else() {
    let guarded = Guarded::start().await;
    let world = world(&guarded, "kafka-rights").await;
    let keyring = world.directory().join("keyring.json");
    Keyring::create(&keyring).unwrap();
    let world = world.with_env("SECURITY__KEYRING_FILE", keyring.to_str().unwrap());
    world.run_ok("admin", &["access", "kafka", "apply", "--file", FILE]).await;
    let (events, letters, erasures) = (world.topic(), world.dead_letter_topic(), world.erasures_topic());
    topic::delete(world.brokers(), &[&erasures]).await.unwrap();

    let world = guarded.sign_in(world, "admin");
    world.run_ok("admin", &["migrate"]).await;
    world.run_ok("admin", &["seed-demo", "--users", "5", "--tools", "2"]).await;
    let world = guarded.sign_in(world, "tools");
    let line = String::from_utf8(tool_uses(0, 1)[0].value.clone().unwrap()).unwrap();
    world.run_ok_with_input("emit", &["file", "-"], line.as_bytes()).await;
    guarded.produce("tools", &events).await.unwrap();
    guarded.produce("dashboard", &events).await.unwrap();

    let world = guarded.sign_in(world, "ingest");
    let mut worker = world.spawn("ingest", &["run"]);
    until_stored(&world, 1).await;
    eventually(PATIENCE, "two dead letters, and readiness", async || {
        let is_ready = worker.get("/healthz/ready").await.starts_with("HTTP/1.1 200");
        (is_ready && world.read_topic(&letters).await.len() == 2).then_some(())
    })
    .await;
    worker.stop(Duration::from_secs(10)).await;
    let said = worker.stderr();
    assert!(!said.contains("uthorization") && !said.contains("blind"), "{said}");

    let world = guarded.sign_in(world, "aggregator");
    let mut aggregator = world.spawn("aggregator", &["serve"]);
    eventually(PATIENCE, "an aggregator that is ready", async || {
        aggregator.get("/healthz/ready").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    aggregator.stop(Duration::from_secs(10)).await;

    let world = guarded.sign_in(world, "admin");
    assert!(world.run_ok("admin", &["dead-letters", "list"]).await.contains('2'));
    world.run_ok("admin", &["dead-letters", "replay"]).await;
    let report = world.run("admin", &["doctor", "--json"]).await.stdout;
    let report: Value = serde_json::from_str(&report).unwrap();
    let unread = report["findings"].as_array().unwrap().iter().find(|found| found["check"] == "unread events").unwrap();
    assert_eq!(unread["state"], "green", "{unread}");

    let world = guarded.sign_in(world, "privacy_officer");
    let person = demo::user_id(3).to_hex();
    world.run_ok("admin", &["privacy", "erase", "--user", &person, "--mode", "delete", "--yes"]).await;
    world.run_ok("admin", &["privacy", "reapply"]).await;
    assert!(world.db().collection::<Document>("erasures").count_documents(doc! {}).await.unwrap() >= 1);

    let world = backup_and_recover(&guarded, world).await;
    let world = guarded.sign_out(world);
    // Something to read, where the readers below look.
    let first = [Message { partition: Some(0), ..Message::new("key", "value") }];
    for topic in [&events, &letters] {
        topic::produce(world.brokers(), topic, &first).await.unwrap();
    }
    guarded.consume("ingest", &events).await.unwrap();

    for (user, forbidden) in [
        ("tools", [&letters, &erasures].as_slice()),
        ("dashboard", &[&letters, &erasures]),
        ("ingest", &[&events, &erasures]),
        ("aggregator", &[&events, &letters, &erasures]),
        ("admin", &[&letters, &erasures]),
        ("privacy_officer", &[&events, &letters]),
        ("backup", &[&events, &letters, &erasures]),
        ("recovery", &[&events, &letters]),
    ] {
        for topic in forbidden {
            let answer = guarded.produce(user, topic).await;
            assert!(is_refused(answer), "{user} may write to {topic}: {answer:?}");
        }
    }
    for (user, forbidden) in [
        ("tools", [&events, &letters, &erasures].as_slice()),
        ("dashboard", &[&events, &letters, &erasures]),
        ("ingest", &[&letters]),
        ("aggregator", &[&events, &letters]),
        ("admin", &[&events, &erasures]),
        ("privacy_officer", &[&events, &letters]),
        ("backup", &[&events, &letters, &erasures]),
        ("recovery", &[&letters]),
    ] {
        let answers = join_all(forbidden.iter().map(|topic| guarded.consume(user, topic))).await;
        assert!(answers.iter().all(|answer| is_refused(*answer)), "{user} may read one of {forbidden:?}: {answers:?}");
    }
    for user in USERS {
        let answer = guarded.create_topic(user).await;
        assert!(is_refused(answer), "{user} may create a topic: {answer:?}");
    }
    drop(world);
}

async fn backup_and_recover(guarded: &Guarded, world: World) -> World {
    let directory = world.directory().join("backups");
    std::fs::create_dir(&directory).unwrap();
    let identity = world.directory().join("identity");
    let made = ["backup", "create-identity", "--out", identity.to_str().unwrap(), "--json"];
    let made: Value = serde_json::from_str(&world.run_ok("admin", &made).await).unwrap();
    let world = guarded
        .sign_in(world, "backup")
        .with_env("BACKUP__STORAGE", &format!("file://{}", directory.display()))
        .with_env("BACKUP__RECIPIENT", made["recipient"].as_str().unwrap())
        .with_env("BACKUP__IDENTITY_FILE", identity.to_str().unwrap());
    world.run_ok("admin", &["backup", "run", "--full"]).await;
    let world = guarded.sign_in(world, "recovery");
    world.run_ok("admin", &["recover", "--to", "latest", "--yes"]).await;
    world
}
