//! A MongoDB replica set of real `mongod`s, whose members can be killed, paused and restarted one by one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bson::{Document, doc};
use futures::future::try_join_all;
use mongodb::Client;
use mongodb::options::ClientOptions;

use super::home::Home;
use super::network::Network;
use super::ports::{ensure_free, lasting_ports};
use super::process::{self, Ownership, Process};
use super::{installed, readiness};

const SET_NAME: &str = "rs0";
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// What may differ between replica sets.
#[derive(Clone, Debug)]
pub struct ReplicaSetOptions {
    /// 1, or 3 for failover.
    pub members: usize,
    /// Cache of each member, GB; the server wants at least 0.25.
    pub cache_gb: f64,
    /// Largest size of each member's oplog, MB; the server wants at least 990.
    pub oplog_mb: u32,
    /// How long a primary may be silent before the others elect a new one.
    pub election_timeout: Duration,
    /// One priority for each member, for a set that prefers a primary; empty means that all are equal.
    pub priorities: Vec<f64>,
    /// Whether a mongodb_exporter looks at it: it then keeps its diagnostic data, and a record of slow operations.
    pub monitored: bool,
    /// Further arguments for each `mongod`, such as those for TLS or a key file.
    pub extra_args: Vec<String>,
    /// Further options of the connection string (`tls=true&tlsCAFile=…`), for `uri()` and for the readiness check.
    pub uri_options: String,
    /// Puts a proxy before each member. Its address is then the member's, for the other members as well.
    pub network: Option<Network>,
}

impl Default for ReplicaSetOptions {
    fn default() -> Self {
        Self {
            members: 1,
            cache_gb: 0.25,
            oplog_mb: 1_024,
            election_timeout: Duration::from_secs(2),
            priorities: Vec::new(),
            monitored: false,
            extra_args: Vec::new(),
            uri_options: String::new(),
            network: None,
        }
    }
}

/// A running replica set.
#[derive(Debug)]
pub struct ReplicaSet {
    members: Vec<Mongod>,
    options: ReplicaSetOptions,
    home: Home,
}

impl ReplicaSet {
    /// Starts a set that is gone, with its data, when this value is dropped.
    ///
    /// # Errors
    /// When a member does not start or no primary is elected; the message has the end of the log.
    pub async fn start(options: ReplicaSetOptions) -> anyhow::Result<Self> {
        Self::start_in(Home::temporary("mongodb")?, Ownership::Owned, options).await
    }

    /// Starts a set in `home`, with the data and the ports that an earlier one left there.
    ///
    /// # Errors
    /// As [`ReplicaSet::start`]; the directory is then kept for its logs.
    pub async fn start_in(home: Home, ownership: Ownership, options: ReplicaSetOptions) -> anyhow::Result<Self> {
        let mut set = Self { members: Vec::new(), options, home };
        match set.start_members(ownership).await {
            Ok(()) => Ok(set),
            Err(error) => {
                set.home.keep();
                Err(error)
            }
        }
    }

    async fn start_members(&mut self, ownership: Ownership) -> anyhow::Result<()> {
        for index in 0..self.options.members {
            let home = self.home.path().join(format!("mongod-{index}"));
            self.members.push(Mongod::new(home, ownership, &self.options).await?);
        }
        try_join_all(self.members.iter_mut().map(Mongod::start)).await?;
        self.initiate_once().await?;
        self.wait_for_primary().await?;
        try_join_all(self.members.iter().map(Mongod::in_service)).await?;
        Ok(())
    }

    async fn initiate_once(&self) -> anyhow::Result<()> {
        let first = &self.members[0];
        if first.hello().await?.contains_key("setName") {
            return Ok(());
        }
        let members: Vec<Document> = self
            .members
            .iter()
            .enumerate()
            .map(|(index, member)| {
                let priority = self.options.priorities.get(index).copied().unwrap_or(1.0);
                Ok(doc! { "_id": i32::try_from(index)?, "host": member.public_address(), "priority": priority })
            })
            .collect::<anyhow::Result<_>>()?;
        let election_timeout = i64::try_from(self.options.election_timeout.as_millis())?;
        let configuration = doc! {
            "_id": SET_NAME,
            "members": members,
            "settings": {
                "electionTimeoutMillis": election_timeout,
                "heartbeatIntervalMillis": (election_timeout / 4).clamp(100, 2_000),
            },
        };
        first
            .admin_command(doc! { "replSetInitiate": configuration })
            .await
            .context("cannot initiate the replica set")?;
        Ok(())
    }

    /// The connection string.
    pub fn uri(&self) -> String {
        let hosts: Vec<String> = self.members.iter().map(Mongod::public_address).collect();
        let mut uri = format!("mongodb://{}/?replicaSet={SET_NAME}", hosts.join(","));
        if !self.options.uri_options.is_empty() {
            uri.push('&');
            uri.push_str(&self.options.uri_options);
        }
        uri
    }

    /// All members.
    pub fn members(&mut self) -> &mut [Mongod] {
        &mut self.members
    }

    /// The member numbered `index`, from 0.
    pub fn member(&mut self, index: usize) -> &mut Mongod {
        &mut self.members[index]
    }

