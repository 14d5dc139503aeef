//! A real Kafka broker in KRaft mode, controller and broker in one process.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::home::Home;
use super::network::Network;
use super::ports::{ensure_free, free_port, lasting_ports};
use super::process::{self, Ownership, Process, describe, log_tail};
use super::{installed, readiness, repository};

const STOP_DEADLINE: Duration = Duration::from_secs(60);
const FORMAT_DEADLINE: Duration = Duration::from_secs(60);
/// Any 16 bytes in base64 will do: a cluster of one never meets another.
const CLUSTER_ID: &str = "ZGV2dG9vbGtpdC1kZXYtMA";

/// What may differ between brokers.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Arguments for Java. The default suits tests: a small heap, and a start twice as quick by forgoing the optimising
    /// compiler; a benchmark will rather leave `-XX:TieredStopAtLevel=1` out.
    pub java_args: Vec<String>,
    /// Lines of `server.properties` that are added or replaced. A listener for TLS or SASL goes beside the plain one:
    /// the readiness check and the tests' own tools use that.
    pub extra_properties: Vec<(String, String)>,
    /// Users that may log in to SASL listeners with SCRAM-SHA-512: name and password.
    pub scram_users: Vec<(String, String)>,
    /// Further listeners: name, security protocol and port ([`super::free_port`]).
    pub extra_listeners: Vec<(String, String, u16)>,
    /// Adds a listener behind a proxy of this network: [`Kafka::proxied_brokers`].
    pub network: Option<Network>,
}

/// The listener behind a proxy.
#[derive(Debug, Clone, Copy)]
struct Proxied {
    port: u16,
    proxy: u16,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        let java_args = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
        Self {
            java_args: java_args.map(str::to_owned).to_vec(),
            extra_properties: Vec::new(),
            scram_users: Vec::new(),
            extra_listeners: Vec::new(),
            network: None,
        }
    }
}

/// A broker: the same ports, data and log from start to start.
#[derive(Debug)]
pub struct Kafka {
    port: u16,
    controller_port: u16,
    proxied: Option<Proxied>,
    ownership: Ownership,
    options: KafkaOptions,
    process: Option<Process>,
    home: Home,
}

impl Kafka {
    /// Starts a broker that is gone, with its data, when this value is dropped.
    ///
    /// # Errors
    /// When it does not start; the message has the end of the log.
    pub async fn start(options: KafkaOptions) -> anyhow::Result<Self> {
        Self::start_in(Home::temporary("kafka")?, Ownership::Owned, options).await
    }

    /// Starts a broker in `home`, with the data and the ports that an earlier one left there.
    ///
    /// # Errors
    /// As [`Kafka::start`]; the directory is then kept for its logs.
    pub async fn start_in(home: Home, ownership: Ownership, options: KafkaOptions) -> anyhow::Result<Self> {
        let [port, controller_port] = lasting_ports(home.path())?;
        let proxied = match &options.network {
            Some(network) => {
                let port = free_port()?;
                Some(Proxied { port, proxy: network.proxy(port).await? })
            }
            None => None,
        };
        let mut kafka = Self { port, controller_port, proxied, ownership, options, process: None, home };
        match kafka.restart().await {
            Ok(()) => Ok(kafka),
            Err(error) => {
                kafka.home.keep();
                Err(error)
            }
        }
    }

    /// Starts it again after [`Kafka::kill`] or [`Kafka::stop`], and waits until it answers.
    ///
    /// # Errors
    /// When it does not start; the message has the end of its log.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "the Kafka on port {} runs already", self.port);
        ensure_free(self.port, self.home.path())?;
        ensure_free(self.controller_port, self.home.path())?;
        self.write_properties()?;
        self.format_once().await?;

        let mut command = self.java(self.ownership)?;
        command.arg("kafka.Kafka").arg(self.properties());
        let process = Process::start("Kafka", command, &self.log(), None, self.ownership)?;
        if self.ownership == Ownership::Detached {
            process::record(&process, self.home.path())?;
        }
        let process = self.process.insert(process);
        readiness::listening(process, "Kafka", self.port).await?;
        readiness::answering("Kafka", &self.log(), async || self.has_a_broker().await).await
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

