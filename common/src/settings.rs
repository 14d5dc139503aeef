//! The settings of every program: `config/analytics.toml`, overridden by `DEVTOOLKIT__SECTION__KEY` in the environment.

mod brokers;
mod duration;
mod retention;
mod shown;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Toml};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

pub use self::retention::Retention;
use self::shown::Layers;
use crate::documents::system_analytics::Engine;
use crate::event::MAX_SOURCE;
use crate::tls;

/// Where settings are read from when `--config` names no other file; it may be absent.
pub const DEFAULT_FILE: &str = "config/analytics.toml";

const ENVIRONMENT_PREFIX: &str = "DEVTOOLKIT__";

/// All settings, one field per section of the file. Every key has a default, so an empty file is valid.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `[kafka]`: where events come from.
    pub kafka: Kafka,
    /// `[mongodb]`: where documents go.
    pub mongodb: Mongodb,
    /// `[ingest]`: how events are taken over.
    pub ingest: Ingest,
    /// `[aggregator]`: how days are rolled up.
    pub aggregator: Aggregator,
    /// `[dashboard]`: where pages are served, and how long people stay signed in.
    pub dashboard: Dashboard,
    /// `[security]`: which failed logins count, which are suspicious, and where the keys are.
    pub security: Security,
    /// `[privacy]`: whether and when the raw events of a day are anonymised.
    pub privacy: Privacy,
    /// `[backup]`: where backups are kept, and for whom they are encrypted.
    pub backup: Backup,
    /// `[retention]`: how long documents are kept.
    pub retention: Retention,
    /// `[telemetry]`: logs, metrics and health.
    pub telemetry: Telemetry,
}

/// `[kafka]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// Bootstrap brokers, `host:port` separated by commas.
    pub brokers: String,
    /// The topic of the events.
    pub topic: String,
    /// The consumer group of the ingest workers.
    pub group_id: String,
    /// Partitions of the topic when `admin migrate` creates it; the upper limit of workers that share the load.
    pub partitions: i32,
    /// Replicas of the topics when `admin migrate` creates them; -1 takes the broker's default.
    pub replication_factor: i32,
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
    pub security_protocol: String,
    /// PEM file of the authority that signed the brokers' certificates; empty takes the system's.
    pub ca_file: PathBuf,
    /// The lowest version of TLS that is taken: `TLSv1.2` or `TLSv1.3`.
    pub tls_min_version: String,
    /// SASL mechanism: `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub sasl_mechanism: String,
    /// SASL user name.
    pub username: String,
    /// SASL password.
    #[serde(serialize_with = "shown::masked")]
    pub password: SecretString,
    /// File with the SASL password, instead of `password`; empty names none.
    pub password_file: PathBuf,
    /// `cooperative-sticky`, `range` or `roundrobin`; the same for all workers of the group.
    pub partition_assignment_strategy: String,
}

impl Kafka {
    /// The topic of the dead letters: the events' topic with `.dlq` appended.
    pub fn dead_letter_topic(&self) -> String {
        format!("{}.dlq", self.topic)
    }

    /// The compacted topic of the erased people's tombstones: the events' topic with `.erasures` appended.
    pub fn erasures_topic(&self) -> String {
        format!("{}.erasures", self.topic)
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".into(),
            topic: "devtoolkit.usage-events.v1".into(),
            group_id: "devtoolkit-ingest".into(),
            partitions: 4,
            replication_factor: -1,
            security_protocol: "plaintext".into(),
            ca_file: PathBuf::new(),
            tls_min_version: tls::NEWEST.into(),
            sasl_mechanism: "SCRAM-SHA-512".into(),
            username: String::new(),
            password: SecretString::default(),
            password_file: PathBuf::new(),
            partition_assignment_strategy: "cooperative-sticky".into(),
        }
    }
}

/// `[mongodb]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mongodb {
    /// Connection string. It may hold a password, so it is a secret.
    #[serde(serialize_with = "shown::masked_uri")]
    pub uri: SecretString,
    /// The database of all collections.
    pub database: String,
    /// User name, when it is not part of `uri`.
    pub username: String,
    /// Password, when it is not part of `uri`.
    #[serde(serialize_with = "shown::masked")]
    pub password: SecretString,
    /// File with the password, instead of `password`; empty names none.
    pub password_file: PathBuf,
    /// PEM file of the authority that signed the servers' certificates; setting it turns TLS on.
    pub ca_file: PathBuf,
    /// The lowest version of TLS that is taken at the start: `TLSv1.2` or `TLSv1.3`.
    pub tls_min_version: String,
    /// How long an operation looks for a suitable server before it fails.
    #[serde(with = "duration")]
    pub server_selection_timeout: Duration,
    /// For `admin migrate`: operations that take longer are kept by MongoDB's profiler; zero leaves the profiler alone.
    #[serde(with = "duration")]
    pub slow_query_threshold: Duration,
}

