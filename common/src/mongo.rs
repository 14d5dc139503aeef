//! Connecting to MongoDB.

use std::sync::Arc;

use anyhow::Context;
use bson::{Bson, Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, Credential, ReadPreference, SelectionCriteria, ServerAddress, Tls, TlsOptions};
use mongodb::{Client, Database};
use secrecy::ExposeSecret;

use crate::settings::{Mongodb, SettingsError};

/// Connects, waits until a primary answers, and returns the database of the settings.
///
/// # Errors
/// A connection string that is none (a [`SettingsError`]), or a server that cannot be reached or refuses the credentials.
pub async fn connect(settings: &Mongodb) -> anyhow::Result<Database> {
    let client = Client::with_options(client_options(settings).await?)?;
    let database = client.database(&settings.database);
    database.run_command(doc! { "ping": 1 }).selection_criteria(mongodb::options::ReadPreference::Primary.into()).await.map_err(
        |error| {
            let reason = error.kind.to_string();
            let advice = if matches!(*error.kind, ErrorKind::Authentication { .. }) {
                "mongodb.username and mongodb.password are those of a user there"
            } else if reason.contains("certificate") {
                "its certificate is valid and for this host name, and that mongodb.ca_file is of the authority that signed it"
            } else {
                "it runs and that mongodb.uri (DEVTOOLKIT__MONGODB__URI) is right"
            };
            anyhow::anyhow!("MongoDB at {} does not answer: {reason}; check that {advice}", hosts(settings))
        },
    )?;
    Ok(database)
}

async fn client_options(settings: &Mongodb) -> anyhow::Result<ClientOptions> {
    let mut options = ClientOptions::parse(settings.uri.expose_secret()).await.map_err(|error| {
        SettingsError::unusable(
            "mongodb.uri",
            "not usable",
            format!("mongodb://host:port/?replicaSet=name ({})", error.kind),
        )
    })?;
    options.app_name.get_or_insert_with(|| "devtoolkit-analytics".into());
    options.server_selection_timeout = Some(settings.server_selection_timeout);
    if !settings.username.is_empty() {
        let mut credential = options.credential.take().unwrap_or_else(|| Credential::builder().build());
        credential.username = Some(settings.username.clone());
        credential.password = Some(settings.password.expose_secret().to_owned());
        options.credential = Some(credential);
    }
    if !settings.ca_file.as_os_str().is_empty() {
        std::fs::metadata(&settings.ca_file).with_context(|| {
            format!("setting mongodb.ca_file names {}, which cannot be read", settings.ca_file.display())
        })?;
        options.tls = Some(Tls::Enabled(TlsOptions::builder().ca_file_path(settings.ca_file.clone()).build()));
    }
    Ok(options)
}

/// A server of its own among those of the database: what it keeps for itself is asked of each.
#[derive(Clone, Debug)]
pub struct Member {
    /// `host:port`.
    pub name: String,
    address: ServerAddress,
}

impl Member {
    /// For an operation that is meant for this server, whatever its state.
    pub fn criteria(&self) -> SelectionCriteria {
        let address = self.address.clone();
        SelectionCriteria::Predicate(Arc::new(move |server| *server.address() == address))
    }
}

/// The members of the replica set that hold data, whether they are up or not; with `directConnection` the one connected to.
/// None for a sharded cluster, whose routers keep nothing.
///
/// # Errors
/// MongoDB cannot be reached.
pub async fn members(settings: &Mongodb, database: &Database) -> anyhow::Result<Vec<Member>> {
    let options = client_options(settings).await?;
    if options.direct_connection == Some(true) {
        // Its name in the set may be another, and the others may be out of reach.
        return Ok(options.hosts.into_iter().map(|address| Member { name: address.to_string(), address }).collect());
    }
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    let hello: Document = database
        .run_command(doc! { "hello": 1 })
        .selection_criteria(primary)
        .await
        .context("the members of the replica set cannot be listed")?;
    let names = ["hosts", "passives"].into_iter().filter_map(|list| hello.get_array(list).ok()).flatten();
    names
        .filter_map(Bson::as_str)
        .map(|name| Ok(Member { name: name.to_owned(), address: ServerAddress::parse(name)? }))
        .collect()
}

/// Why an operation failed, in one line: the driver adds the state of every server of the set, which is the same in each line
/// of an outage's log.
pub fn reason(error: &Error) -> String {
    let whole = error.kind.to_string();
    match whole.split_once(". Topology:") {
        Some((reason, _)) => reason.to_owned(),
        None => whole,
    }
}

/// The hosts of the connection string, without its credentials.
pub fn hosts(settings: &Mongodb) -> String {
    let uri = settings.uri.expose_secret();
    let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts).to_owned()
}
