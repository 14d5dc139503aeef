//! `admin tls init`: a real mongod and a real broker speak TLS 1.3 with its certificates, and a server that speaks less is refused by name.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::load::{tool_uses, until_stored};
use e2e::servers::{Home, Kafka, KafkaOptions, ReplicaSet, ReplicaSetOptions, free_port};
use e2e::world::{World, program_path};
use serde_json::Value;

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Runs `admin tls init`, which needs no server; its exit code, stdout and stderr.
fn init(directory: &Path, options: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program_path("admin"));
    let output = command.args(["tls", "init", "--out", &path(directory)]).args(options).output().unwrap();
    let [said, failed] = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
    (output.status.code(), said, failed)
}

fn init_ok(directory: &Path, options: &[&str]) -> Value {
    let (code, said, failed) = init(directory, &[options, &["--json"]].concat());
    assert_eq!(code, Some(0), "{failed}");
    serde_json::from_str(&said).unwrap()
}

fn openssl(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
    said
}

#[test]
fn names_are_added_and_renewed_and_the_key_of_another_authority_may_stay_away() {
    let home = Home::temporary("tls-init").unwrap();
    let (ours, theirs) = (home.path().join("ours"), home.path().join("theirs"));
    init_ok(&ours, &["--server", "db1=db1.internal,10.0.0.1", "--client", "ingest"]);
    for entry in std::fs::read_dir(&ours).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    assert_eq!(std::fs::metadata(&ours).unwrap().permissions().mode() & 0o777, 0o700);
    let verified =
        openssl(&ours, &["verify", "-CAfile", "ca.pem", "-purpose", "sslserver", "-verify_ip", "10.0.0.1", "db1.pem"]);
    assert!(verified.contains("db1.pem: OK"), "{verified}");
    openssl(&ours, &["verify", "-CAfile", "ca.pem", "-purpose", "sslclient", "ingest.pem"]);

    // A second run adds, and leaves what is there.
    let read = |file: &str| std::fs::read(ours.join(file)).unwrap();
    let (authority, db1) = (read("ca.pem"), read("db1.pem"));
    let lines = init_ok(&ours, &["--server", "db1=db1.internal", "--server", "db2"]);
    let states: Vec<&str> = lines.as_array().unwrap().iter().map(|line| line["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["left as it is", "left as it is", "left as it is", "made"]);
    assert_eq!((read("ca.pem"), read("db1.pem")), (authority.clone(), db1.clone()));
    openssl(&ours, &["verify", "-CAfile", "ca.pem", "db2.pem"]);
    init_ok(&ours, &["--server", "db1=db1.internal", "--renew"]);
    assert_ne!(read("db1.pem"), db1);
    openssl(&ours, &["verify", "-CAfile", "ca.pem", "-verify_hostname", "db1.internal", "db1.pem"]);

    // Another authority, with its key here and elsewhere.
    let (certificate, key) = (path(&ours.join("ca.pem")), path(&ours.join("ca.key")));
    init_ok(&theirs, &["--ca-cert", &certificate, "--ca-key", &key, "--server", "kafka"]);
    assert!(!theirs.join("ca.key").exists());
    openssl(&theirs, &["verify", "-CAfile", "ca.pem", "kafka.pem"]);
    init_ok(&theirs, &["--requests", "--server", "broker=broker.internal"]);
    signed(&theirs, &ours, "broker");
    openssl(&theirs, &["verify", "-CAfile", "ca.pem", "-verify_hostname", "broker.internal", "broker.pem"]);

    for (options, expected, why) in [
        (["--server", "../db"].as_slice(), 2, "no name for a file"),
        (&["--server", "db=db:27017"], 2, "without a port"),
        (&["--server", "a", "--client", "a"], 2, "named twice"),
        (&["--ca-cert", &certificate, "--server", "a"], 2, "--ca-key"),
        (&["--server", "late", "--days", "3650"], 1, "choose fewer --days"),
        (&["--requests", "--server", "broker2", "--server", "broker2"], 2, "named twice"),
    ] {
        let (code, _, said) = init(&ours, options);
        assert!(code == Some(expected) && said.contains(why), "{options:?}: {said}");
    }
}

/// What an authority elsewhere does with a request.
fn signed(directory: &Path, authority: &Path, name: &str) {
    let (certificate, key) = (path(&authority.join("ca.pem")), path(&authority.join("ca.key")));
    let (request, made) = (format!("{name}.csr"), format!("{name}.crt"));
    let sign = ["x509", "-req", "-in", &request, "-out", &made, "-days", "30", "-copy_extensions", "copy"];
    openssl(directory, &[&sign[..], &["-CA", &certificate, "-CAkey", &key]].concat());
    let read = |extension: &str| std::fs::read_to_string(directory.join(format!("{name}.{extension}"))).unwrap();
    std::fs::write(directory.join(format!("{name}.pem")), read("key") + &read("crt")).unwrap();
}

fn mongod(directory: &Path, disabled: &str) -> ReplicaSetOptions {
    let (certificate, authority) = (path(&directory.join("mongodb.pem")), path(&directory.join("ca.pem")));
    let extra_args = [
        "--tlsMode",
        "requireTLS",
        "--tlsDisabledProtocols",
        disabled,
        "--tlsCertificateKeyFile",
        &certificate,
        "--tlsCAFile",
        &authority,
        "--tlsAllowConnectionsWithoutCertificates",
    ]
    .map(str::to_owned)
    .to_vec();
    let uri_options = format!("tls=true&tlsCAFile={authority}");
    ReplicaSetOptions { extra_args, uri_options, ..ReplicaSetOptions::default() }
}

/// A broker with a listener for each file and each list of versions.
fn kafka(listeners: &[(&str, PathBuf, &str, u16)]) -> KafkaOptions {
    let mut options = KafkaOptions::default();
    for (name, file, versions, port) in listeners {
        options.extra_listeners.push((name.to_uppercase(), "SSL".to_owned(), *port));
        for (key, value) in [
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", &path(file)),
            ("ssl.enabled.protocols", versions),
            ("ssl.protocol", versions),
        ] {
            options.extra_properties.push((format!("listener.name.{name}.{key}"), value.to_owned()));
        }
    }
    options
}

/// The states and texts of a check's lines.
async fn doctor(world: &World, check: &str) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(&world.run("admin", &["doctor", "--json"]).await.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings.map(|finding| (text(&finding["state"]), text(&finding["found"]))).collect()
}

#[tokio::test]
async fn servers_speak_tls_1_3_with_the_certificates_and_less_is_refused_by_name() {
    let home = Home::temporary("tls").unwrap();
    let directory = home.path().join("tls");
    init_ok(&directory, &["--server", "mongodb=localhost,127.0.0.1", "--server", "broker=127.0.0.1"]);
    init_ok(&directory, &["--requests", "--server", "signed=127.0.0.1"]);
    signed(&directory, &directory, "signed");
    let [good, old, other] = [(); 3].map(|()| free_port().unwrap());
    let file = |name: &str| directory.join(name);
    let (new_mongodb, old_mongodb, broker) = tokio::try_join!(
        ReplicaSet::start(mongod(&directory, "TLS1_0,TLS1_1,TLS1_2")),
        ReplicaSet::start(mongod(&directory, "TLS1_0,TLS1_1,TLS1_3")),
        Kafka::start(kafka(&[
            ("good", file("broker.pem"), "TLSv1.3", good),
            ("old", file("broker.pem"), "TLSv1.2", old),
            ("other", file("signed.pem"), "TLSv1.3", other),
        ])),
    )
    .unwrap();
    let (mut new_mongodb, mut old_mongodb) = (new_mongodb, old_mongodb);
    let uri = |mongodb: &mut ReplicaSet| format!("mongodb://{}/?replicaSet=rs0", mongodb.member(0).address());
    let (new, old_uri) = (uri(&mut new_mongodb), uri(&mut old_mongodb));
    let authority = path(&file("ca.pem"));
    let brokers = |port: u16| format!("127.0.0.1:{port}");
    let own = format!("{new}&tls=true&tlsCAFile={authority}");
    let world = World::on("tls", &own, &broker.brokers())
        .await
        .with_env("MONGODB__URI", &new)
        .with_env("MONGODB__CA_FILE", &authority)
        .with_env("MONGODB__SERVER_SELECTION_TIMEOUT", "5s")
        .with_env("KAFKA__BROKERS", &brokers(good))
        .with_env("KAFKA__SECURITY_PROTOCOL", "ssl")
        .with_env("KAFKA__CA_FILE", &authority);
    world.run_ok("admin", &["migrate"]).await;
    world.produce(&tool_uses(0, 10)).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    until_stored(&world, 10).await;
    for check in ["wire to MongoDB", "wire to Kafka"] {
        let found = doctor(&world, check).await;
        let [(state, text)] = &found[..] else { panic!("{found:?}") };
        assert!(state == "green" && text.contains("TLSv1.3") && text.contains("364 more days"), "{found:?}");
    }
    // The certificate that an authority elsewhere signed.
    let world = world.with_env("KAFKA__BROKERS", &brokers(other));
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;

    let refused = async |world: &World| {
        let (code, said) = world.run_fail("ingest", &["run", "--until-caught-up"]).await;
        assert_eq!(code, 1, "{said}");
        said
    };
    // TLS 1.2: named, and taken where the settings say so.
    let world = world.with_env("KAFKA__BROKERS", &brokers(old));
    let said = refused(&world).await;
    assert!(said.contains("kafka.tls_min_version"), "{said}");
    let found = doctor(&world, "wire to Kafka").await;
    assert!(found[0].0 == "red" && found[0].1.contains("TLSv1.2"), "{found:?}");
    let world = world.with_env("KAFKA__TLS_MIN_VERSION", "TLSv1.2");
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    let world = world.with_env("KAFKA__BROKERS", &brokers(good)).with_env("MONGODB__URI", &old_uri);
    let said = refused(&world).await;
    assert!(said.contains("TLSv1.2") && said.contains("mongodb.tls_min_version"), "{said}");
    let world = world.with_env("MONGODB__TLS_MIN_VERSION", "TLSv1.2");
    world.run_ok("admin", &["migrate"]).await;
    let found = doctor(&world, "wire to MongoDB").await;
    assert!(found[0].0 == "red" && found[0].1.contains("TLSv1.2"), "{found:?}");

    // Another authority.
    let stranger = home.path().join("stranger");
    init_ok(&stranger, &["--server", "nobody"]);
    let stranger = path(&stranger.join("ca.pem"));
    let world = world.with_env("MONGODB__URI", &new).with_env("MONGODB__CA_FILE", &stranger);
    let said = refused(&world).await;
    assert!(said.contains("mongodb.ca_file") && said.contains("certificate"), "{said}");
    let world = world.with_env("MONGODB__CA_FILE", &authority).with_env("KAFKA__CA_FILE", &stranger);
    let said = refused(&world).await;
    assert!(said.contains("kafka.ca_file") && said.contains("certificate"), "{said}");
    // Where certificates are not checked, TLS keeps nobody out.
    let world =
        world.with_env("KAFKA__CA_FILE", &authority).with_env("MONGODB__URI", &format!("{new}&tlsinsecure=true"));
    let found = doctor(&world, "wire to MongoDB").await;
    assert!(found[0].0 == "red" && found[0].1.contains("any certificate"), "{found:?}");
    drop(world);
}
