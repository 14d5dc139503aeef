//! docker-compose.yml on a real engine: `./dev compose-check`. The images are stand-ins where no registry is to be had.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

#[path = "compose_on_docker/engine.rs"]
mod engine;
#[path = "compose_on_docker/project.rs"]
mod project;

use std::path::Path;
use std::time::{Duration, Instant};

use common::day::Day;
use e2e::eventually::eventually;
use e2e::world::program_path;
use engine::Engine;
use project::Project;
use tokio::time::sleep;

/// They tell about this machine, which other work keeps busy and whose disk is not the test's: not about the file.
const OF_THE_MACHINE: [&str; 3] = ["MongodbStorageFilling", "MongodbStorageAlmostFull", "MongodbSlowQueries"];

/// Says what comes next, after how many seconds.
struct Progress(Instant);

impl Progress {
    fn say(&self, what: &str) {
        println!("{:>5} s  {what}", self.0.elapsed().as_secs());
    }
}

#[tokio::test]
#[ignore = "needs root, Docker and half an hour: ./dev compose-check"]
async fn the_file_as_it_is_counts_events_and_survives_faults() {
    let progress = Progress(Instant::now());
    progress.say("start an engine");
    let engine = Engine::start().await;
    progress.say("make the images");
    engine.make_images(Path::new(&program_path("ingest")).parent().unwrap());
    let project = Project::new(&engine, "022");
    // What an earlier run left behind, if it was killed.
    project.compose(&["down", "--volumes", "--remove-orphans"]);

    progress.say("a checkout whose files are closed is refused");
    a_closed_checkout_is_refused(&engine);

    progress.say("build, and up");
    project.compose(&["build"]);
    up(&project, &progress).await;
    nobody_may_more_than_it_needs(&project);

    progress.say("events of yesterday, and live events for two minutes");
    project.compose(&["run", "--rm", "-T", "admin", "seed-demo"]);
    let mut sent = project.send(&["--events", "20000"]).delivered();
    project.until_stored(sent).await;
    sent += project.send_live(2, 200, 120).delivered();
    project.until_stored(sent).await;
    progress.say("the roll-up of yesterday, within aggregator.refresh, and no alert");
    until_rolled_up(&project).await;
    let alerts = project.alerts("firing|pending");
    let ours: Vec<_> = alerts.iter().filter(|alert| !OF_THE_MACHINE.contains(&alert.as_str())).collect();
    assert!(ours.is_empty(), "all is well, but for {ours:?}");

    for (seed, service) in [(10, "ingest-1".to_owned()), (11, "kafka".to_owned()), (12, project.primary())] {
        progress.say(&format!("{service} is killed"));
        let load = project.send_live(seed, 500, 60);
        sleep(Duration::from_secs(10)).await;
        let before = project.inspect(&service)["RestartCount"].as_u64().unwrap();
        project.crash(&service);
        eventually(Duration::from_secs(60), "restart", async || {
            (project.inspect(&service)["RestartCount"].as_u64().unwrap() > before).then_some(())
        })
        .await;
        project.until_health(&service, "healthy").await;
        sent += load.delivered();
        project.until_stored(sent).await;
    }

    let primary = project.primary();
    progress.say(&format!("{primary}, the primary, is paused for 90 s"));
    let load = project.send_live(13, 300, 120);
    engine.docker(&["pause", &project.container(&primary)]);
    sleep(Duration::from_secs(90)).await;
    engine.docker(&["unpause", &project.container(&primary)]);
    sent += load.delivered();
    project.until_all_are_healthy().await;
    project.until_stored(sent).await;
    no_failed_logins(&project).await;

    progress.say("ingest-2 is cut off for two minutes");
    let load = project.send_live(14, 300, 150);
    project.cut("ingest-2");
    let cut = Instant::now();
    project.until_health("ingest-2", "unhealthy").await;
    progress.say(&format!("ingest-2 is unhealthy after {} s", cut.elapsed().as_secs()));
    sleep(Duration::from_secs(120).saturating_sub(cut.elapsed())).await;
    project.mend("ingest-2");
    project.until_health("ingest-2", "healthy").await;
    sent += load.delivered();
    project.until_stored(sent).await;
    nothing_is_left_unread(&project).await;

    a_member_catches_up(&project, &progress, &mut sent).await;

    progress.say("twenty-five logins with a wrong password raise an alert");
    no_failed_logins(&project).await;
    for _ in 0..25 {
        refuse_a_login(&project);
    }
    eventually(Duration::from_secs(120), "alert", async || failed_logins(&project).then_some(())).await;

    progress.say("down, and up again");
    project.compose(&["down"]);
    up(&project, &progress).await;
    project.until_stored(sent).await;
    sent += project.send_live(20, 500, 10).delivered();
    project.until_stored(sent).await;
    until_rolled_up(&project).await;
    let volumes = engine.docker(&["volume", "ls", "--quiet"]);
    assert!(volumes.lines().all(|volume| volume.starts_with("check_")), "left behind: {volumes}");

    progress.say("up while port 3000 is taken");
    project.compose(&["down"]);
    a_port_that_is_taken_stops_no_program(&project).await;
    project.until_stored(sent).await;

    project.compose(&["down", "--volumes"]);
    assert_eq!(engine.docker(&["volume", "ls", "--quiet"]), "");
    progress.say(&format!("all is well: {sent} events sent and stored"));
}

