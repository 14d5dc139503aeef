//! TLS 1.3 and SCRAM on real servers that require them, and what is said when one of the two does not fit.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

#[path = "wires/certificates.rs"]
mod certificates;

use std::path::Path;
use std::time::{Duration, SystemTime};

use bson::doc;
use certificates::Authority;
use e2e::eventually::{PATIENCE, eventually};
use e2e::load::{tool_uses, until_stored};
use e2e::servers::{Home, Kafka, KafkaOptions, ReplicaSet, ReplicaSetOptions, free_port};
use e2e::world::World;
use mongodb::Client;

const DAY: Duration = Duration::from_secs(86_400);
const USER: &str = "analytics";
const PASSWORD: &str = "correct horse battery staple";

struct Secured {
    mongodb: ReplicaSet,
    kafka: Kafka,
    /// Ports of the listeners with the good and with the expired certificate.
    listeners: [u16; 2],
    known: Authority,
    unknown: Authority,
    _home: Home,
}

async fn secured() -> Secured {
    let home = Home::temporary("wires").unwrap();
    let (known, unknown) = (Authority::new(home.path(), "known"), Authority::new(home.path(), "unknown"));
    let (next_year, last_year) = (SystemTime::now() + 365 * DAY, SystemTime::now() - 365 * DAY);
    let mongodb_certificate = known.server("mongodb.pem", next_year);
    let key_file = home.path().join("keyfile");
    std::fs::write(&key_file, "c2VjcmV0IG9mIHRoZSBtZW1iZXJz").unwrap();
    std::fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let path = |path: &Path| path.display().to_string();
    let extra_args = [
        "--tlsMode",
        "requireTLS",
        "--tlsDisabledProtocols",
        "TLS1_0,TLS1_1,TLS1_2",
        "--tlsCertificateKeyFile",
        &path(&mongodb_certificate),
        "--tlsCAFile",
        &path(&known.ca_file()),
        "--tlsAllowConnectionsWithoutCertificates",
        "--keyFile",
        &path(&key_file),
    ]
    .map(str::to_owned)
    .to_vec();
    // For the readiness check alone, which looks at a server with an expired certificate, too.
    let uri_options = "tls=true&tlsAllowInvalidCertificates=true".to_owned();
    let mongodb = ReplicaSet::start(ReplicaSetOptions { extra_args, uri_options, ..ReplicaSetOptions::default() });

    let listeners = [free_port().unwrap(), free_port().unwrap()];
    let mut extra_properties = vec![("sasl.enabled.mechanisms".to_owned(), "SCRAM-SHA-512".to_owned())];
    for (name, file) in
        [("good", known.server("good.pem", next_year)), ("expired", known.server("expired.pem", last_year))]
    {
        for (key, value) in [
            ("ssl.keystore.type", "PEM".to_owned()),
            ("ssl.keystore.location", path(&file)),
            ("ssl.enabled.protocols", "TLSv1.3".to_owned()),
            (
                "scram-sha-512.sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned(),
            ),
        ] {
            extra_properties.push((format!("listener.name.{name}.{key}"), value));
        }
    }
    let kafka = Kafka::start(KafkaOptions {
        extra_properties,
        scram_users: vec![(USER.to_owned(), PASSWORD.to_owned())],
        extra_listeners: vec![
            ("GOOD".to_owned(), "SASL_SSL".to_owned(), listeners[0]),
            ("EXPIRED".to_owned(), "SASL_SSL".to_owned(), listeners[1]),
        ],
        ..KafkaOptions::default()
    });
    let (mut mongodb, kafka) = tokio::try_join!(mongodb, kafka).unwrap();
    create_user(&mut mongodb).await;
    Secured { mongodb, kafka, listeners, known, unknown, _home: home }
}

impl Secured {
    /// Restarts mongod with a certificate of the known authority.
    async fn certify_mongodb(&mut self, valid_until: SystemTime) {
        self.known.server("mongodb.pem", valid_until);
        let mongod = self.mongodb.member(0);
        mongod.stop().await.unwrap();
        mongod.start().await.unwrap();
        self.mongodb.wait_for_primary().await.unwrap();
    }
}

/// The first user may be created by whoever sits at the server (MongoDB's localhost exception).
async fn create_user(mongodb: &mut ReplicaSet) {
    let client = Client::with_uri_str(mongodb.uri()).await.unwrap();
    let user = doc! { "createUser": USER, "pwd": PASSWORD, "roles": ["root"], "mechanisms": ["SCRAM-SHA-256"] };
    client.database("admin").run_command(user).await.unwrap();
}

