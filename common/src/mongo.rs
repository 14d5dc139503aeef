//! Connecting to MongoDB.

use std::sync::Arc;

use anyhow::Context;
use bson::{Bson, Document, doc};
use mongodb::error::{Error, ErrorKind, WriteFailure};
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
        // Where @host is forgotten, the driver takes the password for a port, and repeats it.
        let reason = error.kind.to_string();
        let reason =
            reason.split_once("invalid server address").map_or(reason.as_str(), |_| "an address is not host:port");
        SettingsError::unusable("mongodb.uri", "not usable", format!("mongodb://host:port/?replicaSet=name ({reason})"))
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

/// Why an operation failed, in one line for the log: without the state of every server of the set, which the driver adds, and
/// without what stood in a document, which may be personal.
pub fn reason(error: &Error) -> String {
    let of_the_server = |code: i32, name: &str, message: &str| {
        let message = without_values(message);
        if name.is_empty() {
            format!("the server says: {message} (code {code})")
        } else {
            format!("the server says: {message} (code {code}, {name})")
        }
    };
    match &*error.kind {
        ErrorKind::Command(command) => of_the_server(command.code, &command.code_name, &command.message),
        ErrorKind::Write(WriteFailure::WriteError(write)) => of_the_server(write.code, "", &write.message),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => {
            of_the_server(concern.code, &concern.code_name, &concern.message)
        }
        ErrorKind::InsertMany(_) | ErrorKind::BulkWrite(_) => "several documents were refused".to_owned(),
        kind => {
            let whole = kind.to_string();
            whole.split_once(". Topology:").map_or(whole.as_str(), |(reason, _)| reason).to_owned()
        }
    }
}

/// A message of the server without the values that it repeats of a document whose key is there already.
pub fn without_values(message: &str) -> &str {
    message.split_once(" dup key:").map_or(message, |(before, _)| before)
}

/// An error and its causes in one line for the log, as [`reason`] has them.
pub fn in_words(error: &anyhow::Error) -> String {
    let words = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<Error>().map_or_else(|| cause.to_string(), reason)
    };
    error.chain().map(words).collect::<Vec<_>>().join(": ")
}

/// The hosts of the connection string, without its credentials.
pub fn hosts(settings: &Mongodb) -> String {
    let uri = settings.uri.expose_secret();
    let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stood_in_a_document_is_not_repeated() {
        let refused: WriteFailure = bson::deserialize_from_document(doc! { "WriteError": {
            "code": 11_000,
            "errmsg": "E11000 duplicate key error collection: d.users index: email_1 dup key: { email: \"a@b.c\" }",
            "errInfo": { "email": "a@b.c" },
        } })
        .unwrap();
        let error = anyhow::Error::from(Error::from(ErrorKind::Write(refused))).context("writing the users");
        let said = "the server says: E11000 duplicate key error collection: d.users index: email_1 (code 11000)";
        assert_eq!(in_words(&error), format!("writing the users: {said}"));
    }

    #[tokio::test]
    async fn a_password_without_its_host_is_not_repeated() {
        let settings = Mongodb { uri: "mongodb://user:hunter2".into(), ..Mongodb::default() };
        let message = client_options(&settings).await.unwrap_err().to_string();
        assert!(message.contains("host:port") && !message.contains("hunter2"), "{message}");
    }
}