impl Default for Mongodb {
    fn default() -> Self {
        Self {
            uri: SecretString::from("mongodb://127.0.0.1:27017/?replicaSet=rs0"),
            database: "devtoolkit".into(),
            username: String::new(),
            password: SecretString::default(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            tls_min_version: tls::NEWEST.into(),
            server_selection_timeout: Duration::from_secs(10),
            slow_query_threshold: Duration::from_millis(200),
        }
    }
}

/// `[ingest]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingest {
    /// An event older than this goes to the dead letters; so does one older than its collection keeps documents.
    #[serde(with = "duration")]
    pub max_age: Duration,
    /// An event further ahead of the clock than this goes to the dead letters.
    #[serde(with = "duration")]
    pub max_future: Duration,
    /// Bytes of key and value that a message may have, 1024 to 16000000; a larger one goes to the dead letters.
    pub max_message_bytes: usize,
    /// Documents of one collection that close a batch, 1 to 10000.
    pub batch_events: usize,
    /// Bytes of documents of one collection that close a batch, at most 16000000.
    pub batch_bytes: usize,
    /// The age at which a batch is closed however small it is.
    #[serde(with = "duration")]
    pub batch_time: Duration,
    /// Batches being written at the same time, 1 to 64.
    pub in_flight: usize,
    /// How often acknowledged offsets are committed.
    #[serde(with = "duration")]
    pub commit_interval: Duration,
    /// How long a rebalance or a shutdown waits for the batches in flight.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// Events that a worker takes in a second; 0 is no limit. `ingest_max_events_per_second` in `system_configuration` wins.
    pub max_events_per_second: u32,
    /// Events of one tool that a worker takes in a minute; 0 is no limit. `ingest_tool_events_per_minute` in
    /// `system_configuration` wins.
    pub tool_events_per_minute: u32,
    /// Events of one `source` that a worker takes in a minute; 0 is no limit. `ingest_source_events_per_minute` in
    /// `system_configuration` wins.
    pub source_events_per_minute: u32,
    /// Events of one user that a worker takes in a minute; 0 is no limit. `ingest_user_events_per_minute` in
    /// `system_configuration` wins.
    pub user_events_per_minute: u32,
    /// Which documents of `system_configuration` are meant: those of this environment, and of `all`.
    pub environment: String,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(365 * 24 * 60 * 60),
            max_future: Duration::from_secs(5 * 60),
            max_message_bytes: 1024 * 1024,
            batch_events: 1_000,
            batch_bytes: 4_000_000,
            batch_time: Duration::from_millis(200),
            in_flight: 4,
            commit_interval: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(5),
            max_events_per_second: 0,
            tool_events_per_minute: 0,
            source_events_per_minute: 0,
            user_events_per_minute: 0,
            environment: "production".into(),
        }
    }
}

/// `[aggregator]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Aggregator {
    /// When `aggregator serve` rolls up the day before: a cron expression of five fields, in UTC.
    pub schedule: String,
    /// What computes a day: `scan` or `pushdown`. Both give the same numbers.
    pub engine: Engine,
    /// How often `aggregator serve` looks for days with late events, and refreshes today's provisional document.
    #[serde(with = "duration")]
    pub refresh: Duration,
    /// Slices of a day that are read at the same time, 1 to 64.
    pub scan_readers: usize,
    /// Mebibytes of users and sessions that a reading of a day holds at a time, 16 to 65536.
    pub scan_memory_mib: usize,
}

impl Default for Aggregator {
    fn default() -> Self {
        Self {
            schedule: "10 0 * * *".into(),
            engine: Engine::Scan,
            refresh: Duration::from_secs(5 * 60),
            scan_readers: 4,
            scan_memory_mib: 256,
        }
    }
}

/// `[dashboard]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dashboard {
    /// `host:port` of the pages and the API.
    pub listen: String,
    /// The address that people open, `https://host`, where a proxy in front of the dashboard speaks TLS; empty where people of this
    /// machine open `listen` itself.
    pub public_url: String,
    /// A session ends when nobody has used it for this long.
    #[serde(with = "duration")]
    pub session_idle: Duration,
    /// A session ends this long after signing in, however much it is used.
    #[serde(with = "duration")]
    pub session_lifetime: Duration,
    /// Whether signing in, failing to and signing out are sent to Kafka as events.
    pub login_events: bool,
    /// The issuer of an OpenID Connect provider at which people sign in besides; empty for none.
    pub oidc_issuer: String,
    /// What the provider calls the dashboard.
    pub oidc_client_id: String,
    /// The secret that the provider gave the dashboard; empty for a client without one.
    #[serde(serialize_with = "shown::masked")]
    pub oidc_client_secret: SecretString,
    /// File with the secret, instead of `oidc_client_secret`; empty names none.
    pub oidc_client_secret_file: PathBuf,
}