async fn up(project: &Project<'_>, progress: &Progress) {
    let start = Instant::now();
    project.compose(&["up", "--detach"]);
    let up = start.elapsed();
    project.until_all_are_healthy().await;
    progress.say(&format!("up after {} s, all healthy after {} s", up.as_secs(), start.elapsed().as_secs()));
}

fn a_closed_checkout_is_refused(engine: &Engine) {
    let closed = Project::new(engine, "077");
    let output = closed.output(&["up", "--detach"]);
    let said = closed.compose(&["logs", "secrets"]);
    assert!(!output.status.success(), "a closed checkout started");
    assert!(said.contains("chmod -R go+rX config docs"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    closed.compose(&["down", "--volumes"]);
}

/// As the kernel sees them.
fn nobody_may_more_than_it_needs(project: &Project<'_>) {
    for service in project.services() {
        let container = project.container(&service);
        if container.is_empty() {
            continue;
        }
        let container = project.inspect(&service);
        let (host, config) = (&container["HostConfig"], &container["Config"]);
        assert_eq!(host["CapDrop"], serde_json::json!(["ALL"]), "{service}");
        assert_eq!(host["ReadonlyRootfs"], true, "{service}");
        assert_eq!(host["Privileged"], false, "{service}");
        assert_eq!(host["Memory"], host["MemorySwap"], "{service}");
        assert!(host["Memory"].as_u64().unwrap() > 0, "{service}");
        if service == "secrets" {
            assert_eq!(host["CapAdd"], serde_json::json!(["CHOWN"]));
            assert_eq!(host["NetworkMode"], "none");
            continue;
        }
        assert!(host["CapAdd"].is_null(), "{service}");
        assert!(!["", "0", "root", "0:0"].contains(&config["User"].as_str().unwrap()), "{service}");
        if container["State"]["Running"] == true {
            let status = process_status(project, &service);
            let field = |name: &str| field(&status, name);
            assert_ne!(field("Uid:"), "0", "{service}");
            for set in ["CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
                assert_eq!(u64::from_str_radix(field(set), 16), Ok(0), "{service} {set}");
            }
            assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1", "2"), "{service}");
        }
    }
}

/// What the kernel says of the service's main process.
fn process_status(project: &Project<'_>, service: &str) -> String {
    let pid = &project.inspect(service)["State"]["Pid"];
    project.engine.beside_containers(&["cat", &format!("/proc/{pid}/status")])
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().nth(1).unwrap()
}

/// The serving aggregator has rolled yesterday up, and the numbers are right.
async fn until_rolled_up(project: &Project<'_>) {
    let yesterday = Day::yesterday().to_string();
    // aggregator.refresh is 5 minutes.
    eventually(Duration::from_secs(400), "roll-up of yesterday", async || {
        let verify = ["exec", "-T", "aggregator", "aggregator", "verify", "--date", &yesterday];
        project.output(&verify).status.success().then_some(())
    })
    .await;
}

/// No failed login is even suspected.
async fn no_failed_logins(project: &Project<'_>) {
    // Two scrapes after the fault.
    sleep(Duration::from_secs(35)).await;
    assert!(!failed_logins(project), "nobody had a wrong password");
}

fn failed_logins(project: &Project<'_>) -> bool {
    project.alerts("firing|pending").contains(&"MongodbFailedAuthentications".to_owned())
}

fn refuse_a_login(project: &Project<'_>) {
    let uri = "mongodb://ingest:wrong@mongodb-2/?directConnection=true";
    let member = project.container("mongodb-2");
    let mut docker = project.engine.command("docker");
    docker.args(["exec", "--env=HOME=/tmp", &member, "mongosh", "--quiet", "--norc", uri, "--eval", "1"]);
    let output = docker.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.contains("Authentication failed"), "{said}");
}

/// Every partition is read to its end, without a restart.
async fn nothing_is_left_unread(project: &Project<'_>) {
    let unread = "sum(devtoolkit_ingest_lag_messages)";
    eventually(Duration::from_secs(60), "lag of 0", async || {
        project.query(unread).iter().all(|(_, lag)| *lag == 0.0).then_some(())
    })
    .await;
    for worker in ["ingest-1", "ingest-2"] {
        let assigned = project.query(&format!("devtoolkit_ingest_assigned_partitions{{instance=~\"{worker}:.*\"}}"));
        assert!(assigned.iter().any(|(_, partitions)| *partitions > 0.0), "{worker} reads nothing: {assigned:?}");
    }
}

/// A member that comes back reads what it has missed within its memory limit.
async fn a_member_catches_up(project: &Project<'_>, progress: &Progress, sent: &mut u64) {
    let members = ["mongodb-1", "mongodb-2", "mongodb-3"];
    let primary = project.primary();
    // Questions are asked from mongodb-2.
    let member = members.into_iter().find(|member| *member != primary && *member != "mongodb-2").unwrap();
    progress.say(&format!("{member} is cut off for two minutes, under load"));
    let before = project.inspect(member)["RestartCount"].clone();
    let cut = Instant::now();
    project.cut(member);
    for seed in 30..33 {
        *sent += project.send(&["--events", "100000", "--seed", &seed.to_string()]).delivered();
    }
    project.until_health(member, "unhealthy").await;
    sleep(Duration::from_secs(120).saturating_sub(cut.elapsed())).await;
    project.mend(member);
    let back = Instant::now();
    let behind = "(s => Math.max(...s.members.map(m => s.date - m.optimeDate)))(rs.status())";
    eventually(Duration::from_secs(240), "catch-up", async || {
        let behind = project.mongosh(behind).ok()?.as_i64()?;
        (behind < 15_000).then_some(())
    })
    .await;
    project.until_stored(*sent).await;
    project.until_all_are_healthy().await;
    let container = project.inspect(member);
    let status = process_status(project, member);
    progress.say(&format!(
        "{member} has caught up after {} s; it took at most {} MiB of its {} MiB",
        back.elapsed().as_secs(),
        field(&status, "VmHWM:").parse::<u64>().unwrap() >> 10,
        container["HostConfig"]["Memory"].as_u64().unwrap() >> 20
    ));
    assert_eq!(container["State"]["OOMKilled"], false);
    assert_eq!(container["RestartCount"], before, "{member} was killed while it caught up");
}

async fn a_port_that_is_taken_stops_no_program(project: &Project<'_>) {
    let image = project.engine.docker(&["images", "--quiet", "grafana/grafana"]);
    let squatter = project.engine.docker(&["run", "--detach", "--publish=127.0.0.1:3000:3000", &image]);
    let output = project.output(&["up", "--detach"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("3000"), "{said}");
    for program in ["ingest-1", "ingest-2", "aggregator"] {
        project.until_health(program, "healthy").await;
    }
    let mut up = project.command(&["up", "--detach"]);
    let output = up.env("GRAFANA_PORT", "3001").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    project.until_all_are_healthy().await;
    project.engine.docker(&["rm", "--force", "--volumes", &squatter]);
}
