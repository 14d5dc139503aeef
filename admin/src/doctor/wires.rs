//! The wires to MongoDB and Kafka.

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use common::mongo::{self, Wire};
use common::settings::Settings;
use common::tls::{self, Agreed};
use mongodb::Database;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::finding::Finding;

const SOON: TimeDelta = TimeDelta::days(30);
const TOO_SOON: TimeDelta = TimeDelta::days(7);

pub(super) async fn check(settings: &Settings, database: &Database) -> Vec<Finding> {
    let mut findings = mongodb(settings, database).await;
    findings.extend(kafka(settings).await);
    findings
}

async fn mongodb(settings: &Settings, database: &Database) -> Vec<Finding> {
    const CHECK: &str = "wire to MongoDB";
    let hosts = mongo::hosts(&settings.mongodb);
    match mongo::wire(&settings.mongodb).await {
        Ok(Wire::Clear) => {
            let todo = "start mongod with --tlsMode requireTLS, and set mongodb.ca_file";
            return vec![in_the_clear(CHECK, &hosts, todo)];
        }
        Ok(Wire::Unchecked) => {
            let found = format!("TLS with any certificate ({hosts}): whoever is between reads and changes everything");
            let todo = "take tlsInsecure and tlsAllowInvalidCertificates out of mongodb.uri, and set mongodb.ca_file";
            return vec![Finding::red(CHECK, found, todo)];
        }
        Ok(Wire::Checked) => {}
        Err(error) => return vec![Finding::unseen(CHECK, &error)],
    }
    let members = match mongo::members(&settings.mongodb, database).await {
        Ok(members) => members.into_iter().map(|member| member.name).collect(),
        Err(_) => vec![hosts],
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

/// Whether all of `host:port,host:port` are this machine.
pub(super) fn are_local(hosts: &str) -> bool {
    hosts.split(',').all(|address| {
        let address = address.trim();
        let (name, port) = address.rsplit_once(':').unwrap_or((address, ""));
        // An IPv6 address without a port has colons, too.
        let name = if port.parse::<u16>().is_ok() { name } else { address };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    })
}

/// On one machine nobody listens who could not read the memory as well.
fn in_the_clear(check: &'static str, hosts: &str, todo: &str) -> Finding {
    if are_local(hosts) {
        return Finding::amber(check, format!("in the clear, on this machine alone ({hosts})"), todo);
    }
    Finding::red(check, format!("in the clear ({hosts}): whoever is on the network reads everything"), todo)
}

async fn each(check: &'static str, addresses: Vec<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in addresses {
        let to_shake = address.clone();
        let agreed = tokio::task::spawn_blocking(move || tls::shake(&to_shake)).await;
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

/// None where it is no X.509 certificate.
fn valid_until(certificate: &[u8]) -> Option<DateTime<Utc>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0)
}

fn judge(check: &'static str, address: &str, agreed: &Agreed) -> Finding {
    let Agreed { protocol, cipher, certificate } = agreed;
    let Some(until) = valid_until(certificate) else {
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
    if protocol != tls::NEWEST {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machines_own_names_are_this_machine() {
        for hosts in ["localhost:1,127.0.0.1:2", "LOCALHOST", "[::1]:1", "127.0.0.2:1, localhost", "[::1]"] {
            assert!(are_local(hosts), "{hosts}");
        }
        for hosts in ["localhost.example.com:1", "127.0.0.1.example.com", "127.0.0.1,db:1", "10.0.0.1:1", ""] {
            assert!(!are_local(hosts), "{hosts}");
        }
    }
}