impl Default for Dashboard {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8090".into(),
            public_url: String::new(),
            session_idle: Duration::from_secs(12 * 60 * 60),
            session_lifetime: Duration::from_secs(7 * 24 * 60 * 60),
            login_events: true,
            oidc_issuer: String::new(),
            oidc_client_id: String::new(),
            oidc_client_secret: SecretString::default(),
            oidc_client_secret_file: PathBuf::new(),
        }
    }
}

/// `[security]`: what [`crate::suspicious`] counts, over ten minutes, and its thresholds; the [`crate::keyring`].
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Failed logins that make an account suspicious, at least 1.
    pub account_failures: u32,
    /// Failed logins that make an address suspicious, at least 1.
    pub address_failures: u32,
    /// Different accounts with failed logins that make an address suspicious, at least 1.
    pub address_accounts: u32,
    /// The `source`s whose logins and failed logins count; none listed counts those of every source.
    pub login_sources: Vec<String>,
    /// File with the keys that protect secrets in the database; empty names none.
    pub keyring_file: PathBuf,
    /// The address ranges from which each user of MongoDB may sign in, for `admin access`; a user that is not named may from anywhere.
    pub client_sources: BTreeMap<String, Vec<String>>,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            account_failures: 10,
            address_failures: 30,
            address_accounts: 10,
            login_sources: Vec::new(),
            keyring_file: PathBuf::new(),
            client_sources: BTreeMap::new(),
        }
    }
}

impl Security {
    fn check_sources(&self) -> Result<(), SettingsError> {
        let is_range = |text: &str| {
            let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
            let Ok(address) = address.parse::<IpAddr>() else { return false };
            let most = if address.is_ipv4() { 32 } else { 128 };
            bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
        };
        for (user, ranges) in &self.client_sources {
            if let Some(wrong) = ranges.iter().find(|range| !is_range(range)) {
                let expected = "addresses and ranges, such as [\"10.1.0.0/16\", \"192.0.2.7\"]";
                let value = format!("{wrong:?} for {user}");
                return Err(SettingsError::unusable("security.client_sources", value, expected));
            }
        }
        Ok(())
    }
}

/// `[privacy]`: what `aggregator serve` does with the raw events of a day whose numbers are published.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    /// Whether `aggregator serve` anonymises days. It cannot be undone, so it is off until somebody asks for it.
    pub anonymise: bool,
    /// How long after its end a day takes late events; then it is closed, anonymised and sealed.
    #[serde(with = "duration")]
    pub late_arrival: Duration,
    /// Events that are rewritten in a second, so that ingest keeps its rate; 0 is no limit.
    pub anonymise_events_per_second: u32,
    /// The keys of `metadata.customData` that stay.
    pub custom_data_allowed: Vec<String>,
}

impl Default for Privacy {
    fn default() -> Self {
        Self {
            anonymise: false,
            late_arrival: Duration::from_secs(7 * 24 * 60 * 60),
            anonymise_events_per_second: 2_000,
            custom_data_allowed: Vec::new(),
        }
    }
}

/// Longer than any event is kept, and far below what a clock or a date can be moved by.
const LONGEST: Duration = Duration::from_secs(3_650 * 24 * 60 * 60);

fn not_too_long(key: &'static str, value: Duration) -> Result<(), SettingsError> {
    if value > LONGEST {
        let value = format!("{} days", value.as_secs() / (24 * 60 * 60));
        return Err(SettingsError::unusable(key, value, "at most 3650d"));
    }
    Ok(())
}

impl Privacy {
    /// MongoDB's projections take a key with a dot for a path, and one with a dollar for an operator.
    fn check(&self) -> Result<(), SettingsError> {
        let is_key = |key: &String| !key.is_empty() && !key.contains(['.', '$', '\0']);
        if let Some(key) = self.custom_data_allowed.iter().find(|key| !is_key(key)) {
            let expected = "keys of metadata.customData without dot and dollar, such as [\"theme\"]";
            return Err(SettingsError::unusable(
                "privacy.custom_data_allowed",
                format!("a list with {key:?}"),
                expected,
            ));
        }
        Ok(())
    }
}

