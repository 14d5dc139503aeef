//! What a test holds: a database, a topic with its dead letters and a consumer group of its own, on servers that others
//! use at the same time; and the workspace's programs, run against them.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests: what they expect is what the test expects")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mongodb::{Client, Database};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::eventually::{PATIENCE, eventually};
use crate::servers::process::{command, describe, log_tail};
use crate::servers::{Home, Ownership, Process};
use crate::topic::{self, Message};

/// How long [`World::run`] lets a program work before the test fails.
const RUN_DEADLINE: Duration = Duration::from_secs(300);
const PARTITIONS: i32 = 4;
/// The settings of the topics, as `admin migrate` gives them to new ones.
const EVENTS: &[(&str, &str)] = &[
    ("message.timestamp.type", "LogAppendTime"),
    ("compression.type", "uncompressed"),
    ("max.message.bytes", "1048588"),
];
const DEAD_LETTERS: &[(&str, &str)] = &[
    ("message.timestamp.type", "LogAppendTime"),
    ("compression.type", "uncompressed"),
    ("retention.ms", "2592000000"),
    ("max.message.bytes", "2097152"),
];

const ERASURES: &[(&str, &str)] = &[("cleanup.policy", "compact")];

/// A test's own corner of the servers. Database and topics are removed when it is dropped, except while a panic unwinds.
#[derive(Debug)]
pub struct World {
    mongo_uri: String,
    brokers: String,
    name: String,
    db: Database,
    env: BTreeMap<String, String>,
    runs: AtomicU32,
    home: Home,
}

/// What a program that has ended left behind.
#[derive(Debug)]
pub struct Finished {
    /// 0 success, 1 failure, 2 wrong usage; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it logged, and its error message.
    pub stderr: String,
}

impl World {
    /// A corner of the servers that `./dev test` (or `eval "$(./dev up)"`) names in the environment.
    ///
    /// # Panics
    /// When they are not named, or do not answer.
    pub async fn new(test_name: &str) -> Self {
        let named = |variable: &str| {
            std::env::var(variable).unwrap_or_else(|_| {
                panic!("{variable} is not set: run ./dev test, or first: eval \"$(./dev up)\"");
            })
        };
        let mongo_uri = named("DEVTOOLKIT__MONGODB__URI");
        Self::on(test_name, &mongo_uri, &named("DEVTOOLKIT__KAFKA__BROKERS")).await
    }

    /// A corner of other servers, such as the test's private ones, which it may kill.
    ///
    /// # Panics
    /// When they do not answer.
    pub async fn on(test_name: &str, mongo_uri: &str, brokers: &str) -> Self {
        let name = format!("{test_name}-{:08x}", rand::random::<u32>());
        assert!(name.len() <= 60, "{test_name}: too long for the name of a database");
        let db = Client::with_uri_str(mongo_uri).await.expect("a valid MongoDB URI").database(&name);
        let world = Self {
            mongo_uri: mongo_uri.to_owned(),
            brokers: brokers.to_owned(),
            db,
            env: BTreeMap::new(),
            runs: AtomicU32::new(0),
            home: Home::temporary(&name).expect("a directory for the programs' output"),
            name,
        };
        let (events, dead_letters, erasures) = (world.topic(), world.dead_letter_topic(), world.erasures_topic());
        let topics = [
            (events.as_str(), PARTITIONS, EVENTS),
            (dead_letters.as_str(), PARTITIONS, DEAD_LETTERS),
            (erasures.as_str(), 1, ERASURES),
        ];
        topic::create_with(brokers, &topics).await.expect("the test's own topics");
        world
            .with_env("MONGODB__URI", mongo_uri)
            .with_env("KAFKA__BROKERS", brokers)
            .with_own_names()
            .with_env("TELEMETRY__LISTEN", "127.0.0.1:0")
    }

    fn with_own_names(self) -> Self {
        let (name, topic, group) = (self.name.clone(), self.topic(), self.group());
        self.with_env("MONGODB__DATABASE", &name).with_env("KAFKA__TOPIC", &topic).with_env("KAFKA__GROUP_ID", &group)
    }

    /// The same world, with one more setting for its programs: `with_env("INGEST__MAX_AGE", "20y")`.
    #[must_use]
    pub fn with_env(mut self, section_and_key: &str, value: &str) -> Self {
        self.env.insert(format!("DEVTOOLKIT__{section_and_key}"), value.to_owned());
        self
    }