    /// `host:port` of the plain listener.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `host:port` of the listener behind the proxy; of the plain one without a network.
    pub fn proxied_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.proxied.map_or(self.port, |proxied| proxied.proxy))
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Its directory.
    pub fn home(&mut self) -> &mut Home {
        &mut self.home
    }

    fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("the Kafka on port {} does not run", self.port))
    }

    fn properties(&self) -> PathBuf {
        self.home.path().join("server.properties")
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn java(&self, ownership: Ownership) -> anyhow::Result<Command> {
        let java = match std::env::var_os("JAVA_HOME") {
            Some(home) => Path::new(&home).join("bin/java"),
            None => PathBuf::from("java"),
        };
        let mut command = process::command(&java, ownership);
        command
            .args(&self.options.java_args)
            // Unpacked native libraries and counters, which a killed Java leaves behind.
            .arg(format!("-Djava.io.tmpdir={}", self.home.path().display()))
            .arg("-XX:-UsePerfData")
            .arg(format!("-Dlog4j2.configurationFile={}", repository().join("config/servers/log4j2.yaml").display()))
            .arg("-cp")
            .arg(installed("kafka/libs")?.join("*"));
        Ok(command)
    }

    fn write_properties(&self) -> anyhow::Result<()> {
        let (port, controller_port) = (self.port, self.controller_port);
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}");
        let mut advertised = format!("PLAINTEXT://127.0.0.1:{port}");
        let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        for (name, protocol, port) in &self.options.extra_listeners {
            write!(listeners, ",{name}://127.0.0.1:{port}")?;
            write!(advertised, ",{name}://127.0.0.1:{port}")?;
            write!(protocols, ",{name}:{protocol}")?;
        }
        if let Some(Proxied { port, proxy }) = self.proxied {
            write!(listeners, ",PROXIED://127.0.0.1:{port}")?;
            write!(advertised, ",PROXIED://127.0.0.1:{proxy}")?;
            protocols.push_str(",PROXIED:PLAINTEXT");
        }
        let own = [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".to_owned()),
            ("controller.quorum.voters", format!("1@127.0.0.1:{controller_port}")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
            ("listeners", listeners),
            ("advertised.listeners", advertised),
            ("listener.security.protocol.map", protocols),
            ("log.dirs", self.data().display().to_string()),
            // Retention goes by the messages' own time, and tests send events of years ago.
            ("log.retention.ms", "-1".to_owned()),
            // After a kill the controller refuses the broker until its previous session has timed out, by default 9 s.
            ("broker.session.timeout.ms", "2000".to_owned()),
            ("broker.heartbeat.interval.ms", "500".to_owned()),
            ("auto.create.topics.enable", "false".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("offsets.topic.replication.factor", "1".to_owned()),
            ("offsets.topic.num.partitions", "4".to_owned()),
            ("transaction.state.log.replication.factor", "1".to_owned()),
            ("transaction.state.log.num.partitions", "4".to_owned()),
            ("transaction.state.log.min.isr", "1".to_owned()),
            ("share.coordinator.state.topic.replication.factor", "1".to_owned()),
            ("share.coordinator.state.topic.min.isr", "1".to_owned()),
        ];
        // Of two lines with one key, the later one counts.
        let own = own.iter().map(|(key, value)| (*key, value.as_str()));
        let extra = self.options.extra_properties.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let text: String = own.chain(extra).map(|(key, value)| format!("{key}={value}\n")).collect();
        let path = self.properties();
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// KRaft refuses a directory that was not formatted, and formatting one that was.
    async fn format_once(&self) -> anyhow::Result<()> {
        if self.data().join("meta.properties").exists() {
            return Ok(());
        }
        let mut command = self.java(Ownership::Owned)?;
        command
            .args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"])
            .arg(self.properties());
        for (name, password) in &self.options.scram_users {
            command.args(["--add-scram", &format!("SCRAM-SHA-512=[name={name},password={password}]")]);
        }
        let mut process = Process::start("Kafka's StorageTool", command, &self.log(), None, Ownership::Owned)?;
        let status = process.wait(FORMAT_DEADLINE).await?;
        ensure!(
            status.success(),
            "Kafka's StorageTool ended with {} (Kafka needs Java 17 or newer); {}",
            describe(status),
            log_tail(&self.log())
        );
        Ok(())
    }

    async fn has_a_broker(&self) -> anyhow::Result<Option<()>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers());
        let client: BaseConsumer = config.create()?;
        // A broker that is still fenced answers, but is not in the list.
        let brokers = tokio::task::spawn_blocking(move || {
            client.fetch_metadata(None, Duration::from_secs(2)).map(|metadata| metadata.brokers().len())
        });
        Ok((brokers.await?? > 0).then_some(()))
    }
}
