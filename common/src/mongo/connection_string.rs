//! What the programs make of `mongodb.uri`: each of its options works, gives way to what the programs need, or is refused with a
//! reason.

use anyhow::{Context, anyhow};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, Credential, ReadPreference, Tls, TlsOptions, WriteConcern};
use secrecy::ExposeSecret;

use crate::settings::{Mongodb, SettingsError};

const SETTING: &str = "mongodb.uri";
/// What must be written otherwise in a user or a password.
const ENCODE: &str = "user and password with % : / ? # [ ] @ written as %25 %3A %2F %3F %23 %5B %5D %40";

/// The driver's options of these settings.
///
/// # Errors
/// A connection string that cannot be used (a [`SettingsError`]), a name that DNS does not know, or a file that cannot be read.
pub(super) async fn client_options(settings: &Mongodb) -> anyhow::Result<ClientOptions> {
    let uri = settings.uri.expose_secret().trim();
    let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let query = after_scheme.split_once('?').map_or("", |(_, query)| query);
    // The driver would repeat a part of the password as the name of an option.
    if query.contains('@') {
        return Err(unusable("one with an @ after the ?", ENCODE));
    }
    let mut options = ClientOptions::parse(uri).await.map_err(|error| unreadable(settings, &error))?;
    refuse_what_cannot_work(&options, settings)?;
    let overridden = override_what_promises_need(&mut options);
    if !overridden.is_empty() {
        tracing::warn!(options = overridden.join(" "), "options of mongodb.uri give way to what the programs need");
    }
    options.app_name.get_or_insert_with(|| "devtoolkit-analytics".into());
    options.server_selection_timeout = Some(settings.server_selection_timeout);
    set_credential(&mut options, settings, option_of(query, "authSource"))?;
    set_ca_file(&mut options, settings)?;
    Ok(options)
}

fn unusable(value: &str, expected: impl Into<String>) -> anyhow::Error {
    SettingsError::unusable(SETTING, value, expected).into()
}

/// The driver's reason, without what may be a part of the password.
fn unreadable(settings: &Mongodb, error: &Error) -> anyhow::Error {
    let reason = error.kind.to_string();
    if matches!(*error.kind, ErrorKind::DnsResolve { .. }) {
        return anyhow!(
            "DNS does not know MongoDB's hosts of {}: {reason}; check that DNS answers here and that mongodb.uri \
             (DEVTOOLKIT__MONGODB__URI) is right",
            super::hosts(settings)
        );
    }
    let reason = match reason.as_str() {
        // Where @host is forgotten, the driver takes the password for a port, and repeats it.
        reason if reason.contains("invalid server address") => "an address is not host:port",
        reason if reason.contains("not a 'key=value' pair") => "an option is not name=value",
        reason if reason.contains("URL encoded") || reason.contains("unescaped %") => {
            return unusable("not usable", format!("{ENCODE} ({reason})"));
        }
        reason if reason.contains("invalid option") || reason.contains("does not support") => {
            return unusable(
                "one with an option that these programs do not have",
                format!("one without it ({reason})"),
            );
        }
        reason => reason,
    };
    unusable("not usable", format!("mongodb://host:port/?replicaSet=name ({reason})"))
}

fn refuse_what_cannot_work(options: &ClientOptions, settings: &Mongodb) -> anyhow::Result<()> {
    if options.load_balanced == Some(true) {
        return Err(unusable(
            "one with loadBalanced=true",
            "the members of a replica set or the routers of a sharded cluster, without a load balancer before them",
        ));
    }
    // MongoDB's tools take the database of a connection string for the one of the data, or of the user.
    match options.default_database.as_deref() {
        None | Some("admin") => Ok(()),
        Some(named) if named == settings.database => Ok(()),
        Some(named) => Err(unusable(
            &format!("one with the database {named}, while mongodb.database is {}", settings.database),
            format!(
                "the same database in both, or none in the URI; if {named} only has the user, add authSource={named}"
            ),
        )),
    }
}

