//! Connecting to MongoDB.

pub mod clock;
mod connection_string;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bson::{Bson, Document, doc};
use futures::future::join_all;
use mongodb::error::{
    Error, ErrorKind, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
    WriteFailure,
};
use mongodb::options::{ClientOptions, ReadPreference, SelectionCriteria, ServerAddress, Tls};
use mongodb::{Client, Database};
use secrecy::ExposeSecret;

use crate::settings::Mongodb;
use crate::tls;
use connection_string::client_options;

/// The server's code for a collection that is not there.
pub const NAMESPACE_NOT_FOUND: i32 = 26;

/// Codes of a server that changes its role, stops or has dropped a cursor (CursorNotFound, ReadConcernMajorityNotAvailableYet,
/// and the retryable codes of MongoDB's retryable reads specification).
const PASSING_CODES: [i32; 15] = [6, 7, 43, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436];

/// How long a single server is asked what it is, once the set has not answered.
const DIRECT_ANSWER: Duration = Duration::from_secs(2);

/// Connects, waits until a primary answers, and returns the database of the settings.
///
/// # Errors
/// A connection string that cannot be used (a [`crate::settings::SettingsError`]), a server that cannot be reached or refuses the
/// credentials, or one that takes no transactions.
pub async fn connect(settings: &Mongodb) -> anyhow::Result<Database> {
    let options = client_options(settings).await?;
    refuse_old_tls(settings, &options).await?;
    let database = Client::with_options(options.clone())?.database(&settings.database);
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    let unfit = match database.run_command(doc! { "hello": 1 }).selection_criteria(primary).await {
        Ok(hello) => unfit(&hello, None),
        Err(error) => match first_unfit(&options, &error).await {
            None => return Err(no_answer(settings, &error)),
            unfit => unfit,
        },
    };
    unfit.map_or(Ok(database), |why| bail!("MongoDB at {} cannot be used: {why}", hosts(settings)))
}

/// The driver takes any version that it knows, so each server is asked before it gets a password. One that does not answer is left to
/// the driver.
async fn refuse_old_tls(settings: &Mongodb, options: &ClientOptions) -> anyhow::Result<()> {
    if settings.tls_min_version != tls::NEWEST || !matches!(options.tls, Some(Tls::Enabled(_))) {
        return Ok(());
    }
    let shakes = options.hosts.iter().map(|host| {
        let address = host.to_string();
        tokio::task::spawn_blocking(move || (tls::shake(&address).ok(), address))
    });
    for shaken in join_all(shakes).await {
        let (Some(agreed), address) = shaken? else { continue };
        if agreed.protocol != tls::NEWEST {
            bail!(
                "MongoDB at {address} speaks {} at most, and setting mongodb.tls_min_version is TLSv1.3: start mongod so that it \
                 speaks TLS 1.3 (--tlsDisabledProtocols without TLS1_3), or set mongodb.tls_min_version to TLSv1.2",
                agreed.protocol
            );
        }
    }
    Ok(())
}

fn no_answer(settings: &Mongodb, error: &Error) -> anyhow::Error {
    let reason = error.kind.to_string();
    let advice = if matches!(*error.kind, ErrorKind::Authentication { .. }) {
        "mongodb.username and mongodb.password are those of a user there"
    } else if reason.contains("certificate") {
        "its certificate is valid and for this host name, and that mongodb.ca_file is of the authority that signed it"
    } else {
        "it runs and that mongodb.uri (DEVTOOLKIT__MONGODB__URI) is right"
    };
    anyhow!("MongoDB at {} does not answer: {reason}; check that {advice}", hosts(settings))
}

/// Why a server that says this of itself cannot be used; none if it can. `wanted` is the replica set of the connection string.
fn unfit(hello: &Document, wanted: Option<&str>) -> Option<String> {
    match hello.get_str("setName") {
        Ok(name) => wanted.filter(|wanted| *wanted != name).map(|wanted| {
            format!("its replica set is called {name}, and mongodb.uri says replicaSet={wanted}")
        }),
        Err(_) if is_router(hello) => {
            wanted.map(|_| "it is a router of a sharded cluster: leave replicaSet out of mongodb.uri".to_owned())
        }
        Err(_) if hello.get_bool("isreplicaset").unwrap_or(false) => {
            Some("its replica set is not initiated: run rs.initiate() there".to_owned())
        }
        Err(_) => Some(
            "it is a single server, and transactions and majority writes need a replica set: start mongod with --replSet, and \
             run rs.initiate() there"
                .to_owned(),
        ),
    }
}

