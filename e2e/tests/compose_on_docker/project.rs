//! A checkout with a docker-compose.yml, and what an operator does with it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use e2e::eventually::eventually;
use e2e::servers::{Home, repository};
use serde_json::Value;

use crate::engine::Engine;

/// How long a container may take to become healthy, in particular after a fault.
const PATIENCE: Duration = Duration::from_secs(240);

pub struct Project<'a> {
    pub engine: &'a Engine,
    checkout: Home,
}

impl<'a> Project<'a> {
    /// A copy of the checkout, as `git clone` makes it with this umask.
    pub fn new(engine: &'a Engine, umask: &str) -> Self {
        let checkout = Home::temporary("checkout").unwrap();
        let copy = format!(
            "umask {umask} && git ls-files -z --cached --others --exclude-standard |
             tar --create --null --ignore-failed-read --files-from=- |
             tar --extract --no-same-permissions --directory='{}'",
            checkout.path().display()
        );
        let status = Command::new("bash").args(["-c", &copy]).current_dir(repository()).status().unwrap();
        assert!(status.success());
        Self { engine, checkout }
    }

    pub fn path(&self) -> &Path {
        self.checkout.path()
    }

    /// `docker-compose ARGUMENTS`, or what COMPOSE names in the place of docker-compose.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let compose = std::env::var("COMPOSE").unwrap_or_else(|_| "docker-compose".to_owned());
        let mut command = self.engine.command(&compose);
        command.args(["--ansi", "never", "--project-name", "check"]).args(arguments).current_dir(self.path());
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Expects that it ends well, and returns its standard output.
    pub fn compose(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let [said, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "docker-compose {arguments:?}: {said}{errors}");
        said
    }