/// `[backup]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backup {
    /// Where backups are kept: `file:///path` or `s3://bucket/prefix`; empty for nowhere.
    pub storage: String,
    /// `http(s)://host:port` of a server that speaks S3's API; empty takes Amazon's for `region`.
    pub endpoint: String,
    /// S3's region.
    pub region: String,
    /// S3's access key.
    pub access_key: String,
    /// S3's secret key.
    #[serde(serialize_with = "shown::masked")]
    pub secret_key: SecretString,
    /// File with S3's secret key, instead of `secret_key`; empty names none.
    pub secret_key_file: PathBuf,
    /// A second place, in another region, to which `admin backup copy` copies what it lacks; empty for none.
    pub second_storage: String,
    /// As `endpoint`, of the second place.
    pub second_endpoint: String,
    /// As `region`, of the second place.
    pub second_region: String,
    /// The age recipient for whom backups are encrypted, `age1…`.
    pub recipient: String,
    /// File with the recipient, instead of `recipient`; empty names none.
    pub recipient_file: PathBuf,
    /// File with the age identity of `recipient`; only restoring and verifying need it. Empty names none.
    pub identity_file: PathBuf,
    /// When `admin backup schedule` makes a full backup: a cron expression of five fields, in UTC.
    pub full_schedule: String,
    /// When it makes an incremental backup.
    pub incremental_schedule: String,
    /// How often it saves a slice of the oplog.
    #[serde(with = "duration")]
    pub slice_interval: Duration,
    /// When it tries a restore, if it has the identity; empty for never.
    pub rehearsal_schedule: String,
    /// Days back to which the database can be restored to any second, 1 to 365.
    pub keep_days: u32,
    /// Months that the monthly archive is kept, 1 to 120.
    pub keep_months: u32,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            storage: String::new(),
            endpoint: String::new(),
            region: "us-east-1".into(),
            access_key: String::new(),
            secret_key: SecretString::default(),
            secret_key_file: PathBuf::new(),
            second_storage: String::new(),
            second_endpoint: String::new(),
            second_region: "us-west-2".into(),
            recipient: String::new(),
            recipient_file: PathBuf::new(),
            identity_file: PathBuf::new(),
            full_schedule: "0 2 * * *".into(),
            incremental_schedule: "0 */6 * * *".into(),
            slice_interval: Duration::from_secs(60),
            rehearsal_schedule: "0 4 * * 0".into(),
            keep_days: 7,
            keep_months: 12,
        }
    }
}

/// `[telemetry]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// `host:port` of `/metrics` and `/healthz/…`; empty takes `127.0.0.1` and the program's own port.
    pub listen: String,
    /// `pretty` for people, `json` for machines.
    pub log_format: LogFormat,
    /// Which log lines are written, as `tracing` directives: `info`, `ingest=debug,info`.
    pub log_filter: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { listen: String::new(), log_format: LogFormat::Pretty, log_filter: "info".into() }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Settings that cannot be used; the message names the key and where it was set.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// `--config` names a file that cannot be read.
    #[error("the settings file {path} cannot be read: {source}; name an existing file with --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key is unknown, or its value is of the wrong kind.
    #[error("{0}; every key is described in {DEFAULT_FILE}")]
    Invalid(String),
    /// A value is of the right kind but cannot work.
    #[error("setting {key} is {value}, expected {expected}; set it in {DEFAULT_FILE} or as {variable}")]
    Unusable {
        /// `section.key`.
        key: &'static str,
        /// What came (never a secret).
        value: String,
        /// What was expected.
        expected: String,
        /// The environment variable that sets the same.
        variable: String,
    },
}

impl SettingsError {
    /// A value of `section.key` that cannot work; `value` must not hold a secret.
    pub fn unusable(key: &'static str, value: impl ToString, expected: impl Into<String>) -> Self {
        let variable = format!("{ENVIRONMENT_PREFIX}{}", key.to_uppercase().replace('.', "__"));
        Self::Unusable { key, value: value.to_string(), expected: expected.into(), variable }
    }
}

