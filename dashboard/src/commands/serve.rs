//! `dashboard serve`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bson::doc;
use common::settings::{Dashboard, Settings, SettingsError};
use common::telemetry::{Part, Readiness};
use common::{mongo, shutdown, telemetry};
use mongodb::Database;

use crate::app::App;
use crate::{metrics, routes, server};

/// Of `/metrics` and `/healthz/…`.
pub const PORT: u16 = 9467;

/// How often MongoDB is asked whether it answers.
const INTERVAL: Duration = Duration::from_secs(5);

/// Serves until SIGTERM.
///
/// # Errors
/// Settings that cannot be used, a port that is in use, or MongoDB cannot be reached.
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    check(&settings.dashboard)?;
    let shutdown = shutdown::token()?;
    let recorder = common::metrics::install("dashboard", metrics::METRICS)?;
    let readiness = Readiness::starting(&[Part::Mongodb]);
    telemetry::serve(&settings.telemetry, PORT, recorder, readiness.clone(), shutdown.clone()).await?;
    let listener = server::listen(&settings.dashboard.listen).await?;
    let database = mongo::connect(&settings.mongodb).await?;
    let app = App::new(database.clone(), settings, shutdown.clone())?;
    readiness.set(Part::Mongodb, Ok(()));
    readiness.ready();
    tokio::spawn(follow(database.clone(), readiness));
    let live = Arc::clone(&app);
    tokio::spawn(async move { live.live.run(database).await });
    tokio::spawn(forget(Arc::clone(&app)));
    tracing::info!(address = %listener.local_addr()?, "serving pages and the API");
    server::serve(listener, routes::router(Arc::clone(&app)), shutdown).await;
    tokio::task::spawn_blocking(move || app.logins.flush()).await?;
    Ok(())
}

/// Forgets those whose requests are no longer counted.
async fn forget(app: Arc<App>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(60));
    loop {
        ticks.tick().await;
        app.limits.forget_the_quiet();
    }
}

async fn follow(database: Database, readiness: Readiness) {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let state = match tokio::time::timeout(INTERVAL, database.run_command(doc! { "ping": 1 })).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("does not answer as it should: {}", mongo::reason(&error))),
            Err(_) => Err(format!("no answer within {} s", INTERVAL.as_secs())),
        };
        readiness.set(Part::Mongodb, state);
    }
}

/// Passwords and cookies do not cross a network in the clear.
fn check(settings: &Dashboard) -> Result<(), SettingsError> {
    let (listen, url) = (settings.listen.as_str(), settings.public_url.as_str());
    let is_of_this_machine = |host_and_port: &str| {
        let host = host_and_port.rsplit_once(':').map_or(host_and_port, |(host, _)| host);
        host == "localhost"
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            || host_and_port.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
    };
    if !listen.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Err(SettingsError::unusable(
            "dashboard.listen",
            format!("{listen:?}"),
            "host:port such as 127.0.0.1:8090",
        ));
    }
    let is_good = match url.strip_prefix("http://") {
        Some(rest) => is_of_this_machine(rest.trim_end_matches('/')),
        None if url.is_empty() => is_of_this_machine(listen),
        None => url
            .strip_prefix("https://")
            .is_some_and(|rest| !rest.trim_end_matches('/').is_empty() && !rest.trim_end_matches('/').contains('/')),
    };
    if is_good {
        return check_provider(settings, is_of_this_machine);
    }
    let expected = if url.is_empty() {
        format!(
            "the https address that people open, because dashboard.listen is {listen}, which others reach: a proxy in front speaks TLS \
             (or http://localhost where a container's port is published to the machine itself)"
        )
    } else {
        "https://host without a path, or http://localhost".to_owned()
    };
    Err(SettingsError::unusable("dashboard.public_url", format!("{url:?}"), expected))
}

/// Nor do the provider's answers.
fn check_provider(settings: &Dashboard, is_of_this_machine: impl Fn(&str) -> bool) -> Result<(), SettingsError> {
    let issuer = settings.oidc_issuer.as_str();
    let host = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
    let is_good = match issuer.split_once("://") {
        Some(("https", rest)) => !host(rest).is_empty(),
        Some(("http", rest)) => is_of_this_machine(&host(rest)),
        _ => issuer.is_empty(),
    };
    if !is_good || issuer.contains(['?', '#']) {
        let expected = "the issuer as the provider writes it, https://host or https://host/path, or empty";
        return Err(SettingsError::unusable("dashboard.oidc_issuer", format!("{issuer:?}"), expected));
    }
    if !issuer.is_empty() && settings.oidc_client_id.is_empty() {
        let expected = "what the provider calls the dashboard, because dashboard.oidc_issuer names a provider";
        return Err(SettingsError::unusable("dashboard.oidc_client_id", "empty", expected));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_cross_a_network_in_the_clear() {
        let check = |listen: &str, public_url: &str| {
            let settings = Dashboard { listen: listen.into(), public_url: public_url.into(), ..Dashboard::default() };
            check(&settings).map_err(|error| error.to_string())
        };
        for listen in ["127.0.0.1:8090", "127.0.0.1:0", "localhost:1", "[::1]:80"] {
            assert_eq!(check(listen, ""), Ok(()), "{listen}");
        }
        assert_eq!(check("0.0.0.0:8090", "https://a.example"), Ok(()));
        assert_eq!(check("0.0.0.0:8090", "http://localhost:8090/"), Ok(()));
        for (listen, url, key) in [
            ("0.0.0.0:8090", "", "dashboard.public_url"),
            ("10.0.0.1:8090", "http://a.example", "dashboard.public_url"),
            ("127.0.0.1:8090", "ftp://a", "dashboard.public_url"),
            ("127.0.0.1:8090", "https://a.example/path", "dashboard.public_url"),
            ("8090", "", "dashboard.listen"),
            (":8090", "", "dashboard.listen"),
        ] {
            assert!(check(listen, url).unwrap_err().contains(key), "{listen} {url}");
        }
    }

    #[test]
    fn a_provider_is_asked_by_https_and_knows_the_dashboard() {
        let check = |issuer: &str, id: &str| {
            let settings = Dashboard { oidc_issuer: issuer.into(), oidc_client_id: id.into(), ..Dashboard::default() };
            check(&settings).map_err(|error| error.to_string())
        };
        for issuer in ["", "https://a.example", "https://a.example/b", "http://127.0.0.1:1/c"] {
            assert_eq!(check(issuer, "d"), Ok(()), "{issuer}");
        }
        for issuer in ["http://a.example", "a.example", "https://", "https://a.example?b"] {
            assert!(check(issuer, "d").unwrap_err().contains("dashboard.oidc_issuer"), "{issuer}");
        }
        assert!(check("https://a.example", "").unwrap_err().contains("dashboard.oidc_client_id"));
    }
}
