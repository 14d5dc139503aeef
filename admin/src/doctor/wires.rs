//! The wires to MongoDB and Kafka.

use chrono::{TimeDelta, Utc};
use common::mongo;
use common::settings::Settings;
use mongodb::Database;
use secrecy::ExposeSecret as _;

use super::certificate;
use super::finding::Finding;
use super::handshake::{self, Agreed};

const SOON: TimeDelta = TimeDelta::days(30);
const TOO_SOON: TimeDelta = TimeDelta::days(7);

pub(super) async fn check(settings: &Settings, database: &Database) -> Vec<Finding> {
    let mut findings = mongodb(settings, database).await;
    findings.extend(kafka(settings).await);
    findings
}

async fn mongodb(settings: &Settings, database: &Database) -> Vec<Finding> {
    const CHECK: &str = "wire to MongoDB";
    let uri = settings.mongodb.uri.expose_secret();
    let has_tls = !settings.mongodb.ca_file.as_os_str().is_empty()
        || ["tls=true", "ssl=true"].iter().any(|option| uri.contains(option))
        || uri.starts_with("mongodb+srv://");
    if !has_tls {
        let hosts = mongo::hosts(&settings.mongodb);
        let todo = "start mongod with --tlsMode requireTLS, and set mongodb.ca_file";
        return vec![in_the_clear(CHECK, &hosts, todo)];
    }
    let members = match mongo::members(&settings.mongodb, database).await {
        Ok(members) => members.into_iter().map(|member| member.name).collect(),
        Err(_) => vec![mongo::hosts(&settings.mongodb)],
    };
    each(CHECK, members).await
}

async fn kafka(settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "wire to Kafka";
    let brokers = &settings.kafka.brokers;
    match settings.kafka.security_protocol.as_str() {
        "ssl" | "sasl_ssl" => each(CHECK, brokers.split(',').map(|broker| broker.trim().to_owned()).collect()).await,
        _ => {
            let todo = "set kafka.security_protocol to sasl_ssl, with kafka.ca_file, on a listener that speaks TLS";
            vec![in_the_clear(CHECK, brokers, todo)]
        }
    }
}

/// On one machine nobody listens who could not read the memory as well.
fn in_the_clear(check: &'static str, hosts: &str, todo: &str) -> Finding {
    let is_local = |host: &str| ["127.0.0.1", "[::1]", "localhost"].iter().any(|local| host.trim().starts_with(local));
    if hosts.split(',').all(is_local) {
        return Finding::amber(check, format!("in the clear, on this machine alone ({hosts})"), todo);
    }
    Finding::red(check, format!("in the clear ({hosts}): whoever is on the network reads everything"), todo)
}

async fn each(check: &'static str, addresses: Vec<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in addresses {
        let to_shake = address.clone();
        let agreed = tokio::task::spawn_blocking(move || handshake::shake(&to_shake)).await;
        findings.push(match agreed.map_err(anyhow::Error::from).and_then(|agreed| agreed) {
            Ok(agreed) => judge(check, &address, &agreed),
            Err(error) => Finding::red(
                check,
                format!("{address}: no TLS handshake: {error:#}"),
                "start the server there, or make it speak TLS 1.3",
            ),
        });
    }
    findings
}

fn judge(check: &'static str, address: &str, agreed: &Agreed) -> Finding {
    let Agreed { protocol, cipher, certificate } = agreed;
    let Some(until) = certificate::valid_until(certificate) else {
        let found = format!("{address}: {protocol}, {cipher}, a certificate that cannot be read");
        return Finding::amber(check, found, "look at the server's certificate with openssl x509 -text");
    };
    let left = until - Utc::now();
    let found = format!("{address}: {protocol}, {cipher}, certificate for {} more days", left.num_days());
    if left < TOO_SOON {
        return Finding::red(
            check,
            found,
            "renew the server's certificate now: programs refuse it when it has expired",
        );
    }
    if protocol != "TLSv1.3" {
        return Finding::red(
            check,
            found,
            "allow TLS 1.3 alone there (mongod: --tlsDisabledProtocols TLS1_0,TLS1_1,TLS1_2)",
        );
    }
    if left < SOON {
        return Finding::amber(check, found, "renew the server's certificate");
    }
    Finding::green(check, found)
}