impl Settings {
    /// Reads `file`, or [`DEFAULT_FILE`] where it exists, then the environment, then the files with passwords, and checks
    /// every value.
    ///
    /// # Errors
    /// An unreadable file, an unknown key, a value of the wrong kind or out of its range.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        Ok(Self::with_layers(file, environment())?.0)
    }

    /// The settings in force as TOML, each with where its value comes from, and without secrets.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn shown(file: Option<&Path>) -> Result<String, SettingsError> {
        let (settings, layers) = Self::with_layers(file, environment())?;
        shown::shown(&settings, &layers).map_err(|error| SettingsError::Invalid(error.to_string()))
    }

    fn with_layers(file: Option<&Path>, environment: Figment) -> Result<(Self, Layers), SettingsError> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(SettingsError::Unreadable { path: path.to_owned(), source }),
        };
        let file_layer = Figment::from(Toml::string(&text));
        // The file alone first: an error then names the file, not the merge.
        file_layer.extract::<Self>().map_err(|error| invalid(&error, &format!("the file {}", path.display())))?;
        let mut settings: Self = file_layer
            .clone()
            .merge(environment.clone())
            .extract()
            .map_err(|error| invalid(&error, "the environment"))?;
        let Self { kafka, mongodb, backup, dashboard, .. } = &mut settings;
        read_password("kafka.password_file", &kafka.password_file, &mut kafka.password)?;
        read_password("mongodb.password_file", &mongodb.password_file, &mut mongodb.password)?;
        read_password("backup.secret_key_file", &backup.secret_key_file, &mut backup.secret_key)?;
        let (file, secret) = (&dashboard.oidc_client_secret_file, &mut dashboard.oidc_client_secret);
        read_password("dashboard.oidc_client_secret_file", file, secret)?;
        kafka.brokers = brokers::normalised(&kafka.brokers, &kafka.security_protocol)
            .map_err(|expected| SettingsError::unusable("kafka.brokers", format!("{:?}", kafka.brokers), expected))?;
        settings.check()?;
        Ok((settings, Layers { environment, file: file_layer, file_name: path.display().to_string() }))
    }

    fn check(&self) -> Result<(), SettingsError> {
        let in_range = |key, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(SettingsError::unusable(key, value, format!("a whole number from {low} to {high}")))
            }
        };
        in_range("ingest.max_message_bytes", self.ingest.max_message_bytes, 1_024, 16_000_000)?;
        in_range("ingest.batch_events", self.ingest.batch_events, 1, 10_000)?;
        in_range("ingest.batch_bytes", self.ingest.batch_bytes, 1, 16_000_000)?;
        in_range("ingest.in_flight", self.ingest.in_flight, 1, 64)?;
        in_range("aggregator.scan_readers", self.aggregator.scan_readers, 1, 64)?;
        in_range("aggregator.scan_memory_mib", self.aggregator.scan_memory_mib, 16, 65_536)?;
        in_range("kafka.partitions", usize::try_from(self.kafka.partitions).unwrap_or(0), 1, 10_000)?;
        in_range("backup.keep_days", self.backup.keep_days as usize, 1, 365)?;
        in_range("backup.keep_months", self.backup.keep_months as usize, 1, 120)?;
        for (key, value) in [
            ("security.account_failures", self.security.account_failures),
            ("security.address_failures", self.security.address_failures),
            ("security.address_accounts", self.security.address_accounts),
        ] {
            in_range(key, value as usize, 1, 1_000_000)?;
        }
        for source in &self.security.login_sources {
            if source.is_empty() || source.chars().count() > MAX_SOURCE {
                let value = format!("a list with a source of {} characters", source.chars().count());
                let expected = format!("sources of 1 to {MAX_SOURCE} characters each, such as [\"/login\"]");
                return Err(SettingsError::unusable("security.login_sources", value, expected));
            }
        }
        self.security.check_sources()?;
        for (key, value) in [
            ("kafka.topic", &self.kafka.topic),
            ("kafka.group_id", &self.kafka.group_id),
            ("mongodb.database", &self.mongodb.database),
        ] {
            if value.trim().is_empty() {
                return Err(SettingsError::unusable(key, "empty", "a value"));
            }
        }
        // MongoDB's own rule (Naming Restrictions in its manual).
        let database = &self.mongodb.database;
        if database.len() > 63 || database.contains(['/', '\\', '.', ' ', '"', '$', '*', '<', '>', ':', '|', '?', '\0'])
        {
            let expected = "a name of at most 63 bytes without blanks and without / \\ . \" $ * < > : | ?";
            return Err(SettingsError::unusable("mongodb.database", format!("{database:?}"), expected));
        }
        for (key, listen) in
            [("telemetry.listen", &self.telemetry.listen), ("dashboard.listen", &self.dashboard.listen)]
        {
            let port =
                listen.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
            if !listen.is_empty() && !matches!(port, Some(Ok(_))) {
                let expected = "host:port, such as 127.0.0.1:9464 or [::1]:9464";
                return Err(SettingsError::unusable(key, format!("{listen:?}"), expected));
            }
        }
        for (key, value) in [
            ("ingest.max_age", self.ingest.max_age),
            ("ingest.batch_time", self.ingest.batch_time),
            ("ingest.commit_interval", self.ingest.commit_interval),
            ("ingest.drain_timeout", self.ingest.drain_timeout),
            ("aggregator.refresh", self.aggregator.refresh),
            ("dashboard.session_idle", self.dashboard.session_idle),
            ("dashboard.session_lifetime", self.dashboard.session_lifetime),
            ("backup.slice_interval", self.backup.slice_interval),
            ("privacy.late_arrival", self.privacy.late_arrival),
            ("mongodb.server_selection_timeout", self.mongodb.server_selection_timeout),
        ] {
            if value.is_zero() {
                return Err(SettingsError::unusable(key, "0s", "a time above zero, such as 200ms or 5m"));
            }
            not_too_long(key, value)?;
        }
        not_too_long("ingest.max_future", self.ingest.max_future)?;
        self.privacy.check()?;
        self.retention.check(self)?;
        let threshold = self.mongodb.slow_query_threshold;
        if !threshold.is_zero() && !(1..=i32::MAX as u128).contains(&threshold.as_millis()) {
            let value = format!("{threshold:?}");
            let expected = "a time of whole milliseconds such as 200ms, or 0s";
            return Err(SettingsError::unusable("mongodb.slow_query_threshold", value, expected));
        }
        let one_of = |key, value: &str, allowed: &[&str]| {
            if allowed.contains(&value) {
                Ok(())
            } else {
                Err(SettingsError::unusable(key, value, format!("one of {}", allowed.join(", "))))
            }
        };
        let protocols = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
        one_of("kafka.tls_min_version", &self.kafka.tls_min_version, &tls::VERSIONS)?;
        one_of("mongodb.tls_min_version", &self.mongodb.tls_min_version, &tls::VERSIONS)?;
        one_of("kafka.security_protocol", &self.kafka.security_protocol, &protocols)?;
        let strategies = ["cooperative-sticky", "range", "roundrobin"];
        one_of("kafka.partition_assignment_strategy", &self.kafka.partition_assignment_strategy, &strategies)?;
        one_of("kafka.sasl_mechanism", &self.kafka.sasl_mechanism, &["SCRAM-SHA-256", "SCRAM-SHA-512"])?;
        self.kafka.check()
    }
}