/// Of a sharded cluster.
fn is_router(hello: &Document) -> bool {
    hello.get_str("msg").is_ok_and(|message| message == "isdbgrid")
}

/// The driver says no more than that none of the servers fits: each is asked alone what it is.
async fn first_unfit(options: &ClientOptions, error: &Error) -> Option<String> {
    if !matches!(*error.kind, ErrorKind::ServerSelection { .. }) {
        return None;
    }
    for host in &options.hosts {
        let mut direct = options.clone();
        direct.hosts = vec![host.clone()];
        direct.direct_connection = Some(true);
        direct.repl_set_name = None;
        direct.server_selection_timeout = Some(DIRECT_ANSWER);
        direct.connect_timeout = Some(DIRECT_ANSWER);
        // A host that does not answer says nothing of the others.
        let Ok(client) = Client::with_options(direct) else { continue };
        let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
        client.shutdown().immediate(true).await;
        if let Some(why) = hello.ok().and_then(|hello| unfit(&hello, options.repl_set_name.as_deref())) {
            return Some(format!("{host}: {why}"));
        }
    }
    None
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

/// The server's code, where it refused a command.
pub fn code_of(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(refusal) => Some(refusal.code),
        _ => None,
    }
}

/// Whether the server's code is of a fault that passes: a failover, a server that stops, a lost cursor.
pub fn is_passing_code(code: i32) -> bool {
    PASSING_CODES.contains(&code)
}

/// Whether the same operation, safe to repeat, may succeed later.
pub fn is_passing(error: &Error) -> bool {
    error.contains_label(RETRYABLE_WRITE_ERROR)
        || error.contains_label(TRANSIENT_TRANSACTION_ERROR)
        || error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
        || match error.kind.as_ref() {
            ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::ServerSelection { .. } => true,
            ErrorKind::Command(command) => is_passing_code(command.code),
            ErrorKind::Write(WriteFailure::WriteConcernError(_)) => true,
            _ => false,
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

/// Whether an error is that of a write that would have doubled a unique key.
pub fn is_duplicate(error: &Error) -> bool {
    const DUPLICATE_KEY: i32 = 11_000;
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(write)) => write.code == DUPLICATE_KEY,
        ErrorKind::Command(command) => command.code == DUPLICATE_KEY,
        _ => false,
    }
}

/// How the wire to MongoDB is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Not at all.
    Clear,
    /// TLS with any certificate.
    Unchecked,
    /// TLS with a certificate that is checked.
    Checked,
}

/// What the driver makes of the settings.
///
/// # Errors
/// A connection string that cannot be used, or a name that DNS does not know.
pub async fn wire(settings: &Mongodb) -> anyhow::Result<Wire> {
    Ok(match client_options(settings).await?.tls {
        None | Some(Tls::Disabled) => Wire::Clear,
        Some(Tls::Enabled(tls)) if tls.allow_invalid_certificates == Some(true) => Wire::Unchecked,
        Some(Tls::Enabled(_)) => Wire::Checked,
    })
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
    async fn an_option_counts_however_its_name_is_spelt() {
        for (query, expected) in [
            ("", Wire::Clear),
            ("?TLS=true", Wire::Checked),
            ("?ssl=true", Wire::Checked),
            ("?tls=false", Wire::Clear),
            ("?tls=true&tlsinsecure=true", Wire::Unchecked),
            ("?tls=true&tlsAllowInvalidCertificates=true", Wire::Unchecked),
        ] {
            let settings = Mongodb { uri: format!("mongodb://a/{query}").into(), ..Mongodb::default() };
            assert_eq!(wire(&settings).await.unwrap(), expected, "{query}");
        }
    }

    #[test]
    fn a_server_that_takes_no_transactions_is_unfit() {
        assert_eq!(unfit(&doc! { "setName": "rs0" }, None), None);
        assert_eq!(unfit(&doc! { "setName": "rs0" }, Some("rs0")), None);
        assert_eq!(unfit(&doc! { "msg": "isdbgrid" }, None), None);
        let why = |hello: Document, wanted| unfit(&hello, wanted).unwrap();
        assert!(why(doc! { "setName": "rs0" }, Some("rs1")).contains("rs0, and mongodb.uri says replicaSet=rs1"));
        assert!(why(doc! { "msg": "isdbgrid" }, Some("rs0")).contains("router"));
        assert!(why(doc! { "isreplicaset": true }, None).contains("not initiated"));
        assert!(why(doc! { "isWritablePrimary": true }, None).contains("single server"));
    }
}