/// Returns the names of the options that gave way.
fn override_what_promises_need(options: &mut ClientOptions) -> Vec<&'static str> {
    let given = [
        // What is not acknowledged by a majority can be lost.
        (options.write_concern.replace(WriteConcern::majority()).is_some(), "w, journal, wtimeoutMS"),
        // A day computed from a member that lags would lack events. Reads that need more ask for it.
        (options.read_concern.take().is_some(), "readConcernLevel"),
        (
            options.selection_criteria.replace(ReadPreference::Primary.into()).is_some(),
            "readPreference, readPreferenceTags, maxStalenessSeconds",
        ),
        // Both are on by default: the driver then tries again at once what an election interrupts.
        (options.retry_writes.take() == Some(false), "retryWrites"),
        (options.retry_reads.take() == Some(false), "retryReads"),
        (options.server_selection_timeout.is_some(), "serverSelectionTimeoutMS"),
    ];
    given.into_iter().filter_map(|(is_given, names)| is_given.then_some(names)).collect()
}

fn set_credential(options: &mut ClientOptions, settings: &Mongodb, source: Option<&str>) -> anyhow::Result<()> {
    let Mongodb { username, password, .. } = settings;
    let in_uri = options.credential.as_ref().and_then(|credential| credential.username.as_deref());
    if in_uri.is_some_and(|in_uri| !username.is_empty() && in_uri != username) {
        return Err(unusable("one with another user than mongodb.username", "the user in one of the two"));
    }
    let has_user = in_uri.is_some() || !username.is_empty();
    let password = password.expose_secret();
    if !password.is_empty() && !has_user {
        return Err(SettingsError::unusable("mongodb.username", "empty", "a user, because there is a password").into());
    }
    if username.is_empty() && password.is_empty() {
        return Ok(());
    }
    let credential = options.credential.get_or_insert_with(|| Credential::builder().build());
    if !username.is_empty() {
        credential.username = Some(username.clone());
    }
    if !password.is_empty() {
        credential.password = Some(password.to_owned());
    }
    // The driver reads it only where the URI itself has a user.
    if let Some(source) = source {
        credential.source = Some(source.to_owned());
    }
    Ok(())
}

fn set_ca_file(options: &mut ClientOptions, settings: &Mongodb) -> anyhow::Result<()> {
    let ca_file = &settings.ca_file;
    if ca_file.as_os_str().is_empty() {
        return Ok(());
    }
    std::fs::metadata(ca_file)
        .with_context(|| format!("setting mongodb.ca_file names {}, which cannot be read", ca_file.display()))?;
    match options.tls.get_or_insert_with(|| Tls::Enabled(TlsOptions::default())) {
        Tls::Enabled(tls) => tls.ca_file_path = Some(ca_file.clone()),
        Tls::Disabled => {
            return Err(unusable(
                "one with tls=false, while mongodb.ca_file is set",
                "tls=true, or no mongodb.ca_file",
            ));
        }
    }
    Ok(())
}