/// A world whose programs use the secured ways; the test's own tools go the plain way to Kafka, and as the user to MongoDB.
async fn world(name: &str, secured: &mut Secured) -> World {
    let (address, ca_file) = (secured.mongodb.member(0).address(), secured.known.ca_file().display().to_string());
    let password = PASSWORD.replace(' ', "%20");
    let uri = format!("mongodb://{USER}:{password}@{address}/?replicaSet=rs0&tls=true&tlsCAFile={ca_file}");
    World::on(name, &uri, &secured.kafka.brokers())
        .await
        .with_env("MONGODB__URI", &format!("mongodb://{address}/?replicaSet=rs0"))
        .with_env("MONGODB__SERVER_SELECTION_TIMEOUT", "5s")
        .with_env("MONGODB__CA_FILE", &ca_file)
        .with_env("MONGODB__USERNAME", USER)
        .with_env("MONGODB__PASSWORD", PASSWORD)
        .with_env("KAFKA__BROKERS", &format!("127.0.0.1:{}", secured.listeners[0]))
        .with_env("KAFKA__SECURITY_PROTOCOL", "sasl_ssl")
        .with_env("KAFKA__CA_FILE", &ca_file)
        .with_env("KAFKA__USERNAME", USER)
        .with_env("KAFKA__PASSWORD", PASSWORD)
}

async fn refusal(world: World) -> (World, String) {
    let (code, stderr) = world.run_fail("ingest", &["run", "--until-caught-up"]).await;
    assert_eq!(code, 1, "{stderr}");
    assert!(!stderr.contains(PASSWORD), "a secret in the log: {stderr}");
    (world, stderr)
}

#[tokio::test]
async fn events_pass_over_wires_with_tls_and_scram_and_over_no_others() {
    let mut secured = secured().await;
    let world = world("wires", &mut secured).await;
    world.run_ok("admin", &["migrate"]).await;
    world.produce(&tool_uses(0, 999)).await;
    let line = String::from_utf8(tool_uses(999, 1)[0].value.clone().unwrap()).unwrap();
    world.run_ok_with_input("emit", &["file", "-"], line.as_bytes()).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    until_stored(&world, 1_000).await;

    let good = |world: World| world.with_env("KAFKA__PASSWORD", PASSWORD).with_env("MONGODB__PASSWORD", PASSWORD);
    let (world, said) = refusal(world.with_env("KAFKA__PASSWORD", "wrong")).await;
    assert!(said.contains("kafka.password") && said.contains("SCRAM-SHA-512"), "{said}");
    let (world, said) = refusal(good(world).with_env("MONGODB__PASSWORD", "wrong")).await;
    assert!(said.contains("mongodb.password") && said.contains("uthentication failed"), "{said}");

    let (known, unknown) = (secured.known.ca_file(), secured.unknown.ca_file());
    let (known, unknown) = (known.display().to_string(), unknown.display().to_string());
    let (world, said) = refusal(good(world).with_env("KAFKA__CA_FILE", &unknown)).await;
    assert!(said.contains("kafka.ca_file") && said.contains("certificate"), "{said}");
    let (world, said) = refusal(world.with_env("KAFKA__CA_FILE", &known).with_env("MONGODB__CA_FILE", &unknown)).await;
    assert!(said.contains("mongodb.ca_file") && said.contains("UnknownIssuer"), "{said}");

    let expired = format!("127.0.0.1:{}", secured.listeners[1]);
    let (world, said) = refusal(world.with_env("MONGODB__CA_FILE", &known).with_env("KAFKA__BROKERS", &expired)).await;
    assert!(said.contains("kafka.ca_file") && said.contains("certificate"), "{said}");
    // mongod does not start with a certificate that is over, so one runs out under it.
    let world = world.with_env("KAFKA__BROKERS", &format!("127.0.0.1:{}", secured.listeners[0]));
    secured.certify_mongodb(SystemTime::now() + Duration::from_secs(30)).await;
    let said = eventually(PATIENCE, "refusal of a certificate that ran out", async || {
        let finished = world.run("ingest", &["run", "--until-caught-up"]).await;
        (finished.code != Some(0)).then_some(finished.stderr)
    })
    .await;
    assert!(said.contains("mongodb.ca_file") && said.to_lowercase().contains("expired"), "{said}");

    // The world's own connection, which cleans up, trusts no expired certificate either.
    secured.certify_mongodb(SystemTime::now() + 365 * DAY).await;
    drop(world);
}