impl Kafka {
    /// What says the opposite of something else is no wish that can be granted.
    fn check(&self) -> Result<(), SettingsError> {
        let is_topic = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        // The topic of the tombstones has nine letters more (`.erasures`), and Kafka takes 249.
        if !self.topic.chars().all(is_topic) || self.topic.len() > 240 || [".", ".."].contains(&self.topic.as_str()) {
            let expected = "a name of at most 240 letters, digits, dots, _ and -";
            return Err(SettingsError::unusable("kafka.topic", format!("{:?}", self.topic), expected));
        }
        let protocol = self.security_protocol.as_str();
        let has_password = !self.password.expose_secret().is_empty();
        let expected = |what: &str| format!("{what}, because kafka.security_protocol is {protocol}");
        if protocol.starts_with("sasl") {
            if self.username.is_empty() {
                return Err(SettingsError::unusable("kafka.username", "empty", expected("a user")));
            }
            if !has_password {
                return Err(SettingsError::unusable("kafka.password", "empty", expected("the user's password")));
            }
        } else if !self.username.is_empty() {
            let expected = expected("none (or sasl_ssl as kafka.security_protocol)");
            return Err(SettingsError::unusable("kafka.username", &self.username, expected));
        } else if has_password {
            let expected = expected("none (or sasl_ssl as kafka.security_protocol, and kafka.username)");
            return Err(SettingsError::unusable("kafka.password", "set", expected));
        }
        if !protocol.ends_with("ssl") && !self.ca_file.as_os_str().is_empty() {
            let expected = expected("none (or ssl or sasl_ssl as kafka.security_protocol)");
            return Err(SettingsError::unusable("kafka.ca_file", self.ca_file.display(), expected));
        }
        Ok(())
    }
}

fn environment() -> Figment {
    Figment::from(Env::prefixed(ENVIRONMENT_PREFIX).split("__"))
}

/// Settings whose values are not shown.
const SECRETS: [&str; 4] = ["backup.secret_key", "kafka.password", "mongodb.password", "mongodb.uri"];

/// Takes the password from its file, where one is named. A line end after it, which most editors add, is not part of it.
fn read_password(key: &'static str, file: &Path, password: &mut SecretString) -> Result<(), SettingsError> {
    if file.as_os_str().is_empty() {
        return Ok(());
    }
    let unusable = |expected: String| SettingsError::unusable(key, file.display(), expected);
    if !password.expose_secret().is_empty() {
        return Err(unusable("nothing, because the password itself is set too".into()));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unusable(format!("a readable file ({error})")))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(unusable("a file with a password in it".into()));
    }
    *password = SecretString::from(text);
    Ok(())
}

