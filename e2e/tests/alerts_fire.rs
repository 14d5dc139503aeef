//! The alerts on real servers: each fault is caused, seen by whoever Alertmanager tells, and seen to be over.
//!
//! The shipped expressions run as they are, with every wait and window divided, so that a quarter of an hour is 15 seconds.
//!
//! Alone: `./dev test --test alerts_fire -- --ignored`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "tests and their helpers")]

#[path = "wires/certificates.rs"]
mod certificates;
#[path = "alerts/receiver.rs"]
mod receiver;
#[path = "rollup/events.rs"]
mod rollup_events;

use std::path::Path;
use std::time::{Duration, SystemTime};

use bson::{DateTime, Document, doc};
use certificates::Authority;
use chrono::{TimeDelta, Utc};
use common::day::Day;
use e2e::load::{bad, tool_uses, tool_uses_at, until_committed, until_stored};
use e2e::servers::alertmanager::AlertmanagerOptions;
use e2e::servers::monitoring::{Monitoring, MonitoringOptions};
use e2e::servers::{Home, Kafka, KafkaOptions, Ownership, ReplicaSet, ReplicaSetOptions, free_port};
use e2e::topic::{self, Message};
use e2e::world::{Running, World};
use futures::future::join_all;
use mongodb::Client;
use receiver::Receiver;
use serde_json::{Value, json};
use tokio::net::TcpStream;

const FASTER: u32 = 60;
const DAY: Duration = Duration::from_secs(86_400);
const STOP: Duration = Duration::from_secs(20);

/// What a set needs for an exporter, and for faults that only a fail point can cause.
fn monitored() -> ReplicaSetOptions {
    let extra_args = ["--setParameter", "enableTestCommands=1"].map(str::to_owned).to_vec();
    ReplicaSetOptions { monitored: true, extra_args, ..ReplicaSetOptions::default() }
}

/// A program of the world on a port of its own, so that it can be replaced where Prometheus looks for it.
struct Program<'a> {
    world: &'a World,
    name: &'static str,
    address: String,
}

impl<'a> Program<'a> {
    fn new(world: &'a World, name: &'static str) -> Self {
        Self { world, name, address: format!("127.0.0.1:{}", free_port().unwrap()) }
    }

    fn start(&self, task: &str, settings: &[(&str, &str)]) -> Running {
        let mut command = self.world.command(self.name);
        command.args(task.split(' ')).env("DEVTOOLKIT__TELEMETRY__LISTEN", &self.address);
        command.envs(settings.iter().map(|(key, value)| (format!("DEVTOOLKIT__{key}"), *value)));
        self.world.start(self.name, command)
    }
}