    /// The same world, whose programs keep backups in its directory, and can restore them.
    #[must_use]
    pub async fn with_backups(self) -> Self {
        let path = |name: &str| self.directory().join(name).display().to_string();
        let (identity, recipient, storage) = (path("identity.txt"), path("recipient.txt"), path("backups"));
        let words = ["backup", "create-identity", "--out", &identity, "--recipient-out", &recipient];
        self.run_ok("admin", &words).await;
        self.with_env("BACKUP__STORAGE", &format!("file://{storage}"))
            .with_env("BACKUP__RECIPIENT_FILE", &recipient)
            .with_env("BACKUP__IDENTITY_FILE", &identity)
    }

    /// The database of this test.
    pub fn db(&self) -> &Database {
        &self.db
    }

    /// The connection string of the servers.
    pub fn mongo_uri(&self) -> &str {
        &self.mongo_uri
    }

    /// The brokers.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The topic of this test.
    pub fn topic(&self) -> String {
        self.name.clone()
    }

    /// The topic of its dead letters.
    pub fn dead_letter_topic(&self) -> String {
        format!("{}.dlq", self.name)
    }

    /// The topic of the tombstones of erased people.
    pub fn erasures_topic(&self) -> String {
        format!("{}.erasures", self.name)
    }

    /// The consumer group of this test.
    pub fn group(&self) -> String {
        self.name.clone()
    }

    /// A directory for this test's files.
    pub fn directory(&self) -> &Path {
        self.home.path()
    }

    /// The same, to be kept.
    pub fn home(&mut self) -> &mut Home {
        &mut self.home
    }

    /// Sends messages to the test's topic.
    ///
    /// # Panics
    /// When one is not acknowledged.
    pub async fn produce(&self, messages: &[Message]) {
        topic::produce(&self.brokers, &self.topic(), messages).await.expect("all messages acknowledged");
    }

    /// All messages of a topic.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn read_topic(&self, name: &str) -> Vec<Message> {
        topic::read(&self.brokers, name).await.expect("the topic to be readable")
    }

    /// For each partition of the test's topic: the offset that the test's group has committed, and the end.
    ///
    /// # Panics
    /// When Kafka does not answer.
    pub async fn progress(&self) -> Vec<(Option<i64>, i64)> {
        topic::progress(&self.brokers, &self.topic(), &self.group()).await.expect("the group's offsets")
    }

    /// A command that runs one of the workspace's programs with this world's settings, and is killed with this process.
    ///
    /// # Panics
    /// When the program was not built.
    pub fn command(&self, program: &str) -> Command {
        let path = program_path(program);
        assert!(path.exists(), "{} is not there: run cargo build --workspace --bins", path.display());
        let mut command = command(&path, Ownership::Owned);
        command.envs(&self.env).current_dir(self.home.path());
        command
    }

    /// Runs a program to its end.
    ///
    /// # Panics
    /// When it has not ended after 5 minutes.
    pub async fn run<A: AsRef<OsStr>>(&self, program: &str, args: &[A]) -> Finished {
        let mut command = self.command(program);
        command.args(args);
        self.finish(program, command).await
    }

    /// Runs a command made with [`World::command`] to its end, for example one with its own stdin.
    ///
    /// # Panics
    /// When it has not ended after 5 minutes.
    pub async fn finish(&self, program: &str, command: Command) -> Finished {
        let mut running = self.start(program, command);
        let status = running.process.wait(RUN_DEADLINE).await.expect("the program to end");
        Finished { code: status.code(), stdout: running.stdout(), stderr: running.stderr() }
    }

    /// Runs a program that must succeed; returns what it printed.
    ///
    /// # Panics
    /// When it does not; the message shows its stderr.
    pub async fn run_ok<A: AsRef<OsStr>>(&self, program: &str, args: &[A]) -> String {
        self.run(program, args).await.expect_success(program)
    }

    /// As [`World::run_ok`], with `input` as its stdin.
    ///
    /// # Panics
    /// When it does not succeed; the message shows its stderr.
    pub async fn run_ok_with_input<A: AsRef<OsStr>>(&self, program: &str, args: &[A], input: &[u8]) -> String {
        let file = self.output_file(program, "stdin");
        std::fs::write(&file, input).expect("the input to be written");
        let mut command = self.command(program);
        command.args(args).stdin(File::open(&file).expect("the input to be read"));
        self.finish(program, command).await.expect_success(program)
    }

    /// Runs a program that must fail; returns its exit code and its stderr.
    ///
    /// # Panics
    /// When it succeeds, or is ended by a signal.
    pub async fn run_fail<A: AsRef<OsStr>>(&self, program: &str, args: &[A]) -> (i32, String) {
        let Finished { code, stdout, stderr } = self.run(program, args).await;
        let code = code.unwrap_or_else(|| panic!("{program} was ended by a signal; its stderr:\n{stderr}"));
        assert_ne!(code, 0, "{program} should have failed; its stdout:\n{stdout}\nits stderr:\n{stderr}");
        (code, stderr)
    }

    /// Starts a program that goes on until it is stopped, killed, or dropped.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn<A: AsRef<OsStr>>(&self, program: &str, args: &[A]) -> Running {
        let mut command = self.command(program);
        command.args(args);
        self.start(program, command)
    }

    /// Starts a command made with [`World::command`].
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, program: &str, command: Command) -> Running {
        let stdout = self.output_file(program, "stdout");
        let stderr = stdout.with_extension("stderr");
        let process = Process::start(program, command, &stderr, Some(&stdout), Ownership::Owned);
        Running { process: process.expect("the program to start"), stdout }
    }

    fn output_file(&self, program: &str, extension: &str) -> PathBuf {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        self.home.path().join(format!("{number:03}-{program}.{extension}"))
    }
}