/// figment's own text names the key and the kinds; only the layer it came from is put into plainer words.
fn invalid(error: &figment::Error, layer: &str) -> SettingsError {
    let first = error.clone().into_iter().next();
    let Some(first) = first else {
        return SettingsError::Invalid(format!("{layer} holds settings that cannot be used"));
    };
    let key = first.path.join(".");
    // The kind would repeat the value.
    if SECRETS.contains(&key.as_str()) {
        return SettingsError::Invalid(format!(
            "{layer} holds a setting that cannot be used at key {key}: it is no text; what looks like a number or a list is \
             put in quotation marks, also in the environment"
        ));
    }
    let key = if key.is_empty() { String::new() } else { format!(" at key {key}") };
    let advice = match &first.kind {
        Kind::UnknownField(_, known) if known.contains(&"group_id") => {
            "; options of librdkafka are no settings, because the programs choose those that their promises need"
        }
        _ => "",
    };
    SettingsError::Invalid(format!("{layer} holds a setting that cannot be used{key}: {}{advice}", first.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, SettingsError> {
        let directory =
            std::env::temp_dir().join(format!("settings-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("analytics.toml");
        std::fs::write(&file, text).unwrap();
        // Tests run with the servers' addresses in the environment.
        let loaded = Settings::with_layers(Some(&file), Figment::new());
        std::fs::remove_dir_all(&directory).unwrap();
        Ok(loaded?.0)
    }

    #[test]
    fn the_shipped_file_names_every_key_with_its_default() {
        let shipped = include_str!("../../config/analytics.toml");
        let settings: Settings = Figment::from(Toml::string(shipped)).extract().unwrap();
        assert_eq!(format!("{settings:?}"), format!("{:?}", Settings::default()));
        let debug = format!("{:?}", Settings::default());
        for word in debug
            .split(|c: char| !(c.is_ascii_lowercase() || c == '_'))
            .filter(|word| debug.contains(&format!("{word}: ")))
        {
            if !word.is_empty() && word != "nanos" {
                assert!(shipped.contains(word), "config/analytics.toml does not mention {word}");
            }
        }
    }

    fn shown_of(file: &Path) -> String {
        let (settings, layers) = Settings::with_layers(Some(file), Figment::new()).unwrap();
        shown::shown(&settings, &layers).unwrap()
    }

    #[test]
    fn each_setting_is_shown_with_where_it_comes_from_and_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("analytics.toml");
        std::fs::write(&file, "[mongodb]\nuri = \"mongodb://u:hunter2@h/\"\n[kafka]\nsecurity_protocol = \"sasl_ssl\"\nusername = \"u = v\"\npassword = \"p\"\n[security]\nclient_sources = { ingest = [\"10.0.0.0/8\"] }\n")
            .unwrap();
        let shown = shown_of(&file);
        let from_file = format!("# file {}", file.display());
        for line in [
            format!("uri = \"mongodb://********@h/\"  {from_file}"),
            format!("username = \"u = v\"  {from_file}"),
            "max_age = \"365d\"  # default".to_owned(),
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is not in {shown}");
        }
        assert!(!shown.contains("hunter2"), "{shown}");
        let read_back: Settings = Figment::from(Toml::string(&shown)).extract().unwrap();
        assert_eq!(read_back.ingest.max_age, Settings::default().ingest.max_age);
        assert_eq!(read_back.security.client_sources["ingest"], ["10.0.0.0/8"]);
    }

    #[test]
    fn a_value_of_several_lines_is_shown_on_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("analytics.toml");
        std::fs::write(&file, "[telemetry]\nlog_filter = \"a\\n[mongodb]\\nuri = \\\"b\\t\\u001b\"\n").unwrap();
        let shown = shown_of(&file);
        let read_back: Settings = Figment::from(Toml::string(&shown)).extract().unwrap();
        assert_eq!(read_back.telemetry.log_filter, "a\n[mongodb]\nuri = \"b\t\u{1b}", "{shown}");
    }

    #[test]
    fn options_of_librdkafka_are_refused_by_name() {
        for option in [
            "enable.auto.commit = true",
            "auto.offset.reset = \"latest\"",
            "isolation.level = \"read_uncommitted\"",
            "group.instance.id = \"a\"",
            "bootstrap.servers = \"a:1\"",
            "acks = 0",
            "group_instance_id = \"a\"",
            "enable_auto_commit = true",
        ] {
            let message = load(&format!("[kafka]\n{option}\n")).unwrap_err().to_string();
            let name = option.split(['.', ' ']).next().unwrap();
            assert!(message.contains(name) && message.contains("librdkafka"), "{option}: {message}");
        }
    }

    #[test]
    fn settings_of_kafka_that_contradict_each_other_are_refused() {
        for (text, key, expected) in [
            ("brokers = \"http://a:1\"", "kafka.brokers", "without http://"),
            ("brokers = \" , \"", "kafka.brokers", "host:port separated by commas"),
            ("topic = \"a b\"", "kafka.topic", "letters"),
            ("topic = \"..\"", "kafka.topic", "letters"),
            ("security_protocol = \"tls\"", "kafka.security_protocol", "sasl_ssl"),
            ("sasl_mechanism = \"PLAIN\"", "kafka.sasl_mechanism", "SCRAM-SHA-256"),
            ("tls_min_version = \"TLSv1.1\"", "kafka.tls_min_version", "TLSv1.2, TLSv1.3"),
            ("sasl_mechanism = \"GSSAPI\"", "kafka.sasl_mechanism", "SCRAM-SHA-512"),
            ("security_protocol = \"sasl_ssl\"", "kafka.username", "a user"),
            ("security_protocol = \"sasl_ssl\"\nusername = \"u\"", "kafka.password", "password"),
            ("username = \"u\"", "kafka.username", "plaintext"),
            ("password = \"hunter2\"", "kafka.password", "plaintext"),
            ("ca_file = \"/ca.pem\"", "kafka.ca_file", "plaintext"),
        ] {
            let message = load(&format!("[kafka]\n{text}\n")).unwrap_err().to_string();
            assert!(message.contains(key) && message.contains(expected), "{text}: {message}");
            assert!(!message.contains("hunter2"), "{text}: {message}");
        }
        let settings = load("[kafka]\nbrokers = \" SSL://a:1, b \"\nsecurity_protocol = \"ssl\"\n").unwrap();
        assert_eq!(settings.kafka.brokers, "a:1,b:9092");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let message = load("[ingest]\nbatch_event = 3\n").unwrap_err().to_string();
        assert!(message.contains("batch_event") && message.contains("analytics.toml"), "{message}");
    }

    #[test]
    fn a_wrong_kind_names_the_key_and_both_kinds() {
        let message = load("[ingest]\nbatch_events = \"many\"\n").unwrap_err().to_string();
        assert!(message.contains("ingest.batch_events") && message.contains("many"), "{message}");
    }

    #[test]
    fn a_key_of_custom_data_that_would_be_a_path_is_refused() {
        for key in ["a.b", "$a", ""] {
            let message =
                load(&format!("[privacy]\ncustom_data_allowed = [\"theme\", \"{key}\"]\n")).unwrap_err().to_string();
            assert!(
                message.contains("privacy.custom_data_allowed") && message.contains(&format!("{key:?}")),
                "{message}"
            );
        }
        for late_arrival in ["0s", "9999y"] {
            let message = load(&format!("[privacy]\nlate_arrival = \"{late_arrival}\"\n")).unwrap_err().to_string();
            assert!(message.contains("privacy.late_arrival"), "{message}");
        }
    }

    #[test]
    fn a_value_out_of_range_names_the_range_and_the_variable() {
        let message = load("[ingest]\nin_flight = 0\n").unwrap_err().to_string();
        assert!(message.contains("from 1 to 64") && message.contains("DEVTOOLKIT__INGEST__IN_FLIGHT"), "{message}");
    }

    #[test]
    fn a_password_comes_from_its_file_and_from_nowhere_else_then() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        let settings = |more: &str| {
            let kafka = "[kafka]\nsecurity_protocol = \"sasl_ssl\"\nusername = \"u\"";
            load(&format!("[mongodb]\npassword_file = {file:?}\n{more}{kafka}\npassword_file = {file:?}\n"))
        };
        let message = settings("").unwrap_err().to_string();
        assert!(message.contains("password_file") && message.contains("No such file"), "{message}");
        std::fs::write(&file, "\n").unwrap();
        let message = settings("").unwrap_err().to_string();
        assert!(message.contains("a file with a password in it"), "{message}");
        std::fs::write(&file, " hunter2 \r\n").unwrap();
        let read = settings("").unwrap();
        assert_eq!(
            [read.kafka.password, read.mongodb.password].map(|p| p.expose_secret().to_owned()),
            [" hunter2 "; 2]
        );
        let message = settings("password = \"hunter3\"\n").unwrap_err().to_string();
        assert!(message.contains("mongodb.password_file") && !message.contains("hunter"), "{message}");
    }

    #[test]
    fn secrets_do_not_show() {
        let kafka = "[kafka]\nsecurity_protocol = \"sasl_ssl\"\nusername = \"u\"\npassword = \"hunter2\"\n";
        let settings = load(&format!("[mongodb]\nuri = \"mongodb://u:hunter2@h/\"\n{kafka}")).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        let message = load("[kafka]\npassword = 12345678\n").unwrap_err().to_string();
        assert!(message.contains("kafka.password") && !message.contains("12345678"), "{message}");
    }
}