/// What watches, and who is told.
async fn watch(
    home: &Path,
    mongodb_uri: &str,
    ingest: &[&Program<'_>],
    aggregator: &[&Program<'_>],
    backup: &[&Program<'_>],
) -> (Monitoring, Receiver) {
    let addresses = |programs: &[&Program<'_>]| programs.iter().map(|program| program.address.clone()).collect();
    let receiver = Receiver::start().await;
    let options = MonitoringOptions {
        mongodb_uri: mongodb_uri.to_owned(),
        ingest: addresses(ingest),
        aggregator: addresses(aggregator),
        dashboard: Vec::new(),
        backup: addresses(backup),
        certificates: Vec::new(),
        alerts: alerts(&receiver),
    };
    (Monitoring::start(&home.join("monitoring"), Ownership::Owned, &options).await.unwrap(), receiver)
}

fn alerts(receiver: &Receiver) -> AlertmanagerOptions {
    AlertmanagerOptions { page_url: receiver.url("page"), ticket_url: receiver.url("ticket"), faster: FASTER }
}

async fn command(uri: &str, command: Document) -> Document {
    Client::with_uri_str(uri).await.unwrap().database("admin").run_command(command).await.unwrap()
}

fn alone(address: &str) -> String {
    format!("mongodb://{address}/?directConnection=true")
}

async fn members_that_fail() {
    let mut mongodb = ReplicaSet::start(ReplicaSetOptions {
        members: 3,
        // The first stays primary when nothing happens.
        priorities: vec![2.0, 1.0, 1.0],
        extra_args: [monitored().extra_args, vec!["--maxConns".to_owned(), "200".to_owned()]].concat(),
        ..monitored()
    })
    .await
    .unwrap();
    let home = Home::temporary("members").unwrap();
    let (_monitoring, told) = watch(home.path(), &mongodb.uri(), &[], &[], &[]).await;

    // The third does not take over what the first writes; the second has hardly a connection left.
    let third = alone(&mongodb.member(2).address());
    let apply = |mode: &str| doc! { "configureFailPoint": "rsSyncApplyStop", "mode": mode };
    command(&third, apply("alwaysOn")).await;
    let second = mongodb.member(1).address();
    let connections = join_all((0..160).map(|_| TcpStream::connect(&second))).await;
    told.firing("ticket", &["MongodbReplicationLag", "MongodbConnectionsNearLimit"]).await;
    command(&third, apply("off")).await;
    drop(connections);
    told.resolved(&["MongodbReplicationLag", "MongodbConnectionsNearLimit"]).await;

    mongodb.member(0).kill().unwrap();
    told.firing("ticket", &["MongodbMemberDown", "MongodbFailover"]).await;
    mongodb.member(1).kill().unwrap();
    told.firing("page", &["MongodbNoPrimary"]).await;
    for member in 0..2 {
        mongodb.member(member).start().await.unwrap();
    }
    told.resolved(&["MongodbNoPrimary", "MongodbMemberDown", "MongodbFailover"]).await;
}

#[tokio::test]
#[ignore = "minutes of waiting, beside the other tests in ./dev test"]
async fn events_that_do_not_arrive() {
    let (mongodb, mut kafka) =
        tokio::try_join!(ReplicaSet::start(monitored()), Kafka::start(KafkaOptions::default())).unwrap();
    let world = World::on("alerts", &mongodb.uri(), &kafka.brokers()).await;
    world.run_ok("admin", &["migrate"]).await;
    let ingest = Program::new(&world, "ingest");
    let mut worker = ingest.start("run", &[]);
    let (mut monitoring, told) = watch(world.directory(), &mongodb.uri(), &[&ingest], &[], &[]).await;
    monitoring.until_scraped("ingest").await;

    // A tool that sends nonsense, and a query without an index.
    world.produce(&tool_uses(0, 200)).await;
    let nonsense = async {
        loop {
            world.produce(&(0..20).map(bad).collect::<Vec<_>>()).await;
            slow_query(&world).await;
        }
    };
    tokio::select! {
        () = nonsense => {}
        () = query_slowly(&world) => {}
        () = query_slowly(&world) => {}
        () = told.firing("ticket", &["DeadLetters", "MongodbSlowQueries"]) => {}
    }

    // No worker; then one that is too slow for what has gathered.
    worker.stop(STOP).await;
    told.firing("page", &["IngestDown"]).await;
    let earlier = Utc::now() - TimeDelta::minutes(20);
    world.produce(&tool_uses_at(earlier, 1_000, 20_000)).await;
    worker = ingest.start("run", &[("INGEST__MAX_EVENTS_PER_SECOND", "50")]);
    told.resolved(&["IngestDown"]).await;
    told.firing("ticket", &["IngestDelayed"]).await;
    worker.stop(STOP).await;
    worker = ingest.start("run", &[]);
    until_stored(&world, 20_200).await;
    told.resolved(&["IngestDelayed", "DeadLetters", "MongodbSlowQueries"]).await;

    // MongoDB is there, and takes nothing; its exporter is not.
    let full_disk = |mode: &str| {
        let data = doc! { "failCommands": ["insert"], "errorCode": 14_031, "appName": "devtoolkit-analytics" };
        doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data }
    };
    command(&mongodb.uri(), full_disk("alwaysOn")).await;
    world.produce(&tool_uses(30_000, 1_000)).await;
    monitoring.exporters[0].kill().unwrap();
    told.firing("ticket", &["TargetDown"]).await;
    monitoring.exporters[0].restart().await.unwrap();
    told.firing("page", &["IngestStalled"]).await;
    command(&mongodb.uri(), full_disk("off")).await;
    told.resolved(&["IngestStalled", "TargetDown"]).await;

    // Each letter was made before the broker has it, and so it refuses each as too old.
    let letters = world.dead_letter_topic();
    topic::set_config(world.brokers(), &letters, &[("message.timestamp.before.max.ms", "0")]).await.unwrap();
    world.produce(&[bad(0)]).await;
    told.firing("ticket", &["DeadLettersNotTaken"]).await;
    topic::set_config(world.brokers(), &letters, &[]).await.unwrap();
    told.resolved(&["DeadLettersNotTaken"]).await;

    kafka.kill().unwrap();
    told.firing("page", &["KafkaUnreachable"]).await;
    kafka.restart().await.unwrap();
    told.resolved(&["KafkaUnreachable"]).await;
    until_committed(&world).await;
    worker.stop(STOP).await;
}

async fn nothing_comes_and_nothing_can_be_read() {
    let (mongodb, mut kafka) =
        tokio::try_join!(ReplicaSet::start(monitored()), Kafka::start(KafkaOptions::default())).unwrap();
    let world = World::on("alerts-quiet", &mongodb.uri(), &kafka.brokers()).await;
    world.run_ok("admin", &["migrate"]).await;
    events_of_yesterday(&world.directory().join("monitoring/prometheus/data"));
    let ingest = Program::new(&world, "ingest");
    let mut worker = ingest.start("run", &[]);
    let (_monitoring, told) = watch(world.directory(), &mongodb.uri(), &[&ingest], &[], &[]).await;
    world.produce(&tool_uses(0, 100)).await;
    told.firing("ticket", &["NoEvents"]).await;
    world.produce(&tool_uses(100, 100)).await;
    told.resolved(&["NoEvents"]).await;

    // Retention removes what a worker that is away has not read.
    until_committed(&world).await;
    worker.stop(STOP).await;
    let unread = tool_uses(200, 100).into_iter().map(|message| Message { partition: Some(0), ..message });
    world.produce(&unread.collect::<Vec<_>>()).await;
    let (_, end) = world.progress().await[0];
    topic::remove_before(world.brokers(), &world.topic(), 0, end - 10).await.unwrap();
    worker = ingest.start("run", &[]);
    told.firing("page", &["EventsExpiredUnread"]).await;
    told.resolved(&["EventsExpiredUnread"]).await;

    // Its connections stay open.
    kafka.pause().unwrap();
    told.firing("page", &["IngestReadsNothing"]).await;
    kafka.resume().unwrap();
    told.resolved(&["IngestReadsNothing"]).await;
    worker.stop(STOP).await;
}

/// What Prometheus would have scraped a day ago, which takes 24 minutes here.
fn events_of_yesterday(data: &Path) {
    let now = Utc::now().timestamp();
    let sample = |number: i64| {
        let time = now - i64::from(86_400 / FASTER) + 5 * (number - 180);
        format!("devtoolkit_ingest_events_total{{job=\"ingest\",instance=\"yesterday\"}} {} {time}\n", 100 * number)
    };
    // From a quarter of an hour before that time to a quarter of an hour after it.
    let samples: String = (0..360).map(sample).collect();
    std::fs::create_dir_all(data).unwrap();
    let file = data.join("yesterday");
    std::fs::write(&file, format!("# TYPE devtoolkit_ingest_events counter\n{samples}# EOF\n")).unwrap();
    let mut promtool = std::process::Command::new("promtool");
    promtool.args(["tsdb", "create-blocks-from", "openmetrics"]).args([&file, data]);
    let output = promtool.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Without end. On a busy machine one query after each message would be too few for the alert.
async fn query_slowly(world: &World) {
    loop {
        slow_query(world).await;
    }
}

/// Takes longer than what the profiler lets pass.
async fn slow_query(world: &World) {
    let documents = world.db().collection::<Document>("usage_analytics");
    documents.find_one(doc! { "$where": "sleep(250) || true" }).await.unwrap();
}

async fn days_that_are_not_rolled_up() {
    let world = rollup_events::world("alerts-rollup").await.with_env("AGGREGATOR__REFRESH", "2s");
    let (dirty, yesterday) = (Day::yesterday().minus(2), Day::yesterday());
    for day in [dirty, dirty.plus(1), yesterday] {
        rollup_events::store(world.db(), &rollup_events::random(day, 20, 1)).await;
    }
    world.run_ok("aggregator", &["run", "--date", &dirty.to_string()]).await;
    // The clock cannot be turned, so the mark of late events is dated back.
    let late = doc! { "$set": { "dirtySince": DateTime::from_millis(Utc::now().timestamp_millis() - 2 * 3_600_000) }, "$inc": { "dirtyMarks": 1 } };
    let states = world.db().collection::<Document>("rollup_days");
    states.update_one(doc! { "_id": dirty.to_string() }, late).await.unwrap();
    // Somebody's validator refuses every daily document.
    let refuse = doc! { "collMod": "system_analytics", "validator": { "nobody": { "$exists": true } }, "validationLevel": "strict" };
    world.db().run_command(refuse).await.unwrap();

    let aggregator = Program::new(&world, "aggregator");
    let mut serving = aggregator.start("serve", &[]);
    let (_monitoring, told) = watch(world.directory(), world.mongo_uri(), &[], &[&aggregator], &[]).await;
    told.firing("ticket", &["RollupFailing", "RollupLate", "DayDirtyTooLong"]).await;
    world.run_ok("admin", &["migrate"]).await;
    // Today too: five failed attempts, and `serve` leaves a day for the night.
    world.run_ok("aggregator", &["run", "--from", &dirty.to_string(), "--to", &Day::today().to_string()]).await;
    told.resolved(&["RollupFailing", "RollupLate", "DayDirtyTooLong"]).await;

    let guesses = async {
        loop {
            rollup_events::store(world.db(), &failed_logins()).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = guesses => {}
        () = told.firing("ticket", &["SuspiciousLogins"]) => {}
    }
    told.resolved(&["SuspiciousLogins"]).await;

    serving.stop(STOP).await;
    told.firing("ticket", &["AggregatorDown", "FailedLoginsUnseen"]).await;
    serving = aggregator.start("serve", &[]);
    told.resolved(&["AggregatorDown", "FailedLoginsUnseen"]).await;
    serving.stop(STOP).await;
}

/// Guesses at one account, nine of the ten minutes ago that the metrics look back on: they are forgotten in a minute.
fn failed_logins() -> Vec<Value> {
    let time = (Utc::now() - TimeDelta::minutes(9)).to_rfc3339();
    let event = |_| {
        json!({
            "specversion": "1.0", "id": rand::random::<u64>().to_string(), "source": "/guesses",
            "type": "com.devtoolkit.activity.v1", "time": time,
            "data": { "userId": "65a000000000000000000001", "action": "login_failed" },
        })
    };
    (0..12).map(event).collect()
}

async fn passwords_that_are_wrong_and_certificates_that_end() {
    let home = Home::temporary("alerts-wires").unwrap();
    let authority = Authority::new(home.path(), "known");
    let certificate = authority.server("mongodb.pem", SystemTime::now() + 10 * DAY);
    let key_file = home.path().join("keyfile");
    std::fs::write(&key_file, "c2VjcmV0IG9mIHRoZSBtZW1iZXJz").unwrap();
    std::fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let path = |path: &Path| path.display().to_string();
    let (certificate, key_file, ca_file) = (path(&certificate), path(&key_file), path(&authority.ca_file()));
    let extra_args = [
        "--tlsMode",
        "requireTLS",
        "--tlsCertificateKeyFile",
        &certificate,
        "--tlsCAFile",
        &ca_file,
        "--tlsAllowConnectionsWithoutCertificates",
        "--keyFile",
        &key_file,
    ];
    let uri_options = format!("tls=true&tlsCAFile={ca_file}");
    let mut mongodb = ReplicaSet::start(ReplicaSetOptions {
        extra_args: extra_args.map(str::to_owned).to_vec(),
        uri_options: uri_options.clone(),
        monitored: true,
        ..ReplicaSetOptions::default()
    })
    .await
    .unwrap();
    let user = doc! { "createUser": "watcher", "pwd": "secret", "roles": ["root"] };
    command(&mongodb.uri(), user).await;
    let address = mongodb.member(0).address();
    let told = Receiver::start().await;
    let options = MonitoringOptions {
        mongodb_uri: format!("mongodb://watcher:secret@{address}/?{uri_options}"),
        ingest: Vec::new(),
        aggregator: Vec::new(),
        dashboard: Vec::new(),
        backup: Vec::new(),
        certificates: vec![address.clone()],
        alerts: alerts(&told),
    };
    let monitoring = Monitoring::start(&home.path().join("monitoring"), Ownership::Owned, &options).await.unwrap();
    monitoring.until_scraped("mongodb").await;
    let wrong = format!("mongodb://watcher:wrong@{address}/?directConnection=true&{uri_options}");
    let guesses = async {
        loop {
            let client = Client::with_uri_str(&wrong).await.unwrap();
            assert!(client.database("admin").run_command(doc! { "ping": 1 }).await.is_err());
        }
    };
    tokio::select! {
        () = guesses => {}
        () = told.firing("ticket", &["MongodbFailedAuthentications", "CertificateExpires"]) => {}
    }
    authority.server("mongodb.pem", SystemTime::now() + 365 * DAY);
    mongodb.member(0).stop().await.unwrap();
    mongodb.member(0).start().await.unwrap();
    told.resolved(&["MongodbFailedAuthentications", "CertificateExpires"]).await;
}

#[tokio::test]
#[ignore = "minutes of waiting, beside the other tests in ./dev test"]
async fn backups_that_are_not_made() {
    let world = World::new("alerts-backup").await.with_backups().await.with_env("BACKUP__SLICE_INTERVAL", "1s");
    world.db().collection::<Document>("marks").insert_one(doc! { "_id": 1 }).await.unwrap();
    world.run_ok("admin", &["backup", "run", "--full"]).await;
    let full = world.directory().join("backups/full");
    let full = std::fs::read_dir(full).unwrap().next().unwrap().unwrap().path();
    date_back(&full);
    // Nothing follows, because a recovery is not finished.
    let recovery = world.db().collection::<Document>("recovery");
    let unfinished = doc! {
        "_id": "recovery", "what": "a second", "begun": "2026-01-15T10:30:00Z", "steps": ["renaming"], "consumed": null,
    };
    recovery.insert_one(unfinished).await.unwrap();
    let backup = Program::new(&world, "admin");
    let mut schedule = backup.start("backup schedule", &[]);
    let (_monitoring, told) = watch(world.directory(), world.mongo_uri(), &[], &[], &[&backup]).await;
    told.firing("ticket", &["BackupLate", "BackupFullLate", "BackupRehearsalLate"]).await;
    recovery.delete_many(doc! {}).await.unwrap();
    told.firing("ticket", &["BackupHole"]).await;
    told.resolved(&["BackupLate", "BackupFullLate"]).await;
    world.run_ok("admin", &["backup", "rehearse"]).await;
    told.resolved(&["BackupRehearsalLate"]).await;

    let object = full.join("000000.zst.age");
    let bytes = std::fs::read(&object).unwrap();
    std::fs::write(&object, &bytes[1..]).unwrap();
    told.firing("ticket", &["BackupDamaged"]).await;
    std::fs::remove_dir_all(&full).unwrap();
    told.resolved(&["BackupHole", "BackupDamaged"]).await;

    schedule.stop(STOP).await;
    told.firing("ticket", &["BackupDown"]).await;
    schedule = backup.start("backup schedule", &[]);
    told.resolved(&["BackupDown"]).await;
    schedule.stop(STOP).await;
}

/// A full backup of three days ago: the clock cannot be turned.
fn date_back(full: &Path) {
    let names = || std::fs::read_dir(full).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let name = names().find(|name| name.starts_with("manifest-")).unwrap();
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(full.join(&name)).unwrap()).unwrap();
    let then = Utc::now() - TimeDelta::days(3);
    manifest["started"] = json!(then);
    for end in ["begin", "to"] {
        manifest[end] = json!(format!("{}.1.1", then.timestamp()));
    }
    let text = serde_json::to_vec(&manifest).unwrap();
    let (counts, _) = name.rsplit_once('-').unwrap();
    std::fs::remove_file(full.join(&name)).unwrap();
    std::fs::write(full.join(format!("{counts}-{}.json", backup::hash::sha256(&text))), text).unwrap();
}

/// Side by side: each of them waits most of the time.
#[tokio::test]
#[ignore = "minutes of waiting, beside the other tests in ./dev test"]
async fn everything_else() {
    tokio::join!(
        members_that_fail(),
        nothing_comes_and_nothing_can_be_read(),
        days_that_are_not_rolled_up(),
        passwords_that_are_wrong_and_certificates_that_end()
    );
}