/// The value of an option as it stands in the URI.
fn option_of<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let options = query.split('&').filter_map(|option| option.split_once('='));
    options.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn made_of(uri: &str) -> anyhow::Result<ClientOptions> {
        client_options(&Mongodb { uri: uri.into(), ..Mongodb::default() }).await
    }

    async fn refusal(settings: &Mongodb) -> String {
        match client_options(settings).await {
            Ok(_) => "it is taken".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    /// What the promises need, whatever the URI says.
    fn holds(options: &ClientOptions) -> bool {
        options.write_concern == Some(WriteConcern::majority())
            && options.selection_criteria == Some(ReadPreference::Primary.into())
            && options.read_concern.is_none()
            && options.retry_writes != Some(false)
            && options.retry_reads != Some(false)
            && options.server_selection_timeout == Some(Mongodb::default().server_selection_timeout)
    }

    #[tokio::test]
    async fn options_work_or_give_way() {
        type Check = fn(&ClientOptions) -> bool;
        let gives_way: Check = |_| true;
        let cases: &[(&str, Check)] = &[
            ("w=0", gives_way),
            ("w=1&journal=false&wtimeoutMS=1", gives_way),
            ("w=majority", gives_way),
            ("w=3", gives_way),
            ("readPreference=secondary", gives_way),
            ("readPreference=nearest&readPreferenceTags=dc:ny&readPreferenceTags=", gives_way),
            ("readPreference=secondaryPreferred&maxStalenessSeconds=120", gives_way),
            ("readConcernLevel=available", gives_way),
            ("retryWrites=false&retryReads=false", gives_way),
            ("retryWrites=true", gives_way),
            ("serverSelectionTimeoutMS=1", gives_way),
            ("appName=mine", |options| options.app_name.as_deref() == Some("mine")),
            ("connectTimeoutMS=2000", |options| options.connect_timeout == Some(Duration::from_secs(2))),
            ("heartbeatFrequencyMS=2000", |options| options.heartbeat_freq == Some(Duration::from_secs(2))),
            ("localThresholdMS=5", |options| options.local_threshold == Some(Duration::from_millis(5))),
            ("maxPoolSize=1&minPoolSize=1", |options| options.max_pool_size == Some(1)),
            ("maxIdleTimeMS=60000", |options| options.max_idle_time == Some(Duration::from_mins(1))),
            ("maxConnecting=1", |options| options.max_connecting == Some(1)),
            ("waitQueueTimeoutMS=1", gives_way),
            ("serverMonitoringMode=poll", |options| options.server_monitoring_mode.is_some()),
            ("replicaSet=rs7", |options| options.repl_set_name.as_deref() == Some("rs7")),
            ("directConnection=true", |options| options.direct_connection == Some(true)),
            ("directConnection=false&loadBalanced=false", gives_way),
            ("tls=true", |options| matches!(options.tls, Some(Tls::Enabled(_)))),
            (
                "ssl=true&tlsCAFile=/ca.pem",
                |options| matches!(&options.tls, Some(Tls::Enabled(tls)) if tls.ca_file_path.is_some()),
            ),
            ("tls=false", |options| matches!(options.tls, Some(Tls::Disabled))),
            (
                "tlsCertificateKeyFile=/key.pem",
                |options| matches!(&options.tls, Some(Tls::Enabled(tls)) if tls.cert_key_file_path.is_some()),
            ),
            ("tlsAllowInvalidCertificates=true", gives_way),
            ("tlsInsecure=true", gives_way),
        ];
        for (query, works) in cases {
            let options =
                made_of(&format!("mongodb://a:1/?{query}")).await.unwrap_or_else(|why| panic!("{query}: {why:#}"));
            assert!(holds(&options), "{query}: {options:?}");
            assert!(works(&options), "{query}: {options:?}");
        }
        for uri in ["mongodb://a", "mongodb://a:1,b:2,[::1]:3", " mongodb://a/devtoolkit\n", "mongodb://a/admin?w=0"] {
            assert!(holds(&made_of(uri).await.unwrap()), "{uri}");
        }
    }

    #[tokio::test]
    async fn what_cannot_work_is_refused_with_a_reason_and_without_the_password() {
        for (uri, reasons) in [
            ("mongodb://a/?loadBalanced=true", ["loadBalanced=true", "replica set"]),
            ("mongodb://a/other", ["the database other", "mongodb.database is devtoolkit"]),
            ("mongodb://u:hunter2@a/other", ["the database other", "authSource=other"]),
            ("mongodb://a/?compressors=zstd", ["compressors", "without it"]),
            ("mongodb://a/?zlibCompressionLevel=1", ["zlibCompressionLevel", "zlib"]),
            ("mongodb://a/?socketTimeoutMS=1", ["socketTimeoutMS", "without it"]),
            ("mongodb://a/?timeoutMS=1", ["timeoutms", "without it"]),
            ("mongodb://a/?proxyHost=p", ["proxyhost", "not"]),
            ("mongodb://a/?retryWrite=true", ["retrywrites", "without it"]),
            ("mongodb://a/?w=-1", ["w", "negative"]),
            ("mongodb://a/?maxPoolSize=0", ["maxPoolSize=0", "cannot"]),
            ("mongodb://a/?maxStalenessSeconds=1", ["staleness", "mode"]),
            ("mongodb://a,b/?directConnection=true", ["directConnection=true", "multiple"]),
            ("mongodb://a/?tls=maybe", ["tls", "boolean"]),
            ("mongodb://a/?tls", ["name=value", "mongodb.uri"]),
            ("mongodb+srv://a:1/", ["port", "mongodb+srv"]),
            ("mongodb+srv://a,b/", ["one host", "mongodb+srv"]),
            ("mongo://u:hunter2@a", ["scheme", "mongodb://"]),
            ("\"mongodb://u:hunter2@a\"", ["scheme", "mongodb://"]),
            ("a:27017", ["scheme", "mongodb://"]),
            ("mongodb://u:hunter2", ["host:port", "DEVTOOLKIT__MONGODB__URI"]),
            ("mongodb://u:hun@ter2@a/", ["%40", "password"]),
            ("mongodb://u:hun/ter2@a/", ["%2F", "password"]),
            ("mongodb://u:hunter2?x@a/", ["%3F", "@ after the ?"]),
            ("mongodb://u:hunter2%@a/", ["%25", "password"]),
            ("mongodb://u:hunter2@a/?authMechanism=GSSAPI", ["mongodb.uri", "("]),
        ] {
            let why = refusal(&Mongodb { uri: uri.into(), ..Mongodb::default() }).await;
            assert!(reasons.iter().all(|reason| why.contains(reason)), "{uri}: {why}");
            assert!(!why.contains("hunter2") && !why.contains("ter2"), "{uri}: {why}");
        }
    }

    #[tokio::test]
    async fn user_and_password_come_from_the_uri_or_the_settings() {
        let settings = |uri: &str, username: &str, password: &str| Mongodb {
            uri: uri.into(),
            username: username.into(),
            password: password.into(),
            ..Mongodb::default()
        };
        for (uri, username, password, source) in [
            ("mongodb://u:p@a/", "", "", Some("admin")),
            ("mongodb://u:p@a/?authSource=users", "", "", Some("users")),
            ("mongodb://u@a/", "", "p", Some("admin")),
            ("mongodb://u:p@a/", "u", "", Some("admin")),
            ("mongodb://a/?authsource=users", "u", "p", Some("users")),
            ("mongodb://a/", "u", "p", None),
        ] {
            let credential = client_options(&settings(uri, username, password)).await.unwrap().credential.unwrap();
            assert_eq!(
                (credential.username.as_deref(), credential.password.as_deref()),
                (Some("u"), Some("p")),
                "{uri}"
            );
            assert_eq!(credential.source.as_deref(), source, "{uri}");
        }
        let why = refusal(&settings("mongodb://u:p@a/", "other", "")).await;
        assert!(why.contains("mongodb.username"), "{why}");
        let why = refusal(&settings("mongodb://a/", "", "hunter2")).await;
        assert!(why.contains("mongodb.username") && !why.contains("hunter2"), "{why}");
    }

    #[tokio::test]
    async fn the_file_of_the_authority_leaves_the_other_tls_options_as_they_are() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let settings = |uri: &str| Mongodb { uri: uri.into(), ca_file: file.path().into(), ..Mongodb::default() };
        let options = client_options(&settings("mongodb://a/?tlsCertificateKeyFile=/key.pem")).await.unwrap();
        let Some(Tls::Enabled(tls)) = options.tls else { panic!("no TLS") };
        assert_eq!(tls.ca_file_path.as_deref(), Some(file.path()));
        assert!(tls.cert_key_file_path.is_some());
        let why = refusal(&settings("mongodb://a/?tls=false")).await;
        assert!(why.contains("tls=false") && why.contains("mongodb.ca_file"), "{why}");
    }
}