    /// The id of the service's container.
    pub fn container(&self, service: &str) -> String {
        let filter = format!("label=com.docker.compose.service={service}");
        self.engine.docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter])
    }

    /// What `docker inspect` shows of the service's container.
    pub fn inspect(&self, service: &str) -> Value {
        let containers = self.engine.docker(&["inspect", &self.container(service)]);
        serde_json::from_str::<Value>(&containers).unwrap()[0].take()
    }

    pub fn services(&self) -> Vec<String> {
        self.compose(&["config", "--services"]).lines().map(str::to_owned).collect()
    }

    /// Those that go on.
    pub fn lasting_services(&self) -> Vec<String> {
        // Without what `run` starts, which has no health.
        let ours = "label=com.docker.compose.oneoff=False";
        let format = "{{.Label \"com.docker.compose.service\"}}";
        let containers = self.engine.docker(&["ps", "--filter", ours, "--format", format]);
        containers.lines().map(str::to_owned).collect()
    }

    pub async fn until_health(&self, service: &str, wanted: &str) {
        let what = format!("{service} that is {wanted}");
        eventually(PATIENCE, &what, async || (health(&self.inspect(service)) == wanted).then_some(())).await;
    }

    pub async fn until_all_are_healthy(&self) {
        for service in self.lasting_services() {
            self.until_health(&service, "healthy").await;
        }
    }

    /// Ends the container's main process as a crash would; the engine knows nothing of it beforehand.
    pub fn crash(&self, service: &str) {
        let pid = self.inspect(service)["State"]["Pid"].to_string();
        self.engine.beside_containers(&["kill", "-KILL", &pid]);
    }

    /// Takes the container off the network of the pipeline.
    pub fn cut(&self, service: &str) {
        self.engine.docker(&["network", "disconnect", "check_pipeline", &self.container(service)]);
    }

    /// Puts it back, under its name.
    pub fn mend(&self, service: &str) {
        let container = self.container(service);
        self.engine.docker(&["network", "connect", "--alias", service, "check_pipeline", &container]);
    }

    /// Evaluates JavaScript on the set as root, and returns the last value.
    pub fn mongosh(&self, script: &str) -> Result<Value, String> {
        let member = self.container("mongodb-2");
        let connect =
            "exec mongosh --quiet --norc \"mongodb://root:$(cat /secrets/mongodb/password)@$1\" --eval \"$0\"";
        let members = "mongodb-1,mongodb-2,mongodb-3/devtoolkit?replicaSet=rs0&authSource=admin";
        let script = format!("print(JSON.stringify({script}))");
        let mut docker = self.engine.command("docker");
        docker.args(["exec", "--env=HOME=/tmp", &member, "bash", "-c", connect, &script, members]);
        let output = docker.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(said.trim()).map_err(|_| said + &String::from_utf8_lossy(&output.stderr))
    }

    /// The member that is primary.
    pub fn primary(&self) -> String {
        let primary = self.mongosh("db.hello().primary").unwrap();
        primary.as_str().unwrap().split(':').next().unwrap().to_owned()
    }

    /// All events that MongoDB has.
    pub fn stored(&self) -> Result<u64, String> {
        let count =
            "['usage_analytics','activity_logs','health_checks'].reduce((n, c) => n + db[c].countDocuments(), 0)";
        Ok(self.mongosh(count)?.as_u64().unwrap_or(0))
    }

    /// Waits for so many events, and not one more; no event is among the dead letters.
    pub async fn until_stored(&self, sent: u64) {
        let what = format!("{sent} events");
        eventually(PATIENCE, &what, async || self.stored().is_ok_and(|stored| stored >= sent).then_some(())).await;
        assert_eq!(self.stored(), Ok(sent), "stored more than was sent");
        let letters = self.compose(&["run", "--rm", "-T", "admin", "dead-letters", "list"]);
        assert!(letters.contains("no such letters"), "{letters}");
    }

    /// Prometheus' answer to an instant query: the labels of each sample, with its value.
    pub fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let mut url = form_urlencoded::Serializer::new("http://prometheus:9090/api/v1/query?".to_owned());
        url.append_pair("query", expression);
        let prometheus = self.container("prometheus");
        let answer = self.engine.docker(&["exec", &prometheus, "wget", "-q", "-O", "-", &url.finish()]);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let samples = answer["data"]["result"].as_array().unwrap().iter();
        let value = |sample: &Value| sample["value"][1].as_str().unwrap().parse().unwrap();
        samples.map(|sample| (sample["metric"].clone(), value(sample))).collect()
    }

    /// The names of the alerts in this state.
    pub fn alerts(&self, state: &str) -> Vec<String> {
        let alerts = self.query(&format!("count by (alertname) (ALERTS{{alertstate=~\"{state}\"}})"));
        alerts.iter().map(|(labels, _)| labels["alertname"].as_str().unwrap().to_owned()).collect()
    }

    /// Events of this moment, `rate` a second for so many seconds.
    pub fn send_live(&self, seed: u32, rate: u64, seconds: u64) -> Load {
        let (seed, rate, events) = (seed.to_string(), rate.to_string(), (rate * seconds).to_string());
        self.send(&["--live", "--seed", &seed, "--rate", &rate, "--events", &events])
    }

    pub fn send(&self, arguments: &[&str]) -> Load {
        let log = self.path().join("emit.log");
        let mut emit = self.command(&["run", "--rm", "-T", "emit", "generate", "--json"]);
        emit.args(arguments).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        Load { emit: emit.spawn().unwrap() }
    }
}

/// An `emit` that runs.
pub struct Load {
    emit: Child,
}

impl Load {
    /// Waits for its end; all events must have been delivered. Returns their number.
    pub fn delivered(self) -> u64 {
        let output = self.emit.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let summary: Value = serde_json::from_str(said.trim()).unwrap_or_default();
        assert!(output.status.success() && summary["failed"] == 0 && summary["refused"] == 0, "emit says: {said}");
        summary["delivered"].as_u64().unwrap()
    }
}

/// Of what `docker inspect` shows.
pub fn health(container: &Value) -> &str {
    container["State"]["Health"]["Status"].as_str().unwrap_or("")
}