    /// The number of the member that says it is primary, if any does.
    pub async fn primary(&self) -> Option<usize> {
        for (index, member) in self.members.iter().enumerate() {
            if member.is_running() && member.is_primary().await.unwrap_or(false) {
                return Some(index);
            }
        }
        None
    }

    /// Waits until a member is primary; returns its number.
    ///
    /// # Errors
    /// When none is after a minute.
    pub async fn wait_for_primary(&self) -> anyhow::Result<usize> {
        let log = self.members[0].log();
        readiness::answering("a primary of the replica set", &log, async || Ok(self.primary().await)).await
    }

    /// The directory with all members' data and logs.
    pub fn home(&mut self) -> &mut Home {
        &mut self.home
    }
}

/// One `mongod`: the same port, data and log from start to start.
#[derive(Debug)]
pub struct Mongod {
    home: PathBuf,
    port: u16,
    /// The proxy's, if there is one.
    public_port: u16,
    ownership: Ownership,
    options: ReplicaSetOptions,
    process: Option<Process>,
}

impl Mongod {
    async fn new(home: PathBuf, ownership: Ownership, options: &ReplicaSetOptions) -> anyhow::Result<Self> {
        std::fs::create_dir_all(home.join("data")).with_context(|| format!("cannot create {}", home.display()))?;
        let [port] = lasting_ports(&home)?;
        let public_port = match &options.network {
            Some(network) => network.proxy(port).await?,
            None => port,
        };
        Ok(Self { home, port, public_port, ownership, options: options.clone(), process: None })
    }

    /// Starts it again after [`Mongod::kill`] or [`Mongod::stop`], and waits until it answers; it may not be primary yet.
    ///
    /// # Errors
    /// When it does not start; the message has the end of its log.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.is_none(), "the mongod on port {} runs already", self.port);
        ensure_free(self.port, &self.home)?;
        let mut command = process::command(&installed("mongodb/mongod")?, self.ownership);
        command
            .arg("--dbpath")
            .arg(self.home.join("data"))
            .args(["--replSet", SET_NAME, "--bind_ip", "127.0.0.1", "--nounixsocket"])
            .args(["--port", &self.port.to_string()])
            .args(["--wiredTigerCacheSizeGB", &self.options.cache_gb.to_string()])
            .args(["--oplogSize", &self.options.oplog_mb.to_string()])
            // What a killed program had begun holds its locks for this long, by default a minute.
            .args(["--setParameter", "transactionLifetimeLimitSeconds=10"])
            // The flight recorder costs CPU and disk, and only the exporter reads it here.
            .args(["--setParameter", &format!("diagnosticDataCollectionEnabled={}", self.options.monitored)])
            .args(["--profile", if self.options.monitored { "1" } else { "0" }, "--slowms", "200"])
            .args(&self.options.extra_args);
        let process = Process::start("mongod", command, &self.log(), None, self.ownership)?;
        if self.ownership == Ownership::Detached {
            process::record(&process, &self.home)?;
        }
        let process = self.process.insert(process);
        readiness::listening(process, "mongod", self.port).await?;
        readiness::answering("mongod", &self.log(), async || self.hello().await.map(Some)).await?;
        Ok(())
    }

    /// Ends it at once (SIGKILL), as a power cut would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process()?.kill()?;
        self.process = None;
        Ok(())
    }

    /// Shuts it down in order (SIGTERM).
    ///
    /// # Errors
    /// When it does not run, or does not end within a minute.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process()?.stop(STOP_DEADLINE).await?;
        self.process = None;
        Ok(())
    }

    /// Stops it where it stands (SIGSTOP): its connections stay open and silent.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        self.process()?.pause()
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.process()?.resume()
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `host:port` that clients and the other members use.
    fn public_address(&self) -> String {
        format!("127.0.0.1:{}", self.public_port)
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.home.join("log")
    }

    /// Its directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    fn is_running(&self) -> bool {
        self.process.is_some()
    }

    fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("the mongod on port {} does not run", self.port))
    }

    async fn is_primary(&self) -> anyhow::Result<bool> {
        Ok(self.hello().await?.get_bool("isWritablePrimary").unwrap_or(false))
    }

    async fn in_service(&self) -> anyhow::Result<()> {
        readiness::answering("a member of the replica set", &self.log(), async || {
            let hello = self.hello().await?;
            let in_service =
                ["isWritablePrimary", "secondary"].iter().any(|state| hello.get_bool(state).unwrap_or(false));
            Ok(in_service.then_some(()))
        })
        .await
    }

    async fn hello(&self) -> anyhow::Result<Document> {
        self.admin_command(doc! { "hello": 1 }).await
    }

    /// Runs a command on this very member, whatever its state.
    async fn admin_command(&self, command: Document) -> anyhow::Result<Document> {
        let uri = format!("mongodb://{}/?directConnection=true&{}", self.address(), self.options.uri_options);
        let mut options = ClientOptions::parse(uri.trim_end_matches('&')).await?;
        options.server_selection_timeout = Some(Duration::from_secs(2));
        options.connect_timeout = Some(Duration::from_secs(2));
        let client = Client::with_options(options)?;
        let answer = client.database("admin").run_command(command).await;
        client.shutdown().immediate(true).await;
        Ok(answer?)
    }
}
