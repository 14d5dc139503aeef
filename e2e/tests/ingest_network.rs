//! The real worker behind a network that is cut: from Kafka, from MongoDB, and from both, for longer than the group waits.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::Duration;

use e2e::eventually::{PATIENCE, eventually};
use e2e::load::{stored, tool_uses, until_committed, until_stored};
use e2e::servers::{Cut, Kafka, KafkaOptions, Network, ReplicaSet, ReplicaSetOptions};
use e2e::world::{Running, World};

struct Cables {
    mongodb: ReplicaSet,
    kafka: Kafka,
    to_mongodb: Network,
    to_kafka: Network,
}

async fn servers() -> Cables {
    let (to_mongodb, to_kafka) = (Network::default(), Network::default());
    let set = ReplicaSetOptions { network: Some(to_mongodb.clone()), ..ReplicaSetOptions::default() };
    let broker = KafkaOptions { network: Some(to_kafka.clone()), ..KafkaOptions::default() };
    let (mongodb, kafka) = tokio::try_join!(ReplicaSet::start(set), Kafka::start(broker)).unwrap();
    Cables { mongodb, kafka, to_mongodb, to_kafka }
}

async fn world_on(cables: &Cables) -> World {
    let world = World::on("network", &cables.mongodb.uri(), &cables.kafka.brokers()).await;
    let world = world.with_env("KAFKA__BROKERS", &cables.kafka.proxied_brokers());
    world.run_ok("admin", &["migrate"]).await;
    world
}

async fn until(worker: &Running, metric: &str, is_as_wanted: impl Fn(f64) -> bool) {
    eventually(PATIENCE, metric, async || worker.metric(metric).await.filter(|value| is_as_wanted(*value))).await;
}

const PAUSED: &str = "devtoolkit_ingest_paused";
const ASSIGNED: &str = "devtoolkit_ingest_assigned_partitions";
const LOST: &str = "devtoolkit_ingest_rebalances_total{kind=\"lost\"}";
const WITHOUT_PROGRESS: &str = "devtoolkit_ingest_without_progress_seconds";

#[tokio::test]
async fn partitions_that_were_paused_and_lost_are_read_when_they_come_back() {
    let cables = servers().await;
    let world = world_on(&cables).await;
    let mut worker = world.spawn("ingest", &["run"]);
    world.produce(&tool_uses(0, 1_000)).await;
    until_stored(&world, 1_000).await;

    let pid = worker.process.pid();
    cables.to_mongodb.cut(pid, Cut::BlackHole).unwrap();
    world.produce(&tool_uses(1_000, 40_000)).await;
    until(&worker, PAUSED, |paused| paused > 0.0).await;
    cables.to_kafka.cut(pid, Cut::BlackHole).unwrap();
    until(&worker, LOST, |lost| lost > 0.0).await;
    cables.to_mongodb.restore(pid);
    until(&worker, PAUSED, |paused| paused == 0.0).await;
    cables.to_kafka.restore(pid);
    until(&worker, ASSIGNED, |assigned| assigned > 0.0).await;

    world.produce(&tool_uses(41_000, 1_000)).await;
    until_stored(&world, 42_000).await;
    until_committed(&world).await;
    worker.stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_worker_that_is_cut_off_either_server_goes_on_by_itself() {
    let cables = servers().await;
    let world = world_on(&cables).await;
    let mut worker = world.spawn("ingest", &["run"]);
    world.produce(&tool_uses(0, 1_000)).await;
    until_stored(&world, 1_000).await;

    let pid = worker.process.pid();
    let mut sent = 1_000;
    // Each cut lasts until the worker shows it: without progress for 12 s, or its partitions lost once more.
    let cuts = [
        (&cables.to_mongodb, Cut::BlackHole, WITHOUT_PROGRESS, 12.0),
        (&cables.to_kafka, Cut::BlackHole, LOST, 0.0),
        (&cables.to_mongodb, Cut::Reset, WITHOUT_PROGRESS, 12.0),
        (&cables.to_kafka, Cut::Reset, LOST, 1.0),
    ];
    for (network, cut, metric, least) in cuts {
        network.cut(pid, cut).unwrap();
        world.produce(&tool_uses(sent, 1_000)).await;
        sent += 1_000;
        until(&worker, metric, |value| value > least).await;
        assert!(stored(&world).await < u64::try_from(sent).unwrap(), "the worker is not cut off");
        network.restore(pid);
        until_stored(&world, sent).await;
    }
    until_committed(&world).await;
    assert!(world.read_topic(&world.dead_letter_topic()).await.is_empty(), "a good event was dead-lettered");
    worker.stop(Duration::from_secs(10)).await;
}