impl Finished {
    fn expect_success(self, program: &str) -> String {
        let Self { code, stdout, stderr } = self;
        assert_eq!(code, Some(0), "{program} should have succeeded; its stdout:\n{stdout}\nits stderr:\n{stderr}");
        stdout
    }
}

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    /// To be signalled, paused, resumed, killed.
    pub process: Process,
    stdout: PathBuf,
}

impl Running {
    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// What it has logged so far.
    pub fn stderr(&self) -> String {
        read_lossy(self.process.log())
    }

    /// The answer, head and body, of its HTTP server on a path such as `/metrics`.
    ///
    /// # Panics
    /// When it has not said in its log where it listens, or does not answer.
    pub async fn get(&self, path: &str) -> String {
        let address = eventually(PATIENCE, "address of the HTTP server in the log", async || {
            let log = self.stderr();
            // Pretty: bound=127.0.0.1:1; JSON: "bound":"127.0.0.1:1".
            let (_, address) = log.split_once("bound")?;
            let address = address.trim_start_matches(['"', ':', '=']);
            Some(address.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect::<String>())
        })
        .await;
        let mut stream = TcpStream::connect(address).await.expect("an HTTP server");
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("the request sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    /// The value of a metric, the sum of its series; none while there is no such series.
    ///
    /// # Panics
    /// As [`Running::get`].
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.get("/metrics").await;
        let values = metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with(['{', ' ']).then(|| rest.rsplit_once(' ')?.1.parse::<f64>().ok())?
        });
        values.reduce(|sum, value| sum + value)
    }

    /// Asks it to end (SIGTERM), and expects that it does so in order.
    ///
    /// # Panics
    /// When it still runs after `deadline`, or its exit code is not 0.
    pub async fn stop(&mut self, deadline: Duration) {
        let status = self.process.stop(deadline).await.expect("an end after SIGTERM");
        let log = self.process.log();
        assert!(status.success(), "ended with {} after SIGTERM; {}", describe(status), log_tail(log));
    }
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// The program beside this test: `target/debug/deps/<test>` runs `target/debug/<program>`.
///
/// # Panics
/// When this is no test of the workspace.
pub fn program_path(program: &str) -> PathBuf {
    let this = std::env::current_exe().expect("the path of this test");
    let directory = this.parent().expect("the directory of this test");
    let directory = if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    directory.join(program)
}

impl Drop for World {
    fn drop(&mut self) {
        let (uri, brokers, name) = (self.mongo_uri.clone(), self.brokers.clone(), self.name.clone());
        if std::thread::panicking() {
            eprintln!("kept: database and topic {name}");
            return;
        }
        let topics = [self.topic(), self.dead_letter_topic(), self.erasures_topic()];
        // The test's own runtime is blocked by this very drop.
        let cleanup = std::thread::spawn(move || remove(&uri, &brokers, &name, &topics));
        if let Ok(Err(error)) = cleanup.join() {
            eprintln!("the test's database and topics may be left over: {error:#}");
        }
    }
}

fn remove(uri: &str, brokers: &str, name: &str, topics: &[String; 3]) -> anyhow::Result<()> {
    let removal = async {
        let database = Client::with_uri_str(uri).await?.database(name);
        tokio::time::timeout(Duration::from_secs(10), database.drop()).await??;
        let topics = topics.each_ref().map(String::as_str);
        tokio::time::timeout(Duration::from_secs(10), topic::delete(brokers, &topics)).await?
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(removal)
}
