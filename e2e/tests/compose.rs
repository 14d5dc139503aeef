//! docker-compose.yml without Docker: what it says is sound, and its services, run as processes of this machine, start in
//! order, each with its own secrets and rights alone, and count events.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

#[path = "dashboard/browser.rs"]
mod browser;
#[path = "image/dockerfile.rs"]
mod dockerfile;
#[path = "compose/file.rs"]
mod file;
#[path = "compose/local.rs"]
mod local;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use browser::Browser;
use bson::{Document, doc};
use common::day::Day;
use dockerfile::{stage, value};
use e2e::eventually::{PATIENCE, eventually};
use e2e::http;
use e2e::servers::{Process, installed, repository};
use file::{ComposeFile, Service};
use local::Local;
use mongodb::error::{Error, ErrorKind};
use mongodb::{Client, Database};
use regex::Regex;
use serde::Deserialize;

const MEMBERS: [&str; 3] = ["mongodb-1", "mongodb-2", "mongodb-3"];
const EVENTS: u64 = 2_000;
const DAYS: u64 = 2;

#[test]
fn docker_compose_reads_it() {
    let file = repository().join("docker-compose.yml");
    let output = Command::new("docker-compose").arg("--file").arg(file).args(["config", "--quiet"]).output();
    let output = output.expect("docker-compose, which ./dev test installs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn what_it_names_is_there() {
    let file = ComposeFile::read();
    for (name, service) in &file.services {
        for mount in service.mounts() {
            if mount.is_path() {
                assert!(repository().join(mount.source).exists(), "{name} mounts {}", mount.source);
                assert!(mount.read_only, "{name} may write to {}", mount.source);
            } else {
                assert!(file.volumes.contains_key(mount.source), "{name}: no volume {}", mount.source);
            }
        }
        for network in &service.networks {
            assert!(file.networks.contains_key(network), "{name}: no network {network}");
        }
        if let Some(build) = &service.build {
            assert_eq!(build.context, ".", "{name}");
            assert!(!stage(&build.target).is_empty());
        }
    }
}

#[test]
fn versions_are_pinned_and_those_of_the_rest() {
    let file = ComposeFile::read();
    let exact = Regex::new(r":v?\d+\.\d+\.\d+$").unwrap();
    for (name, service) in &file.services {
        assert!(exact.is_match(&service.image), "{name}: {}", service.image);
    }
    let versions = |service: &str| file.services[service].image.rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(versions("ingest-1"), env!("CARGO_PKG_VERSION"));
    let kafka = fs::read_to_string(repository().join("config/servers/kafka-pom.xml")).unwrap();
    assert!(kafka.contains(&format!("<version>{}</version>", versions("kafka"))), "tests run on another Kafka");
    let exporter = versions("mongodb-exporter-1");
    let copied = value(&stage("mongodb-exporter"), "COPY");
    assert!(copied.starts_with(&format!("--from=percona/mongodb_exporter:{exporter} ")), "{copied}");
    let built = fs::read_to_string(repository().join("config/servers/monitoring/go.mod")).unwrap();
    for (module, version) in [
        ("percona/mongodb_exporter", format!("v{exporter}")),
        ("prometheus/alertmanager", versions("alertmanager")),
        ("prometheus/blackbox_exporter", versions("blackbox")),
    ] {
        assert!(built.contains(&format!("github.com/{module} {version} ")), "tests run another version of {module}");
    }
}

#[test]
fn each_image_is_built_once_or_has_a_registry() {
    let file = ComposeFile::read();
    for (name, service) in &file.services {
        let builders = file.services.values().filter(|other| other.image == service.image && other.build.is_some());
        let builders = builders.filter(|other| !other.is_on_demand()).count();
        assert!(builders <= 1, "{name}: {} is built {builders} times at once", service.image);
        assert_eq!(service.pull_policy == "never", builders == 1, "{name}: {} is in no registry", service.image);
        assert!(!service.is_on_demand() || service.build.is_some(), "{name} cannot run before `docker compose up`");
    }
}

#[test]
fn nobody_may_more_than_it_needs() {
    let file = ComposeFile::read();
    for (name, service) in &file.services {
        assert!(service.read_only, "{name} may write to its image");
        assert_eq!(service.cap_drop, ["ALL"], "{name}");
        assert_eq!(service.security_opt, ["no-new-privileges:true"], "{name}");
        assert!(!service.mem_limit.is_empty(), "{name} may take all memory");
        assert_eq!(service.memswap_limit, service.mem_limit, "{name} may take as much of the swap space");
        assert!(
            service.ulimits.is_empty(),
            "{name} does not start where the engine allows less than {:?}",
            service.ulimits
        );
        assert_eq!(service.logging["driver"], "local", "{name}'s log may fill the disk");
        let user = service.user.split(':').next().unwrap();
        if name == "secrets" {
            assert_eq!(
                (user, &service.cap_add[..], &service.network_mode[..]),
                ("0", &["CHOWN".to_owned()][..], "none")
            );
        } else {
            assert!(service.cap_add.is_empty(), "{name}");
            // The images that are built here name their user themselves: see image.rs.
            assert!(
                service.pull_policy == "never" || user.parse::<u32>().is_ok_and(|user| user > 0),
                "{name} is user {user:?}"
            );
        }
        for port in &service.ports {
            assert!(port.starts_with("127.0.0.1:"), "{name} is published at {port}");
        }
    }
    // Without a password: only who needs it reaches Kafka.
    let kafka = &file.services["kafka"];
    assert_eq!((&kafka.networks[..], kafka.ports.len()), (&["pipeline".to_owned()][..], 0));
    assert!(file.networks["pipeline"].internal);
    for outside in ["prometheus", "alertmanager", "grafana"] {
        assert_eq!(file.services[outside].networks, ["monitoring"]);
    }
}

#[test]
fn secrets_come_from_volumes_of_those_who_need_them() {
    for (name, service) in &ComposeFile::read().services {
        for (variable, value) in service.environment.iter().filter(|(variable, _)| variable.contains("PASSWORD")) {
            assert!(variable.ends_with("_FILE"), "{name} has a password in {variable}");
            assert!(service.mounts().any(|mount| value.starts_with(&format!("{}/", mount.target))), "{name}: {value}");
        }
        for mount in service.mounts().filter(|mount| mount.source.starts_with("secrets-")) {
            assert_eq!(mount.target, format!("/secrets/{}", &mount.source["secrets-".len()..]), "{name}");
            let makes = name == "secrets" || name == "backup-identity";
            assert!(mount.read_only || makes, "{name} may change {}", mount.source);
        }
    }
}

#[test]
fn prometheus_finds_what_is_to_be_watched_and_nothing_else() {
    let file = ComposeFile::read();
    let mut watched = BTreeSet::new();
    for targets in fs::read_dir(repository().join("config/prometheus/targets")).unwrap() {
        let text = fs::read_to_string(targets.unwrap().path()).unwrap();
        for group in serde_yaml_ng::from_str::<Vec<Targets>>(&text).unwrap() {
            let through = group.labels.get("__blackbox__").cloned();
            for target in group.targets.into_iter().chain(through) {
                let (host, port) = target.split_once(':').unwrap();
                assert_eq!(port, port_of(&file.services[host]), "{target}");
                assert!(file.services[host].networks.contains(&"monitoring".to_owned()), "{target} is out of reach");
                watched.insert(host.to_owned());
                if let Some(member) = group.labels.get("instance") {
                    let uri = &file.services[host].environment["MONGODB_URI"];
                    assert_eq!(uri, &format!("mongodb://{member}/"), "{host} shows another member");
                }
            }
        }
    }
    let reachable = file.services.iter().filter(|(_, service)| service.networks.contains(&"monitoring".to_owned()));
    let reachable: BTreeSet<String> =
        reachable.map(|(name, _)| name.clone()).filter(|name| name != "grafana").collect();
    assert_eq!(watched, reachable);
}

#[derive(Deserialize)]
struct Targets {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Where the service serves its metrics: beside its health, and to other machines.
fn port_of(service: &Service) -> &str {
    match service.healthcheck.as_ref().unwrap().test.last().unwrap().as_str() {
        "check-ready" => service.environment["DEVTOOLKIT__TELEMETRY__LISTEN"].strip_prefix("0.0.0.0:").unwrap(),
        url => url.rsplit_once(':').unwrap().1.split('/').next().unwrap(),
    }
}

#[test]
fn each_waits_for_what_it_needs() {
    let file = ComposeFile::read();
    for (name, service) in &file.services {
        assert_eq!(service.ends(), service.healthcheck.is_none(), "{name} either ends or tells its health");
        for (other, dependency) in &service.depends_on {
            let expected = match (file.services[other].ends(), service.ports.is_empty()) {
                (true, _) => "service_completed_successfully",
                (false, true) => "service_healthy",
                // It shows or watches the other one, whether that is well or not.
                (false, false) => "service_started",
            };
            assert_eq!(dependency.condition, expected, "{name} depends on {other}");
        }
        let needs_secrets = service.mounts().any(|mount| mount.source.starts_with("secrets-"));
        if needs_secrets && name != "secrets" && !service.is_on_demand() {
            assert!(waits_for(&file, service, "secrets"), "{name} may start before its secrets are there");
        }
    }
}

#[test]
fn a_port_that_is_taken_can_be_changed_and_stops_no_program() {
    let file = ComposeFile::read();
    let published = Regex::new(r"^127\.0\.0\.1:\$\{([A-Z]+)_PORT:-(\d+)\}:(\d+)$").unwrap();
    for (name, service) in file.services.iter().filter(|(_, service)| !service.ports.is_empty()) {
        for port in &service.ports {
            let parts = published.captures(port).unwrap_or_else(|| panic!("{name}: {port} cannot be set"));
            assert_eq!((parts[1].to_lowercase(), &parts[2]), (name.clone(), &parts[3]));
        }
        for program in ["ingest-1", "ingest-2", "aggregator"] {
            assert!(waits_for(&file, service, program), "{program} may wait for {name}");
        }
    }
}

/// What the official images declare as volumes: Docker makes one without a name for each that has no other place, and
/// leaves it behind.
#[test]
fn no_volume_is_left_behind() {
    for (name, service) in &ComposeFile::read().services {
        let declared: &[&str] = match service.image.split(':').next().unwrap() {
            "mongo" => &["/data/db", "/data/configdb"],
            "apache/kafka" => &["/etc/kafka/secrets", "/var/lib/kafka/data", "/mnt/shared/config"],
            "prom/prometheus" => &["/prometheus"],
            "prom/alertmanager" => &["/alertmanager"],
            _ => &[],
        };
        for directory in declared {
            let is_mounted = service.mounts().any(|mount| mount.target == *directory);
            let is_temporary = service.tmpfs.iter().any(|tmpfs| tmpfs.split(':').next() == Some(directory));
            assert!(is_mounted || is_temporary, "{name} leaves a volume behind for {directory}");
        }
    }
}

#[test]
fn who_is_cut_off_its_network_is_unhealthy() {
    for (name, service) in &ComposeFile::read().services {
        let Some(health) = &service.healthcheck else { continue };
        assert!(health.retries * health.interval_seconds() <= 30, "{name} stays healthy for too long");
        let asks_itself = health.test.join(" ").contains(&format!("/{name}"));
        // The programs are ready only when they reach the servers.
        let asks_others = health.test.last().is_some_and(|last| last == "check-ready");
        assert!(asks_itself || asks_others, "{name} asks only its loopback interface");
    }
}

fn waits_for(file: &ComposeFile, service: &Service, wanted: &str) -> bool {
    service.depends_on.keys().any(|other| other == wanted || waits_for(file, &file.services[other], wanted))
}

#[tokio::test]
async fn closed_files_of_the_checkout_are_named_with_the_command_that_opens_them() {
    let local = Local::new(ComposeFile::read());
    let checkout = local.path("secrets", "/checkout");
    for directory in ["config", "docs"] {
        fs::remove_file(checkout.join(directory)).unwrap();
        let copy = Command::new("cp").arg("-r").arg(repository().join(directory)).arg(&checkout).status().unwrap();
        assert!(copy.success());
    }
    let shell = |command: &str| {
        assert!(Command::new("sh").args(["-c", command]).current_dir(&checkout).status().unwrap().success());
    };
    let mend = "chmod -R go+rX config docs";
    for closed in ["config/mongodb", "config/compose/secrets", "config/compose/alertmanager/alertmanager_page_url"] {
        shell(mend);
        shell(&format!("touch {closed} && chmod go-rwx {closed}"));
        let (is_well, said) = local.output(local.command("secrets")).await;
        assert!(!is_well && said.contains(&format!("\n  {closed}\n")) && said.contains(mend), "{closed}: {said}");
    }
    shell("chmod -R go-rwx .");
    let (is_well, said) = local.output(local.command("secrets")).await;
    assert!(!is_well && said.contains("\n  config") && said.contains(mend), "{said}");
    shell(mend);
    local.finish("secrets", local.command("secrets")).await;
}

#[tokio::test]
async fn what_watches_them_starts() {
    let local = Local::new(ComposeFile::read());
    let mut started = Vec::new();
    for (service, program, port) in [
        ("prometheus", "prometheus", 9090),
        ("alertmanager", "alertmanager", 9093),
        ("blackbox", "blackbox_exporter", 9115),
    ] {
        let words = [program.to_owned()];
        let mut command = local.run_as(service, words.iter().chain(&local.file.services[service].command));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", local.port(service, port)));
        started.push(local.start(service, command));
        local.until_healthy(service).await;
    }
}

#[tokio::test]
async fn its_services_count_events_with_their_own_secrets_and_rights_alone() {
    let local = Local::new(ComposeFile::read());
    let made = secrets_are_made_once(&local).await;
    let _servers = servers(&local).await;
    let refused_before = refusals(&local);
    let root = client(&local, "root", &made["mongodb/password"]).await;

    local.finish("migrate", local.command("migrate")).await;
    let again = local.finish("migrate", local.command("migrate")).await;
    assert!(again.contains("nothing to change"), "{again}");

    let yesterday = Day::yesterday().to_string();
    on_demand(&local, "admin", "seed-demo --users 50 --tools 5").await;
    let _workers = ["ingest-1", "ingest-2"].map(|worker| {
        let command = local.with_own_address(worker, local.command(worker));
        local.start(worker, command)
    });
    on_demand(
        &local,
        "emit",
        &format!("generate --events {EVENTS} --days {DAYS} --until {yesterday} --seed 1 --users 50 --tools 5"),
    )
    .await;
    local.until_healthy("ingest-1").await;
    local.until_healthy("ingest-2").await;
    let events = root.database("devtoolkit");
    eventually(PATIENCE, "all events", async || (stored(&events).await == EVENTS).then_some(())).await;
    for question in ["dead-letters list", "slow-queries", "storage", "suspicious"] {
        on_demand(&local, "admin", question).await;
    }

    an_export_needs_no_other_rights(&local).await;

    let aggregator = local.with_own_address("aggregator", local.command("aggregator"));
    let _aggregator = local.start("aggregator", aggregator);
    local.until_healthy("aggregator").await;
    let days = events.collection::<Document>("rollup_days");
    eventually(PATIENCE, "roll-up of both days", async || {
        let rolled = doc! { "_id": { "$lte": &yesterday }, "state": "rolled", "dirtySince": { "$exists": false } };
        (days.count_documents(rolled).await.unwrap() == DAYS).then_some(())
    })
    .await;
    // With both engines; what else a person asks the aggregator.
    for question in ["verify --date", "run --engine pushdown --date", "show --date", "status --last"] {
        let last = if question.starts_with("status") { "7" } else { &yesterday };
        let words = format!("aggregator {question} {last}");
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        // The serving one has the lease for as long as it works.
        eventually(PATIENCE, question, async || {
            let (is_well, said) = local.output(local.run_as("aggregator", &words)).await;
            assert!(is_well || said.contains("lease"), "{question}: {said}");
            is_well.then_some(())
        })
        .await;
    }

    let _backup = backups_restore(&local).await;
    let _dashboard = the_dashboard_needs_no_other_rights(&local).await;
    let _exporters = exporters(&local, &root).await;
    assert_eq!(refusals(&local), refused_before, "somebody has too few rights");
    rights_end_there(&local, &made).await;
    assert_ne!(refusals(&local), refused_before, "mongod's log does not tell refusals any more");
}

/// The first demo user answers suggestions and changes settings: documents of every collection are about that user.
async fn an_export_needs_no_other_rights(local: &Local) {
    let directory = local.path("privacy-officer", "/exports");
    let user = common::demo::user_id(0);
    on_demand(local, "privacy-officer", &format!("export --user {user} --out {}", directory.display())).await;
    assert!(directory.join("manifest.json").is_file());
    // The entries of that export among others.
    on_demand(local, "auditor", "verify").await;
}

/// The schedule makes backups at its start; whoever has the identity tries a restore.
async fn backups_restore(local: &Local) -> Process {
    for _ in 0..2 {
        local.finish("backup-identity", local.command("backup-identity")).await;
    }
    let backup = local.start("backup", local.with_own_address("backup", local.command("backup")));
    local.until_healthy("backup").await;
    let listed = async || {
        let mut command = local.command("recovery");
        command.args(["backup", "list", "--json"]);
        serde_json::from_str::<serde_json::Value>(&local.finish("recovery", command).await).unwrap()
    };
    eventually(PATIENCE, "a second that can be restored", async || {
        (!listed().await["restorable"].as_array().unwrap().is_empty()).then_some(())
    })
    .await;
    on_demand(local, "recovery", "backup rehearse").await;
    backup
}

/// An administrator signs in, looks at every page, and changes what can be changed.
async fn the_dashboard_needs_no_other_rights(local: &Local) -> Process {
    const EMAIL: &str = "root@example.com";
    let mut words = local.command("admin");
    words.args(["users", "set-password", "--email", EMAIL, "--password-stdin", "--role", "admin"]);
    local.finish_with_input("admin", words, "a long password\n").await;
    let command = local.with_own_address("dashboard", local.command("dashboard"));
    let dashboard = local.start("dashboard", command);
    local.until_healthy("dashboard").await;
    let mut browser = Browser::new(&format!("127.0.0.1:{}", local.port("dashboard", 8090)));
    browser.sign_in(EMAIL, "a long password").await;
    for path in [
        "/",
        "/tools",
        "/tools.csv",
        "/admin",
        "/admin/users",
        "/admin/suggestions?status=all",
        "/admin/config",
        "/live",
        "/account/data",
    ] {
        browser.page(path).await;
    }
    let user = browser.json("/api/v1/users?role=user&limit=1").await["users"][0]["id"].as_str().unwrap().to_owned();
    let idea = browser.json("/api/v1/suggestions?limit=1").await["suggestions"][0]["id"].as_str().unwrap().to_owned();
    for (page, what, fields) in [
        (format!("/admin/users/{user}"), "suspend", [("reason", "spam"), ("", "")]),
        (format!("/admin/users/{user}"), "role", [("role", "moderator"), ("", "")]),
        (format!("/admin/users/{user}"), "plan", [("plan", "pro"), ("planStatus", "active")]),
        (format!("/admin/users/{user}"), "sessions/end", [("all", "yes"), ("", "")]),
        (format!("/admin/suggestions/{idea}"), "response", [("message", "Thank you."), ("", "")]),
    ] {
        let answer = browser.send_form(&page, &format!("{page}/{what}"), &fields).await;
        assert_eq!(answer.status, 303, "{page} {what}: {}", answer.body);
    }
    let limit = "/admin/config/ingest_max_events_per_second";
    for value in ["100000", "20000"] {
        let fields = [("value", value), ("active", "yes")];
        let answer = browser.send_form(limit, limit, &fields).await;
        assert_eq!(answer.status, 303, "{limit}: {}", answer.body);
    }
    dashboard
}

/// The secrets by file, after a second run has changed none.
async fn secrets_are_made_once(local: &Local) -> BTreeMap<String, String> {
    let files = ["mongodb/keyfile", "mongodb/password", "grafana/password", "ingest/password", "aggregator/password"];
    let files = files.into_iter().chain(["dashboard/password", "admin/password", "privacy_officer/password"]);
    let files = files.chain(["auditor/password", "backup/password", "recovery/password", "monitor/password"]);
    let secrets = async || {
        let mut words = local.file.services["secrets"].entrypoint.clone();
        if is_root() {
            words.splice(..0, ["setpriv", "--bounding-set=-all,+chown", "--inh-caps=-all,+chown"].map(str::to_owned));
        }
        local.finish("secrets", local.run_as("secrets", &words)).await;
        let read = |file: &str| (file.to_owned(), fs::read_to_string(secret(local, file)).unwrap());
        files.clone().map(read).collect::<BTreeMap<_, _>>()
    };
    let made = secrets().await;
    assert_eq!(secrets().await, made);
    let values: BTreeSet<&String> = made.values().collect();
    assert_eq!(values.len(), made.len(), "two secrets are the same");
    for (file, value) in &made {
        assert!(value.len() == 64 && value.chars().all(|c| c.is_ascii_hexdigit()), "{file}: {value}");
        assert_eq!(fs::metadata(secret(local, file)).unwrap().mode() & 0o337, 0, "{file} is open to others");
    }
    if is_root() {
        those_who_have_secrets_can_read_them(local);
    }
    made
}

fn those_who_have_secrets_can_read_them(local: &Local) {
    for (name, service) in local.file.services.iter().filter(|(name, _)| *name != "secrets") {
        let user = if service.user.is_empty() { "65532:65532" } else { &service.user };
        let (user, group) = user.split_once(':').unwrap();
        let (user, group): (u32, u32) = (user.parse().unwrap(), group.parse().unwrap());
        for mount in service.mounts().filter(|mount| mount.source.starts_with("secrets-")) {
            for file in fs::read_dir(local.path(name, mount.target)).unwrap() {
                let file = file.unwrap();
                let metadata = file.metadata().unwrap();
                let bit = match () {
                    () if metadata.uid() == user => 0o400,
                    () if metadata.gid() == group => 0o040,
                    () => 0o004,
                };
                assert_ne!(metadata.mode() & bit, 0, "{name} cannot read {}", file.path().display());
            }
        }
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn secret(local: &Local, file: &str) -> PathBuf {
    local.path("secrets", "/secrets").join(file)
}

/// Kafka, the members, and the replica set of them with its users.
async fn servers(local: &Local) -> Vec<Process> {
    let mut servers: Vec<Process> = MEMBERS
        .map(|member| {
            let Service { entrypoint, command, .. } = &local.file.services[member];
            let words: Vec<String> =
                entrypoint.iter().chain(command).filter(|word| *word != "--bind_ip_all").cloned().collect();
            let mut command = local.run_as(member, &words);
            let programs = installed("mongodb").unwrap();
            command.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
            command.args(["--bind_ip=127.0.0.1", "--nounixsocket"]);
            command.arg(format!("--port={}", local.port(member, 27017)));
            command.arg("--dbpath").arg(local.path(member, "/data/db"));
            local.start(member, command)
        })
        .into();
    servers.push(kafka(local).await);
    for server in MEMBERS.into_iter().chain(["kafka"]) {
        local.until_healthy(server).await;
    }
    for _ in 0..2 {
        local.finish("mongodb-init", local.command("mongodb-init")).await;
    }
    servers
}

/// As the image does it: its own program makes the properties of the environment.
async fn kafka(local: &Local) -> Process {
    let final_directory = local.path("kafka", "/opt/kafka/config");
    fs::create_dir_all(&final_directory).unwrap();
    let options =
        ["KAFKA_HEAP_OPTS", "KAFKA_LOG4J_OPTS"].map(|name| local.file.services["kafka"].environment[name].clone());
    let classes = installed("kafka/libs").unwrap().join("*").display().to_string();
    let java: Vec<String> = ["java".to_owned()].into_iter().chain(options).chain(["-cp".to_owned(), classes]).collect();

    let mut setup = local.run_as("kafka", &java);
    setup.env("CLUSTER_ID", "5L6g3nShT-eMCtK--X86sw").args(["kafka.docker.KafkaDockerWrapper", "setup"]);
    for directory in ["--default-configs-dir", "--mounted-configs-dir"] {
        setup.arg(directory).arg(local.path("kafka", "/nothing"));
    }
    setup.arg("--final-configs-dir").arg(&final_directory);
    local.finish("kafka", setup).await;
    let mut broker = local.run_as("kafka", &java);
    broker.arg("kafka.Kafka").arg(final_directory.join("server.properties"));
    local.start("kafka", broker)
}

/// One for each member. They see sizes and slow queries of the database, with no right to read it.
async fn exporters(local: &Local, root: &Client) -> Vec<Process> {
    // mongod counts only as slow what takes 200 ms.
    let slow = doc! { "$where": "sleep(300) || true" };
    root.database("devtoolkit").collection::<Document>("tools").find_one(slow).await.unwrap();
    let mut started = Vec::new();
    let entrypoint: Vec<String> = serde_json::from_str(&value(&stage("mongodb-exporter"), "ENTRYPOINT")).unwrap();
    for exporter in ["mongodb-exporter-1", "mongodb-exporter-2", "mongodb-exporter-3"] {
        let mut command = local.run_as(exporter, entrypoint.iter().chain(&local.file.services[exporter].command));
        let programs = installed("monitoring").unwrap();
        command.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
        let address = format!("127.0.0.1:{}", local.port(exporter, 9216));
        command.arg(format!("--web.listen-address={address}"));
        started.push(local.start(exporter, command));
        local.until_healthy(exporter).await;
        let metrics = http::get(&address, "/metrics").await.unwrap().body;
        for sample in [
            "mongodb_up{cluster_role=\"mongod\"} 1",
            "mongodb_members_state{",
            "mongodb_dbstats_dataSize{",
            "mongodb_collstats_storageStats_count{",
            "mongodb_profile_slow_query_count{",
            "mongodb_ss_wt_cache_bytes_currently_in_the_cache{",
        ] {
            let ours = metrics.lines().filter(|line| line.starts_with(sample));
            let ours = ours.filter(|line| !line.contains("database=") || line.contains("database=\"devtoolkit\""));
            assert_ne!(ours.count(), 0, "{exporter} has no {sample}");
        }
    }
    started
}

/// What an operator types after `docker compose run --rm`.
async fn on_demand(local: &Local, service: &str, arguments: &str) {
    let mut command = local.command(service);
    command.args(arguments.split(' '));
    local.finish(service, command).await;
}

async fn stored(database: &Database) -> u64 {
    let mut count = 0;
    for collection in ["usage_analytics", "activity_logs", "health_checks"] {
        count += database.collection::<Document>(collection).count_documents(doc! {}).await.unwrap();
    }
    count
}

async fn client(local: &Local, user: &str, password: &str) -> Client {
    let members = local.translate("admin", "mongodb-1:27017,mongodb-2:27017,mongodb-3:27017");
    Client::with_uri_str(format!("mongodb://{user}:{password}@{members}/?replicaSet=rs0")).await.unwrap()
}

/// What the members have refused for want of rights.
fn refusals(local: &Local) -> Vec<String> {
    let logs = MEMBERS.map(|member| fs::read_to_string(local.log(member)).unwrap());
    let lines = logs.iter().flat_map(|log| log.lines());
    lines.filter(|line| line.contains("Checking authorization failed")).map(str::to_owned).collect()
}

async fn rights_end_there(local: &Local, made: &BTreeMap<String, String>) {
    for (user, command) in [
        ("ingest", doc! { "find": "system_analytics" }),
        ("ingest", doc! { "delete": "usage_analytics", "deletes": [{ "q": {}, "limit": 0 }] }),
        ("ingest", doc! { "find": "users" }),
        ("aggregator", doc! { "insert": "usage_analytics", "documents": [{}] }),
        ("aggregator", doc! { "delete": "usage_analytics", "deletes": [{ "q": {}, "limit": 0 }] }),
        ("aggregator", doc! { "update": "health_checks", "updates": [{ "q": {}, "u": { "$set": { "a": 1 } } }] }),
        ("aggregator", doc! { "delete": "users", "deletes": [{ "q": {}, "limit": 0 }] }),
        ("aggregator", doc! { "drop": "system_analytics" }),
        ("dashboard", doc! { "insert": "users", "documents": [{}] }),
        ("dashboard", doc! { "delete": "users", "deletes": [{ "q": {}, "limit": 0 }] }),
        ("dashboard", doc! { "update": "usage_analytics", "updates": [{ "q": {}, "u": { "$set": { "a": 1 } } }] }),
        ("dashboard", doc! { "update": "system_analytics", "updates": [{ "q": {}, "u": { "$set": { "a": 1 } } }] }),
        ("dashboard", doc! { "find": "erasures" }),
        ("admin", doc! { "drop": "usage_analytics" }),
        ("admin", doc! { "createUser": "me", "pwd": "me", "roles": [] }),
        ("auditor", doc! { "find": "users" }),
        (
            "auditor",
            doc! { "update": "audit_log", "updates": [{ "q": { "_id": 1_i64 }, "u": { "$set": { "action": "x" } } }] },
        ),
        ("privacy_officer", doc! { "find": "dead_letter_replays" }),
        ("privacy_officer", doc! { "insert": "usage_analytics", "documents": [{}] }),
        ("privacy_officer", doc! { "delete": "system_analytics", "deletes": [{ "q": {}, "limit": 0 }] }),
        ("privacy_officer", doc! { "delete": "erasures", "deletes": [{ "q": {}, "limit": 0 }] }),
        ("monitor", doc! { "find": "users" }),
        ("monitor", doc! { "insert": "users", "documents": [{}] }),
    ] {
        let client = client(local, user, &made[&format!("{user}/password")]).await;
        let answer = client.database("devtoolkit").run_command(command.clone()).await;
        assert!(answer.as_ref().is_err_and(is_unauthorized), "{user} may {command}: {answer:?}");
    }
    // To anonymise them, the aggregator may change events.
    let aggregator = client(local, "aggregator", &made["aggregator/password"]).await;
    for events in ["usage_analytics", "activity_logs"] {
        let nothing = doc! { "update": events, "updates": [{ "q": { "_id": "nobody" }, "u": { "$set": { "a": 1 } } }] };
        aggregator.database("devtoolkit").run_command(nothing).await.unwrap();
    }
    let members = local.translate("admin", "mongodb-1:27017");
    let nobody = Client::with_uri_str(format!("mongodb://{members}/?directConnection=true")).await.unwrap();
    let answer = nobody.database("devtoolkit").run_command(doc! { "find": "tools" }).await;
    assert!(answer.is_err_and(|error| error.to_string().contains("authentication")), "anybody may read");
}

fn is_unauthorized(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(refusal) if refusal.code == 13)
}
